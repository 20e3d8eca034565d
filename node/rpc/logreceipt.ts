/**
 * Receipts of record logs, as a client gets them from nodes: the record is proven by consensus first, the path and each
 * signature are checked, and what several nodes sign at one size must be one root.
 */

import type * as z from "zod";
import { CodedError } from "../../crypto/base/error.ts";
import { utf8 } from "../../crypto/base/bytes.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { encodeRecord } from "../../chain/block/record.ts";
import { appendLeaf, EMPTY_FRONTIER, frontierRoot } from "../../chain/merkle/log.ts";
import { encodeNote, type NoteKey, type NoteSignature, parseNote, parseNoteKey } from "../light/checkpoint.ts";
import { verifyCoseReceipt, withEntry } from "../light/cose.ts";
import { provenOrThrow, UnprovenError } from "../light/errors.ts";
import { encodeTlogProof, type LogReceipt, type PartitionName, RECORD_LOG_HASHER, verifyTlogProof } from "../light/recordlog.ts";
import type { PyralogClient } from "./client.ts";
import { recordlogReceipt } from "./methods/recordlog.ts";
import type { CallOptions } from "./transport.ts";

/** A receipt as a file, and what it says. */
export type ExportedLogReceipt = {
  readonly file: Uint8Array;
  readonly receipt: LogReceipt;
  /** Who signed, in the order of the nodes. Whether the keys are theirs, ask their operators. */
  readonly keys: readonly NoteKey[];
};

/**
 * Makes a receipt of a record for foreign tools. A tlog proof is signed by the first node and by `operators`, a COSE receipt
 * by the first alone.
 *
 * @throws CodedError of the nodes; UnprovenError, `logreceipt_root` when two of them sign different roots, `logreceipt_dropped`
 * when the record is gone
 */
export async function exportLogReceipt(
  client: PyralogClient,
  place: PartitionName & { readonly index: bigint },
  options: CallOptions & { readonly format: LogReceipt["format"]; readonly operators?: readonly PyralogClient[] },
): Promise<ExportedLogReceipt> {
  const { stream, partition, index } = place;
  const { format, operators = [], signal } = options;
  const { value: record } = await client.record(stream, partition, index, { signal });
  if (record.dropped !== undefined) throw new UnprovenError({ code: "logreceipt_dropped", field: "record" });
  const entry = encodeRecord(record);
  const first = await askUntilBuilt(client, { stream, partition, index }, { signal });
  const note = parseNote(utf8(first.checkpoint));
  if (!note.ok) throw new UnprovenError({ code: "answer_malformed", field: "checkpoint" });
  const keys = [keyOf(first.key)];
  const signatures: NoteSignature[] = [...note.value.signatures];
  for (const [at, operator] of operators.entries()) {
    const answer = await askUntilBuilt(operator, { stream, partition, index, size: first.size }, { signal });
    const other = parseNote(utf8(answer.checkpoint));
    if (!other.ok) throw new UnprovenError({ code: "answer_malformed", field: "checkpoint" });
    if (other.value.text !== note.value.text) throw new UnprovenError({ code: "logreceipt_root", field: `operators.${at}` });
    keys.push(keyOf(answer.key));
    signatures.push(...other.value.signatures);
  }
  const check = { network: client.network, keys };
  if (format === "tlog") {
    const checkpoint = encodeNote({ text: note.value.text, signatures });
    const file = encodeTlogProof({ index, siblings: first.siblings }, { checkpoint, entry });
    return { file, receipt: provenOrThrow(verifyTlogProof(file, check)), keys };
  }
  const file = withEntry(first.cose, entry);
  if (file === undefined) throw new UnprovenError({ code: "answer_malformed", field: "cose" });
  return { file, receipt: provenOrThrow(verifyCoseReceipt(file, check)), keys };
}

/**
 * The root of a record log by the chain itself: each record is fetched and proven. Cost: as many records as `size`.
 *
 * @throws UnprovenError `logreceipt_dropped` when one was dropped since: then nobody can reckon the root any more
 */
export async function recordLogRootByChain(
  client: PyralogClient,
  { stream, partition, size }: PartitionName & { readonly size: bigint },
  { signal, onProgress = () => undefined }: CallOptions & { readonly onProgress?: (done: bigint) => void },
): Promise<Hash> {
  let frontier = EMPTY_FRONTIER;
  for await (const { value } of client.records(stream, partition, { limit: Number(size), signal })) {
    for (const record of value) {
      if (record.dropped !== undefined) throw new UnprovenError({ code: "logreceipt_dropped", field: `records.${record.index}` });
      frontier = appendLeaf(RECORD_LOG_HASHER, frontier, RECORD_LOG_HASHER.leaf(encodeRecord(record)));
    }
    onProgress(frontier.size);
  }
  if (frontier.size !== size) throw new UnprovenError({ code: "logreceipt_root", field: "size" });
  return frontierRoot(RECORD_LOG_HASHER, frontier);
}

type Question = z.output<typeof recordlogReceipt.params>;
type Answered = z.output<typeof recordlogReceipt.result>;

/** Asks again as long as the node gets on with hashing. */
async function askUntilBuilt(client: PyralogClient, question: Question, options: CallOptions): Promise<Answered> {
  for (let done = -1n; ;) {
    try {
      return await client.ask(recordlogReceipt, question, options);
    } catch (error) {
      if (!(error instanceof CodedError) || error.code !== "recordlog_building") throw error;
      const { done: told } = error.detail;
      const reached = typeof told === "string" && /^\d{1,20}$/.test(told) ? BigInt(told) : -1n;
      if (reached <= done) throw error;
      done = reached;
    }
  }
}

function keyOf(text: string): NoteKey {
  const key = parseNoteKey(text);
  if (!key.ok) throw new UnprovenError({ code: "answer_malformed", field: "key" });
  return key.value;
}
