/**
 * What the authority of a network asks for: other validators, and where power is counted other powers. Whatever it asks
 * for, the set bears those of its members that may do anything; it may well be refused.
 */

import { findValidator, type ValidatorSet } from "../../chain/block/validators.ts";
import type { Call } from "../../chain/block/call.ts";
import type { Random } from "./random.ts";
import { addressOf, keyPairOf } from "./signatures.ts";

/** What the authority must know of a network. */
export type AuthorityParts = {
  /** How many nodes could be validators. */
  readonly nodes: number;
  /** Those of which no protocol can expect that they keep it. */
  readonly faulty: ReadonlySet<number>;
  /** Whether a set of so much power bears so much of it in the faulty. */
  readonly bears: (faulty: bigint, total: bigint) => boolean;
  /** To draw from. */
  readonly powers: readonly bigint[];
};

/** More than this in one transaction would seldom leave a set that is allowed. */
const CHANGES_MAX = 3;

/** Changes of a set; none when the network could not bear what was drawn. */
export function drawChanges(random: Random, set: ValidatorSet, parts: AuthorityParts): readonly Call[] {
  const { nodes, faulty, bears } = parts;
  const addresses = Array.from({ length: nodes }, (_, index) => addressOf("validator", index));
  const powers = addresses.map((address) => findValidator(set, address)?.power ?? 0n);
  const changed = random.shuffle(powers.map((_, index) => index)).slice(0, random.between(1, CHANGES_MAX));
  const calls = changed.map((index): Call => {
    const power = random.happens(800) && (powers[index] ?? 0n) > 0n ? 0n : random.pick(parts.powers);
    powers[index] = power;
    return { kind: "validatorSet", key: keyPairOf("validator", index).publicKey, power };
  });
  const sum = (isCounted: (index: number) => boolean): bigint =>
    powers.reduce((total, power, index) => total + (isCounted(index) ? power : 0n), 0n);
  return bears(
    sum((index) => faulty.has(index)),
    sum(() => true),
  )
    ? calls
    : [];
}
