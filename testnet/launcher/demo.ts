/**
 * `npm run demo -- --json`: the main job, end to end, without anybody's help.
 *
 * Four validators start as processes. Somebody declares a stream and fills segments of it, notarises a document, proves a
 * row as it was, and has a record erased, all on the command line. A thousand signed transactions of every kind become
 * final, and each is proven to a client that trusts the network file alone. One validator is killed with SIGKILL on the
 * way, and comes back; a fifth node joins by executing every block, a sixth, killed as well, by a snapshot. A light client
 * skips to the head. A byte of a node's disk is altered, found and repaired. All hold the same state then, an auditor that
 * followed had nothing to tell, and the audit of each that has every block finds nothing.
 *
 * The last line on standard output is one JSON value; the exit code is 0 only if all of it held.
 */

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { present } from "../../crypto/base/assert.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { readManifest } from "../../node/home/manifest.ts";
import { damageAndRepair } from "./demo/damage.ts";
import { proveOldRow } from "./demo/history.ts";
import {
  alignNodes,
  goOnUntil,
  HEIGHT_FOR_SNAPSHOTS,
  holdsSameState,
  joinBySnapshot,
  KILLED_INDEX,
  workUnderKill,
} from "./demo/nodes.ts";
import { Program } from "./demo/program.ts";
import type { Say, Stage } from "./demo/stage.ts";
import { eraseRecord, fillStream, notarise } from "./demo/streams.ts";
import { auditAll, skipToHead, startAuditor, stopAuditor } from "./demo/watching.ts";
import { Workload } from "./demo/workload.ts";
import { freeBasePort, LocalNetwork, type LocalNode } from "./network.ts";
import { type Account, percentile } from "./sender.ts";
import { readOptions } from "../options.ts";

const MANIFEST_PATH = fileURLToPath(new URL("./networks/local.json", import.meta.url));
const START_TIMEOUT_MS = 60_000;
/** A demo's chain is short, and its sixth node joins by a snapshot of it. */
const SNAPSHOT_INTERVAL_HEIGHTS = 10;
/** How many transactions: half before one validator is killed, the rest while it is down and coming back. */
const TRANSACTIONS_DEFAULT = 1000;

/** What came of what was written on the command line. */
type Written = {
  readonly recordsAppended: number;
  readonly segmentsSealed: number;
  readonly notarised: boolean;
  readonly oldProofVerified: boolean;
  readonly recordErased: boolean;
};

/** What came of a thousand transactions, with a validator down on the way. */
type Worked = {
  readonly transactions: number;
  readonly proofsVerified: number;
  readonly finalizedPerSecond: number;
  readonly p50FinalityMs: number;
  readonly p99FinalityMs: number;
  readonly killedAndCaughtUp: boolean;
  readonly joined: boolean;
};

/** What came of those who join, watch and check. */
type Checked = {
  readonly joinedBySnapshot: boolean;
  /** Heights that a light client went over in one step. */
  readonly lightClientSkipped: number;
  readonly damageRepaired: boolean;
  readonly sameStateRoot: boolean;
  /** Heights that `pyralog audit --follow` executed; 0 when it had anything to tell. */
  readonly heightsWatched: number;
  readonly audits: number;
};

/** What the last line says. Later versions add fields. */
type Report = { readonly ok: boolean; readonly engine: string; readonly validators: number } & Written &
  Worked &
  Checked & { readonly seconds: number };

type Options = {
  readonly transactions: number;
  readonly port: number | undefined;
  readonly home: string | undefined;
  readonly say: Say;
};

async function demo(options: Options, signal: AbortSignal): Promise<Report> {
  const startedMs = performance.now();
  const directory = options.home ?? (await mkdtemp(join(tmpdir(), "pyralog-demo-")));
  const basePort = options.port ?? (await freeBasePort());
  const manifest = await readManifest(MANIFEST_PATH);
  process.env["PYRALOG_SNAPSHOTS_INTERVAL_HEIGHTS"] = `${SNAPSHOT_INTERVAL_HEIGHTS}`;
  await using network = await LocalNetwork.open({ directory, manifest, basePort, signal });
  await network.start({ timeoutMs: START_TIMEOUT_MS });
  options.say(`${network.nodes.length} validators finalise`);
  const files = join(directory, "files");
  await mkdir(files, { recursive: true });
  const stage: Stage = { network, program: new Program(signal), directory: files, signal };

  const written = await writeStories(stage, options.say);
  const trustedAt = await skipToHead(stage);
  const { worked, accounts } = await workStory(stage, options);
  const checked = await checkStories(stage, { accounts, trustedAt }, options.say);
  await network.stop();
  if (options.home === undefined) await rm(directory, { recursive: true });
  const steps = { ...written, ...worked, ...checked };
  return {
    ok:
      Object.values(steps).every((came) => came !== false && came !== 0) &&
      worked.transactions === options.transactions &&
      worked.proofsVerified >= options.transactions &&
      checked.audits === executorsOf(network).length,
    engine: network.network.engine.name,
    validators: network.homes.validators.length,
    ...steps,
    seconds: round((performance.now() - startedMs) / 1000),
  };
}

/** What writers do, each with transactions of their own: a stream, a notarisation, a row; then an erasure. */
async function writeStories(stage: Stage, say: Say): Promise<Written> {
  const [{ records, segments }, notarised, oldProofVerified] = await Promise.all([
    fillStream(stage, "alice"),
    notarise(stage, "bob"),
    proveOldRow(stage, "carol"),
  ]);
  say(`a stream holds ${records} records and ${segments} sealed segments`);
  say(claim(notarised, "a document is notarised, and verified offline"));
  say(claim(oldProofVerified, "a row as it was before it changed is proven from an archive, to two verifiers"));
  const recordErased = await eraseRecord(stage, "alice");
  say(claim(recordErased, "a record is erased, with its receipt; its neighbours still verify"));
  return { recordsAppended: records, segmentsSealed: segments, notarised, oldProofVerified, recordErased };
}

/** A thousand transactions with a validator down on the way, and a proof of each from whichever node. */
async function workStory(
  { network, signal }: Stage,
  { transactions, say }: Options,
): Promise<{ readonly worked: Worked; readonly accounts: readonly Account[] }> {
  const work = await Workload.open(network, { count: transactions, bystander: KILLED_INDEX }, signal);
  const killedAndCaughtUp = await workUnderKill(work, network, say, signal);
  await alignNodes(network, signal);
  // The network goes on meanwhile, until its chain is long enough to be joined by a snapshot.
  const [proofsVerified] = await Promise.all([work.prove(), goOnUntil(network, HEIGHT_FOR_SNAPSHOTS, signal)]);
  say(`${proofsVerified} proofs verified`);
  const { finalised, sendingSeconds, accounts } = work;
  const latencies = finalised.map(({ latencyMs }) => latencyMs);
  const worked = {
    transactions: finalised.length,
    proofsVerified,
    finalizedPerSecond: round(finalised.length / sendingSeconds),
    p50FinalityMs: round(percentile(latencies, 0.5)),
    p99FinalityMs: round(percentile(latencies, 0.99)),
    killedAndCaughtUp,
    joined: true,
  };
  return { worked, accounts };
}

/** Everybody who believes nobody: a node that joins, light clients, a disk that is not to be trusted, auditors. */
async function checkStories(
  stage: Stage,
  { accounts, trustedAt }: { readonly accounts: readonly Account[]; readonly trustedAt: bigint },
  say: Say,
): Promise<Checked> {
  const { network, program, signal } = stage;
  await using auditor = startAuditor(stage, network.nodes.slice(0, network.homes.validators.length));
  const watchedTo = await alignNodes(network, signal);
  const joinedBySnapshot = await joinBySnapshot(network, say, signal);
  const lightClientSkipped = Number((await skipToHead(stage)) - trustedAt);
  say(`a light client came from height ${trustedAt} to the head, over ${lightClientSkipped} heights at once`);

  const damaged = present(executorsOf(network).at(-1), "node");
  await damaged.stop();
  const damageRepaired = await damageAndRepair(stage, damaged);
  damaged.start();
  say(claim(damageRepaired, `a byte of ${damaged.name}'s store was altered, found, and repaired from peers`));
  const sameStateRoot = await holdsSameState(network, accounts, signal);
  say(claim(sameStateRoot, `${network.nodes.length} nodes hold the same state`));

  const heightsWatched = await stopAuditor(auditor, watchedTo);
  say(claim(heightsWatched > 0, `an auditor that followed ${heightsWatched} heights saw nothing wrong`));
  const audits = await auditAll(program, executorsOf(network), network.homes.networkPath);
  say(`${audits} audits found nothing`);
  return { joinedBySnapshot, lightClientSkipped, damageRepaired, sameStateRoot, heightsWatched, audits };
}

/** The nodes that have executed every block: all but the one that began with a snapshot. */
function executorsOf(network: LocalNetwork): readonly LocalNode[] {
  return network.nodes.slice(0, network.homes.validators.length + 1);
}

function claim(held: boolean, words: string): string {
  return held ? words : `NOT SO: ${words}`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

const HELP = `Usage: npm run demo -- [--json] [--transactions N] [--port BASE] [--home DIR]

Runs the whole of it on this machine and prints a report; exit code 0 only if all held.

  --json            only the last line, one JSON value, goes to standard output
  --transactions N  how many (default: ${TRANSACTIONS_DEFAULT})
  --port BASE       first port of the network (default: a free block)
  --home DIR        where the network is, and is left afterwards (default: a temporary directory, removed)
`;

async function main(): Promise<number> {
  const { values } = readOptions(HELP, {
    json: { type: "boolean" },
    transactions: { type: "string" },
    port: { type: "string" },
    home: { type: "string" },
  });
  const startedMs = performance.now();
  const say = (line: string): void =>
    void process.stderr.write(`${((performance.now() - startedMs) / 1000).toFixed(1).padStart(6)} s  ${line}\n`);
  const stopping = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stopping.abort());
  try {
    const report = await demo(
      {
        transactions: Number(values.transactions ?? TRANSACTIONS_DEFAULT),
        port: values.port === undefined ? undefined : Number(values.port),
        home: values.home,
        say,
      },
      stopping.signal,
    );
    if (values.json !== true) process.stdout.write(`${report.ok ? "All of it held." : "Something did not hold."}\n`);
    process.stdout.write(`${JSON.stringify(report)}\n`);
    return report.ok ? 0 : 1;
  } catch (error) {
    const { message, stack } = error instanceof Error ? error : { message: String(error), stack: undefined };
    process.stderr.write(`${error instanceof CodedError ? message : (stack ?? message)}\n`);
    process.stdout.write(
      `${JSON.stringify({ ok: false, error: { code: error instanceof CodedError ? error.code : "internal", message } })}\n`,
    );
    return 1;
  }
}

process.exitCode = await main();
