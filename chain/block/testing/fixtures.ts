/** Keys, networks, votes and certificates for tests: real ones, made from small numbers. */

import { assert, present } from "../../../crypto/base/assert.ts";
import { type Hash, hash } from "../../../crypto/hash/hash.ts";
import { addressOfKey } from "../../../crypto/identity/address.ts";
import { type KeyPair, keyPairFromSeed, type KeyType } from "../../../crypto/sign/key.ts";
import { type NetworkFile, type Parameters, PARAMETERS_DEFAULT } from "../genesis.ts";
import { heightOf } from "../height.ts";
import { PROTOCOL_DEFAULTS } from "../protocol.ts";
import { findValidator, type ValidatorSet, validatorSetOf } from "../validators.ts";
import {
  type Certificate,
  type Proposal,
  proposalSigningBytes,
  type QuorumCertificate,
  type Vote,
  voteSigningBytes,
} from "../vote.ts";

export const CHAIN_ID = "pyra-test";

const keyPairs = new Map<string, KeyPair>();

/** The key pair number `index`, the same in every run. */
export function keyPairAt(index: number, type: KeyType = "ed25519"): KeyPair {
  const name = `${type} ${index}`;
  let keyPair = keyPairs.get(name);
  if (keyPair === undefined) {
    keyPair = keyPairFromSeed(type, hash("network", new TextEncoder().encode(name)), { deterministic: true });
    keyPairs.set(name, keyPair);
  }
  return keyPair;
}

/** Some hash, named by a number. */
export function hashAt(index: number): Hash {
  return hash("header", Uint8Array.of(index >>> 8, index & 0xff));
}

/** A set of validators 0 to n - 1 with these powers. */
export function setOf(powers: readonly bigint[]): ValidatorSet {
  return validatorSetOf(powers.map((power, index) => ({ key: keyPairAt(index).publicKey, power })));
}

/** A network of validators with these powers, and accounts 100, 101, ... with these amounts; 100 is the authority. */
export function networkOf(options: {
  readonly powers?: readonly bigint[];
  readonly amounts?: readonly bigint[];
  readonly parameters?: Partial<Parameters>;
}): NetworkFile {
  const { powers = [1n, 1n, 1n, 1n], amounts = [1_000_000n] } = options;
  return {
    version: 1,
    chainId: CHAIN_ID,
    genesisTimeMs: 1_700_000_000_000n,
    engine: PROTOCOL_DEFAULTS.tendermint,
    parameters: { ...PARAMETERS_DEFAULT, ...options.parameters },
    authority: addressOfKey(keyPairAt(100).publicKey),
    accounts: amounts.map((amount, index) => ({ address: addressOfKey(keyPairAt(100 + index).publicKey), amount })),
    validators: powers.map((power, index) => ({ key: keyPairAt(index).publicKey, power })),
    bootstrap: ["/ip4/127.0.0.1/tcp/4001"],
  };
}

/** A signed vote of key pair `signer`. */
export function voteOf(signer: number, vote: Partial<Omit<Vote, "validator" | "signature">>, chainId: string = CHAIN_ID): Vote {
  const keyPair = keyPairAt(signer);
  const validator = addressOfKey(keyPair.publicKey);
  const unsigned = { step: "precommit" as const, height: heightOf(5n), round: 0, blockHash: hashAt(1), ...vote, validator };
  return { ...unsigned, signature: keyPair.sign(voteSigningBytes(chainId, unsigned)) };
}

/** A signed proposal of key pair `signer`. */
export function proposalOf(signer: number, proposal: Partial<Omit<Proposal, "validator" | "signature">>): Proposal {
  const keyPair = keyPairAt(signer);
  const unsigned = {
    height: heightOf(5n),
    round: 3,
    blockHash: hashAt(1),
    validRound: -1,
    ...proposal,
    validator: addressOfKey(keyPair.publicKey),
  };
  return { ...unsigned, signature: keyPair.sign(proposalSigningBytes(CHAIN_ID, unsigned)) };
}

/** The certificate that these signers of `set` make, in the order of the set. */
export function certificateOf(
  set: ValidatorSet,
  signers: readonly number[],
  vote: Partial<Pick<QuorumCertificate, "height" | "round" | "blockHash">> = {},
): QuorumCertificate {
  const votes = signers.map((signer) => voteOf(signer, vote));
  const ordered = set.validators.flatMap(({ address }) =>
    votes.filter(({ validator }) => validator.every((byte, index) => byte === address[index])),
  );
  const { height, round, blockHash } = present(ordered[0], "vote");
  return {
    kind: "quorum",
    height,
    round,
    blockHash: present(blockHash, "block hash"),
    signatures: ordered.map(({ validator, signature }) => ({ validator, signature })),
  };
}

/** A certificate that is known to be of a quorum. */
export function quorumOf(certificate: Certificate): QuorumCertificate {
  assert(certificate.kind === "quorum", "certificate of a quorum");
  return certificate;
}

/** The power that these signers hold in `set`. */
export function powerOf(set: ValidatorSet, signers: readonly number[]): bigint {
  return signers.reduce(
    (total, signer) => total + (findValidator(set, addressOfKey(keyPairAt(signer).publicKey))?.power ?? 0n),
    0n,
  );
}
