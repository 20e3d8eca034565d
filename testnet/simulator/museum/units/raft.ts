/**
 * Clusters of Raft cores (`consensus/testing/raft-cluster.ts`, which checks the promises of figure 3.2 at every step),
 * under schedules of faults drawn from the seed, and left alone.
 */

import { EMPTY } from "../../../../crypto/base/bytes.ts";
import { type ClusterOptions, RaftCluster } from "../../../../consensus/testing/raft-cluster.ts";
import type { ChangeStep, ConfChange } from "../../../../consensus/raft/types.ts";
import { holds } from "../property.ts";

const STEPS = 500;
const RECOVERY_TICKS_MAX = 400;
const RECOVERS = "work goes on after the storm";

type Regime = { readonly options: Omit<ClusterOptions, "seed">; readonly hasChanges: boolean };

const PLAIN: readonly Regime[] = [
  { options: { voters: [1n, 2n, 3n] }, hasChanges: false },
  { options: { voters: [1n, 2n, 3n], config: { preVote: false, checkQuorum: false } }, hasChanges: false },
  { options: { voters: [1n, 2n, 3n, 4n] }, hasChanges: false },
  { options: { voters: [1n, 2n, 3n, 4n, 5n], config: { preVote: false, checkQuorum: false } }, hasChanges: false },
];
const CHANGES: readonly Regime[] = [
  { options: { voters: [1n, 2n, 3n], spares: [4n, 5n] }, hasChanges: true },
  { options: { voters: [1n, 2n], spares: [3n, 4n], config: { preVote: false, checkQuorum: false } }, hasChanges: true },
];
const THREADS: Regime = {
  options: { voters: [1n, 2n, 3n], spares: [4n], config: { asyncStorageWrites: true } },
  hasChanges: false,
};
const LEASES: Regime = { options: { voters: [1n, 2n, 3n], config: { readMode: "lease" } }, hasChanges: false };

/** Storage that is written before anything else of a turn, three to five voters. */
export function raftUnderFaults(seed: number): void {
  weather(seed, PLAIN[seed % PLAIN.length] as Regime);
}

/** Voters come and go. */
export function raftWithChanges(seed: number): void {
  weather(seed, CHANGES[seed % CHANGES.length] as Regime);
}

/** Storage with threads of its own. */
export function raftWithThreads(seed: number): void {
  weather(seed, THREADS);
}

/** Reads under a lease; all clocks tick together. Somebody who has missed the leader for a while is let back in, again and again. */
export function raftWithLeases(seed: number): void {
  if (seed % 2 === 0) {
    weather(seed, LEASES);
    return;
  }
  const cluster = new RaftCluster({ ...LEASES.options, seed });
  const { random } = cluster;
  cluster.runUntil(() => cluster.leader() !== undefined, 300);
  for (let episode = 0; episode < 6; episode += 1) {
    const leader = cluster.leader();
    const away = random.pick([...cluster.nodes.keys()].filter((id) => id !== leader?.id));
    cluster.cut([away]);
    cluster.runUntil(() => false, random.between(8, 16));
    // Back with one of the others, or asked to lead, while the leader is slow to hear of it.
    if (leader !== undefined && random.happens(500)) {
      cluster.heal();
      cluster.settle();
      leader.core.transferLeader(away);
      cluster.turn(leader.id);
      while (cluster.messages.length > 0 && random.happens(800)) cluster.deliver(0);
    }
    if (leader !== undefined) cluster.cut([leader.id], random.happens(500));
    for (let step = 0; step < 60; step += 1) {
      if (leader !== undefined && random.happens(300)) cluster.read(leader.id);
      if (random.happens(100)) cluster.tick();
      cluster.propose(away, `${episode} ${step}`);
      if (cluster.messages.length > 0) cluster.deliver(random.happens(800) ? 0 : random.between(0, cluster.messages.length - 1));
      for (const id of cluster.nodes.keys()) if (random.happens(500)) cluster.turn(id);
    }
    cluster.heal();
    cluster.settle();
  }
  holds(recovers(cluster), RECOVERS);
}

/**
 * Reign after reign: somebody campaigns, a few nodes hear it out, it proposes, a few hear that, and it is gone. One entry
 * goes in a message, so that logs end in all sorts of places.
 */
export function raftInTurmoil(seed: number): void {
  reignAfterReign(seed, { voters: [1n, 2n, 3n, 4n, 5n] }, false);
}

/** The same while voters come and go. */
export function raftInTurmoilWithChanges(seed: number): void {
  reignAfterReign(seed, { voters: [1n, 2n, 3n], spares: [4n, 5n] }, true);
}

function reignAfterReign(seed: number, options: Omit<ClusterOptions, "seed">, hasChanges: boolean): void {
  const config = { preVote: false, checkQuorum: false, messageSizeBytesMax: 1 };
  const cluster = new RaftCluster({ ...options, seed, config });
  const { random } = cluster;
  const ids = [...cluster.nodes.keys()];
  for (let reign = 0; reign < 20; reign += 1) {
    for (const id of ids) if (!cluster.node(id).isUp && random.happens(700)) cluster.restart(id);
    const id = random.pick(ids);
    if (!cluster.node(id).isUp) continue;
    cluster.core(id).campaign();
    exchange(cluster, [id, ...random.shuffle(ids).slice(0, random.between(2, 3))], random.between(8, 40));
    if (hasChanges && random.happens(400)) cluster.change(id, someChange(cluster, ids));
    else cluster.propose(id, `${reign}`);
    exchange(cluster, [id, ...random.shuffle(ids).slice(0, random.between(0, 3))], random.between(1, 30));
    cluster.messages = [];
    cluster.crash(id);
  }
  holds(recovers(cluster), RECOVERS);
}

/** So many messages among these nodes, in order; what goes to others is lost. */
function exchange(cluster: RaftCluster, among: readonly bigint[], count: number): void {
  for (let done = 0; done < count; done += 1) {
    for (const id of among) cluster.turn(id);
    const message = cluster.messages[0];
    if (message === undefined) return;
    cluster.deliver(0, among.includes(message.to) ? "once" : "lost");
  }
}

/**
 * Nothing is lost but what one node that is cut off for a while misses: its return deposes nobody, and a leader that
 * everybody hears leads on. A leader that dies has a successor within a few timeouts.
 */
export function raftLeftAlone(seed: number): void {
  const voters = [1n, 2n, 3n, 4n, 5n].slice(0, 3 + (seed % 3));
  const cluster = new RaftCluster({ seed, voters, config: { checkQuorum: seed % 2 === 0 } });
  const { random } = cluster;
  holds(
    cluster.runUntil(() => cluster.leader() !== undefined, 300),
    "a leader is elected",
  );
  const reign = reignOf(cluster);
  cluster.runUntil(() => false, random.between(30, 80));
  holds(reignOf(cluster) === reign, "a leader that is heard leads on", () => `${reign}, then ${reignOf(cluster)}`);
  const away = random.pick([...cluster.nodes.keys()].filter((id) => id !== cluster.leader()?.id));
  cluster.cut([away]);
  // Entries that it misses: without them its log is as good as any, and it may lead.
  if (cluster.leader() !== undefined) cluster.propose(cluster.leader()?.id ?? 0n, "missed");
  cluster.runUntil(() => false, random.between(20, 120));
  cluster.heal();
  cluster.runUntil(() => false, random.between(10, 60));
  holds(reignOf(cluster) === reign, "a node that comes back deposes nobody", () => `${reign}, then ${reignOf(cluster)}`);
  const leader = cluster.leader();
  if (leader === undefined) return;
  cluster.crash(leader.id);
  holds(
    cluster.runUntil(() => cluster.leader() !== undefined, 300),
    "a leader that dies has a successor",
  );
}

function reignOf(cluster: RaftCluster): string {
  const leader = cluster.leader();
  return leader === undefined ? "nobody" : `${leader.id} in term ${leader.core.status().hardState.term}`;
}

function weather(seed: number, { options, hasChanges }: Regime): void {
  const cluster = new RaftCluster({ ...options, seed });
  for (let step = 0; step < STEPS; step += 1) disturb(cluster, step, hasChanges);
  holds(recovers(cluster), RECOVERS);
}

/** One step, drawn from the cluster's own seed. */
function disturb(cluster: RaftCluster, step: number, hasChanges: boolean): void {
  const { random } = cluster;
  const ids = [...cluster.nodes.keys()];
  const id = random.pick(ids);
  const node = cluster.node(id);
  const dice = random.between(0, 99);
  if (hasChanges && random.happens(40)) cluster.change(id, someChange(cluster, ids));
  if (dice < 45) disturbWire(cluster);
  else if (dice < 60) cluster.turn(id);
  else if (dice < 70) cluster.work(id, random.happens(500) ? "append" : "apply");
  else if (dice < 79) cluster.tick();
  else if (dice < 86) cluster.propose(id, `${step}`);
  else if (dice < 90) cluster.read(id);
  else if (dice < 92 && node.isUp) cluster.crash(id);
  else if (dice < 93 && !node.isUp) cluster.restart(id);
  else if (dice < 95) disturbLinks(cluster, id);
  else if (dice < 96 && node.isUp) node.core.transferLeader(random.pick(ids));
  else if (dice < 98) cluster.compact(id, BigInt(random.between(0, 3)));
  for (const [running, { isUp }] of cluster.nodes) {
    if (!isUp && random.happens(20)) cluster.restart(running);
    if (random.happens(300)) cluster.turn(running);
  }
}

function disturbWire(cluster: RaftCluster): void {
  const { random, messages } = cluster;
  if (messages.length === 0) return;
  const at = random.happens(700) ? 0 : random.between(0, messages.length - 1);
  cluster.deliver(at, random.happens(60) ? "lost" : random.happens(60) ? "twice" : "once");
}

function disturbLinks(cluster: RaftCluster, id: bigint): void {
  const { random } = cluster;
  if (random.happens(500)) cluster.cut([id], random.happens(300));
  else cluster.heal();
}

function someChange({ random }: RaftCluster, ids: readonly bigint[]): ConfChange {
  const kinds: readonly ChangeStep["kind"][] = ["voter", "voter", "voter", "learner", "remove"];
  const steps = Array.from({ length: random.between(0, 3) }, () => ({ kind: random.pick(kinds), node: random.pick(ids) }));
  return { transition: random.pick(["auto", "implicit", "explicit"] as const), steps, context: EMPTY };
}

/** Everybody comes back, and the cluster does its work again. @returns whether it did */
function recovers(cluster: RaftCluster): boolean {
  cluster.heal();
  for (const [id, { isUp }] of cluster.nodes) if (!isUp) cluster.restart(id);
  const before = cluster.chosen.size;
  return cluster.runUntil(() => {
    const leader = cluster.leader();
    if (leader === undefined) return false;
    const { configuration } = leader.core.status();
    if (configuration.votersOutgoing.length > 0 && !configuration.autoLeave)
      cluster.change(leader.id, { transition: "auto", steps: [], context: EMPTY });
    cluster.propose(leader.id, "after the storm");
    cluster.read(leader.id);
    cluster.settle();
    const members = [...configuration.voters, ...configuration.votersOutgoing, ...configuration.learners];
    const indexes = members.map((id) => cluster.node(id).machine.index);
    return cluster.chosen.size > before + 1 && indexes.every((index) => index === leader.machine.index);
  }, RECOVERY_TICKS_MAX);
}
