/**
 * A directory of chunks, and of the snapshots that they make up: what a node serves, what a join has fetched so far, and
 * what a backup is.
 *
 * ```
 *   chunks/<64 hex digits>     pages and chunks, each named by the BLAKE3 of its bytes
 *   <height>.index             a whole snapshot: written last, once all that it names is durable
 *   joining.index              one that is being fetched
 * ```
 *
 * A file appears under its name only whole and synced, so whatever moment the process dies or power goes, an index that
 * is there is of a whole snapshot, and everything else is swept up. What rots later has another hash than its name, and
 * is taken away when it is read. Snapshots that have chunks in common share them.
 */

import { assert } from "../../crypto/base/assert.ts";
import { codeOf } from "../../crypto/base/error.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { type Height, heightOf } from "../../chain/block/height.ts";
import { type Disk, replaceFile } from "../ports/disk.ts";
import {
  addressOf,
  CHUNK_SIZE_BYTES_MAX,
  type Entry,
  type Index,
  INDEX_SIZE_BYTES_MAX,
  PAGE_SIZE_BYTES_MAX,
  PAGES_SIZE_BYTES_MAX,
  parseIndex,
  parsePage,
} from "./format.ts";
import { checkAddress } from "./verify.ts";

/** Chunks whose names a power cut may take: what of a join is fetched again after one. */
export const UNSYNCED_CHUNKS_MAX = 16;
const CHUNK_NAME = /^[0-9a-f]{64}$/;
const INDEX_NAME = /^([1-9][0-9]{0,17})\.index$/;
const JOINING_NAME = "joining.index";

/** A snapshot on the shelf. `root` is the BLAKE3 of its index, and names it. */
export type Shelved = { readonly root: Hash; readonly index: Index; readonly bytes: Uint8Array };

/** See the file's head. One a directory. */
export class Shelf {
  readonly #path: string;
  readonly #disk: Disk;
  /** Names of the chunks that are there. */
  readonly #chunks: Set<string>;
  readonly #snapshots = new Map<Height, Shelved>();
  readonly #writing = new Map<string, Promise<void>>();
  /** How many names were made, and how many of them are durable. */
  readonly #names = { made: 0, durable: 0 };
  #syncing: Promise<void> | undefined;

  private constructor(path: string, disk: Disk, chunks: Set<string>) {
    this.#path = path;
    this.#disk = disk;
    this.#chunks = chunks;
  }

  /** Opens the shelf of a directory, and makes it when it is not there. Throws what the disk throws. */
  static async open(path: string, disk: Disk): Promise<Shelf> {
    await disk.makeDirectory(`${path}/chunks`);
    const names = await disk.list(`${path}/chunks`);
    for (const name of names.filter((each) => !CHUNK_NAME.test(each))) await disk.remove(`${path}/chunks/${name}`);
    const shelf = new Shelf(path, disk, new Set(names.filter((name) => CHUNK_NAME.test(name))));
    for (const name of await disk.list(path)) await shelf.#load(name);
    return shelf;
  }

  /** The whole snapshots, newest first. */
  snapshots(): readonly Shelved[] {
    return [...this.#snapshots.values()].toSorted((a, b) => Number(b.index.height - a.index.height));
  }

  /** One of them. */
  snapshot(height: Height): Shelved | undefined {
    return this.#snapshots.get(height);
  }

  has(hash: Hash): boolean {
    return this.#chunks.has(toHex(hash));
  }

  /**
   * Keeps a chunk. When it resolves, its bytes are durable, and so are the names of all that were kept before but the last
   * `UNSYNCED_CHUNKS_MAX`; those are once `sync` or `finish` did.
   */
  async put(hash: Hash, bytes: Uint8Array): Promise<void> {
    const name = toHex(hash);
    if (this.#chunks.has(name)) return;
    const writing = this.#writing.get(name) ?? this.#write(name, bytes);
    this.#writing.set(name, writing);
    try {
      await writing;
    } finally {
      this.#writing.delete(name);
    }
  }

  /** The bytes of a chunk; `undefined` when it is not there, or not any more what its name says, and then it is taken away. */
  async get(entry: Pick<Entry, "hash" | "sizeBytes">): Promise<Uint8Array | undefined> {
    const bytes = await this.read(entry.hash, entry.sizeBytes);
    if (bytes === undefined || checkAddress(entry, bytes).ok) return bytes;
    await this.#remove(toHex(entry.hash));
    return undefined;
  }

  /** As `get`, for a chunk of which only the name is known. */
  async read(hash: Hash, sizeBytesMax: number = CHUNK_SIZE_BYTES_MAX): Promise<Uint8Array | undefined> {
    const name = toHex(hash);
    if (!this.#chunks.has(name)) return undefined;
    const bytes = await this.#readFile(name);
    if (bytes !== undefined && bytes.length <= sizeBytesMax && toHex(addressOf(bytes)) === name) return bytes;
    await this.#remove(name);
    return undefined;
  }

  /** The entries of a snapshot, from its pages; `undefined` when one is missing or is no page, or they are more than may be. */
  async entries(index: Index): Promise<readonly Entry[] | undefined> {
    const entries: Entry[] = [];
    let sizeBytes = 0;
    for (const hash of index.pages) {
      const bytes = await this.read(hash, PAGE_SIZE_BYTES_MAX);
      sizeBytes += bytes?.length ?? 0;
      const page = bytes === undefined || sizeBytes > PAGES_SIZE_BYTES_MAX ? undefined : parsePage(bytes);
      if (page?.ok !== true) return undefined;
      entries.push(...page.value);
    }
    return entries;
  }

  /** Makes the names of all chunks durable. */
  async sync(): Promise<void> {
    const { made } = this.#names;
    await this.#disk.syncDirectory(`${this.#path}/chunks`);
    this.#names.durable = Math.max(this.#names.durable, made);
  }

  /** Declares a snapshot whole, all of whose pages and chunks are here. Durable when it resolves. */
  async finish(bytes: Uint8Array): Promise<Shelved> {
    const index = parseIndex(bytes);
    assert(index.ok, "an index that does not decode");
    await this.sync();
    await replaceFile(this.#disk, `${this.#path}/${index.value.height}.index`, bytes);
    const shelved = { root: addressOf(bytes), index: index.value, bytes };
    this.#snapshots.set(index.value.height, shelved);
    return shelved;
  }

  /** Takes a snapshot from the shelf. Its chunks stay until `sweep`. */
  async drop(height: Height): Promise<void> {
    this.#snapshots.delete(height);
    await this.#disk.remove(`${this.#path}/${height}.index`);
    await this.#disk.syncDirectory(this.#path);
  }

  /** The snapshot that is being fetched. */
  async joining(): Promise<Shelved | undefined> {
    const bytes = await this.#disk.read(`${this.#path}/${JOINING_NAME}`, INDEX_SIZE_BYTES_MAX);
    const index = bytes === undefined ? undefined : parseIndex(bytes);
    return bytes === undefined || index?.ok !== true ? undefined : { root: addressOf(bytes), index: index.value, bytes };
  }

  /** Notes which snapshot is being fetched, durably. */
  async beginJoining(bytes: Uint8Array): Promise<void> {
    await replaceFile(this.#disk, `${this.#path}/${JOINING_NAME}`, bytes);
  }

  /** Forgets it again. */
  async endJoining(): Promise<void> {
    await this.#disk.remove(`${this.#path}/${JOINING_NAME}`);
    await this.#disk.syncDirectory(this.#path);
  }

  /** Removes every chunk that no snapshot names; how many. A snapshot whose pages are gone names nothing, and is dropped. */
  async sweep(): Promise<number> {
    const named = new Set<string>();
    const joining = await this.joining();
    for (const { index } of [...this.#snapshots.values(), ...(joining === undefined ? [] : [joining])]) {
      const entries = await this.entries(index);
      if (entries === undefined && index !== joining?.index) await this.drop(index.height);
      for (const { hash } of entries ?? []) named.add(toHex(hash));
      for (const hash of index.pages) named.add(toHex(hash));
    }
    const unnamed = [...this.#chunks].filter((name) => !named.has(name) && !this.#writing.has(name));
    // A join that has not all pages yet does not know which chunks it will need.
    if (joining !== undefined && (await this.entries(joining.index)) === undefined) return 0;
    for (const name of unnamed) await this.#remove(name);
    return unnamed.length;
  }

  async #load(name: string): Promise<void> {
    const found = INDEX_NAME.exec(name);
    if (found === null) {
      if (name !== "chunks" && name !== JOINING_NAME) await this.#sweepFile(name);
      return;
    }
    const bytes = await this.#disk.read(`${this.#path}/${name}`, INDEX_SIZE_BYTES_MAX);
    const index = bytes === undefined ? undefined : parseIndex(bytes);
    if (bytes === undefined || index?.ok !== true || index.value.height !== BigInt(found[1] ?? "")) {
      await this.drop(heightOf(BigInt(found[1] ?? "")));
      return;
    }
    this.#snapshots.set(index.value.height, { root: addressOf(bytes), index: index.value, bytes });
  }

  /** What a crash left of an index that was being written. Anything else is not ours to touch. */
  async #sweepFile(name: string): Promise<void> {
    if (name.endsWith(".index.tmp")) await this.#disk.remove(`${this.#path}/${name}`);
  }

  async #write(name: string, bytes: Uint8Array): Promise<void> {
    const temporary = `${this.#chunkPath(name)}.tmp`;
    await this.#disk.remove(temporary);
    const file = await this.#disk.open(temporary, "new");
    try {
      file.append(bytes);
      await file.sync();
    } finally {
      file.close();
    }
    await this.#disk.rename(temporary, this.#chunkPath(name));
    this.#chunks.add(name);
    this.#names.made += 1;
    // Whoever comes while a sync is under way waits for it as well: without, there would be no bound.
    while (this.#names.made - this.#names.durable > UNSYNCED_CHUNKS_MAX) {
      this.#syncing ??= this.sync().finally(() => (this.#syncing = undefined));
      await this.#syncing;
    }
  }

  async #readFile(name: string): Promise<Uint8Array | undefined> {
    try {
      return await this.#disk.read(this.#chunkPath(name), CHUNK_SIZE_BYTES_MAX);
    } catch (error) {
      // As wrong as other bytes; what else the disk says is for the caller to hear.
      if (codeOf(error) === "file_size") return undefined;
      throw error;
    }
  }

  async #remove(name: string): Promise<void> {
    this.#chunks.delete(name);
    await this.#disk.remove(this.#chunkPath(name));
  }

  #chunkPath(name: string): string {
    return `${this.#path}/chunks/${name}`;
  }
}
