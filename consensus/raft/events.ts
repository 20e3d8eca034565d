/**
 * What happens inside the core, as data: for scripts that print it, checkers that judge it and logs that somebody else writes.
 * Nothing depends on anybody listening.
 */

import type { Configuration } from "./configuration.ts";
import type { ConfChange, EntryId, RaftMessage, Role } from "./types.ts";

type MessageKind = RaftMessage["kind"] | "appendDone";
type Vote = {
  readonly vote: bigint;
  readonly last: EntryId;
  readonly kind: "vote" | "preVote";
  readonly from: bigint;
  readonly theirs: EntryId;
};

/** One thing that happened at node `id`. Progress is told as the text of `progress.ts`, at that moment. */
export type RaftEvent = { readonly id: bigint; readonly term: bigint } & (
  | {
      readonly what: "started";
      readonly voters: readonly bigint[];
      readonly commit: bigint;
      readonly applied: bigint;
      readonly last: EntryId;
    }
  | { readonly what: "became"; readonly role: Role }
  | { readonly what: "campaigning" }
  | { readonly what: "campaignRefused"; readonly reason: "leading" | "unpromotable" | "changeUnapplied" | "termsExhausted" }
  | { readonly what: "voteRequested"; readonly kind: "vote" | "preVote"; readonly to: bigint; readonly last: EntryId }
  | ({ readonly what: "voteCast" } & Vote)
  | ({ readonly what: "voteRefused" } & Vote)
  | ({ readonly what: "voteIgnored"; readonly leaseTicksLeft: number } & Vote)
  | { readonly what: "voteHeard"; readonly kind: "vote" | "preVote"; readonly from: bigint; readonly isRejected: boolean }
  | { readonly what: "votesCounted"; readonly kind: "vote" | "preVote"; readonly granted: number; readonly rejected: number }
  | { readonly what: "termRaised"; readonly kind: MessageKind; readonly from: bigint; readonly newTerm: bigint }
  | { readonly what: "staleIgnored"; readonly kind: MessageKind; readonly from: bigint; readonly oldTerm: bigint }
  | { readonly what: "quorumLost" }
  | { readonly what: "leaderForgotten"; readonly leader: bigint }
  | { readonly what: "leaderKept" }
  | { readonly what: "proposalDropped"; readonly reason: Dropped; readonly leader: bigint; readonly transferee: bigint }
  | {
      readonly what: "changeIgnored";
      readonly change: ConfChange;
      readonly configuration: Configuration;
      readonly reason: ChangeIgnored;
    }
  | {
      readonly what: "changeRefused";
      readonly change: ConfChange;
      readonly configuration: Configuration;
      readonly detail: string;
    }
  | { readonly what: "configurationSwitched"; readonly configuration: Configuration }
  | { readonly what: "leavingJoint"; readonly configuration: Configuration; readonly isDropped: boolean }
  | { readonly what: "appendRejected"; readonly from: bigint; readonly ours: EntryId; readonly theirs: EntryId }
  | { readonly what: "rejectionHeard"; readonly from: bigint; readonly index: bigint; readonly hint: EntryId }
  | { readonly what: "progressDecreased"; readonly to: bigint; readonly progress: string }
  | {
      readonly what: "snapshotSent";
      readonly to: bigint;
      readonly firstIndex: bigint;
      readonly commit: bigint;
      readonly snapshot: EntryId;
      readonly progress: string;
    }
  | { readonly what: "replicationPaused"; readonly to: bigint; readonly progress: string }
  | { readonly what: "snapshotRecovered"; readonly from: bigint; readonly progress: string }
  | { readonly what: "snapshotReported"; readonly from: bigint; readonly isApplied: boolean; readonly progress: string }
  | { readonly what: "snapshotSkipped"; readonly to: bigint; readonly reason: "inactive" | "unavailable" }
  | { readonly what: "unreachable"; readonly from: bigint; readonly progress: string }
  | { readonly what: "conflictFound"; readonly index: bigint; readonly existingTerm: bigint; readonly newTerm: bigint }
  | { readonly what: "unstableReplaced"; readonly index: bigint }
  | { readonly what: "unstableTruncated"; readonly index: bigint }
  | {
      readonly what: "stableUnknown";
      readonly entry: EntryId;
      readonly ourTerm: bigint;
      readonly reason: "missing" | "snapshot" | "mismatch";
    }
  | { readonly what: "restoreStarted"; readonly log: LogMarks; readonly snapshot: EntryId }
  | {
      readonly what: "restored";
      readonly commit: bigint;
      readonly last: EntryId;
      readonly snapshot: EntryId;
      readonly isFastForward: boolean;
    }
  | { readonly what: "snapshotHandled"; readonly commit: bigint; readonly snapshot: EntryId; readonly isRestored: boolean }
  | { readonly what: "transferStarted"; readonly to: bigint }
  | { readonly what: "transferIgnored"; readonly to: bigint; readonly reason: "learner" | "underWay" | "self" | "noLeader" }
  | { readonly what: "transferAborted"; readonly to: bigint }
  | { readonly what: "timeoutNowSent"; readonly to: bigint; readonly isImmediate: boolean }
  | { readonly what: "timeoutNowHeard"; readonly from: bigint; readonly isObeyed: boolean }
);

/** Why a proposal came to nothing. */
export type Dropped = "noLeader" | "notLeader" | "forwardingDisabled" | "removed" | "transferring" | "uncommittedFull";

/** Why a proposed change of the configuration became an empty entry. */
export type ChangeIgnored =
  | { readonly kind: "pending"; readonly index: bigint; readonly applied: bigint }
  | { readonly kind: "alreadyJoint" }
  | { readonly kind: "notJoint" }
  | { readonly kind: "refused"; readonly detail: string };

/** The positions of a log, for one event. */
export type LogMarks = {
  readonly committed: bigint;
  readonly applied: bigint;
  readonly applying: bigint;
  readonly offset: bigint;
  readonly offsetInProgress: bigint;
  readonly unstableCount: number;
};

/** Distributes over the union, so that an event can be made without saying who and when. */
export type EventBody = RaftEvent extends infer E ? (E extends unknown ? Omit<E, "id" | "term"> : never) : never;
