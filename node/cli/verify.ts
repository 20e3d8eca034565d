/** `pyralog verify`: checks a proof file offline, with nothing but the network file. */

import { toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { formatAddress } from "../../crypto/identity/address.ts";
import { readFileBounded } from "../home/files.ts";
import { PROOF_FILE_SIZE_BYTES_MAX, type ProvenStatement, verifyProofFile } from "../light/prooffile.ts";
import { UnprovenError } from "../light/errors.ts";
import { bytesJson, bytesText, callText, rowValueJson } from "./calls.ts";
import { timeText } from "./client.ts";
import type { Answer, Json } from "./answer.ts";
import type { Command } from "./command.ts";
import { jsonText } from "./json.ts";
import type { Invocation } from "./invocation.ts";
import { resultJson, resultText, transactionJson } from "./transaction-text.ts";

/** `pyralog verify`. */
export const VERIFY_COMMAND: Command = {
  name: "verify",
  summary: "check a proof file offline, against the network file alone",
  positionals: ["FILE"],
  options: {
    network: { kind: "text", value: "FILE", description: "network file to verify against (default: the home's network.json)" },
  },
  examples: [
    "pyralog export proof row shop orders o-1 --out row.proof && pyralog verify row.proof",
    "pyralog verify row.proof --network ./network.json --json",
  ],
  run: verifyFile,
};

async function verifyFile(invocation: Invocation): Promise<Answer> {
  const path = invocation.positional(0);
  const bytes = await readFileBounded(path, PROOF_FILE_SIZE_BYTES_MAX);
  if (bytes === undefined) throw new CodedError("file_missing", { path, field: "FILE", message: `${path} is not there` });
  const proven = await verifyProofFile(bytes, await invocation.network());
  if (!proven.ok) throw new UnprovenError(proven.error);
  const { statement, height, timeMs, how } = proven.value;
  return {
    json: { valid: true, statement: statementJson(statement), height, timeMs, how },
    text: `Proven at height ${height} (${timeText(timeMs)}):\n${statementText(statement)}\n${how.map((line) => `  - ${line}`).join("\n")}`,
  };
}

function statementJson(statement: ProvenStatement): Json {
  switch (statement.kind) {
    case "row": {
      const { kind, namespace, table, key, value } = statement;
      return {
        kind,
        namespace,
        table,
        key: bytesJson(key),
        present: value !== undefined,
        ...(value === undefined ? {} : { value: rowValueJson(value) }),
      };
    }
    case "range": {
      const { kind, namespace, table, from, to, rows } = statement;
      const bound = (bytes: Uint8Array | undefined): Json => (bytes === undefined ? null : bytesJson(bytes));
      return {
        kind,
        namespace,
        table,
        from: bound(from),
        to: bound(to),
        rows: rows.map(({ key, value }) => ({ key: bytesJson(key), value: rowValueJson(value) })),
      };
    }
    case "account":
      return { kind: "account", address: formatAddress(statement.address), ...statement.account };
    case "transaction":
      return { kind: "transaction", transaction: transactionJson(statement.transaction), result: resultJson(statement.result) };
    case "record":
      return { kind: "record", ...statement.record, data: bytesJson(statement.record.data) };
  }
}

function statementText(statement: ProvenStatement): string {
  switch (statement.kind) {
    case "row":
      return `  ${statement.namespace}/${statement.table} ${bytesText(statement.key)} ${statement.value === undefined ? "is absent" : `= ${jsonText(rowValueJson(statement.value))}`}`;
    case "range":
      return [
        `  ${statement.namespace}/${statement.table}: all ${statement.rows.length} rows`,
        ...statement.rows.map(({ key, value }) => `    ${bytesText(key)} = ${jsonText(rowValueJson(value))}`),
      ].join("\n");
    case "account":
      return `  ${formatAddress(statement.address)}  balance ${statement.account.balance}  nonce ${statement.account.nonce}`;
    case "transaction":
      return `  ${toHex(statement.transaction.id)}  ${statement.transaction.body.calls.map(callText).join("; ")}: ${resultText(statement.result)}`;
    case "record":
      return `  ${statement.record.stream}/${statement.record.partition}[${statement.record.index}] = ${bytesText(statement.record.data)}`;
  }
}
