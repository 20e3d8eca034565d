/**
 * Writes canonical dag-cbor: shortest integer heads, definite lengths, floats in eight bytes.
 *
 * Source: the DAG-CBOR specification, which fixes one encoding a value; RFC 8949, section 3.
 */

import { assert } from "../base/assert.ts";
import { utf8 } from "../base/bytes.ts";

/** The major types of RFC 8949, section 3.1. */
export const MAJOR = { uint: 0, negative: 1, bytes: 2, text: 3, array: 4, map: 5, tag: 6, simple: 7 } as const;

/** The longest head of a string or list whose length is below 2^32: for reckoning how much room an encoding takes. */
export const HEAD_SIZE_BYTES_MAX = 5;

/** Where an encoding grows until it is finished. Making one costs as much as writing a small encoding, so they are used again. */
type Scratch = { readonly bytes: Uint8Array; readonly view: DataView };

/** Texts below this length are tried as ASCII first. */
const ASCII_LENGTH_END = 256;
const SCRATCH_SIZE_BYTES_INITIAL = 1024;
/** Larger ones are left to the collector. */
const SCRATCH_SIZE_BYTES_KEPT_MAX = 64 * 1024;
/** As many as encodings are under way inside each other, and then some. */
const SCRATCHES_KEPT_MAX = 16;
const idle: Scratch[] = [];

function scratchOf(sizeBytes: number): Scratch {
  const bytes = new Uint8Array(sizeBytes);
  return { bytes, view: new DataView(bytes.buffer) };
}

/** Builds one encoding front to back. The caller writes exactly as many items as it announced, and finishes once. */
export class Writer {
  #scratch: Scratch | undefined;
  #size = 0;

  /** `sizeBytes`: about what it will be, when that is known to be much: it is then not copied while it grows. */
  constructor(sizeBytes = 0) {
    this.#scratch =
      sizeBytes > SCRATCH_SIZE_BYTES_KEPT_MAX ? scratchOf(sizeBytes) : (idle.pop() ?? scratchOf(SCRATCH_SIZE_BYTES_INITIAL));
  }

  /** Announces an array of `length` items, which the caller writes next. */
  array(length: number): this {
    return this.#head(MAJOR.array, length);
  }

  /** Announces a map of `length` entries; the caller writes keys in canonical order (by length, then bytes). */
  map(length: number): this {
    return this.#head(MAJOR.map, length);
  }

  /** An unsigned integer below 2^64. */
  uint(value: number | bigint): this {
    return this.#head(MAJOR.uint, value);
  }

  /** A signed integer, `-2^64 <= value < 2^64`. */
  int(value: number | bigint): this {
    if (value >= 0) return this.#head(MAJOR.uint, value);
    return this.#head(MAJOR.negative, typeof value === "bigint" ? -1n - value : -1 - value);
  }

  /** A byte string. */
  bytes(value: Uint8Array): this {
    this.#head(MAJOR.bytes, value.length);
    return this.raw(value);
  }

  /** Announces a byte string of `length` bytes, which the caller writes next, with `raw`. */
  bytesHead(length: number): this {
    return this.#head(MAJOR.bytes, length);
  }

  /** A text string; lone surrogates are our bug. */
  text(value: string): this {
    const { length } = value;
    const start = this.#size;
    // Names are short and ASCII: written where they belong. The head of a length is as long for either count.
    if (length < ASCII_LENGTH_END) {
      this.#head(MAJOR.text, length);
      const { bytes } = this.#reserve(length);
      let index = 0;
      for (; index < length; index += 1) {
        const code = value.charCodeAt(index);
        if (code >= 0x80) break;
        bytes[this.#size + index] = code;
      }
      if (index === length) {
        this.#size += length;
        return this;
      }
      this.#size = start;
    }
    assert(value.isWellFormed(), "text holds a lone surrogate");
    const encoded = utf8(value);
    this.#head(MAJOR.text, encoded.length);
    return this.raw(encoded);
  }

  bool(value: boolean): this {
    return this.#byte(value ? 0xf5 : 0xf4);
  }

  null(): this {
    return this.#byte(0xf6);
  }

  /** An eight-byte float; NaN and the infinities have no place in dag-cbor. */
  float(value: number): this {
    assert(Number.isFinite(value), "not a finite float: {}", value);
    this.#byte(0xfb);
    this.#reserve(8).view.setFloat64(this.#size, value);
    this.#size += 8;
    return this;
  }

  /** A tag head; dag-cbor knows only 42, a CID. */
  tag(number: number): this {
    return this.#head(MAJOR.tag, number);
  }

  /** Bytes that are an encoding already (or the body of a string whose head is written). */
  raw(encoded: Uint8Array): this {
    this.#reserve(encoded.length).bytes.set(encoded, this.#size);
    this.#size += encoded.length;
    return this;
  }

  /** The encoding, which nobody else has. Nothing can be written any more. */
  finish(): Uint8Array {
    const scratch = this.#open();
    const { bytes } = scratch;
    this.#scratch = undefined;
    // Of a block most is one byte string at the end: the place made for it is what it needs.
    if (bytes.length > SCRATCH_SIZE_BYTES_KEPT_MAX && this.#size * 8 >= bytes.length * 7) return bytes.subarray(0, this.#size);
    const encoding = bytes.slice(0, this.#size);
    if (bytes.length <= SCRATCH_SIZE_BYTES_KEPT_MAX && idle.length < SCRATCHES_KEPT_MAX) idle.push(scratch);
    return encoding;
  }

  #byte(value: number): this {
    this.#reserve(1).bytes[this.#size] = value;
    this.#size += 1;
    return this;
  }

  #head(major: number, argument: number | bigint): this {
    const { bytes, view } = this.#reserve(9);
    const start = this.#size;
    const type = major << 5;
    if (argument < 24) {
      bytes[start] = type | Number(argument);
      this.#size += 1;
    } else if (argument < 0x100) {
      bytes[start] = type | 24;
      bytes[start + 1] = Number(argument);
      this.#size += 2;
    } else if (argument < 0x1_0000) {
      bytes[start] = type | 25;
      view.setUint16(start + 1, Number(argument));
      this.#size += 3;
    } else if (argument < 0x1_0000_0000) {
      bytes[start] = type | 26;
      view.setUint32(start + 1, Number(argument));
      this.#size += 5;
    } else {
      const wide = BigInt(argument);
      assert(wide < 1n << 64n, "integer needs more than 64 bits: {}", wide);
      bytes[start] = type | 27;
      view.setBigUint64(start + 1, wide);
      this.#size += 9;
    }
    return this;
  }

  #open(): Scratch {
    assert(this.#scratch !== undefined, "this encoding is finished");
    return this.#scratch;
  }

  /** The scratch, with room for so many more bytes. */
  #reserve(sizeBytes: number): Scratch {
    const scratch = this.#open();
    const needed = this.#size + sizeBytes;
    if (needed <= scratch.bytes.length) return scratch;
    const grown = scratchOf(Math.max(needed, scratch.bytes.length * 2));
    grown.bytes.set(scratch.bytes.subarray(0, this.#size));
    this.#scratch = grown;
    return grown;
  }
}
