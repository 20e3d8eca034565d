/**
 * The page in a real Chromium: against four validators that run as processes, and against gateways that lie, are slow,
 * or are not there. What the page says is read as a visitor reads it.
 */

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync, brotliDecompressSync } from "node:zlib";
import type { BrowserContextOptions, Page } from "playwright-core";
import fc from "fast-check";
import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { toHex, utf8 } from "../../crypto/base/bytes.ts";
import { encodeNetworkFile, type NetworkFile, networkHash } from "../../chain/block/genesis.ts";
import { heightOf } from "../../chain/block/height.ts";
import { PROTOCOL_DEFAULTS } from "../../chain/block/protocol.ts";
import { keyPairAt, networkOf } from "../../chain/block/testing/fixtures.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction } from "../../chain/block/transaction.ts";
import { addressOfKey, formatAddress } from "../../crypto/identity/address.ts";
import { verifyFraudFile } from "../../node/light/fraud.ts";
import { openLog } from "../../node/log/log.ts";
import { until } from "../../node/network/testing/nodes.ts";
import { PyralogClient } from "../../node/rpc/client.ts";
import { RpcServer } from "../../node/rpc/server.ts";
import { DevNet } from "../../node/rpc/testing/devnet.ts";
import { checkProperty } from "../../crypto/testing/property.ts";
import { ageStep } from "./app/evidence.ts";
import { bytesText } from "./app/format.ts";
import { hrefOf, parseRoute } from "./app/route.ts";
import { gatewayOf, gatewayUrl } from "./app/session.ts";
import { browserMemory } from "./app/trust.ts";
import { buildPage, DIST_PATH, ensurePage, isFresh } from "./build.ts";
import { openBrowser } from "./testing/browser.ts";
import { type Fields, openGateway, openStaticHost, type Manner } from "./testing/gateway.ts";
import { MARKUP, openBusyNetwork } from "./testing/network.ts";

const TIMEOUT_MS = 60_000;
const COMPRESSED_BYTES_MAX = 500_000;
/** Longer than the page waits for a witness. */
const GROWTH_INTERVAL_MS = 2_000;

const stack = new AsyncDisposableStack();
t.teardown(() => stack.disposeAsync());
await ensurePage();
const host = stack.use(await openStaticHost(DIST_PATH));
// The nodes of this network let the static host's pages call them.
process.env["PYRALOG_RPC_CORS"] = new URL(host.url).origin;
const network = stack.use(
  await openBusyNetwork({ directory: t.testdir(), transactions: 30, blocks: 6, signal: AbortSignal.timeout(580_000) }),
);
delete process.env["PYRALOG_RPC_CORS"];
const browser = await openBrowser();
stack.defer(async () => await browser.close());
const client = present(network.network.nodes[0], "validator").client;
const ORDER = utf8("2026-0000");

type Opened = { readonly page: Page; readonly complaints: string[]; readonly requests: string[] };

/** A page of its own, with nothing stored, and what it complained about. */
async function open(test: Test, url: string, options: BrowserContextOptions = {}): Promise<Opened> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce", ...options });
  test.teardown(async () => await context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(TIMEOUT_MS);
  const complaints: string[] = [];
  const requests: string[] = [];
  page.on("console", (message) => {
    // So a browser says it when a page is left, or turns to another gateway, while it is still connecting: nothing is wrong with that.
    if (message.text().endsWith("WebSocket is closed before the connection is established.")) return;
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error.stack)));
  page.on("request", (request) => requests.push(request.url()));
  await page.goto(url);
  return { page, complaints, requests };
}

/** Goes to a view and waits until nothing in it is being asked for. */
async function visit(page: Page, view: string): Promise<void> {
  await page.evaluate(async (hash) => {
    if (location.hash === hash) return;
    const changed = new Promise((resolve) => addEventListener("hashchange", resolve, { once: true }));
    location.hash = hash;
    await changed;
  }, `#/${view}`);
  await settled(page);
}

/** Waits until the page shows a later head than this. */
async function showsLater(page: Page, height: bigint): Promise<void> {
  await page.waitForFunction(
    (before) => BigInt(document.querySelector<HTMLElement>(".head")?.dataset["height"] ?? "0") > before,
    height,
  );
}

async function settled(page: Page): Promise<void> {
  await page.locator("main h1").waitFor();
  await page.waitForFunction(() => document.querySelector("main [aria-busy=true]") === null);
}

/** What a card of a view says, by its title. */
async function cardText(page: Page, title: string): Promise<string> {
  return await page
    .locator("main .card", { has: page.getByRole("heading", { name: title, exact: true }) })
    .first()
    .innerText();
}

/** A gateway in front of the first validator, closed with the test. */
async function gatewayWith(test: Test, manner: Manner): Promise<string> {
  const gateway = await openGateway(network.url, manner);
  test.teardown(async () => await gateway[Symbol.asyncDispose]());
  return gateway.url;
}

/** A chain of its own of four validators, the same each time but for what its first block does, behind a node's RPC server. */
async function devGateway(
  test: Test,
  heights: bigint,
  first: readonly Call[] = [],
): Promise<{ readonly url: string; readonly network: NetworkFile; readonly net: DevNet }> {
  const net = await DevNet.open({ powers: [1n, 1n, 1n, 1n] });
  test.teardown(async () => await net[Symbol.asyncDispose]());
  const sender = keyPairAt(100);
  const body = { chainId: net.network.chainId, sender: addressOfKey(sender.publicKey), nonce: 0n, fee: 1_000_000n };
  if (first.length > 0) await net.commit([signTransaction({ ...body, expiry: heightOf(1_000n), calls: first }, sender)]);
  await net.commitUntil(heights);
  const log = await openLog({ level: "silent", destination: "stderr" });
  test.teardown(async () => await log[Symbol.asyncDispose]());
  const options = { host: "127.0.0.1", port: 0, cors: [new URL(host.url).origin] };
  const server = await RpcServer.open(options, { backend: net.backend, log });
  test.teardown(async () => await server[Symbol.asyncDispose]());
  return { url: gatewayUrl(server.url), network: net.network, net };
}

/** Lets chains grow side by side, the first one first: what a busy page missed of one head it hears of with the next. Stops when told to. */
function grow(test: Test, ...nets: readonly DevNet[]): () => Promise<void> {
  const ending = new AbortController();
  const growing = (async () => {
    while (!ending.signal.aborted) {
      for (const net of nets) await net.commit();
      await new Promise((resolve) => setTimeout(resolve, GROWTH_INTERVAL_MS));
    }
  })();
  const stop = async (): Promise<void> => {
    ending.abort();
    await growing;
  };
  test.teardown(stop);
  return stop;
}

const pinned = (url: string, view = ""): string => `${url}explorer/?network=${network.networkHash}#/${view}`;
const result = async (method: string, params: object): Promise<Fields> => {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  const response = await fetch(network.url, { method: "POST", headers: { "Content-Type": "application/json" }, body });
  return ((await response.json()) as { readonly result: Fields }).result;
};
/** Hex with one bit of its last byte turned over. */
const flip = (hex: unknown): string =>
  `${String(hex).slice(0, -1)}${(Number.parseInt(String(hex).slice(-1), 16) ^ 1).toString(16)}`;

t.test("the build is small, the same each time, and known to be fresh", async (t) => {
  const directory = join(t.testdir(), "page");
  const built = await buildPage(directory);
  t.ok(built.compressedBytes < COMPRESSED_BYTES_MAX, `${built.compressedBytes} bytes`);
  for (const { name } of built.files) {
    const bytes = await readFile(join(directory, name));
    t.ok(bytes.equals(await readFile(join(DIST_PATH, name))), name);
    t.ok(brotliDecompressSync(await readFile(join(directory, `${name}.br`))).equals(bytes));
    t.ok(gunzipSync(await readFile(join(directory, `${name}.gz`))).equals(bytes));
  }
  t.ok(await isFresh(directory));
  await writeFile(join(directory, "inputs.json"), JSON.stringify({ "testnet/explorer/app/main.ts": "00" }));
  t.notOk(await isFresh(directory), "built from other sources");
  t.notOk(await isFresh(join(directory, "nowhere")));
});

t.test("every view shows verified values of a real network, and says which are claims", async (t) => {
  const { page, complaints, requests } = await open(t, pinned(network.url));
  await page.locator(".head[data-state=verified]").waitFor();
  const shown = BigInt((await page.locator(".head").getAttribute("data-height")) ?? "0");
  t.ok(shown > 0n && shown <= (await client.head()).value.height);
  await network.send(6, 2);
  await showsLater(page, shown);
  await page.locator(".plot polyline").waitFor();
  t.match(await page.locator("#chip").innerText(), /Pinned/);
  await page.locator(".head summary").click();
  t.match(
    await page.locator(".head .chain").innerText(),
    /more than two thirds.*those of the network file.*its hash stands in this page's address/s,
  );

  await visit(page, "blocks");
  t.match(await cardText(page, "Newest blocks"), /Verified · Certificate/);
  t.match(await page.locator(".claimed").first().getAttribute("title"), /node's word/);
  const { value: row } = await client.row("shop", "orders", ORDER);
  t.ok(row !== undefined);
  await visit(page, "tables");
  t.match(await cardText(page, "Tables"), /Complete range.*All 2 tables.*shop\/orders.*shop\/stock/s);
  await visit(page, "table/shop/orders?from=2026-0000&to=2026-0010");
  t.match(
    await cardText(page, "Rows"),
    /Verified · Complete range.*4 rows from key 2026-0000 to the end of the range.*Proven complete.*2026-0003.*salt/s,
  );
  await page.getByRole("link", { name: "2026-0003" }).click();
  await settled(page);
  t.match(await cardText(page, "Row"), /Verified · State proof.*"item": "salt"/s);
  await visit(page, `row/shop/orders/${toHex(utf8("never"))}`);
  t.match(await cardText(page, "Row"), /Verified · Proven absent.*its absence is proven/s);
  await visit(page, "row/shop/orders/323032362d30303030?at=1");
  t.match(await cardText(page, "Row"), /its absence is proven/, "as of a height before it was written");
  await visit(page, "stream/shop.events/0");
  t.match(await cardText(page, "Records"), /Verified · Inclusion.*Each is proven to stand at its place.*was packed/s);
  await visit(page, "record/shop.events/0/0");
  t.match(await cardText(page, "Record"), /Verified · Inclusion.*order 2026-0002 of bread was packed/s);
  await visit(page, "accounts");
  t.match(await cardText(page, "Accounts"), /All \d+ accounts/);
  await visit(page, "validators");
  t.match(await cardText(page, "In office"), /Verified · Validator set.*4 validators of power 40.*25\.0 %/s);
  await visit(page, "consensus");
  t.match(await cardText(page, "Being decided now"), /Claim.*height being decided, by tendermint/s);
  await page.locator(".matrix .signed").first().waitFor();
  await visit(page, "network");
  t.match(await cardText(page, "Peers"), /Claim.*outbound|inbound/s);
  t.equal(await page.locator(".map .peer").count(), 3);
  await visit(page, "nowhere/at/all");
  t.match(await page.locator("main").innerText(), /no such view/);

  t.same(complaints, [], "nothing on the console");
  t.same(
    requests.filter((url) => !url.startsWith(network.url) && !url.startsWith("data:")),
    [],
    "nobody else is asked",
  );
  t.equal(await page.locator("[data-state=refused], .alert").count(), 0);
});

t.test("what strangers write is text, in rows as in addresses of the page", async (t) => {
  const { page, complaints } = await open(t, pinned(network.url, "table/shop/stock"));
  await page.locator(".card[data-state=verified]").nth(1).waitFor();
  t.match(await cardText(page, "Rows"), /<b>salt<\/b>.*<img src=x onerror=/s);
  await page.getByRole("link", { name: "<b>salt</b>" }).click();
  await settled(page);
  t.ok((await page.locator("[data-value=row]").innerText()).includes(JSON.stringify(MARKUP)));
  await visit(page, `row/${encodeURIComponent(MARKUP)}/x/00`);
  await visit(page, "%");
  t.equal(await page.locator("main img, main b").count(), 0);
  t.notMatch(await page.title(), /taken/);
  t.same(complaints, []);
});

t.test("addresses of views come back as they went, gateways have one spelling, and bytes that deceive are hex", async (t) => {
  await checkProperty(
    t,
    "route",
    fc.property(fc.array(fc.string({ minLength: 1 }), { minLength: 1, maxLength: 8 }), fc.string(), (parts, value) => {
      const route = parseRoute(hrefOf(parts, { at: value }));
      return JSON.stringify(route.parts) === JSON.stringify(parts) && (route.query.get("at") ?? "") === value;
    }),
  );
  t.same(parseRoute("#/%/%zz").parts, ["%", "%zz"]);
  t.equal(parseRoute(`#/${"x/".repeat(1000)}`).parts.length, 8);
  t.equal(gatewayUrl(" 127.0.0.1:26680 "), "http://127.0.0.1:26680/");
  t.equal(gatewayUrl("https://node.example/rpc#x"), "https://node.example/rpc");
  for (const text of ["", "javascript:alert(1)", "ftp://x/", "http://", "file:///etc/passwd"])
    t.throws(() => gatewayUrl(text), { code: "rpc_url_invalid" }, text);
  t.equal(gatewayOf(new URL("http://127.0.0.1:26680/explorer/?x=1#/blocks")), "http://127.0.0.1:26680/");
  t.equal(gatewayOf(new URL("https://host.example/node/explorer/index.html")), "https://host.example/node/");
  t.equal(gatewayOf(new URL("https://host.example/pages/")), "https://host.example/");
  t.equal(bytesText(utf8("order-1")), "order-1");
  t.equal(bytesText(utf8("a\u202eb")), "0x61e280ae62", "turns the direction of reading");
  t.equal(bytesText(utf8("0x00")), "0x30783030", "looks like hex and is text");
  t.equal(bytesText(Uint8Array.of(0xff)), "0xff");
});

t.test("a network file that is older than trust lasts is said to be, unless its checkpoint is not", (t) => {
  const network = networkOf({ powers: [1n] });
  const periodMs = 14 * 86_400_000;
  const at = (later: number, over: Partial<NetworkFile> = {}): string | undefined =>
    ageStep({ ...network, ...over }, Number(network.genesisTimeMs) + later)?.what;
  t.equal(at(periodMs - 1), undefined);
  t.equal(at(periodMs), "Age");
  const hashed = networkHash(network);
  const checkpoint = {
    height: heightOf(9n),
    hash: hashed,
    timeMs: network.genesisTimeMs + 5000n,
    trustingPeriodMs: BigInt(periodMs),
  };
  t.equal(at(periodMs, { checkpoint }), undefined);
  t.equal(at(periodMs + 5000, { checkpoint }), "Age");
  t.equal(at(periodMs * 9, { engine: PROTOCOL_DEFAULTS.pow }), undefined, "work does not age");
  t.end();
});

t.test("what is remembered of gateways is bounded, and nothing that stands there instead does harm", async (t) => {
  const kept = new Map<string, string>();
  const memory = browserMemory({ getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => void kept.set(key, value) });
  const hash = "ab".repeat(32);
  t.equal(memory.get("one"), undefined);
  memory.set("one", hash);
  t.equal(memory.get("one"), hash);
  for (let index = 0; index < 100; index += 1) memory.set(`gateway ${index}`, hash);
  t.equal(memory.get("one"), undefined, "the first is forgotten first");
  t.equal(memory.get("gateway 99"), hash);
  for (const text of ["", "{", "null", '[["one"]]', '[["one", "short"]]', '{"one": 1}', "[null, 7]"]) {
    for (const key of kept.keys()) kept.set(key, text);
    t.equal(memory.get("one"), undefined, text);
  }
  const forbidden = browserMemory({
    getItem: () => {
      throw new Error("forbidden");
    },
    setItem: () => {
      throw new Error("forbidden");
    },
  });
  forbidden.set("one", hash);
  t.equal(forbidden.get("one"), undefined);
});

t.test("search finds heights, hashes, ids, addresses, tables, rows and streams", async (t) => {
  const { page, complaints } = await open(t, pinned(network.url));
  await page.locator(".head[data-state=verified]").waitFor();
  const { value: block } = await client.block((await client.header(3n as never)).value.height);
  const owner = await client.table("shop", "orders");
  const [first] = (
    await Promise.all([2n, 3n, 4n, 5n].map(async (height) => (await client.block(height as never)).value.transactions))
  ).flat();
  const { id } = present(first, "transaction");
  for (const [typed, title, text] of [
    ["3", "Block 3", /Verified · Block roots/],
    [toHex(block.hash), "Block", new RegExp(toHex(block.hash))],
    [toHex(id), "Transaction", /Verified · Inclusion.*applied.*checked here/s],
    [formatAddress(present(owner.value, "owner")), "Account", /Verified · State proof.*Transactions sent/s],
    ["shop/orders", "Table shop/orders", /Proven complete/],
    ["shop/orders/2026-0003", "Row 2026-0003", /salt/],
    ["shop.events", "Stream shop.events", /2 partitions/],
    ["shop.events/1", "Partition shop.events/1", /Each is proven/],
    ["shop", "Tables of shop", /All 2 tables/],
  ] as const) {
    await page.locator("#search-text").fill(typed);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { level: 1, name: title, exact: true }).waitFor();
    await settled(page);
    t.match(await page.locator("main").innerText(), text, typed);
  }
  for (const [typed, note] of [
    ["no.such.thing", /Nothing of that name/],
    ["what is this?", /no height, hash/],
  ] as const) {
    await page.locator("#search-text").fill(typed);
    await page.keyboard.press("Enter");
    await page.locator("#search-note", { hasText: note }).waitFor();
  }
  await visit(page, `tx/${"0".repeat(64)}`);
  t.match(await cardText(page, "Transaction"), /Claim.*unknown/s, "that there is none is only the node's word");
  t.same(complaints, []);
});

t.test("a gateway that lies about a value is named, and the value is not shown", async (t) => {
  const other = await result("table.row", { namespace: "shop", table: "orders", key: toHex(utf8("2026-0003")) });
  const inRow =
    (lie: (answer: Fields) => void): NonNullable<Manner["lie"]> =>
    (method, answer) => {
      if (method === "table.row") lie(answer);
    };
  const lies = [
    ["another value beside the honest proof", /^answer_mismatch$/, inRow((answer) => (answer["value"] = other["value"]))],
    [
      "another row's value and proof",
      /^(answer_mismatch|proof_\w+|root_mismatch)$/,
      inRow((answer) => Object.assign(answer, { value: other["value"], proof: other["proof"] })),
    ],
    ["the row hidden", /^answer_mismatch$/, inRow((answer) => (answer["value"] = null))],
  ] as const;
  for (const [what, code, lie] of lies) {
    const url = await gatewayWith(t, { lie });
    const { page, complaints } = await open(t, pinned(url, "row/shop/orders/323032362d30303030"));
    await page.locator(".card[data-state=refused]").waitFor();
    const text = await page.locator("main").innerText();
    t.match(text, /Not believed.*so it is not shown/s, what);
    t.notMatch(text, /salt|absence is proven/, "nothing of the lie is shown");
    t.equal(await page.locator("[data-value]").count(), 0);
    t.match(await page.locator(".alert").getAttribute("data-code"), code, what);
    t.match(
      await page.locator("#alerts").innerText(),
      new RegExp(
        `A gateway gave an answer that does not hold.*row shop/orders 2026-0000.*Gateway ${url.replaceAll(".", "\\.")}\\..*thrown away`,
        "s",
      ),
    );
    t.equal(await page.locator("#alerts").getAttribute("role"), "alert");
    t.match(await page.locator("#chip").innerText(), /Caught/);
    await page.getByRole("button", { name: "I have read this" }).click();
    t.equal(await page.locator(".alert").count(), 0);
    t.match(await page.locator("#chip").innerText(), /Caught/, "the gateway's record stays");
    t.same(complaints, []);
  }
});

t.test("a gateway that leaves rows out of a range, or records out of a stream, is named", async (t) => {
  const shorter = await result("table.range", {
    namespace: "shop",
    table: "orders",
    from: toHex(utf8("2026-0003")),
    values: false,
  });
  const range = await gatewayWith(t, {
    lie: (method, answer) => {
      if (method === "table.range") Object.assign(answer, shorter);
    },
  });
  const { page } = await open(t, pinned(range, "table/shop/orders"));
  await page.locator(".card[data-state=refused]").waitFor();
  t.match(await page.locator(".alert").getAttribute("data-code"), /^(proof_incomplete|proof_malformed|root_mismatch)$/);
  t.match(await page.locator("#alerts").innerText(), /rows of shop\/orders/);
  t.notMatch(await page.locator("main").innerText(), /2026-0003|Proven complete/);
  t.match(await cardText(page, "Owner"), /Verified · State proof/, "what holds is shown beside it");
  const records = await gatewayWith(t, {
    lie: (method, answer) => {
      if (method === "stream.records") (answer["records"] as unknown[]).shift();
    },
  });
  const streams = await open(t, pinned(records, "stream/shop.events/0"));
  await streams.page.locator(".card[data-state=refused]").waitFor();
  t.equal(await streams.page.locator(".alert").getAttribute("data-code"), "answer_mismatch");
});

t.test("a gateway that forges a header gets no head believed, however it is asked", async (t) => {
  const forge = (answer: Fields): void => {
    const anchor = answer["anchor"] as Fields | undefined;
    if (anchor !== undefined) anchor["header"] = flip(anchor["header"]);
  };
  const always = await gatewayWith(t, { lie: (_, answer) => forge(answer) });
  const { page, complaints } = await open(t, pinned(always));
  await page.locator(".alert").first().waitFor();
  t.match(await page.locator(".alert").first().getAttribute("data-code"), /^(certificate_block|answer_malformed)$/);
  await page.locator(".head .badge.refused").waitFor();
  t.match(await page.locator(".head").innerText(), /None.*No head could be verified/s);
  t.equal(await page.locator(".head[data-height]").count(), 0);
  t.equal(await page.locator("main table tbody a").count(), 0, "no block is shown");
  t.same(complaints, []);

  let isHonest = true;
  let forgeries = 0;
  const turned = await gatewayWith(t, {
    lie: (_, answer) => {
      if (isHonest) return;
      forge(answer);
      forgeries += 1;
    },
  });
  const later = await open(t, pinned(turned));
  await later.page.locator(".head[data-state=verified]").waitFor();
  isHonest = false;
  await network.send(3, 1);
  await later.page.locator(".alert.lie").first().waitFor();
  // Read only now: an honest answer may have been on its way when the gateway turned.
  const height = await later.page.locator(".head").getAttribute("data-height");
  const told = forgeries;
  await network.send(3, 1);
  await until(() => forgeries > told + 1, "the page asks on", TIMEOUT_MS);
  t.equal(await later.page.locator(".head").getAttribute("data-height"), height, "the last head that was proven stays");
});

t.test("a block's body that its header does not commit to is not shown", async (t) => {
  const url = await gatewayWith(t, {
    lie: (method, answer, params) => {
      if (method === "chain.block" && params["height"] === "4") answer["block"] = flip(answer["block"]);
    },
  });
  const { page } = await open(t, pinned(url, "block/4"));
  await page.locator(".card[data-state=refused]").waitFor();
  t.match(await page.locator(".alert").first().innerText(), /block 4/);
  await visit(page, "block/3");
  t.match(await cardText(page, "Block"), /Verified · Block roots/);
});

t.test("two gateways that show two certified chains are a split view, and two that agree say so", async (t) => {
  const spend: readonly Call[] = [{ kind: "transfer", to: addressOfKey(keyPairAt(101).publicKey), amount: 1n }];
  const [one, same, other] = [await devGateway(t, 4n), await devGateway(t, 4n), await devGateway(t, 4n, spend)];
  // Whoever tells the head has each block last.
  grow(t, other.net, same.net, one.net);
  const hash = toHex(networkHash(one.network));
  const at = (gateway: string, ...witnesses: readonly string[]): string =>
    `${host.url}?${new URLSearchParams([["rpc", gateway], ["network", hash], ...witnesses.map((url) => ["witness", url])]).toString()}`;
  const agreeing = await open(t, at(one.url, same.url));
  await agreeing.page.locator(".head[data-state=verified]", { hasText: /Shown alike by 1 of 1 other gateway/ }).waitFor();
  t.equal(await agreeing.page.locator(".alert").count(), 0);
  await agreeing.page.locator("#chip").click();
  // Who does not answer in time on a busy machine gives way to the other: either may be the one that is asked.
  const standings = /tells the head.*shows the same head|shows the same head.*tells the head/s;
  await agreeing.page.locator(".standings", { hasText: standings }).waitFor();
  await agreeing.page.getByLabel("Witnesses").fill(other.url);
  await agreeing.page.getByRole("button", { name: "Connect" }).click();
  await agreeing.page.locator(".alert.fork").waitFor();

  const { page, complaints } = await open(t, at(one.url, same.url, other.url));
  await page.locator(".alert.fork[data-code=fork_detected]").waitFor();
  const said = await page.locator("#alerts").innerText();
  t.ok(said.includes(one.url) && said.includes(other.url) && !said.includes(same.url), said);
  t.match(said, /Split view.*two certified chains, apart since height 1/s);
  await page.locator(".head .badge", { hasText: "Split view" }).waitFor();
  const noneVerified = async (view: string): Promise<void> => {
    await page.locator("main .badge.disputed").first().waitFor();
    t.equal(await page.locator("main .badge.verified, main [data-state=verified]").count(), 0, `${view} calls nothing verified`);
    t.equal(await page.getByRole("button", { name: "Save a proof file" }).count(), 0, `${view} gives no proof of one chain`);
  };
  await noneVerified("the overview");
  t.match(await page.locator("main").innerText(), /Newest blocks\s+Disputed/);
  const account = formatAddress(addressOfKey(keyPairAt(101).publicKey));
  await visit(page, `account/${account}`);
  t.match(await cardText(page, "Balance"), /Disputed · .*Not verified: two chains are certified.*Transactions sent/s);
  t.match(await cardText(page, "Sent of late"), /Disputed/);
  await noneVerified("an account");
  await page.locator("main .card summary").first().click();
  t.match(await page.locator("main .chain").first().innerText(), /Two chains.*perhaps not in the other/s);
  await visit(page, "row/shop/orders/00");
  t.match(await cardText(page, "Row"), /Disputed · Proven absent/);
  await noneVerified("a row");
  for (const view of ["blocks", "block/1", "accounts", "tables", "streams", "validators", "consensus"]) {
    await visit(page, view);
    await noneVerified(view);
  }
  const exported = await new PyralogClient({ url: one.url, network: one.network }).exportAccount(
    addressOfKey(keyPairAt(100).publicKey),
  );
  await visit(page, "proof");
  await drop(page, "one.proof", exported);
  await page.locator(".results .badge", { hasText: "Disputed · Proof file" }).waitFor();
  await noneVerified("a proof file");
  t.equal(await page.locator(".head[data-height]").count(), 0, "no head is called verified");
  t.match(await page.locator("#chip").innerText(), /Split view/);
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Save the fraud proof" }).click(),
  ]);
  const proven = await verifyFraudFile(new Uint8Array(await readFile(await download.path())), one.network);
  t.match(proven, { ok: true, value: { offence: "doubleVote", height: 1n } }, "and the proof convicts offline");

  t.match(said, /Until you choose, nothing on this page is called verified.*Ask people whom you trust/s);
  await page.getByRole("button", { name: `Follow ${other.url} alone` }).click();
  await page.locator(".head[data-state=verified]").waitFor();
  await visit(page, `account/${account}`);
  t.match(await cardText(page, "Balance"), /Verified · State proof.*Balance\s+1,000,000,000,001/s, "the chain that was chosen");
  await page.locator("main .card summary").first().click();
  t.match(await page.locator("main .chain").first().innerText(), /Your choice.*you chose to follow/s, "and it goes on saying so");
  await page.reload();
  await page.locator("#chip .badge", { hasText: "Your choice" }).waitFor();
  t.same(complaints, []);
});

t.test("a witness that lies or hangs is named, and one takes the gateway's place when that lies", async (t) => {
  const one = await devGateway(t, 4n);
  const forge = (answer: Fields): void => {
    const anchor = answer["anchor"] as Fields | undefined;
    if (anchor !== undefined) anchor["header"] = flip(anchor["header"]);
  };
  const lying = await openGateway(one.url, { cors: true, lie: (_, answer) => forge(answer) });
  const hanging = await openGateway(one.url, { cors: true, hold: () => new Promise(() => undefined) });
  for (const gateway of [lying, hanging]) t.teardown(async () => await gateway[Symbol.asyncDispose]());
  const query = new URLSearchParams([
    ["rpc", one.url],
    ["network", toHex(networkHash(one.network))],
    ["witness", lying.url],
    ["witness", hanging.url],
  ]);
  const stop = grow(t, one.net);
  const { page } = await open(t, `${host.url}?${query.toString()}`);
  await page.locator(".head[data-state=verified]", { hasText: /Shown alike by 0 of 2 other gateways/ }).waitFor();
  t.ok((await page.locator(".alert.lie").innerText()).includes(lying.url));
  await page.locator("#chip").click();
  const standings = /does not hold, and is not asked again.*does not answer \(rpc_timeout\)/s;
  await page.locator(".standings", { hasText: standings }).waitFor();
  await stop();

  let isHonest = true;
  const turning = await openGateway(one.url, { cors: true, lie: (_, answer) => void (isHonest || forge(answer)) });
  t.teardown(async () => await turning[Symbol.asyncDispose]());
  query.set("rpc", turning.url);
  query.set("witness", one.url);
  const later = await open(t, `${host.url}?${query.toString()}`);
  const { height } = one.net.ledger.head();
  await later.page.locator(`.head[data-height='${height}']`).waitFor();
  isHonest = false;
  await one.net.commit();
  await later.page.locator(`.head[data-height='${height + 1n}']`).waitFor();
  t.ok((await later.page.locator(".alert.lie").first().innerText()).includes(turning.url));
  await later.page.locator("#footer", { hasText: `Gateway ${one.url}` }).waitFor();
});

t.test("trust on first use is said aloud, remembered, and ends when another network is served", async (t) => {
  let isOther = false;
  const other = networkOf({ amounts: [5n] });
  const url = await gatewayWith(t, {
    lie: (method, answer) => {
      if (method === "network.file" && isOther) answer["file"] = encodeNetworkFile(other);
    },
  });
  const { page, complaints } = await open(t, `${url}explorer/`);
  await page.locator(".head[data-state=verified]").waitFor();
  t.match(await page.locator("#trust").innerText(), new RegExp(`Trust on first use.*${network.networkHash}`, "s"));
  t.match(await page.locator("#chip").innerText(), /First use/);
  await page.reload();
  await page.locator(".head[data-state=verified]").waitFor();
  t.match(await page.locator("#chip").innerText(), /Remembered/);
  t.equal(await page.locator("#trust .note").count(), 0);
  isOther = true;
  await page.reload();
  await page.locator(".card[data-state=refused]").waitFor();
  t.match(await page.locator("main").innerText(), new RegExp(`network_changed.*${network.networkHash}`, "s"));
  t.equal(await page.locator(".head").count(), 0, "nothing is shown of it");
  isOther = false;
  await page.reload();
  await page.locator(".head[data-state=verified]").waitFor();
  await visit(page, "connection");
  await page.getByRole("button", { name: "I have compared it: pin this hash" }).click();
  await page.locator("#chip", { hasText: "Pinned" }).waitFor();
  t.match(page.url(), new RegExp(`network=${network.networkHash}`), "the address carries the trust");
  isOther = true;
  await page.reload();
  await page.locator(".card[data-state=refused]").waitFor();
  t.match(await page.locator("main").innerText(), /network_pin_mismatch/);
  t.same(complaints, []);
});

t.test("a gateway that answers late is waited for aloud, and one that does not answer is told of", async (t) => {
  let isGone = true;
  const late = Promise.withResolvers<void>();
  const url = await gatewayWith(t, {
    hold: (method) => (method === "table.row" && !isGone ? late.promise : undefined),
    lie: () => {
      if (isGone) throw new Error("gone");
    },
  });
  const { page } = await open(t, pinned(url, "row/shop/orders/323032362d30303030"));
  await page.locator(".card[data-state=refused]", { hasText: "rpc_answer" }).waitFor();
  isGone = false;
  await page.getByRole("button", { name: "Try again" }).click();
  await page.locator(".slow", { hasText: "The gateway is slow" }).waitFor();
  t.equal(await page.locator(".card[aria-busy=true]").count(), 1);
  t.equal(await page.locator("[data-value=row]").count(), 0);
  late.resolve();
  await page.locator("[data-value=row]").waitFor();
  t.match(await cardText(page, "Row"), /Verified · State proof.*tea/s);
  t.equal(await page.locator(".alert").count(), 0, "late is no lie");
  isGone = true;
  await visit(page, "tables");
  t.match(await cardText(page, "Tables"), /No answer.*rpc_answer/s);
  isGone = false;
  await page.getByRole("button", { name: "Ask again: Tables" }).click();
  await page.locator(".card[data-state=verified]").waitFor();
});

t.test("a proof that is dropped on the page is verified without any request", async (t) => {
  const { page, complaints } = await open(t, pinned(network.url));
  await page.locator(".head[data-state=verified]").waitFor();
  const proof = await client.exportRow("shop", "orders", ORDER);
  const absent = await client.exportRow("shop", "orders", utf8("never"));
  await visit(page, "proof");
  await page.context().setOffline(true);
  await drop(page, "order.proof", proof);
  await page.locator(".results [data-state=verified]").waitFor();
  t.match(
    await page.locator(".results").innerText(),
    /order\.proof.*Verified · Proof file.*certified by a quorum of the validators of the network file.*"item": "tea"/s,
  );
  await drop(page, "absent.proof", absent);
  await page.getByText("its absence is proven").waitFor();

  const forged = proof.slice();
  forged[forged.length - 5] = (forged.at(-5) ?? 0) ^ 1;
  await drop(page, "forged.proof", forged);
  await page.locator(".results [data-state=refused]").waitFor();
  await drop(page, "cut.proof", proof.subarray(0, 200));
  await page.locator(".alert[data-code=file_malformed]").waitFor();
  t.match(await page.locator(".results .card").first().innerText(), /cut\.proof.*Not believed.*file_malformed/s);
  t.equal(await page.locator(".results [data-value=row]").count(), 1, "only the good one shows a row");
  t.match(await page.locator("#alerts").innerText(), /A file does not hold/);
  t.same(
    complaints.filter((text) => !text.includes("ERR_INTERNET_DISCONNECTED")),
    [],
  );
});

t.test("a page on a static host asks the node that it is told to, and verifies proofs without any", async (t) => {
  const { page, complaints } = await open(t, `${host.url}?rpc=${encodeURIComponent(network.url)}&network=${network.networkHash}`);
  await page.locator(".head[data-state=verified]").waitFor();
  t.match(await page.locator("#footer").innerText(), new RegExp(network.url));
  t.same(complaints, []);

  const alone = await open(t, host.url);
  await alone.page.locator(".card[data-state=refused]").waitFor();
  t.match(await alone.page.locator("main").innerText(), /Not connected.*rpc_answer/s);
  await visit(alone.page, "proof");
  t.match(await alone.page.locator("main").innerText(), /No network file/);
  await drop(alone.page, "network.json", utf8(encodeNetworkFile(network.network.network)));
  await alone.page.getByText(network.networkHash).first().waitFor();
  await drop(alone.page, "order.proof", await client.exportRow("shop", "orders", ORDER));
  await alone.page.locator(".results [data-state=verified]").waitFor();
  await drop(alone.page, "network.json", utf8("{}"));
  await alone.page.locator(".alert[data-code=network_file_invalid]").waitFor();
  await visit(alone.page, "connection");
  await alone.page.getByLabel("Address of a node's RPC").fill("javascript:alert(1)");
  await alone.page.getByRole("button", { name: "Connect" }).click();
  await alone.page.locator(".alert[data-code=rpc_url_invalid]").waitFor();
  await alone.page.getByLabel("Address of a node's RPC").fill(network.url);
  await alone.page.getByRole("button", { name: "Connect" }).click();
  await alone.page.locator(".head[data-state=verified]").waitFor();
  t.match(alone.page.url(), /rpc=http.*network=|network=.*rpc=http/, "the address says whom it asks and what it trusts");
  await alone.page.goBack();
  await alone.page.locator("#chip", { hasNotText: "Connecting" }).waitFor();
  await alone.page.waitForFunction(() => document.querySelector(".head[data-state=verified]") === null);
});

t.test("a host whose policy forbids WebAssembly is slower, and nothing else", async (t) => {
  const strict = await openStaticHost(DIST_PATH, {
    "Content-Security-Policy": "script-src 'self'; style-src 'self'; connect-src *",
  });
  t.teardown(async () => await strict[Symbol.asyncDispose]());
  const { page } = await open(t, strict.url);
  // The page draws the view anew once it knows that this host is no node.
  await page.locator(".card[data-state=refused]").waitFor();
  await visit(page, "proof");
  await drop(page, "network.json", utf8(encodeNetworkFile(network.network.network)));
  await page.getByText(network.networkHash).first().waitFor();
  await drop(page, "order.proof", await client.exportRow("shop", "orders", ORDER));
  await page.locator(".results [data-state=verified]").waitFor();
  // Nor do the nodes let this host's pages call them, which they were not told of.
  await page.goto(`${strict.url}?rpc=${encodeURIComponent(network.url)}`);
  await page.locator(".card[data-state=refused]", { hasText: "rpc_unreachable" }).waitFor();
});

t.test("a saved proof is one that the command line's verifier accepts", async (t) => {
  const { page } = await open(t, pinned(network.url, "row/shop/orders/323032362d30303030"));
  await page.locator("[data-value=row]").waitFor();
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Save a proof file" }).click(),
  ]);
  t.match(download.suggestedFilename(), /^row-shop-orders-2026-0000\.proof$/);
  const { verifyProofFile } = await import("../../node/light/prooffile.ts");
  const proven = await verifyProofFile(new Uint8Array(await readFile(await download.path())), network.network.network);
  t.match(proven, { ok: true, value: { statement: { kind: "row", namespace: "shop", table: "orders" } } });
});

t.test("everything can be reached and worked with the keyboard, and has a name", async (t) => {
  const { page, complaints } = await open(t, pinned(network.url));
  await page.locator(".head[data-state=verified]").waitFor();
  const focused = async (): Promise<string> =>
    await page.evaluate(() => {
      const element = document.activeElement;
      return element === null
        ? ""
        : `${element.tagName.toLowerCase()} ${(element.getAttribute("aria-label") ?? element.textContent ?? "").trim()}`;
    });
  await page.keyboard.press("Tab");
  t.equal(await focused(), "a Skip to the content");
  await page.keyboard.press("Enter");
  t.match(await focused(), /^main/);
  await page.keyboard.press("Tab");
  t.match(await focused(), /^summary Verified/, "the first thing after it is the head's badge");
  await page.keyboard.press("Enter");
  await page.locator(".head .chain").waitFor();
  const before = BigInt((await page.locator(".head").getAttribute("data-height")) ?? "0");
  await network.send(3, 1);
  await showsLater(page, before);
  t.ok(await page.locator(".head .chain").isVisible(), "it stays open while blocks come");
  t.match(await focused(), /^summary Verified/, "and the focus stays on it");
  await page.keyboard.press("Enter");
  t.notOk(await page.locator(".head .chain").isVisible());
  await page.locator("#theme").focus();
  await page.keyboard.press("Enter");
  t.equal(await page.locator("html").getAttribute("data-theme"), "light");
  await page.keyboard.press("Enter");
  t.equal(await page.locator("html").getAttribute("data-theme"), "dark");
  await page.keyboard.press("Tab");
  for (let step = 0; step < 3; step += 1) await page.keyboard.press("Tab");
  t.equal(await focused(), "a Tables");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "Tables" }).waitFor();
  t.equal(await focused(), "h1 Tables", "the focus goes to the new view");
  t.equal(await page.title(), "Tables · Pyralog explorer");
  for (const view of ["", "tables", "table/shop/orders", "consensus", "connection", "proof"]) {
    await visit(page, view);
    const unnamed = await page.evaluate(() =>
      [
        ...document.querySelectorAll<HTMLElement>(
          "a[href], button, input, textarea, summary, [role=region], svg[role=img], table",
        ),
      ]
        .filter((element) => {
          const labels =
            element instanceof HTMLInputElement || element instanceof HTMLTextAreaElement ? [...(element.labels ?? [])] : [];
          const words = [element.getAttribute("aria-label"), element.textContent, ...labels.map((label) => label.textContent)];
          return !words.some((text) => (text ?? "").trim() !== "");
        })
        .map((element) => element.outerHTML.slice(0, 200)),
    );
    t.same(unnamed, [], `names on ${view}`);
    t.same(
      await page.evaluate(() =>
        ["header", "nav", "main", "footer", "[role=search]"].map((name) => document.querySelectorAll(name).length > 0),
      ),
      [true, true, true, true, true],
    );
    t.equal(await page.locator("h1").count(), 1);
  }
  t.same(complaints, []);
});

t.test("text has a contrast of 4.5 or more in light and in dark, and no view is wider than a phone", async (t) => {
  for (const colorScheme of ["light", "dark"] as const) {
    const { page } = await open(
      t,
      pinned(await gatewayWith(t, { lie: (method, answer) => void (method === "state.prove" && (answer["proof"] = "00")) })),
      { colorScheme },
    );
    await page.locator(".alert").first().waitFor();
    await page.locator(".head[data-state=verified]").waitFor();
    for (const view of ["", "table/shop/orders", "consensus", "connection", "network"]) {
      await visit(page, view);
      t.same(await page.evaluate(faintTexts), [], `${colorScheme} ${view}`);
    }
  }
  const { page } = await open(t, pinned(network.url), { viewport: { width: 360, height: 740 } });
  await page.locator(".head[data-state=verified]").waitFor();
  for (const view of [
    "",
    "table/shop/orders",
    "row/shop/orders/323032362d30303030",
    "consensus",
    "connection",
    "network",
    "proof",
    "block/3",
  ]) {
    await visit(page, view);
    t.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${view} fits`);
  }
});

/** In the page: visible texts whose colour is too near to what is behind them. WCAG 2.2, 1.4.3. */
function faintTexts(): string[] {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map<string, readonly number[]>();
  const rgba = (colour: string): readonly number[] => {
    const found = known.get(colour);
    if (found !== undefined || context === null) return found ?? [0, 0, 0, 0];
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const read = [...context.getImageData(0, 0, 1, 1).data];
    known.set(colour, read);
    return read;
  };
  const luminance = (colour: readonly number[]): number => {
    const [red = 0, green = 0, blue = 0] = colour.map((each) =>
      each / 255 <= 0.04045 ? each / 255 / 12.92 : ((each / 255 + 0.055) / 1.055) ** 2.4,
    );
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (element: Element | null): readonly number[] => {
    for (let each = element; each !== null; each = each.parentElement) {
      const colour = rgba(getComputedStyle(each).backgroundColor);
      if ((colour[3] ?? 0) > 250) return colour;
    }
    return [255, 255, 255, 255];
  };
  const faint: string[] = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
    const element = node.parentElement;
    const text = (node.textContent ?? "").trim();
    if (
      element === null ||
      text === "" ||
      !element.checkVisibility() ||
      element.closest(".unseen, title, noscript, #drop-hint") !== null
    )
      continue;
    const style = getComputedStyle(element);
    const colour = rgba(element instanceof SVGElement ? style.fill : style.color);
    const [light, dark] = [luminance(colour), luminance(behind(element))].toSorted((a, b) => b - a) as [number, number];
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < 4.5) faint.push(`${text.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return [...new Set(faint)];
}

/** Drops a file on the page, as from a file manager. */
async function drop(page: Page, name: string, bytes: Uint8Array): Promise<void> {
  const transfer = await page.evaluateHandle(
    ({ name: fileName, hex }) => {
      const data = new Uint8Array((hex.match(/../g) ?? []).map((pair) => Number.parseInt(pair, 16)));
      const made = new DataTransfer();
      made.items.add(new File([data], fileName));
      return made;
    },
    { name, hex: toHex(bytes) },
  );
  await page.dispatchEvent("body", "dragover", { dataTransfer: transfer });
  t.equal(await page.locator("html[data-dropping]").count(), 1, "the page says that it takes it");
  await page.dispatchEvent("body", "drop", { dataTransfer: transfer });
}
