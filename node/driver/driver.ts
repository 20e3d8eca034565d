/**
 * Runs a consensus engine: turns its effects into I/O and I/O into its inputs. The only place that does.
 *
 * One height at a time:
 *
 * ```
 *   idle --(work to order, or the empty interval passed, or a peer is already at this height)--> running
 *   running --engine says final, or a peer hands us the decided block--> committing --> idle at the next height
 * ```
 *
 * A continuous engine (`consensus/engine.ts`, Raft) is never idle: it is made once, begins each height as soon as the
 * one before is committed, and what waits for something to order is its `build`.
 *
 * Inputs are handled strictly one after another: an effect that takes time (fsync, signature, execution, commit)
 * comes back as a later input, and one that belongs to a height gone by is dropped. What peers say about the next
 * height is kept, bounded (`heard.ts`), until we are there.
 *
 * A record that cannot be made durable, a block that cannot be committed, or an engine that throws ends the node:
 * nothing more is said, and `failed` rejects.
 */

import { assert, present, unreachable } from "../../crypto/base/assert.ts";
import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { fail, ok, type Coded, type Result } from "../../crypto/base/result.ts";
import { blake3 } from "../../crypto/backend/blake3.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { SignatureVerifier } from "../../crypto/sign/key.ts";
import type { Block, Header } from "../../chain/block/block.ts";
import type { Evidence } from "../../chain/block/evidence.ts";
import { BLOCK_FRAME_SIZE_BYTES_MAX } from "../../chain/block/limits.ts";
import { type Height, nextHeight } from "../../chain/block/height.ts";
import type { Transaction } from "../../chain/block/transaction.ts";
import { findValidator, type ValidatorSet } from "../../chain/block/validators.ts";
import { type Certificate, proposalSigningBytes, voteSigningBytes } from "../../chain/block/vote.ts";
import type { Commit, Ledger } from "../../chain/ledger/ledger.ts";
import type { Codec, Effect, Engine, EngineStatus, Input, SignedPart } from "../../consensus/engine.ts";
import type { Log } from "../log/log.ts";
import { type Clock, sleep, type Timer } from "../ports/clock.ts";
import type { SignGuard } from "./guard.ts";
import type { KnownTransactions } from "./bodies.ts";
import { type Heard, HeardMessages, markOf } from "./heard.ts";
import { BlockPace } from "./pace.ts";
import type { Delivery, Verdict } from "./verdict.ts";
import type { LogName, WriteAheadLog } from "./wal.ts";
import { withinWork } from "./work.ts";

type Addressee = "all" | { readonly peer: string };

/** What is to be said, to whom, and the block in it. */
type Saying = { readonly to: Addressee; readonly bytes: Uint8Array; readonly block: Block | undefined };

/** What codecs call a block whose header does not commit to what stands beside it. */
const OTHER_BODY_CODES: ReadonlySet<string> = new Set(["proposal_body", "message_body"]);

/** What the driver needs from the rest of the node. */
export type DriverParts<M> = {
  readonly ledger: Ledger;
  /** A new engine: for one height, or for good when it is continuous. */
  readonly newEngine: () => Engine<M>;
  readonly isContinuous: boolean;
  readonly codec: Codec<M>;
  readonly clock: Clock;
  readonly verify: SignatureVerifier;
  readonly wal: Pick<WriteAheadLog, "start" | "append" | "replace" | typeof Symbol.asyncDispose>;
  /** Absent on a node that never votes. */
  readonly guard: SignGuard | undefined;
  readonly self: Address | undefined;
  /** Hands bytes to all peers: those of a message with this block, if it has one. */
  readonly broadcast: (bytes: Uint8Array, block?: Block) => void;
  /** Hands bytes to one peer, by the id that `receive` was given. Absent where no engine asks for it. */
  readonly sendTo?: (peer: string, bytes: Uint8Array) => void;
  /** Transactions to propose, best first. */
  readonly reap: (limits: { readonly countMax: number; readonly sizeBytesMax: number }) => readonly Transaction[];
  /** Whether this transaction's signature was checked on the way in, over the same bytes. */
  readonly isVerified: (transaction: Transaction) => boolean;
  readonly evidence: () => readonly Evidence[];
  readonly onEvidence: (evidence: Evidence) => void;
  /** A transaction that could not be put into a block: the mempool forgets it. */
  readonly onDropped: (transaction: Transaction, refusal: Coded) => void;
  readonly hasWork: () => boolean;
  /** A peer passed on a word of a height so far ahead that it must have decided this one, unless it lies. */
  readonly onAhead: (peer: string, height: bigint) => void;
  readonly log: Log;
};

/** Blocks of later rounds than this beyond ours are nobody's business yet. The engine keeps fewer. */
const BLOCK_ROUNDS_AHEAD_MAX = 4;
/** What `knowledge` gives with blocks and without: together well below what one answer may hold, and asked for again. */
const KNOWLEDGE_BLOCKS_BYTES_MAX = 12 * 1024 * 1024;
const KNOWLEDGE_WORDS_BYTES_MAX = 12 * 1024 * 1024;
/** How long a height waits for something to order before it decides an empty block. */
const EMPTY_BLOCK_INTERVAL_MS = 5_000;

/**
 * What a full block may take of the time that the first round waits for a proposal. A block costs every node some tens of
 * milliseconds whatever is in it, so smaller ones would cost throughput and win nothing.
 */
const BLOCK_SHARE_OF_ROUND = 0.6;
/** What a block may take at least, however short the network's timeouts are. */
const BLOCK_MS_MIN = 100;

/** Bytes of a proposal's id. */
export const PROPOSAL_ID_SIZE_BYTES = 32;

/** How often a block from the future is looked at again: its height may have been decided without it. */
const FUTURE_LOOK_MS = 1_000;

/** What the rest of a node knows of a driver. */
export interface Driver extends AsyncDisposable {
  readonly failed: Promise<never>;
  readonly height: Height;
  readonly stalledMs: number;
  status(): EngineStatus | undefined;
  start(): void;
  wake(): void;
  receive(from: string, bytes: Uint8Array, known?: KnownTransactions): Promise<Delivery>;
  proposalIds(): readonly Uint8Array[];
  knowledge(height: bigint, hasProposal?: (id: Uint8Array) => boolean): IterableIterator<Uint8Array>;
  apply(block: Block, certificate: Certificate): Promise<Result<void, Coded>>;
  retry(): Promise<void>;
}

/** See the file's head. */
export class ConsensusDriver<M extends object> implements Driver {
  readonly #parts: DriverParts<M>;
  readonly #ledger: Ledger;
  readonly #clock: Clock;
  /** Messages whose signatures the driver has checked, by the engine's own identity of them. */
  readonly #verified = new WeakSet<M>();
  /** What was said of the height being decided, and of the one after it. */
  #heard = new HeardMessages<M>();
  #heardNext = new HeardMessages<M>();
  /** The sets that decide head + 1 and head + 2. */
  #parent: { readonly head: Height; readonly header: Header | undefined } | undefined;
  #sets: { readonly head: Height; readonly current: ValidatorSet; readonly next: ValidatorSet } | undefined;
  readonly #failed = Promise.withResolvers<never>();
  readonly #pace: BlockPace;
  #engine: Engine<M> | undefined;
  /** What a continuous engine asked to be built, until there is something to order. */
  #wanted: { readonly height: Height; readonly round: number } | undefined;
  #height: Height;
  readonly #closing = new AbortController();
  #isStarted = false;
  #isScheduledForWork = false;
  #isClosed = false;
  #isCommitting = false;
  #durable = -1;
  #held: (Saying & { readonly after: number })[] = [];
  #timers = new Set<Timer>();
  #startTimer: Timer | undefined;
  #startedAtMs = 0;
  #committedAtMs = Number.NEGATIVE_INFINITY;
  /** When the height before the one that is to begin was begun: the interval between blocks counts from there. */
  #beganAtMs = Number.NEGATIVE_INFINITY;
  #inFlight = new Set<Promise<void>>();
  #queue: Promise<unknown> = Promise.resolve();
  #atMs = 0;

  constructor(parts: DriverParts<M>) {
    this.#parts = parts;
    this.#clock = parts.clock;
    this.#ledger = parts.ledger;
    this.#height = nextHeight(parts.ledger.head().height);
    this.#pace = new BlockPace(Math.max(BLOCK_MS_MIN, parts.ledger.parameters.timeoutProposeMs * BLOCK_SHARE_OF_ROUND));
    this.#failed.promise.catch(() => undefined); // Whoever runs the node awaits it; nobody else must.
  }

  /** Rejects when the node must stop: a record or a block could not be made durable. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  /** The height being decided. */
  get height(): Height {
    return this.#height;
  }

  /** Milliseconds since this height began to be decided; 0 while idle. */
  get stalledMs(): number {
    if (this.#engine === undefined) return 0;
    // A continuous engine may well have nothing to do until an empty block is due.
    const idleMs = Math.max(EMPTY_BLOCK_INTERVAL_MS, this.#ledger.parameters.blockIntervalMsMin);
    const excusedMs = this.#parts.isContinuous ? idleMs : 0;
    return Math.max(0, this.#clock.monotonicMs() - this.#startedAtMs - excusedMs);
  }

  /** Where the engine stands in this height; `undefined` while idle. */
  status(): EngineStatus | undefined {
    return this.#engine?.status();
  }

  /** Begins deciding. Call once, when the ledger has caught up: until then blocks are applied and nothing is said. */
  start(): void {
    this.#isStarted = true;
    this.#schedule();
  }

  /** Something to order arrived. */
  wake(): void {
    if (this.#startTimer !== undefined && !this.#isScheduledForWork) this.#schedule();
  }

  /**
   * A gossiped consensus message. Checked against the validator set of its height before anything else sees it, and
   * once: who sends it again, or says more than a validator has to say, costs no signature check.
   *
   * @param known - see `Codec.parse`; when the block is not of these transactions, that is no fault of who passed it on
   */
  async receive(from: string, bytes: Uint8Array, known?: KnownTransactions): Promise<Delivery> {
    const { codec } = this.#parts;
    const parsed = codec.parse(bytes, known);
    if (!parsed.ok) return known !== undefined && OTHER_BODY_CODES.has(parsed.error.code) ? "otherBody" : "reject";
    const message = parsed.value;
    const facts = codec.describe(message);
    if (facts.height === undefined) return await this.#receiveAnytime(from, message);
    const { height, round } = facts;
    // Who relays it may itself be a height behind whoever said it, and must not be taken at another's word.
    if (height > this.#height + 1n) this.#parts.onAhead(from, height - 2n);
    const set = this.#setOf(height);
    if (set === undefined) return "ignore";
    const heard = this.#heardOf(height);
    if (heard === undefined) return "ignore";
    const parts = this.#partsOf(message);
    const word: Heard<M> = { from, message, facts, mark: markOf(parts) };
    if (heard.isKnown(word)) {
      this.#verified.add(message);
      this.#deliver(word);
      return "accept";
    }
    const ourRound = height === this.#height ? (this.#engine?.status()?.round ?? 0) : 0;
    if (!heard.hasRoom(facts, ourRound)) return "ignore";
    if (facts.hasBlock && facts.leads !== true && round > ourRound + BLOCK_ROUNDS_AHEAD_MAX) return "ignore";
    if (!codec.mayCome(message, set, this.#parentOf(height))) return "reject";
    if (!(await this.#isSigned(parts, set))) return "reject";
    await this.#witness(message);
    this.#verified.add(message);
    heard.note(word);
    this.#deliver(word);
    return "accept";
  }

  /**
   * What is of no height: heard whenever its signer decides this height or the next, or decided the one before: who leaves the set
   * is needed until a continuous engine has agreed that it has left.
   */
  async #receiveAnytime(from: string, message: M): Promise<Verdict> {
    const engine = this.#engine;
    if (engine === undefined) return "ignore";
    const before = this.#ledger.validators(this.#ledger.head().height);
    const sets = [this.#setOf(this.#height), this.#setOf(nextHeight(this.#height)), before].filter((set) => set !== undefined);
    const { signer } = this.#parts.codec.describe(message);
    const set = sets.find((each) => findValidator(each, signer) !== undefined);
    // We may be heights behind, and its signer of a set that we do not know yet: no fault of whoever passes it on.
    if (set === undefined) return "ignore";
    if (!(await this.#isSigned(this.#partsOf(message), set))) return "reject";
    await this.#witness(message);
    this.#verified.add(message);
    this.#answer(engine, { kind: "message", from, message, atMs: this.#now() });
    return "accept";
  }

  /** The ids of the proposals that this node has of the height being decided: what a peer need not send. */
  proposalIds(): readonly Uint8Array[] {
    return (this.#engine?.messages() ?? []).flatMap((message) =>
      this.#parts.codec.describe(message).hasBlock ? [this.#proposalId(message)] : [],
    );
  }

  /**
   * What this node knows about the height being decided, for a peer that missed gossip: votes, then proposals, of
   * either the newest first and as many as an answer may hold.
   *
   * @param hasProposal - whether the peer has the proposal of this id
   */
  *knowledge(height: bigint, hasProposal: (id: Uint8Array) => boolean = () => false): IterableIterator<Uint8Array> {
    if (height !== this.#height || this.#engine === undefined) return;
    const { codec } = this.#parts;
    const messages = this.#engine.messages().toReversed();
    const words = messages.filter((message) => !codec.describe(message).hasBlock);
    yield* bounded(codec, words, KNOWLEDGE_WORDS_BYTES_MAX);
    const blocks = messages.filter((message) => codec.describe(message).hasBlock && !hasProposal(this.#proposalId(message)));
    yield* bounded(codec, blocks, KNOWLEDGE_BLOCKS_BYTES_MAX);
  }

  /** What a message with a block is known by: the hash of its signature, which no other has. */
  #proposalId(message: M): Uint8Array {
    const [own] = this.#parts.codec.signedParts(this.#ledger.network.chainId, message);
    return blake3(present(own, "signature of the signer").signature);
  }

  /**
   * A decided block from a peer: judged, certificate checked, committed. In turn with everything else; a block that
   * consensus has decided meanwhile changes nothing, one from further ahead is `block_height`.
   */
  async apply(block: Block, certificate: Certificate): Promise<Result<void, Coded>> {
    return await this.#inTurn(async () => {
      if (this.#isClosed) throw new CodedError("consensus_closed");
      const next = nextHeight(this.#ledger.head().height);
      if (block.header.height < next) return ok(undefined);
      if (block.header.height > next) return fail({ code: "block_height" });
      const certified = await this.#ledger.checkCertificate(block, certificate);
      if (!certified.ok) return certified;
      await this.#commitDecided(block, certificate);
      return ok(undefined);
    });
  }

  /**
   * Begins the height under way anew, from what its log holds, and asks again for every signature that the guard
   * refused. What peers said is heard again through catch-up.
   */
  async retry(): Promise<void> {
    await this.#inTurn(async () => {
      if (this.#engine === undefined || this.#isCommitting) return;
      this.#clearTimers();
      this.#engine = undefined;
      this.#wanted = undefined;
      this.#heard = new HeardMessages();
      await this.#begin();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#closing.abort();
    this.#clearTimers();
    this.#startTimer?.cancel();
    await this.#queue.catch(() => undefined); // Reported through `failed`.
    await Promise.allSettled(this.#inFlight);
    await this.#parts.wal[Symbol.asyncDispose]();
  }

  // A height begins.

  /** Decides when to begin (a continuous engine: when to build): at once with work, later without. */
  #schedule(): void {
    this.#startTimer?.cancel();
    this.#startTimer = undefined;
    if (this.#isClosed || !this.#isStarted) return;
    if (this.#parts.isContinuous) {
      if (this.#engine === undefined) this.#track(this.#inTurn(async () => this.#begin()));
      if (this.#wanted === undefined) return;
    }
    const hasWork = this.#heard.isWaiting || this.#parts.hasWork();
    this.#isScheduledForWork = hasWork;
    const earliestMs = this.#beganAtMs + this.#ledger.parameters.blockIntervalMsMin;
    const dueMs = hasWork ? earliestMs : Math.max(earliestMs, this.#committedAtMs + EMPTY_BLOCK_INTERVAL_MS);
    const waitMs = dueMs - this.#clock.monotonicMs();
    this.#startTimer = this.#clock.after(Math.max(0, waitMs), () => {
      this.#startTimer = undefined;
      if (this.#parts.isContinuous) this.#buildWanted();
      else this.#track(this.#inTurn(async () => this.#begin()));
    });
  }

  async #begin(): Promise<void> {
    if (this.#isClosed || this.#engine !== undefined) return;
    const height = nextHeight(this.#ledger.head().height);
    this.#height = height;
    const records = await this.#parts.wal.start(this.#logName());
    this.#durable = -1; // The engine numbers what it adds; what was restored is durable already.
    this.#held = [];
    const engine = this.#parts.newEngine();
    this.#engine = engine;
    this.#startHeight();
    for (const record of records) this.#step({ kind: "restore", record, atMs: this.#now() });
    await this.#hear(engine);
  }

  /** Tells the engine which height is to be decided, and by whom. */
  #startHeight(): void {
    this.#startedAtMs = this.#clock.monotonicMs();
    const validators = present(this.#setOf(this.#height), "validators of the next height");
    const parent = this.#ledger.header(this.#ledger.head().height);
    this.#step({ kind: "start", height: this.#height, validators, parent, atMs: this.#now() });
  }

  /** Hands over what was said before the height began. */
  async #hear(engine: Engine<M>): Promise<void> {
    for (const { from, message } of this.#heard.take()) {
      this.#answer(engine, { kind: "message", from, message, atMs: this.#now() });
      // Its signature is known to be good, and the engine hears so before the next one: its bounds are not for us.
      await settled();
    }
  }

  /** Hands a message whose signature is good to the engine, now or when its height begins. */
  #deliver(heard: Heard<M>): void {
    const { from, message } = heard;
    const height = present(heard.facts.height, "height of a message");
    if (height !== this.#height) this.#heardOf(height)?.keep(heard);
    else if (this.#engine === undefined) {
      this.#heard.keep(heard);
      this.wake();
    } else this.#answer(this.#engine, { kind: "message", from, message, atMs: this.#now() });
  }

  #heardOf(height: bigint): HeardMessages<M> | undefined {
    if (height === this.#height) return this.#heard;
    return height === this.#height + 1n ? this.#heardNext : undefined;
  }

  #logName(): LogName {
    return this.#parts.isContinuous ? "engine" : this.#height;
  }

  /** The header before a height, as far as it is decided. */
  #parentOf(height: bigint): Header | undefined | "undecided" {
    const head = this.#ledger.head().height;
    if (height !== head + 1n) return "undecided";
    if (this.#parent?.head !== head) this.#parent = { head, header: this.#ledger.header(head) };
    return this.#parent.header;
  }

  /** The set that decides a height, for the two heights after the ledger's. */
  #setOf(height: bigint): ValidatorSet | undefined {
    const head = this.#ledger.head().height;
    if (this.#sets?.head !== head) {
      const current = present(this.#ledger.validators(nextHeight(head)), "validators of the next height");
      this.#sets = { head, current, next: this.#ledger.validatorsAfterNext() };
    }
    if (height === head + 1n) return this.#sets.current;
    return height === head + 2n ? this.#sets.next : undefined;
  }

  // Inputs and effects.

  #step(input: Input<M>): void {
    const engine = this.#engine;
    if (engine === undefined || this.#isClosed) return;
    try {
      for (const effect of engine.step(input)) this.#perform(engine, effect);
    } catch (error) {
      // Whoever brought the input (a timer, gossip) can do nothing about it, and the engine is in no known state.
      this.#halt(error);
    }
  }

  /** Feeds an answer back, unless the height it belongs to is over; a continuous engine hears everything. */
  #answer(engine: Engine<M>, input: Input<M>): void {
    if (this.#engine === engine && (this.#parts.isContinuous || !this.#isCommitting)) this.#step(input);
  }

  #perform(engine: Engine<M>, effect: Effect<M>): void {
    switch (effect.kind) {
      case "persist":
        this.#track(this.#persist(engine, effect));
        return;
      case "send":
        this.#send(effect);
        return;
      case "sign":
        this.#track(this.#sign(engine, effect));
        return;
      case "verify":
        this.#track(this.#verify(engine, effect.id, effect.message));
        return;
      case "judge":
        this.#track(this.#judge(engine, effect.block));
        return;
      case "build":
        if (this.#parts.isContinuous) {
          this.#wanted = { height: effect.height, round: effect.round };
          this.#schedule();
        } else this.#build(engine, effect.height, effect.round);
        return;
      case "timer":
        this.#setTimer(engine, effect.atMs);
        return;
      case "head":
      case "search":
      case "rest":
        throw new CodedError("engine_effect", { effect: effect.kind, message: "this driver runs engines that vote" });
      case "final":
        this.#isCommitting = true;
        this.#track(this.#inTurn(async () => await this.#finalise(engine, effect.block, effect.certificate)));
        return;
      case "evidence":
        this.#parts.onEvidence(effect.evidence);
        return;
      default:
        unreachable(effect);
    }
  }

  async #persist(
    engine: Engine<M>,
    { sequence, record, replaces, term }: Effect<M> & { readonly kind: "persist" },
  ): Promise<void> {
    const { wal, guard } = this.#parts;
    await (replaces === true ? wal.replace(this.#logName(), record) : wal.append(this.#logName(), record));
    // After the record: a term that was remembered without it would call the log lost, when nothing was ever said in that term.
    if (term !== undefined) await guard?.raiseTerm(term);
    if (this.#engine !== engine) return;
    this.#durable = Math.max(this.#durable, sequence);
    const ready = this.#held.filter(({ after }) => after <= this.#durable);
    this.#held = this.#held.filter(({ after }) => after > this.#durable);
    for (const saying of ready) this.#say(saying);
    this.#answer(engine, { kind: "persisted", sequence, atMs: this.#now() });
  }

  #send({ to, message, after }: Effect<M> & { readonly kind: "send" }): void {
    const { codec } = this.#parts;
    const saying = { to, bytes: codec.encode(message), block: codec.blockOf(message) };
    if (after === undefined || after <= this.#durable) this.#say(saying);
    else this.#held.push({ ...saying, after });
  }

  #say({ to, bytes, block }: Saying): void {
    if (to === "all") this.#parts.broadcast(bytes, block);
    else present(this.#parts.sendTo, "way to one peer")(to.peer, bytes);
  }

  async #sign(engine: Engine<M>, { id, what, recalls }: Effect<M> & { readonly kind: "sign" }): Promise<void> {
    const { chainId } = this.#ledger.network;
    const guard = present(this.#parts.guard, "guard of a validator");
    if (what.kind === "statement") {
      const signed = await guard.signStatement(what.bytes, recalls);
      if (!signed.ok) this.#parts.log.warn({ code: signed.error.code, ...recalls, step: "statement" }, "not signed");
      this.#answer(engine, { kind: "signed", id, signature: signed.ok ? signed.value : undefined, atMs: this.#now() });
      return;
    }
    const request =
      what.kind === "vote"
        ? { height: what.vote.height, round: what.vote.round, step: what.vote.step, bytes: voteSigningBytes(chainId, what.vote) }
        : {
            height: what.proposal.height,
            round: what.proposal.round,
            step: "proposal" as const,
            bytes: proposalSigningBytes(chainId, what.proposal),
          };
    const signed = await guard.sign(request);
    if (!signed.ok)
      this.#parts.log.warn(
        { code: signed.error.code, height: request.height, round: request.round, step: request.step },
        "not signed",
      );
    this.#answer(engine, { kind: "signed", id, signature: signed.ok ? signed.value : undefined, atMs: this.#now() });
  }

  async #verify(engine: Engine<M>, id: number, message: M): Promise<void> {
    const set = this.#setOf(this.#height);
    const valid = this.#verified.has(message) || (set !== undefined && (await this.#isSigned(this.#partsOf(message), set)));
    if (valid) this.#verified.add(message);
    await Promise.resolve(); // An answer is a later input, never a reentrant one.
    this.#answer(engine, { kind: "verified", id, valid, atMs: this.#now() });
  }

  async #judge(engine: Engine<M>, block: Block): Promise<void> {
    this.#pace.begin(block.hash, this.#partOf(block), this.#clock.monotonicMs());
    await this.#awaitBlockTime(block);
    const judged = await this.#ledger.judge(block, { isVerified: this.#parts.isVerified });
    if (!judged.ok)
      this.#parts.log.warn(
        { ...judged.error, height: block.header.height, proposer: toHex(block.header.proposer) },
        "refused block",
      );
    await Promise.resolve();
    this.#answer(engine, { kind: "judged", blockHash: block.hash, valid: judged.ok, atMs: this.#now() });
  }

  /**
   * A block from too far in the future is not judged before its time has come. The engine keeps a verdict for the whole
   * height, and a clock that is slow now is no reason to hold a block invalid for ever: meanwhile we prevote nil.
   */
  async #awaitBlockTime(block: Block): Promise<void> {
    const aheadMs = (): number =>
      Number(block.header.timeMs) - Math.floor(this.#clock.wallMs()) - this.#ledger.parameters.blockTimeDriftMsMax;
    if (aheadMs() <= 0) return;
    const { height, proposer } = block.header;
    this.#parts.log.warn({ code: "block_time", height, aheadMs: aheadMs(), proposer: toHex(proposer) }, "block from the future");
    while (aheadMs() > 0 && this.#height === height && !this.#isClosed)
      await sleep(this.#clock, Math.min(aheadMs(), FUTURE_LOOK_MS), this.#closing.signal);
  }

  /** Builds what a continuous engine asked for, unless its height has been decided meanwhile. */
  #buildWanted(): void {
    const wanted = this.#wanted;
    this.#wanted = undefined;
    if (this.#engine === undefined || this.#isCommitting || wanted?.height !== this.#height) return;
    this.#build(this.#engine, wanted.height, wanted.round);
  }

  #build(engine: Engine<M>, height: Height, round: number): void {
    const { parameters } = this.#ledger;
    const head = this.#ledger.head();
    assert(height === head.height + 1n, "build of {} on {}", height, head.height);
    const nowMs = BigInt(Math.floor(this.#clock.wallMs()));
    // The terms of a continuous engine are not rounds that this height has failed.
    const share = this.#pace.shareAt(this.#parts.isContinuous ? 0 : round);
    const { block, dropped } = this.#ledger.build({
      proposer: present(this.#parts.self, "address of a proposer"),
      timeMs: nowMs > head.timeMs ? nowMs : head.timeMs + 1n,
      transactions: withinWork(
        this.#parts.reap({
          countMax: Math.ceil(parameters.transactionsMax * share),
          // Room for the largest there may be, however slow the network is.
          sizeBytesMax: Math.max(
            parameters.transactionSizeBytesMax,
            Math.floor((parameters.blockSizeBytesMax - BLOCK_FRAME_SIZE_BYTES_MAX) * share),
          ),
        }),
      ),
      evidence: this.#parts.evidence(),
    });
    for (const { transaction, refusal } of dropped) {
      // One that is only early stays where it waits.
      if (refusal.code !== "nonce_ahead") this.#parts.onDropped(transaction, refusal);
    }
    this.#pace.begin(block.hash, this.#partOf(block), this.#clock.monotonicMs());
    queueMicrotask(() => {
      this.#answer(engine, { kind: "propose", height, round, block, atMs: this.#now() });
    });
  }

  /** What a block takes of what the network allows. */
  #partOf({ transactions }: Block): number {
    const { transactionsMax, blockSizeBytesMax } = this.#ledger.parameters;
    const sizeBytes = transactions.reduce((sum, { bytes }) => sum + bytes.length, 0);
    return Math.max(transactions.length / transactionsMax, sizeBytes / blockSizeBytesMax);
  }

  #setTimer(engine: Engine<M>, atMs: number): void {
    const timer = this.#clock.after(Math.max(0, atMs - this.#now()), () => {
      this.#timers.delete(timer);
      // A timer may fire a fraction of a millisecond early; for the engine its moment has come.
      this.#atMs = Math.max(this.#atMs, atMs);
      this.#answer(engine, { kind: "tick", atMs: this.#now() });
    });
    this.#timers.add(timer);
  }

  // A height ends.

  async #finalise(engine: Engine<M>, block: Block, certificate: Certificate): Promise<void> {
    // A peer's decided block may have been applied first.
    if (this.#engine !== engine || block.header.height <= this.#ledger.head().height) return;
    await this.#commitDecided(block, certificate);
  }

  async #commitDecided(block: Block, certificate: Certificate): Promise<void> {
    const judged = await this.#ledger.judge(block, { isVerified: this.#parts.isVerified });
    if (!judged.ok) {
      // More than 2/3 precommitted what we hold to be invalid: either they or we are wrong, and going on would fork.
      const { height } = block.header;
      const error = new CodedError("consensus_invalid_block", { height, reason: judged.error.code, field: judged.error.field });
      this.#halt(error);
      throw error;
    }
    await this.#commit(block, certificate);
  }

  async #commit(block: Block, certificate: Certificate): Promise<Commit> {
    const commit = await this.#ledger.commit(block, certificate);
    this.#isCommitting = false;
    this.#wanted = undefined;
    if (!this.#parts.isContinuous) {
      this.#engine = undefined;
      this.#clearTimers();
      this.#held = [];
    }
    this.#height = nextHeight(block.header.height);
    this.#heard = this.#heardNext;
    this.#heardNext = new HeardMessages();
    this.#committedAtMs = this.#clock.monotonicMs();
    this.#beganAtMs = this.#startedAtMs;
    this.#pace.decided(block.hash, this.#committedAtMs);
    if (this.#engine !== undefined) {
      this.#startHeight();
      await this.#hear(this.#engine);
    }
    this.#schedule();
    return commit;
  }

  #clearTimers(): void {
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }

  // Signatures.

  #partsOf(message: M): readonly SignedPart[] {
    return this.#parts.codec.signedParts(this.#ledger.network.chainId, message);
  }

  async #isSigned(parts: readonly SignedPart[], set: ValidatorSet): Promise<boolean> {
    for (const { validator, bytes, signature } of parts) {
      const member = findValidator(set, validator);
      if (member === undefined || !(await this.#parts.verify(member.key, bytes, signature))) return false;
    }
    return true;
  }

  /** Our own vote, coming from somebody else, is a signature that this home may not remember. */
  async #witness(message: M): Promise<void> {
    const { self, guard, codec } = this.#parts;
    const word = codec.wordOf(message);
    if (word === undefined || self === undefined || guard === undefined || !bytesEqual(word.validator, self)) return;
    await guard.witness({ height: word.height, round: word.round, step: "step" in word ? word.step : "proposal" });
  }

  // Turns.

  /** Runs `work` after everything queued before it. */
  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(work);
    this.#queue = turn.catch(() => undefined); // Each caller sees its own failure; the queue only keeps the order.
    return await turn;
  }

  /** Owns a promise until it settles; a failure is the node's. */
  #track(work: Promise<void>): void {
    const owned = work.catch((error: unknown) => {
      if (!this.#isClosed) this.#halt(error);
    });
    this.#inFlight.add(owned);
    void owned.finally(() => this.#inFlight.delete(owned));
  }

  /** The node cannot go on: from now on nothing is stepped, signed or said. */
  #halt(error: unknown): void {
    this.#failed.reject(error);
    this.#isClosed = true;
    this.#closing.abort();
    this.#clearTimers();
    this.#startTimer?.cancel();
  }

  /** Milliseconds that never decrease, whatever the wall clock does. */
  #now(): number {
    this.#atMs = Math.max(this.#atMs, Math.floor(this.#clock.monotonicMs()));
    return this.#atMs;
  }
}

function* bounded<M>(codec: Codec<M>, messages: readonly M[], sizeBytesMax: number): IterableIterator<Uint8Array> {
  let sizeBytes = 0;
  for (const message of messages) {
    const bytes = codec.encode(message);
    sizeBytes += bytes.length;
    if (sizeBytes > sizeBytesMax) return;
    yield bytes;
  }
}

/** Resolves once the promises that are settled by now have been acted upon, `verify` among them. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 4; turn += 1) await Promise.resolve();
}
