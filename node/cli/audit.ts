/** `pyralog audit`: walks everything that a node or a data directory holds, and names the first thing that does not hold. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { audit, type AuditReport } from "../auditor/auditor.ts";
import { AUDIT_CODES, type AuditFault } from "../auditor/errors.ts";
import { rpcSource } from "../auditor/rpc-source.ts";
import { type AuditSource, ledgerSource } from "../auditor/source.ts";
import { openClient } from "./client.ts";
import type { Answer } from "./answer.ts";
import { NODE_OPTIONS, type Command } from "./command.ts";
import type { Invocation } from "./invocation.ts";

/** `pyralog audit`. */
export const AUDIT_COMMAND: Command = {
  name: "audit",
  summary: "execute the whole chain again and check everything against it",
  detail:
    "Audits the node that --node names or that runs in the home; when none runs, the home's data directory.\nChecks every header, certificate, transaction, result and root by doing it again from the network file on, then every\nrow of the newest state, every record, and old headers. Believes nothing of what it audits.",
  options: {
    data: { kind: "flag", description: "audit the data directory of the home, whose node must be stopped" },
    ...NODE_OPTIONS,
  },
  examples: [
    "pyralog audit",
    "pyralog audit --node http://127.0.0.1:26681 --network ./network.json --json",
    "pyralog audit --data --home ./testnet/validator-0",
  ],
  run: async (invocation) => {
    const { home } = invocation;
    const isRunning = (await home.runState()).kind === "running";
    const isRemote = !invocation.flag("data") && (isRunning || invocation.text("node") !== undefined || !(await home.exists()));
    if (isRemote) return answerOf(invocation, rpcSource(await openClient(invocation), invocation.signal));
    await home.require();
    await home.requireStopped();
    return auditData(invocation);
  },
};

async function auditData(invocation: Invocation): Promise<Answer> {
  const { home } = invocation;
  const network = await invocation.network();
  await using store = await openLevelStore({ path: home.storePath });
  // Opening reads enough to notice gross damage; that is a finding as well.
  const ledger = await Ledger.open({ store, network, executor: EXECUTOR });
  return await answerOf(invocation, ledgerSource(ledger, home.storePath));
}

async function answerOf(invocation: Invocation, source: AuditSource): Promise<Answer> {
  const network = await invocation.network();
  const directory = await mkdtemp(join(tmpdir(), "pyralog-audit-"));
  using progress = invocation.progress("Auditing");
  try {
    const store = await openLevelStore({ path: join(directory, "replica") });
    const audited = await audit({
      source,
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
  const { code, height, field, reason } = fault;
  const where = `height ${height}${field === undefined ? "" : `, ${field}`}`;
  return new CodedError(code, {
    ...fault,
    field: field ?? `height ${height}`,
    message: `${source} does not hold at ${where}${reason === undefined ? "" : ` (${reason})`}: ${AUDIT_CODES[code]}`,
  });
}

function reportAnswer(report: AuditReport): Answer {
  const {
    source,
    height,
    stateRoot,
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
      `${source} holds up to height ${height}`,
      `  state root     ${toHex(stateRoot)}`,
      `  headers        ${headers}, each executed again with equal roots`,
      `  certificates   ${certificates} with ${signatures} signatures`,
      `  transactions   ${transactions} with ${results} results`,
      `  state rows     ${stateRows}, proven complete`,
      `  records        ${records}, each proven`,
      `  old headers    ${historyProofs} proven from the newest`,
    ].join("\n"),
  };
}
