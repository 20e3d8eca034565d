/**
 * The executor port: what turns a state and a block's transactions into the next state. `contracts/` implements it.
 *
 * Everything here is deterministic: equal inputs give equal bytes on every node. Signatures are checked by whoever
 * calls, before.
 */

import type { Result } from "../../crypto/base/result.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { TransactionResult } from "../block/block.ts";
import type { RefusalCode } from "../block/errors.ts";
import type { Evidence } from "../block/evidence.ts";
import type { NetworkFile, Parameters } from "../block/genesis.ts";
import type { Height } from "../block/height.ts";
import type { Protocol } from "../block/protocol.ts";
import type { Transaction } from "../block/transaction.ts";
import type { ValidatorSet } from "../block/validators.ts";
import type { Certificate } from "../block/vote.ts";
import type { Which } from "./keys.ts";
import type { KeepRules } from "./partition.ts";
import type { StateUpdate } from "./update.ts";

/** One state, by its keys (`keys.ts`). */
export interface StateView {
  /** The row's value, or `undefined` when there is none. The caller must not change the bytes. */
  get(key: Uint8Array): Uint8Array | undefined;
}

/** The block that is being executed. */
export type BlockContext = {
  readonly chainId: string;
  readonly height: Height;
  readonly timeMs: bigint;
  readonly proposer: Address;
  readonly parameters: Parameters;
  /** The network's consensus protocol with its parameters. */
  readonly engine: Protocol;
  /** Of the block before, as this block carries it; undefined at height 1 and where nothing is executed for good. */
  readonly previousCertificate: Certificate | undefined;
};

/** Records that a block adds to one partition, at `firstIndex` and on, without gaps. */
export type RecordAppend = {
  readonly stream: string;
  readonly partition: number;
  readonly firstIndex: bigint;
  /** Whole encoded records (`chain/block/record.ts`): what is stored, and what the partition's leaves are made of. */
  readonly records: readonly Uint8Array[];
  /** By which rules what is stored of the records may go; absent: it stays. */
  readonly keep?: KeepRules | undefined;
};

/** A record whose content goes with the block. */
export type RecordErasure = { readonly stream: string; readonly partition: number; readonly index: bigint };

/** What a block did. */
export type Execution = {
  /** One a transaction, in order. */
  readonly results: readonly TransactionResult[];
  /** Changed rows, sorted by key, each once. */
  readonly updates: readonly StateUpdate[];
  /** At most one a partition, sorted by stream, then partition. */
  readonly appends: readonly RecordAppend[];
  /** Each once, in the order of the calls. */
  readonly erasures: readonly RecordErasure[];
  /** The set that decides the height after this block's. */
  readonly validators: ValidatorSet;
};

/** Why a transaction may not be in the block, nor wait for one. */
export type TransactionRefusal = { readonly code: RefusalCode; readonly field: string };

/** Why a block may not be: one of its transactions, or (`transactionIndex` undefined) its evidence. */
export type ExecutionRefusal = TransactionRefusal & { readonly transactionIndex: number | undefined };

/** What admission found out about the sender, for the mempool to order by. */
export type Admission = {
  /** The nonce that the sender's next transaction must have; the admitted one's is this or higher. */
  readonly nonce: bigint;
  /** What the sender can pay fees from. */
  readonly balance: bigint;
};

/** What a proposer can make of what it has: as `execute`, with everything left out that may not be in the block. */
export type Selection = {
  readonly execution: Execution;
  readonly transactions: readonly Transaction[];
  readonly evidence: readonly Evidence[];
  /** In the order given, each with why. Left out for this block alone when it is `nonce_ahead`, else for good. */
  readonly dropped: readonly { readonly transaction: Transaction; readonly refusal: TransactionRefusal }[];
};

/** A pure function of state and block. */
export interface Executor {
  /** Every row of the state at height 0, sorted by key. */
  genesis(network: NetworkFile): readonly StateUpdate[];
  /**
   * Checks a transaction whose signature was checked against the state that `context.height` would begin from.
   * A nonce that is ahead is allowed: the transaction may be included once those before it have been.
   */
  admit(view: StateView, transaction: Transaction, context: BlockContext): Result<Admission, TransactionRefusal>;
  /**
   * Executes a block on the state before it. Transactions whose calls fail are part of the outcome; a refusal means
   * that the block as such is invalid. Evidence must have passed `verifyEvidence`.
   */
  execute(
    view: StateView,
    transactions: readonly Transaction[],
    evidence: readonly Evidence[],
    context: BlockContext,
  ): Result<Execution, ExecutionRefusal>;
  /**
   * Executes what can be executed of these, in one pass: for building a block. Evidence that may not be in the block
   * (also one more about a validator and height that it has already) is left out silently.
   */
  select(view: StateView, transactions: readonly Transaction[], evidence: readonly Evidence[], context: BlockContext): Selection;
  /** Whether evidence that passed `verifyEvidence` could be in the block: of a past height, not too old, not acted on yet. */
  admitEvidence(view: StateView, evidence: Evidence, context: BlockContext): Result<void, TransactionRefusal>;
  /** The set that decides the height after the state's (`current`), or the one after that (`next`). */
  validatorsAt(view: StateView, which: Which): ValidatorSet;
  /** How many records a partition has; `undefined` when nobody has made it. */
  partitionSize(view: StateView, stream: string, partition: number): bigint | undefined;
  /** How long records of a stream are kept; `undefined`: for ever. */
  keepRules(view: StateView, stream: string): KeepRules | undefined;
}
