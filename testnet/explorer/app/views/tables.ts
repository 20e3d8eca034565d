/** Tables: all of them, pages of rows that are proven complete, and one row or its absence. */

import { fromHex, parseHex, toHex, utf8 } from "../../../../crypto/base/bytes.ts";
import { CodedError } from "../../../../crypto/base/error.ts";
import { isName } from "../../../../chain/block/fields.ts";
import { parseStateKey, tableRange } from "../../../../chain/state/keys.ts";
import type { Row } from "../../../../chain/state/proof.ts";
import { parseTable } from "../../../../chain/state/rows.ts";
import { UnprovenError } from "../../../../node/light/errors.ts";
import type { Verification } from "../../../../node/rpc/client.ts";
import { EXPLORER_CODES } from "../../errors.ts";
import { h } from "../dom.ts";
import { bytesText, counted, grouped, rowValueText, shortened } from "../format.ts";
import { addressFull, addressLink, card, copyButton, dataTable, facts, type View, type ViewContext } from "../parts.ts";
import { HREF, hrefOf } from "../route.ts";
import { heightField, heightIn, queryForm, stateRange } from "./reads.ts";

const ROWS_A_PAGE = 50;

/** Every table, or those of one namespace. */
export function tablesView(context: ViewContext): View {
  const [, namespace] = context.route.parts;
  if (namespace !== undefined && !isName(namespace))
    throw new CodedError("search_unclear", { message: EXPLORER_CODES.search_unclear });
  const title = namespace === undefined ? "Tables" : `Tables of ${namespace}`;
  return {
    title,
    content: [
      queryForm(context, "Which state", heightField(context.route.query)),
      card(context, {
        title,
        what: namespace === undefined ? "the list of tables" : `the tables of ${namespace}`,
        load: async (signal) => {
          const { value, verified } = await stateRange(context, tableRange(namespace), signal);
          const tables = value.rows.map(({ key, value: row }) => {
            const named = parseStateKey(key);
            const table = parseTable(row);
            if (named?.kind !== "table" || !table.ok) throw new UnprovenError({ code: "answer_malformed", field: "proof" });
            return { namespace: named.namespace, table: named.table, owner: table.value.owner };
          });
          return { value: { tables, isAll: value.isAll }, verified };
        },
        show: ({ tables, isAll }, verified) => [
          h(
            "p",
            { class: "muted" },
            `${isAll ? "All" : "The first"} ${counted(tables.length, "table")} after block ${grouped(verified?.height ?? 0n)}.`,
          ),
          dataTable({
            caption: title,
            head: ["Table", "Owner"],
            rows: tables.map(({ namespace: space, table, owner }) => [
              h("a", { href: HREF.table(space, table) }, `${space}/${table}`),
              addressLink(owner),
            ]),
          }),
        ],
      }),
    ],
  };
}

/** A page of the rows of one table. */
export function tableView(context: ViewContext): View {
  const { session, route } = context;
  const [, namespace = "", table = ""] = route.parts;
  const name = `${namespace}/${table}`;
  if (!isName(namespace) || !isName(table)) throw new CodedError("search_unclear", { message: EXPLORER_CODES.search_unclear });
  const height = heightIn(route.query);
  const [from, to] = [keyOfText(route.query.get("from")), keyOfText(route.query.get("to"))];
  return {
    title: `Table ${name}`,
    content: [
      queryForm(
        context,
        "Which rows",
        h("label", {}, "From key", h("input", { name: "from", value: route.query.get("from") ?? "", placeholder: "first" })),
        h(
          "label",
          {},
          "To key (not included)",
          h("input", { name: "to", value: route.query.get("to") ?? "", placeholder: "last" }),
        ),
        heightField(route.query),
      ),
      card(context, {
        title: "Owner",
        what: `table ${name}`,
        load: async (signal) => await session.client.table(namespace, table, { signal, height }),
        show: (owner) =>
          owner === undefined
            ? h("p", {}, "There is no such table: its absence is proven.")
            : facts(["Owner", addressFull(owner)]),
      }),
      card(context, {
        title: "Rows",
        what: `rows of ${name}`,
        exportProof: {
          name: `range-${namespace}-${table}`,
          make: async (signal) => await session.client.exportRange(namespace, table, { signal, height, from, to }),
        },
        load: async (signal) => {
          // One more than is shown tells whether there are more.
          const rows: Row[] = [];
          let last: Verification | undefined;
          for await (const { value, verified } of session.client.range(namespace, table, {
            signal,
            height,
            from,
            to,
            limit: ROWS_A_PAGE + 1,
          })) {
            rows.push(...value);
            last = verified;
          }
          if (last === undefined) throw new UnprovenError({ code: "proof_missing", field: "proof" });
          return { value: rows, verified: last };
        },
        show: (rows, verified) => showRows({ namespace, table, rows, verified, query: route.query }),
      }),
      h(
        "section",
        { class: "card" },
        h("header", {}, h("h2", {}, "One row")),
        h("div", { class: "body" }, rowForm(namespace, table, route.query)),
      ),
    ],
  };
}

function showRows(options: {
  readonly namespace: string;
  readonly table: string;
  readonly rows: readonly Row[];
  readonly verified: Verification | undefined;
  readonly query: URLSearchParams;
}): readonly HTMLElement[] {
  const { namespace, table, rows, verified, query } = options;
  const shown = rows.slice(0, ROWS_A_PAGE);
  const next = rows[ROWS_A_PAGE]?.key;
  const last = shown.at(-1)?.key;
  const end =
    next === undefined
      ? query.get("to") === null
        ? "the end of the table"
        : "the end of the range"
      : `key ${bytesText(last ?? new Uint8Array(0))}`;
  const beginning = query.get("from") === null ? "the beginning of the table" : `key ${query.get("from")}`;
  return [
    h(
      "p",
      { class: "complete" },
      `${counted(shown.length, "row")} from ${beginning} to ${end}, after block ${grouped(verified?.height ?? 0n)}. `,
      h("strong", {}, "Proven complete: nothing between them was left out."),
    ),
    dataTable({
      caption: `Rows of ${namespace}/${table}`,
      head: ["Key", "Value"],
      empty: "No rows: it is proven that there are none.",
      rows: shown.map(({ key, value }) => [
        h(
          "a",
          { href: `${HREF.row(namespace, table, key)}${atQuery(query)}` },
          h("code", {}, shortened(bytesText(key), [40, 8])),
        ),
        h("code", { class: "value" }, shortened(rowValueText(value).replaceAll(/\s+/g, " "), [120, 10])),
      ]),
    }),
    h(
      "nav",
      { class: "pager", "aria-label": "Pages of rows" },
      query.get("from") !== null &&
        h("a", { href: hrefOf(["table", namespace, table], { at: query.get("at") ?? undefined }) }, "First page"),
      next !== undefined &&
        h(
          "a",
          {
            href: hrefOf(["table", namespace, table], {
              from: `0x${toHex(next)}`,
              to: query.get("to") ?? undefined,
              // Pages of one state: otherwise rows could move between them.
              at: String(verified?.height ?? ""),
            }),
          },
          "Next page",
        ),
    ),
  ];
}

/** One row, or the proof that there is none. */
export function rowView(context: ViewContext): View {
  const { session, route } = context;
  const [, namespace = "", table = "", hex = ""] = route.parts;
  const parsed = parseHex(hex);
  if (!isName(namespace) || !isName(table) || !parsed.ok || parsed.value.length === 0)
    throw new CodedError("search_unclear", { message: EXPLORER_CODES.search_unclear });
  const key = parsed.value;
  const height = heightIn(route.query);
  const name = `${namespace}/${table} ${bytesText(key)}`;
  return {
    title: `Row ${shortened(bytesText(key), [24, 6])}`,
    content: [
      queryForm(context, "Which state", heightField(route.query)),
      card(context, {
        title: "Row",
        what: `row ${name}`,
        load: async (signal) => await session.client.row(namespace, table, key, { signal, height }),
        exportProof: {
          name: `row-${namespace}-${table}-${bytesText(key)}`,
          make: async (signal) => await session.client.exportRow(namespace, table, key, { signal, height }),
        },
        show: (value, verified) => [
          facts(
            ["Table", h("a", { href: HREF.table(namespace, table) }, `${namespace}/${table}`)],
            [
              "Key",
              h(
                "span",
                { class: "copyable" },
                h("code", { class: "wrap" }, bytesText(key)),
                copyButton(toHex(key), "key in hex"),
              ),
            ],
            ["After block", h("a", { href: HREF.block(verified?.height ?? 0n) }, grouped(verified?.height ?? 0n))],
          ),
          value === undefined
            ? h("p", { class: "absent" }, "There is no such row: its absence is proven.")
            : h("pre", { "data-value": "row" }, rowValueText(value)),
        ],
      }),
    ],
  };
}

function rowForm(namespace: string, table: string, query: URLSearchParams): HTMLElement {
  const input = h("input", { name: "key", required: true, placeholder: "text, or 0x and hex" });
  return h(
    "form",
    {
      class: "query",
      "aria-label": "One row by its key",
      on: {
        submit: (event) => {
          event.preventDefault();
          const key = keyOfText(input.value);
          if (key !== undefined) location.hash = `${HREF.row(namespace, table, key)}${atQuery(query)}`;
        },
      },
    },
    h("label", {}, "Key", input),
    h("button", { type: "submit" }, "Show"),
  );
}

function atQuery(query: URLSearchParams): string {
  const at = query.get("at");
  return at === null ? "" : `?at=${encodeURIComponent(at)}`;
}

/** A row key from what people type: text, or hex after `0x`. */
export function keyOfText(text: string | null): Uint8Array | undefined {
  if (text === null || text === "") return undefined;
  if (/^0x([0-9a-f]{2})+$/i.test(text)) return fromHex(text.slice(2).toLowerCase());
  return utf8(text.toWellFormed());
}
