/** Every bound of the mempool in one table, and what happens at each. */

/** Bounds of one mempool. */
export type MempoolLimits = {
  /** Transactions waiting. At the bound: the least worth gives way to a better one, else `mempool_full`. */
  readonly countMax: number;
  /** Bytes waiting. At the bound: as above. */
  readonly sizeBytesMax: number;
  /** Transactions of one sender. At the bound: what it has behind a gap gives way to what that waits for, else `mempool_sender_full`. */
  readonly perSenderMax: number;
  /** Bytes of one sender. At the bound: as above. */
  readonly perSenderSizeBytesMax: number;
  /** How far a nonce may be ahead of the sender's next one, and never as far as `perSenderMax`. Beyond: `mempool_nonce_gap`. */
  readonly nonceGapMax: number;
  /**
   * The same of what a client hands in here. Below the two above: with a block our places become free before those of nodes that
   * commit it later, and what we took meanwhile must find one there too. Else they lack what we propose, and what comes behind it.
   */
  readonly clientGapMax: number;
  /** Ids of refused transactions that are remembered with the reason. At the bound: the oldest is forgotten. */
  readonly refusedMax: number;
};

/**
 * For a node of a few GiB: a minute of full blocks. A transaction takes its size and 1.3 kB of memory, and whoever makes
 * all others beside it go as much as a slab (`block/slab.ts`, 80 MB in all); a remembered refusal about 200 bytes.
 */
export const MEMPOOL_LIMITS_DEFAULT: MempoolLimits = {
  countMax: 20_000,
  sizeBytesMax: 64 * 1024 * 1024,
  // A busy application sends all it has from one account: a second of it, half as much again for what a node is behind, and no more
  // than a thirteenth of the mempool.
  perSenderMax: 1_500,
  // A sixteenth: one sender alone cannot make the mempool refuse everybody else at its price.
  perSenderSizeBytesMax: 4 * 1024 * 1024,
  nonceGapMax: 1_500,
  clientGapMax: 1_000,
  refusedMax: 20_000,
};

/** A replacement must offer 11/10 of what it replaces, fee and price a byte both, so that its gossip is paid for. */
export const REPLACEMENT_NUMERATOR = 11n;
/** See `REPLACEMENT_NUMERATOR`. */
export const REPLACEMENT_DENOMINATOR = 10n;

/** Prices are fees a byte in millionths, which orders any two transactions of the sizes that exist. */
export const PRICE_SCALE = 1_000_000n;
