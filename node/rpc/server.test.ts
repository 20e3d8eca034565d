/** The server over real sockets, strict to JSON-RPC 2.0 and to its own limits, on a real ledger in memory. */

import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { mkdir, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import t, { type Test } from "tap";
import { WebSocket } from "ws";
import { present } from "../../crypto/base/assert.ts";
import { toHex, utf8 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { addressOfKey, formatAddress } from "../../crypto/identity/address.ts";
import { heightOf } from "../../chain/block/height.ts";
import { keyPairAt } from "../../chain/block/testing/fixtures.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction, type Transaction } from "../../chain/block/transaction.ts";
import { openLog } from "../log/log.ts";
import { openMetrics } from "../metrics/metrics.ts";
import { RPC_CODES } from "./errors.ts";
import { type Limits, limitsWith } from "./limits.ts";
import { METHODS } from "./methods/index.ts";
import { answerMessage, jsonDepth, parseRequest } from "./protocol.ts";
import { RpcServer, type RpcServerOptions } from "./server.ts";
import { DevNet } from "./testing/devnet.ts";

/** How long a busy machine may take for what takes milliseconds. */
const PATIENCE_MS = 30_000;

type Served = { readonly net: DevNet; readonly server: RpcServer; readonly lines: string[] };

/** A server on a free port, closed with the test. */
async function serve(test: Test, options: Partial<RpcServerOptions> = {}): Promise<Served> {
  const lines: string[] = [];
  const net = await DevNet.open();
  const log = await openLog({ level: "warn", destination: { write: (line) => lines.push(line) } });
  const server = await RpcServer.open(
    { host: "127.0.0.1", port: 0, cors: [], ...options },
    { backend: net.backend, log, metrics: openMetrics() },
  );
  test.teardown(async () => {
    await server[Symbol.asyncDispose]();
    await net[Symbol.asyncDispose]();
  });
  return { net, server, lines };
}

type Reply = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
};

/** One HTTP exchange, with headers that `fetch` would not let us choose. */
async function exchange(
  port: number,
  options: { method?: string; path?: string; headers?: Record<string, string>; body?: string | Uint8Array },
): Promise<Reply> {
  const { method = "POST", path = "/", headers = { "Content-Type": "application/json" }, body } = options;
  const request = httpRequest({ host: "127.0.0.1", port, method, path, headers });
  request.end(body);
  const [response] = await once(request, "response");
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks).toString() };
}

/** What these tests look at in an answer or a notification. */
type Message = {
  readonly jsonrpc: string;
  readonly id: unknown;
  readonly method?: string;
  readonly params?: { readonly subscription: string; readonly topic: string; readonly event: { readonly height: string } };
  readonly result?: Outcome;
  readonly error?: { readonly code: number; readonly message: string; readonly data: Failure };
};
type Outcome = {
  readonly id: string;
  readonly height: string;
  readonly value: unknown;
  readonly tables: unknown;
  readonly proof: string;
  readonly anchor: { readonly header: string; readonly certificate: string };
  readonly blocks: readonly { readonly height: string }[];
  readonly continueBefore?: string;
  readonly anchors: readonly object[];
  readonly changes: readonly { readonly height: string }[];
  readonly through: string;
};
type Failure = { readonly code: string; readonly retryAfterMs?: number; readonly issues?: readonly { readonly field: string }[] };

/** Posts JSON text that asks for one answer. */
async function post({ server }: Served, text: string | Uint8Array): Promise<Message> {
  return JSON.parse((await exchange(server.port, { body: text })).body);
}

/** Posts JSON text that asks for several. */
async function postBatch({ server }: Served, text: string): Promise<readonly Message[]> {
  return JSON.parse((await exchange(server.port, { body: text })).body);
}

async function call(served: Served, method: string, params: object = {}): Promise<Message> {
  return await post(served, JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }));
}

/** The result of a call that must succeed. */
async function result(served: Served, method: string, params: object = {}): Promise<Outcome> {
  const answer = await call(served, method, params);
  return present(answer.result, `result of ${method}: ${JSON.stringify(answer.error)}`);
}

/** Asks for the head until a claim holds of the answer, which takes as long as the system takes to tell the server of what went before. */
async function headOnce(served: Served, isSo: (answer: Message) => boolean): Promise<Message> {
  for (const endMs = performance.now() + PATIENCE_MS; ;) {
    const answer = await call(served, "chain.head");
    if (isSo(answer) || performance.now() > endMs) return answer;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const ALICE = keyPairAt(100);
const alice = addressOfKey(ALICE.publicKey);

function signed({ net }: Served, nonce: bigint, calls: readonly Call[]): Transaction {
  return signTransaction(
    { chainId: net.network.chainId, sender: alice, nonce, fee: 100_000n, expiry: heightOf(1000n), calls },
    ALICE,
  );
}

const PUT: Call = { kind: "tablePut", namespace: "shop", table: "stock", key: utf8("apple"), value: encodeValue(3) };
const CREATE: Call = { kind: "tableCreate", namespace: "shop", table: "stock" };

t.test("a request is answered with its own id, whatever kind of id it is", async (t) => {
  const served = await serve(t);
  for (const id of [1, 0, -7, 1.5, "x", "", null]) {
    const answer = await post(served, JSON.stringify({ jsonrpc: "2.0", id, method: "chain.head" }));
    t.equal(answer.jsonrpc, "2.0");
    t.equal(answer.id, id);
    t.equal(answer.result?.height, "0");
    t.notOk("error" in answer);
  }
});

t.test("an id that cannot be echoed as it is makes the request invalid", async (t) => {
  const served = await serve(t);
  for (const id of ["9007199254740993", "true", "{}", "[]", JSON.stringify("x".repeat(257))]) {
    const answer = await post(served, `{"jsonrpc":"2.0","method":"chain.head","id":${id}}`);
    t.equal(answer.error?.code, -32600, id.slice(0, 20));
    t.equal(answer.id, null);
  }
});

t.test("a notification gets no answer, not even when it fails", async (t) => {
  const served = await serve(t);
  for (const method of ["chain.head", "no.such", "chain.block"]) {
    const { status, body } = await exchange(served.server.port, {
      body: JSON.stringify({ jsonrpc: "2.0", method, params: { x: 1 } }),
    });
    t.equal(status, 204);
    t.equal(body, "");
  }
  const { status } = await exchange(served.server.port, { body: JSON.stringify([{ jsonrpc: "2.0", method: "chain.head" }]) });
  t.equal(status, 204, "a batch of notifications as well");
});

// JSON-RPC 2.0, section 7: the examples of the specification.
t.test("errors have the codes of the specification", async (t) => {
  const served = await serve(t);
  const code = async (text: string | Uint8Array): Promise<[number | undefined, unknown]> => {
    const answer = await post(served, text);
    return [answer.error?.code, answer.id];
  };
  t.same(await code('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]'), [-32700, null], "invalid JSON");
  t.same(await code(Uint8Array.of(0x22, 0xff, 0x22)), [-32700, null], "not UTF-8");
  t.same(await code(""), [-32700, null], "nothing");
  t.same(await code('{"jsonrpc": "2.0", "method": 1, "params": "bar"}'), [-32600, null], "invalid request");
  t.same(await code('{"jsonrpc": "2.0", "method": 1, "id": 5}'), [-32600, 5], "invalid request whose id can be read");
  t.same(await code('{"jsonrpc": "1.0", "method": "chain.head", "id": 1}'), [-32600, 1], "another version");
  t.same(await code('{"method": "chain.head", "id": 1}'), [-32600, 1], "no version");
  t.same(
    await code('{"jsonrpc": "2.0", "method": "chain.head", "id": 1, "params": null}'),
    [-32600, 1],
    "params that are no structure",
  );
  t.same(await code('{"jsonrpc": "2.0", "method": "chain.head", "id": 1, "params": "x"}'), [-32600, 1]);
  t.same(await code('{"jsonrpc": "2.0", "method": "foobar", "id": "1"}'), [-32601, "1"], "unknown method");
  t.same(await code('{"jsonrpc": "2.0", "method": "toString", "id": "1"}'), [-32601, "1"], "not a method of an object");
  t.same(
    await code('{"jsonrpc": "2.0", "method": "chain.header", "id": 1, "params": {"height": 1}}'),
    [-32602, 1],
    "a number where a string stands",
  );
  t.same(await code("3"), [-32600, null]);
  t.same(await code("null"), [-32600, null]);
});

t.test("a batch is answered in order without its notifications; an empty one is an invalid request", async (t) => {
  const served = await serve(t);
  t.equal((await post(served, "[]")).error?.code, -32600);
  const three = await postBatch(served, "[1,2,3]");
  t.same(
    three.map((answer) => [answer.error?.code, answer.id]),
    [
      [-32600, null],
      [-32600, null],
      [-32600, null],
    ],
  );
  const mixed = await postBatch(
    served,
    JSON.stringify([
      { jsonrpc: "2.0", method: "chain.head", id: "1" },
      { jsonrpc: "2.0", method: "chain.head" },
      { foo: "boo" },
      { jsonrpc: "2.0", method: "foo.get", params: { name: "myself" }, id: "5" },
      { jsonrpc: "2.0", method: "node.status", id: "9" },
    ]),
  );
  t.same(
    mixed.map((answer) => [answer.id, answer.error?.code]),
    [
      ["1", undefined],
      [null, -32600],
      ["5", -32601],
      ["9", undefined],
    ],
  );
});

t.test("parameters are taken by name or by position, and unknown, missing or surplus ones are named", async (t) => {
  const served = await serve(t);
  await served.net.commit();
  const byPosition = await post(served, '{"jsonrpc":"2.0","id":1,"method":"chain.header","params":["1"]}');
  t.same(byPosition.result, (await call(served, "chain.header", { height: "1" })).result);
  const issues = async (method: string, params: object): Promise<unknown> =>
    (await call(served, method, params)).error?.data.issues?.map(({ field }) => field);
  t.same(await issues("chain.header", { hight: "1" }), ["hight"]);
  t.same(await issues("account.get", {}), ["address"]);
  t.same(await issues("chain.header", ["1", "2"]), ["1"]);
  t.same(await issues("chain.header", { height: "01" }), ["height"], "one spelling a number");
  t.same(await issues("chain.header", { height: "9223372036854775808" }), ["height"], "one past the last height");
  t.same(await issues("transaction.status", { id: "AB".repeat(32) }), ["id"], "hex is lower-case");
  for (const wrong of [`${"ab".repeat(300)}aB`, `${"ab".repeat(300)}ag`, `${"ab".repeat(300)}a`])
    t.same(await issues("transaction.submit", { transaction: wrong }), ["transaction"], "however long it is");
  t.same(await issues("account.get", { address: formatAddress(alice).toUpperCase() }), ["address"], "one spelling an address");
  t.equal((await call(served, "account.get", JSON.parse('{"__proto__": {"address": "x"}}'))).error?.code, -32602);
});

t.test("what a method refuses has a code and the field at fault; a fault of ours leaks nothing", async (t) => {
  const served = await serve(t);
  const early = await call(served, "account.get", { address: formatAddress(alice) });
  t.match(early.error, { code: -32000, message: RPC_CODES.height_none, data: { code: "height_none" } });
  await served.net.commit();
  t.match((await call(served, "chain.header", { height: "2" })).error?.data, { code: "height_future", field: "height" });
  t.match((await call(served, "transaction.submit", { transaction: "00" })).error?.data, {
    code: /^encoding_/,
    field: "transaction",
  });
  t.match((await call(served, "transaction.proof", { id: "00".repeat(32) })).error?.data, { code: "transaction_unknown" });
  await served.net.ledger[Symbol.asyncDispose]();
  const broken = await call(served, "chain.block", {});
  t.same(broken.error, { code: -32603, message: RPC_CODES.internal, data: { code: "internal" } });
  t.match(served.lines.join(""), /rpc method failed/, "the operator finds the cause in the log");
});

t.test("a transaction goes in, waits, and is told apart from one that was refused", async (t) => {
  const served = await serve(t);
  await served.net.commit();
  const good = signed(served, 0n, [CREATE, PUT]);
  const submitted = await result(served, "transaction.submit", { transaction: toHex(good.bytes) });
  t.same(submitted, { id: toHex(good.id) });
  t.same((await call(served, "transaction.status", submitted)).result, { kind: "pending" });
  const waiting = call(served, "transaction.wait", { id: submitted.id, timeoutMs: 60_000 });
  await served.net.commit();
  t.same((await waiting).result, {
    kind: "final",
    height: "2",
    index: 0,
    result: { kind: "applied" },
    finality: { kind: "final" },
  });
  const again = await call(served, "transaction.submit", { transaction: toHex(good.bytes) });
  t.match(again.error, { code: -32000, data: { code: "nonce_used", field: "nonce" } });
  t.ok((again.error?.message.length ?? 0) > 10, "says what the chain's code means");
  t.same(
    (await call(served, "transaction.wait", { id: "00".repeat(32), timeoutMs: 10 })).result,
    { kind: "unknown" },
    "waiting ends",
  );
});

t.test("a wait whose transaction cannot be read any more is refused, and the node goes on", async (t) => {
  const net = await DevNet.open();
  const log = await openLog({ level: "silent", destination: "stderr" });
  let asked = 0;
  const transactionStatus: DevNet["backend"]["transactionStatus"] = (id) => {
    asked += 1;
    if (asked > 1) throw new CodedError("store_damaged", { place: "results 7" });
    return net.backend.transactionStatus(id);
  };
  const backend = { ...net.backend, transactionStatus };
  const server = await RpcServer.open({ host: "127.0.0.1", port: 0, cors: [] }, { backend, log });
  t.teardown(async () => {
    await server[Symbol.asyncDispose]();
    await net[Symbol.asyncDispose]();
  });
  for (const timeoutMs of [60_000, 10]) {
    asked = 0;
    const params = { id: "00".repeat(32), timeoutMs };
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "transaction.wait", params });
    t.match(JSON.parse((await exchange(server.port, { body })).body).error?.data, { code: "store_damaged" });
  }
});

t.test("every read answers at a height with its proof, and with header and certificate unless told not to", async (t) => {
  const served = await serve(t);
  await served.net.commit([
    signed(served, 0n, [CREATE, PUT, { kind: "logAppend", stream: "orders", partition: 0, records: [utf8("one"), utf8("two")] }]),
  ]);
  const reads: readonly [string, object][] = [
    ["account.get", { address: formatAddress(alice) }],
    ["table.get", { namespace: "shop", table: "stock" }],
    ["table.list", { namespace: "shop" }],
    ["table.row", { namespace: "shop", table: "stock", key: toHex(utf8("apple")) }],
    ["table.range", { namespace: "shop", table: "stock" }],
    ["stream.head", { stream: "orders", partition: 0 }],
    ["stream.records", { stream: "orders", partition: 0, from: "0" }],
    ["state.prove", { from: "" }],
  ];
  for (const [method, params] of reads) {
    const answer = await result(served, method, params);
    t.equal(answer.height, "1", method);
    t.ok(answer.proof.length > 0 && answer.anchor.header.length > 0 && answer.anchor.certificate.length > 0, method);
    t.notOk("anchor" in (await result(served, method, { ...params, anchor: false })), method);
  }
  t.same((await result(served, "table.list", { namespace: "shop" })).tables, [{ table: "stock", owner: formatAddress(alice) }]);
  t.equal((await result(served, "table.row", { namespace: "shop", table: "stock", key: "00" })).value, null);
  const blocks = await result(served, "chain.blocks");
  t.match(blocks.blocks, [{ height: "1", transactionsCount: 1 }]);
  t.notOk("continueBefore" in blocks);
});

t.test("blocks are listed newest first, page by page, to the beginning", async (t) => {
  const served = await serve(t, { limits: { blocksMax: 3 } });
  await served.net.commitUntil(8n);
  const heights: string[] = [];
  for (let before: string | undefined; ;) {
    const page: Outcome = await result(served, "chain.blocks", before === undefined ? {} : { before });
    heights.push(...page.blocks.map((block) => block.height));
    before = page.continueBefore;
    if (before === undefined) break;
  }
  t.same(heights, ["8", "7", "6", "5", "4", "3", "2", "1"]);
});

t.test("pages of headers, blocks and changes are cut short in bytes as well, and lead on to the end", async (t) => {
  const served = await serve(t, { limits: { rangeBytesMax: 3_000, answerSizeBytesMax: 15_000 } });
  for (let nonce = 0n; nonce < 5n; nonce += 1n) {
    const key = keyPairAt(2 + Number(nonce)).publicKey;
    await served.net.commit([signed(served, nonce, [{ kind: "validatorSet", key, power: 1n }])]);
  }
  await served.net.commitUntil(20n);
  const headers: number[] = [];
  for (let from = 1; from <= 20; from += headers.at(-1) ?? 0)
    headers.push((await result(served, "chain.headers", { from: `${from}` })).anchors.length);
  t.equal(
    headers.reduce((sum, count) => sum + count, 0),
    20,
  );
  const blocks: number[] = [];
  for (let before: string | undefined; blocks.length === 0 || before !== undefined;) {
    const page = await result(served, "chain.blocks", { limit: 100, ...(before === undefined ? {} : { before }) });
    blocks.push(page.blocks.length);
    before = page.continueBefore;
  }
  t.equal(
    blocks.reduce((sum, count) => sum + count, 0),
    20,
  );
  const changes: string[] = [];
  for (let through = 0; through < 20;) {
    const page = await result(served, "validators.changes", { from: `${through + 1}` });
    changes.push(...page.changes.map(({ height }) => height));
    through = Number(page.through);
  }
  t.same(changes, ["2", "3", "4", "5", "6"]);
});

type Document = {
  readonly openrpc: string;
  readonly methods: readonly {
    readonly name: string;
    readonly summary: string;
    readonly params: readonly Param[];
    readonly result: { readonly schema: object };
  }[];
};
t.test("the OpenRPC document is made once, however often it is asked for", async (t) => {
  const { net } = await serve(t);
  const discover = present(
    METHODS.find(({ name }) => name === "rpc.discover"),
    "rpc.discover",
  );
  const context = { backend: net.backend, limits: limitsWith(), signal: AbortSignal.timeout(5_000), subscriptions: undefined };
  const documents = [await discover.handle({} as never, context), await discover.handle({} as never, context)];
  const [first, second] = documents.map((made) => (made.ok ? made.value : made.error));
  t.equal(first, second);
});

type Param = { readonly name: string; readonly required: boolean; readonly schema: object };

t.test("the OpenRPC document describes exactly the methods that are served", async (t) => {
  const served = await serve(t);
  const document: Document = JSON.parse(
    (await exchange(served.server.port, { method: "GET", path: "/openrpc.json", headers: {} })).body,
  );
  t.same((await call(served, "rpc.discover")).result, document);
  t.equal(document.openrpc, "1.3.2");
  t.same(
    document.methods.map((described) => described.name),
    METHODS.map(({ name }) => name),
  );
  t.equal(new Set(METHODS.map(({ name }) => name)).size, METHODS.length, "names are distinct");
  for (const [index, declared] of METHODS.entries()) {
    const described = present(document.methods[index], declared.name);
    t.same(
      described.params.map((param) => param.name),
      Object.keys(declared.params.shape),
      declared.name,
    );
    t.ok(described.summary.length > 10 && described.result.schema !== undefined, declared.name);
    for (const param of described.params) {
      t.equal(
        param.required,
        !present(declared.params.shape[param.name], param.name).safeParse(undefined).success,
        `${declared.name} ${param.name}`,
      );
      t.ok(Object.keys(param.schema).length > 0, `${declared.name} ${param.name} has a schema`);
    }
    const answer = await call(served, declared.name, { zzz: 1 });
    t.equal(answer.error?.code, -32602, `${declared.name} is served, and refuses an unknown parameter`);
  }
});

t.test("GET tells what this is, whether it follows, and nothing it was not asked to tell", async (t) => {
  const { server, net } = await serve(t, { serveMetrics: true });
  const get = (path: string, method = "GET"): Promise<Reply> => exchange(server.port, { method, path, headers: {} });
  t.match((await get("/")).body, /Pyralog node/);
  t.match(await get("/health"), { status: 200, body: '{"status":"following","height":"0"}' });
  net.syncing = true;
  t.match(await get("/health"), { status: 503, body: '{"status":"syncing","height":"0"}' });
  await exchange(server.port, { body: '{"jsonrpc":"2.0","id":1,"method":"chain.head"}' });
  t.match((await get("/metrics")).body, /rpc_requests_total\{method="chain.head",outcome="result"\} 1/);
  t.equal((await get("/nothing")).status, 404);
  t.equal((await get("/", "DELETE")).status, 405);
  t.equal((await get("/", "HEAD")).body, "");
  const quiet = await serve(t);
  t.equal((await exchange(quiet.server.port, { method: "GET", path: "/metrics", headers: {} })).status, 404);
});

t.test("a web page may call from an allowed origin only, and a foreign host name does not reach a loopback node", async (t) => {
  const { server } = await serve(t, { cors: ["https://app.example"] });
  const body = '{"jsonrpc":"2.0","id":1,"method":"chain.head"}';
  const json = { "Content-Type": "application/json" };
  const allowed = await exchange(server.port, { body, headers: { ...json, Origin: "https://app.example" } });
  t.equal(allowed.status, 200);
  t.equal(allowed.headers["access-control-allow-origin"], "https://app.example");
  t.equal((await exchange(server.port, { body, headers: { ...json, Origin: "https://evil.example" } })).status, 403);
  t.equal((await exchange(server.port, { body, headers: { ...json, Host: "evil.example" } })).status, 403);
  t.equal((await exchange(server.port, { body, headers: { ...json, Host: `localhost:${server.port}` } })).status, 200);
  t.equal(
    (await exchange(server.port, { body, headers: { "Content-Type": "text/plain" } })).status,
    415,
    "a form cannot post to us",
  );
  const preflight = await exchange(server.port, { method: "OPTIONS", headers: { Origin: "https://app.example" } });
  t.equal(preflight.status, 204);
  t.equal(preflight.headers["access-control-allow-headers"], "Content-Type");
  const open = await serve(t, { cors: ["*"] });
  t.equal(
    (await exchange(open.server.port, { body, headers: { ...json, Origin: "https://any.example" } })).headers[
      "access-control-allow-origin"
    ],
    "*",
  );
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}/`, { origin: "https://evil.example" });
  const [error] = await once(socket, "error");
  t.match(error.message, /403/, "WebSocket too");
});

t.test("the node's own page may call where no name can point elsewhere: at a number or localhost", async (t) => {
  const { server } = await serve(t);
  const body = '{"jsonrpc":"2.0","id":1,"method":"chain.head"}';
  const from = async (host: string, origin: string): Promise<number> =>
    (await exchange(server.port, { body, headers: { "Content-Type": "application/json", Host: host, Origin: origin } })).status;
  const port = server.port;
  t.equal(await from(`127.0.0.1:${port}`, `http://127.0.0.1:${port}`), 200);
  t.equal(await from(`localhost:${port}`, `http://localhost:${port}`), 200);
  t.equal(await from(`127.0.0.1:${port}`, `http://127.0.0.1:${port + 1}`), 403, "another server of this machine");
  t.equal(await from(`127.0.0.1:${port}`, `http://localhost:${port}`), 403);
  t.equal(await from(`127.0.0.1:${port}`, "null"), 403);
  const open = await serve(t, { host: "0.0.0.0" });
  const named = { "Content-Type": "application/json", Host: "rebound.example", Origin: "http://rebound.example" };
  t.equal((await exchange(open.server.port, { body, headers: named })).status, 403, "a name that a stranger pointed at us");
});

t.test("the explorer is served from its directory once it is built, and says so before", async (t) => {
  const explorerPath = t.testdir({ "notes.txt.bak": "not part of it" });
  const { server } = await serve(t, { explorerPath });
  const get = async (path: string, headers: Record<string, string> = {}): Promise<Reply> =>
    await exchange(server.port, { method: "GET", path, headers });
  t.match(await get("/explorer/"), { status: 503, body: /npm run explorer/ });
  await mkdir(join(explorerPath, "assets"));
  await writeFile(join(explorerPath, "assets", "main-AB12.js"), "run();");
  await writeFile(join(explorerPath, "assets", "main-AB12.js.gz"), gzipSync("run();"));
  await writeFile(join(explorerPath, "index.html"), "<!doctype html>");
  const page = await get("/explorer/?rpc=http://127.0.0.1:1/");
  t.match(page, { status: 200, body: "<!doctype html>" });
  t.match(page.headers, {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-cache",
    "x-content-type-options": "nosniff",
    "content-security-policy": /default-src 'none'; script-src 'self' 'wasm-unsafe-eval';.*frame-ancestors 'none'/,
  });
  t.equal((await get("/explorer/", { "If-None-Match": String(page.headers["etag"]) })).status, 304);
  const script = await get("/explorer/assets/main-AB12.js");
  t.match(script, { status: 200, body: "run();" });
  t.match(script.headers["cache-control"], /immutable/);
  t.equal((await get("/explorer/assets/main-AB12.js", { "Accept-Encoding": "br, gzip" })).headers["content-encoding"], "gzip");
  t.notOk((await get("/explorer/assets/main-AB12.js", { "Accept-Encoding": "gzip;q=0" })).headers["content-encoding"]);
  t.match((await get("/explorer")).headers, { location: "/explorer/" });
  for (const path of [
    "/explorer/../server.ts",
    "/explorer/assets/",
    "/explorer/%2e%2e/x",
    "/explorer/notes.txt.bak",
    "/explorers",
  ])
    t.equal((await get(path)).status, 404, path);
  t.equal((await get("/explorer/", {})).status, 200);
  const quiet = await serve(t);
  t.equal((await exchange(quiet.server.port, { method: "GET", path: "/explorer/", headers: {} })).status, 404, "not served");
});

t.test("a directory that holds more than the page is not served, and the log says why", async (t) => {
  const explorerPath = t.testdir({ "index.html": "x", assets: { "large.js": "x".repeat(8 * 1024 * 1024) } });
  const { server, lines } = await serve(t, { explorerPath });
  t.equal((await exchange(server.port, { method: "GET", path: "/explorer/", headers: {} })).status, 503);
  t.match(lines.join(""), /page_too_large/);
});

t.test("a block is found by its hash, among the newest, and the round being decided is told", async (t) => {
  const served = await serve(t);
  t.match((await call(served, "chain.find", { hash: "00".repeat(32) })).error?.data, { code: "height_none" });
  await served.net.commitUntil(3n);
  const block = present(served.net.ledger.block(heightOf(2n)), "block");
  t.match(await result(served, "chain.find", { hash: toHex(block.hash) }), { height: "2" });
  t.match(await result(served, "chain.find", { hash: "00".repeat(32) }), { height: null, oldest: "1" });
  const short = await serve(t, { limits: { scanHeadersMax: 1 } });
  await short.net.commitUntil(3n);
  t.match(await result(short, "chain.find", { hash: toHex(block.hash) }), { height: null, oldest: "3" }, "not that far back");
  t.match(await result(served, "consensus.status"), { engine: "tendermint", height: "4", round: null, step: null, stalledMs: 0 });
});

t.test("what is over a limit is refused with the code of that limit", async (t) => {
  const limits: Partial<Limits> = { requestSizeBytesMax: 2000, batchMax: 3, depthMax: 5, answerSizeBytesMax: 3000 };
  const served = await serve(t, { limits });
  const head = { jsonrpc: "2.0", id: 1, method: "chain.head" };
  t.equal((await postBatch(served, JSON.stringify([head, head, head]))).length, 3);
  t.match((await post(served, JSON.stringify([head, head, head, head]))).error, { code: -32600, data: { code: "batch_size" } });
  t.match((await post(served, JSON.stringify({ ...head, params: { a: [[[1]]] } }))).error?.code, -32602, "five deep");
  t.match((await post(served, JSON.stringify({ ...head, params: { a: [[[[1]]]] } }))).error, {
    code: -32700,
    data: { code: "json_depth" },
  });
  const large = await exchange(served.server.port, { body: JSON.stringify({ ...head, params: { a: "x".repeat(2000) } }) });
  t.equal(large.status, 413);
  t.match(JSON.parse(large.body).error?.data, { code: "request_size" });
  const chunked = await exchange(served.server.port, {
    body: "x".repeat(3000),
    headers: { "Content-Type": "application/json", "Transfer-Encoding": "chunked" },
  });
  t.equal(chunked.status, 413, "also when the length is not announced");
  t.match((await call(served, "rpc.discover")).error, { code: -32000, data: { code: "answer_size" } });
});

t.test("each address may ask so often, and a batch counts each of its requests", async (t) => {
  // So few a second that none comes back while the test runs.
  const served = await serve(t, { limits: { requestsPerSecondMax: 0.001, requestsBurstMax: 5 } });
  const head = { jsonrpc: "2.0", id: 1, method: "chain.head" };
  const answers = await postBatch(served, JSON.stringify(Array.from({ length: 7 }, () => head)));
  t.same(
    answers.map((answer) => answer.error?.data.code),
    [undefined, undefined, undefined, undefined, undefined, "rate_limited", "rate_limited"],
  );
  t.equal(answers[6]?.error?.data.retryAfterMs, 1_000_000);
  t.equal((await call(served, "chain.head")).error?.data.code, "rate_limited", "on a new connection of the same address too");
});

/** A WebSocket client that keeps what it hears. */
class Ear {
  readonly socket: WebSocket;
  readonly heard: Message[] = [];
  readonly #waiting: (() => void)[] = [];

  constructor(port: number) {
    this.socket = new WebSocket(`ws://127.0.0.1:${port}/`);
    this.socket.on("message", (data: Buffer) => {
      this.heard.push(JSON.parse(data.toString("utf8")));
      for (const wake of this.#waiting.splice(0)) wake();
    });
    this.socket.on("error", () => undefined);
  }

  async open(): Promise<this> {
    await once(this.socket, "open");
    return this;
  }

  say(message: unknown): void {
    this.socket.send(typeof message === "string" ? message : JSON.stringify(message));
  }

  /** The first message that `is` accepts, waiting for it. */
  async hear(is: (message: Message) => boolean): Promise<Message> {
    for (;;) {
      const found = this.heard.find(is);
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async ask(id: number, method: string, params: object = {}): Promise<Message> {
    this.say({ jsonrpc: "2.0", id, method, params });
    return await this.hear((message) => message.id === id);
  }
}

t.test("a WebSocket speaks the same protocol, and delivers what was subscribed to after the answer", async (t) => {
  const { server, net, ...rest } = await serve(t);
  const served = { server, net, ...rest };
  await net.commit();
  const ear = await new Ear(server.port).open();
  t.teardown(() => ear.socket.terminate());
  ear.say("[]");
  t.equal((await ear.hear((message) => message.error !== undefined)).error?.code, -32600);
  const blocks = (await ear.ask(1, "subscribe", { topic: { kind: "blocks" } })).result;
  t.same(blocks, { subscription: "1", height: "1" });
  await ear.ask(2, "subscribe", { topic: { kind: "transactions", sender: formatAddress(alice) } });
  await ear.ask(3, "subscribe", {
    topic: { kind: "transactions", sender: formatAddress(addressOfKey(keyPairAt(101).publicKey)) },
  });
  await ear.ask(4, "subscribe", { topic: { kind: "keys", namespace: "shop", table: "stock" } });
  await ear.ask(5, "subscribe", { topic: { kind: "keys", namespace: "shop", table: "stoc" } });
  const transaction = signed(served, 0n, [CREATE, PUT]);
  await net.commit([transaction]);
  await ear.hear((message) => message.params?.topic === "keys");
  await ear.ask(6, "unsubscribe", { subscription: "1" });
  await net.commit();
  await ear.ask(7, "chain.head");
  const events = ear.heard.filter((message) => message.method === "subscription").map(({ params }) => params);
  t.match(events, [
    { subscription: "1", topic: "blocks", event: { height: "2", transactionsCount: 1 } },
    {
      subscription: "2",
      topic: "transactions",
      event: { height: "2", index: 0, id: toHex(transaction.id), result: { kind: "applied" } },
    },
    { subscription: "4", topic: "keys", event: { height: "2", keys: [toHex(utf8("apple"))], more: false } },
  ]);
  t.equal(events.length, 3, "nothing for the other sender, the other table, or after unsubscribing");
  t.match((await ear.ask(8, "unsubscribe", { subscription: "1" })).error?.data, { code: "subscription_unknown" });
  t.match(
    (await call(served, "subscribe", { topic: { kind: "blocks" } })).error?.data,
    { code: "subscription_transport" },
    "not over HTTP",
  );
});

t.test("subscriptions and unanswered requests of a connection are bounded", async (t) => {
  const served = await serve(t, { limits: { subscriptionsMax: 2, inFlightMax: 2 } });
  const { server, net } = served;
  const ear = await new Ear(server.port).open();
  t.teardown(() => ear.socket.terminate());
  for (const id of [1, 2]) t.ok((await ear.ask(id, "subscribe", { topic: { kind: "blocks" } })).result);
  t.match((await ear.ask(3, "subscribe", { topic: { kind: "blocks" } })).error?.data, { code: "subscription_limit" });
  const transaction = signed(served, 0n, [CREATE]);
  const params = { id: toHex(transaction.id), timeoutMs: 60_000 };
  for (const id of [4, 5]) ear.say({ jsonrpc: "2.0", id, method: "transaction.wait", params });
  t.match((await ear.ask(6, "chain.head")).error?.data, { code: "in_flight" });
  await net.commit([transaction]);
  await ear.hear((message) => message.id === 5);
  t.ok((await ear.ask(7, "chain.head")).result, "and free again once answered");
});

t.test(
  "binary frames, frames that are too large and broken JSON on a WebSocket are answered or closed with a reason",
  async (t) => {
    const { server } = await serve(t, { limits: { requestSizeBytesMax: 1000 } });
    const closeCode = async (frame: string | Uint8Array): Promise<number> => {
      const ear = await new Ear(server.port).open();
      ear.socket.send(frame);
      const [code] = await once(ear.socket, "close");
      return code;
    };
    t.equal(await closeCode(Uint8Array.of(1, 2, 3)), 1003);
    t.equal(await closeCode("x".repeat(1001)), 1009);
    const ear = await new Ear(server.port).open();
    t.teardown(() => ear.socket.terminate());
    ear.say("{");
    t.equal((await ear.hear(() => true)).error?.code, -32700);
  },
);

t.test("a subscriber that does not read is dropped with a code, and the others are served", async (t) => {
  const limits = { bufferedBytesMax: 50_000, subscriptionsMax: 1_000, closeGraceMs: 120_000, pingIntervalMs: 600_000 };
  const { server, net } = await serve(t, { limits });
  const slow = await new Ear(server.port).open();
  const quick = await new Ear(server.port).open();
  t.teardown(() => quick.socket.terminate());
  for (let id = 1; id <= 600; id += 1) await slow.ask(id, "subscribe", { topic: { kind: "blocks" } });
  await quick.ask(1, "subscribe", { topic: { kind: "blocks" } });
  slow.socket.pause();
  const closed = once(slow.socket, "close");
  // A hundred megabytes and more: the kernels' buffers of both sides fill up, however large they grow, and then ours.
  await net.commitUntil(300n);
  await quick.hear((message) => message.params?.event.height === "300");
  slow.socket.resume();
  const [code, reason] = await closed;
  t.same([code, String(reason)], [4008, "slow_subscriber"], "once it reads again, it learns why");
  t.equal(quick.heard.filter((message) => message.method === "subscription").length, 300);
});

t.test("events that wait for the answers before them are bounded as those that wait to be read", async (t) => {
  const { server, net } = await serve(t, { limits: { bufferedBytesMax: 50_000 } });
  const ear = await new Ear(server.port).open();
  t.teardown(() => ear.socket.terminate());
  const request = { jsonrpc: "2.0", method: "subscribe", params: { topic: { kind: "blocks" } } };
  const wait = { jsonrpc: "2.0", id: 9, method: "transaction.wait", params: { id: "00".repeat(32), timeoutMs: 60_000 } };
  let isOpen = true;
  const closed = once(ear.socket, "close").finally(() => (isOpen = false));
  // No event may come before the answer, and no part of a batch is answered before the rest.
  ear.say([{ ...request, id: 1 }, wait]);
  // Blocks from before it was subscribed to are no events.
  while (isOpen && net.ledger.head().height < 1_000n) {
    await net.commit();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const timeout = AbortSignal.timeout(PATIENCE_MS);
  const [code, reason] = await Promise.race([closed, once(timeout, "abort").then(() => [0, "never closed"])]);
  t.same([code, String(reason)], [4008, "slow_subscriber"]);
});

t.test("answers that nobody reads are bounded for all connections together, and others are told so", async (t) => {
  const served = await serve(t, { limits: { pendingBytesMax: 3_000_000 } });
  const socket = connect(served.server.port, "127.0.0.1");
  t.teardown(() => socket.destroy());
  socket.pause();
  const batch = JSON.stringify(Array.from({ length: 100 }, (_, id) => ({ jsonrpc: "2.0", id, method: "rpc.discover" })));
  const request = `POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${batch.length}\r\n\r\n${batch}`;
  // One answer is larger than the bound. The kernels' buffers take the first ones (how many is theirs to say), and then one stays.
  let code: string | undefined;
  for (let tries = 0; tries < 50 && code !== "busy"; tries += 1) {
    socket.write(request);
    await new Promise((resolve) => setTimeout(resolve, 100));
    code = (await call(served, "chain.head")).error?.data.code;
  }
  t.equal(code, "busy");
  socket.destroy();
  t.ok((await headOnce(served, (answer) => answer.result !== undefined)).result, "free again when the slow reader is gone");
});

t.test("requests that wait for their answers are bounded in bytes for all connections together", async (t) => {
  const served = await serve(t, { limits: { pendingBytesMax: 1_000_000 } });
  const ear = await new Ear(served.server.port).open();
  t.teardown(() => ear.socket.terminate());
  const wait = { jsonrpc: "2.0", id: 1, method: "transaction.wait", params: { id: "00".repeat(32), timeoutMs: 60_000 } };
  // The rest of a batch is kept for as long as its first request is not answered.
  for (let count = 0; count < 10; count += 1) ear.say([wait, { ...wait, params: { id: "x".repeat(150_000) } }]);
  const isBusy = (message: Message): boolean => JSON.stringify(message).includes('"busy"');
  await Promise.race([ear.hear(isBusy), once(AbortSignal.timeout(PATIENCE_MS), "abort")]);
  t.ok(ear.heard.some(isBusy), "what comes on top is refused at once");
  ear.socket.terminate();
  t.ok((await headOnce(served, (answer) => answer.result !== undefined)).result, "free again when the one that waits is gone");
});

t.test("connections beyond the limit are refused, and places become free again", async (t) => {
  const { server } = await serve(t, { limits: { connectionsPerAddressMax: 2 } });
  const open = await Promise.all([new Ear(server.port).open(), new Ear(server.port).open()]);
  const refused = connect(server.port, "127.0.0.1");
  refused.on("error", () => undefined);
  await once(refused, "close");
  present(open[0], "first").socket.terminate();
  // The server hears of it in its own time, and refuses the next one until then.
  const tryToOpen = async (): Promise<Ear | undefined> => await new Ear(server.port).open().catch(() => undefined);
  let last = await tryToOpen();
  for (const endMs = performance.now() + PATIENCE_MS; last === undefined && performance.now() < endMs;) last = await tryToOpen();
  const again = present(last, "a place");
  t.equal(again.socket.readyState, WebSocket.OPEN);
  for (const ear of [...open, again]) ear.socket.terminate();
});

t.test("closing tells every connection, ends what waits and leaves no listener behind", async (t) => {
  const net = await DevNet.open();
  const log = await openLog({ level: "silent", destination: "stderr" });
  const server = await RpcServer.open({ host: "127.0.0.1", port: 0, cors: [] }, { backend: net.backend, log });
  const ear = await new Ear(server.port).open();
  const { port } = server;
  ear.say({ jsonrpc: "2.0", id: 1, method: "transaction.wait", params: { id: "00".repeat(32), timeoutMs: 60_000 } });
  // Messages of one connection are begun in their order.
  await ear.ask(2, "chain.head");
  const startedAt = performance.now();
  const closed = once(ear.socket, "close");
  await server[Symbol.asyncDispose]();
  const [code] = await closed;
  t.equal(code, 1001);
  t.ok(performance.now() - startedAt < 30_000, "does not wait for the minute to pass");
  await t.rejects(exchange(port, { method: "GET", headers: {} }));
  await t.rejects(RpcServer.open({ host: "203.0.113.1", port: 1, cors: [] }, { backend: net.backend, log }), {
    code: "rpc_listen",
  });
  await net[Symbol.asyncDispose]();
});

t.test("any bytes at all get an answer of the right shape, or none", async (t) => {
  const limits = limitsWith({ depthMax: 8, batchMax: 4 });
  const dispatch = async (): Promise<{ result: unknown }> => ({ result: 1 });
  const request = fc.record(
    {
      jsonrpc: fc.constantFrom<unknown>("2.0", "1.0", 2),
      method: fc.oneof(fc.string(), fc.jsonValue()),
      params: fc.jsonValue(),
      id: fc.oneof(fc.jsonValue(), fc.double()),
    },
    { requiredKeys: [] },
  );
  const message = fc.oneof(
    fc.json(),
    fc.string(),
    request.map((value) => JSON.stringify(value)),
    fc.array(request, { maxLength: 6 }).map((value) => JSON.stringify(value)),
  );
  const seed = Number(process.env["SEED"] ?? 20_260_101);
  await fc.assert(
    fc.asyncProperty(message, async (text) => {
      const answer = await answerMessage(utf8(text.toWellFormed()), { limits, dispatch, hold: () => undefined });
      if (answer === undefined) return;
      const parsed = JSON.parse(answer);
      for (const one of Array.isArray(parsed) ? parsed : [parsed]) {
        if (one.jsonrpc !== "2.0" || !("id" in one) || "result" in one === "error" in one) throw new Error(answer);
      }
    }),
    { seed, numRuns: 1000 },
  );
  t.pass(`seed ${seed}`);
});

t.test(
  "neighbours of a batch that may run together do, no more than there is room for, and are answered in their order",
  async (t) => {
    const limits = limitsWith();
    let [running, most] = [0, 0];
    const mosts: Record<string, number> = {};
    const dispatch = async ({ method, params }: { method: string; params?: unknown }): Promise<{ result: unknown }> => {
      running += 1;
      most = Math.max(most, running);
      mosts[method] = Math.max(mosts[method] ?? 0, running);
      // Those asked first are done last.
      await new Promise((resolve) => setTimeout(resolve, 20 - Number((params as { n: number }).n)));
      running -= 1;
      return { result: params };
    };
    const ask = (method: string, n: number): object => ({ jsonrpc: "2.0", id: n, method, params: { n } });
    const asked = [
      ask("alone", 0),
      ask("alone", 1),
      ...[2, 3, 4, 5, 6].map((n) => ask("together", n)),
      { jsonrpc: "2.0", method: "together", params: { n: 7 } },
      { jsonrpc: "1.0", id: 8 },
      ask("together", 9),
      ask("alone", 10),
    ];
    const together = (method: string): number => (method === "together" ? 4 : 1);
    const text = await answerMessage(utf8(JSON.stringify(asked)), { limits, dispatch, hold: () => undefined, together });
    const answers = JSON.parse(present(text, "answers"));
    t.same(
      answers.map(({ id, result }: { id: number; result?: { n: number } }) => [id, result?.n]),
      [0, 1, 2, 3, 4, 5, 6, undefined, 9, 10].map((n, index) => (index === 7 ? [8, undefined] : [n, n])),
      "a notification has no answer, and a request that is none has its error in its place",
    );
    t.same(mosts, { alone: 1, together: 4 });
  },
);

t.test("batches of submissions at once over one connection are all answered: none takes the room of another", async (t) => {
  const { server } = await serve(t);
  const ear = await new Ear(server.port).open();
  t.teardown(() => ear.socket.terminate());
  const heard: Message[] = [];
  const params = { transaction: "00" };
  for (const from of [0, 100, 200, 300])
    ear.say(
      Array.from({ length: 100 }, (_, index) => ({ jsonrpc: "2.0", id: from + index, method: "transaction.submit", params })),
    );
  for (let count = 0; count < 4; count += 1)
    heard.push(...((await ear.hear((message) => Array.isArray(message) && !heard.includes(message[0]))) as unknown as Message[]));
  t.same(
    heard.map(({ id }) => Number(id)).toSorted((a, b) => a - b),
    Array.from({ length: 400 }, (_, id) => id),
  );
  t.same(
    new Set(heard.map(({ error }) => error?.data.code)),
    new Set(["encoding_type"]),
    "each is judged, and none refused as one too many",
  );
});

t.test("the depth of JSON is counted outside of strings only", (t) => {
  t.equal(jsonDepth('{"a":["[[[[\\"]]",{}]}'), 3);
  t.equal(jsonDepth('"[[["'), 0);
  t.equal(jsonDepth("[".repeat(100_000)), 100_000, "without recursion");
  t.end();
});

t.test("a request's own members count, not those of its prototype", (t) => {
  const limits = limitsWith();
  t.equal(parseRequest(Object.create({ jsonrpc: "2.0", method: "x" }), limits).ok, false);
  t.equal(parseRequest(JSON.parse('{"__proto__":{"id":1},"jsonrpc":"2.0","method":"x"}'), limits).ok, true);
  t.end();
});
