/**
 * A chain of headers and certificates alone, as long as one likes: real hashes, sets and signatures over states that
 * nobody executed. For what reads headers and nothing below them.
 */

import { present } from "../../../crypto/base/assert.ts";
import { type Hash, ZERO_HASH } from "../../../crypto/hash/hash.ts";
import { encodeHeader, evidenceRoot, type Header, headerHash, transactionsRoot } from "../../../chain/block/block.ts";
import { genesisValidators, type NetworkFile, networkHash } from "../../../chain/block/genesis.ts";
import { heightOf } from "../../../chain/block/height.ts";
import { hashAt, keyPairAt, networkOf, voteOf } from "../../../chain/block/testing/fixtures.ts";
import { encodeMembers, type ValidatorSet, validatorSetOf, validatorsHash } from "../../../chain/block/validators.ts";
import { certificateHash, encodeCertificate, type QuorumCertificate } from "../../../chain/block/vote.ts";
import type { Anchor } from "../anchor.ts";
import type { LightBlock } from "../trust.ts";
import type { SetChange } from "../verifier.ts";

/** Who validates a height: numbers of key pairs, each with power 1. */
export type Members = (height: bigint) => readonly number[];

/** A set of these key pairs. */
export function membersOf(members: readonly number[]): ValidatorSet {
  return validatorSetOf(members.map((index) => ({ key: keyPairAt(index).publicKey, power: 1n })));
}

/** Certifies a header as these key pairs would. */
export function certify(header: Header, signers: readonly number[], round = 0): QuorumCertificate {
  const blockHash = headerHash(header);
  const { height } = header;
  const votes = signers.map((signer) => voteOf(signer, { height, round, blockHash }, header.chainId));
  const members = membersOf(signers).validators;
  const signatures = members.map(({ address }) => {
    const { validator, signature } = present(
      votes.find((vote) => vote.validator.every((byte, index) => byte === address[index])),
      "vote",
    );
    return { validator, signature };
  });
  return { kind: "quorum", height, round, blockHash, signatures };
}

/** The anchor of a header that these key pairs certified. */
export function anchorOf(header: Header, signers: readonly number[], round = 0): Anchor {
  return { header: encodeHeader(header), certificate: encodeCertificate(certify(header, signers, round)) };
}

/** See the file's head. Headers are made as they are asked for; certificates only for those that are. */
export class HeaderChain {
  readonly network: NetworkFile;
  readonly #members: Members;
  readonly #headers: Header[] = [];
  readonly #sets = new Map<string, { readonly set: ValidatorSet; readonly hash: Hash; readonly bytes: Uint8Array }>();

  /** `members(h)` decides height h; the same arrays for the same sets make it fast. Blocks are a second apart. */
  constructor(members: Members) {
    this.#members = members;
    this.network = networkOf({ powers: [1n], parameters: { dev: true } });
    this.network = {
      ...this.network,
      validators: members(1n).map((index) => ({ key: keyPairAt(index).publicKey, power: 1n })),
    };
    genesisValidators(this.network);
  }

  header(height: bigint): Header {
    while (BigInt(this.#headers.length) < height) this.#headers.push(this.#next(BigInt(this.#headers.length) + 1n));
    return present(this.#headers[Number(height) - 1], `header ${height}`);
  }

  anchor(height: bigint): Anchor {
    return anchorOf(this.header(height), this.#members(height));
  }

  lightBlock(height: bigint): LightBlock {
    const [own, next] = [this.#set(height), this.#set(height + 1n)];
    return { anchor: this.anchor(height), validators: own.bytes, nextValidators: next.bytes };
  }

  /** The changes of the set below a height. */
  changes(below: bigint): SetChange[] {
    const changes: SetChange[] = [];
    for (let height = 1n; height < below; height += 1n) {
      const { validatorsHash: own, nextValidatorsHash: next } = this.header(height);
      if (own.some((byte, index) => byte !== next[index]))
        changes.push({ anchor: this.anchor(height), validators: this.#set(height + 1n).bytes });
    }
    return changes;
  }

  #set(height: bigint): { readonly set: ValidatorSet; readonly hash: Hash; readonly bytes: Uint8Array } {
    const members = this.#members(height);
    const name = members.join();
    let found = this.#sets.get(name);
    if (found === undefined) {
      const set = membersOf(members);
      found = { set, hash: validatorsHash(set), bytes: encodeMembers(set) };
      this.#sets.set(name, found);
    }
    return found;
  }

  #next(height: bigint): Header {
    const before = this.#headers.at(-1);
    const { set, hash } = this.#set(height);
    return {
      chainId: this.network.chainId,
      height: heightOf(height),
      timeMs: this.network.genesisTimeMs + height * 1_000n,
      previous: before === undefined ? networkHash(this.network) : headerHash(before),
      historyRoot: hashAt(1),
      transactionsRoot: transactionsRoot([]),
      stateRoot: hashAt(Number(height % 65_536n)),
      resultsRoot: transactionsRoot([]),
      validatorsHash: hash,
      nextValidatorsHash: this.#set(height + 1n).hash,
      // What headers commit to of certificates, nothing that follows headers alone looks at.
      certificateHash:
        before === undefined ? ZERO_HASH : certificateHash({ ...EMPTY_CERTIFICATE, blockHash: headerHash(before) }),
      evidenceRoot: evidenceRoot([]),
      proposer: present(set.validators[0], "proposer").address,
    };
  }
}

const EMPTY_CERTIFICATE = { kind: "quorum", height: heightOf(1n), round: 0, signatures: [] } as const;
