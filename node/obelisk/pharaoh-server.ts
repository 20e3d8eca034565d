/**
 * Serves counters and ids to peers. Everything that a peer can use up is counted for each: requests by the request layer,
 * values and new counters here; services are those of the configuration and no others.
 */

import { codeOf } from "../../crypto/base/error.ts";
import { Bucket } from "../network/bucket.ts";
import { refuse, type Asked, type Handler } from "../network/request.ts";
import type { Clock } from "../ports/clock.ts";
import {
  PHARAOH_COUNTERS_BURST_MAX,
  PHARAOH_COUNTERS_MAX,
  PHARAOH_COUNTERS_PER_SECOND_MAX,
  PHARAOH_RUNS_MAX,
  PHARAOH_VALUES_BURST_MAX,
  PHARAOH_VALUES_PER_SECOND_MAX,
} from "./limits.ts";
import type { Obelisk } from "./obelisk.ts";
import { counterName, encodePharaohAnswer, parsePharaohRequest, type PharaohAnswer, type PharaohRequest } from "./wire.ts";

/** At so many, buckets of peers that have asked for nothing lately are forgotten, or else that of who came first. */
const PEERS_MAX = 1024;
/** What a caller may try again, as the peer is told. Anything else of ours is that this node cannot. */
const BUSY = new Set(["obelisk_busy", "obelisk_full", "clock_behind"]);

type Meters = { readonly values: Bucket; readonly counters: Bucket };

/** The handler of `PHARAOH_PROTOCOL`. */
export function pharaohServer(parts: {
  readonly obelisk: Obelisk;
  readonly services: ReadonlySet<string>;
  readonly clock: Clock;
}): Handler {
  const { obelisk, services, clock } = parts;
  const meters = new Map<string, Meters>();
  return async function* serve({ peer, bytes, signal }: Asked) {
    const request = parsePharaohRequest(bytes);
    if (!request.ok) throw refuse("malformed");
    if (!services.has(request.value.service)) throw refuse("unavailable");
    const nowMs = clock.monotonicMs();
    const { values, counters } = metersOf(meters, peer, nowMs);
    if (isNew(obelisk, request.value)) {
      if (obelisk.counters.counts.counters >= PHARAOH_COUNTERS_MAX) throw refuse("unavailable");
      if (!counters.take(1, nowMs)) throw refuse("rate");
    }
    if (!values.take(request.value.count, nowMs)) throw refuse("rate");
    let answer: PharaohAnswer;
    try {
      answer = await issue(obelisk, request.value, signal);
    } catch (error) {
      signal.throwIfAborted();
      const code = codeOf(error);
      // A failed disk is for the operator, who has heard of it from the counter; the peer asks another node.
      if (code === "unknown") throw error;
      throw refuse(BUSY.has(code) ? "busy" : "unavailable");
    }
    yield encodePharaohAnswer(answer);
  };
}

/** What this node gives out itself. */
export async function issue(obelisk: Obelisk, request: PharaohRequest, signal: AbortSignal): Promise<PharaohAnswer> {
  const { incarnation } = obelisk;
  if (request.kind === "sequence") {
    const range = await obelisk.counters.next(counterName(request.service, request.counter), request.count);
    return { kind: "sequence", incarnation, range };
  }
  const runs = await obelisk.scarabs.take(request.service, request.count, signal);
  return { kind: "ids", incarnation, runs: runs.slice(0, PHARAOH_RUNS_MAX) };
}

function isNew(obelisk: Obelisk, request: PharaohRequest): boolean {
  return request.kind === "sequence" && !obelisk.counters.has(counterName(request.service, request.counter));
}

function metersOf(meters: Map<string, Meters>, peer: string, nowMs: number): Meters {
  const known = meters.get(peer);
  if (known !== undefined) return known;
  if (meters.size >= PEERS_MAX)
    for (const [id, { values, counters }] of meters) if (values.isFull(nowMs) && counters.isFull(nowMs)) meters.delete(id);
  const made: Meters = {
    values: new Bucket({ perSecond: PHARAOH_VALUES_PER_SECOND_MAX, burst: PHARAOH_VALUES_BURST_MAX }, nowMs),
    counters: new Bucket({ perSecond: PHARAOH_COUNTERS_PER_SECOND_MAX, burst: PHARAOH_COUNTERS_BURST_MAX }, nowMs),
  };
  meters.set(peer, made);
  return made;
}
