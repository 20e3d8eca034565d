/** What this folder refuses (`Result`), and what to do about it. */

/** Codes of logs that were not judged. */
export const HISTORY_ERRORS = {
  /** A line is not of the format, or ends an operation that was not open. `line` counts from 1. Mend the log. */
  history_log_invalid: "a line of the log cannot be read",
  /** The log has more operations than are taken at once. Cut it. */
  history_log_too_long: "the log has too many operations",
  /** The search used up its steps with neither a proof nor a refutation. Give it more, or cut the history. */
  history_undecided: "the search ran out of steps",
} as const satisfies Record<string, string>;
