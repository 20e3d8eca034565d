/** Signatures by `node:crypto`, with noble deciding the Ed25519 edge cases that it refuses. */

import type { KeyObject } from "node:crypto";
import { assert } from "../base/assert.ts";
import { nobleSignatures } from "./noble-signatures.ts";
import { type NodeCrypto, nodeCrypto } from "./node-crypto.ts";
import { type SignatureAlgorithm, type SignatureBackend, type Signer, sizesFit, VERIFY_BATCH_COUNT_MAX } from "./signatures.ts";

/**
 * How many imported public keys are kept. Importing costs a quarter of a verification; validators sign again and
 * again, and a stranger's key is forgotten when as many others came after it.
 */
const IMPORTED_KEYS_MAX = 512;

function nodeBackend(node: NodeCrypto): SignatureBackend {
  const imported = new ImportedKeys(node);

  const verifyPortable = (
    algorithm: SignatureAlgorithm,
    publicKey: Uint8Array,
    message: Uint8Array,
    signature: Uint8Array,
  ): boolean => algorithm === "ed25519" && nobleSignatures.verify(algorithm, publicKey, message, signature);

  const backend: SignatureBackend = {
    name: "node",
    signer: (algorithm, seed) => nodeSigner(node, algorithm, seed),
    verify: (algorithm, publicKey, message, signature) => {
      if (!sizesFit(algorithm, publicKey, signature)) return false;
      const key = imported.get(algorithm, publicKey);
      if (key !== undefined && node.verify(null, message, key, signature)) return true;
      return verifyPortable(algorithm, publicKey, message, signature);
    },
    verifyAsync: async (algorithm, publicKey, message, signature) => {
      if (!sizesFit(algorithm, publicKey, signature)) return false;
      const key = imported.get(algorithm, publicKey);
      if (key === undefined) return verifyPortable(algorithm, publicKey, message, signature);
      // The pool copies its input; so must the second opinion, or it would be about other bytes.
      const copies =
        algorithm === "ed25519" ? { message: message.slice(), signature: signature.slice() } : { message, signature };
      if (await verifyOnPool(node, key, message, signature)) return true;
      return verifyPortable(algorithm, publicKey, copies.message, copies.signature);
    },
    verifyBatch: async (algorithm, claims) => {
      assert(claims.length <= VERIFY_BATCH_COUNT_MAX, "{} signatures", claims.length);
      return await Promise.all(
        claims.map(({ publicKey, message, signature }) => backend.verifyAsync(algorithm, publicKey, message, signature)),
      );
    },
  };
  return backend;
}

function nodeSigner(node: NodeCrypto, algorithm: SignatureAlgorithm, seed: Uint8Array): Signer {
  const key = node.privateKey({
    key: seed,
    format: algorithm === "ed25519" ? "raw-private" : "raw-seed",
    asymmetricKeyType: algorithm,
  });
  const sign = (message: Uint8Array): Uint8Array => new Uint8Array(node.sign(null, message, key));
  let portable: Signer | undefined;
  return {
    publicKey: node.rawPublicKey(key),
    sign,
    signDeterministic: (message) => {
      if (algorithm === "ed25519") return sign(message);
      // node:crypto offers only the hedged variant of ML-DSA.
      portable ??= nobleSignatures.signer(algorithm, seed);
      return portable.signDeterministic(message);
    },
  };
}

/** Runs on libuv's pool, which copies the three inputs before this returns. An error is a refusal. */
function verifyOnPool(node: NodeCrypto, key: KeyObject, message: Uint8Array, signature: Uint8Array): Promise<boolean> {
  return new Promise((resolve) => {
    node.verify(null, message, key, signature, (error, valid) => resolve(error === null && valid));
  });
}

/** The most recently used imported keys of each algorithm. */
class ImportedKeys {
  readonly #node: NodeCrypto;
  readonly #keys = { ed25519: new Map<string, KeyObject>(), "ml-dsa-65": new Map<string, KeyObject>() };

  constructor(node: NodeCrypto) {
    this.#node = node;
  }

  /** The imported key, or `undefined` when `node:crypto` refuses its bytes. */
  get(algorithm: SignatureAlgorithm, publicKey: Uint8Array): KeyObject | undefined {
    const keys = this.#keys[algorithm];
    const name = Buffer.from(publicKey.buffer, publicKey.byteOffset, publicKey.byteLength).toString("latin1");
    let key = keys.get(name);
    if (key === undefined) {
      try {
        key = this.#node.publicKey({ key: publicKey, format: "raw-public", asymmetricKeyType: algorithm });
      } catch {
        // The bytes are a peer's. For Ed25519 the ZIP215 verifier still has its say.
        return undefined;
      }
      if (keys.size >= IMPORTED_KEYS_MAX) {
        const oldest = keys.keys().next();
        if (!oldest.done) keys.delete(oldest.value);
      }
    } else keys.delete(name);
    keys.set(name, key);
    return key;
  }
}

/** The native adapter, or `undefined` where `node:crypto` is absent or too old. */
export const nodeSignatures: SignatureBackend | undefined = nodeCrypto && nodeBackend(nodeCrypto);
