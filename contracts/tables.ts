/** Tables: made by anyone, written by their owner alone. */

import { bytesEqual } from "../crypto/base/bytes.ts";
import type { Call } from "../chain/block/call.ts";
import { rowKey, tableKey } from "../chain/state/keys.ts";
import { encodeTable, ownRow, parseTable } from "../chain/state/rows.ts";
import type { CallFault, CallScope } from "./scope.ts";

/** Makes a table that the sender owns. */
export function createTable({ state, sender }: CallScope, call: Extract<Call, { kind: "tableCreate" }>): CallFault | undefined {
  const key = tableKey(call.namespace, call.table);
  if (state.get(key) !== undefined) return { code: "table_exists", field: "table" };
  state.put(key, encodeTable({ owner: sender }));
  return undefined;
}

/** Writes a row, whether or not it was there. */
export function putRow(scope: CallScope, call: Extract<Call, { kind: "tablePut" }>): CallFault | undefined {
  const fault = ownTable(scope, call);
  if (fault === undefined) scope.state.put(rowKey(call.namespace, call.table, call.key), call.value);
  return fault;
}

/** Deletes a row, which must be there. */
export function deleteRow(scope: CallScope, call: Extract<Call, { kind: "tableDelete" }>): CallFault | undefined {
  const fault = ownTable(scope, call);
  if (fault !== undefined) return fault;
  const key = rowKey(call.namespace, call.table, call.key);
  if (scope.state.get(key) === undefined) return { code: "row_unknown", field: "key" };
  scope.state.delete(key);
  return undefined;
}

/** A fault unless the table is there and the sender's. */
function ownTable(
  { state, sender }: CallScope,
  call: { readonly namespace: string; readonly table: string },
): CallFault | undefined {
  const bytes = state.get(tableKey(call.namespace, call.table));
  if (bytes === undefined) return { code: "table_unknown", field: "table" };
  const { owner } = ownRow(parseTable(bytes), "table");
  return bytesEqual(owner, sender) ? undefined : { code: "table_not_owner", field: "table" };
}
