/**
 * The hashes of the state tree. This is the consensus format: change nothing here without a new network.
 *
 * ```
 * value  = H(stateValue ‖ bytes)
 * leaf   = H(stateLeaf ‖ u16 key size ‖ key ‖ value)
 * node   = H(stateNode ‖ u16 branch bit ‖ left ‖ right)
 * empty  = H(stateEmpty)
 * ```
 *
 * Integers are big-endian. A node's bytes and a leaf's begin with different tags, and within each kind the fields
 * have one reading, so whoever knows a root knows the whole tree, branch bits included.
 *
 * The buffers below are reused: hashing is most of the cost of an update, and a fresh array a hash is a third of that.
 */

import { assert } from "../../crypto/base/assert.ts";
import { blake3 } from "../../crypto/backend/blake3.ts";
import { DOMAIN } from "../../crypto/hash/domain.ts";
import { type Hash, hashOf, HASH_SIZE_BYTES } from "../../crypto/hash/hash.ts";
import { BRANCH_BIT_MAX, KEY_SIZE_BYTES_MAX } from "./bits.ts";

/** Values have at most this many bytes: what fits the largest block many times over, and one read. */
export const VALUE_SIZE_BYTES_MAX = 1 << 24;

const SCRATCH_SIZE_BYTES = 4096;

const nodeBytes = new Uint8Array(3 + 2 * HASH_SIZE_BYTES);
nodeBytes[0] = DOMAIN.stateNode;
const leafBytes = new Uint8Array(3 + KEY_SIZE_BYTES_MAX + HASH_SIZE_BYTES);
leafBytes[0] = DOMAIN.stateLeaf;
const valueBytes = new Uint8Array(SCRATCH_SIZE_BYTES);
valueBytes[0] = DOMAIN.stateValue;

/** The root of no rows at all. */
export const EMPTY_ROOT: Hash = hashOf(blake3(Uint8Array.of(DOMAIN.stateEmpty)));

/** The hash of an inner node. */
export function nodeHash(bit: number, left: Uint8Array, right: Uint8Array): Hash {
  assert(bit >= 0 && bit <= BRANCH_BIT_MAX, "branch bit {}", bit);
  assert(left.length === HASH_SIZE_BYTES && right.length === HASH_SIZE_BYTES, "two hashes");
  return nodeHashAt(bit, left, 0, right, 0);
}

/** `nodeHash` of hashes that lie somewhere in longer bytes. */
export function nodeHashAt(bit: number, left: Uint8Array, leftAt: number, right: Uint8Array, rightAt: number): Hash {
  nodeBytes[1] = bit >> 8;
  nodeBytes[2] = bit & 0xff;
  // Byte by byte: for 32 of them that is faster than making a view to copy from.
  for (let index = 0; index < HASH_SIZE_BYTES; index += 1) {
    nodeBytes[3 + index] = left[leftAt + index] as number;
    nodeBytes[3 + HASH_SIZE_BYTES + index] = right[rightAt + index] as number;
  }
  return blake3(nodeBytes) as Hash;
}

/** The hash of a row, from the hash of its value. */
export function leafHash(key: Uint8Array, value: Hash): Hash {
  assert(key.length > 0 && key.length <= KEY_SIZE_BYTES_MAX, "key of {} bytes", key.length);
  leafBytes[1] = key.length >> 8;
  leafBytes[2] = key.length & 0xff;
  leafBytes.set(key, 3);
  leafBytes.set(value, 3 + key.length);
  return blake3(leafBytes.subarray(0, 3 + key.length + HASH_SIZE_BYTES)) as Hash;
}

/** The hash of a row's value. */
export function valueHash(value: Uint8Array): Hash {
  const size = value.length + 1;
  if (size > SCRATCH_SIZE_BYTES) {
    const tagged = new Uint8Array(size);
    tagged[0] = DOMAIN.stateValue;
    tagged.set(value, 1);
    return blake3(tagged) as Hash;
  }
  valueBytes.set(value, 1);
  return blake3(valueBytes.subarray(0, size)) as Hash;
}
