/**
 * Reads of a ledger for others, each checked against the chain before it leaves: what a disk changed is refused with
 * `store_damaged` and never served.
 *
 * A header is the one that the next header names, everything else is what a header commits to. What has no proof (a listing,
 * a consistency proof between sizes of long ago) is for the caller to check, and the scrub finds what is wrong with it.
 */

import { bytesEqual, readU64 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { type Hash, hash } from "../../crypto/hash/hash.ts";
import {
  type Block,
  encodeBlock,
  encodeResult,
  hasOwnBody,
  type Header,
  headerHash,
  parseHeader,
  type TransactionResult,
} from "../../chain/block/block.ts";
import { type Height, heightOf, nextHeight } from "../../chain/block/height.ts";
import { storedLeaf } from "../../chain/block/record.ts";
import { quorumRuleOf } from "../../chain/block/protocol.ts";
import { type ValidatorSet, validatorsHash } from "../../chain/block/validators.ts";
import { parseCertificate, verifyCertificate } from "../../chain/block/vote.ts";
import type { Ledger } from "../../chain/ledger/ledger.ts";
import { frontierRoot, LOG_HASHER, logRoot, verifyInclusion } from "../../chain/merkle/log.ts";
import { partitionKey } from "../../chain/state/keys.ts";
import { verifyRange } from "../../chain/state/proof.ts";
import { parsePartitionHead } from "../../chain/state/rows.ts";
import { transactionKey } from "../../chain/store/keyspace.ts";
import type { BlockSource } from "../network/sync.ts";
import type { LedgerReads, StateRange, TransactionProof } from "../rpc/backend.ts";
import { SCRUB_CODES } from "./errors.ts";

/** Blocks, and results, that are kept after they were checked. */
const REMEMBERED_MAX = 4;

/** See the file's head. */
export class GuardedReads implements LedgerReads {
  readonly #ledger: Ledger;
  readonly #onDamage: (place: string) => void;
  /** Sets that were found to be what their headers name. */
  readonly #sets = new WeakSet<ValidatorSet>();
  /** The blocks and results that were asked for last. */
  readonly #blocks = new Map<Height, Block>();
  readonly #results = new Map<Height, { readonly root: Hash; readonly results: readonly TransactionResult[] }>();
  /** The newest certificate whose signatures were checked: no header commits to it yet. */
  #newest: Hash | undefined;

  /** @param onDamage - told of each refusal, for the operator */
  constructor(ledger: Ledger, onDamage: (place: string) => void) {
    this.#ledger = ledger;
    this.#onDamage = onDamage;
  }

  head(): ReturnType<LedgerReads["head"]> {
    return this.#ledger.head();
  }

  headerBytes(height: Height): Uint8Array | undefined {
    const bytes = this.#read(`header ${height}`, () => this.#ledger.headerBytes(height));
    if (bytes === undefined || height > this.head().height) return undefined;
    const parsed = parseHeader(bytes);
    const isIt = parsed.ok && bytesEqual(headerHash(parsed.value), this.#hashAt(height));
    return isIt ? bytes : this.#refuse(`header ${height}`);
  }

  certificateBytes(height: Height): Uint8Array | undefined {
    const place = `certificate ${height}`;
    const bytes = this.#read(place, () => this.#ledger.certificateBytes(height));
    if (bytes === undefined || height > this.head().height) return undefined;
    const own = hash("certificate", bytes);
    if (height < this.head().height) {
      const { certificateHash } = this.#header(nextHeight(height));
      return bytesEqual(own, certificateHash) ? bytes : this.#refuse(place);
    }
    if (this.#newest === undefined || !bytesEqual(own, this.#newest)) {
      if (!this.#isCertificate(height, bytes)) return this.#refuse(place);
      this.#newest = own;
    }
    return bytes;
  }

  block(height: Height): Block | undefined {
    const place = `block ${height}`;
    if (height > this.head().height) return undefined;
    const known = this.#blocks.get(height);
    // Whoever waits for a transaction asks for the newest blocks again and again.
    if (known !== undefined && bytesEqual(known.hash, this.#hashAt(height))) return known;
    // A block is put together with the certificate of the height before.
    if (height > 1n && this.certificateBytes(heightOf(height - 1n)) === undefined) return undefined;
    const block = this.#read(place, () => this.#ledger.block(height));
    if (block === undefined) return undefined;
    if (!bytesEqual(block.hash, this.#hashAt(height)) || !hasOwnBody(block)) return this.#refuse(place);
    remember(this.#blocks, height, block);
    return block;
  }

  blockBytes(height: Height): Uint8Array | undefined {
    const block = this.block(height);
    // What was checked is what leaves, whatever the disk says by now.
    return block === undefined ? undefined : encodeBlock(block);
  }

  results(height: Height): readonly TransactionResult[] | undefined {
    const place = `results ${height}`;
    if (height > this.head().height) return undefined;
    const { resultsRoot } = this.#header(height);
    const known = this.#results.get(height);
    if (known !== undefined && bytesEqual(known.root, resultsRoot)) return known.results;
    const results = this.#read(place, () => this.#ledger.results(height));
    if (results === undefined) return undefined;
    if (!bytesEqual(logRoot(results.map(encodeResult)), resultsRoot)) return this.#refuse(place);
    remember(this.#results, height, { root: resultsRoot, results });
    return results;
  }

  validators(height: Height): ValidatorSet | undefined {
    const place = `validators of ${height}`;
    const set = this.#read(place, () => this.#ledger.validators(height));
    // The set after the head is in no header yet, and is what the node itself decides by.
    if (set === undefined || height > this.head().height || this.#sets.has(set)) return set;
    if (!bytesEqual(validatorsHash(set), this.#header(height).validatorsHash)) return this.#refuse(place);
    this.#sets.add(set);
    return set;
  }

  validatorChanges(from: Height, limit: number): readonly { readonly height: Height }[] {
    return this.#ledger.validatorChanges(from, limit);
  }

  findTransaction(id: Hash): { readonly height: Height; readonly index: number } | undefined {
    const place = "transaction index";
    const found = this.#read(place, () => this.#ledger.findTransaction(id));
    if (found === undefined) {
      const row = this.#read(place, () => this.#ledger.store.get(transactionKey(id)));
      // Of the block that is being written; anything else is no place that a transaction can have.
      const isAhead = row === undefined || (row.length === 12 && readU64(row) === this.head().height + 1n);
      return isAhead ? undefined : this.#refuse(place);
    }
    const transaction = this.block(found.height)?.transactions[found.index];
    return transaction !== undefined && bytesEqual(transaction.id, id) ? found : this.#refuse(place);
  }

  proveTransaction(height: Height, index: number): TransactionProof | undefined {
    const place = `transaction ${height}/${index}`;
    if (height > 1n && this.certificateBytes(heightOf(height - 1n)) === undefined) return undefined;
    const proof = this.#read(place, () => this.#ledger.proveTransaction(height, index));
    if (proof === undefined) return undefined;
    const { transactionsRoot, resultsRoot } = this.#header(height);
    const { bytes, siblings, result, resultSiblings, count } = proof;
    const at = { index: BigInt(index), size: BigInt(count) };
    const isIt =
      verifyInclusion(LOG_HASHER, { ...at, leafHash: LOG_HASHER.leaf(bytes), siblings, root: transactionsRoot }).ok &&
      verifyInclusion(LOG_HASHER, {
        ...at,
        leafHash: LOG_HASHER.leaf(encodeResult(result)),
        siblings: resultSiblings,
        root: resultsRoot,
      }).ok;
    return isIt ? proof : this.#refuse(place);
  }

  state(height: Height): ReturnType<LedgerReads["state"]> {
    const place = `state of ${height}`;
    const view = this.#read(place, () => this.#ledger.state(height));
    return view === undefined ? undefined : { get: (key) => this.#read(place, () => view.get(key)) };
  }

  stateEntries(height: Height, range: StateRange): Iterable<{ readonly key: Uint8Array; readonly value: Uint8Array }> {
    return this.#ledger.stateEntries(height, range);
  }

  proveState(height: Height, range: StateRange): Uint8Array | undefined {
    const place = `state of ${height}`;
    const proof = this.#read(place, () => this.#ledger.proveState(height, range));
    if (proof === undefined || height === 0n) return proof;
    const { from, to } = range;
    const root = this.#header(height).stateRoot;
    const asked = { from: from ?? new Uint8Array(0), ...(to === undefined ? {} : { to }) };
    return verifyRange(root, { ...asked, ...(range.limit === undefined ? {} : { limit: range.limit }) }, proof).ok
      ? proof
      : this.#refuse(place);
  }

  oldestState(): Height {
    return this.#ledger.oldestState();
  }

  proveHistory(of: Height, at: Height): readonly Hash[] {
    const place = `history of ${of}`;
    const siblings = this.#read(place, () => this.#ledger.proveHistory(of, at));
    if (at > this.head().height) return siblings;
    const claim = { leafHash: LOG_HASHER.leaf(this.#hashAt(of)), index: of - 1n, size: at - 1n, siblings };
    return verifyInclusion(LOG_HASHER, { ...claim, root: this.#header(at).historyRoot }).ok ? siblings : this.#refuse(place);
  }

  records(stream: string, partition: number, from: bigint, count: number): ReturnType<LedgerReads["records"]> {
    return this.#read(`records of ${stream}/${partition}`, () => this.#ledger.records(stream, partition, from, count));
  }

  /** The record was read before: it is refused with its proof, when it is not under the root of the newest state. */
  proveRecordIn(size: bigint, stream: string, partition: number, index: bigint): readonly Hash[] {
    const place = `record ${stream}/${partition}[${index}]`;
    const siblings = this.#read(place, () => this.#ledger.proveRecordIn(size, stream, partition, index));
    const row = this.#read(place, () => this.#ledger.state(this.head().height)?.get(partitionKey(stream, partition)));
    const head = row === undefined ? undefined : parsePartitionHead(row);
    const [record] = this.#read(place, () => this.#ledger.records(stream, partition, index, 1));
    if (head?.ok !== true || record === undefined) return this.#refuse(place);
    const { frontier } = head.value;
    const now =
      size === frontier.size
        ? siblings
        : this.#read(place, () => this.#ledger.proveRecordIn(frontier.size, stream, partition, index));
    const claim = { leafHash: storedLeaf(record.bytes), index, size: frontier.size, siblings: now };
    return verifyInclusion(LOG_HASHER, { ...claim, root: frontierRoot(LOG_HASHER, frontier) }).ok
      ? siblings
      : this.#refuse(place);
  }

  proveConsistency(stream: string, partition: number, first: bigint, second: bigint): readonly Hash[] | undefined {
    return this.#read(`partition ${stream}/${partition}`, () => this.#ledger.proveConsistency(stream, partition, first, second));
  }

  #header(height: Height): Header {
    const bytes = this.headerBytes(height);
    const parsed = bytes === undefined ? undefined : parseHeader(bytes);
    return parsed?.ok === true ? parsed.value : this.#refuse(`header ${height}`);
  }

  /** What the next header, or for the newest one the ledger itself, says that the hash is. */
  #hashAt(height: Height): Hash {
    const head = this.head();
    if (height === head.height) return head.hash;
    const after = this.#read(`header ${height + 1n}`, () => this.#ledger.headerBytes(nextHeight(height)));
    const parsed = after === undefined ? undefined : parseHeader(after);
    return parsed?.ok === true ? parsed.value.previous : this.#refuse(`header ${height + 1n}`);
  }

  #isCertificate(height: Height, bytes: Uint8Array): boolean {
    const certificate = parseCertificate(bytes);
    if (!certificate.ok || certificate.value.height !== height) return false;
    if (!bytesEqual(certificate.value.blockHash, this.#hashAt(height))) return false;
    const rule = quorumRuleOf(this.#ledger.network.engine.name);
    const set = this.validators(height);
    if (rule === undefined || certificate.value.kind !== "quorum") return rule === undefined;
    return set !== undefined && verifyCertificate({ chainId: this.#ledger.network.chainId, rule, set }, certificate.value).ok;
  }

  #read<T>(place: string, read: () => T): T {
    try {
      return read();
    } catch (error) {
      // What the store, the ledger or the state tree calls corrupt is what this is about.
      if (error instanceof CodedError && /_corrupt$|_io$/.test(error.code)) return this.#refuse(place, error);
      throw error;
    }
  }

  #refuse(place: string, cause?: unknown): never {
    this.#onDamage(place);
    throw new CodedError("store_damaged", { message: SCRUB_CODES.store_damaged, place }, { cause });
  }
}

/** Keeps the last few. */
function remember<T>(kept: Map<Height, T>, height: Height, value: T): void {
  kept.delete(height);
  kept.set(height, value);
  const [oldest] = kept.keys();
  if (kept.size > REMEMBERED_MAX && oldest !== undefined) kept.delete(oldest);
}

/** The blocks that this node has, for peers that have not; a damaged one is one that it does not have. */
export function guardedSource(reads: LedgerReads, oldestBlock: () => bigint): BlockSource {
  return {
    height: () => reads.head().height,
    earliest: oldestBlock,
    encoded: (height) => {
      if (height < oldestBlock()) return undefined;
      try {
        const block = reads.blockBytes(heightOf(height));
        const certificate = reads.certificateBytes(heightOf(height));
        return block === undefined || certificate === undefined ? undefined : { block, certificate };
      } catch (error) {
        if (error instanceof CodedError && error.code === "store_damaged") return undefined;
        throw error;
      }
    },
  };
}
