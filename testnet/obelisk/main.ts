/**
 * `npm run -s obelisk -- [--cuts N] [--kills N] [--ids N] [--processes P] [--seed S] [--json]`: tries to make counters and
 * ids come twice. Exits with 1 when one did, or when a campaign could not have found one.
 */

import { clockSteps } from "./clocks.ts";
import { cutCycles } from "./cuts.ts";
import { killCycles } from "./kills.ts";
import { readOptions } from "../options.ts";

const USAGE = "npm run -s obelisk -- [--cuts N] [--kills N] [--ids N] [--processes P] [--seed S] [--json]";
/** Lives on one simulated machine; then another machine takes over, so that all histories are short and drawn anew. */
const LIVES_A_MACHINE = 100;
const PROGRESS_LIVES = 100;

async function main(): Promise<number> {
  const { values } = readOptions(USAGE, {
    cuts: { type: "string", default: "1000" },
    kills: { type: "string", default: "1000" },
    ids: { type: "string", default: "10000000" },
    processes: { type: "string", default: "8" },
    seed: { type: "string", default: `${Date.now()}` },
    json: { type: "boolean", default: false },
  });
  const numbers = [values.cuts, values.kills, values.ids, values.processes].map(Number);
  const [cuts = 0, kills = 0, ids = 0, processes = 0] = numbers;
  const isGood = numbers.every((value) => Number.isSafeInteger(value) && value >= 0) && processes >= 1;
  if (!isGood) {
    process.stderr.write(`${USAGE}\n`);
    return 2;
  }
  const { seed } = values;
  const found: Record<string, Record<string, unknown>> = {};
  let isBad = false;
  const note = (name: string, report: Record<string, unknown>, isFine: boolean): void => {
    found[name] = report;
    if (!isFine) isBad = true;
    if (!values.json) process.stdout.write(`${isFine ? "ok     " : "not ok "} ${name} ${textOf(report)}\n`);
  };
  if (!values.json) process.stdout.write(`seed ${seed}\n`);
  for (const durability of ["sync", "lease", "none"] as const) {
    if (cuts === 0) break;
    const report = { lives: 0, cuts: 0, kills: 0, given: 0n, duplicates: 0n, skipped: 0n, rolled: 0n };
    for (let machine = 0; report.lives < cuts; machine += 1) {
      const lives = Math.min(LIVES_A_MACHINE, cuts - report.lives);
      const one = await cutCycles({ seed: `${seed}/${durability}/${machine}`, lives, durability });
      for (const key of ["lives", "cuts", "kills"] as const) report[key] += one[key];
      for (const key of ["given", "duplicates", "skipped", "rolled"] as const) report[key] += one[key];
    }
    // The unsafe one must be seen to be so: a campaign that finds nothing there finds nothing anywhere.
    note(`power cuts, ${durability}`, report, durability === "none" ? report.duplicates > 0n : report.duplicates === 0n);
  }
  for (const durability of ["sync", "lease"] as const) {
    const lives = durability === "sync" ? Math.floor(kills / 2) : Math.ceil(kills / 2);
    if (lives === 0) continue;
    const report = await killCycles({
      seed: `${seed}/kills/${durability}`,
      lives,
      durability,
      onLife: (life) => {
        if (life % PROGRESS_LIVES === 0) process.stderr.write(`${life} of ${lives} lives killed\n`);
      },
    });
    note(`kill -9, ${durability}`, report, report.duplicates === 0n);
  }
  if (ids > 0) {
    const report = await clockSteps({ seed, processes, ids });
    note(`clock steps, ${processes} processes`, report, report.duplicates === 0 && report.disorders === 0 && report.ids >= ids);
  }
  if (values.json)
    process.stdout.write(
      `${JSON.stringify({ seed, ...found }, (_, value: unknown) => (typeof value === "bigint" ? `${value}` : value))}\n`,
    );
  return isBad ? 1 : 0;
}

function textOf(report: Record<string, unknown>): string {
  return Object.entries(report)
    .map(([key, value]) => `${key} ${String(value)}`)
    .join(", ");
}

process.exitCode = await main();
