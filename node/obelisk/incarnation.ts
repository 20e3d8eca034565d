/**
 * Which data directory this is. A counter can only promise what it remembers: a home that was wiped, or restored from an
 * older copy, must not go on where it believes that it was. So the counters and ids of a directory belong to an incarnation,
 * drawn at random when the directory is new, and again when the file that holds it is a copy: it says of itself which file it
 * is (as the double-sign guard's record does), and no copy, backup or restored machine has the same file.
 *
 * What an incarnation gives out is told with it, and a node number is leased to it (`contracts/numbers.ts`).
 */

import { randomBytes } from "../../crypto/backend/random.ts";
import { bytesEqual, concatBytes, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { NUMBER_HOLDER_SIZE_BYTES } from "../../chain/block/limits.ts";
import { type Disk, replaceFile } from "../ports/disk.ts";

const FILE_SIZE_BYTES_MAX = 1024;

/**
 * The incarnation of a directory, whose lock the caller holds: the one that it has, or a new one.
 *
 * @param draw - random bytes; the platform's when absent
 */
export async function incarnationOf(
  path: string,
  disk: Disk,
  draw: (size: number) => Uint8Array = randomBytes,
): Promise<Uint8Array> {
  const file = `${path}/incarnation`;
  const known = await disk.read(file, FILE_SIZE_BYTES_MAX);
  const identity = await disk.identityOf(file);
  if (known !== undefined && identity !== undefined && known.length > NUMBER_HOLDER_SIZE_BYTES) {
    const isOwn = bytesEqual(known.subarray(NUMBER_HOLDER_SIZE_BYTES), utf8(identity));
    if (isOwn) return known.slice(0, NUMBER_HOLDER_SIZE_BYTES);
  }
  const incarnation = draw(NUMBER_HOLDER_SIZE_BYTES);
  await replaceFile(disk, file, (own) => concatBytes(incarnation, utf8(own)));
  return incarnation;
}

/** The directory of an incarnation. */
export function incarnationPath(path: string, incarnation: Uint8Array): string {
  return `${path}/${toHex(incarnation)}`;
}
