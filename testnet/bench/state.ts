/**
 * How fast the state tree changes, proves and verifies, and what it takes, by the number of rows.
 *
 * Method: load random rows in batches of 50,000, then rewrite random rows in batches of 1,000, each staged, written with fsync and
 * adopted before the next (`updatesPerSecondInTurn`): what a node does for a block that others wait for. Then as many again, each
 * staged while the two before are being written (`updatesPerSecond`): what it does that restores a state. Then single questions, each proved from the newest version and verified, with rows drawn at random. At last
 * all history is pruned. Keys and values come from a seed. The process has the memory settings of a node (`node/bin.mjs`).
 */

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { blake3 } from "../../crypto/backend/blake3.ts";
import { assert, present } from "../../crypto/base/assert.ts";
import { compareBytes, concatBytes, u64, utf8 } from "../../crypto/base/bytes.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { verifyRange, verifyRow } from "../../chain/state/proof.ts";
import { StateTree, type StateUpdate } from "../../chain/state/tree.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import type { Store, StoreOperation } from "../../chain/store/store.ts";

/** What to measure. */
export type StateBenchOptions = {
  /** Sizes of the tree; default 10^4, 10^5 and 10^6, which takes about two minutes. */
  readonly rows?: readonly number[];
  /** Batches of 1,000 updates at each size. */
  readonly batches?: number;
  /** Questions of each kind at each size. */
  readonly questions?: number;
  readonly valueSizeBytes?: number;
  readonly cacheSizeBytes?: number;
};

/** Medians by name, and their range where it was repeated; and what people must know to read them. */
export type Figures = {
  readonly figures: Record<string, number>;
  readonly spread: Record<string, [number, number]>;
  readonly notes?: readonly string[];
};

const LOAD_BATCH_ROWS = 50_000;
const UPDATE_BATCH_ROWS = 1000;
const RANGE_ROWS = 100;
/** Stands for the table of a namespace: with 16 random bytes, keys of 32. */
const KEY_PREFIX = utf8("\u0003bench\0accounts\0");

/** Measures all sizes, one after the other, each in a directory of its own that it removes. */
export async function benchState(options: StateBenchOptions = {}): Promise<Figures> {
  const figures: Figures = { figures: {}, spread: {} };
  const sizes = (options.rows ?? [10_000, 100_000, 1_000_000]).toSorted((a, b) => a - b);
  for (const rows of sizes) {
    const path = await mkdtemp(join(tmpdir(), "pyralog-bench-state-"));
    try {
      await using store = await openLevelStore({ path });
      await benchSize(store, rows, options, figures);
    } finally {
      await rm(path, { recursive: true, force: true });
    }
  }
  noteGrowth(sizes, figures);
  return figures;
}

/** What an update costs in a tree of one size, in terms of what it costs in the size before: by the clock, and in CPU time. */
function noteGrowth(sizes: readonly number[], { figures }: Figures): void {
  for (const [index, larger] of sizes.entries()) {
    const smaller = sizes[index - 1];
    if (smaller === undefined) continue;
    for (const [name, rate] of [
      ["updateCostRatio", "updatesPerSecond"],
      ["updateCpuCostRatio", "updatesPerCpuSecond"],
    ] as const) {
      const ratio = present(figures[`${rate}_${smaller}`], "rate") / present(figures[`${rate}_${larger}`], "rate");
      figures[`${name}_${smaller}_to_${larger}`] = Number(ratio.toFixed(2));
    }
  }
}

async function benchSize(store: Store, rows: number, options: StateBenchOptions, into: Figures): Promise<void> {
  const valueSizeBytes = options.valueSizeBytes ?? 200;
  const tree = await StateTree.open(
    store,
    options.cacheSizeBytes === undefined ? {} : { cacheSizeBytes: options.cacheSizeBytes },
  );
  const random = randomNumbers(rows);
  const note = (name: string, samples: readonly number[], digits = 1): void => {
    const sorted = samples.toSorted((a, b) => a - b);
    const round = (value: number): number => Number(value.toFixed(digits));
    into.figures[`${name}_${rows}`] = round(present(sorted[sorted.length >> 1], "median"));
    if (samples.length > 1)
      into.spread[`${name}_${rows}`] = [round(present(sorted[0], "least")), round(present(sorted.at(-1), "greatest"))];
  };

  const loadStart = performance.now();
  for (let row = 0; row < rows; row += LOAD_BATCH_ROWS) {
    const updates = Array.from({ length: Math.min(LOAD_BATCH_ROWS, rows - row) }, (_, index) => ({
      key: keyOf(row + index),
      value: valueOf(row + index, 0, valueSizeBytes),
    }));
    await commit(tree, store, updates);
  }
  note("insertsPerSecond", [(rows * 1000) / (performance.now() - loadStart)], 0);

  const batches = options.batches ?? 100;
  const batchRows = Math.min(UPDATE_BATCH_ROWS, rows);
  const rewrite = async (firstRound: number, isInTurn: boolean): Promise<Rewriting> => {
    // Made before the clock starts: what is written meanwhile would be written for nothing.
    const rounds = Array.from({ length: batches }, (_, batch) =>
      batchOf(batchRows, rows, firstRound + batch, valueSizeBytes, random),
    );
    return await rewriteRows(tree, store, rounds, isInTurn);
  };
  const updated = 2 * batches * batchRows;
  const inTurn = await rewrite(1, true);
  note("updatesPerSecondInTurn", inTurn.perSecond, 0);
  const { perSecond, milliseconds, cpuMicroseconds, writtenBytes } = await rewrite(batches + 1, false);
  note("updatesPerSecond", perSecond, 0);
  note("updatesPerSecondMean", [(batches * batchRows * 1000) / milliseconds], 0);
  // All threads, LevelDB's compaction among them.
  note("updatesPerCpuSecond", [(batches * batchRows * 1e6) / cpuMicroseconds], 0);
  note("writtenBytesPerUpdate", [writtenBytes / (batches * batchRows)], 0);

  const version = present(tree.latest(), "latest");
  const root = present(tree.rootAt(version), "root");
  const questions = options.questions ?? 200;
  for (const { name, ask } of [
    { name: "point", ask: () => askRow(tree, version, root, keyOf(random() % rows), valueSizeBytes) },
    { name: "absence", ask: () => askRow(tree, version, root, keyOf(rows + random()), undefined) },
    { name: "range100", ask: () => askRange(tree, version, root, keyOf(random() % rows)) },
  ] as const) {
    for (let warm = 0; warm < Math.min(50, questions); warm += 1) ask();
    const answers = Array.from({ length: questions }, ask);
    note(
      `${name}ProofBytes`,
      answers.map(({ sizeBytes }) => sizeBytes),
      0,
    );
    note(
      `${name}ProveMicroseconds`,
      answers.map(({ proveMs }) => proveMs * 1000),
    );
    note(
      `${name}VerifyMicroseconds`,
      answers.map(({ verifyMs }) => verifyMs * 1000),
    );
  }
  // The resident set counts LevelDB's files, which it maps; what the process holds itself is the rest.
  note("rssMegabytes", [process.memoryUsage.rss() / 1e6], 0);
  const held = await heldBytes();
  if (held !== undefined) note("heldMegabytes", [held / 1e6], 0);

  const pruneStart = performance.now();
  await tree.prune(version);
  note("prunedRowsPerSecond", [((rows + updated) * 1000) / (performance.now() - pruneStart)], 0);
  note("diskBytesPerRow", [(await store.sizeBytes()) / rows], 0);
}

type Answer = { readonly sizeBytes: number; readonly proveMs: number; readonly verifyMs: number };

/** Proves and verifies one key; `sizeBytes` is without the value. */
function askRow(tree: StateTree, version: Height, root: Hash, key: Uint8Array, valueSizeBytes: number | undefined): Answer {
  const start = performance.now();
  const proof = tree.proveKeys(version, [key]);
  const proved = performance.now();
  const answer = verifyRow(root, key, proof);
  const verified = performance.now();
  assert(answer.ok && answer.value?.length === valueSizeBytes, "the proof is believed");
  return { sizeBytes: proof.length - (valueSizeBytes ?? 0), proveMs: proved - start, verifyMs: verified - proved };
}

function askRange(tree: StateTree, version: Height, root: Hash, from: Uint8Array): Answer {
  const query = { from, limit: RANGE_ROWS };
  const start = performance.now();
  const proof = tree.prove(version, query);
  const proved = performance.now();
  const answer = verifyRange(root, query, proof);
  const verified = performance.now();
  assert(answer.ok && answer.value.rows.length > 0, "the proof is believed");
  return { sizeBytes: proof.length, proveMs: proved - start, verifyMs: verified - proved };
}

/** Resident memory that belongs to no file, where the system tells. */
async function heldBytes(): Promise<number | undefined> {
  const status = await readFile("/proc/self/status", "utf8").catch(() => "");
  const kilobytes = /^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}

/** What rewriting rows took. */
type Rewriting = {
  /** Of each batch. */
  readonly perSecond: readonly number[];
  /** Of all, until the last is durable. */
  readonly milliseconds: number;
  readonly cpuMicroseconds: number;
  readonly writtenBytes: number;
};

/** Commits batches: each durable before the next is staged, or before the one after the next is. */
async function rewriteRows(
  tree: StateTree,
  store: Store,
  rounds: readonly (readonly StateUpdate[])[],
  isInTurn: boolean,
): Promise<Rewriting> {
  const perSecond: number[] = [];
  let writtenBytes = 0;
  let [writtenBefore, written] = [Promise.resolve(), Promise.resolve()];
  const cpuStart = process.cpuUsage();
  const start = performance.now();
  let before = start;
  for (const updates of rounds) {
    const staged = tree.stage(tree.latest(), nextVersion(tree), updates);
    await writtenBefore;
    writtenBefore = written;
    written = store.write(staged.operations, { sync: true });
    if (isInTurn) await written;
    tree.adopt(staged, written);
    const now = performance.now();
    perSecond.push((updates.length * 1000) / (now - before));
    before = now;
    writtenBytes += sizeOf(staged.operations);
  }
  await written;
  const milliseconds = performance.now() - start;
  const cpu = process.cpuUsage(cpuStart);
  return { perSecond, milliseconds, cpuMicroseconds: cpu.user + cpu.system, writtenBytes };
}

/** Stages, writes with fsync, adopts. */
async function commit(tree: StateTree, store: Store, updates: readonly StateUpdate[]): Promise<void> {
  const staged = tree.stage(tree.latest(), nextVersion(tree), updates);
  await store.write(staged.operations, { sync: true });
  tree.adopt(staged);
}

function nextVersion(tree: StateTree): Height {
  const base = tree.latest();
  return heightOf(base === undefined ? 0n : base + 1n);
}

function sizeOf(operations: readonly StoreOperation[]): number {
  return operations.reduce(
    (sizeBytes, { key, ...operation }) => sizeBytes + key.length + ("value" in operation ? operation.value.length : 0),
    0,
  );
}

/** New values for distinct random rows, in key order as the executor hands them over. */
function batchOf(count: number, rows: number, round: number, valueSizeBytes: number, random: () => number): StateUpdate[] {
  const chosen = new Set<number>();
  while (chosen.size < count) chosen.add(random() % rows);
  const updates = [...chosen].map((row) => ({ key: keyOf(row), value: valueOf(row, round, valueSizeBytes) }));
  return updates.toSorted((a, b) => compareBytes(a.key, b.key));
}

function keyOf(row: number): Uint8Array {
  return concatBytes(KEY_PREFIX, blake3(u64(BigInt(row))).subarray(0, 16));
}

/** Bytes that compress no better than people's rows do: half of them random. */
function valueOf(row: number, round: number, sizeBytes: number): Uint8Array {
  const value = new Uint8Array(sizeBytes);
  for (let at = 0; at < sizeBytes; at += 64)
    value.set(blake3(u64(BigInt(row * 4099 + round * 31 + at))).subarray(0, Math.min(32, sizeBytes - at)), at);
  return value;
}

/** Numbers below 2^32 from a seed (xorshift32). */
function randomNumbers(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}
