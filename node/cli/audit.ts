/** `pyralog audit`: walks everything that a node or a data directory holds, and names the first thing that does not hold. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { Archive } from "../archive/reader.ts";
import { archiveSource } from "../archive/source.ts";
import { audit, type AuditOptions, type AuditReport } from "../auditor/auditor.ts";
import { AUDIT_CODES, type AuditFault } from "../auditor/errors.ts";
import { rpcSource } from "../auditor/rpc-source.ts";
import { type AuditSource, type BlockHolder, ledgerSource, withHolders } from "../auditor/source.ts";
import { SYSTEM_DISK } from "../ports/disk.ts";
import { PyralogClient } from "../rpc/client.ts";
import { sourceOf } from "../snapshot/install.ts";
import { makeSnapshot } from "../snapshot/make.ts";
import { Shelf } from "../snapshot/shelf.ts";
import { requireSoundFiles } from "../scrub/files.ts";
import { settleStore } from "../scrub/repair.ts";
import { auditFollow, FOLLOW_OPTIONS, namedSnapshot, sampleCount, sampleOnce } from "./audit-follow.ts";
import { openClient } from "./client.ts";
import type { Answer } from "./answer.ts";
import { NODE_OPTIONS, type Command } from "./command.ts";
import { urlsOf } from "./light.ts";
import type { Invocation } from "./invocation.ts";

/** `pyralog audit`. */
export const AUDIT_COMMAND: Command = {
  name: "audit",
  summary: "execute the whole chain again and check everything against it",
  detail:
    "Audits the node that --node names or that runs in the home; when none runs, the home's data directory.\nChecks every header, certificate, transaction, result and root by doing it again from the network file on, then every\nrow of the newest state, every record, and old headers. Believes nothing of what it audits.\nA node that began with a snapshot, or forgets old blocks, cannot show them. Name who can, --archive or --rpc, and all is\nexecuted from genesis. Without them --data begins with the oldest state that the node keeps, and --snapshot with one of a\ndirectory of chunks: that state and every header before it are proven by a certificate, what led there is not executed,\nand the report says from which height on everything was.\nWith --follow it goes on with every new block, compares the nodes of --rpc, and tells of rollback, lies and split views;\na split view is written as a fraud proof and ends it with exit code 3.",
  options: {
    data: { kind: "flag", description: "audit the data directory of the home, whose node must be stopped" },
    ...FOLLOW_OPTIONS,
    rpc: {
      ...FOLLOW_OPTIONS["rpc"],
      kind: "text",
      description: "nodes to follow, or that have the blocks which the audited one lacks (default: the node of --node)",
    },
    archive: { kind: "text", value: "DIR|URL", description: "an archive that has the blocks which the audited node lacks" },
    ...NODE_OPTIONS,
  },
  examples: [
    "pyralog audit",
    "pyralog audit --node http://127.0.0.1:26681 --network ./network.json --json",
    "pyralog audit --data --home ./testnet/validator-0",
    "pyralog audit --data --archive https://archive.example/pyralog",
    "pyralog audit --node http://127.0.0.1:26681 --network ./network.json --snapshot ./backup",
    "pyralog audit --follow --rpc http://127.0.0.1:26680,http://127.0.0.1:26681 --metrics-port 9464 --cosign witness",
    "pyralog audit --sample 1000 --rpc http://127.0.0.1:26680",
  ],
  exits: { audit_split: 3 },
  run: async (invocation) => {
    const { home } = invocation;
    if (invocation.flag("follow")) return await auditFollow(invocation);
    const samples = sampleCount(invocation);
    if (samples !== undefined) return await sampleOnce(invocation, samples);
    const isRunning = (await home.runState()).kind === "running";
    const isRemote = !invocation.flag("data") && (isRunning || invocation.text("node") !== undefined || !(await home.exists()));
    if (isRemote) return answerOf(invocation, rpcSource(await openClient(invocation), invocation.signal), undefined);
    await home.require();
    await home.requireStopped();
    return auditData(invocation);
  },
};

async function auditData(invocation: Invocation): Promise<Answer> {
  const { home } = invocation;
  const network = await invocation.network();
  await settleStore(home.storePath);
  await requireSoundFiles(home.storePath);
  await using store = await openLevelStore({ path: home.storePath });
  // Opening reads enough to notice gross damage; that is a finding as well.
  const ledger = await Ledger.open({ store, network, executor: EXECUTOR });
  return await answerOf(invocation, ledgerSource(ledger, EXECUTOR, home.storePath), ledger);
}

/** Who else has blocks, as the options name them. */
async function holdersOf(invocation: Invocation): Promise<readonly BlockHolder[]> {
  const { signal } = invocation;
  const network = await invocation.network();
  const urls = invocation.text("rpc") === undefined ? [] : urlsOf(invocation, "rpc");
  const nodes = urls.map((url) => rpcSource(new PyralogClient({ url, network }), signal));
  const place = invocation.text("archive");
  if (place === undefined) return nodes;
  const archive = await Archive.open(archiveSource(place), network, signal);
  return [{ name: place, height: async (height) => await archive.blockBytes(height) }, ...nodes];
}

/** The snapshot to begin with: of --snapshot, else of what a data directory keeps when nobody has the blocks before it. */
async function baseOf(
  invocation: Invocation,
  { ledger, isHeld, directory }: { readonly ledger: Ledger | undefined; readonly isHeld: boolean; readonly directory: string },
): Promise<AuditOptions["base"]> {
  const named = await namedSnapshot(invocation);
  if (named !== undefined) return async () => named;
  if (ledger === undefined || isHeld || ledger.oldestBlock() <= 1n) return undefined;
  const [block, state] = [ledger.oldestBlock(), ledger.oldestState()];
  return async () => {
    const shelf = await Shelf.open(join(directory, "chunks"), SYSTEM_DISK);
    return sourceOf(shelf, await makeSnapshot(ledger, block > state ? block : state, { shelf, signal: invocation.signal }));
  };
}

/** @param ledger - of the source, when it is a data directory */
async function answerOf(invocation: Invocation, source: AuditSource, ledger: Ledger | undefined): Promise<Answer> {
  const network = await invocation.network();
  const holders = await holdersOf(invocation);
  const directory = await mkdtemp(join(tmpdir(), "pyralog-audit-"));
  using progress = invocation.progress("Auditing");
  try {
    const store = await openLevelStore({ path: join(directory, "replica") });
    const audited = await audit({
      source: withHolders(source, holders),
      base: await baseOf(invocation, { ledger, isHeld: holders.length > 0, directory }),
      network,
      executor: EXECUTOR,
      store,
      signal: invocation.signal,
      onProgress: ({ height, target }) => progress.update(height, target),
    });
    if (!audited.ok) throw faultError(audited.error, source.name);
    return reportAnswer(audited.value);
  } finally {
    await rm(directory, { recursive: true });
  }
}

function faultError(fault: AuditFault, source: string): CodedError {
  const { code, height, field, reason, holder } = fault;
  const where = `height ${height}${field === undefined ? "" : `, ${field}`}`;
  return new CodedError(code, {
    ...fault,
    field: field ?? `height ${height}`,
    message: `${code === "audit_base" ? "the snapshot" : (holder ?? source)} does not hold at ${where}${reason === undefined ? "" : ` (${reason})`}: ${AUDIT_CODES[code]}`,
  });
}

function reportAnswer(report: AuditReport): Answer {
  const {
    source,
    height,
    stateRoot,
    from,
    headersBefore,
    blocksElsewhere,
    headers,
    certificates,
    signatures,
    transactions,
    results,
    stateRows,
    records,
    historyProofs,
  } = report;
  return {
    json: { valid: true, ...report },
    text: [
      from === 1n ? `${source} holds up to height ${height}` : `${source} holds from height ${from} to height ${height}`,
      ...(from === 1n
        ? []
        : [
            `  not executed   heights 1 to ${headersBefore}: their headers are proven, and the state after them is what its validators`,
            "                 certified; to execute them as well, name who has the blocks: --archive, --rpc",
          ]),
      `  state root     ${toHex(stateRoot)}`,
      `  headers        ${headers}, each executed again with equal roots`,
      ...(blocksElsewhere === 0 ? [] : [`  elsewhere      ${blocksElsewhere} of the blocks, which the source does not keep`]),
      `  certificates   ${certificates} with ${signatures} signatures`,
      `  transactions   ${transactions} with ${results} results`,
      `  state rows     ${stateRows}, proven complete`,
      `  records        ${records}, each proven`,
      `  old headers    ${historyProofs} proven from the newest`,
    ].join("\n"),
  };
}
