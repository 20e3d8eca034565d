/** Hashes: BLAKE3 without a domain, as its vectors are, and Poseidon. */

import * as z from "zod";
import { blake3 } from "../../../crypto/backend/blake3.ts";
import { ok } from "../../../crypto/base/result.ts";
import { POSEIDON_FIELD_ORDER, POSEIDON_INPUTS_MAX, poseidonHash } from "../../../crypto/hash/poseidon.ts";
import { bytes, natural, type Operation, operation } from "../operation.ts";

const element = natural.refine((value) => value < POSEIDON_FIELD_ORDER, "not below the order of the field");

/** The operations of this file. */
export const HASHES: readonly Operation[] = [
  operation("blake3.hash", {
    help: "{data} -> {hash}, 32 bytes",
    input: z.strictObject({ data: bytes }),
    answer: ({ data }) => ok({ hash: blake3(data) }),
  }),
  operation("poseidon.hash", {
    help: "{inputs: 1 to 16 field elements} -> {hash}, BN254 with circomlib's parameters",
    input: z.strictObject({ inputs: z.array(element).min(1).max(POSEIDON_INPUTS_MAX) }),
    answer: ({ inputs }) => ok({ hash: poseidonHash(inputs) }),
  }),
];
