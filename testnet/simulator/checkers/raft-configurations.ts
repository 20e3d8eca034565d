/** Which configurations of Raft a journal tells of, and what is a quorum of one: reckoned apart from the engine's core. */

import { assert, present } from "../../../crypto/base/assert.ts";
import { decodeChange } from "../../../consensus/raft/change-codec.ts";
import { fromConfState, toConfState } from "../../../consensus/raft/configuration.ts";
import { changeMembership, restoreMembership } from "../../../consensus/raft/confchange.ts";
import type { Journal } from "../../../consensus/raft/record.ts";
import type { ConfChange, ConfState, Entry } from "../../../consensus/raft/types.ts";

const FRESH = { lastIndex: 1n, limits: { countMax: 1, sizeBytesMax: 1 } } as const;

/**
 * Those that may be in force at a node that says something about entry `index`: a change is in force once it is applied,
 * which is known of no later entry than the last that the node recorded as committed.
 */
export function configurationsBefore(journal: Journal, index: bigint): readonly ConfState[] {
  let found = [journal.mark.configuration];
  for (const entry of journal.entries) {
    if (entry.index >= index) break;
    const change = changeOf(entry);
    if (change === undefined) continue;
    const next = afterChange(present(found.at(-1), "configuration"), change);
    found = entry.index <= journal.hardState.commit ? [next] : [...found, next];
  }
  return found;
}

/** The one that every entry before `index` leads to. */
export function configurationAt(journal: Journal, index: bigint): ConfState {
  return present(configurationsBefore(journal, index).at(-1), "configuration");
}

/** What an entry changes; `undefined` when it is of another kind. */
export function changeOf(entry: Entry): ConfChange | undefined {
  if (entry.kind !== "change") return undefined;
  const change = decodeChange(entry.data);
  return change.ok ? change.value : undefined;
}

/** Whether these are a majority of the voters, and while joint of the outgoing ones too. */
export function isQuorumIn({ voters, votersOutgoing }: ConfState, has: (id: bigint) => boolean): boolean {
  const isMajority = (ids: readonly bigint[]): boolean => ids.filter(has).length * 2 > ids.length;
  return isMajority(voters) && (votersOutgoing.length === 0 || isMajority(votersOutgoing));
}

/** Whether this one votes. */
export function isVoterIn({ voters, votersOutgoing }: ConfState, id: bigint): boolean {
  return voters.includes(id) || votersOutgoing.includes(id);
}

/** For people. */
export function configurationName({ voters, votersOutgoing, learners }: ConfState, nameOf: (id: bigint) => string): string {
  const list = (ids: readonly bigint[]): string => ids.map(nameOf).join(", ");
  const joint = votersOutgoing.length > 0 ? ` and of ${list(votersOutgoing)}` : "";
  return `${list(voters)}${joint}${learners.length > 0 ? `, listening ${list(learners)}` : ""}`;
}

/** A change that cannot be made changes nothing, at every node alike. */
function afterChange(state: ConfState, change: ConfChange): ConfState {
  const configuration = fromConfState(state);
  assert(configuration !== undefined, "a configuration that was recorded is sound");
  const changed = changeMembership(restoreMembership(configuration, FRESH), change, FRESH);
  return changed.ok ? toConfState(changed.value.configuration) : state;
}
