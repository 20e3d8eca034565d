/** The appends on their way to one follower: a window, bounded by count and by bytes, that slides as they are answered. */

import { assert } from "../../crypto/base/assert.ts";

type Inflight = { readonly index: bigint; readonly sizeBytes: number };

/** A window of appends, oldest first, each named by its last index. */
export class Inflights {
  readonly #countMax: number;
  readonly #sizeBytesMax: number;
  #queue: Inflight[] = [];
  #sizeBytes = 0;

  constructor(limits: { readonly countMax: number; readonly sizeBytesMax: number }) {
    assert(limits.countMax > 0 && limits.sizeBytesMax > 0, "window of {}, {} bytes", limits.countMax, limits.sizeBytesMax);
    this.#countMax = limits.countMax;
    this.#sizeBytesMax = limits.sizeBytesMax;
  }

  /** How many are under way. */
  get count(): number {
    return this.#queue.length;
  }

  /** Whether another must wait. The last one may have gone past the bytes, or nothing large would ever be sent. */
  isFull(): boolean {
    return this.#queue.length >= this.#countMax || this.#sizeBytes >= this.#sizeBytesMax;
  }

  /** One more is under way, up to `index`. */
  add(index: bigint, sizeBytes: number): void {
    assert(!this.isFull(), "append up to {} sent through a full window", index);
    this.#queue.push({ index, sizeBytes });
    this.#sizeBytes += sizeBytes;
  }

  /** Those up to `index` have arrived. */
  freeTo(index: bigint): void {
    const left = this.#queue.findIndex((inflight) => inflight.index > index);
    const freed = this.#queue.splice(0, left === -1 ? this.#queue.length : left);
    for (const { sizeBytes } of freed) this.#sizeBytes -= sizeBytes;
  }

  /** None is under way that we count on. */
  reset(): void {
    this.#queue = [];
    this.#sizeBytes = 0;
  }
}
