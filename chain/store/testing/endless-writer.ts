/**
 * Run as a process of its own and killed by the test: writes batch after batch to the store at `argv[2]`, each in
 * 20 rows that carry its number and one large row of nothing else, and prints the number once the batch is durable.
 */

import { present } from "../../../crypto/base/assert.ts";
import { u32, utf8 } from "../../../crypto/base/bytes.ts";
import { openLevelStore } from "../level.ts";
import type { StoreOperation } from "../store.ts";

/** Rows of a batch, but for the large one. */
export const BATCH_ROWS = 20;
/** The key of the large one. */
export const LARGE_KEY: Uint8Array = utf8("large");
/** Numbers in it. */
const LARGE_COUNT = 30_000;

/** What a batch has in its large row. */
export function largeValue(batch: number): Uint8Array {
  return new Uint8Array(new Uint32Array(LARGE_COUNT).fill(batch).buffer);
}

if (import.meta.main) {
  const store = await openLevelStore({ path: present(process.argv[2], "path") });
  for (let batch = 1; ; batch += 1) {
    const operations: StoreOperation[] = [];
    for (let row = 0; row < BATCH_ROWS; row += 1) operations.push({ kind: "put", key: u32(row), value: u32(batch) });
    operations.push({ kind: "put", key: LARGE_KEY, value: largeValue(batch) });
    await store.write(operations, { sync: true });
    process.stdout.write(`${batch}\n`);
  }
}
