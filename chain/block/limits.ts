/**
 * Every bound of blocks and what they hold, in one table. These are properties of the format: a value over one of
 * them does not decode anywhere. A network file may ask for less, never for more.
 */

/** Version of the transaction, header and network file formats. A change of any encoding is a new number. */
export const FORMAT_VERSION = 1;

/** One mebibyte: gossiped whole, so it must fit a gossip message beside its envelope. At the bound: refused. */
export const TRANSACTION_SIZE_BYTES_MAX = 1024 * 1024;
/** Sixteen mebibytes: what a peer may be asked to hold of one message, and to judge within a propose timeout. */
export const BLOCK_SIZE_BYTES_MAX = 16 * 1024 * 1024;
/** An encoded transaction takes at least 200 bytes, so a full block of them stays below this. */
export const TRANSACTIONS_MAX = 65_536;
/** Bounds what one signature makes a validator do, and the width of `calls[index]` in a refusal. */
export const CALLS_MAX = 64;
/** A chain id, namespace, table or stream is `NAME_PATTERN`: readable, safe in paths and URLs, free of zero bytes. */
export const NAME_SIZE_BYTES_MAX = 64;
/** Lower-case ASCII, so that equal looking names are equal; no zero byte, which separates names in state keys. */
export const NAME_PATTERN = /^[a-z0-9][a-z0-9_.-]{0,63}$/;
/** A row key is part of a state key, and every proof carries whole keys. */
export const ROW_KEY_SIZE_BYTES_MAX = 256;
/** A row value stands whole in its proof. Larger things belong in records or outside, by CID. */
export const ROW_VALUE_SIZE_BYTES_MAX = 64 * 1024;
/**
 * Rows and records that the calls of one block may write: what one transaction may, so that any fits a block. Bytes do
 * not bound it: a record of one byte takes three of them and some 20 us of every validator.
 */
export const BLOCK_OPERATIONS_MAX = 65_536;
/** Records of one append; each costs a tree leaf. */
export const RECORDS_MAX = 1024;
/** A record stands whole in its proof: its value, key and headers together. */
export const RECORD_SIZE_BYTES_MAX = 64 * 1024;
/** A record's key; as short as a row's, because keys are looked up by. */
export const RECORD_KEY_SIZE_BYTES_MAX = 256;
/** Headers of one record: what happened beside, not the thing itself. */
export const RECORD_HEADERS_MAX = 16;
/** A header's value; its name is a name. */
export const RECORD_HEADER_SIZE_BYTES_MAX = 1024;
/** Partitions of one stream are numbered from 0 to this. */
export const PARTITION_MAX = 65_535;
/** Partitions of a declared stream: declaring looks at each once, and a reader of a whole stream asks for each. */
export const STREAM_PARTITIONS_MAX = 1024;
/** A segment is a file: below this there would be more entries than records are worth. */
export const SEGMENT_SIZE_BYTES_MIN = 4 * 1024;
/** A segment is fetched whole. */
export const SEGMENT_SIZE_BYTES_MAX = 1024 * 1024 * 1024;
export const SEGMENT_SIZE_BYTES_DEFAULT = 16 * 1024 * 1024;
/** Segments of one record each would cost the state a row a record. */
export const SEGMENT_AGE_MS_MIN = 1_000;
/** A day. */
export const SEGMENT_AGE_MS_DEFAULT = 86_400_000;
/** A hundred years: what is to be kept longer is kept for ever. */
export const STREAM_SPAN_MS_MAX = 100 * 365 * 86_400_000;

/** What names the data directory that uses a node number: drawn at random, once for each. */
export const NUMBER_HOLDER_SIZE_BYTES = 16;

/** Validators of one set. A certificate of so many hybrid signatures is about 300 KiB, a tolerable part of a block. */
export const VALIDATORS_MAX = 128;
/** Voters that survive one Byzantine fault: 3f + 1 with f = 1. A development network may have fewer. */
export const VALIDATORS_MIN = 4;
/** Voters of Raft that survive one that stops: two of three decide, of two both must be up. A development network may have fewer. */
export const RAFT_VALIDATORS_MIN = 3;
/**
 * Total power of a set. Priorities stay within four times the total (see `validators.ts`), so every number of the
 * algorithm fits 64 bits with room, here and in implementations that have no bigints.
 */
export const POWER_TOTAL_MAX = 1n << 56n;
/** Rounds fit a signed 32-bit number; reaching this one takes longer than the network lives. */
export const ROUND_MAX = 0x7fff_ffff;
/** Pieces of evidence in one block; each costs two signature checks before execution. The rest wait for a later block. */
export const EVIDENCE_MAX = 16;

/**
 * Everything in a block but its transactions: header, a certificate of the most validators and the most evidence, all
 * with hybrid signatures, take 548 KB at most (a test builds that block). A network's blocks must hold this and one
 * largest transaction, and a proposer who leaves it free never builds a block that is too large.
 */
export const BLOCK_FRAME_SIZE_BYTES_MAX = 640 * 1024;

/** Amounts, fees and the whole supply are below 2^64, so that every balance is one dag-cbor integer. */
export const AMOUNT_MAX = (1n << 64n) - 1n;
/** Shares are in basis points, a whole of these: integers, which every machine divides alike. */
export const BPS_WHOLE = 10_000;
/** The last moment that a JavaScript `Date` can show (ECMA-262, 21.4.1.1). */
export const TIME_MS_MAX = 8_640_000_000_000_000n;

/** The failure code and the field of a result, each; ours are far shorter. */
export const RESULT_TEXT_SIZE_BYTES_MAX = 64;

/** A network file; it is read whole and hashed whole. */
export const NETWORK_FILE_SIZE_BYTES_MAX = 8 * 1024 * 1024;
/** Accounts that a network file can fund. */
export const GENESIS_ACCOUNTS_MAX = 20_000;
/** Bootstrap addresses of a network file: enough to survive most of them being gone. */
export const BOOTSTRAP_MAX = 64;
/** One bootstrap address; a multiaddress with a DNS name and a peer id takes under 200 bytes. */
export const BOOTSTRAP_SIZE_BYTES_MAX = 256;
