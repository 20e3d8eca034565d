/**
 * The pre-prepares of one height, and the blocks that they and the proofs of view-changes carry.
 *
 * A view has one pre-prepare: the first one counts. A different one of the same primary is evidence, and is kept too; a
 * further one only if its block has a commit quorum, since then we need the block. Blocks live as long as a kept
 * pre-prepare or a pinned value names them.
 */

import type { Block } from "../../chain/block/block.ts";
import type { Proposal } from "../../chain/block/vote.ts";
import { PROPOSALS_PER_VIEW_MAX } from "./limits.ts";
import type { NewViewMessage, PrePrepareMessage } from "./message.ts";
import { valueOf } from "./votes.ts";

/** A pre-prepare in either of its forms. */
export type Candidate = PrePrepareMessage | NewViewMessage;

/** What became of a pre-prepare. `conflict` is another one of the same view. */
export type CandidateOutcome =
  | { readonly kind: "kept"; readonly conflict: Proposal | undefined }
  | { readonly kind: "known" }
  | { readonly kind: "surplus"; readonly conflict: Proposal };

/** How far the chain's judgement of a block has come. */
type Judgement = "none" | "asked" | "valid" | "invalid";

type HeldBlock = { readonly block: Block; judgement: Judgement };

/** The candidates of one height. */
export class CandidateKeeper {
  readonly #views = new Map<number, Candidate[]>();
  readonly #blocks = new Map<string, HeldBlock>();

  /** Keeps a pre-prepare whose signatures, primary and new-view have been checked. `isCommitted`: its block is. */
  add(candidate: Candidate, isCommitted: boolean): CandidateOutcome {
    const { proposal, block } = candidate;
    const candidates = this.of(proposal.round);
    if (candidates.some((known) => isSameProposal(known.proposal, proposal))) return { kind: "known" };
    const conflict = candidates[0]?.proposal;
    if (conflict !== undefined && !this.wants(proposal, isCommitted)) return { kind: "surplus", conflict };
    this.#views.set(proposal.round, [...candidates, candidate]);
    this.hold(block);
    return { kind: "kept", conflict };
  }

  /** Whether `add` would keep this pre-prepare. */
  wants(proposal: Proposal, isCommitted: boolean): boolean {
    const candidates = this.of(proposal.round);
    if (candidates.some((known) => isSameProposal(known.proposal, proposal))) return false;
    return candidates.length < PROPOSALS_PER_VIEW_MAX || isCommitted;
  }

  /** Keeps a block that no pre-prepare names: our own on its way to be signed, or one that a proof brought. */
  hold(block: Block): void {
    const value = valueOf(block.hash);
    if (!this.#blocks.has(value)) this.#blocks.set(value, { block, judgement: "none" });
  }

  /** The pre-prepares of a view, in the order they came. */
  of(view: number): readonly Candidate[] {
    return this.#views.get(view) ?? [];
  }

  /** The views with pre-prepares, ascending. */
  views(): readonly number[] {
    return [...this.#views.keys()].toSorted((a, b) => a - b);
  }

  /** The block, if it is here. */
  block(value: string): Block | undefined {
    return this.#blocks.get(value)?.block;
  }

  /** Whether the chain holds the block valid; undefined when it is not here or not judged yet. */
  isValid(value: string): boolean | undefined {
    const judgement = this.#blocks.get(value)?.judgement;
    return judgement === "valid" ? true : judgement === "invalid" ? false : undefined;
  }

  /** The block if it is here and nobody has been asked about it; from now on it counts as asked. */
  takeUnjudged(value: string): Block | undefined {
    const held = this.#blocks.get(value);
    if (held === undefined || held.judgement !== "none") return undefined;
    held.judgement = "asked";
    return held.block;
  }

  /** Notes the chain's answer. */
  judge(value: string, isValid: boolean): void {
    const held = this.#blocks.get(value);
    if (held?.judgement === "asked") held.judgement = isValid ? "valid" : "invalid";
  }

  /** Forgets the pre-prepares that `isKept` refuses, and every block that neither one of the rest nor `pinned` names. */
  retain(isKept: (proposal: Proposal) => boolean, pinned: ReadonlySet<string>): void {
    const named = new Set(pinned);
    for (const [view, candidates] of this.#views) {
      const kept = candidates.filter(({ proposal }) => isKept(proposal));
      if (kept.length === 0) this.#views.delete(view);
      else this.#views.set(view, kept);
      for (const { proposal } of kept) named.add(valueOf(proposal.blockHash));
    }
    for (const value of this.#blocks.keys()) if (!named.has(value)) this.#blocks.delete(value);
  }
}

function isSameProposal(a: Proposal, b: Proposal): boolean {
  return a.round === b.round && a.validRound === b.validRound && valueOf(a.blockHash) === valueOf(b.blockHash);
}
