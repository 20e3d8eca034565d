/**
 * Streams and the heads of their partitions, as rows of the state.
 *
 * ```
 * stream     [owner, partitions, isOpen, segmentSizeBytes, segmentAgeMs, retentionMs | null, compactionMs | null]
 * partition  [owner, frontier, [sizeBytes, firstTimeMs, lastTimeMs, frontier], [count, hash]]
 *                    all records        the open segment                      the sealed ones, and the last of their chain
 * ```
 *
 * Both trees grow by their frontiers alone: an append costs about three hashes a record, however long the partition is.
 * One tree over all records is what proofs of records and of growth are made against; the tree of a segment is what
 * a segment that was moved away is checked against.
 */

import { assert } from "../../crypto/base/assert.ts";
import type { Result } from "../../crypto/base/result.ts";
import { type DecodeError, type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, ZERO_HASH } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { readAddress, readHash, readHeight, readTimeMs } from "../block/fields.ts";
import type { Height } from "../block/height.ts";
import { PARTITION_MAX, SEGMENT_AGE_MS_DEFAULT, SEGMENT_SIZE_BYTES_DEFAULT, TIME_MS_MAX } from "../block/limits.ts";
import { encodeSegment, segmentHash } from "../block/segment.ts";
import {
  appendLeaf,
  EMPTY_FRONTIER,
  type Frontier,
  frontierRoot,
  LOG_HASHER,
  readFrontier,
  writeFrontier,
} from "../merkle/log.ts";

/** When a segment is full: at so many bytes, or once its first record is so old. */
export type SegmentRules = { readonly segmentSizeBytes: number; readonly segmentAgeMs: bigint };

/** How long what is stored of records is kept, by block time. Commitments are kept for ever. */
export type KeepRules = {
  /** Every record goes so long after its block; absent: never. */
  readonly retentionMs: bigint | undefined;
  /** A record goes so long after another of its key came, a tombstone so long after itself; absent: never. */
  readonly compactionMs: bigint | undefined;
};

/** A stream that was declared, with what its partitions go by. */
export type StreamRow = SegmentRules &
  KeepRules & {
    readonly owner: Address;
    /** Numbered from 0. Never changes: clients route by it. */
    readonly partitions: number;
    /** Whether anybody may append, or the owner alone. */
    readonly isOpen: boolean;
  };

/** Of streams that nobody declared. */
export const SEGMENT_RULES_DEFAULT: SegmentRules = {
  segmentSizeBytes: SEGMENT_SIZE_BYTES_DEFAULT,
  segmentAgeMs: BigInt(SEGMENT_AGE_MS_DEFAULT),
};

/** The segment that appends go to. Its records are the last `frontier.size` of the partition. */
export type OpenSegment = {
  readonly sizeBytes: bigint;
  readonly firstTimeMs: bigint;
  readonly lastTimeMs: bigint;
  readonly frontier: Frontier;
};

/** The head of a partition: who may append, the tree of its records, and its segments. */
export type PartitionHead = {
  readonly owner: Address;
  readonly frontier: Frontier;
  readonly open: OpenSegment;
  /** How many segments are sealed, and the hash of the last one's entry (zero when there is none). */
  readonly sealed: { readonly count: bigint; readonly hash: Hash };
};

const OPEN_EMPTY: OpenSegment = { sizeBytes: 0n, firstTimeMs: 0n, lastTimeMs: 0n, frontier: EMPTY_FRONTIER };

/** A partition that `owner` is about to make. */
export function emptyPartition(owner: Address): PartitionHead {
  return { owner, frontier: EMPTY_FRONTIER, open: OPEN_EMPTY, sealed: { count: 0n, hash: ZERO_HASH } };
}

/**
 * The head after these encoded records of one block, and the entries of the segments that were sealed on the way.
 *
 * A segment is sealed by the record that has no place in it, so an open segment is never empty but in an empty partition,
 * and nothing has to look at partitions to which nobody appends.
 */
export function appendRecords(
  head: PartitionHead,
  append: {
    readonly stream: string;
    readonly partition: number;
    readonly records: readonly Uint8Array[];
    readonly timeMs: bigint;
  } & SegmentRules,
): { readonly head: PartitionHead; readonly sealed: readonly Uint8Array[] } {
  const { timeMs } = append;
  assert(timeMs >= head.open.lastTimeMs && timeMs <= TIME_MS_MAX, "append at {} after {}", timeMs, head.open.lastTimeMs);
  let { frontier, open, sealed } = head;
  const entries: Uint8Array[] = [];
  for (const record of append.records) {
    const sizeBytes = BigInt(record.length);
    if (isFull(open, sizeBytes, append)) {
      const entry = sealedEntry({ frontier, open, sealed }, append);
      entries.push(entry);
      sealed = { count: sealed.count + 1n, hash: segmentHash(entry) };
      open = OPEN_EMPTY;
    }
    const leaf = LOG_HASHER.leaf(record);
    frontier = appendLeaf(LOG_HASHER, frontier, leaf);
    open = {
      sizeBytes: open.sizeBytes + sizeBytes,
      firstTimeMs: open.frontier.size === 0n ? timeMs : open.firstTimeMs,
      lastTimeMs: timeMs,
      frontier: appendLeaf(LOG_HASHER, open.frontier, leaf),
    };
  }
  return { head: { owner: head.owner, frontier, open, sealed }, sealed: entries };
}

function isFull(open: OpenSegment, sizeBytes: bigint, rules: SegmentRules & { readonly timeMs: bigint }): boolean {
  if (open.frontier.size === 0n) return false;
  return open.sizeBytes + sizeBytes > BigInt(rules.segmentSizeBytes) || rules.timeMs - open.firstTimeMs >= rules.segmentAgeMs;
}

function sealedEntry(
  { frontier, open, sealed }: Omit<PartitionHead, "owner">,
  { stream, partition }: { readonly stream: string; readonly partition: number },
): Uint8Array {
  const { sizeBytes, firstTimeMs, lastTimeMs } = open;
  const count = open.frontier.size;
  const root = frontierRoot(LOG_HASHER, open.frontier);
  const place = { stream, partition, number: sealed.count, firstIndex: frontier.size - count, count };
  return encodeSegment({ ...place, sizeBytes, firstTimeMs, lastTimeMs, root, previous: sealed.hash });
}

/** The one encoding of a partition head. */
export function encodePartitionHead({ owner, frontier, open, sealed }: PartitionHead): Uint8Array {
  const writer = new Writer().array(4).bytes(owner);
  writeFrontier(writer, frontier);
  writeFrontier(writer.array(4).uint(open.sizeBytes).uint(open.firstTimeMs).uint(open.lastTimeMs), open.frontier);
  return writer.array(2).uint(sealed.count).bytes(sealed.hash).finish();
}

/** Parses what `encodePartitionHead` made. */
export function parsePartitionHead(bytes: Uint8Array): Result<PartitionHead, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("partition").tuple(4);
    const owner = readAddress(reader, "owner");
    const frontier = readFrontier(reader.field("frontier"));
    const offset = reader.field("open").offset;
    reader.tuple(4);
    const open = {
      sizeBytes: reader.field("open.sizeBytes").uint(),
      firstTimeMs: readTimeMs(reader, "open.firstTimeMs"),
      lastTimeMs: readTimeMs(reader, "open.lastTimeMs"),
      frontier: readFrontier(reader.field("open.frontier")),
    };
    if (open.frontier.size > frontier.size) reader.refuse("encoding_limit", offset);
    reader.field("sealed").tuple(2);
    return {
      owner,
      frontier,
      open,
      sealed: { count: reader.field("sealed.count").uint(), hash: readHash(reader, "sealed.hash") },
    };
  });
}

/** The one encoding of a stream's row. */
export function encodeStream(stream: StreamRow): Uint8Array {
  const writer = new Writer().array(7).bytes(stream.owner).uint(stream.partitions).bool(stream.isOpen);
  writer.uint(stream.segmentSizeBytes).uint(stream.segmentAgeMs);
  for (const span of [stream.retentionMs, stream.compactionMs]) {
    if (span === undefined) writer.null();
    else writer.uint(span);
  }
  return writer.finish();
}

/** Parses what `encodeStream` made. */
export function parseStream(bytes: Uint8Array): Result<StreamRow, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("stream").tuple(7);
    return {
      owner: readAddress(reader, "owner"),
      partitions: reader.field("partitions").number(PARTITION_MAX + 1),
      isOpen: reader.field("isOpen").bool(),
      segmentSizeBytes: reader.field("segmentSizeBytes").number(),
      segmentAgeMs: reader.field("segmentAgeMs").uint(),
      retentionMs: readSpan(reader, "retentionMs"),
      compactionMs: readSpan(reader, "compactionMs"),
    };
  });
}

/** Who had a record erased, and with which block. */
export type Erased = { readonly height: Height; readonly by: Address };

/** The one encoding of the row of an erased record. */
export function encodeErased({ height, by }: Erased): Uint8Array {
  return new Writer().array(2).uint(height).bytes(by).finish();
}

/** Parses what `encodeErased` made. */
export function parseErased(bytes: Uint8Array): Result<Erased, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("erased").tuple(2);
    return { height: readHeight(reader, "height"), by: readAddress(reader, "by") };
  });
}

function readSpan(reader: Reader, field: string): bigint | undefined {
  return reader.field(field).skipNull() ? undefined : reader.uint();
}
