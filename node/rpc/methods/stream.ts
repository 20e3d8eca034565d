/** Streams: append-only partitions of records. */

import * as z from "zod";
import { fail, ok } from "../../../crypto/base/result.ts";
import type { Hash } from "../../../crypto/hash/hash.ts";
import { frontierRoot, LOG_HASHER } from "../../../chain/merkle/log.ts";
import { partitionKey } from "../../../chain/state/keys.ts";
import { ownRow, parsePartitionHead } from "../../../chain/state/rows.ts";
import { method, proveKey } from "../method.ts";
import {
  addressSchema,
  amountSchema,
  blobSchema,
  hashSchema,
  nameSchema,
  partitionSchema,
  readParams,
  readResult,
  siblingsSchema,
} from "../schema.ts";

const READ_ERRORS = ["height_none", "height_future", "height_pruned"] as const;
const place = { stream: nameSchema, partition: partitionSchema };

const headSchema = z.strictObject({
  owner: addressSchema.describe("Who may append."),
  size: amountSchema.describe("Records in the partition."),
  root: hashSchema.describe("Root of the record tree."),
});

export const streamHead = method({
  name: "stream.head",
  summary: "Owner, size and root of a partition, with a proof; null when nothing was ever appended.",
  params: z.strictObject({ ...place, ...readParams }),
  result: z.strictObject({ head: headSchema.nullable(), ...readResult }),
  errors: READ_ERRORS,
  async handle({ stream, partition, ...read }, context) {
    const found = await proveKey(partitionKey(stream, partition), read, context);
    if (!found.ok) return found;
    const { value, ...proven } = found.value;
    if (value === undefined) return ok({ head: null, ...proven });
    const { owner, frontier } = ownRow(parsePartitionHead(value), "partition");
    return ok({ head: { owner, size: frontier.size, root: frontierRoot(LOG_HASHER, frontier) }, ...proven });
  },
});

export const streamRecords = method({
  name: "stream.records",
  summary:
    "Consecutive records of a partition, each with its path to the partition's root, which `proof` proves. None past the end, which the proof shows too.",
  params: z.strictObject({
    ...place,
    from: amountSchema.describe("Index of the first record."),
    limit: z.int().min(1).default(16).describe("At most so many; the node may give fewer."),
    ...readParams,
  }),
  result: z.strictObject({
    size: amountSchema.describe("Records in the partition at this height."),
    records: z.array(
      z.strictObject({
        index: amountSchema,
        record: blobSchema.describe("The encoded record (chain/block/record.ts), or the commitment of one that was dropped."),
        siblings: siblingsSchema,
      }),
    ),
    ...readResult,
  }),
  errors: READ_ERRORS,
  async handle({ stream, partition, from, limit, ...read }, context) {
    const found = await proveKey(partitionKey(stream, partition), read, context);
    if (!found.ok) return found;
    const { value, ...proven } = found.value;
    const size = value === undefined ? 0n : ownRow(parsePartitionHead(value), "partition").frontier.size;
    if (from >= size) return ok({ size, records: [], ...proven });
    const { ledger } = context.backend;
    const count = Math.min(limit, context.limits.recordsMax, Number(size - from < 1_000_000n ? size - from : 1_000_000n));
    const records: { readonly index: bigint; readonly record: Uint8Array; readonly siblings: Hash[] }[] = [];
    let sizeBytes = 0;
    for (const { index, bytes } of ledger.records(stream, partition, from, count)) {
      sizeBytes += bytes.length;
      if (records.length > 0 && sizeBytes > context.limits.rangeBytesMax) break;
      const siblings = ledger.proveRecordIn(size, stream, partition, index);
      records.push({ index, record: bytes, siblings: [...siblings] });
    }
    return ok({ size, records, ...proven });
  },
});

export const streamConsistency = method({
  name: "stream.consistency",
  summary: "The hashes that show that a partition of `second` records begins with the one of `first` records.",
  params: z.strictObject({ ...place, first: amountSchema, second: amountSchema }),
  result: z.strictObject({ hashes: siblingsSchema }),
  errors: ["height_none", "partition_unknown", "range_invalid", "record_unknown"],
  async handle({ stream, partition, first, second }, context) {
    if (first > second) return fail({ code: "range_invalid", field: "first" });
    const found = await proveKey(partitionKey(stream, partition), { height: undefined, anchor: false }, context);
    if (!found.ok) return found;
    if (found.value.value === undefined) return fail({ code: "partition_unknown", field: "partition" });
    const { size } = ownRow(parsePartitionHead(found.value.value), "partition").frontier;
    if (second > size) return fail({ code: "record_unknown", field: "second", size: `${size}` });
    const hashes = context.backend.ledger.proveConsistency(stream, partition, first, second);
    return hashes === undefined ? fail({ code: "partition_unknown", field: "partition" }) : ok({ hashes: [...hashes] });
  },
});
