/** Seeded randomness for tests: the same seed, the same run. */

import { assert } from "../../crypto/base/assert.ts";

/** Source: Sebastiano Vigna, splitmix64, 2015 (public domain), cut to 32 bits of output. */
export class Random {
  #state: bigint;

  constructor(seed: number) {
    this.#state = BigInt(seed);
  }

  /** Uniform in `0 <= value < 2^32`. */
  uint32(): number {
    this.#state = BigInt.asUintN(64, this.#state + 0x9e3779b97f4a7c15n);
    let mixed = this.#state;
    mixed = BigInt.asUintN(64, (mixed ^ (mixed >> 30n)) * 0xbf58476d1ce4e5b9n);
    mixed = BigInt.asUintN(64, (mixed ^ (mixed >> 27n)) * 0x94d049bb133111ebn);
    return Number(BigInt.asUintN(32, mixed ^ (mixed >> 31n)));
  }

  /** Uniform in `low <= value <= high`. */
  between(low: number, high: number): number {
    assert(low <= high, `between ${low} and ${high}`);
    return low + (this.uint32() % (high - low + 1));
  }

  /** True about so many times in a thousand. */
  happens(perThousand: number): boolean {
    return this.uint32() % 1000 < perThousand;
  }

  /** One of them. */
  pick<T>(items: readonly T[]): T {
    assert(items.length > 0, "nothing to pick from");
    return items[this.uint32() % items.length] as T;
  }

  /** All of them, in another order. */
  shuffle<T>(items: readonly T[]): readonly T[] {
    const left = [...items];
    const shuffled: T[] = [];
    while (left.length > 0) shuffled.push(...left.splice(this.uint32() % left.length, 1));
    return shuffled;
  }
}
