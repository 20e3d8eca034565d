/** The ground: bytes compare, convert and refuse as they say. */

import fc from "fast-check";
import t from "tap";
import { checkProperty } from "../testing/property.ts";
import { assert, present, unreachable } from "./assert.ts";
import {
  bytesEqual,
  bytesName,
  compareBytes,
  concatBytes,
  fromHex,
  parseHex,
  parseUtf8,
  readU32,
  readU64,
  startsWith,
  toHex,
  u32,
  u64,
  utf8,
} from "./bytes.ts";
import { CodedError, codeOf } from "./error.ts";
import { Recent } from "./recent.ts";

const bytes = fc.uint8Array({ maxLength: 12 });

t.test("bytes sort as Buffer sorts them, a prefix first", async (t) => {
  await checkProperty(
    t,
    "compareBytes",
    fc.property(bytes, bytes, (a, b) => {
      const order = Math.sign(compareBytes(a, b));
      return order === Buffer.compare(a, b) && (order === 0) === bytesEqual(a, b);
    }),
    500,
  );
  await checkProperty(
    t,
    "startsWith",
    fc.property(
      bytes,
      bytes,
      (a, b) => startsWith(concatBytes(a, b), a) && (b.length === 0 || !startsWith(a, concatBytes(a, b))),
    ),
  );
});

t.test("big-endian integers sort as their numbers do, and read back", async (t) => {
  const wide = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  await checkProperty(
    t,
    "u64",
    fc.property(
      wide,
      wide,
      (a, b) => readU64(u64(a)) === a && Math.sign(compareBytes(u64(a), u64(b))) === (a < b ? -1 : a > b ? 1 : 0),
    ),
  );
  await checkProperty(
    t,
    "u32",
    fc.property(fc.nat(0xffff_ffff), (a) => readU32(concatBytes(Uint8Array.of(9), u32(a)), 1) === a),
  );
  for (const wrong of [-1n, 2n ** 64n]) t.throws(() => u64(wrong), { name: "AssertionError" });
  for (const wrong of [-1, 2 ** 32, 1.5, Number.NaN]) t.throws(() => u32(wrong), { name: "AssertionError" });
  t.throws(() => readU64(new Uint8Array(8), 1), { name: "AssertionError" });
  t.throws(() => readU32(new Uint8Array(3)), { name: "AssertionError" });
});

t.test("hex of either case parses, and nothing else does", async (t) => {
  await checkProperty(
    t,
    "hex",
    fc.property(fc.oneof(bytes, fc.uint8Array({ minLength: 60, maxLength: 200 })), (value) => {
      const parsed = parseHex(toHex(value).toUpperCase());
      return parsed.ok && bytesEqual(parsed.value, value);
    }),
  );
  const short = ["a", "0g", "0x00", " 00", "00\n", "\u0661\u0661", "\u0130\u0130"];
  // Long ones are read in another way: wrong at the end, at the beginning, and in the middle.
  const long = short.flatMap((wrong) => [`${"00".repeat(100)}${wrong}`, `${wrong}${"00".repeat(100)}`]);
  for (const wrong of [...short, ...long, `${"00".repeat(50)}g0${"00".repeat(50)}`]) {
    t.same(parseHex(wrong), { ok: false, error: { code: "hex_invalid" } }, JSON.stringify(wrong));
    t.throws(() => fromHex(wrong), { name: "AssertionError" });
  }
});

t.test("UTF-8 is strict, and text comes back as it was", async (t) => {
  await checkProperty(
    t,
    "utf8",
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      const parsed = parseUtf8(utf8(text));
      return parsed.ok && parsed.value === text;
    }),
  );
  t.same(parseUtf8(fromHex("efbbbf61")), { ok: true, value: "\ufeffa" }, "a byte order mark is kept");
  for (const hex of ["ff", "c080", "eda080", "f4908080", "e282"])
    t.same(parseUtf8(fromHex(hex)), { ok: false, error: { code: "utf8_invalid" } }, hex);
});

t.test("errors carry their code, and a code is read off anything that was thrown", async (t) => {
  const cause = Object.assign(new Error("no space"), { code: "ENOSPC" });
  const error = new CodedError("store_io", { message: "while writing", path: "x" }, { cause });
  t.match(error, { code: "store_io", message: "store_io: while writing", detail: { path: "x" }, cause });
  t.equal(codeOf(error), "store_io");
  t.equal(codeOf(cause), "ENOSPC");
  for (const other of [new Error("plain"), "text", undefined, { code: "not an error" }]) t.equal(codeOf(other), "unknown");
});

t.test("an assertion names what was wrong", async (t) => {
  assert(true, "not thrown");
  t.throws(() => assert(false, "size is 3"), { name: "AssertionError", message: "size is 3" });
  t.throws(() => unreachable({ kind: "new", amount: 1n } as never), {
    name: "AssertionError",
    message: 'unreachable variant: {"kind":"new","amount":"1"}',
  });
  t.equal(present(0, "zero"), 0);
  t.throws(() => present(undefined, "the key"), { name: "AssertionError", message: "the key is missing" });
  t.throws(() => present(undefined, "row {}", 7n), { name: "AssertionError", message: "row 7 is missing" });
  t.throws(() => assert(false, "{} of {}", 1n, "{}"), { message: "1 of {}" });
  t.throws(() => assert(false, "{} and no other value: {}", "a".repeat(1000)), {
    message: `${"a".repeat(100)} and no other value: undefined`,
  });
});

t.test("what is made of bytes lately is made again only when other bytes had its place", async (t) => {
  let made = 0;
  const recent = new Recent<{ readonly hex: string }>(4, {
    isOf: ({ hex }, bytes, from, to) => hex === toHex(bytes.subarray(from, to)),
    make: (bytes, from, to) => {
      made += 1;
      return { hex: toHex(bytes.subarray(from, to)) };
    },
  });
  const one = recent.of(Uint8Array.of(1, 2, 3));
  t.equal(recent.of(Uint8Array.of(1, 2, 3)), one, "the same value");
  t.equal(recent.of(Uint8Array.of(0, 1, 2, 3, 4), 1, 4), one, "of a part with the same bytes");
  t.equal(made, 1);
  await checkProperty(
    t,
    "whatever came before",
    fc.property(fc.array(fc.uint8Array({ maxLength: 2 }), { maxLength: 50 }), (all) =>
      all.every((bytes) => recent.of(bytes).hex === toHex(bytes)),
    ),
  );
  for (let byte = 0; byte < 256; byte += 1) recent.of(Uint8Array.of(byte));
  t.ok(made > 256 - 4, "four places hold no more than four");
});

t.test("names of bytes are equal when the bytes are, and sort as they do", async (t) => {
  await checkProperty(
    t,
    "one character a byte, whatever makes them",
    fc.property(fc.uint8Array({ maxLength: 100 }), (a) => bytesName(a) === String.fromCharCode(...a)),
  );
  await checkProperty(
    t,
    "bytesName",
    fc.property(bytes, bytes, (a, b) => {
      const [nameOfA, nameOfB] = [bytesName(a), bytesName(b)];
      return Math.sign(compareBytes(a, b)) === (nameOfA < nameOfB ? -1 : nameOfA > nameOfB ? 1 : 0);
    }),
  );
});
