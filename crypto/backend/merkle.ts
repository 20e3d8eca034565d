/**
 * Merkle logs over many leaves in one call, by the Rust addon. `chain/merkle/log.ts` holds the rule, and does the same
 * leaf by leaf where there is no addon or where the leaves are few.
 */

import type { NativeAddon } from "../../native/addon.ts";
import { assert } from "../base/assert.ts";
import { native, pack, unpackFixed, withPacked } from "./native.ts";

const HASH_SIZE_BYTES = 32;

/** From so many leaves on, packing them for the addon pays. */
export const MERKLE_BATCH_COUNT_MIN = 16;

/** What appending made: the hashes of the frontier, largest subtree first, and the nodes that became complete. */
export type MerkleAppended = {
  readonly frontier: readonly Uint8Array[];
  /** In the order in which appending one leaf after the other completes them. */
  readonly nodes: readonly Uint8Array[];
};

/** Roots and frontiers under BLAKE3, with the tags of the log tree. */
export interface MerkleBackend {
  /** The root of the log of these entries. */
  root(entries: readonly Uint8Array[]): Uint8Array;
  /** Appends entries to the log with `size` leaves and this frontier, which has a hash for each 1 of `size`. */
  append(size: bigint, frontier: readonly Uint8Array[], entries: readonly Uint8Array[]): MerkleAppended;
}

/** The addon's implementation, or `undefined` where there is no addon. */
export const merkleBackend: MerkleBackend | undefined = native && nativeMerkle(native);

function nativeMerkle(addon: NativeAddon): MerkleBackend {
  return {
    root: (entries) => withPacked(entries, self, ({ bytes, lengths }) => addon.merkleRoot(bytes, lengths)),
    append: (size, frontier, entries) => {
      assert(
        frontier.every((hash) => hash.length === HASH_SIZE_BYTES),
        "hashes",
      );
      const appended = withPacked(entries, self, ({ bytes, lengths }) =>
        addon.merkleAppend(size, pack(frontier).bytes, bytes, lengths),
      );
      const hashes = unpackFixed(appended, HASH_SIZE_BYTES);
      const split = countOnes(size + BigInt(entries.length));
      return { frontier: hashes.slice(0, split), nodes: hashes.slice(split) };
    },
  };
}

const self = (entry: Uint8Array): Uint8Array => entry;

function countOnes(value: bigint): number {
  let count = 0;
  for (let rest = value; rest > 0n; rest >>= 1n) if ((rest & 1n) === 1n) count += 1;
  return count;
}
