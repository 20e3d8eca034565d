/** From a ledger to the chunks of a snapshot. Holds one chunk in memory at a time. */

import { present } from "../../crypto/base/assert.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { encodeResult } from "../../chain/block/block.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import { GENESIS_HEIGHT, type Height, heightOf, nextHeight } from "../../chain/block/height.ts";
import { encodeMembers } from "../../chain/block/validators.ts";
import type { Ledger } from "../../chain/ledger/ledger.ts";
import { parseStateKey, partitionRange } from "../../chain/state/keys.ts";
import { ownRow, parsePartitionHead } from "../../chain/state/rows.ts";
import { SNAPSHOT_CODES } from "./errors.ts";
import { type Chunk, CHUNK_SIZE_BYTES_GOAL } from "./format.ts";

/** Records read from the store at once. */
const RECORDS_PAGE = 256;

/**
 * The chunks of a snapshot of the state after `height`, in their order.
 *
 * @throws CodedError `snapshot_height` when the height is not there or its state is pruned; `snapshot_engine`
 */
export function* snapshotChunks(ledger: Ledger, height: Height): Generator<Chunk, void, undefined> {
  requireEngine(ledger.network);
  if (height === GENESIS_HEIGHT || height > ledger.head().height || ledger.tree.rootAt(height) === undefined) {
    const { height: head } = ledger.head();
    throw new CodedError("snapshot_height", {
      height,
      message: `can take heights ${ledger.oldestState()} to ${head}, not ${height}`,
    });
  }
  let chunks = 0;
  const parts = [start(ledger, height), headers(ledger, height), validators(ledger, height), certificates(ledger, height)];
  for (const part of [...parts, block(ledger, height), state(ledger, height), records(ledger, height)]) {
    for (const chunk of part) {
      chunks += 1;
      yield chunk;
    }
  }
  yield { kind: "end", chunks };
}

/** @throws CodedError `snapshot_engine` for a network whose blocks no certificate proves */
export function requireEngine({ engine, chainId }: NetworkFile): void {
  if (engine.name !== "pow") return;
  throw new CodedError("snapshot_engine", { message: SNAPSHOT_CODES.snapshot_engine, chainId });
}

function* start(ledger: Ledger, height: Height): Generator<Chunk> {
  yield { kind: "start", chainId: ledger.network.chainId, networkHash: ledger.networkHash, height };
}

function* headers(ledger: Ledger, height: Height): Generator<Chunk> {
  const all = function* (): Generator<Uint8Array> {
    for (let at = 1n; at <= height; at += 1n) yield present(ledger.headerBytes(heightOf(at)), `header ${at}`);
  };
  for (const items of grouped(all(), (bytes) => bytes.length)) yield { kind: "headers", headers: items };
}

/** Every set that a header up to `height` names for itself or the next one, once. */
function* validators(ledger: Ledger, height: Height): Generator<Chunk> {
  const heights = [heightOf(1n), ...changesUpTo(ledger, height).map(nextHeight)];
  const seen = new Set<string>();
  const sets: Uint8Array[] = [];
  for (const at of heights) {
    const members = encodeMembers(present(ledger.validators(at), `validators of ${at}`));
    if (seen.has(toHex(members))) continue;
    seen.add(toHex(members));
    sets.push(members);
  }
  for (const items of grouped(sets, (bytes) => bytes.length)) yield { kind: "validators", sets: items };
}

function* certificates(ledger: Ledger, height: Height): Generator<Chunk> {
  const all = changesUpTo(ledger, height).map((at) => ({
    height: at,
    certificate: present(ledger.certificateBytes(at), `certificate of ${at}`),
  }));
  for (const items of grouped(all, ({ certificate }) => certificate.length)) yield { kind: "certificates", certificates: items };
}

function* block(ledger: Ledger, height: Height): Generator<Chunk> {
  yield {
    kind: "block",
    block: present(ledger.blockBytes(height), "block"),
    certificate: present(ledger.certificateBytes(height), "certificate"),
    results: present(ledger.results(height), "results").map(encodeResult),
  };
}

function* state(ledger: Ledger, height: Height): Generator<Chunk> {
  for (const rows of grouped(ledger.stateEntries(height, {}), ({ key, value }) => key.length + value.length))
    yield { kind: "state", rows };
}

function* records(ledger: Ledger, height: Height): Generator<Chunk> {
  for (const { key, value } of ledger.stateEntries(height, partitionRange())) {
    const name = parseStateKey(key);
    if (name?.kind !== "partition") throw new CodedError("snapshot_state", { message: "a partition row under another key" });
    const { size } = ownRow(parsePartitionHead(value), "partition").frontier;
    const { stream, partition } = name;
    let firstIndex = 0n;
    for (const items of grouped(recordsOf(ledger, stream, partition, size), (bytes) => bytes.length)) {
      yield { kind: "records", stream, partition, firstIndex, records: items };
      firstIndex += BigInt(items.length);
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

/** Heights up to `height` whose header names another set for the next one. */
function changesUpTo(ledger: Ledger, height: Height): readonly Height[] {
  return ledger
    .validatorChanges(heightOf(1n), Number.MAX_SAFE_INTEGER)
    .map((change) => change.height)
    .filter((at) => at <= height);
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
