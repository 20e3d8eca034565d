/** Keeps decoded pages in memory, within a bound in bytes. */

import type { Location } from "./layout.ts";
import type { Page } from "./page.ts";

/** What a page takes beyond its bytes: objects for it, its array and its buffer, a place in the map (measured, Node 24). */
const PAGE_OVERHEAD_BYTES = 650;

/**
 * A clock: pages wait in a line, and the one at its head goes when it was not used since it joined, or joins again at
 * the end. Nearly what a list by last use would keep, and a use costs one lookup.
 */
export class PageCache {
  readonly #sizeBytesMax: number;
  readonly #line = new Map<Location, Slot>();
  #sizeBytes = 0;

  constructor(sizeBytesMax: number) {
    this.#sizeBytesMax = sizeBytesMax;
  }

  get(location: Location): Page | undefined {
    const slot = this.#line.get(location);
    if (slot === undefined) return undefined;
    slot.isUsed = true;
    return slot.page;
  }

  set(location: Location, page: Page): void {
    this.delete(location);
    this.#line.set(location, { page, isUsed: false });
    this.#sizeBytes += sizeBytesOf(page);
    if (this.#sizeBytes > this.#sizeBytesMax) this.#evict();
  }

  /** Drops a page that the newest version no longer reaches. */
  delete(location: Location): void {
    const slot = this.#line.get(location);
    if (slot === undefined) return;
    this.#line.delete(location);
    this.#sizeBytes -= sizeBytesOf(slot.page);
  }

  clear(): void {
    this.#line.clear();
    this.#sizeBytes = 0;
  }

  #evict(): void {
    for (const [location, slot] of this.#line) {
      this.#line.delete(location);
      if (slot.isUsed) {
        slot.isUsed = false;
        this.#line.set(location, slot);
      } else {
        this.#sizeBytes -= sizeBytesOf(slot.page);
        if (this.#sizeBytes <= this.#sizeBytesMax) return;
      }
    }
  }
}

type Slot = { readonly page: Page; isUsed: boolean };

function sizeBytesOf(page: Page): number {
  return page.sizeBytes + PAGE_OVERHEAD_BYTES;
}
