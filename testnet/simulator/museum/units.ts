/**
 * The seeded properties that find a bug without a whole network around it. Each takes a seed and throws when the real
 * code breaks a promise: against a naive reference, against an invariant, or against its own assertions.
 */

import { CodedError } from "../../../crypto/base/error.ts";
import type { Unit } from "./property.ts";

/** Loaded when asked for: a hunt pays for the parts that it hunts in. */
const UNITS = {
  raft: async () => (await import("./units/raft.ts")).raftUnderFaults,
  "raft-async": async () => (await import("./units/raft.ts")).raftWithThreads,
  "raft-changes": async () => (await import("./units/raft.ts")).raftWithChanges,
  "raft-lease": async () => (await import("./units/raft.ts")).raftWithLeases,
  "raft-turmoil": async () => (await import("./units/raft.ts")).raftInTurmoil,
  "raft-turmoil-changes": async () => (await import("./units/raft.ts")).raftInTurmoilWithChanges,
  "raft-log": async () => (await import("./units/raft-log.ts")).followerLogIsTheFigure,
  "raft-calm": async () => (await import("./units/raft.ts")).raftLeftAlone,
  tendermint: async () => (await import("./units/networks.ts")).tendermintUnderFaults,
  pbft: async () => (await import("./units/networks.ts")).pbftUnderFaults,
  "pbft-rules": async () => (await import("./units/pbft-rules.ts")).newViewsAreRecomputed,
  quorums: async () => (await import("./units/quorums.ts")).quorumsOverlap,
  wal: async () => (await import("./units/disk.ts")).logKeepsWhatItSaidItHad,
  guard: async () => (await import("./units/disk.ts")).guardSignsOnce,
  light: async () => (await import("./units/light.ts")).headersAreBelievedByTheRules,
  "log-tree": async () => (await import("./units/trees.ts")).logTreeIsTheReference,
  signatures: async () => (await import("./units/signatures.ts")).signaturesSayWhatTheySay,
  turns: async () => (await import("./units/turns.ts")).turnsFollowPower,
  executor: async () => (await import("./units/executor.ts")).tokensOnlyMove,
  mempool: async () => (await import("./units/mempool.ts")).mempoolOffersWhatFits,
  compact: async () => (await import("./units/work.ts")).compactTargetsAreExact,
  retarget: async () => (await import("./units/work.ts")).windowsCoverTheChain,
  "header-tree": async () => (await import("./units/work.ts")).treeLetsInWhatIsTrue,
  stake: async () => (await import("./units/stake.ts")).stakeIsConserved,
} as const satisfies Record<string, () => Promise<Unit>>;

/** What a hunt can name. */
export type UnitName = keyof typeof UNITS;

/** Loads a unit. Throws `unit_unknown`. */
export async function unitOf(name: string): Promise<Unit> {
  if (!Object.hasOwn(UNITS, name)) throw new CodedError("unit_unknown", { message: name });
  return await UNITS[name as UnitName]();
}
