/**
 * The write-ahead log of consensus: what this node has said and must not forget, one file a height.
 *
 * Frame: `length u32 | checksum 8 bytes | record`, the checksum being the first bytes of BLAKE3 over the length and
 * the record. A crash can only tear the tail, and the engine's `send.after` keeps everything unsynced unsaid; so
 * reading stops at the first frame that does not check, and appending goes on from there.
 *
 * Records appended while an fsync is under way share the next one (group commit).
 */

import { closeSync, fdatasync, ftruncateSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { assert } from "../../crypto/base/assert.ts";
import { bytesEqual, concatBytes, readU32, u32 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { blake3 } from "../../crypto/backend/blake3.ts";
import type { Height } from "../../chain/block/height.ts";
import { DIRECTORY_MODE_PRIVATE, FILE_MODE_PRIVATE, syncDirectory } from "../home/files.ts";

const CHECKSUM_SIZE_BYTES = 8;
const FRAME_SIZE_BYTES = 4 + CHECKSUM_SIZE_BYTES;

/** A record holds at most a proposal with its block. */
export const RECORD_SIZE_BYTES_MAX = 32 * 1024 * 1024;

const fdatasyncAsync = promisify(fdatasync);

/** The write-ahead log. One writer: the store's lock keeps other processes out of this home. */
export class WriteAheadLog {
  readonly #directory: string;
  #file: number | undefined;
  #height: Height | undefined;
  #flushing: Promise<void> | undefined;
  #failed: CodedError | undefined;

  constructor(directory: string) {
    this.#directory = directory;
    mkdirSync(directory, { recursive: true, mode: DIRECTORY_MODE_PRIVATE });
  }

  /**
   * Begins or resumes a height: returns the records that survived, cuts off a torn tail, and removes the files of
   * other heights below it.
   */
  async start(height: Height): Promise<readonly Uint8Array[]> {
    await this.#close();
    for (const name of readdirSync(this.#directory)) {
      if (/^\d+\.log$/.test(name) && BigInt(name.slice(0, -4)) < height) rmSync(join(this.#directory, name));
    }
    const path = join(this.#directory, `${height}.log`);
    this.#file = openSync(path, "a+", FILE_MODE_PRIVATE);
    await syncDirectory(this.#directory);
    this.#height = height;
    const { records, sizeBytes } = readFrames(readFileSync(path));
    ftruncateSync(this.#file, sizeBytes);
    return records;
  }

  /** Appends a record and resolves when it is durable. Throws `wal_io`, and from then on always. */
  async append(height: Height, record: Uint8Array): Promise<void> {
    assert(this.#height === height && this.#file !== undefined, `log is at ${this.#height}, not ${height}`);
    assert(record.length <= RECORD_SIZE_BYTES_MAX, `record is ${record.length} bytes`);
    if (this.#failed !== undefined) throw this.#failed;
    const length = u32(record.length);
    try {
      writeAll(this.#file, concatBytes(length, checksumOf(length, record), record));
    } catch (cause) {
      throw this.#fail(cause);
    }
    await this.#flush();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }

  /** Waits for an fsync that began after this call; callers in between share it. */
  async #flush(): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
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

  async #sync(file: number): Promise<void> {
    try {
      await fdatasyncAsync(file);
    } catch (cause) {
      // After a failed fsync the kernel may have dropped the pages: trying again would lie (Rebello et al., ATC 2020).
      throw this.#fail(cause);
    } finally {
      this.#flushing = undefined;
    }
  }

  async #close(): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    this.#file = undefined;
    // A writer that waits for one fsync starts another after it; each reports its own failure.
    while (this.#flushing !== undefined) await this.#flushing.catch(() => undefined);
    closeSync(file);
  }

  #fail(cause: unknown): CodedError {
    this.#failed ??= new CodedError("wal_io", { height: this.#height }, { cause });
    return this.#failed;
  }
}

function checksumOf(length: Uint8Array, record: Uint8Array): Uint8Array {
  return blake3(concatBytes(length, record)).subarray(0, CHECKSUM_SIZE_BYTES);
}

/** Writes all of `bytes`; a short write goes on where it stopped. */
function writeAll(file: number, bytes: Uint8Array): void {
  let written = 0;
  while (written < bytes.length) written += writeSync(file, bytes, written, bytes.length - written);
}

/** Whole frames from the front, and how many bytes they take. */
function readFrames(bytes: Uint8Array): { readonly records: readonly Uint8Array[]; readonly sizeBytes: number } {
  const records: Uint8Array[] = [];
  let offset = 0;
  while (offset + FRAME_SIZE_BYTES <= bytes.length) {
    const length = readU32(bytes, offset);
    const start = offset + FRAME_SIZE_BYTES;
    if (length > RECORD_SIZE_BYTES_MAX || start + length > bytes.length) break;
    const record = bytes.slice(start, start + length);
    const checksum = bytes.subarray(offset + 4, start);
    if (!bytesEqual(checksum, checksumOf(u32(length), record))) break;
    records.push(record);
    offset = start + length;
  }
  return { records, sizeBytes: offset };
}
