/**
 * Every key of the store, in one table: the first byte says what kind of thing a row is.
 *
 * Prefixes are part of the format on disk: never renumber, and when one is retired leave it here as a comment, so
 * that none is used twice. Numbers are big-endian, so that keys sort as the numbers do.
 */

import { assert } from "../../crypto/base/assert.ts";
import { concatBytes, readU32, readU64, u32, u64, utf8 } from "../../crypto/base/bytes.ts";
import { type Hash, HASH_SIZE_BYTES } from "../../crypto/hash/hash.ts";
import type { StoreRange } from "./store.ts";

/** First bytes of keys. */
export const KEYSPACE = {
  /** name -> the few facts about the store itself: format, network, head */
  metadata: 0x01,
  /** height -> encoded header */
  header: 0x02,
  /** height -> encoded block */
  block: 0x03,
  /** height -> encoded certificate of that height */
  certificate: 0x04,
  /** transaction id -> height, index in the block */
  transaction: 0x05,
  /** height -> encoded results of its transactions */
  results: 0x06,
  /** level, index -> node of the history log */
  historyNode: 0x07,
  /** hash of a validator set -> encoded set */
  validators: 0x08,
  /** height -> nothing: the header of this height names another set for the next one */
  validatorChange: 0x09,
  /**
   * 0x10 to 0x1f: the state tree, whose keys `chain/state/layout.ts` builds. Chunks come first: their numbers grow, so
   * a run of new ones and of what follows overlaps no older run of chunks, and LevelDB need not merge the two.
   */
  stateChunk: 0x10,
  stateRoot: 0x11,
  stateStale: 0x12,
  stateWorn: 0x13,
  /** stream, partition, index -> record */
  record: 0x20,
  /** stream, partition, index of the last leaf below -> inner nodes that this leaf completed */
  recordNode: 0x21,
  /** time, stream, partition, index, why -> by which rule: the record may be dropped once a block is as late */
  recordDue: 0x23,
  /** stream, partition, hash of a record's key -> index of the newest record of that key; compacted streams alone */
  recordLatest: 0x24,
  /** stream, partition, index -> hash of its key, and index of the record of that key before it if any; as recordLatest */
  recordBefore: 0x25,
} as const satisfies Record<string, number>;

/** A kind of row. */
export type Kind = keyof typeof KEYSPACE;

/** One partition of one stream: a log of records. */
export type PartitionId = {
  /** At most 255 bytes of UTF-8. */
  readonly stream: string;
  /** `0 <= partition < 2^32`. */
  readonly partition: number;
};

/** All rows of one kind. */
export function kindRange(kind: Kind): Required<Pick<StoreRange, "from" | "to">> {
  const prefix = KEYSPACE[kind];
  return { from: Uint8Array.of(prefix), to: Uint8Array.of(prefix + 1) };
}

/** The key of one fact about the store itself. Names are ASCII. */
export function metadataKey(name: string): Uint8Array {
  return concatBytes(Uint8Array.of(KEYSPACE.metadata), utf8(name));
}

/** The key of what there is one of at each height. */
export function heightKey(kind: "header" | "block" | "certificate" | "results" | "validatorChange", height: bigint): Uint8Array {
  return concatBytes(Uint8Array.of(KEYSPACE[kind]), u64(height));
}

/** The height in a key that `heightKey` made. */
export function heightOfKey(key: Uint8Array): bigint {
  assert(key.length === 9, "height key of {} bytes", key.length);
  return readU64(key, 1);
}

/** Of what `transactionKey` gives. */
export const TRANSACTION_KEY_SIZE_BYTES = 1 + HASH_SIZE_BYTES;

/** The key of where a transaction is. */
export function transactionKey(id: Hash): Uint8Array {
  const key = new Uint8Array(TRANSACTION_KEY_SIZE_BYTES);
  writeTransactionKey(key, id);
  return key;
}

/** Writes what `transactionKey` gives into an array of `TRANSACTION_KEY_SIZE_BYTES`. */
export function writeTransactionKey(key: Uint8Array, id: Hash): void {
  key[0] = KEYSPACE.transaction;
  key.set(id, 1);
}

/** The key of a validator set. */
export function validatorsKey(hash: Hash): Uint8Array {
  return concatBytes(Uint8Array.of(KEYSPACE.validators), hash);
}

/** The key of a node of the history log. */
export function historyNodeKey(level: number, index: bigint): Uint8Array {
  return concatBytes(Uint8Array.of(KEYSPACE.historyNode, level), u64(index));
}

/** The key of a record. */
export function recordKey(id: PartitionId, index: bigint): Uint8Array {
  return concatBytes(partitionPrefix("record", id), u64(index));
}

/** The key of the nodes that leaf `index` of a partition completed. */
export function recordNodeKey(id: PartitionId, index: bigint): Uint8Array {
  return concatBytes(partitionPrefix("recordNode", id), u64(index));
}

/** The key that says from which block time on a record may be dropped. */
export function recordDueKey(dueMs: bigint, id: PartitionId, index: bigint, why: number): Uint8Array {
  return concatBytes(Uint8Array.of(KEYSPACE.recordDue), u64(dueMs), partitionName(id), u64(index), Uint8Array.of(why));
}

/** Everything that is due at a block time. */
export function recordDueRange(timeMs: bigint): Required<Pick<StoreRange, "from" | "to">> {
  return { from: Uint8Array.of(KEYSPACE.recordDue), to: concatBytes(Uint8Array.of(KEYSPACE.recordDue), u64(timeMs + 1n)) };
}

/** What a key that `recordDueKey` made names. */
export function parseRecordDueKey(key: Uint8Array): PartitionId & { readonly index: bigint; readonly why: number } {
  const nameSize = key[9] ?? 0;
  assert(key.length === 10 + nameSize + 13, "due key of {} bytes", key.length);
  const at = 10 + nameSize;
  const stream = new TextDecoder().decode(key.subarray(10, at));
  return { stream, partition: readU32(key, at), index: readU64(key, at + 4), why: key[at + 12] ?? 0 };
}

/** The key of where the newest record of a record key is. */
export function recordLatestKey(id: PartitionId, keyHash: Hash): Uint8Array {
  return concatBytes(partitionPrefix("recordLatest", id), keyHash);
}

/** The key of which record of its key came before a record. */
export function recordBeforeKey(id: PartitionId, index: bigint): Uint8Array {
  return concatBytes(partitionPrefix("recordBefore", id), u64(index));
}

/** All records, all node rows, or all segment entries, of one partition. */
export function partitionRange(kind: "record" | "recordNode", id: PartitionId): Required<Pick<StoreRange, "from" | "to">> {
  const prefix = partitionPrefix(kind, id);
  // Longer than any key of the partition, and below every key of the next one.
  return { from: prefix, to: concatBytes(prefix, u64((1n << 64n) - 1n), Uint8Array.of(0)) };
}

/** The length of the name comes first, so that no stream's keys can begin with another's. */
function partitionPrefix(kind: "record" | "recordNode" | "recordLatest" | "recordBefore", id: PartitionId): Uint8Array {
  return concatBytes(Uint8Array.of(KEYSPACE[kind]), partitionName(id));
}

function partitionName({ stream, partition }: PartitionId): Uint8Array {
  const name = utf8(stream);
  assert(name.length <= 255, "stream name of {} bytes", name.length);
  return concatBytes(Uint8Array.of(name.length), name, u32(partition));
}
