/**
 * Drives our parts of Tendermint with the inputs of Malachite's executable specification, as its traces name them.
 *
 * The specification has three machines, and so have we: the round machine takes its consensus inputs (`...CInput`), the
 * vote keeper its votes, and a whole engine its messages and timeouts (`...DInput`). Each is a `TraceMachine` here: it
 * takes one input after the other and says what came of it. What the specification answers is read by the other
 * functions; to compare is the caller's business.
 */

import { present, unreachable } from "../../crypto/base/assert.ts";
import { ZERO_HASH } from "../../crypto/hash/hash.ts";
import type { Block } from "../../chain/block/block.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { ROUND_MAX } from "../../chain/block/limits.ts";
import { quorumOf } from "../../chain/block/testing/fixtures.ts";
import type { Vote, VoteStep } from "../../chain/block/vote.ts";
import type { Effect, Input } from "../engine.ts";
import { TendermintEngine } from "../tendermint/engine.ts";
import type { ConsensusMessage } from "../tendermint/message.ts";
import { parseRecord } from "../tendermint/record.ts";
import {
  initialRoundState,
  onRoundEvent,
  type Pin,
  type RoundEvent,
  type RoundOutput,
  type RoundState,
  type Timeout,
} from "../tendermint/rounds.ts";
import { type Threshold, valueOf, VoteKeeper } from "../tendermint/votes.ts";
import { fieldOf, itemOf, ItfShapeError, type ItfTrace, type ItfValue, mapOf, numberOf, textOf, variantOf } from "./itf.ts";
import { CHAIN_ID, type Member, testBlock, World } from "./world.ts";

// ---- the model's words in ours

function refuse(tag: string): never {
  throw new ItfShapeError(`not an input or output of the specification: ${tag.slice(0, 80)}`);
}

/** A height or a round of a message or an event: never "none". */
function positionOf(model: ItfValue): number {
  const position = numberOf(model);
  return position >= 0 && position <= ROUND_MAX ? position : refuse(`${position}`);
}

/** A value, or undefined for nil. */
export function modelValue(model: ItfValue): string | undefined {
  const { tag, value } = variantOf(model);
  return tag === "Nil" ? undefined : textOf(value);
}

function namedValue(model: ItfValue): string {
  return modelValue(model) ?? refuse("nil");
}

const TIMEOUTS: ReadonlyMap<string, Timeout> = new Map([
  ["ProposeTimeout", "propose"],
  ["PrevoteTimeout", "prevote"],
  ["PrecommitTimeout", "precommit"],
]);

function timeoutOf(model: ItfValue): Timeout {
  const { tag } = variantOf(model);
  return TIMEOUTS.get(tag) ?? refuse(tag);
}

function stepOf(model: ItfValue): VoteStep {
  const { tag } = variantOf(model);
  if (tag === "Prevote") return "prevote";
  return tag === "Precommit" ? "precommit" : refuse(tag);
}

/** A consensus input as the event that it is to our round machine. */
export function eventOf(model: ItfValue): RoundEvent {
  const { tag, value: body } = variantOf(model);
  switch (tag) {
    case "NewRoundCInput":
      return { kind: "newRound", round: positionOf(body), isProposer: false };
    case "NewRoundProposerCInput":
      return { kind: "newRound", round: positionOf(body), isProposer: true };
    case "ProposeValueCInput":
      return { kind: "built", value: textOf(body) };
    case "ProposalCInput":
      return { kind: "proposal", value: namedValue(itemOf(body, 1)), valid: true };
    case "ProposalInvalidCInput":
      return { kind: "proposal", value: "invalid", valid: false };
    case "ProposalAndPolkaPreviousAndValidCInput":
      return {
        kind: "proposalAndPolka",
        value: namedValue(itemOf(body, 0)),
        validRound: positionOf(itemOf(body, 1)),
        valid: true,
      };
    case "ProposalAndPolkaAndInvalidCInput":
      return { kind: "proposalAndPolka", value: "invalid", validRound: 0, valid: false };
    case "PolkaAnyCInput":
      return { kind: "polkaAny" };
    case "PolkaNilCInput":
      return { kind: "polkaNil" };
    case "ProposalAndPolkaAndValidCInput":
      return { kind: "polkaValue", value: namedValue(body) };
    case "PrecommitAnyCInput":
      return { kind: "precommitAny" };
    case "ProposalAndCommitAndValidCInput":
      return { kind: "precommitValue", round: positionOf(itemOf(body, 0)), value: textOf(itemOf(body, 1)) };
    case "RoundSkipCInput":
      return { kind: "skip", round: positionOf(body) };
    case "TimeoutProposeCInput":
      return { kind: "timeout", timeout: "propose", round: positionOf(itemOf(body, 1)) };
    case "TimeoutPrevoteCInput":
      return { kind: "timeout", timeout: "prevote", round: positionOf(itemOf(body, 1)) };
    case "TimeoutPrecommitCInput":
      return { kind: "timeout", timeout: "precommit", round: positionOf(itemOf(body, 1)) };
    default:
      return refuse(tag);
  }
}

/** What the specification's round machine answers, in the words of ours. */
export function modelOutputs(model: ItfValue): readonly RoundOutput[] {
  const { tag, value: body } = variantOf(model);
  switch (tag) {
    case "NoConsensusOutput":
      return [];
    case "GetValueAndScheduleTimeoutOutput": {
      const round = numberOf(itemOf(body, 1));
      return [
        { kind: "schedule", timeout: "propose", round },
        { kind: "build", round },
      ];
    }
    case "TimeoutOutput":
      return [{ kind: "schedule", timeout: timeoutOf(itemOf(body, 1)), round: numberOf(itemOf(body, 0)) }];
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
          value: modelValue(fieldOf(body, "valueId")),
        },
      ];
    case "SkipRoundOutput":
      return [{ kind: "enter", round: numberOf(body) }];
    case "DecidedOutput":
      return [{ kind: "decide", round: numberOf(itemOf(body, 0)), value: textOf(itemOf(body, 1)) }];
    default:
      return refuse(tag);
  }
}

/**
 * What the specification is to answer, changed where we differ by design:
 * - it leaves a proposer that proposes its valid value without a propose timeout (rounds.ts says why we do not);
 * - its driver remembers which inputs it gave in which step, and gives "precommits of any" again in the next step,
 *   so the precommit timeout is scheduled twice; our machine holds to "for the first time" (line 47).
 */
export function expectedOutputs(
  event: RoundEvent,
  model: readonly RoundOutput[],
  wasPrecommitTimeoutScheduled: boolean,
): readonly RoundOutput[] {
  if (event.kind === "newRound" && model[0]?.kind === "propose")
    return [{ kind: "schedule", timeout: "propose", round: event.round }, ...model];
  if (event.kind === "precommitAny" && wasPrecommitTimeoutScheduled) return [];
  return model;
}

const STEPS = {
  NoStep: "unstarted",
  UnstartedStep: "unstarted",
  ProposeStep: "propose",
  PrevoteStep: "prevote",
  PrecommitStep: "precommit",
  CommitStep: "decided",
} as const satisfies Record<string, RoundState["step"]>;

/** The variables of the paper; the model has no step before the first round and one between two, we have one for both. */
export type Variables = Pick<RoundState, "round" | "step" | "locked" | "valid">;

/** The specification's variables. */
export function modelVariables(state: ItfValue): Variables {
  const pin = (name: string): Pin | undefined => {
    const round = numberOf(fieldOf(state, `${name}Round`));
    return round === -1 ? undefined : { round, value: namedValue(fieldOf(state, `${name}Value`)) };
  };
  return {
    round: numberOf(fieldOf(state, "round")),
    step: STEPS[variantOf(fieldOf(state, "step")).tag as keyof typeof STEPS],
    locked: pin("locked"),
    valid: pin("valid"),
  };
}

/** What the specification's vote keeper answers, in the words of ours. */
export function modelThreshold(model: ItfValue): Threshold | undefined {
  const { tag, value: body } = variantOf(model);
  const pair = (): Pin => ({ round: numberOf(itemOf(body, 0)), value: textOf(itemOf(body, 1)) });
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
      return refuse(tag);
  }
}

// ---- networks of a trace

/** One model network of a trace: its variables carry the name of the instance that made them. */
export function instancesOf(trace: ItfTrace): readonly string[] {
  const names = new Set<string>();
  for (const state of trace.states)
    for (const name of Object.keys(state)) if (name.endsWith("::system")) names.add(name.slice(0, -"::system".length));
  return [...names];
}

/** A model network at one moment: its validators, and the last step that one of them took. */
export type NetworkState = { readonly system: ReadonlyMap<ItfValue, ItfValue>; readonly history: ItfValue };

/** The states in which an instance exists, from its first on. */
export function statesOf(trace: ItfTrace, instance: string): readonly NetworkState[] {
  return trace.states.flatMap((state) => {
    const system = state[`${instance}::system`];
    const history = state[`${instance}::_hist`];
    return system === undefined || history === undefined ? [] : [{ system: mapOf(system), history }];
  });
}

/** Whether the actor took a step here: the history stands still while the model moves messages between nodes. */
export function isNews(states: readonly NetworkState[], index: number): boolean {
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

/** A validator set of the model: names with powers, as it lists them. */
export type Powers = readonly (readonly [name: string, power: bigint])[];

/** The powers that a map of the model holds. */
export function powersOf(model: ItfValue): Powers {
  return [...mapOf(model)].map(([name, power]) => [textOf(name), BigInt(numberOf(power))] as const);
}

/** A model network's validators as members of ours, so that turns to propose fall on the same ones. */
class Cast {
  readonly world: World;
  readonly #members = new Map<string, Member>();
  readonly #blocks = new Map<string, Block>();
  readonly #labels = new Map<string, string>();
  readonly #height: Height;

  /** @param powers - in the order in which they propose */
  constructor(powers: Powers, height: Height) {
    this.#height = height;
    this.world = new World(powers.map(([, power]) => power));
    for (const [index, [name]] of powers.entries()) this.#members.set(name, present(this.world.members[index], "member"));
  }

  member(name: string): Member {
    return this.#members.get(name) ?? refuse(name);
  }

  block(label: string): Block {
    const known = this.#blocks.get(label);
    if (known !== undefined) return known;
    const block = testBlock({
      height: this.#height,
      label,
      proposer: ZERO_HASH as unknown as Member["address"],
      isInvalid: label === "invalid",
    });
    this.#blocks.set(label, block);
    this.#labels.set(valueOf(block.hash), label);
    return block;
  }

  /** What the model calls a block that it has named before. */
  label(value: string): string {
    return present(this.#labels.get(value), "label of a block");
  }

  vote(model: ItfValue): Vote {
    const named = modelValue(fieldOf(model, "valueId"));
    return this.world.vote({
      step: stepOf(fieldOf(model, "voteType")),
      height: heightOf(BigInt(positionOf(fieldOf(model, "height")))),
      round: positionOf(fieldOf(model, "round")),
      blockHash: named === undefined ? undefined : this.block(named).hash,
      validator: this.member(textOf(fieldOf(model, "srcAddress"))).address,
    });
  }
}

// ---- the three machines

/** What came of one input. Rounds and values are in the model's words. */
export type TraceStep = Variables & {
  readonly outputs: readonly RoundOutput[];
  /** What has been decided by now. */
  readonly decision: Pin | undefined;
};

/** The round machine under the model's consensus inputs. */
export class RoundTrace {
  #state: RoundState;
  #decision: Pin | undefined;

  constructor(height: Height) {
    this.#state = initialRoundState(height);
  }

  /** For `expectedOutputs`. */
  get isPrecommitTimeoutScheduled(): boolean {
    return this.#state.precommitTimeoutScheduled;
  }

  /** The variables before the next input. */
  get variables(): Variables {
    const { round, step, locked, valid } = this.#state;
    return { round, step, locked, valid };
  }

  take(input: ItfValue): TraceStep {
    // What stands beside the first state of a trace.
    if (variantOf(input).tag === "NoConsensusInput") return this.#told([]);
    const { state, outputs } = onRoundEvent(this.#state, eventOf(input));
    this.#state = state;
    this.#decision ??= decisionIn(outputs);
    return this.#told(outputs);
  }

  #told(outputs: readonly RoundOutput[]): TraceStep {
    return { outputs, ...this.variables, decision: this.#decision };
  }
}

/** The vote keeper under the model's votes. */
export class KeeperTrace {
  readonly #cast: Cast;
  readonly #keeper: VoteKeeper;
  #round = 0;

  constructor(powers: Powers) {
    this.#cast = new Cast(powers, heightOf(0n));
    this.#keeper = new VoteKeeper(this.#cast.world.set);
  }

  /** @param input - a weighted vote of the model: vote, power, current round */
  take(input: ItfValue): { readonly outputs: readonly Threshold[]; readonly round: number } {
    const { tag, value: body } = variantOf(input);
    // What stands beside the first state of a trace.
    if (tag === "NoWeightedVote") return { outputs: [], round: this.#round };
    if (tag !== "WV") return refuse(tag);
    const round = positionOf(itemOf(body, 2));
    // The model's keeper knows no way back either.
    if (round < this.#round) return refuse(`round ${round} after round ${this.#round}`);
    this.#round = round;
    this.#keeper.moveTo(round, new Set());
    const outcome = this.#keeper.add(this.#cast.vote(itemOf(body, 0)));
    const reached = outcome.kind === "counted" ? outcome.reached : undefined;
    return { outputs: reached === undefined ? [] : [this.#inModelWords(reached)], round };
  }

  #inModelWords(reached: Threshold): Threshold {
    return "value" in reached ? { ...reached, value: this.#cast.label(reached.value) } : reached;
  }
}

type Effects = readonly Effect<ConsensusMessage>[];

/** Timeouts so far apart that a tick can be for one of them alone. */
const TIMEOUTS_MS = { propose: 1000, precommit: 1_000_000, prevote: 1_000_000_000 } as const;

/** The model takes several steps where the engine takes all that are due at once. */
const INPUTS_OF_THE_MODEL_ALONE: ReadonlySet<string> = new Set(["StepChangeDInput", "PendingDInput", "NoDInput"]);

/**
 * One engine under a model validator's messages and timeouts. Its guard refuses everything, so that the engine never
 * counts its own words by itself: they come back to it through the network, when the model delivers them. What it would
 * have said is seen in its promises and in its requests to sign.
 */
export class EngineTrace {
  readonly #cast: Cast;
  readonly #engine: TendermintEngine;
  readonly #height: Height;
  #said: RoundOutput[] = [];
  #decision: Pin | undefined;
  #nowMs = 0;

  /** @param options - `powers` in the order in which the model lists them: its turns begin with the second validator */
  constructor(options: { readonly powers: Powers; readonly self: string; readonly height: Height }) {
    const { powers, self, height } = options;
    this.#cast = new Cast([...powers.slice(1), ...powers.slice(0, 1)], height);
    this.#height = height;
    const parameters = {
      timeoutProposeMs: TIMEOUTS_MS.propose,
      timeoutPrevoteMs: TIMEOUTS_MS.prevote,
      timeoutPrecommitMs: TIMEOUTS_MS.precommit,
      timeoutGrowthMs: 0,
    };
    this.#engine = new TendermintEngine({ chainId: CHAIN_ID, self: this.#cast.member(self).address, parameters });
  }

  take(input: ItfValue): TraceStep {
    this.#said = [];
    this.#give(input);
    this.#decision ??= decisionIn(this.#said);
    return { outputs: this.#said, ...this.#variables(), decision: this.#decision };
  }

  #variables(): Variables {
    const status = this.#engine.status();
    if (status === undefined) return { round: -1, step: "unstarted", locked: undefined, valid: undefined };
    const pin = (round: number, value: string | undefined): Pin | undefined =>
      value === undefined ? undefined : { round, value: this.#cast.label(value) };
    const { round, step, lockedRound, lockedValue, validRound, validValue } = status;
    return { round, step, locked: pin(lockedRound, lockedValue), valid: pin(validRound, validValue) };
  }

  #give(input: ItfValue): void {
    const { tag, value: body } = variantOf(input);
    const atMs = this.#nowMs;
    const height = this.#height;
    switch (tag) {
      case "StartDInput":
        if (this.#engine.status() !== undefined) refuse("a second start");
        this.#step({ kind: "start", height, validators: this.#cast.world.set, parent: undefined, atMs });
        return;
      case "ProposeValueDInput": {
        const round = this.#engine.status()?.round ?? refuse("a value before the start");
        this.#step({ kind: "propose", height, round, block: this.#cast.block(textOf(body)), atMs });
        return;
      }
      case "ProposalDInput": {
        const block = this.#cast.block(textOf(fieldOf(body, "proposal")));
        const round = positionOf(fieldOf(body, "round"));
        const validRound = numberOf(fieldOf(body, "validRound"));
        if (validRound < -1 || validRound >= round) refuse(`valid round ${validRound}`);
        const proposal = this.#cast.world.proposal({
          height,
          round,
          blockHash: block.hash,
          validRound,
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
        if (!INPUTS_OF_THE_MODEL_ALONE.has(tag)) refuse(tag);
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
          if (record.ok && record.value.kind === "promise") {
            const { step, round, blockHash } = record.value;
            this.#said.push({ kind: "vote", step, round, value: this.#labelOf(blockHash) });
          }
          this.#step({ kind: "persisted", sequence: effect.sequence, atMs });
          break;
        }
        case "sign":
          if (effect.what.kind === "proposal") {
            const { round, blockHash, validRound } = effect.what.proposal;
            this.#said.push({ kind: "propose", round, value: present(this.#labelOf(blockHash), "value"), validRound });
          }
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
          this.#said.push({
            kind: "decide",
            round: quorumOf(effect.certificate).round,
            value: present(this.#labelOf(effect.block.hash), "value"),
          });
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

  #labelOf(blockHash: Block["hash"] | undefined): string | undefined {
    return blockHash === undefined ? undefined : this.#cast.label(valueOf(blockHash));
  }
}

function decisionIn(outputs: readonly RoundOutput[]): Pin | undefined {
  const decided = outputs.find((output) => output.kind === "decide");
  return decided === undefined ? undefined : { round: decided.round, value: decided.value };
}
