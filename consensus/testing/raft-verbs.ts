/** The verbs of the etcd-raft interaction scripts, one function each, in groups: making nodes, moving messages, asking nodes, looking. */

import { utf8 } from "../../crypto/base/bytes.ts";
import { confStateOf } from "../raft/configuration.ts";
import type { ConfChange, Snapshot } from "../raft/types.ts";
import { valuesOf, wordsOf } from "./raft-datadriven.ts";
import type { DataCommand } from "./raft-datadriven.ts";
import { errorText, LEVELS, SCRIPT_CONFIG } from "./raft-stage.ts";
import type { NodeOptions, OutputLevel, Stage, StageNode } from "./raft-stage.ts";
import { entryText, letterLines, messageKindOf, OLD_FORM, parseStep, roleText } from "./raft-words.ts";
import type { Letter } from "./raft-words.ts";

type Verb = (stage: Stage, command: DataCommand) => void;

const MAKING = {
  "add-nodes": (stage, command) => {
    const count = Number(wordsOf(command)[0]);
    const options = optionsOf(command);
    const snapshot = snapshotOf(command);
    if (snapshot !== undefined) options.applied = snapshot.index;
    for (let made = 0; made < count; made += 1) stage.addNode(options, snapshot);
  },
  compact: (stage, command) => {
    const [id, index] = idsOf(command);
    stage.node(id ?? 0n).storage.compact(index ?? 0n);
    printLog(stage, stage.node(id ?? 0n));
  },
  "log-level": (stage, command) => void stage.setLevel(levelOf(wordsOf(command)[0])),
  "set-randomized-election-timeout": (stage, command) => {
    firstNode(stage, command).core.setElectionTicks(Number(valuesOf(command, "timeout")[0]));
  },
} as const satisfies Record<string, Verb>;

const MOVING = {
  stabilize: (stage, command) => {
    const [level] = valuesOf(command, "log-level");
    const before = level === undefined ? undefined : stage.setLevel(levelOf(level));
    stabilize(stage, nodesOf(stage, command));
    if (before !== undefined) stage.setLevel(before);
  },
  "process-ready": (stage, command) => forEach(stage, command, "handling Ready", (node) => stage.processReady(node)),
  "process-append-thread": (stage, command) =>
    forEach(stage, command, "processing append thread", (node) => stage.processAppend(node)),
  "process-apply-thread": (stage, command) =>
    forEach(stage, command, "processing apply thread", (node) => stage.processApply(node)),
  "deliver-msgs": (stage, command) => {
    const [type] = valuesOf(command, "type");
    const kind = type === undefined ? undefined : kindOf(type);
    let count = 0;
    for (const { key, values } of command.arguments) {
      if (values.length === 0) count += stage.deliver(BigInt(key), { isDropped: false, kind });
      else if (key === "drop") for (const id of values) count += stage.deliver(BigInt(id), { isDropped: true, kind });
    }
    if (count === 0) stage.print("no messages");
  },
  "send-snapshot": (stage, command) => {
    const [from = 0n, to = 0n] = idsOf(command);
    const { core, history } = stage.node(from);
    const snapshot = history.at(-1);
    if (snapshot === undefined) return;
    const letter: Letter = { kind: "snapshot", from, to, term: core.status().hardState.term, snapshot };
    stage.post(letter);
    stage.print(...letterLines(letter));
  },
} as const satisfies Record<string, Verb>;

const ASKING = {
  campaign: (stage, command) => firstNode(stage, command).core.campaign(),
  propose: (stage, command) => {
    const [id = "0", data = ""] = wordsOf(command);
    printError(stage, stage.node(BigInt(id)).core.propose(utf8(data)));
  },
  "propose-conf-change": (stage, command) => {
    const isOldForm = valuesOf(command, "v1")[0] === "true";
    const change: ConfChange = {
      transition: transitionOf(valuesOf(command, "transition")[0] ?? "auto"),
      steps: command.input
        .flatMap((line) => line.split(" "))
        .filter((word) => word !== "")
        .map(parseStep),
      context: isOldForm ? OLD_FORM : new Uint8Array(0),
    };
    if (isOldForm && change.steps.length !== 1) throw new Error("v1 conf change can only have one operation");
    printError(stage, firstNode(stage, command).core.proposeConfChange(change));
  },
  "transfer-leadership": (stage, command) => {
    const [from = "0"] = valuesOf(command, "from");
    stage.node(BigInt(from)).core.transferLeader(BigInt(valuesOf(command, "to")[0] ?? "0"));
  },
  "forget-leader": (stage, command) => firstNode(stage, command).core.forgetLeader(),
  "report-unreachable": (stage, command) => {
    const [id = 0n, unreachable = 0n] = idsOf(command);
    stage.node(id).core.reportUnreachable(unreachable);
  },
  "tick-heartbeat": (stage, command) => tick(firstNode(stage, command), SCRIPT_CONFIG.heartbeatTicks),
  "tick-election": (stage, command) => tick(firstNode(stage, command), SCRIPT_CONFIG.electionTicks),
} as const satisfies Record<string, Verb>;

const LOOKING = {
  status: (stage, command) => {
    for (const { id, text } of firstNode(stage, command).core.status().progress) stage.print(`${id}: ${text}`);
  },
  "raft-state": (stage) => {
    for (const { core } of stage.nodes) {
      const { id, role, leader, hardState, configuration } = core.status();
      const votes = configuration.voters.includes(id) || configuration.votersOutgoing.includes(id);
      stage.print(`${id}: ${roleText(role)} ${votes ? "(Voter)" : "(Non-Voter)"} Term:${hardState.term} Lead:${leader}`);
    }
  },
  "raft-log": (stage, command) => printLog(stage, firstNode(stage, command)),
} as const satisfies Record<string, Verb>;

const VERBS: Readonly<Record<string, Verb>> = { ...MAKING, ...MOVING, ...ASKING, ...LOOKING };

/** Runs one command of an interaction script. Throws on one that the scripts do not know. */
export function runVerb(stage: Stage, command: DataCommand): void {
  const verb = Object.hasOwn(VERBS, command.verb) ? VERBS[command.verb] : undefined;
  if (verb === undefined) throw new Error(`unknown command: ${command.verb}`);
  verb(stage, command);
}

/** Turns, messages and threads, until nothing moves. */
function stabilize(stage: Stage, nodes: readonly StageNode[]): void {
  for (let isDone = false; !isDone;) {
    isDone = true;
    const section = (node: StageNode, title: string, act: () => void): void => {
      stage.print(`> ${node.core.id} ${title}`);
      stage.indented(act);
      isDone = false;
    };
    for (const node of nodes) if (node.core.hasReady()) section(node, "handling Ready", () => stage.processReady(node));
    for (const node of nodes) {
      const { id } = node.core;
      if (stage.hasMail(id))
        section(node, "receiving messages", () => void stage.deliver(id, { isDropped: false, kind: undefined }));
    }
    for (const node of nodes)
      if (node.appendQueue.length > 0)
        section(node, "processing append thread", () => {
          while (node.appendQueue.length > 0) stage.processAppend(node);
        });
    for (const node of nodes)
      if (node.applyQueue.length > 0)
        section(node, "processing apply thread", () => {
          while (node.applyQueue.length > 0) stage.processApply(node);
        });
  }
}

function forEach(stage: Stage, command: DataCommand, title: string, act: (node: StageNode) => void): void {
  const nodes = nodesOf(stage, command);
  const [only] = nodes;
  if (nodes.length === 1 && only !== undefined) return act(only);
  for (const node of nodes) {
    stage.print(`> ${node.core.id} ${title}`);
    stage.indented(() => act(node));
  }
}

function optionsOf(command: DataCommand): NodeOptions {
  const options: NodeOptions = { ...SCRIPT_CONFIG };
  for (const { key, values } of command.arguments) {
    const [value = ""] = values;
    if (key === "prevote") options.preVote = value === "true";
    else if (key === "checkquorum") options.checkQuorum = value === "true";
    else if (key === "async-storage-writes") options.asyncStorageWrites = value === "true";
    else if (key === "disable-conf-change-validation") options.disableConfChangeValidation = value === "true";
    else if (key === "step-down-on-removal") options.stepDownOnRemoval = value === "true";
    else if (key === "max-committed-size-per-ready") options.committedSizeBytesMax = Number(value);
    else if (key === "inflight") options.inflightCountMax = Number(value);
    else if (key === "read-only") options.readMode = value === "lease-based" ? "lease" : "safe";
    else if (values.length > 0 && !["voters", "learners", "index", "content"].includes(key))
      throw new Error(`unknown option: ${key}`);
  }
  return options;
}

function snapshotOf(command: DataCommand): Snapshot | undefined {
  const index = BigInt(valuesOf(command, "index")[0] ?? "0");
  if (index === 0n) return undefined;
  const configuration = confStateOf(valuesOf(command, "voters").map(BigInt), valuesOf(command, "learners").map(BigInt));
  return { index, term: 1n, configuration, data: utf8(valuesOf(command, "content")[0] ?? "") };
}

function printLog(stage: Stage, { storage }: StageNode): void {
  const first = storage.firstIndex();
  const last = storage.lastIndex();
  if (last < first) return stage.print(`log is empty: first index=${first}, last index=${last}`);
  for (const entry of storage.entries(first, last + 1n, Number.MAX_SAFE_INTEGER) ?? []) stage.print(entryText(entry));
}

function printError(stage: Stage, outcome: ReturnType<StageNode["core"]["propose"]>): void {
  if (!outcome.ok) stage.print(errorText(outcome.error));
}

function tick({ core }: StageNode, count: number): void {
  for (let ticked = 0; ticked < count; ticked += 1) core.tick();
}

function idsOf(command: DataCommand): readonly bigint[] {
  return wordsOf(command).map(BigInt);
}

function firstNode(stage: Stage, command: DataCommand): StageNode {
  return stage.node(BigInt(wordsOf(command)[0] ?? "0"));
}

function nodesOf(stage: Stage, command: DataCommand): readonly StageNode[] {
  const ids = idsOf(command);
  return ids.length === 0 ? stage.nodes : ids.map((id) => stage.node(id));
}

function levelOf(word: string | undefined): OutputLevel {
  const level = LEVELS.find((known) => known === word?.toLowerCase());
  if (level === undefined) throw new Error(`unknown log level: ${word}`);
  return level;
}

function kindOf(type: string): Letter["kind"] {
  const kind = messageKindOf(type);
  if (kind === undefined) throw new Error(`unknown message type: ${type}`);
  return kind;
}

function transitionOf(word: string): ConfChange["transition"] {
  if (word === "auto" || word === "implicit" || word === "explicit") return word;
  throw new Error(`unknown transition: ${word}`);
}
