/**
 * Links: binary CIDs, checked strictly, so that a link has one encoding as everything else has.
 *
 * Source: CID specification, "Decoding Algorithm"; multiformats unsigned-varint. We differ in one thing: codes and
 * lengths are below 2^49 (seven varint bytes; the specification stops at nine), because CID libraries hold them as
 * doubles and would give back other bytes than they got.
 */

const VARINT_SIZE_BYTES_MAX = 7;
const CID_V1 = 1;
const SHA2_256 = 0x12;
const SHA2_256_SIZE_BYTES = 32;

/** Whether `bytes` are exactly one CID: version 0 (a bare SHA-256 multihash), or version 1. */
export function isBinaryCid(bytes: Uint8Array): boolean {
  if (bytes[0] === SHA2_256 && bytes[1] === SHA2_256_SIZE_BYTES) return bytes.length === 2 + SHA2_256_SIZE_BYTES;
  if (bytes[0] !== CID_V1) return false;
  const codec = readVarint(bytes, 1);
  const hashCode = codec && readVarint(bytes, codec.end);
  const digestSizeBytes = hashCode && readVarint(bytes, hashCode.end);
  return digestSizeBytes !== undefined && digestSizeBytes.value === bytes.length - digestSizeBytes.end;
}

/** A shortest unsigned varint at `start`, and where it ends. */
function readVarint(bytes: Uint8Array, start: number): { readonly value: number; readonly end: number } | undefined {
  let value = 0;
  for (let count = 0; count < VARINT_SIZE_BYTES_MAX; count += 1) {
    const byte = bytes[start + count];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * 2 ** (7 * count);
    if (byte >= 0x80) continue;
    const padded = byte === 0 && count > 0;
    return padded ? undefined : { value, end: start + count + 1 };
  }
  return undefined;
}
