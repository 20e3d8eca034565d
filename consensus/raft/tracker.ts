/** The members of the configuration in force: how each is fed, how the ballot stands, what a quorum holds. */

import { present } from "../../crypto/base/assert.ts";
import { EMPTY_CONFIGURATION, isVoter, sortedIds } from "./configuration.ts";
import type { Configuration } from "./configuration.ts";
import type { Membership } from "./confchange.ts";
import { jointCommitted, jointVote } from "./majority.ts";
import type { VoteResult } from "./majority.ts";
import { Progress } from "./progress.ts";
import type { ProgressLimits } from "./progress.ts";

/** How a ballot stands. */
export type Ballot = { readonly granted: number; readonly rejected: number; readonly result: VoteResult };

/** Members, their progress, their votes. */
export class Tracker {
  readonly limits: ProgressLimits;
  #configuration: Configuration = EMPTY_CONFIGURATION;
  #progress = new Map<bigint, Progress>();
  /** The members, ascending: the order in which they are written to must not depend on how they came. */
  #ids: readonly bigint[] = [];
  #votes = new Map<bigint, boolean>();

  constructor(limits: ProgressLimits) {
    this.limits = limits;
  }

  get configuration(): Configuration {
    return this.#configuration;
  }

  /** Members and their progress, as `confchange.ts` takes and gives them. */
  get membership(): Membership {
    return { configuration: this.#configuration, progress: this.#progress };
  }

  /** Another configuration is in force. */
  switchTo(membership: Membership): void {
    this.#configuration = membership.configuration;
    this.#progress = new Map(membership.progress);
    this.#ids = sortedIds(this.#progress.keys());
    for (const [id, progress] of this.#progress) progress.isLearner = this.#configuration.learners.has(id);
  }

  /** What is known of one member. */
  progressOf(id: bigint): Progress | undefined {
    return this.#progress.get(id);
  }

  /** All members, ascending. */
  members(): readonly (readonly [bigint, Progress])[] {
    return this.#ids.map((id) => [id, present(this.#progress.get(id), "progress of {}", id)]);
  }

  /** Forgets what was known of the members: another term begins. */
  resetProgress(self: bigint, lastIndex: bigint): void {
    for (const [id, { isLearner }] of this.#progress) {
      const match = id === self ? lastIndex : 0n;
      this.#progress.set(id, new Progress({ match, next: lastIndex + 1n, isLearner, isActive: false, limits: this.limits }));
    }
  }

  /** The highest index that a quorum holds, in both halves while joint. */
  committed(): bigint {
    return jointCommitted(this.#configuration, (id) => this.#progress.get(id)?.match);
  }

  /** Whether a quorum has answered lately. */
  isQuorumActive(): boolean {
    const active = new Map<bigint, boolean>();
    for (const [id, progress] of this.#progress) active.set(id, progress.isActive);
    return jointVote(this.#configuration, active) === "won";
  }

  /** A new ballot. */
  resetVotes(): void {
    this.#votes = new Map();
  }

  /** Counts a vote. The first word of a voter stands. */
  recordVote(id: bigint, isGranted: boolean): void {
    if (!this.#votes.has(id)) this.#votes.set(id, isGranted);
  }

  /** How the ballot stands. Only voters count, in both halves while joint. */
  ballot(): Ballot {
    const votes = [...this.#votes].filter(([id]) => isVoter(this.#configuration, id));
    const granted = votes.filter(([, isGranted]) => isGranted).length;
    return { granted, rejected: votes.length - granted, result: jointVote(this.#configuration, this.#votes) };
  }
}
