/** Whom the page asks, and what it trusts: the gateway's address and the network file. */

import { NETWORK_FILE_SIZE_BYTES_MAX } from "../../../../chain/block/limits.ts";
import type { CodedError } from "../../../../crypto/base/error.ts";
import { meaningOf } from "../alerts.ts";
import { type Child, fill, h } from "../dom.ts";
import { sizeText } from "../format.ts";
import { badge, copyButton, facts, type View } from "../parts.ts";
import type { Standing } from "../live.ts";
import type { Session } from "../session.ts";

/** What the view can change. */
export type ConnectionActions = {
  readonly gateway: string;
  readonly session: Session | undefined;
  /** Aborts when the view goes. */
  readonly signal: AbortSignal;
  /** Why there is no session. */
  readonly failure: CodedError | undefined;
  /** Goes to another gateway, with these to witness. */
  readonly connect: (gateway: string, witnesses: readonly string[]) => void;
  /** Tries the same gateway again. */
  readonly again: () => void;
  /** Stands on this hash from now on. */
  readonly pin: (hash: string) => void;
  /** Forgets what was seen at this gateway before. */
  readonly forget: () => void;
  readonly takeNetworkFile: (file: Blob & { readonly name: string }) => Promise<void>;
  readonly takeNetworkText: (text: string) => void;
};

/** See the file's head. */
export function connectionView(actions: ConnectionActions): View {
  const { session, failure } = actions;
  return {
    title: "Connection and trust",
    content: [
      failure !== undefined && failureCard(actions, failure),
      h(
        "section",
        { class: "card" },
        h("header", {}, h("h2", {}, "Gateways"), session !== undefined && badge("claim", "Not trusted")),
        h("div", { class: "body" }, session !== undefined && standingsOf(session, actions.signal), gatewayForm(actions)),
      ),
      h(
        "section",
        { class: "card" },
        h("header", {}, h("h2", {}, "Network file"), session === undefined ? undefined : trustMark(session)),
        h(
          "div",
          { class: "body" },
          session === undefined ? h("p", {}, "None yet.") : trustFacts(actions, session),
          networkForm(actions),
        ),
      ),
    ],
  };
}

function failureCard({ again, forget }: ConnectionActions, failure: CodedError): HTMLElement {
  const { expected, served } = failure.detail;
  return h(
    "section",
    { class: "card", "data-state": "refused", role: "alert" },
    h("header", {}, h("h2", {}, "Not connected"), badge("refused", failure.code)),
    h(
      "div",
      { class: "body" },
      h("p", {}, meaningOf(failure)),
      typeof expected === "string" && typeof served === "string"
        ? facts(["Expected", h("code", { class: "wrap" }, expected)], ["Served", h("code", { class: "wrap" }, served)])
        : undefined,
      failure.code.startsWith("rpc_") && failure.code !== "rpc_url_invalid"
        ? h("p", {}, h("button", { type: "button", on: { click: again } }, "Try again"))
        : undefined,
      failure.code === "network_changed"
        ? h(
            "p",
            {},
            h("button", { type: "button", on: { click: forget } }, "I have compared the new hash with somebody I trust: go on"),
          )
        : undefined,
    ),
  );
}

const SAYS: Readonly<Record<Standing["says"], string>> = {
  tells: "is asked, and tells the head",
  agrees: "shows the same head",
  behind: "has no such block yet",
  silent: "does not answer",
  lies: "gave an answer that does not hold, and is not asked again",
};

/** What each gateway said last, for as long as the view stands. */
function standingsOf({ gateway, witnesses, live }: Session, signal: AbortSignal): HTMLElement {
  const standingOf = (url: string): Child => {
    const standing = live.standings.get(url);
    if (standing === undefined) return "not asked yet";
    return [SAYS[standing.says], standing.code !== undefined && [" (", h("code", {}, standing.code), ")"]];
  };
  const element = h("div", { class: "standings" });
  const draw = (): void => fill(element, facts(...[gateway, ...witnesses].map((url) => [url, standingOf(url)] as const)));
  draw();
  live.onChange(draw, signal);
  return element;
}

function gatewayForm({ gateway, session, connect }: ConnectionActions): HTMLElement {
  const input = h("input", {
    name: "rpc",
    type: "text",
    value: gateway,
    required: true,
    spellcheck: "false",
    autocomplete: "off",
    size: 40,
  });
  const witnesses = session?.witnesses ?? [];
  const others = h("textarea", {
    name: "witness",
    rows: Math.max(2, witnesses.length),
    spellcheck: "false",
    placeholder: "addresses of other people's nodes, one a line",
  });
  others.value = witnesses.join("\n");
  return h(
    "form",
    {
      class: "query column",
      "aria-label": "Gateway",
      on: {
        submit: (event) => {
          event.preventDefault();
          connect(
            input.value,
            others.value.split(/\s+/).filter((text) => text !== ""),
          );
        },
      },
    },
    h("label", {}, "Address of a node's RPC", input),
    h("label", {}, "Witnesses, which must show the same chain", others),
    h("div", { class: "row" }, h("button", { type: "submit" }, "Connect")),
    h(
      "p",
      { class: "muted" },
      "Any node of the network will do: none is believed. What every one of them hides nobody can see, so name nodes of different people as witnesses: each head is compared with them. A node that does not serve this page itself must name this page's origin in ",
      h("code", {}, "rpc.cors"),
      `, which is ${location.origin}.`,
    ),
  );
}

function trustMark({ trust }: Session): HTMLElement {
  if (trust === "pinned") return badge("verified", "Pinned");
  return trust === "remembered" ? badge("claim", "Remembered") : badge("claim", "Trust on first use");
}

function trustFacts({ pin }: ConnectionActions, { network, networkHash, trust }: Session): Child {
  return [
    facts(
      ["Network", network.chainId],
      ["Engine", network.engine.name],
      [
        "Hash",
        h(
          "span",
          { class: "copyable" },
          h("code", { class: "wrap" }, networkHash),
          copyButton(networkHash, "hash of the network file"),
        ),
      ],
    ),
    trust === "pinned"
      ? h(
          "p",
          {},
          "The hash stands in this page's address, or you gave the file yourself. Everything that is called verified here follows from it, and is as good as where you have the address or the file from: a stranger's link pins a stranger's network.",
        )
      : [
          h(
            "p",
            {},
            trust === "first-use"
              ? "The file came from this gateway, on this first visit. "
              : "The file is the one that this gateway served on earlier visits. ",
            "A gateway that lies about everything can lie about this as well. Compare the hash with somebody you trust, or give the file that you have from them; ",
            h("code", {}, "pyralog network hash FILE"),
            " prints it.",
          ),
          h("p", {}, h("button", { type: "button", on: { click: () => pin(networkHash) } }, "I have compared it: pin this hash")),
        ],
  ];
}

function networkForm({ takeNetworkFile, takeNetworkText }: ConnectionActions): HTMLElement {
  const text = h("textarea", {
    name: "network",
    rows: 4,
    spellcheck: "false",
    placeholder: "the text of network.json, or its hash",
  });
  const file = h("input", {
    type: "file",
    id: "network-file",
    class: "unseen",
    accept: ".json",
    on: {
      change: () => {
        const [chosen] = file.files ?? [];
        if (chosen !== undefined) void takeNetworkFile(chosen);
        file.value = "";
      },
    },
  });
  return h(
    "form",
    {
      class: "query column",
      "aria-label": "Network file",
      on: {
        submit: (event) => {
          event.preventDefault();
          takeNetworkText(text.value);
        },
      },
    },
    h("label", {}, "Network file that you trust, as text or as its hash", text),
    h(
      "div",
      { class: "row" },
      h("button", { type: "submit" }, "Use it"),
      file,
      h("label", { for: "network-file", class: "button" }, "Choose a file"),
      h("span", { class: "muted" }, `or drop network.json on this page (at most ${sizeText(NETWORK_FILE_SIZE_BYTES_MAX)})`),
    ),
  );
}
