/** Blocks: a header, the transactions it orders, the certificate of the block before, and evidence. */

import type { Hash } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { Evidence } from "./evidence.ts";
import type { Height } from "./height.ts";
import type { Transaction } from "./transaction.ts";
import type { Certificate } from "./vote.ts";

/**
 * What validators agree on. Every commitment below is to the state of things after this block's own transactions,
 * so that a read at the newest height is provable at once.
 */
export type Header = {
  readonly chainId: string;
  readonly height: Height;
  /** Milliseconds since 1970 UTC, strictly greater than the previous header's. */
  readonly timeMs: bigint;
  /** Hash of the previous header; at height 1, of the network file. */
  readonly previous: Hash;
  /** Root of the log tree over the hashes of all earlier headers (heights 1 to height - 1). */
  readonly historyRoot: Hash;
  /** Root of the log tree over the encoded transactions. */
  readonly transactionsRoot: Hash;
  /** Root of the state tree. */
  readonly stateRoot: Hash;
  /** Root of the log tree over the encoded results, one a transaction. */
  readonly resultsRoot: Hash;
  /** Hash of the set that decides this height, and of the one that decides the next. */
  readonly validatorsHash: Hash;
  readonly nextValidatorsHash: Hash;
  /** Hash of the previous height's certificate; zero at height 1. */
  readonly certificateHash: Hash;
  /** Root of the log tree over the encoded evidence. */
  readonly evidenceRoot: Hash;
  readonly proposer: Address;
};

/** A candidate or a decided block. */
export type Block = {
  readonly header: Header;
  readonly transactions: readonly Transaction[];
  /** The certificate of height - 1; undefined at height 1 only. */
  readonly previousCertificate: Certificate | undefined;
  readonly evidence: readonly Evidence[];
  /** Hash of the encoded header. */
  readonly hash: Hash;
};

/** What one transaction did. Ordered as the block's transactions. */
export type TransactionResult =
  | { readonly kind: "applied" }
  /** Charged, and without any effect: `code` says why, `field` what was at fault. */
  | { readonly kind: "failed"; readonly code: string; readonly field: string };
