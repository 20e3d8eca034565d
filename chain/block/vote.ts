/**
 * Votes, proposals and commit certificates of the voting engines: what validators sign and what it proves.
 *
 * Wire forms, canonical dag-cbor tuples:
 *
 * ```
 * vote        [step (1 prevote, 2 precommit), height, round, blockHash | null, validator, signature]
 * proposal    [height, round, blockHash, validRound (-1: none), validator, signature]
 * certificate [height, round, blockHash, [[validator, signature]...]]
 * ```
 *
 * What is signed is the hash, under its own domain, of the same fields with the chain id in front and no signature:
 * a signature for one chain, height, round or step says nothing about another.
 */

import { compareBytes } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { type DecodeError, type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, hash } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { type PublicKey, verifySignature, verifySignatureAsync } from "../../crypto/sign/key.ts";
import { readAddress, readHash, readHashOrNull, readHeight, readRound, readSignature, writeHashOrNull } from "./fields.ts";
import type { Height } from "./height.ts";
import { ROUND_MAX, VALIDATORS_MAX } from "./limits.ts";
import { findValidator, type ValidatorSet } from "./validators.ts";

/** The two votes of a round. */
export type VoteStep = "prevote" | "precommit";

/** A validator's word for a block, or for none of them (nil: `blockHash` undefined). */
export type Vote = {
  readonly step: VoteStep;
  readonly height: Height;
  /** `0 <= round < 2^31`. */
  readonly round: number;
  readonly blockHash: Hash | undefined;
  /** The address of the validator's key. */
  readonly validator: Address;
  readonly signature: Uint8Array;
};

/** A proposer's word that this block is its candidate for a round. */
export type Proposal = {
  readonly height: Height;
  readonly round: number;
  readonly blockHash: Hash;
  /** The round in which the proposer saw more than 2/3 prevotes for this block, or -1. `validRound < round`. */
  readonly validRound: number;
  readonly validator: Address;
  readonly signature: Uint8Array;
};

/** More than 2/3 of the power of one validator set precommitted this block in one round. */
export type Certificate = {
  readonly height: Height;
  readonly round: number;
  readonly blockHash: Hash;
  /** In the order of the validator set, each validator at most once. */
  readonly signatures: readonly CertificateSignature[];
};

/** One validator's precommit within a certificate. */
export type CertificateSignature = { readonly validator: Address; readonly signature: Uint8Array };

/** Why a certificate proves nothing; `errors.ts` says what to do about each. */
export type CertificateError = {
  readonly code: "certificate_order" | "certificate_signer" | "certificate_power" | "certificate_signature";
  readonly field: string;
};

const STEP_NUMBER = { prevote: 1, precommit: 2 } as const satisfies Record<VoteStep, number>;
const NO_ROUND = -1;

// What is signed.

/** The 32 bytes that a validator signs for a vote. */
export function voteSigningBytes(chainId: string, vote: Omit<Vote, "signature">): Uint8Array {
  const writer = new Writer().array(6).text(chainId).uint(STEP_NUMBER[vote.step]).uint(vote.height).uint(vote.round);
  writeHashOrNull(writer, vote.blockHash);
  return hash("vote", writer.bytes(vote.validator).finish());
}

/** The 32 bytes that a proposer signs. */
export function proposalSigningBytes(chainId: string, proposal: Omit<Proposal, "signature">): Uint8Array {
  const writer = new Writer().array(6).text(chainId).uint(proposal.height).uint(proposal.round);
  writer.bytes(proposal.blockHash).int(proposal.validRound).bytes(proposal.validator);
  return hash("proposal", writer.finish());
}

// Votes.

/** Writes the vote as one item. */
export function writeVote(writer: Writer, vote: Vote): void {
  writer.array(6).uint(STEP_NUMBER[vote.step]).uint(vote.height).uint(vote.round);
  writeHashOrNull(writer, vote.blockHash);
  writer.bytes(vote.validator).bytes(vote.signature);
}

/** Reads what `writeVote` wrote. Hashes and signatures are views on the input. */
export function readVote(reader: Reader): Vote {
  reader.field("vote").tuple(6);
  return {
    step: readStep(reader),
    height: readHeight(reader, "height"),
    round: readRound(reader, "round"),
    blockHash: readHashOrNull(reader, "blockHash"),
    validator: readAddress(reader, "validator"),
    signature: readSignature(reader, "signature"),
  };
}

/** The one encoding of a vote on its own. */
export function encodeVote(vote: Vote): Uint8Array {
  const writer = new Writer();
  writeVote(writer, vote);
  return writer.finish();
}

/** Parses what `encodeVote` made: a form, its signature not checked. */
export function parseVote(bytes: Uint8Array): Result<Vote, DecodeError> {
  return readWith(bytes, readVote);
}

// Proposals.

/** Writes the proposal as one item. */
export function writeProposal(writer: Writer, proposal: Proposal): void {
  writer.array(6).uint(proposal.height).uint(proposal.round).bytes(proposal.blockHash);
  writer.int(proposal.validRound).bytes(proposal.validator).bytes(proposal.signature);
}

/** Reads what `writeProposal` wrote. */
export function readProposal(reader: Reader): Proposal {
  reader.field("proposal").tuple(6);
  const height = readHeight(reader, "height");
  const round = readRound(reader, "round");
  const blockHash = readHash(reader, "blockHash");
  const validRound = readValidRound(reader, round);
  return {
    height,
    round,
    blockHash,
    validRound,
    validator: readAddress(reader, "validator"),
    signature: readSignature(reader, "signature"),
  };
}

/** The one encoding of a proposal on its own. */
export function encodeProposal(proposal: Proposal): Uint8Array {
  const writer = new Writer();
  writeProposal(writer, proposal);
  return writer.finish();
}

/** Parses what `encodeProposal` made: a form, its signature not checked. */
export function parseProposal(bytes: Uint8Array): Result<Proposal, DecodeError> {
  return readWith(bytes, readProposal);
}

// Certificates.

/** Writes the certificate as one item. */
export function writeCertificate(writer: Writer, certificate: Certificate): void {
  writer.array(4).uint(certificate.height).uint(certificate.round).bytes(certificate.blockHash);
  writer.array(certificate.signatures.length);
  for (const { validator, signature } of certificate.signatures) writer.array(2).bytes(validator).bytes(signature);
}

/** Reads what `writeCertificate` wrote: a form, not yet a proof. */
export function readCertificate(reader: Reader): Certificate {
  reader.field("certificate").tuple(4);
  const height = readHeight(reader, "height");
  const round = readRound(reader, "round");
  const blockHash = readHash(reader, "blockHash");
  const count = reader.field("signatures").array(VALIDATORS_MAX);
  const signatures: CertificateSignature[] = [];
  for (let index = 0; index < count; index += 1) {
    reader.field("signatures").tuple(2);
    signatures.push({ validator: readAddress(reader, "validator"), signature: readSignature(reader, "signature") });
  }
  return { height, round, blockHash, signatures };
}

/** The one encoding of a certificate: what is stored, and what `certificateHash` is taken of. */
export function encodeCertificate(certificate: Certificate): Uint8Array {
  const writer = new Writer();
  writeCertificate(writer, certificate);
  return writer.finish();
}

/** Parses what `encodeCertificate` made: a form, not yet a proof. */
export function parseCertificate(bytes: Uint8Array): Result<Certificate, DecodeError> {
  return readWith(bytes, readCertificate);
}

/** What the next header names the certificate by. */
export function certificateHash(certificate: Certificate): Hash {
  return hash("certificate", encodeCertificate(certificate));
}

/**
 * Checks that a certificate proves its block final: signatures by distinct members of `set`, in its order, all valid,
 * of strictly more than 2/3 of its power. The caller checks that height and hash are those it asks about, and that
 * `set` is the one that decides that height.
 *
 * Cost: one signature check a signer, after everything that is cheap.
 */
export function verifyCertificate(chainId: string, set: ValidatorSet, certificate: Certificate): Result<void, CertificateError> {
  const checks = signatureChecks(chainId, set, certificate);
  if (!checks.ok) return checks;
  for (const [index, { key, message, signature }] of checks.value.entries()) {
    if (!verifySignature(key, message, signature)) return signatureRefused(index);
  }
  return ok(undefined);
}

/** As `verifyCertificate`, with the signatures checked side by side where the platform has threads for it. */
export async function verifyCertificateAsync(
  chainId: string,
  set: ValidatorSet,
  certificate: Certificate,
): Promise<Result<void, CertificateError>> {
  const checks = signatureChecks(chainId, set, certificate);
  if (!checks.ok) return checks;
  const valid = await Promise.all(
    checks.value.map(({ key, message, signature }) => verifySignatureAsync(key, message, signature)),
  );
  const index = valid.indexOf(false);
  return index === -1 ? ok(undefined) : signatureRefused(index);
}

type SignatureCheck = { readonly key: PublicKey; readonly message: Uint8Array; readonly signature: Uint8Array };

/** Everything about a certificate but its signatures, and the signatures that are left to check. */
function signatureChecks(
  chainId: string,
  set: ValidatorSet,
  certificate: Certificate,
): Result<SignatureCheck[], CertificateError> {
  const { height, round, blockHash } = certificate;
  const checks: SignatureCheck[] = [];
  let power = 0n;
  let previous: Address | undefined;
  for (const [index, { validator, signature }] of certificate.signatures.entries()) {
    const field = `signatures[${index}].validator`;
    // A set is sorted by address, so ascending addresses are both its order and distinct.
    if (previous !== undefined && compareBytes(previous, validator) >= 0) return fail({ code: "certificate_order", field });
    previous = validator;
    const member = findValidator(set, validator);
    if (member === undefined) return fail({ code: "certificate_signer", field });
    power += member.power;
    checks.push({
      key: member.key,
      message: voteSigningBytes(chainId, { step: "precommit", height, round, blockHash, validator }),
      signature,
    });
  }
  if (power * 3n <= set.totalPower * 2n) return fail({ code: "certificate_power", field: "signatures" });
  return ok(checks);
}

function signatureRefused(index: number): Result<never, CertificateError> {
  return fail({ code: "certificate_signature", field: `signatures[${index}].signature` });
}

function readStep(reader: Reader): VoteStep {
  const offset = reader.field("step").offset;
  const step = reader.number(STEP_NUMBER.precommit);
  if (step === STEP_NUMBER.prevote) return "prevote";
  return step === STEP_NUMBER.precommit ? "precommit" : reader.refuse("encoding_limit", offset);
}

/** A round before the proposal's own, or -1. */
function readValidRound(reader: Reader, round: number): number {
  const offset = reader.field("validRound").offset;
  const value = reader.int();
  if (value < BigInt(NO_ROUND) || value > BigInt(ROUND_MAX) || value >= BigInt(round)) reader.refuse("encoding_limit", offset);
  return Number(value);
}
