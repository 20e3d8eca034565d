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
  /** The id in hex. */
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
  /** The sender's address in hex. */
  readonly sender: string;
  readonly #entries: Entry[] = [];
  #nonce: bigint;
  #balance: bigint;
  #feesTotal = 0n;
  #sizeBytes = 0;
  #revision = 0;

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
    const gap = this.#entries.findIndex(({ transaction }, index) => transaction.body.nonce !== this.#nonce + BigInt(index));
    return gap === -1 ? this.#entries.length : gap;
  }

  at(nonce: bigint): Entry | undefined {
    return this.#entries.find(({ transaction }) => transaction.body.nonce === nonce);
  }

  /** The last entry: the one that can go without stranding another. */
  tail(): Entry | undefined {
    return this.#entries.at(-1);
  }

  /** What the lane's tail is worth. */
  tailWorth(): bigint {
    if (this.readyCount() < this.#entries.length) return 0n;
    return this.#entries.reduce((least, { price }, index) => (index === 0 || price < least ? price : least), 0n);
  }

  /** What a transaction with this nonce and price would be worth here. */
  worthAt(nonce: bigint, price: bigint): bigint {
    if (nonce > this.nextNonce) return 0n;
    return this.#entries.reduce(
      (least, entry) => (entry.transaction.body.nonce < nonce && entry.price < least ? entry.price : least),
      price,
    );
  }

  /** Whether the sender's balance covers the fees of all that waits, with `added` more and `removed` less. */
  canPay(added: bigint, removed: bigint): boolean {
    return this.#feesTotal + added - removed <= this.#balance;
  }

  /** Puts an entry in its place, which must be free. */
  insert(entry: Entry): void {
    const { nonce, fee } = entry.transaction.body;
    const after = this.#entries.findIndex(({ transaction }) => transaction.body.nonce >= nonce);
    const index = after === -1 ? this.#entries.length : after;
    assert(this.#entries[index]?.transaction.body.nonce !== nonce, `nonce ${nonce} is taken`);
    this.#entries.splice(index, 0, entry);
    this.#feesTotal += fee;
    this.#sizeBytes += entry.transaction.bytes.length;
    this.#revision += 1;
  }

  remove(entry: Entry): void {
    const index = this.#entries.indexOf(entry);
    assert(index !== -1, "the entry is not in its lane");
    this.#entries.splice(index, 1);
    this.#feesTotal -= entry.transaction.body.fee;
    this.#sizeBytes -= entry.transaction.bytes.length;
    this.#revision += 1;
  }

  /** Follows the sender's account. Nonces never go back. */
  follow(account: { readonly nonce: bigint; readonly balance: bigint }): void {
    if (account.nonce > this.#nonce) this.#nonce = account.nonce;
    this.#balance = account.balance;
    this.#revision += 1;
  }

  /** The entries whose nonces have passed, or that the balance no longer covers, least useful first. */
  stale(): { readonly used: readonly Entry[]; readonly unpaid: readonly Entry[] } {
    const used = this.#entries.filter(({ transaction }) => transaction.body.nonce < this.#nonce);
    let fees = this.#feesTotal - used.reduce((total, { transaction }) => total + transaction.body.fee, 0n);
    const unpaid: Entry[] = [];
    for (let index = this.#entries.length - 1; index >= used.length && fees > this.#balance; index -= 1) {
      const entry = present(this.#entries[index], "entry");
      unpaid.push(entry);
      fees -= entry.transaction.body.fee;
    }
    return { used, unpaid };
  }
}
