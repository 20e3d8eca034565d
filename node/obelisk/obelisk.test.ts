/** Counters and ids on the machine's own disk. What a failing disk does to them is in `testnet/obelisk`. */

import { cpSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { toHex } from "../../crypto/base/bytes.ts";
import { nodeNumberOf, SCARAB_EPOCH_MS, scarabFields } from "../../crypto/id/scarab.ts";
import { SCARAB_WINDOW_ALWAYS } from "../../crypto/id/generator.ts";
import { heightOf } from "../../chain/block/height.ts";
import { keyPairAt } from "../../chain/block/testing/fixtures.ts";
import { NUMBER_LEASE_MS } from "../../contracts/numbers.ts";
import { testLog } from "../network/testing/nodes.ts";
import { DevNet } from "../rpc/testing/devnet.ts";
import { NumberKeeper } from "./number-keeper.ts";
import { SYSTEM_CLOCK } from "../ports/clock.ts";
import { type Disk, SYSTEM_DISK } from "../ports/disk.ts";
import { Counters } from "./counters.ts";
import { COUNT_MAX, FILE_VALUES } from "./limits.ts";
import { takeSystemLock } from "./lock.ts";
import { Obelisk, type ObeliskOptions } from "./obelisk.ts";
import { Scarabs } from "./scarabs.ts";

const NEVER = new AbortController().signal;

function directory(t: { teardown(act: () => void): void }): string {
  const path = mkdtempSync(join(tmpdir(), "pyralog-obelisk-"));
  t.teardown(() => rmSync(path, { recursive: true }));
  return path;
}

/** The disk, and how many syncs of files it was asked for. */
function counted(): { readonly disk: Disk; readonly syncs: () => number } {
  let syncs = 0;
  const open: Disk["open"] = async (path, mode) => {
    const file = await SYSTEM_DISK.open(path, mode);
    const sync = async (): Promise<void> => {
      syncs += 1;
      await file.sync();
    };
    return { ...file, sync };
  };
  return { disk: { ...SYSTEM_DISK, open }, syncs: () => syncs };
}

function optionsAt(path: string): ObeliskOptions {
  return { path, disk: SYSTEM_DISK, clock: SYSTEM_CLOCK, takeLock: takeSystemLock };
}

t.test("values come once and in order, by a lease from memory, and after a restart from the mark on", async (t) => {
  const path = directory(t);
  const { disk, syncs } = counted();
  {
    await using counters = await Counters.open({ path, disk, leaseCount: 1000 });
    t.same(await counters.next("orders", 3), { first: 0n, count: 3 });
    t.same(await counters.next("orders", 1), { first: 3n, count: 1 });
    t.equal(syncs(), 1, "one sync paid for both");
    t.same(counters.tryNext("orders", 4), { first: 4n, count: 4 });
    t.same(await counters.next("others", 1), { first: 0n, count: 1 }, "each name counts for itself");
    t.equal(statSync(join(path, "orders@000000")).size, 1003);
    t.equal(statSync(join(path, "orders@000000")).blocks, 0, "no block holds a counter");
    t.same(await counters.state("orders"), { next: 8n, mark: 1003n });
    t.equal(await counters.state("unknown"), undefined);
  }
  await using counters = await Counters.open({ path, disk, leaseCount: 1000 });
  t.same(counters.names(), ["orders", "others"]);
  t.same(await counters.next("orders", 1), { first: 1003n, count: 1 }, "the rest of the lease is skipped");
});

t.test("half of a lease is left when the next one is fetched, so that nobody waits for the disk", async (t) => {
  const { disk, syncs } = counted();
  await using counters = await Counters.open({ path: directory(t), disk, leaseCount: 100 });
  await counters.next("a", 1);
  t.ok(counters.tryNext("a", 50));
  t.equal(syncs(), 1);
  t.ok(counters.tryNext("a", 10), "from what is left");
  while (((await counters.state("a"))?.mark ?? 0n) < 201n) await new Promise((resolve) => setTimeout(resolve, 1));
  t.equal(syncs(), 2, "nobody asked for it");
  t.ok(counters.tryNext("a", 100), "more than was left before");
});

t.test("callers who come together share one sync, and with sync nothing is skipped", async (t) => {
  const path = directory(t);
  const { disk, syncs } = counted();
  {
    await using counters = await Counters.open({ path, disk, durability: "sync" });
    const ranges = await Promise.all(Array.from({ length: 500 }, async () => await counters.next("a", 2)));
    t.same(
      ranges.map(({ first }) => first),
      Array.from({ length: 500 }, (_, index) => 2n * BigInt(index)),
    );
    t.ok(syncs() <= 3, `${syncs()} syncs for 500 callers`);
    t.equal(counters.tryNext("a", 1), undefined, "nothing leaves from memory");
  }
  await using counters = await Counters.open({ path, disk, durability: "sync" });
  t.same(await counters.next("a", 1), { first: 1000n, count: 1 });
});

t.test("without syncs values come as well, and no sync is asked for", async (t) => {
  const { disk, syncs } = counted();
  await using counters = await Counters.open({ path: directory(t), disk, durability: "none" });
  t.same(await counters.next("a", 5), { first: 0n, count: 5 });
  t.same(await counters.next("a", 5), { first: 5n, count: 5 });
  t.equal(syncs(), 0);
});

t.test("a counter goes on in a new file before a file system would stop it", async (t) => {
  const path = directory(t);
  writeFileSync(join(path, "a@000000"), "");
  truncateSync(join(path, "a@000000"), Number(FILE_VALUES) - 10);
  {
    await using counters = await Counters.open({ path, disk: SYSTEM_DISK, leaseCount: 4 });
    const ranges = [];
    for (let each = 0; each < 6; each += 1) ranges.push(await counters.next("a", 3));
    t.same(
      ranges.map(({ first }) => first - FILE_VALUES),
      [-10n, -7n, -4n, -1n, 2n, 5n],
      "without a gap across the files",
    );
    t.same(readdirSync(path), ["a@000001"], "the old file is gone");
  }
  // As a kill between making the new file and removing the old one leaves it.
  writeFileSync(join(path, "a@000000"), "");
  truncateSync(join(path, "a@000000"), Number(FILE_VALUES));
  await using counters = await Counters.open({ path, disk: SYSTEM_DISK, leaseCount: 4 });
  t.ok((await counters.next("a", 1)).first > FILE_VALUES + 7n);
});

t.test("a counter ends at 2^64, and a file that no counter makes is refused", async (t) => {
  const path = directory(t);
  writeFileSync(join(path, "a@ffffff"), "");
  truncateSync(join(path, "a@ffffff"), Number(FILE_VALUES) - 10);
  writeFileSync(join(path, "b@000000"), "");
  truncateSync(join(path, "b@000000"), Number(FILE_VALUES) + 1);
  writeFileSync(join(path, "not a counter"), "");
  await using counters = await Counters.open({ path, disk: SYSTEM_DISK, leaseCount: 4 });
  t.same(await counters.next("a", 2), { first: (1n << 64n) - 10n, count: 2 });
  await t.rejects(counters.next("a", 9), { code: "obelisk_exhausted" });
  await t.rejects(counters.next("b", 1), { code: "obelisk_corrupt" });
  t.same(counters.names(), ["a", "b"]);
});

t.test("another writer is noticed, and then nothing is issued any more", async (t) => {
  const path = directory(t);
  await using counters = await Counters.open({ path, disk: SYSTEM_DISK, leaseCount: 1 });
  await counters.next("a", 1);
  truncateSync(join(path, "a@000000"), 1000);
  await t.rejects(counters.next("a", 10), { code: "obelisk_writer" });
  truncateSync(join(path, "a@000000"), 2);
  await t.rejects(counters.next("a", 1), { code: "obelisk_writer" });
});

t.test("names, counts and numbers of counters are bounded, and few files are open", async (t) => {
  const path = directory(t);
  await using counters = await Counters.open({ path, disk: SYSTEM_DISK, openMax: 2, countersMax: 3, leaseCount: 10 });
  for (const wrong of ["", "A", "a/b", "../a", "a@0", "-a", "a".repeat(65)])
    await t.rejects(counters.next(wrong, 1), { code: "obelisk_name" }, JSON.stringify(wrong));
  for (const wrong of [0, -1, 0.5, Number.NaN, COUNT_MAX + 1])
    await t.rejects(counters.next("a", wrong), { code: "obelisk_count" }, `${wrong}`);
  t.same(counters.names(), [], "what was refused has made nothing");
  const firsts = [];
  for (const name of ["a", "b", "c", "a", "c", "a"]) firsts.push((await counters.next(name, 1)).first);
  t.same(firsts, [0n, 0n, 0n, 11n, 1n, 12n], "the one used least recently was closed, with its lease");
  t.same(counters.counts, { counters: 3, open: 2 });
  await t.rejects(counters.next("d", 1), { code: "obelisk_counters" });
  const many = await Promise.all(["a", "b", "c", "b", "a", "c"].map(async (name) => await settledCode(counters.next(name, 1))));
  t.ok(
    many.every((code) => code === "" || code === "obelisk_busy"),
    `${many.join()}: thrashing refuses, and loses nothing`,
  );
});

async function settledCode(promise: Promise<unknown>): Promise<string> {
  return await promise.then(
    () => "",
    (error: { code: string }) => error.code,
  );
}

t.test("one process has a directory, and the next one has it when that closes", async (t) => {
  const path = directory(t);
  const first = await Obelisk.open(optionsAt(path));
  await t.rejects(Obelisk.open(optionsAt(path)), { code: "obelisk_locked" });
  t.same(await first.counters.next("a", 1), { first: 0n, count: 1 });
  await first[Symbol.asyncDispose]();
  await t.rejects(first.counters.next("a", 1), { code: "obelisk_closed" });
  await using second = await Obelisk.open(optionsAt(path));
  t.ok((await second.counters.next("a", 1)).first >= 1n);
});

t.test("a copy of a directory is another one: it gives out nothing under the name of the first", async (t) => {
  const [path, copy] = [join(directory(t), "a"), join(directory(t), "b")];
  const first = await Obelisk.open(optionsAt(path));
  await first.counters.next("a", 1000);
  const { incarnation } = first;
  await first[Symbol.asyncDispose]();
  cpSync(path, copy, { recursive: true, preserveTimestamps: true });
  {
    await using again = await Obelisk.open(optionsAt(path));
    t.same(again.incarnation, incarnation, "the directory itself is what it was");
  }
  await using other = await Obelisk.open(optionsAt(copy));
  t.not(toHex(other.incarnation), toHex(incarnation));
  t.same(await other.counters.next("a", 1), { first: 0n, count: 1 }, "its counters begin anew, under its own name");
});

t.test("ids are made under a number, a space each, and time is reserved before it is used", async (t) => {
  const path = directory(t);
  let nowMs = 1_800_000_000_000;
  const clock = { ...SYSTEM_CLOCK, wallMs: () => nowMs };
  const lease = { node: nodeNumberOf(7), window: SCARAB_WINDOW_ALWAYS };
  const { disk, syncs } = counted();
  {
    await using scarabs = await Scarabs.open({ path, disk, clock, spacesMax: 2 });
    await t.rejects(scarabs.take("orders", 1, NEVER), { code: "obelisk_number" });
    scarabs.use(lease);
    const runs = await scarabs.take("orders", 10_000, NEVER);
    t.same(
      runs.map(({ first, count }) => ({ ...scarabFields(first), count })),
      [
        { timeMs: nowMs, node: 7, sequence: 0, count: 8192 },
        { timeMs: nowMs + 1, node: 7, sequence: 0, count: 1808 },
      ],
    );
    t.equal(syncs(), 1);
    t.equal(statSync(join(path, "orders@000000")).size, nowMs + 2000 - SCARAB_EPOCH_MS);
    t.same(scarabs.tryTake("orders", 5)?.count, 5);
    t.same((await scarabs.take("other", 1, NEVER))[0]?.first, runs[0]?.first, "another space may have ids that look alike");
    await t.rejects(scarabs.take("third", 1, NEVER), { code: "obelisk_spaces" });
    await t.rejects(scarabs.take("Bad", 1, NEVER), { code: "obelisk_name" });
    nowMs -= 20_000;
    await t.rejects(scarabs.take("orders", 1, NEVER), { code: "clock_behind" });
    scarabs.use(undefined);
    t.equal(scarabs.tryTake("orders", 1), undefined);
    nowMs += 20_000;
  }
  await using scarabs = await Scarabs.open({ path, disk, clock });
  scarabs.use(lease);
  const [run] = await scarabs.take("orders", 1, NEVER);
  t.equal(run === undefined ? 0 : scarabFields(run.first).timeMs, nowMs + 2000, "a life begins at the mark of the one before");
  scarabs.use({ node: nodeNumberOf(8), window: { startMs: nowMs, endMs: nowMs + 6000 } });
  t.equal((await scarabs.take("orders", 1, NEVER)).length, 1);
  nowMs += 6000;
  await t.rejects(scarabs.take("orders", 1, NEVER), { code: "scarab_window" });
  scarabs.use({ node: nodeNumberOf(8), window: { startMs: nowMs - 6000, endMs: nowMs + 10 } });
  t.equal((await scarabs.take("orders", 1, NEVER)).length, 1, "a renewed lease goes on");
});

t.test("a node claims a number, renews it at half, and stops at its end; a copy of its home does not use it", async (t) => {
  await using devnet = await DevNet.open({ accounts: 1 });
  const keyPair = keyPairAt(100);
  // Block time is that of the ids: the machine's clock is far ahead of the genesis of tests.
  devnet.blockMs = 100_000_000_000n;
  await devnet.commit();
  devnet.blockMs = 1000n;
  const clock = { ...SYSTEM_CLOCK, wallMs: () => Number(devnet.ledger.head().timeMs) };
  const keeperOf = (obelisk: Obelisk): NumberKeeper =>
    new NumberKeeper({
      ledger: devnet.ledger,
      network: devnet.network,
      obelisk,
      keyPair,
      submit: async (bytes) => await devnet.backend.submit(bytes),
      draw: () => 0.999,
      log: testLog,
    });
  await using obelisk = await Obelisk.open({ ...optionsAt(directory(t)), clock });
  await using copy = await Obelisk.open({ ...optionsAt(directory(t)), clock });
  const keeper = keeperOf(obelisk);
  const step = async (blockMs: bigint): Promise<void> => {
    devnet.blockMs = blockMs;
    await keeper.follow();
    await devnet.commit();
    await keeper.follow();
  };
  await step(1000n);
  t.equal(obelisk.scarabs.lease?.node, 1023, "the upper half, from where the draw said");
  const startMs = obelisk.scarabs.lease?.window.startMs ?? 0;
  const [run] = await obelisk.scarabs.take("a", 1, NEVER);
  const fields = run === undefined ? undefined : scarabFields(run.first);
  t.ok(fields !== undefined && keeper.isLeased(fields), "an id under the lease");
  t.notOk(keeper.isLeased({ node: nodeNumberOf(1023), timeMs: startMs - 1, sequence: 0 }), "not before it");
  t.notOk(keeper.isLeased({ node: nodeNumberOf(1022), timeMs: startMs, sequence: 0 }), "nor under another number");
  const before = devnet.ledger.head().height;
  await step(1000n);
  t.equal(devnet.ledger.block(heightOf(before + 1n))?.transactions.length, 0, "nothing to renew yet");
  await keeperOf(copy).follow();
  t.equal(copy.scarabs.lease, undefined, "another directory of the same key");
  await step(NUMBER_LEASE_MS / 2n);
  await step(1000n);
  t.ok((obelisk.scarabs.lease?.window.endMs ?? 0) > startMs + Number(NUMBER_LEASE_MS), "renewed");
  devnet.blockMs = NUMBER_LEASE_MS + 1n;
  await devnet.commit();
  await t.rejects(obelisk.scarabs.take("a", 1, NEVER), { code: "scarab_window" });
  await step(1000n);
  t.equal((await obelisk.scarabs.take("a", 1, NEVER)).length, 1, "claimed anew");
  t.ok((obelisk.scarabs.lease?.window.startMs ?? 0) > startMs);
});

t.test("a full second of ids is borrowed, then the clock is waited for, or the caller gives up", async (t) => {
  const nowMs = 1_800_000_000_000;
  const clock = { ...SYSTEM_CLOCK, wallMs: () => nowMs };
  await using scarabs = await Scarabs.open({
    path: directory(t),
    disk: SYSTEM_DISK,
    clock,
    clockOptions: { borrowMsMax: 2, behindMsMax: 10, reserveMs: 100 },
  });
  scarabs.use({ node: nodeNumberOf(7), window: SCARAB_WINDOW_ALWAYS });
  t.equal((await scarabs.take("a", 3 * 8192, NEVER)).length, 3);
  await t.rejects(scarabs.take("a", 1, AbortSignal.timeout(20)), { name: "TimeoutError" });
});
