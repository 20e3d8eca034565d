/** The first view: the verified head, how fast blocks come, and what is in them, live. */

import { toHex } from "../../../../crypto/base/bytes.ts";
import { headerHash } from "../../../../chain/block/block.ts";
import { supplyKey } from "../../../../chain/state/keys.ts";
import { parseSupply } from "../../../../chain/state/rows.ts";
import { UnprovenError } from "../../../../node/light/errors.ts";
import { type Child, fill, h, refill } from "../dom.ts";
import { roundWord } from "../evidence.ts";
import { counted, durationText, grouped, timeText } from "../format.ts";
import type { LiveBlock } from "../live.ts";
import type { Session } from "../session.ts";
import {
  addressLink,
  badge,
  card,
  chainBadge,
  copyButton,
  hashLink,
  moment,
  panel,
  proofBadge,
  type View,
  type ViewContext,
} from "../parts.ts";
import { plot, type Point } from "../plots.ts";
import { HREF, hrefOf } from "../route.ts";
import { callLine } from "./calls.ts";
import { stateRow } from "./reads.ts";

const ROUND_NAMES = { round: "Round", term: "Term", view: "View" } as const;
const BLOCKS_SHOWN = 10;
const TRANSACTIONS_SHOWN = 10;
const BLOCKS_PLOTTED = 60;

/** See the file's head. */
export function overview(context: ViewContext): View {
  const { session, signal } = context;
  const { live } = session;
  const head = h("section", { class: "card head", "aria-labelledby": "head-title" });
  const tiles = h("div", { class: "tiles" });
  const interval = panel(
    "Finality: time between final blocks",
    { badge: chainBadge(session, "Times stand in certified headers.") },
    h("div", { class: "slot" }),
  );
  const throughput = panel(
    "Throughput: transactions in each block",
    { badge: chainBadge(session, "Counted in verified bodies.") },
    h("div", { class: "slot" }),
  );
  const blocks = liveTable(
    "Newest blocks",
    ["Height", "Age", "Transactions", ROUND_NAMES[roundWord(session.network.engine.name)], "Proposer", "Hash"],
    [2, 3],
  );
  const transactions = liveTable("Newest transactions", ["Id", "Block", "Sender", "What it asks for"], []);

  const draw = (): void => {
    drawHead(head, context);
    drawTiles(tiles, context);
    const plotted = live.blocks.slice(0, BLOCKS_PLOTTED + 1).toReversed();
    drawPlots(interval, throughput, plotted);
    blocks.update(
      live.blocks.slice(0, BLOCKS_SHOWN).map((block) => ({
        key: toHex(block.header.value.stateRoot) + String(block.height),
        version: `${block.block === undefined} ${block.decision?.round}`,
        cells: () => blockCells(block, session.network.engine.name === "pow"),
      })),
    );
    const newest = live.blocks
      .flatMap(({ height, block }) => (block?.transactions ?? []).toReversed().map((transaction) => ({ height, transaction })))
      .slice(0, TRANSACTIONS_SHOWN);
    transactions.update(
      newest.map(({ height, transaction: { id, body } }) => ({
        key: toHex(id),
        version: "",
        cells: () => [
          hashLink(id, HREF.transaction(id)),
          h("a", { href: HREF.block(height) }, grouped(height)),
          addressLink(body.sender),
          [
            body.calls[0] === undefined ? "nothing" : callLine(body.calls[0]),
            body.calls.length > 1 && ` and ${counted(body.calls.length - 1, "more", "more")}`,
          ],
        ],
      })),
    );
  };
  draw();
  live.onChange(draw, signal);

  return {
    title: "Overview",
    content: [
      head,
      tiles,
      h("div", { class: "pair" }, interval, throughput),
      panel(
        "Newest blocks",
        {
          badge: [
            chainBadge(session, "Each header by its certificate, each body by the roots in its header."),
            h("a", { href: hrefOf(["blocks"]) }, "All blocks"),
          ],
        },
        blocks.element,
      ),
      panel(
        "Newest transactions",
        { badge: chainBadge(session, "Included in verified bodies; what each did is proven on its own page.") },
        transactions.element,
      ),
      h(
        "div",
        { class: "pair" },
        card(context, {
          title: "Supply",
          what: "the supply",
          load: async (signal) => {
            const { value, verified } = await stateRow(context, supplyKey(), signal);
            const parsed = value === undefined ? undefined : parseSupply(value);
            if (parsed?.ok === false) throw new UnprovenError({ code: "answer_malformed", field: "proof" });
            return { value: parsed?.value, verified };
          },
          show: (supply) =>
            supply === undefined
              ? "This network keeps no count."
              : h(
                  "p",
                  {},
                  h("strong", { class: "big" }, grouped(supply.total)),
                  h(
                    "span",
                    { class: "muted" },
                    ` base units; ${grouped(supply.minted)} minted, ${grouped(supply.burned)} burned`,
                  ),
                ),
        }),
        card(context, {
          title: "This gateway",
          what: "the gateway's status",
          load: async (signal) => ({
            value: await session.client.claimedNodeStatus({ signal }),
            claimed: "What the node says of itself. Nothing of it is proven, and nothing else here depends on it.",
          }),
          show: (status) =>
            h(
              "p",
              {},
              `version ${status.version}, ${status.syncing ? "catching up" : "following"}, ${counted(status.peersCount, "peer")}, `,
              `${counted(status.mempool.transactions, "transaction")} waiting, started `,
              moment(status.startedAtMs),
            ),
        }),
      ),
    ],
  };
}

function drawHead(element: HTMLElement, { session }: ViewContext): void {
  const { head, failure, following } = session.live;
  if (following === "split") return drawSplit(element);
  if (head === undefined) {
    const isFailing = session.live.following === "failing" && failure !== undefined;
    fill(
      element,
      h(
        "header",
        {},
        h("h2", { id: "head-title" }, "Verified head"),
        badge(isFailing ? "refused" : "pending", isFailing ? "None" : "Asking"),
      ),
      h(
        "div",
        { class: "body" },
        isFailing
          ? h("p", {}, "No head could be verified: ", h("code", {}, failure.code))
          : h("p", { class: "skeleton" }, "Waiting for a header with a certificate."),
      ),
    );
    return;
  }
  const { value: header, verified } = head.header;
  const hash = toHex(headerHash(header));
  for (const note of element.querySelectorAll(".witnessed")) fill(note, witnessed(session));
  if (element.dataset["hash"] === hash) return;
  element.dataset["hash"] = hash;
  element.dataset["height"] = String(head.height);
  element.dataset["state"] = "verified";
  refill(
    element,
    h("header", {}, h("h2", { id: "head-title" }, "Verified head"), h("div", { class: "tools" }, proofBadge(verified, session))),
    h(
      "div",
      { class: "body" },
      h("p", { class: "height" }, h("a", { href: HREF.block(head.height) }, grouped(head.height))),
      h(
        "p",
        { class: "muted" },
        moment(header.timeMs),
        ` · ${timeText(header.timeMs)} · proposed by `,
        addressLink(header.proposer),
      ),
      h("p", { class: "copyable" }, h("code", { class: "wrap" }, hash), copyButton(hash, "hash of the head")),
      h("p", { class: "muted witnessed" }, witnessed(session)),
    ),
  );
}

/** How many of the other gateways show the same head. */
function witnessed({ live, witnesses }: Session): Child {
  if (witnesses.length === 0)
    return ["Shown by one gateway alone. ", h("a", { href: hrefOf(["connection"]) }, "Name others to compare it with")];
  const agreeing = [...live.standings.values()].filter(({ says }) => says === "agrees").length;
  return [
    `Shown alike by ${agreeing} of ${counted(witnesses.length, "other gateway")}. `,
    h("a", { href: hrefOf(["connection"]) }, "Which"),
  ];
}

/** Two certified chains: whichever head was shown last may be the wrong one. */
function drawSplit(element: HTMLElement): void {
  if (element.dataset["state"] === "refused") return;
  for (const name of ["hash", "height"]) delete element.dataset[name];
  element.dataset["state"] = "refused";
  fill(
    element,
    h("header", {}, h("h2", { id: "head-title" }, "No head"), badge("refused", "Split view")),
    h(
      "div",
      { class: "body" },
      h(
        "p",
        {},
        "Two gateways show two chains, and both are certified: more than a third of the validators' power lies, and from here nobody can tell which chain goes on. What is shown below is of the one gateway alone, and is not verified until you choose a chain.",
      ),
    ),
  );
}

function drawTiles(element: HTMLElement, { session }: ViewContext): void {
  const { live, client } = session;
  const counted = live.blocks.filter(({ block }) => block !== undefined);
  const [newest, oldest] = [counted[0], counted.at(-1)];
  const spanMs =
    newest === undefined || oldest === undefined ? 0 : Number(newest.header.value.timeMs - oldest.header.value.timeMs);
  const transactions = counted.slice(0, -1).reduce((sum, { block }) => sum + (block?.transactions.length ?? 0), 0);
  const delays = live.blocks.flatMap(({ seenAtMs, header }) =>
    seenAtMs === undefined ? [] : [seenAtMs - Number(header.value.timeMs)],
  );
  const delay = delays.toSorted((a, b) => a - b)[delays.length >> 1];
  const { validators, totalPower } = client.verifier.newest.validators;
  const isWork = session.network.engine.name === "pow";
  fill(
    element,
    tile(
      "Transactions a second",
      spanMs > 0 ? ((transactions / spanMs) * 1000).toFixed(1) : "–",
      `over ${durationText(spanMs)}, ${live.isDisputed ? "disputed" : "verified"}`,
    ),
    tile(
      "Between blocks",
      counted.length > 1 ? durationText(spanMs / (counted.length - 1)) : "–",
      `mean of ${counted.length} blocks`,
    ),
    tile(
      isWork ? "Work" : "Seen final after",
      isWork ? grouped(client.verifier.work?.chainWork ?? 0n) : delay === undefined ? "–" : durationText(Math.max(0, delay)),
      isWork ? "hashes expected to redo the chain" : `block time to ${live.isDisputed ? "seen" : "verified"} here, by this clock`,
    ),
    tile(
      "Validators",
      isWork ? "none" : String(validators.length),
      isWork ? "whoever does the work" : `power ${grouped(totalPower)}, set ${live.isDisputed ? "disputed" : "verified"}`,
    ),
    tile("Engine", session.network.engine.name, session.network.chainId),
  );
}

function tile(name: string, value: string, note: string): HTMLElement {
  return h(
    "div",
    { class: "tile" },
    h("div", { class: "label" }, name),
    h("div", { class: "value" }, value),
    h("div", { class: "note" }, note),
  );
}

function drawPlots(interval: HTMLElement, throughput: HTMLElement, blocks: readonly LiveBlock[]): void {
  const intervals: Point[] = [];
  const rates: Point[] = [];
  for (const [index, block] of blocks.entries()) {
    const before = blocks[index - 1];
    if (before === undefined || before.height + 1n !== block.height) continue;
    const ms = Number(block.header.value.timeMs - before.header.value.timeMs);
    intervals.push({ value: ms, label: `block ${block.height}: ${durationText(ms)} after the one before` });
    if (block.block === undefined) continue;
    const count = block.block.transactions.length;
    rates.push({ value: count, label: `block ${block.height}: ${count} transactions` });
  }
  const ends = [blocks[0], blocks.at(-1)].map((block) => (block === undefined ? "" : `#${grouped(block.height)}`));
  const axis = [ends[0] ?? "", ends[1] ?? ""] as const;
  const slot = (panelElement: HTMLElement): HTMLElement => panelElement.querySelector<HTMLElement>(".slot") ?? panelElement;
  fill(
    slot(interval),
    plot({ kind: "line", points: intervals, title: "Time between final blocks", unit: durationText, ends: axis }),
  );
  fill(
    slot(throughput),
    plot({
      kind: "bars",
      points: rates,
      title: "Transactions in a block",
      unit: (value) => grouped(Math.round(value * 10) / 10),
      ends: axis,
    }),
  );
}

function blockCells({ height, header, block, decision }: LiveBlock, isWork: boolean): readonly Child[] {
  const { timeMs, proposer } = header.value;
  return [
    h("a", { href: HREF.block(height) }, grouped(height)),
    moment(timeMs),
    block === undefined ? h("span", { class: "muted" }, "…") : grouped(block.transactions.length),
    isWork ? "–" : decision === undefined ? h("span", { class: "muted" }, "…") : String(decision.round),
    addressLink(proposer),
    hashLink(headerHash(header.value), HREF.block(height)),
  ];
}

/** One row of a live table. `version` changes when its cells do. */
type LiveRow = { readonly key: string; readonly version: string; readonly cells: () => readonly Child[] };

/** A table whose rows stay the same elements while they stay, so that a focus in one of them is not lost. */
function liveTable(
  caption: string,
  names: readonly string[],
  numeric: readonly number[],
): { readonly element: HTMLElement; readonly update: (rows: readonly LiveRow[]) => void } {
  const align = (index: number): string | undefined => (numeric.includes(index) ? "number" : undefined);
  const body = h("tbody");
  const element = h(
    "div",
    { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" },
    h(
      "table",
      {},
      h("caption", { class: "unseen" }, caption),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          names.map((name, index) => h("th", { scope: "col", class: align(index) }, name)),
        ),
      ),
      body,
    ),
  );
  const shown = new Map<string, { readonly row: HTMLTableRowElement; version: string }>();
  const update = (rows: readonly LiveRow[]): void => {
    const keys = new Set(rows.map(({ key }) => key));
    for (const [key, { row }] of shown) {
      if (keys.has(key)) continue;
      row.remove();
      shown.delete(key);
    }
    let next: Element | null = body.firstElementChild;
    for (const { key, version, cells } of rows) {
      let entry = shown.get(key);
      if (entry === undefined) {
        entry = { row: h("tr"), version: "" };
        shown.set(key, entry);
      }
      if (entry.version !== version || entry.row.childElementCount === 0) {
        const made = cells().map((cell, index) =>
          index === 0 ? h("th", { scope: "row", class: align(index) }, cell) : h("td", { class: align(index) }, cell),
        );
        const hasFocus = entry.row.contains(document.activeElement);
        if (!hasFocus) fill(entry.row, made);
        entry.version = hasFocus ? entry.version : version;
      }
      if (entry.row === next) next = next.nextElementSibling;
      else body.insertBefore(entry.row, next);
    }
    if (rows.length === 0 && body.childElementCount === 0)
      fill(body, h("tr", { class: "none" }, h("td", { colspan: names.length, class: "empty" }, "None so far.")));
    else if (rows.length > 0) body.querySelector(".none")?.remove();
  };
  return { element, update };
}
