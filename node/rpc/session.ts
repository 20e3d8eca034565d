/** One account at work: keeps count of its nonce, reckons fees, signs, sends and waits. */

import { CodedError } from "../../crypto/base/error.ts";
import type { Value } from "../../crypto/codec/value.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { type Address, addressOfKey } from "../../crypto/identity/address.ts";
import type { KeyPair } from "../../crypto/sign/key.ts";
import { feeOf } from "../../chain/block/genesis.ts";
import { GENESIS_HEIGHT, type Height, heightOf } from "../../chain/block/height.ts";
import type { RecordBody } from "../../chain/block/record.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction, type Transaction, type TransactionBody } from "../../chain/block/transaction.ts";
import type { PyralogClient } from "./client.ts";
import { CLIENT_CODES } from "./errors.ts";
import { type Route, routedCalls } from "./routing.ts";
import type { ProvenTransaction } from "../light/statement.ts";
import type { CallOptions } from "./transport.ts";
import type { Verified } from "./verified.ts";

/** A transaction that is final, and what it did. */
export type Done = Verified<ProvenTransaction>;

/** What may be said of one transaction. */
export type SendOptions = CallOptions & {
  /** The least that the network takes when absent. */
  readonly fee?: bigint | undefined;
  /** Heights from now until it may no longer be included. */
  readonly expiryHeights?: bigint | undefined;
};

const EXPIRY_HEIGHTS_DEFAULT = 100n;

/** Blocks are seconds apart, and an expiry is counted in many of them. */
const HEAD_AGE_MS_MAX = 5_000;

/** Codes that mean that our count of the nonce is not the chain's. */
const NONCE_CODES = new Set(["nonce_used", "nonce_ahead", "mempool_nonce_gap"]);

/** See the file's head. Calls may be made side by side: nonces are given out one after another. */
export class AccountSession {
  readonly client: PyralogClient;
  readonly address: Address;
  readonly #keyPair: KeyPair;
  #nonce: bigint | undefined;
  /** When the head was last asked for. */
  #headAtMs = Number.NEGATIVE_INFINITY;
  /** Sends wait for each other, so that nonces arrive in order. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: { readonly client: PyralogClient; readonly keyPair: KeyPair }) {
    this.client = options.client;
    this.#keyPair = options.keyPair;
    this.address = addressOfKey(options.keyPair.publicKey);
  }

  /** Signs a transaction with the given nonce; sends nothing. */
  async sign(calls: readonly Call[], nonce: bigint, options: SendOptions = {}): Promise<Transaction> {
    const { parameters, chainId } = this.client.network;
    const expiry = heightOf((await this.#headHeight(options)) + (options.expiryHeights ?? EXPIRY_HEIGHTS_DEFAULT));
    const body: TransactionBody = { chainId, sender: this.address, nonce, fee: options.fee ?? 0n, expiry, calls };
    let transaction = signTransaction(body, this.#keyPair);
    if (options.fee !== undefined) return transaction;
    // A higher fee may take more bytes, which raise the fee: it settles, because a fee has at most nine bytes.
    for (;;) {
      const fee = feeOf(parameters, transaction.bytes.length);
      if (transaction.body.fee >= fee) return transaction;
      transaction = signTransaction({ ...body, fee }, this.#keyPair);
    }
  }

  /** Signs and hands in. @throws CodedError with the chain's code */
  async submit(calls: readonly Call[], options: SendOptions = {}): Promise<Hash> {
    const sent = this.#last.then(() => this.#submitNext(calls, options));
    // A refusal is this caller's to hear of; the next one goes on after it.
    this.#last = sent.catch(() => undefined);
    return await sent;
  }

  /** Signs, hands in and waits until it is final and proven. A result of kind `failed` is returned, not thrown. */
  async send(calls: readonly Call[], options: SendOptions = {}): Promise<Done> {
    return await this.client.wait(await this.submit(calls, options), options);
  }

  /** Moves native tokens. */
  async transfer(to: Address, amount: bigint, options: SendOptions = {}): Promise<Done> {
    return await this.send([{ kind: "transfer", to, amount }], options);
  }

  async createTable(namespace: string, table: string, options: SendOptions = {}): Promise<Done> {
    return await this.send([{ kind: "tableCreate", namespace, table }], options);
  }

  /** Writes a row. */
  async put(namespace: string, table: string, key: Uint8Array, value: Value, options: SendOptions = {}): Promise<Done> {
    return await this.send([{ kind: "tablePut", namespace, table, key, value: encodeValue(value) }], options);
  }

  /** Deletes a row. */
  async delete(namespace: string, table: string, key: Uint8Array, options: SendOptions = {}): Promise<Done> {
    return await this.send([{ kind: "tableDelete", namespace, table, key }], options);
  }

  /** Appends records to one partition. */
  async append(stream: string, partition: number, records: readonly Uint8Array[], options: SendOptions = {}): Promise<Done> {
    return await this.send([{ kind: "logAppend", stream, partition, records }], options);
  }

  /** Appends records to the partitions of a declared stream that they belong to, in one transaction. */
  async appendRouted(stream: string, records: readonly RecordBody[], route: Route, options: SendOptions = {}): Promise<Done> {
    const { value: declared } = await this.client.stream(stream, { signal: options.signal });
    if (declared === undefined)
      throw new CodedError("stream_unknown", { message: "nobody declared this stream: there is no count to route by", stream });
    return await this.send(routedCalls(stream, records, declared.partitions, route), options);
  }

  async #submitNext(calls: readonly Call[], options: SendOptions): Promise<Hash> {
    const isFresh = this.#nonce === undefined;
    const nonce = this.#nonce ?? (await this.#loadNonce(options));
    try {
      return await this.#submitWith(nonce, calls, options);
    } catch (error) {
      if (!(error instanceof CodedError) || !NONCE_CODES.has(error.code)) throw error;
      // Somebody else used the key, or one of ours was dropped: count from what the chain proves, once.
      this.#nonce = undefined;
      if (isFresh) throw error;
      return await this.#submitWith(await this.#loadNonce(options), calls, options);
    }
  }

  async #submitWith(nonce: bigint, calls: readonly Call[], options: SendOptions): Promise<Hash> {
    const transaction = await this.sign(calls, nonce, options);
    try {
      const id = await this.client.submit(transaction, { signal: options.signal });
      this.#nonce = nonce + 1n;
      return id;
    } catch (error) {
      // A refused transaction did not use its nonce up. Of one that may have arrived nothing is known: count anew.
      this.#nonce = error instanceof CodedError && !Object.hasOwn(CLIENT_CODES, error.code) ? nonce : undefined;
      throw error;
    }
  }

  /** A head new enough to count an expiry from. */
  async #headHeight({ signal }: SendOptions): Promise<Height> {
    const nowMs = performance.now();
    const known = this.client.headHeight;
    if (known !== undefined && nowMs - this.#headAtMs < HEAD_AGE_MS_MAX) return known;
    this.#headAtMs = nowMs;
    return await atGenesis(async () => (await this.client.head({ signal })).verified.height, GENESIS_HEIGHT);
  }

  async #loadNonce(options: SendOptions): Promise<bigint> {
    return await atGenesis(async () => (await this.client.account(this.address, { signal: options.signal })).value.nonce, 0n);
  }
}

/** Before the first block nothing can be proven, but the first transaction may be sent: what is assumed is then refused if wrong. */
async function atGenesis<T>(ask: () => Promise<T>, assumed: T): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof CodedError && error.code === "height_none") return assumed;
    throw error;
  }
}
