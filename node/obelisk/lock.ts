/**
 * The lock of an Obelisk directory: one process at a time, whatever becomes of the one before.
 *
 * It is the `LOCK` file of a LevelDB of its own, as `data/store` is locked: an fcntl lock, which the kernel gives up with
 * the process. A file that names a process would have to be judged stale by somebody, and two may judge at once. On a
 * network file system without such locks there is none: keep homes on local disks.
 */

import { codeOf } from "../../crypto/base/error.ts";
import { openLevelStore } from "../../chain/store/level.ts";
import { obeliskError } from "./mark.ts";

/** Nothing is ever stored there. */
const SIZE_BYTES = 64 * 1024;

/** Takes the lock of a directory, which is given back by disposing. */
export type TakeLock = (path: string) => Promise<AsyncDisposable>;

/**
 * The machine's own lock.
 *
 * @throws CodedError `obelisk_locked`, or `store_io`
 */
export const takeSystemLock: TakeLock = async (path) => {
  try {
    return await openLevelStore({ path: `${path}/lock`, cacheSizeBytes: SIZE_BYTES, writeBufferSizeBytes: SIZE_BYTES });
  } catch (error) {
    if (codeOf(error) === "store_locked") throw obeliskError("obelisk_locked", { path }, error);
    throw error;
  }
};
