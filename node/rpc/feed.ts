/**
 * Subscriptions as a client sees them: an endless stream of verified events over WebSocket, that comes back by itself
 * after a lost connection and fetches what it missed.
 *
 * ```
 *   connecting --subscribed at height h--> fetch what was missed up to h --> live --connection lost--> waiting --> connecting
 * ```
 *
 * An event is only a hint: each is checked like any other answer before it is handed on. A node that keeps quiet
 * cannot be told from a quiet network, but for blocks, whose heights must follow one another.
 */

import * as z from "zod";
import { CodedError } from "../../crypto/base/error.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Block, Header } from "../../chain/block/block.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { UnprovenError } from "../light/errors.ts";
import type { ProvenTransaction } from "../light/statement.ts";
import type { Anchor } from "../light/anchor.ts";
import type { LightVerifier, VerifiedHeader } from "../light/verifier.ts";
import { blockEventSchema, keysEventSchema, notificationSchema, transactionEventSchema } from "./events.ts";
import type { Topic } from "./method.ts";
import { subscribe } from "./methods/subscription.ts";
import { type CallOptions, errorSchema, refusedByNode } from "./transport.ts";
import type { ReadOptions, Verified } from "./verified.ts";

/** What a feed asks of a client: verified answers. */
export interface FeedSource {
  readonly url: string;
  readonly verifier: Pick<LightVerifier, "finalityOf">;
  believe(anchor: Anchor, options: CallOptions): Promise<VerifiedHeader>;
  header(height: Height, options: CallOptions): Promise<Verified<Header>>;
  block(height: Height, options: CallOptions): Promise<Verified<Block>>;
  row(namespace: string, table: string, key: Uint8Array, options: ReadOptions): Promise<Verified<Uint8Array | undefined>>;
  transaction(id: Hash, options: CallOptions): Promise<Verified<ProvenTransaction>>;
  claimedStatus(id: Hash, options: CallOptions): Promise<{ readonly kind: string }>;
}

/** What a feed yields. */
export type FeedEvent =
  | { readonly kind: "block"; readonly block: Verified<Header> }
  | {
      readonly kind: "transaction";
      readonly transaction: Verified<ProvenTransaction>;
    }
  /** A row was written or deleted, and what it is at that height. */
  | { readonly kind: "row"; readonly key: Uint8Array; readonly row: Verified<Uint8Array | undefined> }
  /** Events of these heights, both included, were missed and cannot be fetched: read again what matters. */
  | { readonly kind: "gap"; readonly from: Height; readonly to: Height };

/** How a feed behaves. */
export type FeedOptions = {
  readonly signal: AbortSignal;
  /** How many times in a row connecting may fail before the feed does. Endless when absent. */
  readonly attemptsMax?: number | undefined;
};

/** Heights that are fetched one by one after a lost connection; more are a gap. */
const HEIGHTS_FETCHED_MAX = 256;
/** Events that wait for a slow reader; beyond it the connection is dropped and opened again. */
const EVENTS_WAITING_MAX = 4_096;
const DELAY_MS_MIN = 250;
const DELAY_MS_MAX = 10_000;
const CONNECT_TIMEOUT_MS = 15_000;

type Hint = { readonly topic: Topic["kind"]; readonly event: unknown };

/**
 * Follows a topic until `signal` aborts or the reader leaves the loop.
 *
 * @throws `UnprovenError` at the first event that does not hold; CodedError `rpc_unreachable` after `attemptsMax`
 */
export async function* follow(
  client: FeedSource,
  topic: Topic,
  options: FeedOptions,
): AsyncGenerator<FeedEvent, void, undefined> {
  const { signal, attemptsMax = Number.MAX_SAFE_INTEGER } = options;
  const state: FeedState = { client, topic, signal, seen: undefined };
  let failures = 0;
  while (!signal.aborted) {
    const connection = new Connection(client.url, signal);
    try {
      const height = await connection.subscribe(topic);
      failures = 0;
      yield* catchUp(state, height);
      for await (const hint of connection.hints()) yield* eventsOf(state, hint);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof CodedError) || !RETRIED.has(error.code)) throw error;
      failures += 1;
      if (failures >= attemptsMax) throw error;
    } finally {
      connection.close();
    }
    await delay(Math.min(DELAY_MS_MAX, DELAY_MS_MIN * 2 ** Math.min(failures, 10)), signal);
  }
}

/** What passes by itself. */
const RETRIED = new Set(["rpc_unreachable", "rpc_timeout", "rate_limited", "in_flight", "shutting_down"]);

type FeedState = {
  readonly client: FeedSource;
  readonly topic: Topic;
  readonly signal: AbortSignal;
  /** Everything up to this height was handed on, or reported as a gap. */
  seen: Height | undefined;
};

/** Events between what was seen and the height at which the subscription begins. */
async function* catchUp(state: FeedState, height: Height): AsyncGenerator<FeedEvent, void, undefined> {
  const { client, topic, signal } = state;
  if (topic.kind === "transactions" && topic.id !== undefined) {
    // One transaction: ask for it outright, it may have been final all along.
    if ((await client.claimedStatus(topic.id, { signal })).kind === "final")
      yield { kind: "transaction", transaction: await client.transaction(topic.id, { signal }) };
  }
  if (state.seen !== undefined && height > state.seen) yield* missed(state, height);
  if (state.seen === undefined || height > state.seen) state.seen = height;
}

async function* missed(state: FeedState, to: Height): AsyncGenerator<FeedEvent, void, undefined> {
  const { client, topic, signal } = state;
  const first = (state.seen ?? 0n) + 1n;
  if (topic.kind === "transactions" && topic.id !== undefined) return;
  if (topic.kind === "keys" || to - first >= BigInt(HEIGHTS_FETCHED_MAX)) {
    yield { kind: "gap", from: heightOf(first), to };
    return;
  }
  for (let height = first; height <= to; height += 1n) {
    if (topic.kind === "blocks") yield { kind: "block", block: await client.header(heightOf(height), { signal }) };
    else yield* transactionsOf(state, heightOf(height));
    state.seen = heightOf(height);
  }
}

async function* transactionsOf({ client, topic, signal }: FeedState, height: Height): AsyncGenerator<FeedEvent, void, undefined> {
  const { value: block } = await client.block(height, { signal });
  for (const { id, body } of block.transactions) {
    if (topic.kind === "transactions" && topic.sender !== undefined && !bytesEqual(topic.sender, body.sender)) continue;
    yield { kind: "transaction", transaction: await client.transaction(id, { signal }) };
  }
}

/** Checks one hint and what it stands for. */
async function* eventsOf(state: FeedState, hint: Hint): AsyncGenerator<FeedEvent, void, undefined> {
  const { client, signal } = state;
  switch (hint.topic) {
    case "blocks": {
      const event = decode(blockEventSchema, hint.event);
      const at = await client.believe(event.anchor, { signal });
      const { header, hash } = at;
      if (header.height !== event.height || !bytesEqual(hash, event.hash))
        throw new UnprovenError({ code: "answer_mismatch", field: "event.hash" });
      if (state.seen !== undefined && header.height <= state.seen) return;
      if (state.seen !== undefined && header.height > state.seen + 1n) yield* missed(state, heightOf(header.height - 1n));
      state.seen = header.height;
      yield {
        kind: "block",
        block: {
          value: header,
          verified: {
            height: header.height,
            timeMs: header.timeMs,
            finality: client.verifier.finalityOf(at),
            how: ["certificate"],
          },
        },
      };
      return;
    }
    case "transactions": {
      const event = decode(transactionEventSchema, hint.event);
      const transaction = await client.transaction(event.id, { signal });
      if (transaction.verified.height !== event.height)
        throw new UnprovenError({ code: "answer_mismatch", field: "event.height" });
      state.seen = event.height;
      yield { kind: "transaction", transaction };
      return;
    }
    case "keys": {
      const { height, namespace, table, keys, more } = decode(keysEventSchema, hint.event);
      for (const key of keys) yield { kind: "row", key, row: await client.row(namespace, table, key, { height, signal }) };
      if (more) yield { kind: "gap", from: height, to: height };
      state.seen = height;
    }
  }
}

function decode<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const decoded = schema.safeParse(value);
  if (!decoded.success) throw new UnprovenError({ code: "answer_malformed", field: "event" });
  return decoded.data;
}

const answerSchema = z.union([
  z.object({ jsonrpc: z.literal("2.0"), id: z.int().nullable(), error: errorSchema }),
  z.object({ jsonrpc: z.literal("2.0"), id: z.int(), result: z.unknown() }),
]);
const eventMessageSchema = z.object({ jsonrpc: z.literal("2.0"), method: z.literal("subscription"), params: notificationSchema });

/** One WebSocket with one subscription. */
class Connection {
  readonly #socket: WebSocket;
  readonly #waiting: Hint[] = [];
  readonly #answered = Promise.withResolvers<unknown>();
  /** Wakes the reader of `hints`. */
  #wake: (() => void) | undefined;
  #failure: CodedError | undefined;
  readonly #stop: () => void;
  readonly #signal: AbortSignal;

  constructor(url: string, signal: AbortSignal) {
    const address = new URL(url);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    this.#signal = signal;
    this.#socket = new WebSocket(address);
    this.#socket.addEventListener("message", (message) => this.#onMessage(message.data));
    this.#socket.addEventListener("close", ({ code, reason }) =>
      this.#fail(new CodedError("rpc_unreachable", { message: "the connection was closed", close: code, reason })),
    );
    this.#stop = () => this.#fail(new CodedError("rpc_unreachable", { message: "aborted" }));
    signal.addEventListener("abort", this.#stop, { once: true });
    // Nobody may be waiting when it fails; whoever comes later is told.
    this.#answered.promise.catch(() => undefined);
  }

  /** Subscribes, and says from which height on events come. */
  async subscribe(topic: Topic): Promise<Height> {
    const timeout = setTimeout(
      () => this.#fail(new CodedError("rpc_timeout", { message: "no answer to subscribe", timeoutMs: CONNECT_TIMEOUT_MS })),
      CONNECT_TIMEOUT_MS,
    );
    try {
      const request = { jsonrpc: "2.0", id: 1, method: subscribe.name, params: z.encode(subscribe.params, { topic }) };
      if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(request));
      else this.#socket.addEventListener("open", () => this.#socket.send(JSON.stringify(request)), { once: true });
      return decode(subscribe.result, await this.#answered.promise).height;
    } finally {
      clearTimeout(timeout);
    }
  }

  /** Events in their order; fails when the connection does. */
  async *hints(): AsyncGenerator<Hint, void, undefined> {
    for (;;) {
      const next = this.#waiting.shift();
      if (next !== undefined) {
        yield next;
        continue;
      }
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  close(): void {
    this.#signal.removeEventListener("abort", this.#stop);
    this.#socket.close();
  }

  #onMessage(data: unknown): void {
    const message = parseJson(data);
    const answer = answerSchema.safeParse(message);
    if (answer.success) {
      if ("error" in answer.data) this.#fail(refusedByNode(subscribe.name, answer.data.error));
      else this.#answered.resolve(answer.data.result);
      return;
    }
    const event = eventMessageSchema.safeParse(message);
    if (!event.success) return this.#fail(new UnprovenError({ code: "answer_malformed", field: "message" }));
    if (this.#waiting.length >= EVENTS_WAITING_MAX) {
      this.#fail(new CodedError("rpc_unreachable", { message: "events were not read fast enough" }));
      return this.#socket.close();
    }
    this.#waiting.push({ topic: event.data.params.topic, event: event.data.params.event });
    this.#wake?.();
  }

  #fail(failure: CodedError): void {
    this.#failure ??= failure;
    this.#answered.reject(failure);
    this.#wake?.();
  }
}

function parseJson(data: unknown): unknown {
  if (typeof data !== "string") return undefined;
  try {
    return JSON.parse(data);
  } catch {
    // JSON.parse has no other way to say no; what is undefined fits no schema.
    return undefined;
  }
}

/** Waits, or less when `signal` aborts. */
async function delay(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const done = Promise.withResolvers<void>();
  const timer = setTimeout(done.resolve, ms);
  const onAbort = (): void => done.resolve();
  signal.addEventListener("abort", onAbort, { once: true });
  await done.promise;
  clearTimeout(timer);
  signal.removeEventListener("abort", onAbort);
}
