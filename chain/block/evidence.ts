/** Proof that a validator broke the protocol: two signed statements that an honest one cannot both make. */

import type { Proposal, Vote } from "./vote.ts";

/** One validator, one height, one round, one step, two different words. */
export type Evidence =
  | { readonly kind: "doubleVote"; readonly first: Vote; readonly second: Vote }
  | { readonly kind: "doubleProposal"; readonly first: Proposal; readonly second: Proposal };
