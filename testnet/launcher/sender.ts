/** A client that sends many transactions of one account in order, a bounded number of them under way at once. */

import { feeOf, type NetworkFile } from "../../chain/block/genesis.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { AMOUNT_MAX } from "../../chain/block/limits.ts";
import type { Call } from "../../chain/block/call.ts";
import {
  assembleTransaction,
  encodeTransactionBody,
  signedSizeBytes,
  type Transaction,
  type TransactionBody,
  transactionId,
} from "../../chain/block/transaction.ts";
import { CodedError } from "../../crypto/base/error.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { Authorisation } from "../../crypto/identity/authorisation.ts";
import type { PyralogClient } from "../../node/rpc/client.ts";
import { transactionWait } from "../../node/rpc/methods/transaction.ts";

/** Far fewer than a mempool takes of one sender (`clientPerSenderMax`). */
export const UNDER_WAY_MAX = 48;

/** Later than any run lasts. */
const VALID_FOR_HEIGHTS = 1_000_000n;
const WAIT_MS = 60_000;

/** Signs for an address: one key, or the holders of a policy. */
export type Account = { readonly name: string; readonly address: Address; readonly authorise: (id: Hash) => Authorisation };

/** A transaction that became final, and how long that took from handing it in to hearing of it. */
export type Finalised = { readonly transaction: Transaction; readonly height: Height; readonly latencyMs: number };

/** See the file's head. */
export class Sender {
  readonly account: Account;
  readonly #network: NetworkFile;
  readonly #node: () => PyralogClient;
  readonly #signal: AbortSignal;
  readonly #underWay = new Set<Promise<void>>();
  readonly finalised: Finalised[] = [];
  #nonce: bigint;
  #sample: Authorisation | undefined;

  /**
   * @param options - `nonce` of the account now; `node` gives the node to use next, so that a dead one can be left out
   */
  constructor(options: {
    readonly account: Account;
    readonly network: NetworkFile;
    readonly nonce: bigint;
    readonly node: () => PyralogClient;
    readonly signal: AbortSignal;
  }) {
    this.account = options.account;
    this.#network = options.network;
    this.#nonce = options.nonce;
    this.#node = options.node;
    this.#signal = options.signal;
  }

  /** Sends each list of calls as one transaction, in order; resolves when all are final and applied. */
  async sendAll(transactions: Iterable<readonly Call[]>): Promise<void> {
    const failures: unknown[] = [];
    for (const calls of transactions) {
      if (this.#underWay.size >= UNDER_WAY_MAX) await Promise.race(this.#underWay);
      if (failures.length > 0) break;
      const transaction = this.#sign(calls);
      const startedMs = performance.now();
      const client = this.#node();
      const id = await client.submit(transaction, { signal: this.#signal });
      const task = this.#follow(client, transaction, id, startedMs)
        .catch((error: unknown) => void failures.push(error))
        .finally(() => this.#underWay.delete(task));
      this.#underWay.add(task);
    }
    await Promise.all(this.#underWay);
    if (failures.length > 0) throw failures[0];
  }

  async #follow(client: PyralogClient, transaction: Transaction, id: Hash, startedMs: number): Promise<void> {
    const status = await client.ask(
      transactionWait,
      { id, timeoutMs: WAIT_MS },
      { signal: this.#signal, timeoutMs: WAIT_MS * 2 },
    );
    const isIncluded = status.kind === "final" || status.kind === "included";
    if (isIncluded && status.result.kind === "applied") {
      this.finalised.push({ transaction, height: status.height, latencyMs: performance.now() - startedMs });
      return;
    }
    const reason = isIncluded && status.result.kind === "failed" ? status.result : status;
    throw new CodedError("transaction_not_applied", {
      message: `a transaction of ${this.account.name} was not applied: ${JSON.stringify(reason, (_, value: unknown) => (typeof value === "bigint" ? `${value}` : value))}`,
    });
  }

  #sign(calls: readonly Call[]): Transaction {
    const body: TransactionBody = {
      chainId: this.#network.chainId,
      sender: this.account.address,
      nonce: this.#nonce,
      fee: AMOUNT_MAX,
      expiry: heightOf(VALID_FOR_HEIGHTS),
      calls,
    };
    this.#nonce += 1n;
    // The size of an authorisation does not depend on what it is for, so the first one tells the fee of all.
    this.#sample ??= this.account.authorise(transactionId(encodeTransactionBody(body)));
    const paid = { ...body, fee: feeOf(this.#network.parameters, signedSizeBytes(body, this.#sample)) };
    return assembleTransaction(paid, this.account.authorise(transactionId(encodeTransactionBody(paid))));
  }
}

/** The value below which `share` of the sorted values lie. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}
