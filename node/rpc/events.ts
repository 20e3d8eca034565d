/** What subscriptions deliver, as schemas that server and client share. */

import * as z from "zod";
import {
  addressSchema,
  amountSchema,
  anchorSchema,
  hashSchema,
  heightSchema,
  nameSchema,
  resultSchema,
  rowKeySchema,
} from "./schema.ts";

/** A block became final. */
export const blockEventSchema = z.strictObject({
  height: heightSchema,
  hash: hashSchema,
  timeMs: amountSchema,
  transactionsCount: z.int().min(0),
  anchor: anchorSchema,
});

/** A transaction became final. `transaction.proof` proves it. */
export const transactionEventSchema = z.strictObject({
  height: heightSchema,
  index: z.int().min(0),
  id: hashSchema,
  sender: addressSchema,
  result: resultSchema,
});

/** Rows of a table were written or deleted. `more` when there were more than the event names. */
export const keysEventSchema = z.strictObject({
  height: heightSchema,
  namespace: nameSchema,
  table: nameSchema,
  keys: z.array(rowKeySchema),
  more: z.boolean(),
});

/** A block was undone for a chain of more work: what was told of its height no longer holds. Of any topic, newest height first. */
export const undoneEventSchema = z.strictObject({ height: heightSchema, hash: hashSchema });

/** Parameters of a `subscription` notification; `event` is one of the above, by topic. */
export const notificationSchema = z.strictObject({
  subscription: z.string().max(64),
  topic: z.enum(["blocks", "transactions", "keys", "undone"]),
  event: z.unknown(),
});
