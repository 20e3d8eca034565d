/** Keeps decoded pages in memory, within a bound in bytes. */

import type { Arena } from "./arena.ts";
import type { Location } from "./layout.ts";
import type { Page } from "./page.ts";

/** What a page takes beyond its bytes: its object and views, and its places in maps and lists (measured, Node 24). */
const PAGE_OVERHEAD_BYTES = 300;

/** A page, the segment that it lies in, and whether it was read since it came or was last spared. */
type Slot = { readonly page: Page; readonly segment: Segment; isUsed: boolean };

/** One buffer of the arena: what was put into it, and the bytes of that which are still here. */
type Segment = { readonly buffer: ArrayBufferLike; readonly locations: Location[]; liveBytes: number };

/**
 * Pages live in segments (arena.ts), and a segment is memory until its last page is gone. So room is made by segments,
 * an eighth of the bound at a time. If most of the bound is live, the oldest segments go, and only pages that were used
 * are copied out of them first. Otherwise segments are mostly holes: the emptiest go, and all their pages are copied.
 */
export class PageCache {
  readonly #sizeBytesMax: number;
  readonly #arena: Arena;
  readonly #slots = new Map<Location, Slot>();
  /** In the order of their making. */
  readonly #segments = new Map<ArrayBufferLike, Segment>();
  #segmentBytes = 0;
  #liveBytes = 0;

  constructor(sizeBytesMax: number, arena: Arena) {
    this.#sizeBytesMax = sizeBytesMax;
    this.#arena = arena;
  }

  get(location: Location): Page | undefined {
    const slot = this.#slots.get(location);
    if (slot === undefined) return undefined;
    slot.isUsed = true;
    return slot.page;
  }

  set(location: Location, page: Page): void {
    this.#put(location, page);
    if (this.#sizeBytes() > this.#sizeBytesMax) this.#makeRoom();
  }

  /** Drops a page that the newest version no longer reaches. */
  delete(location: Location): void {
    const slot = this.#slots.get(location);
    if (slot === undefined) return;
    this.#slots.delete(location);
    this.#leave(slot);
  }

  clear(): void {
    this.#slots.clear();
    this.#segments.clear();
    this.#segmentBytes = 0;
    this.#liveBytes = 0;
  }

  #sizeBytes(): number {
    return this.#segmentBytes + this.#slots.size * PAGE_OVERHEAD_BYTES;
  }

  #put(location: Location, page: Page): void {
    const before = this.#slots.get(location);
    if (before !== undefined) this.#leave(before);
    const { buffer } = page.bytes;
    let segment = this.#segments.get(buffer);
    if (segment === undefined) {
      segment = { buffer, locations: [], liveBytes: 0 };
      this.#segments.set(buffer, segment);
      this.#segmentBytes += buffer.byteLength;
    }
    segment.locations.push(location);
    segment.liveBytes += page.sizeBytes;
    this.#liveBytes += page.sizeBytes;
    this.#slots.set(location, { page, segment, isUsed: false });
  }

  #leave({ page, segment }: Slot): void {
    segment.liveBytes -= page.sizeBytes;
    this.#liveBytes -= page.sizeBytes;
    if (segment.liveBytes === 0) this.#drop(segment);
  }

  #drop({ buffer }: Segment): void {
    if (this.#segments.delete(buffer)) this.#segmentBytes -= buffer.byteLength;
  }

  #makeRoom(): void {
    const target = this.#sizeBytesMax - this.#sizeBytesMax / 8;
    const isCrowded = this.#liveBytes + this.#slots.size * PAGE_OVERHEAD_BYTES > this.#sizeBytesMax * 0.75;
    const segments = [...this.#segments.values()].filter(({ buffer }) => !this.#arena.isOpen(buffer));
    if (!isCrowded) segments.sort((a, b) => a.liveBytes - b.liveBytes);
    for (const segment of segments) {
      if (this.#sizeBytes() <= target) return;
      this.#empty(segment, isCrowded);
    }
  }

  #empty(segment: Segment, onlyUsed: boolean): void {
    for (const location of segment.locations) {
      const slot = this.#slots.get(location);
      // A location may have been put anew, in another segment.
      if (slot?.segment !== segment) continue;
      if (onlyUsed && !slot.isUsed) this.delete(location);
      else this.#put(location, slot.page.copy(this.#arena));
    }
    this.#drop(segment);
  }
}
