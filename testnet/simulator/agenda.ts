/**
 * What is to happen, in order: a binary heap of events by time, then by the order in which they were made. The loop
 * takes the earliest, runs it, and lets everything that it settled run out before it takes the next.
 *
 * Time is in milliseconds, in steps of 1/16, which binary fractions hold exactly.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import type { Timer } from "../../node/ports/clock.ts";

/** Whose an event is. What belongs to one that has died never happens; of a paused one it waits. */
export type Owner = { readonly isAlive: boolean; readonly pausedUntilMs: number };

type Entry = { atMs: number; readonly order: number; readonly owner: Owner | undefined; act: (() => void) | undefined };

const STEPS_PER_MS = 16;

/** The first step of time at or after this. */
export function stepOf(ms: number): number {
  return Math.ceil(ms * STEPS_PER_MS) / STEPS_PER_MS;
}

/** See the file's head. */
export class Agenda {
  readonly #heap: Entry[] = [];
  #orders = 0;
  #nowMs = 0;

  /** The time of the event under way. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** Calls `act` after so long. */
  after(delayMs: number, owner: Owner | undefined, act: () => void): Timer {
    return this.at(this.#nowMs + Math.max(0, delayMs), owner, act);
  }

  /** Calls `act` at this time, or now when it has gone by. */
  at(atMs: number, owner: Owner | undefined, act: () => void): Timer {
    assert(Number.isFinite(atMs), `an event at ${atMs}`);
    const entry: Entry = { atMs: Math.max(this.#nowMs, stepOf(atMs)), order: this.#orders, owner, act };
    this.#orders += 1;
    this.#push(entry);
    return {
      cancel: () => {
        entry.act = undefined;
      },
    };
  }

  /** Runs the earliest event that is not after `untilMs`; `false` when there is none, and then it is `untilMs`. */
  step(untilMs: number): boolean {
    for (;;) {
      const entry = this.#heap[0];
      if (entry === undefined || entry.atMs > untilMs) {
        this.#nowMs = untilMs;
        return false;
      }
      this.#pop();
      const { act, owner } = entry;
      if (act === undefined || owner?.isAlive === false) continue;
      if (owner !== undefined && owner.pausedUntilMs > entry.atMs) {
        entry.atMs = stepOf(owner.pausedUntilMs); // In the order in which they were made, when it goes on.
        this.#push(entry);
        continue;
      }
      this.#nowMs = entry.atMs;
      entry.act = undefined;
      act();
      return true;
    }
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const above = (at - 1) >>> 1;
      const parent = heap[above] as Entry;
      if (!isBefore(entry, parent)) break;
      heap[at] = parent;
      at = above;
    }
    heap[at] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = present(heap.pop(), "last event");
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let below = at * 2 + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && isBefore(heap[below + 1] as Entry, heap[below] as Entry)) below += 1;
      if (!isBefore(heap[below] as Entry, last)) break;
      heap[at] = heap[below] as Entry;
      at = below;
    }
    heap[at] = last;
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/**
 * Resolves once every promise that was settled has been acted upon, and all that this settled, and so on.
 *
 * Node empties the queue of promises before it turns to that of ticks, and a tick asked for from within the queue of
 * promises comes after all of it: about 1 us, where `setImmediate` asks the operating system and takes ten.
 */
export async function settled(): Promise<void> {
  await new Promise<void>((resolve) => {
    queueMicrotask(() => process.nextTick(resolve));
  });
}
