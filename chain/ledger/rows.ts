/**
 * What the ledger keeps in the store, row by row.
 *
 * A block is stored once, in parts: its header, its body (transactions and evidence), and the certificate of the
 * height before, which is that height's own row. When a block is committed, the certificate that it carries replaces
 * the one this node collected itself (both are valid; the chain commits to the former), so that a block read back is
 * the block that was decided, byte for byte.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual, concatBytes, EMPTY, readU32, readU64, toHex, u64 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import type { Coded, Result } from "../../crypto/base/result.ts";
import { type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, hashOf } from "../../crypto/hash/hash.ts";
import {
  type Block,
  encodeBlock,
  encodeHeader,
  encodeResult,
  type Header,
  parseResult,
  type TransactionResult,
} from "../block/block.ts";
import { type Height, heightOf } from "../block/height.ts";
import { encodeMembers, parseMembers, type ValidatorSet, validatorsHash } from "../block/validators.ts";
import { encodeCertificate } from "../block/vote.ts";
import {
  heightKey,
  heightOfKey,
  historyNodeKey,
  kindRange,
  metadataKey,
  TRANSACTION_KEY_SIZE_BYTES,
  transactionKey,
  validatorsKey,
  writeTransactionKey,
} from "../store/keyspace.ts";
import type { StoreOperation, StoreReader } from "../store/store.ts";

const NETWORK_KEY = metadataKey("network");
const SETS_REMEMBERED_MAX = 8;
/** Of where a transaction is: u64 height ‖ u32 index. */
const PLACE_SIZE_BYTES = 12;
const HEAD_KEY = metadataKey("head");

/** What we wrote must parse; when it does not, the disk gave back something else. */
export function ours<T>(parsed: Result<T, Coded>, what: string): T {
  if (!parsed.ok)
    throw new CodedError("ledger_corrupt", { message: `stored ${what} does not decode`, reason: parsed.error.code });
  return parsed.value;
}

/** Reads rows, and makes the operations that write them. Writes nothing itself. */
export class LedgerRows {
  readonly #reader: StoreReader;
  /** Sets by their hash, which is all that they are: the last few that were asked for. */
  readonly #sets = new Map<string, ValidatorSet>();

  constructor(reader: StoreReader) {
    this.#reader = reader;
  }

  /** The network this store belongs to; `undefined` when it is empty. */
  networkHash(): Hash | undefined {
    const bytes = this.#reader.get(NETWORK_KEY);
    return bytes === undefined ? undefined : hashOf(bytes);
  }

  headHeight(): Height {
    const bytes = this.#reader.get(HEAD_KEY);
    if (bytes === undefined) throw new CodedError("ledger_corrupt", { message: "no head" });
    return heightOf(readU64(bytes));
  }

  header(height: Height): Uint8Array | undefined {
    return this.#reader.get(heightKey("header", height));
  }

  certificate(height: Height): Uint8Array | undefined {
    return this.#reader.get(heightKey("certificate", height));
  }

  /** The block as it was proposed, from its parts; `undefined` when there is none or it was pruned. */
  block(height: Height): Uint8Array | undefined {
    const header = this.header(height);
    const body = this.#reader.get(heightKey("block", height));
    if (header === undefined || body === undefined) return undefined;
    const { transactions, evidence } = ours(readWith(body, readBody), "block");
    const previous = height === 1n ? undefined : this.certificate(heightOf(height - 1n));
    if (previous === undefined && height !== 1n)
      throw new CodedError("ledger_corrupt", { message: "the certificate before a block is missing", height });
    const writer = new Writer().array(4).bytes(header).raw(transactions);
    return (previous === undefined ? writer.null() : writer.raw(previous)).raw(evidence).finish();
  }

  results(height: Height): readonly TransactionResult[] | undefined {
    const bytes = this.#reader.get(heightKey("results", height));
    if (bytes === undefined) return undefined;
    const encoded = ours(
      readWith(bytes, (reader) => {
        const length = reader.array(bytes.length);
        return Array.from({ length }, () => reader.raw());
      }),
      "results",
    );
    return encoded.map((result) => ours(parseResult(result), "result"));
  }

  validators(hash: Hash): ValidatorSet | undefined {
    const name = toHex(hash);
    const known = this.#sets.get(name);
    if (known !== undefined) return known;
    const bytes = this.#reader.get(validatorsKey(hash));
    if (bytes === undefined) return undefined;
    const set = ours(parseMembers(bytes), "validators");
    const [oldest] = this.#sets.keys();
    if (this.#sets.size >= SETS_REMEMBERED_MAX && oldest !== undefined) this.#sets.delete(oldest);
    this.#sets.set(name, set);
    return set;
  }

  findTransaction(id: Hash): { readonly height: Height; readonly index: number } | undefined {
    const bytes = this.#reader.get(transactionKey(id));
    return bytes === undefined ? undefined : { height: heightOf(readU64(bytes)), index: readU32(bytes, 8) };
  }

  historyNode(level: number, index: bigint): Hash {
    const bytes = this.#reader.get(historyNodeKey(level, index));
    if (bytes === undefined) throw new CodedError("ledger_corrupt", { message: "history node is missing", level, index });
    return hashOf(bytes);
  }

  /** Heights whose header names another set for the next height, ascending. */
  async validatorChanges(): Promise<readonly Height[]> {
    const heights: Height[] = [];
    for await (const { key } of this.#reader.entries(kindRange("validatorChange"))) heights.push(heightOf(heightOfKey(key)));
    return heights;
  }

  /** The lowest height of which a block is kept. */
  async oldestBlock(): Promise<Height | undefined> {
    for await (const { key } of this.#reader.entries({ ...kindRange("block"), limit: 1 })) return heightOf(heightOfKey(key));
    return undefined;
  }

  // Operations.

  networkOperation(hash: Hash): StoreOperation {
    return { kind: "put", key: NETWORK_KEY, value: hash };
  }

  headOperation(height: Height): StoreOperation {
    return { kind: "put", key: HEAD_KEY, value: u64(height) };
  }

  certificateOperation(height: Height, certificate: Uint8Array): StoreOperation {
    return { kind: "put", key: heightKey("certificate", height), value: certificate };
  }

  validatorsOperation(set: ValidatorSet): StoreOperation {
    return { kind: "put", key: validatorsKey(validatorsHash(set)), value: encodeMembers(set) };
  }

  historyNodeOperation(level: number, index: bigint, hash: Hash): StoreOperation {
    return { kind: "put", key: historyNodeKey(level, index), value: hash };
  }

  /** Takes the newest block out again: what `blockOperations` put, and the head that came with it. */
  undoOperations(block: Block): StoreOperation[] {
    const { height } = block.header;
    const kinds = ["header", "block", "results", "certificate", "validatorChange"] as const;
    return [
      ...kinds.map((kind): StoreOperation => ({ kind: "delete", key: heightKey(kind, height) })),
      ...block.transactions.map(({ id }): StoreOperation => ({ kind: "delete", key: transactionKey(id) })),
      this.headOperation(heightOf(height - 1n)),
    ];
  }

  /** Takes out what is not needed once a block is forgotten; its header stays. */
  pruneOperations(block: Block): StoreOperation[] {
    const { height } = block.header;
    return [
      { kind: "delete", key: heightKey("block", height) },
      { kind: "delete", key: heightKey("results", height) },
      ...block.transactions.map(({ id }): StoreOperation => ({ kind: "delete", key: transactionKey(id) })),
    ];
  }

  certificateDeletion(height: Height): StoreOperation {
    return { kind: "delete", key: heightKey("certificate", height) };
  }

  historyNodeDeletion(level: number, index: bigint): StoreOperation {
    return { kind: "delete", key: historyNodeKey(level, index) };
  }

  validatorChangeOperations(header: Header): StoreOperation[] {
    if (bytesEqual(header.validatorsHash, header.nextValidatorsHash)) return [];
    return [{ kind: "put", key: heightKey("validatorChange", header.height), value: EMPTY }];
  }

  /** Header, body, results, index, and the certificate that the block carries. */
  blockOperations(block: Block, results: readonly TransactionResult[]): StoreOperation[] {
    const { height } = block.header;
    assert(
      results.length === block.transactions.length,
      "{} results of {} transactions",
      results.length,
      block.transactions.length,
    );
    const resultsWriter = new Writer().array(results.length);
    for (const result of results) resultsWriter.raw(encodeResult(result));
    const operations: StoreOperation[] = [
      { kind: "put", key: heightKey("header", height), value: encodeHeader(block.header) },
      { kind: "put", key: heightKey("block", height), value: encodeBody(block) },
      { kind: "put", key: heightKey("results", height), value: resultsWriter.finish() },
    ];
    for (const operation of indexOperations(block)) operations.push(operation);
    const previous = block.previousCertificate;
    if (previous !== undefined) operations.push(this.certificateOperation(heightOf(height - 1n), encodeCertificate(previous)));
    return operations;
  }
}

/** Where each transaction of a block is. Keys and values are views on one buffer: they live until the block is durable. */
function indexOperations({ header, transactions }: Block): StoreOperation[] {
  const sizeBytes = TRANSACTION_KEY_SIZE_BYTES + PLACE_SIZE_BYTES;
  const { buffer } = new Uint8Array(transactions.length * sizeBytes);
  const places = new DataView(buffer);
  const operations: StoreOperation[] = [];
  for (let index = 0; index < transactions.length; index += 1) {
    const at = index * sizeBytes;
    const key = new Uint8Array(buffer, at, TRANSACTION_KEY_SIZE_BYTES);
    writeTransactionKey(key, present(transactions[index], "transaction").id);
    const placeAt = at + TRANSACTION_KEY_SIZE_BYTES;
    places.setBigUint64(placeAt, header.height);
    places.setUint32(placeAt + 8, index);
    operations.push({ kind: "put", key, value: new Uint8Array(buffer, placeAt, PLACE_SIZE_BYTES) });
  }
  return operations;
}

/** Of an array of two. */
const PAIR_HEAD = new Writer().array(2).finish();

/** `[transactions, evidence]` of an encoded block, without header and certificate. */
function encodeBody(block: Block): Uint8Array {
  const parts = readWith(encodeBlock(block), (reader) => {
    reader.tuple(4);
    reader.raw();
    const transactions = reader.raw();
    reader.raw();
    return { transactions, evidence: reader.raw() };
  });
  assert(parts.ok, "a block that we encoded does not decode");
  return concatBytes(PAIR_HEAD, parts.value.transactions, parts.value.evidence);
}

function readBody(reader: Reader): { readonly transactions: Uint8Array; readonly evidence: Uint8Array } {
  reader.tuple(2);
  return { transactions: reader.raw(), evidence: reader.raw() };
}
