/**
 * PBFT as an engine: the messages, checks, promises and timers around the view machine.
 *
 * Layers, each checked alone: `quorum/` counts power, `rules.ts` says who may say what and recomputes new-views,
 * `views.ts` is the protocol as a pure function, and this file feeds it. Whatever comes in only adds to what is known
 * (`votes.ts`, `changes.ts`, `../proposals/candidates.ts`); then `#applyRules` asks which rule has its condition met and applies it,
 * until none has. So no order of arrival can make a rule be missed.
 *
 * A message counts once every signature in it is checked (`verify`), and a block may be prepared once the chain has
 * executed it (`judge`). To vote is to record a promise; when that is durable the vote is signed, and only then sent
 * and counted here, like anybody's. Signatures are asked for one at a time, the next when the last signed word is
 * durable, so that a crash leaves at most the newest word in doubt, and that one the guard will sign again as it was.
 *
 * Where we differ from Castro and Liskov, and why: `../decisions/0002-pbft-over-a-chain.md`.
 */

import { assert, present, unreachable } from "../../crypto/base/assert.ts";
import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { Block, Header } from "../../chain/block/block.ts";
import { doubleProposalOf, doubleVoteOf } from "../../chain/block/evidence.ts";
import type { Height } from "../../chain/block/height.ts";
import type { PbftProtocol } from "../../chain/block/protocol.ts";
import { findValidator, type ValidatorSet } from "../../chain/block/validators.ts";
import type { Certificate, CertificateSignature, Proposal, Vote, VoteStep } from "../../chain/block/vote.ts";
import type { Effect, Engine, Input, Unsigned } from "../engine.ts";
import { CandidateKeeper } from "../proposals/candidates.ts";
import { ViewChangeKeeper } from "./changes.ts";
import {
  blockOfMessage,
  type Candidate,
  heightOfMessage,
  type PbftMessage,
  type PreparedProof,
  type ViewChange,
  type ViewChangeMessage,
  viewChangeSigningBytes,
  viewOfMessage,
} from "./message.ts";
import { PendingMessages } from "./pending.ts";
import { primaryOf } from "./primary.ts";
import { encodeRecord, parseRecord, type WalRecord } from "./record.ts";
import { impliedBy, mayCome } from "./rules.ts";
import {
  INITIAL_VIEW_STATE,
  onViewEvent,
  restoreChange,
  restoreLead,
  restorePrepare,
  restorePrepared,
  type ViewEvent,
  type ViewOutput,
  type ViewState,
  type ViewStep,
} from "./views.ts";
import { valueOf, VoteKeeper } from "./votes.ts";

/** What an engine is made for. Without `self` it is an observer, which follows and never speaks. */
export type PbftOptions = {
  readonly chainId: string;
  readonly self: Address | undefined;
  readonly protocol: PbftProtocol;
};

/** Where the engine stands, for the driver, metrics and operators. */
export type PbftStatus = {
  readonly height: Height;
  /** The view it is in, or wants to be in. */
  readonly round: number;
  readonly step: ViewStep;
  /** The highest view in which it prepared a block, or -1. */
  readonly preparedView: number;
  readonly isValidator: boolean;
};

/** Repeats of our last messages come at growing distances, up to this many times the first. */
const REPEAT_GROWTH_MAX = 8;

/** Of the time for view 0, two bits less: the first repeat comes after a quarter of it. */
const REPEAT_SHIFT = 2;

/** 2^27 ms is more than a day, the longest timeout that a network file can ask for. */
const DOUBLINGS_MAX = 27;

type Fx = Effect<PbftMessage>;

/** What we are about to say. It is signed once record `after` is durable. */
type Speech =
  | { readonly kind: "vote"; readonly view: number; readonly vote: Omit<Vote, "signature">; readonly after: number }
  | {
      readonly kind: "lead";
      readonly view: number;
      readonly proposal: Omit<Proposal, "signature">;
      readonly block: Block;
      readonly after: number;
    }
  | {
      readonly kind: "change";
      readonly view: number;
      readonly change: Omit<ViewChange, "signature">;
      readonly proof: PreparedProof | undefined;
      readonly after: number;
    };

/** As the primary of a view to come: what its new-view follows from. */
type Support = {
  readonly view: number;
  readonly viewChanges: readonly ViewChange[];
  readonly prepares: readonly CertificateSignature[];
};

/** All that belongs to one height. */
type Instance = {
  readonly height: Height;
  readonly validators: ValidatorSet;
  readonly parent: Header | undefined;
  /** Our address, when we vote at this height. */
  readonly voter: Address | undefined;
  readonly votes: VoteKeeper;
  readonly changes: ViewChangeKeeper;
  readonly candidates: CandidateKeeper<Candidate>;
  readonly pending: PendingMessages;
  state: ViewState;
  /** When the timer of this view ends. */
  deadlineMs: number | undefined;
  /** The certificate of what we prepared in the highest view: what our view-changes prove. */
  proof: PreparedProof | undefined;
  support: Support | undefined;
  /** What is to be signed, in order. */
  readonly speeches: Speech[];
  /** The first of them, while its signature is on the way. */
  asked: { readonly id: number; readonly speech: Speech } | undefined;
  /** The record of the last signed word. */
  spoken: number;
  /** Promises of the write-ahead log whose votes it does not hold. */
  promised: readonly Omit<Vote, "signature">[];
  /** Records were read back, and what follows from them is still to be done. */
  isRestored: boolean;
  /** Our pre-prepares, recorded but not durable yet, by the sequence of the record. */
  readonly recorded: Map<number, Candidate>;
  /** What we said in this view, and to get into it: what may be repeated. */
  own: readonly PbftMessage[];
  /** What evidence was given for: once a validator and kind is enough. */
  readonly accused: Set<string>;
  /** Blocks that are in the write-ahead log. */
  readonly recordedBlocks: Set<string>;
  repeatAtMs: number;
  repeats: number;
  repeatMark: string;
};

/** The engine. It runs one height after the other, and keeps nothing from one to the next. */
export class PbftEngine implements Engine<PbftMessage> {
  readonly name = "pbft";
  readonly #chainId: string;
  readonly #self: Address | undefined;
  readonly #protocol: PbftProtocol;
  #instance: Instance | undefined;
  #effects: Fx[] = [];
  #nowMs = 0;
  #sequence = 0;
  #durable = 0;
  #id = 0;

  constructor({ chainId, self, protocol }: PbftOptions) {
    const { viewTimeoutMs, viewTimeoutMsMax } = protocol;
    assert(Number.isSafeInteger(viewTimeoutMs) && viewTimeoutMs > 0, "view timeout is {} ms", viewTimeoutMs);
    assert(Number.isSafeInteger(viewTimeoutMsMax) && viewTimeoutMsMax >= viewTimeoutMs, "at most {} ms", viewTimeoutMsMax);
    this.#chainId = chainId;
    this.#self = self;
    this.#protocol = protocol;
  }

  /** Takes one input; what it returns is to be done in order. Inputs about earlier heights do nothing. */
  step(input: Input<PbftMessage>): readonly Fx[] {
    this.#nowMs = Math.max(this.#nowMs, input.atMs);
    this.#effects = [];
    if (input.kind === "start") this.#onStart(input);
    else if (this.#instance !== undefined) this.#onInput(this.#instance, input);
    return this.#effects;
  }

  /** Where the engine stands; undefined before the first start. */
  status(): PbftStatus | undefined {
    const instance = this.#instance;
    if (instance === undefined) return undefined;
    const { view, step, prepared } = instance.state;
    return {
      height: instance.height,
      round: view,
      step,
      preparedView: prepared?.view ?? -1,
      isValidator: instance.voter !== undefined,
    };
  }

  /**
   * Checked messages of the views that are kept, by view, and in it view-changes, pre-prepares and votes. Of views that
   * are over only commits: nothing else of them counts any more.
   */
  messages(): readonly PbftMessage[] {
    const instance = this.#instance;
    if (instance === undefined) return [];
    const { changes, candidates, votes } = instance;
    const said: PbftMessage[] = changes.all().map((change) => this.#withProof(instance, change));
    for (const view of candidates.rounds()) said.push(...candidates.of(view));
    for (const view of votes.views()) {
      for (const vote of votes.votesOf(view))
        if (view >= instance.state.view || vote.step === "precommit") said.push({ kind: "vote", vote });
    }
    return said.toSorted((a, b) => viewOfMessage(a) - viewOfMessage(b));
  }

  #withProof({ changes, candidates }: Instance, viewChange: ViewChange): ViewChangeMessage {
    const { prepared } = viewChange;
    if (prepared === undefined) return { kind: "viewChange", viewChange, proof: undefined };
    const prepares = present(changes.proofOf(prepared), "proof of a kept claim");
    const block = present(candidates.block(valueOf(prepared.blockHash)), "block of a kept claim");
    return { kind: "viewChange", viewChange, proof: { prepares, block } };
  }

  // ---- inputs

  #onStart({ height, validators, parent }: Input<PbftMessage> & { readonly kind: "start" }): void {
    const before = this.#instance;
    assert(before === undefined || height > before.height, "height {} after {}", height, before?.height);
    const isVoter = this.#self !== undefined && findValidator(validators, this.#self) !== undefined;
    const instance: Instance = {
      height,
      validators,
      parent,
      voter: isVoter ? this.#self : undefined,
      votes: new VoteKeeper(validators),
      changes: new ViewChangeKeeper(validators),
      candidates: new CandidateKeeper(),
      pending: new PendingMessages(),
      state: INITIAL_VIEW_STATE,
      deadlineMs: undefined,
      proof: undefined,
      support: undefined,
      speeches: [],
      asked: undefined,
      spoken: 0,
      promised: [],
      isRestored: false,
      recorded: new Map(),
      own: [],
      accused: new Set(),
      recordedBlocks: new Set(),
      repeatAtMs: 0,
      repeats: 0,
      repeatMark: "",
    };
    this.#instance = instance;
    this.#startTimer(instance, 0);
    if (this.#isPrimary(instance, 0)) this.#effects.push({ kind: "build", height, round: 0 });
    this.#scheduleRepeat(instance);
  }

  #onInput(instance: Instance, input: Exclude<Input<PbftMessage>, { readonly kind: "start" }>): void {
    if (input.kind !== "restore") this.#resume(instance);
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
        break;
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
    if (instance.deadlineMs !== undefined && instance.deadlineMs <= this.#nowMs) {
      instance.deadlineMs = undefined;
      this.#run(instance, { kind: "timeout" });
      this.#applyRules(instance);
    }
    if (instance.state.step !== "decided" && instance.repeatAtMs <= this.#nowMs) this.#repeat(instance);
  }

  #onMessage(instance: Instance, from: string, message: PbftMessage): void {
    if (heightOfMessage(message) !== instance.height || !mayCome(message, instance.validators, instance.parent)) return;
    if (!this.#wants(instance, message)) return;
    const block = blockOfMessage(message);
    const hasNewBlock = block !== undefined && instance.candidates.block(valueOf(block.hash)) === undefined;
    this.#id += 1;
    if (instance.pending.add(this.#id, from, message, hasNewBlock)) this.#effects.push({ kind: "verify", id: this.#id, message });
  }

  #onVerified(instance: Instance, id: number, isValid: boolean): void {
    const message = instance.pending.take(id);
    // Since it came we may have moved on.
    if (message !== undefined && isValid && this.#wants(instance, message)) this.#accept(instance, message);
  }

  #onPropose(instance: Instance, height: Height, round: number, block: Block): void {
    const { view, step, isLeading } = instance.state;
    if (height !== instance.height || round !== view || !this.#isPrimary(instance, round)) return;
    const isOurTurn = view === 0 ? step === "prePrepare" : step === "viewChange" && isLeading;
    // What follows from the view-changes is no free choice.
    if (!isOurTurn || this.#hasLed(instance, round) || (instance.support?.prepares.length ?? 0) > 0) return;
    assert(
      block.header.height === height && block.header.chainId === this.#chainId,
      "built a block of {} {}",
      block.header.chainId,
      block.header.height,
    );
    instance.candidates.hold(block);
    this.#lead(instance, view, valueOf(block.hash));
  }

  #onSigned(instance: Instance, id: number, signature: Uint8Array | undefined): void {
    if (instance.asked?.id !== id) return;
    const { speech } = instance.asked;
    instance.asked = undefined;
    instance.speeches.shift();
    // Without a signature the guard has refused: our records are behind what it has seen, and we stay silent.
    if (signature !== undefined) this.#say(instance, speech, signature);
    this.#signNext(instance);
  }

  #onPersisted(instance: Instance, sequence: number): void {
    this.#durable = Math.max(this.#durable, sequence);
    for (const [recorded, message] of instance.recorded) {
      if (recorded > sequence) continue;
      instance.recorded.delete(recorded);
      if (this.#wants(instance, message)) this.#hear(instance, message);
    }
    this.#signNext(instance);
  }

  // ---- restart

  /** Rebuilds what one record says. Our own votes and pre-prepares go out again: before the crash they may not have. */
  #onRestore(instance: Instance, bytes: Uint8Array): void {
    const parsed = parseRecord(bytes);
    if (!parsed.ok) throw new CodedError("wal_record_invalid", { reason: parsed.error.code });
    const record = parsed.value;
    const { voter, height } = instance;
    if (record.height !== height || voter === undefined) return;
    const { state } = instance;
    switch (record.kind) {
      case "change":
        instance.state = restoreChange(state, record.view);
        instance.promised = [];
        instance.own = [];
        break;
      case "lead":
        instance.state = restoreLead(state, record.message.proposal.round);
        instance.candidates.add(record.message, true);
        instance.recordedBlocks.add(valueOf(record.message.block.hash));
        this.#sayAgain(instance, record.message);
        break;
      case "prepare": {
        const { view, blockHash } = record;
        instance.state = restorePrepare(state, view, valueOf(blockHash));
        instance.promised = [...instance.promised, { step: "prevote", height, round: view, blockHash, validator: voter }];
        break;
      }
      case "block":
        instance.candidates.hold(record.block);
        instance.recordedBlocks.add(valueOf(record.block.hash));
        break;
      case "prepared": {
        const { view, blockHash, prepares } = record;
        const value = valueOf(blockHash);
        instance.state = restorePrepared(state, view, value);
        instance.proof = { prepares, block: present(instance.candidates.block(value), "block of a prepared record") };
        instance.promised = [...instance.promised, { step: "precommit", height, round: view, blockHash, validator: voter }];
        break;
      }
      case "vote": {
        const { vote } = record;
        instance.promised = instance.promised.filter(({ round, step }) => round !== vote.round || step !== vote.step);
        instance.votes.add(vote);
        this.#sayAgain(instance, { kind: "vote", vote });
        break;
      }
      default:
        return unreachable(record);
    }
    instance.votes.moveTo(instance.state.view);
    instance.isRestored = true;
    // Wakes us when no record is left and nothing else happens.
    this.#effects.push({ kind: "timer", atMs: this.#nowMs });
  }

  /** After a restart: the timer of the view where we stood, and words that were promised but are not recorded as said. */
  #resume(instance: Instance): void {
    if (!instance.isRestored) return;
    instance.isRestored = false;
    const { view, step } = instance.state;
    instance.changes.moveTo(view);
    for (const vote of instance.promised) instance.speeches.push({ kind: "vote", view: vote.round, vote, after: 0 });
    instance.promised = [];
    if (step === "viewChange") {
      instance.deadlineMs = undefined;
      this.#askForView(instance, view, 0);
    } else {
      this.#startTimer(instance, view);
    }
    this.#signNext(instance);
  }

  // ---- what is known

  /** Whether a message that its signer may say is of any use where we stand. */
  #wants(instance: Instance, message: PbftMessage): boolean {
    const { view, step } = instance.state;
    if (step === "decided") return false;
    const block = blockOfMessage(message);
    if (block !== undefined && block.header.chainId !== this.#chainId) return false;
    switch (message.kind) {
      case "vote":
        return instance.votes.wants(message.vote);
      case "viewChange": {
        const { viewChange } = message;
        // Once a view has begun, nobody's wish for it matters any more.
        const isAhead = viewChange.view > view || (viewChange.view === view && step === "viewChange");
        return isAhead && instance.changes.wants(viewChange);
      }
      case "prePrepare":
      case "newView": {
        const { proposal } = message;
        const isCommitted = instance.votes.isCommitted(proposal.round, valueOf(proposal.blockHash));
        if (proposal.round < view && !isCommitted) return false;
        return instance.candidates.wants(proposal, isCommitted);
      }
      default:
        return unreachable(message);
    }
  }

  /** Takes in a message whose signatures are right, or that is our own. */
  #accept(instance: Instance, message: PbftMessage): void {
    switch (message.kind) {
      case "vote":
        this.#acceptVote(instance, message.vote);
        return;
      case "viewChange":
        this.#acceptViewChange(instance, message);
        return;
      case "prePrepare":
      case "newView":
        this.#acceptPrePrepare(instance, message);
        return;
      default:
        return unreachable(message);
    }
  }

  #acceptVote(instance: Instance, vote: Vote): void {
    const outcome = instance.votes.add(vote);
    if (outcome.kind === "ignored" || outcome.conflict === undefined) return;
    if (this.#accuse(instance, vote.validator, vote.step))
      this.#effects.push({ kind: "evidence", evidence: doubleVoteOf(outcome.conflict, vote) });
  }

  #acceptViewChange(instance: Instance, { viewChange, proof }: ViewChangeMessage): void {
    instance.changes.add(viewChange, proof?.prepares ?? []);
    if (proof !== undefined) instance.candidates.hold(proof.block);
  }

  #acceptPrePrepare(instance: Instance, candidate: Candidate): void {
    const { proposal } = candidate;
    const isCommitted = instance.votes.isCommitted(proposal.round, valueOf(proposal.blockHash));
    const outcome = instance.candidates.add(candidate, isCommitted);
    if (outcome.kind !== "known" && outcome.conflict !== undefined && this.#accuse(instance, proposal.validator, "proposal"))
      this.#effects.push({ kind: "evidence", evidence: doubleProposalOf(outcome.conflict, proposal) });
    if (candidate.kind === "newView") this.#run(instance, { kind: "newView", view: proposal.round });
  }

  #accuse(instance: Instance, validator: Address, offence: VoteStep | "proposal"): boolean {
    const key = `${offence}/${toHex(validator)}`;
    if (instance.accused.has(key)) return false;
    instance.accused.add(key);
    return true;
  }

  /** Whether the block is valid; asks the chain when nobody has. Undefined while the block or the answer is missing. */
  #isValid(instance: Instance, value: string): boolean | undefined {
    const block = instance.candidates.takeUnjudged(value);
    if (block !== undefined) this.#effects.push({ kind: "judge", block, blockHash: block.hash });
    return instance.candidates.isValid(value);
  }

  #isPrimary({ voter, validators, parent }: Instance, view: number): boolean {
    return voter !== undefined && bytesEqual(voter, primaryOf(validators, parent, view).address);
  }

  // ---- the rules

  /** Applies the rules until the condition of none is met. */
  #applyRules(instance: Instance): void {
    for (;;) {
      const event = this.#dueEvent(instance);
      if (event === undefined) return;
      this.#run(instance, event);
    }
  }

  /** A rule whose condition is met and whose action is still to be taken, as an event of the view machine. */
  #dueEvent(instance: Instance): ViewEvent | undefined {
    const { step } = instance.state;
    if (step === "decided") return undefined;
    const due = this.#dueDecision(instance) ?? this.#dueJoin(instance);
    if (due !== undefined) return due;
    if (step === "viewChange") return this.#dueTimer(instance) ?? this.#dueNewView(instance);
    if (step === "prePrepare") return this.#duePrepare(instance);
    return step === "prepare" ? this.#dueCommit(instance) : undefined;
  }

  /** Committed-local: commits of more than 2/3 for one block in one view, whichever it is. 4.2. */
  #dueDecision(instance: Instance): ViewEvent | undefined {
    for (const view of instance.votes.views()) {
      for (const value of instance.votes.committedIn(view)) {
        if (this.#isValid(instance, value) === true) return { kind: "committed", view, value };
      }
    }
    return undefined;
  }

  /** View-changes of more than 1/3 for later views: to the least of them, without waiting for our timer. 4.5.2. */
  #dueJoin(instance: Instance): ViewEvent | undefined {
    const view = instance.changes.viewToJoin(instance.state.view);
    return view === undefined ? undefined : { kind: "join", view };
  }

  /** The timer of a view runs once enough want it: whoever is alone does not run ahead. 4.5.2. */
  #dueTimer(instance: Instance): ViewEvent | undefined {
    const { view, isTimed } = instance.state;
    return !isTimed && instance.changes.isWanted(view) ? { kind: "wanted" } : undefined;
  }

  /** The primary of the view that we want, and view-changes of more than 2/3 for it. 4.4. */
  #dueNewView(instance: Instance): ViewEvent | undefined {
    const { view, isLeading } = instance.state;
    if (isLeading || !this.#isPrimary(instance, view) || !instance.changes.hasQuorumFor(view)) return undefined;
    const viewChanges = instance.changes.of(view);
    const claim = impliedBy(viewChanges);
    const prepares = claim === undefined ? [] : present(instance.changes.proofOf(claim), "proof of a kept claim");
    instance.support = { view, viewChanges, prepares };
    return { kind: "lead", value: claim === undefined ? undefined : valueOf(claim.blockHash) };
  }

  /** The first pre-prepare of this view, once its block is judged valid. 4.2. */
  #duePrepare(instance: Instance): ViewEvent | undefined {
    const [first] = instance.candidates.of(instance.state.view);
    if (first === undefined) return undefined;
    const value = valueOf(first.proposal.blockHash);
    return this.#isValid(instance, value) === true ? { kind: "prePrepared", value } : undefined;
  }

  /** Prepared: our own pre-prepare accepted, and prepares of more than 2/3 for it in this view. 4.2. */
  #dueCommit(instance: Instance): ViewEvent | undefined {
    const { view, accepted } = instance.state;
    const value = present(accepted, "accepted value");
    if (!instance.votes.isPrepared(view, value) || this.#isValid(instance, value) !== true) return undefined;
    return { kind: "prepared", value };
  }

  /** Gives the view machine an event and does what it says. */
  #run(instance: Instance, event: ViewEvent): void {
    const { state, outputs } = onViewEvent(instance.state, event);
    instance.state = state;
    for (const output of outputs) this.#perform(instance, output);
  }

  #perform(instance: Instance, output: ViewOutput): void {
    switch (output.kind) {
      case "prepare":
        this.#prepare(instance, output.view, output.value);
        return;
      case "commit":
        this.#commit(instance, output.view, output.value);
        return;
      case "changeView":
        this.#changeView(instance, output.view);
        return;
      case "enterView":
        this.#leaveViewsBefore(instance, output.view);
        return;
      case "startTimer":
        this.#startTimer(instance, output.view);
        return;
      case "build":
        this.#effects.push({ kind: "build", height: instance.height, round: output.view });
        return;
      case "propose":
        this.#lead(instance, output.view, output.value);
        return;
      case "decide":
        this.#decide(instance, output.view, output.value);
        return;
      default:
        return unreachable(output);
    }
  }

  #startTimer(instance: Instance, view: number): void {
    const { viewTimeoutMs, viewTimeoutMsMax } = this.#protocol;
    const timeoutMs = Math.min(viewTimeoutMs * 2 ** Math.min(view, DOUBLINGS_MAX), viewTimeoutMsMax);
    instance.deadlineMs = this.#nowMs + timeoutMs;
    this.#effects.push({ kind: "timer", atMs: instance.deadlineMs });
  }

  /** The view before is over: it is recorded, and then said. */
  #changeView(instance: Instance, view: number): void {
    instance.deadlineMs = undefined;
    this.#leaveViewsBefore(instance, view);
    if (instance.voter === undefined) return;
    const after = this.#persist(instance, { kind: "change", height: instance.height, view });
    this.#askForView(instance, view, after);
    this.#signNext(instance);
  }

  #askForView(instance: Instance, view: number, after: number): void {
    const { height, state, proof } = instance;
    const validator = present(instance.voter, "voter");
    const prepared =
      state.prepared === undefined
        ? undefined
        : { view: state.prepared.view, blockHash: present(proof, "proof of what is prepared").block.hash };
    instance.speeches.push({ kind: "change", view, change: { height, view, prepared, validator }, proof, after });
  }

  /** What was not yet said in earlier views never will be, and what they left behind is let go, within the windows. */
  #leaveViewsBefore(instance: Instance, view: number): void {
    const { speeches, asked, votes, changes, candidates, state } = instance;
    const kept = speeches.filter((speech) => speech === asked?.speech || speech.view >= view);
    speeches.splice(0, speeches.length, ...kept);
    instance.own = instance.own.filter((message) => viewOfMessage(message) >= view);
    instance.support = instance.support?.view === view ? instance.support : undefined;
    votes.moveTo(view);
    changes.moveTo(view);
    const pinned = new Set<string>();
    if (state.prepared !== undefined) pinned.add(state.prepared.value);
    for (const { prepared } of changes.all()) if (prepared !== undefined) pinned.add(valueOf(prepared.blockHash));
    for (const past of votes.views()) for (const value of votes.committedIn(past)) pinned.add(value);
    for (const speech of speeches) if (speech.kind === "lead") pinned.add(valueOf(speech.block.hash));
    candidates.retain((proposal) => this.#keepsProposal(instance, proposal), pinned);
  }

  /** Late commits of an earlier view may still decide its block. */
  #keepsProposal({ votes, state }: Instance, { round, blockHash }: Proposal): boolean {
    return round >= state.view - 1 || votes.isCommitted(round, valueOf(blockHash));
  }

  #decide(instance: Instance, round: number, value: string): void {
    const { height } = instance;
    const block = present(instance.candidates.block(value), "decided block");
    const signatures = instance.votes.signaturesFor("precommit", round, value);
    const certificate: Certificate = { kind: "quorum", height, round, blockHash: block.hash, signatures };
    instance.deadlineMs = undefined;
    instance.pending.clear();
    instance.speeches.length = 0;
    instance.asked = undefined;
    this.#effects.push({ kind: "final", block, height, certificate });
  }

  // ---- speaking

  #prepare(instance: Instance, view: number, value: string): void {
    const { voter, height } = instance;
    if (voter === undefined) return;
    const blockHash = present(instance.candidates.block(value), "prepared block").hash;
    const after = this.#persist(instance, { kind: "prepare", height, view, blockHash });
    this.#promise(instance, { step: "prevote", height, round: view, blockHash, validator: voter }, after);
  }

  /** What was prepared, with its certificate and its block, is durable before the commit is signed. */
  #commit(instance: Instance, view: number, value: string): void {
    const { voter, height, recordedBlocks } = instance;
    const block = present(instance.candidates.block(value), "prepared block");
    const prepares = instance.votes.signaturesFor("prevote", view, value);
    instance.proof = { prepares, block };
    if (voter === undefined) return;
    if (!recordedBlocks.has(value)) this.#persist(instance, { kind: "block", height, block });
    recordedBlocks.add(value);
    const after = this.#persist(instance, { kind: "prepared", height, view, blockHash: block.hash, prepares });
    this.#promise(instance, { step: "precommit", height, round: view, blockHash: block.hash, validator: voter }, after);
  }

  #promise(instance: Instance, vote: Omit<Vote, "signature">, after: number): void {
    instance.speeches.push({ kind: "vote", view: vote.round, vote, after });
    this.#signNext(instance);
  }

  /** Pre-prepares a block. In view 0 by itself, later inside the new-view that it follows from. */
  #lead(instance: Instance, view: number, value: string): void {
    const block = present(instance.candidates.block(value), "pre-prepared block");
    const validRound = impliedBy(instance.support?.viewChanges ?? [])?.view ?? -1;
    const validator = present(instance.voter, "primary");
    const proposal = { height: instance.height, round: view, blockHash: block.hash, validRound, validator };
    instance.speeches.push({ kind: "lead", view, proposal, block, after: 0 });
    this.#signNext(instance);
  }

  #signNext(instance: Instance): void {
    const speech = instance.speeches[0];
    if (speech === undefined || instance.asked !== undefined || Math.max(speech.after, instance.spoken) > this.#durable) return;
    this.#id += 1;
    instance.asked = { id: this.#id, speech };
    const sign = { kind: "sign", id: this.#id, what: this.#unsigned(speech) } as const;
    if (speech.kind !== "change") this.#effects.push(sign);
    else {
      // Whoever commits has prepared: a view-change that claims less lets the others decide something else.
      const { height, prepared } = speech.change;
      this.#effects.push({ ...sign, recalls: { height, round: prepared?.view ?? -1 } });
    }
  }

  #unsigned(speech: Speech): Unsigned {
    switch (speech.kind) {
      case "vote":
        return { kind: "vote", vote: speech.vote };
      case "lead":
        return { kind: "proposal", proposal: speech.proposal };
      case "change": {
        const { change } = speech;
        return { kind: "statement", validator: change.validator, bytes: viewChangeSigningBytes(this.#chainId, change) };
      }
      default:
        return unreachable(speech);
    }
  }

  /** A word is signed: it goes out once what it stands on is durable, and counts. */
  #say(instance: Instance, speech: Speech, signature: Uint8Array): void {
    const { height, state } = instance;
    switch (speech.kind) {
      case "vote": {
        const message = { kind: "vote", vote: { ...speech.vote, signature } } as const;
        instance.spoken = this.#persist(instance, { kind: "vote", height, vote: message.vote });
        this.#send(message, speech.after);
        this.#hear(instance, message);
        return;
      }
      case "lead": {
        if (speech.view !== state.view || this.#hasLed(instance, speech.view)) return;
        const message = this.#candidateOf(instance, { ...speech.proposal, signature }, speech.block);
        instance.spoken = this.#persist(instance, { kind: "lead", height, message });
        instance.recordedBlocks.add(valueOf(message.block.hash));
        instance.recorded.set(instance.spoken, message);
        this.#send(message, instance.spoken);
        return;
      }
      case "change": {
        if (speech.view !== state.view) return;
        const message = { kind: "viewChange", viewChange: { ...speech.change, signature }, proof: speech.proof } as const;
        this.#send(message, speech.after);
        this.#hear(instance, message);
        return;
      }
      default:
        return unreachable(speech);
    }
  }

  #candidateOf(instance: Instance, proposal: Proposal, block: Block): Candidate {
    if (proposal.round === 0) return { kind: "prePrepare", proposal, block };
    const { view, viewChanges, prepares } = present(instance.support, "support of a new-view");
    assert(view === proposal.round, "support of view {} for view {}", view, proposal.round);
    return { kind: "newView", proposal, viewChanges, prepares, block };
  }

  #send(message: PbftMessage, after: number): void {
    this.#effects.push({ kind: "send", to: "all", message, after: after === 0 ? undefined : after });
  }

  /** Our own word, as though it had come back from the network. */
  #hear(instance: Instance, message: PbftMessage): void {
    instance.own = [...instance.own, message];
    this.#accept(instance, message);
  }

  /** A word from before the restart, which the network may never have got. */
  #sayAgain(instance: Instance, message: PbftMessage): void {
    instance.own = [...instance.own, message];
    this.#send(message, 0);
  }

  #hasLed(instance: Instance, view: number): boolean {
    const isOurs = (message: PbftMessage): boolean =>
      message.kind !== "vote" && message.kind !== "viewChange" && viewOfMessage(message) === view;
    if (instance.own.some(isOurs) || [...instance.recorded.values()].some(isOurs)) return true;
    return instance.speeches.some((speech) => speech.kind === "lead" && speech.view === view);
  }

  #persist(instance: Instance, record: WalRecord): number {
    assert(instance.voter !== undefined, "an observer promises nothing");
    this.#sequence += 1;
    this.#effects.push({ kind: "persist", sequence: this.#sequence, record: encodeRecord(record) });
    return this.#sequence;
  }

  #scheduleRepeat(instance: Instance): void {
    const { view, step } = instance.state;
    instance.repeatMark = `${view}/${step}`;
    const factor = Math.min(instance.repeats + 1, REPEAT_GROWTH_MAX);
    instance.repeatAtMs = this.#nowMs + Math.max(1, this.#protocol.viewTimeoutMs >> REPEAT_SHIFT) * factor;
    this.#effects.push({ kind: "timer", atMs: instance.repeatAtMs });
  }

  /**
   * Nothing has moved since the last time: what we said may have been lost. The view-change that brought us here is
   * among it, for those who are not here yet.
   */
  #repeat(instance: Instance): void {
    const { view, step } = instance.state;
    if (instance.repeatMark === `${view}/${step}`) {
      instance.repeats += 1;
      for (const message of instance.own) this.#send(message, 0);
    } else {
      instance.repeats = 0;
    }
    this.#scheduleRepeat(instance);
  }
}
