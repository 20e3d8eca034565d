/** `pyralog light`: follows the head of a network through several nodes, believing none of them. */

import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { toHex } from "../../crypto/base/bytes.ts";
import { formatAddress } from "../../crypto/identity/address.ts";
import { networkHash } from "../../chain/block/genesis.ts";
import { fileTrustStore } from "../follower/file-store.ts";
import { type FollowEvent, LightFollower } from "../follower/follower.ts";
import { DIRECTORY_MODE_PRIVATE, placeFile } from "../home/files.ts";
import type { ProvenFraud } from "../light/fraud.ts";
import { finalityText, timeText } from "./client.ts";
import type { Answer, Json } from "./answer.ts";
import { type Command, NODE_OPTIONS, type OptionTable } from "./command.ts";
import type { Invocation } from "./invocation.ts";
import { usageError } from "./usage.ts";

/** Which nodes to ask. */
export const RPC_OPTION: OptionTable = {
  rpc: {
    kind: "text",
    value: "URL[,URL...]",
    description: "nodes to ask: the first tells, the others confirm and take its place (default: the node of --node)",
  },
};

/** Exit codes by cause, beside 1 and 2. */
const EXITS = {
  fork_detected: 3,
  trust_expired: 4,
  checkpoint_mismatch: 4,
  gateways_none: 5,
  witness_missing: 6,
} as const;

const DAY_MS = 86_400_000n;

/** `pyralog light`. */
export const LIGHT_COMMAND: Command = {
  name: "light",
  summary: "follow the verified head of a network, through several nodes of which none is believed",
  detail:
    "Starts from what it trusted last, else from the checkpoint of the network file, else from its validators, and skips\nfrom there. Compares each head with the other nodes. Two certified chains end it, with a fraud proof in a file.\nExit codes: 3 fork, 4 trust too old or not the checkpoint's, 5 no node left to ask, 6 too few confirm, 1 anything else.",
  options: {
    ...RPC_OPTION,
    ...NODE_OPTIONS,
    once: { kind: "flag", description: "stop at the first head" },
    witnesses: { kind: "text", value: "N", description: "how many other nodes must confirm a head (default 0)" },
    trust: { kind: "text", value: "FILE", description: "where trust is kept between runs (default: in the home)" },
    "trusting-days": { kind: "text", value: "N", description: "how long a block leads to later ones (default: the network's)" },
    "allow-old-genesis": {
      kind: "flag",
      description: "follow from a genesis older than that, believing whoever held the keys of that time",
    },
    fraud: { kind: "text", value: "FILE", description: "where a fraud proof is written (default: ./fraud-HEIGHT.proof)" },
  },
  examples: [
    "pyralog light --network network.json --rpc http://127.0.0.1:26680,http://127.0.0.1:26681",
    "pyralog light --network network.json --rpc http://127.0.0.1:26680 --once --json",
  ],
  exits: EXITS,
  run: light,
};

async function light(invocation: Invocation): Promise<Answer | undefined> {
  const { signal } = invocation;
  const network = await invocation.network();
  const path =
    invocation.text("trust") ?? join(invocation.home.path, "light", `${toHex(networkHash(network)).slice(0, 32)}.trust`);
  await mkdir(dirname(path), { recursive: true, mode: DIRECTORY_MODE_PRIVATE });
  const days = invocation.bigint("trusting-days", { min: 1n, max: 36_500n });
  const follower = await LightFollower.open(
    {
      network,
      urls: await rpcUrls(invocation),
      store: fileTrustStore(path),
      witnessesMin: invocation.integer("witnesses", { min: 0, max: 15 }),
      trustingPeriodMs: days === undefined ? undefined : days * DAY_MS,
      allowOldGenesis: invocation.flag("allow-old-genesis"),
    },
    signal,
  );
  for await (const event of follower.follow(signal)) {
    const file = await keepFraud(invocation, event);
    if (event.kind === "head" && invocation.flag("once")) return eventAnswer(event, file);
    invocation.emit(eventAnswer(event, file));
  }
  return undefined;
}

/** The URLs of `--rpc`, or the node that `--node` and its defaults name. */
export async function rpcUrls(invocation: Invocation): Promise<readonly string[]> {
  return invocation.text("rpc") === undefined ? [await invocation.nodeUrl()] : urlsOf(invocation, "rpc");
}

/** The URLs of an option that is there. */
export function urlsOf(invocation: Invocation, option: string): readonly string[] {
  return invocation
    .requireText(option)
    .split(",")
    .map((each) => {
      const url = each.trim();
      if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
        throw usageError("usage_option_value", `--${option} takes http URLs, separated by commas, not ${url}`, {
          field: `--${option}`,
        });
      }
      return url;
    });
}

async function keepFraud(invocation: Invocation, event: FollowEvent): Promise<string | undefined> {
  if (event.kind !== "fork" || event.fork === undefined) return undefined;
  const path = invocation.text("fraud") ?? `fraud-${event.fork.fraud.height}.proof`;
  await placeFile(path, event.fork.file, { mode: 0o644 });
  return path;
}

function eventAnswer(event: FollowEvent, file: string | undefined): Answer {
  switch (event.kind) {
    case "head": {
      const { head, hash, gateway, witnesses } = event;
      const { height, timeMs, finality, how } = head.verified;
      const { stateRoot } = head.value;
      const confirming = witnesses.filter(({ says }) => says === "agrees").length;
      return {
        json: { event: "head", height, hash, timeMs, stateRoot, finality, how, gateway, witnesses },
        text: `${height}  ${toHex(hash)}  ${timeText(timeMs)}  ${finalityText(finality)}, of ${gateway}, confirmed by ${confirming} of ${witnesses.length}`,
      };
    }
    case "undone":
      return {
        json: { event: "undone", from: event.from },
        text: `A heavier chain has taken the place of height ${event.from} and all above it`,
      };
    case "aside": {
      const { url, code, lied } = event;
      return {
        json: { event: "aside", url, code, lied },
        text: `${url} ${lied ? "lied and is not asked again" : "failed and is left alone for a while"}: ${code}`,
      };
    }
    case "fork": {
      const { height, urls, fork } = event;
      return {
        json: {
          event: "fork",
          height,
          urls,
          ...(fork === undefined ? {} : { fraud: fraudJson(fork.fraud) }),
          ...(file === undefined ? {} : { file }),
        },
        text: `Two certified chains at height ${height}, of ${urls.join(" and ")}\n${fork === undefined ? "No proof: a node keeps what would convict it." : `${fraudText(fork.fraud)}\nWrote ${file}; see: pyralog verify ${file}`}`,
      };
    }
  }
}

/** A fraud as JSON. */
export function fraudJson(fraud: ProvenFraud): Json {
  const { offence, height, first, second, convicts, suspects, totalPower, how } = fraud;
  return {
    offence,
    height,
    first,
    second,
    convicts: convicts.map(({ validator, power }) => ({ validator: formatAddress(validator), power })),
    suspects: suspects.map(formatAddress),
    totalPower,
    how,
  };
}

/** A fraud in lines. */
export function fraudText({ offence, height, first, second, convicts, suspects, totalPower, how }: ProvenFraud): string {
  return [
    `${offence} at height ${height}:`,
    `  first   ${toHex(first)}`,
    `  second  ${toHex(second)}`,
    ...convicts.map(({ validator, power }) => `  convicted  ${formatAddress(validator)}  power ${power} of ${totalPower}`),
    ...suspects.map((address) => `  suspected  ${formatAddress(address)}`),
    ...how.map((line) => `  - ${line}`),
  ].join("\n");
}
