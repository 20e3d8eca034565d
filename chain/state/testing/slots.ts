/** Which slots of a store are needed, and which are there: what a prune must make the same. */

import { present } from "../../../crypto/base/assert.ts";
import type { Store } from "../../store/store.ts";
import { Arena } from "../arena.ts";
import { readSlot, slotCount } from "../chunk.ts";
import { readStored } from "../delta.ts";
import { chunkKey, chunkOf, type Location, locationOf, rangeOf, rootKey, slotOf, versionOfKey, wornKey } from "../layout.ts";
import { parseRoot, parseWorn } from "../record.ts";
import type { Height } from "../../block/height.ts";

/** The bytes at a location, which must be there. */
export function slotAt(store: Store, location: Location): Uint8Array {
  const slot = readSlot(present(store.get(chunkKey(chunkOf(location))), `chunk of ${location}`), slotOf(location));
  if (!slot.ok) throw new Error(`no slot ${location}`);
  return slot.value;
}

/** All slots that are read when everything in a version is. */
export function slotsOfVersion(store: Store, version: Height): Set<Location> {
  const slots = new Set<Location>();
  const read = (location: Location): Uint8Array => {
    slots.add(location);
    return slotAt(store, location);
  };
  const arena = new Arena();
  const root = parseRoot(present(store.get(rootKey(version)), "root record"));
  if (!root.ok) throw new Error("root record");
  const left = root.value.location === undefined ? [] : [root.value.location];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const page = readStored(next, read, arena);
    for (let index = 0; index < page.count; index += 1)
      if (page.isEntry(index)) read(page.location(index));
      else left.push(page.location(index));
  }
  return slots;
}

/** All versions that a store holds. */
export async function versionsOf(store: Store): Promise<Height[]> {
  const versions: Height[] = [];
  for await (const { key } of store.entries(rangeOf("root"))) versions.push(versionOfKey(key));
  return versions;
}

/** All slots of a store that are not worn, in order. */
export async function slotsOf(store: Store): Promise<Location[]> {
  const slots: Location[] = [];
  for await (const { key, value } of store.entries(rangeOf("chunk"))) {
    const chunk = Number(new DataView(key.buffer, key.byteOffset).getBigUint64(1));
    const record = store.get(wornKey(chunk));
    const worn = record === undefined ? undefined : parseWorn(record);
    if (worn?.ok === false) throw new Error(`worn record of ${chunk}`);
    for (let slot = 0; slot < slotCount(value); slot += 1)
      if ((((worn?.value.worn[slot >> 3] ?? 0) >> (slot & 7)) & 1) === 0) slots.push(locationOf(chunk, slot));
  }
  return slots;
}
