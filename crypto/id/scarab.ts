/**
 * Scarab ids: 64 bits that sort by the time at which they were made, and that no two nodes make alike.
 *
 * ```
 *   63                                        23 22         13 12            0
 *   | milliseconds since 2025-01-01T00:00:00Z  | node number  | sequence      |
 *   | 41 bits: until 2094-09-07                | 0 to 1023    | 0 to 8191     |
 * ```
 *
 * Unsigned, and below 2^63 (so positive where a language has signed integers only) until 2059-11-04. On the wire and as
 * a key an id is eight bytes, big-endian: bytes sort as ids do. As text it is thirteen characters of Crockford's base32
 * in lower case, which sort alike. One encoding a value: aliases and capitals are refused.
 *
 * An id does not say which service made it: spaces of ids are kept apart by whoever keeps them (`node/obelisk`).
 *
 * Source: core design, 2.1. The alphabet: https://www.crockford.com/base32.html, without its aliases and check symbol.
 */

import { assert } from "../base/assert.ts";
import type { Brand } from "../base/brand.ts";
import { readU64, u64 } from "../base/bytes.ts";
import { fail, ok, type Result } from "../base/result.ts";

/** An id, `0 <= id < 2^64`. */
export type ScarabId = Brand<bigint, "ScarabId">;

/** A node's number, `0 <= number <= 1023`. */
export type NodeNumber = Brand<number, "NodeNumber">;

/** What an id says. */
export type ScarabFields = {
  /** Milliseconds since 1970 UTC. */
  readonly timeMs: number;
  readonly node: NodeNumber;
  /** From 0, in one millisecond of one node. */
  readonly sequence: number;
};

/** Ids of one node and one millisecond, one after another: `first`, `first + 1n`, and so on. */
export type ScarabRun = { readonly first: ScarabId; readonly count: number };

/** 2025-01-01T00:00:00Z, the moment whose ids begin with zeros, in milliseconds since 1970 UTC. */
export const SCARAB_EPOCH_MS = 1_735_689_600_000;
/** The first moment after the last one that an id can tell. */
export const SCARAB_TIME_MS_END: number = SCARAB_EPOCH_MS + 2 ** 41;
/** Bytes of an id. */
export const SCARAB_SIZE_BYTES = 8;
/** Ids of one node in one millisecond. */
export const SCARAB_SEQUENCE_COUNT = 8192;
/** The largest node number. */
export const NODE_NUMBER_MAX = 1023;

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const TEXT_LENGTH = 13;
const DIGITS: ReadonlyMap<string, bigint> = new Map(Array.from(ALPHABET).map((digit, value) => [digit, BigInt(value)]));

/** Whether a number can be a node's. */
export function isNodeNumber(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= NODE_NUMBER_MAX;
}

/** A node number of which the caller knows that it is one. */
export function nodeNumberOf(value: number): NodeNumber {
  assert(isNodeNumber(value), "node number {}", value);
  return value as NodeNumber;
}

/** Whether a time can stand in an id. */
export function isScarabTime(timeMs: number): boolean {
  return Number.isInteger(timeMs) && timeMs >= SCARAB_EPOCH_MS && timeMs < SCARAB_TIME_MS_END;
}

/** The id of these fields, which must be in range. */
export function scarabOf({ timeMs, node, sequence }: ScarabFields): ScarabId {
  assert(isScarabTime(timeMs), "time {}", timeMs);
  assert(isNodeNumber(node), "node number {}", node);
  assert(Number.isInteger(sequence) && sequence >= 0 && sequence < SCARAB_SEQUENCE_COUNT, "sequence {}", sequence);
  return ((BigInt(timeMs - SCARAB_EPOCH_MS) << 23n) | BigInt((node << 13) | sequence)) as ScarabId;
}

/** What an id says. Every id says something. */
export function scarabFields(id: ScarabId): ScarabFields {
  const low = Number(id & 0x7f_ffffn);
  return { timeMs: Number(id >> 23n) + SCARAB_EPOCH_MS, node: nodeNumberOf(low >>> 13), sequence: low & 0x1fff };
}

/** An id from a number, `0 <= value < 2^64`, of which the caller knows that it is one. */
export function scarabIdOf(value: bigint): ScarabId {
  assert(value >= 0n && value < 1n << 64n, "id {}", value);
  return value as ScarabId;
}

/** Eight bytes, big-endian. */
export function encodeScarab(id: ScarabId): Uint8Array {
  return u64(id);
}

/** Reads what `encodeScarab` wrote. */
export function decodeScarab(bytes: Uint8Array): Result<ScarabId, { readonly code: "scarab_length"; readonly gotBytes: number }> {
  if (bytes.length !== SCARAB_SIZE_BYTES) return fail({ code: "scarab_length", gotBytes: bytes.length });
  return ok(scarabIdOf(readU64(bytes)));
}

/** Thirteen characters. */
export function formatScarab(id: ScarabId): string {
  let text = "";
  for (let shift = 60n; shift >= 0n; shift -= 5n) text += ALPHABET[Number((id >> shift) & 31n)] ?? "";
  return text;
}

/** Parses what `formatScarab` made, and nothing else. */
export function parseScarab(text: string): Result<ScarabId, { readonly code: "scarab_text" }> {
  if (text.length !== TEXT_LENGTH) return fail({ code: "scarab_text" });
  let value = 0n;
  for (const digit of text) {
    const five = DIGITS.get(digit);
    if (five === undefined) return fail({ code: "scarab_text" });
    value = (value << 5n) | five;
  }
  // Thirteen digits are 65 bits.
  return value < 1n << 64n ? ok(scarabIdOf(value)) : fail({ code: "scarab_text" });
}

/**
 * Writes the ids of a run as eight bytes each from `offset` on, without making a bigint of each: all that differs
 * between them is the low half, which carries over nowhere.
 */
export function writeScarabRun({ first, count }: ScarabRun, bytes: Uint8Array, offset = 0): void {
  assert(offset >= 0 && bytes.length - offset >= count * SCARAB_SIZE_BYTES, "{} ids into {} bytes", count, bytes.length - offset);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const high = Number(first >> 32n);
  const low = Number(first & 0xffff_ffffn);
  assert((low & 0x1fff) + count <= SCARAB_SEQUENCE_COUNT, "{} ids from sequence {}", count, low & 0x1fff);
  for (let index = 0, at = offset; index < count; index += 1, at += SCARAB_SIZE_BYTES) {
    view.setUint32(at, high);
    view.setUint32(at + 4, low + index);
  }
}

/** The ids of a run. */
export function* scarabIds({ first, count }: ScarabRun): Generator<ScarabId, void, undefined> {
  const end = first + BigInt(count);
  for (let id: bigint = first; id < end; id += 1n) yield id as ScarabId;
}
