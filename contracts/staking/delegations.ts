/** Staking tokens with a validator, asking them back, and collecting what they earned. */

import { bytesEqual } from "../../crypto/base/bytes.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { POWER_TOTAL_MAX } from "../../chain/block/limits.ts";
import type { Call } from "../../chain/block/call.ts";
import type { Overlay } from "../../chain/state/overlay.ts";
import type { Pool } from "../../chain/state/stake.ts";
import { debit } from "../accounts.ts";
import { reward } from "../rewards.ts";
import type { CallFault, CallScope } from "../scope.ts";
import { delegationAt, isTombstoned, poolAt, putDelegation, putPool, putTotals, totalsAt, touch } from "./pools.ts";
import { earnedBy, sharesBought, sharesSold, worthOf } from "./shares.ts";
import { enqueue } from "./unbonding.ts";

/** Stakes tokens of the sender with a validator. What was earned so far is paid first. */
export function bond(
  { state, sender, context, touched }: CallScope,
  { validator, amount }: Extract<Call, { kind: "stakeBond" }>,
): CallFault | undefined {
  const { engine } = context;
  if (engine.name !== "pos") return { code: "stake_engine", field: "kind" };
  const pool = poolAt(state, validator);
  if (pool === undefined) return { code: "validator_undeclared", field: "validator" };
  if (isTombstoned(state, validator)) return { code: "validator_tombstoned", field: "validator" };
  const shares = sharesBought(pool, amount);
  if (shares === undefined) return { code: "pool_worn", field: "validator" };
  if (shares === 0n) return { code: "stake_small", field: "amount" };
  const totals = totalsAt(state);
  if (totals.bonded + amount > POWER_TOTAL_MAX * engine.powerUnit) return { code: "stake_total", field: "amount" };
  if (!debit(state, sender, amount)) return { code: "balance_insufficient", field: "amount" };
  const { paid, held } = settle({ state, validator, delegator: sender, pool });
  putDelegation(state, validator, sender, { shares: held + shares, rewardPerShare: paid.rewardPerShare });
  putPool(state, validator, { ...paid, tokens: paid.tokens + amount, shares: paid.shares + shares });
  putTotals(state, { ...totals, bonded: totals.bonded + amount });
  touch(touched, validator);
  return undefined;
}

/** Asks staked tokens back: they stop counting at once and are released after the unbonding time. */
export function unbond(
  { state, sender, context, touched }: CallScope,
  { validator, amount }: Extract<Call, { kind: "stakeUnbond" }>,
): CallFault | undefined {
  if (context.engine.name !== "pos") return { code: "stake_engine", field: "kind" };
  const pool = poolAt(state, validator);
  if (pool === undefined) return { code: "validator_undeclared", field: "validator" };
  const { shares } = delegationAt(state, validator, sender);
  if (worthOf(pool, shares) < amount) return { code: "stake_insufficient", field: "amount" };
  const sold = sharesSold(pool, shares, amount);
  const { paid, held } = settle({ state, validator, delegator: sender, pool });
  putDelegation(state, validator, sender, { shares: held - sold, rewardPerShare: paid.rewardPerShare });
  const rest = { ...paid, tokens: paid.tokens - amount, shares: paid.shares - sold, unbonding: paid.unbonding + amount };
  putPool(state, validator, rest.shares === 0n ? withoutDust(rest) : rest);
  const { height, timeMs } = context;
  enqueue(state, { validator, delegator: sender, amount, height, timeMs });
  touch(touched, validator);
  return undefined;
}

/** Moves what the sender's stake with a validator has earned, and its operator's commission, to what it may claim. */
export function collect({ state, sender, context }: CallScope, validator: Address): CallFault | undefined {
  if (context.engine.name !== "pos") return { code: "stake_engine", field: "validator" };
  const pool = poolAt(state, validator);
  if (pool === undefined) return { code: "validator_undeclared", field: "validator" };
  const { paid, held } = settle({ state, validator, delegator: sender, pool });
  putDelegation(state, validator, sender, { shares: held, rewardPerShare: paid.rewardPerShare });
  const isOperator = bytesEqual(sender, pool.operator);
  if (isOperator) reward(state, sender, paid.commission);
  putPool(state, validator, isOperator ? { ...paid, commission: 0n } : paid);
  return undefined;
}

/** Pays a delegation what it has earned. The caller writes the pool and the delegation that come of it. */
function settle(of: { readonly state: Overlay; readonly validator: Address; readonly delegator: Address; readonly pool: Pool }): {
  readonly paid: Pool;
  readonly held: bigint;
} {
  const { state, validator, delegator, pool } = of;
  const delegation = delegationAt(state, validator, delegator);
  const earned = earnedBy(pool, delegation);
  reward(state, delegator, earned);
  return { paid: { ...pool, rewards: pool.rewards - earned }, held: delegation.shares };
}

/** A pool that the last delegator left: what rounding kept back of its earnings goes to the operator. */
function withoutDust(pool: Pool): Pool {
  return { ...pool, commission: pool.commission + pool.rewards, rewards: 0n };
}
