/** Searching for seals in simulated time: found after a while that is exponential in the work, as by real machines. */

import { assert } from "../../crypto/base/assert.ts";
import { type Nonces, searchSeal, workOf } from "../../chain/block/work.ts";
import type { Searcher, SearchJob } from "../../node/driver/searcher.ts";
import type { Clock, Timer } from "../../node/ports/clock.ts";
import type { Random } from "./random.ts";

/** Nonces tried in one go, once the moment has come: the targets of simulated networks are easy. */
const TRIES_MAX = 1 << 20;

/** See the file's head. */
export class SimulatedSearcher implements Searcher {
  readonly failed = new Promise<never>(() => {});
  readonly hashesPerSecond: number;
  readonly #clock: Clock;
  readonly #random: Random;
  #timer: Timer | undefined;

  constructor(options: { readonly hashesPerSecond: number; readonly clock: Clock; readonly random: Random }) {
    this.hashesPerSecond = options.hashesPerSecond;
    this.#clock = options.clock;
    this.#random = options.random;
  }

  search({ headerHash, target }: SearchJob, onFound: (nonces: Nonces) => void): void {
    this.#timer?.cancel();
    const meanMs = (Number(workOf(target)) / this.hashesPerSecond) * 1000;
    this.#timer = this.#clock.after(this.#random.exponential(meanMs), () => {
      const extraNonce = BigInt(this.#random.uint32());
      const nonce = searchSeal({ headerHash, target, extraNonce, nonce: 0n, count: TRIES_MAX });
      assert(nonce !== undefined, `no seal in ${TRIES_MAX} tries: the target of a simulated network must be easy`);
      onFound({ extraNonce, nonce });
    });
  }

  rest(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.resolve(this.rest());
  }
}
