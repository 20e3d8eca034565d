/** Scrubs: a changed byte of anything that a node keeps is found, never served, and repaired while a good copy exists. */

import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { bytesEqual, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { CodedError, codeOf } from "../../crypto/base/error.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { isDropped } from "../../chain/block/record.ts";
import { keyPairAt } from "../../chain/block/testing/fixtures.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction } from "../../chain/block/transaction.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { accountKey, rowRange } from "../../chain/state/keys.ts";
import { parseAccount } from "../../chain/state/rows.ts";
import { heightKey, type Kind, KEYSPACE, metadataKey, parseRecordDueKey } from "../../chain/store/keyspace.ts";
import { BLOB_SIZE_BYTES_MIN } from "../../chain/store/blobs.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import type { Store, StoreOperation } from "../../chain/store/store.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { openLog } from "../log/log.ts";
import { openMetrics } from "../metrics/metrics.ts";
import { SYSTEM_CLOCK } from "../ports/clock.ts";
import { DevNet } from "../rpc/testing/devnet.ts";
import { GuardedReads, guardedSource } from "./guard.ts";
import { checkFile, crc32c, dataFiles, tableFault } from "./leveldb.ts";
import { type BlockCopies, rebuildStore, repairRows } from "./repair.ts";
import { Scrubber } from "./scrubber.ts";
import { CURSOR_FIRST, type Cursor, type Damage, scrubRows } from "./rows.ts";

const SIGNAL = new AbortController().signal;

/**
 * Eight blocks: rows, a deletion, records of two partitions, a failing call, a new validator, a forgotten state, and a stream
 * that keeps records for six blocks, and for two those that others of their keys have replaced.
 */
async function openChain(t: Test): Promise<DevNet> {
  const net = await DevNet.open({ powers: [3n, 1n] });
  t.teardown(() => net[Symbol.asyncDispose]());
  const table = { namespace: "shop", table: "orders" };
  const put = (index: number, text = ""): Call => {
    const value = encodeValue(text === "" ? { index } : { index, text });
    return { kind: "tablePut", ...table, key: utf8(`o-${index}`), value };
  };
  const append = (partition: number, index: number, stream = "events"): Call => {
    const records = [utf8(`a ${index}`), utf8(`b ${index}`)];
    return { kind: "logAppend", stream, partition, records };
  };
  const place = { stream: KEPT, partition: 0 };
  const keep = (...records: readonly (readonly [key: string | undefined, value: string | undefined])[]): Call => {
    const bytes = (text: string | undefined): Uint8Array | undefined => (text === undefined ? undefined : utf8(text));
    const bodies = records.map(([key, value]) => ({ key: bytes(key), value: bytes(value), headers: [] }));
    return { kind: "streamAppend", ...place, records: bodies };
  };
  const rules = { segmentSizeBytes: 1_048_576, segmentAgeMs: 86_400_000, retentionMs: 6_000, compactionMs: 2_000 };
  const plan: (readonly Call[])[][] = [
    [[{ kind: "tableCreate", ...table }], [put(1)], [put(2), append(0, 1)]],
    [
      [append(0, 2)],
      [append(1, 3)],
      [{ kind: "tableDelete", ...table, key: utf8("o-1") }],
      [{ kind: "streamCreate", stream: KEPT, partitions: 1, isOpen: false, ...rules }],
      [keep(["a", "1"], ["b", "1"], [undefined, "1"])],
    ],
    [[{ kind: "tableDelete", ...table, key: utf8("o-1") }], [keep(["a", "2"])]],
    [],
    [[{ kind: "validatorSet", key: keyPairAt(2).publicKey, power: 1n }], [keep(["b", undefined])]],
    // Larger than what LevelDB keeps itself.
    [[put(3, "x".repeat(6_000))], [keep(["c", "1"], ["d", "1"])]],
    // Its key comes before that of the longer name, which comes before it in text.
    [[put(4)], [put(5), append(0, 4, "z")], [keep(["a", "3"], ["d", "2"]), { kind: "recordErase", ...place, index: 6n }]],
    [[{ kind: "transfer", to: addressOfKey(keyPairAt(101).publicKey), amount: 5n }], [keep(["c", undefined])]],
  ];
  let nonce = 0n;
  const keyPair = keyPairAt(100);
  for (const block of plan) {
    const transactions = block.map((calls) => {
      const body = { chainId: net.network.chainId, sender: addressOfKey(keyPair.publicKey), nonce: nonce++, fee: 1_000_000n };
      return signTransaction({ ...body, expiry: heightOf(1_000n), calls }, keyPair);
    });
    await net.commit(transactions);
  }
  // So that there are worn slots as well.
  await net.ledger.tree.prune(heightOf(2n), SIGNAL);
  return net;
}

const KEPT = "kept";

/** Whether a row says when a record may go that is gone already: nothing is lost with it. */
function isOfDropped(ledger: Ledger, key: Uint8Array): boolean {
  if (kindOf(key) !== "recordDue") return false;
  const { stream, partition, index } = parseRecordDueKey(key);
  return ledger.records(stream, partition, index, 1).some(({ bytes }) => isDropped(bytes));
}

type Row = { readonly key: Uint8Array; readonly value: Uint8Array };

async function rowsOf(store: Store): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const { key, value } of store.entries({})) rows.push({ key: key.slice(), value: value.slice() });
  return rows;
}

async function storeOf(rows: readonly Row[], changes: readonly StoreOperation[]): Promise<Store> {
  const store = openMemoryStore();
  await store.write([...rows.map((row): StoreOperation => ({ kind: "put", ...row })), ...changes], { sync: true });
  return store;
}

function flipped(bytes: Uint8Array, place: number): Uint8Array {
  const copy = bytes.slice();
  copy[place] = present(copy[place], "byte") ^ 1;
  return copy;
}

async function damagesOf(ledger: Ledger, from: Cursor = CURSOR_FIRST): Promise<Damage[]> {
  const damages: Damage[] = [];
  for await (const step of scrubRows({ ledger, executor: EXECUTOR }, from)) damages.push(...step.damages);
  return damages;
}

function kindOf(key: Uint8Array): Kind {
  return present(
    (Object.keys(KEYSPACE) as Kind[]).find((kind) => KEYSPACE[kind] === key[0]),
    "kind",
  );
}

/** A few rows of each kind: the first, the last and some between. */
function sampled(rows: readonly Row[]): Row[] {
  return (Object.keys(KEYSPACE) as Kind[]).flatMap((kind) => {
    const own = rows.filter(({ key }) => kindOf(key) === kind);
    const step = Math.max(1, Math.ceil((own.length - 1) / 4));
    return own.filter((_, index) => index % step === 0 || index === own.length - 1);
  });
}

/** Opens what a store holds; or the code with which it cannot be opened, which is a finding as well. */
async function openLedger(net: DevNet, store: Store): Promise<Ledger | string> {
  try {
    return await Ledger.open({ store, network: net.network, executor: EXECUTOR });
  } catch (error) {
    if (error instanceof CodedError) return error.code;
    throw error;
  }
}

t.test("an honest store has no damage, from wherever the scrub goes on", async (t) => {
  const net = await openChain(t);
  const cursors: Cursor[] = [];
  for await (const { cursor, damages } of scrubRows({ ledger: net.ledger, executor: EXECUTOR })) {
    t.strictSame(damages, []);
    cursors.push(cursor);
  }
  t.ok(cursors.length > 15, `${cursors.length} steps`);
  for (const cursor of cursors) t.strictSame(await damagesOf(net.ledger, cursor), []);
  t.strictSame(cursors.at(-1), { phase: "strays" });
});

/**
 * Goal: nothing in a store is beyond the scrub, and nothing that a disk changed is served. Method: one byte of one row at a
 * time, at its beginning, middle and end; then every question to the guard has the honest answer or none.
 */
t.test("a store that forgot its old blocks has no damage, and of those that it keeps none may be missing", async (t) => {
  const net = await openChain(t);
  await net.ledger.pruneBlocks(heightOf(5n), SIGNAL);
  t.equal(net.ledger.oldestBlock(), 5n);
  t.same(await damagesOf(net.ledger), []);
  const rows = await rowsOf(net.ledger.store);
  const store = await storeOf(rows, [{ kind: "delete", key: heightKey("block", 6n) }]);
  await using ledger = await Ledger.open({ store, network: net.network, executor: EXECUTOR });
  t.match(await damagesOf(ledger), [{ code: "row_missing", kind: "block" }]);
});

t.test("a changed byte of any row of any kind is found, named, and never served", async (t) => {
  const net = await openChain(t);
  const rows = await rowsOf(net.ledger.store);
  const kinds = new Set<Kind>();
  const unnoticed: string[] = [];
  const misnamed: string[] = [];
  const served: string[] = [];
  const honest = await answersOf(net.ledger, net);
  const all = Object.keys(KEYSPACE) as Kind[];
  for (const { key, value } of sampled(rows)) {
    const kind = kindOf(key);
    kinds.add(kind);
    for (const place of new Set([0, value.length >> 1, value.length - 1])) {
      if (place < 0 || value.length === 0) continue;
      const name = `${kind} ${toHex(key)} at ${place} of ${value.length}`;
      const ledger = await openLedger(net, await storeOf(rows, [{ kind: "put", key, value: flipped(value, place) }]));
      if (typeof ledger === "string") continue;
      await using opened = ledger;
      const damages = await damagesOf(opened);
      if (damages.length === 0) unnoticed.push(name);
      else if (!damages.some((damage) => damage.kind === kind))
        misnamed.push(`${name}: ${damages.map((each) => each.kind).join()}`);
      if (place !== value.length >> 1) continue;
      const answers = await answersOf(opened, net);
      for (const [question, answer] of answers)
        if (answer !== "refused" && answer !== honest.get(question)) served.push(`${name}: ${question}`);
    }
    // And a row that is gone, or empty where it should say something.
    const gone = await openLedger(net, await storeOf(rows, [{ kind: "delete", key }]));
    if (typeof gone === "string") continue;
    await using opened = gone;
    if (isOfDropped(opened, key)) continue;
    if (kind !== "stateStale" && kind !== "stateWorn" && kind !== "stateRoot" && (await damagesOf(opened)).length === 0)
      unnoticed.push(`${kind} ${toHex(key)} gone`);
  }
  t.strictSame(
    all.filter((kind) => !kinds.has(kind)),
    [],
    "every kind of row is in the store",
  );
  t.strictSame(unnoticed, []);
  t.strictSame(misnamed, []);
  t.strictSame(served, []);
  const stray = {
    kind: "put" as const,
    key: Uint8Array.of(KEYSPACE.transaction, ...new Uint8Array(32)),
    value: new Uint8Array(12),
  };
  const strange = await openLedger(net, await storeOf(rows, [stray]));
  if (typeof strange === "string") return t.fail(strange);
  t.match(await damagesOf(strange), [{ code: "row_orphan", kind: "transaction" }]);
  const back: StoreOperation = { kind: "put", key: metadataKey("head"), value: new Uint8Array(8) };
  t.equal(await openLedger(net, await storeOf(rows, [back])), "ledger_corrupt", "a head that went back");
});

/** What the guard says to many questions, or that it refuses. */
async function answersOf(ledger: Ledger, net: DevNet): Promise<Map<string, string>> {
  const guard = new GuardedReads(ledger, () => undefined);
  const answers = new Map<string, string>();
  const head = net.ledger.head().height;
  const ask = (question: string, answer: () => unknown): void => {
    try {
      answers.set(question, shown(answer()));
    } catch (error) {
      if (!(error instanceof CodedError) || error.code !== "store_damaged") throw error;
      answers.set(question, "refused");
    }
  };
  for (let height = heightOf(1n); height <= head; height = heightOf(height + 1n)) {
    const at = height;
    ask(`header ${at}`, () => guard.headerBytes(at));
    ask(`certificate ${at}`, () => guard.certificateBytes(at));
    ask(`block ${at}`, () => guard.blockBytes(at));
    ask(`results ${at}`, () => guard.results(at));
    ask(`validators ${at}`, () => guard.validators(at)?.validators.map(({ address, power }) => [address, power]));
    if (at < head) ask(`history ${at}`, () => guard.proveHistory(at, head));
    for (const [index, { id }] of present(net.ledger.block(at), "block").transactions.entries()) {
      ask(`find ${at}/${index}`, () => guard.findTransaction(id));
      ask(`prove ${at}/${index}`, () => guard.proveTransaction(at, index));
    }
  }
  const range = rowRange("shop", "orders", undefined, undefined);
  ask("rows", () => guard.proveState(head, range));
  ask("account", () => guard.proveState(head, { from: accountKey(addressOfKey(keyPairAt(100).publicKey)), limit: 1 }));
  for (const partition of [0, 1])
    for (const index of [0n, 1n, 3n])
      ask(`record ${partition}/${index}`, () => guard.proveRecordIn(index + 1n, "events", partition, index));
  return answers;
}

function shown(value: unknown): string {
  return (
    JSON.stringify(value, (_, each: unknown) =>
      typeof each === "bigint" ? `${each}` : each instanceof Uint8Array ? toHex(each) : each,
    ) ?? "nothing"
  );
}

const copiesOf = (ledger: Ledger): BlockCopies =>
  async function* copies(height: Height) {
    // A liar comes first.
    const lie = guardedSource(ledger, () => 1n).encoded(height === 1n ? 2n : 1n);
    if (lie !== undefined) yield lie;
    const block = ledger.blockBytes(height);
    const certificate = ledger.certificateBytes(height);
    if (block !== undefined && certificate !== undefined) yield { block: flipped(block, block.length >> 1), certificate };
    if (block !== undefined && certificate !== undefined) yield { block, certificate };
  };

const none: BlockCopies = async function* nothing() {};

t.test("what is damaged is put right from what is good beside it and from others, and what cannot be is said", async (t) => {
  const net = await openChain(t);
  const rows = await rowsOf(net.ledger.store);
  const inPlace: readonly Kind[] = ["header", "block", "certificate", "transaction", "historyNode", "recordNode"];
  const later: readonly Kind[] = ["results", "record", "validators", "stateChunk"];
  for (const { key, value } of sampled(rows)) {
    const kind = kindOf(key);
    if (value.length === 0 || (!inPlace.includes(kind) && !later.includes(kind))) continue;
    const store = await storeOf(rows, [{ kind: "put", key, value: flipped(value, value.length >> 1) }]);
    const ledger = await openLedger(net, store);
    if (typeof ledger === "string") continue;
    await using opened = ledger;
    const subject = { ledger: opened, executor: EXECUTOR };
    const damages = await damagesOf(opened);
    if (kind === "block" || kind === "certificate") {
      const alone = await repairRows(subject, damages, none);
      t.equal(alone.left.length, damages.length, "without a copy it stays");
    }
    const { left } = await repairRows(subject, damages, copiesOf(net.ledger));
    t.equal(left.length > 0, later.includes(kind), `${kind} ${toHex(key)}`);
    if (left.length > 0) continue;
    t.strictSame(await damagesOf(opened), [], `${kind} holds again`);
    t.ok(bytesEqual(present(store.get(key), "row"), value));
  }
});

t.test("what says when records may go is put right where that is certain, and nothing else is touched", async (t) => {
  const net = await openChain(t);
  const rows = await rowsOf(net.ledger.store);
  const dropped = net.ledger.records(KEPT, 0, 0n, 100).map(({ bytes }) => (isDropped(bytes) ? "-" : "+"));
  t.equal(dropped.join(""), "---+-+-+++", "by each rule, and some are there");
  const kinds: readonly Kind[] = ["recordDue", "recordLatest", "recordBefore"];
  const honest = shown(rows);
  let [right, left] = [0, 0];
  for (const { key, value } of rows.filter((row) => kinds.includes(kindOf(row.key)))) {
    const name = `${kindOf(key)} ${toHex(key)}`;
    const changes: StoreOperation[] = [{ kind: "delete", key }];
    for (let place = value.length - 1; place >= 0; place -= 3) changes.push({ kind: "put", key, value: flipped(value, place) });
    changes.push({ kind: "put", key, value: value.subarray(1) });
    for (const change of changes) {
      const store = await storeOf(rows, [change]);
      const ledger = await openLedger(net, store);
      if (typeof ledger === "string") throw new Error(ledger);
      await using opened = ledger;
      const repaired = await repairRows({ ledger: opened, executor: EXECUTOR }, await damagesOf(opened), none);
      const isRight = shown(await rowsOf(store)) === honest;
      if (repaired.left.length > 0) {
        left += 1;
        const others = (await rowsOf(store)).filter((row) => !bytesEqual(row.key, key));
        if (shown(others) !== shown(rows.filter((row) => !bytesEqual(row.key, key)))) t.fail(`${name}: another row was changed`);
      } else if (isRight) right += 1;
      else if (change.kind !== "delete" || !isOfDropped(opened, key)) t.fail(`${name}: ${change.kind} is not noticed`);
    }
  }
  t.ok(right > 50 && left > 50, `${right} put right, ${left} left for a rebuild`);
});

t.test("a block that is undone leaves no row behind that says when its records may go, erased or not", async (t) => {
  const net = await openChain(t);
  const { height } = net.ledger.head();
  const sender = addressOfKey(keyPairAt(100).publicKey);
  const account = parseAccount(present(net.ledger.state(height)?.get(accountKey(sender)), "account"));
  if (!account.ok) throw new Error("an account that does not decode");
  const place = { stream: KEPT, partition: 0 };
  const records = ["d", "e"].map((key) => ({ key: utf8(key), value: undefined, headers: [] }));
  const calls: readonly Call[] = [
    { kind: "streamAppend", ...place, records },
    { kind: "recordErase", ...place, index: 10n },
  ];
  const { nonce } = account.value;
  const body = { chainId: net.network.chainId, sender, nonce, fee: 1_000_000n, expiry: heightOf(1_000n), calls };
  t.match((await net.commit([signTransaction(body, keyPairAt(100))])).results, [{ kind: "applied" }]);
  t.strictSame(await damagesOf(net.ledger), []);
  await net.undo(height);
  t.strictSame(await damagesOf(net.ledger), []);
});

t.test("records from before their stream was declared have no time to go, and those after it do", async (t) => {
  const net = await DevNet.open({ powers: [1n] });
  t.teardown(() => net[Symbol.asyncDispose]());
  const append: Call = { kind: "logAppend", stream: "late", partition: 0, records: [utf8("a"), utf8("b")] };
  const rules = { segmentSizeBytes: 1_048_576, segmentAgeMs: 86_400_000, retentionMs: 6_000 };
  const declare: Call = { kind: "streamCreate", stream: "late", partitions: 1, isOpen: false, ...rules };
  const sender = addressOfKey(keyPairAt(100).publicKey);
  for (const [nonce, call] of [append, declare, append].entries()) {
    const body = { chainId: net.network.chainId, sender, nonce: BigInt(nonce), fee: 1_000_000n, expiry: heightOf(1_000n) };
    t.match((await net.commit([signTransaction({ ...body, calls: [call] }, keyPairAt(100))])).results, [{ kind: "applied" }]);
  }
  t.strictSame(await damagesOf(net.ledger), []);
  const rows = (await rowsOf(net.ledger.store)).filter(({ key }) => kindOf(key) === "recordDue");
  t.strictSame(
    rows.map(({ key }) => parseRecordDueKey(key).index),
    [2n, 3n],
  );
  const { key } = present(rows[1], "row");
  await net.ledger.store.write([{ kind: "delete", key }], { sync: true });
  t.match(await damagesOf(net.ledger), [{ code: "row_missing", kind: "recordDue", repair: { kind: "put" } }]);
});

// Files.

async function openDisk(t: Test, net: DevNet): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "pyralog-scrub-"));
  t.teardown(() => rm(directory, { recursive: true }));
  const path = join(directory, "store");
  // Opened twice, and with small tables, so that there are tables, a log and a manifest.
  for (const to of [5n, net.ledger.head().height]) {
    const store = await openLevelStore({ path, writeBufferSizeBytes: 64 * 1024 });
    await using ledger = await Ledger.open({ store, network: net.network, executor: EXECUTOR });
    for (let height = heightOf(ledger.head().height + 1n); height <= to; height = heightOf(height + 1n)) {
      const block = present(net.ledger.block(height), "block");
      const judged = await ledger.judge(block);
      if (!judged.ok) throw new CodedError(judged.error.code, {});
      await ledger.commit(block, present(net.ledger.certificate(height), "certificate"));
    }
  }
  return path;
}

async function faultsOf(path: string): Promise<unknown[]> {
  const faults: unknown[] = [];
  for (const file of await dataFiles(path)) faults.push(...(await checkFile(path, file, false)).faults);
  return faults;
}

t.test("the checksum is Castagnoli's", async (t) => {
  // RFC 3720, appendix B.4.
  t.equal(crc32c(new Uint8Array(32)), 0x8a91_36aa);
  t.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8_ab43);
  t.equal(crc32c(Uint8Array.from({ length: 32 }, (_, index) => index)), 0x46dd_794e);
  t.equal(crc32c(utf8("123456789")), 0xe306_9283);
  t.match(tableFault(new Uint8Array(10)), { code: "file_malformed" });
});

t.test("a changed byte anywhere in any file of the store is found by the file's own checksums", async (t) => {
  const net = await openChain(t);
  const path = await openDisk(t, net);
  t.strictSame(await faultsOf(path), []);
  const files = await dataFiles(path);
  for (const form of [/\.ldb$/, /\.log$/, /^MANIFEST/, /^CURRENT$/])
    t.ok(
      files.some((name) => form.test(name)),
      `${form.source}`,
    );
  const unnoticed: string[] = [];
  for (const file of files) {
    const bytes = new Uint8Array(await readFile(join(path, file)));
    const step = Math.max(1, Math.floor(bytes.length / 80));
    for (let place = 0; place < bytes.length; place += step) {
      await writeFile(join(path, file), flipped(bytes, place));
      if ((await checkFile(path, file, false)).faults.length === 0) unnoticed.push(`${file} at ${place} of ${bytes.length}`);
    }
    await writeFile(join(path, file), bytes.subarray(0, -1));
    t.ok((await checkFile(path, file, false)).faults.length > 0, `${file} cut short`);
    await writeFile(join(path, file), bytes);
  }
  t.strictSame(unnoticed, []);
  t.strictSame(await faultsOf(path), []);
});

t.test("a changed byte of a large value, which is in a file of its own kind, is found by its row and put right", async (t) => {
  const net = await openChain(t);
  const path = await openDisk(t, net);
  const open = async (): Promise<Ledger> =>
    await Ledger.open({ store: await openLevelStore({ path }), network: net.network, executor: EXECUTOR });
  const large: Row[] = [];
  {
    await using ledger = await open();
    large.push(...(await rowsOf(ledger.store)).filter(({ value }) => value.length >= BLOB_SIZE_BYTES_MIN));
  }
  const kinds = new Set(large.map(({ key }) => kindOf(key)));
  t.ok(kinds.has("block") && kinds.has("stateChunk"), [...kinds].join(", "));
  const files = (await readdir(path)).filter((name) => name.startsWith("blob-")).map((name) => join(path, name));
  for (const { key, value } of large) {
    for (const file of files) {
      const read = await readFile(file);
      const [bytes, place] = [new Uint8Array(read), read.indexOf(value)];
      if (place < 0) continue;
      await writeFile(file, flipped(bytes, place + (value.length >> 1)));
      await using ledger = await open();
      t.ok((await damagesOf(ledger)).map(({ kind }) => kind).includes(kindOf(key)), kindOf(key));
      if (kindOf(key) === "block") {
        await using log = await openLog({ level: "silent", destination: "stderr" });
        const parts = { storePath: path, cursorPath: `${path}.cursor`, copies: copiesOf(net.ledger), bytesPerSecondMax: 1e9 };
        const rest = {
          subject: { ledger, executor: EXECUTOR },
          clock: SYSTEM_CLOCK,
          log,
          metrics: openMetrics({ process: false }),
        };
        t.ok(await new Scrubber({ ...parts, ...rest, intervalMs: 1_000 }).pass(CURSOR_FIRST, SIGNAL));
        t.ok(bytesEqual(present(ledger.store.get(key), "row"), value), "it is as it was");
        t.strictSame(await damagesOf(ledger), []);
      } else await writeFile(file, bytes);
    }
  }
  await using ledger = await open();
  t.strictSame(await damagesOf(ledger), []);
});

t.test("a store is made anew from its good blocks and others' copies, and without one it stays as it was", async (t) => {
  const net = await openChain(t);
  const path = await openDisk(t, net);
  const open = async (): Promise<Ledger> =>
    await Ledger.open({ store: await openLevelStore({ path }), network: net.network, executor: EXECUTOR });
  const victims: readonly Kind[] = ["results", "record", "stateChunk", "block"];
  {
    await using ledger = await open();
    const rows = await rowsOf(ledger.store);
    for (const kind of victims) {
      const { key, value } = present(
        rows.find((row) => kindOf(row.key) === kind && row.value.length > 8),
        kind,
      );
      await ledger.store.write([{ kind: "put", key, value: flipped(value, value.length >> 1) }], { sync: true });
    }
    const found = new Set((await damagesOf(ledger)).map(({ kind }) => kind));
    for (const kind of victims) t.ok(found.has(kind), kind);
  }
  const options = { network: net.network, executor: EXECUTOR, path, signal: SIGNAL };
  t.equal(await rebuildStore({ ...options, copies: none }).catch(codeOf), "scrub_unrepaired");
  {
    await using ledger = await open();
    t.equal(ledger.head().height, 8n, "nothing was lost");
  }
  const stopped = new AbortController();
  const cut = rebuildStore({
    ...options,
    copies: copiesOf(net.ledger),
    signal: stopped.signal,
    onProgress: (height) => height === 4n && stopped.abort(),
  });
  t.equal(await cut.catch(() => "cut short"), "cut short");
  t.equal(await rebuildStore({ ...options, copies: copiesOf(net.ledger) }), 8n);
  await using ledger = await open();
  t.strictSame(await damagesOf(ledger), []);
  t.same(ledger.head(), net.ledger.head());
});

t.test("a running node scrubs by itself, repairs from its peers, and goes on where it was stopped", async (t) => {
  const net = await openChain(t);
  const path = await openDisk(t, net);
  const cursorPath = `${path}.cursor`;
  t.teardown(() => rm(cursorPath, { force: true }));
  await using ledger = await Ledger.open({ store: await openLevelStore({ path }), network: net.network, executor: EXECUTOR });
  await using log = await openLog({ level: "silent", destination: "stderr" });
  const metrics = openMetrics({ process: false });
  const parts = { storePath: path, cursorPath, copies: copiesOf(net.ledger), bytesPerSecondMax: 1e9, intervalMs: 1_000 };
  const scrubber = new Scrubber({ ...parts, subject: { ledger, executor: EXECUTOR }, clock: SYSTEM_CLOCK, log, metrics });
  t.ok(await scrubber.pass(CURSOR_FIRST, SIGNAL));
  const { key, value } = present(
    (await rowsOf(ledger.store)).find((row) => kindOf(row.key) === "block" && row.value.length > 8),
    "block",
  );
  await ledger.store.write([{ kind: "put", key, value: flipped(value, value.length >> 1) }], { sync: true });
  t.ok(await scrubber.pass(CURSOR_FIRST, SIGNAL));
  t.ok(bytesEqual(present(ledger.store.get(key), "row"), value), "it is as it was");
  t.match(await metrics.text(), /^scrub_passes_total 2$/m);
  t.match(await metrics.text(), /^scrub_damages_count 0$/m);
  t.notOk(await scrubber.pass(CURSOR_FIRST, AbortSignal.abort()), "a pass that is cut short");
  t.match(JSON.parse(await readFile(cursorPath, "utf8")), { phase: "heights", height: "1" });
  await writeFile(cursorPath, '{"phase":"heights","height":"-1"}');
  const ending = new AbortController();
  const running = scrubber.run(ending.signal);
  const passes = async (): Promise<number> => Number(/^scrub_passes_total (\d+)$/m.exec(await metrics.text())?.[1]);
  while ((await passes()) < 3) await new Promise((resolve) => setTimeout(resolve, 5));
  ending.abort();
  await running;
});
