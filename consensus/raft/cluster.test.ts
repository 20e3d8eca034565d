/**
 * Clusters under faults: messages lost, repeated and reordered, parts cut off, nodes that crash at any write. The checks are the
 * cluster's own (`raft-cluster.ts`); what is added here are the schedules, and that the faults did happen.
 */

import fc from "fast-check";
import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { EMPTY, utf8 } from "../../crypto/base/bytes.ts";
import { checkSeeing } from "../../crypto/testing/property.ts";
import { RaftCluster } from "../testing/raft-cluster.ts";
import type { ClusterOptions } from "../testing/raft-cluster.ts";
import { RAFT_ERRORS } from "./errors.ts";
import { U64_MAX } from "./limits.ts";
import type { ChangeStep, ConfChange, Entry, EntryId, RaftMessage } from "./types.ts";

const VOTERS = [1n, 2n, 3n];
const STEPS_PER_RUN = 800;
const LIVENESS_TICKS_MAX = 400;

/** One step of chaos, drawn from the cluster's own seed. Ticks come to everybody together, or nearly. */
function disturb(cluster: RaftCluster, step: number, options: { changes: boolean; crashes: boolean }): void {
  const { random } = cluster;
  const ids = [...cluster.nodes.keys()];
  const id = random.pick(ids);
  const node = cluster.node(id);
  const dice = random.between(0, 99);
  if (dice < 45 && cluster.messages.length > 0) {
    const at = random.happens(700) ? 0 : random.between(0, cluster.messages.length - 1);
    cluster.deliver(at, random.happens(60) ? "lost" : random.happens(60) ? "twice" : "once");
  } else if (dice < 65) cluster.turn(id);
  else if (dice < 75) cluster.work(id, random.happens(500) ? "append" : "apply");
  else if (dice < 82) cluster.tick();
  else if (dice < 88) cluster.propose(id, `${step}`);
  else if (dice < 91) cluster.read(id);
  else if (dice < 93 && options.crashes) {
    if (node.isUp) cluster.crash(id);
    else cluster.restart(id);
  } else if (dice < 95) {
    if (random.happens(500)) cluster.cut([id], random.happens(300));
    else cluster.heal();
  } else if (dice < 96 && node.isUp) node.core.transferLeader(random.pick(ids));
  else if (dice < 98) cluster.compact(id, BigInt(random.between(0, 3)));
  else if (options.changes) cluster.change(id, someChange(cluster, ids));
  for (const running of cluster.nodes.keys()) {
    if (random.happens(300)) cluster.turn(running);
    if (cluster.isAsync && random.happens(300)) cluster.work(running, random.happens(500) ? "append" : "apply");
  }
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
    cluster.settle();
    const members = [...configuration.voters, ...configuration.votersOutgoing, ...configuration.learners];
    const indexes = members.map((id) => cluster.node(id).machine.index);
    return cluster.chosen.size > before + 1 && indexes.every((index) => index === leader.machine.index);
  }, LIVENESS_TICKS_MAX);
}

const REGIMES: readonly (readonly [string, Omit<ClusterOptions, "seed">, { changes: boolean; crashes: boolean }])[] = [
  ["three voters", { voters: VOTERS }, { changes: false, crashes: true }],
  [
    "no pre-vote, no check of the quorum",
    { voters: VOTERS, config: { preVote: false, checkQuorum: false } },
    { changes: false, crashes: true },
  ],
  ["five, and configurations that change", { voters: VOTERS, spares: [4n, 5n] }, { changes: true, crashes: true }],
  [
    "asynchronous storage",
    { voters: VOTERS, spares: [4n], config: { asyncStorageWrites: true } },
    { changes: true, crashes: true },
  ],
  ["lease reads, clocks together", { voters: VOTERS, config: { readMode: "lease" } }, { changes: false, crashes: true }],
];

for (const [name, options, faults] of REGIMES) {
  t.test(`the promises of figure 3.2 hold, and work goes on after the storm: ${name}`, async (t) => {
    const totals = new Map<string, number>();
    let reads = 0;
    const property = fc.property(fc.nat(1_000_000), (seed) => {
      const cluster = new RaftCluster({ ...options, seed });
      for (let step = 0; step < STEPS_PER_RUN; step += 1) disturb(cluster, step, faults);
      const isRecovered = recovers(cluster);
      for (const [what, count] of cluster.seen) totals.set(what, (totals.get(what) ?? 0) + count);
      reads += cluster.readsServed;
      return isRecovered;
    });
    const seen = (): void => {
      for (const what of ["became", "conflictFound", "snapshotSent", "voteRefused"])
        t.ok((totals.get(what) ?? 0) > 0, `${what}: ${totals.get(what)}`);
      t.ok(reads > 0, `reads served: ${reads}`);
      if (faults.changes) t.ok((totals.get("leavingJoint") ?? 0) > 0, `joint configurations left: ${totals.get("leavingJoint")}`);
    };
    await checkSeeing(t, name, property, { runs: 30, seen });
  });
}

t.test("a node that crashes at any write comes back as if the write was the last thing it did", (t) => {
  let points = 0;
  for (let writes = 1; ; writes += 1) {
    const cluster = new RaftCluster({ seed: 7, voters: VOTERS, crashAt: { node: 2n, writes } });
    const { isUp } = story(cluster);
    if (isUp) break; // The story is over before that many writes.
    points += 1;
    cluster.restart(2n);
    if (!recovers(cluster)) t.fail(`after a crash at write ${writes}`);
    const { hardState } = cluster.core(2n).status();
    t.ok(hardState.commit <= cluster.core(2n).status().lastIndex);
  }
  t.ok(points >= 14, `${points} crash points`);
  t.end();
});

/** Votes, entries, a conflict, a term of its own, a snapshot: all that node 2 ever writes. */
function story(cluster: RaftCluster): { readonly isUp: boolean } {
  const lead = (id: bigint): boolean => {
    cluster.core(id).campaign();
    return cluster.runUntil(() => cluster.core(id).status().role === "leader", 3);
  };
  lead(1n);
  cluster.propose(1n, "one");
  cluster.settle();
  cluster.cut([2n]);
  cluster.propose(1n, "two");
  cluster.settle();
  cluster.compact(1n, 0n);
  cluster.runUntil(() => false, 5);
  cluster.heal();
  cluster.runUntil(() => false, 5);
  if (cluster.node(2n).isUp) cluster.core(1n).transferLeader(2n);
  cluster.runUntil(() => false, 5);
  cluster.cut([2n]);
  cluster.propose(2n, "lost");
  cluster.settle();
  cluster.runUntil(() => false, 40);
  cluster.heal();
  cluster.runUntil(() => false, 20);
  return { isUp: cluster.node(2n).isUp };
}

// Hostile peers.

const anyU64 = fc.oneof(
  { weight: 30, arbitrary: fc.bigInt(0n, 5n) },
  { weight: 1, arbitrary: fc.constantFrom(U64_MAX, U64_MAX - 1n, U64_MAX + 1n, -1n, 1n << 63n) },
);
const anyId: fc.Arbitrary<EntryId> = fc.record({ term: anyU64, index: anyU64 });
const anyData = fc.constantFrom(EMPTY, utf8("x"), new Uint8Array([0x83, 0, 0x80, 0x40]), new Uint8Array([0x83, 1, 0x80, 0x40]));
const anyEntry: fc.Arbitrary<Entry> = fc.record({
  term: anyU64,
  index: anyU64,
  kind: fc.constantFrom("normal", "change"),
  data: anyData,
});
const anyIds = fc.array(fc.bigInt(0n, 5n), { maxLength: 4 });

function anyMessage(): fc.Arbitrary<RaftMessage> {
  const few = <T>(usual: readonly T[], rare: readonly T[]): fc.Arbitrary<T> =>
    fc.oneof({ weight: 19, arbitrary: fc.constantFrom(...usual) }, { weight: 1, arbitrary: fc.constantFrom(...rare) });
  const head = {
    from: few([2n, 3n], [0n, 1n, 4n, 9n]),
    to: few([1n], [2n]),
    term: few([1n, 2n, 3n, 4n], [0n, 5n, 9n, U64_MAX, -1n]),
  };
  const of = <K extends RaftMessage["kind"]>(kind: K): fc.Arbitrary<K> => fc.constant(kind);
  // Half of the appends follow each other as they should, or nothing would come past the first check.
  const chain = fc
    .tuple(
      anyId,
      fc.array(fc.tuple(fc.bigInt(0n, 2n), fc.constantFrom("normal" as const, "change" as const), anyData), { maxLength: 4 }),
    )
    .map(([previous, steps]) => {
      let { term, index } = previous;
      const entries = steps.map(([more, kind, data]): Entry => {
        term += more;
        index += 1n;
        return { term, index, kind, data };
      });
      return { previous, entries };
    });
  const configuration = fc.record({
    voters: anyIds,
    votersOutgoing: anyIds,
    learners: anyIds,
    learnersNext: anyIds,
    autoLeave: fc.boolean(),
  });
  const snapshot = fc.record({ term: anyU64, index: anyU64, configuration, data: anyData });
  return fc.oneof(
    fc
      .tuple(fc.record({ kind: of("append"), ...head, commit: anyU64 }), chain)
      .map(([message, body]) => ({ ...message, ...body })),
    fc.record({ kind: of("append"), ...head, previous: anyId, entries: fc.array(anyEntry, { maxLength: 3 }), commit: anyU64 }),
    fc.record({ kind: of("appendResponse"), ...head, index: anyU64, hint: fc.option(anyId, { nil: undefined }) }),
    fc.record({ kind: fc.constantFrom("vote" as const, "preVote" as const), ...head, last: anyId, isTransfer: fc.boolean() }),
    fc.record({ kind: fc.constantFrom("voteResponse" as const, "preVoteResponse" as const), ...head, isRejected: fc.boolean() }),
    fc.record({ kind: of("heartbeat"), ...head, commit: anyU64, round: anyU64 }),
    fc.record({ kind: of("heartbeatResponse"), ...head, round: anyU64 }),
    fc.record({ kind: of("snapshot"), ...head, snapshot }),
    fc.record({ kind: of("timeoutNow"), ...head }),
    fc.record({ kind: of("transferLeader"), ...head, transferee: anyU64 }),
    fc.record({
      kind: of("propose"),
      ...head,
      term: fc.constantFrom(0n, 0n, 1n),
      proposals: fc.array(fc.record({ kind: fc.constantFrom("normal" as const, "change" as const), data: anyData }), {
        maxLength: 3,
      }),
    }),
    fc.record({ kind: of("readIndex"), ...head, term: fc.constantFrom(0n, 0n, 1n), context: anyData }),
    fc.record({ kind: of("readIndexResponse"), ...head, index: anyU64, context: anyData }),
  );
}

for (const asyncStorageWrites of [false, true]) {
  t.test(
    `no message of a peer makes the core throw, ${asyncStorageWrites ? "asynchronous" : "synchronous"} storage`,
    async (t) => {
      const refused = new Set<string>();
      let accepted = 0;
      const step = fc.oneof(
        { weight: 8, arbitrary: anyMessage() },
        { weight: 3, arbitrary: fc.constantFrom("turn", "tick", "campaign", "propose", "read", "compact") },
      );
      const property = fc.property(fc.array(step, { minLength: 1, maxLength: 60 }), (steps) => {
        const cluster = new RaftCluster({
          seed: 1,
          voters: VOTERS,
          config: { asyncStorageWrites, preVote: false, checkQuorum: false },
        });
        const node = cluster.node(1n);
        for (const what of steps) {
          if (typeof what !== "string") {
            const stepped = node.core.step(what);
            if (stepped.ok) accepted += 1;
            else refused.add(stepped.error.code);
          } else if (what === "tick") for (let ticked = 0; ticked < 5; ticked += 1) node.core.tick();
          else if (what === "campaign") node.core.campaign();
          else if (what === "propose") node.core.propose(utf8("mine"));
          else if (what === "read") node.core.readIndex(utf8("r"));
          else takeTurnUnchecked(cluster);
        }
        takeTurnUnchecked(cluster);
      });
      const seen = (): void => {
        t.ok(accepted > 1000, `${accepted} accepted`);
        for (const code of ["message_malformed", "history_conflict", "index_impossible", "peer_unknown", "sender_invalid"])
          t.ok(refused.has(code), `${code} was seen`);
      };
      await checkSeeing(t, "hostile peers", property, { runs: 800, seen });
      for (const code of refused) t.ok(Object.hasOwn(RAFT_ERRORS, code), `${code} is listed`);
      t.end();
    },
  );
}

/** A turn of node 1 without the cluster's checks: lies may be applied here, but nothing may break. */
function takeTurnUnchecked(cluster: RaftCluster): void {
  const { core, storage } = cluster.node(1n);
  for (let turns = 0; core.hasReady() && turns < 100; turns += 1) {
    const ready = core.ready();
    const { snapshot, entries, hardState } = ready;
    if (snapshot !== undefined) storage.applySnapshot(snapshot);
    storage.append(entries);
    if (hardState !== undefined) storage.setHardState(hardState);
    for (const entry of ready.committed)
      if (entry.kind === "change") core.applyConfChange({ transition: "auto", steps: [], context: EMPTY });
    if (ready.appendWork === undefined && ready.applyWork === undefined) {
      if (!cluster.isAsync) core.advance();
      continue;
    }
    for (const response of ready.appendWork?.responses ?? []) if (response.to === 1n) core.acknowledge(response);
    if (ready.appendWork?.done !== undefined) core.acknowledge(ready.appendWork.done);
    if (ready.applyWork !== undefined) core.acknowledge(present(ready.applyWork, "work").done);
  }
}
