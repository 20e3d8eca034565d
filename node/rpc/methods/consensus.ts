/** Where a node stands in deciding the next height. Its own word: what was decided is proven by certificates. */

import * as z from "zod";
import { ok } from "../../../crypto/base/result.ts";
import { method } from "../method.ts";
import { heightSchema } from "../schema.ts";

export const consensusStatus = method({
  name: "consensus.status",
  summary: "The height that this node is deciding, and its round and step in it. Its own word, not proven.",
  params: z.strictObject({}),
  result: z.strictObject({
    engine: z.string().max(64),
    height: heightSchema.describe("The height being decided."),
    round: z.int().min(0).nullable().describe("Round, view or term; null while nothing is being decided."),
    step: z.string().max(64).nullable().describe("The protocol's own word, such as propose or leader."),
    stalledMs: z.number().min(0).describe("Milliseconds since this height began to be decided; 0 while idle."),
  }),
  errors: [],
  handle(_, { backend }) {
    const { height, round, step, stalledMs } = backend.consensus();
    const engine = backend.networkFile.engine.name;
    return ok({ engine, height, round: round ?? null, step: step ?? null, stalledMs });
  },
});
