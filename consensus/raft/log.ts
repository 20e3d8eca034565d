/**
 * The log of one node: what storage holds, and after it what only memory holds.
 *
 * ```
 *   compacted | stable entries (storage) | unstable entries (memory)
 *        applied <= applying <= committed <= last index
 * ```
 *
 * `applying` has been handed to the caller; `applied` the caller has confirmed. Committed never goes back, and no entry up to it is
 * ever replaced (dissertation 3.6.2, state machine safety).
 */

import { assert } from "../../crypto/base/assert.ts";
import type { EventBody, LogMarks } from "./events.ts";
import { entrySizeBytes, limitSize } from "./storage.ts";
import type { RaftStorage } from "./storage.ts";
import type { Entry, EntryId, Snapshot } from "./types.ts";
import { Unstable } from "./unstable.ts";

/** What the entries count for, together. */
export function sizeBytesOf(entries: readonly Entry[]): number {
  return entries.reduce((sizeBytes, entry) => sizeBytes + entrySizeBytes(entry), 0);
}

/** The log. */
export class RaftLog {
  readonly unstable: Unstable;
  committed: bigint;
  applied: bigint;
  applying: bigint;
  readonly #storage: RaftStorage;
  readonly #applyingSizeBytesMax: number;
  #applyingSizeBytes = 0;
  /** Nothing more is handed out for applying until some of it is confirmed. */
  #isApplyingPaused = false;
  readonly #emit: (event: EventBody) => void;

  constructor(storage: RaftStorage, applyingSizeBytesMax: number, emit: (event: EventBody) => void) {
    const firstIndex = storage.firstIndex();
    const lastIndex = storage.lastIndex();
    assert(firstIndex >= 1n && lastIndex + 1n >= firstIndex, "storage holds {} to {}", firstIndex, lastIndex);
    this.#storage = storage;
    this.#applyingSizeBytesMax = applyingSizeBytesMax;
    this.#emit = emit;
    this.unstable = new Unstable(lastIndex + 1n, emit);
    this.committed = firstIndex - 1n;
    this.applied = firstIndex - 1n;
    this.applying = firstIndex - 1n;
  }

  /** The first index that is not compacted. */
  firstIndex(): bigint {
    return this.unstable.snapshot === undefined ? this.#storage.firstIndex() : this.unstable.snapshot.index + 1n;
  }

  /** The last index. */
  lastIndex(): bigint {
    return this.unstable.lastIndex() ?? this.#storage.lastIndex();
  }

  /** The last entry. */
  last(): EntryId {
    const index = this.lastIndex();
    const term = this.term(index);
    assert(term !== undefined, "no term of the last entry {}", index);
    return { term, index };
  }

  /** The term at an index; `undefined` before the compacted end and after the last. */
  term(index: bigint): bigint | undefined {
    const term = this.unstable.term(index);
    if (term !== undefined) return term;
    if (index + 1n < this.firstIndex() || index > this.lastIndex()) return undefined;
    return this.#storage.term(index);
  }

  /** Whether this very entry is in the log. */
  holds(id: EntryId): boolean {
    return this.term(id.index) === id.term;
  }

  /** Whether a log that ends so is at least as complete as this one (dissertation 3.6.1). */
  isUpToDate(theirs: EntryId): boolean {
    const ours = this.last();
    return theirs.term > ours.term || (theirs.term === ours.term && theirs.index >= ours.index);
  }

  /** Entries from `low` on, as many as fit and at least one; `undefined` when `low` is compacted. */
  entriesFrom(low: bigint, sizeBytesMax: number): readonly Entry[] | undefined {
    return low > this.lastIndex() ? [] : this.slice(low, this.lastIndex() + 1n, sizeBytesMax);
  }

  /** Entries `low <= index < high`, as many as fit and at least one; `undefined` when `low` is compacted. */
  slice(low: bigint, high: bigint, sizeBytesMax: number): readonly Entry[] | undefined {
    assert(low <= high && high <= this.lastIndex() + 1n, "slice {} to {} of {}", low, high, this.lastIndex());
    if (low < this.firstIndex()) return undefined;
    if (low === high) return [];
    const { offset } = this.unstable;
    if (low >= offset) return limitSize(this.#unstableSlice(low, high), sizeBytesMax);
    const cut = high < offset ? high : offset;
    const stable = this.#storage.entries(low, cut, sizeBytesMax);
    if (stable === undefined || cut === high || BigInt(stable.length) < cut - low) return stable;
    return limitSize([...stable, ...this.#unstableSlice(offset, high)], sizeBytesMax);
  }

  /** A leader's own new entries. */
  append(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    assert(first.index > this.committed, "append at {}, committed is {}", first.index, this.committed);
    this.unstable.replaceFrom(entries);
  }

  /**
   * A follower's part of AppendEntries (dissertation, figure 3.1, steps 2 to 5). Commits no further than what the leader has just
   * shown to be equal: entries of ours after that may differ from its own.
   *
   * @param previous - not before the commit index
   * @returns the last index that is equal now; `undefined` when our log has not the entry before them
   */
  appendFromLeader(previous: EntryId, entries: readonly Entry[], commit: bigint): bigint | undefined {
    assert(previous.index >= this.committed, "append after {}, committed is {}", previous.index, this.committed);
    if (!this.holds(previous)) return undefined;
    const last = previous.index + BigInt(entries.length);
    const newFrom = entries.findIndex((entry) => !this.holds(entry));
    const firstNew = entries[newFrom];
    if (firstNew !== undefined) {
      const existingTerm = this.term(firstNew.index);
      if (existingTerm !== undefined)
        this.#emit({ what: "conflictFound", index: firstNew.index, existingTerm, newTerm: firstNew.term });
      this.append(entries.slice(newFrom));
    }
    this.commitTo(commit < last ? commit : last);
    return last;
  }

  /**
   * The last entry at or before `index` whose term is at most `term`: the logs cannot agree between it and `index`.
   * Term 0 when it is not known here. Cost: one look at each entry on the way.
   */
  findConflictByTerm(index: bigint, term: bigint): EntryId {
    for (let at = index; at > 0n; at -= 1n) {
      const ours = this.term(at);
      if (ours === undefined) return { term: 0n, index: at };
      if (ours <= term) return { term: ours, index: at };
    }
    return { term: 0n, index: 0n };
  }

  /** A leader commits only through an entry of its own term: counting copies of an older one proves nothing (3.6.2, figure 3.7). */
  commitOwnTerm(id: EntryId): boolean {
    if (id.index <= this.committed || !this.holds(id)) return false;
    this.commitTo(id.index);
    return true;
  }

  /** Commits, never backwards. */
  commitTo(index: bigint): void {
    if (index <= this.committed) return;
    assert(index <= this.lastIndex(), "commit {}, last is {}", index, this.lastIndex());
    this.committed = index;
  }

  /** The caller has applied up to `index`, which weighed so much. */
  appliedTo(index: bigint, sizeBytes: number): void {
    assert(
      this.applied <= index && index <= this.committed,
      "applied {}, was {}, committed {}",
      index,
      this.applied,
      this.committed,
    );
    this.applied = index;
    if (this.applying < index) this.applying = index;
    this.#applyingSizeBytes = Math.max(0, this.#applyingSizeBytes - sizeBytes);
    this.#isApplyingPaused = this.#applyingSizeBytes >= this.#applyingSizeBytesMax;
  }

  /** What may be applied next. A snapshot goes first. @param allowUnstable - the caller stores entries before it applies */
  nextCommitted(allowUnstable: boolean): readonly Entry[] {
    if (this.#isApplyingPaused || this.unstable.snapshot !== undefined) return [];
    const low = this.applying + 1n;
    const high = this.#appliableTo(allowUnstable) + 1n;
    if (low >= high) return [];
    const entries = this.slice(low, high, this.#applyingSizeBytesMax - this.#applyingSizeBytes);
    assert(entries !== undefined, "entries from {} are compacted and not applied", low);
    return entries;
  }

  /** These have been handed out for applying. */
  acceptApplying(entries: readonly Entry[], allowUnstable: boolean): void {
    const last = entries.at(-1);
    if (last === undefined) return;
    this.applying = last.index;
    this.#applyingSizeBytes += sizeBytesOf(entries);
    this.#isApplyingPaused =
      this.#applyingSizeBytes >= this.#applyingSizeBytesMax || last.index < this.#appliableTo(allowUnstable);
  }

  /** The newest snapshot for a follower. */
  snapshot(): Snapshot | undefined {
    return this.unstable.snapshot ?? this.#storage.snapshot();
  }

  /** Begins anew from a leader's snapshot. */
  restore(snapshot: Snapshot): void {
    this.#emit({ what: "restoreStarted", log: this.#marks(), snapshot: { term: snapshot.term, index: snapshot.index } });
    this.committed = snapshot.index;
    this.unstable.restore(snapshot);
  }

  #unstableSlice(low: bigint, high: bigint): readonly Entry[] {
    const { entries, offset } = this.unstable;
    return entries.slice(Number(low - offset), Number(high - offset));
  }

  #appliableTo(allowUnstable: boolean): bigint {
    const stableTo = this.unstable.offset - 1n;
    return allowUnstable || this.committed < stableTo ? this.committed : stableTo;
  }

  #marks(): LogMarks {
    return {
      committed: this.committed,
      applied: this.applied,
      applying: this.applying,
      offset: this.unstable.offset,
      offsetInProgress: this.unstable.offsetInProgress,
      unstableCount: this.unstable.entries.length,
    };
  }
}
