/**
 * The store port: an ordered map from byte keys to byte values, with atomic durable batches and snapshots.
 *
 * Two adapters keep it, `level.ts` on disk and `memory.ts`, and both pass `testing/conformance.ts`. Keys sort
 * bytewise. Reads are synchronous, because state proofs walk many small pages and a promise a page costs more than
 * the read (LevelDB: 225,000 synchronous gets a second against 22,000 awaited ones).
 */

/** One change of a batch. */
export type StoreOperation =
  | { readonly kind: "put"; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly kind: "delete"; readonly key: Uint8Array };

/** A range of keys: `from` inclusive, `to` exclusive; both absent means everything. */
export type StoreRange = {
  readonly from?: Uint8Array;
  readonly to?: Uint8Array;
  readonly reverse?: boolean;
  readonly limit?: number;
};

/** A row. The caller must not change the bytes. */
export type StoreEntry = { readonly key: Uint8Array; readonly value: Uint8Array };

/** What can be read, from the store or from a snapshot of it. */
export interface StoreReader {
  /** The value, or `undefined` when there is none. The caller must not change the bytes. */
  get(key: Uint8Array): Uint8Array | undefined;
  /** As `get` for each key, in order, in one call. */
  getMany(keys: readonly Uint8Array[]): (Uint8Array | undefined)[];
  /** Entries in key order (or reverse), read in bounded chunks. Sees one moment of the store. */
  entries(range: StoreRange): AsyncIterableIterator<StoreEntry>;
}

/** A store. Throws `CodedError` (`store_io`, `store_closed`, `store_locked`, `store_corrupt`) when the world fails. */
export interface Store extends StoreReader, AsyncDisposable {
  /**
   * Applies all operations or none, after those of earlier calls. When `sync`, resolves only once they would survive a power cut.
   * When it fails, those fail with it that were called for meanwhile.
   */
  write(operations: readonly StoreOperation[], options: { readonly sync: boolean }): Promise<void>;
  /** A frozen view; release it. */
  snapshot(): StoreReader & Disposable;
  /** Deletes a whole range, in bounded steps. Not atomic. */
  clear(range: Pick<StoreRange, "from" | "to">): Promise<void>;
  /** Gives back the room of what was deleted from some ranges, where a store would keep it for later. Costs reading and writing the rest. */
  compact(ranges: readonly Required<Pick<StoreRange, "from" | "to">>[]): Promise<void>;
  /** Bytes on disk (approximate), or held in memory. */
  sizeBytes(): Promise<number>;
}
