/**
 * Proof of work: our arithmetic of targets and work, on the numbers and headers of Bitcoin and its kin. Only what is hashed
 * is theirs: eighty bytes, by SHA-256 twice, read as a little-endian number.
 *
 * A compact target is eight hex digits, with or without `0x`, or a number; the answer is written as the question was.
 */

import { createHash } from "node:crypto";
import * as z from "zod";
import { bytesEqual, toHex } from "../../../crypto/base/bytes.ts";
import { type Coded, ok, type Result } from "../../../crypto/base/result.ts";
import { asertBits, windowBits } from "../../../chain/block/retarget.ts";
import { targetOf, workOf } from "../../../chain/block/work.ts";
import { fixedBytes, integer, natural, type Operation, operation } from "../operation.ts";

/** A compact target, and how to write one as it was written. */
type Bits = { readonly value: number; readonly write: (value: number) => string | number };

const bits = z.union([
  z
    .int()
    .min(0)
    .max(0xffff_ffff)
    .transform((value): Bits => ({ value, write: (other) => other })),
  z
    .string()
    .regex(/^(?:0x)?[0-9a-f]{8}$/, "not a compact target")
    .transform((text): Bits => {
      const prefix = text.startsWith("0x") ? "0x" : "";
      return {
        value: Number.parseInt(text.slice(prefix.length), 16),
        write: (other) => `${prefix}${other.toString(16).padStart(8, "0")}`,
      };
    }),
]);

/** The rules of the chains that the vectors are of, in seconds: a block in ten minutes, a half-life of two days. */
const INTERVAL_S = 600n;
const HALF_LIFE_S = 172_800n;
const WINDOW_S = 2016n * INTERVAL_S;
const BITS_MAX: Bits = { value: 0x1d00_ffff, write: (other) => other };

const positive = natural.refine((value) => value > 0n, "not positive");

const Asert = z.strictObject({
  anchorHeight: natural,
  anchorParentTime: integer,
  anchorBits: bits,
  height: natural,
  time: integer,
  interval: positive.default(INTERVAL_S),
  halfLife: positive.default(HALF_LIFE_S),
  bitsMax: bits.default(BITS_MAX),
});

function asert(input: z.output<typeof Asert>): Result<unknown, Coded> {
  const { anchorBits, bitsMax, ...question } = input;
  const anchor = targetOf(anchorBits.value);
  if (!anchor.ok) return anchor;
  const most = targetOf(bitsMax.value);
  if (!most.ok) return most;
  return ok({ bits: anchorBits.write(asertBits({ ...question, anchorBits: anchorBits.value, targetMax: most.value })) });
}

const Retarget = z.strictObject({
  bits,
  firstTime: integer,
  lastTime: integer,
  expected: positive.default(WINDOW_S),
  bitsMax: bits.default(BITS_MAX),
});

function retarget({ bits: before, bitsMax, ...span }: z.output<typeof Retarget>): Result<unknown, Coded> {
  const target = targetOf(before.value);
  if (!target.ok) return target;
  const most = targetOf(bitsMax.value);
  if (!most.ok) return most;
  return ok({ bits: before.write(windowBits({ bits: before.value, ...span, targetMax: most.value })) });
}

function chainwork(all: readonly Bits[]): Result<unknown, Coded> {
  let work = 0n;
  for (const { value } of all) {
    const target = targetOf(value);
    if (!target.ok) return target;
    work += workOf(target.value);
  }
  return ok({ work });
}

const HEADER_SIZE_BYTES = 80;
const Header = z.strictObject({
  header: fixedBytes(HEADER_SIZE_BYTES),
  previous: fixedBytes(HEADER_SIZE_BYTES).optional(),
});

function hashTwice(bytes: Uint8Array): Uint8Array {
  const once = createHash("sha256").update(bytes).digest();
  return new Uint8Array(createHash("sha256").update(once).digest());
}

/** Layout: version 4, previous hash 32, merkle root 32, time 4, bits 4, nonce 4, little-endian. */
function header(input: z.output<typeof Header>): Result<unknown, Coded> {
  const view = new DataView(input.header.buffer, input.header.byteOffset, HEADER_SIZE_BYTES);
  const compact = view.getUint32(72, true);
  const hash = hashTwice(input.header);
  const previousHash = input.header.subarray(4, 36);
  const target = targetOf(compact);
  const number = BigInt(`0x${toHex(hash.toReversed())}`);
  return ok({
    hash,
    previousHash,
    time: view.getUint32(68, true),
    bits: compact.toString(16).padStart(8, "0"),
    meetsTarget: target.ok && number <= target.value,
    ...(input.previous === undefined ? {} : { isLinked: bytesEqual(previousHash, hashTwice(input.previous)) }),
  });
}

/** The operations of this file. */
export const POW: readonly Operation[] = [
  operation("asert.target", {
    help: "{anchorHeight, anchorParentTime, anchorBits, height, time, interval?, halfLife?, bitsMax?} -> {bits}, aserti3-2d",
    input: Asert,
    answer: asert,
  }),
  operation("pow.retarget", {
    help: "{bits, firstTime, lastTime, expected?, bitsMax?} -> {bits}, by windows",
    input: Retarget,
    answer: retarget,
  }),
  operation("pow.chainwork", {
    help: "{bits: [compact target]} -> {work}",
    input: z.strictObject({ bits: z.array(bits).max(100_000) }),
    answer: ({ bits: all }) => chainwork(all),
  }),
  operation("pow.header", {
    help: "{header: 80 bytes, previous?} -> {hash, previousHash, time, bits, meetsTarget, isLinked?}",
    input: Header,
    answer: header,
  }),
];
