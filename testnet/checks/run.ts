/** Running the tools of the repository as processes, on the Node that runs this. */

import { spawn } from "node:child_process";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The root of the repository. */
export const ROOT: string = fileURLToPath(new URL("../..", import.meta.url));

/** How a tool ended. `code` is 128 + the signal's number, as in a shell, when a signal ended it. */
export type Outcome = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** A tool: a script of `node_modules`, its arguments, and where it runs. */
export type Tool = {
  /** Below `node_modules`. */
  readonly script: string;
  readonly arguments: readonly string[];
  /** Default: the root. */
  readonly directory?: string;
  /** Hears of each piece of standard output as it comes. */
  readonly onOutput?: (piece: string) => void;
  /** `inherit` lets standard error through as it comes; it is then not in the outcome. */
  readonly stderr?: "inherit" | "pipe";
};

/** Runs a tool to its end. */
export async function runTool(tool: Tool): Promise<Outcome> {
  const script = join(ROOT, "node_modules", tool.script);
  // Below tap, NODE_OPTIONS holds its hook for every process that is started, and it puts it back when it is taken out
  // here; some tools cannot start with it. `env` takes it out after tap has looked.
  const child = spawn(
    "env",
    [...(process.env["TAP"] === "1" ? ["-u", "NODE_OPTIONS"] : []), process.execPath, script, ...tool.arguments],
    {
      cwd: tool.directory ?? ROOT,
      env: toolEnvironment(),
      stdio: ["ignore", "pipe", tool.stderr ?? "pipe"],
    },
  );
  let [stdout, stderr] = ["", ""];
  child.stdout?.setEncoding("utf8").on("data", (piece: string) => {
    stdout += piece;
    tool.onOutput?.(piece);
  });
  child.stderr?.setEncoding("utf8").on("data", (piece: string) => {
    stderr += piece;
  });
  return await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code: code ?? (signal === "SIGINT" ? 130 : 143), stdout, stderr }));
  });
}

/** Whatever a tool starts by the name `node` is the Node of this repository, and code that was parsed once stays parsed. */
function toolEnvironment(): NodeJS.ProcessEnv {
  return {
    ...process.env,
    PATH: `${join(ROOT, "node_modules", ".bin")}${delimiter}${process.env["PATH"] ?? ""}`,
    NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"] ?? join(ROOT, "node_modules", ".cache", "node"),
  };
}
