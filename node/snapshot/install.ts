/**
 * From chunks on a shelf to the store of a home: beside it first, then put in its place by one rename, so that a store
 * which is there is whole and verified. Broken off at any moment, the next attempt goes on where this one was.
 */

import type { NetworkFile } from "../../chain/block/genesis.ts";
import { codeOf } from "../../crypto/base/error.ts";
import type { Home } from "../home/home.ts";
import { discardStore, type Stores, SYSTEM_STORES } from "../ports/stores.ts";
import { Joiner, type JoinerParts, type JoinProgress } from "./joiner.ts";
import { type ChunkSource, type Restored, restoreSnapshot } from "./restore.ts";
import type { Shelf, Shelved } from "./shelf.ts";

/** A snapshot on a shelf, to restore from. */
export function sourceOf(shelf: Shelf, { root, index }: Shelved): ChunkSource {
  return { root, index, entries: () => shelf.entries(index), get: (entry) => shelf.get(entry) };
}

/**
 * Makes the store of a home that has none.
 *
 * @param stores - where it is made: the machine's own disk, unless a simulation has another
 *
 * @throws CodedError as `restoreSnapshot`. After `snapshot_chunk` and the signal's reason, what was done is kept for the
 * next attempt; after any other nothing is.
 */
export async function installSnapshot(
  home: Pick<Home, "storePath" | "dataPath">,
  source: ChunkSource,
  options: {
    readonly network: NetworkFile;
    readonly signal: AbortSignal;
    readonly onChunk?: (done: number, total: number) => void;
  },
  stores: Stores = SYSTEM_STORES,
): Promise<Restored> {
  const { disk } = stores;
  const beside = `${home.storePath}.restoring`;
  const attempt = async (): Promise<Restored> => {
    await disk.makeDirectory(beside);
    await using store = await stores.open(beside);
    return await restoreSnapshot(source, { ...options, store });
  };
  let restored: Restored;
  try {
    restored = await attempt();
  } catch (error) {
    if (options.signal.aborted || codeOf(error) === "snapshot_chunk") throw error;
    await discardStore(stores, beside);
    // What was there may have been of another snapshot, or torn; from nothing, it is this one's fault.
    if (codeOf(error) !== "snapshot_progress" && codeOf(error) !== "store_corrupt") throw error;
    restored = await attempt();
  }
  await disk.rename(beside, home.storePath);
  await disk.syncDirectory(home.dataPath);
  return restored;
}

/**
 * Gets a snapshot from peers and makes the store of a home from it. Killed at any moment, or without power, the next run goes
 * on: with the chunks on the shelf, and then with what is in the store beside.
 *
 * @returns `undefined` when blocks are the way, as `Joiner.run` says
 * @throws CodedError as `Joiner.run` and `installSnapshot`
 */
export async function joinHome(
  home: Pick<Home, "storePath" | "dataPath">,
  parts: JoinerParts,
  options: {
    readonly signal: AbortSignal;
    readonly onProgress: (progress: JoinProgress) => void;
    /** A chunk of this snapshot is in the store. */
    readonly onChunk: (snapshot: Shelved, done: number, total: number) => void;
  },
  stores: Stores = SYSTEM_STORES,
): Promise<Restored | undefined> {
  const { shelf, file: network, log } = parts;
  const { signal, onProgress, onChunk } = options;
  await shelf.sweep();
  for (;;) {
    const shelved = await new Joiner({ onProgress }, parts).run(signal);
    if (shelved === undefined) return undefined;
    try {
      const installing = { network, signal, onChunk: (done: number, total: number) => onChunk(shelved, done, total) };
      const restored = await installSnapshot(home, sourceOf(shelf, shelved), installing, stores);
      await shelf.endJoining();
      return restored;
    } catch (error) {
      if (codeOf(error) !== "snapshot_chunk") throw error;
      // Rotten on our own disk since it was checked: fetched again.
      log.warn({ height: shelved.index.height, code: "snapshot_chunk" }, "a chunk of our own is damaged");
      await shelf.drop(shelved.index.height);
    }
  }
}
