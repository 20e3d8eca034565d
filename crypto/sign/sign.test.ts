/**
 * Signatures: both back ends give one answer, Ed25519 is ZIP215 on every path, ML-DSA-65 is FIPS 204, and a hybrid
 * key needs both of its halves.
 */

import { ed25519 } from "@noble/curves/ed25519.js";
import { sha512 } from "@noble/hashes/sha2.js";
import fc from "fast-check";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import t from "tap";
import { assert } from "../base/assert.ts";
import { concatBytes, fromHex, toHex, utf8 } from "../base/bytes.ts";
import { native } from "../backend/native.ts";
import { nobleSignatures } from "../backend/noble-signatures.ts";
import { nodeSignatures } from "../backend/node-signatures.ts";
import { signatures } from "../backend/backends.ts";
import type { SignatureAlgorithm, SignatureBackend, SignatureClaim } from "../backend/signatures.ts";
import { PUBLIC_KEY_SIZES_BYTES, SIGNATURE_SIZES_BYTES } from "../backend/signatures.ts";
import { readWith } from "../codec/reader.ts";
import { hash } from "../hash/hash.ts";
import { checkDecoder, checkProperty } from "../testing/property.ts";
import { acvpGroups, readVectorJson, readVectorText, wycheproofTests } from "../testing/vectors.ts";
import {
  ed25519SeedOf,
  encodePublicKey,
  generateSeed,
  KEY_TYPES,
  keyPairFromSeed,
  parsePublicKey,
  type PublicKey,
  publicKeySizeBytes,
  readPublicKey,
  signatureSizeBytes,
  verifySignature,
  verifySignatureAsync,
} from "./key.ts";
import { remembering } from "./remembering.ts";

const node = nodeSignatures as SignatureBackend;
/** The one over the Rust addon where it is there; `crypto/backend/conformance.test.ts` asks more of it. */
const BACKENDS: readonly SignatureBackend[] = [node, nobleSignatures, ...(native === undefined ? [] : [signatures])];
const SEED = new Uint8Array(32).map((_, index) => index);
const MESSAGE = utf8("a message");

/** The order of the base point (RFC 8032, 5.1). */
const L = 2n ** 252n + 27742317777372353535851937790883648493n;

/** Asks every path for its verdict; they must be one. */
async function verdict(key: PublicKey, message: Uint8Array, signature: Uint8Array): Promise<boolean | "split"> {
  const verdicts: boolean[] = [];
  for (const backend of BACKENDS) {
    verdicts.push(
      verifySignature(key, message, signature, backend),
      await verifySignatureAsync(key, message, signature, backend),
    );
  }
  return verdicts.every((valid) => valid === verdicts[0]) ? (verdicts[0] as boolean) : "split";
}

/** What the back ends say to one claim. */
function verdicts(algorithm: SignatureAlgorithm, { publicKey, message, signature }: SignatureClaim): Set<boolean> {
  return new Set(BACKENDS.map((backend) => backend.verify(algorithm, publicKey, message, signature)));
}

t.test("node:crypto is used where it is there, and the Rust addon above it", async (t) => {
  t.ok(nodeSignatures, "Node 24 has every algorithm");
  t.equal(signatures.name, native === undefined ? "node" : "native");
});

t.test("where node:crypto is absent or too old, the portable back ends serve and give the same keys", async (t) => {
  const expected = toHex(keyPairFromSeed("hybrid", SEED).publicKey.bytes.subarray(0, 64));
  const script = `
    const { signatures, kems } = await import(${JSON.stringify(new URL("../backend/backends.ts", import.meta.url).href)});
    const { keyPairFromSeed, verifySignature } = await import(${JSON.stringify(new URL("./key.ts", import.meta.url).href)});
    const pair = keyPairFromSeed("hybrid", new Uint8Array(32).map((_, index) => index));
    const valid = verifySignature(pair.publicKey, new Uint8Array(1), pair.sign(new Uint8Array(1)));
    console.log([signatures.name, kems.name, Buffer.from(pair.publicKey.bytes.subarray(0, 64)).toString("hex"), valid].join(" "));`;
  const without: readonly (readonly [string, string])[] = [
    ["no way to load it", "process.getBuiltinModule = undefined;"],
    [
      "one without raw keys, as before Node 24",
      "const load = process.getBuiltinModule; process.getBuiltinModule = (id) => ({ ...load.call(process, id), createPrivateKey: () => { throw new Error('unsupported'); } });",
    ],
  ];
  for (const [name, prelude] of without) {
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", prelude + script], {
      env: { ...process.env, PYRALOG_NATIVE: "off" },
    });
    t.equal(stdout.trim(), `noble noble ${expected} true`, name);
  }
});

t.test("the public ed25519-speccheck cases get the verdicts of the ZIP215 column", async (t) => {
  const row = readVectorText("ed25519-speccheck/results.md")
    .split("\n")
    .find((line) => line.startsWith("|Zebra"));
  const expected = (row as string)
    .split("|")
    .slice(2, 14)
    .map((cell) => cell.trim());
  const cases =
    readVectorJson<readonly { readonly message: string; readonly pub_key: string; readonly signature: string }[]>(
      "ed25519-speccheck/cases.json",
    );
  t.equal(cases.length, 12);
  for (const [index, { message, pub_key, signature }] of cases.entries()) {
    const key: PublicKey = { type: "ed25519", bytes: fromHex(pub_key) };
    t.equal(
      await verdict(key, fromHex(message), fromHex(signature)),
      expected[index] === "V",
      `case ${index} is ${expected[index]}`,
    );
  }
});

t.test("the public Wycheproof Ed25519 verdicts hold, but for the one test where ZIP215 says otherwise", async (t) => {
  const different: number[] = [];
  for (const { group, test } of wycheproofTests<
    { readonly publicKey: { readonly pk: string } },
    { readonly msg: string; readonly sig: string }
  >("ed25519_test")) {
    const key: PublicKey = { type: "ed25519", bytes: fromHex(group.publicKey.pk) };
    const valid = await verdict(key, fromHex(test.msg), fromHex(test.sig));
    if (valid === "split") t.fail(`test ${test.tcId}: the paths disagree`);
    else if (valid !== (test.result === "valid")) different.push(test.tcId);
  }
  // 151: R is y = 1 with the sign bit of x set, the non-canonical encoding of the identity that ZIP215 admits.
  t.same(different, [151]);
});

/** The fourteen encodings of the eight points of small order, canonical or not, found by decoding. */
function smallOrderEncodings(): readonly Uint8Array[] {
  const found: Uint8Array[] = [];
  const torsion = ed25519.Point.fromHex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", true);
  const ys = new Set<bigint>();
  for (let multiple = 0n; multiple < 8n; multiple += 1n) {
    ys.add((multiple === 0n ? ed25519.Point.ZERO : torsion.multiplyUnsafe(multiple)).toAffine().y);
  }
  const p = 2n ** 255n - 19n;
  for (const y of ys) {
    for (const value of [y, y + p]) {
      if (value >= 2n ** 255n) continue;
      for (const sign of [0n, 1n]) {
        const bytes = fromHex((value | (sign << 255n)).toString(16).padStart(64, "0")).toReversed();
        found.push(bytes);
      }
    }
  }
  return found;
}

t.test("every pair of small-order points verifies as ZIP215 says: S = 0 satisfies the cofactored equation", async (t) => {
  const encodings = smallOrderEncodings();
  t.equal(encodings.length, 14);
  let split = 0;
  let refused = 0;
  for (const a of encodings) {
    for (const r of encodings) {
      const valid = await verdict({ type: "ed25519", bytes: a }, utf8("Zcash"), concatBytes(r, new Uint8Array(32)));
      if (valid === "split") split += 1;
      else if (!valid) refused += 1;
    }
  }
  t.equal(split, 0, "no path disagrees on any of the 196");
  t.equal(refused, 0, "all 196 are accepted, as in ZIP215's own test vectors");
});

t.test("S must be below L: the same signature with S + L is refused", async (t) => {
  const pair = keyPairFromSeed("ed25519", SEED);
  const signature = pair.sign(MESSAGE);
  const s = BigInt(`0x${toHex(signature.slice(32).toReversed())}`);
  const malleated = concatBytes(signature.subarray(0, 32), fromHex((s + L).toString(16).padStart(64, "0")).toReversed());
  t.equal(await verdict(pair.publicKey, MESSAGE, signature), true);
  t.equal(await verdict(pair.publicKey, MESSAGE, malleated), false);
});

t.test("the RFC 8032 key and signature come out of its seed", async (t) => {
  // RFC 8032, 7.1, test 2.
  const seed = fromHex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
  const signature =
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
  for (const backend of BACKENDS) {
    const pair = keyPairFromSeed("ed25519", seed, { backend });
    t.equal(toHex(pair.publicKey.bytes), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", backend.name);
    t.equal(toHex(pair.sign(Uint8Array.of(0x72))), signature, backend.name);
  }
});

t.test("the public ACVP seeds make the ML-DSA-65 keys of FIPS 204", async (t) => {
  const group = acvpGroups<{ readonly seed: string; readonly pk: string }>("ML-DSA-keyGen-FIPS204").find(
    (each) => each.parameterSet === "ML-DSA-65",
  );
  t.equal(group?.tests.length, 25);
  for (const backend of BACKENDS) {
    const wrong = group?.tests.filter(
      ({ seed, pk }) => toHex(backend.signer("ml-dsa-65", fromHex(seed)).publicKey) !== pk.toLowerCase(),
    );
    t.same(wrong, [], backend.name);
  }
});

t.test("each back end verifies what the other signs, in every key type, and nothing else", async (t) => {
  for (const type of KEY_TYPES) {
    for (const backend of BACKENDS) {
      const pair = keyPairFromSeed(type, SEED, { backend });
      const signature = pair.sign(MESSAGE);
      t.equal(pair.publicKey.bytes.length, publicKeySizeBytes(type));
      t.equal(signature.length, signatureSizeBytes(type));
      t.same(pair.publicKey, keyPairFromSeed(type, SEED).publicKey, `${type}: one seed, one key`);
      t.equal(await verdict(pair.publicKey, MESSAGE, signature), true, `${type} by ${backend.name}`);
      t.equal(await verdict(pair.publicKey, utf8("a messagf"), signature), false, `${type}: another message`);
      t.equal(await verdict(keyPairFromSeed(type, generateSeed()).publicKey, MESSAGE, signature), false, `${type}: another key`);
      for (const at of [0, 31, 32, 63, 64, signature.length - 1].filter((at) => at < signature.length)) {
        const changed = signature.slice();
        changed[at] = (changed[at] as number) ^ 1;
        t.equal(await verdict(pair.publicKey, MESSAGE, changed), false, `${type}: bit of byte ${at}`);
      }
      for (const wrong of [
        new Uint8Array(0),
        signature.subarray(1),
        concatBytes(signature, new Uint8Array(1)),
        new Uint8Array(signature.length),
      ]) {
        t.equal(await verdict(pair.publicKey, MESSAGE, wrong), false, `${type}: ${wrong.length} bytes`);
      }
    }
  }
});

t.test("a key of the wrong size verifies nothing and throws nothing", async (t) => {
  for (const type of KEY_TYPES) {
    const signature = new Uint8Array(signatureSizeBytes(type));
    for (const size of [0, publicKeySizeBytes(type) - 1, publicKeySizeBytes(type) + 1]) {
      t.equal(await verdict({ type, bytes: new Uint8Array(size) }, MESSAGE, signature), false);
    }
  }
});

t.test("both halves of a hybrid signature must verify", async (t) => {
  const pair = keyPairFromSeed("hybrid", SEED);
  const other = keyPairFromSeed("hybrid", generateSeed());
  const signature = pair.sign(MESSAGE);
  const otherSignature = other.sign(MESSAGE);
  const mixed = (classical: Uint8Array, quantum: Uint8Array): Uint8Array =>
    concatBytes(classical.subarray(0, 64), quantum.subarray(64));
  t.equal(await verdict(pair.publicKey, MESSAGE, mixed(signature, signature)), true);
  t.equal(await verdict(pair.publicKey, MESSAGE, mixed(otherSignature, signature)), false, "Ed25519 broken");
  t.equal(await verdict(pair.publicKey, MESSAGE, mixed(signature, otherSignature)), false, "ML-DSA broken");
});

t.test("a half of a hybrid signature is worth nothing elsewhere", async (t) => {
  const pair = keyPairFromSeed("hybrid", SEED);
  const signature = pair.sign(MESSAGE);
  const classical: PublicKey = { type: "ed25519", bytes: pair.publicKey.bytes.slice(0, 32) };
  t.equal(await verdict(classical, MESSAGE, signature.slice(0, 64)), false, "as a plain Ed25519 signature of the message");

  // A thief who has broken Ed25519 alone puts the victim's ML-DSA half beside an Ed25519 key of his own.
  const thief = ed25519.keygen(generateSeed());
  const grafted: PublicKey = { type: "hybrid", bytes: concatBytes(thief.publicKey, pair.publicKey.bytes.subarray(32)) };
  const tagged = hash("hybrid", concatBytes(grafted.bytes, MESSAGE));
  const graftedSignature = concatBytes(ed25519.sign(tagged, thief.secretKey), signature.subarray(64));
  t.equal(await verdict(grafted, MESSAGE, graftedSignature), false, "in another hybrid key");
});

t.test("a hybrid signature is over the hybrid domain, the public key and the message", async (t) => {
  const pair = keyPairFromSeed("hybrid", SEED);
  const signature = pair.sign(MESSAGE);
  const tagged = hash("hybrid", concatBytes(pair.publicKey.bytes, MESSAGE));
  t.ok(nobleSignatures.verify("ed25519", pair.publicKey.bytes.subarray(0, 32), tagged, signature.subarray(0, 64)));
  t.ok(nobleSignatures.verify("ml-dsa-65", pair.publicKey.bytes.subarray(32), tagged, signature.subarray(64)));
});

t.test("derived seeds are what the documentation says, and differ by purpose", async (t) => {
  const derived = (purpose: number): string => toHex(hash("seed", concatBytes(Uint8Array.of(purpose), SEED)));
  t.equal(toHex(ed25519SeedOf("ed25519", SEED)), toHex(SEED));
  t.equal(toHex(ed25519SeedOf("hybrid", SEED)), derived(1));
  t.equal(toHex(ed25519SeedOf("ml-dsa-65", SEED)), derived(3));
  const halfKey = ed25519.getPublicKey(ed25519SeedOf("hybrid", SEED));
  t.equal(
    toHex(halfKey),
    toHex(keyPairFromSeed("hybrid", SEED).publicKey.bytes.subarray(0, 32)),
    "the peer id is that of the Ed25519 half",
  );
  t.equal(
    toHex(keyPairFromSeed("hybrid", SEED).publicKey.bytes.subarray(32)),
    toHex(keyPairFromSeed("ml-dsa-65", fromHex(derived(2))).publicKey.bytes),
  );
});

t.test("deterministic pairs sign the same bytes every time and on every back end", async (t) => {
  for (const type of KEY_TYPES) {
    const [first, second] = BACKENDS.map((backend) =>
      keyPairFromSeed(type, SEED, { deterministic: true, backend }).sign(MESSAGE),
    );
    t.equal(toHex(first as Uint8Array), toHex(second as Uint8Array), type);
    t.ok(verifySignature(keyPairFromSeed(type, SEED).publicKey, MESSAGE, first as Uint8Array));
  }
  const hedged = keyPairFromSeed("ml-dsa-65", SEED);
  t.not(toHex(hedged.sign(MESSAGE)), toHex(hedged.sign(MESSAGE)), "by default ML-DSA is hedged");
});

t.test("an Ed25519 key that is read again is the same one, and one that differs in a bit is not", (t) => {
  const read = (bytes: Uint8Array): PublicKey => {
    const parsed = readWith(bytes, readPublicKey);
    assert(parsed.ok, "a key");
    return parsed.value;
  };
  const encoded = concatBytes(fromHex("582101"), new Uint8Array(32).fill(7));
  const first = read(encoded);
  const again = read(encoded.slice());
  t.equal(again, first);
  for (let bit = 0; bit < 256; bit += 1) {
    const other = encoded.slice();
    other[3 + (bit >> 3)] = 7 ^ (1 << (bit & 7));
    t.same(read(other).bytes, other.subarray(3));
  }
  encoded.fill(9);
  t.same(first, { type: "ed25519", bytes: new Uint8Array(32).fill(7) }, "it has its own bytes");
  t.end();
});

t.test("the first bytes of a key say what it is, and a key has one encoding", async (t) => {
  for (const [index, type] of KEY_TYPES.entries()) {
    const { publicKey } = keyPairFromSeed(type, SEED);
    const encoded = encodePublicKey(publicKey);
    t.equal(encoded[0], index + 1);
    t.same(parsePublicKey(encoded), { ok: true, value: publicKey });
    t.same(parsePublicKey(encoded.subarray(0, -1)), { ok: false, error: { code: "key_length", gotBytes: encoded.length - 1 } });
    t.same(parsePublicKey(concatBytes(encoded, new Uint8Array(1))), {
      ok: false,
      error: { code: "key_length", gotBytes: encoded.length + 1 },
    });
  }
  for (const byte of [0, 4, 0x80, 255])
    t.match(parsePublicKey(Uint8Array.of(byte, 1)), { ok: false, error: { code: "key_type", got: byte } });
  t.same(parsePublicKey(new Uint8Array(0)), { ok: false, error: { code: "key_type", got: undefined } });
  t.same(readWith(fromHex("4104"), readPublicKey), { ok: false, error: { code: "encoding_type", offset: 0 } });
  t.same(readWith(fromHex("4101"), readPublicKey), { ok: false, error: { code: "encoding_limit", offset: 0 } });
  const seeds = fc
    .tuple(fc.constantFrom(...KEY_TYPES), fc.constant(SEED))
    .map(([type, seed]) => encodePublicKey(keyPairFromSeed(type, seed).publicKey));
  await checkDecoder(t, "parsePublicKey", { valid: seeds, decode: parsePublicKey, encode: encodePublicKey });
});

t.test("a parsed key does not change when the bytes it came from do", async (t) => {
  const encoded = encodePublicKey(keyPairFromSeed("ed25519", SEED).publicKey);
  const parsed = parsePublicKey(encoded);
  encoded.fill(0);
  t.same(parsed, { ok: true, value: keyPairFromSeed("ed25519", SEED).publicKey });
});

t.test("the back ends agree on every key, message and signature, however malformed", async (t) => {
  const signed = (algorithm: SignatureAlgorithm): fc.Arbitrary<{ key: Uint8Array; message: Uint8Array; signature: Uint8Array }> =>
    fc
      .record({
        seed: fc.uint8Array({ minLength: 32, maxLength: 32 }),
        message: fc.uint8Array({ maxLength: 40 }),
        change: fc.option(fc.tuple(fc.boolean(), fc.nat(), fc.nat(7))),
      })
      .map(({ seed, message, change }) => {
        const signer = node.signer(algorithm, seed);
        const signature = signer.sign(message);
        const key = signer.publicKey.slice();
        if (change !== null) {
          const [inKey, at, bit] = change;
          const target = inKey ? key : signature;
          target[at % target.length] = (target[at % target.length] as number) ^ (1 << bit);
        }
        return { key, message, signature };
      });
  for (const [algorithm, runs] of [
    ["ed25519", 300],
    ["ml-dsa-65", 150],
  ] as const) {
    await checkProperty(
      t,
      `${algorithm}: signed, perhaps changed`,
      fc.property(
        signed(algorithm),
        ({ key, message, signature }) => verdicts(algorithm, { publicKey: key, message, signature }).size === 1,
      ),
      runs,
    );
    const sizes = { key: PUBLIC_KEY_SIZES_BYTES[algorithm], signature: SIGNATURE_SIZES_BYTES[algorithm] };
    const noise = fc.record({
      key: fc.uint8Array({ minLength: sizes.key, maxLength: sizes.key }),
      signature: fc.uint8Array({ minLength: sizes.signature, maxLength: sizes.signature }),
    });
    await checkProperty(
      t,
      `${algorithm}: noise`,
      fc.property(noise, ({ key, signature }) => verdicts(algorithm, { publicKey: key, message: MESSAGE, signature }).size === 1),
      runs / 5,
    );
  }
  // Edge cases of the curve in every place: torsion components in A and R, and S of small and large value.
  const torsion = smallOrderEncodings();
  const edges = fc.record({
    key: fc.nat(13),
    commitment: fc.nat(13),
    scalar: fc.bigInt({ min: 0n, max: 2n ** 253n }),
    seed: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    which: fc.nat(3),
  });
  await checkProperty(
    t,
    "ed25519: torsion added to a valid key or commitment",
    fc.property(edges, ({ key, commitment, scalar, seed, which }) => {
      const publicKey = ed25519.getPublicKey(seed);
      const add = (bytes: Uint8Array, index: number): Uint8Array =>
        ed25519.Point.fromBytes(bytes, true)
          .add(ed25519.Point.fromBytes(torsion[index] as Uint8Array, true))
          .toBytes();
      const a = which & 1 ? add(publicKey, key) : publicKey;
      const r = ed25519.Point.BASE.multiply((scalar % (L - 1n)) + 1n).toBytes();
      const mixedR = which & 2 ? add(r, commitment) : r;
      // S = r + h a, with h over the mixed bytes: valid by the cofactored equation and, mostly, not by the other.
      const extended = ed25519.utils.getExtendedPublicKey(seed);
      const h = hashToScalar(concatBytes(mixedR, a, MESSAGE));
      const s = ((scalar % (L - 1n)) + 1n + h * extended.scalar) % L;
      const signature = concatBytes(mixedR, fromHex(s.toString(16).padStart(64, "0")).toReversed());
      return !verdicts("ed25519", { publicKey: a, message: MESSAGE, signature }).has(false);
    }),
    100,
  );
});

t.test("more keys than are kept do not make a key forgotten wrongly", async (t) => {
  const pair = keyPairFromSeed("ed25519", SEED);
  const signature = pair.sign(MESSAGE);
  for (let index = 0; index < 600; index += 1) {
    const seed = SEED.map((byte) => byte ^ index);
    seed[31] = index >> 8;
    const other = keyPairFromSeed("ed25519", seed);
    if (!verifySignature(other.publicKey, MESSAGE, other.sign(MESSAGE))) t.fail(`key ${index}`);
    if (index % 100 === 0)
      t.equal(verifySignature(other.publicKey, MESSAGE, signature), toHex(other.publicKey.bytes) === toHex(pair.publicKey.bytes));
  }
  t.ok(verifySignature(pair.publicKey, MESSAGE, signature));
});

t.test("verification on the thread pool does not see later changes of its input", async (t) => {
  for (const type of KEY_TYPES) {
    const pair = keyPairFromSeed(type, SEED);
    const message = MESSAGE.slice();
    const signature = pair.sign(message);
    const pending = verifySignatureAsync(pair.publicKey, message, signature);
    message.fill(0);
    signature.fill(0);
    t.ok(await pending, type);
  }
});

function hashToScalar(bytes: Uint8Array): bigint {
  return BigInt(`0x${toHex(sha512(bytes).toReversed())}`) % L;
}

t.test("a signature that was good is not checked again, and nothing else is taken for it", async (t) => {
  const keyPair = keyPairFromSeed("hybrid", new Uint8Array(32).fill(9));
  const asked: string[] = [];
  const verify = remembering(async (key, message, signature) => {
    asked.push(toHex(message));
    return verifySignature(key, message, signature);
  }, 2);
  const signedOf = (hex: string) => ({ message: fromHex(hex), signature: keyPair.sign(fromHex(hex)) });
  const [one, two, three] = [signedOf("01"), signedOf("02"), signedOf("03")];
  const ask = async ({ message, signature }: typeof one): Promise<boolean> => await verify(keyPair.publicKey, message, signature);
  t.ok(await ask(one));
  t.ok(await ask(one));
  t.same(asked, ["01"]);
  // Where the signature ends is part of what is remembered.
  const shifted = { message: concatBytes(one.signature.subarray(-1), one.message), signature: one.signature.subarray(0, -1) };
  t.notOk(await verify(keyPair.publicKey, shifted.message, shifted.signature));
  const other = keyPairFromSeed("hybrid", new Uint8Array(32).fill(8)).publicKey;
  t.notOk(await verify(other, fromHex("01"), one.signature));
  t.notOk(await ask({ message: fromHex("02"), signature: one.signature }));
  t.notOk(await ask({ message: fromHex("02"), signature: one.signature }), "what was not good is asked each time");
  asked.length = 0;
  t.ok((await ask(two)) && (await ask(three)) && (await ask(one)));
  t.same(asked, ["02", "03", "01"], "the oldest goes first");
  t.ok((await ask(three)) && (await ask(one)));
  t.equal(asked.length, 3);
});
