/**
 * A second verifier of proof files, written from the format (README.md beside this) and not from the first one. It imports a
 * hash and two signature libraries and nothing else, runs in Node and in browsers, and trusts of a network file `chainId`,
 * `hash`, `engine.name` and `validators`. `verify` returns what is proven; when it throws, whatever it throws, nothing is.
 */

import { ed25519 } from "@noble/curves/ed25519.js";
import { blake3 } from "@noble/hashes/blake3.js";
import { bytesToHex as hex, concatBytes as join, hexToBytes as unhex, utf8ToBytes as utf8 } from "@noble/hashes/utils.js";
import { ml_dsa65 } from "@noble/post-quantum/ml-dsa.js";

const need = (condition, why) => {
  if (!condition) throw new Error(why);
};

// Bytes, hashes, items.

const [LEAF, NODE, ROW, BRANCH, VALUE, NO_ROWS] = [0x00, 0x01, 0x10, 0x11, 0x12, 0x13];
const [TRANSACTION, HEADER, VALIDATORS, VOTE, ADDRESS, HYBRID] = [0x20, 0x21, 0x22, 0x24, 0x30, 0x31];
/** By the type in the first byte of a key: Ed25519, ML-DSA-65, both. */
const KEY_SIZES = [0, 33, 1953, 1985];
const SIGNATURE_SIZES = [0, 64, 3309, 3373];
const [FILE_MAX, U64_MAX] = [1 << 26, (1n << 64n) - 1n];
const byte = (value) => Uint8Array.of(value);
const big = (value, size) => unhex(value.toString(16).padStart(size * 2, "0"));
const same = (a, b) => hex(a) === hex(b);
const H = (tag, ...parts) => blake3(join(byte(tag), ...parts));

/** Canonical dag-cbor of numbers (bigint), bytes, text and lists. */
const encode = (item) => {
  const head = (major, value) => {
    const log = [1n << 8n, 1n << 16n, 1n << 32n, 1n << 64n].findIndex((end) => value < end);
    return value < 24n ? big((major << 5) + Number(value), 1) : join(byte((major << 5) + 24 + log), big(value, 1 << log));
  };
  if (typeof item === "bigint") return head(0, item);
  if (Array.isArray(item)) return join(head(4, BigInt(item.length)), ...item.map(encode));
  const bytes = typeof item === "string" ? utf8(item) : item;
  return join(head(typeof item === "string" ? 3 : 2, BigInt(bytes.length)), bytes);
};
/** Reads one item that is all of `bytes`, in its one encoding: numbers, bytes, text, lists, null, true and false alone. */
function decode(bytes) {
  let offset = 0;
  const take = (size) => bytesOf(bytes.subarray(offset, (offset += size)), size, size);
  const read = (depth) => {
    const [first] = take(1);
    if (first === 0xf6) return null;
    if (first === 0xf4 || first === 0xf5) return first === 0xf5;
    const [major, short] = [first >> 5, first & 31];
    need((major === 0 || (major >= 2 && major <= 4)) && short <= 27, "an item that has no place in a proof file");
    const size = short < 24 ? 0 : 1 << (short - 24);
    const value = size === 0 ? BigInt(short) : BigInt(`0x${hex(take(size))}`);
    need(size === 0 || value >= (size === 1 ? 24n : 1n << BigInt(size * 4)), "a longer head than needed");
    if (major === 0) return value;
    need(value <= BigInt(bytes.length - offset) && depth < 8, "ends too early, or nested too deeply");
    if (major === 4) return Array.from({ length: Number(value) }, () => read(depth + 1));
    if (major === 2) return take(Number(value));
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(take(Number(value)));
  };
  const item = read(0);
  need(offset === bytes.length, "bytes after the end");
  return item;
}

/** The item, if it is a list, bytes, a number or a name within bounds. */
const only = (item, isRight) => (need(isRight, "an item of another kind or size"), item);
const isSized = ({ length }, min, max) => length >= min && length <= max;
const list = (item, min, max = min) => only(item, Array.isArray(item) && isSized(item, min, max));
const bytesOf = (item, max = FILE_MAX, min = 0) => only(item, item instanceof Uint8Array && isSized(item, min, max));
const uint = (item, max = U64_MAX) => only(item, typeof item === "bigint" && item <= max);
const name = (item) => only(item, typeof item === "string" && /^[a-z0-9][a-z0-9_.-]{0,63}$/.test(item));
const hash = (item) => bytesOf(item, 32, 32);
const hashes = (item) => list(item, 0, 65).map(hash);

// Logs: RFC 9162 with our tags.

/** The root above a leaf; `isLeft` says of each sibling on which side it stands. */
function climb(leaf, isLeft, siblings) {
  need(isLeft.length === siblings.length, "another number of siblings");
  return siblings.reduce((below, sibling, level) => (isLeft[level] ? H(NODE, sibling, below) : H(NODE, below, sibling)), leaf);
}
/** The root that leaf `index` of `size` leads to: RFC 9162, 2.1.3.2. */
function logRoot(leaf, index, size, siblings) {
  need(index < size, "no such leaf");
  const isLeft = [];
  for (let [at, last] = [index, size - 1n]; last > 0n; [at, last] = [at >> 1n, last >> 1n])
    if (at % 2n === 1n || at < last) isLeft.push(at % 2n === 1n);
  return climb(leaf, isLeft, siblings);
}

// The state: a binary trie over keys as text of bits, nine a byte (1 and the byte) and a 0 at the end.

const bitsOf = (key) => `${Array.from(key, (byte) => `1${byte.toString(2).padStart(8, "0")}`).join("")}0`;
const after = (key) => join(key, byte(0));

/** The rows of a trie with this root that are in [from, to), once it is sure that there are no others; and where to go on. */
function rowsOf(root, proof, from, to) {
  const [isComplete, steps] = list(decode(bytesOf(proof)), 2);
  need(typeof isComplete === "boolean", "not a state proof");
  const [rows, edges, hidden, open] = [[], [], [], []];
  let top;
  for (const step of list(steps, 0, FILE_MAX)) {
    need(top === undefined, "steps after the end");
    if (typeof step === "bigint") {
      need(step > (open.at(-1)?.bit ?? -1), "branch bits that do not grow");
      open.push({ bit: Number(uint(step, 9215n)) });
      continue;
    }
    let here = step instanceof Uint8Array ? { hash: hash(step) } : shown(step, rows, edges);
    while (open.at(-1)?.left !== undefined) here = branch(open.pop(), here, hidden);
    if (open.length > 0) open.at(-1).left = here;
    else top = here;
  }
  need(open.length === 0 && (steps.length === 0 || top.bits !== undefined), "no whole trie");
  need(same(top?.hash ?? H(NO_ROWS), root), "another root");
  const next = isComplete ? undefined : after(rows.at(-1)?.key ?? byte(0));
  need(isComplete || rows.length > 0, "stops before the first row");
  const [first, last, end] = [bitsOf(from), bitsOf(to), bitsOf(next ?? to)];
  const isInside = (bits) => bits >= first && bits < end && bits < last;
  need(!rows.some(({ key }) => !isInside(bitsOf(key))), "a row outside of the range");
  need(!edges.some(isInside), "a row of the range without its value");
  for (const prefix of first < end ? hidden : []) {
    // The least key that begins so has zeros up to the end of a byte, and the zero that ends a key.
    const least =
      prefix.length % 9 === 1 && prefix.endsWith("0") ? prefix : `${prefix.padEnd(Math.ceil(prefix.length / 9) * 9, "0")}0`;
    need(least >= end || (prefix < first && !first.startsWith(prefix)), "a hidden subtree in the range");
  }
  return { rows, next };
}
/** A row with its value, or an edge: a row with the hash of its value. */
function shown(step, rows, edges) {
  const [kind, key, rest] = list(step, 3);
  const bits = bitsOf(bytesOf(key, 1024, 1));
  if (uint(kind, 1n) === 0n) rows.push({ key, value: bytesOf(rest, 1 << 24) });
  else edges.push(bits);
  return { bits, hash: H(ROW, big(key.length, 2), key, kind === 0n ? H(VALUE, rest) : hash(rest)) };
}
/** Two subtrees under a branch, if that is where a trie would part them. */
function branch({ bit, left }, right, hidden) {
  const bits = left.bits ?? right.bits;
  need(bits !== undefined && bits.length > bit, "nothing is shown under a branch");
  need((left.bits?.[bit] ?? "0") === "0" && (right.bits?.[bit] ?? "1") === "1", "a key on the wrong side of its branch");
  need((left.bits ?? bits).slice(0, bit) === (right.bits ?? bits).slice(0, bit), "keys that do not part where they branch");
  if (left.bits === undefined) hidden.push(`${bits.slice(0, bit)}0`);
  if (right.bits === undefined) hidden.push(`${bits.slice(0, bit)}1`);
  return { bits, hash: H(BRANCH, big(bit, 2), left.hash, right.hash) };
}
const valueOf = (root, proof, key) => {
  const { rows, next } = rowsOf(root, proof, key, after(key));
  need(next === undefined, "not the whole answer");
  return rows[0]?.value;
};

// Headers, validators, certificates.

function headerOf(item, { chainId }) {
  const fields = list(decode(bytesOf(item)), 14);
  need(fields[0] === 1n && fields[1] === chainId, "a header of another version or network");
  const [height, timeMs] = [uint(fields[2], (1n << 63n) - 1n), uint(fields[3], 8_640_000_000_000_000n)];
  const [previous, historyRoot, transactionsRoot, stateRoot, resultsRoot, validators, nextValidators] = fields.slice(4).map(hash);
  const own = { hash: H(HEADER, item), height, timeMs, previous, validators, nextValidators };
  return { ...own, historyRoot, transactionsRoot, stateRoot, resultsRoot };
}
/** A validator set from `[[key, power]...]` in the order of addresses. */
function setOf(pairs) {
  let total = 0n;
  const members = list(pairs, 0, 128).map((pair) => {
    const [key, power] = list(pair, 2);
    need(KEY_SIZES[bytesOf(key, FILE_MAX, 1)[0]] === key.length && uint(power) >= 1n, "not a validator");
    total += power;
    return { key, power, address: hex(H(ADDRESS, key)) };
  });
  const isSorted = members.every(({ address }, index) => index === 0 || address > members[index - 1].address);
  need(total <= 1n << 56n && isSorted, "too much power, or a set out of order");
  return { members: new Map(members.map((member) => [member.address, member])), total };
}
/** Checks a certificate but for its signatures, which it adds to `checks`. None may be to spare. */
function checkCertificate(network, set, header, certificate, checks) {
  const [kind, height, round, block, signatures] = list(decode(bytesOf(certificate)), 5);
  need(kind === 1n && height === header.height && same(hash(block), header.hash), "a certificate of another block");
  const isQuorum = (power) => (network.engine.name === "raft" ? power * 2n > set.total : power * 3n > set.total * 2n);
  let [power, previous] = [0n, ""];
  for (const entry of list(signatures, 0, 128)) {
    const [validator, signature] = [hash(list(entry, 2)[0]), bytesOf(entry[1], 3373)];
    const member = set.members.get(hex(validator));
    need(member !== undefined && member.address > previous, "a signer outside of the set, or out of order");
    need(!isQuorum(power), "a signature to spare");
    [power, previous] = [power + member.power, member.address];
    const message = H(VOTE, encode([network.chainId, 2n, height, uint(round, 0x7fff_ffffn), block, validator]));
    checks.push({ key: member.key, message, signature });
  }
  need(isQuorum(power), "no quorum");
}

function isSigned({ key, message, signature }) {
  if (signature.length !== SIGNATURE_SIZES[key[0]]) return false;
  const said = key[0] === 3 ? H(HYBRID, key.subarray(1), message) : message;
  const isEd25519 = () => ed25519.verify(signature.subarray(0, 64), said, key.subarray(1, 33), { zip215: true });
  const isMlDsa = () => ml_dsa65.verify(signature.subarray(-3309), said, key.subarray(-1952));
  return (key[0] === 2 || isEd25519()) && (key[0] === 1 || isMlDsa());
}

// Files.

/** Checks a proof file (bytes) against a network file (its parsed JSON). */
export function verify(file, network) {
  const [magic, version, chainId, networkHash, changes, anchor, certificate, history, statement] = list(decode(bytesOf(file)), 9);
  need(magic === "pyralog-proof" && version === 2n, "not a proof file of version 2");
  need(["tendermint", "pbft", "pos", "raft"].includes(network.engine.name), "a network without votes");
  need(name(chainId) === network.chainId && hex(hash(networkHash)) === network.hash, "a file of another network");
  const [checks, believed] = [[], new Map()];
  const believe = (header) => {
    need(header.height !== 1n || hex(header.previous) === network.hash, "begins at another network file");
    need(same(believed.get(header.height)?.hash ?? header.hash, header.hash), "two headers of one height");
    believed.set(header.height, header);
    for (const [first, second] of [header.height - 1n, header.height].map((at) => [believed.get(at), believed.get(at + 1n)])) {
      const isNext = () => same(second.previous, first.hash) && same(second.validators, first.nextValidators);
      need(!first || !second || (isNext() && second.timeMs > first.timeMs), "headers that do not follow each other");
    }
    return header;
  };
  const pairs = network.validators.map(({ key, power }) => [unhex(key), BigInt(power)]);
  const sorted = pairs.toSorted(([a], [b]) => (hex(H(ADDRESS, a)) < hex(H(ADDRESS, b)) ? -1 : 1));
  let [set, setHash, from] = [setOf(sorted), H(VALIDATORS, encode(sorted)), 1n];
  const accept = (item, by) => {
    const header = believe(headerOf(item, network));
    need(header.height >= from && same(header.validators, setHash), "decided by a set that nothing leads to");
    checkCertificate(network, set, header, by, checks);
    return header;
  };
  for (const change of list(changes, 0, 4096)) {
    const header = accept(...list(change, 3));
    const next = H(VALIDATORS, bytesOf(change[2]));
    need(same(next, header.nextValidators) && !same(next, setHash), "not the set that the header names");
    [set, setHash, from] = [setOf(decode(change[2])), next, header.height + 1n];
  }
  const certified = accept(anchor, certificate);
  let at = certified;
  if (history !== null) {
    at = headerOf(list(history, 2)[0], network);
    need(at.height >= 1n, "not an older header");
    const root = logRoot(H(LEAF, at.hash), at.height - 1n, certified.height - 1n, hashes(history[1]));
    need(same(root, certified.historyRoot), "not in the history");
    believe(at);
  }
  const proven = prove(at, statement);
  // Last, because it takes longest.
  need(checks.every(isSigned), "a signature that is none");
  return { ...proven, height: at.height, timeMs: at.timeMs, certifiedHeight: certified.height };
}

function prove({ stateRoot, transactionsRoot, resultsRoot }, statement) {
  const [kind, ...rest] = list(statement, 3, 7);
  const tablePrefix = () => utf8(`\x03${name(rest[0])}\0${name(rest[1])}\0`);
  if (kind === 1n) {
    const [namespace, table, key, proof] = list(rest, 4);
    return { kind: "row", namespace, table, key, value: valueOf(stateRoot, proof, join(tablePrefix(), bytesOf(key, 256))) };
  }
  if (kind === 2n) {
    const [namespace, table, from, to, proofs] = list(rest, 5);
    const prefix = tablePrefix();
    const end = to === null ? join(prefix.slice(0, -1), byte(1)) : join(prefix, bytesOf(to, 257));
    const rows = [];
    let next = from === null ? prefix : join(prefix, bytesOf(from, 257));
    for (const proof of list(proofs, 1, 65_536)) {
      need(next !== undefined, "a page after the last");
      const page = rowsOf(stateRoot, proof, next, end);
      next = page.next;
      for (const { key, value } of page.rows) rows.push({ key: key.subarray(prefix.length), value });
    }
    need(next === undefined, "the last page is missing");
    return { kind: "range", namespace, table, from, to, rows };
  }
  if (kind === 3n) {
    const account = valueOf(stateRoot, list(rest, 2)[1], join(byte(1), hash(rest[0])));
    const [balance, nonce] = account === undefined ? [0n, 0n] : list(decode(account), 2);
    return { kind: "account", address: rest[0], balance: uint(balance), nonce: uint(nonce) };
  }
  if (kind === 4n) {
    const [transaction, path, siblings, result, resultSiblings] = list(rest, 5);
    need(uint(path, 0x1_ffffn) > 0n, "no path");
    const isLeft = Array.from(path.toString(2).slice(1), (digit) => digit === "1").toReversed();
    need(same(climb(H(LEAF, bytesOf(transaction)), isLeft, hashes(siblings)), transactionsRoot), "not in the block");
    need(same(climb(H(LEAF, bytesOf(result)), isLeft, hashes(resultSiblings)), resultsRoot), "not its result");
    const [outcome, code, field] = list(decode(result), 1, 3);
    return { kind: "transaction", id: H(TRANSACTION, decode(transaction)[0]), applied: outcome === 1n, code, field };
  }
  need(kind === 5n, "not a statement");
  const [stream, partition, index, record, siblings, proof] = list(rest, 6);
  const key = join(utf8(`\x04${name(stream)}\0`), big(uint(partition, 65_535n), 4));
  const [size, peaks] = list(list(decode(valueOf(stateRoot, proof, key) ?? byte(0xf6)), 4)[1], 2);
  // A zero byte and a leaf hash stand for a record of which nothing else is left.
  const dropped = bytesOf(record, FILE_MAX, 1)[0] === 0 && record.length === 33 ? record.subarray(1) : undefined;
  const root = logRoot(dropped ?? H(LEAF, record), uint(index), uint(size), hashes(siblings));
  const partitionRoot = hashes(peaks).reduceRight((right, left) => H(NODE, left, right));
  need(same(root, partitionRoot), "not in the partition");
  if (dropped !== undefined) return { kind: "record", stream, partition, index, dropped };
  const [ownStream, ownPartition, ownIndex, writtenAt, writtenMs, about, data, headers] = list(decode(record), 8);
  need(ownStream === stream && ownPartition === partition && ownIndex === index, "a record of another place");
  return { kind: "record", stream, partition, index, writtenAt, writtenMs, key: about, data, headers };
}
