/** Snapshots: what is restored goes on as the original does, and no lie in a file is believed. */

import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { bytesEqual, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { encodeBlock } from "../../chain/block/block.ts";
import { isDropped } from "../../chain/block/record.ts";
import { feeOf } from "../../chain/block/genesis.ts";
import { heightOf } from "../../chain/block/height.ts";
import { certificateOf, hashAt, keyPairAt, setOf } from "../../chain/block/testing/fixtures.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction } from "../../chain/block/transaction.ts";
import { encodeMembers } from "../../chain/block/validators.ts";
import { encodeCertificate } from "../../chain/block/vote.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { LOG_HASHER, verifyInclusion } from "../../chain/merkle/log.ts";
import { spanOf } from "../../chain/merkle/span.ts";
import { leafHash, valueHash } from "../../chain/state/hashing.ts";
import { encodeProof, parseProof, type ProofStep } from "../../chain/state/proof.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import type { Store } from "../../chain/store/store.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { minedNetwork } from "../driver/testing/miner.ts";
import { openLog } from "../log/log.ts";
import { openMetrics } from "../metrics/metrics.ts";
import { SYSTEM_CLOCK } from "../ports/clock.ts";
import { SYSTEM_DISK } from "../ports/disk.ts";
import { DevNet } from "../rpc/testing/devnet.ts";
import { scrubRows } from "../scrub/rows.ts";
import { type Part, snapshotIndex, snapshotParts } from "./create.ts";
import {
  addressOf,
  type Chunk,
  encodeChunk,
  encodeIndex,
  encodePage,
  type Entry,
  type EntryPlace,
  type Index,
  PAGE_ENTRIES,
  PAGES_MAX,
  PAGES_SIZE_BYTES_MAX,
  parseChunk,
  parseIndex,
  parsePage,
} from "./format.ts";
import { sourceOf } from "./install.ts";
import { makeSnapshot, SnapshotMaker } from "./make.ts";
import { type ChunkSource, restoreSnapshot } from "./restore.ts";
import { Shelf } from "./shelf.ts";
import { drawnSeed } from "../../crypto/testing/property.ts";

const SEED = drawnSeed();
const SIGNAL = new AbortController().signal;
const SENDER = 100;

/** Six blocks with rows, records of two partitions and a new validator. */
async function openChain(t: Test): Promise<DevNet> {
  const net = await DevNet.open({ powers: [3n, 1n] });
  t.teardown(() => net[Symbol.asyncDispose]());
  const table = { namespace: "shop", table: "orders" };
  const put = (index: number): Call => ({ kind: "tablePut", ...table, key: utf8(`o-${index}`), value: encodeValue({ index }) });
  const append = (partition: number): Call => ({
    kind: "logAppend",
    stream: "events",
    partition,
    records: [utf8("a"), utf8("b"), utf8("c")],
  });
  const plan: readonly (readonly Call[])[] = [
    [{ kind: "tableCreate", ...table }],
    [put(1), put(2), append(0)],
    [{ kind: "validatorSet", key: keyPairAt(2).publicKey, power: 1n }],
    [append(0), append(7)],
    [put(3)],
    [put(4)],
  ];
  for (const [nonce, calls] of plan.entries()) await send(net, nonce, calls);
  return net;
}

async function send(net: DevNet, nonce: number, calls: readonly Call[]): ReturnType<DevNet["commit"]> {
  const keyPair = keyPairAt(SENDER);
  const body = {
    chainId: net.network.chainId,
    sender: addressOfKey(keyPair.publicKey),
    nonce: BigInt(nonce),
    fee: feeOf(net.network.parameters, 2000),
    expiry: heightOf(1000n),
    calls,
  };
  return net.commit([signTransaction(body, keyPair)]);
}

type Parts = readonly Part[];

/** What a copier could hand on: the chunks under the names that their entries say, whatever bytes they have. */
function sourceFrom(net: DevNet, parts: Parts, told: Partial<Index> = {}): ChunkSource {
  const entries = parts.map(({ entry }) => entry);
  const parsed = parseIndex(snapshotIndex(net.ledger, heightOf(6n), entries).index);
  if (!parsed.ok) throw new Error(parsed.error.code);
  const index = { ...parsed.value, ...told };
  const chunks = new Map(parts.map(({ entry, bytes }) => [toHex(entry.hash), bytes]));
  return {
    root: addressOf(encodeIndex(index)),
    index,
    entries: async () => Promise.resolve(entries),
    get: async ({ hash }) => Promise.resolve(chunks.get(toHex(hash))),
  };
}

async function restore(
  net: DevNet,
  source: ChunkSource,
): Promise<{ readonly ledger: Ledger; readonly restored: Awaited<ReturnType<typeof restoreSnapshot>> }> {
  const store = openMemoryStore();
  const restored = await restoreSnapshot(source, { store, network: net.network, signal: SIGNAL });
  return { restored, ledger: await Ledger.open({ store, network: net.network, executor: EXECUTOR }) };
}

t.test("a restored ledger is where the original was, and goes on with it", async (t) => {
  const net = await openChain(t);
  const { ledger, restored } = await restore(net, sourceFrom(net, [...snapshotParts(net.ledger, heightOf(6n))]));
  t.match(restored, { height: 6n, headers: 6, records: 9 });
  t.strictSame(ledger.head(), net.ledger.head());
  t.ok(bytesEqual(present(ledger.blockBytes(heightOf(6n)), "block"), present(net.ledger.blockBytes(heightOf(6n)), "block")));
  t.equal(ledger.block(heightOf(5n)), undefined, "blocks before it are not there");
  t.equal(ledger.oldestState(), 6n);
  const { block, certificate } = await send(net, 6, [
    { kind: "logAppend", stream: "events", partition: 0, records: [utf8("d")] },
  ]);
  t.match(await ledger.judge(block), { ok: true });
  t.match(await ledger.checkCertificate(block, certificate), { ok: true });
  await ledger.commit(block, certificate);
  t.equal(toHex(ledger.head().stateRoot), toHex(net.ledger.head().stateRoot));
  t.strictSame(ledger.proveRecord(heightOf(7n), "events", 0, 6n), net.ledger.proveRecord(heightOf(7n), "events", 0, 6n));
});

t.test("records that were dropped come as commitments, and what is to be dropped is, on both at the same block", async (t) => {
  const net = await DevNet.open({ powers: [1n] });
  t.teardown(() => net[Symbol.asyncDispose]());
  const forgetful = { stream: "forgetful", partition: 0 };
  const append = (...records: readonly string[]): Call => ({ kind: "logAppend", ...forgetful, records: records.map(utf8) });
  const kept = (ledger: Ledger): string[] =>
    ledger.records("forgetful", 0, 0n, 100).map(({ bytes }) => (isDropped(bytes) ? "-" : "+"));
  await send(net, 0, [
    {
      kind: "streamCreate",
      stream: "forgetful",
      partitions: 1,
      isOpen: false,
      segmentSizeBytes: 1_048_576,
      segmentAgeMs: 86_400_000,
      retentionMs: 3_000,
    },
    append("a", "b"),
  ]);
  await send(net, 1, [append("c")]);
  await send(net, 2, [{ kind: "recordErase", ...forgetful, index: 2n }]);
  for (let nonce = 3; kept(net.ledger).slice(0, 2).includes("+"); nonce += 1) await send(net, nonce, [append(`${nonce}`)]);
  const { height } = net.ledger.head();
  const parts = [...snapshotParts(net.ledger, height)];
  const { ledger } = await restore(net, sourceFrom(net, parts, { height }));
  t.strictSame(kept(ledger), kept(net.ledger));
  t.same(kept(ledger).slice(0, 3), ["-", "-", "-"], "two whose time was up, and one that was erased");
  t.ok(kept(ledger).includes("+"), "others are there");
  for await (const { damages } of scrubRows({ ledger, executor: EXECUTOR })) t.strictSame(damages, [], "nothing is damaged");
  for (let count = 0; kept(net.ledger).slice(0, 5).includes("+") && count < 10; count += 1) {
    const { block, certificate } = await send(net, Number(height) + count, [append("later")]);
    t.match(await ledger.judge(block), { ok: true });
    await ledger.commit(block, certificate);
    t.strictSame(kept(ledger), kept(net.ledger), `after ${block.header.height}`);
  }
  t.notOk(kept(ledger).slice(0, 5).includes("+"), "what was whole in the snapshot has gone since");
});

t.test("a restored ledger proves old headers and every change of the validator set", async (t) => {
  const net = await openChain(t);
  const { ledger } = await restore(net, sourceFrom(net, [...snapshotParts(net.ledger, heightOf(6n))]));
  const header = present(ledger.header(heightOf(6n)), "header");
  for (let height = 1n; height < 6n; height += 1n) {
    const siblings = ledger.proveHistory(heightOf(height), heightOf(6n));
    const leafHash = LOG_HASHER.leaf(present(net.ledger.block(heightOf(height)), "block").hash);
    t.match(verifyInclusion(LOG_HASHER, { leafHash, index: height - 1n, size: 5n, siblings, root: header.historyRoot }), {
      ok: true,
    });
  }
  t.strictSame(ledger.validatorChanges(heightOf(1n), 10), net.ledger.validatorChanges(heightOf(1n), 10));
  for (const { height } of ledger.validatorChanges(heightOf(1n), 10)) {
    t.strictSame(ledger.certificateBytes(height), net.ledger.certificateBytes(height));
    t.ok(ledger.validators(heightOf(height + 1n)));
  }
});

t.test(
  "a snapshot of an earlier height holds that height's state and records, and one that is not there is refused",
  async (t) => {
    const net = await openChain(t);
    const { ledger, restored } = await restore(
      net,
      sourceFrom(net, [...snapshotParts(net.ledger, heightOf(3n))], { height: heightOf(3n) }),
    );
    t.match(restored, { height: 3n, records: 3 });
    t.equal(toHex(ledger.head().stateRoot), toHex(present(net.ledger.header(heightOf(3n)), "header").stateRoot));
    for (const height of [0n, 7n]) t.throws(() => [...snapshotParts(net.ledger, heightOf(height))], { code: "snapshot_height" });
  },
);

type Lie = {
  readonly name: string;
  readonly code: string;
  readonly tell: (parts: Parts, net: DevNet) => Parts;
  readonly index?: Partial<Index>;
};

type Place = Parameters<typeof changed>[1];

/** A part with other data, under the name of that data: what somebody makes who lies from the beginning. */
function changed(part: Part, place: Partial<EntryPlace>, chunk?: Chunk): Part {
  const bytes = chunk === undefined ? part.bytes : encodeChunk(chunk);
  return { entry: { ...part.entry, ...place, hash: addressOf(bytes), sizeBytes: bytes.length } as Entry, bytes };
}

function chunkOf<Kind extends Chunk["kind"]>(part: Part, kind: Kind): Extract<Chunk, { readonly kind: Kind }> {
  const chunk = parseChunk(part.bytes);
  if (!chunk.ok || chunk.value.kind !== kind) throw new Error(`no chunk of ${kind}`);
  return chunk.value as Extract<Chunk, { readonly kind: Kind }>;
}

/** Changes every chunk of one kind, and its entry with it. */
function change<Kind extends Chunk["kind"]>(
  kind: Kind,
  alter: (chunk: Extract<Chunk, { readonly kind: Kind }>, net: DevNet) => Chunk,
  place: (chunk: Chunk) => Place = () => ({}),
): Lie["tell"] {
  return (parts, net) =>
    parts.map((part) => {
      if (part.entry.kind !== kind) return part;
      const chunk = alter(chunkOf(part, kind), net);
      return changed(part, place(chunk), chunk);
    });
}

function flipped(bytes: Uint8Array, place = bytes.length - 1): Uint8Array {
  const copy = bytes.slice();
  copy[place] = present(copy[place], "byte") ^ 1;
  return copy;
}

const without =
  (left: (part: Part) => boolean): Lie["tell"] =>
  (parts) =>
    parts.filter(left);

/** The span that records of a changed chunk have: the lie goes as far as it can. */
function spanned(chunk: Chunk): Place {
  const leaves = chunk.kind === "records" ? chunk.records.map((record) => LOG_HASHER.leaf(record)) : [];
  return { count: leaves.length, span: spanOf(LOG_HASHER, 0n, leaves).hashes };
}

const LIES: readonly Lie[] = [
  { name: "another network", code: "snapshot_network", tell: (parts) => parts, index: { networkHash: hashAt(1) } },
  { name: "another chain", code: "snapshot_network", tell: (parts) => parts, index: { chainId: "other" } },
  { name: "a count of another size", code: "snapshot_malformed", tell: (parts) => parts, index: { chunks: 9 } },
  { name: "another size in all", code: "snapshot_malformed", tell: (parts) => parts, index: { sizeBytes: 9n } },
  {
    name: "a header that does not decode",
    code: "snapshot_headers",
    tell: change("headers", ({ headers, kind }) => ({ kind, headers: headers.map((bytes) => bytes.slice(1)) })),
  },
  {
    name: "a changed header",
    code: "snapshot_headers",
    tell: change("headers", ({ headers, kind }) => ({
      kind,
      headers: headers.map((header, index) => (index === 2 ? flipped(header, 60) : header)),
    })),
  },
  {
    name: "headers in another order",
    code: "snapshot_headers",
    tell: change("headers", ({ headers, kind }) => ({ kind, headers: headers.toReversed() })),
  },
  {
    name: "a header left out",
    code: "snapshot_headers",
    tell: change("headers", ({ headers, kind }) => ({ kind, headers: headers.filter((_, index) => index !== 2) })),
  },
  {
    name: "a history of fewer headers",
    code: "snapshot_headers",
    tell: (parts) =>
      parts.map((part) =>
        part.entry.kind === "headers" ? changed(part, { count: 4, span: part.entry.span.slice(0, 1) }) : part,
      ),
  },
  {
    name: "a history of other headers",
    code: "snapshot_headers",
    tell: (parts) =>
      parts.map((part) =>
        part.entry.kind === "headers" ? changed(part, { span: part.entry.span.map((_, index) => hashAt(index)) }) : part,
      ),
  },
  {
    name: "a span of another length",
    code: "snapshot_headers",
    tell: (parts) => parts.map((part) => (part.entry.kind === "headers" ? changed(part, { span: [] }) : part)),
  },
  {
    name: "a certificate without the power it takes",
    code: "snapshot_certificate",
    tell: change("block", (chunk, net) => {
      const blockHash = present(net.ledger.block(heightOf(6n)), "block").hash;
      const certificate = encodeCertificate(certificateOf(setOf([3n, 1n]), [1], { height: heightOf(6n), blockHash }));
      return { ...chunk, certificate };
    }),
  },
  { name: "a change of the set left out", code: "snapshot_validators", tell: without(({ entry }) => entry.kind !== "changes") },
  {
    name: "a change of the set without its certificate",
    code: "snapshot_certificate",
    tell: change("changes", ({ kind, changes }) => ({
      kind,
      changes: changes.map(({ anchor, validators }) => ({ anchor: { ...anchor, certificate: new Uint8Array(1) }, validators })),
    })),
  },
  {
    name: "another set than the header names",
    code: "snapshot_validators",
    tell: change("changes", ({ kind, changes }) => ({
      kind,
      changes: changes.map(({ anchor }) => ({ anchor, validators: encodeMembers(setOf([3n])) })),
    })),
  },
  {
    name: "a change that is told twice",
    code: "snapshot_validators",
    tell: change("changes", ({ kind, changes }) => ({ kind, changes: [...changes, ...changes] })),
  },
  {
    name: "another block",
    code: "snapshot_block",
    tell: change("block", (chunk, net) => ({ ...chunk, block: present(net.ledger.blockBytes(heightOf(5n)), "block") })),
  },
  {
    name: "a block with another body",
    code: "snapshot_block",
    tell: change("block", (chunk, net) => {
      const [five, six] = [5n, 6n].map((height) => present(net.ledger.block(heightOf(height)), "block"));
      return { ...chunk, block: encodeBlock({ ...present(six, "block"), transactions: present(five, "block").transactions }) };
    }),
  },
  { name: "results left out", code: "snapshot_block", tell: change("block", (chunk) => ({ ...chunk, results: [] })) },
  { name: "no block", code: "snapshot_order", tell: without(({ entry }) => entry.kind !== "block") },
  { name: "no rows at all", code: "snapshot_order", tell: without(({ entry }) => entry.kind !== "state") },
  {
    name: "a changed row",
    code: "snapshot_state",
    tell: change("state", ({ kind, proof }) => ({ kind, proof: alteredProof(proof, (steps) => steps.map(flipOne)) })),
  },
  {
    name: "a row left out",
    code: "snapshot_state",
    tell: change("state", ({ kind, proof }) => ({ kind, proof: alteredProof(proof, (steps) => steps.map(hideOne)) })),
  },
  {
    name: "rows that end too early",
    code: "snapshot_state",
    tell: (parts, net) =>
      parts.map((part) =>
        part.entry.kind === "state"
          ? changed(part, {}, { kind: "state", proof: net.ledger.tree.prove(heightOf(6n), { limit: 3 }) })
          : part,
      ),
  },
  {
    name: "the state of another height",
    code: "snapshot_state",
    tell: (parts, net) =>
      parts.map((part) =>
        part.entry.kind === "state" ? changed(part, {}, { kind: "state", proof: net.ledger.tree.prove(heightOf(5n), {}) }) : part,
      ),
  },
  {
    name: "a state that begins in the middle",
    code: "snapshot_order",
    tell: (parts) => parts.map((part) => (part.entry.kind === "state" ? changed(part, { from: utf8("m") }) : part)),
  },
  {
    name: "a changed record",
    code: "snapshot_records",
    tell: change("records", ({ kind, records }) => ({
      kind,
      records: records.map((record, index) => (index === 1 ? flipped(record) : record)),
    })),
  },
  {
    name: "a changed record, with the span that it has",
    code: "snapshot_records",
    tell: change("records", ({ kind, records }) => ({ kind, records: records.map((record) => flipped(record)) }), spanned),
  },
  {
    name: "a record left out, with the span that is left",
    code: "snapshot_records",
    tell: change("records", ({ kind, records }) => ({ kind, records: records.slice(0, -1) }), spanned),
  },
  {
    name: "a partition left out",
    code: "snapshot_records",
    tell: without(({ entry }) => entry.kind !== "records" || entry.partition !== 7),
  },
  {
    name: "a partition that nobody made",
    code: "snapshot_records",
    tell: (parts) => [...parts, changed(present(parts.at(-1), "part"), { stream: "other" })],
  },
  {
    name: "the same records again",
    code: "snapshot_records",
    tell: (parts) => [...parts, present(parts.at(-1), "part")],
  },
  { name: "chunks in another order", code: "snapshot_order", tell: (parts) => parts.toReversed() },
  {
    name: "a chunk of another kind",
    code: "snapshot_order",
    tell: (parts) =>
      parts.map((part) => (part.entry.kind === "state" ? { ...part, bytes: present(parts[0], "part").bytes } : part)),
  },
  {
    name: "a chunk that is cut short",
    code: "snapshot_malformed",
    tell: (parts) => parts.map((part) => (part.entry.kind === "state" ? { ...part, bytes: part.bytes.subarray(1) } : part)),
  },
];

function alteredProof(proof: Uint8Array, alter: (steps: readonly ProofStep[]) => readonly ProofStep[]): Uint8Array {
  const parsed = parseProof(proof);
  if (!parsed.ok) throw new Error(parsed.error.code);
  return encodeProof({ ...parsed.value, steps: alter(parsed.value.steps) });
}

let seen = 0;
function flipOne(step: ProofStep): ProofStep {
  seen = step.kind === "leaf" ? seen + 1 : seen;
  return step.kind === "leaf" && seen === 4 ? { ...step, value: flipped(step.value) } : step;
}

function hideOne(step: ProofStep, index: number): ProofStep {
  return step.kind === "leaf" && index > 8 ? { kind: "hidden", hash: leafHash(step.key, valueHash(step.value)) } : step;
}

t.test("a chain of work has no snapshot: its seals are in none", async (t) => {
  await using net = await DevNet.open({ network: minedNetwork() });
  await net.commitUntil(3n);
  t.throws(() => [...snapshotParts(net.ledger, heightOf(2n))], { code: "snapshot_engine" });
  const source = sourceFrom(net, [], { height: heightOf(2n) });
  await t.rejects(restore(net, source), { code: "snapshot_engine" });
});

t.test("no lie in a snapshot is believed", async (t) => {
  const net = await openChain(t);
  const parts = [...snapshotParts(net.ledger, heightOf(6n))];
  for (const { name, code, tell, index } of LIES)
    await t.rejects(restore(net, sourceFrom(net, tell(parts, net), index)), { code }, name);
});

t.test(
  "what a node keeps on its shelf is made of the same bytes by every node, and survives what becomes of the directory",
  async (t) => {
    const path = await directoryFor(t);
    const net = await openChain(t);
    const [first, second] = [await Shelf.open(join(path, "a"), SYSTEM_DISK), await Shelf.open(join(path, "b"), SYSTEM_DISK)];
    const options = { shelf: first, signal: SIGNAL };
    const three = await makeSnapshot(net.ledger, heightOf(3n), options);
    const { ledger } = await restore(net, sourceOf(first, three));
    // A node that began at height 3 and executed the rest.
    for (let height = 4n; height <= 6n; height += 1n) {
      const block = present(net.ledger.block(heightOf(height)), "block");
      const certificate = present(net.ledger.certificate(heightOf(height)), "certificate");
      t.match(await ledger.judge(block), { ok: true });
      await ledger.commit(block, certificate);
    }
    const five = await makeSnapshot(net.ledger, heightOf(5n), options);
    t.strictSame(
      await makeSnapshot(ledger, heightOf(5n), { ...options, shelf: second }),
      five,
      "the same index, so the same chunks",
    );

    const again = await Shelf.open(join(path, "a"), SYSTEM_DISK);
    t.strictSame(again.snapshots(), [five, three], "newest first");
    const entries = present(await again.entries(five.index), "entries");
    const entry = present(
      entries.find(({ kind }) => kind === "state"),
      "entry",
    );
    const chunkPath = join(path, "a", "chunks", toHex(entry.hash));
    await writeFile(chunkPath, flipped(await readFile(chunkPath)));
    t.equal(await again.get(entry), undefined, "a rotten chunk is not given");
    t.notOk(existsSync(chunkPath), "and is gone");
    await t.rejects(restore(net, sourceOf(again, five)), { code: "snapshot_chunk" });

    await writeFile(join(path, "a", "chunks", "half.tmp"), "torn");
    await writeFile(join(path, "a", "note.txt"), "not ours");
    await writeFile(join(path, "a", "7.index"), "no index");
    const opened = await Shelf.open(join(path, "a"), SYSTEM_DISK);
    t.strictSame(opened.snapshots().length, 2);
    await opened.drop(heightOf(5n));
    t.ok((await opened.sweep()) > 0, "chunks of no snapshot are swept up");
    t.notOk(existsSync(join(path, "a", "chunks", "half.tmp")) || existsSync(join(path, "a", "7.index")));
    t.ok(existsSync(join(path, "a", "note.txt")));
    await restore(net, sourceOf(opened, three));
  },
);

async function directoryFor(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "pyralog-snapshot-"));
  t.teardown(() => rm(directory, { recursive: true }));
  return directory;
}

t.test(
  "snapshots are made as heights come due, the newest are kept, and one that somebody fetches from is kept longer",
  async (t) => {
    const net = await openChain(t);
    await using log = await openLog({ level: "silent", destination: "stderr" });
    const shelf = await Shelf.open(await directoryFor(t), SYSTEM_DISK);
    const maker = new SnapshotMaker(
      { intervalHeights: 2, keep: 1 },
      { ledger: net.ledger, shelf, clock: SYSTEM_CLOCK, log, metrics: openMetrics(), signal: SIGNAL },
    );
    const heights = (): readonly bigint[] => maker.offers().map(({ height }) => height);
    await maker.follow(net.ledger.head().height);
    t.strictSame(heights(), [4n], "the newest that has a block above it");
    await maker.follow(net.ledger.head().height);
    t.strictSame(heights(), [4n], "nothing new is due");
    const { root } = present(maker.offers()[0], "offer");
    t.ok(await maker.serve(heightOf(4n), root));
    t.equal(await maker.serve(heightOf(4n), hashAt(1)), undefined, "a chunk that nobody has");
    t.equal(await maker.serve(heightOf(2n), root), undefined, "a snapshot that is not offered");
    await net.commitUntil(8n);
    await maker.follow(heightOf(8n));
    t.strictSame(heights(), [6n, 4n], "4 was fetched from");
    await net.commitUntil(10n);
    await maker.follow(heightOf(10n));
    t.strictSame(heights(), [8n, 4n], "6 was not");
    t.equal(maker.floor(), 4n);
  },
);

t.test("a snapshot that comes due while the shelf is swept after a crash keeps its chunks", async (t) => {
  const net = await openChain(t);
  await using log = await openLog({ level: "silent", destination: "stderr" });
  const path = await directoryFor(t);
  const broken = await Shelf.open(path, SYSTEM_DISK);
  await makeSnapshot(net.ledger, heightOf(4n), { shelf: broken, signal: SIGNAL });
  // What a crash leaves: chunks that no index names yet, and here so many that sweeping them takes a while.
  await broken.drop(heightOf(4n));
  for (let index = 0; index < 100; index += 1) await broken.put(hashAt(1_000 + index), utf8(`${index}`));
  const shelf = await Shelf.open(path, SYSTEM_DISK);
  const maker = new SnapshotMaker(
    { intervalHeights: 2, keep: 1 },
    { ledger: net.ledger, shelf, clock: SYSTEM_CLOCK, log, metrics: openMetrics(), signal: SIGNAL },
  );
  const head = net.ledger.head().height;
  // The node begins, and a block is committed.
  await Promise.all([maker.begin(head), maker.follow(head)]);
  const { index } = present(shelf.snapshots()[0], "snapshot");
  t.equal(index.height, 4n);
  const entries = present(await shelf.entries(index), "entries of its pages");
  for (const entry of entries) t.ok(await shelf.get(entry), entry.kind);
});

t.test("entries are read as far as a bound in bytes, however often an index names the same page", async (t) => {
  const shelf = await Shelf.open(await directoryFor(t), SYSTEM_DISK);
  const entry = { kind: "state", hash: hashAt(1), sizeBytes: 1, from: new Uint8Array(1_025).fill(1) } as const;
  const page = encodePage(Array.from({ length: PAGE_ENTRIES }, () => entry));
  const hash = addressOf(page);
  await shelf.put(hash, page);
  const indexOf = (count: number): Index => ({
    chainId: "chain",
    networkHash: hashAt(2),
    height: heightOf(2n),
    chunks: count * PAGE_ENTRIES,
    sizeBytes: BigInt(count * PAGE_ENTRIES),
    pages: Array.from({ length: count }, () => hash),
  });
  const most = Math.floor(PAGES_SIZE_BYTES_MAX / page.length);
  t.ok(most < PAGES_MAX, `${most} pages of ${page.length} bytes`);
  t.equal((await shelf.entries(indexOf(most)))?.length, most * PAGE_ENTRIES);
  t.equal(await shelf.entries(indexOf(most + 1)), undefined);
});

t.test("a restoration that is broken off after any batch goes on where it was", async (t) => {
  const net = await openChain(t);
  const source = sourceFrom(net, [...snapshotParts(net.ledger, heightOf(6n))]);
  const expected = await restore(net, source);
  // A disk that is full from then on, and one that has room again a moment later: nothing may be noted as here that is not.
  const wholeAfter = { always: 0, once: 0 };
  for (let round = 0; wholeAfter.always === 0 || wholeAfter.once === 0; round += 1) {
    const [cut, mode] = [round >> 1, round % 2 === 0 ? ("always" as const) : ("once" as const)];
    const store = openMemoryStore();
    let writes = 0;
    const failing: Store = {
      ...bound(store),
      write: async (operations, options) => {
        writes += 1;
        const isFull = mode === "once" ? writes === cut + 1 : writes > cut;
        // Late, as a disk is: whoever does not wait has gone on by then.
        await new Promise(setImmediate);
        if (isFull) throw new CodedError("store_io", { message: "the disk is full" });
        await store.write(operations, options);
      },
    };
    const options = { network: net.network, signal: SIGNAL };
    let isWhole = false;
    try {
      await restoreSnapshot(source, { ...options, store: failing });
      isWhole = true;
    } catch (error) {
      if (codeOf(error) !== "store_io") throw error;
    }
    let reads = 0;
    const counted: ChunkSource = { ...source, get: async (entry) => ((reads += 1), await source.get(entry)) };
    t.match(await restoreSnapshot(counted, { ...options, store }), expected.restored, `after ${cut} batches, ${mode}`);
    if (cut >= 4) t.ok(reads < 6, `only what was missing was read after ${cut} batches, and what is proven first: ${reads}`);
    const ledger = await Ledger.open({ store, network: net.network, executor: EXECUTOR });
    t.strictSame(ledger.head(), net.ledger.head());
    t.strictSame(ledger.proveHistory(heightOf(3n), heightOf(6n)), net.ledger.proveHistory(heightOf(3n), heightOf(6n)));
    t.strictSame(ledger.proveRecord(heightOf(6n), "events", 0, 4n), net.ledger.proveRecord(heightOf(6n), "events", 0, 4n));
    if (isWhole && wholeAfter[mode] === 0) wholeAfter[mode] = cut;
  }
  const other = sourceFrom(net, [...snapshotParts(net.ledger, heightOf(3n))], { height: heightOf(3n) });
  const store = openMemoryStore();
  await restoreSnapshot(source, { store, network: net.network, signal: SIGNAL });
  await t.rejects(restoreSnapshot(other, { store, network: net.network, signal: SIGNAL }), { code: "snapshot_progress" });
});

/** A store's methods, to be replaced one by one. */
function bound(store: Store): Store {
  return {
    get: (key) => store.get(key),
    getMany: (keys) => store.getMany(keys),
    entries: (range) => store.entries(range),
    write: async (operations, options) => await store.write(operations, options),
    snapshot: () => store.snapshot(),
    clear: async (range) => await store.clear(range),
    compact: async (ranges) => await store.compact(ranges),
    sizeBytes: async () => await store.sizeBytes(),
    [Symbol.asyncDispose]: async () => await store[Symbol.asyncDispose](),
  };
}

t.test(
  `mutated chunks, pages and indexes are refused or are what they encode to, and never thrown on (seed ${SEED})`,
  async (t) => {
    const net = await openChain(t);
    const parts = [...snapshotParts(net.ledger, heightOf(6n))];
    const { index, pages } = snapshotIndex(
      net.ledger,
      heightOf(6n),
      parts.map(({ entry }) => entry),
    );
    const chunk = (bytes: Uint8Array) => {
      const parsed = parseChunk(bytes);
      return parsed.ok ? encodeChunk(parsed.value) : undefined;
    };
    const page = (bytes: Uint8Array) => {
      const parsed = parsePage(bytes);
      return parsed.ok ? encodePage(parsed.value) : undefined;
    };
    const whole = (bytes: Uint8Array) => {
      const parsed = parseIndex(bytes);
      return parsed.ok ? encodeIndex(parsed.value) : undefined;
    };
    const encoded = [
      ...parts.map(({ bytes }) => ({ bytes, again: chunk })),
      ...pages.map(({ bytes }) => ({ bytes, again: page })),
      { bytes: index, again: whole },
    ];
    for (const { bytes, again } of encoded) t.ok(bytesEqual(present(again(bytes), "parsed"), bytes));
    fc.assert(
      fc.property(fc.nat(encoded.length - 1), fc.nat(1_000_000), fc.nat(255), fc.nat(4), (which, at, byte, cut) => {
        const { bytes: original, again } = present(encoded[which], "bytes");
        const mutated = original.slice(0, cut === 0 ? at % original.length : original.length);
        if (mutated.length > 0) mutated[at % mutated.length] = byte;
        const parsed = again(mutated);
        return parsed === undefined || bytesEqual(parsed, mutated);
      }),
      { seed: SEED, numRuns: 3000 },
    );
  },
);
