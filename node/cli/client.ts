/** What verbs that ask a node share: the verifying client, and how they say what was verified. */

import { readPolicy, readKey } from "../home/keys.ts";
import type { Home } from "../home/home.ts";
import { parseAddress, type Address } from "../../crypto/identity/address.ts";
import { parseHash, type Hash } from "../../crypto/hash/hash.ts";
import type { Finality } from "../../chain/block/finality.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { PyralogClient, type Verification } from "../rpc/client.ts";
import { bytesOf, requireAddress } from "./calls.ts";
import type { Json } from "./answer.ts";
import type { Invocation } from "./invocation.ts";
import { usageError } from "./usage.ts";

/** The largest height there is. */
export const HEIGHT_MAX = (1n << 63n) - 1n;

/** A client of the chosen node that verifies against the chosen network file. */
export async function openClient(invocation: Invocation): Promise<PyralogClient> {
  return new PyralogClient({ url: await invocation.nodeUrl(), network: await invocation.network() });
}

/** The options of a read: `--height`, and the signal. */
export function readOptions(invocation: Invocation): { readonly height?: Height; readonly signal: AbortSignal } {
  const height = invocation.bigint("height", { min: 1n, max: HEIGHT_MAX });
  return { ...(height === undefined ? {} : { height: heightOf(height) }), signal: invocation.signal };
}

/** A verification as JSON. */
export function verificationJson({ height, timeMs, finality, how }: Verification): Json {
  return { height, timeMs, finality, how };
}

/** A verification in a line. */
export function verificationText({ height, timeMs, finality, how }: Verification): string {
  return `verified at height ${height} (${timeText(timeMs)}), ${finalityText(finality)}: ${how.join(", ")}`;
}

/** How sure a block is, in words. */
export function finalityText(finality: Finality): string {
  if (finality.kind === "final") return "final";
  const { depth, work, isSettled } = finality;
  return `${isSettled ? "settled" : "not settled"}, ${depth} deep, ${work} hashes of work`;
}

/** A block time for people. */
export function timeText(timeMs: bigint): string {
  return new Date(Number(timeMs)).toISOString();
}

/** An address, or the one of a key or policy of the home by its name. */
export async function findAddress(home: Home, text: string, field: string): Promise<Address> {
  const parsed = parseAddress(text);
  if (parsed.ok) return parsed.value;
  if ((await home.keyNames(".key")).includes(text)) return (await readKey(home, text)).address;
  if ((await home.keyNames(".policy")).includes(text)) {
    const policy = await readPolicy(home, text);
    if (policy !== undefined) return policy.address;
  }
  return requireAddress(text, field);
}

/** A transaction id from its hex. */
export function requireId(text: string, field: string): Hash {
  const parsed = parseHash(bytesOf(text, true, field));
  if (!parsed.ok) throw usageError("usage_option_value", `${field} must be 64 hex digits`, { field });
  return parsed.value;
}
