/**
 * The nodes of the state tree that one height made, in a file, and proofs for any height from such files.
 *
 * A height's file is the proof of its changed keys under its own root (`chain/state/proof.ts`), which shows exactly the nodes
 * that are new, but that whatever is hidden or shown without its value says at which height it was made. So a path from a
 * root down leads from file to file, and what a file holds is checked by hashing it: nothing in it need be believed.
 *
 * ```
 * file  [1, [step...]]           in prefix order, as in a proof
 * step  bit                      a branch
 *       [0, key, value]          a row
 *       [1, hash, height]        a subtree or a row that an earlier height made
 * ```
 */

import { assert, present } from "../../crypto/base/assert.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { type Reader, readWith } from "../../crypto/codec/reader.ts";
import { MAJOR, Writer } from "../../crypto/codec/writer.ts";
import { type Hash, HASH_SIZE_BYTES, hashOf } from "../../crypto/hash/hash.ts";
import { readHeight } from "../../chain/block/fields.ts";
import { type Height } from "../../chain/block/height.ts";
import { bitAt, BRANCH_BIT_MAX, KEY_SIZE_BYTES_MAX } from "../../chain/state/bits.ts";
import { EMPTY_ROOT, leafHash, nodeHash, VALUE_SIZE_BYTES_MAX, valueHash } from "../../chain/state/hashing.ts";
import { encodeProof, parseProof, type ProofStep } from "../../chain/state/proof.ts";
import { contains, isOutside, type KeyRange, rangesOf, successor } from "../../chain/state/range.ts";

/** Where a node is: its hash, and the height whose file has it. */
export type Pointer = { readonly hash: Hash; readonly height: Height };

/** A node of the tree. */
export type ArchivedNode =
  | { readonly kind: "branch"; readonly bit: number; readonly left: Pointer; readonly right: Pointer }
  | { readonly kind: "row"; readonly key: Uint8Array; readonly value: Uint8Array };

/** The nodes of one file by their hash in hex, and the root of the height: what the file says, checked by hashing alone. */
export type Delta = { readonly root: Pointer | undefined; readonly nodes: ReadonlyMap<string, ArchivedNode> };

/** Fetches the file of a height, decoded. @throws CodedError when there is none, or it does not decode */
export type ReadDelta = (height: Height) => Promise<Delta>;

const VERSION = 1;
/** Deeper than any tree whose keys nobody chose to be deep, and less than the stack holds. */
const DEPTH_MAX = 4_000;

/**
 * The file of a height.
 *
 * @param proof - of the changed keys, under the root of `height`
 * @param below - the state of the height before; undefined at genesis
 */
export async function encodeDelta(
  proof: Uint8Array,
  below: { readonly root: Pointer | undefined; readonly read: ReadDelta } | undefined,
): Promise<Uint8Array> {
  const parsed = parseProof(proof);
  assert(parsed.ok, "a proof of our own");
  const { steps } = parsed.value;
  const writer = new Writer().array(2).uint(VERSION).array(steps.length);
  const prefixes = hiddenPlaces(steps);
  for (const [index, step] of steps.entries()) {
    if (step.kind === "branch") writer.uint(step.bit);
    else if (step.kind === "leaf") writer.array(3).uint(0).bytes(step.key).bytes(step.value);
    else {
      const { root, read } = present(below, "a state before");
      const hash = step.kind === "hidden" ? step.hash : leafHash(step.key, step.valueHash);
      const place =
        step.kind === "edge" ? { key: step.key, bit: undefined } : present(prefixes.get(index), "place of a hidden subtree");
      const found = await locate(present(root, "a root before"), place, read);
      assert(toHex(found.hash) === toHex(hash), "a hidden subtree is not where it was");
      writer.array(3).uint(1).bytes(hash).uint(found.height);
    }
  }
  return writer.finish();
}

/** A subtree's place: below `bit` on the other side than `key`; or the row of a key. */
type Place = { readonly key: Uint8Array; readonly bit: number | undefined };

/** For each hidden step, a key beside it and the bit where they part. */
function hiddenPlaces(steps: readonly ProofStep[]): Map<number, Place> {
  const places = new Map<number, Place>();
  type Side = { readonly key: Uint8Array | undefined; readonly hidden: number | undefined };
  const open: { readonly bit: number; left: Side | undefined }[] = [];
  for (const [index, step] of steps.entries()) {
    if (step.kind === "branch") {
      open.push({ bit: step.bit, left: undefined });
      continue;
    }
    let side: Side = step.kind === "hidden" ? { key: undefined, hidden: index } : { key: step.key, hidden: undefined };
    for (let branch = open.at(-1); branch !== undefined; branch = open.at(-1)) {
      if (branch.left === undefined) {
        branch.left = side;
        break;
      }
      open.pop();
      const key = branch.left.key ?? side.key;
      for (const { hidden } of [branch.left, side])
        if (hidden !== undefined) places.set(hidden, { key: present(key, "a shown key"), bit: branch.bit });
      side = { key, hidden: undefined };
    }
  }
  return places;
}

/** The node at a place of a state. */
async function locate(root: Pointer, { key, bit }: Place, read: ReadDelta): Promise<Pointer> {
  let at = root;
  for (let depth = 0; depth < DEPTH_MAX * 3; depth += 1) {
    const node = await nodeAt(at, read);
    if (node.kind === "row" || (bit !== undefined && node.bit > bit)) return at;
    const side = bitAt(key, node.bit) ?? 0;
    const wanted = node.bit === bit ? 1 - side : side;
    at = wanted === 0 ? node.left : node.right;
    if (node.bit === bit) return at;
  }
  throw new Error("a tree deeper than any");
}

/**
 * Decodes a file; `undefined` unless it is the one encoding of a whole tree with this root. The root of genesis is in no
 * header: its nodes are believed by the hashes that lead to them alone, as all nodes are.
 */
export function parseDelta(bytes: Uint8Array, height: Height, root: Hash | undefined): Delta | undefined {
  const nodes = new Map<string, ArchivedNode>();
  const read = readWith(bytes, (reader) => {
    reader.tuple(2);
    const offset = reader.offset;
    if (reader.number() !== VERSION) reader.refuse("encoding_limit", offset);
    const count = reader.array(bytes.length);
    const open: { readonly bit: number; left: Pointer | undefined }[] = [];
    let top: Pointer | undefined;
    for (let index = 0; index < count; index += 1) {
      if (top !== undefined) reader.refuse("encoding_trailing");
      const { major } = reader.peek();
      if (major === MAJOR.uint) {
        open.push({ bit: reader.number(BRANCH_BIT_MAX), left: undefined });
        continue;
      }
      let here = readLeaf(reader, height, nodes);
      for (let branch = open.at(-1); ; branch = open.at(-1)) {
        if (branch === undefined) {
          top = here;
          break;
        }
        if (branch.left === undefined) {
          branch.left = here;
          break;
        }
        open.pop();
        const { bit, left } = branch;
        const right: Pointer = here;
        here = { hash: nodeHash(bit, left.hash, right.hash), height };
        nodes.set(toHex(here.hash), { kind: "branch", bit, left, right });
      }
    }
    if (open.length > 0) reader.refuse("encoding_truncated");
    return top;
  });
  if (!read.ok) return undefined;
  const isRoot = root === undefined || toHex(read.value?.hash ?? EMPTY_ROOT) === toHex(root);
  return isRoot ? { root: read.value, nodes } : undefined;
}

function readLeaf(reader: Reader, height: Height, nodes: Map<string, ArchivedNode>): Pointer {
  reader.tuple(3);
  const offset = reader.offset;
  const kind = reader.number(1);
  if (kind === 1) {
    const pointer = { hash: hashOf(reader.fixed(HASH_SIZE_BYTES)), height: readHeight(reader, "height") };
    // Only what was there before: otherwise files could lead in a circle.
    if (pointer.height >= height) reader.refuse("encoding_limit", offset);
    return pointer;
  }
  const key = reader.bytes(KEY_SIZE_BYTES_MAX);
  if (key.length === 0) reader.refuse("encoding_limit", offset);
  const value = reader.bytes(VALUE_SIZE_BYTES_MAX);
  const hash = leafHash(key, valueHash(value));
  nodes.set(toHex(hash), { kind: "row", key, value });
  return { hash, height };
}

async function nodeAt(pointer: Pointer, read: ReadDelta): Promise<ArchivedNode> {
  const delta = await read(pointer.height);
  const node = delta.nodes.get(toHex(pointer.hash));
  if (node === undefined) throw new NodeMissing(pointer);
  return node;
}

/** A file does not have the node that another says it has. */
export class NodeMissing extends Error {
  readonly pointer: Pointer;
  constructor(pointer: Pointer) {
    super("node missing");
    this.pointer = pointer;
  }
}

/**
 * The proof of a range of a state, from files: in the one form of all proofs.
 *
 * @param root - undefined: a state of no rows
 */
export async function proveArchived(
  root: Pointer | undefined,
  range: KeyRange & { readonly limit?: number | undefined },
  read: ReadDelta,
): Promise<Uint8Array> {
  if (root === undefined) return encodeProof({ isComplete: true, steps: [] });
  const prover = new Prover(range, read);
  const start = await prover.keyBelow(root, range.from ?? new Uint8Array(0));
  const steps = await prover.show(root, start, 0);
  return encodeProof({ isComplete: !prover.isCut, steps });
}

/** One proof in the making. Rows come in the order of keys, so the limit is reached before anything after it is looked at. */
class Prover {
  readonly #asked: KeyRange;
  readonly #limit: number;
  readonly #read: ReadDelta;
  /** What is still shown: up to the last row, once there are enough. */
  #range: KeyRange;
  #rows = 0;
  /** Whether rows of the range were left out. */
  isCut = false;

  constructor(range: KeyRange & { readonly limit?: number | undefined }, read: ReadDelta) {
    this.#asked = { from: range.from, to: range.to };
    this.#range = this.#asked;
    this.#limit = range.limit ?? Number.MAX_SAFE_INTEGER;
    this.#read = read;
  }

  /** The key that a search for `key` ends at: some key of the subtree, and the one that has most in common with it. */
  async keyBelow(pointer: Pointer, key: Uint8Array): Promise<Uint8Array> {
    let at = pointer;
    for (;;) {
      const node = await nodeAt(at, this.#read);
      if (node.kind === "row") return node.key;
      at = bitAt(key, node.bit) === 1 ? node.right : node.left;
    }
  }

  /** The steps of a subtree in which `key` is. */
  async show(pointer: Pointer, key: Uint8Array, depth: number): Promise<ProofStep[]> {
    assert(depth < DEPTH_MAX, "a tree deeper than any");
    const node = await nodeAt(pointer, this.#read);
    if (node.kind === "row") return [this.#row(node)];
    const { bit, left, right } = node;
    const isLeft = bitAt(key, bit) === 0;
    const other = isLeft ? right : left;
    // The other side is looked at when a key of the range may be there; so is this one, once the other shows a key.
    const isOtherHidden = this.#isHidden(key, bit);
    const otherKey = isOtherHidden ? undefined : await this.keyBelow(other, this.#range.from ?? new Uint8Array(0));
    const isOwnHidden = otherKey !== undefined && this.#isHidden(otherKey, bit);
    const steps: ProofStep[] = [{ kind: "branch", bit }];
    for (const isRight of [false, true]) {
      const side = isRight ? right : left;
      const isOwn = isRight !== isLeft;
      const sideKey = isOwn ? key : otherKey;
      const isShown = sideKey !== undefined && !(isOwn && isOwnHidden) && !(isRight && this.#isEnough(key, otherKey, bit));
      if (isShown) steps.push(...(await this.show(side, sideKey, depth + 1)));
      else steps.push({ kind: "hidden", hash: side.hash });
    }
    return steps;
  }

  #row({ key, value }: Extract<ArchivedNode, { readonly kind: "row" }>): ProofStep {
    if (!contains(rangesOf(this.#range), key)) {
      if (contains(rangesOf(this.#asked), key)) this.isCut = true;
      return { kind: "edge", key, valueHash: valueHash(value) };
    }
    this.#rows += 1;
    if (this.#rows === this.#limit) this.#range = { from: this.#asked.from, to: successor(key) };
    return { kind: "leaf", key, value };
  }

  /** Whether no key of the range can be on the other side than `key` at `bit`. */
  #isHidden(key: Uint8Array, bit: number): boolean {
    return isOutside(rangesOf(this.#range), key, bit);
  }

  /** Whether the rows to the left are as many as were asked for, so that this right side stays hidden. */
  #isEnough(key: Uint8Array, otherKey: Uint8Array | undefined, bit: number): boolean {
    if (this.#rows < this.#limit) return false;
    const leftKey = bitAt(key, bit) === 0 ? key : present(otherKey, "rows were shown on the left");
    this.isCut ||= !isOutside(rangesOf(this.#asked), leftKey, bit);
    return true;
  }
}
