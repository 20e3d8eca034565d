/**
 * The named counters of a node: a sequencer each, opened when it is asked for and closed when others are asked for more.
 */

import { assert } from "../../crypto/base/assert.ts";
import type { Disk } from "../ports/disk.ts";
import { COUNTERS_MAX, LEASE_COUNT_DEFAULT, OPEN_MAX } from "./limits.ts";
import { isMarkName, MarkDirectory, obeliskError } from "./mark.ts";
import { type Durability, isCount, type SequenceRange, Sequencer } from "./sequencer.ts";

/** What counters are opened with. */
export type CountersOptions = {
  /** A directory of their own, whose lock the caller holds. */
  readonly path: string;
  readonly disk: Disk;
  readonly durability?: Durability;
  readonly leaseCount?: number;
  readonly openMax?: number;
  readonly countersMax?: number;
};

/** See the file's head. */
export class Counters implements AsyncDisposable {
  readonly durability: Durability;
  readonly #directory: MarkDirectory;
  readonly #leaseCount: number;
  readonly #openMax: number;
  readonly #countersMax: number;
  /** Open ones; the one used least recently first. */
  readonly #open = new Map<string, Sequencer>();
  readonly #opening = new Map<string, Promise<Sequencer>>();
  readonly #closing = new Map<string, Promise<void>>();
  #isClosed = false;

  private constructor(directory: MarkDirectory, options: CountersOptions) {
    this.#directory = directory;
    this.durability = options.durability ?? "lease";
    this.#leaseCount = options.leaseCount ?? LEASE_COUNT_DEFAULT;
    this.#openMax = options.openMax ?? OPEN_MAX;
    this.#countersMax = options.countersMax ?? COUNTERS_MAX;
    assert(this.#openMax >= 1 && this.#countersMax >= 1, "{} open of {}", this.#openMax, this.#countersMax);
  }

  /** Opens the counters of a directory. */
  static async open(options: CountersOptions): Promise<Counters> {
    return new Counters(await MarkDirectory.open(options.path, options.disk), options);
  }

  /** The names of all counters that were ever used. */
  names(): readonly string[] {
    return this.#directory.names();
  }

  /** Whether a counter was ever used. */
  has(name: string): boolean {
    return this.#directory.has(name);
  }

  /** How many counters there are, and how many have an open file. */
  get counts(): { readonly counters: number; readonly open: number } {
    return { counters: this.#directory.count, open: this.#open.size };
  }

  /** Values from memory, at once; `undefined` when the disk has to be asked first, by `next`. */
  tryNext(name: string, count: number): SequenceRange | undefined {
    return isCount(count) ? this.#open.get(name)?.tryNext(count) : undefined;
  }

  /**
   * Values of a counter, which is made when it is not there.
   *
   * @throws CodedError of `OBELISK_CODES`
   */
  async next(name: string, count: number): Promise<SequenceRange> {
    if (!isMarkName(name)) throw obeliskError("obelisk_name", { name: name.slice(0, 64) });
    if (!isCount(count)) throw obeliskError("obelisk_count", { count });
    for (;;) {
      const sequencer = await this.#sequencer(name);
      // Others may have had it closed in the meantime; once it is asked it stays.
      if (this.#open.get(name) === sequencer) return await sequencer.next(count);
    }
  }

  /** Where a counter stands, which must be there: opens it and issues nothing. */
  async state(name: string): Promise<Sequencer["state"] | undefined> {
    return this.#directory.has(name) ? (await this.#sequencer(name)).state : undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled(this.#opening.values());
    await Promise.all([...this.#open.values()].map(async (sequencer) => await sequencer.close()));
    await Promise.all(this.#closing.values());
  }

  async #sequencer(name: string): Promise<Sequencer> {
    if (this.#isClosed) throw obeliskError("obelisk_closed");
    const open = this.#open.get(name);
    if (open !== undefined) {
      // Moved to the end: used most recently.
      this.#open.delete(name);
      this.#open.set(name, open);
      return open;
    }
    const known = this.#opening.get(name);
    if (known !== undefined) return await known;
    const opening = this.#openSequencer(name).finally(() => this.#opening.delete(name));
    this.#opening.set(name, opening);
    return await opening;
  }

  async #openSequencer(name: string): Promise<Sequencer> {
    // Those being made count: they have no file yet.
    const made = [...this.#opening.keys()].filter((each) => !this.#directory.has(each)).length;
    if (!this.#directory.has(name) && this.#directory.count + made >= this.#countersMax)
      throw obeliskError("obelisk_counters", { countersMax: this.#countersMax });
    if (this.#open.size + this.#opening.size >= this.#openMax) this.#evict();
    await this.#closing.get(name);
    const mark = await this.#directory.mark(name);
    const sequencer = new Sequencer(mark, { durability: this.durability, leaseCount: this.#leaseCount });
    this.#open.set(name, sequencer);
    return sequencer;
  }

  /** Closes the idle one that was used least recently. A dead one stays: opened anew it would be believed again. */
  #evict(): void {
    const idle = [...this.#open].find(([, sequencer]) => sequencer.isIdle);
    if (idle === undefined) throw obeliskError("obelisk_busy", { openMax: this.#openMax });
    const [name, sequencer] = idle;
    this.#open.delete(name);
    const closing = sequencer.close().finally(() => this.#closing.delete(name));
    this.#closing.set(name, closing);
  }
}
