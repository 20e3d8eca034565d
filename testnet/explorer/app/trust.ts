/**
 * Where the page's trust comes from: the network file, and how it is known to be the right one.
 *
 * ```
 *   hash in the page's address, or a file given by the visitor ---------------------> pinned
 *   the gateway's file, hash seen at this gateway before --------------------------> remembered
 *   the gateway's file, never seen ------------------------------------------------> first-use
 *   the gateway's file, another than before, or than pinned -----------------------> refused
 * ```
 *
 * A pinned hash is as good as where the address or the file comes from: a stranger's link pins a stranger's network.
 * A network file from a gateway is that gateway's claim: whoever lies about everything can lie about this too, and prove
 * the rest under validators of their own. So the page says plainly which of the three it stands on.
 */

import { CodedError } from "../../../crypto/base/error.ts";
import { toHex } from "../../../crypto/base/bytes.ts";
import { type NetworkFile, networkHash, parseNetworkFile } from "../../../chain/block/genesis.ts";
import { networkFile } from "../../../node/rpc/methods/network.ts";
import { HttpTransport } from "../../../node/rpc/transport.ts";
import { UnprovenError } from "../../../node/light/errors.ts";
import { EXPLORER_CODES } from "../errors.ts";

/** How a network file is known to be the right one. */
export type Trust = "pinned" | "remembered" | "first-use";

/** A network file that the page stands on. */
export type TrustRoot = { readonly network: NetworkFile; readonly hash: string; readonly trust: Trust };

/** What is kept between visits: the hash of the network file that each gateway served first. */
export interface TrustMemory {
  get(gateway: string): string | undefined;
  set(gateway: string, hash: string): void;
}

const STORAGE_KEY = "pyralog.explorer.networks";
/** Gateways that are remembered; the one that was added first is forgotten first. */
const GATEWAYS_MAX = 64;
const NETWORK_ANSWER_BYTES_MAX = 20 * 1024 * 1024;
const NETWORK_TIMEOUT_MS = 10_000;
const HASH = /^[0-9a-f]{64}$/;

/** The browser's own storage; where it is forbidden nothing is remembered, and every visit is a first one. */
export function browserMemory(storage: Pick<Storage, "getItem" | "setItem"> | undefined): TrustMemory {
  const read = (): readonly (readonly [string, string])[] => {
    try {
      const parsed: unknown = JSON.parse(storage?.getItem(STORAGE_KEY) ?? "[]");
      if (!Array.isArray(parsed)) return [];
      return parsed.filter(
        (each): each is [string, string] =>
          Array.isArray(each) && typeof each[0] === "string" && typeof each[1] === "string" && HASH.test(each[1]),
      );
    } catch {
      // Forbidden, or written by something else: as if nothing had been kept.
      return [];
    }
  };
  return {
    get: (gateway) => read().find(([name]) => name === gateway)?.[1],
    set: (gateway, hash) => {
      const kept = read().filter(([name]) => name !== gateway);
      try {
        storage?.setItem(STORAGE_KEY, JSON.stringify([...kept, [gateway, hash]].slice(-GATEWAYS_MAX)));
      } catch {
        // Full or forbidden: the next visit says again that it is the first.
      }
    },
  };
}

/** A network file from its text, as somebody gave it. @throws CodedError `network_file_invalid` */
export function networkOfText(text: string): NetworkFile {
  const parsed = parseNetworkFile(text);
  if (parsed.ok) return parsed.value;
  const { code: reason, field } = parsed.error;
  throw new CodedError("network_file_invalid", { message: EXPLORER_CODES.network_file_invalid, reason, field });
}

/**
 * Gets the gateway's network file and says how far it can be trusted.
 *
 * @param options - `pin`: the hash that the visitor named
 * @throws CodedError `network_pin_mismatch`, `network_changed`, or a code of the transport; `UnprovenError`
 * `answer_malformed` when what came is no network file
 */
export async function findTrustRoot(options: {
  readonly gateway: string;
  readonly pin: string | undefined;
  readonly memory: TrustMemory;
  readonly signal: AbortSignal;
}): Promise<TrustRoot> {
  const { gateway, pin, memory, signal } = options;
  const transport = new HttpTransport({
    url: gateway,
    fetch: undefined,
    timeoutMs: NETWORK_TIMEOUT_MS,
    answerSizeBytesMax: NETWORK_ANSWER_BYTES_MAX,
  });
  const answer = networkFile.result.safeParse(await transport.call(networkFile.name, {}, { signal }));
  const parsed = answer.success ? parseNetworkFile(answer.data.file) : undefined;
  if (parsed?.ok !== true) throw new UnprovenError({ code: "answer_malformed", field: "file" });
  const network = parsed.value;
  // Reckoned here: the hash that the gateway sends beside it is not looked at.
  const hash = toHex(networkHash(network));
  const before = memory.get(gateway);
  if (pin !== undefined) {
    if (hash !== pin)
      throw new CodedError("network_pin_mismatch", { message: EXPLORER_CODES.network_pin_mismatch, expected: pin, served: hash });
    memory.set(gateway, hash);
    return { network, hash, trust: "pinned" };
  }
  if (before === undefined) {
    memory.set(gateway, hash);
    return { network, hash, trust: "first-use" };
  }
  if (before !== hash)
    throw new CodedError("network_changed", { message: EXPLORER_CODES.network_changed, expected: before, served: hash });
  return { network, hash, trust: "remembered" };
}

/** The hash in a text, if it is one. */
export function hashIn(text: string | null): string | undefined {
  const hash = text?.trim().toLowerCase();
  return hash !== undefined && HASH.test(hash) ? hash : undefined;
}
