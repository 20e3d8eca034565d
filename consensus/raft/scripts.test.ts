/**
 * The public scripts of etcd-io/raft (../shared/vectors/etcd-raft), every file. Compared is the whole file: what our run prints must be
 * the transcript, word for word. The core is written from the dissertation; these files are the judge of it.
 */

import { readdirSync, readFileSync } from "node:fs";
import t from "tap";
import { runConfChangeScript, runQuorumScript, runRaftScript } from "../testing/raft-script.ts";

const VECTORS = new URL("../../../shared/vectors/etcd-raft/", import.meta.url);

/** Folder, runner, how many files there must be. */
const KINDS = [
  ["testdata/", runRaftScript, 18],
  ["quorum/testdata/", runQuorumScript, 4],
  ["confchange/testdata/", runConfChangeScript, 9],
] as const;

for (const [folder, run, count] of KINDS) {
  const names = readdirSync(new URL(folder, VECTORS)).filter((name) => name.endsWith(".txt"));
  t.test(`${folder} holds ${count} files`, (t) => {
    t.equal(names.length, count);
    t.end();
  });
  for (const name of names) {
    const text = readFileSync(new URL(folder + name, VECTORS), "utf8");
    t.test(`${folder}${name} gives its transcript`, (t) => {
      t.equal(run(text), text);
      t.end();
    });
    t.test(`${folder}${name} gives it from the commands alone`, (t) => {
      t.equal(run(withoutTranscripts(text)), text);
      t.end();
    });
  }
}

t.test("a transcript with another commit index is not the one we give", (t) => {
  const text = readFileSync(new URL("testdata/campaign.txt", VECTORS), "utf8");
  t.not(runRaftScript(text), text.replace("HardState Term:1 Vote:1 Commit:3", "HardState Term:1 Vote:1 Commit:2"));
  t.end();
});

t.test("an unknown command is refused", (t) => {
  t.throws(() => runRaftScript("frobnicate 1\n----\nok\n"), { message: "unknown command: frobnicate" });
  t.end();
});

function withoutTranscripts(text: string): string {
  let isExpected = false;
  const kept = text.split("\n").filter((line) => {
    if (line === "") isExpected = false;
    if (isExpected) return false;
    isExpected = line === "----";
    return true;
  });
  return kept.join("\n");
}
