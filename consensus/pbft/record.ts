/**
 * The records of the write-ahead log: what a validator must not forget between a promise and a crash.
 *
 * Wire form, canonical dag-cbor: `[kind, height, ...]`:
 *
 * ```
 * [0, height, view]                          change: we want this view. Durable before the view-change is sent.
 * [1, height, message]                       lead: our own pre-prepare or new-view. Durable before it is sent.
 * [2, height, view, blockHash]               prepare: we are about to prepare this block.
 * [3, height, block]                         block: of the `prepared` that follows.
 * [4, height, view, blockHash, prepares]     prepared: with its certificate; we are about to commit.
 * [5, height, vote]                          vote: what we said, since a guard may remember only the newest.
 * ```
 *
 * `prepare` and `prepared` are durable before the vote is signed, so that after a crash we go on to say what the
 * double-sign guard has seen. `prepared` holds the certificate and not only the fact: a view-change after the crash must
 * prove it, and if a network loses power as a whole nobody else could.
 */

import { unreachable } from "../../crypto/base/assert.ts";
import { type Coded, fail, ok, type Result } from "../../crypto/base/result.ts";
import { type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { type Block, encodeBlock, parseBlock } from "../../chain/block/block.ts";
import { readHash, readHeight, readRound } from "../../chain/block/fields.ts";
import type { Height } from "../../chain/block/height.ts";
import { BLOCK_SIZE_BYTES_MAX } from "../../chain/block/limits.ts";
import { type CertificateSignature, readVote, type Vote, writeVote } from "../../chain/block/vote.ts";
import { MESSAGE_SIZE_BYTES_MAX } from "./limits.ts";
import { type Candidate, encodeMessage, heightOfMessage, parseMessage, readSignatures, writeSignatures } from "./message.ts";

/** One record. */
export type WalRecord =
  | { readonly kind: "change"; readonly height: Height; readonly view: number }
  | { readonly kind: "lead"; readonly height: Height; readonly message: Candidate }
  | { readonly kind: "prepare"; readonly height: Height; readonly view: number; readonly blockHash: Hash }
  | { readonly kind: "block"; readonly height: Height; readonly block: Block }
  | {
      readonly kind: "prepared";
      readonly height: Height;
      readonly view: number;
      readonly blockHash: Hash;
      readonly prepares: readonly CertificateSignature[];
    }
  | { readonly kind: "vote"; readonly height: Height; readonly vote: Vote };

const TAG = { change: 0, lead: 1, prepare: 2, block: 3, prepared: 4, vote: 5 } as const satisfies Record<
  WalRecord["kind"],
  number
>;
const LENGTH = [3, 3, 4, 3, 5, 3] as const;

/** The bytes of a record. */
export function encodeRecord(record: WalRecord): Uint8Array {
  const tag = TAG[record.kind];
  const writer = new Writer().array(LENGTH[tag]).uint(tag).uint(record.height);
  switch (record.kind) {
    case "change":
      return writer.uint(record.view).finish();
    case "lead":
      return writer.bytes(encodeMessage(record.message)).finish();
    case "prepare":
      return writer.uint(record.view).bytes(record.blockHash).finish();
    case "block":
      return writer.bytes(encodeBlock(record.block)).finish();
    case "prepared":
      writeSignatures(writer.uint(record.view).bytes(record.blockHash), record.prepares);
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
 * @returns an `encoding_*` code, a code of `parseMessage` or `parseBlock`, or `record_invalid` when the parts do not
 * belong together
 */
export function parseRecord(bytes: Uint8Array): Result<WalRecord, Coded> {
  const parts = readWith(bytes, readParts);
  if (!parts.ok) return parts;
  const { value } = parts;
  if (value.kind === "blockBytes") {
    const block = parseBlock(value.bytes);
    if (!block.ok) return block;
    if (block.value.header.height !== value.height) return fail({ code: "record_invalid" });
    return ok({ kind: "block", height: value.height, block: block.value });
  }
  if (value.kind === "messageBytes") {
    const message = parseMessage(value.bytes);
    if (!message.ok) return message;
    const { kind } = message.value;
    if ((kind !== "prePrepare" && kind !== "newView") || heightOfMessage(message.value) !== value.height)
      return fail({ code: "record_invalid" });
    return ok({ kind: "lead", height: value.height, message: message.value });
  }
  return ok(value);
}

type Parts =
  | Exclude<WalRecord, { readonly kind: "lead" | "block" }>
  | { readonly kind: "messageBytes"; readonly height: Height; readonly bytes: Uint8Array }
  | { readonly kind: "blockBytes"; readonly height: Height; readonly bytes: Uint8Array };

function readParts(reader: Reader): Parts {
  const { offset } = reader.field("record");
  const length = reader.array(LENGTH[TAG.prepared]);
  const tag = reader.field("tag").number(TAG.vote);
  if (length !== LENGTH[tag]) reader.refuse("encoding_limit", offset);
  const height = readHeight(reader, "height");
  switch (tag) {
    case TAG.change:
      return { kind: "change", height, view: readRound(reader, "view") };
    case TAG.lead:
      return { kind: "messageBytes", height, bytes: reader.field("message").bytes(MESSAGE_SIZE_BYTES_MAX) };
    case TAG.prepare:
      return { kind: "prepare", height, view: readRound(reader, "view"), blockHash: readHash(reader, "blockHash") };
    case TAG.block:
      return { kind: "blockBytes", height, bytes: reader.field("block").bytes(BLOCK_SIZE_BYTES_MAX) };
    case TAG.prepared:
      return {
        kind: "prepared",
        height,
        view: readRound(reader, "view"),
        blockHash: readHash(reader, "blockHash"),
        prepares: readSignatures(reader),
      };
    default: {
      const at = reader.offset;
      const vote = readVote(reader);
      return vote.height === height ? { kind: "vote", height, vote } : reader.refuse("encoding_limit", at);
    }
  }
}
