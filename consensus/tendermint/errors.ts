/** What the engine throws (`CodedError`) when what it is given by its own driver cannot be. */

/** Codes of `CodedError` thrown by the engine. */
export const TENDERMINT_ERRORS = {
  /** A whole record of the write-ahead log does not decode: another version wrote it. Run that version, or sync anew. */
  wal_record_invalid: "a record of the write-ahead log does not decode",
} as const satisfies Record<string, string>;
