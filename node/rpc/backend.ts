/** What the RPC server needs of a node. `node/node.ts` implements it; tests do over a real in-memory ledger. */

import { assert } from "../../crypto/base/assert.ts";
import type { Result } from "../../crypto/base/result.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import type { Block, TransactionResult } from "../../chain/block/block.ts";
import { type Finality, finalityOf, type Sealed } from "../../chain/block/finality.ts";
import type { Height } from "../../chain/block/height.ts";
import type { Protocol } from "../../chain/block/protocol.ts";
import { parseCertificate } from "../../chain/block/vote.ts";
import type { ValidatorSet } from "../../chain/block/validators.ts";
import type { Commit } from "../../chain/ledger/ledger.ts";

/** The reads that methods use; `Ledger` has them. */
export interface LedgerReads {
  head(): { readonly height: Height; readonly hash: Hash; readonly timeMs: bigint; readonly stateRoot: Hash };
  headerBytes(height: Height): Uint8Array | undefined;
  certificateBytes(height: Height): Uint8Array | undefined;
  block(height: Height): Block | undefined;
  blockBytes(height: Height): Uint8Array | undefined;
  results(height: Height): readonly TransactionResult[] | undefined;
  /** The set that decides `height`, for 1 to head + 1. */
  validators(height: Height): ValidatorSet | undefined;
  /** Heights whose header names another set for the next height, from `from` on, ascending. */
  validatorChanges(from: Height, limit: number): readonly { readonly height: Height }[];
  findTransaction(id: Hash): { readonly height: Height; readonly index: number } | undefined;
  proveTransaction(height: Height, index: number): TransactionProof | undefined;
  /** The state after `height`; `undefined` when pruned or not there yet. */
  state(height: Height): { get(key: Uint8Array): Uint8Array | undefined } | undefined;
  stateEntries(height: Height, range: StateRange): Iterable<{ readonly key: Uint8Array; readonly value: Uint8Array }>;
  proveState(height: Height, range: StateRange): Uint8Array | undefined;
  /** The oldest height whose state is readable. */
  oldestState(): Height;
  proveHistory(of: Height, at: Height): readonly Hash[];
  /** Encoded records from index `from` on, at most `count`. */
  records(
    stream: string,
    partition: number,
    from: bigint,
    count: number,
  ): readonly { readonly index: bigint; readonly bytes: Uint8Array }[];
  /** Siblings of record `index` under the partition's root after `height`. */
  proveRecord(height: Height, stream: string, partition: number, index: bigint): readonly Hash[] | undefined;
  proveConsistency(stream: string, partition: number, first: bigint, second: bigint): readonly Hash[] | undefined;
}

/** A range of state keys: `from` inclusive, `to` exclusive. */
export type StateRange = { readonly from?: Uint8Array; readonly to?: Uint8Array; readonly limit?: number };

/** A transaction and its result, with their paths to the roots in one header. */
export type TransactionProof = {
  readonly bytes: Uint8Array;
  readonly siblings: readonly Hash[];
  readonly result: TransactionResult;
  readonly resultSiblings: readonly Hash[];
  /** Transactions in the block. */
  readonly count: number;
};

/** Where a transaction stands, as far as this node knows. */
export type TransactionStatus =
  /** In the pool, waiting for a block. */
  | { readonly kind: "pending" }
  /** In a block: for ever, or (`included`) as sure as the work on it. */
  | {
      readonly kind: "final" | "included";
      readonly height: Height;
      readonly index: number;
      readonly result: TransactionResult;
      readonly finality: Finality;
    }
  /** Refused by this node's pool, or dropped from it. `code` and `field` say why. */
  | { readonly kind: "refused"; readonly code: string; readonly field: string }
  | { readonly kind: "unknown" };

/** What a node says about itself. Nothing here is proven. */
export type NodeStatus = {
  readonly version: string;
  /** The libp2p peer id. */
  readonly peerId: string;
  /** The address it votes as, when it is a validator. */
  readonly validator: Address | undefined;
  /** Whether it is still behind what its peers have. */
  readonly syncing: boolean;
  /** The highest height a peer claims. */
  readonly targetHeight: Height;
  readonly peersCount: number;
  readonly mempoolTransactions: number;
  readonly mempoolSizeBytes: number;
  readonly startedAtMs: number;
};

/** One connected peer. */
export type PeerStatus = {
  readonly peerId: string;
  readonly address: string;
  readonly direction: "inbound" | "outbound";
  readonly height: Height;
  readonly score: number;
};

/** See the file's head. */
export interface NodeBackend {
  readonly ledger: LedgerReads;
  readonly networkFile: NetworkFile;
  /** Takes an encoded transaction into the pool and passes it on. The id, or why not. */
  submit(bytes: Uint8Array): Promise<Result<Hash, { readonly code: string; readonly field: string }>>;
  transactionStatus(id: Hash): TransactionStatus;
  status(): NodeStatus;
  peers(): readonly PeerStatus[];
  /** Calls `listener` after each commit, in order. */
  onCommit(listener: (commit: Commit) => void): Disposable;
  /** Calls `listener` after each block that was undone, newest first. */
  onRollback(listener: (undone: Block) => void): Disposable;
}

/** How sure the block of a height is, `1 <= height <= head`. */
export function finalityAt(ledger: Pick<LedgerReads, "head" | "certificateBytes">, engine: Protocol, height: Height): Finality {
  if (engine.name !== "pow") return { kind: "final" };
  return finalityOf(engine, sealedAt(ledger, height), sealedAt(ledger, ledger.head().height));
}

/** Where a transaction of a block stands. */
export function includedStatus(
  ledger: LedgerReads,
  engine: Protocol,
  { height, index }: { readonly height: Height; readonly index: number },
): TransactionStatus {
  const result = ledger.results(height)?.[index];
  assert(result !== undefined, "result of an indexed transaction");
  const finality = finalityAt(ledger, engine, height);
  return { kind: finality.kind === "final" ? "final" : "included", height, index, result, finality };
}

function sealedAt(ledger: Pick<LedgerReads, "certificateBytes">, height: Height): Sealed {
  const bytes = ledger.certificateBytes(height);
  const certificate = bytes === undefined ? undefined : parseCertificate(bytes);
  assert(certificate?.ok === true, `certificate of height ${height}`);
  return { height, certificate: certificate.value };
}
