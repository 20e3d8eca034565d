/**
 * `npm run check`: everything that is known without running the code. A line a check, in full what one found, and
 * last `N passed, N failed`; exits with 1 when one failed. `npm run check -- layers lint` runs only those.
 */

import { checkLayers } from "./layers.ts";
import { runTool } from "./run.ts";

/** What a check found; empty when all is well. */
type Check = () => Promise<{ readonly note: string; readonly problems: string }>;

/** In the order in which they run: the quick ones first. */
const CHECKS = {
  format: async () => await byTool("oxfmt/bin/oxfmt", ["--list-different"]),
  lint: async () =>
    await byTool("oxlint/bin/oxlint", ["--format=unix", "--report-unused-disable-directives-severity=error", "--max-warnings=0"]),
  types: async () => await byTool("typescript/bin/tsc", ["--pretty", "false"]),
  layers: async () => {
    const { violations, modules, dependencies } = await checkLayers();
    return { note: `${modules} modules, ${dependencies} imports`, problems: violations.join("\n") };
  },
  "dead-code": async () => await byTool("knip/bin/knip.js", ["--no-progress"]),
} as const satisfies Record<string, Check>;

async function byTool(script: string, args: readonly string[]): Promise<{ readonly note: string; readonly problems: string }> {
  const outcome = await runTool({ script, arguments: args });
  const said = `${outcome.stdout}${outcome.stderr}`.trim();
  return { note: "", problems: outcome.code === 0 ? "" : said || `exited with ${outcome.code}` };
}

function isCheck(name: string): name is keyof typeof CHECKS {
  return Object.hasOwn(CHECKS, name);
}

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !isCheck(name));
if (unknown.length > 0) {
  process.stderr.write(`no such check: ${unknown.join(", ")}; there are ${Object.keys(CHECKS).join(", ")}\n`);
  process.exit(2);
}

let failed = 0;
const names = asked.length === 0 ? Object.keys(CHECKS) : asked;
for (const name of names.filter(isCheck)) {
  const startMs = performance.now();
  const { note, problems } = await CHECKS[name]();
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  const details = [note, `${seconds} s`].filter((part) => part !== "").join(", ");
  process.stdout.write(`${problems === "" ? "ok     " : "not ok "} ${name} (${details})\n`);
  if (problems === "") continue;
  failed += 1;
  process.stdout.write(`${problems.replaceAll(/^/gm, "        ")}\n`);
}
process.stdout.write(`${names.length - failed} passed, ${failed} failed\n`);
process.exitCode = failed === 0 ? 0 : 1;
