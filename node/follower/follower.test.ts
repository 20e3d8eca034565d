/** Following through gateways: real ledgers behind real servers, some of which fail, lie, stand still or show another chain. */

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { codeOf } from "../../crypto/base/error.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import { headerHash } from "../../chain/block/block.ts";
import { heightOf } from "../../chain/block/height.ts";
import { keyPairAt } from "../../chain/block/testing/fixtures.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction } from "../../chain/block/transaction.ts";
import { minedNetwork } from "../driver/testing/miner.ts";
import { verifyFraudFile } from "../light/fraud.ts";
import { checkpointOf } from "../light/trust.ts";
import { LightVerifier } from "../light/verifier.ts";
import { openLog } from "../log/log.ts";
import { RpcServer } from "../rpc/server.ts";
import { DevNet } from "../rpc/testing/devnet.ts";
import { fileTrustStore } from "./file-store.ts";
import { type FollowerOptions, type FollowEvent, LightFollower } from "./follower.ts";
import { type TrustStore, webTrustStore } from "./store.ts";

const SENDER = keyPairAt(100);

type Gateway = { readonly net: DevNet; readonly url: string; readonly close: () => Promise<void> };

/** A network of four behind a server; the same blocks every time, as long as nobody sends anything. */
async function gatewayOf(
  t: Test,
  options: { readonly heights: bigint; readonly network?: NetworkFile; readonly first?: readonly Call[] },
): Promise<Gateway> {
  const { heights, network, first = [] } = options;
  const net = await DevNet.open(network === undefined ? { powers: [1n, 1n, 1n, 1n] } : { network });
  if (first.length > 0) await net.commit([transactionOf(net, first)]);
  await net.commitUntil(heights);
  const log = await openLog({ level: "silent", destination: "stderr" });
  const server = await RpcServer.open({ host: "127.0.0.1", port: 0, cors: [] }, { backend: net.backend, log });
  let isClosed = false;
  const close = async (): Promise<void> => {
    if (isClosed) return;
    isClosed = true;
    await server[Symbol.asyncDispose]();
    await net[Symbol.asyncDispose]();
    await log[Symbol.asyncDispose]();
  };
  t.teardown(close);
  return { net, url: server.url, close };
}

function transactionOf(net: DevNet, calls: readonly Call[], nonce = 0n): ReturnType<typeof signTransaction> {
  const body = { chainId: net.network.chainId, sender: addressOfKey(SENDER.publicKey), nonce, fee: 1_000_000n };
  return signTransaction({ ...body, expiry: heightOf(1_000n), calls }, SENDER);
}

const SPEND: readonly Call[] = [{ kind: "transfer", to: addressOfKey(keyPairAt(101).publicKey), amount: 1n }];

/** As if a minute after the last block of `heights`. */
function nowOf(net: DevNet, heights = net.ledger.head().height as bigint): () => number {
  return () => Number(net.network.genesisTimeMs + heights * 1_000n) + 60_000;
}

function optionsOf(gateways: readonly Gateway[], more: Partial<FollowerOptions> = {}): FollowerOptions {
  const { net } = present(gateways[0], "gateway");
  const now = { nowMs: nowOf(net), pollMs: 20, timeoutMs: 30_000 };
  return { network: net.network, urls: gateways.map(({ url }) => url), ...now, ...more };
}

/** Reads events until `count` of them, or heads at all (0), came or it ended, and the code that it ended with. */
async function eventsOf(
  options: FollowerOptions,
  count: number,
  onEvent: (event: FollowEvent, follower: LightFollower) => Promise<void> | void = () => undefined,
): Promise<{ readonly events: FollowEvent[]; readonly code: string | undefined }> {
  const ending = new AbortController();
  const events: FollowEvent[] = [];
  try {
    const follower = await LightFollower.open(options, ending.signal);
    for await (const event of follower.follow(ending.signal)) {
      events.push(event);
      await onEvent(event, follower);
      if (count === 0 ? event.kind === "head" : events.length >= count) break;
    }
    return { events, code: undefined };
  } catch (error) {
    return { events, code: codeOf(error) };
  } finally {
    ending.abort();
  }
}

const memory = (): TrustStore & { bytes: Uint8Array | undefined } => {
  const store = { bytes: undefined as Uint8Array | undefined };
  return Object.assign(store, {
    load: async () => store.bytes,
    save: async (bytes: Uint8Array) => void (store.bytes = bytes),
  });
};

t.test("heads are told as they come, compared with the witnesses, by subscription and by asking alike", async (t) => {
  for (const poll of [false, true]) {
    const gateways = [await gatewayOf(t, { heights: 5n }), await gatewayOf(t, { heights: 5n })];
    const nets = gateways.map(({ net }) => net);
    const { events } = await eventsOf(optionsOf(gateways, { poll }), 3, async () => {
      for (const net of nets.toReversed()) await net.commit();
    });
    t.match(
      events,
      [5n, 6n, 7n].map((height) => ({
        kind: "head",
        head: { value: { height } },
        gateway: gateways[0]?.url,
        witnesses: [{ says: "agrees" }],
      })),
      poll ? "by asking" : "by subscription",
    );
    for (const { close } of gateways) await close();
  }
});

t.test("a witness that has nothing yet is behind, and enough of them must agree when that is wanted", async (t) => {
  const gateways = [await gatewayOf(t, { heights: 5n }), await gatewayOf(t, { heights: 2n })];
  t.match(await eventsOf(optionsOf(gateways), 1), { events: [{ kind: "head", witnesses: [{ says: "behind" }] }] });
  t.match(await eventsOf(optionsOf(gateways, { witnessesMin: 1 }), 1), { code: "witness_missing" });
  await present(gateways[1], "witness").net.commitUntil(5n);
  t.match(await eventsOf(optionsOf(gateways, { witnessesMin: 1 }), 1), { events: [{ kind: "head" }], code: undefined });
});

t.test("a gateway that dies is left for the next, and one that comes back is a witness again", async (t) => {
  const gateways = [await gatewayOf(t, { heights: 3n }), await gatewayOf(t, { heights: 3n })];
  const [first, second] = gateways as [Gateway, Gateway];
  const { events } = await eventsOf(optionsOf(gateways, { poll: true }), 3, async (event) => {
    if (event.kind !== "head" || event.gateway !== first.url) return;
    await second.net.commit();
    await first.close();
  });
  t.match(events, [
    { kind: "head", gateway: first.url },
    { kind: "aside", url: first.url, lied: false, code: "rpc_unreachable" },
    { kind: "head", gateway: second.url, head: { value: { height: 4n } } },
  ]);
});

t.test("a gateway that changes a byte of a header, of a signature, or sends nonsense is never asked again", async (t) => {
  const gateways = [await gatewayOf(t, { heights: 3n }), await gatewayOf(t, { heights: 3n })];
  const [first, second] = gateways as [Gateway, Gateway];
  const lies: readonly ((text: string) => string)[] = [
    (text) =>
      text.replaceAll(/"header":"([0-9a-f]+)([0-9a-f])"/g, (_, head, last) => `"header":"${head}${last === "0" ? "1" : "0"}"`),
    (text) =>
      text.replaceAll(
        /"certificate":"([0-9a-f]+)([0-9a-f])"/g,
        (_, head, last) => `"certificate":"${head}${last === "0" ? "1" : "0"}"`,
      ),
    (text) => text.replaceAll(/"certificate":"[0-9a-f]+"/g, '"certificate":""'),
    (text) => text.replaceAll(/"height":"\d+"/g, '"height":"2"'),
  ];
  for (const lie of lies) {
    const fetch: typeof globalThis.fetch = async (input, init) => {
      const answer = await globalThis.fetch(input, init);
      return typeof input === "string" && input === first.url
        ? new Response(lie(await answer.text()), { headers: answer.headers })
        : answer;
    };
    const { events } = await eventsOf(optionsOf(gateways, { fetch, poll: true }), 2);
    t.match(
      events,
      [
        { kind: "aside", url: first.url, lied: true },
        { kind: "head", gateway: second.url, witnesses: [] },
      ],
      lie.toString(),
    );
    const alone = await eventsOf(optionsOf([first], { fetch, poll: true }), 2);
    t.match(alone, { events: [{ kind: "aside", lied: true }], code: "gateways_none" }, "and without another there is none");
    const witness = await eventsOf(optionsOf([second, first], { fetch, poll: true }), 0);
    t.match(witness.events.at(-1), { kind: "head", gateway: second.url }, "a witness that lies stops nobody");
  }
});

t.test("a gateway that stands still while another goes on is left", async (t) => {
  const gateways = [await gatewayOf(t, { heights: 3n }), await gatewayOf(t, { heights: 9n })];
  const [first, second] = gateways as [Gateway, Gateway];
  const { events } = await eventsOf(optionsOf(gateways, { quietMsMax: 60 }), 3);
  t.match(events, [
    { kind: "head", gateway: first.url, head: { value: { height: 3n } } },
    { kind: "aside", url: first.url, code: "gateway_behind", lied: false },
    { kind: "head", gateway: second.url, head: { value: { height: 9n } } },
  ]);
});

t.test("two certified chains end it, with a proof that convicts their signers offline", async (t) => {
  const gateways = [await gatewayOf(t, { heights: 6n }), await gatewayOf(t, { heights: 6n, first: SPEND })];
  const store = memory();
  const { events, code } = await eventsOf(optionsOf(gateways, { store }), 9);
  t.equal(code, "fork_detected");
  t.equal(events.length, 1);
  t.match(events, [{ kind: "fork", height: 6n, fork: { fraud: { offence: "doubleVote", height: 1n } } }]);
  t.equal(store.bytes, undefined, "and nothing of it is kept");
  const [event] = events;
  if (event?.kind !== "fork") return t.fail("a fork");
  const proven = await verifyFraudFile(present(event.fork, "proof").file, present(gateways[0], "gateway").net.network);
  if (!proven.ok) return t.fail(proven.error.code);
  t.equal(proven.value.convicts.length, 4);
  t.ok(proven.value.convicts.every(({ evidence }) => evidence !== undefined));
});

t.test("a gateway that shows another chain than before is a fork as well", async (t) => {
  const [first, second] = [await gatewayOf(t, { heights: 4n }), await gatewayOf(t, { heights: 9n, first: SPEND })];
  const { events, code } = await eventsOf(optionsOf([first, second], { quietMsMax: 60 }), 9);
  t.equal(code, "fork_detected");
  t.match(events.at(-1), { kind: "fork", fork: { fraud: { offence: "doubleVote" } } });
});

t.test("trust is kept, goes on where it was, and is refused when it is old, damaged or of another network", async (t) => {
  const gateway = await gatewayOf(t, { heights: 8n });
  const directory = await mkdtemp(join(tmpdir(), "pyralog-follower-"));
  t.teardown(() => rm(directory, { recursive: true }));
  const path = join(directory, "trust");
  const items = new Map<string, string>();
  const web = webTrustStore(
    { getItem: (name) => items.get(name) ?? null, setItem: (name, value) => void items.set(name, value) },
    "trust",
  );
  for (const store of [fileTrustStore(path), web]) {
    await eventsOf(optionsOf([gateway], { store }), 1);
    const bytes = present(await store.load(), "kept");
    const again = await LightFollower.open(optionsOf([gateway], { store }), new AbortController().signal);
    t.match({ origin: again.origin, height: again.verifier.trustedHeight }, { origin: "kept", height: 8n });
    const changed = bytes.slice();
    changed[changed.length >> 1] = present(changed[changed.length >> 1], "byte") ^ 1;
    await store.save(changed);
    t.equal((await LightFollower.open(optionsOf([gateway], { store }), new AbortController().signal)).origin, "genesis");
    await store.save(bytes);
    const other = { ...gateway.net.network, genesisTimeMs: gateway.net.network.genesisTimeMs + 1n };
    t.equal(
      (await LightFollower.open(optionsOf([gateway], { store, network: other }), new AbortController().signal)).origin,
      "genesis",
    );
    const late = { store, nowMs: () => Number(gateway.net.network.genesisTimeMs) + 15 * 86_400_000 };
    t.match(await eventsOf(optionsOf([gateway], late), 1), { code: "trust_expired" }, "two weeks and a day later");
  }
});

t.test(
  "an old genesis needs a checkpoint, which must be the chain's, and then old heights follow from the new ones",
  async (t) => {
    const gateway = await gatewayOf(t, { heights: 8n });
    const { network, ledger } = gateway.net;
    const lateMs = Number(network.genesisTimeMs) + 20_000;
    const late = { nowMs: () => lateMs, trustingPeriodMs: 14_000n };
    t.match(await eventsOf(optionsOf([gateway], late), 1), { code: "trust_expired" });
    t.match(await eventsOf(optionsOf([gateway], { ...late, allowOldGenesis: true }), 1), { events: [{ kind: "head" }] });
    const at = {
      header: present(ledger.header(heightOf(7n)), "header"),
      hash: present(ledger.block(heightOf(7n)), "block").hash,
    };
    const vouched: NetworkFile = { ...network, checkpoint: checkpointOf(at, 14_000n) };
    const { events } = await eventsOf(optionsOf([gateway], { ...late, network: vouched }), 1, async (_, follower) => {
      t.equal(follower.origin, "checkpoint");
      t.match(await follower.client.header(heightOf(2n)), { verified: { height: 2n, how: ["history log of header 8"] } });
      const account = await follower.client.account(addressOfKey(SENDER.publicKey), { height: heightOf(3n) });
      t.equal(account.verified.height, 3n);
      t.ok(
        (await follower.client.exportAccount(addressOfKey(SENDER.publicKey))).length > 0,
        "and proof files still begin at genesis",
      );
    });
    t.match(events, [{ kind: "head", head: { value: { height: 8n } } }]);
    const wrong: NetworkFile = { ...network, checkpoint: { ...checkpointOf(at, 14_000n), height: heightOf(6n) } };
    t.match(await eventsOf(optionsOf([gateway], { ...late, network: wrong }), 1), { code: "checkpoint_mismatch" });
    t.match(await eventsOf(optionsOf([gateway], { network: vouched, nowMs: () => lateMs + 14_000 }), 1), {
      code: "trust_expired",
    });
    const store = memory();
    await eventsOf(optionsOf([gateway], { store }), 1);
    const lower: NetworkFile = {
      ...network,
      checkpoint: { ...checkpointOf(at, 14_000n), timeMs: at.header.timeMs, hash: at.header.previous },
    };
    t.match(
      await eventsOf(optionsOf([gateway], { store, network: lower, ...late }), 1),
      { code: "checkpoint_mismatch" },
      "kept trust contradicts it",
    );
  },
);

t.test("who follows set by set begins at the network file whatever the clock says, and keeps nothing", async (t) => {
  const gateway = await gatewayOf(t, { heights: 8n });
  const { network, ledger } = gateway.net;
  const header = present(ledger.header(heightOf(7n)), "header");
  const vouched: NetworkFile = { ...network, checkpoint: checkpointOf({ header, hash: headerHash(header) }, 14_000n) };
  const late = { nowMs: () => Number(network.genesisTimeMs) + 15 * 86_400_000, network: vouched, store: memory() };
  t.match(
    await eventsOf(optionsOf([gateway], late), 1),
    { code: "trust_expired" },
    "who skips begins at a checkpoint that is not too old, or not at all",
  );
  const { events } = await eventsOf(optionsOf([gateway], { ...late, setBySet: true }), 1, (_, follower) => {
    t.match({ origin: follower.origin, isSkipping: follower.verifier.isSkipping }, { origin: "genesis", isSkipping: false });
  });
  t.match(events, [{ kind: "head", head: { value: { height: 8n } } }]);
  t.equal(late.store.bytes, undefined);
  const other: NetworkFile = { ...network, checkpoint: checkpointOf({ header, hash: header.previous }, 14_000n) };
  t.match(
    await eventsOf(optionsOf([gateway], { ...late, network: other, setBySet: true }), 2),
    { events: [{ kind: "aside", code: "checkpoint_mismatch", lied: true }], code: "gateways_none" },
    "a chain without the checkpoint is not followed",
  );
});

t.test("under proof of work a chain without the checkpoint is not followed, however heavy", async (t) => {
  const gateway = await gatewayOf(t, { heights: 4n, network: minedNetwork() });
  const { network, ledger } = gateway.net;
  const header = present(ledger.header(heightOf(3n)), "header");
  for (const [hash, isOn] of [
    [headerHash(header), true],
    [header.previous, false],
  ] as const) {
    const vouched: NetworkFile = { ...network, checkpoint: checkpointOf({ header, hash }, 14_000n) };
    const { events } = await eventsOf(optionsOf([gateway], { nowMs: Date.now, network: vouched }), isOn ? 1 : 2);
    t.match(events, [isOn ? { kind: "head", head: { value: { height: 4n } } } : { kind: "aside", code: "checkpoint_mismatch" }]);
  }
});

t.test("nobody is at fault before the first block, and a witness that hangs holds a head up no longer than it may", async (t) => {
  const [first, second] = [await gatewayOf(t, { heights: 0n }), await gatewayOf(t, { heights: 1n })];
  const { net } = first;
  const fetch: typeof globalThis.fetch = async (input, init) => {
    if (input !== second.url) return await globalThis.fetch(input, init);
    return await new Promise((_, reject) => init?.signal?.addEventListener("abort", () => reject(new Error("aborted"))));
  };
  const committed = new Promise((resolve) => setTimeout(resolve, 60)).then(async () => await net.commit());
  const options = { fetch, witnessTimeoutMs: 50, nowMs: () => Number(net.network.genesisTimeMs) + 60_000 };
  const { events } = await eventsOf(optionsOf([first, second], { ...options, timeoutMs: 60_000 }), 2);
  await committed;
  t.match(events, [
    { kind: "aside", url: second.url, lied: false, code: "rpc_timeout" },
    { kind: "head", head: { value: { height: 1n } }, witnesses: [{ url: second.url, says: "silent" }] },
  ]);
});

t.test("who has nobody else to ask may ask a gateway again that lied", async (t) => {
  const gateway = await gatewayOf(t, { heights: 3n });
  let lies = true;
  const fetch: typeof globalThis.fetch = async (input, init) => {
    const answer = await globalThis.fetch(input, init);
    if (!lies) return answer;
    return new Response((await answer.text()).replaceAll(/"certificate":"[0-9a-f]+"/g, '"certificate":""'));
  };
  const ending = new AbortController();
  const follower = await LightFollower.open(optionsOf([gateway], { fetch, poll: true }), ending.signal);
  const first = follower.follow(ending.signal);
  t.match(await first.next(), { value: { kind: "aside", lied: true, error: { code: "answer_malformed" } } });
  await t.rejects(first.next(), { code: "gateways_none" });
  await t.rejects(follower.follow(ending.signal).next(), { code: "gateways_none" }, "not by itself");
  lies = false;
  follower.forgive();
  const second = follower.follow(ending.signal);
  t.match(await second.next(), { value: { kind: "head", head: { value: { height: 3n } } } });
  ending.abort();
  await second.return();
});

t.test("under proof of work what is undone is told of before what takes its place", async (t) => {
  const { net, url } = await gatewayOf(t, { heights: 2n, network: minedNetwork() });
  const options: FollowerOptions = { network: net.network, urls: [url], pollMs: 20 };
  const told: unknown[] = [];
  const { events } = await eventsOf(options, 5, async (event) => {
    told.push(event.kind === "head" ? event.head.value.height : event.kind);
    if (told.length === 1) await net.commit();
    if (told.length !== 2) return;
    await net.undo(heightOf(1n));
    net.miner = addressOfKey(SENDER.publicKey);
    await net.commitUntil(4n);
  });
  const undone = events.find((event) => event.kind === "undone");
  // Down to what the subscription told, which may have begun after the first head.
  t.ok(undone !== undefined && undone.from >= 2n && undone.from <= 3n);
  t.same(told.slice(0, 3), [2n, 3n, "undone"]);
});

t.test("a set that changes while nobody looks is skipped to, and a network of work is followed as well", async (t) => {
  const gateway = await gatewayOf(t, { heights: 0n });
  const { net } = gateway;
  const changes: Call[] = [0, 1, 2, 3].map((index) => ({ kind: "validatorSet", key: keyPairAt(index).publicKey, power: 0n }));
  changes.push(...[4, 5, 6].map((index): Call => ({ kind: "validatorSet", key: keyPairAt(index).publicKey, power: 1n })));
  await net.commit([transactionOf(net, changes)]);
  await net.commitUntil(9n);
  const { events } = await eventsOf(optionsOf([gateway]), 1, (_, { verifier }) => void t.equal(verifier.trustedHeight, 9n));
  t.match(events, [{ kind: "head", head: { value: { height: 9n } } }]);
  const mined = await gatewayOf(t, { heights: 4n, network: minedNetwork() });
  const work = await eventsOf(optionsOf([mined], { nowMs: Date.now }), 1);
  t.match(work.events, [{ kind: "head", head: { value: { height: 4n }, verified: { finality: { kind: "probabilistic" } } } }]);
});

/** Every module that a file needs at run time, ours and others', as it stands in their imports. */
async function importsOf(entry: string, seen: Map<string, string>): Promise<void> {
  const text = await readFile(new URL(entry, import.meta.url), "utf8");
  for (const [, names = "", from = ""] of text.matchAll(/^(?:import|export) ([^;]*?)from "([^"]+)";|^import "/gm)) {
    const isType = names.startsWith("type ") || /^\{\s*(type [^,}]+,?\s*)+\}\s*$/.test(names);
    if (isType) continue;
    const found = from.startsWith(".") ? new URL(from, new URL(entry, import.meta.url)).href : from;
    if (seen.has(found)) continue;
    seen.set(found, entry);
    if (from.startsWith(".")) await importsOf(found, seen);
  }
  for (const [, from = ""] of text.matchAll(/(?<!typeof )\bimport\(\s*"([^"]+)"/g)) seen.set(from, entry);
}

t.test("what a browser loads imports no module of Node's, and few packages", async (t) => {
  const seen = new Map<string, string>();
  for (const entry of ["./follower.ts", "./store.ts", "../light/fraud.ts", "../light/checkpoint.ts", "../light/prooffile.ts"])
    await importsOf(new URL(entry, import.meta.url).href, seen);
  const root = new URL("../../", import.meta.url).pathname;
  const ours = [...seen.keys()].filter((name) => name.startsWith("file:")).map((name) => relative(root, new URL(name).pathname));
  t.ok(ours.length > 50, `${ours.length} modules`);
  t.ok(ours.includes("node/light/verifier.ts") && ours.includes("node/rpc/feed.ts"), "and the walk went where it should");
  const packages = [...seen].filter(([name]) => !name.startsWith("file:"));
  t.strictSame(
    packages.filter(([name]) => name.startsWith("node:")),
    [],
  );
  const allowed = /^(zod|hash-wasm|@noble\/(hashes|curves|post-quantum|ciphers)\/[\w.-]+|@scure\/base|multiformats\/[\w/.-]+)$/;
  t.strictSame(
    packages.filter(([name]) => !allowed.test(name)),
    [],
  );
  const own = new Map<string, string>();
  await importsOf(new URL("./file-store.ts", import.meta.url).href, own);
  t.ok([...own.keys()].includes("node:fs"), "the same walk finds them where they are");
  t.equal(LightVerifier.name, "LightVerifier");
});
