/**
 * The engine against the executable specification of Tendermint by its authors' successors.
 *
 * The traces were made by Quint from the specification of Malachite (specs/consensus/quint, Apache-2.0). Each step
 * names the input that the model took and the state and output after it. They are replayed at three levels: the round
 * machine gets the model's consensus inputs, the vote keeper its votes, and whole engines its messages and timeouts.
 */

import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import {
  fieldOf,
  itemOf,
  type ItfRecord,
  type ItfValue,
  listOf,
  numberOf,
  readTraces,
  textOf,
  variantOf,
} from "../testing/itf.ts";
import {
  EngineTrace,
  eventOf,
  expectedOutputs,
  instancesOf,
  isNews,
  KeeperTrace,
  modelOutputs,
  modelThreshold,
  modelVariables,
  type NetworkState,
  powersOf,
  RoundTrace,
  statesOf,
} from "../testing/malachite.ts";
import type { RoundOutput } from "./rounds.ts";

function heightIn(state: ItfValue): Height {
  return heightOf(BigInt(numberOf(fieldOf(state, "height"))));
}

/** Gives one consensus input to our machine, with what the specification's answered to it. */
function replay(machine: RoundTrace, input: ItfValue, output: ItfValue): readonly (readonly RoundOutput[])[] {
  const wanted = expectedOutputs(eventOf(input), modelOutputs(output), machine.isPrecommitTimeoutScheduled);
  return [machine.take(input).outputs, wanted];
}

t.test("the round machine makes every transition that the specification's state machine makes", (t) => {
  for (const trace of readTraces("consensus_")) {
    const machine = new RoundTrace(heightIn(fieldOf(trace.states[0] as ItfRecord, "state")));
    for (const [index, step] of trace.states.entries()) {
      if (index > 0) {
        const [outputs, wanted] = replay(machine, fieldOf(step, "input"), fieldOf(step, "output"));
        t.same(outputs, wanted, `${trace.name} step ${index}: outputs`);
      }
      t.same(machine.variables, modelVariables(fieldOf(step, "state")), `${trace.name} step ${index}: state`);
    }
  }
  t.end();
});

t.test("the round machine follows every validator through the specification's multi-round runs", (t) => {
  let events = 0;
  for (const trace of readTraces("line")) {
    for (const instance of instancesOf(trace)) {
      const machines = new Map<string, RoundTrace>();
      const done = new Map<string, number>();
      for (const [index, { system, history }] of statesOf(trace, instance).entries()) {
        for (const [name, node] of system) {
          const validator = textOf(name);
          const model = fieldOf(fieldOf(node, "es"), "cs");
          const executed = listOf(fieldOf(fieldOf(node, "es"), "executedInputs"));
          const machine = machines.get(validator) ?? new RoundTrace(heightIn(model));
          machines.set(validator, machine);
          for (const entry of executed.slice(done.get(validator) ?? 0)) {
            const input = itemOf(entry, 0);
            const where = `${trace.name} ${index} ${validator}: ${variantOf(input).tag}`;
            // The model shows the output of its last input only.
            if (entry === executed.at(-1)) {
              const [outputs, wanted] = replay(machine, input, fieldOf(history, "output"));
              t.same(outputs, wanted, where);
            } else machine.take(input);
            events += 1;
          }
          t.same(machine.variables, modelVariables(model), `${trace.name} ${index} ${validator}: state`);
          done.set(validator, executed.length);
        }
      }
    }
  }
  t.ok(events > 150, `${events} events replayed`);
  t.end();
});

t.test("the vote keeper reaches each threshold with the vote with which the specification's does", (t) => {
  for (const trace of readTraces("votekeeper_")) {
    const keeper = new KeeperTrace(powersOf(fieldOf(fieldOf(trace.states[0] as ItfRecord, "bookkeeper"), "validatorSet")));
    for (const [index, step] of trace.states.entries()) {
      if (index === 0) continue;
      const wanted = modelThreshold(fieldOf(step, "lastEmitted"));
      const { outputs } = keeper.take(fieldOf(step, "weightedVote"));
      t.same(outputs, wanted === undefined ? [] : [wanted], `${trace.name} step ${index}`);
      t.same(listOf(fieldOf(fieldOf(step, "bookkeeper"), "evidence")), [], "no trace of the keeper has an equivocator");
    }
  }
  t.end();
});

/** What a validator is heard to say, timeouts and entered rounds aside. */
function isSaid(output: RoundOutput): boolean {
  return output.kind === "vote" || output.kind === "propose" || output.kind === "decide";
}

/** The validator set of a model network. */
function setOf(state: NetworkState): ReturnType<typeof powersOf> {
  return powersOf(fieldOf(fieldOf(present([...state.system.values()][0], "validator"), "es"), "valset"));
}

t.test("engines given the specification's messages and timeouts say what its validators say", (t) => {
  let settled = 0;
  for (const trace of readTraces("line")) {
    for (const instance of instancesOf(trace)) {
      const states = statesOf(trace, instance);
      const powers = setOf(present(states[0], "state"));
      const engines = new Map<string, { engine: EngineTrace; said: RoundOutput[]; wanted: RoundOutput[] }>();
      for (const [index, { system, history }] of states.entries()) {
        const actor = textOf(fieldOf(history, "validator"));
        if (actor === "INIT" || !isNews(states, index)) continue;
        const node = present(system.get(actor), actor);
        const model = fieldOf(fieldOf(node, "es"), "cs");
        const height = heightIn(model);
        const one = engines.get(actor) ?? { engine: new EngineTrace({ powers, self: actor, height }), said: [], wanted: [] };
        engines.set(actor, one);
        const { outputs, round, step, locked, valid } = one.engine.take(fieldOf(history, "input"));
        one.said.push(...outputs);
        one.wanted.push(...modelOutputs(fieldOf(history, "output")).filter(isSaid));

        const isSettled =
          variantOf(fieldOf(fieldOf(node, "es"), "pendingStepChange")).tag === "NoStep" &&
          listOf(fieldOf(fieldOf(node, "es"), "pendingInputs")).length === 0;
        if (!isSettled) continue;
        settled += 1;
        const where = `${trace.name} ${instance} ${index} ${actor}`;
        t.same({ round, step, locked, valid }, modelVariables(model), `${where}: state`);
        t.same(one.said, one.wanted, `${where}: what was said`);
      }
    }
  }
  t.ok(settled > 100, `${settled} settled states compared`);
  t.end();
});
