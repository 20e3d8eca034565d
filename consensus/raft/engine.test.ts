/** Stories of Raft over blocks: what is signed, what survives a crash, and how ledger, log and validator set stay together. */

import fc from "fast-check";
import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import { checkDecoder } from "../../crypto/testing/property.ts";
import { encodeBlock } from "../../chain/block/block.ts";
import { heightOf } from "../../chain/block/height.ts";
import { addressArbitrary, blockArbitrary, voteArbitrary } from "../../chain/block/testing/arbitrary.ts";
import { RaftChain, type StageNode, type WireNote } from "../testing/raft-chain.ts";
import { CHAIN_ID, testBlock } from "../testing/world.ts";
import { RAFT_CODEC } from "./codec.ts";
import { LOG_RECORDS_MAX } from "./limits.ts";
import {
  blockOf,
  encodeWireMessage,
  groupNotes,
  type Note,
  noteSigningBytes,
  parseWireMessage,
  raftIdOf,
  type RaftWireMessage,
  snapshotData,
} from "./message.ts";
import { BLANK_MARK, encodeRecord, Journal, parseRecord, type RaftRecord } from "./record.ts";
import type { ConfState, Entry, RaftMessage } from "./types.ts";

// What is signed, and what it decides.

t.test("a block is decided by the signatures of a majority in one term, and sent to all in one message", (t) => {
  const chain = new RaftChain({ count: 3 });
  chain.elect("v1");
  chain.decide(3n);
  for (const { name, chain: decided } of chain.nodes) t.equal(decided.length, 3, name);
  const blocks = chain.notes("append").filter(({ message }) => blocksIn(message.note).length > 0);
  t.equal(blocks.length, 3, "one message a block");
  for (const { message } of blocks) t.same(message.to, idsOf(chain, "v2", "v3"));
  t.end();
});

t.test("no block is proposed before the one before is decided, and none by a leader that has committed nothing", (t) => {
  const chain = new RaftChain({ count: 3 });
  chain.isCut = (_from, _to, message) => message.kind === "note" && message.note.kind === "appendResponse";
  chain.growTo(9n);
  chain.elect("v1");
  chain.tick(2);
  t.same(chain.node("v1").builds, [], "its own entry is not committed");
  chain.isCut = (_from, to, message) => to === "v1" && message.kind === "vote";
  chain.tickUntil("an election over", () => chain.node("v2").chain.length > 0 || chain.node("v1").builds.length > 0);
  if (chain.leader === "v1") {
    chain.tick(3);
    t.same(new Set(chain.node("v1").builds.map(({ height }) => height)).size, 1, "its ledger stands still without votes");
  }
  chain.heal();
  const ahead = present(chain.nodes.find(({ chain: decided }) => decided.length > 0)?.name, "a node that decided");
  for (const { name } of chain.nodes) if (name !== ahead) chain.sync(name, ahead);
  chain.decide(3n);
  const proposed = chain.nodes.flatMap(({ builds }) => builds.map(({ height, round }) => `${height}/${round}`));
  t.equal(new Set(proposed).size, proposed.length, "one block a height and term");
  t.end();
});

t.test("figure 8: an entry of an earlier term that a majority stores is signed by nobody in the new one", (t) => {
  // Dissertation, figure 3.7, with five nodes. v1 leads a term and its block reaches v2 alone; v5 leads the next and its entry reaches
  // nobody; v1 leads again, and its old block, but nothing of its new term, reaches v3. If v1, v2 and v3 signed for it now, it would
  // have a certificate; v5 wins the next election all the same and decides another block.
  const chain = new RaftChain({ count: 5 });
  chain.elect("v1");
  chain.connect("v1", "v2");
  chain.growTo(1n);
  const first = present(chain.node("v1").votes[0], "vote of v1");
  t.equal(chain.node("v2").votes.length, 1, "v2 holds the block");
  chain.crash("v1");

  chain.connect("v3", "v4", "v5");
  const { isCut } = chain;
  chain.isCut = (from, to, message) => isCut(from, to, message) || isAppendOf(message);
  chain.elect("v5");
  chain.crash("v5");

  chain.boot("v1");
  chain.isCut = (from, to, message) => {
    const isFirstHalf = ["v1", "v2", "v3"].includes(from) && ["v1", "v2", "v3"].includes(to);
    return !isFirstHalf || (to === "v3" && isAppendOf(message));
  };
  chain.elect("v1");
  chain.tick(1);
  const term = present(chain.engine("v1").status(), "status").round;
  t.ok(term > first.round, `term ${term} after ${first.round}`);
  const { entries } = present(journalOf(chain.node("v1")), "journal of v1");
  const place = entries.findIndex((entry) => blockOf(entry) !== undefined);
  const [previous, entry] = [present(entries[place - 1], "entry before"), present(entries[place], "entry")];
  const note: Note = { kind: "append", term: BigInt(term), previous, entries: [entry], commit: 0n };
  chain.inject("v3", chain.signed({ from: chain.world.member("v1").address, to: idsOf(chain, "v3"), number: 1, note }));
  for (const name of ["v1", "v2", "v3"]) {
    t.ok(holds(chain.node(name), first.blockHash), `${name} stores the block`);
    const early = chain.node(name).votes.filter(({ round }) => round === term);
    t.same(early, [], `${name} signs nothing in term ${term}`);
  }

  chain.crash("v1");
  chain.crash("v2");
  chain.boot("v5");
  chain.heal();
  chain.elect("v5");
  chain.decide(1n, ["v3", "v4", "v5"]);
  t.not(hashAt(chain, "v5", 1), toHex(present(first.blockHash, "hash")), "another block is decided");
  for (const name of ["v1", "v2"]) {
    chain.boot(name);
    chain.sync(name, "v5");
  }
  chain.decide(3n);
  t.end();
});

t.test("an entry of an earlier term is signed once the new leader has committed it", (t) => {
  const chain = new RaftChain({ count: 3 });
  chain.elect("v1");
  chain.isCut = (from, to, message) => from === "v3" || to === "v3" || message.kind === "vote";
  chain.growTo(1n);
  const first = present(chain.node("v2").votes[0], "vote of v2");
  chain.crash("v1");
  chain.heal();
  chain.growTo(0n);
  chain.elect("v2");
  chain.decide(1n, ["v2", "v3"]);
  const { certificate, block } = present(chain.node("v3").chain[0], "decided");
  t.same(block.hash, first.blockHash, "the block of the leader that crashed");
  t.ok(certificate.round > first.round, "proven by signatures of its successor's term");
  t.equal(chain.node("v2").chain.length, 1);
  t.end();
});

t.test("a block that only its leader stores comes to nothing, and its leader follows when it is back", (t) => {
  const chain = new RaftChain({ count: 3 });
  chain.elect("v1");
  chain.isCut = (from) => from === "v1";
  chain.growTo(1n);
  const lost = present(chain.node("v1").votes[0], "vote").blockHash;
  chain.crash("v1");
  chain.heal();
  chain.elect("v2");
  chain.decide(2n, ["v2", "v3"]);
  t.not(hashAt(chain, "v2", 1), toHex(present(lost, "hash")));
  chain.boot("v1");
  chain.tick(5);
  chain.sync("v1", "v2");
  chain.decide(4n);
  t.notOk(holds(chain.node("v1"), lost), "its log is its leader's");
  t.end();
});

t.test("a signature waits for its entry, and everything for its term, to be durable", (t) => {
  const chain = new RaftChain({ count: 3 });
  chain.heldDisks.add("v1");
  chain.tick(30, ["v1"]);
  t.same(
    chain.wire.filter(({ from }) => from === "v1"),
    [],
    "not even the log's beginning is durable",
  );
  chain.release("v1");
  chain.elect("v1");
  chain.heldDisks.add("v2");
  chain.isCut = (_from, to, said) => to === "v2" && said.kind === "vote";
  chain.growTo(1n);
  t.same(chain.node("v2").votes, [], "the entry of v2 is not durable");
  t.notOk(
    chain.notes("appendResponse").some(({ from, message }) => from === "v2" && respondsTo(message) > 2n),
    "nor does it say that it holds it",
  );
  chain.release("v2");
  t.equal(chain.node("v2").votes.length, 1);

  chain.heal();
  chain.sync("v2", "v3");
  chain.crash("v1");
  chain.heldDisks.add("v2");
  chain.tickUntil("v2 campaigns", () => chain.engine("v2").status()?.step === "candidate", ["v2", "v3"]);
  const term = BigInt(present(chain.engine("v2").status(), "status").round);
  t.notOk(
    chain.notes("vote").some(({ from, message }) => from === "v2" && message.note.term === term),
    "it asks for no vote in a term that it could forget",
  );
  chain.release("v2");
  t.ok(chain.notes("vote").some(({ from, message }) => from === "v2" && message.note.term === term));
  t.end();
});

t.test("nothing is signed in a term that is not durable, though the entry is known to be committed", (t) => {
  const chain = new RaftChain({ count: 3 });
  chain.elect("v1");
  chain.isCut = (_from, to, said) => to === "v2" && said.kind === "vote";
  chain.growTo(1n);
  const [vote] = chain.node("v2").votes;
  chain.heldDisks.add("v2");
  const { entries } = present(journalOf(chain.node("v2")), "journal");
  const previous = present(entries.at(-1), "entry");
  const term = previous.term + 1n;
  const note: Note = { kind: "append", term, previous, entries: [], commit: previous.index };
  chain.inject("v2", chain.signed({ from: chain.world.member("v3").address, to: idsOf(chain, "v2"), number: 1, note }));
  t.equal(chain.engine("v2").status()?.round, Number(term));
  t.same(chain.node("v2").votes, [vote], "it could forget that it was ever in this term");
  chain.release("v2");
  t.same(
    chain.node("v2").votes.map(({ round }) => BigInt(round)),
    [previous.term, term],
  );
  t.end();
});

// Who says what.

t.test("no note is heard by whom it is not addressed to, and none in the name of another", (t) => {
  const chain = new RaftChain({ count: 3 });
  chain.elect("v1");
  chain.decide(1n);
  const [request] = chain.notes("vote");
  const { from, to, number, note } = present(request, "vote request").message;
  const term = note.term + 5n;
  // A request that its voter obeys whatever lease it is under.
  const forged = { ...note, term, isTransfer: true } as Note;
  const before = status(chain, "v3");
  // Signed by its sender for v2 alone: v3 does not even ask whether the signature is good.
  chain.inject("v3", chain.signed({ from, to: idsOf(chain, "v2"), number, note: forged }));
  t.equal(status(chain, "v3"), before);
  // Addressed anew by somebody on the way: the signature is of another envelope.
  const readdressed = { ...chain.signed({ from, to: idsOf(chain, "v2"), number, note: forged }), to: idsOf(chain, "v3") };
  chain.inject("v3", readdressed);
  t.equal(status(chain, "v3"), before);
  // In the name of v2, signed by v1.
  const lent = { ...chain.signed({ from, to, number, note: forged }), from: chain.world.member("v2").address };
  chain.inject("v3", lent);
  t.equal(status(chain, "v3"), before);
  // As v1 says it, it is heard.
  chain.inject("v3", chain.signed({ from, to: idsOf(chain, "v3"), number, note: forged }));
  t.equal(present(chain.engine("v3").status(), "status").round, Number(term));
  t.end();
});

t.test("what is signed binds sender, addressees, number, note and network", (t) => {
  const chain = new RaftChain({ count: 3 });
  const unsigned = {
    from: chain.world.member("v1").address,
    to: [5n],
    number: 7,
    note: { kind: "timeoutNow", term: 3n },
  } as const;
  const digest = toHex(noteSigningBytes(CHAIN_ID, unsigned));
  const others = [
    noteSigningBytes("another", unsigned),
    noteSigningBytes(CHAIN_ID, { ...unsigned, from: chain.world.member("v2").address }),
    noteSigningBytes(CHAIN_ID, { ...unsigned, to: [6n] }),
    noteSigningBytes(CHAIN_ID, { ...unsigned, to: [5n, 6n] }),
    noteSigningBytes(CHAIN_ID, { ...unsigned, number: 8 }),
    noteSigningBytes(CHAIN_ID, { ...unsigned, note: { kind: "timeoutNow", term: 4n } }),
    noteSigningBytes(CHAIN_ID, { ...unsigned, note: { kind: "heartbeatResponse", term: 3n, round: 0n } }),
  ].map(toHex);
  t.equal(new Set([digest, ...others]).size, others.length + 1);
  t.end();
});

t.test("messages of one turn that differ in their receiver alone are one note; others stay apart, in order", (t) => {
  const heartbeat = (to: bigint, commit: bigint): RaftMessage => ({
    kind: "heartbeat",
    from: 1n,
    to,
    term: 2n,
    commit,
    round: 1n,
  });
  const append = (to: bigint, entries: readonly Entry[]): RaftMessage => ({
    kind: "append",
    from: 1n,
    to,
    term: 2n,
    previous: { term: 1n, index: 1n },
    entries,
    commit: 1n,
  });
  const entry: Entry = { term: 2n, index: 2n, kind: "normal", data: new Uint8Array(0) };
  const groups = groupNotes([
    heartbeat(9n, 1n),
    append(4n, [entry]),
    heartbeat(2n, 1n),
    heartbeat(3n, 0n),
    append(5n, []),
    append(3n, [entry]),
  ]);
  t.same(
    groups.map(({ to, note }) => `${note.kind} ${to.join(" ")}`),
    ["heartbeat 2 9", "append 3 4", "heartbeat 3", "append 5"],
  );
  t.end();
});

t.test("two validators of one id are refused at once", (t) => {
  t.throws(() => raftIdOf(new Uint8Array(4) as never));
  t.end();
});

// Crashes.

t.test("a restart at any record restores the term, the vote and the log that were durable then", (t) => {
  const chain = new RaftChain({ count: 3 });
  chain.elect("v1");
  chain.decide(2n);
  chain.crash("v1");
  chain.elect("v2");
  chain.decide(4n, ["v2", "v3"]);
  const { disk } = chain.node("v3");
  let state = { term: 0n, vote: 0n, commit: 0n };
  let log = new Map<bigint, bigint>();
  for (let count = 1; count <= disk.length; count += 1) {
    const last = present(disk[count - 1], "record");
    const record = parseRecord(last.record);
    if (!record.ok) return t.fail(record.error.code);
    const { hardState, entries } = record.value;
    if (record.value.kind === "base") log = new Map([[record.value.mark.index, record.value.mark.term]]);
    const first = entries[0]?.index;
    if (first !== undefined) log = new Map([...log].filter(([index]) => index < first));
    for (const { term, index } of entries) log.set(index, term);
    t.ok(hardState.term >= state.term, "no term is forgotten");
    t.ok(hardState.term > state.term || state.vote === 0n || hardState.vote === state.vote, "no vote is changed");
    state = hardState;

    const restored = new RaftChain({ count: 3, absent: ["v1", "v2", "v3"] });
    restored.node("v3").disk = disk.slice(0, count).map((each) => ({ ...each, sequence: 0 }));
    restored.boot("v3");
    restored.tick(1);
    t.equal(restored.engine("v3").status()?.round, Number(state.term), `${count} records: term`);
    const end = [...log].at(-1) as [bigint, bigint];
    t.equal(votesFor(restored, "v1", state.term, { index: 1_000n, term: state.term }), canVote(restored, state, "v1"), "vote");
    t.notOk(votesFor(restored, "v2", state.term + 1n, { index: end[0] - 1n, term: end[1] }), "it misses nothing of its log");
    t.ok(votesFor(restored, "v2", state.term + 2n, { index: end[0], term: end[1] }), "and holds no more");
  }
  t.ok(disk.length > 5, `${disk.length} records`);
  t.end();
});

t.test("what a node has said it can prove from its disk: the term it is in, and the vote that it gave", (t) => {
  const chain = new RaftChain({ count: 3 });
  chain.elect("v1");
  chain.decide(1n);
  chain.crash("v1");
  chain.isCut = (_from, _to, said) => isAppendOf(said);
  chain.elect("v2");
  const [asked] = chain.notes("vote").filter(({ from }) => from === "v2");
  const { term } = present(asked, "vote request").message.note;
  for (const name of ["v2", "v3"]) {
    const { hardState } = present(journalOf(chain.node(name)), "journal");
    t.equal(hardState.term, term, `${name}: term`);
    t.equal(hardState.vote, idsOf(chain, "v2")[0], `${name}: vote`);
  }
  chain.crash("v3");
  chain.boot("v3");
  t.notOk(votesFor(chain, "v1", term, { index: 1_000n, term }), "one vote a term");
  t.end();
});

t.test("whoever lost its home votes for nobody until a leader has told it where the log stands", (t) => {
  const chain = new RaftChain({ count: 3 });
  chain.elect("v1");
  chain.decide(2n);
  chain.connect("v1", "v2");
  chain.decide(3n, ["v1", "v2"]);
  // v3 forgets that it ever took part, and v2, which holds everything, asks for its vote.
  chain.wipe("v3");
  chain.boot("v3");
  chain.crash("v1");
  chain.connect("v2", "v3");
  chain.tick(60);
  t.equal(chain.leader, undefined, "one voter and one that has forgotten are no majority");
  t.notOk(chain.notes("voteResponse").some(({ from, message }) => from === "v3" && message.note.term > 2n));

  chain.boot("v1");
  chain.heal();
  chain.tickUntil("a leader", () => chain.leader !== undefined);
  chain.sync("v3", "v2");
  chain.decide(4n);
  const leader = present(chain.leader, "leader");
  chain.crash(leader);
  chain.decide(5n);
  t.ok(present(chain.node("v3").chain[4], "height 5").certificate.signatures.length === 2, "v3 counts again");
  t.end();
});

t.test("who is to decide alone from now on gets the log of those who decided until now, and who always did begins anew", (t) => {
  // v3 was away from the beginning, has the blocks of the others, and not their log.
  const chain = new RaftChain({ count: 3, setAt: (height) => (height <= 2n ? ["v1", "v2", "v3"] : ["v3"]) });
  chain.crash("v3");
  chain.elect("v1");
  chain.decide(2n, ["v1", "v2"]);
  chain.sync("v3", "v1");
  chain.boot("v3");
  chain.connect("v3");
  chain.growTo(4n);
  chain.tick(60, ["v3"]);
  t.equal(chain.node("v3").chain.length, 2, "its entries would have the numbers of theirs");
  t.not(chain.leader, "v3");
  chain.heal();
  chain.decide(4n, ["v3"]);
  t.equal(chain.leader, "v3", "they hand over to it");

  const alone = new RaftChain({ count: 1 });
  alone.decide(3n);
  alone.wipe("v1");
  alone.boot("v1");
  alone.decide(5n);
  t.equal(alone.node("v1").chain.length, 5, "nobody else could tell it its log");
  t.end();
});

t.test("whoever lost its home votes for nobody while a leader has told it less than it had acknowledged", (t) => {
  // v1 and v2 sign height 3, and v4, who only listens, alone hears both of them.
  const chain = new RaftChain({ count: 4, setAt: () => ["v1", "v2", "v3"] });
  chain.elect("v1");
  chain.decide(2n);
  chain.isCut = (from, to, message) => [from, to].includes("v3") || (to !== "v4" && message.kind === "vote");
  chain.decide(3n, ["v4"]);
  // v2 forgets it, and all that v1 tells it in its next term is a snapshot of height 2.
  chain.wipe("v2");
  chain.boot("v2");
  chain.crash("v1");
  chain.boot("v1");
  const hasBlock = (message: RaftWireMessage): boolean => message.kind === "note" && blocksIn(message.note).length > 0;
  // What v2 refuses has v1 send the snapshot; what would follow it is lost.
  const isLost = (to: string): boolean => to === "v3" || chain.notes("snapshot").length > 0;
  chain.isCut = (from, to, message) =>
    [from, to].includes("v4") || (from === "v1" && (message.kind === "vote" || (hasBlock(message) && isLost(to))));
  chain.elect("v1");
  chain.tickUntil("v2 has a snapshot", () =>
    chain
      .notes("appendResponse")
      .some(
        ({ from, message: { note } }) =>
          from === "v2" && note.kind === "appendResponse" && note.hint === undefined && note.term > 2n,
      ),
  );
  chain.crash("v1");
  chain.connect("v2", "v3");
  chain.growTo(3n);
  chain.tick(60);
  t.equal(chain.leader, undefined, "v3 would decide height 3 again");
  t.equal(chain.node("v3").chain.length, 2);

  chain.boot("v1");
  chain.heal();
  chain.decide(4n);
  chain.crash(present(chain.leader, "leader"));
  chain.decide(5n);
  t.ok(chain.node("v2").chain.length === 5, "with the log of a later term than it had spoken in it counts again");
  t.end();
});

t.test("whoever lost the record of what it signed last, and no other, votes for nobody either", (t) => {
  for (const isLost of [false, true]) {
    const chain = new RaftChain({ count: 4, setAt: () => ["v1", "v2", "v3"] });
    chain.elect("v1");
    chain.decide(2n);
    chain.isCut = (from, to, message) => [from, to].includes("v3") || (to !== "v4" && message.kind === "vote");
    chain.decide(3n, ["v4"]);
    chain.crash("v2");
    chain.crash("v1");
    const { disk } = chain.node("v2");
    if (isLost) disk.splice(disk.findLastIndex(({ record }) => blocksOf(record) > 0));
    chain.boot("v2");
    chain.connect("v2", "v3");
    chain.tickUntil("v3 has asked", () => chain.notes("preVote").some(({ from }) => from === "v3"));
    chain.tick(60);
    t.equal(chain.leader, isLost ? undefined : "v2", isLost ? "v3 would decide height 3 again" : "it remembers, and leads");
    chain.boot("v1");
    chain.heal();
    chain.decide(4n);
  }
  t.end();
});

t.test("whoever lost its home before the first height was decided is no founder any more", (t) => {
  const chain = new RaftChain({ count: 3 });
  chain.elect("v1");
  chain.wipe("v2");
  chain.boot("v2");
  chain.connect("v2", "v3");
  chain.tick(60);
  const helped = chain.notes("voteResponse").filter(({ from, message: { note } }) => from === "v2" && note.term > 2n);
  t.same(helped, [], "as a founder it would vote, with v3, for one of them");
  t.ok(["v2", "v3"].every((name) => chain.engine(name).status()?.step !== "leader"));
  chain.heal();
  chain.decide(1n);
  t.end();
});

t.test("the log is replaced by one record now and then, which restores as much as all of them", (t) => {
  const chain = new RaftChain({ count: 1 });
  chain.elect("v1");
  chain.decide(BigInt(LOG_RECORDS_MAX) + 40n);
  const { disk } = chain.node("v1");
  const replaced = disk.findLastIndex(({ replaces }) => replaces);
  t.ok(replaced > LOG_RECORDS_MAX / 2, `record ${replaced} replaces those before`);
  t.same(journalOf({ disk: disk.slice(replaced) })?.base, journalOf({ disk })?.base);
  const base = present(journalOf({ disk: disk.slice(replaced, replaced + 1) }), "base");
  t.ok(base.entries.length < 8, `${base.entries.length} entries are kept`);
  chain.crash("v1");
  t.ok(chain.node("v1").disk.length < LOG_RECORDS_MAX, "the others are gone");
  chain.boot("v1");
  chain.decide(BigInt(LOG_RECORDS_MAX) + 50n);
  t.end();
});

// Ledger and log.

t.test("a follower far behind is sent a snapshot, and takes it when its ledger is there", (t) => {
  const chain = new RaftChain({ count: 3 });
  chain.elect("v1");
  chain.decide(1n);
  chain.connect("v1", "v2");
  chain.decide(6n, ["v1", "v2"]);
  chain.isCut = (_from, _to, message) => message.kind === "vote";
  chain.tick(30);
  const sent = chain.notes("snapshot").map(({ message }) => message);
  t.ok(sent.length > 1, "sent again while nobody takes it");
  t.same(sent[0]?.to, idsOf(chain, "v3"));
  const acknowledged = (): bigint =>
    chain.notes("appendResponse").reduce((most, { from, message }) => {
      const index = respondsTo(message);
      return from === "v3" && index > most ? index : most;
    }, 0n);
  const before = acknowledged();
  t.equal(chain.node("v3").chain.length, 1);
  chain.heal();
  chain.sync("v3", "v1");
  chain.tick(20);
  t.ok(acknowledged() > before, "it holds the log from there on");
  chain.decide(7n);
  chain.crash("v2");
  chain.decide(9n);
  t.same(present(chain.node("v1").chain[8], "height 9").certificate.signatures.length, 2, "it counts");
  t.end();
});

t.test("a follower that missed one block is sent it, and no snapshot", (t) => {
  const chain = new RaftChain({ count: 3 });
  chain.elect("v1");
  chain.decide(2n);
  chain.connect("v1", "v2");
  chain.decide(3n, ["v1", "v2"]);
  chain.heal();
  chain.tick(10);
  t.same(chain.notes("snapshot"), []);
  t.same(journalOf(chain.node("v3"))?.lastIndex, journalOf(chain.node("v1"))?.lastIndex);
  chain.decide(4n);
  t.end();
});

t.test("a snapshot that contradicts what is committed here changes nothing", (t) => {
  const chain = new RaftChain({ count: 3 });
  chain.elect("v1");
  chain.decide(1n);
  // v3 knows that height 2 is committed, and its ledger is not there.
  chain.isCut = (_from, to, said) => to === "v3" && said.kind === "vote";
  chain.decide(2n, ["v1", "v2"]);
  chain.tick(3);
  const before = present(journalOf(chain.node("v3")), "journal");
  const snapshot = {
    index: before.lastIndex + 5n,
    term: before.hardState.term,
    configuration: before.mark.configuration,
    data: snapshotData(heightOf(1n)),
  };
  const note: Note = { kind: "snapshot", term: before.hardState.term, snapshot };
  chain.inject("v3", chain.signed({ from: chain.world.member("v1").address, to: idsOf(chain, "v3"), number: 1, note }));
  t.same(present(journalOf(chain.node("v3")), "journal").base, before.base);
  chain.heal();
  chain.decide(4n);
  t.end();
});

t.test("blocks that block sync brings first are skipped in the log, by followers and by the next leader", (t) => {
  const chain = new RaftChain({ count: 3 });
  chain.elect("v1");
  // v3 hears no append: its ledger runs ahead of its log.
  chain.isCut = (_from, to, message) => to === "v3" && isAppendOf(message);
  chain.decide(2n, ["v1", "v2"]);
  chain.sync("v3", "v1");
  t.equal(chain.node("v3").chain.length, 2);
  chain.heal();
  chain.tick(10);
  chain.crash("v1");
  chain.elect("v3");
  chain.decide(5n);
  t.end();
});

t.test("a leader whose ledger is behind its log proposes nothing until it has caught up", (t) => {
  const chain = new RaftChain({ count: 3 });
  chain.elect("v1");
  // v2 stores and commits the block, and no vote reaches it.
  chain.isCut = (_from, to, message) => to === "v2" && message.kind === "vote";
  chain.decide(1n, ["v1", "v3"]);
  chain.tick(3);
  t.equal(chain.node("v2").chain.length, 0);
  chain.crash("v1");
  chain.growTo(9n);
  chain.elect("v2");
  chain.tick(10);
  t.same(chain.node("v2").builds, []);
  chain.sync("v2", "v3");
  chain.heal();
  chain.decide(3n);
  t.end();
});

// Who takes part.

t.test("a member is added before the first block that it helps to decide", (t) => {
  const chain = new RaftChain({ count: 4, setAt: (height) => ["v1", "v2", "v3", ...(height < 3n ? [] : ["v4"])] });
  chain.elect("v1");
  chain.decide(6n, ["v1", "v2", "v3"]);
  chain.sync("v4", "v1");
  chain.tick(20);
  chain.decide(7n);
  chain.crash("v2");
  chain.decide(9n);
  t.same(present(chain.node("v1").chain[8], "height 9").certificate.signatures.length, 3, "three of four");
  t.end();
});

t.test("two members leave and two come at once, through a joint configuration", (t) => {
  const chain = new RaftChain({ count: 5, setAt: (height) => (height < 3n ? ["v1", "v2", "v3"] : ["v3", "v4", "v5"]) });
  chain.elect("v1");
  chain.decide(2n, ["v1", "v2", "v3"]);
  chain.sync("v4", "v1");
  chain.sync("v5", "v1");
  chain.decide(6n, ["v3", "v4", "v5"]);
  const changes = chain.notes("append").flatMap(({ message }) => {
    const { note } = message;
    return note.kind === "append" ? note.entries.filter(({ kind }) => kind === "change").map(({ data }) => data.length) : [];
  });
  t.ok(changes.some((size) => size > 0) && changes.includes(0), "entered and left");
  for (const name of ["v1", "v2"]) {
    chain.sync(name, "v3");
    t.equal(chain.engine(name).status()?.step, "observer", `${name} watches`);
    t.notOk(
      chain.node(name).votes.some(({ height }) => height >= 3n),
      `${name} signed nothing of the heights of others`,
    );
  }
  const { length } = chain.wire;
  chain.crash("v3");
  chain.crash("v4");
  chain.crash("v5");
  chain.tick(30);
  t.equal(chain.wire.length, length, "those who left are silent");
  t.end();
});

t.test("newcomers vote once a majority of the set holds the log, however late they come", (t) => {
  // A newcomer knows nothing and votes for nobody. Were two of three such voters at once, the group would lose its leader for good.
  const chain = new RaftChain({ count: 5, setAt: (height) => (height < 3n ? ["v1", "v2", "v3"] : ["v3", "v4", "v5"]) });
  chain.elect("v1");
  chain.connect("v1", "v2", "v3");
  chain.decide(2n, ["v1", "v2", "v3"]);
  chain.tick(60);
  t.ok(["v1", "v2", "v3"].includes(present(chain.leader, "a leader")), "the old ones lead on while the new ones are not there");
  t.notOk(
    chain.notes("vote").some(({ message }) => message.to.some((id) => idsOf(chain, "v4", "v5").includes(id))),
    "nobody asks the new ones",
  );
  chain.connect("v1", "v2", "v3", "v4");
  chain.sync("v4", "v3");
  chain.decide(5n, ["v3", "v4"]);
  chain.heal();
  chain.sync("v5", "v3");
  chain.decide(6n, ["v3", "v4", "v5"]);
  t.end();
});

t.test("those who leave are needed until the others have agreed, also when they restart meanwhile", (t) => {
  const chain = new RaftChain({ count: 5, setAt: (height) => (height < 3n ? ["v1", "v2", "v3"] : ["v3", "v4", "v5"]) });
  chain.elect("v1");
  chain.decide(1n, ["v1", "v2", "v3"]);
  chain.isCut = (_from, _to, said) => said.kind === "note" && said.note.kind === "append" && hasChange(said.note);
  chain.decide(2n, ["v1", "v2", "v3"]);
  chain.tick(1);
  for (const name of ["v1", "v2"]) {
    chain.crash(name);
    chain.boot(name);
  }
  chain.heal();
  for (const name of ["v4", "v5"]) chain.sync(name, "v3");
  chain.decide(5n, ["v3", "v4", "v5"]);
  t.end();
});

t.test("a leader that leaves the set leads until the others have taken over", (t) => {
  const chain = new RaftChain({ count: 3, setAt: (height) => (height < 3n ? ["v1", "v2", "v3"] : ["v2", "v3"]) });
  chain.elect("v1");
  chain.decide(5n, ["v2", "v3"]);
  t.not(chain.leader, "v1");
  t.end();
});

t.test("leadership is handed to whom an operator names", (t) => {
  const chain = new RaftChain({ count: 3 });
  chain.elect("v1");
  chain.decide(1n);
  chain.engine("v1").transferLeader(chain.world.member("v3").address);
  chain.tickUntil("v3 leads", () => chain.leader === "v3");
  chain.decide(3n);
  t.end();
});

t.test("a block that was built while leadership is handed over is asked for again when that comes to nothing", (t) => {
  // What is built in a hand-over is not proposed. Its leader asks once a height and term, so it would lead and never propose again.
  const chain = new RaftChain({ count: 3 });
  chain.elect("v1");
  chain.decide(1n);
  chain.crash("v3");
  chain.engine("v1").transferLeader(chain.world.member("v3").address);
  chain.decide(3n, ["v1", "v2"]);
  t.equal(chain.leader, "v1", "v3 is gone, and v1 leads on");
  t.end();
});

// Bytes.

const id = fc.bigInt(0n, (1n << 64n) - 1n);
const term = fc.nat(0x7fff_ffff).map(BigInt);
const entryId = fc.record({ term, index: fc.bigInt(0n, (1n << 64n) - 9n) });
const ids = fc.uniqueArray(id, { maxLength: 4 }).map((list) => list.toSorted((a, b) => (a < b ? -1 : 1)));
const configuration: fc.Arbitrary<ConfState> = fc.record({
  voters: ids,
  votersOutgoing: ids,
  learners: ids,
  learnersNext: ids,
  autoLeave: fc.boolean(),
});
const entryData = fc.oneof(
  fc.constant({ kind: "normal" as const, data: new Uint8Array(0) }),
  blockArbitrary.map((block) => ({ kind: "normal" as const, data: encodeBlock(block) })),
  fc.uint8Array({ maxLength: 9 }).map((data) => ({ kind: "change" as const, data })),
);
const entriesAfter = (index: bigint): fc.Arbitrary<readonly Entry[]> =>
  fc
    .array(fc.tuple(term, entryData), { maxLength: 3 })
    .map((list) => list.map(([entryTerm, data], offset) => ({ ...data, term: entryTerm, index: index + BigInt(offset) + 1n })));
const note: fc.Arbitrary<Note> = fc.oneof(
  fc
    .tuple(term, entryId, id)
    .chain(([noteTerm, previous, commit]) =>
      entriesAfter(previous.index).map((entries) => ({ kind: "append" as const, term: noteTerm, previous, commit, entries })),
    ),
  fc.record({ kind: fc.constant("appendResponse" as const), term, index: id, hint: fc.option(entryId, { nil: undefined }) }),
  fc.record({ kind: fc.constantFrom("vote" as const, "preVote" as const), term, last: entryId, isTransfer: fc.boolean() }),
  fc.record({ kind: fc.constantFrom("voteResponse" as const, "preVoteResponse" as const), term, isRejected: fc.boolean() }),
  fc.record({ kind: fc.constant("heartbeat" as const), term, commit: id, round: id }),
  fc.record({ kind: fc.constant("heartbeatResponse" as const), term, round: id }),
  fc.tuple(term, entryId, configuration, fc.bigInt(0n, 1n << 40n)).map(([noteTerm, at, state, height]) => ({
    kind: "snapshot" as const,
    term: noteTerm,
    snapshot: { ...at, configuration: state, data: snapshotData(heightOf(height)) },
  })),
  fc.record({ kind: fc.constant("timeoutNow" as const), term }),
  fc.record({ kind: fc.constant("transferLeader" as const), term, transferee: id }),
);
const message: fc.Arbitrary<RaftWireMessage> = fc.oneof(
  voteArbitrary
    .filter(({ blockHash }) => blockHash !== undefined)
    .map((vote) => ({ kind: "vote" as const, vote: { ...vote, step: "precommit" as const } })),
  fc.record({
    kind: fc.constant("note" as const),
    from: addressArbitrary,
    to: ids.filter(({ length }) => length > 0),
    number: fc.nat(),
    note,
    signature: fc.uint8Array({ maxLength: 64 }),
  }),
);
const record: fc.Arbitrary<RaftRecord> = fc
  .tuple(fc.record({ term, vote: id, commit: id }), entryId, configuration, fc.bigInt(0n, 1n << 40n), fc.boolean())
  .chain(([hardState, at, state, height, isBase]) =>
    entriesAfter(at.index).map((entries): RaftRecord =>
      isBase
        ? { kind: "base", hardState, mark: { ...at, configuration: state, height: heightOf(height) }, entries }
        : { kind: "append", hardState, entries },
    ),
  );

t.test("messages are read strictly", async (t) => {
  await checkDecoder(t, "message", {
    valid: message.map(encodeWireMessage),
    decode: parseWireMessage,
    encode: encodeWireMessage,
  });
  const { address } = new RaftChain({ count: 1 }).world.member("v1");
  const vote = { height: heightOf(1n), round: 1, blockHash: undefined, validator: address, signature: new Uint8Array(1) };
  for (const step of ["prevote", "precommit"] as const)
    t.notOk(parseWireMessage(encodeWireMessage({ kind: "vote", vote: { ...vote, step } })).ok, `a ${step} for nothing`);
  const append = (data: Uint8Array): RaftWireMessage => ({
    kind: "note",
    from: address,
    to: [1n],
    number: 0,
    note: {
      kind: "append",
      term: 1n,
      previous: { term: 1n, index: 1n },
      commit: 1n,
      entries: [{ term: 1n, index: 2n, kind: "normal", data }],
    },
    signature: new Uint8Array(1),
  });
  t.notOk(parseWireMessage(encodeWireMessage(append(Uint8Array.of(1)))).ok, "an entry that is no block");
  const block = testBlock({ height: heightOf(1n), label: "x", proposer: address });
  t.ok(parseWireMessage(encodeWireMessage(append(encodeBlock(block)))).ok);
  const last = { term: 1n, index: (1n << 64n) - 1n };
  const beyond = append(encodeBlock(block)) as WireNote;
  const noted = { ...beyond, note: { ...beyond.note, previous: last } as Note };
  t.notOk(parseWireMessage(encodeWireMessage(noted)).ok, "an entry beyond the last index");
  const { to: _, ...rest } = append(new Uint8Array(0)) as WireNote;
  for (const to of [[], [2n, 1n], [1n, 1n]]) t.notOk(parseWireMessage(encodeWireMessage({ ...rest, to })).ok, `to ${to.join()}`);
});

t.test("records are read strictly, and follow each other or are refused", async (t) => {
  await checkDecoder(t, "record", { valid: record.map(encodeRecord), decode: parseRecord, encode: encodeRecord });
  const entry = (index: bigint): Entry => ({ term: 1n, index, kind: "normal", data: new Uint8Array(0) });
  const hardState = { term: 1n, vote: 0n, commit: 0n };
  const mark = { ...BLANK_MARK, term: 1n, index: 5n };
  const append = (index: bigint): RaftRecord => ({ kind: "append", hardState, entries: [entry(index)] });
  t.equal(Journal.after(undefined, append(1n)), undefined, "nothing begins with an append");
  const begun = (): Journal => new Journal({ hardState, mark, entries: [entry(6n)] });
  for (const index of [5n, 8n]) t.equal(Journal.after(begun(), append(index)), undefined, `entry ${index}`);
  for (const index of [6n, 7n]) t.equal(Journal.after(begun(), append(index))?.lastIndex, index);
  t.throws(() => new RaftChain({ count: 1 }).engine("v1").step({ kind: "restore", record: Uint8Array.of(1), atMs: 0 }), {
    code: "wal_record_invalid",
  });
});

t.test("the driver is told whose word it is, of which height, and what to check", (t) => {
  const chain = new RaftChain({ count: 3 });
  chain.elect("v1");
  chain.decide(1n);
  for (const { message: said } of chain.wire) {
    const facts = RAFT_CODEC.describe(said);
    const [part] = RAFT_CODEC.signedParts(CHAIN_ID, said);
    t.same(part?.validator, facts.signer);
    t.ok(chain.isSigned(said));
    t.equal(facts.height === undefined, said.kind === "note");
    t.equal(RAFT_CODEC.wordOf(said) === undefined, said.kind === "note");
    t.ok(RAFT_CODEC.mayCome(said, chain.set(1n), undefined));
  }
  t.end();
});

// What the stories are told with.

function idsOf(chain: RaftChain, ...names: readonly string[]): readonly bigint[] {
  return names.map((name) => raftIdOf(chain.world.member(name).address)).toSorted((a, b) => (a < b ? -1 : 1));
}

function isAppendOf(message: RaftWireMessage): boolean {
  return message.kind === "note" && message.note.kind === "append";
}

function blocksIn(note: Note): readonly Entry[] {
  return note.kind === "append" ? note.entries.filter((entry) => blockOf(entry) !== undefined) : [];
}

function hasChange(note: Note): boolean {
  return note.kind === "append" && note.entries.some(({ kind }) => kind === "change");
}

function respondsTo({ note }: WireNote): bigint {
  return note.kind === "appendResponse" && note.hint === undefined ? note.index : 0n;
}

/** What the records on a node's disk add up to. */
function journalOf({ disk }: Pick<StageNode, "disk">): Journal | undefined {
  let journal: Journal | undefined;
  for (const { record: bytes } of disk) {
    const parsed = parseRecord(bytes);
    journal = parsed.ok ? Journal.after(journal, parsed.value) : undefined;
  }
  return journal;
}

/** Whether the log on a node's disk ends up with this block. */
function holds(node: StageNode, blockHash: Uint8Array | undefined): boolean {
  return (journalOf(node)?.entries ?? []).some((entry) => {
    const block = blockOf(entry);
    return block !== undefined && blockHash !== undefined && bytesEqual(block.hash, blockHash);
  });
}

function hashAt(chain: RaftChain, name: string, height: number): string {
  return toHex(present(chain.node(name).chain[height - 1], `height ${height}`).block.hash);
}

function status(chain: RaftChain, name: string): string {
  const { round, step } = present(chain.engine(name).status(), "status");
  return `${step} ${round}`;
}

/** Whether a node grants its vote to another one whose log ends so. */
function votesFor(
  chain: RaftChain,
  candidate: string,
  asked: bigint,
  last: { readonly term: bigint; readonly index: bigint },
): boolean {
  const { length } = chain.wire;
  const from = chain.world.member(candidate).address;
  const to = idsOf(chain, "v3");
  chain.inject("v3", chain.signed({ from, to, number: 1, note: { kind: "vote", term: asked, last, isTransfer: true } }));
  return chain.wire
    .slice(length)
    .some(({ message: said }) => said.kind === "note" && said.note.kind === "voteResponse" && !said.note.isRejected);
}

function canVote(chain: RaftChain, state: { readonly term: bigint; readonly vote: bigint }, candidate: string): boolean {
  return state.vote === 0n || state.vote === idsOf(chain, candidate)[0];
}

function blocksOf(bytes: Uint8Array): number {
  const record = parseRecord(bytes);
  return record.ok ? record.value.entries.filter((entry) => blockOf(entry) !== undefined).length : 0;
}
