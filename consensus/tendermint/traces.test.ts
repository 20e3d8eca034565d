/**
 * The engine against the executable specification of Tendermint by its authors' successors.
 *
 * The traces were made by Quint from the specification of Malachite (specs/consensus/quint, Apache-2.0). Each step
 * names the input that the model took and the state and output after it. They are replayed at three levels: the round
 * machine gets the model's consensus inputs, the vote keeper its votes, and whole engines its messages and timeouts.
 */

import t from "tap";
import { assert, present, unreachable } from "../../crypto/base/assert.ts";
import { ZERO_HASH } from "../../crypto/hash/hash.ts";
import type { Block } from "../../chain/block/block.ts";
import { heightOf } from "../../chain/block/height.ts";
import { quorumOf } from "../../chain/block/testing/fixtures.ts";
import type { Vote, VoteStep } from "../../chain/block/vote.ts";
import type { Effect, Input } from "../engine.ts";
import {
  fieldOf,
  type ItfRecord,
  type ItfTrace,
  type ItfValue,
  listOf,
  mapOf,
  numberOf,
  readTraces,
  textOf,
  variantOf,
} from "../testing/itf.ts";
import { CHAIN_ID, type Member, testBlock, World } from "../testing/world.ts";
import { TendermintEngine } from "./engine.ts";
import type { ConsensusMessage } from "./message.ts";
import { parseRecord } from "./record.ts";
import { initialRoundState, onRoundEvent, type RoundEvent, type RoundOutput, type RoundState, type Timeout } from "./rounds.ts";
import { type Threshold, valueOf, VoteKeeper } from "./votes.ts";

// ---- the model's words in ours

/** A value, or undefined for nil. */
function value(model: ItfValue): string | undefined {
  const variant = variantOf(model);
  return variant.tag === "Nil" ? undefined : textOf(variant.value);
}

function heightAndRound(model: ItfValue): { readonly round: number } {
  return { round: numberOf(present(listOf(model)[1], "round")) };
}

function timeoutOf(model: ItfValue): Timeout {
  const { tag } = variantOf(model);
  const timeout = ({ ProposeTimeout: "propose", PrevoteTimeout: "prevote", PrecommitTimeout: "precommit" } as const)[tag];
  return present(timeout, tag);
}

function stepOf(model: ItfValue): VoteStep {
  return variantOf(model).tag === "Prevote" ? "prevote" : "precommit";
}

function eventOf(model: ItfValue): RoundEvent {
  const { tag, value: body } = variantOf(model);
  switch (tag) {
    case "NewRoundCInput":
      return { kind: "newRound", round: numberOf(body), isProposer: false };
    case "NewRoundProposerCInput":
      return { kind: "newRound", round: numberOf(body), isProposer: true };
    case "ProposeValueCInput":
      return { kind: "built", value: textOf(body) };
    case "ProposalCInput":
      return { kind: "proposal", value: present(value(present(listOf(body)[1], "value")), "value"), valid: true };
    case "ProposalInvalidCInput":
      return { kind: "proposal", value: "invalid", valid: false };
    case "ProposalAndPolkaPreviousAndValidCInput": {
      const [proposed, validRound] = listOf(body);
      return {
        kind: "proposalAndPolka",
        value: present(value(present(proposed, "value")), "value"),
        validRound: numberOf(present(validRound, "round")),
        valid: true,
      };
    }
    case "ProposalAndPolkaAndInvalidCInput":
      return { kind: "proposalAndPolka", value: "invalid", validRound: 0, valid: false };
    case "PolkaAnyCInput":
      return { kind: "polkaAny" };
    case "PolkaNilCInput":
      return { kind: "polkaNil" };
    case "ProposalAndPolkaAndValidCInput":
      return { kind: "polkaValue", value: present(value(body), "value") };
    case "PrecommitAnyCInput":
      return { kind: "precommitAny" };
    case "ProposalAndCommitAndValidCInput": {
      const [round, decided] = listOf(body);
      return { kind: "precommitValue", round: numberOf(present(round, "round")), value: textOf(present(decided, "value")) };
    }
    case "RoundSkipCInput":
      return { kind: "skip", round: numberOf(body) };
    case "TimeoutProposeCInput":
      return { kind: "timeout", timeout: "propose", ...heightAndRound(body) };
    case "TimeoutPrevoteCInput":
      return { kind: "timeout", timeout: "prevote", ...heightAndRound(body) };
    case "TimeoutPrecommitCInput":
      return { kind: "timeout", timeout: "precommit", ...heightAndRound(body) };
    default:
      throw new Error(`unknown input ${tag}`);
  }
}

function outputsOf(model: ItfValue): readonly RoundOutput[] {
  const { tag, value: body } = variantOf(model);
  switch (tag) {
    case "NoConsensusOutput":
      return [];
    case "GetValueAndScheduleTimeoutOutput": {
      const { round } = heightAndRound(body);
      return [
        { kind: "schedule", timeout: "propose", round },
        { kind: "build", round },
      ];
    }
    case "TimeoutOutput": {
      const [round, timeout] = listOf(body);
      return [{ kind: "schedule", timeout: timeoutOf(present(timeout, "timeout")), round: numberOf(present(round, "round")) }];
    }
    case "ProposalOutput":
      return [
        {
          kind: "propose",
          round: numberOf(fieldOf(body, "round")),
          value: textOf(fieldOf(body, "proposal")),
          validRound: numberOf(fieldOf(body, "validRound")),
        },
      ];
    case "VoteOutput":
      return [
        {
          kind: "vote",
          step: stepOf(fieldOf(body, "voteType")),
          round: numberOf(fieldOf(body, "round")),
          value: value(fieldOf(body, "valueId")),
        },
      ];
    case "SkipRoundOutput":
      return [{ kind: "enter", round: numberOf(body) }];
    case "DecidedOutput": {
      const [round, decided] = listOf(body);
      return [{ kind: "decide", round: numberOf(present(round, "round")), value: textOf(present(decided, "value")) }];
    }
    default:
      throw new Error(`unknown output ${tag}`);
  }
}

/**
 * What the model is to answer, changed where we differ by design:
 * - it leaves a proposer that proposes its valid value without a propose timeout (rounds.ts says why we do not);
 * - its driver remembers which inputs it gave in which step, and gives "precommits of any" again in the next step,
 *   so the precommit timeout is scheduled twice; our machine holds to "for the first time" (line 47).
 */
function expectedOutputs(before: RoundState, event: RoundEvent, model: readonly RoundOutput[]): readonly RoundOutput[] {
  if (event.kind === "newRound" && model[0]?.kind === "propose")
    return [{ kind: "schedule", timeout: "propose", round: event.round }, ...model];
  if (event.kind === "precommitAny" && before.precommitTimeoutScheduled) return [];
  return model;
}

/** The variables of the paper; the model has no step before the first round and one between two, we have one for both. */
function shown(state: RoundState): Record<string, unknown> {
  return {
    height: Number(state.height),
    round: state.round,
    step: state.step,
    lockedRound: state.locked?.round ?? -1,
    lockedValue: state.locked?.value,
    validRound: state.valid?.round ?? -1,
    validValue: state.valid?.value,
  };
}

function shownModel(state: ItfValue): Record<string, unknown> {
  const steps = {
    NoStep: "unstarted",
    UnstartedStep: "unstarted",
    ProposeStep: "propose",
    PrevoteStep: "prevote",
    PrecommitStep: "precommit",
    CommitStep: "decided",
  };
  return {
    height: numberOf(fieldOf(state, "height")),
    round: numberOf(fieldOf(state, "round")),
    step: steps[variantOf(fieldOf(state, "step")).tag as keyof typeof steps],
    lockedRound: numberOf(fieldOf(state, "lockedRound")),
    lockedValue: value(fieldOf(state, "lockedValue")),
    validRound: numberOf(fieldOf(state, "validRound")),
    validValue: value(fieldOf(state, "validValue")),
  };
}

// ---- level 1: the round machine

t.test("the round machine makes every transition that the specification's state machine makes", (t) => {
  for (const trace of readTraces("consensus_")) {
    let state = initialRoundState(heightOf(BigInt(numberOf(fieldOf(fieldOf(trace.states[0] as ItfRecord, "state"), "height")))));
    for (const [index, step] of trace.states.entries()) {
      if (index > 0) {
        const event = eventOf(fieldOf(step, "input"));
        const { state: next, outputs } = onRoundEvent(state, event);
        t.same(
          outputs,
          expectedOutputs(state, event, outputsOf(fieldOf(step, "output"))),
          `${trace.name} step ${index}: outputs of ${event.kind}`,
        );
        state = next;
      }
      t.same(shown(state), shownModel(fieldOf(step, "state")), `${trace.name} step ${index}: state`);
    }
  }
  t.end();
});

/** One model network of a trace: its variables carry the name of the instance that made them. */
function instancesOf(trace: ItfTrace): readonly string[] {
  const names = new Set<string>();
  for (const state of trace.states)
    for (const name of Object.keys(state)) if (name.endsWith("::system")) names.add(name.slice(0, -"::system".length));
  return [...names];
}

/** The states in which an instance exists, from its first on. */
function statesOf(
  trace: ItfTrace,
  instance: string,
): readonly { readonly system: ReadonlyMap<ItfValue, ItfValue>; readonly history: ItfValue }[] {
  return trace.states.flatMap((state) => {
    const system = state[`${instance}::system`];
    const history = state[`${instance}::_hist`];
    return system === undefined || history === undefined ? [] : [{ system: mapOf(system), history }];
  });
}

t.test("the round machine follows every validator through the specification's multi-round runs", (t) => {
  let events = 0;
  for (const trace of readTraces("line")) {
    for (const instance of instancesOf(trace)) {
      const states = new Map<string, RoundState>();
      const done = new Map<string, number>();
      for (const [index, { system, history }] of statesOf(trace, instance).entries()) {
        for (const [name, node] of system) {
          const validator = textOf(name);
          const model = fieldOf(fieldOf(node, "es"), "cs");
          const executed = listOf(fieldOf(fieldOf(node, "es"), "executedInputs"));
          const before = states.get(validator) ?? initialRoundState(heightOf(BigInt(numberOf(fieldOf(model, "height")))));
          let state = before;
          for (const entry of executed.slice(done.get(validator) ?? 0)) {
            const event = eventOf(present(listOf(entry)[0], "input"));
            const transition = onRoundEvent(state, event);
            const isLast = entry === executed.at(-1);
            if (isLast)
              t.same(
                transition.outputs,
                expectedOutputs(state, event, outputsOf(fieldOf(history, "output"))),
                `${trace.name} ${index} ${validator}: ${event.kind}`,
              );
            state = transition.state;
            events += 1;
          }
          t.same(shown(state), shownModel(model), `${trace.name} ${index} ${validator}: state`);
          states.set(validator, state);
          done.set(validator, executed.length);
        }
      }
    }
  }
  t.ok(events > 150, `${events} events replayed`);
  t.end();
});

// ---- level 2: the vote keeper

function thresholdOf(model: ItfValue, values: ReadonlyMap<string, string>): Threshold | undefined {
  const { tag, value: body } = variantOf(model);
  const pair = (): { readonly round: number; readonly value: string } => {
    const [round, named] = listOf(body);
    return { round: numberOf(present(round, "round")), value: present(values.get(textOf(present(named, "value"))), "value") };
  };
  switch (tag) {
    case "NoVKOutput":
      return undefined;
    case "PolkaAnyVKOutput":
      return { kind: "polkaAny", round: numberOf(body) };
    case "PolkaNilVKOutput":
      return { kind: "polkaNil", round: numberOf(body) };
    case "PolkaValueVKOutput":
      return { kind: "polkaValue", ...pair() };
    case "PrecommitAnyVKOutput":
      return { kind: "precommitAny", round: numberOf(body) };
    case "PrecommitValueVKOutput":
      return { kind: "precommitValue", ...pair() };
    case "SkipVKOutput":
      return { kind: "skip", round: numberOf(body) };
    default:
      throw new Error(`unknown output ${tag}`);
  }
}

/** A model network's validators as members of ours, so that turns to propose fall on the same ones. */
class Cast {
  readonly world: World;
  readonly #members = new Map<string, Member>();
  readonly #blocks = new Map<string, Block>();
  readonly values = new Map<string, string>();

  /** @param powers - in the order in which they propose */
  constructor(powers: readonly (readonly [string, bigint])[]) {
    this.world = new World(powers.map(([, power]) => power));
    for (const [index, [name]] of powers.entries()) this.#members.set(name, present(this.world.members[index], "member"));
  }

  member(name: string): Member {
    return present(this.#members.get(name), name);
  }

  block(label: string): Block {
    const known = this.#blocks.get(label);
    if (known !== undefined) return known;
    const block = testBlock({
      height: heightOf(0n),
      label,
      proposer: ZERO_HASH as unknown as Member["address"],
      isInvalid: label === "invalid",
    });
    this.#blocks.set(label, block);
    this.values.set(label, valueOf(block.hash));
    return block;
  }

  vote(model: ItfValue): Vote {
    const named = value(fieldOf(model, "valueId"));
    return this.world.vote({
      step: stepOf(fieldOf(model, "voteType")),
      height: heightOf(BigInt(numberOf(fieldOf(model, "height")))),
      round: numberOf(fieldOf(model, "round")),
      blockHash: named === undefined ? undefined : this.block(named).hash,
      validator: this.member(textOf(fieldOf(model, "srcAddress"))).address,
    });
  }
}

t.test("the vote keeper reaches each threshold with the vote with which the specification's does", (t) => {
  for (const trace of readTraces("votekeeper_")) {
    const powers = mapOf(fieldOf(fieldOf(trace.states[0] as ItfRecord, "bookkeeper"), "validatorSet"));
    const cast = new Cast([...powers].map(([name, power]) => [textOf(name), BigInt(numberOf(power))] as const));
    const keeper = new VoteKeeper(cast.world.set);
    for (const [index, step] of trace.states.entries()) {
      if (index === 0) continue;
      const [vote, , round] = listOf(variantOf(fieldOf(step, "weightedVote")).value);
      keeper.moveTo(numberOf(present(round, "round")), new Set());
      const outcome = keeper.add(cast.vote(present(vote, "vote")));
      const reached = outcome.kind === "counted" ? outcome.reached : undefined;
      t.same(reached, thresholdOf(fieldOf(step, "lastEmitted"), cast.values), `${trace.name} step ${index}`);
      t.same(listOf(fieldOf(fieldOf(step, "bookkeeper"), "evidence")), [], "no trace of the keeper has an equivocator");
    }
  }
  t.end();
});

// ---- level 3: whole engines

type Effects = readonly Effect<ConsensusMessage>[];

/** Timeouts so far apart that a tick can be for one of them alone. */
const TIMEOUTS_MS = { propose: 1000, precommit: 1_000_000, prevote: 1_000_000_000 } as const;

/**
 * One engine under a model validator's inputs. Its guard refuses everything, so that the engine never counts its own
 * words by itself: they come back to it through the network, when the model delivers them. What it would have said is
 * seen in its promises and in its requests to sign.
 */
class Replay {
  readonly #cast: Cast;
  readonly #engine: TendermintEngine;
  readonly outputs: string[] = [];
  #nowMs = 0;

  constructor(cast: Cast, self: Member) {
    this.#cast = cast;
    const parameters = {
      timeoutProposeMs: TIMEOUTS_MS.propose,
      timeoutPrevoteMs: TIMEOUTS_MS.prevote,
      timeoutPrecommitMs: TIMEOUTS_MS.precommit,
      timeoutGrowthMs: 0,
    };
    this.#engine = new TendermintEngine({ chainId: CHAIN_ID, self: self.address, parameters });
  }

  status(): ReturnType<TendermintEngine["status"]> {
    return this.#engine.status();
  }

  take(input: ItfValue, height: number): void {
    const { tag, value: body } = variantOf(input);
    const atMs = this.#nowMs;
    switch (tag) {
      case "StartDInput":
        this.#step({
          kind: "start",
          height: heightOf(BigInt(height)),
          validators: this.#cast.world.set,
          parent: undefined,
          atMs,
        });
        return;
      case "ProposeValueDInput": {
        const round = present(this.status(), "status").round;
        this.#step({ kind: "propose", height: heightOf(BigInt(height)), round, block: this.#cast.block(textOf(body)), atMs });
        return;
      }
      case "ProposalDInput": {
        const block = this.#cast.block(textOf(fieldOf(body, "proposal")));
        const proposal = this.#cast.world.proposal({
          height: heightOf(BigInt(height)),
          round: numberOf(fieldOf(body, "round")),
          blockHash: block.hash,
          validRound: numberOf(fieldOf(body, "validRound")),
          validator: this.#cast.member(textOf(fieldOf(body, "srcAddress"))).address,
        });
        this.#deliver({ kind: "proposal", proposal, block });
        return;
      }
      case "VoteDInput":
        this.#deliver({ kind: "vote", vote: this.#cast.vote(body) });
        return;
      case "TimeoutDInput":
        this.#nowMs += TIMEOUTS_MS[timeoutOf(body)];
        this.#step({ kind: "tick", atMs: this.#nowMs });
        return;
      default:
        // The model takes several steps where the engine takes all that are due at once.
        assert(["StepChangeDInput", "PendingDInput", "NoDInput"].includes(tag), tag);
    }
  }

  #deliver(message: ConsensusMessage): void {
    this.#step({ kind: "message", from: "model", message, atMs: this.#nowMs });
  }

  #step(input: Input<ConsensusMessage>): void {
    this.#do(this.#engine.step(input));
  }

  #do(effects: Effects): void {
    const atMs = this.#nowMs;
    for (const effect of effects) {
      switch (effect.kind) {
        case "persist": {
          const record = parseRecord(effect.record);
          if (record.ok && record.value.kind === "promise")
            this.outputs.push(told(record.value.step, record.value.round, record.value.blockHash));
          this.#step({ kind: "persisted", sequence: effect.sequence, atMs });
          break;
        }
        case "sign":
          if (effect.what.kind === "proposal")
            this.outputs.push(told("proposal", effect.what.proposal.round, effect.what.proposal.blockHash));
          this.#step({ kind: "signed", id: effect.id, signature: undefined, atMs });
          break;
        case "verify":
          this.#step({ kind: "verified", id: effect.id, valid: true, atMs });
          break;
        case "judge":
          this.#step({
            kind: "judged",
            blockHash: effect.blockHash,
            valid: effect.blockHash !== this.#cast.block("invalid").hash,
            atMs,
          });
          break;
        case "final":
          this.outputs.push(told("decided", quorumOf(effect.certificate).round, effect.block.hash));
          break;
        case "send":
        case "build":
        case "timer":
        case "evidence":
        case "head":
        case "search":
        case "rest":
          break;
        default:
          unreachable(effect);
      }
    }
  }
}

function told(what: string, round: number, blockHash: Uint8Array | undefined): string {
  return `${what} ${round} ${valueOf(blockHash as Block["hash"] | undefined).slice(0, 8)}`;
}

/** What the model has said so far, in the words of `told`. */
function modelTold(cast: Cast, output: ItfValue): readonly string[] {
  return outputsOf(output).flatMap((entry) => {
    if (entry.kind === "vote")
      return [told(entry.step, entry.round, entry.value === undefined ? undefined : cast.block(entry.value).hash)];
    if (entry.kind === "propose") return [told("proposal", entry.round, cast.block(entry.value).hash)];
    if (entry.kind === "decide") return [told("decided", entry.round, cast.block(entry.value).hash)];
    return [];
  });
}

t.test("engines given the specification's messages and timeouts say what its validators say", (t) => {
  let settled = 0;
  for (const trace of readTraces("line")) {
    for (const instance of instancesOf(trace)) {
      const states = statesOf(trace, instance);
      const powers = [
        ...mapOf(
          fieldOf(
            fieldOf([...(states[0] as { system: ReadonlyMap<ItfValue, ItfValue> }).system.values()][0] as ItfValue, "es"),
            "valset",
          ),
        ),
      ];
      // The model's turns begin with the second validator.
      const turns = [...powers.slice(1), ...powers.slice(0, 1)].map(
        ([name, power]) => [textOf(name), BigInt(numberOf(power))] as const,
      );
      const cast = new Cast(turns);
      const replays = new Map<string, Replay>();
      const said = new Map<string, string[]>();
      for (const [index, { system, history }] of states.entries()) {
        const actor = textOf(fieldOf(history, "validator"));
        if (actor === "INIT" || !isNews(states, index)) continue;
        const replay = replays.get(actor) ?? new Replay(cast, cast.member(actor));
        replays.set(actor, replay);
        const node = present(system.get(actor), actor);
        const model = fieldOf(fieldOf(node, "es"), "cs");
        const words = said.get(actor) ?? [];
        said.set(actor, words);
        replay.take(fieldOf(history, "input"), numberOf(fieldOf(model, "height")));
        words.push(...modelTold(cast, fieldOf(history, "output")));

        const isSettled =
          variantOf(fieldOf(fieldOf(node, "es"), "pendingStepChange")).tag === "NoStep" &&
          listOf(fieldOf(fieldOf(node, "es"), "pendingInputs")).length === 0;
        if (!isSettled) continue;
        settled += 1;
        const where = `${trace.name} ${instance} ${index} ${actor}`;
        const { height: _, step, round, lockedRound, validRound } = shownModel(model);
        const status = present(replay.status(), "status");
        t.same(
          { step: status.step, round: status.round, lockedRound: status.lockedRound, validRound: status.validRound },
          { step, round, lockedRound, validRound },
          `${where}: state`,
        );
        t.same(replay.outputs, words, `${where}: what was said`);
      }
    }
  }
  t.ok(settled > 100, `${settled} settled states compared`);
  t.end();
});

/** Whether the actor took a step here: the history stands still while the model moves messages between nodes. */
function isNews(states: ReturnType<typeof statesOf>, index: number): boolean {
  const before = states[index - 1];
  const now = present(states[index], "state");
  if (before === undefined || plain(before.history) !== plain(now.history)) return true;
  const actor = fieldOf(now.history, "validator");
  return plain(fieldOf(before.system.get(actor) as ItfValue, "es")) !== plain(fieldOf(now.system.get(actor) as ItfValue, "es"));
}

function plain(model: ItfValue): string {
  return JSON.stringify(model, (_, entry: unknown) =>
    typeof entry === "bigint" ? `${entry}` : entry instanceof Map ? [...entry] : entry,
  );
}
