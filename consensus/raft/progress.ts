/**
 * What a leader knows of one follower's log, and how it feeds it.
 *
 * ```
 *            append answered, log matches                         entries are compacted
 *   probe ----------------------------------> replicate     any ------------------------> snapshot
 *     ^ <----------------------------------      |                                           |
 *     |     rejected, or unreachable                                                         |
 *     +--------------------------------------------------------------------------------------+
 *           snapshot reported; or acknowledged so far that the log continues it
 * ```
 *
 * `probe`: one append at a time, until the follower says where its log and ours agree. `replicate`: appends are sent ahead of their
 * answers, as many as the window allows. `snapshot`: nothing is sent until the snapshot has arrived.
 * `match` is certain, `next` a guess: `match < next`.
 */

import { assert } from "../../crypto/base/assert.ts";
import { Inflights } from "./inflights.ts";

/** How a follower is fed. */
export type ProgressState = "probe" | "replicate" | "snapshot";

/** What the window of one follower may hold. */
export type ProgressLimits = { readonly countMax: number; readonly sizeBytesMax: number };

/** A leader's knowledge of one member. Also kept, without meaning, by nodes that do not lead. */
export class Progress {
  /** The follower's log is durable and equal to ours up to here. */
  match: bigint;
  /** The next index to send. */
  next: bigint;
  state: ProgressState = "probe";
  /** The index of the snapshot under way, in `snapshot`. */
  pendingSnapshot = 0n;
  /** Has answered since the last check of the quorum. */
  isActive: boolean;
  /** No more appends until an answer or a heartbeat's answer. */
  isFlowPaused = false;
  isLearner: boolean;
  readonly inflights: Inflights;
  /** The highest commit index that a message under way tells. */
  #sentCommit = 0n;

  constructor(options: { match: bigint; next: bigint; isLearner: boolean; isActive: boolean; limits: ProgressLimits }) {
    this.match = options.match;
    this.next = options.next;
    this.isLearner = options.isLearner;
    this.isActive = options.isActive;
    this.inflights = new Inflights(options.limits);
  }

  /** Looks for the place where the logs agree. After a snapshot that place is its end. */
  becomeProbe(): void {
    const continued = this.state === "snapshot" ? this.pendingSnapshot : 0n;
    this.#reset("probe");
    this.next = max(this.match, continued) + 1n;
    this.#sentCommit = min(this.#sentCommit, this.next - 1n);
  }

  /** The logs agree at `match`: send ahead from there. */
  becomeReplicate(): void {
    this.#reset("replicate");
    this.next = this.match + 1n;
  }

  /** A snapshot is on its way. */
  becomeSnapshot(index: bigint): void {
    this.#reset("snapshot");
    this.pendingSnapshot = index;
    this.next = index + 1n;
    this.#sentCommit = index;
  }

  /** Whether appends have to wait. */
  isPaused(): boolean {
    return this.state === "snapshot" || this.isFlowPaused;
  }

  /** An append with that many entries was sent. */
  sentEntries(count: number, sizeBytes: number): void {
    assert(this.state !== "snapshot", "append sent while a snapshot is under way");
    if (this.state === "probe") {
      if (count > 0) this.isFlowPaused = true;
      return;
    }
    if (count > 0) {
      this.next += BigInt(count);
      this.inflights.add(this.next - 1n, sizeBytes);
    }
    this.isFlowPaused = this.inflights.isFull();
  }

  /** A message that tells this commit index was sent. */
  sentCommit(commit: bigint): void {
    this.#sentCommit = commit;
  }

  /** Whether telling `commit` would bring the follower further than what is under way. */
  canBumpCommit(commit: bigint): boolean {
    return commit > this.#sentCommit && this.#sentCommit < this.next - 1n;
  }

  /** The follower holds our log up to `index`. @returns whether that is news */
  update(index: bigint): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = max(this.next, index + 1n);
    this.isFlowPaused = false;
    return true;
  }

  /**
   * The follower's log differs at `rejected`, and may agree at `hint`.
   *
   * @returns false when the answer is old: to an append that is not under way any more
   */
  decrease(rejected: bigint, hint: bigint): boolean {
    if (this.state === "replicate") {
      if (rejected <= this.match) return false;
      this.next = this.match + 1n;
      this.#sentCommit = min(this.#sentCommit, this.next - 1n);
      return true;
    }
    if (this.next - 1n !== rejected) return false;
    this.next = max(min(rejected, hint + 1n), this.match + 1n);
    this.#sentCommit = min(this.#sentCommit, this.next - 1n);
    this.isFlowPaused = false;
    return true;
  }

  #reset(state: ProgressState): void {
    this.isFlowPaused = false;
    this.pendingSnapshot = 0n;
    this.state = state;
    this.inflights.reset();
  }
}

const STATE_TEXT = { probe: "StateProbe", replicate: "StateReplicate", snapshot: "StateSnapshot" } as const satisfies Record<
  ProgressState,
  string
>;

/** One line, for people and scripts. */
export function progressText(progress: Progress): string {
  const parts = [`${STATE_TEXT[progress.state]} match=${progress.match} next=${progress.next}`];
  if (progress.isLearner) parts.push("learner");
  if (progress.isPaused()) parts.push("paused");
  if (progress.pendingSnapshot > 0n) parts.push(`pendingSnap=${progress.pendingSnapshot}`);
  if (!progress.isActive) parts.push("inactive");
  const { count } = progress.inflights;
  if (count > 0) parts.push(`inflight=${count}${progress.inflights.isFull() ? "[full]" : ""}`);
  return parts.join(" ");
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
