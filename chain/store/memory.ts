/**
 * The store in memory: for tests, simulations and browsers. It keeps the port's whole contract but durability.
 *
 * Entries lie in sorted chunks which are never changed once published: a write copies the chunks that it touches and
 * the list of chunks. So a snapshot, and an iteration, is a reference to a list, and costs nothing.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { compareBytes } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import type { Store, StoreEntry, StoreOperation, StoreRange, StoreReader } from "./store.ts";

/** Sorted, not empty, never changed once another chunk list holds it. */
type Chunk = StoreEntry[];

/** Sorted, and disjoint: every key of a chunk is below every key of the next. */
type Chunks = readonly Chunk[];

/** A chunk that grows beyond is cut in two. A write copies at most this many references a key. */
const CHUNK_ENTRIES_MAX = 512;

/** Opens an empty store. */
export function openMemoryStore(): Store {
  return new MemoryStore();
}

class MemoryStore implements Store {
  #chunks: Chunks = [];
  #isClosed = false;

  get(key: Uint8Array): Uint8Array | undefined {
    return find(this.#open(), key);
  }

  getMany(keys: readonly Uint8Array[]): (Uint8Array | undefined)[] {
    const chunks = this.#open();
    return keys.map((key) => find(chunks, key));
  }

  entries(range: StoreRange): AsyncIterableIterator<StoreEntry> {
    return iterate(this.#open(), range, () => void this.#open());
  }

  async write(operations: readonly StoreOperation[]): Promise<void> {
    this.#chunks = apply(this.#open(), operations);
  }

  snapshot(): StoreReader & Disposable {
    const chunks = this.#open();
    let isReleased = false;
    const check = () => {
      assert(!isReleased, "read from a released snapshot");
      this.#open();
    };
    return {
      get: (key) => (check(), find(chunks, key)),
      getMany: (keys) => (check(), keys.map((key) => find(chunks, key))),
      entries: (range) => (check(), iterate(chunks, range, check)),
      [Symbol.dispose]: () => {
        isReleased = true;
      },
    };
  }

  async clear(range: Pick<StoreRange, "from" | "to">): Promise<void> {
    const operations: StoreOperation[] = [];
    for await (const { key } of this.entries(range)) operations.push({ kind: "delete", key });
    this.#chunks = apply(this.#open(), operations);
  }

  /** What was deleted takes no room. */
  async compact(): Promise<void> {
    this.#open();
    return Promise.resolve();
  }

  async sizeBytes(): Promise<number> {
    let sizeBytes = 0;
    for (const chunk of this.#open()) for (const { key, value } of chunk) sizeBytes += key.length + value.length;
    return sizeBytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#chunks = [];
  }

  #open(): Chunks {
    if (this.#isClosed) throw new CodedError("store_closed");
    return this.#chunks;
  }
}

/** The place of the first item for which `isAtOrAfter` holds, which it then does for all that follow. */
function lowerBound<T>(items: readonly T[], isAtOrAfter: (item: T) => boolean): number {
  let [low, high] = [0, items.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isAtOrAfter(items[middle] as T)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The chunk that holds `key` or would take it: the first whose last key is not below it, else the last; -1 when there is none. */
function chunkIndexOf(chunks: Chunks, key: Uint8Array): number {
  const index = lowerBound(chunks, (chunk) => compareBytes(present(chunk.at(-1), "last entry of a chunk").key, key) >= 0);
  return Math.min(index, chunks.length - 1);
}

function entryIndexOf(chunk: Chunk, key: Uint8Array): number {
  return lowerBound(chunk, (entry) => compareBytes(entry.key, key) >= 0);
}

function find(chunks: Chunks, key: Uint8Array): Uint8Array | undefined {
  const chunk = chunks[chunkIndexOf(chunks, key)];
  const entry = chunk?.[entryIndexOf(chunk, key)];
  return entry !== undefined && compareBytes(entry.key, key) === 0 ? entry.value : undefined;
}

/** The chunks after all operations, in their order. `chunks` is left as it was, and so is every chunk in it. */
function apply(chunks: Chunks, operations: readonly StoreOperation[]): Chunks {
  const next = [...chunks];
  const own = new Set<Chunk>();
  for (const operation of operations) {
    const at = chunkIndexOf(next, operation.key);
    const chunk = at === -1 ? firstChunk(next, own) : ownedChunk(next, at, own);
    applyOne(chunk, operation);
    if (chunk.length === 0) next.splice(Math.max(at, 0), 1);
    else if (chunk.length > CHUNK_ENTRIES_MAX) {
      const upper = chunk.splice(chunk.length >>> 1);
      own.add(upper);
      next.splice(at + 1, 0, upper);
    }
  }
  return next;
}

function firstChunk(chunks: Chunk[], own: Set<Chunk>): Chunk {
  const chunk: Chunk = [];
  own.add(chunk);
  chunks.push(chunk);
  return chunk;
}

/** The chunk at `at`, replaced by a copy unless this write made it. */
function ownedChunk(chunks: Chunk[], at: number, own: Set<Chunk>): Chunk {
  const chunk = present(chunks[at], "chunk {}", at);
  if (own.has(chunk)) return chunk;
  const copy = [...chunk];
  own.add(copy);
  chunks[at] = copy;
  return copy;
}

function applyOne(chunk: Chunk, operation: StoreOperation): void {
  const { key } = operation;
  const at = entryIndexOf(chunk, key);
  const entry = chunk[at];
  const isThere = entry !== undefined && compareBytes(entry.key, key) === 0;
  if (operation.kind === "delete") {
    if (isThere) chunk.splice(at, 1);
    return;
  }
  // Copies: what the caller does with its arrays afterwards is its own affair.
  chunk.splice(at, isThere ? 1 : 0, { key: key.slice(), value: operation.value.slice() });
}

async function* iterate(chunks: Chunks, range: StoreRange, check: () => void): AsyncGenerator<StoreEntry, undefined> {
  let left = range.limit ?? Number.POSITIVE_INFINITY;
  const ordered = range.reverse === true ? descending(chunks, range) : ascending(chunks, range);
  for (const entry of ordered) {
    check();
    if (left <= 0) return;
    left -= 1;
    yield entry;
  }
}

function* ascending(chunks: Chunks, { from, to }: StoreRange): Generator<StoreEntry> {
  const first = from === undefined ? 0 : chunkIndexOf(chunks, from);
  for (let index = Math.max(first, 0); index < chunks.length; index += 1) {
    for (const entry of present(chunks[index], "chunk {}", index)) {
      if (from !== undefined && compareBytes(entry.key, from) < 0) continue;
      if (to !== undefined && compareBytes(entry.key, to) >= 0) return;
      yield entry;
    }
  }
}

function* descending(chunks: Chunks, { from, to }: StoreRange): Generator<StoreEntry> {
  const last = to === undefined ? chunks.length - 1 : chunkIndexOf(chunks, to);
  for (let index = last; index >= 0; index -= 1) {
    for (const entry of present(chunks[index], "chunk {}", index).toReversed()) {
      if (to !== undefined && compareBytes(entry.key, to) >= 0) continue;
      if (from !== undefined && compareBytes(entry.key, from) < 0) return;
      yield entry;
    }
  }
}
