/** The rows of staking in the state: pools, delegations, totals. Reading and writing them, and nothing else. */

import { present } from "../../crypto/base/assert.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { StateView } from "../../chain/state/executor.ts";
import { delegationKey, offenceKey, poolKey, stakeTotalsKey, tombstoneKey } from "../../chain/state/keys.ts";
import type { Overlay } from "../../chain/state/overlay.ts";
import { ownRow } from "../../chain/state/rows.ts";
import {
  type Delegation,
  encodeDelegation,
  encodeOffence,
  encodePool,
  encodeStakeTotals,
  type Offence,
  parseDelegation,
  parseOffence,
  parsePool,
  parseStakeTotals,
  type Pool,
  type StakeTotals,
} from "../../chain/state/stake.ts";

/** The validators whose standing this block may have changed, by their addresses in hex: what `elect` looks at again. */
export type Touched = Map<string, Address>;

/** Says that a validator's standing may have changed. To say so in vain, for a call that is undone, does no harm. */
export function touch(touched: Touched, validator: Address): void {
  touched.set(toHex(validator), validator);
}

/** The pool of a validator that was declared. */
export function poolAt(view: StateView, validator: Address): Pool | undefined {
  const bytes = view.get(poolKey(validator));
  return bytes === undefined ? undefined : ownRow(parsePool(bytes), "pool");
}

/** The pool of a validator that is known to have been declared: it is elected, or somebody staked with it. */
export function declaredPoolAt(view: StateView, validator: Address): Pool {
  return present(poolAt(view, validator), "pool of a declared validator");
}

/** Writes a pool. */
export function putPool(state: Overlay, validator: Address, pool: Pool): void {
  state.put(poolKey(validator), encodePool(pool));
}

/** What one address has staked with one validator; none is no shares. */
export function delegationAt(view: StateView, validator: Address, delegator: Address): Delegation {
  const bytes = view.get(delegationKey(validator, delegator));
  return bytes === undefined ? { shares: 0n, rewardPerShare: 0n } : ownRow(parseDelegation(bytes), "delegation");
}

/** Writes a delegation, or takes the row of an empty one away. */
export function putDelegation(state: Overlay, validator: Address, delegator: Address, delegation: Delegation): void {
  const key = delegationKey(validator, delegator);
  if (delegation.shares === 0n) state.delete(key);
  else state.put(key, encodeDelegation(delegation));
}

/** The sums over all stake, which genesis writes. */
export function totalsAt(view: StateView): StakeTotals {
  return ownRow(parseStakeTotals(present(view.get(stakeTotalsKey()), "totals of stake")), "stakeTotals");
}

/** Writes the sums. */
export function putTotals(state: Overlay, totals: StakeTotals): void {
  state.put(stakeTotalsKey(), encodeStakeTotals(totals));
}

/** What a validator was slashed for, if it was. */
export function offenceAt(view: StateView, validator: Address): Offence | undefined {
  const bytes = view.get(offenceKey(validator));
  return bytes === undefined ? undefined : ownRow(parseOffence(bytes), "offence");
}

/** Writes what a validator was slashed for. */
export function putOffence(state: Overlay, validator: Address, offence: Offence): void {
  state.put(offenceKey(validator), encodeOffence(offence));
}

/** Whether a validator signed two conflicting statements and was punished. */
export function isTombstoned(view: StateView, validator: Address): boolean {
  return view.get(tombstoneKey(validator)) !== undefined;
}
