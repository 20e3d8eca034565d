/**
 * Joining from peers that lie, stall, drip and go: every chunk that is kept is true, whoever lied is cut off, and whatever
 * happens it ends with the one snapshot that honest peers have. Real sockets, a real chain of some megabytes.
 */

import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { bytesEqual, fromHex, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { type Hash, hashOf } from "../../crypto/hash/hash.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { feeOf } from "../../chain/block/genesis.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { hashAt, keyPairAt, networkOf } from "../../chain/block/testing/fixtures.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction } from "../../chain/block/transaction.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { SPAN_LENGTH_MAX } from "../../chain/merkle/span.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { openMetrics } from "../metrics/metrics.ts";
import {
  CHUNKS_PROTOCOL,
  type ChunkShelf,
  chunkServer,
  encodeOffers,
  type Offer,
  parseChunksRequest,
} from "../network/chunks.ts";
import type { Limits } from "../network/limits.ts";
import type { Network } from "../network/network.ts";
import { type Handler, refuse } from "../network/request.ts";
import { openNode, testLog, until } from "../network/testing/nodes.ts";
import { SYSTEM_CLOCK } from "../ports/clock.ts";
import { SYSTEM_DISK } from "../ports/disk.ts";
import { DevNet } from "../rpc/testing/devnet.ts";
import { snapshotIndex, snapshotParts } from "./create.ts";
import {
  addressOf,
  encodeIndex,
  encodePage,
  type Entry,
  PAGE_ENTRIES,
  PAGES_MAX,
  PAGES_SIZE_BYTES_MAX,
  parseIndex,
  parsePage,
} from "./format.ts";
import { sourceOf } from "./install.ts";
import { Joiner, type JoinProgress } from "./joiner.ts";
import { makeSnapshot } from "./make.ts";
import { restoreSnapshot } from "./restore.ts";
import { Shelf, type Shelved } from "./shelf.ts";

const SIGNAL = new AbortController().signal;
const HEIGHT = heightOf(6n);
const LIMITS: Partial<Limits> = {
  // An honest peer on a busy machine, or on one that stands still for a while, must not pass for one that stalls.
  frameTimeoutMs: 4_000,
  snapshotBatchTimeoutMs: 12_000,
  snapshotHedgeMs: 300,
  snapshotListMs: 200,
  snapshotSettleMs: 300,
  snapshotPatienceMs: 10_000,
  snapshotHeightsMin: 2,
  syncBenchMs: 1_000,
  syncRetryMs: 50,
};

/** Seven blocks: 0.9 MB of rows, 0.6 MB of records in two partitions, and a new validator. */
async function openChain(): Promise<DevNet> {
  const amounts = [1_000_000_000_000n];
  const parameters = { dev: true, transactionSizeBytesMax: 1024 * 1024 };
  const net = await DevNet.open({ network: networkOf({ powers: [3n, 1n], amounts, parameters }) });
  const table = { namespace: "shop", table: "orders" };
  const text = "x".repeat(30_000);
  const put = (index: number): Call => ({
    kind: "tablePut",
    ...table,
    key: utf8(`o-${index}`),
    value: encodeValue({ index, text }),
  });
  const append = (partition: number, fill: number): Call => ({
    kind: "logAppend",
    stream: "events",
    partition,
    records: Array.from({ length: 5 }, (_, index) => new Uint8Array(30_000).fill(fill + index)),
  });
  const plan: readonly (readonly Call[])[] = [
    [{ kind: "tableCreate", ...table }],
    ...[0, 1, 2].map((block) => Array.from({ length: 10 }, (_, index) => put(10 * block + index))),
    [append(0, 0), append(7, 50), { kind: "validatorSet", key: keyPairAt(2).publicKey, power: 1n }],
    [append(0, 100), append(7, 150)],
    [{ kind: "tableDelete", ...table, key: utf8("o-3") }],
  ];
  const keyPair = keyPairAt(100);
  for (const [nonce, calls] of plan.entries()) {
    const body = {
      chainId: net.network.chainId,
      sender: addressOfKey(keyPair.publicKey),
      nonce: BigInt(nonce),
      fee: feeOf(net.network.parameters, 1_000_000),
      expiry: heightOf(1000n),
      calls,
    };
    const { results } = await net.commit([signTransaction(body, keyPair)]);
    if (results[0]?.kind !== "applied") throw new Error(JSON.stringify(results[0]));
  }
  return net;
}

const net = await openChain();
t.teardown(() => net[Symbol.asyncDispose]());

async function newShelf(t: Pick<Test, "teardown">): Promise<{ readonly shelf: Shelf; readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "pyralog-join-"));
  t.teardown(() => rm(path, { recursive: true }));
  return { shelf: await Shelf.open(path, SYSTEM_DISK), path };
}

const { shelf: honestShelf, path: honestPath } = await newShelf(t);
const honest = await makeSnapshot(net.ledger, HEIGHT, { shelf: honestShelf, signal: SIGNAL });

/** Bytes by name, and what is offered: what an honest node serves, or a liar. */
function shelfOf(offers: readonly Offer[], chunks: ReadonlyMap<string, Uint8Array>): ChunkShelf {
  return { offers: () => offers, serve: async (_, hash) => Promise.resolve(chunks.get(toHex(hash))) };
}

const entries = present(await honestShelf.entries(honest.index), "entries");
const truth = new Map<string, Uint8Array>([[toHex(honest.root), honest.bytes]]);
for (const hash of [...honest.index.pages, ...entries.map((entry) => entry.hash)])
  truth.set(toHex(hash), present(await honestShelf.read(hash), "chunk"));
const OFFER: Offer = { height: HEIGHT, root: honest.root };

const serving =
  (shelf: ChunkShelf): ((network: Network) => Handler) =>
  (network) =>
    chunkServer(shelf, network.limits);
const HONEST = serving(shelfOf([OFFER], truth));

/** A snapshot that names other chunks than the true one, whole and consistent under its own root. */
function forged(
  alter: (entries: readonly Entry[], chunks: Map<string, Uint8Array>) => readonly Entry[],
  height: Height = HEIGHT,
): ChunkShelf {
  const chunks = new Map(truth);
  const made = snapshotIndex(net.ledger, height, alter(entries, chunks));
  for (const { hash, bytes } of made.pages) chunks.set(toHex(hash), bytes);
  chunks.set(toHex(made.root), made.index);
  return shelfOf([{ height, root: made.root }], chunks);
}

/** Puts other bytes in the place of a chunk, under the name that they have. */
function replaced(entry: Entry, bytes: Uint8Array, chunks: Map<string, Uint8Array>): Entry {
  const hash = addressOf(bytes);
  chunks.set(toHex(hash), bytes);
  return { ...entry, hash, sizeBytes: bytes.length };
}

const flipped = (bytes: Uint8Array): Uint8Array => bytes.map((byte, index) => (index === bytes.length - 9 ? byte ^ 1 : byte));

/** Changes the last chunk of a kind. */
const forgedChunk = (kind: Entry["kind"]): ChunkShelf =>
  forged((all, chunks) => {
    const last = present(
      all.findLast((entry) => entry.kind === kind),
      kind,
    );
    return all.map((entry) =>
      entry === last ? replaced(entry, flipped(present(chunks.get(toHex(entry.hash)), "chunk")), chunks) : entry,
    );
  });

type Scene = {
  readonly network: Network;
  readonly peers: readonly Network[];
  readonly joined: Promise<Shelved | undefined>;
  readonly shelf: Shelf;
  readonly steps: JoinProgress[];
};

let number = 100;

/** A node that joins from peers which serve as told; all are connected when it starts. */
async function scene(
  t: Test,
  handlers: readonly ((network: Network) => Handler)[],
  options: { readonly shelf?: Shelf; readonly signal?: AbortSignal; readonly claim?: bigint } = {},
): Promise<Scene> {
  const peers = await Promise.all(
    handlers.map(async (handler) => {
      const network = await openNode((number += 1), { height: () => options.claim ?? 7n });
      t.teardown(async () => network[Symbol.asyncDispose]());
      await network.handle(CHUNKS_PROTOCOL, handler(network));
      return network;
    }),
  );
  const network = await openNode((number += 1), { bootstrap: peers.flatMap((peer) => peer.addresses()), limits: LIMITS });
  t.teardown(async () => network[Symbol.asyncDispose]());
  await until(() => network.peers().length === peers.length, "all connected");
  const shelf = options.shelf ?? (await newShelf(t)).shelf;
  const steps: JoinProgress[] = [];
  const joiner = new Joiner(
    { onProgress: (progress) => void steps.push(progress) },
    { network, file: net.network, shelf, clock: SYSTEM_CLOCK, draw: Math.random, log: testLog, metrics: openMetrics() },
  );
  const joined = joiner.run(options.signal ?? SIGNAL);
  joined.catch(() => undefined); // Awaited by the test.
  return { network, peers, joined, shelf, steps };
}

/** A join that ends with the true snapshot, from which a node goes on. */
async function endsWell(t: Test, { joined, shelf }: Scene): Promise<void> {
  const shelved = present(await joined, "snapshot");
  t.strictSame(toHex(shelved.root), toHex(honest.root));
  const store = openMemoryStore();
  await restoreSnapshot(sourceOf(shelf, shelved), { store, network: net.network, signal: SIGNAL });
  const ledger = await Ledger.open({ store, network: net.network, executor: EXECUTOR });
  t.strictSame(toHex(ledger.head().stateRoot), toHex(present(net.ledger.header(HEIGHT), "header").stateRoot));
  await ledger[Symbol.asyncDispose]();
}

t.setTimeout(600_000);

t.test("chunks come from all honest peers, and progress tells of each", async (t) => {
  t.ok(entries.filter(({ kind }) => kind === "state").length > 3, `${entries.length} chunks`);
  t.ok(entries.filter(({ kind }) => kind === "records").length >= 4);
  const served = [0, 0];
  const counting = (at: number): ((network: Network) => Handler) =>
    serving({
      offers: () => [OFFER],
      serve: async (_, hash) => {
        served[at] = (served[at] ?? 0) + 1;
        await new Promise((resolve) => setTimeout(resolve, 20));
        return truth.get(toHex(hash));
      },
    });
  const found = await scene(t, [counting(0), counting(1)]);
  await endsWell(t, found);
  t.ok(
    served.every((count) => count > 0),
    `served ${served.join(" and ")}`,
  );
  t.match(found.steps[0], { phase: "finding", height: undefined });
  t.match(found.steps.at(-1), {
    phase: "whole",
    height: HEIGHT,
    chunks: entries.length,
    chunksTotal: entries.length,
    secondsLeft: 0,
  });
  t.ok(
    found.steps.some(({ secondsLeft }) => secondsLeft !== undefined && secondsLeft > 0),
    "time left",
  );
  t.same(
    found.steps.filter(({ secondsLeft, sizeBytes, sizeBytesTotal }) => secondsLeft !== undefined && sizeBytes > sizeBytesTotal),
    [],
    "and none before it is known how much there is",
  );
  const again = await scene(t, [], { shelf: found.shelf });
  t.ok(await again.joined, "what is whole needs no peer: a kill before it is restored costs nothing");
});

/** Peers that do not tell the truth; `isBanned` says whether that is an offence. */
const LIARS: readonly { readonly name: string; readonly isBanned: boolean; readonly serve: (network: Network) => Handler }[] = [
  { name: "rows that were changed", isBanned: true, serve: serving(forgedChunk("state")) },
  {
    name: "another network",
    isBanned: true,
    serve: serving(
      (() => {
        const index = encodeIndex({ ...honest.index, networkHash: hashAt(3) });
        const root = addressOf(index);
        return shelfOf([{ height: HEIGHT, root }], new Map([[toHex(root), index]]));
      })(),
    ),
  },
  {
    name: "a height that nobody has reached",
    isBanned: true,
    serve: serving(shelfOf([{ height: heightOf(1n << 62n), root: honest.root }], truth)),
  },
  {
    name: "other bytes under a chunk's name",
    isBanned: true,
    serve: serving({
      offers: () => [OFFER],
      serve: async (_, hash) => Promise.resolve(flipped(present(truth.get(toHex(hash)), "chunk"))),
    }),
  },
  {
    name: "chunks that are cut short",
    isBanned: true,
    serve: serving({
      offers: () => [OFFER],
      serve: async (_, hash) => Promise.resolve(present(truth.get(toHex(hash)), "chunk").subarray(1)),
    }),
  },
  {
    // Over the size of the answer as well, which costs a place only when it is done again.
    name: "more frames than were asked for",
    isBanned: false,
    serve: (network) =>
      async function* flood(asked) {
        const honestly = HONEST(network)(asked);
        for await (const frame of honestly) yield frame;
        const request = parseChunksRequest(asked.bytes, network.limits);
        // A few are as bad as many, and leave this process time for the others.
        for (let extra = 0; request.ok && request.value.kind === "chunks" && extra < 50; extra += 1) yield new Uint8Array(100);
      },
  },
  {
    name: "a chunk without end",
    isBanned: false,
    serve: (network) =>
      async function* endless(asked) {
        const request = parseChunksRequest(asked.bytes, network.limits);
        if (request.ok && request.value.kind === "offers") yield encodeOffers([OFFER]);
        else yield new Uint8Array(8 * 1024 * 1024);
      },
  },
  {
    name: "chunks that drip",
    isBanned: false,
    serve: (network) =>
      async function* drip(asked) {
        const request = parseChunksRequest(asked.bytes, network.limits);
        if (request.ok && request.value.kind === "offers") yield encodeOffers([OFFER]);
        else if (!asked.signal.aborted) await new Promise((resolve) => asked.signal.addEventListener("abort", resolve));
      },
  },
  {
    name: "nothing of what it offers",
    isBanned: false,
    serve: (network) =>
      async function* none(asked) {
        const request = parseChunksRequest(asked.bytes, network.limits);
        if (!request.ok || request.value.kind !== "offers") throw refuse("unavailable");
        yield encodeOffers([OFFER, { height: heightOf(1000n), root: hashAt(7) }]);
      },
  },
  {
    name: "garbage for an offer",
    isBanned: false,
    serve: () =>
      async function* garble() {
        yield utf8("no offer");
      },
  },
  { name: "an old snapshot", isBanned: false, serve: serving(await oldSnapshot()) },
  { name: "an index that names one page as often as it can", isBanned: true, serve: serving(repeatedPage()) },
];

function repeatedPage(): ChunkShelf {
  const entry = { kind: "state", hash: hashAt(1), sizeBytes: 1, from: new Uint8Array(1_025) } as const;
  const page = encodePage(Array.from({ length: PAGE_ENTRIES }, () => entry));
  const pages = Array.from({ length: PAGES_MAX }, () => addressOf(page));
  const chunks = PAGES_MAX * PAGE_ENTRIES;
  const index = encodeIndex({ ...honest.index, chunks, sizeBytes: BigInt(chunks), pages });
  const root = addressOf(index);
  return shelfOf(
    [{ height: HEIGHT, root }],
    new Map([
      [toHex(root), index],
      [toHex(addressOf(page)), page],
    ]),
  );
}

async function oldSnapshot(): Promise<ChunkShelf> {
  const { shelf } = await newShelf(t);
  const { root, index, bytes } = await makeSnapshot(net.ledger, heightOf(3n), { shelf, signal: SIGNAL });
  return {
    offers: () => [{ height: index.height, root }],
    serve: async (_, hash) => (bytesEqual(hash, root) ? bytes : await shelf.read(hash)),
  };
}

for (const { name, isBanned, serve } of LIARS) {
  t.test(`a peer that offers ${name} is found out, and the join ends well`, async (t) => {
    // Two of them, so that theirs is what most peers offer.
    const found = await scene(t, [serve, serve, HONEST]);
    await endsWell(t, found);
    if (isBanned)
      t.ok(
        found.peers.slice(0, 2).some(({ peerId }) => found.network.isBanned(peerId)),
        "a liar is banned",
      );
    t.notOk(found.network.isBanned(present(found.peers[2], "honest").peerId));
  });
}

t.test("of an index that names more than may be, pages are fetched and kept as far as the bound", async (t) => {
  const span = Array.from({ length: SPAN_LENGTH_MAX }, () => hashAt(1));
  const entry = { kind: "headers", hash: hashAt(1), sizeBytes: 1, count: 1, span } as const;
  const page = encodePage(Array.from({ length: PAGE_ENTRIES }, () => entry));
  // Each with another hash at the end of its last span.
  const numbered = (number: number): Uint8Array => {
    const bytes = page.slice();
    bytes[bytes.length - 1] = number;
    return bytes;
  };
  const most = Math.floor(PAGES_SIZE_BYTES_MAX / page.length);
  const numbers = new Map(Array.from({ length: most + 60 }, (_, number) => [toHex(addressOf(numbered(number))), number]));
  const chunks = numbers.size * PAGE_ENTRIES;
  const pages = [...numbers.keys()].map((name) => hashOf(fromHex(name)));
  const index = encodeIndex({ ...honest.index, chunks, sizeBytes: BigInt(chunks), pages });
  const root = addressOf(index);
  const serve = async (_: Height, hash: Hash): Promise<Uint8Array | undefined> => {
    const number = numbers.get(toHex(hash));
    return Promise.resolve(number === undefined ? (bytesEqual(hash, root) ? index : undefined) : numbered(number));
  };
  const { shelf, path } = await newShelf(t);
  const found = await scene(t, [serving({ offers: () => [{ height: HEIGHT, root }], serve })], { shelf });
  t.equal(await found.joined, undefined);
  const kept = (await readdir(join(path, "chunks"))).filter((name) => numbers.has(name));
  t.equal(kept.length, most, `of ${numbers.size} pages of ${page.length} bytes`);
  t.ok(found.network.isBanned(present(found.peers[0], "liar").peerId));
});

t.test("whatever part is forged, nothing false is taken when there is nothing else", async (t) => {
  const middle = entries.filter(({ kind }) => kind === "state")[2];
  const forgeries = [forgedChunk("records"), forgedChunk("changes"), forged((all) => all.filter((entry) => entry !== middle))];
  const found = await scene(
    t,
    forgeries.map((shelf) => serving(shelf)),
  );
  t.equal(await found.joined, undefined);
  t.strictSame(found.shelf.snapshots(), []);
});

t.test("an honest peer that comes late is enough, when all others lie", async (t) => {
  const found = await scene(t, [serving(forgedChunk("state")), serving(forgedChunk("records"))], { claim: 1_000n });
  t.equal(await found.joined, undefined, "nobody is left: blocks are the way");
  const again = await scene(t, [HONEST], { shelf: found.shelf });
  await endsWell(t, again);
});

t.test("without a peer that serves, or for a chain of a few blocks, blocks are the way", async (t) => {
  const none = await scene(t, [serving(shelfOf([], truth))]);
  t.equal(await none.joined, undefined);
  const short = await scene(t, [HONEST], { claim: 1n });
  t.equal(await short.joined, undefined);
});

t.test("a join that is broken off again and again fetches each chunk about once", async (t) => {
  const { shelf: first, path } = await newShelf(t);
  let [shelf, served, runs] = [first, 0, 0];
  const slowly = serving({
    offers: () => [OFFER],
    serve: async (_, hash: Hash) => {
      served += 1;
      await new Promise((resolve) => setTimeout(resolve, 15));
      return truth.get(toHex(hash));
    },
  });
  for (let isDone = false; !isDone; runs += 1) {
    if (runs > 40) throw new Error("does not get on");
    const breaking = new AbortController();
    const found = await scene(t, [slowly], { shelf, signal: breaking.signal });
    const before = (await readdir(join(path, "chunks"))).length;
    const timer = setInterval(() => {
      // At another moment each time, and never before something new was kept.
      const { chunks } = found.steps.at(-1) ?? { chunks: 0 };
      if (chunks > 0 && chunks + 1 >= before + 1 + (runs % 3)) breaking.abort();
    }, 5);
    try {
      isDone = (await found.joined) !== undefined;
    } catch (error) {
      if (!breaking.signal.aborted) throw error;
    } finally {
      clearInterval(timer);
    }
    await found.network[Symbol.asyncDispose]();
    // As a new process would.
    shelf = await Shelf.open(path, SYSTEM_DISK);
    await shelf.sweep();
  }
  t.ok(runs > 2, `${runs} runs`);
  t.ok(served < 2 * truth.size + 4 * runs, `${served} chunks served of ${truth.size} in ${runs} runs`);
  const names = await readdir(join(path, "chunks"));
  t.strictSame(names.toSorted(), (await readdir(join(honestPath, "chunks"))).toSorted(), "the same files as the honest node");
});

t.test("what the joiner keeps of a snapshot that nobody offers any more is used for the next one", async (t) => {
  const { shelf } = await newShelf(t);
  const old = await oldSnapshot();
  const first = await scene(t, [serving(old)], { shelf });
  t.ok(await first.joined);
  // As whoever restores it does.
  await shelf.endJoining();
  let headers = 0;
  const counted = new Set(entries.filter(({ kind }) => kind === "changes" || kind === "headers").map(({ hash }) => toHex(hash)));
  const found = await scene(
    t,
    [
      serving({
        offers: () => [OFFER],
        serve: async (_, hash) => {
          if (counted.has(toHex(hash))) headers += 1;
          return Promise.resolve(truth.get(toHex(hash)));
        },
      }),
    ],
    { shelf },
  );
  await endsWell(t, found);
  t.ok(headers <= counted.size);
  t.strictSame(
    shelf.snapshots().map(({ index }) => index.height),
    [6n, 3n],
  );
});

t.test("index and pages of the test's own forgeries are well formed", (t) => {
  const index = parseIndex(honest.bytes);
  t.ok(index.ok && encodePage(entries).length > 0 && parsePage(encodePage(entries)).ok);
  t.ok(
    [...snapshotParts(net.ledger, HEIGHT)].every(({ entry }, at) => bytesEqual(entry.hash, present(entries[at], "entry").hash)),
  );
  t.end();
});
