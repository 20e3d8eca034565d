/** The codec: public dag-cbor fixtures, every way of saying one thing twice, and hostile bytes. */

import fc from "fast-check";
import { CID } from "multiformats/cid";
import * as Digest from "multiformats/hashes/digest";
import { varint } from "multiformats";
import { createHash } from "node:crypto";
import t from "tap";
import { concatBytes, fromHex, toHex, utf8 } from "../base/bytes.ts";
import { checkDecoder, checkProperty, mutated } from "../testing/property.ts";
import { listVectors, readVector, readVectorText } from "../testing/vectors.ts";
import { isBinaryCid } from "./link.ts";
import { checkCanonical, DEPTH_MAX, readWith } from "./reader.ts";
import { decodeValue, encodeValue, Float, type Value } from "./value.ts";
import { Writer } from "./writer.ts";

const CID_V1_HEX = "015500050001020304";

t.test("every public dag-cbor fixture decodes, encodes to the same bytes, and has the CID it is named for", async (t) => {
  let count = 0;
  for (const name of listVectors("dag-cbor/fixtures")) {
    const file = listVectors(`dag-cbor/fixtures/${name}`).find((entry) => entry.endsWith(".dag-cbor"));
    if (file === undefined) continue;
    const bytes = readVector(`dag-cbor/fixtures/${name}/${file}`);
    const sha256 = Digest.create(0x12, createHash("sha256").update(bytes).digest());
    t.equal(CID.createV1(0x71, sha256).toString(), file.replace(".dag-cbor", ""), `${name}: the file is the one it is named for`);
    const decoded = decodeValue(bytes);
    if (!decoded.ok) {
      t.fail(`${name}: ${decoded.error.code}`);
      continue;
    }
    t.equal(toHex(encodeValue(decoded.value)), toHex(bytes), name);
    t.ok(checkCanonical(bytes).ok, `${name}: canonical`);
    count += 1;
  }
  t.ok(count >= 95, `${count} fixtures`);
});

/** What must not decode, and why. The valid neighbour stands beside each group below. */
const REFUSED: readonly (readonly [name: string, hex: string, code: string])[] = [
  ["nothing at all", "", "encoding_truncated"],
  ["a second item after the first", "0000", "encoding_trailing"],
  ["an integer with one byte more than it needs", "1817", "encoding_not_canonical"],
  ["an integer in two bytes that fits one", "1900ff", "encoding_not_canonical"],
  ["an integer in four bytes that fits two", "1a0000ffff", "encoding_not_canonical"],
  ["an integer in eight bytes that fits four", "1b00000000ffffffff", "encoding_not_canonical"],
  ["a negative integer with a long head", "3817", "encoding_not_canonical"],
  ["a byte string with a long head", "580100", "encoding_not_canonical"],
  ["a text with a long head", "780161", "encoding_not_canonical"],
  ["an array with a long head", "980100", "encoding_not_canonical"],
  ["a map with a long head", "b801616100", "encoding_not_canonical"],
  ["reserved head 28", "1c", "encoding_not_canonical"],
  ["an indefinite byte string", "5f4100ff", "encoding_not_canonical"],
  ["an indefinite text", "7f6161ff", "encoding_not_canonical"],
  ["an indefinite array", "9f00ff", "encoding_not_canonical"],
  ["an indefinite map", "bf616100ff", "encoding_not_canonical"],
  ["a break on its own", "ff", "encoding_type"],
  ["keys out of order", "a2616200616100", "encoding_not_canonical"],
  ["a longer key before a shorter one", "a262616100616200", "encoding_not_canonical"],
  ["a key twice", "a2616100616101", "encoding_not_canonical"],
  ["a key that is an integer", "a10000", "encoding_type"],
  ["a key that is bytes", "a1416100", "encoding_type"],
  ["a map that ends after its key", "a16161", "encoding_truncated"],
  ["an array shorter than its head says", "8200", "encoding_truncated"],
  ["a head cut off", "1a0001", "encoding_truncated"],
  ["a byte string one longer than the input", "4200", "encoding_truncated"],
  ["a byte string of 2^32 - 1 bytes in one", "5affffffff00", "encoding_limit"],
  ["an array of 2^32 - 1 items in five bytes", "9affffffff", "encoding_limit"],
  ["an array of 2^64 - 1 items", "9bffffffffffffffff", "encoding_limit"],
  ["a map of 2^63 entries", "bb8000000000000000", "encoding_limit"],
  ["NaN", "fb7ff8000000000000", "encoding_not_canonical"],
  ["infinity", "fb7ff0000000000000", "encoding_not_canonical"],
  ["minus infinity", "fbfff0000000000000", "encoding_not_canonical"],
  ["a half float", "f93c00", "encoding_type"],
  ["a single float", "fa3f800000", "encoding_type"],
  ["a float cut off", "fb3ff00000", "encoding_truncated"],
  ["undefined", "f7", "encoding_type"],
  ["an unassigned simple value", "e0", "encoding_type"],
  ["false in two bytes", "f814", "encoding_type"],
  ["a text that is not UTF-8", "61ff", "encoding_text"],
  ["a text with a surrogate", "63eda080", "encoding_text"],
  ["a text with an overlong character", "62c080", "encoding_text"],
  ["a date tag", "c074323031332d30332d32315432303a30343a30305a", "encoding_type"],
  ["a big integer tag", "c249010000000000000000", "encoding_type"],
  ["tag 43", "d82b4100", "encoding_type"],
  ["tag 42 with a long head", "d9002a4100", "encoding_not_canonical"],
  ["a link that is a text", "d82a6100", "encoding_type"],
  ["a link without its zero byte", `d82a49${CID_V1_HEX}`, "encoding_not_canonical"],
  ["an empty link", "d82a40", "encoding_not_canonical"],
  ["a link with no CID", "d82a4100", "encoding_not_canonical"],
  ["a CID cut off", "d82a490001550005000102", "encoding_truncated"],
];

t.test("one canonical encoding is accepted, and every other way to say it is refused with its code", async (t) => {
  for (const [name, hex, code] of REFUSED) {
    const bytes = fromHex(hex);
    for (const [decoder, decoded] of [
      ["decodeValue", decodeValue(bytes)],
      ["checkCanonical", checkCanonical(bytes)],
    ] as const) {
      t.equal(decoded.ok ? "accepted" : decoded.error.code, code, `${decoder}: ${name}`);
    }
  }
  const accepted = [
    "00",
    "17",
    "1818",
    "18ff",
    "190100",
    "1a00010000",
    "1b0000000100000000",
    "1bffffffffffffffff",
    "20",
    "3bffffffffffffffff",
    "40",
    "4100",
    "60",
    "6161",
    "80",
    "8100",
    "a0",
    "a1616100",
    "a2616100616200",
    "a261620062616100",
    "f4",
    "f5",
    "f6",
    "fb3ff0000000000000",
    "fb8000000000000000",
    `d82a4a00${CID_V1_HEX}`,
  ];
  for (const hex of accepted) {
    const decoded = decodeValue(fromHex(hex));
    t.ok(decoded.ok && checkCanonical(fromHex(hex)).ok, `${hex} is canonical`);
    if (decoded.ok) t.equal(toHex(encodeValue(decoded.value)), hex);
  }
});

t.test("nesting stops at the bound, and one level more is refused before the stack is in danger", async (t) => {
  const nested = (depth: number, head: string): Uint8Array => fromHex(`${head.repeat(depth)}00`);
  for (const head of ["81", "a16161"]) {
    t.ok(decodeValue(nested(DEPTH_MAX, head)).ok);
    t.ok(checkCanonical(nested(DEPTH_MAX, head)).ok);
    for (const depth of [DEPTH_MAX + 1, 1_000_000]) {
      for (const decoded of [decodeValue(nested(depth, head)), checkCanonical(nested(depth, head))]) {
        t.match(decoded, { ok: false, error: { code: "encoding_depth" } }, `${depth} of ${head}`);
      }
    }
  }
});

t.test("a head that announces more than there is allocates nothing", async (t) => {
  const before = process.memoryUsage().arrayBuffers;
  let refused = 0;
  for (let round = 0; round < 1000; round += 1) if (!decodeValue(fromHex("5a7fffffff0000")).ok) refused += 1;
  t.equal(refused, 1000);
  t.ok(process.memoryUsage().arrayBuffers - before < 10_000_000);
});

t.test("no key of a map is special", async (t) => {
  const decoded = decodeValue(fromHex("a1695f5f70726f746f5f5fa1617801"));
  t.ok(decoded.ok);
  if (!decoded.ok) return;
  const map = decoded.value as { readonly [key: string]: Value };
  t.same(Object.keys(map), ["__proto__"]);
  t.equal((map as { x?: unknown })["x"], undefined, "the prototype is as it was");
  t.equal(({} as { x?: unknown })["x"], undefined);
});

t.test("a link is exactly one CID, or it is refused", async (t) => {
  const digest = "00".repeat(32);
  const valid = [`1220${digest}`, `01711220${digest}`, "01550000", CID_V1_HEX, "01ffffffffffff7f0000", "0180010000"];
  for (const hex of valid) {
    t.ok(isBinaryCid(fromHex(hex)), hex);
    t.equal(toHex(CID.decode(fromHex(hex)).bytes), hex, "the library gives the same bytes back");
  }
  const invalid = [
    ["", "nothing"],
    ["01", "a version alone"],
    ["0155", "no multihash"],
    ["015500", "no digest length"],
    ["0155000100ff", "a byte after the digest"],
    ["01550002ff", "a digest cut off"],
    ["01d5000000", "a codec with a padded varint"],
    ["8100550000", "a version with a padded varint"],
    ["0155008000", "a length with a padded varint"],
    // multiformats reads these as doubles, and would write other bytes than it read.
    ["01ffffffffffffff7f0000", "a codec of 2^56 - 1"],
    ["0155ffffffffffffffff7f00", "a hash code of 2^63 - 1"],
    ["00550000", "version 0 spelled out"],
    ["02550000", "version 2"],
    ["03550000", "version 3"],
    [`1220${"00".repeat(31)}`, "version 0 with a short digest"],
    [`1220${"00".repeat(33)}`, "version 0 with a long digest"],
    [`1114${"00".repeat(20)}`, "a bare SHA-1 multihash"],
  ] as const;
  for (const [hex, name] of invalid) {
    const cid = fromHex(hex);
    t.notOk(isBinaryCid(cid), name);
    const link = concatBytes(fromHex("d82a58"), Uint8Array.of(cid.length + 1, 0), cid);
    // Shorter than 24 bytes takes the short head.
    const bytes = cid.length + 1 < 24 ? concatBytes(fromHex("d82a"), Uint8Array.of(0x40 + cid.length + 1, 0), cid) : link;
    t.match(decodeValue(bytes), { ok: false, error: { code: "encoding_not_canonical" } }, name);
    t.match(checkCanonical(bytes), { ok: false, error: { code: "encoding_not_canonical" } }, name);
  }
});

t.test("an integer and the float of the same value stay apart", async (t) => {
  t.equal(toHex(encodeValue(1)), "01");
  t.equal(toHex(encodeValue(new Float(1))), "fb3ff0000000000000");
  t.equal(toHex(encodeValue(-0)), "fb8000000000000000");
  const whole = decodeValue(fromHex("fb3ff0000000000000"));
  t.ok(whole.ok && whole.value instanceof Float && whole.value.value === 1);
  const wide = decodeValue(fromHex("1b0020000000000000"));
  t.same(wide, { ok: true, value: 2n ** 53n });
});

t.test("our own mistakes are assertions: what dag-cbor cannot say is never written", async (t) => {
  let nested: Value = 0;
  for (let depth = 0; depth <= DEPTH_MAX; depth += 1) nested = [nested];
  const wrong: readonly unknown[] = [
    Number.NaN,
    Number.POSITIVE_INFINITY,
    undefined,
    "\ud800",
    { "\udc00": 1 },
    2n ** 64n,
    -(2n ** 64n) - 1n,
    nested,
    () => 0,
  ];
  for (const value of wrong) t.throws(() => encodeValue(value as Value), { name: "AssertionError" });
  t.throws(() => new Float(Number.NaN), { name: "AssertionError" });
});

t.test("a schema read names the field and the offset of what it refuses", async (t) => {
  const bytes = new Writer().array(2).uint(5).text("abc").finish();
  const read = (max: number): unknown =>
    readWith(bytes, (reader) => {
      reader.field("pair").tuple(2);
      return [reader.field("count").number(max), reader.field("name").text(3)];
    });
  t.same(read(5), { ok: true, value: [5, "abc"] });
  t.same(read(4), { ok: false, error: { code: "encoding_limit", offset: 1, field: "count" } });
  t.same(
    readWith(bytes, (reader) => reader.tuple(3)),
    { ok: false, error: { code: "encoding_limit", offset: 0 } },
  );
  t.same(
    readWith(bytes, (reader) => reader.tuple(2)),
    { ok: false, error: { code: "encoding_trailing", offset: 1 } },
  );
  t.throws(
    () =>
      readWith(bytes, () => {
        throw new RangeError("ours");
      }),
    { name: "RangeError" },
    "a fault of ours is not turned into a refusal",
  );
});

const cidArbitrary = fc
  .tuple(fc.nat(0xffff), fc.nat(0xff), fc.uint8Array({ maxLength: 40 }))
  .map(([codec, code, digest]) => CID.createV1(codec, Digest.create(code, digest)));

const valueArbitrary: fc.Arbitrary<Value> = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constant(null),
    fc.boolean(),
    fc.integer(),
    fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n - 1n }),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.integer().map((value) => new Float(value)),
    fc.string({ unit: "grapheme", maxLength: 12 }),
    fc.uint8Array({ maxLength: 40 }),
    cidArbitrary,
    fc.array(tie("value"), { maxLength: 5 }),
    fc.dictionary(fc.string({ unit: "grapheme", maxLength: 6 }), tie("value"), { maxKeys: 5 }),
  ),
})).value;

const encodedArbitrary = valueArbitrary.map(encodeValue);

t.test("whatever is written reads back to the same bytes", async (t) => {
  await checkProperty(
    t,
    "decode after encode",
    fc.property(encodedArbitrary, (bytes) => {
      const decoded = decodeValue(bytes);
      return decoded.ok && toHex(encodeValue(decoded.value)) === toHex(bytes);
    }),
    500,
  );
});

t.test("hostile bytes are refused, or are the one encoding of what they say", async (t) => {
  await checkDecoder(t, "decodeValue", { valid: encodedArbitrary, decode: decodeValue, encode: encodeValue }, 3000);
});

t.test("checking and decoding agree on every input", async (t) => {
  await checkProperty(
    t,
    "checkCanonical as decodeValue",
    fc.property(mutated(encodedArbitrary), (bytes) => {
      const checked = checkCanonical(bytes);
      const decoded = decodeValue(bytes);
      if (checked.ok || decoded.ok) return checked.ok === decoded.ok;
      return checked.error.code === decoded.error.code && checked.error.offset === decoded.error.offset;
    }),
    3000,
  );
});

t.test("links are hostile too", async (t) => {
  const link = cidArbitrary.map((cid) => encodeValue(cid));
  await checkDecoder(t, "a link", { valid: link, decode: decodeValue, encode: encodeValue }, 3000);
});

t.test("varints are those of the multiformats specification, in the library as in our own check", async (t) => {
  // The table of the README: `300 (0x012c)    => 10101100 00000010 (0xac02)`.
  const rows = [...readVectorText("varint/README.md").matchAll(/^(\d+) \(0x[0-9a-f]+\)\s+=> [01 ]+\(0x([0-9a-f]+)\)$/gm)];
  t.equal(rows.length, 6, "the whole table");
  for (const [, number, hex] of rows) {
    const bytes = fromHex(hex as string);
    t.same(varint.decode(bytes), [Number(number), bytes.length]);
    t.equal(toHex(varint.encodeTo(Number(number), new Uint8Array(bytes.length))), hex);
    t.ok(isBinaryCid(concatBytes(Uint8Array.of(1), bytes, fromHex("0000"))), `codec ${number}`);
  }
  for (const hex of ["8100", "8000", "ac8200", "80", "ffffffffffffffffff7f"]) {
    t.throws(() => varint.decode(fromHex(hex)), `${hex} is refused`);
    t.notOk(isBinaryCid(concatBytes(Uint8Array.of(1), fromHex(hex), fromHex("0000"))), `${hex} is refused by ours`);
  }
});

t.test("public multihashes decode and encode to the same bytes", async (t) => {
  const codes: Readonly<Record<string, { readonly code: number; readonly node: string | undefined }>> = {
    sha1: { code: 0x11, node: "sha1" },
    "sha2-256": { code: 0x12, node: "sha256" },
    "sha2-512": { code: 0x13, node: "sha512" },
    // The file's `sha3` is code 0x14, SHA3-512.
    sha3: { code: 0x14, node: "sha3-512" },
  };
  const rows = readVectorText("multihash/tests/values/test_cases.csv")
    .trim()
    .split("\n")
    .slice(1)
    .map((line) => line.split(","));
  t.equal(rows.length, 260);
  let hashed = 0;
  for (const [algorithm = "", bits, input = "", multihash = ""] of rows) {
    const bytes = fromHex(multihash);
    const digest = Digest.decode(bytes);
    const size = Number(bits) / 8;
    const known = codes[algorithm];
    t.ok(digest.code === known?.code && digest.size === size, multihash);
    t.equal(toHex(Digest.create(digest.code, digest.digest).bytes), multihash);
    // The input column is text, not hex: hashing its characters gives the digest.
    const expected = new Uint8Array(
      createHash(known?.node as string)
        .update(utf8(input))
        .digest(),
    ).subarray(0, size);
    if (toHex(expected) === toHex(digest.digest)) hashed += 1;
    t.throws(() => Digest.decode(bytes.subarray(0, -1)), "a byte short");
  }
  t.equal(hashed, rows.length, "every digest is the one of its input");
});
