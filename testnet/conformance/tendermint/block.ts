/**
 * Light blocks of Tendermint as its JSON has them, and whether one hangs together. Only the bytes are that chain's: trees,
 * signatures and the rules of belief are ours.
 *
 * Source: cometbft, spec/core/data_structures.md.
 */

import { createHash } from "node:crypto";
import * as z from "zod";
import { bytesEqual, parseHex, toHex } from "../../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../../crypto/base/result.ts";
import { verifySignature } from "../../../crypto/sign/key.ts";
import { appendLeaf, EMPTY_FRONTIER, frontierRoot } from "../../../chain/merkle/log.ts";
import { SHA256_HASHER } from "../../../chain/merkle/testing/reference.ts";
import type { HeaderFacts, Share } from "../../../node/light/rules.ts";
import { type BlockId, type Format, formatOf, type Header, type Member } from "./format.ts";

// ---- JSON

const hex = z
  .string()
  .max(128)
  .transform((text, context) => {
    const parsed = parseHex(text);
    if (parsed.ok) return parsed.value;
    context.addIssue({ code: "custom", message: "not hex" });
    return z.NEVER;
  });

const base64 = z
  .base64()
  .max(1024)
  .transform((text) => new Uint8Array(Buffer.from(text, "base64")));

const int64 = z
  .string()
  .regex(/^-?\d{1,19}$/, "not an integer")
  .transform((text) => BigInt(text))
  .refine((value) => BigInt.asIntN(64, value) === value, "beyond 64 bits");

const power = int64.refine((value) => value >= 0n && value < 1n << 60n, "not a power");

/** Nanoseconds since 1970, from RFC 3339 in UTC. */
export const timeNs: z.ZodType<bigint, string> = z
  .string()
  .regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/, "not a time in UTC")
  .refine((text) => !Number.isNaN(Date.parse(text)), "no such time")
  .transform((text) => {
    const [seconds = "", fraction = ""] = text.slice(0, -1).split(".");
    return BigInt(Date.parse(`${seconds}Z`)) * 1_000_000n + BigInt(fraction.padEnd(9, "0"));
  });

const blockIdSchema: z.ZodType<BlockId, unknown> = z.strictObject({
  hash: hex,
  part_set_header: z.strictObject({ total: z.int().min(0), hash: hex }),
});

const headerSchema: z.ZodType<Header, unknown> = z.strictObject({
  version: z.strictObject({ block: int64, app: int64 }),
  chain_id: z.string().max(64),
  height: int64,
  time: timeNs,
  last_block_id: blockIdSchema.nullable(),
  last_commit_hash: hex,
  data_hash: hex,
  validators_hash: hex,
  next_validators_hash: hex,
  consensus_hash: hex,
  app_hash: hex,
  last_results_hash: hex,
  evidence_hash: hex,
  proposer_address: hex,
});

const CommitSignature = z.strictObject({
  block_id_flag: z.int().min(1).max(3),
  validator_address: hex,
  timestamp: timeNs,
  signature: base64.nullable(),
});

const commitSchema = z.strictObject({
  height: int64,
  round: z.int(),
  block_id: blockIdSchema,
  signatures: z.array(CommitSignature).max(10_000),
  hash: z.array(z.never()).optional(),
  bit_array: z.null().optional(),
});

const Validator = z.strictObject({
  address: hex,
  pub_key: z.strictObject({ type: z.literal("tendermint/PubKeyEd25519"), value: base64 }),
  voting_power: power,
  proposer_priority: int64.optional(),
});

/** A validator set; whoever proposes is of no interest here. */
export const ValidatorSet = z
  .strictObject({
    validators: z.array(Validator).max(10_000),
    proposer: Validator.nullable().optional(),
    total_voting_power: int64.optional(),
  })
  .transform(({ validators }) => setOf(validators));
/** A set as the adapter keeps it. */
export type ValidatorSet = { readonly validators: readonly Member[]; readonly totalPower: bigint };

/** A header with the commit that is to prove it. */
export const SignedHeader = z.strictObject({ header: headerSchema, commit: commitSchema });
/** What `SignedHeader` parses. */
export type SignedHeader = z.output<typeof SignedHeader>;

/** A signed header with the sets that decide its height and the next. */
export const LightBlock = z.strictObject({
  signed_header: SignedHeader,
  validator_set: ValidatorSet,
  next_validator_set: ValidatorSet,
  provider: z.string().optional(),
});
/** What `LightBlock` parses. */
export type LightBlock = z.output<typeof LightBlock>;

// ---- bytes

/** An address is of the key, whatever else is said. */
function setOf(members: readonly z.output<typeof Validator>[]): ValidatorSet {
  const validators = members.map(({ pub_key, voting_power }): Member => {
    const key = pub_key.value;
    return { address: sha256(key).subarray(0, 20), key, power: voting_power };
  });
  return { validators, totalPower: validators.reduce((total, validator) => total + validator.power, 0n) };
}

function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}

/** The root of the RFC 6962 tree over these leaves: our own log, under SHA-256. */
function merkleRoot(leaves: readonly Uint8Array[]): Uint8Array {
  let frontier = EMPTY_FRONTIER;
  for (const leaf of leaves) frontier = appendLeaf(SHA256_HASHER, frontier, SHA256_HASHER.leaf(leaf));
  return frontierRoot(SHA256_HASHER, frontier);
}

/** What headers of a format name a set by. */
function validatorsHash(format: Format, set: ValidatorSet): Uint8Array {
  return merkleRoot(set.validators.toSorted(format.compare).map((member) => format.validator(member)));
}

// ---- facts

/** Why a light block is not even consistent. */
export type BlockError = {
  readonly code:
    | "validators_mismatch"
    | "certificate_block"
    | "certificate_signer"
    | "certificate_order"
    | "certificate_signature";
};

/** A light block that hangs together: its sets and commit are of its header, and every signature in it is valid. */
export type CheckedBlock = {
  readonly facts: HeaderFacts;
  readonly hash: Uint8Array;
  readonly chainId: string;
  readonly next: ValidatorSet;
  /** Power by address of those who precommitted it, and the power of all. */
  readonly own: Share;
  /** How much of another set signed it. */
  readonly shareOf: (set: ValidatorSet) => Share;
};

/** A block flag of a commit signature. */
const FLAG = { absent: 1, commit: 2, nil: 3 } as const;

/** What the rules need to know of a header. */
export function factsOf({ header }: SignedHeader): HeaderFacts {
  const { height, time, validators_hash, next_validators_hash } = header;
  return { height, time, validatorsHash: validators_hash, nextValidatorsHash: next_validators_hash };
}

/** Checks everything about a light block that does not depend on what is believed. */
export function checkBlock(block: LightBlock): Result<CheckedBlock, BlockError> {
  const { signed_header: signed, validator_set: set, next_validator_set: next } = block;
  const { header, commit } = signed;
  const facts = factsOf(signed);
  const format = formatOf(header);
  if (!bytesEqual(validatorsHash(format, set), facts.validatorsHash)) return fail({ code: "validators_mismatch" });
  if (!bytesEqual(validatorsHash(format, next), facts.nextValidatorsHash)) return fail({ code: "validators_mismatch" });
  const hash = merkleRoot(format.header(header));
  if (!bytesEqual(hash, commit.block_id.hash) || commit.height !== header.height) return fail({ code: "certificate_block" });
  const signers = checkSignatures(signed, set);
  if (!signers.ok) return signers;
  const shareOf = (of: ValidatorSet): Share => ({
    signed: of.validators.reduce((sum, { address, power: votes }) => (signers.value.has(toHex(address)) ? sum + votes : sum), 0n),
    total: of.totalPower,
  });
  return ok({ facts, hash, chainId: header.chain_id, next, own: shareOf(set), shareOf });
}

/** The addresses of those who precommitted the block. A commit has one entry for each validator of the set. */
function checkSignatures({ header, commit }: SignedHeader, set: ValidatorSet): Result<ReadonlySet<string>, BlockError> {
  const format = formatOf(header);
  if (commit.signatures.length !== set.validators.length) return fail({ code: "certificate_signer" });
  const members = new Map(set.validators.map((member) => [toHex(member.address), member]));
  const seen = new Set<string>();
  const signers = new Set<string>();
  for (const { block_id_flag: flag, validator_address: address, timestamp: atNs, signature } of commit.signatures) {
    if (flag === FLAG.absent) continue;
    const name = toHex(address);
    const member = members.get(name);
    if (member === undefined) return fail({ code: "certificate_signer" });
    if (seen.has(name)) return fail({ code: "certificate_order" });
    seen.add(name);
    // A vote for nil is over other bytes, and counts for nothing.
    if (flag === FLAG.nil) continue;
    const message = format.precommit({ chainId: header.chain_id, commit, atNs });
    if (!verifySignature({ type: "ed25519", bytes: member.key }, message, signature ?? new Uint8Array(0)))
      return fail({ code: "certificate_signature" });
    signers.add(name);
  }
  return ok(signers);
}
