/** What a machine does at that moment: two machines, and two hours of one that is shared, differ by more than two programs do. */

import { generateKeyPairSync, sign, verify } from "node:crypto";
import { present } from "../../crypto/base/assert.ts";

const SAMPLES = 5;
const SAMPLE_MS = 40;
/** Between two looks at the clock. */
const AT_ONCE = 16;

/** Ed25519 signatures that one thread verifies in a second with what Node brings (OpenSSL): a median. Takes a fifth of a second. */
export function ed25519VerifiesPerSecond(): number {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const message = Buffer.alloc(256, 7);
  const signature = sign(null, message, privateKey);
  const rates = Array.from({ length: SAMPLES }, () => {
    const startMs = performance.now();
    let count = 0;
    let tookMs = 0;
    while (tookMs < SAMPLE_MS) {
      for (let once = 0; once < AT_ONCE; once += 1) verify(null, message, publicKey, signature);
      count += AT_ONCE;
      tookMs = performance.now() - startMs;
    }
    return (count * 1000) / tookMs;
  });
  return Math.round(present(rates.toSorted((a, b) => a - b)[SAMPLES >> 1], "median"));
}
