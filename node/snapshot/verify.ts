/**
 * Why a chunk is believed: never because of who sent it or what an index says, always because a certified header
 * commits to it. Each chunk is checked by itself, as it comes.
 *
 * ```
 *   network file --> set changes, each certified by the set before --> the header of the height, certified by its set
 *     header.stateRoot    --proof of a complete range-->  each state chunk
 *     header.historyRoot  --spans join to it---------->  the spans of the header chunks --> each header chunk
 *     partition rows      --spans join to them-------->  the spans of the record chunks --> each record chunk
 * ```
 *
 * So an index is a plan of work and no more: whoever made a false one is found out by the first chunk that he calls true.
 * Pure, and everything that is refused has a code of `errors.ts`.
 */

import { bytesEqual, compareBytes, concatBytes } from "../../crypto/base/bytes.ts";
import { assert, present } from "../../crypto/base/assert.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import {
  type Block,
  encodeHeader,
  hasOwnBody,
  type Header,
  headerHash,
  parseBlock,
  parseHeader,
  parseResult,
  resultsRoot,
  type TransactionResult,
} from "../../chain/block/block.ts";
import { type NetworkFile, networkHash } from "../../chain/block/genesis.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { storedLeaf } from "../../chain/block/record.ts";
import { type Frontier, frontierRoot, LOG_HASHER } from "../../chain/merkle/log.ts";
import { emptySpan, frontierOf, joinSpans, type Span, spanLength, spanOf } from "../../chain/merkle/span.ts";
import { parseStateKey, partitionKey, partitionRange } from "../../chain/state/keys.ts";
import { type Row, verifyRange } from "../../chain/state/proof.ts";
import { contains, rangesOf } from "../../chain/state/range.ts";
import { parsePartitionHead } from "../../chain/state/rows.ts";
import type { PartitionId } from "../../chain/store/keyspace.ts";
import { LightVerifier, type SetChange } from "../light/verifier.ts";
import type { SnapshotCode } from "./errors.ts";
import { addressOf, CHUNK_KINDS, type Chunk, type Entry, type Index, parseChunk } from "./format.ts";

/** Why something is not believed. */
export type Refusal = { readonly code: SnapshotCode; readonly message: string };

/** One chunk to get, and what it must be. */
export type Step = { readonly entry: Entry } & (
  | { readonly kind: "changes" | "block" }
  /** `first` counts leaves of the history log: that of height 1 is 0. */
  | { readonly kind: "headers"; readonly span: Span }
  /** All rows before `to`; to the end when absent. */
  | { readonly kind: "state"; readonly from: Uint8Array; readonly to: Uint8Array | undefined }
  | { readonly kind: "records"; readonly id: PartitionId; readonly span: Span }
);

/** What a chunk turned out to hold. */
export type Content =
  | { readonly kind: "headers"; readonly headers: readonly { readonly header: Header; readonly hash: Hash }[] }
  | { readonly kind: "state"; readonly rows: readonly Row[] }
  | { readonly kind: "records"; readonly records: readonly Uint8Array[] };

const refuse = (code: SnapshotCode, message: string) => fail({ code, message });

/** Whether an index is of this network. */
export function checkIndex(network: NetworkFile, index: Index): Result<void, Refusal> {
  if (index.chainId === network.chainId && bytesEqual(index.networkHash, networkHash(network))) return ok(undefined);
  return refuse("snapshot_network", `of ${index.chainId.slice(0, 64)}`);
}

/** What to get, from the entries of all pages: in the order of the format, without holes and to the end. Believes nothing yet. */
export function planOf(index: Index, entries: readonly Entry[]): Result<readonly Step[], Refusal> {
  const steps: Step[] = [];
  if (entries.length !== index.chunks) return refuse("snapshot_malformed", `${entries.length} chunks of ${index.chunks}`);
  if (entries.reduce((sum, { sizeBytes }) => sum + BigInt(sizeBytes), 0n) !== index.sizeBytes)
    return refuse("snapshot_malformed", "another size than its chunks have");
  const counts = { changes: 0, block: 0, headers: 0, state: 0, records: 0 };
  for (const [at, entry] of entries.entries()) {
    const before = entries[at - 1];
    if (before !== undefined && CHUNK_KINDS.indexOf(entry.kind) < CHUNK_KINDS.indexOf(before.kind))
      return refuse("snapshot_order", `${entry.kind} after ${before.kind}`);
    counts[entry.kind] += 1;
    const step = stepOf(entry, steps.at(-1), entries[at + 1]);
    if (!step.ok) return step;
    steps.push(step.value);
  }
  if (counts.block !== 1 || counts.state === 0) return refuse("snapshot_order", "without a block, or without a state");
  const headers = steps.findLast(({ kind }) => kind === "headers");
  const held = headers?.kind === "headers" ? headers.span.to : 0n;
  if (held !== index.height - 1n) return refuse("snapshot_headers", `${held} headers below height ${index.height}`);
  return ok(steps);
}

function stepOf(entry: Entry, before: Step | undefined, next: Entry | undefined): Result<Step, Refusal> {
  switch (entry.kind) {
    case "changes":
    case "block":
      return ok({ kind: entry.kind, entry });
    case "headers": {
      const span = spanAfter(before?.kind === "headers" ? before.span.to : 0n, entry);
      return span === undefined ? refuse("snapshot_headers", "a span of another length") : ok({ kind: "headers", entry, span });
    }
    case "state": {
      const to = next?.kind === "state" ? next.from : undefined;
      const isInOrder =
        (before?.kind === "state" || entry.from.length === 0) && (to === undefined || compareBytes(entry.from, to) < 0);
      return isInOrder
        ? ok({ kind: "state", entry, from: entry.from, to })
        : refuse("snapshot_order", "state chunks out of order");
    }
    case "records": {
      const { stream, partition } = entry;
      const id = { stream, partition };
      const order = before?.kind === "records" ? compareBytes(keyOf(before.id), keyOf(id)) : -1;
      if (order > 0) return refuse("snapshot_order", `${stream}/${partition} out of order`);
      const span = spanAfter(before?.kind === "records" && order === 0 ? before.span.to : 0n, entry);
      return span === undefined
        ? refuse("snapshot_records", "a span of another length")
        : ok({ kind: "records", entry, id, span });
    }
  }
}

function spanAfter(from: bigint, { count, span }: { readonly count: number; readonly span: readonly Hash[] }): Span | undefined {
  const to = from + BigInt(count);
  // Sizes of logs end at 2^64; no chain and no partition comes near.
  if (to >= 1n << 63n || spanLength(from, to) !== span.length) return undefined;
  return { from, to, hashes: span };
}

function keyOf({ stream, partition }: PartitionId): Uint8Array {
  return partitionKey(stream, partition);
}

/** A change of the validator set, and the height whose header makes it. */
export type HeightChange = { readonly height: Height; readonly change: SetChange };

/** What follows from the network file and certificates alone: the changes of the validator set, and one header. */
export class Trust {
  readonly #height: Height;
  readonly #verifier: LightVerifier;
  /** The certificate of each height whose header names another set for the next one. */
  readonly #changes = new Map<Height, Uint8Array>();
  #certified: { readonly header: Header; readonly block: Block; readonly results: readonly TransactionResult[] } | undefined;
  readonly #partitions = new Map<string, Frontier>();

  constructor(network: NetworkFile, height: Height) {
    this.#height = height;
    this.#verifier = LightVerifier.fromGenesis(network);
  }

  /** The certified header of the height, with its block and results; once `takeBlock` accepted it. */
  get certified():
    | { readonly header: Header; readonly block: Block; readonly results: readonly TransactionResult[] }
    | undefined {
    return this.#certified;
  }

  /** Takes the next changes, each certified by the set that the one before named. */
  async takeChanges(bytes: Uint8Array): Promise<Result<readonly HeightChange[], Refusal>> {
    const chunk = chunkOf(bytes, "changes");
    if (!chunk.ok) return chunk;
    const taken: HeightChange[] = [];
    for (const change of chunk.value.changes) {
      const parsed = parseHeader(change.anchor.header);
      if (!parsed.ok || parsed.value.height > this.#height) return refuse("snapshot_headers", "a change beyond the height");
      const { height } = parsed.value;
      if (height < this.#verifier.newest.from) return refuse("snapshot_validators", `a change of height ${height} out of order`);
      const accepted = await this.#verifier.acceptChange(change);
      if (!accepted.ok) {
        const isSet = accepted.error.code === "validators_mismatch" || accepted.error.field === "validators";
        return refuse(isSet ? "snapshot_validators" : "snapshot_certificate", `height ${height}: ${accepted.error.code}`);
      }
      this.#changes.set(height, change.anchor.certificate.slice());
      taken.push({ height, change });
    }
    return taken.length > 0 ? ok(taken) : refuse("snapshot_order", "a chunk of no changes");
  }

  /** Takes the block of the height, whose header everything else hangs from. */
  async takeBlock(bytes: Uint8Array): Promise<Result<{ readonly certificate: Uint8Array }, Refusal>> {
    const chunk = chunkOf(bytes, "block");
    if (!chunk.ok) return chunk;
    const { block: encoded, certificate } = chunk.value;
    const block = parseBlock(encoded);
    if (!block.ok) return refuse("snapshot_block", block.error.code);
    const { header } = block.value;
    if (header.height !== this.#height) return refuse("snapshot_block", `of height ${header.height}`);
    const accepted = await this.#verifier.acceptHeader({ header: encodeHeader(header), certificate });
    if (!accepted.ok) {
      const isSet = accepted.error.code === "validators_unknown";
      return refuse(isSet ? "snapshot_validators" : "snapshot_certificate", `height ${header.height}: ${accepted.error.code}`);
    }
    if (!bytesEqual(block.value.hash, headerHash(header)) || !hasOwnBody(block.value))
      return refuse("snapshot_block", "the block is not that of its header");
    const changed = this.#changes.get(header.height);
    if (!bytesEqual(header.validatorsHash, header.nextValidatorsHash) && changed === undefined)
      return refuse("snapshot_certificate", "the change that the block makes was left out");
    // Then the header was believed before by that certificate, and this one has not been looked at.
    if (changed !== undefined && !bytesEqual(changed, certificate))
      return refuse("snapshot_certificate", "another certificate than that of the change");
    const results: TransactionResult[] = [];
    for (const result of chunk.value.results) {
      const parsed = parseResult(result);
      if (!parsed.ok) return refuse("snapshot_block", parsed.error.code);
      results.push(parsed.value);
    }
    if (results.length !== block.value.transactions.length || !bytesEqual(resultsRoot(results), header.resultsRoot))
      return refuse("snapshot_block", "the results are not those of the header");
    this.#certified = { header, block: block.value, results };
    return ok({ certificate });
  }

  /** Whether the spans of the header chunks are the history that the header commits to. After `takeBlock`. */
  checkHistory(steps: readonly Step[]): Result<void, Refusal> {
    const { header } = this.#header();
    const joined = joinedSpan(steps.flatMap((step) => (step.kind === "headers" ? [step.span] : [])));
    const isSame = bytesEqual(frontierRoot(LOG_HASHER, frontierOf(joined)), header.historyRoot);
    return isSame ? ok(undefined) : refuse("snapshot_headers", "the headers are not the history of the last one");
  }

  /** Whether the spans of the record chunks are all records of the state's partitions. After all state chunks were checked. */
  checkPartitions(steps: readonly Step[]): Result<void, Refusal> {
    const spans = new Map<string, Span[]>();
    for (const step of steps) {
      if (step.kind !== "records") continue;
      const name = nameOf(step.id);
      const held = spans.get(name);
      if (held === undefined) spans.set(name, [step.span]);
      else held.push(step.span);
    }
    for (const [name, frontier] of this.#partitions) {
      const joined = frontierOf(joinedSpan(spans.get(name) ?? []));
      const isSame =
        joined.size === frontier.size && bytesEqual(frontierRoot(LOG_HASHER, joined), frontierRoot(LOG_HASHER, frontier));
      if (!isSame) return refuse("snapshot_records", `${name} is not what the state says`);
      spans.delete(name);
    }
    const [other] = spans.keys();
    return other === undefined ? ok(undefined) : refuse("snapshot_records", `the state has no ${other}`);
  }

  /** Takes a partition's row that was proven before; whether it is one. */
  takePartition(key: Uint8Array, value: Uint8Array): boolean {
    const [name, head] = [parseStateKey(key), parsePartitionHead(value)];
    if (name?.kind !== "partition" || !head.ok) return false;
    const { frontier } = head.value;
    // The bytes are views on a chunk that need not stay in memory.
    this.#partitions.set(nameOf(name), { size: frontier.size, hashes: frontier.hashes.map((one) => one.slice() as Hash) });
    return true;
  }

  /** Checks one chunk of headers, state or records. After `takeBlock`, and `checkHistory` or `checkPartitions` for its kind. */
  check(step: Step, bytes: Uint8Array): Result<Content, Refusal> {
    switch (step.kind) {
      case "headers":
        return this.#checkHeaders(step.span, bytes);
      case "state":
        return this.#checkState(step, bytes);
      case "records":
        return checkRecords(step.span, bytes);
      case "changes":
      case "block":
        return assert(false, "a chunk of {} is taken, not checked", step.kind) as never;
    }
  }

  #header(): { readonly header: Header } {
    return present(this.#certified, "certified header");
  }

  #checkHeaders(span: Span, bytes: Uint8Array): Result<Content, Refusal> {
    const chunk = chunkOf(bytes, "headers");
    if (!chunk.ok) return chunk;
    const headers: { header: Header; hash: Hash }[] = [];
    for (const [at, encoded] of chunk.value.headers.entries()) {
      const parsed = parseHeader(encoded);
      if (!parsed.ok) return refuse("snapshot_headers", parsed.error.code);
      const header = parsed.value;
      const height = span.from + BigInt(at) + 1n;
      if (header.height !== height) return refuse("snapshot_headers", `header ${header.height} in the place of ${height}`);
      // Only the changes chunks hold the certificates that clients need to follow it.
      if (!bytesEqual(header.validatorsHash, header.nextValidatorsHash) && !this.#changes.has(heightOf(height)))
        return refuse("snapshot_certificate", `the change of height ${height} was left out`);
      headers.push({ header, hash: headerHash(header) });
    }
    const leaves = headers.map(({ hash }) => LOG_HASHER.leaf(hash));
    return isSpan(span, leaves) ? ok({ kind: "headers", headers }) : refuse("snapshot_headers", "other headers than the span's");
  }

  #checkState(step: Extract<Step, { readonly kind: "state" }>, bytes: Uint8Array): Result<Content, Refusal> {
    const chunk = chunkOf(bytes, "state");
    if (!chunk.ok) return chunk;
    const { header } = this.#header();
    const answer = verifyRange(header.stateRoot, { from: step.from }, chunk.value.proof);
    if (!answer.ok) return refuse("snapshot_state", answer.error.code);
    const { rows, continueFrom } = answer.value;
    const endsRight =
      step.to === undefined || continueFrom === undefined ? step.to === continueFrom : bytesEqual(step.to, continueFrom);
    if (!endsRight) return refuse("snapshot_state", "rows to another key than the next chunk begins with");
    const partitions = rangesOf(partitionRange());
    for (const { key, value } of rows) {
      if (!contains(partitions, key)) continue;
      if (!this.takePartition(key, value)) return refuse("snapshot_state", "a partition row that is none");
    }
    return ok({ kind: "state", rows });
  }
}

/** A chunk under its own name and of its kind. */
export function checkAddress(entry: Pick<Entry, "hash" | "sizeBytes">, bytes: Uint8Array): Result<void, Refusal> {
  if (bytes.length === entry.sizeBytes && bytesEqual(addressOf(bytes), entry.hash)) return ok(undefined);
  return refuse("snapshot_chunk", "other bytes than its name says");
}

function chunkOf<Kind extends Chunk["kind"]>(
  bytes: Uint8Array,
  kind: Kind,
): Result<Extract<Chunk, { readonly kind: Kind }>, Refusal> {
  const chunk = parseChunk(bytes);
  if (!chunk.ok) return refuse(chunk.error.code, chunk.error.field ?? "chunk");
  if (chunk.value.kind !== kind) return refuse("snapshot_order", `${chunk.value.kind} in the place of ${kind}`);
  return ok(chunk.value as Extract<Chunk, { readonly kind: Kind }>);
}

function checkRecords(span: Span, bytes: Uint8Array): Result<Content, Refusal> {
  const chunk = chunkOf(bytes, "records");
  if (!chunk.ok) return chunk;
  const { records } = chunk.value;
  // A record that its stream no longer keeps comes as its commitment. Of others that hides the record, and says so.
  const leaves = records.map((record) => storedLeaf(record));
  return isSpan(span, leaves) ? ok({ kind: "records", records }) : refuse("snapshot_records", "other records than the span's");
}

function isSpan(span: Span, leaves: readonly Hash[]): boolean {
  if (BigInt(leaves.length) !== span.to - span.from) return false;
  return bytesEqual(concatBytes(...spanOf(LOG_HASHER, span.from, leaves).hashes), concatBytes(...span.hashes));
}

function joinedSpan(spans: readonly Span[]): Span {
  return spans.reduce((whole, span) => joinSpans(LOG_HASHER, whole, span), emptySpan(0n));
}

function nameOf({ stream, partition }: PartitionId): string {
  return `${stream}/${partition}`;
}
