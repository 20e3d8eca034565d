/**
 * Records as they are stored and proven: `[stream, partition, index, height, timeMs, key | null, value | null, [[name, value]...]]`.
 *
 * The leaf of a partition tree is the log leaf hash of this encoding. It names its own place and moment, so that a
 * proof of a record says what was written where and when without anything beside it, and no record can be passed
 * off as another one with equal data.
 *
 * A record that was dropped (its time was up, another of its key came, or its value was erased) is stored and served as its
 * commitment: a zero byte and the leaf hash. No record begins with a zero byte.
 */

import { concatBytes } from "../../crypto/base/bytes.ts";
import { type DecodeError, type Reader, readWith } from "../../crypto/codec/reader.ts";
import { type Result } from "../../crypto/base/result.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, HASH_SIZE_BYTES, hashOf } from "../../crypto/hash/hash.ts";
import { LOG_HASHER } from "../merkle/log.ts";
import { readHeight, readName, readTimeMs } from "./fields.ts";
import type { Height } from "./height.ts";
import {
  NAME_SIZE_BYTES_MAX,
  PARTITION_MAX,
  RECORD_HEADER_SIZE_BYTES_MAX,
  RECORD_HEADERS_MAX,
  RECORD_KEY_SIZE_BYTES_MAX,
  RECORD_SIZE_BYTES_MAX,
} from "./limits.ts";

/** Something said beside a record's value. */
export type RecordHeader = { readonly name: string; readonly value: Uint8Array };

/** What a client appends. */
export type RecordBody = {
  /** What the record is about: routing and compaction go by it. */
  readonly key: Uint8Array | undefined;
  /** Absent: a tombstone, which says that there is nothing of this key any more. */
  readonly value: Uint8Array | undefined;
  /** In the order given; a name may stand several times. */
  readonly headers: readonly RecordHeader[];
};

/** One record of a partition. */
export type StreamRecord = {
  readonly stream: string;
  readonly partition: number;
  /** Position in the partition, from 0 without gaps. */
  readonly index: bigint;
  /** The block that wrote it, and that block's time. */
  readonly height: Height;
  readonly timeMs: bigint;
  readonly key?: Uint8Array | undefined;
  /** What the client appended, as it was; empty for a tombstone. */
  readonly data: Uint8Array;
  readonly isTombstone?: boolean | undefined;
  readonly headers?: readonly RecordHeader[] | undefined;
  /** Set when nothing is left of the record but this commitment; height, time, key and data are not known then. */
  readonly dropped?: Hash | undefined;
};

/** No encoded record is longer: key, value and headers, the name, and the heads and numbers. */
export const RECORD_ENCODING_SIZE_BYTES_MAX: number = RECORD_SIZE_BYTES_MAX + NAME_SIZE_BYTES_MAX + 64 + 8 * RECORD_HEADERS_MAX;

/** The bytes of a record that its bound counts. */
export function recordSizeBytes({ key, value, headers }: RecordBody): number {
  const sizes = headers.map((header) => header.name.length + header.value.length);
  return sizes.reduce((total, size) => total + size, (key?.length ?? 0) + (value?.length ?? 0));
}

/** The one encoding of a record: what is stored, and hashed as the leaf of its partition's tree. */
export function encodeRecord(record: StreamRecord): Uint8Array {
  const writer = new Writer().array(8).text(record.stream).uint(record.partition).uint(record.index);
  writer.uint(record.height).uint(record.timeMs);
  const { key, headers = [], isTombstone = false } = record;
  writeRecordBody(writer, { key, value: isTombstone ? undefined : record.data, headers });
  return writer.finish();
}

/** Parses what `encodeRecord` made. Byte strings are views on `bytes`. */
export function parseRecord(bytes: Uint8Array): Result<StreamRecord, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("record").tuple(8);
    const place = {
      stream: readName(reader, "stream"),
      partition: reader.field("partition").number(PARTITION_MAX),
      index: reader.field("index").uint(),
      height: readHeight(reader, "height"),
      timeMs: readTimeMs(reader, "timeMs"),
    };
    const { key, value, headers } = readRecordBody(reader);
    return { ...place, key, data: value ?? new Uint8Array(0), isTombstone: value === undefined, headers };
  });
}

/** Writes the three items of a body, which the caller has announced. */
export function writeRecordBody(writer: Writer, { key, value, headers }: RecordBody): void {
  for (const bytes of [key, value]) {
    if (bytes === undefined) writer.null();
    else writer.bytes(bytes);
  }
  writer.array(headers.length);
  for (const header of headers) writer.array(2).text(header.name).bytes(header.value);
}

/** Reads what `writeRecordBody` wrote. */
export function readRecordBody(reader: Reader): RecordBody {
  const key = reader.field("key").skipNull() ? undefined : reader.bytes(RECORD_KEY_SIZE_BYTES_MAX);
  const value = reader.field("data").skipNull() ? undefined : reader.bytes(RECORD_SIZE_BYTES_MAX);
  const count = reader.field("headers").array(RECORD_HEADERS_MAX);
  const headers: RecordHeader[] = [];
  for (let index = 0; index < count; index += 1) {
    reader.field("headers").tuple(2);
    headers.push({ name: readName(reader, "headers.name"), value: reader.bytes(RECORD_HEADER_SIZE_BYTES_MAX) });
  }
  return { key, value, headers };
}

// Dropped records.

const DROPPED_BYTE = 0;

/** What is stored in the place of a record that was dropped. */
export function droppedRecord(leafHash: Hash): Uint8Array {
  return concatBytes(Uint8Array.of(DROPPED_BYTE), leafHash);
}

/** Whether what is stored is the commitment of a record that was dropped. */
export function isDropped(stored: Uint8Array): boolean {
  return stored.length === 1 + HASH_SIZE_BYTES && stored[0] === DROPPED_BYTE;
}

/** The leaf of what is stored, be it a record or its commitment. */
export function storedLeaf(stored: Uint8Array): Hash {
  return isDropped(stored) ? hashOf(stored.subarray(1)) : LOG_HASHER.leaf(stored);
}
