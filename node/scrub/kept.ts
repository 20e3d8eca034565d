/**
 * The rows of a partition that say what may be dropped when, checked against what they were made from: the records and the
 * rules of their stream.
 *
 * ```
 *   record, rules  -->  due rows        while it is there: each under its time, with the rule
 *   records of one key, in their order  -->  a link from each to the one before, and the newest of them
 * ```
 *
 * What was dropped has left its link and nothing that says whether that is right, so what hangs from it is found and named,
 * and put right from nothing here. Records from before their stream was declared have no such rows: those up to the first
 * that has one are taken for that.
 */

import { bytesEqual, concatBytes, readU32, readU64, toHex, u64 } from "../../crypto/base/bytes.ts";
import { type Hash, hash, hashOf, HASH_SIZE_BYTES } from "../../crypto/hash/hash.ts";
import { isDropped, parseRecord, type StreamRecord } from "../../chain/block/record.ts";
import type { KeepRules } from "../../chain/state/partition.ts";
import {
  parseRecordDueKey,
  type PartitionId,
  recordBeforeKey,
  recordDueKey,
  recordKey,
  recordLatestKey,
} from "../../chain/store/keyspace.ts";
import type { StoreReader } from "../../chain/store/store.ts";
import type { DamageCode } from "./errors.ts";

/** Keys of one walk over a partition: about 30 MB. A partition with more is walked again for the others. */
const KEYS_PER_WALK_MAX = 250_000;
/** Keys are told apart by so many values of the first two bytes of their hashes. */
const PREFIXES = 0x1_0000;
/** Records between two steps. */
const RECORDS_PER_STEP = 256n;
/** Why a record may go, as `chain/segment` writes it. */
const DUE = { retention: 1, replaced: 2, tombstone: 3 } as const;

/** A row that is not what it must be; `right` where that is certain. */
export type KeepFault = {
  readonly code: DamageCode;
  readonly kind: "recordDue" | "recordLatest" | "recordBefore";
  readonly index: bigint;
  readonly key: Uint8Array;
  readonly right: Uint8Array | undefined;
};

/** A record that is there, or was dropped. */
type Kept = { readonly index: bigint; readonly record: StreamRecord | undefined; readonly link: Uint8Array | undefined };

/** Walks over the `size` records of a partition, which are right themselves. Yields `undefined` between steps. */
export function* checkKeepRows(
  reader: StoreReader,
  id: PartitionId,
  size: bigint,
  rules: KeepRules,
): Generator<KeepFault | undefined, void, undefined> {
  for (let from = 0, to = PREFIXES; from < PREFIXES; [from, to] = [to, PREFIXES]) {
    // The newest record so far of each key whose hash begins with `from` to `to`.
    const latest = new Map<string, { readonly keyHash: Hash; readonly kept: Kept }>();
    let isRuled = false;
    for (let index = 0n; index < size; index += 1n) {
      const kept = keptAt(reader, id, index);
      if (kept === undefined) return;
      const dues = from === 0 ? [...duesOf(reader, id, kept, rules)] : [];
      isRuled ||= kept.link !== undefined || dues.some(({ key }) => reader.get(key) !== undefined);
      if (isRuled) for (const due of dues) yield* faultOf(reader, id, kept, due);
      // Of no key that one could tell.
      if (from === 0 && kept.record === undefined && kept.link !== undefined && !isLink(kept.link))
        yield { code: "row_malformed", kind: "recordBefore", index, key: recordBeforeKey(id, index), right: undefined };
      const keyHash = rules.compactionMs === undefined || !isRuled ? undefined : keyHashOf(kept);
      if (keyHash !== undefined && isWithin(keyHash, from, to)) {
        const name = toHex(keyHash);
        yield* linkFault(reader, id, kept, { keyHash, before: latest.get(name)?.kept });
        latest.set(name, { keyHash, kept });
        while (latest.size > KEYS_PER_WALK_MAX && to - from > 1) {
          to = from + ((to - from) >> 1);
          for (const [each, entry] of latest) if (!isWithin(entry.keyHash, from, to)) latest.delete(each);
        }
      }
      if (index % RECORDS_PER_STEP === RECORDS_PER_STEP - 1n) yield undefined;
    }
    for (const { keyHash, kept } of latest.values()) yield* latestFault(reader, id, kept, { keyHash, size });
    yield undefined;
  }
}

/** Whether nothing accounts for a row of these kinds. `rulesOf` and `sizeOf` say what the state does. */
export function isKeepStray(
  reader: StoreReader,
  row: { readonly kind: KeepFault["kind"]; readonly key: Uint8Array; readonly value: Uint8Array },
  state: {
    readonly rulesOf: (stream: string) => KeepRules | undefined;
    readonly sizeOf: (id: PartitionId) => bigint | undefined;
  },
): boolean {
  const place = placeOf(row.kind, row.key);
  if (place === undefined) return true;
  const rules = state.rulesOf(place.id.stream);
  const size = state.sizeOf(place.id) ?? 0n;
  const index = row.kind === "recordLatest" ? (row.value.length === 8 ? readU64(row.value) : size) : place.index;
  const kept = index < size ? keptAt(reader, place.id, index) : undefined;
  if (rules === undefined || kept === undefined) return true;
  switch (row.kind) {
    case "recordBefore":
      return rules.compactionMs === undefined || (kept.record !== undefined && kept.record.key === undefined);
    case "recordLatest":
      return kept.link === undefined || !bytesEqual(kept.link.subarray(0, HASH_SIZE_BYTES), place.keyHash);
    case "recordDue":
      return !isDueOf(reader, { id: place.id, size, kept, rules }, row);
  }
}

function isDueOf(
  reader: StoreReader,
  of: { readonly id: PartitionId; readonly size: bigint; readonly kept: Kept; readonly rules: KeepRules },
  { key, value }: { readonly key: Uint8Array; readonly value: Uint8Array },
): boolean {
  const { id, size, kept, rules } = of;
  const { why } = parseRecordDueKey(key);
  const spanMs = why === DUE.retention ? rules.retentionMs : rules.compactionMs;
  if (value.length !== 16 || spanMs === undefined || readU64(value) !== spanMs) return false;
  const by = readU64(value, 8);
  if (why !== DUE.replaced && (by !== 0n || (why !== DUE.retention && why !== DUE.tombstone))) return false;
  const source = why === DUE.replaced ? (by < size ? keptAt(reader, id, by) : undefined) : kept;
  if (source === undefined || (why === DUE.replaced && beforeOf(source.link) !== kept.index)) return false;
  if (source.record === undefined) return true;
  const isTombstone = why !== DUE.tombstone || source.record.isTombstone === true;
  return isTombstone && readU64(key, 1) === source.record.timeMs + spanMs;
}

function keptAt(reader: StoreReader, id: PartitionId, index: bigint): Kept | undefined {
  const bytes = reader.get(recordKey(id, index));
  if (bytes === undefined) return undefined;
  const link = reader.get(recordBeforeKey(id, index));
  const record = isDropped(bytes) ? undefined : parseRecord(bytes);
  return { index, link, record: record?.ok === true ? record.value : undefined };
}

/** The due rows that a record which is there must have, with what they hold. */
function* duesOf(
  reader: StoreReader,
  id: PartitionId,
  { index, record, link }: Kept,
  { retentionMs, compactionMs }: KeepRules,
): Generator<{ readonly key: Uint8Array; readonly value: Uint8Array; readonly target: bigint }, void, undefined> {
  if (record === undefined) return;
  const row = (spanMs: bigint, target: bigint, why: number, by: bigint) => ({
    key: recordDueKey(record.timeMs + spanMs, id, target, why),
    value: concatBytes(u64(spanMs), u64(by)),
    target,
  });
  if (retentionMs !== undefined) yield row(retentionMs, index, DUE.retention, 0n);
  if (compactionMs === undefined || record.key === undefined) return;
  if (record.isTombstone === true) yield row(compactionMs, index, DUE.tombstone, 0n);
  const before = beforeOf(link);
  const replaced = before === undefined || before >= index ? undefined : keptAt(reader, id, before);
  // What is of another key is no record that this one replaced: the link is wrong.
  if (replaced?.record?.key !== undefined && bytesEqual(replaced.record.key, record.key))
    yield row(compactionMs, replaced.index, DUE.replaced, index);
}

function* faultOf(
  reader: StoreReader,
  id: PartitionId,
  { index }: Kept,
  due: { readonly key: Uint8Array; readonly value: Uint8Array; readonly target: bigint },
): Generator<KeepFault, void, undefined> {
  const stored = reader.get(due.key);
  if (stored !== undefined && bytesEqual(stored, due.value)) return;
  // Dropped with the block that was committed meanwhile: then its row went as well.
  if ([index, due.target].some((each) => keptAt(reader, id, each)?.record === undefined)) return;
  const code = stored === undefined ? "row_missing" : "row_mismatch";
  yield { code, kind: "recordDue", index: due.target, key: due.key, right: due.value };
}

/** A link, against the record of the same key that was seen last. */
function* linkFault(
  reader: StoreReader,
  id: PartitionId,
  { index, record, link }: Kept,
  { keyHash, before }: { readonly keyHash: Hash; readonly before: Kept | undefined },
): Generator<KeepFault, void, undefined> {
  const right = before === undefined ? keyHash : concatBytes(keyHash, u64(before.index));
  if (link !== undefined && bytesEqual(link, right)) return;
  // One that was dropped may be of this key, with a row that is gone or wrong itself.
  const named = beforeOf(link);
  const isDoubtful = record === undefined || (named !== undefined && keptAt(reader, id, named)?.record === undefined);
  const code = link === undefined ? "row_missing" : "row_mismatch";
  yield { code, kind: "recordBefore", index, key: recordBeforeKey(id, index), right: isDoubtful ? undefined : right };
}

/** Where the newest record of a key is said to be. */
function* latestFault(
  reader: StoreReader,
  id: PartitionId,
  { index, record }: Kept,
  { keyHash, size }: { readonly keyHash: Hash; readonly size: bigint },
): Generator<KeepFault, void, undefined> {
  const key = recordLatestKey(id, keyHash);
  const stored = reader.get(key);
  const at = stored?.length === 8 ? readU64(stored) : undefined;
  // One that came while we walked is newer.
  if (at !== undefined && (at === index || at >= size)) return;
  const linkOf = (of: bigint, code: DamageCode): KeepFault => {
    return { code, kind: "recordBefore", index: of, key: recordBeforeKey(id, of), right: undefined };
  };
  if (stored === undefined && record === undefined) return yield linkOf(index, "row_mismatch");
  const named = at === undefined || at < index ? undefined : keptAt(reader, id, at);
  // It was dropped, and its link is what is gone or wrong, or this is.
  const isDoubtful = named !== undefined && named.record === undefined;
  if (isDoubtful && named.link === undefined) return yield linkOf(named.index, "row_missing");
  const code = stored === undefined ? "row_missing" : "row_mismatch";
  yield { code, kind: "recordLatest", index, key, right: isDoubtful ? undefined : u64(index) };
}

/** By its content; of one that was dropped, by its link. */
function keyHashOf({ record, link }: Kept): Hash | undefined {
  if (record !== undefined) return record.key === undefined ? undefined : hash("recordKey", record.key);
  return isLink(link) ? hashOf(link.slice(0, HASH_SIZE_BYTES)) : undefined;
}

function isLink(link: Uint8Array | undefined): link is Uint8Array {
  return link?.length === HASH_SIZE_BYTES || link?.length === HASH_SIZE_BYTES + 8;
}

function beforeOf(link: Uint8Array | undefined): bigint | undefined {
  return link?.length === HASH_SIZE_BYTES + 8 ? readU64(link, HASH_SIZE_BYTES) : undefined;
}

function isWithin(keyHash: Uint8Array, from: number, to: number): boolean {
  const prefix = ((keyHash[0] ?? 0) << 8) | (keyHash[1] ?? 0);
  return prefix >= from && prefix < to;
}

/** What a key says, if it has the form of its kind. */
function placeOf(
  kind: KeepFault["kind"],
  key: Uint8Array,
): { readonly id: PartitionId; readonly index: bigint; readonly keyHash: Uint8Array } | undefined {
  const at = kind === "recordDue" ? 9 : 1;
  const nameEnd = at + 1 + (key[at] ?? 0);
  const tail = { recordDue: 13, recordLatest: 4 + HASH_SIZE_BYTES, recordBefore: 12 }[kind];
  if (key.length !== nameEnd + tail) return undefined;
  const stream = new TextDecoder().decode(key.subarray(at + 1, nameEnd));
  const id = { stream, partition: readU32(key, nameEnd) };
  return { id, index: readU64(key, nameEnd + 4), keyHash: key.subarray(nameEnd + 4) };
}
