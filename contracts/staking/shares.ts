/**
 * The arithmetic of stake. Integers alone, and every rounding against whoever takes something out, so that what is
 * left over stays in the pool and nothing is made.
 */

import { assert } from "../../crypto/base/assert.ts";
import { AMOUNT_MAX, BPS_WHOLE } from "../../chain/block/limits.ts";
import type { Delegation, Pool } from "../../chain/state/stake.ts";

const WHOLE = BigInt(BPS_WHOLE);
/** `rewardPerShare` counts tokens in fractions of this: finer than one token over all shares that there can be. */
const REWARD_SCALE_BITS = 64n;

/** So many basis points of an amount, rounded down. */
export function partOf(amount: bigint, bps: number): bigint {
  return (amount * BigInt(bps)) / WHOLE;
}

/** So many basis points of an amount, rounded up: what a slash takes. */
export function partUpOf(amount: bigint, bps: number): bigint {
  return divideUp(amount * BigInt(bps), WHOLE);
}

/** What part of the whole a part is, in basis points, rounded up and at most all of it. */
export function bpsOf(part: bigint, whole: bigint): number {
  assert(whole > 0n, "part of {}", whole);
  const bps = divideUp(part * WHOLE, whole);
  return Number(bps < WHOLE ? bps : WHOLE);
}

/**
 * The shares that tokens buy, rounded down.
 *
 * @returns 0 when they buy none, `undefined` when slashes left shares that are worth too little to be counted
 */
export function sharesBought(pool: Pool, amount: bigint): bigint | undefined {
  if (pool.shares === 0n) return amount;
  if (pool.tokens === 0n) return undefined;
  const shares = (amount * pool.shares) / pool.tokens;
  return pool.shares + shares <= AMOUNT_MAX ? shares : undefined;
}

/** The tokens that shares are worth, rounded down. */
export function worthOf(pool: Pool, shares: bigint): bigint {
  return pool.shares === 0n ? 0n : (shares * pool.tokens) / pool.shares;
}

/** The shares that a holder of `held` gives for tokens, at most what those are worth: rounded up, and all for all. */
export function sharesSold(pool: Pool, held: bigint, amount: bigint): bigint {
  const worth = worthOf(pool, held);
  assert(amount >= 1n && amount <= worth, "{} of {}", amount, worth);
  return amount === worth ? held : divideUp(amount * pool.shares, pool.tokens);
}

/** What a delegation has earned since it was last paid. */
export function earnedBy(pool: Pool, delegation: Delegation): bigint {
  return (delegation.shares * (pool.rewardPerShare - delegation.rewardPerShare)) >> REWARD_SCALE_BITS;
}

/** The pool after it earned something: the commission first, the rest to all shares. Without shares, all to the operator. */
export function withEarnings(pool: Pool, amount: bigint): Pool {
  const commission = pool.shares === 0n ? amount : partOf(amount, pool.commissionBps);
  const rest = amount - commission;
  return {
    ...pool,
    commission: pool.commission + commission,
    rewards: pool.rewards + rest,
    rewardPerShare: rest === 0n ? pool.rewardPerShare : pool.rewardPerShare + (rest << REWARD_SCALE_BITS) / pool.shares,
  };
}

function divideUp(value: bigint, divisor: bigint): bigint {
  return (value + divisor - 1n) / divisor;
}
