/** What `build.mjs` made, and whether it is made of what the sources are now. Plain JavaScript: `bin.mjs` runs on any Node. */

import { readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Where it is made. */
export const BUILT = join(root, "dist", "node");

/** In there: of each source, by its path from the root of the project, its stamp. */
export const SOURCES = "sources.json";

/** Of a file, what changes when somebody writes it; `undefined` when there is none. */
export function stampOf(path) {
  const file = statSync(path, { throwIfNoEntry: false });
  return file === undefined ? undefined : `${file.size} ${file.mtimeMs}`;
}

/** Whether it is there, and each of its sources as it was then. About 3 ms. */
export function isCurrent() {
  let stamps;
  try {
    stamps = JSON.parse(readFileSync(join(BUILT, SOURCES), "utf8"));
  } catch (error) {
    // Never built, or not by us.
    if (error instanceof SyntaxError || error.code === "ENOENT") return false;
    throw error;
  }
  return Object.entries(stamps).every(([name, stamp]) => stampOf(join(root, name)) === stamp);
}
