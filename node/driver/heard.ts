/**
 * What validators have said of two heights, the one being decided and the one after it, as far as the driver must
 * remember it: whose signature was checked already, and what waits until its height begins.
 *
 * Everything here is counted by signer, because relays are free and keys are not: a validator that talks without end
 * fills its own place and nobody else's, and no relay can use up the place of an honest one.
 */

import { bytesEqual, concatBytes, toHex, u32 } from "../../crypto/base/bytes.ts";
import { blake3 } from "../../crypto/backend/blake3.ts";
import type { MessageFacts, SignedPart } from "../../consensus/engine.ts";

/** Different statements of one validator a round: two words each for proposal, prevote and precommit are evidence. */
const STATEMENTS_PER_ROUND_MAX = 6;
/**
 * Messages of one statement that are checked. Its signer may have signed it anew after a crash, and it may come beside another proof;
 * but anybody can put together proofs without end from the signatures of others, and a signer sign one thing in any number of ways.
 */
const COPIES_PER_STATEMENT_MAX = 4;
/** How many rounds ahead of ours a validator may have spoken in before it is ignored. */
const ROUNDS_AHEAD_MAX = 16;
/** Messages without a block of one validator that wait for the next height: two rounds of votes, each said twice. */
const WAITING_WORDS_PER_VALIDATOR_MAX = 8;
/** Messages with a block that wait, of all signers together: each holds some megabytes. */
const WAITING_BLOCKS_MAX = 4;

/** A message, what it is about, what it is known again by (`markOf`), and who brought it. */
export type Heard<M> = {
  readonly from: string;
  readonly message: M;
  readonly facts: MessageFacts;
  readonly mark: Uint8Array;
};

/**
 * What a message that was checked is known again by: all that was signed in it, by whom, and every signature. Its signer's own is not
 * enough: a relay could put forged words of others, which prove what is said, beside one that is good.
 */
export function markOf(parts: readonly SignedPart[]): Uint8Array {
  return blake3(
    concatBytes(
      ...parts.flatMap(({ validator, bytes, signature }) => [
        validator,
        u32(bytes.length),
        bytes,
        u32(signature.length),
        signature,
      ]),
    ),
  );
}

/** What was said of one height. */
export class HeardMessages<M> {
  /** Of each signer: its statements, signatures aside, and the marks of the messages that were checked. */
  readonly #statements = new Map<string, Map<string, readonly Uint8Array[]>>();
  readonly #words = new Map<string, Heard<M>[]>();
  #blocks: Heard<M>[] = [];

  /** Whether this very message was checked before. */
  isKnown({ facts, mark }: Heard<M>): boolean {
    const checked = this.#statements.get(toHex(facts.signer))?.get(facts.statement) ?? [];
    return checked.some((each) => bytesEqual(each, mark));
  }

  /** Whether its signer may still be heard when we are in `round`, and this statement once more. */
  hasRoom({ signer, statement }: MessageFacts, round: number): boolean {
    const said = this.#statements.get(toHex(signer));
    if (said === undefined) return true;
    const copies = said.get(statement)?.length ?? 0;
    return copies < COPIES_PER_STATEMENT_MAX && said.size < STATEMENTS_PER_ROUND_MAX * (round + ROUNDS_AHEAD_MAX);
  }

  /** Notes that the message's signatures are good. */
  note({ facts, mark }: Heard<M>): void {
    const signer = toHex(facts.signer);
    const said = this.#statements.get(signer) ?? new Map<string, readonly Uint8Array[]>();
    said.set(facts.statement, [...(said.get(facts.statement) ?? []), mark]);
    this.#statements.set(signer, said);
  }

  /** Keeps a message until its height begins. The newest count: a validator that waits for us says where it is now. */
  keep(heard: Heard<M>): void {
    if (heard.facts.hasBlock) {
      this.#blocks = keptOf(this.#blocks, heard, WAITING_BLOCKS_MAX);
      return;
    }
    const signer = toHex(heard.facts.signer);
    this.#words.set(signer, keptOf(this.#words.get(signer) ?? [], heard, WAITING_WORDS_PER_VALIDATOR_MAX));
  }

  /** Whether anything waits. */
  get isWaiting(): boolean {
    return this.#blocks.length > 0 || this.#words.size > 0;
  }

  /** Takes out what waits, blocks first. */
  take(): readonly Heard<M>[] {
    const waiting = [...this.#blocks, ...[...this.#words.values()].flat()];
    this.#blocks = [];
    this.#words.clear();
    return waiting;
  }
}

function keptOf<M>(kept: readonly Heard<M>[], heard: Heard<M>, countMax: number): Heard<M>[] {
  const isSame = ({ facts }: Heard<M>): boolean =>
    facts.statement === heard.facts.statement && bytesEqual(facts.signer, heard.facts.signer);
  return [...kept.filter((each) => !isSame(each)), heard].slice(-countMax);
}
