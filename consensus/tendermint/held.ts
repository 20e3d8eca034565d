/**
 * Messages for the next height, held until it starts.
 *
 * Validators finish a height moments apart, and the first to finish may be the next proposer: without this the
 * others would lose its proposal and spend a timeout. Their signatures cannot be checked yet, as the validators of
 * the next height are not known, so each peer has its own small allowance and can crowd out only itself.
 */

import type { ConsensusMessage } from "./message.ts";
import { NEXT_HEIGHT_PEERS_MAX, NEXT_HEIGHT_PER_PEER_MAX, NEXT_HEIGHT_PROPOSALS_MAX } from "./limits.ts";

/** A message and the peer it came from. */
export type HeldMessage = { readonly from: string; readonly message: ConsensusMessage };

/** What is held for one height to come. */
export class HeldMessages {
  readonly #peers = new Map<string, ConsensusMessage[]>();
  #proposals = 0;

  /** Holds a message unless its peer's allowance, or the room for proposals, is used up. */
  hold(from: string, message: ConsensusMessage): void {
    const messages = this.#peers.get(from) ?? [];
    if (messages.length === 0 && this.#peers.size >= NEXT_HEIGHT_PEERS_MAX) return;
    if (messages.length >= NEXT_HEIGHT_PER_PEER_MAX) return;
    if (message.kind === "proposal") {
      if (this.#proposals >= NEXT_HEIGHT_PROPOSALS_MAX || messages.some((held) => held.kind === "proposal")) return;
      this.#proposals += 1;
    }
    messages.push(message);
    this.#peers.set(from, messages);
  }

  /** Everything held, peer by peer, leaving nothing. */
  take(): readonly HeldMessage[] {
    const taken: HeldMessage[] = [];
    for (const [from, messages] of this.#peers) for (const message of messages) taken.push({ from, message });
    this.#peers.clear();
    this.#proposals = 0;
    return taken;
  }
}
