/** What every store must do, as one suite: each adapter runs it. */

import fc from "fast-check";
import type { Test } from "tap";
import { compareBytes, toHex, utf8 } from "../../../crypto/base/bytes.ts";
import { codeOf } from "../../../crypto/base/error.ts";
import type { Store, StoreEntry, StoreOperation, StoreRange, StoreReader } from "../store.ts";
import { drawnSeed } from "../../../crypto/testing/property.ts";

const SEED = drawnSeed();

/**
 * Runs the suite.
 *
 * @param open - opens a new, empty store each time; the suite closes it
 */
export async function storeConformance(t: Test, open: () => Promise<Store>): Promise<void> {
  t.test("a value that was put is read back, and a missing one is undefined", async (t) => {
    await using store = await open();
    await store.write([put("a", "1"), put("b", "")], { sync: true });
    t.equal(text(store.get(utf8("a"))), "1");
    t.equal(text(store.get(utf8("b"))), "", "an empty value is a value");
    t.equal(store.get(utf8("c")), undefined);
    t.equal(store.get(utf8("")), undefined);
    t.same(store.getMany([utf8("b"), utf8("c"), utf8("a"), utf8("a")]).map(text), ["", undefined, "1", "1"]);
    t.same(store.getMany([]), []);
  });

  t.test("the operations of a batch take effect in their order", async (t) => {
    await using store = await open();
    await store.write([put("a", "1"), put("a", "2"), put("b", "1"), remove("b"), remove("c"), put("c", "1")], { sync: false });
    t.same(await all(store, {}), ["a=2", "c=1"]);
    await store.write([], { sync: true });
    t.same(await all(store, {}), ["a=2", "c=1"], "an empty batch changes nothing");
  });

  t.test("writes take effect in the order of the calls, also when nobody waits between them", async (t) => {
    await using store = await open();
    const writes: Promise<void>[] = [];
    for (let value = 0; value < 200; value += 1) {
      writes.push(
        store.write([put("a", `${value}`), put(`k${value}`, "x".repeat(value % 7 === 0 ? 50_000 : 1))], { sync: false }),
      );
    }
    await Promise.all(writes);
    t.equal(text(store.get(utf8("a"))), "199");
  });

  t.test("a batch is seen whole or not at all", async (t) => {
    await using store = await open();
    await store.write([put("a", "0"), put("z", "0")], { sync: false });
    const writing = store.write(
      [put("a", "1"), ...Array.from({ length: 5000 }, (_, index) => put(`m${index}`, "x")), put("z", "1")],
      { sync: false },
    );
    using snapshot = store.snapshot();
    t.equal(text(snapshot.get(utf8("a"))), text(snapshot.get(utf8("z"))));
    await writing;
    t.equal(text(store.get(utf8("a"))), "1");
    t.equal(text(store.get(utf8("z"))), "1");
  });

  t.test("what the caller does with its arrays after a write changes nothing", async (t) => {
    await using store = await open();
    const [key, value] = [utf8("key"), utf8("value")];
    await store.write([{ kind: "put", key, value }], { sync: false });
    key.fill(0);
    value.fill(0);
    const read = store.get(utf8("key"));
    t.equal(text(read), "value");
    read?.slice().fill(0);
    t.equal(text(store.get(utf8("key"))), "value", "and a slice of what was read is a copy");
  });

  t.test("keys and values may lie anywhere in a buffer", async (t) => {
    await using store = await open();
    const { buffer } = utf8("k0v0k1v1k2");
    const part = (at: number, length: number): Uint8Array => new Uint8Array(buffer, at, length);
    await store.write(
      [
        { kind: "put", key: part(0, 2), value: part(2, 2) },
        { kind: "put", key: part(4, 2), value: part(6, 2) },
        { kind: "put", key: part(8, 2), value: part(10, 0) },
      ],
      { sync: false },
    );
    t.same(
      ["k0", "k1", "k2"].map((key) => text(store.get(utf8(key)))),
      ["v0", "v1", ""],
    );
  });

  t.test("keys sort bytewise, as unsigned bytes, a prefix before what extends it", async (t) => {
    await using store = await open();
    const keys = ["", "00", "0000", "00ff", "01", "7f", "80", "80ff", "ff", "ff00", "ffff"];
    await store.write(
      keys.toReversed().map((key) => ({ kind: "put", key: Buffer.from(key, "hex"), value: utf8(key) })),
      { sync: false },
    );
    t.same(await values(store, {}), keys);
    t.same(await values(store, { reverse: true }), keys.toReversed());
  });

  t.test("a range holds its first key and not its last", async (t) => {
    await using store = await open();
    await store.write(
      ["a", "b", "c", "d"].map((key) => put(key, key)),
      { sync: false },
    );
    const range = async (from: string | undefined, to: string | undefined, rest: StoreRange = {}) =>
      await values(store, {
        ...(from === undefined ? {} : { from: utf8(from) }),
        ...(to === undefined ? {} : { to: utf8(to) }),
        ...rest,
      });
    t.same(await range("b", "d"), ["b", "c"]);
    t.same(await range("b", "d", { reverse: true }), ["c", "b"]);
    t.same(await range("b", undefined), ["b", "c", "d"]);
    t.same(await range(undefined, "b"), ["a"]);
    t.same(await range("bb", "cc"), ["c"], "bounds need not be keys");
    t.same(await range("b", "b"), []);
    t.same(await range("d", "b"), [], "a range that ends before it begins is empty");
    t.same(await range(undefined, undefined, { limit: 2 }), ["a", "b"]);
    t.same(await range(undefined, undefined, { limit: 2, reverse: true }), ["d", "c"]);
    t.same(await range("b", undefined, { limit: 0 }), []);
    t.same(await range("e", undefined), []);
  });

  t.test("an iteration sees the moment of the call, across chunks and through later writes", async (t) => {
    await using store = await open();
    const keys = Array.from({ length: 3000 }, (_, index) => `k${String(index).padStart(5, "0")}`);
    await store.write(
      keys.map((key) => put(key, "old")),
      { sync: false },
    );
    const entries = store.entries({});
    const first = await entries.next();
    t.equal(text(first.value?.key), keys[0]);
    await store.write([...keys.map((key) => put(key, "new")), put("l", "new"), remove(keys[2999] as string)], { sync: false });
    let count = 1;
    for await (const { value } of entries) if (text(value) === "old") count += 1;
    t.equal(count, 3000);
    t.equal((await all(store, {})).filter((row) => row.endsWith("=new")).length, 3000);
  });

  t.test("an iteration that is left early lets the store close", async (t) => {
    const store = await open();
    await store.write(
      Array.from({ length: 2000 }, (_, index) => put(`${index}`, "")),
      { sync: false },
    );
    for await (const { key } of store.entries({})) if (text(key) === "1") break;
    const unused = store.entries({});
    await store[Symbol.asyncDispose]();
    await t.rejects(unused.next(), { code: "store_closed" });
  });

  t.test("a snapshot stays as it was", async (t) => {
    await using store = await open();
    await store.write([put("a", "1"), put("b", "1")], { sync: false });
    const snapshot = store.snapshot();
    await store.write([put("a", "2"), remove("b"), put("c", "2")], { sync: false });
    t.same(await all(snapshot, {}), ["a=1", "b=1"]);
    t.equal(text(snapshot.get(utf8("a"))), "1");
    t.same(snapshot.getMany([utf8("b"), utf8("c")]).map(text), ["1", undefined]);
    t.same(await all(store, {}), ["a=2", "c=2"]);
    snapshot[Symbol.dispose]();
    t.throws(() => snapshot.get(utf8("a")), { message: /released snapshot/ });
    t.doesNotThrow(() => snapshot[Symbol.dispose](), "releasing twice is releasing once");
    t.equal(text(store.get(utf8("a"))), "2");
  });

  t.test("a snapshot and an iteration keep their large values, whatever is written over them and compacted away", async (t) => {
    await using store = await open();
    const large = (name: string, version: number): StoreOperation => ({
      kind: "put",
      key: utf8(name),
      value: new Uint8Array(50_000).fill(version),
    });
    const names = ["a", "b", "c"];
    const versions = async (reader: AsyncIterable<StoreEntry>): Promise<string[]> => {
      const found: string[] = [];
      for await (const { key, value } of reader) found.push(`${text(key)}${value.length}:${value[0]}-${value.at(-1)}`);
      return found;
    };
    const first = ["a50000:1-1", "b50000:1-1", "c50000:1-1"];
    await store.write(
      names.map((name) => large(name, 1)),
      { sync: false },
    );
    using snapshot = store.snapshot();
    const iteration = store.entries({});
    for (let version = 2; version < 20; version += 1)
      await store.write([large("a", version), large("b", version), remove("c")], { sync: version % 5 === 0 });
    await store.compact([
      { from: utf8("a"), to: utf8("c") },
      { from: utf8("c"), to: utf8("d") },
    ]);
    t.same(await versions(iteration), first);
    t.same(await versions(snapshot.entries({})), first);
    t.equal(snapshot.get(utf8("c"))?.length, 50_000);
    t.same(await versions(store.entries({})), ["a50000:19-19", "b50000:19-19"]);
    t.equal(store.get(utf8("c")), undefined);
  });

  t.test("clearing a range deletes it and nothing beside it", async (t) => {
    await using store = await open();
    await store.write(
      Array.from({ length: 3000 }, (_, index) => put(`b${index}`, "")),
      { sync: false },
    );
    await store.write([put("a", "1"), put("c", "1"), put("b", "1")], { sync: false });
    await store.clear({ from: utf8("b"), to: utf8("c") });
    t.same(await all(store, {}), ["a=1", "c=1"]);
    await store.clear({});
    t.same(await all(store, {}), []);
    await store.write([put("", "1")], { sync: false });
    await store.clear({ from: utf8("a") });
    t.same(await all(store, {}), ["=1"]);
    await store.clear({});
    t.same(await all(store, {}), [], "an empty key that is alone in its range is deleted too");
  });

  t.test("a closed store refuses with store_closed, and closing waits for the writes before it", async (t) => {
    const store = await open();
    const writing = store.write(
      Array.from({ length: 1000 }, (_, index) => put(`${index}`, "x")),
      { sync: true },
    );
    await Promise.all([store[Symbol.asyncDispose](), t.resolves(writing)]);
    t.equal(
      thrownCode(() => store.get(utf8("a"))),
      "store_closed",
    );
    t.equal(
      thrownCode(() => store.getMany([utf8("a")])),
      "store_closed",
    );
    t.equal(
      thrownCode(() => store.snapshot()),
      "store_closed",
    );
    await t.rejects(store.write([put("a", "1")], { sync: false }), { code: "store_closed" });
    await t.rejects(store.clear({}), { code: "store_closed" });
    await t.rejects(store.sizeBytes(), { code: "store_closed" });
    await t.resolves(async () => await store[Symbol.asyncDispose](), "closing twice is closing once");
  });

  t.test("the size grows with what is in it", async (t) => {
    await using store = await open();
    const before = await store.sizeBytes();
    await store.write(
      Array.from({ length: 100 }, (_, index) => put(`${index}`, "x".repeat(1000))),
      { sync: true },
    );
    t.ok((await store.sizeBytes()) >= before + 10_000, `from ${before} bytes`);
  });

  t.test("any sequence of batches leaves what a sorted map holds", async (t) => {
    await using store = await open();
    const key = fc.uint8Array({ minLength: 0, maxLength: 3 });
    // Large ones too, which a store may keep elsewhere.
    const value = fc.oneof(
      { weight: 19, arbitrary: fc.uint8Array({ maxLength: 4 }) },
      { weight: 1, arbitrary: fc.nat(20).map((number) => new Uint8Array(4_090 + number).fill(number)) },
    );
    const operation: fc.Arbitrary<StoreOperation> = fc.oneof(
      { weight: 3, arbitrary: fc.record({ kind: fc.constant("put" as const), key, value }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("delete" as const), key }) },
    );
    const range = fc.record(
      { from: key, to: key, reverse: fc.boolean(), limit: fc.nat(40) },
      { requiredKeys: [] },
    ) as fc.Arbitrary<StoreRange>;
    const batches = fc.array(fc.array(operation, { maxLength: 300 }), { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(batches, fc.array(range, { maxLength: 4 }), async (batches, ranges) => {
        await store.clear({});
        const model = new Map<string, StoreEntry>();
        for (const operations of batches) {
          await store.write(operations, { sync: false });
          for (const one of operations) {
            if (one.kind === "put") model.set(toHex(one.key), one);
            else model.delete(toHex(one.key));
          }
        }
        for (const one of [{}, ...ranges]) {
          const expected = modelEntries(model, one).map(hexEntry);
          const got: string[] = [];
          for await (const entry of store.entries(one)) got.push(hexEntry(entry));
          if (got.join() !== expected.join())
            throw new Error(`range ${JSON.stringify(one)}: got ${got.join()}, want ${expected.join()}`);
        }
      }),
      { seed: SEED, numRuns: 60 },
    );
    t.pass(`seed ${SEED}`);
  });
}

function modelEntries(model: ReadonlyMap<string, StoreEntry>, { from, to, reverse, limit }: StoreRange): StoreEntry[] {
  const sorted = [...model.values()].sort((a, b) => compareBytes(a.key, b.key));
  const inside = sorted.filter(
    ({ key }) => (from === undefined || compareBytes(key, from) >= 0) && (to === undefined || compareBytes(key, to) < 0),
  );
  return (reverse === true ? inside.reverse() : inside).slice(0, limit);
}

function hexEntry({ key, value }: StoreEntry): string {
  return `${toHex(key)}=${toHex(value)}`;
}

function put(key: string, value: string): StoreOperation {
  return { kind: "put", key: utf8(key), value: utf8(value) };
}

function remove(key: string): StoreOperation {
  return { kind: "delete", key: utf8(key) };
}

function text(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : Buffer.from(bytes).toString();
}

async function all(reader: StoreReader, range: StoreRange): Promise<string[]> {
  const rows: string[] = [];
  for await (const { key, value } of reader.entries(range)) rows.push(`${text(key)}=${text(value)}`);
  return rows;
}

async function values(reader: StoreReader, range: StoreRange): Promise<(string | undefined)[]> {
  const found: (string | undefined)[] = [];
  for await (const { value } of reader.entries(range)) found.push(text(value));
  return found;
}

function thrownCode(action: () => unknown): string {
  try {
    action();
    return "nothing thrown";
  } catch (error) {
    return codeOf(error);
  }
}
