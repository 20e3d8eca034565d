/**
 * LevelDB's own files, checked byte for byte by the checksums that LevelDB writes and its binding does not check on reads.
 *
 * ```
 * 000123.ldb        block, block, ... index, footer      a block: contents, type, crc32c(contents ‖ type)
 * 000124.log        32 KiB pieces of records             a record: crc32c(type ‖ data), length, type, data
 * MANIFEST-000007   the same form
 * CURRENT           the name of the manifest
 * ```
 *
 * Every byte of a table belongs to a block, its checksum or the footer; every byte of a log to a record or to zeros. `LOG` and
 * `LOG.old` are text for people, `LOCK` is empty: nothing is read from them, and nothing is checked.
 *
 * Source: github.com/google/leveldb, doc/table_format.md and doc/log_format.md; snappy's format_description.txt.
 */

import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import type { DamageCode } from "./errors.ts";

/** Something in a file that is not as it was written. */
export type FileFault = { readonly file: string; readonly offset: number; readonly code: DamageCode };

const TABLE_MAGIC = [0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb];
const FOOTER_SIZE_BYTES = 48;
const TRAILER_SIZE_BYTES = 5;
/** A log is written in pieces that do not cross a multiple of this. */
export const LOG_PIECE_SIZE_BYTES = 32 * 1024;
/** Checksum, size and type of a piece. */
export const LOG_HEAD_SIZE_BYTES = 7;
const LOG_TYPE_MAX = 4;
const INDEX_SIZE_BYTES_MAX = 64 * 1024 * 1024;
/** No file is read that is larger: LevelDB writes tables of some megabytes. */
const FILE_SIZE_BYTES_MAX = 1024 * 1024 * 1024;

/** The files of a store that hold data, oldest first. */
export async function dataFiles(path: string): Promise<string[]> {
  const names = await readdir(path);
  return names.filter((name) => /^(\d+\.(ldb|sst|log)|MANIFEST-\d+|CURRENT)$/.test(name)).toSorted((a, b) => (a < b ? -1 : 1));
}

/**
 * Checks one file.
 *
 * @param isLive - whether a process writes to the store: then the last record of a log may be half there, and a file may be gone
 */
export async function checkFile(
  directory: string,
  file: string,
  isLive: boolean,
): Promise<{ readonly sizeBytes: number; readonly faults: readonly FileFault[] }> {
  const bytes = await readWhole(join(directory, file));
  if (bytes === undefined) return { sizeBytes: 0, faults: isLive ? [] : [{ file, offset: 0, code: "file_missing" }] };
  const note = (fault: Omit<FileFault, "file"> | undefined): FileFault[] => (fault === undefined ? [] : [{ file, ...fault }]);
  if (file === "CURRENT") return { sizeBytes: bytes.length, faults: note(await checkCurrent(directory, bytes)) };
  const fault = /\.(ldb|sst)$/.test(file) ? tableFault(bytes) : logFault(bytes, isLive);
  return { sizeBytes: bytes.length, faults: note(fault) };
}

type Fault = Omit<FileFault, "file">;

async function checkCurrent(directory: string, bytes: Uint8Array): Promise<Fault | undefined> {
  const name = /^(MANIFEST-\d{6,})\n$/.exec(new TextDecoder().decode(bytes))?.[1];
  if (name === undefined) return { offset: 0, code: "file_malformed" };
  return (await readdir(directory)).includes(name) ? undefined : { offset: 0, code: "file_missing" };
}

/** All of a file; `undefined` when it is not there. @throws CodedError `store_io` */
export async function readWhole(path: string): Promise<Uint8Array | undefined> {
  try {
    const handle = await open(path, "r");
    try {
      const { size } = await handle.stat();
      if (size > FILE_SIZE_BYTES_MAX)
        throw new CodedError("store_io", { message: "a file too large to check", path, sizeBytes: size });
      return new Uint8Array(await handle.readFile());
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    if (error instanceof CodedError) throw error;
    throw new CodedError("store_io", { message: "cannot read", path, reason: codeOf(error) }, { cause: error });
  }
}

// Tables.

type Handle = { readonly offset: number; readonly sizeBytes: number };

/** The first fault of a sorted table. */
export function tableFault(bytes: Uint8Array): Fault | undefined {
  const end = bytes.length - FOOTER_SIZE_BYTES;
  if (end < 0) return { offset: 0, code: "file_malformed" };
  if (TABLE_MAGIC.some((byte, index) => bytes[bytes.length - TABLE_MAGIC.length + index] !== byte))
    return { offset: bytes.length - TABLE_MAGIC.length, code: "file_malformed" };
  const reader = { bytes, offset: end };
  const [meta, index] = [readHandle(reader), readHandle(reader)];
  if (meta === undefined || index === undefined) return { offset: end, code: "file_malformed" };
  const padding = bytes.subarray(reader.offset, bytes.length - TABLE_MAGIC.length);
  if (padding.some((byte) => byte !== 0)) return { offset: reader.offset, code: "file_malformed" };
  const handles: Handle[] = [meta, index];
  for (const directory of [meta, index]) {
    if (!isWithin(directory, end)) return { offset: end, code: "file_malformed" };
    const fault = blockFault(bytes, directory);
    if (fault !== undefined) return fault;
    const found = handlesOf(bytes, directory);
    if (found === undefined) return { offset: directory.offset, code: "file_malformed" };
    handles.push(...found);
  }
  let next = 0;
  for (const handle of handles.toSorted((a, b) => a.offset - b.offset)) {
    // The blocks lie side by side, so that every byte is under a checksum.
    if (handle.offset !== next || !isWithin(handle, end)) return { offset: next, code: "file_malformed" };
    const fault = blockFault(bytes, handle);
    if (fault !== undefined) return fault;
    next = handle.offset + handle.sizeBytes + TRAILER_SIZE_BYTES;
  }
  return next === end ? undefined : { offset: next, code: "file_malformed" };
}

function isWithin({ offset, sizeBytes }: Handle, end: number): boolean {
  return offset + sizeBytes + TRAILER_SIZE_BYTES <= end;
}

function blockFault(bytes: Uint8Array, { offset, sizeBytes }: Handle): Fault | undefined {
  const end = offset + sizeBytes + 1;
  return maskedCrc(bytes.subarray(offset, end)) === readU32Le(bytes, end) ? undefined : { offset, code: "file_checksum" };
}

/** The values of a block of handles; `undefined` when it is not of that form. */
function handlesOf(bytes: Uint8Array, { offset, sizeBytes }: Handle): Handle[] | undefined {
  const stored = bytes.subarray(offset, offset + sizeBytes);
  const type = bytes[offset + sizeBytes];
  const contents = type === 0 ? stored : type === 1 ? unsnap(stored) : undefined;
  if (contents === undefined || contents.length < 4) return undefined;
  const restarts = readU32Le(contents, contents.length - 4);
  const end = contents.length - 4 - restarts * 4;
  if (end < 0) return undefined;
  const reader = { bytes: contents.subarray(0, end), offset: 0 };
  const handles: Handle[] = [];
  while (reader.offset < end) {
    const shared = readVarint(reader);
    const unshared = readVarint(reader);
    const valueSize = readVarint(reader);
    if (shared === undefined || unshared === undefined || valueSize === undefined) return undefined;
    const start = reader.offset + unshared;
    if (start + valueSize > end) return undefined;
    const value = { bytes: contents.subarray(0, start + valueSize), offset: start };
    const handle = readHandle(value);
    if (handle === undefined || value.offset !== start + valueSize) return undefined;
    handles.push(handle);
    reader.offset = start + valueSize;
  }
  return handles;
}

// Logs.

/** The first fault of a log of records. */
export function logFault(bytes: Uint8Array, isLive: boolean): Fault | undefined {
  for (let offset = 0; offset < bytes.length;) {
    const left = LOG_PIECE_SIZE_BYTES - (offset % LOG_PIECE_SIZE_BYTES);
    if (left < LOG_HEAD_SIZE_BYTES) {
      if (bytes.subarray(offset, offset + left).some((byte) => byte !== 0)) return { offset, code: "file_malformed" };
      offset += left;
      continue;
    }
    if (offset + LOG_HEAD_SIZE_BYTES > bytes.length) return isLive ? undefined : { offset, code: "file_malformed" };
    const sizeBytes = (bytes[offset + 4] ?? 0) | ((bytes[offset + 5] ?? 0) << 8);
    const type = bytes[offset + 6] ?? 0;
    const end = offset + LOG_HEAD_SIZE_BYTES + sizeBytes;
    if (type === 0 || type > LOG_TYPE_MAX || LOG_HEAD_SIZE_BYTES + sizeBytes > left) return { offset, code: "file_malformed" };
    if (end > bytes.length) return isLive ? undefined : { offset, code: "file_malformed" };
    if (maskedCrc(bytes.subarray(offset + 6, end)) !== readU32Le(bytes, offset)) return { offset, code: "file_checksum" };
    offset = end;
  }
  return undefined;
}

// Numbers.

/** Bytes, and where reading stands. */
export type ByteReader = { readonly bytes: Uint8Array; offset: number };

function readHandle(reader: ByteReader): Handle | undefined {
  const offset = readVarint(reader);
  const sizeBytes = readVarint(reader);
  return offset === undefined || sizeBytes === undefined ? undefined : { offset, sizeBytes };
}

/** A number below 2^53, in groups of seven bits, lowest first; `undefined` when there is none. */
export function readVarint(reader: ByteReader): number | undefined {
  let value = 0;
  for (let shift = 0; shift < 53; shift += 7) {
    const byte = reader.bytes[reader.offset];
    if (byte === undefined) return undefined;
    reader.offset += 1;
    value += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) return Number.isSafeInteger(value) ? value : undefined;
  }
  return undefined;
}

/** Four bytes, lowest first. */
export function readU32Le(bytes: Uint8Array, offset: number): number {
  const [a = 0, b = 0, c = 0, d = 0] = bytes.subarray(offset, offset + 4);
  return (a | (b << 8) | (c << 16) | (d << 24)) >>> 0;
}

/** Undoes snappy; `undefined` when it is not of that form. */
function unsnap(bytes: Uint8Array): Uint8Array | undefined {
  const reader = { bytes, offset: 0 };
  const sizeBytes = readVarint(reader);
  if (sizeBytes === undefined || sizeBytes > INDEX_SIZE_BYTES_MAX) return undefined;
  const out = new Uint8Array(sizeBytes);
  let at = 0;
  while (reader.offset < bytes.length) {
    const tag = bytes[reader.offset] ?? 0;
    reader.offset += 1;
    if ((tag & 3) === 0) {
      let count = tag >> 2;
      if (count >= 60) {
        const size = count - 59;
        count = readLe(bytes, reader.offset, size);
        reader.offset += size;
      }
      count += 1;
      if (reader.offset + count > bytes.length || at + count > sizeBytes) return undefined;
      out.set(bytes.subarray(reader.offset, reader.offset + count), at);
      reader.offset += count;
      at += count;
      continue;
    }
    const width = (tag & 3) === 1 ? 1 : (tag & 3) === 2 ? 2 : 4;
    const count = width === 1 ? ((tag >> 2) & 7) + 4 : (tag >> 2) + 1;
    const back = width === 1 ? ((tag >> 5) << 8) | (bytes[reader.offset] ?? 0) : readLe(bytes, reader.offset, width);
    reader.offset += width;
    if (back === 0 || back > at || at + count > sizeBytes) return undefined;
    // A copy may reach into what it writes.
    for (let index = 0; index < count; index += 1) out[at + index] = out[at + index - back] ?? 0;
    at += count;
  }
  return at === sizeBytes ? out : undefined;
}

function readLe(bytes: Uint8Array, offset: number, size: number): number {
  let value = 0;
  for (let index = 0; index < size; index += 1) value += (bytes[offset + index] ?? 0) * 2 ** (8 * index);
  return value;
}

// CRC-32C (Castagnoli), four bytes at a time.

const CRC_TABLES: readonly Uint32Array[] = makeTables();

function makeTables(): Uint32Array[] {
  const tables = Array.from({ length: 4 }, () => new Uint32Array(256));
  const [first] = tables as [Uint32Array];
  for (let byte = 0; byte < 256; byte += 1) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0x82f6_3b78 : crc >>> 1;
    first[byte] = crc;
  }
  for (let byte = 0; byte < 256; byte += 1)
    for (let table = 1; table < 4; table += 1) {
      const crc = (tables[table - 1] as Uint32Array)[byte] as number;
      (tables[table] as Uint32Array)[byte] = (crc >>> 8) ^ (first[crc & 0xff] as number);
    }
  return tables;
}

/** CRC-32C of bytes. RFC 3720, appendix B.4. */
export function crc32c(bytes: Uint8Array): number {
  const [t0, t1, t2, t3] = CRC_TABLES as [Uint32Array, Uint32Array, Uint32Array, Uint32Array];
  let crc = 0xffff_ffff;
  let index = 0;
  for (const end = bytes.length - 3; index < end; index += 4) {
    crc ^=
      (bytes[index] as number) |
      ((bytes[index + 1] as number) << 8) |
      ((bytes[index + 2] as number) << 16) |
      ((bytes[index + 3] as number) << 24);
    crc =
      (t3[crc & 0xff] as number) ^
      (t2[(crc >>> 8) & 0xff] as number) ^
      (t1[(crc >>> 16) & 0xff] as number) ^
      (t0[crc >>> 24] as number);
  }
  for (; index < bytes.length; index += 1) crc = (crc >>> 8) ^ (t0[(crc ^ (bytes[index] as number)) & 0xff] as number);
  return (crc ^ 0xffff_ffff) >>> 0;
}

/** As LevelDB stores it, so that a checksum over checksums says something. */
export function maskedCrc(bytes: Uint8Array): number {
  return masked(crc32c(bytes));
}

/** The checksums, as LevelDB stores them, of every beginning of some bytes but the empty one. */
export function beginningCrcs(bytes: Uint8Array): ReadonlySet<number> {
  const [table] = CRC_TABLES as [Uint32Array];
  const found = new Set<number>();
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc = (crc >>> 8) ^ (table[(crc ^ byte) & 0xff] as number);
    found.add(masked((crc ^ 0xffff_ffff) >>> 0));
  }
  return found;
}

function masked(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + 0xa282_ead8) >>> 0;
}
