/** Receipts that foreign tools check: records in RFC 9162 logs over SHA-256, signed by the node alone. */

import * as z from "zod";
import { fail, ok } from "../../../crypto/base/result.ts";
import { NOTE_SIZE_BYTES_MAX } from "../../light/checkpoint.ts";
import { method } from "../method.ts";
import { amountSchema, bytesSchema, nameSchema, partitionSchema, siblingsSchema } from "../schema.ts";

/** A COSE receipt without its record: claims, a path, a signature. */
const COSE_SIZE_BYTES_MAX = 8 * 1024;

export const recordlogReceipt = method({
  name: "recordlog.receipt",
  summary:
    "A record's place in the SHA-256 log of its partition, as parts of a C2SP tlog proof and as a COSE receipt. The word of this node, which no validator certifies.",
  params: z.strictObject({
    stream: nameSchema,
    partition: partitionSchema,
    index: amountSchema.describe("Index of the record."),
    size: amountSchema.optional().describe("The log as it was with so many records; as it is when absent."),
  }),
  result: z.strictObject({
    size: amountSchema.describe("Records in the log."),
    siblings: siblingsSchema.describe("SHA-256, from the leaf up."),
    checkpoint: z.string().max(NOTE_SIZE_BYTES_MAX).describe("The log at this size: a signed note of c2sp.org/tlog-checkpoint."),
    cose: bytesSchema(COSE_SIZE_BYTES_MAX).describe("The same as a COSE receipt (RFC 9942)."),
    key: z.string().max(1_024).describe("The note key that signed both. Whether it is the node's, ask its operator."),
  }),
  errors: [
    "recordlog_off",
    "recordlog_work",
    "recordlog_busy",
    "recordlog_building",
    "recordlog_dropped",
    "recordlog_conflict",
    "partition_unknown",
    "record_unknown",
    "range_invalid",
    "store_damaged",
  ],
  async handle(question, { backend, signal }) {
    if (backend.recordLogs === undefined) return fail({ code: "recordlog_off" });
    const answered = await backend.recordLogs.receipt(question, signal);
    return answered.ok ? ok({ ...answered.value, siblings: [...answered.value.siblings] }) : answered;
  },
});
