/**
 * Every engine as real processes: one workload, a SIGKILL half-way, a node that joins, and the same application state.
 */

import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import t from "tap";
import { ENGINE_NAMES } from "../../chain/block/protocol.ts";

const PROGRAM = fileURLToPath(new URL("./engines.ts", import.meta.url));
const START = fileURLToPath(new URL("./start.ts", import.meta.url));
const run = promisify(execFile);

type Report = {
  readonly ok: boolean;
  readonly engines: readonly {
    readonly engine: string;
    readonly nodes: number;
    readonly transactions: number;
    readonly isSameStateRoot: boolean;
    readonly applicationRoot: string;
  }[];
};

t.setTimeout(900_000);

t.test("one workload gives one application state under all five engines, through a kill -9 and a join", async (t) => {
  const { stdout } = await run(process.execPath, [PROGRAM, "--transactions", "40", "--json"], { timeout: 880_000 });
  const report = JSON.parse(stdout) as Report;
  t.ok(report.ok);
  t.same(
    report.engines.map(({ engine }) => engine),
    ENGINE_NAMES,
  );
  for (const { engine, nodes, transactions, isSameStateRoot } of report.engines) {
    t.same({ nodes, transactions, isSameStateRoot }, { nodes: 5, transactions: 40, isSameStateRoot: true }, engine);
  }
  t.equal(new Set(report.engines.map(({ applicationRoot }) => applicationRoot)).size, 1);
});

t.test("a network that could not be safe is refused with the reason, and leaves nothing behind", async (t) => {
  const home = t.testdir({});
  const refusalOf = async (...argv: readonly string[]): Promise<string> => {
    const failed = await run(process.execPath, [START, "--home", `${home}/net`, "--port", "29000", ...argv]).catch(
      (error: unknown) => error as { readonly stderr: string },
    );
    return failed.stderr;
  };
  t.match(await refusalOf("--engine", "pbft", "--validators", "3"), /validators: fewer than 4 tolerate no fault/);
  t.match(await refusalOf("--engine", "raft", "--validators", "2"), /validators: fewer than 3 stop when one does/);
  t.match(await refusalOf("--engine", "paxos"), /engine_unknown: --engine must be one of tendermint, raft, pbft, pow, pos/);
  t.match(await refusalOf("--validators", "0"), /validators_invalid/);
  for (const count of ["nope", "0", "1.5"]) {
    const failed = await run(process.execPath, [PROGRAM, "--transactions", count]).catch(
      (error: unknown) => error as { readonly stderr: string },
    );
    t.match(failed.stderr, /transactions_invalid/, `${count} transactions would compare nothing`);
  }
});
