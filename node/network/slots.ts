/** So many at once; the others wait in line, and so many of them at most. */

import { CodedError } from "../../crypto/base/error.ts";

/** See the file's head. Whoever takes one gives it back. */
export class Slots {
  #free: number;
  readonly #countMax: number;
  readonly #waitingMax: number;
  readonly #waiting: (() => void)[] = [];

  /**
   * @param countMax - taken at once
   * @param waitingMax - in line; without bound only where something else bounds them
   */
  constructor(countMax: number, waitingMax: number) {
    this.#free = countMax;
    this.#countMax = countMax;
    this.#waitingMax = waitingMax;
  }

  /** Whether none is taken. */
  get isIdle(): boolean {
    return this.#free === this.#countMax && this.#waiting.length === 0;
  }

  /** @throws CodedError `peer_busy` when too many wait; and the reason of the signal, which takes it out of the line */
  async take(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    if (this.#waiting.length >= this.#waitingMax) throw new CodedError("peer_busy", { waiting: this.#waiting.length });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = (): void => {
      this.#waiting.splice(this.#waiting.indexOf(resolve), 1);
      reject(signal?.reason);
    };
    this.#waiting.push(resolve);
    signal?.addEventListener("abort", onAbort, { once: true });
    await promise;
    signal?.removeEventListener("abort", onAbort);
  }

  /** Gives one back, to whoever has waited longest. */
  give(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}
