import type { MessageStream } from "@libp2p/interface";
import t, { type Test } from "tap";
import { concatBytes, u32, utf8 } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { hash } from "../../crypto/hash/hash.ts";
import type { GossipTopic } from "./gossip.ts";
import type { Network } from "./network.ts";
import { dialFromBare, greetFromBare, openBare, openNode, PATIENCE_MS, readAll, until } from "./testing/nodes.ts";

const ECHO = "/pyralog/echo/1";
/** Of a message that is sent until one arrives. */
const PROBE_SIZE_BYTES = 4;

/** Closes all, also when the test failed. */
function closing(test: Test, ...nodes: readonly AsyncDisposable[]): void {
  test.teardown(async () => void (await Promise.all(nodes.map(async (node) => node[Symbol.asyncDispose]()))));
}

async function collect(answer: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const frames: Uint8Array[] = [];
  for await (const frame of answer) frames.push(frame);
  return frames;
}

async function codeFrom(answer: AsyncIterable<Uint8Array>): Promise<string> {
  try {
    await collect(answer);
    return "answered";
  } catch (error) {
    const refusal = error instanceof CodedError ? error.detail["refusal"] : undefined;
    return typeof refusal === "string" ? `${codeOf(error)}:${refusal}` : codeOf(error);
  }
}

/** Collects what a node accepts on a topic. */
function listen(node: Network, topic: GossipTopic): Map<string, number> {
  const heard = new Map<string, number>();
  node.onGossip(topic, async (_from, bytes) => {
    const key = Buffer.from(bytes).toString("hex");
    heard.set(key, (heard.get(key) ?? 0) + 1);
    return "accept";
  });
  return heard;
}

t.test("a stranger who announces more than any window is cut off at once, and what comes of it is not kept", async (t) => {
  const node = await openNode(71, { limits: { helloTimeoutMs: 60_000 } });
  closing(t, node);
  let secured: MessageStream | undefined;
  const bare = await openBare(72, (connection) => (secured = connection));
  t.teardown(async () => bare.stop());
  const connection = await dialFromBare(bare, node);
  // Data of 4 GiB on stream 1.
  secured?.send(concatBytes(Uint8Array.of(0, 0, 0, 1), u32(1), u32(0xffff_ffff)));
  secured?.send(new Uint8Array(1_000));
  await until(() => connection.status !== "open", "cut off");
  t.equal(node.peers().length, 0);
});

t.test("four nodes that know one of them find each other, and gossip reaches every one exactly once", async (t) => {
  const first = await openNode(1, { isDiscovering: true });
  closing(t, first);
  const others = await Promise.all(
    [2, 3, 4].map(async (number) => openNode(number, { bootstrap: first.addresses(), isDiscovering: true })),
  );
  closing(t, ...others);
  const nodes = [first, ...others];
  const heard = nodes.map((node) => listen(node, "consensus"));
  // The fourth was told of the first alone: the other two it has from the DHT.
  await until(() => nodes.every((node) => node.peers().length === 3), "everyone knows everyone");
  await until(() => nodes.every((node) => node.gossipListeners("consensus") === 3), "everyone listens");
  const sent: string[] = [];
  for (let round = 0; round < 25; round += 1) {
    for (const [index, node] of nodes.entries()) {
      const message = concatBytes(utf8(`round ${round} from ${index}`), new Uint8Array(round % 5 === 0 ? 100_000 : 300));
      sent.push(Buffer.from(message).toString("hex"));
      t.equal(await node.gossip("consensus").publish(message), 3, "sent to all three");
    }
  }
  await until(() => heard.every((messages) => messages.size === 75), "all messages everywhere");
  for (const messages of heard)
    t.ok(
      [...messages.values()].every((times) => times === 1),
      "each once",
    );
  t.equal(new Set(heard.flatMap((messages) => [...messages.keys()])).size, sent.length, "and nothing else");
  t.equal(await first.gossip("consensus").publish(Buffer.from(sent[0] as string, "hex")), 0, "the same bytes are not sent twice");
  await t.rejects(first.gossip("transactions").publish(new Uint8Array(first.limits.gossipTransactionsBytesMax + 1)), {
    code: "gossip_too_large",
  });
});

t.test(
  "a large batch is held before it is passed on, a small one is not, and a block that follows it never overtakes it",
  async (t) => {
    // In a row: the last has everything from the middle. A batch is held for longer than the test may take.
    const middle = await openNode(2, { limits: { gossipHoldMs: PATIENCE_MS * 2 } });
    const [first, last] = await Promise.all([1, 3].map(async (number) => openNode(number, { bootstrap: middle.addresses() })));
    if (first === undefined || last === undefined) throw new Error("two nodes");
    closing(t, first, middle, last);
    const heard: string[] = [];
    const probed = new Set<GossipTopic>();
    const topics = ["transactions", "consensus"] as const;
    for (const node of [first, middle, last])
      for (const topic of topics)
        node.onGossip(topic, async (_from, bytes) => {
          if (node !== last) return "accept";
          if (bytes.length === PROBE_SIZE_BYTES) probed.add(topic);
          else heard.push(`${topic} ${bytes.length}`);
          return "accept";
        });
    await until(() => topics.every((topic) => middle.gossipListeners(topic) === 2), "the middle is listened to");
    await until(() => topics.every((topic) => first.gossipListeners(topic) === 1), "and listens");
    // Who listens is passed on to from a heartbeat on, or at once: what is sent before that reaches nobody.
    let probes = 0;
    await until(() => {
      probes += 1;
      for (const topic of topics) void first.gossip(topic).publish(u32(probes));
      return probed.size === 2;
    }, "the middle passes on");
    await first.gossip("transactions").publish(new Uint8Array(5_000));
    await first.gossip("consensus").publish(new Uint8Array(300));
    await first.gossip("transactions").publish(new Uint8Array(400));
    await until(() => heard.length === 2, "a vote and a small batch");
    t.same(heard, ["consensus 300", "transactions 400"]);
    await first.gossip("consensus").publish(new Uint8Array(6_000));
    await until(() => heard.length === 4, "the block, and what it names");
    t.same(heard.slice(2), ["transactions 5000", "consensus 6000"]);
  },
);

t.test("a message that validation rejects costs the sender its score, and one that it ignores does not", async (t) => {
  const a = await openNode(1);
  const b = await openNode(2, { bootstrap: a.addresses() });
  closing(t, a, b);
  const verdicts: string[] = [];
  a.onGossip("transactions", async (_from, bytes) => {
    const verdict = bytes[0] === 0 ? "ignore" : bytes[0] === 1 ? "reject" : "accept";
    verdicts.push(verdict);
    if (bytes[0] === 3) throw new Error("validators may be wrong too");
    return verdict;
  });
  b.onGossip("transactions", async () => "accept");
  await until(() => b.gossipListeners("transactions") === 1 && a.peers().length === 1, "a listens");
  const scoreOf = (): number => a.peers()[0]?.score ?? Number.NaN;
  await b.gossip("transactions").publish(Uint8Array.of(0));
  await b.gossip("transactions").publish(Uint8Array.of(2));
  await b.gossip("transactions").publish(Uint8Array.of(3));
  await until(() => verdicts.length === 3, "judged");
  t.equal(scoreOf(), 0, "nothing held against it");
  await b.gossip("transactions").publish(Uint8Array.of(1, 1));
  await until(() => scoreOf() < -20, "penalised");
  for (let index = 2; index < 6; index += 1) await b.gossip("transactions").publish(Uint8Array.of(1, index));
  await until(() => a.isBanned(b.peerId), "banned after the fourth");
  await until(() => a.peers().length === 0, "and cut off");
});

t.test("a slow validator slows its senders down and loses nothing", async (t) => {
  const a = await openNode(1, { limits: { gossipPendingMax: 4 } });
  const b = await openNode(2, { bootstrap: a.addresses() });
  closing(t, a, b);
  let pending = 0;
  let pendingMax = 0;
  let judged = 0;
  a.onGossip("transactions", async () => {
    pending += 1;
    pendingMax = Math.max(pendingMax, pending);
    await new Promise((resolve) => setTimeout(resolve, 2));
    pending -= 1;
    judged += 1;
    return "accept";
  });
  await until(() => b.gossipListeners("transactions") === 1, "a listens");
  const payload = new Uint8Array(40_000);
  for (let index = 0; index < 200; index += 1) {
    payload.set(u32(index));
    await b.gossip("transactions").publish(payload);
  }
  await until(() => judged === 200, "all judged");
  // One window's worth may be on its way when reading stops: 1 MiB of 40 kB messages.
  t.ok(pendingMax < 60, `at most ${pendingMax} at a time`);
});

t.test("nodes of another network refuse each other and say so", async (t) => {
  const a = await openNode(1);
  const b = await openNode(2, { bootstrap: a.addresses(), networkHash: hash("network", utf8("another")) });
  closing(t, a, b);
  await until(() => a.isBanned(b.peerId) && b.isBanned(a.peerId), "both turned away");
  t.same([a.peers(), b.peers()], [[], []]);
  const bare = await openBare(3);
  t.teardown(async () => bare.stop());
  const answer = await greetFromBare(await dialFromBare(bare, a), hash("network", utf8("a third")));
  t.match(Buffer.from(answer).toString("latin1"), /hello_network/, "the refusal arrives before the end");
  await until(() => bare.getConnections().length === 0, "disconnected");
  t.same(a.peers(), []);
});

t.test("a stranger that does not greet may not ask and is shown out", async (t) => {
  // Time to be refused, also on a machine that stands still for a while.
  const a = await openNode(1, { limits: { helloTimeoutMs: 4_000 } });
  closing(t, a);
  await a.handle(ECHO, async function* echo({ bytes }) {
    yield bytes;
  });
  const bare = await openBare(2);
  t.teardown(async () => bare.stop());
  const connection = await dialFromBare(bare, a);
  const stream = await connection.newStream(ECHO);
  stream.send(concatBytes(u32(1), Uint8Array.of(7)));
  t.match(Buffer.from(await readAll(stream)).toString("latin1"), /stranger/);
  t.same(a.peers(), []);
  await until(() => bare.getConnections().length === 0, "shown out");
});

t.test("requests are answered frame by frame, and refusals, failures and unknown protocols have codes", async (t) => {
  const a = await openNode(1);
  const b = await openNode(2, { bootstrap: a.addresses() });
  closing(t, a, b);
  await a.handle(ECHO, async function* echo({ peer, bytes }) {
    t.equal(peer, b.peerId);
    if (bytes.length === 0) throw new Error("a fault of the handler");
    for (const byte of bytes) yield new Uint8Array(byte * 10_000).fill(byte);
  });
  await until(() => b.peers().length === 1, "greeted");
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const frames = await collect(b.request(a.peerId, ECHO, Uint8Array.of(1, 0, 100), { signal }));
  t.same(
    frames.map((frame) => frame.length),
    [10_000, 0, 1_000_000],
  );
  t.equal(await codeFrom(b.request(a.peerId, ECHO, new Uint8Array(0), { signal })), "peer_refused:internal");
  t.equal(await codeFrom(b.request(a.peerId, "/pyralog/none/1", new Uint8Array(0), { signal })), "peer_refused:unsupported");
  t.equal(await codeFrom(b.request("12D3KooWnobody", ECHO, new Uint8Array(0), { signal })), "peer_unknown");
  const many = await Promise.all(
    Array.from({ length: 40 }, async () => collect(b.request(a.peerId, ECHO, Uint8Array.of(1), { signal }))),
  );
  t.ok(
    many.every((answer) => answer.length === 1),
    "more than the peer serves at once wait in line",
  );
  t.equal(
    await codeFrom(b.request(a.peerId, ECHO, Uint8Array.of(1, 1, 1), { signal, totalBytesMax: 15_000 })),
    "peer_hostile",
    "an answer over its total",
  );
  t.ok((b.peers()[0]?.score ?? 0) < 0, "is held against the peer");
  const aborted = AbortSignal.abort(new Error("enough"));
  await t.rejects(collect(b.request(a.peerId, ECHO, Uint8Array.of(1), { signal: aborted })), { message: "enough" });
});

t.test("garbage and oversized frames get a peer banned, and the node serves the others on", async (t) => {
  const a = await openNode(1);
  const b = await openNode(2, { bootstrap: a.addresses() });
  closing(t, a, b);
  await a.handle(ECHO, async function* echo({ bytes }) {
    yield bytes;
  });
  const attacks: readonly {
    readonly name: string;
    readonly protocol: string;
    readonly bytes: Uint8Array;
    readonly times: number;
  }[] = [
    { name: "a frame that announces 4 GiB", protocol: ECHO, bytes: u32(0xffff_ffff), times: 2 },
    { name: "a greeting that does not parse", protocol: "/pyralog/hello/1", bytes: concatBytes(u32(3), utf8("hi!")), times: 2 },
    {
      name: "gossip that is not gossip",
      protocol: "/meshsub/1.2.0",
      bytes: utf8("\u0010this is no protocol buffer at all"),
      times: 2,
    },
    {
      name: "gossip that announces 256 MiB",
      protocol: "/meshsub/1.2.0",
      bytes: Uint8Array.of(0xff, 0xff, 0xff, 0x7f, 0),
      times: 2,
    },
  ];
  for (const [index, attack] of attacks.entries()) {
    const bare = await openBare(10 + index);
    t.teardown(async () => bare.stop());
    for (let time = 0; time < attack.times; time += 1) {
      const connection = await dialFromBare(bare, a);
      await greetFromBare(connection);
      const stream = await connection.newStream(attack.protocol);
      stream.send(attack.bytes);
      await readAll(stream);
      connection.abort(new Error("next"));
      await until(() => bare.getConnections().length === 0, "the connection is over");
    }
    await until(() => a.isBanned(bare.peerId.toString()), `banned for ${attack.name}`);
    await t.rejects(
      (async () => {
        const answer = await greetFromBare(await dialFromBare(bare, a));
        if (answer.length === 0) throw new Error("closed before an answer");
      })(),
      `kept away for ${attack.name}`,
    );
  }
  await until(() => b.peers().length === 1, "the honest peer is there");
  t.same(await collect(b.request(a.peerId, ECHO, Uint8Array.of(9), { signal: AbortSignal.timeout(PATIENCE_MS) })), [
    Uint8Array.of(9),
  ]);
  t.equal(a.peers().length, 1);
});

t.test("a peer that asks too often is refused, then banned, and waiting is enough for one that did not overdo it", async (t) => {
  // Few come back while the test asks, also on a slow machine; and no heartbeat takes one.
  const helloIntervalMs = 600_000;
  const a = await openNode(1, { limits: { requestsPerSecondMax: 1, requestsBurstMax: 20, helloIntervalMs } });
  const b = await openNode(2, { bootstrap: a.addresses(), limits: { helloIntervalMs } });
  closing(t, a, b);
  await a.handle(ECHO, async function* echo({ bytes }) {
    yield bytes;
  });
  await until(() => b.peers().length === 1, "greeted");
  const signal = AbortSignal.timeout(PATIENCE_MS);
  let refused = 0;
  for (let index = 0; index < 26; index += 1)
    if ((await codeFrom(b.request(a.peerId, ECHO, Uint8Array.of(1), { signal }))) === "peer_refused:rate") refused += 1;
  t.ok(refused > 0 && refused < 8, `${refused} refused`);
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  t.equal(await codeFrom(b.request(a.peerId, ECHO, Uint8Array.of(1), { signal })), "answered");
  for (let index = 0; index < 200 && !a.isBanned(b.peerId); index += 1)
    await codeFrom(b.request(a.peerId, ECHO, Uint8Array.of(1), { signal }));
  t.ok(a.isBanned(b.peerId), "flooding on is not forgiven");
});

t.test("a reader that stops leaves a few frames in memory, not the whole answer, and is given up on", async (t) => {
  const a = await openNode(1, { limits: { frameTimeoutMs: 4_000 } });
  const b = await openNode(2, { bootstrap: a.addresses() });
  closing(t, a, b);
  let made = 0;
  let isOver = false;
  const frame = new Uint8Array(1 << 20);
  await a.handle(ECHO, async function* flood() {
    try {
      for (; made < 200; made += 1) yield frame;
    } finally {
      isOver = true;
    }
  });
  await until(() => b.peers().length === 1, "greeted");
  const answer = b.request(a.peerId, ECHO, new Uint8Array(0), {
    signal: AbortSignal.timeout(PATIENCE_MS),
    totalBytesMax: 300 << 20,
  });
  for (let index = 0; index < 3; index += 1) t.equal((await answer.next()).done, false);
  await new Promise((resolve) => setTimeout(resolve, 500));
  t.ok(made < 12, `${made} of 200 MiB made while nobody reads`);
  await until(() => isOver, "the server lets go");
  t.ok((a.peers()[0]?.score ?? 0) < 0, "a reader that stalls loses score");
  t.ok(made < 12, `${made} MiB in the end`);
  await t.rejects(collect(answer), { code: "peer_lost" });

  const fast = b.request(a.peerId, ECHO, new Uint8Array(0), {
    signal: AbortSignal.timeout(PATIENCE_MS),
    totalBytesMax: 300 << 20,
  });
  made = 100;
  let bytes = 0;
  for await (const part of fast) bytes += part.length;
  t.equal(bytes, 100 << 20, "a reader that reads gets it all");
});

t.test("a configured peer that restarts is found again", async (t) => {
  let a = await openNode(1);
  t.teardown(async () => a[Symbol.asyncDispose]());
  const [address] = a.addresses();
  const b = await openNode(2, { bootstrap: a.addresses() });
  closing(t, b);
  const heard = listen(b, "consensus");
  await until(() => b.peers().length === 1, "there");
  await a[Symbol.asyncDispose]();
  await until(() => b.peers().length === 0, "gone");
  await new Promise((resolve) => setTimeout(resolve, 600));
  a = await openNode(1, { listen: [(address as string).split("/p2p/")[0] as string], height: () => 5n });
  await until(() => b.peers().length === 1, "back");
  t.equal(b.peers()[0]?.height, 5n);
  await until(() => a.gossipListeners("consensus") === 1, "gossip too");
  await a.gossip("consensus").publish(utf8("again"));
  await until(() => heard.size === 1, "heard");
});

t.test("nodes that dial each other at the same moment gossip, also after one of their two connections is gone", async (t) => {
  const limits = { gossipGraceMs: 300 };
  const ports = await Promise.all([1, 2, 3].map(async (number) => openNode(number)));
  const addresses = ports.map((node) => node.addresses()[0] as string);
  await Promise.all(ports.map(async (node) => node[Symbol.asyncDispose]()));
  const nodes = await Promise.all(
    addresses.map(async (address, index) =>
      openNode(index + 1, { listen: [address.split("/p2p/")[0] as string], bootstrap: addresses, limits }),
    ),
  );
  closing(t, ...nodes);
  const heard = nodes.map((node) => listen(node, "consensus"));
  await until(() => nodes.every((node) => node.peers().length === 2 && node.gossipListeners("consensus") === 2), "meshed");
  const [a, b] = nodes as [Network, Network];
  for (let index = 0; index < 5; index += 1) {
    // Cut what there is, and dial twice at once.
    a.disconnect(b.peerId);
    await Promise.all([
      a.dial(addresses[1] as string, { signal: AbortSignal.timeout(PATIENCE_MS) }).catch(() => {}),
      b.dial(addresses[0] as string, { signal: AbortSignal.timeout(PATIENCE_MS) }).catch(() => {}),
    ]);
    await until(() => nodes.every((node) => node.peers().length === 2), "together again");
    await until(() => nodes.every((node) => node.gossipListeners("consensus") === 2), "gossip again");
    const before = heard.map((messages) => messages.size);
    for (const [number, node] of nodes.entries()) await node.gossip("consensus").publish(utf8(`${index} ${number}`));
    await until(
      () => heard.every((messages, number) => messages.size === (before[number] ?? 0) + 2),
      `round ${index} is heard by all`,
    );
  }
});

t.test("a connection cut in the moment that a stream is opened on it does not bring the node down", async (t) => {
  const a = await openNode(1);
  const b = await openNode(2, { bootstrap: a.addresses() });
  closing(t, a, b);
  for (let index = 0; index < 10; index += 1) {
    await until(() => b.peers().length === 1 && a.peers().length === 1, "connected");
    const asking = codeFrom(b.request(a.peerId, ECHO, Uint8Array.of(1), { signal: AbortSignal.timeout(PATIENCE_MS) }));
    await Promise.resolve();
    b.disconnect(a.peerId);
    t.match(await asking, /^peer_/);
  }
});

t.test("claimed heights follow the heartbeat, and listeners are told", async (t) => {
  let height = 1n;
  const a = await openNode(1, { height: () => height });
  const b = await openNode(2, { bootstrap: a.addresses(), height: () => 70n });
  closing(t, a, b);
  let changes = 0;
  b.onChange(() => (changes += 1));
  await until(() => b.peers()[0]?.height === 1n && a.peers()[0]?.height === 70n, "first claims");
  height = 9n;
  const before = changes;
  await until(() => b.peers()[0]?.height === 9n, "the new claim");
  t.ok(changes > before);
});

t.test("wrong addresses are refused by code, a taken port too", async (t) => {
  const a = await openNode(1);
  closing(t, a);
  await t.rejects(openNode(2, { bootstrap: ["not an address"] }), { code: "network_address" });
  await t.rejects(openNode(2, { bootstrap: ["/ip4/127.0.0.1/tcp/1"] }), { code: "network_address" });
  await t.rejects(openNode(2, { listen: [(a.addresses()[0] as string).split("/p2p/")[0] as string] }), {
    code: "network_listen",
  });
});

t.test("closing leaves no socket and no server behind", async (t) => {
  const count = (): number => process.getActiveResourcesInfo().filter((name) => name.startsWith("TCP")).length;
  await until(() => count() === 0, "earlier tests are over");
  const a = await openNode(1);
  const b = await openNode(2, { bootstrap: a.addresses() });
  await until(() => b.peers().length === 1, "greeted");
  t.ok(count() >= 3);
  await Promise.all([a[Symbol.asyncDispose](), b[Symbol.asyncDispose]()]);
  await until(() => count() === 0, "all closed");
});
