/**
 * Scripts of etcd-raft, run against our Raft: a text comes back with the transcripts that our code gives. Transcripts that
 * stand in it already are dropped before anything runs.
 */

import * as z from "zod";
import { type Coded, fail, ok, type Result } from "../../../crypto/base/result.ts";
import { runConfChangeScript, runQuorumScript, runRaftScript } from "../../../consensus/testing/raft-script.ts";
import { type Operation, operation } from "../operation.ts";

/** Ten times the longest of the public scripts. */
const TEXT_LENGTH_MAX = 1 << 20;

/** More nodes than any script has, and few enough for memory. */
const NODES_MAX = 32;

const Script = z.strictObject({
  text: z
    .string()
    .max(TEXT_LENGTH_MAX)
    .refine((text) => nodesIn(text) <= NODES_MAX, `more than ${NODES_MAX} nodes`),
});

function nodesIn(text: string): number {
  return [...text.matchAll(/^\s*add-nodes\s+(\S+)/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
}

/**
 * A script can ask the core for what no driver may ask it, and the core answers that with an assertion: it is the script's
 * fault as much as an unknown command is, so both are told to whoever sent it.
 */
function runWith(run: (text: string) => string, text: string): Result<unknown, Coded> {
  try {
    return ok({ text: run(text) });
  } catch (error) {
    return fail({ code: "script_failed", reason: error instanceof Error ? error.message.slice(0, 200) : "unknown" });
  }
}

/** The operations of this file. */
export const RAFT: readonly Operation[] = [
  operation("raft.quorum", {
    help: "{text} -> {text}: committed and vote tables of etcd-raft's quorum/testdata",
    input: Script,
    answer: ({ text }) => runWith(runQuorumScript, text),
  }),
  operation("raft.confchange", {
    help: "{text} -> {text}: configuration changes of etcd-raft's confchange/testdata",
    input: Script,
    answer: ({ text }) => runWith(runConfChangeScript, text),
  }),
  operation("raft.script", {
    help: "{text} -> {text}: interaction scripts of etcd-raft's testdata",
    input: Script,
    answer: ({ text }) => runWith(runRaftScript, text),
  }),
];
