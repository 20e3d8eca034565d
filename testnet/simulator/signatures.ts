/**
 * Signatures within one process: real keys and real bytes, each checked once.
 *
 * What a key of ours signed is good by construction, so it is remembered when it is made; anything else is put to the
 * real verifier, once a triple. Nothing is handed to a thread.
 */

import { toHex } from "../../crypto/base/bytes.ts";
import { addressOfKey } from "../../crypto/identity/address.ts";
import {
  type KeyPair,
  keyPairFromSeed,
  type PublicKey,
  type SignaturesVerifier,
  type SignatureVerifier,
  verifySignature,
} from "../../crypto/sign/key.ts";

const pairs = new Map<string, KeyPair>();
const addresses = new Map<string, ReturnType<typeof addressOfKey>>();

/** The key pair of a role and number: the same in every run. */
export function keyPairOf(role: "validator" | "client", index: number): KeyPair {
  const name = `${role} ${index}`;
  const known = pairs.get(name);
  if (known !== undefined) return known;
  const seed = new Uint8Array(32).fill(index + 1);
  seed[0] = role === "validator" ? 1 : 2;
  const made = keyPairFromSeed("ed25519", seed, { deterministic: true });
  pairs.set(name, made);
  return made;
}

/** The verifier of a run, and its key pairs. */
export class Signatures {
  readonly #verdicts = new Map<string, boolean>();

  /** As `keyPairOf`, remembering what it signs. */
  keyPair(role: "validator" | "client", index: number): KeyPair {
    const keyPair = keyPairOf(role, index);
    const name = toHex(keyPair.publicKey.bytes);
    return {
      publicKey: keyPair.publicKey,
      sign: (message) => {
        const signature = keyPair.sign(message);
        this.#verdicts.set(nameOf(name, message, signature), true);
        return signature;
      },
    };
  }

  /** What the ledger and the driver check signatures with. */
  readonly verify: SignatureVerifier = async (key, message, signature) =>
    await Promise.resolve(this.isGood(key, message, signature));

  /** What the intake checks signatures with. */
  readonly verifyAll: SignaturesVerifier = async (signed) =>
    await Promise.resolve(signed.map(({ key, message, signature }) => this.isGood(key, message, signature)));

  /** As `verify`, at once. */
  isGood(key: PublicKey, message: Uint8Array, signature: Uint8Array): boolean {
    const name = nameOf(toHex(key.bytes), message, signature);
    const known = this.#verdicts.get(name);
    if (known !== undefined) return known;
    const isGood = verifySignature(key, message, signature);
    this.#verdicts.set(name, isGood);
    return isGood;
  }
}

/** The address of a role's key. */
export function addressOf(role: "validator" | "client", index: number): ReturnType<typeof addressOfKey> {
  const name = `${role} ${index}`;
  const known = addresses.get(name);
  if (known !== undefined) return known;
  const made = addressOfKey(keyPairOf(role, index).publicKey);
  addresses.set(name, made);
  return made;
}

function nameOf(key: string, message: Uint8Array, signature: Uint8Array): string {
  return `${key}/${toHex(message)}/${toHex(signature)}`;
}
