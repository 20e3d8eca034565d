/** Record logs over a real ledger: equal to the RFC's tree, made in steps, and what becomes of them when records, tiles or the chain go. */

import fc from "fast-check";
import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { toHex, utf8 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import type { Result } from "../../crypto/base/result.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { checkProperty } from "../../crypto/testing/property.ts";
import { keyPairFromSeed, noteSeedOf } from "../../crypto/sign/key.ts";
import { heightOf } from "../../chain/block/height.ts";
import { keyPairAt } from "../../chain/block/testing/fixtures.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction } from "../../chain/block/transaction.ts";
import { referencePath, referenceRoot, SHA256_HASHER } from "../../chain/merkle/testing/reference.ts";
import { inclusionProof, rootAt } from "../../chain/merkle/log.ts";
import type { Commit } from "../../chain/ledger/ledger.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import type { Store } from "../../chain/store/store.ts";
import { parseCheckpoint, parseNote } from "../light/checkpoint.ts";
import { minedNetwork } from "../driver/testing/miner.ts";
import { openLog } from "../log/log.ts";
import type { RecordLogAnswer, RecordLogQuestion, RecordLogRefusal } from "../rpc/backend.ts";
import { DevNet } from "../rpc/testing/devnet.ts";
import { RecordLogs } from "./recordlog.ts";
import { Tiles } from "./tiles.ts";

const ALICE = keyPairAt(100);
const alice = addressOfKey(ALICE.publicKey);
const KEY = keyPairFromSeed("ed25519", noteSeedOf(new Uint8Array(32).fill(9)));
const EVENTS = { stream: "events", partition: 0 };

/** A network, and how to append to it. */
class Chain {
  readonly net: DevNet;
  #nonce = 0n;
  constructor(net: DevNet) {
    this.net = net;
  }

  async send(...calls: readonly Call[]): Promise<Commit> {
    const { chainId } = this.net.network;
    const expiry = heightOf(this.net.ledger.head().height + 9n);
    const body = { chainId, sender: alice, nonce: this.#nonce, fee: 10_000_000n, expiry, calls };
    this.#nonce += 1n;
    return await this.net.commit([signTransaction(body, ALICE)]);
  }

  async append(...values: readonly string[]): Promise<Commit> {
    return await this.send({ kind: "logAppend", ...EVENTS, records: values.map(utf8) });
  }

  async erase(index: bigint): Promise<Commit> {
    return await this.send({ kind: "recordErase", ...EVENTS, index });
  }

  /** Goes back to a height, as an operator does. */
  async undo(height: bigint, nonce: bigint): Promise<void> {
    await this.net.undo(heightOf(height));
    this.#nonce = nonce;
  }

  entries(): Uint8Array[] {
    return this.net.ledger.records("events", 0, 0n, 1000).map(({ bytes }) => bytes);
  }
}

async function open(test: Test): Promise<Chain> {
  const net = await DevNet.open();
  test.teardown(async () => await net[Symbol.asyncDispose]());
  return new Chain(net);
}

type Made = { readonly follow?: readonly string[]; readonly stepsMax?: number; readonly store?: Store };

async function logsOf({ net }: Chain, { follow = [], store = openMemoryStore(), ...rest }: Made = {}): Promise<RecordLogs> {
  const log = await openLog({ level: "silent", destination: "stderr" });
  const options = { ledger: net.ledger, network: net.network, keyPair: KEY, log, follow, ...rest };
  const logs = new RecordLogs({ ...options, open: () => Promise.resolve(store) });
  await logs.begin();
  return logs;
}

async function ask(
  logs: RecordLogs,
  index: bigint,
  more: Partial<RecordLogQuestion> = {},
): Promise<Result<RecordLogAnswer, RecordLogRefusal>> {
  return await logs.receipt({ ...EVENTS, index, ...more }, new AbortController().signal);
}

async function codeOf(asked: Promise<Result<RecordLogAnswer, RecordLogRefusal>>): Promise<string> {
  const answered = await asked;
  return answered.ok ? "ok" : answered.error.code;
}

function rootOf(answered: Result<RecordLogAnswer, RecordLogRefusal>): string {
  if (!answered.ok) return answered.error.code;
  const note = parseNote(utf8(answered.value.checkpoint));
  const checkpoint = note.ok ? parseCheckpoint(note.value.text) : undefined;
  return checkpoint?.ok === true ? toHex(checkpoint.value.root) : "no checkpoint";
}

function rfcRoot(entries: readonly Uint8Array[]): string {
  return toHex(referenceRoot(SHA256_HASHER, entries));
}

t.test("tiles give the roots and paths of the RFC, wherever they are written and loaded again", async (t) => {
  await checkProperty(
    t,
    "tiles",
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 4 }),
      fc.nat(),
      async (lengths, draw) => {
        const store = openMemoryStore();
        const name = utf8("log");
        const entries: Uint8Array[] = [];
        for (const length of lengths) {
          const tiles = Tiles.load(SHA256_HASHER, store, name, BigInt(entries.length));
          for (let more = 0; more < length; more += 1) {
            entries.push(utf8(`${entries.length}`));
            tiles.append(SHA256_HASHER.leaf(present(entries.at(-1), "entry")));
          }
          await store.write(tiles.takeOperations(), { sync: false });
        }
        const tiles = Tiles.load(SHA256_HASHER, store, name, BigInt(entries.length));
        const size = 1 + (draw % entries.length);
        const index = draw % size;
        const read = (level: number, at: bigint) => tiles.node(level, at);
        const path = inclusionProof(SHA256_HASHER, { index: BigInt(index), size: BigInt(size) }, read).map(toHex);
        const expected = referencePath(SHA256_HASHER, index, entries.slice(0, size)).map(toHex);
        return (
          toHex(rootAt(SHA256_HASHER, BigInt(size), read)) === rfcRoot(entries.slice(0, size)) && path.join() === expected.join()
        );
      },
    ),
    40,
  );
  // Beyond a tile of tiles.
  const tiles = Tiles.load(SHA256_HASHER, openMemoryStore(), utf8("log"), 0n);
  const leaf = SHA256_HASHER.leaf(utf8("same"));
  for (let count = 0; count < 65_537; count += 1) tiles.append(leaf);
  let perfect = leaf;
  for (let level = 0; level < 16; level += 1) perfect = SHA256_HASHER.node(perfect, perfect);
  t.same(tiles.node(16, 0n), perfect);
  t.same(tiles.node(0, 65_536n), leaf);
});

t.test("every node comes to the root of the RFC, in as many steps as it takes, and at each size that was", async (t) => {
  const chain = await open(t);
  await chain.append("a");
  const [one, two] = [await logsOf(chain), await logsOf(chain, { stepsMax: 1 })];
  t.equal(rootOf(await ask(one, 0n)), rfcRoot(chain.entries()));
  const values = Array.from({ length: 700 }, (_, at) => `${at}`);
  await chain.append(...values);
  const entries = chain.entries();
  t.equal(rootOf(await ask(one, 700n)), rfcRoot(entries));
  t.match(await ask(two, 3n), { error: { code: "recordlog_building", done: "512", size: "701" } });
  t.equal(rootOf(await ask(two, 3n)), rfcRoot(entries), "it went on from there");
  for (const size of [1n, 2n, 255n, 256n, 257n, 700n])
    t.equal(rootOf(await ask(two, 0n, { size })), rfcRoot(entries.slice(0, Number(size))), `at size ${size}`);
  t.match(await ask(one, 701n), { error: { code: "record_unknown", field: "index" } }, "one past the end");
  t.match(await ask(one, 0n, { size: 702n }), { error: { code: "record_unknown", field: "size" } });
  t.match(await ask(one, 5n, { size: 5n }), { error: { code: "range_invalid" } }, "not in it yet at that size");
  t.match(await ask(one, 0n, { partition: 1 }), { error: { code: "partition_unknown" } });
  const crowd = await Promise.all(Array.from({ length: 12 }, async (_, at) => await codeOf(ask(one, BigInt(at)))));
  t.equal(crowd.filter((code) => code === "ok").length, 8);
  t.equal(crowd.filter((code) => code === "recordlog_busy").length, 4, "and no more than eight at once");
});

t.test("a record that was dropped before it was hashed stops the log, and one of a followed stream does not", async (t) => {
  const chain = await open(t);
  await chain.append("a", "b", "c");
  const store = openMemoryStore();
  const [late, followed] = [await logsOf(chain), await logsOf(chain, { follow: ["events"], store })];
  using _ = chain.net.ledger.onCommit((commit) => followed.follow(commit));
  await chain.append("d");
  const entries = chain.entries();
  await chain.erase(1n);
  await chain.append("e");
  t.match(await ask(late, 3n), { error: { code: "recordlog_dropped", index: "1" } });
  const all = [...entries, present(chain.entries()[4], "record 4")];
  t.equal(rootOf(await ask(followed, 3n)), rfcRoot(all), "as if nothing had been erased");
  // What came while it was down is caught up with.
  const kept = await copyOf(store);
  await followed[Symbol.asyncDispose]();
  await t.rejects(ask(followed, 3n), "closed");
  await chain.append("f");
  const again = await logsOf(chain, { follow: ["events"], store: kept });
  all.push(present(chain.entries()[5], "record 5"));
  t.equal(rootOf(await ask(again, 1n)), rfcRoot(all));
});

t.test("a followed stream is followed whichever call appends to it", async (t) => {
  const chain = await open(t);
  const session = { ...EVENTS, session: 1n };
  const appends: readonly Call[] = [
    { kind: "logAppend", ...EVENTS, records: [utf8("a")] },
    { kind: "streamAppend", ...EVENTS, records: [{ key: utf8("k"), value: utf8("b"), headers: [] }] },
    { kind: "sessionAppend", ...session, sequence: 0n, records: [utf8("c")] },
  ];
  await chain.send({ kind: "sessionOpen", ...session });
  const followed = await logsOf(chain, { follow: ["events"] });
  using _ = chain.net.ledger.onCommit((commit) => followed.follow(commit));
  const all: Uint8Array[] = [];
  for (const [index, call] of appends.entries()) {
    await chain.send(call);
    all.push(present(chain.entries()[index], "the record"));
    await chain.erase(BigInt(index));
  }
  t.equal(rootOf(await ask(followed, 0n)), rfcRoot(all), "each was hashed before it was erased");
});

t.test("tiles that a disk changed or lost are made again, never signed", async (t) => {
  const chain = await open(t);
  await chain.append(...Array.from({ length: 300 }, (_, at) => `${at}`));
  const expected = rfcRoot(chain.entries());
  const store = openMemoryStore();
  t.equal(rootOf(await ask(await logsOf(chain, { store }), 0n)), expected);
  const rows: { readonly key: Uint8Array; readonly value: Uint8Array }[] = [];
  for await (const row of store.entries({})) rows.push(row);
  t.equal(rows.length, 4, "how long it is, a full tile, the one that grows, the one above");
  for (const { key, value } of rows) {
    for (const changed of [value.map((byte, at) => (at === 3 ? byte ^ 1 : byte)), undefined]) {
      const operation = changed === undefined ? { kind: "delete" as const, key } : { kind: "put" as const, key, value: changed };
      await store.write([operation], { sync: false });
      const logs = await logsOf(chain, { store });
      const first = rootOf(await ask(logs, 0n));
      t.ok(
        first === expected || first === "recordlog_building",
        `row ${toHex(key)}, ${changed === undefined ? "lost" : "changed"}`,
      );
      t.equal(rootOf(await ask(logs, 0n)), expected);
      await store.write([{ kind: "put", key, value }], { sync: false });
    }
  }
});

t.test("a store that cannot be opened is tried again, and hinders nobody from closing", async (t) => {
  const chain = await open(t);
  await chain.append("a");
  const log = await openLog({ level: "silent", destination: "stderr" });
  let tries = 0;
  const { ledger, network } = chain.net;
  const logs = new RecordLogs({
    ledger,
    network,
    keyPair: KEY,
    log,
    follow: [],
    open: async () => {
      tries += 1;
      if (tries !== 2) throw new CodedError("store_locked");
      return await Promise.resolve(openMemoryStore());
    },
  });
  await t.rejects(ask(logs, 0n), { code: "store_locked" });
  t.equal(await codeOf(ask(logs, 0n)), "ok");
  await logs[Symbol.asyncDispose]();
  const never = new RecordLogs({
    ledger,
    network,
    keyPair: KEY,
    log,
    follow: [],
    open: () => Promise.reject(new CodedError("x")),
  });
  await t.rejects(ask(never, 0n), { code: "x" });
  await never[Symbol.asyncDispose]();
});

t.test("records that the state does not commit to are not signed", async (t) => {
  const chain = await open(t);
  await chain.append("a", "b");
  const { ledger } = chain.net;
  const forged = Object.create(ledger) as typeof ledger;
  Object.defineProperties(forged, {
    head: { value: () => ledger.head() },
    state: { value: (height: Parameters<typeof ledger.state>[0]) => ledger.state(height) },
    proveConsistency: { value: (...of: Parameters<typeof ledger.proveConsistency>) => ledger.proveConsistency(...of) },
    records: { value: () => chain.entries().map((bytes, at) => ({ index: BigInt(at), bytes: bytes.map((byte) => byte ^ 1) })) },
  });
  const log = await openLog({ level: "silent", destination: "stderr" });
  const options = { network: chain.net.network, keyPair: KEY, log, follow: [], open: () => Promise.resolve(openMemoryStore()) };
  await t.rejects(ask(new RecordLogs({ ...options, ledger: forged }), 0n), { code: "store_damaged" });
  t.equal(await codeOf(ask(new RecordLogs({ ...options, ledger }), 0n)), "ok");
});

t.test(
  "an operator who went back signs nothing that contradicts what the node signed, and nothing is lost by going back",
  async (t) => {
    const chain = await open(t);
    await chain.append("a");
    const { height } = chain.net.ledger.head();
    await chain.append("b");
    const store = openMemoryStore();
    const logs = await logsOf(chain, { store });
    const signed = rootOf(await ask(logs, 1n));
    await chain.undo(height, 1n);
    t.equal(await codeOf(ask(logs, 0n)), "recordlog_conflict", "shorter than what was signed");
    await chain.append("b");
    t.equal(rootOf(await ask(logs, 1n)), signed, "the same again");
    await chain.undo(height, 1n);
    chain.net.blockMs += 1n;
    await chain.append("b");
    t.equal(await codeOf(ask(logs, 1n)), "recordlog_conflict", "the same data at another time is another record");
    t.equal(await codeOf(ask(await logsOf(chain, { store }), 1n)), "recordlog_conflict", "also after a restart");
    t.equal(rootOf(await ask(await logsOf(chain), 1n)), rfcRoot(chain.entries()), "a node that signed nothing may");
  },
);

t.test("proof of work signs no record logs: what is in them may be undone", async (t) => {
  const net = await DevNet.open({ network: minedNetwork({ finalityDepth: 3, reorgDepthMax: 20 }) });
  t.teardown(async () => await net[Symbol.asyncDispose]());
  const chain = new Chain(net);
  await chain.append("a");
  t.equal(await codeOf(ask(await logsOf(chain, { follow: ["events"] }), 0n)), "recordlog_work");
});

/** What is on the disk after a crash. */
async function copyOf(store: Store): Promise<Store> {
  const copy = openMemoryStore();
  for await (const { key, value } of store.entries({})) await copy.write([{ kind: "put", key, value }], { sync: false });
  return copy;
}
