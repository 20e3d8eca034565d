/**
 * `npm run explorer`: bundles the page into `dist/`, which every node serves and any static host can.
 *
 * ```
 *   app/main.ts, app/style.css --esbuild--> assets/main-HASH.js, assets/style-HASH.css, each with its .br and .gz
 *   app/index.html --names filled in--> index.html
 * ```
 *
 * The same sources give the same bytes: nothing of the machine, the path or the time goes in. `STAMP` names what went
 * in, so that `isFresh` can tell without building.
 */

import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build, type BuildResult } from "esbuild";
import { codeOf, CodedError } from "../../crypto/base/error.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const APP = fileURLToPath(new URL("./app/", import.meta.url));

/** Where the page is built to. Ignored by git, and part of what is published. */
export const DIST_PATH: string = fileURLToPath(new URL("./dist", import.meta.url));

/** Of the folder that is built into, what went in: input files and their hashes, and a hash over the builder itself. */
const STAMP = "inputs.json";

/** What browsers must know: those of 2024 and later, for `light-dark()`, `AbortSignal.any` and `Promise.withResolvers`. */
const TARGET = "es2023";

/** What was built. Sizes are those that a visitor loads, all files together. */
export type BuiltPage = {
  readonly files: readonly { readonly name: string; readonly sizeBytes: number; readonly compressedBytes: number }[];
  readonly sizeBytes: number;
  readonly compressedBytes: number;
};

/**
 * Builds the page.
 *
 * @throws CodedError `page_build` when the sources do not bundle
 */
export async function buildPage(directory: string = DIST_PATH): Promise<BuiltPage> {
  const bundled = await bundle();
  const page = await readFile(join(APP, "index.html"), "utf8");
  const outputs = new Map<string, Uint8Array>();
  const names = new Map<string, string>();
  for (const { path, contents } of bundled.outputFiles ?? []) {
    const name = `assets/${relative(join(ROOT, "out", "assets"), path)}`;
    outputs.set(name, contents);
    names.set(name.endsWith(".css") ? "%STYLE%" : "%SCRIPT%", `./${name}`);
  }
  outputs.set("index.html", new TextEncoder().encode(page.replaceAll(/%[A-Z]+%/g, (mark) => names.get(mark) ?? mark)));
  const inputs = await inputsOf(Object.keys(bundled.metafile?.inputs ?? {}));
  return await write(directory, outputs, inputs);
}

async function bundle(): Promise<BuildResult> {
  try {
    return await build({
      absWorkingDir: ROOT,
      entryPoints: { main: join(APP, "main.ts"), style: join(APP, "style.css") },
      entryNames: "[name]-[hash]",
      outdir: join(ROOT, "out", "assets"),
      bundle: true,
      write: false,
      metafile: true,
      format: "esm",
      platform: "browser",
      target: TARGET,
      minify: true,
      charset: "utf8",
      legalComments: "none",
      logLevel: "silent",
      // The page must not ask what it runs on, beyond what the code itself does.
      define: { "process.env.NODE_ENV": '"production"' },
    });
  } catch (cause) {
    throw new CodedError(
      "page_build",
      { message: `the explorer does not bundle: ${cause instanceof Error ? cause.message : ""}` },
      { cause },
    );
  }
}

/** Writes beside the directory, then takes its place: a node that reads meanwhile sees one page or the other. */
async function write(directory: string, outputs: ReadonlyMap<string, Uint8Array>, inputs: string): Promise<BuiltPage> {
  const fresh = `${directory}.${process.pid}`;
  await rm(fresh, { recursive: true, force: true });
  await mkdir(join(fresh, "assets"), { recursive: true });
  const files: BuiltPage["files"][number][] = [];
  for (const [name, bytes] of [...outputs].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const brotli = brotliCompressSync(bytes, {
      params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
    });
    await writeFile(join(fresh, name), bytes);
    await writeFile(join(fresh, `${name}.br`), brotli);
    await writeFile(join(fresh, `${name}.gz`), gzipSync(bytes, { level: 9 }));
    files.push({ name, sizeBytes: bytes.length, compressedBytes: brotli.length });
  }
  await writeFile(join(fresh, STAMP), inputs);
  await replace(directory, fresh);
  const sum = (of: (file: BuiltPage["files"][number]) => number): number => files.reduce((total, file) => total + of(file), 0);
  return { files, sizeBytes: sum(({ sizeBytes }) => sizeBytes), compressedBytes: sum(({ compressedBytes }) => compressedBytes) };
}

/** Two may build at once, as when two networks are started: the last one to finish wins, and both have built the same. */
async function replace(directory: string, fresh: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    await rm(directory, { recursive: true, force: true });
    try {
      await rename(fresh, directory);
      return;
    } catch (error) {
      if (attempt === REPLACE_ATTEMPTS_MAX || !["ENOTEMPTY", "EEXIST"].includes(codeOf(error))) throw error;
    }
  }
}

const REPLACE_ATTEMPTS_MAX = 10;

/** Input files with the hash of each, as text that changes with any of them. */
async function inputsOf(names: readonly string[]): Promise<string> {
  const own = [join(APP, "index.html"), fileURLToPath(import.meta.url)].map((path) => relative(ROOT, path));
  const hashes: Record<string, string> = {};
  for (const name of [...new Set([...names, ...own])].toSorted((a, b) => (a < b ? -1 : 1)))
    hashes[name] = createHash("sha256")
      .update(await readFile(join(ROOT, name)))
      .digest("hex");
  return `${JSON.stringify(hashes, undefined, 1)}\n`;
}

/** Whether the page is built from what the sources are now. */
export async function isFresh(directory: string = DIST_PATH): Promise<boolean> {
  try {
    const stamp = await readFile(join(directory, STAMP), "utf8");
    const names = Object.keys(JSON.parse(stamp) as Record<string, string>);
    const built = await readdir(join(directory, "assets"));
    return built.length > 0 && (await inputsOf(names)) === stamp;
  } catch (error) {
    // Not built, built from files that are gone, or not by us: build.
    if (error instanceof SyntaxError || codeOf(error) === "ENOENT") return false;
    throw error;
  }
}

/** Builds the page unless it is fresh. Quick: under a second. */
export async function ensurePage(): Promise<void> {
  await mkdir(dirname(DIST_PATH), { recursive: true });
  if (!(await isFresh())) await buildPage();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { files, compressedBytes } = await buildPage();
  const lines = files.map(
    ({ name, sizeBytes, compressedBytes: small }) =>
      `  ${name.padEnd(32)} ${String(sizeBytes).padStart(8)}  ${String(small).padStart(8)}`,
  );
  process.stdout.write(
    `${[`testnet/explorer/dist (bytes, compressed)`, ...lines, `${compressedBytes} bytes compressed in all`].join("\n")}\n`,
  );
}
