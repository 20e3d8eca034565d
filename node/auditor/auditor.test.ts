/** Audits: an honest chain passes, and each kind of lie or damage is named where it is. */

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
import { type Call, signTransaction, type Transaction } from "../../chain/block/transaction.ts";
import { encodeCertificate } from "../../chain/block/vote.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { KEYSPACE, metadataKey } from "../../chain/store/keyspace.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import type { Store } from "../../chain/store/store.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { minedNetwork } from "../driver/testing/miner.ts";
import { openLog } from "../log/log.ts";
import { openMetrics } from "../metrics/metrics.ts";
import { PyralogClient } from "../rpc/client.ts";
import { RpcServer } from "../rpc/server.ts";
import { DevNet } from "../rpc/testing/devnet.ts";
import { audit } from "./auditor.ts";
import { rpcSource } from "./rpc-source.ts";
import { type AuditSource, ledgerSource } from "./source.ts";

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
  const source = ledgerSource(net.ledger, "memory");
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
  t.match(await run(net, ledgerSource(net.ledger, "memory")), { ok: true, value: { height: 0n, headers: 0 } });
});

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
  const source = ledgerSource(net.ledger, "memory");
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

t.test("each lie is named with its height", async (t) => {
  const net = await openChain(t);
  const honest = ledgerSource(net.ledger, "memory");
  for (const { name, expected, tell } of LIES)
    t.match(await run(net, { ...honest, ...tell(honest, net) }), { ok: false, error: expected }, name);
});

/** A block that the validators really signed, and that is wrong all the same. */
async function certifyWrong(net: DevNet, change: Partial<Header>): Promise<AuditSource> {
  const honest = ledgerSource(net.ledger, "memory");
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

/** Rows that say nothing about the chain: what to clean up, and which heights changed the set (found by each header too). */
const KINDS_UNAUDITED: readonly number[] = [KEYSPACE.stateStale, KEYSPACE.stateWorn, KEYSPACE.validatorChange];

/**
 * Goal: nothing in a store is beyond the audit. Method: change one byte of one row at a time, in the middle and at the
 * end, and open and audit what is then there.
 */
t.test("a changed byte in any stored row is found, but for rows that only say what to clean up", async (t) => {
  const net = await openChain(t);
  const rows = await rowsOf(net.ledger.store);
  const unnoticed = new Set<string>();
  for (const { key, value } of rows) {
    const prefix = present(key[0], "prefix");
    if (value.length === 0 || KINDS_UNAUDITED.includes(prefix)) continue;
    // A root's row ends with the number of the next free chunk, and the head's row with a lower height: both a true state of an earlier day.
    const isCounted = prefix === KEYSPACE.stateRoot || toHex(key) === toHex(metadataKey("head"));
    for (const place of isCounted ? [value.length >> 1] : [value.length >> 1, value.length - 1]) {
      const store = openMemoryStore();
      await store.write(
        [...rows.map((row) => ({ kind: "put", ...row }) as const), { kind: "put", key, value: flipped(value, place) }],
        { sync: true },
      );
      if (!(await isFaulty(net, store))) unnoticed.add(`${toHex(key)} at ${place} of ${value.length}`);
    }
  }
  t.ok(rows.length > 60, `${rows.length} rows`);
  // The node over a whole partition is in no proof until the partition grows; its hash is in the partition's state row.
  const isWholePartition = (name: string): boolean => name.startsWith(KEYSPACE.recordNode.toString(16));
  t.ok([...unnoticed].filter(isWholePartition).length <= 4);
  t.strictSame(
    [...unnoticed].filter((name) => !isWholePartition(name)),
    [],
  );
});

async function rowsOf(store: Store): Promise<{ readonly key: Uint8Array; readonly value: Uint8Array }[]> {
  const rows: { readonly key: Uint8Array; readonly value: Uint8Array }[] = [];
  for await (const { key, value } of store.entries({})) rows.push({ key: key.slice(), value: value.slice() });
  return rows;
}

async function isFaulty(net: DevNet, store: Store): Promise<boolean> {
  try {
    await using ledger = await Ledger.open({ store, network: net.network, executor: EXECUTOR });
    return !(await run(net, ledgerSource(ledger, "memory"))).ok;
  } catch (error) {
    // Damage that is noticed before the audit begins.
    if (error instanceof CodedError) return true;
    throw error;
  }
}
