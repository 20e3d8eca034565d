/** What a ledger throws (`CodedError`) when the world fails, and what to do about it. */

/** Codes of `CodedError` thrown by ledgers. */
export const LEDGER_ERRORS = {
  /** The store belongs to another network. Use another home, or the network file that it was made with. */
  ledger_network: "the store belongs to another network",
  /** The store gave back something else than was written. Restore from a snapshot, or join anew; never go on. */
  ledger_corrupt: "the parts of the store disagree",
  /** Nothing can be undone to that height: it is ahead, or its state was pruned. Choose one in the range given. */
  rollback_height: "the ledger cannot go back to that height",
} as const satisfies Record<string, string>;
