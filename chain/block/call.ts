/**
 * Calls: what a transaction does, how each is encoded, and the rules that hold for it whatever the state.
 *
 * Wire form, canonical dag-cbor: a tuple that begins with the call's number.
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

import { unreachable } from "../../crypto/base/assert.ts";
import { checkCanonical, type Reader } from "../../crypto/codec/reader.ts";
import type { Writer } from "../../crypto/codec/writer.ts";
import { isNodeNumber } from "../../crypto/id/scarab.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { type PublicKey, readPublicKey, writePublicKey } from "../../crypto/sign/key.ts";
import { readRecordBody, type RecordBody, recordSizeBytes, writeRecordBody } from "./record.ts";
import { isAmount, isName, readAddress } from "./fields.ts";
import {
  BPS_WHOLE,
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

/** What a call appends, and to which partition; `undefined` when it is of another kind. */
export function appendOf(
  call: Call,
): { readonly stream: string; readonly partition: number; readonly records: readonly RecordBody[] } | undefined {
  switch (call.kind) {
    case "streamAppend":
      return call;
    case "logAppend":
    case "sessionAppend": {
      const { stream, partition, records } = call;
      return { stream, partition, records: records.map((value) => ({ key: undefined, value, headers: [] })) };
    }
    default:
      return undefined;
  }
}

/** A rule that a call breaks, and the field of the call that breaks it, such as `records[3]`. */
export type CallFault = readonly [
  code:
    | "name_invalid"
    | "amount_range"
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
    | "session_range",
  field: string,
];

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

// Checking one.

/** The first rule that a call breaks, of those that hold whatever the state. */
export function callFault(call: Call): CallFault | undefined {
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

function tableFault(call: { readonly namespace: string; readonly table: string }): CallFault | undefined {
  if (!isName(call.namespace)) return ["name_invalid", "namespace"];
  return isName(call.table) ? undefined : ["name_invalid", "table"];
}

function rowKeyFault(key: Uint8Array): CallFault | undefined {
  return key.length >= 1 && key.length <= ROW_KEY_SIZE_BYTES_MAX ? undefined : ["row_key_size", "key"];
}

function rowValueFault(value: Uint8Array): CallFault | undefined {
  if (value.length > ROW_VALUE_SIZE_BYTES_MAX) return ["row_value_size", "value"];
  return checkCanonical(value).ok ? undefined : ["row_value_encoding", "value"];
}

function partitionFault(call: { readonly stream: string; readonly partition: number }): CallFault | undefined {
  if (!isName(call.stream)) return ["name_invalid", "stream"];
  const isRange = Number.isInteger(call.partition) && call.partition >= 0 && call.partition <= PARTITION_MAX;
  return isRange ? undefined : ["partition_range", "partition"];
}

function appendFault(call: {
  readonly stream: string;
  readonly partition: number;
  readonly records: readonly { readonly length: number }[];
}): CallFault | undefined {
  const fault = partitionFault(call);
  if (fault !== undefined) return fault;
  if (call.records.length < 1 || call.records.length > RECORDS_MAX) return ["records_count", "records"];
  const large = call.records.findIndex((record) => record.length > RECORD_SIZE_BYTES_MAX);
  return large === -1 ? undefined : ["record_size", `records[${large}]`];
}

function numberFault({ number }: { readonly number: number }): CallFault | undefined {
  return isNodeNumber(number) ? undefined : ["number_range", "number"];
}

function recordFault(call: Extract<Call, { kind: "recordErase" }>): CallFault | undefined {
  if (!isName(call.stream)) return ["name_invalid", "stream"];
  if (!Number.isInteger(call.partition) || call.partition < 0 || call.partition > PARTITION_MAX)
    return ["partition_range", "partition"];
  return isAmount(call.index) ? undefined : ["amount_range", "index"];
}

function bytesOfBody(body: RecordBody): { readonly length: number } {
  return { length: recordSizeBytes(body) };
}

function bodiesFault(records: readonly RecordBody[]): CallFault | undefined {
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

function streamFault(call: Extract<Call, { kind: "streamCreate" }>): CallFault | undefined {
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

// Encoding.

/** Writes a call, which must keep its rules. */
export function writeCall(writer: Writer, call: Call): void {
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
 * Types and counts alone; sizes and names are for `callFault`. `field` is where the call stands in its body. It has no functions
 * inside: they would be made for each call that is read.
 */
export function readCall(reader: Reader, field: string): Call {
  const offset = reader.field(field).offset;
  // The length is checked against the number below: the head comes first on the wire.
  const length = reader.array(8);
  const number = reader.number();
  switch (number) {
    case CALL_NUMBER.transfer:
      requireLength(reader, length, 3, offset);
      return { kind: "transfer", to: readAddress(reader, `${field}.to`), amount: reader.field(`${field}.amount`).uint() };
    case CALL_NUMBER.tableCreate:
      requireLength(reader, length, 3, offset);
      return { kind: "tableCreate", namespace: textOf(reader), table: textOf(reader) };
    case CALL_NUMBER.tablePut:
      requireLength(reader, length, 5, offset);
      return { kind: "tablePut", namespace: textOf(reader), table: textOf(reader), key: bytesOf(reader), value: bytesOf(reader) };
    case CALL_NUMBER.tableDelete:
      requireLength(reader, length, 4, offset);
      return { kind: "tableDelete", namespace: textOf(reader), table: textOf(reader), key: bytesOf(reader) };
    case CALL_NUMBER.logAppend:
      requireLength(reader, length, 4, offset);
      return { kind: "logAppend", stream: textOf(reader), partition: reader.number(), records: readRecords(reader) };
    case CALL_NUMBER.streamCreate: {
      requireLength(reader, length, 8, offset);
      const place = { stream: textOf(reader), partitions: reader.number(), isOpen: reader.bool() };
      const segments = { segmentSizeBytes: reader.number(), segmentAgeMs: reader.number() };
      const [retentionMs, compactionMs] = [
        optionalNumber(reader, `${field}.retentionMs`),
        optionalNumber(reader, `${field}.compactionMs`),
      ];
      return {
        kind: "streamCreate",
        ...place,
        ...segments,
        ...(retentionMs === undefined ? {} : { retentionMs }),
        ...(compactionMs === undefined ? {} : { compactionMs }),
      };
    }
    case CALL_NUMBER.recordErase:
      requireLength(reader, length, 4, offset);
      return { kind: "recordErase", stream: textOf(reader), partition: reader.number(), index: reader.uint() };
    case CALL_NUMBER.streamAppend:
      requireLength(reader, length, 4, offset);
      return { kind: "streamAppend", stream: textOf(reader), partition: reader.number(), records: readBodies(reader) };
    case CALL_NUMBER.validatorSet:
      requireLength(reader, length, 3, offset);
      return { kind: "validatorSet", key: readPublicKey(reader), power: reader.uint() };
    case CALL_NUMBER.rewardsClaim: {
      requireLength(reader, length, 2, offset);
      const isOwn = reader.field(`${field}.validator`).skipNull();
      return isOwn ? { kind: "rewardsClaim" } : { kind: "rewardsClaim", validator: readAddress(reader, `${field}.validator`) };
    }
    case CALL_NUMBER.validatorDeclare:
      requireLength(reader, length, 5, offset);
      return {
        kind: "validatorDeclare",
        key: readPublicKey(reader.field(`${field}.key`)),
        operator: readAddress(reader, `${field}.operator`),
        commissionBps: reader.field(`${field}.commissionBps`).number(),
        commissionStepBpsMax: reader.field(`${field}.commissionStepBpsMax`).number(),
      };
    case CALL_NUMBER.stakeBond:
      requireLength(reader, length, 3, offset);
      return {
        kind: "stakeBond",
        validator: readAddress(reader, `${field}.validator`),
        amount: reader.field(`${field}.amount`).uint(),
      };
    case CALL_NUMBER.stakeUnbond:
      requireLength(reader, length, 3, offset);
      return {
        kind: "stakeUnbond",
        validator: readAddress(reader, `${field}.validator`),
        amount: reader.field(`${field}.amount`).uint(),
      };
    case CALL_NUMBER.validatorCommission:
      requireLength(reader, length, 3, offset);
      return {
        kind: "validatorCommission",
        validator: readAddress(reader, `${field}.validator`),
        commissionBps: reader.field(`${field}.commissionBps`).number(),
      };
    case CALL_NUMBER.validatorUnjail:
      requireLength(reader, length, 2, offset);
      return { kind: "validatorUnjail", validator: readAddress(reader, `${field}.validator`) };
    case CALL_NUMBER.numberClaim:
      requireLength(reader, length, 3, offset);
      return { kind: "numberClaim", number: reader.field(`${field}.number`).number(), holder: bytesOf(reader) };
    case CALL_NUMBER.numberRenew:
      requireLength(reader, length, 3, offset);
      return {
        kind: "numberRenew",
        number: reader.field(`${field}.number`).number(),
        epoch: reader.field(`${field}.epoch`).uint(),
      };
    case CALL_NUMBER.numberRelease:
      requireLength(reader, length, 4, offset);
      return {
        kind: "numberRelease",
        number: reader.field(`${field}.number`).number(),
        epoch: reader.field(`${field}.epoch`).uint(),
        endMs: reader.field(`${field}.endMs`).uint(),
      };
    case CALL_NUMBER.sessionOpen:
      requireLength(reader, length, 4, offset);
      return { kind: "sessionOpen", stream: textOf(reader), partition: reader.number(), session: reader.uint() };
    case CALL_NUMBER.sessionAppend:
      requireLength(reader, length, 6, offset);
      return {
        kind: "sessionAppend",
        stream: textOf(reader),
        partition: reader.number(),
        session: reader.uint(),
        sequence: reader.uint(),
        records: readRecords(reader),
      };
    default:
      return reader.refuse("encoding_limit", offset);
  }
}

function requireLength(reader: Reader, length: number, wanted: number, offset: number): void {
  if (length !== wanted) reader.refuse("encoding_limit", offset);
}

function textOf(reader: Reader): string {
  return reader.text(TRANSACTION_SIZE_BYTES_MAX);
}

function bytesOf(reader: Reader): Uint8Array {
  return reader.bytes(TRANSACTION_SIZE_BYTES_MAX);
}

function optionalNumber(reader: Reader, field: string): number | undefined {
  return reader.field(field).skipNull() ? undefined : reader.number();
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
