/**
 * Transactions: what a client signs, and how it is encoded.
 *
 * Wire form, canonical dag-cbor: `[body, authorisation]`, the body a byte string holding
 * `[version, chainId, sender, nonce, fee, expiry, [call...]]`. The id is the domain-tagged hash of the body alone,
 * which is also what is signed: nobody can change an id by signing again.
 */

import type { Hash } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import type { Authorisation } from "../../crypto/identity/authorisation.ts";
import type { PublicKey } from "../../crypto/sign/key.ts";
import type { Height } from "./height.ts";

/** One thing a transaction does. All of its calls take effect, or none. */
export type Call =
  /** Moves native tokens. */
  | { readonly kind: "transfer"; readonly to: Address; readonly amount: bigint }
  /** Makes a table; the sender owns it. */
  | { readonly kind: "tableCreate"; readonly namespace: string; readonly table: string }
  /** Writes a row: `value` is canonical dag-cbor. */
  | { readonly kind: "tablePut"; readonly namespace: string; readonly table: string; readonly key: Uint8Array; readonly value: Uint8Array }
  /** Deletes a row, which must exist. */
  | { readonly kind: "tableDelete"; readonly namespace: string; readonly table: string; readonly key: Uint8Array }
  /** Appends records to one partition of a stream, made on first use and owned by its first writer. */
  | { readonly kind: "logAppend"; readonly stream: string; readonly partition: number; readonly records: readonly Uint8Array[] }
  /** Sets a validator's power (0 removes it), at the fixed delay. Only the genesis authority may. */
  | { readonly kind: "validatorSet"; readonly key: PublicKey; readonly power: bigint };

/** What is hashed and signed. */
export type TransactionBody = {
  /** The network this is for: a transaction of one network means nothing on another. */
  readonly chainId: string;
  readonly sender: Address;
  /** How many transactions the sender has had included before this one. */
  readonly nonce: bigint;
  /** In base units of the native token, `0 <= fee < 2^64`; taken also when a call fails. */
  readonly fee: bigint;
  /** The last height at which this may be included. */
  readonly expiry: Height;
  readonly calls: readonly Call[];
};

/** A signed transaction, with the encodings that everything else hashes and stores. */
export type Transaction = {
  readonly id: Hash;
  readonly body: TransactionBody;
  readonly authorisation: Authorisation;
  /** The encoded body: what `id` commits to. */
  readonly bodyBytes: Uint8Array;
  /** The whole wire form. */
  readonly bytes: Uint8Array;
};
