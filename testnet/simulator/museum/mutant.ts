/**
 * A mutant: one known bug of the field, put into our code by replacing one piece of its text. Production code has no
 * switch for it. `hook.ts` changes the text on its way from the disk into a hunting process, and nowhere else.
 */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { CodedError } from "../../../crypto/base/error.ts";
import type { UnitName } from "./units.ts";

/** How a mutant is looked for. Seeds are tried from 1 on, at most so many. */
export type Hunt =
  /** A seeded property over real parts (`units.ts`). */
  | { readonly kind: "unit"; readonly unit: UnitName; readonly seeds: number }
  /** Whole networks of an engine (`testnet/simulator/main.ts`). */
  | { readonly kind: "simulator"; readonly engine: string; readonly seeds: number };

/** One exhibit. */
export type Mutant = {
  readonly name: string;
  /** What went wrong where, or how it was shown that it can. */
  readonly story: string;
  /** Where that is told: paper and section, issue, advisory. */
  readonly source: string;
  /** From the root of the project. */
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly find: string;
  readonly replace: string;
  readonly hunt: Hunt;
};

/** The root of the project, with a slash at its end. */
export const ROOT: string = fileURLToPath(new URL("../../../", import.meta.url));

/** The text of the mutant's file with the bug in it. Throws `mutant_stale`. */
export function mutated({ name, file, find, replace }: Mutant, text: string): string {
  const parts = text.split(find);
  const [before, after] = parts;
  if (parts.length !== 2 || before === undefined || after === undefined)
    throw new CodedError("mutant_stale", { message: `${name}: ${parts.length - 1} times in ${file}` });
  return `${before}${replace}${after}`;
}

/** Whether the mutant still fits the code. Throws `mutant_stale`. */
export function checkFresh(mutant: Mutant): void {
  mutated(mutant, readFileSync(`${ROOT}${mutant.file}`, "utf8"));
}
