/** The files of the repository, as they are on disk. */

import { readdir } from "node:fs/promises";
import { join } from "node:path";

/** Folders that tools fill and nobody writes by hand. */
const NOT_OURS = new Set(["node_modules", "dist", "coverage", "home", "artifacts"]);

/** Every file below `folders` of `directory`, hidden ones left out, as sorted paths with slashes. */
export async function filesBelow(directory: string, folders: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  const left = [...folders];
  for (let folder = left.pop(); folder !== undefined; folder = left.pop()) {
    const entries = await readdir(join(directory, folder), { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      const path = `${folder}/${entry.name}`;
      if (entry.name.startsWith(".") || NOT_OURS.has(entry.name)) continue;
      if (entry.isDirectory()) left.push(path);
      else if (entry.isFile()) found.push(path);
    }
  }
  return found.toSorted();
}

/** The TypeScript files among them. */
export async function sourceFiles(directory: string, folders: readonly string[]): Promise<string[]> {
  return (await filesBelow(directory, folders)).filter((file) => file.endsWith(".ts"));
}
