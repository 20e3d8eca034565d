/**
 * Lists of pieces of bytes, as libp2p keeps what it has read, made to cost no more than their bytes.
 *
 * A peer chooses into how many pieces it cuts what it sends, down to single bytes. `Uint8ArrayList.consume` (3.0.2) shifts the
 * pieces it is done with off a long array one by one, which takes the square of their number: 64 KiB in single bytes hold the
 * thread up for seconds, and every protocol that reads frames through such a list (gossipsub, kad-dht, identify, yamux) does it.
 */

import { Uint8ArrayList } from "uint8arraylist";

/** Beyond so many pieces, what is left is joined to one: then no piece is moved twice before as many have come again. */
const PIECES_MAX = 64;

/** What is private to the class, and the same since its first version. */
type Inside = { bufs: Uint8Array[]; length: number };

/** Puts a linear `consume` in the place of the class's own. Doing it twice is doing it once. */
export function consumeLinearly(): void {
  Uint8ArrayList.prototype.consume = consume;
}

function consume(this: Uint8ArrayList, countBytes: number): void {
  const list = this as unknown as Inside;
  let left = Math.min(Math.trunc(countBytes), list.length);
  if (Number.isNaN(left) || left <= 0) return;
  list.length -= left;
  let done = 0;
  for (const piece of list.bufs) {
    if (left < piece.length) break;
    left -= piece.length;
    done += 1;
  }
  list.bufs.splice(0, done);
  const [first] = list.bufs;
  if (first !== undefined) list.bufs[0] = first.subarray(left);
  if (list.bufs.length > PIECES_MAX) list.bufs = [joined(list)];
}

function joined({ bufs, length }: Inside): Uint8Array {
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const piece of bufs) {
    bytes.set(piece, offset);
    offset += piece.length;
  }
  return bytes;
}
