/**
 * Reads traces in the Informal Trace Format, as the Quint tools write them.
 *
 * Source: https://apalache-mc.org/docs/adr/015adr-trace.html
 */

import { readdirSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { assert, present } from "../../crypto/base/assert.ts";

const FOLDER = new URL("../../../shared/vectors/malachite-itf/", import.meta.url);

/** A value of a trace: big integers, tuples and sets become bigint and arrays, maps become `Map`, variants keep their tag. */
export type ItfValue = bigint | string | boolean | readonly ItfValue[] | ReadonlyMap<ItfValue, ItfValue> | ItfVariant | ItfRecord;
/** A variant of a sum type. */
export type ItfVariant = { readonly tag: string; readonly value: ItfValue };
/** A record, which has no field called `tag`. */
export type ItfRecord = { readonly [field: string]: ItfValue };

/** One state after another, each the variables of the model. */
export type ItfTrace = { readonly name: string; readonly states: readonly ItfRecord[] };

/** The traces whose file names begin so, in the order of their names; there must be some. */
export function readTraces(prefix: string): readonly ItfTrace[] {
  const names = readdirSync(FOLDER)
    .filter((name) => name.startsWith(prefix) && name.endsWith(".itf.json.gz"))
    .toSorted();
  assert(names.length > 0, `no traces called ${prefix}* in ${FOLDER.pathname}`);
  return names.map((name) => {
    const parsed = JSON.parse(gunzipSync(readFileSync(new URL(name, FOLDER))).toString("utf8")) as {
      readonly states: readonly unknown[];
    };
    return { name: name.slice(0, -".itf.json.gz".length), states: parsed.states.map((state) => revive(state) as ItfRecord) };
  });
}

function revive(json: unknown): ItfValue {
  if (typeof json === "string" || typeof json === "boolean") return json;
  if (typeof json === "number") return BigInt(json);
  if (Array.isArray(json)) return json.map(revive);
  assert(typeof json === "object" && json !== null, `not a trace value: ${String(json)}`);
  const entries = Object.entries(json).filter(([name]) => name !== "#meta");
  const [first] = entries;
  if (entries.length === 1 && first !== undefined) {
    const [name, value] = first;
    if (name === "#bigint") return BigInt(value as string);
    if (name === "#tup" || name === "#set") return (value as readonly unknown[]).map(revive);
    if (name === "#map")
      return new Map((value as readonly [unknown, unknown][]).map(([key, entry]) => [revive(key), revive(entry)]));
  }
  return Object.fromEntries(entries.map(([name, value]) => [name, revive(value)]));
}

/** A field of a record. */
export function fieldOf(value: ItfValue, name: string): ItfValue {
  assert(typeof value === "object" && !Array.isArray(value) && !(value instanceof Map), `no record with ${name}`);
  return present((value as ItfRecord)[name], name);
}

/** A whole number. */
export function numberOf(value: ItfValue): number {
  assert(typeof value === "bigint", "a number");
  return Number(value);
}

/** A string. */
export function textOf(value: ItfValue): string {
  assert(typeof value === "string", "a string");
  return value;
}

/** A tuple, list or set. */
export function listOf(value: ItfValue): readonly ItfValue[] {
  assert(Array.isArray(value), "a list");
  return value;
}

/** A map. */
export function mapOf(value: ItfValue): ReadonlyMap<ItfValue, ItfValue> {
  assert(value instanceof Map, "a map");
  return value;
}

/** A variant: its tag and what it carries. */
export function variantOf(value: ItfValue): ItfVariant {
  return { tag: textOf(fieldOf(value, "tag")), value: fieldOf(value, "value") };
}
