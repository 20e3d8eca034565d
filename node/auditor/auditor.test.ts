/** Audits: an honest chain passes, and each kind of lie or damage is named where it is. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { toHex, utf8 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { encodeBlock, headerHash, parseBlock, type Header } from "../../chain/block/block.ts";
import { feeOf } from "../../chain/block/genesis.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { certificateOf, hashAt, keyPairAt, setOf } from "../../chain/block/testing/fixtures.ts";
import { droppedRecord, storedLeaf } from "../../chain/block/record.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction, type Transaction } from "../../chain/block/transaction.ts";
import { encodeCertificate } from "../../chain/block/vote.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import type { Store } from "../../chain/store/store.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { minedNetwork } from "../driver/testing/miner.ts";
import { openLog } from "../log/log.ts";
import { openMetrics } from "../metrics/metrics.ts";
import { PyralogClient } from "../rpc/client.ts";
import { RpcServer } from "../rpc/server.ts";
import { DevNet } from "../rpc/testing/devnet.ts";
import { SYSTEM_DISK } from "../ports/disk.ts";
import { sourceOf } from "../snapshot/install.ts";
import { makeSnapshot } from "../snapshot/make.ts";
import { type ChunkSource, restoreSnapshot } from "../snapshot/restore.ts";
import { Shelf } from "../snapshot/shelf.ts";
import { audit } from "./auditor.ts";
import { rpcSource } from "./rpc-source.ts";
import { type AuditSource, ledgerSource, withHolders } from "./source.ts";

const SIGNAL = new AbortController().signal;
const SENDER = 100;

/** Seven blocks: a table with rows, a deletion, records of two partitions, a failing call, a new validator. */
async function openChain(t: Test): Promise<DevNet> {
  const net = await DevNet.open({ powers: [3n, 1n] });
  t.teardown(() => net[Symbol.asyncDispose]());
  const table = { namespace: "shop", table: "orders" };
  const put = (index: number): Call => ({ kind: "tablePut", ...table, key: utf8(`o-${index}`), value: encodeValue({ index }) });
  const append = (partition: number, index: number): Call => ({
    kind: "logAppend",
    stream: "events",
    partition,
    records: [utf8(`a ${index}`), utf8(`b ${index}`)],
  });
  const plan: (readonly Call[])[][] = [
    [[{ kind: "tableCreate", ...table }], [put(1)], [put(2), append(0, 1)]],
    [[append(0, 2)], [append(1, 3)], [{ kind: "tableDelete", ...table, key: utf8("o-1") }]],
    [[{ kind: "tableDelete", ...table, key: utf8("o-1") }]],
    [],
    [[{ kind: "validatorSet", key: keyPairAt(2).publicKey, power: 1n }]],
    [[put(3)]],
    [[{ kind: "transfer", to: addressOfKey(keyPairAt(101).publicKey), amount: 5n }]],
  ];
  let nonce = 0n;
  for (const block of plan) await net.commit(block.map((calls) => transactionOf(net, nonce++, calls)));
  return net;
}

function transactionOf(net: DevNet, nonce: bigint, calls: readonly Call[]): Transaction {
  const keyPair = keyPairAt(SENDER);
  const fee = feeOf(net.network.parameters, 2000);
  return signTransaction(
    { chainId: net.network.chainId, sender: addressOfKey(keyPair.publicKey), nonce, fee, expiry: heightOf(1000n), calls },
    keyPair,
  );
}

function run(net: DevNet, source: AuditSource): ReturnType<typeof audit> {
  return audit({ source, network: net.network, executor: EXECUTOR, store: openMemoryStore(), signal: SIGNAL });
}

t.test("an honest chain passes, and the report says how much was checked", async (t) => {
  const net = await openChain(t);
  const seen: bigint[] = [];
  const source = ledgerSource(net.ledger, EXECUTOR, "memory");
  const audited = await audit({
    source,
    network: net.network,
    executor: EXECUTOR,
    store: openMemoryStore(),
    signal: SIGNAL,
    onProgress: ({ height }) => seen.push(height),
  });
  t.match(audited, {
    ok: true,
    value: {
      source: "memory",
      height: 7n,
      headers: 7,
      certificates: 7,
      transactions: 10,
      results: 10,
      records: 6,
      historyProofs: 6,
    },
  });
  t.strictSame(seen, [1n, 2n, 3n, 4n, 5n, 6n, 7n]);
  if (audited.ok) t.equal(toHex(audited.value.stateRoot), toHex(net.ledger.head().stateRoot));
});

t.test("a chain without a block passes as well", async (t) => {
  await using net = await DevNet.open();
  t.match(await run(net, ledgerSource(net.ledger, EXECUTOR, "memory")), { ok: true, value: { height: 0n, headers: 0 } });
});

async function snapshotOf(t: Test, ledger: Ledger, height: bigint): Promise<ChunkSource> {
  const path = await mkdtemp(join(tmpdir(), "pyralog-audit-base-"));
  t.teardown(() => rm(path, { recursive: true }));
  const shelf = await Shelf.open(path, SYSTEM_DISK);
  return sourceOf(shelf, await makeSnapshot(ledger, heightOf(height), { shelf, signal: SIGNAL }));
}

/** A ledger that began with a snapshot and executed what came after. */
async function joinedLedger(t: Test, net: DevNet, base: ChunkSource): Promise<Ledger> {
  const store = openMemoryStore();
  await restoreSnapshot(base, { store, network: net.network, signal: SIGNAL });
  const ledger = await Ledger.open({ store, network: net.network, executor: EXECUTOR });
  t.teardown(() => ledger[Symbol.asyncDispose]());
  for (let height = heightOf(base.index.height + 1n); height <= net.ledger.head().height; height = heightOf(height + 1n)) {
    const block = present(net.ledger.block(height), "block");
    t.ok((await ledger.judge(block)).ok, `block ${height}`);
    await ledger.commit(block, present(net.ledger.certificate(height), "certificate"));
  }
  return ledger;
}

t.test("a node that began with a snapshot is audited from there on, or from genesis with the blocks of others", async (t) => {
  const net = await openChain(t);
  const base = await snapshotOf(t, net.ledger, 4n);
  const joined = await joinedLedger(t, net, base);
  t.equal(joined.oldestBlock(), 4n);
  const source = ledgerSource(joined, EXECUTOR, "joined");
  const options = { network: net.network, executor: EXECUTOR, signal: SIGNAL };
  const from = (audited: AuditSource, snapshot: () => Promise<ChunkSource>, network = net.network): ReturnType<typeof audit> =>
    audit({ ...options, network, source: audited, store: openMemoryStore(), base: snapshot });
  t.match(await run(net, source), { ok: false, error: { code: "audit_missing", height: 1n } }, "not from genesis by itself");

  const own = await from(source, async () => await snapshotOf(t, joined, joined.oldestBlock()));
  t.match(own, {
    ok: true,
    value: {
      from: 5n,
      headersBefore: 4,
      headers: 3,
      certificates: 3,
      height: 7n,
      records: 6,
      historyProofs: 6,
      blocksElsewhere: 0,
    },
  });
  t.strictSame(own.ok && own.value.stateRoot, net.ledger.head().stateRoot);
  t.match(await from(source, async () => await snapshotOf(t, net.ledger, 7n)), { ok: true, value: { from: 8n, headers: 0 } });

  const whole = ledgerSource(net.ledger, EXECUTOR, "whole");
  const silent = { name: "silent", height: () => Promise.reject(new CodedError("rpc_unreachable", {})) };
  t.match(await run(net, withHolders(source, [silent, whole])), {
    ok: true,
    value: { from: 1n, headersBefore: 0, headers: 7, transactions: 10, blocksElsewhere: 3 },
  });
  t.match(await run(net, withHolders(source, [silent])), {
    ok: false,
    error: { code: "audit_unreadable", height: 1n, reason: "rpc_unreachable" },
  });
  const liar = { name: "liar", height: async () => await whole.height(heightOf(2n)) };
  t.match(await run(net, withHolders(source, [liar])), {
    ok: false,
    error: { code: "audit_block", height: 1n, field: "header.height", holder: "liar" },
  });

  // Nothing of a snapshot is believed either.
  const lying = { ...base, get: async (entry: Parameters<ChunkSource["get"]>[0]) => flipLast(await base.get(entry)) };
  t.match(await from(source, async () => lying), { ok: false, error: { code: "audit_base", reason: /^snapshot_/ } });
  const other = await DevNet.open({ powers: [3n, 1n] });
  t.teardown(() => other[Symbol.asyncDispose]());
  for (let height = 1; height <= 7; height += 1) await other.commit();
  for (const height of [4n, 7n])
    t.match(
      await from(source, async () => await snapshotOf(t, other.ledger, height)),
      { ok: false, error: { code: "audit_base", height, field: "header" } },
      `certified, and of another chain at height ${height}`,
    );
  await other.commit();
  t.match(await from(source, async () => await snapshotOf(t, other.ledger, 8n)), {
    ok: false,
    error: { code: "audit_missing", height: 8n, field: "head" },
  });
  const forgetful = { ...source, height: async (height: Height) => (height === 4n ? undefined : source.height(height)) };
  t.match(await from(forgetful, async () => base), { ok: true, value: { from: 5n } });
  t.match(await from(forgetful, async () => await snapshotOf(t, other.ledger, 4n)), {
    ok: false,
    error: { height: 5n },
  });

  // What comes after is executed as ever.
  const late = { ...source, height: async (height: Height) => changed(await source.height(height), height === 6n) };
  t.match(await from(late, async () => base), { ok: false, error: { height: 6n } });
  const stray = { code: "row_orphan", kind: "block", place: "block 3", height: heightOf(3n) } as const;
  const damaged = {
    ...source,
    indexes: {
      ...present(source.indexes, "indexes"),
      damages: async function* damages() {
        yield { ...stray, key: undefined, repair: undefined };
      },
    },
  };
  t.match(await from(damaged, () => t.fail("no snapshot is made of damaged rows") as never), {
    ok: false,
    error: { code: "audit_damage", height: 3n },
  });
});

function flipLast(bytes: Uint8Array | undefined): Uint8Array | undefined {
  const copy = bytes?.slice();
  const last = (copy?.length ?? 0) - 1;
  if (copy !== undefined) copy[last] = present(copy[last], "byte") ^ 1;
  return copy;
}

function changed<T extends { readonly block: Uint8Array } | undefined>(encoded: T, isChanged: boolean): T {
  return encoded === undefined || !isChanged ? encoded : { ...encoded, block: present(flipLast(encoded.block), "block") };
}

t.test("a running node is audited over its RPC, and a proof too many is not believed", async (t) => {
  const net = await openChain(t);
  await using log = await openLog({ level: "silent", destination: "stderr" });
  await using server = await RpcServer.open(
    { host: "127.0.0.1", port: 0, cors: [] },
    { backend: net.backend, log, metrics: openMetrics({ process: false }) },
  );
  const client = new PyralogClient({ url: server.url, network: net.network });
  const source = rpcSource(client, SIGNAL);
  t.match(await run(net, source), { ok: true, value: { height: 7n, transactions: 10, records: 6 } });
  t.match(await run(net, { ...source, height: async (height) => (height === 4n ? undefined : source.height(height)) }), {
    ok: false,
    error: { code: "audit_missing", height: 4n },
  });
  await server[Symbol.asyncDispose]();
  t.match(await run(net, source), { ok: false, error: { code: "audit_unreadable", height: 0n, reason: "rpc_unreachable" } });
});

t.test("a chain of work passes, and one that was left for another during the audit is no fault of the node", async (t) => {
  await using net = await DevNet.open({ network: minedNetwork() });
  await net.commitUntil(6n);
  const source = ledgerSource(net.ledger, EXECUTOR, "memory");
  t.match(await run(net, source), { ok: true, value: { height: 6n, headers: 6, certificates: 6, signatures: 0 } });
  await using log = await openLog({ level: "silent", destination: "stderr" });
  await using server = await RpcServer.open({ host: "127.0.0.1", port: 0, cors: [] }, { backend: net.backend, log });
  const remote = rpcSource(new PyralogClient({ url: server.url, network: net.network }), SIGNAL);
  const reorganise = async (height: Height): ReturnType<AuditSource["height"]> => {
    if (height === 4n) {
      await net.undo(heightOf(2n));
      net.miner = addressOfKey(keyPairAt(101).publicKey);
      await net.commitUntil(7n);
    }
    return await remote.height(height);
  };
  t.match(await run(net, { ...remote, height: reorganise }), { ok: false, error: { code: "audit_reorganised", height: 4n } });
  t.match(await run(net, remote), { ok: true, value: { height: 7n } });
});

type Lie = {
  readonly name: string;
  readonly expected: object;
  readonly tell: (source: AuditSource, net: DevNet) => Partial<AuditSource>;
};

/** Answers another way at one height. */
function at<T>(height: bigint, honest: (height: Height) => Promise<T>, lie: (truth: T) => T): (height: Height) => Promise<T> {
  return async (asked) => (asked === height ? lie(await honest(asked)) : honest(asked));
}

function flipped(bytes: Uint8Array, index: number): Uint8Array {
  const copy = bytes.slice();
  const place = index < 0 ? copy.length + index : index;
  copy[place] = present(copy[place], "byte") ^ 1;
  return copy;
}

const LIES: readonly Lie[] = [
  {
    name: "a height that is not there",
    expected: { code: "audit_missing", height: 3n },
    tell: (source) => ({ height: at(3n, source.height, () => undefined) }),
  },
  {
    name: "another block in a height's place",
    expected: { code: "audit_block", height: 3n, field: "header.height" },
    tell: (source) => ({ height: async (height) => source.height(height === 3n ? heightOf(2n) : height) }),
  },
  {
    name: "a changed byte of a block",
    expected: { code: /audit_(block|header|certificate)/, height: 2n },
    tell: (source) => ({ height: at(2n, source.height, (truth) => truth && { ...truth, block: flipped(truth.block, 40) }) }),
  },
  {
    name: "a changed signature of a certificate",
    expected: { code: "audit_certificate", height: 2n, reason: "certificate_signature" },
    tell: (source) => ({
      height: at(2n, source.height, (truth) => truth && { ...truth, certificate: flipped(truth.certificate, -1) }),
    }),
  },
  {
    name: "the certificate of another height",
    expected: { code: "audit_certificate", height: 2n },
    tell: (source) => ({
      height: async (height) => {
        const truth = present(await source.height(height), "height");
        return height === 2n
          ? { ...truth, certificate: present(await source.height(heightOf(1n)), "height").certificate }
          : truth;
      },
    }),
  },
  {
    name: "a certificate without the power it takes",
    expected: { code: "audit_certificate", height: 1n, reason: "certificate_power" },
    tell: (source, net) => ({
      height: at(
        1n,
        source.height,
        (truth) =>
          truth && {
            ...truth,
            certificate: encodeCertificate(
              certificateOf(setOf([3n, 1n]), [1], {
                height: heightOf(1n),
                blockHash: present(net.ledger.block(heightOf(1n)), "block").hash,
              }),
            ),
          },
      ),
    }),
  },
  {
    name: "a state proof of another range",
    expected: { code: "audit_state", height: 7n },
    tell: (source) => ({ state: async (height, _from, limit) => source.state(height, Uint8Array.of(3), limit) }),
  },
  {
    name: "no state proof at all",
    expected: { code: "audit_state", height: 7n, reason: "absent" },
    tell: () => ({ state: async () => undefined }),
  },
  {
    name: "a record that was never written",
    expected: { code: "audit_records", height: 7n, field: "events/0[2]", reason: "root_mismatch" },
    tell: (source) => ({
      records: async (...question) =>
        (await source.records(...question)).map((record) =>
          record.index === 2n ? { ...record, bytes: flipped(record.bytes, -1) } : record,
        ),
    }),
  },
  {
    name: "records of which one is left out",
    expected: { code: "audit_records", height: 7n, field: "events/0[1]" },
    tell: (source) => ({
      records: async (...question) => (await source.records(...question)).filter(({ index }) => index !== 1n),
    }),
  },
  {
    name: "the commitment of a record that nothing lets go",
    expected: { code: "audit_records", height: 7n, field: "events/0[1]", reason: "record_withheld" },
    tell: (source) => ({
      records: async (...question) =>
        (await source.records(...question)).map((record) =>
          record.index === 1n ? { ...record, bytes: droppedRecord(storedLeaf(record.bytes)) } : record,
        ),
    }),
  },
  {
    name: "a path of an old header that leads elsewhere",
    expected: { code: "audit_history", height: 2n },
    tell: (source) => ({
      history: async (of, head) => (of === 2n ? [hashAt(1), hashAt(2), hashAt(3)] : source.history(of, head)),
    }),
  },
  {
    name: "a source that fails",
    expected: { code: "audit_unreadable", height: 5n, reason: "store_io" },
    tell: (source) => ({
      height: async (height) => {
        if (height === 5n) throw new CodedError("store_io", {});
        return source.height(height);
      },
    }),
  },
];

t.test(
  "a record may be gone that was erased, be it after the height that is audited, or whose stream keeps none for ever",
  async (t) => {
    const net = await openChain(t);
    const place = { stream: "events", partition: 0 };
    const rules = { partitions: 1, isOpen: false, segmentSizeBytes: 4_096, segmentAgeMs: 1_000, retentionMs: 1 };
    const record = { key: undefined, value: utf8("short"), headers: [] };
    await net.commit([
      transactionOf(net, 10n, [{ kind: "recordErase", ...place, index: 0n }]),
      transactionOf(net, 11n, [
        { kind: "streamCreate", stream: "brief", ...rules },
        { kind: "streamAppend", stream: "brief", partition: 0, records: [record] },
      ]),
    ]);
    await net.commit();
    const source = ledgerSource(net.ledger, EXECUTOR, "memory");
    t.match(await run(net, source), { ok: true, value: { height: 9n, records: 7 } });
    let isErased = false;
    const { indexes: _, ...remote } = source;
    const records: AuditSource["records"] = async (...question) => {
      if (!isErased) await net.commit([transactionOf(net, 12n, [{ kind: "recordErase", ...place, index: 1n }])]);
      isErased = true;
      return await source.records(...question);
    };
    const audited = await run(net, { ...remote, records });
    t.match(audited, { ok: true, value: { height: 9n, headers: 9, records: 7 } });
    t.strictSame(audited.ok && audited.value.stateRoot, net.ledger.header(heightOf(9n))?.stateRoot);
  },
);

t.test("each lie is named with its height", async (t) => {
  const net = await openChain(t);
  const honest = ledgerSource(net.ledger, EXECUTOR, "memory");
  for (const { name, expected, tell } of LIES)
    t.match(await run(net, { ...honest, ...tell(honest, net) }), { ok: false, error: expected }, name);
});

/** A block that the validators really signed, and that is wrong all the same. */
async function certifyWrong(net: DevNet, change: Partial<Header>): Promise<AuditSource> {
  const honest = ledgerSource(net.ledger, EXECUTOR, "memory");
  const height = heightOf(2n);
  const parsed = parseBlock(present(net.ledger.blockBytes(height), "block"));
  if (!parsed.ok) throw new CodedError("test", {});
  const header = { ...parsed.value.header, ...change };
  const hash = headerHash(header);
  const block = encodeBlock({ ...parsed.value, header, hash });
  const certificate = encodeCertificate(certificateOf(setOf([3n, 1n]), [0, 1], { height, blockHash: hash }));
  return { ...honest, height: async (asked) => (asked === height ? { block, certificate } : honest.height(asked)) };
}

t.test("a block that every validator signed is found out when executing it gives something else", async (t) => {
  const net = await openChain(t);
  const changes: readonly (readonly [Partial<Header>, object])[] = [
    [{ stateRoot: hashAt(1) }, { code: "audit_header", field: "header.stateRoot" }],
    [{ resultsRoot: hashAt(1) }, { code: "audit_header", field: "header.resultsRoot" }],
    [{ historyRoot: hashAt(1) }, { code: "audit_header", field: "header.historyRoot" }],
    [{ previous: hashAt(1) }, { code: "audit_header", field: "header.previous" }],
    [{ nextValidatorsHash: hashAt(1) }, { code: "audit_header", field: "header.nextValidatorsHash" }],
    [{ proposer: addressOfKey(keyPairAt(50).publicKey) }, { code: "audit_proposer" }],
    [{ timeMs: net.network.genesisTimeMs }, { code: "audit_header", field: "header.timeMs" }],
  ];
  for (const [change, expected] of changes) {
    t.match(
      await run(net, await certifyWrong(net, change)),
      { ok: false, error: { height: 2n, ...expected } },
      Object.keys(change).join(),
    );
  }
});

/**
 * Goal: nothing in a store is beyond the audit. Method: change one byte of one row at a time, in the middle and at the
 * end, and open and audit what is then there.
 */
t.test("a changed byte in any stored row is found", async (t) => {
  const net = await openChain(t);
  const rows = await rowsOf(net.ledger.store);
  const unnoticed = new Set<string>();
  for (const { key, value } of rows) {
    if (value.length === 0) continue;
    for (const place of [value.length >> 1, value.length - 1]) {
      const store = openMemoryStore();
      await store.write(
        [...rows.map((row) => ({ kind: "put", ...row }) as const), { kind: "put", key, value: flipped(value, place) }],
        { sync: true },
      );
      if (!(await isFaulty(net, store))) unnoticed.add(`${toHex(key)} at ${place} of ${value.length}`);
    }
  }
  t.ok(rows.length > 60, `${rows.length} rows`);
  t.strictSame([...unnoticed], []);
});

async function rowsOf(store: Store): Promise<{ readonly key: Uint8Array; readonly value: Uint8Array }[]> {
  const rows: { readonly key: Uint8Array; readonly value: Uint8Array }[] = [];
  for await (const { key, value } of store.entries({})) rows.push({ key: key.slice(), value: value.slice() });
  return rows;
}

async function isFaulty(net: DevNet, store: Store): Promise<boolean> {
  try {
    await using ledger = await Ledger.open({ store, network: net.network, executor: EXECUTOR });
    return !(await run(net, ledgerSource(ledger, EXECUTOR, "memory"))).ok;
  } catch (error) {
    // Damage that is noticed before the audit begins.
    if (error instanceof CodedError) return true;
    throw error;
  }
}
