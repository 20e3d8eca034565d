/**
 * Reads canonical dag-cbor strictly, item by item, along a schema that the caller knows.
 *
 * Accepts exactly the bytes that `Writer` makes: shortest heads, definite lengths, sorted distinct map keys, no
 * tag but 42, no simple value but false, true, null and eight-byte finite floats. Nothing is allocated before the
 * bytes for it are known to be there, and nesting is bounded.
 *
 * Inside a read, a refusal is thrown as `Refusal`; `readWith` is the one place that catches it, so that decoders
 * read straight down and callers still get a `Result`.
 */

import { compareBytes, parseUtf8, readU32 } from "../base/bytes.ts";
import { Recent } from "../base/recent.ts";
import { fail, ok, type Result } from "../base/result.ts";
import { isBinaryCid } from "./link.ts";
import { MAJOR } from "./writer.ts";

/**
 * Why bytes were refused, and where.
 *
 * - `encoding_truncated`: the bytes end inside an item
 * - `encoding_trailing`: bytes follow the last item
 * - `encoding_not_canonical`: another encoding of the same value exists (long head, unsorted or repeated key, ...)
 * - `encoding_type`: an item of another type stands where the schema wants this one
 * - `encoding_limit`: a length or number is outside the range the schema allows
 * - `encoding_depth`: nested too deeply
 * - `encoding_text`: a string is not UTF-8
 */
export type DecodeError = {
  readonly code:
    | "encoding_truncated"
    | "encoding_trailing"
    | "encoding_not_canonical"
    | "encoding_type"
    | "encoding_limit"
    | "encoding_depth"
    | "encoding_text";
  /** Byte offset of the item at fault. */
  readonly offset: number;
  /** The field being read, as the schema names it. */
  readonly field?: string;
};

/** Thrown inside a read and caught by `readWith` alone. */
class Refusal extends Error {
  readonly error: DecodeError;
  constructor(error: DecodeError) {
    super(error.code);
    this.error = error;
  }
}

/** How deeply arrays and maps of free-form values may nest. */
export const DEPTH_MAX = 32;

/** By the bytes of an argument, the least value that needs them. */
const SHORTEST: readonly (number | undefined)[] = [undefined, 24, 0x100, undefined, 0x1_0000];

/** Texts up to this length are looked for among those that were read lately. */
const SHORT_TEXT_SIZE_BYTES_MAX = 64;

/** Short ASCII texts. A decoder takes longer to be called than a name takes to be compared. */
const shortTexts = new Recent<string>(1024, {
  isOf: (text, bytes, from, to) => {
    if (text.length !== to - from) return false;
    for (let index = from; index < to; index += 1) if (text.charCodeAt(index - from) !== bytes[index]) return false;
    return true;
  },
  make: (bytes, from, to) => String.fromCharCode.apply(undefined, bytes.subarray(from, to) as Iterable<number> as number[]),
});

/** Runs `read` over all of `bytes`; trailing bytes are refused. Never throws on hostile bytes. */
export function readWith<T>(bytes: Uint8Array, read: (reader: Reader) => T): Result<T, DecodeError> {
  const reader = new Reader(bytes);
  try {
    const value = read(reader);
    reader.end();
    return ok(value);
  } catch (error) {
    if (error instanceof Refusal) return fail(error.error);
    throw error;
  }
}

/** A cursor over one encoding. Every method reads one item or refuses. */
export class Reader {
  readonly #bytes: Uint8Array;
  #offset = 0;
  #field: string | undefined;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Where the next item begins. */
  get offset(): number {
    return this.#offset;
  }

  /** Names the field read next, for the error. */
  field(name: string): this {
    this.#field = name;
    return this;
  }

  /** Refuses what was just read, for a rule that the schema has beyond types and sizes. */
  refuse(code: DecodeError["code"], offset: number = this.#offset): never {
    throw new Refusal(this.#field === undefined ? { code, offset } : { code, offset, field: this.#field });
  }

  /** The head of an array of exactly `length` items. */
  tuple(length: number): void {
    const offset = this.#offset;
    if (this.#head(MAJOR.array) !== length) this.refuse("encoding_limit", offset);
  }

  /** The head of an array of at most `lengthMax` items. */
  array(lengthMax: number): number {
    return this.#length(MAJOR.array, lengthMax);
  }

  /** The head of a map of at most `lengthMax` entries; use `key` for each key. */
  map(lengthMax: number): number {
    return this.#length(MAJOR.map, lengthMax);
  }

  /** A map key; canonical order after `previous` (shorter first, then bytewise) is enforced. */
  key(previous: Uint8Array | undefined, sizeBytesMax: number): { readonly text: string; readonly bytes: Uint8Array } {
    const offset = this.#offset;
    const length = this.#length(MAJOR.text, sizeBytesMax);
    const bytes = this.#take(length);
    if (previous !== undefined) {
      const order = previous.length - bytes.length || compareBytes(previous, bytes);
      if (order >= 0) this.refuse("encoding_not_canonical", offset);
    }
    return { text: this.#decodeText(bytes, offset), bytes };
  }

  /** An unsigned integer below 2^64. */
  uint(): bigint {
    return BigInt(this.#head(MAJOR.uint));
  }

  /** An unsigned integer of at most `max`, which a number holds exactly. */
  number(max: number = Number.MAX_SAFE_INTEGER): number {
    const offset = this.#offset;
    const value = this.#head(MAJOR.uint);
    if (typeof value === "bigint" || value > max) return this.refuse("encoding_limit", offset);
    return value;
  }

  /** A signed integer, `-2^64 <= value < 2^64`. */
  int(): bigint {
    const major = this.#peek() >> 5;
    if (major === MAJOR.negative) return -1n - BigInt(this.#head(MAJOR.negative));
    return BigInt(this.#head(MAJOR.uint));
  }

  /** A byte string of at most `sizeBytesMax`, as a view on the input. */
  bytes(sizeBytesMax: number): Uint8Array {
    return this.#take(this.#length(MAJOR.bytes, sizeBytesMax));
  }

  /** A byte string of exactly `sizeBytes`, as a view on the input. */
  fixed(sizeBytes: number): Uint8Array {
    const offset = this.#offset;
    const length = this.#length(MAJOR.bytes, sizeBytes);
    if (length !== sizeBytes) this.refuse("encoding_limit", offset);
    return this.#take(length);
  }

  /** A text string of at most `sizeBytesMax` bytes of UTF-8. */
  text(sizeBytesMax: number): string {
    const offset = this.#offset;
    const length = this.#length(MAJOR.text, sizeBytesMax);
    if (length <= SHORT_TEXT_SIZE_BYTES_MAX && this.#isAscii(length)) {
      this.#offset += length;
      return shortTexts.of(this.#bytes, this.#offset - length, this.#offset);
    }
    return this.#decodeText(this.#take(length), offset);
  }

  bool(): boolean {
    const byte = this.#peek();
    if (byte !== 0xf4 && byte !== 0xf5) this.refuse("encoding_type");
    this.#offset += 1;
    return byte === 0xf5;
  }

  /** Reads a null if one is next, and says whether it was. */
  skipNull(): boolean {
    if (this.#peek() !== 0xf6) return false;
    this.#offset += 1;
    return true;
  }

  /** An eight-byte finite float. */
  float(): number {
    const offset = this.#offset;
    if (this.#peek() !== 0xfb) this.refuse("encoding_type");
    this.#offset += 1;
    const bytes = this.#take(8);
    const value = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getFloat64(0);
    if (!Number.isFinite(value)) this.refuse("encoding_not_canonical", offset);
    return value;
  }

  /** A link: tag 42 (dag-cbor has no other) on a byte string of 0x00 and a CID, which is returned as a view. */
  link(): Uint8Array {
    const offset = this.#offset;
    if (this.#head(MAJOR.tag) !== 42) this.refuse("encoding_type", offset);
    const bytes = this.bytes(this.#bytes.length);
    // Source: DAG-CBOR, "Links": the identity multibase prefix 0x00, then a binary CID.
    if (bytes[0] !== 0 || !isBinaryCid(bytes.subarray(1))) this.refuse("encoding_not_canonical", offset);
    return bytes.subarray(1);
  }

  /** The major type of the next item (`MAJOR`), and its first byte. */
  peek(): { readonly major: number; readonly byte: number } {
    const byte = this.#peek();
    return { major: byte >> 5, byte };
  }

  /** Skips one item of any shape, checking it in full, and returns its bytes as a view on the input. */
  raw(depthMax: number = DEPTH_MAX): Uint8Array {
    const start = this.#offset;
    this.#skip(depthMax);
    return this.#bytes.subarray(start, this.#offset);
  }

  /** Refuses unless everything was read. */
  end(): void {
    if (this.#offset !== this.#bytes.length) this.refuse("encoding_trailing");
  }

  #skip(depthLeft: number): void {
    const { major, byte } = this.peek();
    switch (major) {
      case MAJOR.uint:
      case MAJOR.negative:
        this.#head(major);
        return;
      case MAJOR.bytes:
        this.bytes(this.#bytes.length);
        return;
      case MAJOR.text:
        this.text(this.#bytes.length);
        return;
      case MAJOR.array: {
        if (depthLeft === 0) this.refuse("encoding_depth");
        const length = this.array(this.#bytes.length);
        for (let index = 0; index < length; index += 1) this.#skip(depthLeft - 1);
        return;
      }
      case MAJOR.map: {
        if (depthLeft === 0) this.refuse("encoding_depth");
        const length = this.map(this.#bytes.length);
        let previous: Uint8Array | undefined;
        for (let index = 0; index < length; index += 1) {
          previous = this.key(previous, this.#bytes.length).bytes;
          this.#skip(depthLeft - 1);
        }
        return;
      }
      case MAJOR.tag:
        this.link();
        return;
      default:
        if (byte === 0xfb) this.float();
        else if (byte !== 0xf6 && byte !== 0xf4 && byte !== 0xf5) this.refuse("encoding_type");
        else this.#offset += 1;
    }
  }

  #decodeText(bytes: Uint8Array, offset: number): string {
    const parsed = parseUtf8(bytes);
    if (!parsed.ok) this.refuse("encoding_text", offset);
    return parsed.value;
  }

  /** Whether the next `length` bytes, which are there, are ASCII. */
  #isAscii(length: number): boolean {
    for (let index = this.#offset; index < this.#offset + length; index += 1)
      if ((this.#bytes[index] as number) >= 0x80) return false;
    return true;
  }

  #peek(): number {
    const byte = this.#bytes[this.#offset];
    if (byte === undefined) this.refuse("encoding_truncated");
    return byte;
  }

  #take(length: number): Uint8Array {
    const end = this.#offset + length;
    if (end > this.#bytes.length) this.refuse("encoding_truncated");
    const taken = this.#bytes.subarray(this.#offset, end);
    this.#offset = end;
    return taken;
  }

  /** A length that its schema bounds and that the remaining bytes could hold (an item is at least one byte). */
  #length(major: number, max: number): number {
    const offset = this.#offset;
    const length = this.#head(major);
    if (typeof length === "bigint" || length > max) return this.refuse("encoding_limit", offset);
    if (length > this.#bytes.length - this.#offset) this.refuse("encoding_truncated", offset);
    return length;
  }

  /** The argument of a head: a bigint only where a number could not hold it. */
  #head(major: number): number | bigint {
    const offset = this.#offset;
    const byte = this.#peek();
    if (byte >> 5 !== major) this.refuse("encoding_type");
    this.#offset += 1;
    const short = byte & 31;
    if (short < 24) return short;
    if (short > 27) this.refuse("encoding_not_canonical", offset);
    const sizeBytes = 1 << (short - 24);
    if (this.#offset + sizeBytes > this.#bytes.length) this.refuse("encoding_truncated");
    this.#offset += sizeBytes;
    if (sizeBytes <= 4) {
      let value = 0;
      for (let at = offset + 1; at < this.#offset; at += 1) value = value * 0x100 + (this.#bytes[at] as number);
      if (value < (SHORTEST[sizeBytes] as number)) this.refuse("encoding_not_canonical", offset);
      return value;
    }
    const high = readU32(this.#bytes, offset + 1);
    const low = readU32(this.#bytes, offset + 5);
    if (high === 0) this.refuse("encoding_not_canonical", offset);
    const value = high * 0x1_0000_0000 + low;
    return Number.isSafeInteger(value) ? value : (BigInt(high) << 32n) | BigInt(low);
  }
}

/** Whether `bytes` are one canonical value, nested at most `DEPTH_MAX` deep. Builds nothing. */
export function checkCanonical(bytes: Uint8Array): Result<Uint8Array, DecodeError> {
  if (bytes.length === 0) return fail({ code: "encoding_truncated", offset: 0 });
  return readWith(bytes, (reader) => reader.raw());
}
