/** Kills: processes on the machine's own disk, one after another, that end by SIGKILL whatever they are at. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { assert, present } from "../../crypto/base/assert.ts";
import { Random } from "../simulator/random.ts";
import { Ledger } from "./ledger.ts";

/** What to run. */
export type KillOptions = {
  readonly seed: string;
  readonly lives: number;
  readonly durability: "sync" | "lease";
  readonly onLife?: (life: number) => void;
};

/** What came of it. */
export type KillReport = {
  readonly lives: number;
  readonly given: bigint;
  readonly duplicates: bigint;
  readonly skipped: bigint;
};

/** A process lives at most so long after it has begun to issue. */
const LIFE_MS_MAX = 60;
const CHILD = fileURLToPath(new URL("testing/issue-forever.ts", import.meta.url));

/** Runs so many lives in a directory that is removed afterwards. */
export async function killCycles({ seed, lives, durability, onLife }: KillOptions): Promise<KillReport> {
  const path = await mkdtemp(join(tmpdir(), "pyralog-kills-"));
  const random = new Random(seed);
  const ledger = new Ledger();
  let next: ChildProcess | undefined;
  try {
    next = start(path, durability);
    for (let life = 0; life < lives; life += 1) {
      const child = present(next, "process");
      // The one after it loads in the meantime, and waits for its turn.
      next = life + 1 < lives ? start(path, durability) : undefined;
      const { given } = ledger;
      record(await liveOnce(child, random.between(0, LIFE_MS_MAX)), ledger);
      assert(ledger.given > given, `life ${life} was given nothing`);
      ledger.endLife();
      onLife?.(life + 1);
    }
  } finally {
    next?.kill("SIGKILL");
    await rm(path, { recursive: true, force: true });
  }
  return { lives, given: ledger.given, duplicates: ledger.duplicates, skipped: ledger.skipped };
}

function start(path: string, durability: string): ChildProcess {
  return spawn(process.execPath, [CHILD, path, durability], { stdio: ["pipe", "pipe", "inherit"] });
}

/** Lets it issue for so long, kills it, and returns what it had printed. */
async function liveOnce(child: ChildProcess, lifeMs: number): Promise<string> {
  const output = present(child.stdout ?? undefined, "output");
  const closed = once(child, "close") as Promise<[number | null, string | null]>;
  let text = "";
  const begun = Promise.withResolvers<void>();
  output.on("data", (piece: Buffer) => {
    text += piece.toString("latin1");
    begun.resolve();
  });
  child.once("exit", (code) => {
    if (code !== null) begun.reject(new Error(`the process ended by itself with ${code}`));
  });
  present(child.stdin ?? undefined, "input").write("go\n");
  await begun.promise;
  await new Promise((resolve) => setTimeout(resolve, lifeMs));
  child.kill("SIGKILL");
  const [code] = await closed;
  assert(code === null, `the process ended by itself with ${code}`);
  return text;
}

function record(text: string, ledger: Ledger): void {
  // A kill may leave a part of a last line: what it says was not told to anybody.
  const lines = text.split("\n").slice(0, -1);
  for (const line of lines) {
    const [name, first, count] = line.split(" ");
    ledger.add(present(name, "name"), { first: BigInt(present(first, "first")), count: Number(count) });
  }
}
