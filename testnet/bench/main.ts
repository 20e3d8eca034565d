/**
 * `npm run bench -- [NAME...] [--json] [--list] [--quick]`: the benchmarks, each with machine, commit and spread.
 *
 * With `--json` each benchmark prints one line `{name, commit, machine, figures, spread}`; the last line on standard
 * output is that of the last one. Figures are medians; `spread` holds least and greatest where something was repeated.
 */

import { execFileSync } from "node:child_process";
import { cpus, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { present } from "../../crypto/base/assert.ts";
import { benchNetwork } from "./network.ts";
import { benchState, type Figures } from "./state.ts";

type Bench = { readonly what: string; readonly run: (isQuick: boolean) => Promise<Figures> };

const BENCHES: Readonly<Record<string, Bench>> = {
  state: {
    what: "state tree: updates/s, proof bytes, prove and verify times by rows (about three minutes)",
    run: async (isQuick) => await benchState(isQuick ? { rows: [10_000, 100_000] } : {}),
  },
  network: {
    what: "four validators as processes: finalised signed puts/s, finality, start, memory, disk (about three minutes)",
    run: async (isQuick) => await benchNetwork(isQuick ? { transactions: 2_000, latencySeconds: 5, runs: 1 } : {}),
  },
};

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

function git(...argv: readonly string[]): string {
  return execFileSync("git", argv, { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
}

/** The commit that was measured, with `+` when the checkout differs from it. */
function commit(): string {
  return `${git("rev-parse", "--short=12", "HEAD")}${git("status", "--porcelain") === "" ? "" : "+"}`;
}

/** What it ran on. */
function machine(): string {
  const models = cpus();
  const memoryGiB = Math.round(totalmem() / 2 ** 30);
  return `${models.length} x ${present(models[0], "processor").model.trim()}, ${memoryGiB} GiB, ${process.platform} ${process.arch}, Node ${process.versions.node}`;
}

function print(name: string, { figures, spread }: Figures, isJson: boolean): void {
  if (isJson) {
    process.stdout.write(`${JSON.stringify({ name, commit: commit(), machine: machine(), figures, spread })}\n`);
    return;
  }
  const lines = Object.entries(figures).map(([key, value]) => {
    const range = spread[key];
    return `  ${key.padEnd(34)} ${String(value).padStart(14)}${range === undefined ? "" : `   (${range[0]} to ${range[1]})`}`;
  });
  process.stdout.write([`${name}   commit ${commit()}`, `  ${machine()}`, ...lines, ""].join("\n"));
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: "boolean" }, list: { type: "boolean" }, quick: { type: "boolean" } },
});
const unknown = positionals.find((name) => BENCHES[name] === undefined);
if (values.list === true) {
  if (values.json === true) process.stdout.write(`${JSON.stringify(Object.keys(BENCHES))}\n`);
  else for (const [name, { what }] of Object.entries(BENCHES)) process.stdout.write(`${name.padEnd(10)} ${what}\n`);
} else if (unknown !== undefined) {
  process.stderr.write(`There is no benchmark ${unknown}; there are ${Object.keys(BENCHES).join(", ")}.\n`);
  process.exitCode = 2;
} else {
  for (const name of positionals.length > 0 ? positionals : Object.keys(BENCHES)) {
    const bench = present(BENCHES[name], "benchmark");
    print(name, await bench.run(values.quick === true), values.json === true);
  }
}
