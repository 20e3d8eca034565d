/** Headers, blocks, certificates, and proofs that an old header belongs to a new one. */

import * as z from "zod";
import { bytesEqual } from "../../../crypto/base/bytes.ts";
import { fail, ok } from "../../../crypto/base/result.ts";
import { type Hash, hash } from "../../../crypto/hash/hash.ts";
import type { Header } from "../../../chain/block/block.ts";
import { GENESIS_HEIGHT, heightOf, nextHeight } from "../../../chain/block/height.ts";
import { encodeMembers } from "../../../chain/block/validators.ts";
import { type Anchor, anchorAt, anchorSizeBytes, method, readHeight } from "../method.ts";
import { addressSchema, amountSchema, anchorSchema, blobSchema, hashSchema, heightSchema, siblingsSchema } from "../schema.ts";

const optionalHeight = heightSchema.optional().describe("The newest when absent.");

export const chainHead = method({
  name: "chain.head",
  summary: "The newest final block of this node: header and certificate. At height 0 there is neither.",
  params: z.strictObject({}),
  result: z.strictObject({
    height: heightSchema,
    hash: hashSchema.describe("Hash of the header; at height 0, of the network file."),
    timeMs: amountSchema,
    stateRoot: hashSchema,
    anchor: anchorSchema.optional(),
  }),
  errors: [],
  handle(_, context) {
    const { height, hash, timeMs, stateRoot } = context.backend.ledger.head();
    const anchor = height === GENESIS_HEIGHT ? undefined : anchorAt(height, context);
    return ok({ height, hash, timeMs, stateRoot, ...(anchor === undefined ? {} : { anchor }) });
  },
});

export const chainHeader = method({
  name: "chain.header",
  summary: "A header with the certificate that made it final.",
  params: z.strictObject({ height: optionalHeight }),
  result: z.strictObject({ height: heightSchema, anchor: anchorSchema }),
  errors: ["height_none", "height_future", "block_unknown"],
  handle(params, context) {
    const height = readHeight(params.height, context);
    if (!height.ok) return height;
    const anchor = anchorAt(height.value, context);
    return anchor === undefined ? fail({ code: "block_unknown", field: "height" }) : ok({ height: height.value, anchor });
  },
});

export const chainLightBlock = method({
  name: "chain.lightBlock",
  summary: "A header with its certificate, the set that decided it and the set that it names: what a client that skips needs.",
  params: z.strictObject({ height: optionalHeight }),
  result: z.strictObject({
    height: heightSchema,
    anchor: anchorSchema,
    validators: blobSchema.describe("The set of this height; its hash is the header's validatorsHash."),
    nextValidators: blobSchema.optional().describe("The set of the next height, when it is another."),
  }),
  errors: ["height_none", "height_future", "block_unknown"],
  handle(params, context) {
    const height = readHeight(params.height, context);
    if (!height.ok) return height;
    const anchor = anchorAt(height.value, context);
    const { ledger } = context.backend;
    const [own, next] = [ledger.validators(height.value), ledger.validators(nextHeight(height.value))];
    if (anchor === undefined || own === undefined || next === undefined) return fail({ code: "block_unknown", field: "height" });
    const [validators, nextValidators] = [encodeMembers(own), encodeMembers(next)];
    const isSame = bytesEqual(validators, nextValidators);
    return ok({ height: height.value, anchor, validators, ...(isSame ? {} : { nextValidators }) });
  },
});

export const chainCertificate = method({
  name: "chain.certificate",
  summary: "The commit certificate of a height.",
  params: z.strictObject({ height: optionalHeight }),
  result: z.strictObject({ height: heightSchema, certificate: blobSchema }),
  errors: ["height_none", "height_future", "block_unknown"],
  handle(params, context) {
    const height = readHeight(params.height, context);
    if (!height.ok) return height;
    const certificate = context.backend.ledger.certificateBytes(height.value);
    return certificate === undefined
      ? fail({ code: "block_unknown", field: "height" })
      : ok({ height: height.value, certificate });
  },
});

export const chainBlock = method({
  name: "chain.block",
  summary: "A whole block with its results. Transactions and results are proven by the roots in its header.",
  params: z.strictObject({ height: optionalHeight }),
  result: z.strictObject({
    height: heightSchema,
    block: blobSchema.describe("Encoded block, header included."),
    certificate: blobSchema.describe("Encoded certificate of this very height."),
  }),
  errors: ["height_none", "height_future", "block_unknown"],
  handle(params, context) {
    const height = readHeight(params.height, context);
    if (!height.ok) return height;
    const { ledger } = context.backend;
    const block = ledger.blockBytes(height.value);
    const certificate = ledger.certificateBytes(height.value);
    if (block === undefined || certificate === undefined) return fail({ code: "block_unknown", field: "height" });
    return ok({ height: height.value, block, certificate });
  },
});

type BlockSummary = Pick<Header, "height" | "timeMs" | "proposer"> & {
  readonly hash: Hash;
  readonly transactionsCount: number;
  readonly anchor: Anchor;
};

export const chainBlocks = method({
  name: "chain.blocks",
  summary: "Summaries of blocks, newest first. Each has its header and certificate.",
  params: z.strictObject({
    before: heightSchema.optional().describe("Only heights below this."),
    limit: z.int().min(1).default(20).describe("At most so many; the node may give fewer."),
  }),
  result: z.strictObject({
    blocks: z.array(
      z.strictObject({
        height: heightSchema,
        hash: hashSchema,
        timeMs: amountSchema,
        proposer: addressSchema,
        transactionsCount: z.int().min(0).describe("The node's word: headers commit to the transactions, not to their number."),
        anchor: anchorSchema,
      }),
    ),
    continueBefore: heightSchema.optional().describe("Ask again with this as `before`; absent at the beginning of the chain."),
  }),
  errors: [],
  handle({ before, limit }, context) {
    const { ledger } = context.backend;
    const head = ledger.head().height;
    let height: bigint = before === undefined || before > head ? head : before - 1n;
    const blocks: BlockSummary[] = [];
    let sizeBytes = 0;
    for (; height > 0n && blocks.length < Math.min(limit, context.limits.blocksMax); height -= 1n) {
      const at = heightOf(height);
      const found = ledger.block(at);
      const anchor = anchorAt(at, context);
      if (found === undefined || anchor === undefined) break;
      // Of a block little is told, but all of it is read and decoded.
      sizeBytes += anchorSizeBytes(anchor) + found.transactions.reduce((sum, { bytes }) => sum + bytes.length, 0);
      if (blocks.length > 0 && sizeBytes > context.limits.rangeBytesMax) break;
      const { timeMs, proposer } = found.header;
      blocks.push({ height: at, hash: found.hash, timeMs, proposer, transactionsCount: found.transactions.length, anchor });
    }
    return ok({ blocks, ...(height > 0n && blocks.length > 0 ? { continueBefore: heightOf(height + 1n) } : {}) });
  },
});

export const chainHeaders = method({
  name: "chain.headers",
  summary: "Headers with their certificates, oldest first: what a client of a network of work follows.",
  params: z.strictObject({
    from: heightSchema.describe("The first height."),
    limit: z.int().min(1).default(200).describe("At most so many; the node may give fewer."),
  }),
  result: z.strictObject({ head: heightSchema.describe("The newest height of this node."), anchors: z.array(anchorSchema) }),
  errors: ["height_none"],
  handle({ from, limit }, context) {
    if (from === GENESIS_HEIGHT) return fail({ code: "height_none", field: "from" });
    const head = context.backend.ledger.head().height;
    const anchors: Anchor[] = [];
    let sizeBytes = 0;
    for (let height: bigint = from; height <= head && anchors.length < Math.min(limit, context.limits.headersMax); height += 1n) {
      const anchor = anchorAt(heightOf(height), context);
      if (anchor === undefined) break;
      sizeBytes += anchorSizeBytes(anchor);
      if (anchors.length > 0 && sizeBytes > context.limits.rangeBytesMax) break;
      anchors.push(anchor);
    }
    return ok({ head, anchors });
  },
});

export const chainFind = method({
  name: "chain.find",
  summary: "The height of the block with this hash, looked for from the newest block back. Not proven: ask for its header.",
  params: z.strictObject({ hash: hashSchema }),
  result: z.strictObject({
    height: heightSchema.nullable().describe("Null when it is not among those that were looked at."),
    oldest: heightSchema.describe("The oldest height that was looked at."),
  }),
  errors: ["height_none"],
  handle(params, { backend, limits }) {
    const head = backend.ledger.head().height;
    if (head === GENESIS_HEIGHT) return fail({ code: "height_none" });
    let height: bigint = head;
    const end = head > BigInt(limits.scanHeadersMax) ? head - BigInt(limits.scanHeadersMax) : 0n;
    for (; height > end; height -= 1n) {
      const header = backend.ledger.headerBytes(heightOf(height));
      if (header === undefined) break;
      if (bytesEqual(hash("header", header), params.hash)) return ok({ height: heightOf(height), oldest: heightOf(height) });
    }
    return ok({ height: null, oldest: heightOf(height + 1n) });
  },
});

export const chainHistoryProof = method({
  name: "chain.historyProof",
  summary: "The siblings that prove an old header under the historyRoot of a newer one.",
  params: z.strictObject({ of: heightSchema, at: heightSchema.optional().describe("The newer height; the newest when absent.") }),
  result: z.strictObject({ of: heightSchema, at: heightSchema, header: blobSchema, siblings: siblingsSchema }),
  errors: ["height_none", "height_future", "height_order", "block_unknown"],
  handle(params, context) {
    const at = readHeight(params.at, context);
    if (!at.ok) return at;
    const of = readHeight(params.of, context);
    if (!of.ok) return fail({ ...of.error, field: "of" });
    if (of.value >= at.value) return fail({ code: "height_order", field: "of" });
    const { ledger } = context.backend;
    const header = ledger.headerBytes(of.value);
    if (header === undefined) return fail({ code: "block_unknown", field: "of" });
    return ok({ of: of.value, at: at.value, header, siblings: [...ledger.proveHistory(of.value, at.value)] });
  },
});
