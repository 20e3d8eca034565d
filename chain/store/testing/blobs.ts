/** What holds of large values beside what holds of any: where they lie, what is given back, and what a power cut leaves. */

import { appendFileSync, cpSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { ClassicLevel } from "classic-level";
import type { Test } from "tap";
import { present } from "../../../crypto/base/assert.ts";
import { bytesEqual, concatBytes, toHex, u32, utf8 } from "../../../crypto/base/bytes.ts";
import { drawnSeed } from "../../../crypto/testing/property.ts";
import { type BlobDisk, SYSTEM_BLOB_DISK } from "../blob-disk.ts";
import { BLOB_SIZE_BYTES_MIN } from "../blobs.ts";
import { openLevelStore } from "../level.ts";
import type { Store, StoreOperation } from "../store.ts";

const FILE_SIZE_BYTES_MAX = 200_000;
const EVERYTHING = [{ from: new Uint8Array(), to: Uint8Array.of(0xff) }];
/** What stands in LevelDB for a large value begins with this; see `blobs.ts`. */
const POINTER_MARK = Uint8Array.of(0xf7, 0x62, 0x6c, 0x6f, 0x62, 0x9d, 0x3e, 0xc5);

type Model = ReadonlyMap<string, Uint8Array>;

/** Runs the tests; each path is a new directory's. */
export async function blobTests(t: Test, freshPath: () => string): Promise<void> {
  t.test("a value of the size of a chunk is in a file of its own kind, and one byte less is not", async (t) => {
    const path = freshPath();
    await using store = await openLevelStore({ path });
    await store.write([put("below", BLOB_SIZE_BYTES_MIN - 1)], { sync: true });
    t.same(blobFiles(path), []);
    await store.write([put("at", BLOB_SIZE_BYTES_MIN)], { sync: true });
    const [file] = blobFiles(path);
    t.ok(statSync(join(path, present(file, "file"))).size >= BLOB_SIZE_BYTES_MIN);
    t.equal(store.get(utf8("below"))?.length, BLOB_SIZE_BYTES_MIN - 1);
    t.equal(store.get(utf8("at"))?.length, BLOB_SIZE_BYTES_MIN);
    t.ok((await store.sizeBytes()) > 2 * BLOB_SIZE_BYTES_MIN, "and counts");
  });

  t.test("a value that looks like what stands for a large one is a value, and a key of the store's own is refused", async (t) => {
    await using store = await openLevelStore({ path: freshPath() });
    const lookalikes = [concatBytes(POINTER_MARK, new Uint8Array(12)), concatBytes(POINTER_MARK, new Uint8Array(12).fill(0xff))];
    const operations = lookalikes.map((value, index): StoreOperation => ({ kind: "put", key: u32(index), value }));
    await store.write(operations, { sync: false });
    t.same(store.getMany([u32(0), u32(1)]), lookalikes);
    const own = new Uint8Array(16).fill(0xff);
    await t.rejects(store.write([{ kind: "put", key: own, value: utf8("x") }], { sync: false }), { message: /store's own/ });
    await store.write([{ kind: "put", key: own.subarray(1), value: utf8("x") }], { sync: false });
    t.equal(await countOf(store), 3, "one byte shorter is anybody's, and what is the store's own is in no range");
    await store.clear({});
    await store.write([put("large", 10_000)], { sync: false });
    t.equal(store.get(utf8("large"))?.length, 10_000, "clearing everything leaves what the store needs");
  });

  t.test("what is overwritten and deleted is given back, and nothing else is lost", { timeout: 60_000 }, async (t) => {
    const random = randomOf(t);
    const path = freshPath();
    const model = new Map<string, Uint8Array>();
    const options = { path, blobs: { fileSizeBytesMax: FILE_SIZE_BYTES_MAX } };
    let writtenBytes = 0;
    for (let opening = 0; opening < 3; opening += 1) {
      await using store = await openLevelStore(options);
      for (let batch = 0; batch < 100; batch += 1) {
        const operations = drawOperations(random, 40);
        for (const one of operations) writtenBytes += one.kind === "put" ? one.value.length : 0;
        await store.write(operations, { sync: batch % 10 === 0 });
        applyTo(model, operations);
      }
      t.ok(await holds(store, model), `all as written, opening ${opening}`);
      await store.compact(EVERYTHING);
      t.ok(await holds(store, model), "and after compaction");
      t.ok(isTight(path, model), "without much room for what is dead");
    }
    t.ok(writtenBytes > 20 * FILE_SIZE_BYTES_MAX, `${writtenBytes} bytes written`);
  });

  t.test("whenever power goes, all that was acknowledged is there, and nothing that was not", { timeout: 120_000 }, async (t) => {
    const random = randomOf(t);
    const path = freshPath();
    const model = new Map<string, Uint8Array>();
    let writing: (readonly StoreOperation[])[] = [];
    const images: { readonly path: string; readonly models: readonly Model[]; readonly at: string }[] = [];
    const disk = losingDisk((at) => {
      if (images.length >= 90 || random(at === "remove" ? 2 : 8) > 0) return;
      const image = freshPath();
      cpSync(path, image, { recursive: true });
      disk.losePower(image, random);
      // Batches may be there that nobody was told of yet, but none without the one before.
      const models: Model[] = [new Map(model)];
      for (const operations of writing) {
        const next = new Map(present(models.at(-1), "model"));
        applyTo(next, operations);
        models.push(next);
      }
      images.push({ path: image, models, at });
    });
    const blobs = { disk, fileSizeBytesMax: FILE_SIZE_BYTES_MAX };
    {
      // So much in memory that LevelDB does not replace its own files while they are copied.
      await using store = await openLevelStore({ path, blobs, writeBufferSizeBytes: 64 * 1024 * 1024 });
      const write = async (operations: readonly StoreOperation[]): Promise<void> => {
        writing.push(operations);
        await store.write(operations, { sync: true });
        applyTo(model, operations);
        writing = writing.slice(1);
      };
      for (let batch = 0; batch < 150; batch += 1) {
        await Promise.all(Array.from({ length: 1 + random(3) }, async () => await write(drawOperations(random, 10))));
        // Of no range, for the same reason.
        if (batch % 40 === 39) await store.compact([]);
      }
    }
    const moments = new Set(images.map(({ at }) => at));
    t.ok(
      ["sync", "synced", "remove"].every((at) => moments.has(at)),
      `cut at ${[...moments].join(", ")}`,
    );
    for (const image of images) {
      const options = { path: image.path, blobs: { fileSizeBytesMax: FILE_SIZE_BYTES_MAX } };
      const found = new Map<string, Uint8Array>();
      {
        await using store = await openLevelStore(options);
        for await (const { key, value } of store.entries({})) found.set(toHex(key), value);
        t.ok((await Promise.all(image.models.map(async (one) => await holds(store, one)))).includes(true), `cut at ${image.at}`);
        const more = put("more", 300_000);
        await store.write([more], { sync: true });
        applyTo(found, [more]);
      }
      await using store = await openLevelStore(options);
      t.ok(await holds(store, found), "and after more was written");
      await store.compact(EVERYTHING);
      t.ok(isTight(image.path, found), "and what was torn takes no room");
      rmSync(image.path, { recursive: true });
    }
  });

  t.test("after a disk that was full nothing large is kept until the store is opened again, and nothing is lost", async (t) => {
    const path = freshPath();
    let isFull = false;
    const disk: BlobDisk = {
      ...SYSTEM_BLOB_DISK,
      open: (file, mode) => {
        const opened = SYSTEM_BLOB_DISK.open(file, mode);
        return {
          ...opened,
          write: (offset, pieces) => {
            opened.write(offset, isFull ? pieces.slice(0, 1) : pieces);
            if (isFull) throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
          },
        };
      },
    };
    const model = new Map<string, Uint8Array>();
    {
      await using store = await openLevelStore({ path, blobs: { disk } });
      const first = [put("a", 50_000), put("b", 5)];
      await store.write(first, { sync: true });
      applyTo(model, first);
      isFull = true;
      await t.rejects(store.write([put("a", 60_000), put("b", 6)], { sync: true }), {
        code: "store_io",
        cause: { code: "ENOSPC" },
      });
      isFull = false;
      await t.rejects(store.write([put("a", 60_000)], { sync: true }), { code: "store_io" }, "what the file holds is not known");
      await store.write([put("c", 7)], { sync: true });
      applyTo(model, [put("c", 7)]);
      const failing = store.write([put("b", 8), put("a", 60_000)], { sync: true });
      const behind = store.write([put("b", 9)], { sync: true });
      await t.rejects(failing, { code: "store_io" });
      await t.rejects(behind, { code: "store_io" }, "who called for a write did not know that the one ahead would fail");
      t.ok(await holds(store, model));
    }
    await using store = await openLevelStore({ path });
    t.ok(await holds(store, model));
    await store.write([put("a", 60_000)], { sync: true });
    t.equal(store.get(utf8("a"))?.length, 60_000);
  });

  t.test("a batch may have more large values than the system takes at once, and than a file has room for", async (t) => {
    for (const fileSizeBytesMax of [FILE_SIZE_BYTES_MAX, 10 * 1024 * 1024]) {
      await using store = await openLevelStore({ path: freshPath(), blobs: { fileSizeBytesMax } });
      const count = 700;
      const operations = Array.from({ length: count }, (_, index) => put(`${index}`, BLOB_SIZE_BYTES_MIN + index, index % 251));
      await store.write(operations, { sync: true });
      const model = new Map<string, Uint8Array>();
      applyTo(model, operations);
      t.ok(await holds(store, model), `files of ${fileSizeBytesMax} bytes`);
    }
  });

  t.test("when a file cannot be given back, whoever writes next hears of it, and nothing is lost", async (t) => {
    const path = freshPath();
    const disk: BlobDisk = {
      ...SYSTEM_BLOB_DISK,
      remove: async () => Promise.reject(Object.assign(new Error("input/output error"), { code: "EIO" })),
    };
    {
      await using store = await openLevelStore({ path, blobs: { disk, fileSizeBytesMax: FILE_SIZE_BYTES_MAX } });
      const ending = { code: "store_io", cause: { code: "EIO" } };
      // The second begins a file, and the first of them is dead by then.
      for (const version of [1, 2]) await store.write([put("a", 150_000, version)], { sync: true });
      await t.rejects(store.compact([]), ending);
      await t.rejects(store.write([put("b", 1)], { sync: true }), ending);
      t.equal(store.get(utf8("a"))?.[0], 2);
    }
    await using store = await openLevelStore({ path });
    t.equal(store.get(utf8("a"))?.[0], 2);
  });

  t.test("what is kept and not pointed to yet is not taken for dead", async (t) => {
    const { promise: isPointedTo, resolve: pointTo } = Promise.withResolvers<void>();
    const { promise: isSecondBegun, resolve: secondBegun } = Promise.withResolvers<void>();
    const { promise: isLookedThrough, resolve: lookedThrough } = Promise.withResolvers<void>();
    const disk: BlobDisk = {
      ...SYSTEM_BLOB_DISK,
      open: (path, mode) => {
        const opened = SYSTEM_BLOB_DISK.open(path, mode);
        const sync = async (): Promise<void> => {
          if (path.endsWith("2")) {
            secondBegun();
            await isPointedTo;
          }
          await opened.sync();
        };
        return { ...opened, sync };
      },
      openToRead: (path) => {
        const opened = present(SYSTEM_BLOB_DISK.openToRead(path), "reader");
        return {
          ...opened,
          close: () => {
            opened.close();
            // What was found by then is believed.
            setImmediate(lookedThrough);
          },
        };
      },
    };
    await using store = await openLevelStore({ path: freshPath(), blobs: { disk, fileSizeBytesMax: FILE_SIZE_BYTES_MAX } });
    const operations = [put("a", 150_000), put("b", 150_000)];
    const written = store.write(operations, { sync: true });
    await isSecondBegun;
    const compacted = store.compact([]);
    await Promise.race([compacted, isLookedThrough]);
    pointTo();
    await Promise.all([written, compacted]);
    const model = new Map<string, Uint8Array>();
    applyTo(model, operations);
    t.ok(await holds(store, model));
  });

  t.test("of the oldest file the head is looked at while that lives, and all when it is dead", async (t) => {
    const fileSizeBytesMax = 8 * 1024 * 1024;
    const path = freshPath();
    let [loadedBytes, closedCount] = [0, 0];
    const disk: BlobDisk = {
      ...SYSTEM_BLOB_DISK,
      openToRead: (file) => {
        const opened = present(SYSTEM_BLOB_DISK.openToRead(file), "reader");
        return {
          ...opened,
          load: async (offset, sizeBytes) => {
            if (file.endsWith("1")) loadedBytes += sizeBytes;
            return await opened.load(offset, sizeBytes);
          },
          close: () => {
            closedCount += 1;
            opened.close();
          },
        };
      },
    };
    await using store = await openLevelStore({ path, blobs: { disk, fileSizeBytesMax } });
    const fill = async (name: string): Promise<void> => {
      const values = Array.from({ length: 1600 }, (_, index) => put(`${name} ${index}`, 5000, index % 251));
      // A file has just room for them.
      await store.write(values, { sync: false });
    };
    const rounds = 6;
    await fill("0");
    for (let round = 1; round <= rounds; round += 1) {
      const before = closedCount;
      await fill(`${round}`);
      // The oldest, and one in turn.
      while (closedCount < before + 2) await new Promise(setImmediate);
    }
    t.ok(loadedBytes < fileSizeBytesMax * (1 + 0.4 * rounds), `${loadedBytes} bytes read, once in turn and the rest of its head`);
    t.ok(loadedBytes > fileSizeBytesMax, "and it was looked through in turn");
    const deletions = Array.from({ length: 1600 }, (_, index): StoreOperation => ({ kind: "delete", key: utf8(`0 ${index}`) }));
    await store.write(deletions, { sync: false });
    await fill("last");
    while (blobFiles(path)[0]?.endsWith("1") === true) await new Promise(setImmediate);
    t.equal(store.get(utf8("1 0"))?.length, 5000, "and it alone goes");
  });

  t.test("what no batch came to name is cut off, and the file goes on where it was", async (t) => {
    const path = freshPath();
    for (const round of [1, 2, 3]) {
      const store = await openLevelStore({ path });
      await store.write([put("a", 50_000, round)], { sync: true });
      await store[Symbol.asyncDispose]();
      const file = join(path, present(blobFiles(path)[0], "file"));
      appendFileSync(file, new Uint8Array(9_999));
    }
    await using store = await openLevelStore({ path });
    t.equal(store.get(utf8("a"))?.[0], 3);
    const [file, ...more] = blobFiles(path);
    t.same(more, []);
    t.ok(statSync(join(path, present(file, "file"))).size < 3 * 50_100, "with nothing between");
  });

  t.test("a value whose file lost it is shorter or empty, and no other value is put in its place", async (t) => {
    const path = freshPath();
    {
      await using store = await openLevelStore({ path });
      await store.write([put("a", 50_000), put("b", 50_000)], { sync: true });
    }
    const file = join(path, present(blobFiles(path)[0], "file"));
    truncateSync(file, 60_000);
    {
      await using store = await openLevelStore({ path });
      t.equal(store.get(utf8("a"))?.length, 50_000);
      const cut = store.get(utf8("b"))?.length ?? 0;
      t.ok(cut > 0 && cut < 50_000, `${cut} bytes`);
      await store.write([put("c", 50_000, 9)], { sync: true });
      t.equal(store.get(utf8("b"))?.length, cut);
      t.equal(store.get(utf8("c"))?.[0], 9);
    }
    rmSync(file);
    await using store = await openLevelStore({ path });
    t.same([store.get(utf8("a")), store.get(utf8("b"))], [new Uint8Array(), new Uint8Array()]);
    t.equal(store.get(utf8("c"))?.length, 50_000);
  });

  t.test("a file in which a head is damaged is kept, whatever of it is dead", async (t) => {
    const path = freshPath();
    const options = { path, blobs: { fileSizeBytesMax: FILE_SIZE_BYTES_MAX } };
    {
      await using store = await openLevelStore(options);
      await store.write([put("a", 90_000), put("b", 90_000), put("c", 90_000), put("d", 90_000), put("e", 90_000)], {
        sync: true,
      });
    }
    const [first, second] = blobFiles(path).map((file) => join(path, file));
    const bytes = readFileSync(present(first, "first"));
    bytes[5] = 1;
    writeFileSync(present(first, "first"), bytes);
    await using store = await openLevelStore(options);
    await store.write(
      ["a", "c", "d"].map((key) => ({ kind: "delete", key: utf8(key) })),
      { sync: true },
    );
    await store.compact(EVERYTHING);
    t.same(
      [first, second].map((file) => blobFiles(path).includes(basename(present(file, "file")))),
      [true, false],
    );
    t.equal(store.get(utf8("b"))?.length, 90_000, "what lived in it lives");
    t.equal(store.get(utf8("e"))?.length, 90_000);
  });

  t.test("a store that lost all its rows is a new one", async (t) => {
    const path = freshPath();
    for (const round of [1, 2]) {
      await using store = await openLevelStore({ path });
      t.equal(store.get(utf8("a")), undefined, `round ${round}`);
      await store.write([put("a", 50_000)], { sync: true });
      for (const file of readdirSync(path)) if (!file.startsWith("blob-")) rmSync(join(path, file));
    }
    await (await openLevelStore({ path }))[Symbol.asyncDispose]();
    t.same(blobFiles(path), []);
  });

  t.test("a store that does not know where its large values end is not opened, and nothing of them is cut", async (t) => {
    const path = freshPath();
    {
      await using store = await openLevelStore({ path });
      await store.write([put("a", 50_000), put("b", 50_000)], { sync: true });
    }
    const own: Uint8Array[] = [];
    // As if LevelDB had lost the row that says so, and then as if it had changed.
    for (const end of [undefined, new Uint8Array(12)]) {
      const level = new ClassicLevel<Uint8Array, Uint8Array>(path, { keyEncoding: "view", valueEncoding: "view" });
      own.push(...(await level.keys({ gte: new Uint8Array(16).fill(0xff) }).all()));
      await (end === undefined ? level.del(present(own[0], "row")) : level.put(present(own[0], "row"), end));
      await level.close();
      const sizesOf = (): number[] => blobFiles(path).map((file) => statSync(join(path, file)).size);
      const before = sizesOf();
      await t.rejects(openLevelStore({ path }), { code: "store_corrupt", detail: { path } });
      t.same(sizesOf(), before);
    }
  });
}

/** A disk that tells before and after whatever matters, and knows what of it would survive. */
function losingDisk(
  onStep: (at: string) => void,
): BlobDisk & { losePower(image: string, random: (end: number) => number): void } {
  const durableBytes = new Map<string, number>();
  let names = new Set<string>();
  return {
    ...SYSTEM_BLOB_DISK,
    open(path, mode) {
      const opened = SYSTEM_BLOB_DISK.open(path, mode);
      return {
        ...opened,
        async sync() {
          onStep("sync");
          const sizeBytes = opened.sizeBytes();
          await opened.sync();
          durableBytes.set(basename(path), sizeBytes);
          onStep("synced");
        },
      };
    },
    async remove(path) {
      onStep("remove");
      // At once: not while another step has everything copied.
      rmSync(path);
      durableBytes.delete(basename(path));
    },
    async syncDirectory(directory) {
      onStep("name");
      await SYSTEM_BLOB_DISK.syncDirectory(directory);
      names = new Set(blobFiles(directory));
    },
    losePower(image, random) {
      for (const file of blobFiles(image)) {
        const path = join(image, file);
        const keptBytes = durableBytes.get(file) ?? 0;
        const sizeBytes = statSync(path).size;
        if (!names.has(file) && random(2) === 0) rmSync(path);
        // What was not synced may be there in part, or as zeros.
        else if (sizeBytes > keptBytes) {
          const torn = keptBytes + random(sizeBytes - keptBytes + 1);
          truncateSync(path, torn);
          if (random(2) === 0) truncateSync(path, sizeBytes);
        }
      }
    },
  };
}

function put(key: string, sizeBytes: number, fill = 1): StoreOperation {
  return { kind: "put", key: utf8(key), value: new Uint8Array(sizeBytes).fill(fill) };
}

function blobFiles(path: string): string[] {
  return readdirSync(path)
    .filter((name) => name.startsWith("blob-"))
    .toSorted((a, b) => (a < b ? -1 : 1));
}

/** Draws a whole number below an end. */
function randomOf(t: Test): (end: number) => number {
  let state = drawnSeed() >>> 0;
  t.comment(`seed ${state}`);
  return (end) => {
    // Numerical Recipes' generator: which batches are drawn is all that it decides.
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * end);
  };
}

/** Puts of small and large values and deletions, of so many keys. */
function drawOperations(random: (end: number) => number, keys: number): StoreOperation[] {
  return Array.from({ length: 1 + random(6) }, (): StoreOperation => {
    const key = u32(random(keys));
    if (random(5) === 0) return { kind: "delete", key };
    const sizeBytes = random(3) === 0 ? random(100) : BLOB_SIZE_BYTES_MIN - 50 + random(30_000);
    const value = new Uint8Array(sizeBytes);
    for (let at = 0; at < sizeBytes; at += 97) value[at] = random(256);
    return { kind: "put", key, value };
  });
}

function applyTo(model: Map<string, Uint8Array>, operations: readonly StoreOperation[]): void {
  for (const one of operations) {
    if (one.kind === "put") model.set(toHex(one.key), one.value);
    else model.delete(toHex(one.key));
  }
}

/** Whether the files take not much more than what lives in them. */
function isTight(path: string, model: Model): boolean {
  const liveBytes = [...model.values()].reduce((sum, value) => sum + (value.length < BLOB_SIZE_BYTES_MIN ? 0 : value.length), 0);
  const storedBytes = blobFiles(path).reduce((sum, file) => sum + statSync(join(path, file)).size, 0);
  return storedBytes < liveBytes * 1.5 + 2 * FILE_SIZE_BYTES_MAX;
}

/** Whether a store has what the model has, by iterating and by asking. */
async function holds(store: Store, model: Model): Promise<boolean> {
  let count = 0;
  for await (const { key, value } of store.entries({})) {
    const expected = model.get(toHex(key));
    if (expected === undefined || !bytesEqual(expected, value) || !bytesEqual(store.get(key) ?? u32(0), value)) return false;
    count += 1;
  }
  return count === model.size;
}

async function countOf(store: Store): Promise<number> {
  let count = 0;
  for await (const { key } of store.entries({ reverse: true })) if (key.length > 0) count += 1;
  return count;
}
