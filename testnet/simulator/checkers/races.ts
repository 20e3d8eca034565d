/** What racing sessions of one account were told has one order that explains all of it, in real time. */

import { checkLinearizability, explainVerdict } from "../history/linearizability.ts";
import { RACE } from "../races.ts";
import type { Sometimes } from "../sometimes.ts";
import type { Workload } from "../workload.ts";
import type { Checker, CheckerParts } from "./checker.ts";

/** Far more than histories of a run need. */
const STEPS_MAX = 400_000;

/** See the file's head. */
export class Races implements Checker {
  readonly #parts: CheckerParts & { readonly workload: Workload; readonly sometimes: Sometimes };

  constructor(parts: CheckerParts & { readonly workload: Workload; readonly sometimes: Sometimes }) {
    this.#parts = parts;
  }

  onEnd(): void {
    const { workload, sometimes, violated } = this.#parts;
    const operations = workload.races.operations();
    let told = 0;
    for (const { outcome } of operations) {
      if (outcome.kind !== "returned") continue;
      told += 1;
      const { output } = outcome;
      if (output.kind === "stale") sometimes.saw("race_lost");
      else sometimes.saw(output.isApplied ? "race_won" : "race_won_in_vain");
    }
    const verdict = checkLinearizability(RACE, operations, { stepsMax: STEPS_MAX });
    if (verdict.kind === "violation") violated("linearizable", explainVerdict(verdict));
    else if (verdict.kind === "unknown") sometimes.saw("race_undecided");
    else if (told > 1) sometimes.saw("race_explained");
  }
}
