/**
 * A whole network on this machine: one real process a node, started, killed, started again and stopped.
 *
 * A child's standard input is a pipe that only this process holds: when we go, in whatever way, it ends, and the child
 * stops in order. Children are in process groups of their own, so that Ctrl-C reaches them through us alone.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { assert, present } from "../../crypto/base/assert.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import { Home } from "../../node/home/home.ts";
import {
  createLocalHomes,
  type LocalHomes,
  type Manifest,
  openLocalHomes,
  PORTS_COUNT,
  portsOf,
} from "../../node/home/manifest.ts";
import { PyralogClient } from "../../node/rpc/client.ts";

/** The program as users run it. */
export const BIN_PATH: string = fileURLToPath(new URL("../../node/bin.mjs", import.meta.url));

/** A node that was asked to stop and has not by then is killed. */
const STOP_TIMEOUT_MS = 15_000;
const POLL_INTERVAL_MS = 50;
/** A node that has not answered by then does not answer yet, for whoever asks it again in a moment. */
const ANSWER_TIMEOUT_MS = 2_000;
/** For whoever asks once. */
const PATIENCE_MS = 60_000;
/** Why a node does not prove a height, and may in a moment. */
const NOT_YET: ReadonlySet<string> = new Set([
  "rpc_unreachable",
  "rpc_timeout",
  "rpc_answer",
  "height_none",
  "stale_head",
  "work_less",
  "headers_unknown",
  "block_undone",
]);
/** What of a dead node's log is shown. */
const LOG_TAIL_LINES = 20;

/** One node of the network: its home, where it answers, and its process while it has one. */
export class LocalNode {
  readonly name: string;
  readonly home: Home;
  readonly rpcUrl: string;
  readonly client: PyralogClient;
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #isReady = false;

  constructor(options: { readonly name: string; readonly home: Home; readonly rpcUrl: string; readonly network: NetworkFile }) {
    this.name = options.name;
    this.home = options.home;
    this.rpcUrl = options.rpcUrl;
    this.client = new PyralogClient({ url: options.rpcUrl, network: options.network });
  }

  get isRunning(): boolean {
    return this.#child !== undefined;
  }

  /** Whether it runs, and has been waited for since it was started. */
  get isReady(): boolean {
    return this.isRunning && this.#isReady;
  }

  /** Resolves when the process that runs now is gone. */
  get exited(): Promise<void> {
    return this.#exited;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Where the node writes its log, appended over restarts. */
  get logPath(): string {
    return join(this.home.path, "node.log");
  }

  /** Starts the process: `start`, or the arguments given (`join`). Does not wait for it to answer. */
  start(argv: readonly string[] = ["start", "--home", this.home.path]): void {
    assert(this.#child === undefined, `${this.name} runs already`);
    this.#isReady = false;
    const log = openSync(this.logPath, "a", 0o600);
    try {
      const child = spawn(process.execPath, [BIN_PATH, ...argv, "--stop-with-stdin"], {
        stdio: ["pipe", log, log],
        detached: true,
      });
      this.#child = child;
      const exited = Promise.withResolvers<void>();
      this.#exited = exited.promise;
      const onGone = (): void => {
        if (this.#child === child) this.#child = undefined;
        exited.resolve();
      };
      child.once("exit", onGone);
      child.once("error", onGone);
      // A pipe whose reader is gone is what a killed child leaves.
      child.stdin?.on("error", () => undefined);
    } finally {
      closeSync(log);
    }
  }

  /** Sends a signal and waits until the process is gone. */
  async kill(signal: NodeJS.Signals): Promise<void> {
    this.#child?.kill(signal);
    await this.#exited;
  }

  /** Stops in order; kills when that takes too long. Resolves once the process is gone. */
  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    child.kill("SIGTERM");
    const timeout = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    try {
      await this.#exited;
    } finally {
      clearTimeout(timeout);
    }
  }

  /**
   * Waits until the node proves a head of at least `height`.
   *
   * @throws CodedError `node_exited` with the end of its log when it dies meanwhile, `node_timeout`
   */
  async waitForHeight(height: bigint, options: { readonly timeoutMs: number; readonly signal: AbortSignal }): Promise<void> {
    const endMs = performance.now() + options.timeoutMs;
    for (;;) {
      options.signal.throwIfAborted();
      if (!this.isRunning)
        throw new CodedError("node_exited", { node: this.name, message: `${this.name} has exited:\n${await this.logTail()}` });
      if ((await this.height(options.signal)) >= height) {
        this.#isReady = true;
        return;
      }
      if (performance.now() > endMs)
        throw new CodedError("node_timeout", {
          node: this.name,
          message: `${this.name} is not at height ${height} after ${options.timeoutMs} ms:\n${await this.logTail()}`,
        });
      await sleep(POLL_INTERVAL_MS, options.signal);
    }
  }

  /**
   * The height that it proves now, from a state of its own; 0 when it does not answer yet, answers through its peers
   * because it is joining, or is behind where it was (a rollback, a power cut, on the way to another chain of work).
   */
  async height(signal: AbortSignal, timeoutMs = ANSWER_TIMEOUT_MS): Promise<bigint> {
    try {
      const status = await this.client.claimedNodeStatus({ signal, timeoutMs });
      if (status.joining !== undefined) return 0n;
      return (await this.client.head({ signal, timeoutMs })).value.height;
    } catch (error) {
      if (NOT_YET.has(codeOf(error))) return 0n;
      throw error;
    }
  }

  async logTail(): Promise<string> {
    const text = await readFile(this.logPath, "utf8").catch((error: unknown) => `(no log: ${codeOf(error)})`);
    return text.trimEnd().split("\n").slice(-LOG_TAIL_LINES).join("\n");
  }
}

/** See the file's head. */
export class LocalNetwork implements AsyncDisposable {
  readonly homes: LocalHomes;
  /** The validators in the manifest's order, then whoever joined. */
  readonly nodes: LocalNode[];
  /** The command lines of those who joined. */
  readonly #joined = new Map<LocalNode, readonly string[]>();
  readonly #directory: string;
  readonly #isNew: boolean;
  readonly #signal: AbortSignal;

  private constructor(options: {
    readonly directory: string;
    readonly homes: LocalHomes;
    readonly isNew: boolean;
    readonly signal: AbortSignal;
  }) {
    const { directory, homes, isNew, signal } = options;
    this.#directory = directory;
    this.homes = homes;
    this.#isNew = isNew;
    this.#signal = signal;
    this.nodes = homes.validators.map(({ name, home, rpcUrl }) => new LocalNode({ name, home, rpcUrl, network: homes.network }));
  }

  /** The network of a directory: the one that is there, or a new one. Starts nothing. */
  static async open(options: {
    readonly directory: string;
    readonly manifest: Manifest;
    readonly basePort: number;
    readonly signal: AbortSignal;
    /** Of accounts by name; see `createLocalHomes`. */
    readonly seeds?: ReadonlyMap<string, Uint8Array>;
  }): Promise<LocalNetwork> {
    const { directory, manifest, basePort, signal, seeds = new Map() } = options;
    const existing = await openLocalHomes(directory);
    const homes =
      existing ?? (await createLocalHomes({ directory, manifest, basePort, seeds, genesisTimeMs: BigInt(Date.now()) }));
    return new LocalNetwork({ directory, homes, isNew: existing === undefined, signal });
  }

  get network(): NetworkFile {
    return this.homes.network;
  }

  /** Starts every node and waits until each proves a block that was not there before: they finalise. */
  async start(options: { readonly timeoutMs: number }): Promise<void> {
    for (const node of this.nodes) node.start();
    const waiting = { ...options, signal: this.#signal };
    await Promise.all(this.nodes.map((node) => node.waitForHeight(1n, waiting)));
    if (this.#isNew) return;
    const highest = await this.highest();
    await Promise.all(this.nodes.map((node) => node.waitForHeight(highest + 1n, waiting)));
  }

  /** The node at a position. */
  node(index: number): LocalNode {
    return present(this.nodes[index], `node ${index}`);
  }

  /** The greatest height that any node which is ready proves. */
  async highest(): Promise<bigint> {
    const ready = this.nodes.filter(({ isReady }) => isReady);
    const heights = await Promise.all(ready.map((node) => node.height(this.#signal, PATIENCE_MS)));
    return heights.reduce((most, height) => (height > most ? height : most), 0n);
  }

  /** Sends a signal to one node and waits until its process is gone. */
  async kill(index: number, signal: NodeJS.Signals): Promise<void> {
    await this.node(index).kill(signal);
  }

  /** Starts a node that was killed or stopped. */
  restart(index: number): void {
    this.node(index).start();
  }

  /** A further node joins by the network file alone, as a stranger would. Does not wait for it. */
  async join(name: string, options: readonly string[] = []): Promise<LocalNode> {
    const ports = portsOf(this.homes.basePort, this.nodes.length);
    const home = new Home(join(this.#directory, name));
    // The log is there before `join` makes the home around it.
    await home.create();
    const node = new LocalNode({ name, home, rpcUrl: `http://127.0.0.1:${ports.rpc}`, network: this.network });
    this.nodes.push(node);
    const argv = ["join", this.homes.networkPath, "--home", home.path, "--generate-passphrase"];
    this.#joined.set(node, [...argv, "--p2p-port", `${ports.p2p}`, "--rpc-port", `${ports.rpc}`, ...options]);
    this.joinAgain(node);
    return node;
  }

  /** Starts a node that `join` made with the same command line, after it was killed. */
  joinAgain(node: LocalNode): void {
    node.start(present(this.#joined.get(node), `command line of ${node.name}`));
  }

  /** Stops every node. Afterwards none of them has a process. */
  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** Blocks of ports that this process has taken, each with what keeps the others away from it: until we end, nobody else is given it. */
const TAKEN = new Map<number, Server>();

/**
 * A base port whose whole block is free just now, below the range that the system hands out for outgoing connections.
 * The block is this process's own until it ends: its last port, which no node takes, is held.
 *
 * @throws CodedError `ports_taken` when there is none
 */
export async function freeBasePort(): Promise<number> {
  const first = 20_000 + (process.pid % 40) * PORTS_COUNT;
  for (let attempt = 0; attempt < 40; attempt += 1) {
    const base = 20_000 + ((first - 20_000 + attempt * PORTS_COUNT) % (40 * PORTS_COUNT));
    const wanted = [0, 1, 2, 3, 4].flatMap((index) => Object.values(portsOf(base, index)));
    const free = await Promise.all(wanted.map(isFree));
    if (free.every(Boolean) && (await take(base))) return base;
  }
  throw new CodedError("ports_taken", { message: "no free block of ports; name one with --port" });
}

/** Whether a block is ours from now on, or was before: another process may have found it free at the same moment. */
async function take(base: number): Promise<boolean> {
  if (TAKEN.has(base)) return true;
  const guard = await listenOn(base + PORTS_COUNT - 1);
  if (guard === undefined) return false;
  TAKEN.set(base, guard.unref());
  return true;
}

async function isFree(port: number): Promise<boolean> {
  const server = await listenOn(port);
  if (server === undefined) return false;
  await new Promise((resolve) => server.close(resolve));
  return true;
}

/** A server of a port, or `undefined` where the port is taken. */
function listenOn(port: number): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(undefined));
    server.listen({ port, host: "127.0.0.1" }, () => resolve(server));
  });
}

/** Waits, and ends early with the signal's reason. */
export async function sleep(durationMs: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { promise, resolve } = Promise.withResolvers<void>();
  const timeout = setTimeout(resolve, durationMs);
  const onAbort = (): void => resolve();
  signal.addEventListener("abort", onAbort, { once: true });
  await promise;
  clearTimeout(timeout);
  signal.removeEventListener("abort", onAbort);
  signal.throwIfAborted();
}
