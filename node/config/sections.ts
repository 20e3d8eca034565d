/**
 * The sections of `config.toml`, one strict schema each: every key has a default and a sentence that says what it
 * does. What the validators must agree on is in the network file's parameters, never here.
 */

import { multiaddr } from "@multiformats/multiaddr";
import { z } from "zod";
import { NAME_PATTERN } from "../../chain/block/limits.ts";
import { MEMPOOL_LIMITS_DEFAULT } from "../../chain/mempool/limits.ts";
import { LOG_LEVELS } from "../log/log.ts";
import { LIMITS as NETWORK_LIMITS } from "../network/limits.ts";
import { limitsWith } from "../rpc/limits.ts";

const MEBIBYTE = 1024 * 1024;

/** Each part's own table of limits says what it takes when nobody chooses. */
const RPC_LIMITS = limitsWith();

const MULTIADDR = z.string().max(512).refine(isMultiaddr, { message: "must be a multiaddr such as /ip4/127.0.0.1/tcp/26600" });

const ORIGIN = z.string().max(512).refine(isOrigin, { message: 'must be "*" or an origin such as https://explorer.example' });

/** Peer-to-peer sockets. */
export const NETWORK_SECTION = z
  .strictObject({
    listen: z
      .array(MULTIADDR)
      .min(1)
      .max(16)
      .default(["/ip4/127.0.0.1/tcp/26600"])
      .describe("Multiaddrs to accept peers on. Port 0 takes a free one."),
    announce: z
      .array(MULTIADDR)
      .max(16)
      .default([])
      .describe("Multiaddrs to tell peers instead of those listened on, when a router stands between."),
    bootstrap: z
      .array(MULTIADDR)
      .max(64)
      .default([])
      .describe("Peers to meet first, beside those of the network file. Each ends with /p2p/<peer id>."),
    peersMax: z
      .int()
      .min(1)
      .max(1000)
      .default(NETWORK_LIMITS.connectionsMax)
      .describe("Connections kept open; beyond it new peers are refused."),
  })
  .describe("Peers: where to listen, and whom to meet first.");

/** The JSON-RPC server. */
export const RPC_SECTION = z
  .strictObject({
    enabled: z.boolean().default(true).describe("Whether to serve JSON-RPC at all."),
    host: z
      .string()
      .min(1)
      .max(255)
      .default("127.0.0.1")
      .describe("Address to bind. Anything but loopback lets strangers ask questions."),
    port: z.int().min(0).max(65_535).default(26_680).describe("TCP port for HTTP and WebSocket; 0 takes a free one."),
    cors: z.array(ORIGIN).max(64).default([]).describe('Origins whose web pages may call this node; ["*"] allows all of them.'),
    archives: z
      .array(z.string().min(1).max(1_024))
      .max(8)
      .default([])
      .describe("Directories or URLs of archives, asked for states that this node has pruned. What they say is checked."),
    recordLogs: z
      .boolean()
      .default(true)
      .describe("Whether to sign receipts in foreign formats (tlog, COSE) when they are asked for, as this node's own word."),
    recordLogStreams: z
      .array(z.string().regex(NAME_PATTERN))
      .max(64)
      .default([])
      .describe(
        "Streams that are hashed for such receipts with every block, so that records which are dropped later do not stop them.",
      ),
    explorer: z.boolean().default(true).describe("Whether to serve the explorer's page at /explorer/, once it is built."),
    requestSizeBytesMax: z
      .int()
      .min(1024)
      .max(64 * MEBIBYTE)
      .default(RPC_LIMITS.requestSizeBytesMax)
      .describe("Largest request body or WebSocket message."),
    requestsPerSecondMax: z
      .int()
      .min(1)
      .max(1_000_000)
      .default(RPC_LIMITS.requestsPerSecondMax)
      .describe("Calls a second from one client address; a batch counts each of its calls."),
    connectionsMax: z
      .int()
      .min(1)
      .max(100_000)
      .default(RPC_LIMITS.connectionsMax)
      .describe("Open connections; beyond it new ones are refused."),
    subscriptionsMax: z
      .int()
      .min(0)
      .max(10_000)
      .default(RPC_LIMITS.subscriptionsMax)
      .describe("Subscriptions of one WebSocket connection."),
  })
  .describe("The JSON-RPC server for clients.");

/** The store on disk. */
export const STORAGE_SECTION = z
  .strictObject({
    cacheSizeBytes: z
      .int()
      .min(MEBIBYTE)
      .max(64 * 1024 * MEBIBYTE)
      .default(64 * MEBIBYTE)
      .describe("Memory for what is read from the store: a quarter for its blocks, the rest for the pages of the state."),
    keepHeights: z
      .int()
      .min(0)
      .max(1_000_000_000)
      .default(0)
      .describe(
        "How many past heights to keep: under archive their states alone (0 keeps all), under recent their blocks too (never fewer than 1,024).",
      ),
    pruning: z
      .enum(["archive", "recent", "size"])
      .default("archive")
      .describe(
        "What is forgotten. archive: no block. recent: blocks and states beyond keepHeights that are older than keepHours. size: the oldest, while the store takes more than sizeBytesMax. Headers are always kept; under proof of work blocks are too.",
      ),
    keepHours: z
      .int()
      .min(0)
      .max(1_000_000)
      .default(0)
      .describe("Under recent: blocks and states that are younger than this are kept as well."),
    sizeBytesMax: z
      .int()
      .min(64 * MEBIBYTE)
      .max(1024 * 1024 * 1024 * MEBIBYTE)
      .default(10 * 1024 * MEBIBYTE)
      .describe("Under size: bytes that the store may take, but for the last 1,024 heights and what snapshots need."),
    scrubBytesPerSecondMax: z
      .int()
      .min(0)
      .max(1024 * MEBIBYTE)
      .default(2 * MEBIBYTE)
      .describe("How fast the store is read through for bytes that the disk changed; 0 never reads it through."),
    scrubIntervalMs: z
      .int()
      .min(1_000)
      .max(365 * 86_400_000)
      .default(6 * 3_600_000)
      .describe("How long to rest after the store was read through, before it is again."),
  })
  .describe("The store on disk.");

/** Snapshots for peers. */
export const SNAPSHOTS_SECTION = z
  .strictObject({
    intervalHeights: z
      .int()
      .min(0)
      .max(1_000_000_000)
      .default(1_000)
      .describe("A snapshot is made at each height that this divides, for peers that join; 0 makes none and keeps none."),
    keep: z
      .int()
      .min(1)
      .max(16)
      .default(2)
      .describe("How many of the newest snapshots are kept. Each takes about as much as the state."),
  })
  .describe("Snapshots that peers join from. There are none under proof of work.");

/** Log output. */
export const LOG_SECTION = z
  .strictObject({
    level: z.enum(LOG_LEVELS).default("info").describe("Least severe event to write."),
    file: z
      .string()
      .max(4096)
      .default("")
      .describe("File to append to, relative to the home. Empty means standard error, where a terminal is shown warnings only."),
  })
  .describe("Log lines, one JSON object each.");

/** The pool of transactions that wait for a block. */
export const MEMPOOL_SECTION = z
  .strictObject({
    transactionsMax: z
      .int()
      .min(1)
      .max(10_000_000)
      .default(MEMPOOL_LIMITS_DEFAULT.countMax)
      .describe("Transactions that may wait; beyond it the lowest fees are dropped."),
    sizeBytesMax: z
      .int()
      .min(1024)
      .max(16 * 1024 * MEBIBYTE)
      .default(MEMPOOL_LIMITS_DEFAULT.sizeBytesMax)
      .describe("Bytes that waiting transactions may take."),
  })
  .describe("Transactions that wait for a block.");

/** Searching for seals, on networks of proof of work. */
export const MINING_SECTION = z
  .strictObject({
    threads: z
      .int()
      .min(0)
      .max(256)
      .default(0)
      .describe(
        "Threads that search for seals on a network of proof of work, at the lowest priority; 0 follows and does not mine.",
      ),
  })
  .describe("Proof of work.");

/** Durable counters and ids. */
export const OBELISK_SECTION = z
  .strictObject({
    enabled: z.boolean().default(true).describe("Whether to give out counters and ids at all."),
    durability: z
      .enum(["lease", "sync", "none"])
      .default("lease")
      .describe(
        "What a counter's value survives: lease skips values at a crash, sync does not, none is not safe: a power cut repeats values.",
      ),
    services: z
      .array(z.string().regex(/^[a-z][a-z0-9]{0,15}$/))
      .min(1)
      .max(32)
      .default(["session", "transaction", "record", "event", "group", "schema"])
      .describe("Services whose counters and ids are given out, each in a space of its own; every node should have the same."),
    serve: z.boolean().default(true).describe("Whether to serve peers."),
    leaseNumber: z
      .boolean()
      .default(false)
      .describe("Whether to lease a node number on chain, which ids need, and pay for it from the node key's account."),
  })
  .describe("Durable counters and ids (Obelisk).");

/** Where the passphrase of sealed keys is. */
export const KEYS_SECTION = z
  .strictObject({
    passphraseFile: z
      .string()
      .max(4096)
      .default("")
      .describe(
        "File with the passphrase of the keys, relative to the home; must be readable by its owner alone. Empty asks on the terminal.",
      ),
  })
  .describe("Sealed keys.");

/** Prometheus metrics. */
export const METRICS_SECTION = z
  .strictObject({
    enabled: z.boolean().default(false).describe("Whether to serve Prometheus metrics at /metrics of the RPC server."),
  })
  .describe("Metrics for Prometheus.");

/** The verbs that ask a node. */
export const CLIENT_SECTION = z
  .strictObject({
    nodeUrl: z
      .string()
      .max(512)
      .refine(isNodeUrl, { message: "must be an http or ws URL, or empty" })
      .default("")
      .describe("Node to ask when none runs in this home. Empty means http://127.0.0.1:26680."),
  })
  .describe("Verbs that ask a node.");

function isMultiaddr(text: string): boolean {
  try {
    multiaddr(text);
    return true;
  } catch {
    // The library's only way to say no; the refusal names the key.
    return false;
  }
}

function isOrigin(text: string): boolean {
  return text === "*" || (URL.canParse(text) && new URL(text).origin === text);
}

function isNodeUrl(text: string): boolean {
  return text === "" || (URL.canParse(text) && ["http:", "https:", "ws:", "wss:"].includes(new URL(text).protocol));
}
