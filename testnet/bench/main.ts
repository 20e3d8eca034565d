/**
 * `npm run bench -- [NAME...] [--json] [--list] [--quick | --page | --full] [--sizes N,N]`: the benchmarks, each with
 * machine, commit and spread. `--quick` is a glance, `--page` what `PERFORMANCE.md` is made of, `--full` what takes long.
 *
 * `npm run bench -- report FILE... | --run [--quick] | --check`: writes that page from such lines, or from a run, or checks it.
 *
 * With `--json` each benchmark prints one line `{name, commit, machine, figures, spread, ...}` (`BenchLine`); the last line on
 * standard output is that of the last one. Figures are medians; `spread` holds least and greatest where something was repeated.
 */

import { execFile, execFileSync } from "node:child_process";
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { present } from "../../crypto/base/assert.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { benchIds } from "./ids.ts";
import { benchCompare } from "./compare.ts";
import { benchExplorer } from "./explorer.ts";
import { benchNative } from "./native.ts";
import { benchJoin } from "./join.ts";
import { benchAudit } from "./audit.ts";
import { benchLight } from "./light.ts";
import { benchNetwork } from "./network.ts";
import { benchProofs } from "./proofs.ts";
import { type BenchLine, type Extent, EXTENTS, pageProblem, parseLines, renderPage } from "./report.ts";
import { benchState, type Figures } from "./state.ts";
import { benchWrite } from "./write.ts";
import { ed25519VerifiesPerSecond } from "./yardstick.ts";
import { readOptions } from "../options.ts";

/** What to measure; `sizes` in place of those that belong to the extent. */
type Settings = { readonly extent: Extent; readonly sizes: readonly number[] | undefined };

type Bench = {
  readonly what: string;
  /** What `--sizes` counts; absent where there is nothing to count. */
  readonly sizesOf?: string;
  readonly run: (settings: Settings) => Promise<Figures>;
};

/** What belongs to an extent. What is not named is what the benchmark itself does; the page has what is quick, unless named. */
function byExtent<T extends object>(extent: Extent, options: Partial<Record<Extent, T>>): Partial<T> {
  return options[extent] ?? (extent === "page" ? options.quick : undefined) ?? {};
}

function sized<T extends string>(key: T, { sizes }: Settings): Partial<Record<T, readonly number[]>> {
  return sizes === undefined ? {} : ({ [key]: sizes } as Record<T, readonly number[]>);
}

const NETWORK_EXTENTS = {
  quick: { transactions: 2_000, runs: 1, sustainedSeconds: 10, latencySeconds: 5, overloadSeconds: 5 },
  page: { runs: 1, latencySeconds: 15, overloadSeconds: 15 },
};

const BENCHES: Readonly<Record<string, Bench>> = {
  state: {
    what: "state tree: updates/s, proof bytes, prove and verify times by rows (about three minutes)",
    sizesOf: "rows",
    run: async (settings) => {
      const options = { quick: { rows: [10_000, 100_000] }, page: { rows: [10_000, 100_000, 1_000_000] } };
      return await benchState({ ...byExtent(settings.extent, options), ...sized("rows", settings) });
    },
  },
  write: {
    what: "one node's work for a write, stage by stage, in CPU microseconds a transaction (about half a minute)",
    run: async ({ extent }) =>
      await benchWrite(byExtent(extent, { quick: { blocks: 4, transactions: 800 }, page: { blocks: 8 } })),
  },
  ids: {
    what: "Scarab ids/s of one node; counter values/s by durability, beside plain append and fdatasync (about half a minute)",
    run: async ({ extent }) =>
      await benchIds(byExtent(extent, { quick: { seconds: 1, runs: 1 }, page: { seconds: 1, runs: 3 } })),
  },
  native: {
    what: "each function of the Rust addon against what serves without it (about two minutes; needs the addon)",
    run: async ({ extent }) => await benchNative(byExtent(extent, { quick: { rounds: 3, sampleMs: 40 } })),
  },
  proofs: {
    what: "proofs of records at 10^4 to 10^6 (--full: 10^7), proof files by both verifiers, old states (about two minutes)",
    sizesOf: "records",
    run: async (settings) => {
      const options = {
        quick: { records: [10_000, 100_000], rows: [10_000], questions: 100 },
        page: { records: [10_000, 100_000, 1_000_000], rows: [10_000] },
        full: { records: [10_000, 100_000, 1_000_000, 10_000_000] },
      };
      return await benchProofs({ ...byExtent(settings.extent, options), ...sized("records", settings) });
    },
  },
  explorer: {
    what: "the explorer's page: its weight, and the time from opening it to a verified head in Chromium (about a minute)",
    run: async ({ extent }) => await benchExplorer(byExtent(extent, { quick: { runs: 3 }, page: { runs: 7 } })),
  },
  join: {
    what: "joining by snapshot, with and without 10 kills, against executing every block (a minute; --full: up to 10^6 transactions)",
    sizesOf: "transactions",
    run: async (settings) => {
      const options = { full: { transactions: [10_000, 100_000, 1_000_000] } };
      return await benchJoin({ ...byExtent(settings.extent, options), ...sized("transactions", settings) });
    },
  },
  light: {
    what: "light client: a certificate of 100 validators, 10,000 heights by skipping (about half a minute)",
    run: async ({ extent }) => await benchLight(byExtent(extent, { quick: { heights: 2_500n, runs: 3 }, page: { runs: 3 } })),
  },
  audit: {
    what: "auditor: blocks and MB a second by executing again, and scrubbing MB/s (about a minute)",
    run: async ({ extent }) => await benchAudit(byExtent(extent, { quick: { blocks: 50 } })),
  },
  network: {
    what: "four validators as processes: finalised signed puts/s, finality, overload, memory, disk (about three minutes)",
    run: async ({ extent }) => await benchNetwork(byExtent(extent, NETWORK_EXTENTS)),
  },
  "network-portable": {
    what: "as network, with nodes that do without the Rust addon (about three minutes)",
    run: async ({ extent }) => await benchNetwork({ ...byExtent(extent, NETWORK_EXTENTS), isNative: false }),
  },
  compare: {
    what: "the same load on us and on the others found on PATH (cometbft or tendermint, etcd): ratios (about five minutes)",
    run: async ({ extent }) =>
      await benchCompare(byExtent(extent, { quick: { transactions: 2_000, rounds: 1 }, page: { rounds: 1 } })),
  },
};

const BATCH_SIZE = 1_000;
const OUTPUT_SIZE_BYTES_MAX = 16 * 1024 * 1024;
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const PAGE_PATH = fileURLToPath(new URL("../../PERFORMANCE.md", import.meta.url));

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

async function measure(name: string, settings: Settings): Promise<BenchLine> {
  // Before it runs: a checkout may be another one by the end.
  const where = { commit: commit(), machine: machine(), extent: settings.extent };
  const when = { startedAt: new Date().toISOString(), loadBefore: present(loadavg()[0], "load") };
  const yardstick = { ed25519VerifiesPerSecond: ed25519VerifiesPerSecond() };
  const startedMs = performance.now();
  const { figures, spread, notes = [] } = await present(BENCHES[name], "benchmark").run(settings);
  const seconds = Number(((performance.now() - startedMs) / 1000).toFixed(1));
  return { name, ...where, ...when, ...yardstick, seconds, figures, spread, notes: [...notes] };
}

function print({ name, commit, machine, ed25519VerifiesPerSecond: verifies, figures, spread, notes }: BenchLine): void {
  const lines = Object.entries(figures).map(([key, value]) => {
    const range = spread[key];
    return `  ${key.padEnd(34)} ${String(value).padStart(14)}${range === undefined ? "" : `   (${range[0]} to ${range[1]})`}`;
  });
  process.stdout.write(
    [
      `${name}   commit ${commit}`,
      `  ${machine}; one thread: ${verifies} Ed25519 verifications/s`,
      ...lines,
      ...notes.map((note) => `  ${note}`),
      "",
    ].join("\n"),
  );
}

/** Writes the page, from the files or from a new run of an extent; or only compares. */
async function report(from: { readonly files: readonly string[] } | { readonly run: Extent } | "check"): Promise<void> {
  if (from === "check") {
    const checked = pageProblem(readFileSync(PAGE_PATH, "utf8"));
    process.stdout.write(checked.ok ? "PERFORMANCE.md is what its data make\n" : `PERFORMANCE.md: ${checked.error.message}\n`);
    process.exitCode = checked.ok ? 0 : 1;
    return;
  }
  try {
    const texts = "run" in from ? await runAll(from.run) : from.files.map((file) => readFileSync(file, "utf8"));
    writeFileSync(PAGE_PATH, renderPage(parseLines(texts)));
    process.stdout.write(`wrote ${PAGE_PATH}\n`);
  } catch (error) {
    // What the files hold is their author's business; anything else is ours, or the disk's.
    if (!(error instanceof CodedError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}

/**
 * Every benchmark in a process of its own, so that none has another's memory. One that fails is left out, and we exit
 * with 1. The lines are kept in a file as they come, from which the page can be made again.
 */
async function runAll(extent: Extent): Promise<readonly string[]> {
  const path = join(tmpdir(), `pyralog-bench-${Date.now()}.jsonl`);
  process.stderr.write(`lines go to ${path}\n`);
  for (const name of Object.keys(BENCHES)) {
    process.stderr.write(`${new Date().toISOString()} ${name}\n`);
    const argv = [fileURLToPath(import.meta.url), name, "--json", ...(extent === "usual" ? [] : [`--${extent}`])];
    try {
      const { stdout } = await promisify(execFile)(process.execPath, argv, { maxBuffer: OUTPUT_SIZE_BYTES_MAX });
      appendFileSync(path, stdout);
    } catch (error) {
      process.stderr.write(`${name} failed, and is not on the page:\n${String(error)}\n`);
      process.exitCode = 1;
    }
  }
  return [readFileSync(path, "utf8")];
}

/** Multiples of a thousand, which is the size of a batch; `undefined` when the text is something else. */
function parseSizes(text: string): readonly number[] | undefined {
  const sizes = text.split(",").map(Number);
  return sizes.every((size) => Number.isSafeInteger(size) && size > 0 && size % BATCH_SIZE === 0) ? sizes : undefined;
}

const USAGE = `npm run -s bench -- [NAME...] [--quick | --page | --full] [--sizes N,...] [--json]
npm run -s bench -- --list
npm run -s bench -- report FILE... | --run | --check`;

const { values, positionals } = readOptions(
  USAGE,
  {
    json: { type: "boolean" },
    list: { type: "boolean" },
    quick: { type: "boolean" },
    page: { type: "boolean" },
    full: { type: "boolean" },
    sizes: { type: "string" },
    run: { type: "boolean" },
    check: { type: "boolean" },
  },
  { allowPositionals: true },
);
const sizes = values.sizes === undefined ? undefined : parseSizes(values.sizes);
const extent = EXTENTS.find((each) => each !== "usual" && values[each] === true);
const [isReport, files] = [positionals[0] === "report", positionals.slice(1)];
const names = isReport ? [] : positionals.length > 0 ? positionals : Object.keys(BENCHES);
const unknown = names.find((name) => BENCHES[name] === undefined);
const unsized = names.find((name) => BENCHES[name]?.sizesOf === undefined);
if (values.list === true) {
  if (values.json === true) process.stdout.write(`${JSON.stringify(Object.keys(BENCHES))}\n`);
  else for (const [name, { what }] of Object.entries(BENCHES)) process.stdout.write(`${name.padEnd(17)} ${what}\n`);
} else if (isReport) {
  if (files.length > 0 === (values.run === true || values.check === true)) {
    process.stderr.write("report takes FILE..., or --run, or --check\n");
    process.exitCode = 2;
  } else await report(values.check === true ? "check" : values.run === true ? { run: extent ?? "page" } : { files });
} else if (unknown !== undefined) {
  process.stderr.write(`There is no benchmark ${unknown}; there are ${Object.keys(BENCHES).join(", ")}.\n`);
  process.exitCode = 2;
} else if (values.sizes !== undefined && unsized !== undefined) {
  const sizable = Object.entries(BENCHES).flatMap(([name, { sizesOf }]) =>
    sizesOf === undefined ? [] : [`${name} (${sizesOf})`],
  );
  process.stderr.write(`${unsized} takes no --sizes; ${sizable.join(", ")} do.\n`);
  process.exitCode = 2;
} else if (values.sizes !== undefined && sizes === undefined) {
  process.stderr.write(`--sizes takes multiples of ${BATCH_SIZE}, such as 10000,100000.\n`);
  process.exitCode = 2;
} else {
  const settings = { extent: extent ?? "usual", sizes };
  for (const name of names) {
    const line = await measure(name, settings);
    if (values.json === true) process.stdout.write(`${JSON.stringify(line)}\n`);
    else print(line);
  }
}
