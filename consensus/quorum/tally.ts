/**
 * Counts the ballots of one question: who said what, with how much power, and who said two things.
 *
 * Counting is by signer, never by message: a repeated ballot changes nothing. A signer that equivocates is counted
 * once for every value it named, and once among all signers. That is what the paper's rules say ("2f + 1 messages
 * for v"), it is safe (two quorums share an honest signer whatever the faulty ones say), and it is needed: if only
 * the first word of a faulty signer counted, it could tell each of us another value first and so keep us from ever
 * seeing the same quorum.
 *
 * Memory is bounded though a faulty signer can name any number of values: a third value of one signer is kept only
 * if some other signer named it too. So there are at most two values a signer, and one ballot a signer and value.
 */

import { assert } from "../../crypto/base/assert.ts";
import { isQuorum } from "./threshold.ts";

/** How many values a signer may bring in by itself: two, which is what evidence of equivocation needs. */
export const VALUES_PER_SIGNER_MAX = 2;

/** What adding a ballot did. */
export type Added<Ballot> =
  /** Counted. `conflict` is the signer's first ballot for another value, if it had one. */
  | { readonly kind: "counted"; readonly conflict: Ballot | undefined }
  /** The signer had said just this. */
  | { readonly kind: "known" }
  /** A further value of an equivocator, that nobody else has named: neither counted nor kept. */
  | { readonly kind: "refused"; readonly conflict: Ballot };

type Count<Ballot> = { power: bigint; readonly ballots: Map<string, Ballot> };
type Signer<Ballot> = { readonly power: bigint; readonly first: Ballot; readonly values: Set<string> };

/** A count in progress. Signers and values are opaque strings; `Ballot` is whatever proves the word. */
export class Tally<Ballot> {
  readonly #totalPower: bigint;
  readonly #values = new Map<string, Count<Ballot>>();
  readonly #signers = new Map<string, Signer<Ballot>>();
  #power = 0n;

  /** @param totalPower - of all signers that may take part, present or not; positive */
  constructor(totalPower: bigint) {
    assert(totalPower > 0n, "total power is {}", totalPower);
    this.#totalPower = totalPower;
  }

  /** Counts a ballot whose signature has been checked. A signer's power must be the same at each call. */
  add(signer: string, power: bigint, value: string, ballot: Ballot): Added<Ballot> {
    assert(power > 0n, "power of {} is {}", signer, power);
    const known = this.#signers.get(signer);
    if (known === undefined) {
      this.#signers.set(signer, { power, first: ballot, values: new Set([value]) });
      this.#power += power;
      assert(this.#power <= this.#totalPower, "counted {} of {}", this.#power, this.#totalPower);
      this.#count(signer, power, value, ballot);
      return { kind: "counted", conflict: undefined };
    }
    assert(known.power === power, "power of {} was {} and is {}", signer, known.power, power);
    if (known.values.has(value)) return { kind: "known" };
    if (!this.wants(signer, value)) return { kind: "refused", conflict: known.first };
    known.values.add(value);
    this.#count(signer, power, value, ballot);
    return { kind: "counted", conflict: known.first };
  }

  /** Whether `add` would count this. */
  wants(signer: string, value: string): boolean {
    const known = this.#signers.get(signer);
    if (known === undefined) return true;
    return !known.values.has(value) && (known.values.size < VALUES_PER_SIGNER_MAX || this.#values.has(value));
  }

  /** Takes back all that one signer said. */
  remove(signer: string): void {
    const known = this.#signers.get(signer);
    if (known === undefined) return;
    this.#signers.delete(signer);
    this.#power -= known.power;
    for (const value of known.values) {
      const count = this.#values.get(value);
      assert(count !== undefined && count.ballots.delete(signer), "no ballot of {} for {}", signer, value);
      count.power -= known.power;
      if (count.ballots.size === 0) this.#values.delete(value);
    }
  }

  /** Whether this signer has said anything. */
  hasSigner(signer: string): boolean {
    return this.#signers.has(signer);
  }

  /** Power of the distinct signers that named this value. */
  powerOf(value: string): bigint {
    return this.#values.get(value)?.power ?? 0n;
  }

  /** Power of the distinct signers, whatever they said. */
  power(): bigint {
    return this.#power;
  }

  /** More than 2/3 named this value. */
  hasQuorumOf(value: string): boolean {
    return isQuorum(this.powerOf(value), this.#totalPower);
  }

  /** More than 2/3 said anything at all. */
  hasQuorumOfAny(): boolean {
    return isQuorum(this.#power, this.#totalPower);
  }

  /** The values with a quorum: one, or none, while less than 1/3 equivocates. In the order they were first named. */
  quorums(): readonly string[] {
    const found: string[] = [];
    for (const [value, count] of this.#values) if (isQuorum(count.power, this.#totalPower)) found.push(value);
    return found;
  }

  /** The ballots for one value, by signer. */
  ballotsOf(value: string): ReadonlyMap<string, Ballot> {
    return this.#values.get(value)?.ballots ?? new Map<string, Ballot>();
  }

  /** Every ballot kept, value by value. */
  *ballots(): Generator<Ballot> {
    for (const count of this.#values.values()) yield* count.ballots.values();
  }

  #count(signer: string, power: bigint, value: string, ballot: Ballot): void {
    const count = this.#values.get(value);
    if (count === undefined) this.#values.set(value, { power, ballots: new Map([[signer, ballot]]) });
    else {
      count.power += power;
      count.ballots.set(signer, ballot);
    }
  }
}
