/**
 * House rules that no tool knows, as functions from files to problems. Each says what to do instead.
 *
 * Rules that the compiler or the linter can hold (enum, any, default exports, console, floating promises) are theirs.
 */

import { badAssertions } from "./assertions.ts";

/** A file of the repository. */
export type SourceFile = { readonly path: string; readonly text: string };

/** A broken rule. `line` counts from 1; 0 means the whole file or folder. */
export type Problem = { readonly rule: string; readonly path: string; readonly line: number; readonly what: string };

/** The visible top level, as the README draws it. Nothing else comes beside it. */
const TOP_LEVEL = new Set([
  "LICENSE",
  "PERFORMANCE.md",
  "README.md",
  "chain",
  "circuits",
  "consensus",
  "contracts",
  "crypto",
  "native",
  "node",
  "package-lock.json",
  "package.json",
  "testnet",
  "tsconfig.json",
]);

/** Words that have no place in a line, and what to do instead. A rule's own file names them, so it is left out. */
const BANNED = [
  { pattern: /\b(TODO|FIXME|XXX|HACK)\b/, what: "do it, or write an issue" },
  { pattern: /(?<![\w.])\/(work|root|home\/\w+)\//, what: "a path of one machine: resolve from import.meta.url" },
  { pattern: /\.(only|skip)\(|\{ *(only|skip): *true/, what: "a test that runs alone, or not at all: run them all" },
  { pattern: /\bt\.(same|match|equal|ok)\(true\b/, what: "asserts nothing: use t.pass, or assert the fact" },
] as const;

/** As `BANNED`, for code. */
const BANNED_IN_CODE = [
  {
    pattern: /\bfrom "(assert|buffer|child_process|crypto|events|fs|http|net|os|path|stream|url|util)(\/\w+)?"/,
    what: "write node: in front",
  },
] as const;

/** As `BANNED`, for TypeScript, and for the plain JavaScript that an old Node has to read. */
const BANNED_IMPORT = {
  ts: { pattern: /\bfrom "\.{1,2}\/[^"]*(?<!\.(ts|json))"/, what: "a relative import ends in .ts" },
  mjs: { pattern: /\bfrom "\.{1,2}\/[^"]*(?<!\.mjs)"/, what: "a relative import of plain JavaScript ends in .mjs" },
} as const;

/** As `BANNED`, for code that is not a test. */
const BANNED_IN_PRODUCT = [{ pattern: /\bcode: "(?![a-z][a-z0-9]*(_[a-z0-9]+)*")/, what: "a code is lower_snake" }] as const;

/** As `BANNED`, where equal inputs must give equal bytes. */
const BANNED_IN_PURE = [
  { pattern: /\.(sort|toSorted)\(\)/, what: "sorts by UTF-16 text: pass compareBytes, or a comparison that you mean" },
] as const;

/** All problems of a tree. */
export function tidyProblems(files: readonly SourceFile[], topLevel: readonly string[]): Problem[] {
  return [
    ...topLevel
      .filter((name) => !name.startsWith(".") && !TOP_LEVEL.has(name))
      .map((name) => problem("top-level", name, 0, "put it into one of the folders")),
    ...missingReadmes(files),
    ...codesWithoutTable(files),
    ...files.flatMap((file) => [
      ...bannedLines(file),
      ...assertions(file),
      ...undocumentedExports(file),
      ...badName(file),
      ...openingComment(file),
    ]),
  ];
}

function problem(rule: string, path: string, line: number, what: string): Problem {
  return { rule, path, line, what };
}

/** Every top-level folder, and every folder below one that has code of its own, but testing/ and testdata/. */
function missingReadmes(files: readonly SourceFile[]): Problem[] {
  const readmes = new Set(files.filter(({ path }) => path.endsWith("/README.md")).map(({ path }) => path));
  const folders = new Set<string>();
  for (const { path } of files.filter(isCode)) {
    const parts = path.split("/").slice(0, -1);
    folders.add(parts[0] ?? "");
    if (parts.length > 1) folders.add(parts.slice(0, 2).join("/"));
  }
  const wanting = [...folders].filter((folder) => !/\/test(ing|data)$/.test(folder) && !readmes.has(`${folder}/README.md`));
  return wanting
    .toSorted(byText)
    .map((folder) =>
      problem("readme", folder, 0, "write its README.md: what it is for, its words, what it refuses, where to start"),
    );
}

/** A code that is thrown stands in an errors.ts, where a caller finds what to do about it. */
function codesWithoutTable(files: readonly SourceFile[]): Problem[] {
  const tables = files.filter(({ path }) => path.endsWith("/errors.ts")).map(({ text }) => text);
  const listed = new Set(tables.flatMap((text) => text.match(/\b[a-z][a-z0-9]*(_[a-z0-9]+)*\b/g) ?? []));
  const problems = new Map<string, Problem>();
  for (const file of files.filter(isProduct)) {
    for (const { line, found } of matches(file, /\bnew CodedError\(\s*"(\w+)"/g)) {
      const what = `${found} is in no errors.ts: list it in its folder's, with what a caller should do`;
      if (!listed.has(found) && !problems.has(found)) problems.set(found, problem("error-table", file.path, line, what));
    }
  }
  return [...problems.values()];
}

function bannedLines(file: SourceFile): Problem[] {
  if (file.path.startsWith("testnet/checks/")) return [];
  const rules = [
    ...(isCode(file)
      ? [...BANNED, ...BANNED_IN_CODE, BANNED_IMPORT[file.path.endsWith(".mjs") ? "mjs" : "ts"]]
      : BANNED.slice(0, 2)),
    ...(isProduct(file) ? BANNED_IN_PRODUCT : []),
    ...(isProduct(file) && /^(chain|consensus|contracts|crypto)\//.test(file.path) ? BANNED_IN_PURE : []),
  ];
  return file.text.split("\n").flatMap((text, index) => {
    const broken = rules.filter(({ pattern }) => pattern.test(text));
    return broken.map(({ what }) => problem("banned", file.path, index + 1, `${text.trim().slice(0, 80)}: ${what}`));
  });
}

/** In what a node runs all the time. */
function assertions(file: SourceFile): Problem[] {
  if (!isProduct(file) || !/^(chain|consensus|contracts|crypto|node)\//.test(file.path)) return [];
  return badAssertions(file.text).map(({ line, call, what }) => problem("assertion", file.path, line, `${call}: ${what}`));
}

/**
 * A comment ends on the line before, or the line before is an export that has one: a group says it once. Constants
 * are left to their authors: a name with its unit often says it all.
 */
function undocumentedExports(file: SourceFile): Problem[] {
  if (!isProduct(file)) return [];
  const lines = file.text.split("\n");
  let wasDocumented = false;
  return lines.flatMap((text, index) => {
    const before = lines[index - 1] ?? "";
    const isExport = /^export (abstract |async |declare )*(class|function|interface|type)\b(?! \{)/.test(text);
    const isDocumented = before.trimEnd().endsWith("*/") || (wasDocumented && before.startsWith("export "));
    if (isExport || text === "") wasDocumented = isExport && isDocumented;
    return isExport && !isDocumented
      ? [problem("docstring", file.path, index + 1, `${text.slice(0, 80)}: say what it is in one sentence`)]
      : [];
  });
}

/** Names are kebab-case; a folder called test/ would have every file of it run as a test. */
function badName({ path }: SourceFile): Problem[] {
  const isGood =
    /^[\w.\-/]+$/.test(path) &&
    !/(^|\/)tests?\//.test(path) &&
    (!path.endsWith(".ts") || /(^|\/)[a-z0-9]+([.-][a-z0-9]+)*\.ts$/.test(path));
  return isGood ? [] : [problem("file-name", path, 0, "kebab-case; helpers of tests live in testing/")];
}

/** A file of code opens with what it is. */
function openingComment(file: SourceFile): Problem[] {
  if (!isProduct(file) || /^(#!.*\n)?\/\*\*/.test(file.text)) return [];
  return [problem("opening", file.path, 1, "open with a comment that says what the file is")];
}

function isCode({ path }: SourceFile): boolean {
  return /\.(ts|mjs)$/.test(path);
}

/** Code that is neither a test nor a helper of tests. */
function isProduct(file: SourceFile): boolean {
  return isCode(file) && !file.path.endsWith(".test.ts") && !file.path.includes("/testing/");
}

function matches(file: SourceFile, pattern: RegExp): { readonly line: number; readonly found: string }[] {
  return [...file.text.matchAll(pattern)].map((match) => ({
    line: file.text.slice(0, match.index).split("\n").length,
    found: match[1] ?? "",
  }));
}

function byText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
