/** The tree against a naive one: roots, reads, history, pruning, and what a crash leaves. */

import fc from "fast-check";
import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { compareBytes, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { codeOf } from "../../crypto/base/error.ts";
import { type Height, heightOf } from "../block/height.ts";
import { openMemoryStore } from "../store/memory.ts";
import type { Store, StoreEntry } from "../store/store.ts";
import { Arena } from "./arena.ts";
import { bitAt, branchBit, stemOf } from "./bits.ts";
import { encodeChunk, hollow, readSlot, slotCount } from "./chunk.ts";
import { chunkKey, chunkOf, rangeOf, STATE_PREFIX } from "./layout.ts";
import { Page } from "./page.ts";
import { parseRoot, parseStale, parseWorn, encodeRoot, encodeWorn } from "./record.ts";
import { StateTree, type StateUpdate } from "./tree.ts";
import { anyKey, batchOf, chainKey, commit, commitAll, denseKey, rewrites, tableKey } from "./testing/keys.ts";
import { slotAt, slotsOf, slotsOfVersion, versionsOf } from "./testing/slots.ts";
import { bitString, NaiveMap, naiveRoot } from "./testing/naive.ts";
import { drawnSeed } from "../../crypto/testing/property.ts";

const SEED = drawnSeed();
t.comment(`seed ${SEED}`);
const many = (numRuns: number): fc.Parameters<unknown> => ({ seed: SEED, numRuns });

const version = (number: number): Height => heightOf(BigInt(number));
const put = (key: string, value: string): StateUpdate => ({ key: utf8(key), value: utf8(value) });
const drop = (key: string): StateUpdate => ({ key: utf8(key), value: undefined });

/** A fixed sequence of pseudo-random numbers, for shapes too large for a property. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state;
  };
}

function randomKey(next: () => number, size = 16): Uint8Array {
  return Uint8Array.from({ length: size }, () => next() >>> 24);
}

/** Everything a version answers, compared with the oracle. */
function checkVersion(tree: StateTree, at: Height, map: NaiveMap, message: string): void {
  const rows = map.rows();
  t.equal(toHex(present(tree.rootAt(at), "root")), toHex(map.root()), `${message}: root`);
  t.same([...tree.entries(at)], rows, `${message}: rows`);
  t.same([...tree.entries(at, { reverse: true })], rows.toReversed(), `${message}: rows reversed`);
  t.same(
    tree.getMany(
      at,
      rows.map(({ key }) => key),
    ),
    rows.map(({ value }) => value),
    `${message}: values`,
  );
  t.equal(tree.audit(at), undefined, `${message}: audit`);
}

async function allOf(store: Store): Promise<StoreEntry[]> {
  const entries: StoreEntry[] = [];
  for await (const entry of store.entries({})) entries.push(entry);
  return entries;
}

async function keysOf(store: Store, kind: keyof typeof STATE_PREFIX): Promise<number> {
  let count = 0;
  for await (const _ of store.entries({ from: Uint8Array.of(STATE_PREFIX[kind]), to: Uint8Array.of(STATE_PREFIX[kind] + 1) }))
    count += 1;
  return count;
}

t.test("bits order keys as bytes do, and find where two keys part", async () => {
  fc.assert(
    fc.property(anyKey, anyKey, (a, b) => {
      const [left, right] = [bitString(a), bitString(b)];
      let bit = 0;
      while (bit < left.length && left[bit] === right[bit]) bit += 1;
      t.equal(Math.sign(compareBytes(a, b)), left < right ? -1 : left > right ? 1 : 0);
      if (left === right) return branchBit(a, b) === -1;
      t.equal(bitAt(a, bit), Number(left[bit]));
      t.equal(bitAt(a, left.length), undefined, "there is no bit past the end");
      t.equal(branchBit(stemOf(a, bit + 1), stemOf(b, bit + 1)) <= bit, true);
      return branchBit(a, b) === bit;
    }),
    many(300),
  );
});

t.test("the root of any rows, whatever order and batches they came in, is the naive one", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(batchOf(anyKey, 40), { minLength: 1, maxLength: 6 }), async (batches) => {
      const store = openMemoryStore();
      const tree = await StateTree.open(store);
      const maps = await commitAll(tree, store, batches);
      const last = present(maps.at(-1), "map");
      if (toHex(present(tree.rootAt(version(batches.length)), "root")) !== toHex(last.root())) return false;
      const again = await StateTree.open(openMemoryStore());
      return toHex(again.stage(undefined, version(1), last.rows().toReversed()).root) === toHex(last.root());
    }),
    many(150),
  );
});

t.test("every kept version answers as it did, after later ones, after a reopening, after a prune of older ones", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(batchOf(denseKey, 60), { minLength: 4, maxLength: 8 }),
      fc.integer({ min: 1, max: 4 }),
      async (batches, keep) => {
        const store = openMemoryStore();
        const tree = await StateTree.open(store, { cacheSizeBytes: 2000 });
        const maps = await commitAll(tree, store, batches);
        await tree.prune(version(keep));
        for (const reader of [tree, await StateTree.open(store)]) {
          t.equal(reader.oldest(), BigInt(keep));
          for (let at = keep; at < maps.length; at += 1)
            checkVersion(reader, version(at), present(maps[at], "map"), `version ${at}`);
          t.equal(reader.rootAt(version(keep - 1)), undefined);
          t.throws(() => reader.get(version(keep - 1), utf8("a")), { code: "state_version_missing" });
        }
      },
    ),
    many(25),
  );
});

t.test(
  "pruning to the last version leaves what a fresh tree of its rows would take, within the half that chunks may be worn",
  async () => {
    const store = openMemoryStore();
    const tree = await StateTree.open(store);
    const next = randomNumbers(7);
    const keys = Array.from({ length: 2000 }, () => randomKey(next));
    await commit(
      tree,
      store,
      version(1),
      keys.map((key) => ({ key, value: new Uint8Array(100).fill(1) })),
    );
    for (let at = 2; at <= 120; at += 1) {
      const updates = new Map(
        Array.from({ length: 100 }, () => keys[next() % keys.length] as Uint8Array).map((key) => [toHex(key), key]),
      );
      await commit(
        tree,
        store,
        version(at),
        [...updates.values()].map((key) => ({ key, value: new Uint8Array(100).fill(at) })),
      );
    }
    const before = await store.sizeBytes();
    await tree.prune(version(60));
    await tree.prune(version(120));
    const fresh = openMemoryStore();
    const rows = [...tree.entries(version(120))];
    await commit(await StateTree.open(fresh), fresh, version(1), rows);
    const after = await store.sizeBytes();
    t.ok(after < 2.5 * (await fresh.sizeBytes()), `${before} bytes, pruned ${after}, fresh ${await fresh.sizeBytes()}`);
    t.equal(toHex(present(tree.rootAt(version(120)), "root")), toHex(naiveRoot(rows)));
    t.equal(tree.audit(version(120)), undefined);
    // Delete everything, prune: nothing may be left but the root record.
    await commit(
      tree,
      store,
      version(121),
      rows.map(({ key }) => ({ key, value: undefined })),
    );
    await tree.prune(version(121));
    t.equal(await keysOf(store, "chunk"), 0, "no chunk is left");
    t.equal(await keysOf(store, "worn"), 0, "no worn record is left");
    t.equal(await keysOf(store, "stale"), 0, "no stale list is left");
    t.equal(await keysOf(store, "root"), 1, "one root is left");
  },
);

t.test("after any prunes, what the store holds is what the kept versions need, and all of them hold", async () => {
  let deltas = 0;
  const history = rewrites({ minLength: 6, maxLength: 14 }).chain((batches) =>
    fc.tuple(fc.constant(batches), fc.array(fc.boolean(), { minLength: batches.length, maxLength: batches.length }), fc.nat(4)),
  );
  await fc.assert(
    fc.asyncProperty(history, async ([batches, prunes, keep]) => {
      const store = openMemoryStore();
      const tree = await StateTree.open(store, { cacheSizeBytes: 3000 });
      let map = new NaiveMap();
      const maps = [map];
      for (const [index, batch] of batches.entries()) {
        await commit(tree, store, version(index + 1), batch);
        maps.push((map = map.with(batch)));
        if (prunes[index] !== true) continue;
        await tree.prune(version(Math.max(1, index + 1 - keep)));
        const versions = await versionsOf(store);
        const needed = new Set(versions.flatMap((at) => [...slotsOfVersion(store, at)]));
        t.same(
          await slotsOf(store),
          [...needed].toSorted((a, b) => a - b),
          `pruned at version ${index + 1}`,
        );
        deltas += [...needed].filter((slot) => (slotAt(store, slot)[0] ?? 0) >= 0x80).length;
        const reopened = await StateTree.open(store, { cacheSizeBytes: 0 });
        for (const at of versions) checkVersion(reopened, at, present(maps[Number(at)], "map"), `version ${at}`);
      }
    }),
    many(25),
  );
  t.ok(deltas > 100, `${deltas} slots began as deltas do`);
});

t.test("each place that a version leaves is in the stale list of one version", async () => {
  await fc.assert(
    fc.asyncProperty(rewrites({ minLength: 6, maxLength: 20 }), async (batches) => {
      const store = openMemoryStore();
      await commitAll(await StateTree.open(store), store, batches);
      const left: number[] = [];
      for await (const { value } of store.entries(rangeOf("stale"))) {
        const parsed = parseStale(value);
        if (parsed.ok) left.push(...parsed.value);
      }
      return new Set(left).size === left.length;
    }),
    many(50),
  );
});

t.test("a prune that is interrupted is finished by the next one", async () => {
  const store = openMemoryStore();
  const tree = await StateTree.open(store);
  const maps = await commitAll(
    tree,
    store,
    Array.from({ length: 6 }, (_, at) => Array.from({ length: 50 }, (__, row) => put(`row ${(row * 7 + at) % 90}`, `${at}`))),
  );
  const controller = new AbortController();
  controller.abort();
  await t.rejects(tree.prune(version(5), controller.signal));
  const reopened = await StateTree.open(store);
  await reopened.prune(version(6));
  checkVersion(reopened, version(6), present(maps[6], "map"), "after the second prune");
  t.equal(await keysOf(store, "stale"), 0);
});

t.test("several alternatives may be staged on one version, and all but one dropped", async () => {
  const store = openMemoryStore();
  const tree = await StateTree.open(store);
  const [, base] = await commitAll(tree, store, [[put("a", "1"), put("b", "1"), put("ab", "1")]]);
  const size = await store.sizeBytes();
  const dropped = tree.stage(version(1), version(2), [put("a", "dropped"), put("c", "dropped")]);
  const other = tree.stage(version(1), version(2), [drop("b"), drop("a")]);
  const kept = tree.stage(version(1), version(2), [put("b", "kept"), drop("a")]);
  t.equal(await store.sizeBytes(), size, "staging writes nothing");
  t.not(toHex(dropped.root), toHex(kept.root));
  t.not(toHex(other.root), toHex(kept.root));
  t.equal(
    toHex(tree.stage(version(1), version(2), [put("a", "dropped"), put("c", "dropped")]).root),
    toHex(dropped.root),
    "staging again gives the same",
  );
  await store.write(kept.operations, { sync: true });
  tree.adopt(kept);
  checkVersion(tree, version(2), present(base, "map").with([put("b", "kept"), drop("a")]), "kept");
  t.throws(() => tree.adopt(dropped), /adopted on 1/);
  t.throws(() => tree.stage(version(1), version(3), []), /staged on 1/);
});

t.test("a crash before the batch is written leaves the version before, after it the version itself", async () => {
  const store = openMemoryStore();
  const tree = await StateTree.open(store);
  const maps = await commitAll(tree, store, [[put("a", "1")], [put("b", "2"), drop("a")]]);
  const lost = tree.stage(version(2), version(3), [put("c", "3")]);
  const afterCrash = await StateTree.open(store);
  t.equal(afterCrash.latest(), 2n);
  checkVersion(afterCrash, version(2), present(maps[2], "map"), "version 2");
  t.equal(afterCrash.rootAt(version(3)), undefined);
  await store.write(lost.operations, { sync: true });
  const afterWrite = await StateTree.open(store);
  t.equal(afterWrite.latest(), 3n, "written and never adopted: it is there");
  checkVersion(afterWrite, version(3), present(maps[2], "map").with([put("c", "3")]), "version 3");
});

/** Begins to write a version and adopts it; `land` lets the batch into the store. */
function begin(tree: StateTree, store: Store, at: Height, updates: readonly StateUpdate[]) {
  const staged = tree.stage(tree.latest(), at, updates);
  const gate = Promise.withResolvers<void>();
  const written = gate.promise.then(async () => await store.write(staged.operations, { sync: true }));
  tree.adopt(staged, written);
  return {
    land: async (): Promise<void> => {
      gate.resolve();
      await written;
    },
    fail: (error: Error): void => gate.reject(error),
  };
}

t.test("two versions answer and are built upon while they are being written, and a crash leaves what is durable", async () => {
  // With no room for pages, all that is asked of the versions under way comes from their operations.
  const settings = fc.tuple(rewrites({ minLength: 3, maxLength: 6 }), fc.constantFrom(1, 1_000_000));
  await fc.assert(
    fc.asyncProperty(settings, async ([batches, cacheSizeBytes]) => {
      const store = openMemoryStore();
      const tree = await StateTree.open(store, { cacheSizeBytes });
      const maps = [new NaiveMap()];
      const checkLatest = (count: number, at: number, words: string): void => {
        for (let back = 0; back < count && at - back > 0; back += 1)
          checkVersion(tree, version(at - back), present(maps[at - back], "map"), `${words}, ${back} back`);
      };
      let landBefore = async (): Promise<void> => Promise.resolve();
      for (const [index, batch] of batches.entries()) {
        const at = index + 1;
        const map = present(maps[index], "map").with(batch);
        maps.push(map);
        const { land } = begin(tree, store, version(at), batch);
        checkLatest(3, at, "two under way");
        const next = tree.stage(version(at), version(at + 1), [put("next", `${index}`)]);
        t.equal(toHex(next.root), toHex(map.with([put("next", `${index}`)]).root()), "the one after");
        t.equal((await StateTree.open(store)).latest(), at < 3 ? undefined : version(at - 2), "after a crash");
        await landBefore();
        checkLatest(3, at, "one under way");
        if (at > 1) checkVersion(await StateTree.open(store), version(at - 1), present(maps[at - 1], "map"), "durable");
        landBefore = land;
      }
      await landBefore();
      await tree.prune(version(batches.length));
      checkVersion(tree, version(batches.length), present(maps.at(-1), "map"), "pruned");
    }),
    many(20),
  );
});

t.test("two versions are under way at most, and nothing follows one that could not be written", async () => {
  const store = openMemoryStore();
  const tree = await StateTree.open(store);
  await commit(tree, store, version(1), [put("a", "1")]);
  const second = begin(tree, store, version(2), [put("a", "2")]);
  const { land: landThird } = begin(tree, store, version(3), [put("a", "3")]);
  const fourth = tree.stage(version(3), version(4), [put("a", "4")]);
  t.throws(() => tree.adopt(fourth, Promise.resolve()), /more than 2 versions are under way/);
  for (const { land } of [{ land: async () => undefined }, second]) {
    await land();
    await t.rejects(tree.prune(version(2)), /pruned while a version is being written/);
    await t.rejects(tree.rollback(version(1)), /rolled back while a version is being written/);
  }
  await landThird();
  const { fail } = begin(tree, store, version(4), [put("a", "4")]);
  const fifth = tree.stage(version(4), version(5), [put("a", "5")]);
  fail(new Error("no space left"));
  await new Promise(setImmediate);
  t.throws(() => tree.adopt(fifth), /no space left/);
  t.throws(() => tree.adopt(fifth, Promise.resolve()), /no space left/);
  t.equal((await StateTree.open(store)).latest(), 3n);
});

t.test("a rollback forgets later versions, and another history follows", async () => {
  const store = openMemoryStore();
  const tree = await StateTree.open(store);
  const maps = await commitAll(tree, store, [[put("a", "1"), put("b", "1")], [put("a", "2")], [put("a", "3"), drop("b")]]);
  await tree.rollback(version(2));
  t.equal(tree.latest(), 2n);
  t.equal(tree.rootAt(version(3)), undefined);
  await commit(tree, store, version(3), [put("a", "other")]);
  for (const reader of [tree, await StateTree.open(store)]) {
    checkVersion(reader, version(2), present(maps[2], "map"), "version 2");
    checkVersion(reader, version(3), present(maps[2], "map").with([put("a", "other")]), "the other version 3");
  }
  await t.rejects(tree.rollback(version(9)), { code: "state_version_missing" });
});

t.test("a rollback to any version leaves its deltas whole, and what follows is as without the detour", async () => {
  const history = fc.tuple(rewrites({ minLength: 4, maxLength: 12 }), fc.nat(100), batchOf(denseKey, 8));
  await fc.assert(
    fc.asyncProperty(history, async ([batches, where, other]) => {
      const store = openMemoryStore();
      const tree = await StateTree.open(store, { cacheSizeBytes: 3000 });
      const maps = await commitAll(tree, store, batches);
      const back = 1 + (where % batches.length);
      await tree.rollback(version(back));
      await commit(tree, store, version(back + 1), other);
      const straight = openMemoryStore();
      const straightTree = await StateTree.open(straight);
      await commitAll(straightTree, straight, [...batches.slice(0, back), other]);
      const map = present(maps[back], "map");
      for (const reader of [tree, await StateTree.open(store, { cacheSizeBytes: 0 })]) {
        checkVersion(reader, version(back), map, `version ${back}`);
        checkVersion(reader, version(back + 1), map.with(other), `version ${back + 1}`);
      }
      t.same(await allOf(store), await allOf(straight), "byte for byte");
    }),
    many(20),
  );
});

t.test("ranges, limits and the reverse order read what the oracle says", async () => {
  await fc.assert(
    fc.asyncProperty(
      batchOf(anyKey, 80),
      fc.option(anyKey, { nil: undefined }),
      fc.option(anyKey, { nil: undefined }),
      fc.integer({ min: 0, max: 20 }),
      async (batch, from, to, limit) => {
        const store = openMemoryStore();
        const tree = await StateTree.open(store);
        const [, map] = await commitAll(tree, store, [batch]);
        const rows = present(map, "map").rows({ from, to });
        t.same([...tree.entries(version(1), { from, to })], rows);
        t.same([...tree.entries(version(1), { from, to, limit })], rows.slice(0, limit));
        t.same([...tree.entries(version(1), { from, to, limit, reverse: true })], rows.toReversed().slice(0, limit));
      },
    ),
    many(100),
  );
});

t.test("ten thousand rows come and go in large and small batches", async () => {
  const store = openMemoryStore();
  const tree = await StateTree.open(store, { cacheSizeBytes: 100_000 });
  const next = randomNumbers(11);
  const held = new Map<string, { key: Uint8Array; value: Uint8Array }>();
  let at = 0;
  for (const [inserts, deletes] of [
    [10_000, 0],
    [10, 500],
    [1, 1],
    [500, 6000],
    [0, 2000],
    [3000, 100],
  ] as const) {
    const updates = new Map<string, StateUpdate>();
    for (let index = 0; index < inserts; index += 1) {
      const key = randomKey(next, 1 + ((next() >>> 24) % 20));
      updates.set(toHex(key), { key, value: randomKey(next, 8) });
    }
    for (const [name, { key }] of [...held].slice(0, deletes)) updates.set(name, { key, value: undefined });
    at += 1;
    await commit(tree, store, version(at), [...updates.values()]);
    for (const [name, { key, value }] of updates)
      if (value === undefined) held.delete(name);
      else held.set(name, { key, value });
    const rows = [...held.values()].toSorted((a, b) => compareBytes(a.key, b.key));
    t.equal(toHex(present(tree.rootAt(version(at)), "root")), toHex(naiveRoot(rows)), `version ${at}, ${rows.length} rows`);
    t.equal(tree.audit(version(at)), undefined);
  }
  // The fourth version alone made far more stale than one step of a prune takes.
  await tree.prune(version(at));
  t.equal(await keysOf(store, "stale"), 0);
  t.equal(tree.audit(version(at)), undefined, "pruned in many steps");
});

t.test("the deepest tree that keys allow neither overflows a stack nor loses a row", async () => {
  const store = openMemoryStore();
  const tree = await StateTree.open(store);
  // One key parts from the longest one at each of its bits: a path of thousands of nodes.
  const longest = new Uint8Array(1024).fill(0xff);
  const updates: StateUpdate[] = [{ key: longest, value: utf8("longest") }];
  for (let bit = 0; bit < 9 * 1024; bit += 1) {
    const key = bit % 9 === 0 ? longest.slice(0, bit / 9) : stemOf(longest, bit);
    if (key.length > 0) updates.push({ key, value: Uint8Array.of(bit & 0xff) });
  }
  await commit(tree, store, version(1), updates);
  await commit(tree, store, version(2), [
    { key: longest, value: utf8("changed") },
    { key: Uint8Array.of(1), value: utf8("new") },
  ]);
  t.same(tree.get(version(2), longest), utf8("changed"));
  t.same(tree.get(version(1), longest), utf8("longest"));
  t.equal([...tree.entries(version(2))].length, updates.length + 1);
  t.equal(tree.audit(version(2)), undefined);
});

t.test("empty values, no updates, repeated writes and absent deletes do what they say", async () => {
  const store = openMemoryStore();
  const tree = await StateTree.open(store);
  await commit(tree, store, version(0), []);
  t.equal(toHex(present(tree.rootAt(version(0)), "root")), toHex(naiveRoot([])), "the root of no rows");
  t.same([...tree.entries(version(0))], []);
  await commit(tree, store, version(1), [{ key: utf8("k"), value: new Uint8Array(0) }]);
  t.same(tree.get(version(1), utf8("k")), new Uint8Array(0), "an empty value is a value");
  t.equal(tree.get(version(1), utf8("other")), undefined);
  const same = tree.stage(version(1), version(2), [{ key: utf8("k"), value: new Uint8Array(0) }, drop("absent")]);
  t.equal(toHex(same.root), toHex(present(tree.rootAt(version(1)), "root")));
  t.equal(same.operations.length, 1, "only a root record is written");
  t.throws(() => tree.stage(version(1), version(2), [{ key: new Uint8Array(0), value: utf8("v") }]), /key of 0 bytes/);
  t.throws(() => tree.stage(version(1), version(2), [{ key: new Uint8Array(1025), value: utf8("v") }]), /key of 1025 bytes/);
  t.throws(() => tree.stage(version(1), version(2), [put("k", "1"), put("k", "2")]), /a key is updated twice/);
});

t.test("damage on disk is found, with a code", async () => {
  const store = openMemoryStore();
  await commitAll(await StateTree.open(store), store, [
    Array.from({ length: 100 }, (_, row) => put(`row ${row}`, "v".repeat(row))),
  ]);
  const damaged: string[] = [];
  for await (const { key, value } of store.entries({
    from: Uint8Array.of(STATE_PREFIX.chunk),
    to: Uint8Array.of(STATE_PREFIX.chunk + 1),
  })) {
    for (let offset = 0; offset < value.length; offset += 97) {
      const copy = value.slice();
      copy[offset] = (copy[offset] as number) ^ 1;
      await store.write([{ kind: "put", key, value: copy }], { sync: false });
      const tree = await StateTree.open(store);
      try {
        damaged.push(tree.audit(version(1))?.code ?? "accepted");
      } catch (error) {
        damaged.push(codeOf(error));
      }
    }
    await store.write([{ kind: "put", key, value }], { sync: false });
  }
  t.ok(damaged.length > 50, `${damaged.length} places`);
  // The location of a value may be changed to that of another: then the value's hash betrays it.
  t.same([...new Set(damaged)].toSorted(), ["state_corrupt", "state_hash_mismatch"]);
});

t.test("damage to a delta is found, and damage to what it is made from", async () => {
  const store = openMemoryStore();
  const tree = await StateTree.open(store);
  // No two values are equal: where a value lies may be changed to where its equal lies, and nobody is misled.
  const rows = Array.from({ length: 100 }, (_, row) => put(`row ${row}`, `${row}`));
  await commitAll(tree, store, [rows, [put("row 7", "v")], [put("row 7", "w"), put("row 50", "x")]]);
  const found = async (at: Height): Promise<string> => {
    try {
      return (await StateTree.open(store)).audit(at)?.code ?? "accepted";
    } catch (error) {
      return codeOf(error);
    }
  };
  let deltas = 0;
  for (const location of slotsOfVersion(store, version(3))) {
    const isDelta = (slotAt(store, location)[0] ?? 0) === 0x80;
    deltas += Number(isDelta);
    const key = chunkKey(chunkOf(location));
    const chunk = present(store.get(key), "chunk");
    const from = slotAt(store, location).byteOffset - chunk.byteOffset;
    for (let offset = 0; offset < slotAt(store, location).length; offset += isDelta ? 1 : 13) {
      const copy = chunk.slice();
      copy[from + offset] = (copy[from + offset] as number) ^ 1;
      await store.write([{ kind: "put", key, value: copy }], { sync: false });
      const results = isDelta ? [await found(version(3))] : [await found(version(1)), await found(version(3))];
      t.ok(
        results.some((code) => code === "state_corrupt" || code === "state_hash_mismatch"),
        `byte ${offset} at ${location}: ${results.join(", ")}`,
      );
    }
    await store.write([{ kind: "put", key, value: chunk }], { sync: false });
  }
  t.ok(deltas > 1, `${deltas} deltas`);
  t.equal(await found(version(3)), "accepted", "as it was");
});

t.test("a store from before there were deltas, with whole pages only, is read and changed", async () => {
  const store = openMemoryStore();
  const rows = Array.from({ length: 300 }, (_, row) => put(`row ${row}`, "v"));
  await commitAll(await StateTree.open(store), store, [rows]);
  t.notOk(
    [...slotsOfVersion(store, version(1))].some((slot) => slotAt(store, slot)[0] === 0x80),
    "none of them is a delta",
  );
  const tree = await StateTree.open(store);
  await commit(tree, store, version(2), [put("row 1", "w")]);
  t.ok(
    [...slotsOfVersion(store, version(2))].some((slot) => slotAt(store, slot)[0] === 0x80),
    "now one is",
  );
  const map = new NaiveMap().with(rows);
  for (const reader of [tree, await StateTree.open(store)]) {
    checkVersion(reader, version(1), map, "version 1");
    checkVersion(reader, version(2), map.with([put("row 1", "w")]), "version 2");
  }
});

t.test("stored bytes that were changed are refused or mean exactly themselves", async () => {
  const hash = naiveRoot([]);
  const arena = new Arena();
  const mutate = (bytes: Uint8Array, [where, what]: [number, number]): Uint8Array => {
    const copy = bytes.slice();
    if (copy.length > 0) copy[where % copy.length] = what;
    return copy.subarray(0, what % 7 === 0 ? where % (copy.length + 1) : copy.length);
  };
  const change = fc.tuple(fc.nat(5000), fc.nat(255));
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.oneof(tableKey, denseKey, chainKey), { minLength: 2, maxLength: 16, selector: (key) => key.join() }),
      change,
      (keys, where) => {
        const sorted = keys.toSorted(compareBytes);
        const items = sorted.map((key) => ({ kind: "entry" as const, key, hash, location: 77 as never }));
        const page = Page.of(
          items,
          sorted.slice(1).map((key, index) => branchBit(sorted[index] as Uint8Array, key)),
          arena,
        );
        const parsed = Page.parse(mutate(page.bytes, where), arena);
        if (!parsed.ok) return parsed.error.code === "page_malformed";
        const { value } = parsed;
        const again = Page.of(
          Array.from({ length: value.count }, (_, index) => value.item(index)),
          Array.from({ length: value.count - 1 }, (_, index) => value.bit(index)),
          arena,
        );
        return toHex(again.bytes) === toHex(value.bytes);
      },
    ),
    many(1000),
  );
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 20 }), { minLength: 1, maxLength: 5 }), change, (slots, where) => {
      const bytes = mutate(encodeChunk(slots), where);
      for (let slot = 0; slot < Math.min(slotCount(bytes) + 1, 300); slot += 1) readSlot(bytes, slot);
      hollow(bytes, (slot) => slot % 2 === 0);
    }),
    many(1000),
  );
  fc.assert(
    fc.property(change, (where) => {
      const root = parseRoot(mutate(encodeRoot({ hash, location: 1234 as never, nextChunk: 99 }), where));
      const worn = parseWorn(mutate(encodeWorn({ slots: 20, hollowed: 3, worn: new Uint8Array(3) }), where));
      if (root.ok) t.equal(parseRoot(encodeRoot(root.value)).ok, true);
      if (worn.ok) t.equal(parseWorn(encodeWorn(worn.value)).ok, true);
    }),
    many(500),
  );
});
