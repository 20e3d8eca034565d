/** Concurrent runs of real objects, each of which does one thing at a time: whatever comes out is linearizable. */

import fc from "fast-check";
import { present } from "../../../../crypto/base/assert.ts";
import type { Operation } from "../history.ts";

import type {
  CounterInput,
  CounterOutput,
  KeyValueInput,
  KeyValueOutput,
  LogInput,
  LogOutput,
  RegisterInput,
  RegisterOutput,
} from "../models.ts";
import { recorded, type Event } from "./events.ts";

/** An object that runs, and what to ask it. `open` makes a new one. */
export type Subject<Input, Output> = {
  readonly name: string;
  readonly input: fc.Arbitrary<Input>;
  readonly output: fc.Arbitrary<Output>;
  readonly open: () => (input: Input) => Output;
};

const few = fc.constantFrom("a", "b", "c");

/** A register. */
export const REGISTER_SUBJECT: Subject<RegisterInput, RegisterOutput> = {
  name: "register",
  input: fc.oneof(
    fc.constant({ kind: "read" } as const),
    fc.record({ kind: fc.constant("write" as const), value: few }),
    fc.record({ kind: fc.constant("swap" as const), expected: few, value: few }),
  ),
  output: fc.oneof(
    fc.record({ kind: fc.constant("value" as const), value: fc.option(few, { nil: undefined }) }),
    fc.constant({ kind: "written" } as const),
    fc.record({ kind: fc.constant("swapped" as const), isSwapped: fc.boolean() }),
  ),
  open: () => {
    let held: string | undefined;
    return (input) => {
      if (input.kind === "read") return { kind: "value", value: held };
      const isSwapped = input.kind === "write" || held === input.expected;
      if (isSwapped) held = input.value;
      return input.kind === "write" ? { kind: "written" } : { kind: "swapped", isSwapped };
    };
  },
};

/** A key-value store of two keys. */
export const KEY_VALUE_SUBJECT: Subject<KeyValueInput, KeyValueOutput> = {
  name: "key-value",
  input: fc.oneof(
    fc.record({ kind: fc.constant("get" as const), key: fc.constantFrom("x", "y") }),
    fc.record({ kind: fc.constantFrom("put" as const, "append" as const), key: fc.constantFrom("x", "y"), value: few }),
  ),
  output: fc.oneof(
    fc.record({
      kind: fc.constant("value" as const),
      value: fc.option(fc.string({ unit: few, maxLength: 2 }), { nil: undefined }),
    }),
    fc.constant({ kind: "written" } as const),
  ),
  open: () => {
    const held = new Map<string, string>();
    return (input) => {
      if (input.kind === "get") return { kind: "value", value: held.get(input.key) };
      const before = input.kind === "append" ? (held.get(input.key) ?? "") : "";
      held.set(input.key, before + input.value);
      return { kind: "written" };
    };
  },
};

/** An append-only log. */
export const LOG_SUBJECT: Subject<LogInput, LogOutput> = {
  name: "append-log",
  input: fc.oneof(
    fc.record({ kind: fc.constant("append" as const), entry: few }),
    fc.record({ kind: fc.constant("read" as const), from: fc.nat(2) }),
  ),
  output: fc.oneof(
    fc.record({ kind: fc.constant("appended" as const), index: fc.nat(2) }),
    fc.record({ kind: fc.constant("entries" as const), entries: fc.array(few, { maxLength: 2 }) }),
  ),
  open: () => {
    const held: string[] = [];
    return (input) => {
      if (input.kind === "read") return { kind: "entries", entries: held.slice(input.from) };
      held.push(input.entry);
      return { kind: "appended", index: held.length - 1 };
    };
  },
};

/** A counter. */
export const COUNTER_SUBJECT: Subject<CounterInput, CounterOutput> = {
  name: "counter",
  input: fc.oneof(
    fc.constant({ kind: "read" } as const),
    fc.record({ kind: fc.constant("add" as const), amount: fc.bigInt({ min: -2n, max: 2n }) }),
  ),
  output: fc.oneof(
    fc.record({ kind: fc.constant("count" as const), count: fc.bigInt({ min: -2n, max: 2n }) }),
    fc.constant({ kind: "added" } as const),
  ),
  open: () => {
    let held = 0n;
    return (input) => {
      if (input.kind === "read") return { kind: "count", count: held };
      held += input.amount;
      return { kind: "added" };
    };
  },
};

/** What a client does when its turn comes: the die decides what happens to the operation that it has open. */
type Turn<Input> = { readonly client: number; readonly input: Input; readonly die: number };

/** An operation on its way: `output` once it has taken place, which a client may never learn. */
type Open<Output> = { output: Output | undefined };

/** How much goes on. `lostOfTwenty` is how often a client gives up waiting. */
export type RunSize = { readonly clientsMax: number; readonly turnsMax: number; readonly lostOfTwenty: number };

/** Histories of clients that share one object. A client whose outcome is unknown goes on under a new name, as in Jepsen. */
export function runsOf<Input, Output>(
  subject: Subject<Input, Output>,
  size: RunSize,
): fc.Arbitrary<readonly Operation<Input, Output>[]> {
  const turn = fc.record({ client: fc.nat(size.clientsMax - 1), input: subject.input, die: fc.nat(19) });
  return fc
    .array(turn, { maxLength: size.turnsMax, size: "max" })
    .map((turns) => recorded(play(subject, turns, size.lostOfTwenty)));
}

function play<Input, Output>(
  subject: Subject<Input, Output>,
  turns: readonly Turn<Input>[],
  lostOfTwenty: number,
): readonly Event<Input, Output>[] {
  const apply = subject.open();
  const events: Event<Input, Output>[] = [];
  const open = new Map<string, Open<Output> & { readonly input: Input }>();
  // Operations that nobody waits for and that have not taken place: they may, at any later turn.
  const adrift: Input[] = [];
  const lives = new Map<number, number>();
  for (const { client: index, input, die } of turns) {
    const client = `${index}.${lives.get(index) ?? 0}`;
    if (die >= 17 && adrift.length > 0) apply(present(adrift.shift(), "an operation adrift"));
    const current = open.get(client);
    if (current === undefined) {
      open.set(client, { input, output: undefined });
      events.push({ client, kind: "call", input });
    } else if (die < lostOfTwenty) {
      if (current.output === undefined) adrift.push(current.input);
      open.delete(client);
      lives.set(index, (lives.get(index) ?? 0) + 1);
      events.push({ client, kind: "info" });
    } else if (current.output !== undefined) {
      open.delete(client);
      events.push({ client, kind: "return", output: current.output });
    } else if (die === 19) {
      open.delete(client);
      events.push({ client, kind: "fail" });
    } else current.output = apply(current.input);
  }
  return events;
}

/** The same history with one answer replaced by another, perhaps a right one. */
export function withAnotherAnswer<Input, Output>(
  operations: readonly Operation<Input, Output>[],
  { at, output }: { readonly at: number; readonly output: Output },
): readonly Operation<Input, Output>[] {
  const returned = operations.filter(({ outcome }) => outcome.kind === "returned");
  const chosen = returned[at % Math.max(1, returned.length)];
  return operations.map((operation) =>
    operation === chosen && operation.outcome.kind === "returned"
      ? { ...operation, outcome: { ...operation.outcome, output } }
      : operation,
  );
}
