/** ML-KEM by `node:crypto`. */

import type { KeyObject } from "node:crypto";
import { KEM_PUBLIC_KEY_SIZES_BYTES, type KemBackend, type KemType } from "./kems.ts";
import { type NodeCrypto, nodeCrypto } from "./node-crypto.ts";

/** The native adapter, or `undefined` where `node:crypto` is absent or too old. */
export const nodeKems: KemBackend | undefined = nodeCrypto && nodeBackend(nodeCrypto);

function nodeBackend(node: NodeCrypto): KemBackend {
  return {
    name: "node",
    decapsulator: (type, seed) => {
      const key = node.privateKey({ key: seed, format: "raw-seed", asymmetricKeyType: type });
      return {
        publicKey: node.rawPublicKey(key),
        decapsulate: (ciphertext) => new Uint8Array(node.decapsulate(key, ciphertext)),
      };
    },
    encapsulate: (type, publicKey) => {
      const key = importPublicKey(node, type, publicKey);
      if (key === undefined) return undefined;
      const { ciphertext, sharedKey } = node.encapsulate(key);
      return { ciphertext: new Uint8Array(ciphertext), sharedSecret: new Uint8Array(sharedKey) };
    },
  };
}

function importPublicKey(node: NodeCrypto, type: KemType, publicKey: Uint8Array): KeyObject | undefined {
  if (publicKey.length !== KEM_PUBLIC_KEY_SIZES_BYTES[type]) return undefined;
  try {
    return node.publicKey({ key: publicKey, format: "raw-public", asymmetricKeyType: type });
  } catch {
    // OpenSSL checks the modulus on import (FIPS 203, section 7.2): a peer's key, refused.
    return undefined;
  }
}
