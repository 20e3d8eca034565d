/**
 * A log over SHA-256 kept in tiles: rows of up to 256 hashes, 8 levels of the tree a tile. Level 0 holds leaves, each level
 * above the roots of the full tiles below. What lies between is reckoned from the hashes of one tile when it is asked for.
 *
 * ```
 *   tile level 1   [t0 t1 t2]                          t0 = root of 256 leaves
 *   tile level 0   [256 leaves] [256 leaves] [256 leaves] [17 leaves]     the last one grows
 * ```
 *
 * Costs 33 bytes and two hashes a leaf. Every row ends with a hash of its key and itself: what a disk changed is thrown away.
 *
 * Source: the tiles are those of c2sp.org/tlog-tiles, in rows instead of files.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual, concatBytes, u64 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { type Hash, HASH_SIZE_BYTES, hashOf, hashParts } from "../../crypto/hash/hash.ts";
import type { TreeHasher } from "../../chain/merkle/log.ts";
import type { StoreOperation, StoreReader } from "../../chain/store/store.ts";
import { RECORDLOG_CODES } from "./errors.ts";

const TILE_LEVELS = 8;
const TILE_WIDTH = 1 << TILE_LEVELS;
/** Full tiles that are kept with all their nodes, 16 KiB each: proofs share those near the root. */
const KEPT_MAX = 4;

/** What a tile lies under: its log's name follows. */
const TILE_KIND = 0x02;

/** The tiles of one log, of which the growing ones are in memory. Appends and reads are synchronous; the caller writes. */
export class Tiles {
  readonly #hasher: TreeHasher;
  readonly #reader: StoreReader;
  readonly #name: Uint8Array;
  #size: bigint;
  /** The hashes of the tile that grows, by level. */
  readonly #growing: Hash[][];
  /** Levels whose growing tile changed since it was given out, and full tiles that were not given out. */
  readonly #changed = new Set<number>();
  /** By level within the tile, its hashes first. */
  readonly #kept = new Map<string, readonly (readonly Hash[])[]>();
  #full: StoreOperation[] = [];

  private constructor(parts: {
    readonly hasher: TreeHasher;
    readonly reader: StoreReader;
    readonly name: Uint8Array;
    readonly size: bigint;
    readonly growing: Hash[][];
  }) {
    this.#hasher = parts.hasher;
    this.#reader = parts.reader;
    this.#name = parts.name;
    this.#size = parts.size;
    this.#growing = parts.growing;
  }

  /**
   * The tiles of a log as they were written at `size`.
   *
   * @param name - of the log, no other's prefix
   * @throws CodedError `recordlog_damaged`
   */
  static load(hasher: TreeHasher, reader: StoreReader, name: Uint8Array, size: bigint): Tiles {
    const growing: Hash[][] = [];
    for (let level = 0, left = size; left > 0n; level += 1, left >>= BigInt(TILE_LEVELS)) {
      const count = Number(left & BigInt(TILE_WIDTH - 1));
      const index = left >> BigInt(TILE_LEVELS);
      growing.push(count === 0 ? [] : readTile(reader, tileKey(name, level, index)).slice(0, count));
      if (growing.at(-1)?.length !== count) throw damaged();
    }
    return new Tiles({ hasher, reader, name, size, growing });
  }

  /** Leaves. */
  get size(): bigint {
    return this.#size;
  }

  append(leafHash: Hash): void {
    this.#size += 1n;
    let node = leafHash;
    for (let level = 0, count = this.#size; ; level += 1) {
      const tile = (this.#growing[level] ??= []);
      tile.push(node);
      this.#changed.add(level);
      if (tile.length < TILE_WIDTH) return;
      count >>= BigInt(TILE_LEVELS);
      this.#full.push(putTile(tileKey(this.#name, level, count - 1n), tile));
      this.#growing[level] = [];
      node = present(levelsOf(this.#hasher, tile).at(-1)?.[0], "root of a tile");
    }
  }

  /** The rows that changed since this was last called. They belong into the batch that says how long the log is. */
  takeOperations(): StoreOperation[] {
    const operations = this.#full;
    this.#full = [];
    for (const [level, tile] of this.#growing.entries())
      if (tile.length > 0 && this.#changed.has(level))
        operations.push(putTile(tileKey(this.#name, level, this.#tileCount(level)), tile));
    this.#changed.clear();
    return operations;
  }

  /**
   * A complete node of the tree, once the rows that were taken are written.
   *
   * @throws CodedError `recordlog_damaged`
   */
  node(level: number, index: bigint): Hash {
    const tileLevel = Math.floor(level / TILE_LEVELS);
    const inner = BigInt(level % TILE_LEVELS);
    const first = index << inner;
    const tileIndex = first >> BigInt(TILE_LEVELS);
    const offset = Number(first & BigInt(TILE_WIDTH - 1));
    if (tileIndex !== this.#tileCount(tileLevel))
      return present(this.#fullTile(tileLevel, tileIndex)[Number(inner)]?.[offset >> Number(inner)], "node of a full tile");
    const hashes = (this.#growing[tileLevel] ?? []).slice(offset, offset + (1 << Number(inner)));
    assert(hashes.length === 1 << Number(inner), "node {}/{} of a log of {}", level, index, this.#size);
    return present(levelsOf(this.#hasher, hashes).at(-1)?.[0], "root of a node");
  }

  #fullTile(level: number, index: bigint): readonly (readonly Hash[])[] {
    const name = `${level}/${index}`;
    const known = this.#kept.get(name);
    this.#kept.delete(name);
    const hashes = known?.[0] ?? readTile(this.#reader, tileKey(this.#name, level, index));
    if (hashes.length !== TILE_WIDTH) throw damaged();
    const levels = known ?? levelsOf(this.#hasher, hashes);
    this.#kept.set(name, levels);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > KEPT_MAX && oldest !== undefined) this.#kept.delete(oldest);
    return levels;
  }

  /** Full tiles of a level. */
  #tileCount(level: number): bigint {
    return this.#size >> BigInt(TILE_LEVELS * (level + 1));
  }
}

/** The levels of the perfect tree over a power of two of hashes, these first and the root last. */
function levelsOf(hasher: TreeHasher, hashes: readonly Hash[]): (readonly Hash[])[] {
  const levels = [hashes];
  for (let level = hashes; level.length > 1;) {
    const above: Hash[] = [];
    for (let at = 0; at < level.length; at += 2)
      above.push(hasher.node(present(level[at], "left"), present(level[at + 1], "right")));
    levels.push(above);
    level = above;
  }
  return levels;
}

// Rows.

/** The row under a key, without its check; `undefined` when there is none. Throws `recordlog_damaged`. */
export function readRow(reader: StoreReader, key: Uint8Array): Uint8Array | undefined {
  const row = reader.get(key);
  if (row === undefined) return undefined;
  const body = row.subarray(0, -HASH_SIZE_BYTES);
  if (row.length < HASH_SIZE_BYTES || !bytesEqual(checkOf(key, body), row.subarray(-HASH_SIZE_BYTES))) throw damaged();
  return body;
}

/** Puts a row with its check. */
export function putRow(key: Uint8Array, body: Uint8Array): StoreOperation {
  return { kind: "put", key, value: concatBytes(body, checkOf(key, body)) };
}

/** Keys of this store say themselves where they end. */
function checkOf(key: Uint8Array, body: Uint8Array): Hash {
  return hashParts("recordLogRow", key, body);
}

function tileKey(name: Uint8Array, level: number, index: bigint): Uint8Array {
  return concatBytes(Uint8Array.of(TILE_KIND), name, Uint8Array.of(level), u64(index));
}

function putTile(key: Uint8Array, tile: readonly Hash[]): StoreOperation {
  assert(tile.length > 0 && tile.length <= TILE_WIDTH, "tile of {} hashes", tile.length);
  return putRow(key, concatBytes(...tile));
}

function readTile(reader: StoreReader, key: Uint8Array): Hash[] {
  const body = readRow(reader, key);
  if (body === undefined || body.length % HASH_SIZE_BYTES !== 0) throw damaged();
  return Array.from({ length: body.length / HASH_SIZE_BYTES }, (_, at) =>
    hashOf(body.subarray(at * HASH_SIZE_BYTES, (at + 1) * HASH_SIZE_BYTES)),
  );
}

function damaged(): CodedError {
  return new CodedError("recordlog_damaged", { message: RECORDLOG_CODES.recordlog_damaged });
}
