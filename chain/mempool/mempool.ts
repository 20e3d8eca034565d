/**
 * The mempool: transactions that wait for a block.
 *
 * It does no I/O and has no clock; heights come in with each call. Whoever calls has checked the signature and asked
 * the executor (`admit`) about the state; the mempool adds what only it can know: duplicates, gaps, replacements, what
 * one sender's transactions cost together, and who must go when it is full.
 *
 * A transaction's life: `add` -> waiting -> `reap` (it stays) -> `commit` takes it out as included. Otherwise it
 * leaves as refused: expired, its nonce used by another, replaced, evicted, no longer covered, or dropped by the
 * proposer (`drop`). Why a transaction was refused is remembered for the last `refusedMax` of them.
 */

import { assert } from "../../crypto/base/assert.ts";
import { bytesName } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { RefusalCode } from "../block/errors.ts";
import type { Height } from "../block/height.ts";
import type { Transaction } from "../block/transaction.ts";
import { Heap } from "./heap.ts";
import { type Entry, Lane, priceOf } from "./lane.ts";
import { MEMPOOL_LIMITS_DEFAULT, type MempoolLimits, REPLACEMENT_DENOMINATOR, REPLACEMENT_NUMERATOR } from "./limits.ts";

/** Why a transaction does not wait (any longer), and the field at fault. */
export type MempoolRefusal = { readonly code: RefusalCode; readonly field: string };

/** What the mempool knows of the sender: `Executor.admit` gives it, and the state after each block. */
export type SenderAccount = { readonly nonce: bigint; readonly balance: bigint };

/** What the mempool can say of an id. */
export type Whereabouts =
  /** `ahead` counts the nonces that are missing before it; 0 means that the next block may take it. */
  { readonly kind: "waiting"; readonly ahead: number } | { readonly kind: "refused"; readonly refusal: MempoolRefusal };

/** What admitting one transaction did to others. */
export type Added = { readonly replaced: Transaction | undefined; readonly evicted: readonly Transaction[] };

/** What a block costs beyond a transaction's own bytes: the head of its byte string. */
const ENVELOPE_SIZE_BYTES = 5;
/** The eviction heap holds outdated positions; it is made anew when it is so many times the lanes. */
const HEAP_SLACK = 4;

/** Where a transaction comes from: a client has fewer places than gossip (`clientPerSenderMax` and what is beside it). */
export type Origin = "client" | "gossip";

/** What may wait. */
type Bounds = {
  readonly countMax: number;
  readonly sizeBytesMax: number;
  readonly perSenderMax: number;
  readonly perSenderSizeBytesMax: number;
  /** How far from a sender's nonce one may be. Never further than there are places: the nonce that all others wait for always has one left. */
  readonly gap: bigint;
};

/** Who goes for another. */
type Going = { readonly replaced: Entry | undefined; readonly evicted: readonly Entry[] };
const NOBODY_GOES: Result<Going, never> = ok({ replaced: undefined, evicted: [] });
const NOBODY_WENT: Result<Added, never> = ok({ replaced: undefined, evicted: [] });

type TailPosition = { readonly lane: Lane; readonly revision: number; readonly worth: bigint; readonly arrival: number };
type Cursor = { readonly lane: Lane; readonly entry: Entry; readonly position: number; readonly ready: number };

/** See the file's head. */
export class Mempool {
  readonly #limits: MempoolLimits;
  readonly #bounds: { readonly client: Bounds; readonly gossip: Bounds };
  readonly #entries = new Map<string, Entry>();
  /** The same by the object: a block that was read with what waits here has it too. */
  readonly #objects = new Map<Transaction, Entry>();
  readonly #lanes = new Map<string, Lane>();
  readonly #refused = new Map<string, MempoolRefusal>();
  /** Every lane's tail, least worth first; `undefined` for as long as nobody has had to go. */
  #tails: Heap<TailPosition> | undefined;
  #sizeBytes = 0;
  #arrivals = 0;

  constructor(limits: Partial<MempoolLimits> = {}) {
    this.#limits = { ...MEMPOOL_LIMITS_DEFAULT, ...limits };
    const { countMax, sizeBytesMax, perSenderMax, perSenderSizeBytesMax, nonceGapMax, ...client } = this.#limits;
    const gapOf = (placesMax: number): bigint => BigInt(Math.min(nonceGapMax, placesMax));
    const gossip = { countMax, sizeBytesMax, perSenderMax, perSenderSizeBytesMax, gap: gapOf(perSenderMax) };
    const clientPerSenderMax = Math.min(perSenderMax, client.clientPerSenderMax);
    this.#bounds = {
      gossip,
      client: {
        countMax: Math.min(countMax, client.clientCountMax),
        sizeBytesMax: Math.min(sizeBytesMax, client.clientSizeBytesMax),
        perSenderMax: clientPerSenderMax,
        perSenderSizeBytesMax: Math.min(perSenderSizeBytesMax, client.clientPerSenderSizeBytesMax),
        gap: gapOf(clientPerSenderMax),
      },
    };
  }

  /** Transactions waiting. */
  get count(): number {
    return this.#entries.size;
  }

  /** Bytes of the transactions waiting. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Whether this very object waits: quicker than `get`, and `false` says nothing. */
  holds(transaction: Transaction): boolean {
    return this.#objects.has(transaction);
  }

  get(id: Hash): Transaction | undefined {
    return this.#entries.get(bytesName(id))?.transaction;
  }

  /** In the order of arrival, for gossip to those who come later. */
  *transactions(): IterableIterator<Transaction> {
    for (const { transaction } of this.#entries.values()) yield transaction;
  }

  /** The nonce that a sender's next transaction should have, what waits included; `undefined` when nothing does. */
  nextNonce(sender: Address): bigint | undefined {
    return this.#lanes.get(bytesName(sender))?.nextNonce;
  }

  /**
   * Where a transaction is, or why it is not; `undefined` for one that was never seen, or was included, or forgotten.
   * Ask the ledger first: one that was included and then sent again is refused here, as a nonce used.
   */
  why(id: Hash): Whereabouts | undefined {
    const key = bytesName(id);
    const entry = this.#entries.get(key);
    if (entry !== undefined) return { kind: "waiting", ahead: missingBefore(entry) };
    const refusal = this.#refused.get(key);
    return refusal === undefined ? undefined : { kind: "refused", refusal };
  }

  /**
   * Takes in a transaction that the executor admitted.
   *
   * @param account - the sender's, as the executor found it in the newest state
   * @param from - a client has fewer places
   * @returns what had to go for it, or why it may not wait; a refusal is remembered
   */
  add(transaction: Transaction, account: SenderAccount, from: Origin = "gossip"): Result<Added, MempoolRefusal> {
    const id = bytesName(transaction.id);
    if (this.#entries.has(id)) return fail({ code: "mempool_known", field: "id" });
    const lane = this.#laneOf(transaction.body.sender, account);
    const judged = this.#judge(lane, transaction, from);
    if (!judged.ok) {
      this.#remember(id, judged.error);
      if (lane.entries.length === 0) this.#lanes.delete(lane.sender);
      return judged;
    }
    const { replaced, evicted } = judged.value;
    if (replaced !== undefined) this.#leave(replaced, { code: "mempool_replaced", field: "nonce" });
    for (const entry of evicted) this.#leave(entry, { code: "mempool_evicted", field: "fee" });
    this.#enter(lane, transaction, id);
    if (judged === NOBODY_GOES) return NOBODY_WENT;
    return ok({ replaced: replaced?.transaction, evicted: evicted.map((entry) => entry.transaction) });
  }

  /**
   * Whether there is a place for a transaction now: for asking before its signature is checked, which costs more than all else.
   * One whose id waits already is not refused: only the signature tells its twin from a forgery. A refusal is remembered.
   */
  check(transaction: Transaction, account: SenderAccount, from: Origin): Result<void, MempoolRefusal> {
    const id = bytesName(transaction.id);
    if (this.#entries.has(id)) return ok(undefined);
    // As `add` does: the lane follows the account of now. Of a sender who has nothing waiting there is none to follow.
    const key = bytesName(transaction.body.sender);
    const known = this.#lanes.get(key);
    const lane = known === undefined ? new Lane(key, account) : this.#followed(known, account);
    const judged = this.#judge(lane, transaction, from);
    if (lane.entries.length === 0) this.#lanes.delete(lane.sender);
    if (judged.ok) return ok(undefined);
    this.#remember(id, judged.error);
    return judged;
  }

  /** Remembers a transaction that was refused before it came here: by its signature, or by the executor. */
  refuse(id: Hash, refusal: MempoolRefusal): void {
    this.#remember(bytesName(id), refusal);
  }

  /** Takes out a transaction that a proposer could not include. */
  drop(id: Hash, refusal: MempoolRefusal): void {
    const entry = this.#entries.get(bytesName(id));
    if (entry !== undefined) this.#leave(entry, refusal);
  }

  /**
   * Transactions for a block, in an order in which they can be included: by price, each sender's in nonce order; at
   * one price the sender who has fewer in the block comes first, then who came first. They stay in the mempool.
   */
  reap(limits: { readonly countMax: number; readonly sizeBytesMax: number }): Transaction[] {
    const heads = new Heap<Cursor>(byPrice);
    for (const lane of this.#lanes.values()) pushCursor(heads, lane, 0, lane.readyCount());
    const taken: Transaction[] = [];
    let sizeBytes = 0;
    while (taken.length < limits.countMax) {
      const cursor = heads.pop();
      if (cursor === undefined) break;
      const { transaction } = cursor.entry;
      const cost = transaction.bytes.length + ENVELOPE_SIZE_BYTES;
      // What follows in this lane cannot go without it, so the lane is done; smaller ones of others may still fit.
      if (sizeBytes + cost > limits.sizeBytesMax) continue;
      sizeBytes += cost;
      taken.push(transaction);
      pushCursor(heads, cursor.lane, cursor.position + 1, cursor.ready);
    }
    return taken;
  }

  /**
   * Follows a block: takes out what it included, what its nonces made impossible, what expired, and what its senders
   * can no longer pay.
   *
   * @param accountOf - a sender's account in the state after the block
   */
  commit(
    block: { readonly height: Height; readonly transactions: readonly Transaction[] },
    accountOf: (sender: Address) => SenderAccount,
  ): void {
    const senders = new Map<string, Address>();
    for (const transaction of block.transactions) {
      const { id, body } = transaction;
      const entry = this.#objects.get(transaction) ?? this.#entries.get(bytesName(id));
      senders.set(entry?.lane.sender ?? bytesName(body.sender), body.sender);
      this.#refused.delete(entry?.id ?? bytesName(id));
      // The lane's new tail is noted below, once for all that it loses.
      if (entry !== undefined) this.#takeOut(entry);
    }
    for (const [key, sender] of senders) {
      const lane = this.#lanes.get(key);
      if (lane !== undefined) this.#follow(lane, accountOf(sender));
    }
    const { countMax, sizeBytesMax } = this.#limits;
    // Far from full, the heap is not kept up; who must go next is found anew when it comes to that.
    if (this.#entries.size * 2 < countMax && this.#sizeBytes * 2 < sizeBytesMax) this.#tails = undefined;
    for (const entry of this.#entries.values()) {
      if (entry.transaction.body.expiry <= block.height) this.#leave(entry, { code: "transaction_expired", field: "expiry" });
    }
  }

  /**
   * Follows a block that was undone: what its senders have waiting follows their earlier nonces again. What the block
   * ordered is for the caller to `add`, oldest first.
   *
   * @param accountOf - a sender's account in the state before the block
   */
  undo(block: { readonly transactions: readonly Transaction[] }, accountOf: (sender: Address) => SenderAccount): void {
    for (const { body } of block.transactions) {
      const lane = this.#lanes.get(bytesName(body.sender));
      if (lane === undefined) continue;
      lane.goBack(accountOf(body.sender));
      this.#follow(lane, accountOf(body.sender));
    }
  }

  /** The rules that only the mempool knows. Changes nothing. */
  #judge(lane: Lane, transaction: Transaction, from: Origin): Result<Going, MempoolRefusal> {
    const { nonce, fee } = transaction.body;
    // Others have what stands behind it, and so a place for it.
    const bounds = this.#bounds[lane.isBehindAll(nonce) ? from : "gossip"];
    if (nonce < lane.nonce) return fail({ code: "nonce_used", field: "nonce" });
    if (nonce - lane.nonce >= bounds.gap) {
      const isFull = lane.entries.length >= bounds.perSenderMax;
      return isFull
        ? fail({ code: "mempool_sender_full", field: "sender" })
        : fail({ code: "mempool_nonce_gap", field: "nonce" });
    }
    const { nextNonce } = lane;
    const replaced = lane.at(nonce);
    // Mostly it takes nobody's place: it follows what waits, or will once those are in that were asked about before it.
    const isBeside = replaced === undefined && (nonce !== nextNonce || lane.readyCount() === lane.entries.length);
    if (isBeside && this.#hasRoom(lane, transaction, bounds))
      return lane.canPay(fee, 0n) ? NOBODY_GOES : fail({ code: "balance_insufficient", field: "fee" });
    if (replaced !== undefined && !outbids(transaction, replaced)) return fail({ code: "mempool_replacement_fee", field: "fee" });
    // What waits behind a gap gives way to the one that it waits for, in places (an undone block opens a gap before a full lane),
    // in bytes and in fees.
    const behind = nonce === nextNonce ? lane.entries.slice(lane.readyCount()) : [];
    const given: Entry[] = [];
    let laneSizeBytes = lane.sizeBytes + transaction.bytes.length - (replaced?.transaction.bytes.length ?? 0);
    let feesGiven = replaced?.transaction.body.fee ?? 0n;
    const isTooLarge = (): boolean =>
      laneSizeBytes > bounds.perSenderSizeBytesMax ||
      (replaced === undefined && lane.entries.length - given.length >= bounds.perSenderMax);
    for (let last = behind.pop(); last !== undefined && (isTooLarge() || !lane.canPay(fee, feesGiven)); last = behind.pop()) {
      given.push(last);
      laneSizeBytes -= last.transaction.bytes.length;
      feesGiven += last.transaction.body.fee;
    }
    if (isTooLarge()) return fail({ code: "mempool_sender_full", field: "sender" });
    if (!lane.canPay(fee, feesGiven)) return fail({ code: "balance_insufficient", field: "fee" });
    const evicted = this.#makeRoom(lane, transaction, replaced === undefined ? given : [replaced], bounds);
    return evicted === undefined
      ? fail({ code: "mempool_full", field: "fee" })
      : ok({ replaced, evicted: [...given, ...evicted] });
  }

  /** Whether one more fits, in its lane and beside all others. */
  #hasRoom(lane: Lane, { bytes }: Transaction, bounds: Bounds): boolean {
    const { perSenderMax, perSenderSizeBytesMax, countMax, sizeBytesMax } = bounds;
    const isInLane = lane.entries.length < perSenderMax && lane.sizeBytes + bytes.length <= perSenderSizeBytesMax;
    return isInLane && this.#entries.size < countMax && this.#sizeBytes + bytes.length <= sizeBytesMax;
  }

  /**
   * Who of other lanes must go so that this one fits: tails worth strictly less than it; `undefined` when they do not
   * suffice.
   *
   * @param given - of its own lane, what goes anyway
   */
  #makeRoom(lane: Lane, transaction: Transaction, given: readonly Entry[], bounds: Bounds): readonly Entry[] | undefined {
    // What gossip has brought beyond a client's bounds stays: no more goes than what comes.
    let count = this.#entries.size + 1 - given.length - Math.max(bounds.countMax, this.#entries.size);
    let sizeBytes = this.#sizeBytes + transaction.bytes.length - Math.max(bounds.sizeBytesMax, this.#sizeBytes);
    for (const entry of given) sizeBytes -= entry.transaction.bytes.length;
    if (count <= 0 && sizeBytes <= 0) return [];
    const worth = lane.worthAt(transaction.body.nonce, priceOf(transaction));
    const victims: Entry[] = [];
    const skipped: TailPosition[] = [];
    const tails = (this.#tails ??= this.#allTails());
    while (count > 0 || sizeBytes > 0) {
      const position = leastTail(tails);
      if (position === undefined || position.worth >= worth) break;
      skipped.push(position);
      tails.pop();
      // One a lane and admission: what stands before it is worth as much, and its turn comes with the next one.
      if (position.lane === lane) continue;
      const victim = position.lane.tail();
      assert(victim !== undefined, "an empty lane in the heap");
      victims.push(victim);
      count -= 1;
      sizeBytes -= victim.transaction.bytes.length;
    }
    // Nothing has changed yet: the positions are still true until the victims leave.
    for (const position of skipped) tails.push(position);
    return count > 0 || sizeBytes > 0 ? undefined : victims;
  }

  #laneOf(sender: Address, account: SenderAccount): Lane {
    const key = bytesName(sender);
    const known = this.#lanes.get(key);
    if (known === undefined) {
      const lane = new Lane(key, account);
      this.#lanes.set(key, lane);
      return lane;
    }
    return this.#followed(known, account);
  }

  #followed(known: Lane, account: SenderAccount): Lane {
    if (known.hasFollowed(account)) return known;
    this.#follow(known, account);
    // Following may have emptied it, and then it is no longer in the table.
    this.#lanes.set(known.sender, known);
    return known;
  }

  #follow(lane: Lane, account: SenderAccount): void {
    lane.follow(account);
    const { used, unpaid } = lane.stale();
    for (const entry of used) this.#leave(entry, { code: "nonce_used", field: "nonce" });
    for (const entry of unpaid) this.#leave(entry, { code: "balance_insufficient", field: "fee" });
    this.#noteTail(lane);
  }

  #enter(lane: Lane, transaction: Transaction, id: string): void {
    this.#arrivals += 1;
    const entry: Entry = { transaction, id, lane, arrival: this.#arrivals, price: priceOf(transaction) };
    this.#lanes.set(lane.sender, lane);
    lane.insert(entry);
    this.#entries.set(id, entry);
    this.#objects.set(transaction, entry);
    this.#refused.delete(id);
    this.#sizeBytes += transaction.bytes.length;
    this.#noteTail(lane);
    assert(
      this.#entries.size <= this.#limits.countMax && this.#sizeBytes <= this.#limits.sizeBytesMax,
      "the mempool is over its bounds",
    );
  }

  /** Takes out an entry that is refused. */
  #leave(entry: Entry, refusal: MempoolRefusal): void {
    this.#remove(entry);
    this.#remember(entry.id, refusal);
  }

  #remove(entry: Entry): void {
    this.#takeOut(entry);
    if (entry.lane.entries.length > 0) this.#noteTail(entry.lane);
  }

  #takeOut(entry: Entry): void {
    entry.lane.remove(entry);
    this.#entries.delete(entry.id);
    this.#objects.delete(entry.transaction);
    this.#sizeBytes -= entry.transaction.bytes.length;
    if (entry.lane.entries.length === 0) this.#lanes.delete(entry.lane.sender);
  }

  /** Tells the eviction heap, where there is one, about a lane's tail of now. */
  #noteTail(lane: Lane): void {
    if (this.#tails === undefined) return;
    if (this.#tails.size > HEAP_SLACK * (this.#lanes.size + 1)) this.#tails = this.#allTails();
    else pushTail(this.#tails, lane);
  }

  #allTails(): Heap<TailPosition> {
    const tails = new Heap<TailPosition>(byWorth);
    for (const lane of this.#lanes.values()) pushTail(tails, lane);
    return tails;
  }

  #remember(id: string, refusal: MempoolRefusal): void {
    this.#refused.delete(id);
    this.#refused.set(id, refusal);
    if (this.#refused.size <= this.#limits.refusedMax) return;
    const [oldest] = this.#refused.keys();
    if (oldest !== undefined) this.#refused.delete(oldest);
  }
}

/** The lane whose tail is worth least, its position checked to be of now. */
function leastTail(tails: Heap<TailPosition>): TailPosition | undefined {
  for (;;) {
    const position = tails.peek();
    if (position === undefined) return undefined;
    if (position.revision === position.lane.revision && position.lane.entries.length > 0) return position;
    tails.pop();
  }
}

function pushTail(tails: Heap<TailPosition>, lane: Lane): void {
  const tail = lane.tail();
  if (tail !== undefined) tails.push({ lane, revision: lane.revision, worth: lane.tailWorth(), arrival: tail.arrival });
}

/** Least worth first; of equals, the youngest. */
function byWorth(a: TailPosition, b: TailPosition): number {
  if (a.worth !== b.worth) return a.worth < b.worth ? -1 : 1;
  return b.arrival - a.arrival;
}

/** Highest price first; then who has fewer in the block; then who came first. */
function byPrice(a: Cursor, b: Cursor): number {
  if (a.entry.price !== b.entry.price) return a.entry.price > b.entry.price ? -1 : 1;
  return a.position - b.position || a.entry.arrival - b.entry.arrival;
}

function pushCursor(heads: Heap<Cursor>, lane: Lane, position: number, ready: number): void {
  const entry = position < ready ? lane.entries[position] : undefined;
  if (entry !== undefined) heads.push({ lane, entry, position, ready });
}

/** Whether a transaction offers enough more than the one whose nonce it takes. */
function outbids(transaction: Transaction, replaced: Entry): boolean {
  const isMore = (offered: bigint, had: bigint): boolean =>
    offered > had && offered * REPLACEMENT_DENOMINATOR >= had * REPLACEMENT_NUMERATOR;
  return isMore(transaction.body.fee, replaced.transaction.body.fee) && isMore(priceOf(transaction), replaced.price);
}

/** How many nonces are missing between the sender's next one and this entry's. */
function missingBefore(entry: Entry): number {
  const { lane } = entry;
  return Number(entry.transaction.body.nonce - lane.nonce) - lane.entries.indexOf(entry);
}
