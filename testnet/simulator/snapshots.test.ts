/**
 * Snapshots, joins and pruning on disks that lose power: at every operation in turn, in every way that what was not synced
 * may be left. What was declared whole is whole, nothing that was acknowledged is lost, and the next start goes on.
 */

import t from "tap";
import { toHex, utf8 } from "../../crypto/base/bytes.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { feeOf } from "../../chain/block/genesis.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { keyPairAt } from "../../chain/block/testing/fixtures.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction } from "../../chain/block/transaction.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { LOG_HASHER, verifyInclusion } from "../../chain/merkle/log.ts";
import { headerHash } from "../../chain/block/block.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { openMetrics } from "../../node/metrics/metrics.ts";
import { type ChunkShelf, chunkServer } from "../../node/network/chunks.ts";
import { limitsWith } from "../../node/network/limits.ts";
import { testLog } from "../../node/network/testing/nodes.ts";
import { type Disk, replaceFile } from "../../node/ports/disk.ts";
import { discardStore, isThere } from "../../node/ports/stores.ts";
import { Pruner } from "../../node/pruning/pruner.ts";
import { DevNet } from "../../node/rpc/testing/devnet.ts";
import { scrubRows } from "../../node/scrub/rows.ts";
import { joinHome } from "../../node/snapshot/install.ts";
import type { JoinNetwork } from "../../node/snapshot/joiner.ts";
import { makeSnapshot, SnapshotMaker } from "../../node/snapshot/make.ts";
import { Shelf, UNSYNCED_CHUNKS_MAX } from "../../node/snapshot/shelf.ts";
import { copyRows, cutEverywhere, holds, kept, Machine, type Process, rowsOf, storesOn } from "./cuts.ts";

const HEIGHT = heightOf(6n);
const SIGNAL = new AbortController().signal;
const TABLE = { namespace: "shop", table: "orders" };
const HOME = { dataPath: "/data", storePath: "/data/store" };
const SHELF = "/data/snapshots";

const put = (index: number): Call => ({ kind: "tablePut", ...TABLE, key: utf8(`o-${index}`), value: encodeValue({ index }) });

/** A block for each list of calls. */
async function openChain(plan: readonly (readonly Call[])[]): Promise<DevNet> {
  const net = await DevNet.open({ powers: [3n, 1n] });
  const keyPair = keyPairAt(100);
  for (const [nonce, calls] of plan.entries()) {
    const sender = addressOfKey(keyPair.publicKey);
    const fee = feeOf(net.network.parameters, 40_000);
    const body = { chainId: net.network.chainId, sender, nonce: BigInt(nonce), fee, expiry: heightOf(1000n), calls };
    const { results } = await net.commit([signTransaction(body, keyPair)]);
    if (results[0]?.kind !== "applied") throw new Error(JSON.stringify(results[0]));
  }
  return net;
}

const append = (partition: number): Call => ({
  kind: "logAppend",
  stream: "events",
  partition,
  records: [utf8("a"), utf8("b")],
});
const PARTITIONS = Array.from({ length: 20 }, (_, partition) => append(partition));

t.setTimeout(1_200_000);
/** Seven blocks with rows, records of twenty partitions and a new validator. */
const net = await openChain([
  [{ kind: "tableCreate", ...TABLE }],
  [put(1), append(0)],
  [{ kind: "validatorSet", key: keyPairAt(2).publicKey, power: 1n }],
  [append(0), append(7)],
  PARTITIONS,
  [put(3), append(7)],
  [put(1)],
]);
t.teardown(() => net[Symbol.asyncDispose]());
const OPTIONS = { network: net.network, executor: EXECUTOR };

async function openLedger(disk: Disk): Promise<Ledger> {
  return await Ledger.open({ store: await storesOn(disk).open(HOME.storePath), ...OPTIONS });
}

/** Whether a ledger holds everything that it must. */
async function isSound(ledger: Ledger, what: string): Promise<void> {
  for await (const { damages } of scrubRows({ ledger, executor: EXECUTOR }))
    holds(damages.length === 0, `${what}: ${damages.map(({ code, kind, place }) => `${code} of ${kind} at ${place}`).join()}`);
}

async function isWhole(shelf: Shelf, height: Height): Promise<void> {
  const { index } = kept(shelf.snapshot(height), `snapshot ${height}`);
  for (const entry of kept(await shelf.entries(index), "pages")) kept(await shelf.get(entry), "a chunk");
}

t.test("a snapshot that is there after a power cut is whole, and one that is not is made the same", async (t) => {
  let root = "";
  const { operations } = await cutEverywhere(
    "make",
    {
      work: async ({ disk }) => {
        const shelf = await Shelf.open(SHELF, disk);
        await shelf.sweep();
        for (const { index } of shelf.snapshots()) await isWhole(shelf, index.height);
        const made = await makeSnapshot(net.ledger, HEIGHT, { shelf, signal: SIGNAL });
        if (root === "") root = toHex(made.root);
        holds(toHex(made.root) === root, "the same snapshot");
      },
      ends: async ({ disk }) => await isWhole(await Shelf.open(SHELF, disk), HEIGHT),
    },
    { pointsMax: 60, comment: (text) => t.comment(text) },
  );
  t.ok(operations > 40, `${operations} operations`);
});

t.test("dropping and sweeping leave every other snapshot whole", async (t) => {
  const three = heightOf(3n);
  const { operations } = await cutEverywhere(
    "drop",
    {
      before: async ({ disk }) => {
        const shelf = await Shelf.open(SHELF, disk);
        for (const height of [three, HEIGHT]) await makeSnapshot(net.ledger, height, { shelf, signal: SIGNAL });
      },
      work: async ({ disk }) => {
        const shelf = await Shelf.open(SHELF, disk);
        await shelf.drop(three);
        await shelf.sweep();
      },
      // The older one may be half gone, and is then taken for nothing.
      ends: async ({ disk }) => {
        const shelf = await Shelf.open(SHELF, disk);
        await isWhole(shelf, HEIGHT);
        holds(shelf.snapshot(three) === undefined, "the older one is dropped");
      },
    },
    { pointsMax: 60, comment: (text) => t.comment(text) },
  );
  t.ok(operations > 4, `${operations} operations`);
});

t.test("a store is taken away as one step: none that is half there is ever taken for one", async (t) => {
  const names = ["CURRENT", "MANIFEST-000001", "000002.log"];
  const { operations } = await cutEverywhere(
    "discard",
    {
      before: async ({ disk }) => {
        for (const name of names) {
          await disk.makeDirectory(HOME.storePath);
          await replaceFile(disk, `${HOME.storePath}/${name}`, utf8(name));
        }
      },
      work: async ({ disk }) => await discardStore(storesOn(disk), HOME.storePath),
      holds: async ({ disk }) => {
        const left = await disk.list(HOME.storePath);
        holds(left.length === names.length || !(await isThere(storesOn(disk), HOME.storePath)), `there is ${left.join()}`);
      },
      ends: async ({ disk }) => holds(!(await isThere(storesOn(disk), HOME.storePath)), "it is gone"),
    },
    { pointsMax: 80, comment: (text) => t.comment(text) },
  );
  t.ok(operations > 8, `${operations} operations`);
});

/** What an honest peer serves. */
async function shelfInMemory(height: Height): Promise<ChunkShelf> {
  const chunks = new Map<string, Uint8Array>();
  let root: Parameters<Shelf["read"]>[0] | undefined;
  await new Machine("source").run(async ({ disk }) => {
    const shelf = await Shelf.open(SHELF, disk);
    const shelved = await makeSnapshot(net.ledger, height, { shelf, signal: SIGNAL });
    root = shelved.root;
    chunks.set(toHex(root), shelved.bytes);
    const entries = kept(await shelf.entries(shelved.index), "entries");
    for (const hash of [...shelved.index.pages, ...entries.map((entry) => entry.hash)])
      chunks.set(toHex(hash), kept(await shelf.read(hash), "chunk"));
  });
  const offer = { height, root: kept(root, "root") };
  return { offers: () => [offer], serve: async (_, hash) => Promise.resolve(chunks.get(toHex(hash))) };
}

const LIMITS = limitsWith({
  snapshotSettleMs: 100,
  snapshotPatienceMs: 400,
  snapshotHeightsMin: 2,
  snapshotBatchChunksMax: 3,
});

/** Two peers that serve chunks, without sockets between; `onServed` hears of every chunk. */
function peersOf(shelf: ChunkShelf, onServed: (name: string) => void): JoinNetwork {
  const peer = { address: "", direction: "outbound", role: "full", height: 7n, score: 0, connectedSinceMs: 0 } as const;
  const server = chunkServer(
    {
      offers: () => shelf.offers(),
      serve: async (height, hash) => {
        onServed(toHex(hash));
        return await shelf.serve(height, hash);
      },
    },
    LIMITS,
  );
  return {
    limits: LIMITS,
    peers: () => [
      { ...peer, id: "first" },
      { ...peer, id: "second" },
    ],
    penalise: (id, offence) => holds(false, `${id} is honest, and blamed for ${offence}`),
    async *request(id, _, bytes, { signal }) {
      yield* server({ peer: id, bytes, signal });
    },
  };
}

t.test("a join without power at any moment goes on with what it has, and ends with the state of the chain", async (t) => {
  const peer = await shelfInMemory(HEIGHT);
  const metrics = openMetrics();
  const chunksOn = async (disk: Disk): Promise<Set<string>> =>
    new Set((await disk.list(`${SHELF}/chunks`)).filter((name) => !name.endsWith(".tmp")));
  // What the process before this one had on the shelf, and said so.
  let told = 0;
  const join = async ({ disk, clock }: Process): Promise<void> => {
    const stores = storesOn(disk);
    await disk.makeDirectory(HOME.dataPath);
    const shelf = await Shelf.open(SHELF, disk);
    if (await isThere(stores, HOME.storePath)) {
      // As a node that begins.
      await using ledger = await openLedger(disk);
      const parts = { ledger, shelf, clock, log: testLog, metrics, signal: SIGNAL };
      await new SnapshotMaker({ intervalHeights: 100, keep: 2 }, parts).begin(ledger.head().height);
      return;
    }
    const before = await chunksOn(disk);
    const again = new Set<string>();
    const network = peersOf(peer, (name) => {
      if (before.has(name) || again.has(name)) holds(false, `${name} is there, and fetched again`);
      again.add(name);
    });
    told = 0;
    const parts = { network, file: net.network, shelf, clock, draw: () => 0.5, log: testLog, metrics };
    const onProgress = ({ phase, chunks }: { readonly phase: string; readonly chunks: number }): void => {
      if (phase === "fetching") told = chunks;
    };
    kept(await joinHome(HOME, parts, { signal: SIGNAL, onProgress, onChunk: () => undefined }, stores), "a snapshot");
  };
  const { operations } = await cutEverywhere(
    "join",
    {
      before: async () => {
        told = 0;
        return Promise.resolve();
      },
      work: join,
      holds: async ({ disk }) => {
        if (await isThere(storesOn(disk), HOME.storePath)) {
          await using ledger = await openLedger(disk);
          holds(ledger.head().height === HEIGHT, "a store that is in its place is whole");
          return;
        }
        const found = await chunksOn(disk);
        holds(found.size >= told - UNSYNCED_CHUNKS_MAX, `of ${told} chunks that were kept there are ${found.size}`);
      },
      ends: async ({ disk, clock }) => {
        await join({ disk, clock });
        const shelf = await Shelf.open(SHELF, disk);
        holds((await shelf.joining()) === undefined, "the join is over");
        await isWhole(shelf, HEIGHT);
        const names = (await disk.list(HOME.dataPath)).join();
        holds(names === "snapshots,store", `nothing else is left: ${names}`);
        await using ledger = await openLedger(disk);
        const { stateRoot } = kept(net.ledger.header(HEIGHT), "header");
        holds(toHex(ledger.head().stateRoot) === toHex(stateRoot), "the same state");
        holds(ledger.tree.audit(HEIGHT) === undefined, "a state that audits");
        await isSound(ledger, "joined");
        const next = kept(net.ledger.block(heightOf(7n)), "block 7");
        holds((await ledger.judge(next)).ok, "it goes on with the next block");
      },
    },
    { pointsMax: 80, comment: (text) => t.comment(text) },
  );
  t.ok(operations > 300, `${operations} operations`);
});

t.test("a join whose snapshot is gone at the next start ends with what it has whole, or with the one on offer", async (t) => {
  const five = heightOf(5n);
  const offers = [await shelfInMemory(five), await shelfInMemory(HEIGHT)] as const;
  const metrics = openMetrics();
  const ended = new Set<Height>();
  let life = 0;
  const { operations } = await cutEverywhere(
    "join another",
    {
      before: async () => {
        life = 0;
        return Promise.resolve();
      },
      work: async ({ disk, clock }) => {
        const stores = storesOn(disk);
        await disk.makeDirectory(HOME.dataPath);
        if (await isThere(stores, HOME.storePath)) return;
        const network = peersOf(offers[life > 0 ? 1 : 0], () => undefined);
        life += 1;
        const parts = { network, file: net.network, clock, draw: () => 0.5, log: testLog, metrics };
        const shelf = await Shelf.open(SHELF, disk);
        const options = { signal: SIGNAL, onProgress: () => undefined, onChunk: () => undefined };
        kept(await joinHome(HOME, { ...parts, shelf }, options, stores), "a snapshot");
      },
      ends: async ({ disk }) => {
        await using ledger = await openLedger(disk);
        const { height, stateRoot } = ledger.head();
        holds(height === HEIGHT || height === five, `height ${height}`);
        holds(toHex(stateRoot) === toHex(kept(net.ledger.header(height), "header").stateRoot), "the same state");
        await isSound(ledger, "joined");
        ended.add(height);
      },
    },
    { pointsMax: 60, comment: (text) => t.comment(text) },
  );
  t.ok(operations > 300, `${operations} operations`);
  t.same(ended, new Set([five, HEIGHT]));
});

t.test("pruning that loses power leaves no holes, forgets nothing that it must not, and goes on", async (t) => {
  const HEAD = 30n;
  const long = await openChain(
    Array.from({ length: Number(HEAD) }, (_, at): readonly Call[] => {
      if (at === 0) return [{ kind: "tableCreate", ...TABLE }];
      if (at === 2) return [{ kind: "validatorSet", key: keyPairAt(2).publicKey, power: 1n }];
      return [put(at % 5), append(at % 3)];
    }),
  );
  t.teardown(() => long[Symbol.asyncDispose]());
  const rows = await rowsOf(long.ledger.store);
  const open = async (disk: Disk): Promise<Ledger> =>
    await Ledger.open({ store: await storesOn(disk).open(HOME.storePath), network: long.network, executor: EXECUTOR });
  const head = long.ledger.head();
  const historyRoot = kept(long.ledger.header(head.height), "newest header").historyRoot;
  const hasAll = async (disk: Disk): Promise<void> => {
    await using ledger = await open(disk);
    holds(toHex(ledger.head().hash) === toHex(head.hash), "the head");
    for (let height = heightOf(1n); height < HEAD; height = heightOf(height + 1n)) {
      const header = kept(ledger.header(height), `header ${height}`);
      const siblings = ledger.proveHistory(height, head.height);
      const claim = { leafHash: LOG_HASHER.leaf(headerHash(header)), index: height - 1n, size: HEAD - 1n, siblings };
      holds(verifyInclusion(LOG_HASHER, { ...claim, root: historyRoot }).ok, `header ${height} is proven`);
      kept(ledger.validators(height), `validators of ${height}`);
      if (height < ledger.oldestBlock()) continue;
      kept(ledger.blockBytes(height), `block ${height} above ${ledger.oldestBlock()}`);
      kept(ledger.certificateBytes(height), `certificate ${height} above ${ledger.oldestBlock()}`);
      kept(ledger.results(height), `results ${height} above ${ledger.oldestBlock()}`);
    }
    const changes = ledger.validatorChanges(heightOf(1n), 10);
    holds(changes.length >= 1, "changes of the set");
    for (const { height } of changes) kept(ledger.certificateBytes(height), `certificate of the change of ${height}`);
    await isSound(ledger, "pruned");
  };
  let pruned: string | undefined;
  const { operations } = await cutEverywhere(
    "prune",
    {
      before: async ({ disk }) => {
        await disk.makeDirectory(HOME.dataPath);
        await copyRows(rows, storesOn(disk), HOME.storePath);
      },
      work: async ({ disk, clock }) => {
        await using ledger = await open(disk);
        const policy = { kind: "recent", keepHeights: 5, keepHours: 0 } as const;
        const floor = (): { readonly states: undefined; readonly blocks: undefined } => ({
          states: undefined,
          blocks: undefined,
        });
        const parts = { ledger, floor, clock, log: testLog, signal: SIGNAL };
        await new Pruner({ policy, keepHeightsMin: 3, intervalHeights: 10 }, parts).follow(ledger.head().height);
      },
      holds: async ({ disk }) => await hasAll(disk),
      ends: async ({ disk }) => {
        await hasAll(disk);
        await using ledger = await open(disk);
        holds(ledger.oldestBlock() === 25n && ledger.oldestState() === 25n, `went on to ${ledger.oldestBlock()}`);
        const left = toHex(
          utf8(JSON.stringify((await rowsOf(ledger.store)).map(({ key, value }) => [toHex(key), toHex(value)]))),
        );
        pruned ??= left;
        holds(left === pruned, "the same rows as without a cut");
      },
    },
    { pointsMax: 30, comment: (text) => t.comment(text) },
  );
  t.ok(operations > 6, `${operations} operations`);
});
