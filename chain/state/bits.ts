/**
 * Keys as bit strings: the order of the state tree, and where two keys part.
 *
 * A key of n bytes is read as 9n + 1 bits: every byte is a 1 followed by its eight bits, highest first, and the end
 * of the key is a 0. So bit 9i says whether byte i exists, and bits 9i + 1 to 9i + 8 are the byte. No key's bit
 * string is a prefix of another's, which is what a binary trie needs, and comparing bit strings compares keys
 * bytewise with a prefix before what extends it: the order of `compareBytes`.
 *
 * The branch bit of two different keys is the first bit in which they differ. For keys of at most
 * `KEY_SIZE_BYTES_MAX` bytes it is at most `BRANCH_BIT_MAX`.
 *
 * A *stem* is the first `bit` bits that some keys share, kept as bytes: the whole bytes, and, when `bit` ends inside
 * a byte, that byte with the bits that are not shared put to 0. Two stems of disjoint groups of keys have the same
 * branch bit as any key of one with any key of the other, because both know every bit up to it.
 */

/** Keys have 1 to this many bytes. Row keys of people's tables are part of a key, so this is generous. */
export const KEY_SIZE_BYTES_MAX = 1024;

/** The highest bit in which two keys can first differ: the last bit of the last byte. */
export const BRANCH_BIT_MAX = 9 * KEY_SIZE_BYTES_MAX - 1;

/** The branch bit of two keys (or stems, see above), or -1 when they are equal. */
export function branchBit(a: Uint8Array, b: Uint8Array): number {
  const shared = a.length < b.length ? a.length : b.length;
  for (let index = 0; index < shared; index += 1) {
    const difference = (a[index] as number) ^ (b[index] as number);
    if (difference !== 0) return 9 * index + 1 + (Math.clz32(difference) - 24);
  }
  return a.length === b.length ? -1 : 9 * shared;
}

/** Bit `bit` of a key; `undefined` past its end. */
export function bitAt(key: Uint8Array, bit: number): 0 | 1 | undefined {
  const index = Math.floor(bit / 9);
  const within = bit - 9 * index;
  if (within === 0) return index < key.length ? 1 : index === key.length ? 0 : undefined;
  const byte = key[index];
  if (byte === undefined) return undefined;
  return ((byte >> (8 - within)) & 1) as 0 | 1;
}

/** How many bytes the stem of `bit` bits has. */
export function stemSizeBytes(bit: number): number {
  return Math.floor((bit + 8) / 9);
}

/** Which bits of a stem's last byte are shared; 0xff when the stem ends between bytes. */
export function stemMask(bit: number): number {
  const within = bit % 9;
  return within === 0 ? 0xff : (0xff00 >> (within - 1)) & 0xff;
}

/** The stem of `bit` bits of a key (or of a longer stem), as new bytes. */
export function stemOf(key: Uint8Array, bit: number): Uint8Array {
  const size = stemSizeBytes(bit);
  const stem = key.slice(0, size);
  if (size > 0) stem[size - 1] = (stem[size - 1] as number) & stemMask(bit);
  return stem;
}
