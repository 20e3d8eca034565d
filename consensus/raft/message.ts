/**
 * What Raft nodes tell each other, and its wire form.
 *
 * A *vote* is the signature that a commit certificate is made of. Everything else is a *note* of the core: its message without
 * sender and receiver, which stand in the signed envelope. Everything goes to everybody, so notes that are alike but for their
 * receiver are one note with several addressees.
 *
 * Canonical dag-cbor: `[0, vote]`, the vote as chain/block writes it, or `[1, from, [to...], number, note, signature]`. A note is
 *
 * ```
 * [0, term, [term, index] of the entry before, commit, entries]                append
 * [1, term, index, [term, index] | null]                                       appendResponse
 * [2, term, [term, index] of the last entry, isTransfer]                       vote
 * [3, term, [term, index] of the last entry, isTransfer]                       preVote
 * [4, term, isRejected]                                                        voteResponse
 * [5, term, isRejected]                                                        preVoteResponse
 * [6, term, commit, round]                                                     heartbeat
 * [7, term, round]                                                             heartbeatResponse
 * [8, term, [term, index], configuration, height]                              snapshot
 * [9, term]                                                                    timeoutNow
 * [10, term, id]                                                               transferLeader
 * ```
 *
 * `entries` is `[[term, kind, data]...]` and begins after the entry before; `configuration` is `[[voters...], [outgoing...],
 * [learners...], [learners next...], autoLeave]`, each list ascending. `number` tells two notes of equal content apart, for gossip
 * carries no message twice. Proposals and reads of others have no wire form: only a leader's own driver builds blocks.
 */

import { AssertionError, unreachable } from "../../crypto/base/assert.ts";
import { readU64, u64 } from "../../crypto/base/bytes.ts";
import { type Coded, fail, ok, type Result } from "../../crypto/base/result.ts";
import { type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { hash } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { type Block, parseBlock } from "../../chain/block/block.ts";
import { readAddress, readHeight, readRound, readSignature } from "../../chain/block/fields.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { BLOCK_SIZE_BYTES_MAX } from "../../chain/block/limits.ts";
import { readVote, type Vote, writeVote } from "../../chain/block/vote.ts";
import { ENTRIES_PER_MESSAGE_MAX, MEMBERS_MAX, U64_MAX } from "./limits.ts";
import type { ConfState, Entry, EntryId, EntryKind, RaftMessage, Snapshot } from "./types.ts";

/** A message of the core as it travels: without sender and receiver. */
export type Note =
  Exclude<RaftMessage, { readonly kind: "propose" | "readIndex" | "readIndexResponse" }> extends infer M
    ? M extends RaftMessage
      ? Omit<M, "from" | "to">
      : never
    : never;

/** A note with its envelope, to be signed. `to` are node ids, ascending, at least one. */
export type UnsignedNote = {
  readonly from: Address;
  readonly to: readonly bigint[];
  /** Counts the sender's notes. `0 <= number < 2^53`. */
  readonly number: number;
  readonly note: Note;
};

/** A signed message. */
export type RaftWireMessage =
  | { readonly kind: "vote"; readonly vote: Vote }
  | (UnsignedNote & { readonly kind: "note"; readonly signature: Uint8Array });

const TAG_VOTE = 0;
const TAG_NOTE = 1;

const NOTE = {
  append: { tag: 0, length: 5 },
  appendResponse: { tag: 1, length: 4 },
  vote: { tag: 2, length: 4 },
  preVote: { tag: 3, length: 4 },
  voteResponse: { tag: 4, length: 3 },
  preVoteResponse: { tag: 5, length: 3 },
  heartbeat: { tag: 6, length: 4 },
  heartbeatResponse: { tag: 7, length: 3 },
  snapshot: { tag: 8, length: 5 },
  timeoutNow: { tag: 9, length: 2 },
  transferLeader: { tag: 10, length: 3 },
} as const satisfies Record<Note["kind"], { readonly tag: number; readonly length: number }>;

const NOTE_KINDS = Object.keys(NOTE) as readonly Note["kind"][];
const ENTRY_KINDS = ["normal", "change"] as const satisfies readonly EntryKind[];

// The id of a node.

/**
 * What the core knows a validator by: the first eight bytes of its address.
 *
 * Two members of one set with one id cannot take part in one network; with addresses that nobody chose freely (hashes of keys)
 * a set of 128 has two by accident once in 2^51. `RaftEngine` refuses such a set at once, and genesis should.
 */
export function raftIdOf(address: Address): bigint {
  return readU64(address);
}

// The height that a snapshot stands at.

/** A snapshot carries no state: the blocks up to this height are it, and they travel by block sync. */
export function snapshotData(height: Height): Uint8Array {
  return u64(height);
}

/** What `snapshotData` was made of. */
export function heightOfSnapshot({ data }: Snapshot): Height {
  return heightOf(readU64(data));
}

// Blocks in entries.

const blocks = new WeakMap<Uint8Array, Block>();

/** The block in an entry; `undefined` for an entry that carries none. Cost: parsed once. */
export function blockOf(entry: Entry): Block | undefined {
  if (entry.kind !== "normal" || entry.data.length === 0) return undefined;
  let block = blocks.get(entry.data);
  if (block === undefined) {
    const parsed = parseBlock(entry.data);
    if (!parsed.ok) return undefined;
    block = parsed.value;
    blocks.set(entry.data, block);
  }
  return block;
}

/** Refuses entries that are to hold a block and do not. */
export function checkBlocks(entries: readonly Entry[]): Result<void, Coded> {
  for (const { kind, data } of entries) {
    if (kind !== "normal" || data.length === 0) continue;
    const block = parseBlock(data);
    if (!block.ok) return block;
    blocks.set(data, block.value);
  }
  return ok(undefined);
}

// The wire form.

/** The wire form. */
export function encodeWireMessage(message: RaftWireMessage): Uint8Array {
  const writer = new Writer();
  if (message.kind === "vote") {
    writeVote(writer.array(2).uint(TAG_VOTE), message.vote);
    return writer.finish();
  }
  writeEnvelope(writer.array(6).uint(TAG_NOTE), message);
  return writer.bytes(message.signature).finish();
}

/** The 32 bytes that the sender of a note signs: addressees and all, so that nobody can address it anew. */
export function noteSigningBytes(chainId: string, unsigned: UnsignedNote): Uint8Array {
  const writer = new Writer().array(6).text("raft").text(chainId);
  writeEnvelope(writer, unsigned);
  return hash("statement", writer.finish());
}

/**
 * Parses a message from a peer, strictly. Its signature is not checked here.
 *
 * @returns an `encoding_*` code, or a code of `parseBlock` for an entry that is to hold a block and does not
 */
export function parseWireMessage(bytes: Uint8Array): Result<RaftWireMessage, Coded> {
  const parsed = readWith(bytes, readMessage);
  if (!parsed.ok) return parsed;
  const message = parsed.value;
  if (message.kind === "note" && message.note.kind === "append") {
    const checked = checkBlocks(message.note.entries);
    if (!checked.ok) return fail(checked.error);
  }
  return ok(message);
}

function readMessage(reader: Reader): RaftWireMessage {
  const { offset } = reader.field("message");
  const length = reader.array(6);
  const tag = reader.field("tag").number(TAG_NOTE);
  if (length !== (tag === TAG_VOTE ? 2 : 6)) reader.refuse("encoding_limit", offset);
  if (tag === TAG_VOTE) return { kind: "vote", vote: readPrecommit(reader) };
  const from = readAddress(reader, "from");
  const { offset: toOffset } = reader.field("to");
  const to = readIds(reader);
  if (to.length === 0) reader.refuse("encoding_limit", toOffset);
  const number = reader.field("number").number();
  const note = readNote(reader);
  return { kind: "note", from, to, number, note, signature: readSignature(reader, "signature") };
}

/** Raft signs precommits for blocks and nothing else. */
function readPrecommit(reader: Reader): Vote {
  const { offset } = reader;
  const vote = readVote(reader);
  return vote.step === "precommit" && vote.blockHash !== undefined ? vote : reader.refuse("encoding_limit", offset);
}

function writeEnvelope(writer: Writer, { from, to, number, note }: UnsignedNote): void {
  writer.bytes(from);
  writeIds(writer, to);
  writeNote(writer.uint(number), note);
}

function writeNote(writer: Writer, note: Note): void {
  const { tag, length } = NOTE[note.kind];
  writer.array(length).uint(tag).uint(note.term);
  switch (note.kind) {
    case "append":
      writeEntryId(writer, note.previous);
      writeEntries(writer.uint(note.commit), note.entries);
      return;
    case "appendResponse":
      writer.uint(note.index);
      if (note.hint === undefined) writer.null();
      else writeEntryId(writer, note.hint);
      return;
    case "vote":
    case "preVote":
      writeEntryId(writer, note.last);
      writer.bool(note.isTransfer);
      return;
    case "voteResponse":
    case "preVoteResponse":
      writer.bool(note.isRejected);
      return;
    case "heartbeat":
      writer.uint(note.commit).uint(note.round);
      return;
    case "heartbeatResponse":
      writer.uint(note.round);
      return;
    case "snapshot":
      writeEntryId(writer, note.snapshot);
      writeConfiguration(writer, note.snapshot.configuration);
      writer.uint(heightOfSnapshot(note.snapshot));
      return;
    case "timeoutNow":
      return;
    case "transferLeader":
      writer.uint(note.transferee);
      return;
    default:
      unreachable(note);
  }
}

function readNote(reader: Reader): Note {
  const { offset } = reader.field("note");
  const length = reader.array(5);
  const kind = NOTE_KINDS[reader.field("tag").number(NOTE_KINDS.length - 1)] as Note["kind"];
  if (length !== NOTE[kind].length) reader.refuse("encoding_limit", offset);
  const term = readTerm(reader);
  switch (kind) {
    case "append": {
      const previous = readEntryId(reader, "previous");
      const commit = reader.field("commit").uint();
      return { kind, term, previous, commit, entries: readEntries(reader, previous.index + 1n) };
    }
    case "appendResponse": {
      const index = reader.field("index").uint();
      return { kind, term, index, hint: reader.field("hint").skipNull() ? undefined : readEntryId(reader, "hint") };
    }
    case "vote":
    case "preVote":
      return { kind, term, last: readEntryId(reader, "last"), isTransfer: reader.field("isTransfer").bool() };
    case "voteResponse":
    case "preVoteResponse":
      return { kind, term, isRejected: reader.field("isRejected").bool() };
    case "heartbeat":
      return { kind, term, commit: reader.field("commit").uint(), round: reader.field("round").uint() };
    case "heartbeatResponse":
      return { kind, term, round: reader.field("round").uint() };
    case "snapshot": {
      const id = readEntryId(reader, "snapshot");
      const configuration = readConfiguration(reader);
      return { kind, term, snapshot: { ...id, configuration, data: snapshotData(readHeight(reader, "height")) } };
    }
    case "timeoutNow":
      return { kind, term };
    case "transferLeader":
      return { kind, term, transferee: reader.field("transferee").uint() };
    default:
      return unreachable(kind);
  }
}

// Parts that records of the log have too.

/** A term: the round of the votes in it, so it is no larger than a round. */
export function readTerm(reader: Reader): bigint {
  return BigInt(readRound(reader, "term"));
}

/** `[term, index]`. */
export function writeEntryId(writer: Writer, { term, index }: EntryId): void {
  writer.array(2).uint(term).uint(index);
}

/** Reads what `writeEntryId` wrote. */
export function readEntryId(reader: Reader, field: string): EntryId {
  reader.field(field).tuple(2);
  const term = readTerm(reader);
  return { term, index: reader.field("index").uint() };
}

/** Entries that follow each other, without their indexes. */
export function writeEntries(writer: Writer, entries: readonly Entry[]): void {
  writer.array(entries.length);
  for (const { term, kind, data } of entries) writer.array(3).uint(term).uint(ENTRY_KINDS.indexOf(kind)).bytes(data);
}

/** Reads what `writeEntries` wrote. Data are copies: an entry outlives the message that brought it. */
export function readEntries(reader: Reader, first: bigint): readonly Entry[] {
  const { offset } = reader.field("entries");
  const count = reader.array(ENTRIES_PER_MESSAGE_MAX);
  if (first + BigInt(count) > U64_MAX) reader.refuse("encoding_limit", offset);
  const entries: Entry[] = [];
  for (let position = 0; position < count; position += 1) {
    reader.field("entry").tuple(3);
    const term = readTerm(reader);
    const kind = ENTRY_KINDS[reader.field("kind").number(ENTRY_KINDS.length - 1)] as EntryKind;
    const data = reader.field("data").bytes(BLOCK_SIZE_BYTES_MAX).slice();
    entries.push({ term, index: first + BigInt(position), kind, data });
  }
  return entries;
}

/** Who votes and who listens. */
export function writeConfiguration(writer: Writer, configuration: ConfState): void {
  writer.array(5);
  writeIds(writer, configuration.voters);
  writeIds(writer, configuration.votersOutgoing);
  writeIds(writer, configuration.learners);
  writeIds(writer, configuration.learnersNext);
  writer.bool(configuration.autoLeave);
}

/** Reads what `writeConfiguration` wrote. Whether it can be is the core's to judge. */
export function readConfiguration(reader: Reader): ConfState {
  reader.field("configuration").tuple(5);
  return {
    voters: readIds(reader.field("voters")),
    votersOutgoing: readIds(reader.field("votersOutgoing")),
    learners: readIds(reader.field("learners")),
    learnersNext: readIds(reader.field("learnersNext")),
    autoLeave: reader.field("autoLeave").bool(),
  };
}

function writeIds(writer: Writer, ids: readonly bigint[]): void {
  writer.array(ids.length);
  for (const id of ids) writer.uint(id);
}

/** Ascending and distinct, so that one list has one form. */
function readIds(reader: Reader): readonly bigint[] {
  const { offset } = reader;
  const count = reader.array(MEMBERS_MAX);
  const ids: bigint[] = [];
  for (let position = 0; position < count; position += 1) {
    const id = reader.uint();
    const before = ids.at(-1);
    if (before !== undefined && before >= id) reader.refuse("encoding_not_canonical", offset);
    ids.push(id);
  }
  return ids;
}

// Grouping.

/** Core messages of one turn as notes: those that are alike but for their receiver become one. Their order stays. */
export function groupNotes(messages: readonly RaftMessage[]): readonly { readonly to: readonly bigint[]; readonly note: Note }[] {
  const groups = new Map<string, { readonly to: bigint[]; readonly note: Note }>();
  for (const message of messages) {
    const { to, note } = withoutReceiver(message);
    const key = keyOf(note);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { to: [to], note });
    else if (!group.to.includes(to)) group.to.push(to);
  }
  return [...groups.values()].map(({ to, note }) => ({ to: to.toSorted((a, b) => (a < b ? -1 : 1)), note }));
}

function withoutReceiver(message: RaftMessage): { readonly to: bigint; readonly note: Note } {
  switch (message.kind) {
    case "propose":
    case "readIndex":
    case "readIndexResponse":
      throw new AssertionError(`${message.kind} is never sent: forwarding is off and nobody reads through the engine`);
    default: {
      const { from: _, to, ...note } = message;
      return { to, note };
    }
  }
}

/** What a note says. Entries of one log are named by term and index (log matching), so their bytes need not be compared. */
function keyOf(note: Note): string {
  const plain = note.kind === "append" ? { ...note, entries: note.entries.map(({ term, index }) => `${term}/${index}`) } : note;
  return JSON.stringify(plain, (_, value: unknown) => (typeof value === "bigint" ? `${value}` : value));
}
