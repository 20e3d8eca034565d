/** A clock for tests. */

import type { Clock, Timer } from "../clock.ts";

/** A clock that stands still until the test lets time pass. */
export class StandingClock implements Clock {
  #nowMs = 0;
  readonly #calls = new Set<{ readonly dueMs: number; readonly act: () => void }>();

  wallMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, act: () => void): Timer {
    const call = { dueMs: this.#nowMs + delayMs, act };
    this.#calls.add(call);
    return { cancel: () => void this.#calls.delete(call) };
  }

  /** So much later, and all that this brings about has happened. */
  async pass(ms: number): Promise<void> {
    this.#nowMs += ms;
    for (const call of this.#calls) {
      if (call.dueMs > this.#nowMs) continue;
      this.#calls.delete(call);
      call.act();
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}
