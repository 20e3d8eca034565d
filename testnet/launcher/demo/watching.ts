/** Whoever watches the network from outside: light clients, auditors that come once, and one that stays. */

import { join } from "node:path";
import { assert } from "../../../crypto/base/assert.ts";
import type { LocalNode } from "../network.ts";
import type { Fields, Program, RunningProgram } from "./program.ts";
import { offline, type Stage } from "./stage.ts";

/** Other nodes that must show the same header before a light client believes it. */
const WITNESSES = 2;

function urlsOf(nodes: readonly LocalNode[]): string {
  return nodes.map(({ rpcUrl }) => rpcUrl).join(",");
}

/**
 * Follows the head with what was trusted the last time, if there was one; the height that it comes to, straight from the one
 * before.
 */
export async function skipToHead(stage: Stage): Promise<bigint> {
  const { program, network, directory } = stage;
  const trust = ["--trust", join(directory, "light.trust"), "--witnesses", `${WITNESSES}`];
  const { event, height, witnesses } = await program.tell(
    "light",
    "--once",
    "--rpc",
    urlsOf(network.nodes),
    ...trust,
    ...offline(stage),
  );
  assert(event === "head", `a head, not ${String(event)}`);
  const says = (witnesses as readonly Fields[]).map((witness) => witness["says"]);
  assert(says.filter((word) => word === "agrees").length >= WITNESSES, `witnesses say ${says.join(", ")}`);
  return BigInt(String(height));
}

/** Starts an auditor of these nodes, that executes every block and goes on. */
export function startAuditor(stage: Stage, nodes: readonly LocalNode[]): RunningProgram {
  const { program, directory } = stage;
  return program.start("audit", "--follow", "--rpc", urlsOf(nodes), "--state", join(directory, "auditor"), ...offline(stage));
}

/** Lets it come to `height`, stops it, and gives how many blocks it audited; 0 when it had anything to tell. */
export async function stopAuditor(auditor: RunningProgram, height: bigint): Promise<number> {
  const reached = ({ event, height: at }: Fields): boolean => event === "audited" && BigInt(String(at)) >= height;
  await auditor.until((lines) => lines.some(reached));
  const code = await auditor.stop();
  const alerts = auditor.lines.filter(({ event }) => event !== "audited");
  for (const alert of alerts) process.stderr.write(`the auditor: ${JSON.stringify(alert)}\n`);
  if (code !== 0 || alerts.length > 0) return 0;
  return auditor.lines.reduce((sum, { blocks }) => sum + Number(blocks), 0);
}

/** Runs `pyralog audit` on each node, two at a time; how many found nothing. */
export async function auditAll(program: Program, nodes: readonly LocalNode[], networkPath: string): Promise<number> {
  const queue = [...nodes];
  let passed = 0;
  const auditor = async (): Promise<void> => {
    for (let node = queue.pop(); node !== undefined; node = queue.pop()) {
      const { rpcUrl, name } = node;
      const answer = await program.ask("audit", "--node", rpcUrl, "--network", networkPath);
      if (answer["valid"] === true) passed += 1;
      else process.stderr.write(`audit of ${name}: ${JSON.stringify(answer)}\n`);
    }
  };
  await Promise.all([auditor(), auditor()]);
  return passed;
}
