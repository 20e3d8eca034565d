/**
 * Append-only Merkle logs: one hash that commits to a list, short proofs that an entry is in it, and short proofs
 * that a longer list begins with a shorter one.
 *
 * The tree is that of RFC 9162, section 2.1 (and RFC 6962 before it): leaves and inner nodes are hashed under
 * different tags, so neither can stand for the other; a list of n entries splits at the largest power of two below
 * n, so nothing is ever padded or doubled (a doubled last leaf lets two lists share a root, CVE-2012-2459).
 *
 * A node is named `(level, index)`: the root of the perfect subtree over leaves `index * 2^level` up to
 * `(index + 1) * 2^level`, exclusive. Perfect subtrees never change once complete, so they are what gets stored; all
 * else is computed from them. This file stores nothing: it hands complete nodes out and asks for them again.
 *
 * Where we differ: BLAKE3 with our domain tags in place of SHA-256 with the bytes 0 and 1, and an index may use all
 * 64 bits.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual, EMPTY } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { blake3 } from "../../crypto/backend/blake3.ts";
import { MERKLE_BATCH_COUNT_MIN, merkleBackend } from "../../crypto/backend/merkle.ts";
import type { Reader } from "../../crypto/codec/reader.ts";
import type { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, HASH_SIZE_BYTES, hash, hashOf, hashPair } from "../../crypto/hash/hash.ts";

/** The three hashes of a tree. */
export interface TreeHasher {
  /** The root of no leaves. No leaf or node hashes to it. */
  emptyRoot(): Hash;
  /** The hash of one entry. */
  leaf(entry: Uint8Array): Hash;
  /** The hash of two subtrees side by side. */
  node(left: Hash, right: Hash): Hash;
}

const EMPTY_ROOT: Hash = hashOf(blake3(EMPTY));

/** The hasher of all our logs: BLAKE3 under `logLeaf` and `logNode`; the empty root is BLAKE3 of nothing, untagged. */
export const LOG_HASHER: TreeHasher = {
  emptyRoot: () => EMPTY_ROOT,
  leaf: (entry) => hash("logLeaf", entry),
  node: (left, right) => hashPair("logNode", left, right),
};

/** Sizes are below this: they and every index fit eight bytes. */
export const LOG_SIZE_END: bigint = 1n << 64n;

/** No inclusion or consistency proof is longer: a sibling a level, and the node where the two lists part. */
export const PROOF_LENGTH_MAX = 65;

/**
 * What must be remembered of a log in order to append to it: its size, and the roots of the perfect subtrees it
 * consists of, largest first, one for each 1 in the binary form of `size`.
 */
export type Frontier = { readonly size: bigint; readonly hashes: readonly Hash[] };

/** Fetches a complete node, which the caller of this file has stored. */
export type ReadNode = (level: number, index: bigint) => Hash;

/** Hears of each node as it becomes complete, leaves (level 0) included, lower levels first. */
export type OnNode = (level: number, index: bigint, hash: Hash) => void;

/** The frontier of the empty log. */
export const EMPTY_FRONTIER: Frontier = { size: 0n, hashes: [] };

/** The frontier after one more leaf. Cost: one hash for each trailing 1 of `size`, so one on average. */
export function appendLeaf(hasher: TreeHasher, frontier: Frontier, leafHash: Hash, onNode: OnNode = ignoreNode): Frontier {
  assert(frontier.size < LOG_SIZE_END - 1n, "log is full at {}", frontier.size);
  const hashes = [...frontier.hashes];
  let node = leafHash;
  let index = frontier.size;
  onNode(0, index, node);
  for (let level = 1; (index & 1n) === 1n; level += 1) {
    node = hasher.node(present(hashes.pop(), "frontier hash below level {}", level), node);
    index >>= 1n;
    onNode(level, index, node);
  }
  hashes.push(node);
  return { size: frontier.size + 1n, hashes };
}

/** The root of the log whose frontier this is. */
export function frontierRoot(hasher: TreeHasher, frontier: Frontier): Hash {
  assert(
    frontier.hashes.length === countOnes(frontier.size),
    "frontier of {} has {} hashes",
    frontier.size,
    frontier.hashes.length,
  );
  if (frontier.hashes.length === 0) return hasher.emptyRoot();
  return frontier.hashes.reduceRight((right, left) => hasher.node(left, right));
}

/** The frontier as it was at `size`. Cost: one node for each 1 of `size`. */
export function frontierAt(size: bigint, readNode: ReadNode): Frontier {
  assertSize(size);
  return { size, hashes: perfectSubtrees(0n, size).map(({ level, index }) => readNode(level, index)) };
}

/** The root as it was at `size`. */
export function rootAt(hasher: TreeHasher, size: bigint, readNode: ReadNode): Hash {
  return frontierRoot(hasher, frontierAt(size, readNode));
}

/** The root of a list of entries, under `LOG_HASHER`. In one call of the native back end where it is there. */
export function logRoot(entries: readonly Uint8Array[]): Hash {
  if (merkleBackend !== undefined && entries.length >= MERKLE_BATCH_COUNT_MIN) return hashOf(merkleBackend.root(entries));
  return frontierRoot(LOG_HASHER, appendOneByOne(EMPTY_FRONTIER, entries, ignoreNode));
}

/** The frontier after these entries, under `LOG_HASHER`: as `appendLeaf` of one after the other, `onNode` included. */
export function appendEntries(frontier: Frontier, entries: readonly Uint8Array[], onNode: OnNode = ignoreNode): Frontier {
  const count = BigInt(entries.length);
  assert(frontier.size + count < LOG_SIZE_END, "log is full at {}", frontier.size);
  if (merkleBackend === undefined || entries.length < MERKLE_BATCH_COUNT_MIN) return appendOneByOne(frontier, entries, onNode);
  const appended = merkleBackend.append(frontier.size, frontier.hashes, entries);
  if (onNode !== ignoreNode) {
    let next = 0;
    for (let leaf = frontier.size; leaf < frontier.size + count; leaf += 1n) {
      // A leaf completes its own node, and one more for each trailing 1 of its index.
      for (let level = 0, index = leaf, isComplete = true; isComplete; level += 1, index >>= 1n) {
        onNode(level, index, hashOf(present(appended.nodes[next], "node")));
        next += 1;
        isComplete = (index & 1n) === 1n;
      }
    }
  }
  return { size: frontier.size + count, hashes: appended.frontier.map(hashOf) };
}

function appendOneByOne(frontier: Frontier, entries: readonly Uint8Array[], onNode: OnNode): Frontier {
  let longer = frontier;
  for (const entry of entries) longer = appendLeaf(LOG_HASHER, longer, LOG_HASHER.leaf(entry), onNode);
  return longer;
}

/** Writes `[size, [hash...]]`. */
export function writeFrontier(writer: Writer, frontier: Frontier): void {
  assert(
    frontier.hashes.length === countOnes(frontier.size),
    "frontier of {} has {} hashes",
    frontier.size,
    frontier.hashes.length,
  );
  writer.array(2).uint(frontier.size);
  writeHashes(writer, frontier.hashes);
}

/** Reads what `writeFrontier` wrote; refuses another count of hashes than the size asks for. */
export function readFrontier(reader: Reader): Frontier {
  reader.tuple(2);
  const size = reader.field("size").uint();
  const offset = reader.offset;
  const hashes = readHashes(reader.field("hashes"));
  if (hashes.length !== countOnes(size)) reader.refuse("encoding_limit", offset);
  return { size, hashes };
}

/** Writes the hashes of a proof, or of a frontier. */
export function writeHashes(writer: Writer, hashes: readonly Hash[]): void {
  assert(hashes.length <= PROOF_LENGTH_MAX, "{} hashes", hashes.length);
  writer.array(hashes.length);
  for (const one of hashes) writer.bytes(one);
}

/** Reads at most `PROOF_LENGTH_MAX` hashes. */
export function readHashes(reader: Reader): Hash[] {
  const hashes: Hash[] = [];
  const length = reader.array(PROOF_LENGTH_MAX);
  for (let index = 0; index < length; index += 1) hashes.push(hashOf(reader.fixed(HASH_SIZE_BYTES)));
  return hashes;
}

/**
 * The siblings on the way from a leaf to the root, the leaf's own first.
 *
 * @param of - `0 <= index < size <= ` the size of the log that `readNode` reads
 * Source: RFC 9162, section 2.1.3.1. Cost: fewer than two nodes a level.
 */
export function inclusionProof(
  hasher: TreeHasher,
  of: { readonly index: bigint; readonly size: bigint },
  readNode: ReadNode,
): Hash[] {
  assertSize(of.size);
  assert(of.index >= 0n && of.index < of.size, "leaf {} of {}", of.index, of.size);
  const siblings: Hash[] = [];
  let [from, size] = [0n, of.size];
  while (size > 1n) {
    const split = splitOf(size);
    if (of.index < from + split) {
      siblings.push(rangeRoot(hasher, { from: from + split, size: size - split }, readNode));
      size = split;
    } else {
      siblings.push(rangeRoot(hasher, { from, size: split }, readNode));
      from += split;
      size -= split;
    }
  }
  return siblings.reverse();
}

/**
 * The nodes that show that the log of size `second` begins with the log of size `first`.
 *
 * @param of - `0 <= first <= second <= ` the size of the log that `readNode` reads; empty when `first` is 0 or `second`
 * Source: RFC 9162, section 2.1.4.1. Cost: fewer than two nodes a level.
 */
export function consistencyProof(
  hasher: TreeHasher,
  of: { readonly first: bigint; readonly second: bigint },
  readNode: ReadNode,
): Hash[] {
  assertSize(of.second);
  assert(of.first >= 0n && of.first <= of.second, "log of {} in log of {}", of.first, of.second);
  if (of.first === 0n || of.first === of.second) return [];
  const hashes: Hash[] = [];
  let [from, size] = [0n, of.second];
  while (from + size !== of.first) {
    const split = splitOf(size);
    if (of.first <= from + split) {
      hashes.push(rangeRoot(hasher, { from: from + split, size: size - split }, readNode));
      size = split;
    } else {
      hashes.push(rangeRoot(hasher, { from, size: split }, readNode));
      from += split;
      size -= split;
    }
  }
  // What remains ends where the first log ends. When it is all of the first log, its root is known to the verifier.
  if (from !== 0n) hashes.push(rangeRoot(hasher, { from, size }, readNode));
  return hashes.reverse();
}

/**
 * Why a proof does not hold.
 *
 * - `index_out_of_range`: no such leaf in a log of that size, or the first log is longer than the second
 * - `proof_length`: with so many hashes the proof cannot lead anywhere
 * - `root_mismatch`: it leads to another root; `which` says to whose
 */
export type ProofError =
  | { readonly code: "index_out_of_range" }
  | { readonly code: "proof_length"; readonly want: number; readonly got: number }
  | { readonly code: "root_mismatch"; readonly which: "first" | "second"; readonly computed: Hash };

/** What an inclusion proof claims: the leaf is number `index` of the log with `size` leaves and this root. */
export type InclusionClaim = {
  readonly leafHash: Hash;
  readonly index: bigint;
  readonly size: bigint;
  /** From the leaf up. */
  readonly siblings: readonly Hash[];
  readonly root: Hash;
};

/**
 * Checks that a leaf is in the log. Never throws, whatever the numbers.
 *
 * Source: RFC 9162, section 2.1.3.2, in the form of transparency-dev/merkle `proof/verify.go`: the siblings below the
 * place where the path leaves the right edge of the tree, then those on the edge. Cost: one hash a sibling.
 */
export function verifyInclusion(hasher: TreeHasher, claim: InclusionClaim): Result<void, ProofError> {
  const { index, size, siblings } = claim;
  if (index < 0n || index >= size || size >= LOG_SIZE_END) return fail({ code: "index_out_of_range" });
  const { inner, border } = pathLengths(index, size);
  if (siblings.length !== inner + border) return fail({ code: "proof_length", want: inner + border, got: siblings.length });
  const below = climb(hasher, claim.leafHash, siblings.slice(0, inner), index);
  return checkRoot("second", climbEdge(hasher, below, siblings.slice(inner)), claim.root);
}

/**
 * For each sibling of an inclusion proof, from the leaf up, whether it stands left.
 *
 * @param of - `0 <= index < size`
 */
export function pathTurns({ index, size }: { readonly index: bigint; readonly size: bigint }): boolean[] {
  assert(index >= 0n && index < size && size < LOG_SIZE_END, "leaf {} of {}", index, size);
  const { inner, border } = pathLengths(index, size);
  const turns = Array.from({ length: inner }, (_, level) => ((index >> BigInt(level)) & 1n) === 1n);
  return [...turns, ...Array.from({ length: border }, () => true)];
}

/** The root that a leaf leads to by these turns; as many siblings as turns. */
export function climbTurns(hasher: TreeHasher, leafHash: Hash, turns: readonly boolean[], siblings: readonly Hash[]): Hash {
  assert(siblings.length === turns.length, "{} siblings for {} turns", siblings.length, turns.length);
  return siblings.reduce(
    (below, sibling, level) => (turns[level] === true ? hasher.node(sibling, below) : hasher.node(below, sibling)),
    leafHash,
  );
}

/** What a consistency proof claims: the log of size `second` begins with the log of size `first`. */
export type ConsistencyClaim = {
  readonly first: bigint;
  readonly second: bigint;
  readonly hashes: readonly Hash[];
  readonly firstRoot: Hash;
  readonly secondRoot: Hash;
};

/**
 * Checks that one log extends another. Never throws, whatever the numbers.
 *
 * Every log extends the empty one; then, and when the sizes are equal, the proof is empty and only roots are compared.
 *
 * Source: RFC 9162, section 2.1.4.2, in the form of transparency-dev/merkle `proof/verify.go`.
 */
export function verifyConsistency(hasher: TreeHasher, claim: ConsistencyClaim): Result<void, ProofError> {
  const { first, second, hashes, firstRoot, secondRoot } = claim;
  if (first < 0n || first > second || second >= LOG_SIZE_END) return fail({ code: "index_out_of_range" });
  if (first === 0n || first === second) {
    if (hashes.length !== 0) return fail({ code: "proof_length", want: 0, got: hashes.length });
    const begins = first === 0n ? checkRoot("first", hasher.emptyRoot(), firstRoot) : ok(undefined);
    return begins.ok && first === second ? checkRoot("second", firstRoot, secondRoot) : begins;
  }
  const { inner, border } = pathLengths(first - 1n, second);
  const perfect = trailingZeros(first);
  // The proof starts at the last perfect subtree of the first log. When that is all of it, its root is the start.
  const start = first === 1n << BigInt(perfect) ? 0 : 1;
  const want = start + inner - perfect + border;
  if (hashes.length !== want) return fail({ code: "proof_length", want, got: hashes.length });
  const seed = start === 0 ? firstRoot : present(hashes[0], "seed of a consistency proof");
  const path = hashes.slice(start, start + inner - perfect);
  const edge = hashes.slice(start + inner - perfect);
  const index = (first - 1n) >> BigInt(perfect);
  const firstComputed = climbEdge(hasher, climbLeft(hasher, seed, path, index), edge);
  const checked = checkRoot("first", firstComputed, firstRoot);
  if (!checked.ok) return checked;
  return checkRoot("second", climbEdge(hasher, climb(hasher, seed, path, index), edge), secondRoot);
}

function ignoreNode(): void {}

function assertSize(size: bigint): void {
  assert(size >= 0n && size < LOG_SIZE_END, "log size {}", size);
}

function checkRoot(which: "first" | "second", computed: Hash, root: Hash): Result<void, ProofError> {
  return bytesEqual(computed, root) ? ok(undefined) : fail({ code: "root_mismatch", which, computed });
}

/** From `node`, which is at `index` of its level, up; a sibling stands left where the index is odd. */
function climb(hasher: TreeHasher, node: Hash, siblings: readonly Hash[], index: bigint): Hash {
  return siblings.reduce((below, sibling, level) => {
    const isRight = ((index >> BigInt(level)) & 1n) === 1n;
    return isRight ? hasher.node(sibling, below) : hasher.node(below, sibling);
  }, node);
}

/** As `climb`, but leaves out the siblings on the right: they came after the first log. */
function climbLeft(hasher: TreeHasher, node: Hash, siblings: readonly Hash[], index: bigint): Hash {
  return siblings.reduce((below, sibling, level) => {
    const isRight = ((index >> BigInt(level)) & 1n) === 1n;
    return isRight ? hasher.node(sibling, below) : below;
  }, node);
}

/** Up the right edge of the tree, where every sibling stands left. */
function climbEdge(hasher: TreeHasher, node: Hash, siblings: readonly Hash[]): Hash {
  return siblings.reduce((right, left) => hasher.node(left, right), node);
}

/**
 * How many siblings the path of leaf `index` has: `inner` up to the level where it meets the path of the last leaf,
 * and from there one `border` sibling for each left turn that the last leaf's path does not take.
 */
function pathLengths(index: bigint, size: bigint): { readonly inner: number; readonly border: number } {
  const inner = bitLength(index ^ (size - 1n));
  return { inner, border: countOnes(index >> BigInt(inner)) };
}

/** The root over the leaves from `from` on, of which `from` is a multiple of the next power of two. */
function rangeRoot(hasher: TreeHasher, range: { readonly from: bigint; readonly size: bigint }, readNode: ReadNode): Hash {
  const hashes = perfectSubtrees(range.from, range.size).map(({ level, index }) => readNode(level, index));
  return hashes.reduceRight((right, left) => hasher.node(left, right));
}

/** The perfect subtrees that make up a range, largest first. */
function perfectSubtrees(from: bigint, size: bigint): { readonly level: number; readonly index: bigint }[] {
  const subtrees: { level: number; index: bigint }[] = [];
  let [start, left] = [from, size];
  while (left > 0n) {
    const level = bitLength(left) - 1;
    subtrees.push({ level, index: start >> BigInt(level) });
    start += 1n << BigInt(level);
    left -= 1n << BigInt(level);
  }
  return subtrees;
}

/** The largest power of two below `size`, which is at least 2. */
function splitOf(size: bigint): bigint {
  return 1n << BigInt(bitLength(size - 1n) - 1);
}

/** How many binary digits `value >= 0` has; none for 0. */
function bitLength(value: bigint): number {
  return value === 0n ? 0 : value.toString(2).length;
}

function countOnes(value: bigint): number {
  let count = 0;
  for (let rest = value; rest > 0n; rest >>= 1n) if ((rest & 1n) === 1n) count += 1;
  return count;
}

/** For `value > 0`. */
function trailingZeros(value: bigint): number {
  let zeros = 0;
  for (let rest = value; (rest & 1n) === 0n; rest >>= 1n) zeros += 1;
  return zeros;
}
