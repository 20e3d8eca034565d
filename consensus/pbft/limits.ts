/** Every bound of the PBFT engine, with its reason. At each of them the engine drops; whoever said it says it again. */

import { BLOCK_SIZE_BYTES_MAX } from "../../chain/block/limits.ts";

/**
 * A block, a view-change of each of the most validators and a prepare of each, all with hybrid signatures of 3.4 KB:
 * under a mebibyte beside the block.
 */
export const MESSAGE_SIZE_BYTES_MAX = BLOCK_SIZE_BYTES_MAX + 1024 * 1024;

/**
 * How far ahead of our view votes are kept. Whoever is further behind comes along by view-changes or a new-view, which
 * are taken of any view, one of each validator.
 */
export const VIEWS_AHEAD_MAX = 8;

/** Earlier views of which commits are kept: late ones can still decide. */
export const PAST_VIEWS_MAX = 16;

/** Messages of one peer whose signatures are being checked. One view of a hundred validators is two hundred votes. */
export const PENDING_PER_PEER_MAX = 256;

/** The same for all peers. */
export const PENDING_MAX = 4096;

/** Of them those that bring a block which is not here yet. */
export const PENDING_BLOCKS_MAX = 8;

/** The same of one peer, so that no peer can crowd the others out. */
export const PENDING_BLOCKS_PER_PEER_MAX = 2;

/** Copies of one statement, from different peers, that are checked side by side: all but one may be forged. */
export const PENDING_COPIES_MAX = 8;
