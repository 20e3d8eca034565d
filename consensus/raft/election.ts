/** Elections: when a node campaigns, and for whom it votes (dissertation 3.4, 3.6.1, 4.2.3, 9.6). */

import { U64_MAX } from "./limits.ts";
import { votersOf } from "./configuration.ts";
import type { RaftState } from "./state.ts";
import { NOBODY } from "./types.ts";
import type { VoteRequest } from "./types.ts";

/** Why a campaign begins. A transfer needs no pre-vote: the leader itself asked for it. */
export type Campaign = "preElection" | "election" | "transfer";

/** One tick of a node that does not lead. */
export function tickElection(raft: RaftState): void {
  raft.electionElapsed += 1;
  if (!raft.isPromotable() || raft.electionElapsed < raft.randomizedElectionTicks) return;
  raft.electionElapsed = 0;
  campaignIfAllowed(raft, raft.config.preVote ? "preElection" : "election");
}

/** Campaigns, unless it leads already, may not lead, or has a change of the configuration to apply first: who votes may be in it. */
export function campaignIfAllowed(raft: RaftState, campaign: Campaign): void {
  if (raft.role === "leader") return raft.emit({ what: "campaignRefused", reason: "leading" });
  if (!raft.isPromotable()) return raft.emit({ what: "campaignRefused", reason: "unpromotable" });
  if (hasUnappliedChange(raft)) return raft.emit({ what: "campaignRefused", reason: "changeUnapplied" });
  // Term 2^64 - 1 is never reached, so that the next one can be named. A peer that lies about its term can bring us there.
  if (raft.term + 1n >= U64_MAX) return raft.emit({ what: "campaignRefused", reason: "termsExhausted" });
  raft.emit({ what: "campaigning" });
  startCampaign(raft, campaign);
}

/** Asks every voter, of both halves while joint. Its own vote is counted when it is durable, like the others'. */
export function startCampaign(raft: RaftState, campaign: Campaign): void {
  const isRehearsal = campaign === "preElection";
  if (isRehearsal) raft.becomePreCandidate();
  else raft.becomeCandidate();
  const term = isRehearsal ? raft.term + 1n : raft.term;
  const kind = isRehearsal ? "preVote" : "vote";
  const last = raft.log.last();
  for (const to of votersOf(raft.tracker.configuration)) {
    if (to === raft.id) {
      raft.send({ kind: `${kind}Response`, from: raft.id, to, term, isRejected: false });
      continue;
    }
    raft.emit({ what: "voteRequested", kind, to, last });
    raft.send({ kind, from: raft.id, to, term, last, isTransfer: campaign === "transfer" });
  }
}

/**
 * Whether this request must be ignored, term and all: within the lease of a leader that this node hears, so that a node that was cut
 * off, or removed, cannot disturb it (4.2.3), and so that the leader may count on its lease (6.4.1).
 */
export function isUnderLease(raft: RaftState, request: VoteRequest): boolean {
  if (request.isTransfer || !raft.config.checkQuorum) return false;
  const { electionTicks, readMode } = raft.config;
  if (raft.leader !== NOBODY) return raft.electionElapsed < electionTicks;
  // After a restart it may have answered a leader that it does not remember.
  return readMode === "lease" && raft.term > 0n && raft.ticks < electionTicks;
}

/** Answers a request for a vote, in a term that is not earlier than ours. */
export function answerVoteRequest(raft: RaftState, request: VoteRequest): void {
  const { kind, from, term } = request;
  const told = { vote: raft.vote, last: raft.log.last(), kind, from, theirs: request.last };
  const responseKind = `${kind}Response` as const;
  if (!mayVoteFor(raft, request) || !raft.log.isUpToDate(request.last)) {
    raft.emit({ what: "voteRefused", ...told });
    raft.send({ kind: responseKind, ...raft.envelope(from), isRejected: true });
    return;
  }
  raft.emit({ what: "voteCast", ...told });
  // With the term that was asked about: for a pre-vote that is not ours.
  raft.send({ kind: responseKind, from: raft.id, to: from, term, isRejected: false });
  if (kind === "preVote") return;
  raft.electionElapsed = 0;
  raft.vote = from;
}

/** One vote a term (3.4), none once a leader is known in it; a pre-vote for a later term binds nobody. */
function mayVoteFor(raft: RaftState, { kind, from, term }: VoteRequest): boolean {
  if (raft.vote === from) return true;
  if (raft.vote === NOBODY && raft.leader === NOBODY) return true;
  return kind === "preVote" && term > raft.term;
}

/** Whether a change of the configuration is committed and not applied. Looks at a bounded part of the log at a time. */
function hasUnappliedChange(raft: RaftState): boolean {
  const { log } = raft;
  let low = (log.unstable.snapshot?.index ?? log.applied) + 1n;
  while (low <= log.committed) {
    const entries = log.slice(low, log.committed + 1n, raft.config.messageSizeBytesMax) ?? [];
    if (entries.length === 0 || entries.some(({ kind }) => kind === "change")) return entries.length > 0;
    low += BigInt(entries.length);
  }
  return false;
}
