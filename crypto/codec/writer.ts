/**
 * Writes canonical dag-cbor: shortest integer heads, definite lengths, floats in eight bytes.
 *
 * Source: the DAG-CBOR specification, which fixes one encoding a value; RFC 8949, section 3.
 */

import { assert } from "../base/assert.ts";
import { utf8 } from "../base/bytes.ts";

/** The major types of RFC 8949, section 3.1. */
export const MAJOR = { uint: 0, negative: 1, bytes: 2, text: 3, array: 4, map: 5, tag: 6, simple: 7 } as const;

const SIZE_BYTES_INITIAL = 256;

/** Builds one encoding front to back. The caller writes exactly as many items as it announced. */
export class Writer {
  #bytes = new Uint8Array(SIZE_BYTES_INITIAL);
  #view = new DataView(this.#bytes.buffer);
  #size = 0;

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

  /** A text string; lone surrogates are our bug. */
  text(value: string): this {
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
    assert(Number.isFinite(value), `not a finite float: ${value}`);
    this.#byte(0xfb);
    this.#reserve(8);
    this.#view.setFloat64(this.#size, value);
    this.#size += 8;
    return this;
  }

  /** A tag head; dag-cbor knows only 42, a CID. */
  tag(number: number): this {
    return this.#head(MAJOR.tag, number);
  }

  /** Bytes that are an encoding already (or the body of a string whose head is written). */
  raw(encoded: Uint8Array): this {
    this.#reserve(encoded.length);
    this.#bytes.set(encoded, this.#size);
    this.#size += encoded.length;
    return this;
  }

  /** The encoding so far, as a copy. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#size);
  }

  #byte(value: number): this {
    this.#reserve(1);
    this.#bytes[this.#size] = value;
    this.#size += 1;
    return this;
  }

  #head(major: number, argument: number | bigint): this {
    this.#reserve(9);
    const start = this.#size;
    const type = major << 5;
    if (argument < 24) {
      this.#bytes[start] = type | Number(argument);
      this.#size += 1;
    } else if (argument < 0x100) {
      this.#bytes[start] = type | 24;
      this.#bytes[start + 1] = Number(argument);
      this.#size += 2;
    } else if (argument < 0x1_0000) {
      this.#bytes[start] = type | 25;
      this.#view.setUint16(start + 1, Number(argument));
      this.#size += 3;
    } else if (argument < 0x1_0000_0000) {
      this.#bytes[start] = type | 26;
      this.#view.setUint32(start + 1, Number(argument));
      this.#size += 5;
    } else {
      const wide = BigInt(argument);
      assert(wide < 1n << 64n, `integer needs more than 64 bits: ${wide}`);
      this.#bytes[start] = type | 27;
      this.#view.setBigUint64(start + 1, wide);
      this.#size += 9;
    }
    return this;
  }

  #reserve(sizeBytes: number): void {
    const needed = this.#size + sizeBytes;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    grown.set(this.#bytes.subarray(0, this.#size));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}
