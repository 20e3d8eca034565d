/**
 * A lane: the waiting transactions of one sender, in the order of their nonces.
 *
 * Those from the sender's next nonce on without a gap are ready; the rest wait for what is missing. A transaction
 * cannot be included before those in front of it, so it is worth no more than the least of them: `worth` is the least
 * price from the front of the lane to it, and zero behind a gap.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import type { Transaction } from "../block/transaction.ts";
import { PRICE_SCALE } from "./limits.ts";

/** One waiting transaction. */
export type Entry = {
  readonly transaction: Transaction;
  /** `bytesName` of the id. */
  readonly id: string;
  readonly lane: Lane;
  /** Counts admissions: the earlier, the lower. */
  readonly arrival: number;
  /** Fee a byte, in millionths. */
  readonly price: bigint;
};

/** Fee a byte, in millionths, rounded down. */
export function priceOf(transaction: Transaction): bigint {
  return (transaction.body.fee * PRICE_SCALE) / BigInt(transaction.bytes.length);
}

/** See the file's head. */
export class Lane {
  /** `bytesName` of the sender's address. */
  readonly sender: string;
  readonly #entries: Entry[] = [];
  /** The least price up to each entry, as far as it has been reckoned since the last change. */
  readonly #leasts: bigint[] = [];
  #nonce: bigint;
  #balance: bigint;
  #feesTotal = 0n;
  #sizeBytes = 0;
  #revision = 0;
  /** `readyCount` of a revision: it is asked for several times between two changes. */
  #ready = { revision: 0, count: 0 };

  constructor(sender: string, account: { readonly nonce: bigint; readonly balance: bigint }) {
    this.sender = sender;
    this.#nonce = account.nonce;
    this.#balance = account.balance;
  }

  /** In nonce order. */
  get entries(): readonly Entry[] {
    return this.#entries;
  }

  /** The sender's next nonce in the state. */
  get nonce(): bigint {
    return this.#nonce;
  }

  /** Bytes of all its transactions. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Changes with every change of the lane. */
  get revision(): number {
    return this.#revision;
  }

  /** The nonce after the last ready one: what the sender's next transaction should have. */
  get nextNonce(): bigint {
    return this.#nonce + BigInt(this.readyCount());
  }

  /** How many entries from the front follow the sender's nonce without a gap. */
  readyCount(): number {
    if (this.#ready.revision !== this.#revision) {
      this.#ready = { revision: this.#revision, count: this.#countReady() };
    }
    return this.#ready.count;
  }

  #countReady(): number {
    const { length } = this.#entries;
    // Mostly nothing is missing, which the last one shows: no two have the same nonce.
    if ((this.#entries[length - 1]?.transaction.body.nonce ?? 0n) < this.#nonce + BigInt(length)) return length;
    // Nonces ascend, so what is ahead of its place stays ahead: the first such entry is found by halving.
    return this.#firstWhere((nonce, index) => nonce > this.#nonce + BigInt(index));
  }

  at(nonce: bigint): Entry | undefined {
    const entry = this.#entries[this.#placeOf(nonce)];
    return entry?.transaction.body.nonce === nonce ? entry : undefined;
  }

  /** The last entry: the one that can go without stranding another. */
  tail(): Entry | undefined {
    return this.#entries.at(-1);
  }

  /** Whether one with this nonce would be the last. */
  isBehindAll(nonce: bigint): boolean {
    const tail = this.tail();
    return tail === undefined || tail.transaction.body.nonce < nonce;
  }

  /** What the lane's tail is worth. */
  tailWorth(): bigint {
    return this.readyCount() < this.#entries.length ? 0n : (this.#leastBefore(this.#entries.length) ?? 0n);
  }

  /** What a transaction with this nonce and price would be worth here. */
  worthAt(nonce: bigint, price: bigint): bigint {
    if (nonce > this.nextNonce) return 0n;
    const least = this.#leastBefore(this.#placeOf(nonce));
    return least !== undefined && least < price ? least : price;
  }

  /** Whether the sender's balance covers the fees of all that waits, with `added` more and `removed` less. */
  canPay(added: bigint, removed: bigint): boolean {
    return this.#feesTotal + added - removed <= this.#balance;
  }

  /** Puts an entry in its place, which must be free. */
  insert(entry: Entry): void {
    const { nonce, fee } = entry.transaction.body;
    const index = this.#placeOf(nonce);
    assert(this.#entries[index]?.transaction.body.nonce !== nonce, "nonce {} is taken", nonce);
    this.#entries.splice(index, 0, entry);
    this.#leasts.length = Math.min(this.#leasts.length, index);
    this.#feesTotal += fee;
    this.#sizeBytes += entry.transaction.bytes.length;
    this.#revision += 1;
  }

  remove(entry: Entry): void {
    const index = this.#placeOf(entry.transaction.body.nonce);
    assert(this.#entries[index] === entry, "the entry is not in its lane");
    this.#entries.splice(index, 1);
    this.#leasts.length = Math.min(this.#leasts.length, index);
    this.#feesTotal -= entry.transaction.body.fee;
    this.#sizeBytes -= entry.transaction.bytes.length;
    this.#revision += 1;
  }

  /** Whether following this account would change nothing. */
  hasFollowed(account: { readonly nonce: bigint; readonly balance: bigint }): boolean {
    return account.nonce <= this.#nonce && account.balance === this.#balance;
  }

  /** Follows the sender's account. Nonces never go back. */
  follow(account: { readonly nonce: bigint; readonly balance: bigint }): void {
    if (account.nonce > this.#nonce) this.#nonce = account.nonce;
    this.#balance = account.balance;
    this.#revision += 1;
  }

  /** The chain undid blocks: the account is an earlier one. */
  goBack(account: { readonly nonce: bigint; readonly balance: bigint }): void {
    this.#nonce = account.nonce;
    this.#balance = account.balance;
    this.#revision += 1;
  }

  /** The entries whose nonces have passed, or that the balance no longer covers, least useful first. */
  stale(): { readonly used: readonly Entry[]; readonly unpaid: readonly Entry[] } {
    const used = this.#entries.slice(0, this.#placeOf(this.#nonce));
    let fees = this.#feesTotal - used.reduce((total, { transaction }) => total + transaction.body.fee, 0n);
    const unpaid: Entry[] = [];
    for (let index = this.#entries.length - 1; index >= used.length && fees > this.#balance; index -= 1) {
      const entry = present(this.#entries[index], "entry");
      unpaid.push(entry);
      fees -= entry.transaction.body.fee;
    }
    return { used, unpaid };
  }

  /** The least price of the first `count` entries; `undefined` of none. */
  #leastBefore(count: number): bigint | undefined {
    for (let index = this.#leasts.length; index < count; index += 1) {
      const { price } = present(this.#entries[index], "entry");
      const before = this.#leasts[index - 1];
      this.#leasts.push(before === undefined || price < before ? price : before);
    }
    return this.#leasts[count - 1];
  }

  /** Where an entry with this nonce is, or would be put. */
  #placeOf(nonce: bigint): number {
    // Mostly it comes after all, or is the first to go.
    const { length } = this.#entries;
    if ((this.#entries[length - 1]?.transaction.body.nonce ?? -1n) < nonce) return length;
    if (present(this.#entries[0], "entry").transaction.body.nonce >= nonce) return 0;
    return this.#firstWhere((other) => other >= nonce);
  }

  /** The first entry for which `holds`, which also holds for all after it; their count when it holds for none. */
  #firstWhere(holds: (nonce: bigint, index: number) => boolean): number {
    let [low, high] = [0, this.#entries.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (holds(present(this.#entries[middle], "entry").transaction.body.nonce, middle)) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
