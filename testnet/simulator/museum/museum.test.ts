/**
 * That the museum cannot rot: every mutant still fits the code; and that hunting works, shown on three that are found at
 * once and on the code as it is. The whole museum is hunted by `npm run museum`.
 */

import t from "tap";
import { codeOf } from "../../../crypto/base/error.ts";
import { MUTANTS, mutantOf } from "./catalogue.ts";
import { hunt } from "./hunter.ts";
import { checkFresh, mutated } from "./mutant.ts";

const NEVER = new AbortController().signal;

t.test("every mutant fits the code exactly once, and is told with its source", (t) => {
  const stale = MUTANTS.flatMap((mutant) => {
    try {
      checkFresh(mutant);
      return [];
    } catch (error) {
      return [`${mutant.name}: ${codeOf(error)}`];
    }
  });
  t.same(stale, []);
  t.ok(MUTANTS.length >= 30, `${MUTANTS.length} mutants`);
  t.equal(new Set(MUTANTS.map(({ name }) => name)).size, MUTANTS.length, "names are distinct");
  for (const { name, story, source, find, replace } of MUTANTS)
    t.ok(story.length > 40 && source.length > 10 && find !== replace, name);
  t.end();
});

t.test("a text that is gone, or there twice, is a stale mutant", (t) => {
  const mutant = { ...mutantOf("last_leaf_doubled"), find: "one", replace: "two" };
  t.equal(mutated(mutant, "zero one two"), "zero two two");
  for (const text of ["zero", "one one", ""]) t.throws(() => mutated(mutant, text), { code: "mutant_stale" });
  t.throws(() => mutantOf("no_such_mutant"), { code: "mutant_unknown" });
  t.end();
});

t.test("a hunt finds the mutant and nothing in the code as it is", async (t) => {
  for (const name of ["last_leaf_doubled", "compact_target_overflows", "acknowledged_before_durable"]) {
    const mutant = mutantOf(name);
    const { finding } = await hunt(mutant, { ...mutant.hunt, seeds: 25 }, NEVER);
    t.ok(finding !== undefined, `${name}: ${finding?.property}, seed ${finding?.seed}`);
    if (finding === undefined) continue;
    const honest = await hunt(undefined, { ...mutant.hunt, seeds: finding.seed }, NEVER);
    t.same(honest.finding, undefined, `${name}: the same seeds are clean without it`);
  }
});

t.test("a mutant in a file that the hunt never loads is no quiet miss", async (t) => {
  const strayed = { ...mutantOf("nonce_not_checked"), hunt: mutantOf("compact_target_overflows").hunt };
  await t.rejects(hunt(strayed, { ...strayed.hunt, seeds: 1 }, NEVER), { code: "hunt_failed", message: /mutant_unloaded/ });
});
