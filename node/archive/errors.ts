/** Why an archive could not be written or read. What it holds and does not hold up is in `node/light/errors.ts`. */

export const ARCHIVE_CODES = {
  archive_missing: "a file of the archive is not there: it was never written, or whoever serves it lost it; try another copy",
  archive_damaged: "a file of the archive is not what its place and its hash say: try another copy",
  archive_size: "a file of the archive is larger than any can be: the server is faulty",
  archive_network: "the archive is of another network",
  archive_height: "the archive ends below that height: write it further, or ask for an older one",
  archive_refused: "a block of the node does not hold: the archive stays as it was; audit the node",
  archive_replica: "the replica that the archive is written from is of another chain: name another --replica",
} as const satisfies Record<string, string>;
