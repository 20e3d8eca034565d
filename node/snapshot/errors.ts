/** Why a snapshot is not taken or not believed, and what to do. */

export const SNAPSHOT_CODES = {
  snapshot_engine: "a network of proof of work: no snapshot holds the work behind its blocks; let a node sync from its peers",
  snapshot_height: "the height is not there, or its state is pruned: name a later one",
  snapshot_size: "the state is larger than a snapshot may be: raise the bounds in format.ts, with a new version",
  file_io: "the file cannot be read or written: look at its path, its rights and the disk",
  snapshot_missing: "there is no snapshot in the directory, or none of that height: look at its path",
  snapshot_chunk: "a chunk that the snapshot names is not there, or has other bytes than its name says: copy it again",
  snapshot_malformed: "not a snapshot, or cut short: copy it again",
  snapshot_version: "made by another release: take one of this release",
  snapshot_network: "of another network than the network file",
  snapshot_order: "its entries are not in the order of the format: whoever made it is at fault",
  snapshot_headers: "its headers do not follow one another from the network file on: whoever made it is at fault",
  snapshot_certificate: "a header that it needs is not certified by the validators of its height: whoever made it is at fault",
  snapshot_validators: "a validator set that its headers name is missing or another one: whoever made it is at fault",
  snapshot_block: "its block or the results are not those of its header: whoever made it is at fault",
  snapshot_state: "its rows are not the state that its header commits to: whoever made it is at fault",
  snapshot_records: "its records are not those that its state commits to: whoever made it is at fault",
  snapshot_data: "the home has data already: restore into a new home",
  snapshot_progress: "what was restored so far is of another snapshot: delete it and begin again",
} as const satisfies Record<string, string>;

/** One of `SNAPSHOT_CODES`. */
export type SnapshotCode = keyof typeof SNAPSHOT_CODES;
