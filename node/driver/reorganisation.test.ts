/** The ledger under proof of work: what a seal must be, what miners earn, and that what was undone leaves no trace. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import fc from "fast-check";
import t from "tap";
import { assert, present } from "../../crypto/base/assert.ts";
import { toHex, utf8 } from "../../crypto/base/bytes.ts";
import { codeOf } from "../../crypto/base/error.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { checkProperty } from "../../crypto/testing/property.ts";
import { type Block, headerHash } from "../../chain/block/block.ts";
import { heightOf } from "../../chain/block/height.ts";
import type { PowProtocol } from "../../chain/block/protocol.ts";
import type { Call } from "../../chain/block/call.ts";
import type { Transaction } from "../../chain/block/transaction.ts";
import type { Certificate, WorkCertificate } from "../../chain/block/vote.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { Mempool } from "../../chain/mempool/mempool.ts";
import { ACCOUNT_EMPTY, ownRow, parseAccount, parseRewards, parseSupply } from "../../chain/state/rows.ts";
import { accountKey, rewardsKey, rowKey, supplyKey } from "../../chain/state/keys.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import type { Store } from "../../chain/store/store.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { addressAt, mineBlock, minedNetwork, sealFor, spend } from "./testing/miner.ts";

async function open(store: Store = openMemoryStore(), changed: Partial<PowProtocol> = {}): Promise<Ledger> {
  return await Ledger.open({ store, network: minedNetwork(changed), executor: EXECUTOR });
}

const at = (height: number) => heightOf(BigInt(height));

/** Everything in a store, as text. */
async function contents(store: Store): Promise<readonly string[]> {
  const rows: string[] = [];
  for await (const { key, value } of store.entries({})) rows.push(`${toHex(key)} ${toHex(value)}`);
  return rows;
}

/** The whole chain of a ledger with its seals. */
function chainOf(ledger: Ledger): readonly { readonly block: Block; readonly seal: Certificate }[] {
  return Array.from({ length: Number(ledger.head().height) }, (_, index) => ({
    block: present(ledger.block(at(index + 1)), "block"),
    seal: present(ledger.certificate(at(index + 1)), "seal"),
  }));
}

/** A ledger that has never seen anything else than this chain, and judged every block of it. */
async function replay(chain: ReturnType<typeof chainOf>, changed: Partial<PowProtocol> = {}): Promise<Ledger> {
  const ledger = await open(openMemoryStore(), changed);
  for (const { block, seal } of chain) {
    const certified = await ledger.checkCertificate(block, seal);
    assert(certified.ok, `seal ${block.header.height}`);
    const judged = await ledger.judge(block);
    assert(judged.ok, `block ${block.header.height}`);
    await ledger.commit(block, seal);
  }
  return ledger;
}

t.test("a seal makes a block part of the chain only with the target, the work and the nonces of its place", async (t) => {
  const ledger = await open();
  for (let height = 1; height <= 3; height += 1) await mineBlock(ledger, []);
  const { block } = ledger.build({
    proposer: addressAt(0),
    timeMs: ledger.head().timeMs + 900n,
    transactions: [],
    evidence: [],
  });
  const seal = sealFor(ledger, block);
  t.ok((await ledger.checkCertificate(block, seal)).ok);
  t.ok((await ledger.checkCertificate(block, sealFor(ledger, block, 1))).ok, "another seal of the same block");
  const wrong = async (lie: Partial<WorkCertificate>): Promise<unknown> => {
    const checked = await ledger.checkCertificate(block, { ...seal, ...lie });
    return checked.ok ? "ok" : checked.error.code;
  };
  t.equal(await wrong({ bits: seal.bits - 1 }), "work_bits");
  t.equal(await wrong({ bits: 0xff_ff_ff_ff }), "work_bits");
  t.equal(await wrong({ chainWork: seal.chainWork + 1n }), "work_sum");
  t.equal(await wrong({ height: at(3) }), "certificate_block");
  const misses = Array.from({ length: 64 }, (_, index) => BigInt(index)).filter((nonce) => nonce !== seal.nonce);
  const answers = new Set<unknown>();
  for (const nonce of misses) answers.add(await wrong({ nonce }));
  t.same(answers, new Set(["ok", "work_target"]), "half of all nonces seal at this target, and half do not");
  t.equal(await wrong({ kind: "quorum" } as never), "certificate_kind");
  await ledger[Symbol.asyncDispose]();
});

t.test("a block carries the seal of the one before, and one that nothing seals is refused with it", async (t) => {
  const ledger = await open();
  const other = await open();
  for (const each of [ledger, other]) await mineBlock(each, []);
  // The same head under a seal that misses: what a miner commits without looking.
  const [first] = chainOf(ledger);
  assert(first?.seal.kind === "work", "a seal");
  const forged = { ...first.seal, chainWork: first.seal.chainWork * 2n };
  const liar = await open();
  t.ok((await liar.judge(first.block)).ok);
  await liar.commit(first.block, forged);
  const { block } = liar.build({ proposer: addressAt(1), timeMs: liar.head().timeMs + 1n, transactions: [], evidence: [] });
  t.match(await other.judge(block), { ok: false, error: { code: "work_sum" } });
  const honest = await mineBlock(ledger, [], { miner: 1 });
  t.ok((await other.judge(honest)).ok);
  const none = { ...honest, previousCertificate: undefined };
  const header = { ...honest.header };
  t.match(await other.judge({ ...none, header, hash: headerHash({ ...header, proposer: addressAt(2) }) }), {
    ok: false,
    error: { code: "block_certificate" },
  });
});

t.test("anybody may mine, is paid the reward and the fees, and supply grows by the rewards alone", async (t) => {
  const ledger = await open();
  await mineBlock(ledger, [], { miner: 0 });
  await mineBlock(ledger, [spend(2, 0n, [{ kind: "tableCreate", namespace: "n", table: "t" }])], { miner: 1 });
  const state = present(ledger.state(at(2)), "state");
  const earned = (miner: number): bigint => {
    const row = state.get(rewardsKey(addressAt(miner)));
    return row === undefined ? 0n : ownRow(parseRewards(row), "rewards");
  };
  t.same([earned(0), earned(1), earned(2)], [50n, 1_000_050n, 0n]);
  const supply = ownRow(parseSupply(present(state.get(supplyKey()), "supply")), "supply");
  t.same(supply, { total: 3_000_000_100n, minted: 100n, burned: 0n });
  await mineBlock(ledger, [spend(1, 0n, [{ kind: "rewardsClaim" }])], { miner: 0 });
  const account = present(ledger.state(at(3))?.get(accountKey(addressAt(1))), "account");
  t.equal(ownRow(parseAccount(account), "account").balance, 1_000_000_000n - 1_000_000n + 1_000_050n);
  const set = present(ledger.validators(at(4)), "set");
  t.same(set, { validators: [], totalPower: 0n }, "nobody validates");
  const unpaid = await open(openMemoryStore(), { blockReward: 0n });
  await mineBlock(unpaid, []);
  t.equal(unpaid.state(at(1))?.get(rewardsKey(addressAt(0))), undefined);
});

t.test("the target follows the times, in the ledger as in the headers, across windows", async (t) => {
  for (const changed of [{ halfLifeMs: 5_000 }, { retarget: "window" as const, retargetWindow: 4 }]) {
    const ledger = await open(openMemoryStore(), changed);
    for (let height = 1; height <= 10; height += 1) await mineBlock(ledger, [], { afterMs: 300n });
    const seals = chainOf(ledger).map(({ seal }) => (seal.kind === "work" ? seal.bits : 0));
    t.ok(new Set(seals).size > 2, `${seals.map((bits) => bits.toString(16)).join(" ")}`);
    const again = await replay(chainOf(ledger), changed);
    t.same(again.head(), ledger.head());
  }
});

// Undoing.

/** What a step of a history does: mine some blocks, or go back and mine others. */
type Step = { readonly back: number; readonly blocks: readonly { readonly calls: number; readonly miner: 0 | 1 }[] };

const stepArbitrary: fc.Arbitrary<Step> = fc.record({
  back: fc.nat(4),
  blocks: fc.array(fc.record({ calls: fc.nat(3), miner: fc.constantFrom(0 as const, 1 as const) }), {
    minLength: 1,
    maxLength: 4,
  }),
});

/** Transactions that touch every kind of row: tables, rows put and deleted, records, also those of sessions. */
function work(ledger: Ledger, count: number, label: string): readonly Transaction[] {
  const { height } = ledger.head();
  return Array.from({ length: count }, (_, index) => {
    const row = ledger.state(height)?.get(accountKey(addressAt(index)));
    const { nonce } = row === undefined ? ACCOUNT_EMPTY : ownRow(parseAccount(row), "account");
    const table = `t${index}`;
    const calls: Call[] = [
      { kind: "logAppend", stream: `s${index}`, partition: 0, records: [utf8(`${label} ${nonce}`), utf8("b")] },
    ];
    const kept = { kind: "streamAppend" as const, stream: `k${index}`, partition: 0 };
    const session = { stream: kept.stream, partition: 0, session: 1n };
    const body = (key: bigint, value: string | undefined) => ({
      key: utf8(`${key}`),
      value: value === undefined ? undefined : utf8(value),
      headers: [],
    });
    if (nonce === 0n) {
      calls.push({ kind: "tableCreate", namespace: "n", table });
      const spans = { segmentAgeMs: 1_000, retentionMs: 3_600_000_000, compactionMs: 3_600_000_000 };
      calls.push({ kind: "streamCreate", stream: kept.stream, partitions: 1, isOpen: false, segmentSizeBytes: 4_096, ...spans });
      calls.push({ kind: "sessionOpen", ...session });
    } else if (nonce % 3n === 0n) {
      calls.push({ kind: "sessionAppend", ...session, sequence: nonce / 3n - 1n, records: [utf8(label), utf8("c")] });
    } else {
      calls.push({ ...kept, records: [body(nonce % 2n, label), body(nonce % 3n, nonce % 5n === 4n ? undefined : label)] });
      calls.push({ kind: "tablePut", namespace: "n", table, key: utf8(`k${nonce % 3n}`), value: encodeValue(label) });
      if (nonce % 4n === 3n) calls.push({ kind: "tableDelete", namespace: "n", table, key: utf8(`k${nonce % 3n}`) });
    }
    return spend(index, nonce, calls);
  });
}

t.test("after any reorganisations the store is, byte for byte, one that saw the winning chain alone", async (t) => {
  await checkProperty(
    t,
    "undo and replay",
    fc.asyncProperty(fc.array(stepArbitrary, { minLength: 1, maxLength: 5 }), async (steps) => {
      const store = openMemoryStore();
      const ledger = await open(store);
      const events: string[] = [];
      ledger.onCommit(({ block }) => void events.push(`+${block.header.height}`));
      ledger.onRollback(({ header }) => void events.push(`-${header.height}`));
      for (const [index, { back, blocks }] of steps.entries()) {
        const { height } = ledger.head();
        const target = height > BigInt(back) ? height - BigInt(back) : 0n;
        const before = events.length;
        await ledger.rollback(heightOf(target));
        const expected = Array.from({ length: Number(height - target) }, (_, offset) => `-${height - BigInt(offset)}`);
        assert(events.slice(before).join() === expected.join(), `undone: ${events.slice(before).join()}`);
        for (const { calls, miner } of blocks) {
          // The block before may be sealed again, otherwise than in the branch that was undone.
          await mineBlock(ledger, work(ledger, calls, `${index}`), { miner, skip: index, afterMs: 700n + BigInt(index) });
        }
      }
      const fresh = await replay(chainOf(ledger));
      const [made, expected] = [await contents(store), await contents(fresh.store)];
      const differing = made.filter((row) => !expected.includes(row));
      assert(made.length === expected.length && differing.length === 0, `differs: ${differing.slice(0, 3).join("; ")}`);
      // What is in memory too: the next block on both has one hash.
      const next = {
        proposer: addressAt(0),
        timeMs: ledger.head().timeMs + 1n,
        transactions: work(ledger, 3, "next"),
        evidence: [],
      };
      assert(toHex(ledger.build(next).block.hash) === toHex(fresh.build(next).block.hash), "the next block");
      const reopened = await open(store);
      return toHex(reopened.head().hash) === toHex(fresh.head().hash);
    }),
    25,
  );
});

t.test("what is undone on disk is gone from the disk, and readers never see a height half gone", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "pyralog-undo-"));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const store = await openLevelStore({ path: directory });
  const ledger = await open(store);
  for (let height = 1; height <= 6; height += 1) await mineBlock(ledger, work(ledger, 3, "a"));
  // Whoever reads between two steps of the undoing.
  let looks = 0;
  let isDone = false;
  const reader = (async (): Promise<void> => {
    while (!isDone) {
      const { height, hash, stateRoot } = ledger.head();
      assert(toHex(present(ledger.block(height), "block of the head").hash) === toHex(hash), "the head's own block");
      assert(toHex(present(ledger.header(height), "header").stateRoot) === toHex(stateRoot), "its state");
      present(ledger.state(height)?.get(accountKey(addressAt(0))), "an account");
      looks += 1;
      await setImmediate();
    }
  })();
  await ledger.rollback(at(2));
  isDone = true;
  await reader;
  t.ok(looks > 1, `${looks} looks`);
  for (let height = 3; height <= 7; height += 1) await mineBlock(ledger, work(ledger, 2, "b"), { miner: 1 });
  const chain = chainOf(ledger);
  await ledger[Symbol.asyncDispose]();
  const reopened = await openLevelStore({ path: directory });
  t.same(await contents(reopened), await contents((await replay(chain)).store));
  await reopened[Symbol.asyncDispose]();
});

t.test("a transaction that was undone is found no more, waits again, and goes into the next block", async (t) => {
  const ledger = await open();
  const mempool = new Mempool();
  const accountOf = (sender: Parameters<typeof accountKey>[0]) => {
    const row = ledger.state(ledger.head().height)?.get(accountKey(sender));
    return row === undefined ? ACCOUNT_EMPTY : ownRow(parseAccount(row), "account");
  };
  ledger.onCommit(({ block }) => mempool.commit({ height: block.header.height, transactions: block.transactions }, accountOf));
  const first = spend(2, 0n, [{ kind: "tableCreate", namespace: "n", table: "t" }]);
  const second = spend(2, 1n, [{ kind: "tablePut", namespace: "n", table: "t", key: utf8("k"), value: encodeValue(1) }]);
  const third = spend(2, 2n, [{ kind: "tablePut", namespace: "n", table: "t", key: utf8("k"), value: encodeValue(2) }]);
  await mineBlock(ledger, [first]);
  await mineBlock(ledger, [second]);
  t.ok(mempool.add(third, accountOf(addressAt(2))).ok);
  t.same(ledger.findTransaction(second.id), { height: 2n, index: 0 });
  ledger.onRollback((undone) => {
    mempool.undo(undone, accountOf);
    for (const transaction of undone.transactions) {
      const admitted = ledger.admit(transaction);
      t.ok(admitted.ok);
      if (admitted.ok) t.ok(mempool.add(transaction, admitted.value).ok);
    }
  });
  await ledger.rollback(at(0));
  t.equal(ledger.findTransaction(second.id), undefined);
  t.equal(ledger.state(at(0))?.get(rowKey("n", "t", utf8("k"))), undefined);
  const waiting = mempool.reap({ countMax: 10, sizeBytesMax: 1_000_000 });
  t.same(
    waiting.map(({ body }) => body.nonce),
    [0n, 1n, 2n],
    "in the order of their nonces",
  );
  await mineBlock(ledger, waiting, { miner: 1 });
  t.equal(mempool.count, 0);
  t.same(ledger.findTransaction(third.id), { height: 1n, index: 2 });
  t.equal(await ledger.rollback(at(2)).then(() => "done", codeOf), "rollback_height", "ahead of the head");
});
