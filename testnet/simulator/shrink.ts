/**
 * Cuts a list of faults down to those without which the violation does not happen.
 *
 * Source: Zeller, Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 28(2), 2002: delta
 * debugging. Where we differ: what counts as the same failure is the same property, and the search ends after so many
 * runs, with the best that it has.
 */

import type { Fault } from "./faults.ts";
import { runScenario, type Scenario } from "./run.ts";

/** Runs of one search. */
const RUNS_MAX = 120;

/** The smallest scenario found in which the same property breaks. */
export async function shrink(scenario: Scenario, property: string, runsMax = RUNS_MAX): Promise<Scenario> {
  let faults = scenario.faults;
  let runs = 0;
  const stillFails = async (fewer: readonly Fault[]): Promise<boolean> => {
    if (runs >= runsMax) return false;
    runs += 1;
    const { violations } = await runScenario({ ...scenario, faults: fewer });
    return violations.some((violation) => violation.property === property);
  };
  if (faults.length > 0 && (await stillFails([]))) return { ...scenario, faults: [] };
  for (let parts = 2; faults.length > 1 && runs < runsMax;) {
    const without = await firstThat(complements(faults, parts), stillFails);
    if (without !== undefined) {
      faults = without;
      parts = Math.max(2, parts - 1);
    } else if (parts >= faults.length) break;
    else parts = Math.min(faults.length, parts * 2);
  }
  return { ...scenario, faults };
}

/** The list without one of so many parts, each in turn. */
function* complements(faults: readonly Fault[], parts: number): Generator<readonly Fault[]> {
  const size = Math.ceil(faults.length / parts);
  for (let start = 0; start < faults.length; start += size) yield [...faults.slice(0, start), ...faults.slice(start + size)];
}

async function firstThat<T>(items: Iterable<T>, holds: (item: T) => Promise<boolean>): Promise<T | undefined> {
  for (const item of items) if (await holds(item)) return item;
  return undefined;
}
