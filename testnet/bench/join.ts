/**
 * How long a node takes from an empty disk to its first verified query and to the head of the chain: from a snapshot of a
 * peer, the same with ten kills (SIGKILL at random moments) on the way, and by executing every block.
 *
 * Method: one validator with a chain of that many transactions (256-byte puts, every eighth with a record), grown
 * beforehand by the real ledger (`growSeconds`), served by a real process; the joining node is another. Seconds are from the start of
 * the command line, key generation included, and so are the restarts after kills. All on this machine, one after another.
 */

import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { present } from "../../crypto/base/assert.ts";
import { utf8 } from "../../crypto/base/bytes.ts";
import { parseManifest } from "../../node/home/manifest.ts";
import { growChain } from "../launcher/chain.ts";
import { type Joining, joinUnderKills } from "../launcher/joining.ts";
import { freeBasePort, LocalNetwork } from "../launcher/network.ts";
import type { Figures } from "./state.ts";

/** What to measure. */
export type JoinBenchOptions = {
  /** Sizes of the chain; default 10^4. Also meant for 10^5, which takes five minutes, and 10^6, which takes twenty. */
  readonly transactions?: readonly number[];
};

const MANIFEST = {
  name: "bench-join",
  engine: "tendermint",
  parameters: { dev: true, blockIntervalMsMin: 500, timeoutProposeMs: 1000, timeoutPrevoteMs: 500, timeoutPrecommitMs: 500 },
  validators: [{ name: "validator-0", keyType: "ed25519", power: "10" }],
  authority: "sender",
  accounts: [{ name: "sender", keyType: "ed25519", amount: "1000000000000000" }],
};
const TRANSACTIONS_PER_BLOCK = 100;
const INTERVAL_HEIGHTS = 50;
const KILLS = 10;
/** Executing every block of a longer chain takes longer than all else here together, and as much a block. */
const BY_BLOCKS_TRANSACTIONS_MAX = 100_000;
/** See `JoiningOptions`. About as long as a join of the smaller size takes once the process runs. */
const KILL_WITHIN_MS = 4_000;
const TIMEOUT_MS = 1_800_000;
const SEED = 20_261_128;

/** Measures each size in turn. Leaves no process and no file. */
export async function benchJoin({ transactions = [10_000] }: JoinBenchOptions = {}): Promise<Figures> {
  process.env["PYRALOG_SNAPSHOTS_INTERVAL_HEIGHTS"] = `${INTERVAL_HEIGHTS}`;
  const figures: Record<string, number> = {};
  for (const count of transactions) Object.assign(figures, await benchSize(count));
  return { figures, spread: {} };
}

async function benchSize(count: number): Promise<Record<string, number>> {
  const manifest = parseManifest(utf8(JSON.stringify(MANIFEST)));
  if (!manifest.ok) throw new Error(manifest.error.message);
  const directory = await mkdtemp(join(tmpdir(), "pyralog-bench-join-"));
  const signal = AbortSignal.timeout(2 * TIMEOUT_MS);
  try {
    const options = { directory, manifest: manifest.value, basePort: await freeBasePort(), signal };
    await using network = await LocalNetwork.open(options);
    const grown = { sender: "sender", transactions: count, transactionsPerBlock: TRANSACTIONS_PER_BLOCK, valueSizeBytes: 256 };
    const startedMs = performance.now();
    const height = await growChain(network.homes, grown);
    const growSeconds = (performance.now() - startedMs) / 1000;
    network.node(0).start();
    await network.node(0).waitForHeight(height + 1n, { timeoutMs: 120_000, signal });
    await snapshotOf(network, (height / BigInt(INTERVAL_HEIGHTS)) * BigInt(INTERVAL_HEIGHTS));
    const measured = { kills: 0, killWithinMs: KILL_WITHIN_MS, draw: drawFrom(SEED), timeoutMs: TIMEOUT_MS, signal };
    const bySnapshot = await stopped(await joinUnderKills(network, { ...measured, name: "by-snapshot" }));
    const underKills = await stopped(await joinUnderKills(network, { ...measured, name: "under-kills", kills: KILLS }));
    const figures = {
      [`growSeconds_${count}`]: rounded(growSeconds),
      [`blocks_${count}`]: Number(height),
      [`snapshotFirstQuerySeconds_${count}`]: rounded(bySnapshot.firstQuerySeconds),
      [`snapshotSyncedSeconds_${count}`]: rounded(bySnapshot.syncedSeconds),
      [`killsFirstQuerySeconds_${count}`]: rounded(underKills.firstQuerySeconds),
      [`killsSyncedSeconds_${count}`]: rounded(underKills.syncedSeconds),
      [`kills_${count}`]: underKills.kills,
    };
    if (count > BY_BLOCKS_TRANSACTIONS_MAX) return figures;
    const byBlocks = await stopped(await joinUnderKills(network, { ...measured, name: "by-blocks", byBlocks: true }));
    return {
      ...figures,
      [`blocksFirstQuerySeconds_${count}`]: rounded(byBlocks.firstQuerySeconds),
      [`blocksSyncedSeconds_${count}`]: rounded(byBlocks.syncedSeconds),
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Waits until the serving node has made the snapshot of a height. */
async function snapshotOf(network: LocalNetwork, height: bigint): Promise<void> {
  const path = join(present(network.nodes[0], "validator").home.snapshotsPath, `${height}.index`);
  while (!existsSync(path)) await new Promise((resolve) => setTimeout(resolve, 100));
}

async function stopped(joining: Joining): Promise<Joining> {
  await joining.node.stop();
  return joining;
}

function drawFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 0x1_0000_0000;
  };
}

function rounded(value: number): number {
  return Number(value.toFixed(1));
}
