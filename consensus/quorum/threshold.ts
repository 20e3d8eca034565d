/**
 * The two thresholds of Byzantine agreement, over voting power and not over heads.
 *
 * With less than 1/3 of the power faulty: two sets of more than 2/3 share an honest validator, and a set of more
 * than 1/3 holds one. "At least" instead of "more than" breaks both, so the comparison is strict, and it is done in
 * integers: `3 * power > 2 * total` has no rounding to get wrong.
 *
 * Source: Buchman, Kwon, Milosevic 2018 (arXiv:1807.04938), section 2, with n = 3f + 1 generalised to power.
 */

/** Strictly more than 2/3: what the paper calls 2f + 1. */
export function isQuorum(power: bigint, totalPower: bigint): boolean {
  return 3n * power > 2n * totalPower;
}

/** Strictly more than 1/3: what the paper calls f + 1; at least one of them is honest. */
export function isHonestShare(power: bigint, totalPower: bigint): boolean {
  return 3n * power > totalPower;
}
