/**
 * One suite over every back end. Each question is put to all of them: to noble, to node:crypto or WebAssembly, and to the
 * Rust addon where it is there, alone, in batches, and in the queue that makes batches of single questions. With
 * `PYRALOG_NATIVE=off` the same file runs without the addon.
 */

import { ed25519 } from "@noble/curves/ed25519.js";
import fc from "fast-check";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import t from "tap";
import { bytesEqual, concatBytes, fromHex, toHex, utf8 } from "../base/bytes.ts";
import { hash, hashAsync, hashMany } from "../hash/hash.ts";
import {
  POSEIDON_FIELD_ORDER,
  POSEIDON_INPUTS_MAX,
  poseidonHash,
  poseidonHashMany,
  poseidonHashManyAsync,
  poseidonHashPortable,
} from "../hash/poseidon.ts";
import { KEY_TYPES, keyPairFromSeed, type SignedMessage, verifySignature, verifySignatures } from "../sign/key.ts";
import { checkProperty } from "../testing/property.ts";
import { readVectorJson, readVectorText, wycheproofTests } from "../testing/vectors.ts";
import { BACKEND_REPORT, signatures } from "./backends.ts";
import { blake3, blake3ManyNative, blake3ManyPortable, blake3Native, blake3Portable, blake3Wasm } from "./blake3.ts";
import { native, nativeLoad } from "./native.ts";
import { nobleSignatures } from "./noble-signatures.ts";
import { nodeSignatures } from "./node-signatures.ts";
import { type SignatureClaim, VERIFY_BATCH_COUNT_MAX } from "./signatures.ts";

const BACKENDS = [...new Set([nobleSignatures, nodeSignatures, signatures])].filter((one) => one !== undefined);
/** The ones that need no millisecond a signature. */
const QUICK = BACKENDS.filter(({ name }) => name === "native");
const HASHES = [
  ["noble", blake3Portable],
  ["wasm", blake3Wasm],
  ["native", blake3Native],
  ["by size", blake3],
] as const;

type Case = SignatureClaim & { readonly isValid: boolean; readonly what: string };

t.test("what serves is told, and why the addon does not", async (t) => {
  t.comment(JSON.stringify(BACKEND_REPORT));
  if (nativeLoad.kind === "loaded") {
    t.equal(BACKEND_REPORT.native, nativeLoad.from);
    t.match(BACKEND_REPORT, {
      blake3: /native/,
      ed25519: /native verifies/,
      mlDsa: "native",
      poseidon: "native",
      state: "native",
    });
  } else {
    t.equal(BACKEND_REPORT.native, `${nativeLoad.code}: ${nativeLoad.reason}`);
    t.match(BACKEND_REPORT, { blake3: "wasm", ed25519: "node", mlDsa: "node", mlKem: "node", poseidon: "noble" });
  }
  const script = `const { BACKEND_REPORT } = await import(${JSON.stringify(new URL("backends.ts", import.meta.url).href)});
    console.log(JSON.stringify(BACKEND_REPORT));`;
  const reportWith = async (setting: string): Promise<unknown> => {
    const env = { ...process.env, PYRALOG_NATIVE: setting };
    return JSON.parse((await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", script], { env })).stdout);
  };
  const portable = { blake3: "wasm", merkle: "wasm", ed25519: "node", poseidon: "noble" };
  t.match(await reportWith("off"), { native: "off: PYRALOG_NATIVE=off", ...portable });
  t.match(await reportWith("of"), { native: /^setting: .*"of"; it may be on or off/, ...portable }, "a slip of the pen is told");
});

t.test("the public BLAKE3 vectors come out on every back end", async (t) => {
  const { cases } = readVectorJson<{ readonly cases: readonly { readonly input_len: number; readonly hash: string }[] }>(
    "blake3/test_vectors/test_vectors.json",
  );
  t.equal(cases.length, 35);
  for (const [name, backend] of HASHES) {
    if (backend === undefined) continue;
    const wrong = cases.filter(({ input_len, hash: expected }) => {
      const input = new Uint8Array(input_len).map((_, index) => index % 251);
      return toHex(backend(input)) !== expected.slice(0, 64);
    });
    t.same(wrong, [], name);
  }
});

t.test("BLAKE3 agrees on any input, and a digest stays as it was", async (t) => {
  const input = fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.uint8Array({ minLength: 1000, maxLength: 5000 }));
  await checkProperty(
    t,
    "each back end as noble",
    fc.property(input, input, (first, second) => {
      const expected = toHex(blake3Portable(first));
      return HASHES.every(([, backend]) => {
        const digest = backend?.(first);
        backend?.(second);
        return digest === undefined || toHex(digest) === expected;
      });
    }),
  );
  // On both sides of where the addon takes over, of where all cores are asked, and of where another thread is.
  for (const sizeBytes of [0, 2047, 2048, 65_534, 65_535, 262_143, 262_144, 1_000_003]) {
    const body = new Uint8Array(sizeBytes).map((_, index) => index * 7);
    const expected = blake3Portable(concatBytes(Uint8Array.of(0x12), body));
    t.ok(bytesEqual(hash("stateValue", body), expected), `${sizeBytes} bytes`);
    const asked = hashAsync("stateValue", body);
    body.fill(1);
    t.ok(bytesEqual(await asked, expected), `${sizeBytes} bytes elsewhere, whatever becomes of the input`);
  }
});

t.test("many bodies in one call have the hashes that they have alone", async (t) => {
  const body = fc.oneof(
    { arbitrary: fc.uint8Array({ minLength: 64, maxLength: 64 }), weight: 4 },
    { arbitrary: fc.uint8Array({ maxLength: 200 }), weight: 2 },
    { arbitrary: fc.uint8Array({ minLength: 1020, maxLength: 1030 }), weight: 1 },
  );
  await checkProperty(
    t,
    "hashMany as hash",
    fc.property(fc.array(body, { maxLength: 40, size: "max" }), fc.nat(255), (bodies, tag) => {
      const expected = blake3ManyPortable(tag, bodies, blake3Portable).map(toHex);
      const got = native === undefined ? expected : blake3ManyNative(native, tag, bodies).map(toHex);
      const named = hashMany("logNode", bodies);
      return (
        got.length === bodies.length &&
        got.every((digest, index) => digest === expected[index]) &&
        named.every((digest, index) => bytesEqual(digest, hash("logNode", bodies[index] as Uint8Array)))
      );
    }),
    80,
  );
  const many = Array.from({ length: 3000 }, (_, index) => utf8(`${index}`.repeat((index % 40) + 1)));
  t.same(
    hashMany("logLeaf", many),
    many.map((one) => hash("logLeaf", one)),
    "on every core",
  );
  t.throws(() => blake3ManyPortable(256, []), { name: "AssertionError" });
  if (native !== undefined)
    t.throws(() => blake3ManyNative(native as NonNullable<typeof native>, -1, []), { name: "AssertionError" });
});

/** Every public case with its ZIP215 verdict. */
function publicCases(): Case[] {
  const cases: Case[] = [];
  const row = readVectorText("ed25519-speccheck/results.md")
    .split("\n")
    .find((line) => line.startsWith("|Zebra"));
  const expected = (row as string)
    .split("|")
    .slice(2, 14)
    .map((cell) => cell.trim() === "V");
  const speccheck =
    readVectorJson<readonly { readonly message: string; readonly pub_key: string; readonly signature: string }[]>(
      "ed25519-speccheck/cases.json",
    );
  for (const [index, { message, pub_key, signature }] of speccheck.entries())
    cases.push({
      publicKey: fromHex(pub_key),
      message: fromHex(message),
      signature: fromHex(signature),
      isValid: expected[index] as boolean,
      what: `speccheck ${index}`,
    });
  for (const { group, test } of wycheproofTests<
    { readonly publicKey: { readonly pk: string } },
    { readonly msg: string; readonly sig: string }
  >("ed25519_test"))
    cases.push({
      publicKey: fromHex(group.publicKey.pk),
      message: fromHex(test.msg),
      signature: fromHex(test.sig),
      // 151: R is a non-canonical encoding, which ZIP215 admits.
      isValid: test.result === "valid" || test.tcId === 151,
      what: `wycheproof ${test.tcId}`,
    });
  // ZIP215's own: every pair of the fourteen encodings of small order, with S = 0.
  for (const a of smallOrderEncodings())
    for (const r of smallOrderEncodings())
      cases.push({
        publicKey: a,
        message: utf8("Zcash"),
        signature: concatBytes(r, new Uint8Array(32)),
        isValid: true,
        what: `small order ${toHex(a)} ${toHex(r)}`,
      });
  return cases;
}

/** The encodings of the eight points of small order, canonical or not. */
function smallOrderEncodings(): readonly Uint8Array[] {
  const torsion = ed25519.Point.fromHex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", true);
  const multiples = Array.from({ length: 8 }, (_, index) =>
    index === 0 ? ed25519.Point.ZERO : torsion.multiplyUnsafe(BigInt(index)),
  );
  const ys = new Set(multiples.map((point) => point.toAffine().y));
  return [...ys].flatMap((y) =>
    [y, y + 2n ** 255n - 19n]
      .filter((value) => value < 2n ** 255n)
      .flatMap((value) => [value, value | (1n << 255n)])
      .map((value) => fromHex(value.toString(16).padStart(64, "0")).toReversed()),
  );
}

const wrong = (cases: readonly Case[], verdicts: readonly boolean[]): string[] =>
  cases.filter(({ isValid }, index) => verdicts[index] !== isValid).map(({ what }) => what);

t.test("every public Ed25519 case has its ZIP215 verdict on every back end: alone, elsewhere, and in batches", async (t) => {
  const cases = publicCases();
  t.equal(cases.length, 12 + 151 + 196);
  for (const backend of BACKENDS) {
    const alone = cases.map(({ publicKey, message, signature }) => backend.verify("ed25519", publicKey, message, signature));
    t.same(wrong(cases, alone), [], `${backend.name}: alone`);
    t.same(wrong(cases, await backend.verifyBatch("ed25519", cases)), [], `${backend.name}: all in one batch`);
  }
  for (const backend of QUICK) {
    const elsewhere = cases.map(async ({ publicKey, message, signature }) =>
      backend.verifyAsync("ed25519", publicKey, message, signature),
    );
    t.same(wrong(cases, await Promise.all(elsewhere)), [], `${backend.name}: in the queue`);
    const valid = cases.filter(({ isValid }) => isValid);
    t.same(wrong(valid, await backend.verifyBatch("ed25519", valid)), [], `${backend.name}: the valid ones among themselves`);
    for (const one of cases) {
      // A batch that the one alone decides, and one of which it is the only wrong member.
      const among = [...valid.slice(0, 5), one, ...valid.slice(5, 9)];
      const twice = [one, one, one, one];
      const found = [
        ...wrong(among, await backend.verifyBatch("ed25519", among)),
        ...wrong(twice, await backend.verifyBatch("ed25519", twice)),
      ];
      if (found.length > 0) t.same(found, [], `${backend.name}: ${one.what} in a small batch`);
    }
  }
});

t.test("a batch tells which signatures are wrong, whatever else is in it", async (t) => {
  const seeds = Array.from({ length: 5 }, (_, index) => new Uint8Array(32).fill(index + 1));
  const signers = seeds.map((seed) => (nodeSignatures ?? nobleSignatures).signer("ed25519", seed));
  const member = fc.record({
    by: fc.nat(signers.length - 1),
    message: fc.uint8Array({ maxLength: 300 }),
    // Half of them are right. The others: a bit of the signature or the key, another message, another size.
    change: fc.option(fc.tuple(fc.constantFrom("signature", "key", "message", "size"), fc.nat(511)), { freq: 2 }),
  });
  const batch = fc.array(member, { maxLength: 40, size: "max" }).map((members) =>
    members.map(({ by, message, change }) => {
      const signer = signers[by] as (typeof signers)[number];
      const claim = { publicKey: signer.publicKey.slice(), message, signature: signer.sign(message) };
      if (change === null) return claim;
      const [what, at] = change;
      if (what === "message") return { ...claim, message: concatBytes(message, Uint8Array.of(at)) };
      if (what === "size") return { ...claim, signature: claim.signature.subarray(at % 64) };
      const target = what === "key" ? claim.publicKey : claim.signature;
      const place = (at >> 3) % target.length;
      target[place] = (target[place] as number) ^ (1 << (at & 7));
      return claim;
    }),
  );
  const kinds = { right: 0, wrong: 0 };
  await checkProperty(
    t,
    "each batch as noble, one by one",
    fc.asyncProperty(batch, async (claims) => {
      const expected = claims.map(({ publicKey, message, signature }) =>
        nobleSignatures.verify("ed25519", publicKey, message, signature),
      );
      for (const isValid of expected) kinds[isValid ? "right" : "wrong"] += 1;
      const answers = [
        await signatures.verifyBatch("ed25519", claims),
        await Promise.all(
          claims.map(async ({ publicKey, message, signature }) =>
            signatures.verifyAsync("ed25519", publicKey, message, signature),
          ),
        ),
      ];
      return answers.every((answer) => answer.length === claims.length && answer.every((is, index) => is === expected[index]));
    }),
    30,
  );
  t.ok(kinds.right > 100 && kinds.wrong > 100, JSON.stringify(kinds));
  t.same(await signatures.verifyBatch("ed25519", []), []);
});

t.test("lists and single questions that are asked at once get their own verdicts", async (t) => {
  const signer = (nodeSignatures ?? nobleSignatures).signer("ed25519", new Uint8Array(32).fill(1));
  const claimOf = (index: number): SignatureClaim => {
    const message = utf8(`message ${index}`);
    const signature = signer.sign(message);
    // Every seventh is of something else.
    return { publicKey: signer.publicKey, message: index % 7 === 0 ? utf8("another") : message, signature };
  };
  const isRight = (index: number): boolean => index % 7 !== 0;
  // Lists of more than a call takes, of some that share calls, and of one that two calls share.
  const lists = [300, 200, 100, 3, 1, 250].map((count, list) =>
    Array.from({ length: count }, (_, index) => 1_000 * list + index),
  );
  const asked = [
    ...lists.map(async (list) => await signatures.verifyBatch("ed25519", list.map(claimOf))),
    ...[7, 8, 9].map(async (index) => {
      const { publicKey, message, signature } = claimOf(index);
      const verdict = signatures.verifyAsync("ed25519", publicKey, message, signature);
      // What a single question is about may change at once.
      signature.fill(0);
      return [await verdict];
    }),
  ];
  t.same(await Promise.all(asked), [...lists.map((list) => list.map(isRight)), [false], [true], [true]]);
});

/** FIPS 204, algorithm 20: a signature ends with 55 places for hints, and how many of them each of 6 polynomials has. */
const HINTS = { at: 3309 - 61, places: 55, counts: 6 };

t.test("an ML-DSA-65 signature has one encoding of its hints, and every back end refuses the others", async (t) => {
  const signer = nobleSignatures.signer("ml-dsa-65", new Uint8Array(32).fill(4));
  const seen = { padding: 0, order: 0, repeated: 0, counts: 0 };
  const claims: SignatureClaim[] = [];
  const expected: boolean[] = [];
  const ask = (message: Uint8Array, signature: Uint8Array, isValid = false): void => {
    claims.push({ publicKey: signer.publicKey, message, signature });
    expected.push(isValid);
  };
  for (let index = 0; index < 12; index += 1) {
    const message = utf8(`message ${index}`);
    const signature = signer.signDeterministic(message);
    ask(message, signature, true);
    const place = (at: number): number => signature[HINTS.at + at] as number;
    const changed = (...changes: readonly (readonly [number, number])[]): Uint8Array => {
      const copy = signature.slice();
      for (const [at, byte] of changes) copy[HINTS.at + at] = byte;
      return copy;
    };
    const counts = Array.from({ length: HINTS.counts }, (_, at) => place(HINTS.places + at));
    const used = counts.at(-1) as number;
    if (used < HINTS.places) {
      // The places behind the last hint are zeros. With something there the hints are the same.
      ask(message, changed([used, 7]));
      ask(message, changed([HINTS.places - 1, 1]));
      seen.padding += 1;
    }
    const first = counts.findIndex((count, at) => count - (at === 0 ? 0 : (counts[at - 1] as number)) >= 2);
    if (first >= 0) {
      const from = first === 0 ? 0 : (counts[first - 1] as number);
      // The same set of hints, told in another order; and one hint told twice.
      ask(message, changed([from, place(from + 1)], [from + 1, place(from)]));
      ask(message, changed([from + 1, place(from)]));
      seen.order += 1;
      seen.repeated += 1;
    }
    // More hints than places, and fewer than before.
    ask(message, changed([HINTS.places + HINTS.counts - 1, HINTS.places + 1]));
    ask(message, changed([HINTS.places + 1, 0]));
    seen.counts += 1;
    // The largest coefficients of z that there are.
    ask(message, new Uint8Array(signature).fill(0, 48, 48 + 640));
    ask(message, new Uint8Array(signature).fill(255, 48, 48 + 640));
  }
  t.ok(
    Object.values(seen).every((count) => count >= 6),
    JSON.stringify(seen),
  );
  for (const backend of BACKENDS) {
    const alone = claims.map(({ publicKey, message, signature }) => backend.verify("ml-dsa-65", publicKey, message, signature));
    t.same(alone, expected, `${backend.name}: alone`);
    t.same(await backend.verifyBatch("ml-dsa-65", claims), expected, `${backend.name}: in one list`);
    const elsewhere = claims.map(async ({ publicKey, message, signature }) =>
      backend.verifyAsync("ml-dsa-65", publicKey, message, signature),
    );
    t.same(await Promise.all(elsewhere), expected, `${backend.name}: elsewhere`);
  }
});

t.test(
  "every back end makes the same ML-DSA-65 keys and deterministic signatures, and takes the others' hedged ones",
  async (t) => {
    const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 });
    await checkProperty(
      t,
      "keys and signatures",
      fc.property(bytes, fc.uint8Array({ maxLength: 300 }), (seed, message) => {
        const signers = BACKENDS.map((backend) => backend.signer("ml-dsa-65", seed));
        const made = new Set(signers.map((one) => toHex(concatBytes(one.publicKey, one.signDeterministic(message)))));
        const hedged = signers.map((one) => one.sign(message));
        const key = (signers[0] as (typeof signers)[number]).publicKey;
        return (
          made.size === 1 &&
          new Set(hedged.map(toHex)).size === BACKENDS.length &&
          BACKENDS.every((backend) => hedged.every((signature) => backend.verify("ml-dsa-65", key, message, signature)))
        );
      }),
      25,
    );
  },
);

t.test("more claims than a batch may hold are our own fault", async (t) => {
  const claim = { publicKey: new Uint8Array(0), message: new Uint8Array(0), signature: new Uint8Array(0) };
  const most = Array.from({ length: VERIFY_BATCH_COUNT_MAX }, () => claim);
  for (const backend of BACKENDS) {
    if (backend.name === "noble") continue;
    t.equal((await backend.verifyBatch("ed25519", most)).includes(true), false, backend.name);
    await t.rejects(backend.verifyBatch("ed25519", [...most, claim]), { name: "AssertionError" }, backend.name);
  }
  await t.rejects(nobleSignatures.verifyBatch("ed25519", [...most, claim]), { name: "AssertionError" });
});

t.test("questions that come together are answered apart, and of the bytes that they came with", async (t) => {
  const signer = (nodeSignatures ?? nobleSignatures).signer("ed25519", new Uint8Array(32).fill(9));
  const count = native === undefined ? 40 : 1500;
  const asked = Array.from({ length: count }, (_, index) => {
    const message = utf8(`message ${index}`);
    const signature = signer.sign(message);
    if (index % 3 === 0) signature[index % 64] = (signature[index % 64] as number) ^ 1;
    const verdict = signatures.verifyAsync("ed25519", signer.publicKey, message, signature);
    message.fill(0);
    signature.fill(0);
    return verdict;
  });
  t.same(
    await Promise.all(asked),
    Array.from({ length: count }, (_, index) => index % 3 !== 0),
  );
});

t.test("signatures of every key type in one list get the verdicts that they get alone", async (t) => {
  const pairs = KEY_TYPES.map((type) => keyPairFromSeed(type, new Uint8Array(32).fill(5)));
  const list: SignedMessage[] = pairs.flatMap((pair) => {
    const key = pair.publicKey;
    const message = utf8(`of ${key.type}`);
    const signature = pair.sign(message);
    const changed = (at: number): Uint8Array => signature.with(at, (signature.at(at) as number) ^ 1);
    return [
      { key, message, signature },
      { key, message: utf8("another"), signature },
      { key, message, signature: changed(0) },
      { key, message, signature: changed(signature.length - 1) },
      { key, message, signature: signature.subarray(1) },
      { key: { ...key, bytes: key.bytes.subarray(1) }, message, signature },
    ];
  });
  const expected = list.map(({ key, message, signature }) => verifySignature(key, message, signature, nobleSignatures));
  t.equal(expected.filter((isValid) => isValid).length, KEY_TYPES.length);
  for (const backend of BACKENDS) t.same(await verifySignatures(list, backend), expected, backend.name);
  t.same(await verifySignatures([]), []);
});

t.test("Poseidon agrees on every width and any field elements, alone and in groups", async (t) => {
  const element = fc.oneof(
    fc.bigInt({ min: 0n, max: POSEIDON_FIELD_ORDER - 1n }),
    fc.constantFrom(0n, 1n, POSEIDON_FIELD_ORDER - 1n, (1n << 64n) - 1n, 1n << 64n, 1n << 253n),
  );
  const groups = fc
    .integer({ min: 1, max: POSEIDON_INPUTS_MAX })
    .chain((count) => fc.array(fc.array(element, { minLength: count, maxLength: count }), { minLength: 1, maxLength: 3 }));
  await checkProperty(
    t,
    "as in plain JavaScript",
    fc.asyncProperty(groups, async (each) => {
      const expected = each.map(poseidonHashPortable);
      const answers = [each.map(poseidonHash), poseidonHashMany(each), await poseidonHashManyAsync(each)];
      return answers.every((answer) => answer.length === each.length && answer.every((is, index) => is === expected[index]));
    }),
    60,
  );
  const pairs = Array.from({ length: 40 }, (_, index) => [BigInt(index), POSEIDON_FIELD_ORDER - 1n]);
  t.same(poseidonHashMany(pairs), pairs.map(poseidonHashPortable), "on every core");
  t.same(poseidonHashMany([]), []);
  t.same(await poseidonHashManyAsync([]), []);
  for (const odd of [[[1n], [1n, 2n]], [[]], [[POSEIDON_FIELD_ORDER]], [[-1n]]]) {
    t.throws(() => poseidonHashMany(odd), { name: "AssertionError" });
    await t.rejects(poseidonHashManyAsync(odd), { name: "AssertionError" });
  }
});

/** Without the addon there is nothing to hand wrong things to, and the report above says so. */
if (native !== undefined) {
  const addon = native;
  t.test("the addon refuses what does not fit, with a code, and goes on", async (t) => {
    const [bytes, none] = [new Uint8Array(10), new Uint8Array(0)];
    const lengths = (...each: number[]): Uint32Array => Uint32Array.from(each);
    const refused: readonly (readonly [string, () => unknown])[] = [
      ["one too few", () => addon.blake3Many(0, bytes, lengths(9))],
      ["one too many", () => addon.blake3Many(0, bytes, lengths(11))],
      ["a sum past 32 bits", () => addon.merkleRoot(bytes, lengths(0xffff_ffff, 0xffff_ffff))],
      ["bytes without a length", () => addon.merkleRoot(bytes, lengths())],
      ["a frontier without hashes", () => addon.merkleAppend(1n, none, bytes, lengths(10))],
      ["half a hash", () => addon.merkleAppend(1n, new Uint8Array(16), bytes, lengths(10))],
      ["a negative size", () => addon.merkleAppend(-1n, new Uint8Array(32), bytes, lengths(10))],
      ["a size past 64 bits", () => addon.merkleAppend(1n << 64n, new Uint8Array(32), bytes, lengths(10))],
      ["a short key", () => addon.ed25519Verify(new Uint8Array(31), bytes, new Uint8Array(64))],
      ["a long signature", () => addon.ed25519Verify(new Uint8Array(32), bytes, new Uint8Array(65))],
      ["a short seed", () => addon.mlDsaKeyPair(new Uint8Array(31))],
      ["a short signing key", () => addon.mlDsaSign(new Uint8Array(4031), bytes, new Uint8Array(32))],
      ["too much randomness", () => addon.mlDsaSign(new Uint8Array(4032), bytes, new Uint8Array(33))],
      ["a long ML-DSA key", () => addon.mlDsaVerify(new Uint8Array(1953), bytes, new Uint8Array(3309))],
      ["a short ML-DSA signature", () => addon.mlDsaVerify(new Uint8Array(1952), bytes, new Uint8Array(3308))],
      ["no inputs", () => addon.poseidonMany(0, new BigUint64Array(4))],
      ["seventeen inputs", () => addon.poseidonMany(17, new BigUint64Array(68))],
      ["half a number", () => addon.poseidonMany(1, new BigUint64Array(2))],
      ["half a group", () => addon.poseidonMany(2, new BigUint64Array(4))],
      ["a number past the field", () => addon.poseidonMany(1, new BigUint64Array(4).fill((1n << 64n) - 1n))],
    ];
    for (const [what, call] of refused) t.throws(call, { message: /^native_input: / }, what);
    const claims = (...each: [number, number, number]): Promise<Uint8Array> =>
      addon.ed25519VerifyManyAsync(new Uint8Array(each[0]), new Uint8Array(each[1]), bytes, lengths(10, 0).subarray(0, each[2]));
    for (const odd of [
      [32, 64, 2],
      [64, 64, 1],
      [32, 128, 1],
      [33, 64, 1],
      [32, 65, 1],
      [0, 0, 0],
    ] as [number, number, number][])
      await t.rejects(claims(...odd), { message: /^native_input: / }, `${odd.join(" ")}`);
    t.equal((await claims(32, 64, 1)).length, 1);
    const lattice = addon.mlDsaVerifyManyAsync(new Uint8Array(1952), new Uint8Array(3308), bytes, lengths(10));
    await t.rejects(lattice, { message: /^native_input: / }, "ML-DSA signatures of another size");
    await t.rejects(addon.poseidonManyAsync(1, new BigUint64Array(4).fill(1n << 63n)), { message: /^native_input: / });
    for (const wrongType of [undefined, "text", [1, 2], new Uint16Array(4)] as unknown as Uint8Array[])
      t.throws(() => addon.blake3(wrongType), "another type");
  });

  t.test("a panic in Rust is an error in JavaScript, here and on the pool, and the next call is answered", async (t) => {
    t.throws(() => addon.canary(), { message: "native_panic: the canary" });
    await t.rejects(addon.canaryAsync(), { message: "native_panic: the canary" });
    t.equal(addon.blake3(utf8("abc")).length, 32);
  });
}
