/**
 * Sealed key files: a seed under a passphrase. Bytes in, bytes out; the file itself (mode 0600, fsync, rename) is
 * the caller's.
 *
 * Layout, canonical dag-cbor: `[header, sealed]`, where `header` is a byte string holding
 * `["pyralog-key", version, public key, [logN, r, p], salt, nonce]` and `sealed` is the seed under
 * XChaCha20-Poly1305 with the key `scrypt(passphrase, salt)` and the header's bytes as additional data: no part of
 * the file can be changed without the passphrase.
 *
 * The cost is checked against a bound before any memory is taken, because a file may come from a stranger.
 * The passphrase is normalised (Unicode NFKC), so that it does not matter on which keyboard it was typed.
 */

import { xchacha20poly1305 } from "@noble/ciphers/chacha.js";
import { assert } from "../base/assert.ts";
import { utf8 } from "../base/bytes.ts";
import { fail, ok, type Result } from "../base/result.ts";
import { type RandomBytes, randomBytes } from "../backend/random.ts";
import { scrypt, SCRYPT_LOG_N_MAX, SCRYPT_P, SCRYPT_R } from "../backend/scrypt.ts";
import { type DecodeError, readWith, type Reader } from "../codec/reader.ts";
import { Writer } from "../codec/writer.ts";
import {
  keyPairFromSeed,
  type KeyType,
  type PublicKey,
  publicKeysEqual,
  readPublicKey,
  SEED_SIZE_BYTES,
  writePublicKey,
} from "../sign/key.ts";

/** 16 MiB of memory and 50 ms a guess: only for networks whose keys are worth nothing. */
export const KEY_FILE_LOG_N_MIN = 14;
/** 128 MiB of memory and 0.4 s a guess, on a machine of 2025. */
export const KEY_FILE_LOG_N_DEFAULT = 17;
/** 1 GiB. */
export const KEY_FILE_LOG_N_MAX: number = SCRYPT_LOG_N_MAX;

/** The longest key file: a hybrid key and some hundred bytes. */
export const KEY_FILE_SIZE_BYTES_MAX = 4096;

const MAGIC = "pyralog-key";
const VERSION = 1;
const SALT_SIZE_BYTES = 32;
const NONCE_SIZE_BYTES = 24;
const TAG_SIZE_BYTES = 16;
const CIPHER_KEY_SIZE_BYTES = 32;

/**
 * Why a key file does not open.
 *
 * - `keyfile_malformed`: not a key file, or a damaged one; `cause` says where. Restore it from a backup.
 * - `keyfile_version`: made by a later release. Upgrade.
 * - `keyfile_cost`: opening it would take more memory than allowed (or it was sealed too weakly to be ours).
 * - `keyfile_passphrase`: the wrong passphrase, or the file was changed since it was sealed. Nobody can tell which.
 * - `keyfile_key`: the seed inside does not make the public key outside, although the passphrase is right.
 */
export type KeyFileError =
  | { readonly code: "keyfile_malformed"; readonly cause: DecodeError }
  | { readonly code: "keyfile_version"; readonly got: number }
  | { readonly code: "keyfile_cost"; readonly gotLogN: number; readonly maxLogN: number }
  | { readonly code: "keyfile_passphrase" }
  | { readonly code: "keyfile_key" };

/** What can be read of a key file without its passphrase. Not authenticated: `openSeed` is what proves it. */
export type KeyFileHeader = { readonly publicKey: PublicKey; readonly logN: number };

/** What a key file holds. */
export type OpenedSeed = { readonly type: KeyType; readonly seed: Uint8Array; readonly publicKey: PublicKey };

/** What is sealed, and how. */
export type SealOptions = {
  readonly type: KeyType;
  /** 32 bytes. */
  readonly seed: Uint8Array;
  readonly passphrase: string;
  /** The base-2 logarithm of scrypt's N, 14 to 20, by default 17. */
  readonly logN?: number;
  /** Where salt and nonce come from; the platform by default. */
  readonly random?: RandomBytes;
};

/** Seals a seed. Takes as long as opening it will. */
export function sealSeed(options: SealOptions): Uint8Array {
  const { type, seed, passphrase, logN = KEY_FILE_LOG_N_DEFAULT, random = randomBytes } = options;
  assert(seed.length === SEED_SIZE_BYTES, "seed is {} bytes", seed.length);
  assert(Number.isInteger(logN) && logN >= KEY_FILE_LOG_N_MIN && logN <= KEY_FILE_LOG_N_MAX, "key file logN {}", logN);
  const salt = random(SALT_SIZE_BYTES);
  const nonce = random(NONCE_SIZE_BYTES);
  const header = new Writer().array(6).text(MAGIC).uint(VERSION);
  writePublicKey(header, keyPairFromSeed(type, seed).publicKey);
  header.array(3).uint(logN).uint(SCRYPT_R).uint(SCRYPT_P).bytes(salt).bytes(nonce);
  const headerBytes = header.finish();
  const cipher = xchacha20poly1305(cipherKey(passphrase, salt, logN), nonce, headerBytes);
  return new Writer().array(2).bytes(headerBytes).bytes(cipher.encrypt(seed)).finish();
}

/**
 * Opens a key file.
 *
 * @param logNMax - the most that scrypt may take, `2^(logNMax + 10)` bytes
 */
export function openSeed(
  bytes: Uint8Array,
  passphrase: string,
  { logNMax = KEY_FILE_LOG_N_MAX }: { readonly logNMax?: number } = {},
): Result<OpenedSeed, KeyFileError> {
  const parsed = parseKeyFile(bytes, logNMax);
  if (!parsed.ok) return parsed;
  const { headerBytes, sealed, salt, nonce, publicKey, logN } = parsed.value;
  const cipher = xchacha20poly1305(cipherKey(passphrase, salt, logN), nonce, headerBytes);
  let seed: Uint8Array;
  try {
    seed = cipher.decrypt(sealed);
  } catch {
    // All sizes were checked: what is left to throw for is the tag.
    return fail({ code: "keyfile_passphrase" });
  }
  if (!publicKeysEqual(keyPairFromSeed(publicKey.type, seed).publicKey, publicKey)) return fail({ code: "keyfile_key" });
  return ok({ type: publicKey.type, seed, publicKey });
}

/** Reads what a key file says about itself. */
export function readKeyFileHeader(bytes: Uint8Array): Result<KeyFileHeader, KeyFileError> {
  const parsed = parseKeyFile(bytes, KEY_FILE_LOG_N_MAX);
  if (!parsed.ok) return parsed;
  return ok({ publicKey: parsed.value.publicKey, logN: parsed.value.logN });
}

type Header = KeyFileHeader & { readonly salt: Uint8Array; readonly nonce: Uint8Array };
type KeyFile = Header & { readonly headerBytes: Uint8Array; readonly sealed: Uint8Array };

function parseKeyFile(bytes: Uint8Array, logNMax: number): Result<KeyFile, KeyFileError> {
  const outer = readWith(bytes, (reader) => {
    reader.field("keyfile").tuple(2);
    const headerBytes = reader.field("header").bytes(KEY_FILE_SIZE_BYTES_MAX);
    return { headerBytes, sealed: reader.field("sealed").bytes(KEY_FILE_SIZE_BYTES_MAX) };
  });
  if (!outer.ok) return fail({ code: "keyfile_malformed", cause: outer.error });
  const { headerBytes, sealed } = outer.value;

  const version = versionOf(headerBytes);
  if (version !== undefined && version !== VERSION) return fail({ code: "keyfile_version", got: version });
  const header = readWith(headerBytes, readHeader);
  if (!header.ok) return fail({ code: "keyfile_malformed", cause: header.error });
  if (sealed.length !== SEED_SIZE_BYTES + TAG_SIZE_BYTES) {
    return fail({ code: "keyfile_malformed", cause: { code: "encoding_limit", offset: 0, field: "sealed" } });
  }
  const { logN } = header.value;
  if (logN < KEY_FILE_LOG_N_MIN || logN > logNMax) return fail({ code: "keyfile_cost", gotLogN: logN, maxLogN: logNMax });
  return ok({ ...header.value, headerBytes, sealed });
}

/** The version of any release's key file: later ones may be longer, and are refused by number and not as damage. */
function versionOf(headerBytes: Uint8Array): number | undefined {
  let version: number | undefined;
  readWith(headerBytes, (reader) => {
    reader.array(64);
    if (reader.text(MAGIC.length) === MAGIC) version = reader.number();
  });
  return version;
}

function readHeader(reader: Reader): Header {
  reader.field("header").tuple(6);
  if (reader.field("magic").text(MAGIC.length) !== MAGIC) reader.refuse("encoding_type");
  reader.field("version").number(VERSION);
  const publicKey = readPublicKey(reader.field("publicKey"));
  reader.field("scrypt").tuple(3);
  const logN = reader.field("logN").number(63);
  readExactly(reader.field("r"), SCRYPT_R);
  readExactly(reader.field("p"), SCRYPT_P);
  const salt = reader.field("salt").fixed(SALT_SIZE_BYTES);
  return { publicKey, logN, salt, nonce: reader.field("nonce").fixed(NONCE_SIZE_BYTES) };
}

function readExactly(reader: Reader, expected: number): void {
  const offset = reader.offset;
  if (reader.number() !== expected) reader.refuse("encoding_limit", offset);
}

function cipherKey(passphrase: string, salt: Uint8Array, logN: number): Uint8Array {
  return scrypt({ secret: utf8(passphrase.normalize("NFKC")), salt, logN, sizeBytes: CIPHER_KEY_SIZE_BYTES });
}
