/** How fast each address may ask. */

import { Bucket } from "../network/bucket.ts";
import type { Limits } from "./limits.ts";

/** A token bucket for each address that asked lately, at most `addressesMax` of them. */
export class Rates {
  readonly #limits: Limits;
  readonly #nowMs: () => number;
  /** In the order of last use, so that the first is the one to forget. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(limits: Limits, nowMs: () => number) {
    this.#limits = limits;
    this.#nowMs = nowMs;
  }

  /** Takes one token of `address`, if it has one left. */
  take(address: string): boolean {
    const { requestsPerSecondMax: perSecond, requestsBurstMax: burst, addressesMax } = this.#limits;
    const known = this.#buckets.get(address);
    const bucket = known ?? new Bucket({ perSecond, burst }, this.#nowMs());
    this.#buckets.delete(address);
    this.#buckets.set(address, bucket);
    if (this.#buckets.size > addressesMax) {
      const [oldest] = this.#buckets.keys();
      if (oldest !== undefined) this.#buckets.delete(oldest);
    }
    return bucket.take(1, this.#nowMs());
  }
}
