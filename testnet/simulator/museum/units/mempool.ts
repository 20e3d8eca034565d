/** What the mempool offers for a block, against accounts kept by hand. */

import { toHex } from "../../../../crypto/base/bytes.ts";
import { heightOf } from "../../../../chain/block/height.ts";
import { CHAIN_ID, keyPairAt } from "../../../../chain/block/testing/fixtures.ts";
import { signTransaction, type Transaction } from "../../../../chain/block/transaction.ts";
import { Mempool } from "../../../../chain/mempool/mempool.ts";
import { addressAt } from "../../../../contracts/testing/chain.ts";
import { Random } from "../../../../consensus/testing/random.ts";
import { holds } from "../property.ts";

const SENDERS = [100, 101, 102];
const LIMITS = { countMax: 12, perSenderMax: 6 };
const BLOCKS = 10;

type Account = { nonce: bigint; balance: bigint };

/** Every transaction that is offered can be included in that order, once, and no bound is passed. */
export function mempoolOffersWhatFits(seed: number): void {
  const random = new Random(seed);
  const mempool = new Mempool(LIMITS);
  const accounts = new Map<string, Account>(SENDERS.map((index) => [toHex(addressAt(index)), { nonce: 0n, balance: 100_000n }]));
  const accountOf = (sender: Uint8Array): Account => accounts.get(toHex(sender)) ?? { nonce: 0n, balance: 0n };
  for (let block = 1; block <= BLOCKS; block += 1) {
    for (let count = random.between(1, 6); count > 0; count -= 1) {
      const transaction = someTransaction(random, accountOf, block);
      const account = accountOf(transaction.body.sender);
      mempool.add(transaction, account);
      if (random.happens(200)) mempool.add(transaction, account);
    }
    holds(mempool.count <= LIMITS.countMax, "the mempool keeps its bounds", () => `${mempool.count}`);
    const offered = mempool.reap({ countMax: random.between(1, 12), sizeBytesMax: 1_000_000 });
    checkOffer(offered, accountOf);
    // Another proposer's block: of ours some, and perhaps one that was never here.
    const transactions = offered.slice(0, random.between(0, offered.length));
    if (random.happens(300)) {
      const stranger = someTransaction(random, accountOf, block);
      const { nonce } = accountOf(stranger.body.sender);
      if (transactions.length === 0 && stranger.body.nonce === nonce) transactions.push(stranger);
    }
    for (const { body } of transactions) {
      const account = accountOf(body.sender);
      account.nonce += 1n;
      account.balance -= body.fee;
    }
    mempool.commit({ height: heightOf(BigInt(block)), transactions }, accountOf);
  }
}

function checkOffer(offered: readonly Transaction[], accountOf: (sender: Uint8Array) => Account): void {
  const next = new Map<string, Account>();
  for (const { body } of offered) {
    const key = toHex(body.sender);
    const account = next.get(key) ?? { ...accountOf(body.sender) };
    holds(body.nonce === account.nonce, "what is offered has the next nonce", () => `${body.nonce}, not ${account.nonce}`);
    holds(body.fee <= account.balance, "what is offered can be paid", () => `${body.fee} of ${account.balance}`);
    account.nonce += 1n;
    account.balance -= body.fee;
    next.set(key, account);
  }
}

function someTransaction(random: Random, accountOf: (sender: Uint8Array) => Account, block: number): Transaction {
  const signer = random.pick(SENDERS);
  const sender = addressAt(signer);
  const nonce = accountOf(sender).nonce + BigInt(random.pick([0, 0, 1, 2, 3]));
  const fee = BigInt(random.pick([2000, 3000, 5000, 20_000, 60_000]));
  const expiry = heightOf(BigInt(block + random.between(1, 6)));
  const calls = [{ kind: "transfer", to: addressAt(100), amount: BigInt(random.between(1, 9)) }] as const;
  return signTransaction({ chainId: CHAIN_ID, sender, nonce, fee, expiry, calls }, keyPairAt(signer));
}
