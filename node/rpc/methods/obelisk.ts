/** Counters and ids of the node and its peers, and the leases of node numbers. Only the leases are proven. */

import * as z from "zod";
import { CodedError } from "../../../crypto/base/error.ts";
import { fail, ok, type Result } from "../../../crypto/base/result.ts";
import { NODE_NUMBER_MAX, nodeNumberOf } from "../../../crypto/id/scarab.ts";
import { NUMBER_HOLDER_SIZE_BYTES } from "../../../chain/block/limits.ts";
import { parseNumberLease } from "../../../chain/state/ids.ts";
import { nodeNumberKey } from "../../../chain/state/keys.ts";
import { ownRow } from "../../../chain/state/rows.ts";
import { PHARAOH_COUNT_MAX } from "../../obelisk/limits.ts";
import type { ObeliskBackend } from "../backend.ts";
import { RPC_CODES, type Refusal } from "../errors.ts";
import { method, type MethodContext, proveKey } from "../method.ts";
import { addressSchema, amountSchema, bytesSchema, readParams, readResult } from "../schema.ts";

const serviceSchema = z
  .string()
  .regex(/^[a-z][a-z0-9]{0,15}$/)
  .describe("One of the services that obelisk.status names.");
const countSchema = z.int().min(1).max(PHARAOH_COUNT_MAX).default(1);
const timeSchema = z.int().min(0).describe("Milliseconds since 1970 UTC.");
const rangeSchema = z.strictObject({ first: amountSchema, count: z.int().min(1) });
const ISSUE_ERRORS = [
  "obelisk_off",
  "obelisk_name",
  "obelisk_count",
  "obelisk_busy",
  "pharaoh_service",
  "pharaoh_unavailable",
  "pharaoh_answer",
] as const;

export const obeliskStatus = method({
  name: "obelisk.status",
  summary: "Counters and ids of this node: its directory, its number, its services. Not proven.",
  params: z.strictObject({}),
  result: z.strictObject({
    incarnation: bytesSchema(NUMBER_HOLDER_SIZE_BYTES).describe("Names the data directory; no copy has the same."),
    durability: z.enum(["sync", "lease", "none"]),
    services: z.array(z.string()),
    counters: z.int().min(0),
    open: z.int().min(0).describe("Counters with an open file."),
    number: z
      .strictObject({ number: z.int().min(0).max(NODE_NUMBER_MAX), startMs: timeSchema, endMs: timeSchema })
      .nullable()
      .describe("The number that ids are made under, and the times they may have; null when there is none."),
    reservedMs: timeSchema.describe("Every id made so far has an earlier time."),
  }),
  errors: ["obelisk_off"],
  handle(_params, { backend }) {
    if (backend.obelisk === undefined) return fail({ code: "obelisk_off" });
    const { obelisk, services } = backend.obelisk;
    const { lease } = obelisk.scarabs;
    const { durability, counts } = obelisk.counters;
    return ok({
      incarnation: obelisk.incarnation,
      durability,
      services: [...services],
      ...counts,
      number: lease === undefined ? null : { number: Number(lease.node), ...lease.window },
      reservedMs: obelisk.scarabs.reservedMs(),
    });
  },
});

export const obeliskSequence = method({
  name: "obelisk.sequence",
  summary: "Values of a counter of a service: new ones, as long as they are told apart by their issuer as well.",
  params: z.strictObject({
    service: serviceSchema,
    counter: z
      .string()
      .regex(/^[a-z0-9][a-z0-9_.-]{0,46}$/)
      .describe("Made on first use, and there for ever."),
    count: countSchema.describe("How many, one after another."),
  }),
  result: z.strictObject({
    issuer: z.string().describe("The node and the data directory whose counter it is: another one's values are others."),
    ...rangeSchema.shape,
  }),
  errors: ISSUE_ERRORS,
  handle: async ({ service, counter, count }, context) =>
    await issued(context, async ({ pharaoh }) => await pharaoh.sequence(service, counter, count, context.signal)),
});

export const obeliskIds = method({
  name: "obelisk.ids",
  summary: "Scarab ids of a service, ascending: new ones in the whole network.",
  params: z.strictObject({ service: serviceSchema, count: countSchema.describe("How many.") }),
  result: z.strictObject({ runs: z.array(rangeSchema).describe("Ids of a millisecond each: first, first + 1, and so on.") }),
  errors: ISSUE_ERRORS,
  handle: async ({ service, count }, context) =>
    await issued(context, async ({ pharaoh }) => ({
      runs: (await pharaoh.ids(service, count, context.signal)).map((run) => ({ first: run.first, count: run.count })),
    })),
});

export const obeliskSession = method({
  name: "obelisk.session",
  summary: "An id for a producer's session, to open on a partition with the call sessionOpen.",
  params: z.strictObject({}),
  result: z.strictObject({ session: amountSchema }),
  errors: ISSUE_ERRORS,
  handle: async (_params, context) =>
    await issued(context, async ({ pharaoh }) => ({ session: await pharaoh.session(context.signal) })),
});

export const obeliskNumber = method({
  name: "obelisk.number",
  summary: "The newest lease of a node number, with a proof; null when it was never leased.",
  params: z.strictObject({ number: z.int().min(0).max(NODE_NUMBER_MAX), ...readParams }),
  result: z.strictObject({
    lease: z
      .strictObject({
        owner: addressSchema,
        holder: bytesSchema(NUMBER_HOLDER_SIZE_BYTES).describe("The data directory that may use it."),
        epoch: amountSchema,
        startMs: amountSchema.describe("Ids under it have times from here on."),
        endMs: amountSchema.describe("And before this."),
      })
      .nullable(),
    ...readResult,
  }),
  errors: ["height_none", "height_future", "height_pruned"],
  async handle({ number, ...read }, context) {
    const found = await proveKey(nodeNumberKey(nodeNumberOf(number)), read, context);
    if (!found.ok) return found;
    const { value, ...proven } = found.value;
    return ok({ lease: value === undefined ? null : ownRow(parseNumberLease(value), "nodeNumber"), ...proven });
  },
});

/** What a node gives out, or why it does not. What only its operator can mend is told as `pharaoh_unavailable`. */
async function issued<T>(
  { backend, signal }: MethodContext,
  take: (obelisk: ObeliskBackend) => Promise<T>,
): Promise<Result<T, Refusal>> {
  if (backend.obelisk === undefined) return fail({ code: "obelisk_off" });
  try {
    return ok(await take(backend.obelisk));
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof CodedError && Object.hasOwn(RPC_CODES, error.code)) return fail({ code: error.code });
    throw error;
  }
}
