/**
 * The asking side: values and ids from whichever node issues them, with leases kept here.
 *
 * ```
 *   take --> lease in memory --> given out
 *     | empty
 *     v
 *   nodes in the order of hash(service, counter, node): a peer --300 ms, refused, gone--> the next, benched for a while
 *     |  this node stands in the order too, and after three peers it issues itself
 *     v
 *   nobody can: pharaoh_unavailable
 * ```
 *
 * All nodes that see the same peers ask the same one first, so the values of a counter come from one issuer while it is
 * there, and ascend. After a failover they come from another: a value means something together with its issuer and
 * incarnation alone. Ids need neither.
 *
 * Whom it trusts: an issuer that lies can give two askers the same. What can be seen from here is refused: values and ids
 * that do not ascend, which is penalised, and ids outside a lease of their number. A node that issues itself trusts nobody.
 */

import { compareBytes, concatBytes, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { codeOf } from "../../crypto/base/error.ts";
import { hash } from "../../crypto/hash/hash.ts";
import { type ScarabId, scarabFields, type ScarabFields, scarabIdOf, type ScarabRun } from "../../crypto/id/scarab.ts";
import type { Log } from "../log/log.ts";
import type { Counter as Metric, Metrics } from "../metrics/metrics.ts";
import { Bucket } from "../network/bucket.ts";
import type { Network } from "../network/network.ts";
import type { Clock } from "../ports/clock.ts";
import {
  ATTEMPTS_MAX,
  BENCH_MS,
  COUNTERS_BURST_MAX,
  COUNTERS_PER_SECOND_MAX,
  FAILOVER_MS,
  ID_LEASE_COUNT,
  ID_LEASE_MS,
  ISSUERS_MAX,
  LEASES_MAX,
  PHARAOH_COUNT_MAX,
  PHARAOH_RUNS_MAX,
  SEQUENCE_LEASE_COUNT,
} from "./limits.ts";
import { obeliskError } from "./mark.ts";
import type { Obelisk } from "./obelisk.ts";
import { issue } from "./pharaoh-server.ts";
import {
  counterName,
  encodePharaohRequest,
  isCounter,
  isService,
  parsePharaohAnswer,
  PHARAOH_PROTOCOL,
  type PharaohAnswer,
  type PharaohRequest,
  SESSION_SERVICE,
} from "./wire.ts";

/** Values `first`, `first + 1n`, ... of one counter of one issuer: the same number of another issuer is another value. */
export type IssuedSequence = {
  /** Its peer id and the incarnation of its data directory. */
  readonly issuer: string;
  readonly first: bigint;
  readonly count: number;
};

/** Answers that one call for ids puts together: an issuer gives at least a run, and usually all of them. */
const ASKED_MAX = 16;

/** What the asking side needs of the network. */
export type PharaohNetwork = Pick<Network, "request" | "penalise" | "peerId"> & {
  readonly peers: () => readonly { readonly id: string }[];
};

/** What it is made from. */
export type PharaohParts = {
  readonly obelisk: Obelisk;
  readonly network: PharaohNetwork;
  readonly services: ReadonlySet<string>;
  readonly clock: Clock;
  /** Whether the chain has a lease of this number that such an id may be made under. */
  readonly isLeased: (fields: ScarabFields) => boolean;
  /** How long one peer may take; `FAILOVER_MS` when absent. */
  readonly failoverMs?: number;
  readonly log: Log;
  readonly metrics: Metrics;
};

type Lease = { readonly issuer: string; readonly ranges: { first: bigint; count: number }[]; readonly endMs: number };
type Issued = { readonly issuer: string; readonly answer: PharaohAnswer };

/** See the file's head. */
export class Pharaoh {
  readonly #parts: PharaohParts;
  readonly #leases = new Map<string, Lease>();
  /** By issuer and name, the end of what it gave last. */
  readonly #ends = new Map<string, bigint>();
  readonly #benchedUntilMs = new Map<string, number>();
  readonly #turns = new Map<string, Promise<void>>();
  /** Counters that users of this node have made of late. */
  readonly #made: Bucket;
  readonly #issued: Metric;
  readonly #failovers: Metric;

  constructor(parts: PharaohParts) {
    this.#parts = parts;
    const { metrics, clock } = parts;
    this.#made = new Bucket({ perSecond: COUNTERS_PER_SECOND_MAX, burst: COUNTERS_BURST_MAX }, clock.monotonicMs());
    this.#issued = metrics.counter({
      name: "obelisk_values_total",
      help: "Values and ids given to users of this node, by what and where they came from",
      labels: ["kind", "from"],
    });
    this.#failovers = metrics.counter({ name: "obelisk_failovers_total", help: "Issuers passed over because they failed" });
  }

  /**
   * Values of a counter of a service, in one range.
   *
   * @throws CodedError `pharaoh_service`, `obelisk_name`, `obelisk_count`, `pharaoh_unavailable`
   */
  async sequence(service: string, counter: string, count: number, signal: AbortSignal): Promise<IssuedSequence> {
    this.#check(service, count);
    if (!isCounter(counter)) throw obeliskError("obelisk_name", { name: counter.slice(0, 64) });
    const key = `sequence ${service} ${counter}`;
    return await this.#inTurn(key, async () => {
      const lease = this.#leases.get(key);
      const [range] = lease?.ranges ?? [];
      if (lease !== undefined && range !== undefined && range.count >= count) {
        this.#count("sequence", "lease", count);
        return { issuer: lease.issuer, ...cut(lease.ranges, range, count) };
      }
      const request = { kind: "sequence", service, counter, count: Math.max(count, SEQUENCE_LEASE_COUNT) } as const;
      const { issuer, answer } = await this.#ask(request, count, key, signal);
      if (answer.kind !== "sequence") throw obeliskError("pharaoh_answer");
      const ranges = [{ ...answer.range }];
      const [first] = ranges;
      if (first === undefined || first.count < count) throw obeliskError("pharaoh_answer");
      const given = cut(ranges, first, count);
      this.#keep(key, { issuer, ranges, endMs: Number.POSITIVE_INFINITY });
      return { issuer, ...given };
    });
  }

  /**
   * Ids of a service, ascending: each is new in the whole network.
   *
   * @throws CodedError `pharaoh_service`, `obelisk_count`, `pharaoh_unavailable`
   */
  async ids(service: string, count: number, signal: AbortSignal): Promise<readonly ScarabRun[]> {
    this.#check(service, count);
    const key = `ids ${service}`;
    return await this.#inTurn(key, async () => {
      const given: ScarabRun[] = [];
      let left = count;
      for (let asked = 0; ; asked += 1) {
        const lease = this.#leases.get(key);
        const isFresh = lease !== undefined && this.#parts.clock.monotonicMs() < lease.endMs;
        while (isFresh && left > 0 && lease.ranges.length > 0) {
          const [range] = lease.ranges;
          if (range === undefined) break;
          const piece = cut(lease.ranges, range, Math.min(left, range.count));
          given.push({ first: scarabIdOf(piece.first), count: piece.count });
          left -= piece.count;
        }
        if (left === 0) return given;
        signal.throwIfAborted();
        if (asked >= ASKED_MAX) throw obeliskError("pharaoh_unavailable", { service, asked });
        const request = { kind: "ids", service, count: Math.max(left, ID_LEASE_COUNT) } as const;
        const { issuer, answer } = await this.#ask(request, left, key, signal);
        if (answer.kind !== "ids") throw obeliskError("pharaoh_answer");
        // What another issuer gives now may be below what is left of the last one's: ids of one call ascend all the same.
        const above = given.at(-1)?.first ?? 0n;
        if ((answer.runs[0]?.first ?? 0n) < above) given.length = 0;
        if (given.length === 0) left = count;
        const endMs = this.#parts.clock.monotonicMs() + ID_LEASE_MS;
        this.#keep(key, { issuer, ranges: answer.runs.map((run) => ({ ...run })), endMs });
      }
    });
  }

  /** A new session of a producer: an id of the service `session`. */
  async session(signal: AbortSignal): Promise<ScarabId> {
    const [run] = await this.ids(SESSION_SERVICE, 1, signal);
    if (run === undefined) throw obeliskError("pharaoh_answer");
    return run.first;
  }

  #check(service: string, count: number): void {
    if (!isService(service) || !this.#parts.services.has(service))
      throw obeliskError("pharaoh_service", { service: service.slice(0, 64) });
    if (!Number.isInteger(count) || count < 1 || count > PHARAOH_COUNT_MAX)
      throw obeliskError("obelisk_count", { count, countMax: PHARAOH_COUNT_MAX });
  }

  /** Asks one after another until one gives. What this node issues itself is not leased: it comes from memory anyway. */
  async #ask(request: PharaohRequest, wanted: number, key: string, signal: AbortSignal): Promise<Issued> {
    const { network, obelisk, clock, log } = this.#parts;
    const nowMs = clock.monotonicMs();
    for (const [peer, untilMs] of this.#benchedUntilMs) if (untilMs <= nowMs) this.#benchedUntilMs.delete(peer);
    const peers = network.peers().map(({ id }) => id);
    const nodes = [...peers.filter((peer) => !this.#benchedUntilMs.has(peer)), network.peerId];
    let attempts = 0;
    let cause: unknown;
    let isTried = false;
    for (const node of inOrder(key, nodes)) {
      signal.throwIfAborted();
      if (node !== network.peerId && attempts >= ATTEMPTS_MAX) continue;
      try {
        if (node === network.peerId) {
          isTried = true;
          if (request.kind === "sequence" && !obelisk.counters.has(counterName(request.service, request.counter)))
            if (!this.#made.take(1, clock.monotonicMs())) throw obeliskError("obelisk_busy");
          const answer = await issue(obelisk, { ...request, count: wanted }, signal);
          this.#count(request.kind, "self", wanted);
          return { issuer: issuerOf(node, answer), answer };
        }
        attempts += 1;
        const answer = await this.#askPeer(node, request, wanted, signal);
        this.#count(request.kind, "peer", wanted);
        return { issuer: issuerOf(node, answer), answer };
      } catch (error) {
        signal.throwIfAborted();
        if (codeOf(error) === "unknown") throw error;
        cause = error;
        this.#failovers.add(1);
        if (node !== network.peerId) this.#benchedUntilMs.set(node, clock.monotonicMs() + BENCH_MS);
        log.debug({ issuer: node, kind: request.kind, service: request.service, code: codeOf(error) }, "issuer passed over");
      }
    }
    const reason = isTried ? codeOf(cause) : "none";
    throw obeliskError("pharaoh_unavailable", { service: request.service, asked: attempts, reason }, cause);
  }

  async #askPeer(peer: string, request: PharaohRequest, wanted: number, signal: AbortSignal): Promise<PharaohAnswer> {
    const { network, failoverMs = FAILOVER_MS } = this.#parts;
    // A slow answer is no offence: it is lost, and its values are skipped.
    const options = { signal, timeoutMs: failoverMs, isForgiving: true, totalBytesMax: 64 * 1024, frameBytesMax: 64 * 1024 };
    let found: PharaohAnswer | undefined;
    for await (const frame of network.request(peer, PHARAOH_PROTOCOL, encodePharaohRequest(request), options)) {
      const answer = parsePharaohAnswer(frame);
      const isFine = found === undefined && answer.ok && this.#isAcceptable(peer, request, answer.value);
      if (!answer.ok || !isFine) {
        network.penalise(peer, "malformed");
        throw obeliskError("pharaoh_answer", { peer });
      }
      found = answer.value;
    }
    if (found === undefined || !isEnough(found, wanted)) throw obeliskError("pharaoh_answer", { peer });
    // No offence: this node may not have the block yet that leased the number.
    if (found.kind === "ids" && !found.runs.every((run) => this.#parts.isLeased(scarabFields(run.first))))
      throw obeliskError("pharaoh_answer", { peer, message: "ids under a number that is not leased" });
    return found;
  }

  /** What an honest issuer never fails: its answer is what was asked for, and above what it gave before. */
  #isAcceptable(peer: string, request: PharaohRequest, answer: PharaohAnswer): boolean {
    const what = request.kind === "sequence" ? `${request.service}.${request.counter}` : request.service;
    const key = `${request.kind} ${issuerOf(peer, answer)} ${what}`;
    const ranges = answer.kind === "sequence" ? [answer.range] : answer.runs;
    const [first] = ranges;
    const last = ranges.at(-1);
    if (answer.kind !== request.kind || first === undefined || last === undefined) return false;
    if (first.first < (this.#ends.get(key) ?? 0n)) return false;
    if (ranges.reduce((sum, { count }) => sum + count, 0) > request.count) return false;
    remember(this.#ends, key, last.first + BigInt(last.count), ISSUERS_MAX);
    return true;
  }

  #keep(key: string, lease: Lease): void {
    remember(this.#leases, key, lease, LEASES_MAX);
  }

  #count(kind: string, from: string, count: number): void {
    this.#issued.add(count, { kind, from });
  }

  /** One after another for one key: whoever comes during a fetch is served by what it brings. */
  async #inTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(key) ?? Promise.resolve();
    const mine = before.then(work);
    const over = mine.then(
      () => undefined,
      () => undefined, // The caller hears of it; the next one only waits.
    );
    this.#turns.set(key, over);
    try {
      return await mine;
    } finally {
      if (this.#turns.get(key) === over) this.#turns.delete(key);
    }
  }
}

/** Values come in one range or are of no use; ids may come in parts when they are of very many milliseconds. */
function isEnough(answer: PharaohAnswer, wanted: number): boolean {
  if (answer.kind === "sequence") return answer.range.count >= wanted;
  return answer.runs.length === PHARAOH_RUNS_MAX || answer.runs.reduce((sum, { count }) => sum + count, 0) >= wanted;
}

/** Takes so many from the front of a range, and the range out of the list when it is used up. */
function cut(ranges: { first: bigint; count: number }[], range: { first: bigint; count: number }, count: number) {
  const { first } = range;
  range.first += BigInt(count);
  range.count -= count;
  if (range.count === 0) ranges.shift();
  return { first, count };
}

function issuerOf(peer: string, { incarnation }: PharaohAnswer): string {
  return `${peer}/${toHex(incarnation)}`;
}

/** Highest random weight: every asker has the same order, and a node that comes or goes moves only its own share. */
function inOrder(key: string, nodes: readonly string[]): readonly string[] {
  const weighed = nodes.map((node) => ({
    node,
    weight: hash("placement", concatBytes(utf8(key), Uint8Array.of(0), utf8(node))),
  }));
  return weighed.sort((a, b) => compareBytes(a.weight, b.weight)).map(({ node }) => node);
}

function remember<T>(map: Map<string, T>, key: string, value: T, countMax: number): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= countMax) return;
  const [oldest] = map.keys();
  if (oldest !== undefined) map.delete(oldest);
}
