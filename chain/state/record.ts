/** The small records of the state tree's store: roots, stale lists, and which slots of a chunk are worn. */

import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { type DecodeError, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, HASH_SIZE_BYTES, hashOf } from "../../crypto/hash/hash.ts";
import { type Location, LOCATION_SIZE_BYTES, readLocation, SLOTS_MAX, writeLocation } from "./layout.ts";

/** One version: its root, and the first chunk number that it left free. */
export type RootRecord = { readonly hash: Hash; readonly location: Location | undefined; readonly nextChunk: number };

/** Which slots of a chunk are worn, and how many of those have lost their bytes already. */
export type WornRecord = { readonly slots: number; readonly hollowed: number; readonly worn: Uint8Array };

const LOCATION_MAX = 2 ** 48 - 1;
const CHUNK_MAX = 2 ** 40;

/** `[hash, location or null, nextChunk]`. */
export function encodeRoot({ hash, location, nextChunk }: RootRecord): Uint8Array {
  const writer = new Writer().array(3).bytes(hash);
  if (location === undefined) writer.null();
  else writer.uint(location);
  return writer.uint(nextChunk).finish();
}

/** Parses the record of a version's root. */
export function parseRoot(bytes: Uint8Array): Result<RootRecord, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.tuple(3);
    const hash = hashOf(reader.field("hash").fixed(HASH_SIZE_BYTES).slice());
    const location = reader.field("location").skipNull() ? undefined : (reader.number(LOCATION_MAX) as Location);
    return { hash, location, nextChunk: reader.field("nextChunk").number(CHUNK_MAX) };
  });
}

/** Locations, six bytes each. */
export function encodeStale(locations: readonly Location[]): Uint8Array {
  const bytes = new Uint8Array(locations.length * LOCATION_SIZE_BYTES);
  locations.forEach((location, index) => writeLocation(bytes, index * LOCATION_SIZE_BYTES, location));
  return bytes;
}

/** Parses the locations that a version made stale. */
export function parseStale(bytes: Uint8Array): Result<Location[], { readonly code: "stale_malformed" }> {
  if (bytes.length % LOCATION_SIZE_BYTES !== 0) return fail({ code: "stale_malformed" });
  const locations: Location[] = [];
  for (let offset = 0; offset < bytes.length; offset += LOCATION_SIZE_BYTES) locations.push(readLocation(bytes, offset));
  return ok(locations);
}

/** `[slots, hollowed, bitmap]`. */
export function encodeWorn({ slots, hollowed, worn }: WornRecord): Uint8Array {
  return new Writer().array(3).uint(slots).uint(hollowed).bytes(worn).finish();
}

/** Parses how much of a chunk is worn out. */
export function parseWorn(bytes: Uint8Array): Result<WornRecord, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.tuple(3);
    const slots = reader.field("slots").number(SLOTS_MAX);
    const hollowed = reader.field("hollowed").number(slots);
    return {
      slots,
      hollowed,
      worn: reader
        .field("worn")
        .fixed(Math.ceil(slots / 8))
        .slice(),
    };
  });
}
