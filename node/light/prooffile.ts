/**
 * Proof files: one statement about a network, with everything that is needed to check it offline but the network file.
 *
 * Wire form, canonical dag-cbor tuples:
 *
 * ```
 * file       ["pyralog-proof", 2, chainId, networkHash, [change...], header, certificate, history | null, statement]
 * change     [header, certificate, validators]            each set to the next, from the genesis one
 * history    [header, [sibling...]]                       an older header, under the history root of the certified one
 * statement  [1, namespace, table, key, proof]                                 a row, or its absence
 *            [2, namespace, table, from | null, to | null, [proof...]]         all rows of a range, page by page
 *            [3, address, proof]                                               an account
 *            [4, transaction, path, [sibling...], result, [sibling...]]        a transaction and what it did
 *            [5, stream, partition, index, record, [sibling...], proof]        a record
 * ```
 *
 * The statement is about the state after the header of `history`, or after the certified one when there is none. So one
 * recent certificate proves any older height, however long ago the node dropped that height's own.
 *
 * Whoever holds the same network file comes to the same verdict, whoever made the file: it carries no trust. A file has
 * nothing to spare: no change of validators that does not lead to the certificate, and no signature beyond the quorum.
 * `testnet/verifier/README.md` has the format for whoever writes another verifier.
 */

import { bytesEqual } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, HASH_SIZE_BYTES, hashOf } from "../../crypto/hash/hash.ts";
import { type Address, ADDRESS_SIZE_BYTES, addressOf } from "../../crypto/identity/address.ts";
import { encodeResult, parseResult, type TransactionResult } from "../../chain/block/block.ts";
import { NAME_PATTERN, NAME_SIZE_BYTES_MAX, PARTITION_MAX, ROW_KEY_SIZE_BYTES_MAX } from "../../chain/block/limits.ts";
import { genesisValidators, type NetworkFile } from "../../chain/block/genesis.ts";
import type { Height } from "../../chain/block/height.ts";
import { isQuorumOf, quorumRuleOf } from "../../chain/block/protocol.ts";
import type { StreamRecord } from "../../chain/block/record.ts";
import type { Transaction } from "../../chain/block/transaction.ts";
import { findValidator, parseMembers, type ValidatorSet } from "../../chain/block/validators.ts";
import { encodeCertificate, parseCertificate, type QuorumCertificate } from "../../chain/block/vote.ts";
import { readHashes, writeHashes } from "../../chain/merkle/log.ts";
import { rowKey, rowRange } from "../../chain/state/keys.ts";
import type { Row } from "../../chain/state/proof.ts";
import type { Account } from "../../chain/state/rows.ts";
import type { Unproven } from "./errors.ts";
import {
  type PartitionName,
  provenAccount,
  provenPartition,
  provenRange,
  provenRecord,
  provenRow,
  provenTransactionAt,
  type TransactionPath,
} from "./statement.ts";
import type { Anchor } from "./anchor.ts";
import { LightVerifier, type SetChange, type VerifiedHeader } from "./verifier.ts";

const MAGIC = "pyralog-proof";
const VERSION = 2;

/** No proof file is larger; a range that needs more is split into several. */
export const PROOF_FILE_SIZE_BYTES_MAX = 64 * 1024 * 1024;
/** Set changes of one file: one for each day of a decade. */
export const CHANGES_MAX = 4_096;
const PAGES_MAX = 65_536;
/** A leading 1 and a turn a level: no block has more than 2^16 transactions. */
const PATH_MAX = (1 << 17) - 1;

const KIND = { row: 1, range: 2, account: 3, transaction: 4, record: 5 } as const satisfies Record<Statement["kind"], number>;

/** What a proof file says, unchecked. */
export type Statement =
  | {
      readonly kind: "row";
      readonly namespace: string;
      readonly table: string;
      readonly key: Uint8Array;
      readonly proof: Uint8Array;
    }
  | {
      readonly kind: "range";
      readonly namespace: string;
      readonly table: string;
      readonly from: Uint8Array | undefined;
      readonly to: Uint8Array | undefined;
      readonly proofs: readonly Uint8Array[];
    }
  | { readonly kind: "account"; readonly address: Address; readonly proof: Uint8Array }
  | ({ readonly kind: "transaction" } & TransactionPath)
  | ({
      readonly kind: "record";
      readonly index: bigint;
      readonly record: Uint8Array;
      readonly siblings: readonly Hash[];
      readonly proof: Uint8Array;
    } & PartitionName);

/** A proof file, unchecked. */
export type ProofFile = {
  readonly chainId: string;
  readonly networkHash: Hash;
  readonly changes: readonly SetChange[];
  /** The header that is certified. */
  readonly anchor: Anchor;
  /** The older header that the statement is about; absent when it is about the certified one. */
  readonly history?: HistoryLink | undefined;
  readonly statement: Statement;
};

/** An older header, and its way to the `historyRoot` of a newer one. */
export type HistoryLink = { readonly header: Uint8Array; readonly siblings: readonly Hash[] };

/** What a statement comes to once it is checked. */
export type ProvenStatement =
  | {
      readonly kind: "row";
      readonly namespace: string;
      readonly table: string;
      readonly key: Uint8Array;
      readonly value: Uint8Array | undefined;
    }
  | {
      readonly kind: "range";
      readonly namespace: string;
      readonly table: string;
      readonly from: Uint8Array | undefined;
      readonly to: Uint8Array | undefined;
      /** Row keys and values: all rows of the range. */
      readonly rows: readonly Row[];
    }
  | { readonly kind: "account"; readonly address: Address; readonly account: Account }
  | { readonly kind: "transaction"; readonly transaction: Transaction; readonly result: TransactionResult }
  /** `bytes`: the record's one encoding, which its partition's tree has as a leaf. */
  | { readonly kind: "record"; readonly record: StreamRecord; readonly bytes: Uint8Array };

/** What a proof file proves, and of when. */
export type ProvenFile = {
  readonly statement: ProvenStatement;
  readonly height: Height;
  readonly timeMs: bigint;
  /** Of the certified header that all of it hangs from: `height`, or above it. */
  readonly certifiedHeight: Height;
  /** What was checked, in words. */
  readonly how: readonly string[];
};

/** The same file without the signatures that its certificates have beyond a quorum: what `verifyProofFile` accepts. */
export function trimmedProofFile(file: ProofFile, network: NetworkFile): ProofFile {
  let set = genesisValidators(network);
  const trim = (anchor: Anchor): Anchor => ({ ...anchor, certificate: trimmedCertificate(network, set, anchor.certificate) });
  const changes = file.changes.map(({ anchor, validators }) => {
    const trimmed = { anchor: trim(anchor), validators };
    const next = parseMembers(validators);
    if (next.ok) set = next.value;
    return trimmed;
  });
  return { ...file, changes, anchor: trim(file.anchor) };
}

/** The encoding of a proof file. */
export function encodeProofFile(file: ProofFile): Uint8Array {
  const writer = new Writer().array(9).text(MAGIC).uint(VERSION).text(file.chainId).bytes(file.networkHash);
  writer.array(file.changes.length);
  for (const { anchor, validators } of file.changes)
    writer.array(3).bytes(anchor.header).bytes(anchor.certificate).bytes(validators);
  writer.bytes(file.anchor.header).bytes(file.anchor.certificate);
  if (file.history === undefined) writer.null();
  else writeHashes(writer.array(2).bytes(file.history.header), file.history.siblings);
  writeStatement(writer, file.statement);
  return writer.finish();
}

/** Decodes a proof file strictly. Byte strings are views on `bytes`. */
export function parseProofFile(bytes: Uint8Array): Result<ProofFile, Unproven> {
  if (bytes.length > PROOF_FILE_SIZE_BYTES_MAX) return fail({ code: "file_size" });
  let isKnown = true;
  const parsed = readWith(bytes, (reader) => {
    const length = reader.array(9);
    const offset = reader.offset;
    if (reader.field("magic").text(MAGIC.length) !== MAGIC) reader.refuse("encoding_type", offset);
    isKnown = reader.field("version").number() === VERSION;
    if (!isKnown || length !== 9) reader.refuse("encoding_limit");
    return readFile(reader, bytes.length);
  });
  if (!isKnown) return fail({ code: "file_version" });
  return parsed.ok
    ? parsed
    : fail({ code: "file_malformed", ...(parsed.error.field === undefined ? {} : { field: parsed.error.field }) });
}

/**
 * Checks a proof file against a network file, offline: the sets from genesis on, the certificate of the header, the older
 * header under it if there is one, the statement against that. `how` says what was done.
 */
export async function verifyProofFile(bytes: Uint8Array, network: NetworkFile): Promise<Result<ProvenFile, Unproven>> {
  const parsed = parseProofFile(bytes);
  if (!parsed.ok) return parsed;
  const { chainId, networkHash, changes, anchor, history, statement } = parsed.value;
  if (network.engine.name === "pow") return fail({ code: "finality_unknown" });
  const verifier = LightVerifier.fromGenesis(network);
  if (chainId !== network.chainId || !bytesEqual(networkHash, verifier.networkHash)) return fail({ code: "network_mismatch" });
  for (const [index, change] of changes.entries()) {
    const { from, validators } = verifier.newest;
    const accepted = await verifier.acceptChange(change);
    if (!accepted.ok) return fail({ ...accepted.error, field: `changes[${index}].${accepted.error.field ?? "anchor"}` });
    if (verifier.newest.from === from || hasSpareSignatures(network, validators, change.anchor.certificate))
      return fail({ code: "file_spare", field: `changes[${index}]` });
  }
  const { from, validators } = verifier.newest;
  const certified = await verifier.acceptHeader(anchor);
  if (!certified.ok) return certified;
  const { height: certifiedHeight } = certified.value.header;
  if (certifiedHeight < from || hasSpareSignatures(network, validators, anchor.certificate))
    return fail({ code: "file_spare", field: certifiedHeight < from ? "changes" : "certificate" });
  const older = history === undefined ? certified : verifier.acceptHistory(history, certified.value);
  if (!older.ok) return fail({ ...older.error, field: `history.${older.error.field ?? "header"}` });
  const proven = provenStatement(older.value, statement);
  if (!proven.ok) return proven;
  const { height, timeMs } = older.value.header;
  const how = describe(changes.length, { certifiedHeight, height }, statement);
  return ok({ statement: proven.value, height, timeMs, certifiedHeight, how });
}

/** How many of the signatures, from the first on, make a quorum; `undefined` when all of them do not. */
function quorumCount(network: NetworkFile, set: ValidatorSet, { signatures }: QuorumCertificate): number | undefined {
  const rule = quorumRuleOf(network.engine.name);
  if (rule === undefined) return undefined;
  let power = 0n;
  for (const [index, { validator }] of signatures.entries()) {
    power += findValidator(set, validator)?.power ?? 0n;
    if (isQuorumOf(rule, power, set.totalPower)) return index + 1;
  }
  return undefined;
}

/** Whether a certificate that was found good has signatures that it would be as good without. */
function hasSpareSignatures(network: NetworkFile, set: ValidatorSet, bytes: Uint8Array): boolean {
  const certificate = parseCertificate(bytes);
  if (!certificate.ok || certificate.value.kind !== "quorum") return false;
  return quorumCount(network, set, certificate.value) !== certificate.value.signatures.length;
}

/** The certificate up to its quorum; as it is when it is none, for the verifier to say why. */
function trimmedCertificate(network: NetworkFile, set: ValidatorSet, bytes: Uint8Array): Uint8Array {
  const certificate = parseCertificate(bytes);
  if (!certificate.ok || certificate.value.kind !== "quorum") return bytes;
  const { signatures } = certificate.value;
  const count = quorumCount(network, set, certificate.value) ?? signatures.length;
  return encodeCertificate({ ...certificate.value, signatures: signatures.slice(0, count) });
}

function provenStatement(at: VerifiedHeader, statement: Statement): Result<ProvenStatement, Unproven> {
  switch (statement.kind) {
    case "row": {
      const { namespace, table, key, proof } = statement;
      const value = provenRow(at, rowKey(namespace, table, key), proof);
      return value.ok ? ok({ kind: "row", namespace, table, key, value: value.value }) : value;
    }
    case "range":
      return provenPages(at, statement);
    case "account": {
      const account = provenAccount(at, statement.address, statement.proof);
      return account.ok ? ok({ kind: "account", address: statement.address, account: account.value }) : account;
    }
    case "transaction": {
      const proven = provenTransactionAt(at, statement);
      return proven.ok ? ok({ kind: "transaction", ...proven.value }) : proven;
    }
    case "record": {
      const partition = provenPartition(at, statement, statement.proof);
      if (!partition.ok) return partition;
      if (partition.value === undefined) return fail({ code: "answer_mismatch", field: "statement.partition" });
      const record = provenRecord(partition.value, statement);
      return record.ok ? ok({ kind: "record", record: record.value, bytes: statement.record }) : record;
    }
  }
}

/** Every page must begin where the one before ended, and the last must reach the end of the range. */
function provenPages(at: VerifiedHeader, statement: Statement & { readonly kind: "range" }): Result<ProvenStatement, Unproven> {
  const { namespace, table, proofs } = statement;
  const prefixSize = rowKey(namespace, table, new Uint8Array(0)).length;
  const range = rowRange(namespace, table, statement.from, statement.to);
  const rows: Row[] = [];
  let from: Uint8Array | undefined = range.from;
  for (const proof of proofs) {
    if (from === undefined) return fail({ code: "range_incomplete", field: "statement.proofs" });
    const page = provenRange(at, { from, to: range.to }, proof);
    if (!page.ok) return page;
    for (const { key, value } of page.value.rows) rows.push({ key: key.subarray(prefixSize), value });
    from = page.value.continueFrom;
  }
  if (from !== undefined) return fail({ code: "range_incomplete", field: "statement.proofs" });
  return ok({ kind: "range", namespace, table, from: statement.from, to: statement.to, rows });
}

function describe(
  changesCount: number,
  { certifiedHeight, height }: { readonly certifiedHeight: Height; readonly height: Height },
  statement: Statement,
): string[] {
  const sets =
    changesCount === 0
      ? "the validators of the network file"
      : `the validators of the network file and ${changesCount} certified changes of them`;
  return [
    `header ${certifiedHeight} is certified by a quorum of ${sets}`,
    ...(height === certifiedHeight ? [] : [`header ${height} is in the history that header ${certifiedHeight} commits to`]),
    STATEMENT_WORDS[statement.kind],
  ];
}

const STATEMENT_WORDS = {
  row: "the row, or its absence, is proven against that header's state root",
  range: "the range is proven complete against that header's state root",
  account: "the account is proven against that header's state root",
  transaction: "the transaction and its result are proven against that header's roots",
  record: "the record is proven against its partition's root, and that against the header's state root",
} as const satisfies Record<Statement["kind"], string>;

// Encoding.

function writeStatement(writer: Writer, statement: Statement): void {
  switch (statement.kind) {
    case "row":
      writer.array(5).uint(KIND.row).text(statement.namespace).text(statement.table).bytes(statement.key).bytes(statement.proof);
      return;
    case "range":
      writer.array(6).uint(KIND.range).text(statement.namespace).text(statement.table);
      writeBound(writer, statement.from);
      writeBound(writer, statement.to);
      writer.array(statement.proofs.length);
      for (const proof of statement.proofs) writer.bytes(proof);
      return;
    case "account":
      writer.array(3).uint(KIND.account).bytes(statement.address).bytes(statement.proof);
      return;
    case "transaction":
      writer.array(6).uint(KIND.transaction).bytes(statement.transaction).uint(statement.path);
      writeHashes(writer, statement.siblings);
      writer.bytes(encodeResult(statement.result));
      writeHashes(writer, statement.resultSiblings);
      return;
    case "record":
      writer
        .array(7)
        .uint(KIND.record)
        .text(statement.stream)
        .uint(statement.partition)
        .uint(statement.index)
        .bytes(statement.record);
      writeHashes(writer, statement.siblings);
      writer.bytes(statement.proof);
      return;
  }
}

function writeBound(writer: Writer, bound: Uint8Array | undefined): void {
  if (bound === undefined) writer.null();
  else writer.bytes(bound);
}

function readFile(reader: Reader, sizeBytes: number): ProofFile {
  const chainId = readName(reader, "chainId");
  const networkHash = hashOf(reader.field("networkHash").fixed(HASH_SIZE_BYTES));
  const changesCount = reader.field("changes").array(CHANGES_MAX);
  const changes: SetChange[] = [];
  for (let index = 0; index < changesCount; index += 1) {
    reader.field("changes").tuple(3);
    changes.push({ anchor: readAnchor(reader, sizeBytes), validators: reader.bytes(sizeBytes) });
  }
  return {
    chainId,
    networkHash,
    changes,
    anchor: readAnchor(reader, sizeBytes),
    history: readHistory(reader, sizeBytes),
    statement: readStatement(reader, sizeBytes),
  };
}

function readHistory(reader: Reader, sizeBytes: number): HistoryLink | undefined {
  if (reader.field("history").skipNull()) return undefined;
  reader.tuple(2);
  return { header: reader.field("history.header").bytes(sizeBytes), siblings: readHashes(reader.field("history.siblings")) };
}

function readAnchor(reader: Reader, sizeBytes: number): Anchor {
  return { header: reader.field("header").bytes(sizeBytes), certificate: reader.field("certificate").bytes(sizeBytes) };
}

/** How many items a statement has, its kind included. */
const LENGTH = { row: 5, range: 6, account: 3, transaction: 6, record: 7 } as const satisfies Record<Statement["kind"], number>;

function readStatement(reader: Reader, sizeBytes: number): Statement {
  const offset = reader.field("statement").offset;
  const length = reader.array(7);
  const number = reader.field("kind").number();
  const kind = (Object.keys(KIND) as Statement["kind"][]).find((name) => KIND[name] === number);
  if (kind === undefined || LENGTH[kind] !== length) return reader.refuse("encoding_limit", offset);
  switch (kind) {
    case "row":
      return {
        kind,
        ...readTableName(reader),
        key: reader.field("key").bytes(ROW_KEY_SIZE_BYTES_MAX),
        proof: reader.field("proof").bytes(sizeBytes),
      };
    case "range":
      return {
        kind,
        ...readTableName(reader),
        from: readBound(reader, "from"),
        to: readBound(reader, "to"),
        proofs: readProofs(reader, sizeBytes),
      };
    case "account":
      return {
        kind,
        address: addressOf(reader.field("address").fixed(ADDRESS_SIZE_BYTES)),
        proof: reader.field("proof").bytes(sizeBytes),
      };
    case "transaction":
      return {
        kind,
        transaction: reader.field("transaction").bytes(sizeBytes),
        path: reader.field("path").number(PATH_MAX),
        siblings: readHashes(reader.field("siblings")),
        result: readResult(reader, sizeBytes),
        resultSiblings: readHashes(reader.field("resultSiblings")),
      };
    case "record":
      return {
        kind,
        stream: readName(reader, "stream"),
        partition: reader.field("partition").number(PARTITION_MAX),
        index: reader.field("index").uint(),
        record: reader.field("record").bytes(sizeBytes),
        siblings: readHashes(reader.field("siblings")),
        proof: reader.field("proof").bytes(sizeBytes),
      };
  }
}

function readTableName(reader: Reader): { readonly namespace: string; readonly table: string } {
  return { namespace: readName(reader, "namespace"), table: readName(reader, "table") };
}

function readName(reader: Reader, field: string): string {
  const offset = reader.field(field).offset;
  const name = reader.text(NAME_SIZE_BYTES_MAX);
  return NAME_PATTERN.test(name) ? name : reader.refuse("encoding_limit", offset);
}

function readBound(reader: Reader, field: string): Uint8Array | undefined {
  return reader.field(field).skipNull() ? undefined : reader.bytes(ROW_KEY_SIZE_BYTES_MAX + 1);
}

function readProofs(reader: Reader, sizeBytes: number): Uint8Array[] {
  const proofs: Uint8Array[] = [];
  const count = reader.field("proofs").array(PAGES_MAX);
  for (let index = 0; index < count; index += 1) proofs.push(reader.bytes(sizeBytes));
  return proofs;
}

function readResult(reader: Reader, sizeBytes: number): TransactionResult {
  const offset = reader.field("result").offset;
  const parsed = parseResult(reader.bytes(sizeBytes));
  return parsed.ok ? parsed.value : reader.refuse("encoding_type", offset);
}
