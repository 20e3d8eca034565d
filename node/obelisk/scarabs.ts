/**
 * Scarab ids, durably: the generators of `crypto/id` with a clock and a disk. The mark of a space is how far its time is
 * reserved, in milliseconds since 2025, and lies on the disk as a counter does (`mark.ts`): no id at or after a mark leaves
 * before the mark is durable, and a life begins at the mark of the one before.
 *
 * A *space* is the ids of one service, with a generator and a mark of its own: an id says nothing of its service, so ids of
 * two spaces may be alike and mean different things.
 */

import { assert } from "../../crypto/base/assert.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { SCARAB_CODES } from "../../crypto/id/errors.ts";
import { SCARAB_CLOCK_DEFAULTS, type ScarabClockOptions, ScarabGenerator, type ScarabWindow } from "../../crypto/id/generator.ts";
import { type NodeNumber, SCARAB_EPOCH_MS, SCARAB_TIME_MS_END, type ScarabRun } from "../../crypto/id/scarab.ts";
import { type Clock, sleep } from "../ports/clock.ts";
import type { Disk } from "../ports/disk.ts";
import { SPACES_MAX } from "./limits.ts";
import { isMarkName, type Mark, MarkDirectory, obeliskError } from "./mark.ts";
import { isCount } from "./sequencer.ts";

/** The number that a node may use, and the time of the ids that it may make under it. */
export type NumberLease = { readonly node: NodeNumber; readonly window: ScarabWindow };

/** What the ids of a node are opened with. */
export type ScarabsOptions = {
  /** A directory of their own, whose lock the caller holds. */
  readonly path: string;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly clockOptions?: ScarabClockOptions;
  readonly spacesMax?: number;
};

type Space = { readonly mark: Mark; generator: ScarabGenerator | undefined; raising: Promise<void> | undefined };

/** See the file's head. */
export class Scarabs implements AsyncDisposable {
  readonly #directory: MarkDirectory;
  readonly #clock: Clock;
  readonly #clockOptions: ScarabClockOptions;
  readonly #spacesMax: number;
  readonly #spaces = new Map<string, Space>();
  readonly #opening = new Map<string, Promise<Space>>();
  #lease: NumberLease | undefined;
  #isClosed = false;

  private constructor(directory: MarkDirectory, { clock, clockOptions, spacesMax }: ScarabsOptions) {
    this.#directory = directory;
    this.#clock = clock;
    this.#clockOptions = clockOptions ?? SCARAB_CLOCK_DEFAULTS;
    this.#spacesMax = spacesMax ?? SPACES_MAX;
  }

  /** Opens the spaces of a directory. Ids are made once there is a number. */
  static async open(options: ScarabsOptions): Promise<Scarabs> {
    return new Scarabs(await MarkDirectory.open(options.path, options.disk), options);
  }

  /** The number in use. */
  get lease(): NumberLease | undefined {
    return this.#lease;
  }

  /** The spaces that were ever used. */
  names(): readonly string[] {
    return this.#directory.names();
  }

  /** Says which number to use from now on, and in which window; `undefined` for none. A longer window of the same one goes on. */
  use(lease: NumberLease | undefined): void {
    const before = this.#lease;
    this.#lease = lease;
    const isSame = before?.node === lease?.node && before?.window.startMs === lease?.window.startMs;
    for (const space of this.#spaces.values()) {
      if (isSame && lease !== undefined && space.generator !== undefined) space.generator.endAt(lease.window.endMs);
      else space.generator = lease === undefined ? undefined : this.#generator(space.mark, lease);
    }
  }

  /** The time before which every id lies that any space has made: what is told when a number is given back. */
  reservedMs(): number {
    return Math.max(SCARAB_EPOCH_MS, ...[...this.#spaces.values()].map(({ mark }) => timeOf(mark)));
  }

  /** Ids from memory, at once, of one millisecond; `undefined` when a disk or a clock has to be waited for, by `take`. */
  tryTake(name: string, countMax: number): ScarabRun | undefined {
    const space = this.#spaces.get(name);
    if (space?.generator === undefined || !isCount(countMax)) return undefined;
    const taken = space.generator.take(this.#clock.wallMs(), countMax);
    if (!taken.ok || taken.value.kind !== "run") return undefined;
    this.#prefetch(space, space.generator);
    return taken.value.run;
  }

  /**
   * Ids of a space, which is made when it is not there: each is new for ever, and they ascend.
   *
   * @param count - how many, `1 <= count <= COUNT_MAX`
   * @throws CodedError of `OBELISK_CODES` or `SCARAB_CODES`; the reason of `signal` when that aborts
   */
  async take(name: string, count: number, signal: AbortSignal): Promise<readonly ScarabRun[]> {
    if (!isMarkName(name)) throw obeliskError("obelisk_name", { name: name.slice(0, 64) });
    if (!isCount(count)) throw obeliskError("obelisk_count", { count });
    const space = await this.#space(name);
    const runs: ScarabRun[] = [];
    for (let left = count; left > 0;) {
      signal.throwIfAborted();
      // Asked again each time: the number may change while a disk or a clock is waited for.
      const { generator } = space;
      if (generator === undefined) throw obeliskError("obelisk_number");
      const taken = generator.take(this.#clock.wallMs(), left);
      if (!taken.ok) throw new CodedError(taken.error.code, { ...taken.error, message: SCARAB_CODES[taken.error.code] });
      switch (taken.value.kind) {
        case "run":
          runs.push(taken.value.run);
          left -= taken.value.run.count;
          this.#prefetch(space, generator);
          break;
        case "reserve":
          await this.#raise(space, generator, taken.value.untilMs);
          break;
        case "wait":
          await sleep(this.#clock, taken.value.waitMs, signal);
          break;
      }
    }
    return runs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled(this.#opening.values());
    for (const { mark, raising } of this.#spaces.values()) {
      // What waited for it was told; here it only has to be over.
      await raising?.catch(() => undefined);
      mark.close();
    }
  }

  async #space(name: string): Promise<Space> {
    if (this.#isClosed) throw obeliskError("obelisk_closed");
    const known = this.#spaces.get(name);
    if (known !== undefined) return known;
    const opening = this.#opening.get(name) ?? this.#openSpace(name).finally(() => this.#opening.delete(name));
    this.#opening.set(name, opening);
    return await opening;
  }

  async #openSpace(name: string): Promise<Space> {
    const made = [...this.#opening.keys()].filter((each) => !this.#directory.has(each)).length;
    if (!this.#directory.has(name) && this.#directory.count + made >= this.#spacesMax)
      throw obeliskError("obelisk_spaces", { spacesMax: this.#spacesMax });
    const mark = await this.#directory.mark(name);
    if (timeOf(mark) > SCARAB_TIME_MS_END) {
      mark.close();
      throw obeliskError("obelisk_corrupt", { name, mark: mark.value });
    }
    const space: Space = { mark, generator: undefined, raising: undefined };
    // Only now, after the waiting: the number may have changed.
    if (this.#lease !== undefined) space.generator = this.#generator(mark, this.#lease);
    this.#spaces.set(name, space);
    return space;
  }

  #generator(mark: Mark, { node, window }: NumberLease): ScarabGenerator {
    return new ScarabGenerator({ node, window, reservedMs: timeOf(mark), clock: this.#clockOptions });
  }

  #prefetch(space: Space, generator: ScarabGenerator): void {
    const aheadMs = generator.reservationAhead();
    if (aheadMs === undefined || space.raising !== undefined || space.mark.failed !== undefined) return;
    // A failure has nobody to tell yet: the next id that needs the mark will.
    this.#raise(space, generator, aheadMs).catch(() => undefined);
  }

  /** Makes time durable; whoever comes during a raise waits for that one, and asks the generator again. */
  async #raise(space: Space, generator: ScarabGenerator, untilMs: number): Promise<void> {
    space.raising ??= this.#raiseMark(space.mark, untilMs).finally(() => {
      space.raising = undefined;
    });
    await space.raising;
    // A generator that has been replaced began at a mark that this raise may have passed: it asks for its own.
    if (space.generator === generator) generator.reserved(timeOf(space.mark));
  }

  async #raiseMark(mark: Mark, untilMs: number): Promise<void> {
    assert(untilMs > SCARAB_EPOCH_MS, "a mark at {}", untilMs);
    const value = BigInt(untilMs - SCARAB_EPOCH_MS);
    if (value > mark.value) await mark.raise(value, true);
  }
}

/** The time that a mark reserves, in milliseconds since 1970 UTC. */
function timeOf(mark: Mark): number {
  return Number(mark.value) + SCARAB_EPOCH_MS;
}
