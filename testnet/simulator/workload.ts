/**
 * Clients: each writes rows of a table of its own, one transaction after another, and reads everybody's. One that hears
 * nothing gives the same transaction to another node, for as long as it takes. What was asked and answered goes into
 * histories that `history/` judges.
 */

import { present } from "../../crypto/base/assert.ts";
import { toHex, utf8 } from "../../crypto/base/bytes.ts";
import { readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { heightOf } from "../../chain/block/height.ts";
import { type Call, signTransaction, type Transaction } from "../../chain/block/transaction.ts";
import type { Ledger } from "../../chain/ledger/ledger.ts";
import { rowKey } from "../../chain/state/keys.ts";
import type { Clock } from "../../node/ports/clock.ts";
import type { Agenda } from "./agenda.ts";
import type { ChainInput, ChainOutput } from "./history/chain.ts";
import { type Handle, History } from "./history/history.ts";
import type { KeyValueInput, KeyValueOutput } from "./history/models.ts";
import type { Machine, Running } from "./node.ts";
import type { Random } from "./random.ts";
import { addressOf, type Signatures } from "./signatures.ts";
import type { Sometimes } from "./sometimes.ts";

/** Where all clients' tables are. */
export const NAMESPACE = "sim";
const KEYS = ["a", "b", "c"] as const;
const ANSWER_WITHIN_MS = 1_500;
const POLL_MS = 250;
const POLLS_MAX = 10;
const OPERATIONS_MAX = 20_000;
const FEE = 20_000n;

/** What clients work with. */
export type WorkloadParts = {
  readonly agenda: Agenda;
  readonly random: Random;
  readonly machines: readonly Machine[];
  readonly signatures: Signatures;
  readonly sometimes: Sometimes;
  readonly chainId: string;
  /** Blocks on top of one until it is called final: none where validators vote. */
  readonly depth: bigint;
  /** What a node is called: another name once its disk is not its own any more. */
  readonly nameOf: (index: number) => string;
};

/** The clients of a run, and their histories. */
export class Workload {
  readonly chain = new History<ChainInput, ChainOutput>({ operationsMax: OPERATIONS_MAX });
  readonly rows = new History<KeyValueInput, KeyValueOutput>({ operationsMax: OPERATIONS_MAX });
  /** Which node answered which operation of `rows`. */
  readonly answeredBy = new Map<number, string>();
  /** Every transaction that was ever given to a node. */
  readonly submitted = new Set<string>();
  readonly #parts: WorkloadParts;
  #isOver = false;

  constructor(parts: WorkloadParts) {
    this.#parts = parts;
  }

  start(options: { readonly clients: number; readonly pauseMsMean: number }): void {
    for (let index = 0; index < options.clients; index += 1) {
      const client = new Client(index, options.pauseMsMean, this, this.#parts);
      void client.run();
    }
  }

  /** Clients finish what they are at, and begin nothing new. */
  stop(): void {
    this.#isOver = true;
  }

  get isOver(): boolean {
    return this.#isOver || this.chain.isFull || this.rows.isFull;
  }
}

class Client {
  readonly #index: number;
  readonly #name: string;
  readonly #pauseMsMean: number;
  readonly #workload: Workload;
  readonly #parts: WorkloadParts;
  readonly #random: Random;
  readonly #clock: Clock;
  #nonce = 0n;
  #values = 0;
  /** It has seen the chain up to here, and reads nothing older. */
  #height = 0n;

  constructor(index: number, pauseMsMean: number, workload: Workload, parts: WorkloadParts) {
    this.#index = index;
    this.#name = `c${index}`;
    this.#pauseMsMean = pauseMsMean;
    this.#workload = workload;
    this.#parts = parts;
    this.#random = parts.random.fork(this.#name);
    const { agenda } = parts;
    this.#clock = {
      wallMs: () => agenda.nowMs,
      monotonicMs: () => agenda.nowMs,
      after: (delayMs, act) => agenda.after(delayMs, undefined, act),
    };
  }

  async run(): Promise<void> {
    await this.#apply({ kind: "tableCreate", namespace: NAMESPACE, table: this.#name });
    while (!this.#workload.isOver) {
      await this.#sleep(this.#random.exponential(this.#pauseMsMean));
      if (this.#workload.isOver) return;
      if (this.#random.happens(600)) await this.#put();
      else if (this.#random.happens(700)) await this.#get();
      else await this.#head();
    }
  }

  async #put(): Promise<void> {
    const key = this.#random.pick(KEYS);
    const value = `${this.#name}.${this.#values}`;
    this.#values += 1;
    const handle = this.#workload.rows.begin(this.#name, { kind: "put", key: `${this.#name}/${key}`, value }, this.#nowMs);
    const row = { namespace: NAMESPACE, table: this.#name, key: utf8(key), value: new Writer().text(value).finish() };
    await this.#apply({ kind: "tablePut", ...row });
    this.#workload.rows.end(handle, { kind: "written" }, this.#nowMs);
  }

  /** Reads a row of anybody from a node that is as far as this client has seen. */
  async #get(): Promise<void> {
    const owner = this.#random.between(0, this.#index);
    const key = this.#random.pick(KEYS);
    const handle = this.#workload.rows.begin(this.#name, { kind: "get", key: `c${owner}/${key}` }, this.#nowMs);
    for (let attempt = 0; attempt < 8; attempt += 1) {
      const node = this.#pickNode();
      const answer = await this.#ask(node, async ({ ledger }) => {
        const { height } = ledger.head();
        if (height < this.#height) return await Promise.resolve(undefined);
        return { height, value: readRow(ledger, owner, key), node: this.#parts.nameOf(node) };
      });
      if (answer === undefined) continue;
      this.#height = answer.height;
      this.#workload.answeredBy.set(handle, answer.node);
      this.#workload.rows.end(handle, { kind: "value", value: answer.value }, this.#nowMs);
      return;
    }
    this.#workload.rows.info(handle, this.#nowMs);
  }

  async #head(): Promise<void> {
    const node = this.#pickNode();
    const handle = this.#begin({ kind: "head", node: this.#parts.nameOf(node) });
    const height = await this.#ask(node, async ({ ledger }) => await Promise.resolve(this.#finalHeight(ledger)));
    this.#end(handle, height === undefined ? undefined : { kind: "head", height, isFinal: true });
  }

  /** Has a transaction applied, however long it takes. */
  async #apply(call: Call): Promise<void> {
    const { chainId, signatures, sometimes } = this.#parts;
    const sender = addressOf("client", this.#index);
    const body = { chainId, sender, nonce: this.#nonce, fee: FEE, expiry: heightOf(1_000_000n), calls: [call] };
    const transaction = signTransaction(body, signatures.keyPair("client", this.#index));
    this.#nonce += 1n;
    for (let attempt = 0; ; attempt += 1) {
      if (attempt > 0) sometimes.saw("client_retried");
      if (await this.#submit(this.#pickNode(), transaction)) return;
    }
  }

  /** Gives it to a node and asks what became of it; whether it is final. */
  async #submit(node: number, transaction: Transaction): Promise<boolean> {
    const name = toHex(transaction.id);
    this.#workload.submitted.add(name);
    const handle = this.#begin({ kind: "submit", transaction: name, node: this.#parts.nameOf(node) });
    const taken = await this.#ask(node, async ({ intake }) => await intake.submit(transaction.bytes));
    if (taken !== undefined && !taken.ok) this.#parts.sometimes.saw("client_refused");
    this.#end(handle, taken?.ok === true ? { kind: "pooled" } : undefined);
    if (taken === undefined) {
      this.#parts.sometimes.saw("client_unsure");
      return false;
    }
    for (let poll = 0; poll < POLLS_MAX; poll += 1) {
      await this.#sleep(POLL_MS);
      const question = this.#begin({ kind: "receipt", transaction: name, node: this.#parts.nameOf(node) });
      const answer = await this.#ask(node, async ({ ledger }): Promise<ChainOutput> => {
        const found = ledger.findTransaction(transaction.id);
        const finalHeight = this.#finalHeight(ledger);
        return await Promise.resolve(
          found === undefined
            ? { kind: "absent", finalHeight }
            : { kind: "receipt", height: found.height, isFinal: found.height <= finalHeight },
        );
      });
      this.#end(question, answer);
      if (answer === undefined) return false;
      if (answer.kind !== "receipt") continue;
      if (answer.height > this.#height) this.#height = answer.height;
      return true;
    }
    return false;
  }

  /** Asks a node over the client's own line: its answer, or `undefined` when none came in time. */
  async #ask<T>(node: number, question: (running: Running) => Promise<T>): Promise<T | undefined> {
    const { promise, resolve } = Promise.withResolvers<T | undefined>();
    const machine = present(this.#parts.machines[node], `machine ${node}`);
    const giveUp = this.#clock.after(ANSWER_WITHIN_MS, () => resolve(undefined));
    this.#clock.after(1 + this.#random.exponential(5), () => {
      const { running } = machine;
      if (running === undefined) return;
      void question(running).then((answer) => this.#clock.after(1 + this.#random.exponential(5), () => resolve(answer)));
    });
    const answer = await promise;
    giveUp.cancel();
    return answer;
  }

  #finalHeight(ledger: Ledger): bigint {
    const height = ledger.head().height - this.#parts.depth;
    return height > 0n ? height : 0n;
  }

  #begin(input: ChainInput): Handle {
    return this.#workload.chain.begin(this.#name, input, this.#nowMs);
  }

  #end(handle: Handle, output: ChainOutput | undefined): void {
    if (output === undefined) this.#workload.chain.info(handle, this.#nowMs);
    else this.#workload.chain.end(handle, output, this.#nowMs);
  }

  #pickNode(): number {
    return this.#random.between(0, this.#parts.machines.length - 1);
  }

  async #sleep(ms: number): Promise<void> {
    await new Promise<void>((resolve) => void this.#clock.after(ms, resolve));
  }

  get #nowMs(): number {
    return this.#parts.agenda.nowMs;
  }
}

function readRow(ledger: Ledger, owner: number, key: string): string | undefined {
  const bytes = ledger.state(ledger.head().height)?.get(rowKey(NAMESPACE, `c${owner}`, utf8(key)));
  if (bytes === undefined) return undefined;
  const text = readWith(bytes, (reader) => reader.text(1000));
  return text.ok ? text.value : undefined;
}
