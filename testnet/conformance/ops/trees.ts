/** Proofs of logs and of the state. A proof that does not hold is `{valid: false}` with the code of production. */

import * as z from "zod";
import { type Coded, ok, type Result } from "../../../crypto/base/result.ts";
import { type Hash, HASH_SIZE_BYTES, hashOf, parseHash } from "../../../crypto/hash/hash.ts";
import { LOG_HASHER, verifyConsistency, verifyInclusion } from "../../../chain/merkle/log.ts";
import { SHA256_HASHER } from "../../../chain/merkle/testing/reference.ts";
import { KEY_SIZE_BYTES_MAX } from "../../../chain/state/bits.ts";
import { verifyKeys, verifyRange, verifyRow } from "../../../chain/state/proof.ts";
import { bytes, fixedBytes, integer, natural, type Operation, operation } from "../operation.ts";

/** The tree is one; what differs is how leaves and nodes are hashed. */
const HASHERS = { sha256: SHA256_HASHER, blake3: LOG_HASHER } as const;
const hasher = z.enum(["sha256", "blake3"]);

function verdict(result: Result<unknown, Coded>): Result<unknown, Coded> {
  return ok(result.ok ? { valid: true } : { valid: false, code: result.error.code });
}

/** Hashes of a proof; undefined when one has not the length of a hash, which no proof has. */
function hashesOf(all: readonly Uint8Array[]): readonly Hash[] | undefined {
  const hashes: Hash[] = [];
  for (const one of all) {
    const parsed = parseHash(one);
    if (!parsed.ok) return undefined;
    hashes.push(parsed.value);
  }
  return hashes;
}

const NOT_HASHES = ok({ valid: false, code: "hash_length" });

const Inclusion = z.strictObject({
  hash: hasher,
  leafHash: bytes,
  index: integer,
  size: integer,
  proof: z.array(bytes),
  root: bytes,
});

function inclusion(input: z.output<typeof Inclusion>): Result<unknown, Coded> {
  const [leafHash, root, ...siblings] = hashesOf([input.leafHash, input.root, ...input.proof]) ?? [];
  if (leafHash === undefined || root === undefined) return NOT_HASHES;
  const { index, size } = input;
  return verdict(verifyInclusion(HASHERS[input.hash], { leafHash, index, size, siblings, root }));
}

const Consistency = z.strictObject({
  hash: hasher,
  size1: integer,
  size2: integer,
  root1: bytes,
  root2: bytes,
  proof: z.array(bytes),
});

function consistency(input: z.output<typeof Consistency>): Result<unknown, Coded> {
  const [firstRoot, secondRoot, ...hashes] = hashesOf([input.root1, input.root2, ...input.proof]) ?? [];
  if (firstRoot === undefined || secondRoot === undefined) return NOT_HASHES;
  const claim = { first: input.size1, second: input.size2, hashes, firstRoot, secondRoot };
  return verdict(verifyConsistency(HASHERS[input.hash], claim));
}

const key = bytes.refine((value) => value.length >= 1 && value.length <= KEY_SIZE_BYTES_MAX, "not a key");
const keys = z.array(key).refine((all) => new Set(all.map(String)).size === all.length, "a key twice");

const State = z.strictObject({
  root: fixedBytes(HASH_SIZE_BYTES),
  request: z.union([
    z.strictObject({ key }),
    z.strictObject({ keys }),
    z.strictObject({
      range: z.strictObject({ from: bytes.optional(), to: bytes.optional(), limit: natural.optional() }),
    }),
  ]),
  proof: bytes,
});

function state({ root: rootBytes, request, proof }: z.output<typeof State>): Result<unknown, Coded> {
  const root = hashOf(rootBytes);
  if ("key" in request) {
    const row = verifyRow(root, request.key, proof);
    return row.ok ? ok({ valid: true, value: row.value ?? null }) : verdict(row);
  }
  if ("keys" in request) {
    const rows = verifyKeys(root, request.keys, proof);
    return rows.ok ? ok({ valid: true, values: rows.value.map((value) => value ?? null) }) : verdict(rows);
  }
  const { from, to, limit } = request.range;
  const range = verifyRange(root, { from, to, limit: limit === undefined ? undefined : Number(limit) }, proof);
  if (!range.ok) return verdict(range);
  const { rows, isComplete, continueFrom } = range.value;
  return ok({ valid: true, rows, isComplete, continueFrom: continueFrom ?? null });
}

/** The operations of this file. */
export const TREES: readonly Operation[] = [
  operation("merkle.inclusion", {
    help: "{hash: sha256 | blake3, leafHash, index, size, proof, root} -> {valid, code?}",
    input: Inclusion,
    answer: inclusion,
  }),
  operation("merkle.consistency", {
    help: "{hash: sha256 | blake3, size1, size2, root1, root2, proof} -> {valid, code?}",
    input: Consistency,
    answer: consistency,
  }),
  operation("state.verify", {
    help: "{root, request: {key} | {keys} | {range: {from?, to?, limit?}}, proof} -> {valid, value | values | rows ..., code?}",
    input: State,
    answer: state,
  }),
];
