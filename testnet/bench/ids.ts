/**
 * How many Scarab ids and counter values a node gives out.
 *
 * Ids: the durable service on the machine's clock and disk, time reserved with fdatasync as for users; each id is made as
 * the eight bytes that leave the node, in runs of one millisecond (`ids_per_second`), or asked for by itself and made a
 * bigint (`ids_single_per_second`). All that may be borrowed from the future is used up before the clock of the first starts:
 * from then on the layout has room for 8,192,000 a second and no more.
 *
 * Counters: requests for one value each, by durability: one caller that waits for each answer, 256 callers that do, and with
 * leases what is left in memory. Beside them, in the same run and on the same file system, the obvious counter: eight bytes
 * appended and fdatasync, one after another.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { present } from "../../crypto/base/assert.ts";
import { u64 } from "../../crypto/base/bytes.ts";
import { SCARAB_CLOCK_DEFAULTS, SCARAB_WINDOW_ALWAYS } from "../../crypto/id/generator.ts";
import { nodeNumberOf, SCARAB_SEQUENCE_COUNT, SCARAB_SIZE_BYTES, scarabIds, writeScarabRun } from "../../crypto/id/scarab.ts";
import { Counters } from "../../node/obelisk/counters.ts";
import { Scarabs } from "../../node/obelisk/scarabs.ts";
import { SYSTEM_CLOCK } from "../../node/ports/clock.ts";
import { SYSTEM_DISK } from "../../node/ports/disk.ts";
import type { Figures } from "./state.ts";

/** What to measure. */
export type IdsBenchOptions = {
  /** Each measurement; the ids take three times as long. */
  readonly seconds?: number;
  readonly runs?: number;
};

const CALLERS = 256;
const NEVER = new AbortController().signal;

/** Measures everything `runs` times, in a directory that it removes. */
export async function benchIds({ seconds = 2, runs = 3 }: IdsBenchOptions = {}): Promise<Figures> {
  const samples = new Map<string, number[]>();
  const note = (name: string, value: number): void => void samples.set(name, [...(samples.get(name) ?? []), Math.round(value)]);
  for (let run = 0; run < runs; run += 1) {
    const path = await mkdtemp(join(tmpdir(), "pyralog-bench-ids-"));
    try {
      note("ids_per_second", await idsPerSecond(join(path, "runs"), 3 * seconds, SCARAB_SEQUENCE_COUNT));
      note("ids_single_per_second", await idsPerSecond(join(path, "single"), seconds, 1));
      note("append_fdatasync_per_second", await appendsPerSecond(join(path, "appends"), seconds));
      for (const durability of ["sync", "lease", "none"] as const) {
        await using counters = await Counters.open({ path: join(path, durability), disk: SYSTEM_DISK, durability });
        note(`counter_${durability}_1_caller_per_second`, await valuesPerSecond(counters, seconds, 1));
        note(`counter_${durability}_${CALLERS}_callers_per_second`, await valuesPerSecond(counters, seconds, CALLERS));
        if (durability === "lease") note("counter_lease_memory_per_second", await memoryPerSecond(counters, seconds));
      }
    } finally {
      await rm(path, { recursive: true, force: true });
    }
  }
  const figures: Figures = { figures: {}, spread: {} };
  for (const [name, values] of samples) {
    const sorted = values.toSorted((a, b) => a - b);
    figures.figures[name] = present(sorted[sorted.length >> 1], "median");
    if (sorted.length > 1) figures.spread[name] = [present(sorted[0], "least"), present(sorted.at(-1), "greatest")];
  }
  return figures;
}

async function idsPerSecond(path: string, seconds: number, countMax: number): Promise<number> {
  await using scarabs = await Scarabs.open({ path, disk: SYSTEM_DISK, clock: SYSTEM_CLOCK });
  scarabs.use({ node: nodeNumberOf(1), window: SCARAB_WINDOW_ALWAYS });
  const bytes = new Uint8Array(SCARAB_SIZE_BYTES * SCARAB_SEQUENCE_COUNT);
  await scarabs.take("bench", 1, NEVER);
  if (countMax > 1)
    for (let run = 0; run < 2 * SCARAB_CLOCK_DEFAULTS.borrowMsMax; run += 1) await scarabs.take("bench", countMax, NEVER);
  let made = 0;
  let newest = 0n;
  const startMs = performance.now();
  const endMs = startMs + seconds * 1000;
  while (performance.now() < endMs) {
    for (let each = 0; each < SCARAB_SEQUENCE_COUNT / countMax; each += 1) {
      const run = scarabs.tryTake("bench", countMax);
      if (run === undefined) {
        // The clock, or the disk: a promise for one id, as for any caller.
        await scarabs.take("bench", 1, NEVER);
        made += 1;
        continue;
      }
      if (countMax === 1) for (const id of scarabIds(run)) newest = id;
      else writeScarabRun(run, bytes);
      made += run.count;
    }
    // Others have their turn, as in a node: the mark's sync comes back this way.
    await new Promise((resolve) => setImmediate(resolve));
  }
  present(newest, "id");
  return (made * 1000) / (performance.now() - startMs);
}

async function appendsPerSecond(path: string, seconds: number): Promise<number> {
  const file = await SYSTEM_DISK.open(path, "new");
  let made = 0;
  const startMs = performance.now();
  for (; performance.now() < startMs + seconds * 1000; made += 1) {
    file.append(u64(BigInt(made)));
    await file.sync();
  }
  file.close();
  return (made * 1000) / (performance.now() - startMs);
}

async function valuesPerSecond(counters: Counters, seconds: number, callers: number): Promise<number> {
  let made = 0;
  const startMs = performance.now();
  const endMs = startMs + seconds * 1000;
  const call = async (): Promise<void> => {
    // Looking at the clock costs about as much as a value from memory does.
    for (let own = 0; own % 16 !== 0 || performance.now() < endMs; own += 1) {
      await counters.next("bench", 1);
      made += 1;
    }
  };
  await Promise.all(Array.from({ length: callers }, call));
  return (made * 1000) / (performance.now() - startMs);
}

async function memoryPerSecond(counters: Counters, seconds: number): Promise<number> {
  let made = 0;
  const startMs = performance.now();
  const endMs = startMs + seconds * 1000;
  for (; made % 256 !== 0 || performance.now() < endMs; made += 1)
    if (counters.tryNext("bench", 1) === undefined) await counters.next("bench", 1);
  return (made * 1000) / (performance.now() - startMs);
}
