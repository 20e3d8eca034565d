/**
 * Large values, outside of LevelDB: each is written once, at the end of a file, where compaction would write it again for every
 * level that it sinks through. In LevelDB stands where it is.
 *
 * ```
 *   blob-00000007    record, record, ...        LevelDB    key -> pointer: file, offset and size of a value
 *     a record: magic, key size, value size, checksum of these and the key, key, value            end: file and size that are durable
 * ```
 *
 * What holds, whenever power goes:
 *
 * - A pointer is written after its value is durable, in one batch with the end of the file. What lies behind the end was never
 *   pointed to, and is cut off when the store is opened: so a file has whole records and nothing else.
 * - A file is deleted after it is durable that nothing points there. Whoever reads through a view that is older keeps it open.
 *
 * Nothing tells a file that one of its values was deleted. Instead some files are looked through when a new one is begun: the
 * oldest, as far as it pays, and one in turn. A value is dead when its key points elsewhere, and dead it stays. Of a file that
 * is half dead the rest is written again, and it goes.
 *
 * A value that rots comes back changed, and one that is not there shorter: as with LevelDB's own files, what matters is under
 * a hash. Of a file in which a head is damaged nothing is thrown away any more.
 *
 * Source: Lu et al., "WiscKey: Separating Keys from Values in SSD-conscious Storage", FAST 2016, section 3.
 */

import { join } from "node:path";
import { crc32 } from "node:zlib";
import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual, concatBytes, EMPTY, readU32, u32, utf8 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { type BlobDisk, type BlobFile, type BlobReader, SYSTEM_BLOB_DISK } from "./blob-disk.ts";

/** Where the files end: what a batch stores beside the pointers of what was appended, and the file of it. */
export type BlobEnd = { readonly bytes: Uint8Array; readonly file: number };

/** How blob files are kept. All sizes are in bytes of the file, heads and keys included. */
export type BlobOptions = {
  /** Where they lie. Default: the machine's own disk. */
  readonly disk?: BlobDisk;
  /** A file that would become larger is followed by another; a value that is larger has one for itself. Default: 64 MiB. */
  readonly fileSizeBytesMax?: number;
};

/** A value to be kept, and the key that will point to it. */
export type Blob = { readonly key: Uint8Array; readonly value: Uint8Array };

/** A key, and what is to stand there. */
export type BlobPointer = { readonly key: Uint8Array; readonly pointer: Uint8Array };

/** What points to values: LevelDB. */
export type BlobIndex = {
  readonly get: (key: Uint8Array) => Uint8Array | undefined;
  /** The same for many, without waiting for the disk. */
  readonly load: (keys: readonly Uint8Array[]) => Promise<readonly (Uint8Array | undefined)[]>;
  /** Runs a task while nobody else writes. What it gives is stored, durably, and with it whatever was written before. */
  readonly commit: (task: () => Promise<readonly BlobPointer[]>) => Promise<void>;
};

/** Smaller ones are left to LevelDB. A full chunk of the state (`chain/state/chunk.ts`) is of this size, or larger. */
export const BLOB_SIZE_BYTES_MIN = 4096;
const FILE_SIZE_BYTES_MAX = 64 * 1024 * 1024;
/**
 * How much may be live: of a file, for that to be moved, and of its first values, for the rest to be looked at. What dies by age
 * dies from the front, and what dies by chance anywhere; where neither holds the file's turn comes.
 */
const LOOKS = {
  oldest: { fileLiveShareMax: 0.5, headLiveShareMax: 0.75 },
  inTurn: { fileLiveShareMax: 0.5, headLiveShareMax: 1 },
  asked: { fileLiveShareMax: 0.75, headLiveShareMax: 1 },
} as const;
type Look = (typeof LOOKS)[keyof typeof LOOKS];

const NAME = /^blob-(\d{8,10})$/;
/** What a pointer begins with. A value that looks like one is kept here whatever its size, so that the two never mix. */
const POINTER_MARK = Uint8Array.of(0xf7, 0x62, 0x6c, 0x6f, 0x62, 0x9d, 0x3e, 0xc5);
const POINTER_SIZE_BYTES = POINTER_MARK.length + 12;
const END_SIZE_BYTES = 12;
/** So that sizes and offsets stay within 32 bits. */
const VALUE_SIZE_BYTES_END = 2 ** 31;
const RECORD_MAGIC = utf8("blob");
const HEAD_SIZE_BYTES = RECORD_MAGIC.length + 12;
/** Files open to be read. */
const READERS_MAX = 128;
/** Looked through when a file is begun, from the oldest on, as long as they go. */
const OLDEST_AT_ONCE_MAX = 4;
/** Read at once, where a file is looked through, and keys asked for: as many are the head of a file. */
const WINDOW_SIZE_BYTES = 256 * 1024;
const KEYS_AT_ONCE_MAX = 512;
/** Written again at once, when what is left of a file moves: nobody else writes meanwhile. */
const MOVED_SIZE_BYTES_MAX = 2 * 1024 * 1024;

/** Whether a value is to be kept outside. */
export function isBlob(value: Uint8Array): boolean {
  return value.length >= BLOB_SIZE_BYTES_MIN || isPointer(value);
}

/** Whether what LevelDB has is a pointer. */
export function isPointer(value: Uint8Array): boolean {
  if (value.length !== POINTER_SIZE_BYTES || value[0] !== POINTER_MARK[0]) return false;
  return POINTER_MARK.every((byte, index) => value[index] === byte);
}

type Place = { readonly file: number; readonly offset: number; readonly sizeBytes: number };

/** Writes a pointer into a buffer, and gives the bytes that it took. */
function writePointer(into: DataView<ArrayBuffer>, at: number, { file, offset, sizeBytes }: Place): Uint8Array {
  const bytes = new Uint8Array(into.buffer, at, POINTER_SIZE_BYTES);
  bytes.set(POINTER_MARK);
  into.setUint32(at + POINTER_MARK.length, file);
  into.setUint32(at + POINTER_MARK.length + 4, offset);
  into.setUint32(at + POINTER_MARK.length + 8, sizeBytes);
  return bytes;
}

function pointerOf(place: Place): Uint8Array {
  return writePointer(new DataView(new ArrayBuffer(POINTER_SIZE_BYTES)), 0, place);
}

/** Writes the head of a record and its key into a buffer, and gives the bytes that they took. */
function writeHead(into: DataView<ArrayBuffer>, at: number, { key, value }: Blob): Uint8Array {
  const bytes = new Uint8Array(into.buffer, at, HEAD_SIZE_BYTES + key.length);
  bytes.set(RECORD_MAGIC);
  bytes.set(key, HEAD_SIZE_BYTES);
  into.setUint32(at + 4, key.length);
  into.setUint32(at + 8, value.length);
  const sizes = new Uint8Array(into.buffer, at, HEAD_SIZE_BYTES - 4);
  into.setUint32(at + 12, crc32(bytes.subarray(HEAD_SIZE_BYTES), crc32(sizes)));
  return bytes;
}

/** What a file has of a value. */
type BlobRecord = BlobPointer & { readonly sizeBytes: number };

/** The file that grows; `isThere` says whether it was made yet. */
type Growing = { readonly number: number; sizeBytes: number; isThere: boolean };

/** Deletes all of them: those of a store that has no row. */
export async function discardBlobs(directory: string, { disk = SYSTEM_BLOB_DISK }: BlobOptions = {}): Promise<void> {
  for (const number of await numbersIn(directory, disk)) await disk.remove(join(directory, nameOf(number)));
}

async function numbersIn(directory: string, disk: BlobDisk): Promise<number[]> {
  const numbers = (await disk.list(directory)).flatMap((name) => NAME.exec(name)?.[1] ?? []).map(Number);
  return numbers.toSorted((a, b) => a - b);
}

/** The blob files of one store. One thing at a time is done to them, but for reading. */
export class BlobFiles {
  readonly #directory: string;
  readonly #disk: BlobDisk;
  readonly #fileSizeBytesMax: number;
  /** All but the one that grows, oldest first, with their sizes. */
  readonly #full: Map<number, number>;
  /** Made when something is first written to it. */
  #growing: Growing & { file: BlobFile | undefined };
  /** Where LevelDB has it that they end. What lies before this file has its pointers, or never will have. */
  #endedIn: number;
  /** Least recently used first. */
  readonly #readers = new Map<number, BlobReader>();
  readonly #views = new Set<symbol>();
  /** Deleted, and still read by views from before. */
  readonly #retired = new Map<number, { readonly reader: BlobReader; readonly sizeBytes: number; readonly views: Set<symbol> }>();
  /** Begun since files were last looked through. */
  #hasBegun = false;
  #turn = 0;
  #failure: unknown;

  private constructor(
    place: { readonly directory: string } & Required<BlobOptions>,
    files: { readonly full: Map<number, number>; readonly growing: Growing },
  ) {
    this.#directory = place.directory;
    this.#disk = place.disk;
    this.#fileSizeBytesMax = place.fileSizeBytesMax;
    this.#full = files.full;
    this.#growing = { ...files.growing, file: undefined };
    this.#endedIn = files.growing.number;
  }

  /**
   * Opens what a directory has of them, and cuts off what no batch came to name.
   *
   * @param end - the bytes of `end()` for the last batch that LevelDB has; `undefined` when none was stored: before anything is
   *   appended one has to be
   * @throws CodedError `store_corrupt` when that cannot be: better than cutting at a wrong place
   */
  static async open(directory: string, end: Uint8Array | undefined, options: BlobOptions = {}): Promise<BlobFiles> {
    const { disk = SYSTEM_BLOB_DISK, fileSizeBytesMax = FILE_SIZE_BYTES_MAX } = options;
    const numbers = await numbersIn(directory, disk);
    const last = parseEnd(end);
    if (last === undefined || (end === undefined && numbers.length > 0))
      throw new CodedError("store_corrupt", { path: directory, message: "where the large values end is not known" });
    const full = new Map<number, number>();
    let growing: Growing = { number: last.number + 1, sizeBytes: 0, isThere: false };
    for (const number of numbers) {
      const path = join(directory, nameOf(number));
      if (number > last.number) {
        await disk.remove(path);
        continue;
      }
      const file = disk.open(path, "existing");
      try {
        if (number === last.number && file.sizeBytes() > last.sizeBytes) {
          file.truncate(last.sizeBytes);
          await file.sync();
        }
        // Into one that lost something nothing is written: old pointers would point into it.
        if (number === last.number && file.sizeBytes() === last.sizeBytes) growing = { ...last, isThere: true };
        else full.set(number, file.sizeBytes());
      } finally {
        file.close();
      }
    }
    return new BlobFiles({ directory, disk, fileSizeBytesMax }, { full, growing });
  }

  /** What the batch has to store that has the pointers of what was appended last. */
  end(): BlobEnd {
    const { number, sizeBytes } = this.#growing;
    const place = concatBytes(u32(number), u32(sizeBytes));
    return { bytes: concatBytes(place, u32(crc32(place))), file: number };
  }

  /** To be told when a batch with such an end is stored, in their order. */
  noteStored({ file }: BlobEnd): void {
    this.#endedIn = file;
  }

  /**
   * Keeps values, durably when it resolves, and gives a pointer for each. When it fails, what the file holds is not known, and
   * nothing can be kept any more until the store is opened again.
   */
  async append(blobs: readonly Blob[]): Promise<Uint8Array[]> {
    if (this.#failure !== undefined)
      throw new CodedError(
        "store_io",
        { path: this.#directory, message: "an earlier large value was not kept" },
        { cause: this.#failure },
      );
    try {
      const pointers: Uint8Array[] = [];
      for (let done = 0; done < blobs.length;) {
        const written = await this.#appendToOne(blobs.slice(done));
        for (const pointer of written) pointers.push(pointer);
        done += written.length;
        if (done < blobs.length) this.#beginNext();
      }
      return pointers;
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }

  /** The value that a pointer points to. Shorter when a part of it, or all, is gone. */
  read(pointer: Uint8Array): Uint8Array {
    const at = POINTER_MARK.length;
    const [file, offset, sizeBytes] = [readU32(pointer, at), readU32(pointer, at + 4), readU32(pointer, at + 8)];
    // What rotted may name any size: no more is made room for than there is.
    const thereBytes = Math.min(sizeBytes, this.#sizeBytesOf(file) - offset);
    return thereBytes <= 0 ? EMPTY : (this.#reader(file)?.read(offset, thereBytes) ?? EMPTY);
  }

  /** What can be read now can be read until this is disposed of. */
  view(): Disposable {
    const view = Symbol("view");
    this.#views.add(view);
    return {
      [Symbol.dispose]: () => {
        this.#views.delete(view);
        for (const [number, { reader, views }] of this.#retired) {
          views.delete(view);
          if (views.size > 0) continue;
          this.#retired.delete(number);
          reader.close();
        }
      },
    };
  }

  /** Whether a file was begun since some were last looked through. */
  get isCollectionDue(): boolean {
    return this.#hasBegun;
  }

  /**
   * Looks through some files when one was begun since, and gives back what is dead in them. One call at a time; writes and reads
   * may go on meanwhile. Costs reading the files, and a lookup a value.
   */
  async collectSome(index: BlobIndex, signal: AbortSignal): Promise<void> {
    if (!this.#hasBegun) return;
    this.#hasBegun = false;
    const numbers = this.#settled();
    for (const number of numbers.slice(0, OLDEST_AT_ONCE_MAX))
      if (!(await this.#collect(number, LOOKS.oldest, { index, signal }))) break;
    const number = numbers[this.#turn % numbers.length];
    this.#turn += 1;
    if (number !== undefined) await this.#collect(number, LOOKS.inTurn, { index, signal });
  }

  /** As `collectSome` of all files but the one that grows, and of each that a quarter is dead of. */
  async collectAll(index: BlobIndex, signal: AbortSignal): Promise<void> {
    for (const number of this.#settled()) await this.#collect(number, LOOKS.asked, { index, signal });
  }

  /** After the last append and collection. */
  close(): void {
    for (const reader of this.#readers.values()) reader.close();
    for (const { reader } of this.#retired.values()) reader.close();
    this.#growing.file?.close();
    this.#readers.clear();
    this.#retired.clear();
    this.#growing.file = undefined;
  }

  /** Those in which what nothing points to is dead. In one that is newer, some may have been kept and not pointed to yet. */
  #settled(): number[] {
    return Array.from(this.#full.keys()).filter((number) => number < this.#endedIn);
  }

  #beginNext(): void {
    const { number, sizeBytes, file } = this.#growing;
    file?.close();
    this.#full.set(number, sizeBytes);
    this.#growing = { number: number + 1, sizeBytes: 0, isThere: false, file: undefined };
    this.#hasBegun = true;
  }

  /** Opens the file that grows. */
  async #grow(): Promise<BlobFile> {
    const growing = this.#growing;
    const path = join(this.#directory, nameOf(growing.number));
    growing.file = this.#disk.open(path, growing.isThere ? "existing" : "new");
    growing.isThere = true;
    await this.#disk.syncDirectory(this.#directory);
    return growing.file;
  }

  /** As many as have room in the file that grows, and one at least when it is empty. */
  async #appendToOne(blobs: readonly Blob[]): Promise<Uint8Array[]> {
    const growing = this.#growing;
    const pointers: Uint8Array[] = [];
    const pieces: Uint8Array[] = [];
    // Heads and pointers are views on one buffer: else V8 makes one for each as soon as the system or LevelDB asks for its bytes.
    const smallBytes = blobs.reduce((sum, { key }) => sum + HEAD_SIZE_BYTES + key.length + POINTER_SIZE_BYTES, 0);
    const small = new DataView(new ArrayBuffer(smallBytes));
    let smallAt = 0;
    let offset = growing.sizeBytes;
    for (const { key, value } of blobs) {
      assert(value.length < VALUE_SIZE_BYTES_END, "value of {} bytes", value.length);
      const headSizeBytes = HEAD_SIZE_BYTES + key.length;
      const end = offset + headSizeBytes + value.length;
      if (offset > 0 && end > this.#fileSizeBytesMax) break;
      pieces.push(writeHead(small, smallAt, { key, value }), value);
      const pointer = { file: growing.number, offset: offset + headSizeBytes, sizeBytes: value.length };
      pointers.push(writePointer(small, smallAt + headSizeBytes, pointer));
      smallAt += headSizeBytes + POINTER_SIZE_BYTES;
      offset = end;
    }
    if (pieces.length === 0) return [];
    const file = growing.file ?? (await this.#grow());
    file.write(growing.sizeBytes, pieces);
    await file.sync();
    growing.sizeBytes = offset;
    return pointers;
  }

  #sizeBytesOf(number: number): number {
    if (number === this.#growing.number) return this.#growing.sizeBytes;
    return this.#full.get(number) ?? this.#retired.get(number)?.sizeBytes ?? 0;
  }

  #reader(number: number): BlobReader | undefined {
    const retired = this.#retired.get(number);
    if (retired !== undefined) return retired.reader;
    if (number === this.#growing.number && this.#growing.file !== undefined) return this.#growing.file;
    const reader = this.#readers.get(number) ?? this.#openToRead(number);
    if (reader === undefined) return undefined;
    this.#readers.delete(number);
    this.#readers.set(number, reader);
    const [oldest] = this.#readers.keys();
    if (this.#readers.size > READERS_MAX && oldest !== undefined) this.#forget(oldest)?.close();
    return reader;
  }

  #openToRead(number: number): BlobReader | undefined {
    return this.#disk.openToRead(join(this.#directory, nameOf(number)));
  }

  #forget(number: number): BlobReader | undefined {
    const reader = this.#readers.get(number);
    this.#readers.delete(number);
    return reader;
  }

  /** Whether the file is gone. */
  async #collect(
    number: number,
    look: Look,
    { index, signal }: { readonly index: BlobIndex; readonly signal: AbortSignal },
  ): Promise<boolean> {
    const sizeBytes = this.#full.get(number);
    if (sizeBytes === undefined || signal.aborted) return false;
    const live = await this.#liveOf(number, sizeBytes, { index, signal, headLiveShareMax: look.headLiveShareMax });
    if (live === undefined || sizeOf(live) > sizeBytes * look.fileLiveShareMax) return false;
    for (const part of partsOf(live)) {
      if (signal.aborted) return false;
      await index.commit(async () => {
        const still = part.filter((record) => isLive(record, index.get(record.key)));
        const pointers = await this.append(still.map(({ key, pointer }) => ({ key, value: this.read(pointer) })));
        return still.map(({ key }, at) => ({ key, pointer: present(pointers[at], "pointer") }));
      });
    }
    // That nothing points there any more has to be durable first.
    if (live.length === 0) await index.commit(async () => Promise.resolve([]));
    await this.#retire(number, sizeBytes);
    return true;
  }

  /** What keys point to in a file; `undefined` when that does not pay, or cannot be known because a head in it is damaged. */
  async #liveOf(
    number: number,
    sizeBytes: number,
    options: { readonly index: BlobIndex; readonly signal: AbortSignal; readonly headLiveShareMax: number },
  ): Promise<BlobRecord[] | undefined> {
    // One of its own: those that values are read through may be closed in favour of others while this one waits.
    const reader = this.#openToRead(number);
    if (reader === undefined) return undefined;
    try {
      return await liveOf(recordsOf(reader, number, sizeBytes), options);
    } finally {
      reader.close();
    }
  }

  async #retire(number: number, sizeBytes: number): Promise<void> {
    const reader = this.#views.size > 0 ? this.#reader(number) : undefined;
    const known = this.#forget(number);
    this.#full.delete(number);
    if (reader === undefined) known?.close();
    else this.#retired.set(number, { reader, sizeBytes, views: new Set(this.#views) });
    await this.#disk.remove(join(this.#directory, nameOf(number)));
  }
}

/** Those of a file's records that keys point to; `undefined` when a head is damaged, most live, or nobody wants to know any more. */
async function liveOf(
  records: AsyncIterable<BlobRecord | undefined>,
  options: { readonly index: BlobIndex; readonly signal: AbortSignal; readonly headLiveShareMax: number },
): Promise<BlobRecord[] | undefined> {
  const live: BlobRecord[] = [];
  let asked: BlobRecord[] = [];
  let isHead = true;
  const ask = async (): Promise<void> => {
    const stored = await options.index.load(asked.map(({ key }) => key));
    for (const [at, record] of asked.entries()) if (isLive(record, stored[at])) live.push(record);
  };
  for await (const record of records) {
    if (record === undefined || options.signal.aborted) return undefined;
    asked.push(record);
    if (asked.length < KEYS_AT_ONCE_MAX) continue;
    await ask();
    if (isHead && sizeOf(live) > sizeOf(asked) * options.headLiveShareMax) return undefined;
    isHead = false;
    asked = [];
  }
  await ask();
  return live;
}

function sizeOf(records: readonly BlobRecord[]): number {
  return records.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

/** What a file has, in order; `undefined` where a head is damaged, and nothing after. */
async function* recordsOf(reader: BlobReader, number: number, endBytes: number): AsyncGenerator<BlobRecord | undefined, void> {
  let [window, windowAt]: [Uint8Array, number] = [EMPTY, 0];
  const bytesAt = async (offset: number, sizeBytes: number): Promise<Uint8Array> => {
    if (offset + sizeBytes > windowAt + window.length) {
      window = await reader.load(offset, Math.max(sizeBytes, WINDOW_SIZE_BYTES));
      windowAt = offset;
    }
    return window.subarray(offset - windowAt, offset - windowAt + sizeBytes);
  };
  for (let offset = 0; offset < endBytes;) {
    const head = await bytesAt(offset, HEAD_SIZE_BYTES);
    if (head.length < HEAD_SIZE_BYTES) return yield undefined;
    const [keySize, valueSize, checksum] = [4, 8, 12].map((at) => readU32(head, at)) as [number, number, number];
    const valueAt = offset + HEAD_SIZE_BYTES + keySize;
    if (!RECORD_MAGIC.every((byte, at) => head[at] === byte) || valueAt + valueSize > endBytes) return yield undefined;
    const sizes = head.slice(0, HEAD_SIZE_BYTES - 4);
    const key = (await bytesAt(offset + HEAD_SIZE_BYTES, keySize)).slice();
    if (crc32(key, crc32(sizes)) !== checksum) return yield undefined;
    yield {
      key,
      pointer: pointerOf({ file: number, offset: valueAt, sizeBytes: valueSize }),
      sizeBytes: valueAt + valueSize - offset,
    };
    offset = valueAt + valueSize;
  }
}

function isLive({ pointer }: BlobPointer, stored: Uint8Array | undefined): boolean {
  return stored !== undefined && bytesEqual(stored, pointer);
}

function nameOf(number: number): string {
  return `blob-${String(number).padStart(8, "0")}`;
}

/** Where the files end; the beginning when nothing was said, `undefined` when what was said has not its checksum. */
function parseEnd(end: Uint8Array | undefined): { readonly number: number; readonly sizeBytes: number } | undefined {
  if (end === undefined) return { number: 0, sizeBytes: 0 };
  if (end.length !== END_SIZE_BYTES || crc32(end.subarray(0, 8)) !== readU32(end, 8)) return undefined;
  return { number: readU32(end), sizeBytes: readU32(end, 4) };
}

/** Cut where a part would become larger than is written again at once. */
function* partsOf(records: readonly BlobRecord[]): Generator<readonly BlobRecord[]> {
  let part: BlobRecord[] = [];
  let sizeBytes = 0;
  for (const record of records) {
    if (part.length > 0 && sizeBytes + record.sizeBytes > MOVED_SIZE_BYTES_MAX) {
      yield part;
      part = [];
      sizeBytes = 0;
    }
    part.push(record);
    sizeBytes += record.sizeBytes;
  }
  if (part.length > 0) yield part;
}
