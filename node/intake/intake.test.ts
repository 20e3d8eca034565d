/** The intake over a real ledger and mempool: what it lets wait, what it refuses, and what forgeries cost. */

import t, { type Test } from "tap";
import { type Clock, SYSTEM_CLOCK } from "../ports/clock.ts";
import { StandingClock } from "../ports/testing/clock.ts";
import { verifySignatures } from "../../crypto/sign/key.ts";
import { assert, present } from "../../crypto/base/assert.ts";
import { CodedError, codeOf } from "../../crypto/base/error.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import type { Call } from "../../chain/block/call.ts";
import { SLAB_SIZE_BYTES } from "../../chain/block/slab.ts";
import { assembleTransaction, type Transaction } from "../../chain/block/transaction.ts";
import type { MempoolLimits } from "../../chain/mempool/limits.ts";
import { Mempool } from "../../chain/mempool/mempool.ts";
import type { Executor } from "../../chain/state/executor.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { commitBlock, LONE_NETWORK, sign } from "../driver/testing/lone.ts";
import { SILENT } from "../driver/testing/wire.ts";
import { openMetrics } from "../metrics/metrics.ts";
import { encodeBatch } from "../network/batcher.ts";
import { LIMITS } from "../network/limits.ts";
import { Intake } from "./intake.ts";

const CREATE: Call = { kind: "tableCreate", namespace: "n", table: "t" };
const append = (sizeBytes: number, text = 0): Call => ({
  kind: "logAppend",
  stream: "s",
  partition: 0,
  records: [new Uint8Array(sizeBytes).fill(text)],
});

/** A transaction of Alice whose signature is of something else. */
function forged(nonce: bigint): Transaction {
  const { body } = sign(nonce, [append(1, Number(nonce))]);
  const { authorisation } = sign(nonce, [CREATE]);
  return assembleTransaction(body, authorisation);
}

async function open(test: Test, limits: Partial<MempoolLimits> = {}, clock: Clock = SYSTEM_CLOCK) {
  const failing: { nonce: bigint | undefined } = { nonce: undefined };
  const admit: Executor["admit"] = (view, transaction, context) => {
    if (transaction.body.nonce === failing.nonce) throw new CodedError("store_io");
    return EXECUTOR.admit(view, transaction, context);
  };
  const ledger = await Ledger.open({ store: openMemoryStore(), network: LONE_NETWORK, executor: { ...EXECUTOR, admit } });
  const mempool = new Mempool(limits);
  const published: Uint8Array[] = [];
  const publish = async (bytes: Uint8Array): Promise<number> => published.push(bytes);
  const network = { limits: LIMITS, gossip: () => ({ publish }) };
  /** What signature checks wait for. */
  const slow: { until: Promise<void> | undefined } = { until: undefined };
  const woken = { count: 0 };
  const verified = { begun: 0, count: 0 };
  const onWork = (): void => void (woken.count += 1);
  const intake = new Intake({
    ledger,
    mempool,
    network,
    clock,
    verify: async (signed) => {
      verified.begun += signed.length;
      await slow.until;
      verified.count += signed.length;
      return await verifySignatures(signed);
    },
    log: SILENT,
    metrics: openMetrics({ process: false }),
    onWork,
  });
  test.teardown(async () => await intake[Symbol.asyncDispose]());
  ledger.onCommit((commit) => intake.onCommit(commit));
  return { ledger, mempool, intake, published, woken, verified, failing, slow };
}

t.test("transactions that come at the same time wait in the order of their nonces", async (t) => {
  const { intake, mempool, woken } = await open(t);
  const transactions = Array.from({ length: 20 }, (_, nonce) => sign(BigInt(nonce), [append(1, nonce)]));
  const results = await Promise.all(transactions.toReversed().map(async ({ bytes }) => await intake.submit(bytes)));
  t.ok(results.every((result) => result.ok));
  t.same(
    mempool.reap({ countMax: 99, sizeBytesMax: 1 << 20 }).map(({ body }) => body.nonce),
    transactions.map(({ body }) => body.nonce),
  );
  t.equal(woken.count, 20);
});

t.test("a transaction that there is no place for is refused before its signature is checked", async (t) => {
  const { intake, verified } = await open(t, { perSenderMax: 2 });
  const [first, second, third] = [0n, 1n, 2n].map((nonce) => sign(nonce, [append(1)]));
  for (const { bytes } of [present(first, "first"), present(second, "second")]) t.ok((await intake.submit(bytes)).ok);
  t.equal(verified.count, 2);
  const late = present(third, "third");
  t.same(await intake.submit(late.bytes), { ok: false, error: { code: "mempool_sender_full", field: "sender" } });
  t.equal(await intake.receive("peer", encodeBatch([late.bytes])), "ignore");
  t.same(intake.status(late.id), { kind: "refused", code: "mempool_sender_full", field: "sender" });
  t.equal(verified.count, 2);
});

t.test("what clients may have waiting is not passed by handing in much at once, and gossip may bring more", async (t) => {
  const transactions = [0n, 1n, 2n, 3n].map((nonce) => sign(nonce, [append(1, Number(nonce))]));
  const sizeBytes = present(transactions[0], "transaction").bytes.length;
  const { intake, mempool, verified } = await open(t, { clientPerSenderSizeBytesMax: 2 * sizeBytes });
  const results = await Promise.all(transactions.map(async ({ bytes }) => await intake.submit(bytes)));
  t.same(
    results.map((result) => (result.ok ? "ok" : result.error.code)),
    ["ok", "ok", "mempool_sender_full", "mempool_sender_full"],
  );
  t.equal(verified.count, 4, "all were asked about before any had come in");
  t.equal(await intake.receive("peer", encodeBatch(transactions.slice(2).map(({ bytes }) => bytes))), "accept");
  t.equal(mempool.count, 4);
});

t.test("gossip beyond what is checked at once waits for its turn, while clients are asked to come back", async (t) => {
  const most = 4_096;
  const { intake, mempool, slow, verified } = await open(t, {
    perSenderMax: 9_999,
    nonceGapMax: 9_999,
    clientPerSenderMax: 9_999,
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  slow.until = promise;
  const transactions = Array.from({ length: most + 200 }, (_, nonce) => sign(BigInt(nonce), [append(1, nonce)]).bytes);
  const batches = [];
  for (let from = 0; from < transactions.length; from += 100) batches.push(encodeBatch(transactions.slice(from, from + 100)));
  const verdicts = batches.map(async (batch) => await intake.receive("peer", batch));
  await new Promise((resolve) => setImmediate(resolve));
  t.ok(verified.begun > 0 && verified.begun <= most, `${verified.begun} are being checked`);
  const own = intake.submit(sign(9_000n, [append(1)]).bytes);
  resolve();
  t.ok((await Promise.all(verdicts)).every((verdict) => verdict === "accept"));
  t.ok((await own).ok, "and none of them is in a client's way");
  t.equal(mempool.count, transactions.length + 1);

  const later = Promise.withResolvers<void>();
  slow.until = later.promise;
  const asked = Array.from({ length: most + 1 }, (_, index) => sign(BigInt(transactions.length + index), [append(1, index)]));
  const answers = asked.map(async ({ bytes }) => await intake.submit(bytes));
  later.resolve();
  const refused = (await Promise.all(answers)).filter((answer) => !answer.ok);
  t.same(refused, [{ ok: false, error: { code: "mempool_busy", field: "transaction" } }]);
});

t.test("a forged twin of what waits is told from it by its signature", async (t) => {
  const { intake, published } = await open(t);
  const good = sign(0n, [append(1)]);
  t.ok((await intake.submit(good.bytes)).ok);
  const twin = assembleTransaction(good.body, sign(1n, [CREATE]).authorisation);
  t.same(await intake.submit(twin.bytes), { ok: false, error: { code: "signature_invalid", field: "authorisation" } });
  t.equal(await intake.receive("peer", encodeBatch([twin.bytes])), "reject");
  t.equal(published.length, 1, "and it is not passed on");
});

t.test("what waits behind a gap is no work for a block", async (t) => {
  const { intake, mempool } = await open(t);
  t.ok((await intake.submit(sign(1n, [CREATE]).bytes)).ok);
  t.equal(mempool.count, 1);
  t.notOk(intake.hasWork());
  t.ok((await intake.submit(sign(0n, [append(1)]).bytes)).ok);
  t.ok(intake.hasWork());
});

t.test("a block takes out what it includes, and what it makes impossible", async (t) => {
  const { intake, mempool, ledger } = await open(t);
  const [included, impossible] = [sign(0n, [CREATE]), sign(0n, [append(1)])];
  t.ok((await intake.submit(impossible.bytes)).ok);
  await commitBlock(ledger, [included]);
  t.equal(mempool.count, 0);
  t.match(intake.status(impossible.id), { kind: "refused", code: "nonce_used" });
  t.match(await intake.submit(impossible.bytes), { ok: false, error: { code: "nonce_used" } });
});

t.test("a transaction that no gossip message can carry is refused", async (t) => {
  const { intake } = await open(t);
  const part = append(60 * 1024);
  const large = sign(0n, [part, part, part, part, append(16 * 1024 - 220)]);
  assert(
    large.bytes.length > LIMITS.gossipTransactionsBytesMax - 16 && large.bytes.length < 262_144,
    `${large.bytes.length} bytes`,
  );
  t.same(await intake.submit(large.bytes), { ok: false, error: { code: "transaction_size", field: "transaction" } });
});

t.test("a batch", async (t) => {
  await t.test("is passed on when it holds something new, and not again", async (t) => {
    const { intake } = await open(t);
    const batch = encodeBatch([sign(0n, [CREATE]).bytes, sign(1n, [append(1)]).bytes]);
    t.equal(await intake.receive("peer", batch), "accept");
    t.equal(await intake.receive("peer", batch), "ignore");
  });

  await t.test("with a forgery in it is rejected, and the true sender may still send", async (t) => {
    const { intake } = await open(t);
    t.equal(await intake.receive("peer", encodeBatch([forged(0n).bytes])), "reject");
    t.equal(await intake.receive("peer", encodeBatch([sign(0n, [append(1, 0)]).bytes])), "accept");
  });

  await t.test("of nothing but forgeries costs a few checks, not one for each", async (t) => {
    const { intake, mempool, verified } = await open(t);
    const batch = Array.from({ length: 300 }, (_, nonce) => forged(BigInt(nonce)).bytes);
    t.equal(await intake.receive("peer", encodeBatch(batch)), "reject");
    t.equal(verified.count, 128);
    t.equal(mempool.count, 0);
  });

  await t.test("of more than are looked at together waits whole", async (t) => {
    const { intake, mempool, woken } = await open(t);
    const batch = Array.from({ length: 280 }, (_, nonce) => sign(BigInt(nonce), [append(1, nonce)]).bytes);
    t.equal(await intake.receive("peer", encodeBatch(batch)), "accept");
    t.equal(mempool.count, 280);
    t.equal(woken.count, 3, "once for each 128");
    const holds = [...mempool.transactions()].map(({ bytes }) => bytes.buffer.byteLength);
    t.ok(Math.max(...holds) <= SLAB_SIZE_BYTES, "and none of it holds the message that it came in");
  });
});

t.test("a store that fails in the middle of a batch leaves no check counted as under way", async (t) => {
  const { intake, failing } = await open(t);
  const batch = encodeBatch([sign(0n, [CREATE]).bytes, sign(1n, [append(1)]).bytes]);
  failing.nonce = 1n;
  // More than may be under way at once.
  const tries = 4_200;
  let failures = 0;
  for (let index = 0; index < tries; index += 1)
    await intake.receive("peer", batch).catch((error: unknown) => (failures += Number(codeOf(error) === "store_io")));
  t.equal(failures, tries);
  failing.nonce = undefined;
  t.equal(await intake.receive("peer", batch), "accept");
});

t.test("how long ago peers were sent what waits", async (t) => {
  const clock = new StandingClock();
  const { intake, published, ledger } = await open(t, {}, clock);
  const [first, second, third] = [0n, 1n, 2n].map((nonce) => sign(nonce, [append(1, Number(nonce))])) as [
    Transaction,
    Transaction,
    Transaction,
  ];
  t.equal(intake.sentAgoMs(first), undefined, "of a block from before a restart: nobody need have it");
  t.match(await intake.submit(first.bytes), { ok: true });
  await clock.pass(0);
  t.equal(published.length, 1, "the first goes at once");
  t.equal(intake.sentAgoMs(first), 0);
  await clock.pass(20);
  t.match(await intake.submit(second.bytes), { ok: true });
  t.equal(intake.sentAgoMs(second), undefined, "it waits for company");
  t.equal(intake.sentAgoMs(first), 20);
  await intake.flush();
  t.equal(published.length, 2);
  t.equal(intake.sentAgoMs(second), 0);
  t.equal(await intake.receive("peer", encodeBatch([third.bytes])), "accept");
  await clock.pass(10);
  t.equal(intake.sentAgoMs(third), 10, "what a peer sent, others were sent too");
  await clock.pass(400);
  t.match(await intake.submit(sign(3n, [append(1, 3)]).bytes), { ok: true });
  await intake.flush();
  t.equal(intake.sentAgoMs(second), Number.POSITIVE_INFINITY, "what is long past is not remembered");
  await commitBlock(ledger, [first]);
  t.equal(intake.sentAgoMs(first), undefined, "what is in a block no longer waits");
});

t.test("what gossip has brought is taken in before a proposal looks for it, unless that takes too long", async (t) => {
  const clock = new StandingClock();
  const { intake, slow } = await open(t, {}, clock);
  await intake.settled();
  const checks = Promise.withResolvers<void>();
  slow.until = checks.promise;
  const transaction = sign(0n, [CREATE]);
  const received = intake.receive("peer", encodeBatch([transaction.bytes]));
  let isSettled = false;
  const settled = intake.settled().then(() => void (isSettled = true));
  await clock.pass(99);
  t.notOk(isSettled);
  const late = intake.settled();
  await clock.pass(1);
  await settled;
  t.equal(intake.waiting(transaction.id), undefined, "too long");
  checks.resolve();
  await late;
  t.ok(intake.waiting(transaction.id), "taken in");
  t.equal(await received, "accept");
});
