/**
 * Catch-up within a height: what gossip lost is asked for.
 *
 * Gossip delivers most messages once and some never; a validator that restarts has heard nothing of the height under
 * way. So a node that has not moved for a while asks one peer after another what it knows about this height, and
 * treats the answer exactly as gossip. The longer a height stands still, the less often it asks.
 *
 * Wire: asked are the height as eight big-endian bytes and the ids of the proposals that the asker has (they carry
 * blocks); answered is one frame a message.
 */

import { concatBytes, readU64, toHex, u64 } from "../../crypto/base/bytes.ts";
import { codeOf } from "../../crypto/base/error.ts";
import type { Log } from "../log/log.ts";
import type { Network } from "../network/network.ts";
import { type Clock, sleep } from "../ports/clock.ts";
import { type Asked, type Handler, refuse } from "../network/request.ts";
import { type Driver, PROPOSAL_ID_SIZE_BYTES } from "./driver.ts";

/** The protocol. */
export const CATCH_UP_PROTOCOL = "/pyralog/consensus/1";

/** A height that takes longer than this may have lost a message; then one peer is asked at each interval. */
const STALLED_MS = 1_500;
const INTERVAL_MS = 500;
/** After so many questions about one height the interval grows by itself once more, up to so many times. */
const QUESTIONS_PER_INTERVAL = 8;
const INTERVALS_MAX = 4;
/** Proposal ids in one question: more than an engine keeps. */
const PROPOSAL_IDS_MAX = 64;
const HEIGHT_SIZE_BYTES = 8;

/** Answers a peer with everything this node knows about the height it asks for and the peer has not. */
export function catchUpServer(driver: Pick<Driver, "knowledge">): Handler {
  return async function* serve({ bytes }: Asked) {
    const idsSizeBytes = bytes.length - HEIGHT_SIZE_BYTES;
    if (idsSizeBytes < 0 || idsSizeBytes % PROPOSAL_ID_SIZE_BYTES !== 0) throw refuse("malformed");
    if (idsSizeBytes > PROPOSAL_IDS_MAX * PROPOSAL_ID_SIZE_BYTES) throw refuse("malformed");
    const ids = new Set<string>();
    for (let offset = HEIGHT_SIZE_BYTES; offset < bytes.length; offset += PROPOSAL_ID_SIZE_BYTES) {
      ids.add(toHex(bytes.subarray(offset, offset + PROPOSAL_ID_SIZE_BYTES)));
    }
    yield* driver.knowledge(readU64(bytes), (id) => ids.has(toHex(id)));
  };
}

/** What catch-up needs of the network. */
export type CatchUpNetwork = Pick<Network, "request" | "penalise"> & {
  readonly peers: () => readonly { readonly id: string; readonly height: bigint }[];
};

/** Asks peers in turn whenever the height stalls. Runs until `signal` aborts. */
export async function catchUp(parts: {
  readonly driver: Pick<Driver, "height" | "stalledMs" | "proposalIds" | "receive">;
  readonly network: CatchUpNetwork;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { driver, network, clock, log, signal } = parts;
  let turn = 0;
  let asked = { height: 0n, questions: 0 };
  while (!signal.aborted) {
    const { height } = driver;
    if (height !== asked.height) asked = { height, questions: 0 };
    const intervals = Math.min(INTERVALS_MAX, 1 + Math.floor(asked.questions / QUESTIONS_PER_INTERVAL));
    await sleep(clock, INTERVAL_MS * intervals, signal);
    if (driver.stalledMs < STALLED_MS || driver.height !== height) continue;
    const peers = network.peers().filter((peer) => peer.height + 1n >= height);
    const peer = peers[turn % Math.max(1, peers.length)];
    turn += 1;
    if (peer === undefined) continue;
    asked.questions += 1;
    const question = concatBytes(u64(height), ...driver.proposalIds().slice(-PROPOSAL_IDS_MAX));
    try {
      for await (const frame of network.request(peer.id, CATCH_UP_PROTOCOL, question, { signal })) {
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
