/** What a store throws (`CodedError`) when the world fails, and what to do about it. */

/** Codes of `CodedError` thrown by stores. */
export const STORE_ERRORS = {
  /** The disk refused, or the path cannot be used. Stop; look at the disk. `cause` has the reason. */
  store_io: "the disk or the path failed",
  /** The store was closed. The caller outlived its owner: a fault in the order of closing. */
  store_closed: "the store is closed",
  /** Another process has the store open. Stop that one, or choose another directory. */
  store_locked: "another process has the store open",
  /** The files are damaged. Restore from a snapshot, or join anew; never go on. */
  store_corrupt: "the files of the store are damaged",
} as const satisfies Record<string, string>;

/** A code of `STORE_ERRORS`. */
export type StoreErrorCode = keyof typeof STORE_ERRORS;
