/** What the core refuses, and what its caller should do about it. */

/** Codes of the errors that `RaftCore` returns. */
export const RAFT_ERRORS = {
  /** The proposal is in no log: there is no leader, a transfer is under way, or too much is uncommitted. Try again later. */
  proposal_dropped: "the proposal was dropped; try again",
  /** One proposal is larger than the core carries. Split it. */
  proposal_too_large: "a proposal is larger than the limit",
  /** A proposed change of the configuration does not decode. Its sender is faulty. */
  change_invalid: "a change of the configuration does not decode",
  /** No leader is known, or too many reads wait. Try again later. */
  read_dropped: "the read was dropped; try again",
  /** The message is for another node. The caller routes wrongly. */
  message_misrouted: "the message is not for this node",
  /** The message claims to be from this node, or from nobody. Its sender is faulty. */
  sender_invalid: "the message names an impossible sender",
  /** An answer, proposal or read of a node that is no member. Harmless after a change of the configuration. */
  peer_unknown: "the sender is not a member of the configuration",
  /** Numbers beyond u64, entries that do not follow each other, an impossible configuration. Its sender is faulty. */
  message_malformed: "the message contradicts itself",
  /** Two leaders in one term. Stop trusting the sender; it lies, or the cluster has lost safety. */
  history_conflict: "the message contradicts who leads the term",
  /** A heartbeat or an answer speaks of entries that cannot be. Our log, or the sender's, was lost. */
  index_impossible: "the message speaks of entries that cannot exist",
} as const satisfies Record<string, string>;

/** An error that the core returns. */
export type RaftError = { readonly code: keyof typeof RAFT_ERRORS; readonly detail: string };

/** Codes of `CodedError` thrown by `RaftEngine`. */
export const RAFT_ENGINE_ERRORS = {
  /** A whole record of the write-ahead log does not decode, or cannot follow the one before: another version wrote it. Run that one. */
  wal_record_invalid: "a record of the write-ahead log does not decode",
} as const satisfies Record<string, string>;
