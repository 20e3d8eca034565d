/**
 * Who votes: one majority, or two that must both agree while a change is under way (joint consensus, dissertation 4.3), and learners,
 * who are sent the log and do not vote (4.2.1).
 */

import { MEMBERS_MAX, U64_MAX } from "./limits.ts";
import type { ConfState } from "./types.ts";

/** The configuration in force. The sets are never changed in place: `confchange.ts` makes new ones. */
export type Configuration = {
  readonly incoming: ReadonlySet<bigint>;
  /** The old voters while joint, else empty. */
  readonly outgoing: ReadonlySet<bigint>;
  readonly learners: ReadonlySet<bigint>;
  /** Outgoing voters that become learners when the joint configuration is left. */
  readonly learnersNext: ReadonlySet<bigint>;
  readonly autoLeave: boolean;
};

/** Nobody is in it: a node that waits to be told, by a snapshot. */
export const EMPTY_CONFIGURATION: Configuration = {
  incoming: new Set(),
  outgoing: new Set(),
  learners: new Set(),
  learnersNext: new Set(),
  autoLeave: false,
};

/** A configuration of one majority. */
export function confStateOf(voters: readonly bigint[], learners: readonly bigint[] = []): ConfState {
  return { voters: sortedIds(voters), votersOutgoing: [], learners: sortedIds(learners), learnersNext: [], autoLeave: false };
}

/** Ascending, whatever the order they came in: no iteration order may depend on a peer. */
export function sortedIds(ids: Iterable<bigint>): readonly bigint[] {
  return [...ids].toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

/** Whether two majorities must agree. */
export function isJoint(configuration: Configuration): boolean {
  return configuration.outgoing.size > 0;
}

/** Voters of either half, ascending. */
export function votersOf(configuration: Configuration): readonly bigint[] {
  return sortedIds(new Set([...configuration.incoming, ...configuration.outgoing]));
}

/** Whether it votes in either half. */
export function isVoter(configuration: Configuration, id: bigint): boolean {
  return configuration.incoming.has(id) || configuration.outgoing.has(id);
}

/** Everybody who is sent the log, ascending. */
export function membersOf(configuration: Configuration): readonly bigint[] {
  return sortedIds(new Set([...configuration.incoming, ...configuration.outgoing, ...configuration.learners]));
}

/** As it is stored. */
export function toConfState(configuration: Configuration): ConfState {
  return {
    voters: sortedIds(configuration.incoming),
    votersOutgoing: sortedIds(configuration.outgoing),
    learners: sortedIds(configuration.learners),
    learnersNext: sortedIds(configuration.learnersNext),
    autoLeave: configuration.autoLeave,
  };
}

/**
 * As it was stored, or sent in a snapshot.
 *
 * @returns `undefined` for one that no sequence of changes leads to
 */
export function fromConfState(state: ConfState): Configuration | undefined {
  const configuration: Configuration = {
    incoming: new Set(state.voters),
    outgoing: new Set(state.votersOutgoing),
    learners: new Set(state.learners),
    learnersNext: new Set(state.learnersNext),
    autoLeave: state.autoLeave,
  };
  const lists = [state.voters, state.votersOutgoing, state.learners, state.learnersNext];
  const counted = lists.reduce((count, list) => count + list.length, 0);
  const kept =
    configuration.incoming.size + configuration.outgoing.size + configuration.learners.size + configuration.learnersNext.size;
  if (counted !== kept || counted > 2 * MEMBERS_MAX) return undefined;
  if (lists.some((list) => list.some((id) => id <= 0n || id > U64_MAX))) return undefined;
  return findFault(configuration) === undefined ? configuration : undefined;
}

/** The first rule that a configuration breaks. */
export function findFault(configuration: Configuration): string | undefined {
  const { incoming, outgoing, learners, learnersNext, autoLeave } = configuration;
  if (incoming.size === 0 && outgoing.size + learners.size + learnersNext.size > 0) return "nobody votes";
  for (const id of learnersNext) {
    if (!outgoing.has(id)) return `${id} is to become a learner and is no outgoing voter`;
    if (incoming.has(id)) return `${id} is to become a learner and is an incoming voter`;
  }
  for (const id of learners) if (incoming.has(id) || outgoing.has(id)) return `${id} is a learner and a voter`;
  if (!isJoint(configuration) && autoLeave) return "nothing to leave by itself";
  if (membersOf(configuration).length > MEMBERS_MAX) return `more than ${MEMBERS_MAX} members`;
  return undefined;
}

/** `voters=(1 2 3)&&(1) learners=(4) learners_next=(2) autoleave`. */
export function configurationText(configuration: Configuration): string {
  const set = (ids: ReadonlySet<bigint>): string => `(${sortedIds(ids).join(" ")})`;
  let text = `voters=${set(configuration.incoming)}`;
  if (isJoint(configuration)) text += `&&${set(configuration.outgoing)}`;
  if (configuration.learners.size > 0) text += ` learners=${set(configuration.learners)}`;
  if (configuration.learnersNext.size > 0) text += ` learners_next=${set(configuration.learnersNext)}`;
  if (configuration.autoLeave) text += " autoleave";
  return text;
}
