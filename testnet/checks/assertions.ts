/**
 * The rule for assertions in what a node runs: a message is a plain text with a `{}` for each value behind it
 * (`crypto/base/assert.ts`). Calls are read from the source however the formatter wrapped them.
 */

/** A call that breaks the rule. Lines count from 1. */
export type BadAssertion = { readonly line: number; readonly call: string; readonly what: string };

const CALL = /(?<![\w.#])(?:assert|present)\(/g;
/** What may stand before an argument. */
const LEADING = /^(?:\s|\/\/[^\n]*|\/\*[^]*?\*\/)+/;
/** Which argument the message is. */
const MESSAGE_AT = 1;
/** A call that is longer is not read. */
const CALL_LENGTH_MAX = 4_000;

/** All calls of a file that break the rule. */
export function badAssertions(source: string): BadAssertion[] {
  return [...source.matchAll(CALL)].flatMap(({ index, 0: name }): BadAssertion[] => {
    const text = source.slice(index + name.length, index + name.length + CALL_LENGTH_MAX);
    const { commas, end } = bracketed(text, 0);
    const args = [...commas, end].map((to, at) =>
      text
        .slice(at === 0 ? 0 : (commas[at - 1] ?? 0) + 1, to)
        .replace(LEADING, "")
        .trim(),
    );
    // What the formatter puts behind the last of wrapped arguments.
    if (args.at(-1) === "") args.pop();
    const message = args[MESSAGE_AT];
    const what = message === undefined ? undefined : wrongWith(message, args.length - MESSAGE_AT - 1);
    if (what === undefined) return [];
    const call = `${name}${args.join(", ")})`.replaceAll(/\s+/g, " ").slice(0, 80);
    return [{ line: source.slice(0, index).split("\n").length, call, what }];
  });
}

function wrongWith(message: string, values: number): string | undefined {
  if (message.startsWith("`") && message.includes("${"))
    return "a text that is made each time and hardly ever read: write {} and put the values behind it";
  if (!/^["'`]/.test(message)) return undefined;
  const places = message.split("{}").length - 1;
  return places === values ? undefined : `{} is there ${places} times, and there are ${values} values behind it`;
}

/** From inside a bracket: where it ends, and the commas that are in no other bracket, text or comment. */
function bracketed(text: string, from: number): { readonly commas: readonly number[]; readonly end: number } {
  const commas: number[] = [];
  let depth = 0;
  for (let at = from; at < text.length; at += 1) {
    const sign = text[at] ?? "";
    if (text.startsWith("//", at)) at = endOf("\n", text, at);
    else if (text.startsWith("/*", at)) at = endOf("*/", text, at + 2);
    else if (`"'\``.includes(sign)) at = endOfText(text, at);
    else if ("([{".includes(sign)) depth += 1;
    else if (sign === "," && depth === 0) commas.push(at);
    else if (")]}".includes(sign)) {
      if (depth === 0) return { commas, end: at };
      depth -= 1;
    }
  }
  return { commas, end: text.length };
}

/** The last place of the next `mark`; of a comment that was cut off, the end. */
function endOf(mark: string, text: string, from: number): number {
  const found = text.indexOf(mark, from);
  return found < 0 ? text.length : found + mark.length - 1;
}

/** Where a text ends that begins here. Code in a template is passed over with its bracket. */
function endOfText(text: string, from: number): number {
  const quote = text[from];
  for (let at = from + 1; at < text.length; at += 1) {
    if (text[at] === "\\") at += 1;
    else if (text[at] === quote) return at;
    else if (quote === "`" && text.startsWith("${", at)) at = bracketed(text, at + 2).end;
  }
  return text.length;
}
