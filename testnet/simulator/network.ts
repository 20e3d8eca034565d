/**
 * The network between simulated nodes: packets that are lost, doubled, late and out of order, and the ports of
 * `node/network` on top of them.
 *
 * Gossip goes in packets, each of which meets its own fate; a publication is relayed by who accepted it, and nobody is
 * given the same bytes twice. A question and its answer are a stream, as over TCP: its frames keep their order, a lost
 * one is only late, and a cut stops them all.
 *
 * Peers know each other by heartbeats, as `node/network` has them, and hold the same things against each other
 * (`node/network/peers.ts` is used as it is).
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { toHex, utf8 } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { blake3 } from "../../crypto/backend/blake3.ts";
import type { GossipPort, GossipTopic, Validate } from "../../node/network/gossip.ts";
import { LIMITS, type Limits } from "../../node/network/limits.ts";
import { type Offence, PeerBook } from "../../node/network/peers.ts";
import type { AskOptions, Handler } from "../../node/network/request.ts";
import type { PeerInfo } from "../../node/network/roster.ts";
import type { Clock, Timer } from "../../node/ports/clock.ts";
import type { Agenda, Owner } from "./agenda.ts";
import type { Random } from "./random.ts";
import type { Sometimes } from "./sometimes.ts";
import type { Trace } from "./trace.ts";

/** What travels. `id` is the hash of the bytes, and `name` its text. */
export type Packet =
  | { readonly kind: "hello"; readonly height: bigint; readonly isAnswer: boolean }
  | {
      readonly kind: "gossip";
      readonly topic: GossipTopic;
      readonly bytes: Uint8Array;
      readonly id: Uint8Array;
      readonly name: string;
    }
  | { readonly kind: "ask"; readonly protocol: string; readonly bytes: Uint8Array; readonly stream: Stream }
  | { readonly kind: "frame"; readonly bytes: Uint8Array; readonly stream: Stream }
  | { readonly kind: "end"; readonly refusal: string | undefined; readonly stream: Stream };

/** How the network is, faults aside. */
export type WireOptions = {
  readonly latencyMsMin: number;
  /** Of what is added to it, which is exponential. */
  readonly latencyMsMean: number;
  /** To how many peers an accepted publication is relayed. */
  readonly relaysMax: number;
};

/** One direction between two nodes. */
type Link = {
  lossPerThousand: number;
  doublePerThousand: number;
  /** How many cuts lie on it. */
  cuts: number;
  clogUntilMs: number;
  slowFactor: number;
  readonly random: Random;
};

/** Drops packets by what they say. */
export type Filter = (from: number, to: number, packet: Packet) => boolean;

/** What a node may do to its own packets on their way out: none, the same, or others. */
export type Egress = (to: number, packet: Packet) => readonly Packet[];

/** What a retransmission costs a stream. */
const RETRANSMIT_MS = 200;

/** The medium. Nodes have numbers; their peer ids are `n0`, `n1`, ... */
export class Wire {
  readonly #agenda: Agenda;
  readonly #trace: Trace;
  readonly #sometimes: Sometimes;
  readonly #options: WireOptions;
  readonly #links: Link[][];
  readonly #endpoints: (Endpoint | undefined)[];
  readonly #owners: Owner[];
  readonly #filters = new Set<Filter>();
  readonly #egress = new Map<number, Egress>();

  constructor(
    count: number,
    options: WireOptions,
    parts: { readonly agenda: Agenda; readonly trace: Trace; readonly sometimes: Sometimes; readonly random: Random },
  ) {
    this.#agenda = parts.agenda;
    this.#trace = parts.trace;
    this.#sometimes = parts.sometimes;
    this.#options = options;
    const indexes = Array.from({ length: count }, (_, index) => index);
    this.#endpoints = indexes.map(() => undefined);
    this.#owners = indexes.map((index) => machineOwner(() => this.#endpoints[index]?.life));
    this.#links = indexes.map((from) => indexes.map((to) => newLink(parts.random.fork(`link ${from} ${to}`))));
  }

  get count(): number {
    return this.#links.length;
  }

  get options(): WireOptions {
    return this.#options;
  }

  get agenda(): Agenda {
    return this.#agenda;
  }

  get sometimes(): Sometimes {
    return this.#sometimes;
  }

  /** The node's endpoint from now on; `undefined`: it is down. */
  attach(index: number, endpoint: Endpoint | undefined): void {
    this.#endpoints[index] = endpoint;
  }

  // Faults.

  /** Loses and doubles packets on a link from now on. */
  spoil(from: number, to: number, rates: { readonly lossPerThousand: number; readonly doublePerThousand: number }): void {
    const link = this.#link(from, to);
    link.lossPerThousand += rates.lossPerThousand;
    link.doublePerThousand += rates.doublePerThousand;
  }

  /** Lays a cut on a link, or takes one away. Of a node that is not in this run there is nothing to cut. */
  cut(from: number, to: number, by: 1 | -1): void {
    if (from >= this.count || to >= this.count) return;
    this.#link(from, to).cuts += by;
  }

  /** Holds everything on a link until then; it comes all at once, in its order. */
  clog(from: number, to: number, untilMs: number): void {
    const link = this.#link(from, to);
    link.clogUntilMs = Math.max(link.clogUntilMs, untilMs);
  }

  /** Makes a link so many times slower. */
  slow(from: number, to: number, factor: number): void {
    this.#link(from, to).slowFactor *= factor;
  }

  filter(filter: Filter): Disposable {
    this.#filters.add(filter);
    return { [Symbol.dispose]: () => void this.#filters.delete(filter) };
  }

  /** What leaves this node goes through `egress` first. */
  corrupt(index: number, egress: Egress): void {
    this.#egress.set(index, egress);
  }

  // Sending.

  /** Sends a packet; what becomes of it is the link's affair. */
  send(from: number, to: number, packet: Packet): void {
    const egress = this.#egress.get(from);
    if (egress === undefined) this.#send(from, to, packet);
    else for (const each of egress(to, packet)) this.#send(from, to, each);
  }

  /** As `send`, past the node's own `egress`. */
  inject(from: number, to: number, packet: Packet): void {
    this.#send(from, to, packet);
  }

  #send(from: number, to: number, packet: Packet): void {
    const link = this.#link(from, to);
    if (link.cuts > 0) {
      this.#sometimes.saw("packet_cut");
      return;
    }
    for (const filter of this.#filters) {
      if (!filter(from, to, packet)) continue;
      this.#sometimes.saw("packet_filtered");
      return;
    }
    const isStream = "stream" in packet;
    let delayMs = this.#delayMs(link);
    if (link.random.happens(link.lossPerThousand)) {
      this.#sometimes.saw("packet_lost");
      if (!isStream) return;
      delayMs += RETRANSMIT_MS;
    }
    if (isStream) {
      // In its order, behind what was sent on this stream before.
      delayMs = Math.max(delayMs, packet.stream.lastMs[to === packet.stream.asker ? 0 : 1] - this.#agenda.nowMs);
      packet.stream.lastMs[to === packet.stream.asker ? 0 : 1] = this.#agenda.nowMs + delayMs;
    }
    this.#deliverAfter(delayMs, from, to, packet);
    if (!isStream && link.random.happens(link.doublePerThousand)) {
      this.#sometimes.saw("packet_doubled");
      this.#deliverAfter(this.#delayMs(link), from, to, packet);
    }
  }

  #delayMs(link: Link): number {
    const { latencyMsMin, latencyMsMean } = this.#options;
    const delayMs = (latencyMsMin + link.random.exponential(latencyMsMean)) * link.slowFactor;
    const cloggedMs = link.clogUntilMs - this.#agenda.nowMs;
    if (cloggedMs <= 0) return delayMs;
    this.#sometimes.saw("packet_clogged");
    return cloggedMs;
  }

  #deliverAfter(delayMs: number, from: number, to: number, packet: Packet): void {
    this.#agenda.after(delayMs, this.#owners[to], () => {
      const endpoint = this.#endpoints[to];
      if (endpoint === undefined) return;
      this.#trace.note(this.#agenda.nowMs, to, packet.kind, detailOf(packet), from);
      endpoint.take(from, packet);
    });
  }

  #link(from: number, to: number): Link {
    return present(this.#links[from]?.[to], `link from ${from} to ${to}`);
  }
}

/** The machine behind an endpoint: it outlives processes, and waits when they are paused. */
function machineOwner(life: () => Owner | undefined): Owner {
  return {
    isAlive: true,
    get pausedUntilMs() {
      return life()?.pausedUntilMs ?? 0;
    },
  };
}

function newLink(random: Random): Link {
  return { lossPerThousand: 0, doublePerThousand: 0, cuts: 0, clogUntilMs: 0, slowFactor: 1, random };
}

function detailOf(packet: Packet): Uint8Array {
  switch (packet.kind) {
    case "gossip":
      return packet.id;
    case "ask":
    case "frame":
      return blake3(packet.bytes);
    case "hello":
      return Uint8Array.of(Number(packet.height & 0xffn), packet.isAnswer ? 1 : 0);
    case "end":
      return utf8(packet.refusal ?? "");
  }
}

/** The id of a publication: topic and bytes. */
export function gossipPacket(topic: GossipTopic, bytes: Uint8Array): Extract<Packet, { kind: "gossip" }> {
  const id = blake3(bytes);
  id[0] = (id[0] ?? 0) ^ (topic === "consensus" ? 1 : 0);
  return { kind: "gossip", topic, bytes, id, name: toHex(id) };
}

/** A question under way: what the asker has heard so far. */
class Stream {
  readonly asker: number;
  /** When the last packet to the asker, and to the server, arrives. */
  readonly lastMs: [number, number] = [0, 0];
  readonly frames: Uint8Array[] = [];
  end: { readonly refusal: string | undefined } | undefined;
  isAbandoned = false;
  wake: (() => void) | undefined;

  constructor(asker: number) {
    this.asker = asker;
  }
}

type Peer = { height: bigint; heardAtMs: number };

/** What an endpoint is given. */
export type EndpointParts = {
  readonly wire: Wire;
  readonly index: number;
  /** The process that it belongs to. */
  readonly life: Owner;
  readonly clock: Clock;
  readonly random: Random;
  /** The height to claim. */
  readonly height: () => bigint;
  /** Something is about to leave: the process may end here. */
  readonly onSend: () => void;
};

/** One process's place in the network: what the driver, sync, catch-up and intake need of `Network`. */
export class Endpoint {
  readonly limits: Limits = LIMITS;
  readonly life: Owner;
  readonly #wire: Wire;
  readonly #index: number;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #height: () => bigint;
  readonly #onSend: () => void;
  readonly #book: PeerBook;
  readonly #peers = new Map<number, Peer>();
  readonly #listeners = new Set<() => void>();
  readonly #validators = new Map<GossipTopic, Validate>();
  readonly #handlers = new Map<string, Handler>();
  /** When which bytes were seen. */
  readonly #seen = new Map<string, number>();
  #timer: Timer | undefined;

  constructor(parts: EndpointParts) {
    this.#wire = parts.wire;
    this.#index = parts.index;
    this.life = parts.life;
    this.#clock = parts.clock;
    this.#random = parts.random;
    this.#height = parts.height;
    this.#onSend = parts.onSend;
    this.#book = new PeerBook(LIMITS, () => this.#clock.monotonicMs());
  }

  /** Begins to greet. */
  start(): void {
    this.#wire.attach(this.#index, this);
    this.#greet();
  }

  get peerId(): string {
    return peerIdOf(this.#index);
  }

  // The ports.

  peers(): PeerInfo[] {
    return [...this.#peers].map(([index, peer]) => ({
      id: peerIdOf(index),
      address: `/sim/${index}`,
      direction: "outbound",
      role: "validator",
      height: peer.height,
      score: this.#book.score(peerIdOf(index)),
      connectedSinceMs: 0,
    }));
  }

  onChange(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  penalise(peer: string, offence: Offence): void {
    this.#wire.sometimes.saw("peer_penalised");
    if (this.#book.penalise(peer, offence).kind !== "banned") return;
    this.#wire.sometimes.saw("peer_banned");
    if (this.#peers.delete(indexOfPeer(peer))) this.#changed();
  }

  gossip(topic: GossipTopic): GossipPort {
    return {
      publish: async (bytes) => await Promise.resolve(this.#publish(topic, bytes)),
    };
  }

  onGossip(topic: GossipTopic, validate: Validate): void {
    this.#validators.set(topic, validate);
  }

  async handle(protocol: string, handler: Handler): Promise<void> {
    this.#handlers.set(protocol, handler);
    await Promise.resolve();
  }

  async *request(
    peer: string,
    protocol: string,
    bytes: Uint8Array,
    options: AskOptions,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const index = indexOfPeer(peer);
    if (!this.#peers.has(index)) throw new CodedError("peer_unknown", { peer });
    const stream = new Stream(this.#index);
    if (this.#mayLeave()) this.#wire.send(this.#index, index, { kind: "ask", protocol, bytes, stream });
    const deadlineMs = this.#clock.monotonicMs() + (options.timeoutMs ?? this.limits.requestTimeoutMs);
    try {
      for (;;) {
        options.signal.throwIfAborted();
        const frame = stream.frames.shift();
        if (frame !== undefined) {
          yield frame;
          continue;
        }
        if (stream.end !== undefined) {
          if (stream.end.refusal === undefined) return;
          throw new CodedError("peer_refused", { peer, refusal: stream.end.refusal });
        }
        const leftMs = Math.min(options.stallMs ?? this.limits.frameTimeoutMs, deadlineMs - this.#clock.monotonicMs());
        if (leftMs > 0 && (await this.#heard(stream, leftMs, options.signal))) continue;
        options.signal.throwIfAborted();
        this.#wire.sometimes.saw("answer_stalled");
        if (options.isForgiving !== true) this.penalise(peer, "stall");
        throw new CodedError("peer_stalled", { peer });
      }
    } finally {
      stream.isAbandoned = true;
    }
  }

  // Packets.

  /** A packet arrived. */
  take(from: number, packet: Packet): void {
    const peer = peerIdOf(from);
    if (this.#book.isBanned(peer)) return;
    switch (packet.kind) {
      case "hello":
        this.#heardOf(from, packet.height);
        if (!packet.isAnswer) this.#send(from, { kind: "hello", height: this.#height(), isAnswer: true });
        return;
      case "gossip":
        void this.#relay(from, packet);
        return;
      case "ask":
        void this.#serve(from, packet);
        return;
      case "frame":
        if (packet.stream.isAbandoned || packet.stream.asker !== this.#index) return;
        packet.stream.frames.push(packet.bytes);
        packet.stream.wake?.();
        return;
      case "end":
        packet.stream.end = { refusal: packet.refusal };
        packet.stream.wake?.();
        return;
    }
  }

  #publish(topic: GossipTopic, bytes: Uint8Array): number {
    if (!this.#mayLeave()) return 0;
    const packet = gossipPacket(topic, bytes);
    if (this.#isSeen(packet.name)) return 0;
    for (const to of this.#peers.keys()) this.#wire.send(this.#index, to, packet);
    return this.#peers.size;
  }

  async #relay(from: number, packet: Extract<Packet, { kind: "gossip" }>): Promise<void> {
    const validate = this.#validators.get(packet.topic);
    if (validate === undefined || this.#isSeen(packet.name)) return;
    const verdict = await validate(peerIdOf(from), packet.bytes);
    if (verdict === "reject") {
      this.#wire.sometimes.saw("gossip_rejected");
      this.penalise(peerIdOf(from), "gossip_invalid");
    }
    if (verdict !== "accept" || !this.#mayLeave()) return;
    const others = [...this.#peers.keys()].filter((to) => to !== from);
    const { relaysMax } = this.#wire.options;
    const chosen = others.length <= relaysMax ? others : this.#random.shuffle(others).slice(0, relaysMax);
    for (const to of chosen) this.#wire.send(this.#index, to, packet);
  }

  async #serve(from: number, { protocol, bytes, stream }: Extract<Packet, { kind: "ask" }>): Promise<void> {
    const handler = this.#handlers.get(protocol);
    let refusal: string | undefined = handler === undefined ? "unsupported" : undefined;
    try {
      const asked = { peer: peerIdOf(from), bytes, signal: new AbortController().signal };
      if (handler !== undefined)
        for await (const frame of handler(asked)) this.#send(from, { kind: "frame", bytes: frame, stream });
    } catch (error) {
      if (codeOf(error) !== "request_refused") throw error;
      refusal = String(error instanceof CodedError ? error.detail["refusal"] : "");
      if (refusal === "malformed") this.penalise(peerIdOf(from), "malformed");
    }
    this.#send(from, { kind: "end", refusal, stream });
  }

  #send(to: number, packet: Packet): void {
    if (this.#mayLeave()) this.#wire.send(this.#index, to, packet);
  }

  /** Resolves when something of a stream came, or `false` when nothing did. */
  async #heard(stream: Stream, withinMs: number, signal: AbortSignal): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const timer = this.#clock.after(withinMs, () => resolve(false));
    const stop = (): void => resolve(false);
    signal.addEventListener("abort", stop, { once: true });
    stream.wake = () => resolve(true);
    const isHeard = await promise;
    stream.wake = undefined;
    timer.cancel();
    signal.removeEventListener("abort", stop);
    return isHeard;
  }

  // Peers.

  #greet(): void {
    const nowMs = this.#clock.monotonicMs();
    for (let to = 0; to < this.#wire.count; to += 1) {
      if (to === this.#index) continue;
      const peer = this.#peers.get(to);
      if (peer !== undefined && nowMs - peer.heardAtMs > this.limits.helloIntervalMs * this.limits.helloMissesMax) {
        this.#peers.delete(to);
        this.#changed();
      }
      if (!this.#book.isBanned(peerIdOf(to))) this.#send(to, { kind: "hello", height: this.#height(), isAnswer: false });
    }
    this.#timer = this.#clock.after(this.limits.helloIntervalMs, () => this.#greet());
  }

  #heardOf(from: number, height: bigint): void {
    const known = this.#peers.get(from);
    const heardAtMs = this.#clock.monotonicMs();
    this.#peers.set(from, { height, heardAtMs });
    if (known?.height !== height) this.#changed();
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }

  #isSeen(name: string): boolean {
    const nowMs = this.#clock.monotonicMs();
    const seenMs = this.#seen.get(name);
    if (seenMs !== undefined && nowMs - seenMs < this.limits.gossipSeenMs) return true;
    this.#seen.set(name, nowMs);
    return false;
  }

  #mayLeave(): boolean {
    if (this.life.isAlive) this.#onSend();
    return this.life.isAlive;
  }

  /** Greets no more: the process ends. */
  stop(): void {
    this.#timer?.cancel();
    this.#wire.attach(this.#index, undefined);
  }
}

/** What a node is called by its peers. */
export function peerIdOf(index: number): string {
  return `n${index}`;
}

/** The number behind a name. */
export function indexOfPeer(peer: string): number {
  const index = Number(peer.slice(1));
  assert(peer.startsWith("n") && Number.isInteger(index), `no peer is called ${peer}`);
  return index;
}
