/**
 * Signed notes, checkpoints of logs, and cosignatures of witnesses, in the formats that transparency logs share.
 * Pure text and bytes.
 *
 * ```
 * pyralog/<chain id>/<network hash>/history            origin: one log a network
 * <size>                                               headers 1 to size are its leaves
 * <base64 of the root>                                 `historyRoot` of the header of height size + 1
 *
 * — <name> <base64(key id ‖ signature)>                one line a signer
 * ```
 *
 * The tree is RFC 6962's in shape and not in hash: leaves and nodes are BLAKE3 under the tags of `LOG_HASHER`. The origin
 * says which log it is, so that nobody takes it for one over SHA-256; those are in `recordlog.ts`.
 *
 * Source: c2sp.org/signed-note, c2sp.org/tlog-checkpoint and c2sp.org/tlog-cosignature (cosignature/v1). Ed25519 alone.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { base64 } from "@scure/base";
import { assert } from "../../crypto/base/assert.ts";
import { bytesEqual, concatBytes, parseUtf8, readU64, toHex, u64, utf8 } from "../../crypto/base/bytes.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { type Hash, parseHash } from "../../crypto/hash/hash.ts";
import { type KeyPair, type PublicKey, verifySignature } from "../../crypto/sign/key.ts";
import type { Header } from "../../chain/block/block.ts";

/** What a log says of itself at one size. The root is SHA-256 in the logs of `recordlog.ts`. */
export type LogCheckpoint = { readonly origin: string; readonly size: bigint; readonly root: Hash };

/** One line below a note. */
export type NoteSignature = { readonly name: string; readonly keyId: Uint8Array; readonly signature: Uint8Array };

/** A text with signatures, none of them checked. `text` ends in a newline. */
export type Note = { readonly text: string; readonly signatures: readonly NoteSignature[] };

/** Who may sign: a name, and a key of one algorithm. */
export type NoteKey = { readonly name: string; readonly algorithm: NoteAlgorithm; readonly key: PublicKey };

/** `ed25519`: of the text itself. `cosignature`: of a checkpoint and the time of the statement. */
export type NoteAlgorithm = "ed25519" | "cosignature";

/**
 * Why a note is not one, or proves nothing: `note_size` too large, `note_malformed` or `checkpoint_malformed` not of the form,
 * `note_key` not a key of an algorithm known here, `note_unsigned` the key signed nothing, `note_signature` what it signed is not this.
 */
export type NoteError = {
  readonly code: "note_size" | "note_malformed" | "note_key" | "note_unsigned" | "note_signature" | "checkpoint_malformed";
};

/** What a checkpoint with the signatures of many witnesses stays below. */
export const NOTE_SIZE_BYTES_MAX = 1024 * 1024;
const SIGNATURES_MAX = 1_000;
const ALGORITHM_BYTE = { ed25519: 0x01, cosignature: 0x04 } as const satisfies Record<NoteAlgorithm, number>;
const KEY_ID_SIZE_BYTES = 4;
const SIGNATURE_SIZE_BYTES = 64;
const KEY_SIZE_BYTES = 32;
const LINE_START = "\u2014 ";

// Checkpoints.

/** The checkpoint of the history log that a header commits to: of all headers before it. */
export function historyCheckpoint(networkHash: Hash, { chainId, height, historyRoot }: Header): LogCheckpoint {
  return { origin: historyOrigin(chainId, networkHash), size: height - 1n, root: historyRoot };
}

/** The name of a network's history log. */
export function historyOrigin(chainId: string, networkHash: Hash): string {
  return `pyralog/${chainId}/${toHex(networkHash)}/history`;
}

/** The one text of a checkpoint. */
export function encodeCheckpoint({ origin, size, root }: LogCheckpoint): string {
  assert(isLine(origin) && origin.length > 0, "an origin of one line");
  return `${origin}\n${size}\n${base64.encode(root)}\n`;
}

/** Parses the text of a note as a checkpoint. Lines beyond the third are allowed, as the format has it, and dropped. */
export function parseCheckpoint(text: string): Result<LogCheckpoint, NoteError> {
  const [origin = "", size = "", root = "", ...rest] = text.split("\n");
  const isShaped = origin.length > 0 && /^(0|[1-9][0-9]{0,19})$/.test(size) && rest.at(-1) === "";
  const bytes = isShaped && rest.slice(0, -1).every((line) => line.length > 0) ? decodeBase64(root) : undefined;
  const parsed = bytes === undefined ? undefined : parseHash(bytes);
  if (parsed?.ok !== true || BigInt(size) >= 1n << 64n) return fail({ code: "checkpoint_malformed" });
  return ok({ origin, size: BigInt(size), root: parsed.value });
}

// Notes.

/** The one text of a note. */
export function encodeNote({ text, signatures }: Note): string {
  assert(text.endsWith("\n") && text.split("\n").every(isLine), "a text of whole lines");
  const lines = signatures.map(({ name, keyId, signature }) => {
    assert(isName(name), "not a key name: {}", name);
    return `${LINE_START}${name} ${base64.encode(concatBytes(keyId, signature))}\n`;
  });
  return `${text}\n${lines.join("")}`;
}

/** Parses a note. Its signatures are not checked; unknown ones are kept. */
export function parseNote(bytes: Uint8Array): Result<Note, NoteError> {
  if (bytes.length > NOTE_SIZE_BYTES_MAX) return fail({ code: "note_size" });
  const decoded = parseUtf8(bytes);
  if (!decoded.ok) return fail({ code: "note_malformed" });
  const note = decoded.value;
  // The last blank line: a text may hold others.
  const split = note.lastIndexOf("\n\n");
  if (split < 0 || !note.endsWith("\n")) return fail({ code: "note_malformed" });
  const text = note.slice(0, split + 1);
  const lines = note.slice(split + 2, -1).split("\n");
  if (!text.split("\n").every(isLine) || lines.length > SIGNATURES_MAX) return fail({ code: "note_malformed" });
  const signatures: NoteSignature[] = [];
  for (const line of lines) {
    const [name = "", encoded = "", ...rest] = line.startsWith(LINE_START) ? line.slice(LINE_START.length).split(" ") : [];
    const value = isName(name) && rest.length === 0 ? decodeBase64(encoded) : undefined;
    if (value === undefined || value.length <= KEY_ID_SIZE_BYTES) return fail({ code: "note_malformed" });
    signatures.push({ name, keyId: value.subarray(0, KEY_ID_SIZE_BYTES), signature: value.subarray(KEY_ID_SIZE_BYTES) });
  }
  return ok({ text, signatures });
}

/** Signs a text as the key's own. */
export function signNote(text: string, name: string, keyPair: KeyPair): NoteSignature {
  const key: NoteKey = { name, algorithm: "ed25519", key: keyPair.publicKey };
  return { name, keyId: noteKeyId(key), signature: keyPair.sign(utf8(text)) };
}

/**
 * Cosigns a checkpoint: its signer has verified that the log of this origin was never another one at a smaller size.
 *
 * @param timeS - seconds since 1970 UTC, of the statement
 */
export function cosignCheckpoint(text: string, name: string, keyPair: KeyPair, timeS: bigint): NoteSignature {
  const key: NoteKey = { name, algorithm: "cosignature", key: keyPair.publicKey };
  return {
    name,
    keyId: noteKeyId(key),
    signature: concatBytes(u64(timeS), keyPair.sign(cosignedBytes(text, timeS))),
  };
}

/**
 * Checks that a key signed a note. The time is of a cosignature alone.
 *
 * @returns `note_unsigned` when no line is the key's, `note_signature` when one is and does not hold
 */
export function verifyNote(note: Note, key: NoteKey): Result<{ readonly timeS: bigint | undefined }, NoteError> {
  const keyId = noteKeyId(key);
  const own = note.signatures.filter(({ name, keyId: id }) => name === key.name && bytesEqual(id, keyId));
  if (own.length === 0) return fail({ code: "note_unsigned" });
  let timeS: bigint | undefined;
  for (const { signature } of own) {
    if (key.algorithm === "ed25519") {
      if (!verifySignature(key.key, utf8(note.text), signature)) return fail({ code: "note_signature" });
      continue;
    }
    if (signature.length !== 8 + SIGNATURE_SIZE_BYTES) return fail({ code: "note_signature" });
    const at = readU64(signature);
    if (!verifySignature(key.key, cosignedBytes(note.text, at), signature.subarray(8))) return fail({ code: "note_signature" });
    timeS = timeS === undefined || at > timeS ? at : timeS;
  }
  return ok({ timeS });
}

// Keys.

/** A key as others name it: `<name>+<key id>+<base64(algorithm ‖ key)>`. */
export function encodeNoteKey(key: NoteKey): string {
  return `${key.name}+${toHex(noteKeyId(key))}+${base64.encode(concatBytes(Uint8Array.of(ALGORITHM_BYTE[key.algorithm]), key.key.bytes))}`;
}

/** Parses a key, whose id must be its own. */
export function parseNoteKey(text: string): Result<NoteKey, NoteError> {
  const [name = "", id = "", ...rest] = text.split("+");
  // Base64 may hold a plus of its own.
  const bytes = decodeBase64(rest.join("+"));
  const algorithm = (Object.keys(ALGORITHM_BYTE) as NoteAlgorithm[]).find((each) => ALGORITHM_BYTE[each] === bytes?.[0]);
  if (!isName(name) || bytes?.length !== 1 + KEY_SIZE_BYTES || algorithm === undefined) return fail({ code: "note_key" });
  const key: NoteKey = { name, algorithm, key: { type: "ed25519", bytes: bytes.subarray(1) } };
  return toHex(noteKeyId(key)) === id ? ok(key) : fail({ code: "note_key" });
}

/** The four bytes that find a key's line; not enough to tell keys apart for sure. */
export function noteKeyId({ name, algorithm, key }: NoteKey): Uint8Array {
  assert(key.type === "ed25519" && key.bytes.length === KEY_SIZE_BYTES, "a note is signed with Ed25519, not {}", key.type);
  const named = concatBytes(utf8(name), Uint8Array.of(0x0a, ALGORITHM_BYTE[algorithm]), key.bytes);
  return sha256(named).subarray(0, KEY_ID_SIZE_BYTES);
}

function cosignedBytes(text: string, timeS: bigint): Uint8Array {
  return utf8(`cosignature/v1\ntime ${timeS}\n${text}`);
}

function isName(name: string): boolean {
  return name.length > 0 && name.length <= 256 && isLine(name) && !/[\s+]/u.test(name);
}

/** No control character but the newline, which lines do not hold. */
function isLine(line: string): boolean {
  for (let index = 0; index < line.length; index += 1) if (line.charCodeAt(index) < 0x20) return false;
  return true;
}

/** One encoding a value: padding is wanted, and nothing is left over. */
export function decodeBase64(text: string): Uint8Array | undefined {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text) || text.length % 4 !== 0) return undefined;
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return base64.encode(bytes) === text ? bytes : undefined;
}
