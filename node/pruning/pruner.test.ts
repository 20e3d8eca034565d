/** What each policy forgets and what none does; peers are told, and come to the head from peers of different policies. */

import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { utf8 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { feeOf } from "../../chain/block/genesis.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { keyPairAt } from "../../chain/block/testing/fixtures.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction } from "../../chain/block/transaction.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { LOG_HASHER, verifyInclusion } from "../../chain/merkle/log.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import type { Store } from "../../chain/store/store.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { blockSink, blockSource } from "../begin.ts";
import { minedNetwork } from "../driver/testing/miner.ts";
import { openMetrics } from "../metrics/metrics.ts";
import { blockServer, SYNC_PROTOCOL, Synchroniser } from "../network/sync.ts";
import { openNode, testLog, until } from "../network/testing/nodes.ts";
import { type Clock, SYSTEM_CLOCK } from "../ports/clock.ts";
import { DevNet } from "../rpc/testing/devnet.ts";
import { Pruner, type PruningPolicy } from "./pruner.ts";

const SIGNAL = new AbortController().signal;
const HEAD = 40n;

/** Forty blocks, each with a row; the set of validators changes at the third. */
async function openChain(t: Test): Promise<DevNet> {
  const net = await DevNet.open({ powers: [3n, 1n] });
  t.teardown(() => net[Symbol.asyncDispose]());
  const table = { namespace: "shop", table: "orders" };
  const keyPair = keyPairAt(100);
  for (let nonce = 0; BigInt(nonce) < HEAD; nonce += 1) {
    const calls: Call[] =
      nonce === 0
        ? [{ kind: "tableCreate", ...table }]
        : [{ kind: "tablePut", ...table, key: utf8(`o-${nonce % 5}`), value: encodeValue({ nonce, text: "x".repeat(5_000) }) }];
    if (nonce === 2) calls.push({ kind: "validatorSet", key: keyPairAt(2).publicKey, power: 1n });
    const sender = addressOfKey(keyPair.publicKey);
    const fee = feeOf(net.network.parameters, 20_000);
    const body = { chainId: net.network.chainId, sender, nonce: BigInt(nonce), fee, expiry: heightOf(1000n), calls };
    await net.commit([signTransaction(body, keyPair)]);
  }
  return net;
}

type Options = {
  readonly states?: Height | undefined;
  readonly blocks?: Height | undefined;
  readonly clock?: Clock;
};

function prunerOf(ledger: Ledger, policy: PruningPolicy, { states, blocks, clock = SYSTEM_CLOCK }: Options = {}): Pruner {
  const floor = (): { readonly states: Height | undefined; readonly blocks: Height | undefined } => ({ states, blocks });
  return new Pruner({ policy, keepHeightsMin: 8, intervalHeights: 10 }, { ledger, floor, clock, log: testLog, signal: SIGNAL });
}

t.test("recent keeps the last heights and no more, but headers, set changes and what proves them", async (t) => {
  const { ledger } = await openChain(t);
  const id = present(ledger.block(heightOf(5n))?.transactions[0], "transaction").id;
  const pruner = prunerOf(ledger, { kind: "recent", keepHeights: 12, keepHours: 0 });
  await pruner.follow(heightOf(39n));
  t.equal(ledger.oldestBlock(), 1n, "not at every height");
  await pruner.follow(ledger.head().height);
  t.equal(ledger.oldestBlock(), 28n);
  t.equal(ledger.oldestState(), 28n);
  t.equal(ledger.blockBytes(heightOf(27n)), undefined);
  t.ok(ledger.blockBytes(heightOf(28n)), "which is put together with the certificate of the height before");
  t.equal(ledger.results(heightOf(27n)), undefined);
  t.equal(ledger.findTransaction(id), undefined);
  t.equal(ledger.certificateBytes(heightOf(20n)), undefined);
  const [change] = ledger.validatorChanges(heightOf(1n), 10);
  t.ok(change !== undefined && change.height < 28n);
  t.ok(ledger.certificateBytes(present(change, "change").height) && ledger.validators(heightOf(5n)), "clients can follow");
  const header = present(ledger.header(heightOf(4n)), "header");
  const siblings = ledger.proveHistory(heightOf(4n), heightOf(HEAD));
  const root = present(ledger.header(heightOf(HEAD)), "header").historyRoot;
  const leafHash = LOG_HASHER.leaf(present(ledger.header(heightOf(5n)), "header").previous);
  t.match(verifyInclusion(LOG_HASHER, { leafHash, index: header.height - 1n, size: HEAD - 1n, siblings, root }), { ok: true });
  await t.rejects(ledger.rollback(heightOf(27n)), { code: "rollback_height" });
  await ledger.rollback(heightOf(30n));
  t.equal(ledger.head().height, 30n, "an operator can go back to what is kept");
});

t.test("no policy goes below its least, what is young, or what snapshots need", async (t) => {
  for (const [policy, options, oldest] of [
    [{ kind: "recent", keepHeights: 2, keepHours: 0 }, {}, 32n],
    [{ kind: "recent", keepHeights: 12, keepHours: 0 }, { blocks: heightOf(20n) }, 21n],
    [{ kind: "archive", keepHeights: 0 }, {}, 1n],
    [{ kind: "archive", keepHeights: 3 }, {}, 1n],
    [{ kind: "size", sizeBytesMax: 1 }, {}, 6n],
    [{ kind: "size", sizeBytesMax: 1_000_000_000 }, {}, 1n],
  ] as const satisfies readonly (readonly [PruningPolicy, Options, bigint])[]) {
    const { ledger } = await openChain(t);
    await prunerOf(ledger, policy, options).follow(ledger.head().height);
    t.equal(ledger.oldestBlock(), oldest, JSON.stringify(policy));
    if (policy.kind === "archive" && policy.keepHeights > 0) t.equal(ledger.oldestState(), 37n, "states alone");
  }
  const { ledger } = await openChain(t);
  // Blocks are a second apart; the clock stands one hour after block 25.
  const bornMs = Number(present(ledger.header(heightOf(25n)), "header").timeMs);
  const clock: Clock = { ...SYSTEM_CLOCK, wallMs: () => bornMs + 3_600_000 };
  await prunerOf(ledger, { kind: "recent", keepHeights: 12, keepHours: 1 }, { clock }).follow(ledger.head().height);
  t.equal(ledger.oldestBlock(), 25n);
  const making = await openChain(t);
  await prunerOf(making.ledger, { kind: "recent", keepHeights: 12, keepHours: 0 }, { states: heightOf(10n) }).follow(
    heightOf(HEAD),
  );
  t.equal(making.ledger.oldestState(), 10n, "a snapshot is being made of it");
});

t.test("size goes on until the store is small enough, and then stops", async (t) => {
  const { ledger } = await openChain(t);
  const sizeBytesMax = Math.floor((await ledger.store.sizeBytes()) * 0.7);
  const pruner = prunerOf(ledger, { kind: "size", sizeBytesMax });
  const looks: { readonly oldest: bigint; readonly sizeBytes: number }[] = [];
  for (let look = 0; look < 12; look += 1) {
    await pruner.follow(ledger.head().height);
    looks.push({ oldest: ledger.oldestBlock(), sizeBytes: await ledger.store.sizeBytes() });
  }
  const enough = looks.findIndex(({ sizeBytes }) => sizeBytes <= sizeBytesMax);
  t.ok(enough > 0, `small enough after ${enough + 1} looks`);
  const { oldest } = present(looks[enough], "look");
  t.ok(oldest < 32n, `before the least that is kept: ${oldest}`);
  for (const [at, look] of looks.entries())
    if (at < enough) t.ok(look.oldest < oldest, `look ${at} left too much, and the next went on`);
    else t.equal(look.oldest, oldest, "no more than need be");
});

t.test("under proof of work blocks are kept, and states that may yet be gone back to", async (t) => {
  const network = minedNetwork();
  await using net = await DevNet.open({ network });
  await net.commitUntil(20n);
  await prunerOf(net.ledger, { kind: "recent", keepHeights: 1, keepHours: 0 }).follow(heightOf(20n));
  t.equal(net.ledger.oldestBlock(), 1n);
  const depth = network.engine.name === "pow" ? network.engine.reorgDepthMax : 0;
  t.ok(net.ledger.oldestState() <= BigInt(Math.max(0, 20 - depth)), `states from ${net.ledger.oldestState()}, depth ${depth}`);
});

t.test("a prune that is broken off after any batch leaves no holes, and the next one goes on", async (t) => {
  const source = await openChain(t);
  for (let limit = 0; limit < 4; limit += 1) {
    const memory = openMemoryStore();
    let [writes, isFailing] = [0, false];
    const store: Store = {
      get: (key) => memory.get(key),
      getMany: (keys) => memory.getMany(keys),
      entries: (range) => memory.entries(range),
      snapshot: () => memory.snapshot(),
      clear: async (range) => await memory.clear(range),
      compact: async (ranges) => await memory.compact(ranges),
      sizeBytes: async () => await memory.sizeBytes(),
      write: async (operations, options) => {
        if (isFailing && (writes += 1) > limit) throw new CodedError("store_io", { message: "the disk is full" });
        await memory.write(operations, options);
      },
      [Symbol.asyncDispose]: async () => Promise.resolve(),
    };
    const options = { network: source.network, executor: EXECUTOR };
    const ledger = await Ledger.open({ store, ...options });
    await copyBlocks(source.ledger, ledger, HEAD);
    isFailing = true;
    const policy = { kind: "recent", keepHeights: 5, keepHours: 0 } as const;
    const pruned = prunerOf(ledger, policy).follow(heightOf(HEAD));
    // One batch of states, and two of blocks.
    if (limit < 3) await t.rejects(pruned, { code: "store_io" });
    else await pruned;
    t.equal(writes, Math.min(limit + 1, 3), "and no more batches than that");
    isFailing = false;
    const again = await Ledger.open({ store: memory, ...options });
    for (let height = again.oldestBlock(); height <= HEAD; height = heightOf(height + 1n))
      t.ok(again.blockBytes(height) && again.certificateBytes(height), `block ${height} after ${limit} batches`);
    await prunerOf(again, policy).follow(heightOf(HEAD));
    t.equal(again.oldestBlock(), 32n);
  }
});

async function copyBlocks(from: Ledger, to: Ledger, head: bigint): Promise<void> {
  for (let height = to.head().height + 1n; height <= head; height += 1n) {
    const block = present(from.block(heightOf(height)), "block");
    if (!(await to.judge(block)).ok) throw new Error(`block ${height} is refused`);
    await to.commit(block, present(from.certificate(heightOf(height)), "certificate"));
  }
}

t.test(
  "a node syncs from peers of different policies: those that have pruned are asked for what they keep, and not blamed",
  async (t) => {
    const archive = await openChain(t);
    const recent = await Ledger.open({ store: openMemoryStore(), network: archive.network, executor: EXECUTOR });
    await copyBlocks(archive.ledger, recent, HEAD);
    await prunerOf(recent, { kind: "recent", keepHeights: 10, keepHours: 0 }).follow(heightOf(HEAD));
    t.equal(recent.oldestBlock(), 30n);
    const partial = await Ledger.open({ store: openMemoryStore(), network: archive.network, executor: EXECUTOR });
    await copyBlocks(archive.ledger, partial, 33n);
    const serving = [recent, partial].map((ledger, index) => ({ ledger, number: 300 + index }));
    const peers = await Promise.all(
      serving.map(async ({ ledger, number }) => {
        const peer = await openNode(number, { height: () => ledger.head().height });
        t.teardown(async () => peer[Symbol.asyncDispose]());
        await peer.handle(SYNC_PROTOCOL, blockServer(blockSource(ledger), peer.limits));
        return peer;
      }),
    );
    const own = await Ledger.open({ store: openMemoryStore(), network: archive.network, executor: EXECUTOR });
    const network = await openNode(310, {
      bootstrap: peers.flatMap((peer) => peer.addresses()),
      height: () => own.head().height,
      limits: { syncIdleMs: 50, syncRetryMs: 50, syncBenchMs: 500, syncWindowBlocksMax: 16 },
    });
    t.teardown(async () => network[Symbol.asyncDispose]());
    await until(() => network.peers().length === 2, "connected");
    const stopping = new AbortController();
    const apply = async (
      block: Parameters<Ledger["judge"]>[0],
      certificate: Parameters<Ledger["commit"]>[1],
    ): ReturnType<Ledger["judge"]> => {
      const judged = await own.judge(block);
      if (judged.ok) await own.commit(block, certificate);
      return judged;
    };
    const synchroniser = new Synchroniser(
      {},
      { network, sink: blockSink(own, { apply }), clock: SYSTEM_CLOCK, draw: Math.random, log: testLog, metrics: openMetrics() },
    );
    const running = synchroniser.run(stopping.signal);
    await until(() => own.head().height === HEAD, "synced");
    stopping.abort();
    await running;
    for (const { score } of network.peers()) t.equal(score, 0, "nobody is blamed");
  },
);
