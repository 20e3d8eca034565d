/**
 * Power cuts, by the thousand: one simulated machine lives through lives of an Obelisk, each of which ends at a drawn
 * operation of its disk, by a kill (what the system has in memory stays) or by a cut (of what was not synced the seed draws
 * what stays: nothing, all, a torn part, or pieces in no order). Between, syncs fail and the disk is full for a while, and
 * the clock steps both ways. What a caller was given before the end is on the record; nothing on it may come twice.
 */

import { toHex } from "../../crypto/base/bytes.ts";
import { codeOf } from "../../crypto/base/error.ts";
import { SCARAB_WINDOW_ALWAYS } from "../../crypto/id/generator.ts";
import { nodeNumberOf } from "../../crypto/id/scarab.ts";
import { incarnationOf, incarnationPath } from "../../node/obelisk/incarnation.ts";
import { FILE_VALUES } from "../../node/obelisk/limits.ts";
import { MarkDirectory } from "../../node/obelisk/mark.ts";
import { Obelisk } from "../../node/obelisk/obelisk.ts";
import type { Durability } from "../../node/obelisk/sequencer.ts";
import type { Disk } from "../../node/ports/disk.ts";
import { Agenda, settled } from "../simulator/agenda.ts";
import { ClockFault, SimulatedClock } from "../simulator/clock.ts";
import { type CutMode, DiskImage } from "../simulator/disk.ts";
import { Random } from "../simulator/random.ts";
import { Ledger } from "./ledger.ts";

/** What to run. */
export type CutOptions = { readonly seed: string; readonly lives: number; readonly durability: Durability };

/** What came of it. */
export type CutReport = {
  readonly lives: number;
  readonly cuts: number;
  readonly kills: number;
  readonly given: bigint;
  readonly duplicates: bigint;
  readonly skipped: bigint;
  /** Values of counters in a second file. */
  readonly rolled: bigint;
  /** Refusals by code: the faults that the lives met. */
  readonly refusals: Readonly<Record<string, number>>;
};

const CUTS: readonly CutMode[] = ["lost", "torn", "scattered", "kept"];
const COUNTERS = ["a", "b", "c"];
const ROLLING = "c";
const ROLLING_FROM = FILE_VALUES - 300n;
const HOME = "/home/obelisk";
const SPACES = ["x", "y"];
const CALLERS = 4;
/** A life that met no end of its own ends after so many operations of the disk. */
const OPERATIONS_MAX = 60;
const LIFE_MS_MAX = 20_000;

type Life = { isAlive: boolean; readonly pausedUntilMs: number };

/** Runs so many lives on one machine. */
export async function cutCycles({ seed, lives, durability }: CutOptions): Promise<CutReport> {
  const random = new Random(seed);
  const agenda = new Agenda();
  const image = new DiskImage({ agenda, random: random.fork("disk"), syncMsMean: 2 });
  const fault = new ClockFault({ driftPpm: 0, offsetMs: 0 });
  const ledger = new Ledger();
  const refusals: Record<string, number> = {};
  const numbers = new Map<string, number>();
  let cuts = 0;
  for (let each = 0; each < lives; each += 1) {
    const life: Life = { isAlive: true, pausedUntilMs: 0 };
    const last = random.between(1, OPERATIONS_MAX);
    let operations = 0;
    const disk = image.mount(life, () => {
      operations += 1;
      if (operations >= last) life.isAlive = false;
    });
    const clock = new SimulatedClock({ agenda, owner: life, fault });
    const world: World = { image, agenda, random, fault, ledger, refusals, life, numbers };
    const running = liveOnce(world, disk, clock, durability);
    running.catch(() => undefined); // Awaited below, unless the process died in the middle of it.
    const endMs = agenda.nowMs + LIFE_MS_MAX;
    let isOver = false;
    void running
      .finally(() => {
        isOver = true;
      })
      .catch(() => undefined);
    await settled();
    while (life.isAlive && !isOver && agenda.step(endMs)) await settled();
    // A life that could not even begin met a fault of the disk: the next one does better.
    if (isOver) await running.catch((error: unknown) => note(refusals, error));
    life.isAlive = false;
    ledger.endLife();
    if (random.happens(700)) {
      cuts += 1;
      image.cut(random.pick(CUTS));
    }
  }
  const { given, duplicates, skipped } = ledger;
  const rolled = ledger.endsOf(ROLLING).reduce((sum, end) => sum + (end > FILE_VALUES ? end - FILE_VALUES : 0n), 0n);
  return { lives, cuts, kills: lives - cuts, given, duplicates, skipped, rolled, refusals };
}

type World = {
  readonly image: DiskImage;
  readonly agenda: Agenda;
  readonly random: Random;
  readonly fault: ClockFault;
  readonly ledger: Ledger;
  readonly refusals: Record<string, number>;
  readonly life: Life;
  /** The node number of each incarnation. */
  readonly numbers: Map<string, number>;
};

async function liveOnce(world: World, disk: Disk, clock: SimulatedClock, durability: Durability): Promise<void> {
  const { random } = world;
  // A simulated machine runs one process at a time: the lock has nobody to keep out.
  const takeLock = async (): Promise<AsyncDisposable> => ({ [Symbol.asyncDispose]: async () => undefined });
  const draw = (size: number): Uint8Array => random.bytes(size);
  await nearTheEndOfAFile(disk, draw);
  const obelisk = await Obelisk.open({
    path: HOME,
    disk,
    clock,
    takeLock,
    durability,
    leaseCount: random.between(1, 50),
    draw,
  });
  // A cut may take a new directory's name for itself back: then it is another one, and leases another number.
  const name = toHex(obelisk.incarnation);
  const number = world.numbers.get(name) ?? world.numbers.size;
  world.numbers.set(name, number);
  obelisk.scarabs.use({ node: nodeNumberOf(number), window: SCARAB_WINDOW_ALWAYS });
  await Promise.all(Array.from({ length: CALLERS }, async () => await call(world, obelisk, clock)));
}

/** Lets one counter of a new directory begin where its first file ends soon, so that lives end in the middle of a roll over. */
async function nearTheEndOfAFile(disk: Disk, draw: (size: number) => Uint8Array): Promise<void> {
  await disk.makeDirectory(HOME);
  const incarnation = await incarnationOf(HOME, disk, draw);
  const marks = await MarkDirectory.open(`${incarnationPath(HOME, incarnation)}/counters`, disk);
  const mark = await marks.mark(ROLLING);
  if (mark.value < ROLLING_FROM) await mark.raise(ROLLING_FROM, true);
  mark.close();
}

/** Asks for one thing after another until the process dies. */
async function call(world: World, obelisk: Obelisk, clock: SimulatedClock): Promise<void> {
  const { random, ledger, life } = world;
  const never = new AbortController().signal;
  const home = toHex(obelisk.incarnation);
  while (life.isAlive) {
    disturb(world);
    try {
      if (random.happens(500)) {
        const name = random.pick(COUNTERS);
        const given = await obelisk.counters.next(name, random.between(1, 40));
        if (isAlive(life)) ledger.add(`counter ${home} ${name}`, given);
      } else {
        const name = random.pick(SPACES);
        const runs = await obelisk.scarabs.take(name, random.between(1, 10_000), never);
        if (isAlive(life)) for (const run of runs) ledger.add(`space ${home} ${name}`, run);
      }
    } catch (error) {
      note(world.refusals, error);
    }
    await new Promise<void>((resolve) => clock.after(random.between(0, 30), resolve));
  }
}

/** Counts a refusal. What has no code is our fault, and falls. */
function note(refusals: Record<string, number>, error: unknown): void {
  const code = codeOf(error);
  if (code === "unknown") throw error;
  refusals[code] = (refusals[code] ?? 0) + 1;
}

/** Asked again after a wait. */
function isAlive(life: Life): boolean {
  return life.isAlive;
}

function disturb({ random, fault, image, agenda }: World): void {
  if (random.happens(50)) fault.jump(random.between(-5000, 5000));
  if (random.happens(15)) image.failSyncs(1);
  if (random.happens(20)) image.fillUntil(agenda.nowMs + random.between(1, 100));
}
