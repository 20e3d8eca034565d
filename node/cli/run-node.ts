/** Runs a node until it is asked to stop, for `start` and `join`. */

import { present } from "../../crypto/base/assert.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { formatAddress } from "../../crypto/identity/address.ts";
import { networkHash } from "../../chain/block/genesis.ts";
import type { Config } from "../config/schema.ts";
import type { Home } from "../home/home.ts";
import { NODE_KEY_NAME, openKey } from "../home/keys.ts";
import { type Log, openLog, type OpenLog } from "../log/log.ts";
import { isTransportFault } from "../network/faults.ts";
import type { Invocation } from "./invocation.ts";

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
 * @param passphrase - the one just used to make the home; asked for when absent
 * @throws CodedError of whatever part of the node failed
 */
export async function runNode(invocation: Invocation, home: Home, passphrase?: string): Promise<undefined> {
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
  // The node brings libp2p and the store with it, which other verbs need not wait for.
  const { Node } = await import("../node.ts");
  const node = stack.use(
    await Node.open({
      home,
      config,
      network,
      key: { type: key.type, seed: key.seed },
      log,
      signal,
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
