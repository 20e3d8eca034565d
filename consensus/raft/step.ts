/**
 * The rules about terms, before anything else looks at a message (dissertation 3.3): a later term ends ours, an earlier one is told
 * so or ignored. Then the message goes to the role.
 */

import { unreachable } from "../../crypto/base/assert.ts";
import { stepCandidate } from "./candidate.ts";
import { answerVoteRequest, isUnderLease } from "./election.ts";
import { stepFollower } from "./follower.ts";
import { stepLeader } from "./leader.ts";
import { DONE } from "./proposals.ts";
import type { Outcome } from "./proposals.ts";
import type { RaftState } from "./state.ts";
import { NOBODY } from "./types.ts";
import type { RaftMessage } from "./types.ts";

/** Handles one message whose form is checked. */
export function handle(raft: RaftState, message: RaftMessage): Outcome {
  if (message.kind === "propose" || message.kind === "readIndex") return stepRole(raft, message);
  if (message.term < raft.term) {
    hearStale(raft, message);
    return DONE;
  }
  if (message.kind === "vote" || message.kind === "preVote") {
    if (message.term > raft.term && isUnderLease(raft, message)) {
      const { kind, from, last: theirs } = message;
      const leaseTicksLeft = raft.config.electionTicks - raft.electionElapsed;
      raft.emit({ what: "voteIgnored", vote: raft.vote, last: raft.log.last(), kind, from, theirs, leaseTicksLeft });
      return DONE;
    }
  }
  if (message.term > raft.term && endsOurTerm(message)) {
    raft.emit({ what: "termRaised", kind: message.kind, from: message.from, newTerm: message.term });
    raft.becomeFollower(message.term, isFromLeader(message) ? message.from : NOBODY);
  }
  if (message.kind === "vote" || message.kind === "preVote") {
    answerVoteRequest(raft, message);
    return DONE;
  }
  return stepRole(raft, message);
}

/** A pre-vote asks about a term that nobody has begun, and a granted one answers about it. */
function endsOurTerm(message: RaftMessage): boolean {
  if (message.kind === "preVote") return false;
  return message.kind !== "preVoteResponse" || message.isRejected;
}

function isFromLeader({ kind }: RaftMessage): boolean {
  return kind === "append" || kind === "heartbeat" || kind === "snapshot";
}

/**
 * An earlier term. A leader of one is told of ours when it could not find out otherwise: with check-quorum and pre-vote nobody
 * disturbs it by campaigning, and its own followers might wait for it for ever.
 */
function hearStale(raft: RaftState, message: RaftMessage): void {
  const { kind, from } = message;
  if ((raft.config.checkQuorum || raft.config.preVote) && (kind === "append" || kind === "heartbeat")) {
    raft.send({ kind: "appendResponse", ...raft.envelope(from), index: 0n, hint: undefined });
  } else if (kind === "preVote") {
    // It may be a node with a later term than it says in its pre-vote, and must learn ours, or both wait for ever.
    raft.emit({ what: "voteRefused", vote: raft.vote, last: raft.log.last(), kind, from, theirs: message.last });
    raft.send({ kind: "preVoteResponse", ...raft.envelope(from), isRejected: true });
  } else {
    raft.emit({ what: "staleIgnored", kind, from, oldTerm: message.term });
  }
}

function stepRole(raft: RaftState, message: RaftMessage): Outcome {
  switch (raft.role) {
    case "leader":
      return stepLeader(raft, message);
    case "candidate":
    case "preCandidate":
      return stepCandidate(raft, message);
    case "follower":
      return stepFollower(raft, message);
    default:
      return unreachable(raft.role);
  }
}
