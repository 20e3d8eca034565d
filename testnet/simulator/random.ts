/**
 * Seeded randomness: the same seed gives the same draws on every machine. No floating-point function is used whose
 * last digit a library may choose (`Math.log`, `Math.exp`): the exponential distribution is drawn by comparisons.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { readU32, utf8 } from "../../crypto/base/bytes.ts";
import { blake3 } from "../../crypto/backend/blake3.ts";

const UINT32_END = 0x1_0000_0000;

/** A stream of draws. Source: xoshiro128** 1.1, Blackman and Vigna, 2018 (public domain). */
export class Random {
  readonly #name: string;
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** @param name - names the stream: equal names, equal draws */
  constructor(name: string) {
    this.#name = name;
    const seed = blake3(utf8(name));
    [this.#a, this.#b, this.#c, this.#d] = [readU32(seed), readU32(seed, 4), readU32(seed, 8), readU32(seed, 12)];
  }

  /** Another stream, named by its parent's name and its own: what one draws never moves the other. */
  fork(name: string): Random {
    return new Random(`${this.#name}/${name}`);
  }

  /** Uniform in `0 <= value < 2^32`. */
  uint32(): number {
    const scrambled = Math.imul(rotated(Math.imul(this.#b, 5), 7), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = rotated(this.#d, 11);
    return scrambled;
  }

  /** Uniform in `0 <= value < 1`. */
  fraction(): number {
    return this.uint32() / UINT32_END;
  }

  /** An integer, uniform in `low <= value <= high`. */
  between(low: number, high: number): number {
    assert(low <= high, `between ${low} and ${high}`);
    return low + Math.floor(this.fraction() * (high - low + 1));
  }

  /** True about so many times in a thousand. */
  happens(perThousand: number): boolean {
    return this.uint32() < (perThousand / 1000) * UINT32_END;
  }

  /** One of them. */
  pick<T>(items: readonly T[]): T {
    assert(items.length > 0, "nothing to pick from");
    return items[this.between(0, items.length - 1)] as T;
  }

  /** All of them, in another order. */
  shuffle<T>(items: readonly T[]): T[] {
    const left = [...items];
    for (let end = left.length - 1; end > 0; end -= 1) {
      const at = this.between(0, end);
      [left[at], left[end]] = [present(left[end], "item"), present(left[at], "item")];
    }
    return left;
  }

  /** Exponential, of this mean. Source: von Neumann, 1951: runs of falling uniform draws. */
  exponential(mean: number): number {
    for (let whole = 0; ; whole += 1) {
      const first = this.fraction();
      let [last, length] = [first, 1];
      for (let next = this.fraction(); next < last; next = this.fraction()) [last, length] = [next, length + 1];
      if (length % 2 === 1) return mean * (whole + first);
    }
  }

  /** So many random bytes. */
  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.uint32() & 0xff);
  }
}

function rotated(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by));
}
