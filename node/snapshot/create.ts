/** From a ledger to the chunks of a snapshot, and from their entries to its pages and index. Holds one chunk in memory at a time. */

import { EMPTY, toHex } from "../../crypto/base/bytes.ts";
import { assert, present } from "../../crypto/base/assert.ts";
import { CodedError } from "../../crypto/base/error.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { encodeResult, headerHash, parseHeader } from "../../chain/block/block.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import { GENESIS_HEIGHT, type Height, heightOf, nextHeight } from "../../chain/block/height.ts";
import { encodeMembers } from "../../chain/block/validators.ts";
import type { Ledger } from "../../chain/ledger/ledger.ts";
import { storedLeaf } from "../../chain/block/record.ts";
import { LOG_HASHER } from "../../chain/merkle/log.ts";
import { spanOf } from "../../chain/merkle/span.ts";
import { parseStateKey, partitionRange } from "../../chain/state/keys.ts";
import { verifyRange } from "../../chain/state/proof.ts";
import { ownRow, parsePartitionHead } from "../../chain/state/rows.ts";
import type { SetChange } from "../light/verifier.ts";
import { SNAPSHOT_CODES } from "./errors.ts";
import {
  addressOf,
  type Chunk,
  CHUNK_SIZE_BYTES_GOAL,
  encodeChunk,
  encodeIndex,
  encodePage,
  type Entry,
  type EntryPlace,
  PAGE_ENTRIES,
  PAGES_MAX,
  PAGES_SIZE_BYTES_MAX,
} from "./format.ts";

/** Records read from the store at once. */
const RECORDS_PAGE = 256;

/** A chunk as it is kept and sent. */
export type Part = { readonly entry: Entry; readonly bytes: Uint8Array };

/**
 * The chunks of a snapshot of the state after `height`, in their order. Below the head all nodes make the same bytes: the
 * certificate of the head itself is the one that this node collected, and the next block may carry another.
 *
 * The state of the height must not be pruned while this goes on.
 *
 * @throws CodedError `snapshot_height` when the height is not there or its state or block is pruned; `snapshot_engine`
 */
export function* snapshotParts(ledger: Ledger, height: Height): Generator<Part, void, undefined> {
  requireEngine(ledger.network);
  requireHeight(ledger, height);
  for (const make of [changes, block, headers, state, records]) yield* make(ledger, height);
}

/** The pages of a snapshot, and the index that names them. */
export function snapshotIndex(
  ledger: Ledger,
  height: Height,
  entries: readonly Entry[],
): {
  readonly root: Hash;
  readonly index: Uint8Array;
  readonly pages: readonly { readonly hash: Hash; readonly bytes: Uint8Array }[];
} {
  const pages: { readonly hash: Hash; readonly bytes: Uint8Array }[] = [];
  for (let from = 0; from < entries.length; from += PAGE_ENTRIES) {
    const bytes = encodePage(entries.slice(from, from + PAGE_ENTRIES));
    pages.push({ hash: addressOf(bytes), bytes });
  }
  const pagesSizeBytes = pages.reduce((sum, { bytes }) => sum + bytes.length, 0);
  if (pages.length > PAGES_MAX || pagesSizeBytes > PAGES_SIZE_BYTES_MAX)
    throw new CodedError("snapshot_size", { message: SNAPSHOT_CODES.snapshot_size, height });
  const index = encodeIndex({
    chainId: ledger.network.chainId,
    networkHash: ledger.networkHash,
    height,
    chunks: entries.length,
    sizeBytes: entries.reduce((sum, { sizeBytes }) => sum + BigInt(sizeBytes), 0n),
    pages: pages.map(({ hash }) => hash),
  });
  return { root: addressOf(index), index, pages };
}

/** @throws CodedError `snapshot_engine` for a network whose blocks no certificate proves */
export function requireEngine({ engine, chainId }: NetworkFile): void {
  if (engine.name !== "pow") return;
  throw new CodedError("snapshot_engine", { message: SNAPSHOT_CODES.snapshot_engine, chainId });
}

function requireHeight(ledger: Ledger, height: Height): void {
  const { height: head } = ledger.head();
  const isThere = height > GENESIS_HEIGHT && height <= head && ledger.tree.rootAt(height) !== undefined;
  if (isThere && ledger.blockBytes(height) !== undefined) return;
  throw new CodedError("snapshot_height", {
    height,
    message: `can take heights ${ledger.oldestState()} to ${head}, not ${height}`,
  });
}

function* changes(ledger: Ledger, height: Height): Generator<Part> {
  const all = ledger
    .validatorChanges(heightOf(1n), Number.MAX_SAFE_INTEGER)
    .filter((change) => change.height <= height)
    .map(({ height: at }): SetChange => {
      const header = present(ledger.headerBytes(at), "header {}", at);
      const certificate = present(ledger.certificateBytes(at), "certificate of {}", at);
      return { anchor: { header, certificate }, validators: encodeMembers(present(ledger.validators(nextHeight(at)), "set")) };
    });
  const sizeOf = ({ anchor, validators }: SetChange): number =>
    anchor.header.length + anchor.certificate.length + validators.length;
  for (const items of grouped(all, sizeOf)) yield part({ kind: "changes" }, { kind: "changes", changes: items });
}

function* block(ledger: Ledger, height: Height): Generator<Part> {
  yield part(
    { kind: "block" },
    {
      kind: "block",
      block: present(ledger.blockBytes(height), "block"),
      certificate: present(ledger.certificateBytes(height), "certificate"),
      results: present(ledger.results(height), "results").map(encodeResult),
    },
  );
}

/** Those before the height: its own is in the block. */
function* headers(ledger: Ledger, height: Height): Generator<Part> {
  const all = function* (): Generator<Uint8Array> {
    for (let at = 1n; at < height; at += 1n) yield present(ledger.headerBytes(heightOf(at)), "header {}", at);
  };
  let from = 0n;
  for (const items of grouped(all(), (bytes) => bytes.length)) {
    const leaves = items.map((bytes) => {
      const header = parseHeader(bytes);
      assert(header.ok, "a header of our own does not decode");
      return LOG_HASHER.leaf(headerHash(header.value));
    });
    const { to, hashes: span } = spanOf(LOG_HASHER, from, leaves);
    yield part({ kind: "headers", count: items.length, span }, { kind: "headers", headers: items });
    from = to;
  }
}

function* state(ledger: Ledger, height: Height): Generator<Part> {
  const root = present(ledger.tree.rootAt(height), "state root");
  let from: Uint8Array | undefined = EMPTY;
  while (from !== undefined) {
    const proof: Uint8Array = ledger.tree.prove(height, { from, sizeBytesMax: CHUNK_SIZE_BYTES_GOAL });
    const answer = verifyRange(root, { from }, proof);
    // What we do not believe ourselves is our disk's fault, and must not go to others.
    if (!answer.ok) throw new CodedError("snapshot_state", { message: "our own rows do not prove", reason: answer.error.code });
    yield part({ kind: "state", from }, { kind: "state", proof });
    from = answer.value.continueFrom;
  }
}

function* records(ledger: Ledger, height: Height): Generator<Part> {
  for (const { key, value } of ledger.stateEntries(height, partitionRange())) {
    const name = parseStateKey(key);
    if (name?.kind !== "partition") throw new CodedError("snapshot_state", { message: "a partition row under another key" });
    const { size } = ownRow(parsePartitionHead(value), "partition").frontier;
    const { stream, partition } = name;
    let from = 0n;
    for (const items of grouped(recordsOf(ledger, stream, partition, size), (bytes) => bytes.length)) {
      const leaves = items.map((bytes) => storedLeaf(bytes));
      const { to, hashes: span } = spanOf(LOG_HASHER, from, leaves);
      yield part({ kind: "records", stream, partition, count: items.length, span }, { kind: "records", records: items });
      from = to;
    }
  }
}

function* recordsOf(ledger: Ledger, stream: string, partition: number, size: bigint): Generator<Uint8Array> {
  for (let from = 0n; from < size;) {
    const page = ledger.records(stream, partition, from, RECORDS_PAGE);
    if (page.length === 0)
      throw new CodedError("snapshot_records", { message: `${stream}/${partition} has no record ${from} of ${size}` });
    for (const { bytes } of page) {
      if (from < size) yield bytes;
      from += 1n;
    }
  }
}

function part(place: EntryPlace, chunk: Chunk): Part {
  const bytes = encodeChunk(chunk);
  return { entry: { ...place, hash: addressOf(bytes), sizeBytes: bytes.length }, bytes };
}

/** Items in groups of about the goal's size; an item over it stands alone. */
function* grouped<T>(items: Iterable<T>, sizeBytesOf: (item: T) => number): Generator<T[]> {
  let group: T[] = [];
  let sizeBytes = 0;
  for (const item of items) {
    const size = sizeBytesOf(item);
    if (group.length > 0 && sizeBytes + size > CHUNK_SIZE_BYTES_GOAL) {
      yield group;
      group = [];
      sizeBytes = 0;
    }
    group.push(item);
    sizeBytes += size;
  }
  if (group.length > 0) yield group;
}

/** A root as people and logs read it. */
export function rootName(root: Hash): string {
  return toHex(root).slice(0, 16);
}
