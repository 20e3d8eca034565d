/**
 * Watches for the one thing that proof of work cannot mend by itself: a heavier chain that forks from ours below what is
 * settled here. Nothing of it may be followed (`reorgDepthMax` is a rule), so somebody has to be told.
 *
 * ```
 *   headers of a peer --ours as well?--> passed over, up to the fork
 *                     --not ours-------> each under the exact target, work summed --more than ours--> its blocks, in turn
 *                                                                                 --not yet---------> asked for more
 *   blocks of that peer, from the fork up --each, up to more work than ours--> a split
 * ```
 *
 * A peer's word is not taken: every header is checked as the engine would check it, with nothing kept but the tip, the
 * sum and the time at which the retarget window began. To make a node speak of a split costs as much work as its chain
 * has. And its maker has to hand over the blocks: headers alone would have an operator give up a chain for one that nobody
 * can follow, again and again while its maker, alone, goes on. The blocks are looked at and not kept. That they are
 * valid is found out only by following; one that was refused here (`isRefused`) proves nothing any more.
 */

import { present } from "../../crypto/base/assert.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Block } from "../../chain/block/block.ts";
import { GENESIS_HEIGHT, type Height, heightOf } from "../../chain/block/height.ts";
import type { PowProtocol } from "../../chain/block/protocol.ts";
import { expectedBits, firstTarget } from "../../chain/block/retarget.ts";
import { bitsOf, targetOf, workOf } from "../../chain/block/work.ts";
import { ASKS_MAX, BLOCKS_PER_MESSAGE_MAX, HEADERS_PER_MESSAGE_MAX } from "../../consensus/pow/limits.ts";
import type { Place, SealedHeader } from "../../consensus/pow/message.ts";
import { type ChainSource, isOn } from "../../consensus/pow/serve.ts";

/** A chain that has more work than ours, and that cannot be followed. */
export type Split = {
  /** Who has it. */
  readonly peer: string;
  /** Of the last block that both chains have: what to go back to. */
  readonly forkHeight: Height;
  /** The highest of its blocks that was looked at. */
  readonly height: Height;
  /** Of its blocks up to there. */
  readonly chainWork: bigint;
};

/** What a watch goes by. */
export type SplitParts = {
  readonly protocol: PowProtocol;
  readonly genesisTimeMs: bigint;
  readonly source: ChainSource;
  /** Whether the chain refused this block when it was asked to take it. */
  readonly isRefused?: ((hash: Hash) => boolean) | undefined;
};

/** What comes next: a split to tell of, or a question to that peer. */
export type SplitStep =
  | { readonly kind: "split"; readonly split: Split }
  | { readonly kind: "headers"; readonly after: Place }
  | { readonly kind: "blocks"; readonly places: readonly Place[] };

/** How far the headers of a peer were looked at. */
type Trail = {
  /** The last block that is ours too: the tip, until a header is not. */
  readonly fork: Place;
  readonly tip: Place;
  readonly timeMs: bigint;
  readonly bits: number;
  readonly chainWork: bigint;
  /** Of the newest header before the tip that ends a window. Unless that is beyond the fork, it is in our chain. */
  readonly windowTimeMs: bigint | undefined;
};

/** A chain whose headers have more work than ours, and the blocks that its peer hands over of it. */
type Showing = {
  /** From the fork to the last header whose block was asked for. */
  readonly trail: Trail;
  /** Up to there, in order: what is still to come. */
  readonly missing: readonly Place[];
  /** How often it was asked for without anything coming. */
  readonly asks: number;
};

/** Peers whose chains are looked at by turns; beyond, the one looked at longest ago is let go. */
const TRAILS_MAX = 8;
/** No hash. */
const NOTHING = new Uint8Array(0);

/** See the file's head. */
export class SplitWatch {
  readonly #parts: SplitParts;
  readonly #trails = new Map<string, Trail>();
  readonly #showings = new Map<string, Showing>();

  constructor(parts: SplitParts) {
    this.#parts = parts;
  }

  /** Headers that a peer answered with, each of which meets the target that it names. */
  hear(peer: string, entries: readonly SealedHeader[]): SplitStep | undefined {
    const [first] = entries;
    const showing = this.#showings.get(peer);
    const isOfShowing = showing?.missing.length === 0 && bytesEqual(first?.header.previous ?? NOTHING, showing.trail.tip.hash);
    return isOfShowing ? this.#show(peer, showing, entries) : this.#sum(peer, entries);
  }

  /** Blocks that a peer answered with, each of which is the body that its header names. */
  hearBlocks(peer: string, blocks: readonly Block[]): SplitStep | undefined {
    const showing = this.#showings.get(peer);
    if (showing === undefined) return undefined;
    let { missing } = showing;
    for (const { hash } of blocks) if (bytesEqual(missing[0]?.hash ?? NOTHING, hash)) missing = missing.slice(1);
    // Nothing of it, or what the engine asked for.
    if (missing.length === showing.missing.length) return undefined;
    return this.#next(peer, { trail: showing.trail, missing, asks: 0 });
  }

  /** Sums up the work of a peer's chain, however many messages its headers take. */
  #sum(peer: string, entries: readonly SealedHeader[]): SplitStep | undefined {
    const { source, protocol } = this.#parts;
    const [first] = entries;
    const known = this.#trails.get(peer);
    this.#trails.delete(peer);
    if (first === undefined) return undefined;
    const isMore = known !== undefined && bytesEqual(first.header.previous, known.tip.hash);
    const begun = isMore ? known : this.#trailAt(first);
    const trail = begun === undefined ? undefined : this.#followed(begun, entries);
    if (trail === undefined) return undefined;
    const { fork, tip, chainWork } = trail;
    const head = source.headHeight();
    // From a fork above, the engine goes over by itself.
    const isDeep = fork.height < head - BigInt(protocol.reorgDepthMax) && isOn(source, fork);
    if (isDeep && chainWork > this.#workAt(head)) {
      // This is heard of again and again while it lasts: so what was lost on the way is asked for again.
      const showing = this.#showings.get(peer);
      const isGoingOn = showing !== undefined && showing.asks < ASKS_MAX && bytesEqual(showing.trail.fork.hash, fork.hash);
      return this.#next(peer, isGoingOn ? showing : { trail: this.#ownTrail(fork), missing: [], asks: 0 });
    }
    if (!isDeep && fork !== tip) return undefined;
    if (entries.length < HEADERS_PER_MESSAGE_MAX) return undefined;
    keep(this.#trails, peer, trail);
    return { kind: "headers", after: tip };
  }

  /** More headers of a chain whose blocks are looked at: no more than it takes to have more work than ours. */
  #show(peer: string, { trail }: Showing, entries: readonly SealedHeader[]): SplitStep | undefined {
    const work = this.#workAt(this.#parts.source.headHeight());
    const missing: Place[] = [];
    let next = trail;
    for (const entry of entries) {
      if (next.chainWork > work) break;
      const after = this.#after(next, entry);
      if (after === undefined) {
        this.#showings.delete(peer);
        return undefined;
      }
      next = after;
      // It may have become ours meanwhile.
      if (next.fork !== next.tip) missing.push(next.tip);
    }
    return this.#next(peer, { trail: next, missing, asks: 0 });
  }

  /** A split when its blocks were all seen, which then are not asked for again. */
  #next(peer: string, { trail, missing, asks }: Showing): SplitStep {
    const { fork, tip, chainWork } = trail;
    const isShown = missing.length === 0 && chainWork > this.#workAt(this.#parts.source.headHeight());
    keep(this.#showings, peer, { trail, missing, asks: isShown ? 0 : asks + 1 });
    if (isShown) return { kind: "split", split: { peer, forkHeight: fork.height, height: tip.height, chainWork } };
    return missing.length === 0
      ? { kind: "headers", after: tip }
      : { kind: "blocks", places: missing.slice(0, BLOCKS_PER_MESSAGE_MAX) };
  }

  /** The beginning of a trail: the block of ours that a header stands on. */
  #trailAt({ header }: SealedHeader): Trail | undefined {
    if (header.height === GENESIS_HEIGHT) return undefined;
    const parent = { height: heightOf(header.height - 1n), hash: header.previous };
    return isOn(this.#parts.source, parent) ? this.#ownTrail(parent) : undefined;
  }

  #ownTrail(tip: Place): Trail {
    const { source, protocol, genesisTimeMs } = this.#parts;
    const at = { fork: tip, tip, windowTimeMs: undefined };
    if (tip.height === GENESIS_HEIGHT)
      return { ...at, timeMs: genesisTimeMs, bits: bitsOf(firstTarget(protocol)), chainWork: 0n };
    const { header, seal } = present(source.sealedAt(tip.height), "block {}", tip.height);
    return { ...at, timeMs: header.timeMs, bits: seal.bits, chainWork: seal.chainWork };
  }

  /** The trail after more headers; `undefined` when one of them breaks a rule. */
  #followed(from: Trail, entries: readonly SealedHeader[]): Trail | undefined {
    let trail = from;
    for (const entry of entries) {
      const next = this.#after(trail, entry);
      if (next === undefined) return undefined;
      trail = next;
    }
    return trail;
  }

  #after(trail: Trail, { header, seal }: SealedHeader): Trail | undefined {
    const { source, protocol } = this.#parts;
    const { tip, fork } = trail;
    if (header.height !== tip.height + 1n || !bytesEqual(header.previous, tip.hash)) return undefined;
    const next: Place = { height: header.height, hash: seal.blockHash };
    if (this.#parts.isRefused?.(next.hash) === true) return undefined;
    if (fork === tip && isOn(source, next)) return this.#ownTrail(next);
    const bits = this.#bitsAfter(trail);
    const target = targetOf(bits);
    if (header.timeMs <= trail.timeMs || seal.bits !== bits || !target.ok) return undefined;
    const isWindowEnd = fork !== tip && tip.height % BigInt(protocol.retargetWindow) === 0n;
    const windowTimeMs = isWindowEnd ? trail.timeMs : trail.windowTimeMs;
    return { fork, tip: next, timeMs: header.timeMs, bits, chainWork: trail.chainWork + workOf(target.value), windowTimeMs };
  }

  #bitsAfter({ fork, tip, timeMs, bits, windowTimeMs }: Trail): number {
    const { protocol, genesisTimeMs, source } = this.#parts;
    return expectedBits({ protocol, genesisTimeMs }, { height: tip.height, timeMs, bits }, (height) => {
      if (height > fork.height) return present(windowTimeMs, "time of height {}", height);
      return height === GENESIS_HEIGHT ? genesisTimeMs : present(source.sealedAt(height), "block {}", height).header.timeMs;
    });
  }

  #workAt(height: Height): bigint {
    return height === GENESIS_HEIGHT ? 0n : present(this.#parts.source.sealedAt(height), "block {}", height).seal.chainWork;
  }
}

/** Puts an entry last, and lets the first go when there are too many. */
function keep<T>(entries: Map<string, T>, peer: string, entry: T): void {
  entries.delete(peer);
  const [oldest] = entries.keys();
  if (oldest !== undefined && entries.size >= TRAILS_MAX) entries.delete(oldest);
  entries.set(peer, entry);
}
