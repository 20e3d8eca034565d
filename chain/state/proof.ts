/**
 * Proofs against a state root, and their verification. Pure: this file and what it imports run in a browser.
 *
 * There is one form. A proof is the trie with whole subtrees replaced by their hashes, written in prefix order:
 *
 * ```
 * branch(bit)            a node; its left subtree follows, then its right one
 * hidden(hash)           a subtree that holds nothing that was asked for
 * leaf(key, value)       a row that was asked for
 * edge(key, valueHash)   a row that was not, shown so that what hangs beside it can be hidden
 * ```
 *
 * Presence is a range of one key with one row, absence the same range with none, and a complete range is any range:
 * leaving out a row means hiding it, and `isOutside` refuses every hidden subtree in which a row could lie. The
 * argument in full is decisions/0001. A proof over several keys shares what their paths share.
 *
 * Wire form, canonical dag-cbor: `[isComplete, [step...]]`; a branch is an integer, a hidden subtree 32 bytes, a leaf
 * `[0, key, value]`, an edge `[1, key, valueHash]`. The tree of no rows has no steps.
 */

import { assert } from "../../crypto/base/assert.ts";
import { bytesEqual, compareBytes } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { type Reader, readWith } from "../../crypto/codec/reader.ts";
import { MAJOR, Writer } from "../../crypto/codec/writer.ts";
import { type Hash, HASH_SIZE_BYTES, hashOf } from "../../crypto/hash/hash.ts";
import { bitAt, branchBit, BRANCH_BIT_MAX, KEY_SIZE_BYTES_MAX } from "./bits.ts";
import type { ProofError } from "./errors.ts";
import { EMPTY_ROOT, leafHash, nodeHash, VALUE_SIZE_BYTES_MAX, valueHash } from "./hashing.ts";
import { contains, isOutside, type KeyRange, type Ranges, rangesOf, rangesOfKeys, successor } from "./range.ts";

/** A row of the state. */
export type Row = { readonly key: Uint8Array; readonly value: Uint8Array };

/** One step of a proof. */
export type ProofStep =
  | { readonly kind: "branch"; readonly bit: number }
  | { readonly kind: "hidden"; readonly hash: Hash }
  | { readonly kind: "leaf"; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly kind: "edge"; readonly key: Uint8Array; readonly valueHash: Hash };

/** A decoded proof; nothing about it is checked yet. */
export type Proof = {
  /** Whether it answers for the whole range, or only up to its last row. */
  readonly isComplete: boolean;
  readonly steps: readonly ProofStep[];
};

/** What a range proof proved: these rows, and no others, are in the range up to `continueFrom`. */
export type RangeAnswer = {
  readonly rows: readonly Row[];
  /** Whether the whole range is answered. */
  readonly isComplete: boolean;
  /** Where to ask for the rest; `undefined` when there is none. */
  readonly continueFrom: Uint8Array | undefined;
};

/** No proof is larger. The RPC layer has a lower limit; this one bounds what a decoder may be fed. */
export const PROOF_SIZE_BYTES_MAX = 1 << 26;

/** A subtree of the proof, folded: its hash, and any one of the keys it shows. */
type Folded = { readonly hash: Hash; readonly key: Uint8Array | undefined };

/** What a proof shows once it is known to be the trie of `root`. */
type Shown = {
  readonly root: Hash;
  readonly rows: readonly Row[];
  readonly edges: readonly Uint8Array[];
  /** Hidden subtrees: the key beside, and the branch bit. */
  readonly hidden: readonly { readonly key: Uint8Array; readonly bit: number }[];
};

/** The encoding of a proof. */
export function encodeProof(proof: Proof): Uint8Array {
  const writer = new Writer().array(2).bool(proof.isComplete).array(proof.steps.length);
  for (const step of proof.steps) {
    switch (step.kind) {
      case "branch":
        writer.uint(step.bit);
        break;
      case "hidden":
        writer.bytes(step.hash);
        break;
      case "leaf":
        writer.array(3).uint(0).bytes(step.key).bytes(step.value);
        break;
      case "edge":
        writer.array(3).uint(1).bytes(step.key).bytes(step.valueHash);
        break;
    }
  }
  return writer.finish();
}

/** Decodes a proof strictly; its byte strings are views on `bytes`. */
export function parseProof(bytes: Uint8Array): Result<Proof, ProofError> {
  if (bytes.length > PROOF_SIZE_BYTES_MAX) return fail({ code: "proof_malformed", reason: "too large", offset: 0 });
  const parsed = readWith(bytes, (reader) => {
    reader.tuple(2);
    const isComplete = reader.field("isComplete").bool();
    const count = reader.field("steps").array(bytes.length);
    const steps: ProofStep[] = [];
    for (let index = 0; index < count; index += 1) steps.push(readStep(reader));
    return { isComplete, steps };
  });
  if (parsed.ok) return parsed;
  return fail({ code: "proof_malformed", reason: parsed.error.code, offset: parsed.error.offset });
}

/**
 * Checks the answer to a range query.
 *
 * @param range - what was asked; a range that no key can lie in has an answer too, of no rows
 * @param limit - the most rows that were asked for; more are refused
 * @returns the rows, in key order: all rows of the range, or all up to the last one shown
 */
export function verifyRange(
  root: Hash,
  range: KeyRange & { readonly limit?: number | undefined },
  proofBytes: Uint8Array,
): Result<RangeAnswer, ProofError> {
  const parsed = parseProof(proofBytes);
  if (!parsed.ok) return parsed;
  const shown = fold(parsed.value.steps);
  if (!shown.ok) return shown;
  const { rows } = shown.value;
  if (range.limit !== undefined && rows.length > range.limit)
    return fail({ code: "proof_range", reason: "more rows than the limit" });
  const { isComplete } = parsed.value;
  const last = rows[rows.length - 1];
  if (!isComplete && last === undefined) return fail({ code: "proof_incomplete", reason: "stops before the first row" });
  const continueFrom = isComplete || last === undefined ? undefined : successor(last.key);
  // A row past the end must not stretch the range that it stands in.
  if (last !== undefined && !contains(rangesOf(range), last.key))
    return fail({ code: "proof_range", reason: "a row outside of the range" });
  const answered = rangesOf({ from: range.from, to: continueFrom ?? range.to });
  const checked = check(root, answered, shown.value);
  return checked.ok ? ok({ rows, isComplete, continueFrom }) : checked;
}

/**
 * Checks the answer to a question for one key.
 *
 * @returns its value, or `undefined` when the proof shows that there is none
 */
export function verifyRow(root: Hash, key: Uint8Array, proofBytes: Uint8Array): Result<Uint8Array | undefined, ProofError> {
  const answer = verifyKeys(root, [key], proofBytes);
  return answer.ok ? ok(answer.value[0]) : answer;
}

/**
 * Checks the answer to a question for several keys.
 *
 * @param keys - in any order, each once
 * @returns the values in the order of `keys`, `undefined` for keys that the tree does not hold
 */
export function verifyKeys(
  root: Hash,
  keys: readonly Uint8Array[],
  proofBytes: Uint8Array,
): Result<readonly (Uint8Array | undefined)[], ProofError> {
  const parsed = parseProof(proofBytes);
  if (!parsed.ok) return parsed;
  if (!parsed.value.isComplete) return fail({ code: "proof_incomplete", reason: "not for all keys" });
  const sorted = sortedKeys(keys);
  const shown = fold(parsed.value.steps);
  if (!shown.ok) return shown;
  const checked = check(root, rangesOfKeys(sorted), shown.value);
  if (!checked.ok) return checked;
  return ok(keys.map((key) => findRow(shown.value.rows, key)?.value));
}

/** Keys in order; asserts that each is there once. */
export function sortedKeys(keys: readonly Uint8Array[]): readonly Uint8Array[] {
  const sorted = keys.toSorted(compareBytes);
  sorted.forEach((key, index) => {
    if (index > 0) assert(!bytesEqual(key, sorted[index - 1] as Uint8Array), "a key is asked for twice");
  });
  return sorted;
}

function readStep(reader: Reader): ProofStep {
  const { major } = reader.peek();
  if (major === MAJOR.uint) return { kind: "branch", bit: reader.field("bit").number(BRANCH_BIT_MAX) };
  if (major === MAJOR.bytes) return { kind: "hidden", hash: hashOf(reader.field("hash").fixed(HASH_SIZE_BYTES)) };
  reader.tuple(3);
  const isEdge = reader.field("kind").number(1) === 1;
  const key = reader.field("key").bytes(KEY_SIZE_BYTES_MAX);
  if (key.length === 0) reader.refuse("encoding_limit");
  if (isEdge) return { kind: "edge", key, valueHash: hashOf(reader.field("valueHash").fixed(HASH_SIZE_BYTES)) };
  return { kind: "leaf", key, value: reader.field("value").bytes(VALUE_SIZE_BYTES_MAX) };
}

/** Checks that what is shown is of this root and answers for all of `ranges`. */
function check(root: Hash, ranges: Ranges, shown: Shown): Result<void, ProofError> {
  if (!bytesEqual(shown.root, root)) return fail({ code: "proof_root_mismatch", reason: "another root" });
  for (const { key } of shown.rows)
    if (!contains(ranges, key)) return fail({ code: "proof_range", reason: "a row outside of the range" });
  for (const key of shown.edges)
    if (contains(ranges, key)) return fail({ code: "proof_incomplete", reason: "a row without its value" });
  for (const { key, bit } of shown.hidden)
    if (!isOutside(ranges, key, bit)) return fail({ code: "proof_incomplete", reason: "a hidden subtree in the range" });
  return ok(undefined);
}

/** Folds the steps to a root, and collects what they show. Its own stack: a path may be thousands of nodes long. */
function fold(steps: readonly ProofStep[]): Result<Shown, ProofError> {
  const rows: Row[] = [];
  const edges: Uint8Array[] = [];
  const hidden: { key: Uint8Array; bit: number }[] = [];
  const branches: { readonly bit: number; left: Folded | undefined }[] = [];
  let root: Hash | undefined;
  for (const step of steps) {
    if (root !== undefined) return shapeError("steps after the end");
    if (step.kind === "branch") {
      const above = branches[branches.length - 1];
      if (above !== undefined && step.bit <= above.bit) return shapeError("branch bits do not grow downwards");
      branches.push({ bit: step.bit, left: undefined });
      continue;
    }
    if (step.kind === "leaf") rows.push({ key: step.key, value: step.value });
    if (step.kind === "edge") edges.push(step.key);
    let folded = foldStep(step);
    while (true) {
      const branch = branches[branches.length - 1];
      if (branch === undefined) {
        if (folded.key === undefined) return shapeError("nothing is shown");
        root = folded.hash;
        break;
      }
      if (branch.left === undefined) {
        branch.left = folded;
        break;
      }
      branches.pop();
      const joined = join(branch.bit, branch.left, folded, hidden);
      if (!joined.ok) return joined;
      folded = joined.value;
    }
  }
  if (branches.length > 0) return shapeError("ends inside a branch");
  return ok({ root: root ?? EMPTY_ROOT, rows, edges, hidden });
}

function foldStep(step: Exclude<ProofStep, { kind: "branch" }>): Folded {
  switch (step.kind) {
    case "hidden":
      return { hash: step.hash, key: undefined };
    case "leaf":
      return { hash: leafHash(step.key, valueHash(step.value)), key: step.key };
    case "edge":
      return { hash: leafHash(step.key, step.valueHash), key: step.key };
  }
}

/**
 * Joins two subtrees under a branch, if that is what a trie would do.
 *
 * One shown key a side is enough to compare: below, all branch bits are greater than `bit` and were checked the same
 * way, so all keys shown on a side agree up to and with `bit`.
 */
function join(bit: number, left: Folded, right: Folded, hidden: { key: Uint8Array; bit: number }[]): Result<Folded, ProofError> {
  const hash = nodeHash(bit, left.hash, right.hash);
  if (left.key !== undefined && right.key !== undefined) {
    if (branchBit(left.key, right.key) !== bit || bitAt(left.key, bit) !== 0)
      return shapeError("keys do not part where they branch");
    return ok({ hash, key: left.key });
  }
  const key = left.key ?? right.key;
  if (key === undefined) return shapeError("nothing is shown under a branch");
  if (bitAt(key, bit) !== (left.key === undefined ? 1 : 0)) return shapeError("a key is on the wrong side of its branch");
  hidden.push({ key, bit });
  return ok({ hash, key });
}

function findRow(rows: readonly Row[], key: Uint8Array): Row | undefined {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const row = rows[middle] as Row;
    const order = compareBytes(key, row.key);
    if (order === 0) return row;
    if (order < 0) high = middle;
    else low = middle + 1;
  }
  return undefined;
}

function shapeError(reason: string): { readonly ok: false; readonly error: ProofError } {
  return fail({ code: "proof_shape", reason });
}
