/**
 * Where in the page one is: `#/block/12?at=9`. Everything behind the hash stays in the browser, so that any static host
 * serves every address of the page, and no server learns what is looked at.
 */

import { toHex } from "../../../crypto/base/bytes.ts";
import type { Hash } from "../../../crypto/hash/hash.ts";
import { type Address, formatAddress } from "../../../crypto/identity/address.ts";

/** The parts of a path, decoded, and what is asked of the view. */
export type Route = { readonly parts: readonly string[]; readonly query: URLSearchParams };

/** Parts of a path; more are nobody's. */
const PARTS_MAX = 8;

/** Reads `location.hash`. What cannot be decoded is no part of anything. */
export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#/, "").split("?", 2);
  const parts = path
    .split("/")
    .filter((part) => part !== "")
    .slice(0, PARTS_MAX)
    .map((part) => {
      try {
        return decodeURIComponent(part);
      } catch {
        // A stray percent sign: taken as it stands.
        return part;
      }
    });
  return { parts, query: new URLSearchParams(query) };
}

/** The address of a view. */
export function hrefOf(
  parts: readonly (string | number | bigint)[],
  query: Readonly<Record<string, string | undefined>> = {},
): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined && value !== "") search.set(name, value);
  const text = search.toString();
  return `#/${parts.map((part) => encodeURIComponent(String(part))).join("/")}${text === "" ? "" : `?${text}`}`;
}

/** The addresses of what has a view of its own. */
export const HREF = {
  block: (height: bigint) => hrefOf(["block", height]),
  transaction: (id: Hash) => hrefOf(["tx", toHex(id)]),
  account: (address: Address) => hrefOf(["account", formatAddress(address)]),
  table: (namespace: string, table: string) => hrefOf(["table", namespace, table]),
  row: (namespace: string, table: string, key: Uint8Array) => hrefOf(["row", namespace, table, toHex(key)]),
  partition: (stream: string, partition: number) => hrefOf(["stream", stream, partition]),
  record: (stream: string, partition: number, index: bigint) => hrefOf(["record", stream, partition, index]),
} as const;
