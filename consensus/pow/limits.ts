/** Every bound of the proof-of-work engine, with its reason. At each of them something is dropped that can be had again. */

/** Headers of one answer: about 700 bytes each. */
export const HEADERS_PER_MESSAGE_MAX = 256;

/** Blocks asked for at once; a slow peer holds up no more than this. */
export const BLOCKS_PER_MESSAGE_MAX = 16;

/**
 * Messages asking one peer for blocks that it has not answered yet. With the question for headers fewer than a driver has
 * under way to one peer: what it drops beyond would be waited for until it is overdue.
 */
export const ASKS_PER_PEER_MAX = 2;

/** Of the blocks of one answer together; one block alone may be larger. */
export const BLOCKS_SIZE_BYTES_MAX = 4 * 1024 * 1024;

/** A block that is announced whole: two round trips less. A larger one is announced by its header. */
export const ANNOUNCED_BLOCK_SIZE_BYTES_MAX = 512 * 1024;

/** Entries of a locator: ten close ones, then each twice as far as the one before, for 2^63 heights. */
export const LOCATOR_MAX = 80;
/** How many of its entries are one height apart: a fork is usually short. */
export const LOCATOR_CLOSE = 10;

/** How far ahead of the newest committed block headers are kept. Beyond, they are asked for again once we are nearer. */
export const HEADERS_AHEAD_MAX = 2048;

/**
 * Headers off the chain of committed blocks that are kept beyond those of one best chain: each has cost its maker the
 * work of its place, which may be little. At the bound those with the least work behind them go.
 */
export const SIDE_HEADERS_MAX = 4096;

/** Who is remembered to have a block. */
export const SOURCES_MAX = 4;

/** Bodies held for reorganisations; beyond, the oldest are dropped, and asked for again should they be needed. */
export const BODIES_SIZE_BYTES_MAX = 128 * 1024 * 1024;

/** Peers that are asked for headers at the same time. */
export const QUESTIONS_MAX = 64;

/** How long an answer may take before another peer is asked. */
export const ANSWER_TIMEOUT_MS = 5_000;

/** Times that a block is asked for until its branch is left alone: whoever announced it keeps it to himself. */
export const ASKS_MAX = 3;

/** A candidate block takes up what has arrived meanwhile once in so long. */
export const CANDIDATE_AGE_MS = 2_000;

/** Branches whose blocks are fetched at once, because those of better ones do not come. */
export const WAYS_MAX = 3;

/** Our tip is said again after so long without a new one, and a question that led nowhere asked again. */
export const REPEAT_MS = 10_000;
