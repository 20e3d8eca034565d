/**
 * A chain of any length in seconds: blocks made and certified with the key of a network's only validator, by the real
 * ledger and executor, straight into its store. For what needs a long chain and not the waiting for it.
 */

import { assert } from "../../crypto/base/assert.ts";
import { u32, concatBytes, utf8 } from "../../crypto/base/bytes.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import type { KeyPair } from "../../crypto/sign/key.ts";
import { feeOf, type NetworkFile } from "../../chain/block/genesis.ts";
import { heightOf, nextHeight } from "../../chain/block/height.ts";
import type { Call } from "../../chain/block/call.ts";
import { signTransaction, type Transaction } from "../../chain/block/transaction.ts";
import { voteSigningBytes } from "../../chain/block/vote.ts";
import { Ledger } from "../../chain/ledger/ledger.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import { EXECUTOR } from "../../contracts/executor.ts";
import { SignGuard } from "../../node/driver/guard.ts";
import { SYSTEM_DISK } from "../../node/ports/disk.ts";
import type { LocalHomes } from "../../node/home/manifest.ts";
import { NODE_KEY_NAME, openKey } from "../../node/home/keys.ts";
import { readPassphraseFile } from "../../node/home/passphrase.ts";

/** How a chain is grown. */
export type GrowOptions = {
  /** Of the account that sends everything. */
  readonly sender: string;
  readonly transactions: number;
  readonly transactionsPerBlock: number;
  readonly valueSizeBytes: number;
};

/** What rows are in, and the stream that every eighth transaction appends to. */
export const GROWN = { namespace: "grown", table: "rows", stream: "grown.events" } as const;
/** Blocks are this far apart, before now. */
const BLOCK_TIME_MS = 1000n;

/** The key of row `index`. */
export function grownKey(index: number): Uint8Array {
  return concatBytes(utf8("row-"), u32(index));
}

/** Grows the chain of a network whose only validator has never run. The height that it ends at. */
export async function growChain({ network, validators, accounts }: LocalHomes, options: GrowOptions): Promise<bigint> {
  const [validator] = validators;
  assert(validator !== undefined && validators.length === 1, "a network of one validator");
  const { home } = validator;
  const { keyPair } = await openKey(home, NODE_KEY_NAME, await readPassphraseFile(home.passphrasePath));
  const sender = await openKey(accounts, options.sender, await readPassphraseFile(accounts.passphrasePath));
  // What this key has signed is what follows, and it decides alone.
  await SignGuard.open({ path: home.signStatePath, disk: SYSTEM_DISK, keyPair, isNew: true });
  const store = await openLevelStore({ path: home.storePath });
  await using ledger = await Ledger.open({ store, network, executor: EXECUTOR });
  const { transactions, transactionsPerBlock } = options;
  const blocks = Math.ceil(transactions / transactionsPerBlock) + 1;
  const startMs = BigInt(Date.now()) - BLOCK_TIME_MS * BigInt(blocks + 1);
  let nonce = 0;
  const signNext = (): readonly Transaction[] => {
    const count = nonce === 0 ? 1 : Math.min(transactionsPerBlock, transactions + 1 - nonce);
    const signed = Array.from({ length: count }, (_, index) => transactionOf(network, sender.keyPair, nonce + index, options));
    nonce += count;
    return signed;
  };
  let signed = signNext();
  for (let block = 0; block < blocks; block += 1) {
    const committed = commitBlock(ledger, keyPair, signed, startMs + BLOCK_TIME_MS * BigInt(block + 1));
    // Half of the work is signing. It is done while the disk syncs.
    signed = signNext();
    await committed;
  }
  return ledger.head().height;
}

function transactionOf(network: NetworkFile, keyPair: KeyPair, nonce: number, { valueSizeBytes }: GrowOptions): Transaction {
  const { namespace, table, stream } = GROWN;
  const value = new Uint8Array(valueSizeBytes);
  // Not what a store compresses away, and the same on each run.
  for (let at = 0, seed = nonce + 1; at < value.length; at += 1) {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    value[at] = seed >>> 16;
  }
  const put: Call = { kind: "tablePut", namespace, table, key: grownKey(nonce), value: encodeValue(value) };
  const append: Call = { kind: "logAppend", stream, partition: nonce % 3, records: [value] };
  const calls: Call[] = nonce === 0 ? [{ kind: "tableCreate", namespace, table }] : nonce % 8 === 0 ? [put, append] : [put];
  const body = {
    chainId: network.chainId,
    sender: addressOfKey(keyPair.publicKey),
    nonce: BigInt(nonce),
    fee: feeOf(network.parameters, 1_024 + 3 * valueSizeBytes),
    expiry: heightOf(10_000_000n),
    calls,
  };
  return signTransaction(body, keyPair);
}

async function commitBlock(
  ledger: Ledger,
  keyPair: KeyPair,
  transactions: readonly Transaction[],
  timeMs: bigint,
): Promise<void> {
  const validator = addressOfKey(keyPair.publicKey);
  const height = nextHeight(ledger.head().height);
  const { block, dropped } = ledger.build({
    proposer: validator,
    timeMs: timeMs > ledger.head().timeMs ? timeMs : ledger.head().timeMs + 1n,
    transactions,
    evidence: [],
  });
  assert(dropped.length === 0, `a transaction was left out: ${dropped[0]?.refusal.code}`);
  const vote = { step: "precommit" as const, height, round: 0, blockHash: block.hash, validator };
  const signature = keyPair.sign(voteSigningBytes(ledger.network.chainId, vote));
  const certificate = {
    kind: "quorum" as const,
    height,
    round: 0,
    blockHash: block.hash,
    signatures: [{ validator, signature }],
  };
  const checked = await ledger.checkCertificate(block, certificate);
  assert(checked.ok, "a certificate of our own is refused");
  const { results } = await ledger.commit(block, certificate);
  const failed = results.find(({ kind }) => kind !== "applied");
  assert(failed === undefined, `a transaction failed: ${JSON.stringify(failed)}`);
}
