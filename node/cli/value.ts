/**
 * Row values between JSON, which people type, and dag-cbor, which the chain stores. What JSON cannot say is written
 * as DAG-JSON does: `{"/": {"bytes": base64}}` for bytes and `{"/": cid}` for links.
 */

import { CID } from "multiformats/cid";
import { CodedError } from "../../crypto/base/error.ts";
import { encodeValue, Float, type Value } from "../../crypto/codec/value.ts";
import { DEPTH_MAX } from "../../crypto/codec/reader.ts";
import type { Json } from "./answer.ts";

/**
 * The canonical encoding of a JSON text.
 *
 * @throws CodedError `value_json` when it is not JSON, `value_number` for a whole number beyond 2^53 (write it as a
 *   string, or give the value as dag-cbor in hex), `value_depth`, `value_link` for a broken `{"/": ...}`
 */
export function encodeJsonText(text: string, field: string): Uint8Array {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new CodedError(
      "value_json",
      { field, message: `not JSON: ${text.slice(0, 60)} (a text needs its quotes: '"text"')` },
      { cause: error },
    );
  }
  return encodeValue(valueOf(parsed, field, DEPTH_MAX));
}

/** A dag-cbor value as JSON: floats as numbers, integers beyond 2^53 as decimal strings. */
export function jsonOf(value: Value): Json {
  if (value === null || typeof value === "boolean" || typeof value === "number" || typeof value === "string") return value;
  if (typeof value === "bigint") return `${value}`;
  if (value instanceof Uint8Array) return { "/": { bytes: Buffer.from(value).toString("base64").replace(/=+$/, "") } };
  if (value instanceof CID) return { "/": value.toString() };
  if (value instanceof Float) return value.value;
  if (Array.isArray(value)) return value.map((item: Value) => jsonOf(item));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, jsonOf(item as Value)]));
}

function valueOf(parsed: unknown, field: string, depthLeft: number): Value {
  if (parsed === null || typeof parsed === "boolean") return parsed;
  if (typeof parsed === "string") {
    if (!parsed.isWellFormed()) throw new CodedError("value_json", { field, message: "a text holds half a surrogate pair" });
    return parsed;
  }
  if (typeof parsed === "number") {
    if (Number.isInteger(parsed) && !Number.isSafeInteger(parsed)) {
      throw new CodedError("value_number", {
        field,
        message: `${parsed} is beyond 2^53 and would lose digits; write it as a string`,
      });
    }
    return parsed;
  }
  if (depthLeft === 0) throw new CodedError("value_depth", { field, message: `nested deeper than ${DEPTH_MAX}` });
  if (Array.isArray(parsed)) return parsed.map((item) => valueOf(item, field, depthLeft - 1));
  const entries = Object.entries(parsed as object);
  if (entries.length === 1 && entries[0]?.[0] === "/") return linkOf(entries[0][1], field);
  const map = Object.create(null) as { [key: string]: Value };
  for (const [key, item] of entries) map[key] = valueOf(item, field, depthLeft - 1);
  return map;
}

function linkOf(target: unknown, field: string): Value {
  const refusal = (cause?: unknown): CodedError =>
    new CodedError("value_link", { field, message: 'a "/" holds a CID or {"bytes": base64}' }, { cause });
  if (typeof target === "string") {
    try {
      return CID.parse(target);
    } catch (error) {
      throw refusal(error);
    }
  }
  const bytes = target !== null && typeof target === "object" && "bytes" in target ? target.bytes : undefined;
  if (typeof bytes !== "string" || !/^[A-Za-z0-9+/]*$/.test(bytes)) throw refusal();
  return new Uint8Array(Buffer.from(bytes, "base64"));
}
