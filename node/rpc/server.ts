/**
 * The RPC server: JSON-RPC 2.0 over HTTP (POST /) and WebSocket, on one port.
 *
 * ```
 *   POST /               one request or a batch            GET /health        200 following, 503 syncing
 *   GET  /               what this is                      GET /metrics       Prometheus text, when served
 *   GET  /openrpc.json   every method                      GET / + Upgrade    WebSocket, one message a frame
 *   GET  /explorer/      the explorer's page, when built
 * ```
 *
 * Reads are unauthenticated and change nothing; what writes is signed by itself. A web page may call the node only
 * from an origin of `cors`; the node's own page may as well where the node was addressed by a number or as localhost,
 * for only a name can be made to point elsewhere. Bound to loopback, the server also refuses a foreign `Host`, so that a name which a
 * stranger points at 127.0.0.1 does not reach it (DNS rebinding). Addresses are those of the socket: behind a proxy
 * every client has the proxy's, and the proxy must do the limiting.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, isIP, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { fileURLToPath } from "node:url";
import { type WebSocket, WebSocketServer } from "ws";
import { assert } from "../../crypto/base/assert.ts";
import { CodedError, codeOf } from "../../crypto/base/error.ts";
import type { Log } from "../log/log.ts";
import type { Metrics } from "../metrics/metrics.ts";
import type { Commit } from "../../chain/ledger/ledger.ts";
import type { Config } from "../config/schema.ts";
import type { NodeBackend } from "./backend.ts";
import { type Caller, Dispatcher, type Relay } from "./dispatcher.ts";
import { CLOSE, RPC_ERROR, SERVER_CODES, type RpcCode } from "./errors.ts";
import { type Limits, limitsWith } from "./limits.ts";
import { METHODS } from "./methods/index.ts";
import { openRpcDocument } from "./openrpc.ts";
import { Page } from "./page.ts";
import { answerMessage, errorAnswer, rpcError } from "./protocol.ts";
import { Rates } from "./rates.ts";
import { type ConnectionSubscriptions, SubscriptionHub } from "./subscriptions.ts";

/** Where and for whom to serve. */
export type RpcServerOptions = {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  /** Origins whose pages may call; `"*"` allows all. */
  readonly cors: readonly string[];
  /** Whether GET /metrics answers. */
  readonly serveMetrics?: boolean;
  /** The directory of the built explorer, served at /explorer/. Not served when absent. */
  readonly explorerPath?: string | undefined;
  readonly limits?: Partial<Limits>;
};

/** What the server works with. */
export type RpcServerParts = {
  readonly backend: NodeBackend;
  readonly log: Log;
  readonly metrics?: Metrics;
  /** See `DispatcherParts`. */
  readonly relay?: Relay;
};

const TEXT = "text/plain; charset=utf-8";
const JSON_TYPE = "application/json";

/** A listening server. Disposing it stops listening, tells every connection, and waits until they are gone. */
export class RpcServer implements AsyncDisposable {
  readonly limits: Limits;
  readonly #options: RpcServerOptions;
  readonly #parts: RpcServerParts;
  readonly #dispatcher: Dispatcher;
  readonly #hub: SubscriptionHub;
  readonly #http: Server;
  readonly #webSockets: WebSocketServer;
  readonly #closing = new AbortController();
  readonly #callers = new WeakMap<Duplex, Caller>();
  readonly #perAddress = new Map<string, number>();
  readonly #pending = new Set<Promise<void>>();
  /** Bytes of requests that are not answered yet, and of answers that are made and not yet sent, of all connections. */
  #heldBytes = 0;
  readonly #openRpc: string;
  readonly #page: Page | undefined;
  readonly #following = new DisposableStack();

  private constructor(options: RpcServerOptions, parts: RpcServerParts) {
    this.#options = options;
    this.#parts = parts;
    this.limits = limitsWith(options.limits);
    const { backend, log, metrics, relay } = parts;
    const rates = new Rates(this.limits, () => performance.now());
    this.#dispatcher = new Dispatcher({
      methods: METHODS,
      backend,
      limits: this.limits,
      rates,
      log,
      metrics,
      relay,
      isBusy: () => this.#heldBytes > this.limits.pendingBytesMax,
    });
    this.#hub = new SubscriptionHub(this.limits);
    this.#openRpc = JSON.stringify(openRpcDocument(METHODS));
    this.#page = options.explorerPath === undefined ? undefined : new Page(options.explorerPath);
    this.#webSockets = new WebSocketServer({
      noServer: true,
      maxPayload: this.limits.requestSizeBytesMax,
      perMessageDeflate: false,
      clientTracking: true,
    });
    this.#http = createServer({
      requestTimeout: this.limits.requestTimeoutMs,
      headersTimeout: this.limits.requestTimeoutMs,
      noDelay: true,
    });
    this.#http.maxConnections = this.limits.connectionsMax;
    this.#http.timeout = this.limits.idleTimeoutMs;
    this.#http.on("connection", (socket: Socket) => this.#onConnection(socket));
    this.#http.on("request", (request, response) => this.#own(this.#onRequest(request, response)));
    this.#http.on("upgrade", (request, socket, head) => this.#onUpgrade(request, socket, head));
    // In a turn of its own: telling subscribers is not part of committing, and must not hold it up or fail it.
    this.#following.use(backend.onCommit((commit) => setImmediate(() => this.#onCommit(commit))));
    this.#following.use(backend.onRollback((undone) => setImmediate(() => this.#hub.onRollback(undone))));
  }

  /** @throws CodedError `rpc_listen` when the address cannot be bound */
  static async open(options: RpcServerOptions, parts: RpcServerParts): Promise<RpcServer> {
    const server = new RpcServer(options, parts);
    const listening = Promise.withResolvers<void>();
    server.#http.once("error", listening.reject);
    server.#http.listen({ host: options.host, port: options.port }, listening.resolve);
    try {
      await listening.promise;
    } catch (cause) {
      server.#following.dispose();
      throw new CodedError(
        "rpc_listen",
        { message: SERVER_CODES.rpc_listen, host: options.host, port: options.port, reason: codeOf(cause) },
        { cause },
      );
    }
    return server;
  }

  /** The port that it listens on. */
  get port(): number {
    return this.#address().port;
  }

  /** Where clients find it. */
  get url(): string {
    const { address, family, port } = this.#address();
    return `http://${family === "IPv6" ? `[${address}]` : address}:${port}/`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#following.dispose();
    this.#closing.abort(new CodedError("shutting_down"));
    const closed = Promise.withResolvers<void>();
    this.#http.close(() => closed.resolve());
    for (const socket of this.#webSockets.clients) this.#close(socket, CLOSE.goingAway);
    await Promise.all(this.#pending);
    this.#http.closeIdleConnections();
    const force = setTimeout(() => this.#http.closeAllConnections(), this.limits.closeGraceMs);
    await closed.promise;
    clearTimeout(force);
    this.#webSockets.close();
  }

  #address(): AddressInfo {
    const address = this.#http.address();
    assert(address !== null && typeof address === "object", "the server listens on TCP");
    return address;
  }

  /** Joins a task at close. Tasks answer their own failures; one that cannot is our fault, and is logged. */
  #own(task: Promise<void>): void {
    const joined = task
      .catch((error: unknown) => this.#parts.log.error({ code: codeOf(error), error }, "rpc task failed"))
      .finally(() => this.#pending.delete(joined));
    this.#pending.add(joined);
  }

  #onConnection(socket: Socket): void {
    const address = socket.remoteAddress ?? "";
    const count = (this.#perAddress.get(address) ?? 0) + 1;
    if (count > this.limits.connectionsPerAddressMax) {
      socket.destroy();
      return;
    }
    this.#perAddress.set(address, count);
    const gone = new AbortController();
    this.#callers.set(socket, {
      address,
      signal: AbortSignal.any([gone.signal, this.#closing.signal]),
      subscriptions: undefined,
      inFlight: 0,
    });
    socket.once("close", () => {
      gone.abort();
      const left = (this.#perAddress.get(address) ?? 1) - 1;
      if (left === 0) this.#perAddress.delete(address);
      else this.#perAddress.set(address, left);
    });
  }

  #onCommit(commit: Commit): void {
    try {
      this.#hub.onCommit(commit);
    } catch (error) {
      // The block is final whoever hears of it; subscribers notice the gap and fetch.
      this.#parts.log.error({ height: commit.block.header.height, error }, "rpc events failed");
    }
  }

  // HTTP.

  async #onRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const refused = this.#refuseStranger(request);
    if (refused !== undefined) return plain(response, 403, refused);
    this.#allowOrigin(request, response);
    const path = (request.url ?? "/").split("?", 1)[0];
    if (request.method === "OPTIONS") return end(response, 204, "", { Allow: "GET, HEAD, POST, OPTIONS" });
    if (request.method === "POST")
      return path === "/" ? await this.#onPost(request, response) : plain(response, 404, "not found");
    if (request.method !== "GET" && request.method !== "HEAD")
      return end(response, 405, "", { Allow: "GET, HEAD, POST, OPTIONS" });
    if (this.#page !== undefined && path !== undefined && /^\/explorer(\/|$)/.test(path))
      return await this.#sendPage(this.#page, path, request, response);
    switch (path) {
      case "/":
        return plain(
          response,
          200,
          `Pyralog node, network ${this.#parts.backend.networkFile.chainId}. POST JSON-RPC 2.0 here; GET /openrpc.json lists the methods; /explorer/ is for people.`,
        );
      case "/openrpc.json":
        return end(response, 200, this.#openRpc, { "Content-Type": JSON_TYPE });
      case "/health": {
        const { syncing } = this.#parts.backend.status();
        const text = JSON.stringify({
          status: syncing ? "syncing" : "following",
          height: `${this.#parts.backend.ledger.head().height}`,
        });
        return end(response, syncing ? 503 : 200, text, { "Content-Type": JSON_TYPE, "Cache-Control": "no-store" });
      }
      case "/metrics": {
        const { metrics } = this.#parts;
        if (metrics === undefined || this.#options.serveMetrics !== true) return plain(response, 404, "not found");
        return end(response, 200, await metrics.text(), { "Content-Type": metrics.contentType });
      }
      default:
        return plain(response, 404, "not found");
    }
  }

  async #sendPage(page: Page, path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked = {
      acceptEncoding: String(request.headers["accept-encoding"] ?? ""),
      ifNoneMatch: request.headers["if-none-match"],
    };
    const answer = await page.answer(path, asked).catch((error: unknown) => {
      this.#parts.log.error({ code: codeOf(error), error }, "the explorer cannot be read");
      return undefined;
    });
    if (answer === undefined) return plain(response, 503, "the explorer cannot be read here; the node's log says why");
    const length = answer.status === 304 ? {} : { "Content-Length": `${answer.body.length}` };
    response.writeHead(answer.status, { "X-Content-Type-Options": "nosniff", ...length, ...answer.headers });
    response.end(answer.body);
  }

  async #onPost(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const type = (request.headers["content-type"] ?? "").split(";", 1)[0]?.trim().toLowerCase();
    // Demanding this type also makes a browser ask (preflight) before it posts from another origin.
    if (type !== JSON_TYPE) return refuse(response, 415, "request_invalid", { field: "Content-Type" });
    const body = await readBody(request, this.limits.requestSizeBytesMax);
    if (body === "size") return refuse(response, 413, "request_size", { requestSizeBytesMax: this.limits.requestSizeBytesMax });
    const caller = this.#callers.get(request.socket);
    // The client is gone: nobody is there to answer.
    if (body === "aborted" || caller === undefined) return;
    const held = this.#holder();
    response.once("close", held.release);
    const answer = await answerMessage(body, {
      limits: this.limits,
      hold: held.hold,
      dispatch: (asked) => this.#dispatcher.dispatch(asked, caller),
      together: (method) => this.#dispatcher.together(method, caller),
    });
    // Gone before its answer was made: nothing is sent, and `close` has been.
    if (response.destroyed) return held.release();
    if (answer === undefined) return end(response, 204, "", {});
    end(response, 200, answer, { "Content-Type": JSON_TYPE, "Cache-Control": "no-store" });
  }

  /** Counts what one message and its answers hold in memory, until they are sent. */
  #holder(): { readonly hold: (size: number) => void; readonly release: () => void } {
    let size = 0;
    return {
      hold: (more) => {
        size += more;
        this.#heldBytes += more;
      },
      release: () => {
        this.#heldBytes -= size;
        size = 0;
      },
    };
  }

  /** Why a request may not be answered at all, or `undefined`. */
  #refuseStranger(request: IncomingMessage): string | undefined {
    const host = hostName(request.headers.host);
    const bound = this.#address().address;
    if (isLoopback(bound) && (host === undefined || !isLoopback(host))) return "host_forbidden";
    const { origin } = request.headers;
    if (origin === undefined || this.#options.cors.includes("*") || this.#options.cors.includes(origin)) return undefined;
    const isNumbered = host !== undefined && (host === "localhost" || isIP(host) !== 0);
    if (isNumbered && origin === `http://${request.headers.host?.toLowerCase()}`) return undefined;
    return "origin_forbidden";
  }

  #allowOrigin(request: IncomingMessage, response: ServerResponse): void {
    const { origin } = request.headers;
    if (origin === undefined) return;
    response.setHeader("Access-Control-Allow-Origin", this.#options.cors.includes("*") ? "*" : origin);
    response.setHeader("Vary", "Origin");
    response.setHeader("Access-Control-Allow-Headers", "Content-Type");
    response.setHeader("Access-Control-Allow-Methods", "GET, HEAD, POST");
    response.setHeader("Access-Control-Max-Age", "86400");
  }

  // WebSocket.

  #onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const path = (request.url ?? "/").split("?", 1)[0];
    const refused = path === "/" ? this.#refuseStranger(request) : "not_found";
    const caller = this.#callers.get(socket);
    if (refused !== undefined || caller === undefined || this.#closing.signal.aborted) {
      socket.on("error", () => socket.destroy());
      socket.end(
        `HTTP/1.1 ${refused === "not_found" ? "404 Not Found" : "403 Forbidden"}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`,
      );
      return;
    }
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => this.#onWebSocket(webSocket, caller));
  }

  #onWebSocket(socket: WebSocket, { address, signal }: Caller): void {
    const subscriptions = this.#hub.open({
      send: (text) => void this.#send(socket, text),
      drop: () => this.#close(socket, CLOSE.tooSlow),
    });
    const caller: Caller = { address, signal, subscriptions, inFlight: 0 };
    let isAlive = true;
    const pinger = setInterval(() => {
      if (!isAlive) socket.terminate();
      isAlive = false;
      socket.ping();
    }, this.limits.pingIntervalMs);
    socket.on("pong", () => (isAlive = true));
    socket.on("close", () => {
      clearInterval(pinger);
      this.#hub.close(subscriptions);
    });
    // ws closes the connection itself after a protocol error or a message that is too large (1002, 1009).
    socket.on("error", (error) => this.#parts.log.debug({ address, code: codeOf(error) }, "rpc connection failed"));
    socket.on("message", (data, isBinary) => {
      isAlive = true;
      if (isBinary) return this.#close(socket, CLOSE.binary);
      assert(Buffer.isBuffer(data), "ws gives one buffer a message");
      this.#own(this.#answer(data, caller, socket, subscriptions));
    });
  }

  async #answer(data: Uint8Array, caller: Caller, socket: WebSocket, subscriptions: ConnectionSubscriptions): Promise<void> {
    const { hold, release } = this.#holder();
    try {
      const answer = await answerMessage(data, {
        limits: this.limits,
        hold,
        dispatch: (asked) => this.#dispatcher.dispatch(asked, caller),
        together: (method) => this.#dispatcher.together(method, caller),
      });
      const sent = answer === undefined ? undefined : this.#send(socket, answer);
      subscriptions.release();
      await sent;
    } finally {
      release();
    }
  }

  /** Resolves when the text has left this process, or never will. */
  #send(socket: WebSocket, text: string): Promise<void> {
    if (socket.readyState !== socket.OPEN) return Promise.resolve();
    if (socket.bufferedAmount > this.limits.bufferedBytesMax) {
      this.#close(socket, CLOSE.tooSlow);
      return Promise.resolve();
    }
    const done = Promise.withResolvers<void>();
    // A failed write ends the connection, which hears of it by itself.
    socket.send(text, { binary: false }, () => done.resolve());
    return done.promise;
  }

  /** Says why, and cuts the connection when the other side does not answer in time. */
  #close(socket: WebSocket, { number, reason }: { readonly number: number; readonly reason: string }): void {
    if (socket.readyState !== socket.OPEN) return;
    socket.close(number, reason);
    const force = setTimeout(() => socket.terminate(), this.limits.closeGraceMs);
    socket.once("close", () => clearTimeout(force));
  }
}

/** Where `npm run explorer` puts the page that is served at /explorer/. */
const EXPLORER_PATH = fileURLToPath(new URL("../../testnet/explorer/dist", import.meta.url));

/** The server as a node's configuration wants it. */
export async function openRpcServer(
  { rpc, metrics }: Pick<Config, "rpc" | "metrics">,
  parts: RpcServerParts,
): Promise<RpcServer> {
  const { host, port, cors, explorer, requestSizeBytesMax, requestsPerSecondMax, connectionsMax, subscriptionsMax } = rpc;
  const limits = { requestSizeBytesMax, requestsPerSecondMax, connectionsMax, subscriptionsMax };
  const explorerPath = explorer ? EXPLORER_PATH : undefined;
  return await RpcServer.open({ host, port, cors, serveMetrics: metrics.enabled, explorerPath, limits }, parts);
}

function plain(response: ServerResponse, status: number, text: string): void {
  end(response, status, `${text}\n`, { "Content-Type": TEXT });
}

function refuse(response: ServerResponse, status: number, code: RpcCode, detail: Readonly<Record<string, unknown>>): void {
  const answer = errorAnswer(rpcError(RPC_ERROR.invalidRequest, code, detail));
  // What was not read of the request is not wanted either.
  end(response, status, JSON.stringify(answer), { "Content-Type": JSON_TYPE, Connection: "close" });
}

function end(response: ServerResponse, status: number, text: string, headers: Readonly<Record<string, string>>): void {
  const body = Buffer.from(text);
  const length = status === 204 ? {} : { "Content-Length": `${body.length}` };
  response.writeHead(status, { "X-Content-Type-Options": "nosniff", ...length, ...headers });
  response.end(body);
}

async function readBody(request: IncomingMessage, sizeBytesMax: number): Promise<Uint8Array | "size" | "aborted"> {
  if (Number(request.headers["content-length"] ?? 0) > sizeBytesMax) return "size";
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > sizeBytesMax) return "size";
      chunks.push(chunk);
    }
  } catch (error) {
    // The client went away in the middle: an ordinary end of a connection.
    if (codeOf(error) === "ECONNRESET" || request.destroyed) return "aborted";
    throw error;
  }
  return Buffer.concat(chunks);
}

/** The name in a Host header, without port and brackets. */
function hostName(header: string | undefined): string | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/@]+))(?::[0-9]{1,5})?$/.exec(header ?? "");
  return (match?.[1] ?? match?.[2])?.toLowerCase();
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(?:\.[0-9]{1,3}){3}$/.test(host);
}
