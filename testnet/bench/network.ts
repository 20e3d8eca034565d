/**
 * How fast a network of four validators finalises signed 256-byte puts, and what it takes.
 *
 * Method: four processes on this machine, as users start them; eight senders with Ed25519 keys; every signature checked
 * by every node, every block and vote fsynced. First as much as the network takes: a number of puts at once
 * (`finalizedPerSecond`), then for a minute (`sustainedPerSecond`, with the range of its windows of ten seconds). Then
 * half of that rate (latency). Then more than it takes (overload): four times the rate, of which one sender offers
 * four times as much as each of the others, and offers again whatever was refused. The generator and all validators share the
 * machine: these are figures of one machine, not of four.
 */

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { assert, present } from "../../crypto/base/assert.ts";
import { openKey } from "../../node/home/keys.ts";
import { readManifest } from "../../node/home/manifest.ts";
import { readPassphraseFile } from "../../node/home/passphrase.ts";
import { freeBasePort, LocalNetwork } from "../launcher/network.ts";
import { type LoadReport, offerLoad, percentile, runLoad } from "./load.ts";
import { loadItems, openTarget, type PyralogItem, signLoad } from "./pyralog.ts";
import type { Figures } from "./state.ts";

/** What to measure. */
export type NetworkBenchOptions = {
  /** Transactions of a throughput run. */
  readonly transactions?: number;
  /** Throughput runs; the figure is their median. */
  readonly runs?: number;
  readonly sustainedSeconds?: number;
  /** Of the latency run. */
  readonly latencySeconds?: number;
  readonly overloadSeconds?: number;
  /** What the nodes run on; without the addon when false. */
  readonly isNative?: boolean;
};

const MANIFEST_PATH = fileURLToPath(new URL("../launcher/networks/bench.json", import.meta.url));
const BUILD_PATH = fileURLToPath(new URL("../../node/build.mjs", import.meta.url));
/** Whose accounts the manifest has. */
export const SENDERS_COUNT = 8;
/** What a put writes. */
export const VALUE_SIZE_BYTES = 256;
/** Submitted and not yet final. */
export const IN_FLIGHT_MAX = 3_000;
const WINDOW_SECONDS = 10;
/** Signed for the sustained run, in terms of the rate of the first throughput run: a network that has just begun is half as fast. */
const SUSTAINED_RESERVE = 2.5;
const OVERLOAD_FACTOR = 4;
/** What the first sender offers under overload, and each of the others. */
const GREED = 4;
const START_TIMEOUT_MS = 60_000;
const RUN_TIMEOUT_MS = 900_000;

/** Four validators that run. */
export type BenchNetwork = AsyncDisposable & {
  readonly network: LocalNetwork;
  readonly startSeconds: number;
  /** Signed puts of each sender, so many by its position, from its nonce now. */
  readonly lanes: (count: (lane: number) => number) => Promise<readonly (readonly PyralogItem[])[]>;
};

/** Starts the network in a directory of its own, which goes with it. */
export async function openBenchNetwork(signal: AbortSignal): Promise<BenchNetwork> {
  // One generator stands for many clients, which the rate limit of one address would keep apart.
  process.env["PYRALOG_RPC_REQUESTS_PER_SECOND_MAX"] = "1000000";
  await using stack = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "pyralog-bench-network-"));
  stack.defer(async () => await rm(directory, { recursive: true, force: true }));
  const basePort = await freeBasePort();
  const manifest = await readManifest(MANIFEST_PATH);
  const network = stack.use(await LocalNetwork.open({ directory, manifest, basePort, signal }));
  // What users run: in a checkout that was edited the sources would be measured.
  await promisify(execFile)(process.execPath, [BUILD_PATH, "--if-stale"]);
  const startedMs = performance.now();
  await network.start({ timeoutMs: START_TIMEOUT_MS });
  const startSeconds = (performance.now() - startedMs) / 1000;
  const owned = stack.move();
  return {
    network,
    startSeconds,
    lanes: async (count) => {
      const senders = await openSenders(network, signal);
      const shared = { chainId: network.network.chainId, valueSizeBytes: VALUE_SIZE_BYTES };
      return senders.map((sender, lane) => loadItems(signLoad({ ...shared, ...sender, count: count(lane) })));
    },
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
}

/** Runs the network and measures it. Leaves no process and no file. */
export async function benchNetwork(options: NetworkBenchOptions = {}): Promise<Figures> {
  const signal = AbortSignal.timeout(RUN_TIMEOUT_MS);
  const before = process.env["PYRALOG_NATIVE"];
  if (options.isNative === false) process.env["PYRALOG_NATIVE"] = "off";
  try {
    await using bench = await openBenchNetwork(signal);
    const { backends } = await bench.network.node(0).client.claimedNodeStatus({ signal });
    const hasAddon = ["build", "package"].includes(backends["native"] ?? "");
    assert(!hasAddon || options.isNative !== false, "the nodes were to do without the addon");
    const measured = await measure(bench, options, signal);
    const used = ["code", "native", "ed25519", "blake3"].map((name) => `${name}: ${backends[name] ?? "not told"}`);
    return { ...measured, notes: [`the nodes' back ends: ${used.join("; ")}`] };
  } finally {
    if (before === undefined) delete process.env["PYRALOG_NATIVE"];
    else process.env["PYRALOG_NATIVE"] = before;
  }
}

async function measure(bench: BenchNetwork, options: NetworkBenchOptions, signal: AbortSignal): Promise<Figures> {
  const { network } = bench;
  const { transactions = 10_000, runs = 3, sustainedSeconds = 60, latencySeconds = 20, overloadSeconds = 20 } = options;
  const urls = network.nodes.map(({ rpcUrl }) => rpcUrl);
  const load = async (count: number, pace: { readonly perSecond?: number; readonly seconds?: number }): Promise<LoadReport> => {
    const lanes = await bench.lanes(() => Math.ceil(count / SENDERS_COUNT));
    const batchSize = pace.perSecond === undefined ? {} : { batchSize: 10 };
    return await runLoad(await openTarget(urls, signal), { lanes, inFlightMax: IN_FLIGHT_MAX, ...pace, ...batchSize, signal });
  };
  const into: Figures = { figures: {}, spread: {} };
  const note = (name: string, value: number, range?: readonly number[], digits = 1): void => {
    const round = (exact: number): number => Number(exact.toFixed(digits));
    into.figures[name] = round(value);
    if (range !== undefined) into.spread[name] = [round(Math.min(...range)), round(Math.max(...range))];
  };
  note("startSeconds", bench.startSeconds);

  const stored = await storeSizeBytes(network);
  const reports: LoadReport[] = [];
  for (let run = 0; run < runs; run += 1) reports.push(await load(transactions, {}));
  const rates = reports.map(({ finalizedPerSecond }) => finalizedPerSecond).toSorted((a, b) => a - b);
  note("finalizedPerSecond", percentile(rates, 0.5), rates);
  const finalized = reports.reduce((sum, report) => sum + report.finalized, 0);
  note("diskBytesPerTransaction", ((await storeSizeBytes(network)) - stored) / network.nodes.length / finalized, undefined, 0);

  const first = present(reports[0], "a throughput run").finalizedPerSecond;
  const expected = Math.ceil(first * sustainedSeconds * SUSTAINED_RESERVE) + IN_FLIGHT_MAX;
  const sustained = await load(expected, { seconds: sustainedSeconds });
  const windows = windowRates(sustained.finalizedAtMs, sustainedSeconds);
  // What becomes final once nothing is submitted any more is not sustained.
  const rate = sustained.finalizedAtMs.filter((atMs) => atMs <= sustainedSeconds * 1000).length / sustainedSeconds;
  note("sustainedPerSecond", rate, windows);
  note("sustainedSeconds", sustainedSeconds);
  note("generatorCpuShare", sustained.generatorCpuShare, undefined, 2);

  const half = await load(Math.max(500, Math.round((rate / 2) * latencySeconds)), { perSecond: rate / 2 });
  note("halfLoadPerSecond", half.finalizedPerSecond);
  note("finalityMsP50", percentile(half.finalityMs, 0.5));
  note("finalityMsP99", percentile(half.finalityMs, 0.99));
  const all = [...reports, sustained, half];
  into.figures["refused"] = all.reduce((sum, { refused }) => sum + refused, 0);

  if (overloadSeconds > 0) await overload(bench, { rate, seconds: overloadSeconds, note, signal });

  const rss = await Promise.all(network.nodes.map(async ({ pid }) => await rssBytes(present(pid, "process"))));
  const sorted = rss.toSorted((a, b) => a - b);
  note("rssBytesPerNode", percentile(sorted, 0.5), rss, 0);
  return into;
}

/** See the file's head. */
async function overload(
  bench: BenchNetwork,
  options: {
    readonly rate: number;
    readonly seconds: number;
    readonly note: (name: string, value: number, range?: readonly number[], digits?: number) => void;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { rate, seconds, note, signal } = options;
  const part = (rate * OVERLOAD_FACTOR) / (GREED + SENDERS_COUNT - 1);
  const perSecond = Array.from({ length: SENDERS_COUNT }, (_, lane) => (lane === 0 ? GREED * part : part));
  // No sender gets in more than it offers, whatever is refused to others.
  const lanes = await bench.lanes((lane) => Math.ceil(present(perSecond[lane], "rate") * (seconds + 1)));
  const target = await openTarget(
    bench.network.nodes.map(({ rpcUrl }) => rpcUrl),
    signal,
  );
  const report = await offerLoad(target, { lanes, perSecond, seconds, signal });
  note("overloadOfferedPerSecond", report.offeredPerSecond);
  note("overloadFinalizedPerSecond", report.finalizedPerSecond);
  note("overloadRefusedShare", report.refusedShare, undefined, 3);
  if (report.refusalMs.length > 0) {
    note("overloadRefusalMsP50", percentile(report.refusalMs, 0.5));
    note("overloadRefusalMsP99", percentile(report.refusalMs, 0.99));
  }
  note("overloadFinalityMsP50", percentile(report.finalityMs, 0.5));
  note("overloadFinalityMsP99", percentile(report.finalityMs, 0.99));
  note("overloadAccepted", report.accepted, undefined, 0);
  note("overloadAcceptedNotFinal", report.lost, undefined, 0);
  note("overloadFairness", Math.min(...report.finalizedByLane) / Math.max(...report.finalizedByLane), undefined, 2);
  for (const [code, count] of report.refusals) note(`overloadRefused_${code}`, count, undefined, 0);
}

/** Finalised a second in each whole window of a run. */
function windowRates(atMs: readonly number[], seconds: number): readonly number[] {
  const count = Math.floor(seconds / WINDOW_SECONDS);
  if (count === 0) return [atMs.length / seconds];
  const windows = Array.from({ length: count }, () => 0);
  for (const at of atMs) {
    const index = Math.floor(at / 1000 / WINDOW_SECONDS);
    if (index < count) windows[index] = (windows[index] ?? 0) + 1 / WINDOW_SECONDS;
  }
  return windows;
}

async function openSenders(
  network: LocalNetwork,
  signal: AbortSignal,
): Promise<readonly Pick<Parameters<typeof signLoad>[0], "keyPair" | "nonce">[]> {
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
