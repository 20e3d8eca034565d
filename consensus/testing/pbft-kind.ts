/** PBFT as the test network and the conformance suite see it. */

import { unreachable } from "../../crypto/base/assert.ts";
import { heightOf } from "../../chain/block/height.ts";
import type { PbftProtocol } from "../../chain/block/protocol.ts";
import type { Proposal } from "../../chain/block/vote.ts";
import type { Unsigned } from "../engine.ts";
import { PBFT_CODEC } from "../pbft/codec.ts";
import { PbftEngine } from "../pbft/engine.ts";
import {
  encodeMessage,
  heightOfMessage,
  parseMessage,
  type PbftMessage,
  type ViewChange,
  viewChangeSigningBytes,
} from "../pbft/message.ts";
import type { EngineKind } from "./network.ts";
import type { Random } from "./random.ts";
import { CHAIN_ID, testBlock, type World } from "./world.ts";

/** Short timeouts, so that many views fit a test. */
export const TEST_PROTOCOL: PbftProtocol = { name: "pbft", viewTimeoutMs: 500, viewTimeoutMsMax: 4000 };

/** PBFT under test. */
export const PBFT: EngineKind<PbftMessage> = {
  create: (self) => new PbftEngine({ chainId: CHAIN_ID, self, protocol: TEST_PROTOCOL }),
  encode: encodeMessage,
  parse: parseMessage,
  heightOf: heightOfMessage,
  statementOf,
  signedParts: (message) => PBFT_CODEC.signedParts(CHAIN_ID, message),
  twist,
};

/** A view-change as its validator would sign it. */
export function signedChange(world: World, change: Omit<ViewChange, "signature">): ViewChange {
  const bytes = viewChangeSigningBytes(CHAIN_ID, change);
  return { ...change, signature: world.sign({ kind: "statement", validator: change.validator, bytes }) };
}

function statementOf(message: PbftMessage): { readonly what: Unsigned; readonly signature: Uint8Array } {
  switch (message.kind) {
    case "vote":
      return { what: { kind: "vote", vote: message.vote }, signature: message.vote.signature };
    case "prePrepare":
    case "newView":
      return { what: { kind: "proposal", proposal: message.proposal }, signature: message.proposal.signature };
    case "viewChange": {
      const { viewChange } = message;
      const bytes = viewChangeSigningBytes(CHAIN_ID, viewChange);
      return { what: { kind: "statement", validator: viewChange.validator, bytes }, signature: viewChange.signature };
    }
    default:
      return unreachable(message);
  }
}

/**
 * Another word in the place of an honest one: a vote for another block, a pre-prepare of another block (in a new-view:
 * whether that follows from it or not), a view-change that has forgotten what was prepared or asks for a later view.
 */
function twist(world: World, message: PbftMessage, random: Random): PbftMessage {
  switch (message.kind) {
    case "vote": {
      const { vote } = message;
      return { kind: "vote", vote: world.vote({ ...vote, blockHash: twin(vote.height, vote.round, vote.validator).hash }) };
    }
    case "viewChange": {
      const { viewChange } = message;
      const view = viewChange.view + random.between(0, 3);
      return {
        kind: "viewChange",
        viewChange: signedChange(world, { ...viewChange, view, prepared: undefined }),
        proof: undefined,
      };
    }
    case "prePrepare":
    case "newView": {
      const { proposal } = message;
      const block = twin(proposal.height, proposal.round, proposal.validator);
      return { ...message, proposal: world.proposal({ ...proposal, blockHash: block.hash }), block };
    }
    default:
      return unreachable(message);
  }
}

/** The same other block each time, so that an equivocator's lies agree with one another. */
function twin(height: bigint, round: number, proposer: Proposal["validator"]): ReturnType<typeof testBlock> {
  return testBlock({ height: heightOf(height), label: `twin ${round}`, proposer });
}
