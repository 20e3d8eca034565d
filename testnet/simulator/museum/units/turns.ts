/** Whose turn it is, over histories of sets that change. */

import { present } from "../../../../crypto/base/assert.ts";
import { toHex } from "../../../../crypto/base/bytes.ts";
import { keyPairAt, setOf } from "../../../../chain/block/testing/fixtures.ts";
import { advancePriorities, proposerAt, updateValidators, type ValidatorSet } from "../../../../chain/block/validators.ts";
import { Random } from "../../../../consensus/testing/random.ts";
import { holds } from "../property.ts";

const CHANGES = 12;
const MEMBERS_MAX = 8;

/**
 * Between changes each proposes in proportion to its power, off by what priorities can hold (the window of twice the
 * total, and a turn); priorities stay centred; and whoever has just come waits for its turn.
 */
export function turnsFollowPower(seed: number): void {
  const random = new Random(seed);
  let set = setOf([1n, 2n, 3n]);
  for (let change = 0; change < CHANGES; change += 1) {
    set = advancePriorities(set, random.between(0, 20));
    const before = set;
    set = changed(random, set);
    const sum = set.validators.reduce((total, { priority }) => total + priority, 0n);
    holds(sum >= 0n && sum < BigInt(set.validators.length), "priorities are centred on zero", () => `sum ${sum}`);
    checkNewcomers(before, set);
    checkShares(set, 4 * set.validators.length);
  }
}

/** One comes, goes, or has another power, sometimes an enormous one. */
function changed(random: Random, set: ValidatorSet): ValidatorSet {
  const { publicKey: key } = keyPairAt(random.between(0, MEMBERS_MAX - 1));
  const power = random.pick([0n, 1n, 5n, 10n, 1000n, 1_000_000n]);
  const updated = updateValidators(set, [{ key, power }]);
  return updated.ok ? updated.value : set;
}

function checkNewcomers(before: ValidatorSet, after: ValidatorSet): void {
  const known = new Set(before.validators.map(({ address }) => toHex(address)));
  const first = proposerAt(after, 0);
  const others = after.validators.filter(({ address }) => known.has(toHex(address)));
  const isNew = !known.has(toHex(first.address));
  // One with nearly all the power gains it at once, debt and all.
  if (others.length === 0 || first.power * 2n > after.totalPower) return;
  holds(!isNew, "a newcomer waits for its turn", () =>
    after.validators.map(({ power, priority }) => `${power}/${priority}`).join(),
  );
}

function checkShares(set: ValidatorSet, rounds: number): void {
  const counts = new Map<string, bigint>();
  for (let round = 0; round < rounds; round += 1) {
    const name = toHex(proposerAt(set, round).address);
    counts.set(name, (counts.get(name) ?? 0n) + 1n);
  }
  for (const { address, power } of set.validators) {
    const off = present(counts.get(toHex(address)) ?? 0n, "count") * set.totalPower - BigInt(rounds) * power;
    const isFair = (off < 0n ? -off : off) <= 4n * set.totalPower;
    holds(isFair, "each proposes in proportion to its power", () => `${power} of ${set.totalPower}: off by ${off}`);
  }
}
