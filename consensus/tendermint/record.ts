/**
 * The records of the write-ahead log: what a validator must not forget between a promise and a crash.
 *
 * Wire form, canonical dag-cbor: `[0, height, round]`, `[1, height, message]`, `[2, height, [vote...]]`,
 * `[3, height, [step (1 prevote, 2 precommit), round, blockHash | null]]`, `[4, height, vote]`, the message as a byte
 * string in its own encoding.
 *
 * - `round`: we entered it.
 * - `proposal`: our own proposal, or the one whose block got a polka; both with the block.
 * - `polka`: the prevotes behind our valid value. Without them a network that lost power as a whole could never
 *   prove the lock again, and would stand still for ever.
 * - `promise`: how we are about to vote; durable before the vote is signed, so that after a crash we go on to say what
 *   the double-sign guard has seen, and are not left without a word that others wait for. To precommit is the lock.
 * - `vote`: how we voted, with its signature, since a guard may remember only the newest one.
 */

import { unreachable } from "../../crypto/base/assert.ts";
import { type Coded, fail, ok, type Result } from "../../crypto/base/result.ts";
import { type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { readHashOrNull, readHeight, readRound, writeHashOrNull } from "../../chain/block/fields.ts";
import type { Height } from "../../chain/block/height.ts";
import { VALIDATORS_MAX } from "../../chain/block/limits.ts";
import { readVote, type Vote, type VoteStep, writeVote } from "../../chain/block/vote.ts";
import { encodeProposal, MESSAGE_SIZE_BYTES_MAX, parseMessage, type ProposalMessage } from "./message.ts";

/** One record. */
export type WalRecord =
  | { readonly kind: "round"; readonly height: Height; readonly round: number }
  | { readonly kind: "proposal"; readonly height: Height; readonly message: ProposalMessage }
  /** Prevotes of one round for one block, never empty. */
  | { readonly kind: "polka"; readonly height: Height; readonly votes: readonly Vote[] }
  | {
      readonly kind: "promise";
      readonly height: Height;
      readonly step: VoteStep;
      readonly round: number;
      readonly blockHash: Hash | undefined;
    }
  | { readonly kind: "vote"; readonly height: Height; readonly vote: Vote };

const TAG = { round: 0, proposal: 1, polka: 2, promise: 3, vote: 4 } as const satisfies Record<WalRecord["kind"], number>;
const STEP_NUMBER = { prevote: 1, precommit: 2 } as const satisfies Record<VoteStep, number>;

/** The bytes of a record. */
export function encodeRecord(record: WalRecord): Uint8Array {
  const writer = new Writer().array(3).uint(TAG[record.kind]).uint(record.height);
  switch (record.kind) {
    case "round":
      return writer.uint(record.round).finish();
    case "proposal": {
      const [head, block] = encodeProposal(record.message);
      return writer
        .bytesHead(head.length + block.length)
        .raw(head)
        .raw(block)
        .finish();
    }
    case "polka":
      writer.array(record.votes.length);
      for (const vote of record.votes) writeVote(writer, vote);
      return writer.finish();
    case "promise":
      writeHashOrNull(writer.array(3).uint(STEP_NUMBER[record.step]).uint(record.round), record.blockHash);
      return writer.finish();
    case "vote":
      writeVote(writer, record.vote);
      return writer.finish();
    default:
      return unreachable(record);
  }
}

/**
 * Parses a record, strictly.
 *
 * @returns an `encoding_*` code, a code of `parseMessage`, or `record_invalid` when the parts do not belong together
 */
export function parseRecord(bytes: Uint8Array): Result<WalRecord, Coded> {
  const parts = readWith(bytes, readParts);
  if (!parts.ok) return parts;
  if (parts.value.kind !== "message") return ok(parts.value);
  const { height, messageBytes } = parts.value;
  const message = parseMessage(messageBytes);
  if (!message.ok) return message;
  if (message.value.kind !== "proposal" || message.value.proposal.height !== height) return fail({ code: "record_invalid" });
  return ok({ kind: "proposal", height, message: message.value });
}

type Parts =
  | Exclude<WalRecord, { readonly kind: "proposal" }>
  | { readonly kind: "message"; readonly height: Height; readonly messageBytes: Uint8Array };

function readParts(reader: Reader): Parts {
  reader.tuple(3);
  const tag = reader.field("tag").number(TAG.vote);
  const height = readHeight(reader, "height");
  switch (tag) {
    case TAG.round:
      return { kind: "round", height, round: readRound(reader, "round") };
    case TAG.proposal:
      return { kind: "message", height, messageBytes: reader.field("message").bytes(MESSAGE_SIZE_BYTES_MAX) };
    case TAG.polka:
      return { kind: "polka", height, votes: readPolka(reader, height) };
    case TAG.promise:
      return { kind: "promise", height, ...readPromise(reader) };
    default:
      return { kind: "vote", height, vote: readVoteOf(reader, height) };
  }
}

function readVoteOf(reader: Reader, height: Height): Vote {
  const { offset } = reader;
  const vote = readVote(reader);
  return vote.height === height ? vote : reader.refuse("encoding_limit", offset);
}

function readPromise(reader: Reader): { readonly step: VoteStep; readonly round: number; readonly blockHash: Hash | undefined } {
  reader.field("promise").tuple(3);
  const { offset } = reader.field("step");
  const step = reader.number(STEP_NUMBER.precommit);
  if (step !== STEP_NUMBER.prevote && step !== STEP_NUMBER.precommit) return reader.refuse("encoding_limit", offset);
  const round = readRound(reader, "round");
  return { step: step === STEP_NUMBER.prevote ? "prevote" : "precommit", round, blockHash: readHashOrNull(reader, "blockHash") };
}

function readPolka(reader: Reader, height: Height): readonly Vote[] {
  const { offset } = reader.field("votes");
  const length = reader.array(VALIDATORS_MAX);
  if (length === 0) reader.refuse("encoding_limit", offset);
  const votes: Vote[] = [];
  for (let index = 0; index < length; index += 1) votes.push(readVoteOf(reader, height));
  return votes;
}
