/** Keys and changes for property tests: many prefixes of each other, long shared beginnings, all lengths. */

import fc from "fast-check";
import { concatBytes } from "../../../crypto/base/bytes.ts";
import { type Height, heightOf } from "../../block/height.ts";
import type { Store } from "../../store/store.ts";
import { KEY_SIZE_BYTES_MAX } from "../bits.ts";
import type { StateTree } from "../tree.ts";
import type { StateUpdate } from "../update.ts";
import { NaiveMap } from "./naive.ts";

/** Few bytes from few values: keys that are prefixes of each other, and repeat. */
export const denseKey: fc.Arbitrary<Uint8Array> = fc
  .array(fc.constantFrom(0x00, 0x01, 0x7f, 0x80, 0xff), { minLength: 1, maxLength: 4 })
  .map((bytes) => Uint8Array.from(bytes));

/** A long shared beginning, then anything: what rows of one table look like. */
export const tableKey: fc.Arbitrary<Uint8Array> = fc
  .uint8Array({ minLength: 0, maxLength: 16 })
  .map((rest) => concatBytes(new Uint8Array(28).fill(0x61), rest));

/** One byte repeated, to the longest there may be: the deepest shape. */
export const chainKey: fc.Arbitrary<Uint8Array> = fc
  .tuple(fc.constantFrom(0x00, 0xff), fc.integer({ min: 1, max: KEY_SIZE_BYTES_MAX }))
  .map(([byte, size]) => new Uint8Array(size).fill(byte));

export const anyKey: fc.Arbitrary<Uint8Array> = fc.oneof(
  { weight: 6, arbitrary: denseKey },
  { weight: 3, arbitrary: tableKey },
  { weight: 1, arbitrary: chainKey },
);

/** A batch with each key once; about a third deletes. */
export function batchOf(key: fc.Arbitrary<Uint8Array>, lengthMax: number): fc.Arbitrary<StateUpdate[]> {
  const value = fc.option(fc.uint8Array({ maxLength: 40 }), { nil: undefined, freq: 3 });
  return fc.uniqueArray(fc.record({ key, value }), { maxLength: lengthMax, selector: ({ key: bytes }) => bytes.join() });
}

/** Many rows at once, then few a version, most of them rows that are there: what pages are stored as deltas for. */
export function rewrites(versions: { readonly minLength: number; readonly maxLength: number }): fc.Arbitrary<StateUpdate[][]> {
  const value = fc.uint8Array({ maxLength: 40 });
  const many = fc.uniqueArray(denseKey, { minLength: 60, maxLength: 250, selector: (key) => key.join() });
  return many.chain((keys) => {
    const key = fc.oneof({ weight: 15, arbitrary: fc.constantFrom(...keys) }, { weight: 1, arbitrary: denseKey });
    const update = fc.record({ key, value: fc.option(value, { nil: undefined, freq: 15 }) });
    const few = fc.uniqueArray(update, { minLength: 1, maxLength: 8, selector: (each) => each.key.join() });
    const first = fc.tuple(...keys.map((each) => fc.record({ key: fc.constant(each), value })));
    return fc.tuple(first, fc.array(few, versions)).map(([rows, later]) => [rows, ...later]);
  });
}

/** Stages, writes and adopts. Returns the root. */
export async function commit(
  tree: StateTree,
  store: Store,
  version: Height,
  updates: readonly StateUpdate[],
): Promise<Uint8Array> {
  const staged = tree.stage(tree.latest(), version, updates);
  await store.write(staged.operations, { sync: false });
  tree.adopt(staged);
  return staged.root;
}

/** Commits batches as versions 1, 2, ... and returns the oracle of each version (index 0: before all). */
export async function commitAll(
  tree: StateTree,
  store: Store,
  batches: readonly (readonly StateUpdate[])[],
): Promise<NaiveMap[]> {
  const maps = [new NaiveMap()];
  for (const [index, batch] of batches.entries()) {
    await commit(tree, store, heightOf(BigInt(index + 1)), batch);
    maps.push((maps[index] as NaiveMap).with(batch));
  }
  return maps;
}
