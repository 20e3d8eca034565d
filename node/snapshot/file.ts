/** Snapshots as files: written whole or not at all, read chunk by chunk. */

import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { placeFileWith } from "../home/files.ts";
import { type Chunk, encodeFrame, FRAME_HEAD_SIZE_BYTES, frameSizeBytes, parseFrame } from "./format.ts";

/** Writes a snapshot; its size in bytes. An older file of that name is replaced in one step. */
export async function writeSnapshotFile(
  path: string,
  chunks: Iterable<Chunk>,
  onChunk: (count: number) => void,
): Promise<number> {
  return placeFileWith(
    path,
    async (write) => {
      let [sizeBytes, count] = [0, 0];
      for (const chunk of chunks) {
        const frame = encodeFrame(chunk);
        await write(frame);
        sizeBytes += frame.length;
        onChunk((count += 1));
      }
      return sizeBytes;
    },
    { mode: 0o644 },
  );
}

/**
 * The chunks of a file, each checked against its own hash.
 *
 * @throws CodedError `snapshot_missing`, `snapshot_damaged`, `snapshot_malformed`, `snapshot_version`, `file_io`
 */
export async function* readSnapshotFile(path: string): AsyncGenerator<Chunk, void, undefined> {
  const handle = await openFile(path);
  try {
    for (let offset = 0; ;) {
      const head = await readExactly(handle, offset, FRAME_HEAD_SIZE_BYTES, path);
      if (head === undefined) return;
      offset += head.length;
      const size = frameSizeBytes(head);
      const payload = size.ok ? await readExactly(handle, offset, size.value, path) : undefined;
      if (payload === undefined)
        throw new CodedError("snapshot_malformed", { path, message: `${path} was cut short, or is no snapshot` });
      offset += payload.length;
      const chunk = parseFrame(head, payload);
      if (!chunk.ok) throw new CodedError(chunk.error.code, { ...chunk.error, path, message: `${path} before byte ${offset}` });
      yield chunk.value;
    }
  } finally {
    await handle.close();
  }
}

async function openFile(path: string): Promise<Awaited<ReturnType<typeof open>>> {
  try {
    return await open(path, constants.O_RDONLY);
  } catch (error) {
    if (codeOf(error) === "ENOENT")
      throw new CodedError("snapshot_missing", { path, field: "FILE", message: `${path} is not there` });
    throw new CodedError("file_io", { path, message: `cannot read ${path} (${codeOf(error)})` }, { cause: error });
  }
}

/** `undefined` at the very end of the file; a part of what was wanted is `snapshot_malformed`. */
async function readExactly(
  handle: Awaited<ReturnType<typeof open>>,
  offset: number,
  sizeBytes: number,
  path: string,
): Promise<Uint8Array | undefined> {
  // The size was bounded before; a file that is shorter gives what it has.
  const buffer = new Uint8Array(sizeBytes);
  let filled = 0;
  while (filled < sizeBytes) {
    const { bytesRead } = await handle.read(buffer, filled, sizeBytes - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  if (filled === 0) return undefined;
  if (filled < sizeBytes) throw new CodedError("snapshot_malformed", { path, message: `${path} was cut short` });
  return buffer;
}
