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
 * Nothing here knows what a record says; `chain/block/record.ts` does.
 */

import { assert } from "../../crypto/base/assert.ts";
import { concatBytes } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { type Hash, HASH_SIZE_BYTES, hashOf } from "../../crypto/hash/hash.ts";
import {
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
import { type PartitionId, recordKey, recordNodeKey } from "../store/keyspace.ts";
import type { StoreOperation, StoreReader } from "../store/store.ts";

/** One call of `readRecords` returns at most so many: it runs on the main thread, at about 3 us a record. */
export const RECORDS_READ_MAX = 1000;

/** A record as it was appended. */
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
    `record ${append.firstIndex} of ${append.stream} is there already`,
  );
  const operations: StoreOperation[] = [];
  let frontier = partitionFrontier(reader, append, append.firstIndex);
  for (const bytes of append.records) {
    const index = frontier.size;
    const nodes: Hash[] = [];
    frontier = appendLeaf(LOG_HASHER, frontier, LOG_HASHER.leaf(bytes), (level, _, hash) => {
      if (level > 0) nodes.push(hash);
    });
    operations.push({ kind: "put", key: recordKey(append, index), value: bytes });
    if (nodes.length > 0) operations.push({ kind: "put", key: recordNodeKey(append, index), value: concatBytes(...nodes) });
  }
  return operations;
}

/** The frontier of a partition as it was at `size`, at most its size now. */
export function partitionFrontier(reader: StoreReader, id: PartitionId, size: bigint): Frontier {
  return frontierAt(size, nodesOf(reader, id));
}

/** The operations that take records `size` and on out again. Cost: one read a record. */
export function undoOperations(reader: StoreReader, id: PartitionId, size: bigint): StoreOperation[] {
  const operations: StoreOperation[] = [];
  for (let index = size; reader.get(recordKey(id, index)) !== undefined; index += 1n) {
    operations.push({ kind: "delete", key: recordKey(id, index) }, { kind: "delete", key: recordNodeKey(id, index) });
  }
  return operations;
}

/** Records from index `from` on, without gaps: at most `count`, at most `RECORDS_READ_MAX`, and no more than there are. */
export function readRecords(reader: StoreReader, id: PartitionId, from: bigint, count: number): StoredRecord[] {
  assert(from >= 0n && Number.isSafeInteger(count) && count >= 0, `records ${from} and ${count} more`);
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
  return LOG_HASHER.leaf(bytes);
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
