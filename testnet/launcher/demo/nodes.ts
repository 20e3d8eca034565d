/** Nodes that are killed, come back and join while everything goes on, and that all hold the same state in the end. */

import { heightOf } from "../../../chain/block/height.ts";
import { present } from "../../../crypto/base/assert.ts";
import { bytesEqual } from "../../../crypto/base/bytes.ts";
import { openKey } from "../../../node/home/keys.ts";
import { readPassphraseFile } from "../../../node/home/passphrase.ts";
import { LIMITS } from "../../../node/network/limits.ts";
import { joinUnderKills } from "../joining.ts";
import type { LocalNetwork } from "../network.ts";
import { accountOf } from "../plan.ts";
import { type Account, Sender } from "../sender.ts";
import { ROW } from "./history.ts";
import type { Say } from "./stage.ts";
import type { Workload } from "./workload.ts";

/** The validator that is killed. */
export const KILLED_INDEX = 3;
const CATCH_UP_TIMEOUT_MS = 60_000;
/** Whoever joins a shorter chain than this executes its blocks (`snapshotHeightsMin`). */
export const HEIGHT_FOR_SNAPSHOTS: bigint = BigInt(LIMITS.snapshotHeightsMin) + 1n;
/** About as long as a join of a short chain takes, after the process answers. */
const KILL_WITHIN_MS = 2_000;

/** Sends everything, while one validator is killed and comes back, and a fifth node joins by executing every block; whether the others went on. */
export async function workUnderKill(work: Workload, network: LocalNetwork, say: Say, signal: AbortSignal): Promise<boolean> {
  const waiting = { timeoutMs: CATCH_UP_TIMEOUT_MS, signal };
  const killed = network.node(KILLED_INDEX);
  await work.run(0.5);
  say(`${work.finalised.length} transactions are final`);
  await network.kill(KILLED_INDEX, "SIGKILL");
  const deadAt = await network.highest();
  say(`killed ${killed.name} at height ${deadAt}`);
  await work.run(0.75);
  const survivedAt = await network.highest();
  say(`${work.finalised.length} transactions are final, one validator down`);

  network.restart(KILLED_INDEX);
  const fifth = await network.join("node-4", ["--blocks"]);
  await work.run(1);
  await killed.waitForHeight(survivedAt, waiting);
  say(`${killed.name} has caught up`);
  await fifth.waitForHeight(survivedAt, waiting);
  say(`${fifth.name} has joined by executing every block`);
  return survivedAt > deadAt;
}

/** Goes on with one payment after another until there are so many blocks. */
export async function goOnUntil(network: LocalNetwork, height: bigint, signal: AbortSignal): Promise<void> {
  const { accounts } = network.homes;
  const account = accountOf(await openKey(accounts, "alice", await readPassphraseFile(accounts.passphrasePath)));
  const { client } = network.node(0);
  const { value } = await client.account(account.address, { signal });
  const sender = new Sender({ account, network: network.network, nonce: value.nonce, node: () => client, signal });
  let reached = await network.highest();
  while (reached < height) {
    await sender.sendAll([[{ kind: "transfer", to: account.address, amount: 1n }]]);
    reached = present(sender.finalised.at(-1), "payment").height;
  }
}

/** A sixth node joins by its peers' snapshot, and is killed on the way. */
export async function joinBySnapshot(network: LocalNetwork, say: Say, signal: AbortSignal): Promise<boolean> {
  // Below a quarter it might be killed before it answers, which is not on the way yet.
  const kill = { kills: 1, killWithinMs: KILL_WITHIN_MS, draw: () => 0.25 + Math.random() * 0.75 };
  const joining = await joinUnderKills(network, { name: "node-5", row: ROW, ...kill, timeoutMs: CATCH_UP_TIMEOUT_MS, signal });
  const { node, killedIn, firstQuerySeconds, syncedSeconds } = joining;
  const { oldestStateHeight } = await node.client.claimedNodeStatus({ signal });
  say(
    `${node.name} has joined from the snapshot of height ${oldestStateHeight}, killed while ${killedIn.join(", ")}; ` +
      `first answer after ${firstQuerySeconds.toFixed(1)} s, joined after ${syncedSeconds.toFixed(1)} s`,
  );
  return killedIn.length === 1 && oldestStateHeight > 0n;
}

/** Waits until every node is where the newest is; which height that was. */
export async function alignNodes(network: LocalNetwork, signal: AbortSignal): Promise<bigint> {
  const height = await network.highest();
  await Promise.all(network.nodes.map((node) => node.waitForHeight(height, { timeoutMs: CATCH_UP_TIMEOUT_MS, signal })));
  return height;
}

/** Every node proves the same rows against the same root at one height. */
export async function holdsSameState(network: LocalNetwork, accounts: readonly Account[], signal: AbortSignal): Promise<boolean> {
  const height = await alignNodes(network, signal);
  const { address } = present(accounts[0], "account");
  const held = await Promise.all(
    network.nodes.map(async ({ client }) => {
      const header = await client.header(heightOf(height), { signal });
      const account = await client.account(address, { signal, height: heightOf(height) });
      return { stateRoot: header.value.stateRoot, balance: account.value.balance };
    }),
  );
  const first = present(held[0], "node");
  return held.every(({ stateRoot, balance }) => bytesEqual(stateRoot, first.stateRoot) && balance === first.balance);
}
