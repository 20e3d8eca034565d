/** The rows of node numbers: who may make Scarab ids under a number, and of which time. */

import type { Result } from "../../crypto/base/result.ts";
import { type DecodeError, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { NODE_NUMBER_MAX, type NodeNumber, nodeNumberOf } from "../../crypto/id/scarab.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { readAddress, readTimeMs } from "../block/fields.ts";
import { NUMBER_HOLDER_SIZE_BYTES } from "../block/limits.ts";

/**
 * The newest lease of a node number. Ids of its owner have times in `startMs <= time < endMs`, milliseconds since 1970 UTC;
 * the leases of a number before it end at or before `startMs`.
 */
export type NumberLeaseRow = {
  readonly owner: Address;
  /** Which of the owner's data directories may use it (`NUMBER_HOLDER_SIZE_BYTES`). */
  readonly holder: Uint8Array;
  /** How many times the number was claimed, this one included. */
  readonly epoch: bigint;
  readonly startMs: bigint;
  readonly endMs: bigint;
};

/** The one encoding of the row of a node number. */
export function encodeNumberLease({ owner, holder, epoch, startMs, endMs }: NumberLeaseRow): Uint8Array {
  return new Writer().array(5).bytes(owner).bytes(holder).uint(epoch).uint(startMs).uint(endMs).finish();
}

/** Parses what `encodeNumberLease` made. */
export function parseNumberLease(bytes: Uint8Array): Result<NumberLeaseRow, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("nodeNumber").tuple(5);
    return {
      owner: readAddress(reader, "owner"),
      holder: reader.field("holder").fixed(NUMBER_HOLDER_SIZE_BYTES).slice(),
      epoch: reader.field("epoch").uint(),
      startMs: readTimeMs(reader, "startMs"),
      endMs: readTimeMs(reader, "endMs"),
    };
  });
}

/** The one encoding of the number that an address leased last. */
export function encodeNumberOf(number: NodeNumber): Uint8Array {
  return new Writer().array(1).uint(number).finish();
}

/** Parses what `encodeNumberOf` made. */
export function parseNumberOf(bytes: Uint8Array): Result<NodeNumber, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("numberOf").tuple(1);
    return nodeNumberOf(reader.field("number").number(NODE_NUMBER_MAX));
  });
}
