/** `pyralog audit --follow`: audits a network for as long as it is let, compares its nodes, and tells what it finds. */

import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import * as z from "zod";
import { networkHash, type NetworkFile } from "../../chain/block/genesis.ts";
import { nextHeight, heightOf } from "../../chain/block/height.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { LedgerRows } from "../../chain/ledger/rows.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { AUDIT_CODES, AUDITOR_CODES } from "../auditor/errors.ts";
import { countEvents, type ReportServer, serveReports, Webhook } from "../auditor/report.ts";
import { sample } from "../auditor/sample.ts";
import { type Alert, NODES_MAX, watch, type WatchEvent } from "../auditor/watch.ts";
import { Witness } from "../auditor/witness.ts";
import { DIRECTORY_MODE_PRIVATE, placeFile, readFileBounded } from "../home/files.ts";
import { openKey } from "../home/keys.ts";
import { openLog } from "../log/log.ts";
import { openMetrics } from "../metrics/metrics.ts";
import { PyralogClient } from "../rpc/client.ts";
import { LightVerifier } from "../light/verifier.ts";
import { sourceOf } from "../snapshot/install.ts";
import { type ChunkSource, restoreSnapshot } from "../snapshot/restore.ts";
import type { Answer } from "./answer.ts";
import { openShelf } from "./data.ts";
import { type OptionTable, PASSPHRASE_OPTIONS } from "./command.ts";
import { fraudJson, fraudText, RPC_OPTION, rpcUrls } from "./light.ts";
import type { Invocation } from "./invocation.ts";
import { usageError } from "./usage.ts";

/** Options of an audit that goes on. */
export const FOLLOW_OPTIONS: OptionTable = {
  follow: { kind: "flag", description: "go on with every new block, and compare the nodes of --rpc" },
  sample: { kind: "text", value: "N", description: "check N random blocks, rows and records instead of executing everything" },
  ...RPC_OPTION,
  state: { kind: "text", value: "DIR", description: "where the replica and what was seen are kept (default: in the home)" },
  "metrics-port": { kind: "text", value: "PORT", description: "serve /metrics and /checkpoint on loopback" },
  webhook: { kind: "text", value: "URL", description: "POST each alert there as JSON" },
  cosign: { kind: "text", value: "NAME", description: "cosign audited heads with this Ed25519 key of the home" },
  "cosign-as": { kind: "text", value: "TEXT", description: "the witness's name in cosignatures (default: the key's)" },
  snapshot: { kind: "text", value: "DIR", description: "begin with the newest snapshot of this directory of chunks" },
  ...PASSPHRASE_OPTIONS,
};

const POLL_MS = 1_000;
const SAMPLES_DEFAULT = 2;
const SAMPLES_MAX = 100_000;
const HEADS_SIZE_BYTES_MAX = 64 * 1024;

/** Checks random answers of one node, once. */
export async function sampleOnce(invocation: Invocation, count: number): Promise<Answer> {
  const network = await invocation.network();
  const [url = ""] = await rpcUrls(invocation);
  const client = new PyralogClient({ url, network });
  using progress = invocation.progress("Sampling");
  for (let done = 0; done < count; done += 1) {
    await sample(client, draw, invocation.signal);
    progress.update(done + 1, count);
  }
  const { headHeight = 0n } = client;
  return {
    json: { valid: true, source: url, height: headHeight, samples: count },
    text: `${url}: ${count} random answers proved themselves, up to height ${headHeight}`,
  };
}

/** The snapshot that `--snapshot` names. @throws CodedError `snapshot_missing` */
export async function namedSnapshot(invocation: Invocation): Promise<ChunkSource | undefined> {
  const directory = invocation.text("snapshot");
  if (directory === undefined) return undefined;
  const shelf = await openShelf(resolve(directory));
  const [newest] = shelf.snapshots();
  if (newest === undefined)
    throw new CodedError("snapshot_missing", { field: "--snapshot", message: `${directory} has no whole snapshot` });
  return sourceOf(shelf, newest);
}

/** The replica of an audit that goes on: where it was, else at a snapshot, each chunk of it proven, else at genesis. */
async function openReplica(invocation: Invocation, path: string): Promise<Ledger> {
  const network = await invocation.network();
  const { signal } = invocation;
  const snapshot = await namedSnapshot(invocation);
  await using stack = new AsyncDisposableStack();
  const store = stack.use(await openLevelStore({ path }));
  if (snapshot !== undefined && new LedgerRows(store).networkHash() === undefined)
    await restoreSnapshot(snapshot, { store, network, signal });
  stack.move();
  return await Ledger.open({ store, network, executor: EXECUTOR });
}

/** How many samples `--sample` asks for. */
export function sampleCount(invocation: Invocation): number | undefined {
  return invocation.integer("sample", { min: 1, max: SAMPLES_MAX });
}

/** Runs until it is stopped, or until the network is split. */
export async function auditFollow(invocation: Invocation): Promise<Answer | undefined> {
  const { signal, home } = invocation;
  const network = await invocation.network();
  const urls = await rpcUrls(invocation);
  if (urls.length > NODES_MAX)
    throw usageError("usage_option_value", `--rpc takes at most ${NODES_MAX} nodes`, { field: "--rpc" });
  const count = sampleCount(invocation);
  const state = invocation.text("state") ?? join(home.path, "audit", toHex(networkHash(network)).slice(0, 32));
  await mkdir(join(state, "replica"), { recursive: true, mode: DIRECTORY_MODE_PRIVATE });
  await using stack = new AsyncDisposableStack();
  const log = stack.use(await openLog({ level: "warn", destination: "stderr" }));
  const replica = count === undefined ? stack.use(await openReplica(invocation, join(state, "replica"))) : undefined;
  if (replica !== undefined && replica.oldestBlock() > 1n)
    invocation.emit({
      json: { event: "begun", from: replica.oldestBlock() + 1n },
      text: `Executes from height ${replica.oldestBlock() + 1n} on; what is before is proven by the snapshot's certificate, and not executed`,
    });
  const witness = await openWitness(invocation, { network, replica, state });
  const metrics = openMetrics({ process: true });
  const note = countEvents(metrics);
  const port = invocation.integer("metrics-port", { min: 0, max: 65_535 });
  const server: ReportServer | undefined =
    port === undefined ? undefined : stack.use(await serveReports(port, { metrics, checkpoint: () => witness?.newest }));
  if (server !== undefined)
    invocation.emit({
      json: { event: "listening", url: server.url, ...(witness === undefined ? {} : { verifierKey: witness.verifierKey }) },
      text: `Metrics at ${server.url}/metrics${witness === undefined ? "" : `, cosigned checkpoints at ${server.url}/checkpoint, of\n  ${witness.verifierKey}`}`,
    });
  const webhook = openWebhook(invocation, { network, log, metrics });
  const heads = await loadHeads(state);
  const verifier = LightVerifier.fromGenesis(network);
  const events = watch({
    clients: urls.map((url) => new PyralogClient({ url, network, verifier })),
    replica,
    samples: count ?? SAMPLES_DEFAULT,
    draw,
    pollMs: POLL_MS,
    signal,
    heads,
  });
  let last: Alert | undefined;
  for await (const event of events) {
    note(event);
    await placeFile(join(state, "heads.json"), `${JSON.stringify([...heads].map(([url, height]) => [url, `${height}`]))}\n`);
    if (event.kind === "alert") {
      last = event;
      webhook?.tell(event);
    } else if (witness !== undefined && replica !== undefined)
      await witness.cosign(event.header, (size) => replica.header(nextHeight(heightOf(size)))?.historyRoot);
    invocation.emit(await eventAnswer(event, state));
  }
  await webhook?.drained();
  if (last?.code === "audit_split")
    throw new CodedError("audit_split", { message: AUDIT_CODES.audit_split, field: `height ${last.height}` });
  return undefined;
}

async function openWitness(
  invocation: Invocation,
  { network, replica, state }: { readonly network: NetworkFile; readonly replica: Ledger | undefined; readonly state: string },
): Promise<Witness | undefined> {
  const name = invocation.text("cosign");
  if (name === undefined) return undefined;
  if (replica === undefined || replica.oldestBlock() > 1n || network.engine.name === "pow")
    throw new CodedError("witness_mode", { message: AUDITOR_CODES.witness_mode, field: "--cosign" });
  const { keyPair } = await openKey(invocation.home, name, await invocation.passphrase(invocation.home));
  return await Witness.open({
    name: invocation.text("cosign-as") ?? name,
    keyPair,
    path: join(state, "checkpoint"),
    networkHash: networkHash(network),
    nowMs: Date.now,
  });
}

function openWebhook(
  invocation: Invocation,
  parts: Pick<ConstructorParameters<typeof Webhook>[0], "network" | "log" | "metrics">,
): Webhook | undefined {
  const url = invocation.text("webhook");
  if (url === undefined) return undefined;
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw usageError("usage_option_value", "--webhook must be an http or https URL", { field: "--webhook" });
  return new Webhook({ url, signal: invocation.signal, ...parts });
}

const headsSchema = z.array(z.tuple([z.string().max(2_048), z.string().regex(/^\d{1,19}$/)])).max(1_000);

/** What each node told before. Without it, going back is noticed from now on. */
async function loadHeads(state: string): Promise<Map<string, bigint>> {
  const bytes = await readFileBounded(join(state, "heads.json"), HEADS_SIZE_BYTES_MAX);
  if (bytes === undefined) return new Map();
  try {
    const parsed = headsSchema.safeParse(JSON.parse(new TextDecoder().decode(bytes)));
    return new Map(parsed.success ? parsed.data.map(([url, height]) => [url, BigInt(height)]) : []);
  } catch (error) {
    if (error instanceof SyntaxError) return new Map();
    throw error;
  }
}

async function eventAnswer(event: WatchEvent, state: string): Promise<Answer> {
  if (event.kind === "audited") {
    const { height, header, blocks, sizeBytes, seconds, samples, agreeing } = event;
    return {
      json: { event: "audited", height, stateRoot: header.stateRoot, blocks, sizeBytes, seconds, samples, agreeing },
      text: `${height}  holds: ${blocks} blocks, ${samples} samples, shown alike by ${agreeing} nodes`,
    };
  }
  const { code, url, height, reason, field, fraud } = event;
  const file = fraud === undefined ? undefined : join(state, `fraud-${fraud.proven.height}.proof`);
  if (file !== undefined && fraud !== undefined) await placeFile(file, fraud.file, { mode: 0o644 });
  return {
    json: {
      event: "alert",
      code,
      url,
      height,
      ...(reason === undefined ? {} : { reason }),
      ...(field === undefined ? {} : { field }),
      ...(fraud === undefined ? {} : { fraud: fraudJson(fraud.proven) }),
      ...(file === undefined ? {} : { file }),
    },
    text: `${code} at height ${height}, ${url}${reason === undefined ? "" : ` (${reason})`}: ${AUDIT_CODES[code]}${
      fraud === undefined ? "" : `\n${fraudText(fraud.proven)}\nWrote ${file}; see: pyralog verify ${file}`
    }`,
  };
}

/** What nobody can foresee, below 2^32 times 2^21. */
function draw(below: number): number {
  const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2));
  return ((high >>> 11) * 2 ** 32 + low) % below;
}
