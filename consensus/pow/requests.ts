/** What peers have been asked for and have not answered yet. Bounded, and given up after a while. */

import { toHex } from "../../crypto/base/bytes.ts";
import type { Effect } from "../engine.ts";
import { ANSWER_TIMEOUT_MS, ASKS_MAX, ASKS_PER_PEER_MAX, BLOCKS_PER_MESSAGE_MAX, QUESTIONS_MAX, REPEAT_MS } from "./limits.ts";
import type { Place, PowMessage } from "./message.ts";
import type { TreeNode } from "./tree.ts";

/** One block that was asked for. `message`: the number of the message that did so last, to `peer` or to everybody. */
type Asked = {
  readonly node: TreeNode;
  readonly count: number;
  readonly untilMs: number;
  readonly peer: string | undefined;
  readonly message: number;
};

/** See the file's head. */
export class Requests {
  readonly #blocks = new Map<string, Asked>();
  readonly #questions = new Map<string, number>();
  #messages = 0;

  /** Whether to ask this peer for headers now: one question a peer at a time. */
  question(peer: string, atMs: number): boolean {
    for (const [other, untilMs] of this.#questions) if (untilMs <= atMs) this.#questions.delete(other);
    if (this.#questions.has(peer) || this.#questions.size >= QUESTIONS_MAX) return false;
    this.#questions.set(peer, atMs + ANSWER_TIMEOUT_MS);
    return true;
  }

  /** This peer has answered. */
  answered(peer: string): void {
    this.#questions.delete(peer);
  }

  /** What this peer answered is of no use: it is left alone for a while. */
  ledNowhere(peer: string, atMs: number): void {
    this.#questions.set(peer, atMs + REPEAT_MS);
  }

  isAsked(node: TreeNode): boolean {
    return this.#blocks.has(toHex(node.hash));
  }

  received(node: TreeNode): void {
    this.#blocks.delete(toHex(node.hash));
  }

  /** Marks what is overdue. */
  markLate(atMs: number): void {
    for (const { node, untilMs } of this.#blocks.values()) if (untilMs <= atMs) node.isLate = true;
  }

  /**
   * Asks for the bodies that are missing on each of these ways, the first first, each body of a peer that said it has it, of the next such peer when
   * one does not answer or has enough to answer already. While all have, it waits for one of the answers. Whatever else
   * was asked for is not asked again, and may still come.
   *
   * @returns the first block that was asked for often enough: nobody hands it over
   */
  ask(ways: readonly (readonly TreeNode[])[], atMs: number, emit: (effect: Effect<PowMessage>) => void): TreeNode | undefined {
    const missing = new Set(
      ways.flatMap((way) => way.filter(({ block }) => block === undefined).slice(0, BLOCKS_PER_MESSAGE_MAX)),
    );
    const keys = new Set([...missing].map(({ hash }) => toHex(hash)));
    for (const [key, { untilMs }] of this.#blocks) if (!keys.has(key) && untilMs <= atMs) this.#blocks.delete(key);
    for (const node of missing) {
      const asked = this.#blocks.get(toHex(node.hash));
      if (asked === undefined || asked.untilMs > atMs || asked.count < ASKS_MAX) continue;
      this.received(node);
      return node;
    }
    const underWay = this.#underWay(atMs);
    const byPeer = new Map<string | undefined, { readonly message: number; readonly places: Place[] }>();
    for (const node of missing) {
      const key = toHex(node.hash);
      const asked = this.#blocks.get(key);
      if (asked !== undefined && asked.untilMs > atMs) continue;
      const count = asked?.count ?? 0;
      const free = peersOf(node, count).filter((peer) => byPeer.has(peer) || (underWay.get(peer)?.size ?? 0) < ASKS_PER_PEER_MAX);
      if (free.length === 0) continue;
      const [peer] = free;
      let asking = byPeer.get(peer);
      if (asking === undefined) {
        asking = { message: this.#messages, places: [] };
        this.#messages += 1;
        byPeer.set(peer, asking);
      }
      this.#blocks.set(key, { node, count: count + 1, untilMs: atMs + ANSWER_TIMEOUT_MS, peer, message: asking.message });
      asking.places.push({ height: node.height, hash: node.hash });
    }
    for (const [peer, { places }] of byPeer) {
      const to = peer === undefined ? ("all" as const) : { peer };
      emit({ kind: "send", to, message: { kind: "getBlocks", places }, after: undefined });
    }
    return undefined;
  }

  /** When the next of the answers is overdue. One that is and could be asked of nobody waits for that as well. */
  nextMs(atMs: number): number {
    let nextMs = Number.POSITIVE_INFINITY;
    for (const { untilMs } of this.#blocks.values()) if (untilMs > atMs) nextMs = Math.min(nextMs, untilMs);
    return nextMs;
  }

  /** Of each peer, the numbers of the messages that it may still answer. */
  #underWay(atMs: number): Map<string | undefined, Set<number>> {
    const underWay = new Map<string | undefined, Set<number>>();
    for (const { peer, message, untilMs } of this.#blocks.values()) {
      if (untilMs <= atMs) continue;
      const messages = underWay.get(peer) ?? new Set();
      underWay.set(peer, messages.add(message));
    }
    return underWay;
  }
}

/**
 * Whom to ask for a block that was asked for so often: in the order in which they said that they have it, and each time
 * beginning with the next one. Nobody said so of blocks that we have undone, and then everybody is asked.
 */
function peersOf({ sources }: TreeNode, count: number): readonly (string | undefined)[] {
  if (sources.length === 0) return [undefined];
  const first = count % sources.length;
  return [...sources.slice(first), ...sources.slice(0, first)];
}
