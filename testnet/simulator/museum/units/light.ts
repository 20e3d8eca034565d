/** The rules of the light client against the text of their specification, over small numbers. */

import { checkPlace, checkShares, type HeaderFacts } from "../../../../node/light/rules.ts";
import { Random } from "../../../../consensus/testing/random.ts";
import { holds } from "../property.ts";

/** A header is believed when it is in its place, in time, and enough of both sets signed it; and not otherwise. */
export function headersAreBelievedByTheRules(seed: number): void {
  const random = new Random(seed);
  for (let tried = 0; tried < 40; tried += 1) {
    const [trusted, header] = [factsOf(random), factsOf(random)];
    const clock = { now: BigInt(random.between(8, 24)), trustingPeriod: BigInt(random.between(1, 10)), driftMax: 2n };
    const isAdjacent = header.height === trusted.height + 1n;
    const isInPlace =
      clock.now - trusted.time < clock.trustingPeriod &&
      header.time < clock.now + clock.driftMax &&
      header.height > trusted.height &&
      header.time > trusted.time &&
      (!isAdjacent || header.validatorsHash[0] === trusted.nextValidatorsHash[0]);
    const placed = checkPlace(trusted, header, clock).ok;
    holds(placed === isInPlace, "a header is in its place and in time", () => `${trusted.time} ${header.time} ${clock.now}`);
    const total = BigInt(random.between(3, 9));
    const shares = {
      trusted: { signed: BigInt(random.between(0, Number(total))), total },
      own: { signed: BigInt(random.between(0, Number(total))), total },
      trustLevel: { numerator: 1n, denominator: 3n },
    };
    const isSigned = (isAdjacent || shares.trusted.signed * 3n > total) && shares.own.signed * 3n > total * 2n;
    const signed = checkShares(trusted, header, shares).ok;
    holds(signed === isSigned, "enough power signed", () => `${shares.trusted.signed} and ${shares.own.signed} of ${total}`);
  }
}

function factsOf(random: Random): HeaderFacts {
  const set = (): Uint8Array => Uint8Array.of(random.between(0, 1));
  return {
    height: BigInt(random.between(1, 4)),
    time: BigInt(random.between(1, 20)),
    validatorsHash: set(),
    nextValidatorsHash: set(),
  };
}
