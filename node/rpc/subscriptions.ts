/** Subscriptions of all connections: turns each commit into the events that somebody asked for. */

import * as z from "zod";
import { present } from "../../crypto/base/assert.ts";
import { compareBytes, toHex } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import type { Commit } from "../../chain/ledger/ledger.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { encodeCertificate } from "../../chain/block/vote.ts";
import { type Block, encodeHeader } from "../../chain/block/block.ts";
import { rowRange } from "../../chain/state/keys.ts";
import type { Refusal } from "./errors.ts";
import type { Limits } from "./limits.ts";
import type { SubscriptionPort, Topic } from "./method.ts";
import { blockEventSchema, keysEventSchema, transactionEventSchema, undoneEventSchema } from "./events.ts";

type Subscription = {
  readonly id: string;
  readonly topic: Topic;
  /** Events are of heights above this; it sinks when blocks are undone. */
  height: Height;
  /** Events from before the answer to `subscribe` was sent; `undefined` once it was. */
  held: string[] | undefined;
};

/** Who hears of events: `drop` ends the connection of one for whom too many wait. */
export type Subscriber = { readonly send: (text: string) => void; readonly drop: () => void };

/** The subscriptions of one connection. */
export class ConnectionSubscriptions implements SubscriptionPort {
  readonly #hub: SubscriptionHub;
  readonly #send: (text: string) => void;
  readonly #drop: () => void;
  readonly #subscriptions = new Map<string, Subscription>();
  #count = 0;
  /** What all `held` come to. A batch may keep its answers back for as long as it likes. */
  #heldSize = 0;

  constructor(hub: SubscriptionHub, { send, drop }: Subscriber) {
    this.#hub = hub;
    this.#send = send;
    this.#drop = drop;
  }

  add(topic: Topic, height: Height): Result<string, Refusal> {
    const { subscriptionsMax } = this.#hub.limits;
    if (this.#subscriptions.size >= subscriptionsMax) return fail({ code: "subscription_limit", subscriptionsMax });
    this.#count += 1;
    const id = `${this.#count}`;
    this.#subscriptions.set(id, { id, topic, height, held: [] });
    return ok(id);
  }

  delete(id: string): boolean {
    return this.#subscriptions.delete(id);
  }

  /** The answers so far are on their way: events may follow them now. */
  release(): void {
    this.#heldSize = 0;
    for (const subscription of this.#subscriptions.values()) {
      const { held } = subscription;
      subscription.held = undefined;
      for (const text of held ?? []) this.#send(text);
    }
  }

  /** Sends the events of one commit. */
  onCommit(events: CommitEvents): void {
    for (const subscription of this.#subscriptions.values()) {
      if (events.height <= subscription.height) continue;
      for (const event of events.of(subscription.topic)) this.#tell(subscription, subscription.topic.kind, event);
    }
  }

  /** Says, whatever the topic, that a block was undone. What takes its place is an event again. */
  onUndone(height: Height, event: string): void {
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.height >= height) subscription.height = heightOf(height - 1n);
      this.#tell(subscription, "undone", event);
    }
  }

  #tell({ id, held }: Subscription, topic: Topic["kind"] | "undone", event: string): void {
    const text = `{"jsonrpc":"2.0","method":"subscription","params":{"subscription":"${id}","topic":"${topic}","event":${event}}}`;
    if (held === undefined) return this.#send(text);
    this.#heldSize += text.length;
    if (this.#heldSize <= this.#hub.limits.bufferedBytesMax) return void held.push(text);
    this.#subscriptions.clear();
    this.#drop();
  }
}

/** All connections that could have subscriptions. */
export class SubscriptionHub {
  readonly limits: Limits;
  readonly #connections = new Set<ConnectionSubscriptions>();

  constructor(limits: Limits) {
    this.limits = limits;
  }

  /** Opens the subscriptions of one connection. */
  open(subscriber: Subscriber): ConnectionSubscriptions {
    const connection = new ConnectionSubscriptions(this, subscriber);
    this.#connections.add(connection);
    return connection;
  }

  close(connection: ConnectionSubscriptions): void {
    this.#connections.delete(connection);
  }

  /** Tells everybody of a commit. */
  onCommit(commit: Commit): void {
    if (this.#connections.size === 0) return;
    const events = new CommitEvents(commit, this.limits);
    for (const connection of this.#connections) connection.onCommit(events);
  }

  /** Tells everybody that a block was undone. */
  onRollback({ header: { height }, hash }: Block): void {
    const event = JSON.stringify(z.encode(undoneEventSchema, { height, hash }));
    for (const connection of this.#connections) connection.onUndone(height, event);
  }
}

/** The events of one commit, each encoded at most once. */
class CommitEvents {
  readonly height: Height;
  readonly #commit: Commit;
  readonly #limits: Limits;
  #block: string | undefined;
  #transactions: Map<string, string[]> | undefined;
  readonly #keys = new Map<string, readonly string[]>();

  constructor(commit: Commit, limits: Limits) {
    this.#commit = commit;
    this.height = commit.block.header.height;
    this.#limits = limits;
  }

  /** JSON texts of what happened on a topic. */
  of(topic: Topic): readonly string[] {
    switch (topic.kind) {
      case "blocks":
        this.#block ??= this.#blockEvent();
        return [this.#block];
      case "transactions":
        return this.#transactionEvents(topic);
      case "keys":
        return this.#keysEvents(topic);
    }
  }

  #blockEvent(): string {
    const { block, certificate } = this.#commit;
    const event = {
      height: block.header.height,
      hash: block.hash,
      timeMs: block.header.timeMs,
      transactionsCount: block.transactions.length,
      anchor: { header: encodeHeader(block.header), certificate: encodeCertificate(certificate) },
    };
    return JSON.stringify(z.encode(blockEventSchema, event));
  }

  #transactionEvents(topic: Topic & { readonly kind: "transactions" }): readonly string[] {
    this.#transactions ??= this.#transactionsByAll();
    const wanted = topic.id ?? topic.sender;
    return this.#transactions.get(wanted === undefined ? "" : toHex(wanted)) ?? [];
  }

  /** Events by what they can be asked for: a transaction's id, its sender, or (empty) all of them. */
  #transactionsByAll(): Map<string, string[]> {
    const { block, results } = this.#commit;
    const byAll = new Map<string, string[]>();
    for (const [index, { id, body }] of block.transactions.entries()) {
      const result = present(results[index], "result of a committed transaction");
      const event = { height: block.header.height, index, id, sender: body.sender, result };
      const text = JSON.stringify(z.encode(transactionEventSchema, event));
      for (const key of ["", toHex(id), toHex(body.sender)]) {
        const known = byAll.get(key);
        if (known === undefined) byAll.set(key, [text]);
        else known.push(text);
      }
    }
    return byAll;
  }

  #keysEvents({ namespace, table }: Topic & { readonly kind: "keys" }): readonly string[] {
    const name = `${namespace} ${table}`;
    const known = this.#keys.get(name);
    if (known !== undefined) return known;
    const range = rowRange(namespace, table);
    const { changedKeys } = this.#commit;
    const [first, end] = [lowerBound(changedKeys, range.from), lowerBound(changedKeys, range.to)];
    const { changedKeysMax } = this.#limits;
    const keys = changedKeys.slice(first, Math.min(end, first + changedKeysMax)).map((key) => key.subarray(range.from.length));
    const event = { height: this.#commit.block.header.height, namespace, table, keys, more: end - first > changedKeysMax };
    const events = keys.length === 0 ? [] : [JSON.stringify(z.encode(keysEventSchema, event))];
    this.#keys.set(name, events);
    return events;
  }
}

/** The index of the first of the sorted `keys` that is not below `key`. */
function lowerBound(keys: readonly Uint8Array[], key: Uint8Array): number {
  let [low, high] = [0, keys.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareBytes(present(keys[middle], "key"), key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
