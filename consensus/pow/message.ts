/**
 * What nodes under proof of work tell each other, and its wire form.
 *
 * Canonical dag-cbor, headers and blocks as byte strings in their own encodings, seals as chain/block writes them:
 *
 * ```
 * announce   [0, header, seal] or [1, block, seal]       a new tip, whole where it is small
 * getHeaders [2, [[height, hash]...]]                    a locator: blocks that we have, newest first
 * headers    [3, [[header, seal]...]]                    what follows the newest of them that you have
 * getBlocks  [4, [[height, hash]...]]
 * blocks     [5, [block...]]
 * ```
 */

import { unreachable } from "../../crypto/base/assert.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import { type Coded, fail, ok, type Result } from "../../crypto/base/result.ts";
import { type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, hash } from "../../crypto/hash/hash.ts";
import {
  type Block,
  encodeBlock,
  encodeHeader,
  hasOwnBody,
  type Header,
  parseBlock,
  parseHeader,
} from "../../chain/block/block.ts";
import { readHash, readHeight } from "../../chain/block/fields.ts";
import type { Height } from "../../chain/block/height.ts";
import { BLOCK_SIZE_BYTES_MAX } from "../../chain/block/limits.ts";
import { readCertificate, type WorkCertificate, writeCertificate } from "../../chain/block/vote.ts";
import { meetsTarget, targetOf } from "../../chain/block/work.ts";
import { BLOCKS_PER_MESSAGE_MAX, HEADERS_PER_MESSAGE_MAX, LOCATOR_MAX } from "./limits.ts";

/** A header with the seal under it. What a parsed one says of itself agrees; nothing else of it is checked. */
export type SealedHeader = { readonly header: Header; readonly seal: WorkCertificate };

/** A place in the chain. */
export type Place = { readonly height: Height; readonly hash: Hash };

/** One message. */
export type PowMessage =
  /** `block`: the whole block of this header, where it is small. */
  | { readonly kind: "announce"; readonly sealed: SealedHeader; readonly block: Block | undefined }
  | { readonly kind: "getHeaders"; readonly locator: readonly Place[] }
  | { readonly kind: "headers"; readonly entries: readonly SealedHeader[] }
  | { readonly kind: "getBlocks"; readonly places: readonly Place[] }
  | { readonly kind: "blocks"; readonly blocks: readonly Block[] };

/**
 * Why bytes are not a message: an `encoding_*` code, a code of `parseBlock`, `seal_block` when a seal is not of the
 * header beside it, or `block_body` when a header does not commit to what stands beside it. Whoever sent them is at
 * fault: no honest peer relays such a thing.
 */
export type PowMessageError = Coded;

/** Several small blocks or one large one, with room for heads. */
export const POW_MESSAGE_SIZE_BYTES_MAX = BLOCK_SIZE_BYTES_MAX + 64 * 1024;

const TAG = { header: 0, block: 1, getHeaders: 2, headers: 3, getBlocks: 4, blocks: 5 } as const;
/** An encoded header: under 600 bytes with the longest chain id. */
const HEADER_SIZE_BYTES_MAX = 1024;

/** The wire form. */
export function encodePowMessage(message: PowMessage): Uint8Array {
  const writer = new Writer();
  switch (message.kind) {
    case "announce": {
      const { sealed, block } = message;
      if (block === undefined) writer.array(3).uint(TAG.header).bytes(encodeHeader(sealed.header));
      else writer.array(3).uint(TAG.block).bytes(encodeBlock(block));
      writeCertificate(writer, sealed.seal);
      return writer.finish();
    }
    case "getHeaders":
      writePlaces(writer.array(2).uint(TAG.getHeaders), message.locator);
      return writer.finish();
    case "headers":
      writer.array(2).uint(TAG.headers).array(message.entries.length);
      for (const entry of message.entries) writeSealed(writer, entry);
      return writer.finish();
    case "getBlocks":
      writePlaces(writer.array(2).uint(TAG.getBlocks), message.places);
      return writer.finish();
    case "blocks":
      writer.array(2).uint(TAG.blocks).array(message.blocks.length);
      for (const block of message.blocks) writer.bytes(encodeBlock(block));
      return writer.finish();
    default:
      return unreachable(message);
  }
}

/** Parses a message from a peer, strictly. Whether seals are of any worth is not checked here. */
export function parsePowMessage(bytes: Uint8Array): Result<PowMessage, PowMessageError> {
  if (bytes.length > POW_MESSAGE_SIZE_BYTES_MAX) return fail({ code: "encoding_limit" });
  const parts = readWith(bytes, readParts);
  if (!parts.ok) return parts;
  const { value } = parts;
  switch (value.kind) {
    case "getHeaders":
      return ok({ kind: "getHeaders", locator: value.places });
    case "getBlocks":
      return ok({ kind: "getBlocks", places: value.places });
    case "announceHeader": {
      const sealed = parseSealed(value);
      return sealed.ok ? ok({ kind: "announce", sealed: sealed.value, block: undefined }) : sealed;
    }
    case "announceBlock": {
      const block = parseWhole(value.blockBytes);
      if (!block.ok) return block;
      const sealed = { header: block.value.header, seal: value.seal };
      if (!isOf(value.seal, block.value.header, block.value.hash)) return fail({ code: "seal_block" });
      return ok({ kind: "announce", sealed, block: block.value });
    }
    case "headers": {
      const entries = parseEach(value.entries, parseSealed);
      return entries.ok ? ok({ kind: "headers", entries: entries.value }) : entries;
    }
    case "blocks": {
      const blocks = parseEach(value.blocks, parseWhole);
      return blocks.ok ? ok({ kind: "blocks", blocks: blocks.value }) : blocks;
    }
    default:
      return unreachable(value);
  }
}

/** How a driver reads and writes these messages. Nobody signs them: a seal is what they stand on. */
export const POW_CODEC = { encode: encodePowMessage, parse: parsePowMessage };

// What a driver asks of a message before an engine sees it.

/** Headers that a message carries, in its order. */
export function headersOf(message: PowMessage): readonly SealedHeader[] {
  switch (message.kind) {
    case "announce":
      return [message.sealed];
    case "headers":
      return message.entries;
    case "getHeaders":
    case "getBlocks":
    case "blocks":
      return [];
    default:
      return unreachable(message);
  }
}

/**
 * Whether every seal in a message meets the target that it names, and none names an easier one than the network has.
 * Says nothing of whether that is the target which its place asks for. Who sends a message that fails made it up.
 */
export function isWorked(message: PowMessage, targetMax: bigint): boolean {
  return headersOf(message).every(({ seal }) => {
    const target = targetOf(seal.bits);
    return target.ok && target.value <= targetMax && meetsTarget(seal.blockHash, seal, target.value);
  });
}

/**
 * What of a message is not from the future: headers up to the first whose time is after `timeMsMax`, or `undefined`
 * when nothing is left. A clock that is slow condemns no block: its header is asked for again.
 */
export function withinTime(message: PowMessage, timeMsMax: bigint): PowMessage | undefined {
  const early = headersOf(message).findIndex(({ header }) => header.timeMs > timeMsMax);
  if (early < 0) return message;
  if (message.kind !== "headers" || early === 0) return undefined;
  return { kind: "headers", entries: message.entries.slice(0, early) };
}

// What an engine is told of its own chain after a restart.

/** A committed block, or one so old that its header is enough: `[header or block, seal]` with which in front. */
export function encodePowRecord(seal: WorkCertificate, content: Header | Block): Uint8Array {
  const isBlock = "transactions" in content;
  const writer = new Writer().array(3).uint(isBlock ? TAG.block : TAG.header);
  writeCertificate(writer.bytes(isBlock ? encodeBlock(content) : encodeHeader(content)), seal);
  return writer.finish();
}

/** Reads what `encodePowRecord` made. */
export function parsePowRecord(
  bytes: Uint8Array,
): Result<{ readonly sealed: SealedHeader; readonly block: Block | undefined }, PowMessageError> {
  // A record says of a block what an announcement says, and is written alike.
  const parsed = parsePowMessage(bytes);
  if (!parsed.ok) return parsed;
  return parsed.value.kind === "announce" ? ok(parsed.value) : fail({ code: "encoding_type" });
}

// Parts.

type SealedParts = { readonly headerBytes: Uint8Array; readonly seal: WorkCertificate };

type Parts =
  | ({ readonly kind: "announceHeader" } & SealedParts)
  | { readonly kind: "announceBlock"; readonly blockBytes: Uint8Array; readonly seal: WorkCertificate }
  | { readonly kind: "getHeaders" | "getBlocks"; readonly places: readonly Place[] }
  | { readonly kind: "headers"; readonly entries: readonly SealedParts[] }
  | { readonly kind: "blocks"; readonly blocks: readonly Uint8Array[] };

function readParts(reader: Reader): Parts {
  const offset = reader.field("message").offset;
  const length = reader.array(3);
  const tag = reader.field("tag").number(TAG.blocks);
  if (length !== (tag <= TAG.block ? 3 : 2)) reader.refuse("encoding_limit", offset);
  switch (tag) {
    case TAG.header:
      return { kind: "announceHeader", ...readSealed(reader) };
    case TAG.block:
      return { kind: "announceBlock", blockBytes: reader.field("block").bytes(BLOCK_SIZE_BYTES_MAX), seal: readSeal(reader) };
    case TAG.getHeaders:
      return { kind: "getHeaders", places: readPlaces(reader, LOCATOR_MAX) };
    case TAG.headers:
      return {
        kind: "headers",
        entries: readList(reader, HEADERS_PER_MESSAGE_MAX, () => {
          reader.field("entry").tuple(2);
          return readSealed(reader);
        }),
      };
    case TAG.getBlocks:
      return { kind: "getBlocks", places: readPlaces(reader, BLOCKS_PER_MESSAGE_MAX) };
    default:
      return {
        kind: "blocks",
        blocks: readList(reader, BLOCKS_PER_MESSAGE_MAX, () => reader.field("block").bytes(BLOCK_SIZE_BYTES_MAX)),
      };
  }
}

function readList<T>(reader: Reader, countMax: number, readOne: () => T): readonly T[] {
  const count = reader.field("list").array(countMax);
  const items: T[] = [];
  for (let index = 0; index < count; index += 1) items.push(readOne());
  return items;
}

function readPlaces(reader: Reader, countMax: number): readonly Place[] {
  return readList(reader, countMax, () => {
    reader.field("place").tuple(2);
    return { height: readHeight(reader, "height"), hash: readHash(reader, "hash") };
  });
}

function writePlaces(writer: Writer, places: readonly Place[]): void {
  writer.array(places.length);
  for (const { height, hash: at } of places) writer.array(2).uint(height).bytes(at);
}

function writeSealed(writer: Writer, { header, seal }: SealedHeader): void {
  writeCertificate(writer.array(2).bytes(encodeHeader(header)), seal);
}

function readSealed(reader: Reader): SealedParts {
  return { headerBytes: reader.field("header").bytes(HEADER_SIZE_BYTES_MAX), seal: readSeal(reader) };
}

function readSeal(reader: Reader): WorkCertificate {
  const { offset } = reader;
  const certificate = readCertificate(reader);
  return certificate.kind === "work" ? certificate : reader.refuse("encoding_type", offset);
}

function parseSealed({ headerBytes, seal }: SealedParts): Result<SealedHeader, PowMessageError> {
  const header = parseHeader(headerBytes);
  if (!header.ok) return header;
  return isOf(seal, header.value, hash("header", headerBytes))
    ? ok({ header: header.value, seal })
    : fail({ code: "seal_block" });
}

function parseWhole(bytes: Uint8Array): Result<Block, PowMessageError> {
  const block = parseBlock(bytes);
  if (!block.ok) return block;
  return hasOwnBody(block.value) ? block : fail({ code: "block_body" });
}

function parseEach<T, U>(items: readonly T[], parse: (item: T) => Result<U, PowMessageError>): Result<U[], PowMessageError> {
  const values: U[] = [];
  for (const item of items) {
    const parsed = parse(item);
    if (!parsed.ok) return parsed;
    values.push(parsed.value);
  }
  return ok(values);
}

function isOf(seal: WorkCertificate, header: Header, headerHash: Hash): boolean {
  return seal.height === header.height && bytesEqual(seal.blockHash, headerHash);
}
