/** One transaction: what it asked for, what it did, and that both stand at one place of one block. */

import { fromHex } from "../../../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../../../crypto/base/error.ts";
import { hashOf } from "../../../../crypto/hash/hash.ts";
import { isRefusalCode, REFUSALS } from "../../../../chain/block/errors.ts";
import { verifyTransactionAsync } from "../../../../chain/block/transaction.ts";
import type { ProvenTransaction } from "../../../../node/light/statement.ts";
import type { TransactionStatus } from "../../../../node/rpc/backend.ts";
import { EXPLORER_CODES } from "../../errors.ts";
import { type Child, h } from "../dom.ts";
import { counted, grouped, sizeText, timeText } from "../format.ts";
import { addressFull, card, facts, hashFull, type View, type ViewContext } from "../parts.ts";
import { HREF } from "../route.ts";
import { callDetails } from "./calls.ts";

/** Included and proven, or what the gateway says of one that is not. */
type Found =
  | { readonly kind: "proven"; readonly proven: ProvenTransaction; readonly isSigned: boolean }
  | { readonly kind: "claimed"; readonly status: TransactionStatus };

/** See the file's head. */
export function transactionView(context: ViewContext): View {
  const { session, route } = context;
  const [, named = ""] = route.parts;
  if (!/^[0-9a-f]{64}$/.test(named)) throw new CodedError("search_unclear", { message: EXPLORER_CODES.search_unclear });
  const id = hashOf(fromHex(named));
  return {
    title: "Transaction",
    content: [
      card<Found>(context, {
        title: "Transaction",
        what: `transaction ${named.slice(0, 12)}…`,
        exportProof: {
          name: `transaction-${named.slice(0, 12)}`,
          make: async (signal) => await session.client.exportTransaction(id, { signal }),
        },
        load: async (signal) => {
          try {
            const { value: proven, verified } = await session.client.transaction(id, { signal });
            // The block says that it was included; that its sender signed it, we check ourselves.
            const isSigned = await verifyTransactionAsync(proven.transaction);
            return { value: { kind: "proven", proven, isSigned }, verified };
          } catch (error) {
            if (codeOf(error) !== "transaction_unknown") throw error;
            const status = await session.client.claimedStatus(id, { signal });
            return {
              value: { kind: "claimed", status },
              claimed:
                "Where a transaction is that no block holds is the gateway's word. That it was not included cannot be proven by one node.",
            };
          }
        },
        show: (found, verified) =>
          found.kind === "claimed"
            ? showStatus(found.status, named)
            : showProven(found, verified?.height ?? 0n, verified?.timeMs ?? 0n),
      }),
    ],
  };
}

function showStatus(status: TransactionStatus, id: string): Child {
  const code = status.kind === "refused" ? status.code : undefined;
  return facts(
    ["Id", h("code", { class: "wrap" }, id)],
    ["State", h("strong", {}, status.kind)],
    code === undefined ? undefined : ["Why", [h("code", {}, code), " ", explained(code)]],
    status.kind === "refused" ? ["At", h("code", {}, status.field)] : undefined,
  );
}

/** Also of a proof file. */
export function showProven(
  { proven: { transaction, result }, isSigned }: { readonly proven: ProvenTransaction; readonly isSigned: boolean },
  height: bigint,
  timeMs: bigint,
): Child {
  const { id, body, bytes, authorisation } = transaction;
  return [
    facts(
      ["Id", hashFull(id, "id")],
      [
        "Result",
        result.kind === "applied"
          ? h("strong", { class: "good" }, "applied")
          : [
              h("strong", { class: "bad" }, "failed"),
              " ",
              h("code", {}, result.code),
              ` at ${result.field}. `,
              explained(result.code),
            ],
      ],
      ["Block", [h("a", { href: HREF.block(height) }, grouped(height)), `, ${timeText(timeMs)}`]],
      ["Sender", addressFull(body.sender)],
      ["Nonce", grouped(body.nonce)],
      ["Fee", grouped(body.fee)],
      ["Expires after", grouped(body.expiry)],
      [
        "Signature",
        isSigned
          ? `${authorisation.kind === "single" ? "of one key" : authorisation.kind}, checked here`
          : h("strong", { class: "bad" }, "not valid: the validators let in what its sender did not sign"),
      ],
      ["Size", sizeText(bytes.length)],
    ),
    h("h3", {}, counted(body.calls.length, "call")),
    body.calls.map(callDetails),
  ];
}

function explained(code: string): string {
  if (!isRefusalCode(code)) return "";
  const { meaning, action } = REFUSALS[code];
  return `${meaning}; ${action}`;
}
