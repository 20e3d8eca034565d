/**
 * Marks: durable numbers that only grow, each the length of a sparse file. Nothing is ever written into one: raising a
 * mark is one `ftruncate` and one `fdatasync`, and reading it back after a crash is one `fstat`.
 *
 * ```
 *   <directory>/<name>@<generation>      value = generation * 2^40 + length
 *       generation: six hex digits; the highest one counts, those below it are left overs of a roll over
 * ```
 *
 * A mark says "at most this", as durably as the disk can: what it promises may not happen before `raise` resolves. After a
 * power cut the length is at least that of the last raise that resolved; it may be more, for a raise that was under way.
 *
 * What a disk can do, and what is done about it:
 *
 * - A sync that fails has lost what it was to save, and says so once (Rebello et al., ATC 2020). The mark is dead from then
 *   on, for this process: no later sync is believed.
 * - A stretch that is refused (ENOSPC, EDQUOT, EFBIG) changes nothing: the raise is refused, and the mark lives when its
 *   length is what it was.
 * - A file's name is durable before its length counts. A process killed between the two leaves a name that a power cut
 *   could take back, so opening the directory syncs it, whoever made it.
 *
 * One process a directory: `lock.ts`.
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { directoryOf, type Disk, type DiskFile } from "../ports/disk.ts";
import { OBELISK_CODES, type ObeliskCode } from "./errors.ts";
import { FILE_VALUES, VALUE_END } from "./limits.ts";

const FILE_NAME = /^([a-z0-9][a-z0-9_.-]{0,63})@([0-9a-f]{6})$/;
const NAME = /^[a-z0-9][a-z0-9_.-]{0,63}$/;
const GENERATION_DIGITS = 6;
/** The system's ways of saying that there is no room for more. */
const NO_ROOM = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

/** Whether a text can name a mark. */
export function isMarkName(name: string): boolean {
  return NAME.test(name);
}

/** An error of `OBELISK_CODES`. */
export function obeliskError(code: ObeliskCode, detail: Readonly<Record<string, unknown>> = {}, cause?: unknown): CodedError {
  return new CodedError(code, { message: OBELISK_CODES[code], ...detail }, cause === undefined ? {} : { cause });
}

/** The marks of one directory. */
export class MarkDirectory {
  readonly path: string;
  readonly #disk: Disk;
  /** The generation that counts, by name. */
  readonly #generations: Map<string, bigint>;

  private constructor(path: string, disk: Disk, generations: Map<string, bigint>) {
    this.path = path;
    this.#disk = disk;
    this.#generations = generations;
  }

  /** Opens a directory, which is made when it is not there. The caller holds its lock. */
  static async open(path: string, disk: Disk): Promise<MarkDirectory> {
    await disk.makeDirectory(path);
    await disk.syncDirectory(directoryOf(path));
    await disk.syncDirectory(path);
    const generations = new Map<string, bigint>();
    for (const file of await disk.list(path)) {
      const [, name, digits] = FILE_NAME.exec(file) ?? [];
      if (name === undefined || digits === undefined) continue;
      const generation = BigInt(`0x${digits}`);
      if (generation >= (generations.get(name) ?? 0n)) generations.set(name, generation);
    }
    return new MarkDirectory(path, disk, generations);
  }

  /** How many marks there are. */
  get count(): number {
    return this.#generations.size;
  }

  /** The names, sorted. */
  names(): readonly string[] {
    return [...this.#generations.keys()].toSorted((a, b) => (a < b ? -1 : 1));
  }

  has(name: string): boolean {
    return this.#generations.has(name);
  }

  /**
   * Opens a mark, which is made at 0 when it is not there. A mark may be open once.
   *
   * @throws CodedError `obelisk_disk`, `obelisk_full`, `obelisk_corrupt`
   */
  async mark(name: string): Promise<Mark> {
    assert(isMarkName(name), "mark {}", name);
    const generation = this.#generations.get(name);
    const file = generation === undefined ? await this.#begin(name, 0n) : await this.#open(name, generation);
    const lengthBytes = BigInt(file.sizeBytes());
    if (lengthBytes > FILE_VALUES) {
      file.close();
      throw obeliskError("obelisk_corrupt", { name, lengthBytes });
    }
    return new Mark({
      name,
      file,
      generation: generation ?? 0n,
      lengthBytes,
      rollOver: async (to) => await this.#rollOver(name, to),
    });
  }

  /** Makes the file of a generation, name and all. */
  async #begin(name: string, generation: bigint): Promise<DiskFile> {
    try {
      const file = await this.#disk.open(this.#pathOf(name, generation), "existing");
      await this.#disk.syncDirectory(this.path);
      this.#generations.set(name, generation);
      return file;
    } catch (cause) {
      throw diskError(name, cause);
    }
  }

  async #open(name: string, generation: bigint): Promise<DiskFile> {
    try {
      return await this.#disk.open(this.#pathOf(name, generation), "existing");
    } catch (cause) {
      throw diskError(name, cause);
    }
  }

  /** The file of a later generation, with a durable name; the one before it is not needed any more. */
  async #rollOver(name: string, generation: bigint): Promise<DiskFile> {
    const before = present(this.#generations.get(name), "generation");
    assert(generation > before, "from generation {} to {}", before, generation);
    const file = await this.#begin(name, generation);
    await this.#disk.remove(this.#pathOf(name, before));
    return file;
  }

  #pathOf(name: string, generation: bigint): string {
    return `${this.path}/${name}@${generation.toString(16).padStart(GENERATION_DIGITS, "0")}`;
  }
}

/** See the file's head. */
export class Mark {
  readonly name: string;
  readonly #rollOver: (generation: bigint) => Promise<DiskFile>;
  #file: DiskFile;
  #generation: bigint;
  #lengthBytes: bigint;
  #failed: CodedError | undefined;
  #isRaising = false;

  constructor(parts: {
    readonly name: string;
    readonly file: DiskFile;
    readonly generation: bigint;
    readonly lengthBytes: bigint;
    readonly rollOver: (generation: bigint) => Promise<DiskFile>;
  }) {
    this.name = parts.name;
    this.#file = parts.file;
    this.#generation = parts.generation;
    this.#lengthBytes = parts.lengthBytes;
    this.#rollOver = parts.rollOver;
  }

  /** The newest value that a raise reached. Of a mark just opened: at least what was ever promised. */
  get value(): bigint {
    return this.#generation * FILE_VALUES + this.#lengthBytes;
  }

  /** Why the mark is dead, if it is. */
  get failed(): CodedError | undefined {
    return this.#failed;
  }

  /**
   * Raises the mark; one caller at a time. When it throws, the value is what it was, or the beginning of a new file, which
   * is as durable.
   *
   * @param isSynced - false leaves it to the system when the disk learns of it: no power cut is survived then
   * @throws CodedError `obelisk_full` (may be tried again), `obelisk_exhausted`, `obelisk_disk` or `obelisk_writer` (for ever)
   */
  async raise(to: bigint, isSynced: boolean): Promise<void> {
    if (this.#failed !== undefined) throw this.#failed;
    assert(!this.#isRaising, "two raises of {} at once", this.name);
    assert(to > this.value, "mark {} from {} to {}", this.name, this.value, to);
    if (to >= VALUE_END) throw obeliskError("obelisk_exhausted", { name: this.name });
    this.#isRaising = true;
    try {
      if (to / FILE_VALUES !== this.#generation) await this.#moveOn(to / FILE_VALUES);
      await this.#stretch(to % FILE_VALUES, isSynced);
    } finally {
      this.#isRaising = false;
    }
  }

  close(): void {
    this.#failed ??= obeliskError("obelisk_closed", { name: this.name });
    this.#file.close();
  }

  async #moveOn(generation: bigint): Promise<void> {
    const file = await this.#rollOver(generation).catch((error: unknown) => {
      throw this.#isRefusal(error) ? error : this.#die(error);
    });
    this.#file.close();
    this.#file = file;
    this.#generation = generation;
    this.#lengthBytes = BigInt(file.sizeBytes());
  }

  async #stretch(lengthBytes: bigint, isSynced: boolean): Promise<void> {
    this.#checkLength();
    // A new generation may begin exactly here: then its name alone says it.
    if (lengthBytes > this.#lengthBytes) {
      try {
        this.#file.truncate(Number(lengthBytes));
      } catch (cause) {
        this.#checkLength();
        throw this.#isRefusal(cause) ? diskError(this.name, cause) : this.#die(cause);
      }
    }
    if (isSynced) {
      await this.#file.sync().catch((cause: unknown) => {
        throw this.#die(cause);
      });
    }
    this.#lengthBytes = lengthBytes;
  }

  /** Twice looked at: another writer, or a disk that did half of what it refused. */
  #checkLength(): void {
    const found = BigInt(this.#file.sizeBytes());
    if (found !== this.#lengthBytes) throw this.#die(undefined, "obelisk_writer", { found, expected: this.#lengthBytes });
  }

  #isRefusal(error: unknown): boolean {
    return NO_ROOM.has(codeOf(error)) || codeOf(error) === "obelisk_full";
  }

  #die(cause: unknown, code: ObeliskCode = "obelisk_disk", detail: Readonly<Record<string, unknown>> = {}): CodedError {
    this.#failed = obeliskError(code, { name: this.name, ...detail }, cause);
    return this.#failed;
  }
}

function diskError(name: string, cause: unknown): CodedError {
  return obeliskError(NO_ROOM.has(codeOf(cause)) ? "obelisk_full" : "obelisk_disk", { name, reason: codeOf(cause) }, cause);
}
