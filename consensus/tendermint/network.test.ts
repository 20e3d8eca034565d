/**
 * Tendermint in whole networks under seeds.
 *
 * Goal: whatever the network, the disks and less than 1/3 of the power do, there is one chain, and when packets arrive
 * again it grows. Method: `testing/network.ts` draws loss, duplication, reordering, delay, partitions and crashes with
 * unsynced records lost from the seed, checks its properties at each effect, and here the locks are checked on the
 * wire afterwards. A failing seed is printed; `SEED=n` runs that one alone.
 */

import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { isQuorum } from "../quorum/threshold.ts";
import { engineConformance } from "../testing/conformance.ts";
import { type Conduct, type Faults, type NetworkOptions, type NetworkReport, runNetwork, Violation } from "../testing/network.ts";
import { Random } from "../testing/random.ts";
import { TENDERMINT } from "../testing/tendermint-kind.ts";
import { World } from "../testing/world.ts";
import type { ConsensusMessage } from "./message.ts";
import { valueOf } from "./votes.ts";

const CALM: Faults = {
  lossRate: 0,
  duplicateRate: 0,
  delayMsMax: 20,
  slowRate: 0,
  crashRate: 0,
  recordCrashRate: 0,
  blackoutRate: 0,
  partitionRate: 0,
  syncMsMax: 3,
};
const ROUGH: Faults = {
  lossRate: 120,
  duplicateRate: 100,
  delayMsMax: 80,
  slowRate: 30,
  crashRate: 40,
  recordCrashRate: 20,
  blackoutRate: 80,
  partitionRate: 100,
  syncMsMax: 40,
};

/** Sets in which the conducts below leave more than 2/3 of the power honest. */
const POWERS: readonly (readonly bigint[])[] = [
  [1n, 1n, 1n, 1n],
  [10n, 9n, 8n, 7n],
  [3n, 3n, 3n, 3n, 2n],
  [5n, 5n, 5n, 5n, 5n, 5n, 5n],
];

function optionsOf(seed: number): NetworkOptions {
  const random = new Random(seed * 7919);
  const powers = POWERS[seed % POWERS.length] as readonly bigint[];
  const world = new World(powers);
  const liars = powers.length === 7 ? 2 : 1;
  const names = random.shuffle(world.members.map(({ name }) => name)).slice(0, liars);
  const conducts = new Map<string, Conduct>();
  // A quarter of the networks is honest throughout; crashes alone must not harm it.
  if (seed % 4 !== 3)
    for (const [index, name] of names.entries()) conducts.set(name, (seed + index) % 2 === 0 ? "equivocator" : "silent");
  return {
    seed,
    world,
    conducts,
    observers: seed % 5 === 0 ? 1 : 0,
    faults: ROUGH,
    healAtMs: 8000,
    heightsAfterHealing: 3,
    boundMs: 20_000,
  };
}

t.test("Tendermint keeps the contract of every engine", (t) => {
  engineConformance(t, TENDERMINT);
  t.end();
});

t.test("four honest validators on a calm network decide every height in its first round", (t) => {
  const world = new World([1n, 1n, 1n, 1n]);
  const options = {
    seed: 1,
    world,
    conducts: new Map(),
    observers: 1,
    faults: CALM,
    healAtMs: 5000,
    heightsAfterHealing: 5,
    boundMs: 5000,
  };
  const report = runNetwork(TENDERMINT, options);
  t.ok(report.heights >= 40, `${report.heights} heights`);
  t.equal(report.roundMax, 0);
  t.equal(report.evidence, 0);
  t.end();
});

t.test("the same seed gives the same run", (t) => {
  const told = (report: NetworkReport<ConsensusMessage>): unknown => ({ ...report, wire: report.wire.length });
  t.same(told(runNetwork(TENDERMINT, optionsOf(12))), told(runNetwork(TENDERMINT, optionsOf(12))));
  t.end();
});

t.test("with less than 1/3 faulty there is one chain, and it grows once the network heals", (t) => {
  const only = process.env["SEED"];
  const seeds = only === undefined ? Array.from({ length: 120 }, (_, index) => index) : [Number(only)];
  const sum = { steps: 0, heights: 0, crashes: 0, recordsLost: 0, evidence: 0, roundMax: 0, healingMsMax: 0 };
  for (const seed of seeds) {
    const options = optionsOf(seed);
    const report = runNetwork(TENDERMINT, options);
    checkLocks(options, report);
    sum.steps += report.steps;
    sum.heights += report.heights;
    sum.crashes += report.crashes;
    sum.recordsLost += report.recordsLost;
    sum.evidence += report.evidence;
    sum.roundMax = Math.max(sum.roundMax, report.roundMax);
    sum.healingMsMax = Math.max(sum.healingMsMax, report.healingMs);
  }
  t.comment(JSON.stringify(sum));
  if (only === undefined) {
    // The faults must have been felt, or the seeds prove nothing.
    t.ok(sum.crashes > 500 && sum.recordsLost > 100, "crashes lost records");
    t.ok(sum.evidence > 500, "equivocators were seen");
    t.ok(sum.roundMax >= 5, "heights took many rounds");
  }
  t.end();
});

t.test("with more than 1/3 silent nothing is decided, and nothing wrong either", (t) => {
  const world = new World([1n, 1n, 1n, 1n]);
  const conducts = new Map<string, Conduct>([
    ["v1", "silent"],
    ["v2", "silent"],
  ]);
  const options = {
    seed: 5,
    world,
    conducts,
    observers: 0,
    faults: CALM,
    healAtMs: 1000,
    heightsAfterHealing: 1,
    boundMs: 20_000,
  };
  t.throws(() => runNetwork(TENDERMINT, options), /no progress to height 1/);
  t.end();
});

/**
 * The locking rules, on the wire: an honest precommit for a block stands on a polka of that round, and a later prevote
 * for another block on a polka that is at least as late as the last such precommit (lines 29 and 36).
 */
function checkLocks(options: NetworkOptions, report: NetworkReport<ConsensusMessage>): void {
  const powers = new Map(options.world.members.map(({ address, power }) => [toHex(address), power]));
  const prevoters = new Map<string, Set<string>>();
  const said = new Map<string, { readonly round: number; readonly value: string; readonly step: string }[]>();
  for (const { message } of report.wire) {
    if (message.kind !== "vote" || message.vote.blockHash === undefined) continue;
    const { step, height, round, validator } = message.vote;
    const value = valueOf(message.vote.blockHash);
    const signer = toHex(validator);
    const key = `${height}/${round}/${value}`;
    if (step === "prevote") prevoters.set(key, (prevoters.get(key) ?? new Set()).add(signer));
    if ((options.conducts.get(options.world.nameOf(validator)) ?? "honest") !== "honest") continue;
    const words = said.get(`${height}/${signer}`) ?? [];
    words.push({ round, value, step });
    said.set(`${height}/${signer}`, words);
  }
  const hasPolka = (height: string, round: number, value: string): boolean => {
    let power = 0n;
    for (const signer of prevoters.get(`${height}/${round}/${value}`) ?? []) power += present(powers.get(signer), "power");
    return isQuorum(power, options.world.set.totalPower);
  };
  for (const [where, words] of said) {
    const height = where.slice(0, where.indexOf("/"));
    const locks = words.filter(({ step }) => step === "precommit");
    for (const { round, value } of locks)
      if (!hasPolka(height, round, value))
        throw new Violation(`seed ${options.seed}: precommit without a polka at ${where} round ${round}`);
    for (const word of words.filter(({ step }) => step === "prevote")) {
      const lock = locks.filter(({ round }) => round < word.round).toSorted((a, b) => b.round - a.round)[0];
      if (lock === undefined || lock.value === word.value) continue;
      const rounds = Array.from({ length: word.round - lock.round }, (_, index) => lock.round + index);
      if (!rounds.some((round) => hasPolka(height, round, word.value)))
        throw new Violation(`seed ${options.seed}: a lock was broken at ${where} round ${word.round}`);
    }
  }
}
