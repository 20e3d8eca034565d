/**
 * `npm run engines -- --json`: one workload, every consensus engine, one result.
 *
 * For each engine a network of real processes is started with the same accounts, the same transactions are handed in,
 * and half-way whoever made the newest block is killed with SIGKILL, to come back at the end, when a fifth node joins by
 * the network file as well. Once all of them are in
 * blocks (settled, under proof of work) the nodes are stopped and their stores compared: equal state roots within a
 * network, and the same application root (`application.ts`) under every engine.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { heightOf } from "../../chain/block/height.ts";
import { ENGINE_NAMES, type NetworkEngine } from "../../chain/block/protocol.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { present } from "../../crypto/base/assert.ts";
import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { generateSeed } from "../../crypto/sign/key.ts";
import { NODE_KEY_NAME, openKey, readKey } from "../../node/home/keys.ts";
import { readManifest } from "../../node/home/manifest.ts";
import { readPassphraseFile } from "../../node/home/passphrase.ts";
import { applicationRoot } from "./application.ts";
import type { PyralogClient } from "../../node/rpc/client.ts";
import { freeBasePort, LocalNetwork } from "./network.ts";
import { accountOf, plan } from "./plan.ts";
import { readEngineName, withProtocol } from "./protocols.ts";
import { percentile, Sender } from "./sender.ts";
import { readOptions } from "../options.ts";

const MANIFEST_PATH = fileURLToPath(new URL("./networks/local.json", import.meta.url));
const ACCOUNT_NAMES = ["alice", "bob", "carol", "dave"];
const TRANSACTIONS_DEFAULT = 200;
const TRANSACTIONS_MIN = 8;
const TRANSACTIONS_MAX = 100_000;
const START_TIMEOUT_MS = 120_000;
const CATCH_UP_TIMEOUT_MS = 120_000;

const HELP = `Usage: npm run engines -- [--engine NAME]... [--transactions N] [--json]

Runs one workload under each consensus engine, as real processes, and compares the states.

  --engine NAME      only this engine; may be given several times (default: all)
  --transactions N   how many (default: ${TRANSACTIONS_DEFAULT})
  --json             print one JSON value at the end
`;

/** What one engine made of the workload. */
type EngineReport = {
  readonly engine: NetworkEngine;
  readonly nodes: number;
  readonly transactions: number;
  readonly height: string;
  readonly isSameStateRoot: boolean;
  readonly applicationRoot: string;
  readonly p50InclusionMs: number;
  /** The one that made the newest block half-way. */
  readonly killed: string;
  readonly seconds: number;
};

async function runEngine(
  engine: NetworkEngine,
  options: {
    readonly transactions: number;
    readonly seeds: ReadonlyMap<string, Uint8Array>;
    readonly signal: AbortSignal;
  },
): Promise<EngineReport> {
  const { seeds, signal } = options;
  const startedMs = performance.now();
  const directory = await mkdtemp(join(tmpdir(), `pyralog-${engine}-`));
  const manifest = withProtocol(await readManifest(MANIFEST_PATH), engine);
  await using network = await LocalNetwork.open({ directory, manifest, basePort: await freeBasePort(), seeds, signal });
  await network.start({ timeoutMs: START_TIMEOUT_MS });
  const passphrase = await readPassphraseFile(network.homes.accounts.passphrasePath);
  const keys = await Promise.all(ACCOUNT_NAMES.map((name) => openKey(network.homes.accounts, name, passphrase)));
  const accounts = keys.map(accountOf);
  const share = Math.floor(options.transactions / accounts.length);
  const senders = accounts.map(
    (account, index) =>
      new Sender({ account, network: network.network, nonce: 0n, node: () => readyClient(network, index), signal }),
  );
  const plans = senders.map((sender, index) =>
    plan(sender.account, present(accounts[(index + 1) % accounts.length], "neighbour"), share),
  );
  const half = Math.floor(share / 2);
  await Promise.all(senders.map((sender, index) => sender.sendAll(present(plans[index], "plan").slice(0, half))));
  // The one that may well lead: the first proposer of a set is its first member, and any may be a leader.
  const killed = await newestProposer(network, signal);
  await network.kill(killed, "SIGKILL");
  await Promise.all(senders.map((sender, index) => sender.sendAll(present(plans[index], "plan").slice(half))));
  network.restart(killed);
  await network.join("node-4");
  const height = await network.highest();
  await Promise.all(network.nodes.map((node) => node.waitForHeight(height, { timeoutMs: CATCH_UP_TIMEOUT_MS, signal })));
  await network.stop();
  const states = await Promise.all(network.nodes.map((node) => stateOf(node.home.storePath, network)));
  const common = states.reduce((least, { ledgerHeight }) => (ledgerHeight < least ? ledgerHeight : least), height);
  // Under proof of work the newest blocks may still be different ones.
  const { engine: protocol } = network.network;
  const compared = protocol.name === "pow" ? common - BigInt(protocol.finalityDepth) : common;
  const roots = new Set(states.map(({ rootAt }) => rootAt(compared)));
  const applications = new Set(states.map(({ application }) => application));
  const latencies = senders.flatMap(({ finalised }) => finalised.map(({ latencyMs }) => latencyMs));
  for (const { close } of states) await close();
  await rm(directory, { recursive: true });
  return {
    engine,
    nodes: network.nodes.length,
    transactions: latencies.length,
    height: `${height}`,
    isSameStateRoot: roots.size === 1 && !roots.has("none"),
    applicationRoot: [...applications].join(" and "),
    p50InclusionMs: Math.round(percentile(latencies, 0.5)),
    killed: network.node(killed).name,
    seconds: Math.round((performance.now() - startedMs) / 100) / 10,
  };
}

function readyClient(network: LocalNetwork, index: number): PyralogClient {
  const ready = network.nodes.filter(({ isReady }) => isReady);
  return present(ready[index % ready.length], "node that is ready").client;
}

/** The node that made the newest block: under Raft the leader, under PBFT the primary. */
async function newestProposer(network: LocalNetwork, signal: AbortSignal): Promise<number> {
  const { proposer } = (await network.node(0).client.head({ signal })).value;
  const addresses = await Promise.all(network.nodes.map(async ({ home }) => (await readKey(home, NODE_KEY_NAME)).address));
  return Math.max(
    0,
    addresses.findIndex((address) => bytesEqual(address, proposer)),
  );
}

/** Opens the store of a node that was stopped. */
async function stateOf(
  path: string,
  network: LocalNetwork,
): Promise<{
  readonly ledgerHeight: bigint;
  readonly rootAt: (height: bigint) => string;
  readonly application: string;
  readonly close: () => Promise<void>;
}> {
  const store = await openLevelStore({ path });
  const ledger = await Ledger.open({ store, network: network.network, executor: EXECUTOR });
  return {
    ledgerHeight: ledger.head().height,
    rootAt: (height) => {
      const header = ledger.header(heightOf(height));
      return header === undefined ? "none" : toHex(header.stateRoot);
    },
    application: toHex(await applicationRoot(ledger)),
    close: async () => await ledger[Symbol.asyncDispose](),
  };
}

async function main(): Promise<void> {
  const { values } = readOptions(HELP, {
    engine: { type: "string", multiple: true },
    transactions: { type: "string" },
    json: { type: "boolean" },
  });
  const names = values.engine?.map(readEngineName) ?? ENGINE_NAMES;
  const transactions = Number(values.transactions ?? TRANSACTIONS_DEFAULT);
  // Each account creates its table, and does something in either half.
  if (!Number.isInteger(transactions) || transactions < TRANSACTIONS_MIN || transactions > TRANSACTIONS_MAX)
    throw new CodedError("transactions_invalid", {
      message: `--transactions must be ${TRANSACTIONS_MIN} to ${TRANSACTIONS_MAX}`,
    });
  const seeds = new Map([...ACCOUNT_NAMES, "authority"].map((name) => [name, generateSeed()]));
  const interrupted = new AbortController();
  process.once("SIGINT", () => interrupted.abort());
  const engines: EngineReport[] = [];
  for (const name of names) {
    process.stderr.write(`${name} ...\n`);
    const report = await runEngine(name, { transactions, seeds, signal: interrupted.signal });
    engines.push(report);
    process.stderr.write(
      `${name}: ${report.transactions} transactions in ${report.seconds} s, application root ${report.applicationRoot}\n`,
    );
  }
  const roots = new Set(engines.map((report) => report.applicationRoot));
  const isSame = roots.size === 1 && engines.every(({ isSameStateRoot }) => isSameStateRoot);
  if (values.json === true) process.stdout.write(`${JSON.stringify({ ok: isSame, engines })}\n`);
  else process.stdout.write(isSame ? `one state under ${engines.length} engines\n` : "the states differ\n");
  process.exitCode = isSame ? 0 : 1;
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${codeOf(error)}: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
