/**
 * Receipts: that somebody wrote a record, or had one erased, and when; and notarisations, which are receipts of a commitment
 * to a document. Offline, as proof files, of which they are made: whoever has the network file comes to the same verdict.
 *
 * ```
 * receipt       ["pyralog-receipt", 1, transaction, record]              two proof files (bytes) about one height
 * notarisation  ["pyralog-notarisation", 1, algorithm, digest, salt, receipt]
 * ```
 *
 * A receipt proves that the writer signed a transaction (its authorisation is checked, not only its inclusion), that it was
 * applied in the block of that height, whose time the validators agreed on, and that one of its calls appended exactly this
 * record at this place, or erased what was there. The record may have been dropped since: it is held against its commitment.
 *
 * A notarisation opens the record's value: `H(notarisation, [1, algorithm, digest, salt])`. The salt keeps anybody from
 * guessing documents from the chain; whoever shows the file shows it. It proves that the document existed **no later than**
 * the block, and who signed for it; not when it was made, nor by whom.
 */

import { bytesEqual } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, hash } from "../../crypto/hash/hash.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import type { Height } from "../../chain/block/height.ts";
import { encodeRecord, type RecordBody, storedLeaf, type StreamRecord } from "../../chain/block/record.ts";
import { appendOf, type Call } from "../../chain/block/call.ts";
import { type Transaction, verifyTransactionAsync } from "../../chain/block/transaction.ts";
import { LOG_HASHER } from "../../chain/merkle/log.ts";
import { isCoseReceipt } from "./cose.ts";
import type { Unproven } from "./errors.ts";
import { PROOF_FILE_SIZE_BYTES_MAX, verifyProofFile } from "./prooffile.ts";
import { isTlogProof } from "./recordlog.ts";

const RECEIPT_MAGIC = "pyralog-receipt";
const NOTARISATION_MAGIC = "pyralog-notarisation";
const VERSION = 1;
/** Of a digest; SHA-512 has so many. */
const DIGEST_SIZE_BYTES_MAX = 64;

/** Bytes of a salt: beyond guessing. */
export const SALT_SIZE_BYTES = 32;

/** What a receipt proves. */
export type Receipt = {
  readonly act: "appended" | "erased";
  readonly transaction: Transaction;
  readonly record: StreamRecord;
  readonly height: Height;
  /** Of the block, by consensus. */
  readonly timeMs: bigint;
  readonly certifiedHeight: Height;
  readonly how: readonly string[];
};

/** What a document is known by: a hash of a named algorithm, such as `sha2-256`. */
export type Digest = { readonly algorithm: string; readonly digest: Uint8Array };

/** A receipt, and what its record commits to. */
export type Notarisation = { readonly receipt: Receipt; readonly salt: Uint8Array } & Digest;

/** Puts the proof files of a transaction and of a record together. Checks nothing. */
export function encodeReceipt(files: { readonly transaction: Uint8Array; readonly record: Uint8Array }): Uint8Array {
  return new Writer().array(4).text(RECEIPT_MAGIC).uint(VERSION).bytes(files.transaction).bytes(files.record).finish();
}

/**
 * Checks a receipt against a network file, offline.
 *
 * Where others than a stream's owner may append, two writers can append equal records in one block: each gets a receipt for either
 * place, and what it says is that the writer appended such a record in this block.
 */
export async function verifyReceipt(bytes: Uint8Array, network: NetworkFile): Promise<Result<Receipt, Unproven>> {
  const parts = readWith(bytes, (reader) => {
    reader.tuple(4);
    if (reader.field("magic").text(RECEIPT_MAGIC.length) !== RECEIPT_MAGIC) reader.refuse("encoding_type");
    if (reader.field("version").number() !== VERSION) reader.refuse("encoding_limit");
    return { transaction: reader.bytes(PROOF_FILE_SIZE_BYTES_MAX), record: reader.bytes(PROOF_FILE_SIZE_BYTES_MAX) };
  });
  if (!parts.ok) return fail({ code: "file_malformed" });
  const transactionFile = await verifyProofFile(parts.value.transaction, network);
  if (!transactionFile.ok) return transactionFile;
  const recordFile = await verifyProofFile(parts.value.record, network);
  if (!recordFile.ok) return recordFile;
  const { statement: written, height, timeMs, certifiedHeight, how } = transactionFile.value;
  const { statement: found } = recordFile.value;
  const mismatch = (field: string): Result<never, Unproven> => fail({ code: "receipt_mismatch", field, height });
  if (written.kind !== "transaction") return mismatch("transaction");
  if (found.kind !== "record" || recordFile.value.height !== height) return mismatch("record");
  if (written.result.kind !== "applied") return mismatch("result");
  const { transaction } = written;
  if (!(await verifyTransactionAsync(transaction))) return fail({ code: "receipt_signature", height });
  const place = { stream: found.record.stream, partition: found.record.partition, index: found.record.index, height, timeMs };
  const leaf = storedLeaf(found.bytes);
  const isOf = (body: RecordBody): boolean => bytesEqual(LOG_HASHER.leaf(encodeRecord({ ...place, ...recordOf(body) })), leaf);
  const isAppended = transaction.body.calls.some((call) => bodiesOf(call, place).some(isOf));
  const isErased = found.record.dropped !== undefined && transaction.body.calls.some((call) => erases(call, place));
  if (!isAppended && !isErased) return mismatch("calls");
  return ok({
    act: isErased ? "erased" : "appended",
    transaction,
    record: found.record,
    height,
    timeMs,
    certifiedHeight,
    how: [
      ...how,
      ...recordFile.value.how.slice(-1),
      "the writer's signature over the transaction is valid",
      isErased ? "one of its calls erased the record" : "one of its calls appended such a record in this block",
    ],
  });
}

type Place = { readonly stream: string; readonly partition: number; readonly index: bigint };

/** What a call appends to a partition. */
function bodiesOf(call: Call, { stream, partition }: Place): readonly RecordBody[] {
  const append = appendOf(call);
  return append?.stream === stream && append.partition === partition ? append.records : [];
}

function erases(call: Call, { stream, partition, index }: Place): boolean {
  return call.kind === "recordErase" && call.stream === stream && call.partition === partition && call.index === index;
}

function recordOf({ key, value, headers }: RecordBody): Pick<StreamRecord, "key" | "data" | "isTombstone" | "headers"> {
  return { key, data: value ?? new Uint8Array(0), isTombstone: value === undefined, headers };
}

// Notarisations.

/** What is written to the chain in a document's place. */
export function notarisationCommitment({ algorithm, digest }: Digest, salt: Uint8Array): Hash {
  return hash("notarisation", new Writer().array(4).uint(VERSION).text(algorithm).bytes(digest).bytes(salt).finish());
}

/** The record of a notarisation: its commitment, and a word that says what it is. */
export function notarisationRecord(commitment: Hash): RecordBody {
  return { key: commitment, value: commitment, headers: [{ name: "notarisation", value: Uint8Array.of(VERSION) }] };
}

/** A receipt with what its record commits to. Checks nothing. */
export function encodeNotarisation({ algorithm, digest }: Digest, salt: Uint8Array, receipt: Uint8Array): Uint8Array {
  const writer = new Writer().array(6).text(NOTARISATION_MAGIC).uint(VERSION);
  return writer.text(algorithm).bytes(digest).bytes(salt).bytes(receipt).finish();
}

/** Checks a notarisation against a network file, offline. That a document has the digest is for whoever has the document. */
export async function verifyNotarisation(bytes: Uint8Array, network: NetworkFile): Promise<Result<Notarisation, Unproven>> {
  const parts = readWith(bytes, (reader) => {
    reader.tuple(6);
    if (reader.field("magic").text(NOTARISATION_MAGIC.length) !== NOTARISATION_MAGIC) reader.refuse("encoding_type");
    if (reader.field("version").number() !== VERSION) reader.refuse("encoding_limit");
    return {
      algorithm: reader.text(DIGEST_SIZE_BYTES_MAX),
      digest: reader.bytes(DIGEST_SIZE_BYTES_MAX),
      salt: reader.fixed(SALT_SIZE_BYTES),
      receipt: reader.bytes(2 * PROOF_FILE_SIZE_BYTES_MAX),
    };
  });
  if (!parts.ok) return fail({ code: "file_malformed" });
  const { algorithm, digest, salt } = parts.value;
  const receipt = await verifyReceipt(parts.value.receipt, network);
  if (!receipt.ok) return receipt;
  const { act, record, height, transaction } = receipt.value;
  const body = notarisationRecord(notarisationCommitment({ algorithm, digest }, salt));
  // The record itself may have been dropped since; the transaction has what it said.
  const isCommitted = transaction.body.calls.some((call) =>
    bodiesOf(call, record).some(({ value }) => value !== undefined && bytesEqual(value, body.value ?? new Uint8Array(0))),
  );
  const isShown = record.dropped !== undefined || bytesEqual(record.data, body.value ?? new Uint8Array(0));
  if (act !== "appended" || !isCommitted || !isShown) return fail({ code: "receipt_mismatch", field: "digest", height });
  return ok({ receipt: receipt.value, algorithm, digest, salt });
}

/** What kind of file bytes begin as; anything unknown is taken for a proof file, whose parser says what is wrong with it. */
export function fileKind(bytes: Uint8Array): "proof" | "receipt" | "notarisation" | "tlog" | "cose" {
  if (isTlogProof(bytes)) return "tlog";
  if (isCoseReceipt(bytes)) return "cose";
  const head = new TextDecoder().decode(bytes.subarray(0, 32));
  if (head.includes(NOTARISATION_MAGIC)) return "notarisation";
  return head.includes(RECEIPT_MAGIC) ? "receipt" : "proof";
}
