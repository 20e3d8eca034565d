/**
 * A client that believes nothing: every answer is checked against the network file, and what is not proven is thrown
 * as `UnprovenError`. Runs in Node and in a browser.
 *
 * ```
 *   answer --proof--> state root, transactions root, ... --in--> header --certificate--> validator set
 *   validator set --named by a certified header--> ... --> the set in the network file
 * ```
 *
 * What one node cannot be made to prove: that its head is the newest there is (`headAgeMsMax` bounds how old it may
 * be, and it never goes backwards), that a transaction it does not show was not included, and that it delivers every
 * event of a subscription (heights are checked to be without gaps, and missed ones are fetched).
 */

import * as z from "zod";
import { CodedError } from "../../crypto/base/error.ts";
import { bytesEqual, compareBytes, toHex } from "../../crypto/base/bytes.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { type Block, encodeHeader, type Header, parseBlock } from "../../chain/block/block.ts";
import { appendOf } from "../../chain/block/call.ts";
import { isName } from "../../chain/block/fields.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import { isSettled } from "../../chain/block/finality.ts";
import type { Height } from "../../chain/block/height.ts";
import type { StreamRecord } from "../../chain/block/record.ts";
import type { Transaction } from "../../chain/block/transaction.ts";
import type { SealedSegment } from "../../chain/block/segment.ts";
import { erasedKey, type KeyRange, partitionKey, rowKey, rowRange, segmentRange, streamKey } from "../../chain/state/keys.ts";
import { parseStream, type StreamRow } from "../../chain/state/partition.ts";
import { successor } from "../../chain/state/range.ts";
import type { Row } from "../../chain/state/proof.ts";
import type { Account } from "../../chain/state/rows.ts";
import { provenOrThrow, UnprovenError } from "../light/errors.ts";
import { encodeProofFile, type Statement, trimmedProofFile, verifyProofFile } from "../light/prooffile.ts";
import { encodeReceipt, verifyReceipt } from "../light/receipt.ts";
import {
  type PartitionName,
  provenAccount,
  provenBlock,
  provenExtension,
  type ProvenPartition,
  provenPartition,
  provenRange,
  provenRecord,
  provenRow,
  provenSegments,
  provenTable,
  provenTransaction,
  type ProvenTransaction,
  transactionPathOf,
} from "../light/statement.ts";
import type { Anchor } from "../light/anchor.ts";
import type { LightBlock } from "../light/trust.ts";
import { LightVerifier, type SetChange, type VerifiedHeader } from "../light/verifier.ts";
import type { TransactionStatus } from "./backend.ts";
import { type FeedEvent, type FeedOptions, follow, isInPassing, pause } from "./feed.ts";
import { Heads, presentAnchor, RETRY_MS } from "./heads.ts";
import type { Method, Topic } from "./method.ts";
import { accountGet } from "./methods/account.ts";
import { chainBlock, chainHead, chainHeader, chainHistoryProof } from "./methods/chain.ts";
import { nodePeers, nodeStatus } from "./methods/node.ts";
import { stateProve } from "./methods/state.ts";
import { streamConsistency, streamHead, streamRecords } from "./methods/stream.ts";
import { tableGet, tableRangeRead, tableRow } from "./methods/table.ts";
import { transactionProof, transactionStatus, transactionSubmit, transactionWait } from "./methods/transaction.ts";
import { type CallOptions, HttpTransport } from "./transport.ts";
import type { ReadOptions, Verified } from "./verified.ts";

export type { ReadOptions, Verification, Verified } from "./verified.ts";

/** What a client is made from. */
export type ClientOptions = {
  /** Of the node, such as `http://127.0.0.1:26680/`. */
  readonly url: string;
  /** What is trusted. Get it from somebody you trust, not from the node. */
  readonly network: NetworkFile;
  /** The platform's when absent. */
  readonly fetch?: typeof globalThis.fetch | undefined;
  readonly timeoutMs?: number | undefined;
  readonly answerSizeBytesMax?: number | undefined;
  /** Refuse heads whose block is older than this by our clock (`old_head`). Not checked when absent. */
  readonly headAgeMsMax?: number | undefined;
  /** Milliseconds since 1970 UTC; the platform's clock when absent. */
  readonly nowMs?: (() => number) | undefined;
  /** One that several clients of one network share, or that skips; one from genesis when absent. */
  readonly verifier?: LightVerifier | undefined;
};

const TIMEOUT_MS_DEFAULT = 30_000;
const ANSWER_SIZE_BYTES_MAX_DEFAULT = 48 * 1024 * 1024;
/** How long the server holds one `transaction.wait`, and how much longer we wait for its answer. */
const WAIT_MS = 20_000;
const WAIT_GRACE_MS = 10_000;
/** Records of a block that are tried for the one that a transaction appended. */
const RECEIPT_SEARCH_MAX = 1_024n;
const PARTITIONS_REMEMBERED_MAX = 1_024;
const ROWS_PER_PAGE = 500;
const RECORDS_PER_PAGE = 64;

/** See the file's head. */
export class PyralogClient {
  readonly network: NetworkFile;
  readonly url: string;
  readonly verifier: LightVerifier;
  readonly #transport: HttpTransport;
  readonly #options: ClientOptions;
  /** Heads of partitions as they were last proven, oldest first. */
  readonly #partitions = new Map<string, { readonly head: ProvenPartition; readonly height: Height }>();
  readonly #heads: Heads;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.network = options.network;
    this.url = options.url;
    this.verifier = options.verifier ?? LightVerifier.fromGenesis(options.network);
    const { timeoutMs = TIMEOUT_MS_DEFAULT, answerSizeBytesMax = ANSWER_SIZE_BYTES_MAX_DEFAULT } = options;
    this.#transport = new HttpTransport({ url: options.url, fetch: options.fetch, timeoutMs, answerSizeBytesMax });
    this.#heads = new Heads({
      ask: (method, params, callOptions) => this.ask(method, params, callOptions),
      network: options.network,
      verifier: this.verifier,
      headAgeMsMax: options.headAgeMsMax,
      nowMs: options.nowMs ?? Date.now,
    });
  }

  /**
   * Calls any method of the API and decodes its result, which is NOT verified.
   *
   * @throws CodedError `params_invalid` before anything is sent; with the node's code when it refuses; or of
   * `CLIENT_CODES`. `UnprovenError` `answer_malformed` when the result is not what the method declares.
   */
  async ask<Params extends z.ZodObject, Value extends z.ZodType>(
    method: Method<Params, Value>,
    params: z.output<Params>,
    options: CallOptions = {},
  ): Promise<z.output<Value>> {
    const encoded = z.safeEncode(method.params, params);
    if (!encoded.success) {
      throw new CodedError("params_invalid", {
        message: "a parameter is malformed",
        method: method.name,
        field: encoded.error.issues[0]?.path.join(".") ?? "",
      });
    }
    const answer = await this.#transport.call(method.name, encoded.data, options);
    const decoded = method.result.safeParse(answer);
    if (decoded.success) return decoded.data;
    const field = decoded.error.issues[0]?.path.join(".").slice(0, 128) ?? "";
    throw new UnprovenError({ code: "answer_malformed", field });
  }

  /** The highest head that was proven so far, of the heaviest chain; `undefined` before the first. */
  get headHeight(): Height | undefined {
    return this.#heads.newest?.header.height;
  }

  // Chain.

  /** The newest head that the node proves. Never behind one that this client has seen, of the heaviest chain it has seen. */
  async head(options: CallOptions = {}): Promise<Verified<Header>> {
    return await this.#heads.settled(async () => {
      const floor = this.#heads.floor();
      const answer = await this.ask(chainHead, {}, options);
      const at = await this.#heads.believeHead(answer, floor, options);
      if (answer.height !== at.header.height || !bytesEqual(answer.hash, at.hash))
        throw new UnprovenError({ code: "answer_mismatch", field: "hash" });
      return this.#heads.verified(at.header, at, "certificate");
    }, options);
  }

  /** Any final header: a newer one proves it by the history log, so the validators of its time need not be followed. */
  async header(height: Height, options: CallOptions = {}): Promise<Verified<Header>> {
    const head = this.#heads.newest ?? (await this.#heads.refresh(options));
    if (height >= head.header.height) {
      return await this.#heads.settled(async () => {
        const answer = await this.ask(chainHeader, { height }, options);
        const at = await this.#heads.believeAt(answer.anchor, height, options);
        return this.#heads.verified(at.header, at, "certificate");
      }, options);
    }
    const answer = await this.ask(chainHistoryProof, { of: height, at: head.header.height }, options);
    const at = provenOrThrow(this.verifier.acceptHistory(answer, head));
    if (at.header.height !== height) throw new UnprovenError({ code: "answer_height", field: "of", height });
    return this.#heads.verified(at.header, at, `history log of header ${head.header.height}`);
  }

  /** A whole block: everything in it is what its certified header commits to. */
  async block(height: Height, options: CallOptions = {}): Promise<Verified<Block>> {
    return await this.#heads.settled(async () => {
      const { block, certificate } = await this.ask(chainBlock, { height }, options);
      const parsed = parseBlock(block);
      if (!parsed.ok) throw new UnprovenError({ code: "answer_malformed", field: "block", height });
      const at = await this.#heads.believeAt({ header: encodeHeader(parsed.value.header), certificate }, height, options);
      return this.#heads.verified(provenOrThrow(provenBlock(at, block)), at, "certificate", "roots of transactions and evidence");
    }, options);
  }

  /** Checks any header against its certificate, following the validator sets as far as needed. */
  async believe(anchor: Anchor, options: CallOptions = {}): Promise<VerifiedHeader> {
    return await this.#heads.believe(anchor, options);
  }

  /** Goes to a header above what is trusted, half way first where that is too far. Only with a verifier that skips. */
  async skipTo(height: Height, options: CallOptions = {}): Promise<void> {
    await this.#heads.skipTo(height, options);
  }

  /** What a node gives for a light block: not proven. */
  async lightBlock(height: Height, options: CallOptions = {}): Promise<LightBlock> {
    return await this.#heads.lightBlock(height, options);
  }

  /**
   * What leads from the genesis set to the set that decides `height`, for somebody who has only the network file. A
   * verifier that skips never saw it: then it is asked for, and not proven.
   */
  async trustPath(height: Height, options: CallOptions = {}): Promise<readonly SetChange[]> {
    return await this.#heads.trustPath(height, options);
  }

  // State.

  /** Balance and nonce. */
  async account(address: Address, options: ReadOptions = {}): Promise<Verified<Account>> {
    const { answer, at } = await this.#heads.read(
      (height) => this.ask(accountGet, { address, height, anchor: true }, options),
      options,
    );
    const account = provenOrThrow(provenAccount(at, address, answer.proof));
    if (account.balance !== answer.balance || account.nonce !== answer.nonce)
      throw new UnprovenError({ code: "answer_mismatch", field: "balance" });
    return this.#heads.verified(account, at, "certificate", "state proof");
  }

  /** The owner of a table; `undefined` when there is none of that name. */
  async table(namespace: string, table: string, options: ReadOptions = {}): Promise<Verified<Address | undefined>> {
    const { answer, at } = await this.#heads.read(
      (height) => this.ask(tableGet, { namespace, table, height, anchor: true }, options),
      options,
    );
    const owner = provenOrThrow(provenTable(at, { namespace, table }, answer.proof));
    if (!sameBytes(owner, answer.owner ?? undefined)) throw new UnprovenError({ code: "answer_mismatch", field: "owner" });
    return this.#heads.verified(owner, at, "certificate", "state proof");
  }

  /** The value of a row, canonical dag-cbor (`decodeValue` reads it); `undefined` when it is proven that there is none. */
  async row(
    namespace: string,
    table: string,
    key: Uint8Array,
    options: ReadOptions = {},
  ): Promise<Verified<Uint8Array | undefined>> {
    const { answer, at } = await this.#heads.read(
      (height) => this.ask(tableRow, { namespace, table, key, height, anchor: true }, options),
      options,
    );
    const value = provenOrThrow(provenRow(at, rowKey(namespace, table, key), answer.proof));
    if (!sameBytes(value, answer.value ?? undefined)) throw new UnprovenError({ code: "answer_mismatch", field: "value" });
    return this.#heads.verified(value, at, "certificate", value === undefined ? "state proof of absence" : "state proof");
  }

  /**
   * The rows of a table in key order, page by page, all at the height of the first page. Once it ends, the pages
   * together are proven to be all rows from `from` (inclusive) to `to` (exclusive), or the first `limit` of them.
   */
  async *range(
    namespace: string,
    table: string,
    options: RangeOptions = {},
  ): AsyncGenerator<Verified<readonly Row[]>, void, undefined> {
    for await (const page of this.#pages(namespace, table, options)) yield page.rows;
  }

  /**
   * Rows of the state itself by their keys (`chain/state/keys.ts`), in order, page by page, all at the height of the
   * first page: together proven to be all there are. For what has no method of its own, such as stake.
   */
  async *stateRows(range: KeyRange, options: ReadOptions = {}): AsyncGenerator<Verified<readonly Row[]>, void, undefined> {
    let { height } = options;
    let { from } = range;
    while (true) {
      const asked = { from, to: range.to, limit: ROWS_PER_PAGE, anchor: true };
      const { answer, at } = await this.#heads.read((wanted) => this.ask(stateProve, { ...asked, height: wanted }, options), {
        ...options,
        height,
      });
      const page = provenOrThrow(provenRange(at, { from, to: range.to, limit: ROWS_PER_PAGE }, answer.proof));
      yield this.#heads.verified(page.rows, at, "certificate", "state proof of a complete range");
      if (page.continueFrom === undefined) return;
      if (compareBytes(page.continueFrom, from) <= 0)
        throw new UnprovenError({ code: "range_incomplete", height: at.header.height });
      height = at.header.height;
      from = page.continueFrom;
    }
  }

  // Streams.

  /** Size and root of a partition. What was proven before must be its beginning. */
  async partition(stream: string, partition: number, options: ReadOptions = {}): Promise<Verified<ProvenPartition | undefined>> {
    const { answer, at } = await this.#heads.read(
      (height) => this.ask(streamHead, { stream, partition, height, anchor: true }, options),
      options,
    );
    const head = provenOrThrow(provenPartition(at, { stream, partition }, answer.proof));
    if (head?.size !== answer.head?.size || !sameBytes(head?.root, answer.head?.root))
      throw new UnprovenError({ code: "answer_mismatch", field: "head" });
    const how = await this.#extend({ stream, partition }, head, at, options);
    return this.#heads.verified(head, at, "certificate", "state proof", ...how);
  }

  /** What a stream was declared with; `undefined` when it is proven that nobody declared it. */
  async stream(stream: string, options: ReadOptions = {}): Promise<Verified<StreamRow | undefined>> {
    const found = await this.#stateRow(streamKey(stream), options);
    if (found.value === undefined) return { ...found, value: undefined };
    const parsed = parseStream(found.value);
    if (!parsed.ok) throw new UnprovenError({ code: "answer_malformed", field: "proof", height: found.verified.height });
    return { ...found, value: parsed.value };
  }

  /** The sealed segments of a partition, all of them, chained to its head. */
  async segments(stream: string, partition: number, options: ReadOptions = {}): Promise<Verified<readonly SealedSegment[]>> {
    const head = await this.#stateRow(partitionKey(stream, partition), options);
    const { height } = head.verified;
    const rows: Row[] = [];
    for await (const page of this.stateRows(segmentRange(stream, partition), { ...options, height })) rows.push(...page.value);
    const at = this.verifier.known(height);
    if (at === undefined) throw new UnprovenError({ code: "block_undone", height });
    const value = provenOrThrow(provenSegments(at, { stream, partition }, head.value, rows));
    return { value, verified: { ...head.verified, how: [...head.verified.how, "chain of the sealed segments"] } };
  }

  /** One row of the state by its key. */
  async #stateRow(key: Uint8Array, options: ReadOptions): Promise<Verified<Uint8Array | undefined>> {
    const asked = { from: key, to: successor(key), limit: 1, anchor: true };
    const { answer, at } = await this.#heads.read((height) => this.ask(stateProve, { ...asked, height }, options), options);
    return this.#heads.verified(provenOrThrow(provenRow(at, key, answer.proof)), at, "certificate", "state proof");
  }

  /** Records of a partition from an index on, page by page, all at the height of the first page. */
  async *records(
    stream: string,
    partition: number,
    options: RecordsOptions = {},
  ): AsyncGenerator<Verified<readonly StreamRecord[]>, void, undefined> {
    const { limit = Number.MAX_SAFE_INTEGER, from: start = 0n, ...rest } = options;
    let { height } = options;
    let [from, left] = [start, limit];
    while (left > 0) {
      const page = await this.#recordsPage(
        { stream, partition },
        { ...rest, height, from, limit: Math.min(left, RECORDS_PER_PAGE) },
      );
      if (page.records.value.length === 0) return;
      yield page.records;
      height = page.records.verified.height;
      from += BigInt(page.records.value.length);
      left -= page.records.value.length;
      if (from >= page.size) return;
    }
  }

  /** One record. @throws CodedError `record_unknown` when it is proven that there is none */
  async record(stream: string, partition: number, index: bigint, options: ReadOptions = {}): Promise<Verified<StreamRecord>> {
    const page = await this.#recordsPage({ stream, partition }, { ...options, from: index, limit: 1 });
    const record = page.records.value[0];
    if (record === undefined)
      throw new CodedError("record_unknown", { message: "the partition holds no record at that index", stream, partition });
    return { value: record, verified: page.records.verified };
  }

  // Transactions.

  /** Hands a transaction in. The id is reckoned here, not taken from the node. @throws CodedError with the chain's code */
  async submit(transaction: Transaction, options: CallOptions = {}): Promise<Hash> {
    const { id } = await this.ask(transactionSubmit, { transaction: transaction.bytes }, options);
    if (!bytesEqual(id, transaction.id)) throw new UnprovenError({ code: "answer_mismatch", field: "id" });
    return transaction.id;
  }

  /** A final transaction and what it did, proven. @throws CodedError `transaction_unknown` when the node has none */
  async transaction(id: Hash, options: CallOptions = {}): Promise<Verified<ProvenTransaction>> {
    return await this.#heads.settled(async () => {
      const answer = await this.ask(transactionProof, { id, anchor: true }, options);
      const at = await this.#heads.believeAt(answer.anchor, answer.height, options);
      const proven = provenOrThrow(provenTransaction(at, answer));
      if (!bytesEqual(proven.transaction.id, id)) throw new UnprovenError({ code: "answer_mismatch", field: "transaction" });
      return this.#heads.verified(proven, at, "certificate", "inclusion of the transaction", "inclusion of its result");
    }, options);
  }

  /** Why a transaction is where it is, in the node's own word: not proven. `transaction` proves a final one. */
  async claimedStatus(id: Hash, options: CallOptions = {}): Promise<TransactionStatus> {
    return await this.ask(transactionStatus, { id }, options);
  }

  /**
   * Waits until a transaction is final, and proves it.
   *
   * @throws CodedError with the chain's code when the node says that it was refused; `transaction_timeout` when it is
   * neither after `timeoutMs`
   */
  async wait(id: Hash, options: CallOptions = {}): Promise<Verified<ProvenTransaction>> {
    const { signal, timeoutMs = TIMEOUT_MS_DEFAULT } = options;
    const now = this.#options.nowMs ?? Date.now;
    const endMs = now() + timeoutMs;
    for (;;) {
      const waitMs = Math.max(0, Math.min(WAIT_MS, endMs - now()));
      const status = await this.ask(transactionWait, { id, timeoutMs: waitMs }, { signal, timeoutMs: waitMs + WAIT_GRACE_MS });
      if (status.kind === "final" || status.kind === "included") {
        // The node's word for how deep it is counts for nothing: the headers do.
        const proven = await this.#provenNow(id, { signal });
        if (proven !== undefined && isSettled(proven.verified.finality)) return proven;
      }
      if (status.kind === "refused")
        throw new CodedError(status.code, { message: "the transaction was refused", field: status.field, id: toHex(id) });
      if (now() >= endMs)
        throw new CodedError("transaction_timeout", {
          message: "neither final nor refused in time",
          status: status.kind,
          id: toHex(id),
        });
    }
  }

  /** A transaction with its depth as of now; `undefined` when a reorganisation got in the way, and the node is to be asked again. */
  async #provenNow(id: Hash, options: CallOptions): Promise<Verified<ProvenTransaction> | undefined> {
    if (this.verifier.work === undefined) return await this.transaction(id, options);
    try {
      await this.#heads.refresh(options);
      const proven = await this.transaction(id, options);
      if (isSettled(proven.verified.finality)) return proven;
    } catch (error) {
      if (!isInPassing(error)) throw error;
    }
    await pause(RETRY_MS, options.signal);
    return undefined;
  }

  /** Hands a transaction in and waits for it, as `submit` and `wait`. */
  async submitAndWait(transaction: Transaction, options: CallOptions = {}): Promise<Verified<ProvenTransaction>> {
    return await this.wait(await this.submit(transaction, { signal: options.signal }), options);
  }

  // Events.

  /** Follows a topic over WebSocket, verified and without gaps that are not reported. See `feed.ts`. */
  subscribe(topic: Topic, options: FeedOptions): AsyncGenerator<FeedEvent, void, undefined> {
    return follow(this, topic, options);
  }

  // Proof files: what somebody else can check offline, with the network file alone.

  /** A proof file of a row, or of its absence. */
  async exportRow(namespace: string, table: string, key: Uint8Array, options: ReadOptions = {}): Promise<Uint8Array> {
    const { answer, at, anchor } = await this.#heads.read(
      (height) => this.ask(tableRow, { namespace, table, key, height, anchor: true }, options),
      options,
    );
    return await this.#export(at, anchor, { kind: "row", namespace, table, key, proof: answer.proof }, options);
  }

  /** A proof file of all rows of a range. */
  async exportRange(namespace: string, table: string, options: Omit<RangeOptions, "limit"> = {}): Promise<Uint8Array> {
    const proofs: Uint8Array[] = [];
    let last: { readonly at: VerifiedHeader; readonly anchor: Anchor } | undefined;
    for await (const page of this.#pages(namespace, table, options)) {
      proofs.push(page.proof);
      last ??= page;
    }
    if (last === undefined) throw new UnprovenError({ code: "range_incomplete" });
    const { from, to } = options;
    return await this.#export(last.at, last.anchor, { kind: "range", namespace, table, from, to, proofs }, options);
  }

  /** A proof file of an account. */
  async exportAccount(address: Address, options: ReadOptions = {}): Promise<Uint8Array> {
    const { answer, at, anchor } = await this.#heads.read(
      (height) => this.ask(accountGet, { address, height, anchor: true }, options),
      options,
    );
    return await this.#export(at, anchor, { kind: "account", address, proof: answer.proof }, options);
  }

  /** A proof file of a final transaction and its result. */
  async exportTransaction(id: Hash, options: CallOptions = {}): Promise<Uint8Array> {
    const { answer, at } = await this.#heads.settled(async () => {
      const found = await this.ask(transactionProof, { id, anchor: true }, options);
      return { answer: found, at: await this.#heads.believeAt(found.anchor, found.height, options) };
    }, options);
    provenOrThrow(provenTransaction(at, answer));
    const { transaction, index, count, siblings, result, resultSiblings } = answer;
    const claim = transactionPathOf({ transaction, index, count, siblings, result, resultSiblings });
    return await this.#export(at, presentAnchor(answer.anchor), { kind: "transaction", ...claim }, options);
  }

  /** A proof file of a record. */
  async exportRecord(stream: string, partition: number, index: bigint, options: ReadOptions = {}): Promise<Uint8Array> {
    const ask = (height: Height | undefined) =>
      this.ask(streamRecords, { stream, partition, from: index, limit: 1, height, anchor: true }, options);
    const { answer, at, anchor } = await this.#heads.read(ask, options);
    const [found] = answer.records;
    if (found === undefined) throw new UnprovenError({ code: "proof_missing", field: "records" });
    const { record, siblings } = found;
    const claim = { stream, partition, index, record, siblings, proof: answer.proof };
    return await this.#export(at, anchor, { kind: "record", ...claim }, options);
  }

  /**
   * A receipt of what a final transaction did to a record: the last one that it appended or erased, or the one at a place.
   *
   * @throws CodedError `record_unknown` when it did nothing to any record, or not to that one
   */
  async exportReceipt(
    id: Hash,
    at: Partial<PartitionName> & { readonly index?: bigint } = {},
    options: CallOptions = {},
  ): Promise<Uint8Array> {
    const { value, verified } = await this.transaction(id, options);
    const { height } = verified;
    const file = await this.exportTransaction(id, options);
    for (const call of value.transaction.body.calls.toReversed()) {
      const place = call.kind === "recordErase" ? call : appendOf(call);
      if (place === undefined) continue;
      const { stream, partition } = place;
      if ((at.stream ?? stream) !== stream || (at.partition ?? partition) !== partition) continue;
      const size = (await this.partition(stream, partition, { ...options, height })).value?.size ?? 0n;
      const last = call.kind === "recordErase" ? call.index : size - 1n;
      // Other transactions of the block may have appended after this one: the newest that is this one's.
      for (let index = at.index ?? last; index >= 0n; index -= 1n) {
        const receipt = encodeReceipt({
          transaction: file,
          record: await this.exportRecord(stream, partition, index, { ...options, height }),
        });
        if ((await verifyReceipt(receipt, this.network)).ok) return receipt;
        if (at.index !== undefined || call.kind === "recordErase" || last - index > RECEIPT_SEARCH_MAX) break;
      }
    }
    throw new CodedError("record_unknown", {
      message: "the transaction neither appended nor erased such a record",
      id: toHex(id),
    });
  }

  // What the node says of itself.

  /** Not proven. */
  async claimedNodeStatus(options: CallOptions = {}): Promise<z.output<typeof nodeStatus.result>> {
    return await this.ask(nodeStatus, {}, options);
  }

  /** Not proven. */
  async claimedPeers(options: CallOptions = {}): Promise<z.output<typeof nodePeers.result>["peers"]> {
    return (await this.ask(nodePeers, {}, options)).peers;
  }

  // Inside.

  async *#pages(namespace: string, table: string, options: RangeOptions): AsyncGenerator<Page, void, undefined> {
    const { limit = Number.MAX_SAFE_INTEGER, from, to, ...rest } = options;
    if (!isName(namespace) || !isName(table))
      throw new CodedError("params_invalid", { message: "not a name", field: isName(namespace) ? "table" : "namespace" });
    const prefixSize = rowKey(namespace, table, new Uint8Array(0)).length;
    const whole = rowRange(namespace, table, from, to);
    let { height } = options;
    let start = whole.from;
    let left = limit;
    while (left > 0) {
      const count = Math.min(left, ROWS_PER_PAGE);
      const asked = { namespace, table, from: start.subarray(prefixSize), to, limit: count, values: false, anchor: true };
      const { answer, at, anchor } = await this.#heads.read(
        (wanted) => this.ask(tableRangeRead, { ...asked, height: wanted }, options),
        { ...rest, height },
      );
      const page = provenOrThrow(provenRange(at, { from: start, to: whole.to, limit: count }, answer.proof));
      const rows = page.rows.map(({ key, value }) => ({ key: key.subarray(prefixSize), value }));
      yield {
        rows: this.#heads.verified(rows, at, "certificate", "state proof of a complete range"),
        proof: answer.proof,
        at,
        anchor,
      };
      if (page.continueFrom === undefined) return;
      if (compareBytes(page.continueFrom, start) <= 0)
        throw new UnprovenError({ code: "range_incomplete", height: at.header.height });
      height = at.header.height;
      start = page.continueFrom;
      left -= rows.length;
    }
  }

  async #recordsPage(
    name: PartitionName,
    options: ReadOptions & { readonly from: bigint; readonly limit: number },
  ): Promise<{ readonly records: Verified<readonly StreamRecord[]>; readonly size: bigint }> {
    const { from, limit } = options;
    const { answer, at } = await this.#heads.read(
      (height) => this.ask(streamRecords, { ...name, from, limit, height, anchor: true }, options),
      options,
    );
    const head = provenOrThrow(provenPartition(at, name, answer.proof));
    const size = head?.size ?? 0n;
    if (size !== answer.size) throw new UnprovenError({ code: "answer_mismatch", field: "size" });
    if (answer.records.length > limit || (answer.records.length === 0 && from < size))
      throw new UnprovenError({ code: "proof_missing", field: "records" });
    const records = answer.records.map(({ index, record, siblings }, position) => {
      if (index !== from + BigInt(position))
        throw new UnprovenError({ code: "answer_mismatch", field: `records.${position}.index` });
      if (head === undefined) throw new UnprovenError({ code: "answer_mismatch", field: "records" });
      return provenOrThrow(provenRecord(head, { ...name, index, record, siblings }));
    });
    for (const { dropped, index } of records) if (dropped !== undefined) await this.#requireDroppable(name, index, options);
    const how = await this.#extend(name, head, at, options);
    return {
      records: this.#heads.verified(
        records,
        at,
        "certificate",
        "state proof of the partition",
        "inclusion of each record",
        ...how,
      ),
      size,
    };
  }

  /**
   * Whether a record may be gone, by the newest state: its stream drops what is old or replaced, or it was erased. That it was
   * due is not shown, for its time is gone with it; that nothing was ever to be dropped is.
   */
  async #requireDroppable({ stream, partition }: PartitionName, index: bigint, { signal }: CallOptions): Promise<void> {
    const { value: declared } = await this.stream(stream, { signal });
    if (declared?.retentionMs !== undefined || declared?.compactionMs !== undefined) return;
    const erased = await this.#stateRow(erasedKey(stream, partition, index), { signal });
    if (erased.value === undefined) throw new UnprovenError({ code: "record_withheld", field: `records[${index}]` });
  }

  /** Checks a partition against what was proven of it before, at a lower or a higher height, and remembers the newer. */
  async #extend(
    name: PartitionName,
    head: ProvenPartition | undefined,
    at: VerifiedHeader,
    options: CallOptions,
  ): Promise<readonly string[]> {
    const key = `${name.stream} ${name.partition}`;
    const known = this.#partitions.get(key);
    const { height } = at.header;
    if (known === undefined) {
      if (head !== undefined) this.#rememberPartition(key, { head, height });
      return [];
    }
    const isNewer = height >= known.height;
    if (head === undefined) {
      if (isNewer) throw new UnprovenError({ code: "log_shrank", height });
      return [];
    }
    const [first, second] = isNewer ? [known.head, head] : [head, known.head];
    const isSame = first.size === second.size && bytesEqual(first.root, second.root);
    const mustAsk = !isSame && first.size < second.size;
    const hashes = mustAsk
      ? (await this.ask(streamConsistency, { ...name, first: first.size, second: second.size }, options)).hashes
      : [];
    provenOrThrow(provenExtension(first, second, hashes));
    if (isNewer) this.#rememberPartition(key, { head, height });
    return ["consistency with what was proven before"];
  }

  #rememberPartition(key: string, seen: { readonly head: ProvenPartition; readonly height: Height }): void {
    this.#partitions.delete(key);
    this.#partitions.set(key, seen);
    if (this.#partitions.size <= PARTITIONS_REMEMBERED_MAX) return;
    const [oldest] = this.#partitions.keys();
    if (oldest !== undefined) this.#partitions.delete(oldest);
  }

  /**
   * Makes a proof file, and checks it as a stranger would before handing it out. It hangs from the newest header, which
   * the node may have moved on to since the statement was proven.
   */
  async #export(at: VerifiedHeader, anchor: Anchor, statement: Statement, options: CallOptions): Promise<Uint8Array> {
    const newest = await this.#heads.linkToNewest(at, anchor, options);
    const file = trimmedProofFile(
      {
        chainId: this.network.chainId,
        networkHash: this.verifier.networkHash,
        changes: await this.#heads.trustPath(newest.at.header.height, options),
        anchor: newest.anchor,
        history: newest.history,
        statement,
      },
      this.network,
    );
    const bytes = encodeProofFile(file);
    provenOrThrow(await verifyProofFile(bytes, this.network));
    return bytes;
  }
}

/** Options of `range`. */
export type RangeOptions = ReadOptions & {
  readonly from?: Uint8Array | undefined;
  readonly to?: Uint8Array | undefined;
  readonly limit?: number | undefined;
};

/** Options of `records`. */
export type RecordsOptions = ReadOptions & { readonly from?: bigint | undefined; readonly limit?: number | undefined };

type Page = {
  readonly rows: Verified<readonly Row[]>;
  readonly proof: Uint8Array;
  readonly at: VerifiedHeader;
  readonly anchor: Anchor;
};

function sameBytes(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === undefined || b === undefined ? a === b : bytesEqual(a, b);
}
