/** Feeding the followers: entries, snapshots, heartbeats, and the commit index that follows from what they hold (dissertation 3.5). */

import { present } from "../../crypto/base/assert.ts";
import { APPENDS_PER_TURN_MAX } from "./limits.ts";
import { progressText } from "./progress.ts";
import type { Progress } from "./progress.ts";
import type { RaftState } from "./state.ts";
import { sizeBytesOf } from "./log.ts";

/** Sends what comes next to one follower, or an empty append when nothing does: it still tells the commit index, and probes. */
export function sendAppend(raft: RaftState, to: bigint): void {
  trySendAppend(raft, to, true);
}

/** Sends as much as the window allows, and nothing empty. */
export function sendAppends(raft: RaftState, to: bigint): void {
  for (let count = 0; count < APPENDS_PER_TURN_MAX; count += 1) if (!trySendAppend(raft, to, false)) return;
}

/**
 * Sends one append, or a snapshot when the entries are compacted.
 *
 * @returns whether anything was sent
 */
export function trySendAppend(raft: RaftState, to: bigint, evenIfEmpty: boolean): boolean {
  const progress = present(raft.tracker.progressOf(to), "progress of {}", to);
  if (progress.isPaused()) return false;
  const previous = { term: raft.log.term(progress.next - 1n), index: progress.next - 1n };
  if (previous.term === undefined) return trySendSnapshot(raft, to, progress);
  // Through a full window an empty append still goes: if all that filled it was lost, its answer opens the window again.
  const isThrottled = progress.state === "replicate" && progress.inflights.isFull();
  const entries = isThrottled ? [] : raft.log.entriesFrom(progress.next, raft.config.messageSizeBytesMax);
  if (entries === undefined) return trySendSnapshot(raft, to, progress);
  if (entries.length === 0 && !evenIfEmpty) return false;
  const commit = raft.log.committed;
  raft.send({ kind: "append", ...raft.envelope(to), previous: { term: previous.term, index: previous.index }, entries, commit });
  progress.sentEntries(entries.length, sizeBytesOf(entries));
  progress.sentCommit(commit);
  return true;
}

/** Entries to everybody. */
export function broadcastAppend(raft: RaftState): void {
  for (const [id] of raft.tracker.members()) if (id !== raft.id) sendAppend(raft, id);
}

/**
 * A round of heartbeats. Each follower is told to commit no further than it is known to hold: beyond that its log may still differ
 * from ours.
 */
export function broadcastHeartbeat(raft: RaftState): void {
  const round = raft.reads.beginRound(raft.ticks);
  for (const [id, progress] of raft.tracker.members()) {
    if (id === raft.id) continue;
    const commit = progress.match < raft.log.committed ? progress.match : raft.log.committed;
    raft.send({ kind: "heartbeat", ...raft.envelope(id), commit, round });
    progress.sentCommit(commit);
  }
}

/** Commits what a quorum holds, through an entry of this term. @returns whether the commit index moved */
export function advanceCommit(raft: RaftState): boolean {
  return raft.log.commitOwnTerm({ term: raft.term, index: raft.tracker.committed() });
}

function trySendSnapshot(raft: RaftState, to: bigint, progress: Progress): boolean {
  if (!progress.isActive) {
    raft.emit({ what: "snapshotSkipped", to, reason: "inactive" });
    return false;
  }
  const snapshot = raft.log.snapshot();
  if (snapshot === undefined || snapshot.index === 0n) {
    raft.emit({ what: "snapshotSkipped", to, reason: "unavailable" });
    return false;
  }
  raft.emit({
    what: "snapshotSent",
    to,
    firstIndex: raft.log.firstIndex(),
    commit: raft.log.committed,
    snapshot: { term: snapshot.term, index: snapshot.index },
    progress: progressText(progress),
  });
  progress.becomeSnapshot(snapshot.index);
  raft.emit({ what: "replicationPaused", to, progress: progressText(progress) });
  raft.send({ kind: "snapshot", ...raft.envelope(to), snapshot });
  return true;
}
