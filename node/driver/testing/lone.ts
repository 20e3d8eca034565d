/** A network of one validator, for tests that need blocks and no agreement: it certifies whatever it builds. */

import { assert } from "../../../crypto/base/assert.ts";
import { addressOfKey } from "../../../crypto/identity/address.ts";
import { keyPairFromSeed } from "../../../crypto/sign/key.ts";
import type { Block } from "../../../chain/block/block.ts";
import { type NetworkFile, PARAMETERS_DEFAULT } from "../../../chain/block/genesis.ts";
import { heightOf } from "../../../chain/block/height.ts";
import { PROTOCOL_DEFAULTS } from "../../../chain/block/protocol.ts";
import type { Call } from "../../../chain/block/call.ts";
import { signTransaction, type Transaction } from "../../../chain/block/transaction.ts";
import { type Certificate, voteSigningBytes } from "../../../chain/block/vote.ts";
import type { Ledger } from "../../../chain/ledger/ledger.ts";

/** The one validator, and the one account that has anything. */
export const LONE_VALIDATOR = keyPairFromSeed("ed25519", new Uint8Array(32).fill(1));
export const ALICE = keyPairFromSeed("ed25519", new Uint8Array(32).fill(2));

/** Its network file. */
export const LONE_NETWORK: NetworkFile = {
  version: 1,
  chainId: "lone-1",
  genesisTimeMs: 1_767_225_600_000n,
  engine: PROTOCOL_DEFAULTS.tendermint,
  parameters: { ...PARAMETERS_DEFAULT, dev: true },
  accounts: [{ address: addressOfKey(ALICE.publicKey), amount: 1_000_000_000_000n }],
  validators: [{ key: LONE_VALIDATOR.publicKey, power: 1n }],
  bootstrap: [],
};

/** A transaction of Alice. */
export function sign(nonce: bigint, calls: readonly Call[]): Transaction {
  const body = {
    chainId: LONE_NETWORK.chainId,
    sender: addressOfKey(ALICE.publicKey),
    nonce,
    fee: 1_000_000n,
    expiry: heightOf(1_000_000n),
    calls,
  };
  return signTransaction(body, ALICE);
}

/** The certificate of the lone validator, real signature and all. */
export function certify(block: Block, round: number): Certificate {
  const vote = {
    step: "precommit",
    height: block.header.height,
    round,
    blockHash: block.hash,
    validator: addressOfKey(LONE_VALIDATOR.publicKey),
  } as const;
  const signature = LONE_VALIDATOR.sign(voteSigningBytes(LONE_NETWORK.chainId, vote));
  return {
    kind: "quorum",
    height: vote.height,
    round,
    blockHash: block.hash,
    signatures: [{ validator: vote.validator, signature }],
  };
}

/** Builds, certifies and commits the next block. */
export async function commitBlock(ledger: Ledger, transactions: readonly Transaction[]): Promise<Block> {
  const { block, dropped } = ledger.build({
    proposer: addressOfKey(LONE_VALIDATOR.publicKey),
    timeMs: ledger.head().timeMs + 1_000n,
    transactions,
    evidence: [],
  });
  assert(dropped.length === 0, `dropped: ${dropped[0]?.refusal.code}`);
  await ledger.commit(block, certify(block, 0));
  return block;
}
