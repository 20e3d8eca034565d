/**
 * A small world for tests of engines: validators with names, real block values, and signatures that cost a hash.
 *
 * Engines hold no keys, so a keyed hash in place of a signature changes nothing for them: whoever is not the named
 * validator's signer in this world cannot make it, and any change of what was said makes it wrong.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual, compareBytes, concatBytes, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { type Hash, hash, ZERO_HASH } from "../../crypto/hash/hash.ts";
import { type Address, addressOfKey } from "../../crypto/identity/address.ts";
import type { PublicKey } from "../../crypto/sign/key.ts";
import { assembleBlock, type Block } from "../../chain/block/block.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { isQuorumOf, type QuorumRule } from "../../chain/block/protocol.ts";
import { validatorSetOf, type ValidatorSet, validatorsHash } from "../../chain/block/validators.ts";
import { type Certificate, type Proposal, proposalSigningBytes, type Vote, voteSigningBytes } from "../../chain/block/vote.ts";
import type { SignedPart, Unsigned } from "../engine.ts";

/** The network that every test is about. */
export const CHAIN_ID = "engine-test";

/** What a state root says of a block that no honest node may accept. */
const STATE_ROOT_INVALID: Hash = hash("stateValue", utf8("invalid"));
const STATE_ROOT_VALID: Hash = hash("stateValue", utf8("valid"));

/** A named validator. */
export type Member = { readonly name: string; readonly address: Address; readonly key: PublicKey; readonly power: bigint };

/** Validators `v1`, `v2`, ... in the order of their addresses, which is the order of equal turns to propose. */
export class World {
  readonly members: readonly Member[];
  readonly set: ValidatorSet;
  readonly #names = new Map<string, string>();

  constructor(powers: readonly bigint[]) {
    const keys = powers.map((_, index): PublicKey => ({ type: "ed25519", bytes: hash("stateValue", utf8(`key ${index}`)) }));
    keys.sort((a, b) => compareBytes(addressOfKey(a), addressOfKey(b)));
    this.members = keys.map((key, index) => ({
      name: `v${index + 1}`,
      address: addressOfKey(key),
      key,
      power: present(powers[index], "power"),
    }));
    this.set = validatorSetOf(this.members);
    for (const { name, address } of this.members) this.#names.set(toHex(address), name);
  }

  /** The member called this. */
  member(name: string): Member {
    return present(
      this.members.find((member) => member.name === name),
      `validator ${name}`,
    );
  }

  /** What the member with this address is called. */
  nameOf(address: Address): string {
    return this.#names.get(toHex(address)) ?? "nobody";
  }

  /** Signs in the validator's name. */
  sign(what: Unsigned): Uint8Array {
    if (what.kind === "statement") return keyed(what.validator, what.bytes);
    return what.kind === "vote"
      ? keyed(what.vote.validator, voteSigningBytes(CHAIN_ID, what.vote))
      : keyed(what.proposal.validator, proposalSigningBytes(CHAIN_ID, what.proposal));
  }

  /** A vote as an honest member would sign it. */
  vote(vote: Omit<Vote, "signature">): Vote {
    return { ...vote, signature: this.sign({ kind: "vote", vote }) };
  }

  /** A proposal as an honest member would sign it. */
  proposal(proposal: Omit<Proposal, "signature">): Proposal {
    return { ...proposal, signature: this.sign({ kind: "proposal", proposal }) };
  }

  /** Whether a vote is signed by a member. */
  isVote(vote: Vote): boolean {
    return bytesEqual(vote.signature, keyed(vote.validator, voteSigningBytes(CHAIN_ID, vote)));
  }

  /** Whether a proposal is signed by a member. */
  isProposal(proposal: Proposal): boolean {
    return bytesEqual(proposal.signature, keyed(proposal.validator, proposalSigningBytes(CHAIN_ID, proposal)));
  }

  /** Whether one part of a message is signed by whom it names. */
  isSigned({ validator, bytes, signature }: SignedPart): boolean {
    return bytesEqual(signature, keyed(validator, bytes));
  }

  /** Why a certificate proves nothing; undefined when it proves its block final. */
  whyNot(certificate: Certificate, rule: QuorumRule = "twoThirds"): string | undefined {
    if (certificate.kind !== "quorum") return "no quorum";
    const { height, round, blockHash } = certificate;
    let power = 0n;
    let previous: Address | undefined;
    for (const { validator, signature } of certificate.signatures) {
      if (previous !== undefined && compareBytes(previous, validator) >= 0) return "signatures out of order";
      previous = validator;
      const member = this.set.validators.find(({ address }) => bytesEqual(address, validator));
      if (member === undefined) return "a stranger signed";
      if (!this.isVote({ step: "precommit", height, round, blockHash, validator, signature })) return "a signature is wrong";
      power += member.power;
    }
    return isQuorumOf(rule, power, this.set.totalPower) ? undefined : `power ${power} of ${this.set.totalPower}`;
  }
}

function keyed(validator: Address, message: Uint8Array): Uint8Array {
  return hash("address", concatBytes(validator, message));
}

/** What a test block is made of. `label` tells blocks of one height apart. */
export type BlockOptions = {
  readonly height: Height;
  readonly label: string;
  readonly proposer: Address;
  readonly previous?: Block | undefined;
  readonly isInvalid?: boolean;
  /** Who decides it, for whoever reads the header; nobody when absent. */
  readonly validators?: ValidatorSet;
};

/** A block without transactions. */
export function testBlock(options: BlockOptions): Block {
  const { height, label, proposer, previous } = options;
  assert(previous === undefined || previous.header.height === heightOf(height - 1n), "the block before is of the height before");
  return assembleBlock({
    chainId: CHAIN_ID,
    height,
    timeMs: height,
    previous: previous?.hash ?? ZERO_HASH,
    historyRoot: hash("stateValue", utf8(label)),
    stateRoot: options.isInvalid === true ? STATE_ROOT_INVALID : STATE_ROOT_VALID,
    validatorsHash: options.validators === undefined ? ZERO_HASH : validatorsHash(options.validators),
    nextValidatorsHash: ZERO_HASH,
    proposer,
    transactions: [],
    results: [],
    previousCertificate: undefined,
    evidence: [],
  });
}

/** What the chain of this world says of a block on top of `previous`. */
export function judge(block: Block, previous: Block | undefined): boolean {
  return bytesEqual(block.header.previous, previous?.hash ?? ZERO_HASH) && bytesEqual(block.header.stateRoot, STATE_ROOT_VALID);
}
