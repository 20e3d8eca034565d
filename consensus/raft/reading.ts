/** A leader's answers to reads, with the rules of dissertation 6.4 in their order. `reads.ts` keeps the books. */

import { fail } from "../../crypto/base/result.ts";
import type { Configuration } from "./configuration.ts";
import { DONE } from "./proposals.ts";
import type { Outcome } from "./proposals.ts";
import type { IndexedRead, Read } from "./reads.ts";
import { broadcastHeartbeat } from "./replication.ts";
import type { RaftState } from "./state.ts";

/**
 * Takes a read. Step 1 of 6.4: until the leader has committed an entry of its own term, its commit index may lag behind what an
 * earlier leader has told its clients, so nothing is served, not even by a leader without followers.
 */
export function readAsLeader(raft: RaftState, read: Read): Outcome {
  if (raft.reads.isFull()) return fail({ code: "read_dropped", detail: "too many reads wait" });
  if (raft.hasCommittedInTerm()) confirm(raft, read);
  else raft.reads.wait(read);
  return DONE;
}

/** The commit index has reached this term: reads that waited for that go on. */
export function releaseReads(raft: RaftState): void {
  if (raft.hasCommittedInTerm()) for (const read of raft.reads.takeWaiting()) confirm(raft, read);
}

/** A member answered a round of heartbeats. */
export function roundAnswered(raft: RaftState, from: bigint, round: bigint): void {
  for (const read of raft.reads.answer(from, round, raft.tracker.configuration, raft.id)) serve(raft, read);
}

/** Steps 2 and 3: note the commit index, then make sure that nobody else leads. */
function confirm(raft: RaftState, read: Read): void {
  const index = raft.log.committed;
  if (isAlone(raft.tracker.configuration, raft.id) || holdsLease(raft)) {
    serve(raft, { ...read, index });
    return;
  }
  if (raft.reads.add(read, index)) broadcastHeartbeat(raft);
}

/** A leader that is removed leads on for a while without a vote: then somebody else may be alone. */
function isAlone({ incoming, outgoing }: Configuration, id: bigint): boolean {
  return incoming.size === 1 && outgoing.size === 0 && incoming.has(id);
}

/** A follower that was asked to campaign is voted for in spite of the lease, so whoever asked has none any more (6.4.1). */
function holdsLease(raft: RaftState): boolean {
  if (raft.config.readMode !== "lease" || raft.hasAbdicated) return false;
  return raft.reads.hasLease(raft.ticks, raft.config.electionTicks);
}

function serve(raft: RaftState, { from, context, index }: IndexedRead): void {
  if (from === raft.id) raft.readStates.push({ index, context });
  else raft.send({ kind: "readIndexResponse", ...raft.envelope(from), index, context });
}
