/**
 * What can be said about a network and checked against one believed header: a row or its absence, a complete range,
 * an account, a partition, a record, a transaction with its result. Pure functions; each takes a `VerifiedHeader`, which
 * only `LightVerifier` makes, so that nothing can be checked against a header that nobody checked.
 */

import { bytesEqual } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { type Hash, ZERO_HASH } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import {
  type Block,
  encodeResult,
  evidenceRoot,
  parseBlock,
  type TransactionResult,
  transactionsRoot,
} from "../../chain/block/block.ts";
import { isDropped, parseRecord, storedLeaf, type StreamRecord } from "../../chain/block/record.ts";
import { GENESIS_HEIGHT } from "../../chain/block/height.ts";
import { parseSegment, type SealedSegment, segmentHash } from "../../chain/block/segment.ts";
import { parseTransaction, type Transaction } from "../../chain/block/transaction.ts";
import { certificateHash } from "../../chain/block/vote.ts";
import { climbTurns, frontierRoot, LOG_HASHER, pathTurns, verifyConsistency, verifyInclusion } from "../../chain/merkle/log.ts";
import type { ProofError } from "../../chain/state/errors.ts";
import { accountKey, partitionKey, tableKey } from "../../chain/state/keys.ts";
import { type RangeAnswer, verifyRange, verifyRow } from "../../chain/state/proof.ts";
import type { KeyRange } from "../../chain/state/range.ts";
import { type Account, ACCOUNT_EMPTY, parseAccount, parsePartitionHead, parseTable } from "../../chain/state/rows.ts";
import type { Unproven } from "./errors.ts";
import type { VerifiedHeader } from "./verifier.ts";

/** The value of a state row, or its absence. */
export function provenRow(at: VerifiedHeader, key: Uint8Array, proof: Uint8Array): Result<Uint8Array | undefined, Unproven> {
  const row = verifyRow(at.header.stateRoot, key, proof);
  return row.ok ? row : fail(unprovenState(row.error, at));
}

/** One page of a range of state rows: all rows of it, or all up to where it says to continue. */
export function provenRange(
  at: VerifiedHeader,
  range: KeyRange & { readonly limit?: number },
  proof: Uint8Array,
): Result<RangeAnswer, Unproven> {
  const answer = verifyRange(at.header.stateRoot, range, proof);
  return answer.ok ? answer : fail(unprovenState(answer.error, at));
}

/** An account; one that has no row is empty. */
export function provenAccount(at: VerifiedHeader, address: Address, proof: Uint8Array): Result<Account, Unproven> {
  const row = provenRow(at, accountKey(address), proof);
  if (!row.ok) return row;
  return row.value === undefined ? ok(ACCOUNT_EMPTY) : decoded(parseAccount(row.value), at);
}

/** The owner of a table; `undefined` when there is no such table. */
export function provenTable(
  at: VerifiedHeader,
  name: { readonly namespace: string; readonly table: string },
  proof: Uint8Array,
): Result<Address | undefined, Unproven> {
  const row = provenRow(at, tableKey(name.namespace, name.table), proof);
  if (!row.ok || row.value === undefined) return row.ok ? ok(undefined) : row;
  const table = decoded(parseTable(row.value), at);
  return table.ok ? ok(table.value.owner) : table;
}

/** A partition of a stream, by name. */
export type PartitionName = { readonly stream: string; readonly partition: number };

/** A partition as a state has it: who may append, how many records, and the root over them. */
export type ProvenPartition = { readonly owner: Address; readonly size: bigint; readonly root: Hash };

/** The head of a partition; `undefined` when nothing was ever appended. */
export function provenPartition(
  at: VerifiedHeader,
  name: PartitionName,
  proof: Uint8Array,
): Result<ProvenPartition | undefined, Unproven> {
  const row = provenRow(at, partitionKey(name.stream, name.partition), proof);
  if (!row.ok || row.value === undefined) return row.ok ? ok(undefined) : row;
  const head = decoded(parsePartitionHead(row.value), at);
  if (!head.ok) return head;
  const { owner, frontier } = head.value;
  return ok({ owner, size: frontier.size, root: frontierRoot(LOG_HASHER, frontier) });
}

/** A record at an index of a proven partition. */
export function provenRecord(
  partition: ProvenPartition,
  claim: PartitionName & { readonly index: bigint; readonly record: Uint8Array; readonly siblings: readonly Hash[] },
): Result<StreamRecord, Unproven> {
  const { index, record: bytes, siblings } = claim;
  const included = verifyInclusion(LOG_HASHER, {
    leafHash: storedLeaf(bytes),
    index,
    size: partition.size,
    siblings,
    root: partition.root,
  });
  if (!included.ok) return fail(unprovenLog(included.error.code, "siblings"));
  if (isDropped(bytes)) return ok(droppedAt(claim, index, storedLeaf(bytes)));
  const record = parseRecord(bytes);
  if (!record.ok) return fail({ code: "answer_malformed", field: "record" });
  const { value } = record;
  // A record names its own place; one that names another was put there by faulty validators.
  if (value.stream !== claim.stream || value.partition !== claim.partition || value.index !== index)
    return fail({ code: "answer_mismatch", field: "record" });
  return ok(value);
}

/** What is known of a record whose content is gone: its place, and what it was committed to by. */
function droppedAt({ stream, partition }: PartitionName, index: bigint, dropped: Hash): StreamRecord {
  return { stream, partition, index, height: GENESIS_HEIGHT, timeMs: 0n, data: new Uint8Array(0), dropped };
}

/**
 * The sealed segments of a partition: they follow each other without a gap, from the first to the one that the partition's
 * head ends its chain with.
 *
 * @param head - the row of the partition's head, proven
 * @param rows - all rows of `segmentRange`, proven complete
 */
export function provenSegments(
  at: VerifiedHeader,
  name: PartitionName,
  head: Uint8Array | undefined,
  rows: readonly { readonly value: Uint8Array }[],
): Result<readonly SealedSegment[], Unproven> {
  const parsed = head === undefined ? undefined : decoded(parsePartitionHead(head), at);
  if (parsed?.ok === false) return parsed;
  const { count, hash: last } = parsed?.value.sealed ?? { count: 0n, hash: ZERO_HASH };
  const { height } = at.header;
  const segments: SealedSegment[] = [];
  let previous = ZERO_HASH;
  let nextIndex = 0n;
  for (const { value } of rows) {
    const entry = decoded(parseSegment(value), at);
    if (!entry.ok) return entry;
    const { stream, partition, number, firstIndex } = entry.value;
    const isNext = number === BigInt(segments.length) && firstIndex === nextIndex && bytesEqual(entry.value.previous, previous);
    if (stream !== name.stream || partition !== name.partition || !isNext)
      return fail({ code: "segments_broken", field: `segments[${segments.length}]`, height });
    segments.push(entry.value);
    previous = segmentHash(value);
    nextIndex += entry.value.count;
  }
  const isWhole = count === BigInt(segments.length) && bytesEqual(last, previous);
  return isWhole ? ok(segments) : fail({ code: "segments_broken", field: "head", height });
}

/** That a partition, as it was, is the beginning of what it is now. */
export function provenExtension(
  first: ProvenPartition,
  second: ProvenPartition,
  hashes: readonly Hash[],
): Result<void, Unproven> {
  if (second.size < first.size) return fail({ code: "log_shrank" });
  const consistent = verifyConsistency(LOG_HASHER, {
    first: first.size,
    second: second.size,
    hashes,
    firstRoot: first.root,
    secondRoot: second.root,
  });
  if (consistent.ok) return ok(undefined);
  // Equal sizes need no hashes from anybody: different roots are then a fork that the validators signed.
  return fail({
    code:
      first.size === second.size ? "log_forked" : consistent.error.code === "root_mismatch" ? "root_mismatch" : "proof_malformed",
    field: "hashes",
  });
}

/** A transaction of a believed header's block, and what it did. */
export type ProvenTransaction = { readonly transaction: Transaction; readonly result: TransactionResult };

/** What is claimed of a transaction: bytes, place, result, and the paths of both. */
export type TransactionClaim = {
  readonly transaction: Uint8Array;
  readonly index: number;
  /** Transactions in the block. */
  readonly count: number;
  readonly siblings: readonly Hash[];
  readonly result: TransactionResult;
  readonly resultSiblings: readonly Hash[];
};

/**
 * A transaction and its result, both in the block of a believed header at one place.
 *
 * `index` and `count` only give the paths their shape. A header does not commit to the count, so another pair can give
 * the same shape; both trees have the same size and both paths the same turns, so the result is the transaction's own
 * whatever the pair. The index is not proven and is not part of what is returned.
 */
export function provenTransaction(at: VerifiedHeader, claim: TransactionClaim): Result<ProvenTransaction, Unproven> {
  const { transaction: bytes, result, siblings, resultSiblings } = claim;
  const { transactionsRoot, resultsRoot, height } = at.header;
  const place = { index: BigInt(claim.index), size: BigInt(claim.count) };
  const included = verifyInclusion(LOG_HASHER, { ...place, leafHash: LOG_HASHER.leaf(bytes), siblings, root: transactionsRoot });
  if (!included.ok) return fail({ ...unprovenLog(included.error.code, "siblings"), height });
  const resulted = verifyInclusion(LOG_HASHER, {
    ...place,
    leafHash: LOG_HASHER.leaf(encodeResult(result)),
    siblings: resultSiblings,
    root: resultsRoot,
  });
  if (!resulted.ok) return fail({ ...unprovenLog(resulted.error.code, "resultSiblings"), height });
  const transaction = parseTransaction(bytes);
  if (!transaction.ok) return fail({ code: "answer_malformed", field: "transaction", height });
  return ok({ transaction: transaction.value, result });
}

/** What is claimed of a transaction without its place: the turns on the way up, which both trees share. */
export type TransactionPath = Omit<TransactionClaim, "index" | "count"> & {
  /** Binary: a 1, then for each level from the root down whether the sibling stands left. One number a place. */
  readonly path: number;
};

/** The turns of a transaction's place in its block. */
export function transactionPathOf({ index, count, ...rest }: TransactionClaim): TransactionPath {
  const turns = pathTurns({ index: BigInt(index), size: BigInt(count) });
  return { ...rest, path: turns.reduceRight((path, isLeft) => path * 2 + Number(isLeft), 1) };
}

/**
 * As `provenTransaction`, by the turns alone: leaves and nodes hash under different tags, so whatever way leads from a
 * leaf to the root, the leaf is in the tree at that place.
 */
export function provenTransactionAt(at: VerifiedHeader, claim: TransactionPath): Result<ProvenTransaction, Unproven> {
  const { path, transaction: bytes, result, siblings, resultSiblings } = claim;
  const { transactionsRoot, resultsRoot, height } = at.header;
  const turns = Array.from(path.toString(2).slice(1), (digit) => digit === "1").reverse();
  if (path < 1 || siblings.length !== turns.length || resultSiblings.length !== turns.length)
    return fail({ code: "proof_malformed", field: "path", height });
  const included = climbTurns(LOG_HASHER, LOG_HASHER.leaf(bytes), turns, siblings);
  if (!bytesEqual(included, transactionsRoot)) return fail({ code: "root_mismatch", field: "siblings", height });
  const resulted = climbTurns(LOG_HASHER, LOG_HASHER.leaf(encodeResult(result)), turns, resultSiblings);
  if (!bytesEqual(resulted, resultsRoot)) return fail({ code: "root_mismatch", field: "resultSiblings", height });
  const transaction = parseTransaction(bytes);
  if (!transaction.ok) return fail({ code: "answer_malformed", field: "transaction", height });
  return ok({ transaction: transaction.value, result });
}

/** A whole block: the header is the believed one, and everything beside it is what that header commits to. */
export function provenBlock(at: VerifiedHeader, bytes: Uint8Array): Result<Block, Unproven> {
  const { height, transactionsRoot: transactionsAt, evidenceRoot: evidenceAt, certificateHash: certificateAt } = at.header;
  const parsed = parseBlock(bytes);
  if (!parsed.ok) return fail({ code: "answer_malformed", field: "block", height });
  const block = parsed.value;
  if (!bytesEqual(block.hash, at.hash)) return fail({ code: "answer_mismatch", field: "block", height });
  if (!bytesEqual(transactionsRoot(block.transactions), transactionsAt))
    return fail({ code: "root_mismatch", field: "transactions", height });
  if (!bytesEqual(evidenceRoot(block.evidence), evidenceAt)) return fail({ code: "root_mismatch", field: "evidence", height });
  const certified = block.previousCertificate === undefined ? ZERO_HASH : certificateHash(block.previousCertificate);
  return bytesEqual(certified, certificateAt) ? ok(block) : fail({ code: "root_mismatch", field: "previousCertificate", height });
}

/** Validators signed this row, so a malformed one is theirs; to a client it is an answer that it cannot use. */
function decoded<T>(parsed: Result<T>, at: VerifiedHeader): Result<T, Unproven> {
  return parsed.ok ? parsed : fail({ code: "answer_malformed", field: "proof", height: at.header.height });
}

function unprovenState(error: ProofError, at: VerifiedHeader): Unproven {
  const { height } = at.header;
  switch (error.code) {
    case "proof_root_mismatch":
      return { code: "root_mismatch", field: "proof", height };
    case "proof_incomplete":
      return { code: "proof_incomplete", field: "proof", height };
    case "proof_malformed":
    case "proof_shape":
    case "proof_range":
      return { code: "proof_malformed", field: "proof", height };
  }
}

function unprovenLog(code: "index_out_of_range" | "proof_length" | "root_mismatch", field: string): Unproven {
  return { code: code === "root_mismatch" ? "root_mismatch" : "proof_malformed", field };
}
