/**
 * What clients asked and what they were told: the recorder that the simulator's clients write to, and the shape of
 * a history that every checker of this folder reads.
 *
 * A history is a sequence of events, calls and returns, in the order in which they happened: the simulator is one
 * process, so there is such an order, also among events of one millisecond. The position of an event in that sequence
 * is what checkers compare; milliseconds are for people.
 */

import { assert, present } from "../../../crypto/base/assert.ts";
import type { Brand } from "../../../crypto/base/brand.ts";
import { toHex } from "../../../crypto/base/bytes.ts";

/** When an event happened: its place among all events of the history, and the simulator's clock. */
export type Moment = { readonly position: number; readonly atMs: number };

/** What the client learnt. */
export type Outcome<Output> =
  /** It happened, between the call and `at`, and this was the answer. */
  | { readonly kind: "returned"; readonly output: Output; readonly at: Moment }
  /** It is known not to have happened, and never to happen. */
  | { readonly kind: "failed"; readonly at: Moment }
  /** It may have happened, may happen later, or may never happen: a timeout, a crash, or still open. */
  | { readonly kind: "unknown" };

/** One call of a client. `index` is its place among the calls of the history. */
export type Operation<Input, Output> = {
  readonly index: number;
  readonly client: string;
  readonly input: Input;
  readonly call: Moment;
  readonly outcome: Outcome<Output>;
};

/** Names an operation that was begun. */
export type Handle = Brand<number, "OperationHandle">;

/**
 * Records what clients do. A client does one thing at a time: one that sends several at once records under several
 * names. Deterministic: it has no clock of its own, and gives back what it was told, in the order it was told.
 */
export class History<Input, Output> {
  readonly #operationsMax: number;
  readonly #operations: Operation<Input, Output>[] = [];
  readonly #open = new Map<string, Handle>();
  #position = 0;
  #atMs = Number.NEGATIVE_INFINITY;

  constructor(options: { readonly operationsMax: number }) {
    assert(options.operationsMax > 0, `operationsMax is ${options.operationsMax}`);
    this.#operationsMax = options.operationsMax;
  }

  /** Whether the next `begin` would be one too many. The workload ends then: what is not recorded must not be done. */
  get isFull(): boolean {
    return this.#operations.length >= this.#operationsMax;
  }

  /** The client makes a call. */
  begin(client: string, input: Input, atMs: number): Handle {
    assert(!this.isFull, `the history is full with ${this.#operationsMax} operations`);
    assert(!this.#open.has(client), `${client} has an operation open`);
    const index = this.#operations.length;
    const handle = index as Handle;
    this.#operations.push({ index, client, input, call: this.#moment(atMs), outcome: { kind: "unknown" } });
    this.#open.set(client, handle);
    return handle;
  }

  /** The answer came. */
  end(handle: Handle, output: Output, atMs: number): void {
    this.#close(handle, { kind: "returned", output, at: this.#moment(atMs) });
  }

  /** It is known not to have happened. A doubt is `info`: calling it a failure would hide faults, or invent them. */
  fail(handle: Handle, atMs: number): void {
    this.#close(handle, { kind: "failed", at: this.#moment(atMs) });
  }

  /** The client gives up waiting: it may have happened or not, and may yet. */
  info(handle: Handle, atMs: number): void {
    this.#moment(atMs);
    this.#close(handle, { kind: "unknown" });
  }

  /** All operations in the order of their calls; those still open are `unknown`. */
  operations(): readonly Operation<Input, Output>[] {
    return [...this.#operations];
  }

  #moment(atMs: number): Moment {
    assert(atMs >= this.#atMs, `time went from ${this.#atMs} back to ${atMs} ms: record by the simulator's own clock`);
    this.#atMs = atMs;
    this.#position += 1;
    return { position: this.#position, atMs };
  }

  #close(handle: Handle, outcome: Outcome<Output>): void {
    const operation = present(this.#operations[handle], `operation ${handle}`);
    assert(this.#open.get(operation.client) === handle, `operation ${handle} of ${operation.client} is not open`);
    this.#open.delete(operation.client);
    this.#operations[handle] = { ...operation, outcome };
  }
}

/** One line for people: `c1 at 20 to 35 ms: {"kind":"read"} -> {"kind":"value","value":"4"}`. */
export function describeOperation<Input, Output>({ client, input, call, outcome }: Operation<Input, Output>): string {
  const asked = `: ${describeValue(input)} -> `;
  switch (outcome.kind) {
    case "returned":
      return `${client} at ${call.atMs} to ${outcome.at.atMs} ms${asked}${describeValue(outcome.output)}`;
    case "failed":
      return `${client} at ${call.atMs} to ${outcome.at.atMs} ms${asked}did not happen`;
    case "unknown":
      return `${client} at ${call.atMs} ms${asked}unknown`;
  }
}

/** A value for people: bytes as hex, bigints as their digits. */
export function describeValue(value: unknown): string {
  const text: string | undefined = JSON.stringify(value, (_, field: unknown) => {
    if (typeof field === "bigint") return `${field}`;
    return field instanceof Uint8Array ? toHex(field) : field;
  });
  return text ?? "undefined";
}
