/**
 * Joining as real processes: killed again and again it goes on where it was, answers from the first seconds, follows the
 * chain, serves what it joined from, becomes a validator; and the same by blocks, and from a backup.
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import t from "tap";
import { utf8 } from "../../crypto/base/bytes.ts";
import { runCommandLine } from "../../node/cli/main.ts";
import { Home } from "../../node/home/home.ts";
import { parseManifest } from "../../node/home/manifest.ts";
import { growChain, GROWN } from "./chain.ts";
import { joinUnderKills } from "./joining.ts";
import { freeBasePort, LocalNetwork, sleep } from "./network.ts";
import { drawnSeed } from "../../crypto/testing/property.ts";

const SEED = drawnSeed();
const MANIFEST = {
  name: "join",
  engine: "tendermint",
  parameters: { dev: true, blockIntervalMsMin: 200, timeoutProposeMs: 300, timeoutPrevoteMs: 300, timeoutPrecommitMs: 300 },
  validators: [{ name: "validator-0", keyType: "ed25519", power: "10" }],
  authority: "authority",
  accounts: ["authority", "alice"].map((name) => ({ name, keyType: "ed25519", amount: "1000000000000" })),
};

let state = SEED >>> 0;
function draw(): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return state / 0x1_0000_0000;
}

/** One command line, in this process. */
async function tell(
  ...argv: readonly string[]
): Promise<{ readonly code: number; readonly value: { readonly [key: string]: unknown } }> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  stderr.resume();
  const surroundings = { environment: {}, stdin: new PassThrough(), stdout, stderr };
  const code = await runCommandLine([...argv, "--json"], surroundings, new AbortController().signal);
  stdout.end();
  return { code, value: JSON.parse((await stdout.toArray()).join("")) as { readonly [key: string]: unknown } };
}

// Processes take seconds to start, and more on a busy machine.
t.setTimeout(600_000);
t.comment(`seed ${SEED}`);
process.env["PYRALOG_SNAPSHOTS_INTERVAL_HEIGHTS"] = "20";
const directory = await mkdtemp(join(tmpdir(), "pyralog-join-"));
const manifest = parseManifest(utf8(JSON.stringify(MANIFEST)));
if (!manifest.ok) throw new Error(manifest.error.message);
const signal = new AbortController().signal;
const network = await LocalNetwork.open({ directory, manifest: manifest.value, basePort: await freeBasePort(), signal });
t.teardown(async () => {
  await network.stop();
  await rm(directory, { recursive: true });
});
const GROW = { sender: "alice", transactions: 2_000, transactionsPerBlock: 20, valueSizeBytes: 600 };
const height = await growChain(network.homes, GROW);
network.node(0).start();
await network.node(0).waitForHeight(height, { timeoutMs: 120_000, signal });
// Whoever joins before there is a snapshot takes blocks.
const { snapshotsPath } = network.node(0).home;
while (((await tell("snapshot", "list", snapshotsPath)).value["snapshots"] as readonly unknown[] | undefined)?.[0] === undefined)
  await sleep(100, signal);

t.test("a join that is killed five times ends with the chain's state, and answered from the first run on", async (t) => {
  const options = { kills: 5, killWithinMs: 2_000, draw, timeoutMs: 300_000, signal };
  const { node, killedIn } = await joinUnderKills(network, { ...options, name: "node-1" });
  t.equal(killedIn.length, 5, killedIn.join(", "));
  const status = await node.client.claimedNodeStatus();
  t.ok(status.oldestStateHeight >= 80n, `it began at ${status.oldestStateHeight}, not at genesis`);
  const list = await tell("snapshot", "list", node.home.snapshotsPath);
  t.match(list, { code: 0, value: { snapshots: [{ chainId: network.network.chainId }] } }, "and serves what it joined from");
  t.match(await tell("query", "range", GROWN.namespace, GROWN.table, "--limit", "3", "--home", node.home.path), {
    code: 0,
    value: { verified: { how: ["certificate", /state proof/] } },
  });
});

t.test("a node that joined is a source of its own, and a validator once it is admitted", async (t) => {
  const [validator, joined] = [network.node(0), network.nodes[1]];
  const address = (await tell("keys", "show", "node", "--home", joined?.home.path ?? "")).value;
  t.type(address["address"], "string");
  const apply = await tell("validator", "apply", "--power", "6", "--home", joined?.home.path ?? "");
  t.equal(apply.code, 0);
  const calls = join(directory, "calls.json");
  await writeFile(calls, JSON.stringify(apply.value));
  const accounts = network.homes.accounts.path;
  t.match(await tell("tx", "calls", calls, "--from", "authority", "--home", accounts), { code: 0 });
  const { value: head } = await validator.client.head();
  // 10 of 16 is no quorum: beyond the next two heights the chain goes on only because the other votes.
  await validator.waitForHeight(head.height + 5n, { timeoutMs: 120_000, signal });
  t.match(await tell("validator", "status", "--home", joined?.home.path ?? ""), { code: 0 });
});

t.test("a backup of the running node's own snapshots restores, and a join by blocks comes to the same state", async (t) => {
  const restored = new Home(join(directory, "restored"));
  const backup = network.nodes[1]?.home.snapshotsPath ?? "";
  const options = ["--network", network.homes.networkPath, "--generate-passphrase", "--home", restored.path];
  const made = await tell("snapshot", "restore", backup, ...options);
  t.match(made, { code: 0, value: { stateRoot: /^[0-9a-f]{64}$/ } });
  t.match(await tell("snapshot", "restore", backup, ...options), { code: 1, value: { error: { code: "snapshot_data" } } });
  t.match(await tell("snapshot", "restore", join(directory, "nothing"), ...options), { code: 1 });
  const { node } = await joinUnderKills(network, {
    name: "node-2",
    byBlocks: true,
    kills: 1,
    killWithinMs: 4_000,
    draw,
    timeoutMs: 300_000,
    signal,
  });
  t.equal((await node.client.claimedNodeStatus()).oldestStateHeight, 0n, "it executed every block");
});
