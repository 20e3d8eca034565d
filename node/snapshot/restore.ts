/**
 * From the chunks of a snapshot to a store that a node opens, believing nothing but the network file (`verify.ts`).
 *
 * Each chunk goes into the store in one batch with the note of how far this has come, so whenever the process dies or
 * power goes, the next attempt goes on behind the last batch that is there. What a node must see to take the store for
 * one, the network and the head, comes last: until then it is empty to whoever opens it.
 *
 * What is not there afterwards: blocks and states before the snapshot's height. Old headers are, with the history log
 * over them, so that they can still be proven, and every change of the validator set, so that clients can follow.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import type { Result } from "../../crypto/base/result.ts";
import { readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, HASH_SIZE_BYTES, hashOf } from "../../crypto/hash/hash.ts";
import { encodeHeader, type Header, headerHash, parseHeader } from "../../chain/block/block.ts";
import { genesisValidators, type NetworkFile, networkHash } from "../../chain/block/genesis.ts";
import { GENESIS_HEIGHT, type Height, heightOf, nextHeight } from "../../chain/block/height.ts";
import { parseMembers } from "../../chain/block/validators.ts";
import { HistoryLog } from "../../chain/ledger/history.ts";
import { LedgerRows, ours } from "../../chain/ledger/rows.ts";
import { appendOperations } from "../../chain/segment/partition.ts";
import { partitionRange } from "../../chain/state/keys.ts";
import { StateTree, type StateUpdate } from "../../chain/state/tree.ts";
import { heightKey, metadataKey } from "../../chain/store/keyspace.ts";
import type { Store, StoreOperation } from "../../chain/store/store.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { requireEngine } from "./create.ts";
import type { SnapshotCode } from "./errors.ts";
import type { Entry, Index } from "./format.ts";
import { checkIndex, planOf, type Refusal, type Step, Trust } from "./verify.ts";

/**
 * Rows kept in memory before they are written as a version of their own, at most one version a height: about 0.2 s of
 * the main thread, which also answers questions meanwhile.
 */
const PENDING_SIZE_BYTES_MAX = 2 * 1024 * 1024;

const PROGRESS_KEY = metadataKey("restoring");

/** Where chunks come from. */
export type ChunkSource = {
  readonly root: Hash;
  readonly index: Index;
  /** The entries of the pages; `undefined` when one is missing. */
  entries(): Promise<readonly Entry[] | undefined>;
  /** A chunk with the bytes that its name says; `undefined` when it is missing. */
  get(entry: Entry): Promise<Uint8Array | undefined>;
};

/** How much was restored. */
export type Restored = {
  readonly height: Height;
  readonly stateRoot: Hash;
  readonly chunks: number;
  readonly headers: number;
  readonly records: number;
};

/** A refusal: whoever made the snapshot, or copied it, is at fault. */
function refuse(code: SnapshotCode, message: string): never {
  throw new CodedError(code, { message });
}

function accepted<T>(result: Result<T, Refusal>): T {
  return result.ok ? result.value : refuse(result.error.code, result.error.message);
}

/**
 * Writes a snapshot into a store that is empty, or that an attempt with the same snapshot was broken off in.
 *
 * @throws CodedError a code of `SNAPSHOT_CODES`: `snapshot_chunk` when a chunk is missing, and what was written stays good;
 * after any other the store is worth nothing: delete it
 */
export async function restoreSnapshot(
  source: ChunkSource,
  options: {
    readonly store: Store;
    readonly network: NetworkFile;
    readonly signal: AbortSignal;
    readonly onChunk?: (done: number, total: number) => void;
  },
): Promise<Restored> {
  requireEngine(options.network);
  accepted(checkIndex(options.network, source.index));
  const entries = await source.entries();
  if (entries === undefined) return refuse("snapshot_chunk", "a page is missing");
  const steps = accepted(planOf(source.index, entries));
  const counts = countsOf(steps);
  const finished = finishedBefore(options.store, options.network, source.index);
  if (finished !== undefined) return { ...finished, ...counts };
  const restoration = await Restoration.begin(source.root, steps, options);
  for (const [at, step] of steps.entries()) {
    options.signal.throwIfAborted();
    // What is proven first is proven again after a break: it is little, and all else stands on it.
    if (at >= restoration.position || step.kind === "changes" || step.kind === "block") {
      const bytes = await source.get(step.entry);
      if (bytes === undefined) return refuse("snapshot_chunk", `chunk ${at} is missing`);
      await restoration.take(at, step, bytes);
    }
    options.onChunk?.(at + 1, steps.length);
  }
  return { ...(await restoration.finish()), ...counts };
}

/** One restoration under way. */
class Restoration {
  readonly #store: Store;
  readonly #network: NetworkFile;
  readonly #root: Hash;
  readonly #steps: readonly Step[];
  readonly #rows: LedgerRows;
  readonly #history: HistoryLog;
  readonly #tree: StateTree;
  readonly #trust: Trust;
  readonly #height: Height;
  /** Rows that are not in the tree yet, and the position behind them. */
  readonly #pending: StateUpdate[] = [];
  #pendingSizeBytes = 0;
  readonly #pendingSizeBytesMax: number;
  #position: number;
  /** Rows that are being written, and those before them. */
  #written: Promise<void> = Promise.resolve();
  #writtenBefore: Promise<void> = Promise.resolve();
  #isHistoryChecked = false;
  #arePartitionsChecked = false;

  private constructor(parts: {
    readonly store: Store;
    readonly network: NetworkFile;
    readonly root: Hash;
    readonly steps: readonly Step[];
    readonly height: Height;
    readonly tree: StateTree;
    readonly position: number;
  }) {
    const { store, network, root, steps, height, tree, position } = parts;
    this.#store = store;
    this.#network = network;
    this.#root = root;
    this.#steps = steps;
    this.#height = height;
    this.#tree = tree;
    this.#position = position;
    this.#rows = new LedgerRows(store);
    const done = steps.slice(0, position).findLast((step) => step.kind === "headers");
    this.#history = HistoryLog.open(this.#rows, heightOf(done?.kind === "headers" ? done.span.to : 0n));
    this.#trust = new Trust(network, height);
    const stateBytes = steps.reduce((sum, { kind, entry }) => sum + (kind === "state" ? entry.sizeBytes : 0), 0);
    // Versions below the snapshot's own carry what does not fit in memory; there is one a height.
    this.#pendingSizeBytesMax = Math.max(PENDING_SIZE_BYTES_MAX, Math.ceil((2 * stateBytes) / Number(height)));
  }

  static async begin(
    root: Hash,
    steps: readonly Step[],
    { store, network }: { readonly store: Store; readonly network: NetworkFile },
  ): Promise<Restoration> {
    assert(new LedgerRows(store).networkHash() === undefined, "restored into a store that is not empty");
    const progress = readProgress(store);
    if (progress !== undefined && !bytesEqual(progress.root, root)) refuse("snapshot_progress", "of another snapshot");
    const tree = await StateTree.open(store);
    const last = steps.findLast((step) => step.kind === "headers");
    const height = heightOf((last?.kind === "headers" ? last.span.to : 0n) + 1n);
    return new Restoration({ store, network, root, steps, height, tree, position: progress?.position ?? 0 });
  }

  /** The first chunk that is not in the store. */
  get position(): number {
    return this.#position;
  }

  async take(at: number, step: Step, bytes: Uint8Array): Promise<void> {
    switch (step.kind) {
      case "changes":
        return await this.#takeChanges(at, bytes);
      case "block":
        return await this.#takeBlock(at, bytes);
      case "headers":
      case "state":
      case "records":
        return await this.#takeContent(at, step, bytes);
    }
  }

  /** Checks what only shows at the end, and makes the store one that opens. */
  async finish(): Promise<Pick<Restored, "height" | "stateRoot">> {
    const { header } = present(this.#trust.certified, "certified header");
    await this.#written;
    this.#checkPartitions();
    const root = this.#tree.rootAt(this.#height);
    // Every chunk was proven against it.
    assert(root !== undefined && bytesEqual(root, header.stateRoot), "the rows are not those of the state root");
    await this.#tree.prune(this.#height);
    // Last, and durable: a store without these is empty to whoever opens it.
    await this.#store.write(
      [
        ...this.#history.operations(headerHash(header)),
        this.#rows.networkOperation(networkHash(this.#network)),
        this.#rows.headOperation(this.#height),
        { kind: "delete", key: PROGRESS_KEY },
      ],
      { sync: true },
    );
    return { height: this.#height, stateRoot: header.stateRoot };
  }

  async #takeChanges(at: number, bytes: Uint8Array): Promise<void> {
    const operations: StoreOperation[] = [];
    for (const { height, change } of accepted(await this.#trust.takeChanges(bytes))) {
      const set = parseMembers(change.validators);
      assert(set.ok, "a set that was accepted does not decode");
      // The rest of what the ledger keeps of this height comes with its header.
      operations.push(
        this.#rows.validatorsOperation(set.value),
        this.#rows.certificateOperation(height, change.anchor.certificate),
      );
    }
    await this.#write(operations, at);
  }

  async #takeBlock(at: number, bytes: Uint8Array): Promise<void> {
    const { certificate } = accepted(await this.#trust.takeBlock(bytes));
    const { header, block, results } = present(this.#trust.certified, "certified header");
    await this.#write(
      [
        this.#rows.validatorsOperation(genesisValidators(this.#network)),
        ...this.#rows.blockOperations(block, results),
        ...this.#rows.validatorChangeOperations(header),
        this.#rows.certificateOperation(header.height, certificate),
      ],
      at,
    );
  }

  async #takeContent(at: number, step: Step, bytes: Uint8Array): Promise<void> {
    this.#checkHistory();
    if (step.kind === "records") this.#checkPartitions();
    const content = accepted(this.#trust.check(step, bytes));
    switch (content.kind) {
      case "headers":
        for (const { header, hash } of content.headers) this.#stageHeader(header, hash);
        return await this.#write(this.#staged.splice(0), at);
      case "state":
        return await this.#takeRows(at, content.rows);
      case "records": {
        assert(step.kind === "records", "records of another step");
        const view = { get: (key: Uint8Array) => this.#tree.get(this.#height, key) };
        // So that what the stream's rules let go is let go here as it is elsewhere.
        const keep = EXECUTOR.keepRules(view, step.id.stream);
        const append = { ...step.id, firstIndex: step.span.from, records: content.records, keep };
        return await this.#write(appendOperations(this.#store, append), at);
      }
    }
  }

  readonly #staged: StoreOperation[] = [];

  #stageHeader(header: Header, hash: Hash): void {
    this.#staged.push(
      { kind: "put", key: heightKey("header", header.height), value: encodeHeader(header) },
      ...this.#rows.validatorChangeOperations(header),
      ...this.#history.operations(hash),
    );
    this.#history.adopt(hash);
  }

  async #takeRows(at: number, rows: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[]): Promise<void> {
    for (const { key, value } of rows) {
      this.#pending.push({ key: key.slice(), value: value.slice() });
      this.#pendingSizeBytes += key.length + value.length;
    }
    const isLast = this.#steps[at + 1]?.kind !== "state";
    const next = nextHeight(this.#tree.latest() ?? GENESIS_HEIGHT);
    if (isLast) await this.#stage(this.#height, at);
    else if (this.#pendingSizeBytes > this.#pendingSizeBytesMax && next < this.#height) await this.#stage(next, at);
  }

  async #stage(version: Height, at: number): Promise<void> {
    const staged = this.#tree.stage(this.#tree.latest(), version, this.#pending.splice(0));
    this.#pendingSizeBytes = 0;
    // At most two versions are under way. The next rows are fetched, proven and staged meanwhile.
    await this.#writtenBefore;
    this.#writtenBefore = this.#written;
    this.#written = this.#put(staged.operations, at);
    this.#written.catch(() => undefined); // Heard of by whoever stages or finishes next.
    this.#tree.adopt(staged, this.#written);
  }

  /** What a chunk holds, after the rows ahead of it. */
  async #write(operations: readonly StoreOperation[], at: number): Promise<void> {
    await this.#written;
    await this.#put(operations, at);
  }

  /**
   * One batch: what a chunk holds, and that it is here. Durable each time: LevelDB syncs only the log that it writes, so a
   * later batch could survive a power cut that an earlier one does not. None is there without those that were called for before:
   * it says that they are.
   */
  async #put(operations: readonly StoreOperation[], at: number): Promise<void> {
    const position = Math.max(this.#position, at + 1);
    await this.#store.write([...operations, { kind: "put", key: PROGRESS_KEY, value: encodeProgress(this.#root, position) }], {
      sync: true,
    });
    this.#position = position;
  }

  #checkHistory(): void {
    if (this.#isHistoryChecked) return;
    if (this.#trust.certified === undefined) refuse("snapshot_order", "headers or state before the block");
    accepted(this.#trust.checkHistory(this.#steps));
    this.#isHistoryChecked = true;
  }

  #checkPartitions(): void {
    if (this.#arePartitionsChecked) return;
    // All of them, also those whose rows an attempt before this one has proven.
    for (const { key, value } of this.#tree.entries(this.#height, partitionRange())) {
      if (!this.#trust.takePartition(key, value)) refuse("snapshot_state", "a partition row that is none");
    }
    accepted(this.#trust.checkPartitions(this.#steps));
    this.#arePartitionsChecked = true;
  }
}

/** What an attempt made that was broken off after its last batch. */
function finishedBefore(store: Store, network: NetworkFile, index: Index): Pick<Restored, "height" | "stateRoot"> | undefined {
  const rows = new LedgerRows(store);
  const known = rows.networkHash();
  if (known === undefined) return undefined;
  const header = rows.header(index.height);
  if (!bytesEqual(known, networkHash(network)) || rows.headHeight() !== index.height || header === undefined)
    return refuse("snapshot_progress", "the store is another one's");
  const { stateRoot } = ours(parseHeader(header), "header");
  return { height: index.height, stateRoot };
}

function countsOf(steps: readonly Step[]): Pick<Restored, "chunks" | "headers" | "records"> {
  const of = (kind: "headers" | "records"): number =>
    steps.reduce((sum, { entry }) => sum + (entry.kind === kind ? entry.count : 0), 0);
  // The header of the height itself is in its block.
  return { chunks: steps.length, headers: of("headers") + 1, records: of("records") };
}

function encodeProgress(root: Hash, position: number): Uint8Array {
  return new Writer().array(2).bytes(root).uint(position).finish();
}

function readProgress(store: Store): { readonly root: Hash; readonly position: number } | undefined {
  const bytes = store.get(PROGRESS_KEY);
  if (bytes === undefined) return undefined;
  const progress = readWith(bytes, (reader) => {
    reader.tuple(2);
    return { root: hashOf(reader.field("root").fixed(HASH_SIZE_BYTES).slice()), position: reader.field("position").number() };
  });
  if (!progress.ok) throw new CodedError("snapshot_progress", { message: "the note of what was restored does not decode" });
  return progress.value;
}
