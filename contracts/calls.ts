/** The built-in calls: what each checks, what it writes, and the code with which it fails. */

import { unreachable } from "../crypto/base/assert.ts";
import { bytesEqual } from "../crypto/base/bytes.ts";
import type { Address } from "../crypto/identity/address.ts";
import type { RefusalCode } from "../chain/block/errors.ts";
import { encodeRecord } from "../chain/block/record.ts";
import type { Call } from "../chain/block/transaction.ts";
import type { BlockContext } from "../chain/state/executor.ts";
import { partitionKey, rowKey, tableKey } from "../chain/state/keys.ts";
import type { Overlay } from "../chain/state/overlay.ts";
import { appendRecords, emptyPartition, encodePartitionHead, encodeTable, ownRow, parsePartitionHead, parseTable } from "../chain/state/rows.ts";
import { transfer } from "./accounts.ts";
import type { Appends } from "./appends.ts";
import { changeValidator } from "./validators.ts";

/** What a call works on. */
export type CallScope = {
  readonly state: Overlay;
  readonly appends: Appends;
  readonly sender: Address;
  readonly context: BlockContext;
};

/** Why a call failed, and the field of the call at fault. */
export type CallFault = { readonly code: RefusalCode; readonly field: string };

/** Runs one call. After a fault the caller reverts whatever the transaction wrote. */
export function runCall(scope: CallScope, call: Call): CallFault | undefined {
  switch (call.kind) {
    case "transfer":
      return transfer(scope.state, { from: scope.sender, to: call.to, amount: call.amount })
        ? undefined
        : { code: "balance_insufficient", field: "amount" };
    case "tableCreate":
      return createTable(scope, call);
    case "tablePut": {
      const fault = ownTable(scope, call);
      if (fault === undefined) scope.state.put(rowKey(call.namespace, call.table, call.key), call.value);
      return fault;
    }
    case "tableDelete":
      return ownTable(scope, call) ?? deleteRow(scope, call);
    case "logAppend":
      return append(scope, call);
    case "validatorSet": {
      const code = changeValidator(scope.state, { key: call.key, power: call.power }, scope);
      return code === undefined ? undefined : { code, field: code === "validators_power_total" ? "power" : "key" };
    }
    default:
      return unreachable(call);
  }
}

function createTable({ state, sender }: CallScope, call: Extract<Call, { kind: "tableCreate" }>): CallFault | undefined {
  const key = tableKey(call.namespace, call.table);
  if (state.get(key) !== undefined) return { code: "table_exists", field: "table" };
  state.put(key, encodeTable({ owner: sender }));
  return undefined;
}

/** A fault unless the table is there and the sender's. */
function ownTable({ state, sender }: CallScope, call: { readonly namespace: string; readonly table: string }): CallFault | undefined {
  const bytes = state.get(tableKey(call.namespace, call.table));
  if (bytes === undefined) return { code: "table_unknown", field: "table" };
  const { owner } = ownRow(parseTable(bytes), "table");
  return bytesEqual(owner, sender) ? undefined : { code: "table_not_owner", field: "table" };
}

function deleteRow({ state }: CallScope, call: Extract<Call, { kind: "tableDelete" }>): CallFault | undefined {
  const key = rowKey(call.namespace, call.table, call.key);
  if (state.get(key) === undefined) return { code: "row_unknown", field: "key" };
  state.delete(key);
  return undefined;
}

function append({ state, appends, sender, context }: CallScope, call: Extract<Call, { kind: "logAppend" }>): CallFault | undefined {
  const { stream, partition } = call;
  const key = partitionKey(stream, partition);
  const bytes = state.get(key);
  const head = bytes === undefined ? emptyPartition(sender) : ownRow(parsePartitionHead(bytes), "partition");
  if (!bytesEqual(head.owner, sender)) return { code: "partition_not_owner", field: "partition" };
  const firstIndex = head.frontier.size;
  const records = call.records.map((data, offset) =>
    encodeRecord({ stream, partition, index: firstIndex + BigInt(offset), height: context.height, timeMs: context.timeMs, data }),
  );
  state.put(key, encodePartitionHead(appendRecords(head, records)));
  appends.add({ stream, partition, firstIndex, records });
  return undefined;
}
