/**
 * Gossip: gossipsub with its settings, and a meter in front of it.
 *
 * Messages carry no libp2p signature (`StrictNoSign`): what they hold is signed already, and signing each hop halves
 * the rate. The id of a message is the hash of its topic and bytes; the topic is in it because an id is remembered,
 * and a consensus message that somebody sends on the other topic first must not hide the real one.
 *
 * gossipsub reads its streams without backpressure and only logs what it cannot decode. The meter sits on each
 * inbound stream, walks the frames as they pass (outer fields only, nothing is kept), and
 *
 * - pauses the stream while the peer is over its rate, or too many of its messages are being validated: nothing is
 *   dropped, because a dropped message counts as seen and would then be refused from honest peers too;
 * - cuts the peer off when a frame is over its limit or is not what gossipsub sends.
 */

import { setImmediate } from "node:timers/promises";
import { gossipsub, StrictNoSign, TopicValidatorResult, type GossipSub, type GossipSubComponents } from "@libp2p/gossipsub";
import type { Connection, PeerId, Stream } from "@libp2p/interface";
import { unreachable } from "../../crypto/base/assert.ts";
import { toHex, u32, utf8 } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { hashParts } from "../../crypto/hash/hash.ts";
import type { Log } from "../log/log.ts";
import { Bucket } from "./bucket.ts";
import type { Counter, Metrics } from "../metrics/metrics.ts";
import type { Limits } from "./limits.ts";
import type { Offence } from "./peers.ts";

/** What is gossiped. */
export const GOSSIP_TOPICS = ["transactions", "consensus"] as const;

/** A topic by our own name; on the wire the network hash is in it. */
export type GossipTopic = (typeof GOSSIP_TOPICS)[number];

/**
 * Judges a message and, when it is good, takes it.
 *
 * - `accept`: it is passed on
 * - `ignore`: neither passed on nor held against the sender (too early, too late, already known)
 * - `reject`: no honest node would have passed it on; the sender loses score
 *
 * The same bytes are not delivered again within `gossipSeenMs`, whatever the verdict: keep what is only too early.
 */
export type Validate = (from: string, bytes: Uint8Array) => Promise<"accept" | "ignore" | "reject">;

/** One topic, to publish on. */
export interface GossipPort {
  /**
   * Sends to every subscribed peer. Returns how many that were: 0 when there is none, or when the same bytes were
   * published or seen within `gossipSeenMs`.
   *
   * @throws CodedError `gossip_too_large`
   */
  publish(bytes: Uint8Array): Promise<number>;
}

/** What gossip needs from the network. */
export type GossipHost = {
  readonly score: (peer: string) => number;
  readonly penalise: (peer: string, offence: Offence) => void;
  /** Ends every connection to the peer: a gossip stream that broke is not opened again by itself. */
  readonly disconnect: (peer: string) => void;
};

const MESSAGE_ID_SIZE_BYTES = 20;
/** Of a message of this size peers are told that we have it. */
const LARGE_SIZE_BYTES = 4_096;
const GOSSIP_PROTOCOL = /^\/meshsub\//;

/** Whether a stream is one of gossipsub's. */
export function isGossipStream(stream: Stream): boolean {
  return GOSSIP_PROTOCOL.test(stream.protocol);
}

/** The name of a topic on the wire. */
export function topicName(topic: GossipTopic, networkHashHex: string): string {
  return `/pyralog/${networkHashHex.slice(0, 16)}/${topic}`;
}

/** The id of a message: the first 20 bytes of H(gossip ‖ topic length ‖ topic ‖ bytes). */
export function messageId(topic: string, bytes: Uint8Array): Uint8Array {
  const name = utf8(topic);
  return hashParts("gossip", u32(name.length), name, bytes).slice(0, MESSAGE_ID_SIZE_BYTES);
}

/** Gossip of one node. Made before libp2p, which starts it as a service. */
export class Gossip {
  readonly #limits: Limits;
  readonly #host: GossipHost;
  readonly #log: Log;
  readonly #names: ReadonlyMap<GossipTopic, string>;
  readonly #meters = new Map<string, Set<Meter>>();
  readonly #received: Counter;
  readonly #receivedBytes: Counter;
  readonly #published: Counter;
  /** Ends the wait of each batch that is held before it is passed on. */
  readonly #held = new Set<() => void>();
  #pubsub: GossipSub | undefined;

  constructor(
    options: { readonly limits: Limits; readonly networkHashHex: string },
    dependencies: { readonly host: GossipHost; readonly log: Log; readonly metrics: Metrics },
  ) {
    this.#limits = options.limits;
    this.#host = dependencies.host;
    this.#log = dependencies.log;
    this.#names = new Map(GOSSIP_TOPICS.map((topic) => [topic, topicName(topic, options.networkHashHex)]));
    const { metrics } = dependencies;
    this.#received = metrics.counter({
      name: "network_gossip_received_total",
      help: "Gossip messages judged",
      labels: ["topic", "verdict"],
    });
    this.#receivedBytes = metrics.counter({
      name: "network_gossip_received_bytes_total",
      help: "Bytes on inbound gossip streams",
    });
    this.#published = metrics.counter({
      name: "network_gossip_published_total",
      help: "Gossip messages published",
      labels: ["topic"],
    });
  }

  /** The libp2p service. */
  service(): (components: GossipSubComponents) => GossipSub {
    const limits = this.#limits;
    const topics = [...this.#names.values()];
    const make = gossipsub({
      globalSignaturePolicy: StrictNoSign,
      msgIdFn: (message) => messageId(message.topic, message.data),
      msgIdToStrFn: toHex,
      allowedTopics: topics,
      fallbackToFloodsub: false,
      floodPublish: true,
      // Without it, control messages for one peer are sent to all that a publication goes to (17.1.1).
      batchPublish: true,
      emitSelf: false,
      doPX: false,
      allowPublishToZeroTopicPeers: true,
      ignoreDuplicatePublishError: true,
      // A vote is verified and passed on before word of it comes back: of what is small, "I have it" only adds to the messages.
      // Four validators under light load: 41 instead of 56 packets a block and node, and a third more bytes.
      idontwantMinDataSize: LARGE_SIZE_BYTES,
      heartbeatInterval: 700,
      D: 8,
      Dlo: 6,
      Dhi: 12,
      Dout: 2,
      Dscore: 4,
      Dlazy: 6,
      // As long as others are told of a message, and a heartbeat more for those who then ask: each is a megabyte at full load.
      mcacheLength: 4,
      mcacheGossip: 3,
      seenTTL: limits.gossipSeenMs,
      pruneBackoff: 15_000,
      maxInboundStreams: 2,
      maxOutboundStreams: 2,
      maxOutboundBufferSize: limits.streamWriteBytesMax,
      maxInboundDataLength: limits.gossipFrameBytesMax,
      decodeRpcLimits: {
        maxSubscriptions: limits.gossipTopicsPerPeerMax,
        maxMessages: 1_000,
        maxIhaveMessageIDs: 5_000,
        maxIwantMessageIDs: 5_000,
        maxControlMessages: 100,
        maxIdontwantMessageIDs: 512,
        maxPeerInfos: 16,
      },
      maxTopicBytesPerPeer: limits.gossipTopicsPerPeerMax * 2_048,
      scoreParams: {
        topicScoreCap: 20,
        appSpecificScore: this.#host.score,
        appSpecificWeight: 1,
        // Hosts are bounded where they connect, with loopback exempt.
        IPColocationFactorWeight: 0,
        // A few broken promises are what a busy event loop looks like.
        behaviourPenaltyThreshold: 6,
        behaviourPenaltyWeight: -5,
        behaviourPenaltyDecay: 0.9,
        retainScore: 600_000,
        topics: Object.fromEntries(topics.map((topic) => [topic, TOPIC_SCORE])),
      },
      scoreThresholds: {
        gossipThreshold: -60,
        publishThreshold: -80,
        graylistThreshold: -90,
        acceptPXThreshold: 10,
        opportunisticGraftThreshold: 1,
      },
    });
    return (components) => {
      const pubsub = make({
        privateKey: components.privateKey,
        peerId: components.peerId,
        peerStore: components.peerStore,
        connectionManager: components.connectionManager,
        logger: components.logger,
        registrar: this.#metered(components.registrar),
      });
      this.#pubsub = pubsub;
      return pubsub;
    };
  }

  /** A topic to publish on. */
  topic(topic: GossipTopic): GossipPort {
    const name = this.#name(topic);
    const sizeBytesMax = this.#sizeBytesMax(topic);
    return {
      publish: async (bytes) => {
        if (bytes.length > sizeBytesMax) throw new CodedError("gossip_too_large", { topic, bytes: bytes.length, sizeBytesMax });
        const result = await this.#pubsub?.publish(name, bytes);
        this.#published.add(1, { topic });
        return result?.recipients.length ?? 0;
      },
    };
  }

  /** Subscribes. One validator a topic. */
  on(topic: GossipTopic, validate: Validate): void {
    const name = this.#name(topic);
    const sizeBytesMax = this.#sizeBytesMax(topic);
    this.#pubsub?.topicValidators.set(name, async (peer: PeerId, message) => {
      const from = peer.toString();
      if (message.data.length > sizeBytesMax) {
        this.#received.add(1, { topic, verdict: "reject" });
        this.#host.penalise(from, "oversized");
        return TopicValidatorResult.Reject;
      }
      const verdict = await this.#judge(topic, from, message.data, validate);
      this.#received.add(1, { topic, verdict });
      switch (verdict) {
        case "accept":
          if (message.data.length >= LARGE_SIZE_BYTES) await this.#yield(topic);
          return TopicValidatorResult.Accept;
        case "ignore":
          return TopicValidatorResult.Ignore;
        case "reject":
          this.#host.penalise(from, "gossip_invalid");
          return TopicValidatorResult.Reject;
        default:
          return unreachable(verdict);
      }
    });
    this.#pubsub?.subscribe(name);
  }

  /** The peers that listen on a topic. */
  listeners(topic: GossipTopic): readonly string[] {
    return this.#pubsub?.getSubscribers(this.#name(topic)).map(String) ?? [];
  }

  async #judge(topic: GossipTopic, from: string, bytes: Uint8Array, validate: Validate): Promise<"accept" | "ignore" | "reject"> {
    const meters = this.#meters.get(from);
    for (const meter of meters ?? []) meter.pending(1);
    try {
      return await validate(from, bytes);
    } catch (error) {
      // Our fault, not the sender's; gossipsub would swallow it.
      this.#log.error({ topic, peer: from, code: codeOf(error), error }, "gossip validation failed");
      return "ignore";
    } finally {
      for (const meter of meters ?? []) meter.pending(-1);
    }
  }

  /**
   * Before a batch of transactions is passed on, those who have it have `gossipHoldMs` to say so: without it four validators under
   * heavy load sent each batch half as often again as anybody lacked it. A message of consensus that is as large has a block, which
   * names what was held: it goes after that.
   */
  async #yield(topic: GossipTopic): Promise<void> {
    if (topic === "consensus") {
      if (this.#held.size === 0) return;
      for (const release of this.#held) release();
      await setImmediate();
      return;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, this.#limits.gossipHoldMs);
    this.#held.add(resolve);
    await promise;
    this.#held.delete(resolve);
    clearTimeout(timer);
  }

  /** The registrar, with a meter put on every inbound gossip stream once gossipsub listens on it. */
  #metered(registrar: GossipSubComponents["registrar"]): GossipSubComponents["registrar"] {
    return {
      getProtocols: () => registrar.getProtocols(),
      handle: async (protocol, handler, options) =>
        registrar.handle(
          protocol,
          async (stream, connection) => {
            const done = handler(stream, connection);
            this.#meter(stream, connection);
            await done;
          },
          options,
        ),
      unhandle: async (protocol, options) => registrar.unhandle(protocol, options),
      getHandler: (protocol) => registrar.getHandler(protocol),
      use: (protocol, middleware) => registrar.use(protocol, middleware),
      unuse: (protocol) => registrar.unuse(protocol),
      getMiddleware: (protocol) => registrar.getMiddleware(protocol),
      register: async (protocol, topology, options) => registrar.register(protocol, topology, options),
      unregister: (id) => registrar.unregister(id),
      getTopologies: (protocol) => registrar.getTopologies(protocol),
    };
  }

  #meter(stream: Stream, connection: Connection): void {
    const peer = connection.remotePeer.toString();
    const meter = new Meter(stream, this.#limits, {
      bytes: (count) => this.#receivedBytes.add(count),
      offend: (offence) => {
        this.#log.debug({ peer, offence }, "gossip stream misused");
        this.#host.penalise(peer, offence);
        if (offence !== "flood") this.#host.disconnect(peer);
      },
    });
    const meters = this.#meters.get(peer) ?? new Set();
    meters.add(meter);
    this.#meters.set(peer, meters);
    stream.addEventListener("close", () => {
      meter.close();
      meters.delete(meter);
      if (meters.size === 0) this.#meters.delete(peer);
    });
  }

  #name(topic: GossipTopic): string {
    return this.#names.get(topic) ?? unreachable(topic as never);
  }

  #sizeBytesMax(topic: GossipTopic): number {
    return topic === "transactions" ? this.#limits.gossipTransactionsBytesMax : this.#limits.gossipConsensusBytesMax;
  }
}

/** Delivery deficits (P3) are not punished: traffic is too small and too uneven to tell the lazy from the unlucky. */
const TOPIC_SCORE = {
  topicWeight: 1,
  timeInMeshWeight: 0.01,
  timeInMeshQuantum: 1_000,
  timeInMeshCap: 300,
  firstMessageDeliveriesWeight: 0.05,
  firstMessageDeliveriesDecay: 0.97,
  firstMessageDeliveriesCap: 100,
  meshMessageDeliveriesWeight: 0,
  meshMessageDeliveriesDecay: 0.5,
  meshMessageDeliveriesCap: 1,
  meshMessageDeliveriesThreshold: 1,
  meshMessageDeliveriesWindow: 10,
  meshMessageDeliveriesActivation: 1_000,
  meshFailurePenaltyWeight: 0,
  meshFailurePenaltyDecay: 0.5,
  invalidMessageDeliveriesWeight: -10,
  invalidMessageDeliveriesDecay: 0.95,
};

/** The outer fields of a gossipsub RPC, all length-delimited: subscriptions, publish, control, and its extensions'. */
const FIELDS: ReadonlySet<number> = new Set([0x0a, 0x12, 0x1a]);

/** Walks `varint length ‖ (tag ‖ varint length ‖ body)*` as it streams by. */
export class FrameWalk {
  readonly #frameBytesMax: number;
  #mode: "frame" | "tag" | "field" = "frame";
  #varint = 0;
  #varintShift = 0;
  #frameLeft = 0;
  #skip = 0;

  constructor(frameBytesMax: number) {
    this.#frameBytesMax = frameBytesMax;
  }

  /** Counts the frames and fields that begin in this chunk; or says what is wrong with it. */
  walk(chunk: Uint8Array): { readonly items: number } | { readonly offence: "oversized" | "malformed" } {
    let items = 0;
    let offset = 0;
    while (offset < chunk.length) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, chunk.length - offset);
        offset += skipped;
        this.#skip -= skipped;
        if (this.#skip === 0 && this.#frameLeft === 0) this.#mode = "frame";
        continue;
      }
      const byte = chunk[offset] as number;
      offset += 1;
      if (this.#mode !== "frame") {
        if (this.#frameLeft === 0) return { offence: "malformed" };
        this.#frameLeft -= 1;
      }
      if (this.#mode === "tag") {
        if (!FIELDS.has(byte) || this.#frameLeft === 0) return { offence: "malformed" };
        items += 1;
        this.#mode = "field";
        continue;
      }
      const value = this.#digit(byte);
      if (value === "long") return { offence: this.#mode === "frame" ? "oversized" : "malformed" };
      if (value === undefined) continue;
      if (this.#mode === "frame") {
        if (value > this.#frameBytesMax) return { offence: "oversized" };
        items += 1;
        this.#frameLeft = value;
        if (value > 0) this.#mode = "tag";
        continue;
      }
      if (value > this.#frameLeft) return { offence: "malformed" };
      this.#frameLeft -= value;
      this.#skip = value;
      this.#mode = this.#frameLeft === 0 && value === 0 ? "frame" : "tag";
    }
    return { items };
  }

  /** One digit of a varint: the number when it is complete, `long` when it passes four bytes (256 MiB). */
  #digit(byte: number): number | undefined | "long" {
    this.#varint += (byte & 0x7f) * 2 ** this.#varintShift;
    this.#varintShift += 7;
    if ((byte & 0x80) !== 0) return this.#varintShift >= 28 ? "long" : undefined;
    const value = this.#varint;
    this.#varint = 0;
    this.#varintShift = 0;
    return value;
  }
}

/** Watches one inbound stream; pauses it, never closes it. */
class Meter {
  readonly #stream: Stream;
  readonly #limits: Limits;
  readonly #walk: FrameWalk;
  readonly #bytes: Bucket;
  readonly #items: Bucket;
  readonly #offend: (offence: "oversized" | "malformed" | "flood") => void;
  #pendingCount = 0;
  #isCrowded = false;
  #isClosed = false;
  #timer: NodeJS.Timeout | undefined;
  #floodAtMs = 0;

  constructor(
    stream: Stream,
    limits: Limits,
    on: { readonly bytes: (count: number) => void; readonly offend: (offence: "oversized" | "malformed" | "flood") => void },
  ) {
    const now = performance.now();
    this.#stream = stream;
    this.#limits = limits;
    this.#offend = on.offend;
    this.#walk = new FrameWalk(limits.gossipFrameBytesMax);
    this.#bytes = new Bucket({ perSecond: limits.gossipBytesPerSecondMax, burst: limits.gossipBytesBurstMax }, now);
    this.#items = new Bucket({ perSecond: limits.gossipItemsPerSecondMax, burst: limits.gossipItemsBurstMax }, now);
    stream.addEventListener("message", (event) => {
      on.bytes(event.data.byteLength);
      if (event.data instanceof Uint8Array) this.#see(event.data);
      else for (const chunk of event.data) this.#see(chunk);
    });
  }

  /** A message of this peer began (+1) or ended (-1) its validation. */
  pending(change: 1 | -1): void {
    this.#pendingCount += change;
    if (this.#pendingCount >= this.#limits.gossipPendingMax) this.#isCrowded = true;
    else if (this.#pendingCount <= this.#limits.gossipPendingMax / 2) this.#isCrowded = false;
    this.#settle();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #see(chunk: Uint8Array): void {
    if (this.#isClosed) return;
    const seen = this.#walk.walk(chunk);
    if ("offence" in seen) {
      this.close();
      this.#offend(seen.offence);
      return;
    }
    const now = performance.now();
    const waitMs = Math.max(this.#bytes.charge(chunk.length, now), this.#items.charge(seen.items, now));
    if (waitMs === 0) return;
    if (now - this.#floodAtMs > 5_000) {
      this.#floodAtMs = now;
      this.#offend("flood");
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#settle();
    }, waitMs);
    this.#settle();
  }

  #settle(): void {
    if (this.#isClosed || this.#stream.status !== "open") return;
    const mustWait = this.#isCrowded || this.#timer !== undefined;
    try {
      if (mustWait && this.#stream.readStatus === "readable") this.#stream.pause();
      else if (!mustWait && this.#stream.readStatus === "paused") this.#stream.resume();
    } catch {
      // The connection is closing underneath: resuming writes a window update, which it refuses. Nothing is left to meter.
      this.close();
    }
  }
}
