/**
 * Runs the files of etcd-raft against the core: interaction scripts, quorum tables, changes of the configuration. Each function takes
 * the text of a file, with or without its transcripts, and gives it back with the transcripts of this run.
 *
 * What is compared with the files is everything they print, word for word: turns, messages, roles, terms, logs, configurations,
 * progress, and the log lines that tell why.
 */

import { changeSimply, enterJoint, leaveJoint } from "../raft/confchange.ts";
import type { Membership } from "../raft/confchange.ts";
import { configurationText, sortedIds } from "../raft/configuration.ts";
import { U64_MAX } from "../raft/limits.ts";
import { jointCommitted, jointVote, majorityCommitted, majorityVote } from "../raft/majority.ts";
import { progressText } from "../raft/progress.ts";
import { Tracker } from "../raft/tracker.ts";
import { rerun, valuesOf } from "./raft-datadriven.ts";
import type { DataCommand } from "./raft-datadriven.ts";
import { Stage } from "./raft-stage.ts";
import { runVerb } from "./raft-verbs.ts";
import { parseStep } from "./raft-words.ts";

/** Runs an interaction script (`testdata/*.txt`). Throws on commands that it does not know. */
export function runRaftScript(text: string): string {
  const stage = new Stage();
  return rerun(text, (command) => {
    runVerb(stage, command);
    return stage.takeOutput();
  });
}

/** Runs a quorum table (`quorum/testdata/*.txt`): `committed cfg=(1,2) [cfgj=(3)] idx=(5,_)`, `vote cfg=(1,2) votes=(y,n)`. */
export function runQuorumScript(text: string): string {
  return rerun(text, (command) => {
    const cfg = idsOf(command, "cfg");
    const cfgj = idsOf(command, "cfgj");
    const isJoint = command.arguments.some(({ key }) => key === "cfgj");
    const ids = [...new Set([...cfg, ...cfgj])];
    if (command.verb === "committed") return committedLines(command, { cfg, cfgj, ids, isJoint });
    if (command.verb !== "vote") throw new Error(`unknown command: ${command.verb}`);
    const given = valuesOf(command, "votes");
    if (given.length !== ids.length) return [mismatchText(ids, given)];
    const votes = new Map<bigint, boolean>();
    for (const [at, id] of ids.entries()) if (given[at] !== "_") votes.set(id, given[at] === "y");
    const voters = { incoming: new Set(cfg), outgoing: new Set(cfgj) };
    const result = isJoint ? jointVote(voters, votes) : majorityVote(voters.incoming, votes);
    return [{ won: "VoteWon", lost: "VoteLost", pending: "VotePending" }[result]];
  });
}

/** Runs a script of configuration changes (`confchange/testdata/*.txt`): `simple`, `enter-joint`, `leave-joint`. */
export function runConfChangeScript(text: string): string {
  const limits = { countMax: 10, sizeBytesMax: Number.MAX_SAFE_INTEGER };
  const tracker = new Tracker(limits);
  let lastIndex = 0n;
  return rerun(text, (command) => {
    const changed = changeOf(command, tracker.membership, { lastIndex, limits });
    lastIndex += 1n;
    if (!changed.ok) return [changed.error.detail];
    tracker.switchTo(changed.value);
    return [
      configurationText(tracker.configuration),
      ...tracker.members().map(([id, progress]) => `${id}: ${progressText(progress)}`),
    ];
  });
}

function changeOf(
  command: DataCommand,
  before: Membership,
  fresh: Parameters<typeof changeSimply>[2],
): ReturnType<typeof leaveJoint> {
  const steps = command.input
    .flatMap((line) => line.split(" "))
    .filter((word) => word !== "")
    .map(parseStep);
  switch (command.verb) {
    case "simple":
      return changeSimply(before, steps, fresh);
    case "enter-joint":
      return enterJoint(before, steps, valuesOf(command, "autoleave")[0] === "true", fresh);
    case "leave-joint":
      return leaveJoint(before);
    default:
      throw new Error(`unknown command: ${command.verb}`);
  }
}

type Table = {
  readonly cfg: readonly bigint[];
  readonly cfgj: readonly bigint[];
  readonly ids: readonly bigint[];
  readonly isJoint: boolean;
};

function committedLines(command: DataCommand, { cfg, cfgj, ids, isJoint }: Table): readonly string[] {
  const given = valuesOf(command, "idx");
  const known = new Map<bigint, bigint>();
  for (const [at, id] of ids.entries()) {
    const index = given[at] ?? "_";
    if (index !== "_") known.set(id, BigInt(index));
  }
  // Placeholders may be left out for ids that both halves name, and given for them too.
  if (given.length < ids.length || given.length > cfg.length + cfgj.length) return [mismatchText(ids, given)];
  const voters = { incoming: new Set(cfg), outgoing: new Set(cfgj) };
  const committed = isJoint
    ? jointCommitted(voters, (id) => known.get(id))
    : majorityCommitted(voters.incoming, (id) => known.get(id));
  const index = committed === U64_MAX ? "∞" : `${committed}`;
  if (ids.length === 0) return [`<empty majority quorum>${index}`];
  return [...chartLines(ids, known), index];
}

/** Each voter's index with a bar as long as the number of voters that are behind it. */
function chartLines(ids: readonly bigint[], known: ReadonlyMap<bigint, bigint>): readonly string[] {
  const width = ids.length;
  const lines = sortedIds(ids).map((id) => {
    const index = known.get(id);
    const behind = ids.filter((other) => (known.get(other) ?? 0n) < (index ?? 0n)).length;
    const bar = index === undefined ? "?".padEnd(width + 1) : `${"x".repeat(behind)}>`.padEnd(width + 1);
    return `${bar} ${`${index ?? 0n}`.padStart(5)}    (id=${id})`;
  });
  return [`${" ".repeat(width)}    idx`, ...lines];
}

function idsOf(command: DataCommand, key: string): readonly bigint[] {
  return valuesOf(command, key)
    .filter((value) => value !== "zero")
    .map(BigInt);
}

function mismatchText(ids: readonly bigint[], given: readonly string[]): string {
  return `error: mismatched input (explicit or _) for voters [${ids.join(" ")}]: [${given.join(" ")}]`;
}
