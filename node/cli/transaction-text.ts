/** A final transaction and what it did, as answers show it. */

import type { TransactionResult } from "../../chain/block/block.ts";
import { isRefusalCode, REFUSALS } from "../../chain/block/errors.ts";
import type { Transaction } from "../../chain/block/transaction.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { formatAddress } from "../../crypto/identity/address.ts";
import type { Verified } from "../rpc/client.ts";
import { callJson, callText } from "./calls.ts";
import { verificationJson, verificationText } from "./client.ts";
import type { Answer, Json } from "./answer.ts";

/** A transaction and its result, verified. */
export type FinalTransaction = Verified<{ readonly transaction: Transaction; readonly result: TransactionResult }>;

/** The answer about a final transaction. */
export function transactionAnswer({ value, verified }: FinalTransaction): Answer {
  const { transaction, result } = value;
  return {
    json: {
      ...(transactionJson(transaction) as object),
      height: verified.height,
      result: resultJson(result),
      verified: verificationJson(verified),
    },
    text: `${transactionText(transaction)}\n  result  ${resultText(result)}\n${verificationText(verified)}`,
  };
}

/** A transaction as JSON. */
export function transactionJson({ id, body, bytes, authorisation }: Transaction): Json {
  const { chainId, sender, nonce, fee, expiry, calls } = body;
  return {
    id,
    chainId,
    sender: formatAddress(sender),
    nonce,
    fee,
    expiry,
    calls: calls.map(callJson),
    authorisation: authorisation.kind,
    sizeBytes: bytes.length,
  };
}

/** A transaction in lines. */
export function transactionText({ id, body }: Transaction): string {
  return [
    toHex(id),
    `  sender  ${formatAddress(body.sender)}  nonce ${body.nonce}  fee ${body.fee}  expires after ${body.expiry}`,
    ...body.calls.map((call) => `  call    ${callText(call)}`),
  ].join("\n");
}

/** A result as JSON, a failed one with what it means and what to do. */
export function resultJson(result: TransactionResult): Json {
  return result.kind === "applied" ? { kind: "applied" } : { ...result, ...explain(result.code) };
}

/** A result in a line. */
export function resultText(result: TransactionResult): string {
  if (result.kind === "applied") return "applied";
  const { meaning, action } = explain(result.code);
  return `failed: ${result.code} at ${result.field}${meaning === undefined ? "" : ` (${meaning}; ${action})`}`;
}

/** What a refusal's code means and what to do about it; empty for codes of other tables. */
export function explain(code: string): { readonly meaning?: string; readonly action?: string } {
  return isRefusalCode(code) ? REFUSALS[code] : {};
}
