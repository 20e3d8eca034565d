/** Snapshots: what is restored goes on as the original does, and no lie in a file is believed. */

import { mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { bytesEqual, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { feeOf } from "../../chain/block/genesis.ts";
import { heightOf } from "../../chain/block/height.ts";
import { certificateOf, hashAt, keyPairAt, setOf } from "../../chain/block/testing/fixtures.ts";
import { type Call, signTransaction } from "../../chain/block/transaction.ts";
import { encodeCertificate } from "../../chain/block/vote.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { LOG_HASHER, verifyInclusion } from "../../chain/merkle/log.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { minedNetwork } from "../driver/testing/miner.ts";
import { DevNet } from "../rpc/testing/devnet.ts";
import { snapshotChunks } from "./create.ts";
import { readSnapshotFile, writeSnapshotFile } from "./file.ts";
import { type Chunk, encodeChunk, parseChunk } from "./format.ts";
import { restoreSnapshot } from "./restore.ts";

const SEED = Number(process.env["SEED"] ?? 20_253);
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

async function restore(
  net: DevNet,
  chunks: readonly Chunk[],
): Promise<{ readonly ledger: Ledger; readonly restored: Awaited<ReturnType<typeof restoreSnapshot>> }> {
  const store = openMemoryStore();
  const restored = await restoreSnapshot(streamed(chunks), { store, network: net.network, signal: SIGNAL });
  return { restored, ledger: await Ledger.open({ store, network: net.network, executor: EXECUTOR }) };
}

async function collected(chunks: AsyncIterable<Chunk>): Promise<readonly Chunk[]> {
  const all: Chunk[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return all;
}

async function* streamed(chunks: readonly Chunk[]): AsyncGenerator<Chunk> {
  for (const chunk of chunks) yield chunk;
}

t.test("a restored ledger is where the original was, and goes on with it", async (t) => {
  const net = await openChain(t);
  const { ledger, restored } = await restore(net, [...snapshotChunks(net.ledger, heightOf(6n))]);
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

t.test("a restored ledger proves old headers and every change of the validator set", async (t) => {
  const net = await openChain(t);
  const { ledger } = await restore(net, [...snapshotChunks(net.ledger, heightOf(6n))]);
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
    const { ledger, restored } = await restore(net, [...snapshotChunks(net.ledger, heightOf(3n))]);
    t.match(restored, { height: 3n, records: 3 });
    t.equal(toHex(ledger.head().stateRoot), toHex(present(net.ledger.header(heightOf(3n)), "header").stateRoot));
    for (const height of [0n, 7n]) t.throws(() => [...snapshotChunks(net.ledger, heightOf(height))], { code: "snapshot_height" });
  },
);

type Lie = {
  readonly name: string;
  readonly code: string;
  readonly tell: (chunks: readonly Chunk[], net: DevNet) => readonly Chunk[];
};

/** Changes every chunk of one kind. */
function change<Kind extends Chunk["kind"]>(kind: Kind, alter: (chunk: Extract<Chunk, { readonly kind: Kind }>) => Chunk) {
  return (chunks: readonly Chunk[]): readonly Chunk[] =>
    chunks.map((chunk) => (chunk.kind === kind ? alter(chunk as Extract<Chunk, { readonly kind: Kind }>) : chunk));
}

function flipped(bytes: Uint8Array, place = bytes.length - 1): Uint8Array {
  const copy = bytes.slice();
  copy[place] = present(copy[place], "byte") ^ 1;
  return copy;
}

/** With the count at the end put right. */
function without(chunks: readonly Chunk[], left: (chunk: Chunk) => boolean): readonly Chunk[] {
  const kept = chunks.filter(left);
  return kept.map((chunk) => (chunk.kind === "end" ? { ...chunk, chunks: kept.length - 1 } : chunk));
}

const LIES: readonly Lie[] = [
  { name: "another network", code: "snapshot_network", tell: change("start", (chunk) => ({ ...chunk, networkHash: hashAt(1) })) },
  {
    name: "a changed header",
    code: "snapshot_headers",
    tell: change("headers", ({ headers, ...rest }) => ({
      ...rest,
      headers: headers.map((header, index) => (index === 2 ? flipped(header, 60) : header)),
    })),
  },
  {
    name: "a header left out",
    code: "snapshot_headers",
    tell: change("headers", ({ headers, ...rest }) => ({ ...rest, headers: headers.filter((_, index) => index !== 2) })),
  },
  {
    name: "headers that end too early",
    code: "snapshot_headers",
    tell: change("headers", ({ headers, ...rest }) => ({ ...rest, headers: headers.slice(0, -1) })),
  },
  {
    name: "a certificate without the power it takes",
    code: "snapshot_certificate",
    tell: (chunks, net) => {
      const blockHash = present(net.ledger.block(heightOf(6n)), "block").hash;
      return change("block", (chunk) => ({
        ...chunk,
        certificate: encodeCertificate(certificateOf(setOf([3n, 1n]), [1], { height: heightOf(6n), blockHash })),
      }))(chunks);
    },
  },
  {
    name: "a change of the set without its certificate",
    code: "snapshot_certificate",
    tell: (chunks) => without(chunks, ({ kind }) => kind !== "certificates"),
  },
  {
    name: "a set left out",
    code: "snapshot_validators",
    tell: change("validators", ({ sets, ...rest }) => ({ ...rest, sets: sets.slice(0, 1) })),
  },
  {
    name: "another block",
    code: "snapshot_block",
    tell: (chunks, net) =>
      change("block", (chunk) => ({ ...chunk, block: present(net.ledger.blockBytes(heightOf(5n)), "block") }))(chunks),
  },
  { name: "results left out", code: "snapshot_block", tell: change("block", (chunk) => ({ ...chunk, results: [] })) },
  {
    name: "a changed row",
    code: "snapshot_state",
    tell: change("state", ({ rows, ...rest }) => ({
      ...rest,
      rows: rows.map((row, index) => (index === 3 ? { ...row, value: flipped(row.value) } : row)),
    })),
  },
  {
    name: "a row left out",
    code: "snapshot_state",
    tell: change("state", ({ rows, ...rest }) => ({ ...rest, rows: rows.slice(1) })),
  },
  {
    name: "a row twice",
    code: "snapshot_state",
    tell: change("state", ({ rows, ...rest }) => ({ ...rest, rows: [present(rows[0], "row"), ...rows] })),
  },
  {
    name: "a row without a key",
    code: "snapshot_state",
    tell: change("state", ({ rows, ...rest }) => ({
      ...rest,
      rows: [{ key: new Uint8Array(0), value: new Uint8Array(1) }, ...rows],
    })),
  },
  { name: "no rows at all", code: "snapshot_state", tell: (chunks) => without(chunks, ({ kind }) => kind !== "state") },
  {
    name: "a changed record",
    code: "snapshot_records",
    tell: change("records", ({ records, ...rest }) => ({
      ...rest,
      records: records.map((record, index) => (index === 1 ? flipped(record) : record)),
    })),
  },
  {
    name: "a record left out",
    code: "snapshot_records",
    tell: change("records", ({ records, ...rest }) => ({ ...rest, records: records.slice(0, -1) })),
  },
  {
    name: "a partition left out",
    code: "snapshot_records",
    tell: (chunks) => without(chunks, (chunk) => chunk.kind !== "records" || chunk.partition !== 7),
  },
  {
    name: "a partition that nobody made",
    code: "snapshot_records",
    tell: (chunks) =>
      chunks.flatMap((chunk): Chunk[] =>
        chunk.kind === "end"
          ? [
              { kind: "records", stream: "other", partition: 0, firstIndex: 0n, records: [utf8("x")] } as const,
              { ...chunk, chunks: chunk.chunks + 1 },
            ]
          : [chunk],
      ),
  },
  {
    name: "the same records again",
    code: "snapshot_records",
    tell: (chunks) =>
      chunks.flatMap((chunk): Chunk[] => (chunk.kind === "records" ? [chunk, { ...chunk, stream: "other" }, chunk] : [chunk])),
  },
  {
    name: "records beyond the end",
    code: "snapshot_records",
    tell: change("records", (chunk) => ({ ...chunk, firstIndex: 1n << 63n })),
  },
  {
    name: "chunks in another order",
    code: "snapshot_order",
    tell: (chunks) =>
      [...chunks.slice(0, 2), ...chunks.slice(2).toReversed()].toSorted(
        (a, b) => Number(a.kind === "end") - Number(b.kind === "end"),
      ),
  },
  { name: "a beginning that comes twice", code: "snapshot_order", tell: (chunks) => [present(chunks[0], "start"), ...chunks] },
  { name: "no beginning", code: "snapshot_order", tell: (chunks) => chunks.slice(1) },
  { name: "no end", code: "snapshot_malformed", tell: (chunks) => chunks.slice(0, -1) },
  {
    name: "an end that counts otherwise",
    code: "snapshot_malformed",
    tell: change("end", (chunk) => ({ ...chunk, chunks: chunk.chunks + 1 })),
  },
];

t.test("a chain of work has no snapshot: its seals are in none", async (t) => {
  await using net = await DevNet.open({ network: minedNetwork() });
  await net.commitUntil(3n);
  t.throws(() => [...snapshotChunks(net.ledger, heightOf(2n))], { code: "snapshot_engine" });
  const chunks = async function* (): AsyncGenerator<Chunk> {
    await Promise.resolve();
    yield { kind: "start", chainId: net.network.chainId, networkHash: net.ledger.networkHash, height: heightOf(2n) };
  };
  const options = { store: openMemoryStore(), network: net.network, signal: SIGNAL };
  await t.rejects(restoreSnapshot(chunks(), options), { code: "snapshot_engine" });
});

t.test("no lie in a snapshot is believed", async (t) => {
  const net = await openChain(t);
  const chunks = [...snapshotChunks(net.ledger, heightOf(6n))];
  for (const { name, code, tell } of LIES) await t.rejects(restore(net, tell(chunks, net)), { code }, name);
});

t.test("a file is read back chunk by chunk; one changed byte or a missing end is found", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "pyralog-snapshot-"));
  t.teardown(() => rm(directory, { recursive: true }));
  const path = join(directory, "file");
  const net = await openChain(t);
  const chunks = [...snapshotChunks(net.ledger, heightOf(6n))];
  const sizeBytes = await writeSnapshotFile(path, chunks, () => undefined);
  t.strictSame(await collected(readSnapshotFile(path)), chunks);
  const bytes = await readFile(path);
  t.equal(bytes.length, sizeBytes);
  const read = async (): Promise<unknown> => collected(readSnapshotFile(path));
  for (let place = 0; place < bytes.length; place += 97) {
    await writeFile(path, flipped(bytes, place));
    await t.rejects(read(), { code: /^snapshot_(damaged|malformed)$/ }, `byte ${place}`);
  }
  await writeFile(path, bytes);
  await truncate(path, sizeBytes - 1);
  await t.rejects(read(), { code: "snapshot_malformed" });
  await t.rejects(collected(readSnapshotFile(join(directory, "none"))), { code: "snapshot_missing" });
});

t.test(`mutated chunks are refused or are what they encode to, and never thrown on (seed ${SEED})`, async (t) => {
  const net = await openChain(t);
  const encoded = [...snapshotChunks(net.ledger, heightOf(6n))].map(encodeChunk);
  for (const bytes of encoded) t.ok(parseChunk(bytes).ok);
  fc.assert(
    fc.property(fc.nat(encoded.length - 1), fc.nat(1_000_000), fc.nat(255), fc.nat(4), (which, at, byte, cut) => {
      const original = present(encoded[which], "chunk");
      const mutated = original.slice(0, cut === 0 ? at % original.length : original.length);
      if (mutated.length > 0) mutated[at % mutated.length] = byte;
      const parsed = parseChunk(mutated);
      return !parsed.ok || bytesEqual(encodeChunk(parsed.value), mutated);
    }),
    { seed: SEED, numRuns: 2000 },
  );
});
