/**
 * The pages of a tree in memory, and the next version made from them: the port that `portable-pages.ts` and, where the
 * Rust addon is, `native-pages.ts` keep. Both give the same roots, and the same chunks byte for byte.
 */

import type { StoreOperation } from "../store/store.ts";
import type { Location } from "./layout.ts";
import type { Page } from "./page.ts";
import type { RootRecord } from "./record.ts";
import type { Root, StateUpdate } from "./update.ts";

/** A version that is computed and not yet committed. */
export type StagedPages = {
  readonly root: Root;
  /** Its chunks. */
  readonly operations: readonly StoreOperation[];
  /** The first chunk number that is free afterwards. */
  readonly nextChunk: number;
  /** What it no longer reaches, be it as a base. */
  readonly stale: readonly Location[];
  /** Makes it the newest, once its operations are durable: its pages are in memory from now on. */
  readonly adopt: () => void;
};

/** See the file's head. Throws `CodedError` `state_corrupt` when what the store holds is no page, and what the store throws. */
export interface StatePages {
  /** A page of any version that is kept. */
  read(location: Location): Page;
  /** Where the value of a row is, in the tree below a location. */
  find(root: Location | undefined, key: Uint8Array): Location | undefined;
  /** Applies updates, sorted by key and each key once, to the newest version. Writes nothing. */
  stage(base: RootRecord, updates: readonly StateUpdate[]): StagedPages;
  /** Forgets all pages. */
  clear(): void;
}

/** What pages are made with: `readSlot` gives the bytes that the store holds at a location. */
export type PagesOptions = { readonly readSlot: (location: Location) => Uint8Array; readonly sizeBytesMax: number };
