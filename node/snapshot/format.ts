/**
 * Snapshots: one state of a network with everything that proves it, in chunks named by the BLAKE3-256 of their bytes.
 *
 * ```
 *   index    which chunks there are          its BLAKE3 names the snapshot
 *     page     entries of chunks, in order     named by the index
 *       chunk    the data                        named by its entry
 * ```
 *
 * All are canonical dag-cbor, and all honest nodes make the same bytes of one height: what is in a chunk is a function of
 * the chain alone. So a chunk that one node has is as good as another's.
 *
 * ```
 *   index     ["pyralog-snapshot", version, chainId, networkHash, height, chunks, sizeBytes, [page hash...]]
 *   page      [entry...]
 *   entry     [1, hash, sizeBytes]                                      changes of the validator set
 *             [2, hash, sizeBytes]                                      the block of the height
 *             [3, hash, sizeBytes, count, [hash...]]                    headers from where the last ended; their span
 *             [4, hash, sizeBytes, from]                                all rows from this key to where the next begins
 *             [5, hash, sizeBytes, stream, partition, count, [hash...]] records from where the last ended; their span
 *   chunk     [1, [[header, certificate, validators]...]]               oldest first
 *             [2, block, certificate, [result...]]
 *             [3, [header...]]
 *             [4, proof]                                                chain/state/proof.ts, of a complete range
 *             [5, [record...]]
 * ```
 *
 * Entries are in the order of their kinds; there is one block. That a chunk has the bytes its name says is not why it
 * is believed: see `verify.ts`.
 */

import { EMPTY } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { blake3 } from "../../crypto/backend/blake3.ts";
import { type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, HASH_SIZE_BYTES, hashOf } from "../../crypto/hash/hash.ts";
import { readHeight, readName } from "../../chain/block/fields.ts";
import { GENESIS_HEIGHT, type Height } from "../../chain/block/height.ts";
import { BLOCK_SIZE_BYTES_MAX, PARTITION_MAX } from "../../chain/block/limits.ts";
import { SPAN_LENGTH_MAX } from "../../chain/merkle/span.ts";
import { KEY_SIZE_BYTES_MAX } from "../../chain/state/bits.ts";
import type { SetChange } from "../light/verifier.ts";
import type { SnapshotCode } from "./errors.ts";

const MAGIC = "pyralog-snapshot";
const VERSION = 2;

/**
 * A writer begins a new chunk beyond this. Small, so that a slow line shows progress and loses little when it breaks; each
 * chunk costs 100 to 700 bytes of its page. Part of the format: with another goal nodes would cut the same state otherwise.
 */
export const CHUNK_SIZE_BYTES_GOAL = 256 * 1024;
/** The largest chunk that is read: a block of the greatest size with a certificate and results. */
export const CHUNK_SIZE_BYTES_MAX: number = BLOCK_SIZE_BYTES_MAX + 16 * 1024 * 1024;
/** Entries of one page, but the last. Part of the format. */
export const PAGE_ENTRIES = 512;
/** No page is larger: 512 entries of records with spans of the greatest length are 2.3 MB. */
export const PAGE_SIZE_BYTES_MAX: number = 3 * 1024 * 1024;
/** Pages of one snapshot: 524,288 chunks, so about 128 GB. What is beyond is not made, and refused. */
export const PAGES_MAX = 1024;
/**
 * All pages of one snapshot together, each counted as often as the index names it: 256 bytes for each of the most chunks that
 * there may be. Whoever joins or restores has all entries in memory before the first of them is proven.
 */
export const PAGES_SIZE_BYTES_MAX: number = 128 * 1024 * 1024;
/** No index is larger. */
export const INDEX_SIZE_BYTES_MAX: number = 64 * 1024;

/** What one chunk is; `hash` is that of its bytes. */
export type Entry = { readonly hash: Hash; readonly sizeBytes: number } & EntryPlace;

/** What is in a chunk, and where it belongs. */
export type EntryPlace =
  | { readonly kind: "changes" }
  | { readonly kind: "block" }
  | { readonly kind: "headers"; readonly count: number; readonly span: readonly Hash[] }
  /** An empty `from` is the beginning. */
  | { readonly kind: "state"; readonly from: Uint8Array }
  | {
      readonly kind: "records";
      readonly stream: string;
      readonly partition: number;
      readonly count: number;
      readonly span: readonly Hash[];
    };

/** What names a snapshot's chunks. */
export type Index = {
  readonly chainId: string;
  readonly networkHash: Hash;
  readonly height: Height;
  /** Chunks that the pages name. */
  readonly chunks: number;
  /** Bytes of these chunks. */
  readonly sizeBytes: bigint;
  readonly pages: readonly Hash[];
};

/** The data of a chunk. */
export type Chunk =
  | { readonly kind: "changes"; readonly changes: readonly SetChange[] }
  | {
      readonly kind: "block";
      readonly block: Uint8Array;
      readonly certificate: Uint8Array;
      readonly results: readonly Uint8Array[];
    }
  | { readonly kind: "headers"; readonly headers: readonly Uint8Array[] }
  | { readonly kind: "state"; readonly proof: Uint8Array }
  | { readonly kind: "records"; readonly records: readonly Uint8Array[] };

/** The kinds in their order. */
export const CHUNK_KINDS: readonly Chunk["kind"][] = ["changes", "block", "headers", "state", "records"];

type Refusal = { readonly code: SnapshotCode; readonly field?: string };

/** What bytes are named by. Untagged BLAKE3, so that any tool (`b3sum`) can check a directory of chunks. */
export function addressOf(bytes: Uint8Array): Hash {
  return hashOf(blake3(bytes));
}

/** The one encoding of an index. */
export function encodeIndex(index: Index): Uint8Array {
  const writer = new Writer().array(8).text(MAGIC).uint(VERSION).text(index.chainId).bytes(index.networkHash);
  writer.uint(index.height).uint(index.chunks).uint(index.sizeBytes);
  writeList(writer, index.pages);
  return writer.finish();
}

/** Decodes an index strictly. Never throws on hostile bytes. */
export function parseIndex(bytes: Uint8Array): Result<Index, Refusal> {
  if (bytes.length > INDEX_SIZE_BYTES_MAX) return fail({ code: "snapshot_malformed" });
  let isKnown = true;
  const parsed = readWith(bytes, (reader): Index => {
    const offset = reader.offset;
    const length = reader.array(64);
    if (reader.field("magic").text(MAGIC.length) !== MAGIC) reader.refuse("encoding_type");
    isKnown = reader.field("version").number() === VERSION;
    if (!isKnown || length !== 8) reader.refuse("encoding_limit", offset);
    const chainId = reader.field("chainId").text(bytes.length);
    const networkHash = hashOf(reader.field("networkHash").fixed(HASH_SIZE_BYTES));
    const height = readHeight(reader, "height");
    if (height === GENESIS_HEIGHT) reader.refuse("encoding_limit");
    const chunks = reader.field("chunks").number(PAGES_MAX * PAGE_ENTRIES);
    const sizeBytes = reader.field("sizeBytes").uint();
    const count = reader.field("pages").array(PAGES_MAX);
    if (count !== Math.ceil(chunks / PAGE_ENTRIES)) reader.refuse("encoding_limit");
    const pages = Array.from({ length: count }, () => hashOf(reader.fixed(HASH_SIZE_BYTES)));
    return { chainId, networkHash, height, chunks, sizeBytes, pages };
  });
  if (!isKnown) return fail({ code: "snapshot_version" });
  return parsed.ok ? parsed : fail(malformed(parsed.error));
}

/** The one encoding of a page. */
export function encodePage(entries: readonly Entry[]): Uint8Array {
  const writer = new Writer().array(entries.length);
  for (const entry of entries) writeEntry(writer, entry);
  return writer.finish();
}

/** Decodes a page strictly; whether its entries make sense together is `verify.ts`'s matter. Never throws on hostile bytes. */
export function parsePage(bytes: Uint8Array): Result<readonly Entry[], Refusal> {
  if (bytes.length > PAGE_SIZE_BYTES_MAX) return fail({ code: "snapshot_malformed" });
  const parsed = readWith(bytes, (reader) => {
    const count = reader.field("entries").array(PAGE_ENTRIES);
    return Array.from({ length: count }, () => readEntry(reader));
  });
  return parsed.ok ? parsed : fail(malformed(parsed.error));
}

/** The one encoding of a chunk. */
export function encodeChunk(chunk: Chunk): Uint8Array {
  const writer = new Writer();
  const number = CHUNK_KINDS.indexOf(chunk.kind) + 1;
  switch (chunk.kind) {
    case "changes":
      writer.array(2).uint(number).array(chunk.changes.length);
      for (const { anchor, validators } of chunk.changes)
        writer.array(3).bytes(anchor.header).bytes(anchor.certificate).bytes(validators);
      break;
    case "block":
      writeList(writer.array(4).uint(number).bytes(chunk.block).bytes(chunk.certificate), chunk.results);
      break;
    case "headers":
      writeList(writer.array(2).uint(number), chunk.headers);
      break;
    case "state":
      writer.array(2).uint(number).bytes(chunk.proof);
      break;
    case "records":
      writeList(writer.array(2).uint(number), chunk.records);
      break;
  }
  return writer.finish();
}

/** Decodes a chunk strictly. Never throws on hostile bytes. Byte strings are views on `bytes`. */
export function parseChunk(bytes: Uint8Array): Result<Chunk, Refusal> {
  if (bytes.length > CHUNK_SIZE_BYTES_MAX) return fail({ code: "snapshot_malformed" });
  const parsed = readWith(bytes, (reader) => readChunk(reader, bytes.length));
  return parsed.ok ? ok(parsed.value) : fail(malformed(parsed.error));
}

/** How many items a chunk's tuple has, by kind. */
const CHUNK_LENGTHS = { changes: 2, block: 4, headers: 2, state: 2, records: 2 } as const satisfies Record<Chunk["kind"], number>;
/** As many of an entry's. */
const ENTRY_LENGTHS = { changes: 3, block: 3, headers: 5, state: 4, records: 7 } as const satisfies Record<Chunk["kind"], number>;

function readKind(reader: Reader, lengths: Readonly<Record<Chunk["kind"], number>>): Chunk["kind"] {
  const offset = reader.offset;
  const length = reader.array(8);
  const kind = CHUNK_KINDS[reader.field("kind").number(CHUNK_KINDS.length) - 1];
  if (kind === undefined || lengths[kind] !== length) return reader.refuse("encoding_limit", offset);
  return kind;
}

function readChunk(reader: Reader, sizeBytes: number): Chunk {
  const kind = readKind(reader, CHUNK_LENGTHS);
  switch (kind) {
    case "changes": {
      const count = reader.field("changes").array(sizeBytes);
      const changes: SetChange[] = [];
      for (let index = 0; index < count; index += 1) {
        reader.tuple(3);
        const header = reader.field("header").bytes(sizeBytes);
        const certificate = reader.field("certificate").bytes(sizeBytes);
        changes.push({ anchor: { header, certificate }, validators: reader.field("validators").bytes(sizeBytes) });
      }
      return { kind, changes };
    }
    case "block": {
      const block = reader.field("block").bytes(sizeBytes);
      const certificate = reader.field("certificate").bytes(sizeBytes);
      return { kind, block, certificate, results: readList(reader.field("results"), sizeBytes) };
    }
    case "headers":
      return { kind, headers: readList(reader.field("headers"), sizeBytes) };
    case "state":
      return { kind, proof: reader.field("proof").bytes(sizeBytes) };
    case "records":
      return { kind, records: readList(reader.field("records"), sizeBytes) };
  }
}

function writeEntry(writer: Writer, entry: Entry): void {
  const { kind, hash, sizeBytes } = entry;
  writer
    .array(ENTRY_LENGTHS[kind])
    .uint(CHUNK_KINDS.indexOf(kind) + 1)
    .bytes(hash)
    .uint(sizeBytes);
  switch (entry.kind) {
    case "changes":
    case "block":
      return;
    case "headers":
      return writeList(writer.uint(entry.count), entry.span);
    case "state":
      return void writer.bytes(entry.from);
    case "records":
      return writeList(writer.text(entry.stream).uint(entry.partition).uint(entry.count), entry.span);
  }
}

function readEntry(reader: Reader): Entry {
  const kind = readKind(reader, ENTRY_LENGTHS);
  const hash = hashOf(reader.field("hash").fixed(HASH_SIZE_BYTES).slice());
  const sizeBytes = reader.field("sizeBytes").number(CHUNK_SIZE_BYTES_MAX);
  if (sizeBytes === 0) reader.refuse("encoding_limit");
  switch (kind) {
    case "changes":
    case "block":
      return { kind, hash, sizeBytes };
    case "headers":
      return { kind, hash, sizeBytes, ...readSpan(reader) };
    case "state": {
      // A bound, like a key, may be one byte longer: the least key after the longest.
      const from = reader.field("from").bytes(KEY_SIZE_BYTES_MAX + 1);
      return { kind, hash, sizeBytes, from: from.length === 0 ? EMPTY : from.slice() };
    }
    case "records": {
      const stream = readName(reader, "stream");
      const partition = reader.field("partition").number(PARTITION_MAX);
      return { kind, hash, sizeBytes, stream, partition, ...readSpan(reader) };
    }
  }
}

function readSpan(reader: Reader): { readonly count: number; readonly span: readonly Hash[] } {
  const count = reader.field("count").number(CHUNK_SIZE_BYTES_MAX);
  if (count === 0) reader.refuse("encoding_limit");
  const length = reader.field("span").array(SPAN_LENGTH_MAX);
  return { count, span: Array.from({ length }, () => hashOf(reader.fixed(HASH_SIZE_BYTES).slice())) };
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

function malformed({ field }: { readonly field?: string | undefined }): Refusal {
  return { code: "snapshot_malformed", ...(field === undefined ? {} : { field }) };
}
