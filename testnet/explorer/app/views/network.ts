/** The gateway and its peers, as the gateway tells it. */

import { h } from "../dom.ts";
import { counted, grouped, shortened, sizeText } from "../format.ts";
import { addressFull, card, copyButton, dataTable, facts, moment, type View, type ViewContext } from "../parts.ts";
import { peerMap } from "../plots.ts";

const PEERS_DRAWN_MAX = 24;

/** See the file's head. */
export function networkView(context: ViewContext): View {
  const { session } = context;
  return {
    title: "Network",
    content: [
      card(context, {
        title: "Peers",
        what: "the gateway's peers",
        load: async (signal) => {
          const [status, peers] = await Promise.all([
            session.client.claimedNodeStatus({ signal }),
            session.client.claimedPeers({ signal }),
          ]);
          return {
            value: { status, peers },
            claimed:
              "Whom a node is connected to is its own word. Nothing of it can be proven, and nothing else here depends on it.",
          };
        },
        show: ({ status, peers }) => [
          peerMap(
            shortened(status.peerId, [0, 6]),
            peers.slice(0, PEERS_DRAWN_MAX).map(({ peerId, address, direction, height }) => ({
              name: shortened(peerId, [0, 6]),
              isOutbound: direction === "outbound",
              isBehind: height + 2n < status.height,
              detail: `${address}, height ${height}`,
            })),
          ),
          dataTable({
            caption: "Peers",
            head: ["Peer", "Address", "Direction", "Height", "Score"],
            numeric: [3, 4],
            empty: "This node has no peers.",
            rows: peers.map(({ peerId, address, direction, height, score }) => [
              h("code", { title: peerId }, shortened(peerId, [6, 8])),
              h("code", {}, address),
              direction,
              grouped(height),
              score.toFixed(1),
            ]),
          }),
        ],
      }),
      card(context, {
        title: "The node itself",
        what: "the gateway's status",
        load: async (signal) => ({
          value: await session.client.claimedNodeStatus({ signal }),
          claimed: "What the node says of itself.",
        }),
        show: (status) =>
          facts(
            ["Version", status.version],
            [
              "Peer id",
              h("span", { class: "copyable" }, h("code", { class: "wrap" }, status.peerId), copyButton(status.peerId, "peer id")),
            ],
            ["Votes as", status.validator === null ? "nobody: it follows" : addressFull(status.validator)],
            ["Height", `${grouped(status.height)}${status.syncing ? `, catching up to ${grouped(status.targetHeight)}` : ""}`],
            ["Oldest state", grouped(status.oldestStateHeight)],
            [
              "Waiting transactions",
              `${counted(status.mempool.transactions, "transaction")}, ${sizeText(status.mempool.sizeBytes)}`,
            ],
            ["Started", moment(status.startedAtMs)],
          ),
      }),
    ],
  };
}
