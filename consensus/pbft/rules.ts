/**
 * Who may say what: everything that can be told of a message from the validator set alone, signatures aside.
 *
 * This is where a new-view is recomputed. Every backup does it (Castro and Liskov 1999, section 4.4: "a backup accepts a
 * new-view message if it is signed properly, if the view-change messages it contains are valid, and if the set O is
 * correct"), and nobody takes the new primary's word for what follows from the view-changes.
 */

import { unreachable } from "../../crypto/base/assert.ts";
import { bytesEqual, compareBytes } from "../../crypto/base/bytes.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { Header } from "../../chain/block/block.ts";
import { findValidator, type ValidatorSet } from "../../chain/block/validators.ts";
import type { Proposal } from "../../chain/block/vote.ts";
import { isQuorum } from "../quorum/threshold.ts";
import type { NewViewMessage, PbftMessage, PreparedClaim, PrePrepareMessage, ViewChange, ViewChangeMessage } from "./message.ts";
import { primaryOf } from "./primary.ts";

/** The header before a height: undefined at height 1, "undecided" while we have not got it. */
export type Parent = Header | undefined | "undecided";

/** Whether the signer of this message may say it. What is left to check are its signatures. */
export function mayCome(message: PbftMessage, validators: ValidatorSet, parent: Parent): boolean {
  switch (message.kind) {
    case "vote":
      // There is no vote for nothing: whoever is not content with a view asks for another one.
      return message.vote.blockHash !== undefined && isMember(validators, message.vote.validator);
    case "prePrepare":
      return message.proposal.round === 0 && isPrimary(validators, parent, message.proposal) && hasNamedBlock(message);
    case "viewChange":
      return isViewChange(message, validators);
    case "newView":
      return isNewView(message, validators, parent);
    default:
      return unreachable(message);
  }
}

/** What the view-changes of a new-view leave its primary to pre-prepare: the claim of the highest view, or a free choice. */
export function impliedBy(viewChanges: readonly ViewChange[]): PreparedClaim | undefined {
  let highest: PreparedClaim | undefined;
  for (const { prepared } of viewChanges) {
    if (prepared !== undefined && (highest === undefined || prepared.view > highest.view)) highest = prepared;
  }
  return highest;
}

/** Whether these are distinct members, in the order of the set, with more than 2/3 of its power. */
export function isQuorumOfSigners(validators: ValidatorSet, signers: readonly Address[]): boolean {
  let power = 0n;
  let previous: Address | undefined;
  for (const signer of signers) {
    // The set is sorted by address, so ascending addresses are both its order and distinct.
    if (previous !== undefined && compareBytes(previous, signer) >= 0) return false;
    previous = signer;
    const member = findValidator(validators, signer);
    if (member === undefined) return false;
    power += member.power;
  }
  return isQuorum(power, validators.totalPower);
}

function isViewChange({ viewChange, proof }: ViewChangeMessage, validators: ValidatorSet): boolean {
  const { height, view, prepared, validator } = viewChange;
  if (view < 1 || !isMember(validators, validator)) return false;
  if (prepared === undefined || proof === undefined) return prepared === undefined && proof === undefined;
  const { block, prepares } = proof;
  if (prepared.view >= view || !bytesEqual(block.hash, prepared.blockHash) || block.header.height !== height) return false;
  return isQuorumOfSigners(validators, signersOf(prepares));
}

function isNewView(message: NewViewMessage, validators: ValidatorSet, parent: Parent): boolean {
  const { proposal, viewChanges, prepares } = message;
  const { height, round: view } = proposal;
  if (view < 1 || !isPrimary(validators, parent, proposal) || !hasNamedBlock(message)) return false;
  if (!viewChanges.every((change) => change.height === height && change.view === view)) return false;
  if (!isQuorumOfSigners(validators, signersOf(viewChanges))) return false;
  const implied = impliedBy(viewChanges);
  if (implied === undefined) return proposal.validRound === -1 && prepares.length === 0;
  if (implied.view >= view || proposal.validRound !== implied.view || !bytesEqual(proposal.blockHash, implied.blockHash))
    return false;
  // A claim of the same view for another block cannot have been proved to an honest primary.
  const isOneBlock = viewChanges.every(
    ({ prepared }) => prepared?.view !== implied.view || bytesEqual(prepared.blockHash, implied.blockHash),
  );
  return isOneBlock && isQuorumOfSigners(validators, signersOf(prepares));
}

function isMember(validators: ValidatorSet, address: Address): boolean {
  return findValidator(validators, address) !== undefined;
}

function isPrimary(validators: ValidatorSet, parent: Parent, { validator, round }: Proposal): boolean {
  if (parent === "undecided") return isMember(validators, validator);
  return bytesEqual(validator, primaryOf(validators, parent, round).address);
}

function hasNamedBlock({ proposal, block }: PrePrepareMessage | NewViewMessage): boolean {
  return bytesEqual(proposal.blockHash, block.hash) && block.header.height === proposal.height;
}

function signersOf(signed: readonly { readonly validator: Address }[]): readonly Address[] {
  return signed.map(({ validator }) => validator);
}
