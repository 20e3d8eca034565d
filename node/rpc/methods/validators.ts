/** Who decides which height, and how one gets there from a set that one trusts. */

import * as z from "zod";
import { fail, ok } from "../../../crypto/base/result.ts";
import { encodeMembers } from "../../../chain/block/validators.ts";
import { type Height, nextHeight } from "../../../chain/block/height.ts";
import { type Anchor, anchorAt, anchorSizeBytes, method } from "../method.ts";
import { anchorSchema, blobSchema, heightSchema } from "../schema.ts";

export const validatorsAt = method({
  name: "validators.at",
  summary: "The validator set that decides a height: from 1 to one past the newest. Its hash is in that height's header.",
  params: z.strictObject({ height: heightSchema.optional().describe("One past the newest when absent.") }),
  result: z.strictObject({ height: heightSchema, validators: blobSchema.describe("The set: keys and powers.") }),
  errors: ["height_future"],
  handle(params, { backend }) {
    const height = params.height ?? nextHeight(backend.ledger.head().height);
    const set = backend.ledger.validators(height);
    return set === undefined ? fail({ code: "height_future", field: "height" }) : ok({ height, validators: encodeMembers(set) });
  },
});

export const validatorsChanges = method({
  name: "validators.changes",
  summary: "The heights from `from` on whose header names another set for the next height, oldest first.",
  params: z.strictObject({
    from: heightSchema,
    limit: z.int().min(1).default(32).describe("At most so many; the node may give fewer."),
  }),
  result: z.strictObject({
    changes: z.array(
      z.strictObject({
        height: heightSchema,
        anchor: anchorSchema,
        validators: blobSchema.describe("The set of the next height; its hash is the header's nextValidatorsHash."),
      }),
    ),
    through: heightSchema.describe("No change up to this height was left out."),
  }),
  errors: ["block_unknown"],
  handle({ from, limit }, context) {
    const asked = Math.min(limit, context.limits.changesMax);
    const { ledger } = context.backend;
    const found = ledger.validatorChanges(from, asked);
    const changes: { readonly height: Height; readonly anchor: Anchor; readonly validators: Uint8Array }[] = [];
    let sizeBytes = 0;
    for (const { height } of found) {
      const anchor = anchorAt(height, context);
      const set = ledger.validators(nextHeight(height));
      if (anchor === undefined || set === undefined) return fail({ code: "block_unknown", field: "from", height: `${height}` });
      const validators = encodeMembers(set);
      sizeBytes += anchorSizeBytes(anchor) + validators.length;
      if (changes.length > 0 && sizeBytes > context.limits.rangeBytesMax) break;
      changes.push({ height, anchor, validators });
    }
    const last = changes.at(-1);
    const isWhole = changes.length < asked && changes.length === found.length;
    return ok({ changes, through: last === undefined || isWhole ? ledger.head().height : last.height });
  },
});
