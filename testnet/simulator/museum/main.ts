/**
 * `npm run -s museum -- [--only NAME[,NAME...]] [--seeds N] [--jobs N] [--json]`: hunts every mutant, and then the code
 * as it is over the same seeds, which must be clean. Progress goes to stderr; the table, or with `--json` one line of
 * it, to stdout. Exits with 1 when a mutant was missed or a hunt is not clean.
 */

import { CodedError } from "../../../crypto/base/error.ts";
import { MUTANTS, mutantOf } from "./catalogue.ts";
import { type Catch, hunt } from "./hunter.ts";
import type { Hunt, Mutant } from "./mutant.ts";
import { rowOf, type Row, tableText } from "./table.ts";
import { readOptions } from "../../options.ts";

const JOBS_MAX = 8;

const USAGE = "npm run -s museum -- [--only NAME[,NAME...]] [--seeds N] [--jobs N] [--json]";

const { values: options } = readOptions(USAGE, {
  only: { type: "string" },
  seeds: { type: "string" },
  jobs: { type: "string", default: "1" },
  json: { type: "boolean", default: false },
});

const chosen = options.only === undefined ? MUTANTS : options.only.split(",").map(mutantOf);
const seedsMax = options.seeds === undefined ? undefined : countOf("seeds", options.seeds, Number.MAX_SAFE_INTEGER);
const jobs = countOf("jobs", options.jobs, JOBS_MAX);
const stop = new AbortController();
process.once("SIGINT", () => stop.abort());

const caught = new Map<Mutant, Catch>();
await inTurn(chosen, async (mutant) => {
  const outcome = await hunt(mutant, limited(mutant.hunt), stop.signal);
  caught.set(mutant, outcome);
  const { finding, seconds } = outcome;
  say(
    finding === undefined
      ? `missed ${mutant.name}, ${seconds} s`
      : `found ${mutant.name} at seed ${finding.seed}: ${finding.property}, ${seconds} s`,
  );
});
const unclean = await control();

const rows: readonly Row[] = chosen.map((mutant) => rowOf(mutant, caught.get(mutant)));
const missed = rows.filter(({ seeds }) => seeds === null).length;
if (options.json) {
  const summary = { mutants: rows.length, found: rows.length - missed, missed, unclean, table: rows };
  process.stdout.write(`${JSON.stringify(summary)}\n`);
} else process.stdout.write(`${tableText(rows)}\n${rows.length - missed} of ${rows.length} found\n`);
process.exitCode = missed + unclean.length === 0 ? 0 : 1;

/** Tries the seeds that found mutants on the code as it is. @returns what is found there, which should be nothing */
async function control(): Promise<readonly string[]> {
  const hunts = new Map<string, Hunt>();
  for (const mutant of chosen) {
    const key = targetOf(mutant.hunt);
    const seeds = Math.max(hunts.get(key)?.seeds ?? 0, caught.get(mutant)?.finding?.seed ?? 0);
    if (seeds > 0) hunts.set(key, { ...mutant.hunt, seeds });
  }
  const findings: string[] = [];
  await inTurn([...hunts], async ([key, prey]) => {
    const { finding, seconds } = await hunt(undefined, prey, stop.signal);
    if (finding !== undefined) findings.push(`hunt_unclean: ${key} at seed ${finding.seed}: ${finding.message}`);
    say(finding === undefined ? `clean: ${key}, ${prey.seeds} seeds, ${seconds} s` : (findings.at(-1) ?? ""));
  });
  return findings;
}

function targetOf(prey: Hunt): string {
  return prey.kind === "unit" ? `unit ${prey.unit}` : `simulator ${prey.engine}`;
}

function limited(prey: Hunt): Hunt {
  return seedsMax === undefined ? prey : { ...prey, seeds: seedsMax };
}

async function inTurn<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const waiting = [...items];
  const worker = async (): Promise<void> => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: jobs }, worker));
}

function countOf(name: string, text: string, max: number): number {
  const count = Number(text);
  if (!Number.isSafeInteger(count) || count < 1 || count > max)
    throw new CodedError("museum_argument", { message: `--${name} is a count up to ${max}: ${text}` });
  return count;
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
