/**
 * The primitives that we take from libraries as they are, by their public vectors: what the Noise handshake of
 * libp2p runs on in every one of its implementations, and what seals key files.
 */

import { chacha20poly1305, xchacha20poly1305 } from "@noble/ciphers/chacha.js";
import { expand, extract } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { asCrypto, defaultCrypto, nodeCrypto, pureJsCrypto } from "@libp2p/noise/crypto";
import t from "tap";
import { concatBytes, fromHex, toHex } from "../base/bytes.ts";
import { wycheproofTests } from "../testing/vectors.ts";
import { scryptNode, type Scrypt, scryptPortable } from "./scrypt.ts";

type Aead = {
  readonly key: string;
  readonly iv: string;
  readonly aad: string;
  readonly msg: string;
  readonly ct: string;
  readonly tag: string;
};
type Box = {
  readonly seal: (key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, message: Uint8Array) => Uint8Array;
  readonly open: (key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array) => Uint8Array;
  /** The longest additional data it takes: Noise never has more than its 32-byte transcript hash. */
  readonly aadSizeBytesMax?: number;
};

/** What a call gives in hex, or `refused` when it throws, which is how these libraries refuse. */
function outcome(call: () => Uint8Array): string {
  try {
    return toHex(call());
  } catch {
    return "refused";
  }
}

const noiseBox = (
  crypto: Pick<typeof defaultCrypto, "chaCha20Poly1305Encrypt" | "chaCha20Poly1305Decrypt">,
  aadSizeBytesMax = Number.POSITIVE_INFINITY,
): Box => ({
  aadSizeBytesMax,
  seal: (key, nonce, aad, message) => crypto.chaCha20Poly1305Encrypt(message, nonce, aad, key).subarray(),
  open: (key, nonce, aad, sealed) => crypto.chaCha20Poly1305Decrypt(sealed, nonce, aad, key).subarray(),
});

const BOXES: readonly (readonly [vectors: string, name: string, box: Box])[] = [
  [
    "chacha20_poly1305_test",
    "noble",
    { seal: (k, n, a, m) => chacha20poly1305(k, n, a).encrypt(m), open: (k, n, a, s) => chacha20poly1305(k, n, a).decrypt(s) },
  ],
  ["chacha20_poly1305_test", "noise, as it chooses", noiseBox(defaultCrypto, 32)],
  ["chacha20_poly1305_test", "noise, short messages", noiseBox(asCrypto, 32)],
  ["chacha20_poly1305_test", "noise, long messages", noiseBox(nodeCrypto)],
  ["chacha20_poly1305_test", "noise, portable", noiseBox(pureJsCrypto)],
  [
    "xchacha20_poly1305_test",
    "key files",
    { seal: (k, n, a, m) => xchacha20poly1305(k, n, a).encrypt(m), open: (k, n, a, s) => xchacha20poly1305(k, n, a).decrypt(s) },
  ],
];

for (const [vectors, name, box] of BOXES) {
  t.test(`${vectors} holds for ${name}`, async (t) => {
    const wrong: number[] = [];
    for (const { test } of wycheproofTests<object, Aead>(vectors)) {
      const [key, nonce, aad, message] = [test.key, test.iv, test.aad, test.msg].map(fromHex) as [
        Uint8Array,
        Uint8Array,
        Uint8Array,
        Uint8Array,
      ];
      const sealed = fromHex(test.ct + test.tag);
      const opened = outcome(() => box.open(key, nonce, aad, sealed));
      if (test.result === "invalid" || aad.length > (box.aadSizeBytesMax ?? Number.POSITIVE_INFINITY)) {
        if (opened !== "refused") wrong.push(test.tcId);
        continue;
      }
      const again = outcome(() => box.seal(key, nonce, aad, message));
      const last = sealed.slice();
      last[last.length - 1] = (last.at(-1) as number) ^ 1;
      const forged = outcome(() => box.open(key, nonce, aad, last));
      if (opened !== test.msg || again !== toHex(sealed) || forged !== "refused") wrong.push(test.tcId);
    }
    t.same(wrong, []);
  });
}

for (const [name, exchange] of [
  ["as it chooses", defaultCrypto],
  ["portable", pureJsCrypto],
] as const) {
  t.test(`x25519_test holds for noise, ${name}`, async (t) => {
    const wrong: number[] = [];
    const zero: number[] = [];
    for (const { test } of wycheproofTests<
      object,
      { readonly public: string; readonly private: string; readonly shared: string }
    >("x25519_test")) {
      const shared = outcome(() => exchange.generateX25519SharedKey(fromHex(test.private), fromHex(test.public)).subarray());
      if (/^0*$/.test(test.shared)) {
        // A point of small order: both parties would share zero with everybody.
        if (shared !== "refused") zero.push(test.tcId);
      } else if (shared !== test.shared) wrong.push(test.tcId);
    }
    t.same(wrong, []);
    t.same(zero, [], "a shared secret of zeros is refused");
  });
}

t.test("hkdf_sha256_test holds for the library, and for the three keys that noise takes from it", async (t) => {
  const wrong: number[] = [];
  let noise = 0;
  for (const { test } of wycheproofTests<
    object,
    { readonly ikm: string; readonly salt: string; readonly info: string; readonly size: number; readonly okm: string }
  >("hkdf_sha256_test")) {
    const [secret, salt, info] = [test.ikm, test.salt, test.info].map(fromHex) as [Uint8Array, Uint8Array, Uint8Array];
    const derived = outcome(() => expand(sha256, extract(sha256, secret, salt), info, test.size));
    if (derived !== (test.result === "valid" ? test.okm : "refused")) wrong.push(test.tcId);
    if (test.result === "valid" && info.length === 0 && test.size <= 96) {
      noise += 1;
      if (!toHex(concatBytes(...pureJsCrypto.getHKDF(salt, secret))).startsWith(test.okm)) wrong.push(test.tcId);
    }
  }
  t.same(wrong, []);
  t.ok(noise > 0, `${noise} of them without info`);
});

t.test("both scrypts are RFC 7914, and agree", async (t) => {
  const backends: readonly (readonly [string, Scrypt | undefined])[] = [
    ["node", scryptNode],
    ["noble", scryptPortable],
  ];
  for (const [name, scrypt] of backends) {
    if (scrypt === undefined) return t.fail(`${name} is not there`);
    const derive = (secret: string, salt: string, logN: number, sizeBytes: number): string =>
      toHex(scrypt({ secret: new TextEncoder().encode(secret), salt: new TextEncoder().encode(salt), logN, sizeBytes }));
    // RFC 7914, section 12, the vector with N = 16384, r = 8, p = 1.
    const expected =
      "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887";
    t.equal(derive("pleaseletmein", "SodiumChloride", 14, 64), expected, name);
    t.not(derive("pleaseletmein", "SodiumChloride", 13, 64), expected, "another cost is another key");
    t.equal(
      derive("", "salt", 10, 32),
      toHex(scryptPortable({ secret: new Uint8Array(0), salt: new TextEncoder().encode("salt"), logN: 10, sizeBytes: 32 })),
    );
    t.throws(() => derive("", "", 21, 32), { name: "AssertionError" }, "more than 1 GiB is never tried");
  }
});
