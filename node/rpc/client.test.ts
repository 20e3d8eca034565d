/** The client against a real server over a real ledger, and against a proxy that alters one thing in an honest answer. */

import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import { BACKEND_REPORT } from "../../crypto/backend/backends.ts";
import { assert, present } from "../../crypto/base/assert.ts";
import { fromHex, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { decodeValue, encodeValue } from "../../crypto/codec/value.ts";
import { hashOf } from "../../crypto/hash/hash.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { encodeHeader, parseHeader } from "../../chain/block/block.ts";
import { encodeNetworkFile, type NetworkFile, parseNetworkFile } from "../../chain/block/genesis.ts";
import { heightOf } from "../../chain/block/height.ts";
import { hashAt, keyPairAt, networkOf, quorumOf } from "../../chain/block/testing/fixtures.ts";
import { droppedRecord } from "../../chain/block/record.ts";
import { LOG_HASHER } from "../../chain/merkle/log.ts";
import { accountRange, rowRange } from "../../chain/state/keys.ts";
import type { Call } from "../../chain/block/call.ts";
import { encodeCertificate, parseCertificate } from "../../chain/block/vote.ts";
import { minedNetwork, spend } from "../driver/testing/miner.ts";
import { openLog } from "../log/log.ts";
import { type Metrics, openMetrics } from "../metrics/metrics.ts";
import { verifyProofFile } from "../light/prooffile.ts";
import { PyralogClient } from "./client.ts";
import type { FeedEvent } from "./feed.ts";
import { counterKey, partitionOfKey } from "./routing.ts";
import { RpcServer } from "./server.ts";
import { AccountSession } from "./session.ts";
import { DevNet } from "./testing/devnet.ts";
import { HttpTransport } from "./transport.ts";

const ALICE = keyPairAt(100);
const alice = addressOfKey(ALICE.publicKey);
const bob = addressOfKey(keyPairAt(101).publicKey);
const key = (number: number): Uint8Array => Uint8Array.of(number);
const puts = (numbers: readonly number[]): Call[] =>
  numbers.map((number) => ({
    kind: "tablePut",
    namespace: "shop",
    table: "stock",
    key: key(number),
    value: encodeValue(number),
  }));
const CREATE: Call = { kind: "tableCreate", namespace: "shop", table: "stock" };

type Served = {
  readonly net: DevNet;
  readonly server: RpcServer;
  readonly client: PyralogClient;
  readonly session: AccountSession;
  readonly metrics: Metrics;
};

async function listen(test: Test, net: DevNet, metrics = openMetrics(), port = 0): Promise<RpcServer> {
  const log = await openLog({ level: "silent", destination: "stderr" });
  const server = await RpcServer.open({ host: "127.0.0.1", port, cors: [] }, { backend: net.backend, log, metrics });
  test.teardown(() => server[Symbol.asyncDispose]());
  return server;
}

/** A network that makes a block for every transaction, its server, and a client that knows the network file alone. */
async function serve(test: Test, powers: readonly bigint[] = [1n, 1n, 1n, 1n]): Promise<Served> {
  const net = await DevNet.open({ powers });
  net.automatic = true;
  const metrics = openMetrics();
  const server = await listen(test, net, metrics);
  test.teardown(() => net[Symbol.asyncDispose]());
  const client = clientOf(net.network, server.url);
  return { net, server, client, session: new AccountSession({ client, keyPair: ALICE }), metrics };
}

/** A client with a network file that went through its text. */
function clientOf(
  network: NetworkFile,
  url: string,
  more: { readonly headAgeMsMax?: number; readonly nowMs?: () => number } = {},
): PyralogClient {
  const parsed = parseNetworkFile(encodeNetworkFile(network));
  assert(parsed.ok, "network file");
  return new PyralogClient({ url, network: parsed.value, ...more });
}

async function pagesOf<T>(pages: AsyncIterable<{ readonly value: readonly T[] }>): Promise<T[][]> {
  const all: T[][] = [];
  for await (const page of pages) all.push([...page.value]);
  return all;
}

t.test("what is written is read back, and each answer says what was checked", async (t) => {
  const { client, session, net } = await serve(t);
  await t.rejects(client.head(), { code: "height_none" }, "before the first block there is nothing to prove");
  await net.commit();
  const created = await session.send([CREATE, ...puts([1, 2, 3])]);
  t.same(created.value.result, { kind: "applied" });
  t.match(created.verified, { height: 2n, how: ["certificate", "inclusion of the transaction", "inclusion of its result"] });
  const row = await client.row("shop", "stock", key(2));
  t.same(decodeValue(present(row.value, "row")), { ok: true, value: 2 });
  const { timeMs } = net.ledger.head();
  t.same(row.verified, { height: 2n, timeMs, finality: { kind: "final" }, how: ["certificate", "state proof"] });
  const absent = await client.row("shop", "stock", key(9));
  t.equal(absent.value, undefined);
  t.match(absent.verified.how, ["certificate", "state proof of absence"]);
  await session.transfer(bob, 5n);
  t.same((await client.account(bob)).value, { balance: 1_000_000_000_005n, nonce: 0n });
  t.same((await client.account(bob, { height: heightOf(2n) })).value.balance, 1_000_000_000_000n, "and as it was");
  t.equal((await client.account(alice)).value.nonce, 2n);
  t.same((await client.table("shop", "stock")).value, alice);
  t.equal((await client.table("shop", "none")).value, undefined);
  t.match((await client.head()).value, { height: 3n, chainId: net.network.chainId });
  t.equal((await client.block(heightOf(2n))).value.transactions.length, 1);
  const old = await client.header(heightOf(1n));
  t.match([old.value.height, old.verified.how], [1n, [/history log of header 3/]]);
  t.match(await client.claimedNodeStatus(), { height: 3n, chainId: net.network.chainId, backends: BACKEND_REPORT });
  t.same(await client.claimedPeers(), []);
});

t.test("a range comes page by page at one height, also while the table changes", async (t) => {
  const { client, session } = await serve(t);
  const numbers = Array.from({ length: 60 }, (_, index) => index + 1);
  await session.send([CREATE, ...puts(numbers)]);
  const all = (await pagesOf(client.range("shop", "stock"))).flat();
  t.same(
    all.map((row) => row.key[0]),
    numbers,
  );
  const some = await pagesOf(client.range("shop", "stock", { from: key(10), to: key(20) }));
  t.same(
    some.flat().map((row) => row.key[0]),
    numbers.slice(9, 19),
  );
  t.same((await pagesOf(client.range("shop", "stock", { limit: 7 }))).flat().length, 7);
  t.same(await pagesOf(client.range("shop", "none")), [[]]);
  const states = (await pagesOf(client.stateRows(rowRange("shop", "stock")))).flat();
  t.same(
    states.map(({ value }) => value),
    all.map(({ value }) => value),
    "the same rows by their state keys",
  );
  await t.rejects(pagesOf(client.range("Shop", "stock")), { code: "params_invalid" });
  const many = Array.from({ length: 20 }, (_, page) => Array.from({ length: 50 }, (_, index) => page * 50 + index));
  for (const page of many) {
    await session.send(
      page.map((number): Call => ({
        kind: "tablePut",
        namespace: "shop",
        table: "stock",
        key: Uint8Array.of(1, number >> 8, number & 255),
        value: encodeValue(number),
      })),
    );
  }
  const seen: number[] = [];
  for await (const page of client.range("shop", "stock", { from: key(1) })) {
    seen.push(page.value.length);
    if (seen.length === 1) await session.send([{ kind: "tableDelete", namespace: "shop", table: "stock", key: key(60) }]);
  }
  t.same(
    seen.reduce((sum, count) => sum + count, 0),
    1060,
    "the row that was deleted in the meantime is still there",
  );
  t.ok(seen.length >= 3, "in several pages");
});

t.test("records are proven in their partition, and a partition only grows", async (t) => {
  const { client, session } = await serve(t);
  const data = (from: number, count: number): Uint8Array[] =>
    Array.from({ length: count }, (_, index) => utf8(`record ${from + index}`));
  await session.append("orders", 1, data(0, 100));
  const records = (await pagesOf(client.records("orders", 1))).flat();
  t.same(
    records.map((record) => record.data),
    data(0, 100),
  );
  t.match(await client.record("orders", 1, 42n), {
    value: { index: 42n, data: utf8("record 42") },
    verified: { how: [/certificate/, /partition/, /inclusion/, /consistency/] },
  });
  await session.append("orders", 1, data(100, 10));
  const head = await client.partition("orders", 1);
  t.equal(head.value?.size, 110n);
  t.match(head.verified.how.at(-1), /consistency/);
  t.equal((await pagesOf(client.records("orders", 1, { from: 108n }))).flat().length, 2);
  await t.rejects(client.record("orders", 1, 110n), { code: "record_unknown" }, "one past the end");
  await t.rejects(client.record("orders", 2, 0n), { code: "record_unknown" });
  t.equal((await client.partition("orders", 2)).value, undefined);
});

t.test(
  "records go where they are routed, segments are proven as a chain, and what was dropped is proven to have been",
  async (t) => {
    const { client, session, net } = await serve(t);
    await net.commit();
    t.equal((await client.stream("prices")).value, undefined);
    const body = (name: string, value?: string) => ({
      key: utf8(name),
      value: value === undefined ? undefined : utf8(value),
      headers: [{ name: "currency", value: utf8("eur") }],
    });
    await t.rejects(session.appendRouted("prices", [body("tea", "1")], { kind: "key" }), { code: "stream_unknown" });
    const rules = { segmentSizeBytes: 4_096, segmentAgeMs: 1_000, compactionMs: 1_000 };
    await session.send([{ kind: "streamCreate", stream: "prices", partitions: 4, isOpen: false, ...rules }]);
    t.match((await client.stream("prices")).value, { partitions: 4, owner: alice, compactionMs: 1_000n, retentionMs: undefined });
    const names = ["tea", "milk", "sugar", "salt"];
    for (const round of ["1", "2", "3"])
      await session.appendRouted(
        "prices",
        names.map((name) => body(name, round)),
        { kind: "key" },
      );
    await net.commitUntil(net.ledger.head().height + 3n);
    for (const name of names) {
      const partition = partitionOfKey(utf8(name), 4);
      const records = (await pagesOf(client.records("prices", partition))).flat();
      const mine = records.filter(
        (record) => record.dropped === undefined && toHex(record.key ?? utf8("")) === toHex(utf8(name)),
      );
      t.match(
        mine,
        [{ data: utf8("3"), headers: [{ name: "currency", value: utf8("eur") }], partition }],
        `${name}: its newest alone`,
      );
      const others = names.filter((other) => partitionOfKey(utf8(other), 4) === partition).length;
      t.equal(records.filter(({ dropped }) => dropped !== undefined).length, 2 * others);
      const { value: segments } = await client.segments("prices", partition);
      // A second apart, so each block's records seal those before.
      t.same(
        segments.map(({ number, firstIndex, count }) => [number, firstIndex, count]),
        [
          [0n, 0n, BigInt(others)],
          [1n, BigInt(others), BigInt(others)],
        ],
      );
      const file = await client.exportRecord("prices", partition, 0n);
      const proven = await verifyProofFile(file, net.network);
      t.match(proven, {
        ok: true,
        value: { statement: { kind: "record", record: { index: 0n, dropped: records[0]?.dropped } } },
      });
    }
    await session.send([{ kind: "streamCreate", stream: "clicks", partitions: 3, isOpen: true, ...rules }]);
    await session.appendRouted(
      "clicks",
      ["a", "b", "c", "d"].map((value) => body("x", value)),
      { kind: "counter", from: 7n },
    );
    const of = async (partition: number) =>
      (await pagesOf(client.records("clicks", partition))).flat().map(({ key: at, data }) => [at, data]);
    t.same(await of(0), [[counterKey(9n), utf8("c")]], "counter v is in partition v mod P, under its eight bytes");
    t.same(await of(1), [
      [counterKey(7n), utf8("a")],
      [counterKey(10n), utf8("d")],
    ]);
    t.same(await of(2), [[counterKey(8n), utf8("b")]]);
    await session.appendRouted(
      "clicks",
      ["e", "f"].map((value) => body("y", value)),
      { kind: "roundRobin", from: 2 },
    );
    t.same([(await of(2)).length, (await of(0)).length], [2, 2]);
  },
);

t.test("a session counts its nonces, also when it sends side by side and when something is refused", async (t) => {
  const { client, session, net } = await serve(t);
  await net.commit();
  const sent = await Promise.all(Array.from({ length: 8 }, () => session.transfer(bob, 1n)));
  t.same(
    sent.map(({ value }) => value.transaction.body.nonce),
    [0n, 1n, 2n, 3n, 4n, 5n, 6n, 7n],
  );
  await t.rejects(session.submit([{ kind: "transfer", to: bob, amount: 1n }], { fee: 1n }), { code: "fee_low" });
  t.match((await session.transfer(bob, 1n)).value, { result: { kind: "applied" }, transaction: { body: { nonce: 8n } } });
  const failed = await session.delete("shop", "stock", key(1));
  t.match(failed.value.result, { kind: "failed", code: "table_unknown" }, "a failed result is proven too");
  const other = new AccountSession({ client, keyPair: ALICE });
  await other.transfer(bob, 1n);
  t.match((await session.transfer(bob, 1n)).value.result, { kind: "applied" }, "the key was used elsewhere: counted anew");
  t.equal((await client.claimedStatus(hashAt(1))).kind, "unknown");
  await t.rejects(client.wait(hashAt(1), { timeoutMs: 20 }), { code: "transaction_timeout" });
  await t.rejects(client.transaction(hashAt(1)), { code: "transaction_unknown" });
});

t.test("a client follows the validators from the network file through two changes of the set", async (t) => {
  const { client, session, net, server } = await serve(t);
  const change = (add: number, remove: number): Call[] => [
    { kind: "validatorSet", key: keyPairAt(add).publicKey, power: 1n },
    { kind: "validatorSet", key: keyPairAt(remove).publicKey, power: 0n },
  ];
  for (const index of [0, 1, 2, 3]) await session.send(change(4 + index, index));
  await net.commitUntil(9n);
  t.equal(net.ledger.validatorChanges(heightOf(1n), 10).length, 4, "no validator of the network file is left");
  const stranger = clientOf(net.network, server.url);
  t.equal((await stranger.head()).value.height, 9n);
  t.equal((await stranger.account(alice)).value.nonce, 4n);
  t.equal((await client.block(heightOf(1n))).value.header.height, 1n, "and old blocks are judged by their own set");
  const file = await stranger.exportAccount(alice);
  t.match(await verifyProofFile(file, net.network), { ok: true, value: { how: [/4 certified changes/] } });
});

t.test("proof files of every kind are exported, and hold without the node", async (t) => {
  const { client, session, net } = await serve(t);
  const { value } = await session.send([
    CREATE,
    ...puts([1, 2, 3]),
    { kind: "logAppend", stream: "orders", partition: 0, records: [utf8("a")] },
  ]);
  const files = [
    await client.exportRow("shop", "stock", key(2)),
    await client.exportRow("shop", "stock", key(9)),
    await client.exportRange("shop", "stock"),
    await client.exportAccount(alice),
    await client.exportTransaction(value.transaction.id),
    await client.exportRecord("orders", 0, 0n),
  ];
  const kinds = [];
  for (const file of files) {
    const proven = await verifyProofFile(file, net.network);
    assert(proven.ok, "proof file");
    kinds.push(proven.value.statement.kind);
  }
  t.same(kinds, ["row", "row", "range", "account", "transaction", "record"]);
});

t.test("a proof file of an old height hangs from the newest header, whatever became of the row since", async (t) => {
  const { client, session, net } = await serve(t);
  const { value, verified } = await session.send([CREATE, ...puts([1])]);
  await session.send([{ kind: "tableDelete", namespace: "shop", table: "stock", key: key(1) }]);
  await net.commitUntil(6n);
  const provenOf = async (file: Uint8Array) => {
    const proven = await verifyProofFile(file, net.network);
    assert(proven.ok, "proof file");
    const { statement, height, certifiedHeight } = proven.value;
    return { height, certifiedHeight, isThere: statement.kind === "row" && statement.value !== undefined };
  };
  const { height } = verified;
  const then = await client.exportRow("shop", "stock", key(1), { height });
  t.same(await provenOf(then), { height, certifiedHeight: 6n, isThere: true });
  const now = await client.exportRow("shop", "stock", key(1));
  t.same(await provenOf(now), { height: 6n, certifiedHeight: 6n, isThere: false });
  const sent = await client.exportTransaction(value.transaction.id);
  t.match(await provenOf(sent), { height, certifiedHeight: 6n });
});

// The lying proxy.

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
type Fields = { [name: string]: Json };
type Lie = (result: Fields, method: string) => void;

/** Passes requests on to `target`; `lie` may alter the result of an honest answer. */
async function proxyOf(test: Test, target: string, lie: Lie): Promise<string> {
  const proxy: Server = createServer((request, response) => {
    void (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk);
      const body = Buffer.concat(chunks).toString();
      const answer: Fields = JSON.parse(
        await (await fetch(target, { method: "POST", headers: { "Content-Type": "application/json" }, body })).text(),
      );
      const { method }: { method: string } = JSON.parse(body);
      if (isFields(answer["result"])) lie(answer["result"], method);
      response.setHeader("Content-Type", "application/json").end(JSON.stringify(answer));
    })();
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  test.teardown(() => {
    proxy.closeAllConnections();
    proxy.close();
  });
  return `http://127.0.0.1:${portOf(proxy)}/`;
}

function portOf(server: Server): number {
  const address: AddressInfo | string | null = server.address();
  assert(address !== null && typeof address === "object", "listens on TCP");
  return address.port;
}

function isFields(value: Json | undefined): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function fields(value: Json | undefined): Fields {
  assert(isFields(value), "not an object");
  return value;
}

function list(value: Json | undefined): Json[] {
  assert(Array.isArray(value), "not a list");
  return value;
}

function text(value: Json | undefined): string {
  assert(typeof value === "string", "not a text");
  return value;
}

/** Changes one hex digit in the middle. */
function flip(hex: Json | undefined): string {
  const digits = text(hex);
  const at = digits.length >> 1;
  return digits.slice(0, at) + (digits[at] === "0" ? "1" : "0") + digits.slice(at + 1);
}

/** A certificate without its last two signatures of four. */
function weaken(hex: Json | undefined): string {
  const parsed = parseCertificate(fromHex(text(hex)));
  assert(parsed.ok, "certificate");
  const certificate = quorumOf(parsed.value);
  return toHex(encodeCertificate({ ...certificate, signatures: certificate.signatures.slice(0, 2) }));
}

/** A header with another state root, under the same certificate. */
function reroot(hex: Json | undefined): string {
  const parsed = parseHeader(fromHex(text(hex)));
  assert(parsed.ok, "header");
  return toHex(encodeHeader({ ...parsed.value, stateRoot: hashAt(1) }));
}

type Case = {
  readonly name: string;
  readonly lie: Lie;
  readonly ask: (client: PyralogClient, id: string) => Promise<unknown>;
  readonly code: string | RegExp;
};

const only =
  (method: string, lie: (result: Fields) => void): Lie =>
  (result, called) =>
    called === method ? lie(result) : undefined;
const account = (client: PyralogClient): Promise<unknown> => client.account(alice);
const row = (client: PyralogClient): Promise<unknown> => client.row("shop", "stock", key(2));
const range = (client: PyralogClient): Promise<unknown> => pagesOf(client.range("shop", "stock"));
const records = (client: PyralogClient): Promise<unknown> => pagesOf(client.records("orders", 0));

/** A proof of the same table with one row fewer, put in place of the honest one. */
const otherProof = new Map<string, string>();

const CASES: readonly Case[] = [
  { name: "a balance", lie: only("account.get", (result) => (result["balance"] = "5")), ask: account, code: "answer_mismatch" },
  { name: "a nonce", lie: only("account.get", (result) => (result["nonce"] = "5")), ask: account, code: "answer_mismatch" },
  { name: "a height", lie: only("account.get", (result) => (result["height"] = "1")), ask: account, code: "answer_mismatch" },
  { name: "no proof", lie: only("account.get", (result) => delete result["proof"]), ask: account, code: "answer_malformed" },
  { name: "an empty proof", lie: only("account.get", (result) => (result["proof"] = "")), ask: account, code: "proof_malformed" },
  {
    name: "a commitment in the place of a record that nobody erased",
    lie: only("stream.records", ({ records }) => {
      const [first] = list(records);
      const leaf = LOG_HASHER.leaf(fromHex(text(fields(first)["record"])));
      fields(first)["record"] = toHex(droppedRecord(leaf));
    }),
    ask: records,
    code: "record_withheld",
  },
  {
    name: "a byte of a proof",
    lie: only("account.get", (result) => (result["proof"] = flip(result["proof"]))),
    ask: account,
    code: /^(root_mismatch|proof_\w+)$/,
  },
  {
    name: "no header and certificate",
    lie: only("account.get", (result) => delete result["anchor"]),
    ask: account,
    code: "proof_missing",
  },
  {
    name: "a byte of a header",
    lie: only("account.get", ({ anchor }) => (fields(anchor)["header"] = flip(fields(anchor)["header"]))),
    ask: account,
    code: /^(certificate_block|answer_malformed|header_chain|validators_unknown)$/,
  },
  {
    name: "the state root in a header",
    lie: only("account.get", ({ anchor }) => (fields(anchor)["header"] = reroot(fields(anchor)["header"]))),
    ask: account,
    code: "certificate_block",
  },
  {
    name: "signatures dropped from a certificate",
    lie: only("account.get", ({ anchor }) => (fields(anchor)["certificate"] = weaken(fields(anchor)["certificate"]))),
    ask: account,
    code: "certificate_power",
  },
  {
    name: "a byte of a certificate",
    lie: only("account.get", ({ anchor }) => (fields(anchor)["certificate"] = flip(fields(anchor)["certificate"]))),
    ask: account,
    code: /^(certificate_\w+|answer_malformed)$/,
  },
  {
    name: "an unknown field",
    lie: only("account.get", (result) => (result["more"] = 1)),
    ask: account,
    code: "answer_malformed",
  },
  { name: "a row's value", lie: only("table.row", (result) => (result["value"] = "05")), ask: row, code: "answer_mismatch" },
  {
    name: "a row said to be absent",
    lie: only("table.row", (result) => (result["value"] = null)),
    ask: row,
    code: "answer_mismatch",
  },
  {
    name: "a row proven absent by the proof of another key",
    lie: only("table.row", (result) => Object.assign(result, { value: null, proof: otherProof.get("absent") ?? "" })),
    ask: row,
    code: /^proof_\w+$/,
  },
  {
    name: "a row left out of a range",
    lie: only("table.range", (result) => (result["proof"] = otherProof.get("short") ?? "")),
    ask: range,
    code: /^proof_\w+$/,
  },
  {
    name: "a byte of a proof of state rows",
    lie: only("state.prove", (result) => (result["proof"] = flip(result["proof"]))),
    ask: (client) => pagesOf(client.stateRows(accountRange())),
    code: /^(root_mismatch|proof_\w+)$/,
  },
  {
    name: "the proof of another range of state rows",
    lie: only("state.prove", (result) => (result["proof"] = otherProof.get("absent") ?? "")),
    ask: (client) => pagesOf(client.stateRows(accountRange())),
    code: /^(root_mismatch|proof_\w+)$/,
  },
  {
    name: "a range of yesterday",
    lie: only("table.range", (result) => (result["proof"] = otherProof.get("old") ?? "")),
    ask: range,
    code: "root_mismatch",
  },
  {
    name: "a record's bytes",
    lie: only("stream.records", ({ records }) => (fields(list(records)[0])["record"] = flip(fields(list(records)[0])["record"]))),
    ask: records,
    code: "root_mismatch",
  },
  {
    name: "a record in another's place",
    lie: only("stream.records", ({ records }) => void list(records).reverse()),
    ask: records,
    code: "answer_mismatch",
  },
  {
    name: "records left out",
    lie: only("stream.records", (result) => (result["records"] = [])),
    ask: records,
    code: "proof_missing",
  },
  {
    name: "a partition said to be shorter",
    lie: only("stream.records", (result) => Object.assign(result, { records: [], size: "0" })),
    ask: records,
    code: "answer_mismatch",
  },
  {
    name: "a partition's root",
    lie: only("stream.head", ({ head }) => (fields(head)["root"] = "00".repeat(32))),
    ask: (client) => client.partition("orders", 0),
    code: "answer_mismatch",
  },
  {
    name: "a transaction's result",
    lie: only("transaction.proof", (result) => (result["result"] = { kind: "failed", code: "table_exists", field: "x" })),
    ask: (client, id) => client.transaction(hashOf(fromHex(id))),
    code: "root_mismatch",
  },
  {
    name: "a transaction for another",
    lie: only("transaction.proof", (result) => Object.assign(result, JSON.parse(otherProof.get("transaction") ?? ""))),
    ask: (client, id) => client.transaction(hashOf(fromHex(id))),
    code: "answer_mismatch",
  },
  {
    name: "a transaction of another height",
    lie: only("transaction.proof", (result) => (result["height"] = "1")),
    ask: (client, id) => client.transaction(hashOf(fromHex(id))),
    code: "answer_height",
  },
  {
    name: "a head's hash",
    lie: only("chain.head", (result) => (result["hash"] = "00".repeat(32))),
    ask: (client) => client.head(),
    code: "answer_mismatch",
  },
  {
    name: "a head without certificate",
    lie: only("chain.head", (result) => delete result["anchor"]),
    ask: (client) => client.head(),
    code: "proof_missing",
  },
  {
    name: "an old header's path",
    lie: only("chain.historyProof", (result) => (result["siblings"] = list(result["siblings"]).map(flip))),
    ask: (client) => client.header(heightOf(1n)),
    code: "root_mismatch",
  },
  {
    name: "another old header",
    lie: only("chain.historyProof", (result) => (result["header"] = flip(result["header"]))),
    ask: (client) => client.header(heightOf(1n)),
    code: /^(root_mismatch|answer_malformed|answer_height)$/,
  },
  {
    name: "a byte of a block",
    lie: only("chain.block", (result) => (result["block"] = flip(result["block"]))),
    ask: (client) => client.block(heightOf(2n)),
    code: /^(answer_malformed|root_mismatch|answer_mismatch)$/,
  },
  {
    name: "the id of what was submitted",
    lie: only("transaction.submit", (result) => (result["id"] = "00".repeat(32))),
    ask: (client) => new AccountSession({ client, keyPair: ALICE }).transfer(bob, 1n),
    code: "answer_mismatch",
  },
  {
    name: "a transaction said to be final that is not",
    lie: only("transaction.wait", (result) =>
      Object.assign(result, { kind: "final", height: "1", index: 0, result: { kind: "applied" }, finality: { kind: "final" } }),
    ),
    ask: (client) => client.wait(hashAt(9), { timeoutMs: 100 }),
    code: "transaction_unknown",
  },
];

t.test("a node that alters one thing in an honest answer is caught", async (t) => {
  const { net, server, session } = await serve(t);
  await session.send([CREATE, ...puts([1, 2, 3])]);
  const honest = clientOf(net.network, server.url);
  const { value: first } = await session.send([
    { kind: "logAppend", stream: "orders", partition: 0, records: [utf8("a"), utf8("b"), utf8("c")] },
  ]);
  const { value: second } = await session.transfer(bob, 1n);
  await session.send(puts([4]));
  const ask = async (method: string, params: object): Promise<Fields> => {
    const response = await fetch(server.url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
    });
    return fields(fields(JSON.parse(await response.text()))["result"]);
  };
  const place = { namespace: "shop", table: "stock" };
  otherProof.set("absent", text((await ask("table.row", { ...place, key: "09" }))["proof"]));
  otherProof.set("short", text((await ask("table.range", { ...place, from: "02" }))["proof"]));
  otherProof.set("old", text((await ask("table.range", { ...place, height: "2" }))["proof"]));
  otherProof.set("transaction", JSON.stringify(await ask("transaction.proof", { id: toHex(second.transaction.id) })));
  const id = toHex(first.transaction.id);
  for (const { name, ask: question } of CASES) {
    if (name.startsWith("the id of") || name.startsWith("a transaction said")) continue;
    await t.resolves(question(honest, id), `the honest answer holds: ${name}`);
  }
  for (const { name, lie, ask: question, code } of CASES) {
    const client = clientOf(net.network, await proxyOf(t, server.url, lie));
    await t.rejects(question(client, id), { code }, name);
  }
});

t.test("the head of a node may not go backwards, nor stand still for too long", async (t) => {
  const { net, server } = await serve(t, [1n]);
  await net.commitUntil(2n);
  const stale: { head: Fields | undefined } = { head: undefined };
  const url = await proxyOf(t, server.url, (result, method) => {
    if (method !== "chain.head") return;
    stale.head ??= structuredClone(result);
    if (net.ledger.head().height > 2n) Object.assign(result, stale.head);
  });
  const client = clientOf(net.network, url);
  t.equal((await client.head()).value.height, 2n);
  await net.commit();
  t.equal((await client.account(alice)).verified.height, 3n);
  await t.rejects(client.head(), { code: "stale_head" });
  const timeMs = Number(net.ledger.head().timeMs);
  const strict = (nowMs: number): PyralogClient =>
    clientOf(net.network, server.url, { headAgeMsMax: 10_000, nowMs: () => nowMs });
  t.ok(await strict(timeMs + 10_000).head());
  await t.rejects(strict(timeMs + 10_001).head(), { code: "old_head" });
});

t.test("a node that hides or forges a change of validators is not followed", async (t) => {
  const { net, server, session } = await serve(t);
  await session.send(
    [4, 5, 6, 7].flatMap((index): Call[] => [
      { kind: "validatorSet", key: keyPairAt(index).publicKey, power: 1n },
      { kind: "validatorSet", key: keyPairAt(index - 4).publicKey, power: 0n },
    ]),
  );
  await net.commitUntil(5n);
  const askThrough = async (lie: Lie): Promise<unknown> => await clientOf(net.network, await proxyOf(t, server.url, lie)).head();
  await t.resolves(askThrough(() => undefined));
  await t.rejects(askThrough(only("validators.changes", (result) => (result["changes"] = []))), { code: "validators_unknown" });
  const forge = only(
    "validators.changes",
    ({ changes }) => (fields(list(changes)[0])["validators"] = flip(fields(list(changes)[0])["validators"])),
  );
  await t.rejects(askThrough(forge), { code: /^(validators_mismatch|answer_malformed)$/ });
  const weak = only("validators.changes", ({ changes }) => {
    const anchor = fields(fields(list(changes)[0])["anchor"]);
    anchor["certificate"] = weaken(anchor["certificate"]);
  });
  await t.rejects(askThrough(weak), { code: "certificate_power" });
});

t.test("a node of another network is refused, whatever that network is called", async (t) => {
  const { net, server } = await serve(t);
  await net.commitUntil(2n);
  const renamed = clientOf({ ...net.network, chainId: "pyra-other" }, server.url);
  await t.rejects(renamed.head(), { code: "header_chain" });
  const others = clientOf({ ...networkOf({ powers: [9n, 9n, 9n, 9n] }), chainId: net.network.chainId }, server.url);
  await t.rejects(others.head(), { code: "validators_unknown" });
});

t.test("a log that the validators rewrote is reported, though its state proof holds", async (t) => {
  const data = (name: string): Call => ({ kind: "logAppend", stream: "orders", partition: 0, records: [utf8(name), utf8("b")] });
  const [one, other] = [await serve(t, [1n]), await serve(t, [1n])];
  const switchable = { url: one.server.url };
  await one.session.send([data("a")]);
  await other.net.commit();
  await other.session.send([data("x"), data("y")]);
  const proxy: typeof fetch = (_, init) => fetch(switchable.url, init);
  const client = new PyralogClient({ url: "http://any.invalid/", network: one.net.network, fetch: proxy });
  t.equal((await client.partition("orders", 0)).value?.size, 2n);
  switchable.url = other.server.url;
  await t.rejects(client.partition("orders", 0), { code: /^(root_mismatch|fork_detected|log_forked)$/ });
});

t.test("time, size and form of an answer are bounded, and a caller can give up", async (t) => {
  // Timeouts alone do not keep a process alive, and nothing else happens while the first one runs.
  const alive = setInterval(() => undefined, 1000);
  t.teardown(() => clearInterval(alive));
  const network = networkOf({});
  const answering =
    (make: (signal: AbortSignal | null | undefined) => Promise<Response>): typeof fetch =>
    (_, init) =>
      make(init?.signal);
  const client = (make: typeof fetch, more: object = {}): PyralogClient =>
    new PyralogClient({ url: "http://127.0.0.1:1/", network, fetch: make, ...more });
  const never = answering(
    (signal) => new Promise((_, reject) => signal?.addEventListener("abort", () => reject(new Error("aborted")))),
  );
  await t.rejects(client(never, { timeoutMs: 20 }).head(), { code: "rpc_timeout" });
  const controller = new AbortController();
  const given = client(never).head({ signal: controller.signal });
  controller.abort(new Error("enough"));
  await t.rejects(given, { message: "enough" });
  await t.rejects(
    client(
      answering(async () => new Response("x".repeat(1001))),
      { answerSizeBytesMax: 1000 },
    ).head(),
    { code: "rpc_answer_size" },
  );
  for (const body of [
    "",
    "{",
    "[]",
    "null",
    '{"jsonrpc":"2.0","id":7,"result":{}}',
    '{"id":1,"result":{}}',
    '{"jsonrpc":"2.0","id":1}',
  ]) {
    await t.rejects(client(answering(async () => new Response(body))).head(), { code: "rpc_answer" }, body);
  }
  await t.rejects(
    client(answering(async () => new Response('{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}'))).head(),
    { code: "rpc_error" },
  );
  await t.rejects(new PyralogClient({ url: "http://127.0.0.1:1/", network }).head(), { code: "rpc_unreachable" });
});

t.test("a call on a connection that the node had just closed is made again, once", async (t) => {
  const closed = new Set<number>();
  let asked = 0;
  const server = createServer((request, response) => {
    asked += 1;
    if (closed.has(asked)) return void request.socket.destroy();
    let text = "";
    request.on("data", (chunk: Buffer) => (text += chunk.toString()));
    request.on("end", () => {
      const { id } = JSON.parse(text) as { readonly id: number };
      response.end(JSON.stringify({ jsonrpc: "2.0", id, result: asked }));
    });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  t.teardown(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const transport = new HttpTransport({ url, timeoutMs: 5_000, answerSizeBytesMax: 1_000 });
  t.equal(await transport.call("test", {}), 1);
  closed.add(2);
  t.equal(await transport.call("test", {}), 3, "the second was lost with its connection");
  for (const again of [4, 5, 6]) closed.add(again);
  await t.rejects(transport.call("test", {}), { code: "rpc_unreachable" });
  t.equal(asked, 5, "not a third time");
});

/** Reads a feed until it has `count` events. */
async function take(feed: AsyncGenerator<FeedEvent>, count: number, events: FeedEvent[] = []): Promise<FeedEvent[]> {
  for await (const event of feed) {
    events.push(event);
    if (events.length === count) break;
  }
  return events;
}

/** Waits until a server has granted so many subscriptions in all: every block from then on is an event of theirs. */
async function subscribed(metrics: Metrics, count: number): Promise<void> {
  const granted = `rpc_requests_total{method="subscribe",outcome="result"} ${count}\n`;
  while (!(await metrics.text()).includes(granted)) await new Promise((resolve) => setTimeout(resolve, 5));
}

t.test("a feed delivers verified blocks, transactions and rows as they become final", async (t) => {
  const { net, client, session, metrics } = await serve(t);
  await net.commit();
  const { signal } = new AbortController();
  const blocks = take(client.subscribe({ kind: "blocks" }, { signal }), 3);
  const ours = take(client.subscribe({ kind: "transactions", sender: alice }, { signal }), 2);
  const rows = take(client.subscribe({ kind: "keys", namespace: "shop", table: "stock" }, { signal }), 3);
  await subscribed(metrics, 3);
  await session.send([CREATE, ...puts([1, 2])]);
  await new AccountSession({ client, keyPair: keyPairAt(101) }).transfer(alice, 1n);
  const { value } = await session.send([{ kind: "tableDelete", namespace: "shop", table: "stock", key: key(1) }]);
  t.match(
    await blocks,
    [2n, 3n, 4n].map((height) => ({ kind: "block", block: { value: { height }, verified: { height, how: ["certificate"] } } })),
  );
  t.match(await ours, [
    { kind: "transaction" },
    { kind: "transaction", transaction: { value: { transaction: { id: value.transaction.id } } } },
  ]);
  t.match(await rows, [
    { kind: "row", key: key(1), row: { value: encodeValue(1), verified: { height: 2n } } },
    { kind: "row", key: key(2), row: { value: encodeValue(2) } },
    { kind: "row", key: key(1), row: { value: undefined, verified: { height: 4n } } },
  ]);
  t.match(
    await take(client.subscribe({ kind: "transactions", id: value.transaction.id }, { signal }), 1),
    [{ kind: "transaction" }],
    "one that is final already",
  );
});

t.test("a feed survives the loss of its connection, and fetches the blocks that it missed", async (t) => {
  const net = await DevNet.open();
  t.teardown(() => net[Symbol.asyncDispose]());
  await net.commit();
  const [metrics, metricsLater] = [openMetrics(), openMetrics()];
  const first = await listen(t, net, metrics);
  const { port, url } = first;
  const controller = new AbortController();
  const feed = clientOf(net.network, url).subscribe({ kind: "blocks" }, { signal: controller.signal });
  const next = feed.next();
  await subscribed(metrics, 1);
  await net.commit();
  t.match((await next).value, { block: { value: { height: 2n } } });
  const rest = take(feed, 4);
  await first[Symbol.asyncDispose]();
  await net.commitUntil(5n);
  await listen(t, net, metricsLater, port);
  await subscribed(metricsLater, 1);
  await net.commit();
  t.same(
    (await rest).map((event) => (event.kind === "block" ? event.block.value.height : undefined)),
    [3n, 4n, 5n, 6n],
  );
  const waiting = clientOf(net.network, url).subscribe({ kind: "blocks" }, { signal: controller.signal }).next();
  await subscribed(metricsLater, 2);
  controller.abort();
  t.same(await waiting, { done: true, value: undefined }, "ends when told to");
  const gone = clientOf(net.network, "http://127.0.0.1:1/").subscribe(
    { kind: "blocks" },
    { signal: new AbortController().signal, attemptsMax: 1 },
  );
  await t.rejects(gone.next(), { code: "rpc_unreachable" });
});

const MINED = minedNetwork({ finalityDepth: 3, reorgDepthMax: 20 });

/** A network of work of so many blocks, its server, and a client that knows the network file alone. */
async function serveWork(test: Test, height: bigint): Promise<Pick<Served, "net" | "server" | "client" | "metrics">> {
  const net = await DevNet.open({ network: MINED });
  await net.commitUntil(height);
  const metrics = openMetrics();
  const server = await listen(test, net, metrics);
  test.teardown(() => net[Symbol.asyncDispose]());
  return { net, server, client: clientOf(net.network, server.url), metrics };
}

t.test("whoever waits under proof of work sees a block get deeper, also when it comes by another one", async (t) => {
  const { net, client } = await serveWork(t, 2n);
  const transaction = spend(2, 0n, [CREATE]);
  await net.commit([transaction]);
  t.match(await client.transaction(transaction.id), { verified: { finality: { depth: 1, isSettled: false } } });
  await net.commitUntil(5n);
  t.match(await client.wait(transaction.id, { timeoutMs: 60_000 }), { verified: { height: 3n, finality: { depth: 3 } } });
  const next = spend(2, 1n, puts([1]));
  await net.commit([next]);
  t.match(await client.transaction(next.id), { verified: { finality: { depth: 1 } } });
  const waited = client.wait(next.id, { timeoutMs: 60_000 });
  await net.commitUntil(7n);
  await net.undo(heightOf(5n));
  net.miner = bob;
  await net.commit();
  await net.commit([next]);
  await net.commitUntil(9n);
  t.match(await waited, { verified: { height: 7n, finality: { depth: 3, isSettled: true } } });
});

t.test("a head of work goes back only for a heavier chain", async (t) => {
  const { net, client } = await serveWork(t, 5n);
  t.equal((await client.head()).value.height, 5n);
  await client.header(heightOf(2n));
  await net.undo(heightOf(3n));
  await t.rejects(client.head(), { code: "stale_head" }, "the same chain, shorter");
  net.miner = bob;
  await net.commit();
  await t.rejects(client.head(), { code: "work_less" }, "another one, lighter");
  t.equal(client.headHeight, 5n);
  await net.commitUntil(6n);
  t.equal((await client.head()).value.height, 6n);
  const future = clientOf(net.network, client.url, { nowMs: () => Number(net.network.genesisTimeMs) - 120_000 });
  await t.rejects(future.head(), { code: "header_future" });
});

t.test(
  "a head that its node leaves before it is asked for the headers is asked for again, and an invented one is not believed",
  async (t) => {
    const { net, server } = await serveWork(t, 3n);
    let heads = 0;
    const race: typeof globalThis.fetch = async (url, init) => {
      const { body } = init ?? {};
      assert(typeof body === "string", "a call");
      const response = await globalThis.fetch(url, init);
      if ((JSON.parse(body) as { method: string }).method !== "chain.head") return response;
      const text = await response.text();
      heads += 1;
      if (heads > 1) return new Response(text);
      // It answers with block 3, and goes over to another chain at once.
      await net.undo(heightOf(2n));
      net.miner = bob;
      await net.commitUntil(4n);
      return new Response(text);
    };
    const client = new PyralogClient({ url: server.url, network: net.network, fetch: race });
    t.equal((await client.head()).value.height, 4n);
    t.equal(heads, 2);
    await using other = await DevNet.open({ network: MINED });
    other.miner = bob;
    await other.commitUntil(5n);
    const elsewhere = await listen(t, other);
    const mixed: typeof globalThis.fetch = async (url, init) => {
      const { body } = init ?? {};
      assert(typeof body === "string", "a call");
      const isHead = (JSON.parse(body) as { method: string }).method === "chain.head";
      if (isHead) heads += 1;
      return await globalThis.fetch(isHead ? elsewhere.url : url, init);
    };
    heads = 0;
    const fooled = new PyralogClient({ url: server.url, network: net.network, fetch: mixed });
    await t.rejects(fooled.head(), { code: "headers_unknown" });
    t.equal(heads, 3, "three times, and no more");
  },
);

t.test("a node that is on its way to a heavier chain, block by block, is asked again", async (t) => {
  const { net, server } = await serveWork(t, 4n);
  let heads = 0;
  const slow: typeof globalThis.fetch = async (url, init) => {
    const { body } = init ?? {};
    assert(typeof body === "string", "a call");
    if ((JSON.parse(body) as { method: string }).method === "chain.head") heads += 1;
    // It is there when it is asked once more.
    if (heads === 3 && net.ledger.head().height < 5n) await net.commitUntil(5n);
    return await globalThis.fetch(url, init);
  };
  const client = new PyralogClient({ url: server.url, network: net.network, fetch: slow });
  t.equal((await client.head()).value.height, 4n);
  await net.undo(heightOf(2n));
  net.miner = bob;
  await net.commit();
  t.equal((await client.head()).value.height, 5n);
  t.equal(heads, 3);
});

t.test(
  "a node that goes over to another chain from its first block on is asked again, and one that stays without is behind",
  async (t) => {
    const { net, server } = await serveWork(t, 3n);
    const asked: string[] = [];
    let heavier: bigint | undefined;
    const slow: typeof globalThis.fetch = async (url, init) => {
      const { body } = init ?? {};
      assert(typeof body === "string", "a call");
      asked.push((JSON.parse(body) as { method: string }).method);
      const text = await (await globalThis.fetch(url, init)).text();
      // It had undone everything when it answered; the blocks of the heavier chain come right after.
      if (heavier !== undefined) await net.commitUntil(heavier);
      return new Response(text);
    };
    const client = new PyralogClient({ url: server.url, network: net.network, fetch: slow });
    t.equal((await client.head()).value.height, 3n);
    const undo = async (goesTo: bigint | undefined): Promise<void> => {
      heavier = undefined;
      await net.undo(heightOf(0n));
      net.miner = net.miner === bob ? alice : bob;
      heavier = goesTo;
      asked.splice(0);
    };
    await undo(4n);
    t.equal((await client.head()).value.height, 4n);
    t.same(asked.slice(0, 2), ["chain.head", "chain.head"]);
    await undo(5n);
    t.equal((await client.account(bob)).verified.height, 5n);
    t.same(asked.slice(0, 2), ["account.get", "account.get"]);
    await undo(undefined);
    await t.rejects(client.head(), { code: "stale_head" });
    t.same(asked, ["chain.head", "chain.head", "chain.head"], "three times, and no more");
    await t.rejects(client.account(bob), { code: "height_none" });
    await t.rejects(clientOf(net.network, server.url).head(), { code: "height_none" }, "whoever saw no block misses none");
  },
);

t.test("a node that repeats headers for ever is left", async (t) => {
  const { server, net } = await serveWork(t, 3n);
  let asked = 0;
  const repeat: typeof globalThis.fetch = async (url, init) => {
    const { body: asking } = init ?? {};
    assert(typeof asking === "string", "a call");
    const request = JSON.parse(asking) as { method: string; params: { from: string } };
    const isHeaders = request.method === "chain.headers";
    if (isHeaders) asked += 1;
    assert(asked < 10, "asked without end");
    const body = isHeaders ? JSON.stringify({ ...request, params: { ...request.params, from: "1" } }) : asking;
    const response = await globalThis.fetch(url, { ...init, body });
    return isHeaders ? new Response((await response.text()).replace(/"head":"3"/, '"head":"1000000"')) : response;
  };
  const client = new PyralogClient({ url: server.url, network: net.network, fetch: repeat });
  await t.rejects(client.head(), { code: "answer_height" });
});

t.test("a feed says what was undone before it tells of what took its place", async (t) => {
  const { net, client, server, metrics } = await serveWork(t, 2n);
  const { signal } = new AbortController();
  const heard: readonly [FeedEvent[], FeedEvent[], FeedEvent[]] = [[], [], []];
  const blocks = take(client.subscribe({ kind: "blocks" }, { signal }), 6, heard[0]);
  const rows = take(
    clientOf(net.network, server.url).subscribe({ kind: "keys", namespace: "shop", table: "stock" }, { signal }),
    3,
    heard[1],
  );
  const anything = take(clientOf(net.network, server.url).subscribe({ kind: "transactions" }, { signal }), 2, heard[2]);
  await subscribed(metrics, 3);
  await net.commit([spend(2, 0n, [CREATE, ...puts([7])])]);
  await net.commit();
  const areTold = (): boolean => heard.map(({ length }) => length).join() === "2,1,1";
  while (!areTold()) await new Promise((resolve) => setTimeout(resolve, 5));
  await net.undo(heightOf(1n));
  net.miner = bob;
  await net.commit();
  // Time to meet the node on its way. Whoever comes later is told the same.
  await new Promise((resolve) => setTimeout(resolve, 100));
  await net.commitUntil(4n);
  await net.commit([spend(2, 0n, [CREATE, ...puts([8])])]);
  const told = (events: readonly FeedEvent[]): unknown[] =>
    events.map((event) => {
      if (event.kind === "undone") return `undone ${event.from}`;
      if (event.kind === "block") return event.block.value.height;
      return event.kind === "row" ? event.key[0] : event.kind;
    });
  t.same(told(await blocks), [3n, 4n, "undone 2", 2n, 3n, 4n], "block 2 was the head that it began at");
  t.same(told(await rows), [7, "undone 2", 8]);
  t.same(told(await anything), ["transaction", "undone 2"]);
});

t.test("client and verifier load in a browser: nothing they import asks for a Node module", (t) => {
  const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
  const seen = new Set<string>();
  const packages = new Set<string>();
  const visit = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    const source = readFileSync(path, "utf8");
    for (const [, clause, from] of source.matchAll(/^(?:import|export) (?!type )([^;]*?)from "([^"]+)";$/gms)) {
      if (from === undefined || clause === undefined) continue;
      if (from.startsWith(".")) visit(resolve(dirname(path), from));
      else packages.add(from);
    }
    for (const [, from] of source.matchAll(/import\("([^"]+)"\)/g))
      if (from !== undefined && !from.startsWith(".") && !source.includes(`typeof import("${from}")`)) packages.add(from);
  };
  for (const entry of ["node/rpc/client.ts", "node/rpc/session.ts", "node/light/verifier.ts", "node/light/prooffile.ts"])
    visit(resolve(root, entry));
  t.ok(seen.size > 40, `${seen.size} files were walked`);
  t.same(
    [...packages].filter((name) => name.startsWith("node:") || name === "ws" || name === "pino"),
    [],
  );
  t.same(
    [...seen].filter((path) => /chain\/(store|ledger|segment)\//.test(path)),
    [],
    "and nothing of the store",
  );
  t.end();
});
