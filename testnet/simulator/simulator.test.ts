import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { Agenda, settled } from "./agenda.ts";
import { ClockFault, SimulatedClock } from "./clock.ts";
import { ENGINES } from "./engines.ts";
import type { Fault, Link } from "./faults.ts";
import { Random } from "./random.ts";
import { drawScenario, runScenario, type Scenario } from "./run.ts";
import { shrink } from "./shrink.ts";
import { Trace } from "./trace.ts";

const MAIN = join(import.meta.dirname, "main.ts");

t.test("events come in the order of their times, and of their making; a cancelled one never, a paused one later", (t) => {
  const agenda = new Agenda();
  const seen: string[] = [];
  const owner = { isAlive: true, pausedUntilMs: 0 };
  const other = { isAlive: true, pausedUntilMs: 0 };
  agenda.at(5, undefined, () => seen.push("five"));
  agenda.at(1, owner, () => seen.push("one"));
  agenda.at(1, owner, () => seen.push("one again"));
  agenda.at(3, owner, () => seen.push("paused"));
  agenda.at(4, other, () => seen.push("dead"));
  agenda.at(2, undefined, () => seen.push("cancelled")).cancel();
  while (agenda.step(2));
  t.equal(agenda.nowMs, 2);
  owner.pausedUntilMs = 10;
  other.isAlive = false;
  while (agenda.step(20));
  t.same(seen, ["one", "one again", "five", "paused"]);
  t.equal(agenda.nowMs, 20);
  t.end();
});

t.test("settled waits for promises that settle promises, however deep", async (t) => {
  let depth = 0;
  const descend = async (): Promise<void> => {
    for (; depth < 1000; depth += 1) await Promise.resolve();
  };
  void descend();
  await settled();
  t.equal(depth, 1000);
});

t.test("a clock drifts and jumps, and its monotonic time does neither go back nor begin before its process", (t) => {
  const agenda = new Agenda();
  const fault = new ClockFault({ driftPpm: 100_000, offsetMs: 500 });
  agenda.step(1000);
  const clock = new SimulatedClock({ agenda, owner: { isAlive: true, pausedUntilMs: 0 }, fault });
  t.equal(clock.monotonicMs(), 0);
  const wallMs = clock.wallMs();
  fault.jump(-60_000);
  t.equal(clock.wallMs(), wallMs - 60_000);
  let atMs = 0;
  clock.after(110, () => {
    atMs = agenda.nowMs;
  });
  while (agenda.step(2000));
  t.equal(atMs, 1100, "110 ms of a clock that runs a tenth fast");
  t.equal(clock.monotonicMs(), 1100);
  t.end();
});

t.test("draws depend on the name alone, and forks on nothing that was drawn", (t) => {
  const [one, same, other] = [new Random("a"), new Random("a"), new Random("b")];
  const drawn = Array.from({ length: 100 }, () => one.uint32());
  t.same(
    Array.from({ length: 100 }, () => same.uint32()),
    drawn,
  );
  t.notSame(
    Array.from({ length: 100 }, () => other.uint32()),
    drawn,
  );
  t.equal(one.fork("x").uint32(), new Random("a").fork("x").uint32());
  let sum = 0;
  for (let draw = 0; draw < 20_000; draw += 1) sum += other.exponential(10);
  t.ok(Math.abs(sum / 20_000 - 10) < 0.5, `mean ${sum / 20_000}`);
  t.end();
});

t.test("the trace hash is of every event, in order, however they fall into stretches", (t) => {
  const hashOf = (events: number, last: number): string => {
    const trace = new Trace();
    for (let index = 0; index < events; index += 1) trace.note(index, index % 7, "kind", new Uint8Array(index % 100));
    trace.note(0, 0, "last", Uint8Array.of(last));
    return trace.hash();
  };
  t.equal(hashOf(5000, 1), hashOf(5000, 1));
  t.not(hashOf(5000, 1), hashOf(5000, 2));
  t.not(hashOf(5000, 1), hashOf(4999, 1));
  t.end();
});

t.test("the same seed gives the same trace, also in another process; another seed another", async (t) => {
  for (const engine of Object.keys(ENGINES)) {
    const scenario = drawScenario(engine, 6);
    t.same(drawScenario(engine, 6), scenario);
    const first = await runScenario(scenario);
    t.equal((await runScenario(scenario)).traceHash, first.traceHash, engine);
    t.not((await runScenario(drawScenario(engine, 7))).traceHash, first.traceHash, engine);
    t.match(replayed(t, { property: "none", scenario }).text, first.traceHash, engine);
  }
});

t.test("a few seeds of each engine break nothing", async (t) => {
  for (const engine of Object.keys(ENGINES)) {
    for (let seed = 1; seed <= 5; seed += 1) {
      const { violations, height } = await runScenario(drawScenario(engine, seed));
      t.same(violations, [], `${engine} seed ${seed}`);
      t.ok(height > 0n, `${engine} seed ${seed} decided ${height} heights`);
    }
  }
});

t.test("a fork is found, cut down to what it takes, and found again from the file", async (t) => {
  // Two keys of four run twice, and each copy talks to one of the two honest nodes: both sides have three of four.
  const scenario = forked();
  const report = await runScenario(scenario);
  t.equal(report.violations[0]?.property, "agreement");
  const small = await shrink(scenario, "agreement");
  t.same(small.faults.map(({ kind }) => kind).sort(), ["partition", "twin", "twin"]);
  const { code, text } = replayed(t, { property: "agreement", scenario: small });
  t.equal(code, 1);
  t.match(text, /agreement: height 1: node 2 has/);
  t.match(text, (await runScenario(small)).traceHash);
});

function forked(): Scenario {
  const sides = [0, 0, 0, 1, 1, 1];
  const cuts = sides.flatMap((one, from) => sides.flatMap((other, to): Link[] => (one === other ? [] : [[from, to]])));
  const noise: readonly Fault[] = [
    { kind: "pause", atMs: 900, node: 1, forMs: 200 },
    { kind: "clockJump", atMs: 500, node: 2, byMs: 300 },
    { kind: "hang", atMs: 100, node: 0, forMs: 300 },
    { kind: "slow", atMs: 0, untilMs: 3000, from: 0, to: 1, factor: 2 },
  ];
  return {
    engine: "tendermint",
    seed: 1,
    nodes: 4,
    safetyMs: 15_000,
    faults: [
      ...noise.slice(0, 2),
      { kind: "twin", node: 0 },
      { kind: "twin", node: 1 },
      { kind: "partition", shape: "uniform", atMs: 0, untilMs: 15_000, cuts },
      ...noise.slice(2),
    ],
  };
}

/** Runs a file by the program itself. */
function replayed(test: Test, file: { readonly property: string; readonly scenario: Scenario }) {
  const directory = mkdtempSync(join(tmpdir(), "pyralog-sim-"));
  test.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, "scenario.json");
  writeFileSync(path, JSON.stringify(file));
  try {
    return { code: 0, text: execFileSync(process.execPath, [MAIN, "--replay", path], { encoding: "utf8" }) };
  } catch (error) {
    const { status, stdout } = error as { readonly status: number; readonly stdout: string };
    return { code: status, text: stdout };
  }
}
