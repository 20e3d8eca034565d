/** Keys and policies in a home: sealed on disk, opened for as long as somebody signs. */

import { publicKeyFromRaw } from "@libp2p/crypto/keys";
import { peerIdFromPublicKey } from "@libp2p/peer-id";
import { basename, join } from "node:path";
import { z } from "zod";
import { assert } from "../../crypto/base/assert.ts";
import { parseHex, parseUtf8, toHex } from "../../crypto/base/bytes.ts";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { fail, ok, type Result } from "../../crypto/base/result.ts";
import { addressOfKey, addressOfPolicy, type Address } from "../../crypto/identity/address.ts";
import { KEY_FILE_SIZE_BYTES_MAX, openSeed, readKeyFileHeader, sealSeed } from "../../crypto/identity/keyfile.ts";
import { multisigPolicy, type MultisigPolicy } from "../../crypto/identity/policy.ts";
import {
  encodePublicKey,
  generateSeed,
  keyPairFromSeed,
  parsePublicKey,
  type KeyPair,
  type KeyType,
  type PublicKey,
} from "../../crypto/sign/key.ts";
import { placeFile, readFileBounded } from "./files.ts";
import type { Home } from "./home.ts";
import { refuseShared } from "./passphrase.ts";

/** The name of the key that a node is known by. */
export const NODE_KEY_NAME = "node";

const KEY_ENDING = ".key";
const POLICY_ENDING = ".policy";

/** Sixteen hybrid keys in hex are 64 KB. */
const POLICY_SIZE_BYTES_MAX = 128 * 1024;

const NAME_PATTERN = /^[a-z0-9][a-z0-9_-]{0,63}$/;

/** What everybody may know of a key in the home. */
export type KeySummary = { readonly name: string; readonly publicKey: PublicKey; readonly address: Address };

/** A key that can sign. */
export type OpenKey = KeySummary & { readonly type: KeyType; readonly seed: Uint8Array; readonly keyPair: KeyPair };

/** A policy in the home. */
export type PolicySummary = { readonly name: string; readonly policy: MultisigPolicy; readonly address: Address };

/** Makes a key that nobody had before, and seals it. `logN` is scrypt's cost; see `crypto/identity/keyfile.ts`. */
export async function createKey(
  home: Home,
  options: {
    readonly name: string;
    readonly type: KeyType;
    readonly passphrase: string;
    readonly logN?: number;
    /** A new one when absent. */
    readonly seed?: Uint8Array;
  },
): Promise<OpenKey> {
  const { name, type, passphrase, logN } = options;
  const path = keyPath(home, name);
  if (name === NODE_KEY_NAME && type === "ml-dsa-65") {
    throw new CodedError("key_type_node", {
      field: "type",
      message: "a node key needs an Ed25519 half for its peer id: take hybrid or ed25519",
    });
  }
  const seed = options.seed ?? generateSeed();
  await placeKey(path, sealSeed({ type, seed, passphrase, ...(logN === undefined ? {} : { logN }) }), name);
  return openKeyOf(name, type, seed);
}

/**
 * Opens a key.
 *
 * @throws CodedError `key_missing`, `key_permissions`, or a code of `KeyFileError`
 */
export async function openKey(home: Home, name: string, passphrase: string): Promise<OpenKey> {
  const path = keyPath(home, name);
  const bytes = await requireKeyFile(home, path, name);
  await refuseShared(path, "key_permissions");
  const opened = openSeed(bytes, passphrase);
  if (!opened.ok) throw keyFileError(opened.error, path);
  return openKeyOf(name, opened.value.type, opened.value.seed);
}

/** What a key file says about itself, without its passphrase. */
export async function readKey(home: Home, name: string): Promise<KeySummary> {
  const path = keyPath(home, name);
  const header = readKeyFileHeader(await requireKeyFile(home, path, name));
  if (!header.ok) throw keyFileError(header.error, path);
  return { name, publicKey: header.value.publicKey, address: addressOfKey(header.value.publicKey) };
}

/** All keys, by name. */
export async function listKeys(home: Home): Promise<readonly KeySummary[]> {
  const names = await home.keyNames(KEY_ENDING);
  return Promise.all(names.map((name) => readKey(home, name)));
}

/** Writes a policy under a name that no policy or key has. */
export async function createPolicy(home: Home, name: string, policy: MultisigPolicy): Promise<PolicySummary> {
  if ((await home.keyNames(KEY_ENDING)).includes(name))
    throw new CodedError("key_exists", { name, field: "NAME", message: `there is a key called ${name}` });
  await placeKey(join(home.keysPath, `${checkName(name)}${POLICY_ENDING}`), policyText(policy), name);
  return { name, policy, address: addressOfPolicy(policy) };
}

/** Reads a policy; `undefined` when there is none of that name. */
export async function readPolicy(home: Home, name: string): Promise<PolicySummary | undefined> {
  const path = join(home.keysPath, `${checkName(name)}${POLICY_ENDING}`);
  const bytes = await readFileBounded(path, POLICY_SIZE_BYTES_MAX);
  if (bytes === undefined) return undefined;
  const policy = parsePolicyText(bytes);
  if (!policy.ok) throw new CodedError(policy.error.code, { path, message: `${path} is not a policy` });
  return { name, policy: policy.value, address: addressOfPolicy(policy.value) };
}

/** All policies, by name. */
export async function listPolicies(home: Home): Promise<readonly PolicySummary[]> {
  const names = await home.keyNames(POLICY_ENDING);
  const policies = await Promise.all(names.map((name) => readPolicy(home, name)));
  return policies.filter((policy) => policy !== undefined);
}

/** A public key as people pass it on: hex of its encoding. */
export function formatPublicKey(key: PublicKey): string {
  return toHex(encodePublicKey(key));
}

/** Parses what `formatPublicKey` wrote. */
export function parsePublicKeyText(text: string): Result<PublicKey, { readonly code: "key_text" | "key_type" | "key_length" }> {
  const bytes = parseHex(text.trim());
  if (!bytes.ok) return fail({ code: "key_text" });
  const key = parsePublicKey(bytes.value);
  return key.ok ? key : fail({ code: key.error.code });
}

/** The libp2p peer id of a node key: that of its Ed25519 half. */
export function peerIdOf(key: PublicKey): string {
  assert(key.type !== "ml-dsa-65", "a node key without an Ed25519 half");
  return peerIdFromPublicKey(publicKeyFromRaw(key.bytes.subarray(0, 32))).toString();
}

const POLICY_SCHEMA = z.strictObject({ threshold: z.int().min(1).max(16), keys: z.array(z.string().max(8192)).min(1).max(16) });

/** The text of a policy file: JSON, the keys as `formatPublicKey` writes them, sorted. */
export function policyText(policy: MultisigPolicy): string {
  return `${JSON.stringify({ threshold: policy.threshold, keys: policy.keys.map(formatPublicKey) }, undefined, 2)}\n`;
}

/** Parses the text of a policy file. Never throws on hostile bytes. */
export function parsePolicyText(bytes: Uint8Array): Result<MultisigPolicy, { readonly code: string }> {
  const text = parseUtf8(bytes);
  if (!text.ok) return text;
  let data: unknown;
  try {
    data = JSON.parse(text.value);
  } catch {
    return fail({ code: "policy_text" });
  }
  const checked = POLICY_SCHEMA.safeParse(data);
  if (!checked.success) return fail({ code: "policy_text" });
  const keys: PublicKey[] = [];
  for (const each of checked.data.keys) {
    const key = parsePublicKeyText(each);
    if (!key.ok) return key;
    keys.push(key.value);
  }
  const policy = multisigPolicy(checked.data.threshold, keys);
  return policy.ok ? ok(policy.value) : policy;
}

function openKeyOf(name: string, type: KeyType, seed: Uint8Array): OpenKey {
  const keyPair = keyPairFromSeed(type, seed);
  return { name, type, seed, keyPair, publicKey: keyPair.publicKey, address: addressOfKey(keyPair.publicKey) };
}

function checkName(name: string): string {
  if (!NAME_PATTERN.test(name)) {
    throw new CodedError("key_name", {
      name,
      field: "NAME",
      message: "a name is 1 to 64 lower-case letters, digits, - and _, beginning with a letter or digit",
    });
  }
  return name;
}

function keyPath(home: Home, name: string): string {
  return join(home.keysPath, `${checkName(name)}${KEY_ENDING}`);
}

async function placeKey(path: string, bytes: Uint8Array | string, name: string): Promise<void> {
  try {
    await placeFile(path, bytes, { replace: false });
  } catch (error) {
    if (codeOf(error) !== "file_exists") throw error;
    throw new CodedError(
      "key_exists",
      { name, field: "NAME", message: `${basename(path)} exists already; it is never replaced` },
      { cause: error },
    );
  }
}

async function requireKeyFile(home: Home, path: string, name: string): Promise<Uint8Array> {
  const bytes = await readFileBounded(path, KEY_FILE_SIZE_BYTES_MAX);
  if (bytes !== undefined) return bytes;
  await home.require();
  throw new CodedError("key_missing", {
    name,
    field: "NAME",
    message: `there is no key called ${name}; see: pyralog keys list --home ${home.path}`,
  });
}

const KEY_FILE_MESSAGES: { readonly [code: string]: string } = {
  keyfile_malformed: "is not a key file, or a damaged one; restore it from a backup",
  keyfile_version: "was made by a later release",
  keyfile_cost: "asks for more memory than is allowed",
  keyfile_passphrase: "does not open: the passphrase is wrong, or the file was changed",
  keyfile_key: "holds another key than it says",
};

function keyFileError(error: { readonly code: string }, path: string): CodedError {
  return new CodedError(error.code, { path, message: `${path} ${KEY_FILE_MESSAGES[error.code] ?? error.code}` });
}
