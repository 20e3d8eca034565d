/**
 * Where a follower keeps the block that it trusts between two runs, behind a port of two functions.
 *
 * Wire form, canonical dag-cbor: `["pyralog-trust", version, networkHash, light block]`. It is no secret, and whoever can
 * change it can mislead its owner as far as a chain of real certificates goes: keep it where nobody else writes.
 */

import { bytesEqual, parseHex, toHex } from "../../crypto/base/bytes.ts";
import { readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, HASH_SIZE_BYTES } from "../../crypto/hash/hash.ts";
import { decodeLightBlock, encodeLightBlock, type LightBlock } from "../light/trust.ts";

const MAGIC = "pyralog-trust";
const VERSION = 1;

/** Two sets and a certificate of as many validators as a network may have stay well below. */
export const TRUST_SIZE_BYTES_MAX = 32 * 1024 * 1024;

/** One place for one network's trust. */
export interface TrustStore {
  /** What was saved last; `undefined` when nothing was. */
  load(): Promise<Uint8Array | undefined>;
  /** Replaces it as one step. */
  save(bytes: Uint8Array): Promise<void>;
}

/** What of a browser's `localStorage` is used. */
export interface WebStorage {
  getItem(name: string): string | null;
  setItem(name: string, value: string): void;
}

/** A store in a browser: one item of `localStorage`, in hex. A set of 100 hybrid validators takes about 1.5 MB of its 5. */
export function webTrustStore(storage: WebStorage, name: string): TrustStore {
  return {
    load: async () => {
      const text = storage.getItem(name);
      const bytes = text === null ? undefined : parseHex(text);
      return bytes?.ok === true ? bytes.value : undefined;
    },
    save: async (bytes) => storage.setItem(name, toHex(bytes)),
  };
}

/** What a store keeps. */
export function encodeTrust(network: Hash, block: LightBlock): Uint8Array {
  return new Writer().array(4).text(MAGIC).uint(VERSION).bytes(network).bytes(encodeLightBlock(block)).finish();
}

/** What a store kept for this network; `undefined` when it is anything else. */
export function decodeTrust(network: Hash, bytes: Uint8Array): LightBlock | undefined {
  if (bytes.length > TRUST_SIZE_BYTES_MAX) return undefined;
  const parsed = readWith(bytes, (reader) => {
    reader.tuple(4);
    if (reader.field("magic").text(MAGIC.length) !== MAGIC) reader.refuse("encoding_type");
    if (reader.field("version").number() !== VERSION) reader.refuse("encoding_limit");
    if (!bytesEqual(reader.field("networkHash").fixed(HASH_SIZE_BYTES), network)) reader.refuse("encoding_limit");
    return reader.field("block").bytes(bytes.length);
  });
  const block = parsed.ok ? decodeLightBlock(parsed.value) : undefined;
  return block?.ok === true ? block.value : undefined;
}
