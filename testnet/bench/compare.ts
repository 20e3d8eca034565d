/**
 * The same load on our network and on other databases that PATH has, in turn, and the ratios of one run.
 *
 * Method: 256-byte puts of eight clients, as many in flight for each database, one generator, everything on this
 * machine, fsync on. A round starts each database anew, gives it the load as fast as it takes it, then a hundred
 * puts a second; the ratio is of one round, and the figure the median of the rounds. The first puts have a rate of their
 * own (`FirstPerSecond`, `firstRatioTo_`): a program that is compiled while it runs is slower then. What is compared is not the same
 * service: what the others leave unchecked is printed with the figures. The generator is one process, in JavaScript: where
 * `GeneratorCpuShare` comes near 1, the figure is the generator's and the database's is higher.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freeBasePort } from "../launcher/network.ts";
import { BLOCK_INTERVAL_MS, COMETBFT } from "./cometbft.ts";
import { ETCD } from "./etcd.ts";
import { type LoadItem, type LoadReport, type LoadTarget, percentile, runLoad } from "./load.ts";
import { IN_FLIGHT_MAX, openBenchNetwork, SENDERS_COUNT, VALUE_SIZE_BYTES } from "./network.ts";
import { findProgram, type Peer } from "./peer.ts";
import { openTarget } from "./pyralog.ts";
import type { Figures } from "./state.ts";

/** What to measure. */
export type CompareBenchOptions = {
  readonly transactions?: number;
  readonly rounds?: number;
  /** Where to look for the others' programs; default: PATH. */
  readonly path?: string;
};

const PEERS = [COMETBFT, ETCD];
/** Puts of a round: some ten seconds for the slower ones. */
const TRANSACTIONS = 30_000;
/** Of them, those with a rate of their own. */
const FIRST = 10_000;
const LIGHT_PER_SECOND = 100;
const LIGHT_SECONDS = 5;
const ROUND_TIMEOUT_MS = 300_000;

/** Ours, or another's, for one round. */
type Contender = { readonly name: string; readonly measure: (transactions: number, signal: AbortSignal) => Promise<Round> };
type Round = { readonly full: LoadReport; readonly light: LoadReport };

/** Measures whoever is there. With nobody there, says so and measures nothing. */
export async function benchCompare(options: CompareBenchOptions = {}): Promise<Figures> {
  const { transactions = TRANSACTIONS, rounds = 3 } = options;
  const notes: string[] = [];
  const contenders: Contender[] = [];
  for (const peer of PEERS) {
    const program = findProgram(peer.programs, options.path);
    if (program === undefined) {
      notes.push(`${peer.name}: not found on PATH (looked for ${peer.programs.join(", ")}), not compared with`);
      continue;
    }
    const version = await peer.version(program, AbortSignal.timeout(ROUND_TIMEOUT_MS));
    notes.push(`${peer.name} ${version}: ${peer.settings}`, `${peer.name} does not check: ${peer.unchecked}`);
    contenders.push({ name: peer.name, measure: async (count, signal) => await measurePeer(peer, program, count, signal) });
  }
  if (contenders.length === 0)
    return { figures: {}, spread: {}, notes: [...notes, "nothing to compare with: nothing was measured"] };
  notes.push(
    `all: ${SENDERS_COUNT} clients, ${VALUE_SIZE_BYTES}-byte values, at most ${IN_FLIGHT_MAX} in flight, loopback, fsync on; ${rounds} rounds of ${transactions} puts, the first ${Math.min(FIRST, transactions)} of them also by themselves, then ${LIGHT_PER_SECOND} a second`,
    `pyralog: 4 validators with hybrid keys, an Ed25519 signature a put, checked by each, blockIntervalMsMin ${BLOCK_INTERVAL_MS} (from the beginning of a block; timeout_commit is from its end)`,
  );
  const samples = new Map<string, number[]>();
  const note = (name: string, value: number): void => void samples.set(name, [...(samples.get(name) ?? []), value]);
  for (let round = 0; round < rounds; round += 1) {
    const rates = new Map<string, number>();
    const firstRates = new Map<string, number>();
    for (const { name, measure } of [{ name: "pyralog", measure: measureOurs }, ...contenders]) {
      const { full, light } = await measure(transactions, AbortSignal.timeout(ROUND_TIMEOUT_MS));
      rates.set(name, full.finalizedPerSecond);
      note(`${name}FinalizedPerSecond`, full.finalizedPerSecond);
      const first = full.finalizedAtMs.slice(0, FIRST);
      firstRates.set(name, (first.length * 1000) / (first.at(-1) ?? 0));
      note(`${name}FirstPerSecond`, firstRates.get(name) ?? 0);
      note(`${name}FinalityMsP50`, percentile(full.finalityMs, 0.5));
      note(`${name}FinalityMsP99`, percentile(full.finalityMs, 0.99));
      note(`${name}LightFinalityMsP50`, percentile(light.finalityMs, 0.5));
      note(`${name}LightFinalityMsP99`, percentile(light.finalityMs, 0.99));
      note(`${name}Refused`, full.refused + light.refused);
      note(`${name}GeneratorCpuShare`, full.generatorCpuShare);
    }
    for (const { name } of contenders) {
      note(`ratioTo_${name}`, (rates.get("pyralog") ?? 0) / (rates.get(name) ?? 0));
      note(`firstRatioTo_${name}`, (firstRates.get("pyralog") ?? 0) / (firstRates.get(name) ?? 0));
    }
  }
  return { ...medians(samples), notes };
}

async function measureOurs(transactions: number, signal: AbortSignal): Promise<Round> {
  await using bench = await openBenchNetwork(signal);
  const urls = bench.network.nodes.map(({ rpcUrl }) => rpcUrl);
  return await measure(await openTarget(urls, signal), await bench.lanes(() => perLane(transactions)), transactions, signal);
}

async function measurePeer(peer: Peer, program: string, transactions: number, signal: AbortSignal): Promise<Round> {
  const directory = await mkdtemp(join(tmpdir(), `pyralog-bench-${peer.name}-`));
  try {
    await using cluster = await peer.start({ program, directory, basePort: await freeBasePort(), signal });
    const lanes = Array.from({ length: SENDERS_COUNT }, (_, lane) =>
      Array.from({ length: perLane(transactions) }, (_, index) => peer.item(lane, index, VALUE_SIZE_BYTES)),
    );
    return await measure(cluster.target, lanes, transactions, signal);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Of both loads. */
function perLane(transactions: number): number {
  return Math.ceil((transactions + LIGHT_PER_SECOND * LIGHT_SECONDS) / SENDERS_COUNT);
}

async function measure<Item extends LoadItem>(
  target: LoadTarget<Item>,
  lanes: readonly (readonly Item[])[],
  transactions: number,
  signal: AbortSignal,
): Promise<Round> {
  const count = Math.ceil(transactions / SENDERS_COUNT);
  const shared = { inFlightMax: IN_FLIGHT_MAX, signal };
  const full = await runLoad(target, { ...shared, lanes: lanes.map((lane) => lane.slice(0, count)) });
  const rest = lanes.map((lane) => lane.slice(count));
  const light = await runLoad(target, { ...shared, lanes: rest, perSecond: LIGHT_PER_SECOND, batchSize: 1 });
  return { full, light };
}

function medians(samples: ReadonlyMap<string, readonly number[]>): Figures {
  const into: Figures = { figures: {}, spread: {} };
  for (const [name, values] of samples) {
    const digits = /atioTo_|Share$/.test(name) ? 3 : 1;
    const sorted = values.toSorted((a, b) => a - b).map((value) => Number(value.toFixed(digits)));
    into.figures[name] = percentile(sorted, 0.5);
    into.spread[name] = [percentile(sorted, 0), percentile(sorted, 1)];
  }
  return into;
}
