/**
 * Forgetting old versions: which chunks to delete, to hollow out, or to mark, once some slots are worn.
 *
 * Every location is in the stale list of exactly one version, the first that cannot reach it, because history is a
 * line. So once no version before that one is kept, nothing reaches it, and a chunk whose slots are all worn goes.
 */

import { present } from "../../crypto/base/assert.ts";
import { CodedError } from "../../crypto/base/error.ts";
import type { StoreOperation, StoreReader } from "../store/store.ts";
import { hollow, slotCount } from "./chunk.ts";
import { chunkKey, chunkOf, type Location, slotOf, wornKey } from "./layout.ts";
import { encodeWorn, parseWorn, type WornRecord } from "./record.ts";

/** The store operations that take worn slots out of use. */
export function wearOut(store: StoreReader, locations: readonly Location[]): StoreOperation[] {
  const slotsByChunk = new Map<number, number[]>();
  for (const location of locations) {
    const chunk = chunkOf(location);
    const slots = slotsByChunk.get(chunk);
    if (slots === undefined) slotsByChunk.set(chunk, [slotOf(location)]);
    else slots.push(slotOf(location));
  }
  const chunks = [...slotsByChunk.keys()].toSorted((a, b) => a - b);
  const records = store.getMany(chunks.map(wornKey));
  return chunks.flatMap((chunk, index) => wearChunk(store, chunk, slotsByChunk.get(chunk) as number[], records[index]));
}

function wearChunk(
  store: StoreReader,
  chunk: number,
  slots: readonly number[],
  recordBytes: Uint8Array | undefined,
): StoreOperation[] {
  const { slots: count, hollowed, worn } = recordBytes === undefined ? unworn(store, chunk) : readWorn(chunk, recordBytes);
  for (const slot of slots) {
    if (slot >= count) throw new CodedError("state_corrupt", { message: `chunk ${chunk} has no slot ${slot}` });
    worn[slot >> 3] = (worn[slot >> 3] as number) | (1 << (slot & 7));
  }
  const isWorn = (slot: number): boolean => ((present(worn[slot >> 3], "bitmap byte") >> (slot & 7)) & 1) === 1;
  let wornCount = 0;
  for (let slot = 0; slot < count; slot += 1) if (isWorn(slot)) wornCount += 1;
  if (wornCount === count) {
    return [
      { kind: "delete", key: chunkKey(chunk) },
      { kind: "delete", key: wornKey(chunk) },
    ];
  }
  if ((wornCount - hollowed) * 2 < count - hollowed) return [putWorn(chunk, { slots: count, hollowed, worn })];
  const hollowedChunk = hollow(readChunk(store, chunk), isWorn);
  if (!hollowedChunk.ok) throw new CodedError("state_corrupt", { message: `chunk ${chunk} is malformed` });
  return [
    { kind: "put", key: chunkKey(chunk), value: hollowedChunk.value },
    putWorn(chunk, { slots: count, hollowed: wornCount, worn }),
  ];
}

function putWorn(chunk: number, record: WornRecord): StoreOperation {
  return { kind: "put", key: wornKey(chunk), value: encodeWorn(record) };
}

function unworn(store: StoreReader, chunk: number): WornRecord {
  const slots = slotCount(readChunk(store, chunk));
  return { slots, hollowed: 0, worn: new Uint8Array(Math.ceil(slots / 8)) };
}

function readWorn(chunk: number, bytes: Uint8Array): WornRecord {
  const record = parseWorn(bytes);
  if (!record.ok) throw new CodedError("state_corrupt", { message: `worn record of chunk ${chunk}: ${record.error.code}` });
  return record.value;
}

function readChunk(store: StoreReader, chunk: number): Uint8Array {
  const bytes = store.get(chunkKey(chunk));
  if (bytes === undefined) throw new CodedError("state_corrupt", { message: `chunk ${chunk} is missing` });
  return bytes;
}
