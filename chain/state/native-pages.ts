/** Pages in memory, in Rust (`native/core/src/state.rs`): see `pages.ts`. */

import { CodedError } from "../../crypto/base/error.ts";
import { type NativeStatePages, openNativeStatePages, withUpdates } from "../../crypto/backend/state-pages.ts";
import { hashOf } from "../../crypto/hash/hash.ts";
import type { StoreOperation } from "../store/store.ts";
import { chunkKey, type Location } from "./layout.ts";
import { Page } from "./page.ts";
import type { PagesOptions, StagedPages, StatePages } from "./pages.ts";
import type { RootRecord } from "./record.ts";
import type { StateUpdate } from "./update.ts";

/** As a location: none. */
const NOWHERE = -1;

/** Pages that are kept on this side too: those at the top, which every proof and every range begins with. About 1.5 MB. */
const VIEWS_MAX = 1024;

/** See the file's head. */
export class NativePages implements StatePages {
  readonly #native: NativeStatePages;
  readonly #read: (location: number) => Uint8Array;
  /** Oldest first. */
  readonly #views = new Map<Location, Page>();

  private constructor(native: NativeStatePages, { readSlot }: PagesOptions) {
    this.#native = native;
    this.#read = (location) => readSlot(location as Location);
  }

  /** Or `undefined` where there is no addon. */
  static open(options: PagesOptions): NativePages | undefined {
    const native = openNativeStatePages(options.sizeBytesMax);
    return native === undefined ? undefined : new NativePages(native, options);
  }

  read(location: Location): Page {
    const known = this.#views.get(location);
    if (known !== undefined) return known;
    const page = Page.view(told(() => this.#native.page(location, this.#read)));
    if (this.#views.size === VIEWS_MAX) for (const oldest of this.#views.keys()) if (this.#views.delete(oldest)) break;
    this.#views.set(location, page);
    return page;
  }

  find(root: Location | undefined, key: Uint8Array): Location | undefined {
    if (root === undefined) return undefined;
    return locationOf(told(() => this.#native.find(root, outside(key), this.#read)));
  }

  stage(base: RootRecord, updates: readonly StateUpdate[]): StagedPages {
    const { hash, location = NOWHERE, nextChunk } = base;
    const staged = withUpdates(updates, (keys, values) =>
      told(() =>
        this.#native.stage(hash, location, nextChunk, keys.bytes, keys.lengths, values.bytes, values.lengths, this.#read),
      ),
    );
    const { id, chunks, chunkEnds } = staged;
    const operations = Array.from(staged.chunkNumbers, (number, index): StoreOperation => {
      const from = index === 0 ? 0 : chunkEnds[index - 1];
      return { kind: "put", key: chunkKey(number), value: chunks.subarray(from, chunkEnds[index]) };
    });
    return {
      root: { hash: hashOf(staged.hash), location: locationOf(staged.location) },
      operations,
      nextChunk: staged.nextChunk,
      stale: Array.from(staged.stale) as Location[],
      adopt: () => this.#native.adopt(id),
    };
  }

  clear(): void {
    this.#views.clear();
    this.#native.clear();
  }
}

const outsideBytes = new Uint8Array(4096);

/** A key outside of V8's heap, until the next one: of a small array inside the addon cannot have the bytes without moving them out. */
function outside(key: Uint8Array): Uint8Array {
  if (key.length > outsideBytes.length) return key;
  outsideBytes.set(key);
  return outsideBytes.subarray(0, key.length);
}

function locationOf(location: number): Location | undefined {
  return location === NOWHERE ? undefined : (location as Location);
}

/** What the store threw goes on as it is; what it held and was no page is its corruption. */
function told<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof CodedError || !(error instanceof Error) || !error.message.startsWith("native_page")) throw error;
    throw new CodedError("state_corrupt", { message: error.message.replace("native_page: ", "") });
  }
}
