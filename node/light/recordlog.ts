/**
 * Record logs: the records of a partition as the entries of an RFC 9162 log over SHA-256, for tools that know no other
 * tree; and receipts of them as c2sp.org/tlog-proof. Pure. `cose.ts` has the same receipts in COSE.
 *
 * ```
 * entry   the canonical bytes of a record (chain/block/record.ts): what our own leaf commits to as well
 * leaf    SHA-256(0x00 ‖ entry)            node  SHA-256(0x01 ‖ left ‖ right)
 * origin  pyralog/<chain id>/<network hash>/rfc9162/<stream>/<partition>
 *
 * c2sp.org/tlog-proof@v1
 * extra <base64 of the entry>              optional; whoever leaves it out has the entry elsewhere
 * index <index>
 * <base64 of a sibling>                    one a line, from the leaf up
 *
 * <checkpoint, with the signatures of operators and witnesses>
 * ```
 *
 * No validator commits to such a root: it is the word of the node that signed it, its operator. It follows from the
 * records alone, so that every node comes to the same one and anybody can reckon it again.
 *
 * Source: RFC 9162, section 2.1; c2sp.org/tlog-proof@v1, tlog-checkpoint and signed-note.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { base64 } from "@scure/base";
import { bytesEqual, concatBytes, EMPTY, parseUtf8, startsWith, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { type Hash, HASH_SIZE_BYTES, hashOf, ZERO_HASH } from "../../crypto/hash/hash.ts";
import type { PublicKey } from "../../crypto/sign/key.ts";
import { networkHash, type NetworkFile } from "../../chain/block/genesis.ts";
import { parseRecord, RECORD_ENCODING_SIZE_BYTES_MAX, type StreamRecord } from "../../chain/block/record.ts";
import { PROOF_LENGTH_MAX, type TreeHasher, verifyInclusion } from "../../chain/merkle/log.ts";
import { decodeBase64, NOTE_SIZE_BYTES_MAX, type NoteKey, parseCheckpoint, parseNote, verifyNote } from "./checkpoint.ts";
import type { Unproven } from "./errors.ts";

/** The hasher of RFC 9162, section 2.1.1. `Hash` is a SHA-256 digest here. */
export const RECORD_LOG_HASHER: TreeHasher = recordLogHasher((bytes) => sha256(bytes));

/** The hasher over an implementation of SHA-256; a node has a faster one than a browser. */
export function recordLogHasher(digest: (bytes: Uint8Array) => Uint8Array): TreeHasher {
  return {
    emptyRoot: () => hashOf(digest(EMPTY)),
    leaf: (entry) => hashOf(digest(concatBytes(Uint8Array.of(0), entry))),
    node: (left, right) => hashOf(digest(concatBytes(Uint8Array.of(1), left, right))),
  };
}

/** One partition of one stream. */
export type PartitionName = { readonly stream: string; readonly partition: number };

/** The name of a partition's log, which its operators' keys have as well. */
export function recordLogOrigin(
  network: { readonly chainId: string; readonly hash: Hash },
  { stream, partition }: PartitionName,
): string {
  return `pyralog/${network.chainId}/${toHex(network.hash)}/rfc9162/${stream}/${partition}`;
}

/** That an entry is in a log of a size: the numbers of a receipt, whatever its format. */
export type LogInclusion = {
  readonly size: bigint;
  readonly index: bigint;
  /** From the leaf up. */
  readonly siblings: readonly Hash[];
};

/** What a receipt of a record log proves, to whoever trusts the keys. */
export type LogReceipt = LogInclusion & {
  readonly format: "tlog" | "cose";
  readonly origin: string;
  readonly root: Hash;
  readonly record: StreamRecord;
  /** Its bytes: what a foreign tool calls the entry. */
  readonly entry: Uint8Array;
  /** Who of the keys that were given signed, and when a witness did. */
  readonly signers: readonly { readonly key: PublicKey; readonly timeS: bigint | undefined }[];
};

/** What a receipt is checked against. */
export type LogReceiptCheck = {
  readonly network: NetworkFile;
  /** Each must have signed; a bare key is an operator's, under the name of the log. */
  readonly keys: readonly (NoteKey | PublicKey)[];
  /** The record's bytes, if they are not in the file. */
  readonly entry?: Uint8Array | undefined;
};

const MAGIC = "c2sp.org/tlog-proof@v1";

/** Whether bytes begin as a tlog proof. */
export function isTlogProof(bytes: Uint8Array): boolean {
  return startsWith(bytes, utf8(`${MAGIC}\n`));
}

/** The one text of a tlog proof. `checkpoint` is a signed note; checks nothing. */
export function encodeTlogProof(
  { index, siblings }: Pick<LogInclusion, "index" | "siblings">,
  { checkpoint, entry }: { readonly checkpoint: string; readonly entry?: Uint8Array | undefined },
): Uint8Array {
  const extra = entry === undefined ? [] : [`extra ${base64.encode(entry)}`];
  const lines = [MAGIC, ...extra, `index ${index}`, ...siblings.map((sibling) => base64.encode(sibling)), ""];
  return utf8(`${lines.join("\n")}\n${checkpoint}`);
}

/** Checks a tlog proof. Never throws on hostile bytes. */
export function verifyTlogProof(bytes: Uint8Array, check: LogReceiptCheck): Result<LogReceipt, Unproven> {
  const parsed = parseTlogProof(bytes);
  if (!parsed.ok) return parsed;
  const { index, siblings, entry, note } = parsed.value;
  const checkpoint = parseCheckpoint(note.text);
  if (!checkpoint.ok) return malformed("checkpoint");
  const { origin, size, root } = checkpoint.value;
  const signers: LogReceipt["signers"][number][] = [];
  for (const key of check.keys) {
    const named: NoteKey = "name" in key ? key : { name: origin, algorithm: "ed25519", key };
    // The log's own key is its name's: one of another log says nothing of this one. Witnesses have names of their own.
    const isOther = named.algorithm === "ed25519" && named.name !== origin;
    if (isOther || named.key.type !== "ed25519") return fail({ code: "logreceipt_unsigned", field: "keys" });
    const signed = verifyNote(note, named);
    if (!signed.ok) return fail({ code: signed.error.code === "note_unsigned" ? "logreceipt_unsigned" : "logreceipt_signature" });
    signers.push({ key: named.key, timeS: signed.value.timeS });
  }
  const proven = provenEntry({ origin, size, index, siblings }, entry, check);
  if (!proven.ok) return proven;
  if (!bytesEqual(proven.value.root, root)) return fail({ code: "root_mismatch", field: "checkpoint" });
  return ok({ format: "tlog", ...proven.value, signers });
}

/**
 * The root that an entry leads to, if the entry is the record of this place in this log of this network. Whether
 * anybody signed the root is for the caller to check.
 */
export function provenEntry(
  { origin, size, index, siblings }: LogInclusion & { readonly origin: string },
  inFile: Uint8Array | undefined,
  { network, entry: given }: LogReceiptCheck,
): Result<Omit<LogReceipt, "format" | "signers">, Unproven> {
  const entry = given ?? inFile;
  if (entry === undefined || (given !== undefined && inFile !== undefined && !bytesEqual(given, inFile)))
    return fail({ code: "logreceipt_record", field: "entry" });
  const hash = networkHash(network);
  if (!origin.startsWith(`pyralog/${network.chainId}/${toHex(hash)}/`))
    return fail({ code: "network_mismatch", field: "origin" });
  const record = parseRecord(entry);
  if (!record.ok) return fail({ code: "logreceipt_record", field: "entry" });
  if (recordLogOrigin({ chainId: network.chainId, hash }, record.value) !== origin)
    return fail({ code: "logreceipt_record", field: "origin" });
  if (record.value.index !== index) return fail({ code: "logreceipt_record", field: "index" });
  // Of a claim whose root is not known yet, verification still says where the path leads.
  const led = verifyInclusion(RECORD_LOG_HASHER, {
    leafHash: RECORD_LOG_HASHER.leaf(entry),
    index,
    size,
    siblings,
    root: ZERO_HASH,
  });
  if (led.ok || led.error.code !== "root_mismatch") return fail({ code: "proof_malformed", field: "siblings" });
  return ok({ origin, size, index, siblings, root: led.error.computed, record: record.value, entry });
}

type TlogProof = Pick<LogInclusion, "index" | "siblings"> & {
  readonly entry: Uint8Array | undefined;
  readonly note: Parameters<typeof verifyNote>[0];
};

/** A base64 line of the longest record, the siblings, and the checkpoint. */
const TLOG_PROOF_SIZE_BYTES_MAX = RECORD_ENCODING_SIZE_BYTES_MAX * 2 + PROOF_LENGTH_MAX * 48 + NOTE_SIZE_BYTES_MAX;

function parseTlogProof(bytes: Uint8Array): Result<TlogProof, Unproven> {
  if (bytes.length > TLOG_PROOF_SIZE_BYTES_MAX) return fail({ code: "file_size" });
  const text = parseUtf8(bytes);
  // The first blank line: no line before it is empty.
  const split = text.ok ? text.value.indexOf("\n\n") : -1;
  if (!text.ok || split < 0) return malformed("lines");
  const [magic, ...lines] = text.value.slice(0, split).split("\n");
  const extra = lines[0]?.startsWith("extra ") === true ? lines.shift() : undefined;
  const entry = extra === undefined ? undefined : decodeBase64(extra.slice("extra ".length));
  if (magic !== MAGIC || (extra !== undefined && entry === undefined)) return malformed("extra");
  const index = /^index (0|[1-9][0-9]{0,19})$/.exec(lines.shift() ?? "")?.[1];
  if (index === undefined || lines.length > PROOF_LENGTH_MAX) return malformed("index");
  const siblings: Hash[] = [];
  for (const line of lines) {
    const sibling = decodeBase64(line);
    if (sibling?.length !== HASH_SIZE_BYTES) return malformed("siblings");
    siblings.push(hashOf(sibling));
  }
  const note = parseNote(utf8(text.value.slice(split + 2)));
  return note.ok ? ok({ index: BigInt(index), siblings, entry, note: note.value }) : malformed("checkpoint");
}

function malformed(field: string): Result<never, Unproven> {
  return fail({ code: "logreceipt_malformed", field });
}
