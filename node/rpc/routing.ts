/**
 * Which partition of a stream a record goes to. Whoever routes must know how many partitions there are, so the count is
 * declared with the stream and never changes (`PyralogClient.stream` proves it).
 *
 * - `key`: by the hash of its key: records of one key keep their order among each other
 * - `roundRobin`: one after another: evenly, in no order
 * - `counter`: a client's own counter `v` goes to partition `v mod P` under the key of its eight big-endian bytes: a reader
 *   knows where `v` is, and reads `v`, `v + 1`, ... from one partition after another
 *
 * A client that routes by counter must have kept `v` before it sends (an Obelisk sequencer hands out such numbers), or two
 * records share one after a crash.
 */

import { assert } from "../../crypto/base/assert.ts";
import { readU64, u64 } from "../../crypto/base/bytes.ts";
import { hash } from "../../crypto/hash/hash.ts";
import type { RecordBody } from "../../chain/block/record.ts";
import type { Call } from "../../chain/block/call.ts";

/** How to route, and where to begin. */
export type Route =
  | { readonly kind: "key" }
  /** `from`: the partition of the first record. */
  | { readonly kind: "roundRobin"; readonly from: number }
  /** `from`: the counter of the first record; the others follow. Keys are set by it. */
  | { readonly kind: "counter"; readonly from: bigint };

/** The partition that records of a key are in. */
export function partitionOfKey(key: Uint8Array, partitions: number): number {
  assert(Number.isInteger(partitions) && partitions >= 1, "{} partitions", partitions);
  return Number(readU64(hash("recordKey", key)) % BigInt(partitions));
}

/** The partition of a client's counter. */
export function partitionOfCounter(counter: bigint, partitions: number): number {
  assert(Number.isInteger(partitions) && partitions >= 1 && counter >= 0n, "counter {} over {} partitions", counter, partitions);
  return Number(counter % BigInt(partitions));
}

/** The key of a client's counter: sorts as the number does. */
export function counterKey(counter: bigint): Uint8Array {
  return u64(counter);
}

/** The calls that append records where they belong: one a partition, in the order of partitions, records in their own. */
export function routedCalls(stream: string, records: readonly RecordBody[], partitions: number, route: Route): Call[] {
  const byPartition = new Map<number, RecordBody[]>();
  for (const [index, record] of records.entries()) {
    const { partition, body } = placeOf(record, index, partitions, route);
    const group = byPartition.get(partition);
    if (group === undefined) byPartition.set(partition, [body]);
    else group.push(body);
  }
  return [...byPartition]
    .sort(([a], [b]) => a - b)
    .map(([partition, bodies]) => ({ kind: "streamAppend", stream, partition, records: bodies }));
}

function placeOf(
  record: RecordBody,
  index: number,
  partitions: number,
  route: Route,
): { readonly partition: number; readonly body: RecordBody } {
  switch (route.kind) {
    case "key":
      assert(record.key !== undefined, "a record without a key has no partition");
      return { partition: partitionOfKey(record.key, partitions), body: record };
    case "roundRobin":
      return { partition: (route.from + index) % partitions, body: record };
    case "counter": {
      const counter = route.from + BigInt(index);
      return { partition: partitionOfCounter(counter, partitions), body: { ...record, key: counterKey(counter) } };
    }
  }
}
