/** Becoming a candidate, and what an operator may change afterwards. */

import { present } from "../../crypto/base/assert.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import { type Address, addressOfKey } from "../../crypto/identity/address.ts";
import type { PublicKey } from "../../crypto/sign/key.ts";
import type { PosProtocol } from "../../chain/block/protocol.ts";
import type { Call } from "../../chain/block/call.ts";
import type { StateView } from "../../chain/state/executor.ts";
import { stakeKeyKey } from "../../chain/state/keys.ts";
import { ownRow } from "../../chain/state/rows.ts";
import { encodeStakeKey, parseStakeKey, type Pool } from "../../chain/state/stake.ts";
import type { CallFault, CallScope } from "../scope.ts";
import { forgetAttendance } from "./attendance.ts";
import { COMMISSION_WAIT_MS } from "./limits.ts";
import { delegationAt, isTombstoned, poolAt, putPool, touch } from "./pools.ts";
import { worthOf } from "./shares.ts";

/** A validator that nobody has staked with yet. */
export const POOL_EMPTY: Omit<Pool, "operator"> = {
  commissionBps: 0,
  commissionStepBpsMax: 0,
  commissionChangedMs: 0n,
  jailedUntilMs: undefined,
  tokens: 0n,
  shares: 0n,
  unbonding: 0n,
  rewards: 0n,
  commission: 0n,
  rewardPerShare: 0n,
};

/**
 * Declares the sender a validator. The transaction is signed by the very key that will vote: nobody declares another's
 * key, with another operator, before its owner does.
 */
export function declareValidator(
  { state, sender, context }: CallScope,
  call: Extract<Call, { kind: "validatorDeclare" }>,
): CallFault | undefined {
  if (context.engine.name !== "pos") return { code: "stake_engine", field: "kind" };
  if (!bytesEqual(addressOfKey(call.key), sender)) return { code: "validator_key", field: "key" };
  if (poolAt(state, sender) !== undefined) return { code: "validator_declared", field: "key" };
  state.put(stakeKeyKey(sender), encodeStakeKey(call.key));
  const { operator, commissionBps, commissionStepBpsMax } = call;
  putPool(state, sender, {
    ...POOL_EMPTY,
    operator,
    commissionBps,
    commissionStepBpsMax,
    commissionChangedMs: context.timeMs,
  });
  return undefined;
}

/** Changes a commission: in steps, and not soon after the last. */
export function changeCommission(
  scope: CallScope,
  { validator, commissionBps }: Extract<Call, { kind: "validatorCommission" }>,
): CallFault | undefined {
  const own = operatedPool(scope, validator);
  if ("code" in own) return own;
  const { timeMs } = scope.context;
  if (Math.abs(commissionBps - own.commissionBps) > own.commissionStepBpsMax)
    return { code: "commission_step", field: "commissionBps" };
  if (timeMs < own.commissionChangedMs + COMMISSION_WAIT_MS) return { code: "commission_early", field: "commissionBps" };
  putPool(scope.state, validator, { ...own, commissionBps, commissionChangedMs: timeMs });
  return undefined;
}

/** Lets a validator that was jailed for missed votes stand for election again. */
export function unjail(scope: CallScope, { validator }: Extract<Call, { kind: "validatorUnjail" }>): CallFault | undefined {
  const { state, context, touched } = scope;
  const own = operatedPool(scope, validator);
  if ("code" in own) return own;
  if (isTombstoned(state, validator)) return { code: "validator_tombstoned", field: "validator" };
  if (own.jailedUntilMs === undefined) return { code: "jail_none", field: "validator" };
  if (context.timeMs < own.jailedUntilMs) return { code: "jail_early", field: "validator" };
  if (context.engine.name === "pos" && ownStake(state, validator, own) < context.engine.selfBondMin)
    return { code: "self_bond_low", field: "validator" };
  putPool(state, validator, { ...own, jailedUntilMs: undefined });
  forgetAttendance(state, validator);
  touch(touched, validator);
  return undefined;
}

/** The power that a validator would have if it were elected; 0 when it may not be. */
export function standingOf(view: StateView, engine: PosProtocol, validator: Address): bigint {
  const pool = poolAt(view, validator);
  if (pool === undefined || pool.jailedUntilMs !== undefined) return 0n;
  return ownStake(view, validator, pool) < engine.selfBondMin ? 0n : pool.tokens / engine.powerUnit;
}

/** The key of a declared validator. */
export function stakeKeyAt(view: StateView, validator: Address): PublicKey {
  return ownRow(parseStakeKey(present(view.get(stakeKeyKey(validator)), "key of a validator")), "stakeKey");
}

function ownStake(view: StateView, validator: Address, pool: Pool): bigint {
  return worthOf(pool, delegationAt(view, validator, pool.operator).shares);
}

/** The pool that the sender operates, or why it does not. */
function operatedPool({ state, sender, context }: CallScope, validator: Address): Pool | CallFault {
  if (context.engine.name !== "pos") return { code: "stake_engine", field: "kind" };
  const pool = poolAt(state, validator);
  if (pool === undefined) return { code: "validator_undeclared", field: "validator" };
  return bytesEqual(pool.operator, sender) ? pool : { code: "validator_operator", field: "validator" };
}
