/** Handing transactions in, and what became of them. */

import * as z from "zod";
import { present } from "../../../crypto/base/assert.ts";
import { toHex } from "../../../crypto/base/bytes.ts";
import { fail, ok } from "../../../crypto/base/result.ts";
import type { Hash } from "../../../crypto/hash/hash.ts";
import { isSettled } from "../../../chain/block/finality.ts";
import { TRANSACTION_SIZE_BYTES_MAX } from "../../../chain/block/limits.ts";
import type { Commit } from "../../../chain/ledger/ledger.ts";
import type { TransactionStatus } from "../backend.ts";
import { anchorField, method, type MethodContext } from "../method.ts";
import {
  anchorSchema,
  blobSchema,
  bytesSchema,
  finalitySchema,
  hashSchema,
  heightSchema,
  resultSchema,
  siblingsSchema,
} from "../schema.ts";

export const transactionSubmit = method({
  name: "transaction.submit",
  summary:
    "Hands in a signed transaction. Accepted means: waiting, not final. A refusal has the chain's code and the field at fault.",
  params: z.strictObject({ transaction: bytesSchema(TRANSACTION_SIZE_BYTES_MAX).describe("The encoded transaction.") }),
  result: z.strictObject({ id: hashSchema }),
  errors: [],
  // Their signatures are checked in one call.
  runsTogether: true,
  async handle({ transaction }, { backend }) {
    const submitted = await backend.submit(transaction);
    return submitted.ok ? ok({ id: submitted.value }) : submitted;
  },
});

const statusSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("pending") }),
  z.strictObject({
    kind: z.enum(["final", "included"]).describe("included: under proof of work, where nothing is ever final."),
    height: heightSchema,
    index: z.int().min(0),
    result: resultSchema,
    finality: finalitySchema,
  }),
  z.strictObject({ kind: z.literal("refused"), code: z.string().max(128), field: z.string().max(256) }),
  z.strictObject({ kind: z.literal("unknown") }),
]);

export const transactionStatus = method({
  name: "transaction.status",
  summary:
    "Where a transaction stands and why: pending, final (or included, with depth and work) with its result, refused with code and field, or unknown here. Not proven.",
  params: z.strictObject({ id: hashSchema }),
  result: statusSchema,
  errors: [],
  handle: ({ id }, { backend }) => ok(backend.transactionStatus(id)),
});

export const transactionWait = method({
  name: "transaction.wait",
  summary: "As transaction.status, but answers only once it is final, settled or refused, or when the time is over.",
  params: z.strictObject({ id: hashSchema, timeoutMs: z.int().min(0).default(30_000).describe("At most 60000.") }),
  result: statusSchema,
  errors: [],
  handle: async ({ id, timeoutMs }, context) => ok(await settled(id, Math.min(timeoutMs, context.limits.waitMsMax), context)),
});

/** How often the pool is asked: it may drop a transaction at any time, and says so to nobody. */
const POLL_INTERVAL_MS = 250;

async function settled(id: Hash, timeoutMs: number, { backend, signal }: MethodContext): Promise<TransactionStatus> {
  const done = Promise.withResolvers<TransactionStatus>();
  const isOver = (status: TransactionStatus): boolean => {
    const isIncluded = status.kind === "final" || status.kind === "included";
    return status.kind === "refused" || (isIncluded && isSettled(status.finality));
  };
  const look = (isLast = false): void => {
    try {
      const status = backend.transactionStatus(id);
      if (isLast || isOver(status)) done.resolve(status);
    } catch (error) {
      // Whoever waits hears of it. A timer has no caller, and a commit must not fail for it.
      done.reject(error);
    }
  };
  const name = toHex(id);
  const onAbort = (): void => done.reject(signal.reason);
  using _ = backend.onCommit((commit) => {
    if (commit.certificate.kind === "work") return look();
    const status = finalIn(commit).get(name);
    if (status !== undefined) done.resolve(status);
  });
  const timeout = setTimeout(() => look(true), timeoutMs);
  const poll = setInterval(() => look(), POLL_INTERVAL_MS);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    look();
    return await done.promise;
  } finally {
    clearTimeout(timeout);
    clearInterval(poll);
    signal.removeEventListener("abort", onAbort);
  }
}

/** What became final with a commit, by hex id: made once, however many wait for it. */
const finalByCommit = new WeakMap<Commit, ReadonlyMap<string, TransactionStatus>>();

function finalIn(commit: Commit): ReadonlyMap<string, TransactionStatus> {
  const known = finalByCommit.get(commit);
  if (known !== undefined) return known;
  const { height } = commit.block.header;
  const made = new Map<string, TransactionStatus>();
  for (const [index, { id }] of commit.block.transactions.entries()) {
    made.set(toHex(id), {
      kind: "final",
      height,
      index,
      result: present(commit.results[index], "result of a committed transaction"),
      finality: { kind: "final" },
    });
  }
  finalByCommit.set(commit, made);
  return made;
}

export const transactionProof = method({
  name: "transaction.proof",
  summary: "A final transaction with the proofs that it and its result stand at one place of one block.",
  params: z.strictObject({ id: hashSchema, anchor: z.boolean().default(true) }),
  result: z.strictObject({
    height: heightSchema,
    index: z.int().min(0),
    count: z.int().min(1).describe("Transactions in the block."),
    transaction: blobSchema.describe("The encoded transaction."),
    siblings: siblingsSchema.describe("Path to transactionsRoot."),
    result: resultSchema,
    resultSiblings: siblingsSchema.describe("Path to resultsRoot."),
    anchor: anchorSchema.optional(),
  }),
  errors: ["transaction_unknown", "block_unknown"],
  handle({ id, anchor }, context) {
    const { ledger } = context.backend;
    const found = ledger.findTransaction(id);
    if (found === undefined) return fail({ code: "transaction_unknown", field: "id" });
    const { height, index } = found;
    const proof = ledger.proveTransaction(height, index);
    if (proof === undefined) return fail({ code: "block_unknown", field: "id", height: `${height}` });
    const { bytes: transaction, siblings, result, resultSiblings, count } = proof;
    return ok({
      height,
      index,
      count,
      transaction,
      siblings: [...siblings],
      result,
      resultSiblings: [...resultSiblings],
      ...anchorField(anchor, height, context),
    });
  },
});
