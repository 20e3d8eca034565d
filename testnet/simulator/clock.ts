/** A node's clock: the simulator's time, seen through an offset, a drift and jumps. */

import { assert } from "../../crypto/base/assert.ts";
import type { Clock, Timer } from "../../node/ports/clock.ts";
import type { Agenda, Owner } from "./agenda.ts";

/** The wall time of every run's beginning: 2026-01-01T00:00:00Z. */
export const EPOCH_MS = 1_767_225_600_000;

/** How a machine's clock is wrong. Belongs to the machine: a restart changes nothing about it. */
export class ClockFault {
  /** Parts in a million by which it runs fast. */
  readonly driftPpm: number;
  #offsetMs: number;

  constructor(options: { readonly driftPpm: number; readonly offsetMs: number }) {
    assert(Math.abs(options.driftPpm) < 500_000, `a drift of ${options.driftPpm} ppm`);
    this.driftPpm = options.driftPpm;
    this.#offsetMs = options.offsetMs;
  }

  /** Wall time jumps by so much, either way. */
  jump(byMs: number): void {
    this.#offsetMs += byMs;
  }

  /** How far ahead wall time is, drift aside. */
  get offsetMs(): number {
    return this.#offsetMs;
  }
}

/** The clock of one process. Its monotonic time begins with the process and never decreases. */
export class SimulatedClock implements Clock {
  readonly #agenda: Agenda;
  readonly #owner: Owner;
  readonly #fault: ClockFault;
  readonly #rate: number;
  readonly #bootMs: number;

  constructor(parts: { readonly agenda: Agenda; readonly owner: Owner; readonly fault: ClockFault }) {
    this.#agenda = parts.agenda;
    this.#owner = parts.owner;
    this.#fault = parts.fault;
    this.#rate = 1 + parts.fault.driftPpm / 1_000_000;
    this.#bootMs = parts.agenda.nowMs;
  }

  wallMs(): number {
    return Math.floor(EPOCH_MS + this.#agenda.nowMs * this.#rate + this.#fault.offsetMs);
  }

  monotonicMs(): number {
    return (this.#agenda.nowMs - this.#bootMs) * this.#rate;
  }

  after(delayMs: number, act: () => void): Timer {
    return this.#agenda.after(Math.max(0, delayMs) / this.#rate, this.#owner, act);
  }
}
