/** How many tokens there are. Everything else in this folder only moves them. */

import { assert, present } from "../crypto/base/assert.ts";
import { AMOUNT_MAX } from "../chain/block/limits.ts";
import type { StateView } from "../chain/state/executor.ts";
import { supplyKey } from "../chain/state/keys.ts";
import type { Overlay } from "../chain/state/overlay.ts";
import { encodeSupply, ownRow, parseSupply, type Supply } from "../chain/state/rows.ts";

/** The supply row, which genesis writes. */
export function supplyAt(view: StateView): Supply {
  return ownRow(parseSupply(present(view.get(supplyKey()), "supply row")), "supply");
}

/** Writes the supply that a network begins with. */
export function putGenesisSupply(state: Overlay, total: bigint): void {
  assert(total >= 0n && total <= AMOUNT_MAX, "genesis supply {}", total);
  state.put(supplyKey(), encodeSupply({ total, minted: 0n, burned: 0n }));
}

/**
 * Makes new tokens, for the caller to give to somebody.
 *
 * @returns how many: less than asked for when all that was ever made would pass 2^64 - 1
 */
export function mint(state: Overlay, wanted: bigint): bigint {
  if (wanted === 0n) return 0n;
  const { total, minted, burned } = supplyAt(state);
  // Genesis and everything minted: what is burned is part of it, so each number of the row stays below 2^64.
  const room = AMOUNT_MAX - (total + burned);
  const made = wanted < room ? wanted : room;
  if (made > 0n) state.put(supplyKey(), encodeSupply({ total: total + made, minted: minted + made, burned }));
  return made;
}

/** Destroys tokens that the caller has taken from somewhere. */
export function burn(state: Overlay, amount: bigint): void {
  if (amount === 0n) return;
  const { total, minted, burned } = supplyAt(state);
  assert(amount > 0n && amount <= total, "burning {} of {}", amount, total);
  state.put(supplyKey(), encodeSupply({ total: total - amount, minted, burned: burned + amount }));
}
