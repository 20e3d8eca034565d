/** One network file, one gateway that answers and others that witness, one follower: what every view works with. */

import { toHex } from "../../../crypto/base/bytes.ts";
import { CodedError } from "../../../crypto/base/error.ts";
import { type NetworkFile, networkHash } from "../../../chain/block/genesis.ts";
import { GATEWAYS_MAX, LightFollower } from "../../../node/follower/follower.ts";
import type { PyralogClient } from "../../../node/rpc/client.ts";
import { EXPLORER_CODES } from "../errors.ts";
import { LiveChain, type LiveReport } from "./live.ts";
import { findTrustRoot, type Trust, type TrustMemory } from "./trust.ts";

/** How long one question may take. The page says that it waits long before. */
const QUESTION_TIMEOUT_MS = 12_000;
/** How long a head waits for the word of a witness: less than a visitor does. */
const WITNESS_TIMEOUT_MS = 1_500;
const POLL_INTERVAL_MS = 1_000;

/** See the file's head. */
export type Session = {
  /** Whom the visitor named to be asked first. */
  readonly gateway: string;
  /** Whom else. */
  readonly witnesses: readonly string[];
  readonly network: NetworkFile;
  /** In hex. */
  readonly networkHash: string;
  readonly trust: Trust;
  /** Whether the visitor chose this gateway's chain, of two that are certified. */
  readonly isChosen: boolean;
  /** Of whichever gateway is asked now; all are verified by the same trust. */
  readonly client: PyralogClient;
  readonly live: LiveChain;
};

/**
 * Opens a session: finds the network file, and follows its chain through gateways of which none is believed.
 *
 * Set by set from the network file, without a trusting period: what is called verified follows from that file alone, and the
 * page says so step by step.
 *
 * @param options - `supplied`: a network file that the visitor gave, instead of asking the gateway for one
 * @throws CodedError of `findTrustRoot`
 */
export async function openSession(options: {
  readonly gateway: string;
  readonly witnesses: readonly string[];
  readonly pin: string | undefined;
  readonly supplied: NetworkFile | undefined;
  readonly isChosen: boolean;
  readonly memory: TrustMemory;
  readonly report: LiveReport;
  readonly signal: AbortSignal;
}): Promise<Session> {
  const { gateway, witnesses, pin, supplied, isChosen, memory, report, signal } = options;
  const root =
    supplied === undefined
      ? await findTrustRoot({ gateway, pin, memory, signal })
      : { network: supplied, hash: toHex(networkHash(supplied)), trust: "pinned" as const };
  const follower = await LightFollower.open(
    {
      network: root.network,
      urls: [gateway, ...witnesses],
      setBySet: true,
      timeoutMs: QUESTION_TIMEOUT_MS,
      witnessTimeoutMs: WITNESS_TIMEOUT_MS,
      pollMs: POLL_INTERVAL_MS,
    },
    signal,
  );
  return {
    gateway,
    witnesses,
    network: root.network,
    networkHash: root.hash,
    trust: root.trust,
    isChosen,
    get client() {
      return follower.client;
    },
    live: new LiveChain({ follower, report, signal }),
  };
}

/** The other gateways that a page names, `?witness=URL` as often as there are any. @throws CodedError `rpc_url_invalid` */
export function witnessesOf(page: URL): readonly string[] {
  const gateway = gatewayOf(page);
  const named = page.searchParams.getAll("witness").map(gatewayUrl);
  return [...new Set(named)].filter((url) => url !== gateway).slice(0, GATEWAYS_MAX - 1);
}

/** Whether a page's address says that its gateway was chosen after a split view: `&chosen=1`, and no witness. */
export function isChosenIn(page: URL): boolean {
  return page.searchParams.get("chosen") === "1" && witnessesOf(page).length === 0;
}

/** The gateway of a page: what `?rpc=` names, else the node that serves it. @throws CodedError `rpc_url_invalid` */
export function gatewayOf(page: URL): string {
  const named = page.searchParams.get("rpc");
  if (named === null || named === "") {
    const isServed = /\/explorer\/[^/]*$/.test(page.pathname);
    return new URL(isServed ? page.pathname.replace(/explorer\/[^/]*$/, "") : "/", page).href;
  }
  return gatewayUrl(named);
}

/** A gateway's address in its one spelling. @throws CodedError `rpc_url_invalid` */
export function gatewayUrl(text: string): string {
  const trimmed = text.trim();
  const whole = /^[a-z]+:\/\//i.test(trimmed) ? trimmed : `http://${trimmed}`;
  const refusal = new CodedError("rpc_url_invalid", { message: EXPLORER_CODES.rpc_url_invalid, url: trimmed.slice(0, 200) });
  if (trimmed === "" || !URL.canParse(whole)) throw refusal;
  const url = new URL(whole);
  if (url.protocol !== "http:" && url.protocol !== "https:") throw refusal;
  url.hash = "";
  return url.href;
}
