/**
 * The record logs of a node: for each partition that somebody asks about, the RFC 9162 log over SHA-256 of its records, and the
 * node's signature, as its operator, of how it stands (`node/light/recordlog.ts`).
 *
 * ```
 *   records of the ledger --hash--> tiles, in a store of their own     key: derived from the node's
 *            |                            | root, proof                        |
 *            +-- our own frontier = what the state says? -- no: start over     +--> checkpoint, COSE receipt
 * ```
 *
 * Beside the tiles stands the frontier of our own tree over the same records. It must be that of the partition in the state, or
 * the beginning of it: so a root is signed only over records that the newest header commits to, whatever the disk or an
 * operator who went back has done. What was signed last is durable before a signature leaves, and no root is signed that
 * contradicts it.
 *
 * Nothing here is in the way of a commit: logs are made when they are asked for, in bounded steps, but for those that the
 * configuration names, which go along with every block so that they know records that are dropped later.
 */

import { hash as digestOf } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual, concatBytes, u32, utf8 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { type Hash, HASH_SIZE_BYTES, hashOf } from "../../crypto/hash/hash.ts";
import type { KeyPair } from "../../crypto/sign/key.ts";
import { networkHash, type NetworkFile } from "../../chain/block/genesis.ts";
import { appendOf } from "../../chain/block/call.ts";
import { isDropped, storedLeaf } from "../../chain/block/record.ts";
import type { Commit } from "../../chain/ledger/ledger.ts";
import {
  appendLeaf,
  EMPTY_FRONTIER,
  type Frontier,
  frontierRoot,
  inclusionProof,
  LOG_HASHER,
  readFrontier,
  rootAt,
  verifyConsistency,
  writeFrontier,
} from "../../chain/merkle/log.ts";
import { partitionKey } from "../../chain/state/keys.ts";
import { ownRow, parsePartitionHead } from "../../chain/state/rows.ts";
import type { Store, StoreOperation } from "../../chain/store/store.ts";
import { encodeCheckpoint, encodeNote, encodeNoteKey, signNote } from "../light/checkpoint.ts";
import { signCoseReceipt } from "../light/cose.ts";
import { type PartitionName, recordLogHasher, recordLogOrigin } from "../light/recordlog.ts";
import type { Log } from "../log/log.ts";
import type { LedgerReads, RecordLogAnswer, RecordLogBackend, RecordLogQuestion, RecordLogRefusal } from "../rpc/backend.ts";
import { putRow, readRow, Tiles } from "./tiles.ts";

/** `crypto.hash` takes half the time of what browsers have. */
const HASHER = recordLogHasher((bytes) => digestOf("sha256", bytes, "buffer"));

/** One step: a few milliseconds, and then others have their turn. */
const STEP_RECORDS_MAX = 512n;
const STEP_SIZE_BYTES_MAX = 4 * 1024 * 1024;
/** Steps of one question, 32,768 records; who asks again goes on from there. */
const STEPS_MAX = 64;
/** Questions at once; one beyond is refused. */
const ASKING_MAX = 8;
/** Logs in memory, at some 24 KiB; one beyond pushes out the oldest that nothing is written of. */
const LOGS_MAX = 256;

/** What lies under this byte: how long a log is. `tiles.ts` has the other. */
const STATE_KIND = 0x01;

/** What record logs are made of, and who signs. */
export type RecordLogsOptions = {
  readonly ledger: LedgerReads;
  readonly network: NetworkFile;
  /** Ed25519, and used for nothing else. */
  readonly keyPair: KeyPair;
  /** Opened when it is first needed, and owned from then on. */
  readonly open: () => Promise<Store>;
  /** Streams that are hashed with every block. */
  readonly follow: readonly string[];
  readonly log: Log;
  /** Steps of one question, of at most 512 records each. Default 64. */
  readonly stepsMax?: number;
};

/** One log in memory. */
type OpenLog = {
  readonly id: PartitionName;
  readonly key: Uint8Array;
  tiles: Tiles;
  /** Of our own tree, over the same records. */
  frontier: Frontier;
  /** What was signed last. */
  signed: { readonly size: bigint; readonly root: Hash } | undefined;
  /** Whether the tiles were held against that since they were begun. */
  isHeld: boolean;
  /** Questions under way, which keep it in memory as writes do. */
  asking: number;
  /** Writes under way. */
  writing: number;
  /** Resolves when the newest of them is over. */
  written: Promise<void>;
};

/** See the file's head. */
export class RecordLogs implements RecordLogBackend, AsyncDisposable {
  readonly #options: RecordLogsOptions;
  readonly #networkHash: Hash;
  readonly #followed: ReadonlySet<string>;
  readonly #logs = new Map<string, OpenLog>();
  /** What goes on by itself; joined at close. */
  readonly #tasks = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  #opening: Promise<Store> | undefined;
  /** Set once it is open, for what must not wait. */
  #store: Store | undefined;
  #asking = 0;

  constructor(options: RecordLogsOptions) {
    assert(options.keyPair.publicKey.type === "ed25519", "notes are signed with Ed25519");
    this.#options = options;
    this.#networkHash = networkHash(options.network);
    this.#followed = new Set(options.follow);
  }

  /** Begins to follow, where there is something to follow: what came while nobody looked is caught up with. */
  async begin(): Promise<void> {
    if (this.#followed.size === 0 || this.#options.network.engine.name === "pow") return;
    const store = await this.#open();
    for await (const { key } of store.entries({ from: Uint8Array.of(STATE_KIND), to: Uint8Array.of(STATE_KIND + 1) })) {
      const id = parseName(key);
      if (this.#followed.has(id.stream)) this.#own(this.#catchUp(id));
    }
  }

  /** Hashes what a block appended to the streams that are followed. Never throws: it stands between a block and the next. */
  follow({ block }: Pick<Commit, "block">): void {
    const store = this.#store;
    if (store === undefined || this.#followed.size === 0) return;
    const touched = new Map<string, PartitionName>();
    for (const call of block.transactions.flatMap(({ body }) => body.calls)) {
      const append = appendOf(call);
      if (append === undefined || !this.#followed.has(append.stream)) continue;
      touched.set(`${append.stream}/${append.partition}`, { stream: append.stream, partition: append.partition });
    }
    for (const id of touched.values()) this.#own(this.#catchUp(id));
  }

  /**
   * A record's receipt: the proof that it is in its log, and the log signed.
   *
   * @throws CodedError `store_damaged`: the records are not those that the state commits to
   */
  async receipt(question: RecordLogQuestion, signal: AbortSignal): Promise<Result<RecordLogAnswer, RecordLogRefusal>> {
    if (this.#options.network.engine.name === "pow") return fail({ code: "recordlog_work" });
    if (this.#asking >= ASKING_MAX) return fail({ code: "recordlog_busy" });
    this.#asking += 1;
    try {
      return await this.#answer(question, AbortSignal.any([signal, this.#closing.signal]));
    } finally {
      this.#asking -= 1;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    while (this.#tasks.size > 0) await Promise.all(this.#tasks);
    // That it could not be opened was told to whoever wanted it.
    const store = await this.#opening?.catch(() => undefined);
    await store?.[Symbol.asyncDispose]();
  }

  async #answer(question: RecordLogQuestion, signal: AbortSignal): Promise<Result<RecordLogAnswer, RecordLogRefusal>> {
    const { index } = question;
    const found = this.#head(question);
    if (found === undefined) return fail({ code: "partition_unknown", field: "partition" });
    const size = question.size ?? found.size;
    if (size > found.size) return fail({ code: "record_unknown", field: "size", size: `${found.size}` });
    if (index >= found.size) return fail({ code: "record_unknown", field: "index", size: `${found.size}` });
    if (index >= size) return fail({ code: "range_invalid", field: "size" });
    const store = await this.#open();
    const log = this.#logOf(store, question);
    log.asking += 1;
    try {
      const reached = await this.#reach(log, size, signal);
      return reached.ok ? await this.#signed(log, { index, size }) : reached;
    } catch (error) {
      if (!(error instanceof CodedError) || error.code !== "recordlog_damaged") throw error;
      // The tiles are a copy: what is wrong with them is put right by making them again.
      this.#options.log.warn({ part: "recordlog", code: error.code, ...log.id }, "tiles do not hold, and are made again");
      await this.#restart(log);
      return fail({ code: "recordlog_building", done: "0", size: `${size}` });
    } finally {
      log.asking -= 1;
    }
  }

  /** Signs a log at a size that it has reached. */
  async #signed(
    log: OpenLog,
    { index, size }: { readonly index: bigint; readonly size: bigint },
  ): Promise<Result<RecordLogAnswer, RecordLogRefusal>> {
    const { network, keyPair } = this.#options;
    // Whatever was appended is written; from here to the signature nothing waits.
    while (log.writing > 0) await log.written;
    // Another question may have found the tiles wanting meanwhile.
    if (log.tiles.size < size) return fail({ code: "recordlog_building", done: `${log.tiles.size}`, size: `${size}` });
    const read = (level: number, at: bigint): Hash => log.tiles.node(level, at);
    if (log.signed !== undefined && !log.isHeld) {
      const before = log.signed;
      const isIn = log.tiles.size >= before.size && bytesEqual(rootAt(HASHER, before.size, read), before.root);
      if (!isIn) return fail({ code: "recordlog_conflict", size: `${before.size}` });
      log.isHeld = true;
    }
    const root = rootAt(HASHER, size, read);
    const siblings = inclusionProof(HASHER, { index, size }, read);
    if (log.signed === undefined || log.signed.size < size) {
      log.signed = { size, root };
      log.isHeld = true;
      await this.#write(log, [], { sync: true });
    }
    const origin = recordLogOrigin({ chainId: network.chainId, hash: this.#networkHash }, log.id);
    const text = encodeCheckpoint({ origin, size, root });
    return ok({
      size,
      siblings,
      checkpoint: encodeNote({ text, signatures: [signNote(text, origin, keyPair)] }),
      cose: signCoseReceipt({ size, index, siblings, origin, root, place: log.id }, keyPair),
      key: encodeNoteKey({ name: origin, algorithm: "ed25519", key: keyPair.publicKey }),
    });
  }

  /** Goes on until the log has so many records of those that the newest state commits to, or as many as were signed before. */
  async #reach(log: OpenLog, asked: bigint, signal: AbortSignal): Promise<Result<void, RecordLogRefusal>> {
    if (!this.#isBeginning(log)) {
      // Not the records of today's chain: somebody went back, or the disk did.
      this.#options.log.warn({ part: "recordlog", ...log.id, size: log.tiles.size }, "a record log is made again");
      await this.#restart(log);
    }
    const signed = log.isHeld || log.signed === undefined ? 0n : log.signed.size;
    if (signed > (this.#head(log.id)?.size ?? 0n)) return fail({ code: "recordlog_conflict", size: `${signed}` });
    const size = signed > asked ? signed : asked;
    for (let step = 0; log.tiles.size < size; step += 1) {
      if (step === (this.#options.stepsMax ?? STEPS_MAX))
        return fail({ code: "recordlog_building", done: `${log.tiles.size}`, size: `${size}` });
      const advanced = this.#advance(log);
      if (!advanced.ok) return advanced;
      await this.#write(log, log.tiles.takeOperations(), { sync: false });
      await setImmediate();
      signal.throwIfAborted();
    }
    if (this.#isBeginning(log)) return ok(undefined);
    await this.#restart(log);
    throw new CodedError("store_damaged", { message: "records are not what the state commits to", ...log.id });
  }

  /** One step. Synchronous: between a look at the records and the next, nothing is dropped. */
  #advance(log: OpenLog): Result<void, RecordLogRefusal> {
    const { stream, partition } = log.id;
    const head = present(this.#head(log.id), "head of a partition that has records");
    const left = head.size - log.tiles.size;
    const count = Number(left < STEP_RECORDS_MAX ? left : STEP_RECORDS_MAX);
    let sizeBytes = 0;
    for (const { index, bytes } of this.#options.ledger.records(stream, partition, log.tiles.size, count)) {
      if (isDropped(bytes)) return sizeBytes > 0 ? ok(undefined) : fail({ code: "recordlog_dropped", index: `${index}` });
      log.frontier = appendLeaf(LOG_HASHER, log.frontier, storedLeaf(bytes));
      log.tiles.append(HASHER.leaf(bytes));
      sizeBytes += bytes.length;
      if (sizeBytes > STEP_SIZE_BYTES_MAX) break;
    }
    if (sizeBytes === 0) throw new CodedError("store_damaged", { message: "records are missing", ...log.id });
    return ok(undefined);
  }

  /** Whether our own tree over what was hashed is the partition's, or the beginning of it. */
  #isBeginning(log: OpenLog): boolean {
    const { stream, partition } = log.id;
    const head = this.#head(log.id);
    const { size } = log.frontier;
    if (size === 0n) return true;
    if (head === undefined || size > head.size) return false;
    const hashes = this.#options.ledger.proveConsistency(stream, partition, size, head.size);
    const claim = { first: size, second: head.size, firstRoot: frontierRoot(LOG_HASHER, log.frontier) };
    return (
      hashes !== undefined && verifyConsistency(LOG_HASHER, { ...claim, hashes, secondRoot: frontierRoot(LOG_HASHER, head) }).ok
    );
  }

  #head({ stream, partition }: PartitionName): Frontier | undefined {
    const { ledger } = this.#options;
    const row = ledger.state(ledger.head().height)?.get(partitionKey(stream, partition));
    return row === undefined ? undefined : ownRow(parsePartitionHead(row), "partition").frontier;
  }

  /** A step at once, in which the block that was just committed is hashed before the next one can drop any of it. */
  async #catchUp(id: PartitionName): Promise<void> {
    try {
      const log = this.#logOf(present(this.#store, "open store"), id);
      for (let left = true; left;) {
        const size = this.#head(id)?.size ?? 0n;
        if (log.tiles.size >= size) return;
        const advanced = this.#advance(log);
        if (!advanced.ok) throw new CodedError(advanced.error.code, { ...advanced.error });
        left = log.tiles.size < size;
        await this.#write(log, log.tiles.takeOperations(), { sync: false });
        this.#closing.signal.throwIfAborted();
      }
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      if (!(error instanceof CodedError)) throw error;
      this.#options.log.warn({ part: "recordlog", ...id, code: error.code }, "a record log cannot be followed");
    }
  }

  /** Forgets the tiles, and not what was signed. */
  async #restart(log: OpenLog): Promise<void> {
    const store = present(this.#store, "open store");
    log.tiles = Tiles.load(HASHER, store, log.key, 0n);
    log.frontier = EMPTY_FRONTIER;
    log.isHeld = false;
    await this.#write(log, [], { sync: false });
  }

  /** Writes rows with how long the log is and what was signed, in one batch, after those before. */
  async #write(log: OpenLog, rows: readonly StoreOperation[], options: { readonly sync: boolean }): Promise<void> {
    const store = present(this.#store, "open store");
    log.writing += 1;
    const state = putRow(concatBytes(Uint8Array.of(STATE_KIND), log.key), encodeState(log));
    const write = store.write([...rows, state], options);
    log.written = write.finally(() => {
      log.writing -= 1;
    });
    try {
      await log.written;
    } catch (error) {
      // Memory is ahead of the disk now: begin from the disk.
      this.#logs.delete(nameOf(log.id));
      throw error;
    }
  }

  /** The log of a partition, from memory or as the store has it. */
  #logOf(store: Store, { stream, partition }: PartitionName): OpenLog {
    const id = { stream, partition };
    const name = nameOf(id);
    const known = this.#logs.get(name);
    this.#logs.delete(name);
    const log = known ?? this.#loaded(store, id);
    this.#logs.set(name, log);
    for (const [oldest, { asking, writing }] of this.#logs) {
      if (this.#logs.size <= LOGS_MAX) break;
      if (asking + writing === 0 && oldest !== name) this.#logs.delete(oldest);
    }
    return log;
  }

  #loaded(store: Store, id: PartitionName): OpenLog {
    const key = logKey(id);
    const begun = (signed: OpenLog["signed"]): OpenLog => ({
      id,
      key,
      tiles: Tiles.load(HASHER, store, key, 0n),
      frontier: EMPTY_FRONTIER,
      signed,
      isHeld: false,
      asking: 0,
      writing: 0,
      written: Promise.resolve(),
    });
    let signed: OpenLog["signed"];
    try {
      const row = readRow(store, concatBytes(Uint8Array.of(STATE_KIND), key));
      const state = row === undefined ? undefined : parseState(row);
      if (state === undefined) return begun(undefined);
      signed = state.signed;
      return { ...begun(signed), frontier: state.frontier, tiles: Tiles.load(HASHER, store, key, state.frontier.size) };
    } catch (error) {
      if (!(error instanceof CodedError) || error.code !== "recordlog_damaged") throw error;
      this.#options.log.warn({ part: "recordlog", code: error.code, ...id }, "tiles do not hold, and are made again");
      return begun(signed);
    }
  }

  async #open(): Promise<Store> {
    this.#closing.signal.throwIfAborted();
    this.#opening ??= this.#options.open().catch((error: unknown) => {
      // Whoever asks next tries again.
      this.#opening = undefined;
      throw error;
    });
    this.#store = await this.#opening;
    return this.#store;
  }

  #own(task: Promise<void>): void {
    const joined = task.finally(() => this.#tasks.delete(joined));
    this.#tasks.add(joined);
  }
}

function nameOf({ stream, partition }: PartitionName): string {
  return `${stream}/${partition}`;
}

/** The length of the name comes first, so that no log's keys can begin with another's. */
function logKey({ stream, partition }: PartitionName): Uint8Array {
  const name = utf8(stream);
  assert(name.length <= 255, "stream name of {} bytes", name.length);
  return concatBytes(Uint8Array.of(name.length), name, u32(partition));
}

/** What a key of `STATE_KIND` names. */
function parseName(key: Uint8Array): PartitionName {
  const end = 2 + (key[1] ?? 0);
  assert(key.length === end + 4, "key of {} bytes", key.length);
  const partition = new DataView(key.buffer, key.byteOffset + end).getUint32(0);
  return { stream: new TextDecoder().decode(key.subarray(2, end)), partition };
}

/** `[frontier of our own tree, null | [size, root]]`. */
function encodeState({ frontier, signed }: Pick<OpenLog, "frontier" | "signed">): Uint8Array {
  const writer = new Writer().array(2);
  writeFrontier(writer, frontier);
  if (signed === undefined) return writer.null().finish();
  return writer.array(2).uint(signed.size).bytes(signed.root).finish();
}

/** Its row has held against its check: what does not parse is our own fault. */
function parseState(row: Uint8Array): Pick<OpenLog, "frontier" | "signed"> {
  const parsed = readWith(row, (reader): Pick<OpenLog, "frontier" | "signed"> => {
    reader.tuple(2);
    const frontier = readFrontier(reader);
    if (reader.skipNull()) return { frontier, signed: undefined };
    reader.tuple(2);
    return { frontier, signed: { size: reader.uint(), root: hashOf(reader.fixed(HASH_SIZE_BYTES)) } };
  });
  assert(parsed.ok, "state of a record log");
  return parsed.value;
}
