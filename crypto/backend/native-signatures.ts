/**
 * Signatures by the Rust addon. Ed25519 is verified under ZIP215 whatever it is asked, so that no second opinion is
 * needed, and many at once for less; ML-DSA-65 is libcrux's. Signing Ed25519 stays with the adapter below, which is as
 * fast.
 */

import type { NativeAddon } from "../../native/addon.ts";
import { assert, unreachable } from "../base/assert.ts";
import { pack, packFixed } from "./native.ts";
import { randomBytes } from "./random.ts";
import {
  PUBLIC_KEY_SIZES_BYTES,
  SIGNATURE_SIZES_BYTES,
  type SignatureAlgorithm,
  type SignatureBackend,
  type SignatureClaim,
  type Signer,
  sizesFit,
  VERIFY_BATCH_COUNT_MAX,
} from "./signatures.ts";

/** Signatures a call: some milliseconds of one core. More would make later ones wait for nothing. */
const CALL_COUNT_MAX = { ed25519: 256, "ml-dsa-65": 64 } as const satisfies Record<SignatureAlgorithm, number>;

/**
 * So few are checked on the calling thread: 50 us for Ed25519 and 115 for ML-DSA-65, where waking another thread and being woken
 * by it takes 100 of all processors beside that, and a vote waits for it.
 */
const HERE_COUNT_MAX = 2;

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
    verifyBatch: async (algorithm, claims) => {
      assert(claims.length <= VERIFY_BATCH_COUNT_MAX, "{} signatures", claims.length);
      const fit = claims.map(({ publicKey, signature }) => sizesFit(algorithm, publicKey, signature));
      const asked = fit.every(Boolean) ? claims : claims.filter((_, index) => fit[index]);
      if (asked.length === 0) return fit;
      // What fills calls of its own goes at once, to all cores; fewer go together with what others ask.
      const verdicts =
        asked.length > CALL_COUNT_MAX[algorithm]
          ? Array.from(await verifyPacked(addon, algorithm, asked), (verdict) => verdict === 1)
          : await queues[algorithm].verifyAll(asked);
      let next = 0;
      return fit.map((isAsked) => isAsked && verdicts[next++] === true);
    },
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

/** The sizes fit: the lists of keys and signatures need no lengths. */
async function verifyPacked(
  addon: NativeAddon,
  algorithm: SignatureAlgorithm,
  claims: readonly SignatureClaim[],
): Promise<Uint8Array> {
  const keys = packFixed(claims, PUBLIC_KEY_SIZES_BYTES[algorithm], ({ publicKey }) => publicKey);
  const signatures = packFixed(claims, SIGNATURE_SIZES_BYTES[algorithm], ({ signature }) => signature);
  const { bytes, lengths } = pack(claims, ({ message }) => message);
  switch (algorithm) {
    case "ed25519":
      return await addon.ed25519VerifyManyAsync(keys, signatures, bytes, lengths);
    case "ml-dsa-65":
      return await addon.mlDsaVerifyManyAsync(keys, signatures, bytes, lengths);
    default:
      return unreachable(algorithm);
  }
}

/** As `verifyPacked`, on the calling thread. */
function verifyHere(addon: NativeAddon, algorithm: SignatureAlgorithm, claims: readonly SignatureClaim[]): Uint8Array {
  return Uint8Array.from(claims, ({ publicKey, message, signature }) => {
    const isValid =
      algorithm === "ed25519"
        ? addon.ed25519Verify(publicKey, message, signature)
        : addon.mlDsaVerify(publicKey, message, signature);
    return isValid ? 1 : 0;
  });
}

/** Claims of one caller, in order: those before `taken` are in a call or answered. */
type Group = {
  readonly claims: readonly SignatureClaim[];
  readonly verdicts: boolean[];
  readonly settle: PromiseWithResolvers<readonly boolean[]>;
  taken: number;
};

/**
 * Makes calls of many questions, one call at a time: those that come before the loop turns go together, and those that come
 * while a call is under way go into the next, so that under load sums are long and cheap. Single questions are votes and the
 * like, and go first. It holds as many as callers wait for; who bounds those bounds it.
 */
class VerifyQueue {
  readonly #addon: NativeAddon;
  readonly #algorithm: SignatureAlgorithm;
  /** Oldest first; each has claims that no call has taken. */
  readonly #single: Group[] = [];
  readonly #waiting: Group[] = [];
  #isRunning = false;

  constructor(addon: NativeAddon, algorithm: SignatureAlgorithm) {
    this.#addon = addon;
    this.#algorithm = algorithm;
  }

  /** The inputs are copied: the caller may change them as soon as this returns. */
  async verify({ publicKey, message, signature }: SignatureClaim): Promise<boolean> {
    const copy = { publicKey: publicKey.slice(), message: message.slice(), signature: signature.slice() };
    return (await this.#ask(this.#single, [copy]))[0] === true;
  }

  /** A verdict for each, in order. Their bytes must stay as they are until then. */
  async verifyAll(claims: readonly SignatureClaim[]): Promise<readonly boolean[]> {
    return await this.#ask(this.#waiting, claims);
  }

  #ask(queue: Group[], claims: readonly SignatureClaim[]): Promise<readonly boolean[]> {
    const group: Group = { claims, verdicts: claims.map(() => false), settle: Promise.withResolvers(), taken: 0 };
    queue.push(group);
    if (!this.#isRunning) {
      this.#isRunning = true;
      // What is asked before the loop turns comes along: of 16 together each costs a quarter of what one alone does.
      setImmediate(() => void this.#run());
    }
    return group.settle.promise;
  }

  async #run(): Promise<void> {
    while (this.#single.length > 0 || this.#waiting.length > 0) {
      const parts = this.#take(CALL_COUNT_MAX[this.#algorithm]);
      try {
        const claims = claimsOf(parts);
        const isAlone = claims.length <= HERE_COUNT_MAX;
        const valid = isAlone
          ? verifyHere(this.#addon, this.#algorithm, claims)
          : await verifyPacked(this.#addon, this.#algorithm, claims);
        let next = 0;
        for (const { group, from, to } of parts) {
          for (let index = from; index < to; index += 1) group.verdicts[index] = valid[next++] === 1;
          if (to === group.claims.length) group.settle.resolve(group.verdicts);
        }
      } catch (error) {
        // Our own fault, or a panic: whoever asked hears of it, and nobody takes it for a verdict.
        for (const { group } of parts) group.settle.reject(error);
      }
      // Who has heard asks the next; those questions come together too.
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#isRunning = false;
  }

  /** The oldest claims that no call has taken, single ones first. */
  #take(countMax: number): readonly Part[] {
    const parts: Part[] = [];
    let left = countMax;
    for (const queue of [this.#single, this.#waiting]) {
      for (let group = queue[0]; left > 0 && group !== undefined; group = queue[0]) {
        const from = group.taken;
        group.taken = Math.min(group.claims.length, from + left);
        left -= group.taken - from;
        parts.push({ group, from, to: group.taken });
        if (group.taken === group.claims.length) queue.shift();
      }
    }
    return parts;
  }
}

/** Claims `from` to `to - 1` of a group. */
type Part = { readonly group: Group; readonly from: number; readonly to: number };

function claimsOf(parts: readonly Part[]): readonly SignatureClaim[] {
  const [first] = parts;
  if (parts.length === 1 && first !== undefined && first.to - first.from === first.group.claims.length) return first.group.claims;
  return parts.flatMap(({ group, from, to }) => group.claims.slice(from, to));
}
