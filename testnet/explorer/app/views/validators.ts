/** Who decides: the validator set in office, how often each signed and proposed of late, and stake where there is any. */

import { toHex } from "../../../../crypto/base/bytes.ts";
import { formatAddress } from "../../../../crypto/identity/address.ts";
import { parseStateKey, poolRange } from "../../../../chain/state/keys.ts";
import { parsePool } from "../../../../chain/state/stake.ts";
import { UnprovenError } from "../../../../node/light/errors.ts";
import type { Verification } from "../../../../node/rpc/client.ts";
import { h } from "../dom.ts";
import { quorumWords } from "../evidence.ts";
import { counted, grouped, timeText } from "../format.ts";
import { addressLink, card, chainBadge, dataTable, panel, type View, type ViewContext } from "../parts.ts";
import { hrefOf } from "../route.ts";
import { stateRange } from "./reads.ts";

/** See the file's head. */
export function validatorsView(context: ViewContext): View {
  const isWork = context.session.network.engine.name === "pow";
  return {
    title: isWork ? "Miners" : "Validators",
    content: isWork
      ? [miners(context)]
      : [setCard(context), ...(context.session.network.engine.name === "pos" ? [stakeCard(context)] : [])],
  };
}

function setCard(context: ViewContext): HTMLElement {
  const { session } = context;
  return card(context, {
    title: "In office",
    what: "the validator set",
    load: async (signal) => {
      const { value: head, verified } = await session.client.head({ signal });
      const { from, validators } = session.client.verifier.newest;
      const how: Verification["how"] = ["certificate", "validators in office"];
      return { value: { from, set: validators, head: head.height }, verified: { ...verified, how } };
    },
    show: ({ from, set }) => {
      const blocks = session.live.blocks;
      const decided = blocks.filter(({ decision }) => decision !== undefined);
      const rows = set.validators
        .toSorted((a, b) => (a.power === b.power ? 0 : a.power > b.power ? -1 : 1))
        .map(({ address, key, power }) => {
          const name = toHex(address);
          const signed = decided.filter(({ decision }) => decision?.signers.has(name)).length;
          const proposed = blocks.filter(({ header }) => toHex(header.value.proposer) === name).length;
          return [
            addressLink(address),
            grouped(power),
            `${((Number(power) / Number(set.totalPower)) * 100).toFixed(1)} %`,
            key.type,
            decided.length === 0 ? "–" : `${signed} of ${decided.length}`,
            String(proposed),
          ];
        });
      return [
        h(
          "p",
          { class: "muted" },
          `${counted(set.validators.length, "validator")} of power ${grouped(set.totalPower)}, in office since height ${grouped(from)}. `,
          `A certificate needs the signatures of ${quorumWords(session.network.engine.name)}, and holds few more. `,
          h("a", { href: hrefOf(["consensus"]) }, "Who signed what"),
        ),
        dataTable({
          caption: "Validators in office",
          head: ["Validator", "Power", "Share", "Key", "Signatures seen", "Proposed"],
          numeric: [1, 2, 4, 5],
          rows,
        }),
      ];
    },
  });
}

function stakeCard(context: ViewContext): HTMLElement {
  return card(context, {
    title: "Stake",
    what: "the stake of every validator",
    load: async (signal) => {
      const { value, verified } = await stateRange(context, poolRange(), signal);
      const pools = value.rows.map(({ key, value: row }) => {
        const named = parseStateKey(key);
        const pool = parsePool(row);
        if (named?.kind !== "pool" || !pool.ok) throw new UnprovenError({ code: "answer_malformed", field: "proof" });
        return { validator: named.address, ...pool.value };
      });
      return { value: { pools, isAll: value.isAll }, verified };
    },
    show: ({ pools, isAll }) => [
      h("p", { class: "muted" }, `${isAll ? "All" : "The first"} ${counted(pools.length, "declared validator")}.`),
      dataTable({
        caption: "Stake",
        head: ["Validator", "Staked", "Asked back", "Commission", "Operator", "State"],
        numeric: [1, 2, 3],
        rows: pools
          .toSorted((a, b) => (a.tokens === b.tokens ? 0 : a.tokens > b.tokens ? -1 : 1))
          .map(({ validator, tokens, unbonding, commissionBps, operator, jailedUntilMs }) => [
            addressLink(validator),
            grouped(tokens),
            grouped(unbonding),
            `${(commissionBps / 100).toFixed(2)} %`,
            addressLink(operator),
            jailedUntilMs === undefined
              ? "may be elected"
              : h("strong", { class: "bad" }, `jailed until ${timeText(jailedUntilMs)}`),
          ]),
      }),
    ],
  });
}

/** Under proof of work nobody is elected: who found the blocks of late. */
function miners({ session }: ViewContext): HTMLElement {
  const found = new Map<
    string,
    { readonly address: (typeof session.live.blocks)[number]["header"]["value"]["proposer"]; count: number }
  >();
  for (const { header } of session.live.blocks) {
    const name = formatAddress(header.value.proposer);
    const entry = found.get(name) ?? { address: header.value.proposer, count: 0 };
    entry.count += 1;
    found.set(name, entry);
  }
  return panel(
    "Who found blocks of late",
    { badge: chainBadge(session, "Headers, each sealed by work.") },
    h("p", { class: "muted" }, `Of the newest ${counted(session.live.blocks.length, "block")}, each sealed by work.`),
    dataTable({
      caption: "Miners",
      head: ["Address", "Blocks"],
      numeric: [1],
      rows: [...found.values()]
        .toSorted((a, b) => b.count - a.count)
        .map(({ address, count }) => [addressLink(address), String(count)]),
    }),
  );
}
