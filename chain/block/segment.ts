/**
 * Sealed segments as they are chained: `[stream, partition, number, firstIndex, count, sizeBytes, firstTimeMs, lastTimeMs,
 * root, previous]`.
 *
 * A partition is cut into segments, runs of records that are stored, fetched and dropped together. `root` is that of the
 * RFC 9162 tree over the segment's own records; `previous` is the hash of the entry before, zero for the first. A partition's
 * head in the state holds the hash of the last entry, so a state root covers every segment that was ever sealed, its
 * place and its times.
 */

import type { Result } from "../../crypto/base/result.ts";
import { type DecodeError, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, hash } from "../../crypto/hash/hash.ts";
import { readHash, readName, readTimeMs } from "./fields.ts";
import { PARTITION_MAX } from "./limits.ts";

/** A segment to which nothing will be added. */
export type SealedSegment = {
  readonly stream: string;
  readonly partition: number;
  /** From 0 without gaps. */
  readonly number: bigint;
  /** Its records are `firstIndex` up to `firstIndex + count`, of which there is at least one. */
  readonly firstIndex: bigint;
  readonly count: bigint;
  /** Of its encoded records together. */
  readonly sizeBytes: bigint;
  /** Block times of its first and its last record. */
  readonly firstTimeMs: bigint;
  readonly lastTimeMs: bigint;
  readonly root: Hash;
  readonly previous: Hash;
};

/** The one encoding of an entry. */
export function encodeSegment(segment: SealedSegment): Uint8Array {
  const writer = new Writer().array(10).text(segment.stream).uint(segment.partition).uint(segment.number);
  writer.uint(segment.firstIndex).uint(segment.count).uint(segment.sizeBytes);
  return writer.uint(segment.firstTimeMs).uint(segment.lastTimeMs).bytes(segment.root).bytes(segment.previous).finish();
}

/** Parses what `encodeSegment` made. */
export function parseSegment(bytes: Uint8Array): Result<SealedSegment, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("segment").tuple(10);
    const stream = readName(reader, "stream");
    const partition = reader.field("partition").number(PARTITION_MAX);
    const number = reader.field("number").uint();
    const firstIndex = reader.field("firstIndex").uint();
    const offset = reader.field("count").offset;
    const count = reader.uint();
    if (count === 0n) reader.refuse("encoding_limit", offset);
    const sizeBytes = reader.field("sizeBytes").uint();
    return {
      stream,
      partition,
      number,
      firstIndex,
      count,
      sizeBytes,
      firstTimeMs: readTimeMs(reader, "firstTimeMs"),
      lastTimeMs: readTimeMs(reader, "lastTimeMs"),
      root: readHash(reader, "root"),
      previous: readHash(reader, "previous"),
    };
  });
}

/** What the next entry, and the partition's head, name an encoded entry by. */
export function segmentHash(encoded: Uint8Array): Hash {
  return hash("segment", encoded);
}
