/**
 * What every engine must do, as one suite: each engine runs it with its own `EngineKind`.
 *
 * It knows no protocol. It drives engines through `network.ts`, whose checkers hold for all of them, records what went
 * in and came out, and asks the questions that `consensus/engine.ts` answers: determinism, durability before speech,
 * silence of observers, indifference to stale answers.
 */

import type { Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { heightOf } from "../../chain/block/height.ts";
import type { Engine, Input } from "../engine.ts";
import { type Conduct, type EngineKind, type Faults, type NetworkOptions, runNetwork, wordOf } from "./network.ts";
import { checkReplay, checkSilentBeforeStart, checkTimers, shown, type Step } from "./recording.ts";
import { testBlock, World } from "./world.ts";

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
  lossRate: 100,
  duplicateRate: 100,
  delayMsMax: 60,
  slowRate: 30,
  crashRate: 50,
  recordCrashRate: 20,
  blackoutRate: 50,
  partitionRate: 80,
  syncMsMax: 30,
};
const ROUGH_SEEDS = [1, 2, 3, 4, 5, 6, 7, 8] as const;
const EQUAL = [1n, 1n, 1n, 1n] as const;

/** How long, in simulated milliseconds, an engine is left alone after a restart to say what it will. */
const AFTER_RESTART_MS = 20_000;

type Recording<M> = { readonly self: Address | undefined; readonly steps: Step<M>[] };

/** Runs the suite. */
export function engineConformance<M extends object>(t: Test, kind: EngineKind<M>): void {
  t.test("equal inputs give equal effects", (t) => {
    for (const { self, steps } of record(kind, options({ seed: 1, faults: ROUGH, healAtMs: 4000 }))) {
      const engine = kind.create(self);
      const differing = steps.find(({ input, effects }) => shown(engine.step(input)) !== shown(effects));
      t.equal(shown(differing?.input), undefined, `${steps.length} steps again`);
    }
    t.end();
  });

  t.test("nothing happens before the first height begins", (t) => {
    checkSilentBeforeStart(t, kind.create(present(new World(EQUAL).members[0], "member").address));
    t.end();
  });

  t.test("records are numbered upwards, and nothing waits for a record that was never made", (t) => {
    for (const { steps } of record(kind, options({ seed: 2, faults: ROUGH, healAtMs: 4000 }))) {
      let sequence = 0;
      const faults: string[] = [];
      for (const effect of steps.flatMap(({ effects }) => effects)) {
        if (effect.kind === "persist" && effect.sequence <= sequence) faults.push(`record ${effect.sequence} after ${sequence}`);
        if (effect.kind === "persist") sequence = effect.sequence;
        if (effect.kind === "send" && (effect.after ?? 0) > sequence)
          faults.push(`a message waits for record ${effect.after} of ${sequence}`);
      }
      t.same(faults, [], `${sequence} records`);
    }
    t.end();
  });

  t.test("a timer is never for a time that has passed", (t) => {
    for (const { steps } of record(kind, options({ seed: 3, faults: CALM, healAtMs: 1000 }))) checkTimers(t, steps);
    t.end();
  });

  t.test("answers to questions that were never asked change nothing", (t) => {
    const [recording] = record(kind, options({ seed: 4, faults: CALM, healAtMs: 300 }));
    const { self, steps } = present(recording, "recording");
    const proposer = present(new World(EQUAL).members[1], "member").address;
    checkReplay(t, kind.create(self), steps, testBlock({ height: heightOf(99n), label: "stale", proposer }));
    t.end();
  });

  t.test("one validator decides by itself", (t) => {
    const report = runNetwork(kind, { ...options({ seed: 5, faults: CALM, healAtMs: 500 }), world: new World([7n]) });
    t.ok(report.heights >= 3, `${report.heights} heights`);
    t.end();
  });

  t.test("an observer decides with the rest, and neither signs, records, builds nor speaks", (t) => {
    const recordings = record(kind, { ...options({ seed: 6, faults: CALM, healAtMs: 500 }), observers: 1 });
    const observer = present(
      recordings.find(({ self }) => self === undefined),
      "observer",
    );
    const kinds = new Set(observer.steps.flatMap(({ effects }) => effects.map((effect) => effect.kind)));
    for (const forbidden of ["sign", "persist", "build", "send"] as const) t.notOk(kinds.has(forbidden), forbidden);
    t.ok(kinds.has("final"));
    t.end();
  });

  t.test("what was sent is what is said again after a restart, whichever record was the last to be durable", (t) => {
    const recordings = record(kind, options({ seed: 7, faults: CALM, healAtMs: 100 })).filter(({ self }) => self !== undefined);
    let restarts = 0;
    for (const { self, steps } of recordings) {
      const first = steps.slice(
        0,
        steps.findIndex(({ effects }) => effects.some((effect) => effect.kind === "final")),
      );
      const effects = first.flatMap((step) => step.effects);
      const records = effects.flatMap((effect) => (effect.kind === "persist" ? [effect] : []));
      for (let durable = 0; durable <= records.length; durable += 1) {
        const kept = records.slice(0, durable);
        const last = kept.at(-1)?.sequence ?? 0;
        const bound = new Map<string, string>();
        for (const effect of effects) {
          if (effect.kind !== "send" || effect.after === undefined || effect.after > last) continue;
          const { slot, word } = wordOf(kind.statementOf(effect.message).what);
          bound.set(slot, word);
        }
        const said = speak(
          kind,
          kind.create(self),
          present(steps[0], "start").input,
          kept.map((entry) => entry.record),
        );
        const broken = said.filter(({ slot, word }) => (bound.get(slot) ?? word) !== word);
        t.same(broken, [], `${durable} records bind ${bound.size} words`);
        restarts += 1;
      }
    }
    t.ok(restarts > 4, `${restarts} restarts`);
    t.end();
  });

  t.test("through faults there is one valid chain, and it grows once the network heals", (t) => {
    for (const seed of ROUGH_SEEDS) {
      const conducts = new Map<string, Conduct>([["v2", seed % 2 === 0 && kind.isForHonest !== true ? "equivocator" : "silent"]]);
      const report = runNetwork(kind, { ...options({ seed, faults: ROUGH, healAtMs: 6000 }), conducts });
      t.ok(
        report.heights > 0,
        `seed ${seed}: ${report.heights} heights, ${report.crashes} crashes, healed in ${report.healingMs} ms`,
      );
    }
    t.end();
  });
}

function options(chosen: { readonly seed: number; readonly faults: Faults; readonly healAtMs: number }): NetworkOptions {
  return { ...chosen, world: new World(EQUAL), conducts: new Map(), observers: 0, heightsAfterHealing: 2, boundMs: 30_000 };
}

/** Runs a network and writes down each life of each engine. */
function record<M extends object>(kind: EngineKind<M>, network: NetworkOptions): readonly Recording<M>[] {
  const recordings: Recording<M>[] = [];
  const recorder: EngineKind<M> = {
    ...kind,
    create: (self): Engine<M> => {
      const engine = kind.create(self);
      const recording: Recording<M> = { self, steps: [] };
      recordings.push(recording);
      return {
        name: engine.name,
        step: (input) => {
          const effects = engine.step(input);
          recording.steps.push({ input, effects });
          return effects;
        },
        status: () => engine.status(),
        messages: () => engine.messages(),
      };
    },
  };
  runNetwork(recorder, network);
  return recordings;
}

/** Restarts an engine with these records, lets time pass, and returns every word it asked a signature for. */
function speak<M>(
  kind: EngineKind<M>,
  engine: Engine<M>,
  start: Input<M>,
  records: readonly Uint8Array[],
): readonly { readonly slot: string; readonly word: string }[] {
  const said: { readonly slot: string; readonly word: string }[] = [];
  const inputs: Input<M>[] = [start, ...records.map((entry): Input<M> => ({ kind: "restore", record: entry, atMs: start.atMs }))];
  for (let ms = 0; ms <= AFTER_RESTART_MS; ms += 50) inputs.push({ kind: "tick", atMs: start.atMs + ms });
  for (let input = inputs.shift(); input !== undefined; input = inputs.shift()) {
    const { atMs } = input;
    const answers: Input<M>[] = [];
    for (const effect of engine.step(input)) {
      if (effect.kind === "sign") {
        said.push(wordOf(effect.what));
        answers.push({ kind: "signed", id: effect.id, signature: undefined, atMs });
      }
      if (effect.kind === "send") said.push(wordOf(kind.statementOf(effect.message).what));
      if (effect.kind === "persist") answers.push({ kind: "persisted", sequence: effect.sequence, atMs });
      if (effect.kind === "judge") answers.push({ kind: "judged", blockHash: effect.blockHash, valid: true, atMs });
    }
    // Answers to a restore wait until all is restored, as the contract asks.
    const rest = inputs.findIndex(({ kind: next }) => next !== "restore");
    inputs.splice(rest === -1 ? inputs.length : rest, 0, ...answers);
  }
  return said;
}
