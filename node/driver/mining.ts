/**
 * Runs the engine of proof of work: turns its effects into I/O and I/O into its inputs, as `driver.ts` does for engines
 * that vote.
 *
 * ```
 *   peers --bytes--> seals looked at, headers from the future cut off --> engine --head--> undo, judge, commit
 *                      |                                                    |  build, search, send
 *                      +-- getHeaders, getBlocks: answered from the ledger  +--> ledger, searcher, peers
 * ```
 *
 * What touches the ledger goes strictly one after another. Inputs never nest: an effect that takes time comes back as a
 * later input. The engine has no log: the chain is its memory, and is fed back to it at start.
 *
 * A block that cannot be committed or undone, an engine that throws, or a searcher that ends ends the node: nothing
 * more is said, and `failed` rejects.
 */

import { assert, present, unreachable } from "../../crypto/base/assert.ts";
import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { type Coded, fail, ok, type Result } from "../../crypto/base/result.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { Block } from "../../chain/block/block.ts";
import { GENESIS_HEIGHT, type Height, heightOf, nextHeight } from "../../chain/block/height.ts";
import { BLOCK_FRAME_SIZE_BYTES_MAX } from "../../chain/block/limits.ts";
import type { PowProtocol } from "../../chain/block/protocol.ts";
import { firstTarget } from "../../chain/block/retarget.ts";
import type { Transaction } from "../../chain/block/transaction.ts";
import type { Certificate, WorkCertificate } from "../../chain/block/vote.ts";
import type { Ledger } from "../../chain/ledger/ledger.ts";
import type { Effect, EngineStatus, Input } from "../../consensus/engine.ts";
import { PowEngine, restoreFrom } from "../../consensus/pow/engine.ts";
import { encodePowRecord, headersOf, isWorked, POW_CODEC, type PowMessage, withinTime } from "../../consensus/pow/message.ts";
import { answerFrom, type ChainSource, deepened } from "../../consensus/pow/serve.ts";
import type { Log } from "../log/log.ts";
import type { Clock, Timer } from "../ports/clock.ts";
import type { Driver } from "./driver.ts";
import type { Verdict } from "./verdict.ts";
import { type Split, type SplitStep, SplitWatch } from "./mining-split.ts";
import type { Searcher } from "./searcher.ts";
import { withinWork } from "./work.ts";

/** What the driver needs from the rest of the node. */
export type MiningParts = {
  readonly ledger: Ledger;
  readonly clock: Clock;
  /** Who is paid for blocks. Without it, or without a searcher, the node follows and does not mine. */
  readonly self: Address | undefined;
  readonly searcher: Searcher | undefined;
  /** Hands bytes to all peers. */
  readonly broadcast: (bytes: Uint8Array) => void;
  /** Hands bytes to one peer, by the id that `receive` was given; for one that is gone it does nothing. */
  readonly sendTo: (peer: string, bytes: Uint8Array) => void;
  /** Transactions to order, best first. */
  readonly reap: (limits: { readonly countMax: number; readonly sizeBytesMax: number }) => readonly Transaction[];
  /** Whether this transaction's signature was checked on the way in, over the same bytes. */
  readonly isVerified: (transaction: Transaction) => boolean;
  /** A transaction that could not be put into a block: the mempool forgets it. */
  readonly onDropped: (transaction: Transaction, refusal: Coded) => void;
  /** A heavier chain forks here, below what is settled. */
  readonly onSplit?: ((forkHeight: Height) => void) | undefined;
  readonly log: Log;
};

/** Of the newest blocks, bodies of so many bytes are fed back at start; the engine holds no more anyway. */
const RESTORED_SIZE_BYTES_MAX = 64 * 1024 * 1024;
/** Questions of one peer that are answered in a second: 16 blocks each bring it up fast enough. */
const ANSWERS_PER_SECOND_MAX = 32;
/** Peers that are counted; beyond, the count begins anew. */
const ASKERS_MAX = 1024;
/** Headers from the future are told of once in so long. */
const FUTURE_REPEAT_MS = 60_000;
/** A split is told again after so long, as long as it lasts. */
const SPLIT_REPEAT_MS = 600_000;

/** Refused blocks that are remembered: each cost its maker the work of its place. */
const REFUSED_MAX = 1024;

/** See the file's head. */
export class MiningDriver implements Driver {
  readonly #parts: MiningParts;
  readonly #ledger: Ledger;
  readonly #clock: Clock;
  readonly #protocol: PowProtocol;
  readonly #source: ChainSource;
  readonly #failed = Promise.withResolvers<never>();
  readonly #timers = new Set<Timer>();
  readonly #inFlight = new Set<Promise<void>>();
  /** Questions of each peer in the second that began at `#askedSinceMs`. */
  readonly #asked = new Map<string, number>();
  #askedSinceMs = 0;
  readonly #splitWatch: SplitWatch;
  /** Blocks that the chain refused, so that no chain through them is called one to go over to. The newest. */
  readonly #refused = new Set<string>();
  #split: Split | undefined;
  #futureToldAtMs = Number.NEGATIVE_INFINITY;
  #splitToldAtMs = Number.NEGATIVE_INFINITY;
  #engine: PowEngine | undefined;
  #queue: Promise<unknown> = Promise.resolve();
  #isStepping = false;
  #isClosed = false;
  #movedAtMs: number;
  #atMs = 0;

  constructor(parts: MiningParts) {
    const { engine } = parts.ledger.network;
    assert(engine.name === "pow", "a network of proof of work");
    this.#parts = parts;
    this.#ledger = parts.ledger;
    this.#clock = parts.clock;
    this.#protocol = engine;
    this.#source = sourceOf(parts.ledger);
    const { genesisTimeMs } = parts.ledger.network;
    const isRefused = (hash: Hash): boolean => this.#refused.has(toHex(hash));
    this.#splitWatch = new SplitWatch({ protocol: engine, genesisTimeMs, source: this.#source, isRefused });
    this.#movedAtMs = parts.clock.monotonicMs();
    this.#failed.promise.catch(() => undefined); // Whoever runs the node awaits it; nobody else must.
    parts.searcher?.failed.catch((error: unknown) => this.#halt(error));
  }

  /** Rejects when the node must stop. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  /** The height that is mined upon the head. */
  get height(): Height {
    return nextHeight(this.#ledger.head().height);
  }

  /** The height of the heaviest chain of headers that we know of: work was done for it, so it is more than a peer's claim. */
  get targetHeight(): Height {
    return this.#engine?.targetHeight ?? this.#ledger.head().height;
  }

  /** Milliseconds since the head moved last. */
  get stalledMs(): number {
    return this.#clock.monotonicMs() - this.#movedAtMs;
  }

  /** Nonces tried a second by this node. */
  get hashesPerSecond(): number {
    return this.#parts.searcher?.hashesPerSecond ?? 0;
  }

  /** The engine's, or `split` while the network is on a chain that cannot be followed: an operator has to act. */
  status(): EngineStatus | undefined {
    const status = this.#engine?.status();
    return status === undefined || this.split === undefined ? status : { ...status, step: "split" };
  }

  /** A chain with more work than ours that forks below what is settled here, while there is one. */
  get split(): Split | undefined {
    if (this.#split === undefined) return undefined;
    const seal = this.#source.sealedAt(this.#ledger.head().height)?.seal;
    if (seal !== undefined && seal.chainWork >= this.#split.chainWork) this.#split = undefined;
    return this.#split;
  }

  /** Begins. Call once: until then blocks are applied and nothing is said. */
  start(): void {
    this.#track(
      this.#inTurn(async () => {
        await Promise.resolve();
        if (!this.#isClosed && this.#engine === undefined) this.#begin();
      }),
    );
  }

  /** Something to order arrived: the next candidate takes it up, in a second or two. A search is under way anyway. */
  wake(): void {}

  /** A message of a peer. Answers to it go to that peer; the verdict says whether it is worth passing on. */
  async receive(from: string, bytes: Uint8Array): Promise<Verdict> {
    // Whoever calls may be in the middle of an effect of ours.
    await Promise.resolve();
    const parsed = POW_CODEC.parse(bytes);
    if (!parsed.ok) return "reject";
    const message = parsed.value;
    if (message.kind === "getHeaders" || message.kind === "getBlocks") {
      this.#answer(from, message);
      return "ignore";
    }
    if (!isWorked(message, firstTarget(this.#protocol))) return "reject";
    const timely = withinTime(message, this.#timeMsMax());
    if (timely === undefined) this.#tellOfFuture(from, message);
    const engine = this.#engine;
    if (timely === undefined || engine === undefined) return "ignore";
    const hash = timely.kind === "announce" ? timely.sealed.seal.blockHash : undefined;
    const isNew = hash !== undefined && !engine.knows(hash);
    this.#step({ kind: "message", from, message: timely, atMs: this.#now() });
    if (timely.kind === "headers") this.#lookForSplit(from, this.#splitWatch.hear(from, timely.entries));
    if (timely.kind === "blocks") this.#lookForSplit(from, this.#splitWatch.hearBlocks(from, timely.blocks));
    return isNew && engine.knows(hash) ? "accept" : "ignore";
  }

  /** There are no proposals under proof of work. */
  proposalIds(): readonly Uint8Array[] {
    return [];
  }

  /** What a peer that stands still at `height` should hear: our newest block, by its header alone when that is as high. */
  *knowledge(height: bigint): IterableIterator<Uint8Array> {
    const head = this.#ledger.head().height;
    if (height > head + 1n) return;
    for (const message of this.#engine?.messages() ?? []) {
      const isWhole = message.kind !== "announce" || height <= head;
      yield POW_CODEC.encode(isWhole ? message : { ...message, block: undefined });
    }
  }

  /**
   * A block from a peer that brought us up, on our head: sealed as it must be, judged, committed. One that stands on
   * another branch is `block_previous`: the engine finds its own way there, by headers.
   */
  async apply(block: Block, certificate: Certificate): Promise<Result<void, Coded>> {
    return await this.#inTurn(async () => {
      if (this.#isClosed) throw new CodedError("consensus_closed");
      const head = this.#ledger.head();
      if (block.header.height <= head.height) return ok(undefined);
      if (block.header.height > head.height + 1n) return fail({ code: "block_height" });
      if (!bytesEqual(block.header.previous, head.hash)) return fail({ code: "block_previous" });
      const certified = await this.#ledger.checkCertificate(block, certificate);
      if (!certified.ok || certificate.kind !== "work") return certified;
      if (block.header.timeMs > this.#timeMsMax()) return fail({ code: "block_time" });
      if (this.#engine !== undefined) {
        const sealed = { header: block.header, seal: certificate };
        this.#step({ kind: "message", from: "", message: { kind: "announce", sealed, block }, atMs: this.#now() });
        return ok(undefined);
      }
      return (await this.#judgeAndCommit(block, certificate)) ?? ok(undefined);
    });
  }

  /** Nothing here waits for a signature. */
  async retry(): Promise<void> {
    await this.#queue;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#close();
    await this.#queue.catch(() => undefined); // Reported through `failed`.
    await Promise.allSettled(this.#inFlight);
    await this.#parts.searcher?.[Symbol.asyncDispose]();
  }

  // Beginning.

  #begin(): void {
    const { network, networkHash } = this.#ledger;
    const { chainId, parameters, genesisTimeMs } = network;
    const { self, searcher } = this.#parts;
    const isMiner = self !== undefined && searcher !== undefined;
    this.#engine = new PowEngine({ chainId, networkHash, protocol: this.#protocol, parameters, genesisTimeMs, isMiner });
    const { height } = this.#ledger.head();
    const validators = present(this.#ledger.validators(nextHeight(height)), "validators of the next height");
    this.#step({ kind: "start", height: nextHeight(height), validators, parent: this.#ledger.header(height), atMs: this.#now() });
    const whole = this.#oldestRestored(height);
    for (let at = restoreFrom(this.#protocol, height); at <= height; at = nextHeight(at)) {
      const { header, seal } = present(this.#source.sealedAt(at), "block {}", at);
      const content = at >= whole ? present(this.#source.blockAt(at), "block {}", at) : header;
      this.#step({ kind: "restore", record: encodePowRecord(seal, content), atMs: this.#now() });
    }
  }

  /** The first height whose body the engine gets back: one that may be undone, and not too many bytes below the head. */
  #oldestRestored(head: Height): Height {
    let sizeBytes = 0;
    let oldest = nextHeight(head);
    for (let depth = 0n; depth < BigInt(this.#protocol.reorgDepthMax) && depth < head; depth += 1n) {
      const height = heightOf(head - depth);
      sizeBytes += this.#ledger.blockBytes(height)?.length ?? RESTORED_SIZE_BYTES_MAX;
      if (sizeBytes > RESTORED_SIZE_BYTES_MAX) return oldest;
      oldest = height;
    }
    return oldest;
  }

  // Inputs and effects.

  #step(input: Input<PowMessage>): void {
    const engine = this.#engine;
    if (engine === undefined || this.#isClosed) return;
    assert(!this.#isStepping, "an input within an input");
    this.#isStepping = true;
    try {
      for (const effect of engine.step(input)) this.#perform(effect);
    } catch (error) {
      // Whoever brought the input (a timer, a peer) can do nothing about it, and the engine is in no known state.
      this.#halt(error);
    } finally {
      this.#isStepping = false;
    }
  }

  #perform(effect: Effect<PowMessage>): void {
    switch (effect.kind) {
      case "send": {
        const { message } = effect;
        const isQuestion = message.kind === "getHeaders";
        const bytes = POW_CODEC.encode(isQuestion ? { ...message, locator: deepened(this.#source, message.locator) } : message);
        if (effect.to === "all") this.#parts.broadcast(bytes);
        else this.#parts.sendTo(effect.to.peer, bytes);
        return;
      }
      case "head": {
        const { block, certificate } = effect;
        this.#track(this.#inTurn(async () => await this.#follow(block, certificate)));
        return;
      }
      case "build": {
        const { height, round } = effect;
        this.#track(this.#inTurn(async () => await this.#build(height, round)));
        return;
      }
      case "search":
        this.#search(effect.block, effect.target);
        return;
      case "rest":
        this.#parts.searcher?.rest();
        return;
      case "timer":
        this.#setTimer(effect.atMs);
        return;
      case "final":
        this.#parts.log.debug({ height: effect.height }, "block can be undone no more");
        return;
      case "persist":
      case "sign":
      case "verify":
      case "judge":
      case "evidence":
        throw new CodedError("engine_effect", { effect: effect.kind, message: "this driver runs proof of work" });
      default:
        unreachable(effect);
    }
  }

  #setTimer(atMs: number): void {
    const timer = this.#clock.after(Math.max(0, atMs - this.#now()), () => {
      this.#timers.delete(timer);
      // A timer may fire a fraction of a millisecond early; for the engine its moment has come.
      this.#atMs = Math.max(this.#atMs, atMs);
      this.#step({ kind: "tick", atMs: this.#now() });
    });
    this.#timers.add(timer);
  }

  // The chain moves.

  /** Undoes what stands on the block's parent, judges it, commits it, and tells the engine. */
  async #follow(block: Block, certificate: Certificate): Promise<void> {
    if (this.#isClosed) return;
    const { header } = block;
    const parent = heightOf(header.height - 1n);
    const from = this.#ledger.head().height;
    assert(bytesEqual(present(this.#source.hashAt(parent), "parent"), header.previous), "a head on a block that is not ours");
    if (from > parent) {
      await this.#ledger.rollback(parent);
      this.#parts.log.info({ from, to: parent, undone: from - parent }, "reorganisation");
    }
    const refused = await this.#judgeAndCommit(block, certificate);
    this.#step({ kind: "judged", blockHash: block.hash, valid: refused === undefined, atMs: this.#now() });
  }

  /** Why a block on the head may not be, or `undefined` once it is committed. */
  async #judgeAndCommit(
    block: Block,
    certificate: Certificate,
  ): Promise<{ readonly ok: false; readonly error: Coded } | undefined> {
    const certified = await this.#ledger.checkCertificate(block, certificate);
    const judged = certified.ok ? await this.#ledger.judge(block, { isVerified: this.#parts.isVerified }) : certified;
    if (!judged.ok) {
      const { height, proposer } = block.header;
      this.#parts.log.warn({ ...judged.error, height, miner: toHex(proposer) }, "refused block");
      const [oldest] = this.#refused;
      if (oldest !== undefined && this.#refused.size >= REFUSED_MAX) this.#refused.delete(oldest);
      this.#refused.add(toHex(block.hash));
      return judged;
    }
    await this.#ledger.commit(block, certificate);
    this.#movedAtMs = this.#clock.monotonicMs();
    return undefined;
  }

  // Mining.

  async #build(height: Height, round: number): Promise<void> {
    const head = this.#ledger.head();
    // A block came first; the engine asks again.
    if (this.#isClosed || height !== head.height + 1n) return;
    const { parameters } = this.#ledger;
    const nowMs = BigInt(Math.floor(this.#clock.wallMs()));
    const timeMsMax = this.#timeMsMax();
    if (head.timeMs >= timeMsMax) {
      // Our clock was ahead and was set right. Nobody else would take what stands on this head, nor should we: whoever
      // goes on alone until its time has come digs a branch deeper than may be undone. The engine asks again.
      this.#parts.searcher?.rest();
      this.#parts.log.warn(
        { code: "block_time", height, aheadMs: head.timeMs - nowMs },
        "nothing is mined on a head from the future",
      );
      return;
    }
    const { block, dropped } = this.#ledger.build({
      proposer: present(this.#parts.self, "address of a miner"),
      timeMs: nowMs > head.timeMs ? nowMs : head.timeMs + 1n,
      transactions: withinWork(
        this.#parts.reap({
          countMax: parameters.transactionsMax,
          sizeBytesMax: parameters.blockSizeBytesMax - BLOCK_FRAME_SIZE_BYTES_MAX,
        }),
      ),
      evidence: [],
    });
    for (const { transaction, refusal } of dropped) {
      // One that is only early stays where it waits.
      if (refusal.code !== "nonce_ahead") this.#parts.onDropped(transaction, refusal);
    }
    await Promise.resolve();
    this.#step({ kind: "propose", height, round, block, atMs: this.#now() });
  }

  #search(block: Block, target: bigint): void {
    const searcher = present(this.#parts.searcher, "searcher of a miner");
    searcher.search({ headerHash: block.hash, target }, ({ extraNonce, nonce }) => {
      this.#step({ kind: "found", blockHash: block.hash, extraNonce, nonce, atMs: this.#now() });
    });
  }

  // Questions.

  /** Answers from the ledger, a peer's questions so many a second. What it asked beyond it asks again. */
  #answer(from: string, question: PowMessage): void {
    if (this.#isClosed || this.#engine === undefined) return;
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#askedSinceMs >= 1000 || this.#asked.size >= ASKERS_MAX) {
      this.#askedSinceMs = nowMs;
      this.#asked.clear();
    }
    const asked = (this.#asked.get(from) ?? 0) + 1;
    this.#asked.set(from, asked);
    if (asked > ANSWERS_PER_SECOND_MAX) return;
    const answer = answerFrom(this.#source, question);
    if (answer !== undefined) this.#parts.sendTo(from, POW_CODEC.encode(answer));
  }

  /** The latest time that a header may have now. */
  #timeMsMax(): bigint {
    return BigInt(Math.floor(this.#clock.wallMs()) + this.#ledger.parameters.blockTimeDriftMsMax);
  }

  // Clocks and splits.

  /** A clock is wrong, and whoever made the header need not be the one whose it is. */
  #tellOfFuture(peer: string, message: PowMessage): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < this.#futureToldAtMs + FUTURE_REPEAT_MS) return;
    this.#futureToldAtMs = nowMs;
    const [first] = headersOf(message);
    const aheadMs = present(first, "header").header.timeMs - BigInt(Math.floor(this.#clock.wallMs()));
    this.#parts.log.warn(
      { code: "block_time", peer, aheadMs },
      "header from the future: this clock is behind, or its miner's ahead",
    );
  }

  #lookForSplit(peer: string, step: SplitStep | undefined): void {
    if (step === undefined) return;
    if (step.kind === "headers") {
      const locator = [step.after, { height: GENESIS_HEIGHT, hash: this.#ledger.networkHash }];
      this.#parts.sendTo(peer, POW_CODEC.encode({ kind: "getHeaders", locator }));
      return;
    }
    if (step.kind === "blocks") {
      this.#parts.sendTo(peer, POW_CODEC.encode({ kind: "getBlocks", places: step.places }));
      return;
    }
    const found = step.split;
    this.#split = found;
    this.#parts.onSplit?.(heightOf(found.forkHeight));
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < this.#splitToldAtMs + SPLIT_REPEAT_MS) return;
    this.#splitToldAtMs = nowMs;
    const head = this.#ledger.head().height;
    const { reorgDepthMax } = this.#protocol;
    this.#parts.log.error(
      { code: "pow_split", ...found, head, toUndo: head - found.forkHeight, reorgDepthMax },
      "a heavier chain forks below what is settled here: roll back to forkHeight to join it",
    );
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

  /** The node cannot go on: from now on nothing is stepped or said. */
  #halt(error: unknown): void {
    this.#failed.reject(error);
    this.#close();
  }

  #close(): void {
    this.#isClosed = true;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    this.#parts.searcher?.rest();
  }

  /** Milliseconds that never decrease, whatever the wall clock does. */
  #now(): number {
    this.#atMs = Math.max(this.#atMs, Math.floor(this.#clock.monotonicMs()));
    return this.#atMs;
  }
}

/** The chain of a ledger, as its peers are told of it. */
function sourceOf(ledger: Ledger): ChainSource {
  const sealAt = (height: Height): WorkCertificate | undefined => {
    const certificate = ledger.certificate(height);
    return certificate?.kind === "work" ? certificate : undefined;
  };
  return {
    headHeight: () => ledger.head().height,
    hashAt: (height): Hash | undefined => (height === GENESIS_HEIGHT ? ledger.networkHash : sealAt(height)?.blockHash),
    sealedAt(height) {
      const header = ledger.header(height);
      const seal = sealAt(height);
      return header === undefined || seal === undefined ? undefined : { header, seal };
    },
    blockAt: (height) => ledger.block(height),
  };
}
