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
import { verifySignatureAsync } from "../../crypto/sign/key.ts";
import type { Block } from "../../chain/block/block.ts";
import type { Evidence } from "../../chain/block/evidence.ts";
import { BLOCK_FRAME_SIZE_BYTES_MAX } from "../../chain/block/limits.ts";
import { type Height, nextHeight } from "../../chain/block/height.ts";
import type { Transaction } from "../../chain/block/transaction.ts";
import { findValidator, proposerAt, type ValidatorSet } from "../../chain/block/validators.ts";
import { type Certificate, type Proposal, proposalSigningBytes, voteSigningBytes } from "../../chain/block/vote.ts";
import type { Commit, Ledger } from "../../chain/ledger/ledger.ts";
import type { Effect, Input, Unsigned } from "../../consensus/engine.ts";
import { type ConsensusMessage, encodeMessage, parseMessage } from "../../consensus/tendermint/message.ts";
import type { TendermintEngine } from "../../consensus/tendermint/engine.ts";
import type { Log } from "../log/log.ts";
import { sleep } from "./sleep.ts";
import type { SignGuard } from "./guard.ts";
import { HeardMessages } from "./heard.ts";
import type { WriteAheadLog } from "./wal.ts";
import { withinWork } from "./work.ts";

/** What a gossiped message turned out to be: pass on, drop silently, or drop and blame the sender. */
export type Verdict = "accept" | "ignore" | "reject";

/** What the driver needs from the rest of the node. */
export type DriverParts = {
  readonly ledger: Ledger;
  /** A new engine for one height. */
  readonly newEngine: () => TendermintEngine;
  readonly wal: WriteAheadLog;
  /** Absent on a node that never votes. */
  readonly guard: SignGuard | undefined;
  readonly self: Address | undefined;
  /** Hands bytes to all peers. */
  readonly broadcast: (bytes: Uint8Array) => void;
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

/** Proposals of later rounds than this beyond ours are nobody's business yet. The engine keeps fewer. */
const PROPOSAL_ROUNDS_AHEAD_MAX = 4;
/** What `knowledge` gives of each kind: together well below what one answer may hold, and asked for again. */
const KNOWLEDGE_PROPOSALS_BYTES_MAX = 12 * 1024 * 1024;
const KNOWLEDGE_VOTES_BYTES_MAX = 12 * 1024 * 1024;
/** How long a height waits for something to order before it decides an empty block. */
const EMPTY_BLOCK_INTERVAL_MS = 5_000;

/** Bytes of a proposal's id. */
export const PROPOSAL_ID_SIZE_BYTES = 32;

/** How often a block from the future is looked at again: its height may have been decided without it. */
const FUTURE_LOOK_MS = 1_000;

/** A message whose signature the driver has checked, by the engine's own identity of it. */
const verified = new WeakSet<ConsensusMessage>();

/** See the file's head. */
export class ConsensusDriver implements AsyncDisposable {
  readonly #parts: DriverParts;
  readonly #ledger: Ledger;
  /** What was said of the height being decided, and of the one after it. */
  #heard = new HeardMessages();
  #heardNext = new HeardMessages();
  /** The sets that decide head + 1 and head + 2. */
  #sets: { readonly head: Height; readonly current: ValidatorSet; readonly next: ValidatorSet } | undefined;
  readonly #failed = Promise.withResolvers<never>();
  #engine: TendermintEngine | undefined;
  #height: Height;
  readonly #closing = new AbortController();
  #isStarted = false;
  #isScheduledForWork = false;
  #isClosed = false;
  #isCommitting = false;
  #durable = -1;
  #held: { readonly after: number; readonly bytes: Uint8Array }[] = [];
  #timers = new Set<NodeJS.Timeout>();
  #startTimer: NodeJS.Timeout | undefined;
  #startedAtMs = 0;
  #committedAtMs = Number.NEGATIVE_INFINITY;
  #inFlight = new Set<Promise<void>>();
  #queue: Promise<unknown> = Promise.resolve();
  #atMs = 0;

  constructor(parts: DriverParts) {
    this.#parts = parts;
    this.#ledger = parts.ledger;
    this.#height = nextHeight(parts.ledger.head().height);
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
    return this.#engine === undefined ? 0 : monotonicMs() - this.#startedAtMs;
  }

  /** Where the engine stands in this height; `undefined` while idle. */
  status(): ReturnType<TendermintEngine["status"]> {
    return this.#engine?.status();
  }

  /** Begins deciding. Call once, when the ledger has caught up: until then blocks are applied and nothing is said. */
  start(): void {
    this.#isStarted = true;
    this.#schedule();
  }

  /** Something to order arrived. */
  wake(): void {
    if (this.#engine === undefined && this.#startTimer !== undefined && !this.#isScheduledForWork) this.#schedule();
  }

  /**
   * A gossiped consensus message. Checked against the validator set of its height before anything else sees it, and
   * once: who sends it again, or says more than a validator has to say, costs no signature check.
   */
  async receive(from: string, bytes: Uint8Array): Promise<Verdict> {
    const parsed = parseMessage(bytes);
    if (!parsed.ok) return "reject";
    const message = parsed.value;
    const { height, round } = statementOf(message);
    // Who relays it may itself be a height behind whoever said it, and must not be taken at another's word.
    if (height > this.#height + 1n) this.#parts.onAhead(from, height - 2n);
    const set = this.#setOf(height);
    if (set === undefined) return "ignore";
    const heard = this.#heardOf(height);
    if (heard === undefined) return "ignore";
    if (heard.isKnown(message)) {
      verified.add(message);
      this.#deliver(from, message);
      return "accept";
    }
    const ourRound = height === this.#height ? (this.#engine?.status()?.round ?? 0) : 0;
    if (!heard.hasRoom(message, ourRound)) return "ignore";
    if (message.kind === "proposal") {
      if (round > ourRound + PROPOSAL_ROUNDS_AHEAD_MAX) return "ignore";
      if (!bytesEqual(message.proposal.validator, proposerAt(set, round).address)) return "reject";
    }
    if (!(await this.#isSigned(message, set))) return "reject";
    await this.#witness(message);
    verified.add(message);
    heard.note(message);
    this.#deliver(from, message);
    return "accept";
  }

  /** The ids of the proposals that this node has of the height being decided: what a peer need not send. */
  proposalIds(): readonly Uint8Array[] {
    return (this.#engine?.messages() ?? []).flatMap((message) =>
      message.kind === "proposal" ? [proposalId(message.proposal)] : [],
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
    const messages = this.#engine.messages().toReversed();
    yield* bounded(
      messages.filter(({ kind }) => kind === "vote"),
      KNOWLEDGE_VOTES_BYTES_MAX,
    );
    const proposals = messages.filter((message) => message.kind === "proposal" && !hasProposal(proposalId(message.proposal)));
    yield* bounded(proposals, KNOWLEDGE_PROPOSALS_BYTES_MAX);
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
      this.#heard = new HeardMessages();
      await this.#begin();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#closing.abort();
    this.#clearTimers();
    clearTimeout(this.#startTimer);
    await this.#queue.catch(() => undefined); // Reported through `failed`.
    await Promise.allSettled(this.#inFlight);
    await this.#parts.wal[Symbol.asyncDispose]();
  }

  // A height begins.

  /** Decides when to begin: at once with work, later without. */
  #schedule(): void {
    clearTimeout(this.#startTimer);
    if (this.#isClosed || !this.#isStarted) return;
    const sinceMs = monotonicMs() - this.#committedAtMs;
    const hasWork = this.#heard.isWaiting || this.#parts.hasWork();
    this.#isScheduledForWork = hasWork;
    const waitMs = (hasWork ? this.#ledger.parameters.blockIntervalMsMin : EMPTY_BLOCK_INTERVAL_MS) - sinceMs;
    this.#startTimer = setTimeout(
      () => {
        this.#startTimer = undefined;
        this.#track(this.#inTurn(async () => this.#begin()));
      },
      Math.max(0, waitMs),
    );
  }

  async #begin(): Promise<void> {
    if (this.#isClosed || this.#engine !== undefined) return;
    const height = nextHeight(this.#ledger.head().height);
    this.#height = height;
    const records = await this.#parts.wal.start(height);
    this.#durable = -1; // The engine numbers what it adds; what was restored is durable already.
    this.#held = [];
    const engine = this.#parts.newEngine();
    this.#engine = engine;
    this.#startedAtMs = monotonicMs();
    const validators = present(this.#setOf(height), "validators of the next height");
    const parent = this.#ledger.header(this.#ledger.head().height);
    this.#step({ kind: "start", height, validators, parent, atMs: this.#now() });
    for (const record of records) this.#step({ kind: "restore", record, atMs: this.#now() });
    for (const { from, message } of this.#heard.take()) {
      this.#answer(engine, { kind: "message", from, message, atMs: this.#now() });
      // Its signature is known to be good, and the engine hears so before the next one: its bounds are not for us.
      await settled();
    }
  }

  /** Hands a message whose signature is good to the engine, now or when its height begins. */
  #deliver(from: string, message: ConsensusMessage): void {
    const { height } = statementOf(message);
    if (height !== this.#height) this.#heardOf(height)?.keep({ from, message });
    else if (this.#engine === undefined) {
      this.#heard.keep({ from, message });
      this.wake();
    } else this.#answer(this.#engine, { kind: "message", from, message, atMs: this.#now() });
  }

  #heardOf(height: bigint): HeardMessages | undefined {
    if (height === this.#height) return this.#heard;
    return height === this.#height + 1n ? this.#heardNext : undefined;
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

  #step(input: Input<ConsensusMessage>): void {
    const engine = this.#engine;
    if (engine === undefined || this.#isClosed) return;
    try {
      for (const effect of engine.step(input)) this.#perform(engine, effect);
    } catch (error) {
      // Whoever brought the input (a timer, gossip) can do nothing about it, and the engine is in no known state.
      this.#halt(error);
    }
  }

  /** Feeds an answer back, unless the height it belongs to is over. */
  #answer(engine: TendermintEngine, input: Input<ConsensusMessage>): void {
    if (this.#engine === engine && !this.#isCommitting) this.#step(input);
  }

  #perform(engine: TendermintEngine, effect: Effect<ConsensusMessage>): void {
    switch (effect.kind) {
      case "persist":
        this.#track(this.#persist(engine, effect.sequence, effect.record));
        return;
      case "send":
        this.#send(effect.message, effect.after);
        return;
      case "sign":
        this.#track(this.#sign(engine, effect.id, effect.what));
        return;
      case "verify":
        this.#track(this.#verify(engine, effect.id, effect.message));
        return;
      case "judge":
        this.#track(this.#judge(engine, effect.block));
        return;
      case "build":
        this.#build(engine, effect.height, effect.round);
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

  async #persist(engine: TendermintEngine, sequence: number, record: Uint8Array): Promise<void> {
    await this.#parts.wal.append(this.#height, record);
    if (this.#engine !== engine) return;
    this.#durable = Math.max(this.#durable, sequence);
    const ready = this.#held.filter(({ after }) => after <= this.#durable);
    this.#held = this.#held.filter(({ after }) => after > this.#durable);
    for (const { bytes } of ready) this.#parts.broadcast(bytes);
    this.#answer(engine, { kind: "persisted", sequence, atMs: this.#now() });
  }

  #send(message: ConsensusMessage, after: number | undefined): void {
    const bytes = encodeMessage(message);
    if (after === undefined || after <= this.#durable) this.#parts.broadcast(bytes);
    else this.#held.push({ after, bytes });
  }

  async #sign(engine: TendermintEngine, id: number, what: Unsigned): Promise<void> {
    const { chainId } = this.#ledger.network;
    const guard = present(this.#parts.guard, "guard of a validator");
    if (what.kind === "statement") {
      const signature = guard.signStatement(what.bytes);
      await Promise.resolve(); // An answer is a later input, never a reentrant one.
      this.#answer(engine, { kind: "signed", id, signature, atMs: this.#now() });
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

  async #verify(engine: TendermintEngine, id: number, message: ConsensusMessage): Promise<void> {
    const set = this.#setOf(this.#height);
    const valid = verified.has(message) || (set !== undefined && (await this.#isSigned(message, set)));
    if (valid) verified.add(message);
    await Promise.resolve(); // An answer is a later input, never a reentrant one.
    this.#answer(engine, { kind: "verified", id, valid, atMs: this.#now() });
  }

  async #judge(engine: TendermintEngine, block: Block): Promise<void> {
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
    const aheadMs = (): number => Number(block.header.timeMs - BigInt(Date.now())) - this.#ledger.parameters.blockTimeDriftMsMax;
    if (aheadMs() <= 0) return;
    const { height, proposer } = block.header;
    this.#parts.log.warn({ code: "block_time", height, aheadMs: aheadMs(), proposer: toHex(proposer) }, "block from the future");
    while (aheadMs() > 0 && this.#height === height && !this.#isClosed)
      await sleep(Math.min(aheadMs(), FUTURE_LOOK_MS), this.#closing.signal);
  }

  #build(engine: TendermintEngine, height: Height, round: number): void {
    const { parameters } = this.#ledger;
    const head = this.#ledger.head();
    assert(height === head.height + 1n, `build of ${height} on ${head.height}`);
    const nowMs = BigInt(Date.now());
    const { block, dropped } = this.#ledger.build({
      proposer: present(this.#parts.self, "address of a proposer"),
      timeMs: nowMs > head.timeMs ? nowMs : head.timeMs + 1n,
      transactions: withinWork(
        this.#parts.reap({
          countMax: parameters.transactionsMax,
          sizeBytesMax: parameters.blockSizeBytesMax - BLOCK_FRAME_SIZE_BYTES_MAX,
        }),
      ),
      evidence: this.#parts.evidence(),
    });
    for (const { transaction, refusal } of dropped) {
      // One that is only early stays where it waits.
      if (refusal.code !== "nonce_ahead") this.#parts.onDropped(transaction, refusal);
    }
    queueMicrotask(() => {
      this.#answer(engine, { kind: "propose", height, round, block, atMs: this.#now() });
    });
  }

  #setTimer(engine: TendermintEngine, atMs: number): void {
    const timer = setTimeout(
      () => {
        this.#timers.delete(timer);
        // A timer may fire a fraction of a millisecond early; for the engine its moment has come.
        this.#atMs = Math.max(this.#atMs, atMs);
        this.#answer(engine, { kind: "tick", atMs: this.#now() });
      },
      Math.max(0, atMs - this.#now()),
    );
    this.#timers.add(timer);
  }

  // A height ends.

  async #finalise(engine: TendermintEngine, block: Block, certificate: Certificate): Promise<void> {
    if (this.#engine !== engine) return; // A peer's decided block was applied first.
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
    this.#engine = undefined;
    this.#isCommitting = false;
    this.#clearTimers();
    this.#held = [];
    this.#height = nextHeight(block.header.height);
    this.#heard = this.#heardNext;
    this.#heardNext = new HeardMessages();
    this.#committedAtMs = monotonicMs();
    this.#schedule();
    return commit;
  }

  #clearTimers(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  // Signatures.

  async #isSigned(message: ConsensusMessage, set: ValidatorSet): Promise<boolean> {
    const { validator, bytes, signature } = signedPartOf(this.#ledger.network.chainId, message);
    const member = findValidator(set, validator);
    return member !== undefined && (await verifySignatureAsync(member.key, bytes, signature));
  }

  /** Our own vote, coming from somebody else, is a signature that this home may not remember. */
  async #witness(message: ConsensusMessage): Promise<void> {
    const { self, guard } = this.#parts;
    const { validator, height, round } = statementOf(message);
    if (self === undefined || guard === undefined || !bytesEqual(validator, self)) return;
    await guard.witness({ height, round, step: message.kind === "proposal" ? "proposal" : message.vote.step });
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
    clearTimeout(this.#startTimer);
  }

  /** Milliseconds that never decrease, whatever the wall clock does. */
  #now(): number {
    this.#atMs = Math.max(this.#atMs, Math.floor(monotonicMs()));
    return this.#atMs;
  }
}

/** What a proposal is known by: the hash of its signature, which no other has. */
function proposalId({ signature }: Proposal): Uint8Array {
  return blake3(signature);
}

function* bounded(messages: readonly ConsensusMessage[], sizeBytesMax: number): IterableIterator<Uint8Array> {
  let sizeBytes = 0;
  for (const message of messages) {
    const bytes = encodeMessage(message);
    sizeBytes += bytes.length;
    if (sizeBytes > sizeBytesMax) return;
    yield bytes;
  }
}

/** Resolves once the promises that are settled by now have been acted upon, `verify` among them. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 4; turn += 1) await Promise.resolve();
}

function monotonicMs(): number {
  return performance.now();
}

function statementOf(message: ConsensusMessage): {
  readonly height: Height;
  readonly round: number;
  readonly validator: Address;
} {
  return message.kind === "proposal" ? message.proposal : message.vote;
}

function signedPartOf(
  chainId: string,
  message: ConsensusMessage,
): { readonly validator: Address; readonly bytes: Uint8Array; readonly signature: Uint8Array } {
  const { validator, signature } = message.kind === "proposal" ? message.proposal : message.vote;
  const bytes =
    message.kind === "proposal" ? proposalSigningBytes(chainId, message.proposal) : voteSigningBytes(chainId, message.vote);
  return { validator, bytes, signature };
}
