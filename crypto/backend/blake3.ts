/**
 * The BLAKE3 back end. All of them give the same bytes:
 *
 * - WebAssembly for short input, where it runs (0.5 us for 65 bytes, 640 MB/s, Node 24, one core): calling the Rust addon
 *   costs more than such a hash;
 * - the addon from 2 KiB on (several GB/s, on every core from 1 MiB on), and for many bodies at once;
 * - noble (3.8 us for 65 bytes, 48 MB/s) where there is neither.
 */

import { blake3 as portable } from "@noble/hashes/blake3.js";
import { createBLAKE3, type IHasher } from "hash-wasm";
import { assert } from "../base/assert.ts";
import type { NativeAddon } from "../../native/addon.ts";
import { native, pack, unpackFixed } from "./native.ts";

/** Hashes `bytes` to 32 bytes. */
export type Blake3 = (bytes: Uint8Array) => Uint8Array;

const DIGEST_SIZE_BYTES = 32;

/** From here on the addon is faster than WebAssembly; the two meet at about 1 KiB. */
const NATIVE_SIZE_BYTES_MIN = 2048;
/** From so many bodies on, packing them for the addon pays. */
const NATIVE_COUNT_MIN = 8;
/** Less than this takes the calling thread no longer than asking another one does. */
const ASYNC_SIZE_BYTES_MIN = 1 << 16;

/** The pure JavaScript implementation. */
export const blake3Portable: Blake3 = (bytes) => portable(bytes);

/** The WebAssembly implementation, or `undefined` where WebAssembly is not allowed (a strict content policy, say). */
export const blake3Wasm: Blake3 | undefined = await instantiate();

/** The addon's implementation, or `undefined` where there is no addon. */
export const blake3Native: Blake3 | undefined = native && byAddon(native);

/** The fastest one here. */
export const blake3: Blake3 = fastest(blake3Wasm ?? blake3Portable);

/** What serves short input here. */
export const BLAKE3_SHORT: "wasm" | "noble" = blake3Wasm === undefined ? "noble" : "wasm";

/** As `blake3`, on every core and away from the calling thread where the addon is there. The input is copied. */
export async function blake3Async(bytes: Uint8Array): Promise<Uint8Array> {
  if (native === undefined || bytes.length < ASYNC_SIZE_BYTES_MIN) return blake3(bytes);
  return await native.blake3Async(bytes);
}

/** The hash of `tag ‖ body` for each body, in order: one call of the addon for all of them. */
export function blake3Many(tag: number, bodies: readonly Uint8Array[]): Uint8Array[] {
  if (native !== undefined && bodies.length >= NATIVE_COUNT_MIN) return blake3ManyNative(native, tag, bodies);
  return blake3ManyPortable(tag, bodies);
}

/** `blake3Many` by the addon. */
export function blake3ManyNative(addon: NativeAddon, tag: number, bodies: readonly Uint8Array[]): Uint8Array[] {
  assertTag(tag);
  const { bytes, lengths } = pack(bodies);
  return unpackFixed(addon.blake3Many(tag, bytes, lengths), DIGEST_SIZE_BYTES);
}

/** `blake3Many`, one after the other. */
export function blake3ManyPortable(tag: number, bodies: readonly Uint8Array[], hash: Blake3 = blake3): Uint8Array[] {
  assertTag(tag);
  return bodies.map((body) => {
    const tagged = new Uint8Array(body.length + 1);
    tagged[0] = tag;
    tagged.set(body, 1);
    return hash(tagged);
  });
}

function byAddon(addon: NativeAddon): Blake3 {
  return (bytes) => addon.blake3(bytes);
}

function assertTag(tag: number): void {
  assert(Number.isInteger(tag) && tag >= 0 && tag <= 0xff, "tag {}", tag);
}

function fastest(short: Blake3): Blake3 {
  if (blake3Native === undefined) return short;
  const long = blake3Native;
  return (bytes) => (bytes.length < NATIVE_SIZE_BYTES_MIN ? short(bytes) : long(bytes));
}

async function instantiate(): Promise<Blake3 | undefined> {
  if (typeof WebAssembly === "undefined") return undefined;
  let hasher: IHasher;
  try {
    hasher = await createBLAKE3();
  } catch (error) {
    // What a content policy without 'wasm-unsafe-eval' says to whoever compiles.
    if (error instanceof WebAssembly.CompileError) return undefined;
    throw error;
  }
  return (bytes) => {
    hasher.init();
    hasher.update(bytes);
    return hasher.digest("binary");
  };
}
