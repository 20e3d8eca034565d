/**
 * The write-ahead log of consensus: what this node has said and must not forget. Engines that forget a height once it
 * is decided have one file a height; a continuous engine has one file that its own records replace from time to time.
 *
 * Frame: `length u32 | checksum 8 bytes | record`, the checksum being the first bytes of BLAKE3 over the length and
 * the record. A crash can only tear the tail, and the engine's `send.after` keeps everything unsynced unsaid; so
 * reading stops at the first frame that does not check, and appending goes on from there.
 *
 * Seal: `0 u32 | checksum 8 bytes | synced u32`, between frames: when it was written the file was durable up to offset
 * `synced`. Where reading stops before what a later seal calls durable, no crash has torn the log but the disk has
 * damaged it: `wal_corrupt`, for what is lost was said. The checksum is over zero, the seal's own offset and `synced`, so
 * that bytes of a record make no seal. (A log without seals is one of before they were written. What was synced last
 * has no seal behind it, and damage to it looks like a torn tail.)
 *
 * Records appended while an fsync is under way share the next one (group commit).
 */

import { assert, AssertionError } from "../../crypto/base/assert.ts";
import { bytesEqual, concatBytes, EMPTY, readU32, u32 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { blake3 } from "../../crypto/backend/blake3.ts";
import type { Height } from "../../chain/block/height.ts";
import { type Disk, type DiskFile, replaceFile } from "../ports/disk.ts";

const CHECKSUM_SIZE_BYTES = 8;
const FRAME_SIZE_BYTES = 4 + CHECKSUM_SIZE_BYTES;
const SEAL_SIZE_BYTES = FRAME_SIZE_BYTES + 4;

/** A record holds at most a proposal with its block. */
export const RECORD_SIZE_BYTES_MAX = 32 * 1024 * 1024;

/** A log is at most so large when it is read back: what one height, or one replacement and what follows it, can add up to. */
const LOG_SIZE_BYTES_MAX = 1024 * 1024 * 1024;

/** Which log: that of a height, or the one of a continuous engine. */
export type LogName = Height | "engine";

/** The write-ahead log. One writer: the store's lock keeps other processes out of this home. */
export class WriteAheadLog {
  readonly #directory: string;
  readonly #disk: Disk;
  #file: DiskFile | undefined;
  #name: LogName | undefined;
  #flushing: Promise<void> | undefined;
  #replacing: Promise<void> | undefined;
  #failed: CodedError | undefined;
  /** Of the file: what was written, what is durable of it, and what the last seal says is. */
  #sizeBytes = 0;
  #syncedBytes = 0;
  #sealedBytes = 0;

  constructor(directory: string, disk: Disk) {
    this.#directory = directory;
    this.#disk = disk;
  }

  /**
   * Begins or resumes a log: returns the records that survived, cuts off a torn tail, and removes the files of lower
   * heights.
   *
   * @throws `wal_corrupt` when durable records are damaged, `wal_io` when the disk fails
   */
  async start(name: LogName): Promise<readonly Uint8Array[]> {
    await this.#close();
    try {
      return await this.#open(name);
    } catch (cause) {
      if (cause instanceof CodedError || cause instanceof AssertionError) throw cause;
      throw new CodedError("wal_io", { log: `${name}` }, { cause });
    }
  }

  /**
   * Whether a log holds a record. Asked before `start`.
   *
   * @throws as `start`
   */
  async holds(name: LogName): Promise<boolean> {
    const path = this.#pathOf(`${name}.log`);
    let bytes: Uint8Array | undefined;
    try {
      bytes = await this.#disk.read(path, LOG_SIZE_BYTES_MAX);
    } catch (cause) {
      throw new CodedError("wal_io", { log: `${name}` }, { cause });
    }
    return bytes !== undefined && readFrames(bytes, path).records.length > 0;
  }

  async #open(name: LogName): Promise<readonly Uint8Array[]> {
    await this.#disk.makeDirectory(this.#directory);
    for (const each of await this.#disk.list(this.#directory)) {
      if (name !== "engine" && /^\d+\.log$/.test(each) && BigInt(each.slice(0, -4)) < name)
        await this.#disk.remove(this.#pathOf(each));
    }
    const path = this.#pathOf(`${name}.log`);
    const bytes = await this.#disk.read(path, LOG_SIZE_BYTES_MAX);
    const { records, sizeBytes, sealedBytes } = readFrames(bytes ?? new Uint8Array(), path);
    // After a sync that failed the system may call pages clean that are in its memory alone, and no later sync saves them: what was
    // read is written anew (Rebello et al., ATC 2020: recovery must not trust the page cache).
    if (bytes !== undefined && bytes.length > 0) await replaceFile(this.#disk, path, bytes);
    const file = await this.#disk.open(path, "existing");
    this.#file = file;
    file.truncate(sizeBytes);
    // A process that was killed may have left in the system's memory what it never synced: the engine is about to be told
    // that these records are durable, and a power cut must not take one back.
    await file.sync();
    await this.#disk.syncDirectory(this.#directory);
    this.#name = name;
    [this.#sizeBytes, this.#syncedBytes, this.#sealedBytes] = [sizeBytes, sizeBytes, sealedBytes];
    return records;
  }

  /** Appends a record and resolves when it is durable. Throws `wal_io`, and from then on always. */
  async append(name: LogName, record: Uint8Array): Promise<void> {
    // Behind a replacement under way, which would drop it.
    while (this.#replacing !== undefined) await this.#replacing;
    if (this.#failed !== undefined) throw this.#failed;
    const file = this.#fileOf(name);
    const bytes = this.#sealed(record);
    this.#sizeBytes += bytes.length;
    try {
      file.append(bytes);
    } catch (cause) {
      throw this.#fail(cause);
    }
    await this.#flush(file);
  }

  /** As `append`, and drops every record before this one. */
  async replace(name: LogName, record: Uint8Array): Promise<void> {
    while (this.#replacing !== undefined) await this.#replacing;
    if (this.#failed !== undefined) throw this.#failed;
    const turn = this.#replaceWith(this.#fileOf(name), this.#pathOf(`${name}.log`), frameOf(record));
    const settled = turn.then(
      () => undefined,
      () => undefined, // Whoever asked for it sees its failure; those behind it see `#failed`.
    );
    this.#replacing = settled;
    try {
      await turn;
    } catch (cause) {
      throw this.#fail(cause);
    } finally {
      this.#replacing = undefined;
    }
  }

  async #replaceWith(old: DiskFile, path: string, frame: Uint8Array): Promise<void> {
    while (this.#flushing !== undefined) await this.#flushing;
    await replaceFile(this.#disk, path, frame);
    old.close();
    this.#file = undefined;
    this.#file = await this.#disk.open(path, "existing");
    [this.#sizeBytes, this.#syncedBytes, this.#sealedBytes] = [frame.length, frame.length, 0];
  }

  /** The frame of a record, behind a seal when more is durable than the last seal says. */
  #sealed(record: Uint8Array): Uint8Array {
    assert(this.#syncedBytes <= this.#sizeBytes, "{} bytes of {} are durable", this.#syncedBytes, this.#sizeBytes);
    if (this.#syncedBytes === this.#sealedBytes) return frameOf(record);
    this.#sealedBytes = this.#syncedBytes;
    return frameOf(record, sealOf({ offset: this.#sizeBytes, synced: this.#syncedBytes }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }

  #fileOf(name: LogName): DiskFile {
    const file = this.#file;
    assert(this.#name === name && file !== undefined, "log is at {}, not {}", this.#name, name);
    return file;
  }

  #pathOf(name: string): string {
    return `${this.#directory}/${name}`;
  }

  /** Waits for an fsync that began after this call; callers in between share it. */
  async #flush(file: DiskFile): Promise<void> {
    const running = this.#flushing;
    if (running !== undefined) {
      await running;
      // The one we waited for may have begun before our write; whoever comes first starts the next.
      this.#flushing ??= this.#sync(file);
      await this.#flushing;
      return;
    }
    this.#flushing = this.#sync(file);
    await this.#flushing;
  }

  async #sync(file: DiskFile): Promise<void> {
    const sizeBytes = this.#sizeBytes;
    try {
      await file.sync();
      this.#syncedBytes = sizeBytes;
    } catch (cause) {
      // After a failed fsync the kernel may have dropped the pages: trying again would lie (Rebello et al., ATC 2020).
      throw this.#fail(cause);
    } finally {
      this.#flushing = undefined;
    }
  }

  async #close(): Promise<void> {
    while (this.#replacing !== undefined) await this.#replacing;
    const file = this.#file;
    if (file === undefined) return;
    this.#file = undefined;
    // A writer that waits for one fsync starts another after it; each reports its own failure.
    while (this.#flushing !== undefined) await this.#flushing.catch(() => undefined);
    file.close();
  }

  #fail(cause: unknown): CodedError {
    this.#failed ??= new CodedError("wal_io", { log: `${this.#name}` }, { cause });
    return this.#failed;
  }
}

/** The frame of a record, behind what is given. A record may be a block: it is copied once. */
function frameOf(record: Uint8Array, before: Uint8Array = EMPTY): Uint8Array {
  assert(record.length > 0 && record.length <= RECORD_SIZE_BYTES_MAX, "record is {} bytes", record.length);
  const bytes = new Uint8Array(before.length + FRAME_SIZE_BYTES + record.length);
  bytes.set(before);
  const length = u32(record.length);
  const frame = bytes.subarray(before.length);
  frame.set(record, FRAME_SIZE_BYTES);
  // What is hashed is in one piece while the length stands where the checksum will.
  frame.set(length, FRAME_SIZE_BYTES - length.length);
  const checksum = blake3(frame.subarray(FRAME_SIZE_BYTES - length.length)).subarray(0, CHECKSUM_SIZE_BYTES);
  frame.set(length);
  frame.set(checksum, length.length);
  return bytes;
}

function checksumOf(length: Uint8Array, record: Uint8Array): Uint8Array {
  return blake3(concatBytes(length, record)).subarray(0, CHECKSUM_SIZE_BYTES);
}

function sealOf(seal: { readonly offset: number; readonly synced: number }): Uint8Array {
  return concatBytes(u32(0), sealChecksumOf(seal), u32(seal.synced));
}

function sealChecksumOf({ offset, synced }: { readonly offset: number; readonly synced: number }): Uint8Array {
  return blake3(concatBytes(u32(0), u32(offset), u32(synced))).subarray(0, CHECKSUM_SIZE_BYTES);
}

/** How much the seal at an offset says is durable; `undefined` when there is none. */
function sealAt(bytes: Uint8Array, offset: number): number | undefined {
  if (offset + SEAL_SIZE_BYTES > bytes.length || readU32(bytes, offset) !== 0) return undefined;
  const synced = readU32(bytes, offset + FRAME_SIZE_BYTES);
  if (synced > offset) return undefined;
  const checksum = bytes.subarray(offset + 4, offset + FRAME_SIZE_BYTES);
  return bytesEqual(checksum, sealChecksumOf({ offset, synced })) ? synced : undefined;
}

type Frames = { readonly records: readonly Uint8Array[]; readonly sizeBytes: number; readonly sealedBytes: number };

/** Whole frames from the front, how many bytes they take, and what the last seal among them says is durable. */
function readFrames(bytes: Uint8Array, path: string): Frames {
  const records: Uint8Array[] = [];
  let offset = 0;
  let sealedBytes = 0;
  while (offset + FRAME_SIZE_BYTES <= bytes.length) {
    const synced = sealAt(bytes, offset);
    if (synced !== undefined) {
      sealedBytes = synced;
      offset += SEAL_SIZE_BYTES;
      continue;
    }
    const length = readU32(bytes, offset);
    const start = offset + FRAME_SIZE_BYTES;
    if (length === 0 || length > RECORD_SIZE_BYTES_MAX || start + length > bytes.length) break;
    const record = bytes.slice(start, start + length);
    const checksum = bytes.subarray(offset + 4, start);
    if (!bytesEqual(checksum, checksumOf(u32(length), record))) break;
    records.push(record);
    offset = start + length;
  }
  for (let at = offset + 1; at + SEAL_SIZE_BYTES <= bytes.length; at += 1) {
    const synced = sealAt(bytes, at);
    if (synced !== undefined && synced > offset) throw new CodedError("wal_corrupt", { path, offset, synced });
  }
  return { records, sizeBytes: offset, sealedBytes };
}
