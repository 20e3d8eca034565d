/**
 * The network of one node: libp2p over TCP, Noise and Yamux, with gossip, request and response, and discovery.
 *
 * ```
 *   connection:  open --hello ok--> greeted --heartbeats--> greeted --lost, banned, silent--> closed
 *                     --other network, bad hello, no hello in helloTimeoutMs--> closed
 * ```
 *
 * Only greeted peers are in `peers()`, may ask and can be asked. libp2p's own connection monitor does not end
 * connections (it mistakes a busy event loop for a dead peer); the heartbeat does, with patience.
 */

import { generateKeyPairFromSeed } from "@libp2p/crypto/keys";
import type { GossipSub } from "@libp2p/gossipsub";
import { identify, type Identify } from "@libp2p/identify";
import type { Connection, MultiaddrConnection, PeerId, Stream } from "@libp2p/interface";
import { kadDHT, passthroughMapper, type KadDHT } from "@libp2p/kad-dht";
import { noise } from "@libp2p/noise";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import { ping, type Ping } from "@libp2p/ping";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { createLibp2p, type Libp2p, type Libp2pOptions } from "libp2p";
import { assert } from "../../crypto/base/assert.ts";
import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Log } from "../log/log.ts";
import type { Metrics } from "../metrics/metrics.ts";
import { BoundedDatastore } from "./datastore.ts";
import { discover, keepConnected, parseContacts, type DiscoveryPort } from "./discovery.ts";
import { Gossip, isGossipStream, type GossipPort, type GossipTopic, type Validate } from "./gossip.ts";
import { noiseCrypto } from "./cipher.ts";
import { thriftyEncrypter } from "./encrypter.ts";
import { encodeHello, HELLO_PROTOCOL, HELLO_VERSION, parseHello, type Hello, type Role } from "./hello.ts";
import { limitsWith, type Limits } from "./limits.ts";
import { boundFrames } from "./muxer.ts";
import { PeerBook, type Offence } from "./peers.ts";
import { consumeLinearly } from "./pieces.ts";
import { refuse, Requests, type Asked, type AskOptions, type Handler } from "./request.ts";
import { Roster, type Link, type PeerInfo } from "./roster.ts";

/** Makes a libp2p transport; the overlay brings its own. */
export type TransportFactory = NonNullable<Libp2pOptions["transports"]>[number];

/** How to join a network. */
export type NetworkOptions = {
  /** 32 bytes: the Ed25519 seed of the peer id. */
  readonly seed: Uint8Array;
  /** Multiaddrs to listen on; `/tcp/0` takes any free port. None: this node only dials. */
  readonly listen: readonly string[];
  /** Multiaddrs to tell others instead of those we listen on. */
  readonly announce?: readonly string[];
  /** Multiaddrs with a `/p2p/` part that are kept connected for ever. Our own may be among them. */
  readonly bootstrap: readonly string[];
  readonly chainId: string;
  readonly networkHash: Hash;
  readonly role: Role;
  /** The height to claim; asked at each greeting. */
  readonly height: () => bigint;
  /** Whether to look for peers beyond the configured ones. */
  readonly isDiscovering?: boolean;
  readonly transports?: readonly TransportFactory[];
  readonly limits?: Partial<Limits>;
};

/** What a network is given. `signal` ends the opening, not the network: dispose of it for that. */
export type NetworkDependencies = { readonly log: Log; readonly metrics: Metrics; readonly signal: AbortSignal };

type Services = { identify: Identify; ping: Ping; pubsub: GossipSub; dht: KadDHT };

const CLOSE_TIMEOUT_MS = 500;

/** A node's place in a network. */
export class Network implements AsyncDisposable {
  readonly limits: Limits;
  readonly #options: NetworkOptions;
  readonly #log: Log;
  readonly #node: Libp2p<Services>;
  readonly #roster: Roster;
  readonly #book: PeerBook;
  readonly #gossip: Gossip;
  readonly #requests: Requests;
  readonly #closing = new AbortController();
  readonly #tasks = new Set<Promise<void>>();
  readonly #listeners = new Set<() => void>();
  readonly #mute = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;
  #tickDueMs = 0;
  #closed: Promise<void> | undefined;

  private constructor(parts: {
    readonly options: NetworkOptions;
    readonly limits: Limits;
    readonly log: Log;
    readonly metrics: Metrics;
    readonly node: Libp2p<Services>;
    readonly roster: Roster;
    readonly book: PeerBook;
    readonly gossip: Gossip;
  }) {
    this.#options = parts.options;
    this.limits = parts.limits;
    this.#log = parts.log;
    this.#node = parts.node;
    this.#roster = parts.roster;
    this.#book = parts.book;
    this.#gossip = parts.gossip;
    const port = {
      connectionTo: (peer: string) => this.#roster.greetedLink(peer)?.connection,
      isGreeted: (peer: string) => this.#isGreeted(peer),
      penalise: (peer: string, offence: Offence) => this.penalise(peer, offence),
    };
    this.#requests = new Requests(parts.limits, { port, log: parts.log, metrics: parts.metrics });
  }

  /**
   * Joins a network: listens, serves, dials. Peers come later; `onChange` tells.
   *
   * @throws CodedError `network_address`, `network_listen`
   */
  static async open(options: NetworkOptions, dependencies: NetworkDependencies): Promise<Network> {
    assert(options.seed.length === 32, "a seed of {} bytes", options.seed.length);
    const { metrics, signal } = dependencies;
    consumeLinearly();
    const limits = limitsWith(options.limits);
    const log = dependencies.log.child({ part: "network" });
    const privateKey = await generateKeyPairFromSeed("Ed25519", options.seed);
    const self = peerIdFromPrivateKey(privateKey).toString();
    const contacts = parseContacts(options.bootstrap, self);
    const book = new PeerBook(limits, () => performance.now());
    const roster = new Roster();
    const networkHashHex = toHex(options.networkHash);

    // Gossip is made before the network that it reports to.
    const late: { network: Network | undefined } = { network: undefined };
    const gossip = new Gossip(
      { limits, networkHashHex },
      {
        host: {
          score: (peer) => book.score(peer),
          penalise: (peer, offence) => late.network?.penalise(peer, offence),
          disconnect: (peer) => late.network?.disconnect(peer),
        },
        log,
        metrics,
      },
    );
    const node = await createLibp2p<Services>({
      start: false,
      privateKey,
      nodeInfo: { name: "pyralog", version: String(HELLO_VERSION), userAgent: `pyralog/${HELLO_VERSION}` },
      addresses: { listen: [...options.listen], announce: [...(options.announce ?? [])] },
      transports: [
        ...(options.transports ?? [
          tcp({ dialOpts: { noDelay: true, keepAlive: true }, listenOpts: { noDelay: true, keepAlive: true } }),
        ]),
      ],
      connectionEncrypters: [
        (components) => thriftyEncrypter(noise({ crypto: noiseCrypto() })(components), limits.connectionWriteBytesMax),
      ],
      streamMuxers: [
        () =>
          boundFrames(
            yamux({
              maxInboundStreams: limits.streamsPerConnectionMax,
              maxOutboundStreams: limits.streamsPerConnectionMax,
              streamOptions: {
                maxStreamWindowSize: limits.streamWindowBytesMax,
                maxWriteBufferLength: limits.streamWriteBytesMax,
              },
            })(),
            limits.streamWindowBytesMax,
          ),
      ],
      connectionManager: {
        maxConnections: limits.connectionsMax,
        maxParallelDials: limits.dialsParallelMax,
        maxDialQueueLength: limits.dialQueueMax,
        dialTimeout: limits.dialTimeoutMs,
        addressDialTimeout: limits.dialTimeoutMs,
        inboundConnectionThreshold: limits.connectionsPerSecondMax,
        maxIncomingPendingConnections: limits.connectionsPendingMax,
        inboundUpgradeTimeout: limits.dialTimeoutMs,
        inboundStreamProtocolNegotiationTimeout: limits.negotiationTimeoutMs,
        outboundStreamProtocolNegotiationTimeout: limits.negotiationTimeoutMs,
      },
      connectionMonitor: { enabled: false },
      connectionGater: gater({ limits, book, roster }),
      datastore: new BoundedDatastore(limits.datastoreBytesMax),
      services: {
        identify: identify({ timeout: limits.negotiationTimeoutMs, maxInboundStreams: 4, maxOutboundStreams: 4 }),
        ping: ping(),
        pubsub: gossip.service(),
        dht: kadDHT({
          protocol: `/pyralog/${networkHashHex.slice(0, 16)}/kad/1`,
          clientMode: false,
          peerInfoMapper: passthroughMapper,
          maxInboundStreams: 16,
          maxOutboundStreams: 16,
          incomingMessageTimeout: limits.negotiationTimeoutMs,
        }),
      },
    });
    const network = new Network({ options, limits, log, metrics, node, roster, book, gossip });
    late.network = network;
    try {
      await network.#start(contacts, metrics);
      signal.throwIfAborted();
    } catch (error) {
      await network[Symbol.asyncDispose]();
      throw error;
    }
    log.info({ peer: self, addresses: network.addresses(), chainId: options.chainId, network: networkHashHex }, "network open");
    return network;
  }

  /** Our peer id. */
  get peerId(): string {
    return this.#node.peerId.toString();
  }

  /** Where others can reach us: multiaddrs that end in our peer id. */
  addresses(): string[] {
    return this.#node.getMultiaddrs().map((address) => address.toString());
  }

  /** The peers that greeted us. */
  peers(): PeerInfo[] {
    return this.#roster.peers((peer) => this.#book.score(peer));
  }

  /** Calls `listener` whenever a peer came, went, or claims another height. It must not throw. */
  onChange(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /** A topic to publish on. */
  gossip(topic: GossipTopic): GossipPort {
    return this.#gossip.topic(topic);
  }

  /** Listens on a topic. One validator a topic; it also takes the message. */
  onGossip(topic: GossipTopic, validate: Validate): void {
    this.#gossip.on(topic, validate);
  }

  /** How many peers listen on a topic and can be sent to: a publication reaches these directly. */
  gossipListeners(topic: GossipTopic): number {
    return this.#gossip.listeners(topic).filter((id) => this.#hears(id)).length;
  }

  /** Serves a protocol (`/pyralog/<name>/<version>`) to greeted peers. */
  async handle(protocol: string, handler: Handler): Promise<void> {
    await this.#node.handle(
      protocol,
      this.#requests.serving(protocol, (asked: Asked) => handler({ peer: asked.peer, bytes: asked.bytes, signal: asked.signal })),
      {
        maxInboundStreams: this.limits.requestsServedPerPeerMax * 2,
      },
    );
  }

  /**
   * Asks a greeted peer; each yielded array is one frame of the answer.
   *
   * @throws CodedError with a code of `NETWORK_ERRORS` while iterating; the peer has been penalised where it deserves it
   */
  request(peer: string, protocol: string, bytes: Uint8Array, options: AskOptions): AsyncGenerator<Uint8Array, void, undefined> {
    return this.#requests.ask(peer, protocol, bytes, options);
  }

  /** Notes an offence; at `banPoints` the peer is cut off. */
  penalise(peer: string, offence: Offence): void {
    const verdict = this.#book.penalise(peer, offence);
    if (verdict.kind === "noted") {
      this.#log.debug({ peer, offence, score: verdict.score }, "peer penalised");
      return;
    }
    this.#log.warn({ peer, offence, forMs: Math.round(verdict.untilMs - performance.now()) }, "peer banned");
    this.disconnect(peer);
  }

  /** Cuts a peer off and keeps it away; without a duration, for as long as its record deserves. */
  ban(peer: string, durationMs?: number): void {
    const untilMs = this.#book.ban(peer, durationMs);
    this.#log.warn({ peer, forMs: Math.round(untilMs - performance.now()) }, "peer banned");
    this.disconnect(peer);
  }

  /** Whether a peer is kept away. */
  isBanned(peer: string): boolean {
    return this.#book.isBanned(peer);
  }

  /** Ends every connection to a peer. A configured one is dialled again. */
  disconnect(peer: string): void {
    for (const link of this.#roster.linksOf(peer)) this.#cut(link, "unwanted");
  }

  /** Dials an address that ends in a peer id, once. */
  async dial(address: string, options: { readonly signal: AbortSignal }): Promise<void> {
    const [contact] = parseContacts([address], this.peerId);
    if (contact === undefined) return;
    try {
      await this.#node.dial(contact.addresses, { signal: AbortSignal.any([options.signal, this.#closing.signal]) });
    } catch (cause) {
      options.signal.throwIfAborted();
      throw new CodedError("peer_unknown", { address }, { cause });
    }
  }

  /** Leaves the network and waits for everything that was under way. Disposing twice is disposing once. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    await this.#closed;
  }

  async #close(): Promise<void> {
    clearInterval(this.#timer);
    this.#closing.abort(new CodedError("network_closed"));
    await this.#requests[Symbol.asyncDispose]();
    await this.#node.stop();
    while (this.#tasks.size > 0) await Promise.all(this.#tasks);
    this.#log.info({ peer: this.peerId }, "network closed");
  }

  async #start(contacts: ReturnType<typeof parseContacts>, metrics: Metrics): Promise<void> {
    const node = this.#node;
    node.addEventListener("connection:open", (event) => this.#opened(event.detail));
    node.addEventListener("connection:close", (event) => this.#lost(event.detail));
    await node.handle(
      HELLO_PROTOCOL,
      this.#requests.serving(HELLO_PROTOCOL, (asked) => this.#answerHello(asked), { isOpen: true }),
      { maxInboundStreams: 4 },
    );
    try {
      await node.start();
    } catch (cause) {
      throw new CodedError(
        "network_listen",
        { listen: this.#options.listen, message: cause instanceof Error ? cause.message : String(cause) },
        { cause },
      );
    }
    metrics.gauge({ name: "network_peers_count", help: "Greeted peers", read: () => this.peers().length });
    metrics.gauge({
      name: "network_connections_count",
      help: "Connections, greeted or not",
      read: () => node.getConnections().length,
    });
    this.#tickDueMs = performance.now() + this.limits.helloIntervalMs;
    this.#timer = setInterval(() => this.#tick(), this.limits.helloIntervalMs);
    const port = this.#discoveryPort();
    const dependencies = { port, log: this.#log, signal: this.#closing.signal };
    for (const contact of contacts) this.#track(keepConnected(contact, this.limits, dependencies));
    if (this.#options.isDiscovering !== false)
      this.#track(discover(node.services.dht, node.peerId.toMultihash().bytes, this.limits, dependencies));
  }

  #discoveryPort(): DiscoveryPort {
    return {
      self: this.peerId,
      isGreeted: (peer) => this.#isGreeted(peer),
      isBanned: (peer) => this.#book.isBanned(peer),
      peersCount: () => this.peers().length,
      dial: async (target, signal) =>
        void (await this.#node.dial(target, {
          signal: AbortSignal.any([signal, AbortSignal.timeout(this.limits.dialTimeoutMs)]),
        })),
      change: async (ms, signal) => this.#change(ms, signal),
    };
  }

  /** Joined at close. A task that fails is a fault of ours. */
  #track(task: Promise<void>): void {
    const joined = task
      .catch((error: unknown) => {
        if (!this.#closing.signal.aborted) this.#log.error({ code: codeOf(error), error }, "network task failed");
      })
      .finally(() => this.#tasks.delete(joined));
    this.#tasks.add(joined);
  }

  #isGreeted(peer: string): boolean {
    return this.#roster.greetedLink(peer) !== undefined;
  }

  #opened(connection: Connection): void {
    if (connection.status !== "open") return;
    const link = this.#roster.open(connection, performance.now());
    if (connection.direction === "outbound") this.#track(this.#greet(link));
  }

  #lost(connection: Connection): void {
    const wasGreeted = this.#isGreeted(connection.remotePeer.toString());
    this.#roster.close(connection);
    const peer = connection.remotePeer.toString();
    if (!this.#isGreeted(peer)) this.#mute.delete(peer);
    if (wasGreeted && !this.#isGreeted(peer)) this.#log.info({ peer }, "peer left");
    this.#changed();
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }

  async #change(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    const listener = (): void => resolve();
    this.#listeners.add(listener);
    signal.addEventListener("abort", listener, { once: true });
    await promise;
    clearTimeout(timer);
    this.#listeners.delete(listener);
    signal.removeEventListener("abort", listener);
  }

  #ownHello(): Uint8Array {
    const { networkHash, height, role } = this.#options;
    return encodeHello({ version: HELLO_VERSION, networkHash, height: height(), role });
  }

  /** The dialling side's greeting, and its heartbeat. */
  async #greet(link: Link): Promise<void> {
    if (link.isGreeting) return;
    link.isGreeting = true;
    const timeoutMs = this.limits.helloTimeoutMs;
    const options = {
      signal: this.#closing.signal,
      timeoutMs,
      stallMs: timeoutMs,
      frameBytesMax: 256,
      totalBytesMax: 1_024,
      isForgiving: true,
    };
    try {
      const answer: Uint8Array[] = [];
      for await (const frame of this.#requests.askOn(link.connection, HELLO_PROTOCOL, this.#ownHello(), options))
        answer.push(frame);
      this.#hear(link, answer.length === 1 ? answer[0] : undefined);
    } catch (error) {
      this.#missed(link, error);
    } finally {
      link.isGreeting = false;
    }
  }

  /** The listening side of it. */
  async *#answerHello(
    asked: Asked & { readonly connection: Connection; readonly afterwards: (act: () => void) => void },
  ): AsyncGenerator<Uint8Array> {
    const link = this.#roster.open(asked.connection, performance.now());
    const hello = parseHello(asked.bytes);
    if (!hello.ok) throw refuse("malformed");
    const refusal = this.#refusalOf(hello.value);
    if (refusal !== undefined) {
      this.#log.warn({ peer: asked.peer, code: refusal }, "peer refused");
      // After the answer, so that the other side can tell its operator why.
      asked.afterwards(() => this.#track(this.#turnAway(link)));
      throw refuse(refusal);
    }
    // Before the answer: the other side may ask as soon as it has it.
    this.#greeted(link, hello.value);
    yield this.#ownHello();
  }

  #refusalOf(hello: Hello): "hello_version" | "hello_network" | undefined {
    if (hello.version !== HELLO_VERSION) return "hello_version";
    return bytesEqual(hello.networkHash, this.#options.networkHash) ? undefined : "hello_network";
  }

  #hear(link: Link, bytes: Uint8Array | undefined): void {
    const hello = bytes === undefined ? undefined : parseHello(bytes);
    if (hello === undefined || !hello.ok) {
      this.penalise(link.peer, "malformed");
      this.#cut(link, "hostile");
      return;
    }
    const refusal = this.#refusalOf(hello.value);
    if (refusal === undefined) {
      this.#greeted(link, hello.value);
      return;
    }
    this.#log.warn({ peer: link.peer, code: refusal }, "peer refused");
    this.#track(this.#turnAway(link));
  }

  #greeted(link: Link, hello: Hello): void {
    if (this.#closing.signal.aborted || link.connection.status !== "open") return;
    const before = this.#roster.greetedLink(link.peer)?.hello;
    link.hello = hello;
    link.heardAtMs = performance.now();
    link.missCount = 0;
    if (before === undefined)
      this.#log.info(
        {
          peer: link.peer,
          address: link.connection.remoteAddr.toString(),
          direction: link.connection.direction,
          role: hello.role,
          height: hello.height,
        },
        "peer joined",
      );
    if (before?.height !== hello.height) this.#changed();
  }

  #missed(link: Link, error: unknown): void {
    if (this.#closing.signal.aborted) return;
    const refusal = error instanceof CodedError && error.code === "peer_refused" ? error.detail["refusal"] : undefined;
    if (refusal === "hello_network" || refusal === "hello_version") {
      this.#log.warn({ peer: link.peer, code: refusal }, "peer refused us");
      this.#track(this.#turnAway(link));
      return;
    }
    if (link.connection.status !== "open") return;
    link.missCount += 1;
    this.#log.debug({ peer: link.peer, code: codeOf(error), misses: link.missCount }, "heartbeat missed");
    if (link.hello === undefined || link.missCount >= this.limits.helloMissesMax) this.#cut(link, "silent");
  }

  /** Ends a connection to a peer of another network, politely, and keeps it away for a while. */
  async #turnAway(link: Link): Promise<void> {
    this.#book.penalise(link.peer, "wrong_network");
    try {
      await link.connection.close({ signal: AbortSignal.timeout(CLOSE_TIMEOUT_MS) });
    } catch {
      // It did not take leave in time; then without.
      this.#cut(link, "unwanted");
    }
  }

  /**
   * Ends a connection in the next turn of the event loop. yamux 8.0.3 sends the first window of a new stream in a
   * microtask that nobody catches: a connection that ends between the two would take the process with it.
   */
  #cut(link: Link, why: "unwanted" | "hostile" | "silent"): void {
    setImmediate(() => link.connection.abort(new CodedError("peer_cut", { peer: link.peer, why })));
  }

  /** Heartbeats out, silence noticed, broken gossip streams mended. */
  #tick(): void {
    const now = performance.now();
    // Silence while our own event loop stood still is not the peers'.
    const lateMs = Math.max(0, now - this.#tickDueMs);
    this.#tickDueMs = now + this.limits.helloIntervalMs;
    const silenceMsMax = this.limits.helloIntervalMs * this.limits.helloMissesMax + this.limits.helloTimeoutMs;
    for (const link of this.#roster.links()) {
      link.heardAtMs += lateMs;
      if (link.connection.status !== "open") this.#lost(link.connection);
      else if (link.connection.direction === "outbound") this.#track(this.#greet(link));
      else if (now - link.heardAtMs > (link.hello === undefined ? this.limits.helloTimeoutMs : silenceMsMax)) {
        this.#log.debug({ peer: link.peer }, "peer is silent");
        this.#cut(link, "silent");
      }
    }
    this.#mendGossip(now);
    this.#requests.sweep();
  }

  /**
   * gossipsub opens one outbound stream a peer and not another when that one breaks (the peer read too slowly, or the
   * one connection of two that it was on was closed). Such a peer is deaf to us; a new connection gives a new stream.
   */
  #mendGossip(now: number): void {
    for (const { id } of this.peers()) {
      const isYoung = this.#roster.linksOf(id).some((link) => now - link.openedAtMs < this.limits.gossipGraceMs);
      const deafTicks = isYoung || this.#hears(id) ? 0 : (this.#mute.get(id) ?? 0) + 1;
      this.#mute.set(id, deafTicks);
      if (deafTicks < 2) continue;
      this.#mute.delete(id);
      this.#log.debug({ peer: id }, "peer has no gossip stream");
      this.penalise(id, "unreachable");
      this.disconnect(id);
    }
  }

  /** Whether there is a stream to send gossip to a peer on: what it listens on may be known before. */
  #hears(id: string): boolean {
    const isToIt = (stream: Stream): boolean =>
      stream.direction === "outbound" && stream.status === "open" && isGossipStream(stream);
    return this.#roster.linksOf(id).some(({ connection }) => connection.streams.some(isToIt));
  }
}

/** Who may connect: nobody who is banned, and not too many from one place. */
function gater({
  limits,
  book,
  roster,
}: {
  readonly limits: Limits;
  readonly book: PeerBook;
  readonly roster: Roster;
}): NonNullable<Libp2pOptions["connectionGater"]> {
  const isBanned = (peer: PeerId): boolean => book.isBanned(peer.toString());
  return {
    denyDialPeer: isBanned,
    denyOutboundEncryptedConnection: isBanned,
    denyInboundConnection: (connection) => {
      const inbound = roster.links().filter((link) => link.connection.direction === "inbound");
      if (inbound.length >= limits.connectionsInboundMax) return true;
      const host = hostOf(connection);
      return (
        !isLoopback(host) && inbound.filter((link) => hostOf(link.connection) === host).length >= limits.connectionsPerHostMax
      );
    },
    denyInboundEncryptedConnection: isBanned,
  };
}

function hostOf(connection: Pick<MultiaddrConnection, "remoteAddr">): string {
  return connection.remoteAddr.getComponents()[0]?.value ?? "";
}

function isLoopback(host: string): boolean {
  return host.startsWith("127.") || host === "::1";
}
