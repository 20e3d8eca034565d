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
   * The same bounds for what a client hands in here, below those above by what a block may take out: with it our places become free
   * before those of nodes that commit it later, and what we took meanwhile must find one there too. Else they lack what we propose, and
   * what comes behind it waits until we do. A client's transaction beyond `clientCountMax` or `clientSizeBytesMax` takes the
   * place of a lesser one. What fills a gap before others of its sender has the places of those above: it is waited for.
   */
  readonly clientCountMax: number;
  readonly clientSizeBytesMax: number;
  /** Also how far ahead the nonce may be. */
  readonly clientPerSenderMax: number;
  readonly clientPerSenderSizeBytesMax: number;
  /** Ids of refused transactions that are remembered with the reason. At the bound: the oldest is forgotten. */
  readonly refusedMax: number;
};

/**
 * For a node of a few GiB: a minute of full blocks. A transaction takes its size and 1.3 kB of memory, and whoever makes
 * all others beside it go as much as a slab (`block/slab.ts`, 100 MB in all); a remembered refusal about 200 bytes.
 */
export const MEMPOOL_LIMITS_DEFAULT: MempoolLimits = {
  countMax: 25_000,
  sizeBytesMax: 64 * 1024 * 1024,
  // Twice what clients may: a block takes at most all that they had waiting, and they fill it again before others have the block.
  perSenderMax: 2_000,
  // A sixteenth: one sender alone cannot make the mempool refuse everybody else at its price.
  perSenderSizeBytesMax: 4 * 1024 * 1024,
  nonceGapMax: 2_000,
  // A block has 10,000 transactions at most, and 2 MiB.
  clientCountMax: 15_000,
  clientSizeBytesMax: 48 * 1024 * 1024,
  // A busy application sends all it has from one account: a second of it, and no more than a fifteenth of what clients have.
  clientPerSenderMax: 1_000,
  clientPerSenderSizeBytesMax: 2 * 1024 * 1024,
  refusedMax: 20_000,
};

/** A replacement must offer 11/10 of what it replaces, fee and price a byte both, so that its gossip is paid for. */
export const REPLACEMENT_NUMERATOR = 11n;
/** See `REPLACEMENT_NUMERATOR`. */
export const REPLACEMENT_DENOMINATOR = 10n;

/** Prices are fees a byte in millionths, which orders any two transactions of the sizes that exist. */
export const PRICE_SCALE = 1_000_000n;
