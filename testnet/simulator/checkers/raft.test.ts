/** Each of Raft's invariants is seen to break where it is broken, and holds where it nearly is. */

import t from "tap";
import { encodeBlock } from "../../../chain/block/block.ts";
import { heightOf } from "../../../chain/block/height.ts";
import { type ValidatorSet, validatorSetOf } from "../../../chain/block/validators.ts";
import { confStateOf } from "../../../consensus/raft/configuration.ts";
import { type Note, raftIdOf } from "../../../consensus/raft/message.ts";
import { encodeRecord, type RaftRecord } from "../../../consensus/raft/record.ts";
import type { Entry } from "../../../consensus/raft/types.ts";
import { testBlock } from "../../../consensus/testing/world.ts";
import { addressOf, keyPairOf } from "../signatures.ts";
import { Sometimes } from "../sometimes.ts";
import { Raft } from "./raft.ts";

const NODES = [0, 1, 2, 3, 4];
const addresses = NODES.map((index) => addressOf("validator", index));
const ids = addresses.slice(0, 3).map(raftIdOf);
const idOf = (node: number): bigint => raftIdOf(addresses[node] ?? addressOf("validator", 9));
const genesis = heightOf(0n);

/** Three nodes with an empty log at the first index. */
class Scene {
  readonly broken: string[] = [];
  readonly raft = new Raft({
    addresses,
    setOf: () => this.set,
    isHarmed: () => false,
    isHonest: () => true,
    violated: (property) => void this.broken.push(property),
    sometimes: new Sometimes(),
  });
  set: ValidatorSet | undefined;
  #number = 0;

  constructor(configuration = confStateOf(ids)) {
    for (const node of NODES) {
      this.begin(node, []);
      this.write(node, base(1n, 0n, configuration));
    }
  }

  begin(node: number, records: readonly RaftRecord[]): this {
    this.raft.onLog(node, { kind: "begun", records: records.map(encodeRecord) });
    return this;
  }

  ask(node: number, record: RaftRecord): this {
    this.raft.onLog(node, { kind: "asked", record: encodeRecord(record) });
    return this;
  }

  write(node: number, record: RaftRecord): this {
    this.ask(node, record);
    this.raft.onLog(node, { kind: "durable", count: 1 });
    return this;
  }

  /** As `say`, of a leader that another node has voted for. */
  lead(node: number, note: Note): this {
    const other = (node + 2) % 3;
    return this.write(other, appended(note.term, [])).say(other, granted(note.term), [node]).say(node, note);
  }

  say(node: number, note: Note, to = [0, 1, 2]): this {
    const from = addresses[node] ?? addressOf("validator", 9);
    this.#number += 1;
    this.raft.hear(node, { kind: "note", from, to: to.map(idOf), number: this.#number, note, signature: new Uint8Array(0) });
    return this;
  }
}

function base(term: bigint, vote: bigint, configuration = confStateOf(ids)): RaftRecord & { readonly kind: "base" } {
  const mark = { term: 1n, index: 1n, configuration, height: genesis };
  return { kind: "base", hardState: { term, vote, commit: 1n }, mark, entries: [] };
}

function appended(term: bigint, entries: readonly Entry[], commit = 1n): RaftRecord {
  return { kind: "append", hardState: { term, vote: 0n, commit }, entries };
}

const entry = (index: bigint, term: bigint, change = 0): Entry =>
  change === 0
    ? { term, index, kind: "normal", data: new Uint8Array(0) }
    : { term, index, kind: "change", data: Uint8Array.of(change) };
const append = (term: bigint, entries: readonly Entry[], commit = 1n, previous = { term: 1n, index: 1n }): Note => ({
  kind: "append",
  term,
  previous,
  commit,
  entries,
});
const heartbeat = (term: bigint, commit = 1n): Note => ({ kind: "heartbeat", term, commit, round: 1n });
const granted = (term: bigint): Note => ({ kind: "voteResponse", term, isRejected: false });

t.test("two leaders of one term are seen, one leader of two terms is none", (t) => {
  t.same(new Scene().lead(0, heartbeat(2n)).lead(0, heartbeat(3n)).broken, []);
  t.same(new Scene().lead(0, heartbeat(2n)).say(1, heartbeat(2n)).broken, ["election_safety"]);
  t.end();
});

t.test("a leader that no majority voted for is seen, and one that does not vote", (t) => {
  const voted = (scene: Scene, term: bigint, nodes: readonly number[]): Scene => {
    for (const node of nodes) scene.write(node, appended(term, [])).say(node, granted(term), [0]);
    return scene;
  };
  t.same(voted(new Scene(), 2n, [1]).say(0, heartbeat(2n)).broken, []);
  t.same(new Scene().say(0, heartbeat(2n)).broken, ["election_quorum"]);
  t.same(voted(new Scene(), 2n, [1, 2]).say(3, heartbeat(2n)).broken, ["election_quorum"], "they voted for another");
  // Dissertation 4.3: while joint, a majority of each half.
  const joint = { ...confStateOf(ids), votersOutgoing: confStateOf([0, 3, 4].map(idOf)).voters };
  t.same(voted(new Scene(joint), 2n, [1, 3]).say(0, heartbeat(2n)).broken, []);
  t.same(voted(new Scene(joint), 2n, [1, 2]).say(0, heartbeat(2n)).broken, ["election_quorum"]);
  t.end();
});

t.test("what is committed while joint is on the disks of a majority of each half", (t) => {
  const joint = { ...confStateOf(ids), votersOutgoing: confStateOf([0, 3, 4].map(idOf)).voters };
  const held = (nodes: readonly number[]): Scene => {
    const scene = new Scene(joint).write(3, appended(2n, [])).say(3, granted(2n), [0]).lead(0, heartbeat(2n));
    for (const node of nodes) scene.write(node, appended(2n, [entry(2n, 2n)]));
    return scene.say(0, heartbeat(2n, 2n));
  };
  t.same(held([0, 1, 3]).broken, []);
  t.same(held([0, 1, 2]).broken, ["committed_durable"], "the old half may elect another");
  t.same(held([0, 3, 4]).broken, ["committed_durable"], "and so may the new one");
  t.end();
});

t.test("a block that others ordered than certify it is seen", (t) => {
  const key = (index: number) => keyPairOf("validator", index).publicKey;
  const committed = (members: readonly number[]): Scene => {
    const block = testBlock({ height: heightOf(1n), label: "A", proposer: addressOf("validator", 0) });
    const scene = new Scene().write(0, appended(2n, [{ term: 2n, index: 2n, kind: "normal", data: encodeBlock(block) }]));
    scene.set = validatorSetOf(members.map((index) => ({ key: key(index), power: 1n })));
    const { hash: blockHash } = block;
    const certificate = { kind: "quorum", height: block.header.height, round: 2, blockHash, signatures: [] } as const;
    scene.raft.onCommit(0, { block, certificate, results: [], changedKeys: [] });
    return scene;
  };
  t.same(committed([0, 1, 2]).broken, []);
  t.same(committed([0, 1, 3]).broken, ["set_is_configuration"]);
  t.same(committed([0, 1]).broken, ["set_is_configuration"]);
  t.end();
});

t.test("two entries of one index and term are seen, and two histories before one", (t) => {
  t.same(new Scene().lead(0, append(2n, [entry(2n, 2n)])).lead(1, append(3n, [entry(2n, 3n)])).broken, []);
  t.same(new Scene().lead(0, append(2n, [entry(2n, 2n)])).write(1, appended(2n, [entry(2n, 2n, 7)])).broken, ["log_matching"]);
  const other = new Scene()
    .write(0, appended(3n, [entry(2n, 2n), entry(3n, 3n)]))
    .write(1, appended(3n, [entry(2n, 1n), entry(3n, 3n)]));
  t.same(other.broken, ["log_matching"]);
  t.end();
});

t.test("a new leader without what an earlier term committed is seen", (t) => {
  const committed = (): Scene => {
    const scene = new Scene();
    for (const node of [0, 1]) scene.write(node, appended(2n, [entry(2n, 2n)]));
    return scene.lead(0, heartbeat(2n, 2n));
  };
  t.same(committed().lead(1, heartbeat(3n)).broken, []);
  t.same(committed().lead(2, heartbeat(3n)).broken, ["leader_completeness"]);
  t.end();
});

t.test("one index committed with two entries is seen", (t) => {
  const scene = (): Scene => {
    const made = new Scene();
    for (const node of [0, 1]) made.write(node, appended(2n, [entry(2n, 2n)]));
    return made.lead(0, heartbeat(2n, 2n));
  };
  t.same(scene().write(2, appended(3n, [entry(2n, 2n)], 2n)).broken, []);
  t.same(scene().write(2, appended(3n, [entry(2n, 3n)], 2n)).broken, ["state_machine_safety"]);
  t.end();
});

t.test("what is committed is on the disks of a majority, and not merely asked for", (t) => {
  const scene = new Scene().write(0, appended(2n, [entry(2n, 2n)])).ask(1, appended(2n, [entry(2n, 2n)]));
  t.same(scene.lead(0, heartbeat(2n, 2n)).broken, ["committed_durable"]);
  scene.raft.onLog(1, { kind: "durable", count: 1 });
  scene.broken.length = 0;
  t.same(scene.say(0, append(2n, [], 2n)).broken, []);
  t.end();
});

t.test("a vote or an acknowledgement that is not durable yet is seen", (t) => {
  const accepted = (index: bigint): Note => ({ kind: "appendResponse", term: 2n, index, hint: undefined });
  t.same(new Scene().write(1, appended(2n, [])).say(1, granted(2n), [0]).broken, []);
  t.same(new Scene().ask(1, appended(2n, [])).say(1, granted(2n), [0]).broken, ["committed_durable"]);
  t.same(new Scene().write(1, appended(2n, [entry(2n, 2n)])).say(1, accepted(2n)).broken, []);
  t.same(new Scene().write(1, appended(2n, [entry(2n, 2n)])).say(1, accepted(3n)).broken, ["committed_durable"]);
  t.end();
});

t.test("a vote of one that lost its log is seen, until its log ends in a later term", (t) => {
  const lost = (): Scene => {
    const scene = new Scene();
    scene.raft.forget(1);
    return scene.begin(1, []).write(1, { ...base(3n, 0n), lost: 3n });
  };
  t.same(lost().write(1, appended(4n, [])).say(1, granted(4n), [0]).broken, ["vote_after_loss"]);
  t.same(
    lost()
      .write(1, appended(4n, [entry(2n, 3n)]))
      .say(1, granted(4n), [0]).broken,
    ["vote_after_loss"],
  );
  t.same(
    lost()
      .write(1, appended(5n, [entry(2n, 4n)]))
      .say(1, granted(5n), [0]).broken,
    [],
  );
  t.end();
});

t.test("a node that begins again has what was durable, and may have what was not", (t) => {
  const written = (): Scene => new Scene().write(0, appended(2n, [entry(2n, 2n)])).ask(0, appended(3n, [entry(3n, 3n)]));
  const records = [base(1n, 0n), appended(2n, [entry(2n, 2n)]), appended(3n, [entry(3n, 3n)])];
  t.same(written().begin(0, records).broken, []);
  t.same(written().begin(0, records.slice(0, 2)).broken, []);
  t.same(written().begin(0, records.slice(0, 1)).broken, ["restart_keeps"]);
  t.same(written().begin(0, []).broken, ["restart_keeps"]);
  const scene = written();
  scene.raft.forget(0);
  t.same(scene.begin(0, []).broken, [], "its disk is another one");
  t.end();
});

t.test("a term that falls and a second vote of a term are seen, also after a restart", (t) => {
  t.same(
    new Scene()
      .lead(0, heartbeat(3n))
      .begin(0, [base(1n, 0n)])
      .say(0, { kind: "heartbeatResponse", term: 2n, round: 1n }).broken,
    ["term_regressed"],
  );
  const voted = (): Scene => new Scene().write(1, appended(2n, [])).say(1, granted(2n), [0]);
  t.same(voted().say(1, granted(2n), [0]).broken, []);
  t.same(voted().say(1, granted(2n), [2]).broken, ["one_vote_a_term"]);
  const last = { term: 1n, index: 1n };
  t.same(voted().say(1, { kind: "vote", term: 2n, last, isTransfer: false }).broken, ["one_vote_a_term"]);
  t.same(voted().say(1, { kind: "preVote", term: 2n, last, isTransfer: false }).broken, [], "a rehearsal is no vote");
  t.end();
});
