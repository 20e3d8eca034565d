/**
 * Clients: each writes rows of a table of its own, one transaction after another, and reads everybody's. One that hears
 * nothing gives the same transaction to another node, for as long as it takes. What was asked and answered goes into
 * histories that `history/` judges.
 *
 * Where blocks are final, racers share one account without knowing of each other (`races.ts`). Under proof of stake
 * clients stake, and declare themselves validators that nobody runs; and the owners of nodes look after their stake.
 */

import { present } from "../../crypto/base/assert.ts";
import { toHex, utf8 } from "../../crypto/base/bytes.ts";
import { readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { heightOf } from "../../chain/block/height.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction, type Transaction } from "../../chain/block/transaction.ts";
import type { Ledger } from "../../chain/ledger/ledger.ts";
import { accountKey, poolKey, rowKey } from "../../chain/state/keys.ts";
import { parseAccount } from "../../chain/state/rows.ts";
import { parsePool } from "../../chain/state/stake.ts";
import type { Clock } from "../../node/ports/clock.ts";
import type { Agenda } from "./agenda.ts";
import { type AuthorityParts, drawChanges } from "./authority.ts";
import { AUTHORITY_ACCOUNT } from "./engines.ts";
import type { ChainInput, ChainOutput } from "./history/chain.ts";
import { type Handle, History } from "./history/history.ts";
import type { KeyValueInput, KeyValueOutput } from "./history/models.ts";
import type { Machine, Running } from "./node.ts";
import { RACE_NAMESPACE, type RaceInput, type RaceOutput } from "./races.ts";
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
/** Mean time between two changes of the set. */
const CHANGE_PAUSE_MS = 1_200;

/** The number of the account that racers share: the one after the clients'. */
export const RACERS_ACCOUNT = 4;
/** Of a call of stake, in tokens: a validator of genesis has a thousand times the least of them, or more. */
const STAKE_MIN = 1_000_000;
const STAKE_MAX = 20_000_000;

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
  /** Under proof of stake, how many validators there were at genesis. */
  readonly stakers: number | undefined;
  /** Absent when the authority does nothing. */
  readonly authority: AuthorityParts | undefined;
};

/** The clients of a run, and their histories. */
export class Workload {
  readonly chain = new History<ChainInput, ChainOutput>({ operationsMax: OPERATIONS_MAX });
  readonly rows = new History<KeyValueInput, KeyValueOutput>({ operationsMax: OPERATIONS_MAX });
  readonly races = new History<RaceInput, RaceOutput>({ operationsMax: OPERATIONS_MAX });
  /** Which node answered which operation of `rows`. */
  readonly answeredBy = new Map<number, string>();
  /** Every transaction that was ever given to a node. */
  readonly submitted = new Set<string>();
  readonly #parts: WorkloadParts;
  /** The newest height that a client was told to be final. */
  heightTold = 0n;
  #isOver = false;

  constructor(parts: WorkloadParts) {
    this.#parts = parts;
  }

  start(options: { readonly clients: number; readonly racers: number; readonly pauseMsMean: number }): void {
    const { pauseMsMean } = options;
    const { depth, stakers = 0 } = this.#parts;
    const client = (name: string, role: "validator" | "client", index: number): Client =>
      new Client({ name, role, index, pauseMsMean }, this, this.#parts);
    for (let index = 0; index < options.clients; index += 1) void client(`c${index}`, "client", index).run();
    for (let index = 0; index < stakers; index += 1) void client(`v${index}`, "validator", index).lookAfterStake();
    const { authority } = this.#parts;
    if (authority !== undefined) void client("authority", "client", AUTHORITY_ACCOUNT).keepSet(authority);
    // Where a block may be undone, who was told that another was included instead of his may win after all.
    if (depth > 0n) return;
    for (let index = 0; index < options.racers; index += 1) void client(`r${index}`, "client", RACERS_ACCOUNT).runAgainst(index);
  }

  /** Clients finish what they are at, and begin nothing new. */
  stop(): void {
    this.#isOver = true;
  }

  toldOf(height: bigint): void {
    if (height > this.heightTold) this.heightTold = height;
  }

  get isOver(): boolean {
    return this.#isOver || this.chain.isFull || this.rows.isFull || this.races.isFull;
  }
}

class Client {
  readonly #role: "validator" | "client";
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

  constructor(
    options: {
      readonly name: string;
      readonly role: "validator" | "client";
      readonly index: number;
      readonly pauseMsMean: number;
    },
    workload: Workload,
    parts: WorkloadParts,
  ) {
    this.#role = options.role;
    this.#index = options.index;
    this.#name = options.name;
    this.#pauseMsMean = options.pauseMsMean;
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
    if (this.#parts.stakers !== undefined) await this.#declare();
    while (!this.#workload.isOver) {
      await this.#sleep(this.#random.exponential(this.#pauseMsMean));
      if (this.#workload.isOver) return;
      if (this.#parts.stakers !== undefined && this.#random.happens(400)) await this.#apply(await this.#stakeCall());
      else if (this.#random.happens(600)) await this.#put();
      else if (this.#random.happens(700)) await this.#get();
      else await this.#head();
    }
  }

  /** The owner of a validator: more stake, less stake, and out of jail. */
  async lookAfterStake(): Promise<void> {
    while (!this.#workload.isOver) {
      await this.#sleep(this.#random.exponential(this.#pauseMsMean * 3));
      if (this.#workload.isOver) return;
      await this.#apply(await this.#stakeCall());
    }
  }

  /** The authority: changes who validates, and by how much power. */
  async keepSet(authority: AuthorityParts): Promise<void> {
    const { sometimes } = this.#parts;
    while (!this.#workload.isOver) {
      await this.#sleep(this.#random.exponential(CHANGE_PAUSE_MS));
      const next = await this.#ask(this.#pickNode(), async ({ ledger }) => {
        // A node that has not seen our last change would have us go by an old set.
        const set = ledger.head().height < this.#height ? undefined : ledger.validatorsAfterNext();
        return await Promise.resolve(set);
      });
      const calls = next === undefined ? [] : drawChanges(this.#random, next, authority);
      if (calls.length === 0 || this.#workload.isOver) continue;
      const isApplied = await this.#apply(...calls);
      sometimes.saw(isApplied ? "set_changed_by_authority" : "set_change_refused");
    }
  }

  /** One of several sessions of an account. */
  async runAgainst(session: number): Promise<void> {
    while (!this.#workload.isOver) {
      await this.#sleep(this.#random.exponential(this.#pauseMsMean));
      if (this.#workload.isOver) return;
      await this.#race(session);
    }
  }

  /** Makes a validator of its own key, with some stake, that nobody runs. */
  async #declare(): Promise<void> {
    const { signatures } = this.#parts;
    if (!this.#random.happens(700)) return;
    const operator = this.#address;
    const { publicKey: key } = signatures.keyPair(this.#role, this.#index);
    await this.#apply({ kind: "validatorDeclare", key, operator, commissionBps: 500, commissionStepBpsMax: 1000 });
    await this.#apply({ kind: "stakeBond", validator: operator, amount: BigInt(this.#random.between(STAKE_MIN, STAKE_MAX)) });
  }

  /** Out of jail, or something else about stake; it may well fail. */
  async #stakeCall(): Promise<Call> {
    const { stakers = 0 } = this.#parts;
    const random = this.#random;
    const own = this.#address;
    const isJailed = await this.#ask(this.#pickNode(), async ({ ledger }) => await Promise.resolve(isJailedAt(ledger, own)));
    if (isJailed === true && random.happens(800)) return { kind: "validatorUnjail", validator: own };
    const validator = random.happens(600) ? own : addressOf("validator", random.between(0, stakers - 1));
    const amount = BigInt(random.between(STAKE_MIN, STAKE_MAX));
    const kind = random.pick(["bond", "bond", "bond", "unbond", "unbond", "commission", "unjail", "claim"] as const);
    switch (kind) {
      case "bond":
        return { kind: "stakeBond", validator, amount };
      case "unbond":
        return { kind: "stakeUnbond", validator, amount };
      case "commission":
        return { kind: "validatorCommission", validator: own, commissionBps: random.between(0, 1000) };
      case "unjail":
        return { kind: "validatorUnjail", validator: own };
      case "claim":
        return { kind: "rewardsClaim", validator };
    }
  }

  /** Has one transaction included before whatever the other sessions of the account try, or learns that it never will be. */
  async #race(session: number): Promise<void> {
    const { chainId, signatures } = this.#parts;
    const { races } = this.#workload;
    const sender = this.#address;
    const nonce = await this.#ask(this.#pickNode(), async ({ ledger }) => await Promise.resolve(nonceAt(ledger, sender)));
    if (nonce === undefined) return;
    const what = nonce === 0n ? "create" : this.#random.pick(["create", "put", "put", "put", "delete", "delete"] as const);
    const call = raceCall(what, `${this.#name}.${this.#values}`);
    this.#values += 1;
    // No two attempts are one transaction, also of those who want the same, and of one who was shown an old state again.
    const expiry = heightOf(1_000_000n + BigInt(session) * BigInt(OPERATIONS_MAX) + BigInt(this.#values));
    const keyPair = signatures.keyPair(this.#role, this.#index);
    const transaction = signTransaction({ chainId, sender, nonce, fee: FEE, expiry, calls: [call] }, keyPair);
    const handle = races.begin(this.#name, { expected: nonce, what }, this.#nowMs);
    while (!this.#workload.isOver) {
      await this.#ask(this.#pickNode(), async ({ intake }) => await intake.submit(transaction.bytes));
      const node = this.#pickNode();
      for (let poll = 0; poll < POLLS_MAX; poll += 1) {
        await this.#sleep(POLL_MS);
        const answer = await this.#ask(node, async ({ ledger }) => await Promise.resolve(fateOf(ledger, transaction)));
        if (answer === undefined) break;
        if (answer === "open") continue;
        races.end(handle, answer, this.#nowMs);
        return;
      }
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
      this.#workload.toldOf(answer.height);
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

  /** Has a transaction included, however long it takes. @returns whether its calls took effect */
  async #apply(...calls: readonly Call[]): Promise<boolean> {
    const { chainId, signatures, sometimes } = this.#parts;
    const sender = this.#address;
    const body = { chainId, sender, nonce: this.#nonce, fee: FEE, expiry: heightOf(1_000_000n), calls };
    const transaction = signTransaction(body, signatures.keyPair(this.#role, this.#index));
    this.#nonce += 1n;
    for (let attempt = 0; ; attempt += 1) {
      if (attempt > 0) sometimes.saw("client_retried");
      const isApplied = await this.#submit(this.#pickNode(), transaction);
      if (isApplied !== undefined) return isApplied;
    }
  }

  /** Gives it to a node and asks what became of it. @returns whether it took effect, `undefined` when nobody said that it is final */
  async #submit(node: number, transaction: Transaction): Promise<boolean | undefined> {
    const name = toHex(transaction.id);
    this.#workload.submitted.add(name);
    const handle = this.#begin({ kind: "submit", transaction: name, node: this.#parts.nameOf(node) });
    const taken = await this.#ask(node, async ({ intake }) => await intake.submit(transaction.bytes));
    if (taken !== undefined && !taken.ok) this.#parts.sometimes.saw("client_refused");
    this.#end(handle, taken?.ok === true ? { kind: "pooled" } : undefined);
    if (taken === undefined) {
      this.#parts.sometimes.saw("client_unsure");
      return undefined;
    }
    let isApplied = false;
    for (let poll = 0; poll < POLLS_MAX; poll += 1) {
      await this.#sleep(POLL_MS);
      const question = this.#begin({ kind: "receipt", transaction: name, node: this.#parts.nameOf(node) });
      const answer = await this.#ask(node, async ({ ledger }): Promise<ChainOutput> => {
        const found = ledger.findTransaction(transaction.id);
        isApplied = found !== undefined && ledger.results(found.height)?.[found.index]?.kind === "applied";
        const finalHeight = this.#finalHeight(ledger);
        return await Promise.resolve(
          found === undefined
            ? { kind: "absent", finalHeight }
            : { kind: "receipt", height: found.height, isFinal: found.height <= finalHeight },
        );
      });
      this.#end(question, answer);
      if (answer === undefined) return undefined;
      if (answer.kind !== "receipt") continue;
      if (answer.height > this.#height) this.#height = answer.height;
      return isApplied;
    }
    return undefined;
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
    if (output !== undefined && "height" in output && output.isFinal) this.#workload.toldOf(output.height);
  }

  #pickNode(): number {
    return this.#random.between(0, this.#parts.machines.length - 1);
  }

  async #sleep(ms: number): Promise<void> {
    await new Promise<void>((resolve) => void this.#clock.after(ms, resolve));
  }

  get #address(): Address {
    return addressOf(this.#role, this.#index);
  }

  get #nowMs(): number {
    return this.#parts.agenda.nowMs;
  }
}

function raceCall(what: RaceInput["what"], value: string): Call {
  const table = { namespace: RACE_NAMESPACE, table: "shared" };
  switch (what) {
    case "create":
      return { kind: "tableCreate", ...table };
    case "put":
      return { kind: "tablePut", ...table, key: utf8("a"), value: new Writer().text(value).finish() };
    case "delete":
      return { kind: "tableDelete", ...table, key: utf8("a") };
  }
}

/** What became of a transaction, as a decided block says. */
function fateOf(ledger: Ledger, { id, body }: Transaction): RaceOutput | "open" {
  const found = ledger.findTransaction(id);
  if (found !== undefined) {
    const result = present(ledger.results(found.height)?.[found.index], "result of a transaction in a block");
    return { kind: "included", isApplied: result.kind === "applied" };
  }
  return nonceAt(ledger, body.sender) > body.nonce ? { kind: "stale" } : "open";
}

function isJailedAt(ledger: Ledger, validator: Address): boolean {
  const bytes = ledger.state(ledger.head().height)?.get(poolKey(validator));
  const pool = bytes === undefined ? undefined : parsePool(bytes);
  return pool?.ok === true && pool.value.jailedUntilMs !== undefined;
}

function nonceAt(ledger: Ledger, sender: Address): bigint {
  const bytes = ledger.state(ledger.head().height)?.get(accountKey(sender));
  const account = bytes === undefined ? undefined : parseAccount(bytes);
  return account?.ok === true ? account.value.nonce : 0n;
}

function readRow(ledger: Ledger, owner: number, key: string): string | undefined {
  const bytes = ledger.state(ledger.head().height)?.get(rowKey(NAMESPACE, `c${owner}`, utf8(key)));
  if (bytes === undefined) return undefined;
  const text = readWith(bytes, (reader) => reader.text(1000));
  return text.ok ? text.value : undefined;
}
