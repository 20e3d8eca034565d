/**
 * The records of the write-ahead log, and what they add up to: a node's term, vote and log.
 *
 * Wire form, canonical dag-cbor. `state` is `[term, vote, commit]`; entries and configuration as in `message.ts`:
 *
 * ```
 * [0, state, [term, index], configuration, height, entries]   base: forget all before; the log begins after this entry, at which
 *                                                             the configuration is this and the ledger stands at this height
 * [0, state, [term, index], configuration, height, entries, lost]   the same of a node that lost its log, terms up to `lost` and all
 * [1, state, first, entries]                                  append: from index `first` on the log is these (0: no entries)
 * ```
 *
 * A log of records begins with a base.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { type Coded, ok, type Result } from "../../crypto/base/result.ts";
import { type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { readHeight } from "../../chain/block/fields.ts";
import { GENESIS_HEIGHT, type Height } from "../../chain/block/height.ts";
import { confStateOf } from "./configuration.ts";
import {
  checkBlocks,
  readConfiguration,
  readEntries,
  readEntryId,
  readTerm,
  snapshotData,
  writeConfiguration,
  writeEntries,
  writeEntryId,
} from "./message.ts";
import { EMPTY_HARD_STATE, MemoryRaftStorage } from "./storage.ts";
import { type ConfState, type Entry, type EntryId, type HardState, NOBODY, type Snapshot } from "./types.ts";

/** A place in the log up to which everything is applied: what is in force there, and the height of the ledger. */
export type Mark = EntryId & { readonly configuration: ConfState; readonly height: Height };

/** The mark of a node that has been told nothing. */
export const BLANK_MARK: Mark = { term: 0n, index: 0n, configuration: confStateOf([]), height: GENESIS_HEIGHT };

/** Where a log of records begins. */
export type JournalBase = {
  readonly hardState: HardState;
  readonly mark: Mark;
  readonly entries: readonly Entry[];
  /** The latest term of whose records some are lost; absent when none ever were. */
  readonly lost?: bigint;
};

/** One record. */
export type RaftRecord =
  | (JournalBase & { readonly kind: "base" })
  | { readonly kind: "append"; readonly hardState: HardState; readonly entries: readonly Entry[] };

const TAG = { base: 0, append: 1 } as const satisfies Record<RaftRecord["kind"], number>;

/** The bytes of a record. */
export function encodeRecord(record: RaftRecord): Uint8Array {
  const { hardState, entries } = record;
  const lost = record.kind === "base" ? record.lost : undefined;
  const baseLength = lost === undefined ? 6 : 7;
  const writer = new Writer().array(record.kind === "base" ? baseLength : 4).uint(TAG[record.kind]);
  writer.array(3).uint(hardState.term).uint(hardState.vote).uint(hardState.commit);
  if (record.kind === "base") {
    const { mark } = record;
    writeEntryId(writer, mark);
    writeConfiguration(writer, mark.configuration);
    writer.uint(mark.height);
  } else writer.uint(entries[0]?.index ?? 0n);
  writeEntries(writer, entries);
  if (lost !== undefined) writer.uint(lost);
  return writer.finish();
}

/** Parses a record, strictly: an `encoding_*` code, or a code of `parseBlock`. */
export function parseRecord(bytes: Uint8Array): Result<RaftRecord, Coded> {
  const parsed = readWith(bytes, readRecord);
  if (!parsed.ok) return parsed;
  const checked = checkBlocks(parsed.value.entries);
  return checked.ok ? ok(parsed.value) : checked;
}

function readRecord(reader: Reader): RaftRecord {
  const { offset } = reader.field("record");
  const length = reader.array(7);
  const isBase = reader.field("tag").number(TAG.append) === TAG.base;
  if (isBase ? length < 6 : length !== 4) reader.refuse("encoding_limit", offset);
  const hardState = readHardState(reader);
  if (isBase) {
    const id = readEntryId(reader, "mark");
    const configuration = readConfiguration(reader);
    const mark = { ...id, configuration, height: readHeight(reader, "height") };
    const base = { kind: "base", hardState, mark, entries: readEntries(reader, id.index + 1n) } as const;
    return length === 6 ? base : { ...base, lost: reader.field("lost").uint() };
  }
  const firstOffset = reader.field("first").offset;
  const first = reader.uint();
  const entries = readEntries(reader, first);
  if ((first === 0n) !== (entries.length === 0)) reader.refuse("encoding_limit", firstOffset);
  return { kind: "append", hardState, entries };
}

function readHardState(reader: Reader): HardState {
  reader.field("state").tuple(3);
  const term = readTerm(reader);
  return { term, vote: reader.field("vote").uint(), commit: reader.field("commit").uint() };
}

/** What the records written so far add up to. Every change of it is a record, or is made durable by the next one. */
export class Journal {
  #hardState: HardState;
  #mark: Mark;
  #entries: readonly Entry[];
  /** See `JournalBase`. */
  readonly lost: bigint | undefined;

  constructor(base: JournalBase) {
    this.lost = base.lost;
    this.#hardState = base.hardState;
    this.#mark = base.mark;
    this.#entries = base.entries;
  }

  /** The journal of a node that has been told nothing. */
  static blank(): Journal {
    return new Journal({ hardState: EMPTY_HARD_STATE, mark: BLANK_MARK, entries: [] });
  }

  /**
   * What a node goes on with that has spoken in `term`, and whose records do not say all that it said or are gone: it can neither
   * know whom it voted for nor what it acknowledged.
   */
  static afterLoss(journal: Journal | undefined, term: bigint): Journal {
    const { hardState, mark, entries } = journal ?? Journal.blank();
    const known = hardState.term > term ? hardState.term : term;
    return new Journal({ hardState: { ...hardState, term: known, vote: NOBODY }, mark, entries, lost: known });
  }

  /** The same, with nothing called lost: of who decides alone, to whom nobody else could tell what it was. */
  trusted(): Journal {
    return new Journal({ hardState: this.#hardState, mark: this.#mark, entries: this.#entries });
  }

  /** The journal after one more record. @returns `undefined` for a record that cannot follow: the first is a base, no index is left out */
  static after(journal: Journal | undefined, record: RaftRecord): Journal | undefined {
    if (record.kind === "base") return new Journal(record);
    const first = record.entries[0];
    if (journal === undefined) return undefined;
    if (first !== undefined && (first.index <= journal.mark.index || first.index > journal.lastIndex + 1n)) return undefined;
    journal.append(record.hardState, record.entries);
    return journal;
  }

  get hardState(): HardState {
    return this.#hardState;
  }

  /** Where the log begins. */
  get mark(): Mark {
    return this.#mark;
  }

  get entries(): readonly Entry[] {
    return this.#entries;
  }

  get lastIndex(): bigint {
    return this.#mark.index + BigInt(this.#entries.length);
  }

  /** The term of the last entry. */
  get lastTerm(): bigint {
    return this.#entries.at(-1)?.term ?? this.#mark.term;
  }

  /** All of it as one record. */
  get base(): RaftRecord {
    const base = { kind: "base", hardState: this.#hardState, mark: this.#mark, entries: this.#entries } as const;
    return this.lost === undefined ? base : { ...base, lost: this.lost };
  }

  /** Takes a hard state, and entries in place of all from the first of them on. */
  append(hardState: HardState, entries: readonly Entry[]): void {
    this.#hardState = hardState;
    const first = entries[0];
    if (first === undefined) return;
    assert(
      first.index > this.#mark.index && first.index <= this.lastIndex + 1n,
      "append at {} of {}",
      first.index,
      this.lastIndex,
    );
    this.#entries = [...this.#entries.slice(0, this.#position(first.index)), ...entries];
  }

  /** Begins anew at a mark that a leader's snapshot gave. */
  restore(hardState: HardState, mark: Mark): void {
    this.#hardState = hardState;
    this.#mark = mark;
    this.#entries = [];
  }

  /** Drops the entries up to and with a mark: they are applied. */
  compact(mark: Mark): void {
    const position = this.#position(mark.index);
    const entry = present(this.#entries[position], "entry {}", mark.index);
    assert(entry.term === mark.term, "entry {} is of term {}, not {}", mark.index, entry.term, mark.term);
    this.#entries = this.#entries.slice(position + 1);
    this.#mark = mark;
  }

  /** What the core reads of it. */
  toStorage(): MemoryRaftStorage {
    const storage = new MemoryRaftStorage();
    if (this.#mark.index > 0n) storage.applySnapshot(snapshotOf(this.#mark));
    storage.setHardState(this.#hardState);
    storage.append(this.#entries);
    return storage;
  }

  #position(index: bigint): number {
    return Number(index - this.#mark.index - 1n);
  }
}

/** A mark as the core's snapshot. */
export function snapshotOf({ term, index, configuration, height }: Mark): Snapshot {
  return { term, index, configuration, data: snapshotData(height) };
}
