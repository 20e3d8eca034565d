/**
 * Run as a process of its own and killed by the test: writes batch after batch to the store at `argv[2]`, each in
 * 20 rows that carry its number, and prints the number once the batch is durable.
 */

import { present } from "../../../crypto/base/assert.ts";
import { u32 } from "../../../crypto/base/bytes.ts";
import { openLevelStore } from "../level.ts";
import type { StoreOperation } from "../store.ts";

/** Rows of a batch. */
export const BATCH_ROWS = 20;

if (import.meta.main) {
  const store = await openLevelStore({ path: present(process.argv[2], "path") });
  for (let batch = 1; ; batch += 1) {
    const operations: StoreOperation[] = [];
    for (let row = 0; row < BATCH_ROWS; row += 1) operations.push({ kind: "put", key: u32(row), value: u32(batch) });
    await store.write(operations, { sync: true });
    process.stdout.write(`${batch}\n`);
  }
}
