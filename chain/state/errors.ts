/** Codes that this folder throws (the world failed) or returns (bad data from outside), and what to do about each. */

/** Thrown as `CodedError`. */
export const STATE_ERRORS = {
  /** The store holds something that no version of this code wrote. Stop, check the disk, restore from a peer or a snapshot. */
  state_corrupt: "the state on disk is damaged",
  /** This version is not there: not committed yet, or pruned. Ask for another, or ask another node. */
  state_version_missing: "no state is kept for this version",
} as const satisfies Record<string, string>;

/** Why a proof proves nothing. All of them: do not believe the peer that sent it, ask another. */
export type ProofError =
  /** Not the encoding of any proof. `offset` says where. */
  | { readonly code: "proof_malformed"; readonly reason: string; readonly offset: number }
  /** The shape is not a trie's: keys out of order, branch bits that do not fit them, nothing revealed. */
  | { readonly code: "proof_shape"; readonly reason: string }
  /** Something that may lie in the asked range is hidden, or left out. */
  | { readonly code: "proof_incomplete"; readonly reason: string }
  /** A row outside of what was asked is claimed as an answer. */
  | { readonly code: "proof_range"; readonly reason: string }
  /** It is a proof of another tree. */
  | { readonly code: "proof_root_mismatch"; readonly reason: string };
