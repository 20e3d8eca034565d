/** Counting alone: thresholds at their edges, and tallies against a recount from scratch. */

import fc from "fast-check";
import t from "tap";
import { isHonestShare, isQuorum } from "./threshold.ts";
import { Tally, VALUES_PER_SIGNER_MAX } from "./tally.ts";
import { drawnSeed } from "../../crypto/testing/property.ts";

const SEED = drawnSeed();

t.test("a quorum is strictly more than two thirds", (t) => {
  const table: readonly (readonly [bigint, bigint, boolean])[] = [
    [0n, 1n, false],
    [1n, 1n, true],
    [2n, 3n, false],
    [3n, 3n, true],
    [2n, 4n, false],
    [3n, 4n, true],
    [4n, 6n, false],
    [5n, 6n, true],
    [66n, 100n, false],
    [67n, 100n, true],
    // Powers at which floating point would lose the one that matters.
    [(2n << 60n) / 3n, 1n << 60n, false],
    [(2n << 60n) / 3n + 1n, 1n << 60n, true],
    [2n * 10n ** 30n, 3n * 10n ** 30n, false],
    [2n * 10n ** 30n + 1n, 3n * 10n ** 30n, true],
  ];
  for (const [power, total, expected] of table) t.equal(isQuorum(power, total), expected, `${power} of ${total}`);
  t.end();
});

t.test("an honest share is strictly more than one third", (t) => {
  const table: readonly (readonly [bigint, bigint, boolean])[] = [
    [0n, 1n, false],
    [1n, 3n, false],
    [1n, 4n, false],
    [2n, 4n, true],
    [2n, 6n, false],
    [3n, 6n, true],
    [10n ** 30n, 3n * 10n ** 30n, false],
    [10n ** 30n + 1n, 3n * 10n ** 30n, true],
  ];
  for (const [power, total, expected] of table) t.equal(isHonestShare(power, total), expected, `${power} of ${total}`);
  t.end();
});

t.test("two quorums share strictly more than one third", (t) => {
  const thousandths = fc.bigInt(0n, 1000n);
  let checked = 0;
  const property = fc.property(fc.bigInt(1n, 10n ** 20n), thousandths, thousandths, (total, a, b) => {
    const least = (2n * total) / 3n + 1n;
    const [first, second] = [a, b].map((part) => least + ((total - least) * part) / 1000n) as [bigint, bigint];
    if (!isQuorum(first, total) || !isQuorum(second, total) || !isHonestShare(first + second - total, total))
      t.fail(`${first} and ${second} of ${total}`);
    checked += 1;
  });
  fc.assert(property, { seed: SEED, numRuns: 2000 });
  t.equal(checked, 2000);
  t.end();
});

t.test("a ballot counts once, however often it comes", (t) => {
  const tally = new Tally<string>(4n);
  t.same(tally.add("a", 1n, "x", "first"), { kind: "counted", conflict: undefined });
  t.same(tally.add("a", 1n, "x", "second"), { kind: "known" });
  t.equal(tally.powerOf("x"), 1n);
  t.equal(tally.power(), 1n);
  t.same([...tally.ballotsOf("x").values()], ["first"]);
  t.end();
});

t.test("an equivocator counts for each of its two values and once among all, and both ballots are kept", (t) => {
  const tally = new Tally<string>(4n);
  tally.add("a", 1n, "x", "ax");
  t.same(tally.add("a", 1n, "y", "ay"), { kind: "counted", conflict: "ax" });
  tally.add("b", 1n, "x", "bx");
  tally.add("c", 1n, "y", "cy");
  t.equal(tally.powerOf("x"), 2n);
  t.equal(tally.powerOf("y"), 2n);
  t.equal(tally.power(), 3n);
  t.notOk(tally.hasQuorumOf("x"), "its second word makes no quorum that three ballots would not make");
  t.ok(tally.hasQuorumOfAny());
  tally.add("b", 1n, "y", "by");
  t.same(tally.quorums(), ["y"]);
  t.end();
});

t.test("a third value of one signer is kept only when another signer named it", (t) => {
  const tally = new Tally<string>(4n);
  for (const value of ["x", "y"]) tally.add("a", 1n, value, value);
  t.notOk(tally.wants("a", "z"));
  t.same(tally.add("a", 1n, "z", "z"), { kind: "refused", conflict: "x" });
  t.equal(tally.powerOf("z"), 0n);
  tally.add("b", 1n, "z", "bz");
  t.ok(tally.wants("a", "z"));
  t.same(tally.add("a", 1n, "z", "az"), { kind: "counted", conflict: "x" });
  t.equal(tally.powerOf("z"), 2n);
  t.end();
});

t.test("powers that do not add up are our fault", (t) => {
  t.throws(() => new Tally(0n));
  const tally = new Tally<string>(3n);
  t.throws(() => tally.add("a", 0n, "x", ""));
  tally.add("a", 2n, "x", "");
  t.throws(() => tally.add("a", 1n, "y", ""), "a signer has one power");
  t.throws(() => tally.add("b", 2n, "x", ""), "more than the total");
  t.end();
});

t.test("a tally is what a recount of its ballots gives, in whatever order they came and went", (t) => {
  const powers = { a: 5n, b: 3n, c: 2n, d: 1n, e: 1n } as const;
  const signer = fc.constantFrom(...(Object.keys(powers) as (keyof typeof powers)[]));
  const step = fc.oneof(
    { weight: 9, arbitrary: fc.record({ kind: fc.constant("add" as const), signer, value: fc.constantFrom("", "x", "y", "z") }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("remove" as const), signer, value: fc.constant("") }) },
  );
  const property = fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
    const tally = new Tally<string>(12n);
    const said = new Map<string, Set<string>>();
    for (const { kind, signer: name, value } of steps) {
      if (kind === "remove") {
        tally.remove(name);
        said.delete(name);
        continue;
      }
      const values = said.get(name) ?? new Set<string>();
      const supported = [...said].some(([other, named]) => other !== name && named.has(value));
      const wanted = !values.has(value) && (values.size < VALUES_PER_SIGNER_MAX || supported);
      t.equal(tally.wants(name, value), wanted);
      tally.add(name, powers[name], value, `${name}${value}`);
      if (wanted) said.set(name, values.add(value));
    }
    const powerOf = (named: (values: Set<string>) => boolean): bigint =>
      [...said].filter(([, values]) => named(values)).reduce((sum, [name]) => sum + powers[name as keyof typeof powers], 0n);
    t.equal(
      tally.power(),
      powerOf(() => true),
    );
    for (const value of ["", "x", "y", "z"]) {
      t.equal(
        tally.powerOf(value),
        powerOf((values) => values.has(value)),
      );
      t.same(
        [...tally.ballotsOf(value).keys()].toSorted(),
        [...said]
          .filter(([, values]) => values.has(value))
          .map(([name]) => name)
          .toSorted(),
      );
    }
    t.equal(
      [...tally.ballots()].length,
      [...said.values()].reduce((count, values) => count + values.size, 0),
    );
  });
  fc.assert(property, { seed: SEED, numRuns: 300 });
  t.end();
});
