/**
 * `npm run -s sim -- --engine E --seeds N [--from FIRST] [--jobs J] [--json]`: runs seeds of an engine, and says which
 * broke what. `--replay FILE` runs one scenario of a file again; `--trace` prints its events.
 *
 * Progress goes to standard error. With `--json` the last line of standard output is
 * `{engine, seeds, violations, firstFailure, simulatedSeconds, wallSeconds}`. Exits with 1 when a property broke.
 *
 * Runs share nothing, so several processes take turns at seeds; what each seed does is the same in any of them.
 */

import { type ChildProcess, execFileSync, fork } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { toHex } from "../../crypto/base/bytes.ts";
import { ENGINES } from "./engines.ts";
import { describeFault, faultsOf } from "./faults.ts";
import { drawScenario, type Report, runScenario, type Scenario } from "./run.ts";
import { shrink } from "./shrink.ts";
import { readOptions } from "../options.ts";

/** What a worker tells of a seed. */
type Result = {
  readonly seed: number;
  readonly violations: Report["violations"];
  readonly simulatedMs: number;
  readonly height: number;
  readonly sometimes: Report["sometimes"];
};

const USAGE = "npm run -s sim -- --engine E --seeds N [--from FIRST] [--jobs J] [--json] | --replay FILE [--trace]";
const PROGRESS_MS = 5_000;

async function main(): Promise<number> {
  const { values } = readOptions(
    USAGE,
    {
      engine: { type: "string", default: "tendermint" },
      seeds: { type: "string", default: "100" },
      from: { type: "string", default: "1" },
      jobs: { type: "string" },
      json: { type: "boolean", default: false },
      replay: { type: "string" },
      trace: { type: "boolean", default: false },
      worker: { type: "boolean", default: false },
    },
    { more: `engines: ${Object.keys(ENGINES).join(", ")}\n` },
  );
  if (values.replay !== undefined) return await replay(values.replay, values.trace);
  const { engine } = values;
  const [seeds, from] = [Number(values.seeds), Number(values.from)];
  const jobs = Number(values.jobs ?? availableParallelism());
  const isGood = [seeds, from, jobs].every((value) => Number.isInteger(value) && value >= 0) && jobs > 0 && seeds > 0;
  if (!Object.hasOwn(ENGINES, engine) || !isGood) {
    process.stderr.write(`${USAGE}\nengines: ${Object.keys(ENGINES).join(", ")}\n`);
    return 2;
  }
  if (values.worker) return await work(engine);
  return await campaign({ engine, seeds, from, jobs: Math.min(jobs, Math.max(1, seeds)), isJson: values.json });
}

/** Runs the seeds that the parent sends. */
async function work(engine: string): Promise<number> {
  process.on("message", (seed: number) => {
    void one(engine, seed).then((result) => process.send?.(result));
  });
  await new Promise<void>((resolve) => process.once("disconnect", resolve));
  return 0;
}

async function one(engine: string, seed: number): Promise<Result> {
  const { violations, simulatedMs, height, sometimes } = await runScenario(drawScenario(engine, seed));
  return { seed, violations, simulatedMs, height: Number(height), sometimes };
}

type Campaign = {
  readonly engine: string;
  readonly seeds: number;
  readonly from: number;
  readonly jobs: number;
  readonly isJson: boolean;
};

async function campaign({ engine, seeds, from, jobs, isJson }: Campaign): Promise<number> {
  const startMs = performance.now();
  const results = await runAll({ engine, seeds, from, jobs });
  const failures = results.filter(({ violations }) => violations.length > 0).sort((a, b) => a.seed - b.seed);
  const counts = new Map<string, number>();
  for (const { sometimes } of results)
    for (const [name, count] of Object.entries(sometimes)) counts.set(name, (counts.get(name) ?? 0) + count);
  process.stderr.write("sometimes:\n");
  for (const [name, count] of counts) process.stderr.write(`  ${String(count).padStart(9)}  ${name}\n`);
  const [first] = failures;
  if (first !== undefined) await explain(engine, first);
  for (const { seed, violations } of failures.slice(1, 20))
    process.stderr.write(`seed ${seed}: ${violations[0]?.property}: ${violations[0]?.message.split("\n")[0]}\n`);
  const simulatedSeconds = Math.round(results.reduce((sum, { simulatedMs }) => sum + simulatedMs, 0) / 1000);
  const wallSeconds = Math.round((performance.now() - startMs) / 100) / 10;
  const summary = {
    engine,
    seeds,
    violations: failures.length,
    firstFailure: first?.seed ?? null,
    simulatedSeconds,
    wallSeconds,
  };
  const heights = results.reduce((sum, { height }) => sum + height, 0);
  if (isJson) process.stdout.write(`${JSON.stringify(summary)}\n`);
  else
    process.stdout.write(
      `${engine}: ${seeds} seeds from ${from}, ${failures.length} broke a property; ${heights} heights, ${simulatedSeconds} s simulated in ${wallSeconds} s\n`,
    );
  return failures.length === 0 ? 0 : 1;
}

/** Gives seeds to as many processes as asked for. */
async function runAll({ engine, seeds, from, jobs }: Omit<Campaign, "isJson">): Promise<Result[]> {
  const results: Result[] = [];
  let next = from;
  let saidMs = performance.now();
  const note = (result: Result): void => {
    results.push(result);
    if (performance.now() - saidMs < PROGRESS_MS) return;
    saidMs = performance.now();
    const bad = results.filter(({ violations }) => violations.length > 0).length;
    process.stderr.write(`${engine}: ${results.length} of ${seeds} seeds, ${bad} broke a property\n`);
  };
  // A process of its own also when there is one: whatever throws where nobody waits for it ends that, and is counted.
  const worker = async (): Promise<void> => {
    const child = fork(import.meta.filename, ["--worker", "--engine", engine], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    try {
      while (next < from + seeds) {
        const seed = next;
        next += 1;
        note(await asked(child, seed));
      }
    } finally {
      child.disconnect();
    }
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  return results;
}

/** One seed, by a worker. One that dies over it has found something. */
async function asked(child: ChildProcess, seed: number): Promise<Result> {
  const { promise, resolve } = Promise.withResolvers<Result>();
  const onExit = (code: number | null): void => {
    const violation = { property: "process", message: `the process that ran it ended with ${code}`, atMs: 0 };
    resolve({ seed, violations: [violation], simulatedMs: 0, height: 0, sometimes: {} });
  };
  const onMessage = (message: unknown): void => resolve(message as Result);
  child.once("exit", onExit);
  child.once("message", onMessage);
  if (child.exitCode === null) child.send(seed);
  else onExit(child.exitCode);
  const result = await promise;
  child.off("exit", onExit);
  child.off("message", onMessage);
  return result;
}

/** Says what broke in a seed, with as few faults as do it, and writes those to a file. */
async function explain(engine: string, { seed, violations }: Result): Promise<void> {
  const [violation] = violations;
  if (violation === undefined) return;
  process.stderr.write(
    `seed ${seed} of ${engine} broke ${violation.property} at ${violation.atMs} ms, at commit ${commitHash()}:\n`,
  );
  process.stderr.write(`${violation.message}\n`);
  const scenario = drawScenario(engine, seed);
  process.stderr.write(`cutting down ${scenario.faults.length} faults\n`);
  const small = await shrink(scenario, violation.property);
  for (const fault of small.faults) process.stderr.write(`  ${describeFault(fault)}\n`);
  const path = join(tmpdir(), `pyralog-sim-${engine}-${seed}.json`);
  writeFileSync(
    path,
    `${JSON.stringify({ commit: commitHash(), property: violation.property, scenario: small }, undefined, 2)}\n`,
  );
  process.stderr.write(`npm run -s sim -- --replay ${path}\n`);
}

async function replay(path: string, isTraced: boolean): Promise<number> {
  const file = JSON.parse(readFileSync(path, "utf8")) as { readonly property: string; readonly scenario: Scenario };
  const scenario = { ...file.scenario, faults: faultsOf(file.scenario.faults) };
  const report = await runScenario(scenario, isTraced ? printEvent : undefined);
  for (const { property, message, atMs } of report.violations) process.stdout.write(`${atMs} ms: ${property}: ${message}\n`);
  process.stdout.write(`trace ${report.traceHash}, ${report.events} events, height ${report.height}\n`);
  return report.violations.length === 0 ? 0 : 1;
}

function printEvent(event: Parameters<NonNullable<Parameters<typeof runScenario>[1]>>[0]): void {
  const detail = toHex(event.detail.subarray(0, 8));
  process.stdout.write(`${event.atMs.toFixed(4).padStart(12)} n${event.node} ${event.kind} ${event.other} ${detail}\n`);
}

/** Of the repository, as git says. */
function commitHash(): string {
  try {
    return execFileSync("git", ["rev-parse", "HEAD"], { encoding: "utf8", cwd: import.meta.dirname }).trim();
  } catch {
    return "unknown (git does not say)"; // A copy without its history runs seeds as well.
  }
}

process.exitCode = await main();
