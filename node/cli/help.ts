/** Help, written from the command table. */

import { GLOBAL_OPTIONS, type Command, type OptionTable } from "./command.ts";
import { titleOf } from "./arguments.ts";
import { present } from "../../crypto/base/assert.ts";

/** The help of the last command of a path. */
export function helpText(path: readonly Command[]): string {
  const command = present(path.at(-1), "command");
  const parts = [
    usageLine(path, command),
    command.detail === undefined ? command.summary : `${command.summary}\n\n${command.detail}`,
  ];
  if (command.subcommands !== undefined)
    parts.push(section("Verbs", columns(command.subcommands.map((each) => [each.name, each.summary]))));
  if (command.options !== undefined) parts.push(section("Options", optionLines(command.options)));
  parts.push(section("Options of every verb", optionLines(GLOBAL_OPTIONS)));
  parts.push(
    section(
      "Examples",
      command.examples.map((example) => `  ${example}`),
    ),
  );
  if (path.length === 1) parts.push("Exit codes: 0 done, 1 refused, 2 wrong usage.");
  return `${parts.join("\n\n")}\n`;
}

function usageLine(path: readonly Command[], command: Command): string {
  const rest = command.subcommands === undefined ? (command.positionals ?? []) : ["VERB"];
  return `Usage: ${[titleOf(path), ...rest, "[options]"].join(" ")}`;
}

function section(title: string, lines: readonly string[]): string {
  return `${title}:\n${lines.join("\n")}`;
}

function optionLines(table: OptionTable): readonly string[] {
  return columns(
    Object.entries(table).map(([name, spec]) => [
      `--${name}${spec.kind === "flag" ? "" : ` ${spec.value ?? "TEXT"}`}`,
      spec.kind === "texts" ? `${spec.description} (may be repeated)` : spec.description,
    ]),
  );
}

/** Two columns, the first as wide as its widest entry. */
export function columns(rows: readonly (readonly [string, string])[]): readonly string[] {
  const width = Math.max(0, ...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`.trimEnd());
}

/** A table with a heading, each column as wide as its widest cell. */
export function tableText(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = heading.map((title, column) => Math.max(title.length, ...rows.map((row) => (row[column] ?? "").length)));
  return [heading, ...rows]
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] as number))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
