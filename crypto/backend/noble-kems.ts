/** ML-KEM by noble: pure JavaScript, runs anywhere. */

import { ml_kem1024, ml_kem768 } from "@noble/post-quantum/ml-kem.js";
import { type Encapsulation, KEM_PUBLIC_KEY_SIZES_BYTES, type KemBackend, type KemType } from "./kems.ts";

const KEMS = { "ml-kem-768": ml_kem768, "ml-kem-1024": ml_kem1024 } as const satisfies Record<KemType, unknown>;

/** The portable adapter. */
export const nobleKems: KemBackend = {
  name: "noble",
  decapsulator: (type, seed) => {
    const { publicKey, secretKey } = KEMS[type].keygen(seed);
    return { publicKey, decapsulate: (ciphertext) => KEMS[type].decapsulate(ciphertext, secretKey) };
  },
  encapsulate: (type, publicKey) => encapsulateNoble(type, publicKey),
};

/** Encapsulates; with `message` (32 bytes, m of ML-KEM.Encaps_internal) deterministically, which only vectors want. */
export function encapsulateNoble(type: KemType, publicKey: Uint8Array, message?: Uint8Array): Encapsulation | undefined {
  if (publicKey.length !== KEM_PUBLIC_KEY_SIZES_BYTES[type]) return undefined;
  try {
    const { cipherText, sharedSecret } = KEMS[type].encapsulate(publicKey, message);
    return { ciphertext: cipherText, sharedSecret };
  } catch {
    // noble throws when a coefficient of the key is not reduced: a peer's key, refused.
    return undefined;
  }
}

/**
 * Decapsulates under an expanded private key (`dk` of FIPS 203), which only vectors have: our keys are seeds.
 * `undefined` when the key or the ciphertext has another length than it must, or the key fails the check of its hash
 * (section 7.3).
 */
export function decapsulateNoble(type: KemType, secretKey: Uint8Array, ciphertext: Uint8Array): Uint8Array | undefined {
  const { lengths } = KEMS[type];
  if (secretKey.length !== lengths.secretKey || ciphertext.length !== lengths.cipherText) return undefined;
  try {
    return KEMS[type].decapsulate(ciphertext, secretKey);
  } catch {
    // noble throws when the hash of the public key inside does not match.
    return undefined;
  }
}
