/** What the engine throws, and what its decoders return, with what the caller should do. */

/** Codes of this folder. */
export const PBFT_ERRORS = {
  /** A whole record of the write-ahead log does not decode: another version wrote it. Run that version, or sync anew. */
  wal_record_invalid: "a record of the write-ahead log does not decode",
  /** The parts of a record do not belong together. As above. */
  record_invalid: "a record holds parts of different heights",
  /** The block is not the one that the message names. Whoever sent it is at fault: no honest peer relays such a thing. */
  message_block: "a message carries another block than it names",
  /** The block's header does not commit to what stands beside it. The same. */
  message_body: "a message carries a block with another body than its header names",
} as const satisfies Record<string, string>;
