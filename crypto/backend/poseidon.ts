/**
 * Poseidon over BN254 by the Rust addon. `crypto/hash/poseidon.ts` holds the rule and the portable implementation, and
 * has checked that the inputs are field elements and as many as there are parameters for.
 */

import type { NativeAddon } from "../../native/addon.ts";
import { present } from "../base/assert.ts";
import { native } from "./native.ts";

const WORDS = 4;
const WORD_SIZE_BITS = 64n;

/** Digests of groups of equally many numbers, in order. */
export interface PoseidonBackend {
  hash(groups: readonly (readonly bigint[])[]): bigint[];
  /** As `hash`, away from the calling thread. */
  hashAsync(groups: readonly (readonly bigint[])[]): Promise<bigint[]>;
}

/** The addon's implementation, or `undefined` where there is no addon. */
export const poseidonBackend: PoseidonBackend | undefined = native && nativePoseidon(native);

function nativePoseidon(addon: NativeAddon): PoseidonBackend {
  return {
    hash: (groups) => (groups.length === 0 ? [] : numbersOf(addon.poseidonMany(countOf(groups), wordsOf(groups)))),
    hashAsync: async (groups) =>
      groups.length === 0 ? [] : numbersOf(await addon.poseidonManyAsync(countOf(groups), wordsOf(groups))),
  };
}

function countOf(groups: readonly (readonly bigint[])[]): number {
  return present(groups[0], "group").length;
}

function wordsOf(groups: readonly (readonly bigint[])[]): BigUint64Array {
  const numbers = groups.flat();
  const words = new BigUint64Array(numbers.length * WORDS);
  for (const [index, number] of numbers.entries()) {
    // An element of the array keeps the low 64 bits of what is put into it.
    let rest = number;
    for (let word = 0; word < WORDS; word += 1) {
      words[index * WORDS + word] = rest;
      rest >>= WORD_SIZE_BITS;
    }
  }
  return words;
}

function numbersOf(words: BigUint64Array): bigint[] {
  return Array.from({ length: words.length / WORDS }, (_, index) => {
    const [a, b, c, d] = words.subarray(index * WORDS, (index + 1) * WORDS) as unknown as [bigint, bigint, bigint, bigint];
    return a | (b << WORD_SIZE_BITS) | (c << (2n * WORD_SIZE_BITS)) | (d << (3n * WORD_SIZE_BITS));
  });
}
