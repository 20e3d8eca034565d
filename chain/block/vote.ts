/** Votes, proposals and commit certificates of the voting engines: what validators sign and what it proves. */

import type { Hash } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { Height } from "./height.ts";

/** The two votes of a round. */
export type VoteStep = "prevote" | "precommit";

/** A validator's word for a block, or for none of them (nil: `blockHash` undefined). */
export type Vote = {
  readonly step: VoteStep;
  readonly height: Height;
  /** `0 <= round < 2^31`. */
  readonly round: number;
  readonly blockHash: Hash | undefined;
  /** The address of the validator's key. */
  readonly validator: Address;
  readonly signature: Uint8Array;
};

/** A proposer's word that this block is its candidate for a round. */
export type Proposal = {
  readonly height: Height;
  readonly round: number;
  readonly blockHash: Hash;
  /** The round in which the proposer saw more than 2/3 prevotes for this block, or -1. */
  readonly validRound: number;
  readonly validator: Address;
  readonly signature: Uint8Array;
};

/** More than 2/3 of the power of one validator set precommitted this block in one round. */
export type Certificate = {
  readonly height: Height;
  readonly round: number;
  readonly blockHash: Hash;
  /** In the order of the validator set, each validator at most once. */
  readonly signatures: readonly { readonly validator: Address; readonly signature: Uint8Array }[];
};
