/** Miners with real ledgers, real search threads and a wire in one process. */

import t, { type Test } from "tap";
import { assert, present } from "../../crypto/base/assert.ts";
import { toHex, utf8 } from "../../crypto/base/bytes.ts";
import { codeOf } from "../../crypto/base/error.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { hash } from "../../crypto/hash/hash.ts";
import { heightOf } from "../../chain/block/height.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import type { PowProtocol } from "../../chain/block/protocol.ts";
import type { Transaction } from "../../chain/block/transaction.ts";
import { meetsTarget, type Nonces, WORK_END } from "../../chain/block/work.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import type { Store } from "../../chain/store/store.ts";
import { encodePowMessage, type PowMessage, parsePowMessage } from "../../consensus/pow/message.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { type Clock, SYSTEM_CLOCK } from "../ports/clock.ts";
import { MiningDriver } from "./mining.ts";
import { countUpTo, nonceAfter, type SearchJob, type Searcher, WorkerSearcher } from "./searcher.ts";
import { addressAt, mineBlock, minedNetwork, sealFor, spend } from "./testing/miner.ts";
import { SILENT } from "./testing/wire.ts";

// Searching.

t.test("a search finds nonces that seal, and a new one takes the place of the one before", async (t) => {
  await using searcher = new WorkerSearcher({ workers: 2, clock: SYSTEM_CLOCK });
  const one = hash("header", utf8("one"));
  const target = WORK_END / 20_000n;
  const found = await found1(searcher, { headerHash: one, target });
  t.ok(meetsTarget(one, found, target));
  t.ok(found.extraNonce < 2n, "an extra nonce of a worker");
  // One that nobody finds, and then one that somebody does.
  searcher.search({ headerHash: one, target: 1n }, () => t.fail("of a search that was ended"));
  const two = hash("header", utf8("two"));
  t.ok(meetsTarget(two, await found1(searcher, { headerHash: two, target }), target));
  searcher.search({ headerHash: one, target: WORK_END / 4n }, () => t.fail("of a search that was ended"));
  searcher.rest();
  t.ok(meetsTarget(two, await found1(searcher, { headerHash: two, target: target / 2n }), target / 2n));
});

t.test("a searcher says how fast it is, and nothing at rest", async (t) => {
  let ms = 0;
  // Each look at the clock is a second later.
  const clock: Clock = { ...SYSTEM_CLOCK, monotonicMs: () => (ms += 1000) };
  await using searcher = new WorkerSearcher({ workers: 1, clock });
  t.equal(searcher.hashesPerSecond, 0);
  const found = Promise.withResolvers<void>();
  const rates: number[] = [];
  const again = (left: number): void => {
    // Whatever was tried is reported with what was found.
    searcher.search({ headerHash: hash("header", utf8(`${left}`)), target: WORK_END / 20_000n }, () => {
      if (left === 0) found.resolve();
      else again(left - 1);
      rates.push(searcher.hashesPerSecond);
    });
  };
  again(5);
  await found.promise;
  t.ok(
    rates.some((rate) => rate > 0),
    `${rates.join(" ")}`,
  );
  searcher.rest();
  t.equal(searcher.hashesPerSecond, 0);
});

t.test("when all nonces under an extra nonce are used up, the next of the same worker follows", (t) => {
  const last = (1n << 64n) - 1n;
  t.equal(countUpTo({ extraNonce: 0n, nonce: last - 9n }, 4096), 10);
  t.equal(countUpTo({ extraNonce: 0n, nonce: 0n }, 4096), 4096);
  t.same(nonceAfter({ extraNonce: 1n, nonce: last - 9n }, 10, 4n), { extraNonce: 5n, nonce: 0n });
  t.same(nonceAfter({ extraNonce: 1n, nonce: last - 9n }, 9, 4n), { extraNonce: 1n, nonce: last });
  t.same(nonceAfter({ extraNonce: last, nonce: last }, 1, 1n), { extraNonce: 0n, nonce: 0n }, "after 2^128");
  t.end();
});

async function found1(searcher: Searcher, job: SearchJob): Promise<Nonces> {
  return await new Promise((resolve) => searcher.search(job, resolve));
}

// Driving.

/** Some thousand hashes a block to begin with: a few milliseconds of one thread. */
const QUICK: Partial<PowProtocol> = { targetIntervalMs: 100, halfLifeMs: 2_000, targetBitsMax: 0x1f_0f_ff_ff };

/** Drivers by name, joined to each other. */
class Wire {
  readonly drivers = new Map<string, MiningDriver>();
  /** What was said, and to whom. */
  readonly said: { readonly from: string; readonly to: string; readonly message: PowMessage }[] = [];

  send(from: string, to: string, bytes: Uint8Array): void {
    const parsed = parsePowMessage(bytes);
    assert(parsed.ok, "a driver sends what it can read");
    this.said.push({ from, to, message: parsed.value });
    for (const [name, driver] of this.drivers) {
      if (name !== from && (to === "all" || to === name)) void driver.receive(from, bytes);
    }
  }
}

type Miner = { readonly driver: MiningDriver; readonly ledger: Ledger; readonly store: Store; readonly undone: bigint[] };

async function miner(
  t: Test,
  wire: Wire,
  name: string,
  options: {
    readonly store?: Store;
    readonly isMining?: boolean;
    readonly network?: NetworkFile;
    readonly clock?: Clock;
    readonly reap?: () => readonly Transaction[];
    readonly account?: number;
  } = {},
): Promise<Miner> {
  const { store = openMemoryStore(), isMining = false, network = minedNetwork(QUICK), clock = SYSTEM_CLOCK } = options;
  const ledger = await Ledger.open({ store, network, executor: EXECUTOR });
  const undone: bigint[] = [];
  ledger.onRollback(({ header }) => void undone.push(header.height));
  const driver = new MiningDriver({
    ledger,
    clock,
    self: isMining ? addressAt(options.account ?? 0) : undefined,
    searcher: isMining ? new WorkerSearcher({ workers: 1, clock }) : undefined,
    broadcast: (bytes) => wire.send(name, "all", bytes),
    sendTo: (peer, bytes) => wire.send(name, peer, bytes),
    reap: options.reap ?? (() => []),
    isVerified: () => false,
    onDropped: () => undefined,
    log: SILENT,
  });
  wire.drivers.set(name, driver);
  t.teardown(async () => {
    await driver[Symbol.asyncDispose]();
  });
  driver.start();
  return { driver, ledger, store, undone };
}

/** Resolves when a ledger's head fulfils something; rejects when the driver has failed. */
async function until({ ledger, driver }: Miner, isSo: (height: bigint) => boolean): Promise<void> {
  const reached = Promise.withResolvers<void>();
  const look = (): void => {
    if (isSo(ledger.head().height)) reached.resolve();
  };
  using _ = ledger.onCommit(look);
  look();
  await Promise.race([reached.promise, driver.failed]);
}

t.test("a miner orders what waits, and whoever follows it has the same chain and state", async (t) => {
  const wire = new Wire();
  const pool = new Map<string, Transaction>();
  const first = spend(2, 0n, [{ kind: "tableCreate", namespace: "n", table: "t" }]);
  const second = spend(2, 1n, [{ kind: "tablePut", namespace: "n", table: "t", key: utf8("k"), value: encodeValue(7) }]);
  for (const transaction of [first, second]) pool.set(toHex(transaction.id), transaction);
  const a = await miner(t, wire, "a", { isMining: true, reap: () => [...pool.values()] });
  const b = await miner(t, wire, "b");
  a.ledger.onCommit(({ block }) => {
    for (const { id } of block.transactions) pool.delete(toHex(id));
  });
  await until(b, (height) => height >= 5n && b.ledger.findTransaction(second.id) !== undefined);
  const { height } = b.ledger.head();
  t.same(a.ledger.header(height), b.ledger.header(height));
  t.equal(a.ledger.findTransaction(first.id)?.height, b.ledger.findTransaction(first.id)?.height);
  t.equal(b.driver.height, b.ledger.head().height + 1n);
  t.equal(b.driver.hashesPerSecond, 0, "it only follows");
  const seals = Array.from({ length: Number(height) }, (_, index) =>
    present(b.ledger.certificate(heightOf(BigInt(index + 1))), "seal"),
  );
  t.ok(
    seals.every((seal) => seal.kind === "work"),
    "every block is sealed",
  );
});

t.test("a node on a branch of less work goes over, undoes its own blocks, and stands where a fresh replay stands", async (t) => {
  // Two miners who do not hear each other.
  const alone = await miner(t, new Wire(), "a", { isMining: true, account: 0 });
  await until(alone, (height) => height >= 3n);
  await alone.driver[Symbol.asyncDispose]();
  const short = alone.ledger.head().height;
  const wire = new Wire();
  const winner = await miner(t, wire, "b", { isMining: true, account: 1 });
  const workOf = (ledger: Ledger): bigint => {
    const seal = ledger.certificate(ledger.head().height);
    return seal?.kind === "work" ? seal.chainWork : 0n;
  };
  const own = workOf(alone.ledger);
  await until(winner, () => workOf(winner.ledger) > own);
  // The first one comes back on its own store, and hears the next announcement.
  const back = await miner(t, wire, "a", { store: alone.store });
  await until(back, (height) => height > 0n && back.undone.length > 0 && workOf(back.ledger) > own);
  await back.driver[Symbol.asyncDispose]();
  const { height } = back.ledger.head();
  t.same(winner.ledger.header(height), back.ledger.header(height));
  t.same(
    back.undone,
    Array.from({ length: Number(short) }, (_, index) => short - BigInt(index)),
    "newest first, down to genesis",
  );
  const fresh = await Ledger.open({ store: openMemoryStore(), network: back.ledger.network, executor: EXECUTOR });
  for (let each = 1n; each <= height; each += 1n) {
    const block = present(back.ledger.block(heightOf(each)), "block");
    const seal = present(back.ledger.certificate(heightOf(each)), "seal");
    t.ok((await fresh.checkCertificate(block, seal)).ok && (await fresh.judge(block)).ok, `block ${each}`);
    await fresh.commit(block, seal);
  }
  t.same(fresh.head(), back.ledger.head());
  const rows = async (store: Store): Promise<readonly string[]> => {
    const all: string[] = [];
    for await (const { key, value } of store.entries({})) all.push(`${toHex(key)} ${toHex(value)}`);
    return all;
  };
  t.same(await rows(back.store), await rows(fresh.store), "row for row");
});

t.test("two miners who hear each other keep one chain", async (t) => {
  const wire = new Wire();
  const a = await miner(t, wire, "a", { isMining: true, account: 0 });
  const b = await miner(t, wire, "b", { isMining: true, account: 1 });
  const settled = 12n;
  await Promise.all([until(a, (height) => height >= settled + 6n), until(b, (height) => height >= settled + 6n)]);
  const common = present(a.ledger.header(heightOf(settled)), "header");
  t.same(common, b.ledger.header(heightOf(settled)), "six blocks below the tips");
});

t.test("a node that starts again goes on from its own chain, alone", async (t) => {
  const wire = new Wire();
  const before = await miner(t, wire, "a", { isMining: true });
  await until(before, (height) => height >= 4n);
  await before.driver[Symbol.asyncDispose]();
  const { height, hash: head } = before.ledger.head();
  const after = await miner(t, wire, "a", { store: before.store, isMining: true });
  await until(after, (now) => now >= height + 2n);
  t.same(after.ledger.header(heightOf(height + 1n))?.previous, head);
  t.same(after.undone, []);
});

// What comes from peers.

/** A follower of an easy network, and blocks of a miner that it has not heard of. */
async function listener(
  t: Test,
  count: number,
  clock?: Clock,
): Promise<{ readonly node: Miner; readonly wire: Wire; readonly blocks: readonly PowMessage[] }> {
  const network = minedNetwork();
  const maker = await Ledger.open({ store: openMemoryStore(), network, executor: EXECUTOR });
  const blocks: PowMessage[] = [];
  for (let height = 1; height <= count; height += 1) {
    const block = await mineBlock(maker, []);
    const seal = maker.certificate(block.header.height);
    assert(seal?.kind === "work", "a seal");
    blocks.push({ kind: "announce", sealed: { header: block.header, seal }, block });
  }
  const wire = new Wire();
  const node = await miner(t, wire, "node", { network, ...(clock === undefined ? {} : { clock }) });
  await node.driver.retry(); // Begun.
  return { node, wire, blocks };
}

t.test("a new block is worth passing on once; what is no message or has no work is its sender's fault", async (t) => {
  const { node, blocks } = await listener(t, 2);
  const [one, two] = blocks.map(encodePowMessage);
  const { driver } = node;
  t.equal(await driver.receive("peer", Uint8Array.of(1, 2, 3)), "reject");
  t.equal(await driver.receive("peer", present(two, "orphan")), "ignore", "its parent is not known");
  t.equal(await driver.receive("peer", present(one, "block")), "accept");
  t.equal(await driver.receive("other", present(one, "block")), "ignore", "heard before");
  await until(node, (height) => height === 1n);
  const [, message] = blocks;
  assert(message?.kind === "announce" && message.block !== undefined, "an announcement");
  const { seal } = message.sealed;
  for (let nonce = 0n; ; nonce += 1n) {
    if (meetsTarget(seal.blockHash, { extraNonce: 0n, nonce }, WORK_END / 2n - 1n)) continue;
    const unsealed = { ...message, sealed: { ...message.sealed, seal: { ...seal, extraNonce: 0n, nonce } } };
    t.equal(await driver.receive("liar", encodePowMessage(unsealed)), "reject", "no work at all");
    break;
  }
  const claimed = { ...message, sealed: { ...message.sealed, seal: { ...seal, chainWork: seal.chainWork + 1n } } };
  t.equal(await driver.receive("liar", encodePowMessage(claimed)), "ignore", "not what its chain has");
  t.equal(await driver.receive("peer", present(two, "block")), "accept", "and the honest one after it");
  await until(node, (height) => height === 2n);
});

t.test("a node is on its way to what headers prove, whatever a peer claims", async (t) => {
  const { node, blocks } = await listener(t, 3);
  t.equal(node.driver.targetHeight, 0n);
  for (const message of blocks) {
    assert(message.kind === "announce", "an announcement");
    await node.driver.receive("peer", encodePowMessage({ ...message, block: undefined }));
  }
  t.equal(node.driver.targetHeight, 3n);
  t.equal(node.ledger.head().height, 0n, "their blocks are still to come");
});

t.test("a block from the future waits until its time has come, and is not held against anybody", async (t) => {
  const network = minedNetwork();
  const { parameters, genesisTimeMs } = network;
  let wallMs = Number(genesisTimeMs) + 1_000 - parameters.blockTimeDriftMsMax - 1;
  const { node, blocks } = await listener(t, 1, { ...SYSTEM_CLOCK, wallMs: () => wallMs });
  const block = encodePowMessage(present(blocks[0], "block"));
  t.equal(await node.driver.receive("peer", block), "ignore");
  t.equal(node.ledger.head().height, 0n);
  wallMs += 1;
  t.equal(await node.driver.receive("peer", block), "accept");
  await until(node, (height) => height === 1n);
});

t.test("a peer's questions are answered from the ledger, to it alone, and so many a second", async (t) => {
  let ms = 0;
  const { node, wire, blocks } = await listener(t, 3, { ...SYSTEM_CLOCK, monotonicMs: () => ms });
  for (const block of blocks) await node.driver.receive("peer", encodePowMessage(block));
  await until(node, (height) => height === 3n);
  const genesis = { height: heightOf(0n), hash: node.ledger.networkHash };
  wire.said.length = 0;
  const ask = encodePowMessage({ kind: "getHeaders", locator: [genesis] });
  t.equal(await node.driver.receive("asker", ask), "ignore");
  t.match(wire.said, [{ to: "asker", message: { kind: "headers" } }]);
  const places = [1n, 3n].map((height) => {
    const { hash: at } = { hash: present(node.ledger.certificate(heightOf(height)), "seal").blockHash };
    return { height: heightOf(height), hash: at };
  });
  await node.driver.receive(
    "asker",
    encodePowMessage({ kind: "getBlocks", places: [...places, { ...genesis, height: heightOf(2n) }] }),
  );
  const [, answer] = wire.said;
  assert(answer?.message.kind === "blocks", "blocks");
  t.same(
    answer.message.blocks.map(({ header }) => header.height),
    [1n, 3n],
    "those that are on this chain",
  );
  for (let index = 0; index < 100; index += 1) await node.driver.receive("asker", ask);
  t.equal(wire.said.length, 32);
  await node.driver.receive("another", ask);
  t.equal(wire.said.length, 33, "others are not held back for it");
  ms += 1_000;
  await node.driver.receive("asker", ask);
  t.equal(wire.said.length, 34);
});

t.test("a node that stands still hears of the tip, whole when it is behind", async (t) => {
  const { node, blocks } = await listener(t, 2);
  const knowledge = (height: bigint): readonly unknown[] =>
    [...node.driver.knowledge(height)].map((bytes) => {
      const parsed = parsePowMessage(bytes);
      return parsed.ok && parsed.value.kind === "announce" ? (parsed.value.block === undefined ? "header" : "block") : "?";
    });
  t.same(knowledge(1n), [], "genesis is known to all");
  for (const block of blocks) await node.driver.receive("peer", encodePowMessage(block));
  await until(node, (height) => height === 2n);
  await node.driver.retry();
  t.same([knowledge(1n), knowledge(2n), knowledge(3n), knowledge(4n)], [["block"], ["block"], ["header"], []]);
});

t.test("blocks from sync extend the head and nothing else", async (t) => {
  const { node } = await listener(t, 0);
  const maker = await Ledger.open({ store: openMemoryStore(), network: minedNetwork(), executor: EXECUTOR });
  const one = await mineBlock(maker, []);
  const seal = present(maker.certificate(one.header.height), "seal");
  assert(seal.kind === "work", "a seal");
  t.match(await node.driver.apply(one, { ...seal, chainWork: 1n }), { ok: false, error: { code: "work_sum" } });
  t.ok((await node.driver.apply(one, seal)).ok);
  await until(node, (height) => height === 1n);
  t.ok((await node.driver.apply(one, seal)).ok, "again");
  const two = await mineBlock(maker, []);
  const three = await mineBlock(maker, []);
  const sealOf = (height: bigint) => present(maker.certificate(heightOf(height)), "seal");
  t.match(await node.driver.apply(three, sealOf(3n)), { ok: false, error: { code: "block_height" } });
  const other = await Ledger.open({ store: openMemoryStore(), network: minedNetwork(), executor: EXECUTOR });
  await mineBlock(other, [], { miner: 1 });
  const stranger = await mineBlock(other, []);
  t.match(await node.driver.apply(stranger, sealFor(other, stranger)), { ok: false, error: { code: "block_previous" } });
  t.ok((await node.driver.apply(two, sealOf(2n))).ok);
  await until(node, (height) => height === 2n);
});

t.test("a node whose disk fails says nothing more, and says why", async (t) => {
  const store = openMemoryStore();
  let isBroken = false;
  const failing: Store = {
    get: (key) => store.get(key),
    getMany: (keys) => store.getMany(keys),
    entries: (range) => store.entries(range),
    snapshot: () => store.snapshot(),
    clear: async (range) => await store.clear(range),
    sizeBytes: async () => await store.sizeBytes(),
    write: async (operations, options) => {
      if (isBroken) throw Object.assign(new Error("no space"), { code: "ENOSPC" });
      await store.write(operations, options);
    },
    [Symbol.asyncDispose]: async () => await store[Symbol.asyncDispose](),
  };
  const wire = new Wire();
  const node = await miner(t, wire, "a", { store: failing, isMining: true });
  await until(node, (height) => height >= 1n);
  isBroken = true;
  t.equal(await node.driver.failed.catch(codeOf), "ENOSPC");
  const said = wire.said.length;
  const { height } = node.ledger.head();
  const ask = encodePowMessage({ kind: "getHeaders", locator: [{ height: heightOf(0n), hash: node.ledger.networkHash }] });
  t.equal(await node.driver.receive("peer", ask), "ignore");
  await node.driver[Symbol.asyncDispose]();
  t.equal(wire.said.length, said);
  t.equal(node.ledger.head().height, height);
});
