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

/** Thrown by the readers below when a value has not the form that they want. */
export class ItfShapeError extends Error {
  override readonly name = "ItfShapeError";
}

function expectForm(condition: boolean, wanted: string): asserts condition {
  if (!condition) throw new ItfShapeError(`not ${wanted}`);
}

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
    return { name: name.slice(0, -".itf.json.gz".length), states: parsed.states.map((state) => readItf(state) as ItfRecord) };
  });
}

/** A value from its JSON form. Throws `ItfShapeError`. */
export function readItf(json: unknown): ItfValue {
  if (typeof json === "string" || typeof json === "boolean") return json;
  if (typeof json === "number") {
    expectForm(Number.isSafeInteger(json), "a whole number");
    return BigInt(json);
  }
  if (Array.isArray(json)) return json.map(readItf);
  expectForm(typeof json === "object" && json !== null, "a trace value");
  const entries = Object.entries(json).filter(([name]) => name !== "#meta");
  const [first] = entries;
  if (entries.length === 1 && first !== undefined) {
    const [name, value] = first;
    if (name === "#bigint") {
      expectForm(typeof value === "string" && /^-?\d{1,30}$/.test(value), "an integer");
      return BigInt(value);
    }
    if (name === "#tup" || name === "#set" || name === "#map") {
      expectForm(Array.isArray(value), "a collection");
      const items = value.map(readItf);
      return name === "#map" ? new Map(items.map((item) => [itemOf(item, 0), itemOf(item, 1)])) : items;
    }
  }
  return Object.fromEntries(entries.map(([name, value]) => [name, readItf(value)]));
}

/** A field of a record. */
export function fieldOf(value: ItfValue, name: string): ItfValue {
  expectForm(typeof value === "object" && !Array.isArray(value) && !(value instanceof Map), `a record with ${name}`);
  expectForm(Object.hasOwn(value, name), `a record with ${name}`);
  return present((value as ItfRecord)[name], name);
}

/** A whole number. */
export function numberOf(value: ItfValue): number {
  expectForm(typeof value === "bigint" && Number.isSafeInteger(Number(value)), "a number");
  return Number(value);
}

/** A string. */
export function textOf(value: ItfValue): string {
  expectForm(typeof value === "string", "a string");
  return value;
}

/** A tuple, list or set. */
export function listOf(value: ItfValue): readonly ItfValue[] {
  expectForm(Array.isArray(value), "a list");
  return value;
}

/** An item of a tuple, list or set. */
export function itemOf(value: ItfValue, index: number): ItfValue {
  const item = listOf(value)[index];
  expectForm(item !== undefined, `a list with item ${index}`);
  return item;
}

/** A map. */
export function mapOf(value: ItfValue): ReadonlyMap<ItfValue, ItfValue> {
  expectForm(value instanceof Map, "a map");
  return value;
}

/** A variant: its tag and what it carries. */
export function variantOf(value: ItfValue): ItfVariant {
  return { tag: textOf(fieldOf(value, "tag")), value: fieldOf(value, "value") };
}
