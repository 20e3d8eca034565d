/** Runs a node until it is asked to stop, for `start` and `join`. */

import { present } from "../../crypto/base/assert.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { formatAddress } from "../../crypto/identity/address.ts";
import { networkHash } from "../../chain/block/genesis.ts";
import type { Height } from "../../chain/block/height.ts";
import type { Config } from "../config/schema.ts";
import type { Home } from "../home/home.ts";
import { NODE_KEY_NAME, openKey } from "../home/keys.ts";
import type { JoinOptions, JoinReport } from "../join.ts";
import { type Log, openLog, type OpenLog } from "../log/log.ts";
import { isTransportFault } from "../network/faults.ts";
import type { Invocation } from "./invocation.ts";
import { jsonText } from "./json.ts";

/** What sysexits.h calls an internal software error. */
const EXIT_FAULT = 70;

/** A terminal shows what a person must see; everything goes to a file or a pipe. */
async function openNodeLog(invocation: Invocation, home: Home, config: Config): Promise<OpenLog> {
  const file = home.configuredLogFile(config);
  if (file !== undefined) return openLog({ level: config.log.level, destination: { file } });
  const isQuiet = invocation.isTerminal && (config.log.level === "info" || config.log.level === "debug");
  return openLog({ level: isQuiet ? "warn" : config.log.level, destination: "stderr" });
}

/**
 * Opens the node of a home, says where it answers, and waits for the end: a signal, or the failure of a part.
 *
 * @param options - `passphrase`: the one just used to make the home; asked for when absent. `joins`: how a home without a
 *   state gets one: from peers' snapshots, from the one that an earlier join began with, or by executing every block;
 *   `vouchedHeight`: see `beginConsensus`
 * @throws CodedError of whatever part of the node failed
 */
export async function runNode(
  invocation: Invocation,
  home: Home,
  options: {
    readonly passphrase?: string | undefined;
    readonly joins: "snapshot" | "resume" | "blocks";
    readonly vouchedHeight?: Height | undefined;
  },
): Promise<undefined> {
  const { passphrase, joins, vouchedHeight } = options;
  await home.require();
  await home.requireStopped();
  const config = await home.config(invocation.environment);
  const network = await home.network();
  const key = await openKey(home, NODE_KEY_NAME, passphrase ?? (await invocation.passphrase(home)));
  await using log = await openNodeLog(invocation, home, config);
  using _faults = survivingTransportFaults(log);
  using progress = invocation.progress("Syncing");
  await using stack = new AsyncDisposableStack();
  const watched = invocation.flag("stop-with-stdin") ? [stack.use(watchEnd(invocation.surroundings.stdin)).signal] : [];
  const signal = AbortSignal.any([invocation.signal, ...watched]);
  const startedAtMs = Date.now();
  await (await import("../scrub/repair.ts")).settleStore(home.storePath);
  // The node brings libp2p and the store with it, which other verbs need not wait for.
  const { Node } = await import("../node.ts");
  const nodeKey = { type: key.type, seed: key.seed };
  await joinFirst(invocation, { home, config, network, key: nodeKey, log, signal }, { joins, startedAtMs });
  if (signal.aborted) return undefined;
  const node = stack.use(
    await Node.open({
      home,
      config,
      network,
      key: nodeKey,
      log,
      signal,
      vouchedHeight,
      onSyncProgress: ({ height, target, peers }) => {
        if (height < target) progress.update(height, target, `${peers} peers`);
        else progress.clear();
      },
    }),
  );
  const rpcUrl = node.rpcUrl ?? "";
  stack.defer(() => home.removeRun());
  await home.writeRun({ startedAtMs, rpcUrl, peerId: node.peerId, listen: [...node.addresses] });
  const address = formatAddress(key.address);
  progress.clear();
  invocation.emit({
    json: {
      home: home.path,
      chainId: network.chainId,
      networkHash: toHex(networkHash(network)),
      height: node.height,
      rpcUrl,
      peerId: node.peerId,
      listen: node.addresses,
      address,
    },
    text: [
      `Node of ${network.chainId} at height ${node.height}`,
      `  JSON-RPC  ${rpcUrl === "" ? "off" : rpcUrl}`,
      ...node.addresses.map((each) => `  peers     ${each}`),
      `  address   ${address}`,
      "Stop with Ctrl-C.",
    ].join("\n"),
  });
  await ended(node.failed, signal);
  return undefined;
}

/** Under `--json`, how often progress is told at most. */
const REPORT_INTERVAL_MS = 500;

/** Gets a state from peers' snapshots, where there is none yet; questions are answered meanwhile. */
async function joinFirst(
  invocation: Invocation,
  node: Omit<JoinOptions, "onProgress" | "onOpen">,
  { joins, startedAtMs }: { readonly joins: "snapshot" | "resume" | "blocks"; readonly startedAtMs: number },
): Promise<void> {
  const { canJoin, dropGenesisStore, isJoining, joinFromSnapshot } = await import("../join.ts");
  if (joins === "snapshot") await dropGenesisStore(node);
  if (!canJoin(node) || joins === "blocks" || (joins === "resume" && !(await isJoining(node.home)))) return;
  const { home, signal } = node;
  using progress = invocation.progress("Joining");
  let toldMs = Number.NEGATIVE_INFINITY;
  let told = "";
  const onProgress = (report: JoinReport): void => {
    const { phase, sizeBytes, sizeBytesTotal, secondsLeft } = report;
    const note = secondsLeft === undefined ? phase : `${phase}, ${Math.ceil(secondsLeft)} s left`;
    progress.update(Math.round(sizeBytes / 1024), Math.round(sizeBytesTotal / 1024), `KB, ${note}, ${report.peers} peers`);
    const nowMs = performance.now();
    if (!invocation.flag("json") || (phase === told && nowMs - toldMs < REPORT_INTERVAL_MS)) return;
    [toldMs, told] = [nowMs, phase];
    // Standard output is for the one answer; this stands among the log lines.
    invocation.surroundings.stderr.write(
      `${jsonText({ join: { ...report, height: report.height ?? null, secondsLeft: secondsLeft ?? null } })}\n`,
    );
  };
  try {
    await joinFromSnapshot({
      ...node,
      onProgress,
      onOpen: async (open) => await home.writeRun({ startedAtMs, ...open, listen: [...open.listen] }),
    });
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await home.removeRun();
  }
}

/**
 * Keeps a stream that libp2p writes to after its end from taking the node down (`isTransportFault`). Anything else that
 * nobody caught is our fault, and the process falls at once: going on could say two things.
 */
function survivingTransportFaults(log: Log): Disposable {
  const onUncaught = (error: Error): void => {
    if (isTransportFault(error)) {
      log.warn({ code: "transport_fault", name: error.name, reason: error.message }, "a stream ended under libp2p");
      return;
    }
    log.error({ code: codeOf(error), stack: error.stack }, "uncaught error");
    process.exit(EXIT_FAULT);
  };
  process.on("uncaughtException", onUncaught);
  return { [Symbol.dispose]: () => void process.off("uncaughtException", onUncaught) };
}

/** Resolves at the signal; rejects when the node cannot go on. */
async function ended(failed: Promise<never>, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const onAbort = (): void => resolve();
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) resolve();
  try {
    await Promise.race([promise, failed]);
  } catch (error) {
    if (error instanceof CodedError) throw error;
    throw new CodedError(
      "node_failed",
      { reason: codeOf(error), message: `the node cannot go on: ${present(error as Error, "error").message}` },
      { cause: error },
    );
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** Aborts when a stream ends: whoever held its other end is gone. Reading keeps a process alive, so it is given up on disposal. */
function watchEnd(stream: NodeJS.ReadableStream): Disposable & { readonly signal: AbortSignal } {
  const ended = new AbortController();
  const events = ["end", "close", "error"] as const;
  const onEnd = (): void => ended.abort();
  for (const event of events) stream.once(event, onEnd);
  stream.resume();
  return {
    signal: ended.signal,
    [Symbol.dispose]: () => {
      for (const event of events) stream.off(event, onEnd);
      stream.pause();
      if ("unref" in stream && typeof stream.unref === "function") stream.unref();
    },
  };
}
