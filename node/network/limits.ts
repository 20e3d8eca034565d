/**
 * Every bound of the network, in one table: the value, why it is that, and what happens when it is reached.
 *
 * - `drop`: what exceeds it is not kept, and nobody is told
 * - `refuse`: the asker gets a code and may come back
 * - `slow`: we stop reading (or accepting) until there is room; TCP passes that on to the sender
 * - `penalise`: the peer loses score (`OFFENCES`), and is cut off where the text says so
 *
 * A node is not stopped by any of them. Values can be lowered or raised for one node (`Network.open({ limits })`),
 * which is how tests reach a bound quickly.
 */

import { assert } from "../../crypto/base/assert.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** One bound. */
export type Limit = {
  readonly value: number;
  readonly atBound: "drop" | "refuse" | "slow" | "penalise";
  readonly reason: string;
};

/** Bounds on connections. */
const CONNECTION_LIMITS = {
  connectionsMax: { value: 96, atBound: "refuse", reason: "file descriptors, and one yamux window a stream of memory each" },
  connectionsInboundMax: {
    value: 64,
    atBound: "refuse",
    reason: "strangers who dial us must not take the places of peers that we chose",
  },
  connectionsPerHostMax: {
    value: 16,
    atBound: "refuse",
    reason: "one machine must not fill the inbound places; loopback is exempt, for local networks",
  },
  connectionsPerSecondMax: {
    value: 50,
    atBound: "refuse",
    reason: "a Noise handshake costs about 1 ms; a host that dials in a loop must not cost a core",
  },
  connectionsPendingMax: {
    value: 32,
    atBound: "refuse",
    reason: "handshakes under way hold buffers and are not authenticated yet",
  },
  dialsParallelMax: { value: 16, atBound: "slow", reason: "dials wait for each other in a queue" },
  dialQueueMax: { value: 256, atBound: "refuse", reason: "addresses come from peers; more than this is junk" },
  dialTimeoutMs: {
    value: 5_000,
    atBound: "refuse",
    reason: "TCP, Noise and Yamux over a slow intercontinental path take under 2 s",
  },
  negotiationTimeoutMs: {
    value: 5_000,
    atBound: "refuse",
    reason: "gossipsub opens its streams one after the other: a peer that never answers holds the others back this long",
  },
  redialDelayMsMin: { value: 200, atBound: "slow", reason: "a configured peer that restarts is found again at once" },
  redialDelayMsMax: { value: 10_000, atBound: "slow", reason: "a configured peer that is down costs one dial in this time" },
  streamsPerConnectionMax: {
    value: 256,
    atBound: "refuse",
    reason: "a stream holds at most one window; see streamWindowBytesMax",
  },
  streamWindowBytesMax: {
    value: 1 * MIB,
    atBound: "slow",
    reason: "must stay below the stream's read buffer (4 MiB), or pausing a stream resets it",
  },
  streamWriteBytesMax: {
    value: 16 * MIB,
    atBound: "penalise",
    reason: "the peer reads too slowly for what it asked; the stream is reset, it must come back and catch up",
  },
  connectionWriteBytesMax: {
    value: 24 * MIB,
    atBound: "penalise",
    reason: "pings and window updates for a peer that never reads; the connection is cut",
  },
  peersWanted: { value: 12, atBound: "slow", reason: "below this many peers we look for more in the DHT; gossip needs 6 to 12" },
  peersRememberedMax: {
    value: 4_096,
    atBound: "drop",
    reason: "scores of peers that are gone; the least guilty are forgotten first",
  },
  datastoreBytesMax: {
    value: 8 * MIB,
    atBound: "drop",
    reason: "addresses and DHT records that others give us; the least recently used go first",
  },
} as const satisfies Record<string, Limit>;

/** Bounds on the greeting and the heartbeat that repeats it. */
const HELLO_LIMITS = {
  helloTimeoutMs: { value: 5_000, atBound: "refuse", reason: "a connection that does not say which network it is for is closed" },
  helloIntervalMs: { value: 2_000, atBound: "slow", reason: "how stale a peer's claimed height may be" },
  helloMissesMax: {
    value: 8,
    atBound: "refuse",
    reason: "a peer silent for this many heartbeats is gone; fewer would cut off peers that are only busy",
  },
} as const satisfies Record<string, Limit>;

/** Bounds on gossip. */
const GOSSIP_LIMITS = {
  gossipTransactionsBytesMax: {
    value: 256 * KIB,
    atBound: "penalise",
    reason: "a batch of transactions; small enough to be forwarded at once",
  },
  gossipConsensusBytesMax: {
    value: 3 * MIB,
    atBound: "penalise",
    reason: "a proposal carries its block; genesis must keep blocks below this",
  },
  gossipFrameBytesMax: {
    value: 4 * MIB,
    atBound: "penalise",
    reason: "gossipsub cannot write a longer frame; the connection is cut",
  },
  gossipBytesPerSecondMax: { value: 16 * MIB, atBound: "slow", reason: "per peer; far above what a full chain needs" },
  gossipBytesBurstMax: { value: 48 * MIB, atBound: "slow", reason: "a peer may be a few proposals ahead of its average" },
  gossipItemsPerSecondMax: { value: 4_000, atBound: "slow", reason: "per peer; an item costs about 100 us to decode and judge" },
  gossipItemsBurstMax: { value: 20_000, atBound: "slow", reason: "the votes of a large validator set arrive together" },
  gossipPendingMax: {
    value: 256,
    atBound: "slow",
    reason: "messages of one peer that are being validated; we stop reading from it until some are done",
  },
  gossipSeenMs: { value: 60_000, atBound: "drop", reason: "the same message is not delivered twice in this time" },
  gossipHoldMs: {
    value: 50,
    atBound: "slow",
    reason: "before a batch is passed on: those who have it say so meanwhile; a step of gossip takes as long over an ocean",
  },
  gossipGraceMs: {
    value: 10_000,
    atBound: "refuse",
    reason: "a greeted peer without a gossip stream for this long is deaf to us; it is cut off, to begin anew",
  },
  gossipTopicsPerPeerMax: { value: 16, atBound: "drop", reason: "a network has two topics" },
  batchBytesMax: {
    value: 64 * KIB,
    atBound: "slow",
    reason: "a batch is sent when it reaches this; larger ones gain nothing and delay the first transaction in it",
  },
  batchItemsMax: { value: 1_024, atBound: "slow", reason: "bounds what one gossip message makes a receiver do" },
  batchDelayMs: {
    value: 50,
    atBound: "slow",
    reason: "least time between two batches, and so how long a transaction waits for company; small against a block interval",
  },
  batchBusyItems: {
    value: 24,
    atBound: "slow",
    reason:
      "so many in one batchDelayMs are a sign of load, 480 a second: then half as many batches of twice the size. Below, they would win 6 % of all CPU time and cost each transaction 15 ms (1,600 puts a second, four validators)",
  },
  batchBusyDelayMs: { value: 100, atBound: "slow", reason: "as batchDelayMs, under load" },
  batchQueueBytesMax: {
    value: 16 * MIB,
    atBound: "refuse",
    reason: "transactions waiting because the publishing rate is used up",
  },
  batchBytesPerSecondMax: {
    value: 4 * MIB,
    atBound: "slow",
    reason: "gossipsub has no backpressure of its own: publishing faster only fills the peers' write buffers",
  },
} as const satisfies Record<string, Limit>;

/** Bounds on request and response. */
const REQUEST_LIMITS = {
  requestBytesMax: { value: 64 * KIB, atBound: "penalise", reason: "questions are small" },
  answerFrameBytesMax: { value: 8 * MIB, atBound: "penalise", reason: "one block with its certificate" },
  answerBytesMax: { value: 32 * MIB, atBound: "penalise", reason: "one answer; what is longer is asked for in parts" },
  requestTimeoutMs: { value: 30_000, atBound: "refuse", reason: "the whole of one exchange" },
  frameTimeoutMs: {
    value: 5_000,
    atBound: "penalise",
    reason: "a peer that stops in the middle; ours to notice, not ours to wait for",
  },
  requestsServedPerPeerMax: { value: 8, atBound: "refuse", reason: "handlers at work for one peer" },
  requestsServedMax: { value: 64, atBound: "refuse", reason: "handlers at work in all" },
  requestsAskedPerPeerMax: {
    value: 6,
    atBound: "slow",
    reason: "below what the other side serves, so that an honest peer is never refused",
  },
  requestsQueuedPerPeerMax: {
    value: 128,
    atBound: "refuse",
    reason: "our own requests that wait for a slot; the asker gets peer_busy and chooses another peer",
  },
  requestsPerSecondMax: {
    value: 50,
    atBound: "penalise",
    reason: "per peer; above it the peer is refused and loses a little score",
  },
  requestsBurstMax: { value: 200, atBound: "penalise", reason: "per peer; see requestsPerSecondMax" },
} as const satisfies Record<string, Limit>;

/** Bounds on block sync. */
const SYNC_LIMITS = {
  syncWindowBlocksMax: {
    value: 64,
    atBound: "slow",
    reason: "blocks asked for at once; one window is applied while the next is fetched",
  },
  syncAnswerBytesMax: {
    value: 8 * MIB,
    atBound: "slow",
    reason: "the server ends an answer early after this; two windows are in memory",
  },
  syncWindowTimeoutMs: {
    value: 20_000,
    atBound: "penalise",
    reason: "a peer that drips a window out is as bad as one that stalls",
  },
  syncBenchMs: { value: 15_000, atBound: "slow", reason: "a peer that failed us is not asked again for this long" },
  syncRetryMs: {
    value: 1_000,
    atBound: "slow",
    reason: "a peer that was merely busy, or has not registered the protocol yet, is asked again after this",
  },
  syncIdleMs: { value: 1_000, atBound: "slow", reason: "how often we look whether somebody is ahead" },
} as const satisfies Record<string, Limit>;

/** Bounds on fetching and serving snapshots. */
const SNAPSHOT_LIMITS = {
  snapshotOffersMax: { value: 16, atBound: "drop", reason: "a node keeps a handful; the oldest of more are not told" },
  snapshotBatchChunksMax: {
    value: 16,
    atBound: "refuse",
    reason: "chunks asked for at once, 4 MB: fewer questions a second than a peer may ask on any line",
  },
  snapshotBatchTimeoutMs: {
    value: 20_000,
    atBound: "penalise",
    reason: "a peer that drips chunks out is as bad as one that stalls; a batch is sized so that it takes about two seconds",
  },
  snapshotAskedPerPeerMax: { value: 2, atBound: "slow", reason: "one batch is checked while the next is on its way" },
  snapshotAskedMax: { value: 8, atBound: "slow", reason: "batches in memory, of all peers" },
  snapshotHedgeMs: {
    value: 3_000,
    atBound: "slow",
    reason: "when nothing else is left to fetch, chunks under way for this long are asked of somebody else as well",
  },
  snapshotListMs: { value: 5_000, atBound: "slow", reason: "how stale a peer's list of snapshots may be" },
  snapshotSettleMs: { value: 1_000, atBound: "slow", reason: "how long we listen for better offers after the first" },
  snapshotPatienceMs: {
    value: 15_000,
    atBound: "slow",
    reason: "a snapshot that nobody offers for this long is given up for another, or for blocks",
  },
  snapshotHeightsMin: {
    value: 64,
    atBound: "slow",
    reason: "a chain that is shorter is one question for blocks, and every node keeps at least its last 1,024 blocks",
  },
} as const satisfies Record<string, Limit>;

/** Bounds on penalties. */
const PEER_LIMITS = {
  banPoints: { value: 100, atBound: "penalise", reason: "points at which a peer is cut off and banned" },
  banMs: { value: 60_000, atBound: "refuse", reason: "the first ban; each further one lasts twice as long" },
  banMsMax: { value: 3_600_000, atBound: "refuse", reason: "nobody is banned for longer: keys change hands, faults get fixed" },
  scoreHalfLifeMs: { value: 120_000, atBound: "slow", reason: "points halve in this time: an occasional fault is forgiven" },
} as const satisfies Record<string, Limit>;

/** All bounds. */
export const LIMIT_TABLE = {
  ...CONNECTION_LIMITS,
  ...HELLO_LIMITS,
  ...GOSSIP_LIMITS,
  ...REQUEST_LIMITS,
  ...SYNC_LIMITS,
  ...SNAPSHOT_LIMITS,
  ...PEER_LIMITS,
} as const satisfies Record<string, Limit>;

/** The name of a bound. */
export type LimitName = keyof typeof LIMIT_TABLE;

/** The bounds of one node. */
export type Limits = { readonly [K in LimitName]: number };

/** The bounds as the table gives them, with some replaced. Asserts the relations between them. */
export function limitsWith(replaced: Partial<Limits> = {}): Limits {
  const values: Record<string, number> = {};
  for (const [name, limit] of Object.entries(LIMIT_TABLE)) values[name] = limit.value;
  // Every name of the table is set above; replacements can only be names of the table.
  const limits = { ...values, ...replaced } as Limits;
  assert(limits.streamWindowBytesMax < 4 * MIB, "a paused stream must not overflow its read buffer");
  assert(limits.streamWriteBytesMax > limits.gossipFrameBytesMax, "a frame must fit the write buffer");
  assert(limits.gossipFrameBytesMax <= 4 * MIB, "gossipsub throws when it must write a longer frame");
  assert(limits.gossipFrameBytesMax > limits.gossipConsensusBytesMax, "a message must fit a frame");
  assert(limits.batchBytesMax <= limits.gossipTransactionsBytesMax, "a batch must fit a message");
  assert(
    limits.answerBytesMax >= limits.syncAnswerBytesMax + limits.answerFrameBytesMax,
    "a sync answer ends after one frame too many",
  );
  assert(limits.requestsAskedPerPeerMax <= limits.requestsServedPerPeerMax, "we must not ask for more than peers serve");
  return limits;
}

/** The bounds of a node that replaces none. */
export const LIMITS: Limits = limitsWith();
