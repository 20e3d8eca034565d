/**
 * Messages from one peer to one other: what an engine sends to whom it names, beside the gossip to all.
 *
 * ```
 *   we have something to say --> one exchange: our message asked, whatever the peer's engine says to us meanwhile answered
 *   a peer asks              --> the engine hears it; what it says to that peer at once is the answer
 * ```
 *
 * So a question and its answers are one stream, with the bounds, the rates and the blame of every other request.
 */

import { CodedError, codeOf } from "../../crypto/base/error.ts";
import type { Log } from "../log/log.ts";
import type { Network } from "../network/network.ts";
import { type Asked, type Handler, refuse } from "../network/request.ts";
import type { Driver } from "./driver.ts";

/** The protocol. */
export const DIRECT_PROTOCOL = "/pyralog/direct/1";

/** Questions to one peer under way at once; beyond, the oldest unanswered one is what the engine repeats anyway. */
const UNDER_WAY_PER_PEER_MAX = 4;
/** Answers to one question: what the engine says beyond is not sent. */
const ANSWERS_MAX = 64;

/** What a channel works with. */
export type DirectParts = {
  readonly network: Pick<Network, "request" | "penalise" | "limits">;
  readonly driver: () => Pick<Driver, "receive">;
  /** Owns what is under way until it ends. */
  readonly own: (task: Promise<void>) => void;
  readonly log: Log;
  readonly signal: AbortSignal;
};

/** See the file's head. */
export class DirectChannel {
  readonly #parts: DirectParts;
  /** Of peers whose question is being heard just now: what is to be answered. */
  readonly #answers = new Map<string, Uint8Array[]>();
  readonly #underWay = new Map<string, number>();

  constructor(parts: DirectParts) {
    this.#parts = parts;
  }

  /** Says something to one peer. What cannot be said now is dropped: an engine repeats what it needs. */
  send(peer: string, bytes: Uint8Array): void {
    const answers = this.#answers.get(peer);
    if (answers !== undefined) {
      if (answers.length < ANSWERS_MAX) answers.push(bytes);
      return;
    }
    const underWay = this.#underWay.get(peer) ?? 0;
    if (underWay >= UNDER_WAY_PER_PEER_MAX || bytes.length > this.#parts.network.limits.requestBytesMax) {
      this.#parts.log.debug({ peer, bytes: bytes.length, underWay }, "message to one peer dropped");
      return;
    }
    this.#underWay.set(peer, underWay + 1);
    this.#parts.own(this.#ask(peer, bytes));
  }

  /** Hears questions, and answers with what the engine says to the asker at once. */
  get handler(): Handler {
    const { driver } = this.#parts;
    const answersOf = this.#answers;
    return async function* serve({ peer, bytes }: Asked) {
      const answers: Uint8Array[] = [];
      answersOf.set(peer, answers);
      try {
        if ((await driver().receive(peer, bytes)) === "reject") throw refuse("malformed");
      } finally {
        if (answersOf.get(peer) === answers) answersOf.delete(peer);
      }
      yield* answers;
    };
  }

  async #ask(peer: string, bytes: Uint8Array): Promise<void> {
    const { network, driver, log, signal } = this.#parts;
    try {
      let count = 0;
      for await (const frame of network.request(peer, DIRECT_PROTOCOL, bytes, { signal })) {
        count += 1;
        if (count > ANSWERS_MAX || (await driver().receive(peer, frame)) === "reject") {
          network.penalise(peer, "malformed");
          return;
        }
      }
    } catch (error) {
      if (!(error instanceof CodedError) && !signal.aborted) throw error;
      // The request layer has penalised whoever broke the protocol; the engine asks again, or another.
      log.debug({ peer, code: codeOf(error) }, "message to one peer failed");
    } finally {
      const left = (this.#underWay.get(peer) ?? 1) - 1;
      if (left === 0) this.#underWay.delete(peer);
      else this.#underWay.set(peer, left);
    }
  }
}
