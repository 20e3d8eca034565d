/**
 * How the addon comes about and is found: every way in which it can be missing has its name, and an install goes on
 * without it. What it answers is asked by `crypto/backend/conformance.test.ts`.
 *
 * Copies of this folder stand in temporary directories, with programs of ours in the place of cargo.
 */

import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import t from "tap";
import { loadNative, NATIVE_INTERFACE_VERSION } from "./addon.ts";

const HERE = dirname(fileURLToPath(import.meta.url));
const BUILT = join(HERE, ".addon", "pyralog-native.node");
const run = promisify(execFile);

/** A checkout with nothing in it but this folder, without what was built, and the names of package.json. */
async function checkout(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "pyralog-native-"));
  t.teardown(async () => await rm(root, { recursive: true, force: true }));
  const copied = (path: string): boolean => !/\/(\.target|\.addon|fuzz)$/.test(path);
  await cp(HERE, join(root, "native"), { recursive: true, filter: copied });
  await cp(join(HERE, "..", "package.json"), join(root, "package.json"));
  return root;
}

/** What `loadNative` says in that checkout. */
async function found(root: string, setting = ""): Promise<unknown> {
  const script = `const { loadNative } = await import(${JSON.stringify(pathToFileURL(join(root, "native", "addon.ts")).href)});
    const { kind, from, code, reason } = loadNative();
    console.log(JSON.stringify({ kind, from, code, reason }));`;
  const env = { ...process.env, PYRALOG_NATIVE: setting };
  return JSON.parse((await run(process.execPath, ["--input-type=module", "--eval", script], { env })).stdout);
}

/** Runs the build of that checkout with a shell script as the only cargo there is; what it says. It must exit with 0. */
async function build(
  root: string,
  cargo: string | undefined,
  options: { limitSeconds?: number; setting?: string } = {},
): Promise<string> {
  const path = join(root, "path");
  await mkdir(path, { recursive: true });
  if (cargo !== undefined) {
    const version = 'if [ "$1" = -vV ]; then echo host: this-one; exit 0; fi';
    await writeFile(join(path, "cargo"), `#!/bin/sh\necho "$@" >> ${root}/calls\n${version}\n${cargo}\n`, { mode: 0o755 });
  }
  const limit = options.limitSeconds === undefined ? [] : ["--limit-seconds", `${options.limitSeconds}`];
  const env = { PATH: `${path}:/usr/bin:/bin`, HOME: root, PYRALOG_NATIVE: options.setting ?? "" };
  return (await run(process.execPath, [join(root, "native", "build.mjs"), ...limit], { env })).stderr;
}

t.test("every way of not being there has a code and a reason", async (t) => {
  const root = await checkout();
  t.match(await found(root, "off"), { kind: "absent", code: "off", reason: "PYRALOG_NATIVE=off" });
  t.match(await found(root, "no"), { kind: "absent", code: "setting", reason: /"no"/ });
  t.match(await found(root), { kind: "absent", code: "missing", reason: /npm run native/ });

  const packageAt = join(
    root,
    "node_modules",
    "@pyralog",
    `native-${process.platform}-${process.arch}${process.platform === "linux" ? "-gnu" : ""}`,
  );
  await mkdir(packageAt, { recursive: true });
  await writeFile(join(packageAt, "index.js"), `exports.interfaceVersion = () => ${NATIVE_INTERFACE_VERSION};`);
  t.match(await found(root), { kind: "loaded", from: "package" });
  await writeFile(join(packageAt, "index.js"), `exports.interfaceVersion = () => ${NATIVE_INTERFACE_VERSION + 1};`);
  const reason = `the package has interface ${NATIVE_INTERFACE_VERSION + 1}, this code wants ${NATIVE_INTERFACE_VERSION}`;
  t.match(await found(root), { kind: "absent", code: "version", reason });
  await writeFile(join(packageAt, "index.js"), "exports.other = 1;");
  t.match(await found(root), { kind: "absent", code: "version" });

  await mkdir(join(root, "native", ".addon"));
  await writeFile(join(root, "native", ".addon", "pyralog-native.node"), "no library");
  const broken = await found(root);
  t.match(broken, { kind: "absent", code: "broken" }, "a build that does not load is told, and no package hides it");
  t.notMatch((broken as { readonly reason: string }).reason, root, "without a path of this machine");
});

t.test("Rust and TypeScript name the same version of the interface, and the packages that of the root", async (t) => {
  const source = await readFile(join(HERE, "addon", "lib.rs"), "utf8");
  t.match(source, `const INTERFACE_VERSION: u32 = ${NATIVE_INTERFACE_VERSION};`);
  const { version } = JSON.parse(await readFile(join(HERE, "..", "package.json"), "utf8")) as { version: string };
  const platforms = (await readdir(join(HERE, "npm"))).filter((name) => name !== "README.md");
  t.equal(platforms.length, 6);
  for (const platform of platforms) {
    const manifest: unknown = JSON.parse(await readFile(join(HERE, "npm", platform, "package.json"), "utf8"));
    t.match(manifest, { name: `@pyralog/native-${platform}`, version, main: "pyralog-native.node", license: "MIT" });
  }
  for (const crate of ["", "core/"]) t.match(await readFile(join(HERE, `${crate}Cargo.toml`), "utf8"), `version = "${version}"`);
});

t.test("an install without the addon says why, and goes on", async (t) => {
  const root = await checkout();
  t.match(await build(root, undefined), /not built, because there is no cargo.*The portable back ends serve/);
  t.match(await build(root, "exit 1", { setting: "off" }), /because of PYRALOG_NATIVE=off/);
  t.match(
    await build(root, 'echo "no route to the registry" >&2; exit 101'),
    /no route to the registry\n.*the crates did not arrive/,
  );
  t.match(
    await build(root, '[ "$1" = fetch ] && exit 0; echo "error[E0308]" >&2; exit 101'),
    /error\[E0308\]\n.*the compiler failed/,
  );
  t.match(
    await build(root, '[ "$1" = fetch ] && exit 0; echo "{\\"reason\\":\\"build-finished\\"}"'),
    /does not say what it made/,
  );
  t.match(await found(root), { kind: "absent", code: "missing" });
  const calls = await readFile(join(root, "calls"), "utf8");
  t.match(calls, /^fetch --locked --target this-one$/m, "crates are the ones of the lock file");
  t.match(calls, /^build --release --locked --offline/m, "and the compiler waits for no network");
});

t.test("a cargo that hangs is ended, with the processes that it started", async (t) => {
  const root = await checkout();
  // The child writes a line again and again, for some minutes.
  const child = `for line in $(seq 2000); do echo alive >> ${root}/alive; sleep 0.1; done`;
  const said = await build(root, `( ${child} ) & wait`, { limitSeconds: 1 });
  t.match(said, /the crates did not arrive within 1 s/);
  const written = async (): Promise<number> => (await stat(join(root, "alive")).catch(() => undefined))?.size ?? 0;
  const isQuiet = async (): Promise<boolean> => {
    const before = await written();
    await new Promise((resolve) => void setTimeout(resolve, 2000));
    return (await written()) === before;
  };
  let isOver = await isQuiet();
  for (let looks = 0; looks < 10 && !isOver; looks += 1) isOver = await isQuiet();
  t.ok(isOver, "its child as well");
});

t.test("what cargo made is tried, kept, and made again only when the sources change", async (t) => {
  const root = await checkout();
  const cargo = (library: string): string =>
    `[ "$1" = fetch ] && exit 0
    echo '{"reason":"compiler-artifact","target":{"kind":["cdylib"]},"filenames":["${library}"]}'`;
  await writeFile(join(root, "lib.so"), "no library");
  t.match(await build(root, cargo(join(root, "lib.so"))), /it does not load/);
  t.match(await found(root), { kind: "absent", code: "missing" }, "what does not load is not kept");

  const here = loadNative();
  if (here.kind === "loaded" ? here.from !== "build" : here.code !== "off" || !(await isThere(BUILT))) {
    // No cargo has built one here (the report of the back ends says why): what follows needs a library that loads.
    t.comment("nothing is built here");
    return;
  }
  await cp(BUILT, join(root, "lib.so"));
  t.match(await build(root, cargo(join(root, "lib.so"))), /built in \d+ s/);
  t.match(await found(root), { kind: "loaded", from: "build" });
  await rm(join(root, "calls"));
  t.match(await build(root, cargo(join(root, "lib.so"))), /up to date/);
  t.notOk((await readdir(root)).includes("calls"), "cargo was not even asked for its version");
  await writeFile(join(root, "native", "core", "src", "lib.rs"), "// other sources\n");
  t.match(await build(root, "exit 101"), /not built/);
  t.match(await found(root), { kind: "absent", code: "missing" }, "an addon of other sources does not stay");
});

async function isThere(path: string): Promise<boolean> {
  return (await readdir(dirname(path)).catch((): string[] => [])).includes("pyralog-native.node");
}
