/**
 * Addresses: 32 bytes that name an account or a validator, `H(address domain ‖ what authorises it)`.
 *
 * What authorises is an encoded public key (type bytes 1 to 3) or, after the byte 0x80, an encoded multisig policy:
 * the policy is inside the address, and neither kind can stand for the other.
 *
 * Text form: bech32m with the prefix `pyra` (BIP-350), 63 characters. A typing error of up to four characters is
 * always noticed.
 */

import { bech32m } from "@scure/base";
import { assert } from "../base/assert.ts";
import type { Brand } from "../base/brand.ts";
import { bytesEqual } from "../base/bytes.ts";
import { Recent } from "../base/recent.ts";
import { fail, ok, type Result } from "../base/result.ts";
import { hash, hashParts } from "../hash/hash.ts";
import { encodePublicKey, type PublicKey } from "../sign/key.ts";
import { encodePolicy, type MultisigPolicy } from "./policy.ts";

/** Thirty-two bytes that name an account or a validator. */
export type Address = Brand<Uint8Array, "Address">;

export const ADDRESS_SIZE_BYTES = 32;

/** The human-readable prefix of the text form. */
export const ADDRESS_PREFIX = "pyra";

/** `pyra`, the separator, 52 characters of payload and 6 of checksum. */
export const ADDRESS_TEXT_LENGTH = 63;

const POLICY_BYTE = 0x80;

/**
 * Why bytes or text are not an address.
 *
 * - `address_length`: not 32 bytes
 * - `address_text`: not bech32m: a wrong character or length, mixed case, or a checksum that does not match
 * - `address_prefix`: bech32m of something else
 */
export type AddressError =
  | { readonly code: "address_length"; readonly gotBytes: number }
  | { readonly code: "address_text" }
  | { readonly code: "address_prefix"; readonly got: string };

type Known = { readonly key: PublicKey; readonly address: Address };

/** Addresses of senders that came lately; their keys are Ed25519's. */
const recentAddresses = new Recent<Known>(1024, {
  isOf: ({ key }, bytes) => bytesEqual(key.bytes, bytes),
  make: (bytes) => {
    const key: PublicKey = { type: "ed25519", bytes: bytes.slice() };
    return { key, address: addressOf(hash("address", encodePublicKey(key))) };
  },
});

/** The address of a single key. Whoever asks for one key again mostly gets the same array, which nobody changes. */
export function addressOfKey(key: PublicKey): Address {
  if (key.type === "ed25519") return recentAddresses.of(key.bytes).address;
  return addressOf(hash("address", encodePublicKey(key)));
}

/** The address of a multisig policy, which must be one that `multisigPolicy` made or `readPolicy` read. */
export function addressOfPolicy(policy: MultisigPolicy): Address {
  return addressOf(hashParts("address", Uint8Array.of(POLICY_BYTE), encodePolicy(policy)));
}

/** For bytes we made: a wrong length is our bug. */
export function addressOf(bytes: Uint8Array): Address {
  assert(bytes.length === ADDRESS_SIZE_BYTES, "address is {} bytes", bytes.length);
  return bytes as Address;
}

/** For bytes from a peer or a disk. */
export function parseAddressBytes(
  bytes: Uint8Array,
): Result<Address, Extract<AddressError, { readonly code: "address_length" }>> {
  if (bytes.length !== ADDRESS_SIZE_BYTES) return fail({ code: "address_length", gotBytes: bytes.length });
  return ok(bytes as Address);
}

/** The text form, in lower case. */
export function formatAddress(address: Address): string {
  return bech32m.encode(ADDRESS_PREFIX, bech32m.toWords(address), ADDRESS_TEXT_LENGTH);
}

/** Parses the text form, all lower case or all upper case (as QR codes have it). */
export function parseAddress(text: string): Result<Address, AddressError> {
  // Some of what is refused here would be reported better after decoding; but nothing long reaches the decoder.
  if (text.length > ADDRESS_TEXT_LENGTH * 2) return fail({ code: "address_text" });
  const decoded = bech32m.decodeUnsafe(text, false);
  if (decoded === undefined) return fail({ code: "address_text" });
  if (decoded.prefix !== ADDRESS_PREFIX) return fail({ code: "address_prefix", got: decoded.prefix });
  const bytes = bech32m.fromWordsUnsafe(decoded.words);
  // Padding that is not zero bits: another text for the same bytes.
  if (bytes === undefined) return fail({ code: "address_text" });
  return parseAddressBytes(new Uint8Array(bytes));
}
