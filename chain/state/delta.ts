/**
 * Deltas: what of a page changed since it was last stored whole.
 *
 * Most versions change one item of a page, which is 38 bytes of several hundred. So a page whose keys stay as they
 * were may be stored as the items that differ from a *base*, an earlier page that is stored whole (integers big-endian):
 *
 * ```
 * u16 0x8000 + count ‖ 6 base ‖ count × (u8 index ‖ 32 hash ‖ 6 location)
 * ```
 *
 * Indexes grow. A page's own bytes begin with a count of at most 16, so the first bit tells the two apart. A base is
 * never a delta itself: a page is read in two steps at most, and no disk can send a reader in circles.
 */

import { CodedError } from "../../crypto/base/error.ts";
import { HASH_SIZE_BYTES } from "../../crypto/hash/hash.ts";
import type { Arena } from "./arena.ts";
import { chunkOf, type Location, LOCATION_SIZE_BYTES, readLocation, writeLocation } from "./layout.ts";
import { type Delta, Page, PAGE_ITEMS_MAX, type Replacement } from "./page.ts";

/** A delta takes at most two fifths of the bytes of its page. Chosen by measurement: see decisions/0004. */
const DELTA_SHARE = 2;
const PAGE_SHARE = 5;

const MARK = 0x80;
const HEADER_SIZE_BYTES = 2 + LOCATION_SIZE_BYTES;
const CHANGE_SIZE_BYTES = 1 + HASH_SIZE_BYTES + LOCATION_SIZE_BYTES;

/**
 * How a page is to be stored once some of its items are replaced: as a delta, or (`undefined`) whole.
 *
 * @param location - where the page is that they are replaced on
 */
export function deltaAfter(page: Page, location: Location, replacements: readonly Replacement[]): Delta | undefined {
  let changed = page.delta?.changed ?? 0;
  for (const { index } of replacements) changed |= 1 << index;
  if (sizeBytesOf(countOf(changed)) * PAGE_SHARE > page.bytes.length * DELTA_SHARE) return undefined;
  return { base: page.delta?.base ?? location, changed };
}

/** What of a page is stored in its slot. */
export function storedBytes(page: Page): Uint8Array {
  if (page.delta === undefined) return page.bytes;
  const { base, changed } = page.delta;
  const count = countOf(changed);
  const bytes = new Uint8Array(sizeBytesOf(count));
  bytes[0] = MARK;
  bytes[1] = count;
  writeLocation(bytes, 2, base);
  let at = HEADER_SIZE_BYTES;
  for (let index = 0; index < page.count; index += 1) {
    if (((changed >> index) & 1) === 0) continue;
    bytes[at] = index;
    bytes.set(page.hash(index), at + 1);
    writeLocation(bytes, at + 1 + HASH_SIZE_BYTES, page.location(index));
    at += CHANGE_SIZE_BYTES;
  }
  return bytes;
}

/** Reads a page from a disk, strictly. Throws `state_corrupt`, and what `readSlot` throws. */
export function readStored(location: Location, readSlot: (location: Location) => Uint8Array, arena: Arena): Page {
  const bytes = readSlot(location);
  if (!isDelta(bytes)) return pageOf(location, Page.parse(bytes, arena));
  const over = parseDelta(bytes);
  // What a version is made from was there before it.
  if (over === undefined || chunkOf(over.base) >= chunkOf(location)) throw corrupt(location);
  return pageOf(location, Page.parse(readSlot(over.base), arena, over));
}

function pageOf(location: Location, parsed: ReturnType<typeof Page.parse>): Page {
  if (!parsed.ok) throw corrupt(location);
  return parsed.value;
}

function corrupt(location: Location): CodedError {
  return new CodedError("state_corrupt", { message: `page at ${location}` });
}

function isDelta(bytes: Uint8Array): boolean {
  return bytes.length > 0 && (bytes[0] as number) >= MARK;
}

/** What a delta says, or `undefined` when nobody would have written it so. */
function parseDelta(bytes: Uint8Array): { readonly base: Location; readonly changes: readonly Replacement[] } | undefined {
  const count = bytes[1] ?? 0;
  if (bytes[0] !== MARK || count === 0 || count > PAGE_ITEMS_MAX || bytes.length !== sizeBytesOf(count)) return undefined;
  const changes: Replacement[] = [];
  let last = -1;
  for (let at = HEADER_SIZE_BYTES; at < bytes.length; at += CHANGE_SIZE_BYTES) {
    const index = bytes[at] as number;
    if (index <= last) return undefined;
    const locationAt = at + 1 + HASH_SIZE_BYTES;
    changes.push({ index, hash: bytes.subarray(at + 1, locationAt), location: readLocation(bytes, locationAt) });
    last = index;
  }
  return { base: readLocation(bytes, 2), changes };
}

function sizeBytesOf(count: number): number {
  return HEADER_SIZE_BYTES + count * CHANGE_SIZE_BYTES;
}

function countOf(changed: number): number {
  let count = 0;
  for (let rest = changed; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}
