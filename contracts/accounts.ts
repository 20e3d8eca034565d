/** Balances and nonces. Tokens only move: nothing here makes or destroys any. */

import { assert } from "../crypto/base/assert.ts";
import type { Address } from "../crypto/identity/address.ts";
import { AMOUNT_MAX } from "../chain/block/limits.ts";
import type { Call } from "../chain/block/call.ts";
import type { TransactionBody } from "../chain/block/transaction.ts";
import type { StateView } from "../chain/state/executor.ts";
import { accountKey } from "../chain/state/keys.ts";
import type { Overlay } from "../chain/state/overlay.ts";
import { type Account, ACCOUNT_EMPTY, encodeAccount, ownRow, parseAccount } from "../chain/state/rows.ts";
import type { CallFault, CallScope } from "./scope.ts";

/** What rows that live hold: one that a transaction wrote is read by the next of its sender. */
const accounts = new WeakMap<Uint8Array, Account>();

/** The account at an address; one that was never paid is empty. */
export function accountAt(view: StateView, address: Address): Account {
  const bytes = view.get(accountKey(address));
  if (bytes === undefined) return ACCOUNT_EMPTY;
  let account = accounts.get(bytes);
  if (account === undefined) accounts.set(bytes, (account = ownRow(parseAccount(bytes), "account")));
  return account;
}

/** Takes the fee of a transaction and counts it. `account` is the sender's, as admission found it. */
export function charge(state: Overlay, transaction: TransactionBody, account: Account): void {
  assert(account.balance >= transaction.fee, "fee {} of a balance of {}", transaction.fee, account.balance);
  putAccount(state, transaction.sender, { balance: account.balance - transaction.fee, nonce: account.nonce + 1n });
}

/** Adds to a balance. Amounts come from other balances, so the sum stays below 2^64. */
export function credit(state: Overlay, address: Address, amount: bigint): void {
  const account = accountAt(state, address);
  const balance = account.balance + amount;
  assert(balance <= AMOUNT_MAX, "balance {}", balance);
  putAccount(state, address, { balance, nonce: account.nonce });
}

/** Takes from a balance; `false`, and nothing taken, when it is less. */
export function debit(state: Overlay, address: Address, amount: bigint): boolean {
  const account = accountAt(state, address);
  if (account.balance < amount) return false;
  putAccount(state, address, { balance: account.balance - amount, nonce: account.nonce });
  return true;
}

/** Moves tokens from the sender. */
export function transfer({ state, sender }: CallScope, call: Extract<Call, { kind: "transfer" }>): CallFault | undefined {
  if (!debit(state, sender, call.amount)) return { code: "balance_insufficient", field: "amount" };
  credit(state, call.to, call.amount);
  return undefined;
}

function putAccount(state: Overlay, address: Address, account: Account): void {
  const bytes = encodeAccount(account);
  accounts.set(bytes, account);
  state.put(accountKey(address), bytes);
}
