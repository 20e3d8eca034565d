/**
 * Every domain tag of the system, in one table: the first byte of whatever is hashed says what it is, so that no
 * hash of one kind of thing can stand for another kind.
 *
 * Tags are part of the format: never renumber, never reuse.
 */

export const DOMAIN = {
  /** A leaf and an inner node of an append-only log tree (history, transactions, results, records). RFC 6962, 2.1. */
  logLeaf: 0x00,
  logNode: 0x01,
  /** The state tree: a row, an inner node, a row's value, and the root of no rows at all. */
  stateLeaf: 0x10,
  stateNode: 0x11,
  stateValue: 0x12,
  stateEmpty: 0x13,
  /** The entry of a sealed segment, as the next one and the partition's head name it. */
  segment: 0x14,
  /** A record's key: for finding the newest record of it, and for routing. */
  recordKey: 0x15,
  /** A record of the state tree's own store, against what a disk may do to it. */
  stateRecord: 0x16,
  /** A transaction body: its id, and what its senders sign. */
  transaction: 0x20,
  /** A block header: the hash that votes and later headers name. */
  header: 0x21,
  /** A validator set, as headers name it. */
  validators: 0x22,
  /** A commit certificate, as the next header names it. */
  certificate: 0x23,
  /** A vote and a proposal, as validators sign them. */
  vote: 0x24,
  proposal: 0x25,
  // 0x26 was given to evidence hashes, which nothing uses.
  /** A network file. */
  network: 0x27,
  /** A header with its nonces: what proof of work searches. */
  work: 0x28,
  /** What an engine signs beside votes and proposals: its name and the message's bytes. */
  statement: 0x29,
  /** A document that is notarised: algorithm, digest and salt. */
  notarisation: 0x2a,
  /** The records of one append of a session, which a repetition must hold again. */
  sessionAppend: 0x2b,
  /** An account or validator address: a key, or a multisig policy. */
  address: 0x30,
  /** What both halves of a hybrid key sign. */
  hybrid: 0x31,
  /** A seed derived from a seed: the halves of a hybrid key, the network key of a node. */
  seed: 0x32,
  /** A key, a signature of it and what it is of, by which a node remembers that it is good. */
  verified: 0x33,
  /** A gossip message id. */
  gossip: 0x40,
  /** A service's counter with a peer: the order in which peers are asked for it. */
  placement: 0x41,
  /** A row of a record log's tiles (node/recordlog), against what a disk may do to it. */
  recordLogRow: 0x50,
} as const satisfies Record<string, number>;

/** The name of a domain. */
export type Domain = keyof typeof DOMAIN;
