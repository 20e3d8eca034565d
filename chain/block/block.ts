/**
 * Blocks: a header, the transactions it orders, the certificate of the block before, and evidence.
 *
 * Wire forms, canonical dag-cbor:
 *
 * ```
 * header [version, chainId, height, timeMs, previous, historyRoot, transactionsRoot, stateRoot, resultsRoot,
 *         validatorsHash, nextValidatorsHash, certificateHash, evidenceRoot, proposer]
 * block  [header, [transaction...], certificate | null, [evidence...]]       header and transactions as byte strings
 * result [1] applied, or [2, code, field] failed
 * ```
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { type DecodeError, type Reader, readWith } from "../../crypto/codec/reader.ts";
import { HEAD_SIZE_BYTES_MAX, Writer } from "../../crypto/codec/writer.ts";
import { type Hash, hash, ZERO_HASH } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { logRoot } from "../merkle/log.ts";
import { encodeEvidence, type Evidence, readEvidence, writeEvidence } from "./evidence.ts";
import { readAddress, readHash, readHeight, readName, readTimeMs } from "./fields.ts";
import type { Height } from "./height.ts";
import {
  BLOCK_SIZE_BYTES_MAX,
  EVIDENCE_MAX,
  FORMAT_VERSION,
  RESULT_TEXT_SIZE_BYTES_MAX,
  TRANSACTION_SIZE_BYTES_MAX,
  TRANSACTIONS_MAX,
} from "./limits.ts";
import { parseTransaction, type Transaction, type TransactionError } from "./transaction.ts";
import { type Certificate, certificateHash, readCertificate, writeCertificate } from "./vote.ts";

/**
 * What validators agree on. Every commitment below is to the state of things after this block's own transactions,
 * so that a read at the newest height is provable at once.
 */
export type Header = {
  readonly chainId: string;
  readonly height: Height;
  /** Milliseconds since 1970 UTC, strictly greater than the previous header's. */
  readonly timeMs: bigint;
  /** Hash of the previous header; at height 1, of the network file. */
  readonly previous: Hash;
  /** Root of the log tree over the hashes of all earlier headers (heights 1 to height - 1). */
  readonly historyRoot: Hash;
  /** Root of the log tree over the encoded transactions. */
  readonly transactionsRoot: Hash;
  /** Root of the state tree. */
  readonly stateRoot: Hash;
  /** Root of the log tree over the encoded results, one a transaction. */
  readonly resultsRoot: Hash;
  /** Hash of the set that decides this height, and of the one that decides the next. */
  readonly validatorsHash: Hash;
  readonly nextValidatorsHash: Hash;
  /** Hash of the previous height's certificate; zero at height 1. */
  readonly certificateHash: Hash;
  /** Root of the log tree over the encoded evidence. */
  readonly evidenceRoot: Hash;
  readonly proposer: Address;
};

/** A candidate or a decided block. */
export type Block = {
  readonly header: Header;
  readonly transactions: readonly Transaction[];
  /** The certificate of height - 1; undefined at height 1 only. */
  readonly previousCertificate: Certificate | undefined;
  readonly evidence: readonly Evidence[];
  /** Hash of the encoded header. */
  readonly hash: Hash;
};

/** What one transaction did. Ordered as the block's transactions. */
export type TransactionResult =
  | { readonly kind: "applied" }
  /** Charged, and without any effect: `code` says why, `field` what was at fault. */
  | { readonly kind: "failed"; readonly code: string; readonly field: string };

/** What a header is made from, beyond what it commits to by hash. */
export type BlockParts = Omit<Header, "transactionsRoot" | "resultsRoot" | "certificateHash" | "evidenceRoot"> & {
  readonly transactions: readonly Transaction[];
  readonly results: readonly TransactionResult[];
  readonly previousCertificate: Certificate | undefined;
  readonly evidence: readonly Evidence[];
};

/** Why bytes are not a block. `field` of a transaction's fault begins `transactions[index]`. */
export type BlockError = TransactionError | { readonly code: "block_size"; readonly field: string };

const RESULT_NUMBER = { applied: 1, failed: 2 } as const satisfies Record<TransactionResult["kind"], number>;

/** Makes a block, its commitments reckoned from its parts. */
export function assembleBlock(parts: BlockParts): Block {
  const { transactions, results, previousCertificate, evidence } = parts;
  assert(transactions.length === results.length, "{} results of {} transactions", results.length, transactions.length);
  const header: Header = {
    chainId: parts.chainId,
    height: parts.height,
    timeMs: parts.timeMs,
    previous: parts.previous,
    historyRoot: parts.historyRoot,
    transactionsRoot: transactionsRoot(transactions),
    stateRoot: parts.stateRoot,
    resultsRoot: resultsRoot(results),
    validatorsHash: parts.validatorsHash,
    nextValidatorsHash: parts.nextValidatorsHash,
    certificateHash: previousCertificate === undefined ? ZERO_HASH : certificateHash(previousCertificate),
    evidenceRoot: evidenceRoot(evidence),
    proposer: parts.proposer,
  };
  return { header, transactions, previousCertificate, evidence, hash: headerHash(header) };
}

/** Roots of lists that live, by the list: one is asked for when its block is read, judged, and built upon. */
const roots = new WeakMap<readonly Transaction[], Hash>();

/** Root over the wire forms of transactions. A list whose root was asked for must not change. */
export function transactionsRoot(transactions: readonly Transaction[]): Hash {
  let root = roots.get(transactions);
  if (root === undefined) roots.set(transactions, (root = logRoot(transactions.map(({ bytes }) => bytes))));
  return root;
}

/** Root over the encoded results. */
export function resultsRoot(results: readonly TransactionResult[]): Hash {
  return logRoot(results.map(encodeResult));
}

/** Root over the encoded evidence. */
export function evidenceRoot(evidence: readonly Evidence[]): Hash {
  return logRoot(evidence.map(encodeEvidence));
}

/** Whether the header commits to the transactions, certificate and evidence beside it. */
export function hasOwnBody({ header, transactions, previousCertificate, evidence }: Block): boolean {
  const certificate = previousCertificate === undefined ? ZERO_HASH : certificateHash(previousCertificate);
  return (
    bytesEqual(header.certificateHash, certificate) &&
    bytesEqual(header.evidenceRoot, evidenceRoot(evidence)) &&
    bytesEqual(header.transactionsRoot, transactionsRoot(transactions))
  );
}

// Headers.

/** The hash that votes and later headers name a block by. */
export function headerHash(header: Header): Hash {
  return hash("header", encodeHeader(header));
}

/** The one encoding of a header: what its hash is taken of. */
export function encodeHeader(header: Header): Uint8Array {
  const writer = new Writer().array(14).uint(FORMAT_VERSION).text(header.chainId).uint(header.height).uint(header.timeMs);
  writer.bytes(header.previous).bytes(header.historyRoot).bytes(header.transactionsRoot).bytes(header.stateRoot);
  writer.bytes(header.resultsRoot).bytes(header.validatorsHash).bytes(header.nextValidatorsHash).bytes(header.certificateHash);
  return writer.bytes(header.evidenceRoot).bytes(header.proposer).finish();
}

/** Parses what `encodeHeader` made. */
export function parseHeader(bytes: Uint8Array): Result<Header, DecodeError> {
  return readWith(bytes, readHeader);
}

function readHeader(reader: Reader): Header {
  reader.field("header").tuple(14);
  const offset = reader.field("version").offset;
  if (reader.number() !== FORMAT_VERSION) reader.refuse("encoding_limit", offset);
  return {
    chainId: readName(reader, "chainId"),
    height: readHeight(reader, "height"),
    timeMs: readTimeMs(reader, "timeMs"),
    previous: readHash(reader, "previous"),
    historyRoot: readHash(reader, "historyRoot"),
    transactionsRoot: readHash(reader, "transactionsRoot"),
    stateRoot: readHash(reader, "stateRoot"),
    resultsRoot: readHash(reader, "resultsRoot"),
    validatorsHash: readHash(reader, "validatorsHash"),
    nextValidatorsHash: readHash(reader, "nextValidatorsHash"),
    certificateHash: readHash(reader, "certificateHash"),
    evidenceRoot: readHash(reader, "evidenceRoot"),
    proposer: readAddress(reader, "proposer"),
  };
}

// Blocks.

/** Encodings of blocks that live: one is logged, measured, stored and sent, and was received. */
const encodings = new WeakMap<Block, Uint8Array>();

/** The one encoding of a block: what is gossiped and stored. Whoever asks shares it, and changes neither. */
export function encodeBlock(block: Block): Uint8Array {
  let bytes = encodings.get(block);
  if (bytes === undefined) encodings.set(block, (bytes = writeBlock(block)));
  return bytes;
}

/** About what a block has beside its transactions. */
const FRAME_SIZE_BYTES = 16 * 1024;

function writeBlock(block: Block): Uint8Array {
  const bodiesSizeBytes = block.transactions.reduce((size, { bytes }) => size + bytes.length + HEAD_SIZE_BYTES_MAX, 0);
  const writer = new Writer(bodiesSizeBytes + FRAME_SIZE_BYTES);
  writer.array(4).bytes(encodeHeader(block.header)).array(block.transactions.length);
  for (const transaction of block.transactions) writer.bytes(transaction.bytes);
  if (block.previousCertificate === undefined) writer.null();
  else writeCertificate(writer, block.previousCertificate);
  writer.array(block.evidence.length);
  for (const evidence of block.evidence) writeEvidence(writer, evidence);
  return writer.finish();
}

/**
 * Parses a block. Its form is checked and each transaction's; whether the header commits to what stands beside it is
 * for whoever judges the block. Byte strings are views on `bytes`.
 *
 * @param known - transactions by their places that are taken as they are when the block has the same bytes there
 */
export function parseBlock(bytes: Uint8Array, known: readonly (Transaction | undefined)[] = []): Result<Block, BlockError> {
  if (bytes.length > BLOCK_SIZE_BYTES_MAX) return fail({ code: "block_size", field: "block" });
  const outer = readWith(bytes, readFrame);
  if (!outer.ok) return outer;
  const { headerBytes, transactionBytes, previousCertificate, evidence } = outer.value;
  const header = parseHeader(headerBytes);
  if (!header.ok) return header;
  const transactions: Transaction[] = [];
  for (let index = 0; index < transactionBytes.length; index += 1) {
    const wire = present(transactionBytes[index], "transaction");
    const same = known[index];
    if (same !== undefined && bytesEqual(same.bytes, wire)) {
      transactions.push(same);
      continue;
    }
    const parsed = parseTransaction(wire);
    if (!parsed.ok) return fail({ ...parsed.error, field: `transactions[${index}].${parsed.error.field ?? "transaction"}` });
    transactions.push(parsed.value);
  }
  const block: Block = { header: header.value, transactions, previousCertificate, evidence, hash: hash("header", headerBytes) };
  // Nothing but the one encoding parses, and the views on it keep it in memory as it is.
  encodings.set(block, bytes);
  return ok(block);
}

function readFrame(reader: Reader): {
  readonly headerBytes: Uint8Array;
  readonly transactionBytes: readonly Uint8Array[];
  readonly previousCertificate: Certificate | undefined;
  readonly evidence: readonly Evidence[];
} {
  reader.field("block").tuple(4);
  const headerBytes = reader.field("header").bytes(BLOCK_SIZE_BYTES_MAX);
  const transactionCount = reader.field("transactions").array(TRANSACTIONS_MAX);
  const transactionBytes: Uint8Array[] = [];
  for (let index = 0; index < transactionCount; index += 1) transactionBytes.push(reader.bytes(TRANSACTION_SIZE_BYTES_MAX));
  const previousCertificate = reader.field("previousCertificate").skipNull() ? undefined : readCertificate(reader);
  const evidenceCount = reader.field("evidence").array(EVIDENCE_MAX);
  const evidence: Evidence[] = [];
  for (let index = 0; index < evidenceCount; index += 1) evidence.push(readEvidence(reader));
  return { headerBytes, transactionBytes, previousCertificate, evidence };
}

// Results.

/** What most come to. */
const APPLIED_BYTES = new Writer().array(1).uint(RESULT_NUMBER.applied).finish();

/** The one encoding of a result, which nobody changes: a leaf under `resultsRoot`. */
export function encodeResult(result: TransactionResult): Uint8Array {
  if (result.kind === "applied") return APPLIED_BYTES;
  return new Writer().array(3).uint(RESULT_NUMBER.failed).text(result.code).text(result.field).finish();
}

/** Parses what `encodeResult` made. */
export function parseResult(bytes: Uint8Array): Result<TransactionResult, DecodeError> {
  return readWith(bytes, (reader) => {
    const offset = reader.field("result").offset;
    const length = reader.array(3);
    const kind = reader.number();
    if (kind === RESULT_NUMBER.applied && length === 1) return { kind: "applied" };
    if (kind !== RESULT_NUMBER.failed || length !== 3) return reader.refuse("encoding_limit", offset);
    return {
      kind: "failed",
      code: reader.field("code").text(RESULT_TEXT_SIZE_BYTES_MAX),
      field: reader.field("field").text(RESULT_TEXT_SIZE_BYTES_MAX),
    };
  });
}
