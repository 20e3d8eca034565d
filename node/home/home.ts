/**
 * A home: the directory that one node or one user owns, and the only place that knows what is where in it.
 *
 * ```
 *   config.toml           settings; every key optional
 *   network.json          the network joined: genesis, parameters, where to meet it
 *   passphrase            only in homes made by `testnet init` or `init --generate-passphrase`
 *   keys/node.key         sealed; the node's identity, and its validator key when it is in the set
 *   keys/<name>.key       sealed; accounts
 *   keys/<name>.policy    multisig policies, which hold no secret
 *   data/store            the database
 *   data/snapshots        chunks of its newest snapshots, for peers, and of one that it joins from
 *   data/wal              the write-ahead log of consensus
 *   data/obelisk          counters and ids (node/obelisk); a copy of it is another one
 *   data/recordlog        SHA-256 logs of partitions, for receipts in foreign formats (node/recordlog); there once one was asked for
 *   data/sign-state       what this validator has signed; never copy it back from an older day
 *   data/scrub.json       how far the store was read through for damage
 *   run.json              where the running node answers
 * ```
 *
 * Every file is replaced in one step; directories are 0700 and files 0600.
 */

import { chmod, mkdir, readdir, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { parseNetworkFile, type NetworkError, type NetworkFile } from "../../chain/block/genesis.ts";
import { NETWORK_FILE_SIZE_BYTES_MAX } from "../../chain/block/limits.ts";
import { parseUtf8 } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { CONFIG_SIZE_BYTES_MAX, parseConfig, type Environment } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { DIRECTORY_MODE_PRIVATE, placeFile, readFileBounded, syncDirectory } from "./files.ts";
import { readRunFile, removeRunFile, writeRunFile, type RunFile, type RunState } from "./run.ts";

/** A directory with the shape above. Constructing it touches nothing. */
export class Home {
  readonly path: string;

  /** @param path - absolute or relative to the working directory */
  constructor(path: string) {
    this.path = resolve(path);
  }

  get configPath(): string {
    return join(this.path, "config.toml");
  }

  get networkPath(): string {
    return join(this.path, "network.json");
  }

  get passphrasePath(): string {
    return join(this.path, "passphrase");
  }

  get keysPath(): string {
    return join(this.path, "keys");
  }

  get dataPath(): string {
    return join(this.path, "data");
  }

  get storePath(): string {
    return join(this.dataPath, "store");
  }

  get snapshotsPath(): string {
    return join(this.dataPath, "snapshots");
  }

  get walPath(): string {
    return join(this.dataPath, "wal");
  }

  get obeliskPath(): string {
    return join(this.dataPath, "obelisk");
  }

  get recordLogPath(): string {
    return join(this.dataPath, "recordlog");
  }

  get signStatePath(): string {
    return join(this.dataPath, "sign-state");
  }

  get scrubPath(): string {
    return join(this.dataPath, "scrub.json");
  }

  get runPath(): string {
    return join(this.path, "run.json");
  }

  /** Makes the directories that are missing, and closes those that are there to everybody else. */
  async create(): Promise<void> {
    await mkdir(dirname(this.path), { recursive: true });
    for (const path of [this.path, this.keysPath, this.dataPath]) {
      await mkdir(path, { recursive: true, mode: DIRECTORY_MODE_PRIVATE });
      await chmod(path, DIRECTORY_MODE_PRIVATE);
      await syncDirectory(dirname(path));
    }
  }

  /** Whether somebody has made a home here: it has a `keys` directory. */
  async exists(): Promise<boolean> {
    return isDirectory(this.keysPath);
  }

  /** Throws `home_missing`, which tells what to run, unless the home is there. */
  async require(): Promise<void> {
    if (!(await this.exists())) {
      throw new CodedError("home_missing", {
        path: this.path,
        message: `${this.path} is not a home; run: pyralog init --home ${this.path}`,
      });
    }
  }

  /**
   * The configuration, with the environment laid over it. A missing file is an empty one.
   *
   * @throws CodedError with the code and the fields of a `ConfigError`
   */
  async config(environment: Environment): Promise<Config> {
    const bytes = await readFileBounded(this.configPath, CONFIG_SIZE_BYTES_MAX);
    const parsed = parseConfig(bytes ?? new Uint8Array(0), environment);
    if (!parsed.ok) throw new CodedError(parsed.error.code, { ...parsed.error, path: this.configPath });
    return parsed.value;
  }

  /** Writes `config.toml`. */
  async writeConfig(text: string): Promise<void> {
    await placeFile(this.configPath, text);
  }

  /**
   * The network that this home has joined.
   *
   * @throws CodedError `network_missing`, or the code of `parseNetworkFile`
   */
  async network(): Promise<NetworkFile> {
    const found = await readNetworkFile(this.networkPath);
    if (found === undefined) {
      throw new CodedError("network_missing", {
        path: this.networkPath,
        message: `${this.path} has joined no network; run: pyralog join NETWORK.json --home ${this.path}`,
      });
    }
    return found;
  }

  /** Whether the home has joined a network. */
  async hasNetwork(): Promise<boolean> {
    return (await readFileBounded(this.networkPath, NETWORK_FILE_SIZE_BYTES_MAX)) !== undefined;
  }

  /** Writes `network.json`; `text` must be the encoding of a network file. */
  async writeNetwork(text: string): Promise<void> {
    await placeFile(this.networkPath, text);
  }

  /** The path of the configured passphrase file, relative to the home; `undefined` when none is configured. */
  configuredPassphraseFile(config: Config): string | undefined {
    return config.keys.passphraseFile === "" ? undefined : resolve(this.path, config.keys.passphraseFile);
  }

  /** The path of the configured log file, relative to the home; `undefined` when lines go to standard error. */
  configuredLogFile(config: Config): string | undefined {
    return config.log.file === "" ? undefined : resolve(this.path, config.log.file);
  }

  /** What the run file says. */
  async runState(): Promise<RunState> {
    return readRunFile(this.runPath);
  }

  /** Says where this process's node answers. */
  async writeRun(run: Pick<RunFile, "startedAtMs" | "rpcUrl" | "peerId" | "listen">): Promise<void> {
    await writeRunFile(this.runPath, run);
  }

  /** Takes it back. */
  async removeRun(): Promise<void> {
    await removeRunFile(this.runPath);
  }

  /**
   * Throws `node_running` when a node runs in this home: what follows needs the data directory to itself.
   */
  async requireStopped(): Promise<void> {
    const state = await this.runState();
    if (state.kind === "running") {
      throw new CodedError("node_running", {
        pid: state.run.pid,
        message: `a node runs in ${this.path} (pid ${state.run.pid}); stop it first`,
      });
    }
  }

  /** File names in `keys/` with this ending, without it, sorted. */
  async keyNames(ending: string): Promise<readonly string[]> {
    try {
      const names = await readdir(this.keysPath);
      return names
        .filter((name) => !name.startsWith(".") && name.endsWith(ending))
        .map((name) => name.slice(0, -ending.length))
        .toSorted();
    } catch (error) {
      if (codeOf(error) === "ENOENT") return [];
      throw new CodedError("file_io", { path: this.keysPath, message: `cannot list ${this.keysPath}` }, { cause: error });
    }
  }
}

/**
 * Reads and checks a network file; `undefined` when there is none.
 *
 * @throws CodedError with the code of `parseNetworkFile`
 */
export async function readNetworkFile(path: string): Promise<NetworkFile | undefined> {
  const bytes = await readFileBounded(path, NETWORK_FILE_SIZE_BYTES_MAX);
  if (bytes === undefined) return undefined;
  const text = parseUtf8(bytes);
  if (!text.ok) throw new CodedError("network_json", { path, message: `${path} is not UTF-8` });
  const parsed = parseNetworkFile(text.value);
  if (!parsed.ok)
    throw new CodedError(parsed.error.code, {
      ...parsed.error,
      path,
      message: `${path} ${NETWORK_MESSAGES[parsed.error.code]}${atField(parsed.error)}`,
    });
  return parsed.value;
}

const NETWORK_MESSAGES = {
  network_size: "is larger than a network file may be",
  network_json: "is not JSON",
  network_invalid: "is not a network file: a field is missing, unknown or out of range",
  network_not_canonical: "says a valid thing in another way than network files do; it was edited",
  network_hash: "has another hash than the one it states; it was changed",
} as const satisfies Record<NetworkError["code"], string>;

function atField({ field, reason }: NetworkError): string {
  if (field === "") return "";
  return reason === undefined ? ` (${field})` : ` (${field}: ${reason})`;
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return false;
    throw new CodedError("file_io", { path, message: `cannot inspect ${path}` }, { cause: error });
  }
}
