/**
 * The queue of stake that was asked back, in the order of the requests. The unbonding time is one for all, so that is
 * also the order in which they are released.
 *
 * An entry is slashed when it is released, for what came out while it waited: the offence of its validator, if that
 * was punished after the request and reaches back to the block before the offence or earlier. (Power follows stake
 * two blocks later, so what was asked back in block h still stood behind height h + 1.)
 */

import { present } from "../../crypto/base/assert.ts";
import { unbondingKey } from "../../chain/state/keys.ts";
import type { BlockContext, StateView } from "../../chain/state/executor.ts";
import type { PosProtocol } from "../../chain/block/protocol.ts";
import type { Overlay } from "../../chain/state/overlay.ts";
import { ownRow } from "../../chain/state/rows.ts";
import { encodeUnbonding, type Offence, parseUnbonding, type Unbonding } from "../../chain/state/stake.ts";
import { credit } from "../accounts.ts";
import { RELEASES_MAX } from "./limits.ts";
import { declaredPoolAt, offenceAt, putPool, putTotals, totalsAt } from "./pools.ts";
import { partUpOf } from "./shares.ts";
import { forfeit } from "./slashing.ts";

/** Adds an entry, whose tokens the caller has taken from its pool. */
export function enqueue(state: Overlay, entry: Unbonding): void {
  const totals = totalsAt(state);
  state.put(unbondingKey(totals.end), encodeUnbonding(entry));
  putTotals(state, {
    ...totals,
    bonded: totals.bonded - entry.amount,
    unbonding: totals.unbonding + entry.amount,
    end: totals.end + 1n,
  });
}

/** Gives back what has waited for longer than the unbonding time, less what it is slashed by. */
export function release(state: Overlay, engine: PosProtocol, { timeMs }: BlockContext): void {
  for (let count = 0; count < RELEASES_MAX; count += 1) {
    const totals = totalsAt(state);
    if (totals.first === totals.end) return;
    const entry = entryAt(state, totals.first);
    if (timeMs <= entry.timeMs + BigInt(engine.unbondingMs)) return;
    state.delete(unbondingKey(totals.first));
    putTotals(state, { ...totals, first: totals.first + 1n, unbonding: totals.unbonding - entry.amount });
    free(state, engine, entry);
  }
}

function free(state: Overlay, engine: PosProtocol, entry: Unbonding): void {
  const pool = declaredPoolAt(state, entry.validator);
  putPool(state, entry.validator, { ...pool, unbonding: pool.unbonding - entry.amount });
  const offence = offenceAt(state, entry.validator);
  const taken = offence !== undefined && reaches(offence, entry) ? partUpOf(entry.amount, offence.slashBps) : 0n;
  forfeit(state, engine, taken, offence?.reporter);
  if (entry.amount > taken) credit(state, entry.delegator, entry.amount - taken);
}

/** Whether an entry stood behind the offence and was not in the pool any more when that was slashed. */
function reaches(offence: Offence, entry: Unbonding): boolean {
  return entry.height < offence.at && entry.height + 1n >= offence.height;
}

function entryAt(view: StateView, index: bigint): Unbonding {
  return ownRow(parseUnbonding(present(view.get(unbondingKey(index)), "entry of the queue")), "unbonding");
}
