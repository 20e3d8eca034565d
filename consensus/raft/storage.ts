/**
 * What the core reads of the durable state: a small synchronous port, and the memory that serves it in production. The caller makes
 * durable what `ready()` returns, and puts the same into this memory; after a restart it fills a new one from the disk.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { EMPTY } from "../../crypto/base/bytes.ts";
import { confStateOf } from "./configuration.ts";
import { ENTRY_OVERHEAD_BYTES } from "./limits.ts";
import { NOBODY } from "./types.ts";
import type { ConfState, Entry, HardState, Snapshot } from "./types.ts";

/** The durable state as the core reads it. */
export type RaftStorage = {
  /** What was stored last. `configuration` is the one in force at the index that the caller says is applied. */
  initialState(): { readonly hardState: HardState; readonly configuration: ConfState };
  /** The first index that is not in the snapshot. */
  firstIndex(): bigint;
  /** The last index, the snapshot's when there are no entries. */
  lastIndex(): bigint;
  /** The term at an index; known for the snapshot's own index, `undefined` outside of what is stored. */
  term(index: bigint): bigint | undefined;
  /** Entries `low <= index < high`, as many as fit `sizeBytesMax` and at least one; `undefined` when `low` is compacted. */
  entries(low: bigint, high: bigint, sizeBytesMax: number): readonly Entry[] | undefined;
  /** A snapshot for a follower, at least as new as the compacted part; `undefined` when there is none just now. */
  snapshot(): Snapshot | undefined;
};

/** The state of a node that has stored nothing. */
export const EMPTY_HARD_STATE: HardState = { term: 0n, vote: NOBODY, commit: 0n };

const EMPTY_SNAPSHOT: Snapshot = { index: 0n, term: 0n, configuration: confStateOf([]), data: EMPTY };

/** What an entry counts for where sizes are limited. */
export function entrySizeBytes(entry: Entry): number {
  return entry.data.length + ENTRY_OVERHEAD_BYTES;
}

/** The first of them that together are no more than `sizeBytesMax`, and at least one. */
export function limitSize(entries: readonly Entry[], sizeBytesMax: number): readonly Entry[] {
  let sizeBytes = 0;
  for (const [index, entry] of entries.entries()) {
    sizeBytes += entrySizeBytes(entry);
    if (sizeBytes > sizeBytesMax && index > 0) return entries.slice(0, index);
  }
  return entries;
}

/** The storage in memory. */
export class MemoryRaftStorage implements RaftStorage {
  #hardState = EMPTY_HARD_STATE;
  #snapshot = EMPTY_SNAPSHOT;
  #configuration = EMPTY_SNAPSHOT.configuration;
  /** The last entry that is gone: entries begin after it. Never later than the snapshot. */
  #compacted = { term: 0n, index: 0n };
  readonly #entries: Entry[] = [];

  initialState(): { readonly hardState: HardState; readonly configuration: ConfState } {
    return { hardState: this.#hardState, configuration: this.#configuration };
  }

  firstIndex(): bigint {
    return this.#compacted.index + 1n;
  }

  lastIndex(): bigint {
    return this.#compacted.index + BigInt(this.#entries.length);
  }

  term(index: bigint): bigint | undefined {
    if (index === this.#compacted.index) return this.#compacted.term;
    if (index < this.#compacted.index || index > this.lastIndex()) return undefined;
    return this.#at(index).term;
  }

  entries(low: bigint, high: bigint, sizeBytesMax: number): readonly Entry[] | undefined {
    if (low <= this.#compacted.index) return undefined;
    assert(high <= this.lastIndex() + 1n, "entries up to {} of {}", high, this.lastIndex());
    return limitSize(this.#entries.slice(this.#slot(low), this.#slot(high)), sizeBytesMax);
  }

  snapshot(): Snapshot | undefined {
    return this.#snapshot;
  }

  /** Stores the hard state. */
  setHardState(hardState: HardState): void {
    this.#hardState = hardState;
  }

  /** What `applyConfChange` returned last, when more than the snapshot is applied at a restart. */
  setConfiguration(configuration: ConfState): void {
    this.#configuration = configuration;
  }

  /** Replaces everything by a snapshot from a leader, or from the disk. */
  applySnapshot(snapshot: Snapshot): void {
    assert(snapshot.index > this.#compacted.index, "snapshot {} is not after {}", snapshot.index, this.#compacted.index);
    this.#snapshot = snapshot;
    this.#configuration = snapshot.configuration;
    this.#compacted = { term: snapshot.term, index: snapshot.index };
    this.#entries.length = 0;
  }

  /** Stores entries, in place of all that is stored from the first of them on. */
  append(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    assert(first.index > this.#compacted.index, "append at {}, compacted to {}", first.index, this.#compacted.index);
    assert(first.index <= this.lastIndex() + 1n, "append at {} leaves a gap after {}", first.index, this.lastIndex());
    this.#entries.length = this.#slot(first.index);
    for (const entry of entries) this.#entries.push(entry);
  }

  /** Keeps a snapshot of our own state machine; its entries stay until `compact`. */
  setSnapshot(snapshot: Snapshot): void {
    assert(snapshot.index >= this.#snapshot.index, "snapshot {} is older than {}", snapshot.index, this.#snapshot.index);
    assert(this.term(snapshot.index) === snapshot.term, "snapshot {} has another term than its entry", snapshot.index);
    this.#snapshot = snapshot;
  }

  /** Forgets the entries up to and with `index`. The caller has a snapshot that covers them. */
  compact(index: bigint): void {
    assert(index > this.#compacted.index, "compact to {}, is at {}", index, this.#compacted.index);
    assert(index <= this.lastIndex(), "compact to {}, last is {}", index, this.lastIndex());
    const term = this.#at(index).term;
    this.#entries.splice(0, this.#slot(index) + 1);
    this.#compacted = { term, index };
  }

  #slot(index: bigint): number {
    return Number(index - this.#compacted.index - 1n);
  }

  #at(index: bigint): Entry {
    return present(this.#entries[this.#slot(index)], "entry {}", index);
  }
}
