/**
 * Gets a snapshot from peers, believing nobody: chunk by chunk, each checked as it comes and then kept on the shelf.
 *
 * ```
 *   finding --an offer--> proving --certified header--> fetching --all chunks--> whole
 *      ^                     |                             |
 *      |  nobody offers it any more: another snapshot      |  a chunk under its name that is not true: the snapshot is
 *      +---------------------------------------------------+  a lie, and so were all who offered it
 * ```
 *
 * Progress is what is on the shelf, and the note of which snapshot it is for: killed at any moment, the next run goes on
 * with the same one, as long as somebody offers it. Who stalls, drips or refuses is benched; who sends other bytes than a
 * chunk's name says, or offers what is not true, is banned. Batches grow with a peer's speed to about two seconds, and at
 * the end what is left with a slow peer is asked of another as well.
 */

import { present } from "../../crypto/base/assert.ts";
import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import { type Height } from "../../chain/block/height.ts";
import type { Log } from "../log/log.ts";
import type { Counter, Metrics } from "../metrics/metrics.ts";
import { CHUNKS_PROTOCOL, encodeChunksRequest, type Offer, oneFrame, parseOffers } from "../network/chunks.ts";
import type { Network } from "../network/network.ts";
import type { Offence } from "../network/peers.ts";
import { type Clock, sleep } from "../ports/clock.ts";
import { rootName } from "./create.ts";
import {
  addressOf,
  CHUNK_SIZE_BYTES_GOAL,
  type Index,
  INDEX_SIZE_BYTES_MAX,
  PAGE_SIZE_BYTES_MAX,
  PAGES_SIZE_BYTES_MAX,
  parseIndex,
  parsePage,
} from "./format.ts";
import type { Shelf, Shelved } from "./shelf.ts";
import { checkIndex, planOf, type Refusal, type Step, Trust } from "./verify.ts";

/** How long one batch should take. */
const BATCH_MS_GOAL = 2_000;
/** How often we look at peers and at what is stuck. */
const LOOK_INTERVAL_MS = 50;
/** A snapshot that was offered and not served is not begun with again for this long. */
const AVOID_MS = 600_000;
/** Progress is measured over about this long. */
const SPEED_WINDOW_MS = 10_000;

/** Where a join stands. */
export type JoinProgress = {
  readonly phase: "finding" | "proving" | "fetching" | "whole";
  /** Of the snapshot; `undefined` while finding. */
  readonly height: Height | undefined;
  readonly chunks: number;
  readonly chunksTotal: number;
  readonly sizeBytes: number;
  readonly sizeBytesTotal: number;
  /** Peers that offer it. */
  readonly peers: number;
  /** At the speed of the last seconds; `undefined` while there is none. */
  readonly secondsLeft: number | undefined;
};

/** What a join needs of the network. */
export type JoinNetwork = Pick<Network, "request" | "penalise" | "peers" | "limits">;

/** What a joiner works with. `draw` gives numbers from 0 to 1, for a fair choice among equals. */
export type JoinerParts = {
  readonly network: JoinNetwork;
  readonly file: NetworkFile;
  readonly shelf: Shelf;
  readonly clock: Clock;
  readonly draw: () => number;
  readonly log: Log;
  readonly metrics: Metrics;
};

/** Something to get by its name. `take` says whether it is what it must be, and keeps it. */
type Want = {
  readonly hash: Hash;
  readonly sizeBytesMax: number;
  readonly take: (bytes: Uint8Array) => Promise<Result<void, Refusal>>;
};

/** A batch under way. */
type Batch = { readonly peer: string; readonly wants: readonly Want[]; readonly sinceMs: number; isHedged: boolean };

/** How fetching ended: with all of it, with something untrue, or with nobody left to ask. */
type Outcome = Result<void, Refusal | { readonly code: "snapshot_gone" }>;

/** What is known of one peer. */
type PeerRecord = {
  offers: readonly Offer[];
  /** What it offered and did not have; not asked for until then. */
  readonly lacks: Map<string, number>;
  listedAtMs: number | undefined;
  isListing: boolean;
  benchedUntilMs: number;
  asking: number;
  /** Bytes a millisecond; 0 until the first batch. */
  speed: number;
};

/** See the file's head. Run it once. */
export class Joiner {
  readonly #parts: JoinerParts;
  readonly #log: Log;
  readonly #onProgress: (progress: JoinProgress) => void;
  readonly #chunks: Counter;
  readonly #failures: Counter;
  readonly #peers = new Map<string, PeerRecord>();
  /** Roots that turned out to be lies. */
  readonly #refused = new Set<string>();
  /** Roots that were offered and not served, until then in monotonic milliseconds. */
  readonly #avoided = new Map<string, number>();
  readonly #tasks = new Set<Promise<void>>();
  /** When bytes came, and how many there were by then. */
  readonly #arrivals: { readonly atMs: number; readonly sizeBytes: number }[] = [];
  #progress: JoinProgress = {
    phase: "finding",
    height: undefined,
    chunks: 0,
    chunksTotal: 0,
    sizeBytes: 0,
    sizeBytesTotal: 0,
    peers: 0,
    secondsLeft: undefined,
  };

  constructor(options: { readonly onProgress?: (progress: JoinProgress) => void }, parts: JoinerParts) {
    this.#parts = parts;
    this.#log = parts.log.child({ part: "join" });
    this.#onProgress = options.onProgress ?? (() => {});
    this.#chunks = parts.metrics.counter({ name: "join_chunks_total", help: "Chunks fetched and proven" });
    this.#failures = parts.metrics.counter({
      name: "join_failures_total",
      help: "Batches that failed, by cause",
      labels: ["cause"],
    });
  }

  /** Where the join stands now. */
  get progress(): JoinProgress {
    return this.#progress;
  }

  /**
   * Resolves once a whole snapshot is on the shelf (the note that it is being joined from stays until the caller has
   * restored it, and takes it away), or with `undefined` when no peer serves one, or the chain is so short
   * that replaying it is quicker: then blocks are the way.
   *
   * @throws the signal's reason; what the disk throws
   */
  async run(signal: AbortSignal): Promise<Shelved | undefined> {
    const stopping = new AbortController();
    const bounded = AbortSignal.any([signal, stopping.signal]);
    try {
      for (;;) {
        const offer = await this.#choose(bounded);
        signal.throwIfAborted();
        if (offer === undefined) return undefined;
        this.#log.info({ height: offer.height, root: rootName(offer.root) }, "fetching a snapshot");
        const outcome = await this.#fetch(offer, bounded);
        signal.throwIfAborted();
        if (outcome.ok) return outcome.value;
        if (outcome.error.code !== "snapshot_gone") this.#refuse(offer, outcome.error as Refusal);
        else this.#avoid(offer);
        await this.#parts.shelf.endJoining();
      }
    } finally {
      stopping.abort();
      while (this.#tasks.size > 0) await Promise.all(this.#tasks);
    }
  }

  // Finding.

  /** The snapshot to fetch: the one begun with, while somebody offers it; else the newest on offer. */
  async #choose(signal: AbortSignal): Promise<Offer | undefined> {
    const { network, shelf, clock } = this.#parts;
    const { limits } = network;
    this.#tell({ phase: "finding", height: undefined });
    const begun = await shelf.joining();
    // All of it may be there already.
    if (begun !== undefined && (await this.#isWhole(begun))) return { height: begun.index.height, root: begun.root };
    const startedMs = clock.monotonicMs();
    let firstMs: number | undefined;
    while (!signal.aborted) {
      this.#list(signal);
      const nowMs = clock.monotonicMs();
      const peers = network.peers();
      const offers = this.#offers();
      const again = begun === undefined ? undefined : { height: begun.index.height, root: begun.root };
      if (again !== undefined && offers.some((offer) => isSame(offer, again))) return again;
      if (peers.length > 0) firstMs ??= nowMs;
      const hasSettled = firstMs !== undefined && nowMs - firstMs >= limits.snapshotSettleMs;
      const areListed = peers.length > 0 && peers.every(({ id }) => this.#record(id).listedAtMs !== undefined);
      const claimed = peers.reduce((most, { height }) => (height > most ? height : most), 0n);
      const patience = begun === undefined ? limits.snapshotSettleMs : limits.snapshotPatienceMs;
      const isPatient = firstMs !== undefined && nowMs - firstMs < patience;
      if (hasSettled && areListed && !isPatient) {
        const best = offers[0];
        const isShort = begun === undefined && claimed < BigInt(limits.snapshotHeightsMin);
        return isShort ? undefined : best;
      }
      // A peer that does not even list is no reason to wait for ever, nor is having no peer at all.
      if (nowMs - startedMs > limits.snapshotPatienceMs && (begun === undefined || firstMs !== undefined)) {
        if (offers[0] !== undefined || begun === undefined) return offers[0];
      }
      await sleep(clock, LOOK_INTERVAL_MS, signal);
    }
    return undefined;
  }

  async #isWhole({ index }: Shelved): Promise<boolean> {
    const { shelf } = this.#parts;
    const entries = await shelf.entries(index);
    return entries !== undefined && entries.every(({ hash }) => shelf.has(hash));
  }

  /** What peers in good standing offer, best first: the newest, then what most of them have. */
  #offers(): readonly Offer[] {
    const byRoot = new Map<string, { readonly offer: Offer; count: number }>();
    for (const { id } of this.#parts.network.peers()) {
      for (const offer of this.#record(id).offers) {
        const name = nameOf(offer);
        if (this.#refused.has(name)) continue;
        const known = byRoot.get(name);
        if (known === undefined) byRoot.set(name, { offer, count: 1 });
        else known.count += 1;
      }
    }
    const nowMs = this.#parts.clock.monotonicMs();
    return [...byRoot.values()]
      .filter(({ offer }) => (this.#avoided.get(nameOf(offer)) ?? 0) <= nowMs)
      .toSorted((a, b) => Number(b.offer.height - a.offer.height) || b.count - a.count)
      .map(({ offer }) => offer);
  }

  /** Asks whoever has not been asked lately for what it offers. */
  #list(signal: AbortSignal): void {
    const { network, clock } = this.#parts;
    const nowMs = clock.monotonicMs();
    const known = new Set(network.peers().map(({ id }) => id));
    for (const [peer, record] of this.#peers)
      if (!known.has(peer) && record.asking === 0 && !record.isListing) this.#peers.delete(peer);
    for (const id of known) {
      const record = this.#record(id);
      const isFresh = record.listedAtMs !== undefined && nowMs - record.listedAtMs < network.limits.snapshotListMs;
      if (isFresh || record.isListing || record.benchedUntilMs > nowMs) continue;
      record.isListing = true;
      this.#own(this.#listOne(id, record, signal));
    }
  }

  async #listOne(peer: string, record: PeerRecord, signal: AbortSignal): Promise<void> {
    const { network, clock } = this.#parts;
    const { limits } = network;
    const frames: Uint8Array[] = [];
    try {
      const request = encodeChunksRequest({ kind: "offers" });
      const options = { signal, timeoutMs: limits.frameTimeoutMs, totalBytesMax: 4_096, isForgiving: true };
      for await (const frame of network.request(peer, CHUNKS_PROTOCOL, request, options)) frames.push(frame);
      const frame = oneFrame(frames);
      const offers = frame.ok ? parseOffers(frame.value, limits) : frame;
      if (!offers.ok) return this.#fail(peer, "malformed", "malformed");
      record.offers = offers.value;
      record.listedAtMs = clock.monotonicMs();
    } catch (error) {
      if (signal.aborted) return;
      this.#log.debug({ peer, code: codeOf(error) }, "peer does not say what it offers");
      const refusal = error instanceof CodedError ? error.detail["refusal"] : undefined;
      // One that does not answer now, or is busy, may have what it had.
      if (refusal !== "unsupported") return this.#fail(peer, undefined, codeOf(error), limits.syncRetryMs);
      // An older version, or a node that has not opened its protocols yet: not worth a penalty, and asked again later.
      record.offers = [];
      record.listedAtMs = clock.monotonicMs();
    } finally {
      record.isListing = false;
    }
  }

  // Fetching.

  async #fetch(offer: Offer, signal: AbortSignal): Promise<Result<Shelved, Refusal | { readonly code: "snapshot_gone" }>> {
    const { file, shelf } = this.#parts;
    this.#arrivals.length = 0;
    this.#tell({ phase: "proving", height: offer.height, chunks: 0, chunksTotal: 0, sizeBytes: 0, sizeBytesTotal: 0 });
    const index = await this.#index(offer, signal);
    if (!index.ok) return index;
    const planned = await this.#plan(offer, index.value.index, signal);
    if (!planned.ok) return planned;
    const steps = planned.value;
    const trust = new Trust(file, offer.height);
    for (const step of steps) {
      if (step.kind !== "changes" && step.kind !== "block") continue;
      const proven = await this.#get(offer, [this.#wantOf(step, trust)], signal);
      if (!proven.ok) return proven;
    }
    const history = trust.checkHistory(steps);
    if (!history.ok) return history;
    this.#tell({ phase: "fetching", chunksTotal: steps.length, sizeBytesTotal: Number(index.value.index.sizeBytes) });
    this.#count(steps);
    const first = await this.#getSteps(
      offer,
      steps.filter(({ kind }) => kind === "headers" || kind === "state"),
      trust,
      signal,
    );
    if (!first.ok) return first;
    const partitions = trust.checkPartitions(steps);
    if (!partitions.ok) return partitions;
    const rest = await this.#getSteps(
      offer,
      steps.filter(({ kind }) => kind === "records"),
      trust,
      signal,
    );
    if (!rest.ok) return rest;
    const shelved = await shelf.finish(index.value.bytes);
    this.#tell({ phase: "whole", chunks: steps.length, sizeBytes: Number(index.value.index.sizeBytes), secondsLeft: 0 });
    return ok(shelved);
  }

  /** The index that an offer names, noted as the one that is being fetched. */
  async #index(offer: Offer, signal: AbortSignal): Promise<Result<Shelved, Refusal | { readonly code: "snapshot_gone" }>> {
    const { file, shelf } = this.#parts;
    const begun = await shelf.joining();
    if (begun !== undefined && bytesEqual(begun.root, offer.root)) return ok(begun);
    let found: Shelved | undefined;
    const take = async (bytes: Uint8Array): Promise<Result<void, Refusal>> => {
      const parsed = parseIndex(bytes);
      if (!parsed.ok) return fail({ code: parsed.error.code, message: parsed.error.field ?? "index" });
      const checked = checkIndex(file, parsed.value);
      if (!checked.ok) return checked;
      if (parsed.value.height !== offer.height) return fail({ code: "snapshot_order", message: "an index of another height" });
      found = { root: offer.root, index: parsed.value, bytes: bytes.slice() };
      await shelf.beginJoining(found.bytes);
      return ok(undefined);
    };
    const fetched = await this.#get(offer, [{ hash: offer.root, sizeBytesMax: INDEX_SIZE_BYTES_MAX, take }], signal);
    return fetched.ok ? ok(present(found, "index")) : fetched;
  }

  async #plan(
    offer: Offer,
    index: Index,
    signal: AbortSignal,
  ): Promise<Result<readonly Step[], Refusal | { readonly code: "snapshot_gone" }>> {
    const { shelf } = this.#parts;
    const wants: Want[] = [];
    let sizeBytes = 0;
    for (const hash of index.pages) {
      if ((await shelf.read(hash)) !== undefined) continue;
      wants.push({
        hash,
        sizeBytesMax: PAGE_SIZE_BYTES_MAX,
        take: async (bytes) => {
          const page = parsePage(bytes);
          if (!page.ok) return fail({ code: page.error.code, message: page.error.field ?? "page" });
          sizeBytes += bytes.length;
          if (sizeBytes > PAGES_SIZE_BYTES_MAX) return fail({ code: "snapshot_malformed", message: "pages beyond all bounds" });
          await shelf.put(hash, bytes);
          return ok(undefined);
        },
      });
    }
    const fetched = await this.#get(offer, wants, signal);
    if (!fetched.ok) return fetched;
    const entries = await shelf.entries(index);
    return entries === undefined ? fail({ code: "snapshot_malformed", message: "a page that is none" }) : planOf(index, entries);
  }

  /** Gets the chunks of some steps that are not on the shelf, and checks those that are. */
  async #getSteps(offer: Offer, steps: readonly Step[], trust: Trust, signal: AbortSignal): Promise<Outcome> {
    const { shelf } = this.#parts;
    const wants: Want[] = [];
    for (const step of steps) {
      signal.throwIfAborted();
      const want = this.#wantOf(step, trust);
      const bytes = await shelf.get(step.entry);
      // Proven when it was put there, but it may have been in another snapshot's plan, which said otherwise where it ends.
      const kept = bytes === undefined ? undefined : await want.take(bytes);
      if (kept !== undefined && !kept.ok) return kept;
      if (bytes === undefined) wants.push(want);
    }
    return await this.#get(offer, wants, signal);
  }

  #wantOf(step: Step, trust: Trust): Want {
    const { shelf } = this.#parts;
    const { hash, sizeBytes } = step.entry;
    const check = async (bytes: Uint8Array): Promise<Result<unknown, Refusal>> => {
      if (step.kind === "changes") return await trust.takeChanges(bytes);
      if (step.kind === "block") return await trust.takeBlock(bytes);
      return trust.check(step, bytes);
    };
    return {
      hash,
      sizeBytesMax: sizeBytes,
      take: async (bytes) => {
        // Both a hedge and what it is for may come; changes and the block are not taken twice.
        const checked =
          bytes.length === sizeBytes ? await check(bytes) : fail({ code: "snapshot_chunk" as const, message: "another size" });
        if (!checked.ok) return checked;
        const isNew = !shelf.has(hash);
        await shelf.put(hash, bytes);
        if (isNew) this.#arrived(sizeBytes);
        return ok(undefined);
      },
    };
  }

  /** Gets all of some wants, from whoever offers the snapshot. */
  async #get(offer: Offer, wants: readonly Want[], signal: AbortSignal): Promise<Outcome> {
    const { clock, network, shelf } = this.#parts;
    const { limits } = network;
    const left = new Map<string, Want>();
    for (const want of wants) {
      const bytes = shelf.has(want.hash) ? await shelf.read(want.hash) : undefined;
      const kept = bytes === undefined ? undefined : await want.take(bytes);
      if (kept !== undefined && !kept.ok) return kept;
      if (kept === undefined) left.set(toHex(want.hash), want);
    }
    const queue = [...left.values()];
    const batches = new Set<Batch>();
    const round = new AbortController();
    const bounded = AbortSignal.any([signal, round.signal]);
    let lie: Refusal | undefined;
    let failure: { readonly error: unknown } | undefined;
    // Little is lost by turning to another snapshot before the first chunk.
    const patienceMs = this.#progress.phase === "fetching" ? limits.snapshotPatienceMs : limits.snapshotSettleMs;
    let offeredAtMs = clock.monotonicMs();
    const start = (peer: string, of: readonly Want[]): void => {
      const batch: Batch = { peer, wants: of, sinceMs: clock.monotonicMs(), isHedged: false };
      batches.add(batch);
      const run = async (): Promise<void> => {
        try {
          const refusal = await this.#batch({ peer, offer, wants: of, left }, bounded);
          lie ??= refusal;
        } catch (error) {
          failure ??= { error };
        }
        batches.delete(batch);
        // Whoever was asked for them as well may still bring them.
        const underWay = new Set([...batches].flatMap((other) => other.wants.map(({ hash }) => toHex(hash))));
        queue.push(...of.filter(({ hash }) => left.has(toHex(hash)) && !underWay.has(toHex(hash))));
      };
      this.#own(run());
    };
    try {
      while (left.size > 0 && lie === undefined && failure === undefined) {
        signal.throwIfAborted();
        this.#list(signal);
        const nowMs = clock.monotonicMs();
        if (this.#holders(offer).length > 0 || batches.size > 0) offeredAtMs = nowMs;
        else if (nowMs - offeredAtMs > patienceMs && this.#offers().some((other) => !isSame(other, offer)))
          return fail({ code: "snapshot_gone" });
        while (batches.size < limits.snapshotAskedMax) {
          const peer = this.#choosePeer(offer);
          if (peer === undefined) break;
          const of =
            queue.length > 0
              ? queue.splice(0, this.#batchSize(peer))
              : stuck(batches, peer, left, nowMs - limits.snapshotHedgeMs);
          if (of.length === 0) break;
          start(peer, of);
        }
        this.#tell({ peers: this.#holders(offer).length });
        await Promise.race([sleep(clock, LOOK_INTERVAL_MS, bounded), ...this.#tasks]);
      }
    } finally {
      round.abort();
      while (batches.size > 0) await Promise.race(this.#tasks);
    }
    if (failure !== undefined) throw failure.error;
    return lie === undefined ? ok(undefined) : fail(lie);
  }

  /** Asks one peer for a batch; what of it came and holds is taken out of `left`. Why the snapshot is a lie, if it is one. */
  async #batch(
    of: { readonly peer: string; readonly offer: Offer; readonly wants: readonly Want[]; readonly left: Map<string, Want> },
    signal: AbortSignal,
  ): Promise<Refusal | undefined> {
    const { peer, offer, wants, left } = of;
    const { network, clock } = this.#parts;
    const { limits } = network;
    const record = this.#record(peer);
    const startedMs = clock.monotonicMs();
    let [count, sizeBytes] = [0, 0];
    record.asking += 1;
    try {
      const request = encodeChunksRequest({ kind: "chunks", height: offer.height, hashes: wants.map(({ hash }) => hash) });
      const options = {
        signal,
        timeoutMs: limits.snapshotBatchTimeoutMs,
        frameBytesMax: wants.reduce((most, want) => Math.max(most, want.sizeBytesMax), 0),
        totalBytesMax: wants.reduce((sum, want) => sum + want.sizeBytesMax + 64, 64),
      };
      for await (const frame of network.request(peer, CHUNKS_PROTOCOL, request, options)) {
        const want = wants[count];
        if (want === undefined || !bytesEqual(addressOf(frame), want.hash)) {
          this.#log.warn(
            { peer, height: offer.height, code: "snapshot_chunk" },
            "peer sent other bytes than a chunk's name says",
          );
          this.#fail(peer, "snapshot_lie", "snapshot_chunk");
          return undefined;
        }
        count += 1;
        sizeBytes += frame.length;
        // Taken once, also when it comes from two at a time.
        if (!left.delete(toHex(want.hash))) continue;
        const taken = await want.take(frame);
        if (!taken.ok) return taken.error;
        this.#chunks.add(1);
      }
      // An answer may end early when it is large; one that holds nothing is none.
      if (count === 0) this.#fail(peer, undefined, "empty");
    } catch (error) {
      if (!signal.aborted) this.#failedWith(peer, offer, error);
    } finally {
      record.asking -= 1;
      const tookMs = Math.max(1, clock.monotonicMs() - startedMs);
      if (sizeBytes > 0) record.speed = record.speed === 0 ? sizeBytes / tookMs : (record.speed + sizeBytes / tookMs) / 2;
    }
    return undefined;
  }

  #failedWith(peer: string, offer: Offer, error: unknown): void {
    const refusal = error instanceof CodedError ? error.detail["refusal"] : undefined;
    const code = codeOf(error);
    this.#log.debug({ peer, height: offer.height, code, refusal }, "batch failed");
    const record = this.#record(peer);
    if (refusal === "unavailable") {
      // It may have dropped the snapshot since it was asked, or never had it: whatever it says, it is not asked for it again.
      record.lacks.set(nameOf(offer), this.#parts.clock.monotonicMs() + AVOID_MS);
      this.#fail(peer, undefined, "unavailable", this.#parts.network.limits.syncRetryMs);
      return;
    }
    // Not the peer's fault: our disk's, or ours.
    if (!code.startsWith("peer_")) throw error;
    // Broken framing and stalls were penalised by the request itself.
    this.#fail(
      peer,
      undefined,
      refusal === undefined ? code : "refused",
      refusal === undefined ? undefined : this.#parts.network.limits.syncRetryMs,
    );
  }

  /** How many chunks a peer is asked for at once. */
  #batchSize(peer: string): number {
    const { speed } = this.#record(peer);
    const goal = Math.floor((speed * BATCH_MS_GOAL) / CHUNK_SIZE_BYTES_GOAL);
    return Math.max(1, Math.min(speed === 0 ? 2 : goal, this.#parts.network.limits.snapshotBatchChunksMax));
  }

  /** Who offers a snapshot and is not benched. */
  #holders(offer: Offer): readonly string[] {
    const nowMs = this.#parts.clock.monotonicMs();
    return this.#parts.network
      .peers()
      .map(({ id }) => id)
      .filter((id) => {
        const { offers, benchedUntilMs, lacks } = this.#record(id);
        return (
          benchedUntilMs <= nowMs && (lacks.get(nameOf(offer)) ?? 0) <= nowMs && offers.some((other) => isSame(other, offer))
        );
      });
  }

  /** Least asked, then fastest (who was never asked comes first), then any. */
  #choosePeer(offer: Offer): string | undefined {
    const { limits } = this.#parts.network;
    const weighed = this.#holders(offer)
      .map((peer) => ({ peer, record: this.#record(peer), lot: this.#parts.draw() }))
      .filter(({ record }) => record.asking < limits.snapshotAskedPerPeerMax);
    const speedOf = ({ speed }: PeerRecord): number => (speed === 0 ? Number.MAX_VALUE : speed);
    weighed.sort((a, b) => a.record.asking - b.record.asking || speedOf(b.record) - speedOf(a.record) || a.lot - b.lot);
    return weighed[0]?.peer;
  }

  // Blame.

  /** A snapshot that nobody serves: others first, for a while. */
  #avoid(offer: Offer): void {
    this.#log.warn({ height: offer.height, root: rootName(offer.root) }, "nobody serves the snapshot any more");
    this.#avoided.set(nameOf(offer), this.#parts.clock.monotonicMs() + AVOID_MS);
  }

  /** A snapshot that is not true: all who offer it made it up, or let somebody else do so. */
  #refuse(offer: Offer, { code, message }: Refusal): void {
    this.#refused.add(nameOf(offer));
    for (const [peer, { offers }] of this.#peers) {
      if (!offers.some((other) => isSame(other, offer))) continue;
      this.#log.warn(
        { peer, height: offer.height, root: rootName(offer.root), code, reason: message },
        "peer offered a false snapshot",
      );
      this.#fail(peer, "snapshot_lie", code);
    }
  }

  #fail(peer: string, offence: Offence | undefined, cause: string, benchMs = this.#parts.network.limits.syncBenchMs): void {
    this.#failures.add(1, { cause });
    this.#record(peer).benchedUntilMs = this.#parts.clock.monotonicMs() + benchMs;
    if (offence !== undefined) this.#parts.network.penalise(peer, offence);
  }

  #record(peer: string): PeerRecord {
    let record = this.#peers.get(peer);
    if (record === undefined) {
      record = { offers: [], lacks: new Map(), listedAtMs: undefined, isListing: false, benchedUntilMs: 0, asking: 0, speed: 0 };
      this.#peers.set(peer, record);
    }
    return record;
  }

  // Telling.

  /** What is on the shelf already counts as done. */
  #count(steps: readonly Step[]): void {
    const done = steps.filter(({ entry }) => this.#parts.shelf.has(entry.hash));
    this.#tell({ chunks: done.length, sizeBytes: done.reduce((sum, { entry }) => sum + entry.sizeBytes, 0) });
  }

  #arrived(sizeBytes: number): void {
    const nowMs = this.#parts.clock.monotonicMs();
    const total = this.#progress.sizeBytes + sizeBytes;
    this.#arrivals.push({ atMs: nowMs, sizeBytes: total });
    while ((this.#arrivals[1]?.atMs ?? nowMs) < nowMs - SPEED_WINDOW_MS) this.#arrivals.shift();
    const first = present(this.#arrivals[0], "arrival");
    const speed = nowMs > first.atMs ? (total - first.sizeBytes) / (nowMs - first.atMs) : 0;
    // While the sets are being proven, nobody knows yet how much there is.
    const left = this.#progress.sizeBytesTotal - total;
    const secondsLeft = speed > 0 && left >= 0 ? left / speed / 1000 : undefined;
    this.#tell({ chunks: this.#progress.chunks + 1, sizeBytes: total, secondsLeft });
  }

  #tell(change: Partial<JoinProgress>): void {
    this.#progress = { ...this.#progress, ...change };
    this.#onProgress(this.#progress);
  }

  /** Joined at the end. A task that fails is our fault or the disk's, and ends the run. */
  #own(task: Promise<void>): void {
    const joined: Promise<void> = task.finally(() => this.#tasks.delete(joined));
    this.#tasks.add(joined);
    joined.catch(() => undefined); // `#get` and `run` wait for it as well, and hear of it.
  }
}

/** A root under another height is another claim: one may be a lie about the snapshot that the other is. */
function isSame(a: Offer, b: Offer): boolean {
  return a.height === b.height && bytesEqual(a.root, b.root);
}

function nameOf({ height, root }: Offer): string {
  return `${height}/${toHex(root)}`;
}

/** Wants of the oldest batch that is stuck with somebody else, to be asked of `peer` as well. */
function stuck(batches: ReadonlySet<Batch>, peer: string, left: ReadonlyMap<string, Want>, sinceMs: number): readonly Want[] {
  for (const batch of batches) {
    if (batch.isHedged || batch.peer === peer || batch.sinceMs > sinceMs) continue;
    batch.isHedged = true;
    return batch.wants.filter(({ hash }) => left.has(toHex(hash)));
  }
  return [];
}
