/**
 * The run file: where a started node can be reached, for the tools beside it. Written once the node is up, removed
 * when it stops; after a crash it stays and names a process that is gone, which `readRunFile` tells.
 */

import { readFile } from "node:fs/promises";
import { z } from "zod";
import { parseUtf8 } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { placeFile, readFileBounded, unlinkIfThere } from "./files.ts";

const RUN_FILE_SIZE_BYTES_MAX = 64 * 1024;

const RUN_SCHEMA = z.strictObject({
  pid: z.int().min(1),
  /** Distinguishes the process from a later one of the same number; empty where the system does not tell. */
  processStart: z.string().max(64),
  startedAtMs: z.int().min(0),
  rpcUrl: z.string().max(512),
  peerId: z.string().max(256),
  listen: z.array(z.string().max(512)).max(64),
});

/** A node that runs, as its run file tells. */
export type RunFile = z.output<typeof RUN_SCHEMA>;

/** What a run file says: nothing, a node that runs, or one that went without saying goodbye. */
export type RunState =
  | { readonly kind: "none" }
  | { readonly kind: "running"; readonly run: RunFile }
  | { readonly kind: "stale"; readonly run: RunFile };

/** Writes the run file of this process. */
export async function writeRunFile(
  path: string,
  run: Pick<RunFile, "startedAtMs" | "rpcUrl" | "peerId" | "listen">,
): Promise<void> {
  const complete: RunFile = { pid: process.pid, processStart: (await processStart(process.pid)) ?? "", ...run };
  await placeFile(path, `${JSON.stringify(complete, undefined, 2)}\n`);
}

/** Removes the run file. */
export async function removeRunFile(path: string): Promise<void> {
  await unlinkIfThere(path);
}

/**
 * Reads a run file and checks that its process lives.
 *
 * @throws CodedError `run_file` when something else stands there
 */
export async function readRunFile(path: string): Promise<RunState> {
  const bytes = await readFileBounded(path, RUN_FILE_SIZE_BYTES_MAX);
  if (bytes === undefined) return { kind: "none" };
  const run = parseRunFile(bytes);
  if (run === undefined)
    throw new CodedError("run_file", { path, message: `${path} is not a run file; delete it if no node runs` });
  return (await isAlive(run)) ? { kind: "running", run } : { kind: "stale", run };
}

function parseRunFile(bytes: Uint8Array): RunFile | undefined {
  const text = parseUtf8(bytes);
  if (!text.ok) return undefined;
  try {
    const parsed = RUN_SCHEMA.safeParse(JSON.parse(text.value));
    return parsed.success ? parsed.data : undefined;
  } catch {
    // Not JSON: as wrong as JSON of another shape.
    return undefined;
  }
}

async function isAlive(run: RunFile): Promise<boolean> {
  try {
    process.kill(run.pid, 0);
  } catch (error) {
    // EPERM: alive, and somebody else's.
    if (codeOf(error) !== "EPERM") return false;
  }
  const start = await processStart(run.pid);
  return start === undefined || run.processStart === "" || start === run.processStart;
}

/** When a process started, in the kernel's ticks; `undefined` where `/proc` does not say. Source: proc(5), field 22. */
async function processStart(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    // The second field is the program's name in parentheses and may hold spaces.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // A zombie holds its number but does nothing any more.
    return fields[0] === "Z" ? "zombie" : fields[19];
  } catch {
    // No such process, or no such file system: the caller decides on the signal alone.
    return undefined;
  }
}
