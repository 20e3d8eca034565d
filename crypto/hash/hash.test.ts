/** Hashing: the public BLAKE3 vectors on both back ends, and domains that cannot stand for one another. */

import fc from "fast-check";
import t from "tap";
import { blake3, blake3Portable, blake3Wasm } from "../backend/blake3.ts";
import { concatBytes, EMPTY, toHex } from "../base/bytes.ts";
import { checkProperty } from "../testing/property.ts";
import { readVectorJson } from "../testing/vectors.ts";
import { DOMAIN, type Domain } from "./domain.ts";
import { hash, hashOf, hashPair, hashParts, parseHash, ZERO_HASH } from "./hash.ts";

const BACKENDS = [
  ["wasm", blake3Wasm],
  ["portable", blake3Portable],
] as const;

t.test("the public BLAKE3 vectors come out on both back ends", async (t) => {
  const { cases } = readVectorJson<{ readonly cases: readonly { readonly input_len: number; readonly hash: string }[] }>(
    "blake3/test_vectors/test_vectors.json",
  );
  t.equal(cases.length, 35);
  for (const [name, backend] of BACKENDS) {
    if (backend === undefined) return t.fail(`${name} is not there`);
    for (const { input_len, hash: expected } of cases) {
      const input = new Uint8Array(input_len).map((_, index) => index % 251);
      // The vectors are extended outputs; we use the first 32 bytes.
      t.equal(toHex(backend(input)), expected.slice(0, 64), `${name}: ${input_len} bytes`);
    }
  }
});

t.test("the back ends agree, and a digest stays as it was when the next one is made", async (t) => {
  await checkProperty(
    t,
    "wasm as portable",
    fc.property(fc.uint8Array({ maxLength: 3000 }), fc.uint8Array({ maxLength: 100 }), (first, second) => {
      const digest = blake3(first);
      const expected = toHex(blake3Portable(first));
      blake3(second);
      return digest.length === 32 && toHex(digest) === expected;
    }),
  );
});

t.test("every domain has its own tag, and the same body hashes differently in each", async (t) => {
  const tags = Object.values(DOMAIN);
  t.equal(new Set(tags).size, tags.length);
  t.ok(tags.every((tag) => Number.isInteger(tag) && tag >= 0 && tag <= 0xff));
  const digests = (Object.keys(DOMAIN) as Domain[]).map((domain) => toHex(hash(domain, EMPTY)));
  t.equal(new Set(digests).size, digests.length);
});

t.test("the tags that are on disks and wires stay what they are", async (t) => {
  // Part of the format. A new domain is added here; a changed number is a fault.
  t.match(DOMAIN, {
    logLeaf: 0x00,
    logNode: 0x01,
    stateLeaf: 0x10,
    stateNode: 0x11,
    stateValue: 0x12,
    stateEmpty: 0x13,
    transaction: 0x20,
    header: 0x21,
    validators: 0x22,
    certificate: 0x23,
    vote: 0x24,
    proposal: 0x25,
    network: 0x27,
    address: 0x30,
    hybrid: 0x31,
    seed: 0x32,
    gossip: 0x40,
  });
});

t.test("a hash is of the tag and then the body, however the body is handed in", async (t) => {
  await checkProperty(
    t,
    "hash, hashParts and hashPair",
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), fc.uint8Array({ minLength: 32, maxLength: 32 }), (a, b) => {
      const expected = toHex(blake3Portable(concatBytes(Uint8Array.of(DOMAIN.logNode), a, b)));
      return [hash("logNode", concatBytes(a, b)), hashParts("logNode", a, b), hashPair("logNode", hashOf(a), hashOf(b))].every(
        (digest) => toHex(digest) === expected,
      );
    }),
    50,
  );
});

t.test("thirty-two bytes are a hash, and one more or less is not", async (t) => {
  t.ok(parseHash(ZERO_HASH).ok);
  for (const size of [0, 31, 33]) {
    t.same(parseHash(new Uint8Array(size)), { ok: false, error: { code: "hash_length", gotBytes: size } });
    t.throws(() => hashOf(new Uint8Array(size)), { name: "AssertionError" });
  }
});
