/**
 * Signing keys of every type behind one face: encode, parse, sign, verify.
 *
 * Encoding: one type byte (1 Ed25519, 2 ML-DSA-65, 3 hybrid), then the raw key; a hybrid key is the Ed25519 key and
 * then the ML-DSA-65 key, its signature likewise. Every part has a fixed length.
 *
 * A hybrid key signs `H(hybrid domain ‖ raw hybrid public key ‖ message)` with both halves. The public key is in
 * there so that a half cannot be taken out of one hybrid key and used in another.
 *
 * Messages are already domain-tagged by whoever asks for the signature, and name the network they are for.
 */

import { assert, present } from "../base/assert.ts";
import { bytesEqual, concatBytes } from "../base/bytes.ts";
import { Recent } from "../base/recent.ts";
import { fail, ok, type Result } from "../base/result.ts";
import { signatures } from "../backend/backends.ts";
import { SEED_SIZE_BYTES } from "../backend/random.ts";
import {
  PUBLIC_KEY_SIZES_BYTES,
  SIGNATURE_SIZES_BYTES,
  type SignatureAlgorithm,
  type SignatureBackend,
  type SignatureClaim,
  type Signer,
  VERIFY_BATCH_COUNT_MAX,
} from "../backend/signatures.ts";
import type { Reader } from "../codec/reader.ts";
import type { Writer } from "../codec/writer.ts";
import { hashParts } from "../hash/hash.ts";
import { hybridSeeds } from "./seed.ts";
import { KEY_TYPE_BYTES, type KeyType, keyTypeOf, publicKeySizeBytes, signatureSizeBytes } from "./type.ts";

export { generateSeed, SEED_SIZE_BYTES } from "../backend/random.ts";
export { ed25519SeedOf, noteSeedOf } from "./seed.ts";
export { KEY_TYPES, type KeyType, publicKeySizeBytes, signatureSizeBytes } from "./type.ts";

/** A public key; `bytes` is raw, without the type byte: 32, 1,952 or 32 + 1,952 bytes. */
export type PublicKey = { readonly type: KeyType; readonly bytes: Uint8Array };

/** The longest encoded key and signature, for the bounds of codecs. */
export const PUBLIC_KEY_SIZE_BYTES_MAX: number = 1 + publicKeySizeBytes("hybrid");
export const SIGNATURE_SIZE_BYTES_MAX: number = signatureSizeBytes("hybrid");

/** Why bytes are not a key. */
export type KeyError =
  | { readonly code: "key_type"; readonly got: number | undefined }
  | { readonly code: "key_length"; readonly gotBytes: number };

/** The one encoding of a key: its type byte, then its raw bytes. */
export function encodePublicKey(key: PublicKey): Uint8Array {
  assert(key.bytes.length === publicKeySizeBytes(key.type), "{} key is {} bytes", key.type, key.bytes.length);
  return concatBytes(Uint8Array.of(KEY_TYPE_BYTES[key.type]), key.bytes);
}

/**
 * Parses an encoded key and copies it. Only type and length are checked: a key that is no point of the curve parses,
 * and verifies nothing.
 */
export function parsePublicKey(bytes: Uint8Array): Result<PublicKey, KeyError> {
  const type = keyTypeOf(bytes[0]);
  if (type === undefined) return fail({ code: "key_type", got: bytes[0] });
  if (bytes.length !== 1 + publicKeySizeBytes(type)) return fail({ code: "key_length", gotBytes: bytes.length });
  return ok({ type, bytes: bytes.slice(1) });
}

/** Writes a key as a byte string. */
export function writePublicKey(writer: Writer, key: PublicKey): void {
  writer.bytes(encodePublicKey(key));
}

/** Ed25519 keys that were read lately, by their raw bytes: the same senders come again and again. */
const recentKeys = new Recent<PublicKey>(1024, {
  isOf: (key, bytes, from, to) => {
    for (let index = from; index < to; index += 1) if (key.bytes[index - from] !== bytes[index]) return false;
    return true;
  },
  make: (bytes, from, to) => ({ type: "ed25519", bytes: bytes.slice(from, to) }),
});

/** Reads a key that `writePublicKey` wrote. Whoever reads one again mostly gets the same object, which nobody changes. */
export function readPublicKey(reader: Reader): PublicKey {
  const offset = reader.offset;
  const bytes = reader.bytes(PUBLIC_KEY_SIZE_BYTES_MAX);
  if (bytes[0] === KEY_TYPE_BYTES.ed25519 && bytes.length === 1 + publicKeySizeBytes("ed25519")) return recentKeys.of(bytes, 1);
  const parsed = parsePublicKey(bytes);
  if (!parsed.ok) return reader.refuse(parsed.error.code === "key_type" ? "encoding_type" : "encoding_limit", offset);
  return parsed.value;
}

/** Whether both are the same key. */
export function publicKeysEqual(a: PublicKey, b: PublicKey): boolean {
  return a.type === b.type && bytesEqual(a.bytes, b.bytes);
}

/** A key that can sign. Holds its seed for as long as it lives. */
export interface KeyPair {
  readonly publicKey: PublicKey;
  /** Of `signatureSizeBytes(publicKey.type)` bytes. */
  sign(message: Uint8Array): Uint8Array;
}

/** How a key pair signs. */
export type KeyPairOptions = {
  /**
   * Sign without fresh randomness, so that one seed replays a whole network. ML-DSA otherwise signs hedged, as
   * FIPS 204 recommends against fault attacks, and six times faster. Ed25519 is deterministic in any case.
   */
  readonly deterministic?: boolean;
  /** The implementation; by default the fastest one here. */
  readonly backend?: SignatureBackend;
};

/** The key pair of a 32-byte seed: the same seed and type always give the same public key. */
export function keyPairFromSeed(type: KeyType, seed: Uint8Array, options: KeyPairOptions = {}): KeyPair {
  assert(seed.length === SEED_SIZE_BYTES, "seed is {} bytes", seed.length);
  const { deterministic = false, backend = signatures } = options;
  const signWith = (signer: Signer, message: Uint8Array): Uint8Array =>
    deterministic ? signer.signDeterministic(message) : signer.sign(message);

  if (type !== "hybrid") {
    const signer = backend.signer(type, seed);
    return { publicKey: { type, bytes: signer.publicKey }, sign: (message) => signWith(signer, message) };
  }
  const seeds = hybridSeeds(seed);
  const classical = backend.signer("ed25519", seeds.ed25519);
  const quantum = backend.signer("ml-dsa-65", seeds.mlDsa);
  const publicKey: PublicKey = { type, bytes: concatBytes(classical.publicKey, quantum.publicKey) };
  return {
    publicKey,
    sign: (message) => {
      const tagged = hybridMessage(publicKey, message);
      return concatBytes(signWith(classical, tagged), signWith(quantum, tagged));
    },
  };
}

/** Whether `signature` is `key`'s over `message`. Never throws. */
export function verifySignature(
  key: PublicKey,
  message: Uint8Array,
  signature: Uint8Array,
  backend: SignatureBackend = signatures,
): boolean {
  if (!sizesFit(key, signature)) return false;
  if (key.type !== "hybrid") return backend.verify(key.type, key.bytes, message, signature);
  const { tagged, classical, quantum } = hybridHalves(key, message, signature);
  // ML-DSA first: refusing it is cheap, whereas refusing Ed25519 takes the slow ZIP215 verifier.
  return (
    backend.verify("ml-dsa-65", quantum.key, tagged, quantum.signature) &&
    backend.verify("ed25519", classical.key, tagged, classical.signature)
  );
}

/** Checks one signature, now or later: `verifySignatureAsync`, or what stands for it in a simulation. */
export type SignatureVerifier = (key: PublicKey, message: Uint8Array, signature: Uint8Array) => Promise<boolean>;

/**
 * As `verifySignature`, on a thread pool where the platform has one and many are asked about at once. Without the Rust addon an Ed25519 signature that
 * `node:crypto` refuses still costs about a millisecond of the calling thread: whoever sends such signatures must pay with
 * its score.
 */
export async function verifySignatureAsync(
  key: PublicKey,
  message: Uint8Array,
  signature: Uint8Array,
  backend: SignatureBackend = signatures,
): Promise<boolean> {
  if (!sizesFit(key, signature)) return false;
  if (key.type !== "hybrid") return backend.verifyAsync(key.type, key.bytes, message, signature);
  const { tagged, classical, quantum } = hybridHalves(key, message, signature);
  // Copied, because the bytes may change while the first half is being verified.
  const classicalSignature = classical.signature.slice();
  return (
    (await backend.verifyAsync("ml-dsa-65", quantum.key, tagged, quantum.signature)) &&
    (await backend.verifyAsync("ed25519", classical.key, tagged, classicalSignature))
  );
}

/** A signature, and what it is said to be over. */
export type SignedMessage = { readonly key: PublicKey; readonly message: Uint8Array; readonly signature: Uint8Array };

/** A verdict for each, in order, now or later: `verifySignatures`, or what stands for it in a simulation. */
export type SignaturesVerifier = (signed: readonly SignedMessage[]) => Promise<readonly boolean[]>;

/**
 * The verdicts of `verifySignature` on many signatures, in order, away from the calling thread where the platform can. With
 * the Rust addon Ed25519 costs less than half of what it costs alone, also among wrong ones.
 *
 * @param signed - at most 65,536; their bytes must stay as they are until the verdicts are there
 */
export async function verifySignatures(
  signed: readonly SignedMessage[],
  backend: SignatureBackend = signatures,
): Promise<boolean[]> {
  assert(signed.length <= VERIFY_BATCH_COUNT_MAX, "{} signatures", signed.length);
  const verdicts = signed.map(({ key, signature }) => sizesFit(key, signature));
  // As in `verifySignature`: first ML-DSA, and then of what is left Ed25519.
  for (const algorithm of ["ml-dsa-65", "ed25519"] as const) {
    const asked: number[] = [];
    const claims: SignatureClaim[] = [];
    for (let index = 0; index < signed.length; index += 1) {
      const claim = verdicts[index] === true ? claimOf(algorithm, present(signed[index], "signature")) : undefined;
      if (claim === undefined) continue;
      asked.push(index);
      claims.push(claim);
    }
    if (claims.length === 0) continue;
    const valid = await backend.verifyBatch(algorithm, claims);
    for (let at = 0; at < asked.length; at += 1) verdicts[present(asked[at], "place")] = valid[at] === true;
  }
  return verdicts;
}

/** What a signature claims under one algorithm; `undefined` when its key has nothing to do with that. */
function claimOf(algorithm: SignatureAlgorithm, { key, message, signature }: SignedMessage): SignatureClaim | undefined {
  if (key.type === algorithm) return { publicKey: key.bytes, message, signature };
  if (key.type !== "hybrid") return undefined;
  const { tagged, classical, quantum } = hybridHalves(key, message, signature);
  const half = algorithm === "ed25519" ? classical : quantum;
  return { publicKey: half.key, message: tagged, signature: half.signature };
}

function sizesFit(key: PublicKey, signature: Uint8Array): boolean {
  return key.bytes.length === publicKeySizeBytes(key.type) && signature.length === signatureSizeBytes(key.type);
}

/** What both halves of a hybrid key sign. */
function hybridMessage(key: PublicKey, message: Uint8Array): Uint8Array {
  return hashParts("hybrid", key.bytes, message);
}

type Half = { readonly key: Uint8Array; readonly signature: Uint8Array };

function hybridHalves(
  key: PublicKey,
  message: Uint8Array,
  signature: Uint8Array,
): { readonly tagged: Uint8Array; readonly classical: Half; readonly quantum: Half } {
  const keySplit = PUBLIC_KEY_SIZES_BYTES.ed25519;
  const signatureSplit = SIGNATURE_SIZES_BYTES.ed25519;
  return {
    tagged: hybridMessage(key, message),
    classical: { key: key.bytes.subarray(0, keySplit), signature: signature.subarray(0, signatureSplit) },
    quantum: { key: key.bytes.subarray(keySplit), signature: signature.subarray(signatureSplit) },
  };
}
