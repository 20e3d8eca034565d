/**
 * The store on disk: LevelDB through `classic-level`.
 *
 * Writes are queued, so that they take effect in the order of the calls: the binding runs each on a thread of its
 * pool, which would let two that nobody waited for change places. A batch is one record of LevelDB's log, so it is
 * there entirely or not at all, whenever the process dies.
 *
 * What LevelDB does not do for us: the binding neither turns on its paranoid checks nor the check of block checksums
 * on reads, so bytes that rot on disk may come back changed. Everything that matters is under a hash of ours.
 */

import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { ClassicLevel, type Iterator } from "classic-level";
import { assert } from "../../crypto/base/assert.ts";
import { CodedError, codeOf } from "../../crypto/base/error.ts";
import type { StoreErrorCode } from "./errors.ts";
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
   * there are an eighth more updates a second at a million rows, for 16 MiB more; and opening after a crash is slower.
   */
  readonly writeBufferSizeBytes?: number;
};

const CACHE_SIZE_BYTES = 64 * 1024 * 1024;
const WRITE_BUFFER_SIZE_BYTES = 8 * 1024 * 1024;

/** An iteration fetches at most so many entries, and about so many bytes, at a time. */
const CHUNK_ENTRIES_MAX = 1000;
const CHUNK_SIZE_BYTES_MAX = 1024 * 1024;

/**
 * Opens a store on disk. The caller closes it.
 *
 * @throws `store_locked`, `store_corrupt`, `store_io`
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
  return new LevelStore(level, options.path);
}

class LevelStore implements Store {
  readonly #level: Level;
  readonly #path: string;
  /** Resolves when the last write queued, and so every one before it, is over. */
  #lastWrite: Promise<unknown> = Promise.resolve();
  readonly #releases = new Set<Promise<void>>();
  #isClosed = false;

  constructor(level: Level, path: string) {
    this.#level = level;
    this.#path = path;
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
    const gathered = gatheredOf(operations);
    const batch = operations.map((operation) =>
      operation.kind === "put"
        ? { type: "put" as const, key: gathered(operation.key), value: gathered(operation.value) }
        : { type: "del" as const, key: gathered(operation.key) },
    );
    await this.#enqueue(() => this.#level.batch(batch, { sync: options.sync }));
  }

  snapshot(): StoreReader & Disposable {
    this.#checkOpen();
    const snapshot = this.#level.snapshot();
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
        if (!isReleased) this.#release(snapshot);
        isReleased = true;
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

  async compact({ from, to }: Required<Pick<StoreRange, "from" | "to">>): Promise<void> {
    this.#checkOpen();
    // Not in the queue: writes go on meanwhile. Closing waits for it.
    const compaction = this.#level.compactRange(from, to).finally(() => this.#releases.delete(compaction));
    this.#releases.add(compaction);
    await compaction;
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
    await this.#lastWrite;
    await Promise.all(this.#releases);
    await this.#level.close();
  }

  #get(key: Uint8Array, snapshot: Snapshot | undefined): Uint8Array | undefined {
    this.#checkOpen();
    try {
      const value = snapshot === undefined ? this.#level.getSync(key) : this.#level.getSync(key, { snapshot });
      return value === undefined ? undefined : plain(value);
    } catch (error) {
      throw failure(error, this.#path);
    }
  }

  #entries(range: StoreRange, snapshot: Snapshot | undefined): AsyncIterableIterator<StoreEntry> {
    this.#checkOpen();
    // Made here and not at the first step: an iteration sees the moment of the call.
    const iterator = this.#level.iterator<Uint8Array, Uint8Array>({
      ...levelRange(range),
      highWaterMarkBytes: CHUNK_SIZE_BYTES_MAX,
      ...(snapshot === undefined ? {} : { snapshot }),
    });
    return this.#iterate(iterator);
  }

  async *#iterate(iterator: LevelIterator): AsyncGenerator<StoreEntry, undefined> {
    try {
      for (;;) {
        this.#checkOpen();
        const chunk = await iterator.nextv(CHUNK_ENTRIES_MAX);
        if (chunk.length === 0) return;
        for (const [key, value] of chunk) yield { key: plain(key), value: plain(value) };
      }
    } catch (error) {
      throw failure(error, this.#path);
    } finally {
      await iterator.close();
    }
  }

  /** Runs `task` after every earlier one, whether or not that failed. */
  async #enqueue(task: () => Promise<void>): Promise<void> {
    const turn = this.#lastWrite.then(task);
    // The caller hears of a failure; the next in line only needs to know that this one is over.
    this.#lastWrite = turn.catch(() => undefined);
    try {
      await turn;
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
    ...(to === undefined ? {} : { lt: to }),
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
