/**
 * Partitions: append-only lists of records in a store, each with an RFC 9162 tree over it.
 *
 * A record is a row of its own. Its leaf hash is not stored: it is the hash of the row. The inner nodes of the tree
 * are stored under the index of the last leaf below them, all nodes that one leaf completes in one row, lowest first.
 * Leaf `i` completes as many inner nodes as `i` ends in binary ones, so every second leaf has no such row, and a
 * record costs one and a half rows and one hash.
 *
 * ```
 *   leaf        0     1      2     3          4     5      6     7
 *   node row          (1,0)        (1,1)            (1,2)        (1,3)
 *                                  (2,0)                         (2,1)
 *                                                                (3,0)
 * ```
 *
 * In streams that say how long records are kept, a row under the time from which it may go (*due*) stands beside each
 * record, and where the newest of each key wins, so does one a key. Once a block is as late, the record's row becomes its
 * commitment: no proof of any other record changes, and the dropped one can still be proven to have been there.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { concatBytes, readU64, toHex, u64 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { type Hash, HASH_SIZE_BYTES, hash, hashOf } from "../../crypto/hash/hash.ts";
import { droppedRecord, isDropped, parseRecord, storedLeaf, type StreamRecord } from "../block/record.ts";
import {
  appendEntries,
  appendLeaf,
  consistencyProof,
  type Frontier,
  frontierAt,
  inclusionProof,
  LOG_HASHER,
  LOG_SIZE_END,
  type ReadNode,
} from "../merkle/log.ts";
import type { RecordAppend } from "../state/executor.ts";
import type { KeepRules } from "../state/partition.ts";
import {
  parseRecordDueKey,
  type PartitionId,
  recordBeforeKey,
  recordDueKey,
  recordDueRange,
  recordKey,
  recordLatestKey,
  recordNodeKey,
} from "../store/keyspace.ts";
import type { StoreOperation, StoreReader } from "../store/store.ts";

/** One call of `readRecords` returns at most so many: it runs on the main thread, at about 3 us a record. */
export const RECORDS_READ_MAX = 1000;

/** A record as it was appended, or its commitment once it was dropped (`isDropped`). */
export type StoredRecord = { readonly index: bigint; readonly bytes: Uint8Array };

/**
 * The operations that append records to a partition: the caller puts them into its batch. A batch may hold one append
 * a partition, because the next one builds on what `reader` sees.
 *
 * Cost: 1.5 rows and one node hash a record, and one read for each 1 in the binary form of `firstIndex`.
 */
export function appendOperations(reader: StoreReader, append: RecordAppend): StoreOperation[] {
  assert(
    reader.get(recordKey(append, append.firstIndex)) === undefined,
    "record {} of {} is there already",
    append.firstIndex,
    append.stream,
  );
  // What each record completes above its own leaf; its leaf comes first.
  const nodes: Hash[][] = [];
  const note = (level: number, _: bigint, node: Hash): void => {
    if (level === 0) nodes.push([]);
    else nodes.at(-1)?.push(node);
  };
  let frontier = partitionFrontier(reader, append, append.firstIndex);
  // Of what was dropped before it came here there is only the leaf.
  if (append.records.some(isDropped))
    for (const bytes of append.records) frontier = appendLeaf(LOG_HASHER, frontier, storedLeaf(bytes), note);
  else appendEntries(frontier, append.records, note);
  const operations: StoreOperation[] = [];
  for (const [at, bytes] of append.records.entries()) {
    const index = append.firstIndex + BigInt(at);
    const completed = present(nodes[at], "nodes of a record");
    operations.push({ kind: "put", key: recordKey(append, index), value: bytes });
    if (completed.length > 0)
      operations.push({ kind: "put", key: recordNodeKey(append, index), value: concatBytes(...completed) });
  }
  return [...operations, ...keepOperations(reader, append)];
}

const KEEP_ALL: KeepRules = { retentionMs: undefined, compactionMs: undefined };

/** Why a record may go; part of the format on disk. */
const DUE = { retention: 1, replaced: 2, tombstone: 3 } as const;

/** The rows that say when these records, and those whose keys they have, may go. */
function keepOperations(reader: StoreReader, append: RecordAppend): StoreOperation[] {
  const { retentionMs, compactionMs } = append.keep ?? {};
  if (retentionMs === undefined && compactionMs === undefined) return [];
  const operations: StoreOperation[] = [];
  const latest = new Map<string, bigint>();
  const due = (fromMs: bigint, spanMs: bigint, index: bigint, why: number, by: bigint): void => {
    operations.push({
      kind: "put",
      key: recordDueKey(fromMs + spanMs, append, index, why),
      value: concatBytes(u64(spanMs), u64(by)),
    });
  };
  for (const [offset, bytes] of append.records.entries()) {
    const index = append.firstIndex + BigInt(offset);
    // Of what was dropped before it came here, what was due was done.
    if (isDropped(bytes)) continue;
    const { key, timeMs, isTombstone } = recordOf(append, index, bytes);
    if (retentionMs !== undefined) due(timeMs, retentionMs, index, DUE.retention, 0n);
    if (compactionMs === undefined || key === undefined) continue;
    const keyHash = hash("recordKey", key);
    const latestKey = recordLatestKey(append, keyHash);
    const name = toHex(keyHash);
    const stored = reader.get(latestKey);
    const before = latest.get(name) ?? (stored === undefined ? undefined : readU64(stored));
    latest.set(name, index);
    operations.push({ kind: "put", key: latestKey, value: u64(index) });
    const link = before === undefined ? keyHash : concatBytes(keyHash, u64(before));
    operations.push({ kind: "put", key: recordBeforeKey(append, index), value: link });
    if (before !== undefined) due(timeMs, compactionMs, before, DUE.replaced, index);
    if (isTombstone === true) due(timeMs, compactionMs, index, DUE.tombstone, 0n);
  }
  return operations;
}

/**
 * The operations that drop what is due at a block time: at most so many of the longest due, so that no block takes long.
 * Each rule is checked again, because the block that made a record due may have been undone.
 */
export async function dropOperations(reader: StoreReader, timeMs: bigint, countMax: number): Promise<StoreOperation[]> {
  const operations: StoreOperation[] = [];
  for await (const { key, value } of reader.entries({ ...recordDueRange(timeMs), limit: countMax })) {
    operations.push({ kind: "delete", key });
    const { index, why, ...id } = parseRecordDueKey(key);
    const stored = reader.get(recordKey(id, index));
    if (stored === undefined || isDropped(stored)) continue;
    const [spanMs, by] = [readU64(value), readU64(value, 8)];
    if (isDue(reader, id, { index, why, by, latestMs: timeMs - spanMs }, stored))
      operations.push({ kind: "put", key: recordKey(id, index), value: droppedRecord(storedLeaf(stored)) });
  }
  return operations;
}

/** The operation that drops a record now; none when it is dropped already. `added`: it came with the same batch. */
export function eraseOperations(
  reader: StoreReader,
  { index, ...id }: PartitionId & { readonly index: bigint },
  added: Uint8Array | undefined,
): StoreOperation[] {
  const stored = added ?? reader.get(recordKey(id, index));
  if (stored === undefined) throw damaged(id, { message: "record is missing", index });
  return isDropped(stored) ? [] : [{ kind: "put", key: recordKey(id, index), value: droppedRecord(storedLeaf(stored)) }];
}

function isDue(
  reader: StoreReader,
  id: PartitionId,
  { index, why, by, latestMs }: { readonly index: bigint; readonly why: number; readonly by: bigint; readonly latestMs: bigint },
  stored: Uint8Array,
): boolean {
  const record = recordOf(id, index, stored);
  if (why === DUE.retention) return record.timeMs <= latestMs;
  if (why === DUE.tombstone) return record.isTombstone === true && record.timeMs <= latestMs;
  const link = reader.get(recordBeforeKey(id, by));
  const replacing = reader.get(recordKey(id, by));
  if (link?.length !== HASH_SIZE_BYTES + 8 || readU64(link, HASH_SIZE_BYTES) !== index || replacing === undefined) return false;
  // When what replaced it is gone itself, that was later.
  return isDropped(replacing) || recordOf(id, by, replacing).timeMs <= latestMs;
}

/** The index of the newest record of a key, in a stream that is compacted. */
export function latestRecord(reader: StoreReader, id: PartitionId, key: Uint8Array): bigint | undefined {
  const stored = reader.get(recordLatestKey(id, hash("recordKey", key)));
  return stored === undefined ? undefined : readU64(stored);
}

function recordOf(id: PartitionId, index: bigint, bytes: Uint8Array): StreamRecord {
  const record = parseRecord(bytes);
  if (!record.ok) throw damaged(id, { message: "record does not decode", index, reason: record.error.code });
  return record.value;
}

/** The frontier of a partition as it was at `size`, at most its size now. */
export function partitionFrontier(reader: StoreReader, id: PartitionId, size: bigint): Frontier {
  return frontierAt(size, nodesOf(reader, id));
}

/**
 * The operations that take out again the records `size` and on, which one block appended to a stream with these rules.
 * Cost: two reads a record.
 */
export function undoOperations(
  reader: StoreReader,
  id: PartitionId,
  size: bigint,
  { keep = KEEP_ALL, timeMs }: { readonly keep?: KeepRules | undefined; readonly timeMs: bigint },
): StoreOperation[] {
  const operations: StoreOperation[] = [];
  for (let index = size; ; index += 1n) {
    const stored = reader.get(recordKey(id, index));
    if (stored === undefined) return operations;
    operations.push({ kind: "delete", key: recordKey(id, index) }, { kind: "delete", key: recordNodeKey(id, index) });
    if (keep.retentionMs !== undefined || keep.compactionMs !== undefined)
      operations.push(...undoKept(reader, { id, index, size, keep, timeMs }));
  }
}

/** Takes out the rows that `keepOperations` made for a record. */
function undoKept(
  reader: StoreReader,
  of: {
    readonly id: PartitionId;
    readonly index: bigint;
    readonly size: bigint;
    readonly keep: KeepRules;
    readonly timeMs: bigint;
  },
): StoreOperation[] {
  const { id, index, size, keep, timeMs } = of;
  const operations: StoreOperation[] = [];
  const link = reader.get(recordBeforeKey(id, index));
  const before = link !== undefined && link.length > HASH_SIZE_BYTES ? readU64(link, HASH_SIZE_BYTES) : undefined;
  if (link !== undefined) {
    operations.push({ kind: "delete", key: recordBeforeKey(id, index) });
    // Of the records of one key that go, the first knows what was before them all.
    const latestKey = recordLatestKey(id, hashOf(link.subarray(0, HASH_SIZE_BYTES)));
    if (before === undefined) operations.push({ kind: "delete", key: latestKey });
    else if (before < size) operations.push({ kind: "put", key: latestKey, value: u64(before) });
  }
  // Also of one that was erased since, whose content is gone: the time is the block's, and what was not due is not there.
  const undue = (spanMs: bigint, at: bigint, why: number): void => {
    operations.push({ kind: "delete", key: recordDueKey(timeMs + spanMs, id, at, why) });
  };
  if (keep.retentionMs !== undefined) undue(keep.retentionMs, index, DUE.retention);
  if (keep.compactionMs !== undefined && before !== undefined) undue(keep.compactionMs, before, DUE.replaced);
  if (keep.compactionMs !== undefined) undue(keep.compactionMs, index, DUE.tombstone);
  return operations;
}

/** Records from index `from` on, without gaps: at most `count`, at most `RECORDS_READ_MAX`, and no more than there are. */
export function readRecords(reader: StoreReader, id: PartitionId, from: bigint, count: number): StoredRecord[] {
  assert(from >= 0n && Number.isSafeInteger(count) && count >= 0, "records {} and {} more", from, count);
  const left = LOG_SIZE_END - from;
  const wanted = Math.min(count, RECORDS_READ_MAX, left < 0n ? 0 : Number(left));
  const records: StoredRecord[] = [];
  for (let index = from; records.length < wanted; index += 1n) {
    const bytes = reader.get(recordKey(id, index));
    if (bytes === undefined) break;
    records.push({ index, bytes });
  }
  return records;
}

/** The siblings of record `index` in the partition as it was at `size`; see `inclusionProof`. */
export function recordProof(reader: StoreReader, id: PartitionId, index: bigint, size: bigint): Hash[] {
  return inclusionProof(LOG_HASHER, { index, size }, nodesOf(reader, id));
}

/** That the partition at size `second` begins with itself at size `first`; see `consistencyProof`. */
export function partitionConsistency(reader: StoreReader, id: PartitionId, first: bigint, second: bigint): Hash[] {
  return consistencyProof(LOG_HASHER, { first, second }, nodesOf(reader, id));
}

function nodesOf(reader: StoreReader, id: PartitionId): ReadNode {
  return (level, index) => (level === 0 ? leafOf(reader, id, index) : innerNodeOf(reader, id, { level, index }));
}

function leafOf(reader: StoreReader, id: PartitionId, index: bigint): Hash {
  const bytes = reader.get(recordKey(id, index));
  if (bytes === undefined) throw damaged(id, { message: "record is missing", index });
  return storedLeaf(bytes);
}

function innerNodeOf(
  reader: StoreReader,
  id: PartitionId,
  { level, index }: { readonly level: number; readonly index: bigint },
): Hash {
  const lastLeaf = ((index + 1n) << BigInt(level)) - 1n;
  const offset = (level - 1) * HASH_SIZE_BYTES;
  const nodes = reader.get(recordNodeKey(id, lastLeaf));
  if (nodes === undefined || nodes.length < offset + HASH_SIZE_BYTES)
    throw damaged(id, { message: "tree node is missing", level, index });
  return hashOf(nodes.subarray(offset, offset + HASH_SIZE_BYTES));
}

/** What the state says to be there is not: the store lost it. */
function damaged(id: PartitionId, detail: Readonly<Record<string, unknown>>): CodedError {
  return new CodedError("store_corrupt", { ...detail, stream: id.stream, partition: id.partition });
}
