/**
 * The README's sessions, run as they stand: each line of each `sh session` block, in order, against a network that
 * `npm start` made.
 *
 * Only names of places differ: the network's directory and ports, so that a test disturbs nobody, and `npx pyralog`,
 * which is this checkout's own bin. A line whose comment says that it runs until Ctrl-C is left running; one whose
 * comment says `exits 1: CODE` must be refused with that code.
 */

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { freeBasePort } from "./network.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const BIN = join(ROOT, "node/bin.mjs");
const COMMAND_TIMEOUT_MS = 120_000;
const START_TIMEOUT_MS = 120_000;

/** The lines of all session blocks of the README, in order. */
function sessionLines(): readonly string[] {
  const readme = readFileSync(join(ROOT, "README.md"), "utf8");
  const blocks = [...readme.matchAll(/```sh session\n([\s\S]*?)```/g)].map((match) => present(match[1], "session"));
  return blocks.flatMap((block) => block.split("\n")).filter((line) => line.trim() !== "");
}

type Ended = { readonly code: number; readonly stdout: string; readonly stderr: string };

async function shell(line: string, directory: string): Promise<Ended> {
  return await new Promise((resolve) => {
    execFile("bash", ["-c", line], { cwd: directory, timeout: COMMAND_TIMEOUT_MS }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : typeof error.code === "number" ? error.code : -1, stdout, stderr });
    });
  });
}

/** Resolves with what a long-running command said once it is up. */
async function firstWords(running: ChildProcess): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let errors = "";
  running.stdout?.once("data", (data: Buffer) => resolve(data.toString()));
  running.stderr?.on("data", (data: Buffer) => (errors += data.toString()));
  running.once("exit", (code) => reject(new Error(`exited with ${code}: ${errors.slice(-2_000)}`)));
  const timeout = setTimeout(() => reject(new Error(`said nothing in time: ${errors.slice(-2_000)}`)), START_TIMEOUT_MS);
  try {
    return await promise;
  } finally {
    clearTimeout(timeout);
  }
}

/** Waits until the node of a home proves a head. */
async function hasBlocks(home: string, directory: string): Promise<boolean> {
  for (const endMs = performance.now() + START_TIMEOUT_MS; performance.now() < endMs;)
    if ((await shell(`"${process.execPath}" "${BIN}" status --home ${home}`, directory)).code === 0) return true;
  return false;
}

async function stop(running: ChildProcess): Promise<number | null> {
  if (running.exitCode !== null) return running.exitCode;
  const { promise, resolve } = Promise.withResolvers<number | null>();
  running.once("exit", resolve);
  running.kill("SIGINT");
  return await promise;
}

/** Command lines of processes that name a path. A process that went while we looked names nothing. */
function processesNaming(path: string): readonly string[] {
  const commands = readdirSync("/proc").flatMap((pid) => {
    try {
      return /^\d+$/.test(pid) ? [readFileSync(`/proc/${pid}/cmdline`, "utf8")] : [];
    } catch {
      return [];
    }
  });
  return commands.filter((command) => command.includes(path));
}

t.test("a stranger who copies the README's sessions line by line gets what it says", { timeout: 600_000 }, async (t) => {
  const lines = sessionLines();
  t.ok(lines.length >= 12, `${lines.length} lines`);
  const directory = mkdtempSync(join(tmpdir(), "pyralog-readme-"));
  const base = await freeBasePort();
  const running: ChildProcess[] = [];
  t.teardown(async () => {
    for (const process of running.toReversed()) await stop(process);
    rmSync(directory, { recursive: true });
  });
  const home = join(directory, "testnet/home");
  const start = spawn(process.execPath, [join(ROOT, "testnet/launcher/start.ts"), "--home", home, "--port", `${base}`], {
    cwd: directory,
    stdio: ["ignore", "pipe", "pipe"],
  });
  running.push(start);
  t.match(await firstWords(start), /runs tendermint; the first block came/, "npm start says that the network decides blocks");

  for (const written of lines) {
    const line = written
      .replaceAll("npx pyralog", `"${process.execPath}" "${BIN}"`)
      .replaceAll("26610", `${base + 10}`)
      .replaceAll("26690", `${base + 90}`);
    if (written.includes("# runs until Ctrl-C")) {
      const process = spawn("bash", ["-c", `exec ${line}`], { cwd: directory, stdio: ["ignore", "pipe", "pipe"] });
      running.push(process);
      t.match(await firstWords(process), /JSON-RPC/, written);
      t.ok(await hasBlocks(/--home (\S+)/.exec(line)?.[1] ?? "", directory), "it gets blocks, as who reads on slowly finds it");
      continue;
    }
    const ended = await shell(line, directory);
    const refusal = /# exits 1: (\w+)/.exec(written)?.[1];
    t.equal(ended.code, refusal === undefined ? 0 : 1, `${written}\n${ended.stdout}${ended.stderr}`);
    if (refusal !== undefined) t.ok(`${ended.stdout}${ended.stderr}`.includes(refusal), `${written} names ${refusal}`);
  }

  t.test("the proof file of the session convinces nobody once a byte of it is changed", async (t) => {
    const proof = readFileSync(join(directory, "order.proof"));
    t.ok(proof.length > 1_000);
    const verify = `"${process.execPath}" "${BIN}" verify bad.proof --network testnet/home/network.json --json`;
    const cut = await shell(`head -c ${proof.length - 1} order.proof > bad.proof; ${verify}`, directory);
    t.equal(cut.code, 1);
    t.match(JSON.parse(cut.stdout), { error: { code: String, message: String } });
  });

  t.test("Ctrl-C stops all of it and leaves no process", async (t) => {
    for (const process of running.toReversed()) t.equal(await stop(process), 0);
    t.same(processesNaming(directory), []);
  });
});
