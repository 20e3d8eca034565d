/** What was checked of a value, for people: one word for the badge, and the chain from the value to what one trusts. */

import { type NetworkEngine, quorumRuleOf } from "../../../chain/block/protocol.ts";
import type { NetworkFile } from "../../../chain/block/genesis.ts";
import { trustPolicyOf } from "../../../node/light/trust.ts";
import type { Verification } from "../../../node/rpc/client.ts";
import type { Session } from "./session.ts";
import type { Trust } from "./trust.ts";
import { counted, grouped, timeText } from "./format.ts";

/** What a certificate says, under the network's own rule. */
export function quorumWords(engine: NetworkEngine): string {
  return quorumRuleOf(engine) === "majority"
    ? "more than half of the members, who are trusted not to lie"
    : "more than two thirds of the validators' power";
}

/** What the engine calls its attempts at a height. */
export function roundWord(engine: NetworkEngine): "round" | "term" | "view" {
  if (engine === "raft") return "term";
  return engine === "pbft" ? "view" : "round";
}

/** A link of the chain, from the value to the trust root. */
export type Step = { readonly what: string; readonly how: string };

/** What the client calls a check, and what people call it; the first that was made names the badge. */
const LABELS: readonly (readonly [pattern: RegExp, label: string, how: string])[] = [
  [/complete range/, "Complete range", "state proof: these rows, and nothing between or beside them"],
  [/absence/, "Proven absent", "state proof that there is nothing under this key"],
  [/inclusion of each record/, "Inclusion", "each record is a leaf of the partition's tree, whose root is in the state"],
  [/inclusion of the transaction/, "Inclusion", "Merkle paths to the transactions root and the results root, at one place"],
  [/roots of transactions/, "Block roots", "the whole body, reckoned against the roots in its header"],
  [/state proof/, "State proof", "Merkle path to the state root"],
  [/history log/, "History", "inclusion in the history log of a newer header"],
  [/validators in office/, "Validator set", "hashed, and named by certified headers since the network file"],
];

/** One word for what was checked. */
export function labelOf({ how, finality }: Verification): string {
  const found = LABELS.find(([pattern]) => how.some((check) => pattern.test(check)));
  return found?.[1] ?? (finality.kind === "final" ? "Certificate" : "Work");
}

const TRUST_WORDS: Readonly<Record<Trust, string>> = {
  pinned: "its hash stands in this page's address, or you gave the file: as good as where you have those from",
  remembered: "the same as this gateway served on earlier visits; compare its hash with somebody you trust",
  "first-use": "this gateway's claim, trusted on first use; compare its hash with somebody you trust",
};

const DISPUTE: Step = {
  what: "Two chains",
  how: "both are certified, so what follows holds in the one that this gateway shows, and perhaps not in the other",
};
const CHOICE: Step = { what: "Your choice", how: "of two certified chains, you chose to follow the one that this gateway shows" };

/**
 * Said of a network file whose validators may have left long since: their keys bind nobody any more, and whoever got hold
 * of them can certify another chain from there. (Weak subjectivity: Buterin 2014; CometBFT light client, trusting period.)
 *
 * @returns nothing while it is young, or under proof of work, where what is heavier decides
 */
export function ageStep(network: NetworkFile, nowMs: number): Step | undefined {
  if (network.engine.name === "pow") return undefined;
  const { genesisTimeMs, checkpoint } = network;
  const fromMs = checkpoint === undefined || checkpoint.timeMs < genesisTimeMs ? genesisTimeMs : checkpoint.timeMs;
  const { trustingPeriodMs } = trustPolicyOf(network, () => nowMs);
  if (fromMs + trustingPeriodMs > BigInt(Math.floor(nowMs))) return undefined;
  return {
    what: "Age",
    how: `the network file vouches for nothing after ${timeText(fromMs)}, and keys of validators of that time may since have been given away: compare the hash of a recent block with somebody you trust`,
  };
}

/** The chain from a value to what one trusts. */
export function stepsOf(verified: Verification, session: Session): readonly Step[] {
  const { height, timeMs, how, finality } = verified;
  const checks = LABELS.filter(([pattern]) => how.some((check) => pattern.test(check)));
  const isHistory = how.some((check) => check.startsWith("history log"));
  const consistency = how.filter((check) => check.startsWith("consistency"));
  const header = `Header ${grouped(height)}, ${timeText(timeMs)}`;
  const changes = session.client.verifier.trustPath(height).length;
  const age = ageStep(session.network, Date.now());
  return [
    ...(session.live.isDisputed ? [DISPUTE] : []),
    ...(checks[0] === undefined || isHistory ? [] : [{ what: "Value", how: checks[0][2] }]),
    ...consistency.map(() => ({ what: "Partition", how: "begins with everything that was proven of it before" })),
    ...(finality.kind === "final"
      ? [
          {
            what: header,
            how: isHistory
              ? `in the ${how.find((check) => check.startsWith("history log"))}, which is certified`
              : `certificate: signed by ${quorumWords(session.network.engine.name)}`,
          },
          {
            what: "Validators",
            how:
              changes === 0
                ? "those of the network file"
                : `those of the network file, through ${counted(changes, "certified change")}`,
          },
        ]
      : [
          {
            what: header,
            how: `sealed by work, ${counted(finality.depth, "block")} deep${finality.isSettled ? ", settled" : ", not settled yet"}`,
          },
        ]),
    ...(session.isChosen ? [CHOICE] : []),
    ...(age === undefined ? [] : [age]),
    { what: `Network file ${session.networkHash.slice(0, 12)}…`, how: TRUST_WORDS[session.trust] },
  ];
}
