/** A node that asks for votes, in earnest or in rehearsal (dissertation 3.4, 9.6). */

import { startCampaign } from "./election.ts";
import { hearLeader } from "./follower.ts";
import { becomeLeader } from "./leader.ts";
import { DONE, dropProposal } from "./proposals.ts";
import type { Outcome } from "./proposals.ts";
import type { RaftState } from "./state.ts";
import { NOBODY } from "./types.ts";
import type { RaftMessage, VoteResponse } from "./types.ts";

/** A message of this term, to a candidate or pre-candidate. */
export function stepCandidate(raft: RaftState, message: RaftMessage): Outcome {
  switch (message.kind) {
    case "append":
    case "heartbeat":
    case "snapshot":
      // Somebody leads this term already.
      raft.becomeFollower(message.term, message.from);
      return hearLeader(raft, message);
    case "voteResponse":
    case "preVoteResponse":
      // Answers to a rehearsal say nothing about the election, nor the other way round.
      if (message.kind === (raft.role === "preCandidate" ? "preVoteResponse" : "voteResponse")) countVote(raft, message);
      return DONE;
    case "propose":
      return dropProposal(raft, "noLeader");
    case "timeoutNow":
      raft.emit({ what: "timeoutNowHeard", from: message.from, isObeyed: false });
      return DONE;
    default:
      return DONE;
  }
}

function countVote(raft: RaftState, { kind, from, isRejected }: VoteResponse): void {
  const asked = kind === "preVoteResponse" ? "preVote" : "vote";
  raft.emit({ what: "voteHeard", kind: asked, from, isRejected });
  raft.tracker.recordVote(from, !isRejected);
  const { granted, rejected, result } = raft.tracker.ballot();
  raft.emit({ what: "votesCounted", kind: asked, granted, rejected });
  if (result === "lost") raft.becomeFollower(raft.term, NOBODY);
  else if (result === "won" && asked === "preVote") startCampaign(raft, "election");
  else if (result === "won") becomeLeader(raft);
}
