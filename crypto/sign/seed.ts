/**
 * One 32-byte seed is a whole identity; what needs several keys derives them from it.
 *
 * `derived = H(seed domain ‖ purpose byte ‖ seed)`, BLAKE3-256. The seed is uniform, so a plain hash is a sound
 * derivation. The purposes are part of the format: never renumber, never reuse.
 */

import { assert } from "../base/assert.ts";
import { hashParts } from "../hash/hash.ts";
import { SEED_SIZE_BYTES } from "../backend/random.ts";
import type { KeyType } from "./type.ts";

const PURPOSE = { hybridEd25519: 0x01, hybridMlDsa: 0x02, networkOfMlDsa: 0x03, notes: 0x04 } as const;

/** The seeds of the two halves of a hybrid key. */
export function hybridSeeds(seed: Uint8Array): { readonly ed25519: Uint8Array; readonly mlDsa: Uint8Array } {
  return { ed25519: derive(PURPOSE.hybridEd25519, seed), mlDsa: derive(PURPOSE.hybridMlDsa, seed) };
}

/**
 * The Ed25519 seed (RFC 8032, 5.1.5) of an identity, from which the libp2p key and peer id come.
 *
 * - `ed25519`: the seed itself, so that the peer id is that of the identity's own key
 * - `hybrid`: the seed of the Ed25519 half, likewise
 * - `ml-dsa-65`: has no such half; a separate Ed25519 key that only the network sees
 */
export function ed25519SeedOf(type: KeyType, seed: Uint8Array): Uint8Array {
  assert(seed.length === SEED_SIZE_BYTES, "seed is {} bytes", seed.length);
  if (type === "ed25519") return seed.slice();
  return type === "hybrid" ? hybridSeeds(seed).ed25519 : derive(PURPOSE.networkOfMlDsa, seed);
}

/** The Ed25519 seed of the key that signs notes and receipts for foreign tools; what its identity signs has no such form. */
export function noteSeedOf(seed: Uint8Array): Uint8Array {
  return derive(PURPOSE.notes, seed);
}

function derive(purpose: number, seed: Uint8Array): Uint8Array {
  assert(seed.length === SEED_SIZE_BYTES, "seed is {} bytes", seed.length);
  return hashParts("seed", Uint8Array.of(purpose), seed);
}
