/** Partitions of streams: their heads in the state, and what appending does to them. */

import { bytesEqual } from "../crypto/base/bytes.ts";
import { encodeRecord, type RecordBody } from "../chain/block/record.ts";
import type { Call } from "../chain/block/call.ts";
import type { StateView } from "../chain/state/executor.ts";
import { erasedKey, partitionKey, segmentKey } from "../chain/state/keys.ts";
import {
  appendRecords,
  emptyPartition,
  encodeErased,
  encodePartitionHead,
  type KeepRules,
  parsePartitionHead,
  type PartitionHead,
  SEGMENT_RULES_DEFAULT,
} from "../chain/state/partition.ts";
import { ownRow } from "../chain/state/rows.ts";
import type { CallFault, CallScope } from "./scope.ts";
import { appendRefused, streamAt, streamOf } from "./streams.ts";

/** How many records a partition has; `undefined` when nobody has made it. */
export function partitionSize(view: StateView, stream: string, partition: number): bigint | undefined {
  return headAt(view, stream, partition)?.frontier.size;
}

/** What a stream says of how long its records are kept, if it says anything. */
export function keepRules(view: StateView, stream: string): KeepRules | undefined {
  return keepOf(streamAt(view, stream));
}

function keepOf(declared: KeepRules | undefined): KeepRules | undefined {
  if (declared?.retentionMs === undefined && declared?.compactionMs === undefined) return undefined;
  return { retentionMs: declared.retentionMs, compactionMs: declared.compactionMs };
}

/**
 * Appends to a partition. Of a declared stream, as it says; of any other name, who comes first makes the partition and
 * owns it.
 */
export function appendToPartition(
  { state, appends, sender, context }: CallScope,
  call: { readonly stream: string; readonly partition: number; readonly records: readonly RecordBody[] },
): CallFault | undefined {
  const { stream, partition } = call;
  const declared = streamOf(state, stream, partition);
  const before = headAt(state, stream, partition) ?? emptyPartition(declared?.owner ?? sender);
  const refused = declared === undefined ? undefined : appendRefused(declared, sender, partition);
  if (refused !== undefined) return refused;
  if (declared === undefined && !bytesEqual(before.owner, sender)) return { code: "partition_not_owner", field: "partition" };
  const firstIndex = before.frontier.size;
  const { height, timeMs } = context;
  const records = call.records.map(({ key, value, headers }, offset) => {
    const place = { stream, partition, index: firstIndex + BigInt(offset), height, timeMs };
    return encodeRecord({ ...place, key, data: value ?? new Uint8Array(0), isTombstone: value === undefined, headers });
  });
  const rules = declared ?? SEGMENT_RULES_DEFAULT;
  const { segmentSizeBytes, segmentAgeMs } = rules;
  const { head, sealed } = appendRecords(before, { stream, partition, records, timeMs, segmentSizeBytes, segmentAgeMs });
  state.put(partitionKey(stream, partition), encodePartitionHead(head));
  for (const [offset, entry] of sealed.entries())
    state.put(segmentKey(stream, partition, before.sealed.count + BigInt(offset)), entry);
  appends.add({ stream, partition, firstIndex, records, keep: keepOf(declared) });
  return undefined;
}

/** Erases a record: a row says who asked and when, and every node drops the record to its commitment with the block. */
export function eraseRecord(
  { state, appends, sender, context }: CallScope,
  call: Extract<Call, { kind: "recordErase" }>,
): CallFault | undefined {
  const { stream, partition, index } = call;
  const head = headAt(state, stream, partition);
  if (head === undefined || index >= head.frontier.size) return { code: "record_absent", field: "index" };
  const declared = streamOf(state, stream, partition);
  if (declared !== undefined && !bytesEqual(declared.owner, sender)) return { code: "stream_not_owner", field: "stream" };
  if (declared === undefined && !bytesEqual(head.owner, sender)) return { code: "partition_not_owner", field: "partition" };
  const key = erasedKey(stream, partition, index);
  if (state.get(key) !== undefined) return { code: "record_erased", field: "index" };
  state.put(key, encodeErased({ height: context.height, by: sender }));
  appends.erase({ stream, partition, index });
  return undefined;
}

function headAt(view: StateView, stream: string, partition: number): PartitionHead | undefined {
  const bytes = view.get(partitionKey(stream, partition));
  return bytes === undefined ? undefined : ownRow(parsePartitionHead(bytes), "partition");
}
