/**
 * A sequencer: a counter that gives every value once, whatever happens to the process and the machine.
 *
 * ```
 *   0        issued            durable (the mark)
 *   |----------|----------------|----------->
 *    given out   leased: given     never given out before
 *                out from memory   the mark is past it
 * ```
 *
 * The mark is a promise that nothing at or above it was issued. It moves first, a lease at a time, and values below it are
 * then given out from memory; when half of a lease is used the next one is fetched. Callers who have to wait share one
 * sync (group commit). After a crash counting goes on at the mark: at most a lease or two of values are skipped, and none
 * is given twice.
 *
 * | durability | a value leaves | after kill -9 | after a power cut |
 * | --- | --- | --- | --- |
 * | `sync` | when the mark just past it is durable | no value twice, none skipped but those under way | the same |
 * | `lease` | from memory, below a durable mark | no value twice, up to two leases skipped | the same |
 * | `none` | when the file is stretched, not synced | no value twice | **values are given twice** |
 *
 * Source: core design, 2.2. Where documents promise that growing a file needs no sync, that is `none`.
 */

import { assert } from "../../crypto/base/assert.ts";
import { COUNT_MAX, WAITING_MAX } from "./limits.ts";
import { type Mark, obeliskError } from "./mark.ts";

/** What a value given out survives; the table above. `none` is not safe. */
export type Durability = "sync" | "lease" | "none";

/** Values `first`, `first + 1n`, ... */
export type SequenceRange = { readonly first: bigint; readonly count: number };

/** How a sequencer works. */
export type SequencerOptions = {
  readonly durability: Durability;
  /** Values of a lease; used with `lease` alone. */
  readonly leaseCount: number;
};

type Waiting = {
  readonly count: number;
  readonly resolve: (range: SequenceRange) => void;
  readonly reject: (error: unknown) => void;
};

/** See the file's head. */
export class Sequencer {
  readonly #mark: Mark;
  readonly #isSynced: boolean;
  readonly #leaseCount: bigint;
  #issued: bigint;
  #durable: bigint;
  #waiting: Waiting[] = [];
  #extending: Promise<void> | undefined;

  constructor(mark: Mark, { durability, leaseCount }: SequencerOptions) {
    assert(Number.isSafeInteger(leaseCount) && leaseCount >= 1, "a lease of {}", leaseCount);
    this.#mark = mark;
    this.#isSynced = durability !== "none";
    this.#leaseCount = durability === "lease" ? BigInt(leaseCount) : 0n;
    // What was found on the disk may be more than what is durable; nothing leaves before a raise past it.
    this.#issued = mark.value;
    this.#durable = mark.value;
  }

  /** The next value, and the mark: in one life nothing at or above the first was given out, nor in any life above the second. */
  get state(): { readonly next: bigint; readonly mark: bigint } {
    return { next: this.#issued, mark: this.#durable };
  }

  /** Whether nobody waits, so that it may be closed. */
  get isIdle(): boolean {
    return this.#extending === undefined && this.#mark.failed === undefined;
  }

  /** Values from memory, at once; `undefined` when the disk has to be asked first, by `next`. */
  tryNext(count: number): SequenceRange | undefined {
    assert(isCount(count), "{} values", count);
    if (this.#waiting.length > 0 || this.#mark.failed !== undefined) return undefined;
    if (this.#issued + BigInt(count) > this.#durable) return undefined;
    const range = this.#issue(count);
    if (this.#durable - this.#issued < this.#leaseCount / 2n) this.#extend();
    return range;
  }

  /**
   * Values that nobody has had and nobody will have again.
   *
   * @param count - how many, `1 <= count <= COUNT_MAX`
   * @throws CodedError `obelisk_busy`, `obelisk_full`, `obelisk_disk`, `obelisk_writer`, `obelisk_exhausted`, `obelisk_closed`
   */
  async next(count: number): Promise<SequenceRange> {
    const range = this.tryNext(count);
    if (range !== undefined) return range;
    if (this.#mark.failed !== undefined) throw this.#mark.failed;
    if (this.#waiting.length >= WAITING_MAX) throw obeliskError("obelisk_busy", { name: this.#mark.name });
    const { promise, resolve, reject } = Promise.withResolvers<SequenceRange>();
    this.#waiting.push({ count, resolve, reject });
    this.#extend();
    return await promise;
  }

  /** Waits for what is under way, then closes the file. The rest of a lease is never given out. */
  async close(): Promise<void> {
    while (this.#extending !== undefined) await this.#extending;
    this.#mark.close();
  }

  #extend(): void {
    this.#extending ??= this.#run().finally(() => {
      this.#extending = undefined;
      if (this.#waiting.length > 0) this.#extend();
    });
  }

  /** One raise for everybody who waits, and a lease beyond. */
  async #run(): Promise<void> {
    // Whoever comes in the same turn comes along.
    await Promise.resolve();
    const group = this.#waiting;
    this.#waiting = [];
    const wanted = group.reduce((sum, { count }) => sum + BigInt(count), 0n);
    // Counted from the mark and not from what was issued: that goes on while the disk works.
    const to = this.#durable + wanted + this.#leaseCount;
    try {
      if (to > this.#durable) await this.#mark.raise(to, this.#isSynced);
    } catch (error) {
      for (const { reject } of group) reject(error);
      // A raise that was refused in a new file has got as far as its beginning, which its name makes durable.
      if (this.#mark.failed === undefined) this.#durable = this.#mark.value;
      // A prefetch that failed has nobody to tell: the mark knows, and the next caller is told.
      return;
    }
    this.#durable = to;
    for (const { count, resolve } of group) resolve(this.#issue(count));
  }

  #issue(count: number): SequenceRange {
    const first = this.#issued;
    this.#issued += BigInt(count);
    // Looked at on the way out as well: this is what the whole file is for.
    assert(this.#issued <= this.#durable, "issued to {} beyond the mark {}", this.#issued, this.#durable);
    return { first, count };
  }
}

/** Whether so many values may be asked for at once. */
export function isCount(count: number): boolean {
  return Number.isInteger(count) && count >= 1 && count <= COUNT_MAX;
}
