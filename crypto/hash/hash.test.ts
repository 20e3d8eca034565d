/** Hashing: the public BLAKE3 and Poseidon vectors, and domains that cannot stand for one another. */

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import fc from "fast-check";
import t from "tap";
import { blake3, blake3Portable, blake3Wasm } from "../backend/blake3.ts";
import { concatBytes, EMPTY, toHex } from "../base/bytes.ts";
import { checkProperty } from "../testing/property.ts";
import { readVectorJson } from "../testing/vectors.ts";
import { DOMAIN, type Domain } from "./domain.ts";
import { hash, hashOf, hashPair, hashParts, parseHash, ZERO_HASH } from "./hash.ts";
import { POSEIDON_FIELD_ORDER, POSEIDON_INPUTS_MAX, poseidonHash } from "./poseidon.ts";

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

t.test("where WebAssembly may not be compiled the portable back end serves, and any other failure of it is told", async (t) => {
  const script = (failure: string): string => `
    WebAssembly.compile = async () => { throw ${failure}; };
    const { blake3, blake3Wasm } = await import(${JSON.stringify(new URL("../backend/blake3.ts", import.meta.url).href)});
    console.log(blake3Wasm === undefined, Buffer.from(blake3(new Uint8Array(3))).toString("hex"));`;
  const run = async (failure: string): Promise<string> =>
    (await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", script(failure)])).stdout.trim();
  t.equal(await run("new WebAssembly.CompileError('refused by the content policy')"), `true ${toHex(blake3(new Uint8Array(3)))}`);
  await t.rejects(run("new RangeError('out of memory')"), { message: /out of memory/ });
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
    segment: 0x14,
    recordKey: 0x15,
    stateRecord: 0x16,
    transaction: 0x20,
    header: 0x21,
    validators: 0x22,
    certificate: 0x23,
    vote: 0x24,
    proposal: 0x25,
    network: 0x27,
    work: 0x28,
    statement: 0x29,
    notarisation: 0x2a,
    sessionAppend: 0x2b,
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

t.test("the public Poseidon digests of circomlib come out", async (t) => {
  const { vectors } = readVectorJson<{
    readonly vectors: readonly { readonly inputs: readonly number[]; readonly expected: readonly string[] }[];
  }>("poseidon/poseidon-bn254.json");
  t.equal(vectors.length, 8);
  for (const { inputs, expected } of vectors)
    t.same([`${poseidonHash(inputs.map(BigInt))}`], expected, `Poseidon of ${inputs.length} inputs`);
  // The widest ones: numbers of iden3/go-iden3-crypto, poseidon/poseidon_test.go, and iden3/circomlibjs, test/poseidon.js.
  const counted = (count: number): bigint[] => Array.from({ length: count }, (_, index) => BigInt(index + 1));
  t.equal(poseidonHash(counted(14)), 8354478399926161176778659061636406690034081872658507739535256090879947077494n);
  t.equal(poseidonHash(counted(16)), 9989051620750914585850546081941653841776809718687451684622678807385399211877n);
});

t.test("Poseidon takes 1 to 16 field elements and nothing else, and tells every input and every width apart", async (t) => {
  const digests = new Set<bigint>();
  for (let count = 1; count <= POSEIDON_INPUTS_MAX; count += 1) digests.add(poseidonHash(Array<bigint>(count).fill(0n)));
  t.equal(digests.size, 16, "as many zeros as you like are not one thing");
  const last = POSEIDON_FIELD_ORDER - 1n;
  t.not(poseidonHash([last, 1n]), poseidonHash([1n, last]));
  for (const wrong of [[], Array<bigint>(17).fill(0n), [POSEIDON_FIELD_ORDER], [-1n], [0n, 1n << 256n]])
    t.throws(() => poseidonHash(wrong), { name: "AssertionError" });
});
