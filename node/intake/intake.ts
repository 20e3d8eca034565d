/**
 * Where transactions come in, from clients and from gossip, and go out, into blocks and to other nodes.
 *
 * ```
 *   bytes -> parse -> admit (state), place -> signatures (thread pool) -> admit again -> mempool -> gossip, in batches
 * ```
 *
 * State and mempool are asked twice: before, so that nobody buys a signature check with a stale nonce or where no place is left,
 * and after, because a block may have been committed meanwhile. Whatever is refused is remembered with code and field, for `why`.
 */

import { present } from "../../crypto/base/assert.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import { type Coded, fail, ok, type Result } from "../../crypto/base/result.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { verifyAuthorisations } from "../../crypto/identity/authorisation.ts";
import type { SignaturesVerifier } from "../../crypto/sign/key.ts";
import { isRefusalCode } from "../../chain/block/errors.ts";
import type { Block } from "../../chain/block/block.ts";
import { Slab } from "../../chain/block/slab.ts";
import { parseTransaction, type Transaction } from "../../chain/block/transaction.ts";
import type { Commit, Ledger } from "../../chain/ledger/ledger.ts";
import type { Head } from "../../chain/ledger/opening.ts";
import type { Mempool, MempoolRefusal, Origin, SenderAccount } from "../../chain/mempool/mempool.ts";
import { accountKey } from "../../chain/state/keys.ts";
import { ACCOUNT_EMPTY, ownRow, parseAccount } from "../../chain/state/rows.ts";
import type { Log } from "../log/log.ts";
import type { Counter, Metrics } from "../metrics/metrics.ts";
import type { Clock, Timer } from "../ports/clock.ts";
import { SPREAD_MS_MAX } from "../driver/spread.ts";
import { Batcher, parseBatch } from "../network/batcher.ts";
import type { Network } from "../network/network.ts";
import { Slots } from "../network/slots.ts";
import type { TransactionStatus } from "../rpc/backend.ts";

/** Why a transaction does not wait for a block: a code of `REFUSALS`, and the field at fault. */
export type IntakeRefusal = { readonly code: string; readonly field: string };

/** What the intake works with. `onWork` is called when there is something new to order. */
export type IntakeParts = {
  readonly ledger: Ledger;
  readonly mempool: Mempool;
  readonly network: Pick<Network, "limits" | "gossip">;
  readonly clock: Clock;
  readonly verify: SignaturesVerifier;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly onWork: () => void;
};

/** Of clients, signature checks under way at once. At the bound one is refused (`mempool_busy`). */
const CHECKS_MAX = 4_096;
/**
 * Of a gossiped batch, so many are checked at once, up to the first few with a bad one among them: as many as the addon adds
 * up at once (8 us a signature, 10 with 32 of them), and what forgeries may cost us once, five milliseconds.
 */
const TOGETHER_MAX = 128;
/**
 * Of gossip, so many times as many are checked at once. The others wait in the order of their coming: what was dropped here would
 * count as seen, and come from nobody again. How many may wait is bounded where they are read, by peer (`gossipPendingMax`).
 */
const GOSSIP_TURNS_MAX = CHECKS_MAX / TOGETHER_MAX;
/** Own transactions that wait longer than this are gossiped again: the first time may have reached nobody. */
const REPEAT_AFTER_MS = 10_000;
/** What peers sent is waited for so long: whoever floods us holds up no proposal beyond it. */
const SETTLE_MS_MAX = 100;
/** What a batch of one takes beside it. */
const BATCH_FRAME_SIZE_BYTES = 16;
/** At most so many at once. */
const REPEAT_MAX = 256;
const NEVER = Number.NEGATIVE_INFINITY;

/** Whether a signature is to be checked, and for which account; or what came of it without. */
type Asked = { readonly account: SenderAccount } | { readonly outcome: Result<void, IntakeRefusal> };

/** See the file's head. */
export class Intake implements AsyncDisposable {
  readonly #parts: IntakeParts;
  readonly #batcher: Batcher;
  readonly #refused: Counter;
  /** Transactions that clients gave to this node and no block has, and when they were gossiped last. */
  readonly #own = new Map<Transaction, number>();
  /** The bytes of what waits: without what they came in, of which the rest may be refused. */
  readonly #slab = new Slab();
  #timer: Timer;
  #clientChecks = 0;
  readonly #gossipTurns = new Slots(GOSSIP_TURNS_MAX, Number.POSITIVE_INFINITY);
  /** When what waits came from a peer or was sent to them, by its bytes; of the last `SPREAD_MS_MAX`, the earliest first. */
  readonly #sent = new Map<Uint8Array, number>();
  /** Batches that are being taken in. */
  readonly #arriving = new Set<Promise<unknown>>();

  constructor(parts: IntakeParts) {
    this.#parts = parts;
    const { network, metrics } = parts;
    this.#batcher = new Batcher(network.limits, {
      publish: (batch, items) => {
        for (const item of items) this.#noteSent(item);
        return network.gossip("transactions").publish(batch);
      },
      clock: parts.clock,
      log: parts.log,
    });
    this.#refused = metrics.counter({ name: "mempool_refusals_total", help: "Transactions refused, by code", labels: ["code"] });
    metrics.gauge({
      name: "mempool_transactions_count",
      help: "Transactions that wait for a block",
      read: () => parts.mempool.count,
    });
    this.#timer = parts.clock.after(REPEAT_AFTER_MS, () => this.#repeat());
  }

  /** A client's transaction: its id once it waits for a block, or why it does not. The same one again is no error. */
  async submit(bytes: Uint8Array): Promise<Result<Hash, IntakeRefusal>> {
    const parsed = parseTransaction(this.#slab.copy(bytes));
    if (!parsed.ok) return fail({ code: parsed.error.code, field: parsed.error.field ?? "transaction" });
    const transaction = parsed.value;
    // One that no gossip message can carry would wait for this node alone to propose.
    if (transaction.bytes.length > this.#parts.network.limits.gossipTransactionsBytesMax - BATCH_FRAME_SIZE_BYTES)
      return fail({ code: "transaction_size", field: "transaction" });
    if (this.isVerified(transaction)) return ok(transaction.id);
    const taken = present((await this.#takeAll([transaction], "client"))[0], "outcome");
    return taken.ok ? ok(transaction.id) : taken;
  }

  /** A gossiped batch. */
  async receive(_from: string, bytes: Uint8Array): Promise<"accept" | "ignore" | "reject"> {
    const arriving = this.#receiveBatch(bytes);
    this.#arriving.add(arriving);
    try {
      return await arriving;
    } finally {
      this.#arriving.delete(arriving);
    }
  }

  /** What gossip has brought is taken in or refused, or takes too long. */
  async settled(): Promise<void> {
    if (this.#arriving.size === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#parts.clock.after(SETTLE_MS_MAX, resolve);
    await Promise.race([promise, Promise.allSettled(this.#arriving)]);
    timer.cancel();
  }

  /** What clients gave and no peer was sent goes out now: what is published next reaches each peer after it. */
  async flush(): Promise<void> {
    await this.#batcher.flush();
  }

  /** Transactions for a block, best first. */
  reap(limits: { readonly countMax: number; readonly sizeBytesMax: number }): readonly Transaction[] {
    return this.#parts.mempool.reap(limits);
  }

  /** Whether these very bytes, authorisation included, were checked on the way in. */
  isVerified(transaction: Transaction): boolean {
    const { mempool } = this.#parts;
    if (mempool.holds(transaction)) return true;
    const known = mempool.get(transaction.id);
    return known !== undefined && bytesEqual(known.bytes, transaction.bytes);
  }

  /** The transaction of this id that waits for a block. */
  waiting(id: Hash): Transaction | undefined {
    return this.#parts.mempool.get(id);
  }

  /**
   * How long ago this transaction was sent to peers, or came from one: infinite when that is long past, and `undefined` when gossip
   * has not brought it to them. The block that we are locked on outlives a crash, and the mempools of all who saw its transactions
   * do not.
   */
  sentAgoMs(transaction: Transaction): number | undefined {
    const waiting = this.#parts.mempool.get(transaction.id);
    if (waiting === undefined || this.#batcher.holds(waiting.bytes) || this.#own.get(waiting) === NEVER) return undefined;
    const sentAtMs = this.#sent.get(waiting.bytes);
    return sentAtMs === undefined ? Number.POSITIVE_INFINITY : this.#parts.clock.monotonicMs() - sentAtMs;
  }

  #noteSent(bytes: Uint8Array): void {
    const nowMs = this.#parts.clock.monotonicMs();
    for (const [first, atMs] of this.#sent) {
      if (nowMs - atMs < SPREAD_MS_MAX) break;
      this.#sent.delete(first);
    }
    // The map is in the order of the times.
    this.#sent.delete(bytes);
    this.#sent.set(bytes, nowMs);
  }

  /** Whether a block would have something to order. */
  hasWork(): boolean {
    // What waits behind a gap of nonces is no work: else anybody could have empty blocks made without end.
    return this.#parts.mempool.reap({ countMax: 1, sizeBytesMax: this.#parts.ledger.parameters.blockSizeBytesMax }).length > 0;
  }

  /** Takes out a transaction that could not be put into a block. */
  drop(transaction: Transaction, refusal: Coded & { readonly field?: string | undefined }): void {
    if (isRefusalCode(refusal.code))
      this.#parts.mempool.drop(transaction.id, { code: refusal.code, field: refusal.field ?? "transaction" });
  }

  /** Where a transaction that is in no block stands. */
  status(id: Hash): TransactionStatus {
    const where = this.#parts.mempool.why(id);
    if (where === undefined) return { kind: "unknown" };
    return where.kind === "waiting" ? { kind: "pending" } : { kind: "refused", ...where.refusal };
  }

  /** Follows a block. */
  onCommit({ block }: Commit): void {
    // A block has the objects of the mempool, as a rule: what it has of others goes with the next repetition.
    for (const transaction of block.transactions) this.#own.delete(transaction);
    this.#parts.mempool.commit({ height: block.header.height, transactions: block.transactions }, (sender) =>
      this.#accountOf(sender),
    );
  }

  /** Follows a block that was undone: what it ordered waits again, as far as it still may. Its signatures were checked. */
  onRollback(undone: Block): void {
    const { ledger, mempool } = this.#parts;
    mempool.undo(undone, (sender) => this.#accountOf(sender));
    for (const transaction of undone.transactions) {
      const admitted = ledger.admit(transaction);
      if (admitted.ok) mempool.add(transaction, admitted.value);
      else mempool.refuse(transaction.id, admitted.error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#timer.cancel();
    await this.#batcher[Symbol.asyncDispose]();
  }

  async #receiveBatch(bytes: Uint8Array): Promise<"accept" | "ignore" | "reject"> {
    const batch = parseBatch(bytes, this.#parts.network.limits);
    if (!batch.ok) return "reject";
    let isNew = false;
    // No honest node passes on a batch with a bad transaction in it: the first few with one end the work.
    for (let from = 0; from < batch.value.length; from += TOGETHER_MAX) {
      const verdict = await this.#receiveSome(batch.value.slice(from, from + TOGETHER_MAX));
      if (verdict === "reject") return verdict;
      isNew ||= verdict === "accept";
    }
    return isNew ? "accept" : "ignore";
  }

  async #receiveSome(items: readonly Uint8Array[]): Promise<"accept" | "ignore" | "reject"> {
    const transactions: Transaction[] = [];
    for (const item of items) {
      const parsed = parseTransaction(this.#slab.copy(item));
      if (!parsed.ok) return "reject";
      if (!this.isVerified(parsed.value)) transactions.push(parsed.value);
    }
    if (transactions.length === 0) return "ignore";
    await this.#gossipTurns.take();
    let taken: readonly Result<void, IntakeRefusal>[];
    try {
      // Others may have brought some meanwhile.
      const unknown = transactions.filter((transaction) => !this.isVerified(transaction));
      taken = await this.#takeAll(unknown, "gossip");
    } finally {
      this.#gossipTurns.give();
    }
    // Any other refusal may be true of our state and not yet, or no longer, of the sender's.
    if (taken.some((each) => !each.ok && each.error.code === "signature_invalid")) return "reject";
    return taken.some(({ ok: isTaken }) => isTaken) ? "accept" : "ignore";
  }

  /** Takes some in, in their order: their signatures are one question. */
  async #takeAll(transactions: readonly Transaction[], from: Origin): Promise<readonly Result<void, IntakeRefusal>[]> {
    const head = this.#parts.ledger.head();
    const asked: Asked[] = [];
    const toVerify: Transaction[] = [];
    for (const transaction of transactions) {
      const isBusy = from === "client" && this.#clientChecks + toVerify.length >= CHECKS_MAX;
      const answer = this.#ask(transaction, from, isBusy);
      asked.push(answer);
      if ("account" in answer) toVerify.push(transaction);
    }
    // Not before all are asked about: reading the state may fail, and what is counted here must end.
    if (from === "client") this.#clientChecks += toVerify.length;
    let valid: readonly boolean[];
    try {
      const signed = toVerify.map(({ authorisation, id }) => ({ authorisation, message: id }));
      valid = await verifyAuthorisations(signed, this.#parts.verify);
    } finally {
      if (from === "client") this.#clientChecks -= toVerify.length;
    }
    let verified = 0;
    let entered = 0;
    const outcomes = transactions.map((transaction, index) => {
      const answer = present(asked[index], "what was asked");
      if (!("account" in answer)) return answer.outcome;
      const isSigned = valid[verified++] === true;
      if (!isSigned) return this.#refuse(transaction, { code: "signature_invalid", field: "authorisation" });
      const taken = this.#enter(transaction, answer.account, { admittedOn: head, from });
      if (!taken.ok) return taken;
      if (from === "gossip") this.#noteSent(transaction.bytes);
      // With a full queue it goes out with the next repetition.
      else this.#own.set(transaction, this.#batcher.add(transaction.bytes) ? this.#parts.clock.monotonicMs() : NEVER);
      entered += 1;
      return taken;
    });
    if (entered > 0) this.#parts.onWork();
    return outcomes;
  }

  /** Asks state and mempool, before the signature is checked. */
  #ask(transaction: Transaction, from: Origin, isBusy: boolean): Asked {
    const { ledger, mempool } = this.#parts;
    const admitted = ledger.admit(transaction);
    if (!admitted.ok) return { outcome: this.#refuse(transaction, admitted.error) };
    // Under overload most have no place, and are told so for a tenth of what their signatures would cost.
    const checked = mempool.check(transaction, admitted.value, from);
    if (!checked.ok) return { outcome: this.#noPlace(checked.error) };
    if (isBusy) return { outcome: fail({ code: "mempool_busy", field: "transaction" }) };
    return { account: admitted.value };
  }

  /** Takes in one whose signature is good, and that was admitted on the head of then. */
  #enter(
    transaction: Transaction,
    account: SenderAccount,
    { admittedOn, from }: { readonly admittedOn: Head; readonly from: Origin },
  ): Result<void, IntakeRefusal> {
    const { ledger, mempool } = this.#parts;
    // Only a block changes what was admitted.
    const admitted = ledger.head() === admittedOn ? ok(account) : ledger.admit(transaction);
    if (!admitted.ok) return this.#refuse(transaction, admitted.error);
    const added = mempool.add(transaction, admitted.value, from);
    if (!added.ok) return this.#noPlace(added.error);
    return ok(undefined);
  }

  #noPlace(refusal: MempoolRefusal): Result<void, IntakeRefusal> {
    // Its twin came in while this one was being checked.
    if (refusal.code === "mempool_known") return ok(undefined);
    this.#refused.add(1, { code: refusal.code });
    return fail(refusal);
  }

  #refuse(transaction: Transaction, refusal: Parameters<Mempool["refuse"]>[1]): Result<void, IntakeRefusal> {
    this.#refused.add(1, { code: refusal.code });
    // A bad signature says nothing about the id: whoever can sign it may still send it.
    if (refusal.code !== "signature_invalid") this.#parts.mempool.refuse(transaction.id, refusal);
    return fail(refusal);
  }

  #accountOf(sender: Address): SenderAccount {
    const { ledger } = this.#parts;
    const bytes = ledger.state(ledger.head().height)?.get(accountKey(sender));
    return bytes === undefined ? ACCOUNT_EMPTY : ownRow(parseAccount(bytes), "account");
  }

  /** Gossips again what waits too long, and forgets what no longer waits. */
  #repeat(): void {
    const nowMs = this.#parts.clock.monotonicMs();
    let repeated = 0;
    for (const [transaction, atMs] of this.#own) {
      if (this.#parts.mempool.get(transaction.id) !== transaction) this.#own.delete(transaction);
      else if (nowMs - atMs >= REPEAT_AFTER_MS && repeated < REPEAT_MAX && this.#batcher.add(transaction.bytes)) {
        this.#own.set(transaction, nowMs);
        repeated += 1;
      }
    }
    this.#timer = this.#parts.clock.after(REPEAT_AFTER_MS, () => this.#repeat());
  }
}
