/** A node without a state answers through its peers, and hands on nothing that does not hold. Real sockets and proofs. */

import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { parseUtf8, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { codeOf } from "../../crypto/base/error.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { addressOfKey, formatAddress } from "../../crypto/identity/address.ts";
import { feeOf } from "../../chain/block/genesis.ts";
import { heightOf } from "../../chain/block/height.ts";
import { keyPairAt } from "../../chain/block/testing/fixtures.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction } from "../../chain/block/transaction.ts";
import type { Network } from "../network/network.ts";
import type { Handler } from "../network/request.ts";
import { openNode, PATIENCE_MS, testLog, until } from "../network/testing/nodes.ts";
import { PyralogClient } from "./client.ts";
import { peerRelay, RELAY_PROTOCOL, relayServer } from "./relay.ts";
import { RpcServer } from "./server.ts";
import { DevNet } from "./testing/devnet.ts";

const TABLE = { namespace: "shop", table: "orders" };

async function openChain(): Promise<DevNet> {
  const net = await DevNet.open({ powers: [3n, 1n] });
  const put = (index: number): Call => ({ kind: "tablePut", ...TABLE, key: utf8(`o-${index}`), value: encodeValue({ index }) });
  const append: Call = { kind: "logAppend", stream: "events", partition: 0, records: [utf8("a"), utf8("b"), utf8("c")] };
  const plan: readonly (readonly Call[])[] = [
    [{ kind: "tableCreate", ...TABLE }],
    [put(1), put(2), append],
    [{ kind: "validatorSet", key: keyPairAt(2).publicKey, power: 1n }],
    [put(3)],
    [put(4)],
    [append],
  ];
  for (const [nonce, calls] of plan.entries()) await net.commit([signed(net, nonce, calls)]);
  return net;
}

function signed(net: DevNet, nonce: number, calls: readonly Call[]): ReturnType<typeof signTransaction> {
  const keyPair = keyPairAt(100);
  const sender = addressOfKey(keyPair.publicKey);
  const fee = feeOf(net.network.parameters, 4_000);
  return signTransaction(
    { chainId: net.network.chainId, sender, nonce: BigInt(nonce), fee, expiry: heightOf(1000n), calls },
    keyPair,
  );
}

const net = await openChain();
const empty = await DevNet.open({ powers: [3n, 1n] });
t.teardown(async () => {
  await net[Symbol.asyncDispose]();
  await empty[Symbol.asyncDispose]();
});
const HONEST: Handler = relayServer({ backend: net.backend, log: testLog });
let number = 400;

/** A node at genesis whose questions go to peers that serve as told. */
async function scene(
  t: Test,
  handlers: readonly Handler[],
): Promise<{ readonly client: PyralogClient; readonly network: Network; readonly peers: readonly Network[] }> {
  const peers = await Promise.all(
    handlers.map(async (handler) => {
      const peer = await openNode((number += 1), { height: () => 6n });
      t.teardown(async () => peer[Symbol.asyncDispose]());
      await peer.handle(RELAY_PROTOCOL, handler);
      return peer;
    }),
  );
  const network = await openNode((number += 1), { bootstrap: peers.flatMap((peer) => peer.addresses()) });
  t.teardown(async () => network[Symbol.asyncDispose]());
  await until(() => network.peers().length === peers.length, "connected");
  const relay = peerRelay({ network, file: net.network, log: testLog });
  const server = await RpcServer.open({ host: "127.0.0.1", port: 0, cors: [] }, { backend: empty.backend, log: testLog, relay });
  t.teardown(async () => server[Symbol.asyncDispose]());
  return { client: new PyralogClient({ url: server.url, network: net.network }), network, peers };
}

t.test("everything that can be proven is answered, proven, by a node that has no block", async (t) => {
  const { client } = await scene(t, [HONEST]);
  t.match(await client.head(), { value: { height: 6n } });
  t.match(await client.header(heightOf(2n)), { value: { height: 2n } });
  t.match(await client.block(heightOf(3n)), { value: { header: { height: 3n } } });
  t.strictSame((await client.row("shop", "orders", utf8("o-3"))).value, encodeValue({ index: 3 }));
  t.equal((await client.row("shop", "orders", utf8("o-9"))).value, undefined);
  let rows = 0;
  for await (const page of client.range("shop", "orders")) rows += page.value.length;
  t.equal(rows, 4);
  t.equal((await client.record("events", 0, 1n)).value.index, 1n);
  t.ok((await client.account(addressOfKey(keyPairAt(100).publicKey))).value.nonce === 6n);
  t.ok((await client.table("shop", "orders")).value);
  const { id } = present(net.ledger.block(heightOf(2n))?.transactions[0], "transaction");
  t.match(await client.transaction(id), { verified: { height: 2n } });
  await t.rejects(
    client.row("shop", "orders", utf8("o-3"), { height: heightOf(99n) }),
    { code: "height_future" },
    "refusals too",
  );
  t.match(await client.claimedNodeStatus(), { height: 0n }, "what is said of a node is said of this one");
});

t.test("a transaction is handed to a peer", async (t) => {
  const { client } = await scene(t, [HONEST]);
  net.automatic = true;
  const proven = await client.submitAndWait(signed(net, 6, [{ kind: "tableDelete", ...TABLE, key: utf8("o-4") }]));
  net.automatic = false;
  t.match(proven, { value: { result: { kind: "applied" } }, verified: { how: ["certificate", /inclusion/, /inclusion/] } });
});

/** Answers as an honest node and then changes the text. */
const lying = (alter: (text: string) => string): Handler =>
  async function* lie(asked) {
    for await (const frame of HONEST(asked)) {
      const text = parseUtf8(frame);
      yield utf8(alter(text.ok ? text.value : ""));
    }
  };

/** Answers another question than it was asked, honestly. */
const asking = (params: object): Handler =>
  async function* ask(asked) {
    const text = parseUtf8(asked.bytes);
    const request = JSON.parse(text.ok ? text.value : "") as { readonly params: object };
    yield* HONEST({ ...asked, bytes: utf8(JSON.stringify({ ...request, params: { ...request.params, ...params } })) });
  };

/** Changes one hex digit of a member. */
const flip =
  (member: string, at: number): ((text: string) => string) =>
  (text) =>
    text.replace(
      new RegExp(`("${member}":"[0-9a-f]{${at}})([0-9a-f])`),
      (_, head: string, digit: string) => `${head}${digit === "0" ? "1" : "0"}`,
    );

t.test("a peer that lies is banned, and another one's answer is given", async (t) => {
  for (const [name, handler] of [
    ["a proof", lying(flip("proof", 60))],
    ["a header", lying(flip("header", 150))],
    ["a certificate", lying(flip("certificate", 200))],
    ["garbage", lying(() => '{"jsonrpc":"2.0","id":1,"result":{}}')],
    ["no anchor", lying((text) => text.replace(/,"anchor":\{[^}]*\}/, ""))],
  ] as const) {
    const { client, network, peers } = await scene(t, [handler, HONEST]);
    for (let turn = 0; turn < 3; turn += 1) {
      t.strictSame((await client.row("shop", "orders", utf8("o-3"))).value, encodeValue({ index: 3 }), name);
    }
    const [liar, honest] = peers.map(({ peerId }) => network.isBanned(peerId));
    t.notOk(honest, `${name}: the honest one is not blamed`);
    if (liar !== true) t.pass(`${name}: never asked`);
  }
  const { client, network, peers } = await scene(t, [lying(flip("proof", 60))]);
  await t.rejects(client.row("shop", "orders", utf8("o-3")), { code: "relay_unavailable" }, "nothing false is handed on");
  t.ok(network.isBanned(present(peers[0], "liar").peerId));
});

t.test("a peer that refuses whatever it is asked denies nothing that another one proves", async (t) => {
  const refusing = lying(() => '{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no","data":{"code":"height_future"}}}');
  const { client } = await scene(t, [refusing, HONEST, refusing]);
  for (let turn = 0; turn < 3; turn += 1)
    t.strictSame((await client.row("shop", "orders", utf8("o-3"))).value, encodeValue({ index: 3 }));
  const alone = await scene(t, [refusing, refusing]);
  await t.rejects(alone.client.row("shop", "orders", utf8("o-3")), { code: "height_future" }, "what all refuse is refused");
});

t.test("an answer that says something else than its proof, or answers another question, is not handed on", async (t) => {
  const alice = formatAddress(addressOfKey(keyPairAt(100).publicKey));
  const { id } = present(net.ledger.block(heightOf(2n))?.transactions[0], "transaction");
  const other = present(net.ledger.block(heightOf(3n))?.transactions[0], "transaction").id;
  const set = (member: string, value: unknown) => (text: string) => {
    const answer = JSON.parse(text) as { result: Record<string, unknown> };
    // Not of the answers that lead to the header.
    if (member in answer.result) answer.result[member] = value;
    return JSON.stringify(answer);
  };
  const cases: readonly (readonly [string, string, object, Handler])[] = [
    ["a balance", "account.get", { address: alice }, lying(set("balance", "7"))],
    ["an owner", "table.get", TABLE, lying(set("owner", null))],
    ["a list", "table.list", { namespace: "shop" }, lying(set("tables", []))],
    ["a row", "table.row", { ...TABLE, key: toHex(utf8("o-3")) }, lying(set("value", null))],
    ["rows", "table.range", TABLE, lying(set("rows", []))],
    ["an end", "table.range", { ...TABLE, limit: 1 }, lying(set("continueFrom", undefined))],
    ["a count", "state.prove", { from: "" }, lying(set("count", 0))],
    ["a partition", "stream.head", { stream: "events", partition: 0 }, lying(set("head", null))],
    ["a size", "stream.records", { stream: "events", partition: 0, from: "0" }, lying(set("size", "99"))],
    ["a root", "chain.head", {}, lying(set("stateRoot", "00".repeat(32)))],
    ["a height", "chain.header", { height: "2" }, asking({ height: "3" })],
    ["an old state", "table.row", { ...TABLE, key: toHex(utf8("o-3")), height: "6" }, asking({ height: "2" })],
    ["a transaction", "transaction.proof", { id: toHex(id) }, asking({ id: toHex(other) })],
    ["records", "stream.records", { stream: "events", partition: 0, from: "0" }, asking({ from: "1" })],
  ];
  for (const [name, method, params, handler] of cases) {
    const { client } = await scene(t, [handler]);
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const headers = { "Content-Type": "application/json" };
    const answer = await (await fetch(client.url, { method: "POST", headers, body })).json();
    t.match(answer, { error: { data: { code: "relay_unavailable" } } }, name);
  }
});

t.test(
  "without a peer that answers, the client is told so; a peer serves no batch, no order and no stranger's method",
  async (t) => {
    const { client } = await scene(t, []);
    await t.rejects(client.head(), { code: "relay_unavailable" });
    const asking = await scene(t, [HONEST]);
    const ask = async (body: unknown): Promise<string> => {
      const peer = present(asking.peers[0], "peer").peerId;
      const frames: string[] = [];
      const options = { signal: AbortSignal.timeout(PATIENCE_MS) };
      try {
        for await (const frame of asking.network.request(peer, RELAY_PROTOCOL, utf8(JSON.stringify(body)), options)) {
          const text = parseUtf8(frame);
          frames.push(text.ok ? text.value : "");
        }
      } catch (error) {
        return codeOf(error);
      }
      return frames.join("");
    };
    t.match(await ask({ jsonrpc: "2.0", id: 1, method: "node.peers" }), /method_unknown/);
    t.match(await ask({ jsonrpc: "2.0", id: 1, method: "subscribe", params: { topic: { kind: "blocks" } } }), /method_unknown/);
    t.match(await ask([1, 2].map((id) => ({ jsonrpc: "2.0", id, method: "chain.head" }))), /batch_size/);
    t.match(await ask("x"), /request_invalid/);
    t.equal(await ask({ jsonrpc: "2.0", method: "chain.head" }), "peer_refused", "a notification has no answer");
  },
);
