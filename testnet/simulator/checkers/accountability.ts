/**
 * More than a third of the power lies, so two blocks may become final at one height. Whenever that happens, what was said
 * convicts validators with at least a third of the power, and nobody who is honest.
 *
 * Two quorums of more than 2/3 share more than 1/3. What convicts: two words for one step (`chain/block/evidence.ts`); and
 * under PBFT, where nobody need speak twice in a view to be in both quorums, a view-change that hides what its sender
 * committed before. The second kind the chain has no form of evidence for; how often it is needed is counted.
 */

import { bytesEqual, toHex } from "../../../crypto/base/bytes.ts";
import type { Address } from "../../../crypto/identity/address.ts";
import { verifySignature } from "../../../crypto/sign/key.ts";
import { doubleProposalOf, doubleVoteOf, type Evidence, verifyEvidence } from "../../../chain/block/evidence.ts";
import { findValidator, type ValidatorSet } from "../../../chain/block/validators.ts";
import { type Proposal, type Vote, voteSigningBytes } from "../../../chain/block/vote.ts";
import type { Commit } from "../../../chain/ledger/ledger.ts";
import type { Codec } from "../../../consensus/engine.ts";
import { parseMessage, type ViewChange, viewChangeSigningBytes } from "../../../consensus/pbft/message.ts";
import type { Sometimes } from "../sometimes.ts";
import type { Checker, CheckerParts } from "./checker.ts";

/** What the checker is given. */
export type AccountabilityParts = CheckerParts & {
  readonly sometimes: Sometimes;
  readonly chainId: string;
  readonly codec: Codec<object>;
  /** Whether view-changes are spoken. */
  readonly hasViews: boolean;
  /** Who decides a height, as a node knows it that has decided it. */
  readonly setOf: (index: number, height: bigint) => ValidatorSet | undefined;
  /** Whose key this is; -1 when it is nobody's. */
  readonly nodeOf: (validator: Uint8Array) => number;
};

type Fork = { readonly height: bigint; readonly set: ValidatorSet };

/** See the file's head. */
export class Accountability implements Checker {
  readonly #parts: AccountabilityParts;
  readonly #decided = new Map<bigint, Uint8Array>();
  /** By signer and step, every word for another block. */
  readonly #words = new Map<string, (Vote | Proposal)[]>();
  readonly #changes: ViewChange[] = [];
  #fork: Fork | undefined;

  constructor(parts: AccountabilityParts) {
    this.#parts = parts;
  }

  onSaid(_index: number, bytes: Uint8Array): void {
    const { codec, hasViews } = this.#parts;
    const message = codec.parse(bytes);
    if (!message.ok) return;
    const word = codec.wordOf(message.value);
    if (word !== undefined) this.#hear(word);
    if (!hasViews) return;
    const pbft = parseMessage(bytes);
    if (pbft.ok && pbft.value.kind === "viewChange") this.#changes.push(pbft.value.viewChange);
    if (pbft.ok && pbft.value.kind === "newView") this.#changes.push(...pbft.value.viewChanges);
  }

  onCommit(index: number, { block }: Commit): void {
    if (!this.#parts.isHonest(index)) return;
    const { height } = block.header;
    const known = this.#decided.get(height);
    if (known === undefined) this.#decided.set(height, block.hash);
    else if (!bytesEqual(known, block.hash) && (this.#fork === undefined || height < this.#fork.height)) {
      const set = this.#parts.setOf(index, height);
      if (set !== undefined) this.#fork = { height, set };
    }
  }

  onEnd(): void {
    const fork = this.#fork;
    if (fork === undefined) return;
    const { sometimes, isHonest, nodeOf, violated } = this.#parts;
    sometimes.saw("fork_made");
    const spokeTwice = this.#spokeTwice(fork);
    const all = new Set([...spokeTwice, ...this.#hid(fork)]);
    for (const { address } of fork.set.validators) {
      const index = nodeOf(address);
      if (all.has(toHex(address)) && isHonest(index)) violated("accountability", `node ${index} is honest, and convicted`);
    }
    if (powerOf(fork.set, spokeTwice) * 3n >= fork.set.totalPower) sometimes.saw("fork_proved_by_evidence");
    else if (powerOf(fork.set, all) * 3n >= fork.set.totalPower) sometimes.saw("fork_proved_by_view_changes");
    else
      violated(
        "accountability",
        `height ${fork.height} was forked, and what was said convicts ${powerOf(fork.set, all)} of ${fork.set.totalPower}`,
      );
  }

  #hear(word: Vote | Proposal): void {
    const step = "step" in word ? word.step : "proposal";
    const key = `${toHex(word.validator)}/${word.height}/${word.round}/${step}`;
    const known = this.#words.get(key) ?? [];
    if (known.some(({ blockHash }) => nameOf(blockHash) === nameOf(word.blockHash))) return;
    known.push(word);
    this.#words.set(key, known);
  }

  /** Whom evidence as the chain takes it names at the forked height. */
  #spokeTwice({ height, set }: Fork): ReadonlySet<string> {
    const named = new Set<string>();
    for (const [first, second] of this.#words.values()) {
      if (first === undefined || second === undefined || first.height !== height) continue;
      const evidence = evidenceOf(first, second);
      if (evidence !== undefined && verifyEvidence(this.#parts.chainId, set, evidence).ok) named.add(toHex(first.validator));
    }
    return named;
  }

  /** Who asked for a later view without what it had committed. */
  #hid({ height, set }: Fork): ReadonlySet<string> {
    const named = new Set<string>();
    const { chainId } = this.#parts;
    const isSigned = (validator: Address, bytes: Uint8Array, signature: Uint8Array): boolean => {
      const member = findValidator(set, validator);
      return member !== undefined && verifySignature(member.key, bytes, signature);
    };
    const commits = [...this.#words.values()].flat();
    for (const change of this.#changes) {
      if (change.height !== height) continue;
      const isHidden = (word: Vote | Proposal): boolean =>
        "step" in word &&
        word.step === "precommit" &&
        word.height === height &&
        bytesEqual(word.validator, change.validator) &&
        word.round < change.view &&
        (change.prepared?.view ?? -1) < word.round &&
        isSigned(word.validator, voteSigningBytes(chainId, word), word.signature);
      if (!isSigned(change.validator, viewChangeSigningBytes(chainId, change), change.signature)) continue;
      if (commits.some(isHidden)) named.add(toHex(change.validator));
    }
    return named;
  }
}

function evidenceOf(first: Vote | Proposal, second: Vote | Proposal): Evidence | undefined {
  if ("step" in first && "step" in second) return doubleVoteOf(first, second);
  return "step" in first || "step" in second ? undefined : doubleProposalOf(first, second);
}

function nameOf(hash: Uint8Array | undefined): string {
  return hash === undefined ? "nil" : toHex(hash);
}

function powerOf(set: ValidatorSet, named: ReadonlySet<string>): bigint {
  return set.validators.reduce((sum, { address, power }) => sum + (named.has(toHex(address)) ? power : 0n), 0n);
}
