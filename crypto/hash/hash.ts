/**
 * BLAKE3-256 with a domain tag in front. 128 bits of collision resistance.
 *
 * Source: the BLAKE3 paper (O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2020), default hash mode, 32 bytes.
 */

import { assert } from "../base/assert.ts";
import type { Brand } from "../base/brand.ts";
import { fail, ok, type Result } from "../base/result.ts";
import { blake3, blake3Async, blake3Many } from "../backend/blake3.ts";
import { DOMAIN, type Domain } from "./domain.ts";

/** A BLAKE3-256 digest of something tagged. */
export type Hash = Brand<Uint8Array, "Hash">;

export const HASH_SIZE_BYTES = 32;

/** Thirty-two zero bytes: what the first header names as its previous one. Nothing hashes to it. */
export const ZERO_HASH: Hash = new Uint8Array(HASH_SIZE_BYTES) as Hash;

/** For bytes from a peer or a disk. */
export function parseHash(bytes: Uint8Array): Result<Hash, { readonly code: "hash_length"; readonly gotBytes: number }> {
  if (bytes.length !== HASH_SIZE_BYTES) return fail({ code: "hash_length", gotBytes: bytes.length });
  return ok(bytes as Hash);
}

/** For bytes we made: a wrong length is our bug. */
export function hashOf(bytes: Uint8Array): Hash {
  assert(bytes.length === HASH_SIZE_BYTES, "hash is {} bytes", bytes.length);
  return bytes as Hash;
}

/** Where what is hashed at once is put behind its tag. An array of its own for each would cost more than its hash. */
let scratch = new Uint8Array(4096);
/** What is larger has memory of its own. */
const SCRATCH_SIZE_BYTES_MAX = 1 << 17;

function scratchOf(sizeBytes: number): Uint8Array {
  if (sizeBytes > SCRATCH_SIZE_BYTES_MAX) return new Uint8Array(sizeBytes);
  let size = scratch.length;
  while (size < sizeBytes) size *= 2;
  if (size > scratch.length) scratch = new Uint8Array(size);
  return scratch.subarray(0, sizeBytes);
}

/** H(tag ‖ body). */
export function hash(domain: Domain, body: Uint8Array): Hash {
  const tagged = scratchOf(body.length + 1);
  tagged[0] = DOMAIN[domain];
  tagged.set(body, 1);
  return blake3(tagged) as Hash;
}

/** As `hash`, away from the calling thread where the platform can and the body is long enough to be worth it. */
export async function hashAsync(domain: Domain, body: Uint8Array): Promise<Hash> {
  const tagged = new Uint8Array(body.length + 1);
  tagged[0] = DOMAIN[domain];
  tagged.set(body, 1);
  return (await blake3Async(tagged)) as Hash;
}

/** H(tag ‖ body) of each body, in order; in one call where the platform can. */
export function hashMany(domain: Domain, bodies: readonly Uint8Array[]): Hash[] {
  return blake3Many(DOMAIN[domain], bodies) as Hash[];
}

/** H(tag ‖ parts...). Parts must be of fixed length or length-prefixed: nothing is put between them. */
export function hashParts(domain: Domain, ...parts: readonly Uint8Array[]): Hash {
  let sizeBytes = 1;
  for (const part of parts) sizeBytes += part.length;
  const tagged = scratchOf(sizeBytes);
  tagged[0] = DOMAIN[domain];
  let offset = 1;
  for (const part of parts) {
    tagged.set(part, offset);
    offset += part.length;
  }
  return blake3(tagged) as Hash;
}

/** H(tag ‖ left ‖ right): an inner node. */
export function hashPair(domain: Domain, left: Hash, right: Hash): Hash {
  const tagged = scratchOf(1 + HASH_SIZE_BYTES * 2);
  tagged[0] = DOMAIN[domain];
  tagged.set(left, 1);
  tagged.set(right, 1 + HASH_SIZE_BYTES);
  return blake3(tagged) as Hash;
}
