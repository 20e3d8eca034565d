/**
 * The votes of one height: signatures of validators, gathered until those of one term make a certificate.
 *
 * Votes of different terms are never counted together: each term's certificate must prove the block by itself.
 */

import { toHex } from "../../crypto/base/bytes.ts";
import { isQuorumOf } from "../../chain/block/protocol.ts";
import { findValidator, type ValidatorSet } from "../../chain/block/validators.ts";
import type { QuorumCertificate, Vote } from "../../chain/block/vote.ts";
import { VOTES_PER_VALIDATOR_MAX } from "./limits.ts";

/** The votes of one height. */
export class Ballots {
  readonly #validators: ValidatorSet;
  /** By validator, then by round. */
  readonly #votes = new Map<string, Map<number, Vote>>();

  constructor(validators: ValidatorSet) {
    this.#validators = validators;
  }

  /** Whether `add` would keep it: of a member, in a round that it has not voted in and not older than all that are kept. */
  wants(vote: Vote): boolean {
    if (findValidator(this.#validators, vote.validator) === undefined) return false;
    const known = this.#votes.get(toHex(vote.validator));
    if (known === undefined) return true;
    return !known.has(vote.round) && (known.size < VOTES_PER_VALIDATOR_MAX || vote.round > Math.min(...known.keys()));
  }

  /** Keeps a vote whose signature is good. */
  add(vote: Vote): void {
    if (!this.wants(vote)) return;
    const signer = toHex(vote.validator);
    const known = this.#votes.get(signer) ?? new Map<number, Vote>();
    if (known.size === VOTES_PER_VALIDATOR_MAX) known.delete(Math.min(...known.keys()));
    known.set(vote.round, vote);
    this.#votes.set(signer, known);
  }

  /** All votes that are kept, in the order of the set and of their rounds. */
  all(): readonly Vote[] {
    return this.#validators.validators.flatMap(({ address }) => {
      const known = this.#votes.get(toHex(address));
      return known === undefined ? [] : [...known.values()].toSorted((a, b) => a.round - b.round);
    });
  }

  /** A certificate, when a majority has voted for one block in one round. */
  certificate(): QuorumCertificate | undefined {
    const candidates = new Map<string, Vote[]>();
    for (const vote of this.all()) {
      if (vote.blockHash === undefined) continue;
      const key = `${vote.round}/${toHex(vote.blockHash)}`;
      candidates.set(key, [...(candidates.get(key) ?? []), vote]);
    }
    for (const votes of candidates.values()) {
      const [first] = votes;
      if (first?.blockHash === undefined || !this.#isMajority(votes)) continue;
      const { height, round, blockHash } = first;
      const signatures = votes.map(({ validator, signature }) => ({ validator, signature }));
      return { kind: "quorum", height, round, blockHash, signatures };
    }
    return undefined;
  }

  #isMajority(votes: readonly Vote[]): boolean {
    const power = votes.reduce((sum, { validator }) => sum + (findValidator(this.#validators, validator)?.power ?? 0n), 0n);
    return isQuorumOf("majority", power, this.#validators.totalPower);
  }
}
