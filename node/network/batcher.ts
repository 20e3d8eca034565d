/**
 * Batches small payloads into gossip messages: one message costs about 200 us on every node, whatever its size.
 *
 * ```
 *   empty --add--> waiting --long enough since the last, full, or flushed--> publishing --rate allows--> empty or waiting
 * ```
 *
 * Wire: a canonical dag-cbor array of 1 to `batchItemsMax` byte strings.
 */

import { fail, type Result } from "../../crypto/base/result.ts";
import { assert } from "../../crypto/base/assert.ts";
import { codeOf } from "../../crypto/base/error.ts";
import { type DecodeError, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import type { Log } from "../log/log.ts";
import type { Clock } from "../ports/clock.ts";
import { Bucket } from "./bucket.ts";
import { LIMITS, type Limits } from "./limits.ts";

/** The one encoding of a batch. */
export function encodeBatch(items: readonly Uint8Array[]): Uint8Array {
  assert(items.length > 0, "an empty batch");
  const writer = new Writer().array(items.length);
  for (const item of items) writer.bytes(item);
  return writer.finish();
}

/** Parses a batch from a peer; items are views on `bytes`. Empty batches and empty items are refused. */
export function parseBatch(bytes: Uint8Array, limits: Limits = LIMITS): Result<readonly Uint8Array[], DecodeError> {
  if (bytes.length > limits.gossipTransactionsBytesMax) return fail({ code: "encoding_limit", offset: 0 });
  return readWith(bytes, (reader) => {
    const count = reader.field("items").array(limits.batchItemsMax);
    if (count === 0) reader.refuse("encoding_limit");
    const items: Uint8Array[] = [];
    for (let index = 0; index < count; index += 1) {
      const item = reader.field("item").bytes(bytes.length);
      if (item.length === 0) reader.refuse("encoding_limit");
      items.push(item);
    }
    return items;
  });
}

/** What a batcher works with. */
export type BatcherParts = {
  /** @param items - what the batch is of: the objects that were added */
  readonly publish: (batch: Uint8Array, items: readonly Uint8Array[]) => Promise<unknown>;
  readonly clock: Clock;
  readonly log: Log;
};

/** Collects payloads and publishes them together. */
export class Batcher implements AsyncDisposable {
  readonly #limits: Limits;
  readonly #clock: Clock;
  readonly #publish: BatcherParts["publish"];
  readonly #log: Log;
  readonly #rate: Bucket;
  /** In the order of their coming. */
  readonly #queue = new Set<Uint8Array>();
  #queuedBytes = 0;
  #publishedAtMs = Number.NEGATIVE_INFINITY;
  /** Between the last batch and the next. */
  #delayMs = 0;
  /** Before it the rate does not allow another. */
  #owedUntilMs = Number.NEGATIVE_INFINITY;
  #isClosed = false;
  #pump: Promise<void> | undefined;
  #hurry: (() => void) | undefined;

  constructor(limits: Limits, dependencies: BatcherParts) {
    this.#limits = limits;
    this.#clock = dependencies.clock;
    this.#publish = dependencies.publish;
    this.#log = dependencies.log;
    this.#rate = new Bucket(
      { perSecond: limits.batchBytesPerSecondMax, burst: limits.batchBytesPerSecondMax },
      this.#clock.monotonicMs(),
    );
  }

  /** How many payload bytes wait. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Takes a payload to be published soon; `false` when the queue is full (refuse it) or the batcher is closed. */
  add(item: Uint8Array): boolean {
    assert(item.length > 0 && item.length <= this.#limits.gossipTransactionsBytesMax - 16, "a payload of {} bytes", item.length);
    if (this.#isClosed || this.#queuedBytes + item.length > this.#limits.batchQueueBytesMax) return false;
    if (this.#queue.has(item)) return true;
    this.#queue.add(item);
    this.#queuedBytes += item.length;
    this.#pump ??= this.#run();
    if (this.#isFull()) this.#hurry?.();
    return true;
  }

  /** Whether this payload was added and waits still. */
  holds(item: Uint8Array): boolean {
    return this.#queue.has(item);
  }

  /** Publishes what waits, as far as the rate allows it: whatever is published next reaches the same peers after it. */
  async flush(): Promise<void> {
    while (this.#queue.size > 0 && this.#clock.monotonicMs() >= this.#owedUntilMs) await this.#publishNext();
  }

  /** Whether what waits fills a batch. */
  #isFull(): boolean {
    return this.#queuedBytes >= this.#limits.batchBytesMax || this.#queue.size >= this.#limits.batchItemsMax;
  }

  /** Publishes what waits and stops. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#hurry?.();
    await this.#pump;
  }

  async #run(): Promise<void> {
    while (this.#queue.size > 0) {
      // The first after a quiet while goes at once; those that follow closely wait for each other, also those that came while one
      // was being published.
      if (!this.#isFull()) await this.#pause(Math.max(0, this.#publishedAtMs + this.#delayMs - this.#clock.monotonicMs()));
      // Unless all that waited was flushed meanwhile.
      if (this.#queue.size > 0) await this.#publishNext();
      const owedMs = this.#owedUntilMs - this.#clock.monotonicMs();
      if (owedMs > 0) await this.#pause(owedMs, { canHurry: false });
    }
    this.#pump = undefined;
  }

  async #publishNext(): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    const sinceMs = nowMs - this.#publishedAtMs;
    this.#publishedAtMs = nowMs;
    const items = this.#next();
    const { batchBusyItems, batchBusyDelayMs, batchDelayMs } = this.#limits;
    // By how many there are a time, so that waiting longer is no reason to go on waiting.
    const isBusy = items.length * batchDelayMs >= batchBusyItems * Math.max(batchDelayMs, sinceMs);
    this.#delayMs = isBusy ? batchBusyDelayMs : batchDelayMs;
    const batch = encodeBatch(items);
    this.#owedUntilMs = nowMs + this.#rate.charge(batch.length, nowMs);
    try {
      await this.#publish(batch, items);
    } catch (error) {
      // Lost for gossip, not for the network: the mempool that gave them still has them, and so may resend.
      this.#log.warn({ code: codeOf(error), bytes: batch.length }, "batch not published");
    }
  }

  /** Takes out the longest prefix of the queue that fits one batch; at least one item. */
  #next(): Uint8Array[] {
    const items: Uint8Array[] = [];
    let sizeBytes = 0;
    for (const item of this.#queue) {
      const isOver = sizeBytes + item.length > this.#limits.batchBytesMax || items.length >= this.#limits.batchItemsMax;
      if (items.length > 0 && isOver) break;
      sizeBytes += item.length;
      items.push(item);
      this.#queue.delete(item);
    }
    this.#queuedBytes -= sizeBytes;
    return items;
  }

  async #pause(ms: number, options: { readonly canHurry: boolean } = { canHurry: true }): Promise<void> {
    if (this.#isClosed) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#clock.after(ms, resolve);
    if (options.canHurry) this.#hurry = resolve;
    await promise;
    this.#hurry = undefined;
    timer.cancel();
  }
}
