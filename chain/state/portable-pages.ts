/** Pages in memory, in TypeScript: see `pages.ts`. */

import { Arena } from "./arena.ts";
import { PageCache } from "./cache.ts";
import { ChunkWriter } from "./chunk.ts";
import { readStored } from "./delta.ts";
import type { Location } from "./layout.ts";
import type { Page } from "./page.ts";
import type { PagesOptions, StagedPages, StatePages } from "./pages.ts";
import type { RootRecord } from "./record.ts";
import { applyUpdates, type StateUpdate } from "./update.ts";

/** See the file's head. */
export class PortablePages implements StatePages {
  readonly #readSlot: PagesOptions["readSlot"];
  readonly #arena = new Arena();
  readonly #cache: PageCache;

  constructor({ readSlot, sizeBytesMax }: PagesOptions) {
    this.#readSlot = readSlot;
    this.#cache = new PageCache(sizeBytesMax, this.#arena);
  }

  read(location: Location): Page {
    const cached = this.#cache.get(location);
    if (cached !== undefined) return cached;
    const page = readStored(location, this.#readSlot, this.#arena);
    this.#cache.set(location, page);
    return page;
  }

  find(root: Location | undefined, key: Uint8Array): Location | undefined {
    let location = root;
    while (location !== undefined) {
      const page = this.read(location);
      const index = page.find(key);
      if (index < 0) return undefined;
      if (page.isEntry(index)) return page.location(index);
      location = page.location(index);
    }
    return undefined;
  }

  stage(base: RootRecord, updates: readonly StateUpdate[]): StagedPages {
    const writer = new ChunkWriter(base.nextChunk);
    const workshop = { readPage: (location: Location) => this.read(location), writer, arena: this.#arena };
    const { root, fresh, stale, replaced } = applyUpdates(base, updates, workshop);
    const { operations, next } = writer.finish();
    const adopt = (): void => {
      for (const location of replaced) this.#cache.delete(location);
      for (const { location, page } of fresh) this.#cache.set(location, page);
    };
    return { root, operations, nextChunk: next, stale, adopt };
  }

  clear(): void {
    this.#cache.clear();
  }
}
