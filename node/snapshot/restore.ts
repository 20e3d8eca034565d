/**
 * From the chunks of a snapshot to a store that a node opens, believing nothing but the network file.
 *
 * ```
 *   headers follow one another from the network's hash on
 *   the last one, and each that names another validator set, is certified by the set of its height
 *   -> its state root proves the rows, their partition rows prove the records, its other roots the block and results
 * ```
 *
 * What is not there afterwards: blocks and states before the snapshot's height. Old headers are, with the history log
 * over them, so that they can still be proven, and every change of the validator set, so that clients can follow.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual, compareBytes, toHex } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { type Hash, hash } from "../../crypto/hash/hash.ts";
import {
  encodeHeader,
  encodeResult,
  type Header,
  headerHash,
  parseBlock,
  parseHeader,
  parseResult,
  resultsRoot,
} from "../../chain/block/block.ts";
import { type NetworkFile, networkHash } from "../../chain/block/genesis.ts";
import { GENESIS_HEIGHT, type Height, nextHeight } from "../../chain/block/height.ts";
import { parseMembers } from "../../chain/block/validators.ts";
import { HistoryLog } from "../../chain/ledger/history.ts";
import { LedgerRows } from "../../chain/ledger/rows.ts";
import { frontierRoot, LOG_HASHER } from "../../chain/merkle/log.ts";
import { appendOperations, partitionFrontier, readRecords } from "../../chain/segment/partition.ts";
import { KEY_SIZE_BYTES_MAX } from "../../chain/state/bits.ts";
import { VALUE_SIZE_BYTES_MAX } from "../../chain/state/hashing.ts";
import { parseStateKey, partitionRange } from "../../chain/state/keys.ts";
import { ownRow, parsePartitionHead } from "../../chain/state/rows.ts";
import { StateTree, type StateUpdate } from "../../chain/state/tree.ts";
import { heightKey } from "../../chain/store/keyspace.ts";
import type { Store, StoreOperation } from "../../chain/store/store.ts";
import { LightVerifier } from "../light/verifier.ts";
import { requireEngine } from "./create.ts";
import type { SnapshotCode } from "./errors.ts";
import { type Chunk, CHUNK_KINDS } from "./format.ts";

/** Rows kept in memory before they are written. */
const PENDING_SIZE_BYTES_MAX = 32 * 1024 * 1024;

/** How much was restored. */
export type Restored = {
  readonly height: Height;
  readonly stateRoot: Hash;
  readonly headers: number;
  readonly stateRows: number;
  readonly records: number;
};

type Counts = { headers: number; stateRows: number; records: number };

/** A refusal: whoever made the snapshot, or copied it, is at fault. */
function refuse(code: SnapshotCode, message: string): never {
  throw new CodedError(code, { message });
}

/**
 * Writes a snapshot into an empty store. When it throws, the store is worth nothing: delete it.
 *
 * @throws CodedError a code of `SNAPSHOT_CODES`
 */
export async function restoreSnapshot(
  chunks: AsyncIterable<Chunk>,
  options: {
    readonly store: Store;
    readonly network: NetworkFile;
    readonly signal: AbortSignal;
    readonly onChunk?: (count: number) => void;
  },
): Promise<Restored> {
  requireEngine(options.network);
  const restoration = await Restoration.begin(options.store, options.network);
  let [count, isEnded, order] = [0, false, 0];
  for await (const chunk of chunks) {
    options.signal.throwIfAborted();
    const place = CHUNK_KINDS.indexOf(chunk.kind);
    const isOnce = chunk.kind === "start" || chunk.kind === "block" || chunk.kind === "end";
    if (place < order || (isOnce && place === order && count > 0) || (count === 0) !== (chunk.kind === "start"))
      refuse("snapshot_order", `a chunk ${chunk.kind} as number ${count}`);
    order = place;
    if (chunk.kind === "end") {
      if (chunk.chunks !== count) refuse("snapshot_malformed", `${count} chunks of ${chunk.chunks}`);
      isEnded = true;
      continue;
    }
    await restoration.take(chunk);
    count += 1;
    options.onChunk?.(count);
  }
  if (!isEnded) refuse("snapshot_malformed", "the snapshot was cut short");
  return restoration.finish();
}

/** One restoration under way. */
class Restoration {
  readonly #store: Store;
  readonly #network: NetworkFile;
  readonly #networkHash: Hash;
  readonly #rows: LedgerRows;
  readonly #history: HistoryLog;
  readonly #tree: StateTree;
  readonly #sets = new Map<string, Uint8Array>();
  /** Headers that name another set, and the last one so far. */
  readonly #changes: Header[] = [];
  readonly #certificates = new Map<Height, Uint8Array>();
  readonly #counts: Counts = { headers: 0, stateRows: 0, records: 0 };
  #height: Height = GENESIS_HEIGHT;
  #last: Header | undefined;
  #certified: Header | undefined;
  #lastKey: Uint8Array | undefined;
  #partition: { readonly name: string; readonly size: bigint } | undefined;
  /** Rows that are not in the tree yet. */
  readonly #pending: StateUpdate[] = [];
  #pendingSizeBytes = 0;
  #nextVersion: Height = GENESIS_HEIGHT;

  private constructor(store: Store, network: NetworkFile, tree: StateTree) {
    this.#store = store;
    this.#network = network;
    this.#networkHash = networkHash(network);
    this.#rows = new LedgerRows(store);
    this.#history = HistoryLog.open(this.#rows, GENESIS_HEIGHT);
    this.#tree = tree;
  }

  static async begin(store: Store, network: NetworkFile): Promise<Restoration> {
    assert(new LedgerRows(store).networkHash() === undefined, "restored into a store that is not empty");
    return new Restoration(store, network, await StateTree.open(store));
  }

  async take(chunk: Exclude<Chunk, { readonly kind: "end" }>): Promise<void> {
    switch (chunk.kind) {
      case "start":
        if (chunk.chainId !== this.#network.chainId || !bytesEqual(chunk.networkHash, this.#networkHash))
          refuse("snapshot_network", `of ${chunk.chainId}`);
        this.#height = chunk.height;
        return;
      case "headers":
        for (const bytes of chunk.headers) await this.#takeHeader(bytes);
        return;
      case "validators":
        for (const members of chunk.sets) await this.#takeSet(members);
        return;
      case "certificates":
        for (const { height, certificate } of chunk.certificates) this.#certificates.set(height, certificate);
        return;
      case "block":
        await this.#takeBlock(chunk);
        return;
      case "state":
        await this.#takeRows(chunk.rows);
        return;
      case "records":
        await this.#takeRecords(chunk);
        return;
    }
  }

  /** Checks what only shows at the end, and makes the store one that opens. */
  async finish(): Promise<Restored> {
    const header = this.#certified;
    if (header === undefined) return refuse("snapshot_order", "a snapshot without a block");
    await this.#stage(this.#height);
    const root = this.#tree.rootAt(this.#height);
    if (root === undefined || !bytesEqual(root, header.stateRoot))
      refuse("snapshot_state", "the rows are not those of the state root");
    this.#checkPartitions();
    await this.#tree.prune(this.#height);
    // Last, and durable: a store without these is empty to whoever opens it.
    await this.#store.write([this.#rows.networkOperation(this.#networkHash), this.#rows.headOperation(this.#height)], {
      sync: true,
    });
    return { height: this.#height, stateRoot: header.stateRoot, ...this.#counts };
  }

  async #takeHeader(bytes: Uint8Array): Promise<void> {
    const parsed = parseHeader(bytes);
    if (!parsed.ok) return refuse("snapshot_headers", parsed.error.code);
    const header = parsed.value;
    const last = this.#last;
    const previous = last === undefined ? this.#networkHash : headerHash(last);
    const follows =
      header.chainId === this.#network.chainId &&
      header.height === nextHeight(last?.height ?? GENESIS_HEIGHT) &&
      header.height <= this.#height &&
      bytesEqual(header.previous, previous) &&
      bytesEqual(header.historyRoot, this.#history.root()) &&
      (last === undefined || (header.timeMs > last.timeMs && bytesEqual(header.validatorsHash, last.nextValidatorsHash)));
    if (!follows) refuse("snapshot_headers", `header ${header.height} does not follow ${last?.height ?? 0}`);
    const hashed = headerHash(header);
    const put: StoreOperation = { kind: "put", key: heightKey("header", header.height), value: encodeHeader(header) };
    await this.#store.write([put, ...this.#rows.validatorChangeOperations(header), ...this.#history.operations(hashed)], {
      sync: false,
    });
    this.#history.adopt(hashed);
    if (!bytesEqual(header.validatorsHash, header.nextValidatorsHash)) this.#changes.push(header);
    this.#last = header;
    this.#counts.headers += 1;
  }

  async #takeSet(members: Uint8Array): Promise<void> {
    const set = parseMembers(members);
    if (!set.ok) return refuse("snapshot_validators", set.error.code);
    this.#sets.set(toHex(hash("validators", members)), members);
    await this.#store.write([this.#rows.validatorsOperation(set.value)], { sync: false });
  }

  /** Follows the validator sets from genesis to the last header, which is thereby believed, and all before it with it. */
  async #certify(certificate: Uint8Array): Promise<Header> {
    const last = this.#last;
    if (last?.height !== this.#height)
      return refuse("snapshot_headers", `headers end at ${last?.height ?? 0}, not ${this.#height}`);
    const verifier = LightVerifier.fromGenesis(this.#network);
    const operations: StoreOperation[] = [];
    for (const header of this.#changes) {
      const proof = header.height === this.#height ? certificate : this.#certificates.get(header.height);
      const validators = this.#sets.get(toHex(header.nextValidatorsHash));
      if (proof === undefined) return refuse("snapshot_certificate", `height ${header.height} has none`);
      if (validators === undefined) return refuse("snapshot_validators", `the set after height ${header.height} is missing`);
      const accepted = await verifier.acceptChange({ anchor: { header: encodeHeader(header), certificate: proof }, validators });
      if (!accepted.ok) refuse("snapshot_certificate", `height ${header.height}: ${accepted.error.code}`);
      operations.push({ kind: "put", key: heightKey("certificate", header.height), value: proof });
    }
    if (!this.#sets.has(toHex(last.validatorsHash))) refuse("snapshot_validators", "the set of the last height is missing");
    const accepted = await verifier.acceptHeader({ header: encodeHeader(last), certificate });
    if (!accepted.ok) refuse("snapshot_certificate", `height ${last.height}: ${accepted.error.code}`);
    await this.#store.write(operations, { sync: false });
    return last;
  }

  async #takeBlock(chunk: Extract<Chunk, { readonly kind: "block" }>): Promise<void> {
    const header = await this.#certify(chunk.certificate);
    const block = parseBlock(chunk.block);
    if (!block.ok || !bytesEqual(block.value.hash, headerHash(header)))
      return refuse("snapshot_block", "the block is not that of the last header");
    const results = chunk.results.map((bytes) => {
      const result = parseResult(bytes);
      return result.ok ? result.value : refuse("snapshot_block", result.error.code);
    });
    if (results.length !== block.value.transactions.length || !bytesEqual(resultsRoot(results), header.resultsRoot)) {
      refuse("snapshot_block", "the results are not those of the last header");
    }
    // Strict decoding means one encoding: what is written is what was proven.
    assert(
      results.every((result, index) => bytesEqual(encodeResult(result), present(chunk.results[index], "result"))),
      "a result encodes otherwise",
    );
    const operations = this.#rows.blockOperations(block.value, results);
    await this.#store.write(
      [...operations, { kind: "put", key: heightKey("certificate", header.height), value: chunk.certificate }],
      { sync: false },
    );
    this.#certified = header;
  }

  async #takeRows(rows: Extract<Chunk, { readonly kind: "state" }>["rows"]): Promise<void> {
    if (this.#certified === undefined) refuse("snapshot_order", "state before the block");
    for (const { key, value } of rows) {
      if (this.#lastKey !== undefined && compareBytes(this.#lastKey, key) >= 0) refuse("snapshot_state", "rows out of order");
      if (key.length < 1 || key.length > KEY_SIZE_BYTES_MAX || value.length > VALUE_SIZE_BYTES_MAX)
        refuse("snapshot_state", "a row of a size that no state has");
      this.#lastKey = key;
      this.#pending.push({ key: key.slice(), value: value.slice() });
      this.#pendingSizeBytes += key.length + value.length;
    }
    this.#counts.stateRows += rows.length;
    // Versions below the snapshot's own carry what does not fit in memory; they are pruned at the end.
    if (this.#pendingSizeBytes > PENDING_SIZE_BYTES_MAX && this.#nextVersion < this.#height) {
      await this.#stage(this.#nextVersion);
      this.#nextVersion = nextHeight(this.#nextVersion);
    }
  }

  async #stage(version: Height): Promise<void> {
    const staged = this.#tree.stage(this.#tree.latest(), version, this.#pending.splice(0));
    await this.#store.write(staged.operations, { sync: false });
    this.#tree.adopt(staged);
    this.#pendingSizeBytes = 0;
  }

  async #takeRecords(chunk: Extract<Chunk, { readonly kind: "records" }>): Promise<void> {
    const { stream, partition, firstIndex, records } = chunk;
    const name = `${stream}/${partition}`;
    const size = this.#partition?.name === name ? this.#partition.size : 0n;
    const isThere = records.length === 0 || readRecords(this.#store, { stream, partition }, firstIndex, 1).length > 0;
    if (firstIndex !== size || isThere) refuse("snapshot_records", `${name} goes on at ${firstIndex} after ${size}`);
    await this.#store.write(appendOperations(this.#store, { stream, partition, firstIndex, records }), { sync: false });
    this.#partition = { name, size: size + BigInt(records.length) };
    this.#counts.records += records.length;
  }

  /** Every partition of the state has all of its records, and no record is of any other. */
  #checkPartitions(): void {
    let total = 0n;
    for (const { key, value } of this.#tree.entries(this.#height, partitionRange())) {
      const name = parseStateKey(key);
      if (name?.kind !== "partition") return refuse("snapshot_state", "a partition row under another key");
      const { frontier } = ownRow(parsePartitionHead(value), "partition");
      total += frontier.size;
      const held = heldRoot(this.#store, name, frontier.size);
      if (held === undefined || !bytesEqual(held, frontierRoot(LOG_HASHER, frontier)))
        refuse("snapshot_records", `${name.stream}/${name.partition}`);
    }
    if (total !== BigInt(this.#counts.records)) refuse("snapshot_records", `${this.#counts.records} records of ${total}`);
  }
}

/** The root over the first `size` records that the store holds; `undefined` when it holds fewer. */
function heldRoot(store: Store, name: { readonly stream: string; readonly partition: number }, size: bigint): Hash | undefined {
  if (size > 0n && readRecords(store, name, size - 1n, 1).length === 0) return undefined;
  return frontierRoot(LOG_HASHER, partitionFrontier(store, name, size));
}
