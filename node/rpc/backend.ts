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
import type { Durability } from "../obelisk/sequencer.ts";
import type { Pharaoh } from "../obelisk/pharaoh.ts";

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
  /** Siblings of record `index` in the partition as it was at `size`, `index < size`, at most its size now. */
  proveRecordIn(size: bigint, stream: string, partition: number, index: bigint): readonly Hash[];
  proveConsistency(stream: string, partition: number, first: bigint, second: bigint): readonly Hash[] | undefined;
}

/** States that this node does not hold any more, from where somebody keeps them. */
export interface OldStates {
  /** A proof of a range under `root`, the state root of `height`, checked; `undefined` when there is none to be had. */
  proveState(height: Height, root: Hash, range: StateRange): Promise<Uint8Array | undefined>;
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
  /** What needs its operator: nothing but a person ends it. */
  readonly attention?: Attention | undefined;
  /** While this node joins from a snapshot: how far it is. Then peers answer in its place, and it checks what they say. */
  readonly joining?: JoiningStatus | undefined;
};

/** A state that a node cannot leave by itself; codes as in its log. */
export type Attention = { readonly code: "sign_unknown" | "pow_split"; readonly height: Height };

/** How far a join is. */
export type JoiningStatus = {
  readonly phase: "finding" | "proving" | "fetching" | "whole" | "restoring";
  readonly chunks: number;
  readonly chunksTotal: number;
  readonly sizeBytes: number;
  readonly sizeBytesTotal: number;
  readonly secondsLeft: number | undefined;
};

/** Where a node stands in deciding a height; without round and step while it decides none. Not proven. */
export type ConsensusStatus = {
  readonly height: Height;
  /** Round, view or term. */
  readonly round: number | undefined;
  /** The protocol's own word. */
  readonly step: string | undefined;
  readonly stalledMs: number;
};

/** One connected peer. */
export type PeerStatus = {
  readonly peerId: string;
  readonly address: string;
  readonly direction: "inbound" | "outbound";
  readonly height: Height;
  readonly score: number;
};

/** What a node gives out itself, and what it gets from peers; `ObeliskRole` has it. */
export interface ObeliskBackend {
  readonly obelisk: {
    readonly incarnation: Uint8Array;
    readonly counters: { readonly durability: Durability; readonly counts: { readonly counters: number; readonly open: number } };
    readonly scarabs: {
      readonly lease:
        | { readonly node: number; readonly window: { readonly startMs: number; readonly endMs: number } }
        | undefined;
      reservedMs(): number;
    };
  };
  readonly services: readonly string[];
  readonly pharaoh: Pick<Pharaoh, "sequence" | "ids" | "session">;
}

/** Record logs (`node/light/recordlog.ts`) and this node's signatures of them; `RecordLogs` has it. */
export interface RecordLogBackend {
  receipt(question: RecordLogQuestion, signal: AbortSignal): Promise<Result<RecordLogAnswer, RecordLogRefusal>>;
}

/** What is asked: where a record is, and the log's size if it must be one that others signed. */
export type RecordLogQuestion = {
  readonly stream: string;
  readonly partition: number;
  readonly index: bigint;
  readonly size?: bigint | undefined;
};

/** A record in its log, and the log signed. */
export type RecordLogAnswer = {
  readonly size: bigint;
  readonly siblings: readonly Hash[];
  /** A signed note of c2sp.org/tlog-checkpoint. */
  readonly checkpoint: string;
  /** A COSE receipt, without the record. */
  readonly cose: Uint8Array;
  /** The operator's key of this log, as verifiers are given it. */
  readonly key: string;
};

/** Why there is no answer; `errors.ts` says what each code means. */
export type RecordLogRefusal = {
  readonly code:
    | "recordlog_work"
    | "recordlog_busy"
    | "recordlog_building"
    | "recordlog_dropped"
    | "recordlog_conflict"
    | "partition_unknown"
    | "record_unknown"
    | "range_invalid";
  readonly field?: string;
  readonly index?: string;
  readonly done?: string;
  readonly size?: string;
};

/** See the file's head. */
export interface NodeBackend {
  readonly ledger: LedgerReads;
  /** Where states are that were pruned here; absent when nobody is known to keep them. */
  readonly oldStates?: OldStates | undefined;
  readonly networkFile: NetworkFile;
  /** Takes an encoded transaction into the pool and passes it on. The id, or why not. */
  submit(bytes: Uint8Array): Promise<Result<Hash, { readonly code: string; readonly field: string }>>;
  transactionStatus(id: Hash): TransactionStatus;
  status(): NodeStatus;
  peers(): readonly PeerStatus[];
  consensus(): ConsensusStatus;
  /** Calls `listener` after each commit, in order. */
  onCommit(listener: (commit: Commit) => void): Disposable;
  /** Calls `listener` after each block that was undone, newest first. */
  onRollback(listener: (undone: Block) => void): Disposable;
  /** Counters and ids; `undefined` when the node gives out none. */
  readonly obelisk: ObeliskBackend | undefined;
  /** Receipts for foreign tools; absent when the node signs none. */
  readonly recordLogs?: RecordLogBackend | undefined;
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
  assert(certificate?.ok === true, "certificate of height {}", height);
  return { height, certificate: certificate.value };
}
