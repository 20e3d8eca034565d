/** Calls as people give them: on the command line, one, or in a JSON file, several that happen together or not at all. */

import { z } from "zod";
import { encodePublicKey, parsePublicKey, type PublicKey } from "../../crypto/sign/key.ts";
import { BPS_WHOLE } from "../../chain/block/limits.ts";
import type { Call } from "../../chain/block/call.ts";
import { parseHex, parseUtf8, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { decodeValue } from "../../crypto/codec/value.ts";
import { NODE_NUMBER_MAX } from "../../crypto/id/scarab.ts";
import { addressOfKey, formatAddress, parseAddress, type Address } from "../../crypto/identity/address.ts";
import type { Json } from "./answer.ts";
import { encodeJsonText, jsonOf } from "./value.ts";

/** An address from its text. */
export function requireAddress(text: string, field: string): Address {
  const parsed = parseAddress(text);
  if (!parsed.ok)
    throw new CodedError(parsed.error.code, {
      field,
      message: `${text.slice(0, 80)} is not an address: ${ADDRESS_MESSAGES[parsed.error.code]}`,
    });
  return parsed.value;
}

const ADDRESS_MESSAGES = {
  address_length: "it has the wrong length",
  address_text: "a character is wrong, missing or too many",
  address_prefix: "it does not begin with pyra1",
} as const;

/** Bytes given as text, or in hex when asked. */
export function bytesOf(text: string, asHex: boolean, field: string): Uint8Array {
  if (!asHex) return utf8(text);
  const parsed = parseHex(text);
  if (!parsed.ok) throw new CodedError(parsed.error.code, { field, message: `${text.slice(0, 80)} is not hex` });
  return parsed.value;
}

const NAME = z.string().max(64);
const HEX = z.string().max(1_000_000);
const ADDRESS = z.string().max(128);
const AMOUNT = z.string().regex(/^\d{1,20}$/);
const BPS = z.int().min(0).max(BPS_WHOLE);
const NODE_NUMBER = z.int().min(0).max(NODE_NUMBER_MAX);
const BYTES = z.union([z.strictObject({ hex: HEX }), z.strictObject({ text: z.string().max(1_000_000) })]);

const CALL_SCHEMA = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("transfer"), to: ADDRESS, amount: AMOUNT }),
  z.strictObject({ kind: z.literal("tableCreate"), namespace: NAME, table: NAME }),
  z.strictObject({ kind: z.literal("tablePut"), namespace: NAME, table: NAME, key: BYTES, value: z.unknown() }),
  z.strictObject({ kind: z.literal("tableDelete"), namespace: NAME, table: NAME, key: BYTES }),
  z.strictObject({
    kind: z.literal("logAppend"),
    stream: NAME,
    partition: z.int().min(0),
    records: z.array(BYTES).min(1).max(1024),
  }),
  z.strictObject({
    kind: z.literal("streamCreate"),
    stream: NAME,
    partitions: z.int().min(1),
    isOpen: z.boolean(),
    segmentSizeBytes: z.int().min(1),
    segmentAgeMs: z.int().min(1),
    retentionMs: z.int().min(1).optional(),
    compactionMs: z.int().min(1).optional(),
  }),
  z.strictObject({
    kind: z.literal("streamAppend"),
    stream: NAME,
    partition: z.int().min(0),
    records: z
      .array(
        z.strictObject({
          key: BYTES.optional(),
          value: BYTES.optional(),
          headers: z
            .array(z.strictObject({ name: NAME, value: BYTES }))
            .max(16)
            .default([]),
        }),
      )
      .min(1)
      .max(1024),
  }),
  z.strictObject({ kind: z.literal("recordErase"), stream: NAME, partition: z.int().min(0), index: AMOUNT }),
  z.strictObject({ kind: z.literal("validatorSet"), key: HEX, power: AMOUNT }),
  z.strictObject({ kind: z.literal("rewardsClaim"), validator: ADDRESS.optional() }),
  z.strictObject({
    kind: z.literal("validatorDeclare"),
    key: HEX,
    operator: ADDRESS,
    commissionBps: BPS,
    commissionStepBpsMax: BPS,
  }),
  z.strictObject({ kind: z.enum(["stakeBond", "stakeUnbond"]), validator: ADDRESS, amount: AMOUNT }),
  z.strictObject({ kind: z.literal("validatorCommission"), validator: ADDRESS, commissionBps: BPS }),
  z.strictObject({ kind: z.literal("validatorUnjail"), validator: ADDRESS }),
  z.strictObject({ kind: z.literal("numberClaim"), number: NODE_NUMBER, holder: HEX }),
  z.strictObject({ kind: z.literal("sessionOpen"), stream: NAME, partition: z.int().min(0), session: AMOUNT }),
  z.strictObject({
    kind: z.literal("sessionAppend"),
    stream: NAME,
    partition: z.int().min(0),
    session: AMOUNT,
    sequence: AMOUNT,
    records: z.array(BYTES).min(1).max(1024),
  }),
  z.strictObject({ kind: z.literal("numberRenew"), number: NODE_NUMBER, epoch: AMOUNT }),
  z.strictObject({ kind: z.literal("numberRelease"), number: NODE_NUMBER, epoch: AMOUNT, endMs: AMOUNT }),
]);

const CALLS_SCHEMA = z.array(CALL_SCHEMA).min(1).max(64);

/**
 * Parses a JSON list of calls. Keys and records are `{"text": ...}` or `{"hex": ...}`; values are JSON.
 *
 * @throws CodedError `calls_invalid` with the field at fault, or a code of its parts
 */
export function parseCalls(text: string): readonly Call[] {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch (error) {
    throw new CodedError("calls_invalid", { field: "", message: "not JSON" }, { cause: error });
  }
  const checked = CALLS_SCHEMA.safeParse(data);
  if (!checked.success) {
    const issue = checked.error.issues[0];
    const field = `calls.${(issue?.path ?? []).join(".")}`;
    throw new CodedError("calls_invalid", { field, message: `${field}: ${issue?.message ?? "invalid"}` });
  }
  return checked.data.map((call, index) => callOf(call, `calls.${index}`));
}

function callOf(call: z.output<typeof CALL_SCHEMA>, field: string): Call {
  switch (call.kind) {
    case "transfer":
      return { kind: "transfer", to: requireAddress(call.to, `${field}.to`), amount: BigInt(call.amount) };
    case "tableCreate":
      return call;
    case "tablePut":
      return {
        ...call,
        key: given(call.key, `${field}.key`),
        value: encodeJsonText(JSON.stringify(call.value), `${field}.value`),
      };
    case "tableDelete":
      return { ...call, key: given(call.key, `${field}.key`) };
    case "logAppend":
      return { ...call, records: call.records.map((record, index) => given(record, `${field}.records.${index}`)) };
    case "streamCreate": {
      const { retentionMs, compactionMs, ...rest } = call;
      return {
        ...rest,
        ...(retentionMs === undefined ? {} : { retentionMs }),
        ...(compactionMs === undefined ? {} : { compactionMs }),
      };
    }
    case "streamAppend":
      return {
        ...call,
        records: call.records.map(({ key, value, headers }, index) => ({
          key: key === undefined ? undefined : given(key, `${field}.records.${index}.key`),
          value: value === undefined ? undefined : given(value, `${field}.records.${index}.value`),
          headers: headers.map((header) => ({
            name: header.name,
            value: given(header.value, `${field}.records.${index}.headers`),
          })),
        })),
      };
    case "recordErase":
      return { ...call, index: BigInt(call.index) };
    case "validatorSet":
      return { kind: "validatorSet", key: keyGiven(call.key, `${field}.key`), power: BigInt(call.power) };
    case "rewardsClaim":
      return call.validator === undefined
        ? { kind: "rewardsClaim" }
        : { kind: "rewardsClaim", validator: requireAddress(call.validator, `${field}.validator`) };
    case "validatorDeclare":
      return {
        ...call,
        key: keyGiven(call.key, `${field}.key`),
        operator: requireAddress(call.operator, `${field}.operator`),
      };
    case "stakeBond":
    case "stakeUnbond":
      return { ...call, validator: requireAddress(call.validator, `${field}.validator`), amount: BigInt(call.amount) };
    case "validatorCommission":
    case "validatorUnjail":
      return { ...call, validator: requireAddress(call.validator, `${field}.validator`) };
    case "numberClaim":
      return { ...call, holder: bytesOf(call.holder, true, `${field}.holder`) };
    case "sessionOpen":
      return { ...call, session: BigInt(call.session) };
    case "sessionAppend":
      return {
        ...call,
        session: BigInt(call.session),
        sequence: BigInt(call.sequence),
        records: call.records.map((record, index) => given(record, `${field}.records.${index}`)),
      };
    case "numberRenew":
      return { ...call, epoch: BigInt(call.epoch) };
    case "numberRelease":
      return { ...call, epoch: BigInt(call.epoch), endMs: BigInt(call.endMs) };
  }
}

function keyGiven(hex: string, field: string): PublicKey {
  const key = parsePublicKey(bytesOf(hex, true, field));
  if (!key.ok) throw new CodedError(key.error.code, { field, message: "not a public key" });
  return key.value;
}

function given(bytes: { readonly hex: string } | { readonly text: string }, field: string): Uint8Array {
  return "hex" in bytes ? bytesOf(bytes.hex, true, field) : utf8(bytes.text);
}

/** A call as `parseCalls` reads it. */
export function callJson(call: Call): Json {
  switch (call.kind) {
    case "transfer":
      return { kind: call.kind, to: formatAddress(call.to), amount: call.amount };
    case "tableCreate":
      return { kind: call.kind, namespace: call.namespace, table: call.table };
    case "tablePut":
      return {
        kind: call.kind,
        namespace: call.namespace,
        table: call.table,
        key: bytesJson(call.key),
        value: rowValueJson(call.value),
      };
    case "tableDelete":
      return { kind: call.kind, namespace: call.namespace, table: call.table, key: bytesJson(call.key) };
    case "logAppend":
      return { kind: call.kind, stream: call.stream, partition: call.partition, records: call.records.map(bytesJson) };
    case "streamCreate":
    case "recordErase":
      return { ...call };
    case "streamAppend":
      return {
        kind: call.kind,
        stream: call.stream,
        partition: call.partition,
        records: call.records.map(({ key, value, headers }) => ({
          ...(key === undefined ? {} : { key: bytesJson(key) }),
          ...(value === undefined ? {} : { value: bytesJson(value) }),
          headers: headers.map((header) => ({ name: header.name, value: bytesJson(header.value) })),
        })),
      };
    case "validatorSet":
      return { kind: call.kind, key: toHex(encodePublicKey(call.key)), power: call.power };
    case "rewardsClaim":
      return call.validator === undefined ? { kind: call.kind } : { kind: call.kind, validator: formatAddress(call.validator) };
    case "validatorDeclare":
      return { ...call, key: toHex(encodePublicKey(call.key)), operator: formatAddress(call.operator) };
    case "stakeBond":
    case "stakeUnbond":
    case "validatorCommission":
    case "validatorUnjail":
      return { ...call, validator: formatAddress(call.validator) };
    case "numberClaim":
      return { ...call, holder: toHex(call.holder) };
    case "sessionAppend":
      return { ...call, records: call.records.map(bytesJson) };
    case "sessionOpen":
    case "numberRenew":
    case "numberRelease":
      return { ...call };
  }
}

/** Bytes as text when they are readable as such, else in hex. */
export function bytesJson(bytes: Uint8Array): Json {
  const text = parseUtf8(bytes);
  // Control characters, and what would look like nothing, are shown as what they are.
  return text.ok && /^[\P{C}]*$/u.test(text.value) && bytes.length > 0 ? { text: text.value } : { hex: toHex(bytes) };
}

/** A row's value as JSON. What does not decode, which no valid chain holds, is shown in hex. */
export function rowValueJson(bytes: Uint8Array): Json {
  const value = decodeValue(bytes);
  return value.ok ? jsonOf(value.value) : { hex: toHex(bytes) };
}

/** One line about a call, for people. */
export function callText(call: Call): string {
  switch (call.kind) {
    case "transfer":
      return `transfer ${call.amount} to ${formatAddress(call.to)}`;
    case "tableCreate":
      return `create table ${call.namespace}/${call.table}`;
    case "tablePut":
      return `put ${call.namespace}/${call.table} ${bytesText(call.key)} = ${JSON.stringify(rowValueJson(call.value)).slice(0, 200)}`;
    case "tableDelete":
      return `delete ${call.namespace}/${call.table} ${bytesText(call.key)}`;
    case "logAppend":
      return `append ${call.records.length} records to ${call.stream}/${call.partition}`;
    case "streamCreate":
      return `declare stream ${call.stream} of ${call.partitions} partitions${call.isOpen ? ", open to all" : ""}`;
    case "streamAppend":
      return `append ${call.records.length} records to ${call.stream}/${call.partition}`;
    case "recordErase":
      return `erase ${call.stream}/${call.partition}[${call.index}]`;
    case "validatorSet":
      return `set validator ${toHex(encodePublicKey(call.key)).slice(0, 16)}... to power ${call.power}`;
    case "rewardsClaim":
      return call.validator === undefined ? "claim rewards" : `claim rewards of stake with ${formatAddress(call.validator)}`;
    case "validatorDeclare":
      return `declare validator ${formatAddress(addressOfKey(call.key))}, operated by ${formatAddress(call.operator)}`;
    case "stakeBond":
      return `stake ${call.amount} with ${formatAddress(call.validator)}`;
    case "stakeUnbond":
      return `ask ${call.amount} back that are staked with ${formatAddress(call.validator)}`;
    case "validatorCommission":
      return `set the commission of ${formatAddress(call.validator)} to ${call.commissionBps} basis points`;
    case "validatorUnjail":
      return `unjail ${formatAddress(call.validator)}`;
    case "numberClaim":
      return `lease node number ${call.number}`;
    case "sessionOpen":
      return `open session ${call.session} on ${call.stream}/${call.partition}`;
    case "sessionAppend":
      return `append ${call.records.length} records to ${call.stream}/${call.partition}, number ${call.sequence} of session ${call.session}`;
    case "numberRenew":
      return `renew the lease of node number ${call.number} in epoch ${call.epoch}`;
    case "numberRelease":
      return `give node number ${call.number} of epoch ${call.epoch} back at ${call.endMs}`;
  }
}

/** Bytes as text when readable, else in hex. */
export function bytesText(bytes: Uint8Array): string {
  const json = bytesJson(bytes) as { readonly text?: string; readonly hex?: string };
  return json.text ?? `0x${json.hex ?? ""}`;
}
