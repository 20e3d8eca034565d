/**
 * Making proofs: the trie of one version, walked in prefix order, hiding every subtree that may be hidden.
 *
 * Whether a subtree may be hidden is asked with the same function that verifiers use, so a prover never hides what a
 * verifier would refuse. Where nothing needs to be shown (no row of the range, and both subtrees provably outside)
 * the left one is still walked to one row, because a hidden subtree needs a key beside it.
 */

import { assert } from "../../crypto/base/assert.ts";
import { type Hash } from "../../crypto/hash/hash.ts";
import { nodeHash, valueHash } from "./hashing.ts";
import type { Location } from "./layout.ts";
import type { Page } from "./page.ts";
import { encodeProof, type ProofStep } from "./proof.ts";
import { contains, isOutside, type Ranges } from "./range.ts";

/** What a prover reads. */
export type ProofSource = {
  readonly readPage: (location: Location) => Page;
  readonly readValue: (location: Location) => Uint8Array;
};

/** A subtree still to be walked: items `low` to `high - 1` of a page, or one that stays hidden. */
type Task = { readonly page: Page; readonly low: number; readonly high: number; readonly isHidden: boolean };

/**
 * The proof for `ranges` of the tree whose root page is at `location` (`undefined`: the empty tree).
 *
 * @param isComplete - whether `ranges` is all that was asked, or ends at the last row that the limit allows
 */
export function prove(location: Location | undefined, ranges: Ranges, isComplete: boolean, source: ProofSource): Uint8Array {
  const steps: ProofStep[] = [];
  const tasks: Task[] = [];
  if (location !== undefined) tasks.push(wholePage(source.readPage(location)));
  while (tasks.length > 0) {
    const task = tasks.pop() as Task;
    const { page, low, high } = task;
    if (task.isHidden) steps.push({ kind: "hidden", hash: subtreeHash(page, low, high) });
    else if (high - low > 1) branch(task, ranges, steps, tasks);
    else if (page.isEntry(low)) steps.push(show(page, low, ranges, source));
    else tasks.push(wholePage(source.readPage(page.location(low))));
  }
  return encodeProof({ isComplete, steps });
}

function branch({ page, low, high }: Task, ranges: Ranges, steps: ProofStep[], tasks: Task[]): void {
  const middle = page.split(low, high) + 1;
  const bit = page.bit(middle - 1);
  const hideLeft = isOutside(ranges, page.key(middle), bit);
  const hideRight = isOutside(ranges, page.key(low), bit);
  steps.push({ kind: "branch", bit });
  tasks.push({ page, low: middle, high, isHidden: hideRight });
  tasks.push({ page, low, high: middle, isHidden: hideLeft && !hideRight });
}

function show(page: Page, index: number, ranges: Ranges, source: ProofSource): ProofStep {
  const key = page.key(index);
  const value = source.readValue(page.location(index));
  return contains(ranges, key) ? { kind: "leaf", key, value } : { kind: "edge", key, valueHash: valueHash(value) };
}

function wholePage(page: Page): Task {
  return { page, low: 0, high: page.count, isHidden: false };
}

/** The hash of items `low` to `high - 1` of a page. Recursion is bounded by the items of a page. */
function subtreeHash(page: Page, low: number, high: number): Hash {
  assert(high > low, "no items between {} and {}", low, high);
  if (high - low === 1) return page.hash(low).slice() as Hash;
  const middle = page.split(low, high) + 1;
  return nodeHash(page.bit(middle - 1), subtreeHash(page, low, middle), subtreeHash(page, middle, high));
}
