/** What peers have been asked for and have not answered yet. Bounded, and given up after a while. */

import { toHex } from "../../crypto/base/bytes.ts";
import type { Effect } from "../engine.ts";
import { ANSWER_TIMEOUT_MS, ASKS_MAX, BLOCKS_PER_MESSAGE_MAX, QUESTIONS_MAX } from "./limits.ts";
import type { Place, PowMessage } from "./message.ts";
import type { TreeNode } from "./tree.ts";

type Asked = { readonly node: TreeNode; readonly count: number; readonly untilMs: number };

/** See the file's head. */
export class Requests {
  readonly #blocks = new Map<string, Asked>();
  readonly #questions = new Map<string, number>();

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

  isAsked(node: TreeNode): boolean {
    return this.#blocks.has(toHex(node.hash));
  }

  received(node: TreeNode): void {
    this.#blocks.delete(toHex(node.hash));
  }

  /**
   * Asks for the bodies that are missing among `wanted`, each of a peer that said it has it, of the next such peer when
   * one does not answer. Whatever else was asked for is forgotten.
   *
   * @returns the first block that was asked for often enough: nobody hands it over
   */
  ask(wanted: readonly TreeNode[], atMs: number, emit: (effect: Effect<PowMessage>) => void): TreeNode | undefined {
    const missing = wanted.filter(({ block }) => block === undefined).slice(0, BLOCKS_PER_MESSAGE_MAX);
    const keys = new Set(missing.map(({ hash }) => toHex(hash)));
    for (const key of this.#blocks.keys()) if (!keys.has(key)) this.#blocks.delete(key);
    for (const node of missing) {
      const asked = this.#blocks.get(toHex(node.hash));
      if (asked === undefined || asked.untilMs > atMs || asked.count < ASKS_MAX) continue;
      this.received(node);
      return node;
    }
    const byPeer = new Map<string | undefined, Place[]>();
    for (const node of missing) {
      const key = toHex(node.hash);
      const asked = this.#blocks.get(key);
      if (asked !== undefined && asked.untilMs > atMs) continue;
      const count = asked?.count ?? 0;
      // In the order in which they said so; nobody said so of blocks that we have undone, and then everybody is asked.
      const peer = node.sources.at(count % Math.max(1, node.sources.length));
      this.#blocks.set(key, { node, count: count + 1, untilMs: atMs + ANSWER_TIMEOUT_MS });
      const places = byPeer.get(peer) ?? [];
      places.push({ height: node.height, hash: node.hash });
      byPeer.set(peer, places);
    }
    for (const [peer, places] of byPeer) {
      const to = peer === undefined ? ("all" as const) : { peer };
      emit({ kind: "send", to, message: { kind: "getBlocks", places }, after: undefined });
    }
    return undefined;
  }

  /** When the first of the answers is overdue. */
  nextMs(): number {
    let nextMs = Number.POSITIVE_INFINITY;
    for (const { untilMs } of this.#blocks.values()) nextMs = Math.min(nextMs, untilMs);
    return nextMs;
  }
}
