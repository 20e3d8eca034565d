/** Tables and their rows. */

import * as z from "zod";
import { compareBytes } from "../../../crypto/base/bytes.ts";
import { fail, ok } from "../../../crypto/base/result.ts";
import { parseStateKey, rowKey, rowRange, tableKey, tableRange } from "../../../chain/state/keys.ts";
import { successor } from "../../../chain/state/range.ts";
import { ownRow, parseTable } from "../../../chain/state/rows.ts";
import { method, proveKey, provePage } from "../method.ts";
import { addressSchema, blobSchema, nameSchema, readParams, readResult, rowBoundSchema, rowKeySchema } from "../schema.ts";

const READ_ERRORS = ["height_none", "height_future", "height_pruned"] as const;

export const tableGet = method({
  name: "table.get",
  summary: "The owner of a table, with a proof; null when there is no such table.",
  params: z.strictObject({ namespace: nameSchema, table: nameSchema, ...readParams }),
  result: z.strictObject({ owner: addressSchema.nullable(), ...readResult }),
  errors: READ_ERRORS,
  async handle({ namespace, table, ...read }, context) {
    const found = await proveKey(tableKey(namespace, table), read, context);
    if (!found.ok) return found;
    const { value, ...proven } = found.value;
    return ok({ owner: value === undefined ? null : ownRow(parseTable(value), "table").owner, ...proven });
  },
});

export const tableList = method({
  name: "table.list",
  summary: "The tables of a namespace in order, with a proof that none was left out.",
  params: z.strictObject({
    namespace: nameSchema,
    after: nameSchema.optional().describe("Only tables that sort after this name."),
    limit: z.int().min(1).default(100).describe("At most so many; the node may give fewer."),
    ...readParams,
  }),
  result: z.strictObject({
    tables: z.array(z.strictObject({ table: nameSchema, owner: addressSchema })),
    more: z.boolean().describe("Whether there are further tables: ask again with `after`."),
    ...readResult,
  }),
  errors: READ_ERRORS,
  async handle({ namespace, after, limit, height, anchor }, context) {
    const whole = tableRange(namespace);
    const range = after === undefined ? whole : { from: successor(tableKey(namespace, after)), to: whole.to };
    const page = await provePage({ range, limit, height, anchor }, context);
    if (!page.ok) return page;
    const { rows, next, ...proven } = page.value;
    const tables = rows.flatMap(({ key, value }) => {
      const named = parseStateKey(key);
      return named?.kind === "table" ? [{ table: named.table, owner: ownRow(parseTable(value), "table").owner }] : [];
    });
    return ok({ tables, more: next !== undefined, ...proven });
  },
});

export const tableRow = method({
  name: "table.row",
  summary: "One row, with a proof of its value or of its absence.",
  params: z.strictObject({ namespace: nameSchema, table: nameSchema, key: rowKeySchema, ...readParams }),
  result: z.strictObject({ value: blobSchema.nullable().describe("Canonical dag-cbor, or null."), ...readResult }),
  errors: READ_ERRORS,
  async handle({ namespace, table, key, ...read }, context) {
    const found = await proveKey(rowKey(namespace, table, key), read, context);
    if (!found.ok) return found;
    return ok({ ...found.value, value: found.value.value ?? null });
  },
});

export const tableRangeRead = method({
  name: "table.range",
  summary: "One page of the rows of a table in key order, with a proof that none was left out.",
  params: z.strictObject({
    namespace: nameSchema,
    table: nameSchema,
    from: rowBoundSchema.optional().describe("First row key, inclusive."),
    to: rowBoundSchema.optional().describe("End row key, exclusive."),
    limit: z.int().min(1).default(100).describe("At most so many rows; the node may give fewer."),
    values: z.boolean().default(true).describe("Whether to list the rows beside the proof, which holds them too."),
    ...readParams,
  }),
  result: z.strictObject({
    rows: z.array(z.strictObject({ key: rowKeySchema, value: blobSchema })).optional(),
    continueFrom: rowKeySchema.optional().describe("The next row key: ask again with this as `from`. Absent at the end."),
    ...readResult,
  }),
  errors: [...READ_ERRORS, "range_invalid"],
  async handle({ namespace, table, from, to, limit, values, height, anchor }, context) {
    if (from !== undefined && to !== undefined && compareBytes(from, to) > 0) return fail({ code: "range_invalid", field: "to" });
    const prefixSize = rowKey(namespace, table, new Uint8Array(0)).length;
    const page = await provePage({ range: rowRange(namespace, table, from, to), limit, height, anchor }, context);
    if (!page.ok) return page;
    const { rows, next, ...proven } = page.value;
    return ok({
      ...(values ? { rows: rows.map(({ key, value }) => ({ key: key.subarray(prefixSize), value })) } : {}),
      ...(next === undefined ? {} : { continueFrom: next.subarray(prefixSize) }),
      ...proven,
    });
  },
});
