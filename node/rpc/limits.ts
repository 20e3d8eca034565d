/**
 * Every bound of the RPC server, in one table: the value, why it is that, and what happens when it is reached.
 *
 * - `refuse`: the caller gets a coded error and may come back
 * - `close`: the connection is closed with a coded reason
 * - `slow`: the answer is cut short and says where to go on
 *
 * None of them stops the node. Tests and the configuration replace values through `limitsWith`.
 */

import { assert } from "../../crypto/base/assert.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** One bound. */
export type Limit = { readonly value: number; readonly atBound: "refuse" | "close" | "slow"; readonly reason: string };

/** All bounds. */
export const LIMIT_TABLE = {
  requestSizeBytesMax: {
    value: 2 * MIB,
    atBound: "refuse",
    reason: "the largest transaction in hex, with room; a body beyond it is not read",
  },
  batchMax: { value: 100, atBound: "refuse", reason: "requests in one batch; more is no faster" },
  depthMax: { value: 16, atBound: "refuse", reason: "nesting of a request's JSON; no method needs more than 6" },
  idCharactersMax: { value: 256, atBound: "refuse", reason: "an id is echoed, so it must not be a way to make us send much" },
  inFlightMax: {
    value: 64,
    atBound: "refuse",
    reason: "requests of one connection that wait for their answers (transaction.wait may take a minute)",
  },
  requestsPerSecondMax: {
    value: 2_000,
    atBound: "refuse",
    reason: "per address; a request costs 20 us to 5 ms of the one thread that also follows the chain",
  },
  requestsBurstMax: { value: 4_000, atBound: "refuse", reason: "per address; a client may be two seconds ahead of its average" },
  addressesMax: {
    value: 10_000,
    atBound: "slow",
    reason: "addresses whose rate is remembered; the one that was quiet longest is forgotten first",
  },
  connectionsMax: { value: 512, atBound: "refuse", reason: "file descriptors and buffers" },
  connectionsPerAddressMax: {
    value: 512,
    atBound: "refuse",
    reason: "lower it where strangers connect: local tools keep hundreds of requests waiting",
  },
  subscriptionsMax: { value: 64, atBound: "refuse", reason: "per connection; each is asked at every block" },
  bufferedBytesMax: {
    value: 2 * MIB,
    atBound: "close",
    reason: "what waits for a subscriber that reads too slowly; it comes back and catches up",
  },
  answerSizeBytesMax: {
    value: 40 * MIB,
    atBound: "refuse",
    reason: "the largest block in hex, with its certificate; a whole batch shares it",
  },
  pendingBytesMax: {
    value: 256 * MIB,
    atBound: "refuse",
    reason:
      "requests and answers of all connections that are not answered or not sent yet; who waits or reads slowly must not fill the memory",
  },
  idleTimeoutMs: {
    value: 90_000,
    atBound: "close",
    reason: "an HTTP connection on which nothing moves; longer than transaction.wait holds an answer",
  },
  rangeRowsMax: { value: 1_000, atBound: "slow", reason: "rows in one page of a range, which says where the next begins" },
  rangeBytesMax: {
    value: 2 * MIB,
    atBound: "slow",
    reason:
      "rows, records, headers, blocks and changes in one page, certificates included; at least one is given whatever its size",
  },
  changedKeysMax: { value: 1_000, atBound: "slow", reason: "keys named in one event, which then says that there are more" },
  recordsMax: { value: 256, atBound: "slow", reason: "records in one page" },
  headersMax: {
    value: 1_000,
    atBound: "slow",
    reason: "headers with their certificates in one answer: half a megabyte of JSON under proof of work",
  },
  scanHeadersMax: { value: 1_024, atBound: "slow", reason: "headers that are read to find one by its hash: some milliseconds" },
  blocksMax: { value: 100, atBound: "slow", reason: "block summaries in one page" },
  changesMax: { value: 32, atBound: "slow", reason: "validator set changes in one page; each carries a certificate" },
  waitMsMax: { value: 60_000, atBound: "slow", reason: "how long transaction.wait holds an answer back" },
  closeGraceMs: { value: 1_000, atBound: "close", reason: "how long a peer may take to answer a close frame" },
  pingIntervalMs: { value: 30_000, atBound: "close", reason: "a WebSocket that misses a ping is gone" },
  requestTimeoutMs: { value: 30_000, atBound: "close", reason: "how long a client may take to send one HTTP request" },
} as const satisfies Record<string, Limit>;

/** The name of a bound. */
export type LimitName = keyof typeof LIMIT_TABLE;

/** The bounds of one server. */
export type Limits = { readonly [K in LimitName]: number };

/** The bounds as the table gives them, with some replaced. Asserts the relations between them. */
export function limitsWith(replaced: Partial<Limits> = {}): Limits {
  const values: Record<string, number> = {};
  for (const [name, limit] of Object.entries(LIMIT_TABLE)) values[name] = limit.value;
  // Every name of the table is set above; replacements can only be names of the table.
  const limits = { ...values, ...burstOf(replaced), ...replaced } as Limits;
  assert(limits.requestsBurstMax >= 1, "a caller must be able to ask once");
  assert(limits.idleTimeoutMs > limits.waitMsMax, "a wait must not be cut off as idle");
  assert(limits.batchMax >= 1, "a batch holds at least one request");
  return limits;
}

/** A replaced rate keeps the proportion between rate and burst, unless the burst is replaced as well. */
function burstOf({ requestsPerSecondMax }: Partial<Limits>): Partial<Limits> {
  return requestsPerSecondMax === undefined ? {} : { requestsBurstMax: requestsPerSecondMax * 2 };
}
