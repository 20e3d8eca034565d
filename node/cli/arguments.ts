/** From arguments to a command, its options and its positionals, or to a wrong usage with the nearest right one. */

import { parseArgs } from "node:util";
import type { CodedError } from "../../crypto/base/error.ts";
import { present } from "../../crypto/base/assert.ts";
import { nearestName } from "../config/nearest.ts";
import { GLOBAL_OPTIONS, type Command, type OptionTable } from "./command.ts";
import { type OptionValues, usageError } from "./usage.ts";

/** What the arguments say. */
export type ParsedArguments = {
  /** The command and those it stands under, outermost first. */
  readonly path: readonly Command[];
  readonly values: OptionValues;
  readonly positionals: readonly string[];
};

/**
 * Parses everything after the program's name.
 *
 * @throws CodedError whose code begins with `usage_`
 */
export function parseArguments(root: Command, argv: readonly string[]): ParsedArguments {
  const { path, rest } = findCommand(root, argv);
  const command = present(path.at(-1), "command");
  const { values, positionals } = parseOptions({ ...command.options, ...GLOBAL_OPTIONS }, rest);
  if (values["help"] === undefined && command.run !== undefined) checkPositionals(command, positionals);
  return { path, values, positionals };
}

/** Walks down the verbs. Global options may stand before, between and after them. */
function findCommand(
  root: Command,
  argv: readonly string[],
): { readonly path: readonly Command[]; readonly rest: readonly string[] } {
  const path = [root];
  const rest: string[] = [];
  let index = 0;
  for (let command = root; command.subcommands !== undefined && index < argv.length; index += 1) {
    const token = argv[index] as string;
    const aliased = command.subcommands.find((each) => each.aliases?.includes(token));
    if (aliased !== undefined) {
      path.push(aliased);
      command = aliased;
      continue;
    }
    if (token.startsWith("-")) {
      rest.push(token);
      if (takesNext(token)) rest.push(...argv.slice((index += 1), index + 1));
      continue;
    }
    const names = command.subcommands.map((each) => each.name);
    const found = command.subcommands.find((each) => each.name === token);
    if (found === undefined)
      throw unknown("usage_unknown_verb", `${token} is not a verb of ${titleOf(path)}`, nearestName(token, names), token);
    path.push(found);
    command = found;
  }
  return { path, rest: [...rest, ...argv.slice(index)] };
}

function takesNext(token: string): boolean {
  return token.startsWith("--") && GLOBAL_OPTIONS[token.slice(2)]?.kind === "text";
}

/** `pyralog keys new`. */
export function titleOf(path: readonly Command[]): string {
  return path.map((command) => command.name).join(" ");
}

function parseOptions(
  table: OptionTable,
  argv: readonly string[],
): { readonly values: OptionValues; readonly positionals: readonly string[] } {
  const options = Object.fromEntries(
    Object.entries(table).map(([name, spec]) => [
      name,
      { type: spec.kind === "flag" ? ("boolean" as const) : ("string" as const) },
    ]),
  );
  const { tokens } = parseArgs({ args: [...argv], options, strict: false, allowPositionals: true, tokens: true });
  const values = Object.create(null) as { [name: string]: true | string | readonly string[] };
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const spec = Object.hasOwn(table, token.name) ? table[token.name] : undefined;
    if (spec === undefined)
      throw unknown(
        "usage_unknown_option",
        `there is no option ${token.rawName}`,
        nearestOption(token.name, table),
        token.rawName,
      );
    const value = optionValue(token.rawName, spec.kind, token.value, token.inlineValue);
    const before = values[token.name];
    if (spec.kind === "texts") values[token.name] = [...((before as readonly string[] | undefined) ?? []), value as string];
    else if (before !== undefined && spec.kind === "text")
      throw usageError("usage_option_repeated", `${token.rawName} is given twice`, { field: token.rawName });
    else values[token.name] = value;
  }
  return { values, positionals };
}

function optionValue(
  name: string,
  kind: "flag" | "text" | "texts",
  value: string | undefined,
  inline: boolean | undefined,
): true | string {
  if (kind === "flag") {
    if (value !== undefined) throw usageError("usage_option_value", `${name} takes no value`, { field: name });
    return true;
  }
  // `--home --json` is a forgotten value far more often than a directory of that name.
  if (value === undefined || (inline !== true && value.startsWith("-") && value !== "-")) {
    throw usageError("usage_option_value", `${name} needs a value`, { field: name });
  }
  return value;
}

function checkPositionals(command: Command, positionals: readonly string[]): void {
  const wanted = command.positionals ?? [];
  const needed = wanted.filter((name) => !name.startsWith("["));
  const missing = needed[positionals.length];
  if (missing !== undefined) throw usageError("usage_missing_argument", `${missing} is missing`, { field: missing });
  const open = wanted.at(-1)?.includes("...") === true;
  if (!open && positionals.length > wanted.length) {
    throw usageError("usage_extra_argument", `${positionals[wanted.length]} is one argument too many`, {
      field: positionals[wanted.length],
    });
  }
}

function nearestOption(name: string, table: OptionTable): string | undefined {
  const nearest = nearestName(name, Object.keys(table));
  return nearest === undefined ? undefined : `--${nearest}`;
}

function unknown(
  code: "usage_unknown_verb" | "usage_unknown_option",
  message: string,
  nearest: string | undefined,
  field: string,
): CodedError {
  if (nearest === undefined) return usageError(code, message, { field });
  return usageError(code, `${message}; did you mean ${nearest}?`, { field, nearest });
}
