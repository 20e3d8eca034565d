/** What a driver must know of Raft's messages. */

import { toHex } from "../../crypto/base/bytes.ts";
import { voteSigningBytes } from "../../chain/block/vote.ts";
import type { Codec, MessageFacts, SignedPart } from "../engine.ts";
import { blockOf, encodeWireMessage, noteSigningBytes, parseWireMessage, type RaftWireMessage } from "./message.ts";

/** See the file's head. Votes are about a height; notes are about the log, which knows none. */
export const RAFT_CODEC: Codec<RaftWireMessage> = {
  encode: encodeWireMessage,
  parse: (bytes) => parseWireMessage(bytes),
  // Entries go to one peer at a time, and may hold several blocks.
  blockOf: () => undefined,
  describe,
  signedParts: (chainId, message) => [signedPartOf(chainId, message)],
  wordOf: (message) => (message.kind === "vote" ? message.vote : undefined),
  mayCome: () => true,
};

function describe(message: RaftWireMessage): MessageFacts {
  if (message.kind === "vote") {
    const { height, round, validator, blockHash } = message.vote;
    const statement = `precommit/${round}/${blockHash === undefined ? "" : toHex(blockHash)}`;
    return { height, round, signer: validator, statement, hasBlock: false };
  }
  const { from, number, note } = message;
  const hasBlock = note.kind === "append" && note.entries.some((entry) => blockOf(entry) !== undefined);
  return {
    height: undefined,
    round: Number(note.term),
    signer: from,
    statement: `note/${note.kind}/${note.term}/${number}`,
    hasBlock,
  };
}

function signedPartOf(chainId: string, message: RaftWireMessage): SignedPart {
  if (message.kind === "vote") {
    const { vote } = message;
    return { validator: vote.validator, bytes: voteSigningBytes(chainId, vote), signature: vote.signature };
  }
  return { validator: message.from, bytes: noteSigningBytes(chainId, message), signature: message.signature };
}
