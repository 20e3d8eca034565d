/** Every bound of the Tendermint engine, with its reason. At each of them the engine drops; gossip brings it again. */

/**
 * Later rounds for which one validator's votes are kept; a vote for a higher one pushes out the lowest.
 * One is what rounds are skipped by; the second keeps a validator counted that has just moved on.
 */
export const FUTURE_ROUNDS_PER_VALIDATOR_MAX = 2;

/**
 * How many rounds are skipped at once. Whose turn a round is costs a pass over the set for each round before it, and rounds last longer
 * and longer: honest validators are nowhere near. One of more than a third of the power could name a round of 2^31 otherwise.
 */
export const ROUNDS_SKIPPED_MAX = 10_000;

/** How far ahead of our round a proposal is kept: proposals carry blocks, and only a neighbour's is of use soon. */
export const PROPOSAL_ROUNDS_AHEAD_MAX = 2;

/**
 * Earlier rounds of which votes are kept, beside those of the locked value, the valid value and the
 * proof of lock that the current proposal names. Late precommits of these rounds can still decide.
 */
export const PAST_ROUNDS_MAX = 16;

/** The same for proposals, fewer, because they carry blocks; one whose block has a quorum is kept beyond this. */
export const PAST_PROPOSAL_ROUNDS_MAX = 4;

/** Messages of one peer whose signatures are being checked. One round of a hundred validators is two hundred votes. */
export const PENDING_PER_PEER_MAX = 256;

/** The same for all peers. */
export const PENDING_MAX = 4096;

/** Proposals among them: each holds a block. */
export const PENDING_PROPOSALS_MAX = 8;

/** Proposals of one peer among them, so that no peer can crowd the others out. */
export const PENDING_PROPOSALS_PER_PEER_MAX = 2;

/** Copies of one vote, alike but for the signature, that are checked side by side: all but one must be forged. */
export const PENDING_COPIES_MAX = 8;
