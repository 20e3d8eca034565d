/**
 * A member of the Raft group: the core with what it needs around it, as far as no signature and no certificate is concerned.
 *
 * ```
 *   ticks, notes, wishes --> core --> appendWork --> record --(durable)--> storage, answers, acknowledge
 *                                --> applyWork  --> applied in order, a block once the ledger has it --> acknowledge
 *                                --> messages
 * ```
 *
 * Durable before it shows: an answer leaves after the record of its turn, and *everything* leaves after the record of the term and
 * vote that it was said in. (Entries of a leader may overtake their own record: dissertation 10.2.1. Its term may not: a node that
 * forgot that it led a term could lead it again with another log.)
 *
 * Where the ledger and the log meet: a committed block counts as applied once the ledger has it, whoever brought it there; a snapshot
 * is heard once the ledger has reached its height. So the core never knows more than the ledger holds.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import type { Height } from "../../chain/block/height.ts";
import { BLOCK_SIZE_BYTES_MAX } from "../../chain/block/limits.ts";
import type { RaftProtocol } from "../../chain/block/protocol.ts";
import { decodeChange } from "./change-codec.ts";
import { RaftCore, type RaftStatus } from "./core.ts";
import {
  BASE_RECORD_SIZE_BYTES_MAX,
  LOG_RECORDS_MAX,
  LOG_SIZE_BYTES_MAX,
  NOTE_ENTRIES_SIZE_BYTES_MAX,
  SNAPSHOT_RETRY_ELECTIONS,
} from "./limits.ts";
import { blockOf, heightOfSnapshot } from "./message.ts";
import { encodeRecord, type Journal, type Mark, type RaftRecord, snapshotOf } from "./record.ts";
import { entrySizeBytes, type MemoryRaftStorage } from "./storage.ts";
import {
  type AppendWork,
  type ApplyWork,
  type ConfChange,
  type Entry,
  type InstallSnapshot,
  NOBODY,
  type RaftMessage,
  type Ready,
  type Role,
} from "./types.ts";

/** What a member wants done. */
export type MemberOutput =
  /** Make this durable, then say `persisted`. `replaces`: nothing before it is needed any more. `term`: it speaks in this one then. */
  | {
      readonly kind: "record";
      readonly sequence: number;
      readonly record: Uint8Array;
      readonly replaces: boolean;
      readonly term: bigint;
    }
  /** Send these, not before record `after` is durable; 0: at once. */
  | { readonly kind: "messages"; readonly messages: readonly RaftMessage[]; readonly after: number };

/** What a member is made with. */
export type MemberOptions = {
  readonly id: bigint;
  readonly protocol: RaftProtocol;
  /** Uniform in `0 <= value < bound`, from a seed. */
  readonly random: (bound: number) => number;
  readonly journal: Journal;
  /** The journal has been written by no record yet. */
  readonly isNew: boolean;
  /** The height that the ledger has to decide next. */
  readonly height: Height;
};

type Stored = { readonly sequence: number; readonly work: AppendWork };
type Applying = { readonly work: ApplyWork; count: number };

/** See the file's head. After each call, `turn` says what is to be done. */
export class Member {
  readonly #core: RaftCore;
  readonly #storage: MemoryRaftStorage;
  readonly #journal: Journal;
  readonly #snapshotRetryTicks: number;
  #outputs: MemberOutput[] = [];
  #height: Height;
  /** Records are numbered from 1. */
  #sequence = 0;
  #durable = 0;
  /** The record that holds the term and the vote of now. */
  #stateSequence = 0;
  #role: Role = "follower";
  #storing: Stored[] = [];
  #applying: Applying[] = [];
  #applied: Mark;
  /** What was applied when the height began: the log is kept from the mark before this one on, for those who are a height behind. */
  #mark: Mark;
  /** A snapshot that waits for the ledger. */
  #held: InstallSnapshot | undefined;
  /** Ticks until a snapshot that was sent counts as lost, by receiver. */
  readonly #snapshotsSent = new Map<bigint, number>();
  /** Since the last base. */
  #recordsCount = 0;
  #recordsSizeBytes = 0;

  constructor({ id, protocol, random, journal, isNew, height }: MemberOptions) {
    this.#journal = journal;
    this.#storage = journal.toStorage();
    this.#height = height;
    this.#applied = journal.mark;
    this.#mark = journal.mark;
    this.#snapshotRetryTicks = SNAPSHOT_RETRY_ELECTIONS * protocol.electionTicks;
    this.#core = new RaftCore(
      {
        id,
        electionTicks: protocol.electionTicks,
        heartbeatTicks: protocol.heartbeatTicks,
        random,
        applied: journal.mark.index,
        preVote: true,
        checkQuorum: true,
        readMode: "safe",
        asyncStorageWrites: true,
        messageSizeBytesMax: NOTE_ENTRIES_SIZE_BYTES_MAX,
        committedSizeBytesMax: 2 * BLOCK_SIZE_BYTES_MAX,
        uncommittedSizeBytesMax: 2 * BLOCK_SIZE_BYTES_MAX,
        inflightCountMax: 16,
        inflightSizeBytesMax: 4 * BLOCK_SIZE_BYTES_MAX,
        disableConfChangeValidation: false,
        disableProposalForwarding: true,
        stepDownOnRemoval: true,
        observe: undefined,
      },
      this.#storage,
    );
    if (isNew) {
      this.#write(journal.base);
      this.#stateSequence = this.#sequence;
    }
  }

  get role(): Role {
    return this.#role;
  }

  get status(): RaftStatus {
    return this.#core.status();
  }

  /** The term that is durable. A signature in any other could be forgotten with it. */
  get durableTerm(): bigint {
    return this.#storage.initialState().hardState.term;
  }

  /** The durable entry with a block of this height that the log holds now. */
  blockEntry(height: Height): Entry | undefined {
    return this.#journal.entries.findLast(
      (entry) => blockOf(entry)?.header.height === height && this.#storage.term(entry.index) === entry.term,
    );
  }

  /** Every entry of the log, durable or not. */
  get entries(): readonly Entry[] {
    return this.#journal.entries;
  }

  /**
   * Whether it leads and everything in its log is committed and applied, an entry of its own term last. Only then is something
   * proposed: so there is at most one block in flight, and no two committed entries carry the same height.
   */
  get isSettledLeader(): boolean {
    if (this.#role !== "leader") return false;
    const { role, transferee, hardState, applied, lastIndex, configuration } = this.#core.status();
    const isJoint = configuration.votersOutgoing.length > 0;
    const isSettled = applied === lastIndex && this.#applied.index === lastIndex && this.#applied.term === hardState.term;
    return role === "leader" && transferee === NOBODY && isSettled && !isJoint;
  }

  /** A unit of time has passed. */
  tick(): void {
    // Its own election timeout is what an election begins with.
    if (!this.#mayHaveForgotten) this.#core.tick();
    for (const [id, ticks] of this.#snapshotsSent) {
      if (ticks > 1) this.#snapshotsSent.set(id, ticks - 1);
      else {
        this.#snapshotsSent.delete(id);
        this.#core.reportSnapshot(id, false);
      }
    }
  }

  /** A message from another member, whose signature is good. What the core refuses changes nothing, and nobody is told. */
  step(message: RaftMessage): void {
    if (this.#mayHaveForgotten && isOfElection(message)) return;
    if (message.kind !== "snapshot") this.#core.step(message);
    else if (heightOfSnapshot(message.snapshot) >= this.#height) this.#hold(message);
    else this.#install(message);
  }

  /** Record `sequence` and all before it are durable. */
  persisted(sequence: number): void {
    assert(sequence <= this.#sequence, "record {} of {} is durable", sequence, this.#sequence);
    this.#durable = Math.max(this.#durable, sequence);
  }

  /** The ledger has all blocks below `height`. */
  ledgerAt(height: Height): void {
    assert(height >= this.#height, "height {} after {}", height, this.#height);
    this.#height = height;
    this.#settle();
    const held = this.#held;
    if (held !== undefined && heightOfSnapshot(held.snapshot) < height) {
      this.#held = undefined;
      this.#install(held);
      this.#settle();
    }
    this.#compact();
  }

  /** Asks for an entry with these bytes. @returns whether it is in the log of this leader */
  propose(data: Uint8Array): boolean {
    return this.#core.propose(data).ok;
  }

  /** Asks for a change of who votes. */
  proposeChange(change: ConfChange): boolean {
    return this.#core.proposeConfChange(change).ok;
  }

  /** Asks that another voter lead. */
  transferLeader(id: bigint): void {
    this.#core.transferLeader(id);
  }

  /** Does all that can be done now. @returns what is to be done outside, in this order */
  turn(): readonly MemberOutput[] {
    this.#settle();
    const outputs = this.#outputs;
    this.#outputs = [];
    return outputs;
  }

  /**
   * Whether it may have voted, or acknowledged entries, and know nothing of it. It takes no part in elections until its log holds an
   * entry of a term later than any that it has spoken in: whoever leads that term was elected without it, so by a majority in which
   * somebody remembers whatever it helped to commit; and it has been sent all of that leader's log up to there. Who never spoke, or
   * wrote no term apart from its log, has to be told where the log stands at least.
   */
  get #mayHaveForgotten(): boolean {
    const last = this.#storage.lastIndex();
    if (this.#storage.firstIndex() === 1n) return true;
    const { lost } = this.#journal;
    return lost !== undefined && (this.#storage.term(last) ?? 0n) <= lost;
  }

  #settle(): void {
    for (;;) {
      if (this.#core.hasReady()) this.#take(this.#core.ready());
      else if (!this.#storeNext() && !this.#applyNext()) return;
    }
  }

  #take(ready: Ready): void {
    if (ready.softState !== undefined) this.#role = ready.softState.role;
    if (ready.appendWork !== undefined) this.#record(ready.appendWork, ready.mustSync);
    if (ready.messages.length > 0) this.#say(ready.messages, this.#stateSequence);
    if (ready.applyWork !== undefined) this.#applying.push({ work: ready.applyWork, count: 0 });
  }

  // Durability.

  /** Writes what a turn wants durable. A commit index alone is not worth a record: the next one holds it. */
  #record(work: AppendWork, mustSync: boolean): void {
    const { snapshot, entries } = work;
    const before = this.#journal.hardState;
    const hardState = work.hardState ?? before;
    if (snapshot !== undefined) {
      const { term, index, configuration } = snapshot;
      this.#journal.restore(hardState, { term, index, configuration, height: heightOfSnapshot(snapshot) });
      this.#journal.append(hardState, entries);
      this.#applied = this.#mark = this.#journal.mark;
      this.#write(this.#journal.base);
    } else {
      this.#journal.append(hardState, entries);
      if (mustSync) this.#write({ kind: "append", hardState, entries });
    }
    if (hardState.term !== before.term || hardState.vote !== before.vote) this.#stateSequence = this.#sequence;
    this.#storing.push({ sequence: this.#sequence, work });
    const others = work.responses.filter(({ to }) => to !== this.#core.id);
    if (others.length > 0) this.#say(others, this.#sequence);
  }

  #write(record: RaftRecord): void {
    const bytes = encodeRecord(record);
    const replaces = record.kind === "base";
    this.#sequence += 1;
    this.#recordsCount = replaces ? 1 : this.#recordsCount + 1;
    this.#recordsSizeBytes = replaces ? bytes.length : this.#recordsSizeBytes + bytes.length;
    const { term } = record.hardState;
    this.#outputs.push({ kind: "record", sequence: this.#sequence, record: bytes, replaces, term });
  }

  /** Works that are durable reach the storage, and the core hears of them, in their order. */
  #storeNext(): boolean {
    const next = this.#storing[0];
    if (next === undefined || next.sequence > this.#durable) return false;
    this.#storing.shift();
    const { hardState, entries, snapshot, responses, done } = next.work;
    if (snapshot !== undefined) this.#storage.applySnapshot(snapshot);
    if (hardState !== undefined) this.#storage.setHardState(hardState);
    this.#storage.append(entries);
    for (const response of responses) if (response.to === this.#core.id) this.#core.acknowledge(response);
    if (done !== undefined) this.#core.acknowledge(done);
    return true;
  }

  // Applying.

  /** Applies committed entries in order, up to a block that the ledger has not got. */
  #applyNext(): boolean {
    const applying = this.#applying[0];
    if (applying === undefined) return false;
    const { entries, done } = applying.work;
    for (; applying.count < entries.length; applying.count += 1) {
      const entry = present(entries[applying.count], "committed entry");
      const block = blockOf(entry);
      if (block !== undefined && block.header.height >= this.#height) return false;
      this.#apply(entry);
    }
    this.#applying.shift();
    this.#core.acknowledge(done);
    this.#storage.setSnapshot(snapshotOf(this.#applied));
    return true;
  }

  #apply(entry: Entry): void {
    let { configuration } = this.#applied;
    if (entry.kind === "change") {
      const change = decodeChange(entry.data);
      assert(change.ok, "entry {} changes the configuration and does not decode", entry.index);
      configuration = this.#core.applyConfChange(change.value);
    }
    const height = (this.#height - 1n) as Height;
    this.#applied = { term: entry.term, index: entry.index, configuration, height };
  }

  /** Drops what was applied two heights ago, and now and then everything that was recorded about it. */
  #compact(): void {
    const mark = this.#mark;
    this.#mark = this.#applied;
    if (mark.index > this.#journal.mark.index) {
      this.#journal.compact(mark);
      this.#storage.compact(mark.index);
    }
    if (this.#recordsCount <= LOG_RECORDS_MAX && this.#recordsSizeBytes <= LOG_SIZE_BYTES_MAX) return;
    const sizeBytes = this.#journal.entries.reduce((sum, entry) => sum + entrySizeBytes(entry), 0);
    // Two of the largest blocks do not fit one record: then it waits until one of them is applied.
    if (sizeBytes <= BASE_RECORD_SIZE_BYTES_MAX) this.#write(this.#journal.base);
  }

  // Messages and snapshots.

  #say(messages: readonly RaftMessage[], after: number): void {
    for (const { kind, to } of messages) if (kind === "snapshot") this.#snapshotsSent.set(to, this.#snapshotRetryTicks);
    this.#outputs.push({ kind: "messages", messages, after });
  }

  /** The ledger is where the snapshot stands, so it has all that is committed here: otherwise one of the two is not what it says. */
  #install(message: InstallSnapshot): void {
    const isNews = message.snapshot.index > this.#core.status().hardState.commit;
    if (!isNews || this.#applying.length === 0) this.#core.step(message);
  }

  /** Of two snapshots of one leader the one that the ledger reaches first; whoever has it is sent the rest. */
  #hold(message: InstallSnapshot): void {
    const held = this.#held;
    const isNearer = (than: InstallSnapshot): boolean => heightOfSnapshot(message.snapshot) < heightOfSnapshot(than.snapshot);
    if (held === undefined || message.term > held.term || (message.term === held.term && isNearer(held))) this.#held = message;
  }
}

/** What asks for a vote, or to ask for votes. */
function isOfElection({ kind }: RaftMessage): boolean {
  return kind === "vote" || kind === "preVote" || kind === "timeoutNow";
}
