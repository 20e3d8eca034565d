/**
 * Snapshot files: one state with everything that proves it, in chunks.
 *
 * A file is frames `length(4) ‖ BLAKE3-256(payload) ‖ payload`, each payload one chunk, a canonical dag-cbor tuple that
 * begins with its kind. The hash finds a damaged copy at once; that the content is true is proven by the headers.
 *
 * ```
 *   [1, "pyralog-snapshot", version, chainId, networkHash, height]
 *   [2, [header...]]                                   from height 1 to height, none left out
 *   [3, [members...]]                                  every validator set that a header names
 *   [4, [[height, certificate]...]]                    of each header that names another set for the next height
 *   [5, block, certificate, [result...]]               of the height itself
 *   [6, [[key, value]...]]                             all rows of the state, in key order
 *   [7, stream, partition, firstIndex, [record...]]    all records, partition by partition
 *   [8, chunks]                                        how many there were: nothing was cut off
 * ```
 */

import { bytesEqual, concatBytes, readU32, u32 } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { blake3 } from "../../crypto/backend/blake3.ts";
import { type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, HASH_SIZE_BYTES, hashOf } from "../../crypto/hash/hash.ts";
import { readHeight, readName } from "../../chain/block/fields.ts";
import type { Height } from "../../chain/block/height.ts";
import { BLOCK_SIZE_BYTES_MAX, PARTITION_MAX } from "../../chain/block/limits.ts";
import type { SnapshotCode } from "./errors.ts";

const MAGIC = "pyralog-snapshot";
const VERSION = 1;

/** A writer begins a new chunk beyond this. */
export const CHUNK_SIZE_BYTES_GOAL = 1024 * 1024;
/** The largest chunk that is read: a block of the greatest size with a certificate and results. */
export const CHUNK_SIZE_BYTES_MAX: number = BLOCK_SIZE_BYTES_MAX + 16 * 1024 * 1024;
/** Before a payload: its length and its hash. */
export const FRAME_HEAD_SIZE_BYTES: number = 4 + HASH_SIZE_BYTES;

/** One piece of a snapshot. */
export type Chunk =
  | { readonly kind: "start"; readonly chainId: string; readonly networkHash: Hash; readonly height: Height }
  | { readonly kind: "headers"; readonly headers: readonly Uint8Array[] }
  | { readonly kind: "validators"; readonly sets: readonly Uint8Array[] }
  | {
      readonly kind: "certificates";
      readonly certificates: readonly { readonly height: Height; readonly certificate: Uint8Array }[];
    }
  | {
      readonly kind: "block";
      readonly block: Uint8Array;
      readonly certificate: Uint8Array;
      readonly results: readonly Uint8Array[];
    }
  | { readonly kind: "state"; readonly rows: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[] }
  | {
      readonly kind: "records";
      readonly stream: string;
      readonly partition: number;
      readonly firstIndex: bigint;
      readonly records: readonly Uint8Array[];
    }
  | { readonly kind: "end"; readonly chunks: number };

/** The kinds in the order of a file; `start`, `block` and `end` come once. */
export const CHUNK_KINDS: readonly Chunk["kind"][] = [
  "start",
  "headers",
  "validators",
  "certificates",
  "block",
  "state",
  "records",
  "end",
];

/** A chunk with its length and hash, as it stands in a file. */
export function encodeFrame(chunk: Chunk): Uint8Array {
  const payload = encodeChunk(chunk);
  return concatBytes(u32(payload.length), blake3(payload), payload);
}

/** The size of the payload that follows a frame's head. */
export function frameSizeBytes(head: Uint8Array): Result<number, { readonly code: "snapshot_malformed" }> {
  const size = readU32(head, 0);
  return size >= 1 && size <= CHUNK_SIZE_BYTES_MAX ? ok(size) : fail({ code: "snapshot_malformed" });
}

/** The chunk of a frame whose payload was read. Never throws on hostile bytes. Byte strings are views on `payload`. */
export function parseFrame(
  head: Uint8Array,
  payload: Uint8Array,
): Result<Chunk, { readonly code: SnapshotCode; readonly field?: string }> {
  if (!bytesEqual(blake3(payload), head.subarray(4, FRAME_HEAD_SIZE_BYTES))) return fail({ code: "snapshot_damaged" });
  return parseChunk(payload);
}

/** The one encoding of a chunk. */
export function encodeChunk(chunk: Chunk): Uint8Array {
  const writer = new Writer();
  const number = CHUNK_KINDS.indexOf(chunk.kind) + 1;
  switch (chunk.kind) {
    case "start":
      writer.array(6).uint(number).text(MAGIC).uint(VERSION).text(chunk.chainId).bytes(chunk.networkHash).uint(chunk.height);
      break;
    case "headers":
      writeList(writer.array(2).uint(number), chunk.headers);
      break;
    case "validators":
      writeList(writer.array(2).uint(number), chunk.sets);
      break;
    case "certificates":
      writer.array(2).uint(number).array(chunk.certificates.length);
      for (const { height, certificate } of chunk.certificates) writer.array(2).uint(height).bytes(certificate);
      break;
    case "block":
      writeList(writer.array(4).uint(number).bytes(chunk.block).bytes(chunk.certificate), chunk.results);
      break;
    case "state":
      writer.array(2).uint(number).array(chunk.rows.length);
      for (const { key, value } of chunk.rows) writer.array(2).bytes(key).bytes(value);
      break;
    case "records":
      writeList(writer.array(5).uint(number).text(chunk.stream).uint(chunk.partition).uint(chunk.firstIndex), chunk.records);
      break;
    case "end":
      writer.array(2).uint(number).uint(chunk.chunks);
      break;
  }
  return writer.finish();
}

/** Decodes a chunk strictly. Never throws on hostile bytes. */
export function parseChunk(bytes: Uint8Array): Result<Chunk, { readonly code: SnapshotCode; readonly field?: string }> {
  if (bytes.length > CHUNK_SIZE_BYTES_MAX) return fail({ code: "snapshot_malformed" });
  let isKnown = true;
  const parsed = readWith(bytes, (reader) => {
    const chunk = readChunk(reader, bytes.length);
    if (chunk === undefined) isKnown = false;
    return chunk ?? reader.refuse("encoding_limit");
  });
  if (!isKnown) return fail({ code: "snapshot_version" });
  if (parsed.ok) return parsed;
  return fail({ code: "snapshot_malformed", ...(parsed.error.field === undefined ? {} : { field: parsed.error.field }) });
}

/** How many items a chunk's tuple has, by kind. */
const LENGTHS = {
  start: 6,
  headers: 2,
  validators: 2,
  certificates: 2,
  block: 4,
  state: 2,
  records: 5,
  end: 2,
} as const satisfies Record<Chunk["kind"], number>;

/** `undefined` for a start of a later version. */
function readChunk(reader: Reader, sizeBytes: number): Chunk | undefined {
  const offset = reader.offset;
  const length = reader.array(6);
  const kind = CHUNK_KINDS[reader.field("kind").number(CHUNK_KINDS.length) - 1];
  if (kind === undefined || LENGTHS[kind] !== length) return reader.refuse("encoding_limit", offset);
  switch (kind) {
    case "start": {
      if (reader.field("magic").text(MAGIC.length) !== MAGIC) reader.refuse("encoding_type");
      if (reader.field("version").number() !== VERSION) return undefined;
      const chainId = reader.field("chainId").text(sizeBytes);
      const networkHash = hashOf(reader.field("networkHash").fixed(HASH_SIZE_BYTES));
      return { kind, chainId, networkHash, height: readHeight(reader, "height") };
    }
    case "headers":
      return { kind, headers: readList(reader.field("headers"), sizeBytes) };
    case "validators":
      return { kind, sets: readList(reader.field("sets"), sizeBytes) };
    case "certificates": {
      const count = reader.field("certificates").array(sizeBytes);
      const certificates: { height: Height; certificate: Uint8Array }[] = [];
      for (let index = 0; index < count; index += 1) {
        reader.tuple(2);
        certificates.push({ height: readHeight(reader, "height"), certificate: reader.field("certificate").bytes(sizeBytes) });
      }
      return { kind, certificates };
    }
    case "block": {
      const block = reader.field("block").bytes(sizeBytes);
      const certificate = reader.field("certificate").bytes(sizeBytes);
      return { kind, block, certificate, results: readList(reader.field("results"), sizeBytes) };
    }
    case "state": {
      const count = reader.field("rows").array(sizeBytes);
      const rows: { key: Uint8Array; value: Uint8Array }[] = [];
      for (let index = 0; index < count; index += 1) {
        reader.tuple(2);
        rows.push({ key: reader.field("key").bytes(sizeBytes), value: reader.field("value").bytes(sizeBytes) });
      }
      return { kind, rows };
    }
    case "records": {
      const stream = readName(reader, "stream");
      const partition = reader.field("partition").number(PARTITION_MAX);
      const firstIndex = reader.field("firstIndex").uint();
      return { kind, stream, partition, firstIndex, records: readList(reader.field("records"), sizeBytes) };
    }
    case "end":
      return { kind, chunks: reader.field("chunks").number() };
  }
}

function writeList(writer: Writer, items: readonly Uint8Array[]): void {
  writer.array(items.length);
  for (const item of items) writer.bytes(item);
}

function readList(reader: Reader, sizeBytes: number): Uint8Array[] {
  const count = reader.array(sizeBytes);
  const items: Uint8Array[] = [];
  for (let index = 0; index < count; index += 1) items.push(reader.bytes(sizeBytes));
  return items;
}
