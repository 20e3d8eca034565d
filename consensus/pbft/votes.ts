/**
 * Prepares and commits of one height, counted by power in `consensus/quorum`.
 *
 * A prepare is a prevote, a commit a precommit, the view is the round: so guard, evidence and certificates are those of
 * the other engines. Votes come in with their signatures checked. Kept are commits of the views from a window before
 * ours on, prepares of ours on, both to a few views ahead: what a peer sends cannot make it grow.
 */

import { assert } from "../../crypto/base/assert.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { ValidatorSet } from "../../chain/block/validators.ts";
import type { CertificateSignature, Vote, VoteStep } from "../../chain/block/vote.ts";
import { Tally } from "../quorum/tally.ts";
import { PAST_VIEWS_MAX, VIEWS_AHEAD_MAX } from "./limits.ts";

/** The name of a block in counts and in the view machine. */
export function valueOf(blockHash: Hash): string {
  return toHex(blockHash);
}

/** What became of a vote. `conflict` is another word of its signer in the same view and step. */
export type VoteOutcome =
  | { readonly kind: "counted"; readonly conflict: Vote | undefined }
  /** A third or later word of an equivocator, not kept. */
  | { readonly kind: "surplus"; readonly conflict: Vote }
  /** Nothing new, or of a view that is not kept. */
  | { readonly kind: "ignored" };

type ViewVotes = { readonly [Step in VoteStep]: Tally<Vote> };

/** The votes of one height. */
export class VoteKeeper {
  readonly #validators: ValidatorSet;
  readonly #powers: ReadonlyMap<string, bigint>;
  readonly #views = new Map<number, ViewVotes>();
  #view = 0;

  constructor(validators: ValidatorSet) {
    this.#validators = validators;
    this.#powers = new Map(validators.validators.map(({ address, power }) => [toHex(address), power]));
  }

  /** Makes `view` the current one. */
  moveTo(view: number): void {
    assert(view >= this.#view, "view went from {} to {}", this.#view, view);
    this.#view = view;
    for (const known of this.#views.keys()) if (known < view - PAST_VIEWS_MAX) this.#views.delete(known);
  }

  /** Whether `add` could count this vote: cheaper than checking its signature first. */
  wants({ step, round, blockHash, validator }: Vote): boolean {
    // Of a view that is over nothing matters but what completes a commit certificate.
    const first = step === "precommit" ? this.#view - PAST_VIEWS_MAX : this.#view;
    if (blockHash === undefined || round < first || round > this.#view + VIEWS_AHEAD_MAX) return false;
    const signer = toHex(validator);
    if (!this.#powers.has(signer)) return false;
    return this.#views.get(round)?.[step].wants(signer, valueOf(blockHash)) ?? true;
  }

  /** Counts a vote of this height whose signature has been checked. */
  add(vote: Vote): VoteOutcome {
    const signer = toHex(vote.validator);
    const power = this.#powers.get(signer);
    if (vote.blockHash === undefined || power === undefined || vote.round < this.#view - PAST_VIEWS_MAX)
      return { kind: "ignored" };
    const votes = this.#views.get(vote.round) ?? this.#newView();
    const added = votes[vote.step].add(signer, power, valueOf(vote.blockHash), vote);
    if (added.kind === "known") return { kind: "ignored" };
    if (added.kind === "refused") return { kind: "surplus", conflict: added.conflict };
    this.#views.set(vote.round, votes);
    return added;
  }

  /** More than 2/3 prepared this block in this view. */
  isPrepared(view: number, value: string): boolean {
    return this.#views.get(view)?.prevote.hasQuorumOf(value) ?? false;
  }

  /** More than 2/3 committed this block in this view. */
  isCommitted(view: number, value: string): boolean {
    return this.#views.get(view)?.precommit.hasQuorumOf(value) ?? false;
  }

  /** The blocks that more than 2/3 committed in this view: none or one, while less than 1/3 lie. */
  committedIn(view: number): readonly string[] {
    return this.#views.get(view)?.precommit.quorums() ?? [];
  }

  /** The signatures for one block, in the order of the set. */
  signaturesFor(step: VoteStep, view: number, value: string): readonly CertificateSignature[] {
    const ballots = this.#views.get(view)?.[step].ballotsOf(value);
    return this.#validators.validators.flatMap(({ address }) => {
      const vote = ballots?.get(toHex(address));
      return vote === undefined ? [] : [{ validator: address, signature: vote.signature }];
    });
  }

  /** The views with votes, ascending. */
  views(): readonly number[] {
    return [...this.#views.keys()].toSorted((a, b) => a - b);
  }

  /** Every vote kept of one view, prepares first. */
  *votesOf(view: number): Generator<Vote> {
    const votes = this.#views.get(view);
    if (votes === undefined) return;
    yield* votes.prevote.ballots();
    yield* votes.precommit.ballots();
  }

  #newView(): ViewVotes {
    const { totalPower } = this.#validators;
    return { prevote: new Tally(totalPower), precommit: new Tally(totalPower) };
  }
}
