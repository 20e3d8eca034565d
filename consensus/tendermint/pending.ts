/** Messages whose signatures are being checked: so many a peer, so many in all, and few copies of one vote. */

import { bytesEqual } from "../../crypto/base/bytes.ts";
import {
  PENDING_COPIES_MAX,
  PENDING_MAX,
  PENDING_PER_PEER_MAX,
  PENDING_PROPOSALS_MAX,
  PENDING_PROPOSALS_PER_PEER_MAX,
} from "./limits.ts";
import type { ConsensusMessage } from "./message.ts";
import { signerOf, valueOf } from "./votes.ts";

type Entry = { readonly from: string; readonly key: string; readonly message: ConsensusMessage };
type Load = { messages: number; proposals: number };

/** The messages of one height that are being checked. */
export class PendingMessages {
  readonly #entries = new Map<number, Entry>();
  readonly #peers = new Map<string, Load>();
  /** What is said, its signature aside, and the signatures with which it is being checked. */
  readonly #signatures = new Map<string, Uint8Array[]>();
  #proposals = 0;

  /** Whether this message may be added: it is not being checked already, and there is room. */
  hasRoom(from: string, message: ConsensusMessage): boolean {
    const { signature } = message.kind === "vote" ? message.vote : message.proposal;
    const copies = this.#signatures.get(keyOf(message)) ?? [];
    if (copies.length >= PENDING_COPIES_MAX || copies.some((copy) => bytesEqual(copy, signature))) return false;
    const load = this.#peers.get(from) ?? { messages: 0, proposals: 0 };
    if (this.#entries.size >= PENDING_MAX || load.messages >= PENDING_PER_PEER_MAX) return false;
    if (message.kind === "vote") return true;
    return this.#proposals < PENDING_PROPOSALS_MAX && load.proposals < PENDING_PROPOSALS_PER_PEER_MAX;
  }

  /** Adds a message that there is room for. */
  add(id: number, from: string, message: ConsensusMessage): void {
    const key = keyOf(message);
    const { signature } = message.kind === "vote" ? message.vote : message.proposal;
    this.#entries.set(id, { from, key, message });
    this.#signatures.set(key, [...(this.#signatures.get(key) ?? []), signature]);
    this.#count(from, message, 1);
  }

  /** Takes a message out; undefined when the id is not (or no longer) known. */
  take(id: number): ConsensusMessage | undefined {
    const entry = this.#entries.get(id);
    if (entry === undefined) return undefined;
    this.#entries.delete(id);
    this.#count(entry.from, entry.message, -1);
    const { signature } = entry.message.kind === "vote" ? entry.message.vote : entry.message.proposal;
    const left = (this.#signatures.get(entry.key) ?? []).filter((copy) => copy !== signature);
    if (left.length === 0) this.#signatures.delete(entry.key);
    else this.#signatures.set(entry.key, left);
    return entry.message;
  }

  /** Forgets everything. */
  clear(): void {
    this.#entries.clear();
    this.#peers.clear();
    this.#signatures.clear();
    this.#proposals = 0;
  }

  #count(from: string, message: ConsensusMessage, difference: 1 | -1): void {
    const load = this.#peers.get(from) ?? { messages: 0, proposals: 0 };
    load.messages += difference;
    if (message.kind === "proposal") {
      load.proposals += difference;
      this.#proposals += difference;
    }
    if (load.messages === 0) this.#peers.delete(from);
    else this.#peers.set(from, load);
  }
}

/** What a message says, its signature aside. All are of one height. */
function keyOf(message: ConsensusMessage): string {
  if (message.kind === "vote") {
    const { step, round, validator, blockHash } = message.vote;
    return `${step}/${round}/${signerOf(validator)}/${valueOf(blockHash)}`;
  }
  const { round, validRound, blockHash } = message.proposal;
  return `proposal/${round}/${validRound}/${valueOf(blockHash)}`;
}
