/** Putting configurations in force, and what follows from entries and snapshots being applied. */

import { isVoter, toConfState } from "./configuration.ts";
import { changeMembership } from "./confchange.ts";
import type { Membership } from "./confchange.ts";
import { encodeChange, LEAVE_JOINT } from "./change-codec.ts";
import { payloadSizeBytes, proposeAsLeader } from "./proposals.ts";
import { releaseReads } from "./reading.ts";
import { advanceCommit, broadcastAppend, trySendAppend } from "./replication.ts";
import type { RaftState } from "./state.ts";
import { NOBODY } from "./types.ts";
import type { ConfChange, ConfState, Entry, Snapshot } from "./types.ts";

/**
 * The caller applies a committed change. One that cannot be made, which only a leader that does not validate lets into the log,
 * changes nothing, at every node alike.
 */
export function applyChange(raft: RaftState, change: ConfChange): ConfState {
  const fresh = { lastIndex: raft.log.lastIndex(), limits: raft.tracker.limits };
  const changed = changeMembership(raft.tracker.membership, change, fresh);
  if (changed.ok) return switchTo(raft, changed.value);
  raft.emit({ what: "changeRefused", change, configuration: raft.tracker.configuration, detail: changed.error.detail });
  return toConfState(raft.tracker.configuration);
}

/** Another configuration is in force from now on: when it is applied, not when it is appended. */
export function switchTo(raft: RaftState, membership: Membership): ConfState {
  const before = raft.tracker.members();
  raft.tracker.switchTo(membership);
  const { configuration } = raft.tracker;
  raft.emit({ what: "configurationSwitched", configuration });
  for (const [id] of before) if (raft.tracker.progressOf(id) === undefined) raft.reads.forget(id);
  if (raft.role === "leader") leadThrough(raft);
  return toConfState(configuration);
}

function leadThrough(raft: RaftState): void {
  const own = raft.tracker.progressOf(raft.id);
  if (own === undefined || own.isLearner) {
    // It leads on, without a vote, until the others hold the change (4.2.2), unless it is asked to leave at once.
    if (raft.config.stepDownOnRemoval) raft.becomeFollower(raft.term, NOBODY);
    return;
  }
  // A smaller quorum may hold more. If not, begin to feed the new members now.
  if (advanceCommit(raft)) {
    releaseReads(raft);
    broadcastAppend(raft);
  } else for (const [id] of raft.tracker.members()) if (id !== raft.id) trySendAppend(raft, id, false);
  if (raft.transferee !== NOBODY && !isVoter(raft.tracker.configuration, raft.transferee)) raft.transferee = NOBODY;
}

/** The caller has applied these. */
export function entriesApplied(raft: RaftState, entries: readonly Entry[], sizeBytes: number): void {
  const last = entries.at(-1);
  if (last === undefined) return;
  raft.uncommittedSizeBytes = Math.max(0, raft.uncommittedSizeBytes - payloadSizeBytes(entries));
  appliedTo(raft, last.index, sizeBytes);
}

/** The caller has stored and applied this snapshot. */
export function snapshotApplied(raft: RaftState, snapshot: Snapshot): void {
  raft.log.unstable.stableSnapshotTo(snapshot.index);
  appliedTo(raft, snapshot.index, 0);
}

function appliedTo(raft: RaftState, index: bigint, sizeBytes: number): void {
  const applied = index > raft.log.applied ? index : raft.log.applied;
  raft.log.appliedTo(applied, sizeBytes);
  if (raft.role === "leader" && raft.tracker.configuration.autoLeave && applied >= raft.pendingChangeIndex)
    leaveJointItself(raft);
}

/** Tried again with every applied entry: a transfer under way refuses it, and may fail. */
function leaveJointItself(raft: RaftState): void {
  const { configuration } = raft.tracker;
  const proposed = proposeAsLeader(raft, [{ kind: "change", data: encodeChange(LEAVE_JOINT) }]);
  raft.emit({ what: "leavingJoint", configuration, isDropped: !proposed.ok });
}
