/**
 * Transactions: what a client signs, and how it is encoded.
 *
 * Wire form, canonical dag-cbor: `[body, authorisation]`, the body a byte string holding
 * `[version, chainId, sender, nonce, fee, expiry, [call...]]`. The id is the domain-tagged hash of the body alone,
 * which is also what is signed: nobody can change an id by signing again.
 *
 * A call is a tuple that begins with its number:
 *
 * ```
 * transfer     [1, to, amount]
 * tableCreate  [2, namespace, table]
 * tablePut     [3, namespace, table, key, value]       value: a byte string of canonical dag-cbor
 * tableDelete  [4, namespace, table, key]
 * logAppend    [5, stream, partition, [record...]]
 * validatorSet [6, key, power]
 * rewardsClaim [7, validator | null]
 * validatorDeclare    [8, key, operator, commissionBps, commissionStepBpsMax]
 * stakeBond           [9, validator, amount]
 * stakeUnbond         [10, validator, amount]
 * validatorCommission [11, validator, commissionBps]
 * validatorUnjail     [12, validator]
 * numberClaim         [13, number, holder]
 * numberRenew         [14, number, epoch]
 * numberRelease       [15, number, epoch, endMs]
 * sessionOpen         [16, stream, partition, session]
 * sessionAppend       [17, stream, partition, session, sequence, [record...]]
 * streamCreate        [20, stream, partitions, isOpen, segmentSizeBytes, segmentAgeMs, retentionMs | null, compactionMs | null]
 * streamAppend        [21, stream, partition, [[key | null, value | null, [[name, value]...]]...]]
 * recordErase         [22, stream, partition, index]
 * ```
 */

import { bytesEqual } from "../../crypto/base/bytes.ts";
import { assert, unreachable } from "../../crypto/base/assert.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { checkCanonical, type DecodeError, type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, hash } from "../../crypto/hash/hash.ts";
import { isNodeNumber } from "../../crypto/id/scarab.ts";
import type { Address } from "../../crypto/identity/address.ts";
import {
  type Authorisation,
  authoriserOf,
  authoriseWith,
  readAuthorisation,
  verifyAuthorisation,
  verifyAuthorisationAsync,
  writeAuthorisation,
} from "../../crypto/identity/authorisation.ts";
import { type KeyPair, type PublicKey, readPublicKey, writePublicKey } from "../../crypto/sign/key.ts";
import { readRecordBody, type RecordBody, recordSizeBytes, writeRecordBody } from "./record.ts";
import { isName, readAddress, readHeight } from "./fields.ts";
import { type Height, isHeight } from "./height.ts";
import {
  AMOUNT_MAX,
  BPS_WHOLE,
  CALLS_MAX,
  FORMAT_VERSION,
  NUMBER_HOLDER_SIZE_BYTES,
  PARTITION_MAX,
  POWER_TOTAL_MAX,
  RECORD_HEADER_SIZE_BYTES_MAX,
  RECORD_HEADERS_MAX,
  RECORD_KEY_SIZE_BYTES_MAX,
  RECORD_SIZE_BYTES_MAX,
  RECORDS_MAX,
  ROW_KEY_SIZE_BYTES_MAX,
  ROW_VALUE_SIZE_BYTES_MAX,
  TIME_MS_MAX,
  SEGMENT_AGE_MS_MIN,
  SEGMENT_SIZE_BYTES_MAX,
  SEGMENT_SIZE_BYTES_MIN,
  STREAM_PARTITIONS_MAX,
  STREAM_SPAN_MS_MAX,
  TRANSACTION_SIZE_BYTES_MAX,
} from "./limits.ts";

/** One thing a transaction does. All of its calls take effect, or none. */
export type Call =
  /** Moves native tokens; `amount` is at least 1. */
  | { readonly kind: "transfer"; readonly to: Address; readonly amount: bigint }
  /** Makes a table; the sender owns it. */
  | { readonly kind: "tableCreate"; readonly namespace: string; readonly table: string }
  /** Writes a row: `value` is canonical dag-cbor. */
  | {
      readonly kind: "tablePut";
      readonly namespace: string;
      readonly table: string;
      readonly key: Uint8Array;
      readonly value: Uint8Array;
    }
  /** Deletes a row, which must exist. */
  | { readonly kind: "tableDelete"; readonly namespace: string; readonly table: string; readonly key: Uint8Array }
  /** Appends records to one partition of a stream, made on first use and owned by its first writer. */
  | { readonly kind: "logAppend"; readonly stream: string; readonly partition: number; readonly records: readonly Uint8Array[] }
  /**
   * Declares a stream: how many partitions it has, for good, whether others than the sender may append, when segments are
   * sealed, and how long records are kept by block time (`chain/state/partition.ts`).
   */
  | {
      readonly kind: "streamCreate";
      readonly stream: string;
      readonly partitions: number;
      readonly isOpen: boolean;
      readonly segmentSizeBytes: number;
      readonly segmentAgeMs: number;
      readonly retentionMs?: number | undefined;
      readonly compactionMs?: number | undefined;
    }
  /** As `logAppend`, of records that have keys, headers, or no value. */
  | {
      readonly kind: "streamAppend";
      readonly stream: string;
      readonly partition: number;
      readonly records: readonly RecordBody[];
    }
  /**
   * Has every node drop a record to its commitment, whatever its stream says of keeping. Only the stream's owner may, or,
   * of a name that nobody declared, the partition's.
   */
  | { readonly kind: "recordErase"; readonly stream: string; readonly partition: number; readonly index: bigint }
  /** Sets a validator's power (0 removes it), at the fixed delay. Only the genesis authority may. */
  | { readonly kind: "validatorSet"; readonly key: PublicKey; readonly power: bigint }
  /** Moves what the sender has earned into its account; with a validator, what it earned by its stake there first. */
  | { readonly kind: "rewardsClaim"; readonly validator?: Address | undefined }
  /**
   * Makes the sender, whose key this is, a candidate for the validator set under proof of stake. `operator` earns the
   * commission, holds the stake that counts as the validator's own, and sends its later calls. Shares are in basis
   * points; one change of the commission is at most `commissionStepBpsMax`.
   */
  | {
      readonly kind: "validatorDeclare";
      readonly key: PublicKey;
      readonly operator: Address;
      readonly commissionBps: number;
      readonly commissionStepBpsMax: number;
    }
  /** Stakes tokens of the sender with a validator: its own, if the sender is its operator. `amount` is at least 1. */
  | { readonly kind: "stakeBond"; readonly validator: Address; readonly amount: bigint }
  /** Asks for staked tokens back; they are free after the unbonding time. `amount` is at least 1. */
  | { readonly kind: "stakeUnbond"; readonly validator: Address; readonly amount: bigint }
  /** Changes the commission. Only the operator may, once in a while. */
  | { readonly kind: "validatorCommission"; readonly validator: Address; readonly commissionBps: number }
  /** Brings a validator back that was jailed for missed votes. Only the operator may, after its time. */
  | { readonly kind: "validatorUnjail"; readonly validator: Address }
  /**
   * Leases a node number that nobody has, for Scarab ids. One address has one at a time. `holder` names the one data
   * directory that may use it: a copy of a home has the key, but not what the other has made since.
   */
  | { readonly kind: "numberClaim"; readonly number: number; readonly holder: Uint8Array }
  /** Makes the sender's lease last longer. `epoch` is the one that the claim was given: another has none to renew. */
  | { readonly kind: "numberRenew"; readonly number: number; readonly epoch: bigint }
  /** Gives the number back: no id of the sender has a time at or after `endMs`. */
  | { readonly kind: "numberRelease"; readonly number: number; readonly epoch: bigint; readonly endMs: bigint }
  /** Opens a session of a producer on a partition, made on first use; one that is open lasts longer. */
  | { readonly kind: "sessionOpen"; readonly stream: string; readonly partition: number; readonly session: bigint }
  /** Appends as `logAppend` does, once for each (session, sequence): a repetition is applied and appends nothing. */
  | {
      readonly kind: "sessionAppend";
      readonly stream: string;
      readonly partition: number;
      readonly session: bigint;
      /** From 0, one after another. */
      readonly sequence: bigint;
      readonly records: readonly Uint8Array[];
    };

/** What is hashed and signed. */
export type TransactionBody = {
  /** The network this is for: a transaction of one network means nothing on another. */
  readonly chainId: string;
  readonly sender: Address;
  /** How many transactions the sender has had included before this one. */
  readonly nonce: bigint;
  /** In base units of the native token, `0 <= fee < 2^64`; taken also when a call fails. */
  readonly fee: bigint;
  /** The last height at which this may be included. */
  readonly expiry: Height;
  readonly calls: readonly Call[];
};

/**
 * A signed transaction, with the encodings that everything else hashes and stores.
 *
 * One that `parseTransaction` or `assembleTransaction` gave keeps every rule of `checkTransactionBody`, and its
 * authorisation speaks for its sender; whether the signatures are valid is for `verifyTransaction` to say.
 */
export type Transaction = {
  readonly id: Hash;
  readonly body: TransactionBody;
  readonly authorisation: Authorisation;
  /** The encoded body: what `id` commits to. */
  readonly bodyBytes: Uint8Array;
  /** The whole wire form. */
  readonly bytes: Uint8Array;
};

/** Why a body breaks a rule that holds whatever the state; `errors.ts` says what to do about each. */
export type BodyError = {
  readonly code:
    | "name_invalid"
    | "nonce_range"
    | "expiry_range"
    | "amount_range"
    | "calls_count"
    | "row_key_size"
    | "row_value_size"
    | "row_value_encoding"
    | "partition_range"
    | "records_count"
    | "record_size"
    | "record_key_size"
    | "record_headers"
    | "stream_rules"
    | "power_range"
    | "commission_range"
    | "number_range"
    | "session_range";
  readonly field: string;
};

/** Why bytes are not a transaction. */
export type TransactionError =
  | DecodeError
  | BodyError
  | { readonly code: "transaction_size" | "sender_mismatch"; readonly field: string };

const CALL_NUMBER = {
  transfer: 1,
  tableCreate: 2,
  tablePut: 3,
  tableDelete: 4,
  logAppend: 5,
  validatorSet: 6,
  rewardsClaim: 7,
  validatorDeclare: 8,
  stakeBond: 9,
  stakeUnbond: 10,
  validatorCommission: 11,
  validatorUnjail: 12,
  numberClaim: 13,
  numberRenew: 14,
  numberRelease: 15,
  sessionOpen: 16,
  sessionAppend: 17,
  streamCreate: 20,
  streamAppend: 21,
  recordErase: 22,
} as const satisfies Record<Call["kind"], number>;

// Making one.

/** The one encoding of a body, which must keep the rules of `checkTransactionBody`. */
export function encodeTransactionBody(body: TransactionBody): Uint8Array {
  const writer = new Writer().array(7).uint(FORMAT_VERSION).text(body.chainId).bytes(body.sender);
  writer.uint(body.nonce).uint(body.fee).uint(body.expiry).array(body.calls.length);
  for (const call of body.calls) writeCall(writer, call);
  return writer.finish();
}

/** The id of a transaction, which is also what its senders sign. */
export function transactionId(bodyBytes: Uint8Array): Hash {
  return hash("transaction", bodyBytes);
}

/** Puts a body and the signatures over its id together. The authorisation must be that of the sender. */
export function assembleTransaction(body: TransactionBody, authorisation: Authorisation): Transaction {
  const checked = checkTransactionBody(body);
  assert(checked.ok, `transaction body: ${checked.ok ? "" : `${checked.error.code} at ${checked.error.field}`}`);
  assert(bytesEqual(authoriserOf(authorisation), body.sender), "the authorisation is not the sender's");
  const bodyBytes = encodeTransactionBody(body);
  const writer = new Writer().array(2).bytes(bodyBytes);
  writeAuthorisation(writer, authorisation);
  const bytes = writer.finish();
  assert(bytes.length <= TRANSACTION_SIZE_BYTES_MAX, `transaction is ${bytes.length} bytes`);
  return { id: transactionId(bodyBytes), body, authorisation, bodyBytes, bytes };
}

/** Signs for a sender that is a single key. */
export function signTransaction(body: TransactionBody, keyPair: KeyPair): Transaction {
  return assembleTransaction(body, authoriseWith(keyPair, transactionId(encodeTransactionBody(body))));
}

/** Whether the sender signed this. Never throws. */
export function verifyTransaction(transaction: Transaction): boolean {
  return verifyAuthorisation(transaction.authorisation, transaction.id);
}

/** As `verifyTransaction`, on a thread pool where the platform has one. */
export async function verifyTransactionAsync(transaction: Transaction): Promise<boolean> {
  return await verifyAuthorisationAsync(transaction.authorisation, transaction.id);
}

/** The size that a transaction will have once a key of this kind has signed it: what its fee is reckoned on. */
export function signedSizeBytes(body: TransactionBody, authorisation: Authorisation): number {
  const writer = new Writer().array(2).bytes(encodeTransactionBody(body));
  writeAuthorisation(writer, authorisation);
  return writer.finish().length;
}

/** Rows and records that a transaction's calls write, at most. */
export function operationsOf({ body }: Transaction): number {
  return body.calls.reduce((count, call) => {
    if ("records" in call) return count + call.records.length;
    return count + (call.kind === "streamCreate" ? call.partitions : 1);
  }, 0);
}

// Checking one.

/**
 * Parses the wire form: every rule that does not depend on the state is checked here, and nothing about signatures.
 * Byte strings are views on `bytes`, which must not change afterwards.
 */
export function parseTransaction(bytes: Uint8Array): Result<Transaction, TransactionError> {
  if (bytes.length > TRANSACTION_SIZE_BYTES_MAX) return fail({ code: "transaction_size", field: "transaction" });
  const outer = readWith(bytes, (reader) => {
    reader.field("transaction").tuple(2);
    return { bodyBytes: reader.field("body").bytes(TRANSACTION_SIZE_BYTES_MAX), authorisation: readAuthorisation(reader) };
  });
  if (!outer.ok) return outer;
  const { bodyBytes, authorisation } = outer.value;
  const body = parseTransactionBody(bodyBytes);
  if (!body.ok) return body;
  if (!bytesEqual(authoriserOf(authorisation), body.value.sender))
    return fail({ code: "sender_mismatch", field: "authorisation" });
  return ok({ id: transactionId(bodyBytes), body: body.value, authorisation, bodyBytes, bytes });
}

/** Parses what `encodeTransactionBody` made: what a signer shows before it signs. */
export function parseTransactionBody(bytes: Uint8Array): Result<TransactionBody, DecodeError | BodyError> {
  const read = readWith(bytes, readBody);
  if (!read.ok) return read;
  const checked = checkTransactionBody(read.value);
  return checked.ok ? read : checked;
}

/** Checks every rule of a body that does not depend on the state, and names the first field that breaks one. */
export function checkTransactionBody(body: TransactionBody): Result<void, BodyError> {
  if (!isName(body.chainId)) return fail({ code: "name_invalid", field: "chainId" });
  if (!isAmount(body.nonce)) return fail({ code: "nonce_range", field: "nonce" });
  if (!isAmount(body.fee)) return fail({ code: "amount_range", field: "fee" });
  if (!isHeight(body.expiry)) return fail({ code: "expiry_range", field: "expiry" });
  if (body.calls.length < 1 || body.calls.length > CALLS_MAX) return fail({ code: "calls_count", field: "calls" });
  for (const [index, call] of body.calls.entries()) {
    const fault = faultOf(call);
    if (fault !== undefined) return fail({ code: fault[0], field: `calls[${index}].${fault[1]}` });
  }
  return ok(undefined);
}

/** The first rule that a call breaks, and the field in it. */
function faultOf(call: Call): readonly [BodyError["code"], string] | undefined {
  switch (call.kind) {
    case "transfer":
      return call.amount >= 1n && isAmount(call.amount) ? undefined : ["amount_range", "amount"];
    case "tableCreate":
      return tableFault(call);
    case "tablePut":
      return tableFault(call) ?? rowKeyFault(call.key) ?? rowValueFault(call.value);
    case "tableDelete":
      return tableFault(call) ?? rowKeyFault(call.key);
    case "logAppend":
      return appendFault(call);
    case "recordErase":
      return recordFault(call);
    case "streamCreate":
      return streamFault(call);
    case "streamAppend":
      return appendFault({ ...call, records: call.records.map(bytesOfBody) }) ?? bodiesFault(call.records);
    case "validatorSet":
      return call.power >= 0n && call.power <= POWER_TOTAL_MAX ? undefined : ["power_range", "power"];
    case "rewardsClaim":
    case "validatorUnjail":
      return undefined;
    case "validatorDeclare":
      if (!isShare(call.commissionBps)) return ["commission_range", "commissionBps"];
      return isShare(call.commissionStepBpsMax) ? undefined : ["commission_range", "commissionStepBpsMax"];
    case "validatorCommission":
      return isShare(call.commissionBps) ? undefined : ["commission_range", "commissionBps"];
    case "stakeBond":
    case "stakeUnbond":
      return call.amount >= 1n && isAmount(call.amount) ? undefined : ["amount_range", "amount"];
    case "numberClaim":
      return numberFault(call) ?? (call.holder.length === NUMBER_HOLDER_SIZE_BYTES ? undefined : ["number_range", "holder"]);
    case "numberRenew":
      return numberFault(call) ?? (isAmount(call.epoch) ? undefined : ["number_range", "epoch"]);
    case "numberRelease":
      if (call.endMs < 0n || call.endMs > TIME_MS_MAX) return ["number_range", "endMs"];
      return numberFault(call) ?? (isAmount(call.epoch) ? undefined : ["number_range", "epoch"]);
    case "sessionOpen":
      return partitionFault(call) ?? (isAmount(call.session) ? undefined : ["session_range", "session"]);
    case "sessionAppend":
      if (!isAmount(call.session)) return ["session_range", "session"];
      return isAmount(call.sequence) ? appendFault(call) : ["session_range", "sequence"];
    default:
      return unreachable(call);
  }
}

function tableFault(call: {
  readonly namespace: string;
  readonly table: string;
}): readonly [BodyError["code"], string] | undefined {
  if (!isName(call.namespace)) return ["name_invalid", "namespace"];
  return isName(call.table) ? undefined : ["name_invalid", "table"];
}

function rowKeyFault(key: Uint8Array): readonly [BodyError["code"], string] | undefined {
  return key.length >= 1 && key.length <= ROW_KEY_SIZE_BYTES_MAX ? undefined : ["row_key_size", "key"];
}

function rowValueFault(value: Uint8Array): readonly [BodyError["code"], string] | undefined {
  if (value.length > ROW_VALUE_SIZE_BYTES_MAX) return ["row_value_size", "value"];
  return checkCanonical(value).ok ? undefined : ["row_value_encoding", "value"];
}

function partitionFault(call: {
  readonly stream: string;
  readonly partition: number;
}): readonly [BodyError["code"], string] | undefined {
  if (!isName(call.stream)) return ["name_invalid", "stream"];
  const isRange = Number.isInteger(call.partition) && call.partition >= 0 && call.partition <= PARTITION_MAX;
  return isRange ? undefined : ["partition_range", "partition"];
}

function appendFault(call: {
  readonly stream: string;
  readonly partition: number;
  readonly records: readonly { readonly length: number }[];
}): readonly [BodyError["code"], string] | undefined {
  const fault = partitionFault(call);
  if (fault !== undefined) return fault;
  if (call.records.length < 1 || call.records.length > RECORDS_MAX) return ["records_count", "records"];
  const large = call.records.findIndex((record) => record.length > RECORD_SIZE_BYTES_MAX);
  return large === -1 ? undefined : ["record_size", `records[${large}]`];
}

function numberFault({ number }: { readonly number: number }): readonly [BodyError["code"], string] | undefined {
  return isNodeNumber(number) ? undefined : ["number_range", "number"];
}

function recordFault(call: Extract<Call, { kind: "recordErase" }>): readonly [BodyError["code"], string] | undefined {
  if (!isName(call.stream)) return ["name_invalid", "stream"];
  if (!Number.isInteger(call.partition) || call.partition < 0 || call.partition > PARTITION_MAX)
    return ["partition_range", "partition"];
  return isAmount(call.index) ? undefined : ["amount_range", "index"];
}

function bytesOfBody(body: RecordBody): { readonly length: number } {
  return { length: recordSizeBytes(body) };
}

function bodiesFault(records: readonly RecordBody[]): readonly [BodyError["code"], string] | undefined {
  for (const [index, { key, value, headers }] of records.entries()) {
    if (key !== undefined && (key.length < 1 || key.length > RECORD_KEY_SIZE_BYTES_MAX))
      return ["record_key_size", `records[${index}].key`];
    // A tombstone of no key would say nothing.
    if (key === undefined && value === undefined) return ["record_key_size", `records[${index}].key`];
    const isWrong = headers.some((header) => !isName(header.name) || header.value.length > RECORD_HEADER_SIZE_BYTES_MAX);
    if (headers.length > RECORD_HEADERS_MAX || isWrong) return ["record_headers", `records[${index}].headers`];
  }
  return undefined;
}

function streamFault(call: Extract<Call, { kind: "streamCreate" }>): readonly [BodyError["code"], string] | undefined {
  if (!isName(call.stream)) return ["name_invalid", "stream"];
  const isWithin = (value: number, low: number, high: number): boolean =>
    Number.isInteger(value) && value >= low && value <= high;
  if (!isWithin(call.partitions, 1, STREAM_PARTITIONS_MAX)) return ["stream_rules", "partitions"];
  if (!isWithin(call.segmentSizeBytes, SEGMENT_SIZE_BYTES_MIN, SEGMENT_SIZE_BYTES_MAX))
    return ["stream_rules", "segmentSizeBytes"];
  if (call.segmentAgeMs < SEGMENT_AGE_MS_MIN) return ["stream_rules", "segmentAgeMs"];
  for (const field of ["segmentAgeMs", "retentionMs", "compactionMs"] as const) {
    const span = call[field];
    if (span !== undefined && !isWithin(span, 1, STREAM_SPAN_MS_MAX)) return ["stream_rules", field];
  }
  return undefined;
}

/** Basis points of a whole. */
function isShare(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= BPS_WHOLE;
}

function isAmount(value: bigint): boolean {
  return value >= 0n && value <= AMOUNT_MAX;
}

// Encoding.

function writeCall(writer: Writer, call: Call): void {
  const number = CALL_NUMBER[call.kind];
  switch (call.kind) {
    case "transfer":
      writer.array(3).uint(number).bytes(call.to).uint(call.amount);
      return;
    case "tableCreate":
      writer.array(3).uint(number).text(call.namespace).text(call.table);
      return;
    case "tablePut":
      writer.array(5).uint(number).text(call.namespace).text(call.table).bytes(call.key).bytes(call.value);
      return;
    case "tableDelete":
      writer.array(4).uint(number).text(call.namespace).text(call.table).bytes(call.key);
      return;
    case "logAppend":
      writer.array(4).uint(number).text(call.stream).uint(call.partition).array(call.records.length);
      for (const record of call.records) writer.bytes(record);
      return;
    case "streamCreate":
      writer.array(8).uint(number).text(call.stream).uint(call.partitions).bool(call.isOpen);
      writer.uint(call.segmentSizeBytes).uint(call.segmentAgeMs);
      for (const span of [call.retentionMs, call.compactionMs]) {
        if (span === undefined) writer.null();
        else writer.uint(span);
      }
      return;
    case "recordErase":
      writer.array(4).uint(number).text(call.stream).uint(call.partition).uint(call.index);
      return;
    case "streamAppend":
      writer.array(4).uint(number).text(call.stream).uint(call.partition).array(call.records.length);
      for (const body of call.records) writeRecordBody(writer.array(3), body);
      return;
    case "validatorSet":
      writePublicKey(writer.array(3).uint(number), call.key);
      writer.uint(call.power);
      return;
    case "rewardsClaim":
      writer.array(2).uint(number);
      if (call.validator === undefined) writer.null();
      else writer.bytes(call.validator);
      return;
    case "validatorDeclare":
      writePublicKey(writer.array(5).uint(number), call.key);
      writer.bytes(call.operator).uint(call.commissionBps).uint(call.commissionStepBpsMax);
      return;
    case "stakeBond":
    case "stakeUnbond":
      writer.array(3).uint(number).bytes(call.validator).uint(call.amount);
      return;
    case "validatorCommission":
      writer.array(3).uint(number).bytes(call.validator).uint(call.commissionBps);
      return;
    case "validatorUnjail":
      writer.array(2).uint(number).bytes(call.validator);
      return;
    case "numberClaim":
      writer.array(3).uint(number).uint(call.number).bytes(call.holder);
      return;
    case "numberRenew":
      writer.array(3).uint(number).uint(call.number).uint(call.epoch);
      return;
    case "numberRelease":
      writer.array(4).uint(number).uint(call.number).uint(call.epoch).uint(call.endMs);
      return;
    case "sessionOpen":
      writer.array(4).uint(number).text(call.stream).uint(call.partition).uint(call.session);
      return;
    case "sessionAppend":
      writer.array(6).uint(number).text(call.stream).uint(call.partition).uint(call.session).uint(call.sequence);
      writer.array(call.records.length);
      for (const record of call.records) writer.bytes(record);
      return;
    default:
      unreachable(call);
  }
}

/**
 * Types and counts alone; sizes and names are for `checkTransactionBody`, which can name the call at fault. Nothing
 * read here is longer than the transaction, and that is bounded.
 */
function readBody(reader: Reader): TransactionBody {
  reader.field("body").tuple(7);
  const offset = reader.field("version").offset;
  if (reader.number() !== FORMAT_VERSION) reader.refuse("encoding_limit", offset);
  const chainId = reader.field("chainId").text(TRANSACTION_SIZE_BYTES_MAX);
  const sender = readAddress(reader, "sender");
  const nonce = reader.field("nonce").uint();
  const fee = reader.field("fee").uint();
  const expiry = readHeight(reader, "expiry");
  const count = reader.field("calls").array(CALLS_MAX);
  const calls: Call[] = [];
  for (let index = 0; index < count; index += 1) calls.push(readCall(reader, `calls[${index}]`));
  return { chainId, sender, nonce, fee, expiry, calls };
}

function readCall(reader: Reader, field: string): Call {
  const offset = reader.field(field).offset;
  // The length is checked against the number below: the head comes first on the wire.
  const length = reader.array(8);
  const number = reader.number();
  const take = (wanted: number): void => {
    if (length !== wanted) reader.refuse("encoding_limit", offset);
  };
  const text = (): string => reader.text(TRANSACTION_SIZE_BYTES_MAX);
  const bytes = (): Uint8Array => reader.bytes(TRANSACTION_SIZE_BYTES_MAX);
  const validator = (): Address => readAddress(reader, `${field}.validator`);
  const bps = (name: string): number => reader.field(`${field}.${name}`).number();
  switch (number) {
    case CALL_NUMBER.transfer:
      take(3);
      return { kind: "transfer", to: readAddress(reader, `${field}.to`), amount: reader.field(`${field}.amount`).uint() };
    case CALL_NUMBER.tableCreate:
      take(3);
      return { kind: "tableCreate", namespace: text(), table: text() };
    case CALL_NUMBER.tablePut:
      take(5);
      return { kind: "tablePut", namespace: text(), table: text(), key: bytes(), value: bytes() };
    case CALL_NUMBER.tableDelete:
      take(4);
      return { kind: "tableDelete", namespace: text(), table: text(), key: bytes() };
    case CALL_NUMBER.logAppend:
      take(4);
      return { kind: "logAppend", stream: text(), partition: reader.number(), records: readRecords(reader) };
    case CALL_NUMBER.streamCreate: {
      take(8);
      const span = (name: string): number | undefined =>
        reader.field(`${field}.${name}`).skipNull() ? undefined : reader.number();
      const place = { stream: text(), partitions: reader.number(), isOpen: reader.bool() };
      const segments = { segmentSizeBytes: reader.number(), segmentAgeMs: reader.number() };
      const [retentionMs, compactionMs] = [span("retentionMs"), span("compactionMs")];
      return {
        kind: "streamCreate",
        ...place,
        ...segments,
        ...(retentionMs === undefined ? {} : { retentionMs }),
        ...(compactionMs === undefined ? {} : { compactionMs }),
      };
    }
    case CALL_NUMBER.recordErase:
      take(4);
      return { kind: "recordErase", stream: text(), partition: reader.number(), index: reader.uint() };
    case CALL_NUMBER.streamAppend:
      take(4);
      return { kind: "streamAppend", stream: text(), partition: reader.number(), records: readBodies(reader) };
    case CALL_NUMBER.validatorSet:
      take(3);
      return { kind: "validatorSet", key: readPublicKey(reader), power: reader.uint() };
    case CALL_NUMBER.rewardsClaim: {
      take(2);
      const isOwn = reader.field(`${field}.validator`).skipNull();
      return isOwn ? { kind: "rewardsClaim" } : { kind: "rewardsClaim", validator: validator() };
    }
    case CALL_NUMBER.validatorDeclare:
      take(5);
      return {
        kind: "validatorDeclare",
        key: readPublicKey(reader.field(`${field}.key`)),
        operator: readAddress(reader, `${field}.operator`),
        commissionBps: bps("commissionBps"),
        commissionStepBpsMax: bps("commissionStepBpsMax"),
      };
    case CALL_NUMBER.stakeBond:
      take(3);
      return { kind: "stakeBond", validator: validator(), amount: reader.field(`${field}.amount`).uint() };
    case CALL_NUMBER.stakeUnbond:
      take(3);
      return { kind: "stakeUnbond", validator: validator(), amount: reader.field(`${field}.amount`).uint() };
    case CALL_NUMBER.validatorCommission:
      take(3);
      return { kind: "validatorCommission", validator: validator(), commissionBps: bps("commissionBps") };
    case CALL_NUMBER.validatorUnjail:
      take(2);
      return { kind: "validatorUnjail", validator: validator() };
    case CALL_NUMBER.numberClaim:
      take(3);
      return { kind: "numberClaim", number: reader.field(`${field}.number`).number(), holder: bytes() };
    case CALL_NUMBER.numberRenew:
      take(3);
      return {
        kind: "numberRenew",
        number: reader.field(`${field}.number`).number(),
        epoch: reader.field(`${field}.epoch`).uint(),
      };
    case CALL_NUMBER.numberRelease:
      take(4);
      return {
        kind: "numberRelease",
        number: reader.field(`${field}.number`).number(),
        epoch: reader.field(`${field}.epoch`).uint(),
        endMs: reader.field(`${field}.endMs`).uint(),
      };
    case CALL_NUMBER.sessionOpen:
      take(4);
      return { kind: "sessionOpen", stream: text(), partition: reader.number(), session: reader.uint() };
    case CALL_NUMBER.sessionAppend:
      take(6);
      return {
        kind: "sessionAppend",
        stream: text(),
        partition: reader.number(),
        session: reader.uint(),
        sequence: reader.uint(),
        records: readRecords(reader),
      };
    default:
      return reader.refuse("encoding_limit", offset);
  }
}

function readBodies(reader: Reader): RecordBody[] {
  const count = reader.array(RECORDS_MAX);
  const bodies: RecordBody[] = [];
  for (let index = 0; index < count; index += 1) {
    reader.tuple(3);
    bodies.push(readRecordBody(reader));
  }
  return bodies;
}

function readRecords(reader: Reader): Uint8Array[] {
  const count = reader.array(RECORDS_MAX);
  const records: Uint8Array[] = [];
  for (let index = 0; index < count; index += 1) records.push(reader.bytes(TRANSACTION_SIZE_BYTES_MAX));
  return records;
}
