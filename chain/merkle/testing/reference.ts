/**
 * The tree straight from the RFC's definitions, over whole lists of entries, slow and obvious: the oracle for `log.ts`.
 *
 * Source: RFC 9162, sections 2.1.1 (MTH), 2.1.3.1 (PATH) and 2.1.4.1 (PROOF, SUBPROOF).
 */

import { createHash } from "node:crypto";
import { assert } from "../../../crypto/base/assert.ts";
import { type Hash, hashOf } from "../../../crypto/hash/hash.ts";
import type { TreeHasher } from "../log.ts";

/** The hasher of the RFC, for its vectors. */
export const SHA256_HASHER: TreeHasher = {
  emptyRoot: () => sha256(),
  leaf: (entry) => sha256(Uint8Array.of(0), entry),
  node: (left, right) => sha256(Uint8Array.of(1), left, right),
};

/** MTH(D[n]). */
export function referenceRoot(hasher: TreeHasher, entries: readonly Uint8Array[]): Hash {
  const [first] = entries;
  if (first === undefined) return hasher.emptyRoot();
  if (entries.length === 1) return hasher.leaf(first);
  const split = largestPowerOfTwoBelow(entries.length);
  return hasher.node(referenceRoot(hasher, entries.slice(0, split)), referenceRoot(hasher, entries.slice(split)));
}

/** PATH(m, D[n]). */
export function referencePath(hasher: TreeHasher, index: number, entries: readonly Uint8Array[]): Hash[] {
  assert(index >= 0 && index < entries.length, `leaf ${index} of ${entries.length}`);
  if (entries.length === 1) return [];
  const split = largestPowerOfTwoBelow(entries.length);
  const [left, right] = [entries.slice(0, split), entries.slice(split)];
  if (index < split) return [...referencePath(hasher, index, left), referenceRoot(hasher, right)];
  return [...referencePath(hasher, index - split, right), referenceRoot(hasher, left)];
}

/** PROOF(m, D[n]), for `0 < m <= n`. */
export function referenceProof(hasher: TreeHasher, first: number, entries: readonly Uint8Array[]): Hash[] {
  assert(first > 0 && first <= entries.length, `log of ${first} in log of ${entries.length}`);
  return subProof(hasher, { first, entries, isWhole: true });
}

function subProof(hasher: TreeHasher, of: { first: number; entries: readonly Uint8Array[]; isWhole: boolean }): Hash[] {
  const { first, entries, isWhole } = of;
  if (first === entries.length) return isWhole ? [] : [referenceRoot(hasher, entries)];
  const split = largestPowerOfTwoBelow(entries.length);
  const [left, right] = [entries.slice(0, split), entries.slice(split)];
  if (first <= split) return [...subProof(hasher, { first, entries: left, isWhole }), referenceRoot(hasher, right)];
  return [...subProof(hasher, { first: first - split, entries: right, isWhole: false }), referenceRoot(hasher, left)];
}

function largestPowerOfTwoBelow(count: number): number {
  let split = 1;
  while (split * 2 < count) split *= 2;
  return split;
}

function sha256(...parts: readonly Uint8Array[]): Hash {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hashOf(new Uint8Array(hash.digest()));
}
