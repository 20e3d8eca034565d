/** Miners with real ledgers, real search threads and a wire in one process. */

import t, { type Test } from "tap";
import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { codeOf } from "../../crypto/base/error.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { type Hash, hash } from "../../crypto/hash/hash.ts";
import type { Block } from "../../chain/block/block.ts";
import { heightOf } from "../../chain/block/height.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import type { PowProtocol } from "../../chain/block/protocol.ts";
import type { Transaction } from "../../chain/block/transaction.ts";
import { meetsTarget, type Nonces, searchSeal, WORK_END } from "../../chain/block/work.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import type { Store } from "../../chain/store/store.ts";
import {
  encodePowMessage,
  type Place,
  type PowMessage,
  parsePowMessage,
  type SealedHeader,
} from "../../consensus/pow/message.ts";
import { EASY, type Forged, Forge, GENESIS_TIME_MS, optionsOf } from "../../consensus/pow/testing/forge.ts";
import { TestNode } from "../../consensus/pow/testing/chain.ts";
import { answerFrom, deepened } from "../../consensus/pow/serve.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import type { Log, LogFields } from "../log/log.ts";
import { type Clock, SYSTEM_CLOCK } from "../ports/clock.ts";
import { MiningDriver } from "./mining.ts";
import { type SplitStep, SplitWatch } from "./mining-split.ts";
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

/** Finds what is searched for when a test says so. */
class PatientSearcher implements Searcher {
  readonly failed = new Promise<never>(() => {});
  readonly hashesPerSecond = 0;
  #search: { readonly job: SearchJob; readonly onFound: (nonces: Nonces) => void } | undefined;

  get isAtWork(): boolean {
    return this.#search !== undefined;
  }

  search(job: SearchJob, onFound: (nonces: Nonces) => void): void {
    this.#search = { job, onFound };
  }

  rest(): void {
    this.#search = undefined;
  }

  find(): void {
    const { job, onFound } = present(this.#search, "search");
    const nonce = searchSeal({ ...job, extraNonce: 0n, nonce: 0n, count: 10_000_000 });
    onFound({ extraNonce: 0n, nonce: present(nonce, "seal") });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.resolve();
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
    readonly searcher?: Searcher;
    readonly log?: Log;
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
    searcher: isMining ? (options.searcher ?? new WorkerSearcher({ workers: 1, clock })) : undefined,
    broadcast: (bytes) => wire.send(name, "all", bytes),
    sendTo: (peer, bytes) => wire.send(name, peer, bytes),
    reap: options.reap ?? (() => []),
    isVerified: () => false,
    onDropped: () => undefined,
    log: options.log ?? SILENT,
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
  clock: Clock = SYSTEM_CLOCK,
  log: Log = SILENT,
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
  const node = await miner(t, wire, "node", { network, clock, log });
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

t.test(
  "a block from the future waits until its time has come, is not held against anybody, and told of now and then",
  async (t) => {
    const network = minedNetwork();
    const { parameters, genesisTimeMs } = network;
    let wallMs = Number(genesisTimeMs) + 1_000 - parameters.blockTimeDriftMsMax - 1;
    let monotonicMs = 0;
    const told: LogFields[] = [];
    const log: Log = { ...SILENT, warn: (fields) => void told.push(fields), child: () => log };
    const clock = { ...SYSTEM_CLOCK, wallMs: () => wallMs, monotonicMs: () => monotonicMs };
    const { node, blocks } = await listener(t, 1, clock, log);
    const block = encodePowMessage(present(blocks[0], "block"));
    for (const atMs of [0, 59_999, 60_000]) {
      monotonicMs = atMs;
      t.equal(await node.driver.receive("peer", block), "ignore");
    }
    const line = { code: "block_time", peer: "peer", aheadMs: BigInt(parameters.blockTimeDriftMsMax + 1) };
    t.same(told, [line, line]);
    t.equal(node.ledger.head().height, 0n);
    wallMs += 1;
    t.equal(await node.driver.receive("peer", block), "accept");
    await until(node, (height) => height === 1n);
  },
);

t.test("a miner whose clock was ahead and is set right waits until others would take its blocks", async (t) => {
  const network = minedNetwork();
  const startMs = Number(network.genesisTimeMs) + 60_000;
  const driftMs = network.parameters.blockTimeDriftMsMax;
  let offsetMs = driftMs + 30_000;
  let passedMs = 0;
  const timers = new Set<() => void>();
  const clock: Clock = {
    wallMs: () => startMs + offsetMs + passedMs,
    monotonicMs: () => passedMs,
    after: (_delayMs, act) => {
      timers.add(act);
      return { cancel: () => void timers.delete(act) };
    },
  };
  const searcher = new PatientSearcher();
  const node = await miner(t, new Wire(), "ahead", { isMining: true, network, clock, searcher });
  /** So much later, and all that this brings about has happened. */
  const pass = async (ms: number): Promise<void> => {
    passedMs += ms;
    const due = [...timers];
    timers.clear();
    for (const act of due) act();
    await new Promise((resolve) => setImmediate(resolve));
    await node.driver.retry();
  };
  for (const height of [1n, 2n]) {
    while (!searcher.isAtWork) await pass(1);
    searcher.find();
    await until(node, (reached) => reached === height);
  }
  while (!searcher.isAtWork) await pass(1);
  const { timeMs } = node.ledger.head();
  offsetMs = 0;
  await pass(1_000);
  t.notOk(searcher.isAtWork, "nor does what was begun before go on");
  for (let second = 0; second < 28; second += 1) {
    await pass(1_000);
    t.notOk(searcher.isAtWork, `${timeMs - BigInt(clock.wallMs())} ms ahead`);
  }
  for (let second = 0; second < 12; second += 1) await pass(1_000);
  t.ok(searcher.isAtWork, `${timeMs - BigInt(clock.wallMs())} ms ahead`);
  searcher.find();
  await until(node, (height) => height === 3n);
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
    compact: async (ranges) => await store.compact(ranges),
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

// Splits.

const WINDOWED = { ...EASY, retarget: "window" as const, retargetWindow: 5 };

/** A chain of forged blocks, as its node serves it. */
function chainOf(protocol: PowProtocol, ...parts: readonly (readonly Forged[])[]): TestNode {
  const blocks = parts.flat().map(({ block, sealed }) => ({ block, seal: sealed.seal }));
  return new TestNode(optionsOf(protocol), blocks);
}

type Heard = {
  readonly entriesOf?: (entries: readonly SealedHeader[]) => readonly SealedHeader[];
  /** Blocks that the other chain's node keeps to itself, by height. */
  readonly isKept?: (height: bigint) => boolean;
  readonly isRefused?: (hash: Hash) => boolean;
};

/** Asks a chain for headers and blocks as a node with another chain does, until its watch has heard enough. */
function watched(ours: TestNode, theirs: TestNode, { entriesOf, isKept, isRefused }: Heard = {}) {
  const { protocol } = ours.options;
  const watch = new SplitWatch({ protocol, genesisTimeMs: GENESIS_TIME_MS, source: ours, isRefused });
  const genesis = { height: heightOf(0n), hash: ours.options.networkHash };
  const counts = { headers: 0, blocks: 0 };
  let question: PowMessage = { kind: "getHeaders", locator: [genesis] };
  for (;;) {
    const answer = answerFrom(theirs, question);
    let step: SplitStep | undefined;
    if (answer?.kind === "headers") step = watch.hear("peer", entriesOf?.(answer.entries) ?? answer.entries);
    else if (answer?.kind === "blocks") {
      const blocks = answer.blocks.filter(({ header }) => isKept?.(header.height) !== true);
      step = watch.hearBlocks("peer", blocks);
    }
    if (step === undefined || step.kind === "split") return { found: step?.split, ...counts };
    counts[step.kind] += 1;
    question =
      step.kind === "headers"
        ? { kind: "getHeaders", locator: [step.after, genesis] }
        : { kind: "getBlocks", places: step.places };
  }
}

t.test("a heavier chain that forks below what is settled is found, in as many messages as it takes", (t) => {
  for (const protocol of [EASY, WINDOWED]) {
    const forge = new Forge(protocol);
    const shared = forge.chain(undefined, 3);
    const ours = chainOf(protocol, shared, forge.chain(shared[2], 300, "ours"));
    const theirs = chainOf(protocol, shared, forge.chain(shared[2], 301, "theirs"));
    const { found, headers, blocks } = watched(ours, theirs);
    t.match(found, { peer: "peer", forkHeight: 3n, height: 304n, chainWork: theirs.sealedAt(heightOf(304n))?.seal.chainWork });
    t.same([headers, blocks], [3, 19], "the headers twice, 16 blocks at a time");
    // Seen from there, ours is no reason to go anywhere.
    t.equal(watched(theirs, ours).found, undefined, "less work");
    const equal = chainOf(protocol, shared, forge.chain(shared[2], 300, "equal"));
    t.equal(watched(ours, equal).found, undefined, "equal work");
  }
  t.end();
});

t.test("a fork that may be gone back to is the engine's, and one block deeper is a split", (t) => {
  const forge = new Forge();
  const shared = forge.chain(undefined, 10);
  for (const [depth, isSplit] of [
    [EASY.reorgDepthMax, false],
    [EASY.reorgDepthMax + 1, true],
  ] as const) {
    const fork = 10 - depth;
    const theirs = chainOf(EASY, shared.slice(0, fork), forge.chain(shared[fork - 1], depth + 1, "theirs"));
    t.equal(watched(chainOf(EASY, shared), theirs).found !== undefined, isSplit, `${depth} to undo`);
  }
  t.end();
});

t.test("headers that break a rule, or a chain that we do not know, prove no split", (t) => {
  for (const protocol of [EASY, WINDOWED]) {
    const forge = new Forge(protocol);
    const shared = forge.chain(undefined, 3);
    const ours = chainOf(protocol, shared, forge.chain(shared[2], 20, "ours"));
    const honest = forge.chain(shared[2], 10, "theirs");
    const rest = (from: Forged): TestNode => chainOf(protocol, shared, honest, [from], forge.chain(from, 20));
    const harder = 0x20_00_ff_ff;
    const found = (theirs: TestNode) => watched(ours, theirs).found;
    t.ok(found(rest(forge.block(honest[9]))), "with nothing wrong");
    t.equal(found(rest(forge.block(honest[9], { bits: harder, chainWork: 10_000n }))), undefined, "a target of its own");
    const { timeMs } = present(honest[9], "tip").block.header;
    t.equal(found(rest(forge.block(honest[9], { timeMs }))), undefined, "a time that stands still");
    t.ok(
      watched(ours, rest(forge.block(honest[9])), {
        entriesOf: (entries) => entries.slice(entries[0]?.header.height === 1n ? 1 : 0),
      }).found,
      "from wherever it is ours",
    );
    t.equal(
      watched(ours, rest(forge.block(honest[9])), { entriesOf: (entries) => entries.slice(8) }).found,
      undefined,
      "no parent",
    );
    const gap = (entries: readonly SealedHeader[]): readonly SealedHeader[] => entries.filter((_, index) => index !== 8);
    t.equal(watched(ours, rest(forge.block(honest[9])), { entriesOf: gap }).found, undefined, "a gap");
  }
  t.end();
});

t.test("headers whose blocks nobody hands over, or that lead through a block that was refused, prove no split", (t) => {
  const forge = new Forge();
  const shared = forge.chain(undefined, 3);
  const ours = chainOf(EASY, shared, forge.chain(shared[2], 20, "ours"));
  const branch = forge.chain(shared[2], 40, "theirs");
  const theirs = chainOf(EASY, shared, branch);
  const keeping = (kept: bigint) => watched(ours, theirs, { isKept: (height) => height === kept }).found;
  t.equal(keeping(4n), undefined, "the first");
  t.equal(keeping(24n), undefined, "the one that has more work than ours");
  t.match(keeping(25n), { forkHeight: 3n, height: 24n }, "none that we need");
  const refusing = (index: number) => {
    const { hash } = present(branch[index], "block").block;
    return watched(ours, theirs, { isRefused: (other) => bytesEqual(other, hash) }).found;
  };
  t.equal(refusing(20), undefined);
  t.ok(watched(ours, theirs).found);
  t.end();
});

t.test("a block that got lost is asked for again, and one that comes late is waited for", (t) => {
  const forge = new Forge();
  const shared = forge.chain(undefined, 3);
  const ours = chainOf(EASY, shared, forge.chain(shared[2], 20, "ours"));
  const theirs = chainOf(EASY, shared, forge.chain(shared[2], 40, "theirs"));
  const watch = new SplitWatch({ protocol: EASY, genesisTimeMs: GENESIS_TIME_MS, source: ours });
  const genesis = { height: heightOf(0n), hash: ours.options.networkHash };
  const headersAfter = (place: Place): readonly SealedHeader[] => {
    const answer = answerFrom(theirs, { kind: "getHeaders", locator: [place] });
    assert(answer?.kind === "headers", "headers");
    return answer.entries;
  };
  const blocksAt = (places: readonly Place[]): readonly Block[] => {
    const answer = answerFrom(theirs, { kind: "getBlocks", places });
    assert(answer?.kind === "blocks", "blocks");
    return answer.blocks;
  };
  const fork = watch.hear("peer", headersAfter(genesis));
  assert(fork?.kind === "headers", "asked for what follows the fork");
  t.equal(fork.after.height, 3n);
  const first = watch.hear("peer", headersAfter(fork.after));
  assert(first?.kind === "blocks", "asked for blocks");
  t.equal(watch.hearBlocks("other", blocksAt(first.places)), undefined, "of somebody who was not asked");
  t.equal(watch.hearBlocks("peer", blocksAt(first.places).slice(1)), undefined, "without the first");
  t.same(watch.hear("peer", headersAfter(genesis)), first, "asked for again when its headers come again");
  const second = watch.hearBlocks("peer", blocksAt(first.places));
  assert(second?.kind === "blocks", "and on");
  t.same(
    second.places.map(({ height }) => height),
    [20n, 21n, 22n, 23n, 24n],
  );
  t.match(watch.hearBlocks("peer", blocksAt(second.places)), { kind: "split", split: { forkHeight: 3n, height: 24n } });
  t.match(watch.hear("peer", headersAfter(genesis)), { kind: "split" }, "told again without a block");
  // Who keeps answering with headers alone is asked for blocks only so often, and then for all of it anew.
  const dry = new SplitWatch({ protocol: EASY, genesisTimeMs: GENESIS_TIME_MS, source: ours });
  dry.hear("peer", headersAfter(genesis));
  dry.hear("peer", headersAfter(fork.after));
  const kinds = Array.from({ length: 4 }, () => dry.hear("peer", headersAfter(genesis))?.kind);
  t.same(kinds, ["blocks", "blocks", "headers", "headers"]);
  t.end();
});

t.test("whoever forked long ago is asked from near the fork", (t) => {
  const forge = new Forge();
  const shared = forge.chain(undefined, 400);
  const node = chainOf(EASY, shared).start();
  const orphan = present(forge.chain(shared[99], 2, "orphan")[1], "orphan");
  node.hear({ kind: "announce", sealed: orphan.sealed, block: undefined });
  const [question] = node.sent().map(({ message }) => message);
  assert(question?.kind === "getHeaders", "a question");
  t.same(question.locator.at(-1)?.height, 0n);
  const heights = deepened(node, question.locator).map(({ height }) => height);
  t.same(heights.slice(-6), [376n, 352n, 304n, 208n, 16n, 0n]);
  t.equal(deepened(node, []).length, 0);
  t.end();
});

t.test("a node that is split off says so, names the fork, and joins once an operator has gone back there", async (t) => {
  const network = minedNetwork({ finalityDepth: 2, reorgDepthMax: 3 });
  const open = async (): Promise<Ledger> => await Ledger.open({ store: openMemoryStore(), network, executor: EXECUTOR });
  const [theirs, store] = [await open(), openMemoryStore()];
  const ours = await Ledger.open({ store, network, executor: EXECUTOR });
  for (let height = 1; height <= 2; height += 1) {
    const block = await mineBlock(theirs, []);
    const seal = present(theirs.certificate(block.header.height), "seal");
    await ours.judge(block);
    await ours.commit(block, seal);
  }
  for (let height = 3; height <= 6; height += 1) await mineBlock(ours, [], { miner: 1 });
  for (let height = 3; height <= 7; height += 1) await mineBlock(theirs, [], { miner: 0 });
  const announced = (height: bigint, isWhole: boolean): Uint8Array => {
    const [block, seal] = [theirs.block(heightOf(height)), theirs.certificate(heightOf(height))];
    assert(block !== undefined && seal?.kind === "work", "a sealed block");
    return encodePowMessage({ kind: "announce", sealed: { header: block.header, seal }, block: isWhole ? block : undefined });
  };
  const errors: LogFields[] = [];
  const log: Log = { ...SILENT, error: (fields) => void errors.push(fields), child: () => log };
  const wire = new Wire();
  const far = new MiningDriver({
    ledger: theirs,
    clock: SYSTEM_CLOCK,
    self: undefined,
    searcher: undefined,
    broadcast: () => undefined,
    sendTo: (peer, bytes) => wire.send("far", peer, bytes),
    reap: () => [],
    isVerified: () => false,
    onDropped: () => undefined,
    log: SILENT,
  });
  t.teardown(async () => await far[Symbol.asyncDispose]());
  far.start();
  wire.drivers.set("far", far);
  const before = await miner(t, wire, "near", { network, store, log });
  await before.driver.retry();
  t.equal(before.driver.status()?.step, "follow");
  await before.driver.receive("far", announced(7n, true));
  while (before.driver.split === undefined) await new Promise((resolve) => setImmediate(resolve));
  t.match(errors, [{ code: "pow_split", peer: "far", forkHeight: 2n, height: 7n, head: 6n, toUndo: 4n, reorgDepthMax: 3 }]);
  t.equal(before.driver.status()?.step, "split");
  t.equal(before.ledger.head().height, 6n, "and does nothing about it");
  await before.driver[Symbol.asyncDispose]();
  await before.ledger.rollback(heightOf(2n));
  const after = await miner(t, wire, "near", { network, store, log });
  await after.driver.retry();
  await after.driver.receive("far", announced(7n, true));
  await until(after, (height) => height === 7n);
  t.same(after.ledger.head().hash, theirs.head().hash);
  t.equal(after.driver.status()?.step, "follow");
  t.equal(errors.length, 1);
});
