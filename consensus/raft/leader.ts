/** A leader: orders, feeds, counts, and gives way when it has lost its quorum (dissertation 3.5, 6.2). */

import { assert, present } from "../../crypto/base/assert.ts";
import { EMPTY } from "../../crypto/base/bytes.ts";
import { fail } from "../../crypto/base/result.ts";
import { progressText } from "./progress.ts";
import type { Progress } from "./progress.ts";
import { appendOwn, DONE, proposeAsLeader } from "./proposals.ts";
import type { Outcome } from "./proposals.ts";
import { readAsLeader, releaseReads, roundAnswered } from "./reading.ts";
import { advanceCommit, broadcastAppend, broadcastHeartbeat, sendAppend, sendAppends } from "./replication.ts";
import type { RaftState } from "./state.ts";
import { NOBODY } from "./types.ts";
import type { AppendResponse, EntryId, HeartbeatResponse, RaftMessage } from "./types.ts";

/**
 * Begins to lead with an empty entry: only an entry of its own term can be committed by counting, and the older ones with it (3.6.2).
 */
export function becomeLeader(raft: RaftState): void {
  raft.ascend();
  const own = present(raft.tracker.progressOf(raft.id), "own progress");
  own.becomeReplicate();
  own.isActive = true;
  // There may be a change of the configuration among the entries that are not applied here: wait for all of them.
  raft.pendingChangeIndex = raft.log.lastIndex();
  const isAppended = appendOwn(raft, [{ kind: "normal", data: EMPTY }]);
  assert(isAppended, "an empty entry weighs nothing");
  raft.emit({ what: "became", role: "leader" });
  broadcastAppend(raft);
}

/** One tick of a leader. */
export function tickLeader(raft: RaftState): void {
  raft.heartbeatElapsed += 1;
  raft.electionElapsed += 1;
  if (raft.electionElapsed >= raft.config.electionTicks) {
    raft.electionElapsed = 0;
    if (raft.config.checkQuorum) checkQuorum(raft);
    // Whoever was to take over has not within an election timeout: lead on (3.10).
    raft.transferee = NOBODY;
  }
  if (raft.role !== "leader" || raft.heartbeatElapsed < raft.config.heartbeatTicks) return;
  raft.heartbeatElapsed = 0;
  broadcastHeartbeat(raft);
}

/** A message of this term, to a leader. */
export function stepLeader(raft: RaftState, message: RaftMessage): Outcome {
  switch (message.kind) {
    case "propose":
      return proposeAsLeader(raft, message.proposals);
    case "readIndex":
      return readAsLeader(raft, { from: message.from, context: message.context });
    case "appendResponse":
      return withProgress(raft, message.from, (progress) => hearAppendResponse(raft, message, progress));
    case "heartbeatResponse":
      return withProgress(raft, message.from, (progress) => hearHeartbeatResponse(raft, message, progress));
    case "transferLeader":
      transferTo(raft, message.transferee);
      return DONE;
    case "append":
    case "heartbeat":
    case "snapshot":
      return fail({ code: "history_conflict", detail: `${message.from} leads term ${raft.term}, and so do we` });
    default:
      return DONE; // Late votes.
  }
}

/** Hands over to a voter: it is brought up to date, then asked to campaign (3.10). Meanwhile nothing is proposed. */
export function transferTo(raft: RaftState, transferee: bigint): void {
  const progress = raft.tracker.progressOf(transferee);
  if (progress === undefined || progress.isLearner)
    return raft.emit({ what: "transferIgnored", to: transferee, reason: "learner" });
  if (raft.transferee === transferee) return raft.emit({ what: "transferIgnored", to: transferee, reason: "underWay" });
  if (raft.transferee !== NOBODY) {
    raft.emit({ what: "transferAborted", to: raft.transferee });
    raft.transferee = NOBODY;
  }
  if (transferee === raft.id) return raft.emit({ what: "transferIgnored", to: transferee, reason: "self" });
  raft.emit({ what: "transferStarted", to: transferee });
  raft.electionElapsed = 0; // The transfer has an election timeout to succeed.
  raft.transferee = transferee;
  if (progress.match === raft.log.lastIndex()) sendTimeoutNow(raft, transferee, true);
  else sendAppend(raft, transferee);
}

/** The transport could not reach a member: what was under way to it is likely lost. */
export function memberUnreachable(raft: RaftState, id: bigint): void {
  const progress = raft.tracker.progressOf(id);
  if (raft.role !== "leader" || progress === undefined) return;
  if (progress.state === "replicate") progress.becomeProbe();
  raft.emit({ what: "unreachable", from: id, progress: progressText(progress) });
}

/** The transport has delivered a snapshot, or has failed to. Either way the next append waits for an answer or a heartbeat's. */
export function snapshotReported(raft: RaftState, id: bigint, isApplied: boolean): void {
  const progress = raft.tracker.progressOf(id);
  if (raft.role !== "leader" || progress?.state !== "snapshot") return;
  // Before it becomes a probe: one that failed must not be continued from.
  if (!isApplied) progress.pendingSnapshot = 0n;
  progress.becomeProbe();
  raft.emit({ what: "snapshotReported", from: id, isApplied, progress: progressText(progress) });
  progress.isFlowPaused = true;
}

/** A leader that has not heard a quorum for an election timeout gives way: somebody else may lead by now (6.2). */
function checkQuorum(raft: RaftState): void {
  if (!raft.tracker.isQuorumActive()) {
    raft.emit({ what: "quorumLost" });
    raft.becomeFollower(raft.term, NOBODY);
  }
  for (const [id, progress] of raft.tracker.members()) if (id !== raft.id) progress.isActive = false;
}

function withProgress(raft: RaftState, from: bigint, then: (progress: Progress) => Outcome): Outcome {
  const progress = raft.tracker.progressOf(from);
  return progress === undefined ? DONE : then(progress); // Removed since it was asked.
}

function hearAppendResponse(raft: RaftState, { from, index, hint }: AppendResponse, progress: Progress): Outcome {
  progress.isActive = true;
  if (hint !== undefined) {
    retreat(raft, from, { index, hint }, progress);
    return DONE;
  }
  if (index > raft.log.lastIndex())
    return fail({ code: "index_impossible", detail: `${from} holds ${index}, our log ends at ${raft.log.lastIndex()}` });
  const isNews = progress.update(index);
  if (isNews || (progress.match === index && progress.state === "probe")) proceed(raft, from, progress);
  return DONE;
}

/** The follower's log differs: send from an earlier place, as early as both logs ask for. */
function retreat(raft: RaftState, from: bigint, { index, hint }: { index: bigint; hint: EntryId }, progress: Progress): void {
  raft.emit({ what: "rejectionHeard", from, index, hint });
  const next = hint.term > 0n ? raft.log.findConflictByTerm(hint.index, hint.term).index : hint.index;
  if (!progress.decrease(index, next)) return;
  raft.emit({ what: "progressDecreased", to: from, progress: progressText(progress) });
  if (progress.state === "replicate") progress.becomeProbe();
  sendAppend(raft, from);
}

/** The follower holds more than we knew: feed it on, and commit what a quorum holds now. */
function proceed(raft: RaftState, from: bigint, progress: Progress): void {
  if (progress.state === "probe") progress.becomeReplicate();
  else if (progress.state === "replicate") progress.inflights.freeTo(progress.match);
  else if (progress.match + 1n >= raft.log.firstIndex()) {
    // Whatever snapshot brought it here, from now on the log continues it.
    raft.emit({ what: "snapshotRecovered", from, progress: progressText(progress) });
    progress.becomeProbe();
    progress.becomeReplicate();
  }
  if (advanceCommit(raft)) {
    releaseReads(raft);
    broadcastAppend(raft);
  } else if (from !== raft.id && progress.canBumpCommit(raft.log.committed)) {
    sendAppend(raft, from);
  }
  if (from !== raft.id) sendAppends(raft, from);
  if (from === raft.transferee && progress.match === raft.log.lastIndex()) sendTimeoutNow(raft, from, false);
}

function hearHeartbeatResponse(raft: RaftState, { from, round }: HeartbeatResponse, progress: Progress): Outcome {
  if (round > raft.reads.round)
    return fail({ code: "index_impossible", detail: `${from} answers round ${round} of ${raft.reads.round}` });
  progress.isActive = true;
  progress.isFlowPaused = false;
  if (progress.match < raft.log.lastIndex() || progress.state === "probe") sendAppend(raft, from);
  roundAnswered(raft, from, round);
  return DONE;
}

function sendTimeoutNow(raft: RaftState, to: bigint, isImmediate: boolean): void {
  raft.hasAbdicated = true;
  raft.emit({ what: "timeoutNowSent", to, isImmediate });
  raft.send({ kind: "timeoutNow", ...raft.envelope(to) });
}
