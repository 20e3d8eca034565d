/**
 * Proof of stake within the order of a block (`executor.ts`). Consensus is Tendermint's; what stands here is who votes.
 *
 * ```
 * begin    who missed the vote on the block before     -> slashed, jailed
 *          what has waited for the unbonding time      -> released
 * evidence all offenders of the block                  -> slashed alike, jailed for ever
 * calls    declare, bond, unbond, commission, unjail, claim
 * end      fees and new tokens                         -> proposer, signers, delegators
 *          candidates whose standing changed           -> the next set
 * ```
 */

import { bytesEqual } from "../../crypto/base/bytes.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { genesisStake, type NetworkFile } from "../../chain/block/genesis.ts";
import { heightOf } from "../../chain/block/height.ts";
import type { PosProtocol } from "../../chain/block/protocol.ts";
import type { BlockContext, StateView } from "../../chain/state/executor.ts";
import { candidatesKey, stakeKeyKey, votersKey } from "../../chain/state/keys.ts";
import type { Overlay } from "../../chain/state/overlay.ts";
import { ownRow } from "../../chain/state/rows.ts";
import { encodeStakeKey, encodeStandings, parseStandings, type Standing } from "../../chain/state/stake.ts";
import { mint } from "../supply.ts";
import { validatorsAt } from "../validators.ts";
import { noteAttendance, signersOf } from "./attendance.ts";
import { POOL_EMPTY } from "./declarations.ts";
import { shareOut } from "./earnings.ts";
import { elect, ranked } from "./elections.ts";
import { GENESIS_COMMISSION_STEP_BPS_MAX } from "./limits.ts";
import { putDelegation, putPool, putTotals, type Touched } from "./pools.ts";
import { type Offenders, punishOffenders } from "./slashing.ts";
import { noteTime } from "./times.ts";
import { release } from "./unbonding.ts";

/** What one block does about stake, from its beginning to its end. */
export type StakingRun = {
  readonly engine: PosProtocol;
  /** Who decided this height. */
  readonly voters: readonly Standing[];
  /** Who decided the height before, and signed it. */
  readonly signers: readonly Standing[];
  readonly offenders: Offenders;
  readonly touched: Touched;
};

/** The rows of stake at height 0: each validator's power is what it staked with itself. */
export function putGenesisStake(state: Overlay, engine: PosProtocol, network: NetworkFile): void {
  const standings: Standing[] = [];
  for (const { key, power } of network.validators) {
    const address = addressOfKey(key);
    const tokens = power * engine.powerUnit;
    putPool(state, address, {
      ...POOL_EMPTY,
      operator: address,
      commissionStepBpsMax: GENESIS_COMMISSION_STEP_BPS_MAX,
      tokens,
      shares: tokens,
    });
    putDelegation(state, address, address, { shares: tokens, rewardPerShare: 0n });
    state.put(stakeKeyKey(address), encodeStakeKey(key));
    standings.push({ address, power });
  }
  state.put(candidatesKey(), encodeStandings(ranked(standings)));
  putTotals(state, { bonded: genesisStake(engine, network.validators), unbonding: 0n, first: 0n, end: 0n });
  noteTime(state, { height: heightOf(0n), timeMs: network.genesisTimeMs, parameters: network.parameters });
}

/** Begins a block, before the sets move on. */
export function beginStaking(state: Overlay, engine: PosProtocol, context: BlockContext): StakingRun {
  const previous = votersAt(state);
  const voters = validatorsAt(state, "current").validators.map(({ address, power }) => ({ address, power }));
  const touched: Touched = new Map();
  noteTime(state, context);
  putVoters(state, voters);
  noteAttendance({ state, engine, context, voters: previous, touched });
  release(state, engine, context);
  return { engine, voters, signers: signersOf(previous, context), offenders: new Map(), touched };
}

/** Punishes whom the evidence of the block is against. */
export function settleEvidence(state: Overlay, { engine, voters, offenders, touched }: StakingRun, context: BlockContext): void {
  const power = engine.powerUnit * voters.reduce((total, voter) => total + voter.power, 0n);
  punishOffenders({ state, engine, context, offenders, touched, power });
}

/** Ends a block: gives away what it brought, and elects. */
export function endStaking(state: Overlay, run: StakingRun, context: BlockContext, fees: bigint): void {
  const { engine, signers, touched } = run;
  shareOut(state, engine, { amount: fees + mint(state, engine.blockReward), proposer: context.proposer, signers });
  elect(state, engine, touched);
}

function votersAt(view: StateView): readonly Standing[] {
  const bytes = view.get(votersKey());
  return bytes === undefined ? [] : ownRow(parseStandings(bytes), "voters");
}

/** Written only when it changed, as the sets are. */
function putVoters(state: Overlay, voters: readonly Standing[]): void {
  const bytes = encodeStandings(voters);
  const known = state.get(votersKey());
  if (known === undefined || !bytesEqual(known, bytes)) state.put(votersKey(), bytes);
}
