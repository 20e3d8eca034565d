/** What a driver must know of Tendermint's messages. */

import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import { proposerAt } from "../../chain/block/validators.ts";
import { proposalSigningBytes, voteSigningBytes } from "../../chain/block/vote.ts";
import type { Codec, MessageFacts, SignedPart } from "../engine.ts";
import { type ConsensusMessage, encodeMessage, parseMessage } from "./message.ts";

/** See the file's head. Also what stake-weighted Tendermint speaks. */
export const TENDERMINT_CODEC: Codec<ConsensusMessage> = {
  encode: encodeMessage,
  parse: parseMessage,
  blockOf: (message) => (message.kind === "proposal" ? message.block : undefined),
  describe,
  signedParts: (chainId, message) => [signedPartOf(chainId, message)],
  wordOf: (message) => (message.kind === "proposal" ? message.proposal : message.vote),
  mayCome: (message, validators) =>
    message.kind === "vote" || bytesEqual(message.proposal.validator, proposerAt(validators, message.proposal.round).address),
};

function describe(message: ConsensusMessage): MessageFacts {
  if (message.kind === "proposal") {
    const { height, round, validRound, validator, blockHash } = message.proposal;
    const statement = `proposal/${round}/${validRound}/${toHex(blockHash)}`;
    return { height, round, signer: validator, statement, hasBlock: true };
  }
  const { height, round, step, validator, blockHash } = message.vote;
  const statement = `${step}/${round}/${blockHash === undefined ? "" : toHex(blockHash)}`;
  return { height, round, signer: validator, statement, hasBlock: false };
}

function signedPartOf(chainId: string, message: ConsensusMessage): SignedPart {
  const { validator, signature } = message.kind === "proposal" ? message.proposal : message.vote;
  const bytes =
    message.kind === "proposal" ? proposalSigningBytes(chainId, message.proposal) : voteSigningBytes(chainId, message.vote);
  return { validator, bytes, signature };
}
