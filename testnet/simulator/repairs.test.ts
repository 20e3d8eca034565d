/**
 * Blocks that drop records, and repairs, on disks that lose power: at every operation, in every way that what was not synced
 * may be left. What was acknowledged is there, what is damaged is never served, and the next start goes on.
 */

import t from "tap";
import { toHex, utf8 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { blake3 } from "../../crypto/backend/blake3.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { isDropped, type RecordBody } from "../../chain/block/record.ts";
import { feeOf } from "../../chain/block/genesis.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { keyPairAt } from "../../chain/block/testing/fixtures.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction } from "../../chain/block/transaction.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { KEYSPACE, type Kind } from "../../chain/store/keyspace.ts";
import type { StoreEntry } from "../../chain/store/store.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import type { Disk } from "../../node/ports/disk.ts";
import { isThere } from "../../node/ports/stores.ts";
import { DevNet } from "../../node/rpc/testing/devnet.ts";
import { GuardedReads } from "../../node/scrub/guard.ts";
import { type BlockCopies, rebuildStore, repairRows, settleStore } from "../../node/scrub/repair.ts";
import { type Damage, scrubRows } from "../../node/scrub/rows.ts";
import { copyRows, cutEverywhere, holds, kept, rowsOf, storesOn } from "./cuts.ts";

const SIGNAL = new AbortController().signal;
const STORE = "/data/store";
const TABLE = { namespace: "shop", table: "orders" };
const STREAM = { stream: "readings", partition: 0 };

/** A record of a key; without a value, a tombstone. */
const record = (key: string, value: string | undefined): RecordBody => ({
  key: utf8(key),
  value: value === undefined ? undefined : utf8(value),
  headers: [],
});
const append = (...records: readonly RecordBody[]): Call => ({ kind: "streamAppend", ...STREAM, records });
const put = (index: number): Call => ({ kind: "tablePut", ...TABLE, key: utf8(`o-${index}`), value: encodeValue({ index }) });

t.setTimeout(1_200_000);
const net = await DevNet.open({ powers: [3n, 1n] });
t.teardown(() => net[Symbol.asyncDispose]());
/** The rows after each height. */
const rowsAt = new Map<Height, StoreEntry[]>();
/** Which records are there after each, and which were dropped. */
const droppedAt: string[] = [];

/** Blocks are a second apart: records go after four of them, and those that others of their keys have replaced after two. */
const span = { segmentSizeBytes: 1_048_576, segmentAgeMs: 86_400_000, retentionMs: 4_000, compactionMs: 2_000 };
const plan: readonly (readonly Call[])[] = [
  [
    { kind: "tableCreate", ...TABLE },
    { kind: "streamCreate", stream: STREAM.stream, partitions: 1, isOpen: false, ...span },
  ],
  [append(record("a", "1"), record("b", "1"), record("c", "1"))],
  [append(record("a", "2"), record("d", "1")), put(1)],
  [{ kind: "recordErase", ...STREAM, index: 4n }, append(record("b", undefined))],
  [{ kind: "validatorSet", key: keyPairAt(2).publicKey, power: 1n }, append(record("a", "3"))],
  [append(record("e", "1")), { kind: "recordErase", ...STREAM, index: 7n }],
  [put(2), append(record("f", "1"))],
  [append(record("a", "4"))],
  [put(3)],
];
for (const [nonce, calls] of plan.entries()) {
  const keyPair = keyPairAt(100);
  const sender = addressOfKey(keyPair.publicKey);
  const fee = feeOf(net.network.parameters, 40_000);
  const body = { chainId: net.network.chainId, sender, nonce: BigInt(nonce), fee, expiry: heightOf(1000n), calls };
  const { results } = await net.commit([signTransaction(body, keyPair)]);
  if (results[0]?.kind !== "applied") throw new Error(JSON.stringify(results[0]));
  rowsAt.set(net.ledger.head().height, await rowsOf(net.ledger.store));
  const records = net.ledger.records(STREAM.stream, STREAM.partition, 0n, 100);
  droppedAt.push(records.map(({ bytes }) => (isDropped(bytes) ? "-" : "+")).join(""));
}
const HEAD = net.ledger.head().height;
const OPTIONS = { network: net.network, executor: EXECUTOR };

async function openLedger(disk: Disk): Promise<Ledger> {
  return await Ledger.open({ store: await storesOn(disk).open(STORE), ...OPTIONS });
}

const shown = (rows: readonly StoreEntry[]): string =>
  toHex(blake3(utf8(rows.map(({ key, value }) => `${toHex(key)}=${toHex(value)}`).join("\n"))));

/** Commits the block of the next height, as a node that follows does. */
async function commitNext(ledger: Ledger): Promise<void> {
  const height = heightOf(ledger.head().height + 1n);
  const block = kept(net.ledger.block(height), `block ${height}`);
  holds((await ledger.judge(block)).ok, `block ${height} is judged good`);
  await ledger.commit(block, kept(net.ledger.certificate(height), `certificate ${height}`));
}

t.test(
  "blocks that drop records by age, by key and by order are there whole or not at all, and replay to the same",
  async (t) => {
    // Erased with the fourth; replaced by the fifth; with the sixth c is too old, b replaced, and its tombstone over.
    const expected = ["", "+++", "+++++", "++++-+", "-+++-++", "---+--+-", "------+-+", "------+-++", "--------++"];
    t.same(droppedAt, expected, "each by its rule");
    const first = heightOf(1n);
    let acknowledged = first;
    const { operations } = await cutEverywhere(
      "drop records",
      {
        before: async ({ disk }) => {
          acknowledged = first;
          await disk.makeDirectory("/data");
          await copyRows(kept(rowsAt.get(first), "rows"), storesOn(disk), STORE);
        },
        work: async ({ disk }) => {
          await using ledger = await openLedger(disk);
          while (ledger.head().height < HEAD) {
            await commitNext(ledger);
            acknowledged = ledger.head().height;
          }
        },
        holds: async ({ disk }) => {
          await using ledger = await openLedger(disk);
          const { height } = ledger.head();
          holds(height >= acknowledged, `of ${acknowledged} blocks there are ${height}`);
          // Between two blocks there is nothing: what is there is what a replay to this height has.
          const rows = kept(rowsAt.get(height), `rows of ${height}`);
          holds(shown(await rowsOf(ledger.store)) === shown(rows), `the rows after ${height}`);
        },
        ends: async ({ disk }) => {
          await using ledger = await openLedger(disk);
          holds(toHex(ledger.head().stateRoot) === toHex(net.ledger.head().stateRoot), "the same state");
          holds(shown(await rowsOf(ledger.store)) === shown(kept(rowsAt.get(HEAD), "rows")), "the same rows");
        },
      },
      { pointsMax: 30, comment: (text) => t.comment(text) },
    );
    t.ok(operations > 30, `${operations} operations`);
  },
);

const kindOf = (key: Uint8Array): Kind =>
  kept(
    (Object.keys(KEYSPACE) as Kind[]).find((kind) => KEYSPACE[kind] === key[0]),
    "kind",
  );

/** One row of each kind with a byte changed, of different heights: below a header that is not right nothing is looked at. */
function damaged(kinds: readonly Kind[]): StoreEntry[] {
  const rows = kept(rowsAt.get(HEAD), "rows");
  return kinds.map((kind, at) => {
    const own = rows.filter(({ key, value }) => kindOf(key) === kind && value.length > 0);
    const { key, value } = kept(own[(at + 1) % own.length], kind);
    return { key, value: value.map((byte, index) => (index === value.length >> 1 ? byte ^ 1 : byte)) };
  });
}

function withChanges(rows: readonly StoreEntry[], changes: readonly StoreEntry[]): StoreEntry[] {
  const changed = new Map(changes.map(({ key, value }) => [toHex(key), value]));
  return rows.map(({ key, value }) => ({ key, value: changed.get(toHex(key)) ?? value }));
}

async function damagesOf(ledger: Ledger): Promise<Damage[]> {
  const found: Damage[] = [];
  for await (const { damages } of scrubRows({ ledger, executor: EXECUTOR })) found.push(...damages);
  return found;
}

/** What an honest peer sends. */
const COPIES: BlockCopies = async function* copies(height) {
  const block = net.ledger.blockBytes(height);
  const certificate = net.ledger.certificateBytes(height);
  if (block !== undefined && certificate !== undefined) yield { block, certificate };
};

/** Every answer is the honest one, or none. */
function servesNothingWrong(ledger: Ledger): void {
  const guard = new GuardedReads(ledger, () => undefined);
  const ask = (what: string, right: unknown, read: () => unknown): void => {
    try {
      holds(text(read()) === text(right), `${what} is served wrong`);
    } catch (error) {
      if (!(error instanceof CodedError) || error.code !== "store_damaged") throw error;
    }
  };
  for (let height = heightOf(1n); height <= HEAD; height = heightOf(height + 1n)) {
    const at = height;
    ask(`header ${at}`, net.ledger.headerBytes(at), () => guard.headerBytes(at));
    ask(`certificate ${at}`, net.ledger.certificateBytes(at), () => guard.certificateBytes(at));
    ask(`block ${at}`, net.ledger.blockBytes(at), () => guard.blockBytes(at));
    ask(`results ${at}`, net.ledger.results(at), () => guard.results(at));
    if (at < HEAD) ask(`history ${at}`, net.ledger.proveHistory(at, HEAD), () => guard.proveHistory(at, HEAD));
    for (const { id } of kept(net.ledger.block(at), "block").transactions)
      ask(`transaction of ${at}`, net.ledger.findTransaction(id), () => guard.findTransaction(id));
  }
  for (let index = 0n; index < 10n; index += 1n) {
    const at = index;
    const right = net.ledger.proveRecordIn(10n, STREAM.stream, STREAM.partition, at);
    ask(`record ${at}`, right, () => guard.proveRecordIn(10n, STREAM.stream, STREAM.partition, at));
  }
}

function text(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) =>
    typeof each === "bigint" ? `${each}` : each instanceof Uint8Array ? toHex(each) : each,
  );
}

t.test("a row that is repaired while power goes is found damaged or is right, and is never served wrong", async (t) => {
  const victims = damaged(["header", "block", "certificate", "transaction", "historyNode", "recordNode"]);
  const rows = kept(rowsAt.get(HEAD), "rows");
  const right = new Map(rows.map(({ key, value }) => [toHex(key), toHex(value)]));
  const { operations } = await cutEverywhere(
    "repair",
    {
      before: async ({ disk }) => {
        await disk.makeDirectory("/data");
        await copyRows(withChanges(rows, victims), storesOn(disk), STORE);
      },
      work: async ({ disk }) => {
        await using ledger = await openLedger(disk);
        const subject = { ledger, executor: EXECUTOR };
        // What hangs from a row that is not right yet may be found only once it is.
        for (let found = await damagesOf(ledger); found.length > 0; found = await damagesOf(ledger)) {
          const { repaired } = await repairRows(subject, found, COPIES);
          holds(repaired.length > 0, `${found.map(({ code, place }) => `${code} at ${place}`).join()} is repaired`);
        }
      },
      holds: async ({ disk }) => {
        await using ledger = await openLedger(disk);
        servesNothingWrong(ledger);
        const found = await damagesOf(ledger);
        const wrong = (await rowsOf(ledger.store)).filter(({ key, value }) => right.get(toHex(key)) !== toHex(value));
        holds(wrong.length === 0 || found.length > 0, `${wrong.length} rows are wrong, and none is found`);
        for (const { key } of wrong)
          holds(
            found.some((damage) => damage.key !== undefined && toHex(damage.key) === toHex(key)),
            `${kindOf(key)} is wrong, and not found`,
          );
      },
      ends: async ({ disk }) => {
        await using ledger = await openLedger(disk);
        holds(shown(await rowsOf(ledger.store)) === shown(rows), "every row is what it was");
      },
    },
    { pointsMax: 24, comment: (text) => t.comment(text) },
  );
  t.ok(operations > 10, `${operations} operations`);
});

t.test("a store that is made anew while power goes is the damaged one or the new one, and never neither", async (t) => {
  const victims = damaged(["results", "record", "stateChunk", "block"]);
  const rows = kept(rowsAt.get(HEAD), "rows");
  const { operations } = await cutEverywhere(
    "rebuild",
    {
      before: async ({ disk }) => {
        await disk.makeDirectory("/data");
        await copyRows(withChanges(rows, victims), storesOn(disk), STORE);
      },
      work: async ({ disk }) => {
        const reached = await rebuildStore({ ...OPTIONS, path: STORE, copies: COPIES, signal: SIGNAL, stores: storesOn(disk) });
        holds(reached === HEAD, `reached ${reached}`);
      },
      // As a node that starts instead.
      holds: async ({ disk }) => {
        await settleStore(STORE, storesOn(disk));
        holds(await isThere(storesOn(disk), STORE), "there is a store");
        await using ledger = await openLedger(disk);
        holds(ledger.head().height === HEAD, `a chain of ${ledger.head().height} blocks`);
        servesNothingWrong(ledger);
      },
      ends: async ({ disk }) => {
        await using ledger = await openLedger(disk);
        holds((await damagesOf(ledger)).length === 0, "nothing is damaged");
        holds(toHex(ledger.head().hash) === toHex(net.ledger.head().hash), "the same head");
        servesNothingWrong(ledger);
      },
    },
    { pointsMax: 24, comment: (text) => t.comment(text) },
  );
  t.ok(operations > 30, `${operations} operations`);
});
