/**
 * A disk that forgets, tears and lies as real ones have been seen to.
 *
 * ```
 *   append --> page cache --sync of the file--> durable bytes        a power cut keeps what is durable, and of the
 *   rename --> names in memory --sync of the directory--> durable    rest what the seed draws
 * ```
 *
 * Every operation can be the last one of its process: the disk asks `onOperation` before and after it.
 *
 * Sources: Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020 (a failed sync drops the pages and
 * reports it once); Bairavasundaram et al., "An Analysis of Data Corruption in the Storage Stack", FAST 2008 (flipped
 * bits, misdirected and torn writes); Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014 (what a crash
 * may reorder: writes of sectors, and changes of names).
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { CodedError } from "../../crypto/base/error.ts";
import type { Disk, DiskFile } from "../../node/ports/disk.ts";
import type { Agenda, Owner } from "./agenda.ts";
import type { Random } from "./random.ts";

/** What a machine writes in one piece. */
export const SECTOR_SIZE_BYTES = 512;

/** What a power cut does to what was not synced. */
export type CutMode =
  /** None of it is there. */
  | "lost"
  /** All of it is. */
  | "kept"
  /** A part of it, from the oldest on; the sector that was being written may hold garbage. */
  | "torn"
  /** Any of its sectors, in no order: those between hold zeros. */
  | "scattered";

/** What was done to a file that no program can undo. Checkers excuse the loss that follows, and nothing worse. */
export type Damage = {
  readonly path: string;
  readonly kind: "bitFlip" | "misdirected" | "overwritten" | "syncFailed";
  readonly atMs: number;
};

/** What is about to be done, or was just done, to the disk. */
export type DiskOperation = "append" | "sync" | "truncate" | "open" | "rename" | "remove" | "syncDirectory";

type Change =
  | { readonly kind: "write"; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: "truncate"; readonly sizeBytes: number };

/** A file, by no name. */
class Inode {
  readonly kind = "file";
  readonly identity: string;
  /** As programs read it. */
  cached = new Bytes();
  /** As it would be without power. */
  durable = new Bytes();
  /** What leads from the second to the first. */
  changes = new Changes<Change>();

  constructor(identity: string) {
    this.identity = identity;
  }
}

type NameChange =
  | { readonly kind: "put"; readonly name: string; readonly node: Inode | Directory }
  | { readonly kind: "move"; readonly from: string; readonly to: string; readonly node: Inode | Directory }
  | { readonly kind: "remove"; readonly name: string };

class Directory {
  readonly kind = "directory";
  cached = new Map<string, Inode | Directory>();
  durable = new Map<string, Inode | Directory>();
  changes = new Changes<NameChange>();
}

/** What is not durable yet, oldest first. Each has a number, so that a sync knows which were there when it began. */
class Changes<T> {
  #waiting: T[] = [];
  #taken = 0;

  get waiting(): readonly T[] {
    return this.#waiting;
  }

  /** The number of the next one. */
  get end(): number {
    return this.#taken + this.#waiting.length;
  }

  add(change: T): void {
    this.#waiting.push(change);
  }

  /** Takes back the newest one. */
  drop(): void {
    this.#waiting.pop();
  }

  /** Takes out those before this number. */
  take(end: number): readonly T[] {
    const taken = this.#waiting.splice(0, Math.max(0, end - this.#taken));
    this.#taken += taken.length;
    return taken;
  }
}

/** Bytes that grow. What follows the last one written is a hole, which takes no memory. */
class Bytes {
  #bytes = new Uint8Array(0);
  /** Bytes that are no hole. */
  #stored = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** A view of what was written, without the hole behind it. */
  written(): Uint8Array {
    return this.#bytes.subarray(0, this.#stored);
  }

  /** A copy of everything. */
  all(): Uint8Array {
    const all = new Uint8Array(this.#length);
    all.set(this.written());
    return all;
  }

  write(offset: number, bytes: Uint8Array): void {
    const end = offset + bytes.length;
    if (end > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(end, this.#bytes.length * 2, SECTOR_SIZE_BYTES));
      grown.set(this.written());
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, offset);
    this.#stored = Math.max(this.#stored, end);
    this.#length = Math.max(this.#length, end);
  }

  truncate(sizeBytes: number): void {
    const stored = Math.min(sizeBytes, this.#stored);
    this.#bytes.fill(0, stored, this.#stored);
    this.#stored = stored;
    this.#length = sizeBytes;
  }

  copy(): Bytes {
    const copy = new Bytes();
    copy.write(0, this.written());
    copy.truncate(this.#length);
    return copy;
  }
}

/** What the machine's disk is given. */
export type DiskParts = {
  readonly agenda: Agenda;
  readonly random: Random;
  /** Mean of a sync's duration, which is exponential. */
  readonly syncMsMean: number;
  /** Hears of each fault when it strikes. */
  readonly onFault?: (fault: DiskFault) => void;
};

/** A fault that strikes later than it is made, or never. */
export type DiskFault = "full" | "hung" | "misdirected" | "syncFailed";

/** The platters: what is there whatever happens to processes. One a machine. */
export class DiskImage {
  readonly #agenda: Agenda;
  readonly #random: Random;
  readonly #syncMsMean: number;
  readonly #onFault: (fault: DiskFault) => void;
  readonly #root = new Directory();
  readonly #damages: Damage[] = [];
  #identities = 0;
  #failingSyncs = 0;
  #isMisdirecting = false;
  #fullUntilMs = 0;
  #hungUntilMs = 0;

  constructor(parts: DiskParts) {
    this.#agenda = parts.agenda;
    this.#random = parts.random;
    this.#syncMsMean = parts.syncMsMean;
    this.#onFault = parts.onFault ?? (() => undefined);
  }

  /** What one process sees of it. It ends with the process: what it does afterwards does nothing. */
  mount(life: Owner, onOperation: (operation: DiskOperation, when: "before" | "after") => void): Disk {
    return new MountedDisk({ image: this, life, onOperation });
  }

  /** What was done to files so far. */
  get damages(): readonly Damage[] {
    return this.#damages;
  }

  // Faults.

  /** The next so many syncs of files fail, and what they were to save is lost at the next power cut. */
  failSyncs(count: number): void {
    this.#failingSyncs += count;
  }

  /** One sector of the next append goes into another file. */
  misdirectNext(): void {
    this.#isMisdirecting = true;
  }

  /** No room until then: an append writes a part and throws. */
  fillUntil(atMs: number): void {
    this.#fullUntilMs = Math.max(this.#fullUntilMs, atMs);
  }

  /** No sync ends before then. */
  hangUntil(atMs: number): void {
    this.#hungUntilMs = Math.max(this.#hungUntilMs, atMs);
  }

  /** Flips one bit at rest in a file whose path has `part` in it; `false` when there is none that is not empty. */
  flipBit(part: string): boolean {
    const files = this.#files().filter(({ path, inode }) => path.includes(part) && inode.durable.written().length > 0);
    if (files.length === 0) return false;
    const { path, inode } = this.#random.pick(files);
    const at = this.#random.between(0, inode.durable.written().length - 1);
    const bit = 1 << this.#random.between(0, 7);
    for (const bytes of [inode.durable.written(), inode.cached.written()]) {
      const byte = bytes[at];
      if (byte !== undefined) bytes[at] = byte ^ bit;
    }
    this.#damage(path, "bitFlip");
    return true;
  }

  /** Power goes: what was not synced is drawn by `mode`. Call when no process is alive. */
  cut(mode: CutMode): void {
    const seen = new Set<Directory>();
    const visit = (directory: Directory): void => {
      if (seen.has(directory)) return;
      seen.add(directory);
      this.#cutNames(directory, mode);
      for (const node of directory.durable.values()) {
        if (node.kind === "directory") visit(node);
        else this.#cutFile(node, mode);
      }
    };
    visit(this.#root);
  }

  /** Deletes everything below a path, durably: an operator at work on a machine at rest. */
  wipe(path: string): void {
    const { directory, name } = this.lookUp(path);
    directory.cached.delete(name);
    directory.durable.delete(name);
  }

  /** No two files of a disk have been the same one, nor any of two disks at one time. */
  nextIdentity(): string {
    this.#identities += 1;
    return `${this.#agenda.nowMs}:${this.#identities}`;
  }

  /** A second disk with the same content, for a copy of a machine (a restored backup, a twin). */
  copyOf(other: DiskImage, path: string): void {
    const { directory, name } = other.lookUp(path);
    const source = directory.cached.get(name);
    if (source === undefined) return;
    const here = this.lookUp(path);
    const copy = copyNode(source, () => this.nextIdentity());
    here.directory.cached.set(here.name, copy);
    here.directory.durable.set(here.name, copy);
  }

  // What a mounted disk does.

  /** How long the next sync takes. */
  syncDelayMs(): number {
    const wait = this.#random.exponential(this.#syncMsMean);
    if (this.#hungUntilMs > this.#agenda.nowMs + wait) this.#onFault("hung");
    return Math.max(wait, this.#hungUntilMs - this.#agenda.nowMs);
  }

  get agenda(): Agenda {
    return this.#agenda;
  }

  /** The directory that a path is in, made when it is not there. */
  lookUp(path: string): { readonly directory: Directory; readonly name: string } {
    const names = path.split("/").filter((name) => name !== "");
    const name = present(names.pop(), "name of a path");
    let directory = this.#root;
    for (const step of names) directory = this.#child(directory, step);
    return { directory, name };
  }

  /** Of a directory and those above it, the ones that are not there, from below. */
  missingOf(path: string): readonly string[] {
    const missing: string[] = [];
    let directory: Directory | undefined = this.#root;
    let at = "";
    for (const name of path.split("/").filter((step) => step !== "")) {
      at = `${at}/${name}`;
      const child: Inode | Directory | undefined = directory?.cached.get(name);
      directory = child?.kind === "directory" ? child : undefined;
      if (directory === undefined) missing.unshift(at);
    }
    return missing;
  }

  directoryAt(path: string): Directory {
    if (path === "/") return this.#root;
    const { directory, name } = this.lookUp(path);
    return this.#child(directory, name);
  }

  append(inode: Inode, path: string, bytes: Uint8Array): void {
    if (this.#fullUntilMs > this.#agenda.nowMs) {
      const part = bytes.subarray(0, this.#random.between(0, bytes.length));
      if (part.length > 0) this.#write(inode, part.slice());
      this.#onFault("full");
      throw systemError("ENOSPC", { path });
    }
    if (this.#isMisdirecting && this.#misdirect(inode, path, bytes)) return;
    this.#write(inode, bytes.slice());
  }

  truncate(inode: Inode, path: string, sizeBytes: number): void {
    if (sizeBytes === inode.cached.length) return;
    if (sizeBytes > inode.cached.length && this.#fullUntilMs > this.#agenda.nowMs) throw systemError("ENOSPC", { path });
    inode.cached.truncate(sizeBytes);
    inode.changes.add({ kind: "truncate", sizeBytes });
  }

  /** Makes durable what was written before the sync began. */
  sync(inode: Inode, path: string, end: number): void {
    if (this.#failingSyncs > 0) {
      this.#failingSyncs -= 1;
      // The pages are called clean and forgotten: a later sync succeeds and saves nothing of them.
      inode.changes.take(end);
      this.#damage(path, "syncFailed");
      this.#onFault("syncFailed");
      throw systemError("EIO", { path });
    }
    for (const change of inode.changes.take(end)) applyChange(inode.durable, change);
  }

  syncNames(directory: Directory, end: number): void {
    for (const change of directory.changes.take(end)) applyNameChange(directory.durable, change);
  }

  #write(inode: Inode, bytes: Uint8Array): void {
    const offset = inode.cached.length;
    inode.cached.write(offset, bytes);
    inode.changes.add({ kind: "write", offset, bytes });
  }

  /** The append is believed to be there, and one of its sectors is in another file instead. */
  #misdirect(inode: Inode, path: string, bytes: Uint8Array): boolean {
    const others = this.#files().filter((file) => file.inode !== inode && file.inode.durable.written().length > 0);
    if (others.length === 0) return false;
    this.#isMisdirecting = false;
    const victim = this.#random.pick(others);
    const sector = bytes.subarray(0, Math.min(bytes.length, SECTOR_SIZE_BYTES)).slice();
    const offset = inode.cached.length;
    this.#write(inode, bytes.slice());
    // The page cache has it all; on the platter the first sector is zeros, and the victim has lost as much.
    inode.changes.drop();
    const stays = bytes.slice();
    stays.fill(0, 0, sector.length);
    inode.changes.add({ kind: "write", offset, bytes: stays });
    const length = Math.min(sector.length, victim.inode.durable.written().length);
    const at = this.#random.between(0, victim.inode.durable.written().length - length);
    victim.inode.durable.write(at, sector.subarray(0, length));
    this.#damage(path, "misdirected");
    this.#damage(victim.path, "overwritten");
    this.#onFault("misdirected");
    return true;
  }

  #cutNames(directory: Directory, mode: CutMode): void {
    const kept = this.#keptOf(directory.changes.waiting, mode);
    for (const change of kept) applyNameChange(directory.durable, change);
    directory.changes = new Changes();
    directory.cached = new Map(directory.durable);
  }

  #cutFile(inode: Inode, mode: CutMode): void {
    const kept = this.#keptOf(inode.changes.waiting, mode);
    for (const [index, change] of kept.entries()) {
      if (mode === "torn" && index === kept.length - 1) this.#tear(inode.durable, change);
      else if (mode === "scattered") this.#scatter(inode.durable, change);
      else applyChange(inode.durable, change);
    }
    inode.changes = new Changes();
    inode.cached = inode.durable.copy();
  }

  #keptOf<T>(changes: readonly T[], mode: CutMode): readonly T[] {
    switch (mode) {
      case "lost":
        return [];
      case "kept":
        return changes;
      case "torn":
        return changes.slice(0, this.#random.between(0, changes.length));
      case "scattered":
        return changes.filter(() => this.#random.happens(500));
    }
  }

  /** Whole sectors from the front; the next one may hold garbage. A stretch ends anywhere on its way. */
  #tear(bytes: Bytes, change: Change): void {
    if (change.kind === "truncate") {
      const isStretch = change.sizeBytes > bytes.length;
      bytes.truncate(isStretch ? this.#random.between(bytes.length, change.sizeBytes) : change.sizeBytes);
      return;
    }
    const { offset, bytes: written } = change;
    const head = (SECTOR_SIZE_BYTES - (offset % SECTOR_SIZE_BYTES)) % SECTOR_SIZE_BYTES;
    const sectors = Math.ceil(Math.max(0, written.length - head) / SECTOR_SIZE_BYTES);
    const wholeBytes = Math.min(written.length, head + this.#random.between(0, sectors) * SECTOR_SIZE_BYTES);
    const keeps = head > 0 && this.#random.happens(300) ? 0 : wholeBytes;
    if (keeps > 0) bytes.write(offset, written.subarray(0, keeps));
    if (keeps < written.length && this.#random.happens(400))
      bytes.write(offset + keeps, this.#random.bytes(Math.min(SECTOR_SIZE_BYTES, written.length - keeps)));
  }

  #scatter(bytes: Bytes, change: Change): void {
    if (change.kind === "truncate") {
      applyChange(bytes, change);
      return;
    }
    for (let at = 0; at < change.bytes.length;) {
      const end = Math.min(change.bytes.length, at + SECTOR_SIZE_BYTES - ((change.offset + at) % SECTOR_SIZE_BYTES));
      if (this.#random.happens(700)) bytes.write(change.offset + at, change.bytes.subarray(at, end));
      at = end;
    }
  }

  #child(directory: Directory, name: string): Directory {
    const known = directory.cached.get(name);
    if (known?.kind === "directory") return known;
    assert(known === undefined, `${name} is a file`);
    const made = new Directory();
    directory.cached.set(name, made);
    directory.changes.add({ kind: "put", name, node: made });
    return made;
  }

  #files(): { readonly path: string; readonly inode: Inode }[] {
    const found: { path: string; inode: Inode }[] = [];
    const visit = (directory: Directory, path: string): void => {
      for (const [name, node] of directory.cached) {
        if (node.kind === "directory") visit(node, `${path}/${name}`);
        else found.push({ path: `${path}/${name}`, inode: node });
      }
    };
    visit(this.#root, "");
    return found.sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  #damage(path: string, kind: Damage["kind"]): void {
    this.#damages.push({ path, kind, atMs: this.#agenda.nowMs });
  }
}

function applyChange(bytes: Bytes, change: Change): void {
  if (change.kind === "truncate") bytes.truncate(change.sizeBytes);
  else bytes.write(change.offset, change.bytes);
}

/** An error as the system throws it: the code, and no table of ours. */
function systemError(code: string, detail: Readonly<Record<string, unknown>> = {}): Error {
  return Object.assign(new Error(code), { code, ...detail });
}

function applyNameChange(names: Map<string, Inode | Directory>, change: NameChange): void {
  if (change.kind === "remove") {
    names.delete(change.name);
    return;
  }
  if (change.kind === "move") names.delete(change.from);
  names.set(change.kind === "move" ? change.to : change.name, change.node);
}

function copyNode(node: Inode | Directory, nextIdentity: () => string): Inode | Directory {
  if (node.kind === "file") {
    const copy = new Inode(nextIdentity());
    copy.cached = node.cached.copy();
    copy.durable = node.cached.copy();
    return copy;
  }
  const copy = new Directory();
  for (const [name, child] of node.cached) copy.cached.set(name, copyNode(child, nextIdentity));
  copy.durable = new Map(copy.cached);
  return copy;
}

/** A process's view. Once the process has died, what it does changes nothing and what it waits for never comes. */
class MountedDisk implements Disk {
  readonly #image: DiskImage;
  readonly #life: Owner;
  readonly #onOperation: (operation: DiskOperation, when: "before" | "after") => void;

  constructor(parts: {
    readonly image: DiskImage;
    readonly life: Owner;
    readonly onOperation: (operation: DiskOperation, when: "before" | "after") => void;
  }) {
    this.#image = parts.image;
    this.#life = parts.life;
    this.#onOperation = parts.onOperation;
  }

  async makeDirectory(path: string): Promise<void> {
    if (!this.#life.isAlive) return await never();
    const made = this.#image.missingOf(path);
    this.#image.directoryAt(path);
    // As on the machine's own disk: the name of a directory is durable once the directory above it is synced.
    for (const each of made) await this.syncDirectory(each.slice(0, each.lastIndexOf("/")) || "/");
  }

  async list(path: string): Promise<readonly string[]> {
    if (!this.#life.isAlive) return await never();
    // Looking makes nothing: a directory that a look had made would have no durable name.
    if (this.#image.missingOf(path).length > 0) return [];
    return [...this.#image.directoryAt(path).cached.keys()].sort((a, b) => (a < b ? -1 : 1));
  }

  async read(path: string, sizeBytesMax: number): Promise<Uint8Array | undefined> {
    if (!this.#life.isAlive) return await never();
    if (this.#image.missingOf(path).length > 1) return undefined;
    const { directory, name } = this.#image.lookUp(path);
    const node = directory.cached.get(name);
    if (node === undefined) return undefined;
    assert(node.kind === "file", `${path} is a directory`);
    if (node.cached.length > sizeBytesMax) throw new CodedError("file_size", { path, sizeBytes: node.cached.length });
    return node.cached.all();
  }

  async identityOf(path: string): Promise<string | undefined> {
    if (this.#image.missingOf(path).length > 1) return undefined;
    const { directory, name } = this.#image.lookUp(path);
    const node = directory.cached.get(name);
    return node?.kind === "file" ? node.identity : undefined;
  }

  async open(path: string, mode: "existing" | "new"): Promise<DiskFile> {
    if (!this.#during("open", () => undefined)) return await never();
    const { directory, name } = this.#image.lookUp(path);
    const node = directory.cached.get(name);
    if (node !== undefined) {
      if (mode === "new") throw systemError("EEXIST", { path });
      assert(node.kind === "file", `${path} is a directory`);
      return this.#handle(node, path);
    }
    const made = new Inode(this.#image.nextIdentity());
    directory.cached.set(name, made);
    directory.changes.add({ kind: "put", name, node: made });
    return this.#handle(made, path);
  }

  async rename(from: string, to: string): Promise<void> {
    const isDone = this.#during("rename", () => {
      const source = this.#image.lookUp(from);
      const target = this.#image.lookUp(to);
      assert(source.directory === target.directory, `a rename from ${from} to ${to}, another directory`);
      const node = source.directory.cached.get(source.name);
      if (node === undefined) throw systemError("ENOENT", { path: from });
      source.directory.cached.delete(source.name);
      source.directory.cached.set(target.name, node);
      source.directory.changes.add({ kind: "move", from: source.name, to: target.name, node });
    });
    if (!isDone) await never();
  }

  async remove(path: string): Promise<void> {
    const isDone = this.#during("remove", () => {
      const { directory, name } = this.#image.lookUp(path);
      if (directory.cached.delete(name)) directory.changes.add({ kind: "remove", name });
    });
    if (!isDone) await never();
  }

  async removeDirectory(path: string): Promise<void> {
    if (!this.#life.isAlive) return await never();
    if (this.#image.missingOf(path).length > 0) return;
    for (const [name, node] of this.#image.directoryAt(path).cached) {
      if (node.kind === "directory") await this.removeDirectory(`${path}/${name}`);
      else await this.remove(`${path}/${name}`);
    }
    await this.remove(path);
  }

  async syncDirectory(path: string): Promise<void> {
    const directory = this.#image.directoryAt(path);
    const { end } = directory.changes;
    await this.#later("syncDirectory", () => this.#image.syncNames(directory, end));
  }

  #handle(inode: Inode, path: string): DiskFile {
    let isOpen = true;
    return {
      identity: inode.identity,
      append: (bytes) => {
        assert(isOpen, `append to ${path}, which is closed`);
        this.#during("append", () => this.#image.append(inode, path, bytes));
      },
      sync: async () => {
        assert(isOpen, `sync of ${path}, which is closed`);
        const { end } = inode.changes;
        await this.#later("sync", () => this.#image.sync(inode, path, end));
      },
      truncate: (sizeBytes) => {
        assert(isOpen, `truncation of ${path}, which is closed`);
        this.#during("truncate", () => this.#image.truncate(inode, path, sizeBytes));
      },
      sizeBytes: () => {
        assert(isOpen, `size of ${path}, which is closed`);
        return inode.cached.length;
      },
      close: () => {
        isOpen = false;
      },
    };
  }

  /** Does it at once; `false` when the process died before or after it. */
  #during(operation: DiskOperation, act: () => void): boolean {
    if (!this.#life.isAlive) return false;
    this.#onOperation(operation, "before");
    if (!this.#isAlive()) return false;
    act();
    this.#onOperation(operation, "after");
    return this.#isAlive();
  }

  /** Does it after a while. */
  async #later(operation: DiskOperation, act: () => void): Promise<void> {
    if (!this.#life.isAlive) return await never();
    this.#onOperation(operation, "before");
    if (!this.#isAlive()) return await never();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#image.agenda.after(this.#image.syncDelayMs(), this.#life, () => {
      try {
        act();
      } catch (error) {
        reject(error);
        return;
      }
      this.#onOperation(operation, "after");
      if (this.#isAlive()) resolve();
    });
    await promise;
  }

  /** Asked again: whoever watches the operation may have ended the process. */
  #isAlive(): boolean {
    return this.#life.isAlive;
  }
}

/** What a dead process waits for. */
async function never(): Promise<never> {
  return await new Promise<never>(() => {});
}
