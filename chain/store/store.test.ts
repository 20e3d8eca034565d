import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { bytesEqual, compareBytes, readU32, u32, utf8 } from "../../crypto/base/bytes.ts";
import { ZERO_HASH } from "../../crypto/hash/hash.ts";
import { STATE_PREFIX } from "../state/layout.ts";
import { STORE_ERRORS } from "./errors.ts";
import {
  heightKey,
  heightOfKey,
  historyNodeKey,
  KEYSPACE,
  kindRange,
  metadataKey,
  partitionRange,
  recordKey,
  recordNodeKey,
  transactionKey,
  validatorsKey,
} from "./keyspace.ts";
import { openLevelStore } from "./level.ts";
import { openMemoryStore } from "./memory.ts";
import { blobTests } from "./testing/blobs.ts";
import { storeConformance } from "./testing/conformance.ts";
import { BATCH_ROWS, LARGE_KEY, largeValue } from "./testing/endless-writer.ts";

const directory = mkdtempSync(join(tmpdir(), "pyralog-store-"));
t.teardown(() => rmSync(directory, { recursive: true, force: true }));
let opened = 0;
const freshPath = () => join(directory, `${(opened += 1)}`);

t.test("the memory store conforms", async (t) => storeConformance(t, async () => openMemoryStore()));
t.test("the level store conforms", async (t) => storeConformance(t, async () => await openLevelStore({ path: freshPath() })));

t.test("the level store conforms, with files for large values that are soon full", async (t) =>
  storeConformance(t, async () => await openLevelStore({ path: freshPath(), blobs: { fileSizeBytesMax: 100_000 } })),
);

t.test("what was written is there after closing and opening again", async (t) => {
  const path = freshPath();
  {
    await using store = await openLevelStore({ path });
    await store.write([{ kind: "put", key: utf8("a"), value: utf8("1") }], { sync: false });
  }
  await using store = await openLevelStore({ path });
  t.same(store.get(utf8("a")), utf8("1"));
});

t.test("a second opener is refused with store_locked, until the first has closed", async (t) => {
  const path = freshPath();
  const first = await openLevelStore({ path });
  await t.rejects(openLevelStore({ path }), { code: "store_locked", detail: { path } });
  await first[Symbol.asyncDispose]();
  await using second = await openLevelStore({ path });
  t.equal(second.get(utf8("a")), undefined);
});

t.test("damaged files are store_corrupt", async (t) => {
  const path = freshPath();
  await (await openLevelStore({ path }))[Symbol.asyncDispose]();
  const manifest = readdirSync(path).find((name) => name.startsWith("MANIFEST"));
  writeFileSync(join(path, manifest ?? ""), Buffer.alloc(40, 7));
  await t.rejects(openLevelStore({ path }), { code: "store_corrupt", cause: { code: "LEVEL_CORRUPTION" } });
});

t.test("a path that cannot be a directory is store_io, with the cause", async (t) => {
  const path = freshPath();
  writeFileSync(path, "a file");
  await t.rejects(openLevelStore({ path }), { code: "store_io", cause: { code: "EEXIST" } });
  t.ok("store_io" in STORE_ERRORS);
});

t.test(
  "after kill -9 the store opens at the last acknowledged batch or the one after, whole",
  { timeout: 120_000 },
  async (t) => {
    const path = freshPath();
    const writer = fileURLToPath(new URL("testing/endless-writer.ts", import.meta.url));
    let acknowledged = 0;
    for (const batches of [1, 7, 40]) {
      const child = spawn(process.execPath, [writer, path], { stdio: ["ignore", "pipe", "inherit"] });
      const exited = new Promise((resolve) => child.once("exit", resolve));
      for await (const line of createInterface({ input: child.stdout })) {
        acknowledged = Number(line);
        if (acknowledged === batches) child.kill("SIGKILL");
      }
      await exited;
      await using store = await openLevelStore({ path });
      const rows = store
        .getMany(Array.from({ length: BATCH_ROWS }, (_, row) => u32(row)))
        .map((value) => readU32(value ?? u32(0)));
      t.equal(new Set(rows).size, 1, `one batch, not a mix: ${rows.join(" ")}`);
      const large = store.get(LARGE_KEY);
      t.ok(large !== undefined && bytesEqual(large, largeValue(rows[0] ?? 0)), "and the large row is of the same");
      t.ok(rows[0] === acknowledged || rows[0] === acknowledged + 1, `acknowledged ${acknowledged}, found ${rows[0]}`);
    }
  },
);

t.test("large values of a store on disk", async (t) => blobTests(t, freshPath));

t.test("prefixes of the keyspace are distinct, and those of the state tree are the ones it uses", async (t) => {
  const { stateRoot: root, stateChunk: chunk, stateStale: stale, stateWorn: worn } = KEYSPACE;
  t.equal(new Set(Object.values(KEYSPACE)).size, Object.keys(KEYSPACE).length);
  t.ok(
    Object.values(KEYSPACE).every((prefix) => prefix < 0xff),
    "0xff is the store's own",
  );
  t.same(STATE_PREFIX, { root, chunk, stale, worn });
});

t.test("keys of a kind lie in its range and sort as their numbers do", async (t) => {
  const id = { stream: "orders", partition: 3 };
  const keys = {
    metadata: [metadataKey("head"), metadataKey("network")],
    header: [heightKey("header", 1n), heightKey("header", 256n)],
    block: [heightKey("block", 0n), heightKey("block", (1n << 63n) - 1n)],
    certificate: [heightKey("certificate", 1n)],
    results: [heightKey("results", 1n)],
    validatorChange: [heightKey("validatorChange", 0n), heightKey("validatorChange", 9n)],
    transaction: [transactionKey(ZERO_HASH)],
    validators: [validatorsKey(ZERO_HASH)],
    historyNode: [historyNodeKey(0, 255n), historyNodeKey(0, 256n), historyNodeKey(1, 0n)],
    record: [recordKey(id, 0n), recordKey(id, 1n << 40n)],
    recordNode: [recordNodeKey(id, 1n)],
  } as const;
  for (const [kind, ofKind] of Object.entries(keys) as [keyof typeof keys, readonly Uint8Array[]][]) {
    const { from, to } = kindRange(kind);
    t.ok(
      ofKind.every((key) => compareBytes(from, key) <= 0 && compareBytes(key, to) < 0),
      kind,
    );
    t.ok(
      ofKind.every((key, index) => index === 0 || compareBytes(ofKind[index - 1] as Uint8Array, key) < 0),
      `${kind} in order`,
    );
  }
  t.equal(heightOfKey(heightKey("block", 77n)), 77n);
});

t.test("no partition's range holds a key of another, whatever the streams are called", async (t) => {
  const ids = ["", "a", "ab", "a\u0000", "b", "é"].flatMap((stream) =>
    [0, 1, 0xffff_ffff].map((partition) => ({ stream, partition })),
  );
  for (const id of ids) {
    const { from, to } = partitionRange("record", id);
    for (const other of ids) {
      for (const index of [0n, (1n << 64n) - 1n]) {
        const key = recordKey(other, index);
        t.equal(
          compareBytes(from, key) <= 0 && compareBytes(key, to) < 0,
          other === id,
          `${JSON.stringify(other)} in ${JSON.stringify(id)}`,
        );
      }
    }
  }
  t.throws(() => recordKey({ stream: "x".repeat(256), partition: 0 }, 0n), { message: /256 bytes/ });
});
