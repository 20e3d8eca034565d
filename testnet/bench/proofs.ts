/**
 * What proofs cost: records of a partition by its size, whole proof files by both verifiers, and old states from an archive.
 *
 * Method. Records: a partition is filled in batches of 1,000 on disk, and at each size random records are proven and
 * verified, among the sizes of one run. Files: honest files of every kind (`testnet/verifier/corpus.ts`), a network of
 * four Ed25519 validators that changed once. Archive: a state of so many rows, then blocks of ten random updates; the file
 * of each block beside a file of the whole state, and random rows of random heights proven from a directory with a reader
 * that has nothing yet (cold) and one that has read (warm).
 */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { blake3 } from "../../crypto/backend/blake3.ts";
import { assert, present } from "../../crypto/base/assert.ts";
import { compareBytes, concatBytes, u64, utf8 } from "../../crypto/base/bytes.ts";
import { encodeRecord } from "../../chain/block/record.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { frontierRoot, LOG_HASHER, verifyInclusion } from "../../chain/merkle/log.ts";
import { appendOperations, partitionFrontier, readRecords, recordProof } from "../../chain/segment/partition.ts";
import { verifyRow } from "../../chain/state/proof.ts";
import { successor } from "../../chain/state/range.ts";
import { StateTree } from "../../chain/state/tree.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import { type Delta, encodeDelta, parseDelta, proveArchived } from "../../node/archive/delta.ts";
import { verifyProofFile } from "../../node/light/prooffile.ts";
import { openCorpora } from "../verifier/corpus.ts";
import { secondVerdict } from "../verifier/second.ts";
import type { Figures } from "./state.ts";

/** What to measure. */
export type ProofsBenchOptions = {
  /** Sizes of the partition; default 10^4, 10^5 and 10^6. 10^7 takes some minutes and as many GB. */
  readonly records?: readonly number[];
  /** Rows of the archived states; default 10^4 and 10^5. */
  readonly rows?: readonly number[];
  readonly questions?: number;
};

const BATCH_RECORDS = 1_000;
const BLOCKS = 100;
const UPDATES_PER_BLOCK = 10;
const VALUE_SIZE_BYTES = 200;
const ID = { stream: "bench", partition: 0 };

/** Measures everything, in directories of its own that it removes. */
export async function benchProofs(options: ProofsBenchOptions = {}): Promise<Figures> {
  const into: Figures = { figures: {}, spread: {} };
  const questions = options.questions ?? 300;
  const directory = await mkdtemp(join(tmpdir(), "pyralog-bench-proofs-"));
  try {
    await benchRecords(join(directory, "records"), options.records ?? [10_000, 100_000, 1_000_000], questions, into);
    await benchFiles(into);
    for (const rows of options.rows ?? [10_000, 100_000])
      await benchArchive(join(directory, `rows-${rows}`), rows, questions, into);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  return into;
}

function note({ figures, spread }: Figures, name: string, samples: readonly number[], digits = 1): void {
  const sorted = samples.toSorted((a, b) => a - b);
  const round = (value: number): number => Number(value.toFixed(digits));
  figures[name] = round(present(sorted[sorted.length >> 1], "median"));
  if (samples.length > 1) spread[name] = [round(present(sorted[0], "least")), round(present(sorted.at(-1), "greatest"))];
}

/** Draws that are the same in every run. */
function drawsOf(seed: string): (end: number) => number {
  let count = 0n;
  return (end) => {
    count += 1n;
    return Number(new DataView(blake3(concatBytes(utf8(seed), u64(count))).buffer).getUint32(0) % end);
  };
}

function micros(work: () => void): number {
  const start = performance.now();
  work();
  return (performance.now() - start) * 1000;
}

async function benchRecords(path: string, sizes: readonly number[], questions: number, into: Figures): Promise<void> {
  await using store = await openLevelStore({ path });
  const draw = drawsOf("records");
  let size = 0;
  for (const wanted of sizes.toSorted((a, b) => a - b)) {
    const appendUs: number[] = [];
    for (; size < wanted; size += BATCH_RECORDS) {
      const records = Array.from({ length: BATCH_RECORDS }, (_, offset) => {
        const place = { ...ID, index: BigInt(size + offset), height: heightOf(1n), timeMs: 1n };
        return encodeRecord({ ...place, data: valueOf(size + offset) });
      });
      const start = performance.now();
      await store.write(appendOperations(store, { ...ID, firstIndex: BigInt(size), records }), { sync: false });
      appendUs.push(((performance.now() - start) * 1000) / BATCH_RECORDS);
    }
    note(into, `record_append_us_${wanted}`, appendUs);
    const root = frontierRoot(LOG_HASHER, partitionFrontier(store, ID, BigInt(size)));
    const [proveUs, verifyUs, sizeBytes]: [number[], number[], number[]] = [[], [], []];
    for (let question = 0; question < questions; question += 1) {
      const index = BigInt(draw(size));
      const bytes = present(readRecords(store, ID, index, 1)[0], "record").bytes;
      let siblings: ReturnType<typeof recordProof> = [];
      proveUs.push(micros(() => (siblings = recordProof(store, ID, index, BigInt(size)))));
      const check = (): void => {
        const claim = { leafHash: LOG_HASHER.leaf(bytes), index, size: BigInt(size), siblings, root };
        assert(verifyInclusion(LOG_HASHER, claim).ok, "own proof");
      };
      verifyUs.push(micros(check));
      sizeBytes.push(siblings.length * 34);
    }
    note(into, `record_prove_us_${wanted}`, proveUs);
    note(into, `record_verify_us_${wanted}`, verifyUs);
    note(into, `record_proof_bytes_${wanted}`, sizeBytes, 0);
  }
}

async function benchFiles(into: Figures): Promise<void> {
  const corpus = present(
    (await openCorpora()).find(({ name }) => name === "ed25519"),
    "corpus",
  );
  const [firstMs, secondMs, sizeBytes]: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round < 5; round += 1) {
    for (const { bytes } of corpus.files) {
      let start = performance.now();
      assert((await verifyProofFile(bytes, corpus.network)).ok, "honest file");
      firstMs.push(performance.now() - start);
      start = performance.now();
      assert(secondVerdict(bytes, corpus.networkJson).ok, "honest file");
      secondMs.push(performance.now() - start);
      sizeBytes.push(bytes.length);
    }
  }
  note(into, "file_verify_ms", firstMs, 2);
  note(into, "file_verify_second_ms", secondMs, 2);
  note(into, "file_bytes", sizeBytes, 0);
}

function keyOf(row: number): Uint8Array {
  return concatBytes(utf8("\u0003bench\0accounts\0"), blake3(u64(BigInt(row))).subarray(0, 16));
}

function valueOf(row: number, version = 0): Uint8Array {
  const value = new Uint8Array(VALUE_SIZE_BYTES);
  for (let at = 0; at < VALUE_SIZE_BYTES; at += 32)
    value.set(blake3(utf8(`${row} ${version} ${at}`)).subarray(0, Math.min(32, VALUE_SIZE_BYTES - at)), at);
  return value;
}

async function benchArchive(directory: string, rows: number, questions: number, into: Figures): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const fileOf = (height: bigint): string => join(directory, `${height}`);
  const store = openMemoryStore();
  const tree = await StateTree.open(store);
  const draw = drawsOf(`archive ${rows}`);
  const load = Array.from({ length: rows }, (_, row) => ({ key: keyOf(row), value: valueOf(row) })).sort((a, b) =>
    compareBytes(a.key, b.key),
  );
  const commit = async (updates: typeof load): Promise<Height> => {
    const below = tree.latest();
    const height = heightOf(below === undefined ? 0n : below + 1n);
    const staged = tree.stage(below, height, updates);
    await store.write(staged.operations, { sync: false });
    tree.adopt(staged);
    return height;
  };
  const readerOf = (cache: Map<Height, Delta>): ((height: Height) => Promise<Delta>) => {
    return async (height) => {
      const known = cache.get(height);
      if (known !== undefined) return known;
      const delta = present(parseDelta(new Uint8Array(readFileSync(fileOf(height))), height, undefined), "delta");
      cache.set(height, delta);
      return delta;
    };
  };
  await commit(load);
  const whole = tree.prove(heightOf(0n), {});
  writeFileSync(fileOf(0n), await encodeDelta(whole, undefined));
  into.figures[`archive_whole_state_bytes_${rows}`] = whole.length;
  const written = new Map<Height, Delta>();
  const [deltaBytes, deltaMs]: [number[], number[]] = [[], []];
  for (let block = 1; block <= BLOCKS; block += 1) {
    const chosen = new Set<number>();
    while (chosen.size < UPDATES_PER_BLOCK) chosen.add(draw(rows));
    const updates = [...chosen].map((row) => ({ key: keyOf(row), value: valueOf(row, block) }));
    updates.sort((a, b) => compareBytes(a.key, b.key));
    const height = await commit(updates);
    const read = readerOf(written);
    const below = heightOf(height - 1n);
    const root = (await read(below)).root;
    const start = performance.now();
    const proof = tree.proveKeys(
      height,
      updates.map(({ key }) => key),
    );
    const bytes = await encodeDelta(proof, { root, read });
    deltaMs.push(performance.now() - start);
    deltaBytes.push(bytes.length);
    writeFileSync(fileOf(height), bytes);
  }
  note(into, `archive_block_bytes_${rows}`, deltaBytes, 0);
  note(into, `archive_block_ms_${rows}`, deltaMs, 2);
  const warm = new Map<Height, Delta>();
  const [coldMs, warmMs, files]: [number[], number[], number[]] = [[], [], []];
  for (let question = 0; question < questions; question += 1) {
    const height = heightOf(BigInt(1 + draw(BLOCKS)));
    const key = keyOf(draw(rows));
    const ask = async (cache: Map<Height, Delta>): Promise<number> => {
      const start = performance.now();
      const read = readerOf(cache);
      const { root } = await read(height);
      const proof = await proveArchived(root, { from: key, to: successor(key) }, read);
      const elapsedMs = performance.now() - start;
      const row = verifyRow(present(tree.rootAt(height), "root"), key, proof);
      assert(row.ok && row.value !== undefined, "an archived row");
      return elapsedMs;
    };
    // What is cold pays for the whole state of genesis, which is one file here: few are enough.
    if (question < 5) {
      const cache = new Map<Height, Delta>();
      coldMs.push(await ask(cache));
      files.push(cache.size);
    }
    await ask(warm);
    warmMs.push(await ask(warm));
  }
  note(into, `archive_prove_cold_ms_${rows}`, coldMs, 1);
  note(into, `archive_prove_cold_files_${rows}`, files, 0);
  note(into, `archive_prove_warm_ms_${rows}`, warmMs, 3);
}
