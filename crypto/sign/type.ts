/** The kinds of signing key, with their wire bytes and sizes. */

import { PUBLIC_KEY_SIZES_BYTES, SIGNATURE_SIZES_BYTES } from "../backend/signatures.ts";

/**
 * - `ed25519`: small and fast, verified by ZIP215; breaks when large quantum computers come
 * - `ml-dsa-65`: FIPS 204, NIST category 3
 * - `hybrid`: both of them, and both must verify
 */
export type KeyType = "ed25519" | "ml-dsa-65" | "hybrid";

/** Every key type, in the order of their wire bytes. */
export const KEY_TYPES: readonly KeyType[] = ["ed25519", "ml-dsa-65", "hybrid"];

/** The first byte of an encoded key. Part of the format; stays under 0x80. */
export const KEY_TYPE_BYTES = { ed25519: 1, "ml-dsa-65": 2, hybrid: 3 } as const satisfies Record<KeyType, number>;

const KEY_SIZES_BYTES = {
  ...PUBLIC_KEY_SIZES_BYTES,
  hybrid: PUBLIC_KEY_SIZES_BYTES.ed25519 + PUBLIC_KEY_SIZES_BYTES["ml-dsa-65"],
} as const satisfies Record<KeyType, number>;

const SIZES_BYTES = {
  ...SIGNATURE_SIZES_BYTES,
  hybrid: SIGNATURE_SIZES_BYTES.ed25519 + SIGNATURE_SIZES_BYTES["ml-dsa-65"],
} as const satisfies Record<KeyType, number>;

/** How many bytes a raw public key has: 32, 1,952 or 1,984. */
export function publicKeySizeBytes(type: KeyType): number {
  return KEY_SIZES_BYTES[type];
}

/** How many bytes a signature has: 64, 3,309 or 3,373. */
export function signatureSizeBytes(type: KeyType): number {
  return SIZES_BYTES[type];
}

/** The type that a wire byte stands for. */
export function keyTypeOf(byte: number | undefined): KeyType | undefined {
  return KEY_TYPES.find((type) => KEY_TYPE_BYTES[type] === byte);
}
