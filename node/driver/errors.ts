/** What the driver throws (`CodedError`): the node stops, because going on could lose a block or say two things. */

/** Codes of `CodedError` thrown here. */
export const DRIVER_ERRORS = {
  /** A record could not be made durable. Look at the disk before starting again; nothing that depended on it was sent. */
  wal_io: "the write-ahead log failed",
  /**
   * Records of the write-ahead log that were durable are damaged: the disk is sick. Replace it; keep the record of what the key
   * signed, delete the log and the store, and start: the node takes part again as far as is safe without them.
   */
  wal_corrupt: "the write-ahead log is damaged",
  /** The home has blocks and no record of what its key signed. Bring the file back, or validate with a new key. */
  sign_state_missing: "the record of what this key signed is gone",
  /** That record is damaged. Bring back the newest good copy, or validate with a new key; never delete it to go on. */
  sign_state_corrupt: "the record of what this key signed is damaged",
  /** More than two thirds decided a block that this node holds invalid: its version or its state differs from theirs. Audit it. */
  consensus_invalid_block: "the network decided a block that is invalid here",
  /** An engine asked for what this driver does not do. A defect: report it. */
  engine_effect: "the engine asked for something that this driver does not do",
  /** A thread that searches for seals ended by itself. Look at the machine's memory, and start again. */
  searcher_failed: "a search thread ended",
  /**
   * Said in the log and never thrown: the network is on a chain of more work that forks from ours deeper than `reorgDepthMax`.
   * Stop, `pyralog rollback --to` the height that it names, and start; or stay, on a chain of your own.
   */
  pow_split: "a heavier chain forks below what is settled here",
  /**
   * Said in the log and never thrown: nothing is decided without this validator, and its home may not remember what its key signed at
   * this height. Bring back the newest home; or, if you know that nothing else was signed, `pyralog start --vouch` that height.
   */
  sign_unknown: "nothing is decided without this validator, which may have signed what it does not remember",
  /** The node is going down after an earlier failure, which says why. Nothing to do about this one. */
  consensus_closed: "consensus has stopped",
} as const satisfies Record<string, string>;
