/** What the engine refuses headers for, and what it throws (`CodedError`) when its own driver tells it what cannot be. */

/** Codes of refused messages and headers. What is refused is dropped; these say which check did it, for tests and tools. */
export const POW_ERRORS = {
  /** A seal stands beside a header that it is not of. Its sender is faulty. */
  seal_block: "the seal is of another block",
  /** A block's header does not commit to its body. Its sender is faulty. */
  block_body: "the body is not the one that the header commits to",
  /** The header is of another network. */
  header_chain: "the header is of another network",
  /** Its parent is not known. Ask whoever sent it for the headers between. */
  header_orphan: "the header's parent is unknown",
  /** It stands on a block that was found invalid. */
  header_condemned: "the header stands on an invalid block",
  /** Its height is not its parent's and one. */
  header_height: "the height does not follow the parent's",
  /** Its time is not after its parent's, and so not after the median of those before. */
  header_time: "the time is not after the parent's",
  /** It would undo more blocks than the network allows. */
  header_deep: "the fork is deeper than reorgDepthMax",
  /** It is further ahead than headers are kept. Ask again later. */
  header_ahead: "the header is too far ahead",
  /** Its seal names another target than the headers before prescribe. */
  seal_bits: "the seal names a target of its own",
  /** Its seal claims another sum of work than its chain has. */
  seal_work: "the seal claims work of its own",
  /** Its seal does not meet the target. */
  seal_target: "the seal does not meet the target",
  /** A record of the own chain does not decode, or does not follow the one before. Restore from a snapshot, or sync anew. */
  pow_record: "a record of the own chain is damaged",
} as const satisfies Record<string, string>;

/** A code of the table. */
export type PowErrorCode = keyof typeof POW_ERRORS;
