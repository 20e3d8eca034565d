/**
 * How fast a network of four validators finalises signed 256-byte puts, and what it takes.
 *
 * Method: four processes on this machine, as users start them; eight senders with Ed25519 keys; every signature checked
 * by every node, every block and vote fsynced. First as much as the network takes (throughput), then half of that rate
 * (latency). The generator and all validators share the machine: these are figures of one machine, not of four.
 */

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { present } from "../../crypto/base/assert.ts";
import { openKey } from "../../node/home/keys.ts";
import { readManifest } from "../../node/home/manifest.ts";
import { readPassphraseFile } from "../../node/home/passphrase.ts";
import { freeBasePort, LocalNetwork } from "../launcher/network.ts";
import { type LoadReport, percentile, runLoad } from "./load.ts";
import type { Figures } from "./state.ts";

/** What to measure. */
export type NetworkBenchOptions = {
  /** Transactions of the throughput run. */
  readonly transactions?: number;
  /** Seconds of the latency run. */
  readonly latencySeconds?: number;
  /** Throughput runs; the figure is their median. */
  readonly runs?: number;
};

const MANIFEST_PATH = fileURLToPath(new URL("../launcher/networks/bench.json", import.meta.url));
const SENDERS_COUNT = 8;
const VALUE_SIZE_BYTES = 256;
const IN_FLIGHT_MAX = 3_000;
const START_TIMEOUT_MS = 60_000;
const RUN_TIMEOUT_MS = 600_000;

/** Runs the network and measures it. Leaves no process and no file. */
export async function benchNetwork(options: NetworkBenchOptions = {}): Promise<Figures> {
  const signal = AbortSignal.timeout(RUN_TIMEOUT_MS);
  // One generator stands for many clients, which the rate limit of one address would keep apart.
  process.env["PYRALOG_RPC_REQUESTS_PER_SECOND_MAX"] = "1000000";
  const directory = await mkdtemp(join(tmpdir(), "pyralog-bench-network-"));
  try {
    await using network = await LocalNetwork.open({
      directory,
      manifest: await readManifest(MANIFEST_PATH),
      basePort: await freeBasePort(),
      signal,
    });
    const startedMs = performance.now();
    await network.start({ timeoutMs: START_TIMEOUT_MS });
    const startSeconds = (performance.now() - startedMs) / 1000;
    return await measure(network, options, startSeconds, signal);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function measure(
  network: LocalNetwork,
  options: NetworkBenchOptions,
  startSeconds: number,
  signal: AbortSignal,
): Promise<Figures> {
  const load = async (transactions: number, perSecond: number | undefined): Promise<LoadReport> =>
    await runLoad({
      urls: network.nodes.map(({ rpcUrl }) => rpcUrl),
      chainId: network.network.chainId,
      senders: await openSenders(network, signal),
      transactions,
      valueSizeBytes: VALUE_SIZE_BYTES,
      inFlightMax: IN_FLIGHT_MAX,
      ...(perSecond === undefined ? {} : { perSecond, batchSize: 10 }),
      signal,
    });
  const before = await storeSizeBytes(network);
  const reports: LoadReport[] = [];
  for (let run = 0; run < (options.runs ?? 3); run += 1) reports.push(await load(options.transactions ?? 10_000, undefined));
  const rates = reports.map(({ finalizedPerSecond }) => finalizedPerSecond).toSorted((a, b) => a - b);
  const rate = percentile(rates, 0.5);
  const stored = (await storeSizeBytes(network)) - before;
  const finalized = reports.reduce((sum, report) => sum + report.finalized, 0);
  const half = await load(Math.max(500, Math.round((rate / 2) * (options.latencySeconds ?? 20))), rate / 2);
  const rss = await Promise.all(network.nodes.map(async ({ pid }) => await rssBytes(present(pid, "process"))));
  const round = (value: number): number => Number(value.toFixed(1));
  return {
    figures: {
      finalizedPerSecond: round(rate),
      finalityMsP50: round(percentile(half.finalityMs, 0.5)),
      finalityMsP99: round(percentile(half.finalityMs, 0.99)),
      halfLoadPerSecond: round(half.finalizedPerSecond),
      startSeconds: round(startSeconds),
      rssBytesPerNode: percentile(
        rss.toSorted((a, b) => a - b),
        0.5,
      ),
      diskBytesPerTransaction: Math.round(stored / network.nodes.length / finalized),
      refused: reports.reduce((sum, { refused }) => sum + refused, half.refused),
    },
    spread: {
      finalizedPerSecond: [round(percentile(rates, 0)), round(percentile(rates, 1))],
      rssBytesPerNode: [Math.min(...rss), Math.max(...rss)],
    },
  };
}

async function openSenders(network: LocalNetwork, signal: AbortSignal): Promise<Parameters<typeof runLoad>[0]["senders"]> {
  const { accounts } = network.homes;
  const passphrase = await readPassphraseFile(accounts.passphrasePath);
  const client = present(network.nodes[0], "validator").client;
  return await Promise.all(
    Array.from({ length: SENDERS_COUNT }, async (_, index) => {
      const { keyPair, address } = await openKey(accounts, `sender-${index}`, passphrase);
      const { value } = await client.account(address, { signal });
      return { keyPair, nonce: value.nonce };
    }),
  );
}

/** Resident memory of a process. */
async function rssBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(present(/VmRSS:\s+(\d+) kB/.exec(status)?.[1], "VmRSS")) * 1024;
}

/** What all stores of the network take on disk. */
async function storeSizeBytes(network: LocalNetwork): Promise<number> {
  const { stdout } = await promisify(execFile)("du", ["-sb", "--total", ...network.nodes.map(({ home }) => home.storePath)]);
  return Number(present(/(\d+)\s+total/.exec(stdout)?.[1], "total"));
}
