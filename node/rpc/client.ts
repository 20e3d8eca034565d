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
import { type Block, encodeHeader, type Header, parseBlock, parseHeader } from "../../chain/block/block.ts";
import { isName } from "../../chain/block/fields.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import { isSettled } from "../../chain/block/finality.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import type { StreamRecord } from "../../chain/block/record.ts";
import type { Transaction } from "../../chain/block/transaction.ts";
import { type KeyRange, rowKey, rowRange } from "../../chain/state/keys.ts";
import type { Row } from "../../chain/state/proof.ts";
import type { Account } from "../../chain/state/rows.ts";
import { provenOrThrow, UnprovenError } from "../light/errors.ts";
import { encodeProofFile, type Statement, verifyProofFile } from "../light/prooffile.ts";
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
  provenTable,
  provenTransaction,
  type ProvenTransaction,
} from "../light/statement.ts";
import type { Anchor } from "../light/anchor.ts";
import { LightVerifier, type VerifiedHeader } from "../light/verifier.ts";
import type { WorkChain } from "../light/work.ts";
import type { TransactionStatus } from "./backend.ts";
import { type FeedEvent, type FeedOptions, follow, isInPassing, pause } from "./feed.ts";
import type { Method, Topic } from "./method.ts";
import { accountGet } from "./methods/account.ts";
import { chainBlock, chainHead, chainHeader, chainHeaders, chainHistoryProof } from "./methods/chain.ts";
import { nodePeers, nodeStatus } from "./methods/node.ts";
import { stateProve } from "./methods/state.ts";
import { streamConsistency, streamHead, streamRecords } from "./methods/stream.ts";
import { tableGet, tableRangeRead, tableRow } from "./methods/table.ts";
import { transactionProof, transactionStatus, transactionSubmit, transactionWait } from "./methods/transaction.ts";
import { validatorsChanges } from "./methods/validators.ts";
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
};

const TIMEOUT_MS_DEFAULT = 30_000;
const ANSWER_SIZE_BYTES_MAX_DEFAULT = 48 * 1024 * 1024;
/** How long the server holds one `transaction.wait`, and how much longer we wait for its answer. */
const WAIT_MS = 20_000;
const WAIT_GRACE_MS = 10_000;
const PARTITIONS_REMEMBERED_MAX = 1_024;
const ROWS_PER_PAGE = 500;
const RECORDS_PER_PAGE = 64;
const HEADERS_PER_PAGE = 500;
/** How far our own clock may be behind, beside what the network lets miners be ahead. */
const CLOCK_BEHIND_MS_MAX = 60_000n;
/** How long to let pass before a question whose answer a reorganisation got in the way of is asked again. */
const RETRY_MS = 250;
/** What is read of a branch that is not heavier yet. */
const HEADERS_PER_BRANCH_MAX = 20_000;

/** See the file's head. */
export class PyralogClient {
  readonly network: NetworkFile;
  readonly url: string;
  readonly verifier: LightVerifier;
  readonly #transport: HttpTransport;
  readonly #options: ClientOptions;
  /** Heads of partitions as they were last proven, oldest first. */
  readonly #partitions = new Map<string, { readonly head: ProvenPartition; readonly height: Height }>();
  #head: VerifiedHeader | undefined;
  /** The last round of following the validator sets; the next begins after it. */
  #following: Promise<void> = Promise.resolve();

  constructor(options: ClientOptions) {
    this.#options = options;
    this.network = options.network;
    this.url = options.url;
    this.verifier = LightVerifier.fromGenesis(options.network);
    const { timeoutMs = TIMEOUT_MS_DEFAULT, answerSizeBytesMax = ANSWER_SIZE_BYTES_MAX_DEFAULT } = options;
    this.#transport = new HttpTransport({ url: options.url, fetch: options.fetch, timeoutMs, answerSizeBytesMax });
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
    return this.#head?.header.height;
  }

  // Chain.

  /** The newest head that the node proves. Never behind one that this client has seen, of the heaviest chain it has seen. */
  async head(options: CallOptions = {}): Promise<Verified<Header>> {
    const floor = this.#floor();
    const answer = await this.ask(chainHead, {}, options);
    if (answer.height === 0n && floor === undefined) throw new CodedError("height_none", { message: "no block is final yet" });
    const at = await this.#believeHead(answer.anchor, floor, options);
    if (answer.height !== at.header.height || !bytesEqual(answer.hash, at.hash))
      throw new UnprovenError({ code: "answer_mismatch", field: "hash" });
    return this.#verified(at.header, at, "certificate");
  }

  /** Any final header: a newer one proves it by the history log, so the validators of its time need not be followed. */
  async header(height: Height, options: CallOptions = {}): Promise<Verified<Header>> {
    const head = this.#head ?? (await this.#refreshHead(options));
    if (height >= head.header.height) {
      const answer = await this.ask(chainHeader, { height }, options);
      const at = await this.#believeAt(answer.anchor, height, options);
      return this.#verified(at.header, at, "certificate");
    }
    const answer = await this.ask(chainHistoryProof, { of: height, at: head.header.height }, options);
    const at = provenOrThrow(this.verifier.acceptHistory(answer, head));
    if (at.header.height !== height) throw new UnprovenError({ code: "answer_height", field: "of", height });
    return this.#verified(at.header, at, `history log of header ${head.header.height}`);
  }

  /** A whole block: everything in it is what its certified header commits to. */
  async block(height: Height, options: CallOptions = {}): Promise<Verified<Block>> {
    const answer = await this.ask(chainBlock, { height }, options);
    const parsed = parseBlock(answer.block);
    if (!parsed.ok) throw new UnprovenError({ code: "answer_malformed", field: "block", height });
    const at = await this.#believeAt(
      { header: encodeHeader(parsed.value.header), certificate: answer.certificate },
      height,
      options,
    );
    return this.#verified(provenOrThrow(provenBlock(at, answer.block)), at, "certificate", "roots of transactions and evidence");
  }

  /** Checks any header against its certificate, following the validator sets as far as needed. */
  async believe(anchor: Anchor, options: CallOptions = {}): Promise<VerifiedHeader> {
    let accepted = await this.verifier.acceptHeader(anchor);
    if (!accepted.ok && (accepted.error.code === "validators_unknown" || accepted.error.code === "headers_unknown")) {
      await this.#follow(options);
      accepted = await this.verifier.acceptHeader(anchor);
    }
    const at = provenOrThrow(accepted);
    // Under proof of work a heavier chain takes the head with it.
    const isLeft = this.#head !== undefined && this.verifier.finalityOf(this.#head) === undefined;
    if (this.#head === undefined || isLeft || at.header.height > this.#head.header.height) this.#head = at;
    return at;
  }

  // State.

  /** Balance and nonce. */
  async account(address: Address, options: ReadOptions = {}): Promise<Verified<Account>> {
    const { answer, at } = await this.#read(
      (height) => this.ask(accountGet, { address, height, anchor: true }, options),
      options,
    );
    const account = provenOrThrow(provenAccount(at, address, answer.proof));
    if (account.balance !== answer.balance || account.nonce !== answer.nonce)
      throw new UnprovenError({ code: "answer_mismatch", field: "balance" });
    return this.#verified(account, at, "certificate", "state proof");
  }

  /** The owner of a table; `undefined` when there is none of that name. */
  async table(namespace: string, table: string, options: ReadOptions = {}): Promise<Verified<Address | undefined>> {
    const { answer, at } = await this.#read(
      (height) => this.ask(tableGet, { namespace, table, height, anchor: true }, options),
      options,
    );
    const owner = provenOrThrow(provenTable(at, { namespace, table }, answer.proof));
    if (!sameBytes(owner, answer.owner ?? undefined)) throw new UnprovenError({ code: "answer_mismatch", field: "owner" });
    return this.#verified(owner, at, "certificate", "state proof");
  }

  /** The value of a row, canonical dag-cbor (`decodeValue` reads it); `undefined` when it is proven that there is none. */
  async row(
    namespace: string,
    table: string,
    key: Uint8Array,
    options: ReadOptions = {},
  ): Promise<Verified<Uint8Array | undefined>> {
    const { answer, at } = await this.#read(
      (height) => this.ask(tableRow, { namespace, table, key, height, anchor: true }, options),
      options,
    );
    const value = provenOrThrow(provenRow(at, rowKey(namespace, table, key), answer.proof));
    if (!sameBytes(value, answer.value ?? undefined)) throw new UnprovenError({ code: "answer_mismatch", field: "value" });
    return this.#verified(value, at, "certificate", value === undefined ? "state proof of absence" : "state proof");
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
      const { answer, at } = await this.#read((wanted) => this.ask(stateProve, { ...asked, height: wanted }, options), {
        ...options,
        height,
      });
      const page = provenOrThrow(provenRange(at, { from, to: range.to, limit: ROWS_PER_PAGE }, answer.proof));
      yield this.#verified(page.rows, at, "certificate", "state proof of a complete range");
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
    const { answer, at } = await this.#read(
      (height) => this.ask(streamHead, { stream, partition, height, anchor: true }, options),
      options,
    );
    const head = provenOrThrow(provenPartition(at, { stream, partition }, answer.proof));
    if (head?.size !== answer.head?.size || !sameBytes(head?.root, answer.head?.root))
      throw new UnprovenError({ code: "answer_mismatch", field: "head" });
    const how = await this.#extend({ stream, partition }, head, at, options);
    return this.#verified(head, at, "certificate", "state proof", ...how);
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
    const answer = await this.ask(transactionProof, { id, anchor: true }, options);
    const at = await this.#believeAt(answer.anchor, answer.height, options);
    const proven = provenOrThrow(provenTransaction(at, answer));
    if (!bytesEqual(proven.transaction.id, id)) throw new UnprovenError({ code: "answer_mismatch", field: "transaction" });
    return this.#verified(proven, at, "certificate", "inclusion of the transaction", "inclusion of its result");
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
      await this.#refreshHead(options);
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
    const { answer, at, anchor } = await this.#read(
      (height) => this.ask(tableRow, { namespace, table, key, height, anchor: true }, options),
      options,
    );
    return await this.#export(at, anchor, { kind: "row", namespace, table, key, proof: answer.proof });
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
    return await this.#export(last.at, last.anchor, {
      kind: "range",
      namespace,
      table,
      from: options.from,
      to: options.to,
      proofs,
    });
  }

  /** A proof file of an account. */
  async exportAccount(address: Address, options: ReadOptions = {}): Promise<Uint8Array> {
    const { answer, at, anchor } = await this.#read(
      (height) => this.ask(accountGet, { address, height, anchor: true }, options),
      options,
    );
    return await this.#export(at, anchor, { kind: "account", address, proof: answer.proof });
  }

  /** A proof file of a final transaction and its result. */
  async exportTransaction(id: Hash, options: CallOptions = {}): Promise<Uint8Array> {
    const answer = await this.ask(transactionProof, { id, anchor: true }, options);
    const at = await this.#believeAt(answer.anchor, answer.height, options);
    const { transaction, index, count, siblings, result, resultSiblings } = answer;
    return await this.#export(at, presentAnchor(answer.anchor), {
      kind: "transaction",
      transaction,
      index,
      count,
      siblings,
      result,
      resultSiblings,
    });
  }

  /** A proof file of a record. */
  async exportRecord(stream: string, partition: number, index: bigint, options: ReadOptions = {}): Promise<Uint8Array> {
    const ask = (height: Height | undefined) =>
      this.ask(streamRecords, { stream, partition, from: index, limit: 1, height, anchor: true }, options);
    const { answer, at, anchor } = await this.#read(ask, options);
    const [found] = answer.records;
    if (found === undefined) throw new UnprovenError({ code: "proof_missing", field: "records" });
    const { record, siblings } = found;
    return await this.#export(at, anchor, { kind: "record", stream, partition, index, record, siblings, proof: answer.proof });
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

  #verified<T>(value: T, at: VerifiedHeader, ...how: readonly string[]): Verified<T> {
    const { height, timeMs } = at.header;
    const finality = this.verifier.finalityOf(at);
    // Somebody else's question may have brought a heavier chain meanwhile.
    if (finality === undefined) throw new UnprovenError({ code: "block_undone", height });
    return { value, verified: { height, timeMs, finality, how } };
  }

  /** What no head may be behind, as long as it is on the chain: under proof of work all headers that were followed count. */
  #floor(): Floor | undefined {
    const { work } = this.verifier;
    const tip = work?.hashAt(work.height);
    if (work !== undefined && tip !== undefined) return work.height === 0n ? undefined : { height: work.height, hash: tip };
    return this.#head === undefined ? undefined : { height: this.#head.header.height, hash: this.#head.hash };
  }

  async #refreshHead(options: CallOptions): Promise<VerifiedHeader> {
    const floor = this.#floor();
    const { anchor } = await this.ask(chainHead, {}, options);
    return await this.#believeHead(anchor, floor, options);
  }

  /** Asks, and believes the header that the answer hangs from: of the height that was asked for, or a head. */
  async #read<Answer extends { readonly height: Height; readonly anchor?: Anchor | undefined }>(
    ask: (height: Height | undefined) => Promise<Answer>,
    options: ReadOptions,
  ): Promise<{ readonly answer: Answer; readonly at: VerifiedHeader; readonly anchor: Anchor }> {
    const floor = this.#floor();
    const answer = await ask(options.height);
    const at =
      options.height === undefined
        ? await this.#believeHead(answer.anchor, floor, options)
        : await this.#believeAt(answer.anchor, options.height, options);
    if (answer.height !== at.header.height) throw new UnprovenError({ code: "answer_mismatch", field: "height" });
    return { answer, at, anchor: presentAnchor(answer.anchor) };
  }

  /** `floor` is the head as it was when the question was sent: answers may overtake each other. */
  async #believeHead(anchor: Anchor | undefined, floor: Floor | undefined, options: CallOptions): Promise<VerifiedHeader> {
    const at = await this.believe(presentAnchor(anchor), options);
    const { height, timeMs } = at.header;
    const { work } = this.verifier;
    const isFloor = floor !== undefined && (work === undefined || sameBytes(work.hashAt(floor.height), floor.hash));
    if (isFloor && height < floor.height) throw new UnprovenError({ code: "stale_head", height });
    const { headAgeMsMax, nowMs = Date.now } = this.#options;
    if (headAgeMsMax !== undefined && nowMs() - Number(timeMs) > headAgeMsMax)
      throw new UnprovenError({ code: "old_head", height });
    return at;
  }

  async #believeAt(anchor: Anchor | undefined, height: Height, options: CallOptions): Promise<VerifiedHeader> {
    const at = await this.believe(presentAnchor(anchor), options);
    if (at.header.height !== height) throw new UnprovenError({ code: "answer_height", height });
    return at;
  }

  /** Takes over the changes of the validator set that the node can prove, one caller after another. */
  #follow(options: CallOptions): Promise<void> {
    const round = this.#following.then(() => this.#followOnce(options));
    // A failed round is its caller's to hear of, and no reason not to begin the next.
    this.#following = round.catch(() => undefined);
    return round;
  }

  async #followOnce(options: CallOptions): Promise<void> {
    if (this.verifier.work !== undefined) return await this.#followWork(this.verifier.work, options);
    for (;;) {
      const { from } = this.verifier.newest;
      const { changes } = await this.ask(validatorsChanges, { from, limit: 32 }, options);
      for (const change of changes) provenOrThrow(await this.verifier.acceptChange(change));
      // Nothing new: the node has no more, or repeats itself.
      if (this.verifier.newest.from === from) return;
    }
  }

  /**
   * Follows the node's chain of sealed headers: from ours upwards, or from where they part. A branch is taken over as
   * soon as what was read of it is heavier.
   */
  async #followWork(work: WorkChain, options: CallOptions): Promise<void> {
    let from: bigint = work.height + 1n;
    let back = 1n;
    let branch: Anchor[] = [];
    const goBack = (below: bigint): void => {
      from = below > back ? below - back : 1n;
      back *= 4n;
      branch = [];
    };
    for (;;) {
      const { head, anchors } = await this.ask(chainHeaders, { from: heightOf(from), limit: HEADERS_PER_PAGE }, options);
      // Otherwise it could go on for ever with headers that we have.
      const first = anchors[0] === undefined ? undefined : parseHeader(anchors[0].header);
      if (first?.ok === true && first.value.height !== from) throw new UnprovenError({ code: "answer_height", field: "anchors" });
      branch.push(...anchors);
      if (branch.length > HEADERS_PER_BRANCH_MAX) throw new UnprovenError({ code: "reorg_deep" });
      if (branch.length === 0) {
        // It has nothing above ours: its head, if it is another, parts from ours further down.
        if (head === 0n || head >= from) throw new UnprovenError({ code: "headers_unknown", height: head });
        goBack(head + 1n);
        continue;
      }
      const accepted = this.verifier.acceptWork(branch, this.#timeMsMax());
      const next = from + BigInt(anchors.length);
      const hasMore = anchors.length > 0 && next <= head;
      if (accepted.ok) {
        if (!hasMore) return;
        [branch, from] = [[], next];
      } else if (accepted.error.code === "headers_unknown" && from > 1n) goBack(from);
      else if (accepted.error.code === "work_less" && hasMore) from = next;
      else throw new UnprovenError(accepted.error);
    }
  }

  /** The latest time that a header may have now. */
  #timeMsMax(): bigint {
    const { nowMs = Date.now } = this.#options;
    return BigInt(Math.floor(nowMs())) + BigInt(this.network.parameters.blockTimeDriftMsMax) + CLOCK_BEHIND_MS_MAX;
  }

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
      const { answer, at, anchor } = await this.#read(
        (wanted) => this.ask(tableRangeRead, { ...asked, height: wanted }, options),
        { ...rest, height },
      );
      const page = provenOrThrow(provenRange(at, { from: start, to: whole.to, limit: count }, answer.proof));
      const rows = page.rows.map(({ key, value }) => ({ key: key.subarray(prefixSize), value }));
      yield { rows: this.#verified(rows, at, "certificate", "state proof of a complete range"), proof: answer.proof, at, anchor };
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
    const { answer, at } = await this.#read(
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
    const how = await this.#extend(name, head, at, options);
    return {
      records: this.#verified(records, at, "certificate", "state proof of the partition", "inclusion of each record", ...how),
      size,
    };
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

  /** Makes a proof file, and checks it as a stranger would before handing it out. */
  async #export(at: VerifiedHeader, anchor: Anchor, statement: Statement): Promise<Uint8Array> {
    const changes = this.verifier.trustPath(at.header.height);
    const file = encodeProofFile({
      chainId: this.network.chainId,
      networkHash: this.verifier.networkHash,
      changes,
      anchor,
      statement,
    });
    provenOrThrow(await verifyProofFile(file, this.network));
    return file;
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

/** A header that a node must have reached. */
type Floor = { readonly height: Height; readonly hash: Hash };

type Page = {
  readonly rows: Verified<readonly Row[]>;
  readonly proof: Uint8Array;
  readonly at: VerifiedHeader;
  readonly anchor: Anchor;
};

function presentAnchor(anchor: Anchor | undefined): Anchor {
  if (anchor === undefined) throw new UnprovenError({ code: "proof_missing", field: "anchor" });
  return anchor;
}

function sameBytes(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === undefined || b === undefined ? a === b : bytesEqual(a, b);
}
