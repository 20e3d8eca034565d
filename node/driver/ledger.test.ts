/**
 * The ledger with the real executor: what it commits it can prove, take back, and find again after a kill at any
 * moment.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import t from "tap";
import { assert, present } from "../../crypto/base/assert.ts";
import { codeOf } from "../../crypto/base/error.ts";
import { utf8 } from "../../crypto/base/bytes.ts";
import { type Coded, fail, ok, type Result } from "../../crypto/base/result.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { headerHash } from "../../chain/block/block.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { verifySignatureAsync } from "../../crypto/sign/key.ts";
import { heightOf } from "../../chain/block/height.ts";
import { inspectAll } from "../../chain/ledger/inspect.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { frontierRoot, LOG_HASHER, verifyConsistency, verifyInclusion } from "../../chain/merkle/log.ts";
import { verifyRow } from "../../chain/state/proof.ts";
import { partitionKey, rowKey } from "../../chain/state/keys.ts";
import { parsePartitionHead } from "../../chain/state/rows.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import type { Store } from "../../chain/store/store.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { certify, commitBlock, LONE_NETWORK, LONE_VALIDATOR, sign } from "./testing/lone.ts";
import { drawnSeed } from "../../crypto/testing/property.ts";

const open = async (store: Store): Promise<Ledger> => await Ledger.open({ store, network: LONE_NETWORK, executor: EXECUTOR });
const at = (height: number) => heightOf(BigInt(height));

/** Ten heights: a table, then a row and two records a height. */
async function grow(ledger: Ledger, heights: number): Promise<void> {
  for (let index = 0; index < heights; index += 1) {
    const nonce = ledger.head().height;
    const calls =
      nonce === 0n
        ? [{ kind: "tableCreate", namespace: "n", table: "t" } as const]
        : [
            {
              kind: "tablePut",
              namespace: "n",
              table: "t",
              key: utf8(`row-${nonce}`),
              value: encodeValue(`value ${nonce}`),
            } as const,
            { kind: "logAppend", stream: "s", partition: 1, records: [utf8(`a ${nonce}`), utf8(`b ${nonce}`)] } as const,
          ];
    await commitBlock(ledger, [sign(nonce, calls)]);
  }
}

t.test("a transaction is found once its block is the head, and not between, when its rows are there already", async (t) => {
  const memory = openMemoryStore();
  const written: (() => void)[] = [];
  // What a reader can see while the disk is still at work.
  const store: Store = Object.assign(Object.create(memory) as Store, {
    write: async (...given: Parameters<Store["write"]>) => {
      await memory.write(...given);
      for (const look of written) look();
    },
    get: memory.get.bind(memory),
    getMany: memory.getMany.bind(memory),
    entries: memory.entries.bind(memory),
    snapshot: memory.snapshot.bind(memory),
    clear: memory.clear.bind(memory),
  });
  const ledger = await open(store);
  const transaction = sign(0n, [{ kind: "tableCreate", namespace: "n", table: "t" }]);
  const seen: unknown[] = [];
  written.push(() => seen.push(ledger.findTransaction(transaction.id)));
  await commitBlock(ledger, [transaction]);
  t.same(seen, [undefined], "while it is written");
  t.same(ledger.findTransaction(transaction.id), { height: 1n, index: 0 });
  await ledger.rollback(at(0));
  t.ok(seen.length > 1 && seen.every((found) => found === undefined), "while it is taken back");
});

t.test("what many signatures of one sender cost ends with the first that does not hold", async (t) => {
  let checks = 0;
  const check = async (): Promise<Result<void, Coded>> => {
    checks += 1;
    await new Promise((resolve) => setImmediate(resolve));
    return fail({ code: "signature_invalid" });
  };
  t.match(await inspectAll(Array.from({ length: 1_000 }), check), { ok: false });
  t.ok(checks <= 32, `${checks} checks`);
  const seen: number[] = [];
  const look = async (_item: undefined, index: number): Promise<Result<void, Coded>> => {
    seen.push(index);
    return ok(undefined);
  };
  t.ok((await inspectAll(Array.from<undefined>({ length: 100 }), look)).ok);
  t.equal(new Set(seen).size, 100, "each once when all hold");
});

t.test("the votes of a certificate go to who remembers votes, and a transaction's signatures do not", async (t) => {
  const asked = { votes: 0, others: 0 };
  await using ledger = await Ledger.open({
    store: openMemoryStore(),
    network: LONE_NETWORK,
    executor: EXECUTOR,
    verify: async (...signed) => {
      asked.others += 1;
      return await verifySignatureAsync(...signed);
    },
    verifyVote: async (...signed) => {
      asked.votes += 1;
      return await verifySignatureAsync(...signed);
    },
  });
  const proposer = addressOfKey(LONE_VALIDATOR.publicKey);
  const transaction = sign(0n, [{ kind: "tableCreate", namespace: "n", table: "t" }]);
  const parts = { proposer, timeMs: ledger.head().timeMs + 1_000n, evidence: [] };
  const { block } = ledger.build({ ...parts, transactions: [transaction] });
  t.same(await ledger.checkCertificate(block, certify(block, 0)), { ok: true, value: undefined });
  t.same(asked, { votes: 1, others: 0 });
  await using follower = await Ledger.open({
    store: openMemoryStore(),
    network: LONE_NETWORK,
    executor: EXECUTOR,
    verify: async () => {
      asked.others += 1;
      return false;
    },
  });
  t.match(await follower.judge(block), { ok: false, error: { code: "signature_invalid", transactionIndex: 0 } });
  t.same(asked, { votes: 1, others: 1 });
});

t.test("a ledger of ten heights", async (t) => {
  const store = openMemoryStore();
  const ledger = await open(store);
  await grow(ledger, 10);

  t.test("proves rows of the newest and of an old height, and that a row was not there yet", async (t) => {
    const key = rowKey("n", "t", utf8("row-5"));
    for (const [height, expected] of [
      [10, encodeValue("value 5")],
      [6, encodeValue("value 5")],
      [5, undefined],
    ] as const) {
      const root = present(ledger.header(at(height)), "header").stateRoot;
      const proof = ledger.tree.proveKeys(at(height), [key]);
      const proven = verifyRow(root, key, proof);
      t.ok(proven.ok, `height ${height}`);
      t.same(proven.ok && proven.value, expected);
    }
  });

  t.test("proves each earlier header from every later one", async (t) => {
    for (let of = 1; of < 10; of += 1) {
      for (let newer = of + 1; newer <= 10; newer += 1) {
        const claim = {
          leafHash: LOG_HASHER.leaf(headerHash(present(ledger.header(at(of)), "header"))),
          index: BigInt(of - 1),
          size: BigInt(newer - 1),
          siblings: ledger.proveHistory(at(of), at(newer)),
          root: present(ledger.header(at(newer)), "header").historyRoot,
        };
        t.ok(verifyInclusion(LOG_HASHER, claim).ok, `${of} in ${newer}`);
        t.notOk(verifyInclusion(LOG_HASHER, { ...claim, index: claim.index + 1n }).ok, "and not in another place");
      }
    }
  });

  t.test("proves records under the partition's head in the state, and that the partition only grew", async (t) => {
    const headAt = (height: number) => {
      const bytes = present(present(ledger.state(at(height)), "state").get(partitionKey("s", 1)), "partition");
      const parsed = parsePartitionHead(bytes);
      assert(parsed.ok, "a partition head parses");
      return parsed.value.frontier;
    };
    const [older, newer] = [present(headAt(4), "head"), present(headAt(10), "head")];
    t.equal(newer.size, 18n);
    const [record] = ledger.records("s", 1, 7n, 1);
    const siblings = present(ledger.proveRecord(at(10), "s", 1, 7n), "siblings");
    const claim = {
      leafHash: LOG_HASHER.leaf(present(record, "record").bytes),
      index: 7n,
      size: newer.size,
      siblings,
      root: frontierRoot(LOG_HASHER, newer),
    };
    t.ok(verifyInclusion(LOG_HASHER, claim).ok);
    const hashes = present(ledger.proveConsistency("s", 1, older.size, newer.size), "proof");
    const growth = {
      first: older.size,
      second: newer.size,
      hashes,
      firstRoot: frontierRoot(LOG_HASHER, older),
      secondRoot: frontierRoot(LOG_HASHER, newer),
    };
    t.ok(verifyConsistency(LOG_HASHER, growth).ok);
    t.notOk(verifyConsistency(LOG_HASHER, { ...growth, firstRoot: growth.secondRoot }).ok);
    t.equal(ledger.proveRecord(at(10), "s", 1, 18n), undefined, "no proof of a record that is not there");
  });

  t.test("accepts a block that carries another valid certificate of the height before than its own", async (t) => {
    const other = await open(openMemoryStore());
    for (let height = 1; height <= 9; height += 1) {
      const block = present(ledger.block(at(height)), "block");
      t.ok((await other.judge(block)).ok);
      // Round 7 instead of 0: as valid, other bytes.
      await other.commit(block, certify(block, 7));
    }
    t.notSame(other.certificateBytes(at(9)), ledger.certificateBytes(at(9)));
    t.ok((await other.judge(present(ledger.block(at(10)), "block"))).ok);
    await other.commit(present(ledger.block(at(10)), "block"), certify(present(ledger.block(at(10)), "block"), 0));
    t.same(other.blockBytes(at(10)), ledger.blockBytes(at(10)), "and reads back the block that was decided");
    t.same(other.certificateBytes(at(9)), ledger.certificateBytes(at(9)), "with the certificate that the chain committed to");
  });

  t.test("refuses a block with one commitment changed, naming it", async (t) => {
    const next = await open(openMemoryStore());
    const block = present(ledger.block(at(1)), "block");
    for (const field of [
      "previous",
      "historyRoot",
      "transactionsRoot",
      "stateRoot",
      "resultsRoot",
      "validatorsHash",
      "nextValidatorsHash",
      "certificateHash",
      "evidenceRoot",
    ] as const) {
      const wrong = Uint8Array.from(block.header[field]);
      wrong[0] = present(wrong[0], "byte") ^ 1;
      const header = { ...block.header, [field]: wrong as typeof block.header.stateRoot };
      const judged = await next.judge({ ...block, header, hash: headerHash(header) });
      t.match(judged, { ok: false, error: { field: `header.${field}` } });
    }
    t.ok((await next.judge(block)).ok);
  });

  t.test("refuses a block whose calls write one record more than a block may", async (t) => {
    const byte = Uint8Array.of(1);
    const append = (count: number) =>
      ({ kind: "logAppend", stream: "s", partition: 0, records: Array.from({ length: count }, () => byte) }) as const;
    const full = sign(
      0n,
      Array.from({ length: 64 }, () => append(1024)),
    );
    const maker = await open(openMemoryStore());
    const parts = { proposer: addressOfKey(LONE_VALIDATOR.publicKey), timeMs: maker.head().timeMs + 1_000n, evidence: [] };
    const { block: whole } = maker.build({ ...parts, transactions: [full] });
    const { block: over } = maker.build({ ...parts, transactions: [full, sign(1n, [append(1)])] });
    const judge = await open(openMemoryStore());
    t.match(await judge.judge(over), { ok: false, error: { code: "block_operations" } });
    t.ok((await judge.judge(whole)).ok, "one transaction that is as large as may be fits");
  });

  t.test("goes back to an earlier height and grows again to the same one", async (t) => {
    const store = openMemoryStore();
    const ledger = await open(store);
    await grow(ledger, 8);
    const roots = [3, 8].map((height) => present(ledger.header(at(height)), "header").stateRoot);
    await ledger.rollback(at(3));
    t.equal(ledger.head().height, 3n);
    t.same(ledger.head().stateRoot, roots[0]);
    t.equal(ledger.block(at(4)), undefined);
    t.same(ledger.records("s", 1, 4n, 1), [], "records of undone blocks are gone");
    t.same((await open(store)).head(), ledger.head(), "also after opening it again");
    await grow(ledger, 5);
    t.same(ledger.head().stateRoot, roots[1]);
    t.equal(await ledger.rollback(at(9)).then(() => "done", codeOf), "rollback_height");
    await ledger.pruneBlocks(at(6));
    t.equal(
      await ledger.rollback(at(5)).then(() => "done", codeOf),
      "rollback_height",
      "its block is gone, though its state is not",
    );
    t.equal(ledger.head().height, 8n, "and nothing was undone");
    await ledger.rollback(at(6));
    t.same((await open(store)).head(), ledger.head());
  });

  t.test("refuses a store of another network", async (t) => {
    const other = { ...LONE_NETWORK, chainId: "other-1" };
    t.equal(await Ledger.open({ store, network: other, executor: EXECUTOR }).then(() => "opened", codeOf), "ledger_network");
  });
});

t.test(
  "a ledger killed with kill -9 at twelve random moments opens at a height that it had acknowledged, or the one it was writing",
  async (t) => {
    const directory = mkdtempSync(join(tmpdir(), "pyralog-kill-"));
    t.teardown(() => rmSync(directory, { recursive: true }));
    const child = fileURLToPath(new URL("testing/commit-forever.ts", import.meta.url));
    const seed = drawnSeed();
    t.comment(`seed ${seed}`);
    let random = seed;
    for (let cycle = 0; cycle < 12; cycle += 1) {
      random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0;
      const running = spawn(process.execPath, [child, directory], { stdio: ["ignore", "pipe", "inherit"] });
      let acknowledged = -1n;
      const lines = createInterface({ input: running.stdout });
      const opened = Promise.withResolvers<void>();
      lines.on("line", (line) => {
        acknowledged = BigInt(line);
        opened.resolve();
      });
      // Every line that it printed has been read by then.
      const ended = Promise.all([once(running, "exit"), once(lines, "close")]);
      await opened.promise;
      await new Promise((resolve) => setTimeout(resolve, random % 150));
      running.kill("SIGKILL");
      await ended;
      const store = await openLevelStore({ path: directory });
      const ledger = await open(store);
      const { height } = ledger.head();
      t.ok(height === acknowledged || height === acknowledged + 1n, `acknowledged ${acknowledged}, opened at ${height}`);
      t.equal(ledger.tree.audit(height), undefined, "every page and value of its state is there");
      t.same(
        ledger.state(height)?.get(rowKey("n", "t", utf8(`row-${height - 1n}`))),
        height < 2n ? undefined : encodeValue(`value ${height - 1n}`),
      );
      await ledger[Symbol.asyncDispose]();
    }
  },
);
