/**
 * What PBFT validators tell each other, and its wire form.
 *
 * Canonical dag-cbor; votes and proposals as chain/block writes them, a block as a byte string in its own encoding:
 *
 * ```
 * [0, vote]                                              prepare (a prevote) and commit (a precommit)
 * [1, proposal, block]                                   pre-prepare of view 0
 * [2, viewChange, prepares, block | null]                view-change, with the proof of what it claims to be prepared
 * [3, proposal, [viewChange...], prepares, block]        new-view: its pre-prepare, and what it follows from
 * viewChange  [height, view, preparedView (-1: none), blockHash | null, validator, signature]
 * prepares    [[validator, signature]...]                prevotes of one view for one block, signatures only
 * ```
 *
 * Where we differ from the paper: a view-change signs what it claims (view and digest), and the prepares that prove it
 * stand beside it under their own signatures. So a new-view needs the proof of one claim, the highest, and stays small:
 * lower claims cannot change what follows, so it does not matter whether they are true.
 */

import { unreachable } from "../../crypto/base/assert.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import { type Coded, fail, ok, type Result } from "../../crypto/base/result.ts";
import { type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, hash } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { type Block, encodeBlock, hasOwnBody, parseBlock } from "../../chain/block/block.ts";
import { readAddress, readHashOrNull, readHeight, readRound, readSignature, writeHashOrNull } from "../../chain/block/fields.ts";
import type { Height } from "../../chain/block/height.ts";
import { BLOCK_SIZE_BYTES_MAX, ROUND_MAX, VALIDATORS_MAX } from "../../chain/block/limits.ts";
import type { Transaction } from "../../chain/block/transaction.ts";
import {
  type CertificateSignature,
  type Proposal,
  readProposal,
  readVote,
  type Vote,
  writeProposal,
  writeVote,
} from "../../chain/block/vote.ts";

/** A validator's claim about a block: it prepared it in this view. */
export type PreparedClaim = { readonly view: number; readonly blockHash: Hash };

/** A validator's word that it wants a view, and what it prepared in the highest view before it. */
export type ViewChange = {
  readonly height: Height;
  /** The view it wants, from 1. */
  readonly view: number;
  readonly prepared: PreparedClaim | undefined;
  readonly validator: Address;
  readonly signature: Uint8Array;
};

/** What proves a claim: the prepares, in the order of the validator set, and the block. */
export type PreparedProof = { readonly prepares: readonly CertificateSignature[]; readonly block: Block };

/** The pre-prepare of view 0. */
export type PrePrepareMessage = { readonly kind: "prePrepare"; readonly proposal: Proposal; readonly block: Block };

/** A view-change. `proof` is there exactly when something is claimed. */
export type ViewChangeMessage = {
  readonly kind: "viewChange";
  readonly viewChange: ViewChange;
  readonly proof: PreparedProof | undefined;
};

/** A new-view: a pre-prepare of a later view and what it follows from. */
export type NewViewMessage = {
  readonly kind: "newView";
  readonly proposal: Proposal;
  /** In the order of the validator set. */
  readonly viewChanges: readonly ViewChange[];
  /** The proof of the highest claim among them; empty when there is no claim. */
  readonly prepares: readonly CertificateSignature[];
  readonly block: Block;
};

/** A prepare or a commit. */
export type VoteMessage = { readonly kind: "vote"; readonly vote: Vote };

/** A pre-prepare in either of its forms. */
export type Candidate = PrePrepareMessage | NewViewMessage;

/** A signed message. */
export type PbftMessage = VoteMessage | PrePrepareMessage | ViewChangeMessage | NewViewMessage;

const TAG = { vote: 0, prePrepare: 1, viewChange: 2, newView: 3 } as const satisfies Record<PbftMessage["kind"], number>;
const LENGTH = [2, 3, 4, 5] as const;
const NO_VIEW = -1;

/** The height that a message is about. */
export function heightOfMessage(message: PbftMessage): Height {
  switch (message.kind) {
    case "vote":
      return message.vote.height;
    case "viewChange":
      return message.viewChange.height;
    case "prePrepare":
    case "newView":
      return message.proposal.height;
    default:
      return unreachable(message);
  }
}

/** The view that a message is about. */
export function viewOfMessage(message: PbftMessage): number {
  switch (message.kind) {
    case "vote":
      return message.vote.round;
    case "viewChange":
      return message.viewChange.view;
    case "prePrepare":
    case "newView":
      return message.proposal.round;
    default:
      return unreachable(message);
  }
}

/** The block that a message carries. */
export function blockOfMessage(message: PbftMessage): Block | undefined {
  if (message.kind === "vote") return undefined;
  return message.kind === "viewChange" ? message.proof?.block : message.block;
}

/** The 32 bytes that a validator signs for a view-change. */
export function viewChangeSigningBytes(chainId: string, change: Omit<ViewChange, "signature">): Uint8Array {
  const writer = new Writer().array(7).text("pbft").text(chainId).uint(change.height).uint(change.view);
  writeClaim(writer, change.prepared);
  return hash("statement", writer.bytes(change.validator).finish());
}

/** The prepares that the signatures of a proof stand for. */
export function preparesOf(height: Height, claim: PreparedClaim, signatures: readonly CertificateSignature[]): Vote[] {
  return signatures.map(({ validator, signature }) => ({
    step: "prevote",
    height,
    round: claim.view,
    blockHash: claim.blockHash,
    validator,
    signature,
  }));
}

/** The wire form. */
export function encodeMessage(message: PbftMessage): Uint8Array {
  const tag = TAG[message.kind];
  const writer = new Writer().array(LENGTH[tag]).uint(tag);
  switch (message.kind) {
    case "vote":
      writeVote(writer, message.vote);
      return writer.finish();
    case "prePrepare":
      writeProposal(writer, message.proposal);
      return writer.bytes(encodeBlock(message.block)).finish();
    case "viewChange": {
      const { viewChange, proof } = message;
      writeViewChange(writer, viewChange);
      writeSignatures(writer, proof?.prepares ?? []);
      if (proof === undefined) writer.null();
      else writer.bytes(encodeBlock(proof.block));
      return writer.finish();
    }
    case "newView":
      writeProposal(writer, message.proposal);
      writer.array(message.viewChanges.length);
      for (const change of message.viewChanges) writeViewChange(writer, change);
      writeSignatures(writer, message.prepares);
      return writer.bytes(encodeBlock(message.block)).finish();
    default:
      return unreachable(message);
  }
}

/**
 * Parses a message from a peer, strictly. Neither signatures nor quorums are checked here (`rules.ts`).
 *
 * The body of a block is checked against its header here and not when the block is judged, because votes and
 * judgements go by the header's hash: a relay that put another body under an honest header could otherwise have an
 * honest pre-prepare judged invalid.
 *
 * @returns an `encoding_*` code, a code of `parseBlock`, `message_block` or `message_body`
 */
export function parseMessage(bytes: Uint8Array, known?: readonly (Transaction | undefined)[]): Result<PbftMessage, Coded> {
  const parts = readWith(bytes, readParts);
  if (!parts.ok) return parts;
  const { value } = parts;
  switch (value.kind) {
    case "vote":
      return ok(value);
    case "prePrepare": {
      const block = parseNamedBlock(value.blockBytes, value.proposal.blockHash, known);
      return block.ok ? ok({ kind: "prePrepare", proposal: value.proposal, block: block.value }) : block;
    }
    case "newView": {
      const { proposal, viewChanges, prepares, blockBytes } = value;
      const block = parseNamedBlock(blockBytes, proposal.blockHash, known);
      return block.ok ? ok({ kind: "newView", proposal, viewChanges, prepares, block: block.value }) : block;
    }
    case "viewChange": {
      const { viewChange, prepares, blockBytes } = value;
      if (blockBytes === undefined || viewChange.prepared === undefined)
        return ok({ kind: "viewChange", viewChange, proof: undefined });
      const block = parseNamedBlock(blockBytes, viewChange.prepared.blockHash, known);
      return block.ok ? ok({ kind: "viewChange", viewChange, proof: { prepares, block: block.value } }) : block;
    }
    default:
      return unreachable(value);
  }
}

/** Parses a block that must have this hash, and the body that its header commits to. */
export function parseNamedBlock(
  bytes: Uint8Array,
  blockHash: Hash,
  known?: readonly (Transaction | undefined)[],
): Result<Block, Coded> {
  const block = parseBlock(bytes, known);
  if (!block.ok) return block;
  if (!bytesEqual(block.value.hash, blockHash)) return fail({ code: "message_block" });
  return hasOwnBody(block.value) ? block : fail({ code: "message_body" });
}

/** A message before its block is parsed. */
type Parts =
  | VoteMessage
  | { readonly kind: "prePrepare"; readonly proposal: Proposal; readonly blockBytes: Uint8Array }
  | {
      readonly kind: "viewChange";
      readonly viewChange: ViewChange;
      readonly prepares: readonly CertificateSignature[];
      readonly blockBytes: Uint8Array | undefined;
    }
  | {
      readonly kind: "newView";
      readonly proposal: Proposal;
      readonly viewChanges: readonly ViewChange[];
      readonly prepares: readonly CertificateSignature[];
      readonly blockBytes: Uint8Array;
    };

function readParts(reader: Reader): Parts {
  const { offset } = reader.field("message");
  const length = reader.array(LENGTH[TAG.newView]);
  const tag = reader.field("tag").number(TAG.newView);
  if (length !== LENGTH[tag]) reader.refuse("encoding_limit", offset);
  switch (tag) {
    case TAG.vote:
      return { kind: "vote", vote: readVote(reader) };
    case TAG.prePrepare:
      return { kind: "prePrepare", proposal: readProposal(reader), blockBytes: readBlockBytes(reader) };
    case TAG.viewChange: {
      const viewChange = readViewChange(reader);
      const at = reader.offset;
      const prepares = readSignatures(reader);
      const blockBytes = reader.field("block").skipNull() ? undefined : readBlockBytes(reader);
      // A claim and its proof come together: anything else would be a second encoding of some message.
      const isProved = blockBytes !== undefined;
      if (isProved !== (viewChange.prepared !== undefined) || (!isProved && prepares.length > 0))
        reader.refuse("encoding_limit", at);
      return { kind: "viewChange", viewChange, prepares, blockBytes };
    }
    default: {
      const proposal = readProposal(reader);
      const count = reader.field("viewChanges").array(VALIDATORS_MAX);
      const viewChanges: ViewChange[] = [];
      for (let index = 0; index < count; index += 1) viewChanges.push(readViewChange(reader));
      const prepares = readSignatures(reader);
      return { kind: "newView", proposal, viewChanges, prepares, blockBytes: readBlockBytes(reader) };
    }
  }
}

function readBlockBytes(reader: Reader): Uint8Array {
  return reader.field("block").bytes(BLOCK_SIZE_BYTES_MAX);
}

function writeViewChange(writer: Writer, { height, view, prepared, validator, signature }: ViewChange): void {
  writer.array(6).uint(height).uint(view);
  writeClaim(writer, prepared);
  writer.bytes(validator).bytes(signature);
}

function writeClaim(writer: Writer, claim: PreparedClaim | undefined): void {
  writer.int(claim?.view ?? NO_VIEW);
  writeHashOrNull(writer, claim?.blockHash);
}

function readViewChange(reader: Reader): ViewChange {
  reader.field("viewChange").tuple(6);
  return {
    height: readHeight(reader, "height"),
    view: readRound(reader, "view"),
    prepared: readClaim(reader),
    validator: readAddress(reader, "validator"),
    signature: readSignature(reader, "signature"),
  };
}

function readClaim(reader: Reader): PreparedClaim | undefined {
  const { offset } = reader.field("preparedView");
  const view = reader.int();
  if (view < BigInt(NO_VIEW) || view > BigInt(ROUND_MAX)) reader.refuse("encoding_limit", offset);
  const blockHash = readHashOrNull(reader, "blockHash");
  if ((view === BigInt(NO_VIEW)) !== (blockHash === undefined)) reader.refuse("encoding_limit", offset);
  return blockHash === undefined ? undefined : { view: Number(view), blockHash };
}

/** Writes the signatures of a proof as one item. */
export function writeSignatures(writer: Writer, signatures: readonly CertificateSignature[]): void {
  writer.array(signatures.length);
  for (const { validator, signature } of signatures) writer.array(2).bytes(validator).bytes(signature);
}

/** Reads what `writeSignatures` wrote. */
export function readSignatures(reader: Reader): readonly CertificateSignature[] {
  const count = reader.field("prepares").array(VALIDATORS_MAX);
  const signatures: CertificateSignature[] = [];
  for (let index = 0; index < count; index += 1) {
    reader.field("prepare").tuple(2);
    signatures.push({ validator: readAddress(reader, "validator"), signature: readSignature(reader, "signature") });
  }
  return signatures;
}
