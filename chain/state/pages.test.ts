/** Pages in memory, in Rust and in TypeScript: the same versions, byte for byte, whatever came before and however little fits. */

import fc from "fast-check";
import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { compareBytes, EMPTY, toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { checkProperty } from "../../crypto/testing/property.ts";
import type { StoreOperation } from "../store/store.ts";
import { readSlot } from "./chunk.ts";
import { EMPTY_ROOT } from "./hashing.ts";
import { chunkKey, chunkOf, type Location, locationOf, slotOf } from "./layout.ts";
import { NativePages } from "./native-pages.ts";
import type { StagedPages, StatePages } from "./pages.ts";
import { PortablePages } from "./portable-pages.ts";
import type { RootRecord } from "./record.ts";
import { anyKey, batchOf, denseKey, tableKey } from "./testing/keys.ts";
import type { StateUpdate } from "./update.ts";

const NOTHING: RootRecord = { hash: EMPTY_ROOT, location: undefined, nextChunk: 0 };

/** Chunks by their keys, and how often they were asked for. */
class Chunks {
  readonly #chunks = new Map<string, Uint8Array>();
  reads = 0;

  write(operations: readonly StoreOperation[]): void {
    for (const operation of operations) if (operation.kind === "put") this.#chunks.set(toHex(operation.key), operation.value);
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
