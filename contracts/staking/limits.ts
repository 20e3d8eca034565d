/** Bounds of staking that are no parameters of a network. */

export { CANDIDATES_MAX, OFFENCES_MAX } from "../../chain/state/stake.ts";

/** Entries of the queue of unbonding that one block releases. The rest are released by the blocks after it. */
export const RELEASES_MAX = 256;
/** From one change of a commission to the next: long enough for delegators to see it and leave. */
export const COMMISSION_WAIT_MS = 86_400_000n;
/** By how much a validator of the network file may change its commission at once. It begins at none. */
export const GENESIS_COMMISSION_STEP_BPS_MAX = 100;
/** Of a slash, the multiple of the share of power that signed twice: all of it when a third did. */
export const CORRELATION_FACTOR = 3n;
