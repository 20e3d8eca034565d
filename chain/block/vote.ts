/**
 * Votes, proposals and commit certificates of the voting engines: what validators sign and what it proves.
 *
 * Wire forms, canonical dag-cbor tuples:
 *
 * ```
 * vote        [step (1 prevote, 2 precommit), height, round, blockHash | null, validator, signature]
 * proposal    [height, round, blockHash, validRound (-1: none), validator, signature]
 * certificate [1, height, round, blockHash, [[validator, signature]...]]                     quorum
 *             [2, height, blockHash, bits, extraNonce, nonce, chainWork (big-endian bytes)]   work
 * ```
 *
 * What is signed is the hash, under its own domain, of the same fields with the chain id in front and no signature:
 * a signature for one chain, height, round or step says nothing about another.
 */

import { compareBytes, readU256, u256 } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { type DecodeError, type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, hash } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { type PublicKey, type SignatureVerifier, verifySignature, verifySignatureAsync } from "../../crypto/sign/key.ts";
import { readAddress, readHash, readHashOrNull, readHeight, readRound, readSignature, writeHashOrNull } from "./fields.ts";
import type { Height } from "./height.ts";
import { ROUND_MAX, VALIDATORS_MAX } from "./limits.ts";
import { isQuorumOf, type QuorumRule } from "./protocol.ts";
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

/** What makes a block part of the chain: the signatures of a quorum, or work done upon it. */
export type Certificate = QuorumCertificate | WorkCertificate;

/** A quorum of one validator set (`QuorumRule`) precommitted this block in one round. */
export type QuorumCertificate = {
  readonly kind: "quorum";
  readonly height: Height;
  readonly round: number;
  readonly blockHash: Hash;
  /** In the order of the validator set, each validator at most once. */
  readonly signatures: readonly CertificateSignature[];
};

/** A seal of work under a block: nonces whose `sealHash` is at most the target that `bits` stands for. */
export type WorkCertificate = {
  readonly kind: "work";
  readonly height: Height;
  readonly blockHash: Hash;
  /** The target in compact form. Never believed: it must be the one that the headers before prescribe. */
  readonly bits: number;
  /** Both are any 64-bit number: the second when a search has used up the first. */
  readonly extraNonce: bigint;
  readonly nonce: bigint;
  /** Expected hashes of the whole chain up to this block, `0 <= chainWork < 2^256`. Never believed either. */
  readonly chainWork: bigint;
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

const CERTIFICATE_NUMBER = { quorum: 1, work: 2 } as const satisfies Record<Certificate["kind"], number>;
const CHAIN_WORK_SIZE_BYTES = 32;

/** Writes the certificate as one item. */
export function writeCertificate(writer: Writer, certificate: Certificate): void {
  if (certificate.kind === "work") {
    writer.array(7).uint(CERTIFICATE_NUMBER.work).uint(certificate.height).bytes(certificate.blockHash).uint(certificate.bits);
    writer.uint(certificate.extraNonce).uint(certificate.nonce).bytes(u256(certificate.chainWork));
    return;
  }
  writer.array(5).uint(CERTIFICATE_NUMBER.quorum).uint(certificate.height).uint(certificate.round);
  writer.bytes(certificate.blockHash).array(certificate.signatures.length);
  for (const { validator, signature } of certificate.signatures) writer.array(2).bytes(validator).bytes(signature);
}

/** Reads what `writeCertificate` wrote: a form, not yet a proof. */
export function readCertificate(reader: Reader): Certificate {
  const start = reader.field("certificate").offset;
  const length = reader.array(7);
  const offset = reader.field("kind").offset;
  const kind = reader.number(CERTIFICATE_NUMBER.work);
  if (kind === CERTIFICATE_NUMBER.work && length === 7) {
    return {
      kind: "work",
      height: readHeight(reader, "height"),
      blockHash: readHash(reader, "blockHash"),
      bits: readBits(reader),
      extraNonce: reader.field("extraNonce").uint(),
      nonce: reader.field("nonce").uint(),
      chainWork: readU256(reader.field("chainWork").fixed(CHAIN_WORK_SIZE_BYTES)),
    };
  }
  if (kind !== CERTIFICATE_NUMBER.quorum) reader.refuse("encoding_limit", offset);
  if (length !== 5) reader.refuse("encoding_limit", start);
  const height = readHeight(reader, "height");
  const round = readRound(reader, "round");
  const blockHash = readHash(reader, "blockHash");
  const count = reader.field("signatures").array(VALIDATORS_MAX);
  const signatures: CertificateSignature[] = [];
  for (let index = 0; index < count; index += 1) {
    reader.field("signatures").tuple(2);
    signatures.push({ validator: readAddress(reader, "validator"), signature: readSignature(reader, "signature") });
  }
  return { kind: "quorum", height, round, blockHash, signatures };
}

/** A compact target: 32 bits. */
function readBits(reader: Reader): number {
  return reader.field("bits").number(0xff_ff_ff_ff);
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
 * of a quorum of its power. The caller checks that height and hash are those it asks about, and that `set` is the one
 * that decides that height.
 *
 * Cost: one signature check a signer, after everything that is cheap.
 */
export function verifyCertificate(question: CertificateQuestion, certificate: QuorumCertificate): Result<void, CertificateError> {
  const checks = signatureChecks(question, certificate);
  if (!checks.ok) return checks;
  for (const [index, { key, message, signature }] of checks.value.entries()) {
    if (!verifySignature(key, message, signature)) return signatureRefused(index);
  }
  return ok(undefined);
}

/** What a certificate is checked against. */
export type CertificateQuestion = { readonly chainId: string; readonly rule: QuorumRule; readonly set: ValidatorSet };

/** As `verifyCertificate`, with the signatures checked side by side where the platform has threads for it. */
export async function verifyCertificateAsync(
  question: CertificateQuestion,
  certificate: QuorumCertificate,
  verify: SignatureVerifier = verifySignatureAsync,
): Promise<Result<void, CertificateError>> {
  const checks = signatureChecks(question, certificate);
  if (!checks.ok) return checks;
  const valid = await Promise.all(checks.value.map(({ key, message, signature }) => verify(key, message, signature)));
  const index = valid.indexOf(false);
  return index === -1 ? ok(undefined) : signatureRefused(index);
}

type SignatureCheck = { readonly key: PublicKey; readonly message: Uint8Array; readonly signature: Uint8Array };

/** Everything about a certificate but its signatures, and the signatures that are left to check. */
function signatureChecks(
  { chainId, rule, set }: CertificateQuestion,
  certificate: QuorumCertificate,
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
  if (!isQuorumOf(rule, power, set.totalPower)) return fail({ code: "certificate_power", field: "signatures" });
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
