/**
 * Records as they are stored and proven: `[stream, partition, index, height, timeMs, data]`.
 *
 * The leaf of a partition tree is the log leaf hash of this encoding. It names its own place and moment, so that a
 * proof of a record says what was written where and when without anything beside it, and no record can be passed
 * off as another one with equal data.
 */

import { type DecodeError, readWith } from "../../crypto/codec/reader.ts";
import { type Result } from "../../crypto/base/result.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { readHeight, readName, readTimeMs } from "./fields.ts";
import type { Height } from "./height.ts";
import { NAME_SIZE_BYTES_MAX, PARTITION_MAX, RECORD_SIZE_BYTES_MAX } from "./limits.ts";

/** One record of a partition. */
export type StreamRecord = {
  readonly stream: string;
  readonly partition: number;
  /** Position in the partition, from 0 without gaps. */
  readonly index: bigint;
  /** The block that wrote it, and that block's time. */
  readonly height: Height;
  readonly timeMs: bigint;
  /** What the client appended, as it was. */
  readonly data: Uint8Array;
};

/** No encoded record is longer: the data, the name, and at most 48 bytes of heads and numbers. */
export const RECORD_ENCODING_SIZE_BYTES_MAX: number = RECORD_SIZE_BYTES_MAX + NAME_SIZE_BYTES_MAX + 48;

/** The one encoding of a record: what is stored, and hashed as the leaf of its partition's tree. */
export function encodeRecord(record: StreamRecord): Uint8Array {
  const writer = new Writer().array(6).text(record.stream).uint(record.partition).uint(record.index);
  return writer.uint(record.height).uint(record.timeMs).bytes(record.data).finish();
}

/** Parses what `encodeRecord` made. `data` is a view on `bytes`. */
export function parseRecord(bytes: Uint8Array): Result<StreamRecord, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("record").tuple(6);
    return {
      stream: readName(reader, "stream"),
      partition: reader.field("partition").number(PARTITION_MAX),
      index: reader.field("index").uint(),
      height: readHeight(reader, "height"),
      timeMs: readTimeMs(reader, "timeMs"),
      data: reader.field("data").bytes(RECORD_SIZE_BYTES_MAX),
    };
  });
}
