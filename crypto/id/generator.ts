/**
 * The generator of Scarab ids: a state machine that owns no clock and no disk. Whoever runs it hands it readings of a
 * clock, which may step both ways, and makes durable what it asks for.
 *
 * ```
 *   take(now) -> run      ids that are new for ever
 *             -> reserve  first make `untilMs` durable and say `reserved(untilMs)`, then ask again
 *             -> wait     all ids of this millisecond are gone, and no later one may be borrowed yet
 *             -> refused  clock_behind, clock_range, scarab_window
 * ```
 *
 * Why no id comes twice:
 *
 * 1. (time, sequence) only grows: time is the larger of the clock and the newest id's, and the sequence restarts only
 *    when time grows. When a millisecond is full, the next one is borrowed, or waited for.
 * 2. No id at or after the durable mark `reserved` is ever given out, and a generator starts at that mark: what an
 *    earlier life made is before it, whatever the clock says now.
 * 3. A node uses its number inside the window of its lease alone: `startMs <= time < endMs` of the *ids*, not of any
 *    clock. Windows of two holders of a number do not overlap, so neither has to trust the other's clock.
 *
 * Source: core design, 2.1. It differs from Snowflake (Twitter, 2010) in all three.
 */

import { assert } from "../base/assert.ts";
import { fail, ok, type Result } from "../base/result.ts";
import {
  isScarabTime,
  type NodeNumber,
  SCARAB_EPOCH_MS,
  SCARAB_SEQUENCE_COUNT,
  SCARAB_TIME_MS_END,
  type ScarabRun,
  scarabOf,
} from "./scarab.ts";

/** How a generator deals with clocks. All in milliseconds. */
export type ScarabClockOptions = {
  /** How far ahead of the clock ids may run when milliseconds are full; 0 waits for the clock instead. */
  readonly borrowMsMax: number;
  /** How far behind the newest id the clock may be. More than `borrowMsMax`: else borrowing alone could reach it. */
  readonly behindMsMax: number;
  /** How far ahead of the clock a mark reserves time. A crash skips at most so much. */
  readonly reserveMs: number;
};

/** A mark is at least so far ahead of the next id, also when ids are ahead of the clock by more than a mark reserves. */
const RESERVE_MS_MIN = 10;

/** Borrows a second, bears steps of ten, and reserves two. */
export const SCARAB_CLOCK_DEFAULTS: ScarabClockOptions = { borrowMsMax: 1000, behindMsMax: 10_000, reserveMs: 2000 };

/** The time inside which a node may use its number, in milliseconds since 1970 UTC: `startMs <= time < endMs`. */
export type ScarabWindow = { readonly startMs: number; readonly endMs: number };

/** The window of a number that nobody else ever gets. */
export const SCARAB_WINDOW_ALWAYS: ScarabWindow = { startMs: SCARAB_EPOCH_MS, endMs: SCARAB_TIME_MS_END };

/** What a generator starts with. */
export type ScarabGeneratorOptions = {
  readonly node: NodeNumber;
  readonly window: ScarabWindow;
  /** The newest mark that an earlier life made durable; `undefined` for the first. */
  readonly reservedMs: number | undefined;
  readonly clock: ScarabClockOptions;
};

/** What came of asking for ids. */
export type ScarabTaken =
  | { readonly kind: "run"; readonly run: ScarabRun }
  | { readonly kind: "reserve"; readonly untilMs: number }
  | { readonly kind: "wait"; readonly waitMs: number };

/** Why there are none; `errors.ts` says what to do. */
export type ScarabRefusal =
  | { readonly code: "clock_behind"; readonly behindMs: number }
  | { readonly code: "clock_range"; readonly nowMs: number }
  | { readonly code: "scarab_window"; readonly endMs: number };

/** See the file's head. */
export class ScarabGenerator {
  readonly node: NodeNumber;
  readonly #clock: ScarabClockOptions;
  /** The next id's time and sequence; a sequence of `SCARAB_SEQUENCE_COUNT` is a full millisecond. */
  #timeMs: number;
  #sequence = 0;
  #reservedMs: number;
  #endMs: number;
  /** What the clock said last. */
  #nowMs: number = SCARAB_EPOCH_MS;

  constructor({ node, window, reservedMs, clock }: ScarabGeneratorOptions) {
    const { borrowMsMax, behindMsMax, reserveMs } = clock;
    assert(isScarabTime(window.startMs), "window from {}", window.startMs);
    assert(window.endMs >= window.startMs && window.endMs <= SCARAB_TIME_MS_END, "window to {}", window.endMs);
    assert(Number.isInteger(borrowMsMax) && borrowMsMax >= 0 && borrowMsMax < behindMsMax, "borrowMsMax {}", borrowMsMax);
    assert(Number.isInteger(behindMsMax) && Number.isInteger(reserveMs) && reserveMs >= 1, "reserveMs {}", reserveMs);
    assert(reservedMs === undefined || Number.isInteger(reservedMs), "reserved to {}", reservedMs);
    this.node = node;
    this.#clock = clock;
    this.#timeMs = Math.max(window.startMs, reservedMs ?? window.startMs);
    // Nothing is reserved in this life: what an earlier one reserved, it may have used.
    this.#reservedMs = this.#timeMs;
    this.#endMs = window.endMs;
  }

  /** The time of the next id, if the clock does not go on. */
  get timeMs(): number {
    return this.#timeMs;
  }

  /**
   * Takes ids.
   *
   * @param nowMs - what the clock says, milliseconds since 1970 UTC
   * @param countMax - how many are wanted, at least 1; a run has at least one and at most 8192
   */
  take(nowMs: number, countMax: number): Result<ScarabTaken, ScarabRefusal> {
    assert(Number.isInteger(countMax) && countMax >= 1, "{} ids", countMax);
    if (!isScarabTime(nowMs)) return fail({ code: "clock_range", nowMs });
    this.#nowMs = nowMs;
    const { borrowMsMax, behindMsMax } = this.#clock;
    if (this.#timeMs - nowMs > behindMsMax) return fail({ code: "clock_behind", behindMs: this.#timeMs - nowMs });
    if (nowMs > this.#timeMs) this.#moveTo(nowMs);
    else if (this.#sequence === SCARAB_SEQUENCE_COUNT) {
      const nextMs = this.#timeMs + 1;
      if (nextMs - nowMs > borrowMsMax) return ok({ kind: "wait", waitMs: nextMs - nowMs - borrowMsMax });
      this.#moveTo(nextMs);
    }
    if (this.#timeMs >= this.#endMs) return fail({ code: "scarab_window", endMs: this.#endMs });
    if (this.#timeMs >= this.#reservedMs) return ok({ kind: "reserve", untilMs: this.#nextMark() });
    return ok({ kind: "run", run: this.#run(countMax) });
  }

  /** The mark to make durable ahead of need: when half of the reserved time is used; else `undefined`. */
  reservationAhead(): number | undefined {
    const isDue = this.#reservedMs - this.#timeMs < this.#clock.reserveMs / 2;
    const mark = this.#nextMark();
    return isDue && mark > this.#reservedMs ? mark : undefined;
  }

  /** Says that this mark is durable. */
  reserved(untilMs: number): void {
    assert(Number.isInteger(untilMs) && untilMs <= SCARAB_TIME_MS_END, "reserved to {}", untilMs);
    this.#reservedMs = Math.max(this.#reservedMs, untilMs);
  }

  /** Says that the lease of the number was renewed to this end, or given up at it. Ids at or after it are refused. */
  endAt(endMs: number): void {
    assert(Number.isInteger(endMs) && endMs <= SCARAB_TIME_MS_END, "window to {}", endMs);
    this.#endMs = endMs;
  }

  #moveTo(timeMs: number): void {
    this.#timeMs = timeMs;
    this.#sequence = 0;
  }

  /**
   * Counted from the clock, and no further than the window. From the next id it would run away: each life begins at the
   * mark of the one before, so lives that follow each other quickly would each go `reserveMs` further ahead.
   */
  #nextMark(): number {
    const mark = Math.max(this.#nowMs + this.#clock.reserveMs, this.#timeMs + RESERVE_MS_MIN);
    return Math.min(mark, this.#endMs, SCARAB_TIME_MS_END);
  }

  #run(countMax: number): ScarabRun {
    const count = Math.min(countMax, SCARAB_SEQUENCE_COUNT - this.#sequence);
    const first = scarabOf({ timeMs: this.#timeMs, node: this.node, sequence: this.#sequence });
    this.#sequence += count;
    return { first, count };
  }
}
