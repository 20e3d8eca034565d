/**
 * Signatures by the Rust addon. Ed25519 is verified under ZIP215 whatever it is asked, so that no second opinion is
 * needed, and many at once for less; ML-DSA-65 is libcrux's. Signing Ed25519 stays with the adapter below, which is as
 * fast.
 */

import type { NativeAddon } from "../../native/addon.ts";
import { assert, unreachable } from "../base/assert.ts";
import { pack } from "./native.ts";
import { randomBytes } from "./random.ts";
import {
  type SignatureAlgorithm,
  type SignatureBackend,
  type SignatureClaim,
  type Signer,
  sizesFit,
  VERIFY_BATCH_COUNT_MAX,
} from "./signatures.ts";

/** Calls under way at a time: the addon puts all cores on one, and a second keeps them busy while answers travel. */
const CALLS_MAX = 2;
/** Signatures a call: some milliseconds of one core. More would make later ones wait for nothing. */
const CALL_COUNT_MAX = { ed25519: 256, "ml-dsa-65": 64 } as const satisfies Record<SignatureAlgorithm, number>;

/** FIPS 204, table 2; `mlDsaKeyPair` gives it before the public key. */
const ML_DSA_SIGNING_KEY_SIZE_BYTES = 4032;
/** Section 3.4: what the deterministic variant takes for randomness. */
const NO_RANDOMNESS = new Uint8Array(32);

/** Adapts the addon, over the adapter that does the rest. */
export function nativeSignatures(addon: NativeAddon, base: SignatureBackend): SignatureBackend {
  const queues = {
    ed25519: new VerifyQueue(addon, "ed25519"),
    "ml-dsa-65": new VerifyQueue(addon, "ml-dsa-65"),
  } as const satisfies Record<SignatureAlgorithm, VerifyQueue>;
  return {
    name: "native",
    signer: (algorithm, seed) => (algorithm === "ed25519" ? base.signer(algorithm, seed) : mlDsaSigner(addon, seed)),
    verify: (algorithm, publicKey, message, signature) => {
      if (!sizesFit(algorithm, publicKey, signature)) return false;
      switch (algorithm) {
        case "ed25519":
          return addon.ed25519Verify(publicKey, message, signature);
        case "ml-dsa-65":
          return addon.mlDsaVerify(publicKey, message, signature);
        default:
          return unreachable(algorithm);
      }
    },
    verifyAsync: async (algorithm, publicKey, message, signature) =>
      sizesFit(algorithm, publicKey, signature) && (await queues[algorithm].verify({ publicKey, message, signature })),
    verifyBatch: async (algorithm, claims) => await verifyBatchNative(addon, algorithm, claims),
  };
}

function mlDsaSigner(addon: NativeAddon, seed: Uint8Array): Signer {
  const pair = addon.mlDsaKeyPair(seed);
  const signingKey = pair.subarray(0, ML_DSA_SIGNING_KEY_SIZE_BYTES);
  return {
    publicKey: pair.slice(ML_DSA_SIGNING_KEY_SIZE_BYTES),
    sign: (message) => addon.mlDsaSign(signingKey, message, randomBytes(NO_RANDOMNESS.length)),
    signDeterministic: (message) => addon.mlDsaSign(signingKey, message, NO_RANDOMNESS),
  };
}

async function verifyBatchNative(
  addon: NativeAddon,
  algorithm: SignatureAlgorithm,
  claims: readonly SignatureClaim[],
): Promise<boolean[]> {
  assert(claims.length <= VERIFY_BATCH_COUNT_MAX, `${claims.length} signatures`);
  const fit = claims.map(({ publicKey, signature }) => sizesFit(algorithm, publicKey, signature));
  const asked = claims.filter((_, index) => fit[index]);
  if (asked.length === 0) return fit;
  const valid = await verifyPacked(addon, algorithm, asked);
  let next = 0;
  return fit.map((isAsked) => isAsked && valid[next++] === 1);
}

/** The sizes fit: the lists of keys and signatures need no lengths. */
async function verifyPacked(
  addon: NativeAddon,
  algorithm: SignatureAlgorithm,
  claims: readonly SignatureClaim[],
): Promise<Uint8Array> {
  const keys = pack(claims.map(({ publicKey }) => publicKey)).bytes;
  const signatures = pack(claims.map(({ signature }) => signature)).bytes;
  const { bytes, lengths } = pack(claims.map(({ message }) => message));
  switch (algorithm) {
    case "ed25519":
      return await addon.ed25519VerifyManyAsync(keys, signatures, bytes, lengths);
    case "ml-dsa-65":
      return await addon.mlDsaVerifyManyAsync(keys, signatures, bytes, lengths);
    default:
      return unreachable(algorithm);
  }
}

type Waiting = SignatureClaim & { readonly settle: PromiseWithResolvers<boolean> };

/**
 * Makes batches of single questions: those that come before the loop turns go together, and those that come while both calls
 * are under way go into the next. It holds as many as callers wait for; who bounds those bounds it.
 */
class VerifyQueue {
  readonly #addon: NativeAddon;
  readonly #algorithm: SignatureAlgorithm;
  readonly #waiting: Waiting[] = [];
  #calls = 0;

  constructor(addon: NativeAddon, algorithm: SignatureAlgorithm) {
    this.#addon = addon;
    this.#algorithm = algorithm;
  }

  /** The inputs are copied: the caller may change them as soon as this returns. */
  verify({ publicKey, message, signature }: SignatureClaim): Promise<boolean> {
    const settle = Promise.withResolvers<boolean>();
    this.#waiting.push({ publicKey: publicKey.slice(), message: message.slice(), signature: signature.slice(), settle });
    if (this.#calls < CALLS_MAX) {
      this.#calls += 1;
      // What is asked before the loop turns comes along: of 16 together each costs a quarter of what one alone does.
      setImmediate(() => void this.#run());
    }
    return settle.promise;
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, CALL_COUNT_MAX[this.#algorithm]);
      try {
        const valid = await verifyPacked(this.#addon, this.#algorithm, batch);
        for (const [index, { settle }] of batch.entries()) settle.resolve(valid[index] === 1);
      } catch (error) {
        // Our own fault, or a panic: whoever asked hears of it, and nobody takes it for a verdict.
        for (const { settle } of batch) settle.reject(error);
      }
      // Who has heard asks the next; those questions come together too.
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#calls -= 1;
  }
}
