import t, { type Test } from "tap";
import { SYSTEM_CLOCK } from "../ports/clock.ts";
import { bytesEqual, concatBytes, utf8 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { fail, ok } from "../../crypto/base/result.ts";
import { openMetrics } from "../metrics/metrics.ts";
import type { Network, NetworkOptions } from "./network.ts";
import {
  type BlockSink,
  type BlockSource,
  blockServer,
  encodeBlockAnswer,
  type EncodedBlock,
  SYNC_PROTOCOL,
  Synchroniser,
  type SyncProgress,
} from "./sync.ts";
import { openNode, PATIENCE_MS, testLog, until } from "./testing/nodes.ts";

const LIMITS = {
  // An honest peer on a busy machine, or on one that stands still for a while, must not pass for one that stalls.
  frameTimeoutMs: 4_000,
  syncWindowTimeoutMs: 12_000,
  syncWindowBlocksMax: 16,
  syncBenchMs: 1_500,
  syncRetryMs: 50,
  syncIdleMs: 50,
};

/** Stands for a verified block: this test is about who sends it, not about what is in it. */
function blockAt(height: bigint): EncodedBlock {
  return { block: concatBytes(utf8(`block ${height}`), new Uint8Array(500)), certificate: utf8(`certificate ${height}`) };
}

function sourceOf(height: bigint, earliest = 1n): BlockSource {
  return {
    height: () => height,
    earliest: () => earliest,
    encoded: (at) => (at >= earliest && at <= height ? blockAt(at) : undefined),
  };
}

/** Applies what `blockAt` gives, in order, and refuses all else. */
class Chain implements BlockSink {
  at = 0n;
  applied: bigint[] = [];
  isBroken = false;

  height(): bigint {
    return this.at;
  }

  async apply(
    block: Uint8Array,
    certificate: Uint8Array,
  ): Promise<ReturnType<typeof ok<void>> | { readonly ok: false; readonly error: { readonly code: string } }> {
    if (this.isBroken) throw new CodedError("disk_full");
    const next = this.at + 1n;
    const expected = blockAt(next);
    await new Promise((resolve) => setImmediate(resolve));
    if (!bytesEqual(block, expected.block) || !bytesEqual(certificate, expected.certificate))
      return fail({ code: "block_invalid" });
    // Consensus may have been quicker.
    if (this.at + 1n !== next) return fail({ code: "block_height" });
    this.at = next;
    this.applied.push(next);
    return ok(undefined);
  }
}

type Peer = { readonly claim: bigint; readonly serve: ((network: Network) => Promise<void>) | BlockSource };

/** A node that syncs from peers that behave as told; all are connected when it starts. */
async function scene(
  t: Test,
  peers: readonly Peer[],
  options: Partial<NetworkOptions> = {},
): Promise<{ a: Network; others: Network[]; chain: Chain; steps: SyncProgress[]; start: () => void; stop: () => Promise<void> }> {
  const others = await Promise.all(
    peers.map(async ({ claim, serve }, index) => {
      const network = await openNode(20 + index, { height: () => claim });
      t.teardown(async () => network[Symbol.asyncDispose]());
      await (typeof serve === "function" ? serve(network) : network.handle(SYNC_PROTOCOL, blockServer(serve, network.limits)));
      return network;
    }),
  );
  const chain = new Chain();
  const a = await openNode(19, {
    bootstrap: others.flatMap((other) => other.addresses()),
    height: () => chain.at,
    ...options,
    limits: { ...LIMITS, ...options.limits },
  });
  t.teardown(async () => a[Symbol.asyncDispose]());
  await until(() => a.peers().length === others.length, "all connected");
  const steps: SyncProgress[] = [];
  const synchroniser = new Synchroniser(
    { onProgress: (progress) => void steps.push(progress) },
    { network: a, sink: chain, clock: SYSTEM_CLOCK, draw: Math.random, log: testLog, metrics: openMetrics() },
  );
  const stopping = new AbortController();
  let running: Promise<void> | undefined;
  const start = (): void => void (running = synchroniser.run(stopping.signal));
  const stop = async (): Promise<void> => {
    stopping.abort();
    await running;
  };
  t.teardown(stop);
  return { a, others, chain, steps, start, stop };
}

t.test("a node behind its peers fetches windows from both and ends at the head", async (t) => {
  const { chain, steps, start, stop } = await scene(t, [
    { claim: 200n, serve: sourceOf(200n) },
    { claim: 150n, serve: sourceOf(150n) },
  ]);
  start();
  await until(() => chain.at === 200n, "synced");
  t.same(
    chain.applied,
    Array.from({ length: 200 }, (_, index) => BigInt(index + 1)),
    "each block once, in order",
  );
  t.same(steps[0], { height: 0n, target: 200n, peers: 2 });
  await until(() => steps.at(-1)?.height === 200n, "reported");
  t.same(steps.at(-1), { height: 200n, target: 200n, peers: 0 });
  await stop();
});

t.test(
  "peers that stall, send garbage, drip, serve nothing or serve bad blocks lose score, and sync ends all the same",
  async (t) => {
    const stalls = async (network: Network): Promise<void> =>
      network.handle(SYNC_PROTOCOL, async function* stall({ signal }) {
        yield encodeBlockAnswer(blockAt(1n));
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
      });
    const garbage = async (network: Network): Promise<void> =>
      network.handle(SYNC_PROTOCOL, async function* garble() {
        yield utf8("not a block");
      });
    const bad = async (network: Network): Promise<void> =>
      network.handle(SYNC_PROTOCOL, async function* forge() {
        for (let index = 0; index < 4; index += 1) yield encodeBlockAnswer({ block: utf8("forged"), certificate: utf8("by me") });
      });
    const { a, others, chain, start } = await scene(t, [
      { claim: 90n, serve: stalls },
      { claim: 90n, serve: garbage },
      { claim: 90n, serve: bad },
      { claim: 1_000_000_000_000n, serve: sourceOf(0n) },
      { claim: 100n, serve: sourceOf(100n) },
    ]);
    start();
    await until(() => chain.at === 100n, "synced in spite of them");
    const [staller, garbler, forger, liar, honest] = others.map(({ peerId }) => peerId) as [
      string,
      string,
      string,
      string,
      string,
    ];
    const guilty = (peer: string): boolean => a.isBanned(peer) || (a.peers().find(({ id }) => id === peer)?.score ?? 0) < 0;
    // The liar alone still claims more, so it is asked now if it was not before.
    await until(() => guilty(liar), "the liar");
    for (const [name, peer] of Object.entries({ staller, garbler, forger }))
      t.comment(`${name}: ${guilty(peer) ? "caught" : "never asked"}`);
    t.notOk(guilty(honest), "the honest one is unharmed");
  },
);

for (const [name, expected, serve] of [
  [
    "stalls",
    "stall",
    async (network: Network) =>
      network.handle(SYNC_PROTOCOL, async function* stall({ signal }) {
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        yield utf8("late");
      }),
  ],
  [
    "sends what does not parse",
    "malformed",
    async (network: Network) =>
      network.handle(SYNC_PROTOCOL, async function* garble() {
        yield utf8("not a block");
      }),
  ],
  [
    "sends more than was asked for",
    "malformed",
    async (network: Network) =>
      network.handle(SYNC_PROTOCOL, async function* pad() {
        for (let index = 1n; ; index += 1n) yield encodeBlockAnswer(blockAt(index));
      }),
  ],
  ["sends an empty answer", "height_lie", async (network: Network) => network.handle(SYNC_PROTOCOL, async function* none() {})],
  ["claims a height and has nothing", "height_lie", sourceOf(0n)],
  [
    "sends a bad block",
    "invalid_block",
    async (network: Network) =>
      network.handle(SYNC_PROTOCOL, async function* forge() {
        yield encodeBlockAnswer({ block: utf8("forged"), certificate: utf8("by me") });
      }),
  ],
] as const) {
  t.test(`a peer that ${name} is benched while an honest one, which comes later, serves`, async (t) => {
    const { a, chain, others, steps, start } = await scene(t, [{ claim: 40n, serve }]);
    start();
    const peer = others[0]?.peerId as string;
    await until(() => a.isBanned(peer) || (a.peers()[0]?.score ?? 0) < 0, `held against it: ${expected}`);
    t.equal(a.isBanned(peer), expected === "invalid_block", "only a bad block is enough for a ban at once");
    t.ok(chain.at <= 16n, "nothing beyond what verified");
    const honest = await openNode(40, { height: () => 40n, bootstrap: a.addresses() });
    t.teardown(async () => honest[Symbol.asyncDispose]());
    await honest.handle(SYNC_PROTOCOL, blockServer(sourceOf(40n), honest.limits));
    await until(() => chain.at === 40n, "synced from the other");
    t.ok(steps.length > 0);
  });
}

t.test("sync skips what consensus committed meanwhile, and blames nobody", async (t) => {
  const { a, chain, start } = await scene(t, [{ claim: 60n, serve: sourceOf(60n) }]);
  const apply = chain.apply.bind(chain);
  chain.apply = async (block, certificate) => {
    // Consensus commits this height and three more while the block is being checked.
    if (chain.at === 9n) chain.at = 13n;
    return apply(block, certificate);
  };
  start();
  await until(() => chain.at === 60n, "synced");
  t.notOk(chain.applied.includes(10n) || chain.applied.includes(13n));
  t.equal(a.peers()[0]?.score, 0);
});

t.test("a failing disk ends sync with its error and is not held against the peer", async (t) => {
  const { a, chain } = await scene(t, [{ claim: 60n, serve: sourceOf(60n) }]);
  chain.isBroken = true;
  const synchroniser = new Synchroniser(
    {},
    { network: a, sink: chain, clock: SYSTEM_CLOCK, draw: Math.random, log: testLog, metrics: openMetrics() },
  );
  await t.rejects(synchroniser.run(AbortSignal.timeout(PATIENCE_MS)), { code: "disk_full" });
  t.equal(a.peers()[0]?.score, 0);
});

t.test("a hint makes a node look before the heartbeat says so, and a false one costs little", async (t) => {
  let height = 0n;
  const chain = new Chain();
  const b = await openNode(21, { height: () => 0n });
  t.teardown(async () => b[Symbol.asyncDispose]());
  await b.handle(
    SYNC_PROTOCOL,
    blockServer({ height: () => height, encoded: (at) => (at <= height ? blockAt(at) : undefined) }, b.limits),
  );
  const a = await openNode(22, { bootstrap: b.addresses(), limits: LIMITS });
  t.teardown(async () => a[Symbol.asyncDispose]());
  await until(() => a.peers().length === 1, "connected");
  const synchroniser = new Synchroniser(
    {},
    { network: a, sink: chain, clock: SYSTEM_CLOCK, draw: Math.random, log: testLog, metrics: openMetrics() },
  );
  const stopping = new AbortController();
  const running = synchroniser.run(stopping.signal);
  height = 7n;
  synchroniser.hint(b.peerId, 7n);
  await until(() => chain.at === 7n, "synced");
  t.equal(a.peers()[0]?.score, 0);
  stopping.abort();
  await running;
});

t.test("sync asks peers that still keep old blocks when others pruned them", async (t) => {
  const { a, chain, start } = await scene(t, [
    { claim: 50n, serve: sourceOf(50n, 40n) },
    { claim: 50n, serve: sourceOf(50n) },
  ]);
  start();
  await until(() => chain.at === 50n, "synced");
  t.same(
    a.peers().map(({ score }) => score),
    [0, 0],
    "to prune is no lie",
  );
});
