/** Validators in the state: who may change them, when it counts, and what happens to those who cheat. */

import t from "tap";
import { bytesEqual } from "../crypto/base/bytes.ts";
import { doubleVoteOf, type Evidence } from "../chain/block/evidence.ts";
import type { Parameters } from "../chain/block/genesis.ts";
import { heightOf } from "../chain/block/height.ts";
import { hashAt, keyPairAt, networkOf, voteOf } from "../chain/block/testing/fixtures.ts";
import { PROTOCOL_DEFAULTS } from "../chain/block/protocol.ts";
import type { Call } from "../chain/block/call.ts";
import { advancePriorities, proposerAt, type ValidatorSet, validatorSetOf, validatorsHash } from "../chain/block/validators.ts";
import { misbehaviourKey, tombstoneKey } from "../chain/state/keys.ts";
import { Overlay } from "../chain/state/overlay.ts";
import { EXECUTOR } from "./executor.ts";
import { addressAt, Chain, textOf } from "./testing/chain.ts";
import { membersAt, putValidators, validatorsAt } from "./validators.ts";

const AUTHORITY = 100;
const STRANGER = 101;

const setPower = (index: number, power: bigint): Call => ({ kind: "validatorSet", key: keyPairAt(index).publicKey, power });

function chainOf(powers: readonly bigint[], parameters: Partial<Parameters> = {}): Chain {
  return new Chain(networkOf({ powers, amounts: [1_000_000_000n, 1_000_000n], parameters }));
}

function powerIn(set: ValidatorSet, index: number): bigint | undefined {
  return set.validators.find(({ address }) => bytesEqual(address, addressAt(index)))?.power;
}

function misbehaviour(index: number, height: bigint): Evidence {
  return doubleVoteOf(
    voteOf(index, { height: heightOf(height), blockHash: hashAt(1) }),
    voteOf(index, { height: heightOf(height), blockHash: hashAt(2) }),
  );
}

t.test("a change in block h decides from height h + 2, and not before", (t) => {
  const chain = chainOf([1n, 1n, 1n, 1n]);
  const decides: (bigint | undefined)[] = [powerIn(EXECUTOR.validatorsAt(chain.state, "current"), 9)];
  const first = chain.block([chain.sign(AUTHORITY, [setPower(9, 5n)])]);
  decides.push(powerIn(first.validators, 9));
  decides.push(powerIn(chain.block([]).validators, 9));
  t.same(decides, [undefined, undefined, 5n], "heights 1, 2 and 3");
  t.equal(powerIn(EXECUTOR.validatorsAt(chain.state, "next"), 9), 5n);
  t.end();
});

t.test("the set that a block announces is the one that the state then holds", (t) => {
  const chain = chainOf([3n, 2n, 2n, 1n]);
  for (let index = 0; index < 6; index += 1) {
    const execution = chain.block(index === 2 ? [chain.sign(AUTHORITY, [setPower(1, 9n)])] : []);
    const current = EXECUTOR.validatorsAt(chain.state, "current");
    t.same(execution.validators, current);
    t.equal(validatorsHash(execution.validators).length, 32);
  }
  t.end();
});

t.test("a set is read once however often the calls of a block ask for it, and anew once it changed", (t) => {
  const chain = chainOf([3n, 2n, 2n, 1n]);
  const state = new Overlay(chain.state);
  const members = membersAt(state, "current");
  t.equal(membersAt(state, "current"), members, "the very same");
  t.same(
    members.validators.map(({ address, power }) => ({ address, power })),
    validatorsAt(state, "current").validators.map(({ address, power }) => ({ address, power })),
  );
  putValidators(state, "current", validatorSetOf([{ key: keyPairAt(9).publicKey, power: 5n }]));
  t.same([powerIn(membersAt(state, "current"), 9), powerIn(membersAt(state, "current"), 0)], [5n, undefined]);
  t.end();
});

t.test("turns move on by one a block, so that everybody proposes in proportion", (t) => {
  const chain = chainOf([4n, 2n, 1n, 1n]);
  const turns = new Map<bigint, number>();
  for (let height = 0; height < 80; height += 1) {
    const proposer = proposerAt(EXECUTOR.validatorsAt(chain.state, "current"), 0);
    turns.set(proposer.power, (turns.get(proposer.power) ?? 0) + 1);
    const before = EXECUTOR.validatorsAt(chain.state, "next");
    chain.block([]);
    t.same(EXECUTOR.validatorsAt(chain.state, "current"), before);
    t.same(EXECUTOR.validatorsAt(chain.state, "next"), advancePriorities(before, 1));
  }
  t.same(
    [...turns].sort(([a], [b]) => Number(b - a)),
    [
      [4n, 40],
      [2n, 20],
      [1n, 20],
    ],
  );
  t.end();
});

t.test("only the authority changes validators, within bounds, and never below four of them", (t) => {
  const chain = chainOf([1n, 1n, 1n, 1n]);
  t.equal(chain.run(STRANGER, setPower(9, 1n)), "authority_required calls[0].key");
  t.equal(chain.run(AUTHORITY, setPower(0, 0n)), "validators_few calls[0].power");
  t.equal(chain.run(AUTHORITY, setPower(9, 0n)), "validator_unknown calls[0].key");
  t.equal(chain.run(AUTHORITY, setPower(9, 1n << 56n)), "validators_power_total calls[0].power");
  t.equal(chain.run(AUTHORITY, setPower(9, 1n), setPower(0, 0n)), "applied", "one for one");
  t.equal(chain.run(AUTHORITY, setPower(0, 1n), setPower(1, 1n), setPower(9, 0n)), "applied");
  t.equal(chain.run(AUTHORITY, setPower(0, 7n), setPower(9, 0n)), "validator_unknown calls[1].key");
  chain.block([]);
  t.equal(powerIn(EXECUTOR.validatorsAt(chain.state, "current"), 0), 1n, "a failed transaction's first change is undone");
  const dev = chainOf([1n, 1n], { dev: true });
  t.equal(dev.run(AUTHORITY, setPower(0, 0n)), "applied", "a development network may shrink");
  t.equal(dev.run(AUTHORITY, setPower(1, 0n)), "validators_none calls[0].key");
  t.end();
});

t.test("under Raft, which counts heads, the authority gives no power but one, and leaves three", (t) => {
  const network = networkOf({ powers: [1n, 1n, 1n, 1n], amounts: [1_000_000_000n, 1_000_000n] });
  const chain = new Chain({ ...network, engine: PROTOCOL_DEFAULTS.raft });
  // A certificate is a majority of power: with five of eight, one validator would decide without the others.
  t.equal(chain.run(AUTHORITY, setPower(0, 5n)), "validator_power calls[0].power");
  t.equal(chain.run(AUTHORITY, setPower(9, 2n)), "validator_power calls[0].power");
  t.equal(chain.run(AUTHORITY, setPower(9, 1n)), "applied");
  t.equal(chain.run(AUTHORITY, setPower(9, 0n), setPower(0, 0n)), "applied");
  t.equal(chain.run(AUTHORITY, setPower(1, 0n)), "validators_few calls[0].power");
  t.equal(chainOf([1n, 1n, 1n, 1n]).run(AUTHORITY, setPower(0, 5n)), "applied", "where power is counted, any is good");
  t.end();
});

t.test("two conflicting votes cost a validator its place, once, and for ever", (t) => {
  const chain = chainOf([1n, 1n, 1n, 1n, 1n]);
  chain.block([]);
  chain.block([]);
  t.match(
    chain.try([], [misbehaviour(2, 3n)]),
    { error: { code: "evidence_height", field: "evidence[0].first.height", transactionIndex: undefined } },
    "its own height",
  );
  t.equal(powerIn(chain.block([], [misbehaviour(2, 2n)]).validators, 2), 1n, "not at the next height");
  t.equal(powerIn(chain.block([]).validators, 2), undefined, "but at the one after");
  t.ok(chain.state.get(misbehaviourKey(addressAt(2), heightOf(2n))) !== undefined);
  t.match(chain.try([], [misbehaviour(2, 2n)]), { error: { code: "evidence_repeated" } });
  t.equal(chain.try([], [misbehaviour(2, 1n)]).ok, true, "of another height it is recorded");
  t.match(
    chain.try([], [misbehaviour(2, 1n), misbehaviour(2, 1n)]),
    { error: { code: "evidence_repeated", field: "evidence[1].first.validator" } },
    "once in a block",
  );
  t.ok(chain.state.get(tombstoneKey(addressAt(2))) !== undefined);
  t.equal(chain.run(AUTHORITY, setPower(2, 1n)), "validator_tombstoned calls[0].key");
  t.end();
});

t.test("misbehaviour may leave fewer than four, after which the set can only grow; the last one stays", (t) => {
  const chain = chainOf([1n, 1n, 1n, 1n]);
  chain.block([]);
  chain.block([], [misbehaviour(0, 1n), misbehaviour(1, 1n)]);
  t.equal(EXECUTOR.validatorsAt(chain.state, "next").validators.length, 2);
  t.equal(chain.run(AUTHORITY, setPower(2, 0n)), "validators_few calls[0].power");
  t.equal(chain.run(AUTHORITY, setPower(9, 1n)), "applied");
  chain.block([], [misbehaviour(2, 2n), misbehaviour(9, 2n), misbehaviour(3, 2n)]);
  chain.block([]);
  const current = EXECUTOR.validatorsAt(chain.state, "current");
  t.equal(current.validators.length, 1);
  t.equal(powerIn(current, 3), 1n);
  t.equal(chain.run(AUTHORITY, setPower(10, 1n)), "applied", "the last one still decides, and help may come");
  t.end();
});

t.test("evidence is good until its age and not a height longer", (t) => {
  const chain = chainOf([1n, 1n, 1n, 1n, 1n], { evidenceAgeMax: 3 });
  for (let height = 1; height <= 3; height += 1) chain.block([]);
  t.ok(chain.try([], [misbehaviour(0, 1n)]).ok, "three heights later");
  chain.block([]);
  t.match(chain.try([], [misbehaviour(0, 1n)]), { error: { code: "evidence_old" } });
  const many = Array.from({ length: 17 }, (_, index) => misbehaviour(index, 3n));
  t.ok(chain.try([], many.slice(0, 16)).ok);
  t.match(chain.try([], many), { error: { code: "evidence_count" } });
  t.end();
});

t.test("on a network without an authority nobody changes validators", (t) => {
  const network = networkOf({ amounts: [1_000_000n] });
  const { authority: _, ...orphan } = network;
  const chain = new Chain(orphan);
  t.same(chain.block([chain.sign(AUTHORITY, [setPower(9, 1n)])]).results.map(textOf), ["authority_required calls[0].key"]);
  t.end();
});
