/** What a ledger finds when it opens its store: the head, whole and its own; and what it writes into one that is empty. */

import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { parseBlock } from "../block/block.ts";
import type { NetworkFile } from "../block/genesis.ts";
import { GENESIS_HEIGHT, type Height } from "../block/height.ts";
import { parseCertificate } from "../block/vote.ts";
import type { Executor } from "../state/executor.ts";
import type { StateTree } from "../state/tree.ts";
import { kindRange } from "../store/keyspace.ts";
import type { Store } from "../store/store.ts";
import { type LedgerRows, ours } from "./rows.ts";

/** The newest block, or genesis: height 0, whose `hash` is the network's. Final, but under proof of work. */
export type Head = {
  readonly height: Height;
  readonly hash: Hash;
  readonly timeMs: bigint;
  readonly stateRoot: Hash;
};

/** Writes the state that a network begins with, and whose it is, in one durable batch. */
export async function writeGenesis(options: {
  readonly store: Store;
  readonly network: NetworkFile;
  readonly executor: Executor;
  readonly tree: StateTree;
  readonly rows: LedgerRows;
  readonly hash: Hash;
}): Promise<void> {
  const { store, network, executor, tree, rows, hash } = options;
  const updates = executor.genesis(network);
  const staged = tree.stage(undefined, GENESIS_HEIGHT, updates);
  const state = new Map(updates.map((update) => [toHex(update.key), update.value]));
  const validators = executor.validatorsAt({ get: (key) => state.get(toHex(key)) }, "current");
  await store.write(
    [...staged.operations, rows.validatorsOperation(validators), rows.headOperation(GENESIS_HEIGHT), rows.networkOperation(hash)],
    { sync: true },
  );
  tree.adopt(staged);
}

/**
 * The block at a height, as the newest.
 *
 * @throws CodedError `ledger_corrupt`: its parts disagree
 */
export function headAt(options: {
  readonly rows: LedgerRows;
  readonly tree: StateTree;
  readonly network: NetworkFile;
  readonly hash: Hash;
  readonly height: Height;
}): Head {
  const { rows, tree, network, hash, height } = options;
  const stateRoot = tree.rootAt(height);
  if (stateRoot === undefined) throw new CodedError("ledger_corrupt", { message: "no state for the head", height });
  if (height === GENESIS_HEIGHT) return { height, hash, timeMs: network.genesisTimeMs, stateRoot };
  const bytes = rows.block(height);
  if (bytes === undefined) throw new CodedError("ledger_corrupt", { message: "no block for the head", height });
  const block = ours(parseBlock(bytes), "block");
  if (!bytesEqual(block.header.stateRoot, stateRoot)) {
    throw new CodedError("ledger_corrupt", { message: "the state is not the one that the head commits to", height });
  }
  const certificate = rows.certificate(height);
  if (certificate === undefined || !bytesEqual(ours(parseCertificate(certificate), "certificate").blockHash, block.hash))
    throw new CodedError("ledger_corrupt", { message: "the certificate of the head is for another block", height });
  return { height, hash: block.hash, timeMs: block.header.timeMs, stateRoot };
}

/** Whether the store has a row of a kind. */
export async function holdsAny(store: Store, kind: "recordDue"): Promise<boolean> {
  for await (const _ of store.entries({ ...kindRange(kind), limit: 1 })) return true;
  return false;
}
