/**
 * Audits a chain from its network file alone: every header, certificate, transaction, result and root, by doing all
 * of it again.
 *
 * ```
 *   the beginning:    genesis; or, of a source that lacks old blocks, a snapshot: every header below it proven by its history
 *                     root, every row and record by its roots, and those by a certificate, without executing what led there
 *   for each height:  decode -> certificate (more than 2/3 of the set that our own replica has) -> re-execute on the
 *                     replica: every root, result and validator hash of the header must come out -> indexes
 *   at the head:      every row of the state proven against its root, every record against its partition, old headers
 *                     against the history root
 * ```
 *
 * The replica is a ledger of our own, in a store of our own: nothing of the source is believed but what the replica comes to
 * as well. The report says from which height on. The first thing that does not hold ends the audit and is named.
 */

import { bytesEqual, compareBytes, toHex } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { present } from "../../crypto/base/assert.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import {
  type Block,
  encodeHeader,
  encodeResult,
  headerHash,
  parseBlock,
  type TransactionResult,
} from "../../chain/block/block.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import { GENESIS_HEIGHT, type Height, heightOf, nextHeight } from "../../chain/block/height.ts";
import { encodeMembers, findValidator } from "../../chain/block/validators.ts";
import { parseCertificate } from "../../chain/block/vote.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import type { Head } from "../../chain/ledger/opening.ts";
import { frontierRoot, LOG_HASHER, verifyInclusion } from "../../chain/merkle/log.ts";
import type { Executor } from "../../chain/state/executor.ts";
import { isDropped, storedLeaf } from "../../chain/block/record.ts";
import { erasedKey, parseStateKey, partitionRange, streamKey } from "../../chain/state/keys.ts";
import { type KeepRules, parseStream } from "../../chain/state/partition.ts";
import { verifyRange } from "../../chain/state/proof.ts";
import { ownRow, parsePartitionHead } from "../../chain/state/rows.ts";
import type { Store } from "../../chain/store/store.ts";
import { type ChunkSource, restoreSnapshot } from "../snapshot/restore.ts";
import type { AuditFault } from "./errors.ts";
import type { AuditSource, EncodedHeight } from "./source.ts";

/** Rows of one page of the state, and records of one request: within what any node answers at once. */
const STATE_PAGE_ROWS = 100;
const RECORDS_PAGE = 50;
/** Old headers proven against the newest: all of a short chain, evenly spaced ones of a long one. */
const HISTORY_PROOFS_MAX = 512n;
/** Kept states of which every hash is recomputed: all of a short chain, evenly spaced ones of a long one. */
const STATE_AUDITS_MAX = 32n;
/** Past versions of the replica's state go once in so many heights, so that a long audit stays small. */
const PRUNE_INTERVAL_HEIGHTS = 256n;

/** What a stream says of keeping that nobody declared. */
const KEPT_FOR_EVER: KeepRules = { retentionMs: undefined, compactionMs: undefined };

/** How much was checked. */
export type AuditReport = {
  readonly source: string;
  readonly height: Height;
  readonly stateRoot: Hash;
  /** The first height that was executed. Above 1, what led to the state before it is its validators' word alone. */
  readonly from: Height;
  /** Headers below that, each proven from a certified one and not executed. */
  readonly headersBefore: number;
  /** Blocks that the source lacks and others showed. */
  readonly blocksElsewhere: number;
  readonly headers: number;
  readonly certificates: number;
  readonly signatures: number;
  readonly transactions: number;
  readonly results: number;
  readonly stateRows: number;
  readonly records: number;
  readonly historyProofs: number;
};

/** What an audit is done with. */
export type AuditOptions = {
  readonly source: AuditSource;
  readonly network: NetworkFile;
  readonly executor: Executor;
  /** An empty store for the replica, which the audit closes. */
  readonly store: Store;
  readonly signal: AbortSignal;
  /** Makes or opens the snapshot that the replica begins with; genesis when absent. Believed nothing. */
  readonly base?: (() => Promise<ChunkSource>) | undefined;
  readonly onProgress?: (progress: { readonly height: bigint; readonly target: bigint }) => void;
};

/** What auditing height after height needs. */
export type HeightsOptions = Pick<AuditOptions, "source" | "signal" | "onProgress"> & {
  /** Kept by the caller, and where the audit goes on. */
  readonly replica: Ledger;
};

type Counts = {
  -readonly [Key in keyof Omit<AuditReport, "source" | "height" | "stateRoot" | "from" | "headersBefore">]: number;
};

/** Thrown inside an audit and caught by `audit` alone, so that checks read straight down. */
class Fault extends Error {
  readonly fault: AuditFault;
  constructor(fault: AuditFault) {
    super(fault.code);
    this.fault = fault;
  }
}

/** Audits everything up to the head that the source has when asked. */
export async function audit(options: AuditOptions): Promise<Result<AuditReport, AuditFault>> {
  const { store, network, executor } = options;
  try {
    await using stack = new AsyncDisposableStack();
    const opened = stack.use(store);
    if (options.base !== undefined) await begin(options, options.base);
    stack.move();
    await using replica = await Ledger.open({ store: opened, network, executor });
    return ok(await new Audit(options, replica).run());
  } catch (error) {
    if (error instanceof Fault) return fail(error.fault);
    throw error;
  }
}

/** Puts a snapshot into the replica's store, once nothing in the rows that it may be made from is damaged. */
async function begin(options: AuditOptions, base: NonNullable<AuditOptions["base"]>): Promise<void> {
  const { source, store, network, signal } = options;
  await requireRows(source, GENESIS_HEIGHT, signal);
  let height: Height = GENESIS_HEIGHT;
  try {
    const chunks = await base();
    ({ height } = chunks.index);
    await restoreSnapshot(chunks, { store, network, signal });
  } catch (error) {
    if (!(error instanceof CodedError) || signal.aborted) throw error;
    throw new Fault({ code: "audit_base", height, reason: error.code });
  }
}

/** Every row of a data directory, by what a scrub checks: the last node of a partition, what is to be cleaned up, strays. */
async function requireRows(source: AuditSource, head: Height, signal: AbortSignal): Promise<void> {
  for await (const { code, kind, place, height } of source.indexes?.damages() ?? []) {
    signal.throwIfAborted();
    throw new Fault({ code: "audit_damage", height: height ?? head, field: `${kind}: ${place}`, reason: code });
  }
}

/** Audits the heights above those that the replica has, up to one, by executing them. The replica stands at the last good one. */
export async function auditHeights(options: HeightsOptions, to: Height): Promise<Result<Counts, AuditFault>> {
  const audit = new Audit(options, options.replica);
  try {
    return ok(await audit.heights(to));
  } catch (error) {
    if (error instanceof Fault) return fail(error.fault);
    throw error;
  }
}

/** One audit under way. */
class Audit {
  readonly #source: AuditSource;
  readonly #replica: Ledger;
  readonly #signal: AbortSignal;
  readonly #onProgress: NonNullable<AuditOptions["onProgress"]>;
  readonly #counts: Counts = {
    headers: 0,
    certificates: 0,
    signatures: 0,
    transactions: 0,
    results: 0,
    stateRows: 0,
    records: 0,
    historyProofs: 0,
    blocksElsewhere: 0,
  };

  constructor(options: Pick<AuditOptions, "source" | "signal" | "onProgress">, replica: Ledger) {
    this.#source = options.source;
    this.#replica = replica;
    this.#signal = options.signal;
    this.#onProgress = options.onProgress ?? (() => undefined);
  }

  async run(): Promise<AuditReport> {
    const head = await this.#ask(GENESIS_HEIGHT, () => this.#source.head());
    const base = this.#replica.head();
    if (base.height > GENESIS_HEIGHT) await this.#requireBase(head, base);
    await this.heights(head);
    if (head > GENESIS_HEIGHT) {
      await this.#auditState(head);
      this.#auditVersions(head);
      await this.#auditRecords(head);
      await this.#auditHistory(head);
    }
    // Of a source that gave the base, they were looked at before.
    if (base.height === GENESIS_HEIGHT) await requireRows(this.#source, head, this.#signal);
    return {
      source: this.#source.name,
      height: head,
      // The replica may have gone on meanwhile (`#mayBeGone`).
      stateRoot: (this.#replica.header(head) ?? this.#replica.head()).stateRoot,
      from: nextHeight(base.height),
      headersBefore: Number(base.height),
      ...this.#counts,
    };
  }

  /** The source must be on the chain of the snapshot, and have got as far. */
  async #requireBase(head: Height, { height, hash }: Head): Promise<void> {
    if (head < height) throw new Fault({ code: "audit_missing", height, field: "head" });
    const encoded = await this.#ask(height, () => this.#source.height(height));
    // Whoever has no block of that height any more shows by the next one which it follows.
    if (encoded === undefined && head > height) return;
    if (encoded === undefined) throw new Fault({ code: "audit_missing", height });
    if (!bytesEqual(this.#decode(height, encoded).hash, hash)) throw new Fault({ code: "audit_base", height, field: "header" });
  }

  /** Everything above what the replica has, up to a height. */
  async heights(to: Height): Promise<Counts> {
    for (let height = nextHeight(this.#replica.head().height); height <= to; height = nextHeight(height)) {
      this.#signal.throwIfAborted();
      await this.#auditHeight(height);
      if (height % PRUNE_INTERVAL_HEIGHTS === 0n) await this.#replica.tree.prune(height, this.#signal);
      this.#onProgress({ height, target: to });
    }
    return this.#counts;
  }

  async #auditHeight(height: Height): Promise<void> {
    const encoded = await this.#ask(height, () => this.#source.height(height));
    if (encoded === undefined) throw new Fault({ code: "audit_missing", height });
    try {
      await this.#auditEncoded(height, encoded);
    } catch (error) {
      if (!(error instanceof Fault) || encoded.holder === undefined) throw error;
      throw new Fault({ ...error.fault, holder: encoded.holder });
    }
  }

  async #auditEncoded(height: Height, encoded: EncodedHeight): Promise<void> {
    const block = this.#decode(height, encoded);
    await this.#requireSameChain(block);
    const certificate = await this.#auditCertificate(height, block, encoded.certificate);
    await this.#auditBlock(height, block);
    const { results } = await this.#replica.commit(block, certificate);
    if (encoded.holder === undefined) this.#auditIndexes(height, block, results);
    else this.#auditForgotten(height, block);
    this.#counts.headers += 1;
    this.#counts.transactions += block.transactions.length;
    this.#counts.results += results.length;
  }

  #decode(height: Height, { block: bytes }: EncodedHeight): Block {
    const block = parseBlock(bytes);
    if (!block.ok) throw new Fault({ code: "audit_block", height, reason: block.error.code, ...fieldOf(block.error) });
    if (block.value.header.height !== height) throw new Fault({ code: "audit_block", height, field: "header.height" });
    return block.value;
  }

  /** Under proof of work a node may change over to a heavier chain while it is audited, which is no fault of its. */
  async #requireSameChain({ header: { height, previous } }: Block): Promise<void> {
    const { height: below, hash } = this.#replica.head();
    if (this.#replica.network.engine.name !== "pow" || below === GENESIS_HEIGHT || bytesEqual(previous, hash)) return;
    const now = await this.#ask(below, () => this.#source.height(below));
    if (now !== undefined && !bytesEqual(this.#decode(below, now).hash, hash))
      throw new Fault({ code: "audit_reorganised", height });
  }

  async #auditCertificate(height: Height, block: Block, bytes: Uint8Array): Promise<Parameters<Ledger["commit"]>[1]> {
    const certificate = parseCertificate(bytes);
    if (!certificate.ok) throw new Fault({ code: "audit_certificate", height, reason: certificate.error.code });
    const checked = await this.#replica.checkCertificate(block, certificate.value);
    if (!checked.ok)
      throw new Fault({ code: "audit_certificate", height, reason: checked.error.code, ...fieldOf(checked.error) });
    this.#counts.certificates += 1;
    if (certificate.value.kind === "quorum") this.#counts.signatures += certificate.value.signatures.length;
    return certificate.value;
  }

  /** Everything that the header commits to, by execution. */
  async #auditBlock(height: Height, block: Block): Promise<void> {
    const set = present(this.#replica.validators(height), "validators of the next height");
    // Under proof of work anybody may: whoever found the seal.
    if (this.#replica.network.engine.name !== "pow" && findValidator(set, block.header.proposer) === undefined)
      throw new Fault({ code: "audit_proposer", height, field: "header.proposer" });
    const judged = await this.#replica.judge(block);
    if (judged.ok) return;
    const { code, field, transactionIndex } = judged.error;
    if (transactionIndex === undefined)
      throw new Fault({ code: "audit_header", height, reason: code, ...(field === undefined ? {} : { field }) });
    throw new Fault({
      code: "audit_transaction",
      height,
      reason: code,
      field: `transactions[${transactionIndex}]${field === undefined ? "" : `.${field}`}`,
    });
  }

  /** Who does not keep a block keeps nothing beside it either, but its header. */
  #auditForgotten(height: Height, block: Block): void {
    this.#counts.blocksElsewhere += 1;
    const { indexes } = this.#source;
    if (indexes === undefined) return;
    const header = this.#read(height, () => indexes.header(height));
    if (header === undefined || !bytesEqual(header, encodeHeader(block.header)))
      throw new Fault({ code: "audit_header", height, field: "header" });
  }

  /** What a data directory keeps beside the blocks, each found by its own key. */
  #auditIndexes(height: Height, block: Block, results: readonly TransactionResult[]): void {
    const { indexes } = this.#source;
    if (indexes === undefined) return;
    const header = this.#read(height, () => indexes.header(height));
    if (header === undefined || !bytesEqual(header, encodeHeader(block.header)))
      throw new Fault({ code: "audit_header", height, field: "header" });
    const stored = this.#read(height, () => indexes.results(height));
    const wrong = results.findIndex((result, index) => !sameResult(stored?.[index], result));
    if (wrong >= 0 || stored?.length !== results.length)
      throw new Fault({ code: "audit_results", height, field: `results[${Math.max(wrong, 0)}]` });
    const validators = this.#read(height, () => indexes.validators(height));
    const expected = encodeMembers(present(this.#replica.validators(nextHeight(height)), "validators of the next height"));
    if (validators === undefined || !bytesEqual(validators, expected)) throw new Fault({ code: "audit_validators", height });
    for (const [index, { id }] of block.transactions.entries()) {
      const found = this.#read(height, () => indexes.find(id));
      if (found?.height !== height || found.index !== index)
        throw new Fault({ code: "audit_index", height, field: `transactions[${index}]`, reason: toHex(id) });
    }
    const stateRoot = this.#read(height, () => indexes.stateRoot(height));
    if (stateRoot !== undefined && !bytesEqual(stateRoot, block.header.stateRoot))
      throw new Fault({ code: "audit_state", height, field: "stateRoot" });
  }

  /** What a data directory keeps of states, newest first: pages that no proof of the newest state goes through as well. */
  #auditVersions(head: Height): void {
    const { indexes } = this.#source;
    if (indexes === undefined) return;
    const step = head / STATE_AUDITS_MAX + 1n;
    for (let version = head as bigint; version >= 0n; version -= step) {
      this.#signal.throwIfAborted();
      const height = heightOf(version);
      if (this.#read(height, () => indexes.stateRoot(height)) === undefined) return;
      const key = this.#read(height, () => indexes.stateFault(height));
      if (key !== undefined) throw new Fault({ code: "audit_state", height, field: toHex(key), reason: "state_hash_mismatch" });
    }
  }

  /** Every row of the newest state, page by page, each page proven complete. */
  async #auditState(height: Height): Promise<void> {
    const root = this.#replica.head().stateRoot;
    let from: Uint8Array | undefined = new Uint8Array(0);
    while (from !== undefined) {
      this.#signal.throwIfAborted();
      const at: Uint8Array = from;
      const proof: Uint8Array | undefined = await this.#ask(height, () => this.#source.state(height, at, STATE_PAGE_ROWS));
      if (proof === undefined) throw new Fault({ code: "audit_state", height, field: `from ${toHex(at)}`, reason: "absent" });
      const page = verifyRange(root, { from: at }, proof);
      if (!page.ok) throw new Fault({ code: "audit_state", height, field: `from ${toHex(at)}`, reason: page.error.code });
      this.#counts.stateRows += page.value.rows.length;
      const next: Uint8Array | undefined = page.value.continueFrom;
      // A page that shows nothing and promises more would go on for ever.
      if (next !== undefined && compareBytes(next, at) <= 0)
        throw new Fault({ code: "audit_state", height, field: `from ${toHex(at)}`, reason: "no progress" });
      from = next;
    }
  }

  /** Every record of every partition, against the root in the partition's row, which the replica has too. */
  async #auditRecords(height: Height): Promise<void> {
    // All of them first: going on (`#mayBeGone`) may prune the state that they are read from.
    const partitions = [...this.#replica.stateEntries(height, partitionRange())];
    for (const { key, value } of partitions) {
      const name = parseStateKey(key);
      if (name?.kind !== "partition")
        throw new CodedError("audit_replica", { message: "a partition row under another key", key: toHex(key) });
      const { frontier } = ownRow(parsePartitionHead(value), "partition");
      await this.#auditPartition(height, name, { size: frontier.size, root: frontierRoot(LOG_HASHER, frontier) });
    }
  }

  async #auditPartition(
    height: Height,
    name: { readonly stream: string; readonly partition: number },
    head: { readonly size: bigint; readonly root: Hash },
  ): Promise<void> {
    const { stream, partition } = name;
    const place = `${stream}/${partition}`;
    for (let from = 0n; from < head.size;) {
      this.#signal.throwIfAborted();
      const start = from;
      const records = await this.#ask(height, () => this.#source.records(height, stream, partition, start, RECORDS_PAGE));
      if (records.length === 0) throw new Fault({ code: "audit_records", height, field: `${place}[${from}]`, reason: "absent" });
      for (const { index, bytes, siblings } of records) {
        const field = `${place}[${from}]`;
        if (index !== from || siblings === undefined) throw new Fault({ code: "audit_records", height, field, reason: "absent" });
        const proven = verifyInclusion(LOG_HASHER, { leafHash: storedLeaf(bytes), index, siblings, ...head });
        if (!proven.ok) throw new Fault({ code: "audit_records", height, field, reason: proven.error.code });
        if (isDropped(bytes) && !(await this.#mayBeGone(erasedKey(stream, partition, index), stream)))
          throw new Fault({ code: "audit_records", height, field, reason: "record_withheld" });
        this.#counts.records += 1;
        from += 1n;
        if (from === head.size) break;
      }
    }
  }

  /**
   * Whether nothing but the commitment of a record need be there: its stream drops what is old or replaced, or it was erased. If
   * that was after the height that is audited, the newer blocks of the source say so.
   */
  async #mayBeGone(erased: Uint8Array, stream: string): Promise<boolean> {
    const isAllowed = (): boolean => {
      const state = present(this.#replica.state(this.#replica.head().height), "state of the replica's head");
      const row = state.get(streamKey(stream));
      const { retentionMs, compactionMs } = row === undefined ? KEPT_FOR_EVER : ownRow(parseStream(row), "stream");
      return retentionMs !== undefined || compactionMs !== undefined || state.get(erased) !== undefined;
    };
    if (isAllowed()) return true;
    const { height } = this.#replica.head();
    const now = await this.#ask(height, () => this.#source.head());
    if (now <= height) return false;
    // What is counted is what was asked for.
    await new Audit({ source: this.#source, signal: this.#signal }, this.#replica).heights(now);
    return isAllowed();
  }

  /** Old headers, from the newest one alone. */
  async #auditHistory(head: Height): Promise<void> {
    const root = present(this.#replica.header(head), "head of the replica").historyRoot;
    const size = head - 1n;
    const step = size / HISTORY_PROOFS_MAX + 1n;
    for (let height = 1n; height <= size; height += step) {
      this.#signal.throwIfAborted();
      const of = heightOf(height);
      const siblings = await this.#ask(of, () => this.#source.history(of, head));
      const hash = headerHash(present(this.#replica.header(of), "header of the replica"));
      const proven = verifyInclusion(LOG_HASHER, {
        leafHash: LOG_HASHER.leaf(hash),
        index: height - 1n,
        size,
        siblings: siblings ?? [],
        root,
      });
      if (!proven.ok) throw new Fault({ code: "audit_history", height: of, field: "historyRoot", reason: proven.error.code });
      this.#counts.historyProofs += 1;
      if (this.#source.indexes !== undefined) await this.#auditHistoryAhead(of, head);
    }
  }

  /** The next header will commit to the newest one as well: its leaf is in no header yet, and in the replica. */
  async #auditHistoryAhead(of: Height, head: Height): Promise<void> {
    const siblings = await this.#ask(of, () => this.#source.history(of, nextHeight(head)));
    const expected = this.#replica.proveHistory(of, nextHeight(head));
    const isSame =
      siblings?.length === expected.length &&
      siblings.every((sibling, index) => bytesEqual(sibling, present(expected[index], "sibling")));
    if (!isSame) throw new Fault({ code: "audit_history", height: of, field: "next historyRoot" });
  }

  /** A source that cannot answer is a finding of its own, at the height in question. */
  async #ask<T>(height: Height, question: () => Promise<T>): Promise<T> {
    try {
      return await question();
    } catch (error) {
      throw this.#unreadable(height, error);
    }
  }

  #read<T>(height: Height, question: () => T): T {
    try {
      return question();
    } catch (error) {
      throw this.#unreadable(height, error);
    }
  }

  #unreadable(height: Height, error: unknown): unknown {
    if (!(error instanceof CodedError) || this.#signal.aborted) return error;
    const { message } = error.detail;
    return new Fault({
      code: "audit_unreadable",
      height,
      reason: codeOf(error),
      ...(typeof message === "string" ? { field: message } : {}),
    });
  }
}

function sameResult(stored: TransactionResult | undefined, executed: TransactionResult): boolean {
  return stored !== undefined && bytesEqual(encodeResult(stored), encodeResult(executed));
}

function fieldOf(error: object): { readonly field?: string } {
  return "field" in error && typeof error.field === "string" ? { field: error.field } : {};
}
