/**
 * Another database as processes on this machine, so that it can be given the load that ours is given. A program is looked
 * for on PATH; nothing is downloaded.
 *
 * Processes are killed when their cluster is disposed of, and also when this process dies in whatever way: a shell waits
 * for the end of a pipe that only we hold, and then kills them.
 */

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { accessSync, closeSync, constants, openSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { assert, present } from "../../crypto/base/assert.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { sleep } from "../launcher/network.ts";
import type { LoadItem, LoadTarget } from "./load.ts";

/** A database that we measure ourselves against. */
export type Peer = {
  readonly name: string;
  readonly members: number;
  /** Names under which its program may be on PATH. */
  readonly programs: readonly string[];
  /** How it is set up where that is not its default, for people. */
  readonly settings: string;
  /** What our nodes check with a put and it does not, for people. */
  readonly unchecked: string;
  readonly version: (program: string, signal: AbortSignal) => Promise<string>;
  /** Puts of so many bytes, distinct ones for each lane and position. */
  readonly item: (lane: number, index: number, valueSizeBytes: number) => LoadItem;
  readonly start: (options: PeerStart) => Promise<Cluster>;
};

/** Where a cluster lives. */
export type PeerStart = {
  readonly program: string;
  readonly directory: string;
  readonly basePort: number;
  readonly signal: AbortSignal;
};

/** One that runs and takes load. */
export type Cluster = AsyncDisposable & { readonly target: LoadTarget };

const POLL_INTERVAL_MS = 50;
const START_TIMEOUT_MS = 60_000;
const LOG_TAIL_LINES = 20;
const OUTPUT_SIZE_BYTES_MAX = 1024 * 1024;

/** The first of the programs that PATH has; `undefined` when it has none. */
export function findProgram(names: readonly string[], path: string = process.env["PATH"] ?? ""): string | undefined {
  const files = names.flatMap((name) => path.split(delimiter).map((directory) => join(directory, name)));
  return files.find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return statSync(file).isFile();
    } catch (error) {
      // Not there, or not ours to run: looked for further on.
      if (["ENOENT", "EACCES", "ENOTDIR"].includes(codeOf(error))) return false;
      throw error;
    }
  });
}

/**
 * Runs a program to its end.
 *
 * @returns what it wrote to standard output, trimmed
 * @throws CodedError `peer_failed`
 */
export async function runProgram(program: string, argv: readonly string[], signal: AbortSignal): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(program, [...argv], { signal, maxBuffer: OUTPUT_SIZE_BYTES_MAX });
    return stdout.trim();
  } catch (cause) {
    throw new CodedError("peer_failed", { message: `${program} ${argv.join(" ")}: ${String(cause)}` }, { cause });
  }
}

type Member = { readonly child: ChildProcess; readonly exited: Promise<void>; readonly logPath: string };

/** The processes of one cluster. */
export class PeerProcesses implements AsyncDisposable {
  readonly #members: Member[] = [];
  #watcher: ChildProcess | undefined;

  /** Starts a process, whose output goes to a file. */
  start(program: string, argv: readonly string[], logPath: string): void {
    const log = openSync(logPath, "a", 0o600);
    try {
      const child = spawn(program, [...argv], { stdio: ["ignore", log, log] });
      const { promise, resolve } = Promise.withResolvers<void>();
      child.once("exit", () => resolve());
      child.once("error", () => resolve());
      this.#members.push({ child, exited: promise, logPath });
    } finally {
      closeSync(log);
    }
  }

  /** Has them killed if this process dies. Call it once all are started. */
  watch(): void {
    assert(this.#watcher === undefined, "watched already");
    const pids = this.#members.map(({ child }) => `${present(child.pid, "pid")}`);
    this.#watcher = spawn("sh", ["-c", 'read -r _; kill -KILL "$@"', "sh", ...pids], {
      stdio: ["pipe", "ignore", "ignore"],
      detached: true,
    });
    this.#watcher.unref();
  }

  /**
   * Waits until a question is answered with yes.
   *
   * @throws CodedError `peer_failed` when a process ends meanwhile, `peer_timeout`
   */
  async waitUntil(isReady: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
    const endMs = performance.now() + START_TIMEOUT_MS;
    while (!(await isReady())) {
      const gone = this.#members.find(({ child }) => child.exitCode !== null || child.signalCode !== null);
      if (gone !== undefined) throw new CodedError("peer_failed", { message: await logTail(gone.logPath) });
      if (performance.now() > endMs) {
        const tails = await Promise.all(this.#members.map(async ({ logPath }) => await logTail(logPath)));
        throw new CodedError("peer_timeout", { message: tails.join("\n") });
      }
      await sleep(POLL_INTERVAL_MS, signal);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The watcher first: a number that is free again may be another process's.
    this.#watcher?.kill("SIGKILL");
    for (const { child } of this.#members) child.kill("SIGKILL");
    await Promise.all(this.#members.map(async ({ exited }) => await exited));
  }
}

/** JSON from an address; `undefined` while nobody answers there, or not with success. */
export async function fetchJson(url: string, signal: AbortSignal): Promise<unknown> {
  try {
    const response = await fetch(url, { signal });
    const text = await response.text();
    return response.ok ? JSON.parse(text) : undefined;
  } catch (error) {
    signal.throwIfAborted();
    // fetch says so, whatever the reason, when the address does not answer.
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

async function logTail(path: string): Promise<string> {
  const text = await readFile(path, "utf8");
  return `${path}:\n${text.trimEnd().split("\n").slice(-LOG_TAIL_LINES).join("\n")}`;
}
