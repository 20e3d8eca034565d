/** The mempool: order, gaps, replacement, bounds and what it remembers. Real transactions, no chain. */

import fc from "fast-check";
import t from "tap";
import { assert, present } from "../../crypto/base/assert.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { addressOfKey, type Address } from "../../crypto/identity/address.ts";
import { checkProperty, checkSeeing } from "../../crypto/testing/property.ts";
import { PARAMETERS_DEFAULT } from "../block/genesis.ts";
import { heightOf } from "../block/height.ts";
import { CHAIN_ID, hashAt, keyPairAt } from "../block/testing/fixtures.ts";
import { signTransaction, type Transaction } from "../block/transaction.ts";
import { Heap } from "./heap.ts";
import { MEMPOOL_LIMITS_DEFAULT, type MempoolLimits } from "./limits.ts";
import { Mempool, type SenderAccount } from "./mempool.ts";

const RICH: SenderAccount = { nonce: 0n, balance: 1n << 60n };

function addressAt(index: number): Address {
  return addressOfKey(keyPairAt(index).publicKey);
}

/** A transaction of `sender`; `pad` more bytes of name make it larger. */
function transactionOf(
  sender: number,
  nonce: number,
  fee: number,
  over: { readonly expiry?: number; readonly pad?: number } = {},
): Transaction {
  const body = {
    chainId: CHAIN_ID,
    sender: addressAt(sender),
    nonce: BigInt(nonce),
    fee: BigInt(fee),
    expiry: heightOf(BigInt(over.expiry ?? 1000)),
    calls: [{ kind: "tableCreate" as const, namespace: "n", table: "t".repeat(1 + (over.pad ?? 0)) }],
  };
  return signTransaction(body, keyPairAt(sender));
}

/** Adds for a sender who can pay; `ok` or the code. */
function add(mempool: Mempool, transaction: Transaction, account: SenderAccount = RICH): string {
  const added = mempool.add(transaction, account);
  return added.ok ? "ok" : added.error.code;
}

function codeOf(mempool: Mempool, transaction: Transaction): string {
  const where = mempool.why(transaction.id);
  if (where === undefined) return "unknown";
  return where.kind === "waiting" ? `waiting ${where.ahead}` : where.refusal.code;
}

const ALL = { countMax: 1000, sizeBytesMax: 1 << 24 };

t.test("the best price goes first, each sender's in nonce order", (t) => {
  const mempool = new Mempool();
  const [a0, a1, b0, c0] = [
    transactionOf(1, 0, 1000),
    transactionOf(1, 1, 9000),
    transactionOf(2, 0, 2000),
    transactionOf(3, 0, 1500),
  ];
  for (const transaction of [a1, a0, b0, c0]) t.equal(add(mempool, transaction), "ok");
  t.same(mempool.reap(ALL), [b0, c0, a0, a1], "a1 pays most and waits for a0");
  t.same(mempool.reap({ ...ALL, countMax: 2 }), [b0, c0]);
  t.equal(mempool.count, 4, "reaped ones stay until they are in a block");
  t.equal(mempool.get(a1.id), a1);
  t.same([...mempool.transactions()], [a1, a0, b0, c0]);
  t.end();
});

t.test("at one price senders take turns, so that nobody fills a block by coming first", (t) => {
  const mempool = new Mempool();
  for (let nonce = 0; nonce < 5; nonce += 1) add(mempool, transactionOf(1, nonce, 1000));
  for (let nonce = 0; nonce < 2; nonce += 1) add(mempool, transactionOf(2, nonce, 1000));
  const senders = mempool.reap(ALL).map(({ body }) => (toHex(body.sender) === toHex(addressAt(1)) ? 1 : 2));
  t.same(senders, [1, 2, 1, 2, 1, 1, 1]);
  t.end();
});

t.test("a block's bytes are not passed, and what is too large leaves room for others", (t) => {
  const mempool = new Mempool();
  const [large, small] = [transactionOf(1, 0, 90_000, { pad: 60 }), transactionOf(2, 0, 1000)];
  add(mempool, large);
  add(mempool, small);
  t.same(mempool.reap({ countMax: 9, sizeBytesMax: large.bytes.length + 5 }), [large], "exactly");
  t.same(mempool.reap({ countMax: 9, sizeBytesMax: large.bytes.length + 4 }), [small], "one byte less");
  t.same(mempool.reap({ countMax: 9, sizeBytesMax: 0 }), []);
  t.end();
});

t.test("what is behind a gap waits, and says for how many", (t) => {
  const mempool = new Mempool({ nonceGapMax: 4 });
  const [first, third] = [transactionOf(1, 0, 1000), transactionOf(1, 2, 1000)];
  t.equal(add(mempool, third), "ok");
  t.equal(codeOf(mempool, third), "waiting 2");
  t.equal(mempool.nextNonce(addressAt(1)), 0n);
  t.same(mempool.reap(ALL), []);
  add(mempool, first);
  t.equal(codeOf(mempool, third), "waiting 1");
  t.same(mempool.reap(ALL), [first]);
  const second = transactionOf(1, 1, 1000);
  add(mempool, second);
  t.same(mempool.reap(ALL), [first, second, third]);
  t.equal(mempool.nextNonce(addressAt(1)), 3n);
  t.equal(mempool.nextNonce(addressAt(2)), undefined);
  t.equal(add(mempool, transactionOf(1, 3, 1000)), "ok", "the last nonce within the gap");
  t.equal(add(mempool, transactionOf(1, 4, 1000)), "mempool_nonce_gap");
  t.end();
});

t.test("whoever sends all that it may, except the first, can still send the first", (t) => {
  const mempool = new Mempool({ perSenderMax: 4, nonceGapMax: 100 });
  for (const nonce of [1, 2, 3]) t.equal(add(mempool, transactionOf(1, nonce, 1000)), "ok");
  t.equal(add(mempool, transactionOf(1, 4, 1000)), "mempool_nonce_gap", "it would take the place of the first");
  t.equal(add(mempool, transactionOf(1, 0, 1000)), "ok");
  t.equal(mempool.reap(ALL).length, 4);
  t.equal(add(mempool, transactionOf(1, 4, 1000)), "mempool_sender_full");
  t.end();
});

t.test("whether there is a place is judged by the account of now: money that came in meanwhile counts", (t) => {
  const mempool = new Mempool();
  const poor = { nonce: 0n, balance: 150n };
  t.equal(add(mempool, transactionOf(0, 0, 100), poor), "ok");
  const second = transactionOf(0, 1, 100);
  t.match(mempool.check(second, poor, "client"), { ok: false, error: { code: "balance_insufficient" } });
  t.ok(mempool.check(second, { nonce: 0n, balance: 200n }, "client").ok);
  t.equal(add(mempool, second, { nonce: 0n, balance: 200n }), "ok");
  t.ok(mempool.check(transactionOf(0, 2, 100), { nonce: 2n, balance: 100n }, "client").ok);
  t.equal(mempool.count, 0, "and what its nonce or its balance has passed is gone");
  t.equal(mempool.nextNonce(addressAt(0)), undefined);
  t.end();
});

t.test("a client may go less far ahead than gossip: what it hands in finds a place where blocks come later", (t) => {
  const mempool = new Mempool({ perSenderMax: 4, clientPerSenderMax: 2 });
  const account = RICH;
  const [first, second, third, fifth] = [0, 1, 2, 4].map((nonce) => transactionOf(0, nonce, 100));
  const check = (transaction: Transaction | undefined, from: "client" | "gossip") =>
    mempool.check(present(transaction, "transaction"), account, from);
  t.ok(check(second, "client").ok);
  t.same(check(third, "client"), { ok: false, error: { code: "mempool_nonce_gap", field: "nonce" } });
  for (const each of [first, second]) t.ok(mempool.add(present(each, "transaction"), account).ok);
  t.same(check(third, "client"), { ok: false, error: { code: "mempool_sender_full", field: "sender" } });
  t.match(mempool.why(present(third, "transaction").id), { kind: "refused", refusal: { code: "mempool_sender_full" } });
  t.ok(check(third, "gossip").ok);
  t.notOk(check(fifth, "gossip").ok);
  t.ok(check(first, "client").ok, "what waits already is for the signature to tell from its twin");
  t.equal(mempool.count, 2, "asking changes nothing");
  t.end();
});

t.test(
  "what a client hands in beyond its share of the mempool takes the place of a lesser one, and gossip has room beside it",
  (t) => {
    const mempool = new Mempool({ countMax: 4, clientCountMax: 2 });
    const [low, middle, high] = [transactionOf(1, 0, 1000), transactionOf(2, 0, 2000), transactionOf(3, 0, 3000)];
    for (const transaction of [low, middle]) t.ok(mempool.add(transaction, RICH, "client").ok);
    t.match(mempool.add(transactionOf(4, 0, 1000), RICH, "client"), { ok: false, error: { code: "mempool_full" } });
    t.same(mempool.add(high, RICH, "client"), { ok: true, value: { replaced: undefined, evicted: [low] } });
    for (const sender of [4, 5]) t.equal(add(mempool, transactionOf(sender, 0, 1000)), "ok", "from gossip");
    t.equal(add(mempool, transactionOf(6, 0, 1000)), "mempool_full", "nor from gossip without end");
    const best = transactionOf(7, 0, 9000);
    const added = mempool.add(best, RICH, "client");
    t.ok(added.ok && added.value.evicted.length === 1, "one goes for one, whatever gossip has brought beyond the share");
    t.equal(mempool.count, 4);
    t.end();
  },
);

t.test("what fills a gap has a place, also where its sender's client has no more", (t) => {
  const size = transactionOf(1, 0, 1000).bytes.length;
  const mempool = new Mempool({ perSenderSizeBytesMax: 4 * size, clientPerSenderSizeBytesMax: 2 * size, clientCountMax: 3 });
  for (const nonce of [1, 2, 3]) t.equal(add(mempool, transactionOf(1, nonce, 1000)), "ok");
  t.match(mempool.add(transactionOf(1, 4, 1000), RICH, "client"), { ok: false, error: { code: "mempool_sender_full" } });
  t.ok(mempool.add(transactionOf(1, 0, 1000), RICH, "client").ok);
  t.equal(mempool.reap(ALL).length, 4);
  t.end();
});

/** A mempool and the blocks that its node has committed, as the nonces after them. */
class Follower {
  readonly mempool: Mempool;
  readonly #nonces = new Map<string, bigint>();

  constructor(limits: Partial<MempoolLimits>) {
    this.mempool = new Mempool(limits);
  }

  accountOf(sender: Address): SenderAccount {
    return { ...RICH, nonce: this.#nonces.get(toHex(sender)) ?? 0n };
  }

  commit(transactions: readonly Transaction[]): void {
    for (const { body } of transactions) this.#nonces.set(toHex(body.sender), body.nonce + 1n);
    this.mempool.commit({ height: heightOf(1n), transactions }, (sender) => this.accountOf(sender));
  }
}

t.test("what clients hand in once a block has made room finds a place with all who do not have that block yet", async (t) => {
  const size = transactionOf(0, 0, 1000).bytes.length + 8;
  const counts = { countMax: 40, clientCountMax: 24, perSenderMax: 8, clientPerSenderMax: 4 };
  const sizes = {
    sizeBytesMax: 40 * size,
    clientSizeBytesMax: 24 * size,
    perSenderSizeBytesMax: 6 * size,
    clientPerSenderSizeBytesMax: 3 * size,
  };
  let most = 0;
  const property = fc.property(
    fc.constantFrom(counts, sizes, { ...counts, ...sizes }),
    fc.array(
      fc.record({
        offers: fc.array(fc.nat(9), { minLength: 20, maxLength: 80, size: "max" }),
        countMax: fc.integer({ min: 1, max: 16 }),
      }),
      {
        minLength: 2,
        maxLength: 4,
      },
    ),
    (limits, heights) => {
      const [ahead, behind] = [new Follower(limits), new Follower(limits)];
      const nonces = new Map<number, number>();
      let block: readonly Transaction[] = [];
      for (const { offers, countMax } of heights) {
        for (const sender of offers) {
          const nonce = nonces.get(sender) ?? 0;
          const transaction = transactionOf(sender, nonce, 1000);
          const account = ahead.accountOf(addressAt(sender));
          if (!ahead.mempool.add(transaction, account, "client").ok) continue;
          nonces.set(sender, nonce + 1);
          assert(
            add(behind.mempool, transaction, behind.accountOf(addressAt(sender))) === "ok",
            codeOf(behind.mempool, transaction),
          );
        }
        most = Math.max(most, behind.mempool.count);
        behind.commit(block);
        block = ahead.mempool.reap({ ...ALL, countMax });
        ahead.commit(block);
      }
    },
  );
  await checkSeeing(t, "a block behind", property, {
    runs: 100,
    seen: () => t.ok(most > counts.clientCountMax, `${most} at most`),
  });
});

t.test("by default a block fits between what clients may take and what gossip may", (t) => {
  const { perSenderMax, clientPerSenderMax, nonceGapMax, perSenderSizeBytesMax, clientPerSenderSizeBytesMax, ...all } =
    MEMPOOL_LIMITS_DEFAULT;
  t.ok(clientPerSenderMax * 2 <= Math.min(perSenderMax, nonceGapMax));
  t.ok(clientPerSenderSizeBytesMax * 2 <= perSenderSizeBytesMax);
  t.ok(all.countMax - all.clientCountMax >= PARAMETERS_DEFAULT.transactionsMax);
  t.ok(all.sizeBytesMax - all.clientSizeBytesMax >= PARAMETERS_DEFAULT.blockSizeBytesMax);
  t.end();
});

t.test("what a sender has behind a gap gives way to what it waits for, in bytes and in fees", (t) => {
  const [first, second, third] = [transactionOf(1, 0, 1000), transactionOf(1, 1, 1000), transactionOf(1, 2, 1000)];
  const size = first.bytes.length;
  const narrow = new Mempool({ perSenderSizeBytesMax: 2 * size });
  for (const transaction of [second, third]) t.equal(add(narrow, transaction), "ok");
  const added = narrow.add(first, RICH);
  assert(added.ok, "the first is taken in");
  t.same(added.value.evicted, [third], "and no more goes than must");
  t.equal(codeOf(narrow, third), "mempool_evicted");
  t.same(narrow.reap(ALL), [first, second]);
  t.equal(add(narrow, third), "mempool_sender_full", "what could be included gives way to nothing of the same sender");
  const poor = new Mempool();
  const account = { nonce: 0n, balance: 2000n };
  for (const transaction of [second, third]) t.equal(add(poor, transaction, account), "ok");
  t.equal(add(poor, transactionOf(1, 0, 2001), account), "balance_insufficient", "not for one that nothing can pay");
  t.equal(poor.count, 2);
  t.equal(add(poor, first, account), "ok");
  t.same(poor.reap(ALL), [first, second]);
  t.equal(codeOf(poor, third), "mempool_evicted");
  t.end();
});

t.test("what an undone block ordered waits again, also where its sender has filled all its places since", (t) => {
  // What was sent after it waits for it now: without it nothing of the sender could be included until all of that has expired.
  const mempool = new Mempool({ perSenderMax: 3 });
  const [first, second] = [transactionOf(1, 0, 1000), transactionOf(1, 1, 1000)];
  for (const transaction of [first, second]) t.equal(add(mempool, transaction), "ok");
  mempool.commit({ height: heightOf(1n), transactions: [first, second] }, () => ({ ...RICH, nonce: 2n }));
  const later = [2, 3, 4].map((nonce) => transactionOf(1, nonce, 1000));
  for (const transaction of later) t.equal(add(mempool, transaction, { ...RICH, nonce: 2n }), "ok");
  mempool.undo({ transactions: [first, second] }, () => RICH);
  for (const transaction of [first, second]) t.equal(add(mempool, transaction), "ok");
  t.same(mempool.reap(ALL), [first, second, later[0]]);
  t.same(
    later.slice(1).map((transaction) => codeOf(mempool, transaction)),
    ["mempool_evicted", "mempool_evicted"],
  );
  t.equal(add(mempool, transactionOf(1, 3, 9000)), "mempool_sender_full", "what could be included gives way to nothing");
  t.end();
});

t.test("a transaction is replaced only by one that pays a tenth more, in fee and a byte", (t) => {
  const mempool = new Mempool();
  const first = transactionOf(1, 0, 1000);
  add(mempool, first);
  t.equal(add(mempool, first), "mempool_known");
  const low = transactionOf(1, 0, 1099);
  t.equal(add(mempool, low), "mempool_replacement_fee");
  t.equal(add(mempool, transactionOf(1, 0, 1100, { pad: 60 })), "mempool_replacement_fee", "more bytes for a tenth more");
  const second = transactionOf(1, 0, 1100);
  const added = mempool.add(second, RICH);
  assert(added.ok, "replaced");
  t.equal(added.value.replaced, first);
  t.equal(codeOf(mempool, first), "mempool_replaced");
  t.equal(codeOf(mempool, low), "mempool_replacement_fee");
  t.same(mempool.reap(ALL), [second]);
  t.equal(mempool.count, 1);
  t.end();
});

t.test("a sender's fees together stay within its balance", (t) => {
  const mempool = new Mempool();
  const account = { nonce: 0n, balance: 2500n };
  t.equal(add(mempool, transactionOf(1, 0, 1000), account), "ok");
  t.equal(add(mempool, transactionOf(1, 1, 1501), account), "balance_insufficient");
  t.equal(add(mempool, transactionOf(1, 1, 1500), account), "ok");
  t.equal(add(mempool, transactionOf(1, 0, 1100), account), "balance_insufficient", "nor by a replacement");
  t.equal(add(mempool, transactionOf(1, 0, 1100), { nonce: 0n, balance: 2600n }), "ok", "until it is paid more");
  t.end();
});

t.test("one sender has its bounds, in count and bytes", (t) => {
  const mempool = new Mempool({ perSenderMax: 2 });
  for (const nonce of [0, 1]) t.equal(add(mempool, transactionOf(1, nonce, 1000)), "ok");
  t.equal(add(mempool, transactionOf(1, 2, 9000)), "mempool_sender_full");
  t.equal(add(mempool, transactionOf(1, 1, 2000)), "ok", "a replacement is not one more");
  t.equal(add(mempool, transactionOf(2, 0, 1000)), "ok", "another sender");
  const size = transactionOf(1, 0, 1000).bytes.length;
  const narrow = new Mempool({ perSenderSizeBytesMax: 2 * size });
  for (const nonce of [0, 1]) t.equal(add(narrow, transactionOf(1, nonce, 1000)), "ok");
  t.equal(add(narrow, transactionOf(1, 2, 1000)), "mempool_sender_full");
  t.end();
});

t.test("a full mempool gives way only to what is worth strictly more than its least", (t) => {
  const mempool = new Mempool({ countMax: 3 });
  const [low, middle, high] = [transactionOf(1, 0, 1000), transactionOf(2, 0, 2000), transactionOf(3, 0, 3000)];
  for (const transaction of [low, middle, high]) add(mempool, transaction);
  const same = transactionOf(4, 0, 1000);
  t.equal(add(mempool, same), "mempool_full");
  t.equal(codeOf(mempool, same), "mempool_full");
  const better = transactionOf(4, 0, 1001);
  const added = mempool.add(better, RICH);
  assert(added.ok, "made room");
  t.same(added.value.evicted, [low]);
  t.equal(codeOf(mempool, low), "mempool_evicted");
  t.same(mempool.reap(ALL), [high, middle, better]);
  const ahead = transactionOf(5, 1, 50_000);
  t.equal(add(mempool, ahead), "mempool_full", "what is behind a gap is worth nothing yet");
  t.end();
});

t.test("the last of a lane goes first, and a dear one behind a cheap one is worth no more than that", (t) => {
  const mempool = new Mempool({ countMax: 3 });
  const [cheap, dear, other] = [transactionOf(1, 0, 1000), transactionOf(1, 1, 90_000), transactionOf(2, 0, 2000)];
  for (const transaction of [cheap, dear, other]) add(mempool, transaction);
  add(mempool, transactionOf(3, 0, 1500));
  t.equal(codeOf(mempool, dear), "mempool_evicted");
  t.equal(codeOf(mempool, cheap), "waiting 0");
  t.equal(
    add(mempool, transactionOf(1, 1, 90_000)),
    "mempool_full",
    "a sender cannot push out others from behind its own cheap one",
  );
  t.end();
});

t.test("what waits behind a gap gives way to anything that can be included", (t) => {
  const mempool = new Mempool({ countMax: 2 });
  const stranded = transactionOf(1, 1, 90_000);
  for (const transaction of [stranded, transactionOf(2, 0, 2000)]) add(mempool, transaction);
  t.equal(add(mempool, transactionOf(3, 0, 1000)), "ok");
  t.equal(codeOf(mempool, stranded), "mempool_evicted");
  t.end();
});

t.test("bytes make room as well: several small ones go for a large one, or none does", (t) => {
  const [one, two, three] = [transactionOf(1, 0, 1000), transactionOf(2, 0, 1000), transactionOf(3, 0, 900_000)];
  const large = transactionOf(4, 0, 90_000, { pad: 60 });
  const room = one.bytes.length + two.bytes.length + three.bytes.length;
  const mempool = new Mempool({ sizeBytesMax: room });
  for (const transaction of [one, two, three]) add(mempool, transaction);
  t.equal(add(mempool, large), "ok");
  t.equal(mempool.count, 3 - Math.ceil(large.bytes.length / one.bytes.length) + 1);
  t.ok(mempool.sizeBytes <= room);
  const tight = new Mempool({ sizeBytesMax: one.bytes.length + three.bytes.length });
  for (const transaction of [one, three]) t.equal(add(tight, transaction), "ok");
  t.equal(add(tight, large), "mempool_full");
  t.equal(tight.count, 2, "and nobody was put out in vain");
  t.end();
});

t.test("after a block goes what it included, what it made impossible, what expired and what cannot be paid", (t) => {
  const mempool = new Mempool();
  const included = transactionOf(1, 0, 1000);
  const rival = transactionOf(2, 0, 1000);
  const winner = transactionOf(2, 0, 5000, { pad: 1 });
  const [expiring, lasting] = [transactionOf(3, 0, 1000, { expiry: 7 }), transactionOf(4, 0, 1000, { expiry: 8 })];
  const [payable, unpayable] = [transactionOf(1, 1, 1000), transactionOf(1, 2, 1000)];
  for (const transaction of [included, payable, unpayable, rival, expiring, lasting]) t.equal(add(mempool, transaction), "ok");
  const accounts = new Map([
    [toHex(addressAt(1)), { nonce: 1n, balance: 1999n }],
    [toHex(addressAt(2)), { nonce: 1n, balance: 1n << 60n }],
  ]);
  mempool.commit({ height: heightOf(7n), transactions: [included, winner] }, (sender) =>
    present(accounts.get(toHex(sender)), "account"),
  );
  t.equal(codeOf(mempool, included), "unknown", "the ledger knows it now");
  t.equal(codeOf(mempool, rival), "nonce_used");
  t.equal(codeOf(mempool, expiring), "transaction_expired");
  t.equal(codeOf(mempool, lasting), "waiting 0");
  t.equal(codeOf(mempool, payable), "waiting 0");
  t.equal(codeOf(mempool, unpayable), "balance_insufficient");
  t.same(mempool.reap(ALL), [lasting, payable], "the one with the shorter expiry is a little smaller");
  t.equal(add(mempool, rival, { nonce: 1n, balance: 1n << 60n }), "nonce_used", "it does not come back");
  t.end();
});

t.test("it remembers why, up to its bound, and what others refused as well", (t) => {
  const mempool = new Mempool({ refusedMax: 2, nonceGapMax: 1 });
  mempool.refuse(hashAt(1), { code: "signature_invalid", field: "authorisation" });
  t.same(mempool.why(hashAt(1)), { kind: "refused", refusal: { code: "signature_invalid", field: "authorisation" } });
  const gaps = [1, 2].map((nonce) => transactionOf(1, nonce, 1000));
  for (const transaction of gaps) t.equal(add(mempool, transaction), "mempool_nonce_gap");
  t.equal(mempool.why(hashAt(1)), undefined, "the oldest is forgotten");
  for (const transaction of gaps) t.equal(codeOf(mempool, transaction), "mempool_nonce_gap");
  const good = transactionOf(1, 0, 1000);
  add(mempool, good);
  mempool.drop(good.id, { code: "balance_insufficient", field: "fee" });
  t.equal(codeOf(mempool, good), "balance_insufficient");
  t.equal(add(mempool, good), "ok", "and may come back");
  t.equal(codeOf(mempool, good), "waiting 0");
  t.end();
});

t.test("a heap gives its items in order", async (t) => {
  await checkProperty(
    t,
    "heap",
    fc.property(fc.array(fc.integer()), (items) => {
      const heap = new Heap<number>((a, b) => a - b);
      for (const item of items) heap.push(item);
      const popped = items.map(() => heap.pop());
      return heap.pop() === undefined && popped.every((item, index) => item === items.toSorted((a, b) => a - b)[index]);
    }),
  );
});

// Properties.

type Event =
  | {
      readonly kind: "add";
      readonly sender: number;
      readonly nonce: number;
      readonly fee: number;
      readonly pad: number;
      readonly expiry: number;
    }
  | { readonly kind: "block"; readonly count: number }
  | { readonly kind: "drop"; readonly index: number };

const eventArbitrary: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("add" as const),
      sender: fc.nat(4),
      nonce: fc.nat(5),
      fee: fc.integer({ min: 500, max: 1500 }),
      pad: fc.nat(40),
      expiry: fc.integer({ min: 1, max: 9 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("block" as const), count: fc.nat(4) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("drop" as const), index: fc.nat(9) }) },
);

t.test(
  "whatever comes, it keeps its bounds, proposes only what can be included, and accounts for everything it saw",
  async (t) => {
    const limits = { countMax: 6, sizeBytesMax: 1400, perSenderMax: 3, nonceGapMax: 4, refusedMax: 1000 };
    await checkProperty(
      t,
      "mempool",
      fc.property(fc.array(eventArbitrary, { maxLength: 60 }), (events) => {
        const mempool = new Mempool(limits);
        const accounts = new Map<string, SenderAccount>();
        const accountOf = (sender: Address): SenderAccount => accounts.get(toHex(sender)) ?? { nonce: 0n, balance: 4000n };
        const seen = new Map<string, Transaction>();
        const included = new Set<string>();
        let height = 0n;
        for (const event of events) {
          if (event.kind === "add") {
            const transaction = transactionOf(event.sender, event.nonce, event.fee, event);
            // What the executor would refuse does not get here.
            if (transaction.body.nonce < accountOf(transaction.body.sender).nonce || transaction.body.expiry <= height) continue;
            seen.set(toHex(transaction.id), transaction);
            mempool.add(transaction, accountOf(transaction.body.sender));
          } else if (event.kind === "drop") {
            const transaction = [...mempool.transactions()][event.index];
            if (transaction !== undefined) mempool.drop(transaction.id, { code: "balance_insufficient", field: "fee" });
          } else {
            const transactions = mempool.reap({ countMax: event.count, sizeBytesMax: 900 });
            for (const { id, body } of transactions) {
              const { nonce, balance } = accountOf(body.sender);
              assert(body.nonce === nonce && balance >= body.fee, "reaped what cannot be included");
              accounts.set(toHex(body.sender), { nonce: nonce + 1n, balance: balance - body.fee });
              included.add(toHex(id));
            }
            height += 1n;
            mempool.commit({ height: heightOf(height), transactions }, accountOf);
          }
          const waiting = [...mempool.transactions()];
          const sizeBytes = waiting.reduce((total, { bytes }) => total + bytes.length, 0);
          assert(mempool.count === waiting.length && mempool.sizeBytes === sizeBytes, "counts");
          assert(waiting.length <= limits.countMax && sizeBytes <= limits.sizeBytesMax, "bounds");
          assert(
            waiting.every(({ body }) => body.expiry > height),
            "expired ones are gone",
          );
          const places = waiting.map(({ body }) => `${toHex(body.sender)} ${body.nonce}`);
          assert(new Set(places).size === places.length, "one transaction a nonce");
          for (const [name, transaction] of seen)
            assert(included.has(name) || mempool.why(transaction.id) !== undefined, "lost without a reason");
        }
        return true;
      }),
      80,
    );
  },
);
