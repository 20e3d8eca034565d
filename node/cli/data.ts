/** `pyralog snapshot` and `pyralog rollback`: work on the data directory of a stopped node. */

import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { SignGuard } from "../driver/guard.ts";
import { SYSTEM_DISK } from "../ports/disk.ts";
import { DIRECTORY_MODE_PRIVATE, syncDirectory } from "../home/files.ts";
import { type Home, readNetworkFile } from "../home/home.ts";
import { NODE_KEY_NAME, openKey } from "../home/keys.ts";
import { snapshotChunks } from "../snapshot/create.ts";
import { readSnapshotFile, writeSnapshotFile } from "../snapshot/file.ts";
import { restoreSnapshot, type Restored } from "../snapshot/restore.ts";
import { encodeNetworkFile } from "../../chain/block/genesis.ts";
import type { Answer } from "./answer.ts";
import type { Command } from "./command.ts";
import { createHome, NEW_HOME_OPTIONS } from "./init.ts";
import type { Invocation } from "./invocation.ts";

const HEIGHT_BOUNDS = { min: 0n, max: (1n << 63n) - 1n };

/** `pyralog snapshot create|restore`. */
export const SNAPSHOT_COMMAND: Command = {
  name: "snapshot",
  summary: "write the state of a stopped node to a file, and start a new node from one",
  examples: [
    "pyralog snapshot create node.snapshot --home ./node1",
    "pyralog snapshot restore node.snapshot --network ./network.json --home ./node5 --generate-passphrase",
  ],
  subcommands: [
    {
      name: "create",
      summary: "one state with its headers, certificates and records, in hashed chunks",
      positionals: ["FILE"],
      options: { height: { kind: "text", value: "H", description: "the state after this height (default: the newest)" } },
      examples: ["pyralog snapshot create node.snapshot --home ./node1 --json"],
      run: createSnapshot,
    },
    {
      name: "restore",
      summary: "make a home from a snapshot, verified against the network file alone",
      detail:
        "A node that was restored has no blocks before the snapshot's height. Never restore a validator's key that may\nhave signed elsewhere: what it signed is in no snapshot.",
      positionals: ["FILE"],
      options: {
        network: {
          kind: "text",
          value: "FILE",
          description: "network file to verify against (default: the home's network.json)",
        },
        ...NEW_HOME_OPTIONS,
      },
      examples: ["pyralog snapshot restore node.snapshot --network ./network.json --home ./node5 --generate-passphrase --json"],
      run: restore,
    },
  ],
};

/** `pyralog rollback`. */
export const ROLLBACK_COMMAND: Command = {
  name: "rollback",
  summary: "take a stopped node back to an earlier height",
  detail:
    "Removes blocks, states and records beyond the height. The record of what the node's key has signed stays as it is:\na validator does not vote again on what it decides anew, and catches up from its peers instead.",
  options: { to: { kind: "text", value: "H", description: "the height to go back to" } },
  examples: ["pyralog rollback --to 100 --home ./node1", "pyralog rollback --to 100 --home ./node1 --json"],
  run: async (invocation) => {
    invocation.requireText("to");
    const to = heightOf(invocation.bigint("to", HEIGHT_BOUNDS) ?? 0n);
    await using ledger = await openLedger(invocation);
    const from = ledger.head().height;
    using progress = invocation.progress("Rolling back");
    await ledger.rollback(to, (height) => progress.update(from - height, from - to));
    const { height, stateRoot } = ledger.head();
    return {
      json: { from, to: height, stateRoot },
      text: `Rolled back from height ${from} to ${height} (state root ${toHex(stateRoot)})`,
    };
  },
};

/** The ledger of a stopped node. Closing it closes its store. */
async function openLedger(invocation: Invocation): Promise<Ledger> {
  const { home } = invocation;
  await home.require();
  await home.requireStopped();
  const network = await home.network();
  const store = await openLevelStore({ path: home.storePath });
  try {
    return await Ledger.open({ store, network, executor: EXECUTOR });
  } catch (error) {
    await store[Symbol.asyncDispose]();
    throw error;
  }
}

async function createSnapshot(invocation: Invocation): Promise<Answer> {
  const path = invocation.positional(0);
  await using ledger = await openLedger(invocation);
  const height: Height = heightOf(invocation.bigint("height", HEIGHT_BOUNDS) ?? ledger.head().height);
  using progress = invocation.progress("Writing chunks");
  const sizeBytes = await writeSnapshotFile(path, snapshotChunks(ledger, height), (count) => progress.update(count, 0));
  const stateRoot = ledger.header(height)?.stateRoot ?? ledger.head().stateRoot;
  return {
    json: { file: path, height, stateRoot, sizeBytes },
    text: `Wrote ${path}: the state after height ${height} (root ${toHex(stateRoot)}), ${sizeBytes} bytes`,
  };
}

async function restore(invocation: Invocation): Promise<Answer> {
  const { home } = invocation;
  const network = await networkOf(invocation, home);
  if (existsSync(home.storePath))
    throw new CodedError("snapshot_data", { field: "--home", message: `${home.path} has data already: restore into a new home` });
  const isNew = !(await home.keyNames(".key")).includes(NODE_KEY_NAME);
  const passphrase = isNew
    ? (await createHome(invocation, home, encodeNetworkFile(network))).passphrase
    : await invocation.passphrase(home);
  const key = await openKey(home, NODE_KEY_NAME, passphrase);
  const restored = await restoreStore(invocation, home, network);
  // A node with blocks must know what its key has signed. This home has never run, so that is nothing.
  await SignGuard.open({ path: home.signStatePath, disk: SYSTEM_DISK, keyPair: key.keyPair, isNew: !existsSync(home.walPath) });
  const { height, stateRoot, headers, stateRows, records } = restored;
  return {
    json: { home: home.path, ...restored },
    text: [
      `Restored ${home.path} at height ${height} (state root ${toHex(stateRoot)})`,
      `  headers     ${headers}, back to the network file`,
      `  state rows  ${stateRows}, all of the state root`,
      `  records     ${records}, all of their partitions`,
      `Next: pyralog start --home ${home.path}`,
    ].join("\n"),
  };
}

/** Restores beside and renames: a store that is there is whole and verified. */
async function restoreStore(
  invocation: Invocation,
  home: Home,
  network: Parameters<typeof restoreSnapshot>[1]["network"],
): Promise<Restored> {
  const beside = `${home.storePath}.restoring`;
  await rm(beside, { recursive: true, force: true });
  await mkdir(beside, { recursive: true, mode: DIRECTORY_MODE_PRIVATE });
  using progress = invocation.progress("Restoring chunks");
  try {
    const restored = await restoreInto(beside, invocation, network, (count) => progress.update(count, 0));
    await rename(beside, home.storePath);
    await syncDirectory(home.dataPath);
    return restored;
  } catch (error) {
    await rm(beside, { recursive: true, force: true });
    throw error;
  }
}

async function restoreInto(
  path: string,
  invocation: Invocation,
  network: Parameters<typeof restoreSnapshot>[1]["network"],
  onChunk: (count: number) => void,
): Promise<Restored> {
  await using store = await openLevelStore({ path });
  return await restoreSnapshot(readSnapshotFile(invocation.positional(0)), {
    store,
    network,
    signal: invocation.signal,
    onChunk,
  });
}

async function networkOf(invocation: Invocation, home: Home): Promise<Parameters<typeof restoreSnapshot>[1]["network"]> {
  const path = invocation.text("network");
  const found = path === undefined ? await home.network() : await readNetworkFile(path);
  if (found === undefined) throw new CodedError("network_missing", { path, field: "--network", message: `${path} is not there` });
  return found;
}
