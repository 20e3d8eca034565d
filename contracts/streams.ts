/** Streams that somebody declared: how many partitions they have, who may append, and what their records go by. */

import { bytesEqual } from "../crypto/base/bytes.ts";
import type { Address } from "../crypto/identity/address.ts";
import type { Call } from "../chain/block/call.ts";
import type { StateView } from "../chain/state/executor.ts";
import { partitionKey, streamKey } from "../chain/state/keys.ts";
import { encodeStream, parsePartitionHead, parseStream, type StreamRow } from "../chain/state/partition.ts";
import { ownRow } from "../chain/state/rows.ts";
import type { CallFault, CallScope } from "./scope.ts";

/** Declares a stream that the sender owns. Partitions that others wrote to before keep the name from being taken. */
export function createStream({ state, sender }: CallScope, call: Extract<Call, { kind: "streamCreate" }>): CallFault | undefined {
  const { stream, partitions, isOpen, segmentSizeBytes } = call;
  if (state.get(streamKey(stream)) !== undefined) return { code: "stream_exists", field: "stream" };
  for (let partition = 0; partition < partitions; partition += 1) {
    const bytes = state.get(partitionKey(stream, partition));
    if (bytes === undefined) continue;
    const { owner } = ownRow(parsePartitionHead(bytes), "partition");
    if (!bytesEqual(owner, sender)) return { code: "partition_not_owner", field: "stream" };
  }
  const retentionMs = call.retentionMs === undefined ? undefined : BigInt(call.retentionMs);
  const compactionMs = call.compactionMs === undefined ? undefined : BigInt(call.compactionMs);
  const segmentAgeMs = BigInt(call.segmentAgeMs);
  const row: StreamRow = { owner: sender, partitions, isOpen, segmentSizeBytes, segmentAgeMs, retentionMs, compactionMs };
  state.put(streamKey(stream), encodeStream(row));
  return undefined;
}

/** A declared stream. */
export function streamAt(view: StateView, stream: string): StreamRow | undefined {
  const bytes = view.get(streamKey(stream));
  return bytes === undefined ? undefined : ownRow(parseStream(bytes), "stream");
}

/**
 * The stream that a partition goes by: `undefined` of a name that nobody declared, and of a partition that somebody had made
 * before the name was declared with fewer. Such a one stays whose it was: declaring looks only at the partitions it declares.
 */
export function streamOf(view: StateView, stream: string, partition: number): StreamRow | undefined {
  const declared = streamAt(view, stream);
  if (declared === undefined || partition < declared.partitions) return declared;
  return view.get(partitionKey(stream, partition)) === undefined ? declared : undefined;
}

/** Why the sender may not append to a partition of a declared stream. */
export function appendRefused(stream: StreamRow, sender: Address, partition: number): CallFault | undefined {
  if (partition >= stream.partitions) return { code: "stream_partition", field: "partition" };
  return stream.isOpen || bytesEqual(stream.owner, sender) ? undefined : { code: "stream_not_owner", field: "stream" };
}
