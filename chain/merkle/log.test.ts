import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import t from "tap";
import { bytesEqual, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { readWith } from "../../crypto/codec/reader.ts";
import { MERKLE_BATCH_COUNT_MIN } from "../../crypto/backend/merkle.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { type Hash, hashOf, parseHash } from "../../crypto/hash/hash.ts";
import {
  appendEntries,
  appendLeaf,
  consistencyProof,
  EMPTY_FRONTIER,
  type Frontier,
  frontierAt,
  frontierRoot,
  inclusionProof,
  LOG_HASHER,
  logRoot,
  PROOF_LENGTH_MAX,
  readFrontier,
  readHashes,
  rootAt,
  verifyConsistency,
  verifyInclusion,
  writeFrontier,
  writeHashes,
} from "./log.ts";
import { emptySpan, frontierOf, joinSpans, spanLength, spanOf } from "./span.ts";
import { MemoryLog, SparseLog } from "./testing/nodes.ts";
import { referencePath, referenceProof, referenceRoot, SHA256_HASHER } from "./testing/reference.ts";
import { drawnSeed } from "../../crypto/testing/property.ts";

const SIZE_MAX = 130;
const ENTRIES = Array.from({ length: SIZE_MAX }, (_, index) => utf8(`entry ${index}`));
const SEED = drawnSeed();

/** The RFC 6962 vectors of transparency-dev/merkle, read in place. */
const VECTORS = fileURLToPath(new URL("../../../shared/vectors/rfc6962-merkle/testdata", import.meta.url));

function vectors(kind: string): { readonly name: string; readonly vector: Record<string, unknown> }[] {
  const files = readdirSync(join(VECTORS, kind), { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".json"));
  return files.map((file) => ({
    name: `${kind}/${file}`,
    vector: JSON.parse(readFileSync(join(VECTORS, kind, file), "utf8")) as Record<string, unknown>,
  }));
}

/** The hashes of a vector, or `undefined` when one of them has not the length of a hash. */
function hashesOf(base64: readonly string[]): Hash[] | undefined {
  const parsed = base64.map((text) => parseHash(new Uint8Array(Buffer.from(text, "base64"))));
  return parsed.every((one) => one.ok) ? parsed.map((one) => one.value) : undefined;
}

t.test("inclusion vectors of RFC 6962 are accepted and refused as published", async (t) => {
  const all = vectors("inclusion");
  t.ok(all.length > 50, `${all.length} vectors`);
  for (const { name, vector } of all) {
    const v = vector as {
      leafIdx: number;
      treeSize: number;
      root: string;
      leafHash: string;
      proof: string[] | null;
      wantErr: boolean;
    };
    const [root, leafHash, ...siblings] = hashesOf([v.root, v.leafHash, ...(v.proof ?? [])]) ?? [];
    const accepted =
      root !== undefined &&
      leafHash !== undefined &&
      verifyInclusion(SHA256_HASHER, { leafHash, index: BigInt(v.leafIdx), size: BigInt(v.treeSize), siblings, root }).ok;
    t.equal(accepted, !v.wantErr, name);
  }
});

t.test("consistency vectors of RFC 6962 are accepted and refused as published", async (t) => {
  const all = vectors("consistency");
  t.ok(all.length > 40, `${all.length} vectors`);
  for (const { name, vector } of all) {
    const v = vector as { size1: number; size2: number; root1: string; root2: string; proof: string[] | null; wantErr: boolean };
    const [firstRoot, secondRoot, ...hashes] = hashesOf([v.root1, v.root2, ...(v.proof ?? [])]) ?? [];
    const accepted =
      firstRoot !== undefined &&
      secondRoot !== undefined &&
      verifyConsistency(SHA256_HASHER, { first: BigInt(v.size1), second: BigInt(v.size2), hashes, firstRoot, secondRoot }).ok;
    t.equal(accepted, !v.wantErr, name);
  }
});

t.test("roots are those of certificate transparency", async (t) => {
  // RFC 6962, 2.1: the empty root is the hash of nothing. The others are the published roots of transparency-dev/merkle.
  t.equal(toHex(frontierRoot(SHA256_HASHER, EMPTY_FRONTIER)), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  const entries = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
  const published = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
  };
  const log = new MemoryLog(SHA256_HASHER);
  for (const entry of entries) log.append(Buffer.from(entry, "hex"));
  for (const [size, root] of Object.entries(published))
    t.equal(toHex(rootAt(SHA256_HASHER, BigInt(size), log.readNode)), root, `${size} leaves`);
});

t.test("roots and proofs up to a size of 130 are those of the RFC's own recursion, and hold", async (t) => {
  const log = new MemoryLog(LOG_HASHER);
  const roots: Hash[] = [];
  for (let size = 0; size <= SIZE_MAX; size += 1) {
    const entries = ENTRIES.slice(0, size);
    const root = referenceRoot(LOG_HASHER, entries);
    roots.push(root);
    t.ok(bytesEqual(frontierRoot(LOG_HASHER, log.frontier), root), `frontier of ${size}`);
    t.ok(bytesEqual(logRoot(entries), root), `root of ${size}`);
    t.same(frontierAt(BigInt(size), log.readNode), log.frontier, `stored frontier of ${size}`);
    let wrong = 0;
    for (const index of places(size)) {
      const siblings = inclusionProof(LOG_HASHER, { index: BigInt(index), size: BigInt(size) }, log.readNode);
      const claim = {
        leafHash: LOG_HASHER.leaf(ENTRIES[index] as Uint8Array),
        index: BigInt(index),
        size: BigInt(size),
        siblings,
        root,
      };
      if (!same(siblings, referencePath(LOG_HASHER, index, entries)) || !verifyInclusion(LOG_HASHER, claim).ok) wrong += 1;
    }
    for (const first of places(size + 1)) {
      const hashes = consistencyProof(LOG_HASHER, { first: BigInt(first), second: BigInt(size) }, log.readNode);
      const claim = { first: BigInt(first), second: BigInt(size), hashes, firstRoot: roots[first] as Hash, secondRoot: root };
      const expected = first === 0 ? [] : referenceProof(LOG_HASHER, first, entries);
      if (!same(hashes, expected) || !verifyConsistency(LOG_HASHER, claim).ok) wrong += 1;
    }
    t.equal(wrong, 0, `proofs at ${size}`);
    if (size < SIZE_MAX) log.append(ENTRIES[size] as Uint8Array);
  }
});

t.test("an inclusion proof holds for its own leaf, place, size and root, and for nothing beside them", async (t) => {
  const log = new MemoryLog(LOG_HASHER);
  for (const entry of ENTRIES) log.append(entry);
  const shape = fc
    .integer({ min: 2, max: SIZE_MAX })
    .chain((size) => fc.record({ size: fc.constant(size), index: fc.nat(size - 1), bit: fc.nat(255), other: fc.nat() }));
  fc.assert(
    fc.property(shape, ({ size, index, bit, other }) => {
      const root = rootAt(LOG_HASHER, BigInt(size), log.readNode);
      const siblings = inclusionProof(LOG_HASHER, { index: BigInt(index), size: BigInt(size) }, log.readNode);
      const claim = {
        leafHash: LOG_HASHER.leaf(ENTRIES[index] as Uint8Array),
        index: BigInt(index),
        size: BigInt(size),
        siblings,
        root,
      };
      const code = (change: object) => {
        const checked = verifyInclusion(LOG_HASHER, { ...claim, ...change });
        return checked.ok ? "ok" : checked.error.code;
      };
      const at = other % siblings.length;
      return (
        code({}) === "ok" &&
        code({ leafHash: flip(claim.leafHash, bit) }) === "root_mismatch" &&
        code({ root: flip(root, bit) }) === "root_mismatch" &&
        code({ siblings: siblings.with(at, flip(siblings[at] as Hash, bit)) }) === "root_mismatch" &&
        code({ siblings: siblings.slice(1) }) === "proof_length" &&
        code({ siblings: [...siblings, root] }) === "proof_length" &&
        code({ index: BigInt(size) }) === "index_out_of_range" &&
        code({ index: -1n }) === "index_out_of_range" &&
        (BigInt(other % size) === claim.index || code({ index: BigInt(other % size) }) !== "ok")
      );
    }),
    { seed: SEED, numRuns: 500 },
  );
  t.pass(`seed ${SEED}`);
});

t.test("a consistency proof holds for its own two logs and for no others", async (t) => {
  const log = new MemoryLog(LOG_HASHER);
  for (const entry of ENTRIES) log.append(entry);
  const shape = fc.integer({ min: 2, max: SIZE_MAX }).chain((second) =>
    fc.record({
      second: fc.constant(second),
      first: fc.integer({ min: 1, max: second - 1 }),
      bit: fc.nat(255),
      other: fc.nat(),
    }),
  );
  fc.assert(
    fc.property(shape, ({ first, second, bit, other }) => {
      const sizes = { first: BigInt(first), second: BigInt(second) };
      const hashes = consistencyProof(LOG_HASHER, sizes, log.readNode);
      const claim = {
        ...sizes,
        hashes,
        firstRoot: rootAt(LOG_HASHER, sizes.first, log.readNode),
        secondRoot: rootAt(LOG_HASHER, sizes.second, log.readNode),
      };
      const code = (change: object) => {
        const checked = verifyConsistency(LOG_HASHER, { ...claim, ...change });
        return checked.ok ? "ok" : checked.error.code;
      };
      const at = other % hashes.length;
      return (
        code({}) === "ok" &&
        code({ firstRoot: flip(claim.firstRoot, bit) }) === "root_mismatch" &&
        code({ secondRoot: flip(claim.secondRoot, bit) }) === "root_mismatch" &&
        code({ hashes: hashes.with(at, flip(hashes[at] as Hash, bit)) }) === "root_mismatch" &&
        code({ hashes: hashes.slice(1) }) === "proof_length" &&
        code({ hashes: [...hashes, hashes[0]] }) === "proof_length" &&
        code({ first: sizes.second + 1n }) === "index_out_of_range" &&
        code({ first: -1n }) === "index_out_of_range" &&
        code({ firstRoot: claim.secondRoot, secondRoot: claim.firstRoot }) === "root_mismatch"
      );
    }),
    { seed: SEED, numRuns: 500 },
  );
  t.pass(`seed ${SEED}`);
});

t.test("every log extends the empty one, and an empty log has one root only", async (t) => {
  const empty = LOG_HASHER.emptyRoot();
  const root = logRoot(ENTRIES);
  const verify = (first: bigint, second: bigint, firstRoot: Hash, secondRoot: Hash, hashes: Hash[] = []) =>
    verifyConsistency(LOG_HASHER, { first, second, firstRoot, secondRoot, hashes });
  t.ok(verify(0n, 0n, empty, empty).ok);
  t.ok(verify(0n, 130n, empty, root).ok);
  t.match(verify(0n, 0n, empty, root), { ok: false, error: { code: "root_mismatch", which: "second" } });
  t.match(verify(0n, 0n, root, root), { ok: false, error: { code: "root_mismatch", which: "first" } });
  t.match(verify(0n, 130n, root, root), { ok: false, error: { code: "root_mismatch", which: "first" } });
  t.match(verify(0n, 130n, empty, root, [root]), { ok: false, error: { code: "proof_length", want: 0, got: 1 } });
  t.match(verifyInclusion(LOG_HASHER, { leafHash: root, index: 0n, size: 0n, siblings: [], root }), {
    error: { code: "index_out_of_range" },
  });
});

t.test("a repeated last entry changes the root", async (t) => {
  // CVE-2012-2459: where an odd last node is doubled, [a, b, c] and [a, b, c, c] share a root.
  for (let size = 1; size < 40; size += 1) {
    const entries = ENTRIES.slice(0, size);
    t.notOk(
      bytesEqual(logRoot(entries), logRoot([...entries, entries.at(-1) as Uint8Array])),
      `${size} and its last entry again`,
    );
  }
});

t.test("a node cannot pass for a leaf", async (t) => {
  const [left, right] = [LOG_HASHER.leaf(utf8("a")), LOG_HASHER.leaf(utf8("b"))];
  const joined = new Uint8Array([...left, ...right]);
  t.notOk(bytesEqual(logRoot([joined]), logRoot([utf8("a"), utf8("b")])));
  t.notOk(bytesEqual(logRoot([new Uint8Array(0)]), LOG_HASHER.emptyRoot()), "nor an empty entry for an empty log");
});

t.test("proofs hold at random places of logs of up to 2^64 - 1 leaves, and one leaf beside does not", async (t) => {
  const size = fc.bigInt({ min: 2n, max: (1n << 64n) - 1n });
  const shape = size.chain((second) =>
    fc.record({
      second: fc.constant(second),
      index: fc.bigInt({ min: 0n, max: second - 1n }),
      first: fc.bigInt({ min: 1n, max: second }),
    }),
  );
  fc.assert(
    fc.property(shape, ({ second, index, first }) => {
      const log = new SparseLog(LOG_HASHER, { index, entry: utf8("marked"), otherwise: utf8("plain") });
      const root = rootAt(LOG_HASHER, second, log.readNode);
      const siblings = inclusionProof(LOG_HASHER, { index, size: second }, log.readNode);
      const hashes = consistencyProof(LOG_HASHER, { first, second }, log.readNode);
      const claim = { leafHash: LOG_HASHER.leaf(utf8("marked")), index, size: second, siblings, root };
      const roots = { firstRoot: rootAt(LOG_HASHER, first, log.readNode), secondRoot: root };
      return (
        siblings.length < PROOF_LENGTH_MAX &&
        hashes.length <= PROOF_LENGTH_MAX &&
        verifyInclusion(LOG_HASHER, claim).ok &&
        !verifyInclusion(LOG_HASHER, { ...claim, index: index ^ 1n }).ok &&
        verifyConsistency(LOG_HASHER, { first, second, hashes, ...roots }).ok &&
        (first === second || !verifyConsistency(LOG_HASHER, { first: first + 1n, second, hashes, ...roots }).ok)
      );
    }),
    { seed: SEED, numRuns: 200 },
  );
  const full: Frontier = frontierAt((1n << 64n) - 1n, () => LOG_HASHER.emptyRoot());
  t.throws(
    () => appendLeaf(LOG_HASHER, full, LOG_HASHER.emptyRoot()),
    { message: /log is full/ },
    "the index after the last does not exist",
  );
  t.match(
    verifyInclusion(LOG_HASHER, {
      leafHash: LOG_HASHER.emptyRoot(),
      index: 0n,
      size: 1n << 64n,
      siblings: [],
      root: LOG_HASHER.emptyRoot(),
    }),
    {
      error: { code: "index_out_of_range" },
    },
  );
  t.pass(`seed ${SEED}`);
});

t.test("appending hands out each complete node once, lower levels first", async (t) => {
  const seen: string[] = [];
  let frontier = EMPTY_FRONTIER;
  for (const entry of ENTRIES.slice(0, 7))
    frontier = appendLeaf(LOG_HASHER, frontier, LOG_HASHER.leaf(entry), (level, index) => seen.push(`${level}/${index}`));
  t.same(seen, ["0/0", "0/1", "1/0", "0/2", "0/3", "1/1", "2/0", "0/4", "0/5", "1/2", "0/6"]);
  t.same(EMPTY_FRONTIER, { size: 0n, hashes: [] }, "the frontier appended to is left as it was");
});

t.test("many entries at once are one entry after the other: frontier, nodes and root, from every size", async (t) => {
  const record = (frontier: Frontier, entries: readonly Uint8Array[], isWhole: boolean): unknown => {
    const nodes: string[] = [];
    const note = (level: number, index: bigint, hash: Hash): void => void nodes.push(`${level}/${index} ${toHex(hash)}`);
    if (isWhole) return { after: appendEntries(frontier, entries, note), nodes };
    let after = frontier;
    for (const entry of entries) after = appendLeaf(LOG_HASHER, after, LOG_HASHER.leaf(entry), note);
    return { after, nodes };
  };
  // Lengths on both sides of a block of the hash, and of its chunk.
  const entry = fc.oneof(fc.uint8Array({ maxLength: 140 }), fc.uint8Array({ minLength: 1000, maxLength: 1100 }));
  const shape = fc.record({ before: fc.nat(80), entries: fc.array(entry, { maxLength: 70, size: "max" }) });
  let batches = 0;
  fc.assert(
    fc.property(shape, ({ before, entries }) => {
      const frontier = appendEntries(EMPTY_FRONTIER, ENTRIES.slice(0, before));
      if (entries.length >= MERKLE_BATCH_COUNT_MIN) batches += 1;
      t.same(record(frontier, entries, true), record(frontier, entries, false));
      t.same(appendEntries(frontier, entries), (record(frontier, entries, false) as { after: Frontier }).after);
      return bytesEqual(logRoot(entries), referenceRoot(LOG_HASHER, entries));
    }),
    { seed: SEED, numRuns: 60 },
  );
  t.ok(batches > 10, `${batches} batches, seed ${SEED}`);
  const many = Array.from({ length: 5000 }, (_, index) => utf8(`entry ${index}`));
  t.same(record(EMPTY_FRONTIER, many, true), record(EMPTY_FRONTIER, many, false), "on every core");
  const last: Frontier = frontierAt((1n << 64n) - 6n, () => LOG_HASHER.emptyRoot());
  t.equal(appendEntries(last, many.slice(0, 5)).size, (1n << 64n) - 1n);
  t.throws(() => appendEntries(last, many.slice(0, 6)), { message: /log is full/ });
  t.throws(() => appendEntries({ size: 3n, hashes: [] }, many.slice(0, 5)), "a frontier without its hashes");
});

t.test("lists of more bytes than there is memory kept for them have their roots, and so have those that follow", async (t) => {
  // 3 MB has memory of its own, 1.2 MB makes what is kept grow, and a kilobyte lies where others lay.
  for (const [count, sizeBytes] of [
    [20, 150_000],
    [40, 1_000],
    [20, 60_000],
    [17, 3],
    [20, 150_000],
  ] as const) {
    const entries = Array.from({ length: count }, (_, index) => new Uint8Array(sizeBytes).fill(index + sizeBytes));
    t.ok(bytesEqual(logRoot(entries), referenceRoot(LOG_HASHER, entries)), `${count} of ${sizeBytes} bytes`);
  }
});

t.test("a frontier read from hostile bytes is refused or encodes to the same bytes", async (t) => {
  const encode = (frontier: Frontier) => {
    const writer = new Writer();
    writeFrontier(writer, frontier);
    return writer.finish();
  };
  const log = new MemoryLog(LOG_HASHER);
  const encodings = ENTRIES.map((entry) => {
    const bytes = encode(log.frontier);
    log.append(entry);
    return bytes;
  });
  for (const bytes of encodings) {
    const read = readWith(bytes, readFrontier);
    t.ok(read.ok && bytesEqual(encode(read.value), bytes), `frontier in ${bytes.length} bytes`);
  }
  const mutation = fc.record({ which: fc.nat(encodings.length - 1), at: fc.nat(), byte: fc.nat(255), cut: fc.nat(3) });
  fc.assert(
    fc.property(mutation, ({ which, at, byte, cut }) => {
      const bytes = (encodings[which] as Uint8Array).slice();
      bytes[at % bytes.length] = byte;
      const mutated = cut === 0 ? bytes.subarray(0, at % (bytes.length + 1)) : bytes;
      const read = readWith(mutated, readFrontier);
      return !read.ok || bytesEqual(encode(read.value), mutated);
    }),
    { seed: SEED, numRuns: 2000 },
  );
  const short = new Writer().array(2).uint(3).array(1).bytes(LOG_HASHER.emptyRoot()).finish();
  t.match(readWith(short, readFrontier), { error: { code: "encoding_limit", field: "hashes" } }, "three leaves need two hashes");
});

t.test("proof hashes are read up to the longest proof there is, and no further", async (t) => {
  const encode = (length: number) => {
    const writer = new Writer().array(length);
    for (let index = 0; index < length; index += 1) writer.bytes(LOG_HASHER.emptyRoot());
    return writer.finish();
  };
  const longest = readWith(encode(PROOF_LENGTH_MAX), readHashes);
  t.ok(longest.ok && longest.value.length === PROOF_LENGTH_MAX);
  const writer = new Writer();
  writeHashes(writer, longest.ok ? longest.value : []);
  t.same(writer.finish(), encode(PROOF_LENGTH_MAX));
  t.match(readWith(encode(PROOF_LENGTH_MAX + 1), readHashes), { error: { code: "encoding_limit" } });
  t.match(readWith(new Writer().array(1).bytes(new Uint8Array(31)).finish(), readHashes), { error: { code: "encoding_limit" } });
});

/** Every index below `count` while it is small; beyond, the edges and every eleventh: the recursion is slow. */
function places(count: number): number[] {
  const all = Array.from({ length: count }, (_, index) => index);
  return all.filter((index) => count <= 40 || index < 3 || index > count - 4 || (index + count) % 11 === 0);
}

function same(a: readonly Hash[], b: readonly Hash[]): boolean {
  return a.length === b.length && a.every((one, index) => bytesEqual(one, b[index] as Hash));
}

/** `one` with one bit flipped. */
function flip(one: Hash, bit: number): Hash {
  const bytes = one.slice();
  bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
  return hashOf(bytes);
}

t.test("spans of any stretches join to the frontier, and tell one changed leaf", (t) => {
  const leaves = ENTRIES.map((entry) => LOG_HASHER.leaf(entry));
  const stretch = fc.uniqueArray(fc.integer({ min: 0, max: SIZE_MAX }), { maxLength: 8 });
  fc.assert(
    fc.property(stretch, fc.integer({ min: 0, max: SIZE_MAX }), fc.nat(), (cuts, size, changed) => {
      const ends = [...cuts.filter((cut) => cut < size), size].toSorted((a, b) => a - b);
      const spans = ends.map((to, index) => {
        const from = index === 0 ? 0 : (ends[index - 1] as number);
        return spanOf(LOG_HASHER, BigInt(from), leaves.slice(from, to));
      });
      for (const span of spans) if (span.hashes.length !== spanLength(span.from, span.to)) return false;
      const joined = spans.reduce((whole, span) => joinSpans(LOG_HASHER, whole, span), emptySpan(0n));
      if (toHex(frontierRoot(LOG_HASHER, frontierOf(joined))) !== toHex(logRoot(ENTRIES.slice(0, size)))) return false;
      if (size === 0) return true;
      const other = leaves.slice(0, size);
      other[changed % size] = LOG_HASHER.leaf(utf8("another"));
      const whole = spanOf(LOG_HASHER, 0n, other);
      return whole.hashes.some((hash, index) => !bytesEqual(hash, joined.hashes[index] as Hash));
    }),
    { seed: SEED, numRuns: 500 },
  );
  // Joined the other way round, and from a start that is not 0: the same hashes as over the leaves themselves.
  for (let from = 0; from < 20; from += 1) {
    for (let middle = from; middle < 40; middle += 1) {
      const [left, right] = [
        spanOf(LOG_HASHER, BigInt(from), leaves.slice(from, middle)),
        spanOf(LOG_HASHER, BigInt(middle), leaves.slice(middle, 60)),
      ];
      t.strictSame(joinSpans(LOG_HASHER, left, right), spanOf(LOG_HASHER, BigInt(from), leaves.slice(from, 60)));
    }
  }
  t.end();
});
