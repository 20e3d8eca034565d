/** Pages in memory, in Rust and in TypeScript: the same versions, byte for byte, whatever came before and however little fits. */

import fc from "fast-check";
import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { compareBytes, EMPTY, toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { checkProperty } from "../../crypto/testing/property.ts";
import type { StoreOperation } from "../store/store.ts";
import { encodeChunk, readSlot, slotCount } from "./chunk.ts";
import { EMPTY_ROOT } from "./hashing.ts";
import { chunkKey, chunkOf, type Location, locationOf, readLocation, slotOf, writeLocation } from "./layout.ts";
import { NativePages } from "./native-pages.ts";
import type { StagedPages, StatePages } from "./pages.ts";
import { PortablePages } from "./portable-pages.ts";
import type { RootRecord } from "./record.ts";
import { anyKey, batchOf, denseKey, rewrites, tableKey } from "./testing/keys.ts";
import type { StateUpdate } from "./update.ts";

const NOTHING: RootRecord = { hash: EMPTY_ROOT, location: undefined, nextChunk: 0 };

/** Chunks by their keys, and how often they were asked for. */
class Chunks {
  readonly #chunks = new Map<string, Uint8Array>();
  reads = 0;

  write(operations: readonly StoreOperation[]): void {
    for (const operation of operations) if (operation.kind === "put") this.#chunks.set(toHex(operation.key), operation.value);
  }

  /** Makes a chunk of one slot. */
  put(location: Location, bytes: Uint8Array): void {
    this.#chunks.set(toHex(chunkKey(chunkOf(location))), encodeChunk([bytes]));
  }

  readSlot = (location: Location): Uint8Array => {
    this.reads += 1;
    const bytes = this.#chunks.get(toHex(chunkKey(chunkOf(location))));
    if (bytes === undefined) throw new CodedError("state_corrupt", { message: `no chunk for ${location}` });
    const slot = readSlot(bytes, slotOf(location));
    if (!slot.ok) throw new CodedError("state_corrupt", { message: `no slot ${location}` });
    return slot.value;
  };
}

/** Each implementation there is. */
function each(chunks: Chunks, sizeBytesMax = 1 << 20): readonly StatePages[] {
  const both = openBoth(chunks, sizeBytesMax);
  return both === undefined ? [new PortablePages({ readSlot: chunks.readSlot, sizeBytesMax })] : [both.native, both.portable];
}

/** The deltas among the slots of a version. Values here are of at most 40 bytes, and a delta is longer. */
function deltasOf({ operations }: StagedPages): (readonly [Location, Uint8Array])[] {
  return operations.flatMap((operation) => {
    if (operation.kind !== "put") return [];
    const chunk = Number(new DataView(operation.key.buffer, operation.key.byteOffset).getBigUint64(1));
    return Array.from({ length: slotCount(operation.value) }, (_, slot): readonly [Location, Uint8Array] => {
      const bytes = readSlot(operation.value, slot);
      return [locationOf(chunk, slot), bytes.ok ? bytes.value : EMPTY];
    }).filter(([, bytes]) => bytes.length > 40 && (bytes[0] as number) >= 0x80);
  });
}

function text({ root, operations, nextChunk, stale }: StagedPages): readonly string[] {
  const puts = operations.map((each) => `${each.kind} ${toHex(each.key)} ${each.kind === "put" ? toHex(each.value) : ""}`);
  return [`${toHex(root.hash)} ${root.location} ${nextChunk}`, ...puts, stale.join()];
}

function sorted(updates: readonly StateUpdate[]): readonly StateUpdate[] {
  return updates.toSorted((a, b) => compareBytes(a.key, b.key));
}

/** What a step does with a batch: make it the newest, make another of the same base, or begin with no page in memory. */
type Step = { readonly updates: readonly StateUpdate[]; readonly fate: "adopt" | "drop" | "clear" };

const stepOf = (key: fc.Arbitrary<Uint8Array>, lengthMax: number): fc.Arbitrary<Step> =>
  fc.record({
    updates: batchOf(key, lengthMax).map(sorted),
    fate: fc.constantFrom("adopt" as const, "adopt" as const, "adopt" as const, "drop" as const, "clear" as const),
  });

function openBoth(
  chunks: Chunks,
  sizeBytesMax = 1 << 20,
): { readonly native: StatePages; readonly portable: StatePages } | undefined {
  const options = { readSlot: chunks.readSlot, sizeBytesMax };
  const native = NativePages.open(options);
  return native === undefined ? undefined : { native, portable: new PortablePages(options) };
}

t.test("versions in Rust and in TypeScript have one root, and one form on disk", async (t) => {
  if (openBoth(new Chunks()) === undefined) return t.comment("there is no addon to compare");
  const steps = fc.oneof(
    fc.array(stepOf(anyKey, 60), { minLength: 1, maxLength: 8 }),
    fc.array(stepOf(denseKey, 200), { minLength: 1, maxLength: 4 }),
    fc.array(stepOf(tableKey, 120), { minLength: 2, maxLength: 5 }),
  );
  const property = fc.property(steps, fc.constantFrom(600, 5_000, 1 << 20), (all, sizeBytesMax) => {
    const chunks = new Chunks();
    const { native, portable } = present(openBoth(chunks, sizeBytesMax), "both");
    let base = NOTHING;
    let keys: readonly Uint8Array[] = [];
    for (const { updates, fate } of all) {
      const [one, other] = [native.stage(base, updates), portable.stage(base, updates)];
      t.same(text(one), text(other));
      if (fate === "drop") continue;
      chunks.write(one.operations);
      base = { ...one.root, nextChunk: one.nextChunk };
      one.adopt();
      other.adopt();
      if (fate === "clear") native.clear();
      keys = [...keys, ...updates.map(({ key }) => key)];
      for (const key of keys) if (native.find(base.location, key) !== portable.find(base.location, key)) return false;
      if (base.location !== undefined)
        t.same(native.read(base.location).bytes, portable.read(base.location).bytes, "and the same pages");
    }
    return true;
  });
  await checkProperty(t, "rust and typescript", property, 150);
});

t.test("rows that change again and again are stored alike too, as deltas on whole pages and never on deltas", async (t) => {
  if (openBoth(new Chunks()) === undefined) return t.comment("there is no addon to compare");
  let [deltas, grown] = [0, 0];
  const property = fc.property(
    rewrites({ minLength: 5, maxLength: 25 }),
    fc.constantFrom(600, 5_000, 1 << 20),
    (batches, sizeBytesMax) => {
      const chunks = new Chunks();
      const { native, portable } = present(openBoth(chunks, sizeBytesMax), "both");
      let base = NOTHING;
      for (const batch of batches) {
        const [one, other] = [native.stage(base, sorted(batch)), portable.stage(base, sorted(batch))];
        t.same(text(one), text(other));
        chunks.write(one.operations);
        base = { ...one.root, nextChunk: one.nextChunk };
        one.adopt();
        other.adopt();
        for (const [location, delta] of deltasOf(one)) {
          const [made, same] = [native.read(location), portable.read(location)];
          t.same(made.bytes, same.bytes);
          t.ok(delta.length * 5 <= made.bytes.length * 2, "it is much shorter than its page");
          t.equal(chunks.readSlot(readLocation(delta, 2))[0], 0, "its base is whole");
          deltas += 1;
          grown += Number((delta[1] ?? 0) > 1);
        }
      }
    },
  );
  await checkProperty(t, "rust and typescript, deltas", property, 60);
  t.ok(deltas > 500 && grown > 50, `${deltas} deltas, ${grown} of more than one item`);
});

t.test("versions of many updates are alike too, whose trees are followed down in parts", async (t) => {
  if (openBoth(new Chunks()) === undefined) return t.comment("there is no addon to compare");
  const property = fc.property(
    fc.integer({ min: 1, max: 0x7fff_fffe }),
    fc.constantFrom(5_000, 1 << 20),
    (seed, sizeBytesMax) => {
      let state = seed;
      // Lehmer's generator with the multiplier of Park and Miller, 1988.
      const draw = (below: number): number => (state = (state * 48_271) % 0x7fff_ffff) % below;
      const chunks = new Chunks();
      const { native, portable } = present(openBoth(chunks, sizeBytesMax), "both");
      let base = NOTHING;
      for (const [count, deleted] of [
        [2_000, 0],
        [700, 100],
        [400, 900],
      ] as const) {
        const batch = new Map<number, StateUpdate>();
        while (batch.size < count) {
          const row = draw(3_000);
          const key = Uint8Array.of(0x61, row % 7, row >> 8, row & 0xff);
          batch.set(row, { key, value: draw(1_000) < deleted ? undefined : new Uint8Array(draw(30)).fill(draw(256)) });
        }
        const updates = sorted([...batch.values()]);
        const [one, other] = [native.stage(base, updates), portable.stage(base, updates)];
        t.same(text(one), text(other));
        chunks.write(one.operations);
        base = { ...one.root, nextChunk: one.nextChunk };
        one.adopt();
        other.adopt();
      }
    },
  );
  await checkProperty(t, "rust and typescript, many updates", property, 8);
});

t.test("a page is a delta while little of it changed, and whole again after that", (t) => {
  const keys = Array.from({ length: 16 }, (_, at) => Uint8Array.of(at, ...new Uint8Array(20)));
  const chunks = new Chunks();
  for (const pages of each(chunks)) {
    let base = NOTHING;
    /** Changes some rows, and says how the only page is stored, and how many pages and deltas that left unreachable. */
    const change = (...rows: readonly number[]): string => {
      const updates = rows.map((row) => ({ key: present(keys[row], "key"), value: Uint8Array.of(base.nextChunk) }));
      const staged = pages.stage(base, updates);
      chunks.write(staged.operations);
      base = { ...staged.root, nextChunk: staged.nextChunk };
      staged.adopt();
      const slot = chunks.readSlot(present(staged.root.location, "page"));
      const form = slot[0] === 0x80 ? `delta of ${slot[1]} on chunk ${chunkOf(readLocation(slot, 2))}` : "whole";
      return `${form}, left ${staged.stale.filter((location) => chunks.readSlot(location).length > 1).length}`;
    };
    t.equal(change(...keys.keys()), "whole, left 0");
    t.equal(change(3), "delta of 1 on chunk 1, left 0", "its base is needed");
    t.equal(change(3), "delta of 1 on chunk 1, left 1", "the delta before is not");
    t.equal(change(0, 15), "delta of 3 on chunk 1, left 1");
    for (const row of [4, 5, 6, 7]) t.equal(change(row), `delta of ${row} on chunk 1, left 1`);
    t.equal(change(8, 9, 10), "delta of 10 on chunk 1, left 1", "398 bytes, and the page has 1,042");
    t.equal(change(11), "whole, left 2", "the delta, and its base");
    t.equal(change(11), "delta of 1 on chunk 19, left 0");
    t.equal(change(...keys.keys()), "whole, left 2", "all of it changed");
    t.equal(change(...keys.keys()), "whole, left 1");
  }
  t.end();
});

t.test("a delta that nobody would have written is refused, wherever it is wrong", (t) => {
  const chunks = new Chunks();
  const rows = Array.from({ length: 10 }, (_, at) => ({
    key: Uint8Array.of(at, ...new Uint8Array(20)),
    value: Uint8Array.of(0),
  }));
  const maker = new PortablePages({ readSlot: chunks.readSlot, sizeBytesMax: 1 << 20 });
  const first = maker.stage(NOTHING, rows);
  chunks.write(first.operations);
  first.adopt();
  const second = maker.stage({ ...first.root, nextChunk: first.nextChunk }, [
    { ...present(rows[2], "row"), value: Uint8Array.of(1) },
    { ...present(rows[5], "row"), value: Uint8Array.of(1) },
  ]);
  chunks.write(second.operations);
  const location = present(second.root.location, "page");
  const good = chunks.readSlot(location).slice();
  t.equal(good.length, 8 + 2 * 39);
  const base = readLocation(good, 2);
  const changed = (change: (bytes: Uint8Array) => void): Uint8Array => {
    const copy = good.slice();
    change(copy);
    return copy;
  };
  const basedOn = (other: Location): Uint8Array => changed((bytes) => writeLocation(bytes, 2, other));
  const damaged: Record<string, Uint8Array> = {
    "cut by a byte": good.subarray(0, -1),
    "cut by a change": good.subarray(0, -39),
    "cut to its head": good.subarray(0, 8),
    "cut to its mark": good.subarray(0, 1),
    "a byte too many": Uint8Array.of(...good, 0),
    "no change": changed((bytes) => bytes.fill(0, 1, 2)).subarray(0, 8),
    "fewer changes than it says": changed((bytes) => bytes.fill(3, 1, 2)),
    "seventeen changes": Uint8Array.of(0x80, 17, ...good.subarray(2, 8), ...new Uint8Array(17 * 39)),
    "another mark": changed((bytes) => bytes.fill(0x81, 0, 1)),
    "one index twice": changed((bytes) => bytes.fill(2, 8 + 39, 9 + 39)),
    "indexes that fall": changed((bytes) => bytes.fill(6, 8, 9)),
    "an index past the page": changed((bytes) => bytes.fill(10, 8 + 39, 9 + 39)),
    "itself as base": basedOn(location),
    "a base of its own chunk": basedOn((location + 1) as Location),
    "a base of a later chunk": basedOn((location + 256) as Location),
    "a base that is not there": basedOn(locationOf(0, 200)),
    "a value as base": basedOn(locationOf(0, 0)),
  };
  for (const pages of each(chunks, 0)) {
    for (const [what, bytes] of Object.entries(damaged)) {
      chunks.put(location, bytes);
      t.throws(() => pages.read(location), { code: "state_corrupt" }, what);
    }
    chunks.put(locationOf(1000, 0), good);
    chunks.put(locationOf(1001, 0), basedOn(locationOf(1000, 0)));
    t.throws(() => pages.read(locationOf(1001, 0)), { code: "state_corrupt" }, "a delta as base, which would begin a chain");
    chunks.put(
      location,
      changed((bytes) => bytes.fill(9, 8 + 39, 9 + 39)),
    );
    t.doesNotThrow(() => pages.read(location), "the last item of the page");
    pages.clear();
    chunks.put(location, good);
    t.same(pages.read(location).location(2), readLocation(good, 8 + 33));
    t.same(pages.read(location).location(3), pages.read(base).location(3), "the rest is the base's");
  }
  t.end();
});

t.test("what was adopted is in memory, and what is beyond the bound is read again", (t) => {
  const chunks = new Chunks();
  const both = openBoth(chunks, 1 << 20);
  const small = openBoth(chunks, 4_000);
  if (both === undefined || small === undefined) {
    t.comment("there is no addon to compare");
    return t.end();
  }
  const updates = Array.from({ length: 500 }, (_, index) => {
    const key = Uint8Array.of(index >> 8, index & 0xff, 7);
    return { key, value: key };
  });
  const made = both.native.stage(NOTHING, updates);
  chunks.write(made.operations);
  made.adopt();
  const findAll = (pages: StatePages): void => {
    for (const { key } of updates) t.ok(pages.find(made.root.location, key) !== undefined);
  };
  findAll(both.native);
  t.equal(chunks.reads, 0, "nothing was read");
  findAll(small.native);
  const { reads } = chunks;
  t.ok(reads > 0);
  findAll(small.native);
  t.ok(chunks.reads > reads, "some of it went to make room");
  t.equal(both.native.find(made.root.location, Uint8Array.of(0xff)), undefined);
  t.equal(both.native.find(undefined, Uint8Array.of(1)), undefined, "an empty tree has no rows");
  t.end();
});

t.test("a store that fails or holds no page is told with its code, and the pages serve on", (t) => {
  const updates = [{ key: Uint8Array.of(1), value: Uint8Array.of(2) }];
  const nowhere = { ...NOTHING, location: locationOf(7, 0), nextChunk: 8 };
  const failure = new CodedError("store_io", { path: "x" });
  let answer: () => Uint8Array = () => EMPTY;
  const options = { readSlot: () => answer(), sizeBytesMax: 1 << 20 };
  for (const pages of [new PortablePages(options), NativePages.open(options) ?? new PortablePages(options)]) {
    const attempts = [
      () => pages.stage(nowhere, updates),
      () => pages.find(nowhere.location, Uint8Array.of(1)),
      () => pages.read(nowhere.location),
    ];
    for (const attempt of attempts) {
      answer = () => {
        throw failure;
      };
      t.throws(attempt, failure);
      for (const wrong of [EMPTY, Uint8Array.of(0, 1), new Uint8Array(200).fill(0xff)]) {
        answer = () => wrong;
        t.throws(attempt, { code: "state_corrupt" });
      }
    }
    t.equal(pages.stage(NOTHING, updates).operations.length, 2, "a value and a page");
  }
  t.end();
});

t.test("of many versions that were staged the newest eight can be adopted, and none twice", (t) => {
  const chunks = new Chunks();
  const both = openBoth(chunks);
  if (both === undefined) {
    t.comment("there is no addon");
    return t.end();
  }
  const staged = Array.from({ length: 9 }, (_, index) =>
    both.native.stage(NOTHING, [{ key: Uint8Array.of(1), value: Uint8Array.of(index) }]),
  );
  const [first, last] = [present(staged[0], "first"), present(staged[8], "last")];
  // All have the same places: what is in memory tells which one was adopted.
  const inMemory = (): Location | undefined => both.native.find(last.root.location, Uint8Array.of(1));
  first.adopt();
  t.throws(inMemory, { code: "state_corrupt" }, "forgotten: it would be read from the store");
  const again = both.native.stage(NOTHING, [{ key: Uint8Array.of(1), value: Uint8Array.of(8) }]);
  again.adopt();
  t.equal(inMemory(), locationOf(0, 0));
  t.end();
});
