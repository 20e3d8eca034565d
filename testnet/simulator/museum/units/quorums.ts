/** Thresholds against what they are for, over all subsets of small sets with powers drawn from the seed. */

import { Tally } from "../../../../consensus/quorum/tally.ts";
import { isHonestShare, isQuorum } from "../../../../consensus/quorum/threshold.ts";
import { Random } from "../../../../consensus/testing/random.ts";
import { holds } from "../property.ts";

/** Two quorums share an honest member, more than a third holds one, and repeated ballots change no count. */
export function quorumsOverlap(seed: number): void {
  const random = new Random(seed);
  const powers = Array.from({ length: random.between(3, 6) }, () => BigInt(random.between(1, 4)));
  const total = powers.reduce((sum, power) => sum + power, 0n);
  const sets = Array.from({ length: 2 ** powers.length }, (_, bits) => bits);
  const powerOf = (bits: number): bigint => powers.reduce((sum, power, at) => ((bits >> at) & 1 ? sum + power : sum), 0n);
  // Everybody whose power together is less than a third may be faulty.
  const isFaultyPossible = (bits: number): boolean => powerOf(bits) * 3n < total;
  const quorums = sets.filter((bits) => isQuorum(powerOf(bits), total));
  for (const one of quorums)
    for (const other of quorums)
      holds(!isFaultyPossible(one & other) && powerOf(one & other) * 3n > total, "two quorums share more than a third", () =>
        powers.join(),
      );
  for (const bits of sets)
    if (isHonestShare(powerOf(bits), total)) holds(!isFaultyPossible(bits), "more than a third holds an honest one");
  recount(random, powers, total);
}

function recount(random: Random, powers: readonly bigint[], total: bigint): void {
  const tally = new Tally<string>(total);
  const said = new Map<string, Set<number>>();
  for (let ballot = 0; ballot < 20; ballot += 1) {
    const at = random.between(0, powers.length - 1);
    const value = random.pick(["x", "y"]);
    tally.add(`${at}`, powers[at] as bigint, value, "");
    said.set(value, (said.get(value) ?? new Set()).add(at));
  }
  for (const [value, signers] of said) {
    const power = [...signers].reduce((sum, at) => sum + (powers[at] as bigint), 0n);
    holds(tally.powerOf(value) === power, "ballots are counted by signer", () => `${tally.powerOf(value)} of ${power}`);
  }
}
