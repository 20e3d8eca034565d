/**
 * Signatures behind one interface. All adapters give the same answer to every question; they differ in speed.
 *
 * | Node 24, one core, a second | node:crypto | noble |
 * | --- | --- | --- |
 * | Ed25519 sign / verify | 44,800 / 16,400 | 2,600 / 1,140 |
 * | ML-DSA-65 sign / verify | 1,520 / 7,850 | 238 / 1,040 |
 *
 * The Rust addon verifies Ed25519 with a third of the processor time of `node:crypto`, in batches with a seventh, and wrong
 * ones with a fiftieth; ML-DSA-65 it verifies with less than half and signs with a sixth (`native/README.md`).
 *
 * Ed25519 is verified by the rule of ZIP215 everywhere: `S < L`, `A` and `R` may be non-canonical encodings, and the
 * equation is the cofactored one. The addon and noble decide just that. Whatever `node:crypto` accepts (`S < L`,
 * cofactorless), ZIP215 accepts, so its adapter accepts at once and lets noble decide the rest.
 *
 * ML-DSA-65 is FIPS 204 with the empty context: our own domain tag is inside the message. A seed is xi of
 * ML-DSA.KeyGen_internal.
 */

/** What the adapters implement; `hybrid` is made of these two above them. */
export type SignatureAlgorithm = "ed25519" | "ml-dsa-65";

export const PUBLIC_KEY_SIZES_BYTES = { ed25519: 32, "ml-dsa-65": 1952 } as const satisfies Record<SignatureAlgorithm, number>;
export const SIGNATURE_SIZES_BYTES = { ed25519: 64, "ml-dsa-65": 3309 } as const satisfies Record<SignatureAlgorithm, number>;

/** Whether the sizes are the ones of the algorithm: nothing else reaches a library. */
export function sizesFit(algorithm: SignatureAlgorithm, publicKey: Uint8Array, signature: Uint8Array): boolean {
  return publicKey.length === PUBLIC_KEY_SIZES_BYTES[algorithm] && signature.length === SIGNATURE_SIZES_BYTES[algorithm];
}

/** `signature` is the key's over `message`: what is to be found out. */
export type SignatureClaim = {
  readonly publicKey: Uint8Array;
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
};

/** No batch holds more: more than the largest block has. */
export const VERIFY_BATCH_COUNT_MAX = 65_536;

/** A private key, ready to sign. */
export interface Signer {
  readonly publicKey: Uint8Array;
  /** Ed25519 signs deterministically; ML-DSA draws fresh randomness (the hedged variant of FIPS 204, section 3.4). */
  sign(message: Uint8Array): Uint8Array;
  /** As `sign`, without randomness in either algorithm (FIPS 204, section 3.4, the deterministic variant). */
  signDeterministic(message: Uint8Array): Uint8Array;
}

/** One implementation of both algorithms. */
export interface SignatureBackend {
  readonly name: "native" | "node" | "noble";
  /** The seed must be of the algorithm's size. */
  signer(algorithm: SignatureAlgorithm, seed: Uint8Array): Signer;
  /** Never throws: wrong sizes and malformed points are `false`. */
  verify(algorithm: SignatureAlgorithm, publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
  /** As `verify`, away from the calling thread where the platform can and that is worth its while: not for one or two at a time. */
  verifyAsync(algorithm: SignatureAlgorithm, publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): Promise<boolean>;
  /**
   * Many claims at once, and a verdict for each, in order: the verdicts of `verify`, away from the calling thread where
   * the platform can, and for less a claim where batches are cheaper. The inputs must stay as they are until then.
   *
   * @param claims - at most `VERIFY_BATCH_COUNT_MAX`
   */
  verifyBatch(algorithm: SignatureAlgorithm, claims: readonly SignatureClaim[]): Promise<boolean[]>;
}
