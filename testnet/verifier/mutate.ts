/**
 * Damages proof files, and asks both verifiers what they make of them.
 *
 * Half of the damage is done to bytes. The other half is done to what the bytes say: the file is read as the tree of items
 * that it is, down into the byte strings that hold items themselves, and an item is changed, dropped, doubled, swapped, or
 * replaced by one of another file. What comes out is canonical, so it gets past the decoders.
 */

import { bytesEqual, concatBytes } from "../../crypto/base/bytes.ts";
import { decodeValue, encodeValue, type Value } from "../../crypto/codec/value.ts";
import { type ProvenFile, verifyProofFile } from "../../node/light/prooffile.ts";
import type { Random } from "../simulator/random.ts";
import type { Corpus } from "./corpus.ts";
import { secondVerdict } from "./second.ts";

/** What became of some mutated files. */
export type Tally = {
  mutated: number;
  /** By both. */
  refused: number;
  /**
   * By both, and so in truth: such as the absence of another key in the same gap. A statement that stands in the file and
   * is proven by it is no forgery.
   */
  acceptedTrue: number;
  /** By either, and not so: a forgery. */
  acceptedFalse: number;
  /** The two verifiers differ. */
  disagreed: number;
  /** Of the first few of the last two. */
  readonly failures: { readonly file: string; readonly what: string; readonly bytes: Uint8Array }[];
};

const FAILURES_MAX = 8;
const SIZE_MAX = 1 << 16;

/** Nothing yet. */
export function emptyTally(): Tally {
  return { mutated: 0, refused: 0, acceptedTrue: 0, acceptedFalse: 0, disagreed: 0, failures: [] };
}

/** Mutates one file of the corpora and adds to the tally what both verifiers say. */
export async function tryOne(corpora: readonly Corpus[], random: Random, tally: Tally): Promise<void> {
  const corpus = pickCorpus(corpora, random);
  const original = pick(corpus.files, random);
  const donor = pick(pickCorpus(corpora, random).files, random);
  const bytes = random.happens(500) ? damaged(original.bytes, random) : rewritten(original.bytes, donor.bytes, random);
  if (bytes === undefined || corpus.files.some((file) => bytesEqual(bytes, file.bytes))) return;
  const first = await verifyProofFile(bytes, corpus.network);
  const second = secondVerdict(bytes, corpus.networkJson);
  tally.mutated += 1;
  const isTrue = first.ok && corpus.isTrue(first.value);
  if (first.ok !== second.ok || (first.ok && second.ok && !sayTheSame(first.value, second.proven))) {
    tally.disagreed += 1;
    note(
      tally,
      original.name,
      `first ${first.ok ? "accepts" : first.error.code}, second ${second.ok ? "accepts" : second.why}`,
      bytes,
    );
  }
  if (!first.ok && !second.ok) tally.refused += 1;
  else if (isTrue) tally.acceptedTrue += 1;
  else {
    tally.acceptedFalse += 1;
    note(tally, original.name, "a forgery", bytes);
  }
}

/** Whether two verifiers come to the same. The second names what the first does, in its own words. */
export function sayTheSame(first: ProvenFile, second: Readonly<Record<string, unknown>>): boolean {
  const { statement, height, timeMs, certifiedHeight } = first;
  if (second["height"] !== height || second["timeMs"] !== timeMs || second["certifiedHeight"] !== certifiedHeight) return false;
  if (second["kind"] !== statement.kind) return false;
  switch (statement.kind) {
    case "row":
      return sameItem(second["key"], statement.key) && sameItem(second["value"], statement.value);
    case "range": {
      const rows = second["rows"] as readonly { readonly key: Uint8Array; readonly value: Uint8Array }[];
      const isSame = ({ key, value }: (typeof rows)[number], index: number): boolean =>
        sameItem(key, statement.rows[index]?.key) && sameItem(value, statement.rows[index]?.value);
      return rows.length === statement.rows.length && rows.every(isSame);
    }
    case "account":
      return second["balance"] === statement.account.balance && second["nonce"] === statement.account.nonce;
    case "transaction":
      return sameItem(second["id"], statement.transaction.id) && second["applied"] === (statement.result.kind === "applied");
    case "record":
      if (second["index"] !== statement.record.index) return false;
      if (statement.record.dropped !== undefined) return sameItem(second["dropped"], statement.record.dropped);
      return statement.record.isTombstone === true ? second["data"] === null : sameItem(second["data"], statement.record.data);
  }
}

function sameItem(a: unknown, b: Uint8Array | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a instanceof Uint8Array && bytesEqual(a, b);
}

/** Keeps a failure, if few were. */
export function note(tally: Tally, file: string, what: string, bytes: Uint8Array): void {
  if (tally.failures.length < FAILURES_MAX) tally.failures.push({ file, what, bytes });
}

/** One of some. */
export function pick<T>(items: readonly T[], random: Random): T {
  return items[random.between(0, items.length - 1)] as T;
}

/**
 * Files differ in little but their number of signatures, and those are what takes long: most draws are of the network that
 * needs the fewest, and one in a hundred of the one whose signatures are large.
 */
function pickCorpus(corpora: readonly Corpus[], random: Random): Corpus {
  const draw = random.between(0, 99);
  const bySize = corpora.toSorted((a, b) => (a.files[0]?.bytes.length ?? 0) - (b.files[0]?.bytes.length ?? 0));
  if (draw < 70) return bySize[0] as Corpus;
  return draw < 99 ? pick(bySize.slice(0, Math.max(1, bySize.length - 1)), random) : pick(bySize, random);
}

/** One to three changes of bytes, wherever they fall. */
export function damaged(original: Uint8Array, random: Random): Uint8Array {
  let bytes = original;
  for (let left = random.happens(800) ? 1 : random.between(2, 3); left > 0; left -= 1) bytes = damagedOnce(bytes, random);
  return bytes;
}

function damagedOnce(bytes: Uint8Array, random: Random): Uint8Array {
  const at = random.between(0, Math.max(0, bytes.length - 1));
  const count = random.between(1, 40);
  const changed = bytes.slice();
  switch (random.between(0, 6)) {
    case 0:
    case 1:
      changed[at] = (changed[at] ?? 0) ^ (1 << random.between(0, 7));
      return changed;
    case 2:
      changed[at] = random.between(0, 255);
      return changed;
    case 3:
      return bytes.slice(0, at);
    case 4:
      return concatBytes(bytes.subarray(0, at), bytes.subarray(at + count));
    case 5:
      return concatBytes(bytes.subarray(0, at), Uint8Array.of(random.between(0, 255)), bytes.subarray(at));
    default: {
      const from = random.between(0, Math.max(0, bytes.length - 1));
      changed.set(bytes.subarray(from, from + Math.min(count, bytes.length - at)), at);
      return changed;
    }
  }
}

/** One or two changes of items; `undefined` when the file is no items any more. */
function rewritten(original: Uint8Array, donor: Uint8Array, random: Random): Uint8Array | undefined {
  const tree = treeOf(original);
  const other = treeOf(donor);
  if (tree === undefined || other === undefined) return undefined;
  for (let left = random.happens(800) ? 1 : 2; left > 0; left -= 1) rewriteOnce(tree, other, random);
  const bytes = encodeValue(valueOf(tree));
  return bytes.length > SIZE_MAX ? undefined : bytes;
}

/** An item; a byte string that holds items has them as its `items`. */
type Tree = { value: Value | undefined; items: Tree[] | undefined; readonly isNested: boolean };

function treeOf(bytes: Uint8Array, depth = 0): Tree | undefined {
  const decoded = decodeValue(bytes);
  return decoded.ok ? treeOfValue(decoded.value, depth) : undefined;
}

function treeOfValue(value: Value, depth: number): Tree {
  if (Array.isArray(value))
    return { value: undefined, items: value.map((item: Value) => treeOfValue(item, depth)), isNested: false };
  if (value instanceof Uint8Array && value.length > 2 && depth < 4) {
    const inner = treeOf(value, depth + 1);
    if (inner?.items !== undefined) return { value: undefined, items: [inner], isNested: true };
  }
  return { value, items: undefined, isNested: false };
}

function valueOf(tree: Tree): Value {
  if (tree.items === undefined) return tree.value ?? null;
  if (tree.isNested) return encodeValue(valueOf(tree.items[0] ?? { value: null, items: undefined, isNested: false }));
  return tree.items.map(valueOf);
}

function copyOf({ value, items, isNested }: Tree): Tree {
  return { value, items: items?.map(copyOf), isNested };
}

/** Every item below, with the list that it stands in. */
function places(tree: Tree, found: { readonly list: Tree; readonly index: number }[] = []): typeof found {
  for (const [index, item] of (tree.items ?? []).entries()) {
    found.push({ list: tree, index });
    places(item, found);
  }
  return found;
}

function rewriteOnce(tree: Tree, other: Tree, random: Random): void {
  const all = places(tree);
  const place = all[random.between(0, Math.max(0, all.length - 1))];
  if (place?.list.items === undefined) return;
  const { items } = place.list;
  const item = items[place.index];
  if (item === undefined) return;
  switch (random.between(0, 6)) {
    case 0:
      if (!place.list.isNested) items.splice(place.index, 1);
      return;
    case 1:
      if (!place.list.isNested) items.splice(place.index, 0, copyOf(item));
      return;
    case 2: {
      const second = random.between(0, items.length - 1);
      [items[place.index], items[second]] = [items[second] ?? item, item];
      return;
    }
    case 3: {
      // The same place of another file, or any place of it.
      const theirs = places(other);
      const at = random.happens(500) ? all.indexOf(place) : random.between(0, theirs.length - 1);
      const found = theirs[Math.min(at, theirs.length - 1)];
      // A copy: what is put into a tree twice could come to hold itself.
      items[place.index] = copyOf(found?.list.items?.[found.index] ?? item);
      return;
    }
    default:
      if (item.items === undefined) items[place.index] = { ...item, value: changedValue(item.value, random) };
  }
}

function changedValue(value: Value | undefined, random: Random): Value {
  if (typeof value === "number" || typeof value === "bigint") {
    const next = BigInt(value) + BigInt(random.between(-2, 2));
    return random.happens(800) && next >= 0n ? next : BigInt(random.uint32());
  }
  if (typeof value === "string") return random.happens(500) ? `${value}a` : value.slice(1);
  if (typeof value === "boolean") return !value;
  if (value instanceof Uint8Array) return value.length === 0 ? Uint8Array.of(0) : damagedOnce(value, random);
  return random.happens(500) ? new Uint8Array(0) : 0n;
}
