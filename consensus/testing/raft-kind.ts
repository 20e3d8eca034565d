/** Raft as the test network and the conformance suite see it. */

import type { RaftProtocol } from "../../chain/block/protocol.ts";
import { RaftEngine } from "../raft/engine.ts";
import { encodeWireMessage, noteSigningBytes, parseWireMessage, type RaftWireMessage } from "../raft/message.ts";
import type { EngineKind } from "./network.ts";
import { CHAIN_ID } from "./world.ts";

/** Short ticks, so that many elections fit a test. An election waits longer than the slowest packet of a calm network takes. */
export const TEST_PROTOCOL: RaftProtocol = { name: "raft", tickMs: 50, heartbeatTicks: 1, electionTicks: 5 };

/** Raft under test. Its nodes crash, are cut off and fall silent, and do not lie. */
export const RAFT: EngineKind<RaftWireMessage> = {
  create: (self) => new RaftEngine({ chainId: CHAIN_ID, self, protocol: TEST_PROTOCOL }),
  encode: encodeWireMessage,
  parse: parseWireMessage,
  heightOf: (message) => (message.kind === "vote" ? message.vote.height : undefined),
  statementOf: (message) =>
    message.kind === "vote"
      ? { what: { kind: "vote", vote: message.vote }, signature: message.vote.signature }
      : {
          what: { kind: "statement", validator: message.from, bytes: noteSigningBytes(CHAIN_ID, message) },
          signature: message.signature,
        },
  twist: (_world, message) => message,
  isContinuous: true,
  rule: "majority",
  isForHonest: true,
};
