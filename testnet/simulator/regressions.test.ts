/** Seeds that found something, written out as data: what a seed draws may change, and what went wrong then must not come back. */

import t from "tap";
import type { Fault, Link } from "./faults.ts";
import { runScenario, type Scenario } from "./run.ts";

/** Every link loses packets. */
function lossy(nodes: number, untilMs: number, doublePerThousand: number): Fault {
  const all = Array.from({ length: nodes }, (_, index) => index);
  const links = all.flatMap((from) => all.filter((to) => to !== from).map((to): Link => [from, to]));
  return { kind: "spoil", atMs: 0, untilMs, links, lossPerThousand: 300, doublePerThousand };
}

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
