/**
 * Where `node:crypto` comes from: looked up at run time and never imported, so that a browser bundle of this folder
 * holds no reference to it. Used as a whole or not at all: only a runtime that takes raw keys of every algorithm we
 * use (Node 24 and later) counts.
 */

import type { KeyObject } from "node:crypto";

/** A key in the raw formats of Node 24, which its type declarations do not know yet. */
export type RawKey = {
  readonly key: Uint8Array;
  readonly format: "raw-public" | "raw-private" | "raw-seed";
  readonly asymmetricKeyType: "ed25519" | "ml-dsa-65" | "ml-kem-768" | "ml-kem-1024";
};

type NodeModule = typeof import("node:crypto");

/** The functions of `node:crypto` that the adapters call. */
export type NodeCrypto = Pick<NodeModule, "sign" | "verify" | "encapsulate" | "decapsulate" | "scryptSync"> & {
  publicKey(input: RawKey): KeyObject;
  privateKey(input: RawKey): KeyObject;
  /** The raw public half of a private key. */
  rawPublicKey(key: KeyObject): Uint8Array;
};

/** `node:crypto`, or `undefined` in a browser or on a runtime that is too old. */
export const nodeCrypto: NodeCrypto | undefined = load();

function load(): NodeCrypto | undefined {
  if (typeof process === "undefined" || typeof process.getBuiltinModule !== "function") return undefined;
  const module = process.getBuiltinModule("node:crypto");
  const createPublicKey = module.createPublicKey as unknown as (input: RawKey | KeyObject) => KeyObject;
  const found: NodeCrypto = {
    sign: module.sign,
    verify: module.verify,
    encapsulate: module.encapsulate,
    decapsulate: module.decapsulate,
    scryptSync: module.scryptSync,
    publicKey: createPublicKey,
    privateKey: module.createPrivateKey as unknown as (input: RawKey) => KeyObject,
    rawPublicKey: (key) => {
      const exported = createPublicKey(key).export({ format: "raw-public" as "jwk" }) as unknown as Uint8Array;
      return new Uint8Array(exported);
    },
  };
  return takesRawKeys(found) ? found : undefined;
}

/** Tries what the adapters rely on. A runtime that refuses is not at fault, and the portable adapters serve it. */
function takesRawKeys(found: NodeCrypto): boolean {
  const seed = new Uint8Array(32);
  const longSeed = new Uint8Array(64);
  try {
    found.privateKey({ key: seed, format: "raw-private", asymmetricKeyType: "ed25519" });
    found.privateKey({ key: seed, format: "raw-seed", asymmetricKeyType: "ml-dsa-65" });
    found.privateKey({ key: longSeed, format: "raw-seed", asymmetricKeyType: "ml-kem-768" });
    found.privateKey({ key: longSeed, format: "raw-seed", asymmetricKeyType: "ml-kem-1024" });
    return typeof found.encapsulate === "function";
  } catch {
    return false;
  }
}
