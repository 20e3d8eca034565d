/** The records that a block appends, collected for the partitions' trees, with a way back when a transaction fails. */

import { present } from "../crypto/base/assert.ts";
import type { RecordAppend } from "../chain/state/executor.ts";

/** Collects appends in the order of execution. */
export class Appends {
  readonly #parts: RecordAppend[] = [];

  /** The caller adds to each partition in the order of its indexes. */
  add(append: RecordAppend): void {
    this.#parts.push(append);
  }

  /** A point to `revert` to. */
  checkpoint(): number {
    return this.#parts.length;
  }

  revert(checkpoint: number): void {
    this.#parts.length = checkpoint;
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
      return { ...first, records: parts.flatMap(({ records }) => records) };
    });
    return merged.sort((a, b) => (a.stream === b.stream ? a.partition - b.partition : a.stream < b.stream ? -1 : 1));
  }
}
