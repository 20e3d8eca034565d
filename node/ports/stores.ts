/**
 * The stores port: a disk, and how a store in one of its directories is opened. What moves whole stores (a join, a repair)
 * works on this, so that the simulator can let power go between any two steps of it.
 */

import { codeOf } from "../../crypto/base/error.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import type { Store } from "../../chain/store/store.ts";
import { type Disk, directoryOf, SYSTEM_DISK } from "./disk.ts";

/** A disk with stores on it. */
export type Stores = {
  readonly disk: Disk;
  /** Opens the store in a directory, and makes it when it is empty. Throws `store_locked`, `store_corrupt`, `store_io`. */
  readonly open: (path: string) => Promise<Store>;
};

/** The machine's own. */
export const SYSTEM_STORES: Stores = { disk: SYSTEM_DISK, open: async (path) => await openLevelStore({ path }) };

const DISCARDED = ".discarded";

/** Whether there is a directory or file of this path. */
export async function isThere({ disk }: Stores, path: string): Promise<boolean> {
  try {
    return (await disk.list(directoryOf(path))).includes(path.slice(path.lastIndexOf("/") + 1));
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false;
    throw error;
  }
}

/**
 * Takes a store away as one step: deleted file by file, what a power cut left of it could pass for a store that holds other
 * things. What an earlier one left lying is swept up.
 */
export async function discardStore(stores: Stores, path: string): Promise<void> {
  const { disk } = stores;
  await disk.removeDirectory(`${path}${DISCARDED}`);
  if (!(await isThere(stores, path))) return;
  await disk.rename(path, `${path}${DISCARDED}`);
  await disk.syncDirectory(directoryOf(path));
  await disk.removeDirectory(`${path}${DISCARDED}`);
}
