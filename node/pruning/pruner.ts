/** Forgets old blocks and states by a policy, a stretch at a time. See the README for what is never forgotten. */

import { type Height, heightOf } from "../../chain/block/height.ts";
import type { Ledger } from "../../chain/ledger/ledger.ts";
import { kindRange } from "../../chain/store/keyspace.ts";
import type { Log } from "../log/log.ts";
import type { Clock } from "../ports/clock.ts";

/** What is forgotten; see `[storage]` of the configuration. */
export type PruningPolicy =
  | { readonly kind: "archive"; readonly keepHeights: number }
  | { readonly kind: "recent"; readonly keepHeights: number; readonly keepHours: number }
  | { readonly kind: "size"; readonly sizeBytesMax: number };

/** The last heights that no policy forgets: what peers a little behind, and a rollback, ask for. */
export const KEEP_HEIGHTS_MIN = 1_024;
/** How often there is a look, in heights. */
const INTERVAL_HEIGHTS = 100;
const HOUR_MS = 3_600_000;
/** Under `size`, this part of what is kept is forgotten at a time. */
const SIZE_SHARE = 8n;

/** See the file's head. */
export class Pruner {
  readonly #policy: PruningPolicy;
  /** No policy forgets the last so many heights. */
  readonly #least: bigint;
  readonly #intervalHeights: bigint;
  readonly #ledger: Ledger;
  readonly #floor: () => { readonly states: Height | undefined; readonly blocks: Height | undefined };
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #signal: AbortSignal;
  #isAtWork = false;

  /** @param options - the bounds of the file's head, unless a test has its own */
  constructor(
    options: { readonly policy: PruningPolicy; readonly keepHeightsMin?: number; readonly intervalHeights?: number },
    parts: {
      readonly ledger: Ledger;
      /** Heights from which on states, and above which blocks, are in use by snapshots. */
      readonly floor: () => { readonly states: Height | undefined; readonly blocks: Height | undefined };
      readonly clock: Clock;
      readonly log: Log;
      readonly signal: AbortSignal;
    },
  ) {
    const { engine } = parts.ledger.network;
    const { policy, keepHeightsMin = KEEP_HEIGHTS_MIN, intervalHeights = INTERVAL_HEIGHTS } = options;
    if (engine.name === "pow") {
      // Blocks hold the work of the chain, and no state may be forgotten that may yet be gone back to.
      this.#policy = { kind: "archive", keepHeights: policy.kind === "size" ? 0 : policy.keepHeights };
      this.#least = BigInt(engine.reorgDepthMax + 1);
    } else {
      this.#policy = policy;
      this.#least = policy.kind === "archive" ? 1n : BigInt(keepHeightsMin);
    }
    this.#intervalHeights = BigInt(intervalHeights);
    this.#ledger = parts.ledger;
    this.#floor = parts.floor;
    this.#clock = parts.clock;
    this.#log = parts.log.child({ part: "pruning" });
    this.#signal = parts.signal;
  }

  /** A block of this height was committed. One stretch at a time: what comes due meanwhile is left for the next. */
  async follow(height: Height): Promise<void> {
    if (this.#isAtWork || height % this.#intervalHeights !== 0n) return;
    this.#isAtWork = true;
    try {
      await this.#prune(height);
    } catch (error) {
      // Whoever closes the node knows, and the next start goes on.
      if (!this.#signal.aborted) throw error;
    } finally {
      this.#isAtWork = false;
    }
  }

  async #prune(head: Height): Promise<void> {
    const wanted = await this.#keepFrom(head);
    if (wanted === undefined) return;
    const { states, blocks } = this.#floor();
    const statesFrom = states !== undefined && states < wanted ? states : wanted;
    // The block of a snapshot's height is in it; those above are asked for.
    const blocksFrom = blocks !== undefined && blocks + 1n < wanted ? heightOf(blocks + 1n) : wanted;
    if (statesFrom > this.#ledger.oldestState()) await this.#ledger.tree.prune(statesFrom, this.#signal);
    if (this.#policy.kind === "archive" || blocksFrom <= this.#ledger.oldestBlock()) return;
    const before = this.#ledger.oldestBlock();
    await this.#ledger.pruneBlocks(blocksFrom, this.#signal);
    this.#log.debug({ from: before, to: blocksFrom }, "blocks forgotten");
    if (this.#policy.kind !== "size") return;
    // Without it the store would look as large as before at the next look, and more would be forgotten than need be.
    const kinds = ["block", "results", "transaction", "certificate", "stateChunk"] as const;
    await this.#ledger.store.compact(kinds.map(kindRange));
  }

  /** From which height on the policy wants to keep; `undefined` when there is nothing to forget. */
  async #keepFrom(head: Height): Promise<Height | undefined> {
    const policy = this.#policy;
    switch (policy.kind) {
      case "archive":
        return policy.keepHeights === 0 ? undefined : this.#below(head, policy.keepHeights);
      case "recent": {
        const from = this.#below(head, policy.keepHeights);
        return from === undefined ? undefined : this.#olderThan(from, policy.keepHours * HOUR_MS);
      }
      case "size": {
        const most = this.#below(head, 0);
        if (most === undefined || (await this.#ledger.store.sizeBytes()) <= policy.sizeBytesMax) return undefined;
        const oldest = this.#ledger.oldestBlock();
        const share = heightOf(oldest + (head - oldest) / SIZE_SHARE + 1n);
        return share < most ? share : most;
      }
    }
  }

  /** The first of the last `keep` heights, or of those that are kept at least; `undefined` while there are no more. */
  #below(head: Height, keep: number): Height | undefined {
    const kept = BigInt(keep) > this.#least ? BigInt(keep) : this.#least;
    return head > kept ? heightOf(head - kept) : undefined;
  }

  /** The lowest height up to `from` whose block is younger than this, and if none is, `from`. */
  #olderThan(from: Height, ageMs: number): Height {
    const bornMs = BigInt(Math.floor(this.#clock.wallMs() - ageMs));
    let [low, high] = [this.#ledger.oldestBlock() as bigint, from as bigint];
    // Block times grow with heights.
    while (low < high) {
      const middle = (low + high) / 2n;
      const header = this.#ledger.header(heightOf(middle));
      if (header !== undefined && header.timeMs >= bornMs) high = middle;
      else low = middle + 1n;
    }
    return heightOf(low > from ? from : low);
  }
}
