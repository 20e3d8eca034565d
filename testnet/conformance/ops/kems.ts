/**
 * ML-KEM. Our keys are seeds (`d ‖ z`), and encapsulation draws its own randomness: that is what `seed`, and leaving
 * `randomness` out, ask for. Vectors fix the randomness and hold expanded keys; those run on the portable back end.
 */

import * as z from "zod";
import { decapsulateNoble, encapsulateNoble } from "../../../crypto/backend/noble-kems.ts";
import { type Coded, fail, ok, type Result } from "../../../crypto/base/result.ts";
import { encapsulate, KEM_SEED_SIZE_BYTES, kemKeyPairFromSeed, kemSizesBytes, type KemType } from "../../../crypto/kem/kem.ts";
import { bytes, fixedBytes, type Operation, operation } from "../operation.ts";

const seed = fixedBytes(KEM_SEED_SIZE_BYTES);

const Decapsulation = z.union([
  z.strictObject({ seed, ciphertext: bytes }),
  z.strictObject({ secretKey: bytes, ciphertext: bytes }),
]);

function decapsulate(type: KemType, input: z.output<typeof Decapsulation>): Result<unknown, Coded> {
  if ("seed" in input) {
    const opened = kemKeyPairFromSeed(type, input.seed).decapsulate(input.ciphertext);
    return opened.ok ? ok({ sharedSecret: opened.value }) : opened;
  }
  if (input.ciphertext.length !== kemSizesBytes(type).ciphertext) return fail({ code: "kem_ciphertext" });
  const sharedSecret = decapsulateNoble(type, input.secretKey, input.ciphertext);
  return sharedSecret === undefined ? fail({ code: "kem_secret_key" }) : ok({ sharedSecret });
}

function operationsOf(prefix: string, type: KemType): readonly Operation[] {
  return [
    operation(`${prefix}.keygen`, {
      help: "{seed: d and z, 64 bytes} -> {publicKey}",
      input: z.strictObject({ seed }),
      answer: (input) => ok({ publicKey: kemKeyPairFromSeed(type, input.seed).publicKey.bytes }),
    }),
    operation(`${prefix}.encapsulate`, {
      help: "{publicKey, randomness?: m, 32 bytes} -> {ciphertext, sharedSecret}",
      input: z.strictObject({ publicKey: bytes, randomness: fixedBytes(32).optional() }),
      answer: ({ publicKey, randomness }) => {
        if (randomness === undefined) return encapsulate({ type, bytes: publicKey });
        const made = encapsulateNoble(type, publicKey, randomness);
        return made === undefined ? fail({ code: "kem_public_key" }) : ok(made);
      },
    }),
    operation(`${prefix}.decapsulate`, {
      help: "{ciphertext, seed | secretKey: expanded} -> {sharedSecret}, implicit rejection included",
      input: Decapsulation,
      answer: (input) => decapsulate(type, input),
    }),
  ];
}

/** The operations of this file. */
export const KEMS: readonly Operation[] = [
  ...operationsOf("mlkem768", "ml-kem-768"),
  ...operationsOf("mlkem1024", "ml-kem-1024"),
];
