/**
 * A producer: appends to a partition exactly once, through nodes that fail.
 *
 * ```
 *   open: session id -> sessionOpen is final
 *   append: sequence n -> sessionAppend is final -> where it went, proven
 *             | no answer, no inclusion, a node that lies or is gone
 *             `-> the next node, a new transaction, the same sequence
 * ```
 *
 * Whether what was sent first was included does not matter: the state takes each sequence once (`contracts/sessions.ts`),
 * and the answer is read from the state, where the first one stands.
 */

import { CodedError } from "../../crypto/base/error.ts";
import { concatBytes } from "../../crypto/base/bytes.ts";
import { randomBytes } from "../../crypto/backend/random.ts";
import { SCARAB_EPOCH_MS } from "../../crypto/id/scarab.ts";
import type { KeyPair } from "../../crypto/sign/key.ts";
import type { Call } from "../../chain/block/call.ts";
import { sessionKey } from "../../chain/state/keys.ts";
import { parseSession, type SessionAppend } from "../../chain/state/sessions.ts";
import { UnprovenError } from "../light/errors.ts";
import type { PyralogClient } from "./client.ts";
import { CLIENT_CODES } from "./errors.ts";
import { pause } from "./feed.ts";
import { obeliskSession } from "./methods/obelisk.ts";
import { AccountSession } from "./session.ts";
import type { Verified } from "./verified.ts";

/** Where an append went: the first one of its sequence, whichever transaction it was in. */
export type Appended = Verified<Pick<SessionAppend, "sequence" | "firstIndex" | "count">>;

/** How a producer is opened. */
export type ProducerOptions = {
  /** One a node; asked in this order, and from the one that answered last. At least one. */
  readonly clients: readonly PyralogClient[];
  readonly keyPair: KeyPair;
  readonly stream: string;
  readonly partition: number;
  /** For one attempt: how long a transaction may take to be final before it is sent again. */
  readonly attemptMs?: number;
  readonly attemptsMax?: number;
  readonly signal: AbortSignal;
};

const ATTEMPT_MS_DEFAULT = 15_000;
const ATTEMPTS_MAX_DEFAULT = 20;
const PAUSE_MS_MIN = 100;
const PAUSE_MS_MAX = 3_000;
/** Refusals that another attempt may not meet. Everything that the client throws itself is one, and what lies, too. */
const PASSING = new Set([
  ...Object.keys(CLIENT_CODES),
  "busy",
  "internal",
  "rate_limited",
  "in_flight",
  "shutting_down",
  "height_none",
  "nonce_used",
  "nonce_ahead",
  "transaction_expired",
  "mempool_busy",
  "mempool_known",
  "mempool_nonce_gap",
  "mempool_sender_full",
  "mempool_replacement_fee",
  "mempool_full",
  "mempool_replaced",
  "mempool_evicted",
]);

/** See the file's head. Appends of one producer are made one after another. */
export class Producer {
  readonly session: bigint;
  readonly #options: ProducerOptions;
  readonly #accounts: readonly AccountSession[];
  #node = 0;
  #next = 0n;
  #last: Promise<unknown> = Promise.resolve();
  #failed: CodedError | undefined;

  private constructor(options: ProducerOptions, session: bigint, accounts: readonly AccountSession[], node: number) {
    this.#options = options;
    this.session = session;
    this.#accounts = accounts;
    this.#node = node;
  }

  /**
   * Opens a session. Its id is one of the network's, or when no node gives any, one of our own clock and chance: it only
   * has to be new on this partition.
   *
   * @throws CodedError with the code of the failed call (`partition_not_owner`, `session_many`, ...), or of the last attempt
   */
  static async open(options: ProducerOptions): Promise<Producer> {
    const { clients, keyPair, stream, partition, signal } = options;
    if (clients.length === 0) throw new CodedError("params_invalid", { message: "a producer needs a client", field: "clients" });
    const accounts = clients.map((client) => new AccountSession({ client, keyPair }));
    const session = await sessionId(clients, signal);
    const producer = new Producer(options, session, accounts, 0);
    await producer.#run([{ kind: "sessionOpen", stream, partition, session }]);
    return producer;
  }

  /**
   * Appends records, and resolves once they are final, with where they are.
   *
   * When it throws after the last attempt, or because `signal` aborted, it is not known whether they were appended; the
   * producer then takes no more (`producer_stopped`), since what comes after would have to wait for them.
   */
  async append(records: readonly Uint8Array[]): Promise<Appended> {
    const mine = this.#last.then(async () => await this.#appendNext(records));
    this.#last = mine.catch(() => undefined); // The caller hears of it.
    return await mine;
  }

  async #appendNext(records: readonly Uint8Array[]): Promise<Appended> {
    if (this.#failed !== undefined) throw this.#failed;
    const { stream, partition } = this.#options;
    const sequence = this.#next;
    try {
      const call: Call = { kind: "sessionAppend", stream, partition, session: this.session, sequence, records };
      const found = await this.#run([call], async (client) => await this.#find(client, sequence));
      this.#next += 1n;
      return found;
    } catch (error) {
      this.#failed = new CodedError("producer_stopped", { message: CLIENT_CODES.producer_stopped, sequence }, { cause: error });
      throw error;
    }
  }

  /** Sends calls until they are final, by one node after another. */
  async #run(calls: readonly Call[]): Promise<undefined>;
  async #run<T>(calls: readonly Call[], read: (client: PyralogClient) => Promise<T>): Promise<T>;
  async #run<T>(calls: readonly Call[], read?: (client: PyralogClient) => Promise<T>): Promise<T | undefined> {
    const { signal, attemptMs = ATTEMPT_MS_DEFAULT, attemptsMax = ATTEMPTS_MAX_DEFAULT } = this.#options;
    for (let attempt = 1; ; attempt += 1) {
      signal.throwIfAborted();
      const account = this.#accounts[this.#node % this.#accounts.length];
      if (account === undefined) throw new CodedError("params_invalid", { field: "clients" });
      try {
        const { value } = await account.send(calls, { signal, timeoutMs: attemptMs });
        if (value.result.kind === "failed")
          throw new CodedError(value.result.code, { message: "the call failed", field: value.result.field });
        return read === undefined ? undefined : await read(account.client);
      } catch (error) {
        signal.throwIfAborted();
        if (!isPassing(error) || attempt >= attemptsMax) throw error;
        this.#node += 1;
        await pause(Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** Math.min(attempt - 1, 8)), signal);
      }
    }
  }

  /** Where a sequence of this session went, from the state. */
  async #find(client: PyralogClient, sequence: bigint): Promise<Appended> {
    const { stream, partition, signal } = this.#options;
    const key = sessionKey(stream, partition, this.session);
    for await (const page of client.stateRows({ from: key, to: concatBytes(key, Uint8Array.of(0)) }, { signal })) {
      const [row] = page.value;
      const session = row === undefined ? undefined : parseSession(row.value);
      const found = session?.ok === true ? session.value.appends.find((each) => each.sequence === sequence) : undefined;
      if (found !== undefined) {
        const { firstIndex, count } = found;
        return { value: { sequence, firstIndex, count }, verified: page.verified };
      }
    }
    // The transaction was final, so a head that does not have it is an old one.
    throw new UnprovenError({ code: "stale_head" });
  }
}

function isPassing(error: unknown): boolean {
  if (error instanceof UnprovenError) return true;
  return error instanceof CodedError && PASSING.has(error.code);
}

async function sessionId(clients: readonly PyralogClient[], signal: AbortSignal): Promise<bigint> {
  for (const client of clients) {
    try {
      return (await client.ask(obeliskSession, {}, { signal })).session;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof CodedError) && !(error instanceof UnprovenError)) throw error;
    }
  }
  // Shaped as a Scarab id, so that it stands above those that have ended here; the low bits are drawn instead of leased.
  const [a = 0, b = 0, c = 0] = randomBytes(3);
  return (BigInt(Date.now() - SCARAB_EPOCH_MS) << 23n) | BigInt(((a << 16) | (b << 8) | c) & 0x7f_ffff);
}
