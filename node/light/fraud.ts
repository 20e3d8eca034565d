/**
 * Fraud proofs: two certified headers of one chain that cannot both be, with what is needed to convict their signers
 * offline, from nothing but the network file.
 *
 * Wire form, canonical dag-cbor tuples:
 *
 * ```
 * file    ["pyralog-fraud", version, chainId, networkHash, [change...], first, second, validators | null]
 * change  [header, certificate, validators]     each set to the next, from the genesis one
 * first   [header, certificate]                 by the set that the changes lead to
 * second  [header, certificate]                 by the same set, or by `validators`, which the header itself names
 * ```
 *
 * | the two headers | offence | who is convicted |
 * | --- | --- | --- |
 * | one height, one set, one round | `doubleVote` | whoever signed both |
 * | one height, one set, two rounds | `amnesia` | nobody alone: honest validators may change their mind with a proof; of those who signed both, more than 1/3 of the power had none |
 * | one height, another set | `lunatic` | to whoever has followed the first, those of the believed sets who signed the second: its set is none that the chain names. To anybody else they are suspects: a set that has long left office can certify a first header of any height, against which those who stayed would stand |
 * | two heights, the second on the first | `invalid` | whoever signed the second: it is not later, or not decided by the set that the first names |
 *
 * Source: the attacks of the Tendermint light client (cometbft, spec/light-client/attacks): equivocation, amnesia, lunatic.
 */

import { bytesEqual } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, HASH_SIZE_BYTES, hash, hashOf } from "../../crypto/hash/hash.ts";
import { type Address } from "../../crypto/identity/address.ts";
import { type Header, headerHash, parseHeader } from "../../chain/block/block.ts";
import { doubleVoteOf, type Evidence } from "../../chain/block/evidence.ts";
import { NAME_PATTERN, NAME_SIZE_BYTES_MAX } from "../../chain/block/limits.ts";
import { type NetworkFile, networkHash } from "../../chain/block/genesis.ts";
import { quorumRuleOf } from "../../chain/block/protocol.ts";
import { findValidator, parseMembers, type ValidatorSet } from "../../chain/block/validators.ts";
import { parseCertificate, type QuorumCertificate, verifyCertificateAsync } from "../../chain/block/vote.ts";
import type { Anchor } from "./anchor.ts";
import type { Unproven } from "./errors.ts";
import { CHANGES_MAX, PROOF_FILE_SIZE_BYTES_MAX } from "./prooffile.ts";
import { checkSuccession } from "./rules.ts";
import { factsOf } from "./trust.ts";
import { LightVerifier, type SetChange } from "./verifier.ts";

const MAGIC = "pyralog-fraud";
const VERSION = 1;

/** No fraud proof is larger. */
export const FRAUD_FILE_SIZE_BYTES_MAX: number = PROOF_FILE_SIZE_BYTES_MAX;

/** A fraud proof, unchecked. */
export type FraudFile = {
  readonly chainId: string;
  readonly networkHash: Hash;
  readonly changes: readonly SetChange[];
  readonly first: Anchor;
  readonly second: Anchor;
  /** The set that decided the second header, when it is not the one that decided the first. */
  readonly validators: Uint8Array | undefined;
};

/** How the two headers contradict each other; see the table above. */
export type Offence = "doubleVote" | "amnesia" | "lunatic" | "invalid";

/** Somebody whose own signatures say so. */
export type Convict = {
  readonly validator: Address;
  /** In the set that decides the first header; 0 when it is not in it any more. */
  readonly power: bigint;
  /** What the chain itself punishes; for `doubleVote` alone. */
  readonly evidence: Evidence | undefined;
};

/** What a fraud proof proves. */
export type ProvenFraud = {
  readonly offence: Offence;
  readonly height: bigint;
  readonly first: Hash;
  readonly second: Hash;
  readonly convicts: readonly Convict[];
  /** Whom the file alone does not convict: who signed both under `amnesia`, who signed the second under `lunatic`. */
  readonly suspects: readonly Address[];
  /** Of the set that decides the first header. */
  readonly totalPower: bigint;
  /** What was checked, in words. */
  readonly how: readonly string[];
};

/** Whether bytes claim to be a fraud proof, and not a proof file. */
export function isFraudFile(bytes: Uint8Array): boolean {
  const head = new Writer().text(MAGIC).finish();
  return bytesEqual(bytes.subarray(1, 1 + head.length), head);
}

/** The one encoding of a fraud proof. */
export function encodeFraudFile(file: FraudFile): Uint8Array {
  const writer = new Writer().array(8).text(MAGIC).uint(VERSION).text(file.chainId).bytes(file.networkHash);
  writer.array(file.changes.length);
  for (const { anchor, validators } of file.changes)
    writer.array(3).bytes(anchor.header).bytes(anchor.certificate).bytes(validators);
  for (const { header, certificate } of [file.first, file.second]) writer.array(2).bytes(header).bytes(certificate);
  if (file.validators === undefined) writer.null();
  else writer.bytes(file.validators);
  return writer.finish();
}

/** Decodes a fraud proof strictly. Byte strings are views on `bytes`. */
export function parseFraudFile(bytes: Uint8Array): Result<FraudFile, Unproven> {
  if (bytes.length > FRAUD_FILE_SIZE_BYTES_MAX) return fail({ code: "file_size" });
  let isKnown = true;
  const parsed = readWith(bytes, (reader): FraudFile => {
    reader.tuple(8);
    const offset = reader.offset;
    if (reader.field("magic").text(MAGIC.length) !== MAGIC) reader.refuse("encoding_type", offset);
    isKnown = reader.field("version").number() === VERSION;
    if (!isKnown) reader.refuse("encoding_limit");
    const chainOffset = reader.field("chainId").offset;
    const chainId = reader.text(NAME_SIZE_BYTES_MAX);
    if (!NAME_PATTERN.test(chainId)) reader.refuse("encoding_limit", chainOffset);
    const named = hashOf(reader.field("networkHash").fixed(HASH_SIZE_BYTES));
    const count = reader.field("changes").array(CHANGES_MAX);
    const changes: SetChange[] = [];
    for (let index = 0; index < count; index += 1) {
      reader.field("changes").tuple(3);
      changes.push({ anchor: readParts(reader, bytes.length), validators: reader.bytes(bytes.length) });
    }
    const [first, second] = ["first", "second"].map((field) => {
      reader.field(field).tuple(2);
      return readParts(reader, bytes.length);
    }) as [Anchor, Anchor];
    const validators = reader.field("validators").skipNull() ? undefined : reader.bytes(bytes.length);
    return { chainId, networkHash: named, changes, first, second, validators };
  });
  if (!isKnown) return fail({ code: "file_version" });
  return parsed.ok
    ? parsed
    : fail({ code: "file_malformed", ...(parsed.error.field === undefined ? {} : { field: parsed.error.field }) });
}

function readParts(reader: Reader, sizeBytes: number): Anchor {
  return { header: reader.bytes(sizeBytes), certificate: reader.bytes(sizeBytes) };
}

/**
 * Checks a fraud proof against a network file, offline.
 *
 * @param ours - the header that the caller's own chain, which it has followed, has at the height of the first
 * @returns `fraud_none` when the two headers do not contradict each other, or nobody is to blame for it; `finality_unknown` under
 * proof of work, where nobody signs; or what of the file does not hold
 */
export async function verifyFraudFile(
  bytes: Uint8Array,
  network: NetworkFile,
  ours?: Hash,
): Promise<Result<ProvenFraud, Unproven>> {
  const parsed = parseFraudFile(bytes);
  if (!parsed.ok) return parsed;
  const file = parsed.value;
  if (network.engine.name === "pow") return fail({ code: "finality_unknown" });
  if (file.chainId !== network.chainId || !bytesEqual(file.networkHash, networkHash(network)))
    return fail({ code: "network_mismatch" });
  const verifier = LightVerifier.fromGenesis(network);
  for (const [index, change] of file.changes.entries()) {
    const accepted = await verifier.acceptChange(change);
    if (!accepted.ok) return fail({ ...accepted.error, field: `changes[${index}].${accepted.error.field ?? "anchor"}` });
  }
  const accepted = await verifier.acceptHeader(file.first);
  if (!accepted.ok) return fail({ ...accepted.error, field: `first.${accepted.error.field ?? "anchor"}` });
  const first: Side = { header: accepted.value.header, hash: accepted.value.hash, certificate: quorumOf(file.first) };
  const header = parseHeader(file.second.header);
  if (!header.ok) return fail({ code: "answer_malformed", field: "second.header" });
  if (header.value.chainId !== network.chainId) return fail({ code: "header_chain", field: "second.header" });
  const second: Side = { header: header.value, hash: headerHash(header.value), certificate: quorumOf(file.second) };
  const certified = await checkSecond(second, file, verifier, network);
  if (!certified.ok) return certified;
  const isOurs = ours !== undefined && bytesEqual(ours, first.hash);
  const own = verifier.deciding(first.header.height);
  return judge(first, second, { own, all: verifier.sets, changes: file.changes.length, isOurs });
}

type Side = { readonly header: Header; readonly hash: Hash; readonly certificate: QuorumCertificate | undefined };

function quorumOf({ certificate }: Anchor): QuorumCertificate | undefined {
  const parsed = parseCertificate(certificate);
  return parsed.ok && parsed.value.kind === "quorum" ? parsed.value : undefined;
}

/** That the set which the second header names certified it: the one of its height, or the one that comes along. */
async function checkSecond(
  { header, hash: hashed, certificate }: Side,
  file: FraudFile,
  verifier: LightVerifier,
  network: NetworkFile,
): Promise<Result<void, Unproven>> {
  const { height } = header;
  const refuse = (error: Unproven): Result<never, Unproven> =>
    fail({ ...error, height, field: `second.${error.field ?? "anchor"}` });
  if (certificate === undefined) return refuse({ code: "certificate_kind" });
  if (certificate.height !== height || !bytesEqual(certificate.blockHash, hashed)) return refuse({ code: "certificate_block" });
  let set: ValidatorSet | undefined;
  // Nobody decides genesis, and whoever wrote the file chose the height.
  if (file.validators === undefined) set = height < 1n ? undefined : verifier.deciding(height);
  else {
    const members = parseMembers(file.validators);
    if (!members.ok) return refuse({ code: "answer_malformed", field: "validators" });
    if (!bytesEqual(hash("validators", file.validators), header.validatorsHash)) return refuse({ code: "validators_mismatch" });
    set = members.value;
  }
  const rule = quorumRuleOf(network.engine.name);
  if (set === undefined || rule === undefined) return refuse({ code: "validators_unknown" });
  const verified = await verifyCertificateAsync({ chainId: network.chainId, rule, set }, certificate);
  return verified.ok ? ok(undefined) : refuse(verified.error);
}

type Sets = {
  readonly own: ValidatorSet;
  readonly all: readonly ValidatorSet[];
  readonly changes: number;
  /** Whether the caller knows the first header for one of its own chain. */
  readonly isOurs: boolean;
};

function judge(first: Side, second: Side, sets: Sets): Result<ProvenFraud, Unproven> {
  const { height } = second.header;
  if (first.certificate === undefined || second.certificate === undefined) return fail({ code: "certificate_kind", height });
  const offence = offenceOf(first, second);
  if (offence === undefined) return fail({ code: "fraud_none", height });
  const signedFirst = first.certificate;
  const signedSecond = second.certificate;
  const both = signedSecond.signatures.filter(({ validator }) =>
    signedFirst.signatures.some((other) => bytesEqual(other.validator, validator)),
  );
  const known = signedSecond.signatures.filter(({ validator }) =>
    sets.all.some((set) => findValidator(set, validator) !== undefined),
  );
  const named = offence === "doubleVote" || offence === "amnesia" ? both : known;
  const isConviction = offence === "lunatic" ? sets.isOurs : offence !== "amnesia";
  const [guilty, suspects] = isConviction ? [named, []] : [[], named.map(({ validator }) => validator)];
  if (guilty.length === 0 && suspects.length === 0) return fail({ code: "fraud_none", height });
  const convicts = guilty.map(({ validator }): Convict => ({
    validator,
    power: findValidator(sets.own, validator)?.power ?? 0n,
    evidence: offence === "doubleVote" ? evidenceOf(validator, signedFirst, signedSecond) : undefined,
  }));
  return ok({
    offence,
    height,
    first: first.hash,
    second: second.hash,
    convicts,
    suspects,
    totalPower: sets.own.totalPower,
    how: [
      `the first header of height ${first.header.height} is certified by the validators of the network file` +
        (sets.changes === 0 ? "" : ` and ${sets.changes} certified changes of them`),
      "the second is certified by the set that it names",
      OFFENCE_WORDS[offence],
      ...(offence === "lunatic" && !sets.isOurs
        ? [
            "which of the two is the chain's this file cannot say: who follows the chain knows, and has those who signed the other",
          ]
        : []),
    ],
  });
}

const OFFENCE_WORDS = {
  doubleVote: "both were certified in one round: whoever signed both voted twice",
  amnesia: "they were certified in two rounds: of those who signed both, more than a third of the power forgot its first vote",
  lunatic: "the second names a validator set that the chain does not: whoever of the believed sets signed it invented it",
  invalid: "the second follows the first and breaks the rules of succession: whoever signed it signed what cannot be",
} as const satisfies Record<Offence, string>;

function offenceOf(first: Side, second: Side): Offence | undefined {
  if (first.header.height === second.header.height) {
    if (bytesEqual(first.hash, second.hash)) return undefined;
    if (!bytesEqual(first.header.validatorsHash, second.header.validatorsHash)) return "lunatic";
    return first.certificate?.round === second.certificate?.round ? "doubleVote" : "amnesia";
  }
  const isNext = second.header.height === first.header.height + 1n && bytesEqual(second.header.previous, first.hash);
  return isNext && !checkSuccession(factsOf(first.header), factsOf(second.header)).ok ? "invalid" : undefined;
}

/** The two precommits as the chain itself takes them. */
function evidenceOf(validator: Address, first: QuorumCertificate, second: QuorumCertificate): Evidence | undefined {
  const [one, other] = [first, second].map(({ height, round, blockHash, signatures }) => {
    const found = signatures.find((signature) => bytesEqual(signature.validator, validator));
    return found && { step: "precommit" as const, height, round, blockHash, validator, signature: found.signature };
  });
  return one === undefined || other === undefined ? undefined : doubleVoteOf(one, other);
}
