/**
 * Where the state tree lives in the store. Not consensus: two nodes may cut and store one tree differently.
 *
 * ```
 * 0x10 ‖ u64 chunk     chunk: pages (whole, or as deltas on pages of older chunks), or values, that one version wrote
 * 0x11 ‖ u64 version   root: the hash and the location of that version's root page, and the first free chunk number
 * 0x12 ‖ u64 version   stale: the locations that the version before could reach and this one cannot
 * 0x13 ‖ u64 chunk     worn: which slots of a chunk no kept version can reach
 * ```
 *
 * Chunk numbers grow with every version and are never reused while anything refers to them, so LevelDB sees sorted
 * runs and has little to merge; full chunks lie outside of it (`chain/store/blobs.ts`).
 */

import { assert } from "../../crypto/base/assert.ts";
import type { Brand } from "../../crypto/base/brand.ts";
import { readU64 } from "../../crypto/base/bytes.ts";
import { type Height, heightOf } from "../block/height.ts";
import { KEYSPACE } from "../store/keyspace.ts";

/** First bytes of the store keys of the state tree. */
export const STATE_PREFIX = {
  chunk: KEYSPACE.stateChunk,
  root: KEYSPACE.stateRoot,
  stale: KEYSPACE.stateStale,
  worn: KEYSPACE.stateWorn,
} as const satisfies Record<string, number>;

/** Where a page or a value is: chunk number times `SLOTS_MAX`, plus the slot in the chunk. Below 2^48. */
export type Location = Brand<number, "Location">;

/** Slots of a chunk are numbered in a byte. */
export const SLOTS_MAX = 256;

/** Bytes of a location in pages and stale lists. */
export const LOCATION_SIZE_BYTES = 6;

const CHUNK_END = 2 ** 40;
const LOCATION_END = CHUNK_END * SLOTS_MAX;

/** The location of a slot. */
export function locationOf(chunk: number, slot: number): Location {
  assert(chunk >= 0 && chunk < CHUNK_END, "chunk {}", chunk);
  assert(slot >= 0 && slot < SLOTS_MAX, "slot {}", slot);
  return (chunk * SLOTS_MAX + slot) as Location;
}

/** The chunk of a location. */
export function chunkOf(location: Location): number {
  return Math.floor(location / SLOTS_MAX);
}

/** The slot of a location. */
export function slotOf(location: Location): number {
  return location % SLOTS_MAX;
}

/** Writes a location at `offset`. */
export function writeLocation(bytes: Uint8Array, offset: number, location: Location): void {
  assert(location >= 0 && location < LOCATION_END, "location {}", location);
  const high = Math.floor(location / 0x1_0000_0000);
  bytes[offset] = high >> 8;
  bytes[offset + 1] = high;
  bytes[offset + 2] = location >>> 24;
  bytes[offset + 3] = location >>> 16;
  bytes[offset + 4] = location >>> 8;
  bytes[offset + 5] = location;
}

/** Reads a location at `offset`, where the caller knows there are six bytes. */
export function readLocation(bytes: Uint8Array, offset: number): Location {
  const high = ((bytes[offset] as number) << 8) | (bytes[offset + 1] as number);
  const low =
    (((bytes[offset + 2] as number) << 24) |
      ((bytes[offset + 3] as number) << 16) |
      ((bytes[offset + 4] as number) << 8) |
      (bytes[offset + 5] as number)) >>>
    0;
  return (high * 0x1_0000_0000 + low) as Location;
}

/** The key of a version's root record. */
export function rootKey(version: Height): Uint8Array {
  return numbered(STATE_PREFIX.root, version);
}

/** The key of a chunk. */
export function chunkKey(chunk: number): Uint8Array {
  return numbered(STATE_PREFIX.chunk, BigInt(chunk));
}

/** The key of a version's stale list. */
export function staleKey(version: Height): Uint8Array {
  return numbered(STATE_PREFIX.stale, version);
}

/** The key of a chunk's worn record. */
export function wornKey(chunk: number): Uint8Array {
  return numbered(STATE_PREFIX.worn, BigInt(chunk));
}

/** The version of a root or stale key. */
export function versionOfKey(key: Uint8Array): Height {
  assert(key.length === 9, "key of {} bytes", key.length);
  return heightOf(readU64(key, 1));
}

/** All keys of one kind, as a store range. */
export function rangeOf(kind: keyof typeof STATE_PREFIX): { readonly from: Uint8Array; readonly to: Uint8Array } {
  return { from: Uint8Array.of(STATE_PREFIX[kind]), to: Uint8Array.of(STATE_PREFIX[kind] + 1) };
}

function numbered(prefix: number, number: bigint): Uint8Array {
  const key = new Uint8Array(9);
  key[0] = prefix;
  new DataView(key.buffer).setBigUint64(1, number);
  return key;
}
