/** Values as text: numbers, times, bytes, dag-cbor. */

import { CID } from "multiformats/cid";
import { parseUtf8, toHex } from "../../../crypto/base/bytes.ts";
import { decodeValue, Float, type Value } from "../../../crypto/codec/value.ts";

/** Digits in groups of three. */
export function grouped(value: bigint | number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** `1 block`, `2 blocks`. */
export function counted(count: bigint | number, one: string, many = `${one}s`): string {
  return `${grouped(count)} ${BigInt(count) === 1n ? one : many}`;
}

/** A size in the unit that keeps it short. */
export function sizeText(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1024 * 1024 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

/** A length of time in the unit that keeps it short. */
export function durationText(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min`;
  return ms < 86_400_000 ? `${Math.floor(ms / 3_600_000)} h` : `${grouped(Math.floor(ms / 86_400_000))} days`;
}

/** A moment in UTC to the second. Block times are bounded by the chain to what a date can say. */
export function timeText(timeMs: bigint | number): string {
  return `${new Date(Number(timeMs)).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** Both ends of a long text. */
export function shortened(text: string, [first, last]: readonly [number, number] = [8, 6]): string {
  return text.length <= first + last + 1 ? text : `${text.slice(0, first)}…${text.slice(-last)}`;
}

/** Bytes as text when they are readable as such, else in hex with `0x` in front. */
export function bytesText(bytes: Uint8Array): string {
  const text = parseUtf8(bytes);
  // Control characters, and what would look like nothing or be read the other way round, are shown as what they are.
  return text.ok && /^[\P{C}]+$/u.test(text.value) && !text.value.startsWith("0x") ? text.value : `0x${toHex(bytes)}`;
}

/** A row's value as indented JSON; what JSON cannot say as DAG-JSON has it, bytes in hex. */
export function rowValueText(bytes: Uint8Array): string {
  const value = decodeValue(bytes);
  return value.ok ? valueText(value.value) : `0x${toHex(bytes)}`;
}

function valueText(value: Value): string {
  return JSON.stringify(plain(value), undefined, 2);
}

function plain(value: Value): unknown {
  if (value === null || typeof value === "boolean" || typeof value === "number" || typeof value === "string") return value;
  if (typeof value === "bigint") return `${value}`;
  if (value instanceof Uint8Array) return { "/": { hex: toHex(value) } };
  if (value instanceof CID) return { "/": value.toString() };
  if (value instanceof Float) return value.value;
  if (Array.isArray(value)) return value.map((each: Value) => plain(each));
  // Without a prototype, as the decoder made it: a key of a stranger's choosing is only a key.
  const map = Object.create(null) as { [key: string]: unknown };
  for (const [key, each] of Object.entries(value)) map[key] = plain(each as Value);
  return map;
}
