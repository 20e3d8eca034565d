/** Byte arrays: compare, join, hex, and fixed-width integers. All pure; none of it is for secrets. */

import { assert } from "./assert.ts";
import { fail, ok, type Result } from "./result.ts";

/** By value, the code of its digit; and by code of either case, its value. */
const HEX_DIGIT_CODES: readonly number[] = Array.from("0123456789abcdef", (digit) => digit.charCodeAt(0));
const HEX_DIGIT_VALUES: readonly (number | undefined)[] = Array.from({ length: 128 }, (_, code) => {
  const value = "0123456789abcdef".indexOf(String.fromCharCode(code).toLowerCase());
  return value < 0 ? undefined : value;
});
/** Up to here digits are the arguments of one call. */
const HEX_SHORT_SIZE_BYTES_MAX = 64;
/** By the size of the bytes, where their digits are written; used again, since a call ends before the next begins. */
const shortCodes: number[][] = [];
/** Texts up to this length are tried as ASCII first. */
const ASCII_LENGTH_MAX = 64;
const TEXT_ENCODER = new TextEncoder();
const TEXT_DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The empty byte array. */
export const EMPTY: Uint8Array = new Uint8Array(0);

/** Whether both hold the same bytes. Not constant time: for public data. */
export function bytesEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index += 1) if (a[index] !== b[index]) return false;
  return true;
}

/** Lexicographic order of unsigned bytes, a prefix before what extends it. Negative, zero or positive. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = a.length < b.length ? a.length : b.length;
  for (let index = 0; index < shared; index += 1) {
    const difference = (a[index] as number) - (b[index] as number);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** Joins byte arrays into a new one. */
export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  let size = 0;
  for (const part of parts) size += part.length;
  const joined = new Uint8Array(size);
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

/** Whether `bytes` begins with `prefix`. */
export function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  return bytes.length >= prefix.length && bytesEqual(bytes.subarray(0, prefix.length), prefix);
}

/**
 * Lower-case hex, two digits a byte. In one piece: a string that is added up digit by digit costs as much again when a map
 * first asks for its hash.
 */
export function toHex(bytes: Uint8Array): string {
  // The decoder takes longer to be called than a hash takes to be written.
  return bytes.length > HEX_SHORT_SIZE_BYTES_MAX ? longHex(bytes) : shortHex(bytes);
}

/** The same loop twice: over two kinds of array the engine would compile neither well. */
function shortHex(bytes: Uint8Array): string {
  const codes = (shortCodes[bytes.length] ??= Array.from({ length: bytes.length * 2 }, () => 0));
  for (let index = 0; index < bytes.length; index += 1) {
    const byte = bytes[index] as number;
    codes[index * 2] = HEX_DIGIT_CODES[byte >> 4] as number;
    codes[index * 2 + 1] = HEX_DIGIT_CODES[byte & 15] as number;
  }
  return String.fromCharCode(...codes);
}

function longHex(bytes: Uint8Array): string {
  if (NodeBuffer !== undefined) return NodeBuffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");
  const codes = new Uint8Array(bytes.length * 2);
  for (let index = 0; index < bytes.length; index += 1) {
    const byte = bytes[index] as number;
    codes[index * 2] = HEX_DIGIT_CODES[byte >> 4] as number;
    codes[index * 2 + 1] = HEX_DIGIT_CODES[byte & 15] as number;
  }
  return TEXT_DECODER.decode(codes);
}

/** Where it is, it has digits read and written by other than our loops. */
const NodeBuffer: typeof Buffer | undefined = typeof Buffer === "function" ? Buffer : undefined;
/** `toString("latin1")` of a Buffer, of any array of bytes. Node documents the former alone. */
const latin1Slice = (
  NodeBuffer?.prototype as { readonly latin1Slice?: (this: Uint8Array, from: number, to: number) => string } | undefined
)?.latin1Slice;

/**
 * A string with one character a byte, for maps: it sorts as the bytes do, and takes less to make than hex. It is asked for ten
 * times a transaction: `apply` takes twice as long, and a list of arguments that is six times the name.
 */
export function bytesName(bytes: Uint8Array): string {
  if (latin1Slice !== undefined) return latin1Slice.call(bytes, 0, bytes.length);
  return String.fromCharCode.apply(undefined, bytes as Iterable<number> as number[]);
}

/** Parses hex of either case; anything else is `hex_invalid`. */
export function parseHex(hex: string): Result<Uint8Array, { readonly code: "hex_invalid" }> {
  if (hex.length % 2 !== 0) return fail({ code: "hex_invalid" });
  const bytes = new Uint8Array(hex.length / 2);
  if (NodeBuffer !== undefined && bytes.length > HEX_SHORT_SIZE_BYTES_MAX) {
    const buffer = NodeBuffer.from(bytes.buffer);
    buffer.write(hex, "hex");
    // It looks at the lower byte of each character alone, and ends without a word at what it takes for no digit.
    const digits = buffer.toString("hex");
    return digits === hex || digits === hex.toLowerCase() ? ok(bytes) : fail({ code: "hex_invalid" });
  }
  for (let index = 0; index < bytes.length; index += 1) {
    const high = HEX_DIGIT_VALUES[hex.charCodeAt(index * 2)];
    const low = HEX_DIGIT_VALUES[hex.charCodeAt(index * 2 + 1)];
    if (high === undefined || low === undefined) return fail({ code: "hex_invalid" });
    bytes[index] = high * 16 + low;
  }
  return ok(bytes);
}

/** Hex that we wrote ourselves: a wrong digit is our bug. */
export function fromHex(hex: string): Uint8Array {
  const parsed = parseHex(hex);
  assert(parsed.ok, "not hex: {}", hex);
  return parsed.value;
}

/** UTF-8 bytes of a string. */
export function utf8(text: string): Uint8Array {
  const { length } = text;
  // The encoder takes longer to be called than a short name takes to be copied.
  if (length > ASCII_LENGTH_MAX) return TEXT_ENCODER.encode(text);
  const bytes = new Uint8Array(length);
  for (let index = 0; index < length; index += 1) {
    const code = text.charCodeAt(index);
    if (code >= 0x80) return TEXT_ENCODER.encode(text);
    bytes[index] = code;
  }
  return bytes;
}

/** Parses UTF-8 strictly; malformed sequences are `utf8_invalid`. A byte order mark is kept. */
export function parseUtf8(bytes: Uint8Array): Result<string, { readonly code: "utf8_invalid" }> {
  try {
    return ok(TEXT_DECODER.decode(bytes));
  } catch {
    return fail({ code: "utf8_invalid" });
  }
}

/** Eight bytes, big-endian: sorts as the number does. `0 <= value < 2^64`. */
export function u64(value: bigint): Uint8Array {
  assert(value >= 0n && value < 1n << 64n, "not a u64: {}", value);
  const bytes = new Uint8Array(8);
  writeU32(bytes, Number(value >> 32n), 0);
  writeU32(bytes, Number(value & 0xffff_ffffn), 4);
  return bytes;
}

/** Reads eight big-endian bytes at `offset`, which the caller has checked to be there. */
export function readU64(bytes: Uint8Array, offset = 0): bigint {
  assert(bytes.length >= offset + 8, "u64 at {} of {} bytes", offset, bytes.length);
  return (BigInt(readU32(bytes, offset)) << 32n) | BigInt(readU32(bytes, offset + 4));
}

/** Four bytes, big-endian. `0 <= value < 2^32`. */
export function u32(value: number): Uint8Array {
  assert(Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff, "not a u32: {}", value);
  const bytes = new Uint8Array(4);
  writeU32(bytes, value, 0);
  return bytes;
}

/** Digit by digit: a view of a small array makes V8 move it to a buffer of its own, which takes ten times as long. */
function writeU32(bytes: Uint8Array, value: number, offset: number): void {
  bytes[offset] = value >>> 24;
  bytes[offset + 1] = value >>> 16;
  bytes[offset + 2] = value >>> 8;
  bytes[offset + 3] = value;
}

/** Reads four big-endian bytes at `offset`, which the caller has checked to be there. */
export function readU32(bytes: Uint8Array, offset = 0): number {
  assert(bytes.length >= offset + 4, "u32 at {} of {} bytes", offset, bytes.length);
  const high = bytes[offset] as number;
  const rest = ((bytes[offset + 1] as number) << 16) | ((bytes[offset + 2] as number) << 8) | (bytes[offset + 3] as number);
  return high * 0x100_0000 + rest;
}

/** Thirty-two bytes, big-endian. `0 <= value < 2^256`. */
export function u256(value: bigint): Uint8Array {
  assert(value >= 0n && value < 1n << 256n, "a number of 256 bits");
  return fromHex(value.toString(16).padStart(64, "0"));
}

/** Reads what `u256` wrote. */
export function readU256(bytes: Uint8Array): bigint {
  assert(bytes.length === 32, "{} bytes", bytes.length);
  return BigInt(`0x${toHex(bytes)}`);
}
