/**
 * Writes an archive, height by height, from a replica that has executed every block itself: what the node said is checked on
 * the way, and the roots are the replica's own.
 *
 * ```
 *   node --block, certificate--> replica (judged, committed) --> block/N, state/N
 *                                                at the end  --> tiles and bundles of all logs, then head
 * ```
 *
 * `head` is replaced last, once everything that it speaks of is durable, so a reader never misses what it promises, and a
 * run that was cut short goes on from it: the replica is at its height or a few above, and files above are written anew.
 */

import { mkdir, open, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual, concatBytes } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, HASH_SIZE_BYTES, hashOf } from "../../crypto/hash/hash.ts";
import { encodeBlock, encodeResult, headerHash, parseBlock, parseHeader } from "../../chain/block/block.ts";
import { GENESIS_HEIGHT, type Height, heightOf, nextHeight } from "../../chain/block/height.ts";
import { storedLeaf } from "../../chain/block/record.ts";
import { encodeMembers } from "../../chain/block/validators.ts";
import { parseCertificate } from "../../chain/block/vote.ts";
import type { Commit, Ledger } from "../../chain/ledger/ledger.ts";
import { appendLeaf, EMPTY_FRONTIER, frontierRoot, LOG_HASHER } from "../../chain/merkle/log.ts";
import { parseStateKey, partitionRange } from "../../chain/state/keys.ts";
import { verifyRow } from "../../chain/state/proof.ts";
import { successor } from "../../chain/state/range.ts";
import { ownRow, parsePartitionHead } from "../../chain/state/rows.ts";
import { placeFile, syncDirectory } from "../home/files.ts";
import { type Delta, encodeDelta, parseDelta, proveArchived } from "./delta.ts";
import { blockPath, encodeBundle, type LogName, parseBundle, statePath, TILE_WIDTH, tilePath } from "./layout.ts";
import { encodeHead, type Head, parseHead } from "./head.ts";
import { directorySource } from "./source.ts";

/** Hands out the chain; believed nothing. */
export type BlockSource = {
  head(): Promise<Height>;
  block(height: Height): Promise<{ readonly block: Uint8Array; readonly certificate: Uint8Array }>;
};

/** What a run wrote. */
export type ArchiveReport = {
  readonly from: Height;
  readonly height: Height;
  readonly files: number;
  readonly sizeBytes: number;
};

const DELTAS_CACHED_MAX = 512;
/** Heights after which everything is made durable: what is done again after a crash. */
const HEIGHTS_PER_HEAD = 1_000n;
const RECORDS_PER_READ = 512;

/** See the file's head. */
export class ArchiveWriter {
  readonly #directory: string;
  readonly #replica: Ledger;
  readonly #signal: AbortSignal;
  readonly #deltas = new Map<Height, Delta>();
  readonly #directories = new Set<string>();
  /** Partial tiles whose items are in larger ones now. */
  readonly #outgrown: string[] = [];
  #files = 0;
  #sizeBytes = 0;

  constructor(options: { readonly directory: string; readonly replica: Ledger; readonly signal: AbortSignal }) {
    this.#directory = options.directory;
    this.#replica = options.replica;
    this.#signal = options.signal;
  }

  /** Follows the source to its head of now. */
  async run(source: BlockSource, onProgress: (height: bigint, target: bigint) => void = () => undefined): Promise<ArchiveReport> {
    const head = await this.#head();
    const from = head?.height ?? GENESIS_HEIGHT;
    const target = await source.head();
    const replicaAt = this.#replica.head().height;
    if (replicaAt < from)
      throw new CodedError("archive_replica", {
        message: `the replica is at ${replicaAt}, the archive at ${from}`,
        height: replicaAt,
      });
    // After a run that was cut short it is ahead of the head; what changed on the way is found out by doing it again.
    if (replicaAt > from) await this.#replica.rollback(from);
    if (head === undefined) await this.#writeGenesis();
    for (let height = nextHeight(from); height <= target; height = nextHeight(height)) {
      this.#signal.throwIfAborted();
      await this.#writeHeight(height, source);
      onProgress(height, target);
      if (height % HEIGHTS_PER_HEAD === 0n || height === target) await this.#seal(height);
    }
    return { from, height: target > from ? target : from, files: this.#files, sizeBytes: this.#sizeBytes };
  }

  async #head(): Promise<Head | undefined> {
    const bytes = await this.#read("head");
    if (bytes === undefined) return undefined;
    const head = parseHead(bytes);
    if (head === undefined) throw new CodedError("archive_damaged", { path: "head" });
    if (!bytesEqual(head.networkHash, this.#replica.networkHash))
      throw new CodedError("archive_network", { path: this.#directory });
    return head;
  }

  async #writeHeight(height: Height, source: BlockSource): Promise<void> {
    const { block, results, changedKeys } = await this.#execute(height, source);
    const writer = new Writer().array(2).bytes(encodeBlock(block)).array(results.length);
    for (const result of results) writer.bytes(encodeResult(result));
    await this.#write(blockPath(height), writer.finish());
    const { root } = await this.#delta(heightOf(height - 1n));
    const proof = this.#replica.tree.proveKeys(height, changedKeys);
    await this.#writeDelta(height, await encodeDelta(proof, { root, read: (at) => this.#delta(at) }));
  }

  /** Judges and commits a block, as any node would. */
  async #execute(height: Height, source: BlockSource): Promise<Commit> {
    const { block: bytes, certificate: certificateBytes } = await source.block(height);
    const refuse = (reason: string): never => {
      throw new CodedError("archive_refused", { message: `block ${height}: ${reason}`, height, reason });
    };
    const block = parseBlock(bytes);
    const certificate = parseCertificate(certificateBytes);
    if (!block.ok || block.value.header.height !== height) return refuse("does not decode");
    if (!certificate.ok) return refuse("its certificate does not decode");
    const certified = await this.#replica.checkCertificate(block.value, certificate.value);
    if (!certified.ok) return refuse(certified.error.code);
    const judged = await this.#replica.judge(block.value);
    if (!judged.ok) return refuse(judged.error.code);
    return await this.#replica.commit(block.value, certificate.value);
  }

  /** The whole state of genesis. */
  async #writeGenesis(): Promise<void> {
    const proof = present(this.#replica.proveState(GENESIS_HEIGHT, {}), "genesis state");
    await this.#writeDelta(GENESIS_HEIGHT, await encodeDelta(proof, undefined));
  }

  async #writeDelta(height: Height, bytes: Uint8Array): Promise<void> {
    const root = present(this.#replica.tree.rootAt(height), "state root");
    this.#remember(height, present(parseDelta(bytes, height, root), "own delta"));
    await this.#write(statePath(height), bytes);
  }

  async #delta(height: Height): Promise<Delta> {
    const known = this.#deltas.get(height);
    if (known !== undefined) {
      this.#remember(height, known);
      return known;
    }
    const bytes = present(await this.#read(statePath(height)), "state/{}", height);
    const root = this.#replica.header(height)?.stateRoot;
    const delta = parseDelta(bytes, height, root);
    if (delta === undefined) throw new CodedError("archive_damaged", { path: statePath(height) });
    this.#remember(height, delta);
    return delta;
  }

  #remember(height: Height, delta: Delta): void {
    this.#deltas.delete(height);
    this.#deltas.set(height, delta);
    const [oldest] = this.#deltas.keys();
    if (this.#deltas.size > DELTAS_CACHED_MAX && oldest !== undefined) this.#deltas.delete(oldest);
  }

  /** Writes the logs up to a height, makes all of it durable, and replaces the head. */
  async #seal(height: Height): Promise<void> {
    const replica = this.#replica;
    const before = (await this.#head())?.height ?? GENESIS_HEIGHT;
    const anchors: { readonly leaf: Hash; readonly entry: Uint8Array }[] = [];
    for (let at = nextHeight(before); at <= height; at = nextHeight(at)) {
      const header = present(replica.headerBytes(at), "header");
      const parsed = parseHeader(header);
      assert(parsed.ok, "own header");
      const certificate = present(replica.certificateBytes(at), "certificate");
      const entry = new Writer().array(2).bytes(header).bytes(certificate).finish();
      anchors.push({ leaf: LOG_HASHER.leaf(headerHash(parsed.value)), entry });
    }
    await this.#extend({ kind: "history" }, BigInt(before), anchors);
    for (const { key, value } of replica.stateEntries(height, partitionRange())) {
      const name = parseStateKey(key);
      assert(name?.kind === "partition", "a partition's row");
      const { size } = ownRow(parsePartitionHead(value), "partition").frontier;
      const old = before === GENESIS_HEIGHT ? 0n : await this.#sizeAt(before, key);
      if (size > old) await this.#extendPartition(name, old, size);
    }
    for (const directory of this.#directories) await syncDirectory(directory);
    this.#directories.clear();
    const changes = replica.validatorChanges(heightOf(1n), 1_000_000).flatMap(({ height: at }) => {
      if (at >= height) return [];
      const header = present(replica.headerBytes(at), "header");
      const certificate = present(replica.certificateBytes(at), "certificate");
      return [{ anchor: { header, certificate }, validators: encodeMembers(present(replica.validators(nextHeight(at)), "set")) }];
    });
    const anchor = {
      header: present(replica.headerBytes(height), "header"),
      certificate: present(replica.certificateBytes(height), "certificate"),
    };
    const { chainId } = replica.network;
    const head: Head = { chainId, networkHash: replica.networkHash, height, anchor, changes };
    await placeFile(join(this.#directory, "head"), encodeHead(head), { mode: 0o644 });
    for (const path of this.#outgrown.splice(0)) await rm(join(this.#directory, path), { force: true });
    // What a run that is cut short from here on goes back to stays.
    await replica.tree.prune(height, this.#signal);
  }

  /** How many records a partition had at an archived height: what is in its tiles. */
  async #sizeAt(height: Height, key: Uint8Array): Promise<bigint> {
    const { root } = await this.#delta(height);
    const proof = await proveArchived(root, { from: key, to: successor(key) }, (at) => this.#delta(at));
    const row = verifyRow(present(root, "a state with rows").hash, key, proof);
    assert(row.ok, "an archived state does not hold");
    return row.value === undefined ? 0n : ownRow(parsePartitionHead(row.value), "partition").frontier.size;
  }

  async #extendPartition(
    { stream, partition }: { readonly stream: string; readonly partition: number },
    from: bigint,
    to: bigint,
  ): Promise<void> {
    const added: { readonly leaf: Hash; readonly entry: Uint8Array }[] = [];
    while (from + BigInt(added.length) < to) {
      const next = from + BigInt(added.length);
      const left = to - next;
      const count = left < BigInt(RECORDS_PER_READ) ? Number(left) : RECORDS_PER_READ;
      for (const { bytes } of this.#replica.records(stream, partition, next, count))
        added.push({ leaf: storedLeaf(bytes), entry: bytes });
    }
    await this.#extend({ kind: "stream", stream, partition }, from, added);
  }

  /** Appends to a log: bundles of entries, and tiles level by level. What was partial and is full is taken away. */
  async #extend(
    log: LogName,
    from: bigint,
    added: readonly { readonly leaf: Hash; readonly entry: Uint8Array }[],
  ): Promise<void> {
    if (added.length === 0) return;
    await this.#extendItems(
      log,
      "entries",
      from,
      added.map(({ entry }) => entry),
    );
    let hashes: readonly Uint8Array[] = added.map(({ leaf }) => leaf);
    for (let [level, size] = [0, from]; hashes.length > 0; level += 1, size /= BigInt(TILE_WIDTH))
      hashes = await this.#extendItems(log, level, size, hashes);
  }

  /** Appends items to the tiles of one level. Returns the roots of those that became full. */
  async #extendItems(log: LogName, level: number | "entries", from: bigint, items: readonly Uint8Array[]): Promise<Uint8Array[]> {
    const width = BigInt(TILE_WIDTH);
    const partial = Number(from % width);
    let index = from / width;
    const oldPath = partial === 0 ? undefined : tilePath(log, level, index, partial);
    const tile = oldPath === undefined ? [] : [...(await this.#items(oldPath, level, partial))];
    const roots: Uint8Array[] = [];
    for (const item of items) {
      tile.push(item);
      if (tile.length < TILE_WIDTH) continue;
      await this.#write(tilePath(log, level, index, TILE_WIDTH), encodeItems(tile, level));
      if (level !== "entries") roots.push(rootOf(tile));
      tile.length = 0;
      index += 1n;
    }
    if (tile.length > 0) await this.#write(tilePath(log, level, index, tile.length), encodeItems(tile, level));
    // Gone only once the head speaks of what takes its place.
    if (oldPath !== undefined) this.#outgrown.push(oldPath);
    return roots;
  }

  async #items(path: string, level: number | "entries", count: number): Promise<readonly Uint8Array[]> {
    const bytes = await this.#read(path);
    const items = bytes === undefined ? undefined : parseItems(bytes, level, count);
    if (items === undefined) throw new CodedError("archive_damaged", { path });
    return items;
  }

  async #read(path: string): Promise<Uint8Array | undefined> {
    return await directorySource(this.#directory).read(path, this.#signal);
  }

  async #write(path: string, bytes: Uint8Array): Promise<void> {
    const file = join(this.#directory, path);
    const directory = dirname(file);
    const first = await mkdir(directory, { recursive: true });
    this.#directories.add(directory);
    // The name of a directory is as durable as that of a file: not before the directory above it is synced.
    for (let at = directory; first !== undefined && at.length >= first.length; at = dirname(at))
      this.#directories.add(dirname(at));
    await using handle = await open(file, "w", 0o644);
    await handle.writeFile(bytes);
    await handle.sync();
    this.#files += 1;
    this.#sizeBytes += bytes.length;
  }
}

/** Items of a tile as its bytes. */
function encodeItems(items: readonly Uint8Array[], level: number | "entries"): Uint8Array {
  return level === "entries" ? encodeBundle(items) : concatBytes(...items);
}

/** Items of a tile's bytes; `undefined` unless they are exactly `count`. */
export function parseItems(bytes: Uint8Array, level: number | "entries", count: number): readonly Uint8Array[] | undefined {
  if (level === "entries") return parseBundle(bytes, count);
  if (bytes.length !== count * HASH_SIZE_BYTES) return undefined;
  return Array.from({ length: count }, (_, index) => bytes.subarray(index * HASH_SIZE_BYTES, (index + 1) * HASH_SIZE_BYTES));
}

function rootOf(hashes: readonly Uint8Array[]): Hash {
  let frontier = EMPTY_FRONTIER;
  for (const hash of hashes) frontier = appendLeaf(LOG_HASHER, frontier, hashOf(hash));
  return frontierRoot(LOG_HASHER, frontier);
}
