/**
 * A node that joins while it is killed (SIGKILL) at random moments and started again with the same command line, until it
 * follows the chain: what `join` promises, measured and checked from outside, through its RPC alone.
 */

import { assert } from "../../crypto/base/assert.ts";
import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { GROWN, grownKey } from "./chain.ts";
import { type LocalNetwork, type LocalNode, sleep } from "./network.ts";

/** A row that is there. */
type Row = { readonly namespace: string; readonly table: string; readonly key: Uint8Array };

const GROWN_ROW: Row = { namespace: GROWN.namespace, table: GROWN.table, key: grownKey(1) };

/** How a node joins. */
export type JoiningOptions = {
  readonly name: string;
  /** By executing every block. */
  readonly byBlocks?: boolean;
  /** What its first query asks for; a row of a grown chain when absent. */
  readonly row?: Row;
  readonly kills: number;
  /**
   * Kills come at a random moment of so many milliseconds: of a run's first ones in one run of four, and otherwise of
   * those from when it first answers, since a process takes seconds to start.
   */
  readonly killWithinMs: number;
  /** Numbers from 0 to 1. */
  readonly draw: () => number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
};

/** How it went. Seconds are from the first start. */
export type Joining = {
  readonly node: LocalNode;
  readonly firstQuerySeconds: number;
  readonly syncedSeconds: number;
  readonly kills: number;
  /** What was going on at each kill, by the node's own word. */
  readonly killedIn: readonly string[];
};

const POLL_INTERVAL_MS = 25;
/** For the validator, which runs all the time: a busy one is not at height 0. */
const VALIDATOR_TIMEOUT_MS = 30_000;
/** What a node answers, or does not, that is starting, stopping or joining without a peer. */
const NOT_YET = [
  "rpc_unreachable",
  "rpc_timeout",
  "rpc_answer",
  "height_none",
  "stale_head",
  "relay_unavailable",
  "shutting_down",
  "height_pruned",
  "block_unknown",
];

/** Lets a node join. Resolves once it has, with a row verified against the network file at a height that it executed itself. */
export async function joinUnderKills(network: LocalNetwork, options: JoiningOptions): Promise<Joining> {
  const { kills, killWithinMs, draw, row = GROWN_ROW, signal } = options;
  const startedMs = performance.now();
  const seconds = (): number => (performance.now() - startedMs) / 1000;
  const node = await network.join(options.name, options.byBlocks === true ? ["--blocks"] : []);
  const killedIn: string[] = [];
  let firstQuerySeconds: number | undefined;
  const nextKill = (): number => (draw() < 0.25 ? performance.now() + draw() * killWithinMs : Number.POSITIVE_INFINITY);
  let killAtMs = nextKill();
  for (;;) {
    signal.throwIfAborted();
    if (seconds() * 1000 > options.timeoutMs)
      throw new CodedError("node_timeout", { node: node.name, message: `${node.name} has not joined:\n${await node.logTail()}` });
    if (!node.isRunning)
      throw new CodedError("node_exited", { node: node.name, message: `${node.name} has exited:\n${await node.logTail()}` });
    const phase = await phaseOf(node, network.node(0), signal);
    if (phase !== "starting" && killAtMs === Number.POSITIVE_INFINITY) killAtMs = performance.now() + draw() * killWithinMs;
    if (firstQuerySeconds === undefined && (await reads(node, row, signal))) firstQuerySeconds = seconds();
    if (killedIn.length < kills && (performance.now() >= killAtMs || phase === "following")) {
      // Whatever it was that it had reached, it must come there again.
      await node.kill("SIGKILL");
      killedIn.push(phase);
      network.joinAgain(node);
      killAtMs = nextKill();
      continue;
    }
    if (killedIn.length === kills && phase === "following" && firstQuerySeconds !== undefined) break;
    await sleep(POLL_INTERVAL_MS, signal);
  }
  const syncedSeconds = seconds();
  await requireSame(node, network.node(0), signal);
  return { node, firstQuerySeconds, syncedSeconds, kills: killedIn.length, killedIn };
}

/** What a node says it does: `starting`, a phase of a join, `replaying`, or `following` when it has what the validator has. */
async function phaseOf(node: LocalNode, validator: LocalNode, signal: AbortSignal): Promise<string> {
  const target = await validator.height(signal, VALIDATOR_TIMEOUT_MS);
  try {
    const status = await node.client.claimedNodeStatus({ signal, timeoutMs: 2_000 });
    if (status.joining !== undefined) return status.joining.phase;
    return status.height >= target ? "following" : "replaying";
  } catch (error) {
    if (NOT_YET.includes(codeOf(error))) return "starting";
    throw error;
  }
}

/** Whether a row can be read and verified. */
async function reads(node: LocalNode, { namespace, table, key }: Row, signal: AbortSignal): Promise<boolean> {
  try {
    return (await node.client.row(namespace, table, key, { signal, timeoutMs: 2_000 })).value !== undefined;
  } catch (error) {
    if (NOT_YET.includes(codeOf(error))) return false;
    throw error;
  }
}

/** Checks that the newest state of a node is that of another, as far as both prove it. */
async function requireSame(node: LocalNode, other: LocalNode, signal: AbortSignal): Promise<void> {
  const { value: own } = await node.client.head({ signal });
  const { value: header } = await other.client.header(own.height, { signal });
  assert(bytesEqual(own.stateRoot, header.stateRoot), `state ${toHex(own.stateRoot)} at height ${own.height}`);
  assert((await node.client.claimedNodeStatus({ signal })).joining === undefined, "the node answers for itself");
}
