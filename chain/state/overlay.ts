/**
 * Changes on top of a state that is not changed: what a block writes while it executes, with checkpoints to go back
 * to when a transaction fails.
 */

import { assert } from "../../crypto/base/assert.ts";
import { bytesName } from "../../crypto/base/bytes.ts";
import type { StateView } from "./executor.ts";
import type { StateUpdate } from "./update.ts";

/** A key of which something is known. Until it is read or written, what the base has is not: most writes ask for no value. */
type Entry = {
  readonly key: Uint8Array;
  /** One character a byte, so that their order is that of the bytes. */
  readonly name: string;
  value: Uint8Array | undefined;
  isKnown: boolean;
  isWritten: boolean;
};
type Undo = {
  readonly entry: Entry;
  readonly value: Uint8Array | undefined;
  readonly isKnown: boolean;
  readonly isWritten: boolean;
};

/** A position in an overlay's journal; see `checkpoint`. */
export type Checkpoint = { readonly length: number };

/** Reads through to `base` once a key, and remembers. Not for use after `changes`. */
export class Overlay implements StateView {
  readonly #base: StateView;
  readonly #entries = new Map<string, Entry>();
  readonly #journal: Undo[] = [];

  constructor(base: StateView) {
    this.#base = base;
  }

  /** The value as written so far. The caller must not change the bytes. */
  get(key: Uint8Array): Uint8Array | undefined {
    const entry = this.#entry(key);
    if (!entry.isKnown) {
      entry.value = this.#base.get(key);
      entry.isKnown = true;
    }
    return entry.value;
  }

  put(key: Uint8Array, value: Uint8Array): void {
    this.#set(key, value);
  }

  delete(key: Uint8Array): void {
    this.#set(key, undefined);
  }

  /** A point to `revert` to. Checkpoints nest. */
  checkpoint(): Checkpoint {
    return { length: this.#journal.length };
  }

  /** Undoes every write since the checkpoint. Later checkpoints are void. */
  revert(checkpoint: Checkpoint): void {
    assert(checkpoint.length <= this.#journal.length, "checkpoint {} of {}", checkpoint.length, this.#journal.length);
    while (this.#journal.length > checkpoint.length) {
      const undo = this.#journal.pop() as Undo;
      undo.entry.value = undo.value;
      undo.entry.isKnown = undo.isKnown;
      undo.entry.isWritten = undo.isWritten;
    }
  }

  /** Lets all that was written stand: every checkpoint is void, and what `revert` would need is forgotten. */
  settle(): void {
    this.#journal.length = 0;
  }

  /** What was written, sorted by key; a delete of what the base never had is left out. */
  changes(): StateUpdate[] {
    const written: Entry[] = [];
    for (const entry of this.#entries.values()) if (entry.isWritten) written.push(entry);
    written.sort((a, b) => (a.name < b.name ? -1 : 1));
    const updates: StateUpdate[] = [];
    for (const { key, value } of written)
      if (value !== undefined || this.#base.get(key) !== undefined) updates.push({ key, value });
    return updates;
  }

  #set(key: Uint8Array, value: Uint8Array | undefined): void {
    const entry = this.#entry(key);
    const { value: valueBefore, isKnown, isWritten } = entry;
    this.#journal.push({ entry, value: valueBefore, isKnown, isWritten });
    entry.value = value;
    entry.isKnown = true;
    entry.isWritten = true;
  }

  #entry(key: Uint8Array): Entry {
    const name = bytesName(key);
    let entry = this.#entries.get(name);
    if (entry === undefined) {
      entry = { key, name, value: undefined, isKnown: false, isWritten: false };
      this.#entries.set(name, entry);
    }
    return entry;
  }
}
