/** Key files: what opens, what does not, and what a file from a stranger cannot make us do. */

import fc from "fast-check";
import t from "tap";
import { bytesEqual, concatBytes, fromHex, toHex } from "../base/bytes.ts";
import { readWith } from "../codec/reader.ts";
import { Writer } from "../codec/writer.ts";
import { encodePublicKey, generateSeed, KEY_TYPES, keyPairFromSeed } from "../sign/key.ts";
import { checkProperty, mutated } from "../testing/property.ts";
import {
  KEY_FILE_LOG_N_DEFAULT,
  KEY_FILE_LOG_N_MIN,
  KEY_FILE_SIZE_BYTES_MAX,
  openSeed,
  readKeyFileHeader,
  sealSeed,
} from "./keyfile.ts";

const logN = KEY_FILE_LOG_N_MIN;
const SEED = new Uint8Array(32).map((_, index) => index);
const passphrase = "correct horse battery staple";
const sealed = sealSeed({ type: "ed25519", seed: SEED, passphrase, logN });

const FIXED_FILE =
  "825871866b707972616c6f672d6b65790158210103a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8830e080158200001" +
  "02030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f5818202122232425262728292a2b2c2d2e2f303132333435363758301e31" +
  "f39416635b460c3a3cd251f4e7a8e34286540f554dd550d131f036e6737f3614da7b2407b7067710a1e6acfcc254";

type Parts = {
  logN: number;
  r: number;
  p: number;
  version: number;
  magic: string;
  salt: Uint8Array;
  nonce: Uint8Array;
  key: Uint8Array;
  body: Uint8Array;
};

/** The parts of the file above, to write a variation of it. */
function partsOf(bytes: Uint8Array): Parts {
  const outer = readWith(bytes, (reader) => (reader.tuple(2), { header: reader.bytes(4096), body: reader.bytes(100) }));
  if (!outer.ok) throw new Error(outer.error.code);
  const inner = readWith(outer.value.header, (reader) => {
    reader.tuple(6);
    const [magic, version, key] = [reader.text(20), reader.number(), reader.bytes(3000)];
    reader.tuple(3);
    return {
      magic,
      version,
      key,
      logN: reader.number(),
      r: reader.number(),
      p: reader.number(),
      salt: reader.bytes(64),
      nonce: reader.bytes(64),
      body: new Uint8Array(0),
    };
  });
  if (!inner.ok) throw new Error(inner.error.code);
  return { ...inner.value, body: outer.value.body };
}

function variation(change: Partial<Parts>): Uint8Array {
  const parts = { ...partsOf(sealed), ...change };
  const header = new Writer()
    .array(6)
    .text(parts.magic)
    .uint(parts.version)
    .bytes(parts.key)
    .array(3)
    .uint(parts.logN)
    .uint(parts.r)
    .uint(parts.p)
    .bytes(parts.salt)
    .bytes(parts.nonce)
    .finish();
  return new Writer().array(2).bytes(header).bytes(parts.body).finish();
}

t.test("what was sealed opens with its passphrase, in every key type", async (t) => {
  for (const type of KEY_TYPES) {
    const seed = generateSeed();
    const { publicKey } = keyPairFromSeed(type, seed);
    const bytes = sealSeed({ type, seed, passphrase, logN });
    t.ok(bytes.length <= KEY_FILE_SIZE_BYTES_MAX);
    t.same(openSeed(bytes, passphrase), { ok: true, value: { type, seed, publicKey } });
    t.same(readKeyFileHeader(bytes), { ok: true, value: { publicKey, logN } }, "its public key is read without the passphrase");
  }
});

t.test("any other passphrase is refused by one code", async (t) => {
  for (const wrong of ["", "correct horse battery stapl", `${passphrase} `, "Correct horse battery staple"]) {
    t.same(openSeed(sealed, wrong), { ok: false, error: { code: "keyfile_passphrase" } }, JSON.stringify(wrong));
  }
});

t.test("a passphrase is what a person reads, however it was typed", async (t) => {
  const bytes = sealSeed({ type: "ed25519", seed: SEED, passphrase: "caf\u00e9 \ufb01", logN });
  t.ok(openSeed(bytes, "cafe\u0301 fi").ok, "composed and decomposed, ligature and letters");
  t.notOk(openSeed(bytes, "cafe fi").ok);
});

t.test("two files of one seed and passphrase share no secret bytes", async (t) => {
  const [first, second] = [partsOf(sealed), partsOf(sealSeed({ type: "ed25519", seed: SEED, passphrase, logN }))];
  t.notOk(bytesEqual(first.salt, second.salt) || bytesEqual(first.nonce, second.nonce) || bytesEqual(first.body, second.body));
  t.notOk(toHex(sealed).includes(toHex(SEED)), "the seed is not in the file");
});

t.test("the format is what it always was", async (t) => {
  let next = 0;
  const random = (sizeBytes: number): Uint8Array => new Uint8Array(sizeBytes).map(() => next++);
  const bytes = sealSeed({ type: "ed25519", seed: SEED, passphrase, logN, random });
  // Part of the format: key files written by every release must open.
  t.equal(toHex(bytes), FIXED_FILE);
  t.same(openSeed(fromHex(FIXED_FILE), passphrase), {
    ok: true,
    value: { type: "ed25519", seed: SEED, publicKey: keyPairFromSeed("ed25519", SEED).publicKey },
  });
});

t.test("every part of the header is sealed too", async (t) => {
  const parts = partsOf(sealed);
  t.same(variation({}), sealed, "the variation of nothing is the file");
  const otherKey = encodePublicKey(keyPairFromSeed("ed25519", generateSeed()).publicKey);
  const flip = (bytes: Uint8Array): Uint8Array => bytes.with(0, (bytes[0] as number) ^ 1);
  for (const change of [
    { key: otherKey },
    { logN: logN + 1 },
    { salt: flip(parts.salt) },
    { nonce: flip(parts.nonce) },
    { body: flip(parts.body) },
  ]) {
    t.same(
      openSeed(variation(change), passphrase),
      { ok: false, error: { code: "keyfile_passphrase" } },
      Object.keys(change).join(),
    );
  }
});

t.test("a stranger's file cannot make us take memory, and weak or odd parameters are refused", async (t) => {
  const begun = process.cpuUsage();
  for (const cost of [0, 1, KEY_FILE_LOG_N_MIN - 1, 21, 63]) {
    t.same(
      openSeed(variation({ logN: cost }), passphrase),
      { ok: false, error: { code: "keyfile_cost", gotLogN: cost, maxLogN: 20 } },
      `logN ${cost}`,
    );
  }
  t.same(
    openSeed(variation({ logN: 18 }), passphrase, { logNMax: 17 }),
    { ok: false, error: { code: "keyfile_cost", gotLogN: 18, maxLogN: 17 } },
    "or above the caller's own bound",
  );
  for (const change of [
    { r: 7 },
    { r: 2 ** 30 },
    { p: 2 },
    { p: 0 },
    { logN: 64 },
    { salt: new Uint8Array(31) },
    { nonce: new Uint8Array(25) },
    { magic: "pyralog-kex" },
    { body: new Uint8Array(47) },
    { body: new Uint8Array(49) },
  ]) {
    t.match(
      openSeed(variation(change), passphrase),
      { ok: false, error: { code: "keyfile_malformed" } },
      JSON.stringify(Object.keys(change)),
    );
  }
  const { user, system } = process.cpuUsage(begun);
  t.ok(user + system < 500_000, "none of these ran scrypt");
});

t.test("a file of a later release is refused by its version, not as damage", async (t) => {
  t.same(openSeed(variation({ version: 2 }), passphrase), { ok: false, error: { code: "keyfile_version", got: 2 } });
  const longer = new Writer().array(3).text("pyralog-key").uint(7).text("new things").finish();
  t.same(openSeed(new Writer().array(2).bytes(longer).bytes(new Uint8Array(9)).finish(), passphrase), {
    ok: false,
    error: { code: "keyfile_version", got: 7 },
  });
});

t.test("what is no key file says where it stops being one", async (t) => {
  t.match(openSeed(new Uint8Array(0), passphrase), {
    ok: false,
    error: { code: "keyfile_malformed", cause: { code: "encoding_truncated" } },
  });
  t.match(openSeed(sealed.subarray(0, -1), passphrase), {
    ok: false,
    error: { code: "keyfile_malformed", cause: { code: "encoding_truncated", field: "sealed" } },
  });
  t.match(openSeed(concatBytes(sealed, new Uint8Array(1)), passphrase), {
    ok: false,
    error: { code: "keyfile_malformed", cause: { code: "encoding_trailing" } },
  });
  t.match(openSeed(new TextEncoder().encode("-----BEGIN PRIVATE KEY-----"), passphrase), {
    ok: false,
    error: { code: "keyfile_malformed" },
  });
});

t.test("our own mistakes are assertions", async (t) => {
  t.throws(() => sealSeed({ type: "ed25519", seed: new Uint8Array(31), passphrase }), { name: "AssertionError" });
  for (const cost of [13, 21, 14.5])
    t.throws(() => sealSeed({ type: "ed25519", seed: SEED, passphrase, logN: cost }), { name: "AssertionError" });
  t.equal(KEY_FILE_LOG_N_DEFAULT, 17);
});

t.test("hostile bytes never throw and never open", async (t) => {
  const valid = fc.constantFrom(sealed, sealSeed({ type: "hybrid", seed: SEED, passphrase, logN }));
  // Reading the header is the whole decoder; opening what passes it costs one scrypt each.
  await checkProperty(
    t,
    "readKeyFileHeader",
    fc.property(mutated(valid), (bytes) => {
      const header = readKeyFileHeader(bytes);
      return header.ok || /^keyfile_(malformed|version|cost)$/.test(header.error.code);
    }),
    3000,
  );
  let scrypts = 0;
  await checkProperty(
    t,
    "openSeed",
    fc.property(mutated(fc.constant(sealed)), (bytes) => {
      if (readKeyFileHeader(bytes).ok) scrypts += 1;
      // A cost that a mutation raised stays cheap here.
      const opened = openSeed(bytes, passphrase, { logNMax: logN });
      return opened.ok === bytesEqual(bytes, sealed);
    }),
    60,
  );
  t.comment(`${scrypts} reached the passphrase`);
});
