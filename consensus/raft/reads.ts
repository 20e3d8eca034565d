/**
 * Reads without a log entry (dissertation 6.4): a leader answers with its commit index once it knows that it still leads.
 *
 * It knows by a round of heartbeats that a quorum answered, sent no earlier than the read came. Rounds are counted here: an answer to
 * a round confirms every read before it. In `lease` mode (6.4.1) a recent confirmed round is enough: the quorum that answered it
 * grants no vote for an election timeout, so nobody else leads yet.
 */

import { assert } from "../../crypto/base/assert.ts";
import { LEASE_DRIFT_DIVISOR, READS_PENDING_MAX, ROUNDS_REMEMBERED_MAX } from "./limits.ts";
import { jointCommitted } from "./majority.ts";
import type { Voters } from "./majority.ts";

/** Somebody wants to read: this node itself, or a follower for its client. */
export type Read = { readonly from: bigint; readonly context: Uint8Array };

/** A read with the index that it must see. */
export type IndexedRead = Read & { readonly index: bigint };

/** The reads of one leader in one term. */
export class Reads {
  /** Came before the leader committed anything of its own term. */
  #waiting: Read[] = [];
  /** Wait for a round, in the order they came. */
  #pending: (IndexedRead & { readonly round: bigint })[] = [];
  #round = 0n;
  /** The newest round is still here: its heartbeats have not been handed out, so a read that comes now comes before them. */
  #isRoundOpen = false;
  readonly #sentAt = new Map<bigint, number>();
  readonly #answered = new Map<bigint, bigint>();
  /** The tick at which the last confirmed round was sent. */
  #leaseFrom: number | undefined = undefined;

  /** Whether another read would go beyond the bound. */
  isFull(): boolean {
    return this.#waiting.length + this.#pending.length >= READS_PENDING_MAX;
  }

  /** Keeps a read until the leader has committed an entry of its own term. */
  wait(read: Read): void {
    assert(!this.isFull(), "too many reads");
    this.#waiting.push(read);
  }

  /** Those that waited, to be asked again. */
  takeWaiting(): readonly Read[] {
    const waiting = this.#waiting;
    this.#waiting = [];
    return waiting;
  }

  /**
   * Keeps a read until a round that leaves after it is confirmed.
   *
   * @returns whether that round must be begun
   */
  add(read: Read, index: bigint): boolean {
    assert(!this.isFull(), "too many reads");
    this.#pending.push({ ...read, index, round: this.#isRoundOpen ? this.#round : this.#round + 1n });
    return !this.#isRoundOpen;
  }

  /** Begins a round at this tick. */
  beginRound(tick: number): bigint {
    this.#round += 1n;
    this.#isRoundOpen = true;
    this.#sentAt.set(this.#round, tick);
    this.#sentAt.delete(this.#round - BigInt(ROUNDS_REMEMBERED_MAX));
    return this.#round;
  }

  /** The heartbeats of all rounds so far have been handed out. */
  closeRound(): void {
    this.#isRoundOpen = false;
  }

  /** The newest round. An answer to a later one is a lie. */
  get round(): bigint {
    return this.#round;
  }

  /**
   * A member answered a round; its answers to earlier ones are implied.
   *
   * @param self - the leader, who answers every round
   * @returns the reads that may be served now
   */
  answer(from: bigint, round: bigint, voters: Voters, self: bigint): readonly IndexedRead[] {
    if (round <= (this.#answered.get(from) ?? 0n)) return [];
    this.#answered.set(from, round);
    const confirmed = jointCommitted(voters, (id) => (id === self ? this.#round : this.#answered.get(id)));
    this.#leaseFrom = this.#sentAt.get(confirmed) ?? this.#leaseFrom;
    const served = this.#pending.filter((read) => read.round <= confirmed);
    this.#pending = this.#pending.slice(served.length);
    return served;
  }

  /** A member left: what it answered is not counted when it comes back. */
  forget(id: bigint): void {
    this.#answered.delete(id);
  }

  /** Whether the last confirmed round is recent enough that nobody else can lead. */
  hasLease(tick: number, electionTicks: number): boolean {
    return this.#leaseFrom !== undefined && tick - this.#leaseFrom < leaseTicks(electionTicks);
  }
}

/**
 * How long a lease lasts: an election timeout, less what clocks may drift apart, less one tick, because the follower's ticks do not
 * fall together with ours. Short timeouts give no lease at all.
 */
export function leaseTicks(electionTicks: number): number {
  return electionTicks - Math.ceil(electionTicks / LEASE_DRIFT_DIVISOR) - 1;
}
