/**
 * `npm run join-campaign -- [--joins N] [--kills K] [--seed S] [--transactions T]`: nodes that join one after another, each
 * killed K times at random moments, until each follows the chain with the same state as the validator. A line a join;
 * exits with 1 at the first that does not come through, and prints the seed that shows it again (as far as processes do).
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { utf8 } from "../../crypto/base/bytes.ts";
import { parseManifest } from "../../node/home/manifest.ts";
import { growChain } from "./chain.ts";
import { joinUnderKills } from "./joining.ts";
import { freeBasePort, LocalNetwork } from "./network.ts";
import { readOptions } from "../options.ts";

const USAGE = "npm run -s join-campaign -- [--joins N] [--kills K] [--seed S] [--transactions T], with 1 to 60 joins\n";

const { values } = readOptions(USAGE, {
  joins: { type: "string", default: "10" },
  kills: { type: "string", default: "10" },
  seed: { type: "string", default: `${Date.now() % 1_000_000}` },
  transactions: { type: "string", default: "10000" },
});
const [joins, kills, seed, transactions] = [values.joins, values.kills, values.seed, values.transactions].map(Number) as [
  number,
  number,
  number,
  number,
];
if (![joins, kills, seed, transactions].every((value) => Number.isSafeInteger(value) && value >= 0) || joins < 1 || joins > 60) {
  process.stderr.write(USAGE);
  process.exit(2);
}

let state = seed >>> 0;
function draw(): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return state / 0x1_0000_0000;
}

process.env["PYRALOG_SNAPSHOTS_INTERVAL_HEIGHTS"] = "25";
const manifest = parseManifest(
  utf8(
    JSON.stringify({
      name: "campaign",
      engine: "tendermint",
      parameters: { dev: true, blockIntervalMsMin: 200 },
      validators: [{ name: "validator-0", keyType: "ed25519", power: "10" }],
      authority: "sender",
      accounts: [{ name: "sender", keyType: "ed25519", amount: "1000000000000000" }],
    }),
  ),
);
if (!manifest.ok) throw new Error(manifest.error.message);
const directory = await mkdtemp(join(tmpdir(), "pyralog-campaign-"));
const stopping = new AbortController();
process.once("SIGINT", () => stopping.abort());
const { signal } = stopping;
process.stdout.write(`seed ${seed}: ${joins} joins, ${kills} kills each, a chain of ${transactions} transactions\n`);
let done = 0;
try {
  await using network = await LocalNetwork.open({ directory, manifest: manifest.value, basePort: await freeBasePort(), signal });
  const height = await growChain(network.homes, {
    sender: "sender",
    transactions,
    transactionsPerBlock: 100,
    valueSizeBytes: 256,
  });
  network.node(0).start();
  await network.node(0).waitForHeight(height, { timeoutMs: 120_000, signal });
  for (; done < joins; done += 1) {
    // Short and long runs: kills at the beginning, in the middle of chunks, of restoring, and after all of it.
    const killWithinMs = 300 + draw() * 4_000;
    const joined = await joinUnderKills(network, { name: `node-${done}`, kills, killWithinMs, draw, timeoutMs: 900_000, signal });
    process.stdout.write(
      `join ${done}: ${joined.kills} kills in ${joined.killedIn.join(" ")}; first query ${joined.firstQuerySeconds.toFixed(1)} s, synced ${joined.syncedSeconds.toFixed(1)} s\n`,
    );
    await joined.node.stop();
    await rm(joined.node.home.path, { recursive: true });
  }
} catch (error) {
  process.stdout.write(
    `join ${done} with seed ${seed}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  process.exitCode = 1;
} finally {
  await rm(directory, { recursive: true, force: true });
}
process.stdout.write(`${done} passed, ${process.exitCode === 1 ? 1 : 0} failed\n`);
