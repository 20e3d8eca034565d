/** Evidence of misbehaviour on its way into a block: bounded, each misbehaviour once. */

import { toHex } from "../../crypto/base/bytes.ts";
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

  /** What the next block should carry: those for which `isAdmissible` holds; the others are forgotten. */
  reap(isAdmissible: (evidence: Evidence) => boolean): readonly Evidence[] {
    const reaped: Evidence[] = [];
    for (const [key, evidence] of this.#waiting) {
      if (reaped.length >= BLOCK_EVIDENCE_MAX) break;
      if (isAdmissible(evidence)) reaped.push(evidence);
      else this.#waiting.delete(key);
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
