/** The program as its users run it: a process for each command, and what it says with `--json`, one value a line. */

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { CodedError } from "../../../crypto/base/error.ts";
import { BIN_PATH } from "../network.ts";

/** One answer. */
export type Fields = { readonly [name: string]: unknown };

const COMMAND_TIMEOUT_MS = 300_000;
const OUTPUT_SIZE_BYTES_MAX = 1024 * 1024;

/** See the file's head. */
export class Program {
  readonly #signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** Runs a command and gives the last value that it printed, be it an answer or a refusal. */
  async ask(...argv: readonly string[]): Promise<Fields> {
    return await new Promise((resolve, reject) => {
      execFile(
        process.execPath,
        [BIN_PATH, ...argv, "--json"],
        { signal: this.#signal, timeout: COMMAND_TIMEOUT_MS, maxBuffer: OUTPUT_SIZE_BYTES_MAX },
        (error, stdout) => {
          try {
            resolve(JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "") as Fields);
          } catch {
            // No JSON: it was killed, or broke; the cause is in the error of the process.
            reject(new CodedError("program_output", { message: `${argv.join(" ")}: ${stdout.slice(-200)}` }, { cause: error }));
          }
        },
      );
    });
  }

  /** Runs a command that must work. @throws CodedError `program_refused` with what it said instead */
  async tell(...argv: readonly string[]): Promise<Fields> {
    const answer = await this.ask(...argv);
    if (answer["error"] === undefined) return answer;
    throw new CodedError("program_refused", { message: `pyralog ${argv.join(" ")}: ${JSON.stringify(answer["error"])}` });
  }

  /** The code with which a command is refused; `undefined` when it is not. */
  async refusal(...argv: readonly string[]): Promise<string | undefined> {
    const { error } = await this.ask(...argv);
    return error === undefined ? undefined : String((error as Fields)["code"]);
  }

  /** Starts a command that goes on until it is stopped. */
  start(...argv: readonly string[]): RunningProgram {
    return new RunningProgram(argv, this.#signal);
  }
}

/** A command that goes on, and tells. */
export class RunningProgram implements AsyncDisposable {
  readonly lines: Fields[] = [];
  readonly #argv: readonly string[];
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  #onLine: () => void = () => undefined;

  constructor(argv: readonly string[], signal: AbortSignal) {
    this.#argv = argv;
    const child = spawn(process.execPath, [BIN_PATH, ...argv, "--json"], { signal, stdio: ["ignore", "pipe", "inherit"] });
    this.#child = child;
    const { promise, resolve } = Promise.withResolvers<number | null>();
    this.#ended = promise;
    // Ended by our signal or not started at all: the code tells, and whoever waits for a line is woken.
    child.once("error", () => resolve(null));
    child.once("close", (code) => {
      resolve(code);
      this.#onLine();
    });
    createInterface({ input: child.stdout }).on("line", (line) => {
      this.lines.push(JSON.parse(line) as Fields);
      this.#onLine();
    });
  }

  /** Waits until what it has told suffices. @throws CodedError `program_output` when it ends before, or takes too long */
  async until(suffices: (lines: readonly Fields[]) => boolean): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timeout = setTimeout(resolve, COMMAND_TIMEOUT_MS);
    this.#onLine = () => {
      if (suffices(this.lines) || this.#child.exitCode !== null) resolve();
    };
    this.#onLine();
    await promise;
    clearTimeout(timeout);
    if (!suffices(this.lines))
      throw new CodedError("program_output", { message: `${this.#argv.join(" ")}: ${JSON.stringify(this.lines.at(-1))}` });
  }

  /** Asks it to stop, as Ctrl-C does; the code that it ends with. */
  async stop(): Promise<number | null> {
    this.#child.kill("SIGINT");
    return await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }
}
