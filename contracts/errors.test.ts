/** The table of refusals and the code agree: no code without its explanation, no explanation of a code that is gone. */

import { readdirSync, readFileSync } from "node:fs";
import t from "tap";
import { isRefusalCode, REFUSALS } from "../chain/block/errors.ts";

const ROOT = new URL("../", import.meta.url);
/** Where refusals are made. */
const FOLDERS = ["chain/block/", "chain/mempool/", "contracts/", "contracts/staking/"];
/** Parts of other folders that refuse with codes of the table. */
const FILES = [
  "crypto/codec/reader.ts",
  "chain/state/executor.ts",
  "chain/ledger/ledger.ts",
  "chain/ledger/rules.ts",
  "node/intake/intake.ts",
];
/** Thrown when the world fails, not refused. */
const THROWN = new Set(["state_corrupt"]);

function sources(folder: string): readonly string[] {
  return readdirSync(new URL(folder, ROOT))
    .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts") && name !== "errors.ts")
    .map((name) => folder + name);
}

function codesIn(path: string): readonly string[] {
  const text = readFileSync(new URL(path, ROOT), "utf8");
  return [...text.matchAll(/"([a-z]+(?:_[a-z0-9]+)+)"/g)].map((match) => match[1] ?? "");
}

t.test("every code that block, contracts and mempool refuse with is explained, and every explained one is used", (t) => {
  const paths = FOLDERS.flatMap(sources);
  t.ok(paths.length >= 20, `${paths.length} files read`);
  for (const path of paths) {
    for (const code of codesIn(path)) t.ok(isRefusalCode(code) || THROWN.has(code), `${path}: ${code}`);
  }
  const used = new Set([...paths, ...FILES].flatMap(codesIn));
  for (const code of Object.keys(REFUSALS)) t.ok(used.has(code), `${code} is used`);
  t.notOk(isRefusalCode("toString"), "what every object has is no code");
  t.end();
});

t.test("each explanation says something, in one plain line", (t) => {
  for (const [code, { meaning, action }] of Object.entries(REFUSALS)) {
    t.match(code, /^[a-z]+(_[a-z]+)+$/);
    for (const text of [meaning, action]) t.ok(text.length >= 7 && text.length < 140 && !text.endsWith("."), `${code}: ${text}`);
  }
  t.end();
});
