/**
 * Proof that a validator broke the protocol: two signed statements that an honest one cannot both make.
 *
 * Wire form: `[kind (1 doubleVote, 2 doubleProposal), first, second]`. The statements stand in one order, the lower
 * block hash first (none before any), then the lower valid round, so that a pair has one encoding.
 */

import { unreachable } from "../../crypto/base/assert.ts";
import { bytesEqual, compareBytes } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { type DecodeError, type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { verifySignature } from "../../crypto/sign/key.ts";
import { findValidator, type ValidatorSet } from "./validators.ts";
import {
  type Proposal,
  proposalSigningBytes,
  readProposal,
  readVote,
  type Vote,
  voteSigningBytes,
  writeProposal,
  writeVote,
} from "./vote.ts";

/** One validator, one height, one round, one step, two different words. */
export type Evidence =
  | { readonly kind: "doubleVote"; readonly first: Vote; readonly second: Vote }
  | { readonly kind: "doubleProposal"; readonly first: Proposal; readonly second: Proposal };

/** Why evidence proves nothing; `errors.ts` says what to do about each. */
export type EvidenceError = {
  readonly code: "evidence_mismatch" | "evidence_order" | "evidence_signer" | "evidence_signature";
  readonly field: string;
};

const KIND_NUMBER = { doubleVote: 1, doubleProposal: 2 } as const satisfies Record<Evidence["kind"], number>;

/** Evidence of two votes, put in order. They must differ in their block; `verifyEvidence` checks the rest. */
export function doubleVoteOf(one: Vote, other: Vote): Evidence {
  const [first, second] = compareBlocks(one.blockHash, other.blockHash) <= 0 ? [one, other] : [other, one];
  return { kind: "doubleVote", first, second };
}

/** Evidence of two proposals, put in order. */
export function doubleProposalOf(one: Proposal, other: Proposal): Evidence {
  const [first, second] = compareProposals(one, other) <= 0 ? [one, other] : [other, one];
  return { kind: "doubleProposal", first, second };
}

/**
 * Checks that both statements are by one member of `set`, about the same thing, different, in order and signed.
 * Age and whether it was punished already are for the executor, which knows the state.
 *
 * @param set - the validators of the height that the statements are about
 */
export function verifyEvidence(chainId: string, set: ValidatorSet, evidence: Evidence): Result<void, EvidenceError> {
  const { first, second } = evidence;
  if (first.height !== second.height || first.round !== second.round || !bytesEqual(first.validator, second.validator)) {
    return fail({ code: "evidence_mismatch", field: "second" });
  }
  if (evidence.kind === "doubleVote" && evidence.first.step !== evidence.second.step)
    return fail({ code: "evidence_mismatch", field: "second.step" });
  const order = compareStatements(evidence);
  if (order === 0) return fail({ code: "evidence_mismatch", field: "second.blockHash" });
  if (order > 0) return fail({ code: "evidence_order", field: "second" });
  const member = findValidator(set, first.validator);
  if (member === undefined) return fail({ code: "evidence_signer", field: "first.validator" });
  const [firstBytes, secondBytes] = signingBytes(chainId, evidence);
  if (!verifySignature(member.key, firstBytes, first.signature))
    return fail({ code: "evidence_signature", field: "first.signature" });
  if (!verifySignature(member.key, secondBytes, second.signature))
    return fail({ code: "evidence_signature", field: "second.signature" });
  return ok(undefined);
}

function signingBytes(chainId: string, evidence: Evidence): readonly [Uint8Array, Uint8Array] {
  switch (evidence.kind) {
    case "doubleVote":
      return [voteSigningBytes(chainId, evidence.first), voteSigningBytes(chainId, evidence.second)];
    case "doubleProposal":
      return [proposalSigningBytes(chainId, evidence.first), proposalSigningBytes(chainId, evidence.second)];
    default:
      return unreachable(evidence);
  }
}

function compareStatements(evidence: Evidence): number {
  return evidence.kind === "doubleVote"
    ? compareBlocks(evidence.first.blockHash, evidence.second.blockHash)
    : compareProposals(evidence.first, evidence.second);
}

function compareBlocks(a: Hash | undefined, b: Hash | undefined): number {
  if (a === undefined || b === undefined) return Number(a !== undefined) - Number(b !== undefined);
  return compareBytes(a, b);
}

function compareProposals(a: Proposal, b: Proposal): number {
  return compareBytes(a.blockHash, b.blockHash) || a.validRound - b.validRound;
}

// Encoding.

/** Writes the evidence as one item. */
export function writeEvidence(writer: Writer, evidence: Evidence): void {
  writer.array(3).uint(KIND_NUMBER[evidence.kind]);
  switch (evidence.kind) {
    case "doubleVote":
      writeVote(writer, evidence.first);
      writeVote(writer, evidence.second);
      return;
    case "doubleProposal":
      writeProposal(writer, evidence.first);
      writeProposal(writer, evidence.second);
      return;
    default:
      unreachable(evidence);
  }
}

/** Reads what `writeEvidence` wrote: a form, not yet a proof. */
export function readEvidence(reader: Reader): Evidence {
  const offset = reader.field("evidence").offset;
  reader.tuple(3);
  const kind = reader.number();
  if (kind === KIND_NUMBER.doubleVote) return { kind: "doubleVote", first: readVote(reader), second: readVote(reader) };
  if (kind === KIND_NUMBER.doubleProposal)
    return { kind: "doubleProposal", first: readProposal(reader), second: readProposal(reader) };
  return reader.refuse("encoding_limit", offset);
}

/** The one encoding of evidence: a leaf under `evidenceRoot`. */
export function encodeEvidence(evidence: Evidence): Uint8Array {
  const writer = new Writer();
  writeEvidence(writer, evidence);
  return writer.finish();
}

/** Parses what `encodeEvidence` made: a form, not yet a proof. */
export function parseEvidence(bytes: Uint8Array): Result<Evidence, DecodeError> {
  return readWith(bytes, readEvidence);
}
