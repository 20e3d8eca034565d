/** Signatures. A key or a signature of a wrong length is not valid, and no error. */

import * as z from "zod";
import { verifyInContextNoble } from "../../../crypto/backend/noble-signatures.ts";
import { ok } from "../../../crypto/base/result.ts";
import { keyPairFromSeed, SEED_SIZE_BYTES, verifySignature } from "../../../crypto/sign/key.ts";
import { bytes, fixedBytes, type Operation, operation } from "../operation.ts";

const signed = { publicKey: bytes, message: bytes, signature: bytes };

/** The operations of this file. */
export const SIGNATURES: readonly Operation[] = [
  operation("ed25519.verify", {
    help: "{publicKey, message, signature} -> {valid}, by ZIP215",
    input: z.strictObject(signed),
    answer: ({ publicKey, message, signature }) =>
      ok({ valid: verifySignature({ type: "ed25519", bytes: publicKey }, message, signature) }),
  }),
  operation("mldsa65.verify", {
    help: "{publicKey, message, signature, context?} -> {valid}",
    input: z.strictObject({ ...signed, context: bytes.optional() }),
    answer: ({ context, publicKey, message, signature }) => {
      if (context !== undefined && context.length > 0)
        return ok({ valid: verifyInContextNoble({ publicKey, message, signature, context }) });
      return ok({ valid: verifySignature({ type: "ml-dsa-65", bytes: publicKey }, message, signature) });
    },
  }),
  operation("mldsa65.keygen", {
    help: "{seed} -> {publicKey}",
    input: z.strictObject({ seed: fixedBytes(SEED_SIZE_BYTES) }),
    answer: ({ seed }) => ok({ publicKey: keyPairFromSeed("ml-dsa-65", seed).publicKey.bytes }),
  }),
];
