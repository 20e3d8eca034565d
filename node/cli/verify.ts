/** `pyralog verify`: checks a proof file offline, with nothing but the network file; a receipt in a foreign format, with a key. */

import { bytesEqual, parseHex, toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { formatAddress } from "../../crypto/identity/address.ts";
import { type PublicKey, publicKeySizeBytes } from "../../crypto/sign/key.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import { RECORD_ENCODING_SIZE_BYTES_MAX } from "../../chain/block/record.ts";
import { readFileBounded } from "../home/files.ts";
import { PROOF_FILE_SIZE_BYTES_MAX, type ProvenStatement, verifyProofFile } from "../light/prooffile.ts";
import { type NoteKey, parseNoteKey } from "../light/checkpoint.ts";
import { verifyCoseReceipt } from "../light/cose.ts";
import { provenOrThrow, UnprovenError } from "../light/errors.ts";
import { verifyTlogProof } from "../light/recordlog.ts";
import { fileKind, type Notarisation, type Receipt, verifyNotarisation, verifyReceipt } from "../light/receipt.ts";
import { fileDigest } from "./notarize.ts";
import { isFraudFile, verifyFraudFile } from "../light/fraud.ts";
import { PyralogClient } from "../rpc/client.ts";
import { recordLogRootByChain } from "../rpc/logreceipt.ts";
import { bytesJson, bytesText, callText, rowValueJson } from "./calls.ts";
import { timeText } from "./client.ts";
import type { Answer, Json } from "./answer.ts";
import type { Command } from "./command.ts";
import { jsonText } from "./json.ts";
import type { Invocation } from "./invocation.ts";
import { recordJson, recordText } from "./query.ts";
import { fraudJson, fraudText } from "./light.ts";
import { resultJson, resultText, transactionJson } from "./transaction-text.ts";
import { usageError } from "./usage.ts";

/** `pyralog verify`. */
export const VERIFY_COMMAND: Command = {
  name: "verify",
  summary: "check a proof file, a receipt, a notarisation or a fraud proof offline, against the network file alone",
  detail:
    "A tlog proof or a COSE receipt is the word of whoever signed it: --key says whose. With --recompute the signed root is held\nagainst the chain: every record up to it is fetched from a node, proven, and hashed.",
  positionals: ["FILE"],
  options: {
    key: {
      kind: "texts",
      value: "KEY",
      description: "note key, or 64 hex digits, that must have signed a tlog proof or COSE receipt",
    },
    record: { kind: "text", value: "FILE", description: "the record of a tlog proof or COSE receipt, if it is not in the file" },
    recompute: {
      kind: "flag",
      description: "reckon the log of a tlog proof or COSE receipt again, from a node's proven records",
    },
    document: { kind: "text", value: "FILE", description: "the document that a notarisation must be of" },
    node: { kind: "text", value: "URL", description: "node to ask with --recompute (default: as for every verb that asks one)" },
    network: { kind: "text", value: "FILE", description: "network file to verify against (default: the home's network.json)" },
  },
  examples: [
    "pyralog export proof row shop orders o-1 --out row.proof && pyralog verify row.proof",
    "pyralog verify row.proof --network ./network.json --json",
    "pyralog verify append.tlog-proof --key pyralog/main/9f.../rfc9162/events/0+1a2b3c4d+AR...",
  ],
  run: verifyFile,
};

async function verifyFile(invocation: Invocation): Promise<Answer> {
  const path = invocation.positional(0);
  const bytes = await readFileBounded(path, PROOF_FILE_SIZE_BYTES_MAX);
  if (bytes === undefined) throw new CodedError("file_missing", { path, field: "FILE", message: `${path} is not there` });
  const network = await invocation.network();
  if (isFraudFile(bytes)) {
    const fraud = provenOrThrow(await verifyFraudFile(bytes, network));
    return { json: { valid: true, fraud: fraudJson(fraud) }, text: `Proven: ${fraudText(fraud)}` };
  }
  const kind = fileKind(bytes);
  if (kind === "receipt") return receiptAnswer(provenOrThrow(await verifyReceipt(bytes, network)), {}, []);
  if (kind === "tlog" || kind === "cose") return await logReceiptAnswer(invocation, { kind, bytes, network });
  if (kind === "notarisation")
    return await notarisationAnswer(invocation, provenOrThrow(await verifyNotarisation(bytes, network)));
  const proven = await verifyProofFile(bytes, network);
  if (!proven.ok) throw new UnprovenError(proven.error);
  const { statement, height, timeMs, certifiedHeight, how } = proven.value;
  return {
    json: { valid: true, statement: statementJson(statement), height, timeMs, certifiedHeight, how },
    text: `Proven at height ${height} (${timeText(timeMs)}):\n${statementText(statement)}\n${how.map((line) => `  - ${line}`).join("\n")}`,
  };
}

/** A receipt of a record log, held against the keys that are given, the chain, or both. */
async function logReceiptAnswer(
  invocation: Invocation,
  file: { readonly kind: "tlog" | "cose"; readonly bytes: Uint8Array; readonly network: NetworkFile },
): Promise<Answer> {
  const { kind, bytes, network } = file;
  const keys = invocation.texts("key").map(requireKey);
  const isRecomputed = invocation.flag("recompute");
  if (keys.length === 0 && !isRecomputed)
    throw usageError("usage_missing_option", "it proves nothing but whose word it is: name a --key, or --recompute it", {
      field: "--key",
    });
  const path = invocation.text("record");
  const entry = path === undefined ? undefined : await readFileBounded(path, RECORD_ENCODING_SIZE_BYTES_MAX);
  if (path !== undefined && entry === undefined)
    throw new CodedError("file_missing", { path, field: "--record", message: `${path} is not there` });
  const verify = kind === "tlog" ? verifyTlogProof : verifyCoseReceipt;
  const { origin, size, root, record, signers } = provenOrThrow(verify(bytes, { network, keys, entry }));
  if (isRecomputed) {
    using progress = invocation.progress("Hashing records");
    const client = new PyralogClient({ url: await invocation.nodeUrl(), network });
    const options = { signal: invocation.signal, onProgress: (done: bigint) => progress.update(done, size) };
    if (!bytesEqual(await recordLogRootByChain(client, { ...record, size }, options), root))
      throw new UnprovenError({ code: "logreceipt_root", field: "root" });
  }
  const how = [
    "the record's bytes lead to the root of this log, by SHA-256",
    ...signers.map(({ key, timeS }) =>
      timeS === undefined
        ? `the root is signed with ${toHex(key.bytes)}`
        : `the root is cosigned with ${toHex(key.bytes)} at ${timeText(timeS * 1000n)}`,
    ),
    isRecomputed
      ? "the root is that of the chain's records, each proven by consensus"
      : "that the root is the chain's is the signer's word, and no validator's",
  ];
  return {
    json: {
      valid: true,
      format: kind,
      origin,
      size,
      root,
      record: recordJson(record),
      signers: signers.map(({ key, timeS }) => ({ key: key.bytes, timeS: timeS ?? null })),
      recomputed: isRecomputed,
      how,
    },
    text: [
      `Record ${record.index} of the ${size} of ${origin}:`,
      `  ${recordText(record)}`,
      ...how.map((line) => `  - ${line}`),
    ].join("\n"),
  };
}

function requireKey(text: string): NoteKey | PublicKey {
  const hex = parseHex(text);
  if (hex.ok && hex.value.length === publicKeySizeBytes("ed25519")) return { type: "ed25519", bytes: hex.value };
  const key = parseNoteKey(text);
  if (key.ok) return key.value;
  throw usageError("usage_option_value", "--key must be a note key (NAME+ID+BASE64) or 64 hex digits", { field: "--key" });
}

/** A notarisation, held against the document if there is one. */
async function notarisationAnswer(invocation: Invocation, notarisation: Notarisation): Promise<Answer> {
  const { receipt, algorithm, digest } = notarisation;
  const document = invocation.text("document");
  if (document !== undefined && (algorithm !== "sha2-256" || !bytesEqual(await fileDigest(document), digest)))
    throw new UnprovenError({ code: "receipt_mismatch", field: "document" });
  const isDocument = document === undefined ? "the document whose" : `${document}, whose`;
  const words = `${isDocument} ${algorithm} is ${toHex(digest)} existed no later than ${timeText(receipt.timeMs)}`;
  return receiptAnswer(receipt, { algorithm, digest, document: document ?? null }, [words]);
}

function receiptAnswer(receipt: Receipt, more: { readonly [name: string]: Json }, words: readonly string[]): Answer {
  const { act, transaction, record, height, timeMs, certifiedHeight, how } = receipt;
  const writer = formatAddress(transaction.body.sender);
  return {
    json: {
      valid: true,
      act,
      writer,
      transaction: transaction.id,
      record: recordJson(record),
      height,
      timeMs,
      certifiedHeight,
      ...more,
      how: [...how],
    },
    text: [
      `${act === "erased" ? "Erased" : "Written"} by ${writer} at height ${height} (${timeText(timeMs)}):`,
      `  ${recordText(record)}`,
      ...words.map((line) => `  ${line}`),
      ...how.map((line) => `  - ${line}`),
    ].join("\n"),
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
      return { kind: "record", ...(recordJson(statement.record) as object) };
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
      return `  ${recordText(statement.record)}`;
  }
}
