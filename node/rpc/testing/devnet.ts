/**
 * A network in memory: real validators' keys, the real executor and ledger, and blocks made one call at a time instead
 * of by consensus. Its backend is what a node gives its RPC server, with a pool that keeps every admitted transaction.
 */

import { assert, present } from "../../../crypto/base/assert.ts";
import { toHex } from "../../../crypto/base/bytes.ts";
import { fail, ok } from "../../../crypto/base/result.ts";
import type { Hash } from "../../../crypto/hash/hash.ts";
import { addressOfKey } from "../../../crypto/identity/address.ts";
import type { NetworkFile } from "../../../chain/block/genesis.ts";
import { type Height, nextHeight } from "../../../chain/block/height.ts";
import { keyPairAt, networkOf, voteOf } from "../../../chain/block/testing/fixtures.ts";
import { parseTransaction, type Transaction, verifyTransaction } from "../../../chain/block/transaction.ts";
import { type Commit, Ledger } from "../../../chain/ledger/ledger.ts";
import { openMemoryStore } from "../../../chain/store/memory.ts";
import { EXECUTOR } from "../../../contracts/executor.ts";
import { sealFor } from "../../driver/testing/miner.ts";
import { includedStatus, type NodeBackend, type NodeStatus, type TransactionStatus } from "../backend.ts";

/** Key pairs 0 to this validate; more would only cost time. */
const KEYS_MAX = 16;

/** See the file's head. */
export class DevNet implements AsyncDisposable {
  readonly ledger: Ledger;
  readonly network: NetworkFile;
  readonly backend: NodeBackend;
  readonly #pool: Transaction[] = [];
  readonly #refused = new Map<string, TransactionStatus>();
  /** Whether the node says that it is behind. */
  syncing = false;
  /** Whom blocks are paid to under proof of work. */
  miner = addressOfKey(keyPairAt(0).publicKey);
  /** Block time from one block to the next. */
  blockMs = 1000n;
  /** Whether every submitted transaction gets a block at once. */
  automatic = false;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(ledger: Ledger) {
    this.ledger = ledger;
    this.network = ledger.network;
    this.backend = {
      ledger,
      networkFile: ledger.network,
      submit: async (bytes) => this.#submit(bytes),
      transactionStatus: (id) => this.#status(id),
      status: () => this.#nodeStatus(),
      peers: () => [],
      consensus: () => ({ height: nextHeight(ledger.head().height), round: undefined, step: undefined, stalledMs: 0 }),
      onCommit: (listener) => ledger.onCommit(listener),
      onRollback: (listener) => ledger.onRollback(listener),
      obelisk: undefined,
    };
  }

  /** Validators 0 to n - 1 with these powers; accounts 100, 101, ... with a million million each. */
  static async open(
    options: { readonly powers?: readonly bigint[]; readonly accounts?: number; readonly network?: NetworkFile } = {},
  ): Promise<DevNet> {
    const { powers = [1n], accounts = 2 } = options;
    const amounts = Array.from({ length: accounts }, () => 1_000_000_000_000n);
    const network = options.network ?? networkOf({ powers, amounts, parameters: { dev: true } });
    return new DevNet(await Ledger.open({ store: openMemoryStore(), network, executor: EXECUTOR }));
  }

  /** Makes a block of these transactions and whatever waits, certified by all validators, and commits it. */
  async commit(transactions: readonly Transaction[] = []): Promise<Commit> {
    const made = this.#last.then(() => this.#commitNext(transactions));
    this.#last = made.catch(() => undefined);
    return await made;
  }

  /** Goes back to a height: under proof of work blocks are undone. What they held is not kept. */
  async undo(height: Height): Promise<void> {
    await this.#last;
    await this.ledger.rollback(height);
  }

  /** Commits empty blocks up to a height. */
  async commitUntil(height: bigint): Promise<void> {
    while (this.ledger.head().height < height) await this.commit();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    await this.ledger[Symbol.asyncDispose]();
  }

  async #commitNext(transactions: readonly Transaction[]): Promise<Commit> {
    const head = this.ledger.head();
    const height = nextHeight(head.height);
    const set = present(this.ledger.validators(height), "validators");
    const proposer = set.validators[0]?.address ?? this.miner;
    const waiting = this.#pool.splice(0);
    const { block, dropped } = this.ledger.build({
      proposer,
      timeMs: head.timeMs + this.blockMs,
      transactions: [...waiting, ...transactions],
      evidence: [],
    });
    for (const { transaction, refusal } of dropped)
      this.#refused.set(toHex(transaction.id), { kind: "refused", code: refusal.code, field: refusal.field ?? "" });
    if (this.network.engine.name === "pow") return await this.ledger.commit(block, sealFor(this.ledger, block));
    const signers = Array.from({ length: KEYS_MAX }, (_, index) => index);
    const signatures = set.validators.map(({ address }) => {
      const signer = present(
        signers.find((index) => toHex(addressOfKey(keyPairAt(index).publicKey)) === toHex(address)),
        "key of a validator",
      );
      const { validator, signature } = voteOf(
        signer,
        { step: "precommit", height, round: 0, blockHash: block.hash },
        this.network.chainId,
      );
      return { validator, signature };
    });
    const certificate = { kind: "quorum" as const, height, round: 0, blockHash: block.hash, signatures };
    const checked = await this.ledger.checkCertificate(block, certificate);
    assert(checked.ok, `own certificate refused`);
    return await this.ledger.commit(block, certificate);
  }

  #submit(bytes: Uint8Array): Awaited<ReturnType<NodeBackend["submit"]>> {
    const parsed = parseTransaction(bytes);
    if (!parsed.ok) return fail({ code: parsed.error.code, field: parsed.error.field ?? "transaction" });
    const transaction = parsed.value;
    if (!verifyTransaction(transaction)) return fail({ code: "signature_invalid", field: "authorisation" });
    const admitted = this.ledger.admit(transaction);
    if (!admitted.ok) return admitted;
    this.#pool.push(transaction);
    if (this.automatic) void this.commit();
    return ok(transaction.id);
  }

  #status(id: Hash): TransactionStatus {
    const location = this.ledger.findTransaction(id);
    if (location !== undefined) return includedStatus(this.ledger, this.network.engine, location);
    if (this.#pool.some((transaction) => toHex(transaction.id) === toHex(id))) return { kind: "pending" };
    return this.#refused.get(toHex(id)) ?? { kind: "unknown" };
  }

  #nodeStatus(): NodeStatus {
    const height: Height = this.ledger.head().height;
    return {
      version: "0.1.0",
      peerId: "12D3KooWtest",
      validator: undefined,
      syncing: this.syncing,
      targetHeight: height,
      peersCount: 0,
      mempoolTransactions: this.#pool.length,
      mempoolSizeBytes: this.#pool.reduce((size, { bytes }) => size + bytes.length, 0),
      startedAtMs: 0,
    };
  }
}
