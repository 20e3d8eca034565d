/**
 * Snapshots that a node makes of itself, every so many heights, beside its work.
 *
 * ```
 *   height n commits, (n - 1) is due --> pinned --chunk, a turn for others, chunk, ...--> whole --> oldest dropped, swept
 * ```
 *
 * It is the height before the head that is taken: the head's block carries the certificate of that height, so from then
 * on all nodes have the same one, and make the same bytes. One is made at a time; a height that comes due meanwhile is
 * left out. What a crash breaks off is begun again at the next start, from chunks that are there already.
 *
 * The newest few are kept, and beside them those that somebody has fetched from lately, so that a slow join ends with
 * what it began with; there is a bound on both.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import { codeOf } from "../../crypto/base/error.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import type { Ledger } from "../../chain/ledger/ledger.ts";
import type { Log } from "../log/log.ts";
import type { Gauge, Metrics } from "../metrics/metrics.ts";
import type { Clock } from "../ports/clock.ts";
import { rootName, snapshotIndex, snapshotParts } from "./create.ts";
import type { Entry } from "./format.ts";
import type { Shelf, Shelved } from "./shelf.ts";

/** How long a snapshot is kept after somebody fetched from it. */
const LEASE_MS = 600_000;
/** So many are kept for that alone; the least recently used of more is dropped. */
const LEASED_MAX = 2;
/** And none that is so many intervals behind the newest: blocks above it are kept with it, and whoever asks may never end. */
const LEASED_INTERVALS_MAX = 16n;

/**
 * Puts a snapshot of the state after `height` on a shelf. Between two chunks everybody else has a turn.
 *
 * @throws CodedError as `snapshotParts`; the signal's reason; what the disk throws
 */
export async function makeSnapshot(
  ledger: Ledger,
  height: Height,
  options: { readonly shelf: Shelf; readonly signal: AbortSignal; readonly onChunk?: (count: number) => void },
): Promise<Shelved> {
  const { shelf, signal, onChunk } = options;
  const entries: Entry[] = [];
  for (const { entry, bytes } of snapshotParts(ledger, height)) {
    await shelf.put(entry.hash, bytes);
    entries.push(entry);
    onChunk?.(entries.length);
    await nextTurn();
    signal.throwIfAborted();
  }
  const { index, pages } = snapshotIndex(ledger, height, entries);
  for (const page of pages) await shelf.put(page.hash, page.bytes);
  return await shelf.finish(index);
}

/** See the file's head. */
export class SnapshotMaker {
  readonly #ledger: Ledger;
  readonly #shelf: Shelf;
  readonly #intervalHeights: bigint;
  readonly #keep: number;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #signal: AbortSignal;
  readonly #seconds: Gauge;
  /** When a snapshot was fetched from last, in monotonic milliseconds. */
  readonly #used = new Map<Height, number>();
  #making: Height | undefined;
  /** Whether the shelf is being put in order: chunks that no index names yet would be swept up. */
  #isOrdering = false;

  /** @param options - `intervalHeights` 0 makes none; `keep` at least 1 */
  constructor(
    options: { readonly intervalHeights: number; readonly keep: number },
    parts: {
      readonly ledger: Ledger;
      readonly shelf: Shelf;
      readonly clock: Clock;
      readonly log: Log;
      readonly metrics: Metrics;
      readonly signal: AbortSignal;
    },
  ) {
    this.#intervalHeights = BigInt(options.intervalHeights);
    this.#keep = options.keep;
    this.#ledger = parts.ledger;
    this.#shelf = parts.shelf;
    this.#clock = parts.clock;
    this.#log = parts.log.child({ part: "snapshot" });
    this.#signal = parts.signal;
    this.#seconds = parts.metrics.gauge({ name: "snapshot_made_seconds", help: "How long the last snapshot took to make" });
  }

  /** What peers may fetch, newest first. */
  offers(): readonly { readonly height: Height; readonly root: Hash }[] {
    return this.#shelf.snapshots().map(({ root, index }) => ({ height: index.height, root }));
  }

  /** An index, page or chunk of a snapshot that is offered. Whoever asks keeps the snapshot from being dropped for a while. */
  async serve(height: Height, hash: Hash): Promise<Uint8Array | undefined> {
    const shelved = this.#shelf.snapshot(height);
    if (shelved === undefined) return undefined;
    this.#used.set(height, this.#clock.monotonicMs());
    const isIndex = shelved.root.every((byte, at) => byte === hash[at]);
    return isIndex ? shelved.bytes : await this.#shelf.read(hash);
  }

  /** No state at or above this may be pruned, nor a block above it: a snapshot is being made of it, or starts joins there. */
  floor(): Height | undefined {
    const heights = this.#shelf.snapshots().map(({ index }) => index.height);
    if (this.#making !== undefined) heights.push(this.#making);
    return heights.reduce<Height | undefined>(
      (least, height) => (least === undefined || height < least ? height : least),
      undefined,
    );
  }

  /** The height whose state is being read. */
  get making(): Height | undefined {
    return this.#making;
  }

  /** The newest height that is due at a head, and not there yet. */
  due(head: Height): Height | undefined {
    if (this.#intervalHeights === 0n || this.#making !== undefined || this.#isOrdering || head < 2n) return undefined;
    const height = heightOf(((head - 1n) / this.#intervalHeights) * this.#intervalHeights);
    const newest = this.#shelf.snapshots()[0]?.index.height ?? 0n;
    const isThere = height > newest && height >= this.#ledger.oldestState() && this.#ledger.blockBytes(height) !== undefined;
    return height > 0n && isThere ? height : undefined;
  }

  /** Puts the shelf in order after a crash or a join, and makes what is due at this head. */
  async begin(head: Height): Promise<void> {
    this.#isOrdering = true;
    try {
      if (this.#intervalHeights === 0n) for (const { index } of this.#shelf.snapshots()) await this.#shelf.drop(index.height);
      else await this.#dropOld();
      // A node that has a state joins no more.
      await this.#shelf.endJoining();
      await this.#shelf.sweep();
    } finally {
      this.#isOrdering = false;
    }
    await this.follow(head);
  }

  /** A height was committed, or the node begins. Resolves when what is due is made; a failure is logged, for the next to try. */
  async follow(head: Height): Promise<void> {
    const height = this.due(head);
    if (height === undefined) return;
    this.#making = height;
    const startedMs = this.#clock.monotonicMs();
    try {
      const { root, index } = await makeSnapshot(this.#ledger, height, { shelf: this.#shelf, signal: this.#signal });
      const seconds = (this.#clock.monotonicMs() - startedMs) / 1000;
      this.#seconds.set(seconds);
      this.#log.info(
        { height, root: rootName(root), chunks: index.chunks, sizeBytes: index.sizeBytes, seconds },
        "snapshot made",
      );
      await this.#dropOld();
    } catch (error) {
      if (this.#signal.aborted) return;
      // The node needs no snapshot to go on; its peers have theirs.
      this.#log.warn({ height, code: codeOf(error), error }, "snapshot not made");
    } finally {
      this.#making = undefined;
    }
  }

  /** Keeps the newest, and the few that are in use. */
  async #dropOld(): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    const older = this.#shelf.snapshots().slice(this.#keep);
    const usedAt = (height: Height): number => this.#used.get(height) ?? Number.NEGATIVE_INFINITY;
    const newest = this.#shelf.snapshots()[0]?.index.height ?? 0n;
    const leased = older
      .map(({ index }) => index.height)
      .filter((height) => nowMs - usedAt(height) < LEASE_MS && newest - height <= LEASED_INTERVALS_MAX * this.#intervalHeights)
      .toSorted((a, b) => usedAt(b) - usedAt(a))
      .slice(0, LEASED_MAX);
    for (const { index } of older) {
      if (leased.includes(index.height)) continue;
      this.#used.delete(index.height);
      await this.#shelf.drop(index.height);
    }
    if (older.length > leased.length) await this.#shelf.sweep();
  }
}
