/**
 * PBFT's invariants, over everything that is said, by a reference that is written from the paper and shares no rule with
 * the engine.
 *
 * Source: Castro and Liskov, "Practical Byzantine Fault Tolerance", OSDI 1999, sections 4.2 and 4.4, one sequence number
 * a height.
 *
 * | property | what must never be |
 * | --- | --- |
 * | `two_digests` | commits of more than 2/3 for two blocks of one height, in any views |
 * | `new_view` | an honest prepare for a block that no pre-prepare, and no new-view that holds, put forward in that view |
 * | `prepared` | an honest commit for what more than 2/3 did not prepare in that view |
 * | `view_change_claim` | an honest view-change that claims what was not prepared, or less than its sender committed before |
 */

import { bytesEqual, toHex } from "../../../crypto/base/bytes.ts";
import type { Address } from "../../../crypto/identity/address.ts";
import type { Header } from "../../../chain/block/block.ts";
import { findValidator, type ValidatorSet } from "../../../chain/block/validators.ts";
import { type CertificateSignature, type Vote, voteSigningBytes } from "../../../chain/block/vote.ts";
import {
  type NewViewMessage,
  parseMessage,
  type PbftMessage,
  type PreparedClaim,
  preparesOf,
  type ViewChange,
  type ViewChangeMessage,
  viewChangeSigningBytes,
} from "../../../consensus/pbft/message.ts";
import type { Signatures } from "../signatures.ts";
import type { Sometimes } from "../sometimes.ts";
import type { Checker, CheckerParts } from "./checker.ts";

/** What the checker is given. */
export type PbftParts = CheckerParts & {
  readonly sometimes: Sometimes;
  readonly chainId: string;
  readonly signatures: Signatures;
  /** Who decides a height, as far as the chain has come. */
  readonly setOf: (height: bigint) => ValidatorSet | undefined;
  /** The header of a decided height. */
  readonly headerOf: (height: bigint) => Header | undefined;
  /** Whose key this is; -1 when it is nobody's. */
  readonly nodeOf: (validator: Uint8Array) => number;
};

/** What is known of one height. */
type Sequence = {
  /** By view and block, who said so. */
  readonly prepares: Map<string, Set<string>>;
  readonly commits: Map<string, Set<string>>;
  /** Views and blocks with a pre-prepare. */
  readonly prePrepared: Set<string>;
  /** By view and block, new-views, and whether one of them holds. */
  readonly newViews: Map<string, NewViewMessage[]>;
  readonly sound: Set<string>;
  /** By signer, what it committed, and what it claimed in which view-change. */
  readonly committed: Map<string, PreparedClaim[]>;
  readonly changes: Map<string, ViewChange[]>;
  digest: string | undefined;
};

/** See the file's head. */
export class Pbft implements Checker {
  readonly #parts: PbftParts;
  readonly #sequences = new Map<bigint, Sequence>();

  constructor(parts: PbftParts) {
    this.#parts = parts;
  }

  onSaid(_index: number, bytes: Uint8Array): void {
    const message = parseMessage(bytes);
    if (message.ok) this.hear(message.value);
  }

  /** As `onSaid`, of a message that is parsed. */
  hear(message: PbftMessage): void {
    switch (message.kind) {
      case "vote":
        this.#hearVote(message.vote);
        return;
      case "prePrepare": {
        const { height, round, blockHash } = message.proposal;
        if (round === 0) this.#at(height).prePrepared.add(keyOf(0, blockHash));
        return;
      }
      case "viewChange":
        this.#hearViewChange(message);
        return;
      case "newView":
        this.#hearNewView(message);
        return;
    }
  }

  #hearVote(vote: Vote): void {
    const { height, round, blockHash, step, validator } = vote;
    if (blockHash === undefined) return;
    const [sequence, set] = [this.#at(height), this.#parts.setOf(height)];
    const [key, signer] = [keyOf(round, blockHash), toHex(validator)];
    const votes = step === "prevote" ? sequence.prepares : sequence.commits;
    const signers = votes.get(key) ?? new Set<string>();
    signers.add(signer);
    votes.set(key, signers);
    if (set === undefined) return;
    const who = this.#honest(validator);
    if (step === "prevote") {
      if (who !== undefined && !this.#isPutForward(sequence, round, key, set))
        this.#violated("new_view", `node ${who} prepared ${key} of height ${height}, which nothing that holds put forward`);
      return;
    }
    if (powerOf(set, signers) * 3n > set.totalPower * 2n) this.#hearCertificate(sequence, height, toHex(blockHash));
    if (who === undefined) return;
    if (powerOf(set, sequence.prepares.get(key) ?? new Set()) * 3n <= set.totalPower * 2n)
      this.#violated("prepared", `node ${who} committed ${key} of height ${height}, which 2/3 did not prepare`);
    const committed = sequence.committed.get(signer) ?? [];
    committed.push({ view: round, blockHash });
    sequence.committed.set(signer, committed);
    for (const change of sequence.changes.get(signer) ?? []) this.#compare(who, change, { view: round, blockHash });
  }

  #hearCertificate(sequence: Sequence, height: bigint, digest: string): void {
    if (sequence.digest !== undefined && sequence.digest !== digest)
      this.#violated("two_digests", `height ${height} has commits of more than 2/3 for ${sequence.digest} and for ${digest}`);
    sequence.digest = digest;
  }

  #hearViewChange({ viewChange, proof }: ViewChangeMessage): void {
    const { height, view, prepared, validator } = viewChange;
    const who = this.#honest(validator);
    if (who === undefined) return;
    const { sometimes } = this.#parts;
    sometimes.saw(prepared === undefined ? "pbft_view_changed" : "pbft_view_changed_prepared");
    const [sequence, set, signer] = [this.#at(height), this.#parts.setOf(height), toHex(validator)];
    const changes = sequence.changes.get(signer) ?? [];
    for (const known of changes)
      if (known.view === view && !isSame(known.prepared, prepared))
        this.#violated("view_change_claim", `node ${who} claims two things for view ${view} of height ${height}`);
    changes.push(viewChange);
    sequence.changes.set(signer, changes);
    for (const claim of sequence.committed.get(signer) ?? []) this.#compare(who, viewChange, claim);
    if (prepared === undefined || set === undefined) return;
    if (prepared.view >= view || !this.#isPrepared(set, height, prepared, proof?.prepares ?? []))
      this.#violated("view_change_claim", `node ${who} claims view ${prepared.view} of height ${height} without its prepares`);
  }

  /** Whoever has committed a block in a view claims that, or something later, when it asks for a later view. 4.4: the set P. */
  #compare(who: number, { height, view, prepared }: ViewChange, committed: PreparedClaim): void {
    if (committed.view >= view) return;
    if (prepared !== undefined && (prepared.view > committed.view || isSame(prepared, committed))) return;
    this.#violated(
      "view_change_claim",
      `node ${who} committed in view ${committed.view} of height ${height} and claims ${prepared?.view ?? "nothing"} for view ${view}`,
    );
  }

  #hearNewView(message: NewViewMessage): void {
    const { height, round, blockHash } = message.proposal;
    const { newViews } = this.#at(height);
    const key = keyOf(round, blockHash);
    const known = newViews.get(key) ?? [];
    known.push(message);
    newViews.set(key, known);
    const { sometimes } = this.#parts;
    const views = new Set(message.viewChanges.flatMap(({ prepared }) => (prepared === undefined ? [] : [prepared.view])));
    if (views.size > 0) sometimes.saw("pbft_new_view_carried");
    else sometimes.saw("pbft_new_view_free");
    if (views.size > 1) sometimes.saw("pbft_lower_claim_overruled");
    const set = this.#parts.setOf(height);
    if (set === undefined) return;
    if (this.isSound(message, set)) return;
    sometimes.saw("pbft_new_view_unsound");
    const who = this.#honest(message.proposal.validator);
    if (who !== undefined)
      this.#violated("new_view", `node ${who} made a new-view ${key} of height ${height} that does not hold`);
  }

  #isPutForward(sequence: Sequence, view: number, key: string, set: ValidatorSet): boolean {
    if (view === 0) return sequence.prePrepared.has(key);
    if (sequence.sound.has(key)) return true;
    const isSound = (sequence.newViews.get(key) ?? []).some((message) => this.isSound(message, set));
    if (isSound) sequence.sound.add(key);
    return isSound;
  }

  /**
   * Whether a new-view holds: the view-changes of more than 2/3 for this view, and the pre-prepare that follows from them.
   * Section 4.4: the sets V and O, where O has one place.
   */
  isSound({ proposal, viewChanges, prepares }: NewViewMessage, set: ValidatorSet): boolean {
    const { height, round: view, blockHash, validRound } = proposal;
    if (view < 1 || !this.#isPrimary(set, height, view, proposal.validator)) return false;
    const signers = new Set(viewChanges.map(({ validator }) => toHex(validator)));
    if (signers.size !== viewChanges.length || powerOf(set, signers) * 3n <= set.totalPower * 2n) return false;
    for (const change of viewChanges) {
      const bytes = viewChangeSigningBytes(this.#parts.chainId, change);
      if (change.height !== height || change.view !== view) return false;
      if (!this.#isSigned(set, change.validator, bytes, change.signature)) return false;
    }
    const claims = viewChanges.flatMap(({ prepared }) => (prepared === undefined ? [] : [prepared]));
    const highest = Math.max(-1, ...claims.map((claim) => claim.view));
    if (validRound !== highest || highest >= view) return false;
    if (highest === -1) return prepares.length === 0;
    if (claims.some((claim) => claim.view === highest && !bytesEqual(claim.blockHash, blockHash))) return false;
    return this.#isPrepared(set, height, { view: highest, blockHash }, prepares);
  }

  /** Section 4: the primary of view v is replica v mod n; ours count from whoever proposed the block before. */
  #isPrimary(set: ValidatorSet, height: bigint, view: number, validator: Address): boolean {
    const names = set.validators.map(({ address }) => toHex(address));
    const parent = this.#parts.headerOf(height - 1n);
    const first = parent === undefined ? 0 : Math.max(0, names.indexOf(toHex(parent.proposer)));
    return names[(first + view) % names.length] === toHex(validator);
  }

  /** More than 2/3 signed prepares for this block in this view. */
  #isPrepared(
    set: ValidatorSet,
    height: ViewChange["height"],
    claim: PreparedClaim,
    prepares: readonly CertificateSignature[],
  ): boolean {
    const signers = new Set(prepares.map(({ validator }) => toHex(validator)));
    if (powerOf(set, signers) * 3n <= set.totalPower * 2n) return false;
    return preparesOf(height, claim, prepares).every((vote) =>
      this.#isSigned(set, vote.validator, voteSigningBytes(this.#parts.chainId, vote), vote.signature),
    );
  }

  #isSigned(set: ValidatorSet, validator: Address, bytes: Uint8Array, signature: Uint8Array): boolean {
    const member = findValidator(set, validator);
    return member !== undefined && this.#parts.signatures.isGood(member.key, bytes, signature);
  }

  #honest(validator: Address): number | undefined {
    const index = this.#parts.nodeOf(validator);
    return index >= 0 && this.#parts.isHonest(index) ? index : undefined;
  }

  #at(height: bigint): Sequence {
    let sequence = this.#sequences.get(height);
    if (sequence === undefined) {
      sequence = {
        prepares: new Map(),
        commits: new Map(),
        prePrepared: new Set(),
        newViews: new Map(),
        sound: new Set(),
        committed: new Map(),
        changes: new Map(),
        digest: undefined,
      };
      this.#sequences.set(height, sequence);
    }
    return sequence;
  }

  #violated(property: string, message: string): void {
    this.#parts.violated(property, message);
  }
}

function keyOf(view: number, blockHash: Uint8Array): string {
  return `${view}/${toHex(blockHash).slice(0, 16)}`;
}

function powerOf(set: ValidatorSet, signers: ReadonlySet<string>): bigint {
  return set.validators.reduce((sum, { address, power }) => sum + (signers.has(toHex(address)) ? power : 0n), 0n);
}

function isSame(one: PreparedClaim | undefined, other: PreparedClaim | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  return one.view === other.view && bytesEqual(one.blockHash, other.blockHash);
}
