/** Partitions of streams: their heads in the state, and what appending does to them. */

import { bytesEqual } from "../crypto/base/bytes.ts";
import { encodeRecord } from "../chain/block/record.ts";
import type { Call } from "../chain/block/transaction.ts";
import type { StateView } from "../chain/state/executor.ts";
import { partitionKey } from "../chain/state/keys.ts";
import {
  appendRecords,
  emptyPartition,
  encodePartitionHead,
  ownRow,
  parsePartitionHead,
  type PartitionHead,
} from "../chain/state/rows.ts";
import type { CallFault, CallScope } from "./scope.ts";

/** How many records a partition has; `undefined` when nobody has made it. */
export function partitionSize(view: StateView, stream: string, partition: number): bigint | undefined {
  return headAt(view, stream, partition)?.frontier.size;
}

/** Appends as the partition's owner; who comes first makes the partition and owns it. */
export function appendToPartition(
  { state, appends, sender, context }: CallScope,
  call: Extract<Call, { kind: "logAppend" }>,
): CallFault | undefined {
  const { stream, partition } = call;
  const head = headAt(state, stream, partition) ?? emptyPartition(sender);
  if (!bytesEqual(head.owner, sender)) return { code: "partition_not_owner", field: "partition" };
  const firstIndex = head.frontier.size;
  const records = call.records.map((data, offset) =>
    encodeRecord({ stream, partition, index: firstIndex + BigInt(offset), height: context.height, timeMs: context.timeMs, data }),
  );
  state.put(partitionKey(stream, partition), encodePartitionHead(appendRecords(head, records)));
  appends.add({ stream, partition, firstIndex, records });
  return undefined;
}

function headAt(view: StateView, stream: string, partition: number): PartitionHead | undefined {
  const bytes = view.get(partitionKey(stream, partition));
  return bytes === undefined ? undefined : ownRow(parsePartitionHead(bytes), "partition");
}
