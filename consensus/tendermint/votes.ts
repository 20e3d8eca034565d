/**
 * The vote keeper: all votes of one height, and the questions that the rules of the paper ask of them.
 *
 * It holds votes whose signatures have been checked, and answers by power, through `consensus/quorum`. It keeps the
 * current round, a window of earlier ones and whichever are pinned, and of each validator a couple of later rounds:
 * what a peer sends cannot make it grow.
 */

import { assert } from "../../crypto/base/assert.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { ValidatorSet } from "../../chain/block/validators.ts";
import type { Vote, VoteStep } from "../../chain/block/vote.ts";
import { Tally } from "../quorum/tally.ts";
import { isHonestShare } from "../quorum/threshold.ts";
import { FUTURE_ROUNDS_PER_VALIDATOR_MAX, PAST_ROUNDS_MAX, ROUNDS_SKIPPED_MAX } from "./limits.ts";

/** What a vote for nil counts for; no hex of a hash is empty. */
const NIL = "";

/** The name of a block, or of nil, in counts and in the round machine. */
export function valueOf(blockHash: Hash | undefined): string {
  return blockHash === undefined ? NIL : toHex(blockHash);
}

/** What a vote has just brought about. */
export type Threshold =
  | { readonly kind: "polkaAny"; readonly round: number }
  | { readonly kind: "polkaNil"; readonly round: number }
  | { readonly kind: "polkaValue"; readonly round: number; readonly value: string }
  | { readonly kind: "precommitAny"; readonly round: number }
  | { readonly kind: "precommitValue"; readonly round: number; readonly value: string }
  /** More than 1/3 are in this later round. */
  | { readonly kind: "skip"; readonly round: number };

/** What became of a vote. */
export type VoteOutcome =
  /** Counted. `reached` is the strongest threshold it took us over; `conflict` the signer's other word, if any. */
  | { readonly kind: "counted"; readonly reached: Threshold | undefined; readonly conflict: Vote | undefined }
  /** Nothing new. */
  | { readonly kind: "known" }
  /** From nobody who votes here, or of a round that is not kept. */
  | { readonly kind: "refused" }
  /** A third or later word of an equivocator, not kept. */
  | { readonly kind: "surplus"; readonly conflict: Vote };

type RoundVotes = {
  readonly prevote: Tally<Vote>;
  readonly precommit: Tally<Vote>;
  /** Power of those with a vote of either step. */
  power: bigint;
};

/** Which thresholds stand passed, for one vote's value, step and round. */
type Thresholds = { readonly value: boolean; readonly any: boolean; readonly skip: boolean };

/** The votes of one height. */
export class VoteKeeper {
  readonly #powers: ReadonlyMap<string, bigint>;
  readonly #totalPower: bigint;
  readonly #rounds = new Map<number, RoundVotes>();
  /** For each validator, the rounds above the current one that it has votes in, ascending. */
  readonly #future = new Map<string, number[]>();
  #round = 0;
  #pinned: ReadonlySet<number> = new Set();

  constructor(validators: ValidatorSet) {
    this.#powers = new Map(validators.validators.map((validator) => [signerOf(validator.address), validator.power]));
    this.#totalPower = validators.totalPower;
  }

  /** Makes `round` the current one, and forgets earlier rounds outside the window that are not in `pinned`. */
  moveTo(round: number, pinned: ReadonlySet<number>): void {
    assert(round >= this.#round, "round went from {} to {}", this.#round, round);
    this.#round = round;
    this.#pinned = pinned;
    for (const known of this.#rounds.keys()) if (!this.#isKept(known)) this.#rounds.delete(known);
    for (const [signer, rounds] of this.#future) {
      const left = rounds.filter((future) => future > round);
      if (left.length === 0) this.#future.delete(signer);
      else this.#future.set(signer, left);
    }
  }

  /** Whether `add` could count this vote: cheaper than checking its signature first. */
  wants(vote: Vote): boolean {
    const signer = signerOf(vote.validator);
    if (!this.#powers.has(signer) || !this.#isKept(vote.round)) return false;
    if (vote.round > this.#round && !this.#makesRoom(signer, vote.round)) return false;
    return this.#rounds.get(vote.round)?.[vote.step].wants(signer, valueOf(vote.blockHash)) ?? true;
  }

  /** Counts a vote of this height whose signature has been checked. */
  add(vote: Vote): VoteOutcome {
    const signer = signerOf(vote.validator);
    const power = this.#powers.get(signer);
    if (power === undefined || !this.#isKept(vote.round)) return { kind: "refused" };
    if (vote.round > this.#round && !this.#makesRoom(signer, vote.round)) return { kind: "refused" };

    const votes = this.#rounds.get(vote.round) ?? this.#newRound();
    const before = this.#thresholdsOf(votes, vote);
    const added = votes[vote.step].add(signer, power, valueOf(vote.blockHash), vote);
    if (added.kind === "known") return added;
    if (added.kind === "refused") return { kind: "surplus", conflict: added.conflict };

    this.#rounds.set(vote.round, votes);
    const other = vote.step === "prevote" ? votes.precommit : votes.prevote;
    if (added.conflict === undefined && !other.hasSigner(signer)) votes.power += power;
    if (vote.round > this.#round) this.#remember(signer, vote.round);
    return { kind: "counted", reached: this.#reached(votes, vote, before), conflict: added.conflict };
  }

  /** More than 2/3 prevoted for this value (nil: undefined) in this round. */
  hasPolka(round: number, value: string | undefined): boolean {
    return this.#rounds.get(round)?.prevote.hasQuorumOf(value ?? NIL) ?? false;
  }

  /** More than 2/3 prevoted in this round. */
  hasPolkaOfAny(round: number): boolean {
    return this.#rounds.get(round)?.prevote.hasQuorumOfAny() ?? false;
  }

  /** More than 2/3 precommitted this value in this round. */
  hasPrecommits(round: number, value: string): boolean {
    return this.#rounds.get(round)?.precommit.hasQuorumOf(value) ?? false;
  }

  /** More than 2/3 precommitted in this round. */
  hasPrecommitsOfAny(round: number): boolean {
    return this.#rounds.get(round)?.precommit.hasQuorumOfAny() ?? false;
  }

  /** The values, nil left out, with a quorum in one step of one round. */
  quorumsOf(step: VoteStep, round: number): readonly string[] {
    return (this.#rounds.get(round)?.[step].quorums() ?? []).filter((value) => value !== NIL);
  }

  /** The latest round above the current one, and not out of all reach, in which more than 1/3 have voted. */
  roundToSkipTo(): number | undefined {
    let latest: number | undefined;
    for (const [round, votes] of this.#rounds) {
      if (round <= this.#round || round > this.#round + ROUNDS_SKIPPED_MAX) continue;
      if (!isHonestShare(votes.power, this.#totalPower)) continue;
      if (latest === undefined || round > latest) latest = round;
    }
    return latest;
  }

  /** The votes for one value, by signer. */
  votesFor(step: VoteStep, round: number, value: string): ReadonlyMap<string, Vote> {
    return this.#rounds.get(round)?.[step].ballotsOf(value) ?? new Map<string, Vote>();
  }

  /** Every vote kept of one round. */
  *votesOf(round: number): Generator<Vote> {
    const votes = this.#rounds.get(round);
    if (votes === undefined) return;
    yield* votes.prevote.ballots();
    yield* votes.precommit.ballots();
  }

  /** The rounds with votes, ascending. */
  rounds(): readonly number[] {
    return [...this.#rounds.keys()].toSorted((a, b) => a - b);
  }

  /** Whether votes of this round are kept; later rounds are, within each validator's allowance. */
  #isKept(round: number): boolean {
    return round >= this.#round - PAST_ROUNDS_MAX || this.#pinned.has(round);
  }

  #makesRoom(signer: string, round: number): boolean {
    const rounds = this.#future.get(signer) ?? [];
    if (rounds.length < FUTURE_ROUNDS_PER_VALIDATOR_MAX || rounds.includes(round)) return true;
    return round > (rounds[0] as number);
  }

  #remember(signer: string, round: number): void {
    const rounds = this.#future.get(signer) ?? [];
    if (rounds.includes(round)) return;
    const kept = [...rounds, round].toSorted((a, b) => a - b);
    if (kept.length > FUTURE_ROUNDS_PER_VALIDATOR_MAX) this.#forget(signer, kept.shift() as number);
    this.#future.set(signer, kept);
  }

  #forget(signer: string, round: number): void {
    const votes = this.#rounds.get(round);
    assert(votes !== undefined, "no votes in round {}", round);
    votes.prevote.remove(signer);
    votes.precommit.remove(signer);
    votes.power -= this.#powers.get(signer) as bigint;
    if (votes.power === 0n) this.#rounds.delete(round);
  }

  #newRound(): RoundVotes {
    return { prevote: new Tally(this.#totalPower), precommit: new Tally(this.#totalPower), power: 0n };
  }

  #thresholdsOf(votes: RoundVotes, vote: Vote): Thresholds {
    const tally = votes[vote.step];
    return {
      value: tally.hasQuorumOf(valueOf(vote.blockHash)),
      any: tally.hasQuorumOfAny(),
      skip: vote.round > this.#round && isHonestShare(votes.power, this.#totalPower),
    };
  }

  #reached(votes: RoundVotes, vote: Vote, before: Thresholds): Threshold | undefined {
    const after = this.#thresholdsOf(votes, vote);
    const { round, step } = vote;
    if (after.skip && !before.skip) return { kind: "skip", round };
    if (after.value && !before.value) {
      if (vote.blockHash === undefined) return step === "prevote" ? { kind: "polkaNil", round } : { kind: "precommitAny", round };
      const value = valueOf(vote.blockHash);
      return step === "prevote" ? { kind: "polkaValue", round, value } : { kind: "precommitValue", round, value };
    }
    if (after.any && !before.any) return { kind: step === "prevote" ? "polkaAny" : "precommitAny", round };
    return undefined;
  }
}

/** One validator among the signers of votes, as the keeper names it. */
export function signerOf(validator: Address): string {
  return toHex(validator);
}
