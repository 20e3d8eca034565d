/** A follower's log against the receiver's part of AppendEntries, written down naively (dissertation, figure 3.1). */

import { EMPTY } from "../../../../crypto/base/bytes.ts";
import { Random } from "../../../../consensus/testing/random.ts";
import { RaftLog } from "../../../../consensus/raft/log.ts";
import { MemoryRaftStorage } from "../../../../consensus/raft/storage.ts";
import type { Entry } from "../../../../consensus/raft/types.ts";
import { holds } from "../property.ts";

const SAME = "the log is what figure 3.1 makes of it";

/** Terms at indexes 1, 2, ... and how many of them are committed. */
type Naive = { terms: bigint[]; committed: number };

/** Appends of a true log of a leader to one that has grown apart from it after what is committed. */
export function followerLogIsTheFigure(seed: number): void {
  const random = new Random(seed);
  const leader = termsFrom(random, [], random.between(3, 10));
  const committed = random.between(0, leader.length - 1);
  const shared = random.between(committed, leader.length);
  const naive: Naive = { terms: termsFrom(random, leader.slice(0, shared), random.between(0, 4)), committed };
  const log = new RaftLog(new MemoryRaftStorage(), 1_000_000, () => undefined);
  log.append(entriesOf(naive.terms, 0, naive.terms.length));
  log.commitTo(BigInt(committed));
  for (let step = 0; step < 6; step += 1) {
    const from = random.between(naive.committed, leader.length);
    const to = random.between(from, leader.length);
    const commit = random.between(0, leader.length);
    log.appendFromLeader({ index: BigInt(from), term: leader[from - 1] ?? 0n }, entriesOf(leader, from, to), BigInt(commit));
    receive(naive, leader, { from, to, commit });
    const terms = naive.terms.map((_, at) => log.term(BigInt(at + 1)));
    holds(terms.join() === naive.terms.join() && log.lastIndex() === BigInt(naive.terms.length), SAME, () => terms.join());
    holds(log.committed === BigInt(naive.committed), SAME, () => `committed ${log.committed}, not ${naive.committed}`);
  }
}

/** Steps 2 to 5. */
function receive(
  naive: Naive,
  leader: readonly bigint[],
  { from, to, commit }: { readonly from: number; readonly to: number; readonly commit: number },
): void {
  if (from > naive.terms.length || naive.terms[from - 1] !== leader[from - 1]) return;
  for (let at = from; at < to; at += 1) {
    if (naive.terms[at] !== leader[at]) naive.terms = naive.terms.slice(0, at);
    naive.terms[at] ??= leader[at] as bigint;
  }
  naive.committed = Math.max(naive.committed, Math.min(commit, to));
}

/** A log continued by so many entries, of terms that never fall. Logs that part at an index have other terms there. */
function termsFrom(random: Random, before: readonly bigint[], count: number): bigint[] {
  const terms = [...before];
  for (let added = 0; added < count; added += 1)
    terms.push((terms.at(-1) ?? 1n) + BigInt(added === 0 && before.length > 0 ? 50 : random.between(0, 1)));
  return terms;
}

function entriesOf(terms: readonly bigint[], from: number, to: number): readonly Entry[] {
  return terms.slice(from, to).map((term, at) => ({ term, index: BigInt(from + at + 1), kind: "normal", data: EMPTY }));
}
