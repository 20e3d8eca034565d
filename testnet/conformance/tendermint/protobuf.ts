/**
 * As much of the protocol buffers wire format as Tendermint's hashed and signed bytes need: fields in ascending order,
 * zero values left out, except for embedded messages that its generator always writes.
 *
 * Source: protobuf.dev/programming-guides/encoding.
 */

import { concatBytes, EMPTY, utf8 } from "../../../crypto/base/bytes.ts";

const WIRE = { varint: 0, fixed64: 1, bytes: 2 } as const;

/** A base-128 integer; negative ones are the ten bytes of their 64-bit two's complement. */
export function varint(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  while (rest >= 0x80n) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}

function tag(field: number, wire: number): Uint8Array {
  return varint(BigInt((field << 3) | wire));
}

/** An integer field. */
export function integerField(field: number, value: bigint): Uint8Array {
  return value === 0n ? EMPTY : concatBytes(tag(field, WIRE.varint), varint(value));
}

/** An `sfixed64` field: eight bytes, little-endian. */
export function fixed64Field(field: number, value: bigint): Uint8Array {
  if (value === 0n) return EMPTY;
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, value, true);
  return concatBytes(tag(field, WIRE.fixed64), bytes);
}

/** A byte string field. */
export function bytesField(field: number, value: Uint8Array): Uint8Array {
  return value.length === 0 ? EMPTY : messageField(field, value);
}

/** A text field. */
export function textField(field: number, value: string): Uint8Array {
  return bytesField(field, utf8(value));
}

/** An embedded message, written even when it is empty. */
export function messageField(field: number, message: Uint8Array): Uint8Array {
  return concatBytes(tag(field, WIRE.bytes), lengthDelimited(message));
}

/** A message with its length in front. */
export function lengthDelimited(message: Uint8Array): Uint8Array {
  return concatBytes(varint(BigInt(message.length)), message);
}
