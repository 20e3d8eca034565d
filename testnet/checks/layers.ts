/**
 * The import rules of `.dependency-cruiser.mjs`, with a floor under them: every source file that is on disk must have
 * been cruised. With a parser that it cannot load the cruiser reports no violation in no module, and exits with 0.
 */

import { z } from "zod";
import { sourceFiles } from "./files.ts";
import { ROOT, runTool } from "./run.ts";

/** The folders with code, and fewest modules that they have ever had since the house was built. */
const FOLDERS = ["chain", "circuits", "consensus", "contracts", "crypto", "native", "node", "testnet"];
const MODULES_MIN = 150;

/** What a cruise found. */
export type LayerReport = {
  /** One line each: rule, importing file, imported file. */
  readonly violations: readonly string[];
  readonly modules: number;
  readonly dependencies: number;
};

/** What we read of dependency-cruiser's report. */
const Cruise = z.object({
  modules: z.array(z.object({ source: z.string() })),
  summary: z.object({
    totalDependenciesCruised: z.number(),
    violations: z.array(z.object({ from: z.string(), to: z.string(), rule: z.object({ name: z.string() }) })),
  }),
});

/**
 * Cruises the code below `directory`, which holds a `.dependency-cruiser.mjs`.
 *
 * @param options - `modulesMin` is for trees that are smaller than ours
 */
export async function checkLayers(
  directory: string = ROOT,
  options: { readonly modulesMin: number } = { modulesMin: MODULES_MIN },
): Promise<LayerReport> {
  const files = await sourceFiles(directory, FOLDERS);
  const folders = FOLDERS.filter((folder) => files.some((file) => file.startsWith(`${folder}/`)));
  const outcome = await runTool({
    script: "dependency-cruiser/bin/dependency-cruiser.mjs",
    arguments: ["--config", ".dependency-cruiser.mjs", "--output-type", "json", "--no-progress", ...folders],
    directory,
  });
  const parsed = Cruise.safeParse(parseJson(outcome.stdout));
  if (!parsed.success)
    return {
      violations: [`the cruiser failed: ${outcome.stderr.trim() || outcome.stdout.slice(0, 500)}`],
      modules: 0,
      dependencies: 0,
    };
  const { modules, summary } = parsed.data;
  const cruised = new Set(modules.map(({ source }) => source));
  const missed = files.filter((file) => !cruised.has(file));
  const ours = files.length - missed.length;
  return {
    violations: [
      ...summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} -> ${to}`),
      ...missed.map((file) => `not-cruised: ${file}`),
      ...(ours < options.modulesMin ? [`too-few: ${ours} modules of ours were cruised, of at least ${options.modulesMin}`] : []),
      // Every module imports something: when the parser sees no import, this is what gives it away.
      ...(summary.totalDependenciesCruised < ours
        ? [`too-few: ${summary.totalDependenciesCruised} imports were seen in ${ours} modules`]
        : []),
    ],
    modules: ours,
    dependencies: summary.totalDependenciesCruised,
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
