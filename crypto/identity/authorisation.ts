/**
 * Authorisations: what stands beside a message to prove that its address agreed to it.
 *
 * Encoding, canonical dag-cbor: `[1, key, signature]`, or `[2, policy, [[key index, signature]...]]` with the indexes
 * strictly ascending and exactly `threshold` of them, so that nobody can lengthen a valid authorisation.
 *
 * The message must name the address that it is authorised by: one key may stand alone and in several policies.
 */

import { assert, unreachable } from "../base/assert.ts";
import { fail, ok, type Result } from "../base/result.ts";
import { type DecodeError, readWith, type Reader } from "../codec/reader.ts";
import { Writer } from "../codec/writer.ts";
import {
  type KeyPair,
  type PublicKey,
  publicKeysEqual,
  readPublicKey,
  signatureSizeBytes,
  type SignaturesVerifier,
  type SignatureVerifier,
  type SignedMessage,
  verifySignature,
  verifySignatureAsync,
  verifySignatures,
  writePublicKey,
} from "../sign/key.ts";
import { type Address, addressOfKey, addressOfPolicy } from "./address.ts";
import { type MultisigPolicy, POLICY_KEYS_MAX, readPolicy, writePolicy } from "./policy.ts";

export { type MultisigPolicy, multisigPolicy } from "./policy.ts";

/** One key's part in a multisig authorisation: `keyIndex` counts from 0 in the policy's keys. */
export type IndexedSignature = { readonly keyIndex: number; readonly signature: Uint8Array };

/** Proof that an address agreed to a message. */
export type Authorisation =
  | { readonly kind: "single"; readonly key: PublicKey; readonly signature: Uint8Array }
  | { readonly kind: "multisig"; readonly policy: MultisigPolicy; readonly signatures: readonly IndexedSignature[] };

const KIND = { single: 1, multisig: 2 } as const;

/** Signs `message` for the address of this one key. */
export function authoriseWith(keyPair: KeyPair, message: Uint8Array): Authorisation {
  return { kind: "single", key: keyPair.publicKey, signature: keyPair.sign(message) };
}

/** Why signatures do not add up to an authorisation. */
export type GatherError =
  /** None of the policy's keys made this signature, or made it for another message. Drop it and ask again. */
  | { readonly code: "multisig_signature"; readonly index: number }
  /** Fewer distinct keys signed than the policy wants. Ask more holders. */
  | { readonly code: "multisig_threshold"; readonly got: number; readonly threshold: number };

/**
 * Puts signatures that the holders made apart together into one authorisation.
 *
 * Every one is verified; two by the same key count once; those beyond the threshold are left out.
 */
export function gatherAuthorisation(
  policy: MultisigPolicy,
  message: Uint8Array,
  gathered: readonly { readonly key: PublicKey; readonly signature: Uint8Array }[],
): Result<Authorisation, GatherError> {
  const byIndex = new Map<number, Uint8Array>();
  for (const [index, { key, signature }] of gathered.entries()) {
    const keyIndex = policy.keys.findIndex((candidate) => publicKeysEqual(candidate, key));
    if (keyIndex < 0 || !verifySignature(key, message, signature)) return fail({ code: "multisig_signature", index });
    byIndex.set(keyIndex, signature);
  }
  if (byIndex.size < policy.threshold)
    return fail({ code: "multisig_threshold", got: byIndex.size, threshold: policy.threshold });
  const signatures = [...byIndex]
    .map(([keyIndex, signature]) => ({ keyIndex, signature }))
    .sort((a, b) => a.keyIndex - b.keyIndex);
  return ok({ kind: "multisig", policy, signatures: signatures.slice(0, policy.threshold) });
}

/** The address that this authorisation speaks for. Says nothing about whether the signatures are valid. */
export function authoriserOf(authorisation: Authorisation): Address {
  return authorisation.kind === "single" ? addressOfKey(authorisation.key) : addressOfPolicy(authorisation.policy);
}

/** Whether every signature is valid over `message` and there are exactly as many as it takes. Never throws. */
export function verifyAuthorisation(authorisation: Authorisation, message: Uint8Array): boolean {
  const checks = checksOf(authorisation);
  return checks !== undefined && checks.every(({ key, signature }) => verifySignature(key, message, signature));
}

/** As `verifyAuthorisation`, on a thread pool where the platform has one. */
export async function verifyAuthorisationAsync(
  authorisation: Authorisation,
  message: Uint8Array,
  verify: SignatureVerifier = verifySignatureAsync,
): Promise<boolean> {
  const checks = checksOf(authorisation);
  if (checks === undefined) return false;
  const valid = await Promise.all(checks.map(({ key, signature }) => verify(key, message, signature)));
  return valid.every(Boolean);
}

/** An authorisation, and what it is said to be over. */
export type Authorised = { readonly authorisation: Authorisation; readonly message: Uint8Array };

/** The verdicts of `verifyAuthorisation` on many, in order, for less than one by one. Their bytes must stay until then. */
export async function verifyAuthorisations(
  asked: readonly Authorised[],
  verify: SignaturesVerifier = verifySignatures,
): Promise<readonly boolean[]> {
  const signed: SignedMessage[] = [];
  // Where the signatures of each end; of one that breaks its own rules none is asked.
  const ends = asked.map(({ authorisation, message }) => {
    if (authorisation.kind === "single")
      return signed.push({ key: authorisation.key, message, signature: authorisation.signature });
    const checks = checksOf(authorisation);
    for (const { key, signature } of checks ?? []) signed.push({ key, message, signature });
    return checks === undefined ? undefined : signed.length;
  });
  const valid = await verify(signed);
  let next = 0;
  return ends.map((end) => {
    if (end === undefined) return false;
    let isValid = true;
    for (; next < end; next += 1) isValid &&= valid[next] === true;
    return isValid;
  });
}

/** How many signatures checking this takes: what admission and gas count. */
export function signatureCount(authorisation: Authorisation): number {
  return authorisation.kind === "single" ? 1 : authorisation.signatures.length;
}

/** Writes an authorisation; one that breaks its own rules is our bug. */
export function writeAuthorisation(writer: Writer, authorisation: Authorisation): void {
  switch (authorisation.kind) {
    case "single":
      writer.array(3).uint(KIND.single);
      writePublicKey(writer, authorisation.key);
      writer.bytes(authorisation.signature);
      return;
    case "multisig": {
      assert(checksOf(authorisation) !== undefined, "multisig signatures are not as the policy wants them");
      writer.array(3).uint(KIND.multisig);
      writePolicy(writer, authorisation.policy);
      writer.array(authorisation.signatures.length);
      for (const { keyIndex, signature } of authorisation.signatures) writer.array(2).uint(keyIndex).bytes(signature);
      return;
    }
    default:
      unreachable(authorisation);
  }
}

/**
 * Reads an authorisation. Signatures of a wrong size, in a wrong order or number are refused here already. They are views on
 * what is read.
 */
export function readAuthorisation(reader: Reader): Authorisation {
  reader.field("authorisation").tuple(3);
  const kindOffset = reader.offset;
  const kind = reader.field("authorisation.kind").number();
  if (kind === KIND.single) {
    const key = readPublicKey(reader.field("authorisation.key"));
    return { kind: "single", key, signature: readSignature(reader.field("authorisation.signature"), key) };
  }
  if (kind !== KIND.multisig) reader.refuse("encoding_limit", kindOffset);
  const policy = readPolicy(reader);
  const signaturesOffset = reader.field("authorisation.signatures").offset;
  const length = reader.array(POLICY_KEYS_MAX);
  if (length !== policy.threshold) reader.refuse("encoding_limit", signaturesOffset);
  const signatures: IndexedSignature[] = [];
  for (let index = 0; index < length; index += 1) {
    reader.tuple(2);
    const indexOffset = reader.offset;
    const keyIndex = reader.number();
    const key = policy.keys[keyIndex];
    if (key === undefined) return reader.refuse("encoding_limit", indexOffset);
    if (keyIndex <= (signatures.at(-1)?.keyIndex ?? -1)) reader.refuse("encoding_not_canonical", indexOffset);
    signatures.push({ keyIndex, signature: readSignature(reader, key) });
  }
  return { kind: "multisig", policy, signatures };
}

/** The one encoding of an authorisation on its own. */
export function encodeAuthorisation(authorisation: Authorisation): Uint8Array {
  const writer = new Writer();
  writeAuthorisation(writer, authorisation);
  return writer.finish();
}

/** Parses what `encodeAuthorisation` made. */
export function parseAuthorisation(bytes: Uint8Array): Result<Authorisation, DecodeError> {
  return readWith(bytes, readAuthorisation);
}

function readSignature(reader: Reader, key: PublicKey): Uint8Array {
  return reader.fixed(signatureSizeBytes(key.type));
}

/** Which key must have made which signature, or `undefined` when number or order are not what the policy wants. */
function checksOf(
  authorisation: Authorisation,
): readonly { readonly key: PublicKey; readonly signature: Uint8Array }[] | undefined {
  if (authorisation.kind === "single") return [authorisation];
  const { policy, signatures } = authorisation;
  if (signatures.length !== policy.threshold) return undefined;
  const checks: { key: PublicKey; signature: Uint8Array }[] = [];
  let previous = -1;
  for (const { keyIndex, signature } of signatures) {
    const key = policy.keys[keyIndex];
    if (key === undefined || keyIndex <= previous) return undefined;
    previous = keyIndex;
    checks.push({ key, signature });
  }
  return checks;
}
