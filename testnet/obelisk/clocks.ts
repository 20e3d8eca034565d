/** Processes that make ids side by side, each under a number of its own, while their clocks step and some are killed. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SCARAB_SIZE_BYTES } from "../../crypto/id/scarab.ts";
import { Random } from "../simulator/random.ts";

/** What to run. */
export type ClockOptions = { readonly seed: string; readonly processes: number; readonly ids: number };

/** What came of it. */
export type ClockReport = {
  readonly ids: number;
  readonly kills: number;
  readonly duplicates: number;
  /** Ids that are not above the one before, in the order of one process. */
  readonly disorders: number;
};

const CHILD = fileURLToPath(new URL("testing/id-maker.ts", import.meta.url));
/** Lives of each process that end by a kill before it is left to finish. */
const KILLS = 2;

/** Runs them in a directory that is removed afterwards. */
export async function clockSteps({ seed, processes, ids }: ClockOptions): Promise<ClockReport> {
  const path = await mkdtemp(join(tmpdir(), "pyralog-clocks-"));
  try {
    const each = Math.ceil(ids / processes);
    const numbers = Array.from({ length: processes }, (_, index) => index);
    await Promise.all(numbers.map(async (node) => await makeIds({ path, node, count: each, seed })));
    const all: BigUint64Array[] = [];
    let disorders = 0;
    for (const node of numbers) {
      const made = idsIn(await readFile(join(path, `${node}.ids`)));
      for (let index = 1; index < made.length; index += 1) if ((made[index] ?? 0n) <= (made[index - 1] ?? 0n)) disorders += 1;
      all.push(made);
    }
    const sorted = new BigUint64Array(all.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const made of all) {
      sorted.set(made, at);
      at += made.length;
    }
    sorted.sort();
    let duplicates = 0;
    for (let index = 1; index < sorted.length; index += 1) if (sorted[index] === sorted[index - 1]) duplicates += 1;
    return { ids: sorted.length, kills: KILLS * processes, duplicates, disorders };
  } finally {
    await rm(path, { recursive: true, force: true });
  }
}

type Maker = { readonly path: string; readonly node: number; readonly count: number; readonly seed: string };

/** Has a process make ids, kills it on the way, and lets the last one finish what is missing. */
async function makeIds({ path, node, count, seed }: Maker): Promise<void> {
  const random = new Random(`${seed}/${node}`);
  const file = join(path, `${node}.ids`);
  for (let life = 0; ; life += 1) {
    const left = count - (await sizeOf(file)) / SCARAB_SIZE_BYTES;
    if (left <= 0) return;
    const child = spawn(
      process.execPath,
      [CHILD, join(path, `${node}`), `${node}`, file, `${Math.ceil(left)}`, `${seed}/${node}/${life}`],
      {
        stdio: "inherit",
      },
    );
    const closed = once(child, "exit");
    if (life < KILLS) {
      // As soon as it has made a drawn part of what is left.
      const until = (count - left + (left * random.between(5, 30)) / 100) * SCARAB_SIZE_BYTES;
      while ((await sizeOf(file)) < until && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 5));
      child.kill("SIGKILL");
    }
    const [code, signal] = (await closed) as [number | null, string | null];
    if (code !== 0 && signal !== "SIGKILL") throw new Error(`process of node ${node} ended with ${code}`);
  }
}

async function sizeOf(file: string): Promise<number> {
  return (await stat(file).catch(() => undefined))?.size ?? 0;
}

function idsIn(bytes: Buffer): BigUint64Array {
  const ids = new BigUint64Array(Math.floor(bytes.length / SCARAB_SIZE_BYTES));
  for (let index = 0; index < ids.length; index += 1) ids[index] = bytes.readBigUInt64BE(index * SCARAB_SIZE_BYTES);
  return ids;
}
