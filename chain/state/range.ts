/**
 * Ranges of keys, and the one question that makes a range proof complete: may a subtree of which only the hash is
 * shown hold a key of the range?
 *
 * Such a subtree hangs at branch bit d beside one that shows a key K. Then all of its keys share bits 0 to d - 1
 * with K and have the other bit d. Those keys are an interval of the key order, and the subtree may stay hidden only
 * when that interval and the range have no key in common.
 */

import { assert } from "../../crypto/base/assert.ts";
import { compareBytes } from "../../crypto/base/bytes.ts";
import { bitAt, branchBit } from "./bits.ts";

/** Keys from `from` (inclusive) to `to` (exclusive); without a bound, from the first or to the last. */
export type KeyRange = { readonly from?: Uint8Array | undefined; readonly to?: Uint8Array | undefined };

/** Ranges in key order, none empty, no key in two of them. */
export type Ranges = readonly KeyRange[];

/** The least byte string after `key`. One byte longer than a key may be, which is fine for a bound. */
export function successor(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

/** One range as `Ranges`; none when it holds no key whatever the tree. */
export function rangesOf({ from, to }: KeyRange): Ranges {
  if (to !== undefined && compareBytes(from ?? new Uint8Array(0), to) >= 0) return [];
  return [{ from, to }];
}

/** Single keys as `Ranges`. `keys` in order, each once. */
export function rangesOfKeys(keys: readonly Uint8Array[]): Ranges {
  return keys.map((key) => ({ from: key, to: successor(key) }));
}

/** Whether a key is in one of the ranges. */
export function contains(ranges: Ranges, key: Uint8Array): boolean {
  const range = ranges[firstNotBefore(ranges, (to) => compareBytes(key, to) >= 0)];
  return range !== undefined && (range.from === undefined || compareBytes(key, range.from) >= 0);
}

/** Whether no key of any of the ranges can be in the subtree that hangs at branch bit `bit` beside `key`. */
export function isOutside(ranges: Ranges, key: Uint8Array, bit: number): boolean {
  const range = ranges[firstNotBefore(ranges, (to) => isAtOrAfter(key, bit, to))];
  if (range === undefined) return true;
  return range.from !== undefined && side(key, bit, range.from) < 0;
}

/** Index of the first range that does not end before something: `isAfter` says whether that is at or after a bound. */
function firstNotBefore(ranges: Ranges, isAfter: (to: Uint8Array) => boolean): number {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const { to } = ranges[middle] as KeyRange;
    if (to !== undefined && isAfter(to)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Whether all keys beside `key` at `bit` are `bound` or greater. */
function isAtOrAfter(key: Uint8Array, bit: number, bound: Uint8Array): boolean {
  const order = side(key, bit, bound);
  return order > 0 || (order === 0 && isLeast(key, bit, bound));
}

/** Where the keys beside `key` at `bit` are: all less than `bound` (-1), all greater (1), or around it (0). */
function side(key: Uint8Array, bit: number, bound: Uint8Array): -1 | 0 | 1 {
  const parted = branchBit(key, bound);
  if (parted === bit) return 0;
  // Before `bit` they are as `key` is; at `bit`, where `key` and `bound` agree, they are what `key` is not.
  if (parted >= 0 && parted < bit) return bitAt(key, parted) === 1 ? 1 : -1;
  return bitAt(key, bit) === 1 ? -1 : 1;
}

/** Whether `bound`, which begins as the keys beside `key` at `bit` do, is the least of all such keys. */
function isLeast(key: Uint8Array, bit: number, bound: Uint8Array): boolean {
  const index = Math.floor(bit / 9);
  const within = bit - 9 * index;
  const own = bitAt(key, bit);
  assert(own !== undefined, "key of {} bytes has no bit {}", key.length, bit);
  if (within === 0 && own === 1) return bound.length === index;
  return bound.length === index + 1 && ((bound[index] as number) & (0xff >> within)) === 0;
}
