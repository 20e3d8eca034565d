/**
 * Where an archive keeps what: the path arithmetic alone, and how entries stand in a bundle.
 *
 * ```
 * head                                 what there is: [1, chainId, networkHash, height, header, certificate, [change...]]
 * history/tile/L/N[.p/W]               hashes of the history log: 256 of level 8L, or W of them
 * history/tile/entries/N[.p/W]         header and certificate of 256 heights, or W
 * stream/NAME/P/tile/L/N[.p/W]         the same of a partition: records as they were stored
 * stream/NAME/P/tile/entries/N[.p/W]
 * block/N                              [block, [result...]] of height N
 * state/N                              the nodes of the state tree that height N made (`delta.ts`)
 * ```
 *
 * `head` alone is ever replaced. All else is written once, but tiles that are not full yet, which go when they are. `N` is
 * written in groups of three digits, all but the last with an `x`: 1234067 is `x001/x234/067`.
 *
 * Source: C2SP tlog-tiles (tile height 8, paths, partial tiles). Where we differ: hashes are ours (BLAKE3 under tags), and
 * entries have a length of four bytes.
 */

import { assert } from "../../crypto/base/assert.ts";
import { concatBytes, readU32, u32 } from "../../crypto/base/bytes.ts";

/** Hashes of a full tile, and entries of a full bundle. */
export const TILE_WIDTH = 256;
/** Levels of the tree that one level of tiles spans. */
export const TILE_HEIGHT = 8;

/** A log of an archive: the headers, or the records of a partition. */
export type LogName =
  | { readonly kind: "history" }
  | { readonly kind: "stream"; readonly stream: string; readonly partition: number };

/** The directory of a log. */
export function logPath(log: LogName): string {
  return log.kind === "history" ? "history" : `stream/${log.stream}/${log.partition}`;
}

/** `x001/x234/067`. */
export function numberPath(number: bigint): string {
  assert(number >= 0n, "number {}", number);
  const digits = `${number}`;
  const padded = digits.padStart(Math.ceil(digits.length / 3) * 3, "0");
  const groups = padded.match(/.{3}/g) ?? [];
  return groups.map((group, index) => (index === groups.length - 1 ? group : `x${group}`)).join("/");
}

/** A tile or a bundle of a log; `width` is how many of its items there are. */
export function tilePath(log: LogName, level: number | "entries", index: bigint, width: number): string {
  assert(width >= 1 && width <= TILE_WIDTH, "tile of {}", width);
  const path = `${logPath(log)}/tile/${level}/${numberPath(index)}`;
  return width === TILE_WIDTH ? path : `${path}.p/${width}`;
}

/** The nodes of the state that a height made. */
export function statePath(height: bigint): string {
  return `state/${numberPath(height)}`;
}

/** The block of a height. */
export function blockPath(height: bigint): string {
  return `block/${numberPath(height)}`;
}

/** Entries in a bundle: each after its length, in four bytes. */
export function encodeBundle(entries: readonly Uint8Array[]): Uint8Array {
  return concatBytes(...entries.flatMap((entry) => [u32(entry.length), entry]));
}

/** The entries of a bundle; `undefined` unless it is exactly `count` of them. */
export function parseBundle(bytes: Uint8Array, count: number): readonly Uint8Array[] | undefined {
  const entries: Uint8Array[] = [];
  let offset = 0;
  while (entries.length < count && offset + 4 <= bytes.length) {
    const end = offset + 4 + readU32(bytes, offset);
    if (end > bytes.length) return undefined;
    entries.push(bytes.subarray(offset + 4, end));
    offset = end;
  }
  return entries.length === count && offset === bytes.length ? entries : undefined;
}
