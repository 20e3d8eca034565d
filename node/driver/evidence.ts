/** Evidence of misbehaviour on its way into a block: bounded, each misbehaviour once. */

import { toHex } from "../../crypto/base/bytes.ts";
import type { Coded, Result } from "../../crypto/base/result.ts";
import type { Evidence } from "../../chain/block/evidence.ts";

/** More misbehaving (validator, height) pairs than this wait for a later block, which loses nothing but time. */
const WAITING_MAX = 64;
/** How many go into one block. */
const BLOCK_EVIDENCE_MAX = 4;

/** Holds evidence until a block carries it. */
export class EvidencePool {
  readonly #waiting = new Map<string, Evidence>();

  /** Keeps a piece, unless the pool is full or one for the same validator and height waits already. */
  add(evidence: Evidence): boolean {
    const key = keyOf(evidence);
    if (this.#waiting.has(key) || this.#waiting.size >= WAITING_MAX) return false;
    this.#waiting.set(key, evidence);
    return true;
  }

  /**
   * What the next block should carry: those that are admitted. One of the height still being decided
   * (`evidence_height`) waits, the others are forgotten.
   */
  reap(admit: (evidence: Evidence) => Result<void, Coded>): readonly Evidence[] {
    const reaped: Evidence[] = [];
    for (const [key, evidence] of this.#waiting) {
      if (reaped.length >= BLOCK_EVIDENCE_MAX) break;
      const admitted = admit(evidence);
      if (admitted.ok) reaped.push(evidence);
      else if (admitted.error.code !== "evidence_height") this.#waiting.delete(key);
    }
    return reaped;
  }

  /** A block carried these. */
  remove(included: readonly Evidence[]): void {
    for (const evidence of included) this.#waiting.delete(keyOf(evidence));
  }
}

function keyOf({ first }: Evidence): string {
  return `${first.height}/${toHex(first.validator)}`;
}
