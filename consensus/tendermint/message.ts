/**
 * What Tendermint validators tell each other, and its wire form.
 *
 * Canonical dag-cbor: `[0, vote]` or `[1, proposal, block]`, vote and proposal as chain/block writes them, the block
 * as a byte string in its own encoding.
 */

import { unreachable } from "../../crypto/base/assert.ts";
import { bytesEqual, concatBytes } from "../../crypto/base/bytes.ts";
import { type Coded, fail, ok, type Result } from "../../crypto/base/result.ts";
import { type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Block, encodeBlock, hasOwnBody, parseBlock } from "../../chain/block/block.ts";
import type { Height } from "../../chain/block/height.ts";
import { BLOCK_SIZE_BYTES_MAX } from "../../chain/block/limits.ts";
import type { Transaction } from "../../chain/block/transaction.ts";
import { type Proposal, readProposal, readVote, type Vote, writeProposal, writeVote } from "../../chain/block/vote.ts";

/** A proposal and the block that it names. */
export type ProposalMessage = { readonly kind: "proposal"; readonly proposal: Proposal; readonly block: Block };

/** A signed message. */
export type ConsensusMessage = ProposalMessage | { readonly kind: "vote"; readonly vote: Vote };

/**
 * Why bytes are not a message: an `encoding_*` code, a code of `parseBlock`, `proposal_block` when the block is not the
 * one that the proposal names, or `proposal_body` when its header does not commit to what stands beside it. Whoever
 * sent them is at fault: no honest peer relays such a thing.
 */
export type MessageError = Coded;

/** A block and its proposal, with room for the heads. */
export const MESSAGE_SIZE_BYTES_MAX = BLOCK_SIZE_BYTES_MAX + 16 * 1024;

const TAG_VOTE = 0;
const TAG_PROPOSAL = 1;

/** The height that a message is about. */
export function heightOfMessage(message: ConsensusMessage): Height {
  return message.kind === "vote" ? message.vote.height : message.proposal.height;
}

/** The round that a message is about. */
export function roundOfMessage(message: ConsensusMessage): number {
  return message.kind === "vote" ? message.vote.round : message.proposal.round;
}

/** The wire form. */
export function encodeMessage(message: ConsensusMessage): Uint8Array {
  switch (message.kind) {
    case "vote": {
      const writer = new Writer().array(2).uint(TAG_VOTE);
      writeVote(writer, message.vote);
      return writer.finish();
    }
    case "proposal":
      return concatBytes(...encodeProposal(message));
    default:
      return unreachable(message);
  }
}

/** The wire form of a proposal in two pieces: the second is the block's own encoding, which is large and nobody's to change. */
export function encodeProposal({ proposal, block }: ProposalMessage): readonly [Uint8Array, Uint8Array] {
  const blockBytes = encodeBlock(block);
  const writer = new Writer().array(3).uint(TAG_PROPOSAL);
  writeProposal(writer, proposal);
  return [writer.bytesHead(blockBytes.length).finish(), blockBytes];
}

/**
 * Parses a message from a peer, strictly. Its signature is not checked here.
 *
 * The body of a block is checked against its header here and not when the block is judged, because votes and
 * judgements go by the header's hash: a relay that put another body under an honest header could otherwise have an
 * honest proposal judged invalid.
 */
export function parseMessage(
  bytes: Uint8Array,
  known?: readonly (Transaction | undefined)[],
): Result<ConsensusMessage, MessageError> {
  const parts = readWith(bytes, readParts);
  if (!parts.ok) return parts;
  if (parts.value.kind === "vote") return ok(parts.value);
  const { proposal, blockBytes } = parts.value;
  const block = parseBlock(blockBytes, known);
  if (!block.ok) return block;
  if (!bytesEqual(block.value.hash, proposal.blockHash)) return fail({ code: "proposal_block" });
  if (!hasOwnBody(block.value)) return fail({ code: "proposal_body" });
  return ok({ kind: "proposal", proposal, block: block.value });
}

type Parts =
  | { readonly kind: "vote"; readonly vote: Vote }
  | { readonly kind: "proposal"; readonly proposal: Proposal; readonly blockBytes: Uint8Array };

function readParts(reader: Reader): Parts {
  const offset = reader.field("message").offset;
  const length = reader.array(3);
  const tag = reader.field("tag").number(TAG_PROPOSAL);
  if (length !== (tag === TAG_VOTE ? 2 : 3)) reader.refuse("encoding_limit", offset);
  if (tag === TAG_VOTE) return { kind: "vote", vote: readVote(reader) };
  return { kind: "proposal", proposal: readProposal(reader), blockBytes: reader.field("block").bytes(BLOCK_SIZE_BYTES_MAX) };
}
