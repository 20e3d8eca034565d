/**
 * A store over the simulated disk: a log of batches, replayed into an ordered map at open.
 *
 * ```
 *   file    frame...
 *   frame   length u32 | checksum 8 bytes | batch     the checksum is BLAKE3 over length and batch
 *   batch   (0 | key length u32 | key) or (1 | key length u32 | key | value length u32 | value), and so on
 * ```
 *
 * A crash can tear the last frames only, which are cut off at open. A frame that does not check before one that does
 * is damage: `store_corrupt`, because what comes after stands on what is lost. When the log has grown to several times
 * what is alive in it, it is written anew and put in its place by a rename.
 */

import { assert } from "../../crypto/base/assert.ts";
import { bytesEqual, concatBytes, readU32 } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { blake3 } from "../../crypto/backend/blake3.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import type { Store, StoreEntry, StoreOperation, StoreRange, StoreReader } from "../../chain/store/store.ts";
import { type Disk, type DiskFile, directoryOf, replaceFile } from "../../node/ports/disk.ts";

const CHECKSUM_SIZE_BYTES = 8;
const HEAD_SIZE_BYTES = 4 + CHECKSUM_SIZE_BYTES;
const LOG_SIZE_BYTES_MAX = 1024 * 1024 * 1024;
/** A log below this is left alone, and one that is less than so many times what is alive in it. */
const COMPACT_SIZE_BYTES_MIN = 1024 * 1024;
const COMPACT_FACTOR = 4;

/** Opens the store of a path, and makes it when it is not there. Throws `store_corrupt`, `store_io`. */
export async function openSimulatedStore(options: { readonly disk: Disk; readonly path: string }): Promise<Store> {
  return await SimulatedStore.open(options);
}

class SimulatedStore implements Store {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #rows: Store;
  #file: DiskFile;
  #logSizeBytes: number;
  #liveSizeBytes: number;
  #queue: Promise<void> = Promise.resolve();
  #failed: CodedError | undefined;
  #isClosed = false;

  private constructor(parts: {
    readonly disk: Disk;
    readonly path: string;
    readonly rows: Store;
    readonly file: DiskFile;
    readonly logSizeBytes: number;
    readonly liveSizeBytes: number;
  }) {
    this.#disk = parts.disk;
    this.#path = parts.path;
    this.#rows = parts.rows;
    this.#file = parts.file;
    this.#logSizeBytes = parts.logSizeBytes;
    this.#liveSizeBytes = parts.liveSizeBytes;
  }

  static async open({ disk, path }: { readonly disk: Disk; readonly path: string }): Promise<SimulatedStore> {
    const rows = openMemoryStore();
    try {
      const directory = directoryOf(path);
      await disk.makeDirectory(directory);
      const bytes = await disk.read(path, LOG_SIZE_BYTES_MAX);
      const { batches, sizeBytes } = readLog(bytes ?? new Uint8Array(0), path);
      for (const operations of batches) await rows.write(operations, { sync: false });
      const file = await disk.open(path, "existing");
      if (bytes !== undefined && sizeBytes < bytes.length) file.truncate(sizeBytes);
      // What was read may be in the page cache alone, and the name too.
      await file.sync();
      await disk.syncDirectory(directory);
      await disk.syncDirectory(directoryOf(directory));
      const liveSizeBytes = await rows.sizeBytes();
      return new SimulatedStore({ disk, path, rows, file, logSizeBytes: sizeBytes, liveSizeBytes });
    } catch (cause) {
      if (codeOf(cause) === "store_corrupt") throw cause;
      throw new CodedError("store_io", { path }, { cause });
    }
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#rows.get(key);
  }

  getMany(keys: readonly Uint8Array[]): (Uint8Array | undefined)[] {
    return this.#rows.getMany(keys);
  }

  entries(range: StoreRange): AsyncIterableIterator<StoreEntry> {
    return this.#rows.entries(range);
  }

  snapshot(): StoreReader & Disposable {
    return this.#rows.snapshot();
  }

  async write(operations: readonly StoreOperation[], options: { readonly sync: boolean }): Promise<void> {
    this.#checkOpen();
    // The caller may change its arrays at once: encoded here, and not when our turn comes.
    const frame = encodeFrame(operations);
    const batch = decodeBatch(frame.subarray(HEAD_SIZE_BYTES));
    const turn = this.#queue.then(async () => await this.#write(frame, batch, options.sync));
    this.#queue = turn.catch(() => undefined); // The caller sees its failure; the queue only keeps the order.
    await turn;
  }

  async clear(range: Pick<StoreRange, "from" | "to">): Promise<void> {
    this.#checkOpen();
    await this.#queue;
    const operations: StoreOperation[] = [];
    for await (const { key } of this.entries(range)) operations.push({ kind: "delete", key });
    if (operations.length > 0) await this.write(operations, { sync: false });
  }

  /** The log is written anew by itself, when it has grown enough. */
  async compact(): Promise<void> {
    this.#checkOpen();
    return Promise.resolve();
  }

  async sizeBytes(): Promise<number> {
    this.#checkOpen();
    return this.#logSizeBytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#queue;
    this.#file.close();
    await this.#rows[Symbol.asyncDispose]();
  }

  async #write(frame: Uint8Array, operations: readonly StoreOperation[], sync: boolean): Promise<void> {
    if (this.#failed !== undefined) throw this.#failed;
    try {
      this.#file.append(frame);
      this.#logSizeBytes += frame.length;
      if (sync) await this.#file.sync();
    } catch (cause) {
      // What the file holds now nobody knows: nothing is written behind it.
      this.#failed = new CodedError("store_io", { path: this.#path }, { cause });
      throw this.#failed;
    }
    await this.#rows.write(operations, { sync: false });
    if (this.#logSizeBytes > COMPACT_SIZE_BYTES_MIN && this.#logSizeBytes > COMPACT_FACTOR * this.#liveSizeBytes)
      await this.#compact();
  }

  async #compact(): Promise<void> {
    this.#liveSizeBytes = await this.#rows.sizeBytes();
    if (this.#logSizeBytes <= COMPACT_FACTOR * this.#liveSizeBytes) return;
    const operations: StoreOperation[] = [];
    for await (const { key, value } of this.#rows.entries({})) operations.push({ kind: "put", key, value });
    const frame = encodeFrame(operations);
    try {
      await replaceFile(this.#disk, this.#path, frame);
      this.#file.close();
      this.#file = await this.#disk.open(this.#path, "existing");
    } catch (cause) {
      this.#failed = new CodedError("store_io", { path: this.#path }, { cause });
      throw this.#failed;
    }
    this.#logSizeBytes = frame.length;
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new CodedError("store_closed");
  }
}

function encodeFrame(operations: readonly StoreOperation[]): Uint8Array {
  let sizeBytes = HEAD_SIZE_BYTES;
  for (const operation of operations)
    sizeBytes += 5 + operation.key.length + (operation.kind === "put" ? 4 + operation.value.length : 0);
  const frame = new Uint8Array(sizeBytes);
  const view = new DataView(frame.buffer);
  let at = HEAD_SIZE_BYTES;
  const write = (bytes: Uint8Array): void => {
    view.setUint32(at, bytes.length);
    frame.set(bytes, at + 4);
    at += 4 + bytes.length;
  };
  for (const operation of operations) {
    frame[at] = operation.kind === "put" ? 1 : 0;
    at += 1;
    write(operation.key);
    if (operation.kind === "put") write(operation.value);
  }
  assert(at === sizeBytes, `a batch of ${at} bytes, not ${sizeBytes}`);
  view.setUint32(0, sizeBytes - HEAD_SIZE_BYTES);
  frame.set(checksumOf(frame), 4);
  return frame;
}

/** The checksum of a frame in whose head the length stands already. */
function checksumOf(frame: Uint8Array): Uint8Array {
  return blake3(concatBytes(frame.subarray(0, 4), frame.subarray(HEAD_SIZE_BYTES))).subarray(0, CHECKSUM_SIZE_BYTES);
}

/** Keys and values are views on `batch`. */
function decodeBatch(batch: Uint8Array): readonly StoreOperation[] {
  const operations: StoreOperation[] = [];
  let at = 0;
  const read = (): Uint8Array => {
    const length = readU32(batch, at);
    at += 4 + length;
    return batch.subarray(at - length, at);
  };
  while (at < batch.length) {
    const isPut = batch[at] === 1;
    at += 1;
    const key = read();
    operations.push(isPut ? { kind: "put", key, value: read() } : { kind: "delete", key });
  }
  return operations;
}

function readLog(
  bytes: Uint8Array,
  path: string,
): { readonly batches: readonly (readonly StoreOperation[])[]; readonly sizeBytes: number } {
  const batches: (readonly StoreOperation[])[] = [];
  let at = 0;
  for (let frame = frameAt(bytes, at); frame !== undefined; frame = frameAt(bytes, at)) {
    batches.push(decodeBatch(frame.subarray(HEAD_SIZE_BYTES)));
    at += frame.length;
  }
  for (let later = at + 1; later + HEAD_SIZE_BYTES <= bytes.length; later += 1)
    if (frameAt(bytes, later) !== undefined) throw new CodedError("store_corrupt", { path, offset: at });
  return { batches, sizeBytes: at };
}

function frameAt(bytes: Uint8Array, at: number): Uint8Array | undefined {
  if (at + HEAD_SIZE_BYTES > bytes.length) return undefined;
  const length = readU32(bytes, at);
  if (length === 0 || length > bytes.length - at - HEAD_SIZE_BYTES) return undefined;
  const frame = bytes.subarray(at, at + HEAD_SIZE_BYTES + length);
  return bytesEqual(frame.subarray(4, HEAD_SIZE_BYTES), checksumOf(frame)) ? frame : undefined;
}
