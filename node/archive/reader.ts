/**
 * Reads an archive and believes nothing of it: the head by its certificate and the network file, every older header by the
 * history log, every node of a state by its hash, every record by its partition's tree. What does not hold is thrown as
 * `UnprovenError` or with a code of `errors.ts`, and another copy of the archive may still have it right.
 */

import { present } from "../../crypto/base/assert.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { readWith } from "../../crypto/codec/reader.ts";
import { type Hash, hashOf, ZERO_HASH } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { encodeResult, parseBlock, parseResult, type TransactionResult } from "../../chain/block/block.ts";
import { BLOCK_SIZE_BYTES_MAX, TRANSACTIONS_MAX } from "../../chain/block/limits.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import { type Height, nextHeight } from "../../chain/block/height.ts";
import { encodeCertificate } from "../../chain/block/vote.ts";
import {
  appendLeaf,
  EMPTY_FRONTIER,
  frontierRoot,
  inclusionProof,
  LOG_HASHER,
  type ReadNode,
  verifyInclusion,
} from "../../chain/merkle/log.ts";
import { accountKey, partitionKey, rowKey, rowRange } from "../../chain/state/keys.ts";
import { storedLeaf } from "../../chain/block/record.ts";
import type { KeyRange } from "../../chain/state/range.ts";
import { successor } from "../../chain/state/range.ts";
import { provenOrThrow, UnprovenError } from "../light/errors.ts";
import { encodeProofFile, type HistoryLink, type Statement, trimmedProofFile, verifyProofFile } from "../light/prooffile.ts";
import { provenBlock, provenPartition, provenRange, transactionPathOf } from "../light/statement.ts";
import { LightVerifier, type VerifiedHeader } from "../light/verifier.ts";
import { type Delta, NodeMissing, parseDelta, proveArchived } from "./delta.ts";
import { type Head, parseHead } from "./head.ts";
import { blockPath, type LogName, statePath, TILE_HEIGHT, TILE_WIDTH, tilePath } from "./layout.ts";
import type { ArchiveSource } from "./source.ts";
import { parseItems } from "./writer.ts";

const DELTAS_CACHED_MAX = 256;
const TILES_CACHED_MAX = 1_024;
const ROWS_PER_PAGE = 500;

/** A header of an archive, believed, and how it hangs from the head. */
type Found = { readonly at: VerifiedHeader; readonly history: HistoryLink | undefined };

/** See the file's head. */
export class Archive {
  readonly #source: ArchiveSource;
  readonly #network: NetworkFile;
  readonly #verifier: LightVerifier;
  readonly #head: Head;
  readonly #newest: VerifiedHeader;
  readonly #signal: AbortSignal;
  readonly #deltas = new Map<Height, Delta>();
  readonly #tiles = new Map<string, readonly Uint8Array[]>();

  private constructor(parts: {
    readonly source: ArchiveSource;
    readonly verifier: LightVerifier;
    readonly head: Head;
    readonly newest: VerifiedHeader;
    readonly signal: AbortSignal;
  }) {
    this.#source = parts.source;
    this.#network = parts.verifier.network;
    this.#verifier = parts.verifier;
    this.#head = parts.head;
    this.#newest = parts.newest;
    this.#signal = parts.signal;
  }

  /** Reads the head, and believes it when its certificate and the changes of validators to it hold. */
  static async open(source: ArchiveSource, network: NetworkFile, signal: AbortSignal): Promise<Archive> {
    const bytes = await source.read("head", signal);
    if (bytes === undefined) throw new CodedError("archive_missing", { message: `${source.name} is no archive`, path: "head" });
    const head = parseHead(bytes);
    if (head === undefined) throw new CodedError("archive_damaged", { message: `${source.name}: its head`, path: "head" });
    if (network.engine.name === "pow") throw new UnprovenError({ code: "finality_unknown" });
    const verifier = LightVerifier.fromGenesis(network);
    if (head.chainId !== network.chainId || !bytesEqual(head.networkHash, verifier.networkHash))
      throw new CodedError("archive_network", { message: `${source.name} is of ${head.chainId}`, path: "head" });
    for (const change of head.changes) provenOrThrow(await verifier.acceptChange(change));
    const newest = provenOrThrow(await verifier.acceptHeader(head.anchor));
    if (newest.header.height !== head.height) throw new UnprovenError({ code: "answer_height", height: head.height });
    return new Archive({ source, verifier, head, newest, signal });
  }

  /** The newest height there is. */
  get height(): Height {
    return this.#head.height;
  }

  /** A proof of the rows of a range in the state after a height; the newest when absent. Checked. */
  async proveState(
    range: KeyRange & { readonly limit?: number | undefined },
    height: Height = this.height,
  ): Promise<{ readonly at: VerifiedHeader; readonly proof: Uint8Array }> {
    const { at } = await this.#find(height);
    const proof = await this.#stateProof(at, range);
    provenOrThrow(
      provenRange(at, { from: range.from, to: range.to, ...(range.limit === undefined ? {} : { limit: range.limit }) }, proof),
    );
    return { at, proof };
  }

  /** The bytes of a block and of its certificate; `undefined` above the newest. Of them nothing is checked. */
  async blockBytes(height: Height): Promise<{ readonly block: Uint8Array; readonly certificate: Uint8Array } | undefined> {
    if (height > this.height) return undefined;
    const { block } = await this.#block(height);
    if (height === this.height) return { block, certificate: this.#head.anchor.certificate };
    const next = nextHeight(height);
    const parsed = parseBlock((await this.#block(next)).block);
    const certificate = parsed.ok ? parsed.value.previousCertificate : undefined;
    if (certificate === undefined) throw this.#damaged(blockPath(next));
    return { block, certificate: encodeCertificate(certificate) };
  }

  // Proof files, as the client makes them.

  /** A proof file of a row, or of its absence. */
  async exportRow(namespace: string, table: string, key: Uint8Array, options: ArchiveRead = {}): Promise<Uint8Array> {
    const at = rowKey(namespace, table, key);
    return await this.#export(options.height, async (found) => ({
      kind: "row",
      namespace,
      table,
      key,
      proof: await this.#stateProof(found, { from: at, to: successor(at) }),
    }));
  }

  /** A proof file of all rows of a range. */
  async exportRange(
    namespace: string,
    table: string,
    options: ArchiveRead & { readonly from?: Uint8Array | undefined; readonly to?: Uint8Array | undefined } = {},
  ): Promise<Uint8Array> {
    const { from, to } = options;
    return await this.#export(options.height, async (found) => {
      const whole = rowRange(namespace, table, from, to);
      const proofs: Uint8Array[] = [];
      for (let start: Uint8Array | undefined = whole.from; start !== undefined;) {
        const proof: Uint8Array = await this.#stateProof(found, { from: start, to: whole.to, limit: ROWS_PER_PAGE });
        proofs.push(proof);
        start = provenOrThrow(provenRange(found, { from: start, to: whole.to, limit: ROWS_PER_PAGE }, proof)).continueFrom;
      }
      return { kind: "range", namespace, table, from, to, proofs };
    });
  }

  /** A proof file of an account. */
  async exportAccount(address: Address, options: ArchiveRead = {}): Promise<Uint8Array> {
    const key = accountKey(address);
    return await this.#export(options.height, async (found) => ({
      kind: "account",
      address,
      proof: await this.#stateProof(found, { from: key, to: successor(key) }),
    }));
  }

  /** A proof file of a record, at a height at which it was there. */
  async exportRecord(stream: string, partition: number, index: bigint, options: ArchiveRead = {}): Promise<Uint8Array> {
    return await this.#export(options.height, async (found) => {
      const key = partitionKey(stream, partition);
      const proof = await this.#stateProof(found, { from: key, to: successor(key) });
      const head = provenOrThrow(provenPartition(found, { stream, partition }, proof));
      if (head === undefined || index >= head.size)
        throw new CodedError("record_unknown", { message: "the partition held no record at that index", stream, partition });
      const log: LogName = { kind: "stream", stream, partition };
      const size = await this.#sizeOf(stream, partition);
      const record = await this.#entry(log, index, size);
      const siblings = await this.#siblings(log, { index, size: head.size }, size);
      const claim = { leafHash: storedLeaf(record), index, size: head.size, siblings, root: head.root };
      if (!verifyInclusion(LOG_HASHER, claim).ok) throw this.#damaged(`stream/${stream}/${partition}`);
      return { kind: "record", stream, partition, index, record, siblings, proof };
    });
  }

  /** A proof file of the transaction of an id in a height's block. */
  async exportTransaction(id: Hash, height: Height): Promise<Uint8Array> {
    return await this.#export(height, async (found) => {
      const { block: bytes, results } = await this.#block(height);
      const block = provenOrThrow(provenBlock(found, bytes));
      const index = block.transactions.findIndex((transaction) => bytesEqual(transaction.id, id));
      const [transaction, result] = [block.transactions[index], results[index]];
      if (transaction === undefined || result === undefined || results.length !== block.transactions.length)
        throw new CodedError("transaction_unknown", { message: "no transaction of that id is in that block", height });
      const place = { index, count: results.length };
      const siblings = siblingsOf(
        block.transactions.map((each) => each.bytes),
        index,
      );
      const resultSiblings = siblingsOf(results.map(encodeResult), index);
      return {
        kind: "transaction",
        ...transactionPathOf({ ...place, transaction: transaction.bytes, siblings, result, resultSiblings }),
      };
    });
  }

  async #export(height: Height = this.height, state: (at: VerifiedHeader) => Promise<Statement>): Promise<Uint8Array> {
    const { at, history } = await this.#find(height);
    const statement = await state(at);
    const { chainId, networkHash, changes, anchor } = this.#head;
    const file = encodeProofFile(trimmedProofFile({ chainId, networkHash, changes, anchor, history, statement }, this.#network));
    // As a stranger would.
    provenOrThrow(await verifyProofFile(file, this.#network));
    return file;
  }

  // Inside.

  /** The header of a height, by the history log of the newest. */
  async #find(height: Height): Promise<Found> {
    if (height > this.height || height < 1n)
      throw new CodedError("archive_height", { message: `the archive holds heights 1 to ${this.height}`, height });
    if (height === this.height) return { at: this.#newest, history: undefined };
    const entry = await this.#entry({ kind: "history" }, height - 1n, this.height);
    const header = readWith(entry, (reader) => {
      reader.tuple(2);
      const bytes = reader.bytes(entry.length);
      reader.bytes(entry.length);
      return bytes;
    });
    if (!header.ok) throw this.#damaged("history");
    const siblings = await this.#siblings({ kind: "history" }, { index: height - 1n, size: this.height - 1n }, this.height);
    const history = { header: header.value, siblings };
    return { at: provenOrThrow(this.#verifier.acceptHistory(history, this.#newest)), history };
  }

  async #stateProof({ header }: VerifiedHeader, range: KeyRange & { readonly limit?: number | undefined }): Promise<Uint8Array> {
    const root = (await this.#delta(header.height, header.stateRoot)).root;
    try {
      return await proveArchived(root, range, (height) => this.#delta(height, undefined));
    } catch (error) {
      if (error instanceof NodeMissing) throw this.#damaged(statePath(error.pointer.height));
      throw error;
    }
  }

  /** A file of state nodes. What it holds is found by hash alone, so only the file that a proof begins at has its root checked. */
  async #delta(height: Height, root: Hash | undefined): Promise<Delta> {
    const known = this.#deltas.get(height);
    if (known !== undefined && root === undefined) return known;
    const path = statePath(height);
    const delta = parseDelta(await this.#require(path), height, root);
    if (delta === undefined) throw this.#damaged(path);
    remember(this.#deltas, height, delta, DELTAS_CACHED_MAX);
    return delta;
  }

  async #block(height: Height): Promise<{ readonly block: Uint8Array; readonly results: readonly TransactionResult[] }> {
    const path = blockPath(height);
    const bytes = await this.#require(path);
    const read = readWith(bytes, (reader) => {
      reader.tuple(2);
      const block = reader.bytes(BLOCK_SIZE_BYTES_MAX);
      const count = reader.array(TRANSACTIONS_MAX);
      const results: Uint8Array[] = [];
      for (let index = 0; index < count; index += 1) results.push(reader.bytes(bytes.length));
      return { block, results };
    });
    const results = read.ok ? read.value.results.map(parseResult) : [];
    if (!read.ok || results.some((result) => !result.ok)) throw this.#damaged(path);
    return { block: read.value.block, results: results.flatMap((result) => (result.ok ? [result.value] : [])) };
  }

  /** How many records of a partition are in tiles: as many as the newest state says. */
  async #sizeOf(stream: string, partition: number): Promise<bigint> {
    const key = partitionKey(stream, partition);
    const proof = await this.#stateProof(this.#newest, { from: key, to: successor(key) });
    return provenOrThrow(provenPartition(this.#newest, { stream, partition }, proof))?.size ?? 0n;
  }

  /** Siblings in a log as it was at `of.size`, from the tiles of the log as it is at `size`. */
  async #siblings(log: LogName, of: { readonly index: bigint; readonly size: bigint }, size: bigint): Promise<Hash[]> {
    const nodes = new Map<string, Hash>();
    for (;;) {
      const missing: { readonly level: number; readonly index: bigint }[] = [];
      const readNode: ReadNode = (level, index) => {
        const known = nodes.get(`${level}/${index}`);
        if (known === undefined) missing.push({ level, index });
        return known ?? ZERO_HASH;
      };
      const siblings = inclusionProof(LOG_HASHER, of, readNode);
      if (missing.length === 0) return siblings;
      for (const { level, index } of missing) nodes.set(`${level}/${index}`, await this.#node(log, level, index, size));
    }
  }

  /** A complete node of a log: the root over hashes of one tile. */
  async #node(log: LogName, level: number, index: bigint, size: bigint): Promise<Hash> {
    const tileLevel = Math.floor(level / TILE_HEIGHT);
    const span = 1n << BigInt(level - tileLevel * TILE_HEIGHT);
    const first = index * span;
    const tile = await this.#tile(log, tileLevel, first / BigInt(TILE_WIDTH), size >> BigInt(tileLevel * TILE_HEIGHT));
    const start = Number(first % BigInt(TILE_WIDTH));
    const hashes = tile.slice(start, start + Number(span));
    if (BigInt(hashes.length) !== span) throw this.#damaged(tilePath(log, tileLevel, first / BigInt(TILE_WIDTH), TILE_WIDTH));
    let frontier = EMPTY_FRONTIER;
    for (const hash of hashes) frontier = appendLeaf(LOG_HASHER, frontier, hashOf(hash));
    return frontierRoot(LOG_HASHER, frontier);
  }

  async #entry(log: LogName, index: bigint, size: bigint): Promise<Uint8Array> {
    const bundle = await this.#tile(log, "entries", index / BigInt(TILE_WIDTH), size);
    const entry = bundle[Number(index % BigInt(TILE_WIDTH))];
    if (entry === undefined) throw this.#damaged(`${log.kind} entry ${index}`);
    return entry;
  }

  /** A tile or a bundle of a level that has `size` items. */
  async #tile(log: LogName, level: number | "entries", index: bigint, size: bigint): Promise<readonly Uint8Array[]> {
    const left = size - index * BigInt(TILE_WIDTH);
    const width = left >= BigInt(TILE_WIDTH) ? TILE_WIDTH : Number(left);
    if (width < 1) throw this.#damaged(`${log.kind} tile ${level}/${index}`);
    const path = tilePath(log, level, index, width);
    const known = this.#tiles.get(path);
    if (known !== undefined) return known;
    const items = parseItems(await this.#require(path), level, width);
    if (items === undefined) throw this.#damaged(path);
    remember(this.#tiles, path, items, TILES_CACHED_MAX);
    return items;
  }

  async #require(path: string): Promise<Uint8Array> {
    const bytes = await this.#source.read(path, this.#signal);
    if (bytes === undefined)
      throw new CodedError("archive_missing", { message: `${this.#source.name}: ${path} is not there`, path });
    return bytes;
  }

  #damaged(path: string): CodedError {
    return new CodedError("archive_damaged", { message: `${this.#source.name}: ${path} is not what it should be`, path });
  }
}

/** At which height to read; the newest when absent. */
export type ArchiveRead = { readonly height?: Height | undefined };

function remember<Key, Value>(cache: Map<Key, Value>, key: Key, value: Value, max: number): void {
  cache.delete(key);
  cache.set(key, value);
  const [oldest] = cache.keys();
  if (cache.size > max && oldest !== undefined) cache.delete(oldest);
}

/** The siblings of one entry in the log tree over all of them. */
function siblingsOf(entries: readonly Uint8Array[], index: number): readonly Hash[] {
  const nodes = new Map<string, Hash>();
  let frontier = EMPTY_FRONTIER;
  for (const entry of entries)
    frontier = appendLeaf(LOG_HASHER, frontier, LOG_HASHER.leaf(entry), (level, at, hash) => nodes.set(`${level}/${at}`, hash));
  return inclusionProof(LOG_HASHER, { index: BigInt(index), size: BigInt(entries.length) }, (level, at) =>
    present(nodes.get(`${level}/${at}`), "log node"),
  );
}
