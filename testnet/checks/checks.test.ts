/**
 * The checks themselves. Each is shown a tree with faults planted in it and must name them; then the house rules are
 * held against the repository as it is. (Format, lint, types, layers and dead code of the repository are
 * `npm run check`: they are not run twice.)
 */

import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import t from "tap";
import { Digest } from "./digest.ts";
import { filesBelow } from "./files.ts";
import { checkLayers } from "./layers.ts";
import { completeLock, missingPackages, readLock } from "./lock.ts";
import { ROOT, runTool } from "./run.ts";
import { type SourceFile, tidyProblems } from "./tidy.ts";

const FOLDERS = ["chain", "circuits", "consensus", "contracts", "crypto", "native", "node", "testnet"];
const temporary = mkdtempSync(join(tmpdir(), "pyralog-checks-"));
t.teardown(() => rmSync(temporary, { recursive: true, force: true }));

/** A copy of the code and of the tools' settings, with further files. */
function copyWith(name: string, planted: Readonly<Record<string, string>>): string {
  const copy = join(temporary, name);
  mkdirSync(copy);
  for (const folder of FOLDERS)
    cpSync(join(ROOT, folder), join(copy, folder), { recursive: true, filter: (path) => !path.includes("node_modules") });
  for (const file of ["package.json", "tsconfig.json", ".dependency-cruiser.mjs", ".oxlintrc.json"])
    cpSync(join(ROOT, file), join(copy, file));
  symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
  for (const [path, text] of Object.entries(planted)) {
    mkdirSync(dirname(join(copy, path)), { recursive: true });
    writeFileSync(join(copy, path), text);
  }
  return copy;
}

t.test("every kind of forbidden import is found where it is planted", async (t) => {
  const planted = {
    "consensus/planted-layer.ts":
      'import { openMemoryStore } from "../chain/store/memory.ts";\nexport const a = openMemoryStore;\n',
    "consensus/planted-type.ts": 'import type { Store } from "../chain/store/store.ts";\nexport type A = Store;\n',
    "contracts/planted-dynamic.ts":
      'export async function a() {\n  await using b = await import("../node/main.ts");\n  return b;\n}\n',
    "chain/merkle/planted-sibling.ts": 'export { openMemoryStore } from "../store/memory.ts";\n',
    "crypto/base/planted-io.ts": 'import { readFileSync } from "node:fs";\nexport const a = readFileSync;\n',
    "chain/state/planted-io.ts": 'import { hash } from "crypto";\nexport const a = hash;\n',
    "node/planted-testing.ts": 'export { SHA256_HASHER } from "../chain/merkle/testing/reference.ts";\n',
    "crypto/planted-a.ts": 'import { b } from "./planted-b.ts";\nexport const a = () => b;\n',
    "crypto/planted-b.ts": 'import { a } from "./planted-a.ts";\nexport const b = () => a;\n',
    "node/planted-missing.ts": 'export { a } from "./nowhere.ts";\n',
    "chain/planted-package.ts": 'import a from "left-pad";\nexport const b = a;\n',
    "chain/planted-development.ts": 'import a from "fast-check";\nexport const b = a;\n',
    "crypto/planted-upward.test.ts": 'import { openMemoryStore } from "../chain/store/memory.ts";\nopenMemoryStore();\n',
  };
  const { violations } = await checkLayers(copyWith("layers", planted));
  const found = violations.filter((line) => line.includes("planted"));
  for (const expected of [
    "consensus-imports: consensus/planted-layer.ts -> chain/store/memory.ts",
    "consensus-imports: consensus/planted-type.ts -> chain/store/store.ts",
    "contracts-imports: contracts/planted-dynamic.ts -> node/main.ts",
    "chain-merkle-imports: chain/merkle/planted-sibling.ts -> chain/store/memory.ts",
    "pure-folders-do-no-io: crypto/base/planted-io.ts -> fs",
    "pure-folders-do-no-io: chain/state/planted-io.ts -> crypto",
    "testing-only-from-tests: node/planted-testing.ts -> chain/merkle/testing/reference.ts",
    "no-cycles: crypto/planted-a.ts -> crypto/planted-b.ts",
    "no-unresolvable: node/planted-missing.ts -> ./nowhere.ts",
    "no-unresolvable: chain/planted-package.ts -> left-pad",
    "no-development-package-in-code: chain/planted-development.ts -> fast-check",
    "crypto-tests-import: crypto/planted-upward.test.ts -> chain/store/memory.ts",
  ]) {
    t.ok(
      found.some((line) => line.startsWith(expected) || line.replace(/-> \S*node_modules\/([^/]+)\/.*$/, "-> $1") === expected),
      expected,
    );
  }
  t.equal(
    violations.filter((line) => line.startsWith("too-few") || line.startsWith("not-cruised")).length,
    0,
    "and all files were looked at",
  );
});

t.test("a cruise that looks at nothing fails the check, instead of finding nothing wrong", async (t) => {
  const copy = copyWith("blind", {});
  const configuration = join(copy, ".dependency-cruiser.mjs");
  writeFileSync(configuration, readFileSync(configuration, "utf8").replace("options: {", 'options: { includeOnly: "^nowhere/",'));
  const { violations, modules } = await checkLayers(copy);
  t.equal(modules, 0);
  t.ok(violations.includes("not-cruised: crypto/base/assert.ts"));
  t.ok(violations.some((line) => line.startsWith("too-few: 0 modules of ours")));
  writeFileSync(configuration, "throw new Error('broken');\n");
  t.match((await checkLayers(copy)).violations, [/^the cruiser failed: /], "nor does a cruiser that fell over");
});

t.test("a tree with fewer modules than there have been for long is refused", async (t) => {
  const copy = join(temporary, "small");
  mkdirSync(join(copy, "crypto"), { recursive: true });
  for (const file of ["package.json", ".dependency-cruiser.mjs"]) cpSync(join(ROOT, file), join(copy, file));
  symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
  writeFileSync(join(copy, "crypto", "a.ts"), 'export { b } from "./b.ts";\n');
  writeFileSync(join(copy, "crypto", "b.ts"), "export const b = 1;\n");
  t.same(
    (await checkLayers(copy, { modulesMin: 2 })).violations.filter((line) => line.includes("modules of ours")),
    [],
  );
  t.match((await checkLayers(copy)).violations, [/^too-few: 2 modules of ours/]);
});

t.test("the linter finds the faults that types are needed for, and clocks in pure folders", async (t) => {
  const planted = {
    "node/planted.ts": [
      "export async function work(): Promise<void> {}",
      "export function start(kind: 'a' | 'b'): void {",
      "  work();",
      "  switch (kind) {",
      "    case 'a':",
      "  }",
      "  throw kind;",
      "}",
      "export default start;",
      "",
    ].join("\n"),
    "consensus/planted.ts": "export const now = (): number => Date.now() + Math.random();\n",
    "consensus/testing/planted.ts": "export const now = (): number => Date.now();\n",
  };
  const copy = copyWith("lint", planted);
  const outcome = await runTool({
    script: "oxlint/bin/oxlint",
    arguments: ["--format=unix", "node/planted.ts", "consensus/planted.ts", "consensus/testing/planted.ts"],
    directory: copy,
  });
  for (const rule of [
    "no-floating-promises",
    "switch-exhaustiveness-check",
    "only-throw-error",
    "no-default-export",
    "no-restricted-globals",
    "no-restricted-properties",
  ]) {
    t.match(outcome.stdout, rule);
  }
  t.notMatch(outcome.stdout, "consensus/testing", "helpers of tests may look at the clock");
  t.not(outcome.code, 0);
});

t.test("each house rule finds its fault, and leaves what is right alone", async (t) => {
  const doc = "/** What it is. */\n";
  const rulesOf = (files: Readonly<Record<string, string>>, topLevel: readonly string[] = []) => {
    const all: SourceFile[] = Object.entries({ "crypto/README.md": "", "crypto/base/README.md": "", ...files }).map(
      ([path, text]) => ({ path, text }),
    );
    return tidyProblems(all, topLevel).map(({ rule, path, line }) => `${rule} ${path}:${line}`);
  };
  t.same(rulesOf({ "crypto/base/a.ts": `${doc}\n${doc}export function a(): void {}\n` }, ["crypto", "LICENSE", ".ci"]), []);
  t.same(rulesOf({}, ["src"]), ["top-level src:0"]);
  t.same(rulesOf({ "node/cli/a.ts": doc }), ["readme node:0", "readme node/cli:0"]);
  t.same(rulesOf({ "crypto/testing/a.ts": doc }), []);
  t.same(rulesOf({ "crypto/a.ts": `${doc}\nexport function a(): void {}\nexport function b(): void {}\n` }), [
    "docstring crypto/a.ts:3",
    "docstring crypto/a.ts:4",
  ]);
  t.same(rulesOf({ "crypto/a.ts": `${doc}\n${doc}export type A = 1;\nexport type B = 2;\n` }), [], "a group is documented once");
  t.same(rulesOf({ "crypto/a.ts": "export {};\n" }), ["opening crypto/a.ts:1"]);
  t.same(rulesOf({ "crypto/a.test.ts": "export function a(): void {}\n" }), []);
  t.same(rulesOf({ "crypto/aB.ts": doc, "crypto/base/test/a.ts": doc }), [
    "file-name crypto/aB.ts:0",
    "file-name crypto/base/test/a.ts:0",
  ]);
  const line = (text: string, path = "crypto/a.ts") => rulesOf({ [path]: `${doc}${text}\n` });
  t.same(line("// TODO later"), ["banned crypto/a.ts:2"]);
  t.same(line('const a = "/home/anna/x";'), ["banned crypto/a.ts:2"]);
  t.same(line('import a from "fs";'), ["banned crypto/a.ts:2"]);
  t.same(line('import a from "node:fs";'), []);
  t.same(line('import a from "./b.js";'), ["banned crypto/a.ts:2"]);
  t.same(line('import a from "./b.mjs";'), ["banned crypto/a.ts:2"]);
  t.same(line('import a from "./b.ts";', "crypto/a.mjs"), ["banned crypto/a.mjs:2"], "an old Node reads no TypeScript");
  t.same(line('import a from "./b.mjs";', "crypto/a.mjs"), []);
  t.same(line("a.toSorted();"), ["banned crypto/a.ts:2"]);
  t.same(line("a.toSorted();", "crypto/a.test.ts"), []);
  t.same(line('return fail({ code: "NotSnake" });'), ["banned crypto/a.ts:2"]);
  t.same(line("assert(a > 0, `${a} is negative`);"), ["assertion crypto/a.ts:2"]);
  t.same(line("assert(\n  isFine(a, [b, c]), // it's (so\n  `${f(`${a}`)} is negative`,\n);"), ["assertion crypto/a.ts:2"]);
  t.same(line("assert(a > 0, `${a} is negative`);", "crypto/a.test.ts"), [], "a test may");
  t.same(line('assert(a > 0, "{} is negative", a);'), []);
  t.same(line('present(at(`a ${b}, c`, "),{}"),\n  "{} of {}",\n  f(a, b),\n  c,\n);'), []);
  t.same(line('assert(/[(]/.test(a), "open"); /* cut off'), [], "what cannot be read to its end is read as far as it goes");
  t.same(line('assert(a /* (, */ > 0, "{} is negative"); // (cut off'), ["assertion crypto/a.ts:2"]);
  t.same(line('assert(a > 0, "{} is negative");'), ["assertion crypto/a.ts:2"], "a place without a value");
  t.same(line('const b = present(a, "row {}", c, d);'), ["assertion crypto/a.ts:2"], "a value without a place");
  t.same(line('t.test("a", { skip: true }, () => {});', "crypto/a.test.ts"), ["banned crypto/a.test.ts:2"]);
  const thrown = { "crypto/a.ts": `${doc}throw new CodedError("disk_full", {});\n` };
  t.same(rulesOf(thrown), ["error-table crypto/a.ts:2"]);
  t.same(rulesOf({ ...thrown, "crypto/errors.ts": `${doc}const ERRORS = { disk_full: "make room" };\n` }), []);
});

t.test("the repository keeps its house rules", async (t) => {
  const paths = (await filesBelow(ROOT, FOLDERS)).filter((path) => /\.(ts|mjs|md|txt|json|toml)$/.test(path));
  const files = paths.map((path) => ({ path, text: readFileSync(join(ROOT, path), "utf8") }));
  t.ok(files.length > 200, `${files.length} files`);
  const topLevel = readdirSync(ROOT).filter((name) => name !== "node_modules" && name !== "dist" && name !== "coverage");
  const problems = tidyProblems(files, topLevel).map(({ rule, path, line, what }) => `${rule}: ${path}:${line}: ${what}`);
  t.equal(problems.join("\n"), "");
});

t.test("npm ci will take the lock: no package of another platform is missing from it", async (t) => {
  t.same(missingPackages(readLock(join(ROOT, "package-lock.json"))), [], "run: node testnet/checks/lock.ts");
  const wanting = {
    packages: {
      "": {},
      "node_modules/a": { dev: true, optionalDependencies: { "@a/core-linux-arm64-musl": "1.0.0", b: "^1.0.0" } },
    },
  };
  t.same(missingPackages(wanting), [{ name: "@a/core-linux-arm64-musl", version: "1.0.0", owner: "node_modules/a" }]);
  const complete = completeLock(wanting);
  t.same(missingPackages(complete), []);
  const entry = { version: "1.0.0", cpu: ["arm64"], dev: true, libc: ["musl"], optional: true, os: ["linux"] };
  t.same(complete, {
    packages: { "": {}, "node_modules/@a/core-linux-arm64-musl": entry, "node_modules/a": wanting.packages["node_modules/a"] },
  });
});

t.test("the digest of a test run names what failed and why, and nothing twice", async (t) => {
  const tap = [
    "TAP version 14",
    "# Subtest: crypto/a.test.ts",
    "    # Subtest: adds",
    "        ok 1 - one",
    "        not ok 2 - two",
    "          ---",
    "          diff: |",
    "            -2",
    "",
    "            +3",
    "          ...",
    "        1..2",
    "    not ok 1 - adds # time=3.1ms",
    "      ---",
    "      at: somewhere",
    "      ...",
    "    1..1",
    "not ok 1 - crypto/a.test.ts # time=500ms",
    "  ---",
    "  exitCode: 1",
    "  ...",
    "# Subtest: crypto/b.test.ts",
    "    ok 1 - fine",
    "    1..1",
    "ok 2 - crypto/b.test.ts # time=1234.5ms",
    "not ok 3 - crypto/c.test.ts # time=1ms",
    "  ---",
    "  signal: SIGTERM",
    "  ...",
    "1..3",
    "# { total: 7, pass: 2, fail: 4, skip: 1 }",
  ];
  const digest = new Digest();
  t.same(
    tap.map((line) => digest.line(line)).filter((line) => line !== undefined),
    [
      "not ok  crypto/a.test.ts > adds > two",
      "        diff: |",
      "          -2",
      "        ",
      "          +3",
      "ok      crypto/b.test.ts (1.2 s)",
      "not ok  crypto/c.test.ts",
      "        signal: SIGTERM",
      "# { total: 7, pass: 2, fail: 4, skip: 1 }",
    ],
  );
  t.same(digest.totals, { passed: 2, failed: 4 });
  t.equal(new Digest().totals, undefined, "a run that never ended has no totals");
});
