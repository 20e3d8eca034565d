/**
 * Counting alone: what one majority holds, and what two majorities hold together. It knows no message and no role.
 *
 * A joint configuration (dissertation 4.3) decides when both halves decide: commits at the lower of the two indexes, wins when both
 * win, loses when either loses. An empty half decides everything, so a configuration that is not joint needs no case of its own.
 */

import { U64_MAX } from "./limits.ts";
import { sortedIds } from "./configuration.ts";

/** The two halves; `outgoing` is empty when the configuration is not joint. */
export type Voters = { readonly incoming: ReadonlySet<bigint>; readonly outgoing: ReadonlySet<bigint> };

/** What each voter is known to hold; `undefined` when nothing is known. */
export type Acknowledged = (id: bigint) => bigint | undefined;

/** How a ballot stands. `pending`: the votes that are missing can still decide it. */
export type VoteResult = "won" | "lost" | "pending";

/** More than half. */
export function majorityOf(count: number): number {
  return Math.floor(count / 2) + 1;
}

/** The highest index that more than half hold; `U64_MAX` ("everything") when there is nobody to ask. */
export function majorityCommitted(voters: ReadonlySet<bigint>, acknowledged: Acknowledged): bigint {
  if (voters.size === 0) return U64_MAX;
  const held = sortedIds([...voters].map((id) => acknowledged(id) ?? 0n));
  return held[voters.size - majorityOf(voters.size)] ?? 0n;
}

/** The highest index that both halves hold. */
export function jointCommitted(voters: Voters, acknowledged: Acknowledged): bigint {
  const incoming = majorityCommitted(voters.incoming, acknowledged);
  const outgoing = majorityCommitted(voters.outgoing, acknowledged);
  return incoming < outgoing ? incoming : outgoing;
}

/** How one majority stands, given the votes heard so far. */
export function majorityVote(voters: ReadonlySet<bigint>, votes: ReadonlyMap<bigint, boolean>): VoteResult {
  if (voters.size === 0) return "won";
  let granted = 0;
  let missing = 0;
  for (const id of voters) {
    const vote = votes.get(id);
    if (vote === undefined) missing += 1;
    else if (vote) granted += 1;
  }
  const needed = majorityOf(voters.size);
  if (granted >= needed) return "won";
  return granted + missing >= needed ? "pending" : "lost";
}

/** How both halves stand together. */
export function jointVote(voters: Voters, votes: ReadonlyMap<bigint, boolean>): VoteResult {
  const incoming = majorityVote(voters.incoming, votes);
  const outgoing = majorityVote(voters.outgoing, votes);
  if (incoming === outgoing) return incoming;
  return incoming === "lost" || outgoing === "lost" ? "lost" : "pending";
}
