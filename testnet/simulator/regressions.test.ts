/** Seeds that found something, written out as data: what a seed draws may change, and what went wrong then must not come back. */

import t from "tap";
import type { Behaviours, Fault, Link } from "./faults.ts";
import { runScenario, type Scenario } from "./run.ts";

/** Every link loses packets. */
function lossy(nodes: number, untilMs: number, doublePerThousand: number, lossPerThousand = 300): Fault {
  const all = Array.from({ length: nodes }, (_, index) => index);
  const links = all.flatMap((from) => all.filter((to) => to !== from).map((to): Link => [from, to]));
  return { kind: "spoil", atMs: 0, untilMs, links, lossPerThousand, doublePerThousand };
}

/** Every link from one of these to one of those. */
function cutsBetween(from: readonly number[], to: readonly number[]): readonly Link[] {
  return from.flatMap((one) => to.map((other): Link => [one, other]));
}

/** What a liar does when nothing is asked of it. */
const HONEST: Behaviours = {
  equivocate: 0,
  withhold: 0,
  mutate: 0,
  replay: 0,
  speakAhead: 0,
  forgetLock: 0,
  serveGarbage: 0,
  badBlock: 0,
  censor: false,
  lieAboutHeight: 0,
  makeUp: 0,
};

t.test("a validator set back to an old backup sits out what it may have signed (Tendermint, seed 7)", async (t) => {
  // It had signed in heights that its copy knew nothing of, and signed other words for the same steps.
  const scenario: Scenario = {
    engine: "tendermint",
    seed: 7,
    nodes: 7,
    safetyMs: 20_000,
    faults: [
      lossy(7, 20_000, 200),
      { kind: "slow", atMs: 8057, untilMs: 18_057, from: 1, to: 4, factor: 60 },
      { kind: "slow", atMs: 13_787, untilMs: 20_000, from: 5, to: 0, factor: 60 },
      { kind: "filter", atMs: 6801, untilMs: 10_383, what: "hello", to: 3 },
      { kind: "oldBackup", copiedAtMs: 13_741, atMs: 16_270, node: 1, downMs: 4177 },
    ],
  };
  const { violations, sometimes } = await runScenario(scenario);
  t.same(violations, []);
  t.equal(sometimes["old_backup_restored"], 1);
  t.ok((sometimes["sat_out"] ?? 0) > 0, "it sat out");
});

t.test("who is to decide alone from now on begins no log of its own (Raft, seed 9037)", async (t) => {
  // It came back to blocks that others had decided and to a set of nobody else, led term 2 as they had, and filled index 3 as they had.
  const scenario: Scenario = {
    engine: "raft",
    seed: 9037,
    nodes: 3,
    safetyMs: 12_000,
    faults: [
      { kind: "end", atMs: 4910, node: 0, mode: "kill", downMs: 1761 },
      { kind: "end", atMs: 112, node: 2, mode: "torn", downMs: 4754 },
      { kind: "pause", atMs: 4328, node: 1, forMs: 1499 },
    ],
    changesSet: true,
  };
  t.same((await runScenario(scenario)).violations, []);
});

t.test("a term that was promised in a new home outlives a power cut (Raft, seed 25)", async (t) => {
  // The log's records were durable, and the name of their directory was not: the node began again with nothing.
  const scenario: Scenario = {
    engine: "raft",
    seed: 25,
    nodes: 5,
    safetyMs: 6000,
    faults: [
      { kind: "end", atMs: 313, node: 2, mode: "kept", downMs: 136 },
      { kind: "end", atMs: 723, node: 4, mode: "torn", downMs: 155 },
      lossy(5, 6000, 20),
    ],
  };
  const { violations, sometimes } = await runScenario(scenario);
  t.same(violations, []);
  t.equal(sometimes["unsynced_torn"], 1);
});

t.test(
  "a validator set back to an old backup asks for no view that it may have forgotten its reasons for (PBFT, seed 6042)",
  async (t) => {
    // It had committed a block, was set back to before that, and asked for the next view claiming that nothing was prepared.
    const others = [0, 1, 2, 3, 5, 6];
    const isolated = [...others.map((other): Link => [other, 4]), ...others.map((other): Link => [4, other])];
    const scenario: Scenario = {
      engine: "pbft",
      seed: 6042,
      nodes: 7,
      safetyMs: 12_000,
      faults: [
        lossy(7, 12_000, 0),
        {
          kind: "partition",
          shape: "isolate",
          atMs: 7878,
          untilMs: 8714,
          cuts: isolated,
        },
        { kind: "oldBackup", copiedAtMs: 5323, atMs: 8623, node: 5, downMs: 304 },
        { kind: "end", atMs: 5851, node: 6, mode: "kept", downMs: 521 },
      ],
    };
    const { violations, sometimes } = await runScenario(scenario);
    t.same(violations, []);
    t.equal(sometimes["old_backup_restored"], 1);
  },
);

t.test(
  "what a dishonest node is the first to tell is judged by what the honest ones come to have (stake, seed 5025)",
  async (t) => {
    const scenario: Scenario = {
      engine: "pos",
      seed: 5025,
      nodes: 4,
      safetyMs: 6000,
      faults: [
        { kind: "end", atMs: 328, node: 2, mode: "kill", downMs: 2136 },
        { kind: "trap", atMs: 4800, node: 3, operation: "rename", when: "before", skip: 1, mode: "kept", downMs: 1572 },
        { kind: "trap", atMs: 3680, node: 2, operation: "append", when: "after", skip: 7, mode: "torn", downMs: 1221 },
        { kind: "endAll", atMs: 3294, mode: "torn", downMs: 619 },
        { kind: "endAll", atMs: 606, mode: "lost", downMs: 3000 },
        lossy(4, 6000, 200, 150),
        { kind: "slow", atMs: 1294, untilMs: 4294, from: 2, to: 1, factor: 60 },
        { kind: "slow", atMs: 4267, untilMs: 5582, from: 1, to: 3, factor: 60 },
        { kind: "slow", atMs: 2354, untilMs: 5354, from: 3, to: 2, factor: 60 },
        { kind: "hang", atMs: 1963, node: 0, forMs: 3000 },
        { kind: "byzantine", node: 3, behaviours: { ...HONEST, withhold: 600, badBlock: 30, makeUp: 600 } },
      ],
    };
    t.same((await runScenario(scenario)).violations, []);
  },
);

t.test("nobody is owed progress when a third of the stake never speaks (stake, seed 6122)", async (t) => {
  let moot = 0;
  // Whether it comes to that depends on who has bonded when: in some of the networks with these faults.
  for (const seed of [6000, 6002, 6004, 6122]) {
    const { violations, sometimes } = await runScenario({
      engine: "pos",
      seed,
      nodes: 4,
      safetyMs: 12_000,
      faults: [
        { kind: "endAll", atMs: 1980, mode: "scattered", downMs: 354 },
        { kind: "byzantine", node: 1, behaviours: { ...HONEST, replay: 600, speakAhead: 600, forgetLock: 200, makeUp: 600 } },
      ],
    });
    t.same(violations, [], `seed ${seed}`);
    moot += sometimes["stake_moot"] ?? 0;
  }
  t.ok(moot > 0, `${moot} moot`);
});

t.test("a voter whose log was damaged elects nobody until a later term has told it all (Raft, seed 20036)", async (t) => {
  // A bit flipped, what came after it was cut off, and the node began in a term of long ago and voted in it again.
  const flipped = async (seed: number) =>
    await runScenario({
      engine: "raft",
      seed,
      nodes: 3,
      safetyMs: 6000,
      faults: [
        { kind: "bitFlip", atMs: 2500, node: 1, part: "wal" },
        { kind: "end", atMs: 2600, node: 1, mode: "kept", downMs: 503 },
        { kind: "end", atMs: 4500, node: 0, mode: "kept", downMs: 503 },
        { kind: "end", atMs: 5200, node: 2, mode: "kept", downMs: 503 },
      ],
    });
  const middle = await flipped(1);
  t.same(middle.violations, []);
  t.equal(middle.sometimes["log_damage_refused"], 1);
  t.equal(middle.sometimes["raft_log_regained"], 1);
  // In the newest record, which looks torn: what the guard remembers tells.
  const newest = await flipped(2);
  t.same(newest.violations, []);
  t.equal(newest.sometimes["log_damage_refused"], 0);
  t.equal(newest.sometimes["raft_log_lost"], 1);
  t.equal(newest.sometimes["raft_log_regained"], 1);
});

t.test("a voter that leaves is needed after a restart too, also when its log made it one (Raft, seed 20399)", async (t) => {
  // Its log began where it was a learner; a later entry had made it a voter, and without it nobody could agree that it leaves.
  const { violations } = await runScenario({
    engine: "raft",
    seed: 20_399,
    nodes: 3,
    safetyMs: 20_000,
    changesSet: true,
    faults: [{ kind: "end", atMs: 3458, node: 0, mode: "scattered", downMs: 1031 }],
  });
  t.same(violations, []);
});

t.test("a block that a node made final with its last breath counts for it (Raft, seed 87)", async (t) => {
  // It was durable when the process was killed, and nobody had heard of it.
  const scenario: Scenario = {
    engine: "raft",
    seed: 87,
    nodes: 3,
    safetyMs: 6000,
    faults: [
      { kind: "trap", atMs: 3501, node: 2, operation: "sync", when: "after", skip: 8, mode: "kill", downMs: 1998 },
      { kind: "trap", atMs: 421, node: 0, operation: "send", when: "before", skip: 15, mode: "torn", downMs: 3000 },
      { kind: "pause", atMs: 478, node: 0, forMs: 3000 },
      { kind: "pause", atMs: 4690, node: 1, forMs: 1332 },
      {
        kind: "partition",
        shape: "isolate",
        atMs: 1366,
        untilMs: 4366,
        cuts: [
          [0, 1],
          [0, 2],
          [1, 0],
          [2, 0],
        ],
      },
    ],
  };
  t.same((await runScenario(scenario)).violations, []);
});

t.test("who decides alone asks those who follow it before it trusts a copy of its home (PBFT, seed 97)", async (t) => {
  // The set had shrunk to one, whose home was set back; it proposed another block at a height that others had.
  const scenario: Scenario = {
    engine: "pbft",
    seed: 97,
    nodes: 4,
    safetyMs: 20000,
    faults: [
      { kind: "trap", atMs: 5749, node: 2, operation: "sync", when: "after", skip: 16, mode: "kept", downMs: 531 },
      { kind: "trap", atMs: 9697, node: 0, operation: "send", when: "before", skip: 4, mode: "scattered", downMs: 193 },
      {
        kind: "spoil",
        atMs: 0,
        untilMs: 20000,
        links: [
          [0, 2],
          [1, 3],
        ],
        lossPerThousand: 150,
        doublePerThousand: 200,
      },
      { kind: "clog", atMs: 6123, untilMs: 9088, from: 2, to: 0 },
      { kind: "clog", atMs: 3121, untilMs: 4849, from: 3, to: 1 },
      { kind: "oldBackup", copiedAtMs: 15710, atMs: 19451, node: 0, downMs: 2519 },
    ],
  };
  t.same((await runScenario(scenario)).violations, []);
});

t.test("nobody is owed progress when a third of the power has forgotten what it said (PBFT, seed 167)", async (t) => {
  const scenario: Scenario = {
    engine: "pbft",
    seed: 167,
    nodes: 5,
    safetyMs: 6000,
    faults: [
      { kind: "trap", atMs: 25, node: 3, operation: "open", when: "before", skip: 13, mode: "kill", downMs: 1552 },
      { kind: "oldBackup", copiedAtMs: 3186, atMs: 8113, node: 4, downMs: 1309 },
    ],
  };
  t.same((await runScenario(scenario)).violations, []);
});

t.test("nobody is owed progress when half of Raft's voters remember nothing (Raft, seeds 770 and 1127)", async (t) => {
  // One lost its disk, and another came to the chain by its blocks before it heard a leader.
  const shapes = [
    {
      seed: 770,
      nodes: 3,
      safetyMs: 6000,
      faults: [
        { kind: "end", atMs: 52, node: 2, mode: "lost", downMs: 2262 },
        { kind: "rebuild", atMs: 1705, node: 1, downMs: 1554 },
      ],
    },
    {
      changesSet: true,
      seed: 1127,
      nodes: 3,
      safetyMs: 6000,
      faults: [
        lossy(3, 6000, 0, 300),
        { kind: "misdirect", atMs: 1222, node: 0 },
        { kind: "end", atMs: 2919, node: 0, mode: "kept", downMs: 966 },
      ],
    },
  ] satisfies readonly Omit<Scenario, "engine">[];
  for (const shape of shapes) t.same((await runScenario({ engine: "raft", ...shape })).violations, [], `seed ${shape.seed}`);
});

t.test("whoever forks is convicted, under each engine that can be forked", async (t) => {
  const sides = [0, 0, 0, 1, 1, 1];
  const cuts = sides.flatMap((one, from) => sides.flatMap((other, to): Link[] => (one === other ? [] : [[from, to]])));
  for (const engine of ["tendermint", "pos", "pbft"]) {
    const { violations, sometimes } = await runScenario({
      engine,
      seed: 1,
      nodes: 4,
      safetyMs: 12_000,
      faults: [
        { kind: "twin", node: 0 },
        { kind: "twin", node: 1 },
        { kind: "partition", shape: "uniform", atMs: 0, untilMs: 12_000, cuts },
      ],
      isOverBudget: true,
    });
    t.same(violations, [], engine);
    t.equal(sometimes["fork_made"], 1, engine);
    t.equal((sometimes["fork_proved_by_evidence"] ?? 0) + (sometimes["fork_proved_by_view_changes"] ?? 0), 1, engine);
  }
});

t.test("a miner on a long branch of less work fetches the better one before its own has settled (work, seed 5059)", async (t) => {
  // Its clock had been ahead, so it had dug alone. It asked for more at once than its driver sends, and waited for that.
  const scenario: Scenario = {
    engine: "pow",
    seed: 5059,
    nodes: 4,
    safetyMs: 12_000,
    faults: [
      { kind: "clockJump", atMs: 3756, node: 0, byMs: 30_000 },
      { kind: "clockJump", atMs: 3440, node: 1, byMs: -60_000 },
      lossy(4, 12_000, 200, 50),
      { kind: "partition", shape: "oneWay", atMs: 3774, untilMs: 5492, cuts: cutsBetween([3], [0, 1, 2]) },
      {
        kind: "partition",
        shape: "isolate",
        atMs: 1481,
        untilMs: 4422,
        cuts: [...cutsBetween([1], [0, 2, 3]), ...cutsBetween([0, 2, 3], [1])],
      },
      { kind: "full", atMs: 2704, node: 2, forMs: 4813 },
      { kind: "full", atMs: 9203, node: 1, forMs: 1579 },
      { kind: "oldBackup", copiedAtMs: 258, atMs: 3002, node: 3, downMs: 1046 },
    ],
  };
  const { violations } = await runScenario(scenario);
  t.same(violations, []);
});

t.test("a run ends on no chain that is only half gone over to (work, seed 6128)", async (t) => {
  // Both honest nodes had the same head for a moment, in the middle of a reorganisation that undid more work than that.
  // Which moments a seed has changes with the engine: this is the run of then, not the only one that could end so.
  const behaviours = { ...HONEST, withhold: 600, mutate: 200, forgetLock: 30, makeUp: 900 };
  const scenario: Scenario = {
    engine: "pow",
    seed: 6128,
    nodes: 3,
    safetyMs: 12_000,
    faults: [{ kind: "byzantine", node: 1, behaviours }],
  };
  const { violations } = await runScenario(scenario);
  t.same(violations, []);
});

t.test("work that only a disk of before an old backup had is lost with it (work, seed 30603)", async (t) => {
  const scenario: Scenario = {
    engine: "pow",
    seed: 30_603,
    nodes: 4,
    safetyMs: 12_000,
    faults: [
      { kind: "end", atMs: 9182, node: 2, mode: "torn", downMs: 456 },
      { kind: "end", atMs: 1990, node: 2, mode: "torn", downMs: 2217 },
      { kind: "end", atMs: 5289, node: 2, mode: "kept", downMs: 533 },
      { kind: "end", atMs: 2399, node: 3, mode: "torn", downMs: 1137 },
      { kind: "end", atMs: 10_065, node: 2, mode: "torn", downMs: 758 },
      { kind: "end", atMs: 10_898, node: 1, mode: "scattered", downMs: 594 },
      { kind: "end", atMs: 7297, node: 0, mode: "lost", downMs: 4079 },
      lossy(4, 12_000, 20),
      { kind: "oldBackup", copiedAtMs: 7025, atMs: 10_919, node: 3, downMs: 1343 },
    ],
  };
  const { violations, sometimes } = await runScenario(scenario);
  t.same(violations, []);
  t.equal(sometimes["old_backup_restored"], 1);
});

t.test("a split deeper than may be undone is told and mended by an operator, a shorter one mends itself (work)", async (t) => {
  // The network of this seed undoes ten blocks, one in 300 or 600 ms.
  for (const [untilMs, isTold] of [
    [3_000, false],
    [12_000, true],
  ] as const) {
    const cuts = [...cutsBetween([0], [1, 2]), ...cutsBetween([1, 2], [0])];
    const { violations, sometimes } = await runScenario({
      engine: "pow",
      seed: 6128,
      nodes: 3,
      safetyMs: 12_000,
      faults: [{ kind: "partition", shape: "isolate", atMs: 500, untilMs, cuts }],
    });
    t.same(violations, []);
    t.equal((sometimes["pow_split_told"] ?? 0) > 0, isTold, `a cut until ${untilMs} ms`);
    t.equal((sometimes["operator_rolled_back"] ?? 0) > 0, isTold);
  }
});

t.test("a copied home that gets no blocks does not take its own height for everybody's (Tendermint, seed 5800)", async (t) => {
  // Its peers answered nothing, so that none of them counted; and at its old height it was of no set, so that it sat nothing out.
  const scenario: Scenario = {
    engine: "tendermint",
    seed: 5800,
    nodes: 4,
    safetyMs: 12_000,
    changesSet: true,
    faults: [
      { kind: "spoil", atMs: 0, untilMs: 12_000, links: [[0, 3]], lossPerThousand: 150, doublePerThousand: 0 },
      { kind: "filter", atMs: 9360, untilMs: 12_000, what: "frame", to: 1 },
      { kind: "oldBackup", copiedAtMs: 5464, atMs: 9665, node: 1, downMs: 650 },
    ],
  };
  const { violations, sometimes } = await runScenario(scenario);
  t.same(violations, []);
  t.equal(sometimes["old_backup_restored"], 1);
});

t.test("a block that outlives the mempools of all is proposed whole again (Tendermint, seed 7215)", async (t) => {
  // Four of seven were locked on it; its proposal came without the bodies that nobody had any more, for round after round.
  const scenario: Scenario = {
    engine: "tendermint",
    seed: 7215,
    nodes: 7,
    safetyMs: 6000,
    faults: [
      { kind: "end", atMs: 3677, node: 6, mode: "torn", downMs: 2903 },
      { kind: "end", atMs: 1226, node: 0, mode: "lost", downMs: 3000 },
      { kind: "end", atMs: 965, node: 6, mode: "scattered", downMs: 508 },
      { kind: "endAll", atMs: 1646, mode: "torn", downMs: 186 },
      { kind: "endAll", atMs: 4230, mode: "lost", downMs: 1038 },
      lossy(7, 6000, 0),
    ],
  };
  const { violations } = await runScenario(scenario);
  t.same(violations, []);
});

t.test("what a copied home has settled is not sat out again after a restart (PBFT, seed 2376)", async (t) => {
  // Its votes of before the backup, in old certificates, had it sit out two more heights for good whenever it began again, and
  // one of five that weighs more than a third was then missed for ever.
  const scenario: Scenario = {
    engine: "pbft",
    // As above, the network of another seed.
    seed: 2435,
    nodes: 7,
    safetyMs: 20_000,
    changesSet: true,
    faults: [
      { kind: "trap", atMs: 5872, node: 1, operation: "sync", when: "after", skip: 14, mode: "kill", downMs: 120 },
      lossy(7, 20_000, 200, 10),
      {
        kind: "partition",
        shape: "isolate",
        atMs: 2214,
        untilMs: 5400,
        cuts: [...cutsBetween([0, 1], [2]), ...cutsBetween([2], [0, 1, 3, 4, 5, 6]), ...cutsBetween([3, 4, 5, 6], [2])],
      },
      {
        kind: "partition",
        shape: "uniform",
        atMs: 7885,
        untilMs: 11_615,
        cuts: [
          ...cutsBetween([0], [1, 3]),
          ...cutsBetween([1], [0, 2, 4, 5, 6]),
          ...cutsBetween([2], [1, 3]),
          ...cutsBetween([3], [0, 2, 4, 5, 6]),
          ...cutsBetween([4, 5, 6], [1, 3]),
        ],
      },
      { kind: "oldBackup", copiedAtMs: 2539, atMs: 3555, node: 1, downMs: 1236 },
    ],
  };
  const { violations, sometimes } = await runScenario(scenario);
  t.same(violations, []);
  t.equal(sometimes["sat_out_ended_early"], 1, "it was only away the second time");
});

t.test("nobody gives up a chain for a heavier one whose blocks are kept back (work, seeds 308 and 1201)", async (t) => {
  // Its headers alone had operators roll back again and again, and its maker mined on alone.
  const forging = { ...HONEST, equivocate: 200, mutate: 600, replay: 200, badBlock: 600, lieAboutHeight: 955 };
  const keeping = { ...HONEST, equivocate: 600, mutate: 200, serveGarbage: 600, censor: true };
  const cases: readonly (readonly [number, readonly Fault[]])[] = [
    [308, [lossy(2, 20_000, 200), { kind: "byzantine", node: 2, behaviours: forging }]],
    [1201, [{ kind: "byzantine", node: 1, behaviours: keeping }]],
  ];
  for (const [seed, faults] of cases) {
    const { violations } = await runScenario({ engine: "pow", seed, nodes: 3, safetyMs: 20_000, faults });
    t.same(violations, [], `seed ${seed}`);
  }
});

t.test("two honest miners join although a third keeps blocks back and goes on to announce (work, seed 31164)", async (t) => {
  // Each had missed a block of the other, and was busy asking for what the third would not hand over.
  const behaviours = { ...HONEST, equivocate: 200, makeUp: 900 };
  const scenario: Scenario = {
    engine: "pow",
    seed: 31_164,
    nodes: 3,
    safetyMs: 20_000,
    faults: [
      { kind: "end", atMs: 7654, node: 2, mode: "torn", downMs: 553 },
      { kind: "end", atMs: 5934, node: 2, mode: "torn", downMs: 1498 },
      { kind: "end", atMs: 2030, node: 1, mode: "kill", downMs: 286 },
      { kind: "clog", atMs: 3650, untilMs: 4071, from: 0, to: 2 },
      { kind: "clog", atMs: 4979, untilMs: 5771, from: 2, to: 0 },
      { kind: "clog", atMs: 13_582, untilMs: 13_984, from: 0, to: 1 },
      { kind: "clog", atMs: 14_207, untilMs: 14_982, from: 1, to: 0 },
      { kind: "clog", atMs: 7694, untilMs: 12_395, from: 1, to: 0 },
      { kind: "clog", atMs: 2470, untilMs: 3276, from: 2, to: 0 },
      { kind: "byzantine", node: 1, behaviours },
    ],
  };
  const { violations, simulatedMs } = await runScenario(scenario);
  t.same(violations, []);
  t.ok(simulatedMs < 60_000, `${simulatedMs} ms, and not minutes`);
});

t.test(
  "a validator set back to an old backup keeps silent at the heights that it may have signed, however long (stake, seed 860)",
  async (t) => {
    // Everybody fell, so that nobody held its vote any more. After thirty seconds it took part, and contradicted itself.
    const scenario: Scenario = {
      engine: "pos",
      seed: 860,
      nodes: 4,
      safetyMs: 12000,
      faults: [
        { kind: "endAll", atMs: 6825, mode: "kept", downMs: 114 },
        { kind: "pause", atMs: 2200, node: 2, forMs: 4150 },
        {
          kind: "partition",
          shape: "isolate",
          atMs: 3777,
          untilMs: 5114,
          cuts: [
            [0, 1],
            [0, 2],
            [0, 3],
            [1, 0],
            [2, 0],
            [3, 0],
          ],
        },
        { kind: "oldBackup", copiedAtMs: 1394, atMs: 6322, node: 1, downMs: 3375 },
      ],
    };
    const { violations, sometimes } = await runScenario(scenario);
    t.same(violations, []);
    t.equal(sometimes["old_backup_restored"], 1);
    t.ok((sometimes["sat_out_ended_early"] ?? 0) > 0, "the others decide once whoever was only away takes part");
  },
);
