/**
 * Multisig policies: `threshold` of these keys must sign. Distinct keys are counted, so one holder cannot sign twice.
 *
 * Encoding, canonical dag-cbor: `[threshold, [key...]]`, the keys encoded with their type byte, sorted bytewise, each
 * once. The order is part of the format: the same keys and threshold always make the same address.
 */

import { assert } from "../base/assert.ts";
import { compareBytes } from "../base/bytes.ts";
import { fail, ok, type Result } from "../base/result.ts";
import { type DecodeError, readWith, type Reader } from "../codec/reader.ts";
import { Writer } from "../codec/writer.ts";
import { encodePublicKey, type PublicKey, readPublicKey } from "../sign/key.ts";

/** Sixteen: an authorisation with sixteen hybrid keys and signatures is 86 KB and 16 verifications. */
export const POLICY_KEYS_MAX = 16;

/** `1 <= threshold <= keys.length <= 16`; keys distinct and sorted by their encoding. */
export type MultisigPolicy = { readonly threshold: number; readonly keys: readonly PublicKey[] };

/** Why keys and a threshold make no policy. */
export type PolicyError =
  | { readonly code: "policy_keys"; readonly got: number; readonly max: number }
  | { readonly code: "policy_threshold"; readonly got: number; readonly keys: number }
  | { readonly code: "policy_key_repeated" };

/** Makes a policy of keys in any order. */
export function multisigPolicy(threshold: number, keys: readonly PublicKey[]): Result<MultisigPolicy, PolicyError> {
  if (keys.length < 1 || keys.length > POLICY_KEYS_MAX)
    return fail({ code: "policy_keys", got: keys.length, max: POLICY_KEYS_MAX });
  if (!Number.isInteger(threshold) || threshold < 1 || threshold > keys.length) {
    return fail({ code: "policy_threshold", got: threshold, keys: keys.length });
  }
  const sorted = keys.toSorted(compareKeys);
  if (!strictlyAscending(sorted)) return fail({ code: "policy_key_repeated" });
  return ok({ threshold, keys: sorted });
}

/** The one encoding of a policy. */
export function encodePolicy(policy: MultisigPolicy): Uint8Array {
  const writer = new Writer();
  writePolicy(writer, policy);
  return writer.finish();
}

/** Parses what `encodePolicy` made. */
export function parsePolicy(bytes: Uint8Array): Result<MultisigPolicy, DecodeError> {
  return readWith(bytes, readPolicy);
}

/** Writes a policy; an invalid one is our bug. */
export function writePolicy(writer: Writer, policy: MultisigPolicy): void {
  assert(policy.keys.length >= 1 && policy.keys.length <= POLICY_KEYS_MAX, "policy of {} keys", policy.keys.length);
  assert(
    policy.threshold >= 1 && policy.threshold <= policy.keys.length,
    "threshold {} of {}",
    policy.threshold,
    policy.keys.length,
  );
  assert(strictlyAscending(policy.keys), "policy keys are not sorted and distinct");
  writer.array(2).uint(policy.threshold).array(policy.keys.length);
  for (const key of policy.keys) writer.bytes(encodePublicKey(key));
}

/** Reads a policy: unsorted or repeated keys are `encoding_not_canonical`. */
export function readPolicy(reader: Reader): MultisigPolicy {
  reader.field("policy").tuple(2);
  const thresholdOffset = reader.offset;
  const threshold = reader.field("threshold").number(POLICY_KEYS_MAX);
  const keysOffset = reader.field("keys").offset;
  const length = reader.array(POLICY_KEYS_MAX);
  if (length < 1) reader.refuse("encoding_limit", keysOffset);
  if (threshold < 1 || threshold > length) reader.field("threshold").refuse("encoding_limit", thresholdOffset);
  const keys: PublicKey[] = [];
  reader.field("keys");
  for (let index = 0; index < length; index += 1) keys.push(readPublicKey(reader));
  if (!strictlyAscending(keys)) reader.refuse("encoding_not_canonical", keysOffset);
  return { threshold, keys };
}

function compareKeys(a: PublicKey, b: PublicKey): number {
  return compareBytes(encodePublicKey(a), encodePublicKey(b));
}

function strictlyAscending(keys: readonly PublicKey[]): boolean {
  return keys.every((key, index) => index === 0 || compareKeys(keys[index - 1] as PublicKey, key) < 0);
}
