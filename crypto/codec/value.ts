/**
 * Free-form dag-cbor values, for what people put into rows and records. Types of our own have schemas and use
 * `Writer` and `Reader` directly.
 *
 * JavaScript has one number type and dag-cbor has two. Integers read as `number` while that is exact and as
 * `bigint` beyond; a float that happens to be whole reads as `Float`, so that writing it again gives the same bytes.
 */

import { CID } from "multiformats/cid";
import { assert } from "../base/assert.ts";
import { compareBytes, concatBytes, utf8 } from "../base/bytes.ts";
import type { Result } from "../base/result.ts";
import { type DecodeError, DEPTH_MAX, readWith, type Reader } from "./reader.ts";
import { MAJOR, Writer } from "./writer.ts";

/** A float whose value is whole, kept apart from the integer of the same value. */
export class Float {
  readonly value: number;
  constructor(value: number) {
    assert(Number.isFinite(value), "not a finite float: {}", value);
    this.value = value;
  }
}

/** Anything dag-cbor can say. */
export type Value =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | CID
  | Float
  | readonly Value[]
  | { readonly [key: string]: Value };

/** The one encoding of `value`. Asserts on what dag-cbor cannot say (undefined, NaN, nesting over `DEPTH_MAX`). */
export function encodeValue(value: Value): Uint8Array {
  const writer = new Writer();
  writeValue(writer, value, DEPTH_MAX);
  return writer.finish();
}

/** Decodes one canonical value. Maps have no prototype, so that no key of a peer's choosing is special. */
export function decodeValue(bytes: Uint8Array): Result<Value, DecodeError> {
  return readWith(bytes, (reader) => readValue(reader, DEPTH_MAX, bytes.length));
}

function writeValue(writer: Writer, value: Value, depthLeft: number): void {
  if (value === null) writer.null();
  else if (typeof value === "boolean") writer.bool(value);
  else if (typeof value === "string") writer.text(value);
  else if (typeof value === "bigint") writer.int(value);
  else if (typeof value === "number") {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) writer.int(value);
    else writer.float(value);
  } else if (value instanceof Uint8Array) writer.bytes(value);
  else if (value instanceof Float) writer.float(value.value);
  else if (value instanceof CID) writer.tag(42).bytes(concatBytes(new Uint8Array(1), value.bytes));
  else {
    assert(depthLeft > 0, "nested deeper than {}", DEPTH_MAX);
    if (Array.isArray(value)) writeArray(writer, value as readonly Value[], depthLeft);
    else writeMap(writer, value as { readonly [key: string]: Value }, depthLeft);
  }
}

function writeArray(writer: Writer, items: readonly Value[], depthLeft: number): void {
  writer.array(items.length);
  for (const item of items) writeValue(writer, item, depthLeft - 1);
}

function writeMap(writer: Writer, map: { readonly [key: string]: Value }, depthLeft: number): void {
  assert(typeof map === "object", "not a dag-cbor value: {}", typeof map);
  const entries = Object.keys(map).map((key) => ({ key, bytes: utf8(key) }));
  entries.sort((a, b) => a.bytes.length - b.bytes.length || compareBytes(a.bytes, b.bytes));
  writer.map(entries.length);
  for (const { key } of entries) {
    writer.text(key);
    writeValue(writer, map[key] as Value, depthLeft - 1);
  }
}

function readValue(reader: Reader, depthLeft: number, sizeBytesMax: number): Value {
  const { major, byte } = reader.peek();
  switch (major) {
    case MAJOR.uint:
    case MAJOR.negative: {
      const value = reader.int();
      const exact = value <= BigInt(Number.MAX_SAFE_INTEGER) && value >= BigInt(Number.MIN_SAFE_INTEGER);
      return exact ? Number(value) : value;
    }
    case MAJOR.bytes:
      return reader.bytes(sizeBytesMax).slice();
    case MAJOR.text:
      return reader.text(sizeBytesMax);
    case MAJOR.array:
    case MAJOR.map:
      if (depthLeft === 0) reader.refuse("encoding_depth");
      return major === MAJOR.array ? readArray(reader, depthLeft, sizeBytesMax) : readMap(reader, depthLeft, sizeBytesMax);
    case MAJOR.tag:
      // Checked by the reader, byte for byte, so the library cannot refuse it. Copied: a CID keeps its bytes.
      return CID.decode(reader.link().slice());
    default: {
      if (byte === 0xfb) {
        const value = reader.float();
        return Number.isSafeInteger(value) && !Object.is(value, -0) ? new Float(value) : value;
      }
      return reader.skipNull() ? null : reader.bool();
    }
  }
}

function readArray(reader: Reader, depthLeft: number, sizeBytesMax: number): Value {
  const items: Value[] = [];
  const length = reader.array(sizeBytesMax);
  for (let index = 0; index < length; index += 1) items.push(readValue(reader, depthLeft - 1, sizeBytesMax));
  return items;
}

function readMap(reader: Reader, depthLeft: number, sizeBytesMax: number): Value {
  const map = Object.create(null) as { [key: string]: Value };
  const length = reader.map(sizeBytesMax);
  let previous: Uint8Array | undefined;
  for (let index = 0; index < length; index += 1) {
    const key = reader.key(previous, sizeBytesMax);
    previous = key.bytes;
    map[key.text] = readValue(reader, depthLeft - 1, sizeBytesMax);
  }
  return map;
}
