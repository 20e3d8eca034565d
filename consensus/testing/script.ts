/**
 * Data-driven scripts: a command, a line of dashes, and the transcript that it must give.
 *
 * ```
 * # Why this happens.
 * prevote v2 v3 A
 * ----
 * sign precommit A, round 0
 * ```
 *
 * The form is that of etcd-io/raft's testdata. Blank lines part the cases; lines with `#` before a command are its
 * comment. Run a test with `UPDATE_SCRIPTS=1` to write the transcripts anew; commit a change only if you understand it.
 */

import { readdirSync, readFileSync, writeFileSync } from "node:fs";

const FOLDER = new URL("../testdata/", import.meta.url);
const DASHES = "----";
const NOTHING = "ok";

/** One command and what it is expected to print. */
export type ScriptCase = {
  readonly comment: readonly string[];
  readonly command: string;
  readonly expected: readonly string[];
  readonly line: number;
};

/** A command taken apart: `verb word word name=value`. */
export type Command = { readonly verb: string; readonly words: readonly string[]; readonly options: ReadonlyMap<string, string> };

/** The scripts whose names begin so. */
export function scriptsOf(prefix: string): readonly string[] {
  return readdirSync(FOLDER)
    .filter((name) => name.startsWith(prefix) && name.endsWith(".txt"))
    .toSorted();
}

/** The cases of a script, in order. */
export function readScript(name: string): readonly ScriptCase[] {
  return parseScript(readFileSync(new URL(name, FOLDER), "utf8"));
}

/** Writes a script with these transcripts in place of the expected ones. */
export function writeScript(name: string, cases: readonly ScriptCase[], transcripts: readonly (readonly string[])[]): void {
  const written = cases.map(({ comment, command }, index) =>
    [...comment, command, DASHES, ...(transcripts[index] ?? [])].join("\n"),
  );
  writeFileSync(new URL(name, FOLDER), `${written.join("\n\n")}\n`);
}

/** Whether transcripts are to be written and not compared. */
export function isUpdating(): boolean {
  return process.env["UPDATE_SCRIPTS"] === "1";
}

/** What a command that prints nothing prints. */
export function transcriptOf(lines: readonly string[]): readonly string[] {
  return lines.length === 0 ? [NOTHING] : lines;
}

/** Takes a script apart. Throws on one that has no dashes where they belong: scripts are ours. */
export function parseScript(text: string): readonly ScriptCase[] {
  const cases: ScriptCase[] = [];
  const lines = text.split("\n");
  let index = 0;
  let comment: string[] = [];
  while (index < lines.length) {
    const line = lines[index] as string;
    if (line.startsWith("#") || line === "") {
      if (line !== "" || comment.length > 0) comment.push(line);
      index += 1;
      continue;
    }
    if (lines[index + 1] !== DASHES) throw new Error(`line ${index + 2}: ${DASHES} must follow "${line}"`);
    const expected: string[] = [];
    const first = index;
    for (index += 2; index < lines.length && lines[index] !== ""; index += 1) expected.push(lines[index] as string);
    cases.push({ comment, command: line, expected, line: first + 1 });
    comment = [];
  }
  return cases;
}

/** Takes a command line apart. */
export function parseCommand(line: string): Command {
  const [verb = "", ...rest] = line.split(" ").filter((part) => part !== "");
  const options = new Map<string, string>();
  const words: string[] = [];
  for (const part of rest) {
    const at = part.indexOf("=");
    if (at === -1) words.push(part);
    else options.set(part.slice(0, at), part.slice(at + 1));
  }
  return { verb, words, options };
}
