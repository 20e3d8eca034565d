/**
 * Raft, one node, no I/O. Feed it ticks, messages and wishes; take turns (`Ready`) out of it and do what they say, in this order:
 *
 * ```
 *   for every event:
 *     core.tick() | core.step(message) | core.propose(bytes) | ...
 *     while (core.hasReady()) {
 *       const ready = core.ready();
 *       store(ready.snapshot, ready.entries, ready.hardState);     // durable now; fsync when ready.mustSync
 *       for (const message of ready.messages) send(message);       // answers are promises: never before the line above
 *       restoreStateMachine(ready.snapshot);
 *       for (const entry of ready.committed)
 *         if (entry.kind === "change") storage.setConfiguration(core.applyConfChange(decodeChange(entry.data)))
 *         else apply(entry);
 *       for (const read of ready.readStates) serve when read.index is applied;
 *       core.advance();
 *     }
 * ```
 *
 * What a turn stores is one record, or is written in that order: a hard state whose commit index is beyond the log cannot be restored.
 * `ready()` takes a turn and `advance()` ends it; messages may be stepped between the two, but no second turn is given.
 *
 * With `asyncStorageWrites` nothing is stored in the loop and `advance` is not called. `ready.appendWork` and `ready.applyWork` go to
 * two queues that are worked off in order; when a work is done, its `responses` are delivered (those with `to === id` to
 * `acknowledge`, the others to the network), then its `done` to `acknowledge`. `ready.messages` wait for the record of term
 * and vote that came before or with them: sent earlier, a candidate could be elected in a term that a crash makes it forget,
 * and lead that term a second time with another log.
 *
 * After a crash: a new `RaftCore` from the storage as it was durable. What was handed out and not stored is as if it never was.
 *
 * Wishes may fail (`Result`), and a wish that was taken may still come to nothing: a proposal is known by its entry in `committed`, a
 * read by its context in `readStates`.
 *
 * Source: Ongaro 2014 (the dissertation): chapters 3 (the algorithm), 4 (membership), 5.1 (snapshots), 6.4 (reads), 9.6 (pre-vote),
 * 10.2 (writing to disk in parallel); and the behaviour that the scripts of etcd-io/raft pin down.
 */

import { assert } from "../../crypto/base/assert.ts";
import { fail } from "../../crypto/base/result.ts";
import { encodeChange } from "./change-codec.ts";
import { fromConfState, toConfState, votersOf } from "./configuration.ts";
import { restoreMembership } from "./confchange.ts";
import { campaignIfAllowed, tickElection } from "./election.ts";
import { proposeAsFollower, readAsFollower } from "./follower.ts";
import { memberUnreachable, snapshotReported, tickLeader, transferTo } from "./leader.ts";
import { CHANGE_CONTEXT_SIZE_BYTES_MAX, CHANGE_STEPS_MAX } from "./limits.ts";
import { sizeBytesOf } from "./log.ts";
import { applyChange, entriesApplied, snapshotApplied, switchTo } from "./membership.ts";
import type { ProgressState } from "./progress.ts";
import { progressText } from "./progress.ts";
import { checkProposals, dropProposal, proposeAsLeader } from "./proposals.ts";
import type { Outcome } from "./proposals.ts";
import { readAsLeader } from "./reading.ts";
import { RaftState } from "./state.ts";
import { handle } from "./step.ts";
import type { RaftStorage } from "./storage.ts";
import { NOBODY } from "./types.ts";
import { assertConfig } from "./config.ts";
import type { RaftConfig } from "./config.ts";
import type {
  AppendDone,
  AppendWork,
  ApplyDone,
  ConfChange,
  ConfState,
  Entry,
  HardState,
  Proposal,
  RaftMessage,
  Ready,
  Role,
  SoftState,
} from "./types.ts";
import { checkContext, checkMessage } from "./validate.ts";

/** What a node thinks now. `progress` is a leader's, and empty otherwise. */
export type RaftStatus = {
  readonly id: bigint;
  readonly role: Role;
  readonly leader: bigint;
  readonly transferee: bigint;
  readonly hardState: HardState;
  readonly applied: bigint;
  readonly firstIndex: bigint;
  readonly lastIndex: bigint;
  readonly configuration: ConfState;
  readonly progress: readonly MemberStatus[];
};

/** What a leader knows of a member. */
export type MemberStatus = {
  readonly id: bigint;
  readonly match: bigint;
  readonly next: bigint;
  readonly state: ProgressState;
  readonly isLearner: boolean;
  readonly isActive: boolean;
  readonly isPaused: boolean;
  readonly text: string;
};

/** What the node has to tell itself at the end of a turn. */
type OwnResponse = RaftMessage | AppendDone | ApplyDone;

/** One node. */
export class RaftCore {
  readonly #raft: RaftState;
  #toldHardState: HardState;
  #toldSoftState: SoftState;
  /** What `advance` tells the node, in synchronous mode; `undefined` between turns. */
  #turn: readonly OwnResponse[] | undefined = undefined;

  /** A node with nothing durable begins with an empty storage. A configuration that cannot be is our caller's bug. */
  constructor(config: RaftConfig, storage: RaftStorage) {
    assertConfig(config);
    const { hardState, configuration: stored } = storage.initialState();
    const configuration = fromConfState(stored);
    assert(configuration !== undefined, "the stored configuration cannot be");
    const raft = new RaftState(config, storage);
    const fresh = { lastIndex: raft.log.lastIndex(), limits: raft.tracker.limits };
    this.#raft = raft;
    switchTo(raft, restoreMembership(configuration, fresh));
    raft.term = hardState.term;
    raft.vote = hardState.vote;
    raft.log.commitTo(hardState.commit);
    raft.log.commitTo(config.applied); // What is applied was committed, though the note of it may be lost.
    if (config.applied > raft.log.applied) raft.log.appliedTo(config.applied, 0);
    raft.becomeFollower(raft.term, NOBODY);
    const { committed: commit, applied } = raft.log;
    raft.emit({ what: "started", voters: votersOf(configuration), commit, applied, last: raft.log.last() });
    this.#toldHardState = raft.hardState;
    this.#toldSoftState = raft.softState;
  }

  get id(): bigint {
    return this.#raft.id;
  }

  /** A unit of time has passed. */
  tick(): void {
    this.#raft.ticks += 1;
    if (this.#raft.role === "leader") tickLeader(this.#raft);
    else tickElection(this.#raft);
  }

  /** A message from another node. Never throws; of one that is refused at most its term and its leader are heard. */
  step(message: RaftMessage): Outcome {
    const raft = this.#raft;
    const checked = checkMessage(message, raft.id);
    if (!checked.ok) return checked;
    if (mustBeMember(message) && raft.tracker.progressOf(message.from) === undefined)
      return fail({ code: "peer_unknown", detail: `${message.kind} from ${message.from}` });
    return handle(raft, message);
  }

  /** Asks to be elected now. */
  campaign(): void {
    campaignIfAllowed(this.#raft, this.#raft.config.preVote ? "preElection" : "election");
  }

  /** Asks for an entry with these bytes. */
  propose(data: Uint8Array): Outcome {
    return this.#propose({ kind: "normal", data });
  }

  /** Asks for a change of the configuration; `LEAVE_JOINT` leaves a joint one. One that may not be made now becomes an empty entry. */
  proposeConfChange(change: ConfChange): Outcome {
    assert(change.steps.length <= CHANGE_STEPS_MAX, "{} steps", change.steps.length);
    assert(change.context.length <= CHANGE_CONTEXT_SIZE_BYTES_MAX, "context of {} bytes", change.context.length);
    return this.#propose({ kind: "change", data: encodeChange(change) });
  }

  /** The caller applies a committed change, in its place among the other entries. @returns the configuration in force from now on */
  applyConfChange(change: ConfChange): ConfState {
    return applyChange(this.#raft, change);
  }

  /** Asks up to where the state machine must have applied so that a read of now sees all that was ever confirmed to anybody. */
  readIndex(context: Uint8Array): Outcome {
    const raft = this.#raft;
    const checked = checkContext(context);
    if (!checked.ok) return checked;
    if (raft.role === "leader") return readAsLeader(raft, { from: raft.id, context });
    return readAsFollower(raft, context);
  }

  /** Asks that another voter lead. The leader gives up after an election timeout. */
  transferLeader(transferee: bigint): void {
    const raft = this.#raft;
    if (raft.role === "leader") transferTo(raft, transferee);
    else if (raft.leader === NOBODY) raft.emit({ what: "transferIgnored", to: transferee, reason: "noLeader" });
    else raft.send({ kind: "transferLeader", ...raft.envelope(raft.leader), transferee });
  }

  /** A follower that knows its leader is gone stops shielding it from elections. Refused with lease reads, which rest on that shield. */
  forgetLeader(): void {
    const raft = this.#raft;
    if (raft.role !== "follower" || raft.leader === NOBODY) return;
    if (raft.config.readMode === "lease") return raft.emit({ what: "leaderKept" });
    raft.emit({ what: "leaderForgotten", leader: raft.leader });
    raft.leader = NOBODY;
  }

  /** The transport could not reach a member. */
  reportUnreachable(id: bigint): void {
    memberUnreachable(this.#raft, id);
  }

  /** The transport has handed over a snapshot (or has given up). */
  reportSnapshot(id: bigint, isApplied: boolean): void {
    snapshotReported(this.#raft, id, isApplied);
  }

  /** Whether there is anything to do. */
  hasReady(): boolean {
    const raft = this.#raft;
    return (
      raft.messages.length + raft.messagesAfterAppend.length + raft.readStates.length > 0 ||
      !isSameSoftState(raft.softState, this.#toldSoftState) ||
      !isSameHardState(raft.hardState, this.#toldHardState) ||
      raft.log.unstable.nextSnapshot() !== undefined ||
      raft.log.unstable.nextEntries().length > 0 ||
      raft.log.nextCommitted(this.#storesFirst).length > 0
    );
  }

  /** Takes a turn. In synchronous mode it must be ended by `advance` before the next. */
  ready(): Ready {
    assert(this.#turn === undefined, "the turn before was not ended by advance()");
    const raft = this.#raft;
    const { hardState, softState } = raft;
    const isHardStateNew = !isSameHardState(hardState, this.#toldHardState);
    const entries = raft.log.unstable.nextEntries();
    const snapshot = raft.log.unstable.nextSnapshot();
    const committed = raft.log.nextCommitted(this.#storesFirst);
    const turn = {
      softState: isSameSoftState(softState, this.#toldSoftState) ? undefined : softState,
      hardState: isHardStateNew ? hardState : undefined,
      readStates: raft.readStates,
      entries,
      snapshot,
      committed,
      mustSync: entries.length > 0 || hardState.term !== this.#toldHardState.term || hardState.vote !== this.#toldHardState.vote,
    };
    const appendWork: AppendWork = {
      hardState: turn.hardState,
      entries,
      snapshot,
      responses: raft.messagesAfterAppend,
      done: this.#appendDone(turn.snapshot),
    };
    const applyDone: ApplyDone = { kind: "applyDone", entries: committed };
    const ready = raft.config.asyncStorageWrites
      ? {
          ...turn,
          messages: raft.messages,
          appendWork: isIdle(appendWork) ? undefined : appendWork,
          applyWork: committed.length === 0 ? undefined : { entries: committed, done: applyDone },
        }
      : { ...turn, messages: this.#messagesInOrder(), appendWork: undefined, applyWork: undefined };
    if (!raft.config.asyncStorageWrites) this.#turn = this.#ownResponses(appendWork, applyDone);
    this.#accept(turn);
    return ready;
  }

  /** Ends a turn: all that it asked for is done. */
  advance(): void {
    assert(!this.#raft.config.asyncStorageWrites, "with asynchronous storage, acknowledge each work");
    const turn = this.#turn;
    assert(turn !== undefined, "no turn was taken");
    this.#turn = undefined;
    for (const response of turn) this.#tellSelf(response);
  }

  /** With asynchronous storage: what a finished work has for this node itself. */
  acknowledge(response: OwnResponse): void {
    assert(this.#raft.config.asyncStorageWrites, "without asynchronous storage, advance() does this");
    this.#tellSelf(response);
  }

  /** What the node thinks now. */
  status(): RaftStatus {
    const raft = this.#raft;
    const { configuration } = raft.tracker;
    const progress = raft.role === "leader" ? raft.tracker.members() : [];
    return {
      id: raft.id,
      ...raft.softState,
      transferee: raft.transferee,
      hardState: raft.hardState,
      applied: raft.log.applied,
      firstIndex: raft.log.firstIndex(),
      lastIndex: raft.log.lastIndex(),
      configuration: toConfState(configuration),
      progress: progress.map(([id, member]) => ({
        id,
        match: member.match,
        next: member.next,
        state: member.state,
        isLearner: member.isLearner,
        isActive: member.isActive,
        isPaused: member.isPaused(),
        text: progressText(member),
      })),
    };
  }

  /** For scripts that need a certain timeout: the follower waits so long from now on, until its next change of role. */
  setElectionTicks(ticks: number): void {
    this.#raft.randomizedElectionTicks = ticks;
  }

  /** Synchronous storage stores a turn's entries before it applies the turn's committed ones, so they may be the same. */
  get #storesFirst(): boolean {
    return !this.#raft.config.asyncStorageWrites;
  }

  #propose(proposal: Proposal): Outcome {
    const raft = this.#raft;
    const checked = checkProposals([proposal]);
    if (!checked.ok) return checked;
    if (raft.role === "leader") return proposeAsLeader(raft, [proposal]);
    if (raft.role === "follower") return proposeAsFollower(raft, [proposal]);
    return dropProposal(raft, "noLeader");
  }

  /** What is owed after storing, after what may be said at once. What is for the node itself waits for `advance`. */
  #messagesInOrder(): readonly RaftMessage[] {
    const { id, messages, messagesAfterAppend } = this.#raft;
    return [...messages, ...messagesAfterAppend.filter(({ to }) => to !== id)];
  }

  #ownResponses(appendWork: AppendWork, applyDone: ApplyDone): readonly OwnResponse[] {
    const own: OwnResponse[] = appendWork.responses.filter(({ to }) => to === this.id);
    if (appendWork.done !== undefined) own.push(appendWork.done);
    if (applyDone.entries.length > 0) own.push(applyDone);
    return own;
  }

  /**
   * When this work is durable, all before it is too: so it speaks for the last unstable entry, even if that was handed out earlier.
   * It names our term, for entries may be replaced by those of a later one while it is being written; a confirmation of the old
   * ones must not be taken for the new.
   */
  #appendDone(snapshot: AppendDone["snapshot"]): AppendDone | undefined {
    const { log, term } = this.#raft;
    const last = log.unstable.entries.length > 0 ? log.last() : undefined;
    return last === undefined && snapshot === undefined ? undefined : { kind: "appendDone", term, last, snapshot };
  }

  #accept({
    softState,
    hardState,
    committed,
  }: {
    softState: Ready["softState"];
    hardState: Ready["hardState"];
    committed: readonly Entry[];
  }): void {
    const raft = this.#raft;
    if (softState !== undefined) this.#toldSoftState = softState;
    if (hardState !== undefined) this.#toldHardState = hardState;
    raft.readStates = [];
    raft.messages = [];
    raft.messagesAfterAppend = [];
    raft.reads.closeRound();
    raft.log.unstable.acceptInProgress();
    raft.log.acceptApplying(committed, this.#storesFirst);
  }

  #tellSelf(response: OwnResponse): void {
    const raft = this.#raft;
    switch (response.kind) {
      case "appendDone":
        this.#appended(response);
        break;
      case "applyDone":
        entriesApplied(raft, response.entries, sizeBytesOf(response.entries));
        break;
      default: {
        assert(
          response.from === raft.id && response.to === raft.id,
          "{} from {} to {}",
          response.kind,
          response.from,
          response.to,
        );
        const handled = handle(raft, response);
        assert(handled.ok, handled.ok ? "" : handled.error.detail);
      }
    }
  }

  /** A snapshot holds what is committed, in whatever term it was stored; entries must be of the term that they were handed out in. */
  #appended({ term, last, snapshot }: AppendDone): void {
    const raft = this.#raft;
    if (snapshot !== undefined) snapshotApplied(raft, snapshot);
    if (last === undefined) return;
    if (term < raft.term) raft.emit({ what: "staleIgnored", kind: "appendDone", from: raft.id, oldTerm: term });
    else raft.log.unstable.stableTo(last);
  }
}

/** Answers, proposals and reads of nodes that are not in the configuration come from its past, or from nowhere. */
function mustBeMember({ kind }: RaftMessage): boolean {
  switch (kind) {
    case "appendResponse":
    case "voteResponse":
    case "preVoteResponse":
    case "heartbeatResponse":
    case "propose":
    case "readIndex":
    case "transferLeader":
      return true;
    default:
      return false;
  }
}

function isIdle({ hardState, entries, snapshot, responses }: AppendWork): boolean {
  return hardState === undefined && entries.length === 0 && snapshot === undefined && responses.length === 0;
}

function isSameHardState(a: HardState, b: HardState): boolean {
  return a.term === b.term && a.vote === b.vote && a.commit === b.commit;
}

function isSameSoftState(a: SoftState, b: SoftState): boolean {
  return a.leader === b.leader && a.role === b.role;
}
