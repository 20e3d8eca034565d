/**
 * What was made of byte strings lately: the same senders and names come again and again, and making costs more than looking.
 *
 * Each byte string has one place, chosen by its bytes, and what is made for it takes the place of what was there. So memory is
 * bounded, nothing is kept in order, and whoever wants to keep others out of their places wins them the work of making anew.
 */

import { assert } from "./assert.ts";

/** The offset basis and the prime of FNV-1a in 32 bits (draft-eastlake-fnv, section 5). */
const FNV_BASIS = 0x811c_9dc5;
const FNV_PRIME = 0x0100_0193;

/** A table of `placesCount` values, which is a power of two. `isOf`: whether a value was made of the bytes `from` to `to - 1`. */
export class Recent<T> {
  readonly #values: (T | undefined)[];
  readonly #mask: number;
  readonly #isOf: (value: T, bytes: Uint8Array, from: number, to: number) => boolean;
  readonly #make: (bytes: Uint8Array, from: number, to: number) => T;

  constructor(
    placesCount: number,
    options: {
      readonly isOf: (value: T, bytes: Uint8Array, from: number, to: number) => boolean;
      readonly make: (bytes: Uint8Array, from: number, to: number) => T;
    },
  ) {
    assert(placesCount > 0 && (placesCount & (placesCount - 1)) === 0, "{} places", placesCount);
    this.#values = Array.from({ length: placesCount });
    this.#mask = placesCount - 1;
    this.#isOf = options.isOf;
    this.#make = options.make;
  }

  /** What is made of a part of `bytes`, by default of all. */
  of(bytes: Uint8Array, from = 0, to: number = bytes.length): T {
    let place = FNV_BASIS;
    for (let index = from; index < to; index += 1) place = Math.imul(place ^ (bytes[index] as number), FNV_PRIME);
    place = (place ^ (place >>> 16)) & this.#mask;
    const known = this.#values[place];
    if (known !== undefined && this.#isOf(known, bytes, from, to)) return known;
    const made = this.#make(bytes, from, to);
    this.#values[place] = made;
    return made;
  }
}
