/**
 * A cluster of Raft cores under one seed, with the faults that Raft survives and the properties that it promises (dissertation, figure
 * 3.2). Every step checks: one leader a term; a leader holds all that was ever applied; what is applied at an index is the same at
 * every node; terms never go back; a promise is durable before it is said; a read sees all that was confirmed before it was asked.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { EMPTY, toHex, u64, utf8 } from "../../crypto/base/bytes.ts";
import { decodeChange } from "../raft/change-codec.ts";
import { confStateOf } from "../raft/configuration.ts";
import { RaftCore } from "../raft/core.ts";
import type { RaftEvent } from "../raft/events.ts";
import { MemoryRaftStorage } from "../raft/storage.ts";
import type { RaftConfig } from "../raft/config.ts";
import type { AppendWork, ApplyWork, ConfChange, ConfState, Entry, RaftMessage, Ready, Snapshot } from "../raft/types.ts";
import { Random } from "./random.ts";

/** What the nodes of a cluster are made with, when a test does not say. */
export const CLUSTER_CONFIG = {
  electionTicks: 10,
  heartbeatTicks: 2,
  applied: 0n,
  preVote: true,
  checkQuorum: true,
  readMode: "safe",
  asyncStorageWrites: false,
  messageSizeBytesMax: 256,
  committedSizeBytesMax: 512,
  uncommittedSizeBytesMax: 4096,
  inflightCountMax: 4,
  inflightSizeBytesMax: 1024,
  disableConfChangeValidation: false,
  disableProposalForwarding: false,
  stepDownOnRemoval: true,
} as const satisfies Omit<RaftConfig, "id" | "random" | "observe">;

/** Where a node may be made to crash: after this many writes to its disk, before anything else of that turn. */
export type CrashPoint = { readonly node: bigint; readonly writes: number };

/** What a cluster is made with. */
export type ClusterOptions = {
  readonly seed: number;
  readonly voters: readonly bigint[];
  readonly learners?: readonly bigint[];
  /** Nodes that are started and are in no configuration yet. */
  readonly spares?: readonly bigint[];
  readonly config?: Partial<RaftConfig>;
  readonly crashAt?: CrashPoint;
};

type Read = { readonly leastIndex: bigint };
type Machine = { index: bigint; term: bigint; configuration: ConfState };

/** One node: the core, its disk, its state machine, its threads. */
export type ClusterNode = {
  readonly id: bigint;
  readonly storage: MemoryRaftStorage;
  core: RaftCore;
  machine: Machine;
  isUp: boolean;
  writes: number;
  appendQueue: AppendWork[];
  applyQueue: ApplyWork[];
};

const BOOT_INDEX = 1n;
const STEPS_PER_SETTLE_MAX = 20_000;

class Crash extends Error {}

/** The cluster. */
export class RaftCluster {
  readonly nodes = new Map<bigint, ClusterNode>();
  readonly random: Random;
  /** What was applied at each index, by whoever was first. */
  readonly chosen = new Map<bigint, string>();
  /** Reads that were answered: how many, so that a test cannot pass by answering none. */
  readsServed = 0;
  messages: RaftMessage[] = [];
  /** How often each kind of event happened. */
  readonly seen = new Map<string, number>();
  readonly #options: ClusterOptions;
  readonly #leaders = new Map<bigint, bigint>();
  readonly #terms = new Map<bigint, bigint>();
  readonly #reads = new Map<string, Read>();
  #readCount = 0n;
  #appliedMax = BOOT_INDEX;
  #isCut: (from: bigint, to: bigint) => boolean = () => false;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.random = new Random(options.seed);
    this.chosen.set(BOOT_INDEX, "1/boot");
    const configuration = confStateOf(options.voters, options.learners ?? []);
    const boot: Snapshot = { index: BOOT_INDEX, term: 1n, configuration, data: EMPTY };
    for (const id of [...configuration.voters, ...configuration.learners, ...(options.spares ?? [])]) {
      const storage = new MemoryRaftStorage();
      const isMember = !(options.spares ?? []).includes(id);
      if (isMember) storage.applySnapshot(boot);
      const machine = machineOf(isMember ? boot : { ...boot, index: 0n, term: 0n, configuration: confStateOf([]) });
      this.nodes.set(id, {
        id,
        storage,
        machine,
        core: this.#coreOf(id, storage),
        isUp: true,
        writes: 0,
        appendQueue: [],
        applyQueue: [],
      });
    }
  }

  node(id: bigint): ClusterNode {
    return present(this.nodes.get(id), `node ${id}`);
  }

  core(id: bigint): RaftCore {
    return this.node(id).core;
  }

  /** Whether the nodes write through threads. */
  get isAsync(): boolean {
    return this.#options.config?.asyncStorageWrites === true;
  }

  /** The leader of the latest term among those that run. */
  leader(): ClusterNode | undefined {
    const leaders = [...this.nodes.values()].filter(({ isUp, core }) => isUp && core.status().role === "leader");
    return leaders.toSorted((a, b) => Number(b.core.status().hardState.term - a.core.status().hardState.term))[0];
  }

  /** Messages between these two groups are lost from now on; one way only if asked. */
  cut(side: readonly bigint[], isOneWay = false): void {
    this.#isCut = (from, to) => side.includes(from) !== side.includes(to) && (!isOneWay || side.includes(from));
  }

  /** Nothing is cut any more. */
  heal(): void {
    this.#isCut = () => false;
  }

  /** The node stops; what it had not stored is lost. */
  crash(id: bigint): void {
    const node = this.node(id);
    node.isUp = false;
    node.appendQueue = [];
    node.applyQueue = [];
    this.#terms.set(id, node.storage.initialState().hardState.term);
  }

  /** The node starts again from its disk, and its state machine from the snapshot there. */
  restart(id: bigint): void {
    const node = this.node(id);
    const snapshot = present(node.storage.snapshot(), "snapshot");
    node.machine = machineOf(snapshot);
    node.storage.setConfiguration(snapshot.configuration);
    node.core = this.#coreOf(id, node.storage);
    node.isUp = true;
  }

  /** Time passes for those that run. */
  tick(ids: Iterable<bigint> = this.nodes.keys()): void {
    for (const id of ids) if (this.node(id).isUp) this.#guard(this.node(id), ({ core }) => core.tick());
  }

  /** Asks a node; what it answers is its own affair. */
  propose(id: bigint, text: string): void {
    this.#guard(this.node(id), ({ core }) => void core.propose(utf8(text)));
  }

  /** Asks a node. */
  change(id: bigint, change: ConfChange): void {
    this.#guard(this.node(id), ({ core }) => void core.proposeConfChange(change));
  }

  /** Asks a node to read. The answer must cover all that is applied anywhere by now. */
  read(id: bigint): void {
    const node = this.node(id);
    if (!node.isUp) return;
    this.#readCount += 1n;
    const context = u64(this.#readCount);
    this.#reads.set(toHex(context), { leastIndex: this.#appliedMax });
    this.#guard(node, ({ core }) => void core.readIndex(context));
  }

  /** The node's state machine is kept as a snapshot, and the entries before it go but the last few. */
  compact(id: bigint, keep: bigint): void {
    const { storage, machine } = this.node(id);
    const newest = present(storage.snapshot(), "snapshot");
    if (machine.index <= newest.index || storage.term(machine.index) !== machine.term) return;
    storage.setSnapshot({ ...machine, data: EMPTY });
    const to = machine.index - keep;
    if (to >= storage.firstIndex()) storage.compact(to);
  }

  /** Takes one message off the network: delivers, duplicates or loses it. */
  deliver(at: number, fate: "once" | "twice" | "lost" = "once"): void {
    const message = present(this.messages[at], `message ${at}`);
    if (fate !== "twice") this.messages.splice(at, 1);
    const node = this.nodes.get(message.to);
    const isLost = fate === "lost" || node === undefined || !node.isUp || this.#isCut(message.from, message.to);
    if (message.kind === "snapshot") this.#guard(this.node(message.from), ({ core }) => core.reportSnapshot(message.to, !isLost));
    if (isLost) return;
    this.#guard(node, ({ core }) => {
      const stepped = core.step(message);
      const isHarmless = stepped.ok || ["peer_unknown", "proposal_dropped", "read_dropped"].includes(stepped.error.code);
      assert(isHarmless, stepped.ok ? "" : `${message.kind} from ${message.from}: ${stepped.error.code} ${stepped.error.detail}`);
    });
  }

  /** Takes the node's turns. With threads, only hands out work. */
  turn(id: bigint): void {
    const node = this.node(id);
    if (node.isUp)
      this.#guard(node, ({ core }) => {
        while (node.isUp && core.hasReady()) this.#take(node, core.ready());
      });
  }

  /** The node's threads do their next work. */
  work(id: bigint, thread: "append" | "apply"): void {
    const node = this.node(id);
    if (!node.isUp) return;
    this.#guard(node, ({ core }) => {
      if (thread === "append") {
        const work = node.appendQueue.shift();
        if (work === undefined) return;
        this.#store(node, work);
        for (const response of work.responses) {
          if (response.to === id) core.acknowledge(response);
          else this.#send(node, response);
        }
        if (work.done !== undefined) core.acknowledge(work.done);
        if (work.snapshot !== undefined) this.#restore(node, work.snapshot);
      } else {
        const work = node.applyQueue.shift();
        if (work === undefined) return;
        this.#apply(node, work.entries);
        core.acknowledge(work.done);
      }
    });
  }

  /** Turns, threads and messages until nothing moves. */
  settle(): void {
    for (let steps = 0; steps < STEPS_PER_SETTLE_MAX; steps += 1) {
      for (const [id, node] of this.nodes) {
        this.turn(id);
        while (node.isUp && node.appendQueue.length + node.applyQueue.length > 0) {
          this.work(id, "append");
          this.work(id, "apply");
          this.turn(id);
        }
      }
      if (this.messages.length === 0) return;
      this.deliver(0);
    }
    throw new Error(`seed ${this.#options.seed}: nothing settles`);
  }

  /** Ticks everybody together, settling after each, until the claim holds. @returns whether it came to hold */
  runUntil(claim: () => boolean, ticksMax: number): boolean {
    for (let ticked = 0; ticked < ticksMax; ticked += 1) {
      if (claim()) return true;
      this.tick();
      this.settle();
    }
    return claim();
  }

  /** Elects this node, by its own wish. */
  elect(id: bigint): void {
    this.core(id).campaign();
    this.settle();
    assert(this.core(id).status().role === "leader", `${id} was not elected`);
  }

  #coreOf(id: bigint, storage: MemoryRaftStorage): RaftCore {
    const random = new Random(this.#options.seed * 1000 + Number(id));
    return new RaftCore(
      {
        ...CLUSTER_CONFIG,
        ...this.#options.config,
        id,
        applied: storage.snapshot()?.index ?? 0n,
        random: (bound) => random.uint32() % bound,
        observe: (event) => this.#watch(event),
      },
      storage,
    );
  }

  /** A crash point ends the turn there and then, as a process that dies would. */
  #guard(node: ClusterNode, act: (node: ClusterNode) => void): void {
    if (!node.isUp) return;
    try {
      act(node);
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      this.crash(node.id);
    }
    if (!node.isUp) return;
    const { term } = node.core.status().hardState;
    assert(term >= (this.#terms.get(node.id) ?? 0n), `term of ${node.id} went back to ${term}`);
    this.#terms.set(node.id, term);
  }

  #take(node: ClusterNode, ready: Ready): void {
    for (const { index, context } of ready.readStates) {
      const read = this.#reads.get(toHex(context));
      assert(read === undefined || index >= read.leastIndex, `read of ${node.id} at ${index}, ${read?.leastIndex} was confirmed`);
      this.readsServed += 1;
    }
    if (ready.appendWork !== undefined) node.appendQueue.push(ready.appendWork);
    if (ready.applyWork !== undefined) node.applyQueue.push(ready.applyWork);
    if (!this.isAsync) this.#store(node, ready);
    for (const message of ready.messages) this.#send(node, message);
    if (this.isAsync) return;
    if (ready.snapshot !== undefined) this.#restore(node, ready.snapshot);
    this.#apply(node, ready.committed);
    node.core.advance();
  }

  /** Every part is a write of its own, in the order that the contract gives. */
  #store(node: ClusterNode, { snapshot, entries, hardState }: Pick<Ready, "snapshot" | "entries" | "hardState">): void {
    const { storage } = node;
    if (snapshot !== undefined && snapshot.index >= storage.firstIndex())
      this.#write(node, () => storage.applySnapshot(snapshot));
    if (entries.length > 0) this.#write(node, () => storage.append(entries));
    if (hardState !== undefined) this.#write(node, () => storage.setHardState(hardState));
  }

  #write(node: ClusterNode, write: () => void): void {
    write();
    node.writes += 1;
    const { crashAt } = this.#options;
    if (crashAt?.node === node.id && crashAt.writes === node.writes) throw new Crash();
  }

  /** Persistent state is "updated on stable storage before responding" (dissertation, figure 3.1). */
  #send(node: ClusterNode, message: RaftMessage): void {
    const { hardState } = node.storage.initialState();
    if (message.kind === "voteResponse" && !message.isRejected && hardState.term === message.term)
      assert(hardState.vote === message.to, `${node.id} promised ${message.to} a vote that is not durable`);
    if (message.kind === "voteResponse" || message.kind === "appendResponse")
      assert(hardState.term >= message.term, `${node.id} answers in term ${message.term}, ${hardState.term} is durable`);
    if (message.kind === "appendResponse" && message.hint === undefined && hardState.term === message.term)
      assert(node.storage.lastIndex() >= message.index, `${node.id} acknowledged ${message.index}, which is not durable`);
    this.messages.push(message);
  }

  #restore(node: ClusterNode, snapshot: Snapshot): void {
    if (snapshot.index <= node.machine.index) return;
    assert(
      this.chosen.get(snapshot.index)?.startsWith(`${snapshot.term}/`) === true,
      `snapshot ${snapshot.index} was never chosen`,
    );
    node.machine = machineOf(snapshot);
  }

  #apply(node: ClusterNode, entries: readonly Entry[]): void {
    for (const { term, index, kind, data } of entries) {
      assert(index === node.machine.index + 1n, `${node.id} applies ${index} after ${node.machine.index}`);
      const told = `${term}/${kind}/${toHex(data)}`;
      const first = this.chosen.get(index) ?? told;
      assert(first === told, `${node.id} applies ${told} at ${index}, chosen was ${first}`);
      this.chosen.set(index, told);
      if (index > this.#appliedMax) this.#appliedMax = index;
      let { configuration } = node.machine;
      if (kind === "change") {
        const change = decodeChange(data);
        assert(change.ok, "a change does not decode");
        configuration = node.core.applyConfChange(change.value);
      }
      node.machine = { index, term, configuration };
    }
  }

  #watch(event: RaftEvent): void {
    this.seen.set(event.what, (this.seen.get(event.what) ?? 0) + 1);
    if (event.what !== "became" || event.role !== "leader") return;
    const known = this.#leaders.get(event.term) ?? event.id;
    assert(known === event.id, `${known} and ${event.id} lead term ${event.term}`);
    this.#leaders.set(event.term, event.id);
    this.#checkCompleteness(event.id);
  }

  /** Leader completeness: whatever was applied anywhere is in the log of every later leader. */
  #checkCompleteness(id: bigint): void {
    const { core, storage } = this.node(id);
    const { lastIndex } = core.status();
    assert(lastIndex >= this.#appliedMax, `${id} leads with ${lastIndex}, applied was ${this.#appliedMax}`);
    if (this.isAsync) return; // The disk may lag behind the log that leads.
    for (const [index, told] of this.chosen) {
      const term = storage.term(index);
      assert(term === undefined || told.startsWith(`${term}/`), `${id} leads with term ${term} at ${index}, chosen was ${told}`);
    }
  }
}

function machineOf({ index, term, configuration }: Snapshot): Machine {
  return { index, term, configuration };
}
