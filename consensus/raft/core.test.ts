/**
 * The rules of Raft, one by one, each with the nearest thing that must not happen. Sections are of Ongaro 2014, "Consensus: Bridging
 * Theory and Practice". One node is fed by hand where a rule concerns one node; a cluster (`raft-cluster.ts`) where it concerns many.
 */

import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { EMPTY, utf8 } from "../../crypto/base/bytes.ts";
import { CLUSTER_CONFIG, RaftCluster } from "../testing/raft-cluster.ts";
import { decodeChange, encodeChange, LEAVE_JOINT } from "./change-codec.ts";
import { confStateOf } from "./configuration.ts";
import { RaftCore } from "./core.ts";
import { PROPOSAL_SIZE_BYTES_MAX, READ_CONTEXT_SIZE_BYTES_MAX, READS_PENDING_MAX } from "./limits.ts";
import { Progress } from "./progress.ts";
import { leaseTicks } from "./reads.ts";
import { MemoryRaftStorage } from "./storage.ts";
import type { RaftConfig } from "./config.ts";
import type { Append, ConfChange, Entry, EntryId, HardState, RaftMessage, Ready, VoteRequest } from "./types.ts";

const VOTERS = [1n, 2n, 3n];

type Log = readonly (readonly [term: bigint, text: string])[];
type Setup = {
  readonly config?: Partial<RaftConfig>;
  readonly voters?: readonly bigint[];
  readonly learners?: readonly bigint[];
  readonly hardState?: HardState;
  /** Entries from index 1 on. */
  readonly log?: Log;
};

/** Node 1, by hand. */
class Lone {
  readonly storage = new MemoryRaftStorage();
  readonly core: RaftCore;
  readonly turns: Ready[] = [];

  constructor({ config = {}, voters = VOTERS, learners = [], hardState, log = [] }: Setup = {}) {
    this.storage.setConfiguration(confStateOf(voters, learners));
    this.storage.append(entriesOf(0n, log));
    if (hardState !== undefined) this.storage.setHardState(hardState);
    const defaults = { ...CLUSTER_CONFIG, preVote: false, checkQuorum: false, random: () => 0, observe: undefined, id: 1n };
    this.core = new RaftCore({ ...defaults, ...config }, this.storage);
  }

  /** Takes all turns, as a driver would. @returns what was sent */
  take(): readonly RaftMessage[] {
    const sent: RaftMessage[] = [];
    while (this.core.hasReady()) {
      const ready = this.core.ready();
      this.turns.push(ready);
      if (ready.snapshot !== undefined) this.storage.applySnapshot(ready.snapshot);
      this.storage.append(ready.entries);
      if (ready.hardState !== undefined) this.storage.setHardState(ready.hardState);
      sent.push(...ready.messages);
      for (const { kind, data } of ready.committed) {
        const change = kind === "change" ? decodeChange(data) : undefined;
        if (change?.ok === true) this.core.applyConfChange(change.value);
      }
      this.core.advance();
    }
    return sent;
  }

  /** Steps a message to node 1 and takes its turns. @returns what was sent, or the code of the refusal */
  step(message: DistributedOmit<RaftMessage, "to">): readonly RaftMessage[] | string {
    const stepped = this.core.step({ ...message, to: 1n } as RaftMessage);
    return stepped.ok ? this.take() : stepped.error.code;
  }

  /** Leads, by the vote of node 2. */
  lead(): this {
    this.core.campaign();
    this.take();
    this.step({ kind: "voteResponse", from: 2n, term: this.term, isRejected: false });
    if (this.core.status().role !== "leader") throw new Error("node 1 does not lead");
    return this;
  }

  get term(): bigint {
    return this.core.status().hardState.term;
  }

  get commit(): bigint {
    return this.core.status().hardState.commit;
  }
}

type DistributedOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

function entriesOf(after: bigint, log: Log): readonly Entry[] {
  return log.map(([term, text], offset) => ({ term, index: after + 1n + BigInt(offset), kind: "normal", data: utf8(text) }));
}

function vote(from: bigint, term: bigint, last: EntryId, kind: VoteRequest["kind"] = "vote"): DistributedOmit<VoteRequest, "to"> {
  return { kind, from, term, last, isTransfer: false };
}

function append(from: bigint, term: bigint, previous: EntryId, log: Log, commit = 0n): DistributedOmit<Append, "to"> {
  return { kind: "append", from, term, previous, entries: entriesOf(previous.index, log), commit };
}

function accepted(from: bigint, term: bigint, index: bigint): DistributedOmit<RaftMessage, "to"> {
  return { kind: "appendResponse", from, term, index, hint: undefined };
}

function kindsOf(sent: readonly RaftMessage[] | string): readonly string[] | string {
  return typeof sent === "string" ? sent : sent.map(({ kind }) => kind);
}

function isGranted(sent: readonly RaftMessage[] | string): boolean {
  return typeof sent !== "string" && sent.some((message) => message.kind === "voteResponse" && !message.isRejected);
}

const ZERO: EntryId = { term: 0n, index: 0n };

// 3.3, terms.

t.test("a leader that hears a later term follows; of its own term or an earlier one it does not (3.3)", (t) => {
  const node = new Lone().lead();
  node.step({ kind: "heartbeatResponse", from: 2n, term: 1n, round: 0n });
  t.equal(node.core.status().role, "leader", "its own term");
  node.step({ kind: "voteResponse", from: 2n, term: 9n, isRejected: true });
  t.equal(node.core.status().role, "follower");
  t.equal(node.term, 9n);
  t.same(node.step(append(3n, 8n, ZERO, [[8n, "old"]])), [], "an earlier term is not heard");
  t.equal(node.core.status().lastIndex, 1n);
  t.end();
});

t.test("two leaders in one term are reported, not followed (election safety, 3.4)", (t) => {
  const follower = new Lone();
  t.same(kindsOf(follower.step({ kind: "heartbeat", from: 2n, term: 1n, commit: 0n, round: 1n })), ["heartbeatResponse"]);
  t.equal(follower.step({ kind: "heartbeat", from: 3n, term: 1n, commit: 0n, round: 1n }), "history_conflict");
  t.equal(follower.core.status().leader, 2n);
  t.same(
    kindsOf(follower.step({ kind: "heartbeat", from: 3n, term: 2n, commit: 0n, round: 1n })),
    ["heartbeatResponse"],
    "a later term may",
  );
  const leader = new Lone().lead();
  t.equal(leader.step(append(2n, 1n, ZERO, [[1n, "theirs"]])), "history_conflict");
  t.end();
});

// 3.4, elections.

t.test("one vote a term (3.4)", (t) => {
  const node = new Lone();
  t.ok(isGranted(node.step(vote(2n, 5n, ZERO))));
  t.notOk(isGranted(node.step(vote(3n, 5n, ZERO))), "another candidate of that term");
  t.ok(isGranted(node.step(vote(2n, 5n, ZERO))), "the same again: the answer may have been lost");
  t.ok(isGranted(node.step(vote(3n, 6n, ZERO))), "another term, another vote");
  t.end();
});

t.test("a vote is not given again after stepping down in its term (3.4)", (t) => {
  const candidate = new Lone();
  candidate.core.campaign();
  candidate.take();
  candidate.step({ kind: "heartbeat", from: 2n, term: 1n, commit: 0n, round: 1n });
  t.equal(candidate.core.status().role, "follower");
  t.notOk(isGranted(candidate.step(vote(3n, 1n, ZERO))));
  const leader = new Lone({ config: { checkQuorum: true } }).lead();
  for (let ticked = 0; ticked < CLUSTER_CONFIG.electionTicks; ticked += 1) leader.core.tick();
  t.equal(leader.core.status().role, "follower", "it lost its quorum");
  t.equal(leader.term, 1n);
  t.notOk(isGranted(leader.step(vote(3n, 1n, { term: 1n, index: 9n }))));
  t.ok(isGranted(leader.step(vote(3n, 2n, { term: 1n, index: 9n }))), "the next term is another matter");
  t.end();
});

t.test("a vote is durable before it is said, and remembered by who starts again (3.4, 3.8)", (t) => {
  const node = new Lone();
  t.ok(node.core.step({ ...vote(2n, 5n, ZERO), to: 1n }).ok);
  const ready = node.core.ready();
  t.same(ready.hardState, { term: 5n, vote: 2n, commit: 0n });
  t.same(kindsOf(ready.messages), ["voteResponse"], "in the same turn, to be sent after");
  t.ok(ready.mustSync);
  const again = new Lone({ hardState: present(ready.hardState, "hard state") });
  t.notOk(isGranted(again.step(vote(3n, 5n, ZERO))));
  const forgot = new Lone();
  t.ok(isGranted(forgot.step(vote(3n, 5n, ZERO))), "without its disk it would vote twice: that is why the order matters");
  t.end();
});

t.test("a log that is less complete gets no vote (3.6.1)", (t) => {
  const log: Log = [
    [1n, "a"],
    [2n, "b"],
  ];
  const table: readonly (readonly [EntryId, boolean])[] = [
    [{ term: 1n, index: 9n }, false],
    [{ term: 2n, index: 1n }, false],
    [{ term: 2n, index: 2n }, true],
    [{ term: 3n, index: 1n }, true],
  ];
  for (const [last, expected] of table) {
    const node = new Lone({ log, hardState: { term: 2n, vote: 0n, commit: 0n } });
    t.equal(isGranted(node.step(vote(2n, 3n, last))), expected, `term ${last.term}, index ${last.index}`);
    t.equal(node.term, 3n, "the term is heard all the same");
  }
  t.end();
});

t.test("a majority makes a leader, less does not, and a majority of refusals ends the campaign (3.4)", (t) => {
  const voters = [1n, 2n, 3n, 4n, 5n];
  const node = new Lone({ voters });
  node.core.campaign();
  t.same(kindsOf(node.take()), ["vote", "vote", "vote", "vote"]);
  const answer = (from: bigint, isRejected: boolean): void =>
    void node.step({ kind: "voteResponse", from, term: 1n, isRejected });
  answer(2n, false);
  answer(2n, false);
  t.equal(node.core.status().role, "candidate", "two of five, however often the second says so");
  answer(4n, true);
  answer(4n, false);
  t.equal(node.core.status().role, "candidate", "nor by one who has refused");
  answer(3n, false);
  t.equal(node.core.status().role, "leader");
  const loser = new Lone({ voters });
  loser.core.campaign();
  loser.take();
  for (const from of [2n, 3n, 4n]) loser.step({ kind: "voteResponse", from, term: 1n, isRejected: true });
  t.equal(loser.core.status().role, "follower");
  t.end();
});

t.test("votes of strangers and learners are not counted (4.2.1)", (t) => {
  const node = new Lone({ learners: [4n] });
  node.core.campaign();
  node.take();
  t.equal(node.step({ kind: "voteResponse", from: 9n, term: 1n, isRejected: false }), "peer_unknown");
  node.step({ kind: "voteResponse", from: 4n, term: 1n, isRejected: false });
  t.equal(node.core.status().role, "candidate");
  node.step({ kind: "voteResponse", from: 3n, term: 1n, isRejected: false });
  t.equal(node.core.status().role, "leader");
  t.end();
});

t.test("a learner waits for ever, and a voter campaigns after its election timeout, not a tick sooner (3.4)", (t) => {
  const voter = new Lone({ config: { random: () => 3 } });
  for (let ticked = 1; ticked < CLUSTER_CONFIG.electionTicks + 3; ticked += 1) voter.core.tick();
  t.equal(voter.core.status().role, "follower");
  voter.core.tick();
  t.equal(voter.core.status().role, "candidate");
  const learner = new Lone({ voters: [2n, 3n], learners: [1n] });
  for (let ticked = 0; ticked < 100; ticked += 1) learner.core.tick();
  t.equal(learner.core.status().role, "follower");
  t.end();
});

t.test("who gives a vote waits anew for the leader that it may make; who refuses one does not (3.4)", (t) => {
  const node = new Lone({ log: [[1n, "a"]], hardState: { term: 1n, vote: 0n, commit: 0n } });
  const wait = (): void => {
    for (let ticked = 1; ticked < CLUSTER_CONFIG.electionTicks; ticked += 1) node.core.tick();
  };
  wait();
  t.ok(isGranted(node.step(vote(2n, 1n, { term: 1n, index: 1n }))));
  wait();
  t.equal(node.core.status().role, "follower");
  t.notOk(isGranted(node.step(vote(3n, 1n, { term: 1n, index: 1n }))));
  node.core.tick();
  t.equal(node.core.status().role, "candidate");
  t.end();
});

t.test("a node with a committed change that it has not applied does not campaign", (t) => {
  const change: Entry = { term: 1n, index: 1n, kind: "change", data: encodeChange(LEAVE_JOINT) };
  const node = new Lone({ hardState: { term: 1n, vote: 0n, commit: 0n } });
  node.step({ ...append(2n, 1n, ZERO, []), entries: [change] });
  t.ok(node.core.step({ ...append(2n, 1n, { term: 1n, index: 1n }, [], 1n), to: 1n }).ok);
  node.core.campaign();
  t.equal(node.core.status().role, "follower");
  node.take();
  node.core.campaign();
  t.equal(node.core.status().role, "candidate", "applied");
  t.end();
});

// 3.5 and 3.6, replication.

t.test("a follower takes entries that follow what it has, and says where it differs otherwise (3.5)", (t) => {
  const node = new Lone({ log: [[1n, "a"]], hardState: { term: 1n, vote: 0n, commit: 0n } });
  const missing = node.step(append(2n, 2n, { term: 2n, index: 3n }, [[2n, "d"]]));
  t.match(missing, [{ kind: "appendResponse", index: 3n, hint: { index: 1n, term: 1n } }]);
  const found = node.step(append(2n, 2n, { term: 1n, index: 1n }, [[2n, "b"]]));
  t.match(found, [{ kind: "appendResponse", index: 2n, hint: undefined }]);
  t.end();
});

t.test("entries that contradict the leader's go with all that follow them; those that agree stay (3.5)", (t) => {
  const log: Log = [
    [1n, "a"],
    [1n, "b"],
    [1n, "c"],
  ];
  const node = new Lone({ log, hardState: { term: 1n, vote: 0n, commit: 0n } });
  node.step(append(2n, 2n, ZERO, [[1n, "a"]]));
  t.equal(node.core.status().lastIndex, 3n, "an old append that agrees takes nothing away");
  node.step(append(2n, 2n, { term: 1n, index: 1n }, [[2n, "B"]]));
  t.equal(node.core.status().lastIndex, 2n);
  t.equal(node.storage.term(2n), 2n);
  t.end();
});

t.test("what is committed is never replaced: whoever tries is reported (3.6.2)", (t) => {
  const node = new Lone({ log: [[1n, "a"]], hardState: { term: 1n, vote: 0n, commit: 0n } });
  node.step(append(2n, 1n, { term: 1n, index: 1n }, [[1n, "b"]], 1n));
  t.equal(node.commit, 1n);
  t.match(node.step(append(3n, 2n, ZERO, [[2n, "A"]])), [{ kind: "appendResponse", index: 1n }], "old news: we say what we hold");
  t.equal(node.storage.term(1n), 1n);
  const table = node.step(append(3n, 2n, { term: 1n, index: 1n }, [[2n, "B"]]));
  t.match(table, [{ kind: "appendResponse", index: 2n }], "after the commit index it may");
  t.end();
});

t.test("an append is acknowledged when it is durable: with the turn, or by the append thread (3.8, 10.2)", (t) => {
  const node = new Lone();
  t.ok(node.core.step({ ...append(2n, 1n, ZERO, [[1n, "a"]]), to: 1n }).ok);
  const ready = node.core.ready();
  t.equal(ready.entries.length, 1);
  t.same(kindsOf(ready.messages), ["appendResponse"]);
  const threaded = new Lone({ config: { asyncStorageWrites: true } });
  t.ok(threaded.core.step({ ...append(2n, 1n, ZERO, [[1n, "a"]]), to: 1n }).ok);
  const turn = threaded.core.ready();
  t.same(turn.messages, [], "nothing at once");
  t.same(kindsOf(turn.appendWork?.responses ?? []), ["appendResponse"], "but with the work");
  t.match(turn.appendWork?.done, { term: 1n, last: { term: 1n, index: 1n } });
  t.end();
});

t.test("a leader's own copy counts when it is durable, not before (10.2.1)", (t) => {
  const node = new Lone({ voters: [1n], config: { asyncStorageWrites: true } });
  node.core.campaign();
  const candidacy = present(node.core.ready().appendWork, "append work");
  t.equal(node.core.status().role, "candidate", "its own vote is not durable");
  for (const response of candidacy.responses) node.core.acknowledge(response);
  t.equal(node.core.status().role, "leader");
  const first = present(node.core.ready().appendWork, "append work");
  t.equal(node.commit, 0n);
  for (const response of first.responses) node.core.acknowledge(response);
  t.equal(node.commit, 1n);
  t.end();
});

/** Node 1 with threads: each message is a turn, whose append work is returned and not done. */
function threadedTurns(): {
  readonly node: Lone;
  readonly hear: (message: DistributedOmit<RaftMessage, "to">) => Ready;
} {
  const node = new Lone({ config: { asyncStorageWrites: true } });
  return {
    node,
    hear: (message) => {
      if (!node.core.step({ ...message, to: 1n } as RaftMessage).ok) throw new Error("refused");
      return node.core.ready();
    },
  };
}

t.test(
  "a confirmation from before the term changed confirms nothing, though the same entry is back (10.2, the ABA race)",
  (t) => {
    const { node, hear } = threadedTurns();
    const first = hear(append(2n, 1n, ZERO, [[1n, "a"]]));
    hear(append(3n, 2n, ZERO, [[2n, "b"]]));
    const third = hear(append(2n, 3n, ZERO, [[1n, "a"]]));
    node.core.acknowledge(present(first.appendWork?.done, "done"));
    const committed = hear(append(2n, 3n, { term: 1n, index: 1n }, [], 1n));
    t.equal(node.commit, 1n);
    t.equal(committed.applyWork, undefined, "the disk is about to hold entry b, and then a again");
    node.storage.append(present(third.appendWork, "append work").entries);
    node.core.acknowledge(present(third.appendWork?.done, "done"));
    t.equal(node.core.ready().applyWork?.entries.length, 1);
    t.end();
  },
);

t.test("a confirmation of entries that were replaced since, in its own term, confirms nothing (10.2)", (t) => {
  const { node, hear } = threadedTurns();
  hear(append(2n, 1n, ZERO, [[1n, "a"]]));
  const second = hear(vote(3n, 2n, { term: 1n, index: 1n }));
  t.match(second.appendWork?.done, { term: 2n, last: { term: 1n, index: 1n } }, "it speaks for the entry, in the new term");
  hear(append(3n, 2n, ZERO, [[2n, "b"]]));
  node.core.acknowledge(present(second.appendWork?.done, "done"));
  t.equal(hear(append(3n, 2n, { term: 2n, index: 1n }, [], 1n)).applyWork, undefined);
  t.equal(node.commit, 1n, "the entry is still in the log");
  t.end();
});

t.test("entries that replace some that were handed out are handed out again (10.2)", (t) => {
  const { hear } = threadedTurns();
  const log: Log = [
    [1n, "a"],
    [1n, "b"],
    [1n, "c"],
  ];
  t.equal(hear(append(2n, 1n, ZERO, log)).entries.length, 3);
  const replaced = hear(append(3n, 2n, { term: 1n, index: 1n }, [[2n, "B"]]));
  t.match(replaced.entries, [{ term: 2n, index: 2n }]);
  t.match(hear(append(2n, 3n, ZERO, [[3n, "A"]])).entries, [{ term: 3n, index: 1n }]);
  t.end();
});

t.test("a follower commits no further than the leader has shown their logs to be equal (figure 3.1, step 5)", (t) => {
  const log: Log = [
    [1n, "a"],
    [1n, "stale"],
    [1n, "stale"],
  ];
  const node = new Lone({ log, hardState: { term: 1n, vote: 0n, commit: 0n } });
  node.step(append(2n, 2n, { term: 1n, index: 1n }, [], 3n));
  t.equal(node.commit, 1n, "entries 2 and 3 of the leader are others");
  node.step(append(2n, 2n, { term: 1n, index: 1n }, [[2n, "b"]], 3n));
  t.equal(node.commit, 2n);
  t.end();
});

t.test("an old term's entry is not committed by counting; it is with one of the new term (3.6.2, figure 3.7)", (t) => {
  // (c) of the figure: node 1 leads term 4, entry 2 is of term 2 and on a majority.
  const log: Log = [
    [1n, "1"],
    [2n, "2"],
  ];
  const node = new Lone({ voters: [1n, 2n, 3n, 4n, 5n], log, hardState: { term: 3n, vote: 0n, commit: 1n } });
  node.core.campaign();
  node.take();
  for (const from of [2n, 3n]) node.step({ kind: "voteResponse", from, term: 4n, isRejected: false });
  t.equal(node.core.status().role, "leader");
  for (const from of [2n, 3n]) node.step(accepted(from, 4n, 2n));
  t.equal(node.commit, 1n, "entry 2 is on three of five, and may still be lost (d)");
  for (const from of [2n, 3n]) node.step(accepted(from, 4n, 3n));
  t.equal(node.commit, 3n, "with an entry of term 4 on three of five, it cannot (e)");
  t.end();
});

t.test("entries that leave a gap, or whose terms fall, or are of the future, are refused (3.5)", (t) => {
  const node = new Lone();
  const good = append(2n, 3n, ZERO, [
    [2n, "a"],
    [3n, "b"],
  ]);
  const [first, second] = good.entries as readonly [Entry, Entry];
  const table: readonly (readonly Entry[])[] = [
    [first, { ...second, index: 3n }],
    [first, { ...second, term: 1n }],
    [first, { ...second, term: 4n }],
    [{ ...first, term: 0n }, second],
  ];
  for (const entries of table) t.equal(node.step({ ...good, entries }), "message_malformed");
  t.match(node.step(good), [{ kind: "appendResponse", index: 2n, hint: undefined }]);
  t.end();
});

t.test("a member that claims entries beyond our log is not believed", (t) => {
  const node = new Lone().lead();
  t.equal(node.step(accepted(2n, 1n, 2n)), "index_impossible");
  t.equal(node.commit, 0n);
  t.same(typeof node.step(accepted(2n, 1n, 1n)), "object");
  t.equal(node.commit, 1n);
  const follower = new Lone();
  t.equal(follower.step({ kind: "heartbeat", from: 2n, term: 1n, commit: 1n, round: 1n }), "index_impossible");
  t.end();
});

// 3.10, transfer.

t.test("leadership goes to a voter that is up to date, at once, and is proposed nothing meanwhile (3.10)", (t) => {
  const cluster = new RaftCluster({ seed: 1, voters: VOTERS });
  cluster.elect(1n);
  cluster.core(1n).transferLeader(2n);
  t.match(cluster.core(1n).propose(utf8("x")), { ok: false, error: { code: "proposal_dropped", detail: "transferring" } });
  cluster.settle();
  t.equal(cluster.leader()?.id, 2n, "no election timeout was waited for");
  t.end();
});

t.test("a transfer to a node that does not answer is given up after an election timeout (3.10)", (t) => {
  const cluster = new RaftCluster({ seed: 1, voters: VOTERS });
  cluster.elect(1n);
  cluster.cut([2n]);
  cluster.core(1n).transferLeader(2n);
  cluster.settle();
  t.notOk(cluster.core(1n).propose(utf8("x")).ok);
  cluster.runUntil(() => false, CLUSTER_CONFIG.electionTicks);
  t.ok(cluster.core(1n).propose(utf8("x")).ok);
  t.equal(cluster.leader()?.id, 1n);
  t.end();
});

t.test("nobody but the leader can ask a follower to campaign (3.10)", (t) => {
  const node = new Lone({ config: { checkQuorum: true } });
  node.step({ kind: "heartbeat", from: 2n, term: 1n, commit: 0n, round: 1n });
  t.same(node.step({ kind: "timeoutNow", from: 3n, term: 1n }), []);
  t.equal(node.core.status().role, "follower");
  t.same(kindsOf(node.step({ kind: "timeoutNow", from: 2n, term: 1n })), ["vote", "vote"]);
  t.end();
});

// 4, membership.

const EXPLICIT = (steps: ConfChange["steps"]): ConfChange => ({ transition: "explicit", steps, context: EMPTY });

/** Voters 1, 2, 3 under the leader 1, who proposes to go over to 1, 4, 5; settled in the joint configuration. */
function jointCluster(): RaftCluster {
  const cluster = new RaftCluster({ seed: 3, voters: VOTERS, spares: [4n, 5n], config: { checkQuorum: false, preVote: false } });
  cluster.elect(1n);
  const change = EXPLICIT([
    { kind: "voter", node: 4n },
    { kind: "voter", node: 5n },
    { kind: "remove", node: 2n },
    { kind: "remove", node: 3n },
  ]);
  cluster.change(1n, change);
  cluster.settle();
  cluster.compact(1n, 0n);
  cluster.runUntil(
    () =>
      cluster
        .core(1n)
        .status()
        .progress.every(({ state }) => state === "replicate"),
    20,
  );
  return cluster;
}

t.test("a joint configuration is not left under the new majority alone, nor under the old one (4.3)", (t) => {
  for (const silent of [
    [2n, 3n],
    [4n, 5n],
  ]) {
    const cluster = jointCluster();
    t.same(cluster.core(1n).status().configuration.votersOutgoing, VOTERS);
    cluster.cut(silent);
    const before = cluster.core(1n).status().hardState.commit;
    cluster.change(1n, LEAVE_JOINT);
    cluster.runUntil(() => false, 10);
    t.equal(cluster.core(1n).status().hardState.commit, before, `without ${silent.join(" and ")} nothing is committed`);
    t.same(cluster.core(1n).status().configuration.votersOutgoing, VOTERS);
    cluster.heal();
    cluster.runUntil(() => cluster.core(1n).status().configuration.votersOutgoing.length === 0, 30);
    t.same(cluster.core(1n).status().configuration.voters, [1n, 4n, 5n], "with both it is");
  }
  t.end();
});

t.test("in a joint configuration nobody is elected by one half (4.3)", (t) => {
  const cluster = jointCluster();
  cluster.cut([1n, 4n, 5n]);
  cluster.core(4n).campaign();
  cluster.settle();
  t.equal(cluster.core(4n).status().role, "candidate", "1, 4 and 5 are all of the new half");
  cluster.heal();
  cluster.core(4n).campaign();
  cluster.settle();
  t.equal(cluster.core(4n).status().role, "leader");
  t.end();
});

t.test("one change at a time, and none that leaves nobody: such a proposal becomes an empty entry (4.1)", (t) => {
  const node = new Lone({ voters: [1n] });
  node.core.campaign();
  node.take();
  const add = (id: bigint): ConfChange => ({ transition: "auto", steps: [{ kind: "learner", node: id }], context: EMPTY });
  const kindsProposed = (): readonly string[] => {
    node.turns.length = 0;
    node.take();
    return node.turns.flatMap(({ entries }) => entries.map(({ kind }) => kind));
  };
  t.ok(node.core.proposeConfChange(add(2n)).ok);
  t.ok(node.core.proposeConfChange(add(3n)).ok);
  t.same(kindsProposed(), ["change", "normal"], "the second came too early");
  t.ok(node.core.proposeConfChange({ transition: "auto", steps: [{ kind: "remove", node: 1n }], context: EMPTY }).ok);
  t.same(kindsProposed(), ["normal"], "nobody would be left");
  t.end();
});

t.test("a joint configuration that is left by itself is left once, whatever is applied meanwhile (4.3)", (t) => {
  const node = new Lone({ voters: [1n], config: { committedSizeBytesMax: 1 } });
  node.core.campaign();
  node.take();
  t.ok(node.core.proposeConfChange({ transition: "implicit", steps: [{ kind: "learner", node: 2n }], context: EMPTY }).ok);
  for (const text of ["x", "y", "z"]) t.ok(node.core.propose(utf8(text)).ok);
  node.take();
  t.same(node.core.status().configuration, confStateOf([1n], [2n]));
  t.equal(node.core.status().lastIndex, 6n, "its first entry, the change, x, y, z, and one to leave");
  t.end();
});

t.test("a smaller quorum may hold more: what it commits is committed when it comes into force (4.1)", (t) => {
  const node = new Lone().lead();
  node.step(accepted(2n, 1n, 1n));
  const dropThree: ConfChange = { transition: "auto", steps: [{ kind: "remove", node: 3n }], context: EMPTY };
  t.ok(
    node.core.applyConfChange({ transition: "auto", steps: [{ kind: "voter", node: 4n }], context: EMPTY }).voters.length === 4,
  );
  t.ok(node.core.propose(utf8("x")).ok);
  node.take();
  node.step(accepted(2n, 1n, 2n));
  t.equal(node.commit, 1n, "two of four");
  node.core.applyConfChange(dropThree);
  t.equal(node.commit, 2n, "two of three");
  t.end();
});

t.test("a transfer to a node that is removed meanwhile is over (3.10)", (t) => {
  for (const removed of [2n, 3n]) {
    const node = new Lone().lead();
    node.core.transferLeader(2n);
    node.core.applyConfChange({ transition: "auto", steps: [{ kind: "remove", node: removed }], context: EMPTY });
    t.equal(node.core.status().transferee, removed === 2n ? 0n : 2n);
  }
  t.end();
});

t.test("a new leader proposes no change before all that it was elected with is applied (4.1)", (t) => {
  const change = encodeChange({ transition: "auto", steps: [{ kind: "voter", node: 4n }], context: EMPTY });
  const node = new Lone({ hardState: { term: 1n, vote: 0n, commit: 0n } });
  node.step({ ...append(2n, 1n, ZERO, []), entries: [{ term: 1n, index: 1n, kind: "change", data: change }] });
  node.lead();
  const learner: ConfChange = { transition: "auto", steps: [{ kind: "learner", node: 5n }], context: EMPTY };
  const proposedKind = (): string | undefined => {
    t.ok(node.core.proposeConfChange(learner).ok);
    node.turns.length = 0;
    node.take();
    return node.turns.flatMap(({ entries }) => entries)[0]?.kind;
  };
  t.equal(proposedKind(), "normal", "the change of the term before is in its log, and not applied");
  node.step(accepted(2n, 2n, node.core.status().lastIndex));
  t.equal(proposedKind(), "change");
  t.end();
});

t.test("a change that cannot be made changes nothing, without an exception", (t) => {
  const node = new Lone({ voters: [1n] });
  const before = node.core.status().configuration;
  t.same(node.core.applyConfChange(LEAVE_JOINT), before);
  t.same(node.core.applyConfChange({ transition: "auto", steps: [{ kind: "remove", node: 1n }], context: EMPTY }), before);
  t.same(
    node.core.applyConfChange({ transition: "auto", steps: [{ kind: "voter", node: 2n }], context: EMPTY }),
    confStateOf([1n, 2n]),
  );
  t.end();
});

t.test("a leader that is removed does not count itself, and steps down when asked to (4.2.2)", (t) => {
  const cluster = new RaftCluster({ seed: 2, voters: [1n, 2n], config: { stepDownOnRemoval: false, checkQuorum: false } });
  cluster.elect(1n);
  cluster.change(1n, { transition: "auto", steps: [{ kind: "remove", node: 1n }], context: EMPTY });
  cluster.settle();
  t.equal(cluster.core(1n).status().role, "leader");
  t.match(cluster.core(1n).propose(utf8("x")), { ok: false, error: { detail: "removed" } });
  const stepping = new RaftCluster({ seed: 2, voters: [1n, 2n], config: { stepDownOnRemoval: true } });
  stepping.elect(1n);
  stepping.change(1n, { transition: "auto", steps: [{ kind: "remove", node: 1n }], context: EMPTY });
  stepping.settle();
  t.equal(stepping.core(1n).status().role, "follower");
  t.ok(stepping.runUntil(() => stepping.core(2n).status().role === "leader", 60));
  t.end();
});

t.test("a learner is sent the log and its copy commits nothing (4.2.1)", (t) => {
  const cluster = new RaftCluster({ seed: 4, voters: [1n, 2n], learners: [3n], config: { checkQuorum: false } });
  cluster.elect(1n);
  cluster.cut([2n]);
  cluster.propose(1n, "x");
  cluster.settle();
  const { hardState, lastIndex } = cluster.core(1n).status();
  t.equal(cluster.core(3n).status().lastIndex, lastIndex);
  t.ok(hardState.commit < lastIndex);
  cluster.heal();
  cluster.runUntil(() => false, 5);
  t.equal(cluster.core(1n).status().hardState.commit, lastIndex);
  t.end();
});

t.test("a node that was removed cannot disturb those that hear their leader (4.2.3)", (t) => {
  const node = new Lone({ config: { checkQuorum: true } });
  node.step({ kind: "heartbeat", from: 2n, term: 1n, commit: 0n, round: 1n });
  t.same(node.step(vote(9n, 7n, { term: 6n, index: 9n })), []);
  t.equal(node.term, 1n, "not even its term is heard");
  t.ok(isGranted(node.step({ ...vote(3n, 7n, { term: 6n, index: 9n }), isTransfer: true })), "the leader may ask for it");
  const patient = new Lone({ config: { checkQuorum: true, random: () => 5 } });
  patient.step({ kind: "heartbeat", from: 2n, term: 1n, commit: 0n, round: 1n });
  for (let ticked = 0; ticked < CLUSTER_CONFIG.electionTicks; ticked += 1) patient.core.tick();
  t.ok(
    isGranted(patient.step(vote(3n, 7n, { term: 6n, index: 9n }))),
    "nor one that has not heard its leader for an election timeout",
  );
  t.end();
});

// 5.1, snapshots.

t.test("a follower behind the compacted log gets a snapshot, and goes on from there (5.1)", (t) => {
  const cluster = new RaftCluster({ seed: 5, voters: VOTERS });
  cluster.elect(1n);
  cluster.cut([3n]);
  for (let count = 0; count < 20; count += 1) cluster.propose(1n, `${count}`);
  cluster.settle();
  cluster.compact(1n, 0n);
  t.ok(cluster.core(3n).status().lastIndex + 1n < cluster.core(1n).status().firstIndex, "its next entry is gone");
  cluster.heal();
  cluster.runUntil(() => cluster.node(3n).machine.index === cluster.node(1n).machine.index, 30);
  t.equal(cluster.node(3n).machine.index, cluster.node(1n).machine.index);
  t.ok(cluster.core(3n).status().firstIndex > 20n, "by a snapshot");
  t.end();
});

t.test("after a snapshot that arrived the log goes on from its end; after one that failed the search begins anew (5.1)", (t) => {
  for (const isApplied of [true, false]) {
    const node = new Lone();
    node.step({
      kind: "snapshot",
      from: 2n,
      term: 1n,
      snapshot: { index: 9n, term: 1n, configuration: confStateOf(VOTERS), data: EMPTY },
    });
    node.lead();
    const hint = { term: 0n, index: 0n };
    node.step({ kind: "heartbeatResponse", from: 3n, term: 2n, round: 0n });
    t.match(node.step({ kind: "appendResponse", from: 3n, term: 2n, index: 9n, hint }), [{ kind: "snapshot", to: 3n }]);
    node.core.reportSnapshot(3n, isApplied);
    t.match(
      node.core.status().progress.find(({ id }) => id === 3n),
      { state: "probe", next: isApplied ? 10n : 1n, isPaused: true },
    );
  }
  t.end();
});

t.test("a snapshot of what the log holds already takes nothing away; one of what is committed is old news (5.1)", (t) => {
  const log: Log = [
    [1n, "a"],
    [1n, "b"],
  ];
  const node = new Lone({ log, hardState: { term: 1n, vote: 0n, commit: 0n } });
  const install = (index: bigint): ReturnType<Lone["step"]> => {
    const snapshot = { index, term: 1n, configuration: confStateOf(VOTERS), data: EMPTY };
    return node.step({ kind: "snapshot", from: 2n, term: 1n, snapshot });
  };
  t.match(install(1n), [{ kind: "appendResponse", index: 1n }]);
  t.equal(node.commit, 1n, "committed, without being loaded");
  t.equal(node.core.status().lastIndex, 2n);
  t.match(install(1n), [{ kind: "appendResponse", index: 1n }]);
  t.match(install(7n), [{ kind: "appendResponse", index: 7n }]);
  t.equal(node.core.status().firstIndex, 8n);
  t.end();
});

// 6.2, a leader without a quorum.

t.test("a leader that hears no quorum for an election timeout steps down; without the check it stays (6.2)", (t) => {
  for (const checkQuorum of [true, false]) {
    const cluster = new RaftCluster({ seed: 6, voters: VOTERS, config: { checkQuorum, preVote: true } });
    cluster.elect(1n);
    cluster.cut([1n]);
    cluster.runUntil(() => false, 2 * CLUSTER_CONFIG.electionTicks);
    t.equal(cluster.core(1n).status().role === "leader", !checkQuorum, `check-quorum ${checkQuorum}`);
  }
  t.end();
});

// 6.4, reads.

t.test("a read is not served before the leader has committed in its term, not even by a leader alone (6.4)", (t) => {
  const node = new Lone({ voters: [1n], log: [[1n, "a"]], hardState: { term: 1n, vote: 1n, commit: 0n } });
  node.core.campaign();
  const candidacy = node.core.ready();
  t.same(candidacy.readStates, []);
  node.core.advance();
  t.equal(node.core.status().role, "leader");
  t.ok(node.core.readIndex(utf8("r")).ok);
  const first = node.core.ready();
  t.same(first.readStates, [], "entry 1 is in the log, maybe told to a client, and not known to be committed");
  node.storage.append(first.entries);
  node.core.advance();
  node.take();
  t.match(
    node.turns.flatMap(({ readStates }) => readStates),
    [{ index: 2n, context: utf8("r") }],
  );
  t.end();
});

t.test("a leader that is removed does not read as if it were alone, though one voter is left (6.4)", (t) => {
  const node = new Lone({ voters: [1n, 2n], config: { stepDownOnRemoval: false } }).lead();
  node.step(accepted(2n, 1n, 1n));
  node.core.applyConfChange({ transition: "auto", steps: [{ kind: "remove", node: 1n }], context: EMPTY });
  t.ok(node.core.readIndex(utf8("r")).ok);
  node.take();
  t.same(
    node.turns.flatMap(({ readStates }) => readStates),
    [],
    "node 2 may lead by now",
  );
  node.step({ kind: "heartbeatResponse", from: 2n, term: 1n, round: 1n });
  t.equal(node.turns.flatMap(({ readStates }) => readStates).length, 1);
  t.end();
});

t.test("a read waits for a round of heartbeats that a quorum answers, sent after it came (6.4)", (t) => {
  const node = new Lone().lead();
  node.step(accepted(2n, 1n, 1n));
  const roundOf = (sent: readonly RaftMessage[]): bigint => {
    const beat = sent.find(({ kind }) => kind === "heartbeat");
    return beat?.kind === "heartbeat" ? beat.round : -1n;
  };
  node.core.tick();
  node.core.tick();
  const before = roundOf(node.take());
  t.ok(node.core.readIndex(utf8("r")).ok);
  const round = roundOf(node.take());
  t.ok(round > before);
  const served = (): number => node.turns.flatMap(({ readStates }) => readStates).length;
  node.step({ kind: "heartbeatResponse", from: 2n, term: 1n, round: before });
  t.equal(served(), 0, "an answer to an earlier round says nothing");
  t.equal(node.step({ kind: "heartbeatResponse", from: 2n, term: 1n, round: round + 1n }), "index_impossible");
  node.step({ kind: "heartbeatResponse", from: 3n, term: 1n, round });
  t.equal(served(), 1);
  t.end();
});

t.test("reads of one turn share a round, and a read of the next does not (6.4)", (t) => {
  const node = new Lone().lead();
  node.step(accepted(2n, 1n, 1n));
  for (const name of ["a", "b", "c"]) t.ok(node.core.readIndex(utf8(name)).ok);
  t.same(kindsOf(node.take()), ["heartbeat", "heartbeat"], "one to each follower");
  t.ok(node.core.readIndex(utf8("d")).ok);
  t.same(kindsOf(node.take()), ["heartbeat", "heartbeat"]);
  node.step({ kind: "heartbeatResponse", from: 2n, term: 1n, round: 1n });
  t.equal(node.turns.flatMap(({ readStates }) => readStates).length, 3);
  t.end();
});

t.test("a leader that was replaced and does not know serves no read (6.4)", (t) => {
  const cluster = new RaftCluster({ seed: 8, voters: VOTERS, config: { checkQuorum: false } });
  cluster.elect(1n);
  cluster.cut([1n]);
  cluster.runUntil(() => cluster.leader()?.id !== 1n, 60);
  cluster.propose(present(cluster.leader(), "leader").id, "newer");
  cluster.settle();
  t.equal(cluster.core(1n).status().role, "leader", "so it thinks");
  cluster.read(1n);
  cluster.runUntil(() => false, 5);
  t.equal(cluster.readsServed, 0);
  cluster.read(present(cluster.leader(), "leader").id);
  cluster.settle();
  t.equal(cluster.readsServed, 1);
  t.end();
});

t.test("a follower's read goes to the leader and back, and only the leader may answer it (6.4)", (t) => {
  const cluster = new RaftCluster({ seed: 9, voters: VOTERS });
  cluster.elect(1n);
  cluster.read(2n);
  cluster.settle();
  t.equal(cluster.readsServed, 1);
  const node = new Lone();
  node.step({ kind: "heartbeat", from: 2n, term: 1n, commit: 0n, round: 1n });
  node.step({ kind: "readIndexResponse", from: 3n, term: 1n, index: 0n, context: utf8("r") });
  t.same(
    node.turns.flatMap(({ readStates }) => readStates),
    [],
  );
  node.step({ kind: "readIndexResponse", from: 2n, term: 1n, index: 0n, context: utf8("r") });
  t.equal(node.turns.flatMap(({ readStates }) => readStates).length, 1);
  t.end();
});

t.test("reads that wait are bounded, and so is what they carry", (t) => {
  const node = new Lone().lead();
  for (let count = 0; count < READS_PENDING_MAX; count += 1) node.core.readIndex(utf8("r"));
  t.match(node.core.readIndex(utf8("r")), { ok: false, error: { code: "read_dropped" } });
  t.match(new Lone().core.readIndex(utf8("r")), { ok: false, error: { code: "read_dropped" } }, "no leader is known");
  t.match(node.core.readIndex(new Uint8Array(READ_CONTEXT_SIZE_BYTES_MAX + 1)), {
    ok: false,
    error: { code: "message_malformed" },
  });
  t.end();
});

// 6.4.1, leases.

/** A leader with a confirmed round, and clocks that go together. */
function leasedCluster(): RaftCluster {
  const cluster = new RaftCluster({ seed: 10, voters: VOTERS, config: { readMode: "lease" } });
  cluster.elect(1n);
  cluster.runUntil(() => false, CLUSTER_CONFIG.heartbeatTicks);
  return cluster;
}

t.test("under its lease a leader serves a read at once; when it has run out, after a round (6.4.1)", (t) => {
  const cluster = leasedCluster();
  cluster.cut([1n]);
  const readAlone = (): number => {
    const before = cluster.readsServed;
    cluster.read(1n);
    cluster.settle();
    return cluster.readsServed - before;
  };
  t.equal(readAlone(), 1, "nobody was asked");
  for (let ticked = 0; ticked < leaseTicks(CLUSTER_CONFIG.electionTicks); ticked += 1) cluster.tick();
  t.equal(cluster.core(1n).status().role, "leader");
  t.equal(readAlone(), 0);
  t.end();
});

t.test("a leader that has asked somebody to campaign has no lease (6.4.1)", (t) => {
  const cluster = leasedCluster();
  cluster.cut([1n]);
  cluster.core(1n).transferLeader(2n);
  cluster.read(1n);
  cluster.settle();
  t.equal(cluster.readsServed, 0);
  t.end();
});

t.test("a leader that leads again has the lease of its new reign alone (6.4.1)", (t) => {
  const node = new Lone({ config: { readMode: "lease", checkQuorum: true } }).lead();
  const served = (): number => node.turns.flatMap(({ readStates }) => readStates).length;
  /** Commits in its term, and asks a round that node 2 answers. */
  const reign = (round: bigint): void => {
    node.step(accepted(2n, node.term, node.core.status().lastIndex));
    node.core.tick();
    node.core.tick();
    node.take();
    node.step({ kind: "heartbeatResponse", from: 2n, term: node.term, round });
  };
  reign(1n);
  node.core.transferLeader(2n);
  node.take();
  node.step({ kind: "heartbeat", from: 2n, term: 2n, commit: 0n, round: 1n });
  node.lead();
  node.step(accepted(2n, node.term, node.core.status().lastIndex));
  t.ok(node.core.readIndex(utf8("r")).ok);
  node.take();
  t.equal(served(), 0, "the former lease is no lease: somebody else has led since");
  reign(2n);
  t.equal(served(), 1);
  t.ok(node.core.readIndex(utf8("s")).ok);
  node.take();
  t.equal(served(), 2, "and that it once asked somebody to campaign is forgotten with that reign");
  t.end();
});

t.test("a node that starts again keeps the silence that it may have promised (6.4.1)", (t) => {
  const hardState: HardState = { term: 1n, vote: 2n, commit: 0n };
  const node = new Lone({ hardState, config: { readMode: "lease", checkQuorum: true, random: () => 5 } });
  t.same(node.step(vote(3n, 2n, ZERO)), []);
  for (let ticked = 0; ticked < CLUSTER_CONFIG.electionTicks; ticked += 1) node.core.tick();
  t.ok(isGranted(node.step(vote(3n, 2n, ZERO))));
  const safe = new Lone({ hardState, config: { readMode: "safe", checkQuorum: true } });
  t.ok(isGranted(safe.step(vote(3n, 2n, ZERO))), "without leases nothing was promised");
  t.end();
});

t.test("documented: a lease is counted in ticks, so a leader whose clock stops may serve an old state (6.4.1)", (t) => {
  const cluster = leasedCluster();
  cluster.cut([1n]);
  // Time passes for the others, and they elect another leader. Node 1 was stopped: no tick came.
  for (let ticked = 0; ticked < 60 && cluster.leader()?.id === 1n; ticked += 1) {
    cluster.tick([2n, 3n]);
    cluster.settle();
  }
  cluster.propose(present(cluster.leader(), "leader").id, "newer");
  cluster.settle();
  t.not(cluster.leader()?.id, 1n);
  t.throws(
    () => {
      cluster.read(1n);
      cluster.settle();
    },
    /was confirmed/,
    "the cluster's check finds the stale read: use safe reads where clocks may stop",
  );
  t.end();
});

t.test("lease reads are refused without check-quorum, and forgetting the leader is refused with them", (t) => {
  t.throws(() => new Lone({ config: { readMode: "lease", checkQuorum: false } }), /check-quorum/);
  for (const readMode of ["safe", "lease"] as const) {
    const node = new Lone({ config: { readMode, checkQuorum: true } });
    node.step({ kind: "heartbeat", from: 2n, term: 1n, commit: 0n, round: 1n });
    node.core.forgetLeader();
    t.equal(node.core.status().leader, readMode === "lease" ? 2n : 0n);
  }
  t.end();
});

// 9.6, pre-vote.

t.test("a node that was cut off comes back without ending anybody's term (9.6)", (t) => {
  for (const preVote of [true, false]) {
    const cluster = new RaftCluster({ seed: 11, voters: VOTERS, config: { preVote, checkQuorum: false } });
    cluster.elect(1n);
    const { term } = cluster.core(1n).status().hardState;
    cluster.cut([3n]);
    cluster.runUntil(() => false, 60);
    cluster.heal();
    cluster.runUntil(() => false, 10);
    t.equal(cluster.core(1n).status().hardState.term === term, preVote, `pre-vote ${preVote}`);
  }
  t.end();
});

t.test("a pre-vote binds nobody, and changes neither term nor vote (9.6)", (t) => {
  const node = new Lone({ hardState: { term: 4n, vote: 2n, commit: 0n } });
  t.match(node.step(vote(3n, 5n, ZERO, "preVote")), [{ kind: "preVoteResponse", term: 5n, isRejected: false }]);
  t.match(node.step(vote(2n, 5n, ZERO, "preVote")), [{ kind: "preVoteResponse", term: 5n, isRejected: false }]);
  t.same(node.core.status().hardState, { term: 4n, vote: 2n, commit: 0n });
  t.match(
    node.step(vote(3n, 3n, ZERO, "preVote")),
    [{ kind: "preVoteResponse", term: 4n, isRejected: true }],
    "of an earlier term",
  );
  t.end();
});

// Flow control and bounds.

t.test("an old rejection does not send a follower back, and none sends it back before what it holds (3.5)", (t) => {
  const limits = { countMax: 4, sizeBytesMax: 1024 };
  const progress = new Progress({ match: 3n, next: 8n, isLearner: false, isActive: true, limits });
  t.notOk(progress.decrease(5n, 4n), "not an answer to what a probe at 7 asked");
  t.ok(progress.decrease(7n, 1n));
  t.equal(progress.next, 4n, "a hint before what it is known to hold");
  progress.becomeReplicate();
  t.notOk(progress.decrease(3n, 0n), "it holds 3 by now");
  t.ok(progress.decrease(4n, 9n));
  t.equal(progress.next, 4n);
  t.end();
});

t.test("a snapshot is sent to a node that answers, not to one that does not", (t) => {
  const node = new Lone({ config: { checkQuorum: true } });
  const snapshot = { index: 9n, term: 1n, configuration: confStateOf(VOTERS), data: EMPTY };
  node.step({ kind: "snapshot", from: 2n, term: 1n, snapshot });
  node.lead();
  const isSent = (sent: readonly RaftMessage[] | string): boolean =>
    typeof sent !== "string" && sent.some(({ kind, to }) => kind === "snapshot" && to === 3n);
  node.step(accepted(2n, 2n, 10n));
  t.ok(isSent(node.step({ kind: "appendResponse", from: 3n, term: 2n, index: 9n, hint: ZERO })));
  for (let ticked = 0; ticked < CLUSTER_CONFIG.electionTicks; ticked += 1) node.core.tick();
  node.core.reportSnapshot(3n, false);
  const member = node.core.status().progress.find(({ id }) => id === 3n);
  t.match(member, { state: "probe", isActive: false }, "it has said nothing for an election timeout");
  node.core.transferLeader(3n);
  t.notOk(isSent(node.take()));
  t.ok(isSent(node.step({ kind: "heartbeatResponse", from: 3n, term: 2n, round: 1n })));
  t.end();
});

t.test("a follower that does not answer is sent a bounded number of appends, by count and by bytes", (t) => {
  const sentTo2 = (config: Partial<RaftConfig>): number => {
    const node = new Lone({ config: { uncommittedSizeBytesMax: 1 << 20, messageSizeBytesMax: 1, ...config } }).lead();
    node.step(accepted(2n, 1n, 1n));
    for (let count = 0; count < 50; count += 1) node.core.propose(utf8("0123456789"));
    return node.take().filter((message) => message.kind === "append" && message.to === 2n && message.entries.length > 0).length;
  };
  t.equal(sentTo2({ inflightCountMax: 7, inflightSizeBytesMax: 1 << 20 }), 7);
  t.equal(sentTo2({ inflightCountMax: 1000, inflightSizeBytesMax: 3 * 34 }), 3, "34 bytes each");
  t.equal(sentTo2({ inflightCountMax: 1000, inflightSizeBytesMax: 1 << 20 }), 50);
  t.end();
});

t.test("a follower whose log is not known is sent one append at a time", (t) => {
  const node = new Lone().lead();
  for (let count = 0; count < 5; count += 1) node.core.propose(utf8("x"));
  t.same(
    node.take().filter(({ kind }) => kind === "append"),
    [],
  );
  const answered = node.step(accepted(3n, 1n, 1n));
  t.ok(typeof answered !== "string" && answered.some((message) => message.kind === "append" && message.entries.length === 5));
  t.end();
});

t.test("proposals beyond the uncommitted bytes are dropped until some are applied; one always fits", (t) => {
  const node = new Lone({ config: { uncommittedSizeBytesMax: 10 } }).lead();
  t.ok(node.core.propose(new Uint8Array(100)).ok);
  t.match(node.core.propose(new Uint8Array(1)), { ok: false, error: { code: "proposal_dropped", detail: "uncommittedFull" } });
  t.ok(node.core.propose(EMPTY).ok, "an empty one weighs nothing");
  node.take();
  node.step(accepted(2n, 1n, 3n));
  t.ok(node.core.propose(new Uint8Array(1)).ok);
  t.match(node.core.propose(new Uint8Array(PROPOSAL_SIZE_BYTES_MAX + 1)), { ok: false, error: { code: "proposal_too_large" } });
  t.end();
});

t.test("committed entries are handed out in bounded portions, and one always fits", (t) => {
  const node = new Lone({ voters: [1n], config: { committedSizeBytesMax: 60, uncommittedSizeBytesMax: 1 << 20 } });
  node.core.campaign();
  node.take();
  for (const size of [1, 1, 1, 500, 1]) node.core.propose(new Uint8Array(size));
  node.turns.length = 0;
  node.take();
  const portions = node.turns.map(({ committed }) => committed.length).filter((count) => count > 0);
  t.same(portions, [2, 1, 1, 1]);
  t.end();
});

t.test("a proposal reaches the leader from a follower, once; without a leader it is dropped", (t) => {
  const cluster = new RaftCluster({ seed: 12, voters: VOTERS });
  t.match(cluster.core(2n).propose(utf8("x")), { ok: false, error: { code: "proposal_dropped" } });
  cluster.elect(1n);
  const before = cluster.core(1n).status().lastIndex;
  cluster.propose(2n, "x");
  cluster.settle();
  t.equal(cluster.core(1n).status().lastIndex, before + 1n);
  const node = new Lone();
  node.step({ kind: "heartbeat", from: 2n, term: 1n, commit: 0n, round: 1n });
  const forwarded = node.step({ kind: "propose", from: 3n, term: 0n, proposals: [{ kind: "normal", data: EMPTY }] });
  t.equal(forwarded, "proposal_dropped", "it is not passed on twice");
  t.end();
});

// The contract of turns.

t.test("a turn is taken once, and ended once", (t) => {
  const node = new Lone({ voters: [1n] });
  t.throws(() => node.core.advance(), /no turn/);
  node.core.campaign();
  node.core.ready();
  t.throws(() => node.core.ready(), /not ended/);
  node.core.advance();
  t.throws(() => node.core.acknowledge({ kind: "applyDone", entries: [] }), /asynchronous/);
  t.end();
});

t.test("what was applied was committed, though the note of it was lost in a crash", (t) => {
  const log: Log = [
    [1n, "a"],
    [1n, "b"],
  ];
  const node = new Lone({ log, hardState: { term: 1n, vote: 0n, commit: 0n }, config: { applied: 2n } });
  t.equal(node.commit, 2n);
  t.throws(() => new Lone({ log, config: { applied: 3n } }), /commit 3/, "but not what is not in the log");
  t.end();
});
