/** What the simulated disk throws: the codes of a real one, for the code under test to meet. */

/** What each means here. A node must stop on all but the last, or report it and lose nothing. */
export const SIMULATED_DISK_CODES = {
  ENOSPC: "the disk is full; a part of the record may be there",
  EIO: "a sync failed, and dropped what it should have written",
  EEXIST: "a file that was to be new is there",
  ENOENT: "a file that was to be renamed is not there",
} as const satisfies Record<string, string>;
