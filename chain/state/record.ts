/**
 * The small records of the state tree's store: roots, stale lists, and which slots of a chunk are worn.
 *
 * No hash of the chain covers them, so each ends with four bytes of a hash of its own: what a disk changed is not acted
 * on. Records of before that have none, and are read as they are.
 */

import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { bytesEqual, concatBytes, utf8 } from "../../crypto/base/bytes.ts";
import { type DecodeError, type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, hash, HASH_SIZE_BYTES, hashOf } from "../../crypto/hash/hash.ts";
import { type Location, LOCATION_SIZE_BYTES, readLocation, SLOTS_MAX, writeLocation } from "./layout.ts";

/** One version: its root, and the first chunk number that it left free. */
export type RootRecord = { readonly hash: Hash; readonly location: Location | undefined; readonly nextChunk: number };

/** Which slots of a chunk are worn, and how many of those have lost their bytes already. */
export type WornRecord = { readonly slots: number; readonly hollowed: number; readonly worn: Uint8Array };

const LOCATION_MAX = 2 ** 48 - 1;
const CHUNK_MAX = 2 ** 40;

const CHECK_SIZE_BYTES = 4;

/** The bytes that a record of some kind ends with. */
function checkOf(kind: "root" | "stale" | "worn", bytes: Uint8Array): Uint8Array {
  return hash("stateRecord", concatBytes(utf8(kind), bytes)).subarray(0, CHECK_SIZE_BYTES);
}

/** `[hash, location or null, nextChunk, check]`. */
export function encodeRoot(record: RootRecord): Uint8Array {
  return writeRoot(new Writer().array(4), record).bytes(rootCheck(record)).finish();
}

function writeRoot(writer: Writer, { hash: root, location, nextChunk }: RootRecord): Writer {
  writer.bytes(root);
  if (location === undefined) writer.null();
  else writer.uint(location);
  return writer.uint(nextChunk);
}

function rootCheck(record: RootRecord): Uint8Array {
  return checkOf("root", writeRoot(new Writer().array(3), record).finish());
}

/** Parses the record of a version's root. */
export function parseRoot(bytes: Uint8Array): Result<RootRecord, DecodeError> {
  return readWith(bytes, (reader) => {
    const hasCheck = readLength(reader, 3);
    const root = hashOf(reader.field("hash").fixed(HASH_SIZE_BYTES).slice());
    const location = reader.field("location").skipNull() ? undefined : (reader.number(LOCATION_MAX) as Location);
    const record = { hash: root, location, nextChunk: reader.field("nextChunk").number(CHUNK_MAX) };
    if (hasCheck) readCheck(reader, rootCheck(record));
    return record;
  });
}

/** Whether a tuple of `length` has its check behind it, as all that are written now do. */
function readLength(reader: Reader, length: number): boolean {
  const offset = reader.offset;
  const found = reader.array(length + 1);
  return found === length + 1 || (found === length ? false : reader.refuse("encoding_limit", offset));
}

function readCheck(reader: Reader, expected: Uint8Array): void {
  const offset = reader.field("check").offset;
  if (!bytesEqual(reader.fixed(CHECK_SIZE_BYTES), expected)) reader.refuse("encoding_limit", offset);
}

/** Locations, six bytes each, and the check: four more, so that the length tells whether it is there. */
export function encodeStale(locations: readonly Location[]): Uint8Array {
  const bytes = new Uint8Array(locations.length * LOCATION_SIZE_BYTES);
  locations.forEach((location, index) => writeLocation(bytes, index * LOCATION_SIZE_BYTES, location));
  return concatBytes(bytes, checkOf("stale", bytes));
}

/** Parses the locations that a version made stale. */
export function parseStale(record: Uint8Array): Result<Location[], { readonly code: "stale_malformed" }> {
  const hasCheck = record.length % LOCATION_SIZE_BYTES === CHECK_SIZE_BYTES;
  const bytes = hasCheck ? record.subarray(0, -CHECK_SIZE_BYTES) : record;
  if (bytes.length % LOCATION_SIZE_BYTES !== 0) return fail({ code: "stale_malformed" });
  if (hasCheck && !bytesEqual(record.subarray(-CHECK_SIZE_BYTES), checkOf("stale", bytes)))
    return fail({ code: "stale_malformed" });
  const locations: Location[] = [];
  for (let offset = 0; offset < bytes.length; offset += LOCATION_SIZE_BYTES) locations.push(readLocation(bytes, offset));
  return ok(locations);
}

/** `[slots, hollowed, bitmap, check]`. */
export function encodeWorn(record: WornRecord): Uint8Array {
  const { slots, hollowed, worn } = record;
  return new Writer().array(4).uint(slots).uint(hollowed).bytes(worn).bytes(wornCheck(record)).finish();
}

function wornCheck({ slots, hollowed, worn }: WornRecord): Uint8Array {
  return checkOf("worn", new Writer().array(3).uint(slots).uint(hollowed).bytes(worn).finish());
}

/** Parses how much of a chunk is worn out. */
export function parseWorn(bytes: Uint8Array): Result<WornRecord, DecodeError> {
  return readWith(bytes, (reader) => {
    const hasCheck = readLength(reader, 3);
    const slots = reader.field("slots").number(SLOTS_MAX);
    const hollowed = reader.field("hollowed").number(slots);
    const worn = reader
      .field("worn")
      .fixed(Math.ceil(slots / 8))
      .slice();
    if (hasCheck) readCheck(reader, wornCheck({ slots, hollowed, worn }));
    return { slots, hollowed, worn };
  });
}
