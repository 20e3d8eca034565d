/** Accounts: balance, nonce, rewards, and what of late was sent. */

import { toHex } from "../../../../crypto/base/bytes.ts";
import { CodedError } from "../../../../crypto/base/error.ts";
import { type Address, formatAddress, parseAddress } from "../../../../crypto/identity/address.ts";
import { accountRange, parseStateKey, rewardsKey } from "../../../../chain/state/keys.ts";
import { parseAccount, parseRewards } from "../../../../chain/state/rows.ts";
import { UnprovenError } from "../../../../node/light/errors.ts";
import { EXPLORER_CODES } from "../../errors.ts";
import { h } from "../dom.ts";
import { counted, grouped } from "../format.ts";
import {
  addressLink,
  chainBadge,
  card,
  copyButton,
  dataTable,
  facts,
  hashLink,
  panel,
  type View,
  type ViewContext,
} from "../parts.ts";
import { HREF } from "../route.ts";
import { callLine } from "./calls.ts";
import { heightField, heightIn, queryForm, stateRange, stateRow } from "./reads.ts";

/** Every account there is. */
export function accountsView(context: ViewContext): View {
  return {
    title: "Accounts",
    content: [
      queryForm(context, "Which state", heightField(context.route.query)),
      card(context, {
        title: "Accounts",
        what: "the list of accounts",
        load: async (signal) => {
          const { value, verified } = await stateRange(context, accountRange(), signal);
          const accounts = value.rows.map(({ key, value: row }) => {
            const named = parseStateKey(key);
            const account = parseAccount(row);
            if (named?.kind !== "account" || !account.ok) throw new UnprovenError({ code: "answer_malformed", field: "proof" });
            return { address: named.address, ...account.value };
          });
          return { value: { accounts, isAll: value.isAll }, verified };
        },
        show: ({ accounts, isAll }, verified) => [
          h(
            "p",
            { class: "muted" },
            `${isAll ? "All" : "The first"} ${counted(accounts.length, "account")} after block ${grouped(verified?.height ?? 0n)}.`,
          ),
          dataTable({
            caption: "Accounts",
            head: ["Address", "Balance", "Nonce"],
            numeric: [1, 2],
            rows: accounts
              .toSorted((a, b) => (a.balance === b.balance ? 0 : a.balance > b.balance ? -1 : 1))
              .slice(0, ACCOUNTS_SHOWN_MAX)
              .map(({ address, balance, nonce }) => [addressLink(address), grouped(balance), grouped(nonce)]),
          }),
        ],
      }),
    ],
  };
}

const ACCOUNTS_SHOWN_MAX = 200;

/** One account. */
export function accountView(context: ViewContext): View {
  const { session, route } = context;
  const [, named = ""] = route.parts;
  const parsed = parseAddress(named);
  if (!parsed.ok) throw new CodedError("search_unclear", { message: EXPLORER_CODES.search_unclear });
  const address = parsed.value;
  const height = heightIn(route.query);
  return {
    title: "Account",
    content: [
      h("p", { class: "copyable subject" }, h("code", { class: "wrap" }, named), copyButton(named, "address")),
      queryForm(context, "Which state", heightField(route.query)),
      h(
        "div",
        { class: "pair" },
        card(context, {
          title: "Balance",
          what: `account ${named.slice(0, 14)}…`,
          load: async (signal) => await session.client.account(address, { signal, height }),
          exportProof: {
            name: `account-${named.slice(0, 14)}`,
            make: async (signal) => await session.client.exportAccount(address, { signal, height }),
          },
          show: ({ balance, nonce }, verified) =>
            facts(
              ["Balance", h("strong", { class: "big", "data-value": "balance" }, grouped(balance))],
              ["Transactions sent", grouped(nonce)],
              ["After block", h("a", { href: HREF.block(verified?.height ?? 0n) }, grouped(verified?.height ?? 0n))],
            ),
        }),
        card(context, {
          title: "Earned",
          what: `rewards of ${named.slice(0, 14)}…`,
          load: async (signal) => {
            const { value, verified } = await stateRow(context, rewardsKey(address), signal);
            const rewards = value === undefined ? undefined : parseRewards(value);
            if (rewards?.ok === false) throw new UnprovenError({ code: "answer_malformed", field: "proof" });
            return { value: rewards?.value, verified };
          },
          show: (rewards) =>
            rewards === undefined
              ? "Nothing that was not claimed."
              : h("p", {}, h("strong", { class: "big" }, grouped(rewards)), " not claimed yet"),
        }),
      ),
      recentPanel(context, address),
    ],
  };
}

function recentPanel({ session }: ViewContext, address: Address): HTMLElement {
  const name = toHex(address);
  const sent = session.live.blocks.flatMap(({ height, block }) =>
    (block?.transactions ?? []).filter(({ body }) => toHex(body.sender) === name).map((transaction) => ({ height, transaction })),
  );
  return panel(
    "Sent of late",
    { badge: chainBadge(session, "The bodies of blocks, against the roots in their headers.") },
    dataTable({
      caption: `Transactions of ${formatAddress(address)}`,
      head: ["Id", "Block", "What it asks for"],
      empty: "Nothing in the blocks that this page holds.",
      rows: sent
        .slice(0, 20)
        .map(({ height, transaction: { id, body } }) => [
          hashLink(id, HREF.transaction(id)),
          h("a", { href: HREF.block(height) }, grouped(height)),
          body.calls[0] === undefined ? "nothing" : callLine(body.calls[0]),
        ]),
    }),
    h(
      "p",
      { class: "muted" },
      "From the bodies of the newest blocks only: no node can prove that it names every transaction of an account.",
    ),
  );
}
