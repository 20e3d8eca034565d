/**
 * What a node knows, and how it changes its role.
 *
 * ```
 *                 election timeout              quorum would vote             quorum voted
 *    follower ----------------------> preCandidate ----------> candidate --------------> leader
 *       ^                                  |                       |                        |
 *       +----------------------------------+-----------------------+------------------------+
 *         a later term, or a leader of this one; a lost ballot; a leader that lost its quorum
 * ```
 *
 * Without pre-vote a follower becomes a candidate at once. `becomeLeader` is in `leader.ts`: it begins to lead right there.
 */

import { assert } from "../../crypto/base/assert.ts";
import type { EventBody } from "./events.ts";
import { RaftLog } from "./log.ts";
import { Reads } from "./reads.ts";
import type { RaftStorage } from "./storage.ts";
import { Tracker } from "./tracker.ts";
import { NOBODY } from "./types.ts";
import type { RaftConfig } from "./config.ts";
import type { HardState, RaftMessage, ReadState, Role, SoftState } from "./types.ts";

/** The mutable state of one node; the files of this folder are the only ones that touch it. */
export class RaftState {
  readonly config: RaftConfig;
  readonly log: RaftLog;
  readonly tracker: Tracker;
  /** Durable: the latest term seen, and the vote cast in it. */
  term = 0n;
  vote = NOBODY;
  role: Role = "follower";
  /** The leader of this term, when known. */
  leader = NOBODY;
  /** To whom this leader hands over. */
  transferee = NOBODY;
  /** This leader has asked somebody to campaign: followers may break its lease, so it has none any more. */
  hasAbdicated = false;
  /** No change of the configuration is proposed before this index is applied. */
  pendingChangeIndex = 0n;
  /** Bytes that this leader proposed and that are not applied here yet. */
  uncommittedSizeBytes = 0;
  reads = new Reads();
  /** All ticks since the start. */
  ticks = 0;
  electionElapsed = 0;
  heartbeatElapsed = 0;
  /** How long this follower waits, drawn anew at every change of role. */
  randomizedElectionTicks = 0;
  /** To be sent at once, and to be sent after what is unstable now is durable. */
  messages: RaftMessage[] = [];
  messagesAfterAppend: RaftMessage[] = [];
  readStates: ReadState[] = [];

  constructor(config: RaftConfig, storage: RaftStorage) {
    this.config = config;
    this.tracker = new Tracker({ countMax: config.inflightCountMax, sizeBytesMax: config.inflightSizeBytesMax });
    this.log = new RaftLog(storage, config.committedSizeBytesMax, this.emit);
  }

  get id(): bigint {
    return this.config.id;
  }

  /** Tells whoever watches. */
  readonly emit = (event: EventBody): void => {
    this.config.observe?.({ id: this.id, term: this.term, ...event });
  };

  /** The head of a message of this term. */
  envelope(to: bigint): { readonly from: bigint; readonly to: bigint; readonly term: bigint } {
    return { from: this.id, to, term: this.term };
  }

  /**
   * Sends. An answer that promises something waits until the promise is durable: that entries are in the log, that a vote is cast
   * (dissertation 3.8: "updated on stable storage before responding").
   */
  send(message: RaftMessage): void {
    switch (message.kind) {
      case "appendResponse":
      case "voteResponse":
      case "preVoteResponse":
        this.messagesAfterAppend.push(message);
        break;
      default:
        assert(message.to !== this.id, "{} to itself", message.kind);
        this.messages.push(message);
    }
  }

  get hardState(): HardState {
    return { term: this.term, vote: this.vote, commit: this.log.committed };
  }

  get softState(): SoftState {
    return { leader: this.leader, role: this.role };
  }

  /** Whether it may lead: a voter that is not waiting for a snapshot to be applied. */
  isPromotable(): boolean {
    const own = this.tracker.progressOf(this.id);
    return own !== undefined && !own.isLearner && this.log.unstable.snapshot === undefined;
  }

  /** Whether the leader has committed an entry of its own term: only then is its commit index known to be the newest (6.4). */
  hasCommittedInTerm(): boolean {
    return this.log.term(this.log.committed) === this.term;
  }

  /** A follower of `leader` in `term`. */
  becomeFollower(term: bigint, leader: bigint): void {
    this.reset(term);
    this.leader = leader;
    this.#become("follower");
  }

  /** Asks for votes without a term of its own: neither term nor vote changes, so nothing is disturbed when it cannot win. */
  becomePreCandidate(): void {
    assert(this.role !== "leader", "a leader needs no pre-vote");
    this.tracker.resetVotes();
    this.leader = NOBODY;
    this.#become("preCandidate");
  }

  /** Opens a term and votes for itself. */
  becomeCandidate(): void {
    assert(this.role !== "leader", "a leader opens no election");
    this.reset(this.term + 1n);
    this.vote = this.id;
    this.#become("candidate");
  }

  /** Ready to lead its term; `leader.ts` does the rest. */
  ascend(): void {
    assert(this.role === "candidate", "a {} cannot lead", this.role);
    this.reset(this.term);
    this.leader = this.id;
    this.role = "leader";
  }

  /** One vote a term: it is forgotten when the term changes, and only then. */
  reset(term: bigint): void {
    assert(term >= this.term, "term {} after {}", term, this.term);
    if (term !== this.term) {
      this.term = term;
      this.vote = NOBODY;
    }
    this.leader = NOBODY;
    this.transferee = NOBODY;
    this.hasAbdicated = false;
    this.electionElapsed = 0;
    this.heartbeatElapsed = 0;
    this.randomizedElectionTicks = this.config.electionTicks + this.config.random(this.config.electionTicks);
    this.tracker.resetVotes();
    this.tracker.resetProgress(this.id, this.log.lastIndex());
    this.pendingChangeIndex = 0n;
    this.uncommittedSizeBytes = 0;
    this.reads = new Reads();
  }

  #become(role: Role): void {
    this.role = role;
    this.emit({ what: "became", role });
  }
}
