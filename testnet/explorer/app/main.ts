/**
 * The page: finds a gateway and what to trust, follows the chain, and shows one view after another.
 *
 * ```
 *   opening --network file found--> connected --another gateway, another network file--> opening
 *      |
 *      +--no answer, another network than trusted--> not connected: proof files can still be checked
 * ```
 */

import "./runtime.ts";
import { CodedError, codeOf } from "../../../crypto/base/error.ts";
import { toHex } from "../../../crypto/base/bytes.ts";
import { type NetworkFile, networkHash } from "../../../chain/block/genesis.ts";
import { NETWORK_FILE_SIZE_BYTES_MAX } from "../../../chain/block/limits.ts";
import { UnprovenError } from "../../../node/light/errors.ts";
import { EXPLORER_CODES } from "../errors.ts";
import { type Alert, type AlertKind, Alerts, meaningOf } from "./alerts.ts";
import { byId, type Child, fill, h } from "./dom.ts";
import { counted, durationText, shortened } from "./format.ts";
import { icon } from "./icons.ts";
import type { Split } from "./live.ts";
import { agoText, announce, badge, copyButton, saveProof, type View, type ViewContext } from "./parts.ts";
import { hrefOf, parseRoute } from "./route.ts";
import { findView } from "./search.ts";
import { gatewayOf, gatewayUrl, isChosenIn, openSession, type Session, witnessesOf } from "./session.ts";
import { browserMemory, hashIn, networkOfText, type TrustMemory } from "./trust.ts";
import { accountsView, accountView } from "./views/accounts.ts";
import { blocksView, blockView } from "./views/blocks.ts";
import { connectionView } from "./views/connection.ts";
import { consensusView } from "./views/consensus.ts";
import { networkView } from "./views/network.ts";
import { overview } from "./views/overview.ts";
import { proofView } from "./views/proof.ts";
import { partitionView, recordView, streamsView } from "./views/streams.ts";
import { rowView, tablesView, tableView } from "./views/tables.ts";
import { transactionView } from "./views/transaction.ts";
import { validatorsView } from "./views/validators.ts";

const VIEWS: Readonly<Record<string, (context: ViewContext) => View>> = {
  "": overview,
  blocks: blocksView,
  block: blockView,
  tx: transactionView,
  accounts: accountsView,
  account: accountView,
  tables: tablesView,
  table: tableView,
  row: rowView,
  streams: streamsView,
  stream: partitionView,
  record: recordView,
  validators: validatorsView,
  consensus: consensusView,
  network: networkView,
};

/** What the navigation shows, and which first parts of a path belong to it. */
const NAVIGATION: readonly (readonly [name: string, path: string, parts: readonly string[]])[] = [
  ["Overview", "", [""]],
  ["Blocks", "blocks", ["blocks", "block", "tx"]],
  ["Accounts", "accounts", ["accounts", "account"]],
  ["Tables", "tables", ["tables", "table", "row"]],
  ["Streams", "streams", ["streams", "stream", "record"]],
  ["Validators", "validators", ["validators"]],
  ["Consensus", "consensus", ["consensus"]],
  ["Network", "network", ["network"]],
  ["Verify a proof", "proof", ["proof"]],
];

const ALERT_TITLES: Readonly<Record<AlertKind, string>> = {
  lie: "A gateway gave an answer that does not hold",
  behind: "A gateway is behind what it proved before",
  fork: "Split view: the validators of this network contradict themselves",
  file: "A file does not hold",
};

/** A head of voters that is older than this, or of so many times the interval of proof of work, is told of. */
const HEAD_AGE_MS_MAX = 30_000;
const HEAD_AGE_INTERVALS_MAX = 20;
const THEME_KEY = "pyralog.explorer.theme";
const THEMES = ["auto", "light", "dark"] as const;

/** Storage where the browser allows it. */
function storageOf(): Storage | undefined {
  try {
    return localStorage;
  } catch {
    // Forbidden by the visitor: nothing is kept.
    return undefined;
  }
}

class App {
  readonly #storage = storageOf();
  readonly #memory: TrustMemory = browserMemory(this.#storage);
  readonly #alerts = new Alerts(
    (alerts) => this.#showAlerts(alerts),
    () => this.#session?.live.dispute(),
  );
  #session: Session | undefined;
  #failure: CodedError | undefined;
  #supplied: NetworkFile | undefined;
  #sessionEnd = new AbortController();
  #viewEnd = new AbortController();
  #takeProof: ((file: File) => Promise<void>) | undefined;
  #isTrustNoteRead = false;
  /** The query of the page's address that the session was opened for. */
  #connectedFor = "";
  #headShownMs: number | undefined;
  /** The session of which the visitor was shown that it is disputed. */
  #disputeShown: Session | undefined;

  start(): void {
    this.#frame();
    addEventListener("hashchange", () => this.#route(true));
    // Going back may lead to another gateway, or another network file.
    addEventListener("popstate", () => {
      if (location.search !== this.#connectedFor) void this.#connect();
    });
    setInterval(() => this.#tick(), 1000);
    void this.#connect();
  }

  // Connecting.

  async #connect(): Promise<void> {
    this.#sessionEnd.abort();
    const end = new AbortController();
    this.#sessionEnd = end;
    this.#session = undefined;
    this.#failure = undefined;
    this.#connectedFor = location.search;
    this.#route(false);
    const page = new URL(location.href);
    try {
      const session = await openSession({
        gateway: gatewayOf(page),
        witnesses: witnessesOf(page),
        pin: hashIn(page.searchParams.get("network")),
        supplied: this.#supplied,
        isChosen: isChosenIn(page),
        memory: this.#memory,
        report: {
          unproven: (error, what, gateway) => this.#alerts.add(error, what, { gateway }),
          split: (split) => this.#addSplit(split),
        },
        signal: end.signal,
      });
      if (end.signal.aborted) return;
      this.#session = session;
      session.live.onChange(() => this.#onLive(session), end.signal);
      void session.live.run();
    } catch (error) {
      if (end.signal.aborted) return;
      if (!(error instanceof CodedError)) throw error;
      if (error instanceof UnprovenError) this.#alerts.add(error, "the network file", { gateway: this.#gatewayText() });
      this.#failure = error;
    }
    this.#showTrust();
    this.#route(false);
  }

  /** Two gateways show two certified chains: more than a third of the validators lie, and no page can know which is the one. */
  #addSplit({ height, urls, fork }: Split): void {
    const partAt = fork?.fraud.height;
    const what = `height ${height}, of which ${urls.join(" and ")} show two certified chains${partAt === undefined ? "" : `, apart since height ${partAt}`}`;
    this.#alerts.add(new UnprovenError({ code: "fork_detected", height: partAt ?? height }), what, {
      proof: fork?.file,
      choices: urls,
    });
    this.#showChip();
  }

  #onLive(session: Session): void {
    if (session.live.isDisputed) this.#showDispute(session);
    if (this.#headShownMs === undefined && session.live.head !== undefined) {
      this.#headShownMs = Math.round(performance.now());
      document.documentElement.dataset["verifiedHeadMs"] = String(this.#headShownMs);
    }
    this.#showChip();
  }

  /** Draws what is shown once more: none of it may be called verified any longer. The connection's view calls nothing so. */
  #showDispute(session: Session): void {
    if (this.#disputeShown === session) return;
    this.#disputeShown = session;
    if (parseRoute(location.hash).parts[0] !== "connection") this.#route(false);
  }

  /** Follows the chain of one gateway alone, of two that are certified: the visitor's choice, which the address says. */
  #choose(url: string): void {
    const hash = this.#session?.networkHash;
    this.#go((parameters) => {
      parameters.set("rpc", url);
      parameters.delete("witness");
      if (hash !== undefined) parameters.set("network", hash);
      parameters.set("chosen", "1");
    });
  }

  /** Changes the page's address, without which nothing is changed: what one sees can be bookmarked and sent. */
  #go(change: (parameters: URLSearchParams) => void): void {
    const page = new URL(location.href);
    change(page.searchParams);
    page.hash = hrefOf([]);
    history.pushState(undefined, "", page);
    void this.#connect();
  }

  /** Stands on this hash from now on; `supplied` is its file, when the visitor gave it. */
  #pin(hash: string, supplied?: NetworkFile): void {
    this.#supplied = supplied;
    const page = new URL(location.href);
    page.searchParams.set("network", hash);
    history.replaceState(undefined, "", page);
    announce("The network file is pinned");
    void this.#connect();
  }

  #supply(text: string): void {
    const hash = hashIn(text);
    if (hash !== undefined) return this.#pin(hash);
    try {
      const network = networkOfText(text);
      this.#pin(toHex(networkHash(network)), network);
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      this.#alerts.add(error, "the network file that you gave", { kind: "file" });
    }
  }

  async #supplyFile(file: Blob & { readonly name: string }): Promise<void> {
    if (file.size > NETWORK_FILE_SIZE_BYTES_MAX) {
      this.#alerts.add(new CodedError("file_too_large", { message: EXPLORER_CODES.file_too_large }), file.name, { kind: "file" });
      return;
    }
    this.#supply(await file.text());
  }

  async #takeFiles(files: Iterable<File>): Promise<void> {
    for (const file of files) {
      if (/\.json$/i.test(file.name)) await this.#supplyFile(file);
      else {
        if (this.#takeProof === undefined) {
          location.hash = hrefOf(["proof"]);
          this.#route(true);
        }
        await this.#takeProof?.(file);
      }
    }
  }

  // Views.

  /** Shows what the address names. `isMove`: the visitor went there, so the focus goes along. */
  #route(isMove: boolean): void {
    this.#viewEnd.abort();
    this.#viewEnd = new AbortController();
    this.#takeProof = undefined;
    const route = parseRoute(location.hash);
    const [first = ""] = route.parts;
    const view = this.#viewOf(first, route);
    document.title = `${view.title} · Pyralog explorer`;
    const title = h("h1", { tabindex: "-1" }, view.title);
    fill(byId("main"), title, view.content);
    for (const link of byId("nav").querySelectorAll("a")) {
      const isHere = (link.dataset["parts"] ?? "").split(" ").includes(first === "" ? "-" : first);
      if (isHere) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    this.#showChip();
    if (!isMove) return;
    scrollTo(0, 0);
    title.focus({ preventScroll: true });
  }

  #viewOf(first: string, route: ViewContext["route"]): View {
    if (first === "proof") {
      const view = proofView({
        network: this.#supplied ?? this.#session?.network,
        alerts: this.#alerts,
        isDisputed: () => this.#session?.live.isDisputed === true || this.#session?.isChosen === true,
      });
      this.#takeProof = view.take;
      return view;
    }
    if (first === "connection" || this.#failure !== undefined) return this.#connectionView();
    if (this.#session === undefined)
      return {
        title: "Connecting",
        content: [h("p", { class: "skeleton", role: "status" }, `Asking ${this.#gatewayText()} for its network file.`)],
      };
    const view = Object.hasOwn(VIEWS, first) ? VIEWS[first] : undefined;
    if (view === undefined)
      return {
        title: "Nothing here",
        content: [h("p", {}, "This page has no such view. ", h("a", { href: hrefOf([]) }, "Overview"))],
      };
    try {
      return view({ session: this.#session, alerts: this.#alerts, route, signal: this.#viewEnd.signal });
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      return { title: "Nothing here", content: [h("p", {}, meaningOf(error))] };
    }
  }

  #connectionView(): View {
    return connectionView({
      gateway: this.#gatewayText(),
      session: this.#session,
      failure: this.#failure,
      signal: this.#viewEnd.signal,
      connect: (text, others) => {
        try {
          const url = gatewayUrl(text);
          const witnesses = others.map(gatewayUrl);
          this.#go((parameters) => {
            parameters.set("rpc", url);
            parameters.delete("witness");
            parameters.delete("chosen");
            for (const witness of witnesses) parameters.append("witness", witness);
          });
        } catch (error) {
          if (!(error instanceof CodedError)) throw error;
          this.#alerts.add(error, "the gateway's address", { kind: "file" });
        }
      },
      again: () => void this.#connect(),
      pin: (hash) => this.#pin(hash),
      forget: () => {
        const served = this.#failure?.detail["served"];
        if (typeof served === "string") this.#pin(served);
      },
      takeNetworkFile: async (file) => await this.#supplyFile(file),
      takeNetworkText: (text) => this.#supply(text),
    });
  }

  #gatewayText(): string {
    try {
      return gatewayOf(new URL(location.href));
    } catch (error) {
      if (codeOf(error) !== "rpc_url_invalid") throw error;
      return new URL(location.href).searchParams.get("rpc") ?? "";
    }
  }

  // What stands around the views.

  #frame(): void {
    fill(
      byId("nav"),
      h(
        "ul",
        {},
        NAVIGATION.map(([name, path, parts]) =>
          h(
            "li",
            {},
            h(
              "a",
              {
                href: hrefOf(path === "" ? [] : [path]),
                "data-parts": parts.map((part) => (part === "" ? "-" : part)).join(" "),
              },
              name,
            ),
          ),
        ),
      ),
    );
    byId("skip").addEventListener("click", (event) => {
      event.preventDefault();
      byId("main").focus();
    });
    const search = byId("search");
    search.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#search();
    });
    this.#frameTheme();
    this.#frameDrop();
  }

  #frameTheme(): void {
    const button = byId("theme");
    const saved = this.#storage?.getItem(THEME_KEY);
    let theme: (typeof THEMES)[number] = THEMES.find((each) => each === saved) ?? "auto";
    const apply = (): void => {
      document.documentElement.dataset["theme"] = theme;
      fill(button, icon("sun"), h("span", {}, theme));
      button.setAttribute("aria-label", `Colours: ${theme}. Change`);
    };
    button.addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "auto";
      try {
        this.#storage?.setItem(THEME_KEY, theme);
      } catch {
        // Full: the choice lasts as long as the page.
      }
      apply();
      announce(`Colours: ${theme}`);
    });
    apply();
  }

  #frameDrop(): void {
    const root = document.documentElement;
    addEventListener("dragover", (event) => {
      event.preventDefault();
      root.dataset["dropping"] = "";
    });
    addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) delete root.dataset["dropping"];
    });
    addEventListener("drop", (event) => {
      event.preventDefault();
      delete root.dataset["dropping"];
      void this.#takeFiles([...(event.dataTransfer?.files ?? [])]);
    });
  }

  async #search(): Promise<void> {
    const input = byId("search-text") as HTMLInputElement;
    const note = byId("search-note");
    const session = this.#session;
    if (session === undefined || input.value.trim() === "") return;
    fill(note, "Looking.");
    try {
      const href = await findView(input.value, session, this.#sessionEnd.signal);
      fill(note);
      input.value = "";
      if (location.hash === href) this.#route(true);
      else location.hash = href;
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      if (error instanceof UnprovenError)
        this.#alerts.add(error, `the search for ${shortened(input.value, [24, 4])}`, { gateway: session.client.url });
      fill(note, meaningOf(error));
    }
  }

  #showAlerts(alerts: readonly Alert[]): void {
    const place = byId("alerts");
    const shown = new Map(
      [...place.querySelectorAll<HTMLElement>("[data-id]")].map((element) => [element.dataset["id"] ?? "", element]),
    );
    const wanted = new Set(alerts.map(({ id }) => id));
    for (const [id, element] of shown) if (!wanted.has(id)) element.remove();
    for (const alert of alerts.toReversed()) {
      const known = shown.get(alert.id);
      // Said once by those who read aloud; after that only the count goes up.
      if (known === undefined) place.prepend(this.#alertElement(alert));
      else fill(known.querySelector(".count") ?? known, `${alert.count} times`);
    }
    this.#showChip();
  }

  #alertElement({ id, kind, code, what, gateway, proof, choices, meaning, field, height, atMs, count }: Alert): HTMLElement {
    return h(
      "section",
      { class: `alert ${kind}`, "data-id": id, "data-code": code },
      icon("refused"),
      h(
        "div",
        {},
        h("strong", {}, ALERT_TITLES[kind]),
        h("p", {}, "About ", h("b", {}, what), ": ", h("code", {}, code), ` ${meaning}`),
        h(
          "p",
          { class: "muted" },
          gateway !== undefined && ["Gateway ", h("code", { class: "wrap" }, gateway), ". "],
          kind === "lie" && "The answer was thrown away: nothing of it is shown. ",
          field !== undefined && ["At ", h("code", {}, field), ". "],
          height !== undefined && `Height ${height}. `,
          `${new Date(atMs).toISOString().slice(11, 19)} UTC, `,
          h("span", { class: "count" }, count === 1 ? "once" : `${count} times`),
          ".",
        ),
        kind === "fork" && code === "fork_detected" && forkEvidence(height, proof),
        kind === "fork" && code === "fork_detected" && forkChoice(choices, (url) => this.#choose(url)),
      ),
      h(
        "button",
        { type: "button", class: "quiet", "aria-label": "I have read this", on: { click: () => this.#alerts.dismiss(id) } },
        "Dismiss",
      ),
    );
  }

  #showTrust(): void {
    const place = byId("trust");
    const session = this.#session;
    if (session?.trust !== "first-use" || this.#isTrustNoteRead) return fill(place);
    fill(
      place,
      h(
        "section",
        { class: "note", "aria-label": "Trust on first use" },
        icon("claim"),
        h(
          "div",
          {},
          h("strong", {}, "Trust on first use."),
          " Everything here is verified against a network file that came from this gateway itself. Compare its hash with somebody you trust: ",
          h(
            "span",
            { class: "copyable" },
            h("code", { class: "wrap" }, session.networkHash),
            copyButton(session.networkHash, "hash of the network file"),
          ),
        ),
        h(
          "div",
          { class: "row" },
          h("button", { type: "button", on: { click: () => this.#pin(session.networkHash) } }, "I have compared it"),
          h(
            "button",
            {
              type: "button",
              class: "quiet",
              on: {
                click: () => {
                  this.#isTrustNoteRead = true;
                  this.#showTrust();
                },
              },
            },
            "Later",
          ),
        ),
      ),
    );
  }

  #showChip(): void {
    const chip = byId("chip");
    const session = this.#session;
    const content = ((): Child => {
      if (this.#failure !== undefined) return badge("refused", "Not connected");
      if (session === undefined) return badge("pending", "Connecting");
      const { lies } = this.#alerts;
      if (session.live.following === "split")
        return [badge("refused", "Split view"), h("span", { class: "name" }, session.network.chainId)];
      if (lies > 0)
        return [
          badge("refused", `Caught ${lies === 1 ? "once" : `${lies} times`}`),
          h("span", { class: "name" }, session.network.chainId),
        ];
      if (session.isChosen) return [badge("claim", "Your choice"), h("span", { class: "name" }, session.network.chainId)];
      const words = { pinned: "Pinned", remembered: "Remembered", "first-use": "First use" } as const;
      return [
        badge(session.trust === "pinned" ? "verified" : "claim", words[session.trust]),
        h("span", { class: "name" }, session.network.chainId),
      ];
    })();
    fill(chip, h("span", { class: "unseen" }, "Connection and trust: "), content);
    this.#showFooter();
  }

  #showFooter(): void {
    const session = this.#session;
    const live = session?.live;
    const state = {
      connecting: "connecting",
      following: "followed live",
      polling: "asked again and again, for it has no WebSocket",
      failing: "not answering as it should",
      split: "not followed any further: another one shows another certified chain",
    } as const;
    fill(
      byId("footer"),
      session !== undefined &&
        live !== undefined &&
        h(
          "p",
          {},
          "Gateway ",
          h("code", {}, session.client.url),
          `, ${state[live.following]}`,
          live.failure !== undefined && [" (", h("code", {}, live.failure.code), ")"],
          session.witnesses.length > 0 && `, compared with ${counted(session.witnesses.length, "witness", "witnesses")}`,
        ),
      this.#headShownMs !== undefined && h("p", {}, `First verified head after ${durationText(this.#headShownMs)}.`),
      h(
        "p",
        {},
        "This page believes no server: it checks certificates and proofs itself, and says of every value what was checked.",
      ),
    );
  }

  #tick(): void {
    for (const element of document.querySelectorAll<HTMLElement>("time[data-ms]"))
      element.textContent = agoText(Number(element.dataset["ms"]));
    const session = this.#session;
    const head = session?.live.head;
    const notice = byId("notice");
    if (session === undefined || head === undefined) return fill(notice);
    const { engine } = session.network;
    const ageMs = Date.now() - Number(head.header.value.timeMs);
    const ageMsMax = engine.name === "pow" ? engine.targetIntervalMs * HEAD_AGE_INTERVALS_MAX : HEAD_AGE_MS_MAX;
    if (ageMs <= ageMsMax) return fill(notice);
    if (notice.childElementCount > 0) return;
    fill(
      notice,
      h(
        "p",
        { class: "note" },
        icon("pending"),
        h(
          "span",
          {},
          h("strong", {}, "Nothing new."),
          ` The newest block that this gateway proves is older than ${durationText(ageMsMax)}: the network stands still, the gateway hides its progress, or a clock is wrong.`,
        ),
      ),
    );
  }
}

/** What stands behind a split view: a file that convicts, or that there is none. */
function forkEvidence(height: bigint | undefined, proof: Uint8Array | undefined): HTMLElement {
  if (proof === undefined)
    return h("p", {}, "There is no proof to show others: a gateway keeps what would convict the validators.");
  return h(
    "p",
    { class: "row" },
    h("button", { type: "button", on: { click: () => saveProof(`fraud-${height}`, proof) } }, "Save the fraud proof"),
    h("span", { class: "muted" }, "It convicts those who signed both, to whoever has the network file: pyralog verify."),
  );
}

/** What the visitor can do about a split view: nothing is verified until people say which chain goes on. */
function forkChoice(urls: readonly string[], choose: (url: string) => void): Child {
  return [
    h(
      "p",
      {},
      "Until you choose, nothing on this page is called verified. Ask people whom you trust, by another way than this network, which chain goes on: the hash of a block after the parting tells. Then follow a gateway that shows that chain",
      urls.length > 0 ? ":" : ", under Connection and trust.",
    ),
    urls.length > 0 &&
      h(
        "p",
        { class: "row" },
        urls.map((url) => h("button", { type: "button", on: { click: () => choose(url) } }, `Follow ${url} alone`)),
      ),
  ];
}

new App().start();
