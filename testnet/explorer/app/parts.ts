/** The pieces that every view is put together from: badges, copyable hashes, cards that load, tables, facts. */

import { CodedError } from "../../../crypto/base/error.ts";
import { toHex } from "../../../crypto/base/bytes.ts";
import { type Address, formatAddress } from "../../../crypto/identity/address.ts";
import { UnprovenError } from "../../../node/light/errors.ts";
import type { Verification, Verified } from "../../../node/rpc/client.ts";
import { RPC_CODES } from "../../../node/rpc/errors.ts";
import { meaningOf, type Alerts } from "./alerts.ts";
import { type Child, byId, fill, h } from "./dom.ts";
import { labelOf, stepsOf } from "./evidence.ts";
import { durationText, shortened, timeText } from "./format.ts";
import { icon, type IconName } from "./icons.ts";
import { HREF, type Route } from "./route.ts";
import type { Session } from "./session.ts";

/** What a view gets. `signal` aborts when another view takes its place. */
export type ViewContext = {
  readonly session: Session;
  readonly alerts: Alerts;
  readonly route: Route;
  readonly signal: AbortSignal;
};

/** A view: what stands in the main part of the page. */
export type View = { readonly title: string; readonly content: readonly Child[] };

/** Says something to those who listen rather than look. */
export function announce(text: string): void {
  byId("announcer").textContent = text;
}

// Badges.

/** What is known of a value. */
export type ProofState = "verified" | "disputed" | "claim" | "refused" | "pending";

const STATE_ICONS: Readonly<Record<ProofState, IconName>> = {
  verified: "verified",
  disputed: "refused",
  claim: "claim",
  refused: "refused",
  pending: "pending",
};

/** A badge without details. */
export function badge(state: ProofState, text: string): HTMLElement {
  return h("span", { class: `badge ${state}` }, icon(STATE_ICONS[state]), h("span", {}, text));
}

/** The badge of what follows from a verified chain, unless there are two of them. `what` says what was checked. */
export function chainBadge(session: Session, what: string): HTMLElement {
  const element = session.live.isDisputed ? badge("disputed", "Disputed") : badge("verified", "Verified");
  element.title = session.live.isDisputed ? DISPUTED : what;
  return element;
}

/** What stands above every value of a chain beside which there is another certified one. */
const DISPUTED = "Not verified: two chains are certified, and this is of the one that this gateway shows.";

/** The badge of a verified value, which opens to the chain of checks; of a disputed one after a split view. */
export function proofBadge(verified: Verification, session: Session): HTMLElement {
  const [state, word] = session.live.isDisputed ? (["disputed", "Disputed"] as const) : (["verified", "Verified"] as const);
  return h(
    "details",
    { class: "proof" },
    h(
      "summary",
      { class: `badge ${state}`, title: "What was checked" },
      icon(STATE_ICONS[state]),
      h("span", {}, word, h("span", { class: "how" }, ` · ${labelOf(verified)}`)),
    ),
    h(
      "ol",
      { class: "chain" },
      stepsOf(verified, session).map(({ what, how }) => h("li", {}, h("strong", {}, what), h("span", {}, how))),
    ),
  );
}

/** The badge of what a node says of itself, which opens to what that is worth. */
export function claimBadge(what: string): HTMLElement {
  return h(
    "details",
    { class: "proof" },
    h("summary", { class: "badge claim", title: "Why this is not verified" }, icon("claim"), h("span", {}, "Claim")),
    h("p", { class: "chain" }, what),
  );
}

// Values.

/** A button that copies. */
export function copyButton(text: string, what: string): HTMLElement {
  const button = h(
    "button",
    {
      type: "button",
      class: "quiet",
      "aria-label": `Copy ${what}`,
      title: `Copy ${what}`,
      on: { click: () => void copy(text, what, button) },
    },
    icon("copy"),
  );
  return button;
}

async function copy(text: string, what: string, button: HTMLElement): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    announce(`Copied ${what}`);
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1200);
  } catch {
    // A page that is not served securely may not write to the clipboard: then it is selected for the visitor to copy.
    const code = button.parentElement?.querySelector("code");
    if (code !== null && code !== undefined) getSelection()?.selectAllChildren(code);
    announce(`Could not copy; ${what} is selected`);
  }
}

/** Bytes in hex, in full, with a button that copies them. */
export function hashFull(bytes: Uint8Array, what: string): HTMLElement {
  const hex = toHex(bytes);
  return h("span", { class: "copyable" }, h("code", { class: "wrap" }, hex), copyButton(hex, what));
}

/** Both ends of a hash, leading to its view. */
export function hashLink(bytes: Uint8Array, href: string): HTMLElement {
  const hex = toHex(bytes);
  return h("a", { href, title: hex, class: "mono" }, shortened(hex));
}

/** Both ends of an address, leading to its view. */
export function addressLink(address: Address): HTMLElement {
  const text = formatAddress(address);
  return h("a", { href: HREF.account(address), title: text, class: "mono" }, shortened(text, [10, 6]));
}

/** An address in full, leading to its view, with a button that copies it. */
export function addressFull(address: Address): HTMLElement {
  const text = formatAddress(address);
  return h(
    "span",
    { class: "copyable" },
    h("a", { href: HREF.account(address) }, h("code", { class: "wrap" }, text)),
    copyButton(text, "address"),
  );
}

/** A moment, with how long ago it was; kept up to date while it is on the page. */
export function moment(timeMs: bigint | number): HTMLElement {
  const ms = Number(timeMs);
  const element = h("time", { datetime: new Date(ms).toISOString(), title: timeText(ms), "data-ms": ms });
  element.textContent = agoText(ms);
  return element;
}

/** How long ago a moment was. */
export function agoText(ms: number): string {
  const age = Date.now() - ms;
  if (age < -2000) return `in ${durationText(-age)}`;
  return age < 1000 ? "now" : `${durationText(age)} ago`;
}

/** A list of facts: name, then value. */
export function facts(...pairs: readonly (readonly [name: string, value: Child] | undefined)[]): HTMLElement {
  return h(
    "dl",
    { class: "facts" },
    pairs.flatMap((pair) => (pair === undefined ? [] : [h("div", {}, h("dt", {}, pair[0]), h("dd", {}, pair[1]))])),
  );
}

/** A table that scrolls on its own when it is wide. The first column names the row. */
export function dataTable(options: {
  readonly caption: string;
  readonly head: readonly Child[];
  readonly rows: readonly (readonly Child[])[];
  /** Columns that hold numbers. */
  readonly numeric?: readonly number[];
  readonly empty?: string;
}): HTMLElement {
  const { caption, head, rows, numeric = [], empty = "None." } = options;
  if (rows.length === 0) return h("p", { class: "empty" }, empty);
  const align = (index: number): string | undefined => (numeric.includes(index) ? "number" : undefined);
  return h(
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
          head.map((cell, index) => h("th", { scope: "col", class: align(index) }, cell)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((cells) =>
          h(
            "tr",
            {},
            cells.map((cell, index) =>
              index === 0 ? h("th", { scope: "row", class: align(index) }, cell) : h("td", { class: align(index) }, cell),
            ),
          ),
        ),
      ),
    ),
  );
}

/** A part of a view that is there at once, with a badge of its own where it shows values. */
export function panel(
  title: string,
  options: { readonly badge?: Child; readonly class?: string },
  ...content: readonly Child[]
): HTMLElement {
  return h(
    "section",
    { class: `card ${options.class ?? ""}`.trim() },
    h("header", {}, h("h2", {}, title), h("div", { class: "tools" }, options.badge)),
    h("div", { class: "body" }, content),
  );
}

// Cards that load.

/** What a node says, and nobody proved. `why` says what that is worth. */
export type Claimed<T> = { readonly value: T; readonly claimed: string };

/** After so long the page says that it is waiting. */
const SLOW_MS = 1200;

/** A part of a view that asks the gateway, and shows what came, how it was checked, or why it is not shown. */
export function card<T>(
  context: ViewContext,
  options: {
    readonly title: string;
    /** What is asked for, in words: alerts name it. */
    readonly what: string;
    readonly load: (signal: AbortSignal) => Promise<Verified<T> | Claimed<T>>;
    readonly show: (value: T, verified: Verification | undefined) => Child;
    /** A proof file of the value, and its name. */
    readonly exportProof?: { readonly name: string; readonly make: (signal: AbortSignal) => Promise<Uint8Array> };
    readonly class?: string;
  },
): HTMLElement {
  const { session, alerts, signal } = context;
  const tools = h("div", { class: "tools" });
  const body = h("div", { class: "body" });
  const element = h(
    "section",
    { class: `card ${options.class ?? ""}`.trim() },
    h("header", {}, h("h2", {}, options.title), tools),
    body,
  );
  const again = h(
    "button",
    {
      type: "button",
      class: "quiet",
      "aria-label": `Ask again: ${options.title}`,
      title: "Ask again",
      on: { click: () => void run() },
    },
    icon("refresh"),
  );

  const run = async (): Promise<void> => {
    element.setAttribute("aria-busy", "true");
    fill(tools, badge("pending", "Asking"));
    fill(body, h("p", { class: "skeleton" }, "Asking the gateway and checking what it answers."));
    const startedMs = performance.now();
    const slow = setInterval(() => {
      const waited = durationText(performance.now() - startedMs);
      fill(body, h("p", { class: "slow", role: "status" }, `The gateway is slow: waiting for ${waited}.`));
    }, SLOW_MS);
    const asked = session.client.url;
    try {
      const loaded = await options.load(signal);
      if (signal.aborted) return;
      const isProven = "verified" in loaded;
      const isDisputed = isProven && session.live.isDisputed;
      fill(
        tools,
        isProven ? proofBadge(loaded.verified, session) : claimBadge(loaded.claimed),
        isProven && !isDisputed && options.exportProof !== undefined && session.network.engine.name !== "pow"
          ? saveButton(context, options.exportProof)
          : undefined,
        again,
      );
      fill(
        body,
        isDisputed && h("p", { class: "bad" }, DISPUTED),
        options.show(loaded.value, isProven ? loaded.verified : undefined),
      );
      element.dataset["state"] = isDisputed ? "disputed" : isProven ? "verified" : "claim";
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof UnprovenError) alerts.add(error, options.what, { gateway: asked });
      showFailure({ error, what: options.what, tools, body, again, element });
    } finally {
      clearInterval(slow);
      element.removeAttribute("aria-busy");
    }
  };
  void run();
  return element;
}

/** Shows why a value is not shown. @throws what is no failure of the gateway or the world: our own fault */
function showFailure(parts: {
  readonly error: unknown;
  readonly what: string;
  readonly tools: HTMLElement;
  readonly body: HTMLElement;
  readonly again: HTMLElement;
  readonly element: HTMLElement;
}): void {
  const { error, what, tools, body, again, element } = parts;
  if (!(error instanceof CodedError)) {
    fill(tools, badge("refused", "Failed"), again);
    fill(body, h("p", {}, "The page itself failed. Ask again, or tell its makers."));
    throw error;
  }
  if (error instanceof UnprovenError) {
    element.dataset["state"] = "refused";
    fill(tools, badge("refused", "Not believed"), again);
    fill(
      body,
      h(
        "div",
        { class: "refusal" },
        h("p", {}, h("strong", {}, `The gateway's answer about ${what} does not hold, so it is not shown.`)),
        h("p", {}, h("code", {}, error.code), " ", meaningOf(error)),
        facts(
          typeof error.detail["field"] === "string" ? ["At", h("code", {}, error.detail["field"])] : undefined,
          typeof error.detail["height"] === "bigint" ? ["Height", String(error.detail["height"])] : undefined,
        ),
      ),
    );
    return;
  }
  element.dataset["state"] = "failed";
  const isTransport = error.code.startsWith("rpc_");
  fill(
    tools,
    isTransport
      ? badge("refused", "No answer")
      : claimBadge("A refusal is the gateway's own word: it cannot be proven. Another gateway may know more."),
    again,
  );
  const meaning = Object.hasOwn(RPC_CODES, error.code) ? RPC_CODES[error.code as keyof typeof RPC_CODES] : meaningOf(error);
  fill(
    body,
    h(
      "div",
      { class: "refusal" },
      h("p", {}, h("strong", {}, isTransport ? "The gateway did not answer." : "The gateway says that it cannot answer.")),
      h("p", {}, h("code", {}, error.code), " ", meaning),
    ),
  );
}

/** Hands a proof file to the browser to be saved. */
export function saveProof(name: string, bytes: Uint8Array): void {
  const url = URL.createObjectURL(new Blob([new Uint8Array(bytes)], { type: "application/octet-stream" }));
  h("a", { href: url, download: `${name.replaceAll(/[^\w.-]+/g, "-").slice(0, 80)}.proof` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
  announce("Saved a proof file");
}

function saveButton(
  { session, alerts, signal }: ViewContext,
  { name, make }: { readonly name: string; readonly make: (signal: AbortSignal) => Promise<Uint8Array> },
): HTMLElement {
  const save = async (): Promise<void> => {
    try {
      saveProof(name, await make(signal));
    } catch (error) {
      if (error instanceof UnprovenError) alerts.add(error, `the proof of ${name}`, { gateway: session.client.url });
      else if (error instanceof CodedError) announce(`Could not save the proof: ${error.code}`);
      else throw error;
    }
  };
  return h(
    "button",
    {
      type: "button",
      class: "quiet",
      "aria-label": "Save a proof file",
      title: "Save a proof file, which anyone can check offline",
      on: { click: () => void save() },
    },
    icon("save"),
  );
}
