/** PBFT: Castro and Liskov, OSDI 1999 and TOCS 2002. */

import type { Mutant } from "../mutant.ts";

/** See the file's head. */
export const PBFT_MUTANTS: readonly Mutant[] = [
  {
    name: "new_view_not_recomputed",
    story:
      "Backups take the new primary's word for what follows from the view-changes, and it leaves out a block that was committed.",
    source: "Castro and Liskov 1999, 4.4: a backup accepts a new-view if the set O is correct",
    file: "consensus/pbft/rules.ts",
    find: "  const implied = impliedBy(viewChanges);\n",
    replace: "  if (viewChanges.length > 0) return true;\n  const implied = impliedBy(viewChanges);\n",
    hunt: { kind: "unit", unit: "pbft-rules", seeds: 500 },
  },
  {
    name: "view_changes_of_any_view_counted",
    story: "The new primary counts view-changes for whatever view as being for its own, and so makes its new-view from too few.",
    source: "Castro and Liskov 1999, 4.4: 2f valid view-change messages for view v + 1",
    file: "consensus/pbft/changes.ts",
    find: "(change) => change.view === view),",
    replace: "() => true),",
    hunt: { kind: "unit", unit: "pbft", seeds: 6000 },
  },
  {
    name: "view_changes_of_too_few",
    story: "A new-view stands on view-changes of more than a third: those who prepared a block may all be among the rest.",
    source: "Castro and Liskov 1999, 4.4: 2f + 1; the intersection argument of 4.5.1 fails with less",
    file: "consensus/pbft/changes.ts",
    find: "    return isQuorum(\n      this.#powerOf((change) => change.view === view),",
    replace: "    return isHonestShare(\n      this.#powerOf((change) => change.view === view),",
    hunt: { kind: "unit", unit: "pbft", seeds: 6000 },
  },
  {
    name: "first_claim_instead_of_highest",
    story: "Of the blocks that were prepared in several views the first is taken up again, not that of the highest view.",
    source:
      "Abraham et al., Revisiting Fast Practical Byzantine Fault Tolerance, 2017 (arXiv:1712.01367), the unsafe view change of Zyzzyva",
    file: "consensus/pbft/rules.ts",
    find: "(highest === undefined || prepared.view > highest.view)",
    replace: "highest === undefined",
    hunt: { kind: "unit", unit: "pbft-rules", seeds: 500 },
  },
  {
    name: "prepared_forgotten_on_restart",
    story:
      "A validator that crashes after it committed comes back not knowing that the block was prepared, and its view-change says so.",
    source: "Castro and Liskov 2002, 4.5 and 5 (proactive recovery: state of the log must survive); Alagappan et al., FAST 2018",
    file: "consensus/pbft/views.ts",
    find: 'step: "commit", accepted: value, prepared: { view, value } };\n}',
    replace: 'step: "commit", accepted: value };\n}',
    hunt: { kind: "unit", unit: "pbft", seeds: 6000 },
  },
  {
    name: "view_change_of_the_forgetful",
    story:
      "A validator that was set back to a backup sits out its votes, and asks for the next view all the same: it claims that nothing was prepared, and had committed a block.",
    source: "Castro and Liskov 1999, 4.4: the set P of a view-change; found by the simulator in seeds 5053 and 6042",
    file: "node/driver/guard.ts",
    find: "const refusal = recalls === undefined ? undefined : this.#refusalOf(recalls);",
    replace:
      "const refusal = recalls === undefined ? undefined : this.#refusalOf({ height: heightOf(2n ** 53n), round: recalls.round });",
    hunt: { kind: "simulator", engine: "pbft", seeds: 1000 },
  },
  {
    name: "prepared_by_one",
    story: "A block counts as prepared as soon as anybody prepared it, so two blocks can be committed in two views.",
    source: "Castro and Liskov 1999, 4.2: prepared asks for 2f prepares from different backups",
    file: "consensus/pbft/votes.ts",
    find: "return this.#views.get(view)?.prevote.hasQuorumOf(value) ?? false;",
    replace: "return (this.#views.get(view)?.prevote.powerOf(value) ?? 0n) > 0n;",
    hunt: { kind: "unit", unit: "pbft", seeds: 2000 },
  },
];
