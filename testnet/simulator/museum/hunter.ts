/**
 * Hunts: child processes that try seeds on the code with a mutant in it, or on the code as it is. Seeds go in batches
 * that grow, so that a bug found at once costs little and a shy one no more than its seeds.
 */

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { CodedError } from "../../../crypto/base/error.ts";
import { type Hunt, type Mutant, ROOT } from "./mutant.ts";

/** The first seed that broke something, and what. */
export type Finding = { readonly seed: number; readonly property: string; readonly message: string };

/** What the hunt for one mutant came to. */
export type Catch = {
  readonly finding: Finding | undefined;
  readonly seconds: number;
};

/** Seeds of the first batch, and how fast batches grow. */
const BATCH_FIRST = { unit: 25, simulator: 5 } as const satisfies Record<Hunt["kind"], number>;
const BATCH_GROWTH = 4;
const BATCH_MAX = { unit: 2000, simulator: 100 } as const satisfies Record<Hunt["kind"], number>;
/** A batch that takes longer hangs: the mutant made some loop endless, and is found by that. */
const BATCH_MS_MAX = 600_000;
const OUTPUT_BYTES_MAX = 4 * 1024 * 1024;
const SAID_MAX = 600;
/** How the simulator says what the first of the seeds broke, before it looks for the fewest faults that do it. */
const BROKEN = /^seed (\d+) of \S+ broke (\S+) at [^\n]*:\n([^\n]*)/m;
/** Somebody may be at work on the same machine. */
const NICENESS = "10";

/** Tries the seeds of a hunt, on the mutant or (`undefined`) on the code as it is, until one breaks something. */
export async function hunt(mutant: Mutant | undefined, prey: Hunt, signal: AbortSignal): Promise<Catch> {
  const startMs = performance.now();
  const secondsSince = (): number => Math.round((performance.now() - startMs) / 100) / 10;
  let size: number = BATCH_FIRST[prey.kind];
  for (let from = 1; from <= prey.seeds;) {
    const count = Math.min(size, prey.seeds - from + 1);
    const finding = await batch(mutant, prey, { from, count }, signal);
    if (finding !== undefined) return { finding, seconds: secondsSince() };
    from += count;
    size = Math.min(size * BATCH_GROWTH, BATCH_MAX[prey.kind]);
  }
  return { finding: undefined, seconds: secondsSince() };
}

async function batch(
  mutant: Mutant | undefined,
  prey: Hunt,
  seeds: { readonly from: number; readonly count: number },
  signal: AbortSignal,
): Promise<Finding | undefined> {
  const { isHung, code, lastLine, errors } = await run(mutant, programOf(prey, seeds), signal);
  const last = seeds.from + seeds.count - 1;
  if (isHung) return { seed: last, property: "it ends", message: `no end within ${BATCH_MS_MAX} ms` };
  const broken = BROKEN.exec(errors);
  if (broken !== null) return { seed: Number(broken[1]), property: broken[2] ?? "", message: broken[3] ?? "" };
  const answer = parseJson(lastLine);
  if (answer !== undefined && (prey.kind === "simulator" || code === 0))
    return prey.kind === "unit" ? ((answer as Finding | null) ?? undefined) : undefined;
  const said = errors.slice(-SAID_MAX);
  // A process of a whole network that falls over its own assertion has found something, in one of these seeds.
  if (mutant !== undefined && prey.kind === "simulator" && !said.includes("mutant_"))
    return { seed: last, property: "the process that runs the network goes on", message: said };
  throw new CodedError("hunt_failed", { message: `${mutant?.name ?? "the code as it is"}: exit ${code}: ${lastLine} ${said}` });
}

function programOf(prey: Hunt, { from, count }: { readonly from: number; readonly count: number }): readonly string[] {
  if (prey.kind === "unit") return [pathOf("./prey.ts"), prey.unit, `${from}`, `${count}`];
  return [pathOf("../main.ts"), "--engine", prey.engine, "--seeds", `${count}`, "--from", `${from}`, "--jobs", "1", "--json"];
}

async function run(
  mutant: Mutant | undefined,
  program: readonly string[],
  signal: AbortSignal,
): Promise<{ readonly isHung: boolean; readonly code: number | null; readonly lastLine: string; readonly errors: string }> {
  const preload = mutant === undefined ? [] : ["--import", new URL("./hook.ts", import.meta.url).href];
  // A cache of compiled code must not bring a mutant into honest processes, nor honest code into a mutant.
  const env = { ...process.env, PYRALOG_MUTANT: mutant?.name, NODE_COMPILE_CACHE: undefined };
  const child = spawn("nice", ["-n", NICENESS, process.execPath, ...preload, ...program], {
    cwd: ROOT,
    env,
    signal,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output = new Tail();
  const errors = new Tail();
  child.stdout.setEncoding("utf8").on("data", (piece: string) => output.add(piece));
  child.stderr.setEncoding("utf8").on("data", (piece: string) => {
    errors.add(piece);
    if (BROKEN.test(errors.text)) child.kill("SIGKILL");
  });
  let isHung = false;
  const timer = setTimeout(() => {
    isHung = true;
    child.kill("SIGKILL");
  }, BATCH_MS_MAX);
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", resolve);
    });
    return { isHung, code, lastLine: output.text.trimEnd().split("\n").at(-1) ?? "", errors: errors.text };
  } finally {
    clearTimeout(timer);
  }
}

/** The end of what a child prints. */
class Tail {
  text = "";

  add(piece: string): void {
    this.text = (this.text + piece).slice(-OUTPUT_BYTES_MAX);
  }
}

function pathOf(relative: string): string {
  return fileURLToPath(new URL(relative, import.meta.url));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
