/** Why a test that cuts the power cannot go on, and what to look at. */

/** Codes of `CodedError` thrown here. */
export const SIMULATOR_CODES = {
  cuts_endless: "the work does not end: more disk operations than any work here needs; see what it repeats",
  cuts_failed: "the work, or what must hold of it, failed after these cuts; the same seed does it again",
  cuts_lost: "a cut took what had been acknowledged, or what was read back is not it",
} as const satisfies Record<string, string>;
