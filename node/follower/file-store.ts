/** The trust of a follower in a file, replaced atomically. Node alone: nothing that a browser loads imports this. */

import { placeFile, readFileBounded } from "../home/files.ts";
import { TRUST_SIZE_BYTES_MAX, type TrustStore } from "./store.ts";

/** A store in one file; its directory is there already. */
export function fileTrustStore(path: string): TrustStore {
  return {
    load: async () => await readFileBounded(path, TRUST_SIZE_BYTES_MAX),
    save: async (bytes) => await placeFile(path, bytes),
  };
}
