/** Blocks: pages of verified headers, and one block with everything in it. */

import { fromHex, toHex } from "../../../../crypto/base/bytes.ts";
import { CodedError } from "../../../../crypto/base/error.ts";
import { hashOf } from "../../../../crypto/hash/hash.ts";
import { type Block, encodeHeader, headerHash } from "../../../../chain/block/block.ts";
import type { Finality } from "../../../../chain/block/finality.ts";
import { type Height, heightOf, isHeight } from "../../../../chain/block/height.ts";
import type { NetworkEngine } from "../../../../chain/block/protocol.ts";
import { UnprovenError } from "../../../../node/light/errors.ts";
import { chainBlocks, chainFind } from "../../../../node/rpc/methods/chain.ts";
import type { Verified } from "../../../../node/rpc/client.ts";
import { EXPLORER_CODES } from "../../errors.ts";
import { type Child, h } from "../dom.ts";
import { roundWord } from "../evidence.ts";
import { counted, grouped, sizeText, timeText } from "../format.ts";
import {
  addressFull,
  addressLink,
  card,
  dataTable,
  facts,
  hashFull,
  hashLink,
  moment,
  type View,
  type ViewContext,
} from "../parts.ts";
import { HREF, hrefOf } from "../route.ts";
import { callLine } from "./calls.ts";

const BLOCKS_A_PAGE = 20;

/** A page of blocks, newest first. */
export function blocksView(context: ViewContext): View {
  const { session, route } = context;
  const before = heightOfText(route.query.get("before") ?? "");
  return {
    title: "Blocks",
    content: [
      card(context, {
        title: before === undefined ? "Newest blocks" : `Blocks below ${grouped(before)}`,
        what: "the list of blocks",
        load: async (signal) => {
          const { blocks, continueBefore } = await session.client.ask(
            chainBlocks,
            { limit: BLOCKS_A_PAGE, ...(before === undefined ? {} : { before }) },
            { signal },
          );
          let finality: Finality | undefined;
          const headers: { readonly header: Block["header"]; readonly hash: Uint8Array; readonly claimedCount: number }[] = [];
          let below = before;
          for (const { anchor, height, hash, transactionsCount } of blocks.slice(0, BLOCKS_A_PAGE)) {
            // Each stands on its own certificate, and they follow one another: none is left out in between.
            const at = await session.client.believe(anchor, { signal });
            if (at.header.height !== height || (below !== undefined && height !== below - 1n))
              throw new UnprovenError({ code: "answer_height", field: "blocks", height });
            if (toHex(at.hash) !== toHex(hash))
              throw new UnprovenError({ code: "answer_mismatch", field: "blocks.hash", height });
            finality ??= session.client.verifier.finalityOf(at);
            headers.push({ header: at.header, hash: at.hash, claimedCount: transactionsCount });
            below = height;
          }
          const newest = headers[0]?.header;
          if (newest === undefined) throw new CodedError("height_none", { message: "no block is final yet" });
          if (finality === undefined) throw new UnprovenError({ code: "block_undone", height: newest.height });
          const verified = { height: newest.height, timeMs: newest.timeMs, finality, how: ["certificate"] };
          return { value: { headers, continueBefore }, verified };
        },
        show: ({ headers, continueBefore }) => [
          dataTable({
            caption: "Blocks",
            head: ["Height", "Age", "Transactions (claim)", "Proposer", "Hash"],
            numeric: [2],
            rows: headers.map(({ header: { height, timeMs, proposer }, hash, claimedCount }) => [
              h("a", { href: HREF.block(height) }, grouped(height)),
              moment(timeMs),
              h(
                "span",
                { class: "claimed", title: "The node's word: a header commits to the transactions, not to their number." },
                grouped(claimedCount),
              ),
              addressLink(proposer),
              hashLink(hash, HREF.block(height)),
            ]),
          }),
          h(
            "nav",
            { class: "pager", "aria-label": "Pages of blocks" },
            before !== undefined && h("a", { href: hrefOf(["blocks"]) }, "Newest"),
            continueBefore !== undefined && h("a", { href: hrefOf(["blocks"], { before: String(continueBefore) }) }, "Older"),
          ),
        ],
      }),
    ],
  };
}

/** One block, by its height or its hash. */
export function blockView(context: ViewContext): View {
  const { session, route } = context;
  const [, named = ""] = route.parts;
  const height = heightOfText(named);
  const isHash = /^[0-9a-f]{64}$/.test(named);
  return {
    title: height === undefined ? "Block" : `Block ${grouped(height)}`,
    content: [
      card(context, {
        title: "Block",
        what: `block ${named}`,
        load: async (signal) => {
          if (height !== undefined) return await session.client.block(height, { signal });
          if (isHash) return await blockByHash(context, named, signal);
          throw new CodedError("search_unclear", { message: EXPLORER_CODES.search_unclear });
        },
        show: (block) => showBlock(block, session.network.engine.name),
      }),
    ],
  };
}

async function blockByHash({ session }: ViewContext, hash: string, signal: AbortSignal): Promise<Verified<Block>> {
  // The height is only where to look: the block itself must have the hash.
  const { height } = await session.client.ask(chainFind, { hash: hashOf(fromHex(hash)) }, { signal });
  if (height === null) throw new CodedError("block_unknown", { message: "not among the newest blocks of this gateway" });
  const found = await session.client.block(height, { signal });
  if (toHex(found.value.hash) !== hash) throw new UnprovenError({ code: "answer_mismatch", field: "height", height });
  return found;
}

function showBlock({ header, hash, transactions, previousCertificate, evidence }: Block, engine: NetworkEngine): Child {
  const sizeBytes = transactions.reduce((sum, { bytes }) => sum + bytes.length, 0);
  return [
    facts(
      ["Height", grouped(header.height)],
      ["Time", [timeText(header.timeMs), " (", moment(header.timeMs), ")"]],
      ["Hash", hashFull(hash, "hash")],
      ["Proposer", addressFull(header.proposer)],
      ["Transactions", `${counted(transactions.length, "transaction")}, ${sizeText(sizeBytes)}`],
      [
        "Block before",
        header.height === 1n
          ? [hashFull(header.previous, "hash"), " (the network file)"]
          : [
              h("a", { href: HREF.block(header.height - 1n) }, grouped(header.height - 1n)),
              " ",
              hashFull(header.previous, "hash"),
            ],
      ],
      previousCertificate?.kind === "quorum"
        ? [
            "Block before decided",
            `in ${roundWord(engine)} ${previousCertificate.round}, by ${counted(previousCertificate.signatures.length, "signature")}`,
          ]
        : undefined,
      ["State root", hashFull(header.stateRoot, "state root")],
      ["Transactions root", hashFull(header.transactionsRoot, "transactions root")],
      ["Results root", hashFull(header.resultsRoot, "results root")],
      ["History root", hashFull(header.historyRoot, "history root")],
      ["Validators", hashFull(header.validatorsHash, "hash of the validators")],
      toHex(header.nextValidatorsHash) === toHex(header.validatorsHash)
        ? undefined
        : ["Validators of the next height", hashFull(header.nextValidatorsHash, "hash of the next validators")],
      ["Evidence", evidence.length === 0 ? "none" : counted(evidence.length, "piece")],
      [
        "Header",
        `${sizeText(encodeHeader(header).length)}, ${toHex(headerHash(header)) === toHex(hash) ? "hashes to the above" : ""}`,
      ],
    ),
    h("h3", {}, "Transactions"),
    dataTable({
      caption: "Transactions of the block",
      head: ["Id", "Sender", "Nonce", "Fee", "What it asks for"],
      numeric: [2, 3],
      empty: "This block orders nothing.",
      rows: transactions
        .slice(0, TRANSACTIONS_SHOWN_MAX)
        .map(({ id, body }) => [
          hashLink(id, HREF.transaction(id)),
          addressLink(body.sender),
          grouped(body.nonce),
          grouped(body.fee),
          [
            body.calls[0] === undefined ? "nothing" : callLine(body.calls[0]),
            body.calls.length > 1 && ` and ${counted(body.calls.length - 1, "more", "more")}`,
          ],
        ]),
    }),
    transactions.length > TRANSACTIONS_SHOWN_MAX &&
      h("p", { class: "muted" }, `The first ${TRANSACTIONS_SHOWN_MAX} of ${grouped(transactions.length)}.`),
    h(
      "nav",
      { class: "pager", "aria-label": "Neighbours of the block" },
      header.height > 1n && h("a", { href: HREF.block(header.height - 1n) }, `Block ${grouped(header.height - 1n)}`),
      h("a", { href: HREF.block(header.height + 1n) }, `Block ${grouped(header.height + 1n)}`),
    ),
  ];
}

/** Rows that a browser draws without a pause. */
const TRANSACTIONS_SHOWN_MAX = 500;

/** The height that a text names. */
export function heightOfText(text: string): Height | undefined {
  if (!/^[1-9][0-9]{0,18}$/.test(text)) return undefined;
  const value = BigInt(text);
  return isHeight(value) ? heightOf(value) : undefined;
}
