/** The platform's cryptographic random numbers: the one source of chance in this folder, for new keys, salts and nonces. */

import { assert } from "../base/assert.ts";

/** The size of every seed of this project. */
export const SEED_SIZE_BYTES = 32;

/** What draws random bytes. Tests that fix a format pass their own. */
export type RandomBytes = (sizeBytes: number) => Uint8Array;

/** Fresh bytes from the platform, at most 65,536 at once. */
export const randomBytes: RandomBytes = (sizeBytes) => {
  assert(sizeBytes >= 0 && sizeBytes <= 0x1_0000, "random bytes asked for: {}", sizeBytes);
  return globalThis.crypto.getRandomValues(new Uint8Array(sizeBytes));
};

/** A fresh seed for any key type. */
export function generateSeed(): Uint8Array {
  return randomBytes(SEED_SIZE_BYTES);
}
