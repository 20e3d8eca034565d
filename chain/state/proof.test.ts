/** Proofs: what is true can be proved and is believed; whatever was left out, added, changed or moved is not. */

import fc from "fast-check";
import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { bytesEqual, compareBytes, concatBytes, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { type Hash, hash } from "../../crypto/hash/hash.ts";
import { heightOf } from "../block/height.ts";
import { openMemoryStore } from "../store/memory.ts";
import { bitAt, branchBit, KEY_SIZE_BYTES_MAX } from "./bits.ts";
import { valueHash } from "./hashing.ts";
import { encodeProof, parseProof, type Proof, type ProofStep, type Row, verifyKeys, verifyRange, verifyRow } from "./proof.ts";
import { isOutside, successor } from "./range.ts";
import { StateTree } from "./tree.ts";
import { anyKey, batchOf, commit, denseKey } from "./testing/keys.ts";
import { bitString, NaiveMap } from "./testing/naive.ts";
import { drawnSeed } from "../../crypto/testing/property.ts";

const SEED = drawnSeed();
t.comment(`seed ${SEED}`);
const many = (numRuns: number): fc.Parameters<unknown> => ({ seed: SEED, numRuns });
const AT = heightOf(1n);

type Fixture = { readonly tree: StateTree; readonly root: Hash; readonly map: NaiveMap };

async function treeOf(rows: readonly Row[]): Promise<Fixture> {
  const store = openMemoryStore();
  const tree = await StateTree.open(store);
  await commit(tree, store, AT, rows);
  const map = new NaiveMap().with(rows);
  return { tree, root: present(tree.rootAt(AT), "root"), map };
}

/** Rows 0, 2, 4, ... of a table, and a prefix and an extension of one of them. */
async function table(count: number): Promise<Fixture> {
  const rows = Array.from({ length: count }, (_, index) => ({ key: rowKey(index * 2), value: utf8(`value ${index}`) }));
  return treeOf([
    ...rows,
    { key: utf8("table/00"), value: utf8("prefix") },
    { key: concatBytes(rowKey(6), utf8("!")), value: utf8("extension") },
  ]);
}

function rowKey(number: number): Uint8Array {
  return utf8(`table/${String(number).padStart(4, "0")}`);
}

function decode(bytes: Uint8Array): Proof {
  const proof = parseProof(bytes);
  if (!proof.ok) throw new Error(proof.error.code);
  return proof.value;
}

/** The refusal's code, or "accepted". */
function refusal(result: { readonly ok: boolean; readonly error?: { readonly code: string } }): string {
  return result.ok ? "accepted" : present(result.error, "error").code;
}

t.test("a hidden subtree is outside of a range exactly when none of its possible keys is in it", async () => {
  // Method: all keys of up to two bytes from a small alphabet stand for all keys.
  const alphabet = [0x00, 0x01, 0x40, 0x7f, 0x80, 0xc0, 0xff];
  const keys = [
    ...alphabet.map((byte) => Uint8Array.of(byte)),
    ...alphabet.flatMap((a) => alphabet.map((b) => Uint8Array.of(a, b))),
  ];
  fc.assert(
    fc.property(
      fc.constantFrom(...keys),
      fc.nat(18),
      fc.option(denseKey, { nil: undefined }),
      fc.option(denseKey, { nil: undefined }),
      (key, bit, from, to) => {
        const own = bitAt(key, bit);
        if (own === undefined || (to !== undefined && compareBytes(from ?? new Uint8Array(0), to) >= 0)) return true;
        const pattern = `${bitString(key).slice(0, bit)}${1 - own}`;
        const beside = keys.filter((other) => bitString(other).startsWith(pattern));
        const inRange = beside.some(
          (other) => (from === undefined || compareBytes(other, from) >= 0) && (to === undefined || compareBytes(other, to) < 0),
        );
        const outside = isOutside([{ from, to }], key, bit);
        // Sound: never outside when one of the keys is inside.
        if (outside && inRange) return false;
        // And exact: refused only if the range really reaches into the interval of such keys.
        const isBelow = (bound: Uint8Array): boolean => bitString(bound) < pattern || bitString(bound).startsWith(pattern);
        if (!outside) return (to === undefined || bitString(to) > pattern) && (from === undefined || isBelow(from));
        return true;
      },
    ),
    many(5000),
  );
});

t.test("whatever is asked, the proof gives what the oracle says", async () => {
  await fc.assert(
    fc.asyncProperty(
      batchOf(anyKey, 60),
      fc.option(anyKey, { nil: undefined }),
      fc.option(anyKey, { nil: undefined }),
      fc.option(fc.integer({ min: 1, max: 12 }), { nil: undefined }),
      fc.uniqueArray(anyKey, { maxLength: 8, selector: (key) => key.join() }),
      async (batch, from, to, limit, others) => {
        const { tree, root, map } = await treeOf(new NaiveMap().with(batch).rows());
        const rows = map.rows({ from, to });
        const answer = verifyRange(root, { from, to, limit }, tree.prove(AT, { from, to, limit }));
        if (!answer.ok) throw new Error(JSON.stringify(answer.error));
        t.same(answer.value.rows, rows.slice(0, limit));
        t.equal(answer.value.isComplete, limit === undefined || rows.length <= limit);
        t.same(
          answer.value.continueFrom,
          answer.value.isComplete ? undefined : successor(present(answer.value.rows.at(-1), "row").key),
        );
        const held = map
          .rows()
          .slice(0, 5)
          .map(({ key }) => key);
        const keys = [...others, ...held.filter((key) => !others.some((other) => bytesEqual(key, other)))];
        const values = verifyKeys(root, keys, tree.proveKeys(AT, keys));
        t.same(values, { ok: true, value: keys.map((key) => map.get(key)) });
        for (const key of keys.slice(0, 3))
          t.same(verifyRow(root, key, tree.proveKeys(AT, [key])), { ok: true, value: map.get(key) });
      },
    ),
    many(150),
  );
});

t.test("a row is proved by a range of itself, too, and pages of a range join to the whole", async () => {
  const { tree, root, map } = await table(50);
  for (const { key, value } of map.rows()) {
    const range = { from: key, to: successor(key) };
    t.same(verifyRow(root, key, tree.prove(AT, range)), { ok: true, value });
  }
  const rows: Row[] = [];
  let from: Uint8Array | undefined = rowKey(5);
  while (from !== undefined) {
    const answer = verifyRange(root, { from, limit: 7 }, tree.prove(AT, { from, limit: 7 }));
    if (!answer.ok) throw new Error(answer.error.code);
    rows.push(...answer.value.rows);
    from = answer.value.continueFrom;
  }
  t.same(rows, map.rows({ from: rowKey(5) }));
  const bySize = verifyRange(root, {}, tree.prove(AT, { sizeBytesMax: 100 }));
  t.ok(bySize.ok && !bySize.value.isComplete && bySize.value.rows.length > 1 && bySize.value.rows.length < 10);
  t.ok(verifyRange(root, {}, tree.prove(AT, { sizeBytesMax: 0 })).ok, "one row always comes");
});

t.test("every row left out, added, changed or moved in a range proof is refused", async () => {
  const { tree, root } = await table(40);
  const range = { from: rowKey(11), to: rowKey(41) };
  const proof = decode(tree.prove(AT, range));
  t.equal(refusal(verifyRange(root, range, encodeProof(proof))), "accepted");
  const leaves = proof.steps.flatMap((step, index) => (step.kind === "leaf" ? [{ step, index }] : []));
  t.equal(leaves.length, 15);
  const withSteps = (steps: readonly ProofStep[]): string => refusal(verifyRange(root, range, encodeProof({ ...proof, steps })));
  const replaced = (index: number, ...steps: readonly ProofStep[]): ProofStep[] => [
    ...proof.steps.slice(0, index),
    ...steps,
    ...proof.steps.slice(index + 1),
  ];
  const added = { kind: "leaf", key: rowKey(21), value: utf8("added") } as const;
  for (const { step, index } of leaves) {
    const { key, value } = step;
    const inner = valueHash(value);
    t.equal(withSteps(replaced(index)), "proof_shape", "cut out");
    t.equal(withSteps(replaced(index, { kind: "edge", key, valueHash: inner })), "proof_incomplete", "shown as an edge");
    t.equal(
      withSteps(replaced(index, { kind: "leaf", key, value: concatBytes(value, utf8("!")) })),
      "proof_root_mismatch",
      "another value",
    );
    t.equal(withSteps(replaced(index, { kind: "leaf", key: rowKey(13), value })) === "accepted", false, "another key");
    t.not(withSteps(replaced(index, { kind: "branch", bit: 100 }, step, added)), "accepted", "a row beside it");
  }
  for (const [at, { index }] of leaves.entries()) {
    const other = present(leaves[(at + 1) % leaves.length], "leaf");
    const swapped = replaced(index, other.step);
    swapped[other.index] = present(leaves[at], "leaf").step;
    t.not(withSteps(swapped), "accepted", "two rows swapped");
  }
});

t.test("every subtree of a range proof that is hidden by its right hash is missed", async () => {
  const { tree, root } = await table(40);
  const range = { from: rowKey(11), to: rowKey(41) };
  const proof = decode(tree.prove(AT, range));
  let hidden = 0;
  for (const { steps, showsRows } of hideEachSubtree(proof.steps)) {
    const result = verifyRange(root, range, encodeProof({ ...proof, steps }));
    if (!showsRows) continue;
    hidden += 1;
    t.equal(refusal(result) === "accepted", false);
    t.ok(["proof_incomplete", "proof_shape"].includes(refusal(result)), refusal(result));
  }
  t.ok(hidden > 25, `${hidden} subtrees with rows`);
});

/** All proofs that hide one more subtree behind its true hash: what a prover that omits rows would send. */
function hideEachSubtree(steps: readonly ProofStep[]): { readonly steps: readonly ProofStep[]; readonly showsRows: boolean }[] {
  return steps.flatMap((step, start) => {
    if (step.kind === "hidden") return [];
    const end = endOfSubtree(steps, start);
    const inside = steps.slice(start, end);
    const folded: ProofStep = { kind: "hidden", hash: hashOfSubtree(inside) };
    return [
      { steps: [...steps.slice(0, start), folded, ...steps.slice(end)], showsRows: inside.some(({ kind }) => kind === "leaf") },
    ];
  });
}

function endOfSubtree(steps: readonly ProofStep[], start: number): number {
  let open = 1;
  let index = start;
  for (; open > 0; index += 1) open += present(steps[index], "step").kind === "branch" ? 1 : -1;
  return index;
}

function hashOfSubtree(steps: readonly ProofStep[]): Hash {
  const u16 = (value: number): Uint8Array => Uint8Array.of(value >> 8, value & 0xff);
  const step = present(steps[0], "step");
  if (step.kind === "hidden") return step.hash;
  if (step.kind !== "branch") {
    const inner = step.kind === "leaf" ? hash("stateValue", step.value) : step.valueHash;
    return hash("stateLeaf", concatBytes(u16(step.key.length), step.key, inner));
  }
  const middle = endOfSubtree(steps, 1);
  return hash("stateNode", concatBytes(u16(step.bit), hashOfSubtree(steps.slice(1, middle)), hashOfSubtree(steps.slice(middle))));
}

t.test("an answer cut short says so, and cannot be passed off as the whole", async () => {
  const { tree, root } = await table(40);
  const range = { from: rowKey(11), to: rowKey(41), limit: 5 };
  const part = decode(tree.prove(AT, range));
  t.equal(part.isComplete, false);
  t.equal(refusal(verifyRange(root, range, encodeProof(part))), "accepted");
  t.equal(refusal(verifyRange(root, range, encodeProof({ ...part, isComplete: true }))), "proof_incomplete");
  t.equal(refusal(verifyRange(root, { ...range, limit: 4 }, encodeProof(part))), "proof_range", "more rows than asked for");
  t.equal(refusal(verifyRow(root, rowKey(12), encodeProof(part))), "proof_incomplete", "not an answer about one key");
  const none = decode(tree.prove(AT, { from: rowKey(13), to: rowKey(14) }));
  t.equal(
    refusal(verifyRange(root, { from: rowKey(13), to: rowKey(14) }, encodeProof({ ...none, isComplete: false }))),
    "proof_incomplete",
    "no progress",
  );
});

t.test("a proof answers its own question only", async () => {
  const { tree, root, map } = await table(40);
  const [here, absent] = [rowKey(12), rowKey(13)];
  const proof = tree.proveKeys(AT, [here]);
  t.same(verifyRow(root, here, proof), { ok: true, value: map.get(here) });
  t.not(refusal(verifyRow(root, absent, proof)), "accepted");
  t.not(refusal(verifyRow(root, rowKey(14), proof)), "accepted", "another row");
  t.not(refusal(verifyRow(root, here, tree.proveKeys(AT, [absent]))), "accepted", "absence of another row");
  t.equal(refusal(verifyRow(hash("stateEmpty", new Uint8Array(0)), here, proof)), "proof_root_mismatch");
  t.not(refusal(verifyRange(root, { from: here, to: rowKey(20) }, proof)), "accepted", "a wider range");
  t.not(refusal(verifyKeys(root, [here, rowKey(30)], proof)), "accepted", "more keys");
  // The path of one row also shows that its nearest neighbour is absent: that is proved, whoever asked for it.
  t.same(verifyKeys(root, [here, absent], proof), { ok: true, value: [map.get(here), undefined] });
  t.not(refusal(verifyRange(root, {}, encodeProof({ isComplete: true, steps: [] }))), "accepted", "the empty tree");
  t.not(
    refusal(verifyRange(root, {}, encodeProof({ isComplete: true, steps: [{ kind: "hidden", hash: root }] }))),
    "accepted",
    "nothing but the root",
  );
});

t.test("an empty tree, one row, and prefix keys are proved like any others", async () => {
  const empty = await treeOf([]);
  t.same(verifyRow(empty.root, utf8("a"), empty.tree.proveKeys(AT, [utf8("a")])), { ok: true, value: undefined });
  t.same(verifyRange(empty.root, {}, empty.tree.prove(AT)), {
    ok: true,
    value: { rows: [], isComplete: true, continueFrom: undefined },
  });
  const one = await treeOf([{ key: utf8("a"), value: new Uint8Array(0) }]);
  t.same(verifyRow(one.root, utf8("a"), one.tree.proveKeys(AT, [utf8("a")])), { ok: true, value: new Uint8Array(0) });
  t.same(verifyRow(one.root, utf8("b"), one.tree.proveKeys(AT, [utf8("b")])), { ok: true, value: undefined });
  t.same(verifyRow(one.root, utf8("a\0"), one.tree.proveKeys(AT, [utf8("a\0")])), { ok: true, value: undefined });
  const prefixes = Array.from({ length: KEY_SIZE_BYTES_MAX }, (_, size) => ({
    key: new Uint8Array(size + 1),
    value: Uint8Array.of(size & 0xff),
  }));
  const chain = await treeOf(prefixes);
  for (const size of [1, 2, 500, KEY_SIZE_BYTES_MAX]) {
    const key = new Uint8Array(size);
    t.same(verifyRow(chain.root, key, chain.tree.proveKeys(AT, [key])), { ok: true, value: Uint8Array.of((size - 1) & 0xff) });
  }
  const all = verifyRange(chain.root, { to: Uint8Array.of(1) }, chain.tree.prove(AT, { to: Uint8Array.of(1) }));
  t.same(all.ok && all.value.rows, prefixes);
  const inverted = verifyRange(
    chain.root,
    { from: utf8("b"), to: utf8("a") },
    chain.tree.prove(AT, { from: utf8("b"), to: utf8("a") }),
  );
  t.same(
    inverted,
    { ok: true, value: { rows: [], isComplete: true, continueFrom: undefined } },
    "a range that holds no key has no rows",
  );
});

t.test("shapes that no trie has are refused whatever their root", async () => {
  const leaf = (key: string): ProofStep => ({ kind: "leaf", key: utf8(key), value: utf8("v") });
  const branch = (bit: number): ProofStep => ({ kind: "branch", bit });
  const hidden: ProofStep = { kind: "hidden", hash: hash("stateEmpty", new Uint8Array(0)) };
  const ab = branchBit(utf8("a"), utf8("b"));
  const shapes: readonly (readonly [string, readonly ProofStep[]])[] = [
    ["keys that part at another bit", [branch(ab + 1), leaf("a"), leaf("b")]],
    ["keys in the wrong order", [branch(ab), leaf("b"), leaf("a")]],
    ["the same key twice", [branch(ab), leaf("a"), leaf("a")]],
    ["bits that do not grow", [branch(ab), branch(ab), leaf("a"), hidden, leaf("b")]],
    ["both sides hidden", [branch(ab), hidden, hidden]],
    ["a key on the wrong side of a hidden subtree", [branch(ab), leaf("b"), hidden]],
    ["a branch past the end of its key", [branch(20), leaf("a"), hidden]],
    ["nothing but a hash", [hidden]],
    ["a branch without its right side", [branch(ab), leaf("a")]],
    ["a branch without anything", [branch(ab)]],
    ["two roots", [leaf("a"), leaf("b")]],
  ];
  for (const [message, steps] of shapes) {
    const bytes = encodeProof({ isComplete: true, steps });
    const root = (() => {
      try {
        return hashOfSubtree(steps);
      } catch {
        return hash("stateEmpty", new Uint8Array(0));
      }
    })();
    t.equal(refusal(verifyRange(root, {}, bytes)), "proof_shape", message);
  }
});

t.test("changed proof bytes never throw and never prove anything else", async () => {
  const { tree, root, map } = await table(60);
  const range = { from: rowKey(31), to: rowKey(70) };
  const rows = map.rows(range);
  const bytes = tree.prove(AT, range);
  let refused = 0;
  // Byte 1 says whether the answer is complete. To deny it costs the asker another question, and proves nothing false.
  const denied = verifyRange(root, range, encodeProof({ ...decode(bytes), isComplete: false }));
  t.ok(denied.ok && !denied.value.isComplete && denied.value.continueFrom !== undefined);
  for (let offset = 0; offset < bytes.length; offset += 1) {
    for (const flip of [0x01, 0x20, 0xff]) {
      const changed = bytes.slice();
      changed[offset] = (changed[offset] as number) ^ flip;
      const answer = verifyRange(root, range, changed);
      if (answer.ok) t.same(answer.value.rows, rows);
      else refused += 1;
    }
  }
  t.equal(refused, bytes.length * 3 - 1, "all of them but that one are refused");
  for (let size = 0; size < bytes.length; size += 1) t.notOk(verifyRange(root, range, bytes.subarray(0, size)).ok);
  t.equal(refusal(verifyRange(root, range, concatBytes(bytes, Uint8Array.of(0)))), "proof_malformed");
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(bytes.length - 1), fc.uint8Array({ maxLength: 4 })), {
        minLength: 1,
        maxLength: 4,
      }),
      (edits) => {
        let changed = bytes;
        for (const [from, to, insert] of edits)
          changed = concatBytes(changed.subarray(0, Math.min(from, to)), insert, changed.subarray(Math.max(from, to)));
        const parsed = parseProof(changed);
        if (parsed.ok && toHex(encodeProof(parsed.value)) !== toHex(changed)) return false;
        const answer = verifyRange(root, range, changed);
        return (
          !answer.ok ||
          (answer.value.rows.length === rows.length &&
            answer.value.rows.every((row, index) => bytesEqual(row.value, present(rows[index], "row").value)))
        );
      },
    ),
    many(2000),
  );
});

t.test("any bytes at all are refused without an exception", async () => {
  const { root } = await table(4);
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      (bytes) => !verifyRange(root, {}, bytes).ok && !verifyRow(root, utf8("a"), bytes).ok,
    ),
    many(2000),
  );
});
