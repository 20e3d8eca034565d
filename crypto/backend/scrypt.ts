/**
 * scrypt (RFC 7914) with r = 8 and p = 1: `node:crypto` where it is there (0.4 s for 2^17), noble where it is not
 * (1 to 2 s). Takes `2^(logN + 10)` bytes of memory.
 */

import { scrypt as portable } from "@noble/hashes/scrypt.js";
import { assert } from "../base/assert.ts";
import { type NodeCrypto, nodeCrypto } from "./node-crypto.ts";

/** The block size and parallelism that we always use: RFC 7914, section 2. */
export const SCRYPT_R = 8;
export const SCRYPT_P = 1;

/** The largest cost that any caller may ask for: 1 GiB. */
export const SCRYPT_LOG_N_MAX = 20;

/** What is derived from: a secret, its salt, and how hard it is to guess again. */
export type ScryptInput = {
  readonly secret: Uint8Array;
  readonly salt: Uint8Array;
  readonly logN: number;
  readonly sizeBytes: number;
};

/** Derives `sizeBytes` bytes. */
export type Scrypt = (input: ScryptInput) => Uint8Array;

/** The pure JavaScript implementation. */
export const scryptPortable: Scrypt = (input) => {
  checkInput(input);
  const { secret, salt, logN, sizeBytes } = input;
  return portable(secret, salt, { N: 2 ** logN, r: SCRYPT_R, p: SCRYPT_P, dkLen: sizeBytes, maxmem: memoryBytes(logN) });
};

function checkInput({ logN, sizeBytes }: ScryptInput): void {
  assert(Number.isInteger(logN) && logN >= 1 && logN <= SCRYPT_LOG_N_MAX, "scrypt logN {}", logN);
  assert(sizeBytes >= 1 && sizeBytes <= 1024, "scrypt output of {} bytes", sizeBytes);
}

/** What both libraries count against their limit, and a little more. */
function memoryBytes(logN: number): number {
  return 128 * SCRYPT_R * (2 ** logN + SCRYPT_P + 64);
}

function native(node: NodeCrypto): Scrypt {
  return (input) => {
    checkInput(input);
    const { secret, salt, logN, sizeBytes } = input;
    const options = { N: 2 ** logN, r: SCRYPT_R, p: SCRYPT_P, maxmem: memoryBytes(logN) };
    return new Uint8Array(node.scryptSync(secret, salt, sizeBytes, options));
  };
}

/** The native implementation, or `undefined` where `node:crypto` is absent or too old. */
export const scryptNode: Scrypt | undefined = nodeCrypto && native(nodeCrypto);

/** The fastest one here. */
export const scrypt: Scrypt = scryptNode ?? scryptPortable;
