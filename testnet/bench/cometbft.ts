/**
 * CometBFT (or its forerunner Tendermint) with the key-value application that comes with it, four validators.
 *
 * Puts are `key=value` transactions, handed in with `broadcast_tx_sync`, which answers once the application has
 * accepted them into the mempool, and final when they are in a block of the first node.
 * Source: docs.cometbft.com, v0.38: "Using CometBFT" (testnet, node), "Configuration" and the RPC reference.
 */

import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { present } from "../../crypto/base/assert.ts";
import { utf8 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { portsOf } from "../../node/home/manifest.ts";
import type { LoadTarget, Taken } from "./load.ts";
import { type Cluster, fetchJson, type Peer, PeerProcesses, type PeerStart, runProgram } from "./peer.ts";
import { postJson } from "./post.ts";

const MEMBERS = 4;
/** `blockIntervalMsMin` of our network, and CometBFT's `timeout_commit`, which counts from the end of a block, and we from its beginning. */
export const BLOCK_INTERVAL_MS = 150;
const TIMEOUT_COMMIT = `${BLOCK_INTERVAL_MS}ms`;
/** As many as our load has in one request. */
const BATCH_MAX = 50;

/** See the file's head. */
export const COMETBFT: Peer = {
  name: "cometbft",
  members: MEMBERS,
  programs: ["cometbft", "tendermint"],
  settings: `${MEMBERS} validators with Ed25519 keys, persistent_kvstore in process, goleveldb and write-ahead log with fsync, timeout_commit ${TIMEOUT_COMMIT}, max_request_batch_size ${BATCH_MAX}, else as \`testnet\` writes it`,
  unchecked:
    "no signature of a client, no nonce, no balance, no fee (the application takes any key=value), no state root that a client could have a row proven by",
  version: async (program, signal) => await runProgram(program, ["version"], signal),
  item: (lane, index, valueSizeBytes) => {
    const id = `row-${lane}-${index}`;
    // Text without the signs that the application splits at: three bytes make four characters.
    const value = randomBytes(Math.ceil((valueSizeBytes * 3) / 4))
      .toString("base64url")
      .slice(0, valueSizeBytes);
    const bytes = utf8(`${id}=${value}`);
    return { id, bytes, text: Buffer.from(bytes).toString("base64") };
  },
  start,
};

async function start({ program, directory, basePort, signal }: PeerStart): Promise<Cluster> {
  await using stack = new AsyncDisposableStack();
  const processes = stack.use(new PeerProcesses());
  await runProgram(program, ["testnet", "--v", `${MEMBERS}`, "--o", directory, "--populate-persistent-peers=false"], signal);
  const members = await Promise.all(
    Array.from({ length: MEMBERS }, async (_, index) => {
      const home = join(directory, `node${index}`);
      await setUp(join(home, "config", "config.toml"));
      const id = await runProgram(program, ["show-node-id", "--home", home], signal);
      return { home, id, ...portsOf(basePort, index) };
    }),
  );
  for (const { home, p2p, rpc } of members) {
    const others = members.filter((other) => other.home !== home).map((other) => `${other.id}@127.0.0.1:${other.p2p}`);
    const argv = ["node", "--home", home, "--proxy_app", "persistent_kvstore", "--log_level", "error"];
    const addresses = ["--p2p.laddr", `tcp://127.0.0.1:${p2p}`, "--rpc.laddr", `tcp://127.0.0.1:${rpc}`];
    processes.start(program, [...argv, ...addresses, "--p2p.persistent_peers", others.join(",")], join(home, "log"));
  }
  processes.watch();
  const urls = members.map(({ rpc }) => `http://127.0.0.1:${rpc}/`);
  await processes.waitUntil(async () => {
    const heights = await Promise.all(urls.map(async (url) => await headHeight(url, signal)));
    return heights.every((height) => height >= 1);
  }, signal);
  const target = await openTarget(urls, signal);
  const owned = stack.move();
  return { target, [Symbol.asyncDispose]: async () => await owned.disposeAsync() };
}

async function setUp(path: string): Promise<void> {
  const text = await readFile(path, "utf8");
  const paced = withSetting(text, "timeout_commit", `"${TIMEOUT_COMMIT}"`);
  // Versions that do not have it take batches of any size.
  const isBounded = /^max_request_batch_size\s*=/m.test(paced);
  await writeFile(path, isBounded ? withSetting(paced, "max_request_batch_size", `${BATCH_MAX}`) : paced);
}

/** A TOML file with another value for a key that it has once. */
export function withSetting(text: string, key: string, value: string): string {
  const lines = text.split("\n");
  const at = lines.flatMap((line, index) => (line.split("=")[0]?.trim() === key ? [index] : []));
  if (at.length !== 1) throw new CodedError("peer_config", { message: `${key} is set ${at.length} times` });
  return lines.with(present(at[0], "line"), `${key} = ${value}`).join("\n");
}

async function openTarget(urls: readonly string[], signal: AbortSignal): Promise<LoadTarget> {
  const first = present(urls[0], "a node");
  let height = await headHeight(first, signal);
  return {
    submit: async (lane, items, signal) => {
      const url = present(urls[lane % urls.length], "a node");
      const calls = items.map(
        ({ text }, id) => `{"jsonrpc":"2.0","id":${id},"method":"broadcast_tx_sync","params":{"tx":"${present(text, "text")}"}}`,
      );
      const answered = (await postJson(url, `[${calls.join(",")}]`, signal)) as Answer | readonly Answer[];
      const answers = new Map((Array.isArray(answered) ? answered : [answered]).map((answer: Answer) => [answer.id, answer]));
      return items.map((_, id) => takenOf(answers.get(id)));
    },
    finalized: async (signal) => {
      const head = await headHeight(first, signal);
      const atMs = performance.now();
      const found: { ids: readonly string[]; atMs: number }[] = [];
      for (; height < head; height += 1) found.push({ ids: await idsOf(first, height + 1, signal), atMs });
      return found;
    },
  };
}

type Answer = {
  readonly id: number;
  readonly result?: { readonly code: number; readonly log?: string };
  readonly error?: { readonly message: string; readonly data?: string };
};

function takenOf(answer: Answer | undefined): Taken {
  if (answer?.error !== undefined) return { kind: "refused", code: answer.error.data ?? answer.error.message };
  if (answer?.result === undefined) throw new CodedError("peer_answer", { message: "no answer to a transaction" });
  const { code, log } = answer.result;
  return code === 0 ? { kind: "waiting" } : { kind: "refused", code: log ?? `${code}` };
}

/** 0 while it does not answer. */
async function headHeight(url: string, signal: AbortSignal): Promise<number> {
  const answer = (await fetchJson(new URL("status", url).href, signal)) as
    | { readonly result?: { readonly sync_info?: { readonly latest_block_height?: string } } }
    | undefined;
  return Number(answer?.result?.sync_info?.latest_block_height ?? 0);
}

async function idsOf(url: string, height: number, signal: AbortSignal): Promise<readonly string[]> {
  const answer = (await fetchJson(new URL(`block?height=${height}`, url).href, signal)) as
    | { readonly result?: { readonly block?: { readonly data?: { readonly txs?: readonly string[] } } } }
    | undefined;
  const data = answer?.result?.block?.data;
  if (data === undefined) throw new CodedError("peer_answer", { message: `no block ${height}` });
  return (data.txs ?? []).map((text) => present(Buffer.from(text, "base64").toString().split("=")[0], "key"));
}
