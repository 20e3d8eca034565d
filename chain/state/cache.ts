/** Keeps decoded pages in memory, within a bound in bytes. */

import type { Location } from "./layout.ts";
import type { Page } from "./page.ts";

/** What a page costs beyond its bytes: the object, its array and buffer, its place in the map (measured, Node 24). */
const PAGE_OVERHEAD_BYTES = 320;

/**
 * Two generations: what is used moves to the young one; when that is half of the bound, the old one is dropped and
 * the young one is the old one. Nearly what a list by last use would keep, at one map operation a read.
 */
export class PageCache {
  readonly #sizeBytesMax: number;
  #young = new Map<Location, Page>();
  #old = new Map<Location, Page>();
  #youngSizeBytes = 0;

  constructor(sizeBytesMax: number) {
    this.#sizeBytesMax = sizeBytesMax;
  }

  get(location: Location): Page | undefined {
    const page = this.#young.get(location);
    if (page !== undefined) return page;
    const old = this.#old.get(location);
    if (old !== undefined) {
      this.#old.delete(location);
      this.set(location, old);
    }
    return old;
  }

  set(location: Location, page: Page): void {
    const before = this.#young.get(location);
    if (before !== undefined) this.#youngSizeBytes -= sizeBytesOf(before);
    this.#young.set(location, page);
    this.#youngSizeBytes += sizeBytesOf(page);
    if (this.#youngSizeBytes <= this.#sizeBytesMax / 2) return;
    this.#old = this.#young;
    this.#young = new Map();
    this.#youngSizeBytes = 0;
  }

  /** Drops a page that the newest version no longer reaches. */
  delete(location: Location): void {
    const page = this.#young.get(location);
    if (page !== undefined) {
      this.#young.delete(location);
      this.#youngSizeBytes -= sizeBytesOf(page);
    }
    this.#old.delete(location);
  }

  clear(): void {
    this.#young.clear();
    this.#old.clear();
    this.#youngSizeBytes = 0;
  }
}

function sizeBytesOf(page: Page): number {
  return page.bytes.length + PAGE_OVERHEAD_BYTES;
}
