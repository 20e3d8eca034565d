/** Validator sets: whose turn it is, and how sets change. Rules of cometbft, spec/consensus/proposer-selection.md. */

import fc from "fast-check";
import t from "tap";
import { assert, present } from "../../crypto/base/assert.ts";
import { compareBytes, toHex } from "../../crypto/base/bytes.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { checkProperty } from "../../crypto/testing/property.ts";
import { POWER_TOTAL_MAX, VALIDATORS_MAX } from "./limits.ts";
import { keyPairAt, setOf } from "./testing/fixtures.ts";
import {
  advancePriorities,
  findValidator,
  proposerAt,
  updateValidators,
  type ValidatorSet,
  validatorSetOf,
  validatorsHash,
} from "./validators.ts";

const powersArbitrary = fc.array(fc.oneof(fc.bigInt(1n, 10n), fc.bigInt(1n, 1n << 50n)), { minLength: 1, maxLength: 8 });

function spread(set: ValidatorSet): bigint {
  const priorities = set.validators.map(({ priority }) => priority);
  const high = priorities.reduce((a, b) => (a > b ? a : b));
  return high - priorities.reduce((a, b) => (a < b ? a : b));
}

function counts(set: ValidatorSet, steps: number): Map<string, number> {
  const turns = new Map<string, number>();
  for (let round = 0; round < steps; round += 1) {
    const name = toHex(proposerAt(set, round).address);
    turns.set(name, (turns.get(name) ?? 0) + 1);
  }
  return turns;
}

t.test("over one cycle of rounds every validator proposes exactly as often as its power says", (t) => {
  for (const powers of [[1n, 1n, 1n, 1n], [5n, 3n, 2n], [1n, 100n], [7n]]) {
    const set = setOf(powers);
    const turns = counts(set, Number(set.totalPower));
    for (const { address, power } of set.validators)
      t.equal(turns.get(toHex(address)) ?? 0, Number(power), `${power} of ${set.totalPower}`);
  }
  t.end();
});

t.test("the order of turns is that of the published example: p2 p1 p2 p2, again and again", (t) => {
  // cometbft, spec/consensus/proposer-selection.md, "Stable Set": p1 with power 1, p2 with power 3; p1 wins the tie.
  const keys = [keyPairAt(0).publicKey, keyPairAt(1).publicKey].sort((a, b) => compareBytes(addressOfKey(a), addressOfKey(b)));
  const set = validatorSetOf(keys.map((key, index) => ({ key, power: index === 0 ? 1n : 3n })));
  const order = [0, 1, 2, 3, 4, 5, 6, 7].map((round) => (proposerAt(set, round) === set.validators[0] ? "p1" : "p2"));
  t.same(order, ["p2", "p1", "p2", "p2", "p2", "p1", "p2", "p2"]);
  t.end();
});

t.test("asking for a late round first gives the same answer as asking in order", (t) => {
  const late = proposerAt(setOf([5n, 3n, 2n]), 17);
  const inOrder = setOf([5n, 3n, 2n]);
  for (let round = 0; round < 17; round += 1) proposerAt(inOrder, round);
  t.equal(toHex(proposerAt(inOrder, 17).address), toHex(late.address));
  t.end();
});

t.test("a tie goes to the lower address", (t) => {
  const set = setOf([1n, 1n, 1n, 1n]);
  t.equal(proposerAt(set, 0), set.validators[0]);
  t.end();
});

t.test("height after height, turns stay fair and priorities stay in their window", async (t) => {
  await checkProperty(
    t,
    "fairness",
    fc.property(fc.array(fc.bigInt(1n, 10n), { minLength: 1, maxLength: 8 }), (powers) => {
      let set = setOf(powers);
      const turns = new Map<string, number>();
      const heights = Number(set.totalPower) * 3;
      for (let height = 0; height < heights; height += 1) {
        const { address } = proposerAt(set, 0);
        turns.set(toHex(address), (turns.get(toHex(address)) ?? 0) + 1);
        set = advancePriorities(set, 1);
        assert(spread(set) <= 2n * set.totalPower, `spread ${spread(set)} of ${set.totalPower}`);
      }
      // Centring moves everybody alike, so that fairness over whole cycles stays exact up to one turn.
      return set.validators.every(({ address, power }) => Math.abs((turns.get(toHex(address)) ?? 0) - Number(power) * 3) <= 1);
    }),
    60,
  );
});

t.test("priorities never drift, whatever changes and however far apart the powers are", async (t) => {
  const change = fc.record({ index: fc.nat(9), power: fc.oneof(fc.constant(0n), fc.bigInt(1n, 10n), fc.bigInt(1n, 1n << 50n)) });
  const history = fc.array(fc.oneof(change, fc.nat(20)), { maxLength: 30 });
  await checkProperty(
    t,
    "window",
    fc.property(powersArbitrary, history, (powers, events) => {
      let set = setOf(powers);
      for (const event of events) {
        if (typeof event === "number") set = advancePriorities(set, event);
        else {
          const updated = updateValidators(set, [{ key: keyPairAt(event.index).publicKey, power: event.power }]);
          if (updated.ok) set = updated.value;
        }
        const sum = set.validators.reduce((total, { priority }) => total + priority, 0n);
        const count = BigInt(set.validators.length);
        assert(sum > -count && sum < count * 2n, `centred: ${sum}`);
        assert(spread(set) <= 3n * set.totalPower, `spread ${spread(set)} of ${set.totalPower}`);
        assert(
          set.validators.every(
            (one, index) => index === 0 || compareBytes(present(set.validators[index - 1], "validator").address, one.address) < 0,
          ),
          "sorted",
        );
        assert(set.totalPower === set.validators.reduce((total, { power }) => total + power, 0n), "total");
      }
      return true;
    }),
    100,
  );
});

t.test("a newcomer waits its turn, and leaving and coming back gains nothing", (t) => {
  const set = advancePriorities(setOf([1n, 1n, 1n, 1n]), 3);
  const newcomer = keyPairAt(9).publicKey;
  const joined = updateValidators(set, [{ key: newcomer, power: 100n }]);
  assert(joined.ok, "joined");
  const lowest = joined.value.validators.reduce((low, one) => (one.priority < low.priority ? one : low));
  t.equal(toHex(lowest.address), toHex(addressOfKey(newcomer)));
  t.not(toHex(proposerAt(joined.value, 0).address), toHex(addressOfKey(newcomer)), "even with nearly all of the power");
  const proposer = proposerAt(set, 0);
  const left = updateValidators(set, [{ key: proposer.key, power: 0n }]);
  assert(left.ok, "left");
  const back = updateValidators(left.value, [{ key: proposer.key, power: 1n }]);
  assert(back.ok, "back");
  t.not(toHex(proposerAt(back.value, 0).address), toHex(proposer.address));
  t.end();
});

t.test("a change keeps to its bounds and names what it breaks", (t) => {
  const set = setOf([1n, 1n]);
  const [one, other] = [keyPairAt(0).publicKey, keyPairAt(1).publicKey];
  const codeOf = (changes: Parameters<typeof updateValidators>[1], from = set): string => {
    const updated = updateValidators(from, changes);
    return updated.ok ? "ok" : updated.error.code;
  };
  t.equal(codeOf([{ key: one, power: 0n }]), "ok");
  t.equal(
    codeOf([
      { key: one, power: 0n },
      { key: other, power: 0n },
    ]),
    "validators_none",
  );
  t.equal(codeOf([{ key: keyPairAt(9).publicKey, power: 0n }]), "validator_unknown");
  t.equal(
    codeOf([
      { key: one, power: 2n },
      { key: one, power: 3n },
    ]),
    "validator_repeated",
  );
  t.equal(codeOf([{ key: one, power: -1n }]), "validator_power");
  t.equal(codeOf([{ key: one, power: POWER_TOTAL_MAX - 1n }]), "ok", "the largest total");
  t.equal(codeOf([{ key: one, power: POWER_TOTAL_MAX }]), "validators_power_total");
  t.equal(codeOf([{ key: one, power: POWER_TOTAL_MAX + 1n }]), "validator_power");
  const full = validatorSetOf(
    Array.from({ length: VALIDATORS_MAX }, (_, index) => ({ key: keyPairAt(200 + index).publicKey, power: 1n })),
  );
  t.equal(codeOf([{ key: one, power: 1n }], full), "validators_many");
  t.equal(
    codeOf(
      [
        { key: one, power: 1n },
        { key: keyPairAt(200).publicKey, power: 0n },
      ],
      full,
    ),
    "ok",
    "one for one",
  );
  t.end();
});

t.test("a set's hash covers keys and powers and not whose turn it is", (t) => {
  const set = setOf([1n, 2n]);
  t.equal(toHex(validatorsHash(advancePriorities(set, 1))), toHex(validatorsHash(set)));
  t.not(toHex(validatorsHash(setOf([2n, 1n]))), toHex(validatorsHash(set)));
  t.equal(findValidator(set, addressOfKey(keyPairAt(5).publicKey)), undefined);
  t.end();
});
