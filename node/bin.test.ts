/** The program as npm installs it, started as a process: on this Node, and on an older one where there is one. */

import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const BIN = join(ROOT, "node", "bin.mjs");
const directory = mkdtempSync(join(tmpdir(), "pyralog-bin-"));
t.teardown(() => rmSync(directory, { recursive: true, force: true }));

type Ended = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

/** Starts a script, sends what `act` sends, and waits for the end. */
async function run(
  node: string,
  args: readonly string[],
  act: (kill: (signal: NodeJS.Signals) => void, said: string) => void = () => {},
): Promise<Ended> {
  // An older Node does not know the options that the test runner sets for its children.
  const child = spawn("env", ["-u", "NODE_OPTIONS", node, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (piece: string) => {
    stdout += piece;
    act((signal) => child.kill(signal), stdout);
  });
  child.stderr.setEncoding("utf8").on("data", (piece: string) => (stderr += piece));
  return await new Promise((resolve) => child.once("close", (code) => resolve({ code, stdout, stderr })));
}

/** A Node of the machine that is too old to run us, if it has one. */
function olderNode(): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter).filter((folder) => !folder.includes("node_modules"));
  const nodes = folders.map((folder) => join(folder, "node")).filter((node) => existsSync(node));
  return nodes.find(
    (node) =>
      Number(/^v(\d+)/.exec(execFileSync("env", ["-u", "NODE_OPTIONS", node, "--version"], { encoding: "utf8" }))?.[1]) < 24,
  );
}

/** Our bin beside a `main.ts` of the test's own, with or without the Node that npm installs. */
function programOf(name: string, main: string, options: { readonly withNode: boolean }): string {
  mkdirSync(join(directory, name, "node"), { recursive: true });
  copyFileSync(BIN, join(directory, name, "node", "bin.mjs"));
  writeFileSync(join(directory, name, "node", "main.ts"), main);
  if (options.withNode) symlinkSync(join(ROOT, "node_modules"), join(directory, name, "node_modules"));
  return join(directory, name, "node", "bin.mjs");
}

const ECHO =
  "const seen: string[] = process.argv.slice(2);\nconsole.log(JSON.stringify(seen), process.versions.node);\nprocess.exitCode = 7;\n";
const WAIT = 'process.on("SIGTERM", () => process.exit(9));\nsetInterval(() => {}, 1000);\nconsole.log("waiting");\n';

t.test("the program answers --help with 0 and nonsense with 2", async (t) => {
  const help = await run(process.execPath, [BIN, "--help"]);
  t.match(help, { code: 0, stdout: /pyralog/, stderr: "" });
  t.match(await run(process.execPath, [BIN, "no-such-verb"]), { code: 2, stdout: "" });
});

t.test("arguments go in and the exit code comes out, whichever Node starts it", async (t) => {
  const program = programOf("echo", ECHO, { withNode: true });
  for (const node of [process.execPath, olderNode() ?? process.execPath]) {
    const ended = await run(node, [program, "a b", "--x=*", ""]);
    t.match(ended, { code: 7, stdout: /^\["a b","--x=\*",""\] (2[4-9]|[3-9]\d)\./, stderr: "" }, node);
  }
});

t.test("a signal to it reaches the program, whichever Node started it", async (t) => {
  const program = programOf("wait", WAIT, { withNode: true });
  for (const node of [process.execPath, olderNode() ?? process.execPath]) {
    const ended = await run(node, [program], (kill, said) => {
      if (said.includes("waiting")) kill("SIGTERM");
    });
    t.equal(ended.code, 9, node);
  }
});

t.test("without a Node that is new enough it says what to do, and exits with 2", async (t) => {
  const node = olderNode();
  if (node === undefined) return t.pass("this machine has no older Node");
  const ended = await run(node, [programOf("alone", ECHO, { withNode: false })]);
  t.match(ended, { code: 2, stdout: "", stderr: /needs Node 24 or newer and runs on \d+[^]*npm ci/ });
});

t.test(
  "a node that is to stay begins again with the memory settings of one, in the same process; other verbs do not",
  async (t) => {
    const SHOW =
      'console.log(JSON.stringify({ pid: process.pid, parent: process.ppid, flags: process.execArgv.join(" "), arenas: process.env.MALLOC_ARENA_MAX, environment: Object.fromEntries(Object.entries(process.env).filter(([name]) => /^(MALLOC|GLIBC)_/.test(name))), argv: process.argv.slice(2) }));\n';
    const program = programOf("memory", SHOW, { withNode: true });
    type Shown = {
      readonly pid: number;
      readonly parent: number;
      readonly flags: string;
      readonly arenas?: string;
      readonly environment: Readonly<Record<string, string>>;
      readonly argv: readonly string[];
    };
    const show = async (node: string, ...args: readonly string[]): Promise<Shown> => {
      const { code, stdout, stderr } = await run(node, [...args.slice(0, -1), program, ...args.slice(-1)]);
      t.match({ code, stderr }, { code: 0, stderr: "" });
      return JSON.parse(stdout) as Shown;
    };
    for (const verb of ["start", "join"]) {
      const shown = await show(process.execPath, verb);
      t.match(shown, { flags: /--max-semi-space-size=\d+/, arenas: "2", argv: [verb] });
      t.equal(shown.parent, process.pid, "no process of ours stands between");
    }
    t.match(await show(olderNode() ?? process.execPath, "start"), { flags: /--max-semi-space-size=\d+/, arenas: "2" });
    const { environment } = await show(process.execPath, "start");
    const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { readonly scripts: { bench: string } };
    t.ok(Object.keys(environment).length >= 3);
    for (const [name, value] of Object.entries(environment))
      t.match(scripts.bench, `${name}=${value} `, "what is measured has the same");
    const chosen = await show(process.execPath, "--max-semi-space-size=4", "start");
    t.equal(chosen.flags, "--max-semi-space-size=4", "what the operator decided stands");
    const status = await show(process.execPath, "status");
    t.equal(status.flags, "");
    t.equal(status.arenas, process.env["MALLOC_ARENA_MAX"]);
  },
);
