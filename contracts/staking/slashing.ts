/**
 * Slashing: what is taken, from whom, and where it goes. There is one table, and nothing is taken for anything that
 * is not in it (`README.md`).
 */

import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { Height } from "../../chain/block/height.ts";
import { BPS_WHOLE, TIME_MS_MAX } from "../../chain/block/limits.ts";
import type { PosProtocol } from "../../chain/block/protocol.ts";
import type { BlockContext, StateView } from "../../chain/state/executor.ts";
import { offencesKey } from "../../chain/state/keys.ts";
import type { Overlay } from "../../chain/state/overlay.ts";
import { ownRow } from "../../chain/state/rows.ts";
import { encodeOffences, parseOffences, type RecentOffence } from "../../chain/state/stake.ts";
import { reward } from "../rewards.ts";
import { burn } from "../supply.ts";
import { putTombstone } from "../validators.ts";
import { CORRELATION_FACTOR, OFFENCES_MAX } from "./limits.ts";
import { declaredPoolAt, offenceAt, poolAt, putOffence, putPool, putTotals, type Touched, totalsAt, touch } from "./pools.ts";
import { bpsOf, partOf, partUpOf } from "./shares.ts";

/** Validators that the evidence of this block is against for the first time, each with the earliest height of it. */
export type Offenders = Map<string, { readonly validator: Address; readonly height: Height }>;

/**
 * Notes what evidence says about a validator. One that waits for its punishment in this block is punished once, and
 * one that was punished is not again: what evidence of an earlier height adds is how far back the same slash reaches
 * into what was asked back.
 */
export function noteOffence(state: Overlay, offenders: Offenders, validator: Address, height: Height): void {
  const punished = offenceAt(state, validator);
  if (punished !== undefined) {
    if (height < punished.height) putOffence(state, validator, { ...punished, height });
    return;
  }
  const known = offenders.get(toHex(validator));
  if (known === undefined || height < known.height) offenders.set(toHex(validator), { validator, height });
}

/**
 * Punishes all offenders of a block alike, whatever the order of the evidence: each loses `doubleSignSlashBps`, or
 * three times the share of the power of all that offended within the unbonding time if that is more.
 *
 * @param power - of the set that decides this height, in tokens
 */
export function punishOffenders(run: {
  readonly state: Overlay;
  readonly engine: PosProtocol;
  readonly context: BlockContext;
  readonly offenders: Offenders;
  readonly touched: Touched;
  readonly power: bigint;
}): void {
  const { state, engine, context, offenders, touched, power } = run;
  if (offenders.size === 0) return;
  const { height: at, timeMs, proposer } = context;
  const recent = recentOffences(state).filter((offence) => timeMs <= offence.timeMs + BigInt(engine.unbondingMs));
  for (const { validator } of offenders.values()) {
    const { tokens, unbonding } = declaredPoolAt(state, validator);
    // What was asked back may have stood behind the offence: to leave before it comes out must not make it look smaller.
    recent.push({ timeMs, shareBps: bpsOf(tokens + unbonding, power) });
  }
  state.put(offencesKey(), encodeOffences(bounded(recent)));
  const slashBps = slashFor(engine, recent);
  for (const { validator, height } of offenders.values()) {
    const reporter = bytesEqual(proposer, validator) ? undefined : proposer;
    putOffence(state, validator, { at, height, slashBps, reporter });
    putTombstone(state, validator, at);
    jail(state, touched, validator, TIME_MS_MAX);
    forfeit(state, engine, slashPool(state, validator, slashBps), reporter);
  }
}

/** Jails a validator for missed votes and burns a part of its stake. */
export function punishAbsence(
  state: Overlay,
  engine: PosProtocol,
  { timeMs }: BlockContext,
  of: { readonly validator: Address; readonly touched: Touched },
): void {
  const untilMs = timeMs + BigInt(engine.jailMs);
  jail(state, of.touched, of.validator, untilMs < TIME_MS_MAX ? untilMs : TIME_MS_MAX);
  burn(state, slashPool(state, of.validator, engine.downtimeSlashBps));
}

/** Disposes of what a slash took: a part to whoever brought the evidence into a block, the rest to nobody. */
export function forfeit(state: Overlay, engine: PosProtocol, taken: bigint, reporter: Address | undefined): void {
  const bounty = reporter === undefined ? 0n : partOf(taken, engine.reporterRewardBps);
  if (reporter !== undefined) reward(state, poolAt(state, reporter)?.operator ?? reporter, bounty);
  burn(state, taken - bounty);
}

/** Takes a part of all stake with a validator. Every delegator loses it alike: shares stay, and are worth less. */
function slashPool(state: Overlay, validator: Address, bps: number): bigint {
  const pool = declaredPoolAt(state, validator);
  const taken = partUpOf(pool.tokens, bps);
  const totals = totalsAt(state);
  putPool(state, validator, { ...pool, tokens: pool.tokens - taken });
  putTotals(state, { ...totals, bonded: totals.bonded - taken });
  return taken;
}

function jail(state: Overlay, touched: Touched, validator: Address, jailedUntilMs: bigint): void {
  putPool(state, validator, { ...declaredPoolAt(state, validator), jailedUntilMs });
  touch(touched, validator);
}

function slashFor(engine: PosProtocol, offences: readonly RecentOffence[]): number {
  const shareBps = offences.reduce((total, offence) => total + BigInt(offence.shareBps), 0n);
  const correlated = CORRELATION_FACTOR * shareBps;
  const least = BigInt(engine.doubleSignSlashBps);
  const bps = correlated > least ? correlated : least;
  return bps > BigInt(BPS_WHOLE) ? BPS_WHOLE : Number(bps);
}

/** At most so many, the oldest counted together as if they were of the newest of them. */
function bounded(offences: readonly RecentOffence[]): readonly RecentOffence[] {
  const merged = [...offences];
  while (merged.length > OFFENCES_MAX) {
    const [first, second] = merged.splice(0, 2);
    if (first === undefined || second === undefined) break;
    const shareBps = Math.min(first.shareBps + second.shareBps, BPS_WHOLE);
    merged.unshift({ timeMs: second.timeMs, shareBps });
  }
  return merged;
}

function recentOffences(view: StateView): readonly RecentOffence[] {
  const bytes = view.get(offencesKey());
  return bytes === undefined ? [] : ownRow(parseOffences(bytes), "offences");
}
