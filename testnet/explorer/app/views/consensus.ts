/** Consensus as it happens: what the node says that it is doing now, and who decided the last heights, proven. */

import { toHex } from "../../../../crypto/base/bytes.ts";
import { CodedError } from "../../../../crypto/base/error.ts";
import { UnprovenError } from "../../../../node/light/errors.ts";
import { pause } from "../../../../node/rpc/feed.ts";
import { consensusStatus } from "../../../../node/rpc/methods/consensus.ts";
import { fill, h, refill } from "../dom.ts";
import { roundWord } from "../evidence.ts";
import { durationText, grouped, shortened } from "../format.ts";
import { chainBadge, claimBadge, panel, type View, type ViewContext } from "../parts.ts";
import { formatAddress } from "../../../../crypto/identity/address.ts";
import { HREF } from "../route.ts";

const ASK_INTERVAL_MS = 700;
const HEIGHTS_SHOWN = 24;

const ROUND_NOTES = {
  round: "The number is the round that decided: 0 is the first.",
  view: "The number is the view that decided: 0 is the first, and each has another primary.",
  term: "The number is the leader's term, which goes on over heights.",
} as const;

const STEPS: Readonly<Record<string, readonly string[]>> = {
  tendermint: ["propose", "prevote", "precommit", "decided"],
  pos: ["propose", "prevote", "precommit", "decided"],
};

/** See the file's head. */
export function consensusView(context: ViewContext): View {
  const { session, signal } = context;
  const now = h("div", { class: "slot", "aria-busy": "true" }, h("p", { class: "skeleton" }, "Asking the node."));
  const decided = h("div", { class: "slot" });
  const draw = (): void => refill(decided, decidedTable(context));
  draw();
  session.live.onChange(draw, signal);
  void watch(context, now);
  return {
    title: "Consensus",
    content: [
      panel(
        "Being decided now",
        { badge: claimBadge("What one node says of the height that it is deciding. Rounds leave no proof until they decide.") },
        now,
      ),
      panel("Decided", { badge: chainBadge(session, "Certificates in the bodies of the blocks after.") }, decided),
    ],
  };
}

function capital(word: string): string {
  return word.slice(0, 1).toUpperCase() + word.slice(1);
}

async function watch({ session, signal, alerts }: ViewContext, place: HTMLElement): Promise<void> {
  while (!signal.aborted) {
    try {
      const status = await session.client.ask(consensusStatus, {}, { signal });
      if (signal.aborted) return;
      const steps = STEPS[status.engine] ?? (status.step === null ? [] : [status.step]);
      place.removeAttribute("aria-busy");
      fill(
        place,
        h(
          "p",
          {},
          h("strong", { class: "big" }, grouped(status.height)),
          h("span", { class: "muted" }, ` is the height being decided, by ${status.engine}`),
        ),
        status.round === null
          ? h(
              "p",
              { class: "muted" },
              "Nothing to decide just now: the node waits for transactions, or for the time of an empty block.",
            )
          : h(
              "p",
              {},
              `${capital(roundWord(session.network.engine.name))} ${status.round}, for ${durationText(status.stalledMs)}`,
            ),
        h(
          "ol",
          { class: "steps", "aria-label": "Steps of a round" },
          steps.map((step) => h("li", { "aria-current": step === status.step ? "step" : undefined }, step)),
        ),
      );
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof UnprovenError) alerts.add(error, "the round being decided", { gateway: session.client.url });
      if (!(error instanceof CodedError)) throw error;
      fill(place, h("p", {}, "The node does not say: ", h("code", {}, error.code)));
    }
    await pause(document.hidden ? ASK_INTERVAL_MS * 10 : ASK_INTERVAL_MS, signal);
  }
}

function decidedTable({ session }: ViewContext): HTMLElement {
  const decided = session.live.blocks
    .filter(({ decision }) => decision !== undefined)
    .slice(0, HEIGHTS_SHOWN)
    .toReversed();
  const engine = session.network.engine.name;
  if (engine === "pow") return h("p", {}, "Under proof of work nobody votes: the heaviest chain is the one that holds.");
  const { validators } = session.client.verifier.newest.validators;
  if (decided.length === 0) return h("p", { class: "empty" }, "Waiting for blocks.");
  return h(
    "div",
    {},
    h(
      "p",
      { class: "muted" },
      "Certificates of the newest heights, as the header after each commits to them. A filled square is a signature in the certificate; an empty one may only have come too late for it. " +
        ROUND_NOTES[roundWord(engine)],
    ),
    h(
      "div",
      { class: "scroll", role: "region", "aria-label": "Who signed which height", tabindex: "0" },
      h(
        "table",
        { class: "matrix" },
        h("caption", { class: "unseen" }, `Who signed which height, and in which ${roundWord(engine)} it was decided`),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, "Validator"),
            decided.map(({ height }) =>
              h(
                "th",
                { scope: "col" },
                h("a", { href: HREF.block(height) }, String(height % 1000n).padStart(height > 999n ? 3 : 1, "0")),
              ),
            ),
          ),
        ),
        h(
          "tbody",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "row" }, capital(roundWord(engine))),
            decided.map(({ decision }) =>
              h(
                "td",
                { class: decision?.round === 0 || engine === "raft" ? "round" : "round late" },
                String(decision?.round ?? ""),
              ),
            ),
          ),
          validators.map(({ address }) => {
            const name = toHex(address);
            return h(
              "tr",
              {},
              h(
                "th",
                { scope: "row" },
                h("a", { href: HREF.account(address), class: "mono" }, shortened(formatAddress(address), [9, 4])),
              ),
              decided.map(({ decision, header }) => {
                const isSigned = decision?.signers.has(name) === true;
                const isProposer = toHex(header.value.proposer) === name;
                const words = `${isSigned ? "signed" : "no signature"}${isProposer ? ", proposed" : ""}`;
                return h(
                  "td",
                  {},
                  h("span", {
                    class: `cell ${isSigned ? "signed" : "absent"}${isProposer ? " proposer" : ""}`,
                    title: words,
                    role: "img",
                    "aria-label": words,
                  }),
                );
              }),
            );
          }),
        ),
      ),
    ),
    h(
      "p",
      { class: "legend" },
      h("span", { class: "cell signed" }),
      " signed ",
      h("span", { class: "cell signed proposer" }),
      " signed and proposed ",
      h("span", { class: "cell absent" }),
      " not in the certificate",
    ),
  );
}
