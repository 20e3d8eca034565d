/**
 * Work: targets and their compact form, what a target is worth, and the seal that a search looks for.
 *
 * A seal is a pair of nonces under which the tagged hash of the header's hash and both of them, read as a big-endian
 * number, is at most the target. The target comes from `retarget.ts` and never from whoever made the block.
 *
 * Source of the compact form: Bitcoin's nBits, an exponent of one byte (base 256) before a mantissa of three whose
 * highest bit is a sign (Bitcoin Core, `arith_uint256::SetCompact` and `GetCompact`). Where we differ: what is
 * negative, zero or beyond 256 bits is refused where it is read, and is nobody's target.
 */

import { assert } from "../../crypto/base/assert.ts";
import { fromHex, toHex, u64 } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { blake3 } from "../../crypto/backend/blake3.ts";
import { DOMAIN } from "../../crypto/hash/domain.ts";
import { type Hash, HASH_SIZE_BYTES, hashParts } from "../../crypto/hash/hash.ts";

/** Why a compact number is no target; `errors.ts` says what to do about each. */
export type CompactError = { readonly code: "target_negative" | "target_overflow" | "target_zero" };

/** Targets and chain work are below this. */
export const WORK_END: bigint = 1n << 256n;

const MANTISSA_MASK = 0x7f_ff_ff;
const SIGN_BIT = 0x80_00_00;

/** Reads a compact number. Several stand for one target: `bitsOf` gives the one that chains use. */
export function targetOf(bits: number): Result<bigint, CompactError> {
  assert(Number.isInteger(bits) && bits >= 0 && bits <= 0xff_ff_ff_ff, "compact form {}", bits);
  const size = bits >>> 24;
  const whole = bits & MANTISSA_MASK;
  // A short number loses the mantissa's low bytes first; only what is left can be negative.
  const mantissa = size <= 3 ? whole >>> (8 * (3 - size)) : whole;
  if (mantissa === 0) return fail({ code: "target_zero" });
  if ((bits & SIGN_BIT) !== 0) return fail({ code: "target_negative" });
  const target = size <= 3 ? BigInt(mantissa) : BigInt(mantissa) << BigInt(8 * (size - 3));
  return target < WORK_END ? ok(target) : fail({ code: "target_overflow" });
}

/** The compact form of a target, rounded down to what its mantissa holds. `0 <= target < 2^256`. */
export function bitsOf(target: bigint): number {
  assert(target >= 0n && target < WORK_END, "a target of 256 bits");
  const sizeBytes = target === 0n ? 0 : Math.ceil(target.toString(16).length / 2);
  const mantissa = Number(sizeBytes <= 3 ? target << BigInt(8 * (3 - sizeBytes)) : target >> BigInt(8 * (sizeBytes - 3)));
  // A mantissa whose highest bit is set would read as negative: one byte more of exponent, one less of precision.
  const [exponent, digits] = (mantissa & SIGN_BIT) === 0 ? [sizeBytes, mantissa] : [sizeBytes + 1, mantissa >>> 8];
  return ((exponent << 24) | digits) >>> 0;
}

/** How many hashes it takes on average to meet a target: floor(2^256 / (target + 1)). */
export function workOf(target: bigint): bigint {
  assert(target >= 0n && target < WORK_END, "a target of 256 bits");
  return WORK_END / (target + 1n);
}

/** The two numbers that a search varies. Each is 64 bits wide. */
export type Nonces = { readonly extraNonce: bigint; readonly nonce: bigint };

/** The number that must not be over the target: H("work" ‖ header's hash ‖ extra nonce ‖ nonce). */
export function sealHash(headerHash: Hash, { extraNonce, nonce }: Nonces): bigint {
  return BigInt(`0x${toHex(hashParts("work", headerHash, u64(extraNonce), u64(nonce)))}`);
}

/** Whether these nonces seal the header under a target. Cost: one hash. */
export function meetsTarget(headerHash: Hash, nonces: Nonces, target: bigint): boolean {
  return sealHash(headerHash, nonces) <= target;
}

/** What one go of a search tries: `count` nonces from `nonce` on, round the end of 64 bits to zero. */
export type SearchSpan = Nonces & { readonly headerHash: Hash; readonly target: bigint; readonly count: number };

/**
 * Tries nonces one after another.
 *
 * @returns the first that meets the target, or `undefined`. Cost: one hash a nonce, about half a microsecond.
 */
export function searchSeal({ headerHash, target, extraNonce, nonce, count }: SearchSpan): bigint | undefined {
  const limit = fromHex(target.toString(16).padStart(HASH_SIZE_BYTES * 2, "0"));
  // What `sealHash` hashes, laid out once; only the nonce changes.
  const preimage = new Uint8Array(1 + HASH_SIZE_BYTES + 16);
  preimage[0] = DOMAIN.work;
  preimage.set(headerHash, 1);
  const view = new DataView(preimage.buffer);
  view.setBigUint64(1 + HASH_SIZE_BYTES, extraNonce);
  for (let tried = 0; tried < count; tried += 1) {
    const candidate = BigInt.asUintN(64, nonce + BigInt(tried));
    view.setBigUint64(1 + HASH_SIZE_BYTES + 8, candidate);
    if (isAtMost(blake3(preimage), limit)) return candidate;
  }
  return undefined;
}

/** Whether one big-endian number is at most another of the same length. */
function isAtMost(bytes: Uint8Array, limit: Uint8Array): boolean {
  for (let index = 0; index < limit.length; index += 1) {
    const difference = (bytes[index] as number) - (limit[index] as number);
    if (difference !== 0) return difference < 0;
  }
  return true;
}
