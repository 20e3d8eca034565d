/**
 * Signatures that were good lately. A precommit comes once by itself, and again in the certificate of its height, in which
 * the next block carries it: with a set of hundreds that is as much work again, and every block waits for it.
 *
 * What is remembered is a hash over key, signature and message, so that nothing but these very bytes is taken for good. What
 * was not good is checked each time.
 *
 * Source: CometBFT verifies commits with such a cache, too (`SignatureCache`).
 */

import { bytesName, u32 } from "../base/bytes.ts";
import { hashParts } from "../hash/hash.ts";
import { encodePublicKey, type SignatureVerifier } from "./key.ts";

/** The votes of some heights of a large set: 100 bytes each. */
const COUNT_MAX = 4096;

/** As `verify`, which is asked once about what is good. */
export function remembering(verify: SignatureVerifier, countMax: number = COUNT_MAX): SignatureVerifier {
  /** Names of what was good, oldest first. */
  const good = new Set<string>();
  return async (key, message, signature) => {
    const name = bytesName(hashParts("verified", encodePublicKey(key), u32(signature.length), signature, message));
    if (good.has(name)) return true;
    const isGood = await verify(key, message, signature);
    if (isGood && !good.has(name)) {
      if (good.size === countMax) for (const oldest of good) if (good.delete(oldest)) break;
      good.add(name);
    }
    return isGood;
  };
}
