/**
 * The performance page: made from the lines that benchmarks print with `--json`, and from nothing else.
 *
 * The page ends with these lines, so that it can be made again and compared: a figure that somebody wrote in by hand, a
 * verdict that the figures do not bear out, or a target that was changed since is found (`pageProblem`). Whoever
 * changes the lines as well is not: no page proves that a machine was fast.
 */

import * as z from "zod";
import { present } from "../../crypto/base/assert.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { type Target, TARGETS } from "./targets.ts";

/** How much is measured: a glance, what the page takes, the usual, or all there is. */
export const EXTENTS = ["quick", "page", "usual", "full"] as const;
/** One of them. */
export type Extent = (typeof EXTENTS)[number];

const FIGURE = z.number();
const TEXT = z
  .string()
  .max(2_048)
  .regex(/^[^\n\r]*$/);
const NAME = z.string().regex(/^[A-Za-z0-9_-]{1,128}$/);
const lineSchema = z.strictObject({
  name: NAME,
  commit: z.string().regex(/^[0-9a-f]{12}\+?$/),
  machine: TEXT,
  extent: z.enum(EXTENTS),
  startedAt: z.iso.datetime(),
  loadBefore: FIGURE.min(0),
  /** What one thread of the machine did just before (`yardstick.ts`). */
  ed25519VerifiesPerSecond: FIGURE.min(0).optional(),
  seconds: FIGURE.min(0),
  figures: z.record(NAME, FIGURE),
  spread: z.record(NAME, z.tuple([FIGURE, FIGURE])),
  notes: z.array(TEXT).max(64),
});

/** What a benchmark prints. */
export type BenchLine = z.infer<typeof lineSchema>;

/** Titles, in the order of the page; what a run has not is named on it. */
const SECTIONS: Readonly<Record<string, string>> = {
  network: "Four validators as processes, with the Rust addon",
  "network-portable": "Four validators as processes, without the addon",
  compare: "The same load on other databases",
  write: "What a write costs one node, stage by stage",
  state: "The state tree, by number of rows",
  proofs: "Proofs of records, proof files, old states",
  join: "Joining, by transactions of the chain",
  light: "A light client",
  audit: "An auditor",
  explorer: "The explorer's page",
  ids: "Ids and counters",
  native: "The Rust addon against what serves without it",
};

const NOT_CHECKED = [
  "More than one machine: validators, load generator and, where there is one, the browser share its processors, and packets cross no network. Delay, loss and bandwidth of a real one are not in any figure.",
  "Longer runs: a sustained minute is the longest. What compaction, pruning and growth do in a day is not in it.",
  "Larger states than those named in the figures, and transactions other than puts of 256 random bytes.",
  "Faults: nobody lies, and nothing fails but the node that joins, which is killed. That is for tests and simulations (`npm test`, `npm run sim`).",
  "Whether the disk keeps what it says that it has synced.",
  "The answers, by the load generator: it takes the word of one node for what is final. Clients and the auditor verify; that is not in these figures.",
];

/**
 * Reads lines of benchmarks, in files as they were printed or in a page.
 *
 * @throws CodedError `report_line`, `report_mixed`, `report_twice`
 */
export function parseLines(texts: readonly string[]): readonly BenchLine[] {
  const lines = texts.flatMap((text) => dataOf(text).split("\n")).filter((line) => line.trim() !== "");
  const parsed = lines.map((line) => parseLine(line));
  const [first] = parsed;
  if (first === undefined) throw new CodedError("report_line", { message: "there is no line" });
  for (const line of parsed) {
    if (line.machine !== first.machine || line.commit !== first.commit) {
      const both = `${first.name}: ${first.commit}, ${first.machine}; ${line.name}: ${line.commit}, ${line.machine}`;
      throw new CodedError("report_mixed", { message: both });
    }
    if (parsed.some((other) => other !== line && other.name === line.name))
      throw new CodedError("report_twice", { message: line.name });
  }
  return parsed;
}

function parseLine(text: string): BenchLine {
  const message = `not a line of a benchmark: ${text.slice(0, 100)}`;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new CodedError("report_line", { message }, { cause });
  }
  const parsed = lineSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new CodedError("report_line", { message: `${message}\n${z.prettifyError(parsed.error)}` });
}

const DATA_HEAD = "## Data\n\n```json\n";
const DATA_END = "```\n";

/** The lines of a page, or of a file that holds nothing else. */
function dataOf(text: string): string {
  const at = text.indexOf(DATA_HEAD);
  return at < 0 ? text : present(text.slice(at + DATA_HEAD.length).split(`\n${DATA_END}`)[0], "data");
}

/** Whether a page is what its own lines make; where they differ first if not. */
export function pageProblem(page: string): Result<void, { readonly code: "report_edited"; readonly message: string }> {
  const edited = (message: string): ReturnType<typeof pageProblem> => fail({ code: "report_edited", message });
  if (!page.includes(DATA_HEAD)) return edited("the page has no data");
  let made: string;
  try {
    made = renderPage(parseLines([page]));
  } catch (error) {
    if (error instanceof CodedError) return edited(`its data are none: ${error.message}`);
    throw error;
  }
  if (made === page) return ok(undefined);
  const [is, was] = [page.split("\n"), made.split("\n")];
  const at = was.findIndex((line, index) => line !== is[index]);
  const index = at < 0 ? was.length : at;
  return edited(`line ${index + 1} is not what the data make:\n  ${is[index] ?? "(nothing)"}\n  ${was[index] ?? "(nothing)"}`);
}

/** The page of a run. */
export function renderPage(lines: readonly BenchLine[]): string {
  const ordered = Object.keys(SECTIONS).flatMap((name) => lines.find((line) => line.name === name) ?? []);
  const rest = lines.filter(({ name }) => SECTIONS[name] === undefined);
  const all = [...ordered, ...rest];
  return [
    "# Performance",
    "",
    "Made by `npm run bench -- report` from the lines at its end: a test makes it again and refuses any other. `npm run bench -- report --run`",
    "measures anew, in about ten minutes. Nothing is traded for a figure: every signature is checked by every node, and every commit is fsynced.",
    "",
    ...headOf(all),
    "## Targets",
    "",
    "| target | bound | measured | least to greatest | |",
    "| --- | ---: | ---: | ---: | --- |",
    ...TARGETS.map((target) => targetRow(target, all)),
    "",
    "A figure is a median where it was repeated, and the bound is held against it, but where the largest is named. Of several sizes the worst counts.",
    "",
    "## What was not checked",
    "",
    ...NOT_CHECKED.map((text) => `- ${text}`),
    ...missing(all).map((text) => `- ${text}`),
    "",
    ...all.flatMap(sectionOf),
    `${DATA_HEAD}${all.map((line) => JSON.stringify(line)).join("\n")}\n${DATA_END}`,
  ].join("\n");
}

function headOf(lines: readonly BenchLine[]): string[] {
  const first = present(lines[0], "line");
  const started = lines.map(({ startedAt }) => startedAt).reduce((a, b) => (a < b ? a : b));
  const before = present(
    lines.find(({ startedAt }) => startedAt === started),
    "line",
  ).loadBefore;
  const isChanged = first.commit.endsWith("+");
  const short = lines.filter(({ extent }) => extent === "quick").map(({ name }) => name);
  return [
    ...(short.length === 0
      ? []
      : [
          `**A short run**: sizes and times of ${short.join(", ")} are those of a glance (\`--quick\`), not of a measurement.`,
          "",
        ]),
    "| | |",
    "| --- | --- |",
    `| machine | ${cell(first.machine)} |`,
    `| commit | ${first.commit.replace("+", "")}${isChanged ? ", with changes that are in no commit" : ""} |`,
    `| begun | ${started} |`,
    `| took | ${Math.round(lines.reduce((sum, { seconds }) => sum + seconds, 0))} s |`,
    `| load of the machine before | ${before.toFixed(2)} (one minute's average) |`,
    ...yardstickOf(lines),
    "",
  ];
}

/** Of all sections: how much the machine changed meanwhile can be told from it. */
function yardstickOf(lines: readonly BenchLine[]): string[] {
  const rates = lines.flatMap((line) => line.ed25519VerifiesPerSecond ?? []).toSorted((a, b) => a - b);
  const [least, median, greatest] = [rates[0], rates[rates.length >> 1], rates.at(-1)];
  if (least === undefined || median === undefined || greatest === undefined) return [];
  const range = `${shown(least)} to ${shown(greatest)}`;
  return [`| one thread of it, before each section | ${shown(median)} Ed25519 verifications a second by OpenSSL (${range}) |`];
}

function targetRow(target: Target, lines: readonly BenchLine[]): string {
  const { what, bench, bound, unit, per = 1 } = target;
  const asked = `${bound.kind === "least" ? "at least" : "at most"} ${shown(bound.value)} ${unit}`;
  const line = lines.find(({ name }) => name === bench);
  const found = line === undefined ? undefined : worstOf(target, line);
  if (line === undefined || found === undefined) return `| ${what} | ${asked} | | | not measured |`;
  const range = line.spread[found.name];
  const counted = target.isWorst === true && range !== undefined ? range[bound.kind === "least" ? 0 : 1] : found.value;
  const isMet = bound.kind === "least" ? counted / per >= bound.value : counted / per <= bound.value;
  const { needs } = target;
  const isShort = needs !== undefined && (line.figures[needs.figure] ?? 0) < needs.least;
  const verdict = isShort ? `not measured: ${needs.figure} was below ${needs.least}` : isMet ? "met" : "**not met**";
  const ranged = range === undefined ? "" : `${shown(range[0] / per)} to ${shown(range[1] / per)}`;
  const glance = line.extent === "quick" && !isShort ? ", at a glance" : "";
  return `| ${what} | ${asked} | ${shown(counted / per)} ${unit} | ${ranged} | ${verdict}${glance} |`;
}

/** The figure of a target that is furthest from its bound. */
function worstOf(
  { figure, bound }: Target,
  { figures }: BenchLine,
): { readonly name: string; readonly value: number } | undefined {
  const isAsked = (name: string): boolean => (figure.endsWith("*") ? name.startsWith(figure.slice(0, -1)) : name === figure);
  const found = Object.entries(figures).flatMap(([name, value]) => (isAsked(name) ? [{ name, value }] : []));
  return found.toSorted((a, b) => (bound.kind === "least" ? a.value - b.value : b.value - a.value))[0];
}

function missing(lines: readonly BenchLine[]): string[] {
  const names = Object.keys(SECTIONS).filter((name) => lines.every((line) => line.name !== name));
  return names.length === 0 ? [] : [`Not in this run at all: ${names.join(", ")}.`];
}

function sectionOf({ name, figures, spread, notes, extent, seconds }: BenchLine): string[] {
  const rows = Object.entries(figures).map(([key, value]) => {
    const [low, high] = spread[key] ?? [];
    return `| ${key} | ${shown(value)} | ${low === undefined ? "" : shown(low)} | ${high === undefined ? "" : shown(high)} |`;
  });
  return [
    `## ${SECTIONS[name] ?? name}`,
    "",
    `\`npm run bench -- ${name}${extent === "usual" ? "" : ` --${extent}`}\`, ${Math.round(seconds)} s. The method is at the head of ${link(name)}.`,
    "",
    ...(rows.length === 0 ? [] : ["| figure | median | least | greatest |", "| --- | ---: | ---: | ---: |", ...rows, ""]),
    ...notes.map((note) => `- ${cell(note)}`),
    ...(notes.length === 0 ? [] : [""]),
  ];
}

/** Whole from 100 on, in groups of three; with three digits below. */
function shown(value: number): string {
  if (Math.abs(value) < 100) return `${Number(value.toPrecision(3))}`;
  return value.toFixed(0).replaceAll(/\B(?=(\d{3})+$)/g, ",");
}

/** To the file of a benchmark. */
function link(name: string): string {
  const path = `testnet/bench/${name === "network-portable" ? "network" : name}.ts`;
  return `[\`${path}\`](${path})`;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}
