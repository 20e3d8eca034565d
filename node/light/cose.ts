/**
 * COSE receipts of record logs (`recordlog.ts`): a COSE_Sign1 whose detached payload is the root of the log, with the
 * proof that leads there in its unprotected header. Pure.
 *
 * ```
 * 18([ h'{1: -8, 4: key id, 15: {1: origin, 2: "<stream>/<partition>/<index>", "tree-size": size}, 395: 1}',   protected
 *      {396: {-1: [h'[size, index, [sibling...]]']}, "pyralog-record": h'entry'},               unprotected
 *      null, h'signature' ])
 *
 * 1 alg, -8 EdDSA            RFC 9052, section 3.1; RFC 9053, section 2.2
 * 4 kid                      the note key's id: finds the key, and does not tell it
 * 15 claims, 1 iss, 2 sub    RFC 9597; RFC 8392, section 3.1: which log, which record
 * 395 vds, 1 RFC9162_SHA256  RFC 9942, sections 2 and 5.1
 * 396 vdp, -1 inclusion      RFC 9942, sections 2 and 5.2
 * "tree-size"                ours, a claim of RFC 8392's private use: see below
 * "pyralog-record"           ours, optional and not signed: the entry that the proof leads from
 * ```
 *
 * The root alone is signed, and one path leads to one root at several sizes (of 270 and of 271, from leaf 100): RFC 9942 leaves the size
 * of the tree open to whoever passes a receipt on. So it is a claim as well, which is signed, and the two must agree.
 *
 * One encoding: dag-cbor's shortest heads and definite lengths, keys in the order of RFC 8949, section 4.2.1. Read as strictly
 * as it is written. The path of a log of one entry is empty, where the grammar of RFC 9942 asks for at least one hash.
 */

import { readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { concatBytes, bytesEqual, EMPTY } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { signatureSizeBytes, type KeyPair, type PublicKey, verifySignature } from "../../crypto/sign/key.ts";
import { RECORD_ENCODING_SIZE_BYTES_MAX } from "../../chain/block/record.ts";
import { readHashes, writeHashes } from "../../chain/merkle/log.ts";
import { noteKeyId } from "./checkpoint.ts";
import type { Unproven } from "./errors.ts";
import { type LogInclusion, type LogReceipt, type LogReceiptCheck, type PartitionName, provenEntry } from "./recordlog.ts";

const HEADER = { algorithm: 1, keyId: 4, claims: 15, structure: 395, proofs: 396 } as const;
const CLAIM = { issuer: 1, subject: 2, size: "tree-size" } as const;
const ALGORITHM_EDDSA = -8;
const STRUCTURE_RFC9162_SHA256 = 1;
const PROOF_INCLUSION = -1;
const RECORD_LABEL = "pyralog-record";
/** Tag 18, COSE_Sign1, whose head is one byte. */
const TAG_SIGN1_BYTE = 0xd2;
const ARRAY_OF_FOUR_BYTE = 0x84;
const KEY_ID_SIZE_BYTES = 4;
const CLAIM_SIZE_BYTES_MAX = 512;
const PROTECTED_SIZE_BYTES_MAX = 2 * CLAIM_SIZE_BYTES_MAX + 64;
/** The longest path, with its heads. */
const PROOF_SIZE_BYTES_MAX = 4 * 1024;

/** What a receipt says in its signed header. */
type Claims = { readonly keyId: Uint8Array; readonly issuer: string; readonly subject: string; readonly size: bigint };

/** Whether bytes begin as a tagged COSE_Sign1. */
export function isCoseReceipt(bytes: Uint8Array): boolean {
  return bytes[0] === TAG_SIGN1_BYTE && bytes[1] === ARRAY_OF_FOUR_BYTE;
}

/** Signs a receipt of inclusion, without the entry. The log's key must be Ed25519. */
export function signCoseReceipt(
  inclusion: LogInclusion & { readonly origin: string; readonly root: Hash; readonly place: PartitionName },
  keyPair: KeyPair,
): Uint8Array {
  const { origin, root, place, index, size } = inclusion;
  const header = encodeClaims({
    keyId: operatorKeyId(origin, keyPair.publicKey),
    issuer: origin,
    subject: subjectOf(place, index),
    size,
  });
  return encodeReceipt({ header, inclusion, entry: undefined, signature: keyPair.sign(signedBytes(header, root)) });
}

/** A receipt with the entry that it is about, or without; `undefined` when it is no receipt. */
export function withEntry(bytes: Uint8Array, entry: Uint8Array | undefined): Uint8Array | undefined {
  const parsed = parseReceipt(bytes);
  return parsed.ok ? encodeReceipt({ ...parsed.value, entry }) : undefined;
}

/** Checks a COSE receipt. Never throws on hostile bytes. */
export function verifyCoseReceipt(bytes: Uint8Array, check: LogReceiptCheck): Result<LogReceipt, Unproven> {
  const parsed = parseReceipt(bytes);
  if (!parsed.ok) return parsed;
  const { header, inclusion, entry, signature } = parsed.value;
  const { keyId, issuer, subject, size } = parsed.value.claims;
  if (size !== inclusion.size) return fail({ code: "logreceipt_signature", field: "size" });
  const proven = provenEntry({ origin: issuer, ...inclusion }, entry, check);
  if (!proven.ok) return proven;
  if (subject !== subjectOf(proven.value.record, inclusion.index)) return fail({ code: "logreceipt_record", field: "subject" });
  const signers: LogReceipt["signers"][number][] = [];
  for (const given of check.keys) {
    const key = "name" in given ? given.key : given;
    // A witness signs checkpoints alone, and a key has the name of its log.
    const isOperator = !("name" in given) || (given.algorithm === "ed25519" && given.name === issuer);
    if (!isOperator || key.type !== "ed25519" || !bytesEqual(operatorKeyId(issuer, key), keyId))
      return fail({ code: "logreceipt_unsigned", field: "keys" });
    if (!verifySignature(key, signedBytes(header, proven.value.root), signature)) return fail({ code: "logreceipt_signature" });
    signers.push({ key, timeS: undefined });
  }
  return ok({ format: "cose", ...proven.value, signers });
}

function operatorKeyId(origin: string, key: PublicKey): Uint8Array {
  return noteKeyId({ name: origin, algorithm: "ed25519", key });
}

function subjectOf({ stream, partition }: PartitionName, index: bigint): string {
  return `${stream}/${partition}/${index}`;
}

/** RFC 9052, section 4.4: the Sig_structure of a COSE_Sign1, with no external data. */
function signedBytes(header: Uint8Array, root: Hash): Uint8Array {
  return new Writer().array(4).text("Signature1").bytes(header).bytes(EMPTY).bytes(root).finish();
}

function encodeClaims({ keyId, issuer, subject, size }: Claims): Uint8Array {
  const writer = new Writer().map(4).uint(HEADER.algorithm).int(ALGORITHM_EDDSA).uint(HEADER.keyId).bytes(keyId);
  writer.uint(HEADER.claims).map(3).uint(CLAIM.issuer).text(issuer).uint(CLAIM.subject).text(subject);
  writer.text(CLAIM.size).uint(size);
  return writer.uint(HEADER.structure).uint(STRUCTURE_RFC9162_SHA256).finish();
}

type Parts = {
  readonly header: Uint8Array;
  readonly inclusion: LogInclusion;
  readonly entry: Uint8Array | undefined;
  readonly signature: Uint8Array;
};

function encodeReceipt({ header, inclusion, entry, signature }: Parts): Uint8Array {
  const proof = new Writer().array(3).uint(inclusion.size).uint(inclusion.index);
  writeHashes(proof, inclusion.siblings);
  const writer = new Writer()
    .array(4)
    .bytes(header)
    .map(entry === undefined ? 1 : 2);
  writer.uint(HEADER.proofs).map(1).int(PROOF_INCLUSION).array(1).bytes(proof.finish());
  if (entry !== undefined) writer.text(RECORD_LABEL).bytes(entry);
  return concatBytes(Uint8Array.of(TAG_SIGN1_BYTE), writer.null().bytes(signature).finish());
}

function parseReceipt(bytes: Uint8Array): Result<Parts & { readonly claims: Claims }, Unproven> {
  const malformed = fail({ code: "logreceipt_malformed" } as const);
  if (!isCoseReceipt(bytes)) return malformed;
  const outer = readWith(bytes.subarray(1), (reader) => {
    reader.tuple(4);
    const header = reader.bytes(PROTECTED_SIZE_BYTES_MAX);
    const entries = reader.map(2);
    if (entries === 0 || reader.number() !== HEADER.proofs || reader.map(1) !== 1 || reader.int() !== BigInt(PROOF_INCLUSION))
      reader.refuse("encoding_type");
    if (reader.array(1) !== 1) reader.refuse("encoding_limit");
    const proof = reader.bytes(PROOF_SIZE_BYTES_MAX);
    if (entries === 2 && reader.text(RECORD_LABEL.length) !== RECORD_LABEL) reader.refuse("encoding_type");
    const entry = entries === 2 ? reader.bytes(RECORD_ENCODING_SIZE_BYTES_MAX) : undefined;
    if (!reader.skipNull()) reader.refuse("encoding_type");
    return { header, proof, entry, signature: reader.fixed(signatureSizeBytes("ed25519")) };
  });
  if (!outer.ok) return malformed;
  const { header, proof, entry, signature } = outer.value;
  const claims = parseClaims(header);
  const inclusion = readWith(proof, (reader): LogInclusion => {
    reader.tuple(3);
    return { size: reader.uint(), index: reader.uint(), siblings: readHashes(reader) };
  });
  return claims === undefined || !inclusion.ok ? malformed : ok({ header, inclusion: inclusion.value, entry, signature, claims });
}

function parseClaims(header: Uint8Array): Claims | undefined {
  const parsed = readWith(header, (reader): Claims => {
    if (reader.map(4) !== 4 || reader.number() !== HEADER.algorithm || reader.int() !== BigInt(ALGORITHM_EDDSA))
      reader.refuse("encoding_type");
    if (reader.number() !== HEADER.keyId) reader.refuse("encoding_type");
    const keyId = reader.fixed(KEY_ID_SIZE_BYTES);
    if (reader.number() !== HEADER.claims || reader.map(3) !== 3 || reader.number() !== CLAIM.issuer)
      reader.refuse("encoding_type");
    const issuer = reader.text(CLAIM_SIZE_BYTES_MAX);
    if (reader.number() !== CLAIM.subject) reader.refuse("encoding_type");
    const subject = reader.text(CLAIM_SIZE_BYTES_MAX);
    if (reader.text(CLAIM.size.length) !== CLAIM.size) reader.refuse("encoding_type");
    const size = reader.uint();
    if (reader.number() !== HEADER.structure || reader.number() !== STRUCTURE_RFC9162_SHA256) reader.refuse("encoding_type");
    return { keyId, issuer, subject, size };
  });
  return parsed.ok ? parsed.value : undefined;
}
