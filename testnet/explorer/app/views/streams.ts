/** Streams: every partition, the records of one, and one record. */

import { CodedError } from "../../../../crypto/base/error.ts";
import { isName } from "../../../../chain/block/fields.ts";
import { PARTITION_MAX } from "../../../../chain/block/limits.ts";
import type { StreamRecord } from "../../../../chain/block/record.ts";
import { frontierRoot, LOG_HASHER } from "../../../../chain/merkle/log.ts";
import { parseStateKey, partitionRange } from "../../../../chain/state/keys.ts";
import { parsePartitionHead } from "../../../../chain/state/rows.ts";
import { UnprovenError } from "../../../../node/light/errors.ts";
import { EXPLORER_CODES } from "../../errors.ts";
import { type Child, h } from "../dom.ts";
import { bytesText, counted, grouped, shortened, sizeText, timeText } from "../format.ts";
import { addressFull, addressLink, card, dataTable, facts, hashFull, moment, type View, type ViewContext } from "../parts.ts";
import { HREF, hrefOf } from "../route.ts";
import { heightField, heightIn, queryForm, stateRange } from "./reads.ts";

const RECORDS_A_PAGE = 20;

/** Every partition, or those of one stream. */
export function streamsView(context: ViewContext): View {
  const [, stream] = context.route.parts;
  if (stream !== undefined && !isName(stream)) throw new CodedError("search_unclear", { message: EXPLORER_CODES.search_unclear });
  const title = stream === undefined ? "Streams" : `Stream ${stream}`;
  return {
    title,
    content: [
      queryForm(context, "Which state", heightField(context.route.query)),
      card(context, {
        title: "Partitions",
        what: stream === undefined ? "the list of streams" : `the partitions of ${stream}`,
        load: async (signal) => {
          const { value, verified } = await stateRange(context, partitionRange(stream), signal);
          const partitions = value.rows.map(({ key, value: row }) => {
            const named = parseStateKey(key);
            const head = parsePartitionHead(row);
            if (named?.kind !== "partition" || !head.ok) throw new UnprovenError({ code: "answer_malformed", field: "proof" });
            return {
              ...named,
              owner: head.value.owner,
              size: head.value.frontier.size,
              root: frontierRoot(LOG_HASHER, head.value.frontier),
            };
          });
          return { value: { partitions, isAll: value.isAll }, verified };
        },
        show: ({ partitions, isAll }, verified) => [
          h(
            "p",
            { class: "muted" },
            `${isAll ? "All" : "The first"} ${counted(partitions.length, "partition")} after block ${grouped(verified?.height ?? 0n)}.`,
          ),
          dataTable({
            caption: "Partitions",
            head: ["Stream", "Partition", "Records", "Root", "Owner"],
            numeric: [1, 2],
            rows: partitions.map(({ stream: name, partition, owner, size, root }) => [
              h("a", { href: HREF.partition(name, partition) }, name),
              String(partition),
              grouped(size),
              hashFullShort(root),
              addressLink(owner),
            ]),
          }),
        ],
      }),
    ],
  };
}

function hashFullShort(root: Uint8Array): HTMLElement {
  const text = bytesText(root);
  return h("code", { title: text }, shortened(text.replace(/^0x/, "")));
}

/** The records of one partition. */
export function partitionView(context: ViewContext): View {
  const { session, route } = context;
  const { stream, partition } = partitionIn(route.parts);
  const height = heightIn(route.query);
  const fromText = route.query.get("from") ?? "";
  return {
    title: `Partition ${stream}/${partition}`,
    content: [
      queryForm(
        context,
        "Which records",
        h(
          "label",
          {},
          "From record",
          h("input", { name: "from", inputmode: "numeric", pattern: "[0-9]*", value: fromText, placeholder: "newest" }),
        ),
        heightField(route.query),
      ),
      card(context, {
        title: "Partition",
        what: `partition ${stream}/${partition}`,
        load: async (signal) => await session.client.partition(stream, partition, { signal, height }),
        show: (head) =>
          head === undefined
            ? h("p", { class: "absent" }, "Nothing was ever appended here: its absence is proven.")
            : facts(["Records", grouped(head.size)], ["Root", hashFull(head.root, "root")], ["Owner", addressFull(head.owner)]),
      }),
      card(context, {
        title: "Records",
        what: `records of ${stream}/${partition}`,
        load: async (signal) => {
          const head = await session.client.partition(stream, partition, { signal, height });
          const size = head.value?.size ?? 0n;
          const newest = size > BigInt(RECORDS_A_PAGE) ? size - BigInt(RECORDS_A_PAGE) : 0n;
          const from = /^[0-9]{1,18}$/.test(fromText) ? BigInt(fromText) : newest;
          const records: StreamRecord[] = [];
          let { verified } = head;
          const options = { signal, height: head.verified.height, from, limit: RECORDS_A_PAGE };
          for await (const page of session.client.records(stream, partition, options)) {
            records.push(...page.value);
            verified = page.verified;
          }
          return { value: { records, from, size }, verified };
        },
        show: ({ records, from, size }) => [
          h(
            "p",
            { class: "complete" },
            `${counted(records.length, "record")} from ${grouped(from)} on, of ${grouped(size)}. `,
            h("strong", {}, "Each is proven to stand at its place."),
          ),
          dataTable({
            caption: "Records",
            head: ["Record", "Data", "Block", "Time"],
            rows: records.map(({ index, data, height: at, timeMs }) => [
              h("a", { href: HREF.record(stream, partition, index) }, grouped(index)),
              h("code", { class: "value" }, shortened(bytesText(data), [100, 8])),
              h("a", { href: HREF.block(at) }, grouped(at)),
              moment(timeMs),
            ]),
          }),
          h(
            "nav",
            { class: "pager", "aria-label": "Pages of records" },
            from > 0n &&
              h(
                "a",
                {
                  href: pageHref(context, stream, partition, from > BigInt(RECORDS_A_PAGE) ? from - BigInt(RECORDS_A_PAGE) : 0n),
                },
                "Older",
              ),
            from + BigInt(records.length) < size &&
              h("a", { href: pageHref(context, stream, partition, from + BigInt(records.length)) }, "Newer"),
          ),
        ],
      }),
    ],
  };
}

function pageHref({ route }: ViewContext, stream: string, partition: number, from: bigint): string {
  return hrefOf(["stream", stream, partition], { from: String(from), at: route.query.get("at") ?? undefined });
}

/** One record. */
export function recordView(context: ViewContext): View {
  const { session, route } = context;
  const { stream, partition } = partitionIn(route.parts);
  const [, , , text = ""] = route.parts;
  if (!/^[0-9]{1,18}$/.test(text)) throw new CodedError("search_unclear", { message: EXPLORER_CODES.search_unclear });
  const index = BigInt(text);
  const height = heightIn(route.query);
  return {
    title: `Record ${stream}/${partition} ${text}`,
    content: [
      card(context, {
        title: "Record",
        what: `record ${text} of ${stream}/${partition}`,
        load: async (signal) => await session.client.record(stream, partition, index, { signal, height }),
        exportProof: {
          name: `record-${stream}-${partition}-${text}`,
          make: async (signal) => await session.client.exportRecord(stream, partition, index, { signal, height }),
        },
        show: showRecord,
      }),
    ],
  };
}

/** Also of a proof file. */
export function showRecord({ stream, partition, index, height, timeMs, data }: StreamRecord): Child {
  return [
    facts(
      ["Partition", h("a", { href: HREF.partition(stream, partition) }, `${stream}/${partition}`)],
      ["Record", grouped(index)],
      ["Block", h("a", { href: HREF.block(height) }, grouped(height))],
      ["Time", timeText(timeMs)],
      ["Size", sizeText(data.length)],
    ),
    h("pre", { "data-value": "record" }, bytesText(data)),
  ];
}

function partitionIn(parts: readonly string[]): { readonly stream: string; readonly partition: number } {
  const [, stream = "", text = ""] = parts;
  const partition = Number(text);
  if (!isName(stream) || !/^[0-9]{1,5}$/.test(text) || partition > PARTITION_MAX)
    throw new CodedError("search_unclear", { message: EXPLORER_CODES.search_unclear });
  return { stream, partition };
}
