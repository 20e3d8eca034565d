/**
 * The ledger: blocks in order, and everything they commit to, over one store.
 *
 * It builds candidate blocks, judges those of others, and commits what consensus made final, each height in one
 * atomic durable batch: header, transactions, certificate, results, index, history nodes, state pages, records and
 * the new head. Whatever moment the process dies, the store opens at the last height that `commit` acknowledged or
 * at the one it was writing, never between.
 *
 * Executing a block changes nothing on disk: the outcome is staged in memory under the block's hash, several
 * candidates of one height side by side, and `commit` writes the one that was decided.
 *
 * Source of the commitments: ARCHITECTURE, section 3. The history log is RFC 9162, section 2.1, over header hashes.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual, bytesName, toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { fail, ok, type Coded, type Result } from "../../crypto/base/result.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { verifyAuthorisationAsync } from "../../crypto/identity/authorisation.ts";
import { type Address, ADDRESS_SIZE_BYTES, addressOf } from "../../crypto/identity/address.ts";
import { type SignatureVerifier, verifySignatureAsync } from "../../crypto/sign/key.ts";
import {
  assembleBlock,
  type Block,
  encodeResult,
  hasOwnBody,
  type Header,
  parseBlock,
  parseHeader,
  type TransactionResult,
} from "../block/block.ts";
import { appendOf } from "../block/call.ts";
import { type Evidence, verifyEvidence } from "../block/evidence.ts";
import { type NetworkFile, networkHash } from "../block/genesis.ts";
import { GENESIS_HEIGHT, type Height, heightOf, nextHeight } from "../block/height.ts";
import type { Transaction } from "../block/transaction.ts";
import { type ValidatorSet, validatorsHash } from "../block/validators.ts";
import { quorumRuleOf } from "../block/protocol.ts";
import { type Certificate, encodeCertificate, parseCertificate, verifyCertificateAsync } from "../block/vote.ts";
import { appendEntries, EMPTY_FRONTIER, inclusionProof, LOG_HASHER } from "../merkle/log.ts";
import {
  appendOperations,
  dropOperations,
  eraseOperations,
  latestRecord,
  partitionConsistency,
  readRecords,
  recordProof,
  undoOperations,
} from "../segment/partition.ts";
import type { BlockContext, Execution, Executor, RecordErasure, Selection, StateView } from "../state/executor.ts";
import { type Staged, StateTree } from "../state/tree.ts";
import type { Store, StoreOperation } from "../store/store.ts";
import { HistoryLog } from "./history.ts";
import { inspectAll } from "./inspect.ts";
import { type Head, headAt, holdsAny, writeGenesis } from "./opening.ts";
import { LedgerRows, ours } from "./rows.ts";
import { type BlockRefusal, checkFrame, checkSeal, firstDifference } from "./rules.ts";

/** What a commit changed, for subscribers. */
export type Commit = {
  readonly block: Block;
  readonly certificate: Certificate;
  readonly results: readonly TransactionResult[];
  /** State keys written or deleted, sorted. */
  readonly changedKeys: readonly Uint8Array[];
};

/** What a block is built from. Transactions that cannot be included are left out and reported. */
export type Candidate = {
  readonly proposer: Address;
  readonly timeMs: bigint;
  readonly transactions: readonly Transaction[];
  readonly evidence: readonly Evidence[];
};

/** A transaction and its result in a block of `count`. */
export type TransactionProof = {
  readonly bytes: Uint8Array;
  readonly siblings: readonly Hash[];
  readonly result: TransactionResult;
  readonly resultSiblings: readonly Hash[];
  readonly count: number;
};

type LedgerParts = {
  readonly store: Store;
  readonly network: NetworkFile;
  readonly executor: Executor;
  readonly tree: StateTree;
  readonly rows: LedgerRows;
  readonly history: HistoryLog;
  readonly changes: readonly Height[];
  readonly head: Head;
  readonly mayBeDue: boolean;
  readonly oldestBlock: Height;
  readonly verify: SignatureVerifier;
  readonly verifyVote: SignatureVerifier;
};

type Outcome = { readonly block: Block; readonly execution: Execution; readonly staged: Staged };

/** What admissions on a head ask. */
type Admission = { readonly head: Head; readonly view: StateView; readonly context: BlockContext };

/** Who proposes what nobody has proposed. */
const NOBODY = addressOf(new Uint8Array(ADDRESS_SIZE_BYTES));

/** How many blocks one step of `pruneBlocks` takes. */
const PRUNE_BLOCKS_MAX = 16n;

/** How many executed candidates of one height are kept. A candidate beyond is executed again when it is decided. */
const OUTCOMES_MAX = 4;
/** Rows of the head that admissions asked for and that are remembered until the next head. */
const ADMITTED_ROWS_MAX = 4_096;
/** Records that are dropped with one block. What is due beyond waits for the next. */
const DROPPED_PER_BLOCK_MAX = 1024;

/** See the file's head. */
export class Ledger implements AsyncDisposable {
  readonly network: NetworkFile;
  readonly networkHash: Hash;
  readonly #store: Store;
  readonly #executor: Executor;
  readonly #verify: SignatureVerifier;
  readonly #verifyVote: SignatureVerifier;
  readonly #tree: StateTree;
  readonly #rows: LedgerRows;
  readonly #history: HistoryLog;
  readonly #outcomes = new Map<string, Outcome>();
  readonly #listeners = new Set<(commit: Commit) => void>();
  readonly #rollbackListeners = new Set<(undone: Block) => void>();
  /** Heights at which the validator set changed, ascending. Rare: the whole list stays in memory. */
  readonly #changes: Height[];
  #head: Head;
  /** What admissions read of the state of a head. */
  #admitted: Admission | undefined;
  /** Whether any record may ever be due; a network without such streams never looks. */
  #mayBeDue: boolean;
  #oldestBlock: Height;
  /** The set that decides the height after `head`. */
  #deciding: { readonly head: Head; readonly set: ValidatorSet } | undefined;

  private constructor(parts: LedgerParts) {
    this.#store = parts.store;
    this.network = parts.network;
    this.networkHash = networkHash(parts.network);
    this.#executor = parts.executor;
    this.#tree = parts.tree;
    this.#rows = parts.rows;
    this.#history = parts.history;
    this.#changes = [...parts.changes];
    this.#head = parts.head;
    this.#mayBeDue = parts.mayBeDue;
    this.#oldestBlock = parts.oldestBlock;
    this.#verify = parts.verify;
    this.#verifyVote = parts.verifyVote;
  }

  /**
   * Opens the ledger in `store`, which it then owns; writes genesis when the store is empty.
   *
   * @throws `ledger_network`: the store belongs to another network; `ledger_corrupt`: its parts disagree
   */
  static async open(options: {
    readonly store: Store;
    readonly network: NetworkFile;
    readonly executor: Executor;
    readonly cacheSizeBytes?: number;
    /** Checks signatures; a simulation has its own, so that no thread decides what comes first. */
    readonly verify?: SignatureVerifier;
    /** As `verify`, for what a certificate holds; default: the same. */
    readonly verifyVote?: SignatureVerifier;
  }): Promise<Ledger> {
    const { store, network, executor } = options;
    const rows = new LedgerRows(store);
    const hash = networkHash(network);
    const tree = await StateTree.open(
      store,
      options.cacheSizeBytes === undefined ? {} : { cacheSizeBytes: options.cacheSizeBytes },
    );
    const known = rows.networkHash();
    if (known === undefined && tree.latest() !== undefined)
      throw new CodedError("ledger_corrupt", { message: "there is a state, and no word of which network's" });
    if (known === undefined) await writeGenesis({ store, network, executor, tree, rows, hash });
    else if (!bytesEqual(known, hash)) {
      throw new CodedError("ledger_network", {
        message: "this store belongs to another network",
        stored: toHex(known),
        given: toHex(hash),
      });
    }
    const height = rows.headHeight();
    // A block and the head that it brings are one batch, and so is taking both away.
    if (rows.header(nextHeight(height)) !== undefined)
      throw new CodedError("ledger_corrupt", { message: "the head is below a block that is there", height });
    // A rollback that was cut short has moved the head and not yet the state.
    if ((tree.latest() ?? height) > height) await tree.rollback(height);
    const history = HistoryLog.open(rows, height);
    const changes = await rows.validatorChanges();
    const oldestBlock = (await rows.oldestBlock()) ?? nextHeight(height);
    return new Ledger({
      oldestBlock,
      store,
      network,
      executor,
      tree,
      rows,
      history,
      changes,
      head: headAt({ rows, tree, network, hash, height }),
      mayBeDue: await holdsAny(store, "recordDue"),
      verify: options.verify ?? verifySignatureAsync,
      verifyVote: options.verifyVote ?? options.verify ?? verifySignatureAsync,
    });
  }

  /** The newest final block. */
  head(): Head {
    return this.#head;
  }

  /** What decides and executes the next block. */
  get parameters(): NetworkFile["parameters"] {
    return this.network.parameters;
  }

  // Reads.

  header(height: Height): Header | undefined {
    const bytes = this.#rows.header(height);
    return bytes === undefined ? undefined : ours(parseHeader(bytes), "header");
  }

  headerBytes(height: Height): Uint8Array | undefined {
    return this.#rows.header(height);
  }

  certificate(height: Height): Certificate | undefined {
    const bytes = this.#rows.certificate(height);
    return bytes === undefined ? undefined : ours(parseCertificate(bytes), "certificate");
  }

  certificateBytes(height: Height): Uint8Array | undefined {
    return this.#rows.certificate(height);
  }

  block(height: Height): Block | undefined {
    const bytes = this.#rows.block(height);
    return bytes === undefined ? undefined : ours(parseBlock(bytes), "block");
  }

  blockBytes(height: Height): Uint8Array | undefined {
    return this.#rows.block(height);
  }

  results(height: Height): readonly TransactionResult[] | undefined {
    return this.#rows.results(height);
  }

  /** The set that decides `height` (keys and powers; priorities only for head + 1), for 1 to head + 1. */
  validators(height: Height): ValidatorSet | undefined {
    if (height === nextHeight(this.#head.height)) {
      // Asked for at every step of consensus, and the same until the head moves.
      if (this.#deciding?.head !== this.#head)
        this.#deciding = { head: this.#head, set: this.#executor.validatorsAt(this.#headView(), "current") };
      return this.#deciding.set;
    }
    const header = this.header(height);
    return header === undefined ? undefined : this.#rows.validators(header.validatorsHash);
  }

  /** The set that will decide head + 2. */
  validatorsAfterNext(): ValidatorSet {
    return this.#executor.validatorsAt(this.#headView(), "next");
  }

  findTransaction(id: Hash): { readonly height: Height; readonly index: number } | undefined {
    const found = this.#rows.findTransaction(id);
    // The rows of a block are there a moment before it is the head, and after it was.
    return found === undefined || found.height > this.#head.height ? undefined : found;
  }

  /** The state after `height`; `undefined` when pruned or not there yet. */
  state(height: Height): StateView | undefined {
    if (this.#tree.rootAt(height) === undefined) return undefined;
    return { get: (key) => this.#tree.get(height, key) };
  }

  /** Rows of the state after `height`, in key order. */
  stateEntries(
    height: Height,
    range: { readonly from?: Uint8Array; readonly to?: Uint8Array; readonly limit?: number; readonly reverse?: boolean },
  ): Iterable<{ readonly key: Uint8Array; readonly value: Uint8Array }> {
    return this.#tree.entries(height, range);
  }

  /** A proof of the rows in a range (or of their absence) under `header(height).stateRoot`; `undefined` when pruned. */
  proveState(
    height: Height,
    range: { readonly from?: Uint8Array; readonly to?: Uint8Array; readonly limit?: number },
  ): Uint8Array | undefined {
    return this.#tree.rootAt(height) === undefined ? undefined : this.#tree.prove(height, range);
  }

  /** The state tree, for snapshots and audits. */
  get tree(): StateTree {
    return this.#tree;
  }

  get store(): Store {
    return this.#store;
  }

  /** The siblings that prove header `of` under `header(at).historyRoot`, `1 <= of < at <= head + 1`. */
  proveHistory(of: Height, at: Height): readonly Hash[] {
    return this.#history.prove(of, at);
  }

  /** A transaction and its result, with their paths to the roots in `header(height)`. */
  proveTransaction(height: Height, index: number): TransactionProof | undefined {
    const block = this.block(height);
    const results = this.results(height);
    const transaction = block?.transactions[index];
    const result = results?.[index];
    if (block === undefined || results === undefined || transaction === undefined || result === undefined) return undefined;
    return {
      bytes: transaction.bytes,
      siblings: siblingsOf(
        block.transactions.map(({ bytes }) => bytes),
        index,
      ),
      result,
      resultSiblings: siblingsOf(results.map(encodeResult), index),
      count: results.length,
    };
  }

  /** Heights from `from` on whose header names another set for the next height, ascending, at most `limit`. */
  validatorChanges(from: Height, limit: number): readonly { readonly height: Height }[] {
    const first = this.#changes.findIndex((height) => height >= from);
    return first < 0 ? [] : this.#changes.slice(first, first + limit).map((height) => ({ height }));
  }

  /** The oldest height whose block is kept, with all after it; head + 1 when there is none. Headers are kept of all. */
  oldestBlock(): Height {
    return this.#oldestBlock;
  }

  /** The oldest height whose state is readable. */
  oldestState(): Height {
    return present(this.#tree.oldest(), "oldest state");
  }

  /** Encoded records of a partition from index `from` on, at most `count`; commitments of those that were dropped. */
  records(
    stream: string,
    partition: number,
    from: bigint,
    count: number,
  ): readonly { readonly index: bigint; readonly bytes: Uint8Array }[] {
    return readRecords(this.#store, { stream, partition }, from, count);
  }

  /** The index of the newest record of a key, in a stream that is compacted by key; this node's word. */
  latestRecord(stream: string, partition: number, key: Uint8Array): bigint | undefined {
    return latestRecord(this.#store, { stream, partition }, key);
  }

  /** Siblings of record `index` under the partition's root after `height`; `undefined` when it is not in it. */
  proveRecord(height: Height, stream: string, partition: number, index: bigint): readonly Hash[] | undefined {
    const view = this.state(height);
    const size = view === undefined ? undefined : this.#executor.partitionSize(view, stream, partition);
    if (size === undefined || index >= size) return undefined;
    return recordProof(this.#store, { stream, partition }, index, size);
  }

  /** Siblings of record `index` in a partition as it was at `size`, at most its size now, whatever states are kept. */
  proveRecordIn(size: bigint, stream: string, partition: number, index: bigint): readonly Hash[] {
    return recordProof(this.#store, { stream, partition }, index, size);
  }

  /** That a partition of `second` records begins with the one of `first`; `undefined` when it never had so many. */
  proveConsistency(stream: string, partition: number, first: bigint, second: bigint): readonly Hash[] | undefined {
    const size = this.#executor.partitionSize(this.#headView(), stream, partition);
    if (size === undefined || first > second || second > size) return undefined;
    return partitionConsistency(this.#store, { stream, partition }, first, second);
  }

  // Writes.

  /** Calls `listener` after each commit, in order. */
  onCommit(listener: (commit: Commit) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Calls `listener` after each block that was undone, newest first; the head is below it already. */
  onRollback(listener: (undone: Block) => void): Disposable {
    this.#rollbackListeners.add(listener);
    return { [Symbol.dispose]: () => void this.#rollbackListeners.delete(listener) };
  }

  /** Whether a transaction whose signature is known to be good could be included next, or later if only its nonce is ahead. */
  admit(transaction: Transaction): ReturnType<Executor["admit"]> {
    const { view, context } = this.#admission();
    return this.#executor.admit(view, transaction, context);
  }

  /** Whether evidence could be in the next block: both signatures good, of a validator of its height, not acted on yet. */
  admitEvidence(evidence: Evidence): Result<void, Coded> {
    const set = this.validators(evidence.first.height);
    if (set === undefined) return fail({ code: "evidence_height" });
    const verified = verifyEvidence(this.network.chainId, set, evidence);
    if (!verified.ok) return verified;
    return this.#executor.admitEvidence(
      this.#headView(),
      evidence,
      this.#context({ proposer: evidence.first.validator, timeMs: this.#head.timeMs + 1n }, undefined),
    );
  }

  /** Builds the next block. Transactions that may not be included are left out, with the refusal. */
  build(candidate: Candidate): { readonly block: Block; readonly dropped: Selection["dropped"] } {
    const evidence = candidate.evidence.filter((piece) => this.admitEvidence(piece).ok);
    const certificate = this.certificate(this.#head.height);
    const context = this.#context(candidate, certificate);
    const selected = this.#executor.select(this.#headView(), candidate.transactions, evidence, context);
    const parts = { ...candidate, transactions: selected.transactions, evidence: selected.evidence };
    const { block } = this.#stage(parts, selected.execution, certificate);
    return { block, dropped: selected.dropped };
  }

  /**
   * Whether `block` may be the next one: every commitment in its header recomputed, every signature checked.
   *
   * @param isVerified - says of a transaction that its signature was checked before, over the very same bytes
   */
  async judge(
    block: Block,
    options: { readonly isVerified?: (transaction: Transaction) => boolean } = {},
  ): Promise<Result<void, BlockRefusal>> {
    const key = toHex(block.hash);
    const known = this.#outcomes.get(key);
    if (known !== undefined) {
      // Asked for again: the last to be pushed out by others.
      this.#outcomes.delete(key);
      this.#outcomes.set(key, known);
      return ok(undefined);
    }
    const base = this.#head;
    const framed = checkFrame(block, {
      network: this.network,
      head: base,
      set: present(this.validators(nextHeight(base.height)), "validators of the next height"),
    });
    if (!framed.ok) return framed;
    const signed = await this.#checkSignatures(block, options.isVerified ?? (() => false));
    if (!signed.ok) return signed;
    if (this.#head !== base) return fail({ code: "block_height", field: "header.height" });
    const candidate = {
      proposer: block.header.proposer,
      timeMs: block.header.timeMs,
      evidence: block.evidence,
      transactions: block.transactions,
    };
    // The proposer collected other precommits than we did; its certificate was checked and is the one that counts.
    const { previousCertificate } = block;
    const context = this.#context(candidate, previousCertificate);
    const executed = this.#executor.execute(this.#headView(), block.transactions, block.evidence, context);
    if (!executed.ok) return executed;
    const outcome = this.#stage(candidate, executed.value, previousCertificate);
    if (bytesEqual(outcome.block.hash, block.hash)) {
      // What was executed is this block's own body, whose encoding is there.
      this.#outcomes.set(key, { ...outcome, block });
      return ok(undefined);
    }
    this.#outcomes.delete(toHex(outcome.block.hash));
    return fail({ code: "block_root", field: `header.${firstDifference(outcome.block.header, block.header)}` });
  }

  /**
   * Whether `certificate` makes `block` part of the chain: a quorum of the set of its height precommitted its hash, or
   * the work that its place asks for was done on it. That is the hash of the header, so the body is checked against it
   * too. Under proof of work it stands on the head, or on a block below.
   */
  async checkCertificate(block: Block, certificate: Certificate): Promise<Result<void, Coded>> {
    const set = this.validators(block.header.height);
    if (set === undefined) return fail({ code: "certificate_height" });
    if (certificate.height !== block.header.height || !bytesEqual(certificate.blockHash, block.hash))
      return fail({ code: "certificate_block" });
    if (!hasOwnBody(block)) return fail({ code: "block_root" });
    return await this.#verifyCertificate(set, certificate);
  }

  /** Whether a certificate proves what it says, by the rule of this network's protocol. */
  async #verifyCertificate(set: ValidatorSet, certificate: Certificate): Promise<Result<void, Coded>> {
    const rule = quorumRuleOf(this.network.engine.name);
    if (rule === undefined) {
      const below = {
        header: (height: Height) => this.header(height),
        certificate: (height: Height) => this.certificate(height),
      };
      return checkSeal(certificate, { network: this.network, ...below });
    }
    if (certificate.kind !== "quorum") return fail({ code: "certificate_kind" });
    return await verifyCertificateAsync({ chainId: this.network.chainId, rule, set }, certificate, this.#verifyVote);
  }

  /**
   * Commits the next block, which `judge` accepted (or `build` made) and whose certificate was checked. Resolves when
   * it would survive a power cut.
   */
  async commit(block: Block, certificate: Certificate): Promise<Commit> {
    assert(block.header.height === this.#head.height + 1n, "commit of {} on {}", block.header.height, this.#head.height);
    assert(bytesEqual(certificate.blockHash, block.hash), "certificate of another block");
    const outcome = present(this.#outcomes.get(toHex(block.hash)), "outcome of block {}", block.header.height);
    const dropped = this.#mayBeDue ? await dropOperations(this.#store, block.header.timeMs, DROPPED_PER_BLOCK_MAX) : [];
    await this.#store.write([...dropped, ...this.#operations(outcome, certificate)], { sync: true });
    this.#mayBeDue ||= outcome.execution.appends.some(({ keep }) => keep !== undefined);
    this.#tree.adopt(outcome.staged);
    this.#history.adopt(block.hash);
    this.#outcomes.clear();
    if (!bytesEqual(block.header.validatorsHash, block.header.nextValidatorsHash)) this.#changes.push(block.header.height);
    this.#head = {
      height: block.header.height,
      hash: block.hash,
      timeMs: block.header.timeMs,
      stateRoot: block.header.stateRoot,
    };
    const commit: Commit = {
      // What was executed and stored, whatever body the caller's block has.
      block: outcome.block,
      certificate,
      results: outcome.execution.results,
      changedKeys: outcome.execution.updates.map((update) => update.key),
    };
    for (const listener of this.#listeners) listener(commit);
    return commit;
  }

  /**
   * Goes back to an earlier height whose state is kept: for an operator, and for a reorganisation while the node runs.
   * Each height goes in one durable batch, newest first, so it may be interrupted anywhere and done again. Whoever
   * commits, builds or judges waits until it is done.
   *
   * What its key has signed is remembered elsewhere, and stays: a validator never votes twice on what it decides again.
   *
   * @throws CodedError `rollback_height`: ahead of the head, or its state is pruned
   */
  async rollback(to: Height, onProgress: (height: Height) => void = () => undefined): Promise<void> {
    const from = this.#head.height;
    // The block of the height must be there, with all that are undone; genesis has none.
    const lowest = this.#oldestBlock === 1n ? GENESIS_HEIGHT : this.#oldestBlock;
    const oldest = this.oldestState() > lowest ? this.oldestState() : lowest;
    if (to > from || to < oldest || this.#tree.rootAt(to) === undefined)
      throw new CodedError("rollback_height", { message: `can go back to heights ${oldest} to ${from}`, height: to });
    for (let height = from; height > to; height = heightOf(height - 1n)) {
      const block = present(this.block(height), "block to undo");
      const operations = [
        ...this.#rows.undoOperations(block),
        ...this.#undoAppends(block),
        ...this.#history.undoOperations(height),
      ];
      // Readers go on meanwhile: first the head moves, so that nobody reads rows of a height that are on their way out.
      const below = heightOf(height - 1n);
      this.#outcomes.clear();
      this.#history.rollback(below);
      while ((this.#changes.at(-1) ?? 0n) > below) this.#changes.pop();
      this.#head = headAt({ rows: this.#rows, tree: this.#tree, network: this.network, hash: this.networkHash, height: below });
      await this.#store.write(operations, { sync: true });
      onProgress(below);
      for (const listener of this.#rollbackListeners) listener(block);
    }
    await this.#tree.rollback(to);
  }

  /**
   * Forgets the blocks below a height: bodies, results, where transactions are, and certificates but those of set changes.
   * Headers stay, with their history. Goes in steps, each of them one batch, and may be interrupted anywhere: what is left
   * has no holes. Not under proof of work, where certificates hold the work of the chain.
   */
  async pruneBlocks(keepFrom: Height, signal?: AbortSignal): Promise<void> {
    assert(this.network.engine.name !== "pow", "blocks of a chain of work are kept");
    assert(keepFrom <= this.#head.height, "blocks below {}, the head is {}", keepFrom, this.#head.height);
    const changes = new Set(this.#changes);
    while (this.#oldestBlock < keepFrom) {
      signal?.throwIfAborted();
      const from = this.#oldestBlock;
      const to = keepFrom - from > PRUNE_BLOCKS_MAX ? heightOf(from + PRUNE_BLOCKS_MAX) : keepFrom;
      const operations: StoreOperation[] = [];
      for (let at = from; at < to; at = nextHeight(at)) {
        operations.push(...this.#rows.pruneOperations(present(this.block(at), "block {}", at)));
        // A block is put together with the certificate of the height before it, so that of the last one stays a while.
        const below = heightOf(at - 1n);
        if (below > GENESIS_HEIGHT && !changes.has(below)) operations.push(this.#rows.certificateDeletion(below));
      }
      // First nobody reads them any more.
      this.#oldestBlock = to;
      // Each durable before the next: of several that are not, a power cut may take an earlier one alone, and leave a hole.
      await this.#store.write(operations, { sync: true });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#store[Symbol.asyncDispose]();
    this.#tree.release();
  }

  /** What admissions on the head ask: its state, whose rows they mostly ask for twice and of the same senders. */
  #admission(): Admission {
    if (this.#admitted?.head !== this.#head) {
      const rows = new Map<string, Uint8Array | undefined>();
      const whole = this.#headView();
      const get = (key: Uint8Array): Uint8Array | undefined => {
        const name = bytesName(key);
        let row = rows.get(name);
        if (row === undefined && !rows.has(name)) {
          row = whole.get(key);
          if (rows.size < ADMITTED_ROWS_MAX) rows.set(name, row);
        }
        return row;
      };
      // Nobody proposes yet: what admission looks at is the same whoever does.
      const candidate = { proposer: NOBODY, timeMs: this.#head.timeMs + 1n };
      this.#admitted = { head: this.#head, view: { get }, context: this.#context(candidate, undefined) };
    }
    return this.#admitted;
  }

  #headView(): StateView {
    const height = this.#head.height;
    return { get: (key) => this.#tree.get(height, key) };
  }

  #context(
    candidate: { readonly proposer: Address; readonly timeMs: bigint },
    previousCertificate: Certificate | undefined,
  ): BlockContext {
    return {
      chainId: this.network.chainId,
      height: nextHeight(this.#head.height),
      timeMs: candidate.timeMs,
      proposer: candidate.proposer,
      parameters: this.network.parameters,
      engine: this.network.engine,
      previousCertificate,
    };
  }

  async #checkSignatures(block: Block, isVerified: (transaction: Transaction) => boolean): Promise<Result<void, BlockRefusal>> {
    if (block.previousCertificate !== undefined) {
      const set = present(this.validators(this.#head.height), "validators of the head");
      const certified = await this.#verifyCertificate(set, block.previousCertificate);
      if (!certified.ok) return certified;
    }
    for (const [index, evidence] of block.evidence.entries()) {
      const statement = evidence.first;
      const set = this.validators(statement.height);
      if (set === undefined) return fail({ code: "evidence_height", field: `evidence[${index}]` });
      const checked = verifyEvidence(this.network.chainId, set, evidence);
      if (!checked.ok) return fail({ ...checked.error, field: `evidence[${index}]` });
    }
    const unknown: { readonly transactionIndex: number; readonly transaction: Transaction }[] = [];
    for (let transactionIndex = 0; transactionIndex < block.transactions.length; transactionIndex += 1) {
      const transaction = present(block.transactions[transactionIndex], "transaction");
      if (!isVerified(transaction)) unknown.push({ transactionIndex, transaction });
    }
    return await inspectAll(unknown, async ({ transactionIndex, transaction }): Promise<Result<void, BlockRefusal>> => {
      const isSigned = await verifyAuthorisationAsync(transaction.authorisation, transaction.id, this.#verify);
      return isSigned ? ok(undefined) : fail({ code: "signature_invalid", field: "authorisation", transactionIndex });
    });
  }

  /** Completes the header with what execution gave, and keeps the outcome until the height is decided. */
  #stage(candidate: Candidate, execution: Execution, previousCertificate: Certificate | undefined): Outcome {
    const height = nextHeight(this.#head.height);
    const staged = this.#tree.stage(this.#head.height, height, execution.updates);
    const block = assembleBlock({
      chainId: this.network.chainId,
      height,
      timeMs: candidate.timeMs,
      previous: this.#head.hash,
      historyRoot: this.#history.root(),
      stateRoot: staged.root,
      validatorsHash: validatorsHash(present(this.validators(height), "validators of the next height")),
      nextValidatorsHash: validatorsHash(execution.validators),
      proposer: candidate.proposer,
      transactions: candidate.transactions,
      results: execution.results,
      previousCertificate,
      evidence: candidate.evidence,
    });
    const outcome = { block, execution, staged };
    if (this.#outcomes.size >= OUTCOMES_MAX) {
      const [oldest] = this.#outcomes.keys();
      this.#outcomes.delete(present(oldest, "oldest outcome"));
    }
    this.#outcomes.set(toHex(block.hash), outcome);
    return outcome;
  }

  /** Deletes the records that a block appended: all that a partition has beyond its size before. */
  #undoAppends(block: Block): StoreOperation[] {
    const before = present(this.state(heightOf(block.header.height - 1n)), "state before the block");
    const after = present(this.state(block.header.height), "state after the block");
    const partitions = new Map<string, { readonly stream: string; readonly partition: number }>();
    for (const call of block.transactions.flatMap(({ body }) => body.calls)) {
      const append = appendOf(call);
      if (append !== undefined) partitions.set(`${append.stream}/${append.partition}`, append);
    }
    return [...partitions.values()].flatMap((id) =>
      undoOperations(this.#store, id, this.#executor.partitionSize(before, id.stream, id.partition) ?? 0n, {
        keep: this.#executor.keepRules(after, id.stream),
        timeMs: block.header.timeMs,
      }),
    );
  }

  #operations({ block, execution, staged }: Outcome, certificate: Certificate): StoreOperation[] {
    const { height } = block.header;
    return [
      ...this.#rows.blockOperations(block, execution.results),
      this.#rows.certificateOperation(height, encodeCertificate(certificate)),
      this.#rows.validatorsOperation(execution.validators),
      ...this.#rows.validatorChangeOperations(block.header),
      ...this.#history.operations(block.hash),
      ...execution.appends.flatMap((append) => appendOperations(this.#store, append)),
      ...execution.erasures.flatMap((erasure) => eraseOperations(this.#store, erasure, addedRecord(execution, erasure))),
      ...staged.operations,
      this.#rows.headOperation(height),
    ];
  }
}

/** The record that is erased, if the same block appended it. */
function addedRecord({ appends }: Execution, erasure: RecordErasure): Uint8Array | undefined {
  const { stream, partition, index } = erasure;
  const append = appends.find((each) => each.stream === stream && each.partition === partition);
  return append === undefined || index < append.firstIndex ? undefined : append.records[Number(index - append.firstIndex)];
}

/** The siblings of one entry in the log tree over all of them. */
function siblingsOf(entries: readonly Uint8Array[], index: number): readonly Hash[] {
  const nodes = new Map<string, Hash>();
  appendEntries(EMPTY_FRONTIER, entries, (level, at, hash) => nodes.set(`${level}/${at}`, hash));
  return inclusionProof(LOG_HASHER, { index: BigInt(index), size: BigInt(entries.length) }, (level, at) =>
    present(nodes.get(`${level}/${at}`), "log node"),
  );
}
