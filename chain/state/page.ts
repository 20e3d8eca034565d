/**
 * Pages: the pieces that the trie is cut into for storage. A page is a subtree with some of its own subtrees cut out.
 *
 * A trie is determined by its keys in order: the branch bits between neighbours are all there is to know about its
 * shape, because the node above a run of keys is the least of the bits between them (the tree is the Cartesian tree
 * of those bits). So a page is a sorted list of *items* and the branch bits between them. An item is an *entry* (a
 * row: key, leaf hash, where the value is) or a *link* (a subtree of two or more rows on a page of its own: its stem,
 * its branch bit, its hash, where the page is). The hash of a page is a fold over a stack.
 *
 * Bytes of a page, made so that a row can be replaced without decoding the rest (integers big-endian):
 *
 * ```
 * u16 count ‖ u16 prefix size
 *   ‖ count × 32 hash ‖ count × 6 location ‖ count × u16 shape ‖ count × u16 end of suffix
 *   ‖ (count - 1) × u16 branch bit ‖ prefix ‖ suffixes
 * ```
 *
 * In a store a page may be the items that differ from an earlier one (delta.ts); in memory it is always whole.
 *
 * `shape` is 0xffff for an entry, or the branch bit of a link. An item's key (a link's stem) is the page's prefix and
 * its own suffix. The prefix is the stem of the page's least branch bit without a part byte; empty below two items.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { type Hash, HASH_SIZE_BYTES } from "../../crypto/hash/hash.ts";
import type { Arena } from "./arena.ts";
import { BRANCH_BIT_MAX, KEY_SIZE_BYTES_MAX, stemMask, stemOf, stemSizeBytes } from "./bits.ts";
import { nodeHash, nodeHashAt } from "./hashing.ts";
import { type Location, LOCATION_SIZE_BYTES, readLocation, writeLocation } from "./layout.ts";

/**
 * Items of a page. Every update rewrites one page a level, so small pages write and hash less; but more of them lie on
 * the way, and each costs memory of its own. Chosen by measurement: see decisions/0001.
 */
export const PAGE_ITEMS_MAX = 16;

/** A page with fewer items than this dissolves into the page above. */
export const PAGE_ITEMS_MIN = 4;

/** A row on a page. */
export type Entry = { readonly kind: "entry"; readonly key: Uint8Array; readonly hash: Uint8Array; readonly location: Location };

/** A subtree on a page of its own. `key` is the stem of its `bit`, the branch bit of its topmost node. */
export type Link = {
  readonly kind: "link";
  readonly key: Uint8Array;
  readonly bit: number;
  readonly hash: Uint8Array;
  readonly location: Location;
};

/** What a page holds at one place. */
export type Item = Entry | Link;

/** What takes the place of an item whose key stays. */
export type Replacement = { readonly index: number; readonly hash: Uint8Array; readonly location: Location };

/** How a page is stored that is not stored whole: the items (a bit each) that differ from the page at `base`. See delta.ts. */
export type Delta = { readonly base: Location; readonly changed: number };

const NO_BYTES = new Uint8Array(0);

/** As a set of items: all of them. */
const ALL_CHANGED = -1;

const HEADER_SIZE_BYTES = 4;
const SHAPE_ENTRY = 0xffff;
const ITEM_SIZE_BYTES = HASH_SIZE_BYTES + LOCATION_SIZE_BYTES + 2 + 2 + 2;

/** A page: its bytes, a view of an arena's, and the few numbers that all access needs. Immutable. */
export class Page {
  readonly bytes: Uint8Array;
  readonly count: number;
  /** Of a page that is stored as one. */
  readonly delta: Delta | undefined;
  /** Bytes that all keys of the page begin with. */
  readonly #prefixSize: number;
  readonly #prefixAt: number;
  /** Room for the hashes of the nodes inside a higher page, by the index of their branch bit; none in a lowest one. */
  readonly #nodes: Uint8Array;
  /** Whether they are there. */
  #hasNodes = false;

  private constructor(bytes: Uint8Array, nodes: Uint8Array, delta?: Delta) {
    this.bytes = bytes;
    this.#nodes = nodes;
    this.delta = delta;
    this.count = u16(bytes, 0);
    this.#prefixSize = u16(bytes, 2);
    this.#prefixAt = HEADER_SIZE_BYTES + this.count * ITEM_SIZE_BYTES - (this.count === 0 ? 0 : 2);
  }

  /** A page of no items: what an empty tree is changed from. */
  static readonly EMPTY: Page = new Page(new Uint8Array(HEADER_SIZE_BYTES), NO_BYTES);

  /** What the page takes in memory, but for the objects around it. */
  get sizeBytes(): number {
    return this.bytes.length + this.#nodes.length;
  }

  /** Encodes a page. `items` in key order, `bits` their branch bits. */
  static of(items: readonly Item[], bits: readonly number[], arena: Arena): Page {
    assert(bits.length === Math.max(items.length - 1, 0), "{} bits between {} items", bits.length, items.length);
    const prefixSize = prefixSizeOf(bits);
    let suffixesSize = 0;
    for (const item of items) suffixesSize += item.key.length - prefixSize;
    const count = items.length;
    const prefixAt = HEADER_SIZE_BYTES + count * ITEM_SIZE_BYTES - (count === 0 ? 0 : 2);
    const isLowest = items.every(({ kind }) => kind === "entry");
    const [bytes, nodes] = room(arena, prefixAt + prefixSize + suffixesSize, isLowest ? undefined : count - 1);
    putU16(bytes, 0, count);
    putU16(bytes, 2, prefixSize);
    let end = 0;
    for (let index = 0; index < count; index += 1) {
      const item = items[index] as Item;
      bytes.set(item.hash, HEADER_SIZE_BYTES + index * HASH_SIZE_BYTES);
      writeLocation(bytes, locationAt(count, index), item.location);
      putU16(bytes, shapeAt(count, index), item.kind === "entry" ? SHAPE_ENTRY : item.bit);
      if (index > 0) putU16(bytes, bitPlace(count, index - 1), bits[index - 1] as number);
      const suffix = item.key.subarray(prefixSize);
      bytes.set(suffix, prefixAt + prefixSize + end);
      end += suffix.length;
      putU16(bytes, endAt(count, index), end);
    }
    if (count > 0) bytes.set((items[0] as Item).key.subarray(0, prefixSize), prefixAt);
    return new Page(bytes, nodes);
  }

  /**
   * Reads a page from a disk, strictly: the keys must be in order, and every derived field as `Page.of` makes it.
   *
   * @param over - of a page that is stored as a delta: `bytes` are those of its base
   */
  static parse(
    bytes: Uint8Array,
    arena: Arena,
    over?: { readonly base: Location; readonly changes: readonly Replacement[] },
  ): Result<Page, { readonly code: "page_malformed" }> {
    if (!isPage(bytes)) return fail({ code: "page_malformed" });
    const page = new Page(bytes, NO_BYTES);
    if (over === undefined) return ok(page.copy(arena));
    const { base, changes } = over;
    if (changes.some(({ index }) => index >= page.count)) return fail({ code: "page_malformed" });
    return ok(page.#patch(changes, { base, changed: bitsOf(changes) }, arena));
  }

  /** Reads a page that has been parsed before: its bytes are not checked, and not copied. */
  static view(bytes: Uint8Array): Page {
    return new Page(bytes, NO_BYTES);
  }

  /** The same page in other memory. */
  copy(arena: Arena): Page {
    return this.#copy(arena, this.delta);
  }

  #copy(arena: Arena, delta: Delta | undefined): Page {
    const [bytes, nodes] = room(arena, this.bytes.length, this.isLowest() ? undefined : this.count - 1);
    bytes.set(this.bytes);
    const page = new Page(bytes, nodes, delta);
    if (this.#hasNodes) nodes.set(this.#nodes);
    page.#hasNodes = this.#hasNodes;
    return page;
  }

  /** The leaf hash of an entry, or the subtree hash of a link; a view. */
  hash(index: number): Hash {
    const at = HEADER_SIZE_BYTES + index * HASH_SIZE_BYTES;
    return this.bytes.subarray(at, at + HASH_SIZE_BYTES) as Hash;
  }

  location(index: number): Location {
    return readLocation(this.bytes, locationAt(this.count, index));
  }

  isEntry(index: number): boolean {
    return u16(this.bytes, shapeAt(this.count, index)) === SHAPE_ENTRY;
  }

  /** The branch bit of a link's topmost node. */
  linkBit(index: number): number {
    const shape = u16(this.bytes, shapeAt(this.count, index));
    assert(shape !== SHAPE_ENTRY, "item {} is an entry", index);
    return shape;
  }

  /** The branch bit between items `index` and `index + 1`. */
  bit(index: number): number {
    return u16(this.bytes, bitPlace(this.count, index));
  }

  /** The key of an entry, or the stem of a link, as new bytes. */
  key(index: number): Uint8Array {
    const from = this.#suffixFrom(index);
    const size = this.#suffixTo(index) - from;
    const key = new Uint8Array(this.#prefixSize + size);
    key.set(this.bytes.subarray(this.#prefixAt, this.#prefixAt + this.#prefixSize));
    key.set(this.bytes.subarray(from, from + size), this.#prefixSize);
    return key;
  }

  /** The item, decoded. */
  item(index: number): Item {
    const common = { key: this.key(index), hash: this.hash(index), location: this.location(index) };
    return this.isEntry(index) ? { kind: "entry", ...common } : { kind: "link", bit: this.linkBit(index), ...common };
  }

  /** Whether `key` comes before item `index` (negative), belongs to it (0) or comes after (positive). */
  compare(index: number, key: Uint8Array): number {
    const prefixOrder = this.#comparePrefix(key);
    return prefixOrder !== 0 ? prefixOrder : this.#compareSuffix(index, key);
  }

  /** The item from `first` on that `key` belongs to, or `~index` of the item it comes before. */
  find(key: Uint8Array, first = 0): number {
    if (this.count === 0) return ~0;
    const prefixOrder = this.#comparePrefix(key);
    if (prefixOrder !== 0) return prefixOrder < 0 ? ~first : ~this.count;
    let low = first;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      const order = this.#compareSuffix(middle, key);
      if (order === 0) return middle;
      if (order < 0) high = middle;
      else low = middle + 1;
    }
    return ~low;
  }

  /** The hash of the page's subtree. There is one for one item or more. */
  rootHash(): Hash {
    assert(this.count > 0, "an empty page has no hash of its own");
    const fold = new Fold(this.bytes);
    for (let index = 0; index < this.count; index += 1) fold.push(index, index === 0 ? 0 : this.bit(index - 1));
    return fold.finish();
  }

  /** The index of the least branch bit between items `low` and `high - 1`: items up to and with it are the left half. */
  split(low: number, high: number): number {
    assert(high - low > 1, "no branch between {} and {}", low, high);
    let least = low;
    for (let index = low + 1; index < high - 1; index += 1) if (this.bit(index) < this.bit(least)) least = index;
    return least;
  }

  /**
   * A copy with the hashes and locations of some items replaced (their keys stay), and its root hash. `delta` says how
   * the copy is to be stored.
   *
   * Higher pages change with nearly every version, so they keep the hashes of their nodes and hash only the paths that
   * changed. The lowest, of which there are many and which change seldom, would pay for that with a third more memory.
   */
  replace(changes: readonly Replacement[], delta: Delta | undefined, arena: Arena): { readonly page: Page; readonly hash: Hash } {
    const page = this.#patch(changes, delta, arena);
    if (this.isLowest()) return { page, hash: page.rootHash() };
    const hash = page.#rehash(0, page.count, this.#hasNodes ? bitsOf(changes) : ALL_CHANGED);
    page.#hasNodes = true;
    return { page, hash };
  }

  #patch(changes: readonly Replacement[], delta: Delta | undefined, arena: Arena): Page {
    const page = this.#copy(arena, delta);
    for (const { index, hash, location } of changes) {
      page.bytes.set(hash, HEADER_SIZE_BYTES + index * HASH_SIZE_BYTES);
      writeLocation(page.bytes, locationAt(page.count, index), location);
    }
    return page;
  }

  /** The stem of `bit` bits of the page's keys, if `bit` is where they part; otherwise no bytes, which is no stem of a key. */
  stem(bit: number): Uint8Array {
    if (this.count < 2 || this.bit(this.split(0, this.count)) !== bit) return new Uint8Array(0);
    return stemOf(this.key(0), bit);
  }

  /** Whether the page holds rows only. */
  isLowest(): boolean {
    for (let index = 0; index < this.count; index += 1) if (!this.isEntry(index)) return false;
    return true;
  }

  /** The hash of items `low` to `high - 1`; nodes above none of `changed` (a bit an item) are known already. */
  #rehash(low: number, high: number, changed: number): Hash {
    if (high - low === 1) return this.hash(low);
    const nodes = this.#nodes;
    const least = this.split(low, high);
    const at = least * HASH_SIZE_BYTES;
    if (((changed >> low) & ((1 << (high - low)) - 1)) === 0) return nodes.subarray(at, at + HASH_SIZE_BYTES) as Hash;
    const hash = nodeHash(this.bit(least), this.#rehash(low, least + 1, changed), this.#rehash(least + 1, high, changed));
    nodes.set(hash, at);
    return hash;
  }

  #comparePrefix(key: Uint8Array): number {
    const bytes = this.bytes;
    const at = this.#prefixAt;
    const size = this.#prefixSize;
    for (let index = 0; index < size; index += 1) {
      // Past its end a key reads as `undefined`; a key that ends early comes before what extends it.
      const difference = index < key.length ? (key[index] as number) - (bytes[at + index] as number) : -1;
      if (difference !== 0) return difference;
    }
    return 0;
  }

  #compareSuffix(index: number, key: Uint8Array): number {
    const bytes = this.bytes;
    const from = this.#suffixFrom(index);
    const size = this.#suffixTo(index) - from;
    const shape = u16(bytes, shapeAt(this.count, index));
    const start = this.#prefixSize;
    const last = size - 1;
    const mask = shape === SHAPE_ENTRY ? 0xff : stemMask(shape);
    for (let offset = 0; offset < size; offset += 1) {
      if (start + offset >= key.length) return -1;
      const byte = key[start + offset] as number;
      const difference = (offset === last ? byte & mask : byte) - (bytes[from + offset] as number);
      if (difference !== 0) return difference;
    }
    return shape === SHAPE_ENTRY && key.length > start + size ? 1 : 0;
  }

  #suffixFrom(index: number): number {
    return this.#prefixAt + this.#prefixSize + (index === 0 ? 0 : u16(this.bytes, endAt(this.count, index - 1)));
  }

  #suffixTo(index: number): number {
    return this.#prefixAt + this.#prefixSize + u16(this.bytes, endAt(this.count, index));
  }
}

/**
 * The hash of a page's items by a stack: a node is complete when a lesser branch bit comes after it. Holds, for each
 * subtree, the bytes and the place in them where its hash is, so that hashes on the page need no array of their own.
 */
class Fold {
  readonly #bytes: Uint8Array;
  readonly #hashes: Uint8Array[] = [];
  readonly #places: number[] = [];
  readonly #bits: number[] = [];

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Item `index`, and the branch bit before it (ignored for the first). */
  push(index: number, bit: number): void {
    if (index > 0) {
      while (this.#bits.length > 0 && (this.#bits[this.#bits.length - 1] as number) > bit) this.#join();
      this.#bits.push(bit);
    }
    this.#hashes.push(this.#bytes);
    this.#places.push(HEADER_SIZE_BYTES + index * HASH_SIZE_BYTES);
  }

  finish(): Hash {
    while (this.#bits.length > 0) this.#join();
    const place = this.#places[0] as number;
    return (this.#hashes[0] as Uint8Array).subarray(place, place + HASH_SIZE_BYTES) as Hash;
  }

  #join(): void {
    const right = this.#hashes.pop() as Uint8Array;
    const rightAt = this.#places.pop() as number;
    const top = this.#hashes.length - 1;
    this.#hashes[top] = nodeHashAt(
      this.#bits.pop() as number,
      this.#hashes[top] as Uint8Array,
      this.#places[top] as number,
      right,
      rightAt,
    );
    this.#places[top] = 0;
  }
}

/** Memory for a page, and for the hashes of the nodes of a higher one (`nodeCount` undefined: a lowest), in one buffer. */
function room(arena: Arena, sizeBytes: number, nodeCount: number | undefined): readonly [Uint8Array, Uint8Array] {
  if (nodeCount === undefined) return [arena.take("lowest", sizeBytes), NO_BYTES];
  const bytes = arena.take("higher", sizeBytes + nodeCount * HASH_SIZE_BYTES);
  return [bytes.subarray(0, sizeBytes), bytes.subarray(sizeBytes)];
}

/** The items that are replaced, a bit each. */
function bitsOf(changes: readonly Replacement[]): number {
  let bits = 0;
  for (const { index } of changes) bits |= 1 << index;
  return bits;
}

/** Whole bytes that all keys under the least of `bits` share. */
function prefixSizeOf(bits: readonly number[]): number {
  return bits.length === 0 ? 0 : Math.floor(leastOf(bits) / 9);
}

/** The least of some branch bits: the bit of the node above them all. */
export function leastOf(bits: readonly number[]): number {
  let least = present(bits[0], "a branch bit");
  for (const bit of bits) if (bit < least) least = bit;
  return least;
}

/** Whether bytes are a page as `Page.of` would write it. Reads nothing that it has not checked to be there. */
function isPage(bytes: Uint8Array): boolean {
  if (bytes.length < HEADER_SIZE_BYTES) return false;
  const count = u16(bytes, 0);
  const prefixSize = u16(bytes, 2);
  if (count === 0 || count > PAGE_ITEMS_MAX) return false;
  const prefixAt = HEADER_SIZE_BYTES + count * ITEM_SIZE_BYTES - 2;
  if (prefixAt + prefixSize > bytes.length) return false;
  let end = 0;
  for (let index = 0; index < count; index += 1) {
    const next = u16(bytes, endAt(count, index));
    const shape = u16(bytes, shapeAt(count, index));
    if (next < end || !isKeySize(shape, prefixSize + next - end)) return false;
    end = next;
  }
  if (prefixAt + prefixSize + end !== bytes.length) return false;
  return isOrdered(bytes, count, prefixSize);
}

function isKeySize(shape: number, sizeBytes: number): boolean {
  if (shape === SHAPE_ENTRY) return sizeBytes > 0 && sizeBytes <= KEY_SIZE_BYTES_MAX;
  return shape <= BRANCH_BIT_MAX && sizeBytes === stemSizeBytes(shape);
}

/** The second half of `isPage`: sizes fit, so suffixes can be read; are they stems, in order, and apart where `bits` says? */
function isOrdered(bytes: Uint8Array, count: number, prefixSize: number): boolean {
  const suffixesAt = HEADER_SIZE_BYTES + count * ITEM_SIZE_BYTES - 2 + prefixSize;
  let least = BRANCH_BIT_MAX + 1;
  for (let index = 0; index < count; index += 1) {
    const from = suffixesAt + (index === 0 ? 0 : u16(bytes, endAt(count, index - 1)));
    const to = suffixesAt + u16(bytes, endAt(count, index));
    const shape = u16(bytes, shapeAt(count, index));
    if (shape !== SHAPE_ENTRY && to > from && ((bytes[to - 1] as number) & ~stemMask(shape)) !== 0) return false;
    if (index === 0) continue;
    const before = suffixesAt + (index === 1 ? 0 : u16(bytes, endAt(count, index - 2)));
    const bit = risingBit(bytes, before, from, to);
    const shapeBefore = u16(bytes, shapeAt(count, index - 1));
    if (bit < 0 || bit + 9 * prefixSize !== u16(bytes, bitPlace(count, index - 1))) return false;
    // A link's stem ends at its own bit: what follows must part from it before. (Entries have the greatest shape.)
    if (bit + 9 * prefixSize >= Math.min(shape, shapeBefore)) return false;
    least = Math.min(least, bit);
  }
  return count === 1 ? prefixSize === 0 : least < 9;
}

/** The branch bit of two neighbouring byte strings, or -1 when the first is not less than the second. */
function risingBit(bytes: Uint8Array, from: number, middle: number, to: number): number {
  const shared = Math.min(middle - from, to - middle);
  for (let index = 0; index < shared; index += 1) {
    const a = bytes[from + index] as number;
    const b = bytes[middle + index] as number;
    if (a !== b) return a < b ? 9 * index + 1 + (Math.clz32(a ^ b) - 24) : -1;
  }
  return middle - from < to - middle ? 9 * shared : -1;
}

function locationAt(count: number, index: number): number {
  return HEADER_SIZE_BYTES + count * HASH_SIZE_BYTES + index * LOCATION_SIZE_BYTES;
}

function shapeAt(count: number, index: number): number {
  return HEADER_SIZE_BYTES + count * (HASH_SIZE_BYTES + LOCATION_SIZE_BYTES) + index * 2;
}

function endAt(count: number, index: number): number {
  return HEADER_SIZE_BYTES + count * (HASH_SIZE_BYTES + LOCATION_SIZE_BYTES + 2) + index * 2;
}

function bitPlace(count: number, index: number): number {
  return HEADER_SIZE_BYTES + count * (HASH_SIZE_BYTES + LOCATION_SIZE_BYTES + 4) + index * 2;
}

function u16(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset] as number) << 8) | (bytes[offset + 1] as number);
}

function putU16(bytes: Uint8Array, offset: number, value: number): void {
  assert(value >= 0 && value <= 0xffff, "not a u16: {}", value);
  bytes[offset] = value >> 8;
  bytes[offset + 1] = value;
}
