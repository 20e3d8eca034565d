/**
 * `npm run build`, and a step of `npm ci`: puts the program into `dist/node`, a few files instead of eleven hundred. With
 * `--if-stale` only when the sources are no longer those that it was made of.
 *
 * ```
 *   main.ts, driver/searcher-worker.ts, and all that they import --esbuild--> dist/node/*.js
 *   which sources, and as they were then ----------------------------------> dist/node/sources.json
 * ```
 *
 * `bin.mjs` runs `dist/node` as long as the sources are those that it was made of, and else the sources: nobody runs anything
 * but what he reads. What is published is this. Why: `decisions/0001-built-when-it-is-current.md`.
 *
 * Plain JavaScript, because npm may run it with an old Node. It fails no install: without it the sources serve.
 */

import { statSync } from "node:fs";
import { rename, rm, writeFile } from "node:fs/promises";
import { dirname, join, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { BUILT, isCurrent, SOURCES, stampOf } from "./built.mjs";

const REPLACE_ATTEMPTS_MAX = 10;

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(here);

/** What imports of the program's own that are no code: who changes them changes the program. */
const OTHER_SOURCES = ["package-lock.json", "node/build.mjs", "node/built.mjs"];

/**
 * `node:http` without a face for `import`, for which Node asks for each of its exports, WebSocket among them, and so loads its
 * whole HTTP client for browsers' sake (14 MB of an empty process, and 26 ms).
 */
const http = {
  name: "http",
  setup(build) {
    build.onResolve({ filter: /^(node:)?http$/ }, ({ kind }) =>
      kind === "require-call" ? undefined : { path: "http", namespace: "without-face" },
    );
    build.onLoad({ filter: /.*/, namespace: "without-face" }, () => ({
      contents: 'module.exports = process.getBuiltinModule("node:http");',
    }));
  },
};

/** Says something the way the rest of an install does: one line on standard error. */
function say(text) {
  process.stderr.write(`build: ${text}\n`);
}

/** Builds into a directory beside `dist/node` and then lets that take its place. Returns the bytes of the files. */
async function build(esbuild, startedMs) {
  const fresh = `${BUILT}.${process.pid}`;
  try {
    const { metafile } = await esbuild.build({
      absWorkingDir: root,
      entryPoints: { main: join(here, "main.ts"), "searcher-worker": join(here, "driver", "searcher-worker.ts") },
      outdir: fresh,
      bundle: true,
      splitting: true,
      format: "esm",
      platform: "node",
      target: "node24",
      // Found by its place in `node_modules`: it brings a binary.
      external: ["classic-level"],
      plugins: [http],
      // Names stay: they are in traces of errors. What people read is the sources.
      minifyWhitespace: true,
      sourcemap: true,
      sourcesContent: false,
      legalComments: "none",
      metafile: true,
      logLevel: "silent",
      // For the packages inside that are no modules.
      banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
    });
    const own = Object.keys(metafile.inputs).filter((name) => !/^without-face:|(^|\/)node_modules\//.test(name));
    const stamp = {};
    for (const name of [...own, ...OTHER_SOURCES].sort()) {
      // Whether before or after it was read, nobody knows.
      if (statSync(join(root, name)).mtimeMs >= startedMs) throw new Error(`${name} was written meanwhile: build again`);
      stamp[name] = stampOf(join(root, name));
    }
    await writeFile(join(fresh, SOURCES), `${JSON.stringify(stamp, undefined, 1)}\n`);
    await takePlace(fresh);
    const code = Object.entries(metafile.outputs).filter(([name]) => name.endsWith(".js"));
    return code.reduce((sum, [, { bytes }]) => sum + bytes, 0);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}

/** Between two renames there is nothing, and the sources serve whoever starts just then. Of two builds at once the last one stays. */
async function takePlace(fresh) {
  const before = `${fresh}.before`;
  for (let attempt = 1; ; attempt += 1) {
    try {
      await rename(BUILT, before);
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
    await rm(before, { recursive: true, force: true });
    try {
      return await rename(fresh, BUILT);
    } catch (error) {
      if (attempt === REPLACE_ATTEMPTS_MAX || !["ENOTEMPTY", "EEXIST"].includes(error.code)) throw error;
    }
  }
}

async function main() {
  // As published there are no sources, and this is what it was built from.
  if (here.includes(`${sep}node_modules${sep}`)) return;
  // Beside nodes that run it is not made again without need: they load parts of it when they need them.
  if (process.argv.includes("--if-stale") && isCurrent()) return;
  const started = Date.now();
  try {
    const sizeBytes = await build(await import("esbuild"), started);
    say(`${(sizeBytes / 1e6).toFixed(1)} MB in ${Date.now() - started} ms`);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    say(
      error?.code === "ERR_MODULE_NOT_FOUND" ? "esbuild is not installed (npm ci without --omit=dev). The sources serve." : why,
    );
    if (process.env.npm_lifecycle_event !== "postinstall") process.exitCode = 1;
  }
}

await main();
