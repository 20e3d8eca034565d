/**
 * Key encapsulation by ML-KEM (FIPS 203): two parties agree on a secret that a later quantum computer cannot find
 * from what they sent.
 *
 * It authenticates nobody, and it is not used alone: mix its secret with that of a classical exchange and with a
 * hash of both public keys and the ciphertext, under a domain tag.
 */

import { assert } from "../base/assert.ts";
import { fail, ok, type Result } from "../base/result.ts";
import { kems } from "../backend/backends.ts";
import {
  type Encapsulation,
  KEM_CIPHERTEXT_SIZES_BYTES,
  KEM_PUBLIC_KEY_SIZES_BYTES,
  KEM_SEED_SIZE_BYTES,
  type KemBackend,
  type KemType,
} from "../backend/kems.ts";

export { type Encapsulation, KEM_SEED_SIZE_BYTES, KEM_TYPES, type KemType } from "../backend/kems.ts";

/** A public key: 1,184 or 1,568 bytes. */
export type KemPublicKey = { readonly type: KemType; readonly bytes: Uint8Array };

/** A key that can decapsulate. Holds its secret for as long as it lives. */
export interface KemKeyPair {
  readonly publicKey: KemPublicKey;
  /**
   * The shared secret, 32 bytes.
   *
   * @returns `kem_ciphertext` for a wrong length only. A ciphertext that was tampered with gives a secret that
   * nobody else has (implicit rejection, FIPS 203, section 6.3): what is encrypted under it will not open.
   */
  decapsulate(ciphertext: Uint8Array): Result<Uint8Array, { readonly code: "kem_ciphertext"; readonly gotBytes: number }>;
}

/** Why a public key is not one. */
export type KemKeyError = { readonly code: "kem_public_key"; readonly gotBytes: number };

/** The key pair of a 64-byte seed (`d ‖ z`): the same seed and type always give the same keys. */
export function kemKeyPairFromSeed(type: KemType, seed: Uint8Array, backend: KemBackend = kems): KemKeyPair {
  assert(seed.length === KEM_SEED_SIZE_BYTES, "kem seed is {} bytes", seed.length);
  const decapsulator = backend.decapsulator(type, seed);
  return {
    publicKey: { type, bytes: decapsulator.publicKey },
    decapsulate: (ciphertext) => {
      if (ciphertext.length !== KEM_CIPHERTEXT_SIZES_BYTES[type])
        return fail({ code: "kem_ciphertext", gotBytes: ciphertext.length });
      return ok(decapsulator.decapsulate(ciphertext));
    },
  };
}

/** Makes a fresh secret for the holder of `publicKey`. Refuses a key that fails the checks of FIPS 203, section 7.2. */
export function encapsulate(publicKey: KemPublicKey, backend: KemBackend = kems): Result<Encapsulation, KemKeyError> {
  const made = backend.encapsulate(publicKey.type, publicKey.bytes);
  if (made === undefined) return fail({ code: "kem_public_key", gotBytes: publicKey.bytes.length });
  return ok(made);
}

/** How many bytes keys and ciphertexts have. */
export function kemSizesBytes(type: KemType): { readonly publicKey: number; readonly ciphertext: number } {
  return { publicKey: KEM_PUBLIC_KEY_SIZES_BYTES[type], ciphertext: KEM_CIPHERTEXT_SIZES_BYTES[type] };
}
