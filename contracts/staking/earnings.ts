/**
 * Who earns what a block brings: its fees and new tokens. The proposer's share first, then by power to all who signed
 * the block before; each validator's commission first, then by shares to its delegators. What division leaves over is
 * the proposer's, so that all of it is given.
 */

import type { Address } from "../../crypto/identity/address.ts";
import type { PosProtocol } from "../../chain/block/protocol.ts";
import type { Overlay } from "../../chain/state/overlay.ts";
import type { Standing } from "../../chain/state/stake.ts";
import { reward } from "../rewards.ts";
import { poolAt, putPool } from "./pools.ts";
import { partOf, withEarnings } from "./shares.ts";

/** Gives `amount` away. Without signers, as in the first block, the proposer has it all. */
export function shareOut(
  state: Overlay,
  engine: PosProtocol,
  { amount, proposer, signers }: { readonly amount: bigint; readonly proposer: Address; readonly signers: readonly Standing[] },
): void {
  if (amount === 0n) return;
  const shared = amount - partOf(amount, engine.proposerRewardBps);
  const power = signers.reduce((total, signer) => total + signer.power, 0n);
  let given = 0n;
  for (const signer of signers) {
    const part = (shared * signer.power) / power;
    if (part === 0n) continue;
    given += part;
    earn(state, signer.address, part);
  }
  earn(state, proposer, amount - given);
}

function earn(state: Overlay, validator: Address, amount: bigint): void {
  const pool = poolAt(state, validator);
  if (pool === undefined) reward(state, validator, amount);
  else putPool(state, validator, withEarnings(pool, amount));
}
