/**
 * ML-KEM (FIPS 203) behind one interface. A seed is `d ‖ z`, 64 bytes, of ML-KEM.KeyGen_internal.
 *
 * | Node 24, one core, a second | node:crypto | noble |
 * | --- | --- | --- |
 * | ML-KEM-768 keygen / encapsulate / decapsulate | 34,500 / 59,300 / 41,000 | 3,300 / 2,730 / 2,260 |
 */

/** The two parameter sets: NIST categories 3 and 5. */
export type KemType = "ml-kem-768" | "ml-kem-1024";

export const KEM_TYPES: readonly KemType[] = ["ml-kem-768", "ml-kem-1024"];

export const KEM_SEED_SIZE_BYTES = 64;
export const KEM_PUBLIC_KEY_SIZES_BYTES = { "ml-kem-768": 1184, "ml-kem-1024": 1568 } as const satisfies Record<KemType, number>;
export const KEM_CIPHERTEXT_SIZES_BYTES = { "ml-kem-768": 1088, "ml-kem-1024": 1568 } as const satisfies Record<KemType, number>;

/** A fresh shared secret, and what carries it to the key's holder. */
export type Encapsulation = { readonly sharedSecret: Uint8Array; readonly ciphertext: Uint8Array };

/** A private key, ready to decapsulate. */
export interface Decapsulator {
  readonly publicKey: Uint8Array;
  /** The ciphertext must be of the right size; one that was tampered with gives a secret that nobody else has. */
  decapsulate(ciphertext: Uint8Array): Uint8Array;
}

/** One implementation of both parameter sets. */
export interface KemBackend {
  readonly name: "node" | "noble";
  decapsulator(type: KemType, seed: Uint8Array): Decapsulator;
  /** `undefined` when the key fails the checks of FIPS 203, section 7.2. */
  encapsulate(type: KemType, publicKey: Uint8Array): Encapsulation | undefined;
}
