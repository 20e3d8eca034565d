/** The recorder, the four session guarantees and what a chain owes its clients: each held, and nearest to it broken. */

import fc from "fast-check";
import t from "tap";
import { present } from "../../../crypto/base/assert.ts";
import { checkProperty } from "../../../crypto/testing/property.ts";
import {
  checkExactlyOnce,
  checkHeightsRise,
  checkReceiptsStay,
  explainChain,
  type Applied,
  type ChainInput,
  type ChainOperation,
  type ChainOutput,
  type ChainVerdict,
} from "./chain.ts";
import { describeOperation, History, type Operation } from "./history.ts";
import type { KeyValueInput, KeyValueOutput } from "./models.ts";
import {
  checkMonotonicReads,
  checkMonotonicWrites,
  checkReadYourWrites,
  checkSessions,
  checkWritesFollowReads,
  explainSession,
  keyValueSessions,
  type SessionView,
} from "./sessions.ts";
import { done, recorded, type Event } from "./testing/events.ts";

t.test("a history gives back what it was told, in the order of the calls", async (t) => {
  const history = new History<string, string>({ operationsMax: 4 });
  const first = history.begin("a", "one", 5);
  const second = history.begin("b", "two", 5);
  history.end(second, "done", 7);
  const third = history.begin("b", "three", 7);
  history.fail(third, 8);
  const fourth = history.begin("c", "four", 9);
  t.ok(history.isFull);
  history.info(fourth, 12);
  const operations = history.operations();
  t.strictSame(operations, [
    { index: 0, client: "a", input: "one", call: { position: 1, atMs: 5 }, outcome: { kind: "unknown" } },
    {
      index: 1,
      client: "b",
      input: "two",
      call: { position: 2, atMs: 5 },
      outcome: { kind: "returned", output: "done", at: { position: 3, atMs: 7 } },
    },
    {
      index: 2,
      client: "b",
      input: "three",
      call: { position: 4, atMs: 7 },
      outcome: { kind: "failed", at: { position: 5, atMs: 8 } },
    },
    { index: 3, client: "c", input: "four", call: { position: 6, atMs: 9 }, outcome: { kind: "unknown" } },
  ]);
  history.end(first, "late", 20);
  t.same(operations[0]?.outcome, { kind: "unknown" }, "what was given out stays as it was");
  t.same(history.operations().map(describeOperation), [
    'a at 5 to 20 ms: "one" -> "late"',
    'b at 5 to 7 ms: "two" -> "done"',
    'b at 7 to 8 ms: "three" -> did not happen',
    'c at 9 ms: "four" -> unknown',
  ]);
});

t.test("a client does one thing at a time, time does not go back, and nothing is recorded past the bound", async (t) => {
  const history = new History<string, string>({ operationsMax: 3 });
  const refused = { name: "AssertionError" };
  const first = history.begin("a", "one", 5);
  t.throws(() => history.begin("a", "two", 6), refused);
  t.throws(() => history.begin("b", "two", 4), refused);
  history.info(first, 6);
  t.throws(() => history.end(first, "late", 7), refused, "who gave up waiting does not learn it later");
  history.fail(history.begin("a", "two", 7), 7);
  history.begin("b", "three", 7);
  t.throws(() => history.begin("c", "four", 7), refused);
  t.equal(history.operations().length, 3);
  t.throws(() => new History({ operationsMax: 0 }), refused);
});

type StoreEvent = Event<KeyValueInput, KeyValueOutput>;

const put = (client: string, key: string, value: string): readonly StoreEvent[] =>
  done<KeyValueInput, KeyValueOutput>(client, { kind: "put", key, value }, { kind: "written" });
const get = (client: string, key: string, value: string | undefined): readonly StoreEvent[] =>
  done<KeyValueInput, KeyValueOutput>(client, { kind: "get", key }, { kind: "value", value });
const lostPut = (client: string, key: string, value: string): readonly StoreEvent[] => [
  { client, kind: "call", input: { kind: "put", key, value } },
  { client, kind: "info" },
];

/** `x=1 y=2`: the puts that took effect, in this order. A client `name@node` asks that node, others ask node 1. */
function viewed(
  events: readonly StoreEvent[],
  order: string,
): readonly [readonly Operation<KeyValueInput, KeyValueOutput>[], SessionView<KeyValueInput, KeyValueOutput>] {
  const puts = order.split(" ").map((text) => ({ key: text.split("=")[0] ?? "", value: text.split("=")[1] ?? "" }));
  return [recorded(events), keyValueSessions(puts, ({ client }) => client.split("@")[1] ?? "1")];
}

t.test("a client reads its own writes", async (t) => {
  const held = checkReadYourWrites(...viewed([...put("a", "x", "1"), ...get("a", "x", "1"), ...get("b", "x", undefined)], "x=1"));
  t.same(held, { kind: "held", guarantee: "read_your_writes", comparisons: 1 }, "another client may be behind");
  t.match(checkReadYourWrites(...viewed([...put("a", "x", "1"), ...get("a", "x", "2")], "x=1 x=2")), { kind: "held" });
  t.match(
    checkReadYourWrites(...viewed([...lostPut("a", "x", "1"), ...get("a", "x", undefined)], "x=1")),
    { kind: "held", comparisons: 0 },
    "nobody acknowledged it",
  );
  const unseen = viewed([...put("a", "x", "1"), ...get("a", "x", undefined)], "x=1");
  t.equal(
    explainSession(checkReadYourWrites(...unseen)),
    [
      "read_your_writes: the read saw version 0 of x, after the same client wrote version 1 of x",
      '  a at 0 to 1 ms: {"kind":"put","key":"x","value":"1"} -> {"kind":"written"}',
      '  a at 2 to 3 ms: {"kind":"get","key":"x"} -> {"kind":"value"}',
    ].join("\n"),
  );
  const turned = viewed([...put("a", "x", "2"), ...put("a", "x", "1"), ...get("a", "x", "1")], "x=1 x=2");
  t.match(checkReadYourWrites(...turned), { kind: "violation" }, "the server lacks the write that is later in its order");
  const older = viewed([...put("b", "x", "2"), ...put("a", "x", "1"), ...get("a", "x", "2")], "x=2 x=1");
  t.match(checkReadYourWrites(...older), { kind: "violation", operations: older[0].slice(1) });
});

t.test("a client's reads do not go back", async (t) => {
  const writes = [...put("w", "x", "1"), ...put("w", "x", "2")];
  const rising = [...writes, ...get("a", "x", "1"), ...get("a", "x", "2"), ...get("b", "x", "1"), ...get("a", "y", undefined)];
  t.same(checkMonotonicReads(...viewed(rising, "x=1 x=2")), { kind: "held", guarantee: "monotonic_reads", comparisons: 1 });
  const falling = viewed([...writes, ...get("a", "x", "2"), ...get("a", "x", "1")], "x=1 x=2");
  t.match(checkMonotonicReads(...falling), { kind: "violation", operations: falling[0].slice(2) });
  t.match(checkMonotonicReads(...viewed([...writes, ...get("a", "x", "2"), ...get("a", "x", "1")], "x=2 x=1")), { kind: "held" });
  const gone = viewed([...writes, ...get("a", "x", "2"), ...get("a", "x", undefined)], "x=1 x=2");
  t.match(checkMonotonicReads(...gone), { kind: "violation" });
});

t.test("a client's writes take place in its order, everywhere", async (t) => {
  const writes = [...put("w", "x", "1"), ...put("w", "y", "1")];
  const inOrder = [...writes, ...get("a@2", "y", "1"), ...get("b@2", "x", "1"), ...get("a@3", "x", undefined)];
  t.same(
    checkMonotonicWrites(...viewed(inOrder, "x=1 y=1")),
    { kind: "held", guarantee: "monotonic_writes", comparisons: 2 },
    "node 3 has neither",
  );
  t.match(checkMonotonicWrites(...viewed(writes, "y=1 x=1")), {
    kind: "violation",
    why: "the write has version 1, after the same client wrote version 2 of x",
  });
  const partial = viewed([...writes, ...get("a@2", "y", "1"), ...get("b@2", "x", undefined)], "x=1 y=1");
  t.match(checkMonotonicWrites(...partial), { kind: "violation", operations: partial[0] });
  t.match(checkMonotonicWrites(...viewed([...writes, ...get("b@2", "x", undefined), ...get("a@2", "y", "1")], "x=1 y=1")), {
    kind: "held",
  });
  // Called before the other read returned: the server may have got both between.
  const overlapping: readonly StoreEvent[] = [
    ...writes,
    { client: "b@2", kind: "call", input: { kind: "get", key: "x" } },
    ...get("a@2", "y", "1"),
    { client: "b@2", kind: "return", output: { kind: "value", value: undefined } },
  ];
  t.match(checkMonotonicWrites(...viewed(overlapping, "x=1 y=1")), { kind: "held" });
  const unacknowledged = [...lostPut("w", "x", "1"), ...put("w", "y", "1")];
  t.match(checkMonotonicWrites(...viewed(unacknowledged, "y=1 x=1")), { kind: "held" });
});

t.test("a write comes after what its client had read, everywhere", async (t) => {
  const reply = [...put("w", "x", "1"), ...get("a", "x", "1"), ...put("a", "y", "1")];
  const inOrder = [...reply, ...get("b@2", "y", "1"), ...get("b@2", "x", "1")];
  t.same(checkWritesFollowReads(...viewed(inOrder, "x=1 y=1")), {
    kind: "held",
    guarantee: "writes_follow_reads",
    comparisons: 2,
  });
  t.match(checkWritesFollowReads(...viewed(reply, "y=1 x=1")), { kind: "violation" });
  const blind = [...put("w", "x", "1"), ...get("a", "x", undefined), ...put("a", "y", "1")];
  t.match(checkWritesFollowReads(...viewed(blind, "y=1 x=1")), { kind: "held", comparisons: 0 }, "it had seen nothing");
  const partial = viewed([...reply, ...get("b@2", "y", "1"), ...get("b@2", "x", undefined)], "x=1 y=1");
  t.match(checkWritesFollowReads(...partial), { kind: "violation", operations: partial[0].slice(1) });
  t.match(checkWritesFollowReads(...viewed([...reply, ...get("b@2", "y", "1"), ...get("b@3", "x", undefined)], "x=1 y=1")), {
    kind: "held",
  });
  t.match(checkMonotonicWrites(...partial), { kind: "held" }, "that is another guarantee");
});

t.test("an acknowledged write that never took place, and a value that nobody wrote, break every guarantee", async (t) => {
  for (const verdict of checkSessions(...viewed([...put("a", "x", "1"), ...put("a", "x", "2")], "x=1")))
    t.match(verdict, { kind: "violation", why: "the write was acknowledged, and never took place" });
  for (const verdict of checkSessions(...viewed([...put("a", "x", "1"), ...get("a", "x", "9")], "x=1")))
    t.match(verdict, { kind: "violation", why: "the read saw a value that no write put there" });
  for (const verdict of checkSessions(
    ...viewed([...put("a", "x", "1"), ...lostPut("a", "x", "2"), ...get("a", "x", "1")], "x=1"),
  ))
    t.match(verdict, { kind: "held" });
  t.throws(
    () =>
      keyValueSessions(
        [
          { key: "x", value: "1" },
          { key: "x", value: "1" },
        ],
        () => "1",
      ),
    { name: "AssertionError" },
  );
  const appended = recorded<KeyValueInput, KeyValueOutput>([
    { client: "a", kind: "call", input: { kind: "append", key: "x", value: "1" } },
  ]);
  t.throws(
    () =>
      checkReadYourWrites(
        appended,
        keyValueSessions([], () => "1"),
      ),
    { name: "AssertionError" },
  );
});

t.test("one server that does one thing at a time keeps all four, and one that forgets a write breaks the first", async (t) => {
  const turn = fc.record({ client: fc.nat(3), key: fc.constantFrom("x", "y", "z"), isPut: fc.boolean() });
  let comparisons = 0;
  const property = fc.property(fc.array(turn, { minLength: 1, maxLength: 60, size: "max" }), (turns) => {
    const held = new Map<string, string>();
    const order: { key: string; value: string }[] = [];
    const events = turns.flatMap(({ client, key, isPut }, index): readonly StoreEvent[] => {
      if (!isPut) return get(`${client}`, key, held.get(key));
      held.set(key, `${index}`);
      order.push({ key, value: `${index}` });
      return put(`${client}`, key, `${index}`);
    });
    const view = keyValueSessions(order, () => "1");
    const verdicts = checkSessions(recorded(events), view);
    for (const verdict of verdicts) comparisons += verdict.kind === "held" ? verdict.comparisons : 0;
    const last = order.at(-1);
    if (last === undefined) return verdicts.every(({ kind }) => kind === "held");
    // Whoever wrote last now reads what was there before the first write.
    const writer = present(
      turns.findLast(({ isPut }) => isPut),
      "the last put",
    ).client;
    const forgotten = recorded([...events, ...get(`${writer}`, last.key, undefined)]);
    return verdicts.every(({ kind }) => kind === "held") && checkReadYourWrites(forgotten, view).kind === "violation";
  });
  await checkProperty(t, "one server", property);
  t.ok(comparisons > 1000, `${comparisons} comparisons`);
});

type ChainEvent = Event<ChainInput, ChainOutput>;

const submit = (client: string, transaction: string, output: ChainOutput): readonly ChainEvent[] =>
  done<ChainInput, ChainOutput>(client, { kind: "submit", transaction, node: "1" }, output);
const lostSubmit = (client: string, transaction: string, end: "fail" | "info"): readonly ChainEvent[] => [
  { client, kind: "call", input: { kind: "submit", transaction, node: "1" } },
  { client, kind: end },
];
const ask = (client: string, [transaction, node]: readonly [string, string], output: ChainOutput): readonly ChainEvent[] =>
  done<ChainInput, ChainOutput>(client, { kind: "receipt", transaction, node }, output);
const head = (client: string, node: string, height: bigint, isFinal = true): readonly ChainEvent[] =>
  done<ChainInput, ChainOutput>(client, { kind: "head", node }, { kind: "head", height, isFinal });
const final = (height: bigint): ChainOutput => ({ kind: "receipt", height, isFinal: true });
const shown = (height: bigint): ChainOutput => ({ kind: "receipt", height, isFinal: false });
const absent = (finalHeight: bigint): ChainOutput => ({ kind: "absent", finalHeight });
const pooled: ChainOutput = { kind: "pooled" };

t.test("a transaction is applied once, however often it is submitted", async (t) => {
  const check = (events: readonly ChainEvent[], applied: readonly Applied[]): ChainVerdict =>
    checkExactlyOnce(recorded(events), applied);
  const retried = [...lostSubmit("a", "T", "info"), ...submit("a", "T", final(4n)), ...submit("b", "T", final(4n))];
  const once = { transaction: "T", height: 4n };
  t.same(check(retried, [once]), { kind: "held", check: "exactly_once", comparisons: 3 });
  t.match(check(retried, [once, { transaction: "T", height: 6n }]), {
    kind: "violation",
    why: /^T was applied at height 4 and again/,
  });
  t.match(check(retried, [once, once]), { kind: "violation" }, "also twice in one block");
  t.match(check(retried, [{ transaction: "T", height: 5n }]), { kind: "violation", why: /is at height 5 of the chain/ });
  t.match(check(retried, []), { kind: "violation", why: /is not in the chain/ });
  // Unknown and pooled may be applied or not; what failed, or was never submitted, may not.
  for (const maybe of [lostSubmit("a", "T", "info"), submit("a", "T", pooled)])
    for (const applied of [[], [once]]) t.match(check(maybe, applied), { kind: "held" });
  t.match(check(lostSubmit("a", "T", "fail"), []), { kind: "held" });
  t.match(check(lostSubmit("a", "T", "fail"), [once]), { kind: "violation" });
  t.match(check([...lostSubmit("a", "T", "fail"), ...lostSubmit("a", "T", "info")], [once]), { kind: "held" });
  t.match(check([], [once]), { kind: "violation" });
  t.match(check(submit("a", "T", shown(4n)), []), { kind: "held" }, "what is not final may vanish");
});

t.test("a final receipt stays", async (t) => {
  const check = (events: readonly ChainEvent[]): ChainVerdict => checkReceiptsStay(recorded(events));
  const given = submit("a", "T", final(4n));
  t.same(check([...given, ...ask("a", ["T", "1"], final(4n)), ...ask("b", ["T", "2"], absent(3n))]), {
    kind: "held",
    check: "receipts_stay",
    comparisons: 3,
  });
  t.match(check([...given, ...ask("b", ["T", "2"], absent(4n))]), { kind: "violation", why: /^2 is final up to height 4/ });
  t.match(check([...ask("b", ["T", "2"], absent(4n)), ...given]), { kind: "violation" }, "height 4 is one block, whenever asked");
  t.match(check([...given, ...ask("b", ["T", "1"], absent(3n))]), { kind: "violation", why: /takes it back$/ });
  t.match(check([...ask("b", ["T", "1"], absent(3n)), ...given]), { kind: "held" });
  t.match(check([...given, ...ask("b", ["T", "1"], shown(4n))]), { kind: "violation", why: /takes it back$/ });
  t.match(check([...given, ...ask("b", ["T", "2"], shown(4n))]), { kind: "held" }, "node 2 is behind");
  t.match(check([...given, ...ask("b", ["T", "2"], final(5n))]), { kind: "violation", why: /two heights/ });
  t.match(check([...submit("a", "T", shown(4n)), ...ask("a", ["T", "1"], final(5n))]), { kind: "held" }, "a block was undone");
  t.match(check([...given, ...ask("b", ["U", "2"], absent(9n))]), { kind: "held" });
  const overlapping: readonly ChainEvent[] = [
    { client: "b", kind: "call", input: { kind: "receipt", transaction: "T", node: "1" } },
    ...given,
    { client: "b", kind: "return", output: absent(3n) },
  ];
  t.match(check(overlapping), { kind: "held" }, "it may have been asked before");
});

t.test("what a node calls final does not sink for a client", async (t) => {
  const check = (events: readonly ChainEvent[]): ChainVerdict => checkHeightsRise(recorded(events));
  t.same(check([...head("a", "1", 4n), ...head("a", "1", 4n), ...head("a", "1", 6n)]), {
    kind: "held",
    check: "heights_rise",
    comparisons: 2,
  });
  const sunk = [...head("a", "1", 4n), ...head("a", "1", 3n)];
  t.equal(
    explainChain(check(sunk)),
    [
      "heights_rise: 1 was final up to height 4, and then up to 3",
      '  a at 0 to 1 ms: {"kind":"head","node":"1"} -> {"kind":"head","height":"4","isFinal":true}',
      '  a at 2 to 3 ms: {"kind":"head","node":"1"} -> {"kind":"head","height":"3","isFinal":true}',
    ].join("\n"),
  );
  t.match(check([...head("a", "1", 4n), ...head("a", "2", 3n)]), { kind: "held", comparisons: 0 }, "another node");
  t.match(check([...head("a", "1", 4n), ...head("b", "1", 3n)]), { kind: "held", comparisons: 0 }, "another client");
  t.match(check([...head("a", "1", 4n, false), ...head("a", "1", 3n, false)]), { kind: "held" }, "not final");
  t.match(check([...head("a", "1", 4n), ...head("a", "1", 3n, false)]), { kind: "held" }, "the second is not final");
  t.match(check([...head("a", "1", 4n), ...ask("a", ["T", "1"], absent(3n))]), { kind: "violation" });
  const operations: readonly ChainOperation[] = recorded([
    ...head("a", "1", 4n),
    { client: "a", kind: "call", input: { kind: "head", node: "1" } },
  ]);
  t.match(checkHeightsRise(operations), { kind: "held" }, "the second has not returned");
});
