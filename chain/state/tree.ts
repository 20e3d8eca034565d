/**
 * The state tree: an ordered authenticated map with one root hash a version, kept in a store.
 *
 * ```
 *            stage(base, version, updates)                      adopt(staged)
 *   latest ────────────────────────────────▶ staged ──▶ the caller's batch is durable ──▶ latest
 *                                               │
 *                                               └──▶ dropped: nothing was written, nothing to undo
 * ```
 *
 * Whoever has many versions to make, and none that others wait for, may stage the next one while the batch is being written:
 * `adopt(staged, written)`. At most one version is under way like that. What it wrote is read from its operations until then.
 *
 * Which tree a set of rows has is consensus (bits.ts, hashing.ts) and depends on nothing but the rows. How it is
 * stored (page.ts, delta.ts, chunk.ts, layout.ts) is a matter of this node. Versions are heights; history is a line: each
 * version is staged on the latest one.
 *
 * Reads are synchronous. The tree assumes that nobody else writes its keys.
 */

import { assert } from "../../crypto/base/assert.ts";
import { bytesEqual, compareBytes, readU32, readU64 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Height } from "../block/height.ts";
import type { Store, StoreOperation } from "../store/store.ts";
import { KEY_SIZE_BYTES_MAX } from "./bits.ts";
import { Arena } from "./arena.ts";
import { readSlot } from "./chunk.ts";
import { readStored } from "./delta.ts";
import { EMPTY_ROOT, leafHash, VALUE_SIZE_BYTES_MAX, valueHash } from "./hashing.ts";
import { chunkKey, chunkOf, type Location, rangeOf, rootKey, slotOf, STATE_PREFIX, staleKey, versionOfKey } from "./layout.ts";
import { NativePages } from "./native-pages.ts";
import type { Item, Page } from "./page.ts";
import type { StatePages } from "./pages.ts";
import { PortablePages } from "./portable-pages.ts";
import { type Row, sortedKeys } from "./proof.ts";
import { prove } from "./prove.ts";
import { wearOut } from "./prune.ts";
import { type KeyRange, rangesOf, rangesOfKeys, successor } from "./range.ts";
import { encodeRoot, encodeStale, parseRoot, parseStale, type RootRecord } from "./record.ts";
import type { StateUpdate } from "./update.ts";

export type { StateUpdate } from "./update.ts";
export type { Row } from "./proof.ts";

/** Options of `StateTree.open`. */
export type StateTreeOptions = {
  /** Bytes of memory that pages may take. The default holds those of a million rows; each row takes about 90. */
  readonly cacheSizeBytes?: number;
};

/** Which rows to read. */
export type RowQuery = KeyRange & {
  /** At most this many rows. */
  readonly limit?: number | undefined;
  readonly reverse?: boolean | undefined;
};

/** Which rows to prove. */
export type ProofQuery = KeyRange & {
  /** At most this many rows. */
  readonly limit?: number | undefined;
  /** Stop before the row with which keys and values would be more than this; the first row is always there. */
  readonly sizeBytesMax?: number | undefined;
};

/** A version that is computed and not yet committed. Put `operations` into a batch, write it, then `adopt`. */
export type Staged = {
  readonly version: Height;
  readonly root: Hash;
  readonly operations: readonly StoreOperation[];
  /** For `adopt`. */
  readonly base: Height | undefined;
  readonly record: RootRecord;
  readonly adopt: () => void;
};

/** What of a version does not hold: something at or below a key. */
export type StateFault = { readonly code: "state_hash_mismatch"; readonly key: Uint8Array };

/** Pages that were audited: where, and in 32 bits what was claimed of them. */
export type SeenPages = Map<number, number>;

/**
 * Default of `cacheSizeBytes`. A page read from the store costs as much as the update that needs it, and memory that is
 * filled to its bound is emptied by copying: this is the pages of a million rows, and as much for holes between them.
 */
export const CACHE_SIZE_BYTES = 192 * 1024 * 1024;

/** How many locations one step of `prune` handles (about 20 ms), before it lets others have the thread. */
const PRUNE_LOCATIONS_MAX = 4096;

/** How many versions may be adopted and not durable yet. */
const UNDER_WAY_MAX = 2;

/** An authenticated map over a store. One per store. */
export class StateTree {
  readonly #store: Store;
  readonly #pages: StatePages;
  /** Of pages that are read past those in memory. */
  readonly #arena = new Arena();
  #oldest: Height | undefined;
  #latest: Height | undefined;
  #isPruning = false;
  #latestRecord: RootRecord = { hash: EMPTY_ROOT, location: undefined, nextChunk: 0 };
  /** The latest versions, while they are being written, newest last. */
  readonly #underWay: UnderWay[] = [];
  /** Why the latest version is not in the store. */
  #failure: { readonly cause: unknown } | undefined;
  /** The chunk read last: rows that were written together are read together. */
  #chunk: { readonly number: number; readonly bytes: Uint8Array } | undefined;

  private constructor(store: Store, options: StateTreeOptions) {
    this.#store = store;
    const pages = {
      readSlot: (location: Location) => this.#readSlot(location),
      sizeBytesMax: options.cacheSizeBytes ?? CACHE_SIZE_BYTES,
    };
    this.#pages = NativePages.open(pages) ?? new PortablePages(pages);
  }

  /** Opens the tree that the store holds, or an empty one. Throws `state_corrupt`. */
  static async open(store: Store, options: StateTreeOptions = {}): Promise<StateTree> {
    const tree = new StateTree(store, options);
    await tree.#load();
    return tree;
  }

  /** The newest version, or `undefined` when there is none. */
  latest(): Height | undefined {
    return this.#latest;
  }

  /** The oldest version that can still be read. */
  oldest(): Height | undefined {
    return this.#oldest;
  }

  /** The root hash of a version, or `undefined` when it is not there. */
  rootAt(version: Height): Hash | undefined {
    return this.#record(version)?.hash;
  }

  /** The value of a row at a version. Throws `state_version_missing`. Cost: about five page reads and one value read. */
  get(version: Height, key: Uint8Array): Uint8Array | undefined {
    const location = this.#pages.find(this.#existing(version).location, key);
    return location === undefined ? undefined : this.#readValue(location).slice();
  }

  /** `get` for each key, in their order. */
  getMany(version: Height, keys: readonly Uint8Array[]): (Uint8Array | undefined)[] {
    return keys.map((key) => this.get(version, key));
  }

  /** Rows of a version in key order (or reverse), read as they are taken. Throws `state_version_missing`. */
  *entries(version: Height, query: RowQuery = {}): IterableIterator<Row> {
    for (const { page, index } of this.#places(version, query)) {
      yield { key: page.key(index), value: this.#readValue(page.location(index)).slice() };
    }
  }

  /**
   * Computes the version after `base`, which must be the latest one, and writes nothing: several alternatives may be
   * staged on one base, and all but one dropped.
   *
   * @param updates - in any order, each key once; keys of 1 to `KEY_SIZE_BYTES_MAX` bytes, values of at most
   *   `VALUE_SIZE_BYTES_MAX`. Deleting what is not there and writing what is there already change nothing.
   */
  stage(base: Height | undefined, version: Height, updates: readonly StateUpdate[]): Staged {
    assert(base === this.#latest, "staged on {}, latest is {}", base, this.#latest);
    assert(base === undefined || version > base, "version {} after {}", version, base);
    const sorted = sortedUpdates(updates);
    const { root, operations, nextChunk, stale, adopt } = this.#pages.stage(this.#latestRecord, sorted);
    const record: RootRecord = { ...root, nextChunk };
    const records: StoreOperation[] = [{ kind: "put", key: rootKey(version), value: encodeRoot(record) }];
    if (stale.length > 0) records.push({ kind: "put", key: staleKey(version), value: encodeStale(stale) });
    return { version, root: root.hash, operations: [...operations, ...records], base, record, adopt };
  }

  /**
   * Makes a staged version the latest one. Its base must still be the latest. At most two may be under way: one that is being
   * written, and one whose write was called for meanwhile.
   *
   * @param written - resolves when its operations are durable; absent: they are. What it rejects with, every later `adopt` throws:
   *   the store has no such version, and never will
   */
  adopt(staged: Staged, written?: Promise<void>): void {
    assert(staged.base === this.#latest, "adopted on {}, latest is {}", staged.base, this.#latest);
    if (this.#failure !== undefined) throw this.#failure.cause;
    assert(this.#underWay.length < UNDER_WAY_MAX, "more than {} versions are under way", UNDER_WAY_MAX);
    if (written !== undefined) this.#await(staged, written);
    staged.adopt();
    this.#latest = staged.version;
    this.#oldest ??= staged.version;
    this.#latestRecord = staged.record;
  }

  /** Reads of what a version wrote go to its operations until they are in the store. */
  #await({ version, record, operations }: Staged, written: Promise<void>): void {
    this.#underWay.push({ version, record, operations, chunks: undefined });
    written.then(
      () => {
        // In the order in which they were called for.
        this.#underWay.shift();
      },
      (cause: unknown) => {
        this.#failure = { cause };
      },
    );
  }

  /**
   * A proof of all rows of a version in a range, or of the first ones as far as `limit` and `sizeBytesMax` allow.
   * Verify with `verifyRange`. Throws `state_version_missing`.
   */
  prove(version: Height, query: ProofQuery = {}): Uint8Array {
    const { location } = this.#existing(version);
    const continueFrom = this.#end(version, query);
    const ranges = rangesOf({ from: query.from, to: continueFrom ?? query.to });
    return prove(location, ranges, continueFrom === undefined, this.#source);
  }

  /** A proof of what a version holds under each of some keys. Verify with `verifyRow` or `verifyKeys`. */
  proveKeys(version: Height, keys: readonly Uint8Array[]): Uint8Array {
    return prove(this.#existing(version).location, rangesOfKeys(sortedKeys(keys)), true, this.#source);
  }

  /**
   * Forgets all versions before `keepFrom`, and what only they could reach. Goes in steps, each of them one batch, and
   * may be interrupted anywhere. Reads of the forgotten versions fail from now on.
   */
  async prune(keepFrom: Height, signal?: AbortSignal): Promise<void> {
    assert(!this.#isPruning, "pruned twice at a time");
    this.#isPruning = true;
    try {
      await this.#prune(keepFrom, signal);
    } finally {
      this.#isPruning = false;
    }
  }

  async #prune(keepFrom: Height, signal: AbortSignal | undefined): Promise<void> {
    assert(this.#latest !== undefined && keepFrom <= this.#latest, "prune from {}, latest is {}", keepFrom, this.#latest);
    assert(this.#underWay.length === 0, "pruned while a version is being written");
    const versions: Height[] = [];
    for await (const { key } of this.#store.entries({ from: rangeOf("root").from, to: rootKey(keepFrom) }))
      versions.push(versionOfKey(key));
    const kept = await this.#firstFrom(keepFrom);
    versions.push(kept);
    this.#oldest = kept;
    let records: StoreOperation[] = [];
    let stale: Location[] = [];
    const flush = async (): Promise<void> => {
      signal?.throwIfAborted();
      // Durable before the next, which counts on it: a power cut may take any that is not, and leave a later one.
      await this.#store.write([...records, ...wearOut(this.#store, stale)], { sync: true });
      this.#chunk = undefined;
      records = [];
      stale = [];
    };
    for (const [index, version] of versions.entries()) {
      if (index > 0) records.push({ kind: "delete", key: rootKey(versions[index - 1] as Height) });
      let left = this.#staleList(version);
      // A long list goes in parts, and what is left of it is written with each: in at most 16 times its own size.
      const stepSize = Math.max(PRUNE_LOCATIONS_MAX, Math.ceil(left.length / 16));
      while (stale.length + left.length > stepSize) {
        const room = stepSize - stale.length;
        stale = stale.concat(left.slice(0, room));
        left = left.slice(room);
        records.push({ kind: "put", key: staleKey(version), value: encodeStale(left) });
        await flush();
      }
      stale = stale.concat(left);
      records.push({ kind: "delete", key: staleKey(version) });
      if (records.length >= PRUNE_LOCATIONS_MAX) await flush();
    }
    await flush();
  }

  /**
   * Goes back to an earlier version, which must not be pruned, and forgets all later ones. One durable batch; what the
   * later versions wrote is cleared afterwards.
   */
  async rollback(version: Height): Promise<void> {
    assert(this.#underWay.length === 0, "rolled back while a version is being written");
    const record = this.#existing(version);
    const later: StoreOperation[] = [];
    for (const kind of ["root", "stale"] as const) {
      const from = kind === "root" ? rootKey(version) : staleKey(version);
      for await (const { key } of this.#store.entries({ from, to: rangeOf(kind).to })) {
        if (versionOfKey(key) > version) later.push({ kind: "delete", key });
      }
    }
    await this.#store.write(later, { sync: true });
    this.#latest = version;
    this.#latestRecord = record;
    this.#pages.clear();
    this.#chunk = undefined;
    await this.#store.clear({ from: chunkKey(record.nextChunk), to: rangeOf("chunk").to });
  }

  /** Gives the memory of pages back. What is asked afterwards is read from the store. */
  release(): void {
    this.#pages.clear();
  }

  /**
   * Reads everything that a version holds and recomputes every hash. For audits: it costs a read of the whole tree.
   *
   * @returns the first thing that does not hold, or `undefined`
   */
  audit(version: Height, signal?: AbortSignal): StateFault | undefined {
    const steps = this.auditSteps(version);
    for (;;) {
      signal?.throwIfAborted();
      const { done, value } = steps.next();
      if (done === true) return value;
    }
  }

  /**
   * As `audit`, a page at a time: yields how many bytes it read, and ends with the first thing that does not hold.
   *
   * @param seen - pages that hold already, so that versions which share them cost what is theirs alone; grows
   */
  *auditSteps(version: Height, seen?: SeenPages): Generator<number, StateFault | undefined, undefined> {
    const { location, hash } = this.#existing(version);
    if (location === undefined)
      return bytesEqual(hash, EMPTY_ROOT) ? undefined : { code: "state_hash_mismatch", key: new Uint8Array(0) };
    const left: { readonly location: Location; readonly hash: Uint8Array; readonly link: Item | undefined }[] = [
      { location, hash, link: undefined },
    ];
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      // The same place under another hash is another claim.
      const claim = claimOf(next);
      if (seen?.get(next.location) === claim) continue;
      const page = this.#loadPage(next.location);
      let sizeBytes = page.bytes.length;
      if (!bytesEqual(page.rootHash(), next.hash)) return { code: "state_hash_mismatch", key: page.key(0) };
      // No hash covers the stem of a link, by which reads find their way: compare it with the page that it leads to.
      if (next.link?.kind === "link" && !bytesEqual(page.stem(next.link.bit), next.link.key))
        return { code: "state_hash_mismatch", key: page.key(0) };
      for (let index = page.count - 1; index >= 0; index -= 1) {
        if (!page.isEntry(index)) {
          left.push({ location: page.location(index), hash: page.hash(index), link: page.item(index) });
          continue;
        }
        const value = this.#readValue(page.location(index));
        sizeBytes += value.length;
        if (!bytesEqual(leafHash(page.key(index), valueHash(value)), page.hash(index)))
          return { code: "state_hash_mismatch", key: page.key(index) };
      }
      seen?.set(next.location, claim);
      yield sizeBytes;
    }
    return undefined;
  }

  readonly #source = {
    readPage: (location: Location): Page => this.#readPage(location),
    readValue: (location: Location): Uint8Array => this.#readValue(location),
  };

  /** Where the rows of a query are: pages, and indexes of entries on them. */
  *#places(version: Height, query: RowQuery): IterableIterator<{ readonly page: Page; readonly index: number }> {
    let left = query.limit ?? Number.POSITIVE_INFINITY;
    const { location } = this.#existing(version);
    if (location === undefined || left <= 0) return;
    const reverse = query.reverse === true;
    const stack = [this.#cursor(location, query, reverse)];
    while (stack.length > 0) {
      const cursor = stack[stack.length - 1] as Cursor;
      if (cursor.next === cursor.end) {
        stack.pop();
        continue;
      }
      const { page, next: index } = cursor;
      cursor.next += reverse ? -1 : 1;
      if (!page.isEntry(index)) {
        stack.push(this.#cursor(page.location(index), query, reverse));
        continue;
      }
      yield { page, index };
      left -= 1;
      if (left <= 0) return;
    }
  }

  /** Where the answer to a limited query must stop, or `undefined` when it need not. */
  #end(version: Height, { from, to, limit, sizeBytesMax }: ProofQuery): Uint8Array | undefined {
    if (limit === undefined && sizeBytesMax === undefined) return undefined;
    assert(limit === undefined || limit > 0, "limit {}", limit);
    let count = 0;
    let sizeBytes = 0;
    let last: Uint8Array | undefined;
    for (const { page, index } of this.#places(version, { from, to })) {
      const key = page.key(index);
      count += 1;
      if (sizeBytesMax !== undefined) sizeBytes += key.length + this.#readValue(page.location(index)).length;
      const isFull = (limit !== undefined && count > limit) || (sizeBytesMax !== undefined && sizeBytes > sizeBytesMax);
      if (last !== undefined && isFull) return successor(last);
      last = key;
    }
    return undefined;
  }

  #cursor(location: Location, query: RowQuery, reverse: boolean): Cursor {
    const page = this.#readPage(location);
    const first = query.from === undefined ? 0 : boundary(page, query.from, true);
    const end = query.to === undefined ? page.count : boundary(page, query.to, false);
    const low = Math.min(first, end);
    return reverse ? { page, next: end - 1, end: low - 1 } : { page, next: low, end };
  }

  #readPage(location: Location): Page {
    return this.#pages.read(location);
  }

  /** From the store, whatever is in memory. */
  #loadPage(location: Location): Page {
    return readStored(location, (slot) => this.#readSlot(slot), this.#arena);
  }

  #readValue(location: Location): Uint8Array {
    return this.#readSlot(location);
  }

  #readSlot(location: Location): Uint8Array {
    const number = chunkOf(location);
    if (this.#chunk?.number !== number) {
      const bytes = this.#chunkUnderWay(number) ?? this.#store.get(chunkKey(number));
      if (bytes === undefined) throw new CodedError("state_corrupt", { message: `chunk ${number} is missing` });
      this.#chunk = { number, bytes };
    }
    const slot = readSlot(this.#chunk.bytes, slotOf(location));
    if (!slot.ok) throw new CodedError("state_corrupt", { message: `slot at ${location}` });
    return slot.value;
  }

  #chunkUnderWay(number: number): Uint8Array | undefined {
    for (const underWay of this.#underWay) {
      underWay.chunks ??= chunksOf(underWay.operations);
      const bytes = underWay.chunks.get(number);
      if (bytes !== undefined) return bytes;
    }
    return undefined;
  }

  #staleList(version: Height): Location[] {
    const bytes = this.#store.get(staleKey(version));
    if (bytes === undefined) return [];
    const parsed = parseStale(bytes);
    if (!parsed.ok) throw new CodedError("state_corrupt", { message: `stale list of version ${version}` });
    return parsed.value;
  }

  #record(version: Height): RootRecord | undefined {
    if (version === this.#latest) return this.#latestRecord;
    if (this.#latest === undefined || version > this.#latest) return undefined;
    if (this.#oldest === undefined || version < this.#oldest) return undefined;
    const underWay = this.#underWay.find((each) => each.version === version);
    if (underWay !== undefined) return underWay.record;
    const bytes = this.#store.get(rootKey(version));
    return bytes === undefined ? undefined : readRoot(version, bytes);
  }

  #existing(version: Height): RootRecord {
    const record = this.#record(version);
    if (record === undefined)
      throw new CodedError("state_version_missing", {
        version: `${version}`,
        latest: `${this.#latest}`,
        oldest: `${this.#oldest}`,
      });
    return record;
  }

  async #firstFrom(version: Height): Promise<Height> {
    for await (const { key } of this.#store.entries({ from: rootKey(version), to: rangeOf("root").to, limit: 1 }))
      return versionOfKey(key);
    throw new CodedError("state_corrupt", { message: `no root from version ${version} on` });
  }

  async #load(): Promise<void> {
    const range = rangeOf("root");
    for await (const { key } of this.#store.entries({ ...range, limit: 1 })) this.#oldest = versionOfKey(key);
    for await (const { key, value } of this.#store.entries({ ...range, limit: 1, reverse: true })) {
      this.#latest = versionOfKey(key);
      this.#latestRecord = readRoot(this.#latest, value);
    }
  }
}

/** A page's hash and the stem by which it was reached, in 32 bits: a disk that changes either by chance changes this. */
function claimOf({ hash, link }: { readonly hash: Uint8Array; readonly link: Item | undefined }): number {
  let claim = readU32(hash);
  if (link?.kind === "link") {
    claim = Math.imul(claim ^ link.bit, 0x0100_0193);
    // FNV-1a, 32 bits.
    for (const byte of link.key) claim = Math.imul(claim ^ byte, 0x0100_0193);
  }
  return claim >>> 0;
}

/** A version that is being written, and its chunks once one was asked for. */
type UnderWay = Pick<Staged, "version" | "record" | "operations"> & { chunks: ReadonlyMap<number, Uint8Array> | undefined };

function chunksOf(operations: readonly StoreOperation[]): ReadonlyMap<number, Uint8Array> {
  const chunks = new Map<number, Uint8Array>();
  for (const operation of operations)
    if (operation.kind === "put" && operation.key[0] === STATE_PREFIX.chunk)
      chunks.set(Number(readU64(operation.key, 1)), operation.value);
  return chunks;
}

/** A place on a page of an iteration. */
type Cursor = { readonly page: Page; next: number; readonly end: number };

/**
 * The first item with keys at or after a bound. A link around the bound holds keys on both sides of it: as a lower
 * bound it is included, as an upper one too (`end` is past it).
 */
function boundary(page: Page, bound: Uint8Array, isLower: boolean): number {
  const found = page.find(bound);
  if (found < 0) return ~found;
  return isLower || page.isEntry(found) ? found : found + 1;
}

function readRoot(version: Height, bytes: Uint8Array): RootRecord {
  const parsed = parseRoot(bytes);
  if (!parsed.ok) throw new CodedError("state_corrupt", { message: `root of version ${version}: ${parsed.error.code}` });
  return parsed.value;
}

function sortedUpdates(updates: readonly StateUpdate[]): readonly StateUpdate[] {
  let isSorted = true;
  for (let index = 0; index < updates.length; index += 1) {
    const { key, value } = updates[index] as StateUpdate;
    assert(key.length > 0 && key.length <= KEY_SIZE_BYTES_MAX, "key of {} bytes", key.length);
    assert(value === undefined || value.length <= VALUE_SIZE_BYTES_MAX, "value of {} bytes", value?.length);
    if (index > 0 && isSorted) isSorted = compareBytes((updates[index - 1] as StateUpdate).key, key) < 0;
  }
  if (isSorted) return updates;
  const sorted = updates.toSorted((a, b) => compareBytes(a.key, b.key));
  for (let index = 1; index < sorted.length; index += 1) {
    assert(
      compareBytes((sorted[index - 1] as StateUpdate).key, (sorted[index] as StateUpdate).key) < 0,
      "a key is updated twice",
    );
  }
  return sorted;
}
