/**
 * Spans: what a stretch of the leaves of a log is, as the roots of the largest perfect subtrees in it, left to right.
 *
 * Spans that follow one another join without the leaves, and the span from leaf 0 on is the frontier of the log. So
 * whoever has the spans of all stretches of a log and its root knows that the stretches are the log, and can check
 * each of them by itself, in any order. (`compact.Range` of transparency-dev/merkle is the same thing.)
 *
 * ```
 *   leaves 3 to 8 of a log:   (0,3) (2,1) (0,8)        subtree (level, index) is over 2^level leaves
 * ```
 */

import { assert } from "../../crypto/base/assert.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { type Frontier, LOG_SIZE_END, type TreeHasher } from "./log.ts";

/** Leaves `from` (inclusive) to `to` (exclusive). */
export type Span = { readonly from: bigint; readonly to: bigint; readonly hashes: readonly Hash[] };

/** No span has more hashes: two a level. */
export const SPAN_LENGTH_MAX = 128;

/** The span of no leaves, before leaf `at`. */
export function emptySpan(at: bigint): Span {
  return { from: at, to: at, hashes: [] };
}

/** How many hashes the span over these leaves has. */
export function spanLength(from: bigint, to: bigint): number {
  return subtrees(from, to).length;
}

/** The span of some leaves, the first of which is number `from`. Cost: fewer than one hash a leaf. */
export function spanOf(hasher: TreeHasher, from: bigint, leafHashes: readonly Hash[]): Span {
  const builder = new Builder(hasher);
  for (const [index, leaf] of leafHashes.entries()) builder.push(0, from + BigInt(index), leaf);
  return { from, to: from + BigInt(leafHashes.length), hashes: builder.hashes() };
}

/** One span after the other, which begins where it ends. Cost: fewer than two hashes a level. */
export function joinSpans(hasher: TreeHasher, left: Span, right: Span): Span {
  assert(left.to === right.from, "span to {} joined with one from {}", left.to, right.from);
  const builder = new Builder(hasher);
  for (const span of [left, right]) {
    const places = subtrees(span.from, span.to);
    assert(places.length === span.hashes.length, "{} hashes of leaves {} to {}", span.hashes.length, span.from, span.to);
    for (const [at, { level, index }] of places.entries()) builder.push(level, index, span.hashes[at] as Hash);
  }
  return { from: left.from, to: right.to, hashes: builder.hashes() };
}

/** The frontier of the log that consists of a span from leaf 0 on. */
export function frontierOf(span: Span): Frontier {
  assert(span.from === 0n, "frontier of a span from {}", span.from);
  return { size: span.to, hashes: span.hashes };
}

/** Subtrees side by side; two that are halves of one become it. */
class Builder {
  readonly #stack: { readonly level: number; readonly index: bigint; readonly hash: Hash }[] = [];
  readonly #hasher: TreeHasher;

  constructor(hasher: TreeHasher) {
    this.#hasher = hasher;
  }

  push(level: number, index: bigint, hash: Hash): void {
    let subtree = { level, index, hash };
    for (;;) {
      const top = this.#stack.at(-1);
      // A right half has an odd index, and its left half the number before.
      if (top === undefined || (subtree.index & 1n) === 0n || top.level !== subtree.level) break;
      this.#stack.pop();
      subtree = { level: subtree.level + 1, index: subtree.index >> 1n, hash: this.#hasher.node(top.hash, subtree.hash) };
    }
    this.#stack.push(subtree);
  }

  hashes(): Hash[] {
    return this.#stack.map(({ hash }) => hash);
  }
}

/** The largest perfect subtrees of a stretch: growing from its left end, then shrinking to its right one. */
function subtrees(from: bigint, to: bigint): { readonly level: number; readonly index: bigint }[] {
  assert(from >= 0n && from <= to && to < LOG_SIZE_END, "leaves {} to {}", from, to);
  const found: { level: number; index: bigint }[] = [];
  for (let at = from; at < to;) {
    let level = 0;
    while (((at >> BigInt(level)) & 1n) === 0n && at + (2n << BigInt(level)) <= to) level += 1;
    found.push({ level, index: at >> BigInt(level) });
    at += 1n << BigInt(level);
  }
  return found;
}
