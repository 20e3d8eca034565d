/**
 * Block sync: fetch blocks that others have and we do not, from whoever serves them, believing nobody.
 *
 * Wire, `/pyralog/sync/1`, all canonical dag-cbor:
 * ```
 *   asked  [0]                    answered  one frame  [height, earliest]
 *   asked  [1, from, count]       answered  count frames or fewer, from `from` on:  [block, certificate]
 * ```
 * An answer holds at least one block or is a refusal (`unavailable`), and ends early when it is large.
 *
 * ```
 *   idle --somebody claims more--> fetching --window--> applying (and fetching the next) --reached--> idle
 *               ^                      |  stalled, garbage, lied, invalid block: penalise, bench, ask another
 *               +----------------------+
 * ```
 * A claim is worth nothing until the blocks behind it were applied: the sink verifies each. A peer that claims and
 * does not serve is benched, so that it holds sync up once and not for ever.
 */

import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { type DecodeError, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import type { Log } from "../log/log.ts";
import type { Counter, Metrics } from "../metrics/metrics.ts";
import type { Clock } from "../ports/clock.ts";
import type { Limits } from "./limits.ts";
import type { Network } from "./network.ts";
import type { Offence } from "./peers.ts";
import { refuse, type Handler } from "./request.ts";

/** The protocol of block sync. */
export const SYNC_PROTOCOL = "/pyralog/sync/1";

/** A block and the certificate that makes it final, as encoded. */
export type EncodedBlock = { readonly block: Uint8Array; readonly certificate: Uint8Array };

/** Where the serving side gets blocks. */
export interface BlockSource {
  /** The height of the last final block. */
  height(): bigint;
  /** The lowest height that is still kept; 1 when absent. */
  earliest?(): bigint;
  encoded(height: bigint): EncodedBlock | undefined;
}

/** Where the fetching side puts blocks. */
export interface BlockSink {
  /** The height of the last final block; consensus may raise it at any time. */
  height(): bigint;
  /** Verifies the block of `height() + 1` with its certificate, and commits it. A refusal means that the peer sent a bad block. */
  apply(block: Uint8Array, certificate: Uint8Array): Promise<Result<void, { readonly code: string }>>;
}

/** A question. */
export type SyncRequest =
  | { readonly kind: "status" }
  | { readonly kind: "blocks"; readonly from: bigint; readonly count: number };

/** What a peer says it has. */
export type SyncStatus = { readonly height: bigint; readonly earliest: bigint };

const HEIGHT_END = 1n << 63n;
/** How often a node that cannot go on says so. */
const STRANDED_INTERVAL_MS = 60_000;

/** The one encoding of a question. */
export function encodeSyncRequest(request: SyncRequest): Uint8Array {
  if (request.kind === "status") return new Writer().array(1).uint(0).finish();
  return new Writer().array(3).uint(1).uint(request.from).uint(request.count).finish();
}

/** Parses a question from a peer. */
export function parseSyncRequest(bytes: Uint8Array, limits: Limits): Result<SyncRequest, DecodeError> {
  return readWith(bytes, (reader): SyncRequest => {
    const length = reader.array(3);
    const kind = reader.field("kind").number(1);
    if (length !== (kind === 0 ? 1 : 3)) reader.refuse("encoding_limit");
    if (kind === 0) return { kind: "status" };
    const from = reader.field("from").uint();
    const count = reader.field("count").number(limits.syncWindowBlocksMax);
    if (from === 0n || from >= HEIGHT_END || count === 0) reader.refuse("encoding_limit");
    return { kind: "blocks", from, count };
  });
}

/** The one encoding of a status. */
export function encodeSyncStatus(status: SyncStatus): Uint8Array {
  return new Writer().array(2).uint(status.height).uint(status.earliest).finish();
}

/** Parses a status from a peer. */
export function parseSyncStatus(bytes: Uint8Array): Result<SyncStatus, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.tuple(2);
    const height = reader.field("height").uint();
    const earliest = reader.field("earliest").uint();
    if (height >= HEIGHT_END || earliest >= HEIGHT_END) reader.refuse("encoding_limit");
    return { height, earliest };
  });
}

/** The one encoding of a block with its certificate. */
export function encodeBlockAnswer(encoded: EncodedBlock): Uint8Array {
  return new Writer().array(2).bytes(encoded.block).bytes(encoded.certificate).finish();
}

/** Parses a block with its certificate from a peer; both are views on `bytes`, and neither is looked into. */
export function parseBlockAnswer(bytes: Uint8Array): Result<EncodedBlock, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.tuple(2);
    const block = reader.field("block").bytes(bytes.length);
    const certificate = reader.field("certificate").bytes(bytes.length);
    if (block.length === 0 || certificate.length === 0) reader.refuse("encoding_limit");
    return { block, certificate };
  });
}

/** Serves blocks: `network.handle(SYNC_PROTOCOL, blockServer(source, network.limits))`. */
export function blockServer(source: BlockSource, limits: Limits): Handler {
  return async function* serve(asked) {
    const request = parseSyncRequest(asked.bytes, limits);
    if (!request.ok) throw refuse("malformed");
    if (request.value.kind === "status") {
      yield encodeSyncStatus({ height: source.height(), earliest: source.earliest?.() ?? 1n });
      return;
    }
    const { from, count } = request.value;
    let sizeBytes = 0;
    for (let index = 0; index < count && sizeBytes < limits.syncAnswerBytesMax; index += 1) {
      const encoded = source.encoded(from + BigInt(index));
      if (encoded === undefined) {
        if (index === 0) throw refuse("unavailable");
        return;
      }
      const frame = encodeBlockAnswer(encoded);
      sizeBytes += frame.length;
      yield frame;
    }
  };
}

/** Where sync stands. */
export type SyncProgress = {
  readonly height: bigint;
  /** The highest height that a peer in good standing claims; at least `height`. */
  readonly target: bigint;
  /** How many peers can be asked for the next block. */
  readonly peers: number;
};

type Window = { readonly peer: string; readonly from: bigint; readonly blocks: readonly EncodedBlock[] };
type Fetched = Result<Window, { readonly code: "no_peer" | "peer_failed" }>;

/** What sync needs of the network. */
export type SyncNetwork = Pick<Network, "request" | "penalise" | "peers" | "onChange" | "limits">;

/** What a synchroniser works with. `draw` gives numbers from 0 to 1, for a fair choice among equals. */
export type SyncParts = {
  readonly network: SyncNetwork;
  readonly sink: BlockSink;
  readonly clock: Clock;
  readonly draw: () => number;
  readonly log: Log;
  readonly metrics: Metrics;
};

/** Follows the best chain that verifies. `run` it as long as the node runs. */
export class Synchroniser {
  readonly #network: SyncNetwork;
  readonly #clock: Clock;
  readonly #draw: () => number;
  readonly #sink: BlockSink;
  readonly #log: Log;
  readonly #onProgress: (progress: SyncProgress) => void;
  readonly #blocks: Counter;
  readonly #failures: Counter;
  /** Peers not to ask until then, in monotonic milliseconds. */
  readonly #benched = new Map<string, number>();
  /** Heights that we heard of otherwise (a proposal from the future) before the peer's next heartbeat. */
  readonly #hints = new Map<string, bigint>();
  /** The lowest block that a peer says it keeps, when it refused a lower one. */
  readonly #earliest = new Map<string, bigint>();
  /** How many windows are being fetched from whom. */
  readonly #asking = new Map<string, number>();
  #wake: (() => void) | undefined;
  #toldStrandedMs = Number.NEGATIVE_INFINITY;

  constructor(options: { readonly onProgress?: (progress: SyncProgress) => void }, dependencies: SyncParts) {
    this.#network = dependencies.network;
    this.#clock = dependencies.clock;
    this.#draw = dependencies.draw;
    this.#sink = dependencies.sink;
    this.#log = dependencies.log.child({ part: "sync" });
    this.#onProgress = options.onProgress ?? (() => {});
    this.#blocks = dependencies.metrics.counter({ name: "network_sync_blocks_total", help: "Blocks applied by sync" });
    this.#failures = dependencies.metrics.counter({
      name: "network_sync_failures_total",
      help: "Windows that failed, by cause",
      labels: ["cause"],
    });
  }

  /** Where sync stands now. */
  progress(): SyncProgress {
    const height = this.#sink.height();
    const candidates = this.#candidates(height + 1n);
    const target = candidates.reduce((best, { height: claimed }) => (claimed > best ? claimed : best), height);
    return { height, target, peers: candidates.length };
  }

  /** Tells that a peer has shown knowledge of `height`. As unproven as any claim. */
  hint(peer: string, height: bigint): void {
    if (height <= (this.#hints.get(peer) ?? 0n)) return;
    this.#hints.set(peer, height);
    this.#wake?.();
  }

  /**
   * Follows until the signal aborts, then returns once what was under way has ended.
   * Rejects only with what the sink throws: the world failed underneath, and that is not for a peer to answer for.
   */
  async run(signal: AbortSignal): Promise<void> {
    using _changes = this.#network.onChange(() => this.#wake?.());
    while (!signal.aborted) {
      if (this.#candidates(this.#sink.height() + 1n).length > 0) await this.#catchUp(signal);
      else await this.#idle(signal);
    }
  }

  /** Fetches and applies windows until nobody has more, or a window failed. */
  async #catchUp(signal: AbortSignal): Promise<void> {
    const round = new AbortController();
    const bounded = AbortSignal.any([signal, round.signal]);
    let fetching = this.#fetch(this.#sink.height() + 1n, bounded);
    try {
      while (!signal.aborted) {
        this.#onProgress(this.progress());
        const window = await fetching;
        if (!window.ok) return;
        const { from, blocks } = window.value;
        const next = from + BigInt(blocks.length);
        fetching = this.#candidates(next).length > 0 ? this.#fetch(next, bounded) : Promise.resolve(fail({ code: "no_peer" }));
        if (!(await this.#apply(window.value, signal))) return;
      }
    } finally {
      round.abort();
      await fetching;
      this.#onProgress(this.progress());
    }
  }

  /** Applies a window in order; `false` when it cannot be continued from. Blocks that consensus committed meanwhile are skipped. */
  async #apply(window: Window, signal: AbortSignal): Promise<boolean> {
    for (const [index, { block, certificate }] of window.blocks.entries()) {
      if (signal.aborted) return false;
      const height = window.from + BigInt(index);
      if (this.#sink.height() >= height) continue;
      if (this.#sink.height() + 1n !== height) return false;
      const applied = await this.#sink.apply(block, certificate);
      if (!applied.ok) {
        // Consensus may have committed this very height while the block was being checked.
        if (this.#sink.height() >= height) continue;
        this.#log.warn({ peer: window.peer, height, code: applied.error.code }, "peer sent a bad block");
        this.#fail(window.peer, "invalid_block", "invalid_block");
        return false;
      }
      this.#blocks.add(1);
    }
    return true;
  }

  /** Fetches one window from one peer. Never rejects. */
  async #fetch(from: bigint, signal: AbortSignal): Promise<Fetched> {
    const candidate = this.#choose(from);
    if (candidate === undefined) return fail({ code: "no_peer" });
    const { peer, height } = candidate;
    const { limits } = this.#network;
    const ahead = height - from + 1n;
    const count = ahead < BigInt(limits.syncWindowBlocksMax) ? Number(ahead) : limits.syncWindowBlocksMax;
    const blocks: EncodedBlock[] = [];
    this.#asking.set(peer, (this.#asking.get(peer) ?? 0) + 1);
    try {
      const request = encodeSyncRequest({ kind: "blocks", from, count });
      for await (const frame of this.#network.request(peer, SYNC_PROTOCOL, request, {
        signal,
        timeoutMs: limits.syncWindowTimeoutMs,
      })) {
        const answer = parseBlockAnswer(frame);
        if (!answer.ok || blocks.length === count) {
          this.#fail(peer, "malformed", "malformed");
          return fail({ code: "peer_failed" });
        }
        blocks.push(answer.value);
      }
    } catch (error) {
      if (!signal.aborted) await this.#failedWith(peer, from, error, signal);
      // What arrived before it failed is as good as any: every block is verified.
      return blocks.length > 0 ? ok({ peer, from, blocks }) : fail({ code: "peer_failed" });
    } finally {
      const left = (this.#asking.get(peer) ?? 1) - 1;
      if (left === 0) this.#asking.delete(peer);
      else this.#asking.set(peer, left);
    }
    if (blocks.length > 0) return ok({ peer, from, blocks });
    this.#fail(peer, "height_lie", "empty");
    return fail({ code: "peer_failed" });
  }

  /** Finds out what a failed window says about the peer. */
  async #failedWith(peer: string, from: bigint, error: unknown, signal: AbortSignal): Promise<void> {
    const code = codeOf(error);
    const refusal = error instanceof CodedError ? error.detail["refusal"] : undefined;
    this.#log.debug({ peer, from, code, refusal }, "window failed");
    if (refusal === "unavailable" && (await this.#hasPruned(peer, from, signal))) return;
    if (signal.aborted) return;
    if (refusal === "unavailable") this.#fail(peer, "height_lie", "unavailable");
    else if (refusal === undefined) this.#fail(peer, undefined, code);
    else this.#fail(peer, undefined, "refused", this.#network.limits.syncRetryMs);
    // Broken framing and stalls were penalised by the request itself.
  }

  /** Whether the peer says that it no longer keeps block `from`: then it did not lie, and is asked for later ones only. */
  async #hasPruned(peer: string, from: bigint, signal: AbortSignal): Promise<boolean> {
    const frames: Uint8Array[] = [];
    try {
      const request = encodeSyncRequest({ kind: "status" });
      for await (const frame of this.#network.request(peer, SYNC_PROTOCOL, request, {
        signal,
        timeoutMs: this.#network.limits.frameTimeoutMs,
        totalBytesMax: 1_024,
      }))
        frames.push(frame);
    } catch (error) {
      this.#log.debug({ peer, code: codeOf(error) }, "status failed");
      return false;
    }
    const status = frames.length === 1 && frames[0] !== undefined ? parseSyncStatus(frames[0]) : undefined;
    if (status?.ok !== true || status.value.earliest <= from || status.value.height < status.value.earliest) return false;
    this.#earliest.set(peer, status.value.earliest);
    return true;
  }

  /** Benches a peer and forgets what it claimed out of turn. */
  #fail(peer: string, offence: Offence | undefined, cause: string, benchMs = this.#network.limits.syncBenchMs): void {
    this.#failures.add(1, { cause });
    this.#hints.delete(peer);
    this.#benched.set(peer, this.#clock.monotonicMs() + benchMs);
    if (offence !== undefined) this.#network.penalise(peer, offence);
  }

  /** Who claims to have block `from`, and is not benched. */
  #candidates(from: bigint): { readonly peer: string; readonly height: bigint; readonly score: number }[] {
    const now = this.#clock.monotonicMs();
    const candidates = [];
    for (const { id, height: claimed, score } of this.#network.peers()) {
      if ((this.#benched.get(id) ?? 0) > now || (this.#earliest.get(id) ?? 0n) > from) continue;
      const hinted = this.#hints.get(id) ?? 0n;
      const height = hinted > claimed ? hinted : claimed;
      if (height >= from) candidates.push({ peer: id, height, score });
    }
    return candidates;
  }

  /** The best of them: least asked, then best score, then any. Not the highest claim, which is free to make. */
  #choose(from: bigint): { readonly peer: string; readonly height: bigint } | undefined {
    const weighed = this.#candidates(from).map((candidate) => ({
      ...candidate,
      asking: this.#asking.get(candidate.peer) ?? 0,
      lot: this.#draw(),
    }));
    weighed.sort((a, b) => a.asking - b.asking || b.score - a.score || a.lot - b.lot);
    return weighed[0];
  }

  /** Says once in a while that peers are ahead and none of them keeps the next block: waiting will not help. */
  #noteStranded(now: number): void {
    const next = this.#sink.height() + 1n;
    const ahead = this.#network.peers().filter(({ id, height }) => height >= next && (this.#earliest.get(id) ?? 0n) > next);
    if (ahead.length === 0 || now < this.#toldStrandedMs + STRANDED_INTERVAL_MS) return;
    this.#toldStrandedMs = now;
    const code = "sync_stranded";
    this.#log.warn({ code, height: next, peers: ahead.length }, "no peer keeps the next block: join again, from a snapshot");
  }

  async #idle(signal: AbortSignal): Promise<void> {
    const now = this.#clock.monotonicMs();
    this.#noteStranded(now);
    for (const [peer, untilMs] of this.#benched) if (untilMs <= now) this.#benched.delete(peer);
    const known = new Set(this.#network.peers().map(({ id }) => id));
    for (const heights of [this.#hints, this.#earliest])
      for (const peer of heights.keys()) if (!known.has(peer)) heights.delete(peer);
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#clock.after(this.#network.limits.syncIdleMs, resolve);
    const stop = (): void => resolve();
    signal.addEventListener("abort", stop, { once: true });
    this.#wake = resolve;
    await promise;
    this.#wake = undefined;
    signal.removeEventListener("abort", stop);
    timer.cancel();
  }
}
