/** What composing a node throws (`CodedError`), beside what its parts throw. */

/** Codes of `CodedError` thrown by `Node.open`. */
export const NODE_ERRORS = {
  /** The network allows larger blocks than this version can gossip. Run a version that can. */
  block_size_unsupported: "the network's blocks are larger than this version can gossip",
  /** The network allows larger transactions than this version can gossip. Run a version that can. */
  transaction_size_unsupported: "the network's transactions are larger than this version can gossip",
} as const satisfies Record<string, string>;
