import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import t from "tap";
import { bytesEqual, utf8 } from "../../crypto/base/bytes.ts";
import { EMPTY_FRONTIER, frontierRoot, LOG_HASHER, logRoot, verifyConsistency, verifyInclusion } from "../merkle/log.ts";
import { isDropped, encodeRecord, storedLeaf } from "../block/record.ts";
import { heightOf } from "../block/height.ts";
import { partitionRange, recordKey, recordNodeKey } from "../store/keyspace.ts";
import { openLevelStore } from "../store/level.ts";
import { openMemoryStore } from "../store/memory.ts";
import type { Store } from "../store/store.ts";
import {
  appendOperations,
  dropOperations,
  latestRecord,
  partitionConsistency,
  partitionFrontier,
  readRecords,
  recordProof,
  RECORDS_READ_MAX,
  undoOperations,
} from "./partition.ts";
import { drawnSeed } from "../../crypto/testing/property.ts";

const SEED = drawnSeed();
const ORDERS = { stream: "orders", partition: 0 };

function recordsOf(from: number, count: number, what = "record"): Uint8Array[] {
  return Array.from({ length: count }, (_, index) => utf8(`${what} ${from + index}`));
}

async function append(
  store: Store,
  id: { stream: string; partition: number },
  firstIndex: number,
  records: readonly Uint8Array[],
): Promise<void> {
  await store.write(appendOperations(store, { ...id, firstIndex: BigInt(firstIndex), records }), { sync: false });
}

t.test("however records are cut into appends, the stored tree is that of all of them", async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 12 }), async (counts) => {
      await using store = openMemoryStore();
      let size = 0;
      for (const count of counts) {
        await append(store, ORDERS, size, recordsOf(size, count));
        size += count;
      }
      const all = recordsOf(0, size);
      const root = frontierRoot(LOG_HASHER, partitionFrontier(store, ORDERS, BigInt(size)));
      const read = readRecords(store, ORDERS, 0n, size + 1);
      return (
        bytesEqual(root, logRoot(all)) &&
        read.length === size &&
        read.every(({ index, bytes }) => bytesEqual(bytes, all[Number(index)] as Uint8Array))
      );
    }),
    { seed: SEED, numRuns: 100 },
  );
  t.pass(`seed ${SEED}`);
});

t.test("every record is proven at every size, and every size extends every smaller one", async (t) => {
  await using store = openMemoryStore();
  const all = recordsOf(0, 67);
  for (let index = 0; index < all.length; index += 1) await append(store, ORDERS, index, all.slice(index, index + 1));
  const roots = Array.from({ length: all.length + 1 }, (_, size) => logRoot(all.slice(0, size)));
  let wrong = 0;
  for (let size = 1; size <= all.length; size += 1) {
    for (let index = 0; index < size; index += 1) {
      const siblings = recordProof(store, ORDERS, BigInt(index), BigInt(size));
      const claim = {
        leafHash: LOG_HASHER.leaf(all[index] as Uint8Array),
        index: BigInt(index),
        size: BigInt(size),
        siblings,
        root: roots[size] ?? LOG_HASHER.emptyRoot(),
      };
      if (!verifyInclusion(LOG_HASHER, claim).ok) wrong += 1;
      if (verifyInclusion(LOG_HASHER, { ...claim, leafHash: LOG_HASHER.leaf(utf8("another")) }).ok) wrong += 1;
    }
    for (let first = 0; first <= size; first += 1) {
      const hashes = partitionConsistency(store, ORDERS, BigInt(first), BigInt(size));
      const [firstRoot, secondRoot] = [roots[first] ?? LOG_HASHER.emptyRoot(), roots[size] ?? LOG_HASHER.emptyRoot()];
      if (!verifyConsistency(LOG_HASHER, { first: BigInt(first), second: BigInt(size), hashes, firstRoot, secondRoot }).ok)
        wrong += 1;
    }
  }
  t.equal(wrong, 0);
});

t.test("a partition goes on where it was after the store was closed", async (t) => {
  const path = mkdtempSync(join(tmpdir(), "pyralog-segment-"));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  for (const [from, count] of [
    [0, 5],
    [5, 1],
    [6, 300],
  ] as const) {
    await using store = await openLevelStore({ path });
    await append(store, ORDERS, from, recordsOf(from, count));
  }
  await using store = await openLevelStore({ path });
  t.same(frontierRoot(LOG_HASHER, partitionFrontier(store, ORDERS, 306n)), logRoot(recordsOf(0, 306)));
  t.same(frontierRoot(LOG_HASHER, partitionFrontier(store, ORDERS, 6n)), logRoot(recordsOf(0, 6)), "and as it was before");
});

t.test("partitions and streams do not see each other", async (t) => {
  await using store = openMemoryStore();
  const ids = [ORDERS, { stream: "orders", partition: 1 }, { stream: "order", partition: 0 }];
  for (const [at, id] of ids.entries()) await append(store, id, 0, recordsOf(0, 3 + at, `${at}`));
  for (const [at, id] of ids.entries()) {
    t.same(
      readRecords(store, id, 0n, 10).map(({ bytes }) => bytes),
      recordsOf(0, 3 + at, `${at}`),
    );
    t.same(frontierRoot(LOG_HASHER, partitionFrontier(store, id, BigInt(3 + at))), logRoot(recordsOf(0, 3 + at, `${at}`)));
  }
  t.same(readRecords(store, { stream: "orders", partition: 2 }, 0n, 10), []);
  t.same(partitionFrontier(store, { stream: "orders", partition: 2 }, 0n), EMPTY_FRONTIER);
});

t.test("records are read from any index, and never more than the bound", async (t) => {
  await using store = openMemoryStore();
  await append(store, ORDERS, 0, recordsOf(0, RECORDS_READ_MAX + 5));
  t.same(readRecords(store, ORDERS, 7n, 2), [
    { index: 7n, bytes: utf8("record 7") },
    { index: 8n, bytes: utf8("record 8") },
  ]);
  t.equal(readRecords(store, ORDERS, 0n, 1_000_000).length, RECORDS_READ_MAX);
  t.equal(readRecords(store, ORDERS, 1003n, 10).length, 2);
  t.same(readRecords(store, ORDERS, 1005n, 10), [], "one past the end");
  t.same(readRecords(store, ORDERS, (1n << 64n) - 1n, 10), []);
  t.same(readRecords(store, ORDERS, 1n << 64n, 10), []);
  t.same(readRecords(store, ORDERS, 0n, 0), []);
});

t.test("a record is never written over, and none is left out", async (t) => {
  await using store = openMemoryStore();
  await append(store, ORDERS, 0, recordsOf(0, 2));
  t.throws(() => appendOperations(store, { ...ORDERS, firstIndex: 1n, records: recordsOf(1, 1) }), { message: /there already/ });
  t.throws(
    () => appendOperations(store, { ...ORDERS, firstIndex: 3n, records: recordsOf(3, 1) }),
    { code: "store_corrupt" },
    "record 2 is not there",
  );
});

t.test("a record changed on disk gives proofs that do not hold, and a lost one says so", async (t) => {
  await using store = openMemoryStore();
  const all = recordsOf(0, 8);
  await append(store, ORDERS, 0, all);
  const claim = () => ({
    leafHash: LOG_HASHER.leaf(all[2] as Uint8Array),
    index: 2n,
    size: 8n,
    siblings: recordProof(store, ORDERS, 2n, 8n),
    root: logRoot(all),
  });
  t.ok(verifyInclusion(LOG_HASHER, claim()).ok);
  await store.write([{ kind: "put", key: recordKey(ORDERS, 3n), value: utf8("forged") }], { sync: false });
  t.match(verifyInclusion(LOG_HASHER, claim()), { ok: false, error: { code: "root_mismatch" } });
  await store.write([{ kind: "delete", key: recordKey(ORDERS, 3n) }], { sync: false });
  t.throws(() => recordProof(store, ORDERS, 2n, 8n), { code: "store_corrupt", detail: { index: 3n, stream: "orders" } });
  await store.write([{ kind: "delete", key: recordNodeKey(ORDERS, 7n) }], { sync: false });
  t.throws(() => recordProof(store, ORDERS, 3n, 8n), { code: "store_corrupt", detail: { level: 2, index: 1n } });
});

t.test("a record costs one row, and every second one a row of nodes", async (t) => {
  await using store = openMemoryStore();
  await append(store, ORDERS, 0, recordsOf(0, 64));
  let [rows, sizeBytes] = [0, 0];
  for await (const { value } of store.entries(partitionRange("recordNode", ORDERS))) {
    rows += 1;
    sizeBytes += value.length;
  }
  t.equal(rows, 32);
  t.equal(sizeBytes, 63 * 32, "63 inner nodes for 64 leaves");
});

/** A record of a key (or none) at a time; no value makes it a tombstone. */
function keyed(index: number, timeMs: number, key: string | undefined, value: string | undefined): Uint8Array {
  const place = { ...ORDERS, stream: "kept", index: BigInt(index), height: heightOf(1n), timeMs: BigInt(timeMs) };
  const about = key === undefined ? undefined : utf8(key);
  return encodeRecord({ ...place, key: about, data: utf8(value ?? ""), isTombstone: value === undefined, headers: [] });
}

const KEPT = { stream: "kept", partition: 0 };

async function appendKept(
  store: Store,
  firstIndex: number,
  records: readonly Uint8Array[],
  keep: { readonly retentionMs: bigint | undefined; readonly compactionMs: bigint | undefined },
): Promise<void> {
  await store.write(appendOperations(store, { ...KEPT, firstIndex: BigInt(firstIndex), records, keep }), { sync: false });
}

async function dropAt(store: Store, timeMs: bigint, countMax = 100): Promise<number[]> {
  await store.write(await dropOperations(store, timeMs, countMax), { sync: false });
  return readRecords(store, KEPT, 0n, 100).flatMap(({ index, bytes }) => (isDropped(bytes) ? [Number(index)] : []));
}

t.test("what is due at a block time is dropped then and not a millisecond before, and every proof still holds", async (t) => {
  await using store = openMemoryStore();
  const all = [keyed(0, 100, "a", "1"), keyed(1, 100, "b", "1"), keyed(2, 200, "a", "2"), keyed(3, 300, "b", undefined)];
  all.push(keyed(4, 300, undefined, "no key"), keyed(5, 400, "a", "3"));
  const keep = { retentionMs: undefined, compactionMs: 50n };
  await appendKept(store, 0, all.slice(0, 2), keep);
  await appendKept(store, 2, all.slice(2), keep);
  t.equal(latestRecord(store, KEPT, utf8("a")), 5n);
  t.same(await dropAt(store, 249n), []);
  t.same(await dropAt(store, 250n), [0], "replaced at 200");
  t.same(await dropAt(store, 350n), [0, 1, 3], "replaced by a tombstone, and the tombstone");
  t.same(await dropAt(store, 10_000n), [0, 1, 2, 3], "never the newest of a key, nor what has none");
  const root = logRoot(all);
  t.same(frontierRoot(LOG_HASHER, partitionFrontier(store, KEPT, 6n)), root, "the tree is what it was");
  for (const [index, record] of all.entries()) {
    const stored = readRecords(store, KEPT, BigInt(index), 1)[0]?.bytes ?? new Uint8Array(0);
    t.same(storedLeaf(stored), LOG_HASHER.leaf(record), "the commitment of what was there");
    const siblings = recordProof(store, KEPT, BigInt(index), 6n);
    t.ok(verifyInclusion(LOG_HASHER, { leafHash: storedLeaf(stored), index: BigInt(index), size: 6n, siblings, root }).ok);
  }
});

t.test("retention drops by the time of a record's block, in bounded steps, the longest due first", async (t) => {
  await using store = openMemoryStore();
  const all = [0, 1, 2, 3].map((index) => keyed(index, 100 * index, undefined, `${index}`));
  await appendKept(store, 0, all, { retentionMs: 1_000n, compactionMs: undefined });
  t.same(await dropAt(store, 1_099n), [0]);
  t.same(await dropAt(store, 5_000n, 2), [0, 1, 2], "two at most");
  t.same(await dropAt(store, 5_000n, 2), [0, 1, 2, 3]);
  t.same(await dropOperations(store, 1n << 50n, 10), [], "and nothing is left to do");
});

t.test("what is undone leaves no trace, and what came in its place is not dropped for it", async (t) => {
  const keep = { retentionMs: 10_000n, compactionMs: 50n };
  await using store = openMemoryStore();
  const contents = async (): Promise<string[]> => {
    const rows: string[] = [];
    for await (const { key, value } of store.entries({})) rows.push(`${key.join()}=${value.join()}`);
    return rows;
  };
  await appendKept(store, 0, [keyed(0, 100, "a", "1"), keyed(1, 100, "b", "1")], keep);
  const before = await contents();
  await appendKept(store, 2, [keyed(2, 200, "a", "2"), keyed(3, 200, "a", undefined), keyed(4, 200, "c", "1")], keep);
  await store.write(undoOperations(store, KEPT, 2n, { keep, timeMs: 200n }), { sync: false });
  t.same(await contents(), before);
  t.equal(latestRecord(store, KEPT, utf8("a")), 0n);
  await appendKept(store, 2, [keyed(2, 900, "c", "another")], keep);
  t.same(await dropAt(store, 5_000n), [], "nothing of a and b was ever replaced");
});
