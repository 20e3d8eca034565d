/** The wording of the etcd-raft scripts: how messages, entries, turns and events are told there. Wording only; nothing is decided here. */

import { unreachable } from "../../crypto/base/assert.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { configurationText } from "../raft/configuration.ts";
import { decodeChange } from "../raft/change-codec.ts";
import type { RaftEvent } from "../raft/events.ts";
import { NOBODY } from "../raft/types.ts";
import type {
  AppendDone,
  AppendWork,
  ApplyDone,
  ApplyWork,
  ChangeStep,
  ConfChange,
  ConfState,
  Entry,
  EntryId,
  HardState,
  RaftMessage,
  Ready,
  Role,
  Snapshot,
} from "../raft/types.ts";

/** Everything that goes from one place to another in a script. */
export type Letter =
  | RaftMessage
  | { readonly kind: "appendWork"; readonly from: bigint; readonly work: AppendWork }
  | { readonly kind: "applyWork"; readonly from: bigint; readonly work: ApplyWork }
  | (AppendDone & { readonly to: bigint })
  | (ApplyDone & { readonly to: bigint });

/** Marks, in a change's context, one that was proposed in the older form of the scripts, which has a name of its own there. */
export const OLD_FORM = new Uint8Array([1]);

const ROLES = {
  follower: "StateFollower",
  preCandidate: "StatePreCandidate",
  candidate: "StateCandidate",
  leader: "StateLeader",
} as const;
const MESSAGES = {
  append: "MsgApp",
  appendResponse: "MsgAppResp",
  vote: "MsgVote",
  preVote: "MsgPreVote",
  voteResponse: "MsgVoteResp",
  preVoteResponse: "MsgPreVoteResp",
  heartbeat: "MsgHeartbeat",
  heartbeatResponse: "MsgHeartbeatResp",
  snapshot: "MsgSnap",
  timeoutNow: "MsgTimeoutNow",
  transferLeader: "MsgTransferLeader",
  propose: "MsgProp",
  readIndex: "MsgReadIndex",
  readIndexResponse: "MsgReadIndexResp",
  appendWork: "MsgStorageAppend",
  applyWork: "MsgStorageApply",
  appendDone: "MsgStorageAppendResp",
  applyDone: "MsgStorageApplyResp",
} as const satisfies Record<Letter["kind"], string>;
const STEPS = { voter: "v", learner: "l", remove: "r", update: "u" } as const satisfies Record<ChangeStep["kind"], string>;
const STEP_NAMES = {
  voter: "ConfChangeAddNode",
  learner: "ConfChangeAddLearnerNode",
  remove: "ConfChangeRemoveNode",
  update: "ConfChangeUpdateNode",
} as const satisfies Record<ChangeStep["kind"], string>;
const TRANSITIONS = {
  auto: "ConfChangeTransitionAuto",
  implicit: "ConfChangeTransitionJointImplicit",
  explicit: "ConfChangeTransitionJointExplicit",
} as const satisfies Record<ConfChange["transition"], string>;

/** `StateLeader`. */
export function roleText(role: Role): string {
  return ROLES[role];
}

/** The name that scripts give to a kind of message; `undefined` for a name that is none. */
export function messageKindOf(name: string): Letter["kind"] | undefined {
  return (Object.keys(MESSAGES) as Letter["kind"][]).find((kind) => MESSAGES[kind] === name);
}

/** `1/3 EntryNormal "foo"`. */
export function entryText({ term, index, kind, data }: Entry): string {
  if (kind === "normal") return `${term}/${index} EntryNormal ${JSON.stringify(new TextDecoder().decode(data))}`;
  const change = decodeChange(data);
  if (!change.ok) return `${term}/${index} EntryConfChangeV2 ${toHex(data)}`;
  const name = change.value.context.length > 0 ? "EntryConfChange" : "EntryConfChangeV2";
  return [`${term}/${index} ${name}`, ...change.value.steps.map(stepText)].join(" ");
}

/** `v3`. */
export function stepText({ kind, node }: ChangeStep): string {
  return `${STEPS[kind]}${node}`;
}

/** The inverse of `stepText`. Throws on anything else: scripts are ours. */
export function parseStep(text: string): ChangeStep {
  const kind = (Object.keys(STEPS) as ChangeStep["kind"][]).find((step) => STEPS[step] === text[0]);
  if (kind === undefined || !/^\d+$/.test(text.slice(1))) throw new Error(`unknown input: ${text}`);
  return { kind, node: BigInt(text.slice(1)) };
}

/** `Term:1 Vote:1 Commit:2`. */
export function hardStateText({ term, vote, commit }: HardState): string {
  return `Term:${term}${vote === NOBODY ? "" : ` Vote:${vote}`} Commit:${commit}`;
}

function confStateText(state: ConfState): string {
  const list = (ids: readonly bigint[]): string => `[${ids.join(" ")}]`;
  const { voters, votersOutgoing, learners, learnersNext, autoLeave } = state;
  return `Voters:${list(voters)} VotersOutgoing:${list(votersOutgoing)} Learners:${list(learners)} LearnersNext:${list(learnersNext)} AutoLeave:${autoLeave}`;
}

function snapshotText({ index, term, configuration }: Snapshot): string {
  return `Index:${index} Term:${term} ConfState:${confStateText(configuration)}`;
}

/** A turn, line by line. */
export function readyLines(ready: Ready, id: bigint): readonly string[] {
  const lines: string[] = [];
  const { softState, hardState, readStates, entries, snapshot, committed } = ready;
  if (softState !== undefined) lines.push(`Lead:${softState.leader} State:${ROLES[softState.role]}`);
  if (hardState !== undefined) lines.push(`HardState ${hardStateText(hardState)}`);
  if (readStates.length > 0)
    lines.push(`ReadStates [${readStates.map(({ index, context }) => `{${index} ${toHex(context)}}`).join(" ")}]`);
  if (entries.length > 0) lines.push("Entries:", ...entries.map(entryText));
  if (snapshot !== undefined) lines.push(`Snapshot ${snapshotText(snapshot)}`);
  if (committed.length > 0) lines.push("CommittedEntries:", ...committed.map(entryText));
  const letters = lettersOf(ready, id);
  if (letters.length > 0) lines.push("Messages:", ...letters.flatMap((letter) => letterLines(letter)));
  return lines.length === 0 ? ["<empty Ready>"] : [`Ready MustSync=${ready.mustSync}:`, ...lines];
}

/** All that leaves a node with a turn: messages, then work for its threads. */
export function lettersOf(ready: Ready, id: bigint): readonly Letter[] {
  const letters: Letter[] = [...ready.messages];
  if (ready.appendWork !== undefined) letters.push({ kind: "appendWork", from: id, work: ready.appendWork });
  if (ready.applyWork !== undefined) letters.push({ kind: "applyWork", from: id, work: ready.applyWork });
  return letters;
}

/** What a finished work sends out. */
export function responsesOf(letter: Letter): readonly Letter[] {
  if (letter.kind === "applyWork") return [{ ...letter.work.done, to: letter.from }];
  if (letter.kind !== "appendWork") return [];
  const { responses, done } = letter.work;
  return done === undefined ? responses : [...responses, { ...done, to: letter.from }];
}

type Parts = {
  from: string;
  to: string;
  term: bigint;
  log: EntryId;
  rejectHint: bigint | undefined;
  commit: bigint;
  vote: bigint;
  entries: readonly Entry[];
  snapshot: Snapshot | undefined;
};

/** A message, on one line, or more when it carries much. `withResponses` tells what a work will answer. */
export function letterLines(letter: Letter, withResponses = true): readonly string[] {
  const { from, to, term, log, rejectHint, commit, vote, entries, snapshot } = partsOf(letter);
  let head = `${from}->${to} ${MESSAGES[letter.kind]} Term:${term} Log:${log.term}/${log.index}`;
  if (rejectHint !== undefined) head += ` Rejected (Hint: ${rejectHint})`;
  if (commit !== 0n) head += ` Commit:${commit}`;
  if (vote !== NOBODY) head += ` Vote:${vote}`;
  if (entries.length === 1) head += ` Entries:[${entries.map(entryText).join("")}]`;
  const lines = [head];
  const more = (text: string): void => void lines.push(`${lines.pop() ?? ""}${text}`);
  if (entries.length > 1) {
    more(" Entries:[");
    lines.push(...entries.map((entry) => `  ${entryText(entry)}`), "]");
  }
  if (snapshot !== undefined) lines.push(`  Snapshot: ${snapshotText(snapshot)}`);
  const responses = withResponses ? responsesOf(letter) : [];
  if (responses.length > 0) {
    more(" Responses:[");
    lines.push(...responses.flatMap((response) => letterLines(response).map((line) => `  ${line}`)), "]");
  }
  return lines;
}

function partsOf(letter: Letter): Parts {
  const parts: Parts = {
    from: "",
    to: "",
    term: 0n,
    log: { term: 0n, index: 0n },
    rejectHint: undefined,
    commit: 0n,
    vote: NOBODY,
    entries: [],
    snapshot: undefined,
  };
  switch (letter.kind) {
    case "appendWork": {
      const { hardState, entries, snapshot } = letter.work;
      return { ...parts, ...hardState, from: `${letter.from}`, to: "AppendThread", entries, snapshot };
    }
    case "applyWork":
      return { ...parts, from: `${letter.from}`, to: "ApplyThread", entries: letter.work.entries };
    case "appendDone": {
      const { last, snapshot, term } = letter;
      return { ...parts, from: "AppendThread", to: `${letter.to}`, term, log: last ?? parts.log, snapshot };
    }
    case "applyDone":
      return { ...parts, from: "ApplyThread", to: `${letter.to}`, entries: letter.entries };
    default:
      return { ...parts, from: `${letter.from}`, to: `${letter.to}`, term: letter.term, ...messageParts(letter) };
  }
}

function messageParts(message: RaftMessage): Partial<Parts> {
  switch (message.kind) {
    case "append":
      return { log: message.previous, commit: message.commit, entries: message.entries };
    case "appendResponse":
      return { log: { term: message.hint?.term ?? 0n, index: message.index }, rejectHint: message.hint?.index };
    case "vote":
    case "preVote":
      return { log: message.last };
    case "voteResponse":
    case "preVoteResponse":
      return { rejectHint: message.isRejected ? 0n : undefined };
    case "heartbeat":
      return { commit: message.commit };
    case "snapshot":
      return { snapshot: message.snapshot };
    case "propose":
      return { entries: message.proposals.map((proposal) => ({ term: 0n, index: 0n, ...proposal })) };
    case "readIndexResponse":
      return { log: { term: 0n, index: message.index } };
    case "heartbeatResponse":
    case "timeoutNow":
    case "transferLeader":
    case "readIndex":
      return {};
    default:
      return unreachable(message);
  }
}

/** How loud an event is. */
export type Level = "debug" | "info" | "warn" | "error";

/** An event as a line of the script's log; `undefined` for those that scripts do not tell. */
export function eventLine(event: RaftEvent): { readonly level: Level; readonly text: string } | undefined {
  const line = wordsOf(event);
  return line === undefined ? undefined : { level: line[0], text: line[1] };
}

type Line = readonly [Level, string] | undefined;

function wordsOf(event: RaftEvent): Line {
  const { id, term } = event;
  switch (event.what) {
    case "started": {
      const { commit, applied, last, voters } = event;
      return [
        "info",
        `newRaft ${id} [peers: [${voters.join(",")}], term: ${term}, commit: ${commit}, applied: ${applied}, lastindex: ${last.index}, lastterm: ${last.term}]`,
      ];
    }
    case "became":
      return ["info", `${id} became ${event.role === "preCandidate" ? "pre-candidate" : event.role} at term ${term}`];
    case "campaigning":
      return ["info", `${id} is starting a new election at term ${term}`];
    case "campaignRefused":
      return refusedWords(event);
    case "voteRequested":
    case "voteCast":
    case "voteRefused":
    case "voteIgnored":
    case "voteHeard":
    case "votesCounted":
      return voteWords(event);
    case "termRaised":
      return [
        "info",
        `${id} [term: ${term}] received a ${MESSAGES[event.kind]} message with higher term from ${event.from} [term: ${event.newTerm}]`,
      ];
    case "staleIgnored":
      if (event.kind === "appendDone")
        return [
          "info",
          `${id} [term: ${term}] ignored entry appends from a MsgStorageAppendResp message with lower term [term: ${event.oldTerm}]`,
        ];
      return [
        "info",
        `${id} [term: ${term}] ignored a ${MESSAGES[event.kind]} message with lower term from ${event.from} [term: ${event.oldTerm}]`,
      ];
    case "quorumLost":
      return ["warn", `${id} stepped down to follower since quorum is not active`];
    case "leaderForgotten":
      return ["info", `${id} forgetting leader ${event.leader} at term ${term}`];
    case "proposalDropped":
      return droppedWords(event);
    case "leaderKept":
      return ["error", "ignoring MsgForgetLeader due to ReadOnlyLeaseBased"];
    case "changeIgnored":
    case "changeRefused":
    case "configurationSwitched":
    case "leavingJoint":
      return configurationWords(event);
    case "appendRejected":
    case "rejectionHeard":
    case "progressDecreased":
    case "snapshotSent":
    case "replicationPaused":
    case "snapshotRecovered":
    case "snapshotReported":
    case "snapshotSkipped":
    case "unreachable":
      return replicationWords(event);
    case "conflictFound":
      return [
        "info",
        `found conflict at index ${event.index} [existing term: ${event.existingTerm}, conflicting term: ${event.newTerm}]`,
      ];
    case "unstableReplaced":
      return ["info", `replace the unstable entries from index ${event.index}`];
    case "unstableTruncated":
      return ["info", `truncate the unstable entries before index ${event.index}`];
    case "stableUnknown":
      return ["info", stableUnknownWords(event)];
    case "restoreStarted":
    case "restored":
    case "snapshotHandled":
      return snapshotWords(event);
    case "transferStarted":
    case "transferIgnored":
    case "transferAborted":
    case "timeoutNowSent":
    case "timeoutNowHeard":
      return transferWords(event);
    default:
      return unreachable(event);
  }
}

type EventOf<What extends RaftEvent["what"]> = Extract<RaftEvent, { what: What }>;

function refusedWords({ id, term, reason }: EventOf<"campaignRefused">): Line {
  if (reason === "leading") return ["debug", `${id} ignoring MsgHup because already leader`];
  if (reason === "unpromotable") return ["warn", `${id} is unpromotable and can not campaign`];
  return ["warn", `${id} cannot campaign at term ${term} since there are still pending configuration changes to apply`];
}

function droppedWords({ id, term, reason, leader, transferee }: EventOf<"proposalDropped">): Line {
  if (reason === "noLeader") return ["info", `${id} no leader at term ${term}; dropping proposal`];
  if (reason === "forwardingDisabled")
    return ["info", `${id} not forwarding to leader ${leader} at term ${term}; dropping proposal`];
  if (reason === "transferring")
    return ["debug", `${id} [term ${term}] transfer leadership to ${transferee} is in progress; dropping proposal`];
  if (reason === "uncommittedFull")
    return ["warn", `${id} appending new entries to log would exceed uncommitted entry size limit; dropping proposal`];
  return undefined;
}

function stableUnknownWords({ entry, ourTerm, reason }: EventOf<"stableUnknown">): string {
  if (reason === "missing") return `entry at index ${entry.index} missing from unstable log; ignoring`;
  if (reason === "snapshot") return `entry at index ${entry.index} matched unstable snapshot; ignoring`;
  const theirs = `(index,term)=(${entry.index},${entry.term})`;
  return `entry at ${theirs} mismatched with entry at (${entry.index},${ourTerm}) in unstable log; ignoring`;
}

type VoteEvent = EventOf<"voteRequested" | "voteCast" | "voteRefused" | "voteIgnored" | "voteHeard" | "votesCounted">;

function voteWords(event: VoteEvent): Line {
  const { id, term } = event;
  const name = MESSAGES[event.kind];
  switch (event.what) {
    case "voteRequested":
      return [
        "info",
        `${id} [logterm: ${event.last.term}, index: ${event.last.index}] sent ${name} request to ${event.to} at term ${term}`,
      ];
    case "voteHeard":
      return ["info", `${id} received ${name}Resp${event.isRejected ? " rejection" : ""} from ${event.from} at term ${term}`];
    case "votesCounted":
      return ["info", `${id} has received ${event.granted} ${name}Resp votes and ${event.rejected} vote rejections`];
    case "voteCast":
    case "voteRefused":
    case "voteIgnored": {
      const { last, vote, theirs, from, what } = event;
      const word =
        what === "voteCast" ? `cast ${name} for` : what === "voteRefused" ? `rejected ${name} from` : `ignored ${name} from`;
      const lease = what === "voteIgnored" ? `: lease is not expired (remaining ticks: ${event.leaseTicksLeft})` : "";
      const ours = `[logterm: ${last.term}, index: ${last.index}, vote: ${vote}]`;
      return ["info", `${id} ${ours} ${word} ${from} [logterm: ${theirs.term}, index: ${theirs.index}] at term ${term}${lease}`];
    }
    default:
      return unreachable(event);
  }
}

function configurationWords(event: EventOf<"changeIgnored" | "changeRefused" | "configurationSwitched" | "leavingJoint">): Line {
  const configuration = configurationText(event.configuration);
  switch (event.what) {
    case "configurationSwitched":
      return ["info", `${event.id} switched to configuration ${configuration}`];
    case "leavingJoint":
      if (event.isDropped)
        return [
          "debug",
          `not initiating automatic transition out of joint configuration ${configuration}: raft proposal dropped`,
        ];
      return ["info", `initiating automatic transition out of joint configuration ${configuration}`];
    case "changeRefused":
      return ["warn", `${event.id} refused conf change at config ${configuration}: ${event.detail}`];
    case "changeIgnored": {
      const { steps, transition } = event.change;
      const changes = steps.map(({ kind, node }) => ` changes:{type:${STEP_NAMES[kind]} node_id:${node}}`).join("");
      const told = `transition:${TRANSITIONS[transition]}${changes}`;
      return ["info", `${event.id} ignoring conf change ${told} at config ${configuration}: ${ignoredWords(event.reason)}`];
    }
    default:
      return unreachable(event);
  }
}

function ignoredWords(reason: EventOf<"changeIgnored">["reason"]): string {
  switch (reason.kind) {
    case "pending":
      return `possible unapplied conf change at index ${reason.index} (applied to ${reason.applied})`;
    case "alreadyJoint":
      return "must transition out of joint config first";
    case "notJoint":
      return "not in joint state; refusing empty conf change";
    case "refused":
      return reason.detail;
    default:
      return unreachable(reason);
  }
}

type ReplicationEvent = EventOf<
  | "appendRejected"
  | "rejectionHeard"
  | "progressDecreased"
  | "snapshotSent"
  | "replicationPaused"
  | "snapshotRecovered"
  | "snapshotReported"
  | "snapshotSkipped"
  | "unreachable"
>;

function replicationWords(event: ReplicationEvent): Line {
  const { id } = event;
  switch (event.what) {
    case "appendRejected": {
      const { ours, theirs, from } = event;
      return [
        "debug",
        `${id} [logterm: ${ours.term}, index: ${ours.index}] rejected MsgApp [logterm: ${theirs.term}, index: ${theirs.index}] from ${from}`,
      ];
    }
    case "rejectionHeard":
      return [
        "debug",
        `${id} received MsgAppResp(rejected, hint: (index ${event.hint.index}, term ${event.hint.term})) from ${event.from} for index ${event.index}`,
      ];
    case "progressDecreased":
      return ["debug", `${id} decreased progress of ${event.to} to [${event.progress}]`];
    case "snapshotSent": {
      const { firstIndex, commit, snapshot, to, progress } = event;
      const ours = `[firstindex: ${firstIndex}, commit: ${commit}]`;
      return ["debug", `${id} ${ours} sent snapshot[index: ${snapshot.index}, term: ${snapshot.term}] to ${to} [${progress}]`];
    }
    case "replicationPaused":
      return ["debug", `${id} paused sending replication messages to ${event.to} [${event.progress}]`];
    case "snapshotRecovered":
      return [
        "debug",
        `${id} recovered from needing snapshot, resumed sending replication messages to ${event.from} [${event.progress}]`,
      ];
    case "snapshotReported": {
      const word = event.isApplied ? "succeeded" : "failed";
      return ["debug", `${id} snapshot ${word}, resumed sending replication messages to ${event.from} [${event.progress}]`];
    }
    case "snapshotSkipped":
      if (event.reason === "inactive") return ["debug", `ignore sending snapshot to ${event.to} since it is not recently active`];
      return ["debug", `${id} failed to send snapshot to ${event.to} because snapshot is temporarily unavailable`];
    case "unreachable":
      return ["debug", `${id} failed to send message to ${event.from} because it is unreachable [${event.progress}]`];
    default:
      return unreachable(event);
  }
}

function snapshotWords(event: EventOf<"restoreStarted" | "restored" | "snapshotHandled">): Line {
  const snapshot = `snapshot [index: ${event.snapshot.index}, term: ${event.snapshot.term}]`;
  switch (event.what) {
    case "restoreStarted": {
      const { committed, applied, applying, offset, offsetInProgress, unstableCount } = event.log;
      const unstable = `unstable.offset=${offset}, unstable.offsetInProgress=${offsetInProgress}, len(unstable.Entries)=${unstableCount}`;
      return [
        "info",
        `log [committed=${committed}, applied=${applied}, applying=${applying}, ${unstable}] starts to restore ${snapshot}`,
      ];
    }
    case "restored": {
      const { id, commit, last } = event;
      const word = event.isFastForward ? "fast-forwarded commit to" : "restored";
      return ["info", `${id} [commit: ${commit}, lastindex: ${last.index}, lastterm: ${last.term}] ${word} ${snapshot}`];
    }
    case "snapshotHandled":
      return ["info", `${event.id} [commit: ${event.commit}] ${event.isRestored ? "restored" : "ignored"} ${snapshot}`];
    default:
      return unreachable(event);
  }
}

type TransferEvent = EventOf<"transferStarted" | "transferIgnored" | "transferAborted" | "timeoutNowSent" | "timeoutNowHeard">;

function transferWords(event: TransferEvent): Line {
  const { id, term } = event;
  switch (event.what) {
    case "transferStarted":
      return ["info", `${id} [term ${term}] starts to transfer leadership to ${event.to}`];
    case "transferAborted":
      return ["info", `${id} [term ${term}] abort previous transferring leadership to ${event.to}`];
    case "transferIgnored":
      if (event.reason === "learner") return ["debug", `${id} is learner. Ignored transferring leadership`];
      if (event.reason === "self") return ["debug", `${id} is already leader. Ignored transferring leadership to self`];
      if (event.reason === "noLeader") return ["info", `${id} no leader at term ${term}; dropping leader transfer msg`];
      return [
        "info",
        `${id} [term ${term}] transfer leadership to ${event.to} is in progress, ignores request to same node ${event.to}`,
      ];
    case "timeoutNowSent":
      if (!event.isImmediate) return ["info", `${id} sent MsgTimeoutNow to ${event.to} after received MsgAppResp`];
      return ["info", `${id} sends MsgTimeoutNow to ${event.to} immediately as ${event.to} already has up-to-date log`];
    case "timeoutNowHeard":
      if (!event.isObeyed) return ["debug", `${id} [term ${term}] ignored MsgTimeoutNow from ${event.from}`];
      return ["info", `${id} [term ${term}] received MsgTimeoutNow from ${event.from} and starts an election to get leadership.`];
    default:
      return unreachable(event);
  }
}
