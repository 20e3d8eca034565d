/** A network of proof of work at the easiest target, for tests that need sealed blocks: every second nonce seals. */

import { assert, present } from "../../../crypto/base/assert.ts";
import { type Address, addressOfKey } from "../../../crypto/identity/address.ts";
import { keyPairFromSeed } from "../../../crypto/sign/key.ts";
import type { Block } from "../../../chain/block/block.ts";
import { type NetworkFile, PARAMETERS_DEFAULT } from "../../../chain/block/genesis.ts";
import { heightOf } from "../../../chain/block/height.ts";
import { type PowProtocol, PROTOCOL_DEFAULTS } from "../../../chain/block/protocol.ts";
import { expectedBits, firstTarget } from "../../../chain/block/retarget.ts";
import type { Call } from "../../../chain/block/call.ts";
import { signTransaction, type Transaction } from "../../../chain/block/transaction.ts";
import type { WorkCertificate } from "../../../chain/block/vote.ts";
import { bitsOf, searchSeal, targetOf, workOf } from "../../../chain/block/work.ts";
import type { Ledger } from "../../../chain/ledger/ledger.ts";

/** Accounts with something to spend, by number; 0 and 1 mine. */
export const KEYS = [11, 12, 13].map((seed) => keyPairFromSeed("ed25519", new Uint8Array(32).fill(seed)));

/** The address of an account. */
export function addressAt(index: number): Address {
  return addressOfKey(present(KEYS[index], `key ${index}`).publicKey);
}

/** A network whose blocks are paid for, unless said otherwise. */
export function minedNetwork(changed: Partial<PowProtocol> = {}): NetworkFile {
  return {
    version: 1,
    chainId: "mined-1",
    genesisTimeMs: 1_767_225_600_000n,
    engine: {
      ...PROTOCOL_DEFAULTS.pow,
      targetIntervalMs: 1_000,
      halfLifeMs: 60_000,
      targetBitsMax: 0x20_7f_ff_ff,
      finalityDepth: 3,
      reorgDepthMax: 20,
      blockReward: 50n,
      ...changed,
    },
    parameters: PARAMETERS_DEFAULT,
    accounts: KEYS.map((_, index) => ({ address: addressAt(index), amount: 1_000_000_000n })).toSorted((a, b) =>
      Buffer.compare(a.address, b.address),
    ),
    validators: [],
    bootstrap: [],
  };
}

/** A transaction of an account. */
export function spend(index: number, nonce: bigint, calls: readonly Call[], fee = 1_000_000n): Transaction {
  const body = { chainId: "mined-1", sender: addressAt(index), nonce, fee, expiry: heightOf(1_000_000n), calls };
  return signTransaction(body, present(KEYS[index], `key ${index}`));
}

/** The seal of a block on a ledger's head, or on a block below. `skip` seals are passed over: there are many. */
export function sealFor(ledger: Ledger, block: Block, skip = 0): WorkCertificate {
  const { engine, genesisTimeMs } = ledger.network;
  assert(engine.name === "pow", "a network of proof of work");
  const parent = heightOf(block.header.height - 1n);
  const timeAt = (height: bigint): bigint =>
    height === 0n ? genesisTimeMs : present(ledger.header(heightOf(height)), "header").timeMs;
  const below = parent === 0n ? undefined : present(ledger.certificate(parent), "seal");
  assert(below?.kind !== "quorum", "a seal");
  const before = { height: parent, timeMs: timeAt(parent), bits: below?.bits ?? bitsOf(firstTarget(engine)) };
  const bits = expectedBits({ protocol: engine, genesisTimeMs }, before, timeAt);
  const target = targetOf(bits);
  assert(target.ok, "a target");
  let nonce = -1n;
  for (let left = skip; left >= 0; left -= 1) {
    const span = { headerHash: block.hash, target: target.value, extraNonce: 3n, nonce: nonce + 1n, count: 10_000_000 };
    nonce = present(searchSeal(span), "seal");
  }
  const chainWork = (below?.chainWork ?? 0n) + workOf(target.value);
  return { kind: "work", height: block.header.height, blockHash: block.hash, bits, extraNonce: 3n, nonce, chainWork };
}

/** Builds, seals and commits the next block. */
export async function mineBlock(
  ledger: Ledger,
  transactions: readonly Transaction[],
  options: { readonly miner?: number; readonly afterMs?: bigint; readonly skip?: number } = {},
): Promise<Block> {
  const { miner = 0, afterMs = 1_000n, skip = 0 } = options;
  const timeMs = ledger.head().timeMs + afterMs;
  const { block, dropped } = ledger.build({ proposer: addressAt(miner), timeMs, transactions, evidence: [] });
  assert(dropped.length === 0, `dropped: ${dropped[0]?.refusal.code}`);
  await ledger.commit(block, sealFor(ledger, block, skip));
  return block;
}
