/** Where an archive is read from: a directory, or any web server that serves one. Neither is believed anything. */

import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { CodedError } from "../../crypto/base/error.ts";

/** No file of an archive is larger: a block with its results, or the state of a genesis. */
const FILE_SIZE_BYTES_MAX = 64 * 1024 * 1024;
const TIMEOUT_MS = 30_000;

/** Reads files of an archive by the paths of `layout.ts`. */
export interface ArchiveSource {
  /** For messages. */
  readonly name: string;
  /** The file, or `undefined` when there is none. @throws CodedError `archive_size`, or what the world has in store */
  read(path: string, signal: AbortSignal): Promise<Uint8Array | undefined>;
}

/** The source that a URL or a path names. */
export function archiveSource(place: string): ArchiveSource {
  return /^https?:\/\//.test(place) ? httpSource(place) : directorySource(place);
}

/** A directory. */
export function directorySource(directory: string): ArchiveSource {
  return {
    name: directory,
    read: async (path) => {
      const file = join(directory, path);
      try {
        if ((await stat(file)).size > FILE_SIZE_BYTES_MAX) throw new CodedError("archive_size", { path: file });
        return new Uint8Array(await readFile(file));
      } catch (error) {
        if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
        throw error;
      }
    },
  };
}

/** A static web server; the address is that of the directory. */
function httpSource(address: string): ArchiveSource {
  const base = address.endsWith("/") ? address : `${address}/`;
  return {
    name: address,
    read: async (path, signal) => {
      const response = await fetch(new URL(path, base), { signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]) });
      if (response.status === 404) {
        await response.body?.cancel();
        return undefined;
      }
      if (!response.ok || response.body === null)
        throw new CodedError("archive_missing", { message: `${response.url} answers ${response.status}`, path });
      const parts: Uint8Array[] = [];
      let sizeBytes = 0;
      for await (const part of response.body) {
        sizeBytes += part.length;
        if (sizeBytes > FILE_SIZE_BYTES_MAX) throw new CodedError("archive_size", { path });
        parts.push(part);
      }
      return new Uint8Array(Buffer.concat(parts));
    },
  };
}
