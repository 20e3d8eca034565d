/** What LevelDB reads when it opens: a crash's torn tail starts, a changed byte anywhere is named before it is dropped. */

import { spawn } from "node:child_process";
import { cp, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { concatBytes, readU32, u32 } from "../../crypto/base/bytes.ts";
import { checkProperty } from "../../crypto/testing/property.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import type { StoreOperation } from "../../chain/store/store.ts";
import { BATCH_ROWS } from "../../chain/store/testing/endless-writer.ts";
import { openingFault, readLog, requireSoundFiles } from "./files.ts";
import { LOG_HEAD_SIZE_BYTES } from "./leveldb.ts";

async function freshPath(test: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "pyralog-files-"));
  test.teardown(() => rm(path, { recursive: true }));
  return join(path, "store");
}

/** A byte that differs from place to place and is no zero: nothing written here looks like what was never written. */
const filled = (size: number, seed: number): Uint8Array => Uint8Array.from({ length: size }, (_, at) => ((at + seed) % 255) + 1);

/** What a row may have and be kept in LevelDB itself. */
const ROW_SIZE_BYTES_MAX = 3_000;

const readU16Le = (bytes: Uint8Array, at: number): number => (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);

/** The rows of a batch: one with its number, and what does not fit into that in more. */
function rowsOf(index: number, sizeBytes: number): StoreOperation[] {
  const bytes = filled(sizeBytes, index);
  return Array.from({ length: Math.ceil(sizeBytes / ROW_SIZE_BYTES_MAX) }, (_, part) => ({
    kind: "put",
    key: part === 0 ? u32(index) : concatBytes(u32(index), u32(part)),
    value: bytes.subarray(part * ROW_SIZE_BYTES_MAX, (part + 1) * ROW_SIZE_BYTES_MAX),
  }));
}

/** A store that a crash left: batches in its log alone, each a row with its number, and one of several pieces. */
async function crashedStore(test: Test, sizes: readonly number[]): Promise<string> {
  const path = await freshPath(test);
  const copy = `${path}.copy`;
  {
    await using store = await openLevelStore({ path });
    for (const [index, size] of sizes.entries()) await store.write(rowsOf(index, size), { sync: true });
    await copyFiles(path, copy);
  }
  await rm(path, { recursive: true });
  await rename(copy, path);
  return path;
}

async function copyFiles(from: string, to: string): Promise<void> {
  await rm(to, { recursive: true, force: true });
  await cp(from, to, { recursive: true });
}

async function nameOf(path: string, form: RegExp): Promise<string> {
  return present(
    (await readdir(path)).filter((name) => form.test(name)).toSorted((a, b) => (a < b ? 1 : -1))[0],
    `${form.source}`,
  );
}

/** Which of the rows are there when LevelDB has opened a copy of the store. */
async function rowsAfterOpening(path: string, count: number): Promise<boolean[]> {
  await copyFiles(path, `${path}.opened`);
  await using store = await openLevelStore({ path: `${path}.opened` });
  return store.getMany(Array.from({ length: count }, (_, index) => u32(index))).map((value) => value !== undefined);
}

t.test("after kill -9 in the middle of writes the store starts, with what was acknowledged", { timeout: 120_000 }, async (t) => {
  const path = await freshPath(t);
  t.equal(await openingFault(path), undefined, "a store that is not there yet");
  const writer = fileURLToPath(new URL("../../chain/store/testing/endless-writer.ts", import.meta.url));
  for (const batches of [1, 5, 60]) {
    let acknowledged = 0;
    const child = spawn(process.execPath, [writer, path], { stdio: ["ignore", "pipe", "inherit"] });
    const exited = new Promise((resolve) => child.once("exit", resolve));
    for await (const line of createInterface({ input: child.stdout })) {
      acknowledged = Number(line);
      if (acknowledged === batches) child.kill("SIGKILL");
    }
    await exited;
    await requireSoundFiles(path);
    await using store = await openLevelStore({ path });
    const found = readU32(present(store.get(u32(BATCH_ROWS - 1)), "row"));
    t.ok(found === acknowledged || found === acknowledged + 1, `acknowledged ${acknowledged}, found ${found}`);
  }
  t.equal(await openingFault(path), undefined, "and after it was closed in order");
});

t.test("a log that was cut anywhere, or whose end is zeros, starts; LevelDB opens it with whole batches", async (t) => {
  const sizes = [100, 40, 70_000, 3_000, 900];
  const path = await crashedStore(t, sizes);
  const log = await nameOf(path, /\.log$/);
  const bytes = new Uint8Array(await readFile(join(path, log)));
  t.equal(readLog(bytes).kind, "whole");
  await checkProperty(
    t,
    "cut",
    fc.property(fc.integer({ min: 0, max: bytes.length }), fc.integer({ min: 0, max: 9_000 }), (size, zeros) => {
      // Zeros as disks leave them: whole sectors that were never written, at the end.
      const written = zeros === 0 ? size : Math.ceil(size / 512) * 512;
      const tail = new Uint8Array(written + Math.ceil(zeros / 512) * 512);
      tail.set(bytes.subarray(0, Math.min(written, bytes.length)));
      return readLog(tail.subarray(0, zeros === 0 ? size : tail.length)).kind !== "damaged";
    }),
  );
  for (const size of [0, 3, 200, 30_000, 60_000, bytes.length - 1]) {
    await writeFile(join(path, log), bytes.subarray(0, size));
    t.equal(await openingFault(path), undefined, `cut to ${size}`);
    const there = await rowsAfterOpening(path, sizes.length);
    t.strictSame(
      there,
      there.toSorted((a, b) => Number(b) - Number(a)),
      `the first batches of it: ${there.join(" ")}`,
    );
  }
});

t.test("a byte that changed anywhere in a log, the manifest or CURRENT is refused, and the file named", async (t) => {
  const sizes = [100, 40, 70_000, 3_000, 900];
  const path = await crashedStore(t, sizes);
  for (const form of [/\.log$/, /^MANIFEST/, /^CURRENT$/]) {
    const file = await nameOf(path, form);
    const bytes = new Uint8Array(await readFile(join(path, file)));
    const unnoticed: string[] = [];
    const step = Math.max(1, Math.floor(bytes.length / 150));
    // All of the last record, whose end is the file's, and places all over.
    const places = [...Array(bytes.length).keys()].filter((at) => at % step === 0 || at > bytes.length - 920);
    for (const place of places.filter((at) => at % step === 0 || (at - bytes.length + 920) % 31 < 8)) {
      for (const bit of [1, 0x80]) {
        const changed = bytes.slice();
        changed[place] = present(changed[place], "byte") ^ bit;
        await writeFile(join(path, file), changed);
        if ((await openingFault(path))?.file !== file) unnoticed.push(`${place} of ${bytes.length}, bit ${bit}`);
      }
    }
    t.strictSame(unnoticed, [], file);
    await writeFile(join(path, file), bytes);
  }
  t.equal(await openingFault(path), undefined);
  const log = await nameOf(path, /\.log$/);
  const bytes = new Uint8Array(await readFile(join(path, log)));
  // In the first batch of ours: before it stands what the store needs for itself.
  const first = LOG_HEAD_SIZE_BYTES + readU16Le(bytes, 4);
  bytes[first + 50] = present(bytes[first + 50], "byte") ^ 1;
  await writeFile(join(path, log), bytes);
  await t.rejects(requireSoundFiles(path), {
    code: "store_file_damaged",
    detail: { field: log, reason: "file_checksum", offset: first },
    message: new RegExp(`${log} is damaged at byte ${first}.*scrub --repair`),
  });
  t.ok((await rowsAfterOpening(path, sizes.length)).includes(false), "LevelDB opens it all the same, and rows are gone");
});

t.test("a log or CURRENT that is gone, an older log without its end, and pieces out of order are refused", async (t) => {
  const path = await crashedStore(t, [100, 70_000, 900]);
  const log = await nameOf(path, /\.log$/);
  const kept = new Uint8Array(await readFile(join(path, log)));
  const newer = `${String(Number.parseInt(log, 10) + 5).padStart(6, "0")}.log`;
  await writeFile(join(path, newer), "");
  await writeFile(join(path, log), kept.subarray(0, -1));
  t.equal(await openingFault(path), undefined, "a start that ended early left an empty log beside");
  await writeFile(join(path, newer), kept);
  t.match(await openingFault(path), { file: log, code: "file_malformed" });
  await writeFile(join(path, log), kept);
  t.equal(await openingFault(path), undefined, "two whole ones are a memory table that was being written");
  await rm(join(path, newer));
  await rm(join(path, log));
  t.match(await openingFault(path), { file: log, code: "file_missing" });
  // The second piece of the batch of 70 000 bytes in the place of its first: each has its checksum.
  const piece = 32 * 1024;
  await writeFile(join(path, log), kept.subarray(piece));
  t.match(await openingFault(path), { file: log, offset: 0, code: "file_malformed" });
  await writeFile(join(path, log), kept);
  const current = await readFile(join(path, "CURRENT"));
  await rm(join(path, "CURRENT"));
  t.match(await openingFault(path), { file: "CURRENT", code: "file_missing" }, "LevelDB would begin a new store here");
  await writeFile(join(path, "CURRENT"), "MANIFEST-000099\n");
  t.match(await openingFault(path), { file: "CURRENT", code: "file_missing" }, "names none that is there");
  await writeFile(join(path, "CURRENT"), current);
  await writeFile(join(path, "000001.log"), "what LevelDB is about to delete");
  t.equal(await openingFault(path), undefined, "logs that are not replayed any more say nothing");
});
