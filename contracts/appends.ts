/** The records that a block appends and erases, collected for the partitions, with a way back when a transaction fails. */

import { present } from "../crypto/base/assert.ts";
import type { RecordAppend, RecordErasure } from "../chain/state/executor.ts";

/** A point to `revert` to. */
type Checkpoint = { readonly parts: number; readonly erasures: number };

/** Collects appends in the order of execution. */
export class Appends {
  readonly #parts: RecordAppend[] = [];
  readonly #erasures: RecordErasure[] = [];

  /** The caller adds to each partition in the order of its indexes. */
  add(append: RecordAppend): void {
    this.#parts.push(append);
  }

  /** A point to `revert` to. */
  checkpoint(): Checkpoint {
    return { parts: this.#parts.length, erasures: this.#erasures.length };
  }

  revert(checkpoint: Checkpoint): void {
    this.#parts.length = checkpoint.parts;
    this.#erasures.length = checkpoint.erasures;
  }

  /** The caller erases a record once. */
  erase(erasure: RecordErasure): void {
    this.#erasures.push(erasure);
  }

  get erasures(): readonly RecordErasure[] {
    return this.#erasures;
  }

  /** One append a partition, sorted by stream, then partition. */
  merged(): RecordAppend[] {
    const byPartition = new Map<string, RecordAppend[]>();
    for (const part of this.#parts) {
      const name = `${part.stream} ${part.partition}`;
      const parts = byPartition.get(name);
      if (parts === undefined) byPartition.set(name, [part]);
      else parts.push(part);
    }
    const merged = [...byPartition.values()].map((parts) => {
      const first = present(parts[0], "append");
      return {
        ...first,
        records: parts.flatMap(({ records }) => records),
        keep: present(parts.at(-1), "append").keep,
      };
    });
    return merged.sort((a, b) => (a.stream === b.stream ? a.partition - b.partition : a.stream < b.stream ? -1 : 1));
  }
}
