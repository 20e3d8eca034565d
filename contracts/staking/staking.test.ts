/** Proof of stake: who is elected, what stake earns, what it loses, and that no token is made or lost on the way. */

import fc from "fast-check";
import t from "tap";
import { assert, present } from "../../crypto/base/assert.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { checkSeeing } from "../../crypto/testing/property.ts";
import { heightOf } from "../../chain/block/height.ts";
import { PROTOCOL_DEFAULTS } from "../../chain/block/protocol.ts";
import { keyPairAt, networkOf } from "../../chain/block/testing/fixtures.ts";
import type { Call } from "../../chain/block/call.ts";
import type { Transaction } from "../../chain/block/transaction.ts";
import { advancePriorities, proposerAt } from "../../chain/block/validators.ts";
import { attendanceKey, blockTimeKey, misbehaviourKey, tombstoneKey } from "../../chain/state/keys.ts";
import type { Pool } from "../../chain/state/stake.ts";
import { EXECUTOR } from "../executor.ts";
import { supplyAt } from "../supply.ts";
import { addressAt, Chain, ok, textOf } from "../testing/chain.ts";
import { offenceAt, totalsAt } from "./pools.ts";
import { bpsOf, partOf, partUpOf, sharesBought, sharesSold, withEarnings, worthOf } from "./shares.ts";
import { type BlockPlan, FUNDS, poolOf, StakeChain } from "./testing/stake-chain.ts";

const ALICE = 100;
const BOB = 101;
const FEE = 2_000n;

const bond = (validator: number, amount: bigint): Call => ({ kind: "stakeBond", validator: addressAt(validator), amount });
const unbond = (validator: number, amount: bigint): Call => ({ kind: "stakeUnbond", validator: addressAt(validator), amount });
const unjail = (validator: number): Call => ({ kind: "validatorUnjail", validator: addressAt(validator) });
const commission = (validator: number, commissionBps: number): Call => ({
  kind: "validatorCommission",
  validator: addressAt(validator),
  commissionBps,
});
const declare = (key: number, operator = key, commissionBps = 0, commissionStepBpsMax = 100): Call => ({
  kind: "validatorDeclare",
  key: keyPairAt(key).publicKey,
  operator: addressAt(operator),
  commissionBps,
  commissionStepBpsMax,
});
const claim = (validator?: number): Call =>
  validator === undefined ? { kind: "rewardsClaim" } : { kind: "rewardsClaim", validator: addressAt(validator) };

function passTimes(chain: StakeChain, times: number, plan: BlockPlan = {}): void {
  for (let index = 0; index < times; index += 1) chain.pass(plan);
}

// Electing.

t.test("the powers of the network file are stake of the validators' own, and part of the supply", (t) => {
  const chain = new StakeChain([4n, 3n, 2n, 1n]);
  t.equal(chain.stake(0, 0), 4_000n);
  t.equal(supplyAt(chain.state).total, 11n * FUNDS + 10_000n);
  t.equal(totalsAt(chain.state).bonded, 10_000n);
  chain.pass();
  t.same(
    chain
      .voters()
      .map(({ power }) => power)
      .sort((a, b) => (a < b ? -1 : 1)),
    [1n, 2n, 3n, 4n],
  );
  t.end();
});

t.test("stake moves power in whole units, and decides two heights later", (t) => {
  const chain = new StakeChain([4n, 3n, 2n, 1n]);
  const powerOf = (): bigint | undefined =>
    EXECUTOR.validatorsAt(chain.state, "current").validators.find(({ address }) => toHex(address) === toHex(addressAt(3)))?.power;
  t.equal(chain.run(ALICE, bond(3, 999n)), "applied");
  t.equal(chain.powerNext(3), 1n, "one token short of a unit");
  t.equal(chain.run(ALICE, bond(3, 1n)), "applied");
  t.equal(chain.powerNext(3), 2n);
  t.equal(powerOf(), 1n, "not at the next height");
  chain.pass();
  t.equal(powerOf(), 2n, "but at the one after");
  t.equal(chain.account(ALICE).balance, FUNDS - 1_000n - 2n * FEE);
  t.end();
});

t.test("staking is refused with nobody, with too little and with more than one has", (t) => {
  const chain = new StakeChain([1n, 1n, 1n, 1n]);
  t.equal(chain.run(ALICE, bond(7, 5n)), "validator_undeclared calls[0].validator");
  t.equal(chain.run(ALICE, bond(0, FUNDS)), "balance_insufficient calls[0].amount");
  t.equal(chain.run(ALICE, unbond(0, 1n)), "stake_insufficient calls[0].amount", "has none");
  t.equal(chain.run(ALICE, bond(0, 5n)), "applied");
  t.equal(chain.run(ALICE, unbond(0, 6n)), "stake_insufficient calls[0].amount", "one more than it has");
  t.equal(chain.run(ALICE, unbond(0, 5n)), "applied");
  t.equal(chain.run(ALICE, unbond(7, 5n)), "validator_undeclared calls[0].validator");
  const tight = new StakeChain([1n, 1n, 1n, 1n], { engine: { powerUnit: 1n, selfBondMin: 1n } });
  t.equal(tight.run(ALICE, bond(0, 5_000n)), "applied", "the largest total power is far");
  t.end();
});

t.test("all stake together stays within the largest total power", (t) => {
  const most = 1n << 56n;
  const chain = new StakeChain([most - 103n, 1n, 1n, 1n], { engine: { powerUnit: 1n, selfBondMin: 1n } });
  t.equal(chain.run(ALICE, bond(1, 101n)), "stake_total calls[0].amount");
  t.equal(chain.run(ALICE, bond(1, 100n)), "applied", "exactly");
  t.equal(chain.run(ALICE, bond(1, 1n)), "stake_total calls[0].amount");
  t.equal(EXECUTOR.validatorsAt(chain.state, "next").totalPower, most);
  t.end();
});

t.test("a validator is declared by its own key, once, and elected when its operator stakes enough", (t) => {
  const chain = new StakeChain([2n, 2n, 2n, 2n], { engine: { selfBondMin: 2_000n } });
  t.equal(chain.run(ALICE, declare(4)), "validator_key calls[0].key", "somebody else's key");
  t.equal(chain.run(4, declare(4, ALICE)), "applied");
  t.equal(chain.run(4, declare(4, 4)), "validator_declared calls[0].key");
  t.equal(chain.run(0, declare(0)), "validator_declared calls[0].key", "one of the network file");
  t.equal(chain.run(BOB, bond(4, 9_000n)), "applied");
  t.equal(chain.powerNext(4), undefined, "delegations alone do not count as its own");
  t.equal(chain.run(4, bond(4, 5_000n)), "applied");
  t.equal(chain.powerNext(4), undefined, "nor does stake of the key, which is not the operator");
  t.equal(chain.run(ALICE, bond(4, 1_999n)), "applied");
  t.equal(chain.powerNext(4), undefined, "one short");
  t.equal(chain.run(ALICE, bond(4, 1n)), "applied");
  t.equal(chain.powerNext(4), 16n, "with all that was delegated");
  t.equal(chain.run(ALICE, unbond(4, 1n)), "applied");
  t.equal(chain.powerNext(4), undefined, "and out again");
  t.end();
});

t.test("those of most stake are elected, ties by address, and who is outbid comes back by stake", (t) => {
  const chain = new StakeChain([3n, 3n, 3n, 3n], { engine: { activeMax: 4 } });
  t.equal(chain.run(4, declare(4), bond(4, 2_000n)), "applied");
  t.equal(chain.powerNext(4), undefined);
  chain.run(4, bond(4, 2_000n));
  t.equal(chain.powerNext(4), 4n, "outbids one of the equal ones");
  const out = [0, 1, 2, 3].filter((index) => chain.powerNext(index) === undefined);
  const highest = [0, 1, 2, 3].sort((a, b) => (toHex(addressAt(a)) < toHex(addressAt(b)) ? -1 : 1)).at(-1);
  t.same(out, [highest], "the one with the highest address");
  chain.run(ALICE, bond(present(out[0], "outbid"), 1_000n));
  t.equal(chain.powerNext(present(out[0], "outbid")), 4n);
  t.end();
});

t.test("turns go on through elections: nobody gains by coming, going or changing stake", (t) => {
  const chain = new StakeChain([5n, 5n, 5n, 5n]);
  const turns = new Map<string, number>();
  chain.run(4, declare(4), bond(4, 5_000n));
  for (let height = 0; height < 200; height += 1) {
    const call = height % 4 === 0 ? bond(4, 1_000n) : height % 4 === 2 ? unbond(4, 1_000n) : undefined;
    chain.pass({ transactions: call === undefined ? [] : [chain.sign(4, [call])] });
    const set = EXECUTOR.validatorsAt(chain.state, "current");
    for (const { priority } of set.validators)
      assert(priority <= 2n * set.totalPower && priority >= -2n * set.totalPower, "drift");
    const turn = toHex(proposerAt(set, 0).address);
    turns.set(turn, (turns.get(turn) ?? 0) + 1);
  }
  const counts = [...turns.values()];
  t.ok(Math.max(...counts) - Math.min(...counts) <= 8, counts.join());
  const next = EXECUTOR.validatorsAt(chain.state, "next");
  chain.pass();
  t.same(EXECUTOR.validatorsAt(chain.state, "next"), advancePriorities(next, 1), "without calls just one turn on");
  t.end();
});

t.test("under proof of stake no authority changes validators, and elsewhere there is no stake", (t) => {
  const chain = new StakeChain([1n, 1n, 1n, 1n]);
  const set: Call = { kind: "validatorSet", key: keyPairAt(9).publicKey, power: 1n };
  t.equal(chain.run(ALICE, set), "validators_elected calls[0].key", "100 is the authority");
  const other = new Chain(networkOf({ amounts: [1_000_000n] }));
  t.equal(other.run(ALICE, set), "applied");
  for (const call of [bond(0, 5n), unbond(0, 5n), declare(4), commission(0, 5), unjail(0)])
    t.equal(other.run(ALICE, call), "stake_engine calls[0].kind", call.kind);
  t.end();
});

t.test("the set is never empty: when nobody may be elected it stays, until somebody may", (t) => {
  const chain = new StakeChain([1n, 1n, 1n, 1n]);
  for (const index of [0, 1, 2, 3]) t.equal(chain.run(index, unbond(index, 1_000n)), "applied");
  t.equal(chain.powerNext(3), 1n, "the last one to leave");
  t.equal(EXECUTOR.validatorsAt(chain.state, "next").validators.length, 1);
  chain.pass({ evidence: [chain.doubleVote(3, 2n)], proposer: 3 });
  t.equal(chain.powerNext(3), 1n, "not even for an offence");
  t.ok(offenceAt(chain.state, addressAt(3)) !== undefined, "which is punished all the same");
  chain.run(2, bond(2, 1_000n));
  t.equal(chain.powerNext(2), 1n, "somebody stakes again");
  t.equal(chain.powerNext(3), undefined, "and the last one goes");
  t.end();
});

// Asking back.

t.test("stake that is asked back is free after the unbonding time, and not a moment earlier", (t) => {
  const chain = new StakeChain([2n, 2n, 2n, 2n]);
  chain.run(ALICE, bond(1, 5_000n));
  chain.run(ALICE, unbond(1, 5_000n));
  const before = chain.account(ALICE).balance;
  t.equal(before, FUNDS - 5_000n - 2n * FEE);
  chain.pass({ afterMs: 100_000n });
  t.equal(chain.account(ALICE).balance, before, "exactly the unbonding time later evidence may still come");
  chain.pass({ afterMs: 1n });
  t.equal(chain.account(ALICE).balance, before + 5_000n);
  t.equal(totalsAt(chain.state).unbonding, 0n);
  t.equal(chain.pool(1).unbonding, 0n);
  t.end();
});

t.test("a block releases a bounded number, in the order of the requests, and the next one goes on", (t) => {
  const chain = new StakeChain([2n, 2n, 2n, 2n]);
  chain.run(ALICE, bond(1, 1_000n));
  const many = Array.from({ length: 60 }, () => unbond(1, 1n));
  for (let index = 0; index < 5; index += 1) chain.pass({ transactions: [chain.sign(ALICE, many, { fee: 10_000n })] });
  t.equal(totalsAt(chain.state).unbonding, 300n);
  const balance = chain.account(ALICE).balance;
  chain.pass({ afterMs: 200_000n });
  t.equal(chain.account(ALICE).balance, balance + 256n);
  chain.pass();
  t.equal(chain.account(ALICE).balance, balance + 300n);
  t.end();
});

// Earning.

t.test("a block's fees and new tokens go to its proposer and to who signed the one before, by stake", (t) => {
  const chain = new StakeChain([4n, 3n, 2n, 1n], { engine: { blockReward: 1_000n, proposerRewardBps: 1_000 } });
  chain.pass({ proposer: 2 });
  t.equal(chain.pool(2).rewards, 1_000n, "the first block has no certificate: all to its proposer");
  chain.pass({ proposer: 2, absent: [0] });
  t.same(
    [0, 1, 2, 3].map((index) => chain.pool(index).rewards),
    [0n, 450n, 1_000n + 300n + 100n, 150n],
    "a tenth first, then 3 : 2 : 1",
  );
  chain.pass({ transactions: [chain.sign(ALICE, [claim()])], absent: [1, 2, 3], proposer: 1 });
  t.equal(chain.pool(0).rewards, 2_700n, "the fee of a failed call too");
  t.equal(chain.pool(1).rewards, 450n + 300n);
  t.equal(supplyAt(chain.state).minted, 3_000n);
  t.end();
});

t.test("what division leaves over is the proposer's", (t) => {
  const chain = new StakeChain([1n, 1n, 1n, 1n], { engine: { blockReward: 1_003n, proposerRewardBps: 0 } });
  chain.pass();
  chain.pass({ proposer: 3 });
  t.same(
    [1, 2, 3].map((index) => chain.pool(index).rewards),
    [250n, 250n, 253n],
  );
  t.end();
});

t.test("delegators earn by their shares after the commission, from when they came to when they left", (t) => {
  const chain = new StakeChain([1n, 1n, 1n, 1n], { engine: { proposerRewardBps: 0 } });
  chain.run(4, declare(4, BOB, 1_000));
  chain.run(BOB, bond(4, 10_000n));
  chain.run(ALICE, bond(4, 30_000n));
  t.equal(poolOf(chain, 4)?.commissionBps, 1_000);
  // Only 4 is counted as a signer from here on, so that all fees are its own.
  const alone: BlockPlan = { absent: [0, 1, 2, 3], proposer: 4 };
  passTimes(chain, 3);
  const { commission: commissionBefore, rewards: rewardsBefore } = chain.pool(4);
  chain.pass({ ...alone, transactions: [chain.sign(102, [claim()], { fee: 10_000n })] });
  t.equal(chain.pool(4).commission - commissionBefore, 1_000n, "a tenth");
  t.equal(chain.pool(4).rewards - rewardsBefore, 9_000n);
  const earned = (signer: number): bigint => {
    const before = chain.account(signer).balance;
    assert(chain.run(signer, claim(4)) === "applied", "claims");
    return chain.account(signer).balance - before + FEE;
  };
  const { rewards } = chain.pool(4);
  t.equal(earned(ALICE), (rewards * 3n) / 4n - 1n, "three of four shares, less what the fixed point cannot tell");
  t.ok(earned(BOB) > commissionBefore + 1_000n + rewards / 4n, "one share, and the commission");
  t.ok(chain.pool(4).commission < 300n, "of which the claim left only what its own block brought");
  t.equal(chain.run(102, claim(4)), "rewards_none calls[0].kind", "who has no stake");
  t.equal(chain.run(ALICE, unbond(4, 30_000n)), "applied");
  passTimes(chain, 1, alone);
  const { rewardPerShare } = chain.pool(4);
  chain.pass({ ...alone, transactions: [chain.sign(102, [claim()], { fee: 10_000n })] });
  t.ok(chain.pool(4).rewardPerShare > rewardPerShare);
  t.equal(chain.run(ALICE, claim(4)), "applied", "what bonding and asking back paid out waits to be claimed");
  t.equal(chain.run(ALICE, claim(4)), "rewards_none calls[0].kind", "but it earns nothing any more");
  t.equal(chain.run(ALICE, claim(7)), "validator_undeclared calls[0].validator");
  t.end();
});

t.test("a commission changes by its operator, in steps, once a day", (t) => {
  const chain = new StakeChain([1n, 1n, 1n, 1n]);
  const day = 86_400_000n;
  chain.run(4, declare(4, ALICE, 500, 200));
  t.equal(chain.run(ALICE, commission(4, 700)), "commission_early calls[0].commissionBps");
  chain.pass({ afterMs: day - 3_000n });
  t.equal(chain.run(ALICE, commission(4, 700)), "commission_early calls[0].commissionBps", "a second early");
  t.equal(chain.run(ALICE, commission(4, 701)), "commission_step calls[0].commissionBps");
  t.equal(chain.run(4, commission(4, 600)), "validator_operator calls[0].validator", "its key is not its operator");
  t.equal(chain.run(ALICE, commission(7, 600)), "validator_undeclared calls[0].validator");
  t.equal(chain.run(ALICE, commission(4, 300)), "applied");
  t.equal(chain.pool(4).commissionBps, 300);
  t.equal(chain.run(ALICE, commission(4, 400)), "commission_early calls[0].commissionBps");
  chain.pass({ afterMs: day });
  t.equal(chain.run(0, commission(0, 101)), "commission_step calls[0].commissionBps", "one of the network file: by a hundredth");
  t.equal(chain.run(0, commission(0, 100)), "applied");
  t.end();
});

// Losing.

t.test("an offence costs all stake its part once, jails for ever, and pays the reporter", (t) => {
  const chain = new StakeChain([97n, 1n, 1n, 1n], { engine: { doubleSignSlashBps: 1_000, reporterRewardBps: 500 } });
  chain.run(ALICE, bond(1, 500n));
  chain.pass();
  chain.pass({ evidence: [chain.doubleVote(1, 2n)], proposer: 2 });
  t.equal(chain.stake(1, 1), 900n);
  t.equal(chain.stake(1, ALICE), 450n);
  t.equal(chain.pool(1).tokens, 1_350n);
  t.equal(supplyAt(chain.state).burned, 143n, "150, less a twentieth for the reporter");
  t.equal(chain.rewards(2), 7n);
  t.equal(chain.powerNext(1), undefined);
  t.ok(chain.state.get(tombstoneKey(addressAt(1))) !== undefined);
  t.match(chain.try([], [chain.doubleVote(1, 2n, 1)]), { error: { code: "evidence_repeated" } }, "the same height");
  chain.pass({ evidence: [chain.doubleVote(1, 1n), chain.doubleVote(1, 3n)] });
  t.equal(chain.pool(1).tokens, 1_350n, "other heights of before and after are recorded, and cost nothing more");
  t.ok(chain.state.get(misbehaviourKey(addressAt(1), heightOf(3n))) !== undefined);
  t.equal(chain.run(ALICE, bond(1, 5n)), "validator_tombstoned calls[0].validator");
  chain.pass({ afterMs: 1_000_000n });
  t.equal(chain.run(1, unjail(1)), "validator_tombstoned calls[0].validator");
  t.equal(chain.run(ALICE, unbond(1, 450n)), "applied", "what is left may leave");
  t.equal(chain.run(1, unbond(1, 901n)), "stake_insufficient calls[0].amount");
  t.end();
});

t.test("several pieces of evidence in one block, of several heights, cost one slash", (t) => {
  const chain = new StakeChain([97n, 1n, 1n, 1n], { engine: { doubleSignSlashBps: 1_000 } });
  passTimes(chain, 4);
  chain.pass({ evidence: [chain.doubleVote(1, 3n), chain.doubleVote(1, 1n), chain.doubleVote(1, 2n)] });
  t.equal(chain.pool(1).tokens, 900n);
  t.equal(offenceAt(chain.state, addressAt(1))?.height, 1n, "from the earliest on");
  t.end();
});

t.test("who reports itself gets nothing for it", (t) => {
  const chain = new StakeChain([97n, 1n, 1n, 1n], { engine: { doubleSignSlashBps: 1_000, reporterRewardBps: 5_000 } });
  chain.pass();
  chain.pass({ evidence: [chain.doubleVote(1, 1n)], proposer: 1 });
  t.equal(supplyAt(chain.state).burned, 100n);
  t.equal(chain.rewards(1), 0n);
  t.end();
});

t.test("offenders together lose three times their share of power, all alike, and all of it from a third on", (t) => {
  const lost = (powers: readonly bigint[], offenders: readonly number[]): readonly bigint[] => {
    const chain = new StakeChain(powers, { engine: { doubleSignSlashBps: 500, reporterRewardBps: 0 } });
    chain.pass();
    chain.pass({ evidence: offenders.map((index) => chain.doubleVote(index, 1n)) });
    return offenders.map((index) => present(powers[index], "power") * 1_000n - chain.pool(index).tokens);
  };
  t.same(lost([99n, 1n], [1]), [50n], "one in a hundred: the least");
  t.same(lost([90n, 10n], [1]), [3_000n], "one in ten: three tenths");
  t.same(lost([80n, 10n, 10n], [1, 2]), [6_000n, 6_000n], "two of them");
  t.same(lost([80n, 10n, 10n], [2, 1]), [6_000n, 6_000n], "in whatever order");
  t.same(lost([66n, 34n], [1]), [34_000n], "more than a third: everything");
  t.end();
});

t.test("who offended within the unbonding time before counts as well, and after it no more", (t) => {
  const second = (laterMs: bigint): number | undefined => {
    const chain = new StakeChain([80n, 10n, 10n], { engine: { doubleSignSlashBps: 500 } });
    chain.pass();
    chain.pass({ evidence: [chain.doubleVote(1, 1n)] });
    chain.pass({ afterMs: laterMs - 2n });
    chain.pass({ afterMs: 1n });
    chain.pass({ evidence: [chain.doubleVote(2, 4n)], afterMs: 1n });
    return offenceAt(chain.state, addressAt(2))?.slashBps;
  };
  t.equal(second(100_000n), 6_336, "a tenth, and a ninth of those that are left");
  t.equal(second(100_001n), 3_336);
  t.end();
});

t.test("stake asked back is slashed for an offence it stood behind, and not for a later one", (t) => {
  const freed = (requestedAt: bigint, offenceAtHeight: bigint, evidenceAt: bigint): bigint => {
    const chain = new StakeChain([97n, 1n, 1n, 1n], { engine: { doubleSignSlashBps: 1_000 } });
    chain.run(ALICE, bond(1, 1_000n));
    let before = 0n;
    while (chain.height < 12n) {
      const height = chain.height + 1n;
      chain.pass({
        transactions: height === requestedAt ? [chain.sign(ALICE, [unbond(1, 1_000n)])] : [],
        evidence: height === evidenceAt ? [chain.doubleVote(1, offenceAtHeight)] : [],
      });
    }
    before = chain.account(ALICE).balance;
    chain.pass({ afterMs: 100_001n });
    return chain.account(ALICE).balance - before;
  };
  t.equal(freed(5n, 6n, 10n), 900n, "asked back in block 5, it still stood behind height 6");
  t.equal(freed(5n, 7n, 10n), 1_000n, "and no more behind 7");
  t.equal(freed(5n, 3n, 10n), 900n, "an earlier one");
  t.equal(freed(9n, 3n, 10n), 900n, "a block before it is punished");
  t.equal(freed(10n, 3n, 10n), 0n, "in the same block: what was asked for is more than what is left");
  t.end();
});

t.test("stake asked back after the punishment was slashed in its pool, and is not again", (t) => {
  const chain = new StakeChain([97n, 1n, 1n, 1n], { engine: { doubleSignSlashBps: 1_000 } });
  chain.run(ALICE, bond(1, 1_000n));
  chain.pass();
  const transactions = [chain.sign(ALICE, [unbond(1, 900n)])];
  const execution = chain.pass({ evidence: [chain.doubleVote(1, 2n)], transactions });
  t.same(execution.results.map(textOf), ["applied"], "evidence comes before calls");
  const before = chain.account(ALICE).balance;
  chain.pass({ evidence: [chain.doubleVote(1, 1n)] });
  chain.pass({ afterMs: 100_001n });
  t.equal(chain.account(ALICE).balance - before, 900n);
  t.end();
});

t.test("evidence of an earlier height that comes later makes the one slash reach further back", (t) => {
  const chain = new StakeChain([97n, 1n, 1n, 1n], { engine: { doubleSignSlashBps: 1_000, reporterRewardBps: 0 } });
  chain.run(ALICE, bond(1, 1_000n));
  chain.run(ALICE, unbond(1, 1_000n));
  passTimes(chain, 4);
  chain.pass({ evidence: [chain.doubleVote(1, 5n)] });
  t.equal(supplyAt(chain.state).burned, 100n, "its own stake; what was asked back in block 2 did not stand behind 5");
  chain.pass({ evidence: [chain.doubleVote(1, 3n)] });
  t.equal(chain.pool(1).tokens, 900n, "nothing more of what was slashed");
  chain.pass({ afterMs: 100_001n });
  t.equal(supplyAt(chain.state).burned, 200n, "but what stood behind 3");
  t.end();
});

t.test("leaving before the evidence comes out does not make an offence look smaller", (t) => {
  const chain = new StakeChain([60n, 40n], {
    engine: { doubleSignSlashBps: 500, reporterRewardBps: 0 },
    parameters: { dev: true },
  });
  chain.pass();
  chain.run(1, unbond(1, 40_000n));
  passTimes(chain, 3);
  chain.pass({ evidence: [chain.doubleVote(1, 1n)] });
  const before = chain.account(1).balance;
  chain.pass({ afterMs: 100_001n });
  t.equal(chain.account(1).balance, before, "all of it is gone");
  t.equal(supplyAt(chain.state).burned, 40_000n);
  t.end();
});

t.test("evidence is accepted for exactly as long as all stake behind it waits", (t) => {
  const chain = new StakeChain([97n, 1n, 1n, 1n], { engine: { doubleSignSlashBps: 1_000 } });
  chain.run(ALICE, bond(1, 1_000n));
  chain.run(ALICE, unbond(1, 1_000n));
  chain.pass();
  const balance = chain.account(ALICE).balance;
  chain.plan({ afterMs: 99_000n });
  t.ok(chain.try([], [chain.doubleVote(1, 3n)]).ok, "100 s after block 2");
  chain.pass({ afterMs: 99_000n });
  t.equal(chain.account(ALICE).balance, balance, "and what was asked back in block 2 waits");
  chain.plan({ afterMs: 1n });
  t.match(chain.try([], [chain.doubleVote(1, 3n)]), { error: { code: "evidence_old", field: "evidence[0].first.height" } });
  t.ok(chain.try([], [chain.doubleVote(1, 4n)]).ok, "of the height after it is");
  t.match(chain.try([], [chain.doubleVote(1, 0n)]), { error: { code: "evidence_height" } });
  chain.pass({ afterMs: 1n });
  t.equal(chain.account(ALICE).balance, balance + 1_000n);
  t.end();
});

t.test("evidence is also bounded in heights, for which alone block times are kept", (t) => {
  const chain = new StakeChain([97n, 1n, 1n, 1n], { parameters: { evidenceAgeMax: 3 } });
  passTimes(chain, 6);
  t.match(chain.try([], [chain.doubleVote(1, 3n)]), { error: { code: "evidence_old" } });
  t.ok(chain.try([], [chain.doubleVote(1, 4n)]).ok);
  const kept = [...Array(7).keys()].filter((height) => chain.state.get(blockTimeKey(heightOf(BigInt(height)))) !== undefined);
  t.same(kept, [2, 3, 4, 5, 6]);
  t.end();
});

t.test("who misses too many of the window is slashed and jailed, and comes back when asked after its time", (t) => {
  const chain = new StakeChain([4n, 4n, 4n, 2n], {
    engine: { signedWindow: 10, signedMinBps: 5_000, downtimeSlashBps: 100, jailMs: 5_000 },
  });
  chain.run(ALICE, bond(3, 1_000n));
  for (let missed = 1; missed <= 5; missed += 1) chain.pass({ absent: [3] });
  t.equal(chain.powerNext(3), 3n, "half of the window is enough");
  t.equal(chain.run(3, unjail(3)), "jail_none calls[0].validator");
  chain.pass({ absent: [3] });
  t.equal(chain.powerNext(3), undefined);
  t.equal(chain.stake(3, 3), 1_980n);
  t.equal(chain.stake(3, ALICE), 990n);
  t.equal(supplyAt(chain.state).burned, 30n, "burned whole");
  chain.pass({ absent: [3] });
  chain.pass({ absent: [3] });
  t.equal(supplyAt(chain.state).burned, 30n, "once: while it is jailed nobody expects it");
  t.equal(chain.run(ALICE, unjail(3)), "validator_operator calls[0].validator");
  t.equal(chain.run(3, unjail(3)), "jail_early calls[0].validator");
  chain.pass();
  t.equal(chain.run(3, unjail(3)), "applied", "five seconds later");
  t.equal(chain.powerNext(3), 2n);
  for (let missed = 1; missed <= 6; missed += 1) chain.pass({ absent: [3] });
  t.equal(chain.powerNext(3), 2n, "it begins anew: two of these it was not in the set yet");
  t.end();
});

t.test("missed votes are forgotten a window later, and one that always signs costs no row", (t) => {
  const chain = new StakeChain([4n, 4n, 4n, 2n], { engine: { signedWindow: 10, signedMinBps: 5_000 } });
  chain.pass();
  for (let round = 0; round < 4; round += 1) {
    passTimes(chain, 5, { absent: [3] });
    passTimes(chain, 5);
  }
  t.equal(chain.powerNext(3), 2n, "five of every ten");
  t.equal(chain.state.get(attendanceKey(addressAt(0))), undefined);
  passTimes(chain, 6, { absent: [3] });
  t.equal(chain.powerNext(3), undefined, "six of ten");
  t.end();
});

t.test("who left the set and comes back is not held to what it missed before", (t) => {
  const chain = new StakeChain([4n, 4n, 4n, 2n], { engine: { signedWindow: 20, signedMinBps: 7_500 } });
  chain.pass();
  passTimes(chain, 5, { absent: [3] });
  t.equal(chain.powerNext(3), 2n, "five of twenty may be missed");
  chain.run(3, unbond(3, 2_000n));
  passTimes(chain, 2);
  chain.run(3, bond(3, 2_000n));
  passTimes(chain, 2);
  t.equal(chain.voters().length, 4, "it votes again");
  passTimes(chain, 5, { absent: [3] });
  t.equal(chain.powerNext(3), 2n);
  passTimes(chain, 1, { absent: [3] });
  t.equal(chain.powerNext(3), undefined, "but to what it misses now");
  t.end();
});

t.test("a slash that takes the operator below its least stake keeps it out until it stakes again", (t) => {
  const chain = new StakeChain([4n, 4n, 4n, 1n], { engine: { signedWindow: 10, jailMs: 1_000, downtimeSlashBps: 100 } });
  chain.pass();
  passTimes(chain, 6, { absent: [3] });
  t.equal(chain.stake(3, 3), 990n);
  passTimes(chain, 2);
  t.equal(chain.run(3, unjail(3)), "self_bond_low calls[0].validator");
  t.equal(chain.run(3, bond(3, 10n), unjail(3)), "applied");
  t.equal(chain.powerNext(3), 1n);
  t.end();
});

t.test("a pool that lost everything takes no stake any more", (t) => {
  const chain = new StakeChain([4n, 4n, 4n, 1n], { engine: { signedWindow: 2, signedMinBps: 10_000, downtimeSlashBps: 10_000 } });
  chain.pass();
  chain.pass({ absent: [3] });
  t.equal(chain.pool(3).tokens, 0n);
  t.equal(chain.run(ALICE, bond(3, 1_000n)), "pool_worn calls[0].validator");
  t.equal(chain.run(3, unbond(3, 1n)), "stake_insufficient calls[0].amount");
  t.end();
});

// Arithmetic.

const POOL: Pool = {
  operator: addressAt(0),
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

t.test("divisions round against whoever takes out", (t) => {
  const worn: Pool = { ...POOL, tokens: 2n, shares: 3n };
  t.equal(worthOf(worn, 1n), 0n);
  t.equal(worthOf(worn, 2n), 1n);
  t.equal(sharesBought(worn, 1n), 1n, "1.5 shares");
  t.equal(sharesSold(worn, 3n, 1n), 2n, "1.5 shares");
  t.equal(sharesSold(worn, 3n, 2n), 3n, "all for all");
  t.equal(sharesBought({ ...POOL, tokens: 5n, shares: 4n }, 1n), 0n, "less than one");
  t.equal(sharesBought({ ...POOL, tokens: 1n, shares: 1n << 40n }, (1n << 24n) - 1n), undefined, "past 2^64 shares");
  t.equal(sharesBought({ ...POOL, tokens: 1n, shares: 1n << 40n }, (1n << 24n) - 2n), ((1n << 24n) - 2n) << 40n);
  t.same([partOf(19_999n, 1), partUpOf(10_001n, 1), partUpOf(10_000n, 1)], [1n, 2n, 1n]);
  t.same([bpsOf(1n, 3n), bpsOf(4n, 3n), bpsOf(0n, 3n), bpsOf(1n, 1n << 60n)], [3_334, 10_000, 0, 1]);
  const earned = withEarnings({ ...POOL, tokens: 3n, shares: 3n, commissionBps: 1 }, 19_999n);
  t.same([earned.commission, earned.rewards], [1n, 19_998n]);
  t.equal(withEarnings(POOL, 7n).commission, 7n, "without delegators all to the operator");
  t.end();
});

// Whatever happens.

type Step = {
  readonly calls: readonly { readonly signer: number; readonly call: Call }[];
  readonly evidence: readonly { readonly back: number; readonly voter: number; readonly round: number }[];
  readonly absent: readonly number[];
  readonly proposer: number;
  readonly afterMs: bigint;
};

const validatorIndex = fc.nat(6);
const holder = fc.constantFrom(0, 1, 2, 3, 4, 5, 6, 100, 101, 102);
const stakeAmount = fc.oneof(fc.bigInt(1n, 20n), fc.bigInt(500n, 6_000n), fc.bigInt(1n, 200_000n));
const stakeCall: fc.Arbitrary<Call> = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(validatorIndex, stakeAmount).map(([index, amount]) => bond(index, amount)) },
  { weight: 4, arbitrary: fc.tuple(validatorIndex, stakeAmount).map(([index, amount]) => unbond(index, amount)) },
  { weight: 1, arbitrary: fc.tuple(validatorIndex, fc.nat(200)).map(([index, bps]) => commission(index, bps)) },
  { weight: 3, arbitrary: validatorIndex.map(unjail) },
  { weight: 2, arbitrary: fc.option(validatorIndex, { nil: undefined }).map(claim) },
);
const signed = fc.oneof(
  { weight: 5, arbitrary: fc.record({ signer: holder, call: stakeCall }) },
  // Of operators about their own validators, which the others seldom hit.
  {
    weight: 4,
    arbitrary: fc
      .tuple(validatorIndex, stakeAmount, fc.constantFrom(bond, unbond, unjail, unjail))
      .map(([index, amount, make]) => ({ signer: index, call: make(index, amount) })),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom(4, 5, 6), fc.nat(10_000), fc.nat(300))
      .map(([index, bps, step]) => ({ signer: index, call: declare(index, index, bps, step) })),
  },
);
const stepArbitrary: fc.Arbitrary<Step> = fc.record({
  calls: fc.array(signed, { maxLength: 6 }),
  evidence: fc.oneof(
    { weight: 4, arbitrary: fc.constant([]) },
    { weight: 1, arbitrary: fc.array(fc.record({ back: fc.nat(12), voter: fc.nat(6), round: fc.nat(1) }), { maxLength: 3 }) },
  ),
  absent: fc.oneof(fc.constant([]), fc.subarray([0, 1, 2, 3, 4, 5, 6]), fc.constant([3]), fc.constant([0, 4])),
  proposer: fc.nat(6),
  afterMs: fc.oneof(fc.constant(1_000n), fc.constantFrom(4_000n, 40_000n, 101_000n)),
});

/** What was seen: a property that never slashes proves little. */
const seen = { offences: 0, late: 0, jails: 0, unjails: 0, releases: 0, retained: 0, joined: 0 };

/** Plays one step; what could not be in a block is left out. */
function play(chain: StakeChain, step: Step, votersOf: Map<bigint, readonly number[]>): BlockPlan {
  const height = chain.height + 1n;
  const indexOf = new Map([...Array(7).keys()].map((index) => [toHex(addressAt(index)), index]));
  const set = EXECUTOR.validatorsAt(chain.state, "current").validators.map(({ address }) => indexOf.get(toHex(address)) ?? 0);
  votersOf.set(height, set);
  const nonces = new Map<number, bigint>();
  const transactions: Transaction[] = step.calls.map(({ signer, call }) => {
    const nonce = nonces.get(signer) ?? chain.account(signer).nonce;
    nonces.set(signer, nonce + 1n);
    return chain.sign(signer, [call], { nonce });
  });
  const evidence = step.evidence.flatMap(({ back, voter, round }) => {
    const about = height - 1n - BigInt(back);
    const voters = votersOf.get(about);
    return voters === undefined ? [] : [chain.doubleVote(present(voters[voter % voters.length], "voter"), about, round)];
  });
  const plan = { absent: step.absent, proposer: present(set[step.proposer % set.length], "proposer"), afterMs: step.afterMs };
  chain.plan(plan);
  const selection = EXECUTOR.select(chain.state, transactions, evidence, chain.context());
  return { ...plan, transactions: selection.transactions, evidence: selection.evidence };
}

/** What a block may do to one validator: at most one punishment for ever, and slashes only with a reason. */
function checkPunishments(chain: StakeChain, before: ReadonlyMap<number, Pool>, plan: BlockPlan, burnedBefore: bigint): void {
  let reasons = 0;
  for (const index of Array(7).keys()) {
    const [was, is] = [before.get(index), poolOf(chain, index)];
    if (was === undefined || is === undefined) continue;
    const isPunished = was.jailedUntilMs !== is.jailedUntilMs && is.jailedUntilMs !== undefined;
    if (isPunished) reasons += 1;
    if (isPunished && offenceAt(chain.state, addressAt(index)) === undefined) seen.jails += 1;
    if (was.jailedUntilMs !== undefined && is.jailedUntilMs === undefined) seen.unjails += 1;
    const isAskedBack = (plan.transactions ?? []).some(({ body }) => body.calls.some(({ kind }) => kind === "stakeUnbond"));
    assert(is.tokens >= was.tokens || isPunished || isAskedBack, `stake of ${index} fell without a reason`);
    if (is.unbonding < was.unbonding) {
      seen.releases += 1;
      reasons += 1;
    }
  }
  assert(supplyAt(chain.state).burned === burnedBefore || reasons > 0, "burned without a reason");
}

t.test("whatever histories of calls, offences and absences do, the rules of stake hold, and a replay is the same", async (t) => {
  const histories = fc.property(
    fc.array(stepArbitrary, { minLength: 5, maxLength: 24 }),
    fc.nat(3),
    fc.constantFrom([12n, 10n, 10n, 9n], [10n, 20n]),
    (steps, reward, powers) => {
      const over = {
        engine: {
          powerUnit: 200n,
          blockReward: BigInt(reward) * 333n,
          activeMax: 5,
          signedWindow: 4,
          jailMs: 1_000,
          doubleSignSlashBps: 500,
        },
      };
      const chain = new StakeChain(powers, over);
      const plans: BlockPlan[] = [];
      const votersOf = new Map<bigint, readonly number[]>();
      const offences = new Map<number, string>();
      for (const step of steps) {
        const plan = play(chain, step, votersOf);
        plans.push(plan);
        const before = new Map([...Array(7).keys()].flatMap((index) => pairOf(index, poolOf(chain, index))));
        const burnedBefore = supplyAt(chain.state).burned;
        chain.pass(plan);
        checkPunishments(chain, before, plan, burnedBefore);
        for (const index of Array(7).keys()) {
          const offence = offenceAt(chain.state, addressAt(index));
          if (offence === undefined) continue;
          const what = `${offence.at} ${offence.slashBps}`;
          assert((offences.get(index) ?? what) === what, `${index} is punished twice for an offence`);
          if (!offences.has(index)) seen.offences += 1;
          offences.set(index, what);
          if (chain.pool(index).unbonding > 0n) seen.late += 1;
          if (chain.powerNext(index) !== undefined) seen.retained += 1;
        }
        if (chain.powerNext(4) !== undefined) seen.joined += 1;
      }
      const replay = new StakeChain(powers, over);
      for (const plan of plans) replay.pass(plan);
      const textOfRows = (of: StakeChain): string =>
        [...of.state.rows]
          .map(([name, value]) => `${name}=${toHex(value)}`)
          .sort((a, b) => (a < b ? -1 : 1))
          .join();
      return textOfRows(replay) === textOfRows(chain);
    },
  );
  await checkSeeing(t, "histories", histories, {
    runs: 60,
    seen: () => {
      for (const name of ["offences", "jails", "releases", "retained", "joined"] as const)
        t.ok(seen[name] > 0, `${name}: ${seen[name]}`);
    },
  });
});

function pairOf(index: number, pool: Pool | undefined): readonly (readonly [number, Pool])[] {
  return pool === undefined ? [] : [[index, pool]];
}

t.test("the defaults of a network file make a chain that runs", (t) => {
  const { name: _, ...engine } = PROTOCOL_DEFAULTS.pos;
  const chain = new StakeChain([10n, 10n, 10n, 10n], { engine });
  passTimes(chain, 3);
  t.equal(ok(chain.try([])).validators.totalPower, 40n);
  t.end();
});
