/**
 * How long gossip takes to bring a transaction to everybody, as far as proposals show it.
 *
 * A proposal names what was sent before it, and has the body of what was sent too lately for some to have it. How lately that is
 * depends on the network: between nodes that are all connected to each other nothing is too late, because what one node sends
 * comes in its order; where gossip takes several steps it is the time of those. Nobody can be asked, but whoever lacks a body asks
 * for it. So the time grows when somebody does, at most once between two proposals, and shrinks with each that all could read.
 * A peer that asks without need makes proposals larger, up to what they are with the bodies of `SPREAD_MS_MAX`.
 */

/** A new network has shown nothing yet. */
const SPREAD_MS_START = 50;
/** Beyond it everybody has what was sent. */
export const SPREAD_MS_MAX = 300;
/** From less than this there is nothing to gain, and to it the time grows at once. */
const SPREAD_MS_MIN = 10;
const GROWTH = 2;
const SHRINKING = 0.9;

/** See the file's head. */
export class Spread {
  #ms = SPREAD_MS_START;
  #isEnough = true;

  /** What was sent less than so many milliseconds ago somebody may lack; 0 when nobody does. */
  get ms(): number {
    return this.#ms;
  }

  /** A proposal goes out. */
  proposed(): void {
    if (this.#isEnough) this.#ms = this.#ms <= SPREAD_MS_MIN ? 0 : this.#ms * SHRINKING;
    this.#isEnough = true;
  }

  /** Somebody, a peer or this node, had to ask for what a proposal named. */
  lacked(): void {
    if (this.#isEnough) this.#ms = Math.min(SPREAD_MS_MAX, Math.max(SPREAD_MS_MIN, this.#ms) * GROWTH);
    this.#isEnough = false;
  }
}
