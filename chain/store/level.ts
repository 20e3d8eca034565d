/**
 * The store on disk: LevelDB through `classic-level`.
 *
 * Writes are queued, so that they take effect in the order of the calls: the binding runs each on a thread of its
 * pool, which would let two that nobody waited for change places. One that nothing is ahead of begins before the call returns:
 * its caller may go on to compute for long. A batch is one record of LevelDB's log, so it is there entirely or not at all,
 * whenever the process dies.
 *
 * Large values lie beside it, in files of their own (`blobs.ts`): what LevelDB has for them says where.
 *
 * What LevelDB does not do for us: the binding neither turns on its paranoid checks nor the check of block checksums
 * on reads, so bytes that rot on disk may come back changed. Everything that matters is under a hash of ours.
 */

import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { ClassicLevel, type Iterator } from "classic-level";
import { assert, present } from "../../crypto/base/assert.ts";
import { compareBytes, utf8 } from "../../crypto/base/bytes.ts";
import { CodedError, codeOf } from "../../crypto/base/error.ts";
import {
  type Blob,
  type BlobEnd,
  BlobFiles,
  type BlobIndex,
  discardBlobs,
  type BlobOptions,
  isBlob,
  isPointer,
} from "./blobs.ts";
import type { StoreErrorCode } from "./errors.ts";
import { Line } from "./line.ts";
import type { Store, StoreEntry, StoreOperation, StoreRange, StoreReader } from "./store.ts";

type Level = ClassicLevel<Uint8Array, Uint8Array>;
type Snapshot = ReturnType<Level["snapshot"]>;
type LevelIterator = Iterator<Level, Uint8Array, Uint8Array>;

/** How a store on disk is opened. */
export type LevelStoreOptions = {
  /** The directory, made when it is not there. It belongs to the store alone. */
  readonly path: string;
  /** Uncompressed blocks kept in memory. Default 64 MiB: the upper pages of a state tree of some million rows. */
  readonly cacheSizeBytes?: number;
  /**
   * What is gathered in memory (twice this at most) before it becomes a sorted file. Default 8 MiB: with LevelDB's
   * own 4 MiB a block of a thousand updates makes a file every few blocks, and compaction eats the disk's time. With 16 MiB
   * there are an eighth more updates a second at a million rows, for 16 MiB more; and opening after a crash is slower. Measured
   * while LevelDB had the large values too: what goes through it now is a tenth.
   */
  readonly writeBufferSizeBytes?: number;
  /** How large values are kept. */
  readonly blobs?: BlobOptions;
};

const CACHE_SIZE_BYTES = 64 * 1024 * 1024;
const WRITE_BUFFER_SIZE_BYTES = 8 * 1024 * 1024;

/** From here on keys are ours. No kind of key begins with this byte. */
const OWN_KEYS = new Uint8Array(16).fill(0xff);
const BLOBS_END_KEY = Uint8Array.of(...OWN_KEYS, ...utf8("blobs-end"));

/** An iteration fetches at most so many entries, and about so many bytes, at a time. */
const CHUNK_ENTRIES_MAX = 1000;
const CHUNK_SIZE_BYTES_MAX = 1024 * 1024;

/**
 * Opens a store on disk. The caller closes it.
 *
 * @throws `store_locked`, `store_corrupt` (also when it is not known where the large values end), `store_io`
 */
export async function openLevelStore(options: LevelStoreOptions): Promise<Store> {
  assert(options.path.length > 0, "the path of a store is empty");
  const level: Level = new ClassicLevel<Uint8Array, Uint8Array>(options.path, {
    keyEncoding: "view",
    valueEncoding: "view",
    cacheSize: options.cacheSizeBytes ?? CACHE_SIZE_BYTES,
    writeBufferSize: options.writeBufferSizeBytes ?? WRITE_BUFFER_SIZE_BYTES,
  });
  try {
    await level.open();
  } catch (error) {
    // LevelDB's own reason is underneath: the outer error only says that opening failed.
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    throw failure(cause, options.path);
  }
  try {
    const end = level.getSync(BLOBS_END_KEY);
    // The first row of a store: where it is not, there is none, or one from before there were such files.
    if (end === undefined && (await level.keys({ limit: 1 }).all()).length === 0) await discardBlobs(options.path, options.blobs);
    const blobs = await BlobFiles.open(options.path, end, options.blobs);
    if (end === undefined) await level.put(BLOBS_END_KEY, blobs.end().bytes, { sync: true });
    return new LevelStore(level, options.path, blobs);
  } catch (error) {
    await level.close();
    throw failure(error, options.path);
  }
}

class LevelStore implements Store {
  readonly #level: Level;
  readonly #path: string;
  readonly #blobs: BlobFiles;
  readonly #index: BlobIndex;
  readonly #writes = new Line();
  /** Large values are kept ahead of the write's turn: while the one before is still under way. */
  readonly #appends = new Line();
  readonly #releases = new Set<Promise<void>>();
  /** Resolves when the last that goes through blob files, and so every one before it, is over. */
  #lastCollection: Promise<void> = Promise.resolve();
  #isCollecting = false;
  /** Whoever writes next hears of it. */
  #collectionFailure: unknown;
  readonly #closing = new AbortController();
  #isClosed = false;

  constructor(level: Level, path: string, blobs: BlobFiles) {
    this.#level = level;
    this.#path = path;
    this.#blobs = blobs;
    this.#index = {
      get: (key) => level.getSync(key),
      load: async (keys) => await level.getMany([...keys]),
      commit: async (task) => {
        const moved = this.#enqueue(async () => {
          const batch = (await task()).map(({ key, pointer }) => putOf(key, pointer));
          await this.#writeWithEnd(batch, blobs.end(), true);
        });
        // What was kept before it has its pointers by then, and nothing is kept meanwhile.
        await Promise.all([moved, this.#appends.run(async () => await moved)]);
      },
    };
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#get(key, undefined);
  }

  getMany(keys: readonly Uint8Array[]): (Uint8Array | undefined)[] {
    return keys.map((key) => this.#get(key, undefined));
  }

  entries(range: StoreRange): AsyncIterableIterator<StoreEntry> {
    return this.#entries(range, undefined);
  }

  async write(operations: readonly StoreOperation[], options: { readonly sync: boolean }): Promise<void> {
    this.#checkOpen();
    if (this.#collectionFailure !== undefined) throw failure(this.#collectionFailure, this.#path);
    const batch = batchOf(operations);
    const large = largeOf(operations);
    const kept = large.length === 0 ? undefined : this.#appends.run(async () => await this.#keep(large, batch));
    // Heard of in the write's turn, if that comes.
    kept?.catch(() => undefined);
    await this.#enqueue(async () => {
      if (kept === undefined) await this.#level.batch(batch, { sync: options.sync });
      else await this.#writeWithEnd(batch, await kept, options.sync);
    });
    if (this.#blobs.isCollectionDue && !this.#isCollecting)
      void this.#collect(async (signal) => await this.#blobs.collectSome(this.#index, signal));
  }

  snapshot(): StoreReader & Disposable {
    this.#checkOpen();
    const snapshot = this.#level.snapshot();
    const view = this.#blobs.view();
    let isReleased = false;
    const held = () => {
      assert(!isReleased, "read from a released snapshot");
      return snapshot;
    };
    return {
      get: (key) => this.#get(key, held()),
      getMany: (keys) => keys.map((key) => this.#get(key, held())),
      entries: (range) => this.#entries(range, held()),
      [Symbol.dispose]: () => {
        if (isReleased) return;
        isReleased = true;
        view[Symbol.dispose]();
        this.#release(snapshot);
      },
    };
  }

  async clear({ from, to }: Pick<StoreRange, "from" | "to">): Promise<void> {
    this.#checkOpen();
    const range = { ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) };
    const hasEmptyKey = (from === undefined || from.length === 0) && (to === undefined || to.length > 0);
    await this.#enqueue(async () => {
      await this.#level.clear(levelRange(range));
      // classic-level 3.0.0 is done when a step deleted no byte of keys: an empty key that is alone stays.
      if (hasEmptyKey) await this.#level.del(new Uint8Array());
    });
  }

  async compact(ranges: readonly Required<Pick<StoreRange, "from" | "to">>[]): Promise<void> {
    for (const { from, to } of ranges) {
      this.#checkOpen();
      // Not in the queue: writes go on meanwhile. Closing waits for it.
      const compaction = this.#level.compactRange(from, to).finally(() => this.#releases.delete(compaction));
      this.#releases.add(compaction);
      await compaction;
    }
    this.#checkOpen();
    await this.#collect(async (signal) => await this.#blobs.collectAll(this.#index, signal));
    if (this.#collectionFailure !== undefined) throw failure(this.#collectionFailure, this.#path);
  }

  /** The bytes of the files: LevelDB's own estimate leaves out its log, which is all there is in a young store. */
  async sizeBytes(): Promise<number> {
    this.#checkOpen();
    let sizeBytes = 0;
    for (const name of await readdir(this.#path)) {
      // A compaction may delete a file between the two calls: then it has no size.
      const file = await stat(join(this.#path, name)).catch(() => undefined);
      sizeBytes += file?.size ?? 0;
    }
    return sizeBytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#closing.abort();
    await this.#lastCollection;
    await this.#writes.over();
    // What is being kept for a write that one ahead of it took along as it failed.
    await this.#appends.over();
    await Promise.all(this.#releases);
    this.#blobs.close();
    await this.#level.close();
  }

  #get(key: Uint8Array, snapshot: Snapshot | undefined): Uint8Array | undefined {
    this.#checkOpen();
    assert(!isOwn(key), "a key of the store's own");
    try {
      const value = snapshot === undefined ? this.#level.getSync(key) : this.#level.getSync(key, { snapshot });
      return value === undefined ? undefined : this.#valueOf(value);
    } catch (error) {
      throw failure(error, this.#path);
    }
  }

  /** What a key stands for, of what LevelDB has. */
  #valueOf(stored: Uint8Array): Uint8Array {
    return isPointer(stored) ? this.#blobs.read(stored) : plain(stored);
  }

  #entries(range: StoreRange, snapshot: Snapshot | undefined): AsyncIterableIterator<StoreEntry> {
    this.#checkOpen();
    // Made here and not at the first step: an iteration sees the moment of the call.
    const iterator = this.#level.iterator<Uint8Array, Uint8Array>({
      ...levelRange(range),
      highWaterMarkBytes: CHUNK_SIZE_BYTES_MAX,
      ...(snapshot === undefined ? {} : { snapshot }),
    });
    return this.#iterate(iterator, this.#blobs.view());
  }

  async *#iterate(iterator: LevelIterator, view: Disposable): AsyncGenerator<StoreEntry, undefined> {
    try {
      for (;;) {
        this.#checkOpen();
        const chunk = await iterator.nextv(CHUNK_ENTRIES_MAX);
        if (chunk.length === 0) return;
        for (const [key, value] of chunk) yield { key: plain(key), value: this.#valueOf(value) };
      }
    } catch (error) {
      throw failure(error, this.#path);
    } finally {
      view[Symbol.dispose]();
      await iterator.close();
    }
  }

  /** Keeps large values, puts their pointers into the batch, and says where the files end then. */
  async #keep(large: readonly LargeValue[], batch: BatchOperation[]): Promise<BlobEnd> {
    const pointers = await this.#blobs.append(large);
    for (const [at, { index, key }] of large.entries()) batch[index] = putOf(key, present(pointers[at], "pointer"));
    return this.#blobs.end();
  }

  async #writeWithEnd(batch: BatchOperation[], end: BlobEnd, sync: boolean): Promise<void> {
    batch.push(putOf(BLOBS_END_KEY, end.bytes));
    await this.#level.batch(batch, { sync });
    this.#blobs.noteStored(end);
  }

  /** Goes through blob files, after whoever does. Resolves also when that fails: see `#collectionFailure`. */
  async #collect(task: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.#lastCollection = this.#lastCollection.then(async () => {
      this.#isCollecting = true;
      try {
        await task(this.#closing.signal);
      } catch (error) {
        this.#collectionFailure = error;
      } finally {
        this.#isCollecting = false;
      }
    });
    await this.#lastCollection;
  }

  async #enqueue(task: () => Promise<void>): Promise<void> {
    try {
      await this.#writes.run(task);
    } catch (error) {
      throw failure(error, this.#path);
    }
  }

  #release(snapshot: Snapshot): void {
    const release = snapshot.close().finally(() => this.#releases.delete(release));
    this.#releases.add(release);
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new CodedError("store_closed", { path: this.#path });
  }
}

function levelRange({ from, to, reverse, limit }: StoreRange) {
  return {
    ...(from === undefined ? {} : { gte: from }),
    lt: to === undefined || compareBytes(to, OWN_KEYS) > 0 ? OWN_KEYS : to,
    reverse: reverse ?? false,
    limit: limit ?? -1,
  };
}

/** The same bytes without Buffer's ways: `slice` of a Buffer is a view, which would let a caller change what it "copied". */
function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function failure(error: unknown, path: string): CodedError {
  if (error instanceof CodedError) return error;
  return new CodedError(storeCodeOf(codeOf(error)), { path }, { cause: error });
}

function storeCodeOf(code: string): StoreErrorCode {
  switch (code) {
    case "LEVEL_LOCKED":
      return "store_locked";
    case "LEVEL_CORRUPTION":
      return "store_corrupt";
    case "LEVEL_DATABASE_NOT_OPEN":
    case "LEVEL_ITERATOR_NOT_OPEN":
      return "store_closed";
    default:
      return "store_io";
  }
}

/** What LevelDB's binding takes. */
type BatchOperation =
  | { readonly type: "put"; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: "del"; readonly key: Uint8Array };

function putOf(key: Uint8Array, value: Uint8Array): BatchOperation {
  return { type: "put", key, value };
}

function isOwn(key: Uint8Array): boolean {
  return key[0] === OWN_KEYS[0] && compareBytes(key, OWN_KEYS) >= 0;
}

function batchOf(operations: readonly StoreOperation[]): BatchOperation[] {
  const gathered = gatheredOf(operations);
  return operations.map((operation) => {
    assert(!isOwn(operation.key), "a key of the store's own");
    const key = gathered(operation.key);
    return operation.kind === "put" ? putOf(key, gathered(operation.value)) : { type: "del", key };
  });
}

/** What is kept outside of LevelDB, and its place in the batch. */
type LargeValue = Blob & { readonly index: number };

function largeOf(operations: readonly StoreOperation[]): LargeValue[] {
  const large: LargeValue[] = [];
  for (const [index, operation] of operations.entries())
    if (operation.kind === "put" && isBlob(operation.value)) large.push({ ...operation, index });
  return large;
}

/** Up to here V8 keeps the bytes of an array in its own heap. */
const HEAP_ARRAY_SIZE_BYTES_MAX = 64;

/**
 * Small keys and values as views on one buffer. Else V8 makes a buffer for each as soon as the addon asks for its bytes, which
 * takes longer than all that the batch does with it. To be asked in any order for no more than the operations hold.
 */
function gatheredOf(operations: readonly StoreOperation[]): (bytes: Uint8Array) => Uint8Array {
  // What begins somewhere in a buffer has one.
  const isOutside = (bytes: Uint8Array): boolean => bytes.length > HEAP_ARRAY_SIZE_BYTES_MAX || bytes.byteOffset > 0;
  const sizeOf = (bytes: Uint8Array): number => (isOutside(bytes) ? 0 : bytes.length);
  let sizeBytes = 0;
  for (const operation of operations)
    sizeBytes += sizeOf(operation.key) + (operation.kind === "put" ? sizeOf(operation.value) : 0);
  const gathered = new Uint8Array(sizeBytes);
  let end = 0;
  return (bytes) => {
    if (isOutside(bytes) || bytes.length === 0) return bytes;
    gathered.set(bytes, end);
    end += bytes.length;
    return new Uint8Array(gathered.buffer, end - bytes.length, bytes.length);
  };
}
