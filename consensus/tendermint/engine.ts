/**
 * Tendermint as an engine: the messages, checks, promises and timers around the round machine.
 *
 * Three layers, each checked alone: `quorum/` counts power, `rounds.ts` is Algorithm 1 of the paper as a pure
 * function, and this file feeds it. Whatever comes in only adds to what is known (`votes.ts`, `../proposals/candidates.ts`); then
 * `#applyRules` asks which rule of the paper has its condition met and applies it, until none has. So no order of
 * arrival can make a rule be missed.
 *
 * A message counts once its signature is checked (`verify`), and a block may be prevoted once the chain has executed
 * it (`judge`). To vote is to record a promise; when that is durable the vote is signed, and only then sent and
 * counted here, like anybody's. Signatures are asked for one at a time, the next when the last signed word is durable,
 * so that a crash leaves at most the newest word in doubt, and that one the guard will sign again as it was. A
 * proposal needs no promise: a lost one costs a round. It is signed, recorded, and then sent.
 *
 * Beyond the paper:
 * - a block is known by its hash from any proposal of the height, so a proposal lost in one round does not hide a
 *   block that came in another (lines 36 and 49 ask for the proposal of that very round);
 * - a proposal of an earlier value is followed by the polka that proves it, and our own last messages are repeated
 *   while nothing moves: the paper assumes that gossip loses nothing;
 * - everything that peers can fill is bounded (`limits.ts`).
 */

import { assert, present, unreachable } from "../../crypto/base/assert.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { Block } from "../../chain/block/block.ts";
import { doubleProposalOf, doubleVoteOf } from "../../chain/block/evidence.ts";
import type { Height } from "../../chain/block/height.ts";
import { ROUND_MAX } from "../../chain/block/limits.ts";
import { findValidator, proposerAt, type ValidatorSet } from "../../chain/block/validators.ts";
import type { Certificate, Proposal, Vote, VoteStep } from "../../chain/block/vote.ts";
import type { Effect, Engine, Input, Unsigned } from "../engine.ts";
import { CandidateKeeper, type Proposed } from "../proposals/candidates.ts";
import { PAST_PROPOSAL_ROUNDS_MAX, PROPOSAL_ROUNDS_AHEAD_MAX } from "./limits.ts";
import { type ConsensusMessage, heightOfMessage, roundOfMessage } from "./message.ts";
import { PendingMessages } from "./pending.ts";
import { encodeRecord, parseRecord, type WalRecord } from "./record.ts";
import {
  initialRoundState,
  onRoundEvent,
  restorePin,
  restoreVote,
  type RoundEvent,
  type RoundOutput,
  type RoundState,
  type Timeout,
} from "./rounds.ts";
import { signerOf, valueOf, VoteKeeper } from "./votes.ts";

/** The timeouts of the network file: `timeoutXMs + round * timeoutGrowthMs`. */
export type TendermintParameters = {
  readonly timeoutProposeMs: number;
  readonly timeoutPrevoteMs: number;
  readonly timeoutPrecommitMs: number;
  readonly timeoutGrowthMs: number;
};

/** What an engine is made for. Without `self` it is an observer, which follows and never speaks. */
export type TendermintOptions = {
  readonly chainId: string;
  readonly self: Address | undefined;
  readonly parameters: TendermintParameters;
};

/** Where the engine stands, for the driver, metrics and peers. */
export type TendermintStatus = {
  readonly height: Height;
  readonly round: number;
  readonly step: RoundState["step"];
  readonly lockedRound: number;
  /** In hex, as the round machine names values; undefined when nothing is locked. */
  readonly lockedValue: string | undefined;
  readonly validRound: number;
  readonly validValue: string | undefined;
  readonly isValidator: boolean;
};

/** Repeats of our last messages come at growing distances, up to this many times the first. */
const REPEAT_GROWTH_MAX = 8;

const TIMEOUTS: readonly Timeout[] = ["propose", "prevote", "precommit"];

type Fx = Effect<ConsensusMessage>;

/** What we are about to say. It is signed once record `after` is durable. */
type Speech = { readonly what: Unsigned; readonly block: Block | undefined; readonly after: number };

/** All that belongs to one height. */
type Instance = {
  readonly height: Height;
  readonly validators: ValidatorSet;
  /** Our address, when we vote at this height. */
  readonly voter: Address | undefined;
  readonly votes: VoteKeeper;
  readonly candidates: CandidateKeeper<Proposed>;
  readonly pending: PendingMessages;
  rounds: RoundState;
  /** Of the current round. */
  readonly deadlines: Map<Timeout, number>;
  /** What is to be signed, in order. */
  readonly speeches: Speech[];
  /** The first of them, while its signature is on the way. */
  asked: { readonly id: number; readonly speech: Speech } | undefined;
  /** The record of the last signed word. */
  spoken: number;
  /** Promises of the write-ahead log whose votes it does not hold. */
  promised: readonly Omit<Vote, "signature">[];
  /** Our proposals, recorded but not durable yet, by the sequence of the record. */
  readonly recorded: Map<number, ConsensusMessage>;
  /** What we said of this round and the one before: what may be repeated. */
  own: readonly ConsensusMessage[];
  /** What evidence was given for: once a validator and kind is enough. */
  readonly accused: Set<string>;
  /** Blocks that are in the write-ahead log. */
  readonly recordedBlocks: Set<string>;
  repeatAtMs: number;
  repeats: number;
  repeatMark: string;
};

/** The engine. It runs one height after the other, and keeps nothing from one to the next. */
export class TendermintEngine implements Engine<ConsensusMessage> {
  readonly name = "tendermint";
  readonly #chainId: string;
  readonly #self: Address | undefined;
  readonly #parameters: TendermintParameters;
  #instance: Instance | undefined;
  #effects: Fx[] = [];
  #nowMs = 0;
  #sequence = 0;
  #durable = 0;
  #id = 0;

  constructor(options: TendermintOptions) {
    const { parameters } = options;
    for (const ms of [parameters.timeoutProposeMs, parameters.timeoutPrevoteMs, parameters.timeoutPrecommitMs]) {
      assert(Number.isSafeInteger(ms) && ms > 0, "timeout is {} ms", ms);
    }
    assert(
      Number.isSafeInteger(parameters.timeoutGrowthMs) && parameters.timeoutGrowthMs >= 0,
      "growth is {} ms",
      parameters.timeoutGrowthMs,
    );
    this.#chainId = options.chainId;
    this.#self = options.self;
    this.#parameters = parameters;
  }

  /** Takes one input; what it returns is to be done in order. Inputs about earlier heights do nothing. */
  step(input: Input<ConsensusMessage>): readonly Fx[] {
    this.#nowMs = Math.max(this.#nowMs, input.atMs);
    this.#effects = [];
    if (input.kind === "start") this.#onStart(input.height, input.validators);
    else if (this.#instance !== undefined) this.#onInput(this.#instance, input);
    return this.#effects;
  }

  /** Where the engine stands; undefined before the first start. */
  status(): TendermintStatus | undefined {
    const instance = this.#instance;
    if (instance === undefined) return undefined;
    const { round, step, locked, valid } = instance.rounds;
    return {
      height: instance.height,
      round,
      step,
      lockedRound: locked?.round ?? -1,
      lockedValue: locked?.value,
      validRound: valid?.round ?? -1,
      validValue: valid?.value,
      isValidator: instance.voter !== undefined,
    };
  }

  /**
   * What a peer at this height needs to get where we are: checked proposals and votes of the rounds from `fromRound`
   * on (and the one before ours, and those of the locked and valid values), proposals first. For the driver, to answer
   * a peer that missed gossip. Bounded by what is kept; empty before the first start.
   */
  messages(fromRound = 0): readonly ConsensusMessage[] {
    const instance = this.#instance;
    if (instance === undefined) return [];
    const first = Math.min(fromRound, instance.rounds.round - 1);
    const pinned = pinnedRounds(instance);
    const wanted = (round: number): boolean => round >= first || pinned.has(round);
    const messages: ConsensusMessage[] = [];
    for (const round of instance.candidates.rounds().filter(wanted)) {
      for (const { proposal, block } of instance.candidates.of(round)) messages.push({ kind: "proposal", proposal, block });
    }
    for (const round of instance.votes.rounds().filter(wanted)) {
      for (const vote of instance.votes.votesOf(round)) messages.push({ kind: "vote", vote });
    }
    return messages;
  }

  // ---- inputs

  #onStart(height: Height, validators: ValidatorSet): void {
    const before = this.#instance;
    assert(before === undefined || height > before.height, "height {} after {}", height, before?.height);
    const isVoter = this.#self !== undefined && findValidator(validators, this.#self) !== undefined;
    const instance: Instance = {
      height,
      validators,
      voter: isVoter ? this.#self : undefined,
      votes: new VoteKeeper(validators),
      candidates: new CandidateKeeper(),
      pending: new PendingMessages(),
      rounds: initialRoundState(height),
      deadlines: new Map(),
      speeches: [],
      asked: undefined,
      spoken: 0,
      promised: [],
      recorded: new Map(),
      own: [],
      accused: new Set(),
      recordedBlocks: new Set(),
      repeatAtMs: 0,
      repeats: 0,
      repeatMark: "",
    };
    this.#instance = instance;
    this.#enterRound(instance, 0, { isRestoring: false });
    this.#scheduleRepeat(instance);
  }

  #onInput(instance: Instance, input: Exclude<Input<ConsensusMessage>, { readonly kind: "start" }>): void {
    if (input.kind !== "restore") this.#resumeSpeaking(instance);
    switch (input.kind) {
      case "restore":
        // No rule is applied here: a later record may say what we did next.
        this.#onRestore(instance, input.record);
        return;
      case "tick":
        this.#onTick(instance);
        return;
      case "message":
        this.#onMessage(instance, input.from, input.message);
        return;
      case "propose":
        this.#onPropose(instance, input.height, input.round, input.block);
        return;
      case "persisted":
        this.#onPersisted(instance, input.sequence);
        break;
      case "signed":
        this.#onSigned(instance, input.id, input.signature);
        break;
      case "verified":
        this.#onVerified(instance, input.id, input.valid);
        break;
      case "judged":
        instance.candidates.judge(valueOf(input.blockHash), input.valid);
        break;
      case "found":
        break; // Nobody searches here.
      default:
        return unreachable(input);
    }
    this.#applyRules(instance);
  }

  #onTick(instance: Instance): void {
    this.#applyRules(instance);
    for (const timeout of TIMEOUTS) {
      const deadline = instance.deadlines.get(timeout);
      if (deadline === undefined || deadline > this.#nowMs) continue;
      instance.deadlines.delete(timeout);
      this.#run(instance, { kind: "timeout", timeout, round: instance.rounds.round });
      this.#applyRules(instance);
    }
    if (instance.rounds.step !== "decided" && instance.repeatAtMs <= this.#nowMs) this.#repeat(instance);
  }

  #onMessage(instance: Instance, from: string, message: ConsensusMessage): void {
    if (heightOfMessage(message) !== instance.height || instance.rounds.step === "decided") return;
    const isWanted = message.kind === "vote" ? instance.votes.wants(message.vote) : this.#wantsProposal(instance, message);
    if (!isWanted || !instance.pending.hasRoom(from, message)) return;
    this.#id += 1;
    instance.pending.add(this.#id, from, message);
    this.#effects.push({ kind: "verify", id: this.#id, message });
  }

  #onVerified(instance: Instance, id: number, isValid: boolean): void {
    const message = instance.pending.take(id);
    if (message === undefined || !isValid || instance.rounds.step === "decided") return;
    this.#accept(instance, message);
  }

  #onPropose(instance: Instance, height: Height, round: number, block: Block): void {
    const { rounds, voter } = instance;
    if (height !== instance.height || round !== rounds.round || voter === undefined) return;
    if (!this.#isProposer(instance, round) || rounds.valid !== undefined || this.#hasProposed(instance, round)) return;
    assert(
      block.header.height === height && block.header.chainId === this.#chainId,
      "built a block of {} {}",
      block.header.chainId,
      block.header.height,
    );
    instance.candidates.hold(block);
    this.#run(instance, { kind: "built", value: valueOf(block.hash) });
    this.#applyRules(instance);
  }

  #onSigned(instance: Instance, id: number, signature: Uint8Array | undefined): void {
    if (instance.asked?.id !== id) return;
    const { what, block, after } = instance.asked.speech;
    instance.asked = undefined;
    instance.speeches.shift();
    // Without a signature the guard has refused: our records are behind what it has seen, and we stay silent.
    if (signature !== undefined) {
      if (what.kind === "vote") this.#castVote(instance, { ...what.vote, signature }, after);
      else if (what.kind === "proposal")
        this.#castProposal(instance, { ...what.proposal, signature }, present(block, "proposed block"));
    }
    this.#signNext(instance);
  }

  #onPersisted(instance: Instance, sequence: number): void {
    this.#durable = Math.max(this.#durable, sequence);
    for (const [recorded, message] of instance.recorded) {
      if (recorded > sequence) continue;
      instance.recorded.delete(recorded);
      this.#hear(instance, message);
    }
    this.#signNext(instance);
  }

  /** Rebuilds what one record says. Our own messages go out again: before the crash they may not have. */
  #onRestore(instance: Instance, bytes: Uint8Array): void {
    const parsed = parseRecord(bytes);
    if (!parsed.ok) throw new CodedError("wal_record_invalid", { reason: parsed.error.code });
    const record = parsed.value;
    if (record.height !== instance.height || instance.voter === undefined) return;
    switch (record.kind) {
      case "round":
        if (record.round > instance.rounds.round) this.#enterRound(instance, record.round, { isRestoring: true });
        return;
      case "proposal": {
        const { proposal, block } = record.message;
        instance.candidates.add({ proposal, block }, true);
        instance.recordedBlocks.add(valueOf(block.hash));
        if (bytesEqual(proposal.validator, instance.voter)) this.#sayAgain(instance, record.message);
        return;
      }
      case "polka": {
        for (const vote of record.votes) instance.votes.add(vote);
        const { round, blockHash } = record.votes[0] as Vote;
        assert(instance.candidates.block(valueOf(blockHash)) !== undefined, "a recorded polka comes after its block");
        instance.rounds = restorePin(instance.rounds, { round, value: valueOf(blockHash) });
        return;
      }
      case "promise": {
        const { height, step, round, blockHash } = record;
        instance.promised = [...instance.promised, { step, height, round, blockHash, validator: instance.voter }];
        instance.rounds = restoreVote(instance.rounds, step, round, blockHash === undefined ? undefined : valueOf(blockHash));
        // Wakes us when no record is left and nothing else happens.
        this.#effects.push({ kind: "timer", atMs: this.#nowMs });
        return;
      }
      case "vote": {
        const { vote } = record;
        instance.promised = instance.promised.filter(({ round, step }) => round !== vote.round || step !== vote.step);
        instance.votes.add(vote);
        this.#sayAgain(instance, { kind: "vote", vote });
        return;
      }
      default:
        return unreachable(record);
    }
  }

  /** After a restart: votes that were promised and perhaps signed, but whose signatures we do not have. */
  #resumeSpeaking(instance: Instance): void {
    for (const vote of instance.promised) instance.speeches.push({ what: { kind: "vote", vote }, block: undefined, after: 0 });
    instance.promised = [];
    this.#signNext(instance);
  }

  // ---- what is known

  /** Takes in a message whose signature is right, or that is our own. */
  #accept(instance: Instance, message: ConsensusMessage): void {
    if (message.kind === "vote") this.#acceptVote(instance, message.vote);
    else this.#acceptProposal(instance, message);
  }

  #acceptVote(instance: Instance, vote: Vote): void {
    const outcome = instance.votes.add(vote);
    if (outcome.kind === "known" || outcome.kind === "refused" || outcome.conflict === undefined) return;
    if (!this.#accuse(instance, vote.validator, vote.step)) return;
    this.#effects.push({ kind: "evidence", evidence: doubleVoteOf(outcome.conflict, vote) });
  }

  #acceptProposal(instance: Instance, candidate: Proposed): void {
    const { proposal, block } = candidate;
    const outcome = instance.candidates.add({ proposal, block }, this.#hasQuorum(instance, proposal));
    if (outcome.kind === "known") return;
    if (outcome.conflict !== undefined && this.#accuse(instance, proposal.validator, "proposal")) {
      this.#effects.push({ kind: "evidence", evidence: doubleProposalOf(outcome.conflict, proposal) });
    }
    // The proof of lock that it names may be of a round that we have forgotten: take those votes again.
    if (proposal.round === instance.rounds.round) instance.votes.moveTo(instance.rounds.round, pinnedRounds(instance));
  }

  #accuse(instance: Instance, validator: Address, offence: VoteStep | "proposal"): boolean {
    const key = `${offence}/${signerOf(validator)}`;
    if (instance.accused.has(key)) return false;
    instance.accused.add(key);
    return true;
  }

  #wantsProposal(instance: Instance, message: Proposed): boolean {
    const { proposal, block } = message;
    const { round } = instance.rounds;
    if (proposal.round > round + PROPOSAL_ROUNDS_AHEAD_MAX) return false;
    const hasQuorum = this.#hasQuorum(instance, proposal);
    if (proposal.round < round - PAST_PROPOSAL_ROUNDS_MAX && !hasQuorum) return false;
    if (proposal.validRound < -1 || proposal.validRound >= proposal.round) return false;
    if (!bytesEqual(block.hash, proposal.blockHash)) return false;
    if (block.header.height !== instance.height || block.header.chainId !== this.#chainId) return false;
    if (!bytesEqual(proposal.validator, proposerAt(instance.validators, proposal.round).address)) return false;
    return instance.candidates.wants(proposal, hasQuorum);
  }

  /** Whether the proposed block has a quorum in some step of the proposal's round. */
  #hasQuorum(instance: Instance, { round, blockHash }: Proposal): boolean {
    const value = valueOf(blockHash);
    return instance.votes.hasPolka(round, value) || instance.votes.hasPrecommits(round, value);
  }

  /** Whether the block is valid; asks the chain when nobody has. Undefined while the block or the answer is missing. */
  #isValid(instance: Instance, value: string): boolean | undefined {
    const block = instance.candidates.takeUnjudged(value);
    if (block !== undefined) this.#effects.push({ kind: "judge", block, blockHash: block.hash });
    return instance.candidates.isValid(value);
  }

  #isProposer(instance: Instance, round: number): boolean {
    return instance.voter !== undefined && bytesEqual(instance.voter, proposerAt(instance.validators, round).address);
  }

  // ---- the rules

  /** Applies the rules of Algorithm 1 until the condition of none is met. */
  #applyRules(instance: Instance): void {
    for (;;) {
      const event = this.#dueEvent(instance);
      if (event === undefined) return;
      this.#run(instance, event);
    }
  }

  /** A rule whose condition is met and whose action is still to be taken, as an event of the round machine. */
  #dueEvent(instance: Instance): RoundEvent | undefined {
    const { step } = instance.rounds;
    if (step === "decided" || step === "unstarted") return undefined;
    return (
      this.#dueDecision(instance) ??
      this.#dueSkip(instance) ??
      (step === "propose" ? this.#duePrevote(instance) : undefined) ??
      (step === "propose" ? undefined : this.#duePolka(instance)) ??
      this.#dueTimeout(instance)
    );
  }

  /** Line 49. Of any round: late precommits of an earlier one decide as well. */
  #dueDecision(instance: Instance): RoundEvent | undefined {
    for (const round of instance.votes.rounds()) {
      for (const value of instance.votes.quorumsOf("precommit", round)) {
        if (this.#isValid(instance, value) === true) return { kind: "precommitValue", round, value };
      }
    }
    return undefined;
  }

  /** Line 55. */
  #dueSkip(instance: Instance): RoundEvent | undefined {
    const round = instance.votes.roundToSkipTo();
    return round === undefined ? undefined : { kind: "skip", round };
  }

  /** Lines 22 and 28. */
  #duePrevote(instance: Instance): RoundEvent | undefined {
    const { round } = instance.rounds;
    for (const { proposal } of instance.candidates.of(round)) {
      const value = valueOf(proposal.blockHash);
      const { validRound } = proposal;
      const valid = this.#isValid(instance, value);
      if (valid === undefined) continue;
      if (validRound === -1) return { kind: "proposal", value, valid };
      // An invalid block gets nil with its polka or without: nothing that could still come makes it valid.
      if (!valid || instance.votes.hasPolka(validRound, value)) return { kind: "proposalAndPolka", value, validRound, valid };
    }
    return undefined;
  }

  /** Lines 36 and 44. */
  #duePolka(instance: Instance): RoundEvent | undefined {
    const { round, step, valid } = instance.rounds;
    if (valid?.round !== round) {
      for (const value of instance.votes.quorumsOf("prevote", round)) {
        if (this.#isValid(instance, value) === true) return { kind: "polkaValue", value };
      }
    }
    return step === "prevote" && instance.votes.hasPolka(round, undefined) ? { kind: "polkaNil" } : undefined;
  }

  /** Lines 34 and 47. */
  #dueTimeout(instance: Instance): RoundEvent | undefined {
    const { round, step, prevoteTimeoutScheduled, precommitTimeoutScheduled } = instance.rounds;
    if (step === "prevote" && !prevoteTimeoutScheduled && instance.votes.hasPolkaOfAny(round)) return { kind: "polkaAny" };
    if (!precommitTimeoutScheduled && instance.votes.hasPrecommitsOfAny(round)) return { kind: "precommitAny" };
    return undefined;
  }

  /** Gives the round machine an event and does what it says. */
  #run(instance: Instance, event: RoundEvent): void {
    const before = instance.rounds;
    const { state, outputs } = onRoundEvent(before, event);
    instance.rounds = state;
    if (state.valid !== undefined && state.valid !== before.valid)
      this.#recordPolka(instance, state.valid.round, state.valid.value);
    for (const output of outputs) this.#perform(instance, output);
  }

  #perform(instance: Instance, output: RoundOutput): void {
    switch (output.kind) {
      case "build":
        this.#effects.push({ kind: "build", height: instance.height, round: output.round });
        return;
      case "propose":
        this.#propose(instance, output.round, output.value, output.validRound);
        return;
      case "vote":
        this.#vote(instance, output.step, output.round, output.value);
        return;
      case "schedule":
        this.#schedule(instance, output.timeout, output.round);
        return;
      case "enter":
        this.#enterRound(instance, output.round, { isRestoring: false });
        return;
      case "decide":
        this.#decide(instance, output.round, output.value);
        return;
      default:
        return unreachable(output);
    }
  }

  #enterRound(instance: Instance, round: number, options: { readonly isRestoring: boolean }): void {
    assert(round <= ROUND_MAX, "round {}", round);
    if (round > 0 && !options.isRestoring && instance.voter !== undefined)
      this.#persist(instance, { kind: "round", height: instance.height, round });
    instance.deadlines.clear();
    instance.own = instance.own.filter((message) => roundOfMessage(message) >= round - 1);
    const pinned = pinnedRounds(instance);
    const { locked, valid } = instance.rounds;
    const blocks = [locked, valid].flatMap((pin) =>
      pin === undefined || instance.candidates.block(pin.value) === undefined ? [] : [pin.value],
    );
    instance.votes.moveTo(round, pinned);
    // While records are read back, a later one may be about a block of any round before: nothing is let go yet.
    if (!options.isRestoring)
      instance.candidates.retain((proposal) => this.#keepsProposal(instance, proposal, round, pinned), blocks);
    if (options.isRestoring) instance.rounds = { ...instance.rounds, step: "unstarted" };
    this.#run(instance, { kind: "newRound", round, isProposer: this.#isProposer(instance, round) });
  }

  #keepsProposal(instance: Instance, proposal: Proposal, round: number, pinned: ReadonlySet<number>): boolean {
    return (
      proposal.round >= round - PAST_PROPOSAL_ROUNDS_MAX || pinned.has(proposal.round) || this.#hasQuorum(instance, proposal)
    );
  }

  #schedule(instance: Instance, timeout: Timeout, round: number): void {
    const { timeoutProposeMs, timeoutPrevoteMs, timeoutPrecommitMs, timeoutGrowthMs } = this.#parameters;
    const firstMs = { propose: timeoutProposeMs, prevote: timeoutPrevoteMs, precommit: timeoutPrecommitMs }[timeout];
    const atMs = this.#nowMs + firstMs + round * timeoutGrowthMs;
    instance.deadlines.set(timeout, atMs);
    this.#effects.push({ kind: "timer", atMs });
  }

  #decide(instance: Instance, round: number, value: string): void {
    const block = present(instance.candidates.block(value), "decided block");
    const votes = instance.votes.votesFor("precommit", round, value);
    const signatures = instance.validators.validators.flatMap(({ address }) => {
      const vote = votes.get(signerOf(address));
      return vote === undefined ? [] : [{ validator: address, signature: vote.signature }];
    });
    const certificate: Certificate = { kind: "quorum", height: instance.height, round, blockHash: block.hash, signatures };
    instance.deadlines.clear();
    instance.pending.clear();
    instance.speeches.length = 0;
    instance.asked = undefined;
    this.#effects.push({ kind: "final", block, height: instance.height, certificate });
  }

  // ---- speaking

  #vote(instance: Instance, step: VoteStep, round: number, value: string | undefined): void {
    const { voter, height } = instance;
    if (voter === undefined) return;
    const blockHash: Hash | undefined =
      value === undefined ? undefined : present(instance.candidates.block(value), "voted block").hash;
    const after = this.#persist(instance, { kind: "promise", height, step, round, blockHash });
    instance.speeches.push({
      what: { kind: "vote", vote: { step, height, round, blockHash, validator: voter } },
      block: undefined,
      after,
    });
    this.#signNext(instance);
  }

  #propose(instance: Instance, round: number, value: string, validRound: number): void {
    const block = present(instance.candidates.block(value), "proposed block");
    const validator = present(instance.voter, "proposer");
    const proposal = { height: instance.height, round, blockHash: block.hash, validRound, validator };
    instance.speeches.push({ what: { kind: "proposal", proposal }, block, after: 0 });
    this.#signNext(instance);
  }

  #signNext(instance: Instance): void {
    const speech = instance.speeches[0];
    if (speech === undefined || instance.asked !== undefined || Math.max(speech.after, instance.spoken) > this.#durable) return;
    this.#id += 1;
    instance.asked = { id: this.#id, speech };
    this.#effects.push({ kind: "sign", id: this.#id, what: speech.what });
  }

  /** Our vote is promised and signed: it goes out, and counts. */
  #castVote(instance: Instance, vote: Vote, promised: number): void {
    instance.spoken = this.#persist(instance, { kind: "vote", height: instance.height, vote });
    const message = { kind: "vote", vote } as const;
    this.#effects.push({ kind: "send", to: "all", message, after: promised === 0 ? undefined : promised });
    this.#hear(instance, message);
  }

  /** Our proposal is signed: it goes out, and counts, once it is recorded. */
  #castProposal(instance: Instance, proposal: Proposal, block: Block): void {
    if (proposal.round !== instance.rounds.round || this.#hasProposed(instance, proposal.round)) return;
    const message = { kind: "proposal", proposal, block } as const;
    instance.spoken = this.#persist(instance, { kind: "proposal", height: instance.height, message });
    instance.recordedBlocks.add(valueOf(proposal.blockHash));
    instance.recorded.set(instance.spoken, message);
    this.#effects.push({ kind: "send", to: "all", message, after: instance.spoken });
    this.#sendPolkaOf(instance, proposal);
  }

  /** Our own word, as though it had come back from the network. */
  #hear(instance: Instance, message: ConsensusMessage): void {
    instance.own = [...instance.own, message];
    this.#accept(instance, message);
  }

  /** A word from before the restart, which the network may never have got. */
  #sayAgain(instance: Instance, message: ConsensusMessage): void {
    instance.own = [...instance.own, message];
    this.#effects.push({ kind: "send", to: "all", message, after: undefined });
  }

  #hasProposed(instance: Instance, round: number): boolean {
    const isMine = (message: ConsensusMessage): boolean => message.kind === "proposal" && message.proposal.round === round;
    if (instance.own.some(isMine) || [...instance.recorded.values()].some(isMine)) return true;
    return instance.speeches.some(({ what }) => what.kind === "proposal" && what.proposal.round === round);
  }

  #persist(instance: Instance, record: WalRecord): number {
    assert(instance.voter !== undefined, "an observer promises nothing");
    this.#sequence += 1;
    this.#effects.push({ kind: "persist", sequence: this.#sequence, record: encodeRecord(record) });
    return this.#sequence;
  }

  /** Before we say a word for it: the block that got a polka, and the votes that prove the polka. */
  #recordPolka(instance: Instance, round: number, value: string): void {
    if (instance.voter === undefined) return;
    const { height, candidates, recordedBlocks } = instance;
    if (!recordedBlocks.has(value)) {
      recordedBlocks.add(value);
      const found = candidates
        .rounds()
        .flatMap((known) => candidates.of(known))
        .find(({ proposal }) => valueOf(proposal.blockHash) === value);
      const { proposal, block } = present(found, "proposal of a valid block");
      this.#persist(instance, { kind: "proposal", height, message: { kind: "proposal", proposal, block } });
    }
    this.#persist(instance, { kind: "polka", height, votes: [...instance.votes.votesFor("prevote", round, value).values()] });
  }

  /** Whoever is to follow an old value needs its polka, and some of those votes may have reached only us. */
  #sendPolkaOf(instance: Instance, proposal: Omit<Proposal, "signature">): void {
    if (proposal.validRound < 0) return;
    for (const vote of instance.votes.votesFor("prevote", proposal.validRound, valueOf(proposal.blockHash)).values()) {
      this.#effects.push({ kind: "send", to: "all", message: { kind: "vote", vote }, after: undefined });
    }
  }

  #scheduleRepeat(instance: Instance): void {
    const { round, step } = instance.rounds;
    instance.repeatMark = `${round}/${step}`;
    const factor = Math.min(instance.repeats + 1, REPEAT_GROWTH_MAX);
    instance.repeatAtMs = this.#nowMs + this.#parameters.timeoutPrevoteMs * factor;
    this.#effects.push({ kind: "timer", atMs: instance.repeatAtMs });
  }

  /**
   * Nothing has moved since the last time: what we said may have been lost.
   *
   * Our votes of this round and the one before are enough to bring every honest validator along: to be in a round,
   * more than 1/3 honest power must have precommitted in the one before it.
   */
  #repeat(instance: Instance): void {
    const { round, step } = instance.rounds;
    if (instance.repeatMark === `${round}/${step}`) {
      instance.repeats += 1;
      for (const message of instance.own) {
        if (message.kind === "proposal" && roundOfMessage(message) < round) continue;
        this.#effects.push({ kind: "send", to: "all", message, after: undefined });
        if (message.kind === "proposal") this.#sendPolkaOf(instance, message.proposal);
      }
    } else {
      instance.repeats = 0;
    }
    this.#scheduleRepeat(instance);
  }
}

/** Rounds that must be kept however old: of the lock, of the valid value, and of the proof that a proposal names. */
function pinnedRounds(instance: Instance): ReadonlySet<number> {
  const { round, locked, valid } = instance.rounds;
  const pinned = new Set<number>();
  if (locked !== undefined) pinned.add(locked.round);
  if (valid !== undefined) pinned.add(valid.round);
  for (const { proposal } of instance.candidates.of(round)) if (proposal.validRound >= 0) pinned.add(proposal.validRound);
  return pinned;
}
