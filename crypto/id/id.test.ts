/** Scarab ids by their published vectors, and the generator under clocks that step and lives that end. */

import { readFileSync } from "node:fs";
import fc from "fast-check";
import t from "tap";
import { compareBytes, fromHex, toHex } from "../base/bytes.ts";
import { checkDecoder, checkProperty } from "../testing/property.ts";
import { ScarabGenerator, SCARAB_CLOCK_DEFAULTS, SCARAB_WINDOW_ALWAYS } from "./generator.ts";
import {
  decodeScarab,
  encodeScarab,
  formatScarab,
  nodeNumberOf,
  parseScarab,
  SCARAB_EPOCH_MS,
  scarabFields,
  type ScarabId,
  scarabIdOf,
  scarabIds,
  scarabOf,
  writeScarabRun,
} from "./scarab.ts";

type Step = readonly (string | number)[];
type Vectors = {
  readonly epochMs: number;
  readonly ids: readonly {
    readonly timeMs: number;
    readonly node: number;
    readonly sequence: number;
    readonly id: string;
    readonly bytes: string;
    readonly text: string;
  }[];
  readonly textsRefused: readonly (readonly [string, string])[];
  readonly generators: readonly {
    readonly name: string;
    readonly options: {
      readonly node: number;
      readonly borrowMsMax: number;
      readonly behindMsMax: number;
      readonly reserveMs: number;
      readonly startMs: number;
      readonly endMs: number;
      readonly reservedMs: number | null;
    };
    readonly steps: readonly Step[];
  }[];
};

const VECTORS = JSON.parse(readFileSync(new URL("testdata/scarab-vectors.json", import.meta.url), "utf8")) as Vectors;
const ids = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }).map(scarabIdOf);

t.test("the published ids come out of their fields, bytes and texts, and lead back", (t) => {
  t.equal(VECTORS.epochMs, SCARAB_EPOCH_MS);
  t.equal(VECTORS.ids.length, 13);
  for (const { timeMs, node, sequence, id, bytes, text } of VECTORS.ids) {
    const made = scarabOf({ timeMs, node: nodeNumberOf(node), sequence });
    t.equal(`${made}`, id);
    t.equal(toHex(encodeScarab(made)), bytes);
    t.equal(formatScarab(made), text);
    t.same(parseScarab(text), { ok: true, value: made });
    t.same(decodeScarab(fromHex(bytes)), { ok: true, value: made });
    t.same(scarabFields(made), { timeMs, node, sequence });
  }
  t.end();
});

t.test("fields out of range are our own fault, and texts and bytes of another shape are refused", (t) => {
  const good = { timeMs: SCARAB_EPOCH_MS, node: nodeNumberOf(0), sequence: 0 };
  for (const wrong of [
    { timeMs: SCARAB_EPOCH_MS - 1 },
    { timeMs: SCARAB_EPOCH_MS + 2 ** 41 },
    { sequence: 8192 },
    { sequence: -1 },
  ])
    t.throws(() => scarabOf({ ...good, ...wrong }), { name: "AssertionError" }, JSON.stringify(wrong));
  for (const wrong of [-1, 1024, 0.5]) t.throws(() => nodeNumberOf(wrong), { name: "AssertionError" });
  for (const [text, why] of VECTORS.textsRefused) t.same(parseScarab(text), { ok: false, error: { code: "scarab_text" } }, why);
  t.same(decodeScarab(new Uint8Array(7)), { ok: false, error: { code: "scarab_length", gotBytes: 7 } });
  t.same(decodeScarab(new Uint8Array(9)), { ok: false, error: { code: "scarab_length", gotBytes: 9 } });
  t.end();
});

t.test("ids, their bytes and their texts sort alike, and every decoder bears hostile input", async (t) => {
  const order = (a: ScarabId, b: ScarabId): number => (a < b ? -1 : a > b ? 1 : 0);
  const property = fc.property(ids, ids, (a, b) => {
    const [left, right] = [formatScarab(a), formatScarab(b)];
    const byText = left < right ? -1 : left > right ? 1 : 0;
    return order(a, b) === Math.sign(compareBytes(encodeScarab(a), encodeScarab(b))) && order(a, b) === byText;
  });
  await checkProperty(t, "order", property);
  const read = (bytes: Uint8Array) => parseScarab(Buffer.from(bytes).toString("latin1"));
  const write = (id: ScarabId): Uint8Array => Buffer.from(formatScarab(id), "latin1");
  await checkDecoder(t, "text", { valid: ids.map(write), decode: read, encode: write });
  await checkDecoder(t, "bytes", { valid: ids.map(encodeScarab), decode: decodeScarab, encode: encodeScarab });
});

t.test("a run is written as its ids are, and never past its millisecond", (t) => {
  const first = scarabOf({ timeMs: 1_800_000_000_511, node: nodeNumberOf(1023), sequence: 8000 });
  const bytes = new Uint8Array(8 * 193);
  writeScarabRun({ first, count: 192 }, bytes, 8);
  const written = Array.from({ length: 192 }, (_, index) => toHex(bytes.subarray(8 + 8 * index, 16 + 8 * index)));
  t.same(
    written,
    [...scarabIds({ first, count: 192 })].map((id) => toHex(encodeScarab(id))),
  );
  t.same([...bytes.subarray(0, 8)], Array(8).fill(0), "nothing before the offset");
  t.throws(() => writeScarabRun({ first, count: 193 }, new Uint8Array(8 * 193)), { name: "AssertionError" });
  t.throws(() => writeScarabRun({ first, count: 192 }, new Uint8Array(8 * 192 - 1)), { name: "AssertionError" });
  t.end();
});

for (const { name, options, steps } of VECTORS.generators)
  t.test(`published: ${name}`, (t) => {
    const { node, borrowMsMax, behindMsMax, reserveMs, startMs, endMs, reservedMs } = options;
    const generator = new ScarabGenerator({
      node: nodeNumberOf(node),
      window: { startMs, endMs },
      reservedMs: reservedMs ?? undefined,
      clock: { borrowMsMax, behindMsMax, reserveMs },
    });
    for (const step of steps) t.same(stepOf(generator, step), step, JSON.stringify(step));
    t.end();
  });

/** Runs a step, and writes it with the outcome that it had. */
function stepOf(generator: ScarabGenerator, [verb, first, second]: Step): Step {
  if (verb === "reserved") generator.reserved(Number(first));
  if (verb === "endAt") generator.endAt(Number(first));
  if (verb !== "take") return [verb ?? "", first ?? ""];
  const taken = generator.take(Number(first), Number(second));
  const asked = ["take", Number(first), Number(second)];
  if (!taken.ok) {
    const { code, ...detail } = taken.error;
    return [...asked, code, ...Object.values(detail)];
  }
  switch (taken.value.kind) {
    case "run":
      return [...asked, "run", `${taken.value.run.first}`, taken.value.run.count];
    case "reserve":
      return [...asked, "reserve", taken.value.untilMs];
    case "wait":
      return [...asked, "wait", taken.value.waitMs];
  }
}

t.test("whatever clocks do and whenever lives end, ids only grow, and a mark is durable before an id needs it", async (t) => {
  // The nearest wrong thing beside it: a generator that forgets its mark does repeat itself under the same steps.
  let repeats = 0;
  const action = fc.oneof(
    { arbitrary: fc.record({ kind: fc.constant("take" as const), count: fc.integer({ min: 1, max: 20_000 }) }), weight: 6 },
    { arbitrary: fc.record({ kind: fc.constant("step" as const), count: fc.integer({ min: -5000, max: 5000 }) }), weight: 3 },
    { arbitrary: fc.record({ kind: fc.constant("crash" as const), count: fc.constant(0) }), weight: 1 },
  );
  const run = (actions: readonly { kind: "take" | "step" | "crash"; count: number }[], isForgetful: boolean): boolean => {
    let nowMs = 1_800_000_000_000;
    let durableMs: number | undefined;
    let newest = -1n;
    const begin = (): ScarabGenerator =>
      new ScarabGenerator({
        node: nodeNumberOf(3),
        window: SCARAB_WINDOW_ALWAYS,
        reservedMs: isForgetful ? undefined : durableMs,
        clock: SCARAB_CLOCK_DEFAULTS,
      });
    let generator = begin();
    for (const { kind, count } of actions) {
      if (kind === "step") nowMs += count;
      if (kind === "crash") generator = begin();
      for (let left = count; kind === "take" && left > 0;) {
        const taken = generator.take(nowMs, left);
        if (!taken.ok || taken.value.kind === "wait") break;
        if (taken.value.kind === "reserve") {
          durableMs = Math.max(durableMs ?? 0, taken.value.untilMs);
          generator.reserved(durableMs);
          continue;
        }
        const { first, count: got } = taken.value.run;
        if (first <= newest || scarabFields(first).timeMs >= (durableMs ?? 0)) return false;
        newest = first + BigInt(got) - 1n;
        left -= got;
      }
    }
    return true;
  };
  const property = fc.property(fc.array(action, { maxLength: 40 }), (actions) => {
    if (!run(actions, true)) repeats += 1;
    return run(actions, false);
  });
  await checkProperty(t, "ids grow", property, 300);
  t.ok(repeats > 10, `${repeats} of 300 runs repeat without the mark`);
});

t.test("lives that follow each other quickly do not run ahead of the clock, whatever each reserves", (t) => {
  let nowMs = 1_800_000_000_000;
  let durableMs: number | undefined;
  for (let life = 0; life < 1000; life += 1) {
    nowMs += 20;
    const generator = new ScarabGenerator({
      node: nodeNumberOf(3),
      window: SCARAB_WINDOW_ALWAYS,
      reservedMs: durableMs,
      clock: SCARAB_CLOCK_DEFAULTS,
    });
    const taken = generator.take(nowMs, 1);
    if (!taken.ok || taken.value.kind !== "reserve") return t.fail(`life ${life}: ${JSON.stringify(taken)}`);
    durableMs = taken.value.untilMs;
  }
  t.equal(durableMs, nowMs + SCARAB_CLOCK_DEFAULTS.reserveMs);
  return t.end();
});

t.test("two holders of one number, one lease after the other, never make the same id, whatever their clocks say", async (t) => {
  const endMs = 1_800_000_000_000;
  const take = (window: { startMs: number; endMs: number }, nowMs: number): readonly ScarabId[] => {
    const generator = new ScarabGenerator({
      node: nodeNumberOf(9),
      window,
      reservedMs: undefined,
      clock: SCARAB_CLOCK_DEFAULTS,
    });
    generator.reserved(window.endMs);
    const taken = generator.take(nowMs, 3);
    return taken.ok && taken.value.kind === "run" ? [...scarabIds(taken.value.run)] : [];
  };
  let both = 0;
  const skew = fc.integer({ min: -3000, max: 3000 });
  const property = fc.property(skew, skew, (a, b) => {
    const before = take({ startMs: endMs - 10_000, endMs }, endMs + a);
    const after = take({ startMs: endMs, endMs: endMs + 10_000 }, endMs + b);
    if (before.length > 0 && after.length > 0) both += 1;
    return before.every((id) => after.every((other) => id < other));
  });
  await checkProperty(t, "windows", property);
  t.ok(both > 10, `${both} runs with ids on both sides`);
});
