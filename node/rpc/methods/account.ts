/** Accounts. */

import * as z from "zod";
import { ok } from "../../../crypto/base/result.ts";
import { accountKey } from "../../../chain/state/keys.ts";
import { ACCOUNT_EMPTY, ownRow, parseAccount } from "../../../chain/state/rows.ts";
import { method, proveKey } from "../method.ts";
import { addressSchema, amountSchema, readParams, readResult } from "../schema.ts";

export const accountGet = method({
  name: "account.get",
  summary:
    "Balance and nonce of an account, with a proof. An address that was never funded has neither: zero, and proven absent.",
  params: z.strictObject({ address: addressSchema, ...readParams }),
  result: z.strictObject({
    balance: amountSchema,
    nonce: amountSchema.describe("Transactions of this sender that were included."),
    ...readResult,
  }),
  errors: ["height_none", "height_future", "height_pruned"],
  async handle({ address, ...read }, context) {
    const found = await proveKey(accountKey(address), read, context);
    if (!found.ok) return found;
    const { value, ...proven } = found.value;
    const { balance, nonce } = value === undefined ? ACCOUNT_EMPTY : ownRow(parseAccount(value), "account");
    return ok({ balance, nonce, ...proven });
  },
});
