/**
 * The disk port: the few file operations that the write-ahead log and the double-sign guard stand on, each of which
 * can fail by itself and between any two of which power can go. The system's disk keeps it in a node; the simulator
 * has one that loses, tears and refuses what real disks have been seen to.
 *
 * What a caller may count on is what POSIX promises and no more: bytes written are durable only after `sync` of the
 * file, and a name made or moved only after `syncDirectory` of its directory. After a `sync` that failed nothing is
 * known of what was written before it (Rebello et al., ATC 2020): such a file must not be used any more.
 */

import { type BigIntStats, closeSync, constants, fdatasync, fstatSync, fsync, ftruncateSync, openSync, writeSync } from "node:fs";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { promisify } from "node:util";
import { codeOf } from "../../crypto/base/error.ts";
import { DIRECTORY_MODE_PRIVATE, FILE_MODE_PRIVATE, readFileBounded, unlinkIfThere } from "../home/files.ts";

/** An open file that only grows at its end, or is cut or stretched. Throws what the system throws. */
export interface DiskFile {
  /** What this file has in common with no copy of it: kept when it is renamed, lost when it is copied or restored. */
  readonly identity: string;
  /** Writes all of `bytes` at the end, into the system's memory. When it throws, a part of them may be there. */
  append(bytes: Uint8Array): void;
  /** Resolves when all that was appended before would survive a power cut. */
  sync(): Promise<void>;
  /** Cuts the file, or stretches it by a hole, which reads as zeros and takes no room. Durable after `sync`. */
  truncate(sizeBytes: number): void;
  /** How long it is, durable or not. */
  sizeBytes(): number;
  close(): void;
}

/** Files and directories. */
export interface Disk {
  /** Makes a directory and those above it, durably; one that is there is fine. */
  makeDirectory(path: string): Promise<void>;
  /** The names in a directory, sorted. */
  list(path: string): Promise<readonly string[]>;
  /** The whole file; `undefined` when there is none. Throws `file_size` beyond the bound. */
  read(path: string, sizeBytesMax: number): Promise<Uint8Array | undefined>;
  /** The identity of a file; `undefined` when there is none. */
  identityOf(path: string): Promise<string | undefined>;
  /** Opens for appending: `existing` keeps what is there and makes the file when it is not; `new` insists on making it. */
  open(path: string, mode: "existing" | "new"): Promise<DiskFile>;
  /** Puts `from` in the place of `to` as one step. */
  rename(from: string, to: string): Promise<void>;
  /** Deletes a file; one that is not there is fine. */
  remove(path: string): Promise<void>;
  /** Deletes a directory and what is in it, one after another; one that is not there is fine. */
  removeDirectory(path: string): Promise<void>;
  /** Makes the names in a directory durable. */
  syncDirectory(path: string): Promise<void>;
}

const fdatasyncAsync = promisify(fdatasync);
const fsyncAsync = promisify(fsync);

/** The machine's own. */
export const SYSTEM_DISK: Disk = {
  makeDirectory: async (path) => {
    const first = await mkdir(path, { recursive: true, mode: DIRECTORY_MODE_PRIVATE });
    // The name of a directory is as durable as that of a file: not before the directory above it is synced.
    for (let at = path; first !== undefined && at.length >= first.length; at = directoryOf(at))
      await syncDirectory(directoryOf(at));
  },
  list: async (path) => (await readdir(path)).toSorted(),
  read: readFileBounded,
  identityOf: identityAt,
  // Opened at once: a promise between opening and the first append would let others in between.
  open: async (path, mode) => Promise.resolve(openSystemFile(path, mode)),
  rename,
  remove: unlinkIfThere,
  removeDirectory: async (path) => await rm(path, { recursive: true, force: true }),
  syncDirectory,
};

/**
 * Replaces a file as one step that survives a power cut: written beside, synced, renamed, and the directory synced.
 * One writer a path: what lies beside from a crash is written over.
 */
export async function replaceFile(
  disk: Disk,
  path: string,
  bytes: Uint8Array | ((identity: string) => Uint8Array),
): Promise<void> {
  const temporary = `${path}.tmp`;
  const file = await openAnew(disk, temporary);
  try {
    file.append(bytes instanceof Uint8Array ? bytes : bytes(file.identity));
    await file.sync();
  } finally {
    file.close();
  }
  await disk.rename(temporary, path);
  await disk.syncDirectory(directoryOf(path));
}

/**
 * One trip to another thread where `node/home/files.ts` makes three, whose answers wait for a turn of a busy loop each: a validator
 * does this for every signature.
 */
async function syncDirectory(path: string): Promise<void> {
  const directory = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await fsyncAsync(directory);
  } finally {
    closeSync(directory);
  }
}

/** A new file in the place of one that may lie there from a crash: as a rule there is none. */
async function openAnew(disk: Disk, path: string): Promise<DiskFile> {
  try {
    return await disk.open(path, "new");
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
  }
  await disk.remove(path);
  return await disk.open(path, "new");
}

/** The directory that a file is in. */
export function directoryOf(path: string): string {
  const at = path.lastIndexOf("/");
  return at <= 0 ? "/" : path.slice(0, at);
}

/** The number of the file and when it was made: no copy has both, whatever it does to the other times. */
function identityOf({ dev, ino, birthtimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${birthtimeNs}`;
}

async function identityAt(path: string): Promise<string | undefined> {
  try {
    return identityOf(await stat(path, { bigint: true }));
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

function openSystemFile(path: string, mode: "existing" | "new"): DiskFile {
  const file = openSync(path, mode === "new" ? "ax" : "a", FILE_MODE_PRIVATE);
  return {
    identity: identityOf(fstatSync(file, { bigint: true })),
    append(bytes) {
      // A short write goes on where it stopped.
      for (let written = 0; written < bytes.length;) written += writeSync(file, bytes, written, bytes.length - written);
    },
    sync: async () => await fdatasyncAsync(file),
    truncate: (sizeBytes) => ftruncateSync(file, sizeBytes),
    sizeBytes: () => fstatSync(file).size,
    close: () => closeSync(file),
  };
}
