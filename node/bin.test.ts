/** The program as npm installs it, started as a process: on this Node, and on an older one where there is one. */

import { execFileSync, spawn } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
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
  for (const file of ["bin.mjs", "built.mjs"]) copyFileSync(join(ROOT, "node", file), join(directory, name, "node", file));
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

t.test("what was built runs as long as each source is as it was then; else, or if told so, the sources", async (t) => {
  const root = join(directory, "built");
  const program = programOf("built", "console.log('sources');\n", { withNode: false });
  mkdirSync(join(root, "dist", "node"), { recursive: true });
  writeFileSync(join(root, "dist", "node", "main.js"), "console.log('built');\n");
  writeFileSync(join(root, "package.json"), '{ "type": "module" }');
  const stampOf = (name: string): string => {
    const { size, mtimeMs } = statSync(join(root, name));
    return `${size} ${mtimeMs}`;
  };
  const stamp = (stamps: unknown): void =>
    writeFileSync(join(root, "dist", "node", "sources.json"), typeof stamps === "string" ? stamps : JSON.stringify(stamps));
  const ran = async (...environment: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await run("env", [...environment, process.execPath, program]);
    t.match({ code, stderr }, { code: 0, stderr: "" });
    return stdout.trim();
  };
  t.equal(await ran(), "sources", "nobody says what it was made of");
  stamp({ "node/main.ts": stampOf("node/main.ts") });
  t.equal(await ran(), "built");
  t.equal(await ran("PYRALOG_BUILT=off"), "sources");
  writeFileSync(join(root, "node", "main.ts"), "console.log('other');\n");
  t.equal(await ran(), "other", "a source was edited");
  stamp({ "node/main.ts": stampOf("node/main.ts"), "node/gone.ts": "1 1" });
  t.equal(await ran(), "other", "a source is gone");
  stamp("{");
  t.equal(await ran(), "other", "the list of sources was cut off");
});

t.test("npm run build makes a program that runs alone, and says when it cannot", async (t) => {
  const root = join(directory, "checkout");
  for (const folder of ["node", "chain", "circuits", "consensus", "contracts", "crypto", "native", "testnet"])
    cpSync(join(ROOT, folder), join(root, folder), { recursive: true, filter: (path) => !/\/(\.target|dist|fuzz)$/.test(path) });
  for (const file of ["package.json", "package-lock.json"]) copyFileSync(join(ROOT, file), join(root, file));
  const build = async (...environment: readonly string[]): Promise<Ended> =>
    await run("env", [...environment, process.execPath, join(root, "node", "build.mjs")]);

  t.match(await build(), { code: 1, stderr: /^build: esbuild is not installed.*The sources serve\.\n$/ });
  t.match(await build("npm_lifecycle_event=postinstall"), { code: 0, stderr: /esbuild is not installed/ }, "an install goes on");
  symlinkSync(join(ROOT, "node_modules"), join(root, "node_modules"));
  t.match(await build(), { code: 0, stderr: /^build: \d\.\d MB in \d+ ms\n$/ });
  t.match(await build(), { code: 0 }, "over the one before");
  t.same(readdirSync(join(root, "dist")), ["node"], "and leaves nothing beside it");
  const bin = join(root, "node", "bin.mjs");
  const { mtimeMs } = statSync(bin);
  utimesSync(join(root, "node", "main.ts"), Date.now(), Date.now() / 1000 + 60);
  t.match(await build(), { code: 1, stderr: /^build: node\/main\.ts was written meanwhile: build again\n$/ });
  utimesSync(join(root, "node", "main.ts"), mtimeMs / 1000, mtimeMs / 1000);

  rmSync(join(root, "node", "main.ts"));
  t.match(await run(process.execPath, [join(root, "node", "bin.mjs"), "--help"]), { code: 1 }, "it is not made of what is there");
  const built = join(root, "dist", "node");
  t.match(await run(process.execPath, [join(built, "main.js"), "--help"]), { code: 0, stdout: /pyralog/, stderr: "" });
  const script = `const { BACKEND_REPORT } = await import(${JSON.stringify(pathToFileURL(join(ROOT, "crypto/backend/backends.ts")).href)});
    console.log(BACKEND_REPORT.code);`;
  t.equal((await run(process.execPath, ["--input-type=module", "--eval", script])).stdout, "sources\n");
  writeFileSync(join(root, "node", "main.ts"), "const {");
  t.match(await build(), { code: 1, stderr: /^build: Build failed/ });
  t.ok(existsSync(join(built, "main.js")), "what was there before stays");
});
