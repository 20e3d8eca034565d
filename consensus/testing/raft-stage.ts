/** A stage for the etcd-raft scripts: nodes with their storage and threads, the messages between them, and the output. */

import { present } from "../../crypto/base/assert.ts";
import { concatBytes, EMPTY } from "../../crypto/base/bytes.ts";
import { decodeChange } from "../raft/change-codec.ts";
import { confStateOf } from "../raft/configuration.ts";
import { RaftCore } from "../raft/core.ts";
import type { RaftError } from "../raft/errors.ts";
import type { RaftEvent } from "../raft/events.ts";
import { MemoryRaftStorage } from "../raft/storage.ts";
import type { RaftStorage } from "../raft/storage.ts";
import type { RaftConfig } from "../raft/config.ts";
import type { AppendWork, Entry, HardState, Snapshot } from "../raft/types.ts";
import { eventLine, letterLines, lettersOf, readyLines, responsesOf } from "./raft-words.ts";
import type { Letter, Level } from "./raft-words.ts";

/** How loud the output is; `none` drops what commands print as well. */
export type OutputLevel = Level | "fatal" | "none";

/** From the quietest to be shown to the only ones. */
export const LEVELS: readonly OutputLevel[] = ["debug", "info", "warn", "error", "fatal", "none"];

/** What the scripts' nodes are made with, when a script does not say. */
export const SCRIPT_CONFIG = {
  electionTicks: 3,
  heartbeatTicks: 1,
  random: () => 0,
  applied: 0n,
  preVote: false,
  checkQuorum: false,
  readMode: "safe",
  asyncStorageWrites: false,
  messageSizeBytesMax: Number.MAX_SAFE_INTEGER,
  committedSizeBytesMax: Number.MAX_SAFE_INTEGER,
  uncommittedSizeBytesMax: Number.MAX_SAFE_INTEGER,
  inflightCountMax: 2 ** 31 - 1,
  inflightSizeBytesMax: Number.MAX_SAFE_INTEGER,
  disableConfChangeValidation: false,
  disableProposalForwarding: false,
  stepDownOnRemoval: false,
} as const satisfies Omit<RaftConfig, "id" | "observe">;

/** What a script may set. */
export type NodeOptions = { -readonly [Key in keyof Omit<RaftConfig, "id" | "observe">]: RaftConfig[Key] };

/** One node on the stage. Its state machine appends what it is given, and remembers every state it was in. */
export type StageNode = {
  readonly core: RaftCore;
  readonly storage: MemoryRaftStorage;
  readonly options: NodeOptions;
  /** Snapshots after every applied entry: a leader sends the newest. */
  readonly history: Snapshot[];
  readonly appendQueue: (Letter & { kind: "appendWork" })[];
  readonly applyQueue: (Letter & { kind: "applyWork" })[];
};

/** What the scripts say where the core says a code. */
export function errorText({ code, detail }: RaftError): string {
  if (code === "proposal_dropped") return "raft proposal dropped";
  if (code === "peer_unknown") return "raft: cannot step as peer not found";
  return `${code}: ${detail}`;
}

/** The stage. */
export class Stage {
  readonly nodes: StageNode[] = [];
  #messages: Letter[] = [];
  #level: OutputLevel = "debug";
  #lines: string[] = [];
  #indent = "";

  /** What was printed since the last call; a command that prints nothing prints `ok`. */
  takeOutput(): readonly string[] {
    const lines = this.#lines;
    this.#lines = [];
    return lines.length === 0 ? ["ok"] : lines;
  }

  /** Prints, unless all is quiet. */
  print(...lines: readonly string[]): void {
    if (this.#level !== "none") this.#lines.push(...lines.map((line) => this.#indent + line));
  }

  /** Prints what `act` prints further in. */
  indented(act: () => void): void {
    const before = this.#indent;
    this.#indent += "  ";
    act();
    this.#indent = before;
  }

  /** Sets how loud it is. @returns how loud it was */
  setLevel(level: OutputLevel): OutputLevel {
    const before = this.#level;
    this.#level = level;
    return before;
  }

  /** The node with this id; scripts number them from 1. */
  node(id: bigint): StageNode {
    return present(this.nodes[Number(id) - 1], `node ${id}`);
  }

  /** Adds a node, from a snapshot or from nothing. */
  addNode(options: NodeOptions, snapshot: Snapshot | undefined): void {
    const id = BigInt(this.nodes.length + 1);
    const storage = new MemoryRaftStorage();
    if (snapshot !== undefined) storage.applySnapshot(snapshot);
    const history = [snapshot ?? { index: 0n, term: 0n, configuration: confStateOf([]), data: EMPTY }];
    const config: RaftConfig = { ...options, id, observe: (event) => this.#log(event) };
    const core = new RaftCore(config, withNewestSnapshot(storage, history));
    this.nodes.push({ core, storage, options, history, appendQueue: [], applyQueue: [] });
  }

  /** A message on its way. */
  post(letter: Letter): void {
    this.#messages.push(letter);
  }

  /** Whether anything is on its way to this node. */
  hasMail(id: bigint): boolean {
    return this.#messages.some((letter) => recipientOf(letter) === id);
  }

  /** Delivers, or drops, what is on its way to a node. A node's own threads lose nothing. @returns how many */
  deliver(id: bigint, options: { readonly isDropped: boolean; readonly kind: Letter["kind"] | undefined }): number {
    const isFor = (letter: Letter): boolean =>
      recipientOf(letter) === id &&
      !(options.isDropped && isLocal(letter)) &&
      (options.kind === undefined || letter.kind === options.kind);
    const mail = this.#messages.filter(isFor);
    this.#messages = this.#messages.filter((letter) => !isFor(letter));
    for (const letter of mail) {
      const [first = "", ...more] = letterLines(letter);
      this.print(`${options.isDropped ? "dropped: " : ""}${first}`, ...more);
      if (!options.isDropped) this.#hand(this.node(id), letter);
    }
    return mail.length;
  }

  /** One turn of a node. */
  processReady(node: StageNode): void {
    const { core, options } = node;
    const ready = core.ready();
    this.print(...readyLines(ready, core.id));
    if (!options.asyncStorageWrites) {
      store(node, ready);
      this.#apply(node, ready.committed);
    }
    for (const letter of lettersOf(ready, core.id)) {
      if (letter.kind === "appendWork") node.appendQueue.push(letter);
      else if (letter.kind === "applyWork") node.applyQueue.push(letter);
      else this.post(letter);
    }
    if (!options.asyncStorageWrites) core.advance();
  }

  /** The next work of a node's append thread. */
  processAppend(node: StageNode): void {
    const letter = node.appendQueue.shift();
    if (letter === undefined) return this.print("no append work to perform");
    this.print("Processing:", ...letterLines(letter, false));
    store(node, letter.work);
    this.#respond(letter);
  }

  /** The next work of a node's apply thread. */
  processApply(node: StageNode): void {
    const letter = node.applyQueue.shift();
    if (letter === undefined) return this.print("no apply work to perform");
    this.print("Processing:", ...letterLines(letter, false));
    this.#apply(node, letter.work.entries);
    this.#respond(letter);
  }

  #respond(letter: Letter): void {
    this.print("Responses:");
    for (const response of responsesOf(letter)) {
      this.print(...letterLines(response));
      this.post(response);
    }
  }

  #hand({ core }: StageNode, letter: Letter): void {
    if (letter.kind === "appendWork" || letter.kind === "applyWork") throw new Error("work is not delivered");
    if (letter.kind === "appendDone" || letter.kind === "applyDone" || letter.from === letter.to) return core.acknowledge(letter);
    const stepped = core.step(letter);
    if (!stepped.ok) this.print(errorText(stepped.error));
  }

  #apply(node: StageNode, entries: readonly Entry[]): void {
    for (const { term, index, kind, data } of entries) {
      const newest = present(node.history.at(-1), "history");
      if (kind === "normal") {
        node.history.push({ ...newest, term, index, data: concatBytes(newest.data, data) });
        continue;
      }
      const change = decodeChange(data);
      if (!change.ok) throw new Error(change.error.detail);
      node.history.push({ ...newest, term, index, configuration: node.core.applyConfChange(change.value) });
    }
  }

  #log(event: RaftEvent): void {
    const line = eventLine(event);
    if (line === undefined || LEVELS.indexOf(line.level) < LEVELS.indexOf(this.#level)) return;
    this.print(`${line.level.toUpperCase()} ${line.text}`);
  }
}

function store(
  { storage }: StageNode,
  work: Pick<AppendWork, "entries" | "snapshot"> & { hardState: HardState | undefined },
): void {
  if (work.hardState !== undefined) storage.setHardState(work.hardState);
  if (work.snapshot !== undefined) storage.applySnapshot(work.snapshot);
  storage.append(work.entries);
}

function withNewestSnapshot(storage: MemoryRaftStorage, history: readonly Snapshot[]): RaftStorage {
  return {
    initialState: () => storage.initialState(),
    firstIndex: () => storage.firstIndex(),
    lastIndex: () => storage.lastIndex(),
    term: (index) => storage.term(index),
    entries: (low, high, sizeBytesMax) => storage.entries(low, high, sizeBytesMax),
    snapshot: () => history.at(-1),
  };
}

function recipientOf(letter: Letter): bigint | undefined {
  return letter.kind === "appendWork" || letter.kind === "applyWork" ? undefined : letter.to;
}

function isLocal(letter: Letter): boolean {
  return (
    letter.kind === "appendDone" ||
    letter.kind === "applyDone" ||
    recipientOf(letter) === ("from" in letter ? letter.from : undefined)
  );
}
