/** Events over WebSocket. The answer to `subscribe` comes before the first event. */

import * as z from "zod";
import { fail, ok } from "../../../crypto/base/result.ts";
import { method, type Topic } from "../method.ts";
import { addressSchema, hashSchema, heightSchema, nameSchema } from "../schema.ts";

const topicSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("blocks") }),
  z.strictObject({
    kind: z.literal("transactions"),
    id: hashSchema.optional().describe("Only this transaction."),
    sender: addressSchema.optional().describe("Only transactions of this sender; ignored beside an id."),
  }),
  z.strictObject({ kind: z.literal("keys"), namespace: nameSchema, table: nameSchema }),
]);

export const subscribe = method({
  name: "subscribe",
  summary:
    "Subscribes this WebSocket connection to a topic. Events arrive as notifications named `subscription`; under proof of work also, with topic `undone`, each block that a heavier chain replaced, newest first.",
  params: z.strictObject({ topic: topicSchema }),
  result: z.strictObject({
    subscription: z.string().max(64),
    height: heightSchema.describe("Events are of heights above this."),
  }),
  errors: ["subscription_transport", "subscription_limit"],
  handle({ topic }, { backend, subscriptions }) {
    if (subscriptions === undefined) return fail({ code: "subscription_transport" });
    const height = backend.ledger.head().height;
    const added = subscriptions.add(topic satisfies Topic, height);
    return added.ok ? ok({ subscription: added.value, height }) : added;
  },
});

export const unsubscribe = method({
  name: "unsubscribe",
  summary: "Ends a subscription of this connection.",
  params: z.strictObject({ subscription: z.string().max(64) }),
  result: z.strictObject({}),
  errors: ["subscription_transport", "subscription_unknown"],
  handle({ subscription }, { subscriptions }) {
    if (subscriptions === undefined) return fail({ code: "subscription_transport" });
    return subscriptions.delete(subscription) ? ok({}) : fail({ code: "subscription_unknown", field: "subscription" });
  },
});
