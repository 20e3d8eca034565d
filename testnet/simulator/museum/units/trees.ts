/** The log tree against the definition of RFC 9162 (`chain/merkle/testing/reference.ts`). */

import { bytesEqual, concatBytes, u32 } from "../../../../crypto/base/bytes.ts";
import { type Hash, hash } from "../../../../crypto/hash/hash.ts";
import {
  appendLeaf,
  consistencyProof,
  EMPTY_FRONTIER,
  type Frontier,
  frontierRoot,
  inclusionProof,
  LOG_HASHER,
  verifyConsistency,
  verifyInclusion,
} from "../../../../chain/merkle/log.ts";
import { referencePath, referenceProof, referenceRoot } from "../../../../chain/merkle/testing/reference.ts";
import { Random } from "../../../../consensus/testing/random.ts";
import { holds } from "../property.ts";

type Log = { readonly frontier: Frontier; readonly nodes: ReadonlyMap<string, Hash>; readonly entries: readonly Uint8Array[] };

/** Roots and proofs are the reference's, no other proof convinces, and no two lists share a root. */
export function logTreeIsTheReference(seed: number): void {
  const random = new Random(seed);
  const log = logOf(Array.from({ length: random.between(1, 20) }, (_, at) => concatBytes(u32(seed), u32(at))));
  const { entries } = log;
  const root = frontierRoot(LOG_HASHER, log.frontier);
  holds(bytesEqual(root, referenceRoot(LOG_HASHER, entries)), "a root is that of RFC 9162", () => `${entries.length} entries`);
  const doubled = logOf([...entries, ...entries.slice(-random.between(1, entries.length))]);
  holds(!bytesEqual(root, frontierRoot(LOG_HASHER, doubled.frontier)), "no two lists share a root", () => `${entries.length}`);
  const [left, right] = [random.pick(entries), random.pick(entries)].map((entry) => LOG_HASHER.leaf(entry)) as [Hash, Hash];
  const isMixedUp = bytesEqual(LOG_HASHER.leaf(concatBytes(left, right)), LOG_HASHER.node(left, right));
  holds(!isMixedUp, "no leaf is a node");
  checkInclusion(random, log, root);
  checkConsistency(random, log, root);
}

function checkInclusion(random: Random, log: Log, root: Hash): void {
  const { entries } = log;
  const size = BigInt(entries.length);
  const index = random.between(0, entries.length - 1);
  const siblings = inclusionProof(LOG_HASHER, { index: BigInt(index), size }, readerOf(log));
  const expected = referencePath(LOG_HASHER, index, entries);
  holds(isSame(siblings, expected), "an inclusion proof is that of RFC 9162", () => `${index} of ${size}`);
  const leafHash = LOG_HASHER.leaf(entries[index] as Uint8Array);
  const claim = { leafHash, index: BigInt(index), size, siblings, root };
  holds(verifyInclusion(LOG_HASHER, claim).ok, "a true inclusion proof convinces", () => `${index} of ${size}`);
  const lies = [
    { ...claim, index: BigInt(random.between(0, 40)) },
    { ...claim, index: claim.index + size },
    { ...claim, siblings: [...siblings, hash("logLeaf", u32(1))] },
    { ...claim, leafHash: nodeOver(claim.leafHash, siblings, index), siblings: siblings.slice(1) },
  ];
  for (const lie of lies) {
    const isTrue = lie.index === claim.index && lie.siblings.length === siblings.length;
    holds(isTrue || !verifyInclusion(LOG_HASHER, lie).ok, "no other inclusion proof convinces", () => `${lie.index} of ${size}`);
  }
}

/** The node that a leaf and its sibling make: what a shortened proof would pass off as a leaf. */
function nodeOver(leafHash: Hash, siblings: readonly Hash[], index: number): Hash {
  const [sibling] = siblings;
  if (sibling === undefined) return leafHash;
  return (index & 1) === 1 ? LOG_HASHER.node(sibling, leafHash) : LOG_HASHER.node(leafHash, sibling);
}

function checkConsistency(random: Random, log: Log, secondRoot: Hash): void {
  const { entries } = log;
  const first = random.between(1, entries.length);
  const of = { first: BigInt(first), second: BigInt(entries.length) };
  const hashes = consistencyProof(LOG_HASHER, of, readerOf(log));
  const isTheirs = isSame(hashes, referenceProof(LOG_HASHER, first, entries));
  holds(isTheirs, "a consistency proof is that of RFC 9162", () => `${first} in ${entries.length}`);
  const firstRoot = referenceRoot(LOG_HASHER, entries.slice(0, first));
  holds(verifyConsistency(LOG_HASHER, { ...of, hashes, firstRoot, secondRoot }).ok, "a true consistency proof convinces");
  const forked = referenceRoot(LOG_HASHER, [...entries.slice(0, first - 1), u32(first)]);
  const isFooled = verifyConsistency(LOG_HASHER, { ...of, hashes, firstRoot: forked, secondRoot }).ok;
  holds(!isFooled, "no log extends one that it does not begin with", () => `${first} in ${entries.length}`);
}

function logOf(entries: readonly Uint8Array[]): Log {
  const nodes = new Map<string, Hash>();
  let frontier = EMPTY_FRONTIER;
  for (const entry of entries)
    frontier = appendLeaf(LOG_HASHER, frontier, LOG_HASHER.leaf(entry), (level, index, node) =>
      nodes.set(`${level}/${index}`, node),
    );
  return { frontier, nodes, entries };
}

function readerOf({ nodes }: Log): (level: number, index: bigint) => Hash {
  return (level, index) => nodes.get(`${level}/${index}`) as Hash;
}

function isSame(a: readonly Hash[], b: readonly Hash[]): boolean {
  return a.length === b.length && a.every((one, at) => bytesEqual(one, b[at] as Hash));
}
