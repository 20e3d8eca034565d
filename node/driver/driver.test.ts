/**
 * Four validators with real keys, ledgers, logs and guards in one process, joined by a wire that the test can cut:
 * they decide blocks, survive the loss of one, bring it back, and keep one history. Sockets are `node/network`'s
 * tests, processes the launcher's.
 */

import fc from "fast-check";
import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { concatBytes, toHex, u32 } from "../../crypto/base/bytes.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { heightOf } from "../../chain/block/height.ts";
import { keyPairAt, proposalOf, quorumOf } from "../../chain/block/testing/fixtures.ts";
import { headerArbitrary, transactionArbitrary } from "../../chain/block/testing/arbitrary.ts";
import { assembleTransaction, signTransaction, type Transaction } from "../../chain/block/transaction.ts";
import { assembleBlock, type Block } from "../../chain/block/block.ts";
import { type ProposalMessage } from "../../consensus/tendermint/message.ts";
import { TENDERMINT_CODEC } from "../../consensus/tendermint/codec.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { checkDecoder, checkProperty } from "../../crypto/testing/property.ts";
import { encodeBatch, parseBatch } from "../network/batcher.ts";
import { testLog } from "../network/testing/nodes.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { Bodies, compactMessage, encodeCompact, isCompact, type KnownTransactions, parseCompact } from "./bodies.ts";
import { BlockPace } from "./pace.ts";
import { SPREAD_MS_MAX } from "./spread.ts";
import type { Delivery } from "./verdict.ts";
import { type Member, Wire, WIRE_NETWORK } from "./testing/wire.ts";

t.test("four validators", async (t) => {
  const wire = new Wire(t);
  // A member that comes late on a busy machine finds the others a height ahead.
  wire.isSyncing = true;
  const stores = [0, 1, 2, 3].map(() => openMemoryStore());
  for (const [index, store] of stores.entries()) await wire.start(index, store);
  const all = [0, 1, 2, 3];
  const member = (index: number): Member => wire.member(index);

  await t.test("decide the same blocks with certificates that check", async (t) => {
    wire.transfer(5n);
    await wire.reach(1n, all);
    wire.transfer(7n);
    await wire.reach(2n, all);
    const { ledger } = member(0);
    for (const index of all) {
      const other = member(index).ledger;
      t.same(other.headerBytes(heightOf(2n)), ledger.headerBytes(heightOf(2n)), `validator ${index} has the same header`);
      const block = present(other.block(heightOf(2n)), "block");
      t.ok((await other.checkCertificate(block, present(other.certificate(heightOf(2n)), "certificate"))).ok);
      t.same(block.hash, member(0).ledger.head().height === 2n ? ledger.head().hash : block.hash);
    }
  });

  await t.test("read back the decided block byte for byte, with the certificate that the chain committed to", async (t) => {
    for (const height of [1n, 2n].map(heightOf)) {
      t.same(member(1).ledger.blockBytes(height), member(0).ledger.blockBytes(height));
    }
  });

  await t.test("go on when one of them is gone", async (t) => {
    await wire.stop(3);
    const { id } = wire.transfer(11n);
    // A block that was being decided already may not hold it; then the next one does.
    const isEverywhere = (): boolean => [0, 1, 2].every((index) => member(index).ledger.findTransaction(id) !== undefined);
    await wire.until(isEverywhere, () => "the transaction is in no block");
    t.ok(wire.pool.every((each) => member(0).ledger.findTransaction(each.id) !== undefined));
  });

  await t.test("take it back once it has the blocks that it missed", async (t) => {
    const behind = await Ledger.open({ store: present(stores[3], "store"), network: WIRE_NETWORK, executor: EXECUTOR });
    const before = behind.head().height;
    wire.isSyncing = false;
    const { driver, ledger } = await wire.start(3, present(stores[3], "store"));
    t.equal(ledger.head().height, before, "it opens at the height that it had acknowledged");
    const source = member(0).ledger;
    // What is decided from here on it may decide with the others.
    const { height: top } = source.head();
    for (let height = before + 1n; height <= top; height += 1n) {
      const block = present(source.block(heightOf(height)), "block");
      const certificate = present(source.certificate(heightOf(height)), "certificate");
      t.match(await driver.apply(block, { ...quorumOf(certificate), signatures: quorumOf(certificate).signatures.slice(0, 2) }), {
        ok: false,
        error: { code: "certificate_power" },
      });
      t.ok((await driver.apply(block, certificate)).ok);
    }
    wire.isSyncing = true;
    const height = source.head().height;
    wire.transfer(13n);
    await wire.reach(height + 1n, all);
    t.same(member(3).ledger.headerBytes(heightOf(height + 1n)), member(0).ledger.headerBytes(heightOf(height + 1n)));
  });

  await t.test("decide nothing while half of them cannot hear the rest, and go on when they can", async (t) => {
    wire.cut.add(2).add(3);
    const before = Math.max(...all.map((index) => Number(member(index).ledger.head().height)));
    wire.transfer(17n);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    for (const index of all) t.ok(member(index).ledger.head().height <= BigInt(before) + 1n, `validator ${index} is not ahead`);
    wire.cut.clear();
    await wire.reach(BigInt(before) + 1n, all);
    const hashes = new Set(
      all.map((index) => toHex(present(member(index).ledger.headerBytes(heightOf(BigInt(before) + 1n)), "header"))),
    );
    t.equal(hashes.size, 1);
  });

  await t.test("prove any earlier header from the newest one", async (t) => {
    const { ledger } = member(0);
    const { height } = ledger.head();
    t.ok(ledger.proveHistory(heightOf(1n), height).length >= 1);
  });

  await t.test("said nothing that another called bad", (t) => {
    t.same(wire.rejected, []);
    t.end();
  });
});

t.test("a proposer's blocks come to be as large as the network gets through in the time there is", async (t) => {
  const TARGET_MS = 750;
  /** Decides full blocks, one after another, in a network that takes this long for the largest, and votes beside. */
  const settle = (largestMs: number, votesMs: number, heights: number, pace = new BlockPace(TARGET_MS)): BlockPace => {
    for (let height = 0; height < heights; height += 1) {
      const part = pace.shareAt(0);
      pace.begin(u32(height), part, 0);
      pace.decided(u32(height), votesMs + part * largestMs);
    }
    return pace;
  };
  t.equal(settle(500, 50, 20).shareAt(0), 1, "a network that is fast takes the largest");
  await checkProperty(
    t,
    "slow networks",
    fc.property(fc.integer({ min: 1_500, max: 40_000 }), fc.integer({ min: 0, max: 100 }), (largestMs, votesMs) => {
      const share = settle(largestMs, votesMs, 40).shareAt(0);
      const tookMs = votesMs + share * largestMs;
      return tookMs > TARGET_MS * 0.6 && tookMs < TARGET_MS * 1.3;
    }),
  );
  const pace = settle(20_000, 0, 40);
  const share = pace.shareAt(0);
  for (const [round, part] of [
    [1, 2],
    [3, 8],
    [1_000_000, 64],
  ] as const)
    t.equal(pace.shareAt(round), Math.max(1 / 128, share / part), `after ${round} rounds that failed`);
  pace.begin(u32(1_000), share / 10, 0);
  pace.decided(u32(1_000), 200);
  t.equal(pace.shareAt(0), share, "a block that was nearly empty tells nothing");
  pace.begin(u32(1_001), share / 10, 0);
  pace.decided(u32(1_001), 10_000);
  t.equal(pace.shareAt(0), share / 2, "unless it was slow all the same");
  pace.decided(u32(1_002), 0);
  t.equal(pace.shareAt(0), share / 2, "nor does one that a peer handed over decided");
  t.ok(settle(500, 0, 20, pace).shareAt(0) > share, "what becomes fast again is used again");
});

/** A proposal of a block of these transactions. */
function proposalWith(transactions: readonly Transaction[]): ProposalMessage {
  const [header] = fc.sample(headerArbitrary, { numRuns: 1, seed: 7 });
  const block = assembleBlock({
    ...present(header, "header"),
    transactions,
    results: transactions.map(() => ({ kind: "applied" })),
    previousCertificate: undefined,
    evidence: [],
  });
  const { height } = block.header;
  return { kind: "proposal", proposal: proposalOf(0, { height, blockHash: block.hash }), block };
}

/** Hears messages as a driver does. */
function listener(): {
  readonly heard: Uint8Array[];
  readonly reused: number[];
  readonly deliver: (bytes: Uint8Array, known?: KnownTransactions) => Promise<Delivery>;
} {
  const heard: Uint8Array[] = [];
  const reused: number[] = [];
  const deliver = async (bytes: Uint8Array, known?: KnownTransactions): Promise<Delivery> => {
    const parsed = await Promise.resolve(TENDERMINT_CODEC.parse(bytes, known));
    if (!parsed.ok) return known !== undefined && parsed.error.code === "proposal_body" ? "otherBody" : "reject";
    heard.push(bytes);
    const { transactions } = TENDERMINT_CODEC.blockOf(parsed.value) as Block;
    reused.push(transactions.filter((transaction, index) => transaction === known?.[index]).length);
    return "accept";
  };
  return { heard, reused, deliver };
}

type Answers = { readonly [peer: string]: (ids: readonly string[]) => readonly Uint8Array[] };

type SentParts = Pick<ConstructorParameters<typeof Bodies>[0], "sentAgoMs" | "flush" | "settled">;

/** Bodies with a mempool and peers that answer so; `asked` and `blamed` tell what happened. */
function bodiesWith(waiting: readonly Transaction[], answers: Answers, sent: Partial<SentParts> = {}) {
  const asked: string[] = [];
  const blamed: string[] = [];
  const bodies = new Bodies({
    waiting: (id) => waiting.find((transaction) => toHex(transaction.id) === toHex(id)),
    sentAgoMs: () => Number.POSITIVE_INFINITY,
    flush: async () => undefined,
    settled: async () => undefined,
    ...sent,
    network: {
      peers: () => Object.keys(answers).map((id) => ({ id })),
      penalise: (peer) => void blamed.push(peer),
      request: async function* request(peer, _protocol, question) {
        const ids = Array.from({ length: question.length / 32 }, (_, at) => toHex(question.subarray(at * 32, at * 32 + 32)));
        asked.push(`${peer} ${ids.length}`);
        const bodiesOf = answers[peer];
        if (bodiesOf === undefined) throw new CodedError("peer_stalled");
        yield* await Promise.resolve(bodiesOf(ids));
      },
    },
    log: testLog,
    signal: new AbortController().signal,
  });
  return { bodies, asked, blamed };
}

const distinct = fc.uniqueArray(transactionArbitrary, { minLength: 1, maxLength: 8, selector: ({ id }) => toHex(id) });
const TRANSACTIONS = fc.sample(distinct, { numRuns: 20, seed: 11 }).find(({ length }) => length >= 4) ?? [];
const bodiesOf =
  (transactions: readonly Transaction[]) =>
  (ids: readonly string[]): readonly Uint8Array[] => {
    const found = transactions.filter(({ id }) => ids.includes(toHex(id)));
    return found.length === 0 ? [] : [encodeBatch(found.map(({ bytes }) => bytes))];
  };

t.test("a proposal without bodies is put together again byte for byte, from what waits and what came with it", async (t) => {
  await checkProperty(
    t,
    "compact proposals",
    fc.asyncProperty(distinct, fc.infiniteStream(fc.boolean()), async (transactions, coins) => {
      const young = new Set(transactions.filter(() => coins.next().value));
      const message = proposalWith(transactions);
      const whole = TENDERMINT_CODEC.encode(message);
      const wire = compactMessage(whole, message.block, (transaction) => young.has(transaction));
      if (isCompact(wire) !== young.size < transactions.length) return false;
      const { heard, reused, deliver } = listener();
      // What is young to whoever proposes may wait here already, or not yet.
      const waiting = transactions.filter((transaction) => !young.has(transaction) || coins.next().value);
      const { bodies, asked } = bodiesWith(waiting, {});
      const verdict = await bodies.receive("a", wire, deliver);
      const isSame = heard.length === 1 && toHex(present(heard[0], "message")) === toHex(whole);
      const isReused = reused[0] === (isCompact(wire) ? waiting.length : 0);
      return verdict === "accept" && isSame && isReused && asked.length === 0;
    }),
    100,
  );
  await checkDecoder(t, "proposal without bodies", {
    valid: distinct.map((transactions) => {
      const message = proposalWith(transactions);
      return compactMessage(TENDERMINT_CODEC.encode(message), message.block, () => false);
    }),
    decode: parseCompact,
    encode: encodeCompact,
  });
});

t.test(
  "bodies that are missing come from whoever passed the proposal on, or from another, and nothing else comes with them",
  async (t) => {
    const message = proposalWith(TRANSACTIONS);
    const wire = compactMessage(TENDERMINT_CODEC.encode(message), message.block, () => false);
    const some = TRANSACTIONS.slice(1);
    const { length } = TRANSACTIONS;
    t.ok(length >= 4);
    const run = async (answers: Answers): Promise<readonly [string, readonly string[], readonly string[]]> => {
      const { bodies, asked, blamed } = bodiesWith(some, answers);
      return [await bodies.receive("a", wire, listener().deliver), asked, blamed];
    };
    t.same(await run({ a: bodiesOf(TRANSACTIONS) }), ["accept", ["a 1"], []]);
    t.same(
      await run({ a: () => [], b: bodiesOf(TRANSACTIONS) }),
      ["accept", ["a 1", "b 1"], []],
      "who has them not is not blamed",
    );
    t.same(await run({ b: bodiesOf(TRANSACTIONS) }), ["accept", ["a 1", "b 1"], []], "nor who does not answer");
    t.same(
      await run({ a: () => [], b: () => [], c: () => [], d: bodiesOf(TRANSACTIONS) }),
      ["accept", ["a 1", "c 1", "d 1"], []],
      "others are asked in turn",
    );
    t.same((await run({ a: () => [] }))[0], "ignore");
    const stranger = present(some[0], "transaction").bytes;
    t.same((await run({ a: () => [encodeBatch([stranger])], b: bodiesOf(TRANSACTIONS) })).slice(0, 3), [
      "accept",
      ["a 1", "b 1"],
      ["a"],
    ]);
    t.same((await run({ a: () => [u32(1)] }))[2], ["a"], "what is no batch");
    const large = [0, 1, 2, 3].map((nonce) => {
      const value = encodeValue(new Uint8Array(50_000));
      const put = { kind: "tablePut" as const, namespace: "a", table: "b", key: u32(nonce), value };
      const { body } = present(TRANSACTIONS[0], "transaction");
      const sender = proposalOf(3, {}).validator;
      return signTransaction(
        { ...body, sender, nonce: BigInt(nonce), calls: nonce % 2 === 0 ? [put, put] : [put, put, put, put] },
        keyPairAt(3),
      );
    });
    const signal = new AbortController().signal;
    const asked = concatBytes(...large.map(({ id }) => id));
    let served = 0;
    for await (const frame of bodiesWith(large, {}).bodies.handler({ peer: "b", bytes: asked, signal })) {
      const batch = parseBatch(frame);
      t.ok(batch.ok, "no frame is larger than a batch may be");
      served += batch.ok ? batch.value.length : 0;
    }
    t.equal(served, 4);
    const { bodies } = bodiesWith(TRANSACTIONS, {});
    const serve = async (question: Uint8Array): Promise<number> => {
      let sizeBytes = 0;
      for await (const frame of bodies.handler({ peer: "b", bytes: question, signal: new AbortController().signal }))
        sizeBytes += frame.length;
      return sizeBytes;
    };
    t.ok((await serve(present(TRANSACTIONS[0], "transaction").id)) > 0);
    t.equal(await serve(new Uint8Array(32)), 0, "what it does not have it leaves out");
    await t.rejects(serve(new Uint8Array(33)), { code: "request_refused" });
    await t.rejects(serve(new Uint8Array(0)), { code: "request_refused" });
    await t.rejects(serve(new Uint8Array(32 * 1_025)), { code: "request_refused" });
  },
);

t.test("a proposal names what was sent, and has the bodies of what some may lack", async (t) => {
  const message = proposalWith(TRANSACTIONS);
  const whole = TENDERMINT_CODEC.encode(message);
  const [unsent, late] = TRANSACTIONS as [Transaction, Transaction];
  const unsentIds = new Set([unsent.id, late.id].map(toHex));
  const agoMs = new Map<string, number>([[toHex(late.id), 20]]);
  const { bodies } = bodiesWith(
    [],
    {},
    {
      flush: async () => void unsentIds.delete(toHex(late.id)),
      sentAgoMs: ({ id }) => (unsentIds.has(toHex(id)) ? undefined : (agoMs.get(toHex(id)) ?? Number.POSITIVE_INFINITY)),
    },
  );
  const bodiesIn = async (): Promise<readonly string[]> => {
    const compact = parseCompact(await bodies.prepare(whole, message.block));
    const whole_ = compact.ok ? compact.value.items.filter(({ length }) => length > 32) : [];
    return TRANSACTIONS.filter(({ bytes }) => whole_.some((item) => toHex(item) === toHex(bytes))).map(({ id }) => toHex(id));
  };
  t.same(
    await bodiesIn(),
    [unsent, late].map(({ id }) => toHex(id)),
    "a new network has shown nothing yet",
  );
  let proposals = 1;
  for (; proposals < 100 && (await bodiesIn()).length === 2; proposals += 1);
  t.ok(proposals > 5 && proposals < 20, `${proposals} proposals that all could read`);
  t.same(await bodiesIn(), [toHex(unsent.id)], "what was not sent nobody has");
  for (let proposal = 0; proposal < 20; proposal += 1) await bodiesIn();
  const ask = async (): Promise<void> => {
    for await (const _ of bodies.handler({ peer: "b", bytes: late.id, signal: new AbortController().signal }));
  };
  await ask();
  await ask();
  agoMs.set(toHex(late.id), 19);
  t.same((await bodiesIn()).length, 2, "somebody lacked it");
  agoMs.set(toHex(late.id), 20);
  t.same((await bodiesIn()).length, 1, "and who asks twice between two proposals is heard once");
  for (let proposal = 0; proposal < 20; proposal += 1) {
    await ask();
    await bodiesIn();
  }
  await ask();
  agoMs.set(toHex(late.id), SPREAD_MS_MAX - 1);
  t.same((await bodiesIn()).length, 2, "it grows up to its bound");
  await ask();
  agoMs.set(toHex(late.id), SPREAD_MS_MAX);
  t.same((await bodiesIn()).length, 1, "and whoever asks without end brings it no further");
});

t.test("what comes before a proposal is there when it is put together", async (t) => {
  const message = proposalWith(TRANSACTIONS);
  const wire = compactMessage(TENDERMINT_CODEC.encode(message), message.block, () => false);
  const waiting = TRANSACTIONS.slice(2);
  let count = 0;
  const settled = async (): Promise<void> => {
    count += 1;
    waiting.push(...TRANSACTIONS.slice(0, 1));
  };
  const { bodies, asked } = bodiesWith(waiting, { a: bodiesOf(TRANSACTIONS) }, { settled });
  t.equal(await bodies.receive("a", wire, listener().deliver), "accept");
  t.same(asked, ["a 1"], "only what is missing then is asked for");
  const [first] = TRANSACTIONS as [Transaction];
  const whole = bodiesWith(TRANSACTIONS, {}, { settled });
  t.equal(await whole.bodies.receive("a", wire, listener().deliver), "accept");
  t.equal(count, 1, "who lacks nothing does not wait");
  t.ok(waiting.includes(first));
});

t.test("a transaction that its sender signed twice costs one more question, and nobody's place", async (t) => {
  const [first] = TRANSACTIONS;
  const original = present(first, "transaction");
  const key = keyPairAt(3);
  const body = { ...original.body, sender: proposalOf(3, {}).validator };
  const [one, other] = [1, 2].map((fill) =>
    assembleTransaction(body, { kind: "single", key: key.publicKey, signature: new Uint8Array(64).fill(fill) }),
  ) as [Transaction, Transaction];
  t.same(one.id, other.id);
  const message = proposalWith([one]);
  const whole = TENDERMINT_CODEC.encode(message);
  const wire = compactMessage(whole, message.block, () => false);
  const { heard, deliver } = listener();
  const { bodies, asked, blamed } = bodiesWith([other], { a: bodiesOf([one]) });
  t.equal(await bodies.receive("a", wire, deliver), "accept");
  t.same(heard, [whole]);
  t.same([asked, blamed], [["a 1"], []]);
  const served: Uint8Array[] = [];
  const signal = new AbortController().signal;
  for await (const frame of bodies.handler({ peer: "b", bytes: one.id, signal })) served.push(frame);
  t.same(served, [encodeBatch([one.bytes])], "whoever fetched it serves what the block has");
  const poisoned = bodiesWith([], { a: bodiesOf([other]) });
  t.equal(await poisoned.bodies.receive("a", wire, listener().deliver), "ignore");
  const handed: Uint8Array[] = [];
  for await (const frame of poisoned.bodies.handler({ peer: "b", bytes: one.id, signal })) handed.push(frame);
  t.same(handed, [], "what did not fit is not handed on");
  const stuck = bodiesWith([other], { a: bodiesOf([other]) });
  t.equal(await stuck.bodies.receive("a", wire, listener().deliver), "ignore", "catch-up will bring it");
  t.same(stuck.blamed, []);
  const forged = encodeCompact({ prefix: whole.subarray(0, 40), items: [one.bytes], suffix: whole.subarray(60) });
  t.equal(await bodies.receive("a", forged, deliver), "reject", "what is no message whatever its bodies");
});
