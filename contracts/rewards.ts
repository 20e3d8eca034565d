/**
 * What validators earn. It waits in a row of its own until whoever earned it claims it: so the accounts after one
 * workload do not depend on who proposed its blocks, and are the same under every engine.
 */

import { assert } from "../crypto/base/assert.ts";
import type { Address } from "../crypto/identity/address.ts";
import { AMOUNT_MAX } from "../chain/block/limits.ts";
import type { StateView } from "../chain/state/executor.ts";
import { rewardsKey } from "../chain/state/keys.ts";
import type { Overlay } from "../chain/state/overlay.ts";
import { encodeRewards, ownRow, parseRewards } from "../chain/state/rows.ts";
import { credit } from "./accounts.ts";
import type { CallFault, CallScope } from "./scope.ts";

/** What an address has earned and not claimed. */
export function rewardsAt(view: StateView, address: Address): bigint {
  const bytes = view.get(rewardsKey(address));
  return bytes === undefined ? 0n : ownRow(parseRewards(bytes), "rewards");
}

/** Adds to what an address has earned. The caller takes the tokens from somewhere, or mints them. */
export function reward(state: Overlay, address: Address, amount: bigint): void {
  if (amount === 0n) return;
  const earned = rewardsAt(state, address) + amount;
  assert(amount > 0n && earned <= AMOUNT_MAX, "rewards {} with {}", earned, amount);
  state.put(rewardsKey(address), encodeRewards(earned));
}

/** Moves what the sender has earned into its account. */
export function claimRewards({ state, sender }: CallScope): CallFault | undefined {
  const earned = rewardsAt(state, sender);
  if (earned === 0n) return { code: "rewards_none", field: "kind" };
  state.delete(rewardsKey(sender));
  credit(state, sender, earned);
  return undefined;
}
