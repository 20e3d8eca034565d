/** What accounts do on a network of this machine: the same calls on every run, on every engine. */

import type { Call } from "../../chain/block/call.ts";
import { present } from "../../crypto/base/assert.ts";
import { utf8 } from "../../crypto/base/bytes.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { authoriseWith } from "../../crypto/identity/authorisation.ts";
import type { OpenKey } from "../../node/home/keys.ts";
import type { Account } from "./sender.ts";

/** Where accounts have their tables and streams. */
export const NAMESPACE = "demo";
const STREAM = "demo.events";

/** The calls of one account: its table, then rows, transfers, records, deletions, and several at once in turn. */
export function plan(account: Account, neighbour: Account, count: number): readonly (readonly Call[])[] {
  const table = { namespace: NAMESPACE, table: account.name };
  const put = (index: number): Call => ({
    kind: "tablePut",
    ...table,
    key: utf8(`row-${index}`),
    value: encodeValue({ index, text: "x".repeat(100) }),
  });
  const transfer: Call = { kind: "transfer", to: neighbour.address, amount: 1n };
  const append = (index: number): Call => ({
    kind: "logAppend",
    stream: `${STREAM}.${account.name}`,
    partition: 0,
    records: [utf8(`event ${index}`), utf8(`and one more ${index}`)],
  });
  const kinds: readonly ((index: number) => readonly Call[])[] = [
    (index) => [put(index)],
    () => [transfer],
    (index) => [append(index)],
    (index) => [put(index), append(index), transfer],
    (index) => [put(index)],
    // Two transactions ago this row was written.
    (index) => [{ kind: "tableDelete", ...table, key: utf8(`row-${index - 1}`) }],
  ];
  const transactions: (readonly Call[])[] = [[{ kind: "tableCreate", ...table }]];
  while (transactions.length < count) {
    const index = transactions.length - 1;
    transactions.push(present(kinds[index % kinds.length], "kind")(index));
  }
  return transactions.slice(0, count);
}

/** Signs with one key. */
export function accountOf({ name, address, keyPair }: OpenKey): Account {
  return { name, address, authorise: (id) => authoriseWith(keyPair, id) };
}
