/**
 * How large a block a proposer makes: as much as the network gets through in good time, and not all that waits.
 *
 * A block of the largest size takes a slow or busy network longer than its first rounds wait. Then round after round
 * fails on blocks that nobody finishes checking, and the more waits, the less is decided. So each node measures how long a
 * block takes from the moment it begins with it (builds it, or has it to judge) until it is decided, and sizes the next
 * one that it proposes for `targetMs`: at most a quarter more than before, at most twice less, and half as much again
 * with every round that a height has failed. What is proposed is a proposer's own choice: no rule of the chain depends on it.
 */

import { toHex } from "../../crypto/base/bytes.ts";

/** A new network has proven nothing yet. */
const SHARE_START = 1 / 2;
const SHARE_MIN = 1 / 128;
const GROWTH_MAX = 1.25;
const SHRINKING_MAX = 1 / 2;
/** Of what was allowed: a block with less in it tells of votes and disks more than of its size. */
const FULL_ENOUGH = 0.6;
/** Candidates of one height whose beginning is remembered; engines keep no more. */
const BEGUN_MAX = 64;
const ROUNDS_HALVED_MAX = 6;

/** Adapts what may go into a block to what the network gets through. */
export class BlockPace {
  readonly #targetMs: number;
  readonly #begun = new Map<string, { readonly atMs: number; readonly part: number }>();
  #share = SHARE_START;

  /** @param targetMs - how long a full block should take from its beginning to its decision */
  constructor(targetMs: number) {
    this.#targetMs = targetMs;
  }

  /** The part of what the network allows that a block proposed in this round may take, above 0 and at most 1. */
  shareAt(round: number): number {
    return Math.max(SHARE_MIN, this.#share / 2 ** Math.min(round, ROUNDS_HALVED_MAX));
  }

  /** This node begins with a block, which takes this part of what the network allows. */
  begin(blockHash: Uint8Array, part: number, nowMs: number): void {
    const key = toHex(blockHash);
    if (!this.#begun.has(key) && this.#begun.size < BEGUN_MAX) this.#begun.set(key, { atMs: nowMs, part });
  }

  /** A height is decided, by a block that this node has begun with or by one that it was given. */
  decided(blockHash: Uint8Array, nowMs: number): void {
    const begun = this.#begun.get(toHex(blockHash));
    this.#begun.clear();
    if (begun === undefined) return;
    const tookMs = Math.max(1, nowMs - begun.atMs);
    if (begun.part < this.#share * FULL_ENOUGH && tookMs <= this.#targetMs) return;
    const wanted = (begun.part * this.#targetMs) / tookMs;
    const most = Math.min(1, this.#share * GROWTH_MAX);
    this.#share = Math.min(most, Math.max(SHARE_MIN, this.#share * SHRINKING_MAX, wanted));
  }
}
