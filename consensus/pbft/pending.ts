/** Messages whose signatures are being checked: so many a peer, so many in all, few copies of one statement, few blocks. */

import { PBFT_CODEC } from "./codec.ts";
import {
  PENDING_BLOCKS_MAX,
  PENDING_BLOCKS_PER_PEER_MAX,
  PENDING_COPIES_MAX,
  PENDING_MAX,
  PENDING_PER_PEER_MAX,
} from "./limits.ts";
import type { PbftMessage } from "./message.ts";

type Entry = {
  readonly from: string;
  readonly key: string;
  readonly message: PbftMessage;
  /** It brings a block that was not here when it came. */
  readonly hasNewBlock: boolean;
};

/** The messages of one height that are being checked. */
export class PendingMessages {
  readonly #entries = new Map<number, Entry>();

  /**
   * Adds a message, unless there is no room for it: its peer has used up its share, or the same is said already by this
   * peer or by many others.
   */
  add(id: number, from: string, message: PbftMessage, hasNewBlock: boolean): boolean {
    // The signer is part of what is signed.
    const key = PBFT_CODEC.describe(message).statement;
    let [ofPeer, copies, blocks, blocksOfPeer] = [0, 0, 0, 0];
    for (const entry of this.#entries.values()) {
      const isOfPeer = entry.from === from;
      if (entry.key === key && isOfPeer) return false;
      if (isOfPeer) ofPeer += 1;
      if (entry.key === key) copies += 1;
      if (entry.hasNewBlock) blocks += 1;
      if (entry.hasNewBlock && isOfPeer) blocksOfPeer += 1;
    }
    if (ofPeer >= PENDING_PER_PEER_MAX || this.#entries.size >= PENDING_MAX || copies >= PENDING_COPIES_MAX) return false;
    if (hasNewBlock && (blocks >= PENDING_BLOCKS_MAX || blocksOfPeer >= PENDING_BLOCKS_PER_PEER_MAX)) return false;
    this.#entries.set(id, { from, key, message, hasNewBlock });
    return true;
  }

  /** Takes a message out; undefined when the id is not (or no longer) known. */
  take(id: number): PbftMessage | undefined {
    const message = this.#entries.get(id)?.message;
    this.#entries.delete(id);
    return message;
  }

  /** Forgets everything. */
  clear(): void {
    this.#entries.clear();
  }
}
