import t from "tap";
import { utf8 } from "../../crypto/base/bytes.ts";
import { codeOf } from "../../crypto/base/error.ts";
import { storeConformance } from "../../chain/store/testing/conformance.ts";
import type { Store } from "../../chain/store/store.ts";
import { heightOf } from "../../chain/block/height.ts";
import { WriteAheadLog } from "../../node/driver/wal.ts";
import { type Disk, replaceFile } from "../../node/ports/disk.ts";
import { Agenda, settled } from "./agenda.ts";
import { type CutMode, DiskImage } from "./disk.ts";
import { Random } from "./random.ts";
import { openSimulatedStore } from "./store.ts";

type Machine = { readonly agenda: Agenda; readonly image: DiskImage; readonly disk: Disk };

function machine(seed = "disk"): Machine {
  const agenda = new Agenda();
  const image = new DiskImage({ agenda, random: new Random(seed), syncMsMean: 1 });
  return { agenda, image, disk: mount(image) };
}

function mount(image: DiskImage): Disk {
  return image.mount({ isAlive: true, pausedUntilMs: 0 }, () => undefined);
}

/** Runs the simulated time that `work` takes. */
async function during<T>({ agenda }: Machine, work: Promise<T>): Promise<T> {
  let isDone = false;
  const done = work.finally(() => {
    isDone = true;
  });
  done.catch(() => undefined); // Awaited below.
  await settled();
  while (!isDone && agenda.step(Number.MAX_SAFE_INTEGER)) await settled();
  return await done;
}

async function textOf(disk: Disk, path: string): Promise<string | undefined> {
  const bytes = await disk.read(path, 1_000_000);
  return bytes === undefined ? undefined : Buffer.from(bytes).toString();
}

/** Makes a file durable, name and all. */
async function keep(disk: Disk, path: string, text: string): Promise<void> {
  await disk.makeDirectory("/d");
  await disk.syncDirectory("/");
  await replaceFile(disk, path, utf8(text));
}

t.test("what was synced survives every cut, what was not is lost", async (t) => {
  for (const mode of ["lost", "torn", "scattered", "kept"] as const satisfies readonly CutMode[]) {
    const at = machine();
    await during(at, keep(at.disk, "/d/a", "synced"));
    const file = await at.disk.open("/d/a", "existing");
    file.append(utf8(", not synced"));
    t.equal(await textOf(at.disk, "/d/a"), "synced, not synced", "a program reads what it wrote");
    at.image.cut(mode);
    const left = await textOf(mount(at.image), "/d/a");
    t.ok(left?.startsWith("synced"), `${mode}: ${left}`);
    if (mode === "lost") t.equal(left, "synced");
    if (mode === "kept") t.equal(left, "synced, not synced");
  }
});

t.test("a rename without a sync of its directory is undone, and one with it stays", async (t) => {
  const at = machine();
  await during(at, keep(at.disk, "/d/a", "old"));
  const file = await at.disk.open("/d/b", "new");
  file.append(utf8("new"));
  await during(at, file.sync());
  await at.disk.rename("/d/b", "/d/a");
  t.equal(await textOf(at.disk, "/d/a"), "new");
  at.image.cut("lost");
  t.equal(await textOf(mount(at.image), "/d/a"), "old");

  await during(at, keep(mount(at.image), "/d/a", "new"));
  at.image.cut("lost");
  t.equal(await textOf(mount(at.image), "/d/a"), "new");
});

t.test("a sync that failed has saved nothing, and the next one does not save it either", async (t) => {
  const at = machine();
  await during(at, keep(at.disk, "/d/a", "one"));
  const file = await at.disk.open("/d/a", "existing");
  file.append(utf8(" two"));
  at.image.failSyncs(1);
  await t.rejects(during(at, file.sync()), { code: "EIO" });
  await during(at, file.sync());
  t.equal(await textOf(at.disk, "/d/a"), "one two", "the page cache still has it");
  at.image.cut("kept");
  t.equal(await textOf(mount(at.image), "/d/a"), "one");
  t.same(
    at.image.damages.map(({ path, kind }) => ({ path, kind })),
    [{ path: "/d/a", kind: "syncFailed" }],
  );
});

t.test("a full disk takes a part and refuses the rest, until there is room", async (t) => {
  const at = machine();
  const file = await at.disk.open("/a", "new");
  at.image.fillUntil(10);
  t.throws(() => file.append(new Uint8Array(100)), { code: "ENOSPC" });
  t.ok(((await at.disk.read("/a", 1000))?.length ?? 0) <= 100);
  at.agenda.step(10);
  t.doesNotThrow(() => file.append(new Uint8Array(100)));
});

t.test("a torn write keeps a prefix in whole sectors, and at most one sector of garbage behind it", async (t) => {
  const lengths = new Set<number>();
  let garbage = 0;
  for (let seed = 0; seed < 200; seed += 1) {
    const at = machine(`torn ${seed}`);
    const file = await at.disk.open("/a", "new");
    await during(at, at.disk.syncDirectory("/"));
    file.append(new Uint8Array(3000).fill(7));
    at.image.cut("torn");
    const left = present(await mount(at.image).read("/a", 10_000));
    const good = left.findIndex((byte) => byte !== 7);
    const prefix = good === -1 ? left.length : good;
    if (good !== -1) garbage += 1;
    t.ok(left.length - (prefix - (prefix % 512)) <= 1024 || good === -1, `${left.length} bytes, ${prefix} good`);
    lengths.add(left.length);
  }
  t.ok(lengths.size > 5, `${lengths.size} lengths`);
  t.ok(garbage > 10, `${garbage} with garbage`);
});

t.test("a stretch that was not synced is lost or torn at a power cut, and takes no memory however long it is", async (t) => {
  const sizes = new Map<CutMode, Set<number>>();
  for (let seed = 0; seed < 120; seed += 1) {
    const mode = (["lost", "torn", "scattered", "kept"] as const)[seed % 4] ?? "lost";
    const at = machine(`stretch ${seed}`);
    const file = await at.disk.open("/a", "new");
    await during(at, at.disk.syncDirectory("/"));
    file.append(utf8("head"));
    file.truncate(2 ** 40);
    await during(at, file.sync());
    file.truncate(2 ** 40 + 1000);
    file.truncate(2 ** 40 + 2000);
    t.equal(file.sizeBytes(), 2 ** 40 + 2000, "a program sees what it did");
    at.image.cut(mode);
    const left = (await mount(at.image).open("/a", "existing")).sizeBytes() - 2 ** 40;
    t.ok(left >= 0 && left <= 2000, `seed ${seed}: ${left} beyond what was synced`);
    sizes.set(mode, (sizes.get(mode) ?? new Set()).add(left));
  }
  t.same([...(sizes.get("lost") ?? [])], [0]);
  t.same([...(sizes.get("kept") ?? [])], [2000]);
  t.same(
    [...(sizes.get("scattered") ?? [])].toSorted((a, b) => a - b),
    [0, 1000, 2000],
  );
  t.ok(
    [...(sizes.get("torn") ?? [])].some((size) => size % 1000 !== 0),
    "a size between the two",
  );
  const at = machine("stretch and cut");
  const file = await at.disk.open("/a", "new");
  file.append(utf8("head"));
  file.truncate(2);
  file.truncate(6);
  t.equal(await textOf(at.disk, "/a"), "he\0\0\0\0", "what was cut off does not come back");
  at.image.fillUntil(10);
  t.throws(() => file.truncate(7), { code: "ENOSPC" });
  t.doesNotThrow(() => file.truncate(3), "cutting needs no room");
});

t.test("a misdirected write is missing where it belongs and harms another file, and both are reported", async (t) => {
  const at = machine();
  await during(at, keep(at.disk, "/d/victim", "v".repeat(2000)));
  const file = await at.disk.open("/d/a", "new");
  at.image.misdirectNext();
  file.append(new Uint8Array(1000).fill(1));
  await during(at, file.sync());
  await during(at, at.disk.syncDirectory("/d"));
  at.image.cut("lost");
  const left = present(await mount(at.image).read("/d/a", 10_000));
  t.same([left[0], left[511], left[512], left[999]], [0, 0, 1, 1]);
  t.not(await textOf(mount(at.image), "/d/victim"), "v".repeat(2000));
  t.same(
    at.image.damages.map(({ kind }) => kind),
    ["misdirected", "overwritten"],
  );
});

t.test("what a dead process does to the disk changes nothing, and what it waits for never comes", async (t) => {
  const at = machine();
  const life = { isAlive: true, pausedUntilMs: 0 };
  let isOver = false;
  const disk = at.image.mount(life, (operation, when) => {
    if (operation === "append" && when === "after") life.isAlive = false;
  });
  const file = await disk.open("/a", "new");
  file.append(utf8("last"));
  file.append(utf8("never"));
  void file.sync().then(() => {
    isOver = true;
  });
  await settled();
  while (at.agenda.step(1000)) await settled();
  t.notOk(isOver);
  t.equal(await textOf(at.disk, "/a"), "last");
});

t.test("the store keeps the contract of stores", async (t) => {
  await storeConformance(t, async () => {
    const at = machine();
    const opening = openSimulatedStore({ disk: at.disk, path: "/s/log" });
    const pump = setInterval(() => void at.agenda.step(Number.MAX_SAFE_INTEGER), 0);
    const store = await opening;
    const close = store[Symbol.asyncDispose].bind(store);
    return Object.assign(store, {
      [Symbol.asyncDispose]: async () => {
        await close();
        clearInterval(pump);
      },
    });
  });
});

t.test("a store opens at what was synced, or at a whole batch after it", async (t) => {
  for (let seed = 0; seed < 100; seed += 1) {
    const at = machine(`store ${seed}`);
    const store = await during(at, openSimulatedStore({ disk: at.disk, path: "/s/log" }));
    await during(at, store.write([put("a", "1"), put("b", "1")], { sync: true }));
    void store.write([put("a", "2"), put("b", "2"), put("c", "x".repeat(2000))], { sync: false });
    void store.write([put("a", "3"), put("b", "3")], { sync: false });
    await settled();
    at.image.cut((["lost", "torn", "kept"] as const)[seed % 3] ?? "lost");
    const again = { ...at, disk: mount(at.image) };
    const opened = await during(again, openSimulatedStore({ disk: again.disk, path: "/s/log" }));
    const [a, b] = [valueOf(opened, "a"), valueOf(opened, "b")];
    t.equal(a, b, `seed ${seed}`);
    t.ok(["1", "2", "3"].includes(a ?? ""), `seed ${seed}: ${a}`);
  }
});

t.test("a flipped bit before the end of a store is found", async (t) => {
  let found = 0;
  for (let seed = 0; seed < 40; seed += 1) {
    const at = machine(`flip ${seed}`);
    const store = await during(at, openSimulatedStore({ disk: at.disk, path: "/s/log" }));
    for (let index = 0; index < 10; index += 1) await during(at, store.write([put(`${index}`, "x".repeat(200))], { sync: true }));
    t.ok(at.image.flipBit("log"));
    at.image.cut("lost");
    const again = { ...at, disk: mount(at.image) };
    try {
      const opened = await during(again, openSimulatedStore({ disk: again.disk, path: "/s/log" }));
      // Only the last batch can look torn: then it is gone whole.
      t.same([valueOf(opened, "8"), valueOf(opened, "9")], ["x".repeat(200), undefined], `seed ${seed}`);
    } catch (error) {
      t.equal(codeOf(error), "store_corrupt");
      found += 1;
    }
  }
  t.ok(found > 25, `${found} of 40`);
});

function put(key: string, value: string) {
  return { kind: "put" as const, key: utf8(key), value: utf8(value) };
}

function valueOf(store: Store, key: string): string | undefined {
  const bytes = store.get(utf8(key));
  return bytes === undefined ? undefined : Buffer.from(bytes).toString();
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("missing");
  return value;
}

t.test("what a killed process had said and not synced is synced before the next one counts on it", async (t) => {
  const at = machine();
  await during(at, keep(at.disk, "/d/other", "there"));
  const height = heightOf(1n);
  const killed = new WriteAheadLog("/d", at.disk);
  await during(at, killed.start(height));
  // Its sync never ends: the process is killed, the machine goes on.
  void killed.append(height, utf8("said")).catch(() => undefined);
  const next = new WriteAheadLog("/d", mount(at.image));
  t.same(await during(at, next.start(height)), [utf8("said")], "from the system's memory");
  at.image.cut("lost");
  const last = new WriteAheadLog("/d", mount(at.image));
  t.same(await during(at, last.start(height)), [utf8("said")], "and no power cut takes it back");
});

t.test("a directory is there after a power cut once it was made, and so is what is synced in it", async (t) => {
  const made = machine();
  const { disk, image } = made;
  await during(made, disk.makeDirectory("/node/data/wal"));
  const file = await during(made, disk.open("/node/data/wal/a", "existing"));
  file.append(utf8("kept"));
  await during(made, file.sync());
  await during(made, disk.syncDirectory("/node/data/wal"));
  image.cut("lost");
  t.equal(await textOf(mount(image), "/node/data/wal/a"), "kept");
});

t.test("looking makes nothing", async (t) => {
  const at = machine();
  t.equal(await at.disk.read("/node/wal/1.log", 100), undefined);
  t.equal(await at.disk.identityOf("/node/wal/1.log"), undefined);
  t.same(await at.disk.list("/node/wal"), []);
  await during(at, at.disk.makeDirectory("/node/wal"));
  await during(at, keep(at.disk, "/node/wal/a", "kept"));
  at.image.cut("lost");
  t.equal(await textOf(mount(at.image), "/node/wal/a"), "kept", "the directory was made by whoever asked for it, durably");
});
