/**
 * The proposals of one height (PBFT: pre-prepares), and the blocks that they carry.
 *
 * A round normally has one proposal: the first one counts. A different one of the same proposer is evidence, and is kept
 * too; a further one only if its block has a quorum, since then we need the block. Blocks live as long as a kept
 * proposal or a pinned one names them.
 */

import { toHex } from "../../crypto/base/bytes.ts";
import type { Block } from "../../chain/block/block.ts";
import type { Proposal } from "../../chain/block/vote.ts";

/** Different proposals kept of one round: the second is evidence. A block that got a quorum is kept beyond this. */
export const PROPOSALS_PER_ROUND_MAX = 2;

/** A proposal with its block, and whatever else an engine sends along. */
export type Proposed = { readonly proposal: Proposal; readonly block: Block };

/** What became of a proposal. `conflict` is another one of the same round. */
export type CandidateOutcome =
  | { readonly kind: "kept"; readonly conflict: Proposal | undefined }
  | { readonly kind: "known" }
  | { readonly kind: "surplus"; readonly conflict: Proposal };

/** How far the chain's judgement of a block has come. */
type Judgement = "none" | "asked" | "valid" | "invalid";

type HeldBlock = { readonly block: Block; judgement: Judgement };

/** The candidates of one height. A block goes by its value: its hash in hex. */
export class CandidateKeeper<Candidate extends Proposed> {
  readonly #rounds = new Map<number, Candidate[]>();
  readonly #blocks = new Map<string, HeldBlock>();

  /** Keeps a proposal whose signatures and proposer have been checked. `hasQuorum`: its block has one in some step. */
  add(candidate: Candidate, hasQuorum: boolean): CandidateOutcome {
    const { proposal, block } = candidate;
    const candidates = this.of(proposal.round);
    if (candidates.some((known) => isSameProposal(known.proposal, proposal))) return { kind: "known" };
    const conflict = candidates[0]?.proposal;
    if (conflict !== undefined && !this.wants(proposal, hasQuorum)) return { kind: "surplus", conflict };
    this.#rounds.set(proposal.round, [...candidates, candidate]);
    this.hold(block);
    return { kind: "kept", conflict };
  }

  /** Whether `add` would keep this proposal. */
  wants(proposal: Proposal, hasQuorum: boolean): boolean {
    const candidates = this.of(proposal.round);
    if (candidates.some((known) => isSameProposal(known.proposal, proposal))) return false;
    return candidates.length < PROPOSALS_PER_ROUND_MAX || hasQuorum;
  }

  /** Keeps a block that no proposal names yet: our own on its way to be signed, or one that a proof brought. */
  hold(block: Block): void {
    const value = toHex(block.hash);
    if (!this.#blocks.has(value)) this.#blocks.set(value, { block, judgement: "none" });
  }

  /** The proposals of a round, in the order they came. */
  of(round: number): readonly Candidate[] {
    return this.#rounds.get(round) ?? [];
  }

  /** The rounds with proposals, ascending. */
  rounds(): readonly number[] {
    return [...this.#rounds.keys()].toSorted((a, b) => a - b);
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

  /** Notes the chain's answer, which is the first and the last one. */
  judge(value: string, isValid: boolean): void {
    const held = this.#blocks.get(value);
    if (held?.judgement === "asked") held.judgement = isValid ? "valid" : "invalid";
  }

  /** Forgets the proposals that `isKept` refuses, and every block that neither one of the rest nor `pinned` names. */
  retain(isKept: (proposal: Proposal) => boolean, pinned: Iterable<string>): void {
    const named = new Set(pinned);
    for (const [round, candidates] of this.#rounds) {
      const kept = candidates.filter(({ proposal }) => isKept(proposal));
      if (kept.length === 0) this.#rounds.delete(round);
      else this.#rounds.set(round, kept);
      for (const { proposal } of kept) named.add(toHex(proposal.blockHash));
    }
    for (const value of this.#blocks.keys()) if (!named.has(value)) this.#blocks.delete(value);
  }
}

function isSameProposal(a: Proposal, b: Proposal): boolean {
  return a.round === b.round && a.validRound === b.validRound && toHex(a.blockHash) === toHex(b.blockHash);
}
