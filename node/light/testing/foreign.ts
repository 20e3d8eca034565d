/**
 * A foreign verifier of tlog proofs and COSE receipts: the standards and `node:crypto` alone, none of our code, so that it
 * cannot share a mistake with it. It throws where a file does not hold, and returns what was proven.
 *
 * Source: RFC 9162, sections 2.1.1 and 2.1.3.2; c2sp.org/tlog-proof@v1, tlog-checkpoint, signed-note; RFC 9942, RFC 9052.
 */

import { createHash, createPublicKey, verify } from "node:crypto";

type Proven = { readonly origin: string; readonly size: bigint; readonly index: bigint; readonly root: Buffer };

/** @param noteKey - `<name>+<id>+<base64>`, of an Ed25519 log key */
export function foreignTlog(file: Uint8Array, entry: Uint8Array, noteKey: string): Proven {
  const text = Buffer.from(file).toString("utf8");
  const [head = "", body = "", signatures = ""] = text.split("\n\n");
  const lines = head.split("\n");
  if (lines.shift() !== "c2sp.org/tlog-proof@v1") throw new Error("not a tlog proof");
  if (lines[0]?.startsWith("extra ") === true) lines.shift();
  const index = BigInt((lines.shift() ?? "").replace(/^index /, ""));
  const [origin = "", size = "", root = ""] = body.split("\n");
  const { name, id, key } = parseKey(noteKey);
  if (name !== origin) throw new Error("a key of another log");
  const signed = signatures.split("\n").some((line) => {
    const [dash, signer, encoded = ""] = line.split(" ");
    const bytes = Buffer.from(encoded, "base64");
    if (dash !== "\u2014" || signer !== name || !bytes.subarray(0, 4).equals(id)) return false;
    return verify(null, Buffer.from(`${body}\n`), ed25519(key), bytes.subarray(4));
  });
  if (!signed) throw new Error("not signed");
  const path = lines.map((line) => Buffer.from(line, "base64"));
  const led = rootOf(entry, { index, size: BigInt(size), path });
  if (!led.equals(Buffer.from(root, "base64"))) throw new Error("another root");
  return { origin, size: BigInt(size), index, root: led };
}

/** The signature of a COSE receipt covers the root that the entry leads to, so there is nothing to compare it with. */
export function foreignCose(file: Uint8Array, entry: Uint8Array, noteKey: string): Proven {
  const [tag, [header, unprotected, payload, signature]] = decode(Buffer.from(file)) as [
    number,
    [Buffer, Map<unknown, unknown>, null, Buffer],
  ];
  const claims = decode(header) as Map<unknown, unknown>;
  if (tag !== 18 || payload !== null || claims.get(1) !== -8 || claims.get(395) !== 1) throw new Error("not a receipt");
  const [proof] = (unprotected.get(396) as Map<unknown, Buffer[]>).get(-1) ?? [];
  const [size, index, path] = decode(proof ?? Buffer.alloc(0)) as [number, number, Buffer[]];
  const root = rootOf(entry, { index: BigInt(index), size: BigInt(size), path });
  const structure = Buffer.concat([
    Buffer.from([0x84, 0x6a]),
    Buffer.from("Signature1"),
    byteString(header),
    byteString(Buffer.alloc(0)),
    byteString(root),
  ]);
  if (!verify(null, structure, ed25519(parseKey(noteKey).key), signature)) throw new Error("not signed");
  const issuer = (claims.get(15) as Map<number, string>).get(1) ?? "";
  return { origin: issuer, size: BigInt(size), index: BigInt(index), root };
}

/** RFC 9162, section 2.1.3.2, step by step. */
function rootOf(
  entry: Uint8Array,
  at: { readonly index: bigint; readonly size: bigint; readonly path: readonly Buffer[] },
): Buffer {
  if (at.index >= at.size) throw new Error("no such leaf");
  let [fn, sn, r] = [at.index, at.size - 1n, sha256(Buffer.from([0]), entry)];
  for (const p of at.path) {
    if (sn === 0n) throw new Error("path too long");
    if ((fn & 1n) === 1n || fn === sn) {
      r = sha256(Buffer.from([1]), p, r);
      while ((fn & 1n) === 0n && fn !== 0n) [fn, sn] = [fn >> 1n, sn >> 1n];
    } else r = sha256(Buffer.from([1]), r, p);
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  if (sn !== 0n) throw new Error("path too short");
  return r;
}

function sha256(...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

function parseKey(text: string): { readonly name: string; readonly id: Buffer; readonly key: Buffer } {
  const [name = "", id = "", ...rest] = text.split("+");
  const bytes = Buffer.from(rest.join("+"), "base64");
  const own = sha256(Buffer.from(`${name}\n`), bytes).subarray(0, 4);
  if (bytes[0] !== 1 || own.toString("hex") !== id) throw new Error("not a note key");
  return { name, id: own, key: bytes.subarray(1) };
}

function ed25519(key: Buffer): ReturnType<typeof createPublicKey> {
  return createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: key.toString("base64url") }, format: "jwk" });
}

function byteString(bytes: Buffer): Buffer {
  const { length } = bytes;
  const head = length < 24 ? [0x40 | length] : length < 256 ? [0x58, length] : [0x59, length >> 8, length & 255];
  return Buffer.concat([Buffer.from(head), bytes]);
}

/** CBOR as far as receipts go; a tag comes back as `[tag, item]`. */
function decode(bytes: Buffer): unknown {
  let at = 0;
  const item = (): unknown => {
    const first = bytes.readUInt8(at);
    const [major, short] = [first >> 5, first & 31];
    at += 1;
    const sizeBytes = short < 24 ? 0 : 1 << (short - 24);
    const argument = short < 24 ? short : bytes.readUIntBE(at, sizeBytes);
    at += sizeBytes;
    if (major === 0) return argument;
    if (major === 1) return -1 - argument;
    if (major === 2 || major === 3) {
      const string = bytes.subarray(at, (at += argument));
      return major === 2 ? string : string.toString("utf8");
    }
    if (major === 4) return Array.from({ length: argument }, item);
    if (major === 5) return new Map(Array.from({ length: argument }, () => [item(), item()] as const));
    if (major === 6) return [argument, item()];
    if (first === 0xf6) return null;
    throw new Error("unexpected CBOR");
  };
  const value = item();
  if (at !== bytes.length) throw new Error("trailing bytes");
  return value;
}
