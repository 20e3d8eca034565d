/** Where large values lie (`blobs.ts`): the few file operations that they need, and the machine's own. */

import {
  closeSync,
  constants,
  fdatasync,
  fstatSync,
  fsync,
  ftruncateSync,
  openSync,
  read,
  readSync,
  writeSync,
  writevSync,
} from "node:fs";
import { readdir, unlink } from "node:fs/promises";
import { promisify } from "node:util";
import { codeOf } from "../../crypto/base/error.ts";

/** What blob files need of a file system. Throws what the system throws. */
export interface BlobDisk {
  /** The names in a directory. */
  list(directory: string): Promise<readonly string[]>;
  /** Opens to write and read; `new` insists on making the file. */
  open(path: string, mode: "existing" | "new"): BlobFile;
  /** Opens to read; `undefined` when there is none. */
  openToRead(path: string): BlobReader | undefined;
  remove(path: string): Promise<void>;
  /** Makes the names in a directory durable. */
  syncDirectory(directory: string): Promise<void>;
}

/** An open file. */
export interface BlobReader {
  /** At most `sizeBytes` bytes from an offset on: fewer when the file ends before. */
  read(offset: number, sizeBytes: number): Uint8Array;
  /** The same, without waiting for the disk. */
  load(offset: number, sizeBytes: number): Promise<Uint8Array>;
  close(): void;
}

/** An open file that grows. */
export interface BlobFile extends BlobReader {
  /** Writes all of the pieces at an offset, one after another, into the system's memory. */
  write(offset: number, pieces: readonly Uint8Array[]): void;
  sizeBytes(): number;
  truncate(sizeBytes: number): void;
  /** Resolves when what was written or cut before would survive a power cut. */
  sync(): Promise<void>;
}

/** What the system takes at once (IOV_MAX). */
const PIECES_MAX = 1024;
const fdatasyncAsync = promisify(fdatasync);
const fsyncAsync = promisify(fsync);
const readAsync = promisify(read);
const MODE_PRIVATE = 0o600;

/** The machine's own. */
export const SYSTEM_BLOB_DISK: BlobDisk = {
  list: async (directory) => await readdir(directory),
  open: (path, mode) => {
    const { O_RDWR, O_CREAT, O_EXCL } = constants;
    return openFile(openSync(path, mode === "new" ? O_RDWR | O_CREAT | O_EXCL : O_RDWR, MODE_PRIVATE));
  },
  openToRead: (path) => {
    try {
      return openFile(openSync(path, constants.O_RDONLY));
    } catch (error) {
      if (codeOf(error) === "ENOENT") return undefined;
      throw error;
    }
  },
  remove: async (path) => await unlink(path),
  syncDirectory: async (directory) => {
    const descriptor = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await fsyncAsync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  },
};

function openFile(descriptor: number): BlobFile {
  return {
    read(offset, sizeBytes) {
      const bytes = new Uint8Array(sizeBytes);
      let done = 0;
      while (done < sizeBytes) {
        const count = readSync(descriptor, bytes, done, sizeBytes - done, offset + done);
        if (count === 0) break;
        done += count;
      }
      return done === sizeBytes ? bytes : bytes.slice(0, done);
    },
    async load(offset, sizeBytes) {
      const bytes = new Uint8Array(sizeBytes);
      let done = 0;
      while (done < sizeBytes) {
        const { bytesRead } = await readAsync(descriptor, bytes, done, sizeBytes - done, offset + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      return bytes.subarray(0, done);
    },
    write(offset, pieces) {
      let at = offset;
      for (let index = 0; index < pieces.length; index += PIECES_MAX)
        at = writePieces(descriptor, at, pieces.slice(index, index + PIECES_MAX));
    },
    sizeBytes: () => fstatSync(descriptor).size,
    truncate: (sizeBytes) => ftruncateSync(descriptor, sizeBytes),
    sync: async () => await fdatasyncAsync(descriptor),
    close: () => closeSync(descriptor),
  };
}

/** Writes all of them, and says where they end. */
function writePieces(descriptor: number, offset: number, pieces: readonly Uint8Array[]): number {
  let written = writevSync(descriptor, pieces, offset);
  let at = offset;
  for (const piece of pieces) {
    // Where the system took less than it was given.
    for (let done = Math.min(written, piece.length); done < piece.length;)
      done += writeSync(descriptor, piece, done, piece.length - done, at + done);
    written = Math.max(0, written - piece.length);
    at += piece.length;
  }
  return at;
}
