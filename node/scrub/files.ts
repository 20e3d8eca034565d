/**
 * What LevelDB reads when it opens a store, checked before it does: a damaged piece of its log it leaves out without a word,
 * and then deletes the log.
 *
 * ```
 *   CURRENT --names--> MANIFEST --log numbers--> logs that are replayed, oldest first --a tail that is not there--> a crash
 *      any fault at all: refused                        | anything else, anywhere
 *                                                       +--> refused: nothing was opened, nothing was dropped
 * ```
 *
 * Logs are as large as the write buffer and what the last batches put over it; tables are left to the scrub.
 *
 * A crash cuts the newest log short, or leaves zeros where its end was to be written. Everything else is damage: a record
 * whose bytes are all there and do not have their checksum, a length that was changed so that it reaches past the end (the
 * checksum, which does not cover it, then fits a shorter one), pieces of batches in a wrong order, a log that is not there.
 *
 * What it cannot see: a log that lost exactly its newest whole batches, or a change in the newest one when that ends with a
 * whole sector of zeros. The blocks in them come again from others.
 *
 * Source: github.com/google/leveldb, doc/log_format.md, doc/impl.md; db/version_edit.cc for the manifest's fields.
 */

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { concatBytes } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { SCRUB_CODES } from "./errors.ts";
import {
  beginningCrcs,
  type ByteReader,
  type FileFault,
  LOG_HEAD_SIZE_BYTES,
  LOG_PIECE_SIZE_BYTES,
  maskedCrc,
  readU32Le,
  readVarint,
  readWhole,
} from "./leveldb.ts";

type Fault = Omit<FileFault, "file">;

/** What a log was found to be: whole, without its end, or damaged. */
export type LogReading = { readonly kind: "whole" | "torn" } | { readonly kind: "damaged"; readonly fault: Fault };

/** What the first byte of a piece says of its place in a batch. */
const PIECE = { full: 1, first: 2, middle: 3, last: 4 } as const;
/** What disks write at once: a tail that was never written is zeros from such a boundary on. */
const SECTOR_SIZE_BYTES = 512;

/**
 * Checks what LevelDB reads when it opens the store of a directory. One that is not there, or empty, has nothing to check.
 * Costs one reading of the logs, which memory holds meanwhile.
 *
 * @throws CodedError `store_file_damaged`, which names the file and the way out; `store_io`
 */
export async function requireSoundFiles(path: string): Promise<void> {
  const fault = await openingFault(path);
  if (fault === undefined) return;
  const { file, offset, code } = fault;
  throw new CodedError("store_file_damaged", {
    message: `${join(path, file)} is damaged at byte ${offset} (${code}): ${SCRUB_CODES.store_file_damaged}`,
    field: file,
    path,
    offset,
    reason: code,
  });
}

/** The first fault of what LevelDB reads when it opens a store. @throws CodedError `store_io` */
export async function openingFault(path: string): Promise<FileFault | undefined> {
  const names = await namesIn(path);
  const logs = names.flatMap((name) => (/^\d+\.log$/.test(name) ? [{ name, number: Number.parseInt(name, 10) }] : []));
  const current = await readWhole(join(path, "CURRENT"));
  if (current === undefined) {
    // LevelDB would begin a new store here. A crash before the first start was over leaves a manifest alone.
    const isNew = !names.some((name) => /^(\d+\.(ldb|sst|log)|blob-\d+)$/.test(name));
    return isNew ? undefined : { file: "CURRENT", offset: 0, code: "file_missing" };
  }
  const manifest = /^(MANIFEST-\d{6,})\n$/.exec(new TextDecoder().decode(current))?.[1];
  if (manifest === undefined) return { file: "CURRENT", offset: 0, code: "file_malformed" };
  const edits = await readWhole(join(path, manifest));
  if (edits === undefined) return { file: "CURRENT", offset: 0, code: "file_missing" };
  const batches: Uint8Array[] = [];
  const reading = readLog(edits, (pieces) => batches.push(concatBytes(...pieces)));
  if (reading.kind === "damaged") return { file: manifest, ...reading.fault };
  const numbers = logNumbers(batches);
  if (numbers === undefined) return { file: manifest, offset: 0, code: "file_malformed" };
  const replayed = logs.filter(({ number }) => number >= numbers.log || number === numbers.previous);
  if (numbers.log > 0 && !replayed.some(({ number }) => number === numbers.log))
    return { file: `${String(numbers.log).padStart(6, "0")}.log`, offset: 0, code: "file_missing" };
  // Newest first: nothing was written to a newer one before all of the older one was.
  let isNewest = true;
  for (const { name } of replayed.toSorted((a, b) => b.number - a.number)) {
    const bytes = await readWhole(join(path, name));
    if (bytes === undefined) return { file: name, offset: 0, code: "file_missing" };
    const log = readLog(bytes);
    if (log.kind === "damaged") return { file: name, ...log.fault };
    if (log.kind === "torn" && !isNewest) return { file: name, offset: bytes.length, code: "file_malformed" };
    // A start that ended early leaves an empty log beside the one that it replayed.
    if (bytes.length > 0) isNewest = false;
  }
  return undefined;
}

async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return [];
    throw new CodedError("store_io", { message: "cannot read", path, reason: codeOf(error) }, { cause: error });
  }
}

/** Reads a log through; `onBatch` gets the pieces of each whole batch. */
export function readLog(bytes: Uint8Array, onBatch: (pieces: readonly Uint8Array[]) => void = () => undefined): LogReading {
  let pieces: Uint8Array[] = [];
  const torn: LogReading = { kind: "torn" };
  const damaged = (offset: number, code: Fault["code"]): LogReading => ({ kind: "damaged", fault: { offset, code } });
  const [zerosFrom, written] = writtenSizes(bytes);
  for (let offset = 0; offset < bytes.length;) {
    const left = LOG_PIECE_SIZE_BYTES - (offset % LOG_PIECE_SIZE_BYTES);
    if (offset >= zerosFrom) return torn;
    if (left < LOG_HEAD_SIZE_BYTES) {
      if (bytes.subarray(offset, offset + left).some((byte) => byte !== 0)) return damaged(offset, "file_malformed");
      offset += left;
      continue;
    }
    if (offset + LOG_HEAD_SIZE_BYTES > written) return torn;
    const sizeBytes = (bytes[offset + 4] ?? 0) | ((bytes[offset + 5] ?? 0) << 8);
    const type = bytes[offset + 6] ?? 0;
    const end = offset + LOG_HEAD_SIZE_BYTES + sizeBytes;
    const isForm = type >= PIECE.full && type <= PIECE.last && LOG_HEAD_SIZE_BYTES + sizeBytes <= left;
    if (!isForm) return damaged(offset, "file_malformed");
    if (end > bytes.length) return isShorter(bytes, offset) ? damaged(offset, "file_checksum") : torn;
    if (maskedCrc(bytes.subarray(offset + 6, end)) !== readU32Le(bytes, offset))
      return end > written && written < bytes.length ? torn : damaged(offset, "file_checksum");
    const isBeginning = type === PIECE.full || type === PIECE.first;
    if (isBeginning !== (pieces.length === 0)) return damaged(offset, "file_malformed");
    pieces.push(bytes.subarray(offset + LOG_HEAD_SIZE_BYTES, end));
    if (type === PIECE.full || type === PIECE.last) {
      onBatch(pieces);
      pieces = [];
    }
    offset = end;
  }
  return pieces.length === 0 ? { kind: "whole" } : torn;
}

/** From where on a file is zeros alone, and up to where it was written, when whole sectors at its end are; else its size. */
function writtenSizes(bytes: Uint8Array): readonly [zerosFrom: number, written: number] {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end -= 1;
  return [end, Math.min(bytes.length, Math.ceil(end / SECTOR_SIZE_BYTES) * SECTOR_SIZE_BYTES)];
}

/** Whether the record at an offset has its checksum at some smaller size than it says: then the size was changed. */
function isShorter(bytes: Uint8Array, offset: number): boolean {
  return beginningCrcs(bytes.subarray(offset + 6)).has(readU32Le(bytes, offset));
}

type LogNumbers = { readonly log: number; readonly previous: number };

/** From which log on a manifest has them replayed; `undefined` when it is not of that form. */
function logNumbers(edits: readonly Uint8Array[]): LogNumbers | undefined {
  let numbers: LogNumbers = { log: 0, previous: 0 };
  for (const bytes of edits) {
    const reader: ByteReader = { bytes, offset: 0 };
    while (reader.offset < bytes.length) {
      const tag = readVarint(reader) ?? 0;
      const form = EDIT_FIELDS[tag];
      if (form === undefined) return undefined;
      for (const part of form) {
        const value = readVarint(reader);
        if (value === undefined) return undefined;
        if (part === "bytes") reader.offset += value;
        else if (tag === TAG_LOG) numbers = { ...numbers, log: value };
        else if (tag === TAG_LOG_PREVIOUS) numbers = { ...numbers, previous: value };
        if (reader.offset > bytes.length) return undefined;
      }
    }
  }
  return numbers;
}

const TAG_LOG = 2;
const TAG_LOG_PREVIOUS = 9;
/** What stands behind each tag of an edit. */
const EDIT_FIELDS: Readonly<Record<number, readonly ("number" | "bytes")[]>> = {
  // Comparator, log, next file, last sequence.
  1: ["bytes"],
  [TAG_LOG]: ["number"],
  3: ["number"],
  4: ["number"],
  // Compaction pointer: level, key. File that went: level, number. File that came: level, number, size, smallest, largest.
  5: ["number", "bytes"],
  6: ["number", "number"],
  7: ["number", "number", "number", "bytes", "bytes"],
  [TAG_LOG_PREVIOUS]: ["number"],
};
