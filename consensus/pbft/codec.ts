/** PBFT messages as a driver sees them. */

import { unreachable } from "../../crypto/base/assert.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import type { Height } from "../../chain/block/height.ts";
import {
  type CertificateSignature,
  type Proposal,
  proposalSigningBytes,
  type Vote,
  voteSigningBytes,
} from "../../chain/block/vote.ts";
import type { Codec, SignedPart } from "../engine.ts";
import {
  blockOfMessage,
  encodeMessage,
  heightOfMessage,
  parseMessage,
  type PbftMessage,
  type PreparedClaim,
  preparesOf,
  type ViewChange,
  viewChangeSigningBytes,
  viewOfMessage,
} from "./message.ts";
import { mayCome } from "./rules.ts";

/** The chain id is not part of what tells two statements of one chain apart. */
const ANY_CHAIN = "";

/** The codec of PBFT. */
export const PBFT_CODEC: Codec<PbftMessage> = {
  encode: encodeMessage,
  parse: parseMessage,
  blockOf: blockOfMessage,
  describe: (message) => {
    const { validator, bytes } = wordPart(ANY_CHAIN, message);
    return {
      height: heightOfMessage(message),
      round: viewOfMessage(message),
      signer: validator,
      statement: toHex(bytes),
      hasBlock: blockOfMessage(message) !== undefined,
      leads: message.kind === "viewChange" || message.kind === "newView",
    };
  },
  signedParts: (chainId, message) => [wordPart(chainId, message), ...proofParts(chainId, message)],
  wordOf: (message) => {
    if (message.kind === "viewChange") return undefined;
    return message.kind === "vote" ? message.vote : message.proposal;
  },
  mayCome,
};

/** What the signer itself says. */
function wordPart(chainId: string, message: PbftMessage): SignedPart {
  switch (message.kind) {
    case "vote":
      return votePart(chainId, message.vote);
    case "prePrepare":
    case "newView":
      return proposalPart(chainId, message.proposal);
    case "viewChange":
      return viewChangePart(chainId, message.viewChange);
    default:
      return unreachable(message);
  }
}

/** What others said, on which it stands. */
function proofParts(chainId: string, message: PbftMessage): readonly SignedPart[] {
  switch (message.kind) {
    case "vote":
    case "prePrepare":
      return [];
    case "viewChange": {
      const { viewChange, proof } = message;
      if (viewChange.prepared === undefined || proof === undefined) return [];
      return prepareParts(chainId, viewChange.height, viewChange.prepared, proof.prepares);
    }
    case "newView": {
      const { proposal, viewChanges, prepares } = message;
      const claim = { view: proposal.validRound, blockHash: proposal.blockHash };
      const changes = viewChanges.map((change) => viewChangePart(chainId, change));
      return [...changes, ...prepareParts(chainId, proposal.height, claim, prepares)];
    }
    default:
      return unreachable(message);
  }
}

function votePart(chainId: string, vote: Vote): SignedPart {
  return { validator: vote.validator, bytes: voteSigningBytes(chainId, vote), signature: vote.signature };
}

function proposalPart(chainId: string, proposal: Proposal): SignedPart {
  return { validator: proposal.validator, bytes: proposalSigningBytes(chainId, proposal), signature: proposal.signature };
}

function viewChangePart(chainId: string, change: ViewChange): SignedPart {
  return { validator: change.validator, bytes: viewChangeSigningBytes(chainId, change), signature: change.signature };
}

function prepareParts(
  chainId: string,
  height: Height,
  claim: PreparedClaim,
  signatures: readonly CertificateSignature[],
): readonly SignedPart[] {
  return preparesOf(height, claim, signatures).map((vote) => votePart(chainId, vote));
}
