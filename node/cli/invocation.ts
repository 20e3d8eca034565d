/** One run of one verb: its arguments, the world around it, and what verbs share in reading them. */

import { homedir } from "node:os";
import { join } from "node:path";
import type { ReadStream, WriteStream } from "node:tty";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import { CodedError } from "../../crypto/base/error.ts";
import type { Environment } from "../config/load.ts";
import { findPassphrase } from "../home/passphrase.ts";
import { Home, readNetworkFile } from "../home/home.ts";
import { usageError, type OptionValues } from "./usage.ts";
import type { Answer } from "./answer.ts";
import { Progress } from "./progress.ts";

/** What stands around a run; the process itself, or a test's own. */
export type Surroundings = {
  readonly environment: Environment;
  readonly stdin: NodeJS.ReadableStream;
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream;
};

/** Where a node answers when nothing says otherwise. */
export const NODE_URL_DEFAULT = "http://127.0.0.1:26680";

/** What a verb's `run` is given. */
export class Invocation {
  readonly values: OptionValues;
  readonly positionals: readonly string[];
  readonly surroundings: Surroundings;
  readonly signal: AbortSignal;
  readonly #emit: (answer: Answer) => void;

  constructor(options: {
    readonly values: OptionValues;
    readonly positionals: readonly string[];
    readonly surroundings: Surroundings;
    readonly signal: AbortSignal;
    readonly emit: (answer: Answer) => void;
  }) {
    this.values = options.values;
    this.positionals = options.positionals;
    this.surroundings = options.surroundings;
    this.signal = options.signal;
    this.#emit = options.emit;
  }

  /** Prints the answer now, for verbs that go on running after it. */
  emit(answer: Answer): void {
    this.#emit(answer);
  }

  get environment(): Environment {
    return this.surroundings.environment;
  }

  /** Whether standard error is a terminal: a person looks on. */
  get isTerminal(): boolean {
    return (this.surroundings.stderr as WriteStream).isTTY === true;
  }

  /** The positional at `index`; the table has made sure that the needed ones are there. */
  positional(index: number): string {
    const value = this.positionals[index];
    if (value === undefined) throw usageError("usage_missing_argument", `argument ${index + 1} is missing`);
    return value;
  }

  flag(name: string): boolean {
    return this.values[name] === true;
  }

  text(name: string): string | undefined {
    const value = this.values[name];
    return typeof value === "string" ? value : undefined;
  }

  requireText(name: string): string {
    const value = this.text(name);
    if (value === undefined) throw usageError("usage_missing_option", `--${name} is missing`, { field: `--${name}` });
    return value;
  }

  texts(name: string): readonly string[] {
    const value = this.values[name];
    return Array.isArray(value) ? (value as readonly string[]) : [];
  }

  /** A whole number within bounds, or `undefined` when the option is absent. */
  integer(name: string, bounds: { readonly min: number; readonly max: number }): number | undefined {
    const value = this.bigint(name, { min: BigInt(bounds.min), max: BigInt(bounds.max) });
    return value === undefined ? undefined : Number(value);
  }

  bigint(name: string, bounds: { readonly min: bigint; readonly max: bigint }): bigint | undefined {
    const text = this.text(name);
    return text === undefined ? undefined : parseNumber(text, `--${name}`, bounds);
  }

  /** The home of `--home`, `$PYRALOG_HOME` or the user's own directory. */
  get home(): Home {
    const chosen = this.text("home") ?? this.environment["PYRALOG_HOME"];
    return new Home(chosen === undefined || chosen === "" ? join(homedir(), ".pyralog") : chosen);
  }

  /** The network file of `--network` or of the home. */
  async network(): Promise<NetworkFile> {
    const path = this.text("network");
    if (path === undefined) return this.home.network();
    const found = await readNetworkFile(path);
    if (found === undefined)
      throw new CodedError("network_missing", { path, field: "--network", message: `${path} is not there` });
    return found;
  }

  /** The URL of `--node`, of the node that runs in the home, or the default. */
  async nodeUrl(): Promise<string> {
    const chosen = this.text("node");
    if (chosen !== undefined) {
      if (!URL.canParse(chosen) || !/^(https?|wss?):$/.test(new URL(chosen).protocol)) {
        throw usageError("usage_option_value", `--node must be an http or ws URL, not ${chosen}`, { field: "--node" });
      }
      return chosen;
    }
    const state = await this.home.runState();
    if (state.kind === "running") return state.run.rpcUrl;
    const { nodeUrl } = (await this.home.config(this.environment)).client;
    return nodeUrl === "" ? NODE_URL_DEFAULT : nodeUrl;
  }

  /** The passphrase of the home's keys. With `confirm`, one that is typed is typed twice. */
  async passphrase(home: Home, options: { readonly confirm?: boolean } = {}): Promise<string> {
    const config = await home.config(this.environment);
    const { stdin, stderr } = this.surroundings;
    const canAsk = this.isTerminal && (stdin as ReadStream).isTTY === true;
    return findPassphrase(
      {
        file: this.text("passphrase-file"),
        variable: this.environment["PYRALOG_PASSPHRASE"],
        configuredFile: home.configuredPassphraseFile(config),
        terminal: canAsk ? { input: stdin as ReadStream, output: stderr } : undefined,
        prompt: `Passphrase of ${home.path}`,
        ...options,
      },
      this.signal,
    );
  }

  /** A progress line on standard error; silent when that is not a terminal. */
  progress(title: string): Progress {
    return new Progress(title, this.surroundings.stderr);
  }
}

/** A whole number within bounds, for options and positionals. */
export function parseNumber(text: string, field: string, bounds: { readonly min: bigint; readonly max: bigint }): bigint {
  const value = /^-?\d{1,30}$/.test(text) ? BigInt(text) : undefined;
  if (value === undefined || value < bounds.min || value > bounds.max) {
    throw usageError("usage_option_value", `${field} must be a whole number from ${bounds.min} to ${bounds.max}, not ${text}`, {
      field,
    });
  }
  return value;
}
