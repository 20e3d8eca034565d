/** Watches: real ledgers behind real servers that are honest, go back, lie, or show another certified chain. */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { toHex, utf8 } from "../../crypto/base/bytes.ts";
import { codeOf } from "../../crypto/base/error.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { networkHash } from "../../chain/block/genesis.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { keyPairAt } from "../../chain/block/testing/fixtures.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction } from "../../chain/block/transaction.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { parseCheckpoint, parseNote, parseNoteKey, verifyNote } from "../light/checkpoint.ts";
import { verifyFraudFile } from "../light/fraud.ts";
import { anchorOf } from "../light/testing/chain.ts";
import { LightVerifier } from "../light/verifier.ts";
import { openLog } from "../log/log.ts";
import { openMetrics } from "../metrics/metrics.ts";
import { PyralogClient } from "../rpc/client.ts";
import { RpcServer } from "../rpc/server.ts";
import { DevNet } from "../rpc/testing/devnet.ts";
import { countEvents, serveReports, Webhook } from "./report.ts";
import { type Alert, watch, type WatchEvent, type WatchOptions } from "./watch.ts";
import { Witness } from "./witness.ts";

const SENDER = keyPairAt(100);
const NETWORK_POWERS = [1n, 1n, 1n, 1n];

type Node = { readonly net: DevNet; readonly url: string; lie: ((text: string) => string) | undefined };

/** A node of one network, with records to look at; `other` makes it another chain from its first block on. */
async function nodeOf(t: Test, heights: bigint, other = false): Promise<Node> {
  const net = await DevNet.open({ powers: NETWORK_POWERS });
  const calls: Call[] = [{ kind: "logAppend", stream: "events", partition: 0, records: [utf8("a"), utf8(other ? "c" : "b")] }];
  const body = { chainId: net.network.chainId, sender: addressOfKey(SENDER.publicKey), nonce: 0n, fee: 1_000_000n };
  await net.commit([signTransaction({ ...body, expiry: heightOf(1_000n), calls }, SENDER)]);
  await net.commitUntil(heights);
  const log = await openLog({ level: "silent", destination: "stderr" });
  const server = await RpcServer.open({ host: "127.0.0.1", port: 0, cors: [] }, { backend: net.backend, log });
  t.teardown(async () => {
    await server[Symbol.asyncDispose]();
    await net[Symbol.asyncDispose]();
  });
  return { net, url: server.url, lie: undefined };
}

function fetchOf(nodes: readonly Node[]): typeof globalThis.fetch {
  return async (input, init) => {
    const answer = await globalThis.fetch(input, init);
    const lie = nodes.find(({ url }) => url === input)?.lie;
    return lie === undefined ? answer : new Response(lie(await answer.text()), { headers: answer.headers });
  };
}

async function replicaOf(t: Test, { net }: Node): Promise<Ledger> {
  const replica = await Ledger.open({ store: openMemoryStore(), network: net.network, executor: EXECUTOR });
  t.teardown(() => replica[Symbol.asyncDispose]());
  return replica;
}

/** Watches until something is told that `isEnough`, or it ends. */
async function eventsOf(
  nodes: readonly Node[],
  more: Partial<WatchOptions>,
  isEnough: (event: WatchEvent) => boolean | Promise<boolean>,
): Promise<WatchEvent[]> {
  const { network } = present(nodes[0], "node").net;
  const verifier = LightVerifier.fromGenesis(network);
  const ending = new AbortController();
  let [turn, kind] = [0, 0];
  const events: WatchEvent[] = [];
  const options: WatchOptions = {
    clients: nodes.map(({ url }) => new PyralogClient({ url, network, verifier, fetch: fetchOf(nodes) })),
    replica: undefined,
    samples: 4,
    // Every kind of question in turn: there are four.
    draw: (below) => (below === 4 ? (kind += 1) : (turn += 1)) % below,
    pollMs: 5,
    signal: ending.signal,
    heads: new Map(),
    ...more,
  };
  for await (const event of watch(options)) {
    events.push(event);
    if (await isEnough(event)) break;
  }
  ending.abort();
  return events;
}

const isAlert = (event: WatchEvent): boolean => event.kind === "alert";
const FLIP = (pattern: RegExp) => (text: string) =>
  text.replaceAll(pattern, (found) => found.slice(0, -2) + (found.at(-2) === "0" ? "1" : "0") + found.slice(-1));

t.test("honest nodes are audited as they go on, in full and by samples", async (t) => {
  for (const isFull of [true, false]) {
    const nodes = [await nodeOf(t, 4n), await nodeOf(t, 4n)];
    const replica = isFull ? await replicaOf(t, present(nodes[0], "node")) : undefined;
    const events = await eventsOf(nodes, { replica }, async (event) => {
      if (event.kind !== "audited" || event.height >= 6n) return true;
      for (const { net } of nodes.toReversed()) await net.commit();
      return false;
    });
    t.match(
      events,
      [4n, 5n, 6n].map((height) => ({ kind: "audited", height, agreeing: 2, samples: 8, blocks: height === 4n ? 4 : 1 })),
      isFull ? "in full" : "by samples",
    );
    if (isFull) t.ok(events[0]?.kind === "audited" && events[0].sizeBytes > 500);
  }
});

t.test("a node that shows another certified chain is a split view, with a proof of where it began", async (t) => {
  for (const isFull of [true, false]) {
    const nodes = [await nodeOf(t, 6n), await nodeOf(t, 6n, true)];
    const [first] = nodes as [Node];
    const replica = isFull ? await replicaOf(t, first) : undefined;
    const events = await eventsOf(nodes, { replica }, () => false);
    const last = events.at(-1);
    t.match(last, {
      kind: "alert",
      code: "audit_split",
      url: nodes[1]?.url,
      fraud: { proven: { offence: "doubleVote", height: 1n } },
    });
    if (last?.kind !== "alert") return t.fail("an alert");
    const proven = await verifyFraudFile(present(last.fraud, "fraud").file, first.net.network);
    t.equal(proven.ok && proven.value.convicts.length, 4);
  }
});

t.test("one node alone that tells another story than before is convicted by what was audited then", async (t) => {
  const [first, second] = [await nodeOf(t, 5n), await nodeOf(t, 9n, true)];
  const replica = await replicaOf(t, first);
  await eventsOf([first], { replica }, (event) => event.kind === "audited");
  const events = await eventsOf([second], { replica }, isAlert);
  t.match(events, [{ kind: "alert", code: "audit_split", fraud: { proven: { height: 1n } } }]);
  t.equal(replica.head().height, 5n, "and nothing of it is taken over");
});

t.test("a node whose head goes back is told of, once, and one that is gone too", async (t) => {
  const nodes = [await nodeOf(t, 5n), await nodeOf(t, 3n)];
  const [first, second] = nodes as [Node, Node];
  const heads = new Map([[second.url, 4n]]);
  const gone: Node = { ...first, url: "http://127.0.0.1:1/" };
  let rounds = 0;
  const events = await eventsOf([gone, first, second], { replica: await replicaOf(t, first), heads }, async (event) => {
    if (event.kind !== "audited") return false;
    rounds += 1;
    await first.net.commit();
    return rounds === 3;
  });
  t.strictSame(
    events.filter(isAlert).map((event) => event.kind === "alert" && [event.code, event.url]),
    [
      ["audit_unreadable", gone.url],
      ["audit_rollback", second.url],
    ],
  );
  t.equal(heads.get(first.url), 7n);
});

t.test("a node that lies is named with what does not hold, and the next one is audited", async (t) => {
  const lies: readonly [string, RegExp, { code: string | RegExp }][] = [
    ["a block", /"block":"[0-9a-f]+"/g, { code: /audit_(block|header|certificate|transaction)/ }],
    ["a certificate", /"certificate":"[0-9a-f]+"/g, { code: /audit_(certificate|lie)/ }],
    ["a record", /"record":"[0-9a-f]+"/g, { code: "audit_lie" }],
    ["a proof", /"proof":"[0-9a-f]+"/g, { code: "audit_lie" }],
  ];
  const nodes = [await nodeOf(t, 3n), await nodeOf(t, 3n)];
  const [first] = nodes as [Node];
  for (const [what, pattern, expected] of lies) {
    first.lie = FLIP(pattern);
    for (const replica of [await replicaOf(t, first), undefined]) {
      if (replica === undefined && what === "a block") continue;
      const events = await eventsOf(nodes, { replica }, (event) => event.kind === "audited");
      t.match(events.find(isAlert), { url: first.url, ...expected }, what);
      t.match(events.at(-1), { kind: "audited", height: 3n }, "the other one holds");
    }
  }
});

t.test("a node that shows a header of genesis, with a certificate that fits it, is a liar and ends no watch", async (t) => {
  const node = await nodeOf(t, 3n);
  const header = present(node.net.ledger.header(heightOf(3n)), "header");
  const { header: forged, certificate } = anchorOf({ ...header, height: heightOf(0n) }, [0, 1, 2]);
  node.lie = (text) =>
    text.replaceAll(
      /"header":"[0-9a-f]+","certificate":"[0-9a-f]+"/g,
      `"header":"${toHex(forged)}","certificate":"${toHex(certificate)}"`,
    );
  const events = await eventsOf([node], { replica: await replicaOf(t, node), samples: 0 }, (event) => event.kind === "audited");
  t.match(events, [
    { kind: "alert", code: "audit_lie", url: node.url, height: 3n },
    { kind: "audited", height: 3n, agreeing: 0 },
  ]);
});

t.test("figures are served on loopback, with the newest cosigned checkpoint", async (t) => {
  const metrics = openMetrics({ process: false });
  const note = countEvents(metrics);
  const node = await nodeOf(t, 3n);
  for (const event of await eventsOf([node], { replica: await replicaOf(t, node) }, () => true)) note(event);
  note({ kind: "alert", code: "audit_lie", url: "http://127.0.0.1/", height: 1n });
  const served = { checkpoint: undefined as string | undefined };
  await using server = await serveReports(0, { metrics, checkpoint: () => served.checkpoint });
  const text = await (await fetch(`${server.url}/metrics`)).text();
  t.match(text, /^auditor_height_count 3$/m);
  t.match(text, /^auditor_blocks_total 3$/m);
  t.match(text, /^auditor_alerts_total\{code="audit_lie"\} 1$/m);
  t.equal((await fetch(`${server.url}/checkpoint`)).status, 404);
  served.checkpoint = "text\n";
  t.equal(await (await fetch(`${server.url}/checkpoint`)).text(), "text\n");
  t.equal((await fetch(`${server.url}/metrics`, { method: "POST" })).status, 404);
  const port = Number(new URL(server.url).port);
  t.equal(await serveReports(port, { metrics, checkpoint: () => undefined }).then(() => "ok", codeOf), "audit_listen");
});

t.test("a webhook is told each alert until it takes it, and not for ever", async (t) => {
  const answers: number[] = [503, 302, 200, 400, ...Array.from({ length: 20 }, () => 500)];
  const bodies: string[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      bodies.push(Buffer.concat(chunks).toString());
      const status = answers.shift() ?? 500;
      response.writeHead(status, status === 302 ? { Location: "/elsewhere" } : {}).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => new Promise((resolve) => server.close(resolve)));
  const node = await nodeOf(t, 1n);
  const metrics = openMetrics({ process: false });
  await using log = await openLog({ level: "silent", destination: "stderr" });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const { signal } = new AbortController();
  const options = { url, network: node.net.network, log, metrics, signal, attemptsMax: 4, delayMsMin: 1 };
  const webhook = new Webhook(options);
  const alert: Alert = { code: "audit_lie", url: node.url, height: 7n, reason: "root_mismatch" };
  for (let count = 0; count < 3; count += 1) webhook.tell({ ...alert, height: BigInt(count) });
  await webhook.drained();
  t.equal(bodies.length, 3 + 1 + 4, "again until it was taken, once when it is refused, four times at most");
  t.match(JSON.parse(present(bodies[0], "body")), {
    code: "audit_lie",
    height: "0",
    node: node.url,
    reason: "root_mismatch",
    chainId: "pyra-test",
  });
  const text = await metrics.text();
  t.match(text, /outcome="told"\} 1$/m);
  t.match(text, /outcome="failed"\} 2$/m);
});

t.test("a witness cosigns what grows, never what takes back, and remembers across a restart", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "pyralog-witness-"));
  t.teardown(() => rm(directory, { recursive: true }));
  const [one, other] = [await nodeOf(t, 9n), await nodeOf(t, 9n, true)];
  const options = {
    name: "witness.example/w1",
    keyPair: keyPairAt(7),
    path: join(directory, "checkpoint"),
    networkHash: networkHash(one.net.network),
    nowMs: () => 1_700_000_000_500,
  };
  const header = ({ net }: Node, height: bigint) => present(net.ledger.header(heightOf(height)), "header");
  const roots =
    ({ net }: Node) =>
    (size: bigint) =>
      net.ledger.header(heightOf(size + 1n) satisfies Height)?.historyRoot;
  const witness = await Witness.open(options);
  const note = present(await witness.cosign(header(one, 5n), roots(one)), "note");
  const parsed = parseNote(utf8(note));
  const key = parseNoteKey(witness.verifierKey);
  if (!parsed.ok || !key.ok) return t.fail("a note and a key");
  t.match(verifyNote(parsed.value, key.value), { ok: true, value: { timeS: 1_700_000_000n } });
  t.match(parseCheckpoint(parsed.value.text), { ok: true, value: { size: 4n } });
  t.equal(await witness.cosign(header(one, 5n), roots(one)), undefined, "nothing new");
  t.equal(await witness.cosign(header(one, 3n), roots(one)), undefined, "nothing that is smaller");
  const again = await Witness.open(options);
  t.equal(again.newest, note);
  t.equal(await again.cosign(header(other, 8n), roots(other)).catch(codeOf), "witness_conflict");
  t.equal(again.newest, note, "and nothing was signed");
  t.ok(await again.cosign(header(one, 8n), roots(one)));
  await writeFile(options.path, "not a note");
  t.equal(await Witness.open(options).then(() => "ok", codeOf), "witness_state");
  const hybrid = await Witness.open({ ...options, keyPair: keyPairAt(7, "hybrid") }).then(() => "ok", codeOf);
  t.equal(hybrid, "witness_key");
});
