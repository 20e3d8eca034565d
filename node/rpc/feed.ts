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
 *
 * Under proof of work blocks are undone. Of all heights that were told of, the hashes are remembered as deep as the network lets a chain
 * go back; when the headers that the client follows leave one of them, `undone` comes before anything else does.
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
import { blockEventSchema, keysEventSchema, notificationSchema, transactionEventSchema, undoneEventSchema } from "./events.ts";
import type { Topic } from "./method.ts";
import { subscribe } from "./methods/subscription.ts";
import { type CallOptions, errorSchema, refusedByNode } from "./transport.ts";
import type { ReadOptions, Verified } from "./verified.ts";

/** What a feed asks of a client: verified answers. */
export interface FeedSource {
  readonly url: string;
  readonly verifier: Pick<LightVerifier, "finalityOf" | "network" | "work">;
  head(options: CallOptions): Promise<Verified<Header>>;
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
  | { readonly kind: "gap"; readonly from: Height; readonly to: Height }
  /** A heavier chain has taken the place of this height and all above it: forget what was told of them. What is there now follows. */
  | { readonly kind: "undone"; readonly from: Height };

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

type Hint = { readonly topic: Topic["kind"] | "undone"; readonly event: unknown };

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
  const state: FeedState = { client, topic, signal, seen: undefined, told: new Map() };
  let failures = 0;
  while (!signal.aborted) {
    const connection = new Connection(client.url, signal);
    try {
      const height = await connection.subscribe(topic);
      failures = 0;
      yield* catchUp(state, height);
      for await (const hint of connection.hints()) yield* checkedEventsOf(state, hint);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof CodedError) || !RETRIED.has(error.code)) throw error;
      failures += 1;
      if (failures >= attemptsMax) throw error;
    } finally {
      connection.close();
    }
    await pause(Math.min(DELAY_MS_MAX, DELAY_MS_MIN * 2 ** Math.min(failures, 10)), signal);
  }
}

/**
 * What an honest node may answer while it goes from one chain of work to a heavier one, and for a moment afterwards. A node that keeps
 * answering so hides something or is behind: it gives no proof, and nothing is believed.
 */
const IN_PASSING = new Set([
  "block_undone",
  "block_unknown",
  "headers_unknown",
  "height_future",
  "height_none",
  "stale_head",
  "transaction_unknown",
  "work_less",
]);

/** Whether a question may be asked again after this, of a network of work. */
export function isInPassing(error: unknown): boolean {
  return error instanceof CodedError && IN_PASSING.has(error.code);
}

/** What passes by itself. */
const RETRIED = new Set(["rpc_unreachable", "rpc_timeout", "rate_limited", "in_flight", "shutting_down"]);

type FeedState = {
  readonly client: FeedSource;
  readonly topic: Topic;
  readonly signal: AbortSignal;
  /** Everything up to this height was handed on, or reported as a gap. */
  seen: Height | undefined;
  /** Under proof of work: the hashes of blocks that were told of, by height. */
  readonly told: Map<Height, Hash>;
};

/** Remembers that something was told of the block of this height. */
function note({ client, told }: FeedState, height: Height): void {
  const { network, work } = client.verifier;
  const hash = work?.hashAt(height);
  if (work === undefined || hash === undefined || network.engine.name !== "pow") return;
  told.set(height, hash);
  for (const each of told.keys()) if (each + BigInt(network.engine.reorgDepthMax) < work.height) told.delete(each);
}

/** Whether blocks that were told of were left for others. */
function* undoneOf(state: FeedState): Generator<FeedEvent, void, undefined> {
  const { work } = state.client.verifier;
  let from: Height | undefined;
  for (const [height, hash] of state.told) {
    const now = work?.hashAt(height);
    if (now !== undefined && bytesEqual(now, hash)) continue;
    state.told.delete(height);
    from = from === undefined || height < from ? height : from;
  }
  if (from === undefined) return;
  if (state.seen !== undefined && state.seen >= from) state.seen = heightOf(from - 1n);
  yield { kind: "undone", from };
}

/** The node has undone blocks: waits until it has what took their place, and says what is gone. */
async function* reorganised(state: FeedState, height: Height): AsyncGenerator<FeedEvent, void, undefined> {
  if (state.client.verifier.work === undefined || [...state.told.keys()].every((each) => each < height)) return;
  while (!state.signal.aborted) {
    try {
      await state.client.head({ signal: state.signal });
      return yield* undoneOf(state);
    } catch (error) {
      if (!isInPassing(error)) throw error;
    }
    await pause(DELAY_MS_MIN, state.signal);
  }
}

/** Events between what was seen and the height at which the subscription begins. */
async function* catchUp(state: FeedState, height: Height): AsyncGenerator<FeedEvent, void, undefined> {
  const { client, topic, signal } = state;
  if (topic.kind === "transactions" && topic.id !== undefined) {
    // One transaction: ask for it outright, it may have been in a block all along.
    const { kind } = await client.claimedStatus(topic.id, { signal });
    if (kind === "final" || kind === "included") yield transactionEvent(state, await client.transaction(topic.id, { signal }));
  }
  if (client.verifier.work !== undefined && height > 0n) {
    await client.head({ signal });
    yield* undoneOf(state);
    if (state.seen === undefined) note(state, height);
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
    if (topic.kind === "blocks") {
      const block = await client.header(heightOf(height), { signal });
      note(state, heightOf(height));
      yield { kind: "block", block };
    } else yield* transactionsOf(state, heightOf(height));
    state.seen = heightOf(height);
  }
}

function transactionEvent(state: FeedState, transaction: Verified<ProvenTransaction>): FeedEvent {
  note(state, transaction.verified.height);
  return { kind: "transaction", transaction };
}

async function* transactionsOf(state: FeedState, height: Height): AsyncGenerator<FeedEvent, void, undefined> {
  const { client, topic, signal } = state;
  const { value: block } = await client.block(height, { signal });
  for (const { id, body } of block.transactions) {
    if (topic.kind === "transactions" && topic.sender !== undefined && !bytesEqual(topic.sender, body.sender)) continue;
    yield transactionEvent(state, await client.transaction(id, { signal }));
  }
}

/** As `eventsOf`. A hint of a block that is on its way out, or in, says nothing: another one follows. */
async function* checkedEventsOf(state: FeedState, hint: Hint): AsyncGenerator<FeedEvent, void, undefined> {
  try {
    yield* eventsOf(state, hint);
  } catch (error) {
    if (state.client.verifier.work === undefined || !isInPassing(error)) throw error;
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
      yield* undoneOf(state);
      if (state.seen !== undefined && header.height <= state.seen) return;
      if (state.seen !== undefined && header.height > state.seen + 1n) yield* missed(state, heightOf(header.height - 1n));
      const { height, timeMs } = header;
      const finality = client.verifier.finalityOf(at);
      if (finality === undefined) throw new UnprovenError({ code: "block_undone", height });
      state.seen = height;
      note(state, height);
      yield { kind: "block", block: { value: header, verified: { height, timeMs, finality, how: ["certificate"] } } };
      return;
    }
    case "transactions": {
      const event = decode(transactionEventSchema, hint.event);
      const transaction = await client.transaction(event.id, { signal });
      yield* undoneOf(state);
      if (transaction.verified.height !== event.height) {
        // It stands in another block of the heavier chain by now, which has a hint of its own.
        if (client.verifier.work !== undefined) return;
        throw new UnprovenError({ code: "answer_mismatch", field: "event.height" });
      }
      state.seen = event.height;
      yield transactionEvent(state, transaction);
      return;
    }
    case "keys": {
      const { height, namespace, table, keys, more } = decode(keysEventSchema, hint.event);
      for (const key of keys) {
        const row = await client.row(namespace, table, key, { height, signal });
        yield* undoneOf(state);
        note(state, height);
        yield { kind: "row", key, row };
      }
      if (more) yield { kind: "gap", from: height, to: height };
      state.seen = height;
      return;
    }
    case "undone":
      yield* reorganised(state, decode(undoneEventSchema, hint.event).height);
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
export async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted === true) return;
  const done = Promise.withResolvers<void>();
  const timer = setTimeout(done.resolve, ms);
  const onAbort = (): void => done.resolve();
  signal?.addEventListener("abort", onAbort, { once: true });
  await done.promise;
  clearTimeout(timer);
  signal?.removeEventListener("abort", onAbort);
}
