/** The table of the museum. */

import type { Catch } from "./hunter.ts";
import type { Mutant } from "./mutant.ts";

/** One exhibit: how it is hunted, and how many seeds that took; `null` when it was missed. */
export type Row = {
  readonly name: string;
  readonly hunt: string;
  readonly seeds: number | null;
  readonly property: string | null;
  readonly seconds: number;
};

/** The row of a mutant after its hunt. */
export function rowOf({ name, hunt }: Mutant, caught: Catch | undefined): Row {
  return {
    name,
    hunt: hunt.kind === "unit" ? `unit ${hunt.unit}` : `sim ${hunt.engine}`,
    seeds: caught?.finding?.seed ?? null,
    property: caught?.finding?.property ?? null,
    seconds: caught?.seconds ?? 0,
  };
}

/** The rows as Markdown. */
export function tableText(rows: readonly Row[]): string {
  const lines = rows.map(
    ({ name, hunt, seeds, property, seconds }) =>
      `| \`${name}\` | ${hunt} | ${seeds ?? "missed"} | ${property?.replaceAll("|", "/") ?? ""} | ${seconds} |`,
  );
  return ["| mutant | hunt | seeds | what was broken | s |", "| --- | --- | --- | --- | --- |", ...lines].join("\n");
}
