/**
 * Catch-up within a height: what gossip lost is asked for.
 *
 * Gossip delivers most messages once and some never; a validator that restarts has heard nothing of the height under
 * way. So a node that has not moved for a while asks one peer after another what it knows about this height, and
 * treats the answer exactly as gossip. Wire: the height as eight big-endian bytes; one frame a message.
 */

import { readU64, u64 } from "../../crypto/base/bytes.ts";
import { codeOf } from "../../crypto/base/error.ts";
import type { Log } from "../log/log.ts";
import { type Network } from "../network/network.ts";
import type { Asked, Handler } from "../network/request.ts";
import type { ConsensusDriver } from "./driver.ts";
import { sleep } from "./sleep.ts";

/** The protocol. */
export const CATCH_UP_PROTOCOL = "/pyralog/consensus/1";

/** A height that takes longer than this may have lost a message; then one peer is asked at each interval. */
const STALLED_MS = 1_500;
const INTERVAL_MS = 500;

/** Answers a peer with everything this node knows about the height it asks for. */
export function catchUpServer(driver: Pick<ConsensusDriver, "knowledge">): Handler {
  return async function* serve(asked: Asked) {
    if (asked.bytes.length !== 8) return;
    yield* driver.knowledge(readU64(asked.bytes));
  };
}

/** Asks peers in turn whenever the height stalls. Runs until `signal` aborts. */
export async function catchUp(parts: { readonly driver: ConsensusDriver; readonly network: Network; readonly log: Log; readonly signal: AbortSignal }): Promise<void> {
  const { driver, network, log, signal } = parts;
  let turn = 0;
  while (!signal.aborted) {
    await sleep(INTERVAL_MS, signal);
    if (driver.stalledMs < STALLED_MS) continue;
    const peers = network.peers().filter((peer) => peer.height + 1n >= driver.height);
    const peer = peers[turn % Math.max(1, peers.length)];
    turn += 1;
    if (peer === undefined) continue;
    try {
      for await (const frame of network.request(peer.id, CATCH_UP_PROTOCOL, u64(driver.height), { signal })) {
        if ((await driver.receive(peer.id, frame)) === "reject") {
          network.penalise(peer.id, "malformed");
          break;
        }
      }
    } catch (error) {
      // The request layer has penalised whoever broke the protocol; the next peer is asked at the next interval.
      log.debug({ peer: peer.id, code: codeOf(error) }, "catch-up failed");
    }
  }
}
