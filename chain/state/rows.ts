/**
 * The values of state rows, as canonical tuples. Whoever verified a proof reads them with the `parse` functions;
 * inside the state machine a row that does not parse means that our own store gave back something else.
 */

import { CodedError } from "../../crypto/base/error.ts";
import type { Coded, Result } from "../../crypto/base/result.ts";
import { type DecodeError, type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import type { Address } from "../../crypto/identity/address.ts";
import { readAddress, readHeight } from "../block/fields.ts";
import type { Height } from "../block/height.ts";

export { parsePartitionHead } from "./partition.ts";

/** An account; one that has no row is `ACCOUNT_EMPTY`. */
export type Account = { readonly balance: bigint; readonly nonce: bigint };

/** A table. Rows may be written by its owner alone. */
export type Table = { readonly owner: Address };

/** All tokens there are, `total = genesis + minted - burned`. Below 2^64. */
export type Supply = { readonly total: bigint; readonly minted: bigint; readonly burned: bigint };

/** What an address has that was never paid. */
export const ACCOUNT_EMPTY: Account = { balance: 0n, nonce: 0n };

/** The one encoding of an account row. */
export function encodeAccount(account: Account): Uint8Array {
  return new Writer().array(2).uint(account.balance).uint(account.nonce).finish();
}

/** Parses what `encodeAccount` made. */
export function parseAccount(bytes: Uint8Array): Result<Account, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("account").tuple(2);
    return { balance: reader.field("balance").uint(), nonce: reader.field("nonce").uint() };
  });
}

/** The one encoding of a table row. */
export function encodeTable(table: Table): Uint8Array {
  return new Writer().array(1).bytes(table.owner).finish();
}

/** Parses what `encodeTable` made. */
export function parseTable(bytes: Uint8Array): Result<Table, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("table").tuple(1);
    return { owner: readAddress(reader, "owner") };
  });
}

/** The authority that may change the validator set. */
export function encodeAuthority(authority: Address): Uint8Array {
  return new Writer().bytes(authority).finish();
}

/** Parses what `encodeAuthority` made. */
export function parseAuthority(bytes: Uint8Array): Result<Address, DecodeError> {
  return readWith(bytes, (reader: Reader) => readAddress(reader, "authority"));
}

/** The height of the block that acted on misbehaviour, or that set a tombstone. */
export function encodeActedAt(height: Height): Uint8Array {
  return new Writer().array(1).uint(height).finish();
}

/** Parses what `encodeActedAt` made. */
export function parseActedAt(bytes: Uint8Array): Result<Height, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("row").tuple(1);
    return readHeight(reader, "height");
  });
}

/** What an address has earned and not claimed. */
export function encodeRewards(amount: bigint): Uint8Array {
  return new Writer().array(1).uint(amount).finish();
}

/** Parses what `encodeRewards` made. */
export function parseRewards(bytes: Uint8Array): Result<bigint, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("rewards").tuple(1);
    return reader.field("amount").uint();
  });
}

/** The one encoding of the supply. */
export function encodeSupply({ total, minted, burned }: Supply): Uint8Array {
  return new Writer().array(3).uint(total).uint(minted).uint(burned).finish();
}

/** Parses what `encodeSupply` made. */
export function parseSupply(bytes: Uint8Array): Result<Supply, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.field("supply").tuple(3);
    return { total: reader.field("total").uint(), minted: reader.field("minted").uint(), burned: reader.field("burned").uint() };
  });
}

/** The value of a row that we wrote. @throws `state_corrupt` when it does not parse: the store gave back another. */
export function ownRow<T>(parsed: Result<T, Coded>, row: string): T {
  if (!parsed.ok)
    throw new CodedError("state_corrupt", { message: `a state row does not decode`, row, reason: parsed.error.code });
  return parsed.value;
}
