/**
 * `npm run native`, and the last step of `npm ci`: builds the Rust addon when cargo is there.
 *
 * It never fails an install: without cargo, without a registry, or with a compiler that gives up, it says why, and the
 * portable back ends serve. It takes at most the limits below, and nothing at all when the sources are those of the
 * addon that is there. `PYRALOG_NATIVE=off` leaves it out.
 *
 * Plain JavaScript, because npm may run it with an old Node. It downloads through cargo alone, exactly what
 * `Cargo.lock` names.
 */

import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { access, constants, copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { delimiter, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

/**
 * Seconds for the crates to arrive, and for the compiler. On two idle cores they take a few, and about 40; what was
 * compiled until the limit is there for the next attempt.
 */
const FETCH_LIMIT_SECONDS = 60;
const BUILD_LIMIT_SECONDS = 480;

/** `--limit-seconds N` sets both. */
const { values } = parseArgs({ options: { "limit-seconds": { type: "string" } } });
const limitSeconds = values["limit-seconds"] === undefined ? undefined : Number(values["limit-seconds"]);

const here = dirname(fileURLToPath(import.meta.url));
const addonDirectory = join(here, ".addon");
const addonPath = join(addonDirectory, "pyralog-native.node");
const digestPath = join(addonDirectory, "sources");

/** Says something the way the rest of an install does: one line on standard error. */
function say(text) {
  process.stderr.write(`native: ${text}\n`);
}

/** Says why there is no addon, and what that means. */
function without(why) {
  say(`${why}. The portable back ends serve; \`pyralog status\` says so.`);
}

const started = Date.now();
await main();

async function main() {
  if (process.env.PYRALOG_NATIVE === "off") return without("not built, because of PYRALOG_NATIVE=off");
  if (!existsSync(join(here, "Cargo.toml"))) return;
  if (packageIsInstalled()) return say("the package for this platform serves");
  const digest = await digestOfSources();
  if (existsSync(addonPath) && (await readFile(digestPath, "utf8").catch(() => "")) === digest) return say("up to date");
  // An addon of older sources must not serve in the place of the one that is to be built.
  await rm(addonPath, { force: true });
  const cargo = await findCargo();
  if (cargo === undefined) return without("not built, because there is no cargo (https://rustup.rs installs it)");
  try {
    await build(cargo, digest);
    say(`built in ${Math.round((Date.now() - started) / 1000)} s`);
  } catch (error) {
    without(`not built: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** As published, the addon comes as a package of its own. */
function packageIsInstalled() {
  const require = createRequire(import.meta.url);
  return ["", "-gnu", "-musl"].some((libc) => {
    try {
      require.resolve(`@pyralog/native-${process.platform}-${process.arch}${libc}`);
      return true;
    } catch {
      return false;
    }
  });
}

/** The cargo on the path, or the one that rustup installs; and the platform that it compiles for. */
async function findCargo() {
  const directories = [...(process.env.PATH ?? "").split(delimiter), join(homedir(), ".cargo", "bin")];
  for (const directory of directories.filter((each) => each !== "")) {
    const cargo = join(directory, process.platform === "win32" ? "cargo.exe" : "cargo");
    const isThere = await access(cargo, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (!isThere) continue;
    // A rustup without a toolchain leaves a cargo that does nothing.
    const said = spawnSync(cargo, ["-vV"], { timeout: 10_000, encoding: "utf8", cwd: here });
    const host = /^host: (\S+)$/m.exec(said.stdout ?? "")?.[1];
    if (said.status === 0 && host !== undefined) return { path: cargo, host };
  }
  return undefined;
}

/** What the addon is made of and for. */
async function digestOfSources() {
  const hash = createHash("sha256").update(`${process.platform} ${process.arch}\n`);
  const left = [join(here, "addon"), join(here, "core")];
  const files = [".cargo/config.toml", "Cargo.toml", "Cargo.lock", "build.rs"].map((name) => join(here, name));
  for (let directory = left.pop(); directory !== undefined; directory = left.pop()) {
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) left.push(path);
      else files.push(path);
    }
  }
  for (const path of files.sort((a, b) => (a < b ? -1 : 1)))
    hash.update(`${relative(here, path)}\n`).update(await readFile(path));
  return hash.digest("hex");
}

async function build(cargo, digest) {
  say("fetching crates");
  // For this platform: the lock names crates of all others, too.
  await run(cargo.path, ["fetch", "--locked", "--target", cargo.host], FETCH_LIMIT_SECONDS, "the crates did not arrive");
  say("compiling the Rust addon, about a minute on two cores (PYRALOG_NATIVE=off leaves it out)");
  const messages = await run(
    cargo.path,
    // Offline, because everything has arrived: what is missing now must not be waited for.
    ["build", "--release", "--locked", "--offline", "--package", "pyralog-native", "--message-format=json-render-diagnostics"],
    BUILD_LIMIT_SECONDS,
    "the compiler failed",
  );
  const made = messages
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line))
    .filter(({ reason, target }) => reason === "compiler-artifact" && target.kind.includes("cdylib"))
    .flatMap(({ filenames }) => filenames)
    .find((name) => /\.(so|dylib|dll)$/.test(name));
  if (made === undefined) throw new Error("cargo does not say what it made");
  await mkdir(addonDirectory, { recursive: true });
  // A process that has loaded the old file keeps it: the name moves on to the new one.
  const fresh = join(addonDirectory, `fresh-${process.pid}.node`);
  await copyFile(made, fresh);
  const tried = spawnSync(process.execPath, ["-e", `require(${JSON.stringify(fresh)}).interfaceVersion()`], {
    timeout: 20_000,
    encoding: "utf8",
  });
  if (tried.status !== 0) {
    await rm(fresh, { force: true });
    throw new Error(`it does not load: ${tried.stderr.trim().split("\n").at(-1) ?? tried.signal}`);
  }
  await rename(fresh, addonPath);
  await writeFile(digestPath, digest);
}

/** Runs cargo with its progress shown. Its standard output, or an error that begins with `what`. */
function run(cargo, args, seconds, what) {
  const limit = limitSeconds ?? seconds;
  return new Promise((resolve, reject) => {
    const child = spawn(cargo, args, {
      cwd: here,
      stdio: ["ignore", "pipe", "inherit"],
      // A group of its own: when time is up the compilers end with it.
      detached: process.platform !== "win32",
      env: { CARGO_NET_RETRY: "1", CARGO_HTTP_TIMEOUT: "15", ...process.env },
    });
    const end = (signal) => {
      try {
        if (process.platform === "win32") child.kill(signal);
        else process.kill(-child.pid, signal);
      } catch {
        // It has ended by itself.
      }
    };
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      end("SIGKILL");
    }, limit * 1000);
    const stop = (signal) => {
      end(signal);
      process.exit(1);
    };
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, stop);
    const finish = (settle) => {
      clearTimeout(timer);
      for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.off(signal, stop);
      settle();
    };
    const output = [];
    child.stdout.on("data", (piece) => output.push(piece));
    child.on("error", (error) => finish(() => reject(new Error(`${what} (${error.message})`))));
    child.on("close", (code) =>
      finish(() => {
        if (isLate) reject(new Error(`${what} within ${limit} s`));
        else if (code === 0) resolve(Buffer.concat(output).toString("utf8"));
        else reject(new Error(`${what} (cargo's words are above)`));
      }),
    );
  });
}
