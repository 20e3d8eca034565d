/** Proof files, checked in the page against the network file, without a network. */

import { CodedError } from "../../../../crypto/base/error.ts";
import { toHex } from "../../../../crypto/base/bytes.ts";
import type { NetworkFile } from "../../../../chain/block/genesis.ts";
import { networkHash } from "../../../../chain/block/genesis.ts";
import { verifyTransactionAsync } from "../../../../chain/block/transaction.ts";
import { UnprovenError } from "../../../../node/light/errors.ts";
import { PROOF_FILE_SIZE_BYTES_MAX, type ProvenFile, verifyProofFile } from "../../../../node/light/prooffile.ts";
import { type Alerts, meaningOf } from "../alerts.ts";
import { type Child, fill, h } from "../dom.ts";
import { bytesText, counted, durationText, grouped, rowValueText, shortened, timeText } from "../format.ts";
import { addressFull, announce, badge, dataTable, facts, hashFull, type View } from "../parts.ts";
import { showRecord } from "./streams.ts";
import { showProven } from "./transaction.ts";

/** What the view needs, which may be there without any gateway. */
export type ProofContext = {
  readonly network: NetworkFile | undefined;
  readonly alerts: Alerts;
  /** Whether two chains are certified, so that a file may hold for the one that the visitor does not follow. */
  readonly isDisputed: () => boolean;
};

/** The view, and how it takes a file that was dropped anywhere on the page. */
export function proofView({
  network,
  alerts,
  isDisputed,
}: ProofContext): View & { readonly take: (file: Blob & { readonly name: string }) => Promise<void> } {
  const results = h("div", { class: "results", "aria-live": "polite" });
  const take = async (file: Blob & { readonly name: string }): Promise<void> => {
    const shown = await check(file, { network, alerts, isDisputed });
    results.prepend(shown);
    announce(`${file.name}: ${OUTCOMES[shown.dataset["state"] ?? ""] ?? "the proof does not hold"}`);
  };
  const input = h("input", {
    type: "file",
    id: "proof-file",
    class: "unseen",
    accept: ".proof",
    multiple: true,
    on: {
      change: () => {
        for (const file of input.files ?? []) void take(file);
        input.value = "";
      },
    },
  });
  return {
    title: "Verify a proof",
    take,
    content: [
      h(
        "section",
        { class: "card drop" },
        h(
          "div",
          { class: "body" },
          h(
            "p",
            {},
            "Drop a ",
            h("code", {}, ".proof"),
            " file anywhere on this page, or ",
            input,
            h("label", { for: "proof-file", class: "button" }, "choose one"),
          ),
          h(
            "p",
            { class: "muted" },
            "It is checked here, in this page, against the network file alone. No request is made. Whoever made the file, and whoever sent it to you, need not be believed.",
          ),
          network === undefined
            ? h(
                "p",
                {},
                badge("refused", "No network file"),
                " Drop the ",
                h("code", {}, "network.json"),
                " of the network first.",
              )
            : facts([
                "Checked against",
                [`${network.chainId}, network file `, hashFull(networkHash(network), "hash of the network file")],
              ]),
        ),
      ),
      results,
    ],
  };
}

/** What is said of a file, by its state. */
const OUTCOMES: Readonly<Record<string, string>> = {
  verified: "the proof holds",
  disputed: "the proof holds for one of two certified chains",
};

async function check(
  file: Blob & { readonly name: string },
  { network, alerts, isDisputed }: ProofContext,
): Promise<HTMLElement> {
  const startedMs = performance.now();
  try {
    if (file.size > PROOF_FILE_SIZE_BYTES_MAX) throw new UnprovenError({ code: "file_size" });
    if (network === undefined) throw new UnprovenError({ code: "network_mismatch", field: "network" });
    const bytes = new Uint8Array(await file.arrayBuffer());
    const proven = await verifyProofFile(bytes, network);
    if (!proven.ok) throw new UnprovenError(proven.error);
    const ms = performance.now() - startedMs;
    const [state, word] = isDisputed() ? (["disputed", "Disputed"] as const) : (["verified", "Verified"] as const);
    return result(file.name, state, badge(state, `${word} · Proof file`), [
      state === "disputed" &&
        h("p", { class: "bad" }, "Two chains of this network are certified, and the file does not say of which it is."),
      facts(
        ["Holds for", `height ${grouped(proven.value.height)}, ${timeText(proven.value.timeMs)}`],
        ["Checked in", durationText(ms)],
      ),
      h(
        "ul",
        { class: "checks" },
        proven.value.how.map((line) => h("li", {}, line)),
      ),
      await showStatement(proven.value),
    ]);
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    alerts.add(error, `the file ${file.name}`, { kind: "file" });
    return result(file.name, "refused", badge("refused", "Not believed"), [
      h("p", {}, h("strong", {}, "This file proves nothing, so nothing of it is shown.")),
      h("p", {}, h("code", {}, error.code), " ", meaningOf(error)),
      facts(typeof error.detail["field"] === "string" ? ["At", h("code", {}, error.detail["field"])] : undefined),
    ]);
  }
}

function result(name: string, state: string, mark: HTMLElement, content: readonly Child[]): HTMLElement {
  const element = h(
    "section",
    { class: "card", "data-state": state },
    h("header", {}, h("h2", {}, name), h("div", { class: "tools" }, mark)),
    h("div", { class: "body" }),
  );
  fill(element.lastElementChild ?? element, content);
  return element;
}

async function showStatement({ statement, height, timeMs }: ProvenFile): Promise<Child> {
  switch (statement.kind) {
    case "row":
      return [
        facts(
          ["Table", `${statement.namespace}/${statement.table}`],
          ["Key", h("code", { class: "wrap" }, bytesText(statement.key))],
        ),
        statement.value === undefined
          ? h("p", { class: "absent" }, "There is no such row: its absence is proven.")
          : h("pre", { "data-value": "row" }, rowValueText(statement.value)),
      ];
    case "range":
      return [
        h(
          "p",
          { class: "complete" },
          `${counted(statement.rows.length, "row")} of ${statement.namespace}/${statement.table}. `,
          h("strong", {}, "Proven complete."),
        ),
        dataTable({
          caption: "Rows of the proof",
          head: ["Key", "Value"],
          rows: statement.rows
            .slice(0, ROWS_SHOWN_MAX)
            .map(({ key, value }) => [
              h("code", {}, shortened(bytesText(key), [40, 8])),
              h("code", { class: "value" }, shortened(rowValueText(value).replaceAll(/\s+/g, " "), [120, 10])),
            ]),
        }),
        statement.rows.length > ROWS_SHOWN_MAX && h("p", { class: "muted" }, `The first ${ROWS_SHOWN_MAX} are shown.`),
      ];
    case "account":
      return facts(
        ["Account", addressFull(statement.address)],
        ["Balance", h("strong", { class: "big" }, grouped(statement.account.balance))],
        ["Nonce", grouped(statement.account.nonce)],
      );
    case "transaction":
      return showProven({ proven: statement, isSigned: await verifyTransactionAsync(statement.transaction) }, height, timeMs);
    case "record":
      return showRecord(statement.record);
    default:
      return h(
        "pre",
        {},
        JSON.stringify(
          statement,
          (_, value: unknown) => (typeof value === "bigint" ? `${value}` : value instanceof Uint8Array ? toHex(value) : value),
          2,
        ),
      );
  }
}

const ROWS_SHOWN_MAX = 500;
