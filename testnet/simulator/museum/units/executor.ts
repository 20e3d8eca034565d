/** Blocks of transfers through the real executor, against balances and nonces kept by hand. */

import { toHex } from "../../../../crypto/base/bytes.ts";
import { networkOf } from "../../../../chain/block/testing/fixtures.ts";
import type { Call } from "../../../../chain/block/call.ts";
import type { Transaction } from "../../../../chain/block/transaction.ts";
import { supplyAt } from "../../../../contracts/supply.ts";
import { addressAt, Chain, PROPOSER } from "../../../../contracts/testing/chain.ts";
import { rewardsAt } from "../../../../contracts/rewards.ts";
import { Random } from "../../../../consensus/testing/random.ts";
import { holds } from "../property.ts";

const ACCOUNTS = [100, 101, 102];
const FUNDS = 200_000n;
const BLOCKS = 12;

type Book = { readonly balances: Map<number, bigint>; readonly nonces: Map<number, bigint>; fees: bigint };

/** Tokens only move, a nonce is used once, and a transaction that fails in the middle has done nothing but pay. */
export function tokensOnlyMove(seed: number): void {
  const random = new Random(seed);
  const chain = new Chain(networkOf({ amounts: ACCOUNTS.map(() => FUNDS) }));
  const book: Book = {
    balances: new Map(ACCOUNTS.map((index) => [index, FUNDS])),
    nonces: new Map(ACCOUNTS.map((index) => [index, 0n])),
    fees: 0n,
  };
  const included: { readonly transaction: Transaction; readonly signer: number }[] = [];
  for (let block = 0; block < BLOCKS; block += 1) {
    const old = random.happens(300) ? included.at(-1) : undefined;
    if (old !== undefined) holds(!chain.try([old.transaction]).ok, "a transaction is executed once");
    const elsewhere = chain.sign(random.pick(ACCOUNTS), [transferTo(random, 1n)], { chainId: "another-chain" });
    holds(!chain.try([elsewhere]).ok, "a transaction is for one chain");
    const signer = random.pick(ACCOUNTS);
    const calls = Array.from({ length: random.between(1, 3) }, () => transferTo(random, BigInt(random.between(1, 150_000))));
    const transaction = chain.sign(signer, calls);
    if (!chain.try([transaction]).ok) {
      holds((book.balances.get(signer) ?? 0n) < transaction.body.fee, "who can pay is included");
      continue;
    }
    chain.block([transaction]);
    included.push({ transaction, signer });
    write(book, signer, transaction);
    compare(chain, book);
  }
}

function transferTo(random: Random, amount: bigint): Call {
  return { kind: "transfer", to: addressAt(random.pick(ACCOUNTS)), amount };
}

function write(book: Book, signer: number, { body }: Transaction): void {
  book.nonces.set(signer, (book.nonces.get(signer) ?? 0n) + 1n);
  book.balances.set(signer, (book.balances.get(signer) ?? 0n) - body.fee);
  book.fees += body.fee;
  const after = new Map(book.balances);
  for (const call of body.calls) {
    if (call.kind !== "transfer") continue;
    const has = after.get(signer) ?? 0n;
    if (has < call.amount) return;
    after.set(signer, has - call.amount);
    const to = ACCOUNTS.find((index) => toHex(addressAt(index)) === toHex(call.to)) ?? 0;
    after.set(to, (after.get(to) ?? 0n) + call.amount);
  }
  for (const [index, balance] of after) book.balances.set(index, balance);
}

function compare(chain: Chain, book: Book): void {
  for (const index of ACCOUNTS) {
    const { balance, nonce } = chain.account(index);
    holds(nonce === book.nonces.get(index), "a nonce is counted once a transaction", () => `${nonce}`);
    holds(balance === book.balances.get(index), "all calls of a transaction are done, or none", () => `${index} has ${balance}`);
  }
  holds(rewardsAt(chain.state, PROPOSER) === book.fees, "what senders pay is what proposers earn", () => `${book.fees}`);
  holds(chain.state.supply() === supplyAt(chain.state).total, "tokens are neither made nor lost");
}
