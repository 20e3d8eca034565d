/**
 * PBFT in whole networks under seeds.
 *
 * Goal: whatever the network, the disks and less than 1/3 of the power do, there is one chain, and when packets arrive
 * again it grows. Method: `testing/network.ts` draws loss, duplication, reordering, delay, partitions and crashes with
 * unsynced records lost from the seed, checks its properties at each effect, and here what the
 * certificates promise is checked on the wire afterwards. A failing seed is printed; `SEED=n` runs that one alone.
 */

import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { isQuorum } from "../quorum/threshold.ts";
import { engineConformance } from "../testing/conformance.ts";
import { type Conduct, type Faults, type NetworkOptions, type NetworkReport, runNetwork, Violation } from "../testing/network.ts";
import { Random } from "../testing/random.ts";
import { PBFT } from "../testing/pbft-kind.ts";
import { World } from "../testing/world.ts";
import type { PbftMessage } from "./message.ts";
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
  [1n, 1n, 1n, 1n, 1n],
  [1n, 1n, 1n, 1n, 1n, 1n],
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

t.test("PBFT keeps the contract of every engine", (t) => {
  engineConformance(t, PBFT);
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
  const report = runNetwork(PBFT, options);
  t.ok(report.heights >= 40, `${report.heights} heights`);
  t.equal(report.roundMax, 0);
  t.equal(report.evidence, 0);
  t.end();
});

t.test("the same seed gives the same run", (t) => {
  const told = (report: NetworkReport<PbftMessage>): unknown => ({ ...report, wire: report.wire.length });
  t.same(told(runNetwork(PBFT, optionsOf(12))), told(runNetwork(PBFT, optionsOf(12))));
  t.end();
});

t.test("with less than 1/3 faulty there is one chain, and it grows once the network heals", (t) => {
  const only = process.env["SEED"];
  const seeds = only === undefined ? Array.from({ length: 120 }, (_, index) => index) : [Number(only)];
  const sum = {
    steps: 0,
    heights: 0,
    crashes: 0,
    recordsLost: 0,
    evidence: 0,
    roundMax: 0,
    healingMsMax: 0,
    newViews: 0,
    carried: 0,
  };
  for (const seed of seeds) {
    const options = optionsOf(seed);
    const report = runNetwork(PBFT, options);
    checkViews(options, report);
    sum.steps += report.steps;
    sum.heights += report.heights;
    sum.crashes += report.crashes;
    sum.recordsLost += report.recordsLost;
    sum.evidence += report.evidence;
    const newViews = report.wire.flatMap(({ message }) => (message.kind === "newView" ? [message] : []));
    sum.newViews += newViews.length;
    sum.carried += newViews.filter(({ proposal }) => proposal.validRound >= 0).length;
    sum.roundMax = Math.max(sum.roundMax, report.roundMax);
    sum.healingMsMax = Math.max(sum.healingMsMax, report.healingMs);
  }
  t.comment(JSON.stringify(sum));
  if (only === undefined) {
    // The faults must have been felt, or the seeds prove nothing.
    t.ok(sum.crashes > 500 && sum.recordsLost > 100, "crashes lost records");
    t.ok(sum.evidence > 200, "equivocators were seen");
    t.ok(sum.roundMax >= 4, "heights took many views");
    t.ok(sum.newViews > 300 && sum.carried > 50, "view changes carried prepared blocks");
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
  t.throws(() => runNetwork(PBFT, options), /no progress to height 1/);
  t.end();
});

/**
 * What the certificates promise, on the wire. An honest commit stands on prepares of more than 2/3 in its view, and
 * what an honest validator committed its later view-changes claim, or something of a later view.
 */
function checkViews(options: NetworkOptions, report: NetworkReport<PbftMessage>): void {
  const { world, conducts, seed } = options;
  const powers = new Map(world.members.map(({ address, power }) => [toHex(address), power]));
  const preparers = new Map<string, Set<string>>();
  const commits = new Map<string, number>();
  for (const { message } of report.wire) {
    if (message.kind === "vote" && message.vote.blockHash !== undefined) {
      const { step, height, round, validator, blockHash } = message.vote;
      const key = `${height}/${round}/${valueOf(blockHash)}`;
      if (step === "prevote") preparers.set(key, (preparers.get(key) ?? new Set()).add(toHex(validator)));
    }
  }
  for (const { message } of report.wire) {
    if (message.kind !== "vote" && message.kind !== "viewChange") continue;
    const { height, validator } = message.kind === "vote" ? message.vote : message.viewChange;
    if ((conducts.get(world.nameOf(validator)) ?? "honest") !== "honest") continue;
    const where = `${height}/${toHex(validator)}`;
    if (message.kind === "viewChange") {
      const { view, prepared } = message.viewChange;
      const committed = commits.get(where);
      if (committed !== undefined && committed < view && (prepared === undefined || prepared.view < committed))
        throw new Violation(`seed ${seed}: ${where} forgot in view ${view} what it committed in ${committed}`);
      continue;
    }
    const { step, round, blockHash } = message.vote;
    if (step !== "precommit") continue;
    commits.set(where, Math.max(commits.get(where) ?? 0, round));
    let power = 0n;
    for (const signer of preparers.get(`${height}/${round}/${valueOf(present(blockHash, "block"))}`) ?? [])
      power += present(powers.get(signer), "power");
    if (!isQuorum(power, world.set.totalPower))
      throw new Violation(`seed ${seed}: commit of ${where} in ${round} was not prepared`);
  }
}
