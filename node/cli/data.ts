/** `pyralog snapshot` and `pyralog rollback`: work on the data directory of a stopped node. */

import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { SignGuard } from "../driver/guard.ts";
import { SYSTEM_DISK } from "../ports/disk.ts";
import { type Home, readNetworkFile } from "../home/home.ts";
import { NODE_KEY_NAME, openKey } from "../home/keys.ts";
import { settleStore } from "../scrub/repair.ts";
import { installSnapshot, sourceOf } from "../snapshot/install.ts";
import { makeSnapshot } from "../snapshot/make.ts";
import { Shelf } from "../snapshot/shelf.ts";
import { encodeNetworkFile, type NetworkFile } from "../../chain/block/genesis.ts";
import type { Answer } from "./answer.ts";
import type { Command } from "./command.ts";
import { createHome, NEW_HOME_OPTIONS } from "./init.ts";
import type { Invocation } from "./invocation.ts";

const HEIGHT_BOUNDS = { min: 0n, max: (1n << 63n) - 1n };

/** `pyralog snapshot create|list|restore`. */
export const SNAPSHOT_COMMAND: Command = {
  name: "snapshot",
  summary: "back up the state of a stopped node into a directory of chunks, and start a new node from one",
  examples: [
    "pyralog snapshot create ./backup --home ./node1",
    "pyralog snapshot restore ./backup --network ./network.json --home ./node5 --generate-passphrase",
  ],
  subcommands: [
    {
      name: "create",
      summary: "one state with its headers, certificates and records, in chunks named by their hashes",
      detail:
        "Chunks that the directory has already are not written again. A running node makes the same of itself, in\ndata/snapshots of its home: that directory can be copied at any time, and restored from.",
      positionals: ["DIR"],
      options: { height: { kind: "text", value: "H", description: "the state after this height (default: the newest)" } },
      examples: ["pyralog snapshot create ./backup --home ./node1 --json"],
      run: createSnapshot,
    },
    {
      name: "list",
      summary: "the snapshots of a directory",
      positionals: ["DIR"],
      examples: ["pyralog snapshot list ./node1/data/snapshots --json"],
      run: listSnapshots,
    },
    {
      name: "restore",
      summary: "make a home from a snapshot, verified against the network file alone",
      detail:
        "Broken off, it goes on where it was when it is run again. A node that was restored has no blocks before the\nsnapshot's height. Never restore a validator's key that may have signed elsewhere: what it signed is in no snapshot.",
      positionals: ["DIR"],
      options: {
        height: { kind: "text", value: "H", description: "the snapshot of this height (default: the newest in the directory)" },
        network: {
          kind: "text",
          value: "FILE",
          description: "network file to verify against (default: the home's network.json)",
        },
        ...NEW_HOME_OPTIONS,
      },
      examples: ["pyralog snapshot restore ./backup --network ./network.json --home ./node5 --generate-passphrase --json"],
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
  await settleStore(home.storePath);
  const store = await openLevelStore({ path: home.storePath });
  try {
    return await Ledger.open({ store, network, executor: EXECUTOR });
  } catch (error) {
    await store[Symbol.asyncDispose]();
    throw error;
  }
}

async function createSnapshot(invocation: Invocation): Promise<Answer> {
  const path = resolve(invocation.positional(0));
  await using ledger = await openLedger(invocation);
  const height: Height = heightOf(invocation.bigint("height", HEIGHT_BOUNDS) ?? ledger.head().height);
  using progress = invocation.progress("Writing chunks");
  const shelf = await Shelf.open(path, SYSTEM_DISK);
  const { root, index } = await makeSnapshot(ledger, height, {
    shelf,
    signal: invocation.signal,
    onChunk: (count) => progress.update(count, 0),
  });
  const stateRoot = ledger.header(height)?.stateRoot ?? ledger.head().stateRoot;
  const { chunks, sizeBytes } = index;
  return {
    json: { directory: path, height, root, stateRoot, chunks, sizeBytes },
    text: `Wrote ${path}: the state after height ${height} (root ${toHex(stateRoot)}), ${chunks} chunks of ${sizeBytes} bytes`,
  };
}

async function listSnapshots(invocation: Invocation): Promise<Answer> {
  const shelf = await openShelf(resolve(invocation.positional(0)));
  const snapshots = shelf.snapshots().map(({ root, index: { chainId, height, chunks, sizeBytes } }) => ({
    height,
    root,
    chainId,
    chunks,
    sizeBytes,
  }));
  const lines = snapshots.map(
    ({ height, root, chainId, chunks, sizeBytes }) =>
      `${height}  ${toHex(root)}  ${chainId}  ${chunks} chunks, ${sizeBytes} bytes`,
  );
  return { json: { snapshots }, text: lines.length === 0 ? "No whole snapshot here" : lines.join("\n") };
}

/** The shelf of a directory that must be there. @throws CodedError `snapshot_missing` */
export async function openShelf(path: string): Promise<Shelf> {
  if (!existsSync(join(path, "chunks")))
    throw new CodedError("snapshot_missing", { path, field: "DIR", message: `${path} is no directory of chunks` });
  return await Shelf.open(path, SYSTEM_DISK);
}

async function restore(invocation: Invocation): Promise<Answer> {
  const { home } = invocation;
  const network = await networkOf(invocation, home);
  await settleStore(home.storePath);
  if (existsSync(home.storePath))
    throw new CodedError("snapshot_data", { field: "--home", message: `${home.path} has data already: restore into a new home` });
  const shelf = await openShelf(resolve(invocation.positional(0)));
  const wanted = invocation.bigint("height", HEIGHT_BOUNDS);
  const shelved = shelf.snapshots().find(({ index }) => wanted === undefined || index.height === wanted);
  if (shelved === undefined)
    throw new CodedError("snapshot_missing", { field: "DIR", message: "there is no such snapshot in the directory" });
  const isNew = !(await home.keyNames(".key")).includes(NODE_KEY_NAME);
  const passphrase = isNew
    ? (await createHome(invocation, home, encodeNetworkFile(network))).passphrase
    : await invocation.passphrase(home);
  const key = await openKey(home, NODE_KEY_NAME, passphrase);
  // A node with blocks must know what its key has signed. This home has never run, so that is nothing.
  await SignGuard.open({ path: home.signStatePath, disk: SYSTEM_DISK, keyPair: key.keyPair, isNew: !existsSync(home.walPath) });
  using progress = invocation.progress("Restoring chunks");
  const restored = await installSnapshot(home, sourceOf(shelf, shelved), {
    network,
    signal: invocation.signal,
    onChunk: (done, total) => progress.update(done, total),
  });
  const { height, stateRoot, headers, records, chunks } = restored;
  return {
    json: { home: home.path, ...restored },
    text: [
      `Restored ${home.path} at height ${height} (state root ${toHex(stateRoot)})`,
      `  headers  ${headers}, back to the network file`,
      `  records  ${records}, all of their partitions`,
      `  chunks   ${chunks}, each proven`,
      `Next: pyralog start --home ${home.path}`,
    ].join("\n"),
  };
}

async function networkOf(invocation: Invocation, home: Home): Promise<NetworkFile> {
  const path = invocation.text("network");
  const found = path === undefined ? await home.network() : await readNetworkFile(path);
  if (found === undefined) throw new CodedError("network_missing", { path, field: "--network", message: `${path} is not there` });
  return found;
}
