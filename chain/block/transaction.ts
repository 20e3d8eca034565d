/**
 * Transactions: what a client signs, and how it is encoded.
 *
 * Wire form, canonical dag-cbor: `[body, authorisation]`, the body a byte string holding
 * `[version, chainId, sender, nonce, fee, expiry, [call...]]`. The id is the domain-tagged hash of the body alone,
 * which is also what is signed: nobody can change an id by signing again.
 *
 * The calls are those of `call.ts`.
 */

import { bytesEqual } from "../../crypto/base/bytes.ts";
import { assert, present } from "../../crypto/base/assert.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { type DecodeError, type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, hash } from "../../crypto/hash/hash.ts";
import type { Address } from "../../crypto/identity/address.ts";
import {
  type Authorisation,
  authoriserOf,
  authoriseWith,
  readAuthorisation,
  verifyAuthorisation,
  verifyAuthorisationAsync,
  writeAuthorisation,
} from "../../crypto/identity/authorisation.ts";
import type { KeyPair } from "../../crypto/sign/key.ts";
import { isAmount, isName, readAddress, readHeight } from "./fields.ts";
import { type Height, isHeight } from "./height.ts";
import { CALLS_MAX, FORMAT_VERSION, TRANSACTION_SIZE_BYTES_MAX } from "./limits.ts";
import { type Call, type CallFault, callFault, readCall, writeCall } from "./call.ts";
import { Slab } from "./slab.ts";

/** Where each call stands in a body. */
const CALL_FIELDS: readonly string[] = Array.from({ length: CALLS_MAX }, (_, index) => `calls[${index}]`);

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

/**
 * A signed transaction, with the encodings that everything else hashes and stores.
 *
 * One that `parseTransaction` or `assembleTransaction` gave keeps every rule of `checkTransactionBody`, and its
 * authorisation speaks for its sender; whether the signatures are valid is for `verifyTransaction` to say.
 */
export type Transaction = {
  readonly id: Hash;
  readonly body: TransactionBody;
  readonly authorisation: Authorisation;
  /** The whole wire form. */
  readonly bytes: Uint8Array;
};

/** Why a body breaks a rule that holds whatever the state; `errors.ts` says what to do about each. */
export type BodyError = { readonly code: "nonce_range" | "expiry_range" | "calls_count" | CallFault[0]; readonly field: string };

/** Why bytes are not a transaction. */
export type TransactionError =
  | DecodeError
  | BodyError
  | { readonly code: "transaction_size" | "sender_mismatch"; readonly field: string };

// Making one.

/** The one encoding of a body, which must keep the rules of `checkTransactionBody`. */
export function encodeTransactionBody(body: TransactionBody): Uint8Array {
  const writer = new Writer().array(7).uint(FORMAT_VERSION).text(body.chainId).bytes(body.sender);
  writer.uint(body.nonce).uint(body.fee).uint(body.expiry).array(body.calls.length);
  for (const call of body.calls) writeCall(writer, call);
  return writer.finish();
}

/** The id of a transaction, which is also what its senders sign. */
export function transactionId(bodyBytes: Uint8Array): Hash {
  return hash("transaction", bodyBytes);
}

/** Puts a body and the signatures over its id together. The authorisation must be that of the sender. */
export function assembleTransaction(body: TransactionBody, authorisation: Authorisation): Transaction {
  const checked = checkTransactionBody(body);
  if (!checked.ok) assert(false, "transaction body: {} at {}", checked.error.code, checked.error.field);
  assert(bytesEqual(authoriserOf(authorisation), body.sender), "the authorisation is not the sender's");
  const bodyBytes = encodeTransactionBody(body);
  const writer = new Writer().array(2).bytes(bodyBytes);
  writeAuthorisation(writer, authorisation);
  const bytes = writer.finish();
  assert(bytes.length <= TRANSACTION_SIZE_BYTES_MAX, "transaction is {} bytes", bytes.length);
  return { id: transactionId(bodyBytes), body, authorisation, bytes };
}

/** Signs for a sender that is a single key. */
export function signTransaction(body: TransactionBody, keyPair: KeyPair): Transaction {
  return assembleTransaction(body, authoriseWith(keyPair, transactionId(encodeTransactionBody(body))));
}

/** Whether the sender signed this. Never throws. */
export function verifyTransaction(transaction: Transaction): boolean {
  return verifyAuthorisation(transaction.authorisation, transaction.id);
}

/** As `verifyTransaction`, on a thread pool where the platform has one. */
export async function verifyTransactionAsync(transaction: Transaction): Promise<boolean> {
  return await verifyAuthorisationAsync(transaction.authorisation, transaction.id);
}

/** The size that a transaction will have once a key of this kind has signed it: what its fee is reckoned on. */
export function signedSizeBytes(body: TransactionBody, authorisation: Authorisation): number {
  const writer = new Writer().array(2).bytes(encodeTransactionBody(body));
  writeAuthorisation(writer, authorisation);
  return writer.finish().length;
}

/** Rows and records that a transaction's calls write, at most. */
export function operationsOf({ body }: Transaction): number {
  return body.calls.reduce((count, call) => {
    if ("records" in call) return count + call.records.length;
    return count + (call.kind === "streamCreate" ? call.partitions : 1);
  }, 0);
}

// Checking one.

/** Of transactions that were parsed: thousands wait at once. */
const ids = new Slab();

/**
 * Parses the wire form: every rule that does not depend on the state is checked here, and nothing about signatures.
 * Byte strings are views on `bytes`, which must not change afterwards.
 */
export function parseTransaction(bytes: Uint8Array): Result<Transaction, TransactionError> {
  if (bytes.length > TRANSACTION_SIZE_BYTES_MAX) return fail({ code: "transaction_size", field: "transaction" });
  const outer = readWith(bytes, (reader) => {
    reader.field("transaction").tuple(2);
    return { bodyBytes: reader.field("body").bytes(TRANSACTION_SIZE_BYTES_MAX), authorisation: readAuthorisation(reader) };
  });
  if (!outer.ok) return outer;
  const { bodyBytes, authorisation } = outer.value;
  const body = parseTransactionBody(bodyBytes);
  if (!body.ok) return body;
  const { chainId, sender, nonce, fee, expiry, calls } = body.value;
  const authoriser = authoriserOf(authorisation);
  if (!bytesEqual(authoriser, sender)) return fail({ code: "sender_mismatch", field: "authorisation" });
  // One array for all that a sender has waiting, where it can be.
  const owned = { chainId, sender: authoriser, nonce, fee, expiry, calls };
  return ok({ id: ids.copy(transactionId(bodyBytes)) as Hash, body: owned, authorisation, bytes });
}

/** The id of what may be a transaction, for a third of what parsing it costs; `undefined` when it is none. */
export function peekTransactionId(bytes: Uint8Array): Hash | undefined {
  const outer = readWith(bytes, (reader) => {
    reader.tuple(2);
    const bodyBytes = reader.bytes(TRANSACTION_SIZE_BYTES_MAX);
    reader.raw();
    return bodyBytes;
  });
  return outer.ok ? transactionId(outer.value) : undefined;
}

/** Parses what `encodeTransactionBody` made: what a signer shows before it signs. */
export function parseTransactionBody(bytes: Uint8Array): Result<TransactionBody, DecodeError | BodyError> {
  const read = readWith(bytes, readBody);
  if (!read.ok) return read;
  const checked = checkTransactionBody(read.value);
  return checked.ok ? read : checked;
}

/** Checks every rule of a body that does not depend on the state, and names the first field that breaks one. */
export function checkTransactionBody(body: TransactionBody): Result<void, BodyError> {
  if (!isName(body.chainId)) return fail({ code: "name_invalid", field: "chainId" });
  if (!isAmount(body.nonce)) return fail({ code: "nonce_range", field: "nonce" });
  if (!isAmount(body.fee)) return fail({ code: "amount_range", field: "fee" });
  if (!isHeight(body.expiry)) return fail({ code: "expiry_range", field: "expiry" });
  if (body.calls.length < 1 || body.calls.length > CALLS_MAX) return fail({ code: "calls_count", field: "calls" });
  for (let index = 0; index < body.calls.length; index += 1) {
    const fault = callFault(present(body.calls[index], "call"));
    if (fault !== undefined) return fail({ code: fault[0], field: `calls[${index}].${fault[1]}` });
  }
  return ok(undefined);
}

/** The first rule that a call breaks, and the field in it. */
// Encoding.

/**
 * Types and counts alone; sizes and names are for `checkTransactionBody`, which can name the call at fault. Nothing
 * read here is longer than the transaction, and that is bounded.
 */
function readBody(reader: Reader): TransactionBody {
  reader.field("body").tuple(7);
  const offset = reader.field("version").offset;
  if (reader.number() !== FORMAT_VERSION) reader.refuse("encoding_limit", offset);
  const chainId = reader.field("chainId").text(TRANSACTION_SIZE_BYTES_MAX);
  const sender = readAddress(reader, "sender");
  const nonce = reader.field("nonce").uint();
  const fee = reader.field("fee").uint();
  const expiry = readHeight(reader, "expiry");
  const count = reader.field("calls").array(CALLS_MAX);
  // Mostly there is one, and a list that grows is given room for sixteen more.
  const calls: Call[] = count === 0 ? [] : [readCall(reader, CALL_FIELDS[0] as string)];
  for (let index = 1; index < count; index += 1) calls.push(readCall(reader, CALL_FIELDS[index] as string));
  return { chainId, sender, nonce, fee, expiry, calls };
}
