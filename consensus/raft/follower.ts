/** A follower: takes what the leader sends, passes on what only the leader can do. */

import { present } from "../../crypto/base/assert.ts";
import { fail } from "../../crypto/base/result.ts";
import { campaignIfAllowed } from "./election.ts";
import { fromConfState } from "./configuration.ts";
import { restoreMembership } from "./confchange.ts";
import { switchTo } from "./membership.ts";
import { DONE, dropProposal } from "./proposals.ts";
import type { Outcome } from "./proposals.ts";
import type { RaftState } from "./state.ts";
import { NOBODY } from "./types.ts";
import type { Append, Heartbeat, InstallSnapshot, Proposal, RaftMessage, Snapshot, TimeoutNow } from "./types.ts";

/** What only a term's leader says. */
export type LeaderMessage = Append | Heartbeat | InstallSnapshot;

/** A message of this term, to a follower. */
export function stepFollower(raft: RaftState, message: RaftMessage): Outcome {
  switch (message.kind) {
    case "append":
    case "heartbeat":
    case "snapshot":
      return hearLeader(raft, message);
    case "timeoutNow":
      return hearTimeoutNow(raft, message);
    case "readIndexResponse":
      // Only the leader knows; anybody else could make us serve an old state.
      if (message.from === raft.leader) raft.readStates.push({ index: message.index, context: message.context });
      return DONE;
    case "propose":
      // Passed on once, by the node that was asked; passing on again could go round for ever.
      return dropProposal(raft, "notLeader");
    case "readIndex":
      return fail({ code: "read_dropped", detail: "not the leader" });
    case "transferLeader":
      raft.emit({ what: "transferIgnored", to: message.transferee, reason: "noLeader" });
      return DONE;
    default:
      return DONE; // Votes for a campaign that is over, answers to a reign that is over.
  }
}

/** Follows whoever leads this term. There is one leader a term (election safety, 3.4): another one is a lie, or the end of safety. */
export function hearLeader(raft: RaftState, message: LeaderMessage): Outcome {
  if (raft.leader !== NOBODY && raft.leader !== message.from)
    return fail({ code: "history_conflict", detail: `${message.from} and ${raft.leader} lead term ${raft.term}` });
  raft.electionElapsed = 0;
  raft.leader = message.from;
  switch (message.kind) {
    case "append":
      return takeAppend(raft, message);
    case "heartbeat":
      return takeHeartbeat(raft, message);
    default:
      return takeSnapshot(raft, message);
  }
}

/** A follower passes a proposal of its own caller on to the leader. */
export function proposeAsFollower(raft: RaftState, proposals: readonly Proposal[]): Outcome {
  if (raft.leader === NOBODY) return dropProposal(raft, "noLeader");
  if (raft.config.disableProposalForwarding) return dropProposal(raft, "forwardingDisabled");
  raft.send({ kind: "propose", from: raft.id, to: raft.leader, term: 0n, proposals });
  return DONE;
}

/** A follower passes a read of its own caller on to the leader. */
export function readAsFollower(raft: RaftState, context: Uint8Array): Outcome {
  if (raft.leader === NOBODY) return fail({ code: "read_dropped", detail: "no leader is known" });
  raft.send({ kind: "readIndex", from: raft.id, to: raft.leader, term: 0n, context });
  return DONE;
}

/** AppendEntries, receiver's side (dissertation, figure 3.1). */
function takeAppend(raft: RaftState, { from, previous, entries, commit }: Append): Outcome {
  const { log } = raft;
  if (previous.index < log.committed) {
    // All before our commit index is settled, whatever this says of it (3.6.2): say where we are.
    accept(raft, from, log.committed);
    return DONE;
  }
  const accepted = log.appendFromLeader(previous, entries, commit);
  if (accepted !== undefined) {
    accept(raft, from, accepted);
    return DONE;
  }
  raft.emit({
    what: "appendRejected",
    from,
    ours: { term: log.term(previous.index) ?? 0n, index: previous.index },
    theirs: previous,
  });
  // The best guess at where the logs agree: no later than our end, and not within terms that the leader's entry excludes.
  const last = log.lastIndex();
  const hint = log.findConflictByTerm(previous.index < last ? previous.index : last, previous.term);
  raft.send({ kind: "appendResponse", ...raft.envelope(from), index: previous.index, hint });
  return DONE;
}

function accept(raft: RaftState, leader: bigint, index: bigint): void {
  raft.send({ kind: "appendResponse", ...raft.envelope(leader), index, hint: undefined });
}

function takeHeartbeat(raft: RaftState, { from, commit, round }: Heartbeat): Outcome {
  if (commit > raft.log.lastIndex())
    return fail({ code: "index_impossible", detail: `commit ${commit}, our log ends at ${raft.log.lastIndex()}` });
  raft.log.commitTo(commit);
  raft.send({ kind: "heartbeatResponse", ...raft.envelope(from), round });
  return DONE;
}

function takeSnapshot(raft: RaftState, { from, snapshot }: InstallSnapshot): Outcome {
  const isRestored = restore(raft, snapshot);
  raft.emit({
    what: "snapshotHandled",
    commit: raft.log.committed,
    snapshot: { term: snapshot.term, index: snapshot.index },
    isRestored,
  });
  accept(raft, from, isRestored ? raft.log.lastIndex() : raft.log.committed);
  return DONE;
}

/** Begins anew from the snapshot, unless our log says as much already. @returns whether it did */
function restore(raft: RaftState, snapshot: Snapshot): boolean {
  const { log } = raft;
  if (snapshot.index <= log.committed) return false;
  const id = { term: snapshot.term, index: snapshot.index };
  if (log.holds(id)) {
    // What it says is in our log: nothing to load, and now known to be committed.
    raft.emit({ what: "restored", commit: log.committed, last: log.last(), snapshot: id, isFastForward: true });
    log.commitTo(snapshot.index);
    return false;
  }
  // It need not name us: we may have been added after it was taken, by an entry that follows.
  const configuration = present(fromConfState(snapshot.configuration), "configuration of a checked snapshot");
  log.restore(snapshot);
  switchTo(raft, restoreMembership(configuration, { lastIndex: log.lastIndex(), limits: raft.tracker.limits }));
  raft.emit({ what: "restored", commit: log.committed, last: log.last(), snapshot: id, isFastForward: false });
  return true;
}

/** The leader hands over: campaign at once, whatever the election timeout (3.10). Nobody but the leader may ask. */
function hearTimeoutNow(raft: RaftState, { from }: TimeoutNow): Outcome {
  const isObeyed = raft.leader === NOBODY || raft.leader === from;
  raft.emit({ what: "timeoutNowHeard", from, isObeyed });
  if (isObeyed) campaignIfAllowed(raft, "transfer");
  return DONE;
}
