/**
 * The form of the etcd-raft files: comments, then a command with its arguments and maybe more lines of input, dashes, the transcript.
 * A rerun gives the file again, with the transcripts that the commands print now; commands without dashes get theirs too.
 */

const DASHES = "----";

/** A command taken apart. An argument is a word (`values` is empty), `name=value` or `name=(value,value)`. */
export type DataCommand = {
  readonly verb: string;
  readonly arguments: readonly DataArgument[];
  readonly input: readonly string[];
};

/** One argument of a command. */
export type DataArgument = { readonly key: string; readonly values: readonly string[] };

/** Runs every command of a file. @returns the file with the transcripts of this run */
export function rerun(text: string, run: (command: DataCommand) => readonly string[]): string {
  const lines = text.split("\n");
  const written: string[] = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at] ?? "";
    if (line.trim() === "" || line.startsWith("#")) {
      written.push(line);
      at += 1;
      continue;
    }
    const head: string[] = [];
    for (; at < lines.length && (lines[at] ?? "").trim() !== "" && lines[at] !== DASHES; at += 1) head.push(lines[at] ?? "");
    if (lines[at] === DASHES) at = endOfExpected(lines, at + 1);
    written.push(...head, DASHES, ...run(parseData(head)));
  }
  return written.join("\n");
}

/** The words of a command line: `verb key key=value key=(value,value)`. Blanks inside parentheses do not part words. */
export function parseData(head: readonly string[]): DataCommand {
  const [line = "", ...input] = head;
  const words = line.match(/(?:\([^)]*\)|\S)+/g) ?? [];
  const [verb = "", ...rest] = words;
  return { verb, arguments: rest.map(parseArgument), input };
}

/** The values of a named argument; empty when it is not given. */
export function valuesOf(command: DataCommand, key: string): readonly string[] {
  return command.arguments.find((argument) => argument.key === key)?.values ?? [];
}

/** The words without a value, in their order. */
export function wordsOf(command: DataCommand): readonly string[] {
  return command.arguments.filter(({ values }) => values.length === 0).map(({ key }) => key);
}

function parseArgument(word: string): DataArgument {
  const at = word.indexOf("=");
  if (at === -1) return { key: word, values: [] };
  const value = word.slice(at + 1);
  const list = value.startsWith("(") && value.endsWith(")") ? value.slice(1, -1).split(",") : [value];
  return { key: word.slice(0, at), values: list.map((item) => item.trim()).filter((item) => item !== "") };
}

/** Ends at a blank line; or at doubled dashes, when the transcript began with them to hold blank lines. */
function endOfExpected(lines: readonly string[], from: number): number {
  const isDoubled = lines[from] === DASHES;
  let at = isDoubled ? from + 1 : from;
  if (!isDoubled) {
    while (at < lines.length && lines[at] !== "") at += 1;
    return at;
  }
  while (at < lines.length && !(lines[at] === DASHES && lines[at + 1] === DASHES)) at += 1;
  return Math.min(at + 2, lines.length);
}
