/**
 * Power cuts at every operation of a disk: before and after each, in every way that what was not synced may be left, and
 * again while the process that comes after goes on.
 *
 * `PYRALOG_CUTS=all` has every point of every mode, `PYRALOG_SEED` another sample of them.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import { present } from "../../crypto/base/assert.ts";
import { CodedError } from "../../crypto/base/error.ts";
import type { Clock } from "../../node/ports/clock.ts";
import type { Store, StoreEntry } from "../../chain/store/store.ts";
import type { Disk } from "../../node/ports/disk.ts";
import type { Stores } from "../../node/ports/stores.ts";
import { Agenda } from "./agenda.ts";
import { ClockFault, SimulatedClock } from "./clock.ts";
import { type CutMode, DiskImage } from "./disk.ts";
import { Random } from "./random.ts";
import { openSimulatedStore } from "./store.ts";
import { drawnSeed } from "../../crypto/testing/property.ts";

const MODES = ["lost", "torn", "scattered", "kept"] as const satisfies readonly CutMode[];
/** A work that needs more operations than this does not end. */
const OPERATIONS_MAX = 100_000;
/** After the first cut there are so many more at most, before the power stays. */
const CUTS_AGAIN_MAX = 2;

/** What a process has of its machine. */
export type Process = { readonly disk: Disk; readonly clock: Clock };

/** A machine whose power goes at one operation of its disk, if it comes so far. */
export class Machine {
  readonly #agenda = new Agenda();
  readonly #random: Random;
  readonly #image: DiskImage;

  constructor(seed: string) {
    this.#random = new Random(seed);
    this.#image = new DiskImage({ agenda: this.#agenda, random: this.#random, syncMsMean: 1 });
  }

  /** Runs with power until it ends, or for so many operations of the disk; how many there were, and whether it ended. */
  async run(
    work: (process: Process) => Promise<void>,
    operations = OPERATIONS_MAX,
  ): Promise<{ readonly operations: number; readonly isDone: boolean }> {
    const life = { isAlive: true, pausedUntilMs: 0 };
    let count = 0;
    // A process without power does nothing more: what it waits for never comes.
    const disk = this.#image.mount(life, () => {
      count += 1;
      if (count > operations) life.isAlive = false;
    });
    const clock = new SimulatedClock({
      agenda: this.#agenda,
      owner: life,
      fault: new ClockFault({ driftPpm: 0, offsetMs: 0 }),
    });
    let isDone = false;
    const done = work({ disk, clock }).finally(() => (isDone = true));
    done.catch(() => undefined); // Awaited below, if it ends.
    while (!isDone && life.isAlive) {
      await nextTurn();
      this.#agenda.step(this.#agenda.nowMs + 100);
    }
    if (isDone) await done;
    life.isAlive = false;
    if (count > OPERATIONS_MAX) throw new CodedError("cuts_endless", { operations: count });
    return { operations: count, isDone };
  }

  cut(mode: CutMode): void {
    this.#image.cut(mode);
  }
}

/** What is cut short, and what is to hold however it was. */
export type Cuts = {
  /** Brings the machine to where the work begins; durable. */
  readonly before?: (process: Process) => Promise<void>;
  /** What a process does from its start on; the next one does the same. */
  readonly work: (process: Process) => Promise<void>;
  /** What holds at the next start, before the work goes on. Throws when it does not. */
  readonly holds?: (process: Process) => Promise<void>;
  /** What holds once the work came to its end. Throws when it does not. */
  readonly ends: (process: Process) => Promise<void>;
};

/** What was tried. `operations` counts each twice: before it, and after. */
export type CutCount = { readonly operations: number; readonly points: number; readonly cuts: number };

/**
 * Lets power go at operations of `work`: at all of them, or at so many of them and their modes as the seed draws.
 *
 * @param comment - is told the seed
 * @param options - `pointsMax` bounds the points, unless all were asked for
 * @throws what `work`, `holds` or `ends` throws, with the point in `detail`
 */
export async function cutEverywhere(
  name: string,
  parts: Cuts,
  options: { readonly pointsMax: number; readonly comment: (text: string) => void },
): Promise<CutCount> {
  const seed = `${drawnSeed()}`;
  const { operations } = await whole(name, parts);
  const random = new Random(`${seed} ${name}`);
  let points = Array.from({ length: operations }, (_, at) => at).flatMap((at) => MODES.map((mode) => ({ at, mode })));
  const isSampled = process.env["PYRALOG_CUTS"] !== "all" && points.length > options.pointsMax;
  if (isSampled)
    points = points
      .map((point) => ({ point, lot: random.between(0, 0x7fff_ffff) }))
      .toSorted((a, b) => a.lot - b.lot)
      .slice(0, options.pointsMax)
      .map(({ point }) => point);
  options.comment(`${name}: seed ${seed}, ${points.length} of ${operations * MODES.length} points`);
  let cuts = 0;
  for (const { at, mode } of points) {
    const told = [`${at} ${mode}`];
    try {
      const machine = new Machine(`${seed} ${name} ${at} ${mode}`);
      if (parts.before !== undefined) await machine.run(parts.before);
      await machine.run(parts.work, at);
      machine.cut(mode);
      for (let again = random.between(0, CUTS_AGAIN_MAX); again > 0; again -= 1) {
        const next = { at: random.between(0, operations), mode: random.pick(MODES) };
        told.push(`${next.at} ${next.mode}`);
        if (parts.holds !== undefined) await machine.run(parts.holds);
        await machine.run(parts.work, next.at);
        machine.cut(next.mode);
      }
      cuts += told.length;
      if (parts.holds !== undefined) await machine.run(parts.holds);
      await machine.run(parts.work);
      await machine.run(parts.ends);
    } catch (cause) {
      throw new CodedError("cuts_failed", { name, seed, cuts: told.join(", "), message: String(cause) }, { cause });
    }
  }
  return { operations, points: points.length, cuts };
}

/** The work without a cut. */
async function whole(name: string, parts: Cuts): Promise<{ readonly operations: number }> {
  const machine = new Machine(name);
  if (parts.before !== undefined) await machine.run(parts.before);
  const found = await machine.run(parts.work);
  // What was durable when it ended is what counts.
  machine.cut("lost");
  await machine.run(parts.ends);
  return found;
}

/** What must hold; says where it does not. */
export function holds(isTrue: boolean, what: string): void {
  if (!isTrue) throw new CodedError("cuts_lost", { message: what });
}

/** What must be there. */
export function kept<T>(value: T | undefined, what: string): T {
  holds(value !== undefined, `${what} is not there`);
  return present(value, what);
}

/** Stores on a simulated disk, each a directory with a log in it. */
export function storesOn(disk: Disk): Stores {
  return { disk, open: async (path) => await openSimulatedStore({ disk, path: `${path}/log` }) };
}

/** All rows of a store, in order. */
export async function rowsOf(store: Store): Promise<StoreEntry[]> {
  const rows: StoreEntry[] = [];
  for await (const { key, value } of store.entries({})) rows.push({ key: key.slice(), value: value.slice() });
  return rows;
}

/** Makes a store that holds these rows, durably. */
export async function copyRows(rows: readonly StoreEntry[], stores: Stores, path: string): Promise<void> {
  await using store = await stores.open(path);
  await store.write(
    rows.map(({ key, value }) => ({ kind: "put", key, value })),
    { sync: true },
  );
}
