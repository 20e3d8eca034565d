/**
 * `npm start -- --home DIR --port BASE`: a local network until Ctrl-C. The same directory goes on where it was.
 */

import { fileURLToPath } from "node:url";
import { networkHash } from "../../chain/block/genesis.ts";
import type { NetworkEngine } from "../../chain/block/protocol.ts";
import { present } from "../../crypto/base/assert.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { openLocalHomes, PORTS_COUNT, readManifest } from "../../node/home/manifest.ts";
import { LocalNetwork } from "./network.ts";
import { readEngineName, withProtocol, withValidators } from "./protocols.ts";
import { readOptions } from "../options.ts";

const MANIFEST_PATH_DEFAULT = fileURLToPath(new URL("./networks/local.json", import.meta.url));
const HOME_DEFAULT = fileURLToPath(new URL("../home", import.meta.url));
const BASE_PORT_DEFAULT = 26_600;
/** Each is a process of some hundred megabytes. */
const VALIDATORS_LOCAL_MAX = 16;
const START_TIMEOUT_MS = 60_000;
const PARENT_POLL_INTERVAL_MS = 500;

const HELP = `Usage: npm start -- [--home DIR] [--port BASE] [--engine NAME] [--validators N] [--dev]
                    [--manifest FILE] [--json]

Starts a network of validators on this machine and waits for Ctrl-C.

  --home DIR       where its homes are; made when missing, continued when there (default: testnet/home)
  --port BASE      first of ${PORTS_COUNT} ports: peers from BASE, JSON-RPC from BASE + 80 (default: ${BASE_PORT_DEFAULT})
  --engine NAME    tendermint, raft, pbft, pow or pos (default: what the manifest says)
  --validators N   how many nodes begin it (default: what the manifest says)
  --dev            allow so few validators that no fault is tolerated; never for anything of value
  --manifest FILE  what the network is (default: testnet/launcher/networks/local.json)
  --json           print one JSON value when it runs
`;

type Arguments = {
  readonly home: string;
  readonly port: number;
  readonly manifest: string;
  readonly engine: NetworkEngine | undefined;
  readonly validators: number | undefined;
  readonly dev: boolean;
  readonly json: boolean;
};

function readArguments(): Arguments {
  const { values } = readOptions(HELP, {
    home: { type: "string" },
    port: { type: "string" },
    manifest: { type: "string" },
    engine: { type: "string" },
    validators: { type: "string" },
    dev: { type: "boolean" },
    json: { type: "boolean" },
  });
  const port = Number(values.port ?? BASE_PORT_DEFAULT);
  if (!Number.isInteger(port) || port < 1 || port > 65_536 - PORTS_COUNT)
    throw new CodedError("port_invalid", { message: `--port must be 1 to ${65_536 - PORTS_COUNT}` });
  const validators = values.validators === undefined ? undefined : Number(values.validators);
  if (validators !== undefined && (!Number.isInteger(validators) || validators < 1 || validators > VALIDATORS_LOCAL_MAX))
    throw new CodedError("validators_invalid", { message: `--validators must be 1 to ${VALIDATORS_LOCAL_MAX}` });
  return {
    home: values.home ?? HOME_DEFAULT,
    port,
    manifest: values.manifest ?? MANIFEST_PATH_DEFAULT,
    engine: values.engine === undefined ? undefined : readEngineName(values.engine),
    validators,
    dev: values.dev === true,
    json: values.json === true,
  };
}

async function main(
  { home, port, manifest: manifestPath, engine, validators, dev, json }: Arguments,
  signal: AbortSignal,
): Promise<void> {
  const written = await readManifest(manifestPath);
  const sized = validators === undefined ? written : withValidators(written, validators);
  const allowed = dev ? { ...sized, parameters: { ...sized.parameters, dev } } : sized;
  const manifest = engine === undefined ? allowed : withProtocol(allowed, engine);
  const existing = await openLocalHomes(home);
  if (existing !== undefined && engine !== undefined && existing.network.engine.name !== engine) {
    throw new CodedError("home_engine", {
      message: `${home} holds a network of ${existing.network.engine.name}; give another --home`,
    });
  }
  if (existing !== undefined && existing.basePort !== port) {
    process.stderr.write(`${home} was made with --port ${existing.basePort}, which it keeps.\n`);
  }
  await buildExplorer();
  const startedMs = performance.now();
  await using network = await LocalNetwork.open({ directory: home, manifest, basePort: port, signal });
  await network.start({ timeoutMs: START_TIMEOUT_MS });
  const seconds = (performance.now() - startedMs) / 1000;
  const { accounts, networkPath } = network.homes;
  if (json) {
    const nodes = network.nodes.map(({ name, rpcUrl, home: each, pid }) => ({ name, rpcUrl, home: each.path, pid }));
    process.stdout.write(
      `${JSON.stringify({ chainId: network.network.chainId, engine: network.network.engine.name, network: networkPath, accounts: accounts.path, nodes, explorer: explorerUrl(network), seconds })}\n`,
    );
  } else {
    process.stdout.write(
      [
        `${network.network.chainId} runs ${network.network.engine.name}; the first block came after ${seconds.toFixed(1)} s.`,
        ...network.nodes.map(({ name, rpcUrl, logPath }) => `  ${name}  ${rpcUrl}  log ${logPath}`),
        `Look at it: ${explorerUrl(network)}`,
        `Keys of alice, bob, carol and dave are in ${accounts.path}. Try:`,
        `  npx pyralog tx transfer bob 1000 --from alice --home ${accounts.path}`,
        `  npx pyralog query account bob --home ${accounts.path}`,
        `Join with: npx pyralog join ${networkPath} --home ./node5 --generate-passphrase --p2p-port ${network.homes.basePort + 10} --rpc-port ${network.homes.basePort + 90}`,
        "Ctrl-C stops all of it.",
        "",
      ].join("\n"),
    );
  }
  await Promise.race([aborted(signal), ...network.nodes.map(async (node) => diedAlone(node, signal))]);
  if (!json) process.stdout.write("Stopping.\n");
}

/** The page that every node serves; without it the network runs as well. */
async function buildExplorer(): Promise<void> {
  try {
    const { ensurePage } = await import("../explorer/build.ts");
    await ensurePage();
  } catch (error) {
    // Installed without what builds it, or the sources do not bundle: nodes then say that it is not built.
    const reason = error instanceof CodedError ? error.message : codeOf(error);
    process.stderr.write(`The explorer is not built: ${reason}\n`);
  }
}

/** Where a browser finds the explorer; it need not trust the node that serves it, once the network's hash is pinned. */
function explorerUrl({ nodes, network }: LocalNetwork): string {
  return `${present(nodes[0], "validator").rpcUrl.replace(/\/?$/, "/")}explorer/?network=${toHex(networkHash(network))}`;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** One dead validator of four is what the network is made to survive; it is said, and the rest goes on. */
async function diedAlone(node: LocalNetwork["nodes"][number], signal: AbortSignal): Promise<void> {
  await node.exited;
  if (!signal.aborted) process.stderr.write(`${node.name} has exited:\n${await node.logTail()}\n`);
  await aborted(signal);
}

const stopping = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stopping.abort());

// npm does not always pass a signal on; when it is gone, so is whoever wanted this.
if (process.env["npm_lifecycle_event"] !== undefined) {
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) stopping.abort();
  }, PARENT_POLL_INTERVAL_MS).unref();
}

try {
  await main(readArguments(), stopping.signal);
} catch (error) {
  if (stopping.signal.aborted) process.exitCode = 0;
  else {
    process.stderr.write(
      `${error instanceof CodedError ? error.message : error instanceof Error ? (error.stack ?? error.message) : codeOf(error)}\n`,
    );
    process.exitCode = 1;
  }
}
