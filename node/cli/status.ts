/** `pyralog status`: how far a node is. Its head is verified; the rest is its own word, and said to be. */

import { unreachable } from "../../crypto/base/assert.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { codeOf } from "../../crypto/base/error.ts";
import { formatAddress } from "../../crypto/identity/address.ts";
import type { Answer } from "./answer.ts";
import { NODE_OPTIONS, type Command } from "./command.ts";
import { openClient, timeText, verificationJson } from "./client.ts";
import type { Invocation } from "./invocation.ts";
import type { Verified } from "../rpc/client.ts";
import type { Header } from "../../chain/block/block.ts";

/** `pyralog status`. */
export const STATUS_COMMAND: Command = {
  name: "status",
  summary: "how far a node is, its peers, and its verified head",
  options: NODE_OPTIONS,
  examples: ["pyralog status", "pyralog status --node http://127.0.0.1:26681 --network ./network.json --json"],
  run: async (invocation) => showStatus(invocation),
};

async function showStatus(invocation: Invocation): Promise<Answer> {
  const { signal } = invocation;
  const client = await openClient(invocation);
  const claimed = await client.claimedNodeStatus({ signal });
  const peers = await client.claimedPeers({ signal });
  const head = await verifiedHead(() => client.head({ signal }));
  const stateRoot = head === undefined ? null : toHex(head.value.stateRoot);
  const validator = claimed.validator === null ? null : formatAddress(claimed.validator);
  return {
    json: {
      url: client.url,
      head:
        head === undefined
          ? null
          : { height: head.value.height, stateRoot, timeMs: head.value.timeMs, verified: verificationJson(head.verified) },
      claimed: {
        ...claimed,
        validator,
        networkHash: toHex(claimed.networkHash),
        mempool: { ...claimed.mempool },
        peers: peers.map((peer) => ({ ...peer })),
      },
    },
    text: [
      `${client.url}  ${claimed.chainId}`,
      head === undefined
        ? "head      none yet"
        : `head      ${head.value.height} of ${timeText(head.value.timeMs)}, verified by its certificate`,
      ...(head === undefined ? [] : [`state     ${stateRoot}`]),
      "By its own word:",
      ...(claimed.attention === undefined ? [] : [`  NEEDS YOU ${attentionText(claimed.attention)}`]),
      `  version   ${claimed.version}`,
      `  role      ${validator === null ? "follows" : `validates as ${validator}`}`,
      `  progress  ${claimed.syncing ? `syncing, ${claimed.height} of ${claimed.targetHeight}` : `up to date at ${claimed.height}`}`,
      `  mempool   ${claimed.mempool.transactions} transactions, ${claimed.mempool.sizeBytes} bytes`,
      `  native    ${claimed.backends["native"] ?? "unknown"}; Ed25519 by ${claimed.backends["ed25519"] ?? "unknown"}`,
      `  peers     ${peers.length}`,
      ...peers.map((peer) => `    ${peer.address}  height ${peer.height}  ${peer.direction}  score ${peer.score}`),
    ].join("\n"),
  };
}

function attentionText({ code, height }: { readonly code: "sign_unknown" | "pow_split"; readonly height: bigint }): string {
  switch (code) {
    case "sign_unknown":
      return `nothing is decided without this validator, which may have signed what it does not remember: bring back its newest home, or start with --vouch ${height}`;
    case "pow_split":
      return `a heavier chain forks below what is settled here: stop, pyralog rollback --to ${height}, start`;
    default:
      return unreachable(code);
  }
}

/** Before the first block there is nothing to verify, and that is no failure. */
async function verifiedHead(ask: () => Promise<Verified<Header>>): Promise<Verified<Header> | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (codeOf(error) === "height_none") return undefined;
    throw error;
  }
}
