/** Every bound of the Obelisk role: the value, why it is that, and what happens at it. */

/** Values of one request. At the bound: refused. More is asked for in parts, so that one caller cannot use a counter up. */
export const COUNT_MAX = 1_048_576;

/** Values that one lease makes durable ahead. A crash skips at most so many, and twice as many during a prefetch. */
export const LEASE_COUNT_DEFAULT = 65_536;

/** Callers that wait for one counter's disk. At the bound: refused. A group commit takes all of them at once. */
export const WAITING_MAX = 16_384;

/** Counters with an open file. At the bound the one used least recently is closed, and with it the rest of its lease. */
export const OPEN_MAX = 256;

/** Counters of a node: an inode and a name in memory each. At the bound: no new one is made. */
export const COUNTERS_MAX = 65_536;

/**
 * Values that one file counts: its length in bytes. ext4 with blocks of 4 KiB ends below 2^44 and with 1 KiB below 2^42,
 * so a new file begins well before any. Part of the format: never change it.
 */
export const FILE_VALUES: bigint = 1n << 40n;

/** Counters end here, so that a value is eight bytes wherever it goes. */
export const VALUE_END: bigint = 1n << 64n;

/** Spaces of ids of a node: one a service, each with an open file for good. At the bound: no new one is made. */
export const SPACES_MAX = 64;

/** Values or ids of one request to a peer. At the bound: refused as malformed. */
export const PHARAOH_COUNT_MAX = 65_536;

/** Runs of ids in one answer: a run is a millisecond's. At the bound: the answer ends early, the rest is skipped. */
export const PHARAOH_RUNS_MAX = 256;

/** Values a peer may take in a second, and at once: what a lease a millisecond comes to. Above it: refused with `rate`. */
export const PHARAOH_VALUES_PER_SECOND_MAX = 65_536;
/** See `PHARAOH_VALUES_PER_SECOND_MAX`. */
export const PHARAOH_VALUES_BURST_MAX = 262_144;

/** Counters a peer may make in a second, and at once. Above it: refused with `rate`. They stay for ever. */
export const PHARAOH_COUNTERS_PER_SECOND_MAX = 0.1;
/** See `PHARAOH_COUNTERS_PER_SECOND_MAX`. */
export const PHARAOH_COUNTERS_BURST_MAX = 16;

/** No peer makes a counter when there are so many: the rest of `COUNTERS_MAX` is the node's own. Refused as unavailable. */
export const PHARAOH_COUNTERS_MAX = 16_384;

/** Counters that users of a node (its RPC) may make in a second, and at once: they stay for ever. Above it: refused as busy. */
export const COUNTERS_PER_SECOND_MAX = 1;
/** See `COUNTERS_PER_SECOND_MAX`. */
export const COUNTERS_BURST_MAX = 256;

/** Peers asked for one thing before the node issues itself. */
export const ATTEMPTS_MAX = 3;
/** How long one of them may take: an issuer answers from memory, so this is a long way and a busy node. */
export const FAILOVER_MS = 300;
/** How long a peer that failed is not asked again. At the bound: the next one is asked. */
export const BENCH_MS = 5000;

/** Ids fetched from a peer at once, and how long they are given out from memory: their times must not be old. */
export const ID_LEASE_COUNT = 1024;
/** See `ID_LEASE_COUNT`. */
export const ID_LEASE_MS = 1000;
/** Values of a counter fetched from a peer at once. */
export const SEQUENCE_LEASE_COUNT = 64;
/** Leases kept at once. At the bound the oldest goes, and its values are skipped. */
export const LEASES_MAX = 1024;
/** Issuers whose newest values are remembered, to notice one that repeats. At the bound the oldest is forgotten. */
export const ISSUERS_MAX = 4096;
