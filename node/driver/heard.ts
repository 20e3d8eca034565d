/**
 * What validators have said of two heights, the one being decided and the one after it, as far as the driver must
 * remember it: whose signature was checked already, and what waits until its height begins.
 *
 * Everything here is counted by signer, because relays are free and keys are not: a validator that talks without end
 * fills its own place and nobody else's, and no relay can use up the place of an honest one.
 */

import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { ConsensusMessage } from "../../consensus/tendermint/message.ts";

/** Different statements of one validator a round: two words each for proposal, prevote and precommit are evidence. */
const STATEMENTS_PER_ROUND_MAX = 6;
/** How many rounds ahead of ours a validator may have spoken in before it is ignored. */
const ROUNDS_AHEAD_MAX = 16;
/** Votes of one validator that wait for the next height: two rounds of them, each said twice. */
const WAITING_VOTES_PER_VALIDATOR_MAX = 8;
/** Proposals that wait, of all proposers together: each holds a block of some megabytes. */
const WAITING_PROPOSALS_MAX = 4;

/** A message and who brought it. */
export type Heard = { readonly from: string; readonly message: ConsensusMessage };

/** What was said of one height. */
export class HeardMessages {
  /** Of each signer: its statements, signatures aside, and the signature that was checked. */
  readonly #statements = new Map<string, Map<string, Uint8Array>>();
  readonly #votes = new Map<string, Heard[]>();
  #proposals: Heard[] = [];

  /** Whether this very message was checked before. */
  isKnown(message: ConsensusMessage): boolean {
    const signature = this.#statements.get(signerOf(message))?.get(statementOf(message));
    return signature !== undefined && bytesEqual(signature, signedPartOf(message).signature);
  }

  /** Whether its signer may still be heard when we are in `round`. */
  hasRoom(message: ConsensusMessage, round: number): boolean {
    const said = this.#statements.get(signerOf(message));
    return (said?.size ?? 0) < STATEMENTS_PER_ROUND_MAX * (round + ROUNDS_AHEAD_MAX);
  }

  /** Notes that the message's signature is good. */
  note(message: ConsensusMessage): void {
    const signer = signerOf(message);
    const said = this.#statements.get(signer) ?? new Map<string, Uint8Array>();
    said.set(statementOf(message), signedPartOf(message).signature.slice()); // A view would keep the whole block.
    this.#statements.set(signer, said);
  }

  /** Keeps a message until its height begins. The newest count: a validator that waits for us says where it is now. */
  keep(heard: Heard): void {
    if (heard.message.kind === "proposal") {
      this.#proposals = keptOf(this.#proposals, heard, WAITING_PROPOSALS_MAX);
      return;
    }
    const signer = signerOf(heard.message);
    this.#votes.set(signer, keptOf(this.#votes.get(signer) ?? [], heard, WAITING_VOTES_PER_VALIDATOR_MAX));
  }

  /** Whether anything waits. */
  get isWaiting(): boolean {
    return this.#proposals.length > 0 || this.#votes.size > 0;
  }

  /** Takes out what waits, proposals first. */
  take(): readonly Heard[] {
    const waiting = [...this.#proposals, ...[...this.#votes.values()].flat()];
    this.#proposals = [];
    this.#votes.clear();
    return waiting;
  }
}

function keptOf(kept: readonly Heard[], heard: Heard, countMax: number): Heard[] {
  const statement = statementOf(heard.message);
  const others = kept.filter(({ message }) => statementOf(message) !== statement);
  return [...others, heard].slice(-countMax);
}

function signedPartOf(message: ConsensusMessage): { readonly validator: Address; readonly signature: Uint8Array } {
  return message.kind === "proposal" ? message.proposal : message.vote;
}

function signerOf(message: ConsensusMessage): string {
  return toHex(signedPartOf(message).validator);
}

/** What is said, signature aside. All are of one height. */
function statementOf(message: ConsensusMessage): string {
  if (message.kind === "proposal") {
    const { round, validRound, blockHash } = message.proposal;
    return `proposal/${round}/${validRound}/${toHex(blockHash)}`;
  }
  const { step, round, blockHash } = message.vote;
  return `${step}/${round}/${blockHash === undefined ? "" : toHex(blockHash)}`;
}
