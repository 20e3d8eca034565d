/**
 * The Rust addon (`native/`), once it has answered questions whose answers we know: one that was compiled wrong must not
 * serve. Where it is absent the other back ends do everything, and `backends.ts` says why.
 */

import { loadNative, type NativeAddon, type NativeLoad } from "../../native/addon.ts";
import { assert } from "../base/assert.ts";
import { bytesEqual, EMPTY, fromHex } from "../base/bytes.ts";

/** No call hands over more than this at once: lengths fit 32 bits, and copies stay bearable. */
const PACKED_SIZE_BYTES_MAX = 1 << 30;

/** What was found, and why not. */
export const nativeLoad: NativeLoad = checked(loadNative());

/** The addon, or `undefined` where there is none. */
export const native: NativeAddon | undefined = nativeLoad.kind === "loaded" ? nativeLoad.addon : undefined;

/** A list as the addon takes it. */
export type PackedList = { readonly bytes: Uint8Array; readonly lengths: Uint32Array };

/** What is taken of each item, by default the item, end to end; and their lengths. */
export function pack(items: readonly Uint8Array[]): PackedList;
export function pack<T>(items: readonly T[], bytesOf: (item: T) => Uint8Array): PackedList;
export function pack<T>(items: readonly T[], bytesOf: (item: T) => Uint8Array = (item) => item as Uint8Array): PackedList {
  const { lengths, sizeBytes } = lengthsOf(items, bytesOf);
  return { bytes: join(items, sizeBytes, bytesOf), lengths };
}

function lengthsOf<T>(
  items: readonly T[],
  bytesOf: (item: T) => Uint8Array,
): { readonly lengths: Uint32Array; readonly sizeBytes: number } {
  const lengths = new Uint32Array(items.length);
  let sizeBytes = 0;
  for (let index = 0; index < items.length; index += 1) {
    const { length } = bytesOf(items[index] as T);
    lengths[index] = length;
    sizeBytes += length;
  }
  assert(sizeBytes <= PACKED_SIZE_BYTES_MAX, "a list of {} bytes", sizeBytes);
  return { lengths, sizeBytes };
}

/** As `pack`, of what has `sizeBytesEach` in each item. */
export function packFixed<T>(items: readonly T[], sizeBytesEach: number, bytesOf: (item: T) => Uint8Array): Uint8Array {
  return join(items, items.length * sizeBytesEach, bytesOf);
}

function join<T>(items: readonly T[], sizeBytes: number, bytesOf: (item: T) => Uint8Array): Uint8Array {
  assert(sizeBytes <= PACKED_SIZE_BYTES_MAX, "a list of {} bytes", sizeBytes);
  return joinInto(new Uint8Array(sizeBytes), items, bytesOf);
}

function joinInto<T>(bytes: Uint8Array, items: readonly T[], bytesOf: (item: T) => Uint8Array): Uint8Array {
  let offset = 0;
  for (let index = 0; index < items.length; index += 1) {
    const part = bytesOf(items[index] as T);
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

/** Beyond it a list has memory of its own. */
const ARENA_SIZE_BYTES_MAX = 2 << 20;
/** Where lists lie that the addon has read when its call returns: of a block's size, several times a second. */
let arena = new Uint8Array(1 << 12);
let arenaUsed = 0;

/**
 * Calls `use` with what is taken of each item, end to end, in memory that the next such list is put into: `use` must be done with it,
 * as a call of the addon is that reads or copies what it is given before it returns.
 */
export function withPacked<T, R>(items: readonly T[], bytesOf: (item: T) => Uint8Array, use: (list: PackedList) => R): R {
  const usedBefore = arenaUsed;
  try {
    const { lengths, sizeBytes } = lengthsOf(items, bytesOf);
    const bytes = joinInto(arenaOf(sizeBytes), items, bytesOf);
    return use({ bytes, lengths });
  } finally {
    arenaUsed = usedBefore;
  }
}

function arenaOf(sizeBytes: number): Uint8Array {
  if (arenaUsed + sizeBytes > arena.length) {
    if (arenaUsed > 0 || sizeBytes > ARENA_SIZE_BYTES_MAX) return new Uint8Array(sizeBytes);
    let size = arena.length;
    while (size < sizeBytes) size *= 2;
    arena = new Uint8Array(size);
  }
  arenaUsed += sizeBytes;
  return arena.subarray(arenaUsed - sizeBytes, arenaUsed);
}

/** The items of `sizeBytes` bytes each, copied, so that one of them does not keep all of them in memory. */
export function unpackFixed(bytes: Uint8Array, sizeBytes: number): Uint8Array[] {
  assert(bytes.length % sizeBytes === 0, "{} bytes of items of {}", bytes.length, sizeBytes);
  return Array.from({ length: bytes.length / sizeBytes }, (_, index) => bytes.slice(index * sizeBytes, (index + 1) * sizeBytes));
}

/** The addon if it answers rightly. */
function checked(load: NativeLoad): NativeLoad {
  if (load.kind === "absent") return load;
  const wrong = firstWrongAnswer(load.addon);
  if (wrong === undefined) return load;
  return { kind: "absent", code: "broken", reason: `${wrong} gives a wrong answer` };
}

/** The first function that fails a known question, or `undefined`. Cost: a third of a millisecond. */
function firstWrongAnswer(addon: NativeAddon): string | undefined {
  // The BLAKE3 paper's own vector of no bytes.
  const empty = fromHex("af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
  if (!bytesEqual(addon.blake3(EMPTY), empty)) return "blake3";
  // Nine bodies: eight go through the lanes, and one alone.
  const bodies = Array.from({ length: 9 }, (_, index) => new Uint8Array(64).fill(index));
  const { bytes, lengths } = pack(bodies);
  const many = unpackFixed(addon.blake3Many(7, bytes, lengths), 32);
  const isEqual = (body: Uint8Array, index: number): boolean =>
    bytesEqual(addon.blake3(Uint8Array.of(7, ...body)), many[index] ?? EMPTY);
  if (!bodies.every(isEqual)) return "blake3Many";
  // RFC 8032, 7.1, test 2.
  const key = fromHex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
  const signature = fromHex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
  );
  const isVerified = addon.ed25519Verify(key, Uint8Array.of(0x72), signature);
  if (!isVerified || addon.ed25519Verify(key, Uint8Array.of(0x73), signature)) return "ed25519Verify";
  const pair = addon.mlDsaKeyPair(new Uint8Array(32));
  const signed = addon.mlDsaSign(pair.subarray(0, 4032), Uint8Array.of(1), new Uint8Array(32));
  const isSigned = addon.mlDsaVerify(pair.subarray(4032), Uint8Array.of(1), signed);
  if (!isSigned || addon.mlDsaVerify(pair.subarray(4032), Uint8Array.of(2), signed)) return "mlDsaVerify";
  // Two rows whose keys part in the eighth bit of their first byte: `chain/state/hashing.ts` gives this.
  const state = fromHex("cde19edceb52e980ccd82ef1c94dd5dbb4029fb59d2af8d7336e3126cf665b35");
  const [keys, values, ones] = [Uint8Array.of(2, 3), Uint8Array.of(3, 4), Uint32Array.of(1, 1)];
  const staged = new addon.StatePages(0).stage(new Uint8Array(32), -1, 0, keys, ones, values, ones, () => EMPTY);
  if (!bytesEqual(staged.hash, state)) return "StatePages";
  return undefined;
}
