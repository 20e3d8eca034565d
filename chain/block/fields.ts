/** Fields that several block types share, read and refused in one way. */

import type { Reader } from "../../crypto/codec/reader.ts";
import type { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, HASH_SIZE_BYTES, hashOf } from "../../crypto/hash/hash.ts";
import { type Address, ADDRESS_SIZE_BYTES, addressOf } from "../../crypto/identity/address.ts";
import { SIGNATURE_SIZE_BYTES_MAX } from "../../crypto/sign/key.ts";
import { type Height, isHeight } from "./height.ts";
import { AMOUNT_MAX, NAME_PATTERN, NAME_SIZE_BYTES_MAX, ROUND_MAX, TIME_MS_MAX } from "./limits.ts";

/** Whether a string can name a chain, namespace, table or stream. */
export function isName(text: string): boolean {
  return NAME_PATTERN.test(text);
}

/** Whether a number fits where tokens, nonces, sequences and the like are kept: `0 <= value < 2^64`. */
export function isAmount(value: bigint): boolean {
  return value >= 0n && value <= AMOUNT_MAX;
}

/** A hash, as a view on the input. */
export function readHash(reader: Reader, field: string): Hash {
  return hashOf(reader.field(field).fixed(HASH_SIZE_BYTES));
}

/** A hash, or null for none. */
export function readHashOrNull(reader: Reader, field: string): Hash | undefined {
  return reader.field(field).skipNull() ? undefined : readHash(reader, field);
}

/** A hash, or null for none. */
export function writeHashOrNull(writer: Writer, hash: Hash | undefined): void {
  if (hash === undefined) writer.null();
  else writer.bytes(hash);
}

/** An address, as a view on the input. */
export function readAddress(reader: Reader, field: string): Address {
  return addressOf(reader.field(field).fixed(ADDRESS_SIZE_BYTES));
}

/** A number that is a height. */
export function readHeight(reader: Reader, field: string): Height {
  const offset = reader.field(field).offset;
  const value = reader.uint();
  return isHeight(value) ? value : reader.refuse("encoding_limit", offset);
}

/** A round, `0 <= round <= ROUND_MAX`. */
export function readRound(reader: Reader, field: string): number {
  return reader.field(field).number(ROUND_MAX);
}

/** Milliseconds since 1970 UTC. */
export function readTimeMs(reader: Reader, field: string): bigint {
  const offset = reader.field(field).offset;
  const value = reader.uint();
  return value <= TIME_MS_MAX ? value : reader.refuse("encoding_limit", offset);
}

/** A name as `isName` wants it. */
export function readName(reader: Reader, field: string): string {
  const offset = reader.field(field).offset;
  const text = reader.text(NAME_SIZE_BYTES_MAX);
  return isName(text) ? text : reader.refuse("encoding_limit", offset);
}

/** A signature of any type, as a view on the input; its size is checked when it is verified. */
export function readSignature(reader: Reader, field: string): Uint8Array {
  return reader.field(field).bytes(SIGNATURE_SIZE_BYTES_MAX);
}
