/** What a leader lets into its log, and the rules for changes of the configuration (dissertation 4.1: one at a time). */

import { assert } from "../../crypto/base/assert.ts";
import { EMPTY } from "../../crypto/base/bytes.ts";
import { fail, ok } from "../../crypto/base/result.ts";
import type { Result } from "../../crypto/base/result.ts";
import { decodeChange } from "./change-codec.ts";
import { changeMembership, isLeave } from "./confchange.ts";
import { isJoint } from "./configuration.ts";
import type { RaftError } from "./errors.ts";
import type { ChangeIgnored, Dropped } from "./events.ts";
import { PROPOSAL_SIZE_BYTES_MAX, PROPOSALS_PER_MESSAGE_MAX } from "./limits.ts";
import { broadcastAppend } from "./replication.ts";
import type { RaftState } from "./state.ts";
import { NOBODY } from "./types.ts";
import type { ConfChange, Entry, Proposal } from "./types.ts";

/** The outcome of a wish. */
export type Outcome = Result<undefined, RaftError>;

/** The wish is under way. */
export const DONE: Outcome = ok(undefined);

const EMPTY_PROPOSAL: Proposal = { kind: "normal", data: EMPTY };

/** A leader takes proposals into its log and sends them out. */
export function proposeAsLeader(raft: RaftState, proposals: readonly Proposal[]): Outcome {
  // Removed from the configuration and still leading: what it appended would be led by nobody's majority.
  if (raft.tracker.progressOf(raft.id) === undefined) return dropProposal(raft, "removed");
  if (raft.transferee !== NOBODY) return dropProposal(raft, "transferring");
  const changes: (ConfChange | undefined)[] = [];
  for (const { kind, data } of proposals) {
    const change = kind === "change" ? decodeChange(data) : undefined;
    if (change?.ok === false) return change;
    changes.push(change?.value);
  }
  const admitted = proposals.map((proposal, offset) => admit(raft, proposal, changes[offset], offset));
  return appendOwn(raft, admitted) ? (broadcastAppend(raft), DONE) : dropProposal(raft, "uncommittedFull");
}

/** Whether proposals may be carried at all: the same for our own and for those that a follower passes on. */
export function checkProposals(proposals: readonly Proposal[]): Outcome {
  if (proposals.length === 0 || proposals.length > PROPOSALS_PER_MESSAGE_MAX)
    return fail({ code: "message_malformed", detail: `${proposals.length} proposals` });
  for (const { data } of proposals)
    if (data.length > PROPOSAL_SIZE_BYTES_MAX) return fail({ code: "proposal_too_large", detail: `${data.length} bytes` });
  return DONE;
}

/** A proposal that comes to nothing. */
export function dropProposal(raft: RaftState, reason: Dropped): Outcome {
  raft.emit({ what: "proposalDropped", reason, leader: raft.leader, transferee: raft.transferee });
  return fail({ code: "proposal_dropped", detail: reason });
}

/**
 * Appends to the leader's own log. It acknowledges them to itself like a follower would, when they are durable.
 *
 * @returns false when too much is uncommitted already
 */
export function appendOwn(raft: RaftState, proposals: readonly Proposal[]): boolean {
  assert(raft.role === "leader", "a {} appends", raft.role);
  const sizeBytes = payloadSizeBytes(proposals);
  const total = raft.uncommittedSizeBytes + sizeBytes;
  if (raft.uncommittedSizeBytes > 0 && sizeBytes > 0 && total > raft.config.uncommittedSizeBytesMax) return false;
  raft.uncommittedSizeBytes = total;
  const lastIndex = raft.log.lastIndex();
  const entries = proposals.map(({ kind, data }, offset): Entry => {
    return { term: raft.term, index: lastIndex + 1n + BigInt(offset), kind, data };
  });
  raft.log.append(entries);
  raft.send({ kind: "appendResponse", ...raft.envelope(raft.id), index: raft.log.lastIndex(), hint: undefined });
  return true;
}

/** What proposals weigh against the bound on uncommitted bytes: an empty one weighs nothing and can always be proposed. */
export function payloadSizeBytes(proposals: readonly Proposal[]): number {
  return proposals.reduce((sizeBytes, { data }) => sizeBytes + data.length, 0);
}

/** A change that may not be made now takes its place as an empty entry. */
function admit(raft: RaftState, proposal: Proposal, change: ConfChange | undefined, offset: number): Proposal {
  if (change === undefined) return proposal;
  const reason = raft.config.disableConfChangeValidation ? undefined : reasonToIgnore(raft, change);
  if (reason !== undefined) {
    raft.emit({ what: "changeIgnored", change, configuration: raft.tracker.configuration, reason });
    return EMPTY_PROPOSAL;
  }
  raft.pendingChangeIndex = raft.log.lastIndex() + BigInt(offset) + 1n;
  return proposal;
}

/**
 * One change at a time: the one before must be applied here, and a joint configuration must be left first. What is in force now will
 * be in force when this one is applied, so whether it can be made at all is known already.
 */
function reasonToIgnore(raft: RaftState, change: ConfChange): ChangeIgnored | undefined {
  const { applied } = raft.log;
  if (raft.pendingChangeIndex > applied) return { kind: "pending", index: raft.pendingChangeIndex, applied };
  const isInJoint = isJoint(raft.tracker.configuration);
  if (isInJoint && !isLeave(change)) return { kind: "alreadyJoint" };
  if (!isInJoint && isLeave(change)) return { kind: "notJoint" };
  const tried = changeMembership(raft.tracker.membership, change, {
    lastIndex: raft.log.lastIndex(),
    limits: raft.tracker.limits,
  });
  return tried.ok ? undefined : { kind: "refused", detail: tried.error.detail };
}
