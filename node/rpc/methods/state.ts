/** The state tree itself, for those who know its keys (`chain/state/keys.ts`). */

import * as z from "zod";
import { compareBytes } from "../../../crypto/base/bytes.ts";
import { fail, ok } from "../../../crypto/base/result.ts";
import { STATE_KEY_SIZE_BYTES_MAX } from "../../../chain/state/keys.ts";
import { method, provePage } from "../method.ts";
import { bytesSchema, readParams, readResult } from "../schema.ts";

const keySchema = bytesSchema(STATE_KEY_SIZE_BYTES_MAX + 1);

export const stateProve = method({
  name: "state.prove",
  summary: "A proof of one page of any range of state keys. The rows are in the proof.",
  params: z.strictObject({
    from: keySchema.describe("First state key, inclusive."),
    to: keySchema.optional().describe("End state key, exclusive; the end of the state when absent."),
    limit: z.int().min(1).default(100).describe("At most so many rows; the node may give fewer."),
    ...readParams,
  }),
  result: z.strictObject({
    count: z.int().min(0).describe("Rows in the proof."),
    continueFrom: keySchema.optional(),
    ...readResult,
  }),
  errors: ["height_none", "height_future", "height_pruned", "range_invalid"],
  async handle({ from, to, limit, height, anchor }, context) {
    if (to !== undefined && compareBytes(from, to) > 0) return fail({ code: "range_invalid", field: "to" });
    const page = await provePage({ range: to === undefined ? { from } : { from, to }, limit, height, anchor }, context);
    if (!page.ok) return page;
    const { rows, next, ...proven } = page.value;
    return ok({ count: rows.length, ...(next === undefined ? {} : { continueFrom: next }), ...proven });
  },
});
