/** Calls of transactions, decoded. A kind that this page does not know yet is shown by its fields. */

import { toHex } from "../../../../crypto/base/bytes.ts";
import { addressOfKey, ADDRESS_SIZE_BYTES, addressOf, formatAddress } from "../../../../crypto/identity/address.ts";
import type { PublicKey } from "../../../../crypto/sign/key.ts";
import type { Call } from "../../../../chain/block/call.ts";
import { type Child, h } from "../dom.ts";
import { bytesText, counted, grouped, rowValueText, shortened, sizeText } from "../format.ts";
import { addressFull, addressLink, facts } from "../parts.ts";
import { HREF } from "../route.ts";

/** A call in one line, with links. */
export function callLine(call: Call): Child {
  switch (call.kind) {
    case "transfer":
      return ["transfer ", h("strong", {}, grouped(call.amount)), " to ", addressLink(call.to)];
    case "tableCreate":
      return ["create table ", tableLink(call.namespace, call.table)];
    case "tablePut":
      return ["put ", rowLink(call)];
    case "tableDelete":
      return ["delete ", rowLink(call)];
    case "logAppend":
      return [`append ${counted(call.records.length, "record")} to `, partitionLink(call.stream, call.partition)];
    case "validatorSet":
      return ["set power of ", addressLink(addressOfKey(call.key)), ` to ${grouped(call.power)}`];
    case "rewardsClaim":
      return ["claim rewards", ...(call.validator === undefined ? [] : [" of stake with ", addressLink(call.validator)])];
    case "validatorDeclare":
      return ["declare validator ", addressLink(addressOfKey(call.key))];
    case "stakeBond":
      return [`stake ${grouped(call.amount)} with `, addressLink(call.validator)];
    case "stakeUnbond":
      return [`ask ${grouped(call.amount)} back from `, addressLink(call.validator)];
    case "validatorCommission":
      return ["set commission of ", addressLink(call.validator), ` to ${call.commissionBps / 100} %`];
    case "validatorUnjail":
      return ["unjail ", addressLink(call.validator)];
    default:
      return (call as { readonly kind: string }).kind;
  }
}

/** A call with all that it holds. */
export function callDetails(call: Call, index: number): HTMLElement {
  const fields = Object.entries(call).filter(([name]) => name !== "kind");
  return h(
    "article",
    { class: "call" },
    h("h3", {}, h("span", { class: "ordinal" }, `${index + 1}`), " ", callLine(call)),
    facts(...fields.map(([name, value]): readonly [string, Child] => [name, fieldOf(call.kind, name, value)])),
  );
}

/** Records shown of one call. */
const RECORDS_SHOWN_MAX = 20;

function fieldOf(kind: string, name: string, value: unknown): Child {
  if (value === undefined) return "none";
  if (typeof value === "bigint" || typeof value === "number") return grouped(value);
  if (value instanceof Uint8Array) {
    if (kind === "tablePut" && name === "value") return h("pre", {}, rowValueText(value));
    const isAddress = ["to", "validator", "operator"].includes(name) && value.length === ADDRESS_SIZE_BYTES;
    return isAddress ? addressFull(addressOf(value)) : h("code", { class: "wrap" }, bytesText(value));
  }
  if (Array.isArray(value)) {
    const shown = value.slice(0, RECORDS_SHOWN_MAX).map((each: unknown) => h("li", {}, fieldOf(kind, name, each)));
    const rest = value.length - shown.length;
    return h("ol", { class: "plain" }, shown, rest > 0 && h("li", {}, `and ${counted(rest, "more", "more")}`));
  }
  if (isKey(value)) {
    return [
      `${value.type} key of ${sizeText(value.bytes.length)}, address `,
      h("code", { class: "wrap" }, formatAddress(addressOfKey(value))),
      " ",
      h("code", { title: toHex(value.bytes) }, shortened(toHex(value.bytes))),
    ];
  }
  return h("code", { class: "wrap" }, typeof value === "string" ? value : JSON.stringify(value));
}

function isKey(value: unknown): value is PublicKey {
  return value !== null && typeof value === "object" && "bytes" in value && value.bytes instanceof Uint8Array && "type" in value;
}

function tableLink(namespace: string, table: string): HTMLElement {
  return h("a", { href: HREF.table(namespace, table) }, `${namespace}/${table}`);
}

function partitionLink(stream: string, partition: number): HTMLElement {
  return h("a", { href: HREF.partition(stream, partition) }, `${stream}/${partition}`);
}

function rowLink({
  namespace,
  table,
  key,
}: {
  readonly namespace: string;
  readonly table: string;
  readonly key: Uint8Array;
}): Child {
  return h(
    "a",
    { href: HREF.row(namespace, table, key) },
    `${namespace}/${table} `,
    h("code", {}, shortened(bytesText(key), [24, 6])),
  );
}
