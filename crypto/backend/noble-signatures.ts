/** Signatures by noble: pure JavaScript, runs anywhere, and decides Ed25519 where `node:crypto` refuses. */

import { ed25519 } from "@noble/curves/ed25519.js";
import { ml_dsa65 } from "@noble/post-quantum/ml-dsa.js";
import { assert, unreachable } from "../base/assert.ts";
import {
  type SignatureAlgorithm,
  type SignatureBackend,
  type SignatureClaim,
  type Signer,
  sizesFit,
  VERIFY_BATCH_COUNT_MAX,
} from "./signatures.ts";

/** The portable adapter. `verifyAsync` and `verifyBatch` work on the calling thread; a batch lets others have it in between. */
export const nobleSignatures: SignatureBackend = {
  name: "noble",
  signer,
  verify,
  verifyAsync: async (algorithm, publicKey, message, signature) => verify(algorithm, publicKey, message, signature),
  verifyBatch,
};

/** Claims between two breaths: some ten milliseconds. */
const BREATH_COUNT = 8;

async function verifyBatch(algorithm: SignatureAlgorithm, claims: readonly SignatureClaim[]): Promise<boolean[]> {
  assert(claims.length <= VERIFY_BATCH_COUNT_MAX, "{} signatures", claims.length);
  const verdicts: boolean[] = [];
  for (const { publicKey, message, signature } of claims) {
    if (verdicts.length % BREATH_COUNT === BREATH_COUNT - 1) await new Promise((resolve) => void setTimeout(resolve, 0));
    verdicts.push(verify(algorithm, publicKey, message, signature));
  }
  return verdicts;
}

function signer(algorithm: SignatureAlgorithm, seed: Uint8Array): Signer {
  switch (algorithm) {
    case "ed25519": {
      const sign = (message: Uint8Array): Uint8Array => ed25519.sign(message, seed);
      return { publicKey: ed25519.getPublicKey(seed), sign, signDeterministic: sign };
    }
    case "ml-dsa-65": {
      const { publicKey, secretKey } = ml_dsa65.keygen(seed);
      return {
        publicKey,
        sign: (message) => ml_dsa65.sign(message, secretKey),
        signDeterministic: (message) => ml_dsa65.sign(message, secretKey, { extraEntropy: false }),
      };
    }
    default:
      return unreachable(algorithm);
  }
}

/**
 * Verifies ML-DSA-65 under a context (FIPS 204, section 5.3), of which our own signatures have none: their domain tag is
 * inside the message. A context of more than 255 bytes has no signatures.
 */
export function verifyInContextNoble(of: {
  readonly publicKey: Uint8Array;
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
  readonly context: Uint8Array;
}): boolean {
  const { publicKey, message, signature, context } = of;
  if (!sizesFit("ml-dsa-65", publicKey, signature) || context.length > 255) return false;
  try {
    return ml_dsa65.verify(signature, message, publicKey, { context });
  } catch {
    // As in `verify`.
    return false;
  }
}

const VERIFY = {
  ed25519: (publicKey, message, signature) => ed25519.verify(signature, message, publicKey, { zip215: true }),
  "ml-dsa-65": (publicKey, message, signature) => ml_dsa65.verify(signature, message, publicKey),
} as const satisfies Record<SignatureAlgorithm, (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array) => boolean>;

function verify(algorithm: SignatureAlgorithm, publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (!sizesFit(algorithm, publicKey, signature)) return false;
  try {
    return VERIFY[algorithm](publicKey, message, signature);
  } catch {
    // noble throws on some malformed keys and signatures of the right size. They are a peer's: a refusal.
    return false;
  }
}
