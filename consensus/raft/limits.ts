/** Every bound of the Raft core, with its reason and what happens at it. */

/** The largest term, index or id: they are u64 on the wire. Anything beyond is refused as malformed. */
export const U64_MAX = (1n << 64n) - 1n;

/**
 * Reads that wait, for a round of heartbeats or for the leader's first commit. The next is refused. Each is a few dozen bytes; a
 * round trip at ten thousand reads a second holds a thousand.
 */
export const READS_PENDING_MAX = 4096;

/** Bytes of a read's context, which its proposer chooses and heartbeats do not carry. More is refused. */
export const READ_CONTEXT_SIZE_BYTES_MAX = 256;

/** Proposals in one forwarded message. More is refused: a follower forwards them as they come. */
export const PROPOSALS_PER_MESSAGE_MAX = 1024;

/** Bytes of one proposal. More is refused: an entry must fit a message, and messages are bounded by the transport. */
export const PROPOSAL_SIZE_BYTES_MAX = 16 * 1024 * 1024;

/** Entries in one append that we accept; honest leaders stay far below by bytes. More is refused as malformed. */
export const ENTRIES_PER_MESSAGE_MAX = 65_536;

/** Members of a configuration, both halves and learners together. More is refused: a leader's work grows with them. */
export const MEMBERS_MAX = 256;

/** Steps of one change of the configuration: each member could be named twice. More is refused. */
export const CHANGE_STEPS_MAX = 512;

/** Bytes of a change's opaque context. More is refused. */
export const CHANGE_CONTEXT_SIZE_BYTES_MAX = 4096;

/** Messages to one peer in one turn, per append stream: how many sized appends are built before the caller must take them. */
export const APPENDS_PER_TURN_MAX = 1024;

/** What an entry weighs beside its data when sizes are limited: term, index, kind and their framing. */
export const ENTRY_OVERHEAD_BYTES = 24;

/** Rounds of heartbeats whose start is remembered for the lease. Older ones are forgotten; a lease that old has run out. */
export const ROUNDS_REMEMBERED_MAX = 64;

/** A lease is shorter than the election timeout by one part in this: clocks of one cluster may drift apart by 10 % and no more. */
export const LEASE_DRIFT_DIVISOR = 10;

/**
 * Bytes of entries in one append of the engine. A block is one entry and always fits alone; more than this travels in parts. All of
 * them are far below what gossip carries.
 */
export const NOTE_ENTRIES_SIZE_BYTES_MAX = 1024 * 1024;

/** Election timeouts until a snapshot that nobody acknowledged counts as lost and is sent again: block sync may need a few. */
export const SNAPSHOT_RETRY_ELECTIONS = 4;

/** Records and bytes of the write-ahead log since it was last replaced. Beyond either it is replaced at the next height. */
export const LOG_RECORDS_MAX = 256;
/** See `LOG_RECORDS_MAX`; also what is read back at a restart. */
export const LOG_SIZE_BYTES_MAX = 64 * 1024 * 1024;
/** Entries that a replacing record may hold: with its head it fits the driver's largest record, 32 MiB. Beyond it the log grows on. */
export const BASE_RECORD_SIZE_BYTES_MAX = 28 * 1024 * 1024;

/** Messages whose signatures are being checked, of one peer and of all. At the bound they are dropped: Raft says everything again. */
export const PENDING_PER_PEER_MAX = 256;
/** See `PENDING_PER_PEER_MAX`. */
export const PENDING_MAX = 1024;
/** Those among them that carry a block, some megabytes each. One leader has few in flight. */
export const PENDING_BLOCKS_MAX = 8;

/** Signatures that are asked for and not answered. Beyond it a note is dropped, like one that the network lost. */
export const SIGNING_MAX = 1024;

/** Votes kept of one validator at one height: those of its latest terms. One term decides; the second is its successor's. */
export const VOTES_PER_VALIDATOR_MAX = 4;

/** Blocks that an observer keeps from appends it overhears, until one is certified: this height's and the next, twice over. */
export const OVERHEARD_BLOCKS_MAX = 4;
