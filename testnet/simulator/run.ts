/**
 * One run: a scenario in, a report out. The safety phase has faults; then all heals, and the network must go on within
 * a bound.
 */

import { codeOf } from "../../crypto/base/error.ts";
import { present } from "../../crypto/base/assert.ts";
import { Agenda, settled } from "./agenda.ts";
import { Agreement } from "./checkers/agreement.ts";
import type { Checker, Violation } from "./checkers/checker.ts";
import { ClockFault } from "./clock.ts";
import { ENGINES, networkOf } from "./engines.ts";
import { Wire } from "./network.ts";
import { Machine, type Observer, type World } from "./node.ts";
import { Random } from "./random.ts";
import { Signatures } from "./signatures.ts";
import { Sometimes } from "./sometimes.ts";
import { Trace } from "./trace.ts";

/** What a run found. */
export type Report = {
  readonly seed: number;
  readonly traceHash: string;
  readonly events: number;
  readonly simulatedMs: number;
  readonly height: bigint;
  readonly violations: readonly Violation[];
  readonly sometimes: Readonly<Record<string, number>>;
};

const SAFETY_MS = 30_000;

/** Runs one seed of an engine. */
export async function runSeed(engineName: string, seed: number): Promise<Report> {
  const random = new Random(`${engineName} ${seed}`);
  const engine = present(ENGINES[engineName], `engine ${engineName}`);
  const nodes = random.fork("nodes").pick(engine.nodes);
  const agenda = new Agenda();
  const sometimes = new Sometimes();
  const trace = new Trace();
  const violations: Violation[] = [];
  const violated = (property: string, message: string): void => {
    violations.push({ property, message, atMs: agenda.nowMs });
  };
  const agreement = new Agreement({ isHonest: () => true, violated, sometimes });
  const checkers: Checker[] = [agreement];
  const observer: Observer = {
    onCommit: (index, commit) => {
      trace.note(agenda.nowMs, index, "commit", commit.block.hash);
      for (const checker of checkers) checker.onCommit?.(index, commit);
    },
    onSaid: (index, bytes) => {
      for (const checker of checkers) checker.onSaid?.(index, bytes);
    },
    onOpened: (index, ledger) => {
      for (const checker of checkers) checker.onOpened?.(index, ledger);
    },
    onFailed: (index, when, error) => {
      violated("failed", `node ${index} ${when}: ${codeOf(error)} ${String(error)}`);
    },
  };
  const wire = new Wire(
    nodes,
    { latencyMsMin: 1, latencyMsMean: 10, relaysMax: 2 },
    { agenda, trace, sometimes, random: random.fork("wire") },
  );
  const world: World = {
    agenda,
    trace,
    sometimes,
    wire,
    signatures: new Signatures(),
    network: networkOf(engine, { nodes, random: random.fork("network") }),
    observer,
  };
  const machines = Array.from(
    { length: nodes },
    (_, index) =>
      new Machine(
        index,
        {},
        {
          world,
          random: random.fork(`machine ${index}`),
          clockFault: new ClockFault({ driftPpm: 0, offsetMs: 0 }),
          keyPair: world.signatures.keyPair("validator", index),
          syncMsMean: 1,
        },
      ),
  );
  for (const machine of machines) machine.boot();
  await settled();
  while (agenda.step(SAFETY_MS)) await settled();
  return {
    seed,
    traceHash: trace.hash(),
    events: trace.events,
    simulatedMs: agenda.nowMs,
    height: agreement.height,
    violations,
    sometimes: sometimes.counts(),
  };
}
