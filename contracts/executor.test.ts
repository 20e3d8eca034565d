/** The executor: what may be in a block, what each call does, and that tokens are conserved whatever happens. */

import fc from "fast-check";
import t from "tap";
import { assert, present } from "../crypto/base/assert.ts";
import { bytesEqual, toHex, utf8 } from "../crypto/base/bytes.ts";
import { encodeValue } from "../crypto/codec/value.ts";
import { ZERO_HASH } from "../crypto/hash/hash.ts";
import { addressOfPolicy } from "../crypto/identity/address.ts";
import { gatherAuthorisation, multisigPolicy } from "../crypto/identity/authorisation.ts";
import { checkProperty } from "../crypto/testing/property.ts";
import { doubleVoteOf, type Evidence } from "../chain/block/evidence.ts";
import { feeOf } from "../chain/block/genesis.ts";
import { heightOf } from "../chain/block/height.ts";
import { ENGINE_NAMES, PROTOCOL_DEFAULTS } from "../chain/block/protocol.ts";
import { parseRecord } from "../chain/block/record.ts";
import { parseSegment, segmentHash } from "../chain/block/segment.ts";
import { hashAt, keyPairAt, networkOf, voteOf } from "../chain/block/testing/fixtures.ts";
import type { Call } from "../chain/block/call.ts";
import { assembleTransaction, encodeTransactionBody, type Transaction, transactionId } from "../chain/block/transaction.ts";
import { erasedKey, partitionKey, parseStateKey, rowKey, segmentKey, tableKey } from "../chain/state/keys.ts";
import { parseErased, parsePartitionHead } from "../chain/state/partition.ts";
import { logRoot, frontierRoot, LOG_HASHER } from "../chain/merkle/log.ts";
import { EXECUTOR } from "./executor.ts";
import { supplyAt } from "./supply.ts";
import { addressAt, Chain, ok, PROPOSER, textOf } from "./testing/chain.ts";

const ALICE = 100;
const BOB = 101;
const CAROL = 102;

const create = (table: string): Call => ({ kind: "tableCreate", namespace: "app", table });
const put = (table: string, key: string, value: string): Call => ({
  kind: "tablePut",
  namespace: "app",
  table,
  key: utf8(key),
  value: encodeValue(value),
});
const remove = (table: string, key: string): Call => ({ kind: "tableDelete", namespace: "app", table, key: utf8(key) });
const pay = (to: number, amount: bigint): Call => ({ kind: "transfer", to: addressAt(to), amount });
const claim: Call = { kind: "rewardsClaim" };
const append = (partition: number, ...records: readonly string[]): Call => ({
  kind: "logAppend",
  stream: "events",
  partition,
  records: records.map(utf8),
});

function chainOf(amounts: readonly bigint[] = [1_000_000n, 1_000_000n, 1_000_000n]): Chain {
  return new Chain(networkOf({ amounts }));
}

t.test("a transfer moves exactly its amount, the proposer earns the fee, and the nonce is counted", (t) => {
  const chain = chainOf();
  t.equal(chain.run(ALICE, pay(BOB, 300n)), "applied");
  t.same(chain.account(ALICE), { balance: 1_000_000n - 300n - 2000n, nonce: 1n });
  t.same(chain.account(BOB), { balance: 1_000_300n, nonce: 0n });
  t.equal(chain.rewards(99), 2000n);
  t.equal(chain.account(99).balance, 0n, "not before it claims them");
  const all = chain.account(BOB).balance - 2000n;
  t.equal(chain.run(BOB, pay(CAROL, all + 1n)), "balance_insufficient calls[0].amount", "one more than is left after the fee");
  t.equal(chain.run(BOB, pay(CAROL, all - 2000n)), "applied", "all of it but the failed one's fee");
  t.equal(chain.account(BOB).balance, 0n);
  t.equal(chain.run(ALICE, pay(ALICE, 5n)), "applied", "to oneself");
  t.equal(chain.account(ALICE).balance, 1_000_000n - 300n - 2000n - 2000n);
  t.end();
});

t.test("who earned fees claims them once, from its next block on, and pays the fee of that from its account", (t) => {
  const chain = chainOf([1_000_000n]);
  t.equal(chain.run(ALICE, pay(99, 5000n)), "applied");
  t.equal(chain.run(ALICE, claim), "rewards_none calls[0].kind");
  t.equal(chain.run(99, claim), "applied");
  t.same(chain.account(99), { balance: 5000n - 2000n + 4000n, nonce: 1n });
  t.equal(chain.rewards(99), 2000n, "the fee of the claim itself, which this block pays");
  t.equal(chain.run(ALICE, { kind: "rewardsClaim", validator: PROPOSER }), "stake_engine calls[0].validator");
  t.equal(chain.run(99, claim, claim), "rewards_none calls[1].kind", "once");
  t.equal(chain.state.supply(), 1_000_000n);
  t.end();
});

t.test("under proof of work the miner earns new tokens, as long as all that was ever made stays below 2^64", (t) => {
  const most = (1n << 64n) - 1n;
  const chain = new Chain({
    ...networkOf({ amounts: [most - 25n] }),
    engine: { ...PROTOCOL_DEFAULTS.pow, blockReward: 10n },
  });
  for (let height = 0; height < 4; height += 1) chain.block([]);
  t.equal(chain.rewards(99), 25n, "ten, ten and five");
  t.same(supplyAt(chain.state), { total: most, minted: 25n, burned: 0n });
  t.equal(chain.state.supply(), most);
  t.end();
});

t.test("what may not be in a block makes the block invalid, and the nearest neighbour may", (t) => {
  const chain = chainOf([10_000n, 1_000_000n]);
  chain.block([]);
  const calls = [pay(BOB, 1n)];
  const codeOf = (...transactions: readonly Transaction[]): string => {
    const executed = chain.try(transactions);
    return executed.ok ? "ok" : `${executed.error.transactionIndex} ${executed.error.code} ${executed.error.field}`;
  };
  const size = chain.sign(ALICE, calls).bytes.length;
  const least = feeOf(chain.network.parameters, size);
  t.equal(codeOf(chain.sign(ALICE, calls, { fee: least })), "ok");
  t.equal(codeOf(chain.sign(ALICE, calls, { fee: least - 1n })), "0 fee_low fee");
  t.equal(codeOf(chain.sign(ALICE, calls, { expiry: 2n })), "ok", "at its last height");
  t.equal(codeOf(chain.sign(ALICE, calls, { expiry: 1n })), "0 transaction_expired expiry");
  t.equal(codeOf(chain.sign(ALICE, calls, { chainId: "pyra-other" })), "0 chain_mismatch chainId");
  t.equal(codeOf(chain.sign(ALICE, calls, { nonce: 1n })), "0 nonce_ahead nonce");
  const [first, second] = [chain.sign(ALICE, calls, { nonce: 0n }), chain.sign(ALICE, calls, { nonce: 1n })];
  t.equal(codeOf(first, second), "ok");
  t.equal(codeOf(first, first), "1 nonce_used nonce", "the same one twice");
  t.equal(codeOf(second, first), "0 nonce_ahead nonce");
  t.equal(codeOf(chain.sign(ALICE, calls, { fee: 10_000n })), "ok", "all it has as a fee: included, though the transfer fails");
  t.equal(codeOf(chain.sign(ALICE, calls, { fee: 10_001n })), "0 balance_insufficient fee");
  t.equal(codeOf(chain.sign(CAROL, calls)), "0 balance_insufficient fee", "an account that never was");
  const large = new Chain(networkOf({ parameters: { transactionSizeBytesMax: size + 100 } }));
  const padded = (extra: number): Transaction => large.sign(ALICE, [put("t", "k", "x".repeat(extra))]);
  const fill = size + 100 - padded(100).bytes.length + 100;
  t.equal(padded(fill).bytes.length, size + 100);
  t.ok(large.try([padded(fill)]).ok, "at the network's size");
  t.match(large.try([padded(fill + 1)]), { error: { code: "transaction_size" } });
  t.end();
});

t.test("admission lets a nonce be ahead, and tells what the mempool orders by", (t) => {
  const chain = chainOf();
  chain.run(ALICE, pay(BOB, 1n));
  const admit = (nonce: bigint): string => {
    const admitted = EXECUTOR.admit(chain.state, chain.sign(ALICE, [pay(BOB, 1n)], { nonce }), chain.context());
    return admitted.ok ? `next ${admitted.value.nonce}` : admitted.error.code;
  };
  t.equal(admit(1n), "next 1");
  t.equal(admit(9n), "next 1");
  t.equal(admit(0n), "nonce_used");
  t.end();
});

t.test("a table is made once, written by its owner alone, and only a row that is there can be deleted", (t) => {
  const chain = chainOf();
  t.equal(chain.run(ALICE, put("users", "a", "1")), "table_unknown calls[0].table");
  t.equal(chain.run(ALICE, create("users"), put("users", "a", "1")), "applied");
  t.equal(chain.run(BOB, create("users")), "table_exists calls[0].table");
  t.equal(chain.run(ALICE, create("users")), "table_exists calls[0].table", "nor by its owner again");
  t.equal(chain.run(BOB, put("users", "a", "2")), "table_not_owner calls[0].table");
  t.equal(chain.run(BOB, remove("users", "a")), "table_not_owner calls[0].table");
  t.equal(chain.run(ALICE, remove("users", "b")), "row_unknown calls[0].key");
  t.same(chain.state.get(rowKey("app", "users", utf8("a"))), encodeValue("1"));
  t.equal(chain.run(ALICE, put("users", "a", "2"), remove("users", "a")), "applied");
  t.equal(chain.state.get(rowKey("app", "users", utf8("a"))), undefined);
  t.equal(
    chain.run(ALICE, put("users", "c", "1"), remove("users", "c"), remove("users", "c")),
    "row_unknown calls[2].key",
    "gone within the transaction",
  );
  t.end();
});

t.test("all calls of a transaction take effect or none, and a failed one pays", (t) => {
  const chain = chainOf();
  chain.run(ALICE, create("t"), append(0, "zero"));
  const before = new Map(chain.state.rows);
  const failing = chain.sign(ALICE, [
    put("t", "k", "v"),
    create("u"),
    append(0, "lost"),
    append(1, "lost"),
    pay(BOB, 5n),
    pay(BOB, 1n << 60n),
  ]);
  const execution = chain.block([failing]);
  t.equal(textOf(present(execution.results[0], "result")), "balance_insufficient calls[5].amount");
  t.same(execution.appends, []);
  const changed = execution.updates.map(({ key }) => parseStateKey(key)?.kind);
  t.same(changed, ["account", "priorities", "priorities", "rewards"], "the sender, the turns, and what the proposer earned");
  t.equal(chain.account(ALICE).nonce, 2n);
  t.equal(chain.account(BOB).balance, 1_000_000n);
  t.equal(
    toHex(present(chain.state.get(partitionKey("events", 0)), "head")),
    toHex(present(before.get(toHex(partitionKey("events", 0))), "head")),
  );
  const mixed = chain.block([
    chain.sign(ALICE, [append(0, "one")]),
    chain.sign(BOB, [append(0, "stolen")]),
    chain.sign(ALICE, [append(0, "two")], { nonce: 3n }),
  ]);
  t.same(mixed.results.map(textOf), ["applied", "partition_not_owner calls[0].partition", "applied"]);
  t.same(
    mixed.appends.map(({ firstIndex, records }) => [firstIndex, records.length]),
    [[1n, 2]],
    "one append a partition, without the failed one's",
  );
  t.end();
});

t.test("a partition's head commits to every record that was appended, in order", (t) => {
  const chain = chainOf();
  const stored: Uint8Array[] = [];
  for (const batch of [["a", "b"], ["c"], ["d", "e", "f"], ["g"]]) {
    const execution = chain.block([chain.sign(ALICE, [append(7, ...batch), append(2, "other")])]);
    t.same(
      execution.appends.map(({ partition }) => partition),
      [2, 7],
      "sorted",
    );
    const mine = present(execution.appends[1], "append");
    t.equal(mine.firstIndex, BigInt(stored.length));
    stored.push(...mine.records);
  }
  const head = ok(parsePartitionHead(present(chain.state.get(partitionKey("events", 7)), "head")));
  t.equal(head.frontier.size, 7n);
  t.equal(EXECUTOR.partitionSize(chain.state, "events", 7), 7n);
  t.equal(EXECUTOR.partitionSize(chain.state, "events", 8), undefined);
  t.ok(bytesEqual(head.owner, addressAt(ALICE)));
  t.equal(toHex(frontierRoot(LOG_HASHER, head.frontier)), toHex(logRoot(stored)));
  const third = ok(parseRecord(present(stored[2], "record")));
  t.same(
    [third.stream, third.partition, third.index, third.height, third.timeMs, third.data],
    ["events", 7, 2n, heightOf(2n), chain.network.genesisTimeMs + 2n, utf8("c")],
  );
  t.end();
});

t.test("segments are sealed by size and by age, and their chain holds every record once", async (t) => {
  const blocks = fc.array(
    fc.record({
      afterMs: fc.constantFrom(1n, 400n, 999n, 1_000n, 5_000n),
      sizes: fc.array(fc.nat(1_500), { minLength: 1, maxLength: 6 }),
    }),
    { minLength: 1, maxLength: 12 },
  );
  await checkProperty(
    t,
    "segments",
    fc.property(blocks, (made) => {
      const chain = chainOf([1_000_000_000n]);
      const rules = { segmentSizeBytes: 4_096, segmentAgeMs: 1_000 };
      chain.block([chain.sign(ALICE, [{ kind: "streamCreate", stream: "s", partitions: 1, isOpen: false, ...rules }])]);
      const records: { readonly bytes: Uint8Array; readonly timeMs: bigint }[] = [];
      let timeMs = chain.context().timeMs;
      for (const { afterMs, sizes } of made) {
        timeMs += afterMs;
        chain.next = { timeMs };
        const bodies = sizes.map((size) => ({ key: undefined, value: new Uint8Array(size), headers: [] }));
        const execution = chain.block([
          chain.sign(ALICE, [{ kind: "streamAppend", stream: "s", partition: 0, records: bodies }], { fee: 20_000n }),
        ]);
        for (const bytes of present(execution.appends[0], "append").records) records.push({ bytes, timeMs });
      }
      const head = ok(parsePartitionHead(present(chain.state.get(partitionKey("s", 0)), "head")));
      // Cut anew, the plain way.
      const cut: (typeof records)[] = [];
      for (const record of records) {
        const last = cut.at(-1);
        const size = (last ?? []).reduce((total, { bytes }) => total + bytes.length, 0);
        const isFull = size + record.bytes.length > 4_096 || record.timeMs - (last?.[0]?.timeMs ?? 0n) >= 1_000n;
        if (last === undefined || isFull) cut.push([record]);
        else last.push(record);
      }
      const sealed = cut.slice(0, -1);
      let [previous, firstIndex] = [ZERO_HASH, 0n];
      for (const [number, segment] of sealed.entries()) {
        const entry = present(chain.state.get(segmentKey("s", 0, BigInt(number))), `segment ${number}`);
        const expected = {
          stream: "s",
          partition: 0,
          number: BigInt(number),
          firstIndex,
          count: BigInt(segment.length),
          sizeBytes: BigInt(segment.reduce((total, { bytes }) => total + bytes.length, 0)),
          firstTimeMs: segment[0]?.timeMs,
          lastTimeMs: segment.at(-1)?.timeMs,
          root: logRoot(segment.map(({ bytes }) => bytes)),
          previous,
        };
        const same = (a: unknown): string => JSON.stringify(a, (_, v) => (typeof v === "bigint" ? `${v}` : v));
        if (same(ok(parseSegment(entry))) !== same(expected)) return false;
        previous = segmentHash(entry);
        firstIndex += BigInt(segment.length);
      }
      const isEnd = chain.state.get(segmentKey("s", 0, BigInt(sealed.length))) === undefined;
      const open = (cut.at(-1) ?? []).map(({ bytes }) => bytes);
      return (
        isEnd &&
        head.sealed.count === BigInt(sealed.length) &&
        toHex(head.sealed.hash) === toHex(previous) &&
        toHex(frontierRoot(LOG_HASHER, head.open.frontier)) === toHex(logRoot(open)) &&
        toHex(frontierRoot(LOG_HASHER, head.frontier)) === toHex(logRoot(records.map(({ bytes }) => bytes)))
      );
    }),
    60,
  );
});

t.test("a declared stream has its partitions and no more, and is its owner's unless it is open", (t) => {
  const chain = chainOf([1_000_000n, 1_000_000n]);
  const create = (stream: string, isOpen: boolean, partitions = 2): Call => ({
    kind: "streamCreate",
    stream,
    partitions,
    isOpen,
    segmentSizeBytes: 4_096,
    segmentAgeMs: 1_000,
  });
  const add = (stream: string, partition: number): Call => ({
    kind: "streamAppend",
    stream,
    partition,
    records: [{ key: utf8("k"), value: undefined, headers: [{ name: "h", value: utf8("v") }] }],
  });
  t.equal(chain.run(ALICE, create("own", false)), "applied");
  t.equal(chain.run(ALICE, create("own", false)), "stream_exists calls[0].stream");
  t.equal(chain.run(ALICE, add("own", 1)), "applied");
  t.equal(chain.run(ALICE, add("own", 2)), "stream_partition calls[0].partition");
  t.equal(chain.run(BOB, add("own", 0)), "stream_not_owner calls[0].stream");
  t.equal(chain.run(BOB, { ...append(0, "plain"), stream: "own" } as Call), "stream_not_owner calls[0].stream");
  t.equal(chain.run(ALICE, create("open", true)), "applied");
  t.equal(chain.run(BOB, add("open", 0)), "applied");
  t.equal(chain.run(ALICE, add("open", 0)), "applied", "to a partition that another wrote to first");
  t.equal(chain.run(BOB, append(1, "mine")), "applied", "a name that nobody declared");
  t.equal(chain.run(ALICE, create("events", false)), "partition_not_owner calls[0].stream", "cannot be taken");
  t.equal(chain.run(BOB, create("events", false)), "applied", "but by whom it belongs to");
  t.equal(chain.run(BOB, append(1, "more")), "applied");
  t.end();
});

t.test("a partition that somebody had before its name was declared with fewer stays whose it was", (t) => {
  const chain = chainOf([1_000_000n, 1_000_000n]);
  const create: Call = {
    kind: "streamCreate",
    stream: "events",
    partitions: 1,
    isOpen: false,
    segmentSizeBytes: 4_096,
    segmentAgeMs: 1_000,
  };
  const erase: Call = { kind: "recordErase", stream: "events", partition: 1, index: 0n };
  t.equal(chain.run(BOB, append(1, "mine")), "applied");
  t.equal(chain.run(ALICE, create), "applied", "it declares partition 0 alone");
  t.equal(chain.run(ALICE, erase), "partition_not_owner calls[0].partition", "what is not hers she cannot erase");
  t.equal(chain.run(ALICE, append(1, "hers")), "partition_not_owner calls[0].partition");
  t.equal(chain.run(ALICE, append(2, "hers")), "stream_partition calls[0].partition", "one that nobody had is not there");
  t.equal(chain.run(BOB, append(1, "more")), "applied", "and he goes on");
  t.equal(chain.run(BOB, { kind: "sessionOpen", stream: "events", partition: 1, session: 1n }), "applied");
  t.equal(chain.run(BOB, erase), "applied");
  t.end();
});

t.test("a record is erased once, by the owner alone, and only one that is there", (t) => {
  const chain = chainOf([1_000_000n, 1_000_000n]);
  const erase = (index: bigint, partition = 0): Call => ({ kind: "recordErase", stream: "events", partition, index });
  t.equal(chain.run(ALICE, erase(0n)), "record_absent calls[0].index", "no such partition");
  t.equal(chain.run(ALICE, append(0, "a", "b")), "applied");
  t.equal(chain.run(BOB, erase(1n)), "partition_not_owner calls[0].partition");
  t.equal(chain.run(ALICE, erase(2n)), "record_absent calls[0].index", "one past the end");
  const execution = chain.block([chain.sign(ALICE, [erase(1n)])]);
  t.same(execution.erasures, [{ stream: "events", partition: 0, index: 1n }]);
  t.same(ok(parseErased(present(chain.state.get(erasedKey("events", 0, 1n)), "row"))), {
    height: chain.height,
    by: addressAt(ALICE),
  });
  t.equal(chain.run(ALICE, erase(1n)), "record_erased calls[0].index");
  const failed = chain.block([chain.sign(ALICE, [erase(0n), erase(0n)])]);
  t.same(
    [failed.erasures, failed.results],
    [[], [{ kind: "failed", code: "record_erased", field: "calls[1].index" }]],
    "or none",
  );
  t.end();
});

t.test("a proposer leaves out in one pass what may not be in its block, and everybody can execute the rest", (t) => {
  const chain = chainOf([1_000_000n, 5000n]);
  const drain = chain.sign(BOB, [pay(ALICE, 3000n)]);
  const unpaid = chain.sign(BOB, [pay(ALICE, 1n)], { nonce: 1n });
  const ahead = chain.sign(ALICE, [pay(BOB, 1n)], { nonce: 1n });
  const good = [chain.sign(ALICE, [pay(BOB, 1n)]), chain.sign(ALICE, [pay(BOB, 1n << 63n)], { nonce: 1n })];
  const votes = (round: number): Evidence =>
    doubleVoteOf(
      voteOf(1, { height: heightOf(1n), round, blockHash: hashAt(1) }),
      voteOf(1, { height: heightOf(1n), round, blockHash: hashAt(2) }),
    );
  chain.block([]);
  const evidence = [votes(0), votes(1), votes(0)];
  const selection = EXECUTOR.select(chain.state, [ahead, drain, unpaid, ...good], evidence, chain.context());
  t.same(selection.transactions, [drain, ...good]);
  t.same(
    selection.dropped.map(({ transaction, refusal }) => [transaction, refusal.code]),
    [
      [ahead, "nonce_ahead"],
      [unpaid, "balance_insufficient"],
    ],
  );
  t.same(selection.evidence, [votes(0)], "one piece about a validator and height is enough");
  t.same(chain.try(selection.transactions, selection.evidence), { ok: true, value: selection.execution });
  t.end();
});

t.test("a multisig account pays when its policy is met", (t) => {
  const chain = chainOf();
  const holders = [keyPairAt(1), keyPairAt(2), keyPairAt(3)];
  const policy = ok(
    multisigPolicy(
      2,
      holders.map(({ publicKey }) => publicKey),
    ),
  );
  const sender = addressOfPolicy(policy);
  chain.run(ALICE, { kind: "transfer", to: sender, amount: 100_000n });
  const body = {
    chainId: chain.network.chainId,
    sender,
    nonce: 0n,
    fee: 2000n,
    expiry: heightOf(50n),
    calls: [pay(BOB, 50_000n)],
  };
  const id = transactionId(encodeTransactionBody(body));
  const signatures = holders.slice(1).map((holder) => ({ key: holder.publicKey, signature: holder.sign(id) }));
  const transaction = assembleTransaction(body, ok(gatherAuthorisation(policy, id, signatures)));
  t.same(chain.block([transaction]).results.map(textOf), ["applied"]);
  t.equal(chain.account(BOB).balance, 1_050_000n);
  t.match(chain.try([transaction]), { error: { code: "nonce_used" } }, "and not twice");
  t.end();
});

// Properties.

type Step = { readonly signer: number; readonly fee: bigint; readonly calls: readonly Call[] };

const word = fc.constantFrom("a", "b", "c");
const accountArbitrary = fc.constantFrom(ALICE, BOB, CAROL, 103, 99);
const call: fc.Arbitrary<Call> = fc.oneof(
  fc
    .tuple(accountArbitrary, fc.oneof(fc.bigInt(1n, 60_000n), fc.bigInt(1n, (1n << 64n) - 1n)))
    .map(([to, amount]) => pay(to, amount)),
  word.map(create),
  fc.tuple(word, word, word).map(([table, key, value]) => put(table, key, value)),
  fc.tuple(word, word).map(([table, key]) => remove(table, key)),
  fc
    .tuple(fc.nat(1), fc.array(word, { minLength: 1, maxLength: 3 }))
    .map(([partition, records]) => append(partition, ...records)),
  fc
    .tuple(fc.nat(5), fc.bigInt(0n, 3n))
    .map(([index, power]): Call => ({ kind: "validatorSet", key: keyPairAt(index).publicKey, power })),
  fc.constant(claim),
);
const stepArbitrary: fc.Arbitrary<Step> = fc.record({
  signer: accountArbitrary,
  fee: fc.bigInt(700n, 4000n),
  calls: fc.array(call, { minLength: 1, maxLength: 4 }),
});

/** The steps whose senders can pay, as transactions of the next block. */
function includable(chain: Chain, steps: readonly Step[]): Transaction[] {
  const transactions: Transaction[] = [];
  const nonces = new Map<number, bigint>();
  for (const { signer, fee, calls } of steps) {
    const nonce = nonces.get(signer) ?? chain.account(signer).nonce;
    const candidate = chain.sign(signer, calls, { nonce, fee });
    if (!chain.try([...transactions, candidate]).ok) continue;
    transactions.push(candidate);
    nonces.set(signer, nonce + 1n);
  }
  return transactions;
}

t.test("tokens are conserved exactly, whatever a chain of blocks does", async (t) => {
  await checkProperty(
    t,
    "supply",
    fc.property(fc.array(fc.array(stepArbitrary, { maxLength: 5 }), { maxLength: 5 }), (blocks) => {
      const chain = chainOf([50_000n, 20_000n, 3000n]);
      for (const steps of blocks) {
        chain.block(includable(chain, steps));
        assert(chain.state.supply() === 73_000n, `supply ${chain.state.supply()} at ${chain.height}`);
        assert(supplyAt(chain.state).total === 73_000n, "the supply row");
      }
      return true;
    }),
    80,
  );
});

t.test("a failed transaction changes nothing but the fee and the nonce", async (t) => {
  let failures = 0;
  await checkProperty(
    t,
    "atomicity",
    fc.property(fc.array(stepArbitrary, { maxLength: 12 }), (steps) => {
      const chain = chainOf([50_000n, 20_000n, 3000n]);
      for (const step of steps) {
        const [transaction] = includable(chain, [step]);
        if (transaction === undefined) continue;
        const before = chain.account(step.signer);
        const earned = chain.rewards(99);
        const execution = chain.block([transaction]);
        if (execution.results[0]?.kind !== "failed") continue;
        failures += 1;
        const kinds = execution.updates.map(({ key }) => parseStateKey(key)?.kind);
        assert(
          kinds.every((kind) => ["account", "rewards", "priorities", "validators"].includes(`${kind}`)),
          `changed ${kinds.join()}`,
        );
        assert(kinds.filter((kind) => kind === "account").length === 1 && execution.appends.length === 0, "accounts and appends");
        if (step.signer === 99) continue;
        assert(chain.account(step.signer).balance === before.balance - step.fee, "fee");
        assert(
          chain.account(step.signer).nonce === before.nonce + 1n && chain.rewards(99) === earned + step.fee,
          "nonce and proposer",
        );
      }
      return true;
    }),
    80,
  );
  t.ok(failures > 50, `${failures} failures seen`);
});

t.test("one block does to accounts and tables what its transactions would do in blocks of their own", async (t) => {
  const calls = fc.array(
    call.filter(({ kind }) => kind !== "logAppend" && kind !== "validatorSet"),
    { minLength: 1, maxLength: 3 },
  );
  const steps = fc.array(fc.record({ signer: fc.constantFrom(ALICE, BOB, CAROL), fee: fc.bigInt(700n, 4000n), calls }), {
    maxLength: 8,
  });
  await checkProperty(
    t,
    "blocks",
    fc.property(steps, (list) => {
      const together = chainOf();
      const transactions = includable(together, list);
      const execution = together.block(transactions);
      const apart = chainOf();
      const results = transactions.flatMap((transaction) => apart.block([transaction]).results);
      assert(JSON.stringify(results) === JSON.stringify(execution.results), "results");
      const rowsOf = (chain: Chain): string =>
        [...chain.state.rows]
          .filter(([name]) => /^0[123]/.test(name))
          .sort(([a], [b]) => (a < b ? -1 : 1))
          .map(([name, value]) => `${name}=${toHex(value)}`)
          .join();
      return rowsOf(together) === rowsOf(apart);
    }),
    60,
  );
});

t.test("one workload leaves the same accounts, tables and streams under every engine, whoever proposed", async (t) => {
  const calls = fc.array(
    call.filter(({ kind }) => kind !== "validatorSet" && kind !== "rewardsClaim"),
    { minLength: 1, maxLength: 3 },
  );
  const steps = fc.array(fc.record({ signer: fc.constantFrom(ALICE, BOB, CAROL), fee: fc.bigInt(700n, 4000n), calls }), {
    maxLength: 6,
  });
  await checkProperty(
    t,
    "engines",
    fc.property(fc.array(steps, { maxLength: 3 }), (blocks) => {
      const outcomes = ENGINE_NAMES.map((name, index) => {
        const network = networkOf({ amounts: [1_000_000n, 1_000_000n, 1_000_000n] });
        const chain = new Chain({ ...network, engine: PROTOCOL_DEFAULTS[name] });
        for (const list of blocks) {
          chain.next = { proposer: addressAt(index % 4) };
          const transactions = includable(chain, list);
          chain.next = { proposer: addressAt(index % 4) };
          chain.block(transactions);
          assert(chain.state.supply() === supplyAt(chain.state).total, `supply under ${name}`);
        }
        return [...chain.state.rows]
          .filter(([row]) => /^0[1234]/.test(row))
          .sort(([one], [other]) => (one < other ? -1 : 1))
          .map(([row, value]) => `${row}=${toHex(value)}`)
          .join();
      });
      return new Set(outcomes).size === 1;
    }),
    20,
  );
});

t.test("equal blocks on equal states give equal bytes, sorted, each key once", (t) => {
  const [one, other] = [chainOf(), chainOf()];
  const transactions = [
    one.sign(ALICE, [create("t"), put("t", "z", "1"), put("t", "a", "2")]),
    one.sign(BOB, [append(1, "x"), append(0, "y")]),
  ];
  const first = one.block(transactions);
  t.same(other.block(transactions), first);
  const names = first.updates.map(({ key }) => toHex(key));
  t.same(
    names,
    [...new Set(names)].sort((a, b) => (a < b ? -1 : 1)),
  );
  t.ok(one.state.get(tableKey("app", "t")) !== undefined);
  t.ok(bytesEqual(PROPOSER, one.context().proposer));
  t.end();
});
