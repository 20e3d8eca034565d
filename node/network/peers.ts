/**
 * What we hold against whom: points for offences, which decay, and bans, which expire.
 *
 * Scores are local opinion. They are not kept on disk and never leave the node.
 */

import type { Limits } from "./limits.ts";

/** One way to misbehave. */
export type OffenceRule = { readonly points: number; readonly reason: string };

/** Every offence. At `banPoints` (100) a peer is cut off; so a rule of 100 is a ban at once. */
export const OFFENCES = {
  malformed: { points: 60, reason: "bytes that do not parse: no honest version sends them" },
  oversized: { points: 60, reason: "a frame or message over its limit, announced or sent" },
  gossip_invalid: { points: 30, reason: "a gossip message that validation rejected; the sender had to check it first" },
  invalid_block: { points: 100, reason: "a block whose certificate or content does not hold" },
  snapshot_lie: {
    points: 100,
    reason: "offered a snapshot, or sent a chunk of one, that the certified header does not bear out",
  },
  height_lie: { points: 60, reason: "claimed a height that it cannot serve" },
  stall: { points: 30, reason: "stopped answering in the middle; may be overloaded, so it takes several" },
  flood: { points: 10, reason: "more than its rate" },
  unreachable: { points: 20, reason: "greeted us and then answers no gossip stream" },
  wrong_network: { points: 100, reason: "belongs to another network: not evil, but of no use" },
} as const satisfies Record<string, OffenceRule>;

/** The name of an offence. */
export type Offence = keyof typeof OFFENCES;

type Entry = { points: number; atMs: number; bans: number; bannedUntilMs: number };

/** What `penalise` led to. */
export type Verdict = { readonly kind: "noted"; readonly score: number } | { readonly kind: "banned"; readonly untilMs: number };

/** The book of peers. The clock is handed in; milliseconds that never go back. */
export class PeerBook {
  readonly #limits: Limits;
  readonly #now: () => number;
  readonly #entries = new Map<string, Entry>();

  constructor(limits: Limits, now: () => number) {
    this.#limits = limits;
    this.#now = now;
  }

  /** Notes an offence; the peer is banned when its points reach the limit. */
  penalise(peer: string, offence: Offence): Verdict {
    const entry = this.#entry(peer);
    entry.points += OFFENCES[offence].points;
    if (entry.points >= this.#limits.banPoints) return { kind: "banned", untilMs: this.#ban(entry, undefined) };
    return { kind: "noted", score: -entry.points };
  }

  /** Bans a peer outright; without a duration, for as long as its record deserves. Returns when it ends. */
  ban(peer: string, durationMs?: number): number {
    return this.#ban(this.#entry(peer), durationMs);
  }

  /** Whether the peer may not connect now. */
  isBanned(peer: string): boolean {
    const entry = this.#entries.get(peer);
    return entry !== undefined && entry.bannedUntilMs > this.#now();
  }

  /** Zero, or what the peer has against it as a negative number. */
  score(peer: string): number {
    const entry = this.#entries.get(peer);
    if (entry === undefined) return 0;
    this.#decay(entry);
    return entry.points === 0 ? 0 : -entry.points;
  }

  /** How many peers have an entry. */
  get size(): number {
    return this.#entries.size;
  }

  #ban(entry: Entry, durationMs: number | undefined): number {
    const grown = Math.min(this.#limits.banMsMax, this.#limits.banMs * 2 ** Math.min(entry.bans, 30));
    entry.bans += 1;
    // A peer comes back with half of what banned it: not innocent, and not one small fault away from the next ban.
    entry.points = this.#limits.banPoints / 2;
    entry.bannedUntilMs = Math.max(entry.bannedUntilMs, this.#now() + (durationMs ?? grown));
    return entry.bannedUntilMs;
  }

  #entry(peer: string): Entry {
    const known = this.#entries.get(peer);
    if (known !== undefined) {
      this.#decay(known);
      return known;
    }
    if (this.#entries.size >= this.#limits.peersRememberedMax) this.#forget();
    const entry: Entry = { points: 0, atMs: this.#now(), bans: 0, bannedUntilMs: 0 };
    this.#entries.set(peer, entry);
    return entry;
  }

  #decay(entry: Entry): void {
    const now = this.#now();
    entry.points *= 0.5 ** ((now - entry.atMs) / this.#limits.scoreHalfLifeMs);
    if (entry.points < 0.5) entry.points = 0;
    entry.atMs = now;
  }

  /** Forgets the eighth with the least against it, so that one scan pays for many new entries. */
  #forget(): void {
    const weighed = [...this.#entries].map(([peer, entry]) => {
      this.#decay(entry);
      return { peer, weight: Math.max(0, entry.bannedUntilMs - entry.atMs) * 1000 + entry.points };
    });
    weighed.sort((a, b) => a.weight - b.weight);
    for (const { peer } of weighed.slice(0, Math.ceil(this.#limits.peersRememberedMax / 8))) this.#entries.delete(peer);
  }
}
