/**
 * A simulated node: the parts of `node/node.ts`, wired as there, on simulated ports. And the machine under it, which
 * outlives its processes: disk, clock and key.
 *
 * ```
 *   down --boot--> opening --> running --kill, power cut, own failure--> down
 *                     | refused to start: stays down until an operator acts
 * ```
 *
 * A process that ends is not asked: whatever it waits for never comes, and what it does from then on does nothing.
 */

import { assert } from "../../crypto/base/assert.ts";
import { codeOf } from "../../crypto/base/error.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import type { KeyPair } from "../../crypto/sign/key.ts";
import type { Block } from "../../chain/block/block.ts";
import type { Evidence } from "../../chain/block/evidence.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import { heightOf } from "../../chain/block/height.ts";
import type { Transaction } from "../../chain/block/transaction.ts";
import { type Commit, Ledger } from "../../chain/ledger/ledger.ts";
import { Mempool } from "../../chain/mempool/mempool.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { beginConsensus, blockSink, blockSource } from "../../node/begin.ts";
import { CATCH_UP_PROTOCOL, catchUp, catchUpServer } from "../../node/driver/catchup.ts";
import { DIRECT_PROTOCOL, DirectChannel } from "../../node/driver/direct.ts";
import type { Driver, DriverParts } from "../../node/driver/driver.ts";
import { EvidencePool } from "../../node/driver/evidence.ts";
import { Bodies, BODIES_PROTOCOL, type KnownTransactions } from "../../node/driver/bodies.ts";
import type { Delivery } from "../../node/driver/verdict.ts";
import { SignGuard } from "../../node/driver/guard.ts";
import { WriteAheadLog } from "../../node/driver/wal.ts";
import { openDriver } from "../../node/engines.ts";
import { Intake } from "../../node/intake/intake.ts";
import type { Log, LogFields } from "../../node/log/log.ts";
import type { Searcher } from "../../node/driver/searcher.ts";
import type { Metrics } from "../../node/metrics/metrics.ts";
import { blockServer, SYNC_PROTOCOL, Synchroniser } from "../../node/network/sync.ts";
import type { Agenda, Owner } from "./agenda.ts";
import type { LogEvent } from "./checkers/checker.ts";
import { type ClockFault, SimulatedClock } from "./clock.ts";
import { type CutMode, type DiskFault, DiskImage, type DiskOperation } from "./disk.ts";
import { Endpoint, type Wire } from "./network.ts";
import type { Random } from "./random.ts";
import type { Signatures } from "./signatures.ts";
import type { Sometimes, SometimesName } from "./sometimes.ts";
import { SimulatedSearcher } from "./searcher.ts";
import { openSimulatedStore } from "./store.ts";
import type { Trace } from "./trace.ts";

const HOME = "/home/data";
const STORE_PATH = `${HOME}/store/log`;
const WAL_PATH = `${HOME}/wal`;
const SIGN_STATE_PATH = `${HOME}/sign-state`;
const WAL_SIZE_BYTES_MAX = 1024 * 1024 * 1024;
const CACHE_SIZE_BYTES = 4 * 1024 * 1024;

const DISK_FAULTS = {
  full: "disk_full",
  hung: "disk_hung",
  misdirected: "write_misdirected",
  syncFailed: "sync_failed",
} as const satisfies Record<DiskFault, SometimesName>;

/** What all nodes of a run share. */
export type World = {
  readonly agenda: Agenda;
  readonly trace: Trace;
  readonly sometimes: Sometimes;
  readonly wire: Wire;
  readonly signatures: Signatures;
  readonly network: NetworkFile;
  readonly observer: Observer;
};

/** Who watches the nodes: the checkers. */
export interface Observer {
  /** A node made a block final, durably. */
  onCommit(index: number, commit: Commit): void;
  /** A node's own engine said this, to all or to one. */
  onSaid(index: number, bytes: Uint8Array): void;
  /** A node's log was read, written, or is durable. */
  onLog(index: number, event: LogEvent): void;
  /** A validator sits out what it may not remember. */
  onSatOut(index: number): void;
  /** A node hears this from another, or from a liar. */
  onHeard(index: number, bytes: Uint8Array): void;
  /** A node read its ledger back from its disk. */
  onOpened(index: number, ledger: Ledger): void;
  /** A node refused to start, or ended itself. */
  onFailed(index: number, when: "opening" | "running", error: unknown): void;
  /** Under proof of work: a node says that its own chain and a heavier one fork too deep for it to go over. */
  onSplit(index: number, forkHeight: bigint): void;
}

/** One life of a node: a process. */
class Life implements Owner {
  isAlive = true;
  pausedUntilMs = 0;
}

/** The end of a process, and what becomes of its machine's memory. */
export type EndMode = "kill" | CutMode;

/** A trap for a process: it ends at the so-manieth operation of this kind. */
export type Trap = {
  readonly operation: DiskOperation | "send";
  readonly when: "before" | "after";
  readonly skip: number;
  readonly onCaught: () => void;
};

/** The parts of a running node that clients and checkers look at. */
export type Running = {
  readonly ledger: Ledger;
  readonly driver: Driver;
  readonly intake: Intake;
  readonly guard: SignGuard;
};

/** What makes a node other than the others. */
export type NodeOptions = {
  /** Claims a height that it has not. */
  readonly liesAboutHeight?: bigint;
  /** Leaves out transactions when it proposes. */
  readonly censors?: boolean;
  /** Words of its own key that it hears from elsewhere are none of its business: a twin. */
  readonly isDeaf?: (bytes: Uint8Array) => boolean;
};

/** A machine, and the node that runs on it now and then. */
export class Machine {
  readonly index: number;
  readonly keyPair: KeyPair;
  readonly image: DiskImage;
  readonly clockFault: ClockFault;
  readonly options: NodeOptions;
  readonly #hashesPerSecond: number;
  readonly #world: World;
  readonly #random: Random;
  #life: Life | undefined;
  #running: Running | undefined;
  #endpoint: Endpoint | undefined;
  #refusal: string | undefined;
  #traps: { trap: Trap; left: number }[] = [];
  #boots = 0;

  constructor(
    index: number,
    options: NodeOptions,
    parts: {
      readonly world: World;
      readonly random: Random;
      readonly clockFault: ClockFault;
      readonly keyPair: KeyPair;
      readonly syncMsMean: number;
      /** Of proof of work. */
      readonly hashesPerSecond: number;
    },
  ) {
    this.#hashesPerSecond = parts.hashesPerSecond;
    this.index = index;
    this.options = options;
    this.#world = parts.world;
    this.#random = parts.random;
    this.clockFault = parts.clockFault;
    this.keyPair = parts.keyPair;
    const { agenda, sometimes } = parts.world;
    this.image = new DiskImage({
      agenda,
      random: parts.random.fork("disk"),
      syncMsMean: parts.syncMsMean,
      onFault: (fault) => sometimes.saw(DISK_FAULTS[fault]),
    });
    this.image.directoryAt(HOME);
    this.image.cut("kept"); // Made by whoever set the machine up, long ago.
  }

  get isUp(): boolean {
    return this.#life !== undefined;
  }

  /** The node when it is open. */
  get running(): Running | undefined {
    return this.#running;
  }

  /** How often it was started. */
  get boots(): number {
    return this.#boots;
  }

  /** The code with which it refused to start or to take part, until an operator acts. */
  get refusal(): string | undefined {
    return this.#refusal;
  }

  /** Starts a process, unless there is one. */
  boot(): void {
    if (this.#life !== undefined) return;
    const life = new Life();
    this.#life = life;
    this.#refusal = undefined;
    this.#boots += 1;
    if (this.#boots > 1) this.#world.sometimes.saw("restarted");
    this.#note("boot");
    this.#open(life).catch((error: unknown) => {
      if (life.isAlive) this.#fail("opening", error);
    });
  }

  /** Ends the process, if there is one; `kill` leaves what the system holds in memory, the others cut the power. */
  end(mode: EndMode): void {
    this.#note(`end ${mode}`);
    const { sometimes } = this.#world;
    if (this.#life !== undefined) {
      this.#life.isAlive = false;
      this.#life = undefined;
      this.#endpoint?.stop();
      this.#endpoint = undefined;
      this.#running = undefined;
      sometimes.saw(mode === "kill" ? "process_killed" : "power_cut");
    }
    this.#traps = [];
    if (mode === "kill") return;
    this.image.cut(mode);
    sometimes.saw(`unsynced_${mode}`);
  }

  pauseUntil(atMs: number): void {
    if (this.#life === undefined) return;
    this.#life.pausedUntilMs = Math.max(this.#life.pausedUntilMs, atMs);
    this.#world.sometimes.saw("process_paused");
  }

  /** Ends pauses. */
  resume(): void {
    if (this.#life !== undefined) this.#life.pausedUntilMs = 0;
  }

  set(trap: Trap): void {
    this.#traps.push({ trap, left: trap.skip });
  }

  /** An operator wipes what is damaged and lets the node join anew; what its key signed stays where it is. */
  rebuild(): void {
    assert(this.#life === undefined, "a node is rebuilt while it runs");
    this.image.wipe(`${HOME}/store`);
    this.image.wipe(WAL_PATH);
    this.#world.sometimes.saw("operator_rebuilt");
    this.#note("rebuild");
  }

  /** An operator goes back to an earlier height by `pyralog rollback`, and starts the node again. */
  async rollback(to: bigint): Promise<void> {
    assert(this.#life === undefined, "a node is rolled back while it runs");
    const { network, signatures, sometimes } = this.#world;
    const life = new Life();
    this.#life = life;
    this.#note("rollback");
    const disk = this.image.mount(life, () => undefined);
    const store = await openSimulatedStore({ disk, path: STORE_PATH });
    const options = { store, network, executor: EXECUTOR, cacheSizeBytes: CACHE_SIZE_BYTES, verify: signatures.verify };
    const ledger = await Ledger.open(options);
    await ledger.rollback(heightOf(to));
    await ledger[Symbol.asyncDispose]();
    if (!life.isAlive) return;
    this.end("kill");
    sometimes.saw("operator_rolled_back");
    this.boot();
  }

  async #open(life: Life): Promise<void> {
    const { agenda, network: file, signatures, wire, observer } = this.#world;
    const { verify, verifyAll } = signatures;
    const random = this.#random.fork(`boot ${this.#boots}`);
    const clock = new SimulatedClock({ agenda, owner: life, fault: this.clockFault });
    const disk = this.image.mount(life, (operation, when) => this.#pass(operation, when));
    const log = this.#log();
    const isNewHome = !(await disk.list(HOME)).includes("wal");
    const store = await openSimulatedStore({ disk, path: STORE_PATH });
    const ledger = await Ledger.open({ store, network: file, executor: EXECUTOR, cacheSizeBytes: CACHE_SIZE_BYTES, verify });
    const isNew = ledger.head().height === 0n && isNewHome;
    const guard = await SignGuard.open({ path: SIGN_STATE_PATH, disk, keyPair: this.keyPair, isNew });
    if (!life.isAlive) return;
    observer.onOpened(this.index, ledger);
    const logged = await disk.read(`${WAL_PATH}/${ledger.head().height + 1n}.log`, WAL_SIZE_BYTES_MAX);
    if (logged !== undefined && logged.length > 0) this.#world.sometimes.saw("history_replayed");

    const self = addressOfKey(this.keyPair.publicKey);
    const endpoint = new Endpoint({
      wire,
      index: this.index,
      life,
      clock,
      random: random.fork("gossip"),
      height: () => ledger.head().height + (this.options.liesAboutHeight ?? 0n),
      onSend: () => this.#pass("send", "before"),
    });
    const mempool = new Mempool();
    const signal = new AbortController().signal; // A process that ends is not asked.
    const intake = new Intake({
      ledger,
      mempool,
      network: endpoint,
      clock,
      verify: verifyAll,
      log,
      metrics: SILENT_METRICS,
      onWork: () => driver.wake(),
    });
    const bodies = new Bodies({
      waiting: (id) => intake.waiting(id),
      sentAgoMs: (transaction) => intake.sentAgoMs(transaction),
      flush: async () => await intake.flush(),
      settled: async () => await intake.settled(),
      network: endpoint,
      log,
      signal,
      onFetched: () => this.#world.sometimes.saw("bodies_fetched"),
    });
    const evidence = new EvidencePool();
    const own = (task: Promise<unknown>): void => {
      task.catch((error: unknown) => {
        if (life.isAlive) this.#fail("running", error);
      });
    };
    const broadcast = async (bytes: Uint8Array, block: Block | undefined): Promise<void> => {
      const sent = block === undefined ? bytes : await bodies.prepare(bytes, block);
      if (sent !== bytes) this.#world.sometimes.saw("proposal_without_bodies");
      await endpoint.gossip("consensus").publish(sent);
    };
    const isWork = file.engine.name === "pow";
    const wal = new WriteAheadLog(WAL_PATH, disk);
    const parts: Parameters<typeof openDriver>[0] & { readonly searcher: Searcher | undefined } = {
      network: file,
      ledger,
      clock,
      verify,
      wal: this.#watched(wal, life),
      guard,
      self,
      broadcast: (bytes, block) => {
        observer.onSaid(this.index, bytes);
        own(broadcast(bytes, block));
      },
      sendTo: (peer, bytes) => {
        observer.onSaid(this.index, bytes);
        direct.send(peer, bytes);
      },
      reap: (limits) => this.#proposable(intake.reap(limits)),
      isVerified: (transaction) => intake.isVerified(transaction),
      evidence: () => evidence.reap((piece) => ledger.admitEvidence(piece)),
      onEvidence: (piece: Evidence) => {
        if (evidence.add(piece)) this.#world.sometimes.saw("evidence_found");
      },
      onDropped: (transaction, refusal) => intake.drop(transaction, refusal),
      hasWork: () => intake.hasWork(),
      onAhead: (peer, height) => synchroniser.hint(peer, height),
      log,
      searcher: isWork
        ? new SimulatedSearcher({ hashesPerSecond: this.#hashesPerSecond, clock, random: random.fork("search") })
        : undefined,
    };
    const driver = openDriver(parts);
    const draws = random.fork("sync");
    const sink = blockSink(ledger, driver);
    const synchroniser = new Synchroniser(
      {},
      {
        network: endpoint,
        sink: {
          ...sink,
          apply: async (block, certificate) => {
            const before = ledger.head().height;
            const applied = await sink.apply(block, certificate);
            if (applied.ok && ledger.head().height > before) this.#world.sometimes.saw("height_by_sync");
            return applied;
          },
        },
        clock,
        draw: () => draws.fraction(),
        log,
        metrics: SILENT_METRICS,
      },
    );
    ledger.onRollback((undone) => {
      intake.onRollback(undone);
      this.#world.sometimes.saw("block_undone");
    });
    ledger.onCommit((commit) => {
      evidence.remove(commit.block.evidence);
      intake.onCommit(commit);
      if (life.isAlive) observer.onCommit(this.index, commit);
    });
    await endpoint.handle(SYNC_PROTOCOL, blockServer(blockSource(ledger), endpoint.limits));
    await endpoint.handle(CATCH_UP_PROTOCOL, catchUpServer(driver));
    const isDeaf = this.options.isDeaf ?? (() => false);
    const receive = async (from: string, bytes: Uint8Array, known?: KnownTransactions): Promise<Delivery> => {
      observer.onHeard(this.index, bytes);
      return isDeaf(bytes) ? "accept" : await driver.receive(from, bytes, known);
    };
    const direct = new DirectChannel({
      network: endpoint,
      driver: () => ({ receive }),
      own: (task) => own(task),
      log,
      signal,
    });
    await endpoint.handle(DIRECT_PROTOCOL, direct.handler);
    await endpoint.handle(BODIES_PROTOCOL, bodies.handler);
    endpoint.onGossip("consensus", async (from, bytes) =>
      bodies.receive(from, bytes, async (whole, known) => receive(from, whole, known)),
    );
    endpoint.onGossip("transactions", async (from, bytes) => await intake.receive(from, bytes));
    this.#endpoint = endpoint;
    this.#running = { ledger, driver, intake, guard };
    endpoint.start();
    own(driver.failed);
    if (!isWork) own(synchroniser.run(signal));
    own(catchUp({ driver, network: endpoint, clock, log, signal }));
    if (isWork) driver.start();
    else own(beginConsensus({ ledger, network: endpoint, synchroniser, guard, driver, wal, self, clock, log, signal }));
  }

  /** Tells checkers what becomes of the log. */
  #watched(wal: WriteAheadLog, life: Life): DriverParts<object>["wal"] {
    let [asked, durable] = [0, 0];
    const told = (event: LogEvent): void => {
      if (life.isAlive) this.#world.observer.onLog(this.index, event);
    };
    const write = async (record: Uint8Array, writing: () => Promise<void>): Promise<void> => {
      asked += 1;
      const number = asked;
      told({ kind: "asked", record });
      await writing();
      if (number > durable) told({ kind: "durable", count: number - durable });
      durable = Math.max(durable, number);
    };
    return {
      start: async (name) => {
        const records = await wal.start(name);
        [asked, durable] = [0, 0];
        told({ kind: "begun", records });
        return records;
      },
      append: async (name, record) => await write(record, async () => await wal.append(name, record)),
      replace: async (name, record) => await write(record, async () => await wal.replace(name, record)),
      [Symbol.asyncDispose]: async () => await wal[Symbol.asyncDispose](),
    };
  }

  /** What it puts into blocks of its own. */
  #proposable(transactions: readonly Transaction[]): readonly Transaction[] {
    if (this.options.censors !== true) return transactions;
    if (transactions.length > 0) this.#world.sometimes.saw("byzantine_censored");
    return [];
  }

  /** The process ends by itself, as `main.ts` would: the machine goes on. */
  #fail(when: "opening" | "running", error: unknown): void {
    const { sometimes, observer } = this.#world;
    this.end("kill");
    this.#note(`failed ${when} ${codeOf(error)}`);
    // The log is read once the node has caught up, and refused then.
    if (when === "opening" || codeOf(error) === "wal_corrupt") this.#refusal = codeOf(error);
    sometimes.saw(when === "opening" ? "start_refused" : "node_failed");
    observer.onFailed(this.index, when, error);
  }

  /** An operation passes: a trap may catch the process at it. */
  #pass(operation: DiskOperation | "send", when: "before" | "after"): void {
    for (const set of this.#traps) {
      if (set.trap.operation !== operation || set.trap.when !== when) continue;
      set.left -= 1;
      if (set.left >= 0) continue;
      this.#traps = this.#traps.filter((other) => other !== set);
      this.#world.sometimes.saw(crashNameOf(operation));
      set.trap.onCaught();
      return;
    }
  }

  #note(what: string): void {
    const { agenda, trace } = this.#world;
    trace.note(agenda.nowMs, this.index, what, new Uint8Array(0));
  }

  /** Counts what a node says that is rare. */
  #log(): Log {
    const { sometimes, observer } = this.#world;
    const hear = (fields: LogFields, message: string): void => {
      if (message === "not signed") sometimes.saw("sign_refused");
      else if (message === "block from the future") sometimes.saw("block_from_future");
      else if (message.startsWith("sitting out")) {
        sometimes.saw("sat_out");
        observer.onSatOut(this.index);
      } else if (fields["code"] === "sign_unknown") sometimes.saw("sat_out_for_good");
      else if (message.startsWith("taking part in the height")) sometimes.saw("sat_out_ended_early");
      const { forkHeight } = fields;
      if (fields["code"] === "pow_split" && typeof forkHeight === "bigint") observer.onSplit(this.index, forkHeight);
      this.#note(`log ${message} ${typeof fields["code"] === "string" ? fields["code"] : ""}`.slice(0, 80));
    };
    const log: Log = { debug: () => undefined, info: hear, warn: hear, error: hear, child: () => log };
    return log;
  }
}

function crashNameOf(operation: DiskOperation | "send") {
  switch (operation) {
    case "send":
      return "crash_at_send";
    case "append":
    case "truncate":
      return "crash_at_write";
    case "sync":
      return "crash_at_sync";
    case "open":
    case "rename":
    case "remove":
    case "syncDirectory":
      return "crash_at_name_change";
  }
}

/** Nobody reads the metrics of a simulated node. */
const SILENT_METRICS: Metrics = {
  contentType: "",
  counter: () => ({ add: () => undefined }),
  gauge: () => ({ set: () => undefined }),
  histogram: () => ({ observe: () => undefined }),
  text: async () => await Promise.resolve(""),
};
