/**
 * Raft's invariants, after every word that leaves a node and every record that it asks to be kept.
 *
 * Source: Ongaro, "Consensus: Bridging Theory and Practice", 2014, figure 3.2 (the first four) and section 3.8.
 *
 * | property | what is compared |
 * | --- | --- |
 * | `election_safety` | who speaks as the leader of a term: one node |
 * | `log_matching` | an index and a term name one entry and one entry before it, in every log and message |
 * | `leader_completeness` | the log of a new leader holds whatever was committed in earlier terms |
 * | `state_machine_safety` | an index is committed with one entry |
 * | `committed_durable` | what is said to be committed is on the disks of a majority; what is acknowledged or voted for, on one's own |
 * | `election_quorum` | who begins to lead a term votes, and a majority helped it to |
 * | `set_is_configuration` | the configuration under which a block was ordered is the set that certifies it |
 * | `restart_keeps` | a node begins again with what was durable, or with more that it had asked to be |
 * | `term_regressed` | the term of what a node says never falls, whatever happens between |
 * | `one_vote_a_term` | whom a node helps to lead in a term: one candidate |
 * | `vote_after_loss` | who began with less than it had said helps nobody, before its log ends in a later term |
 *
 * A majority is one of each half while a configuration is joint (4.3). Which configuration is in force at a node is known
 * but for the changes that it may have applied since it last recorded what is committed: then it is one of those.
 *
 * Logs are known from the records that nodes write, as asked for and as durable, and not from inside the engine.
 */

import { assert, present } from "../../../crypto/base/assert.ts";
import { bytesEqual, toHex } from "../../../crypto/base/bytes.ts";
import type { Address } from "../../../crypto/identity/address.ts";
import type { Block } from "../../../chain/block/block.ts";
import type { ValidatorSet } from "../../../chain/block/validators.ts";
import type { Commit } from "../../../chain/ledger/ledger.ts";
import { type Note, parseWireMessage, raftIdOf, blockOf, type RaftWireMessage } from "../../../consensus/raft/message.ts";
import { Journal, parseRecord, type RaftRecord } from "../../../consensus/raft/record.ts";
import type { ConfState, Entry, EntryId } from "../../../consensus/raft/types.ts";
import type { Vote } from "../../../chain/block/vote.ts";
import type { Sometimes } from "../sometimes.ts";
import type { Checker, CheckerParts, LogEvent } from "./checker.ts";
import {
  changeOf,
  configurationAt,
  configurationName,
  configurationsBefore,
  isQuorumIn,
  isVoterIn,
} from "./raft-configurations.ts";

/** What the checker is given. */
export type RaftParts = CheckerParts & {
  readonly sometimes: Sometimes;
  /** Of each node, by its number. Who votes their logs say. */
  readonly addresses: readonly Address[];
  /** Who decides a height. */
  readonly setOf: (height: bigint) => ValidatorSet | undefined;
  /** Whether its disk may have lost what was durable. */
  readonly isHarmed: (index: number) => boolean;
};

/** What a node wrote: as far as it asked, and as far as it is durable. */
type Log = {
  asked: Journal | undefined;
  durable: Journal | undefined;
  /** Asked for and not known to be durable, oldest first. */
  readonly pending: RaftRecord[];
  /** What the node may begin again with: the durable state, and the states after each pending record. */
  states: string[];
  /** Up to here its entries were compared with what is committed. */
  checked: bigint;
};

type Committed = { readonly term: bigint; readonly digest: string; readonly claimTerm: bigint };

/** See the file's head. */
export class Raft implements Checker {
  readonly #parts: RaftParts;
  readonly #logs = new Map<number, Log>();
  readonly #leaders = new Map<bigint, number>();
  readonly #votes = new Map<string, string>();
  readonly #terms = new Map<number, bigint>();
  /** By index and term: the entry, and the term of the one before it. */
  readonly #entries = new Map<string, string>();
  readonly #previous = new Map<string, bigint>();
  readonly #committed = new Map<bigint, Committed>();
  /** What was durable on disks that are gone. */
  readonly #lost: { readonly index: number; readonly durable: Journal }[] = [];
  #lastCommitted = 0n;
  /** By term, who asked for votes. */
  readonly #candidates = new Map<bigint, Set<number>>();
  #lastLeader: number | undefined;

  constructor(parts: RaftParts) {
    this.#parts = parts;
  }

  /** The node's disk is another one now. What it holds no more still was durable when others counted on it. */
  forget(index: number): void {
    const durable = this.#logs.get(index)?.durable;
    if (durable !== undefined) this.#lost.push({ index, durable });
    this.#logs.delete(index);
  }

  onLog(index: number, event: LogEvent): void {
    const log = this.#logOf(index);
    switch (event.kind) {
      case "begun":
        this.#begin(index, log, event.records);
        return;
      case "asked":
        this.#ask(index, log, recordOf(event.record));
        return;
      case "durable":
        for (let count = 0; count < event.count; count += 1) {
          const record = log.pending.shift();
          if (record === undefined) return;
          log.durable = follow(log.durable, record);
          log.states.shift();
        }
        return;
    }
  }

  onSaid(index: number, bytes: Uint8Array): void {
    const message = parseWireMessage(bytes);
    if (message.ok) this.hear(index, message.value);
  }

  /** As `onSaid`, of a message that is parsed. */
  hear(index: number, message: RaftWireMessage): void {
    if (message.kind === "vote") this.#hearVote(index, message.vote);
    else this.#hearNote(index, message.note, message.to);
  }

  /** A certificate stands for an entry that a majority holds: it is committed, in the term of the certificate at the latest. */
  onCommit(index: number, { block, certificate }: Commit): void {
    if (certificate.kind !== "quorum") return;
    const asked = this.#logs.get(index)?.asked;
    const entry = asked?.entries.findLast((each) => nameOf(each) === toHex(block.hash));
    if (asked === undefined || entry === undefined) return;
    this.#checkSet(asked, entry, block);
    this.#commit(index, entry, BigInt(certificate.round));
  }

  #checkSet(journal: Journal, entry: Entry, { header }: Block): void {
    const set = this.#parts.setOf(header.height)?.validators.map(({ address }) => raftIdOf(address));
    if (set === undefined) return;
    const state = configurationAt(journal, entry.index);
    const { voters, votersOutgoing } = state;
    if (votersOutgoing.length === 0 && voters.length === set.length && voters.every((id) => set.includes(id))) return;
    const [have, want] = [this.#stateName(state), set.map((id) => this.#nameOf(id)).join(", ")];
    this.#violated("set_is_configuration", `height ${header.height} was ordered by ${have} and is certified by ${want}`);
  }

  // Disks.

  #begin(index: number, log: Log, bytes: readonly Uint8Array[]): void {
    let journal: Journal | undefined;
    for (const each of bytes) journal = follow(journal, recordOf(each));
    const state = stateOf(journal);
    if (log.durable !== undefined && this.#parts.isHarmed(index)) this.#lost.push({ index, durable: log.durable });
    else if (log.states.length > 0 && !log.states.includes(state))
      this.#violated("restart_keeps", `node ${index} begins with ${state}, and had ${log.states.join(", ")}`);
    // What is read back is durable, whether or not the last life heard so.
    log.asked = journal;
    log.durable = copyOf(journal);
    log.pending.length = 0;
    log.states = [state];
    log.checked = 0n;
  }

  #ask(index: number, log: Log, record: RaftRecord): void {
    const { asked } = log;
    const first = record.entries[0];
    if (asked !== undefined && record.kind === "append" && first !== undefined) {
      if (first.index <= asked.lastIndex) this.#parts.sometimes.saw("raft_log_truncated");
      this.#match(before(asked, first.index), record.entries);
    }
    if (record.kind === "base") {
      if (asked !== undefined && record.mark.index > asked.lastIndex) this.#parts.sometimes.saw("raft_snapshot_installed");
      this.#match(record.mark, record.entries);
    }
    const wasMute = isMute(asked);
    if (record.kind === "base" && record.lost !== undefined && asked?.lost === undefined)
      this.#parts.sometimes.saw("raft_log_lost");
    log.asked = follow(asked, record);
    if (wasMute && !isMute(log.asked)) this.#parts.sometimes.saw("raft_log_regained");
    log.pending.push(record);
    log.states.push(stateOf(log.asked));
    const { term, commit } = record.hardState;
    const committed = commit > log.checked ? entryAt(log.asked, commit) : undefined;
    if (committed !== undefined) this.#commit(index, committed, term);
  }

  // Words.

  #hearNote(index: number, note: Note, to: readonly bigint[]): void {
    // A pre-vote asks about a term that nobody is in yet, and its answer repeats it.
    if (note.kind !== "preVote" && note.kind !== "preVoteResponse") this.#hearTerm(index, note.term);
    const durable = this.#logs.get(index)?.durable;
    const { sometimes } = this.#parts;
    switch (note.kind) {
      case "append":
        if (note.entries.length > 0) this.#match(note.previous, note.entries);
        for (const entry of note.entries) this.#hearChange(index, entry);
        if (note.entries.some(({ term }) => term < note.term)) sometimes.saw("raft_old_entry_carried");
        this.#hearLeader(index, note.term, note.commit);
        return;
      case "heartbeat":
        this.#hearLeader(index, note.term, note.commit);
        return;
      case "snapshot":
        sometimes.saw("raft_snapshot_sent");
        this.#hearLeader(index, note.term, note.snapshot.index);
        return;
      case "timeoutNow":
        this.#hearLeader(index, note.term, 0n);
        return;
      case "vote":
        this.#hearCandidate(index, note.term);
        this.#castVote(index, note.term, `node ${index}`);
        return;
      case "voteResponse":
        if (note.isRejected) {
          sometimes.saw("raft_vote_refused");
          return;
        }
        for (const id of to) this.#castVote(index, note.term, this.#nameOf(id));
        if (durable !== undefined && durable.hardState.term < note.term)
          this.#violated("committed_durable", `node ${index} voted in term ${note.term} with ${stateOf(durable)} on its disk`);
        return;
      case "preVoteResponse":
        if (note.isRejected) sometimes.saw("raft_pre_vote_refused");
        return;
      case "appendResponse":
        if (note.hint !== undefined) {
          sometimes.saw("raft_append_refused");
          return;
        }
        // Said in an earlier term, it may have been overwritten since by a later leader.
        if (durable === undefined || durable.hardState.term > note.term) return;
        if (durable.hardState.term < note.term || durable.lastIndex < note.index)
          this.#violated("committed_durable", `node ${index} acknowledged ${note.index} with ${stateOf(durable)} on its disk`);
        return;
      default:
        return;
    }
  }

  #hearChange(index: number, entry: Entry): void {
    const change = changeOf(entry);
    if (change === undefined) return;
    const { sometimes } = this.#parts;
    const own = raftIdOf(present(this.#parts.addresses[index], "address of a leader"));
    sometimes.saw("raft_configuration_changed");
    if (change.steps.length > 1) sometimes.saw("raft_joint_entered");
    if (change.steps.some(({ kind }) => kind === "learner")) sometimes.saw("raft_learner_added");
    if (change.steps.some(({ kind, node }) => kind === "remove" && node === own)) sometimes.saw("raft_leader_removed");
  }

  #hearTerm(index: number, term: bigint): void {
    const last = this.#terms.get(index) ?? 0n;
    if (term < last) this.#violated("term_regressed", `node ${index} speaks in term ${term} after ${last}`);
    else this.#terms.set(index, term);
  }

  #hearCandidate(index: number, term: bigint): void {
    const { sometimes } = this.#parts;
    const known = this.#candidates.get(term);
    if (known === undefined) {
      this.#candidates.set(term, new Set([index]));
      if (this.#candidates.has(term - 1n) && !this.#leaders.has(term - 1n)) sometimes.saw("raft_election_lost");
    } else if (!known.has(index)) {
      known.add(index);
      sometimes.saw("raft_vote_split");
    }
  }

  #castVote(index: number, term: bigint, candidate: string): void {
    const asked = this.#logs.get(index)?.asked;
    if (isMute(asked))
      this.#violated("vote_after_loss", `node ${index} votes in term ${term} with ${stateOf(asked)}, and lost ${asked?.lost}`);
    const key = `${index}/${term}`;
    const known = this.#votes.get(key);
    if (known === undefined) this.#votes.set(key, candidate);
    else if (known !== candidate)
      this.#violated("one_vote_a_term", `node ${index} voted for ${known} and for ${candidate} in term ${term}`);
  }

  #hearLeader(index: number, term: bigint, commit: bigint): void {
    const known = this.#leaders.get(term);
    if (known === undefined) {
      this.#leaders.set(term, index);
      if (this.#lastLeader !== undefined && this.#lastLeader !== index) this.#parts.sometimes.saw("raft_leader_changed");
      this.#lastLeader = index;
      this.#checkElection(index, term);
      this.#checkComplete(index, term);
    } else if (known !== index) this.#violated("election_safety", `nodes ${known} and ${index} both lead term ${term}`);
    if (commit <= this.#lastCommitted) return;
    const entry = entryAt(this.#logs.get(index)?.asked, commit);
    if (entry === undefined) return; // Older than its log goes back.
    this.#checkQuorum(index, entry);
    this.#commit(index, entry, term);
  }

  #hearVote(index: number, vote: Vote): void {
    const durable = this.#logs.get(index)?.durable;
    const self = this.#parts.addresses[index];
    if (self === undefined || !bytesEqual(self, vote.validator) || vote.blockHash === undefined || durable === undefined) return;
    const name = toHex(vote.blockHash);
    // Said again, it stands for what may be compacted by now, or overwritten by a later leader.
    const term = BigInt(vote.round);
    if (durable.mark.height >= vote.height || durable.hardState.term > term) return;
    if (durable.hardState.term < term || !durable.entries.some((entry) => nameOf(entry) === name))
      this.#violated(
        "committed_durable",
        `node ${index} signed height ${vote.height} in term ${vote.round} with ${stateOf(durable)} on its disk`,
      );
  }

  // Logs.

  /** Figure 3.2, log matching: what holds of each entry and the one before it holds of all before. */
  #match(previous: EntryId, entries: readonly Entry[]): void {
    let last = previous.term;
    for (const entry of entries) {
      const key = `${entry.index}/${entry.term}`;
      const name = nameOf(entry);
      const [known, before] = [this.#entries.get(key), this.#previous.get(key)];
      if ((known !== undefined && known !== name) || (before !== undefined && before !== last))
        this.#violated(
          "log_matching",
          `index ${entry.index} of term ${entry.term} is ${known} after term ${before}, and ${name} after ${last}`,
        );
      this.#entries.set(key, name);
      this.#previous.set(key, last);
      last = entry.term;
    }
  }

  /** An entry is committed, and with it all before it. */
  #commit(index: number, upTo: Entry, claimTerm: bigint): void {
    const log = this.#logOf(index);
    const [first, last] = [log.checked + 1n, upTo.index];
    for (let at = first; at <= last; at += 1n) {
      const entry = entryAt(log.asked, at);
      if (entry === undefined) continue; // Older than its log goes back.
      const known = this.#committed.get(entry.index);
      const digest = nameOf(entry);
      if (known === undefined) this.#committed.set(entry.index, { term: entry.term, digest, claimTerm });
      else if (known.term !== entry.term || known.digest !== digest)
        this.#violated(
          "state_machine_safety",
          `index ${entry.index} is committed in term ${known.term}, and by node ${index} in ${entry.term}`,
        );
    }
    if (last > log.checked) log.checked = last;
    if (last > this.#lastCommitted) this.#lastCommitted = upTo.index;
  }

  /** Of what a node says is committed. */
  #checkQuorum(speaker: number, { index, term }: Entry): void {
    const asked = present(this.#logs.get(speaker)?.asked, "log of who knows what is committed");
    const holders = new Set<bigint>();
    const disks = [...[...this.#logs].map(([node, { durable }]) => ({ index: node, durable })), ...this.#lost];
    for (const { index: node, durable } of disks) {
      if (durable === undefined) continue;
      const address = present(this.#parts.addresses[node], "address of a node");
      if (durable.mark.index >= index || entryAt(durable, index)?.term === term) holders.add(raftIdOf(address));
    }
    const states = configurationsBefore(asked, index);
    if (states.some((state) => isQuorumIn(state, (id) => holders.has(id)))) return;
    const [have, of] = [[...holders].map((id) => this.#nameOf(id)).join(", "), states.map((state) => this.#stateName(state))];
    this.#violated(
      "committed_durable",
      `index ${index} of term ${term} is said to be committed, and is on the disks of ${have}, of ${of.join("; ")}`,
    );
  }

  /** Of who is heard to lead a term for the first time. */
  #checkElection(leader: number, term: bigint): void {
    const asked = this.#logs.get(leader)?.asked;
    if (asked === undefined) return;
    const own = raftIdOf(present(this.#parts.addresses[leader], "address of a leader"));
    const name = `node ${leader}`;
    const helped = (id: bigint): boolean => id === own || this.#votes.get(`${this.#indexOf(id)}/${term}`) === name;
    const states = configurationsBefore(asked, asked.lastIndex + 1n);
    if (states.some((state) => isVoterIn(state, own) && isQuorumIn(state, helped))) return;
    const of = states.map((state) => this.#stateName(state)).join("; ");
    this.#violated("election_quorum", `node ${leader} leads term ${term} without a majority of ${of}`);
  }

  #checkComplete(index: number, term: bigint): void {
    const asked = this.#logs.get(index)?.asked;
    if (asked === undefined) return;
    for (let at = asked.mark.index + 1n; at <= this.#lastCommitted; at += 1n) {
      const committed = this.#committed.get(at);
      if (committed === undefined || committed.claimTerm >= term) continue;
      if (entryAt(asked, at)?.term === committed.term) continue;
      this.#violated("leader_completeness", `node ${index} leads term ${term} without index ${at} of term ${committed.term}`);
      return;
    }
  }

  #logOf(index: number): Log {
    let log = this.#logs.get(index);
    if (log === undefined) {
      log = { asked: undefined, durable: undefined, pending: [], states: [], checked: 0n };
      this.#logs.set(index, log);
    }
    return log;
  }

  /** Whether a node knows what it promised: it has a log, and has not lost what it said. Others take no part in elections. */
  hasMemory(index: number): boolean {
    const { asked } = this.#logOf(index);
    if (asked === undefined || isMute(asked)) return false;
    return asked.mark.configuration.voters.length > 0 || asked.entries.length > 0;
  }

  #indexOf(id: bigint): number {
    return this.#parts.addresses.findIndex((address) => raftIdOf(address) === id);
  }

  #nameOf(id: bigint): string {
    return `node ${this.#indexOf(id)}`;
  }

  #stateName(state: ConfState): string {
    return configurationName(state, (id) => this.#nameOf(id));
  }

  #violated(property: string, message: string): void {
    this.#parts.violated(property, message);
  }
}

function recordOf(bytes: Uint8Array): RaftRecord {
  const record = parseRecord(bytes);
  assert(record.ok, "a record that the engine wrote parses");
  return record.value;
}

function follow(journal: Journal | undefined, record: RaftRecord): Journal {
  return present(Journal.after(journal, record), "a record follows those before it");
}

function copyOf(journal: Journal | undefined): Journal | undefined {
  if (journal === undefined) return undefined;
  const { base } = journal;
  assert(base.kind === "base", "all of a journal is a base");
  return new Journal(base);
}

/** Whether it may have forgotten what it promised. */
function isMute(journal: Journal | undefined): boolean {
  return journal?.lost !== undefined && journal.lastTerm <= journal.lost;
}

function entryAt(journal: Journal | undefined, index: bigint): Entry | undefined {
  return journal?.entries[Number(index - journal.mark.index - 1n)];
}

/** The entry before an index, as this log has it. */
function before(journal: Journal, index: bigint): EntryId {
  if (index - 1n === journal.mark.index) return journal.mark;
  return present(entryAt(journal, index - 1n), "entry before those that are appended");
}

/** Term, vote and the last entry: by log matching, all of a log. */
function stateOf(journal: Journal | undefined): string {
  if (journal === undefined) return "nothing";
  const { hardState, mark, entries, lastIndex } = journal;
  return `term ${hardState.term} vote ${hardState.vote} entry ${lastIndex} of ${entries.at(-1)?.term ?? mark.term}`;
}

const names = new WeakMap<Uint8Array, string>();

/** What tells entries of one place apart: the hash of the block, or the change. */
function nameOf(entry: Entry): string {
  let name = names.get(entry.data);
  if (name === undefined) {
    const block = blockOf(entry);
    name = block === undefined ? `${entry.kind} ${toHex(entry.data)}` : toHex(block.hash);
    names.set(entry.data, name);
  }
  return name;
}
