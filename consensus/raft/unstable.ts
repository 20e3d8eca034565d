/**
 * The end of the log that is not durable yet: maybe a snapshot, then entries. Part of it may be in the hands of the storage
 * ("in progress"): it is handed out once, and kept until the storage says that it is durable.
 *
 * Entries `offset <= index < offset + entries.length` are here; those below `offsetInProgress` have been handed out.
 */

import { assert } from "../../crypto/base/assert.ts";
import type { EventBody } from "./events.ts";
import type { Entry, EntryId, Snapshot } from "./types.ts";

/** The part of a log that only memory holds. */
export class Unstable {
  snapshot: Snapshot | undefined = undefined;
  entries: readonly Entry[] = [];
  offset: bigint;
  offsetInProgress: bigint;
  #isSnapshotInProgress = false;
  readonly #emit: (event: EventBody) => void;

  /** @param offset - the first index that storage does not hold */
  constructor(offset: bigint, emit: (event: EventBody) => void) {
    this.offset = offset;
    this.offsetInProgress = offset;
    this.#emit = emit;
  }

  /** The last index here. */
  lastIndex(): bigint | undefined {
    if (this.entries.length > 0) return this.offset + BigInt(this.entries.length) - 1n;
    return this.snapshot?.index;
  }

  /** The term at an index that is here. */
  term(index: bigint): bigint | undefined {
    if (index < this.offset) return this.snapshot?.index === index ? this.snapshot.term : undefined;
    return this.entries[Number(index - this.offset)]?.term;
  }

  /** Entries that nobody has been handed. */
  nextEntries(): readonly Entry[] {
    return this.entries.slice(Number(this.offsetInProgress - this.offset));
  }

  /** The snapshot, unless it has been handed out. */
  nextSnapshot(): Snapshot | undefined {
    return this.#isSnapshotInProgress ? undefined : this.snapshot;
  }

  /** All that is here has been handed out. */
  acceptInProgress(): void {
    this.offsetInProgress = this.offset + BigInt(this.entries.length);
    if (this.snapshot !== undefined) this.#isSnapshotInProgress = true;
  }

  /** Entries up to `id` are durable, unless they have been replaced since: then the term differs, and the replacement is not durable. */
  stableTo(id: EntryId): void {
    const term = this.term(id.index);
    const reason =
      term === undefined ? "missing" : id.index < this.offset ? "snapshot" : term === id.term ? undefined : "mismatch";
    if (reason !== undefined) {
      this.#emit({ what: "stableUnknown", entry: id, ourTerm: term ?? 0n, reason });
      return;
    }
    this.entries = this.entries.slice(Number(id.index + 1n - this.offset));
    this.offset = id.index + 1n;
    if (this.offsetInProgress < this.offset) this.offsetInProgress = this.offset;
  }

  /** The snapshot at `index` is durable. */
  stableSnapshotTo(index: bigint): void {
    if (this.snapshot?.index !== index) return;
    this.snapshot = undefined;
    this.#isSnapshotInProgress = false;
  }

  /** Begins anew from a snapshot. */
  restore(snapshot: Snapshot): void {
    this.offset = snapshot.index + 1n;
    this.offsetInProgress = this.offset;
    this.entries = [];
    this.snapshot = snapshot;
    this.#isSnapshotInProgress = false;
  }

  /** Appends, in place of all from the first of them on. What is replaced and was handed out will be handed out again. */
  replaceFrom(entries: readonly Entry[]): void {
    const first = entries[0];
    assert(first !== undefined, "nothing to append");
    const end = this.offset + BigInt(this.entries.length);
    assert(first.index <= end, "append at {} leaves a gap after {}", first.index, end);
    if (first.index === end) {
      this.entries = [...this.entries, ...entries];
    } else if (first.index <= this.offset) {
      this.#emit({ what: "unstableReplaced", index: first.index });
      this.entries = entries;
      this.offset = first.index;
      this.offsetInProgress = first.index;
    } else {
      this.#emit({ what: "unstableTruncated", index: first.index });
      this.entries = [...this.entries.slice(0, Number(first.index - this.offset)), ...entries];
      if (this.offsetInProgress > first.index) this.offsetInProgress = first.index;
    }
  }
}
