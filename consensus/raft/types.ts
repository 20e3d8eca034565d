/**
 * The words of Raft: entries, messages, what is durable, and what a turn (`Ready`) hands out.
 *
 * Node ids, terms and indexes are u64 as bigint. Id 0 is nobody; index 0 and term 0 are the empty log. Every list of ids is sorted.
 *
 * Source: Diego Ongaro, "Consensus: Bridging Theory and Practice", 2014 (called the dissertation below), figure 3.1 and chapters 3, 4, 6.
 */

/** Nobody: no vote cast, no leader known. */
export const NOBODY = 0n;

/** What an entry of the log is. `change` holds an encoded `ConfChange`, and empty bytes for "leave the joint configuration". */
export type EntryKind = "normal" | "change";

/** One slot of the log. A new leader's first entry is `normal` and empty. */
export type Entry = { readonly term: bigint; readonly index: bigint; readonly kind: EntryKind; readonly data: Uint8Array };

/** A payload that has no place in the log yet. */
export type Proposal = { readonly kind: EntryKind; readonly data: Uint8Array };

/** Names an entry: two logs that hold it agree up to it (log matching, dissertation 3.5). */
export type EntryId = { readonly term: bigint; readonly index: bigint };

/** What must be durable before anything that depends on it is said. */
export type HardState = { readonly term: bigint; readonly vote: bigint; readonly commit: bigint };

/** Who votes and who listens, as it is stored and sent. Joint when `votersOutgoing` is not empty. */
export type ConfState = {
  readonly voters: readonly bigint[];
  readonly votersOutgoing: readonly bigint[];
  readonly learners: readonly bigint[];
  /** Voters of the outgoing half that become learners when the joint configuration is left. */
  readonly learnersNext: readonly bigint[];
  /** The leader proposes to leave the joint configuration by itself. */
  readonly autoLeave: boolean;
};

/** A state machine at `index`. The core carries `data` and never looks inside. */
export type Snapshot = {
  readonly index: bigint;
  readonly term: bigint;
  readonly configuration: ConfState;
  readonly data: Uint8Array;
};

/** One step of a change of the configuration. `update` changes nothing here: it tells the others something about a node. */
export type ChangeStep = { readonly kind: "voter" | "learner" | "remove" | "update"; readonly node: bigint };

/**
 * A change of the configuration (dissertation, chapter 4).
 *
 * - `auto`: one step is applied at once (4.1), more go through a joint configuration that is left by itself (4.3).
 * - `implicit`: through a joint configuration always, left by itself.
 * - `explicit`: through a joint configuration, left when a change without steps is proposed.
 */
export type ConfChange = {
  readonly transition: "auto" | "implicit" | "explicit";
  readonly steps: readonly ChangeStep[];
  /** Opaque, for the proposer. */
  readonly context: Uint8Array;
};

/** The part a node plays. A pre-candidate asks whether it could win before it disturbs anybody (dissertation 9.6). */
export type Role = "follower" | "preCandidate" | "candidate" | "leader";

type Envelope = { readonly from: bigint; readonly to: bigint; readonly term: bigint };

/** AppendEntries (dissertation, figure 3.1). `previous` is the entry before the first of `entries`. */
export type Append = Envelope & {
  readonly kind: "append";
  readonly previous: EntryId;
  readonly entries: readonly Entry[];
  readonly commit: bigint;
};

/**
 * Answer to `append` and to `snapshot`. Accepted: the log is durable and equal to the leader's up to `index`. Rejected: it is not
 * equal at `index`, and `hint` is the last entry that might be. A stale leader gets `accepted` with index 0, for its newer term.
 */
export type AppendResponse = Envelope & {
  readonly kind: "appendResponse";
  readonly index: bigint;
  readonly hint: EntryId | undefined;
};

/** RequestVote, or its rehearsal. `isTransfer`: the leader asked for this election, so its lease is no objection. */
export type VoteRequest = Envelope & {
  readonly kind: "vote" | "preVote";
  readonly last: EntryId;
  readonly isTransfer: boolean;
};

/** Answer to a vote request. A granted pre-vote carries the term that was asked about, everything else our own. */
export type VoteResponse = Envelope & { readonly kind: "voteResponse" | "preVoteResponse"; readonly isRejected: boolean };

/** Keeps the followers. `round` counts the leader's rounds in this term: a quorum that answers one confirms the reads before it. */
export type Heartbeat = Envelope & { readonly kind: "heartbeat"; readonly commit: bigint; readonly round: bigint };

/** Answer to `heartbeat`, with its round. */
export type HeartbeatResponse = Envelope & { readonly kind: "heartbeatResponse"; readonly round: bigint };

/** InstallSnapshot (dissertation 5.1), whole. */
export type InstallSnapshot = Envelope & { readonly kind: "snapshot"; readonly snapshot: Snapshot };

/** The leader asks the receiver to campaign now (dissertation 3.10). */
export type TimeoutNow = Envelope & { readonly kind: "timeoutNow" };

/** A follower passes on the wish that `transferee` lead. */
export type TransferLeader = Envelope & { readonly kind: "transferLeader"; readonly transferee: bigint };

/** A follower passes on proposals. Term 0: they belong to no term. */
export type Propose = Envelope & { readonly kind: "propose"; readonly proposals: readonly Proposal[] };

/** A follower passes on a read (dissertation 6.4). Term 0. */
export type ReadIndex = Envelope & { readonly kind: "readIndex"; readonly context: Uint8Array };

/** Answer to `readIndex`: whoever has applied `index` may serve the read. */
export type ReadIndexResponse = Envelope & {
  readonly kind: "readIndexResponse";
  readonly index: bigint;
  readonly context: Uint8Array;
};

/** What nodes say to each other. `from` must be the authenticated sender: the caller checks that, the core cannot. */
export type RaftMessage =
  | Append
  | AppendResponse
  | VoteRequest
  | VoteResponse
  | Heartbeat
  | HeartbeatResponse
  | InstallSnapshot
  | TimeoutNow
  | TransferLeader
  | Propose
  | ReadIndex
  | ReadIndexResponse;

/** What a node does not store but its user likes to know. */
export type SoftState = { readonly leader: bigint; readonly role: Role };

/** A read that may be served once `index` is applied. */
export type ReadState = { readonly index: bigint; readonly context: Uint8Array };

/** Tells the core that an append work is durable. Made by the core, handed back as it is. */
export type AppendDone = {
  readonly kind: "appendDone";
  /** The term at which the work was handed out: entries of it may have been replaced since. */
  readonly term: bigint;
  /** The last entry that is durable with it; `undefined` when it had none to say anything about. */
  readonly last: EntryId | undefined;
  readonly snapshot: Snapshot | undefined;
};

/** Tells the core that these entries are applied. Made by the core, handed back as it is. */
export type ApplyDone = { readonly kind: "applyDone"; readonly entries: readonly Entry[] };

/**
 * Asynchronous storage: work for the append thread, to be done in order. Make `snapshot`, `entries`, `hardState` durable, as
 * one record or in this order, then send
 * `responses`: those to others to the network, those to the node itself to `acknowledge`; `done` last of all.
 */
export type AppendWork = {
  readonly hardState: HardState | undefined;
  readonly entries: readonly Entry[];
  readonly snapshot: Snapshot | undefined;
  readonly responses: readonly RaftMessage[];
  readonly done: AppendDone | undefined;
};

/** Asynchronous storage: work for the apply thread, to be done in order. Apply `entries`, then `acknowledge(done)`. */
export type ApplyWork = { readonly entries: readonly Entry[]; readonly done: ApplyDone };

/** One turn: what the caller must do before it calls `advance` (synchronous), or hand to its threads (asynchronous). */
export type Ready = {
  /** Changed since the last turn; not to be stored. */
  readonly softState: SoftState | undefined;
  /** Changed since the last turn; durable BEFORE `messages` are sent. */
  readonly hardState: HardState | undefined;
  readonly readStates: readonly ReadState[];
  /** Durable BEFORE `messages` are sent. They replace whatever is stored from their first index on. */
  readonly entries: readonly Entry[];
  /** Durable BEFORE `messages` are sent and before `committed` is applied. It replaces the whole log. */
  readonly snapshot: Snapshot | undefined;
  /** To be applied, in order. Each `change` among them must reach `applyConfChange` before `advance`. */
  readonly committed: readonly Entry[];
  readonly messages: readonly RaftMessage[];
  /** False when what is to be stored may be lost in a crash without harm to safety (only `commit` moved). */
  readonly mustSync: boolean;
  /** Only with asynchronous storage, and then in place of storing the fields above. */
  readonly appendWork: AppendWork | undefined;
  /** Only with asynchronous storage, and then in place of applying `committed`. */
  readonly applyWork: ApplyWork | undefined;
};
