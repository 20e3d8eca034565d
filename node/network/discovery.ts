/**
 * How a node finds others: it keeps the configured peers connected for ever, and asks the DHT for more while it has
 * fewer than it wants.
 *
 * ```
 *   configured peer:   away --dial ok, greeted--> here --lost--> away      (delay doubles while dials fail, resets here)
 * ```
 */

import type { PeerId } from "@libp2p/interface";
import type { KadDHT } from "@libp2p/kad-dht";
import { CODE_P2P, multiaddr, type Multiaddr } from "@multiformats/multiaddr";
import { randomBytes } from "node:crypto";
import { CodedError, codeOf } from "../../crypto/base/error.ts";
import type { Log } from "../log/log.ts";
import type { Limits } from "./limits.ts";

/** What discovery needs from the network. */
export type DiscoveryPort = {
  readonly self: string;
  readonly isGreeted: (peer: string) => boolean;
  readonly isBanned: (peer: string) => boolean;
  readonly peersCount: () => number;
  readonly dial: (target: PeerId | Multiaddr[], signal: AbortSignal) => Promise<void>;
  /** Resolves when some peer came, went or changed, or after `ms`. */
  readonly change: (ms: number, signal: AbortSignal) => Promise<void>;
};

/** A configured peer: one identity, any number of addresses. */
export type Contact = { readonly peer: string; readonly addresses: Multiaddr[] };

/**
 * Groups configured addresses by peer; our own are left out.
 *
 * @throws CodedError `network_address` for what is not a multiaddr with a /p2p/ part
 */
export function parseContacts(addresses: readonly string[], self: string): Contact[] {
  const contacts = new Map<string, Multiaddr[]>();
  for (const text of addresses) {
    const address = parseAddress(text);
    const peer = address.getComponents().findLast((component) => component.code === CODE_P2P)?.value;
    if (peer === undefined) throw new CodedError("network_address", { address: text, message: "the /p2p/ part is missing" });
    if (peer !== self) contacts.set(peer, [...(contacts.get(peer) ?? []), address]);
  }
  return [...contacts].map(([peer, known]) => ({ peer, addresses: known }));
}

function parseAddress(text: string): Multiaddr {
  try {
    return multiaddr(text);
  } catch (cause) {
    throw new CodedError("network_address", { address: text }, { cause });
  }
}

/** Keeps one configured peer connected until the signal aborts. */
export async function keepConnected(
  contact: Contact,
  limits: Limits,
  dependencies: { readonly port: DiscoveryPort; readonly log: Log; readonly signal: AbortSignal },
): Promise<void> {
  const { port, log, signal } = dependencies;
  let delayMs = limits.redialDelayMsMin;
  while (!signal.aborted) {
    if (port.isGreeted(contact.peer)) {
      delayMs = limits.redialDelayMsMin;
      await port.change(limits.redialDelayMsMax, signal);
      continue;
    }
    if (!port.isBanned(contact.peer)) await dialQuietly(contact.addresses, contact.peer, { port, log, signal });
    // The delay is waited out also after a dial that worked: the greeting comes after it, and may fail.
    const until = performance.now() + delayMs * (0.75 + Math.random() / 2);
    while (!signal.aborted && !port.isGreeted(contact.peer) && performance.now() < until)
      await port.change(Math.max(1, until - performance.now()), signal);
    delayMs = Math.min(delayMs * 2, limits.redialDelayMsMax);
  }
}

async function dialQuietly(
  target: PeerId | Multiaddr[],
  peer: string,
  dependencies: { readonly port: DiscoveryPort; readonly log: Log; readonly signal: AbortSignal },
): Promise<void> {
  try {
    await dependencies.port.dial(target, dependencies.signal);
  } catch (error) {
    // A peer that is down is no news: it is tried again, and `peers()` shows that it is not there.
    dependencies.log.debug({ peer, code: codeOf(error), reason: error instanceof Error ? error.message : "" }, "dial failed");
  }
}

const ROUND_MS_MIN = 500;
const ROUND_MS_MAX = 30_000;
const QUERY_TIMEOUT_MS = 10_000;

/** Looks for peers in the DHT while there are fewer than wanted, until the signal aborts. */
export async function discover(
  dht: KadDHT,
  ownKey: Uint8Array,
  limits: Limits,
  dependencies: { readonly port: DiscoveryPort; readonly log: Log; readonly signal: AbortSignal },
): Promise<void> {
  const { port, signal } = dependencies;
  let roundMs = ROUND_MS_MIN;
  for (let round = 0; !signal.aborted; round += 1) {
    const before = port.peersCount();
    if (before > 0 && before < limits.peersWanted) {
      // Our own neighbourhood first: that is where others look for us. Then anywhere.
      await lookAround(dht, round % 2 === 0 ? ownKey : randomBytes(32), limits, dependencies);
    }
    roundMs = port.peersCount() > before || before === 0 ? ROUND_MS_MIN : Math.min(roundMs * 2, ROUND_MS_MAX);
    const until = performance.now() + roundMs;
    while (!signal.aborted && performance.now() < until && !(before === 0 && port.peersCount() > 0))
      await port.change(Math.max(1, until - performance.now()), signal);
  }
}

async function lookAround(
  dht: KadDHT,
  key: Uint8Array,
  limits: Limits,
  dependencies: { readonly port: DiscoveryPort; readonly log: Log; readonly signal: AbortSignal },
): Promise<void> {
  const { port, log, signal } = dependencies;
  const tried = new Set<string>();
  const dials: Promise<void>[] = [];
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(QUERY_TIMEOUT_MS)]);
  try {
    for await (const event of dht.getClosestPeers(key, { signal: bounded })) {
      const found = event.name === "PEER_RESPONSE" ? event.closer : event.name === "FINAL_PEER" ? [event.peer] : [];
      for (const info of found) {
        const peer = info.id.toString();
        const isWanted = peer !== port.self && !port.isGreeted(peer) && !port.isBanned(peer) && info.multiaddrs.length > 0;
        if (!isWanted || tried.has(peer) || tried.size >= limits.peersWanted) continue;
        tried.add(peer);
        dials.push(
          dialQuietly(
            info.multiaddrs.map((address) => withPeer(address, peer)),
            peer,
            dependencies,
          ),
        );
      }
    }
  } catch (error) {
    if (!signal.aborted) log.debug({ code: codeOf(error), reason: error instanceof Error ? error.message : "" }, "query failed");
  }
  await Promise.all(dials);
}

function withPeer(address: Multiaddr, peer: string): Multiaddr {
  return address.getComponents().some((component) => component.code === CODE_P2P) ? address : address.encapsulate(`/p2p/${peer}`);
}
