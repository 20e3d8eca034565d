/**
 * Request and response: one stream an exchange, one frame asked, any number answered.
 *
 * ```
 *   asker                                server
 *     | frame(body), FIN  ------------->   |   strangers, floods and crowds are refused before the handler runs
 *     |   <------------- frame(0 ‖ data)   |   as many as the handler yields; each waits until the asker reads
 *     |   <------------- frame(1)          |   the end, so that a lost connection is never taken for one
 *     |   or  frame(2 ‖ refusal)           |   instead of the end
 * ```
 */

import type { Connection, Stream } from "@libp2p/interface";
import { concatBytes, parseUtf8, utf8 } from "../../crypto/base/bytes.ts";
import { CodedError, codeOf } from "../../crypto/base/error.ts";
import type { Log } from "../log/log.ts";
import type { Counter, Metrics } from "../metrics/metrics.ts";
import { Bucket } from "./bucket.ts";
import { NETWORK_ERRORS, type Refusal } from "./errors.ts";
import { FrameReader, writeFrame } from "./frames.ts";
import type { Limits } from "./limits.ts";
import type { Offence } from "./peers.ts";
import { Slots } from "./slots.ts";

const KIND = { data: 0, end: 1, refusal: 2 } as const;
const REFUSAL_SIZE_BYTES_MAX = 64;

/** What a handler is given. `signal` aborts when the asker is gone or the node closes. */
export type Asked = { readonly peer: string; readonly bytes: Uint8Array; readonly signal: AbortSignal };

/** Answers a request. Throw `refuse(...)` to refuse; what is yielded is sent as one frame each. */
export type Handler = (asked: Asked) => AsyncIterable<Uint8Array>;

/** A handler of the network's own, which may look at the connection and act once the answer is on its way. */
export type OwnHandler = (
  asked: Asked & { readonly connection: Connection; readonly afterwards: (act: () => void) => void },
) => AsyncIterable<Uint8Array>;

/** How to ask. Limits are those of the table unless narrowed here. */
export type AskOptions = {
  readonly signal: AbortSignal;
  /** For the whole exchange. */
  readonly timeoutMs?: number;
  /** How long the peer may send nothing. */
  readonly stallMs?: number;
  readonly frameBytesMax?: number;
  readonly totalBytesMax?: number;
  /** Whether silence goes unpunished: for heartbeats, which a busy peer may miss. */
  readonly isForgiving?: boolean;
};

/** The error that a handler throws to refuse. */
export function refuse(refusal: Refusal): CodedError {
  return new CodedError("request_refused", { refusal });
}

/** What an exchange needs from the network. */
export type RequestPort = {
  /** A connection to a greeted peer. */
  readonly connectionTo: (peer: string) => Connection | undefined;
  readonly isGreeted: (peer: string) => boolean;
  readonly penalise: (peer: string, offence: Offence) => void;
};

/** Both sides of request and response. */
export class Requests implements AsyncDisposable {
  readonly #limits: Limits;
  readonly #port: RequestPort;
  readonly #log: Log;
  readonly #served: Counter;
  readonly #closing = new AbortController();
  readonly #atWork = new Set<Promise<void>>();
  readonly #atWorkFor = new Map<string, number>();
  readonly #buckets = new Map<string, Bucket>();
  readonly #slots = new Map<string, Slots>();

  constructor(limits: Limits, dependencies: { readonly port: RequestPort; readonly log: Log; readonly metrics: Metrics }) {
    this.#limits = limits;
    this.#port = dependencies.port;
    this.#log = dependencies.log;
    this.#served = dependencies.metrics.counter({
      name: "network_requests_served_total",
      help: "Requests answered, by outcome",
      labels: ["outcome"],
    });
  }

  /** The libp2p stream handler that serves one protocol. `isOpen` lets strangers ask: only the greeting does. */
  serving(
    protocol: string,
    handler: OwnHandler,
    options: { readonly isOpen?: boolean } = {},
  ): (stream: Stream, connection: Connection) => void {
    return (stream, connection) => {
      const work = this.#serve(protocol, handler, stream, connection, options.isOpen === true);
      this.#atWork.add(work);
      void work.finally(() => this.#atWork.delete(work));
    };
  }

  /**
   * Asks a greeted peer. Iterate to the end, or break: both release the stream.
   *
   * @throws CodedError with a code of `NETWORK_ERRORS`; the signal's reason when that aborts
   */
  async *ask(peer: string, protocol: string, body: Uint8Array, options: AskOptions): AsyncGenerator<Uint8Array, void, undefined> {
    const slots = this.#slotsOf(peer);
    await slots.take(options.signal);
    try {
      const connection = this.#port.connectionTo(peer);
      if (connection === undefined) throw new CodedError("peer_unknown", { peer });
      yield* this.askOn(connection, protocol, body, options);
    } finally {
      slots.give();
      if (slots.isIdle) this.#slots.delete(peer);
    }
  }

  /** Asks on one connection, greeted or not. */
  async *askOn(
    connection: Connection,
    protocol: string,
    body: Uint8Array,
    options: AskOptions,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const peer = connection.remotePeer.toString();
    const timeout = AbortSignal.timeout(options.timeoutMs ?? this.#limits.requestTimeoutMs);
    const signal = AbortSignal.any([options.signal, this.#closing.signal, timeout]);
    let stream: Stream | undefined;
    let isComplete = false;
    try {
      stream = await connection.newStream(protocol, { signal });
      const reader = new FrameReader(stream, {
        frameBytesMax: (options.frameBytesMax ?? this.#limits.answerFrameBytesMax) + 1,
        totalBytesMax: options.totalBytesMax ?? this.#limits.answerBytesMax,
        stallMs: options.stallMs ?? this.#limits.frameTimeoutMs,
      });
      await writeFrame(stream, body, { stallMs: this.#limits.frameTimeoutMs, signal });
      for (;;) {
        const frame = await reader.next(signal);
        if (frame === undefined) throw new CodedError("peer_lost", { peer });
        const kind = frame[0];
        if (kind === KIND.data) yield frame.subarray(1);
        else if (kind === KIND.end && frame.length === 1) break;
        else if (kind === KIND.refusal) throw new CodedError("peer_refused", { peer, refusal: readRefusal(frame.subarray(1)) });
        else throw new CodedError("peer_hostile", { peer, offence: "malformed" });
      }
      isComplete = true;
      await closeStream(stream, signal);
    } catch (error) {
      throw this.#judge(peer, error, { asked: options.signal, timeout, isForgiving: options.isForgiving === true });
    } finally {
      if (!isComplete) stream?.abort(new Error("exchange abandoned"));
    }
  }

  /** Forgets the rates of peers that have been quiet. */
  sweep(): void {
    const now = performance.now();
    for (const [peer, bucket] of this.#buckets) if (bucket.isFull(now)) this.#buckets.delete(peer);
  }

  /** Aborts what is at work and waits for it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new CodedError("network_closed"));
    await Promise.all(this.#atWork);
  }

  /** Turns whatever went wrong into one of our codes, and makes the peer pay for its part. */
  #judge(
    peer: string,
    error: unknown,
    exchange: { readonly asked: AbortSignal; readonly timeout: AbortSignal; readonly isForgiving: boolean },
  ): unknown {
    if (exchange.asked.aborted) return exchange.asked.reason;
    if (this.#closing.signal.aborted) return this.#closing.signal.reason;
    const code = exchange.timeout.aborted ? "peer_stalled" : codeOf(error);
    if (code === "peer_hostile") this.#port.penalise(peer, offenceOf(error));
    if (code === "peer_stalled" && !exchange.isForgiving) this.#port.penalise(peer, "stall");
    if (error instanceof CodedError && code === error.code && code in NETWORK_ERRORS) return error;
    if (code === "peer_stalled") return new CodedError("peer_stalled", { peer }, { cause: error });
    if (error instanceof Error && error.name === "UnsupportedProtocolError")
      return new CodedError("peer_refused", { peer, refusal: "unsupported" }, { cause: error });
    return new CodedError("peer_lost", { peer }, { cause: error });
  }

  async #serve(protocol: string, handler: OwnHandler, stream: Stream, connection: Connection, isOpen: boolean): Promise<void> {
    const peer = connection.remotePeer.toString();
    const gone = new AbortController();
    stream.addEventListener("close", () => gone.abort(new CodedError("peer_lost", { peer })));
    const timeout = AbortSignal.timeout(this.#limits.requestTimeoutMs);
    const signal = AbortSignal.any([gone.signal, this.#closing.signal, timeout]);
    const afterwards: (() => void)[] = [];
    const refusal = this.#refusalFor(peer, isOpen);
    this.#atWorkFor.set(peer, (this.#atWorkFor.get(peer) ?? 0) + 1);
    try {
      if (refusal !== undefined) throw refuse(refusal);
      const bounds = {
        frameBytesMax: this.#limits.requestBytesMax,
        totalBytesMax: this.#limits.requestBytesMax + 64,
        stallMs: this.#limits.frameTimeoutMs,
      };
      const bytes = await new FrameReader(stream, bounds).next(signal);
      if (bytes === undefined) throw new CodedError("peer_lost", { peer });
      for await (const data of handler({ peer, bytes, signal, connection, afterwards: (act) => afterwards.push(act) })) {
        await this.#write(stream, KIND.data, data, signal);
      }
      await this.#write(stream, KIND.end, new Uint8Array(0), signal);
      await stream.close({ signal });
      this.#served.add(1, { outcome: "answered" });
    } catch (error) {
      await this.#fail(protocol, stream, peer, error, signal);
    } finally {
      const left = (this.#atWorkFor.get(peer) ?? 1) - 1;
      if (left === 0) this.#atWorkFor.delete(peer);
      else this.#atWorkFor.set(peer, left);
      for (const act of afterwards) act();
    }
  }

  /** Refuses if that is what happened and the peer still listens; otherwise resets the stream. Never throws. */
  async #fail(protocol: string, stream: Stream, peer: string, error: unknown, signal: AbortSignal): Promise<void> {
    const code = codeOf(error);
    if (code === "peer_hostile") this.#port.penalise(peer, offenceOf(error));
    if (code === "peer_stalled") this.#port.penalise(peer, "stall");
    const isOurs = code !== "request_refused" && !code.startsWith("peer_") && !signal.aborted;
    if (isOurs) this.#log.error({ peer, protocol, code, error }, "request handler failed");
    this.#served.add(1, { outcome: code === "request_refused" ? "refused" : isOurs ? "failed" : "lost" });
    try {
      if (code !== "request_refused" && !isOurs) throw error;
      const refusal = error instanceof CodedError && code === "request_refused" ? String(error.detail["refusal"]) : "internal";
      if (refusal === "malformed") this.#port.penalise(peer, "malformed");
      await this.#write(stream, KIND.refusal, utf8(refusal), signal);
      await stream.close({ signal });
    } catch (lost) {
      this.#log.debug({ peer, protocol, code: codeOf(lost) }, "request abandoned");
      stream.abort(new Error(code));
    }
  }

  async #write(stream: Stream, kind: number, data: Uint8Array, signal: AbortSignal): Promise<void> {
    await writeFrame(stream, concatBytes(Uint8Array.of(kind), data), { stallMs: this.#limits.frameTimeoutMs, signal });
  }

  #refusalFor(peer: string, isOpen: boolean): Refusal | undefined {
    if (!isOpen && !this.#port.isGreeted(peer)) return "stranger";
    const now = performance.now();
    let bucket = this.#buckets.get(peer);
    if (bucket === undefined) {
      bucket = new Bucket({ perSecond: this.#limits.requestsPerSecondMax, burst: this.#limits.requestsBurstMax }, now);
      this.#buckets.set(peer, bucket);
    }
    if (!bucket.take(1, now)) {
      this.#port.penalise(peer, "flood");
      return "rate";
    }
    const isCrowded =
      (this.#atWorkFor.get(peer) ?? 0) >= this.#limits.requestsServedPerPeerMax ||
      this.#atWork.size >= this.#limits.requestsServedMax;
    // A heartbeat must not fail because the node is busy serving.
    return isCrowded && !isOpen ? "busy" : undefined;
  }

  #slotsOf(peer: string): Slots {
    let slots = this.#slots.get(peer);
    if (slots === undefined) {
      slots = new Slots(this.#limits.requestsAskedPerPeerMax, this.#limits.requestsQueuedPerPeerMax);
      this.#slots.set(peer, slots);
    }
    return slots;
  }
}

/** Closes our side; a stream that cannot be closed in time is reset, the exchange being over either way. */
async function closeStream(stream: Stream, signal: AbortSignal): Promise<void> {
  try {
    await stream.close({ signal });
  } catch (cause) {
    stream.abort(new CodedError("peer_lost", {}, { cause }));
  }
}

function offenceOf(error: unknown): Offence {
  return error instanceof CodedError && error.detail["offence"] === "oversized" ? "oversized" : "malformed";
}

function readRefusal(bytes: Uint8Array): string {
  const text = parseUtf8(bytes.subarray(0, REFUSAL_SIZE_BYTES_MAX));
  return text.ok && /^[a-z_]+$/.test(text.value) ? text.value : "unreadable";
}
