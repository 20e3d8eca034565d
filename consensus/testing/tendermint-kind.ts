/** Tendermint as the test network and the conformance suite see it. */

import { heightOf } from "../../chain/block/height.ts";
import { TendermintEngine, type TendermintParameters } from "../tendermint/engine.ts";
import { type ConsensusMessage, encodeMessage, heightOfMessage, parseMessage } from "../tendermint/message.ts";
import type { EngineKind } from "./network.ts";
import type { Random } from "./random.ts";
import { CHAIN_ID, testBlock, type World } from "./world.ts";

/** Short timeouts, so that many rounds fit a test. */
export const TEST_PARAMETERS: TendermintParameters = {
  timeoutProposeMs: 300,
  timeoutPrevoteMs: 100,
  timeoutPrecommitMs: 100,
  timeoutGrowthMs: 50,
};

/** Tendermint under test. */
export const TENDERMINT: EngineKind<ConsensusMessage> = {
  create: (self) => new TendermintEngine({ chainId: CHAIN_ID, self, parameters: TEST_PARAMETERS }),
  encode: encodeMessage,
  parse: parseMessage,
  heightOf: heightOfMessage,
  statementOf: (message) =>
    message.kind === "vote"
      ? { what: { kind: "vote", vote: message.vote }, signature: message.vote.signature }
      : { what: { kind: "proposal", proposal: message.proposal }, signature: message.proposal.signature },
  twist,
};

/** A vote for nil in place of a block or for some other block; a proposal of another block. */
function twist(world: World, message: ConsensusMessage, random: Random): ConsensusMessage {
  if (message.kind === "vote") {
    const { vote } = message;
    const other = twin(vote.height, vote.round, vote.validator).hash;
    return { kind: "vote", vote: world.vote({ ...vote, blockHash: random.happens(500) ? other : undefined }) };
  }
  const { proposal } = message;
  const block = twin(proposal.height, proposal.round, proposal.validator);
  return { kind: "proposal", proposal: world.proposal({ ...proposal, blockHash: block.hash, validRound: -1 }), block };
}

/** The same other block each time, so that an equivocator's lies agree with one another. */
function twin(
  height: bigint,
  round: number,
  proposer: Parameters<typeof testBlock>[0]["proposer"],
): ReturnType<typeof testBlock> {
  return testBlock({ height: heightOf(height), label: `twin ${round}`, proposer });
}
