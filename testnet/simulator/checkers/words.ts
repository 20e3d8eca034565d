/**
 * What honest validators sign, as it leaves them: one word for each step ever, across restarts, crashes and lost files.
 * And of Tendermint's, no prevote or precommit against the rules of the lock.
 *
 * Source of the rules: Buchman, Kwon, Milosevic, "The latest gossip on BFT consensus", 2018, algorithm 1: a precommit
 * for a block follows prevotes for it by more than 2/3 in that round (line 36); who has precommitted a block prevotes
 * another only after more than 2/3 prevoted that one in a later round (line 29).
 */

import { toHex } from "../../../crypto/base/bytes.ts";
import type { ValidatorSet } from "../../../chain/block/validators.ts";
import type { Proposal, Vote } from "../../../chain/block/vote.ts";
import type { Codec } from "../../../consensus/engine.ts";
import type { Sometimes } from "../sometimes.ts";
import type { Checker, CheckerParts } from "./checker.ts";

/** What the checker is given. */
export type WordsParts = CheckerParts & {
  readonly codec: Codec<object>;
  /** Whether votes keep the rules of Tendermint's lock. */
  readonly hasLocks: boolean;
  /** Who decides a height. */
  readonly setOf: (height: bigint) => ValidatorSet | undefined;
  /** Whose key this is; -1 when it is nobody's. */
  readonly nodeOf: (validator: Uint8Array) => number;
  readonly sometimes: Sometimes;
};

type Lock = { readonly round: number; readonly block: string };

/** See the file's head. */
export class Words implements Checker {
  readonly #parts: WordsParts;
  /** By signer and step, what was said. */
  readonly #said = new Map<string, string>();
  /** By height, round and block, who prevoted it. Their power is reckoned when it is asked for: a liar may be at a height first. */
  readonly #prevotes = new Map<string, Set<string>>();
  /** By signer, its newest precommit for a block. */
  readonly #locks = new Map<string, { readonly height: bigint; readonly locks: Lock[] }>();

  constructor(parts: WordsParts) {
    this.#parts = parts;
  }

  onSaid(_index: number, bytes: Uint8Array): void {
    const message = this.#parts.codec.parse(bytes);
    if (!message.ok) return;
    const word = this.#parts.codec.wordOf(message.value);
    if (word === undefined) return;
    const signer = toHex(word.validator);
    const index = this.#parts.nodeOf(word.validator);
    const isHonest = index >= 0 && this.#parts.isHonest(index);
    if (isHonest) this.#checkOnce(index, signer, word);
    if (!this.#parts.hasLocks) return;
    if ("step" in word) this.#hear(index, signer, word, isHonest);
    else if (word.validRound >= 0) this.#parts.sometimes.saw("proof_of_lock_proposed");
  }

  #checkOnce(index: number, signer: string, word: Vote | Proposal): void {
    const step = "step" in word ? word.step : "proposal";
    const name = `${signer}/${word.height}/${word.round}/${step}`;
    const what = `${blockName(word.blockHash)}${"validRound" in word ? `/${word.validRound}` : ""}`;
    const known = this.#said.get(name);
    if (known === undefined) this.#said.set(name, what);
    else if (known !== what)
      this.#parts.violated(
        "one_signature",
        `node ${index} signed ${known} and ${what} for ${step} of height ${word.height} round ${word.round}`,
      );
  }

  #hear(index: number, signer: string, vote: Vote, isHonest: boolean): void {
    const set = this.#parts.setOf(vote.height);
    const block = blockName(vote.blockHash);
    if (vote.step === "prevote") {
      if (isHonest && set !== undefined) this.#checkPrevote(index, signer, vote, set);
      const name = `${vote.height}/${vote.round}/${block}`;
      const signers = this.#prevotes.get(name) ?? new Set<string>();
      signers.add(signer);
      this.#prevotes.set(name, signers);
      return;
    }
    if (!isHonest || vote.blockHash === undefined || set === undefined) return;
    if (!this.#hasPolka(vote.height, vote.round, block, set))
      this.#parts.violated(
        "lock",
        `node ${index} precommitted ${block} at height ${vote.height} round ${vote.round}, which 2/3 did not prevote`,
      );
    const known = this.#locks.get(signer);
    const locks = known?.height === vote.height ? known.locks : [];
    if (locks.some((lock) => lock.block === block && lock.round < vote.round)) this.#parts.sometimes.saw("lock_renewed");
    locks.push({ round: vote.round, block });
    this.#locks.set(signer, { height: vote.height, locks });
  }

  #checkPrevote(index: number, signer: string, vote: Vote, set: ValidatorSet): void {
    if (vote.blockHash === undefined) {
      this.#parts.sometimes.saw("locked_on_nil_poll");
      return;
    }
    const known = this.#locks.get(signer);
    if (known?.height !== vote.height) return;
    const lock = known.locks.filter(({ round }) => round < vote.round).reduce<Lock | undefined>(newer, undefined);
    const block = blockName(vote.blockHash);
    if (lock === undefined || lock.block === block) return;
    for (let round = lock.round; round < vote.round; round += 1)
      if (this.#hasPolka(vote.height, round, block, set)) {
        this.#parts.sometimes.saw("lock_released");
        return;
      }
    this.#parts.violated(
      "lock",
      `node ${index} prevoted ${block} at height ${vote.height} round ${vote.round}, locked on ${lock.block} since round ${lock.round}`,
    );
  }

  #hasPolka(height: bigint, round: number, block: string, set: ValidatorSet): boolean {
    const signers = this.#prevotes.get(`${height}/${round}/${block}`);
    if (signers === undefined) return false;
    const power = set.validators.reduce((sum, { address, power }) => sum + (signers.has(toHex(address)) ? power : 0n), 0n);
    return power * 3n > set.totalPower * 2n;
  }
}

function newer(best: Lock | undefined, lock: Lock): Lock {
  return best === undefined || lock.round > best.round ? lock : best;
}

function blockName(hash: Uint8Array | undefined): string {
  return hash === undefined ? "nil" : toHex(hash).slice(0, 16);
}
