/**
 * The memory that libp2p keeps its address book and DHT records in, bounded.
 *
 * libp2p's own keeps whatever peers send: addresses of peers that do not exist, provider records for any key. Here
 * the least recently used entry goes when the total passes the limit. What we use (our own record, the peers that we
 * talk to) is touched all the time, and so stays.
 */

import { NotFoundError } from "@libp2p/interface";
import type { Libp2pOptions } from "libp2p";

type Datastore = NonNullable<Libp2pOptions["datastore"]>;
type Key = Parameters<Datastore["get"]>[0];
type Pair = { readonly key: Key; readonly value: Uint8Array };
type Query = Parameters<Datastore["query"]>[0];
type KeyQuery = Parameters<Datastore["queryKeys"]>[0];
type Source<T> = Iterable<T> | AsyncIterable<T>;

/** What an entry costs besides its bytes. */
const ENTRY_SIZE_BYTES = 256;

/** A datastore in memory that forgets. */
export class BoundedDatastore implements Datastore {
  readonly #bytesMax: number;
  readonly #entries = new Map<string, Pair>();
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** What is held, with its overhead. */
  get bytes(): number {
    return this.#bytes;
  }

  put(key: Key, value: Uint8Array): Key {
    this.delete(key);
    this.#entries.set(key.toString(), { key, value });
    this.#bytes += costOf({ key, value });
    for (const oldest of this.#entries.values()) {
      if (this.#bytes <= this.#bytesMax) break;
      this.delete(oldest.key);
    }
    return key;
  }

  get(key: Key): Uint8Array {
    const name = key.toString();
    const pair = this.#entries.get(name);
    // The port wants this very error: absence is an exception there.
    if (pair === undefined) throw new NotFoundError();
    this.#entries.delete(name);
    this.#entries.set(name, pair);
    return pair.value;
  }

  has(key: Key): boolean {
    return this.#entries.has(key.toString());
  }

  delete(key: Key): void {
    const pair = this.#entries.get(key.toString());
    if (pair === undefined) return;
    this.#entries.delete(key.toString());
    this.#bytes -= costOf(pair);
  }

  async *putMany(source: Source<Pair>): AsyncGenerator<Key> {
    for await (const { key, value } of source) yield this.put(key, value);
  }

  async *getMany(source: Source<Key>): AsyncGenerator<Pair> {
    for await (const key of source) yield { key, value: this.get(key) };
  }

  async *deleteMany(source: Source<Key>): AsyncGenerator<Key> {
    for await (const key of source) {
      this.delete(key);
      yield key;
    }
  }

  batch(): ReturnType<Datastore["batch"]> {
    const acts: (() => void)[] = [];
    return {
      put: (key, value) => void acts.push(() => void this.put(key, value)),
      delete: (key) => void acts.push(() => this.delete(key)),
      commit: async () => {
        for (const act of acts.splice(0)) act();
      },
    };
  }

  *query(query: Query): Generator<Pair> {
    const pairs = [...this.#entries.values()].filter(
      ({ key, value }) =>
        key.toString().startsWith(query.prefix ?? "") && (query.filters ?? []).every((filter) => filter({ key, value })),
    );
    for (const order of query.orders ?? []) pairs.sort(order);
    yield* pairs.slice(query.offset ?? 0, (query.offset ?? 0) + (query.limit ?? pairs.length));
  }

  *queryKeys(query: KeyQuery): Generator<Key> {
    const keys = [...this.#entries.values()]
      .map(({ key }) => key)
      .filter((key) => key.toString().startsWith(query.prefix ?? "") && (query.filters ?? []).every((filter) => filter(key)));
    for (const order of query.orders ?? []) keys.sort(order);
    yield* keys.slice(query.offset ?? 0, (query.offset ?? 0) + (query.limit ?? keys.length));
  }
}

function costOf({ key, value }: Pair): number {
  return ENTRY_SIZE_BYTES + key.toString().length + value.length;
}
