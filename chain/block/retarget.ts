/**
 * The target that a block must meet, from the headers before it and the network file alone. Every node reckons it for
 * every header: what a block or its seal says of its own target is compared with this and never believed.
 *
 * Two rules, of which a network file names one:
 *
 * - `asert`: each block, from the schedule. Block `h` is due at genesis time + `h` intervals; for each `halfLifeMs` that
 *   the chain is late the target doubles, for each that it is early it halves.
 *   Source: Bitcoin Cash, "ASERT difficulty adjustment algorithm (aserti3-2d)", specification 2020-11-15. Where we
 *   differ: interval and half-life are parameters. The anchor is height 1, whose parent is genesis.
 * - `window`: once in `retargetWindow` blocks, by how long those took against how long they should have, by at most a
 *   factor of four either way. Source: Bitcoin Core, `CalculateNextWorkRequired`. Where we differ: a window ends where
 *   the next begins. Bitcoin measures one interval less than it expects, and nothing ties the end of a window to the
 *   beginning of the next, which lets a majority of miners lower the difficulty by lying about the time.
 *
 * Both are arithmetic on whole numbers, in whatever unit the times are as long as it is one.
 */

import { assert, unreachable } from "../../crypto/base/assert.ts";
import { type Height, heightOf } from "./height.ts";
import type { PowProtocol } from "./protocol.ts";
import { bitsOf, targetOf } from "./work.ts";

/** The block that the next one stands on; genesis is height 0, with the first target. */
export type RetargetParent = { readonly height: Height; readonly timeMs: bigint; readonly bits: number };

/** What the schedule is made of. */
export type RetargetRules = {
  readonly protocol: Pick<PowProtocol, "retarget" | "targetIntervalMs" | "halfLifeMs" | "retargetWindow" | "targetBitsMax">;
  readonly genesisTimeMs: bigint;
};

/** Of a target's binary exponent, this many bits are a fraction. */
const FRACTION_BITS = 16n;
const FRACTION_MASK = (1n << FRACTION_BITS) - 1n;
/** No window changes the target by more than this factor. */
const WINDOW_FACTOR_MAX = 4n;

/**
 * The compact target of the block after `parent`.
 *
 * @param timeOf - the time of an ancestor of `parent`, or genesis's for height 0; asked for at most one height, and that
 * `retargetWindow` below `parent`
 */
export function expectedBits(rules: RetargetRules, parent: RetargetParent, timeOf: (height: Height) => bigint): number {
  const { protocol, genesisTimeMs } = rules;
  const targetMax = firstTarget(protocol);
  const intervalMs = BigInt(protocol.targetIntervalMs);
  switch (protocol.retarget) {
    case "asert":
      return asertBits({
        anchorBits: protocol.targetBitsMax,
        anchorHeight: 1n,
        anchorParentTime: genesisTimeMs,
        height: parent.height,
        time: parent.timeMs,
        interval: intervalMs,
        halfLife: BigInt(protocol.halfLifeMs),
        targetMax,
      });
    case "window": {
      const window = BigInt(protocol.retargetWindow);
      if (parent.height === 0n) return bitsOf(targetMax);
      if (parent.height % window !== 0n) return parent.bits;
      const firstTime = timeOf(heightOf(parent.height - window));
      const span = { firstTime, lastTime: parent.timeMs, expected: window * intervalMs };
      return windowBits({ bits: parent.bits, ...span, targetMax });
    }
    default:
      return unreachable(protocol.retarget);
  }
}

/** The easiest target of a network, and its first. A network file whose number is none is refused when it is read. */
export function firstTarget(protocol: Pick<PowProtocol, "targetBitsMax">): bigint {
  const target = targetOf(protocol.targetBitsMax);
  assert(target.ok, "targetBitsMax {} is no target", protocol.targetBitsMax);
  return target.value;
}

/** What aserti3-2d takes: times, interval and half-life in one unit, whichever. */
export type AsertQuestion = {
  readonly anchorHeight: bigint;
  /** When the block before the anchor was made. */
  readonly anchorParentTime: bigint;
  readonly anchorBits: number;
  /** Of the block before the one asked about. */
  readonly height: bigint;
  readonly time: bigint;
  readonly interval: bigint;
  readonly halfLife: bigint;
  readonly targetMax: bigint;
};

/** The compact target after `height`: anchor target * 2^((time passed - time due) / half-life), cubic in the fraction. */
export function asertBits(question: AsertQuestion): number {
  const { anchorHeight, anchorParentTime, height, time, interval, halfLife, targetMax } = question;
  const anchor = targetOf(question.anchorBits);
  assert(anchor.ok, "the anchor has a target");
  assert(halfLife > 0n && interval > 0n, "an interval and a half-life");
  const late = time - anchorParentTime - interval * (height - anchorHeight + 1n);
  // Division rounds towards zero and the shift towards minus infinity, as the specification has it.
  const exponent = (late << FRACTION_BITS) / halfLife;
  const shifts = (exponent >> FRACTION_BITS) - FRACTION_BITS;
  const fraction = exponent & FRACTION_MASK;
  // 2^16 * 2^(fraction / 2^16), off by less than 0.013 %.
  const factor =
    (1n << FRACTION_BITS) +
    ((195_766_423_245_049n * fraction + 971_821_376n * fraction ** 2n + 5_127n * fraction ** 3n + (1n << 47n)) >> 48n);
  // Further than 512 bits either way the answer is a bound, and nobody's clock makes us reckon a number of a gigabyte.
  if (shifts > 512n) return bitsOf(targetMax);
  if (shifts < -512n) return bitsOf(1n);
  const product = anchor.value * factor;
  return bitsOf(within(shifts < 0n ? product >> -shifts : product << shifts, targetMax));
}

/** What the window rule takes: times and `expected` in one unit, whichever. */
export type WindowQuestion = {
  /** Of the window that has passed. */
  readonly bits: number;
  readonly firstTime: bigint;
  readonly lastTime: bigint;
  /** How long it should have taken. */
  readonly expected: bigint;
  readonly targetMax: bigint;
};

/** The compact target of the next window: target * actual / expected, `actual` held within a factor of four. */
export function windowBits({ bits, firstTime, lastTime, expected, targetMax }: WindowQuestion): number {
  const target = targetOf(bits);
  assert(target.ok, "the window has a target");
  assert(expected > 0n, "a window takes time");
  const actual = lastTime - firstTime;
  const low = expected / WINDOW_FACTOR_MAX;
  const high = expected * WINDOW_FACTOR_MAX;
  const held = actual < low ? low : actual > high ? high : actual;
  return bitsOf(within((target.value * held) / expected, targetMax));
}

function within(target: bigint, targetMax: bigint): bigint {
  if (target < 1n) return 1n;
  return target > targetMax ? targetMax : target;
}

/** How many headers the median is taken of. */
export const MEDIAN_TIME_SPAN = 11;

/**
 * The middle of the newest eleven times, or of as many as there are: what a majority of miners says has passed.
 *
 * @param times - in the order of the chain, newest last; at least one
 * Source: Bitcoin Core, `CBlockIndex::GetMedianTimePast`.
 */
export function medianTimePast(times: readonly bigint[]): bigint {
  const sorted = times.slice(-MEDIAN_TIME_SPAN).toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const middle = sorted[sorted.length >> 1];
  assert(middle !== undefined, "a median of no times");
  return middle;
}
