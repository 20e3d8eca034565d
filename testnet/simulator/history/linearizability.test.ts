/**
 * The linearizability checker: the public vectors, the definition on tiny histories, runs of real objects, and what it
 * says of a history that it refuses or cannot finish.
 */

import fc from "fast-check";
import t, { type Test } from "tap";
import { present } from "../../../crypto/base/assert.ts";
import { checkProperty } from "../../../crypto/testing/property.ts";
import { listVectors, readVectorJson, readVectorText } from "../../../crypto/testing/vectors.ts";
import type { Operation } from "./history.ts";
import { checkLinearizability, explainVerdict, type Model } from "./linearizability.ts";
import {
  APPEND_LOG,
  COUNTER,
  keyValueModel,
  REGISTER,
  type KeyValueInput,
  type KeyValueOutput,
  type RegisterInput,
  type RegisterOutput,
} from "./models.ts";

import { checkPorcupineLog, parseKeyValueLog, parseRegisterLog } from "./porcupine.ts";
import { done, recorded, type Event } from "./testing/events.ts";
import { isLinearizableByDefinition, isOrder } from "./testing/reference.ts";
import {
  COUNTER_SUBJECT,
  KEY_VALUE_SUBJECT,
  LOG_SUBJECT,
  REGISTER_SUBJECT,
  runsOf,
  withAnotherAnswer,
  type Subject,
} from "./testing/runs.ts";

const VECTORS = "linearizability/test_data";

t.test("every public log gets the verdict that its source gives it", async (t) => {
  const { etcd_log_linearizable: expected } = readVectorJson<{ readonly etcd_log_linearizable: Record<string, boolean> }>(
    "linearizability/expected.json",
  );
  const names = listVectors(`${VECTORS}/jepsen`);
  t.same(names, Object.keys(expected).toSorted());
  t.equal(names.length, 20);
  for (const name of names)
    t.match(
      checkPorcupineLog(readVectorText(`${VECTORS}/jepsen/${name}`)),
      {
        ok: true,
        value: { isLinearizable: expected[name] },
      },
      name,
    );
  // These say in their names what they are.
  const stores = listVectors(`${VECTORS}/kv`);
  t.equal(stores.length, 6);
  for (const name of stores) {
    const checked = checkPorcupineLog(readVectorText(`${VECTORS}/kv/${name}`));
    t.match(checked, { ok: true, value: { isLinearizable: name.endsWith("-ok.txt") } }, name);
    // The README has the figure of the hardest: half the budget is left.
    t.ok(checked.ok && checked.value.steps < 2_000_000, `${name}: ${checked.ok ? checked.value.steps : 0} steps`);
  }
});

t.test("one changed answer in a good public log, or a log cut short, is noticed or not as it should be", async (t) => {
  const register = readVectorText(`${VECTORS}/jepsen/etcd_002.log`);
  const reads = [...register.matchAll(/:ok\t:read\t\d+/g)];
  t.ok(reads.length > 10);
  for (const { index, 0: text } of reads) {
    // No process writes 77.
    const changed = `${register.slice(0, index)}:ok\t:read\t77${register.slice(index + text.length)}`;
    t.match(checkPorcupineLog(changed), { ok: true, value: { isLinearizable: false } });
  }
  const lines = register.split("\n");
  // Linearizability is closed under prefixes: every cut of a good log is good.
  for (let count = 0; count < lines.length; count += 13)
    t.match(checkPorcupineLog(lines.slice(0, count).join("\n")), { ok: true, value: { isLinearizable: true } });
  const store = readVectorText(`${VECTORS}/kv/c10-ok.txt`);
  const twice = store.replace(/(:ok, :f :get, :key "\d+", :value "x[^"]*)"/, '$1x 0 0 y"');
  t.not(twice, store);
  t.match(checkPorcupineLog(twice), { ok: true, value: { isLinearizable: false } });
});

t.test("a log that is not of a format is refused with its line", async (t) => {
  const call = "INFO  jepsen.util - 0\t:invoke\t:write\t3";
  const refused = (log: string, line: number): void => {
    t.same(checkPorcupineLog(log), { ok: false, error: { code: "history_log_invalid", line } }, JSON.stringify(log));
  };
  t.match(checkPorcupineLog(`${call}\n\n${call.replace("invoke", "ok")}\r\n`), { ok: true });
  refused(`${call}\n${call}`, 2);
  refused(call.replace("invoke", "ok"), 1);
  refused(`${call}\nsomething else`, 2);
  refused(call.replace("3", "nil"), 1);
  refused(call.replace("write", "cas"), 1);
  refused(call.replace("3", "[1 2]"), 1);
  refused(call.replace("\t", " "), 1);
  refused('{:process 0, :type :invoke, :f :put, :key "0", :value nil}', 1);
  refused(
    '{:process 0, :type :invoke, :f :get, :key "0", :value nil}\n{:process 0, :type :ok, :f :get, :key "0", :value nil}',
    2,
  );
  refused('{:process 0, :type :invoke, :f :get, :key "0", :value nil} ', 1);
  refused(`{:process 0, :type :invoke, :f :get, :key "0", :value nil}\n${call}`, 2);
  t.match(parseRegisterLog(""), { ok: true, value: [] });
  const many = Array.from({ length: 100_001 }, (_, process) => `INFO  jepsen.util - ${process}\t:invoke\t:read\tnil`);
  t.same(parseRegisterLog(many.join("\n")), { ok: false, error: { code: "history_log_too_long", operationsMax: 100_000 } });
  t.match(parseRegisterLog(many.slice(1).join("\n")), { ok: true });
});

t.test("a budget that ends gives no verdict, and a hard part does not hide a violation in an easy one", async (t) => {
  const hard = readVectorText(`${VECTORS}/kv/c50-ok.txt`);
  t.match(checkPorcupineLog(hard, 100_000), { ok: false, error: { code: "history_undecided" } });
  const parsed = parseKeyValueLog(hard);
  if (!parsed.ok) return t.fail("the log is not read");
  const verdict = checkLinearizability(keyValueModel(""), parsed.value, { stepsMax: 100_000 });
  t.match(verdict, { kind: "unknown" });
  // It overruns by no more than a turn and the choices of one configuration.
  t.ok(verdict.steps >= 100_000 && verdict.steps < 103_000, `${verdict.steps}`);
  t.match(explainVerdict(verdict), /^unknown: the budget ended after \d+ steps in part "\d"/);
  const bad = recorded<KeyValueInput, KeyValueOutput>([
    ...done<KeyValueInput, KeyValueOutput>("p", { kind: "put", key: "easy", value: "1" }, { kind: "written" }),
    ...done<KeyValueInput, KeyValueOutput>("p", { kind: "get", key: "easy" }, { kind: "value", value: "2" }),
  ]);
  const both = checkLinearizability(keyValueModel(""), [...parsed.value, ...bad], { stepsMax: 100_000 });
  t.match(both, { kind: "violation", part: "easy", misfit: bad[1] });
});

type RegisterEvent = Event<RegisterInput, RegisterOutput>;

const write = (client: string, value: string): readonly RegisterEvent[] =>
  done<RegisterInput, RegisterOutput>(client, { kind: "write", value }, { kind: "written" });
const read = (client: string, value: string | undefined): readonly RegisterEvent[] =>
  done<RegisterInput, RegisterOutput>(client, { kind: "read" }, { kind: "value", value });
const swap = (client: string, [expected, value]: readonly [string, string], isSwapped: boolean): readonly RegisterEvent[] =>
  done<RegisterInput, RegisterOutput>(client, { kind: "swap", expected, value }, { kind: "swapped", isSwapped });
const lost = (client: string, value: string): readonly RegisterEvent[] => [opened(client, value), { client, kind: "info" }];
const opened = (client: string, value: string): RegisterEvent => ({ client, kind: "call", input: { kind: "write", value } });

t.test("small stories of a register, each beside the nearest one that cannot be", async (t) => {
  const good: readonly (readonly [string, readonly RegisterEvent[]])[] = [
    ["nothing happened", []],
    ["what was written is read", [...write("a", "1"), ...read("b", "1")]],
    ["an open write may be seen", [opened("a", "1"), ...read("b", "1")]],
    ["an open write may be unseen and then seen", [opened("a", "1"), ...read("b", undefined), ...read("b", "1")]],
    ["a lost write takes place much later", [...lost("a", "1"), ...write("a", "2"), ...read("b", "1")]],
    ["a lost write never takes place", [...lost("a", "1"), ...write("a", "2"), ...read("b", "2")]],
    ["a failed write leaves nothing", [opened("a", "1"), { client: "a", kind: "fail" }, ...read("b", undefined)]],
    ["a swap finds what it expects", [...write("a", "1"), ...swap("b", ["1", "2"], true), ...read("a", "2")]],
    ["a swap finds something else", [...write("a", "1"), ...swap("b", ["2", "3"], false), ...read("a", "1")]],
    ["two lost writes seen once each", [opened("a", "1"), opened("b", "2"), ...read("c", "1"), ...read("c", "2")]],
  ];
  const bad: readonly (readonly [string, readonly RegisterEvent[]])[] = [
    ["what nobody wrote is read", read("b", "1")],
    ["a write that returned is unseen", [...write("a", "1"), ...read("b", undefined)]],
    ["an open write is seen and then unseen", [opened("a", "1"), ...read("b", "1"), ...read("b", undefined)]],
    ["an overwritten value comes back", [...write("a", "1"), ...write("a", "2"), ...read("b", "1")]],
    ["a lost write takes place twice", [...lost("a", "1"), ...read("b", "1"), ...write("a", "2"), ...read("b", "1")]],
    ["a failed write is seen", [opened("a", "1"), { client: "a", kind: "fail" }, ...read("b", "1")]],
    ["a swap that found something else wrote", [...write("a", "1"), ...swap("b", ["2", "3"], false), ...read("a", "3")]],
    ["a swap says that it did not find what was there", [...write("a", "1"), ...swap("b", ["1", "2"], false)]],
    ["a swap finds what is not there", [...write("a", "1"), ...swap("b", ["2", "3"], true)]],
    [
      "two lost writes seen three times",
      [opened("a", "1"), opened("b", "2"), ...read("c", "1"), ...read("c", "2"), ...read("c", "1")],
    ],
  ];
  for (const [name, events] of good) t.equal(checkLinearizability(REGISTER, recorded(events)).kind, "linearizable", name);
  for (const [name, events] of bad) {
    const operations = recorded(events);
    const last = present(operations.at(-1), "the last operation");
    // In all of them it is the last answer that cannot be.
    t.match(checkLinearizability(REGISTER, operations), { kind: "violation", misfit: last }, name);
  }
});

t.test("a write of what is held already may be needed later", async (t) => {
  // The first b is held when the second is called; only after the a does the second make the read right.
  const again: readonly RegisterEvent[] = [...write("p", "b"), opened("q", "b"), ...write("r", "a")];
  const operations = recorded([...again, { client: "q", kind: "return", output: { kind: "written" } }, ...read("r", "b")]);
  t.match(checkLinearizability(REGISTER, operations), { kind: "linearizable" });
});

t.test("lost calls do not double the work of a refutation", async (t) => {
  const values = Array.from({ length: 30 }, (_, index) => `${index}`);
  const events = values.flatMap((value) => lost(`lost ${value}`, value));
  const seen = values.flatMap((value) => read("reader", value));
  const good = checkLinearizability(REGISTER, recorded([...events, ...seen]));
  t.match(good, { kind: "linearizable" });
  // Each was lost once, and one is seen twice. By brute force that is 2^30 sets of writes that took place.
  const bad = checkLinearizability(REGISTER, recorded([...events, ...seen, ...read("reader", "0")]));
  t.match(bad, { kind: "violation" });
  t.ok(bad.steps < 30_000, `${good.steps} and ${bad.steps} steps`);
});

t.test("a violation is shown with the longest order and what does not fit", async (t) => {
  const operations = recorded([...write("a", "1"), ...read("b", "1"), ...write("a", "2"), ...read("b", "1"), ...read("a", "9")]);
  const verdict = checkLinearizability(REGISTER, operations);
  t.match(verdict, { kind: "violation", part: "", prefix: operations.slice(0, 3), misfit: operations[3] });
  t.equal(
    explainVerdict(verdict),
    [
      "not linearizable: the longest order has 3 operations",
      '  a at 0 to 1 ms: {"kind":"write","value":"1"} -> {"kind":"written"}',
      '  b at 2 to 3 ms: {"kind":"read"} -> {"kind":"value","value":"1"}',
      '  a at 4 to 5 ms: {"kind":"write","value":"2"} -> {"kind":"written"}',
      "and nowhere after its call does this fit before it returns:",
      '  b at 6 to 7 ms: {"kind":"read"} -> {"kind":"value","value":"1"}',
    ].join("\n"),
  );
});

t.test("the search and the definition agree on every history of three register operations", async (t) => {
  const asked: readonly (readonly [RegisterInput, RegisterOutput | undefined])[] = [
    [{ kind: "write", value: "a" }, { kind: "written" }],
    [{ kind: "write", value: "b" }, { kind: "written" }],
    [{ kind: "read" }, { kind: "value", value: undefined }],
    [{ kind: "read" }, { kind: "value", value: "a" }],
    [{ kind: "read" }, { kind: "value", value: "b" }],
    [
      { kind: "swap", expected: "a", value: "b" },
      { kind: "swapped", isSwapped: true },
    ],
    [
      { kind: "swap", expected: "a", value: "b" },
      { kind: "swapped", isSwapped: false },
    ],
    [{ kind: "write", value: "a" }, undefined],
    [{ kind: "swap", expected: "a", value: "b" }, undefined],
  ];
  const counts = { good: 0, bad: 0, differ: 0 };
  for (const interleaving of interleavings(3))
    for (const first of asked)
      for (const second of asked)
        for (const third of asked) {
          const operations = recorded(
            interleaving.flatMap(({ client, isCall }): readonly RegisterEvent[] => {
              const [input, output] = [first, second, third][client] ?? first;
              if (isCall) return [{ client: `${client}`, kind: "call", input }];
              return output === undefined ? [] : [{ client: `${client}`, kind: "return", output }];
            }),
          );
          const expected = isLinearizableByDefinition(REGISTER, operations);
          counts[expected ? "good" : "bad"] += 1;
          if ((checkLinearizability(REGISTER, operations).kind === "linearizable") !== expected) counts.differ += 1;
        }
  t.equal(counts.good + counts.bad, 15 * 9 ** 3);
  t.ok(counts.good > 1000 && counts.bad > 1000, JSON.stringify(counts));
  t.equal(counts.differ, 0);
});

/** Every order of the calls and returns of so many clients that call in turn. */
function interleavings(count: number): readonly (readonly { readonly client: number; readonly isCall: boolean }[])[] {
  const all: { readonly client: number; readonly isCall: boolean }[][] = [];
  const extend = (
    events: { readonly client: number; readonly isCall: boolean }[],
    called: number,
    open: readonly number[],
  ): void => {
    if (events.length === 2 * count) all.push(events);
    if (called < count) extend([...events, { client: called, isCall: true }], called + 1, [...open, called]);
    for (const client of open)
      extend(
        [...events, { client, isCall: false }],
        called,
        open.filter((other) => other !== client),
      );
  };
  extend([], 0, []);
  return all;
}

t.test("what a real object answers to concurrent clients is accepted, with an order that explains it", async (t) => {
  await accepts(t, REGISTER, REGISTER_SUBJECT);
  await accepts(t, keyValueModel(undefined), KEY_VALUE_SUBJECT);
  await accepts(t, APPEND_LOG, LOG_SUBJECT);
  await accepts(t, COUNTER, COUNTER_SUBJECT);
});

async function accepts<State, Input, Output>(
  t: Test,
  model: Model<State, Input, Output>,
  subject: Subject<Input, Output>,
): Promise<void> {
  let concurrent = 0;
  const property = fc.property(runsOf(subject, { clientsMax: 4, turnsMax: 90, lostOfTwenty: 1 }), (operations) => {
    const verdict = checkLinearizability(model, operations);
    if (verdict.kind !== "linearizable") return false;
    if (operations.filter(({ outcome }) => outcome.kind === "unknown").length > 2) concurrent += 1;
    const ordered = new Set([...verdict.orders.values()].flat());
    return (
      operations.every((operation) => operation.outcome.kind !== "returned" || ordered.has(operation)) &&
      [...verdict.orders.values()].every(
        (order) => new Set(order).size === order.length && isOrder(model, order) && keepsItsWord(model, order),
      )
    );
  });
  await checkProperty(t, `${subject.name}: runs are accepted`, property, 300);
  t.ok(concurrent > 30, `${subject.name}: ${concurrent} runs with unknown outcomes`);
}

/** What a model calls an observation changes nothing. */
function keepsItsWord<State, Input, Output>(
  { initial, step, key, isObservation }: Model<State, Input, Output>,
  order: readonly Operation<Input, Output>[],
): boolean {
  let state = initial;
  return order.every(({ input, outcome }) => {
    const output = outcome.kind === "returned" ? outcome.output : undefined;
    const before = key(state);
    const next = step(state, input, output);
    if (!next.ok) return false;
    state = next.state;
    return output === undefined || !isObservation(input, output) || key(state) === before;
  });
}

t.test("on tiny runs with a changed answer the search says what the definition says, and where it ends", async (t) => {
  await agrees(t, REGISTER, REGISTER_SUBJECT);
  // The definition knows no parts: it sees the whole store at once.
  await agrees(t, keyValueModel(undefined), KEY_VALUE_SUBJECT, WHOLE_STORE);
  await agrees(t, APPEND_LOG, LOG_SUBJECT);
  await agrees(t, COUNTER, COUNTER_SUBJECT);
});

async function agrees<State, Input, Output, Whole = State>(
  t: Test,
  model: Model<State, Input, Output>,
  subject: Subject<Input, Output>,
  whole?: Model<Whole, Input, Output>,
): Promise<void> {
  const counts = { good: 0, bad: 0 };
  const tiny = runsOf(subject, { clientsMax: 3, turnsMax: 16, lostOfTwenty: 5 }).filter((operations) => operations.length <= 5);
  const changes = fc.record({ at: fc.nat(5), output: subject.output });
  const property = fc.property(tiny, changes, (operations, change) => {
    const changed = withAnotherAnswer(operations, change);
    const verdict = checkLinearizability(model, changed);
    const expected =
      whole === undefined ? isLinearizableByDefinition(model, changed) : isLinearizableByDefinition(whole, changed);
    counts[expected ? "good" : "bad"] += 1;
    if (verdict.kind === "violation") return !expected && isLongest(model, changed, verdict);
    return verdict.kind === "linearizable" && expected;
  });
  await checkProperty(t, `${subject.name}: agrees with the definition`, property, 1000);
  t.ok(counts.good > 50 && counts.bad > 50, `${subject.name}: ${JSON.stringify(counts)}`);
}

/** The whole store as one object, so that parts have something to agree with. */
const WHOLE_STORE: Model<ReadonlyMap<string, string>, KeyValueInput, KeyValueOutput> = {
  name: "whole store",
  initial: new Map(),
  step: (state, input, output) => {
    const held = state.get(input.key);
    if (input.kind === "get")
      return output === undefined || (output.kind === "value" && output.value === held) ? { ok: true, state } : { ok: false };
    if (output !== undefined && output.kind !== "written") return { ok: false };
    const value = input.kind === "put" ? input.value : `${held ?? ""}${input.value}`;
    return { ok: true, state: new Map([...state, [input.key, value]]) };
  },
  isObservation: ({ kind }) => kind === "get",
  key: (state) => JSON.stringify([...state]),
};

/** The prefix is an order of all that returned before the misfit, and no order has the misfit as well. */
function isLongest<State, Input, Output>(
  model: Model<State, Input, Output>,
  operations: readonly Operation<Input, Output>[],
  {
    part,
    prefix,
    misfit,
  }: { readonly part: string } & {
    readonly prefix: readonly Operation<Input, Output>[];
    readonly misfit: Operation<Input, Output>;
  },
): boolean {
  if (misfit.outcome.kind !== "returned") return false;
  const end = misfit.outcome.at.position;
  const members = operations.filter(({ input }) => model.partition === undefined || model.partition(input) === part);
  const called = members.filter(({ call }) => call.position < end);
  const owed = members.filter(({ outcome }) => outcome.kind === "returned" && outcome.at.position < end);
  return (
    isOrder(model, prefix) &&
    owed.every((operation) => prefix.includes(operation)) &&
    prefix.every((operation) => called.includes(operation) && operation !== misfit) &&
    !isLinearizableByDefinition(model, called, (operation) => operation === misfit || owed.includes(operation))
  );
}
