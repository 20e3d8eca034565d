/**
 * Files that are either the old one or the new one, whatever happens in between: written beside, synced, renamed,
 * and the directory synced too, since a rename alone is not durable (ARCHITECTURE, section 4).
 */

import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { link, open, rename, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { codeOf, CodedError } from "../../crypto/base/error.ts";

/** Rights of files that hold secrets, and of everything else in a home: its owner alone. */
export const FILE_MODE_PRIVATE = 0o600;

/** Rights of directories in a home. */
export const DIRECTORY_MODE_PRIVATE = 0o700;

/** How a file is put in place. */
export type PlaceOptions = {
  readonly mode?: number;
  /** When false, an existing file is kept and `file_exists` thrown. Two writers at once: one of them wins. */
  readonly replace?: boolean;
};

/**
 * Replaces a file as one step that survives a power cut.
 *
 * @throws CodedError `file_exists` or `file_io`
 */
export async function placeFile(path: string, bytes: Uint8Array | string, options: PlaceOptions = {}): Promise<void> {
  await placeFileWith(path, (write) => write(bytes), options);
}

/**
 * As `placeFile`, for what is too large to hold: `produce` writes piece after piece, and when it throws, the old file
 * stays.
 */
export async function placeFileWith<T>(
  path: string,
  produce: (write: (bytes: Uint8Array | string) => Promise<void>) => Promise<T>,
  options: PlaceOptions = {},
): Promise<T> {
  const directory = dirname(path);
  const temporary = join(directory, `.${basename(path)}.${process.pid}.${randomBytes(6).toString("hex")}.tmp`);
  try {
    const produced = await writeSynced(temporary, produce, options.mode ?? FILE_MODE_PRIVATE);
    if (options.replace === false) await placeNew(temporary, path);
    else await rename(temporary, path);
    await syncDirectory(directory);
    return produced;
  } catch (error) {
    await unlinkIfThere(temporary);
    // What the world did to our files has a code of the system; what `produce` met is its own matter.
    if (error instanceof CodedError || !isSystemError(error)) throw error;
    throw new CodedError("file_io", { path, message: `cannot write ${path} (${codeOf(error)})` }, { cause: error });
  }
}

/** Makes a directory's entries durable. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Reads a whole file of at most `sizeBytesMax`; `undefined` when there is none.
 *
 * @throws CodedError `file_size` before anything beyond the limit is read, or `file_io`
 */
export async function readFileBounded(path: string, sizeBytesMax: number): Promise<Uint8Array | undefined> {
  try {
    const handle = await open(path, constants.O_RDONLY);
    try {
      const { size } = await handle.stat();
      if (size > sizeBytesMax)
        throw new CodedError("file_size", {
          path,
          sizeBytes: size,
          sizeBytesMax,
          message: `${path} is larger than ${sizeBytesMax} bytes`,
        });
      return await readAtMost(handle, sizeBytesMax, path);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    if (error instanceof CodedError) throw error;
    throw new CodedError("file_io", { path, message: `cannot read ${path}` }, { cause: error });
  }
}

/** Deletes a file; one that is not there is fine. */
export async function unlinkIfThere(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw new CodedError("file_io", { path, message: `cannot delete ${path}` }, { cause: error });
  }
}

/** A pipe or a growing file says nothing true about its size, so the bound is kept while reading as well. */
async function readAtMost(handle: Awaited<ReturnType<typeof open>>, sizeBytesMax: number, path: string): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let size = 0;
  for (;;) {
    const { bytesRead, buffer } = await handle.read({ buffer: Buffer.alloc(64 * 1024) });
    if (bytesRead === 0) return new Uint8Array(Buffer.concat(chunks, size));
    size += bytesRead;
    if (size > sizeBytesMax)
      throw new CodedError("file_size", {
        path,
        sizeBytes: size,
        sizeBytesMax,
        message: `${path} is larger than ${sizeBytesMax} bytes`,
      });
    chunks.push(buffer.subarray(0, bytesRead));
  }
}

async function writeSynced<T>(
  path: string,
  produce: (write: (bytes: Uint8Array | string) => Promise<void>) => Promise<T>,
  mode: number,
): Promise<T> {
  const handle = await open(path, "wx", mode);
  try {
    const produced = await produce(async (bytes) => handle.writeFile(bytes));
    await handle.sync();
    return produced;
  } finally {
    await handle.close();
  }
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && "syscall" in error;
}

/** A hard link is the rename that refuses to replace. */
async function placeNew(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path);
  } catch (error) {
    if (codeOf(error) === "EEXIST") throw new CodedError("file_exists", { path, message: `${path} exists already` });
    throw error;
  }
  await unlink(temporary);
}
