/** What a node says about itself. None of it is proven. */

import * as z from "zod";
import { ok } from "../../../crypto/base/result.ts";
import { BACKEND_REPORT } from "../../../crypto/backend/backends.ts";
import { networkHash } from "../../../chain/block/genesis.ts";
import { method } from "../method.ts";
import { addressSchema, hashSchema, heightSchema } from "../schema.ts";

export const nodeStatus = method({
  name: "node.status",
  summary: "What this node is, how far it is, and what waits in its pool. Its own word, not proven.",
  params: z.strictObject({}),
  result: z.strictObject({
    version: z.string(),
    chainId: z.string(),
    networkHash: hashSchema,
    peerId: z.string(),
    validator: addressSchema.nullable().describe("The address that it votes as, or null."),
    height: heightSchema,
    headTimeMs: z.int().describe("Block time of the head, milliseconds since 1970 UTC."),
    syncing: z.boolean(),
    targetHeight: heightSchema.describe("The highest height that a peer claims."),
    oldestStateHeight: heightSchema.describe("The oldest height whose state it can still read and prove."),
    peersCount: z.int().min(0),
    mempool: z.strictObject({ transactions: z.int().min(0), sizeBytes: z.int().min(0) }),
    startedAtMs: z.int(),
    backends: z
      .record(z.string(), z.string().max(300))
      .describe("What serves each primitive on this node; under `native`, where the Rust addon came from or why there is none."),
    attention: z
      .strictObject({ code: z.enum(["sign_unknown", "pow_split"]), height: heightSchema })
      .optional()
      .describe(
        "What needs the operator. sign_unknown: nothing is decided without this validator, which keeps silent up to this height (start --vouch). pow_split: a heavier chain forks at this height, below what is settled here (rollback --to).",
      ),
    joining: z
      .strictObject({
        phase: z.enum(["finding", "proving", "fetching", "whole", "restoring"]),
        chunks: z.int().min(0),
        chunksTotal: z.int().min(0),
        sizeBytes: z.int().min(0),
        sizeBytesTotal: z.int().min(0),
        secondsLeft: z.number().min(0).optional(),
      })
      .optional()
      .describe("How far a join from a snapshot is. While it is there, reads are answered by peers, and checked by this node."),
  }),
  errors: [],
  handle(_, { backend }) {
    const { ledger, networkFile } = backend;
    const status = backend.status();
    const head = ledger.head();
    return ok({
      version: status.version,
      chainId: networkFile.chainId,
      networkHash: networkHash(networkFile),
      peerId: status.peerId,
      validator: status.validator ?? null,
      height: head.height,
      headTimeMs: Number(head.timeMs),
      syncing: status.syncing,
      targetHeight: status.targetHeight,
      oldestStateHeight: ledger.oldestState(),
      peersCount: status.peersCount,
      mempool: { transactions: status.mempoolTransactions, sizeBytes: status.mempoolSizeBytes },
      startedAtMs: status.startedAtMs,
      backends: { ...BACKEND_REPORT },
      ...(status.attention === undefined ? {} : { attention: status.attention }),
      ...(status.joining === undefined ? {} : { joining: status.joining }),
    });
  },
});

export const nodePeers = method({
  name: "node.peers",
  summary: "The peers that this node is connected to.",
  params: z.strictObject({}),
  result: z.strictObject({
    peers: z.array(
      z.strictObject({
        peerId: z.string(),
        address: z.string().describe("Multiaddr of the connection."),
        direction: z.enum(["inbound", "outbound"]),
        height: heightSchema.describe("What the peer claims."),
        score: z.number(),
      }),
    ),
  }),
  errors: [],
  handle: (_, { backend }) => ok({ peers: [...backend.peers()] }),
});
